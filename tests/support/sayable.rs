//! The nearest policy that the language can say.
//!
//! Random policies are made as typed trees, and some of what they hold has no words: a number below zero is a sign before a
//! number, a feature has one `via`. [`sayable`] turns a tree into one that the checker can have made, so that printing and
//! checking it has to give exactly the same tree back. What it replaces is listed here, and nothing else may differ.
//!
//! Said in other words, with the same meaning:
//!
//! * a literal below zero is a sign before a literal, and a fraction has no zeros at its end;
//! * an instant within a minute is that minute and a duration;
//! * dividing by zero as it is written is refused, dividing by its negation is not;
//! * a value to aggregate that names nothing of its event gets a name by a `let` on it, which says of which event it is;
//!   one that names only amendments would be a value of theirs.
//!
//! Something else in its place, counted:
//!
//! * a word beyond the last of its enum: the last; a text longer than its field: its beginning; a range of categories that
//!   ends before it starts: the other way round;
//! * ends of list entries and of `effective` between minutes: the minute;
//! * a feature looks an event up by one key, wherever it speaks of it, and serves every judged event that has only one;
//! * a feature has one time zone, and one that is computed from its event assumes nothing;
//! * scorecards are 0, and rows of tables rules of their own: their printing is not worth its lines;
//! * what allows over rules allows; a rule without any effect scores 0; scenes without rules are left out.

use std::collections::BTreeMap;
use tollgate::engine::units::{Action, MINUTE, Value};
use tollgate::policy::typed::{
    Aggregate, Arithmetic, By, Compare, EntityIx, Event, EventIx, Expr, FeatureKind, FieldIx, FieldType,
    Frame, Let, LetIx, Policy, SceneIx, Source, Type, Window, Within,
};

/// A policy that can be said, and how many parts of it mean something else than they did.
pub fn sayable(policy: &Policy) -> (Policy, usize) {
    let mut policy = policy.clone();
    let judged = policy.decides.iter().map(|decide| decide.event).collect();
    let lets = std::mem::take(&mut policy.lets);
    let events = policy.events.clone();
    let mut sayer = Sayer { events, judged, lets, changed: 0 };
    sayer.whole(&mut policy);
    policy.lets = sayer.lets;
    (policy, sayer.changed)
}

struct Sayer {
    events: Vec<Event>,
    judged: Vec<EventIx>,
    lets: Vec<Let>,
    changed: usize,
}

impl Sayer {
    fn whole(&mut self, policy: &mut Policy) {
        for ix in 0..self.lets.len() {
            let (event, mut expr) = (self.lets[ix].event, self.lets[ix].expr.clone());
            if is_scorecard(&expr) {
                (expr, self.lets[ix].ty) = (Expr::Const(Value::int(0), Type::Int), Type::Int);
                self.changed += 1;
            }
            self.expr(event, &mut expr);
            self.lets[ix].expr = expr;
        }
        for entry in policy.lists.iter_mut().flat_map(|list| &mut list.entries) {
            if let Some(until) = &mut entry.until {
                self.replace(until, *until - *until % MINUTE);
            }
        }
        for feature in &mut policy.features {
            match &mut feature.kind {
                FeatureKind::Scalar { event, expr } => {
                    self.expr(*event, expr);
                    self.replace(&mut feature.assume, None);
                }
                FeatureKind::Window(window) => self.window(window),
            }
        }
        for model in &mut policy.models {
            for (input, _) in &mut model.inputs {
                self.expr(model.event, input);
            }
        }
        self.rules(policy);
        for decide in &mut policy.decides {
            self.expr(decide.event, &mut decide.score);
            let late = decide.late.iter_mut().flat_map(|late| &mut late.branches);
            for (_, when) in decide.thresholds.iter_mut().chain(late) {
                self.expr(decide.event, when);
            }
        }
    }

    /// Counts when it was something else.
    fn replace<T: PartialEq>(&mut self, old: &mut T, new: T) {
        self.changed += usize::from(*old != new);
        *old = new;
    }

    // ── rules and scenes ────────────────────────────────────────────────────────────────────────────────────────

