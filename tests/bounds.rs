//! What the engine does at its limits: they are refused by name when they make no sense, and what does not fit is counted
//! and flagged for exactly as long as it matters. And how recovery adopts what another policy decided.

mod support;

use support::frames::{self, Cell, encode};
use tollgate::engine::units::{Action, DAY, EventId, HOUR, Key, Time, Value};
use tollgate::engine::wire::{Admission, FLAG_ACK, FLAG_DUPLICATE, FLAG_INEXACT, Input, Outcome};
use tollgate::engine::{Clock, Engine, Limits, Step};
use tollgate::policy::typed::{
    Aggregate, By, Compare, Decide, Effective, EntityIx, Event, EventIx, Expr, Feature, FeatureIx,
    FeatureKind, Field, FieldIx, FieldType, Frame, Policy, Rule, Source, Type, Window,
};
use tollgate::policy::{archive, lower::lower};
use tollgate::token::Tokenizer;

const PAYMENT: EventIx = EventIx(0);

/// `payment { card, amount: int }`, how many in a day, and a rule on three of them; `sign_up { card }` is only taken in.
fn policy() -> Policy {
    let field = |name: &str, ty| Field { name: name.into(), ty, optional: false, inherited: None };
    let card = || field("card", FieldType::Entity(EntityIx(0)));
    let role = By::One(FieldIx(0));
    let source = Source { event: PAYMENT, role, filter: None };
    let window = Window {
        by: By::One(EntityIx(0)),
        frame: Frame::Last { span_us: DAY },
        delay_us: 0,
        aggregate: Aggregate::Count(source),
        judged_by: vec![(PAYMENT, role)],
    };
    let three = Box::new(Expr::Const(Value::int(3), Type::Int));
    let rule = |name: &str, monitor, salience| Rule {
        name: name.into(),
        event: PAYMENT,
        when: Expr::Compare(Compare::Ge, Box::new(Expr::Feature(FeatureIx(0))), three.clone()),
        action: Some(Action::Block),
        score: Some(70),
        reason: None,
        mandatory: false,
        monitor,
        salience,
        allow_over: Vec::new(),
        alerts: Vec::new(),
        within: None,
        effective: Effective::default(),
    };
    Policy {
        name: "bounds".into(),
        revision: 4,
        entities: vec!["card".into()],
        events: vec![
            Event {
                name: "payment".into(),
                amends: None,
                fields: vec![card(), field("amount", FieldType::Int)],
            },
            Event { name: "sign_up".into(), amends: None, fields: vec![card()] },
        ],
        reasons: Vec::new(),
        lists: Vec::new(),
        lets: Vec::new(),
        features: vec![Feature {
            name: "day".into(),
            ty: Type::Int,
            kind: FeatureKind::Window(window),
            assume: None,
        }],
        queues: Vec::new(),
        models: Vec::new(),
        scenes: Vec::new(),
        tables: Vec::new(),
        rules: vec![rule("three", false, 0), rule("three_seen", true, 9)],
        rates: None,
        decides: vec![Decide {
            event: PAYMENT,
            score: Expr::RuleScoresMax,
            thresholds: Vec::new(),
            unassessed: Action::Review,
            late: None,
        }],
    }
}

/// The same, counted by the pair of card and shop: `payment { card, amount: int, shop? }`. Nothing is kept by either alone.
fn pair_policy() -> Policy {
    let mut policy = policy();
    policy.entities.push("shop".into());
    let shop = FieldType::Entity(EntityIx(1));
    policy.events[0].fields.push(Field { name: "shop".into(), ty: shop, optional: true, inherited: None });
    let role = By::Pair(FieldIx(0), FieldIx(2));
    let window = Window {
        by: By::Pair(EntityIx(0), EntityIx(1)),
        frame: Frame::Last { span_us: DAY },
        delay_us: 0,
        aggregate: Aggregate::Count(Source { event: PAYMENT, role, filter: None }),
        judged_by: vec![(PAYMENT, role)],
    };
    policy.features[0].kind = FeatureKind::Window(window);
    policy
}

fn engine(limits: Limits) -> Engine {
    engine_of(&policy(), limits)
}

