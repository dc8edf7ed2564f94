//! What is allowed, and yet hardly meant: warnings about a policy without errors.
//!
//! What is used is read from the syntax tree, so that a name counts as used wherever it stands, also in declarations that
//! this file has never heard of. Conditions are judged by what they mean ([`conditions`]), and by what may be missing in
//! them ([`missing`]). A warning is only given when it is certain: where reasoning would cost too much, nothing is said.

mod conditions;
mod missing;
#[cfg(test)]
mod tests;

use super::ast::{self, Named};
use super::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use super::syntax::{SyntaxKind as K, SyntaxNode};
use super::typed::{Aggregate, Decide, EventIx, Expr, FeatureKind, Policy, Source, Span, Within};
use crate::engine::units::Action;
use conditions::{Conditions, Never};
use std::collections::{HashMap, HashSet};

/// All warnings about a checked policy, in source order.
pub(super) fn lint(policy: &Policy, root: &SyntaxNode) -> Vec<Diagnostic> {
    let mut linter = Linter { policy, root, found: Vec::new() };
    linter.unused();
    linter.rules();
    linter.duplicates();
    for decide in &policy.decides {
        linter.decision(decide);
    }
    linter.filters();
    let mut found = linter.found;
    found.sort_by_key(|warning| (warning.span.start, warning.span.end));
    found.truncate(DIAGNOSTICS_MAX);
    found
}

struct Linter<'p> {
    policy: &'p Policy,
    root: &'p SyntaxNode,
    found: Vec<Diagnostic>,
}

