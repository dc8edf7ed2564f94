//! Negations of what may be missing: `x != 3` is unknown, not true, when `x` is missing.
//!
//! A negation is left alone when the same condition asks whether the same thing is missing, or needs it anyway in a part
//! without a negation.

use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{
    Aggregate, Compare, EventIx, Expr, FeatureIx, FeatureKind, FieldIx, Policy, Span,
};
use std::fmt;

/// Something that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Field(FieldIx),
    /// What an amendment brings. One question about the amendment is one about all its fields.
    Amended(EventIx, FieldIx),
    Feature(FeatureIx),
}

impl What {
    fn is_asked_by(self, other: What) -> bool {
        match (self, other) {
            (Self::Amended(a, _), Self::Amended(b, _)) => a == b,
            _ => self == other,
        }
    }
}

/// What may be missing, by the name under which the condition knows it.
pub(super) struct Leaf {
    pub(super) name: String,
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)
    }
}

/// The negations in a condition that something missing turns into unknown without a word about it: where, and what.
pub(super) fn silent(
    policy: &Policy,
    event: EventIx,
    condition: &Expr,
    node: &SyntaxNode,
) -> Vec<(Span, Leaf)> {
    let reader = Reader { policy, event };
    let mut negations = Vec::new();
    negations_of(condition, &mut negations);
    if negations.is_empty() {
        return Vec::new();
    }
    // As they are written, in the same order; the tree of a condition has no others.
    let written: Vec<SyntaxNode> = node.descendants().filter(is_negation).collect();
    let mut asked = Vec::new();
    reader.asked(condition, &mut asked);
    reader.needed(condition, &mut asked);
    let mut found = Vec::new();
    for (at, negation) in negations.iter().enumerate() {
        let mut leaves = Vec::new();
        match negation {
            Expr::Not(inner) => reader.missable(inner, &mut leaves),
            other => reader.missable(other, &mut leaves),
        }
        let silent = leaves.iter().find(|leaf| !asked.iter().any(|asked| leaf.is_asked_by(*asked)));
        if let Some(what) = silent {
            let place = if written.len() == negations.len() { &written[at] } else { node };
            found.push((ast::span(place), Leaf { name: reader.name(*what) }));
        }
    }
    found
}

/// The negations right in a condition, outermost first; what `let`s negate is theirs.
fn negations_of<'e>(expr: &'e Expr, found: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Not(inner) => {
            found.push(expr);
            negations_of(inner, found);
        }
        Expr::Compare(op, a, b) => {
            if *op == Compare::Ne {
                found.push(expr);
            }
            negations_of(a, found);
            negations_of(b, found);
        }
        Expr::And(a, b) | Expr::Or(a, b) | Expr::Arithmetic(_, a, b) => {
            negations_of(a, found);
            negations_of(b, found);
        }
        Expr::IsMissing(a)
        | Expr::InCurrency(a, _)
        | Expr::Major(a)
        | Expr::CurrencyOf(a)
        | Expr::Negate(a) => negations_of(a, found),
        Expr::FirstPresent(of) | Expr::Extreme { of, .. } => of.iter().for_each(|a| negations_of(a, found)),
        _ => {}
    }
}

/// Whether this is written as a negation: `not x`, `!=`, `not in`, `is not missing`.
fn is_negation(node: &SyntaxNode) -> bool {
    match node.kind() {
        K::PrefixExpr | K::InExpr | K::IsMissingExpr => ast::has_word(node, "not"),
        K::BinaryExpr => ast::token(node, K::Ne).is_some(),
        _ => false,
    }
}

struct Reader<'p> {
    policy: &'p Policy,
    /// The event in context.
    event: EventIx,
}

