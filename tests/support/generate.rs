//! Random policies, built directly as typed trees. Everything follows from the seed.
//!
//! Two kinds of expressions are told apart. *Free* ones may divide and use decimals at will: they are evaluated in
//! full precision on the event at hand. *Plain* ones stay in whole numbers: they go where the engine keeps a value in a
//! row (aggregated values, and filters that amendments can change), so that no rounding of stored decimals can blur
//! the comparison. Plain decimals appear there as fields only, which have six digits after the point already.
//!
//! It is one file because each part of a policy is made from what the parts before it declared: one maker, read from top to
//! bottom.

use super::models;
use super::oracle::sources;
use super::rng::Rng;
use tollgate::engine::program::{Assume, ListOf};
use tollgate::engine::units::{Action, Currency, DAY, DECIMAL_DEN, HOUR, MINUTE, SECOND, Value};
use tollgate::policy::entries;
use tollgate::policy::typed::{
    Aggregate, Arithmetic, By, Calibration, Compare, Decide, Effective, EntityIx, Event, EventIx, Expr,
    FRAME_EVENTS_MAX, Feature, FeatureIx, FeatureKind, Field, FieldIx, FieldType, Frame, Late, Let, LetIx,
    List, ListEntry, ListIx, Model, ModelIx, Period, Policy, Queue, Rates, Reason, Rule, RuleIx, Scene,
    SceneIx, Source, Table, TableIx, Type, WINDOW_MAX_DAYS, Window, Within,
};
use tollgate::token::Tokenizer;

/// With two, zero and three digits after the point.
pub const CURRENCIES: [&str; 4] = ["USD", "EUR", "JPY", "KWD"];

/// Leading digits of cards, by their numbers: some the beginning of others.
pub const BINS: [i64; 5] = [411_111_006, 411_111_228, 411_111_118, 411_112_006, 550_000_107];

/// What fields hold in one word besides numbers.
const CODES: [FieldType; 6] = [
    FieldType::Country,
    FieldType::Currency,
    FieldType::Mcc,
    FieldType::Bin,
    FieldType::Time,
    FieldType::Duration,
];

/// Texts, some the beginning of others.
pub const TEXTS: [&str; 9] = [
    "",
    "a",
    "ab",
    "abcdefgh",
    "abcdefghi",
    "abcdefghijklmnop",
    "é",
    "éa",
    "sixty-four bytes long, which is as long as any text here can be.",
];

/// Addresses.
pub const ADDRESSES: [u128; 6] = [
    0xffff_0a00_0001,
    0xffff_0a00_0002,
    0xffff_0a01_0001,
    0x2001_0db8_0000_0000_0000_0000_0000_0001,
    0x2001_0db8_0001_0000_0000_0000_0000_0001,
    0,
];

/// What lists are of besides keys.
const LISTED: [ListOf; 7] =
    [ListOf::Text, ListOf::Ip, ListOf::Int, ListOf::Country, ListOf::Currency, ListOf::Mcc, ListOf::Bin];

/// An entry of a list of this, as it is written.
pub fn entry(rng: &mut Rng, of: ListOf) -> String {
    let of_few: &[&str] = match of {
        ListOf::Entity(_) => return super::streams::key_text(rng.below(12)),
        ListOf::Int => return rng.between(-3, 9).to_string(),
        ListOf::Text => &TEXTS[1..],
        ListOf::Ip => &[
            "10.0.0.1",
            "10.0.0.0/30",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "2001:db8::/32",
            "2001:db8::1",
            "::/1",
            "::",
        ],
        ListOf::Country => &["CN", "US", "DE"],
        ListOf::Currency => &["USD", "EUR", "JPY"],
        ListOf::Mcc => &["0000", "5411", "7995"],
        ListOf::Bin => &["4", "411111", "41111122", "411112", "5500001", "55000010"],
    };
    (*rng.pick(of_few)).to_owned()
}

/// An instant that times are compared with: among those of the streams.
const START_US: i64 = 1_700_000_000 * SECOND;

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "Asia/Shanghai",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Europe/Berlin",
    "America/Havana",
    "America/St_Johns",
    "Antarctica/Casey",
    "America/Nuuk",
];

const SPANS: [i64; 8] = [1, 1_000, SECOND, MINUTE, HOUR, DAY, 30 * DAY, WINDOW_MAX_DAYS * DAY];
const DELAYS: [i64; 6] = [1, SECOND, MINUTE, HOUR, DAY, 7 * DAY];

/// How an expression may be built.
#[derive(Clone)]
struct Scope {
    event: EventIx,
    /// Whole numbers only.
    plain: bool,
    /// Amendments whose fields may be named.
    amendments: Vec<EventIx>,
    /// Features that may be named.
    features: Vec<FeatureIx>,
    /// Models that may be named.
    models: Vec<ModelIx>,
    /// Lets that may be named.
    lets: Vec<LetIx>,
}

struct Maker<'r> {
    rng: &'r mut Rng,
    policy: Policy,
    /// Whether each let is plain, and whether it names amendments.
    lets: Vec<(bool, bool)>,
    zones: Vec<&'static str>,
    /// Percentage of windows that are by a pair of keys, where the events have them.
    pairs: u64,
    /// How many rules each judged event has; `None` for a few.
    rules: Option<usize>,
}

/// A random policy.
pub fn policy(rng: &mut Rng) -> Policy {
    made(rng, None)
}

/// A random policy with so many rules for each event that is judged.
pub fn policy_of_rules(rng: &mut Rng, rules: usize) -> Policy {
    made(rng, Some(rules))
}

fn made(rng: &mut Rng, rules: Option<usize>) -> Policy {
    let entities = (0..2 + rng.below(3)).map(|i| format!("entity{i}")).collect();
    let zones = (0..1 + rng.below(2)).map(|_| *rng.pick(&ZONES)).collect();
    let max_age_us = *rng.pick(&[1, SECOND, HOUR, DAY, 3 * DAY, 30 * DAY]);
    let rates = rng.percent(60).then(|| Rates { name: "daily".to_owned(), max_age_us });
    let policy = Policy {
        name: "random".to_owned(),
        revision: rng.word() as u32,
        entities,
        events: Vec::new(),
        reasons: Vec::new(),
        lists: Vec::new(),
        lets: Vec::new(),
        features: Vec::new(),
        models: Vec::new(),
        queues: Vec::new(),
        scenes: Vec::new(),
        tables: Vec::new(),
        rules: Vec::new(),
        decides: Vec::new(),
        rates,
    };
    let pairs = *rng.pick(&[0, 0, 20, 60]);
    let mut maker = Maker { rng, policy, lets: Vec::new(), zones, pairs, rules };
    let judged = maker.events();
    maker.lists();
    maker.lets();
    maker.features(&judged);
    maker.reasons();
    maker.scorecards(&judged);
    maker.models(&judged);
    for event in judged {
        maker.rules(event);
        maker.decide(event);
    }
    maker.policy
}