impl<'p> Linter<'p> {
    fn conditions(&self, event: EventIx) -> Conditions<'p> {
        Conditions { policy: self.policy, event }
    }

    fn push(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic::warning(code, span, message, label, help));
    }

    /// The declared names of this kind.
    fn names(&self, kind: K) -> Vec<Named> {
        ast::children(self.root, kind)
            .flat_map(|node| {
                ast::children(&node, K::Name).filter_map(|name| ast::word(&name)).collect::<Vec<_>>()
            })
            .collect()
    }

    fn unused(&mut self) {
        let used = Used::of(self.root);
        // A policy without rules computes its features for their own sake.
        let features = if self.policy.rules.is_empty() { Vec::new() } else { self.names(K::FeatureDecl) };
        let kinds = [
            (
                "unused-entity",
                "entity kind",
                "no field and no list is of it",
                self.names(K::EntityDecl),
                &used.kinds,
            ),
            ("unused-reason", "reason", "no rule gives it", self.names(K::ReasonDecl), &used.names),
            ("unused-list", "list", "nothing is looked up in it", self.names(K::ListDecl), &used.names),
            ("unused-let", "`let`", "nothing is made of it", self.names(K::LetDecl), &used.names),
            (
                "unused-scorecard",
                "scorecard",
                "nothing asks for it",
                self.names(K::ScorecardDecl),
                &used.names,
            ),
            ("unused-model", "model", "it is asked for nothing", self.names(K::ModelDecl), &used.names),
            ("unused-feature", "feature", "it is computed for nothing", features, &used.names),
        ];
        let mut unused = Vec::new();
        for (code, what, label, names, used) in kinds {
            for name in names.into_iter().filter(|name| !used.contains(&name.text)) {
                unused.push((code, name.span, format!("the {what} `{}` is never used", name.text), label));
            }
        }
        for (code, span, message, label) in unused {
            let help = match code {
                "unused-feature" => "remove it; what only replays show costs every decision",
                _ => "remove it, or use it",
            };
            self.push(code, span, message, label, help);
        }
    }

    fn rules(&mut self) {
        let rules = by_name(self.root, K::RuleDecl);
        for rule in &self.policy.rules {
            let Some(node) = rules.get(&rule.name).and_then(condition_of) else { continue };
            let scene = match rule.within {
                Some(Within::Scene(scene)) => Some(&self.policy.scenes[scene.index()].when),
                Some(Within::Table(_)) | None => None,
            };
            self.condition(&format!("the rule `{}`", rule.name), rule.event, &rule.when, scene, &node);
        }
        let scenes = by_name(self.root, K::SceneDecl);
        for scene in &self.policy.scenes {
            let Some(node) = scenes.get(&scene.name).and_then(condition_of) else { continue };
            self.condition(&format!("the scene `{}`", scene.name), scene.event, &scene.when, None, &node);
        }
    }

    /// What there is to say about one condition of what is judged.
    fn condition(
        &mut self,
        what: &str,
        event: EventIx,
        expr: &'p Expr,
        scene: Option<&'p Expr>,
        node: &SyntaxNode,
    ) {
        let conditions = self.conditions(event);
        let at = ast::span(node);
        match conditions.never(expr, scene) {
            Some(never) => {
                let help = match never {
                    Never::Contradiction => {
                        "its parts contradict each other: correct a bound, or remove it".to_owned()
                    }
                    Never::Amended(event) => {
                        let event = &self.policy.events[event.index()].name;
                        format!("what `{event}` brings comes after the decision: count it with a feature")
                    }
                };
                self.push("cannot-fire", at, format!("{what} never applies"), "never true", help);
                return;
            }
            None if conditions.always(expr) => {
                let help =
                    "correct a bound, or say what it is for: a condition that always holds asks for nothing";
                self.push(
                    "always-fires",
                    at,
                    format!("{what} always applies"),
                    "true whenever it is known",
                    help,
                );
                return;
            }
            None => {}
        }
        self.missing(event, expr, node, "does not fire");
    }

    /// What a negation silently leaves out.
    fn missing(&mut self, event: EventIx, expr: &Expr, node: &SyntaxNode, outcome: &str) {
        for (at, leaf) in missing::silent(self.policy, event, expr, node) {
            let message = format!("when {leaf} is missing this is not true but unknown, and {outcome}");
            let help =
                format!("say what is meant: add `or {0} is missing`, or `and {0} is not missing`", leaf.name);
            self.push("silently-missing", at, message, "unknown when it is missing", help);
        }
    }

    /// Rules that say the same. Such rules with reasons of their own are how several reasons are given.
    fn duplicates(&mut self) {
        let nodes = by_name(self.root, K::RuleDecl);
        let mut seen: HashMap<String, &str> = HashMap::new();
        let mut found = Vec::new();
        for rule in &self.policy.rules {
            let Some(node) = nodes.get(&rule.name).and_then(condition_of) else { continue };
            let said = format!(
                "{:?} {:?} {:?} {:?} {:?} {}",
                rule.event, rule.within, rule.effective, rule.when, rule.reason, rule.monitor
            );
            match seen.get(&said) {
                Some(first) => {
                    let message = format!("the rule `{}` has the condition of the rule `{first}`", rule.name);
                    found.push((ast::span(&node), message));
                }
                None => {
                    seen.insert(said, &rule.name);
                }
            }
        }
        for (at, message) in found {
            let help =
                "join the two, or correct one of them; only the greater action and score have an effect";
            self.push("duplicate-condition", at, message, "the same condition", help);
        }
    }

    fn decision(&mut self, decide: &'p Decide) {
        let conditions = self.conditions(decide.event);
        let event = &self.policy.events[decide.event.index()].name;
        let Some(node) = ast::children(self.root, K::DecideDecl)
            .find(|node| ast::name_ref(node).is_some_and(|name| name.text == *event))
        else {
            return;
        };
        let thresholds = conditions_of(&node, &decide.thresholds);
        let late = ast::child(&node, K::LateItem).zip(decide.late.as_ref());
        let branches = late.map(|(node, late)| conditions_of(&node, &late.branches)).unwrap_or_default();
        for (action, expr, node) in thresholds.iter().chain(&branches) {
            self.condition(&format!("`{} when …`", action.word()), decide.event, expr, None, node);
        }
        for (at, (action, expr, node)) in thresholds.iter().enumerate() {
            let stronger = thresholds.iter().enumerate().find(|(other, (stronger, covers, _))| {
                (stronger > action || stronger == action && *other < at)
                    && *other != at
                    && conditions.implies(expr, covers)
            });
            if let Some((_, (stronger, ..))) = stronger {
                let message =
                    format!("this threshold never decides: `{}` holds whenever it does", stronger.word());
                let help = "the greatest action that holds is taken; the greater action needs the narrower condition";
                self.push("thresholds-out-of-order", ast::span(node), message, "never decides", help);
            }
        }
        for (at, (_, expr, node)) in branches.iter().enumerate() {
            if branches[..at].iter().any(|(_, before, _)| conditions.implies(expr, before)) {
                let help = "the first branch that holds decides; put the narrower condition first";
                let message = "this branch never decides: one before it holds whenever it does";
                self.push("shadowed-by", ast::span(node), message, "never reached", help);
            }
        }
    }

    /// The `where`s of aggregates.
    fn filters(&mut self) {
        let nodes = by_name(self.root, K::FeatureDecl);
        for feature in &self.policy.features {
            let FeatureKind::Window(window) = &feature.kind else { continue };
            let Some(node) = nodes.get(&feature.name) else { continue };
            let filters: Vec<(EventIx, &Expr)> = sources(&window.aggregate)
                .into_iter()
                .filter_map(|source| Some((source.event, source.filter.as_ref()?)))
                .collect();
            let wheres: Vec<SyntaxNode> =
                node.descendants().filter(|node| node.kind() == K::WhereClause).collect();
            if filters.len() != wheres.len() {
                continue;
            }
            for ((event, filter), node) in filters.into_iter().zip(wheres.iter().filter_map(ast::expression))
            {
                self.missing(event, filter, &node, "the event is left out");
            }
        }
    }
}

