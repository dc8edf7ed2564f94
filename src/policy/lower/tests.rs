//! Lowering end to end: a policy written as a tree, compiled, sealed, opened and looked at.

mod bounds;
mod damage;
mod evaluate;
mod models;
mod random;

use super::*;
use crate::engine::program::{Origin, Program};
use crate::engine::units::{Currency, HOUR, Value};
use crate::engine::validate::PAIR_HEADER_WORDS;
use crate::policy::archive;
use crate::policy::typed::{
    Arithmetic, Compare, Decide, Effective, EntityIx, Event, FeatureIx, Field, FieldType, Late, Let, LetIx,
    List, ListIx, Rates, Reason, Rule, RuleIx, Scene, SceneIx, Table, TableIx, Window, Within,
};

pub(super) const USD: Currency = Currency(840);

pub(super) fn field(name: &str, ty: FieldType) -> Field {
    Field { name: name.into(), ty, optional: false, inherited: None }
}

pub(super) fn optional(name: &str, ty: FieldType) -> Field {
    Field { optional: true, ..field(name, ty) }
}

fn inherited(name: &str, entity: u16, from: u16) -> Field {
    Field { inherited: Some(FieldIx(from)), ..field(name, FieldType::Entity(EntityIx(entity))) }
}

fn words(words: &[&str]) -> FieldType {
    FieldType::Enum(words.iter().map(|word| (*word).to_owned()).collect())
}

fn int(number: i64) -> Expr {
    Expr::Const(Value::int(number), Type::Int)
}

fn ordinal(event: u16, field: u16, ordinal: i64) -> Expr {
    Expr::Const(Value::int(ordinal), Type::Enum(EventIx(event), FieldIx(field)))
}

fn usd(minor: i64) -> Expr {
    Expr::Const(Value::int(minor), Type::Money(USD))
}

fn compare(compare: Compare, a: Expr, b: Expr) -> Expr {
    Expr::Compare(compare, Box::new(a), Box::new(b))
}

fn source(event: u16, role: u16, filter: Option<Expr>) -> Source {
    Source { event: EventIx(event), role: By::One(FieldIx(role)), filter }
}

fn windowed(name: &str, ty: Type, entity: u16, field: u16, span_us: i64, aggregate: Aggregate) -> Feature {
    let judged_by = vec![(EventIx(0), By::One(FieldIx(field)))];
    let frame = Frame::Last { span_us };
    let window = Window { by: By::One(EntityIx(entity)), frame, delay_us: 0, aggregate, judged_by };
    Feature { name: name.into(), ty, kind: FeatureKind::Window(window), assume: None }
}

/// Payments with results, counted by card and device.
///
/// payment (0): card 0, device 1 (optional), amount 2, channel 3; result (1) amends payment: outcome 0,
/// approved 1 (optional), then the inherited card 2 and device 3.
/// An entry of a list of keys.
pub(super) fn key_entry(kind: &str, text: &str) -> ListEntry {
    let key = Tokenizer::default().key(kind, text).unwrap_or(crate::engine::units::Key([0; 2]));
    let (owner, reason) = (String::new(), String::new());
    ListEntry { text: text.to_owned(), entry: Entry::new(0, &key.0), until: None, owner, reason }
}