fn engine_of(policy: &Policy, limits: Limits) -> Engine {
    let program = lower(policy, &Tokenizer::default()).expect("the policy lowers");
    let loaded = archive::open(archive::seal(&program)).expect("the program opens");
    let made = Engine::new(loaded, &limits);
    made.unwrap_or_else(|error| panic!("{}", error.message))
}

fn small() -> Limits {
    Limits { keys_max: 100, spill_bytes_max: 1 << 20, dedup_entries_max: 1_000, ..Limits::default() }
}

fn payment(id: u64, time: i64, card: u64) -> [u64; 7] {
    [id, 0, time as u64, 3, card, 0, 5]
}

/// A payment at a shop, for [`pair_policy`].
fn payment_at(id: u64, time: i64, card: u64, shop: Option<u64>) -> [u64; 9] {
    let presence = if shop.is_some() { 7 } else { 3 };
    [id, 0, time as u64, presence, card, 0, 5, shop.unwrap_or(0), 0]
}

fn input(kind: u16, words: &[u64]) -> Input<'_> {
    Input { principal: 1, kind, admission: Admission::Normal, received: Time(0), words }
}

fn decide(engine: &mut Engine, words: &[u64]) -> Outcome {
    match engine.step(&input(0, words)) {
        Step::Decided(outcome) => outcome,
        other => panic!("not decided: {other:?}"),
    }
}

fn is_inexact(outcome: Outcome) -> bool {
    outcome.flags & FLAG_INEXACT != 0
}

#[test]
fn senseless_limits_are_refused_by_name() {
    let program = lower(&policy(), &Tokenizer::default()).expect("the policy lowers");
    let loaded = archive::open(archive::seal(&program)).expect("the program opens");
    for (name, limits) in [
        ("keys_max", Limits { keys_max: 0, ..small() }),
        ("keys_max", Limits { keys_max: u32::MAX, ..small() }),
        ("dedup_entries_max", Limits { dedup_entries_max: 0, ..small() }),
        ("rows_per_key_max", Limits { rows_per_key_max: 0, ..small() }),
        ("rows_per_key_max", Limits { rows_per_key_max: u32::MAX, ..small() }),
        ("spill_bytes_max", Limits { spill_bytes_max: u64::MAX, ..small() }),
        ("lateness_us", Limits { lateness_us: -1, ..small() }),
        ("skew_us", Limits { skew_us: i64::MAX, ..small() }),
        ("jump_us", Limits { jump_us: -1, ..small() }),
        ("jump_us", Limits { jump_us: i64::MAX, ..small() }),
    ] {
        let refused = Engine::new(loaded.clone(), &limits).err().unwrap_or_else(|| panic!("{name} passed"));
        assert!(refused.message.contains(name), "{name}: {}", refused.message);
    }
}

#[test]
fn rows_beyond_the_bound_flag_the_windows_that_would_have_held_them() {
    let mut engine = engine(Limits { rows_per_key_max: 3, ..small() });
    let mut inexact = Vec::new();
    for number in 0..6 {
        let outcome = decide(&mut engine, &payment(number, 10 * DAY + number as i64 * HOUR, 1));
        inexact.push(is_inexact(outcome));
        assert!(engine.features()[0].num <= 4);
    }
    // The fourth row pushes out the first: known to matter from the fifth event on.
    assert_eq!(inexact, [false, false, false, false, true, true]);
    assert_eq!(engine.counters().rows_lost, 3);
    // The newest row lost is of hour 2: a day later no window reaches it.
    let hour_26 = payment(90, 10 * DAY + 26 * HOUR, 1);
    assert!(!is_inexact(decide(&mut engine, &hour_26)));
    assert_eq!(engine.features(), [Value::int(4)]);
}

