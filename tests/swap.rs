//! One policy takes over from another while events come: what the engine then says is held against the oracle of the new
//! policy, which has seen everything from the first event on, and against a replay.
//!
//! For every seed a random policy is made, and versions of it: in each, other features are computed from history, and the rest
//! told as constants. A stream is fed to an engine that goes from version to version every few frames, rolls back, and comes
//! upon versions whose features it has not kept events for. Then
//!
//! - what is not flagged inexact is what the oracle says, and warm features are whatever is flagged;
//! - recovery with the last program gives the same outcomes and digests from the last take-over on;
//! - in bursts as one by one.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use support::fraction::Fraction;
use support::frames::{Frame, Layout};
use support::generate;
use support::models;
use support::oracle::{Answer, Oracle};
use support::rng::Rng;
use support::streams::{self, Shape};
use tollgate::engine::program::{DISTINCT_EXACT_MAX, Program};
use tollgate::engine::units::Value;
use tollgate::engine::wire::{FLAG_ACK, FLAG_INEXACT, Outcome};
use tollgate::engine::{Engine, Limits, Loaded, Step, Successor, first_word};
use tollgate::policy::archive;
use tollgate::policy::lower::{Base, TakeOver, lower_onto};
use tollgate::policy::typed::{Expr, FeatureKind, Policy, Type};
use tollgate::token::Tokenizer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FRAMES: usize = 1_200;
const VERSIONS: usize = 4;

/// The policy with some of its windowed features replaced by constants, so that nothing is kept for them, and some of the
/// entries of its lists left out.
fn version(policy: &Policy, rng: &mut Rng, number: usize, blank: u64) -> Policy {
    let mut version = policy.clone();
    version.revision = number as u32;
    // Lists with other entries are other lists to what is kept.
    for list in &mut version.lists {
        if rng.percent(40) {
            list.entries.retain(|_| rng.percent(60));
        }
    }
    // Models are no part of what is stored: other ones can be asked at any time.
    for model in &mut version.models {
        if rng.percent(40) {
            model.file = models::file(rng, model.inputs.len());
        }
        model.lazy ^= rng.percent(30);
    }
    for feature in &mut version.features {
        let FeatureKind::Window(window) = &feature.kind else { continue };
        if rng.percent(blank) {
            let event = window.judged_by[0].0;
            let expr = Expr::Const(Value::int(1), feature.ty);
            feature.kind = FeatureKind::Scalar { event, expr };
        }
    }
    version
}

fn open(program: &Program) -> Loaded {
    archive::open(archive::seal(program)).unwrap_or_else(|error| panic!("not opened: {error}"))
}

fn native(loaded: &Loaded) -> Program {
    rkyv::deserialize::<Program, rkyv::rancor::Error>(loaded.program()).expect("plain data")
}

/// What came of it, over all seeds.
#[derive(Debug, Default)]
struct Seen {
    taken_over: usize,
    refused: usize,
    cold: usize,
    warm: usize,
    /// Decisions after a take-over, compared in full; and those flagged, of which the warm features were compared.
    exact: usize,
    flagged: usize,
    proved: usize,
    /// Tables that were added.
    tables: usize,
}

/// What was fed to the engine and what came of it.
struct Run {
    /// By frame.
    steps: Vec<Step>,
    digests: Vec<u64>,
    /// Frame before which a program took over, and the program before it.
    boundaries: Vec<(usize, u64)>,
    last: Loaded,
}