    fn rules(&mut self, policy: &mut Policy) {
        self.changed += policy.tables.len();
        policy.tables.clear();
        for rule in &mut policy.rules {
            if matches!(rule.within, Some(Within::Table(_))) {
                rule.within = None;
            }
        }
        let mut kept = Vec::new();
        for (ix, scene) in std::mem::take(&mut policy.scenes).into_iter().enumerate() {
            let within = Some(Within::Scene(SceneIx(ix as u16)));
            let new = Some(Within::Scene(SceneIx(kept.len() as u16)));
            let mut held = policy.rules.iter_mut().filter(|rule| rule.within == within).peekable();
            if held.peek().is_none() {
                self.changed += 1;
                continue;
            }
            // It moves forward only, where the rules of the scenes before it have their numbers already.
            held.for_each(|rule| rule.within = new);
            kept.push(scene);
        }
        policy.scenes = kept;
        for scene in &mut policy.scenes {
            self.expr(scene.event, &mut scene.when);
            self.effective(&mut scene.effective.from, &mut scene.effective.until);
        }
        for rule in &mut policy.rules {
            self.expr(rule.event, &mut rule.when);
            self.effective(&mut rule.effective.from, &mut rule.effective.until);
            if !rule.allow_over.is_empty() {
                self.replace(&mut rule.action, Some(Action::Allow));
            }
            if (rule.action, rule.score, rule.reason) == (None, None, None) && rule.alerts.is_empty() {
                self.replace(&mut rule.score, Some(0));
            }
        }
    }

    fn effective(&mut self, from: &mut Option<i64>, until: &mut Option<i64>) {
        let minute = |at: i64| at - at % MINUTE;
        let (start, mut end) = (from.map(minute), until.map(minute));
        if let (Some(start), Some(end)) = (start, &mut end) {
            *end = (*end).max(start + MINUTE);
        }
        self.replace(from, start);
        self.replace(until, end);
    }

    // ── features ────────────────────────────────────────────────────────────────────────────────────────────────

    fn window(&mut self, window: &mut Window) {
        self.zones(window);
        let mut roles: BTreeMap<EventIx, By<FieldIx>> = window.judged_by.iter().copied().collect();
        let (sources, value) = parts_of(&mut window.aggregate);
        let event = sources[0].event;
        for source in sources {
            let role = *roles.entry(source.event).or_insert(source.role);
            self.replace(&mut source.role, role);
            if let Some(filter) = &mut source.filter {
                self.expr(source.event, filter);
            }
        }
        if let Some(value) = value {
            self.expr(event, value);
            if !names_its_event(value) {
                self.name(event, value);
            }
        }
        let only = |event: EventIx| self.only_role(event, window.by);
        let served = |&event: &EventIx| Some((event, roles.get(&event).copied().or_else(|| only(event))?));
        let judged_by = self.judged.iter().filter_map(served).collect();
        self.replace(&mut window.judged_by, judged_by);
    }

    /// The keys by which an event is looked up when nothing is said.
    fn only_role(&self, event: EventIx, by: By<EntityIx>) -> Option<By<FieldIx>> {
        if by.second() == Some(by.first()) {
            return None;
        }
        by.try_map(|kind| match keys(&self.events[event.index()], kind)[..] {
            [only] => Some(only),
            _ => None,
        })
    }

    fn zones(&mut self, window: &mut Window) {
        let mut zones = Vec::new();
        zones.extend(zone_of(&mut window.frame));
        match &mut window.aggregate {
            Aggregate::Days(_, zone) => zones.push(zone),
            Aggregate::Change { against, .. } => zones.extend(zone_of(against)),
            _ => {}
        }
        let Some(first) = zones.first().map(|zone| (*zone).clone()) else { return };
        for zone in zones {
            self.replace(zone, first.clone());
        }
    }

    /// Gives a value a name on an event.
    fn name(&mut self, event: EventIx, value: &mut Expr) {
        let (name, ty) = (format!("value{}", self.lets.len()), self.type_of(event, value));
        let expr = std::mem::replace(value, Expr::Let(LetIx(self.lets.len() as u16)));
        self.lets.push(Let { name, event, expr, ty });
    }

