//! After `Engine::new` nothing is ever allocated: ten million decisions, with new keys, dropped keys, late events,
//! duplicates, refused frames, amendments and hot keys, under an allocator that counts.
//!
//! `NO_ALLOC_DECISIONS=n` takes another number, for machines that are slow because they are emulated.

use random::{Random, ensemble, model as random_model};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;
use tollgate::engine::lists::{self, Edit};
use tollgate::engine::orders::Order;
use tollgate::engine::program::{Assume, ListOf};
use tollgate::engine::units::entries::Entry;
use tollgate::engine::units::{Action, Currency, DAY, HOUR, MINUTE, Time, Value, mix};
use tollgate::engine::wire::{Admission, Input};
use tollgate::engine::{Clock, Counters, Engine, Limits};
use tollgate::policy::typed::{
    Aggregate, Arithmetic, By, Calibration, Compare, Decide, Effective, EntityIx, Event, EventIx, Expr,
    Feature, FeatureIx, FeatureKind, Field, FieldIx, FieldType, Frame, List, ListIx, Model, ModelFile,
    ModelIx, Period, Policy, Rates, Rule, Source, Type, Window,
};
use tollgate::policy::{archive, lower::lower};
use tollgate::token::Tokenizer;
use tollgate_model::lanes::Lanes;
use tollgate_model::model::Link;

#[path = "../model/tests/support/random.rs"]
#[allow(dead_code, reason = "this test wants no rows")]
mod random;

struct Counting;