#[test]
fn a_full_table_flags_what_it_cannot_keep_until_idle_keys_make_room() {
    let mut engine = engine(Limits { keys_max: 2, ..small() });
    for card in [1, 2] {
        assert!(!is_inexact(decide(&mut engine, &payment(card, 10 * DAY, card))));
    }
    assert!(is_inexact(decide(&mut engine, &payment(3, 10 * DAY, 3))));
    assert!(is_inexact(decide(&mut engine, &payment(4, 10 * DAY + 1, 3))), "its first payment is not known");
    assert_eq!(engine.counters().keys_lost, 2);
    // Two days later the first two cards are idle; the next refused key sweeps them out.
    let later = 12 * DAY;
    assert!(is_inexact(decide(&mut engine, &payment(5, later, 4))));
    assert_eq!(engine.counters().keys_expired, 2);
    assert!(is_inexact(decide(&mut engine, &payment(6, later + 1, 4))));
    let outcome = decide(&mut engine, &payment(7, later + 2, 4));
    assert!(is_inexact(outcome), "the payment that was not kept is still in reach");
    assert_eq!(engine.features(), [Value::int(2)]);
    let outcome = decide(&mut engine, &payment(8, later + DAY, 4));
    assert!(!is_inexact(outcome), "and now it is not");
    assert_eq!(engine.features(), [Value::int(3)]);
}

#[test]
fn a_pair_is_known_by_both_its_keys_alone() {
    let mut engine = engine_of(&pair_policy(), small());
    let time = 10 * DAY;
    for (id, (card, shop), count, score) in [
        (1, (1, Some(2)), Value::int(1), -1),
        // Each key was seen, but not together.
        (2, (1, Some(1)), Value::int(1), -1),
        (3, (2, Some(2)), Value::int(1), -1),
        (4, (2, Some(1)), Value::int(1), -1),
        (5, (1, None), Value::MISSING, -1),
        (6, (1, Some(2)), Value::int(2), 0),
        (7, (2, Some(1)), Value::int(2), 0),
        (8, (1, Some(2)), Value::int(3), 70),
    ] {
        let outcome = decide(&mut engine, &payment_at(id, time, card, shop));
        assert_eq!((engine.features()[0], outcome.score), (count, score), "payment {id}");
    }
}

#[test]
fn a_full_table_of_pairs_flags_what_it_cannot_keep_until_idle_pairs_make_room() {
    let mut engine = engine_of(&pair_policy(), Limits { keys_max: 2, ..small() });
    let mut pay =
        |id, time, card, shop| is_inexact(decide(&mut engine, &payment_at(id, time, card, Some(shop))));
    let (first, later) = (10 * DAY, 12 * DAY);
    assert!(!pay(1, first, 1, 1) && !pay(2, first, 1, 2));
    assert!(pay(3, first, 2, 1), "the third pair, of keys that are known");
    assert!(!pay(4, first, 1, 1));
    // Two days later the first two are idle; the next refused pair sweeps them out.
    assert!(pay(5, later, 2, 2));
    assert!(pay(6, later, 2, 2), "its first payment is not known");
    assert!(!pay(7, later + DAY, 2, 2), "and no longer matters");
    assert_eq!((engine.counters().keys_lost, engine.counters().keys_expired), (2, 2));
}

#[test]
fn what_fired_can_be_told() {
    let mut engine = engine(small());
    for number in 0..3 {
        let outcome = decide(&mut engine, &payment(number, 10 * DAY, 1));
        let fired: &[u16] = if number < 2 { &[] } else { &[1, 0] };
        assert_eq!(engine.fired(), fired);
        let expect = [(-1, Action::Review), (0, Action::Allow), (70, Action::Block)][number as usize];
        assert_eq!((outcome.score, outcome.action), expect);
    }
    let sign_up = [9, 0, 10 * DAY as u64, 1, 1, 0];
    assert!(matches!(engine.step(&input(1, &sign_up)), Step::Decided(taken) if taken.flags == FLAG_ACK));
    assert!(engine.fired().is_empty() && engine.features()[0].is_missing());
}

#[test]
fn adopted_decisions_leave_the_state_and_the_recorded_verdicts() {
    let (mut live, mut recovered) = (engine(small()), engine(small()));
    let recorded = |seq| Outcome { seq, score: 33, action: Action::Challenge, ..Outcome::default() };
    for number in 0..2 {
        let words = payment(number, 10 * DAY, 1);
        let _ = live.step(&input(0, &words));
        recovered.adopt(&input(0, &words), recorded(number + 41), number);
    }
    assert_eq!((recovered.next_seq(), recovered.digest()), (43, 1));
    let again = recovered.step(&input(0, &payment(1, 10 * DAY, 1)));
    assert_eq!(again, Step::Repeated(Outcome { flags: FLAG_DUPLICATE, ..recorded(42) }));
    let next = payment(2, 10 * DAY, 1);
    let (ours, theirs) = (decide(&mut live, &next), decide(&mut recovered, &next));
    assert_eq!(Outcome { seq: 43, ..ours }, theirs);
    assert_eq!(live.features(), recovered.features());
}

