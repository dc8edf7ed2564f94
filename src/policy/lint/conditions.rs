//! Whether a condition can be true at all, always is, or follows from another: by what is left of the values that each
//! expression can have.
//!
//! A condition is written out as alternatives, each a list of facts that must hold together. An alternative is
//! impossible when one expression is left without a value (`x > 5` and `x < 3`; a word that is excluded; a whole number
//! between 1 and 2), when a condition must hold and not hold, or when something must be missing and known. Beyond
//! [`ALTERNATIVES_MAX`] alternatives nothing is concluded.

use crate::engine::units::Value;
use crate::policy::typed::{
    Aggregate, Compare, EventIx, Expr, FeatureKind, FieldIx, FieldType, Policy, Type,
};
use std::cmp::Ordering;

/// The most alternatives that a condition is written out as.
const ALTERNATIVES_MAX: usize = 64;
/// The most facts of one alternative.
const FACTS_MAX: usize = 64;
/// The most values of a range that are looked at one by one.
const VALUES_MAX: i64 = 512;

/// Why a condition is never true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Never {
    /// Its parts contradict each other.
    Contradiction,
    /// It needs what this amendment brings, which no judged event has yet.
    Amended(EventIx),
}

/// An atomic condition, and whether it must hold or must not.
type Fact<'p> = (&'p Expr, bool);

/// Reasons about conditions on one judged event.
pub(super) struct Conditions<'p> {
    pub(super) policy: &'p Policy,
    pub(super) event: EventIx,
}

impl<'p> Conditions<'p> {
    /// Why the condition of something that is judged is never true (together with that of its scene).
    pub(super) fn never(&self, expr: &'p Expr, scene: Option<&'p Expr>) -> Option<Never> {
        let mut alternatives = self.alternatives(expr, true)?;
        if let Some(scene) = scene {
            alternatives = joined(&alternatives, &self.alternatives(scene, true)?)?;
        }
        let mut why = Never::Contradiction;
        for facts in &alternatives {
            why = self.impossible(facts, true)?;
        }
        Some(why)
    }

    /// Whether the condition is true whenever it is known.
    pub(super) fn always(&self, expr: &'p Expr) -> bool {
        self.alternatives(expr, false).is_some_and(|alternatives| {
            alternatives.iter().all(|facts| self.impossible(facts, false).is_some())
        })
    }