    // ── expressions ─────────────────────────────────────────────────────────────────────────────────────────────

    fn expr(&mut self, event: EventIx, expr: &mut Expr) {
        while let Expr::Choose { otherwise, .. } = expr {
            *expr = (**otherwise).clone();
            self.changed += 1;
        }
        parts(expr).into_iter().for_each(|part| self.expr(event, part));
        match expr {
            Expr::Const(value, ty) => {
                if let Type::Enum(event, field) = *ty {
                    let FieldType::Enum(words) = &self.events[event.index()].fields[field.index()].ty else {
                        unreachable!("an enum")
                    };
                    let last = words.len() as i64 - 1;
                    self.replace(value, Value::int(value.num.min(last)));
                }
                *expr = literal(*value, *ty);
            }
            Expr::Arithmetic(Arithmetic::Div, _, by)
                if matches!(**by, Expr::Const(Value { num: 0, .. }, _)) =>
            {
                let zero = (**by).clone();
                **by = Expr::Negate(Box::new(zero));
            }
            Expr::TextIs(field, text) | Expr::TextStarts(field, text) => {
                let FieldType::Text(most) = self.events[event.index()].fields[field.index()].ty else {
                    unreachable!("a text")
                };
                let end = text.floor_char_boundary(usize::from(most));
                let short = if end == 0 { "a".to_owned() } else { text[..end].to_owned() };
                self.replace(text, short);
            }
            Expr::And(from, to) => {
                if let (Expr::Compare(Compare::Ge, _, low), Expr::Compare(Compare::Le, _, high)) =
                    (&mut **from, &mut **to)
                    && let (Expr::Const(low, Type::Mcc), Expr::Const(high, Type::Mcc)) =
                        (&mut **low, &mut **high)
                    && low.num > high.num
                {
                    std::mem::swap(low, high);
                    self.changed += 1;
                }
            }
            _ => {}
        }
    }

    fn type_of(&self, event: EventIx, expr: &Expr) -> Type {
        use Type::{Decimal, Duration, Int, Money, Time};
        let field = |event: EventIx, field: FieldIx| {
            let ty = self.events[event.index()].fields[field.index()].ty.value_type(event, field);
            ty.expect("a value")
        };
        match expr {
            Expr::Const(_, ty) => *ty,
            Expr::Field(of) => field(event, *of),
            Expr::Amended(event, of) => field(*event, *of),
            Expr::Let(ix) => self.lets[ix.index()].ty,
            Expr::InCurrency(_, currency) => Money(*currency),
            Expr::Major(_) => Decimal,
            Expr::CurrencyOf(_) => Type::Currency,
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                let types = of.iter().map(|of| self.type_of(event, of));
                types.reduce(|a, b| if a == b { a } else { Decimal }).expect("a choice")
            }
            Expr::Negate(of) => self.type_of(event, of),
            Expr::Arithmetic(how, a, b) => match (how, self.type_of(event, a), self.type_of(event, b)) {
                (Arithmetic::Div, Money(_) | Int | Decimal, Money(_)) => Decimal,
                (_, ty @ Money(_), _) | (_, _, ty @ Money(_)) => ty,
                (Arithmetic::Sub, Time, Time) => Duration,
                (_, Time, _) | (_, _, Time) => Time,
                (_, Duration, _) | (_, _, Duration) => Duration,
                (Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mul, Int, Int) => Int,
                _ => Decimal,
            },
            Expr::Now => Time,
            Expr::Hour(_) | Expr::Weekday(_) | Expr::RuleScoresMax | Expr::RuleScoresSum | Expr::Score => Int,
            Expr::Feature(_) | Expr::Model(_) => unreachable!("no feature and no model in a feature"),
            _ => Type::Bool,
        }
    }
}