thread_local! {
    /// Of this thread alone: the harness has a thread of its own, which allocates when it says that a test takes long.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const USD: Currency = Currency(840);
const PAYMENT: EventIx = EventIx(0);
const RESULT: EventIx = EventIx(1);

fn policy() -> Policy {
    let field = |name: &str, ty| Field { name: name.into(), ty, optional: false, inherited: None };
    let (card, device) = (FieldType::Entity(EntityIx(0)), FieldType::Entity(EntityIx(1)));
    let payment = vec![
        field("card", card.clone()),
        Field { optional: true, ..field("device", device.clone()) },
        field("amount", FieldType::Money),
    ];
    let result = vec![
        field("declined", FieldType::Bool),
        Field { inherited: Some(FieldIx(0)), ..field("card", card) },
        Field { optional: true, inherited: Some(FieldIx(1)), ..field("device", device) },
    ];
    let points = Calibration::Isotonic(vec![(Value::int(0), Value::int(0)), (Value::int(1), Value::int(1))]);
    Policy {
        name: "no_alloc".into(),
        revision: 1,
        entities: vec!["card".into(), "device".into()],
        events: vec![
            Event { name: "payment".into(), amends: None, fields: payment },
            Event { name: "result".into(), amends: Some(PAYMENT), fields: result },
        ],
        reasons: Vec::new(),
        lists: vec![List { name: "devices".into(), of: ListOf::Entity(1), entries: Vec::new() }],
        lets: Vec::new(),
        features: features(),
        queues: Vec::new(),
        models: vec![model("eager", false, Calibration::None), model("lazy", true, points)],
        scenes: Vec::new(),
        tables: Vec::new(),
        rules: vec![
            rule("often", 0, 5, 60),
            rule("declined", 5, 3, 90),
            risky("risky", 0, 0),
            risky("also risky", 1, 1),
            Rule { when: Expr::InList(FieldIx(1), ListIx(0)), ..rule("listed", 0, 5, 70) },
        ],
        rates: Some(Rates { name: "daily".into(), max_age_us: MINUTE }),
        decides: vec![Decide {
            event: PAYMENT,
            score: Expr::Extreme {
                greatest: true,
                of: vec![
                    Expr::RuleScoresMax,
                    Expr::Arithmetic(
                        Arithmetic::Mul,
                        Box::new(Expr::Const(Value::int(30), Type::Int)),
                        Box::new(Expr::Model(ModelIx(0))),
                    ),
                ],
            },
            thresholds: vec![(Action::Review, at_least(Expr::Score, 60))],
            unassessed: Action::Challenge,
            late: None,
        }],
    }
}

/// Thirty-one windows: seven by card, seven by device, seven by both, two that count different things, six that are
/// gathered, two of them by both, and bounds of the two counts of different things.
fn features() -> Vec<Feature> {
    let usd = || Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), USD);
    let declined = || Some(Expr::Amended(RESULT, FieldIx(0)));
    let payments = |role, filter| Source { event: PAYMENT, role, filter };
    let results = |role| Source { event: RESULT, role, filter: Some(Expr::Field(FieldIx(0))) };
    // A payment's key fields are numbered as their kinds; a result's come one later.
    let fields = |kinds: By<u16>, from| kinds.try_map(|kind| Some(FieldIx(kind + from))).expect("all fields");
    let mut features: Vec<Feature> = Vec::new();
    let mut feature = |kinds: By<u16>, span_us, delay_us, ty, aggregate| {
        let judged_by = vec![(PAYMENT, fields(kinds, 0))];
        let by = kinds.try_map(|kind| Some(EntityIx(kind))).expect("all kinds");
        let frame = Frame::Last { span_us };
        let window = Window { by, frame, delay_us, aggregate, judged_by };
        let name = format!("feature_{}", features.len());
        features.push(Feature { name, ty, kind: FeatureKind::Window(window), assume: None });
    };
    for kinds in [By::One(0), By::One(1), By::Pair(0, 1)] {
        let role = fields(kinds, 0);
        let all = || payments(role, None);
        feature(kinds, HOUR, 0, Type::Int, Aggregate::Count(all()));
        feature(kinds, DAY, 0, Type::Int, Aggregate::Count(all()));
        feature(kinds, DAY, 0, Type::Money(USD), Aggregate::Sum(all(), usd()));
        feature(kinds, DAY, 0, Type::Money(USD), Aggregate::Max(all(), usd()));
        feature(kinds, DAY, HOUR, Type::Decimal, Aggregate::Ratio(payments(role, declined()), all()));
        feature(kinds, HOUR, 0, Type::Int, Aggregate::Count(results(fields(kinds, 1))));
        feature(kinds, DAY, 0, Type::Money(USD), Aggregate::Avg(payments(role, declined()), usd()));
    }
    let (card, device) = (By::One(0), By::One(1));
    let cards = Aggregate::DistinctKeys(payments(fields(device, 0), None), FieldIx(0));
    feature(device, DAY, 0, Type::Int, cards);
    let amounts = Aggregate::DistinctValues(payments(fields(card, 0), None), usd());
    feature(card, DAY, 0, Type::Int, amounts);
    let (card, both) = (fields(card, 0), fields(By::Pair(0, 1), 0));
    let by_card = By::One(EntityIx(0));
    let by_both = By::Pair(EntityIx(0), EntityIx(1));
    let five = Frame::Events { count: 5, span_us: DAY };
    let gathered = [
        (
            (by_card, card),
            Frame::Events { count: 10, span_us: HOUR },
            Type::Money(USD),
            Aggregate::Percentile(90, payments(card, None), usd()),
        ),
        (
            (by_card, card),
            Frame::Session { gap_us: MINUTE, span_us: HOUR },
            Type::Money(USD),
            Aggregate::Stddev(payments(card, None), usd()),
        ),
        (
            (by_card, card),
            Frame::This { period: Period::Day, zone: "Europe/Berlin".into() },
            Type::Decimal,
            Aggregate::ShareValues(payments(card, None), usd()),
        ),
        (
            (by_card, card),
            Frame::Every { span_us: HOUR },
            Type::Duration,
            Aggregate::SinceLast(payments(card, declined())),
        ),
        ((by_both, both), five, Type::Money(USD), Aggregate::Stddev(payments(both, None), usd())),
        (
            (by_both, both),
            Frame::Last { span_us: DAY },
            Type::Duration,
            Aggregate::SinceLast(payments(both, declined())),
        ),
    ];
    for ((by, role), frame, ty, aggregate) in gathered {
        let judged_by = vec![(PAYMENT, role)];
        let window = Window { by, frame, delay_us: 0, aggregate, judged_by };
        let name = format!("feature_{}", features.len());
        features.push(Feature { name, ty, kind: FeatureKind::Window(window), assume: None });
    }
    let counts = features.iter().filter(|feature| is_distinct(feature));
    let bounds = counts.zip([Assume::High, Assume::Low]).map(|(feature, assume)| Feature {
        name: format!("{}_bound", feature.name),
        assume: Some(assume),
        ..feature.clone()
    });
    let bounds: Vec<Feature> = bounds.collect();
    features.extend(bounds);
    features
}

fn is_distinct(feature: &Feature) -> bool {
    let FeatureKind::Window(window) = &feature.kind else { return false };
    matches!(window.aggregate, Aggregate::DistinctKeys(..) | Aggregate::DistinctValues(..))
}

fn at_least(what: Expr, count: i64) -> Expr {
    Expr::Compare(Compare::Ge, Box::new(what), Box::new(Expr::Const(Value::int(count), Type::Int)))
}

