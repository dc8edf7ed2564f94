//! Random policies and random streams: the compiled engine against the oracle, decision by decision.
//!
//! For every seed a policy is made, compiled, archived and opened, and a stream is fed to
//!
//! - an engine that takes frame after frame,
//! - an engine with other hash seeds that takes bursts of up to 64 in the three phases of the hot loop,
//! - an engine that is given only what was decided, as recovery replays a journal, part of it adopted,
//! - the oracle.
//!
//! All must agree on every outcome; features and counters are held against the oracle; the engines' rolling digests
//! must be equal. On a disagreement the stream and then the policy are made smaller for as long as they still disagree.
//!
//! `SIMULATE_SEED=n` runs one seed, `SIMULATE_ROUNDS=n` that many times the usual number of seeds (2.5 million events),
//! and `SIMULATE_PART=n` the first nth of them, for machines that are slow because they are emulated: then not everything
//! has to come up.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::fraction::Fraction;
use support::frames::{Frame, Layout};
use support::generate::{self, is_distinct};
use support::oracle::{Answer, Oracle};
use support::rng::Rng;
use support::streams::{self, Shape};
use tollgate::engine::program::{
    ArchivedAgg, ArchivedFeaturePlan, ArchivedOrigin, ArchivedProgram, ArchivedTerm, Assume,
    DISTINCT_EXACT_MAX,
};
use tollgate::engine::units::Value;
use tollgate::engine::wire::{FLAG_ACK, FLAG_FALLBACK, FLAG_INEXACT};
use tollgate::engine::{Clock, Counters, Engine, Limits, Loaded, Step};
use tollgate::policy::archive;
use tollgate::policy::lower::lower;
use tollgate::policy::typed::{self, Aggregate, By, EntityIx, FeatureKind, Model, Policy};
use tollgate::token::Tokenizer;

/// The appliance's own. It also keeps the memory of one engine for the next: thousands are made here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Frames of one stream, and streams of one policy.
const FRAMES: usize = 1_000;
const STREAMS: usize = 3;

/// A policy made executable.
struct Compiled {
    loaded: Loaded,
    layouts: Vec<Layout>,
}

/// Of how many events a count of different things that says `assume` is exact: few, as keys have few, and for a policy always
/// as many.
fn exact_up_to(policy: &Policy) -> u32 {
    [1, 2, 3, 5, 20, 70, 200, DISTINCT_EXACT_MAX][policy.revision as usize % 8]
}

fn oracle<'p>(
    policy: &'p Policy,
    compiled: &'p Compiled,
    limits: &Limits,
    tokenizer: &Tokenizer,
) -> Oracle<'p> {
    Oracle::new(policy, &compiled.layouts, *limits, tokenizer).exact_up_to(exact_up_to(policy))
}

fn compile(policy: &Policy, tokenizer: &Tokenizer) -> Compiled {
    let mut program = lower(policy, tokenizer).unwrap_or_else(|error| panic!("not lowered: {error:?}"));
    for (plan, feature) in program.features.iter_mut().zip(&policy.features) {
        if feature.is_sketched() {
            plan.argument = i64::from(exact_up_to(policy));
        }
    }
    let layouts = Layout::compiled(policy, &program);
    let loaded = archive::open(archive::seal(&program)).unwrap_or_else(|error| panic!("not opened: {error}"));
    Compiled { loaded, layouts }
}

fn engine(compiled: &Compiled, limits: &Limits) -> Engine {
    Engine::new(compiled.loaded.clone(), limits)
        .unwrap_or_else(|error| panic!("no engine: {}", error.message))
}

fn told(values: &[Value]) -> Vec<Option<Fraction>> {
    values.iter().map(|value| Fraction::of(*value)).collect()
}

/// Counts that take a key through the sizes of what holds its rows. Above 128 it is a tree: at most 64 rows are inline, and
/// 64 in the largest slab.
const LARGE: [i64; 3] = [64, 256, 1024];

/// How often a feature was missing, zero or something else, and above each of [`LARGE`].
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    missing: u64,
    zero: u64,
    something: u64,
    above: [u64; LARGE.len()],
}

impl Said {
    fn note(&mut self, value: Option<Fraction>) {
        match value {
            None => self.missing += 1,
            Some(value) if value == Fraction::int(0) => self.zero += 1,
            Some(value) => {
                self.something += 1;
                for (above, n) in self.above.iter_mut().zip(LARGE) {
                    *above += u64::from(value.compare(Fraction::int(n)).is_gt());
                }
            }
        }
    }
}