    /// Whether the second condition is true whenever the first is.
    pub(super) fn implies(&self, first: &'p Expr, second: &'p Expr) -> bool {
        let mut needed = Vec::new();
        self.looked_at(second, &mut needed);
        let (Some(first), Some(second)) = (self.alternatives(first, true), self.alternatives(second, false))
        else {
            return false;
        };
        // However the first came to be true, what the second looks at must be known then, lest it be unknown.
        let is_known = |facts: &Vec<Fact<'p>>| {
            let mut known = Vec::new();
            for (expr, _) in facts {
                self.looked_at(expr, &mut known);
            }
            needed.iter().all(|needed| known.contains(needed)) || self.impossible(facts, false).is_some()
        };
        first.iter().all(is_known)
            && joined(&first, &second).is_some_and(|alternatives| {
                alternatives.iter().all(|facts| self.impossible(facts, false).is_some())
            })
    }

    /// What may be missing in an expression: everything but what is known of every judged event.
    fn looked_at(&self, expr: &'p Expr, found: &mut Vec<&'p Expr>) {
        match expr {
            Expr::Score | Expr::Hour(_) | Expr::Weekday(_) | Expr::Const(..) => {}
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                self.looked_at(a, found);
                self.looked_at(b, found);
            }
            Expr::Not(a) | Expr::Negate(a) | Expr::InCurrency(a, _) | Expr::Major(a) => {
                self.looked_at(a, found);
            }
            Expr::Let(ix) => self.looked_at(&self.policy.lets[ix.index()].expr, found),
            other => found.push(other),
        }
    }

    /// The alternatives under which the condition is true (or, if not `positive`, false); none when there are too many.
    fn alternatives(&self, expr: &'p Expr, positive: bool) -> Option<Vec<Vec<Fact<'p>>>> {
        match expr {
            Expr::And(a, b) | Expr::Or(a, b) => {
                let (a, b) = (self.alternatives(a, positive)?, self.alternatives(b, positive)?);
                if matches!(expr, Expr::And(..)) == positive {
                    return joined(&a, &b);
                }
                let mut either = a;
                either.extend(b);
                (either.len() <= ALTERNATIVES_MAX).then_some(either)
            }
            Expr::Not(a) => self.alternatives(a, !positive),
            Expr::Let(ix) => self.alternatives(&self.policy.lets[ix.index()].expr, positive),
            Expr::Const(value, Type::Bool) => {
                Some(if value.is_true() == positive { vec![Vec::new()] } else { Vec::new() })
            }
            Expr::Compare(op @ (Compare::Eq | Compare::Ne), a, b) => match (&**a, &**b) {
                (condition, Expr::Const(value, Type::Bool)) | (Expr::Const(value, Type::Bool), condition) => {
                    self.alternatives(condition, positive == (value.is_true() == (*op == Compare::Eq)))
                }
                _ => Some(vec![vec![(expr, positive)]]),
            },
            _ => Some(vec![vec![(expr, positive)]]),
        }
    }

    /// Why the facts cannot hold together, if they cannot. `judged`: of an event that is judged, where what is compared
    /// must be there.
    fn impossible(&self, facts: &[Fact<'p>], judged: bool) -> Option<Never> {
        let mut ranges: Vec<(&Expr, Range)> = Vec::new();
        let mut orders: Vec<(&Expr, &Expr, Vec<Ordering>)> = Vec::new();
        let mut truths: Vec<Fact<'p>> = Vec::new();
        for (expr, positive) in facts {
            if judged && let Some(event) = self.needs_amendment(expr, *positive) {
                return Some(Never::Amended(event));
            }
            let Expr::Compare(op, a, b) = expr else {
                if truths.contains(&(*expr, !positive)) {
                    return Some(Never::Contradiction);
                }
                truths.push((expr, *positive));
                continue;
            };
            let op = if *positive { *op } else { negated(*op) };
            let (a, b) = (self.resolved(a), self.resolved(b));
            match (constant(a), constant(b)) {
                (Some(a), Some(b)) => {
                    if !allowed(op).contains(&a.compare(b)?) {
                        return Some(Never::Contradiction);
                    }
                }
                (None, Some(value)) => self.narrow(&mut ranges, a, op, value),
                (Some(value), None) => self.narrow(&mut ranges, b, turned(op), value),
                _ => {
                    let known = orders.iter_mut().find(|(x, y, _)| (*x, *y) == (a, b));
                    let left = match known {
                        Some((_, _, left)) => left,
                        None => {
                            let all = vec![Ordering::Less, Ordering::Equal, Ordering::Greater];
                            let all = if a == b { vec![Ordering::Equal] } else { all };
                            orders.push((a, b, all));
                            &mut orders.last_mut()?.2
                        }
                    };
                    left.retain(|order| allowed(op).contains(order));
                    if left.is_empty() {
                        return Some(Never::Contradiction);
                    }
                }
            }
        }
        let missing = judged
            && truths.iter().filter(|(_, positive)| *positive).any(|(expr, _)| {
                facts.iter().any(|(other, _)| other != expr && self.needs_missing(other, expr))
            });
        let empty = ranges.iter().any(|(_, range)| range.is_empty());
        (missing || empty).then_some(Never::Contradiction)
    }

    fn narrow(&self, ranges: &mut Vec<(&'p Expr, Range)>, of: &'p Expr, op: Compare, value: Value) {
        if value.is_missing() {
            return;
        }
        match ranges.iter_mut().find(|(known, _)| *known == of) {
            Some((_, range)) => range.narrow(op, value),
            None => {
                let mut range = self.range(of);
                range.narrow(op, value);
                ranges.push((of, range));
            }
        }
    }

    /// What a `let` stands for.
    fn resolved(&self, expr: &'p Expr) -> &'p Expr {
        match expr {
            Expr::Let(ix) => self.resolved(&self.policy.lets[ix.index()].expr),
            expr => expr,
        }
    }

    /// The amendment whose coming this fact needs, where what amendments bring is always missing.
    fn needs_amendment(&self, expr: &Expr, positive: bool) -> Option<EventIx> {
        match expr {
            Expr::AmendMissing(event, _) if !positive => Some(*event),
            Expr::Amended(event, _) => Some(*event),
            Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                self.needs_amendment(a, true).or_else(|| self.needs_amendment(b, true))
            }
            Expr::InCurrency(a, _) | Expr::Major(a) | Expr::Negate(a) | Expr::Listed(a, _) => {
                self.needs_amendment(a, true)
            }
            Expr::Let(ix) => match &self.policy.lets[ix.index()] {
                definition if definition.ty == Type::Bool => None,
                definition => self.needs_amendment(&definition.expr, true),
            },
            _ => None,
        }
    }

    /// Whether the fact `expr` is only true or false when what `missing` says to be missing is there.
    fn needs_missing(&self, expr: &Expr, missing: &Expr) -> bool {
        let field = match missing {
            Expr::FieldMissing(field) => Some(*field),
            Expr::IsMissing(inner) if **inner == *expr => return true,
            Expr::IsMissing(_) => None,
            _ => return false,
        };
        let inside = |part: &Expr| self.needs_missing(part, missing);
        let is_it = matches!(missing, Expr::IsMissing(inner) if **inner == *expr);
        match expr {
            Expr::Field(own) => field == Some(*own),
            Expr::InList(own, _) | Expr::Within(own, _) | Expr::TextIs(own, _) | Expr::TextStarts(own, _) => {
                field == Some(*own)
            }
            Expr::SameKey(a, b) | Expr::SameText(a, b) => field == Some(*a) || field == Some(*b),
            Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => inside(a) || inside(b),
            Expr::InCurrency(a, _)
            | Expr::Major(a)
            | Expr::Negate(a)
            | Expr::CurrencyOf(a)
            | Expr::Listed(a, _) => inside(a),
            Expr::Let(ix) => inside(&self.policy.lets[ix.index()].expr),
            _ => is_it,
        }
    }

    /// The values that an expression can have before anything is asked of it.
    fn range(&self, expr: &'p Expr) -> Range {
        let whole = |low: i64, high: i64| Range::new(Some(low), Some(high), true);
        match expr {
            Expr::Score | Expr::RuleScoresMax => whole(0, 100),
            Expr::RuleScoresSum => Range::new(Some(0), None, true),
            Expr::Model(ix) => match &self.policy.models[ix.index()] {
                model if model.is_probability() => Range::new(Some(0), Some(1), false),
                _ => Range::new(None, None, false),
            },
            Expr::Hour(_) => whole(0, 23),
            Expr::Weekday(_) => whole(1, 7),
            Expr::InCurrency(..) => Range::new(None, None, true),
            Expr::Field(field) => self.field_range(self.event, *field),
            Expr::Amended(event, field) => self.field_range(*event, *field),
            Expr::Feature(ix) => {
                let feature = &self.policy.features[ix.index()];
                let window = match &feature.kind {
                    FeatureKind::Window(window) => window,
                    FeatureKind::Scalar { expr, .. } => return self.range(self.resolved(expr)),
                };
                let is_whole = matches!(feature.ty, Type::Int | Type::Duration);
                match &window.aggregate {
                    Aggregate::ShareKeys(..) | Aggregate::ShareValues(..) => {
                        Range::new(Some(0), Some(1), false)
                    }
                    Aggregate::Count(_)
                    | Aggregate::DistinctKeys(..)
                    | Aggregate::DistinctValues(..)
                    | Aggregate::Days(..)
                    | Aggregate::SinceLast(_)
                    | Aggregate::SinceFirst(_)
                    | Aggregate::Ratio(..)
                    | Aggregate::Stddev(..)
                    | Aggregate::DecayedCount(..)
                    | Aggregate::Distance(..)
                    | Aggregate::Speed(..) => Range::new(Some(0), None, is_whole),
                    _ => Range::new(None, None, feature.ty == Type::Int),
                }
            }
            _ => Range::new(None, None, false),
        }
    }

    fn field_range(&self, event: EventIx, field: FieldIx) -> Range {
        match &self.policy.events[event.index()].fields[field.index()].ty {
            FieldType::Enum(words) => Range::new(Some(0), Some(words.len() as i64 - 1), true),
            FieldType::Int => Range::new(None, None, true),
            _ => Range::new(None, None, false),
        }
    }
}

/// Every alternative of one with every alternative of the other; none when there are too many.
fn joined<'p>(a: &[Vec<Fact<'p>>], b: &[Vec<Fact<'p>>]) -> Option<Vec<Vec<Fact<'p>>>> {
    if a.len() * b.len() > ALTERNATIVES_MAX {
        return None;
    }
    let both = a.iter().flat_map(|a| b.iter().map(move |b| [a.as_slice(), b].concat()));
    let both: Vec<Vec<Fact<'p>>> = both.collect();
    both.iter().all(|facts| facts.len() <= FACTS_MAX).then_some(both)
}

/// The value of a literal, with or without a sign.
fn constant(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::Const(value, _) => Some(*value),
        Expr::Negate(inner) => {
            constant(inner).and_then(|value| Some(Value { num: value.num.checked_neg()?, ..value }))
        }
        _ => None,
    }
}

/// How two values may compare when this is true of them.
fn allowed(op: Compare) -> &'static [Ordering] {
    use Ordering::{Equal, Greater, Less};
    match op {
        Compare::Eq => &[Equal],
        Compare::Ne => &[Less, Greater],
        Compare::Lt => &[Less],
        Compare::Le => &[Less, Equal],
        Compare::Gt => &[Greater],
        Compare::Ge => &[Greater, Equal],
    }
}

