//! Syntax tree → typed policy: names resolved, types and units checked, bounds kept.
//!
//! The order is fixed by what depends on what: entity kinds, events, reasons and lists; then `let`s (in the order of
//! their dependencies); then features, scorecards and models; then rules; then decisions. A declaration that was refused leaves its name
//! behind as *poisoned*: using it is not reported again, so that one mistake gives one error.

mod cells;
mod codes;
mod coverage;
mod declarations;
mod expressions;
mod features;
mod frames;
mod functions;
mod keys;
mod lists;
pub(super) mod literals;
mod models;
mod names;
mod rules;
mod scenes;
mod scorecards;
mod scripts;
mod tables;
#[cfg(test)]
mod tests;

use super::ast::{self, Named};
use super::diagnostics::{DIAGNOSTICS_MAX, Diagnostic, Fix};
use super::parser::{DECLARATIONS, Parse, RESERVED};
use super::suggest::nearest;
use super::syntax::{SyntaxKind as K, SyntaxNode};
use super::test::script::Test;
use super::typed::{
    EntityIx, Event, EventIx, FeatureIx, FieldIx, FieldType, LetIx, ListIx, ModelIx, Policy, RuleIx, Span,
    TableIx, Type,
};
use std::collections::{HashMap, HashSet};

/// The most declarations of one kind.
const DECLARATIONS_MAX: usize = 16_384;

/// Checks a parsed source. The policy is there only when nothing at all is wrong.
pub(super) fn check(parse: &Parse) -> (Option<Checked>, Vec<Diagnostic>) {
    let mut checker = Checker::new(parse);
    checker.run(&parse.root);
    let complete = checker.diagnostics.is_empty() && parse.errors.is_empty();
    let Checker { policy, tests, diagnostics, warnings, .. } = checker;
    (complete.then_some(Checked { policy, tests, warnings }), diagnostics)
}

/// A policy without errors.
pub(super) struct Checked {
    pub(super) policy: Policy,
    pub(super) tests: Vec<Test>,
    /// What is only seen while it is checked.
    pub(super) warnings: Vec<Diagnostic>,
}

struct Checker<'p> {
    parse: &'p Parse,
    diagnostics: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    policy: Policy,
    tests: Vec<Test>,
    /// Per event: some of its fields could not be read.
    incomplete: Vec<bool>,
    /// Per event and field: the declared type, or none when it was refused.
    field_types: Vec<Vec<Option<FieldType>>>,
    /// Per event, its fields by name.
    fields: Vec<HashMap<String, FieldIx>>,
    entities: HashMap<String, EntityIx>,
    events: HashMap<String, EventIx>,
    reasons: HashMap<String, u16>,
    queues: HashMap<String, u16>,
    lists: HashMap<String, ListIx>,
    /// How many entries there may still be.
    entries_left: usize,
    lets: HashMap<(EventIx, String), LetIx>,
    /// Which event a `let` name was first declared on, to say so.
    let_events: HashMap<String, EventIx>,
    /// All names that features are declared by, wherever they are.
    feature_names: HashSet<String>,
    /// And models.
    model_names: HashSet<String>,
    /// Depth and size of each `let` with all it refers to written out.
    let_extents: Vec<(usize, usize)>,
    features: HashMap<String, FeatureIx>,
    models: HashMap<String, ModelIx>,
    /// By feature name: the fields that its `via` chose.
    vias: HashMap<String, keys::Via>,
    rules: HashMap<String, RuleIx>,
    tables: HashMap<String, TableIx>,
    decided: HashSet<EventIx>,
    /// What the name in each namespace already stands for.
    taken: HashMap<(Namespace, String), &'static str>,
    poisoned: HashSet<String>,
    /// A declaration lost its name: an unknown name may be that one.
    lost: bool,
}

/// What may share a name with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Namespace {
    /// Events and features: what expressions can name.
    Value,
    Entity,
    Reason,
    Queue,
    List,
    Rule,
}

