//! Decisions worked out by hand, held against the oracle and against the engine.
//!
//! One small policy; times in seconds unless said otherwise. Each test is a story: what is sent, and what must be
//! known and decided right after.

mod support;

use support::fraction::Fraction;
use support::frames::{Cell, Frame, Layout, encode};
use support::oracle::Oracle;
use tollgate::engine::program::ListOf;
use tollgate::engine::units::entries::Entry;
use tollgate::engine::units::{Action, Currency, EventId, Key, SECOND, Time, Value};
use tollgate::engine::wire::{
    Admission, FLAG_ACK, FLAG_DUPLICATE, FLAG_FALLBACK, FLAG_INEXACT, Outcome, Refusal,
};
use tollgate::engine::{Clock, Engine, Limits, Step};
use tollgate::policy::archive;
use tollgate::policy::lower::lower;
use tollgate::policy::typed::{
    self, Aggregate, By, Compare, Decide, Effective, EntityIx, Event, EventIx, Expr, Feature, FeatureIx,
    FeatureKind, Field, FieldIx, FieldType, Late, List, ListEntry, ListIx, Policy, Reason, Rule, RuleIx,
    Source, Type, Window,
};
use tollgate::token::Tokenizer;

const PAYMENT: EventIx = EventIx(0);
const RESULT: EventIx = EventIx(1);
const LOGIN: EventIx = EventIx(2);
const CARD: FieldIx = FieldIx(0);
const PAYER: FieldIx = FieldIx(1);
const AMOUNT: FieldIx = FieldIx(2);
const ECOM: FieldIx = FieldIx(3);

fn usd() -> Currency {
    Currency::from_alpha("USD").unwrap()
}

fn field(name: &str, ty: FieldType, optional: bool, inherited: Option<FieldIx>) -> Field {
    Field { name: name.to_owned(), ty, optional, inherited }
}

fn event(name: &str, amends: Option<EventIx>, fields: Vec<Field>) -> Event {
    Event { name: name.to_owned(), amends, fields }
}

fn source(event: EventIx, role: FieldIx, filter: Option<Expr>) -> Source {
    Source { event, role: By::One(role), filter }
}

fn window(entity: u16, seconds: i64, delay: i64, aggregate: Aggregate) -> FeatureKind {
    let (frame, delay_us) = (typed::Frame::Last { span_us: seconds * SECOND }, delay * SECOND);
    let judged_by = vec![(PAYMENT, By::One(if entity == 0 { CARD } else { PAYER }))];
    FeatureKind::Window(Window { by: By::One(EntityIx(entity)), frame, delay_us, aggregate, judged_by })
}

/// Payments of the last ten seconds by the pair of card and payer.
fn by_card_and_payer(filter: Expr) -> FeatureKind {
    let role = By::Pair(CARD, PAYER);
    FeatureKind::Window(Window {
        by: By::Pair(EntityIx(0), EntityIx(1)),
        frame: typed::Frame::Last { span_us: 10 * SECOND },
        delay_us: 0,
        aggregate: Aggregate::Count(Source { event: PAYMENT, role, filter: Some(filter) }),
        judged_by: vec![(PAYMENT, role)],
    })
}

fn feature(name: &str, ty: Type, kind: FeatureKind) -> Feature {
    Feature { name: name.to_owned(), ty, kind, assume: None }
}

fn int(number: i64) -> Expr {
    Expr::Const(Value::int(number), Type::Int)
}

fn at_least(feature: u16, number: i64) -> Expr {
    Expr::Compare(Compare::Ge, Box::new(Expr::Feature(FeatureIx(feature))), Box::new(int(number)))
}

fn rule(name: &str, when: Expr) -> Rule {
    Rule {
        name: name.to_owned(),
        event: PAYMENT,
        when,
        action: None,
        score: None,
        reason: None,
        mandatory: false,
        monitor: false,
        salience: 0,
        allow_over: Vec::new(),
        alerts: Vec::new(),
        within: None,
        effective: Effective::default(),
    }
}

fn reason(name: &str, id: u16) -> Reason {
    Reason { name: name.to_owned(), id, analyst: name.to_owned(), customer: None, iso: None }
}