fn negated(op: Compare) -> Compare {
    match op {
        Compare::Eq => Compare::Ne,
        Compare::Ne => Compare::Eq,
        Compare::Lt => Compare::Ge,
        Compare::Le => Compare::Gt,
        Compare::Gt => Compare::Le,
        Compare::Ge => Compare::Lt,
    }
}

/// The same with its sides exchanged.
fn turned(op: Compare) -> Compare {
    match op {
        Compare::Lt => Compare::Gt,
        Compare::Le => Compare::Ge,
        Compare::Gt => Compare::Lt,
        Compare::Ge => Compare::Le,
        same => same,
    }
}

/// The values that are left for one expression.
struct Range {
    /// Least value, and whether it is still in.
    low: Option<(Value, bool)>,
    /// Greatest value, and whether it is still in.
    high: Option<(Value, bool)>,
    excluded: Vec<Value>,
    /// Only whole numbers.
    whole: bool,
}

impl Range {
    fn new(low: Option<i64>, high: Option<i64>, whole: bool) -> Self {
        let bound = |value: Option<i64>| value.map(|value| (Value::int(value), true));
        Self { low: bound(low), high: bound(high), excluded: Vec::new(), whole }
    }

    fn narrow(&mut self, op: Compare, value: Value) {
        match op {
            Compare::Eq => {
                self.above(value, true);
                self.below(value, true);
            }
            Compare::Ne => self.excluded.push(value),
            Compare::Lt => self.below(value, false),
            Compare::Le => self.below(value, true),
            Compare::Gt => self.above(value, false),
            Compare::Ge => self.above(value, true),
        }
    }

