//! Models in programs: what is wrong with them is said, and a changed one is refused or harmless.

use super::damage::refused_of;
use super::*;
use crate::engine::program::{CalibrationPlan, Program};
use crate::engine::units::Time;
use crate::engine::wire::{Admission, Input};
use crate::engine::{Engine, Limits, Loaded, Step};
use crate::policy::archive::{open, seal, with_header};
use crate::policy::typed::{Calibration, Model, ModelFile, ModelIx};
use std::sync::Arc;
use tollgate_model::lanes::Lanes;
use tollgate_model::model::{Body, Trees};

#[path = "../../../../model/tests/support/random.rs"]
#[expect(dead_code, reason = "rows and sums are for the kernels' own tests")]
mod trees;

fn model(name: &str, lazy: bool, calibration: Calibration) -> Model {
    let mut trees = trees::ensemble(&mut trees::Random::new(3), 5, 12, 2, 6, 25);
    trees.lanes = Lanes::of(&trees);
    let file = ModelFile { hash: [7; 32], model: Arc::new(trees::model(trees, 2)) };
    let amount = Expr::Major(Box::new(Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), USD)));
    let inputs = vec![(Expr::Feature(FeatureIx(0)), Type::Int), (amount, Type::Decimal)];
    Model { name: name.into(), event: EventIx(0), lazy, inputs, calibration, file }
}

/// Payments with an eager model that the decision reads, and a lazy one that a rule reads.
pub(super) fn with_models() -> Program {
    let mut policy = payments();
    let points = vec![(Value::int(-1), Value::int(0)), (Value::int(1), Value::int(1))];
    policy.models =
        vec![model("eager", false, Calibration::None), model("lazy", true, Calibration::Isotonic(points))];
    let half = Expr::Const(Value::ratio(1, 2), Type::Decimal);
    let likely = compare(Compare::Gt, Expr::Model(ModelIx(1)), half);
    let when = policy.rules[1].when.clone();
    policy.rules[1].when = Expr::And(Box::new(when), Box::new(likely));
    policy.decides[0].score =
        Expr::Extreme { greatest: true, of: vec![Expr::RuleScoresMax, Expr::Model(ModelIx(0))] };
    lower(&policy, &Tokenizer::default()).unwrap()
}

fn trees_of(program: &mut Program) -> &mut Trees {
    match &mut program.models[0].model.body {
        Body::Trees(trees) => trees,
        Body::Linear(_) => panic!("it is made of trees"),
    }
}

#[test]
fn what_is_wrong_with_models_is_said() {
    let refused = |change: fn(&mut Program), expected: &str| refused_of(with_models(), change, expected);
    refused(|p| p.models[0].event = 1, "model 0: event 1, which it is on, is not judged");
    refused(|p| p.models[1].event = 9, "model 1: event 9, which it is on, is not judged");
    refused(|p| p.models[0].inputs.truncate(1), {
        "model 0: it is given 1 inputs and has 2; there can be 1024"
    });
    refused(|p| p.models[0].inputs[1] = p.registers - 1, {
        "model 0: an input is in register 28, which nothing sets"
    });
    refused(|p| p.models[0].code.len = 0, "model 0: an input is in register 18, which nothing sets");
    refused(|p| p.models[0].lazy = true, "event 0: its models are not those that are on it");
    refused(|p| p.models[1].lazy = false, "event 0: its models are not those that are on it");
    refused(|p| p.events[0].models.clear(), "event 0: its models are not those that are on it");
    let rest = |p: &mut Program, change: fn(&mut Vec<u16>)| {
        let clauses = p.events[0].matching.clauses.iter_mut();
        clauses.filter_map(|clause| clause.rest.as_mut()).for_each(|rest| change(&mut rest.models));
    };
    let not_asked = refusal(|p| rest(p, Vec::clear));
    assert!(not_asked.contains("which nothing sets"), "{not_asked}");
    let eager = refusal(|p| rest(p, |models| models.fill(0)));
    assert!(eager.contains("model 0 is not lazy"), "{eager}");
    let unknown = refusal(|p| rest(p, |models| models.push(2)));
    assert!(unknown.contains("there is no model 2"), "{unknown}");
    refused(|p| p.models[1].calibration = CalibrationPlan::Platt(1.0, f64::NAN), {
        "model 1: its calibration is not of finite numbers"
    });
    refused(|p| p.models[1].calibration = CalibrationPlan::Isotonic(Vec::new()), {
        "model 1: its calibration has 0 points; there can be 1 to 1024"
    });
    refused(|p| p.models[1].calibration = CalibrationPlan::Isotonic(vec![(0, 1), (1, 0)]), {
        "model 1: the points of its calibration do not ascend, or are too great"
    });
    refused(|p| p.models[1].calibration = CalibrationPlan::Isotonic(vec![(0, i64::MIN)]), {
        "model 1: the points of its calibration do not ascend, or are too great"
    });
    let other = refusal(|p| trees_of(p).nodes[0].input = 1 - trees_of(p).nodes[0].input);
    assert!(other.contains("does not agree with the trees"), "{other}");
}