const FRAMES_NAMED: [&str; 5] = ["last", "last N", "every", "this", "session"];

fn frame_name(frame: &typed::Frame) -> &'static str {
    match frame {
        typed::Frame::Last { .. } => "last",
        typed::Frame::Events { .. } => "last N",
        typed::Frame::Every { .. } => "every",
        typed::Frame::This { .. } => "this",
        typed::Frame::Session { .. } => "session",
    }
}

/// So many of [`AGGREGATES_NAMED`], from the first, come up in few policies too.
const AGGREGATES_COMMON: usize = 8;

const AGGREGATES_NAMED: [&str; 24] = [
    "Count",
    "Sum",
    "Avg",
    "Min",
    "Max",
    "DistinctKeys",
    "DistinctValues",
    "Ratio",
    "Stddev",
    "First",
    "Last",
    "ShareKeys",
    "ShareValues",
    "Percentile",
    "Change",
    "DecayedCount",
    "DecayedSum",
    "SinceLast",
    "SinceFirst",
    "Distance",
    "Speed",
    "SeenKey",
    "SeenValue",
    "Days",
];

fn aggregate_name(aggregate: &Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count(_) => "Count",
        Aggregate::Sum(..) => "Sum",
        Aggregate::Avg(..) => "Avg",
        Aggregate::Min(..) => "Min",
        Aggregate::Max(..) => "Max",
        Aggregate::DistinctKeys(..) => "DistinctKeys",
        Aggregate::DistinctValues(..) => "DistinctValues",
        Aggregate::Ratio(..) => "Ratio",
        Aggregate::Stddev(..) => "Stddev",
        Aggregate::First(..) => "First",
        Aggregate::Last(..) => "Last",
        Aggregate::ShareKeys(..) => "ShareKeys",
        Aggregate::ShareValues(..) => "ShareValues",
        Aggregate::Percentile(..) => "Percentile",
        Aggregate::Change { .. } => "Change",
        Aggregate::DecayedCount(..) => "DecayedCount",
        Aggregate::DecayedSum(..) => "DecayedSum",
        Aggregate::SinceLast(_) => "SinceLast",
        Aggregate::SinceFirst(_) => "SinceFirst",
        Aggregate::Distance(..) => "Distance",
        Aggregate::Speed(..) => "Speed",
        Aggregate::SeenKey(..) => "SeenKey",
        Aggregate::SeenValue(..) => "SeenValue",
        Aggregate::Days(..) => "Days",
    }
}

/// How often each thing worth testing has come up; a simulation that misses one of them has gone blind.
#[derive(Debug, Default)]
struct Reach {
    seen: BTreeMap<String, u64>,
}

impl Reach {
    fn note(&mut self, what: impl Into<String>, times: u64) {
        *self.seen.entry(what.into()).or_default() += times;
    }

    /// A step that both agree on.
    fn step(&mut self, step: &Step) {
        let outcome = match step {
            Step::Refused(refusal) => return self.note(format!("{refusal:?}"), 1),
            Step::Repeated(_) => return self.note("repeated", 1),
            Step::Decided(outcome) => outcome,
        };
        self.note(format!("{:?}", outcome.action), 1);
        self.note(if outcome.score < 0 { "unassessed" } else { "assessed" }, 1);
        self.note(format!("flags {}", outcome.flags), 1);
        self.note(format!("{} reasons", outcome.reasons.iter().filter(|id| **id != 0).count()), 1);
    }

    /// What the features of one stream said.
    fn features(&mut self, policy: &Policy, said: &[Said]) {
        for (feature, said) in policy.features.iter().zip(said) {
            let FeatureKind::Window(window) = &feature.kind else {
                self.said("Scalar", said);
                continue;
            };
            let name = aggregate_name(&window.aggregate);
            let assumed = feature.assume.filter(|_| feature.is_sketched());
            assumed.into_iter().for_each(|assume| self.said(&format!("{name} {assume:?}"), said));
            let frame = frame_name(&window.frame);
            self.said(name, said);
            self.said(frame, said);
            if window.delay_us > 0 {
                self.said(&format!("{frame} delayed"), said);
            }
            self.note(format!("{name} over {frame}"), said.zero + said.something);
            if window.by.second().is_some() {
                self.said(if is_twice(window.by) { "pair of one kind" } else { "pair" }, said);
            }
            if name == "Count" {
                for (n, times) in LARGE.iter().zip(said.above) {
                    self.note(format!("Count above {n}"), times);
                }
            }
        }
    }

