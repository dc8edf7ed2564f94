//! Models: what each is given, and what becomes of what it tells.

use super::expressions::{Place, Scope};
use super::{Checker, Namespace, literals};
use crate::engine::program::{ISOTONIC_POINTS_MAX, MODEL_DEN, MODEL_INPUTS_MAX, MODELS_MAX};
use crate::engine::units::Value;
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Calibration, EventIx, Expr, Model, ModelIx, Type};
use std::cmp::Ordering;

impl Checker<'_> {
    /// `model NAME on EVENT [eager | lazy] = "FILE" (INPUT, …) [calibrated …]`.
    pub(super) fn model(&mut self, node: &SyntaxNode) {
        let (Some(name), Some(on)) = (ast::name(node), ast::clause_name(node, K::OnClause)) else { return };
        if !self.declare(Namespace::Value, &name, "a model") {
            return;
        }
        let taken = self.fields.iter().any(|fields| fields.contains_key(&name.text));
        if taken || self.let_events.contains_key(&name.text) {
            let message = format!("the model `{}` shadows a field or a `let`", name.text);
            self.push(name.span, message, "has the same name", "give the model another name");
        }
        let number = self.policy.models.len();
        if number == MODELS_MAX {
            let message = format!("a policy has at most {MODELS_MAX} models");
            self.push(name.span, message, "one too many", "remove one that is not used");
            return;
        }
        let event = self.event_named(&on).filter(|event| self.judged(*event, &on, "model"));
        let file = self.parse.models.get(&u32::from(node.text_range().start())).cloned();
        let (Some(event), Some(file)) = (event, file) else {
            self.poisoned.insert(name.text);
            return;
        };
        let inputs = self.model_inputs(node, event, &file.model.inputs);
        let calibration = self.calibration(node);
        let (Some(inputs), Some(calibration)) = (inputs, calibration) else {
            self.poisoned.insert(name.text);
            return;
        };
        let lazy = ast::has_word(node, "lazy");
        self.models.insert(name.text.clone(), ModelIx(number as u16));
        self.policy.models.push(Model { name: name.text, event, lazy, inputs, calibration, file });
    }

    /// As many as the model has, each a number of some kind.
    fn model_inputs(
        &mut self,
        node: &SyntaxNode,
        event: EventIx,
        wanted: &[String],
    ) -> Option<Vec<(Expr, Type)>> {
        let given: Vec<SyntaxNode> =
            ast::children(node, K::ModelInput).filter_map(|input| ast::expression(&input)).collect();
        if given.len() != wanted.len() || wanted.len() > MODEL_INPUTS_MAX {
            let message = format!("the model has {} inputs, and is given {}", wanted.len(), given.len());
            let help = match wanted.len() {
                ..=MODEL_INPUTS_MAX => in_order(wanted),
                _ => format!("models of more than {MODEL_INPUTS_MAX} inputs cannot be used"),
            };
            self.push(ast::head_span(node), message, "a wrong number of inputs", help);
            return None;
        }
        let mut inputs = Vec::with_capacity(given.len());
        let mut are_sound = true;
        for (at, input) in given.iter().enumerate() {
            // An input that has the name of another one is in its place.
            let word = ast::word(input).filter(|_| input.kind() == K::NameRef);
            if let Some(word) = word
                && word.text != wanted[at]
                && let Some(own) = wanted.iter().position(|name| *name == word.text)
            {
                let message = format!(
                    "`{}` is input {} of the model, and is given as input {}, `{}`",
                    word.text,
                    own + 1,
                    at + 1,
                    wanted[at]
                );
                self.push(word.span, message, "in another place", in_order(wanted));
                are_sound = false;
                continue;
            }
            let scope = Scope { event, place: Place::Input };
            match self.whole(input, scope) {
                Some((_, Type::Money(_))) => {
                    let message = "a model takes numbers, and this is money";
                    let help = "say in which units, as in `major(amount in USD)`";
                    self.push(ast::span(input), message, "money", help);
                    are_sound = false;
                }
                Some((_, Type::Time)) => {
                    let message = "a model takes numbers, and this is a time";
                    let help = "give the model how long ago it is, as in `now() - born`";
                    self.push(ast::span(input), message, "a time", help);
                    are_sound = false;
                }
                Some(input) => inputs.push(input),
                None => are_sound = false,
            }
        }
        are_sound.then_some(inputs)
    }

    fn calibration(&mut self, node: &SyntaxNode) -> Option<Calibration> {
        let Some(clause) = ast::child(node, K::CalibratedClause) else { return Some(Calibration::None) };
        if ast::has_word(&clause, "platt") {
            let numbers: Vec<SyntaxNode> = ast::children(&clause, K::SignedNumber).collect();
            let [a, b] = &numbers[..] else { return None };
            let (a, b) = (self.signed(a), self.signed(b));
            return Some(Calibration::Platt(a?, b?));
        }
        let mut points: Vec<(Value, Value)> = Vec::new();
        let mut are_sound = true;
        for point in ast::children(&clause, K::CalibrationPoint) {
            let numbers: Vec<SyntaxNode> = ast::children(&point, K::SignedNumber).collect();
            let [told, value] = &numbers[..] else { return None };
            let (told, value) = (self.signed(told), self.signed(value));
            let (told, value) = (told?, value?);
            if points.len() == ISOTONIC_POINTS_MAX {
                let message = format!("a calibration has at most {ISOTONIC_POINTS_MAX} points");
                self.push(ast::span(&point), message, "one too many", "leave out what lies on a line");
                return None;
            }
            if let Some(before) = points.last()
                && (before.0.compare(told) != Some(Ordering::Less)
                    || before.1.compare(value) == Some(Ordering::Greater))
            {
                let message = "the points of a calibration ascend";
                let help = "write them by what the model tells, and let no value be less than the one before";
                self.push(ast::span(&point), message, "not after the one before", help);
                are_sound = false;
            }
            points.push((told, value));
        }
        if points.is_empty() {
            let help = "for example: calibrated isotonic { 0: 0, 0.4: 0.05, 1: 0.9 }";
            self.push(ast::span(&clause), "a calibration needs points", "none here", help);
            return None;
        }
        are_sound.then_some(Calibration::Isotonic(points))
    }

    /// A number with its sign, less than a billion either way, so that billionths of it fit.
    fn signed(&mut self, node: &SyntaxNode) -> Option<Value> {
        const MOST: i64 = 1_000_000_000;
        let number = ast::token(node, K::Number)?;
        match literals::number(number.text()) {
            Ok((value, _)) if value.den > MODEL_DEN => {
                let help = "models and what calibrates them go by billionths";
                let message = "this number has more than nine digits after the point";
                self.push(ast::span(node), message, "too exact", help);
                None
            }
            Ok((value, _)) if value.num / value.den.max(1) >= MOST => {
                let help = format!("numbers of calibrations are below {MOST}");
                self.push(ast::span(node), "this number is too great", "out of range", help);
                None
            }
            Ok((value, _)) => {
                let num = if ast::token(node, K::Minus).is_some() { -value.num } else { value.num };
                Some(Value { num, ..value })
            }
            Err((message, help)) => {
                self.push(ast::token_span(&number), message, "this number", help);
                None
            }
        }
    }
}

fn in_order(wanted: &[String]) -> String {
    const SHOWN: usize = 40;
    let shown: Vec<&str> = wanted.iter().take(SHOWN).map(String::as_str).collect();
    let more = wanted.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("its inputs are, in order: {}{rest}", shown.join(", "))
}