pub(super) fn payments() -> Policy {
    let (card, device) = (EntityIx(0), EntityIx(1));
    let spent = Expr::InCurrency(
        Box::new(Expr::FirstPresent(vec![Expr::Amended(EventIx(1), FieldIx(1)), Expr::Field(FieldIx(2))])),
        USD,
    );
    let declined = compare(Compare::Eq, Expr::Field(FieldIx(0)), ordinal(1, 0, 1));
    let kept = Expr::Or(
        Box::new(Expr::AmendMissing(EventIx(1), None)),
        Box::new(compare(Compare::Ne, Expr::Amended(EventIx(1), FieldIx(0)), ordinal(1, 0, 1))),
    );
    let in_usd = Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), USD);
    Policy {
        name: "card_payments".into(),
        revision: 13,
        entities: vec!["card".into(), "device".into()],
        events: vec![
            Event {
                name: "payment".into(),
                amends: None,
                fields: vec![
                    field("card", FieldType::Entity(card)),
                    optional("device", FieldType::Entity(device)),
                    field("amount", FieldType::Money),
                    field("channel", words(&["pos", "ecom"])),
                ],
            },
            Event {
                name: "result".into(),
                amends: Some(EventIx(0)),
                fields: vec![
                    field("outcome", words(&["approved", "declined"])),
                    optional("approved", FieldType::Money),
                    inherited("card", 0, 0),
                    Field { optional: true, ..inherited("device", 1, 1) },
                ],
            },
        ],
        reasons: vec![Reason {
            name: "VELOCITY".into(),
            id: 17,
            analyst: "5 declines in 1 h".into(),
            customer: Some("too many attempts".into()),
            iso: Some("59".into()),
        }],
        lists: vec![List {
            name: "blocked".into(),
            of: ListOf::Entity(device.0),
            entries: ["d2", "d1", "d2"].map(|text| key_entry("device", text)).to_vec(),
        }],
        lets: vec![Let { name: "spent".into(), event: EventIx(0), expr: spent, ty: Type::Money(USD) }],
        features: vec![
            windowed("declines_1h", Type::Int, 0, 0, HOUR, Aggregate::Count(source(1, 2, Some(declined)))),
            windowed(
                "spend_24h",
                Type::Money(USD),
                0,
                0,
                24 * HOUR,
                Aggregate::Sum(source(0, 0, Some(kept.clone())), Expr::Let(LetIx(0))),
            ),
            windowed("kept_1h", Type::Int, 0, 0, HOUR, Aggregate::Count(source(0, 0, Some(kept)))),
            windowed("cards_1d", Type::Int, 1, 1, 24 * HOUR, {
                Aggregate::DistinctKeys(source(0, 1, None), FieldIx(0))
            }),
            Feature {
                name: "big".into(),
                ty: Type::Bool,
                assume: None,
                kind: FeatureKind::Scalar {
                    event: EventIx(0),
                    expr: compare(Compare::Gt, in_usd.clone(), usd(100_000)),
                },
            },
        ],
        queues: Vec::new(),
        models: Vec::new(),
        scenes: Vec::new(),
        tables: Vec::new(),
        rules: vec![
            Rule {
                name: "listed".into(),
                event: EventIx(0),
                when: Expr::InList(FieldIx(1), ListIx(0)),
                action: Some(Action::Block),
                score: None,
                reason: None,
                mandatory: true,
                monitor: false,
                salience: 0,
                allow_over: Vec::new(),
                alerts: Vec::new(),
                within: None,
                effective: Effective::default(),
            },
            Rule {
                name: "velocity".into(),
                event: EventIx(0),
                when: Expr::And(
                    Box::new(compare(Compare::Ge, Expr::Feature(FeatureIx(0)), int(5))),
                    Box::new(compare(Compare::Gt, in_usd.clone(), usd(20_000))),
                ),
                action: Some(Action::Block),
                score: Some(90),
                reason: Some(0),
                mandatory: false,
                monitor: false,
                salience: 5,
                allow_over: Vec::new(),
                alerts: Vec::new(),
                within: None,
                effective: Effective::default(),
            },
            Rule {
                name: "night".into(),
                event: EventIx(0),
                when: compare(Compare::Lt, Expr::Hour("Europe/Berlin".into()), int(6)),
                action: None,
                score: Some(10),
                reason: None,
                mandatory: false,
                monitor: false,
                salience: 0,
                allow_over: vec![RuleIx(1)],
                alerts: Vec::new(),
                within: None,
                effective: Effective::default(),
            },
        ],
        rates: None,
        decides: vec![Decide {
            event: EventIx(0),
            score: Expr::Extreme {
                greatest: true,
                of: vec![
                    Expr::RuleScoresMax,
                    Expr::Arithmetic(
                        Arithmetic::Mul,
                        Box::new(Expr::Feature(FeatureIx(2))),
                        Box::new(int(2)),
                    ),
                ],
            },
            thresholds: vec![(Action::Review, compare(Compare::Ge, Expr::Score, int(70)))],
            unassessed: Action::Review,
            late: Some(Late {
                after_ns: 500_000,
                branches: vec![(Action::Allow, compare(Compare::Lt, in_usd, usd(5_000)))],
                otherwise: Action::Review,
            }),
        }],
    }
}

/// The same with a count by the pair of card and device that results can change, twice over.
pub(super) fn pairs() -> Policy {
    let mut policy = payments();
    let role = By::Pair(FieldIx(0), FieldIx(1));
    let filter = Some(Expr::AmendMissing(EventIx(1), None));
    let window = |span_us| Window {
        by: By::Pair(EntityIx(0), EntityIx(1)),
        frame: Frame::Last { span_us },
        delay_us: 0,
        aggregate: Aggregate::Count(Source { event: EventIx(0), role, filter: filter.clone() }),
        judged_by: vec![(EventIx(0), role)],
    };
    for (name, span_us) in [("open_1h", HOUR), ("open_2h", 2 * HOUR)] {
        let kind = FeatureKind::Window(window(span_us));
        policy.features.push(Feature { name: name.into(), ty: Type::Int, kind, assume: None });
    }
    policy
}