impl<'p> Checker<'p> {
    fn new(parse: &'p Parse) -> Self {
        Self {
            parse,
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            policy: Policy {
                name: String::new(),
                revision: 0,
                entities: Vec::new(),
                events: Vec::new(),
                reasons: Vec::new(),
                queues: Vec::new(),
                lists: Vec::new(),
                lets: Vec::new(),
                features: Vec::new(),
                models: Vec::new(),
                scenes: Vec::new(),
                tables: Vec::new(),
                rules: Vec::new(),
                decides: Vec::new(),
                rates: None,
            },
            tests: Vec::new(),
            incomplete: Vec::new(),
            field_types: Vec::new(),
            fields: Vec::new(),
            entities: HashMap::new(),
            events: HashMap::new(),
            reasons: HashMap::new(),
            queues: HashMap::new(),
            lists: HashMap::new(),
            entries_left: lists::ENTRIES_MAX,
            lets: HashMap::new(),
            let_events: HashMap::new(),
            feature_names: HashSet::new(),
            model_names: HashSet::new(),
            let_extents: Vec::new(),
            features: HashMap::new(),
            models: HashMap::new(),
            vias: HashMap::new(),
            rules: HashMap::new(),
            tables: HashMap::new(),
            decided: HashSet::new(),
            taken: HashMap::new(),
            poisoned: HashSet::new(),
            lost: false,
        }
    }

    fn run(&mut self, root: &SyntaxNode) {
        self.poison_broken(root);
        self.header(root);
        self.rates(root);
        self.each(root, K::EntityDecl, true, Self::entity);
        self.each_event(root);
        self.each(root, K::ReasonDecl, false, Self::reason);
        self.each(root, K::QueueDecl, false, Self::queue);
        self.each(root, K::ListDecl, false, Self::list);
        self.find_decided(root);
        let names = |kind: K| {
            ast::children(root, kind).filter_map(|node| ast::name(&node)).map(|name| name.text).collect()
        };
        (self.feature_names, self.model_names) = (names(K::FeatureDecl), names(K::ModelDecl));
        self.each_let(root);
        self.each(root, K::FeatureDecl, false, Self::feature);
        self.each(root, K::ScorecardDecl, false, Self::scorecard);
        self.each(root, K::ModelDecl, false, Self::model);
        self.each_rule(root);
        self.each(root, K::DecideDecl, false, Self::decide);
        self.each(root, K::TestDecl, false, Self::test);
    }

    /// Hands every declaration of this kind to `check`; those with syntax errors only when told so.
    fn each(&mut self, root: &SyntaxNode, kind: K, broken_too: bool, check: fn(&mut Self, &SyntaxNode)) {
        for (count, node) in ast::children(root, kind).enumerate() {
            if count >= DECLARATIONS_MAX {
                self.too_many(&node, DECLARATIONS_MAX);
                return;
            }
            if broken_too || !self.is_broken(&node) {
                check(self, &node);
            }
        }
    }

    fn too_many(&mut self, node: &SyntaxNode, most: usize) {
        self.push(
            ast::head_span(node),
            format!("there are more than {most} declarations of this kind"),
            "the first one too many",
            "divide the policy: one appliance runs one policy of bounded size",
        );
    }

    fn is_broken(&self, node: &SyntaxNode) -> bool {
        self.parse.broken.contains(&u32::from(node.text_range().start()))
    }

    /// Remembers the names of declarations with syntax errors, and of kinds that do not exist yet.
    fn poison_broken(&mut self, root: &SyntaxNode) {
        for node in root.children() {
            if node.kind() == K::Error {
                self.lost = true;
                continue;
            }
            if !self.is_broken(&node) {
                continue;
            }
            self.poisoned
                .extend(ast::children(&node, K::RuleDecl).filter_map(|rule| Some(ast::name(&rule)?.text)));
            match ast::name(&node) {
                Some(name) => {
                    self.poisoned.insert(name.text);
                }
                None => {
                    self.lost |= {
                        !matches!(
                            node.kind(),
                            K::DecideDecl
                                | K::RatesDecl
                                | K::ReservedDecl
                                | K::PolicyDecl
                                | K::TestDecl
                                | K::TableFile
                                | K::ListFile
                        )
                    }
                }
            }
        }
    }