/// The commonest of all: an amount, then a model.
#[test]
fn a_lazy_model_is_not_asked_where_another_part_of_the_condition_fails() {
    let mut policy = payments();
    policy.models = vec![model("slow", true, Calibration::None)];
    let amount = Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), USD);
    let large = compare(Compare::Gt, amount, Expr::Const(Value::int(50_000), Type::Money(USD)));
    let half = Expr::Const(Value::ratio(1, 2), Type::Decimal);
    let likely = compare(Compare::Gt, Expr::Model(ModelIx(0)), half);
    policy.rules[1].when = Expr::And(Box::new(large), Box::new(likely));
    let program = lower(&policy, &Tokenizer::default()).unwrap();
    let mut engine = engine(open(seal(&program)).unwrap()).unwrap();
    for (number, minor, is_asked) in [(1, 50_000, false), (2, 50_001, true), (3, 100, false)] {
        assert!(matches!(step(&mut engine, number, minor), Step::Decided(_)));
        assert_eq!(!engine.models()[0].is_missing(), is_asked, "of {minor}");
    }
}

fn refusal(change: impl FnOnce(&mut Program)) -> String {
    let mut program = with_models();
    change(&mut program);
    open(seal(&program)).err().map_or_else(|| "accepted".to_owned(), |error| error.0)
}

/// Asks about four payments of a card; how many were decided.
fn ask(loaded: Loaded) -> usize {
    let Some(mut engine) = engine(loaded) else { return 0 };
    let decided =
        (0..4).filter(|number| matches!(step(&mut engine, *number, 50_000 * number), Step::Decided(_)));
    decided.count()
}

fn engine(loaded: Loaded) -> Option<Engine> {
    let limits =
        Limits { keys_max: 64, spill_bytes_max: 1 << 20, dedup_entries_max: 64, ..Limits::default() };
    Engine::new(loaded, &limits).ok()
}

/// A payment of a card, without a device, of so many cents.
fn step(engine: &mut Engine, number: u64, minor: u64) -> Step {
    let time = TIME as u64 + number;
    // Id, time, presence, then the fields.
    let words = [number, 1, time, 0b1101, 7, 8, 0, 0, minor, 840, number % 2];
    let (admission, received) = (Admission::Normal, Time(time as i64));
    engine.step(&Input { principal: 1, kind: 0, admission, received, words: &words })
}

/// What passes is asked, with whatever its trees have become.
#[test]
fn a_model_changed_under_a_good_hash_is_refused_or_harmless() {
    let sealed = seal(&with_models());
    assert_eq!(ask(open(sealed.clone()).unwrap()), 4);
    let mut random = trees::Random::new(11);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..6_000 {
        let mut body = sealed[64..].to_vec();
        for _ in 0..=random.below(2) {
            let at = random.below(body.len());
            body[at] = if random.is(50) { body[at] ^ 1 << random.below(8) } else { random.next() as u8 };
        }
        match open(with_header(&body)) {
            Ok(loaded) => {
                ask(loaded);
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 100 && refused > 1_000, "{accepted} accepted, {refused} refused");
}

const TIME: i64 = 1_700_000_000_000_000;