    fn above(&mut self, value: Value, included: bool) {
        let narrower = self.low.is_none_or(|(low, low_included)| match value.compare(low) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => low_included && !included,
            _ => false,
        });
        if narrower {
            self.low = Some((value, included));
        }
    }

    fn below(&mut self, value: Value, included: bool) {
        let narrower = self.high.is_none_or(|(high, high_included)| match value.compare(high) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => high_included && !included,
            _ => false,
        });
        if narrower {
            self.high = Some((value, included));
        }
    }

    /// Whether no value is left.
    fn is_empty(&self) -> bool {
        let (Some((low, low_included)), Some((high, high_included))) = (self.low, self.high) else {
            return false;
        };
        let is_excluded = |value: Value| {
            self.excluded.iter().any(|excluded| value.compare(*excluded) == Some(Ordering::Equal))
        };
        match low.compare(high) {
            Some(Ordering::Greater) => return true,
            Some(Ordering::Equal) if !low_included || !high_included || is_excluded(low) => return true,
            _ => {}
        }
        if !self.whole {
            return false;
        }
        let exact = |value: Value| value.num % value.den == 0;
        let mut least = value_floor(low);
        if !exact(low) || !low_included {
            least += 1;
        }
        let mut greatest = value_floor(high);
        if exact(high) && !high_included {
            greatest -= 1;
        }
        match greatest.checked_sub(least) {
            Some(span) if span < 0 => true,
            Some(span) if span < VALUES_MAX => (least..=greatest).all(|value| is_excluded(Value::int(value))),
            _ => false,
        }
    }
}

/// The greatest whole number that is not above the value.
fn value_floor(value: Value) -> i64 {
    value.num.div_euclid(value.den)
}