    fn push(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(Diagnostic::error(span, message, label, help));
        }
    }

    /// Reports an error that is surely put right by replacing these bytes.
    fn push_fixed(&mut self, at: Span, message: String, label: &str, help: String, fix: Fix) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            let error = Diagnostic::error(at, message, label, help);
            self.diagnostics.push(Diagnostic { fix: Some(Box::new(fix)), ..error });
        }
    }

    /// Whether enough errors were found: what costs more than a look is left out then.
    fn is_full(&self) -> bool {
        self.diagnostics.len() >= DIAGNOSTICS_MAX
    }

    /// Takes a name in its namespace; reports a reserved or taken one.
    fn declare(&mut self, space: Namespace, name: &Named, what: &'static str) -> bool {
        let word = name.text.as_str();
        let reserved = DECLARATIONS.contains(&word)
            || RESERVED.contains(&word)
            || matches!(word, "score" | "rule_scores" | "missing")
            || space == Namespace::Rule
                && matches!(word, "allow" | "challenge" | "review" | "block" | "over" | "alert");
        if reserved {
            self.push(
                name.span,
                format!("`{word}` cannot be the name of {what}"),
                "a word of the language",
                "choose another name",
            );
            return false;
        }
        if let Some(other) = self.taken.get(&(space, name.text.clone())) {
            let message = if *other == what {
                format!("`{word}` is declared twice")
            } else {
                format!("`{word}` is already the name of {other}")
            };
            self.push(name.span, message, "declared again here", "give one of the two another name");
            return false;
        }
        self.taken.insert((space, name.text.clone()), what);
        true
    }

    /// Reports a name that nothing has, with the nearest one that exists.
    fn unknown(&mut self, name: &Named, what: &str, candidates: &[&str], otherwise: &str) {
        // A lost or refused declaration may have been this one, and was reported.
        if self.lost || self.poisoned.contains(&name.text) || self.is_full() {
            return;
        }
        let help = match nearest(&name.text, candidates.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if candidates.is_empty() && otherwise.is_empty() => "none is declared".to_owned(),
            None if candidates.is_empty() || !otherwise.is_empty() => otherwise.to_owned(),
            None => one_of(candidates),
        };
        self.push(name.span, format!("there is no {what} `{}`", name.text), "not known", help);
    }

    fn entity_named(&mut self, name: &Named) -> Option<EntityIx> {
        let found = self.entities.get(&name.text).copied();
        if found.is_none() && !self.is_full() {
            let names = self.policy.entities.clone();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.unknown(
                name,
                "entity kind",
                &names,
                if names.is_empty() { "declare it with `entity NAME`" } else { "" },
            );
        }
        found
    }

    fn event_named(&mut self, name: &Named) -> Option<EventIx> {
        let found = self.events.get(&name.text).copied();
        if found.is_none() && !self.is_full() {
            let names: Vec<String> = self.policy.events.iter().map(|event| event.name.clone()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.unknown(
                name,
                "event",
                &names,
                if names.is_empty() { "declare it with `event NAME { field: type }`" } else { "" },
            );
        }
        found
    }

    fn event(&self, event: EventIx) -> &Event {
        &self.policy.events[event.index()]
    }

    fn event_name(&self, event: EventIx) -> String {
        self.event(event).name.clone()
    }

    /// The type of a field, or none when its declaration was refused.
    fn field_type(&self, event: EventIx, field: FieldIx) -> Option<&FieldType> {
        self.field_types[event.index()][field.index()].as_ref()
    }

    /// The words of an enum.
    fn words(&self, event: EventIx, field: FieldIx) -> &[String] {
        match self.field_type(event, field) {
            Some(FieldType::Enum(words)) => words,
            _ => &[],
        }
    }

    /// How a type is called in messages.
    fn type_name(&self, ty: Type) -> String {
        match ty {
            Type::Bool => "a condition (true or false)".to_owned(),
            Type::Int => "a whole number".to_owned(),
            Type::Decimal => "a decimal number".to_owned(),
            Type::Money(currency) => format!("money in {}", currency.alpha()),
            Type::AnyMoney => "money of a currency known only at run time".to_owned(),
            Type::Duration => "a duration".to_owned(),
            Type::Distance => "a distance".to_owned(),
            Type::Speed => "a speed".to_owned(),
            Type::Country => "a country".to_owned(),
            Type::Currency => "a currency".to_owned(),
            Type::Mcc => "a merchant category".to_owned(),
            Type::Bin => "the leading digits of a card".to_owned(),
            Type::Time => "a time".to_owned(),
            Type::Enum(event, field) => {
                format!(
                    "a word of `{}.{}`",
                    self.event(event).name,
                    self.event(event).fields[field.index()].name
                )
            }
        }
    }
}

/// "known: a, b, c", shortened.
fn one_of(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text = format!("known: {}", names[..names.len().min(SHOWN)].join(", "));
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
