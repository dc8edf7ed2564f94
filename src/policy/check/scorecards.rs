//! Scorecards.

use super::cells::{Input, Region};
use super::coverage::Written;
use super::expressions::{Place, Scope};
use super::{Checker, Namespace, literals};
use crate::engine::units::Value;
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Arithmetic, Expr, Let, LetIx, Type};

/// The most bins of one input: each is held against all before it.
const BINS_MAX: usize = 512;

impl Checker<'_> {
    pub(super) fn scorecard(&mut self, node: &SyntaxNode) {
        let (Some(name), Some(on)) = (ast::name(node), ast::clause_name(node, K::OnClause)) else { return };
        if !self.declare(Namespace::Value, &name, "a scorecard") {
            return;
        }
        let taken = self.fields.iter().any(|fields| fields.contains_key(&name.text));
        if taken || self.let_events.contains_key(&name.text) {
            let message = format!("the scorecard `{}` shadows a field or a `let`", name.text);
            self.push(name.span, message, "has the same name", "give the scorecard another name");
        }
        let event = self.event_named(&on).filter(|event| self.judged(*event, &on, "scorecard"));
        let Some(event) = event else {
            self.poisoned.insert(name.text);
            return;
        };
        let scope = Scope { event, place: Place::Rule };
        let mut parts = Vec::new();
        let mut bases = ast::children(node, K::BaseItem);
        if let Some(base) = bases.next() {
            parts.extend(self.points(&base));
        }
        if let Some(second) = bases.next() {
            self.push(
                ast::span(&second),
                "a scorecard has one base",
                "a second one",
                "remove one of the two",
            );
        }
        let mut inputs = 0;
        for input in ast::children(node, K::ScoreInput) {
            inputs += 1;
            parts.extend(self.score_input(&input, scope));
        }
        if inputs == 0 {
            let help = "for example: scorecard risk on payment { base 20, channel { ecom: 10, else: 0 } }";
            self.push(
                name.span,
                format!("the scorecard `{}` has no inputs", name.text),
                "nothing is scored",
                help,
            );
        }
        let decimal = parts.iter().any(|(_, ty)| *ty == Type::Decimal);
        let sum = parts.into_iter().map(|(part, _)| part);
        let sum = sum.reduce(|sum, part| Expr::Arithmetic(Arithmetic::Add, Box::new(sum), Box::new(part)));
        let Some(expr) = sum.and_then(|sum| self.bounded(node, sum)) else {
            self.poisoned.insert(name.text);
            return;
        };
        let ty = if decimal { Type::Decimal } else { Type::Int };
        let extent = self.extent(&expr);
        self.let_extents.push(extent);
        self.let_events.entry(name.text.clone()).or_insert(event);
        self.lets.insert((event, name.text.clone()), LetIx(self.policy.lets.len() as u16));
        self.policy.lets.push(Let { name: name.text, event, expr, ty });
    }

    /// The points of one input.
    fn score_input(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let input = self.input(&ast::expression(node)?, scope)?;
        let (mut branches, mut bins) = (Vec::new(), Vec::new());
        let (mut absent, mut otherwise) = (None, None);
        let mut ty = Type::Int;
        for bin in ast::children(node, K::Bin) {
            let Some((points, of)) = self.points(&bin) else { continue };
            if of == Type::Decimal {
                ty = of;
            }
            let Some(cell) = ast::child(&bin, K::Cell) else {
                if otherwise.replace(points).is_some() {
                    self.push(
                        ast::span(&bin),
                        "`else` is there twice",
                        "again here",
                        "remove one of the two",
                    );
                }
                continue;
            };
            if bins.len() == BINS_MAX {
                let message = format!("an input has at most {BINS_MAX} bins");
                self.push(ast::span(&cell), message, "one too many", "join some of them");
                break;
            }
            let Some(asked) = self.cell(&cell, &input, scope) else { continue };
            let bin = Written::new(&cell, asked.region);
            let before = bins.iter().find(|before: &&Written| before.region.overlaps(&bin.region));
            if let Some(before) = before {
                let message = format!("the bin `{}` overlaps the bin `{}` before it", bin.text, before.text);
                let help = "a value is in one bin: ranges are from their first value on to before their last";
                self.push(ast::span(&cell), message, "overlaps", help);
            }
            bins.push(bin);
            match asked.when {
                Some(when) if !ast::has_word(&cell, "missing") => branches.push((when, points)),
                _ => absent = Some(points),
            }
        }
        let otherwise = self.otherwise(node, &input, &bins, otherwise, ty);
        let absent = absent.unwrap_or(Expr::Const(Value::MISSING, ty));
        branches.insert(0, (Expr::IsMissing(Box::new(input.expr)), absent));
        Some((Expr::Choose { branches, otherwise: Box::new(otherwise) }, ty))
    }

    /// The points of what is in no bin. There need not be any where every value is in one.
    fn otherwise(
        &mut self,
        node: &SyntaxNode,
        input: &Input,
        bins: &[Written],
        otherwise: Option<Expr>,
        ty: Type,
    ) -> Expr {
        let mut all = Region::default();
        bins.iter().for_each(|bin| all.add(&bin.region));
        match (otherwise, self.is_covered(&all, input.ty)) {
            (Some(points), false) => points,
            (Some(points), true) => {
                let help = "remove `else`: every value is in a bin; `missing: POINTS` is for what is missing";
                self.push(
                    ast::span(&input.node),
                    "`else` of these bins is never reached",
                    "nothing is left",
                    help,
                );
                points
            }
            (None, true) => Expr::Const(Value::MISSING, ty),
            (None, false) => {
                // A bin that is wrong was reported.
                if ast::children(node, K::Bin).count() == bins.len() {
                    self.bins_left_out(input, bins);
                }
                Expr::Const(Value::MISSING, ty)
            }
        }
    }

    /// The number in a node, with its sign.
    fn points(&mut self, node: &SyntaxNode) -> Option<(Expr, Type)> {
        let number = ast::token(node, K::Number)?;
        match literals::number(number.text()) {
            Ok((value, decimal)) => {
                let num = if ast::token(node, K::Minus).is_some() { -value.num } else { value.num };
                let ty = if decimal { Type::Decimal } else { Type::Int };
                Some((Expr::Const(Value { num, ..value }, ty), ty))
            }
            Err((message, help)) => {
                self.push(ast::token_span(&number), message, "these points", help);
                None
            }
        }
    }
}