    fn said(&mut self, what: &str, said: &Said) {
        self.note(format!("{what}: missing"), said.missing);
        self.note(format!("{what}: 0"), said.zero);
        self.note(format!("{what}: something"), said.something);
    }

    fn counters(&mut self, counters: &Counters, clock: Clock) {
        self.note("late", counters.late);
        self.note("too late", counters.too_late);
        self.note("skewed ahead", counters.skewed_ahead);
        self.note("skewed behind", counters.skewed_behind);
        let jumps = if clock == Clock::Wall { "jumps by the wall clock" } else { "jumps by the event clock" };
        self.note(jumps, counters.clock_jumps);
        self.note("amended", counters.amended);
        self.note("amendment unknown", counters.amend_unknown);
        self.note("amendment stale", counters.amend_stale);
        self.note("promoted", counters.promoted);
        self.note("demoted", counters.demoted);
        self.note("keys expired", counters.keys_expired);
        self.note("duplicates forgotten", counters.dedup_evicted);
        self.note("rates", counters.rates);
        self.note("rates unused", counters.rates_unused);
        self.note("rate missing", counters.rate_missing);
        self.note("rate stale", counters.rate_stale);
        self.note("rate overflow", counters.rate_overflow);
    }

    /// Fails when something never came up. A few policies do not hold everything; `many` do.
    fn complete(&self, also: &[&str], many: bool) {
        let refusals = "UnknownEvent WrongLength BadPresence BadValue BadTime RawCardNumber IdReused repeated unassessed assessed";
        let other = "None Allow Challenge Review Block late thawed amended promoted rates";
        let mut wanted: Vec<String> =
            refusals.split(' ').chain(other.split(' ')).map(str::to_owned).collect();
        for aggregate in ["Scalar"]
            .iter()
            .chain(&AGGREGATES_NAMED[..if many { AGGREGATES_NAMED.len() } else { AGGREGATES_COMMON }])
        {
            wanted.extend([format!("{aggregate}: missing"), format!("{aggregate}: something")]);
        }
        // Every aggregate over every frame: some pairs need more policies than the usual number to come up.
        for aggregate in AGGREGATES_NAMED.iter().filter(|_| many && number("SIMULATE_ROUNDS") >= 4) {
            wanted.extend(FRAMES_NAMED.map(|frame| format!("{aggregate} over {frame}")));
        }
        for pair in ["pair", "pair of one kind"] {
            wanted.extend(["missing", "0", "something"].map(|said| format!("{pair}: {said}")));
        }
        for frame in FRAMES_NAMED {
            wanted.extend([format!("{frame}: something"), format!("{frame} delayed: something")]);
        }
        for what in ["too late", "amendment unknown", "amendment stale", "duplicates forgotten"] {
            wanted.push(what.to_owned());
        }
        let bounds = ["told by a bound", "DistinctKeys High: something", "DistinctValues Low: something"];
        wanted.extend(bounds.map(str::to_owned));
        let time = [
            "skewed ahead",
            "skewed behind",
            "amended at its receipt",
            "jumps by the wall clock",
            "jumps by the event clock",
            "spared by a jump",
            "not effective",
            "edits of lists",
            "not let to fire",
            "models asked",
        ];
        wanted.extend(time.map(str::to_owned));
        let rates = ["rates unused", "rate missing", "rate stale", "rate overflow"];
        wanted.extend(rates.into_iter().filter(|_| many).map(str::to_owned));
        wanted.extend(also.iter().map(|&what| what.to_owned()));
        wanted.extend((0..=if many { 4 } else { 3 }).map(|n| format!("{n} reasons")));
        let flags =
            [0, FLAG_INEXACT, FLAG_FALLBACK, FLAG_FALLBACK | FLAG_INEXACT, FLAG_ACK, FLAG_ACK | FLAG_INEXACT];
        wanted.extend((0..3).map(|n| format!("{n} alerts")));
        wanted.extend(flags.map(|flags| format!("flags {flags}")));
        wanted.retain(|what| self.seen.get(what).is_none_or(|times| *times < 5));
        assert!(wanted.is_empty(), "hardly or never seen: {wanted:?}, of {:#?}", self.seen);
    }
}

