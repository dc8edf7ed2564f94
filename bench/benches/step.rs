//! One whole decision inside the engine, without ring and journal: decode, duplicates, features, rules, store.
//!
//! `step/N keys`: the handbook policy's fourteen features over two keys a payment, about 24 stored payments per key, in
//! event order. More keys mean more cache misses, which is what the difference between the lines shows.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::program::ArchivedEventPlan;
use tollgate::engine::units::{Currency, EventId, HOUR, Key, Time, mix};
use tollgate::engine::wire::{Admission, Input};
use tollgate::engine::{Engine, Limits, Loaded, Step};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

const POLICY: &str = include_str!("../../config/handbook/handbook.policy");
/// 2018-04-01T00:00:00Z
const START: i64 = 1_522_540_800_000_000;

fn load() -> Loaded {
    let program = policy::compile(POLICY, &Tokenizer::default()).expect("the handbook policy compiles");
    archive::open(archive::seal(&program)).expect("what was sealed opens")
}

/// Payments without end, drawn from `keys` customers and `keys` terminals.
struct Payments<'p> {
    plan: &'p ArchivedEventPlan,
    kind: u16,
    customer: FieldSlot,
    terminal: FieldSlot,
    amount: FieldSlot,
    keys: u64,
    number: u64,
    currency: Currency,
}

impl<'p> Payments<'p> {
    fn new(loaded: &'p Loaded, keys: u64) -> Self {
        let (kind, plan) = encode::event(loaded.program(), "payment").expect("payments");
        let field = |name| encode::field(plan, name).expect("a field");
        let currency = Currency::from_alpha("USD").expect("dollars");
        let (customer, terminal, amount) = (field("customer"), field("terminal"), field("amount"));
        Self { plan, kind, customer, terminal, amount, keys, number: 0, currency }
    }

    fn next(&mut self) -> EventWords {
        self.number += 1;
        let n = self.number;
        // Each key pays once in 30 hours or so, so that 30 days hold some 24 payments of it.
        let time = START + (i128::from(n) * i128::from(30 * HOUR) / i128::from(self.keys)) as i64;
        let draw = |salt| mix(n, salt) % self.keys;
        let mut words = EventWords::new(self.plan, EventId([n, 1]), Time(time));
        words.set_key(self.customer, Key([draw(1), 1]));
        words.set_key(self.terminal, Key([draw(2), 2]));
        words.set_money(self.amount, 100 + (mix(n, 3) % 20_000) as i64, self.currency);
        words
    }
}

fn step(c: &mut Criterion) {
    let loaded = load();
    for keys in [1_000, 100_000] {
        let limits = Limits { keys_max: 1 << 18, dedup_entries_max: 1 << 16, ..Limits::default() };
        let mut engine = Engine::new(loaded.clone(), &limits).expect("an engine");
        let mut payments = Payments::new(&loaded, keys);
        let kind = payments.kind;
        let mut decide = |words: &EventWords| {
            let input = Input {
                principal: 0,
                kind,
                admission: Admission::Normal,
                received: Time(START),
                words: words.words(),
            };
            assert!(matches!(engine.step(&input), Step::Decided(_)));
        };
        for _ in 0..keys * 30 {
            decide(&payments.next());
        }
        c.bench_function(&format!("step/{keys} keys"), |b| {
            b.iter_batched(|| payments.next(), |words| decide(&words), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