impl Maker<'_> {
    // ── events ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// Returns the events that are judged.
    fn events(&mut self) -> Vec<EventIx> {
        #[derive(Clone, Copy, PartialEq)]
        enum Part {
            Judged,
            Account,
            Amendment,
        }
        let mut parts = vec![Part::Judged; 1 + self.rng.below(3)];
        parts.extend(vec![Part::Account; self.rng.below(3)]);
        parts.extend(vec![Part::Amendment; self.rng.below(3)]);
        self.rng.shuffle(&mut parts);
        let amendable: Vec<usize> = (0..parts.len()).filter(|&i| parts[i] != Part::Amendment).collect();
        for (i, part) in parts.iter().enumerate() {
            let amends = (*part == Part::Amendment).then(|| EventIx(*self.rng.pick(&amendable) as u16));
            let fields = match part {
                Part::Judged => self.fields("field", 1, 4, 6),
                Part::Account => self.fields("field", 1, 2, 3),
                // Not called like the keys that it has from what it amends.
                Part::Amendment => self.fields("change", 0, 1, 4),
            };
            self.policy.events.push(Event { name: format!("event{i}"), amends, fields });
        }
        for i in 0..parts.len() {
            let Some(target) = self.policy.events[i].amends else { continue };
            let keys = self.policy.events[target.index()].fields.clone();
            let keys =
                keys.into_iter().enumerate().filter(|(_, field)| matches!(field.ty, FieldType::Entity(_)));
            let copies = keys.map(|(j, field)| Field { inherited: Some(FieldIx(j as u16)), ..field });
            self.policy.events[i].fields.extend(copies);
        }
        (0..parts.len()).filter(|&i| parts[i] == Part::Judged).map(|i| EventIx(i as u16)).collect()
    }

    fn fields(&mut self, name: &str, keys_min: usize, keys_max: usize, others_max: usize) -> Vec<Field> {
        let mut types = Vec::new();
        for _ in 0..keys_min + self.rng.below(keys_max - keys_min + 1) {
            types.push(FieldType::Entity(EntityIx(self.rng.below(self.policy.entities.len()) as u16)));
        }
        for _ in 0..1 + self.rng.below(others_max) {
            types.push(match self.rng.below(14) {
                12 => FieldType::Text(*self.rng.pick(&[1, 3, 8, 12, 24, 64])),
                13 => FieldType::Ip,
                8 => FieldType::Geo,
                9..12 => self.rng.pick(&CODES).clone(),
                0..3 => FieldType::Money,
                3..5 => FieldType::Int,
                5 => FieldType::Decimal,
                6 => FieldType::Bool,
                _ => FieldType::Enum((0..2 + self.rng.below(4)).map(|i| format!("word{i}")).collect()),
            });
        }
        self.rng.shuffle(&mut types);
        let field = |(i, ty)| Field {
            name: format!("{name}{i}"),
            ty,
            optional: self.rng.percent(35),
            inherited: None,
        };
        types.into_iter().enumerate().map(field).collect()
    }

    fn lists(&mut self) {
        for i in 0..self.rng.below(3) {
            let of = match self.rng.below(10) {
                0..3 => ListOf::Entity(self.rng.below(self.policy.entities.len()) as u16),
                _ => *self.rng.pick(&LISTED),
            };
            let mut entries: Vec<ListEntry> = Vec::new();
            for _ in 0..self.rng.below(6) {
                let text = entry(self.rng, of);
                let kind = of.word(|kind| self.policy.entities[usize::from(kind)].as_str());
                let read = entries::read(of, kind, &text, &Tokenizer::default()).expect("an entry");
                let until = self.rng.percent(30).then(|| START_US + self.rng.between(0, 20) * HOUR);
                if entries.iter().all(|known| known.entry != read) {
                    let (owner, reason) = ("the desk".to_owned(), String::new());
                    entries.push(ListEntry { text, entry: read, until, owner, reason });
                }
            }
            self.policy.lists.push(List { name: format!("list{i}"), of, entries });
        }
    }

    fn reasons(&mut self) {
        for i in 0..self.rng.below(4) {
            let id = if i == 0 { u16::MAX } else { 7 * i as u16 };
            self.policy.queues.push(Queue { name: format!("queue{i}"), id });
        }
        for i in 0..1 + self.rng.below(9) {
            let id = if i == 0 { u16::MAX } else { 10 * i as u16 };
            let customer = self.rng.percent(50).then(|| "too many attempts".to_owned());
            self.policy.reasons.push(Reason {
                name: format!("REASON{i}"),
                id,
                analyst: format!("reason {i}"),
                customer,
                iso: None,
            });
        }
    }

    fn amendments_of(&self, event: EventIx) -> Vec<EventIx> {
        let events = self.policy.events.iter().enumerate();
        events.filter(|(_, e)| e.amends == Some(event)).map(|(i, _)| EventIx(i as u16)).collect()
    }

    /// The scope of a stored value or an amendable filter (`plain`), or of one over the event alone.
    fn scope(&self, event: EventIx, plain: bool, amended: bool) -> Scope {
        let amendments = if amended { self.amendments_of(event) } else { Vec::new() };
        let usable = |i: &usize| {
            let (is_plain, is_amended) = self.lets[*i];
            self.policy.lets[*i].event == event && (is_plain || !plain) && (amended || !is_amended)
        };
        let lets = (0..self.policy.lets.len()).filter(usable).map(|i| LetIx(i as u16)).collect();
        Scope { event, plain, amendments, features: Vec::new(), models: Vec::new(), lets }
    }

    /// The scope of rules, decisions and scalars: amendments may be named (and are missing there).
    fn judging_scope(&self, event: EventIx) -> Scope {
        self.scope(event, false, true)
    }

    fn lets(&mut self) {
        for i in 0..self.rng.below(5) {
            let event = EventIx(self.rng.below(self.policy.events.len()) as u16);
            let amended = self.rng.percent(50) && !self.amendments_of(event).is_empty();
            let plain = amended || self.rng.percent(50);
            let scope = self.scope(event, plain, amended);
            let (expr, ty) = match self.rng.below(4) {
                0 => (self.truth(&scope, 3), Type::Bool),
                1 => (self.int(&scope, 2), Type::Int),
                _ => {
                    let currency = self.currency();
                    (self.money(&scope, currency, 2), Type::Money(currency))
                }
            };
            self.policy.lets.push(Let { name: format!("let{i}"), event, expr, ty });
            self.lets.push((plain, amended));
        }
    }

    // ── features ────────────────────────────────────────────────────────────────────────────────────────────────

    fn features(&mut self, judged: &[EventIx]) {
        if self.rng.percent(30) {
            self.plain_count(judged);
        }
        for i in 0..3 + self.rng.below(18) {
            let window = if self.rng.percent(88) { self.window(judged) } else { None };
            let (kind, ty) =
                window.map_or_else(|| self.scalar(judged), |(w, ty)| (FeatureKind::Window(w), ty));
            // Other features than counts of different things are told as ever where there is room for all events.
            let assumed = if is_distinct(&kind) { 60 } else { 10 };
            let bounds = [Assume::High, Assume::Low];
            let assume = self.rng.percent(assumed).then(|| *self.rng.pick(&bounds));
            self.policy.features.push(Feature { name: format!("feature{i}"), ty, kind, assume });
        }
    }

    /// A count of everything in a long window: what shows how many rows of a hot key are held.
    fn plain_count(&mut self, judged: &[EventIx]) {
        let (event, role) = (judged[0], self.key_of(judged[0]));
        let FieldType::Entity(entity) = self.policy.events[event.index()].fields[role.index()].ty else {
            unreachable!("a key field")
        };
        let aggregate = Aggregate::Count(Source { event, role: By::One(role), filter: None });
        let frame = Frame::Last { span_us: 30 * DAY };
        let window = Window {
            by: By::One(entity),
            frame,
            delay_us: 0,
            aggregate,
            judged_by: vec![(event, By::One(role))],
        };
        let kind = FeatureKind::Window(window);
        self.policy.features.push(Feature { name: "plain".to_owned(), ty: Type::Int, kind, assume: None });
    }

    fn scalar(&mut self, judged: &[EventIx]) -> (FeatureKind, Type) {
        let event = *self.rng.pick(judged);
        let scope = self.judging_scope(event);
        let (expr, ty) = match self.rng.below(4) {
            0 => (self.truth(&scope, 2), Type::Bool),
            1 => (self.int(&scope, 2), Type::Int),
            2 => (self.decimal(&scope, 2), Type::Decimal),
            _ => {
                let currency = self.currency();
                (self.money(&scope, currency, 2), Type::Money(currency))
            }
        };
        (FeatureKind::Scalar { event, expr }, ty)
    }

    fn window(&mut self, judged: &[EventIx]) -> Option<(Window, Type)> {
        let first = *self.rng.pick(judged);
        let roles = self.fields_where(first, |ty| matches!(ty, FieldType::Entity(_)));
        let one = *self.rng.pick(&roles);
        let other = *self.rng.pick(&roles);
        let role = match other != one && self.rng.percent(self.pairs) {
            false => By::One(one),
            // Of two kinds the one declared first comes first; of one kind twice, either field may.
            true if self.kind(first, one) <= self.kind(first, other) => By::Pair(one, other),
            true => By::Pair(other, one),
        };
        let by = role.try_map(|field| Some(self.kind(first, field)))?;
        let mut judged_by = vec![(first, role)];
        for &event in judged.iter().filter(|event| **event != first) {
            let roles = self.roles(event, by);
            if !roles.is_empty() && self.rng.percent(85) {
                judged_by.push((event, *self.rng.pick(&roles)));
            }
        }
        judged_by.sort_unstable();
        let (mut aggregate, mut ty) = self.aggregate(by, (first, role))?;
        let (mut frame, delay_us) = self.frame();
        if let Aggregate::Ratio(over, under) = &aggregate
            && (over.event, over.role) != (under.event, under.role)
        {
            while frame.is_by_event() {
                frame = self.frame().0;
            }
            let longest = WINDOW_MAX_DAYS * DAY - delay_us;
            if frame.reach_us() > longest {
                frame = Frame::Last { span_us: longest };
            }
        }
        let comparable = matches!(
            aggregate,
            Aggregate::Count(_)
                | Aggregate::Sum(..)
                | Aggregate::Avg(..)
                | Aggregate::Min(..)
                | Aggregate::Max(..)
                | Aggregate::Stddev(..)
                | Aggregate::DistinctKeys(..)
                | Aggregate::DistinctValues(..)
                | Aggregate::Percentile(..)
        );
        if comparable && self.rng.percent(15) {
            let (against, delay_us) = self.frame();
            aggregate = Aggregate::Change { of: Box::new(aggregate), against, delay_us };
            ty = Type::Decimal;
        }
        Some((Window { by, frame, delay_us, aggregate, judged_by }, ty))
    }

    /// The kind of a key field.
    fn kind(&self, event: EventIx, field: FieldIx) -> EntityIx {
        match self.policy.events[event.index()].fields[field.index()].ty {
            FieldType::Entity(entity) => entity,
            _ => unreachable!("a key field"),
        }
    }

    /// All ways to look an event up by a key, or by a pair of keys in two different fields.
    fn roles(&self, event: EventIx, by: By<EntityIx>) -> Vec<By<FieldIx>> {
        let firsts = self.keys(event, by.first());
        let Some(second) = by.second() else { return firsts.into_iter().map(By::One).collect() };
        let seconds = self.keys(event, second);
        let pairs = firsts.iter().flat_map(|&a| seconds.iter().map(move |&b| (a, b)));
        pairs.filter(|(a, b)| a != b).map(|(a, b)| By::Pair(a, b)).collect()
    }

    /// A frame and its delay.
    fn frame(&mut self) -> (Frame, i64) {
        let delay = if self.rng.percent(25) { *self.rng.pick(&DELAYS) } else { 0 };
        let mut span_us = *self.rng.pick(&SPANS);
        if self.rng.percent(30) {
            span_us = self.rng.between(1, 2 * span_us);
        }
        let span_us = span_us.min(WINDOW_MAX_DAYS * DAY - delay);
        let frame = match self.rng.below(10) {
            0 | 1 => {
                let count = *self.rng.pick(&[1, 2, 3, 5, 20, 100, FRAME_EVENTS_MAX]);
                Frame::Events { count, span_us }
            }
            2 => Frame::Every { span_us },
            3 | 4 => {
                let period = *self.rng.pick(&[Period::Hour, Period::Day, Period::Week, Period::Month]);
                Frame::This { period, zone: self.zone() }
            }
            5 if span_us > 1 => {
                let gap_us = (span_us / *self.rng.pick(&[2, 10, 100, 10_000])).max(1);
                Frame::Session { gap_us, span_us }
            }
            _ => Frame::Last { span_us },
        };
        (frame, delay)
    }

    fn keys(&self, event: EventIx, entity: EntityIx) -> Vec<FieldIx> {
        self.fields_where(event, |ty| *ty == FieldType::Entity(entity))
    }

    fn fields_where(&self, event: EventIx, wanted: impl Fn(&FieldType) -> bool) -> Vec<FieldIx> {
        let fields = self.policy.events[event.index()].fields.iter().enumerate();
        fields.filter(|(_, field)| wanted(&field.ty)).map(|(i, _)| FieldIx(i as u16)).collect()
    }

    fn source(&mut self, by: By<EntityIx>, judged: (EventIx, By<FieldIx>)) -> Option<Source> {
        let mut roles = Vec::new();
        for event in (0..self.policy.events.len()).map(|i| EventIx(i as u16)) {
            roles.extend(self.roles(event, by).into_iter().map(|role| (event, role)));
        }
        if roles.is_empty() {
            return None;
        }
        // Often the judged event is one of those that are looked at.
        let (event, role) = if self.rng.percent(35) { judged } else { *self.rng.pick(&roles) };
        Some(Source { event, role, filter: self.filter(event) })
    }

    fn filter(&mut self, event: EventIx) -> Option<Expr> {
        let amended = self.rng.percent(60) && !self.amendments_of(event).is_empty();
        self.rng.percent(65).then(|| {
            let scope = self.scope(event, amended, amended);
            self.truth(&scope, 3)
        })
    }

    fn aggregate(&mut self, by: By<EntityIx>, judged: (EventIx, By<FieldIx>)) -> Option<(Aggregate, Type)> {
        let source = self.source(by, judged)?;
        let event = source.event;
        let amended = self.rng.percent(50);
        let scope = self.scope(event, true, amended);
        let longest = *self.rng.pick(&SPANS);
        let half_life = self.rng.between(1, longest);
        Some(match self.rng.below(28) {
            0 | 1 => (Aggregate::Count(source), Type::Int),
            2 | 26 => (Aggregate::DistinctKeys(source, self.key_of(event)), Type::Int),
            3 => {
                let mut over = self.source(by, judged)?;
                if self.rng.percent(50) {
                    let filter = self.filter(event);
                    over = Source { filter, ..source.clone() };
                }
                (Aggregate::Ratio(over, source), Type::Decimal)
            }
            4 | 27 => (Aggregate::DistinctValues(source, self.any_value(&scope).0), Type::Int),
            10 => {
                let (value, ty) = self.any_value(&scope);
                (Aggregate::First(source, value), ty)
            }
            11 => {
                let (value, ty) = self.any_value(&scope);
                (Aggregate::Last(source, value), ty)
            }
            12 => (Aggregate::ShareKeys(source, self.key_of(event)), Type::Decimal),
            13 => (Aggregate::ShareValues(source, self.any_value(&scope).0), Type::Decimal),
            14 => (Aggregate::DecayedCount(source, half_life), Type::Decimal),
            15 => (Aggregate::SinceLast(source), Type::Duration),
            16 => (Aggregate::SinceFirst(source), Type::Duration),
            17 => (Aggregate::SeenKey(source, self.key_of(event)), Type::Bool),
            18 => (Aggregate::SeenValue(source, self.any_value(&scope).0), Type::Bool),
            19 => (Aggregate::Days(source, self.zone()), Type::Int),
            20 | 21 => {
                let places = self.fields_where(event, |ty| *ty == FieldType::Geo);
                let place = *places.get(self.rng.below(places.len().max(1)))?;
                if self.rng.percent(50) {
                    (Aggregate::Distance(source, place), Type::Distance)
                } else {
                    (Aggregate::Speed(source, place), Type::Speed)
                }
            }
            choice => {
                let (value, ty) = self.value(&scope);
                let fraction = if ty == Type::Int { Type::Decimal } else { ty };
                match choice {
                    5 | 6 => (Aggregate::Sum(source, value), ty),
                    7 => (Aggregate::Avg(source, value), fraction),
                    8 => (Aggregate::Min(source, value), ty),
                    9 => (Aggregate::Max(source, value), ty),
                    22 => (Aggregate::Stddev(source, value), fraction),
                    23 => (Aggregate::DecayedSum(source, value, half_life), fraction),
                    _ => {
                        let percent = *self.rng.pick(&[0, 1, 25, 50, 90, 95, 99, 100]);
                        (Aggregate::Percentile(percent, source, value), ty)
                    }
                }
            }
        })
    }

    fn key_of(&mut self, event: EventIx) -> FieldIx {
        let fields = self.fields_where(event, |ty| matches!(ty, FieldType::Entity(_)));
        *self.rng.pick(&fields)
    }

    /// A value to aggregate, or a word or truth value.
    fn any_value(&mut self, scope: &Scope) -> (Expr, Type) {
        let event = scope.event;
        let words = self.fields_where(event, |ty| matches!(ty, FieldType::Enum(_)));
        let truths = self.fields_where(event, |ty| *ty == FieldType::Bool);
        let codes = self.fields_where(event, |ty| code_type(ty).is_some() || *ty == FieldType::Time);
        match self.rng.below(5) {
            4 if !codes.is_empty() => {
                let field = *self.rng.pick(&codes);
                let ty = code_type(&self.policy.events[event.index()].fields[field.index()].ty);
                (Expr::Field(field), ty.unwrap_or(Type::Time))
            }
            0 if !words.is_empty() => {
                let field = *self.rng.pick(&words);
                (Expr::Field(field), Type::Enum(event, field))
            }
            1 if !truths.is_empty() => (Expr::Field(*self.rng.pick(&truths)), Type::Bool),
            2 => (self.truth(scope, 1), Type::Bool),
            _ => self.value(scope),
        }
    }

    /// A value to aggregate.
    fn value(&mut self, scope: &Scope) -> (Expr, Type) {
        let decimals = self.fields_where(scope.event, |ty| *ty == FieldType::Decimal);
        let lengths = self.fields_where(scope.event, |ty| *ty == FieldType::Duration);
        match self.rng.below(10) {
            0..3 if !decimals.is_empty() => {
                let field = Expr::Field(*self.rng.pick(&decimals));
                let again = Expr::Field(*self.rng.pick(&decimals));
                let sum = self.rng.percent(30);
                let expr = if sum { binary(Arithmetic::Add, field, again) } else { field };
                (expr, Type::Decimal)
            }
            3..6 => (self.int(scope, 1), Type::Int),
            6 | 7 if !lengths.is_empty() => {
                let field = Expr::Field(*self.rng.pick(&lengths));
                let times = self.rng.between(-2, 3);
                let expr =
                    if self.rng.percent(30) { binary(Arithmetic::Mul, field, int(times)) } else { field };
                (expr, Type::Duration)
            }
            _ => {
                let currency = self.currency();
                (self.money(scope, currency, 1), Type::Money(currency))
            }
        }
    }

    /// What may mention features and is only mentioned by rules and decisions, which are made next.
    fn scorecards(&mut self, judged: &[EventIx]) {
        for i in 0..self.rng.below(3) {
            let event = *self.rng.pick(judged);
            let scope = self.deciding_scope(event);
            let expr = self.int(&scope, 3);
            self.policy.lets.push(Let { name: format!("scorecard{i}"), event, expr, ty: Type::Int });
            self.lets.push((false, true));
        }
    }

    /// What is only mentioned by rules and decisions.
    fn models(&mut self, judged: &[EventIx]) {
        let mut models = Vec::new();
        for i in 0..self.rng.below(4).saturating_sub(1) {
            let event = *self.rng.pick(judged);
            let scope = self.deciding_scope(event);
            let inputs: Vec<(Expr, Type)> = (0..1 + self.rng.below(5)).map(|_| self.input(&scope)).collect();
            let calibration = match self.rng.below(4) {
                0 => Calibration::Platt(tenths(self.rng.between(-30, 30)), tenths(self.rng.between(-9, 9))),
                1 => {
                    let mut told: Vec<i64> =
                        (0..1 + self.rng.below(4)).map(|_| self.rng.between(-20, 20)).collect();
                    told.sort_unstable();
                    told.dedup();
                    let mut value = self.rng.between(-5, 5);
                    let point = |told| {
                        value += self.rng.between(0, 4);
                        (tenths(told), tenths(value))
                    };
                    Calibration::Isotonic(told.into_iter().map(point).collect())
                }
                _ => Calibration::None,
            };
            models.push(Model {
                name: format!("model{i}"),
                event,
                lazy: self.rng.percent(50),
                file: models::file(self.rng, inputs.len()),
                inputs,
                calibration,
            });
        }
        self.policy.models = models;
    }

    fn input(&mut self, scope: &Scope) -> (Expr, Type) {
        let words = self.fields_where(scope.event, |ty| matches!(ty, FieldType::Enum(_)));
        let lengths = self.fields_where(scope.event, |ty| *ty == FieldType::Duration);
        match self.rng.below(6) {
            0 => (self.truth(scope, 1), Type::Bool),
            1 => (self.decimal(scope, 1), Type::Decimal),
            2 => {
                let currency = self.currency();
                (Expr::Major(Box::new(self.money(scope, currency, 1))), Type::Decimal)
            }
            3 if !words.is_empty() => {
                let field = *self.rng.pick(&words);
                (Expr::Field(field), Type::Enum(scope.event, field))
            }
            4 if !lengths.is_empty() => (Expr::Field(*self.rng.pick(&lengths)), Type::Duration),
            _ => (self.int(scope, 1), Type::Int),
        }
    }

    fn model_test(&mut self, scope: &Scope) -> Expr {
        let value = Expr::Model(*self.rng.pick(&scope.models));
        let how = self.compare_how();
        match self.rng.below(6) {
            0 => Expr::IsMissing(Box::new(value)),
            1 => compare(how, value, self.decimal(scope, 1)),
            _ => compare(how, value, Expr::Const(tenths(self.rng.between(0, 10)), Type::Decimal)),
        }
    }

    // ── rules and decisions ─────────────────────────────────────────────────────────────────────────────────────

    fn usable_features(&self, event: EventIx) -> Vec<FeatureIx> {
        let usable = |feature: &Feature| match &feature.kind {
            FeatureKind::Scalar { event: on, .. } => *on == event,
            FeatureKind::Window(window) => window.judged_by.iter().any(|(judged, _)| *judged == event),
        };
        let features = self.policy.features.iter().enumerate();
        features.filter(|(_, feature)| usable(feature)).map(|(i, _)| FeatureIx(i as u16)).collect()
    }

    fn deciding_scope(&self, event: EventIx) -> Scope {
        let models = self.policy.models.iter().zip(0..);
        let models = models.filter(|(model, _)| model.event == event).map(|(_, ix)| ModelIx(ix)).collect();
        Scope { features: self.usable_features(event), models, ..self.judging_scope(event) }
    }

    fn rules(&mut self, event: EventIx) {
        let scope = self.deciding_scope(event);
        let first = self.policy.rules.len();
        let first_scene = self.policy.scenes.len();
        for _ in 0..self.rng.below(3) {
            let (depth, effective) = (self.rng.below(3) as u32, self.effective());
            let (name, when) = (format!("scene{}", self.policy.scenes.len()), self.truth(&scope, depth));
            self.policy.scenes.push(Scene { name, event, effective, when });
        }
        let scenes = self.policy.scenes.len() - first_scene;
        let first_table = self.policy.tables.len();
        for _ in 0..self.rng.below(3) {
            let (name, effective) = (format!("table{}", self.policy.tables.len()), self.effective());
            self.policy.tables.push(Table { name, event, effective, first: self.rng.percent(70) });
        }
        let tables = self.policy.tables.len() - first_table;
        let count = self.rules.unwrap_or_else(|| self.rng.below(12));
        // Rules of a scene, and rows of a table, stand together.
        let mut within: Vec<Option<Within>> = (0..count)
            .map(|_| match self.rng.below(3) {
                0 if scenes > 0 => {
                    Some(Within::Scene(SceneIx((first_scene + self.rng.below(scenes)) as u16)))
                }
                1 if tables > 0 => {
                    Some(Within::Table(TableIx((first_table + self.rng.below(tables)) as u16)))
                }
                _ => None,
            })
            .collect();
        within.sort_by_key(|within| match within {
            None => (0, 0),
            Some(Within::Scene(scene)) => (1, scene.0),
            Some(Within::Table(table)) => (2, table.0),
        });
        for within in within {
            let is_row = matches!(within, Some(Within::Table(_)));
            let depth = self.rng.below(4) as u32;
            let when = self.truth(&scope, depth);
            let salience = match self.rng.below(12) {
                0 => i32::MIN,
                1 => i32::MAX,
                _ => self.rng.between(-2, 2) as i32,
            };
            // Rows of a table have one salience.
            let before = self.policy.rules.last().filter(|before| before.within == within && is_row);
            let salience = before.map_or(salience, |before| before.salience);
            let action = self.rng.percent(60).then(|| self.action());
            let score = self.rng.percent(60).then(|| self.rng.between(0, 100) as i16);
            let reasons = self.policy.reasons.len();
            let reason = self.rng.percent(85).then(|| self.rng.below(reasons) as u16);
            let monitor = self.rng.percent(12);
            let effective = if is_row { Effective::default() } else { self.effective() };
            let queues = 0..self.policy.queues.len() as u16;
            let alerts = queues.filter(|_| self.rng.percent(20)).collect();
            self.policy.rules.push(Rule {
                name: format!("rule{}", self.policy.rules.len()),
                event,
                when,
                action,
                score,
                reason,
                mandatory: !monitor && self.rng.percent(20),
                monitor,
                salience,
                allow_over: Vec::new(),
                alerts,
                within,
                effective,
            });
        }
        for rule in first..self.policy.rules.len() {
            if self.rng.percent(20) {
                let over = (first..self.policy.rules.len()).filter(|&other| {
                    other != rule && !self.policy.rules[other].mandatory && self.rng.percent(60)
                });
                self.policy.rules[rule].allow_over = over.map(|other| RuleIx(other as u16)).collect();
            }
        }
    }

    /// Mostly always; else bounds around which streams have events.
    fn effective(&mut self) -> Effective {
        if self.rng.percent(75) {
            return Effective::default();
        }
        let from = self.rng.between(1_500_000_000, 1_900_000_000) * SECOND + self.rng.between(0, 1);
        let long = *self.rng.pick(&SPANS);
        let until = from + self.rng.between(1, long);
        match self.rng.below(3) {
            0 => Effective { from: Some(from), until: None },
            1 => Effective { from: None, until: Some(until) },
            _ => Effective { from: Some(from), until: Some(until) },
        }
    }

    fn action(&mut self) -> Action {
        Action::ALL[1 + self.rng.below(4)]
    }

    fn decide(&mut self, event: EventIx) {
        let scope = self.deciding_scope(event);
        let score = match self.rng.below(6) {
            0 if !scope.models.is_empty() => {
                let model = Expr::Model(*self.rng.pick(&scope.models));
                let of = vec![Expr::RuleScoresMax, binary(Arithmetic::Mul, int(100), model)];
                Expr::Extreme { greatest: true, of }
            }
            0 => Expr::RuleScoresSum,
            1 => {
                let of = vec![Expr::RuleScoresMax, self.int(&scope, 1), self.decimal(&scope, 1)];
                Expr::Extreme { greatest: true, of }
            }
            2 => binary(Arithmetic::Add, Expr::RuleScoresSum, self.decimal(&scope, 2)),
            3 => binary(Arithmetic::Div, Expr::RuleScoresMax, int(2)),
            _ => Expr::RuleScoresMax,
        };
        let mut thresholds = Vec::new();
        for _ in 0..self.rng.below(4) {
            let reached = compare(Compare::Ge, Expr::Score, int(self.rng.between(0, 100)));
            let when = match self.rng.below(4) {
                0 => Expr::And(Box::new(reached), Box::new(self.truth(&scope, 2))),
                1 => self.truth(&scope, 2),
                _ => reached,
            };
            thresholds.push((self.action(), when));
        }
        let late = self.rng.percent(60).then(|| Late {
            after_ns: 500_000,
            branches: (0..self.rng.below(3)).map(|_| (self.action(), self.truth(&scope, 2))).collect(),
            otherwise: self.action(),
        });
        let unassessed = self.action();
        self.policy.decides.push(Decide { event, score, thresholds, unassessed, late });
    }

    // ── expressions ─────────────────────────────────────────────────────────────────────────────────────────────

    fn currency(&mut self) -> Currency {
        let code = if self.rng.percent(70) { "USD" } else { *self.rng.pick(&CURRENCIES) };
        Currency::from_alpha(code).expect("a known currency")
    }

    /// A field of the event, or of one of its amendments, of a wanted type.
    fn field(
        &mut self,
        scope: &Scope,
        wanted: impl Fn(&FieldType) -> bool,
    ) -> Option<(Expr, EventIx, FieldIx)> {
        let mut all: Vec<_> = self
            .fields_where(scope.event, &wanted)
            .into_iter()
            .map(|field| (Expr::Field(field), scope.event, field))
            .collect();
        for &kind in &scope.amendments {
            let fields = self.fields_where(kind, &wanted);
            all.extend(fields.into_iter().map(|field| (Expr::Amended(kind, field), kind, field)));
        }
        (!all.is_empty()).then(|| self.rng.pick(&all).clone())
    }

    fn let_of(&mut self, scope: &Scope, ty: Type) -> Option<Expr> {
        let fit: Vec<_> = scope.lets.iter().filter(|l| self.policy.lets[l.index()].ty == ty).collect();
        (!fit.is_empty()).then(|| Expr::Let(**self.rng.pick(&fit)))
    }

    fn feature_of(&mut self, scope: &Scope, wanted: impl Fn(Type) -> bool) -> Option<Expr> {
        let fit: Vec<_> =
            scope.features.iter().filter(|f| wanted(self.policy.features[f.index()].ty)).collect();
        (!fit.is_empty()).then(|| Expr::Feature(**self.rng.pick(&fit)))
    }

    fn compare_how(&mut self) -> Compare {
        *self.rng.pick(&[Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge])
    }

    fn truth(&mut self, scope: &Scope, depth: u32) -> Expr {
        if depth > 0 && self.rng.percent(40) {
            let (a, b) = (self.truth(scope, depth - 1), self.truth(scope, depth - 1));
            return match self.rng.below(5) {
                0 => Expr::Not(Box::new(a)),
                1 | 2 => Expr::And(Box::new(a), Box::new(b)),
                _ => Expr::Or(Box::new(a), Box::new(b)),
            };
        }
        if !scope.models.is_empty() && self.rng.percent(20) {
            return self.model_test(scope);
        }
        if !scope.features.is_empty() && self.rng.percent(60) {
            return self.feature_test(scope, depth);
        }
        let depth = depth.saturating_sub(1);
        let how = self.compare_how();
        let found = match self.rng.below(20) {
            0..2 => {
                let currency = self.currency();
                let (a, b) = (self.money(scope, currency, depth), self.money(scope, currency, 0));
                Some(compare(how, a, b))
            }
            2 => self.field(scope, |ty| *ty == FieldType::Decimal).map(|(field, ..)| {
                let bound = self.rng.between(-4 * DECIMAL_DEN, 4 * DECIMAL_DEN);
                compare(how, field, Expr::Const(Value::ratio(bound, DECIMAL_DEN), Type::Decimal))
            }),
            3 if !scope.plain => {
                let (a, b) = (self.decimal(scope, depth), self.decimal(scope, 0));
                Some(compare(how, a, b))
            }
            4 | 5 => self.field(scope, |ty| matches!(ty, FieldType::Enum(_))).map(|(field, event, index)| {
                let ordinal = Expr::Const(Value::int(self.rng.between(0, 2)), Type::Enum(event, index));
                compare(if self.rng.percent(50) { Compare::Eq } else { Compare::Ne }, field, ordinal)
            }),
            6 => self.field(scope, |ty| *ty == FieldType::Bool).map(|(field, ..)| field),
            7 => {
                let field = self.rng.below(self.policy.events[scope.event.index()].fields.len());
                Some(Expr::FieldMissing(FieldIx(field as u16)))
            }
            8 | 9 if !scope.amendments.is_empty() => {
                let kind = *self.rng.pick(&scope.amendments);
                let own: Vec<_> = self.fields_where(kind, |ty| !matches!(ty, FieldType::Entity(_)));
                let field = (self.rng.percent(50) && !own.is_empty()).then(|| *self.rng.pick(&own));
                Some(Expr::AmendMissing(kind, field))
            }
            10 => {
                let of = if self.rng.percent(50) { self.int(scope, depth) } else { self.truth(scope, depth) };
                Some(Expr::IsMissing(Box::new(of)))
            }
            11 | 18 => self.in_list(scope),
            19 => self.words(scope),
            12 => self.same_key(scope),
            13 => self.let_of(scope, Type::Bool),
            15 | 16 => self.coded(scope),
            17 => self.timed(scope, how),
            14 => self.field(scope, |ty| *ty == FieldType::Bool).map(|(field, ..)| {
                compare(Compare::Eq, field, Expr::Const(Value::bool(self.rng.percent(50)), Type::Bool))
            }),
            _ => None,
        };
        found.unwrap_or_else(|| compare(how, self.int(scope, depth), self.int(scope, 0)))
    }

    fn feature_test(&mut self, scope: &Scope, depth: u32) -> Expr {
        let feature = *self.rng.pick(&scope.features);
        let how = self.compare_how();
        let value = Expr::Feature(feature);
        match self.policy.features[feature.index()].ty {
            Type::Bool => value,
            _ if self.rng.percent(8) => Expr::IsMissing(Box::new(value)),
            Type::Money(currency) => compare(how, value, self.money(scope, currency, depth.min(1))),
            Type::Int if self.rng.percent(60) => compare(how, value, int(self.rng.between(0, 6))),
            Type::Int | Type::Decimal => compare(how, value, self.decimal(scope, depth.min(1))),
            Type::Enum(event, field) => {
                let how = if self.rng.percent(50) { Compare::Eq } else { Compare::Ne };
                compare(how, value, Expr::Const(Value::int(self.rng.between(0, 2)), Type::Enum(event, field)))
            }
            ty @ (Type::Duration | Type::Distance | Type::Speed) => {
                let bound = *self.rng.pick(&[0, 1, 900, SECOND, HOUR, DAY]);
                let bound = Expr::Const(Value::int(bound), ty);
                let value = match (ty, self.rng.below(4)) {
                    (Type::Duration, 0) => binary(Arithmetic::Mul, value, self.decimal(scope, 0)),
                    (Type::Duration, 1) => binary(Arithmetic::Div, value, self.int(scope, 0)),
                    (Type::Duration, 2) => binary(Arithmetic::Sub, value, bound.clone()),
                    _ => value,
                };
                compare(how, value, bound)
            }
            Type::Country | Type::Currency | Type::Mcc | Type::Bin => {
                let ty = self.policy.features[feature.index()].ty;
                let how = if self.rng.percent(50) { Compare::Eq } else { Compare::Ne };
                compare(how, value, self.code(ty))
            }
            Type::Time => compare(how, value, Expr::Const(Value::int(START_US), Type::Time)),
            Type::AnyMoney => unreachable!("no feature is of this type"),
        }
    }

    /// A literal of a code.
    fn code(&mut self, ty: Type) -> Expr {
        let numbers: &[i64] = match ty {
            Type::Country => &[0x434e, 0x5553],
            Type::Currency => &[840, 978],
            Type::Mcc => &[0, 5411, 7995],
            _ => &BINS,
        };
        Expr::Const(Value::int(*self.rng.pick(numbers)), ty)
    }

    /// A code compared with another, or a category with the ends of a range.
    fn coded(&mut self, scope: &Scope) -> Option<Expr> {
        let how = if self.rng.percent(30) { Compare::Eq } else { Compare::Ne };
        if self.rng.percent(30) {
            let any = self.any_money(scope)?;
            return Some(compare(how, Expr::CurrencyOf(Box::new(any)), self.code(Type::Currency)));
        }
        let coded = |ty: &FieldType| code_type(ty).is_some();
        let (field, event, index) = self.field(scope, coded)?;
        let ty = code_type(&self.policy.events[event.index()].fields[index.index()].ty)?;
        if ty == Type::Mcc && self.rng.percent(50) {
            let end = |number| Expr::Const(Value::int(number), Type::Mcc);
            let (low, high) = (self.rng.between(0, 6_000), self.rng.between(5_000, 9_999));
            let low = compare(Compare::Ge, field.clone(), end(low));
            return Some(Expr::And(Box::new(low), Box::new(compare(Compare::Le, field, end(high)))));
        }
        Some(compare(how, field, self.code(ty)))
    }

    /// A time or a length of time, compared.
    fn timed(&mut self, scope: &Scope, how: Compare) -> Option<Expr> {
        let length = Expr::Const(Value::int(*self.rng.pick(&[0, 1, HOUR, 3 * HOUR])), Type::Duration);
        if let Some((time, ..)) = self.field(scope, |ty| *ty == FieldType::Time)
            && self.rng.percent(60)
        {
            let (other, ..) = self.field(scope, |ty| *ty == FieldType::Time)?;
            return Some(match self.rng.below(4) {
                3 => compare(how, binary(Arithmetic::Sub, Expr::Now, time), length),
                0 => compare(how, binary(Arithmetic::Sub, time, other), length),
                1 => compare(how, binary(Arithmetic::Add, time, length), other),
                _ => compare(how, time, Expr::Const(Value::int(START_US), Type::Time)),
            });
        }
        let lasting = self.lasting(scope)?;
        Some(compare(how, lasting, length))
    }

    /// A length of time that events carry.
    fn lasting(&mut self, scope: &Scope) -> Option<Expr> {
        let (lasting, ..) = self.field(scope, |ty| *ty == FieldType::Duration)?;
        Some(match self.rng.below(4) {
            0 => binary(Arithmetic::Mul, lasting, self.int(scope, 0)),
            1 if !scope.plain => binary(Arithmetic::Div, lasting, self.int(scope, 0)),
            _ => lasting,
        })
    }

    fn in_list(&mut self, scope: &Scope) -> Option<Expr> {
        let mut found = Vec::new();
        for i in 0..self.policy.lists.len() {
            let (of, list) = (self.policy.lists[i].of, ListIx(i as u16));
            let wanted = |ty: &FieldType| match of {
                ListOf::Entity(kind) => *ty == FieldType::Entity(EntityIx(kind)),
                ListOf::Text => matches!(ty, FieldType::Text(_)),
                ListOf::Ip => *ty == FieldType::Ip,
                ListOf::Int => *ty == FieldType::Int,
                ListOf::Country => *ty == FieldType::Country,
                ListOf::Currency => *ty == FieldType::Currency,
                ListOf::Mcc => *ty == FieldType::Mcc,
                ListOf::Bin => *ty == FieldType::Bin,
            };
            let by_words = matches!(of, ListOf::Entity(_) | ListOf::Text | ListOf::Ip);
            if by_words {
                let fields = self.fields_where(scope.event, wanted);
                found.extend(fields.into_iter().map(|field| Expr::InList(field, list)));
                continue;
            }
            found.extend(self.field(scope, wanted).map(|(field, ..)| Expr::Listed(Box::new(field), list)));
            // What amendments may change is not computed before it is looked up.
            if scope.amendments.is_empty() && of == ListOf::Int {
                found.push(Expr::Listed(Box::new(self.int(scope, 1)), list));
            }
        }
        (!found.is_empty()).then(|| self.rng.pick(&found).clone())
    }

    /// A text or an address, compared.
    fn words(&mut self, scope: &Scope) -> Option<Expr> {
        let texts = self.fields_where(scope.event, |ty| matches!(ty, FieldType::Text(_)));
        let addresses = self.fields_where(scope.event, |ty| *ty == FieldType::Ip);
        if !addresses.is_empty() && self.rng.percent(50) {
            let field = *self.rng.pick(&addresses);
            if self.rng.percent(20) {
                return Some(Expr::SameKey(field, *self.rng.pick(&addresses)));
            }
            let text = entry(self.rng, ListOf::Ip);
            return Some(Expr::Within(field, entries::prefix(&text).expect("a prefix")));
        }
        if texts.is_empty() {
            return None;
        }
        let field = *self.rng.pick(&texts);
        let text = entry(self.rng, ListOf::Text);
        Some(match self.rng.below(3) {
            0 => Expr::TextIs(field, text),
            1 => Expr::TextStarts(field, text),
            _ => Expr::SameText(field, *self.rng.pick(&texts)),
        })
    }

    fn same_key(&mut self, scope: &Scope) -> Option<Expr> {
        let entity = EntityIx(self.rng.below(self.policy.entities.len()) as u16);
        let fields = self.keys(scope.event, entity);
        (fields.len() > 1).then(|| Expr::SameKey(*self.rng.pick(&fields), *self.rng.pick(&fields)))
    }

    fn zone(&mut self) -> String {
        (*self.rng.pick(&self.zones)).to_owned()
    }

    fn int(&mut self, scope: &Scope, depth: u32) -> Expr {
        if depth > 0 && self.rng.percent(45) {
            let (a, b) = (self.int(scope, depth - 1), self.int(scope, depth - 1));
            return match self.rng.below(7) {
                0 => binary(Arithmetic::Add, a, b),
                1 => binary(Arithmetic::Sub, a, b),
                2 => binary(Arithmetic::Mul, a, b),
                3 => Expr::Negate(Box::new(a)),
                4 => {
                    let mut branches = vec![(self.truth(scope, depth - 1), a)];
                    if self.rng.percent(50) {
                        branches.insert(0, (self.truth(scope, 0), self.int(scope, 0)));
                    }
                    Expr::Choose { branches, otherwise: Box::new(b) }
                }
                5 => Expr::FirstPresent(vec![a, b]),
                _ => Expr::Extreme { greatest: self.rng.percent(50), of: vec![a, b] },
            };
        }
        let found = match self.rng.below(12) {
            0..6 => self.field(scope, |ty| *ty == FieldType::Int).map(|(field, ..)| field),
            6 => self.let_of(scope, Type::Int),
            7 => Some(Expr::Hour(self.zone())),
            8 => Some(Expr::Weekday(self.zone())),
            9 => self.feature_of(scope, |ty| ty == Type::Int),
            _ => None,
        };
        found
            .unwrap_or_else(|| int(if self.rng.percent(2) { i64::MAX - 1 } else { self.rng.between(-3, 12) }))
    }

    /// A number that need not be whole; never plain.
    fn decimal(&mut self, scope: &Scope, depth: u32) -> Expr {
        // Not where money is multiplied, which may be converted afterwards.
        if depth > 0 && !scope.models.is_empty() && self.rng.percent(25) {
            return Expr::Model(*self.rng.pick(&scope.models));
        }
        if depth > 0 && self.rng.percent(50) {
            let (a, b) = (self.decimal(scope, depth - 1), self.decimal(scope, depth - 1));
            return match self.rng.below(7) {
                0 => binary(Arithmetic::Add, a, b),
                1 => binary(Arithmetic::Sub, a, b),
                2 => binary(Arithmetic::Mul, a, b),
                3 => binary(Arithmetic::Div, a, b),
                4 => Expr::FirstPresent(vec![a, b]),
                5 => {
                    let currency = self.currency();
                    let (a, b) = (self.money(scope, currency, depth - 1), self.money(scope, currency, 0));
                    binary(Arithmetic::Div, a, b)
                }
                _ => Expr::Extreme { greatest: self.rng.percent(50), of: vec![a, b] },
            };
        }
        let found = match self.rng.below(8) {
            0..2 => self.field(scope, |ty| *ty == FieldType::Decimal).map(|(field, ..)| field),
            2 => {
                let currency = self.currency();
                Some(Expr::Major(Box::new(self.money(scope, currency, 0))))
            }
            3 => self.feature_of(scope, |ty| ty == Type::Decimal),
            4 => Some(binary(Arithmetic::Div, self.int(scope, 0), self.int(scope, 0))),
            _ => None,
        };
        let tenths = self.rng.between(-50, 1000);
        found.unwrap_or(Expr::Const(Value::ratio(tenths, 10), Type::Decimal))
    }

    fn any_money(&mut self, scope: &Scope) -> Option<Expr> {
        let (first, ..) = self.field(scope, |ty| *ty == FieldType::Money)?;
        if self.rng.percent(70) {
            return Some(first);
        }
        let (second, ..) = self.field(scope, |ty| *ty == FieldType::Money)?;
        let (third, ..) = self.field(scope, |ty| *ty == FieldType::Money)?;
        Some(Expr::FirstPresent(vec![first, second, third]))
    }

    fn money(&mut self, scope: &Scope, currency: Currency, depth: u32) -> Expr {
        if depth > 0 && self.rng.percent(45) {
            let (a, b) = (self.money(scope, currency, depth - 1), self.money(scope, currency, depth - 1));
            return match self.rng.below(7) {
                0 => binary(Arithmetic::Add, a, b),
                1 => binary(Arithmetic::Sub, a, b),
                2 if scope.plain => binary(Arithmetic::Mul, a, self.int(scope, 0)),
                2 => binary(Arithmetic::Mul, self.decimal(scope, 0), a),
                3 if !scope.plain => binary(Arithmetic::Div, a, self.decimal(scope, 0)),
                3 | 4 => Expr::FirstPresent(vec![a, b]),
                5 => Expr::Negate(Box::new(a)),
                _ => Expr::Extreme { greatest: self.rng.percent(50), of: vec![a, b] },
            };
        }
        let found = match self.rng.below(10) {
            0..6 => self.any_money(scope).map(|any| Expr::InCurrency(Box::new(any), currency)),
            6 => self.let_of(scope, Type::Money(currency)),
            7 => self.feature_of(scope, |ty| ty == Type::Money(currency)),
            // What amendments may change is not converted twice.
            8 if scope.amendments.is_empty() => {
                let from = self.currency();
                let of = self.money(scope, from, depth);
                Some(Expr::InCurrency(Box::new(of), currency))
            }
            _ => None,
        };
        found.unwrap_or_else(|| Expr::Const(Value::int(self.rng.between(0, 500)), Type::Money(currency)))
    }
}