/// Runs a stream; the first disagreement, if any, as a text.
fn run(
    policy: &Policy,
    compiled: &Compiled,
    frames: &[Frame],
    limits: &Limits,
    reach: &mut Reach,
) -> Result<(), String> {
    let tokenizer = Tokenizer::default();
    let mut oracle = oracle(policy, compiled, limits, &tokenizer);
    let mut single = engine(compiled, limits);
    let mut steps = Vec::with_capacity(frames.len());
    let mut digests = Vec::with_capacity(frames.len());
    let mut said = vec![Said::default(); policy.features.len()];
    for (number, frame) in frames.iter().enumerate() {
        for (order, given) in &frame.orders {
            oracle.order(order, *given);
            reach.note("edits of lists", 1);
        }
        orders(&mut single, frame);
        let expected = oracle.step(&frame.input());
        let frozen = single.expiry_frozen();
        let step = single.step(&frame.input());
        reach.note("thawed", u64::from(frozen && !single.expiry_frozen()));
        if step != expected {
            return Err(format!(
                "step {number}: {frame:?}\n  engine {step:?}\n  oracle {expected:?}{}",
                differ(&oracle, &single)
            ));
        }
        if matches!(step, Step::Decided(_)) {
            let features = told(single.features());
            let expected: Vec<_> = oracle.features().iter().map(|answer: &Answer| answer.told()).collect();
            if single.alerts() != oracle.alerts() {
                let alerts = (single.alerts(), oracle.alerts());
                return Err(format!("step {number}: {frame:?}\n  engine and oracle alert {alerts:?}"));
            }
            reach.note(format!("{} alerts", oracle.alerts().len()), 1);
            reach.note(
                "models asked",
                single.models().iter().filter(|value| !value.is_missing()).count() as u64,
            );
            if !same_models(policy, oracle.models(), single.models()) {
                let models = (single.models(), oracle.models());
                return Err(format!("step {number}: {frame:?}\n  engine and oracle models {models:?}"));
            }
            if features != expected {
                return Err(format!("step {number}: {frame:?}{}", differ(&oracle, &single)));
            }
            said.iter_mut().zip(features).for_each(|(said, value)| said.note(value));
        }
        reach.step(&step);
        steps.push(step);
        digests.push(single.digest());
    }
    reach.features(policy, &said);
    reach.counters(single.counters(), limits.clock);
    reach.note("amended at its receipt", oracle.amended_elsewhere());
    reach.note("told by a bound", oracle.bounded());
    reach.note("spared by a jump", oracle.spared());
    reach.note("not effective", oracle.not_effective());
    reach.note("not let to fire", oracle.not_let());
    reach.note("behind a first row", oracle.behind());
    counters(&oracle, &single)?;
    bursts(compiled, frames, limits, &steps, &single)?;
    replay(compiled, frames, limits, &steps, &digests)
}

/// Whether models have said the same: a lazy one that rules read may not have been asked.
fn same_models(policy: &Policy, oracle: &[Answer], engine: &[Value]) -> bool {
    policy.models.iter().zip(oracle).zip(engine).all(|((model, answer), value)| {
        let is_read =
            policy.decides.iter().any(|decide| format!("{decide:?}").contains(&model_name(policy, model)));
        Fraction::of(*value) == answer.told() || model.lazy && !is_read && value.is_missing()
    })
}

/// A model as it is shown in an expression.
fn model_name(policy: &Policy, model: &Model) -> String {
    let number = policy.models.iter().position(|other| std::ptr::eq(other, model));
    format!("Model(ModelIx({}))", number.expect("one of the policy's"))
}

/// Gives an engine what is ordered before a frame.
fn orders(engine: &mut Engine, frame: &Frame) {
    for (order, given) in &frame.orders {
        assert!(engine.order(order, *given), "there is room for some edits");
    }
}

fn differ(oracle: &Oracle<'_>, engine: &Engine) -> String {
    let mut text = String::new();
    for (i, (value, answer)) in engine.features().iter().zip(oracle.features()).enumerate() {
        if Fraction::of(*value) != answer.told() {
            let _ = write!(text, "\n  feature {i}: engine {value:?}, oracle {answer:?}");
        }
    }
    text
}