#[test]
fn looking_ahead_takes_any_frame() {
    for policy in [policy(), pair_policy()] {
        let mut engine = engine_of(&policy, small());
        let words = payment_at(1, 10 * DAY, 1, Some(1));
        for kind in [0, 1, 2, u16::MAX] {
            for len in 0..=words.len() {
                engine.look_ahead([input(kind, &words[..len])]);
            }
        }
    }
}

/// The longest reach of a row: its window, and the lateness of the event that looks.
const REACH: i64 = DAY + HOUR;

fn reaching(keys_max: u32) -> Engine {
    engine(Limits { keys_max, lateness_us: HOUR, ..small() })
}

/// Payments of card `card`, all at `time`.
fn pay_often(engine: &mut Engine, ids: &mut u64, times: u64, time: i64, card: u64) -> Outcome {
    let mut last = Outcome::default();
    for _ in 0..times {
        *ids += 1;
        last = decide(engine, &payment(*ids, time, card));
    }
    last
}

/// So many rows that for some card the inline rows, for others a slab of each size, is full when the next one comes.
const ROWS: std::ops::RangeInclusive<u64> = 1..=360;

#[test]
fn a_row_is_kept_until_the_last_event_that_can_reach_it() {
    let (mut engine, mut ids) = (reaching(2_000), 0);
    let first = 10 * DAY;
    for rows in ROWS {
        pay_often(&mut engine, &mut ids, rows, first, rows);
    }
    // The last microsecond at which an event that is as late as can be still sees them.
    let last = first + REACH - 1;
    for rows in ROWS {
        pay_often(&mut engine, &mut ids, 1, last, rows);
        pay_often(&mut engine, &mut ids, 1, last - HOUR, rows);
        assert_eq!(engine.features(), [Value::int(rows as i64 + 1)]);
    }
    assert_eq!((engine.counters().too_late, engine.counters().rows_lost), (0, 0));
}

#[test]
fn a_key_is_kept_until_the_last_event_that_can_reach_it() {
    let (mut engine, mut ids) = (reaching(100), 0);
    let first = 10 * DAY;
    for card in 1..=60 {
        pay_often(&mut engine, &mut ids, 1, first, card);
    }
    // The table is more than half full: each new card makes the sweep look at four.
    let last = first + REACH - 1;
    for card in 61..=80 {
        pay_often(&mut engine, &mut ids, 1, last, card);
    }
    assert_eq!(engine.counters().keys_expired, 0);
    for card in 1..=30 {
        pay_often(&mut engine, &mut ids, 1, last - HOUR, card);
        assert_eq!(engine.features(), [Value::int(2)]);
    }
    for card in 81..=120 {
        pay_often(&mut engine, &mut ids, 1, last + 1, card);
    }
    assert_eq!((engine.counters().keys_expired, engine.counters().keys_lost), (30, 0));
}

#[test]
fn a_row_is_history_until_the_last_event_that_can_reach_it() {
    let first = 10 * DAY;
    for rows in 1..=100 {
        for (watermark, score) in [(first + REACH - 1, 0), (first + REACH, -1)] {
            let (mut engine, mut ids) = (reaching(100), 0);
            pay_often(&mut engine, &mut ids, rows, first, 1);
            // A late one: for some numbers the only row that is not in a slab, and dead before those that are.
            pay_often(&mut engine, &mut ids, 1, first - 1, 1);
            pay_often(&mut engine, &mut ids, 1, watermark, 2);
            let outcome = pay_often(&mut engine, &mut ids, 1, watermark + DAY, 1);
            assert_eq!(engine.features(), [Value::int(1)]);
            assert_eq!(outcome.score, score, "{rows} rows, {watermark}");
        }
    }
}