fn run(
    versions: &[Policy],
    frames: &[Frame],
    limits: &Limits,
    layouts: &[Layout],
    bursts: bool,
    seen: &mut Seen,
) -> Run {
    let tokenizer = Tokenizer::default();
    let mut oracles: Vec<Oracle<'_>> =
        versions.iter().map(|policy| Oracle::new(policy, layouts, *limits, &tokenizer)).collect();
    let first = lower_onto(&versions[0], &tokenizer, None).expect("a program").program;
    let mut engine = Engine::new(open(&first), limits).expect("an engine");
    let mut run =
        Run { steps: Vec::new(), digests: Vec::new(), boundaries: Vec::new(), last: engine.loaded().clone() };
    let (mut at, mut cold_now) = (0, vec![false; versions[0].features.len()]);
    // Features of which events were not kept from the first on.
    let mut was_cold = cold_now.clone();
    for (number, frame) in frames.iter().enumerate() {
        if number % (frames.len() / 10) == frames.len() / 20 {
            let next = (at + 1 + number % (versions.len() - 1)) % versions.len();
            let current = engine.loaded().clone();
            let program = native(&current);
            let base = Base { program: &program, hash: first_word(&current.hash()) };
            match lower_onto(&versions[next], &tokenizer, Some(&base)) {
                Err(refused) => {
                    let bounds = ["converted into", "is looked up by"];
                    assert!(bounds.iter().any(|bound| refused.message.contains(bound)), "{refused:?}");
                    seen.refused += 1;
                }
                Ok(TakeOver { program: onto, cold, recent }) => {
                    seen.tables += onto.tables.len() - program.tables.len();
                    let loaded = open(&onto);
                    let mut successor = Successor::new(&current, loaded, limits).expect("it fits");
                    assert!(engine.succeed(&mut successor));
                    assert!(!engine.succeed(&mut successor), "it was made for another program");
                    run.boundaries.push((number, first_word(&current.hash())));
                    seen.taken_over += 1;
                    seen.cold += cold.len();
                    for (feature, was) in versions[next].features.iter().zip(&mut was_cold) {
                        *was |= cold
                            .iter()
                            .map(|cold| &cold.feature)
                            .chain(&recent)
                            .any(|name| *name == feature.name);
                    }
                    at = next;
                    let windows = versions[at].features.iter().zip(&was_cold);
                    let is_cold = |(feature, was): (&tollgate::policy::typed::Feature, &bool)| {
                        *was && matches!(feature.kind, FeatureKind::Window(_))
                    };
                    cold_now = windows.map(is_cold).collect();
                    seen.warm += cold_now.iter().filter(|cold| !**cold).count();
                }
            }
            run.last = engine.loaded().clone();
        }
        if bursts && number % 16 == 0 {
            let end = frames.len().min(number + 16);
            engine.look_ahead(frames[number..end].iter().map(Frame::input));
        }
        for (order, given) in &frame.orders {
            oracles.iter_mut().for_each(|oracle| oracle.order(order, *given));
            assert!(engine.order(order, *given));
        }
        let expected: Vec<Step> = oracles.iter_mut().map(|oracle| oracle.step(&frame.input())).collect();
        let step = engine.step(&frame.input());
        let oracle = &oracles[at];
        match (step, expected[at]) {
            (Step::Decided(outcome), Step::Decided(expected)) => {
                let flagged = outcome.flags & FLAG_INEXACT != 0 && expected.flags & FLAG_INEXACT == 0;
                let is_partly_cold = cold_now.contains(&true);
                assert!(!flagged || is_partly_cold, "frame {number}: flagged, and nothing was cold");
                let told = engine.features().iter().zip(oracle.features()).zip(&cold_now);
                for (feature, ((value, answer), cold)) in told.enumerate() {
                    let answer: &Answer = answer;
                    let same = Fraction::of(*value) == answer.told();
                    assert!(
                        same || flagged && *cold,
                        "frame {number}, version {at}, feature {feature}: {value:?} and {answer:?}, {:?}",
                        versions[at].features[feature],
                    );
                }
                // Without the rows of a cold feature a key may seem to have no history.
                if !flagged && (!is_partly_cold || (outcome.score < 0) == (expected.score < 0)) {
                    assert_eq!(outcome, expected, "frame {number}, version {at}");
                    seen.exact += 1;
                } else {
                    seen.flagged += 1;
                    let Outcome { seq, policy_revision, flags, .. } = outcome;
                    assert_eq!((seq, policy_revision), (expected.seq, expected.policy_revision));
                    assert_eq!(flags & FLAG_ACK, expected.flags & FLAG_ACK);
                }
            }
            // What was decided before stands, whoever decided it.
            (Step::Repeated(_), Step::Repeated(_)) => {}
            (step, expected) => assert_eq!(step, expected, "frame {number}"),
        }
        run.steps.push(step);
        run.digests.push(engine.digest());
    }
    run
}