fn counters(oracle: &Oracle<'_>, engine: &Engine) -> Result<(), String> {
    let (counters, tally) = (engine.counters(), oracle.tally());
    let same = counters.decided == tally.decided
        && counters.repeated == tally.repeated
        && counters.refused == tally.refused
        && counters.late == tally.late
        && counters.too_late == tally.too_late
        && counters.inexact == tally.too_late
        && counters.skewed_ahead == tally.skewed_ahead
        && counters.skewed_behind == tally.skewed_behind
        && counters.clock_jumps == tally.clock_jumps
        && counters.rates == tally.rates
        && engine.expiry_frozen() == oracle.expiry_frozen();
    if !same || counters.rows_lost + counters.keys_lost + counters.doorkept + counters.rates_lost != 0 {
        return Err(format!("counters\n  engine {counters:?}\n  oracle {tally:?}"));
    }
    Ok(())
}

/// The three phases of a burst change nothing, nor does another hash seed, nor how much room there is and so how long
/// dead rows are still stored.
fn bursts(
    compiled: &Compiled,
    frames: &[Frame],
    limits: &Limits,
    steps: &[Step],
    single: &Engine,
) -> Result<(), String> {
    let limits = Limits {
        hash_seed: !limits.hash_seed,
        keys_max: limits.keys_max.max(limits.keys_max.saturating_mul(2).min(1_024)),
        spill_bytes_max: limits.spill_bytes_max / 8 * 9,
        ..*limits
    };
    let mut engine = engine(compiled, &limits);
    let mut rest = frames;
    let mut sizes = [64, 1, 7, 16, 63].into_iter().cycle();
    let mut number = 0;
    while !rest.is_empty() {
        let (burst, after) = rest.split_at(rest.len().min(sizes.next().unwrap_or(1)));
        engine.look_ahead(burst.iter().map(|frame| frame.input()));
        for frame in burst {
            orders(&mut engine, frame);
            let step = engine.step(&frame.input());
            if step != steps[number] {
                return Err(format!("step {number} in bursts: {step:?}, one by one: {:?}", steps[number]));
            }
            number += 1;
        }
        rest = after;
    }
    if engine.digest() != single.digest() {
        return Err("the digest after bursts is not that of single steps".to_owned());
    }
    let amended = |engine: &Engine| {
        let Counters { amended, amend_unknown, amend_stale, .. } = *engine.counters();
        [amended, amend_unknown, amend_stale]
    };
    if amended(&engine) != amended(single) {
        return Err(format!("amendments {:?} after bursts, else {:?}", amended(&engine), amended(single)));
    }
    Ok(())
}

/// Replaying what was decided gives the same decisions, also when the first part of it is adopted.
fn replay(
    compiled: &Compiled,
    frames: &[Frame],
    limits: &Limits,
    steps: &[Step],
    digests: &[u64],
) -> Result<(), String> {
    let mut engine = engine(compiled, limits);
    for (number, (frame, step)) in frames.iter().zip(steps).enumerate() {
        orders(&mut engine, frame);
        let Step::Decided(outcome) = *step else { continue };
        if number < frames.len() / 3 {
            engine.adopt(&frame.input(), outcome, digests[number]);
        } else {
            let again = engine.step(&frame.input());
            if again != *step {
                return Err(format!("step {number} replayed: {again:?}, first: {step:?}"));
            }
        }
        if engine.digest() != digests[number] || engine.next_seq() != outcome.seq + 1 {
            return Err(format!("digest or sequence number after step {number} differ in the replay"));
        }
    }
    Ok(())
}

fn is_twice(by: By<EntityIx>) -> bool {
    by.second() == Some(by.first())
}

/// As [`run`], with panics as disagreements.
fn attempt(policy: &Policy, frames: &[Frame], limits: &Limits) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let compiled = compile(policy, &Tokenizer::default());
        run(policy, &compiled, frames, limits, &mut Reach::default())
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// Takes away frames, then parts of the policy, for as long as something still disagrees.
fn shrink(policy: &Policy, frames: &[Frame], limits: &Limits) -> (Policy, Vec<Frame>) {
    let mut policy = policy.clone();
    let mut frames = frames.to_vec();
    let fails = |policy: &Policy, frames: &[Frame]| attempt(policy, frames, limits).is_err();
    let mut prefix = (0, frames.len());
    while prefix.0 + 1 < prefix.1 {
        let middle = usize::midpoint(prefix.0, prefix.1);
        if fails(&policy, &frames[..middle]) { prefix.1 = middle } else { prefix.0 = middle }
    }
    frames.truncate(prefix.1);
    for _ in 0..2 {
        let mut size = frames.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start < frames.len() {
                let mut fewer = frames.clone();
                fewer.drain(start..(start + size).min(frames.len()));
                if fails(&policy, &fewer) { frames = fewer } else { start += size }
            }
            size /= 2;
        }
        while let Some(less) = generate::simpler(&policy).into_iter().find(|less| fails(less, &frames)) {
            policy = less;
        }
    }
    (policy, frames)
}