/// The policy that all stories are about.
fn policy() -> Policy {
    let card = FieldType::Entity(EntityIx(0));
    let account = FieldType::Entity(EntityIx(1));
    let payment = vec![
        field("card", card.clone(), false, None),
        field("payer", account.clone(), true, None),
        field("amount", FieldType::Money, false, None),
        field("ecom", FieldType::Bool, false, None),
    ];
    let result = vec![
        field("declined", FieldType::Bool, false, None),
        field("card", card, false, Some(CARD)),
        field("payer", account.clone(), true, Some(PAYER)),
    ];
    let events = vec![
        event("payment", None, payment),
        event("result", Some(PAYMENT), result),
        event("login", None, vec![field("owner", account, false, None)]),
    ];
    let amount = || Expr::InCurrency(Box::new(Expr::Field(AMOUNT)), usd());
    let money = Type::Money(usd());
    let declined = || Expr::Amended(RESULT, FieldIx(0));
    let not_declined =
        Expr::Or(Box::new(Expr::AmendMissing(RESULT, None)), Box::new(Expr::Not(Box::new(declined()))));
    let by_card = |filter| source(PAYMENT, CARD, filter);
    let features = vec![
        feature("count", Type::Int, window(0, 10, 0, Aggregate::Count(by_card(None)))),
        feature(
            "spent",
            money,
            window(0, 10, 0, Aggregate::Sum(by_card(Some(not_declined.clone())), amount())),
        ),
        feature(
            "declines",
            Type::Int,
            window(0, 10, 0, Aggregate::Count(source(RESULT, FieldIx(1), Some(Expr::Field(FieldIx(0)))))),
        ),
        feature("average", money, window(0, 10, 2, Aggregate::Avg(by_card(None), amount()))),
        feature("payers", Type::Int, window(0, 10, 0, Aggregate::DistinctKeys(by_card(None), PAYER))),
        feature(
            "ecom",
            Type::Decimal,
            window(0, 10, 0, Aggregate::Ratio(by_card(Some(Expr::Field(ECOM))), by_card(None))),
        ),
        feature("logins", Type::Int, window(1, 10, 0, Aggregate::Count(source(LOGIN, FieldIx(0), None)))),
        feature("largest", money, window(0, 10, 0, Aggregate::Max(by_card(None), amount()))),
        feature(
            "declined",
            Type::Int,
            window(1, 10, 0, Aggregate::Count(source(PAYMENT, PAYER, Some(declined())))),
        ),
        feature("amount", money, FeatureKind::Scalar { event: PAYMENT, expr: amount() }),
        feature("together", Type::Int, by_card_and_payer(not_declined)),
    ];
    let rules = vec![
        // Three payments in the window block, unless the card is trusted.
        Rule {
            action: Some(Action::Block),
            score: Some(91),
            reason: Some(0),
            ..rule("velocity", at_least(0, 3))
        },
        Rule { score: Some(40), reason: Some(1), salience: 5, ..rule("ecom", Expr::Field(ECOM)) },
        Rule {
            action: Some(Action::Allow),
            allow_over: vec![RuleIx(0)],
            alerts: Vec::new(),
            within: None,
            effective: Effective::default(),
            ..rule("vip", Expr::InList(CARD, ListIx(0)))
        },
        Rule {
            action: Some(Action::Block),
            score: Some(100),
            reason: Some(1),
            mandatory: true,
            ..rule("huge", at_least(9, 1_000_000))
        },
        Rule {
            action: Some(Action::Block),
            score: Some(100),
            monitor: true,
            ..rule("watched", at_least(0, 0))
        },
    ];
    let half = |of| Expr::Arithmetic(typed::Arithmetic::Div, Box::new(of), Box::new(int(2)));
    let reached = |n| Expr::Compare(Compare::Ge, Box::new(Expr::Score), Box::new(int(n)));
    let small =
        Expr::Compare(Compare::Lt, Box::new(amount()), Box::new(Expr::Const(Value::int(5_000), money)));
    let decide = Decide {
        event: PAYMENT,
        score: half(Expr::RuleScoresMax),
        thresholds: vec![(Action::Challenge, reached(20)), (Action::Review, reached(45))],
        unassessed: Action::Challenge,
        late: Some(Late {
            after_ns: 500_000,
            branches: vec![(Action::Allow, small)],
            otherwise: Action::Review,
        }),
    };
    Policy {
        name: "stories".to_owned(),
        revision: 7,
        entities: vec!["card".to_owned(), "account".to_owned()],
        events,
        reasons: vec![reason("VELOCITY", 17), reason("ECOM", 18)],
        lists: vec![List {
            name: "trusted".to_owned(),
            of: ListOf::Entity(0),
            entries: vec![ListEntry {
                text: "vip".to_owned(),
                entry: Entry::new(0, &Tokenizer::default().key("card", "vip").expect("no card number").0),
                until: None,
                owner: String::new(),
                reason: String::new(),
            }],
        }],
        lets: Vec::new(),
        features,
        queues: Vec::new(),
        models: Vec::new(),
        scenes: Vec::new(),
        tables: Vec::new(),
        rules,
        decides: vec![decide],
        rates: None,
    }
}