#[test]
fn a_key_outlives_a_false_jump_of_the_clock() {
    for (jump_us, outlives) in [(HOUR, true), (0, false)] {
        let limits = Limits { clock: Clock::Wall, lateness_us: HOUR, jump_us, ..small() };
        let (mut engine, mut ids, first) = (engine(limits), 0, 10 * DAY);
        let mut pay = |card: u64, received: i64| {
            ids += 1;
            let words = payment(ids, received, card);
            let input = Input { received: Time(received), ..input(0, &words) };
            assert!(matches!(engine.step(&input), Step::Decided(_)));
            (engine.counters().keys_expired, engine.counters().keys_lost)
        };
        for card in 1..=60 {
            pay(card, first);
        }
        // A year ahead for one event, then right again; each new card makes the sweep look at four.
        let year = first + 365 * DAY;
        pay(61, year);
        for card in 62..=79 {
            pay(card, first);
        }
        let (expired, _) = pay(80, year + HOUR - 1);
        assert_eq!(expired == 0, outlives);
        // Steady for an hour: now they go.
        for card in 81..=99 {
            pay(card, year + HOUR);
        }
        let (expired, lost) = pay(100, year + HOUR);
        assert!(expired > 0 && lost == 0);
    }
}

#[test]
fn slabs_of_idle_keys_come_back_when_there_are_no_others() {
    let mut engine = engine(Limits { keys_max: 1_000, spill_bytes_max: 4 << 10, ..small() });
    let mut ids = 0;
    for card in 1..=40 {
        pay_often(&mut engine, &mut ids, 60, 10 * DAY, card);
    }
    let lost = engine.counters().rows_lost;
    assert!(lost > 0, "all slabs were to be in use");
    // None of these cards is ever seen again, so only the sweep can free their slabs.
    pay_often(&mut engine, &mut ids, 60, 20 * DAY, 41);
    assert!(engine.counters().rows_lost - lost <= 20, "{:?}", engine.counters());
    let lost = engine.counters().rows_lost;
    assert!(!is_inexact(pay_often(&mut engine, &mut ids, 60, 20 * DAY, 42)));
    assert_eq!(engine.features(), [Value::int(60)]);
    assert_eq!(engine.counters().rows_lost, lost);
}

/// By the wall clock, an event whose own time is not believed is found by amendments through memory that there may not be. Then
/// what it would count as is not known: `assume high` counts it.
#[test]
fn an_event_that_amendments_do_not_find_is_within_the_upper_bound() {
    const POLICY: &str = "policy found revision 1
entity card
event payment { card: card }
event result amends payment { declined: bool }
feature found = count(payment where result.declined) by card last 1d
feature at_most = count(payment where result.declined) by card last 1d assume high
decide payment { score = rule_scores, unassessed review }
";
    let (now, card) = (100 * DAY, 7);
    for (spill_bytes_max, told) in [(0, [0, 1]), (4 << 10, [1, 1])] {
        let frames::Compiled { policy, layouts, loaded, .. } = frames::compiled(POLICY);
        let is_card = |field: &Field| matches!(field.ty, FieldType::Entity(_));
        let limits = Limits { clock: Clock::Wall, spill_bytes_max, ..small() };
        let mut engine = Engine::new(loaded, &limits).expect("an engine");
        let mut send = |kind: u16, number, time, target, cells: &[Option<Cell>]| {
            let words = encode(&layouts[usize::from(kind)], EventId([number, 1]), time, target, cells);
            let input = Input { received: Time(now), ..input(kind, &words) };
            let Step::Decided(outcome) = engine.step(&input) else { panic!("event {number} is refused") };
            (outcome, engine.features().to_vec())
        };
        let key = Some(Cell::Key(Key([card, 9])));
        // It says that it is of two days ago, and counts from when it was received.
        send(0, 1, now - 2 * DAY, None, &[key]);
        let fields = policy.events[1].fields.iter();
        let result: Vec<_> =
            fields.map(|field| if is_card(field) { key } else { Some(Cell::Number(1)) }).collect();
        send(1, 2, now, Some((EventId([1, 1]), now - 2 * DAY)), &result);
        let (outcome, features) = send(0, 3, now, None, &[key]);
        assert_eq!(features, told.map(Value::int));
        assert_eq!(is_inexact(outcome), spill_bytes_max == 0);
    }
}