/// One policy and its streams. Returns how many frames were compared.
fn simulate(seed: u64, frames: usize, reach: &mut Reach) -> usize {
    let mut rng = Rng::new(seed);
    let policy = generate::policy(&mut rng);
    let tokenizer = Tokenizer::default();
    let compiled = match catch_unwind(AssertUnwindSafe(|| compile(&policy, &tokenizer))) {
        Ok(compiled) => compiled,
        Err(_) => panic!("seed {seed}: this policy does not compile\n{policy:#?}"),
    };
    for _ in 0..STREAMS {
        let shape = Shape::random(&mut rng, &policy, frames);
        let stream = streams::stream(&mut rng, &policy, &compiled.layouts, &tokenizer, &shape);
        let result =
            catch_unwind(AssertUnwindSafe(|| run(&policy, &compiled, &stream, &shape.limits, reach)));
        if matches!(result, Ok(Ok(()))) {
            continue;
        }
        let (small, fewer) = shrink(&policy, &stream, &shape.limits);
        let text = attempt(&small, &fewer, &shape.limits)
            .err()
            .unwrap_or_else(|| format!("only in full: {result:?}"));
        panic!("seed {seed}, {shape:?}\n{small:#?}\n{fewer:#?}\n{text}");
    }
    STREAMS * frames
}

/// A number from the environment, or 1.
fn number(name: &str) -> u64 {
    let Ok(text) = std::env::var(name) else { return 1 };
    text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("{name} is `{text}`: give a number from 1"))
}

/// How many seeds to run instead of this many.
fn volume(seeds: u64) -> u64 {
    let (rounds, part) = (number("SIMULATE_ROUNDS"), number("SIMULATE_PART"));
    if part > 1 {
        println!("SKIPPED in part: by SIMULATE_PART, one in {part} of {} seeds", seeds * rounds);
    }
    (seeds * rounds).div_ceil(part)
}

/// Runs a share of the seeds; the shares run in parallel.
fn share(first: u64, policies: u64, frames: usize, also: &[&str]) {
    let mut reach = Reach::default();
    if let Ok(seed) = std::env::var("SIMULATE_SEED") {
        let seed: u64 = seed.parse().expect("SIMULATE_SEED is a number");
        if (first..first + SHARE).contains(&seed) {
            simulate(seed, frames, &mut reach);
        }
        return;
    }
    let policies = volume(policies);
    let seeds = first..first + policies;
    let compared: usize = seeds.map(|seed| simulate(seed, frames, &mut reach)).sum();
    assert_eq!(compared, policies as usize * STREAMS * frames);
    // The same seeds make the same streams everywhere: a part of them need not hold everything.
    if number("SIMULATE_PART") == 1 {
        reach.complete(also, frames <= FRAMES);
    }
    println!("{compared} events of {policies} policies agree");
    if std::env::var("SIMULATE_REACH").is_ok() {
        println!("{:#?}", reach.seen);
    }
}

/// Seeds set apart for one share.
const SHARE: u64 = 1_000_000;

/// Whether a model is lazy changes what is asked, and no verdict: of the same policy with every lazy model eager, and the other
/// way about.
#[test]
fn lazy_and_eager_models_come_to_the_same_verdicts() {
    let tokenizer = Tokenizer::default();
    let (mut compared, mut spared) = (0, 0);
    for seed in 0..volume(400) {
        let mut rng = Rng::new(4 * SHARE + seed);
        let policy = generate::policy(&mut rng);
        let mut other = policy.clone();
        other.models.iter_mut().for_each(|model| model.lazy = !model.lazy);
        if policy.models.is_empty() {
            continue;
        }
        let (one, another) = (compile(&policy, &tokenizer), compile(&other, &tokenizer));
        let shape = Shape::random(&mut rng, &policy, 100);
        let (mut lazy, mut eager) = (engine(&one, &shape.limits), engine(&another, &shape.limits));
        for frame in streams::stream(&mut rng, &policy, &one.layouts, &tokenizer, &shape) {
            orders(&mut lazy, &frame);
            orders(&mut eager, &frame);
            let (step, same) = (lazy.step(&frame.input()), eager.step(&frame.input()));
            assert_eq!(step, same, "seed {seed}: {frame:?}");
            assert_eq!(lazy.fired(), eager.fired(), "seed {seed}: {frame:?}");
            compared += 1;
            spared += u64::from(lazy.models() != eager.models());
        }
        assert_eq!(lazy.counters(), eager.counters(), "seed {seed}");
    }
    assert!(number("SIMULATE_PART") > 1 || spared > 1_000, "{spared} of {compared} differ in what was asked");
}