/// The type of a code, and of nothing else.
fn code_type(ty: &FieldType) -> Option<Type> {
    Some(match ty {
        FieldType::Country => Type::Country,
        FieldType::Currency => Type::Currency,
        FieldType::Mcc => Type::Mcc,
        FieldType::Bin => Type::Bin,
        _ => return None,
    })
}

fn int(number: i64) -> Expr {
    Expr::Const(Value::int(number), Type::Int)
}

fn binary(how: Arithmetic, a: Expr, b: Expr) -> Expr {
    Expr::Arithmetic(how, Box::new(a), Box::new(b))
}

/// A number of tenths, as it is written.
fn tenths(tenths: i64) -> Value {
    if tenths % 10 == 0 { Value::int(tenths / 10) } else { Value::ratio(tenths, 10) }
}

fn compare(how: Compare, a: Expr, b: Expr) -> Expr {
    Expr::Compare(how, Box::new(a), Box::new(b))
}

/// The same policy with a part taken away, for making a failing example smaller: rules that never fire, thresholds
/// and filters dropped. Parts keep their numbers.
pub fn simpler(policy: &Policy) -> Vec<Policy> {
    let never = || Expr::Const(Value::FALSE, Type::Bool);
    let mut simpler = Vec::new();
    for i in 0..policy.rules.len() {
        let mut less = policy.clone();
        less.rules[i].within = None;
        less.rules[i].effective = Effective::default();
        simpler.push(less.clone());
        let rule = &mut less.rules[i];
        rule.when = never();
        rule.allow_over.clear();
        simpler.push(less);
    }
    for i in 0..policy.decides.len() {
        let mut less = policy.clone();
        less.decides[i].thresholds.clear();
        less.decides[i].late = None;
        simpler.push(less.clone());
        less.decides[i].score = int(0);
        simpler.push(less);
    }
    for i in 0..policy.features.len() {
        let mut less = policy.clone();
        let constant = match less.features[i].ty {
            Type::Bool => never(),
            ty => Expr::Const(Value::int(1), ty),
        };
        let on = match &less.features[i].kind {
            FeatureKind::Scalar { event, .. } => *event,
            FeatureKind::Window(window) => window.judged_by[0].0,
        };
        let one_judge = match &less.features[i].kind {
            FeatureKind::Scalar { .. } => true,
            FeatureKind::Window(window) => {
                window.judged_by.len() == 1 || policy.rules.iter().all(|r| r.when == never())
            }
        };
        if one_judge {
            less.features[i].kind = FeatureKind::Scalar { event: on, expr: constant };
            simpler.push(less.clone());
        }
        less.features[i] = policy.features[i].clone();
        if let FeatureKind::Window(window) = &mut less.features[i].kind
            && sources(&window.aggregate).iter().any(|source| source.filter.is_some())
        {
            filters(&mut window.aggregate).into_iter().for_each(|filter| *filter = None);
            simpler.push(less);
        }
    }
    simpler.retain(|less| less != policy);
    simpler
}