fn rule(name: &str, feature: u16, count: i64, score: i16) -> Rule {
    Rule {
        name: name.into(),
        event: PAYMENT,
        when: at_least(Expr::Feature(FeatureIx(feature)), count),
        action: (score > 80).then_some(Action::Block),
        score: Some(score),
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

/// A model of all features, some of which are categories to it, of which no row ends up in the same leaves as the next.
fn model(name: &str, lazy: bool, calibration: Calibration) -> Model {
    let features = features();
    let inputs: Vec<(Expr, Type)> =
        features.iter().enumerate().map(|(at, feature)| given(at, feature.ty)).collect();
    let mut trees = ensemble(&mut Random::new(7), 150, 40, inputs.len() as u16, 300, 20);
    trees.lanes = Lanes::of(&trees);
    assert!(
        trees.lanes.as_ref().is_some_and(|lanes| lanes.columns.len() > 32 && !lanes.set_slots.is_empty())
    );
    for leaf in &mut trees.leaves {
        *leaf = leaf.clamp(-0.1, 0.1);
    }
    let model = random_model(trees, inputs.len() as u16);
    let model = tollgate_model::model::Model { link: Link::Sigmoid(1.0), ..model };
    let file = ModelFile { hash: [0; 32], model: Arc::new(model) };
    Model { name: name.into(), event: PAYMENT, lazy, inputs, calibration, file }
}

fn given(at: usize, ty: Type) -> (Expr, Type) {
    let feature = Expr::Feature(FeatureIx(at as u16));
    match ty {
        Type::Money(_) => (Expr::Major(Box::new(feature)), Type::Decimal),
        ty => (feature, ty),
    }
}

/// Where a feature is at least so much, and a model says more than a half.
fn risky(name: &str, feature: u16, model: u16) -> Rule {
    let says = Box::new(Expr::Model(ModelIx(model)));
    let half = Box::new(Expr::Const(Value::ratio(1, 2), Type::Decimal));
    let more = Expr::Compare(Compare::Gt, says, half);
    let rule = rule(name, feature, 3, 40);
    Rule { when: Expr::And(Box::new(rule.when.clone()), Box::new(more)), ..rule }
}

/// A stream of frames that is a function of its number alone.
struct Stream {
    now: i64,
    random: u64,
    number: u64,
    payment: [u64; 10],
    result: [u64; 12],
    rate: [u64; 8],
}

impl Stream {
    fn new() -> Self {
        Self { now: 1_000 * DAY, random: 1, number: 0, payment: [0; 10], result: [0; 12], rate: [0; 8] }
    }

    /// The next event's kind and words: a payment, a result of the payment before, that payment once more, or a rate.
    fn next(&mut self) -> (u16, &[u64]) {
        self.number += 1;
        self.random = mix(self.random, self.number);
        match self.random >> 56 {
            0..3 => (0, &self.payment),
            3..6 => self.next_rate(),
            6..40 => self.next_result(),
            what => self.next_payment(what),
        }
    }

    fn next_result(&mut self) -> (u16, &[u64]) {
        let payment = &self.payment;
        let presence = if payment[3] == 7 { 7 } else { 3 };
        let (now, declined) = ((self.now + 1) as u64, self.random & 1);
        self.result[..8].copy_from_slice(&[
            self.number,
            0,
            now,
            presence,
            payment[0],
            payment[1],
            payment[2],
            declined,
        ]);
        self.result[8..].copy_from_slice(&payment[4..8]);
        (1, &self.result)
    }

    fn next_rate(&mut self) -> (u16, &[u64]) {
        let time = self.now - (self.random >> 8 & 0xfff_ffff) as i64;
        self.rate = [self.number, 0, time as u64, 7, 978, 840, 1 + (self.random >> 20 & 0xff), 100];
        (2, &self.rate)
    }

    fn next_payment(&mut self, what: u64) -> (u16, &[u64]) {
        let random = self.random;
        self.now += (random >> 20 & 0xf_ffff) as i64;
        let late = match what {
            255 => 3 * HOUR,
            240..255 => (random >> 8 & 0xfff_ffff) as i64,
            _ => 0,
        };
        let has_device = random >> 3 & 7 != 0;
        // One in 512 payments is of one of four hot cards.
        let card = if random >> 40 & 511 == 0 { random & 3 } else { random >> 8 & 0x1_ffff };
        // A card has its own device, which one more shares, and now and then uses another: pairs come again, and new.
        let device = if random >> 26 & 15 == 0 { random >> 30 } else { card };
        let device = if has_device { [device & 0xffff, 2] } else { [0; 2] };
        let currency = if what == 41 { 978 } else { 840 };
        let presence = if has_device { 7 } else { 5 };
        self.payment[..4].copy_from_slice(&[self.number, 0, (self.now - late) as u64, presence]);
        self.payment[4..].copy_from_slice(&[card, 1, device[0], device[1], random >> 44 & 0xfff, currency]);
        (0, &self.payment)
    }
}

fn input(kind: u16, words: &[u64], number: u64, received: Time) -> Input<'_> {
    let admission = match number % 4_096 {
        7 => Admission::Shed,
        8 => Admission::Late,
        _ => Admission::Normal,
    };
    Input { principal: 1, kind, admission, received, words }
}

fn engine(clock: Clock, keys_max: u32) -> Engine {
    let mut policy = policy();
    let others = policy.features.iter_mut().filter(|feature| !is_distinct(feature));
    others.for_each(|feature| feature.assume = Some(Assume::High));
    let program = lower(&policy, &Tokenizer::default()).expect("the policy lowers");
    let loaded = archive::open(archive::seal(&program)).expect("the program opens");
    let limits = Limits {
        keys_max,
        spill_bytes_max: 48 << 20,
        rows_per_key_max: 2_000,
        dedup_entries_max: 200_000,
        lateness_us: 10 * MINUTE,
        skew_us: 5 * MINUTE,
        clock,
        ..Limits::default()
    };
    Engine::new(loaded, &limits).expect("the limits are good")
}

/// How many decisions to take.
fn volume() -> u64 {
    const USUAL: u64 = 10_000_000;
    let Ok(text) = std::env::var("NO_ALLOC_DECISIONS") else { return USUAL };
    let decisions = text.parse().unwrap_or_else(|_| panic!("NO_ALLOC_DECISIONS is `{text}`: give a number"));
    if decisions < USUAL {
        println!("SKIPPED in part: by NO_ALLOC_DECISIONS, {decisions} decisions instead of {USUAL}");
    }
    decisions
}

/// Takes so many decisions, none of which may allocate.
fn decide(clock: Clock, decisions: u64) -> Counters {
    let mut engine = engine(clock, 130_000);
    let mut stream = Stream::new();
    let (list, mut edits, mut refused) = (lists::name("devices", "device"), 0, 0);
    let before = ALLOCATIONS.get();
    let started = Instant::now();
    while engine.counters().decided < decisions {
        let number = stream.number;
        let received = Time(stream.now);
        let (kind, words) = stream.next();
        let input = input(kind, words, number, received);
        engine.look_ahead([input]);
        // Devices come into a list and leave it.
        if number % 64 == 5 && kind == 0 {
            let edit = if number & 64 == 0 { Edit::Add } else { Edit::Forget };
            let (entry, until) = (Entry::new(0, &words[6..8]), Time(received.0 + HOUR));
            let order = Order::List { list, entry, edit, until };
            *(if engine.order(&order, received) { &mut edits } else { &mut refused }) += 1_u64;
        }
        let _ = engine.step(&input);
        if number.is_multiple_of(1_000) {
            let _ = engine.step(&Input { kind: 9, ..input });
            let _ = engine.step(&Input { words: &words[..7], ..input });
        }
    }
    let took = started.elapsed();
    assert_eq!(ALLOCATIONS.get() - before, 0);
    let counters = *engine.counters();
    println!("{clock:?}: {took:?}, {edits} edits of lists, {refused} without room, {counters:#?}");
    for (name, count) in [
        ("repeated", counters.repeated),
        ("refused kind", counters.refused[1]),
        ("refused length", counters.refused[2]),
        ("late", counters.late),
        ("amended", counters.amended),
        ("unknown target", counters.amend_unknown),
        ("promoted", counters.promoted),
        ("expired keys", counters.keys_expired),
        ("evicted duplicates", counters.dedup_evicted),
        ("rates given up", counters.rates_lost),
        ("stale rates", counters.rate_stale),
        ("edits of lists", edits),
    ] {
        assert!(count > 0, "the stream was to have some: {name}");
    }
    counters
}

#[test]
fn ten_million_decisions_allocate_nothing() {
    assert!(decide(Clock::Event, volume()).too_late > 0, "the stream was to have some");
}

#[test]
fn decisions_by_the_wall_clock_allocate_nothing() {
    // A fifth does, but fewer than this would not have some of everything.
    let decisions = volume().min((volume() / 5).max(300_000));
    assert!(decide(Clock::Wall, decisions).skewed_behind > 0, "the stream was to have some");
}

/// Far more keys than there is room for.
#[test]
fn nothing_is_allocated_at_the_limit_of_keys() {
    let mut engine = engine(Clock::Event, 2_000);
    let mut stream = Stream::new();
    let before = ALLOCATIONS.get();
    while engine.counters().decided < 200_000 {
        let number = stream.number;
        let received = Time(stream.now);
        let (kind, words) = stream.next();
        let _ = engine.step(&input(kind, words, number, received));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    let counters = engine.counters();
    println!("{counters:?}");
    assert!(counters.doorkept > 1_000 && counters.keys_lost > 1_000 && counters.shared_told > 10_000);
}