#[test]
fn short_streams_agree_with_the_oracle() {
    share(0, 2_000, 60, &[]);
}

#[test]
fn streams_agree_with_the_oracle() {
    share(SHARE, 320, FRAMES, &["Count above 64", "Count above 256", "demoted", "keys expired"]);
}

#[test]
fn other_streams_agree_with_the_oracle() {
    share(2 * SHARE, 320, FRAMES, &["Count above 64", "Count above 256", "demoted", "keys expired"]);
}

#[test]
fn long_streams_agree_with_the_oracle() {
    share(3 * SHARE, 60, 2 * FRAMES, &["Count above 1024", "demoted", "keys expired"]);
}

/// Where there is no room for everything: features are those of the oracle, which forgets nothing, unless flagged.
#[test]
fn what_is_lost_is_flagged() {
    let (mut flagged, mut exact, mut lost) = (0_u64, 0_u64, Counters::default());
    for seed in 4 * SHARE..4 * SHARE + volume(400) {
        let mut rng = Rng::new(seed);
        let policy = generate::policy(&mut rng);
        let tokenizer = Tokenizer::default();
        let compiled = compile(&policy, &tokenizer);
        let shape = Shape::random(&mut rng, &policy, 400);
        let stream = streams::stream(&mut rng, &policy, &compiled.layouts, &tokenizer, &shape);
        let limits = Limits {
            keys_max: *rng.pick(&[2, 20, 256]),
            spill_bytes_max: *rng.pick(&[0, 4 << 10, 64 << 10]),
            rows_per_key_max: *rng.pick(&[1, 3, 20, 100, 8_192]),
            ..shape.limits
        };
        let mut oracle = oracle(&policy, &compiled, &limits, &tokenizer);
        let mut engine = engine(&compiled, &limits);
        for (number, frame) in stream.iter().enumerate() {
            let _ = oracle.step(&frame.input());
            let Step::Decided(outcome) = engine.step(&frame.input()) else { continue };
            if outcome.flags & FLAG_INEXACT != 0 {
                flagged += 1;
                continue;
            }
            exact += 1;
            let expected: Vec<_> = oracle.features().iter().map(|answer: &Answer| answer.told()).collect();
            assert_eq!(
                told(engine.features()),
                expected,
                "seed {seed}, step {number} is not flagged{}",
                differ(&oracle, &engine)
            );
        }
        lost.rows_lost += engine.counters().rows_lost;
        lost.keys_lost += engine.counters().keys_lost;
        lost.doorkept += engine.counters().doorkept;
    }
    let part = number("SIMULATE_PART");
    assert!(flagged > 1_000 / part && exact > 1_000 / part, "{flagged} flagged, {exact} exact");
    let Counters { rows_lost, keys_lost, doorkept, .. } = lost;
    assert!(rows_lost > 1_000 / part && keys_lost > 1_000 / part && doorkept > 100 / part, "{lost:?}");
}

/// Whether an upper bound is told of a feature that says `assume high`: counts, sums and greatest values over a range of time,
/// of what no amendment changes (docs/FEATURES.md).
fn has_upper_bound(program: &ArchivedProgram, feature: &ArchivedFeaturePlan) -> bool {
    let of_range = !feature.frame.is_by_event() && feature.against.is_none();
    let is_own = |term: &ArchivedTerm| {
        let group = &program.groups[usize::from(term.group.to_native())];
        group.columns[usize::from(term.value.to_native())].origin == ArchivedOrigin::Own
    };
    of_range
        && match feature.agg {
            ArchivedAgg::Count => true,
            ArchivedAgg::Sum | ArchivedAgg::Max => feature.terms.iter().all(is_own),
            _ => false,
        }
}

/// Whether an amendment can change what counts for a feature: if that was lost, what is kept may come to more than the truth.
fn is_amendable(program: &ArchivedProgram, feature: &ArchivedFeaturePlan) -> bool {
    feature.terms.iter().any(|term| {
        let filter = usize::from(term.filter.to_native());
        program.groups[usize::from(term.group.to_native())].bits.get(filter).is_some_and(|bit| bit.derived)
    })
}

