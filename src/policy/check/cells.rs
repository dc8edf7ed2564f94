//! Cells: what a bin of a scorecard or a row of a table asks of a value.

use super::Checker;
use super::expressions::Scope;
use crate::engine::units::Value;
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Compare, EventIx, Expr, Type};
use std::cmp::Ordering;

/// The most values in the braces of one cell: each is held against all before it.
const CONSTANTS_MAX: usize = 256;

/// A place on the line of values: before this value, or right behind it.
pub(super) type Bound = (Value, bool);

/// The values, and the absence of one, for which a cell's condition is true.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Region {
    missing: bool,
    /// From a place on to before another; `None` is beyond all values.
    parts: Vec<(Option<Bound>, Option<Bound>)>,
}

/// What a cell asks.
pub(super) struct Cell {
    /// Its condition; `None` when it asks nothing.
    pub(super) when: Option<Expr>,
    pub(super) region: Region,
}

/// What cells are about: an expression on an event, where it is written, and its type.
pub(super) struct Input {
    pub(super) event: EventIx,
    pub(super) node: SyntaxNode,
    pub(super) expr: Expr,
    pub(super) ty: Type,
}

impl Region {
    /// Whether all of another region is in it.
    fn covers(&self, other: &Self) -> bool {
        self.clone().in_order().covers_in_order(other)
    }

    /// The same, of a region whose parts are in order and do not touch.
    pub(super) fn covers_in_order(&self, other: &Self) -> bool {
        let joined = &self.parts;
        let holds = |part: &(Option<Bound>, Option<Bound>)| {
            joined.iter().any(|own| below(own.0, part.0).is_le() && above(part.1, own.1).is_le())
        };
        (self.missing || !other.missing) && other.parts.iter().all(holds)
    }

    /// Whether some value, or its absence, is in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.missing && other.missing
            || self.parts.iter().any(|a| {
                other.parts.iter().any(|b| {
                    let low = if below(a.0, b.0).is_le() { b.0 } else { a.0 };
                    let high = if above(a.1, b.1).is_le() { a.1 } else { b.1 };
                    !is_empty(low, high)
                })
            })
    }

    /// From a place on to before another.
    pub(super) fn of(from: Option<Bound>, to: Option<Bound>) -> Self {
        Self { missing: false, parts: vec![(from, to)] }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.missing && self.parts.iter().all(|part| is_empty(part.0, part.1))
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { missing: self.missing && other.missing, parts: Vec::new() };
        for a in &self.parts {
            for b in &other.parts {
                let low = if below(a.0, b.0).is_le() { b.0 } else { a.0 };
                let high = if above(a.1, b.1).is_le() { a.1 } else { b.1 };
                if !is_empty(low, high) {
                    both.parts.push((low, high));
                }
            }
        }
        both
    }

    /// What is in it and not in the other.
    pub(super) fn minus(&self, other: &Self) -> Self {
        // What is between the parts of the other.
        let mut outside = Vec::new();
        let (mut low, mut open) = (None, true);
        for (start, end) in other.joined() {
            if start.is_some() {
                outside.push((low, start));
            }
            (low, open) = (end, end.is_some());
        }
        if open {
            outside.push((low, None));
        }
        self.intersection(&Self { missing: !other.missing, parts: outside })
    }

    /// What is in it but for absence, where that does not come up, and for what values of the type cannot be.
    pub(super) fn within(&self, is_missable: bool, range: (Option<Bound>, Option<Bound>)) -> Self {
        self.intersection(&Self { missing: is_missable, parts: vec![range] })
    }

    /// Its parts: from a place on to before another.
    pub(super) fn parts(&self) -> &[(Option<Bound>, Option<Bound>)] {
        &self.parts
    }

    /// Takes in another region.
    pub(super) fn add(&mut self, other: &Self) {
        self.missing |= other.missing;
        self.parts.extend_from_slice(&other.parts);
    }

    /// Whether every value of a type is in it; its absence need not be.
    fn is_full(&self, (least, greatest): (Option<Bound>, Option<Bound>)) -> bool {
        self.covers(&Self { missing: false, parts: vec![(least, greatest)] })
    }

    /// The same, of parts that are in order and do not touch.
    pub(super) fn in_order(self) -> Self {
        Self { missing: self.missing, parts: self.joined() }
    }

    /// The parts in order, those that touch as one.
    fn joined(&self) -> Vec<(Option<Bound>, Option<Bound>)> {
        let mut parts = self.parts.clone();
        parts.sort_by(|a, b| below(a.0, b.0));
        let mut joined: Vec<(Option<Bound>, Option<Bound>)> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last_mut() {
                Some(last) if touches(last.1, part.0) => {
                    if above(last.1, part.1).is_lt() {
                        last.1 = part.1;
                    }
                }
                _ => joined.push(part),
            }
        }
        joined
    }
}