/// Whether it counts different things, and is no comparison of such counts.
pub fn is_distinct(kind: &FeatureKind) -> bool {
    let FeatureKind::Window(window) = kind else { return false };
    matches!(window.aggregate, Aggregate::DistinctKeys(..) | Aggregate::DistinctValues(..))
}

fn filters(aggregate: &mut Aggregate) -> Vec<&mut Option<Expr>> {
    match aggregate {
        Aggregate::Stddev(source, _)
        | Aggregate::First(source, _)
        | Aggregate::Last(source, _)
        | Aggregate::ShareKeys(source, _)
        | Aggregate::ShareValues(source, _)
        | Aggregate::Percentile(_, source, _)
        | Aggregate::DecayedCount(source, _)
        | Aggregate::DecayedSum(source, _, _)
        | Aggregate::SinceLast(source)
        | Aggregate::SinceFirst(source)
        | Aggregate::Distance(source, _)
        | Aggregate::Speed(source, _)
        | Aggregate::SeenKey(source, _)
        | Aggregate::SeenValue(source, _)
        | Aggregate::Days(source, _) => vec![&mut source.filter],
        Aggregate::Change { of, .. } => filters(of),
        Aggregate::Count(source)
        | Aggregate::Sum(source, _)
        | Aggregate::Avg(source, _)
        | Aggregate::Min(source, _)
        | Aggregate::Max(source, _)
        | Aggregate::DistinctKeys(source, _)
        | Aggregate::DistinctValues(source, _) => vec![&mut source.filter],
        Aggregate::Ratio(over, under) => vec![&mut over.filter, &mut under.filter],
    }
}
