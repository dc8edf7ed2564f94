//! One whole decision inside the engine, without ring and journal: decode, duplicates, features, rules, store.
//!
//! `step/N keys`: the handbook policy's fourteen features over two keys a payment, about 24 stored payments per key, in
//! event order. More keys mean more cache misses, which is what the difference between the lines shows.
//!
//! `decode`: a frame checked word by word, and nothing else. `policy`: the compiled code of one decision (what comes of
//! the event alone, conditions, score, thresholds) over features that are already there.

#[allow(dead_code, reason = "shared with the harness, which uses other parts")]
#[path = "../src/payments.rs"]
mod payments;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use payments::{FULL, Payments, START};
use tollgate::encode::EventWords;
use tollgate::engine::lists::Edits;
use tollgate::engine::rates::Rates;
use tollgate::engine::units::{Time, Value};
use tollgate::engine::vm::{Basis, execute};
use tollgate::engine::wire::{Admission, Input, PRESENCE_WORD, event_time};
use tollgate::engine::{Engine, Limits, Loaded, Rules, Step};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

const POLICY: &str = include_str!("../../config/handbook/handbook.policy");
fn load() -> Loaded {
    let program = policy::compile(POLICY, &Tokenizer::default()).expect("the handbook policy compiles");
    archive::open(archive::seal(&program)).expect("what was sealed opens")
}

fn input(kind: u16, words: &EventWords) -> Input<'_> {
    Input { principal: 0, kind, admission: Admission::Normal, received: Time(START), words: words.words() }
}

fn step(c: &mut Criterion) {
    let loaded = load();
    for keys in [1_000, 100_000] {
        let limits = Limits { keys_max: 1 << 18, dedup_entries_max: 1 << 16, ..Limits::default() };
        let mut engine = Engine::new(loaded.clone(), &limits).expect("an engine");
        let mut payments = Payments::new(&loaded, keys).expect("the handbook's payments");
        let kind = payments.kind;
        let mut decide = |words: &EventWords| {
            assert!(matches!(engine.step(&input(kind, words)), Step::Decided(_)));
        };
        for _ in 0..keys * FULL {
            decide(&payments.next());
        }
        c.bench_function(&format!("step/{keys} keys"), |b| {
            b.iter_batched(|| payments.next(), |words| decide(&words), BatchSize::SmallInput);
        });
    }
}

fn decode(c: &mut Criterion) {
    let loaded = load();
    let limits = Limits { keys_max: 1 << 10, dedup_entries_max: 1 << 10, ..Limits::default() };
    let engine = Engine::new(loaded.clone(), &limits).expect("an engine");
    let mut payments = Payments::new(&loaded, 1_000).expect("the handbook's payments");
    let (kind, words) = (payments.kind, payments.next());
    c.bench_function("decode", |b| {
        b.iter(|| engine.decode(&input(kind, black_box(&words))).expect("a payment"));
    });
}

fn policy_code(c: &mut Criterion) {
    let loaded = load();
    let program = loaded.program();
    let mut payments = Payments::new(&loaded, 1_000).expect("the handbook's payments");
    let (event, words) = (&program.events[usize::from(payments.kind)], payments.next());
    let (words, time) = (words.words(), event_time(words.words()));
    let decide = event.decide.as_ref().expect("payments are judged");
    let mut registers = program.fresh_registers();
    // Any numbers do, as long as nothing is missing: every comparison is then made.
    let features = program.features.len();
    registers[..features].iter_mut().for_each(|register| *register = Value::ratio(10_050, 1));
    registers[usize::from(decide.rule_scores_max.to_native())] = Value::int(75);
    registers[usize::from(decide.rule_scores_sum.to_native())] = Value::int(75);
    registers[usize::from(decide.final_score.to_native())] = Value::int(75);
    let rates = Rates::reserve(program);
    let edits = Edits::none();
    let basis = Basis { program, rates: &rates, edits: &edits };
    let mut rules = Rules::new(&loaded, payments.kind).expect("payments are an event");
    rules.features().copy_from_slice(&registers[..features]);
    let runs = [&event.scalars, &decide.score_code, &decide.threshold_code];
    c.bench_function("policy", |b| {
        b.iter(|| {
            for run in runs {
                execute(basis, run, black_box(words), words[PRESENCE_WORD], time, &mut registers);
            }
            black_box(rules.fired(words, words[PRESENCE_WORD], time));
            black_box(&mut registers);
        });
    });
}

criterion_group!(benches, step, decode, policy_code);
criterion_main!(benches);