/// Recovery: the last program takes in what others decided, and decides the rest anew.
fn replay(run: &Run, frames: &[Frame], limits: &Limits, seen: &mut Seen) {
    let mut engine = Engine::new(run.last.clone(), limits).expect("an engine");
    let last = run.boundaries.last().map_or(0, |boundary| boundary.0);
    let mut boundaries = run.boundaries.iter().peekable();
    for (number, frame) in frames.iter().enumerate() {
        if let Some((_, before)) = boundaries.next_if(|boundary| boundary.0 == number) {
            engine.wake(Some(*before));
        }
        for (order, given) in &frame.orders {
            assert!(engine.order(order, *given));
        }
        let Step::Decided(outcome) = run.steps[number] else { continue };
        if number < last {
            engine.adopt(&frame.input(), outcome, run.digests[number]);
            continue;
        }
        assert_eq!(engine.step(&frame.input()), Step::Decided(outcome), "frame {number} replayed");
        assert_eq!(engine.digest(), run.digests[number], "digest after frame {number} replayed");
        seen.proved += 1;
    }
}

fn swap(seed: u64, seen: &mut Seen) {
    let mut rng = Rng::new(seed);
    let policy = generate::policy(&mut rng);
    let tokenizer = Tokenizer::default();
    let blank = [20, 50, 80][rng.below(3)];
    let versions: Vec<Policy> =
        (0..VERSIONS).map(|number| version(&policy, &mut rng, number, blank)).collect();
    let program = lower_onto(&policy, &tokenizer, None).expect("a program").program;
    let layouts = Layout::compiled(&policy, &program);
    let shape = Shape::random(&mut rng, &policy, FRAMES);
    let frames = streams::stream(&mut rng, &policy, &layouts, &tokenizer, &shape);
    let one = run(&versions, &frames, &shape.limits, &layouts, false, seen);
    let bursts = run(&versions, &frames, &shape.limits, &layouts, true, &mut Seen::default());
    assert!(one.steps == bursts.steps && one.digests == bursts.digests, "bursts decide otherwise");
    replay(&one, &frames, &shape.limits, seen);
}

#[test]
fn a_successor_says_what_it_would_have_said_from_the_start() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SWAP_SEED") {
        return swap(seed, &mut Seen::default());
    }
    let rounds = number("SWAP_ROUNDS").unwrap_or(1);
    let part = number("SIMULATE_PART").unwrap_or(1);
    let mut seen = Seen::default();
    for seed in 0..(rounds * 120).div_ceil(part) {
        let result = catch_unwind(AssertUnwindSafe(|| swap(seed, &mut seen)));
        assert!(result.is_ok(), "seed {seed} (SWAP_SEED={seed} runs it alone)");
    }
    println!("{seen:?}");
    if part == 1 {
        let Seen { taken_over, cold, warm, exact, flagged, proved, tables, .. } = seen;
        assert!(taken_over > 500 && cold > 250 && warm > 2_500 && tables > 100, "{seen:?}");
        assert!(exact > 50_000 && flagged > 1_000 && proved > 2_500, "{seen:?}");
    }
}

/// Types whose constants are one number.
#[test]
fn a_blank_feature_is_a_constant_of_its_type() {
    let mut rng = Rng::new(3);
    for seed in 0..20 {
        let policy = generate::policy(&mut Rng::new(seed));
        let blank = version(&policy, &mut rng, 1, 100);
        assert!(blank.features.iter().all(|feature| !matches!(feature.kind, FeatureKind::Window(_))));
        assert!(blank.features.iter().all(|feature| feature.ty != Type::AnyMoney));
    }
    assert_eq!(DISTINCT_EXACT_MAX, 1_024);
}
