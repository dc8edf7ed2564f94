//! Random policies and events: the rules that the compiled program finds against the tree, read one rule after the other.
//!
//! Streams, windows and verdicts are what `simulate` is about. Here each event stands alone and its features are drawn, so
//! that many more rule sets are seen, up to some hundred rules. `POLICIES=n` runs so many of them in place of the usual
//! number, and `POLICIES_SEED=n` only that one.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use support::fraction::Fraction;
use support::frames::{Frame, Layout};
use support::generate;
use support::oracle::{Answer, Oracle};
use support::rng::Rng;
use support::streams::{self, Shape};
use tollgate::engine::program::MODEL_DEN;
use tollgate::engine::units::{DAY, HOUR, SECOND, Value};
use tollgate::engine::wire::{PRESENCE_WORD, event_time};
use tollgate::engine::{Limits, Rules};
use tollgate::policy::archive;
use tollgate::policy::lower::lower;
use tollgate::policy::typed::{self, Policy, Type, Within};
use tollgate::token::Tokenizer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POLICIES: u64 = 20_000;
const EVENTS: usize = 50;
/// Clauses of one block of the engine's.
const BLOCK: usize = 64;

/// What came up, over all policies.
#[derive(Default)]
struct Reach {
    events: AtomicU64,
    rules: AtomicU64,
    fired: AtomicU64,
    /// Event kinds with rules in several blocks.
    blocks: AtomicU64,
    /// Clauses with a rest.
    rests: AtomicU64,
    /// Rules that take several clauses.
    alternatives: AtomicU64,
    /// Rows that fired, of tables of which only the first does.
    firsts: AtomicU64,
    /// Rows that did not fire because of one before them.
    behind: AtomicU64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A value of a feature of this type, and how the engine may hold it: not always in lowest terms.
fn value(rng: &mut Rng, ty: Type) -> (Answer, Value) {
    if rng.percent(15) {
        return (Answer::Missing, Value::MISSING);
    }
    let edges = [i64::MIN, i64::MAX, -1, 0, 1, 2, 900, SECOND, HOUR, DAY];
    let num = match ty {
        Type::Bool => {
            let truth = rng.percent(50);
            return (Answer::Truth(truth), Value::bool(truth));
        }
        Type::Int | Type::Enum(..) => rng.between(-1, 6),
        Type::Decimal => rng.between(-3_000_000, 8_000_000),
        Type::Money(_) => rng.between(-500, 3_000),
        Type::Country | Type::Currency | Type::Mcc => rng.between(0, 1_000),
        Type::Bin => *rng.pick(&generate::BINS),
        Type::Time => 1_700_000_000 * SECOND + rng.between(-1, 1),
        _ => rng.between(-1, 2) * SECOND,
    };
    let num = if rng.once_in(12) { *rng.pick(&edges) } else { num };
    let den = match ty {
        Type::Decimal => *rng.pick(&[1, 3, 1_000_000, 1_000_000, 2_000_000]),
        Type::Money(_) | Type::Duration | Type::Distance | Type::Speed => *rng.pick(&[1, 1, 1, 2, 7]),
        _ => 1,
    };
    let value = match num.checked_mul(2).filter(|_| den > 1 && rng.percent(30)) {
        Some(twice) => Value::ratio(twice, 2 * den),
        None => Value::ratio(num, den),
    };
    (Answer::number(Fraction::of(value)), value)
}

/// What a model may say.
fn share(rng: &mut Rng) -> (Answer, Value) {
    if rng.percent(15) {
        return (Answer::Missing, Value::MISSING);
    }
    let tenths = rng.between(-1, 11);
    let value = Value::ratio(tenths * (MODEL_DEN / 10) + if rng.percent(20) { 1 } else { 0 }, MODEL_DEN);
    (Answer::number(Fraction::of(value)), value)
}

fn one(seed: u64, reach: &Reach) {
    let mut rng = Rng::new(seed);
    let policy = match seed % 32 {
        0 => generate::policy_of_rules(&mut rng, 100 + (seed / 32 % 200) as usize),
        1..4 => generate::policy_of_rules(&mut rng, 10 + (seed / 32 % 60) as usize),
        _ => generate::policy(&mut rng),
    };
    let tokenizer = Tokenizer::default();
    let program =
        lower(&policy, &tokenizer).unwrap_or_else(|error| panic!("seed {seed}: not lowered: {error:?}"));
    let layouts = Layout::compiled(&policy, &program);
    let loaded = archive::open(archive::seal(&program))
        .unwrap_or_else(|error| panic!("seed {seed}: not opened: {error}"));
    for event in &program.events {
        let matching = &event.matching;
        reach.blocks.fetch_add(u64::from(matching.clauses.len() > BLOCK), Ordering::Relaxed);
        let rests = matching.clauses.iter().filter(|clause| clause.rest.is_some()).count();
        reach.rests.fetch_add(rests as u64, Ordering::Relaxed);
        let twice = matching.clauses.windows(2).filter(|two| two[0].rule == two[1].rule).count();
        reach.alternatives.fetch_add(twice as u64, Ordering::Relaxed);
    }
    let kinds = 0..program.events.len() as u16;
    let mut rules: Vec<Rules> =
        kinds.map(|kind| Rules::new(&loaded, kind).expect("there is such a kind")).collect();
    let mut oracle = Oracle::new(&policy, &layouts, Limits::default(), &tokenizer);
    let shape = Shape::random(&mut rng, &policy, EVENTS);
    for frame in streams::stream(&mut rng, &policy, &layouts, &tokenizer, &shape) {
        event(seed, &mut rng, &policy, (&mut oracle, &mut rules), &frame, reach);
    }
    reach.behind.fetch_add(oracle.behind(), Ordering::Relaxed);
}

fn event(
    seed: u64,
    rng: &mut Rng,
    policy: &Policy,
    (oracle, rules): (&mut Oracle<'_>, &mut [Rules]),
    frame: &Frame,
    reach: &Reach,
) {
    let (answers, values): (Vec<Answer>, Vec<Value>) =
        policy.features.iter().map(|feature| value(rng, feature.ty)).unzip();
    let (said, model_values): (Vec<Answer>, Vec<Value>) = policy.models.iter().map(|_| share(rng)).unzip();
    let Some(expected) = oracle.fired(&frame.input(), &answers, &said) else { return };
    let rules = &mut rules[usize::from(frame.kind)];
    rules.features().copy_from_slice(&values);
    rules.models().copy_from_slice(&model_values);
    let words = &frame.words;
    let fired = rules.fired(words, words[PRESENCE_WORD], event_time(words));
    let salience = |rule: &u16| policy.rules[usize::from(*rule)].salience;
    let in_order = fired.is_sorted_by(|a, b| (salience(b), *a) < (salience(a), *b));
    assert!(in_order, "seed {seed}: {fired:?} are told in this order");
    let mut fired: Vec<usize> = fired.iter().map(|rule| usize::from(*rule)).collect();
    fired.sort_unstable();
    if fired != expected {
        let differ = |rule: &&usize| fired.contains(rule) != expected.contains(rule);
        let rule = fired.iter().chain(&expected).find(differ).expect("one differs");
        panic!(
            "seed {seed}: rule {rule} {}\n{:#?}\n{frame:?}\n{values:?}",
            if fired.contains(rule) { "fires" } else { "does not fire" },
            policy.rules[*rule]
        );
    }
    let table = |rule: &typed::Rule| match rule.within {
        Some(Within::Table(table)) => policy.tables[table.index()].first,
        _ => false,
    };
    let firsts = fired.iter().filter(|rule| table(&policy.rules[**rule])).count();
    reach.firsts.fetch_add(firsts as u64, Ordering::Relaxed);
    let own = policy.rules.iter().filter(|rule| rule.event.0 == frame.kind).count();
    reach.events.fetch_add(1, Ordering::Relaxed);
    reach.rules.fetch_add(own as u64, Ordering::Relaxed);
    reach.fired.fetch_add(fired.len() as u64, Ordering::Relaxed);
}

#[test]
fn the_rules_that_fire_are_those_of_the_tree() {
    if let Some(seed) = number("POLICIES_SEED") {
        return one(seed, &Reach::default());
    }
    let policies = number("POLICIES").unwrap_or(POLICIES);
    let (reach, next) = (Reach::default(), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= policies {
                        break;
                    }
                    one(seed, &reach);
                }
            });
        }
    });
    let [events, rules, fired, blocks, rests, alternatives] =
        [reach.events, reach.rules, reach.fired, reach.blocks, reach.rests, reach.alternatives]
            .map(AtomicU64::into_inner);
    let [firsts, behind] = [reach.firsts, reach.behind].map(AtomicU64::into_inner);
    println!(
        "{policies} policies, {events} events, {rules} rules asked, {fired} fired; {blocks} event kinds with more than \
         {BLOCK} clauses, {rests} rests, {alternatives} alternatives, {firsts} first rows, {behind} behind one"
    );
    assert!(events > policies * 20 && rules > 5 * events && fired * 20 > rules && fired * 2 < rules);
    assert!(blocks * 50 > policies && rests > policies && alternatives > policies);
    assert!(firsts > policies && behind > policies);
}