impl Reader<'_> {
    fn name(&self, what: What) -> String {
        let field = |event: EventIx, field: FieldIx| {
            let event = &self.policy.events[event.index()];
            (event.name.clone(), event.fields[field.index()].name.clone())
        };
        match what {
            What::Field(own) => field(self.event, own).1,
            What::Amended(event, of) => {
                let (event, of) = field(event, of);
                format!("{event}.{of}")
            }
            What::Feature(ix) => self.policy.features[ix.index()].name.clone(),
        }
    }

    /// What the condition asks whether it is missing.
    fn asked(&self, expr: &Expr, found: &mut Vec<What>) {
        match expr {
            Expr::FieldMissing(field) => found.push(What::Field(*field)),
            Expr::AmendMissing(event, field) => {
                found.push(What::Amended(*event, field.unwrap_or(FieldIx(0))));
            }
            Expr::IsMissing(inner) => self.missable(inner, found),
            Expr::Not(a) => self.asked(a, found),
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) => {
                self.asked(a, found);
                self.asked(b, found);
            }
            Expr::Let(ix) => self.asked(&self.policy.lets[ix.index()].expr, found),
            _ => {}
        }
    }

    /// What parts without a negation, of which all must hold, need.
    fn needed(&self, expr: &Expr, found: &mut Vec<What>) {
        if let Expr::And(a, b) = expr {
            self.needed(a, found);
            self.needed(b, found);
            return;
        }
        let mut negations = Vec::new();
        negations_of(expr, &mut negations);
        if negations.is_empty() && !matches!(expr, Expr::Or(..)) {
            self.missable(expr, found);
        }
    }

    /// What makes the value missing, or the condition unknown, when it is missing.
    fn missable(&self, expr: &Expr, found: &mut Vec<What>) {
        match expr {
            Expr::Field(field)
            | Expr::InList(field, _)
            | Expr::Within(field, _)
            | Expr::TextIs(field, _)
            | Expr::TextStarts(field, _) => self.optional(*field, found),
            Expr::SameKey(a, b) | Expr::SameText(a, b) => {
                self.optional(*a, found);
                self.optional(*b, found);
            }
            Expr::Amended(event, field) => found.push(What::Amended(*event, *field)),
            Expr::Feature(ix) if self.is_missable_feature(*ix) => found.push(What::Feature(*ix)),
            Expr::Let(ix) => self.missable(&self.policy.lets[ix.index()].expr, found),
            Expr::Not(a)
            | Expr::Listed(a, _)
            | Expr::InCurrency(a, _)
            | Expr::Major(a)
            | Expr::CurrencyOf(a)
            | Expr::Negate(a) => self.missable(a, found),
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                self.missable(a, found);
                self.missable(b, found);
            }
            // Missing only when all of them are.
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                let mut all = Vec::new();
                for part in of {
                    let before = all.len();
                    self.missable(part, &mut all);
                    if all.len() == before {
                        return;
                    }
                }
                found.extend(all);
            }
            _ => {}
        }
    }

    fn optional(&self, field: FieldIx, found: &mut Vec<What>) {
        if self.is_optional(self.event, field) {
            found.push(What::Field(field));
        }
    }

    fn is_optional(&self, event: EventIx, field: FieldIx) -> bool {
        self.policy.events[event.index()].fields[field.index()].optional
    }

    /// Whether a feature may be missing: for want of the key, of values, or of another event.
    fn is_missable_feature(&self, ix: FeatureIx) -> bool {
        let window = match &self.policy.features[ix.index()].kind {
            FeatureKind::Window(window) => window,
            FeatureKind::Scalar { expr, .. } => {
                let mut leaves = Vec::new();
                self.missable(expr, &mut leaves);
                return !leaves.is_empty();
            }
        };
        let keys = window.judged_by.iter().find(|(event, _)| *event == self.event);
        if keys.is_some_and(|(event, by)| by.each().any(|key| self.is_optional(*event, key))) {
            return true;
        }
        match &window.aggregate {
            Aggregate::Count(_)
            | Aggregate::Sum(..)
            | Aggregate::DistinctKeys(..)
            | Aggregate::DistinctValues(..)
            | Aggregate::Ratio(..)
            | Aggregate::DecayedCount(..)
            | Aggregate::DecayedSum(..)
            | Aggregate::Days(..) => false,
            Aggregate::SeenKey(source, field) => self.is_optional(source.event, *field),
            Aggregate::SeenValue(source, value) => {
                let mut leaves = Vec::new();
                Reader { event: source.event, ..*self }.missable(value, &mut leaves);
                !leaves.is_empty()
            }
            _ => true,
        }
    }
}