fn order(a: Bound, b: Bound) -> Ordering {
    a.0.compare(b.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1))
}

/// The order of lower bounds.
pub(super) fn below(a: Option<Bound>, b: Option<Bound>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The order of upper bounds.
pub(super) fn above(a: Option<Bound>, b: Option<Bound>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn is_empty(low: Option<Bound>, high: Option<Bound>) -> bool {
    matches!((low, high), (Some(low), Some(high)) if order(low, high).is_ge())
}

/// Whether nothing is between where one part ends and the next begins.
pub(super) fn touches(end: Option<Bound>, start: Option<Bound>) -> bool {
    match (end, start) {
        (Some(end), Some(start)) => order(end, start).is_ge(),
        _ => true,
    }
}

impl Checker<'_> {
    /// The input that cells are about.
    pub(super) fn input(&mut self, node: &SyntaxNode, scope: Scope) -> Option<Input> {
        let (expr, ty) = self.whole(node, scope)?;
        Some(Input { event: scope.event, node: node.clone(), expr, ty })
    }

    pub(super) fn cell(&mut self, node: &SyntaxNode, input: &Input, scope: Scope) -> Option<Cell> {
        let constants: Vec<SyntaxNode> = ast::expressions(node).collect();
        let Some(first) = constants.first() else {
            if ast::has_word(node, "missing") {
                let when = Some(Expr::IsMissing(Box::new(input.expr.clone())));
                return Some(Cell { when, region: Region { missing: true, parts: Vec::new() } });
            }
            return Some(Cell { when: None, region: Region { missing: true, parts: vec![(None, None)] } });
        };
        if ast::token(node, K::LBrace).is_some() {
            return self.one_of_these(node, &constants, input, scope);
        }
        if let Some(second) = constants.get(1).filter(|_| input.ty == Type::Mcc) {
            return self.categories(first, second, input, scope);
        }
        if let Some(second) = constants.get(1) {
            let low = self.asked(Compare::Ge, "to", first, input, scope);
            let high = self.asked(Compare::Lt, "to", second, input, scope);
            let ((from, low), (below, high)) = (low?, high?);
            let region = Region { missing: false, parts: vec![(low.parts[0].0, high.parts[0].1)] };
            if is_empty(region.parts[0].0, region.parts[0].1) {
                let help = "`A to B` is from A on to before B: write the lesser one first";
                self.push(ast::span(node), "this range is empty", "nothing is in it", help);
                return None;
            }
            return Some(Cell { when: Some(Expr::And(Box::new(from), Box::new(below))), region });
        }
        let symbol = ast::tokens(node).next();
        let (compare, symbol) = match symbol.as_ref().map(|token| token.kind()) {
            Some(K::Ne) => (Compare::Ne, "!="),
            Some(K::Lt) => (Compare::Lt, "<"),
            Some(K::Le) => (Compare::Le, "<="),
            Some(K::Gt) => (Compare::Gt, ">"),
            Some(K::Ge) => (Compare::Ge, ">="),
            _ => (Compare::Eq, "=="),
        };
        let (when, region) = self.asked(compare, symbol, first, input, scope)?;
        Some(Cell { when: Some(when), region })
    }

    fn one_of_these(
        &mut self,
        node: &SyntaxNode,
        constants: &[SyntaxNode],
        input: &Input,
        scope: Scope,
    ) -> Option<Cell> {
        let (mut whens, mut all) = (Vec::new(), Region::default());
        if constants.len() > CONSTANTS_MAX {
            let message = format!("a cell has at most {CONSTANTS_MAX} values; this has {}", constants.len());
            self.push(ast::span(node), message, "too many", "give them a row each, or a list");
            return None;
        }
        for constant in constants {
            let (when, region) = self.asked(Compare::Eq, "==", constant, input, scope)?;
            if all.overlaps(&region) {
                let message = "this value is there twice";
                self.push(ast::span(constant), message, "again here", "remove one of the two");
            }
            all.add(&region);
            whens.push(when);
        }
        // In pairs, so that a long list is not a deep one.
        while whens.len() > 1 {
            let mut rest = whens.into_iter();
            let mut pairs = Vec::new();
            while let Some(one) = rest.next() {
                pairs.push(match rest.next() {
                    Some(other) => Expr::Or(Box::new(one), Box::new(other)),
                    None => one,
                });
            }
            whens = pairs;
        }
        let when = self.bounded(node, whens.pop()?)?;
        Some(Cell { when: Some(when), region: all })
    }

    /// A range of merchant categories, both ends included, as `category in 5000 to 5999` has them.
    fn categories(
        &mut self,
        first: &SyntaxNode,
        last: &SyntaxNode,
        input: &Input,
        scope: Scope,
    ) -> Option<Cell> {
        // That both are categories.
        let (from, _) = self.asked(Compare::Eq, "to", first, input, scope)?;
        self.asked(Compare::Eq, "to", last, input, scope)?;
        let (first, last) = (ast::token(first, K::Number)?, ast::token(last, K::Number)?);
        let (first, last) = self.mcc_range(&first, &last)?;
        let Expr::Compare(_, of, _) = from else { return None };
        let end = |how, number| {
            let number = Expr::Const(Value::int(number), Type::Mcc);
            Expr::Compare(how, of.clone(), Box::new(number))
        };
        let inside = Expr::And(Box::new(end(Compare::Ge, first)), Box::new(end(Compare::Le, last)));
        let parts = vec![(Some((Value::int(first), false)), Some(behind(Value::int(last), Type::Mcc)))];
        Some(Cell { when: Some(inside), region: Region { missing: false, parts } })
    }

    /// The comparison of an input with a constant, and the values for which it is true.
    fn asked(
        &mut self,
        compare: Compare,
        symbol: &str,
        constant: &SyntaxNode,
        input: &Input,
        scope: Scope,
    ) -> Option<(Expr, Region)> {
        let (when, _) = self.comparison(compare, symbol, constant, &input.node, constant, scope)?;
        let value = match &when {
            Expr::Compare(_, _, right) => match &**right {
                Expr::Const(value, _) => Some(*value),
                Expr::Negate(of) => match &**of {
                    Expr::Const(value, _) => Some(Value { num: value.num.checked_neg()?, den: value.den }),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let Some(value) = value else {
            let help = "write a constant, such as `5`, `100 USD`, `24h` or a word of an enum; compare two values in a rule";
            self.push(ast::span(constant), "a cell compares with a constant", "not a constant", help);
            return None;
        };
        let (before, behind) = (Some((value, false)), Some(behind(value, input.ty)));
        let parts = match compare {
            Compare::Eq => vec![(before, behind)],
            Compare::Ne => vec![(None, before), (behind, None)],
            Compare::Lt => vec![(None, before)],
            Compare::Le => vec![(None, behind)],
            Compare::Gt => vec![(behind, None)],
            Compare::Ge => vec![(before, None)],
        };
        Some((when, Region { missing: false, parts }))
    }

    /// Whether every value that an input can have is in the region.
    pub(super) fn is_covered(&self, region: &Region, ty: Type) -> bool {
        region.is_full(self.range(ty))
    }

    /// From where to where values of a type are.
    pub(super) fn range(&self, ty: Type) -> (Option<Bound>, Option<Bound>) {
        let count = match ty {
            Type::Enum(event, field) => self.words(event, field).len() as i64,
            Type::Bool => 2,
            _ => return (None, None),
        };
        (Some((Value::int(0), false)), Some((Value::int(count), false)))
    }
}

/// Right behind a value: where only whole numbers are possible, before the next.
fn behind(value: Value, ty: Type) -> Bound {
    let codes = matches!(ty, Type::Country | Type::Currency | Type::Mcc | Type::Bin);
    let whole = (codes || matches!(ty, Type::Int | Type::Enum(..) | Type::Bool)) && value.den == 1;
    match value.num.checked_add(1) {
        Some(next) if whole => (Value::int(next), false),
        _ => (value, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_cover_and_overlap_as_the_values_in_them_do() {
        let at = |n: i64| Some((Value::int(n), false));
        let after = |n: i64| Some((Value::int(n), true));
        let of = |parts: &[(Option<Bound>, Option<Bound>)]| Region { missing: false, parts: parts.to_vec() };
        let (low, middle, high) = (of(&[(None, at(2))]), of(&[(at(2), at(5))]), of(&[(at(5), None)]));
        assert!(!low.overlaps(&middle) && !middle.overlaps(&high));
        assert!(of(&[(None, after(2))]).overlaps(&middle), "2 is in both");
        let mut all = low.clone();
        all.add(&high);
        assert!(!all.is_full((None, None)), "2 to 5 is missing");
        all.add(&middle);
        assert!(all.is_full((None, None)) && all.covers(&middle) && !middle.covers(&all));
        assert!(!all.covers(&Region { missing: true, parts: Vec::new() }));
        assert!(!of(&[(None, at(2)), (after(2), None)]).is_full((None, None)), "2 is missing");
        assert_eq!(behind(Value::int(2), Type::Int), (Value::int(3), false));
        assert_eq!(behind(Value::ratio(5, 2), Type::Int), (Value::ratio(5, 2), true));
        assert_eq!(behind(Value::int(2), Type::Decimal), (Value::int(2), true));
    }

    #[test]
    fn regions_are_joined_and_taken_apart_as_the_values_in_them() {
        let mut random = 7_u64;
        let mut below = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        let mut region = || {
            let mut bound = || match below(5) {
                0 => None,
                _ => Some((Value::int(below(6) as i64), below(2) == 0)),
            };
            let parts = [(bound(), bound()), (bound(), bound())];
            let parts = parts.into_iter().filter(|part| !is_empty(part.0, part.1)).collect();
            Region { missing: below(2) == 0, parts }
        };
        // Nothing, and values at and between all bounds.
        let values: Vec<Option<Value>> =
            (-1..13).map(|half| Some(Value::ratio(half, 2))).chain([None]).collect();
        let holds = |region: &Region, value: &Option<Value>| {
            let Some(value) = value else { return region.missing };
            let place = Some((*value, false));
            let behind = Some((*value, true));
            region
                .parts
                .iter()
                .any(|part| super::below(part.0, place).is_le() && above(behind, part.1).is_le())
        };
        for _ in 0..20_000 {
            let (a, b) = (region(), region());
            let (both, rest, joined) = (a.intersection(&b), a.minus(&b), a.clone().in_order());
            for value in &values {
                let (in_a, in_b) = (holds(&a, value), holds(&b, value));
                assert_eq!(holds(&both, value), in_a && in_b, "{a:?} {b:?} {value:?}");
                assert_eq!(holds(&rest, value), in_a && !in_b, "{a:?} {b:?} {value:?}");
                assert_eq!(holds(&joined, value), in_a, "{a:?} {value:?}");
            }
            assert_eq!(both.is_empty(), !a.overlaps(&b), "{a:?} {b:?}");
            assert_eq!(rest.is_empty(), b.covers(&a), "{a:?} {b:?}");
        }
    }
}