/// The names that are used somewhere.
struct Used {
    /// By expressions, effects and clauses.
    names: HashSet<String>,
    /// Kinds of keys: by fields and lists.
    kinds: HashSet<String>,
}

impl Used {
    fn of(root: &SyntaxNode) -> Self {
        let mut used = Self { names: HashSet::new(), kinds: HashSet::new() };
        for node in root.descendants() {
            match node.kind() {
                K::NameRef => {
                    let Some(name) = ast::word(&node) else { continue };
                    if node.parent().is_some_and(|parent| matches!(parent.kind(), K::TypeRef | K::OfClause)) {
                        used.kinds.insert(name.text);
                    } else {
                        used.names.insert(name.text);
                    }
                }
                K::PathExpr => {
                    if let Some((_, name)) = ast::path(&node) {
                        used.names.insert(name.text);
                    }
                }
                _ => {}
            }
        }
        used
    }
}

/// Declarations of one kind by their names, wherever they are.
fn by_name(root: &SyntaxNode, kind: K) -> HashMap<String, SyntaxNode> {
    let declared = root.descendants().filter(|node| node.kind() == kind);
    declared.filter_map(|node| Some((ast::name(&node)?.text, node))).collect()
}

/// The expression after `when`.
fn condition_of(node: &SyntaxNode) -> Option<SyntaxNode> {
    ast::expression(&ast::child(node, K::WhenClause)?)
}

/// Conditions with their actions and places.
fn conditions_of<'p>(node: &SyntaxNode, typed: &'p [(Action, Expr)]) -> Vec<(Action, &'p Expr, SyntaxNode)> {
    let nodes = ast::children(node, K::Threshold).filter_map(|threshold| condition_of(&threshold));
    typed.iter().zip(nodes).map(|((action, expr), node)| (*action, expr, node)).collect()
}

/// What an aggregate counts, in the order in which it is written.
fn sources(aggregate: &Aggregate) -> Vec<&Source> {
    match aggregate {
        Aggregate::Ratio(part, whole) => vec![part, whole],
        Aggregate::Change { of, .. } => sources(of),
        Aggregate::Count(source)
        | Aggregate::SinceLast(source)
        | Aggregate::SinceFirst(source)
        | Aggregate::Sum(source, _)
        | Aggregate::Avg(source, _)
        | Aggregate::Min(source, _)
        | Aggregate::Max(source, _)
        | Aggregate::DistinctKeys(source, _)
        | Aggregate::DistinctValues(source, _)
        | Aggregate::Stddev(source, _)
        | Aggregate::First(source, _)
        | Aggregate::Last(source, _)
        | Aggregate::ShareKeys(source, _)
        | Aggregate::ShareValues(source, _)
        | Aggregate::Percentile(_, source, _)
        | Aggregate::DecayedCount(source, _)
        | Aggregate::DecayedSum(source, _, _)
        | Aggregate::Distance(source, _)
        | Aggregate::Speed(source, _)
        | Aggregate::SeenKey(source, _)
        | Aggregate::SeenValue(source, _)
        | Aggregate::Days(source, _) => vec![source],
    }
}