/// Where there is no room for all keys, or not for all their rows: what is told without `assume` is not above the truth, what is told with `assume high`
/// is not below it, and what is not flagged is the truth. Neither changes what is kept, and a second run is the same.
#[test]
fn without_room_for_everything_the_truth_is_between_the_bounds() {
    let (mut bounded, mut above, mut lost) = (0_u64, 0_u64, Counters::default());
    for seed in 5 * SHARE..5 * SHARE + volume(600) {
        let mut rng = Rng::new(seed);
        let mut policy = generate::policy(&mut rng);
        let tokenizer = Tokenizer::default();
        let mut high = policy.clone();
        // Those that are told by a bound where there is room, too, stay as they are.
        let others = high.features.iter_mut().filter(|feature| !is_distinct(&feature.kind));
        others.for_each(|feature| feature.assume = Some(Assume::High));
        let others = policy.features.iter_mut().filter(|feature| !is_distinct(&feature.kind));
        others.for_each(|feature| feature.assume = None);
        let (compiled, high) = (compile(&policy, &tokenizer), compile(&high, &tokenizer));
        let shape = Shape::random(&mut rng, &policy, 400);
        let stream = streams::stream(&mut rng, &policy, &compiled.layouts, &tokenizer, &shape);
        let mut limits = Limits { keys_max: *rng.pick(&[2, 20, 64]), ..shape.limits };
        if rng.below(2) == 0 {
            limits.keys_max = *rng.pick(&[20, 256]);
            limits.spill_bytes_max = *rng.pick(&[0, 4 << 10, 64 << 10]);
            limits.rows_per_key_max = *rng.pick(&[1, 3, 20, 100, 8_192]);
        }
        let mut oracle = oracle(&policy, &compiled, &limits, &tokenizer);
        let [mut low, mut again] = [&compiled, &high].map(|compiled| engine(compiled, &limits));
        let mut high_engine = engine(&high, &limits);
        let program = high.loaded.program();
        for (number, frame) in stream.iter().enumerate() {
            let _ = oracle.step(&frame.input());
            let _ = low.step(&frame.input());
            again.look_ahead([frame.input()]);
            let repeated = again.step(&frame.input());
            let step = high_engine.step(&frame.input());
            assert_eq!(step, repeated, "seed {seed}, step {number}");
            let Step::Decided(outcome) = step else { continue };
            let all = program.features.iter().zip(oracle.features());
            let all = all.zip(told(low.features()).into_iter().zip(told(high_engine.features())));
            for ((feature, truth), (least, most)) in all {
                let (truth, at) =
                    (truth.told(), || format!("{} at seed {seed}, step {number}", feature.name));
                if outcome.flags & FLAG_INEXACT == 0 {
                    assert_eq!((least, most), (truth, truth), "{} is not flagged", at());
                } else if has_upper_bound(program, feature) {
                    // What leaves 64 bits is missing, also of what is kept alone.
                    let is_sum = feature.agg == ArchivedAgg::Sum;
                    assert!(most >= truth || is_sum && least.is_none(), "{most:?} of {truth:?}: {}", at());
                    let is_least = !is_sum && !is_amendable(program, feature);
                    assert!(!is_least || least <= truth, "{least:?} of {truth:?}: {}", at());
                    assert!(most >= least || is_sum, "{least:?} to {most:?}: {}", at());
                    bounded += u64::from(most != least);
                    above += u64::from(most != truth);
                } else {
                    assert_eq!(least, most, "{}", at());
                }
            }
        }
        let (counters, others) = (*high_engine.counters(), *low.counters());
        assert_eq!(high_engine.digest(), again.digest());
        let kept = |counters: &Counters| {
            (counters.keys_lost, counters.doorkept, counters.inexact, counters.rows_lost)
        };
        assert_eq!(kept(&counters), kept(&others));
        assert_eq!(others.shared_told, 0);
        lost.rows_lost += counters.rows_lost;
        lost.keys_lost += counters.keys_lost;
        lost.doorkept += counters.doorkept;
        lost.shared_told += counters.shared_told;
    }
    println!("{bounded} told from what keys share, {above} above the truth, {lost:?}");
    let part = number("SIMULATE_PART");
    assert!(bounded > 5_000 / part && above > 1_000 / part, "{bounded} bounded, {above} above");
    assert!(lost.keys_lost > 1_000 / part && lost.doorkept > 100 / part, "{lost:?}");
    assert!(lost.rows_lost > 1_000 / part, "{lost:?}");
}
