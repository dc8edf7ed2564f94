//! Cells: what a bin of a scorecard or a row of a table asks of a value.

use super::Checker;
use super::expressions::Scope;
use crate::engine::units::Value;
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Compare, Expr, Type};
use std::cmp::Ordering;

/// A place on the line of values: before this value, or right behind it.
type Bound = (Value, bool);

/// The values, and the absence of one, for which a cell's condition is true.
#[derive(Clone, Debug, Default)]
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

/// What cells are about: an expression, where it is written, and its type.
pub(super) struct Input {
    pub(super) node: SyntaxNode,
    pub(super) expr: Expr,
    pub(super) ty: Type,
}

impl Region {
    /// Whether all of another region is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let joined = self.joined();
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

    /// Takes in another region.
    pub(super) fn add(&mut self, other: &Self) {
        self.missing |= other.missing;
        self.parts.extend_from_slice(&other.parts);
    }

    /// Whether every value of a type is in it; its absence need not be.
    fn is_full(&self, least: Option<Bound>, greatest: Option<Bound>) -> bool {
        Self { missing: self.missing, parts: self.joined() }
            .covers(&Self { missing: false, parts: vec![(least, greatest)] })
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
fn below(a: Option<Bound>, b: Option<Bound>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The order of upper bounds.
fn above(a: Option<Bound>, b: Option<Bound>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn is_empty(low: Option<Bound>, high: Option<Bound>) -> bool {
    matches!((low, high), (Some(low), Some(high)) if order(low, high).is_ge())
}

/// Whether nothing is between where one part ends and the next begins.
fn touches(end: Option<Bound>, start: Option<Bound>) -> bool {
    match (end, start) {
        (Some(end), Some(start)) => order(end, start).is_ge(),
        _ => true,
    }
}

impl Checker<'_> {
    /// The input that cells are about.
    pub(super) fn input(&mut self, node: &SyntaxNode, scope: Scope) -> Option<Input> {
        let (expr, ty) = self.whole(node, scope)?;
        Some(Input { node: node.clone(), expr, ty })
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
        let mut all: Option<Cell> = None;
        for constant in constants {
            let (when, region) = self.asked(Compare::Eq, "==", constant, input, scope)?;
            all = Some(match all {
                None => Cell { when: Some(when), region },
                Some(Cell { when: Some(before), region: mut known }) => {
                    if known.overlaps(&region) {
                        let message = "this value is there twice";
                        self.push(ast::span(constant), message, "again here", "remove one of the two");
                    }
                    known.add(&region);
                    Cell { when: Some(Expr::Or(Box::new(before), Box::new(when))), region: known }
                }
                Some(other) => other,
            });
        }
        let when = all.as_ref().and_then(|all| all.when.clone())?;
        // A long list is as deep as it is long.
        self.bounded(node, when)?;
        all
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
        let count = match ty {
            Type::Enum(event, field) => self.words(event, field).len() as i64,
            Type::Bool => 2,
            _ => return region.is_full(None, None),
        };
        region.is_full(Some((Value::int(0), false)), Some((Value::int(count), false)))
    }
}

/// Right behind a value: where only whole numbers are possible, before the next.
fn behind(value: Value, ty: Type) -> Bound {
    let whole = matches!(ty, Type::Int | Type::Enum(..) | Type::Bool) && value.den == 1;
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
        assert!(!all.is_full(None, None), "2 to 5 is missing");
        all.add(&middle);
        assert!(all.is_full(None, None) && all.covers(&middle) && !middle.covers(&all));
        assert!(!all.covers(&Region { missing: true, parts: Vec::new() }));
        assert!(!of(&[(None, at(2)), (after(2), None)]).is_full(None, None), "2 is missing");
        assert_eq!(behind(Value::int(2), Type::Int), (Value::int(3), false));
        assert_eq!(behind(Value::ratio(5, 2), Type::Int), (Value::ratio(5, 2), true));
        assert_eq!(behind(Value::int(2), Type::Decimal), (Value::int(2), true));
    }
}