fn limits() -> Limits {
    Limits {
        keys_max: 1_000,
        spill_bytes_max: 1 << 20,
        rows_per_key_max: 1_000,
        dedup_entries_max: 8,
        lateness_us: 5 * SECOND,
        skew_us: SECOND,
        jump_us: 0,
        clock: Clock::Event,
        hash_seed: 1,
    }
}

/// A story being told to the oracle and to the engine.
struct Story<'p> {
    layouts: &'p [Layout],
    oracle: Oracle<'p>,
    engine: Engine,
    step: Step,
}

fn tell(limits: Limits, story: impl Fn(&mut Story<'_>)) {
    let policy = policy();
    let tokenizer = Tokenizer::default();
    let program = lower(&policy, &tokenizer).expect("the policy can be lowered");
    let layouts = Layout::compiled(&policy, &program);
    let loaded = archive::open(archive::seal(&program)).expect("the archive can be opened");
    let mut told = Story {
        layouts: &layouts,
        oracle: Oracle::new(&policy, &layouts, limits, &tokenizer),
        engine: Engine::new(loaded, &limits).expect("the limits are fine"),
        step: Step::Refused(Refusal::UnknownEvent),
    };
    story(&mut told);
}

fn key(kind: &str, name: &str) -> Cell {
    Cell::Key(Tokenizer::default().key(kind, name).unwrap())
}

/// A payment of the story: an id, a time in µs, a card, the amount in cents.
struct Payment {
    id: u64,
    time: i64,
    card: &'static str,
    payer: Option<&'static str>,
    cents: i64,
    ecom: bool,
    admission: Admission,
    received: i64,
}

fn payment(id: u64, time: i64) -> Payment {
    Payment {
        id,
        time,
        card: "c1",
        payer: None,
        cents: 1_000,
        ecom: false,
        admission: Admission::Normal,
        received: time,
    }
}

impl Story<'_> {
    fn frame(&mut self, kind: EventIx, words: Vec<u64>, admission: Admission, received: i64) {
        let frame = Frame {
            principal: 1,
            kind: kind.0,
            admission,
            received: Time(received),
            words,
            orders: Vec::new(),
        };
        self.step = self.oracle.step(&frame.input());
        assert_eq!(self.engine.step(&frame.input()), self.step, "engine and oracle differ");
    }

    fn pay(&mut self, payment: Payment) {
        let cells = [
            Some(key("card", payment.card)),
            payment.payer.map(|payer| key("account", payer)),
            Some(Cell::Cash(payment.cents, usd())),
            Some(Cell::Number(i64::from(payment.ecom))),
        ];
        let words = encode(&self.layouts[0], EventId([payment.id, 0]), payment.time, None, &cells);
        self.frame(PAYMENT, words, payment.admission, payment.received);
    }

    /// The result of payment `of`, under card c1 and this payer.
    fn result(&mut self, id: u64, time: i64, of: (u64, i64), declined: bool, payer: Option<&str>) {
        let cells = [
            Some(Cell::Number(i64::from(declined))),
            Some(key("card", "c1")),
            payer.map(|payer| key("account", payer)),
        ];
        let target = Some((EventId([of.0, 0]), of.1));
        let words = encode(&self.layouts[1], EventId([id, 0]), time, target, &cells);
        self.frame(RESULT, words, Admission::Normal, time);
        assert_eq!(self.outcome().flags & FLAG_ACK, FLAG_ACK);
    }

    fn login(&mut self, id: u64, time: i64, owner: &str) {
        let words = encode(&self.layouts[2], EventId([id, 0]), time, None, &[Some(key("account", owner))]);
        self.frame(LOGIN, words, Admission::Normal, time);
    }

    fn outcome(&self) -> Outcome {
        match self.step {
            Step::Decided(outcome) | Step::Repeated(outcome) => outcome,
            Step::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    /// The last decision's feature of this name is `num / den` (missing when `den` is 0).
    fn expect(&self, name: &str, (num, den): (i128, i128)) {
        let index = policy().features.iter().position(|feature| feature.name == name).unwrap();
        let expected = Fraction::new(num, den);
        assert_eq!(self.oracle.features()[index].told(), expected, "{name} by the oracle");
        assert_eq!(Fraction::of(self.engine.features()[index]), expected, "{name} by the engine");
    }

    /// How often time has jumped so far, and whether nothing expires.
    fn jumps(&self, times: u64, frozen: bool) {
        let by_the_oracle = (self.oracle.tally().clock_jumps, self.oracle.expiry_frozen());
        assert_eq!(by_the_oracle, (times, frozen), "by the oracle");
        let by_the_engine = (self.engine.counters().clock_jumps, self.engine.expiry_frozen());
        assert_eq!(by_the_engine, (times, frozen), "by the engine");
    }

    fn verdict(&self, score: i16, action: Action, flags: u8, reasons: [u16; 4]) {
        let outcome = self.outcome();
        let got = (outcome.score, outcome.action, outcome.flags, outcome.reasons, outcome.policy_revision);
        assert_eq!(got, (score, action, flags, reasons, 7));
    }
}

const S: i64 = SECOND;

#[test]
fn a_window_has_its_right_edge_and_not_its_left() {
    tell(limits(), |story| {
        story.pay(payment(1, 100 * S));
        story.expect("count", (1, 1));
        story.pay(payment(2, 110 * S - 1));
        story.expect("count", (2, 1));
        story.expect("average", (1_000, 1));
        story.pay(payment(3, 110 * S));
        story.expect("count", (2, 1));
        story.expect("spent", (2_000, 1));
        // (100 − 2, 110 − 2] still holds the first; the delayed window begins 12 s back.
        story.expect("average", (1_000, 1));
        story.pay(payment(4, 112 * S));
        story.expect("average", (1_000, 1));
        story.pay(payment(5, 125 * S));
        story.expect("average", (0, 0));
        story.expect("count", (1, 1));
    });
}

#[test]
fn aggregates_of_several_payments() {
    tell(limits(), |story| {
        story.pay(Payment { payer: Some("a1"), cents: 100, ecom: true, ..payment(1, 100 * S) });
        story.pay(Payment { payer: Some("a2"), cents: -301, ..payment(2, 101 * S) });
        story.pay(Payment { payer: None, cents: 0, ..payment(3, 101 * S) });
        story.pay(Payment { payer: Some("a1"), cents: 50, ..payment(4, 103 * S) });
        story.expect("payers", (2, 1));
        story.expect("ecom", (1, 4));
        story.expect("largest", (100, 1));
        story.expect("average", (-201, 3));
        story.expect("logins", (0, 1));
        story.pay(Payment { card: "c2", ..payment(5, 104 * S) });
        story.expect("count", (1, 1));
        story.expect("logins", (0, 0));
    });
}

#[test]
fn sums_beyond_64_bits_are_missing() {
    tell(limits(), |story| {
        story.pay(Payment { cents: i64::MAX, ..payment(1, 100 * S) });
        story.expect("spent", (i128::from(i64::MAX), 1));
        story.pay(payment(2, 103 * S));
        story.expect("spent", (0, 0));
        story.expect("average", (i128::from(i64::MAX), 1));
        story.pay(Payment { cents: -1_000, ..payment(3, 104 * S) });
        story.expect("spent", (i128::from(i64::MAX), 1));
    });
}

#[test]
fn account_events_count_under_their_own_key() {
    tell(limits(), |story| {
        story.login(1, 100 * S, "a1");
        assert_eq!(story.outcome().flags, FLAG_ACK);
        assert_eq!(story.outcome().action, Action::None);
        story.login(2, 101 * S, "a2");
        story.pay(Payment { payer: Some("a1"), ..payment(3, 101 * S) });
        story.expect("logins", (1, 1));
    });
}

#[test]
fn the_newest_amendment_wins_whatever_the_order_of_arrival() {
    tell(limits(), |story| {
        story.pay(Payment { payer: Some("a1"), ..payment(1, 100 * S) });
        story.result(2, 102 * S, (1, 100 * S), true, Some("a1"));
        story.result(3, 101 * S, (1, 100 * S), false, Some("a1"));
        story.pay(Payment { payer: Some("a1"), cents: 5, ..payment(4, 103 * S) });
        story.expect("spent", (5, 1));
        story.expect("declined", (1, 1));
        story.expect("declines", (1, 1));
        story.result(5, 104 * S, (1, 100 * S), false, Some("a1"));
        story.pay(Payment { payer: Some("a1"), cents: 5, ..payment(6, 104 * S) });
        story.expect("spent", (1_010, 1));
        story.expect("declined", (0, 1));
    });
}

#[test]
fn an_amendment_reaches_only_the_rows_whose_key_it_carries() {
    tell(limits(), |story| {
        story.pay(Payment { payer: Some("a1"), ..payment(1, 100 * S) });
        story.result(2, 101 * S, (1, 100 * S), true, None);
        story.pay(Payment { payer: Some("a1"), cents: 5, ..payment(3, 101 * S) });
        story.expect("spent", (5, 1));
        story.expect("declined", (0, 1));
        // Wrong time, unknown id: nothing is found.
        story.result(4, 102 * S, (3, 101 * S + 1), true, Some("a1"));
        story.result(5, 102 * S, (9, 101 * S), true, Some("a1"));
        story.pay(Payment { payer: Some("a1"), cents: 7, ..payment(6, 102 * S) });
        story.expect("spent", (12, 1));
    });
}

#[test]
fn a_pair_is_counted_apart_from_either_of_its_keys() {
    tell(limits(), |story| {
        story.pay(Payment { payer: Some("a1"), ..payment(1, 100 * S) });
        story.expect("together", (1, 1));
        story.pay(Payment { payer: Some("a2"), ..payment(2, 100 * S) });
        story.expect("together", (1, 1));
        story.pay(Payment { card: "c2", payer: Some("a1"), ..payment(3, 100 * S) });
        story.expect("together", (1, 1));
        story.pay(payment(4, 100 * S));
        story.expect("together", (0, 0));
        story.pay(Payment { payer: Some("a1"), ..payment(5, 101 * S) });
        story.expect("together", (2, 1));
        story.expect("count", (4, 1));
        // With one of its keys missing, a result does not reach the payment under the pair.
        story.result(6, 102 * S, (1, 100 * S), true, None);
        story.pay(Payment { payer: Some("a1"), ..payment(7, 103 * S) });
        story.expect("together", (3, 1));
        story.result(8, 104 * S, (1, 100 * S), true, Some("a1"));
        story.pay(Payment { payer: Some("a1"), ..payment(9, 105 * S) });
        story.expect("together", (3, 1));
        // The first is ten seconds old, the others are not.
        story.pay(Payment { payer: Some("a1"), ..payment(10, 110 * S) });
        story.expect("together", (4, 1));
    });
}

#[test]
fn late_events_enter_their_place_and_too_late_ones_none() {
    tell(limits(), |story| {
        story.pay(payment(1, 100 * S));
        story.pay(payment(2, 95 * S));
        story.expect("count", (1, 1));
        assert_eq!(story.outcome().flags, 0);
        story.pay(payment(3, 95 * S - 1));
        story.expect("count", (0, 0));
        story.expect("amount", (1_000, 1));
        assert_eq!(story.outcome().flags, FLAG_INEXACT);
        story.pay(payment(4, 100 * S));
        story.expect("count", (3, 1));
    });
}

#[test]
fn duplicates_get_the_stored_verdict_and_reused_ids_are_refused() {
    tell(limits(), |story| {
        story.pay(payment(1, 100 * S));
        let first = story.outcome();
        assert_eq!(first.seq, 1);
        story.pay(payment(1, 100 * S));
        assert_eq!(story.step, Step::Repeated(Outcome { flags: first.flags | FLAG_DUPLICATE, ..first }));
        story.pay(Payment { cents: 1_001, ..payment(1, 100 * S) });
        assert_eq!(story.step, Step::Refused(Refusal::IdReused));
        for id in 2..=9 {
            story.pay(Payment { card: "c2", ..payment(id, 101 * S) });
        }
        // Eight decisions later it is forgotten, and counts again.
        story.pay(payment(1, 100 * S));
        assert_eq!(story.outcome().seq, 10);
        story.expect("count", (2, 1));
    });
}

#[test]
fn a_payment_of_which_nothing_is_known_is_not_assessed() {
    tell(limits(), |story| {
        story.pay(Payment { payer: Some("a1"), ..payment(1, 100 * S) });
        story.verdict(-1, Action::Challenge, 0, [0; 4]);
        story.pay(payment(2, 101 * S));
        story.verdict(0, Action::Allow, 0, [0; 4]);
        // The payer was seen, the card was not.
        story.pay(Payment { card: "c2", payer: Some("a1"), ..payment(3, 102 * S) });
        story.verdict(0, Action::Allow, 0, [0; 4]);
        // A rule fired.
        story.pay(Payment { card: "c3", ecom: true, ..payment(4, 102 * S) });
        story.verdict(20, Action::Challenge, 0, [18, 0, 0, 0]);
        // Rows older than the window, its delay and the lateness before the largest time so far are no history.
        story.pay(Payment { card: "c9", ..payment(5, 119 * S) });
        story.pay(Payment { card: "c3", ..payment(6, 119 * S) });
        story.verdict(-1, Action::Challenge, 0, [0; 4]);
    });
}

#[test]
fn rules_are_allowed_over_unless_mandatory() {
    tell(limits(), |story| {
        for id in 1..3 {
            story.pay(payment(id, 100 * S));
        }
        story.pay(payment(3, 100 * S));
        // 91 ÷ 2 = 45.5 rounds to the even 46.
        story.verdict(46, Action::Block, 0, [17, 0, 0, 0]);
        story.pay(Payment { ecom: true, ..payment(4, 100 * S) });
        story.verdict(46, Action::Block, 0, [18, 17, 0, 0]);
        for id in 5..8 {
            story.pay(Payment { card: "vip", ..payment(id, 100 * S) });
        }
        story.verdict(0, Action::Allow, 0, [0; 4]);
        story.pay(Payment { card: "vip", cents: 1_000_000, ..payment(8, 100 * S) });
        story.verdict(50, Action::Block, 0, [18, 0, 0, 0]);
    });
}

#[test]
fn late_and_shed_payments_fall_back() {
    tell(limits(), |story| {
        let late = |id| Payment { admission: Admission::Late, ..payment(id, 100 * S) };
        story.pay(late(1));
        story.verdict(-1, Action::Allow, FLAG_FALLBACK, [0; 4]);
        story.pay(Payment { cents: 5_000, ..late(2) });
        story.verdict(0, Action::Review, FLAG_FALLBACK, [0; 4]);
        // Counted in full, but the velocity block gives way to the fallback.
        story.pay(late(3));
        story.expect("count", (3, 1));
        story.verdict(46, Action::Allow, FLAG_FALLBACK, [17, 0, 0, 0]);
        story.pay(Payment { cents: 1_000_000, ..late(4) });
        story.verdict(50, Action::Block, FLAG_FALLBACK, [17, 18, 0, 0]);
        let shed = |id, time| Payment { admission: Admission::Shed, ..payment(id, time) };
        story.pay(shed(5, 200 * S));
        story.expect("count", (0, 0));
        story.verdict(-1, Action::Allow, FLAG_FALLBACK, [0; 4]);
        story.pay(Payment { ecom: true, ..shed(6, 200 * S) });
        story.verdict(20, Action::Allow, FLAG_FALLBACK, [18, 0, 0, 0]);
        // Neither was counted nor moved the watermark.
        story.pay(payment(7, 96 * S));
        story.expect("count", (1, 1));
        assert_eq!(story.outcome().flags, 0);
    });
}

#[test]
fn by_the_wall_clock_times_beyond_the_skew_are_those_of_receipt() {
    tell(Limits { clock: Clock::Wall, ..limits() }, |story| {
        story.pay(Payment { received: 100 * S, ..payment(1, 101 * S) });
        story.pay(Payment { received: 100 * S, ..payment(2, 500 * S) });
        story.pay(Payment { received: 101 * S, ..payment(3, 0) });
        story.expect("count", (3, 1));
        // Receipt times never go back: now is still 101 s.
        story.pay(Payment { received: 50 * S, ..payment(4, 111 * S) });
        story.expect("count", (4, 1));
        // An amendment finds its event by id and by the time that the event said, believed or not.
        story.result(5, 102 * S, (3, 0), true, None);
        story.pay(Payment { received: 102 * S, ..payment(6, 102 * S) });
        story.expect("spent", (4_000, 1));
        story.result(7, 102 * S, (2, 501 * S), true, None);
        story.result(8, 102 * S, (1, 100 * S), true, None);
        story.pay(Payment { received: 102 * S, ..payment(9, 102 * S) });
        story.expect("spent", (5_000, 1));
        story.result(10, 102 * S, (2, 500 * S), true, None);
        story.pay(Payment { received: 102 * S, ..payment(11, 102 * S) });
        story.expect("spent", (5_000, 1));
    });
}

/// The wall clock, with jumps of more than four seconds.
fn by_the_wall() -> Limits {
    Limits { clock: Clock::Wall, jump_us: 4 * S, ..limits() }
}

#[test]
fn by_the_wall_clock_stamps_within_the_skew_are_believed_and_others_counted() {
    tell(by_the_wall(), |story| {
        let skewed = |story: &Story<'_>| {
            let counters = story.engine.counters();
            (counters.skewed_ahead, counters.skewed_behind, counters.late)
        };
        story.pay(Payment { received: 100 * S, ..payment(1, 101 * S) });
        // One second behind: it takes its place before the other, and is late.
        story.pay(Payment { received: 100 * S, ..payment(2, 99 * S) });
        story.expect("count", (1, 1));
        assert_eq!(skewed(story), (0, 0, 1));
        story.pay(Payment { received: 100 * S, ..payment(3, 101 * S + 1) });
        story.expect("count", (2, 1));
        assert_eq!(skewed(story), (1, 0, 2));
        story.pay(Payment { received: 100 * S, ..payment(4, 99 * S - 1) });
        story.expect("count", (3, 1));
        assert_eq!(skewed(story), (1, 1, 3));
        story.pay(Payment { received: 101 * S, ..payment(5, 101 * S) });
        story.expect("count", (5, 1));
    });
}

#[test]
fn with_a_lateness_of_two_skews_no_stamp_is_too_late_by_the_wall_clock() {
    for (lateness_us, flags) in [(2 * S, 0), (2 * S - 1, FLAG_INEXACT)] {
        tell(Limits { lateness_us, ..by_the_wall() }, |story| {
            story.pay(Payment { received: 100 * S, ..payment(1, 101 * S) });
            story.pay(Payment { received: 100 * S, ..payment(2, 99 * S) });
            assert_eq!(story.outcome().flags, flags);
            assert_eq!(story.engine.counters().too_late, u64::from(flags != 0));
        });
    }
}

/// Nobody gets a smaller count for a wrong stamp. Beyond the skew every count is that of the receipts; within it, at least
/// those are counted that are in the window for any stamps that the skew allows.
#[test]
fn no_stamp_evades_a_window_by_the_wall_clock() {
    const DAY: i64 = 86_400 * S;
    let beyond = [S + 1, -S - 1, 9 * S, -9 * S, 11 * S, -11 * S, DAY, -DAY, 400 * DAY, -400 * DAY];
    let within = [0, S, -S, 1, -1, S / 2];
    let (far, mixed) = (beyond.to_vec(), within.into_iter().chain(beyond).collect::<Vec<_>>());
    for (wrong, margin) in [(far, 0), (mixed, 2 * S)] {
        tell(by_the_wall(), |story| {
            let start = 1_000 * DAY;
            for number in 0..200 {
                let received = start + number * S / 4;
                let stamp = received + wrong[(number * number + number / 7) as usize % wrong.len()];
                story.pay(Payment { received, ..payment(1 + number as u64, stamp) });
                let sure = |earlier: &i64| {
                    let age = (number - earlier) * S / 4;
                    age < 10 * S - margin && (age >= margin || *earlier == number)
                };
                let sure = (0..=number).filter(sure).count() as i64;
                let counted = story.engine.features()[0].num;
                assert!(counted >= sure, "payment {number}: {counted} counted, {sure} sure");
                assert!(
                    margin > 0 || counted == sure,
                    "payment {number}: {counted} counted, {sure} received"
                );
            }
        });
    }
}

#[test]
fn equal_times_are_ordered_by_id() {
    let (low, high) = if EventId([2, 0]).tag() < EventId([3, 0]).tag() { (2, 3) } else { (3, 2) };
    for clock in [Clock::Event, Clock::Wall] {
        for (first, second) in [(low, high), (high, low)] {
            tell(Limits { clock, ..limits() }, |story| {
                story.pay(payment(1, 100 * S));
                story.result(first, 101 * S, (1, 100 * S), first == high, None);
                story.result(second, 101 * S, (1, 100 * S), second == high, None);
                // It counts as declined, as the greater id says, whichever came first.
                story.pay(Payment { cents: 5, ..payment(4, 101 * S) });
                story.expect("spent", (5, 1));
                story.expect("declines", (1, 1));
                story.expect("count", (2, 1));
            });
        }
    }
}

#[test]
fn after_a_jump_of_the_wall_clock_nothing_expires_until_it_has_been_steady() {
    tell(by_the_wall(), |story| {
        let unknown = (-1, Action::Challenge);
        let known = (0, Action::Allow);
        let pay = |story: &mut Story<'_>, id, card, time, expected: (i16, Action)| {
            story.pay(Payment { card, ..payment(id, time) });
            story.verdict(expected.0, expected.1, 0, [0; 4]);
        };
        for (id, card) in (1..).zip(["c1", "c2", "c3", "c4"]) {
            pay(story, id, card, 100 * S, unknown);
        }
        // As far as may be at once; then one microsecond further, by an event that is shed and one that is not.
        pay(story, 5, "c5", 104 * S, unknown);
        story.jumps(0, false);
        story.pay(Payment { admission: Admission::Shed, ..payment(6, 208 * S) });
        story.jumps(0, false);
        pay(story, 7, "c6", 108 * S + 1, unknown);
        story.jumps(1, true);
        // No window has anything of 100 s any more; that the card was seen is not forgotten.
        pay(story, 8, "c7", 112 * S, unknown);
        pay(story, 9, "c7", 112 * S + 1, known);
        story.jumps(1, false);
        pay(story, 10, "c1", 113 * S, known);
        // Far ahead, and a second jump before the first is over.
        pay(story, 11, "c8", 200 * S, unknown);
        pay(story, 12, "c1", 203 * S, known);
        story.expect("count", (1, 1));
        story.jumps(2, true);
        pay(story, 13, "c9", 300 * S, unknown);
        pay(story, 14, "c2", 304 * S - 1, known);
        story.jumps(3, true);
        // Steady for four seconds: what is out of reach is no longer known.
        pay(story, 15, "c3", 304 * S, unknown);
        story.jumps(3, false);
        // A jump freezes what is there then.
        pay(story, 16, "c4", 400 * S, unknown);
        pay(story, 17, "c3", 401 * S, known);
        story.jumps(4, true);
    });
}