/// A literal as it can be written.
fn literal(mut value: Value, ty: Type) -> Expr {
    if value.num < 0 && matches!(ty, Type::Int | Type::Decimal | Type::Money(_)) {
        return Expr::Negate(Box::new(literal(Value { num: -value.num, den: value.den }, ty)));
    }
    while ty == Type::Decimal && value.den % 10 == 0 && value.num % 10 == 0 {
        value = Value::ratio(value.num / 10, value.den / 10);
    }
    let within = if ty == Type::Time { value.num % MINUTE } else { 0 };
    if within == 0 {
        return Expr::Const(value, ty);
    }
    let minute = Expr::Const(Value::int(value.num - within), Type::Time);
    let rest = Expr::Const(Value::int(within), Type::Duration);
    Expr::Arithmetic(Arithmetic::Add, Box::new(minute), Box::new(rest))
}

/// The fields of an event that hold keys of a kind.
pub fn keys(event: &Event, kind: EntityIx) -> Vec<FieldIx> {
    let fields = event.fields.iter().enumerate().filter(|(_, field)| field.ty == FieldType::Entity(kind));
    fields.map(|(ix, _)| FieldIx(ix as u16)).collect()
}

/// Whether a field or a `let` of the event in context is in it.
fn names_its_event(expr: &Expr) -> bool {
    match expr {
        Expr::Field(_)
        | Expr::FieldMissing(_)
        | Expr::Let(_)
        | Expr::InList(..)
        | Expr::SameKey(..)
        | Expr::Within(..)
        | Expr::TextIs(..)
        | Expr::TextStarts(..)
        | Expr::SameText(..) => true,
        other => parts(&mut other.clone()).into_iter().any(|part| names_its_event(part)),
    }
}

/// What an expression is made of.
fn parts(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::IsMissing(of)
        | Expr::Listed(of, _)
        | Expr::InCurrency(of, _)
        | Expr::Major(of)
        | Expr::CurrencyOf(of)
        | Expr::Not(of)
        | Expr::Negate(of) => vec![of],
        Expr::Choose { branches, otherwise } => {
            let branches = branches.iter_mut().flat_map(|(when, then)| [when, then]);
            branches.chain([&mut **otherwise]).collect()
        }
        Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => vec![a, b],
        Expr::FirstPresent(of) | Expr::Extreme { of, .. } => of.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// Whether a definition is a scorecard: only those look at features.
pub fn is_scorecard(expr: &Expr) -> bool {
    matches!(expr, Expr::Choose { .. } | Expr::Feature(_))
        || parts(&mut expr.clone()).into_iter().any(|part| is_scorecard(part))
}

/// The sources of an aggregate, and the value that it is of.
fn parts_of(aggregate: &mut Aggregate) -> (Vec<&mut Source>, Option<&mut Expr>) {
    match aggregate {
        Aggregate::Count(source)
        | Aggregate::DistinctKeys(source, _)
        | Aggregate::ShareKeys(source, _)
        | Aggregate::DecayedCount(source, _)
        | Aggregate::SinceLast(source)
        | Aggregate::SinceFirst(source)
        | Aggregate::Distance(source, _)
        | Aggregate::Speed(source, _)
        | Aggregate::SeenKey(source, _)
        | Aggregate::Days(source, _) => (vec![source], None),
        Aggregate::Sum(source, value)
        | Aggregate::Avg(source, value)
        | Aggregate::Min(source, value)
        | Aggregate::Max(source, value)
        | Aggregate::DistinctValues(source, value)
        | Aggregate::Stddev(source, value)
        | Aggregate::First(source, value)
        | Aggregate::Last(source, value)
        | Aggregate::ShareValues(source, value)
        | Aggregate::Percentile(_, source, value)
        | Aggregate::DecayedSum(source, value, _)
        | Aggregate::SeenValue(source, value) => (vec![source], Some(value)),
        Aggregate::Ratio(over, under) => (vec![over, under], None),
        Aggregate::Change { of, .. } => parts_of(of),
    }
}

fn zone_of(frame: &mut Frame) -> Option<&mut String> {
    match frame {
        Frame::This { zone, .. } => Some(zone),
        Frame::Last { .. } | Frame::Events { .. } | Frame::Every { .. } | Frame::Session { .. } => None,
    }
}