/// The same with rates, and a rule that converts money once more.
pub(super) fn with_rates() -> Policy {
    let mut policy = payments();
    policy.rates = Some(Rates { name: "daily".into(), max_age_us: HOUR });
    let eur = Currency(978);
    let in_eur = Expr::InCurrency(Box::new(usd(1_000)), eur);
    policy.rules[2].when =
        compare(Compare::Gt, in_eur, Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), eur));
    policy
}

pub(super) fn program() -> Program {
    lower(&payments(), &Tokenizer::default()).unwrap()
}

#[test]
fn a_policy_survives_being_sealed_and_opened() {
    let program = program();
    let loaded = archive::open(archive::seal(&program)).unwrap();
    let back = rkyv::deserialize::<Program, rkyv::rancor::Error>(loaded.program()).unwrap();
    assert_eq!(back, program);
}

#[test]
fn rates_are_the_last_event_and_part_of_the_layout() {
    let (without, mut policy) = (program(), with_rates());
    let with = lower(&policy, &Tokenizer::default()).unwrap();
    let plan = with.rates.as_ref().unwrap();
    assert_eq!((plan.event, plan.into.as_slice()), (2, &[840, 978][..]));
    assert_eq!((with.events.len(), with.events[2].words, with.events[2].name.as_str()), (3, 8, "rate"));
    assert_ne!(with.layout_hash, without.layout_hash);
    let hash = |policy: &Policy| lower(policy, &Tokenizer::default()).unwrap().layout_hash;
    policy.rates = Some(Rates { max_age_us: 1, name: "daily".into() });
    assert_eq!(hash(&policy), with.layout_hash, "how old they may be is nothing to a sender");
    policy.rates = Some(Rates { max_age_us: 1, name: "hourly".into() });
    assert_ne!(hash(&policy), with.layout_hash, "which rates they are is");
}

#[test]
fn only_what_features_need_is_stored() {
    let program = program();
    assert_eq!(program.groups.len(), 3);
    let spend = &program.groups[1];
    // spent, result.outcome, result.approved in USD, whether it is there, amount in USD.
    assert_eq!(spend.columns.len(), 5);
    assert_eq!(spend.columns[0].origin, Origin::Derived);
    assert_eq!(spend.bits.len(), 1, "both features use the same filter");
    assert_eq!(spend.amends.len(), 1);
    let by_device = &program.groups[2];
    assert_eq!((by_device.columns.len(), by_device.keys.len(), by_device.id_column), (0, 1, NONE));
    assert!(program.groups.iter().all(|group| group.inline_rows >= 4));
    assert_eq!(program.lists[0].parts[0].keys.len(), 4);
}

#[test]
fn what_is_told_by_the_newest_rows_is_kept_in_order() {
    let mut policy = pairs();
    let of = |policy: &Policy| lower(policy, &Tokenizer::default()).unwrap().features[3].argument;
    assert_eq!(of(&policy), 0);
    policy.features[3].assume = Some(Assume::Low);
    assert_eq!(of(&policy), i64::from(program::DISTINCT_EXACT_MAX));
    let by_device = lower(&policy, &Tokenizer::default()).unwrap().groups.swap_remove(2);
    assert_eq!((by_device.keys.len(), by_device.id_column), (1, 1));
}

#[test]
fn a_pair_has_one_table_whose_records_hold_both_keys() {
    let program = lower(&pairs(), &Tokenizer::default()).unwrap();
    let [pair] = &program.tables[..] else { panic!("{:?}", program.tables) };
    assert_eq!((pair.first, pair.second, pair.record_words), (0, 1, 40));
    let group = &program.groups[3];
    assert_eq!((group.table, group.role, group.second_role), (2, 0, 1));
    assert_eq!((group.retention_us, usize::from(group.record_word)), (2 * HOUR, PAIR_HEADER_WORDS));
    // Both events look it up by both keys, after the single ones: card and device, and for results card alone.
    for (event, at) in [(0, 2), (1, 1)] {
        let event = &program.events[event];
        let [card, device] = ["card", "device"].map(|name| {
            let field = event.fields.iter().find(|field| field.name.ends_with(name)).unwrap();
            KeyAt { word: field.word, bit: field.bit }
        });
        assert_eq!(
            event.keys[at],
            KeyPlan { table: 2, first: card, second: Some(device), tells_history: true }
        );
    }
    assert_eq!((program.events[0].inserts[2].key, program.events[1].targets[1].key), (2, 1));
    let back = archive::open(archive::seal(&program)).unwrap();
    assert_eq!(rkyv::deserialize::<Program, rkyv::rancor::Error>(back.program()).unwrap(), program);
}