#[test]
fn without_a_guard_a_jump_is_neither_counted_nor_does_it_freeze() {
    tell(Limits { jump_us: 0, ..by_the_wall() }, |story| {
        story.pay(payment(1, 100 * S));
        story.pay(Payment { card: "c2", ..payment(2, 1_000 * S) });
        story.pay(payment(3, 1_000 * S));
        story.verdict(-1, Action::Challenge, 0, [0; 4]);
        story.jumps(0, false);
    });
}

/// The clock is set ahead for one event, and right again for the next. Since now never goes back, all that follows is taken at
/// the false time, where everything since the jump is in the window; the rows of before are kept for their amendments.
#[test]
fn a_false_jump_of_the_clock_and_its_return_lose_no_row() {
    for (jump_us, found) in [(4 * S, 5), (0, 0)] {
        tell(Limits { jump_us, ..by_the_wall() }, |story| {
            for id in 1..=5 {
                story.pay(payment(id, (100 + id as i64) * S));
            }
            story.pay(Payment { received: 900 * S, ..payment(6, 105 * S) });
            story.expect("count", (1, 1));
            // So many that the rows of this card are put in order several times.
            for id in 7..107 {
                story.pay(Payment { received: 106 * S, ..payment(id, 106 * S) });
                story.expect("count", (i128::from(id) - 5, 1));
            }
            story.verdict(46, Action::Block, 0, [17, 0, 0, 0]);
            for id in 1..=5 {
                story.result(200 + id, 107 * S, (id, (100 + id as i64) * S), true, None);
            }
            let counters = *story.engine.counters();
            assert_eq!((counters.amended, counters.amend_unknown), (found, 5 - found));
            assert_eq!((counters.rows_lost, counters.keys_expired), (0, 0));
            story.jumps(u64::from(found > 0), found > 0);
        });
    }
}

#[test]
fn by_the_event_clock_an_idle_year_is_counted_and_freezes_nothing() {
    tell(Limits { jump_us: 4 * S, ..limits() }, |story| {
        const YEAR: i64 = 365 * 86_400 * S;
        story.pay(payment(1, 100 * S));
        story.pay(payment(2, 104 * S));
        story.jumps(0, false);
        // Whatever the receipts are, and unless it is shed.
        story.pay(Payment { received: YEAR, ..payment(3, 105 * S) });
        story.pay(Payment { admission: Admission::Shed, ..payment(4, YEAR) });
        story.jumps(0, false);
        story.pay(Payment { card: "c2", ..payment(5, YEAR) });
        story.jumps(1, false);
        // The past is out of every window; an event of then is too late, and known to be.
        story.pay(payment(6, YEAR));
        story.verdict(-1, Action::Challenge, 0, [0; 4]);
        story.pay(payment(7, 106 * S));
        story.expect("count", (0, 0));
        assert_eq!(story.outcome().flags, FLAG_INEXACT);
        story.pay(payment(8, YEAR + 4 * S + 1));
        story.jumps(2, false);
        assert_eq!(story.engine.counters().too_late, 1);
    });
}

#[test]
fn each_defect_has_its_refusal() {
    tell(limits(), |story| {
        let cells = [Some(key("card", "c1")), None, Some(Cell::Cash(1, usd())), Some(Cell::Number(1))];
        let layout = story.layouts[0].clone();
        let good = encode(&layout, EventId([1, 0]), 100 * S, None, &cells);
        let word = |field: usize| layout.fields[field].0;
        let digits = u64::from_le_bytes(*b"41111111");
        type Damage<'a> = Box<dyn Fn(&mut Vec<u64>) + 'a>;
        let damages: Vec<(Refusal, Damage<'_>)> = vec![
            (Refusal::WrongLength, Box::new(|words| words.push(0))),
            (Refusal::WrongLength, Box::new(Vec::clear)),
            (Refusal::BadPresence, Box::new(|words| words[3] |= 1 << 63)),
            (Refusal::BadPresence, Box::new(|words| words[3] &= !(1 << layout.fields[3].1))),
            (Refusal::BadValue, Box::new(|words| words[word(3)] = 2)),
            (Refusal::BadValue, Box::new(|words| words[word(2) + 1] = 999)),
            (Refusal::BadValue, Box::new(|words| words[word(1)] = 1)),
            (Refusal::BadTime, Box::new(|words| words[2] = u64::MAX)),
            (Refusal::RawCardNumber, Box::new(|words| words[word(0)..word(0) + 2].fill(digits))),
        ];
        for (refusal, damage) in damages {
            let mut words = good.clone();
            damage(&mut words);
            story.frame(PAYMENT, words, Admission::Normal, 0);
            assert_eq!(story.step, Step::Refused(refusal));
        }
        story.frame(EventIx(3), good.clone(), Admission::Normal, 0);
        assert_eq!(story.step, Step::Refused(Refusal::UnknownEvent));
        story.frame(PAYMENT, good, Admission::Normal, 0);
        assert_eq!(story.outcome().seq, 1);
        assert_ne!(Key([digits, digits]), Key::default());
    });
}
