//! `let`s, in the order of their dependencies, and features. Most lines are messages.

use super::expressions::{AGGREGATES, Operand, Place, Scope};
use super::frames::{CLAUSES, Clauses};
use super::keys::Via;
use super::{Checker, DECLARATIONS_MAX, Namespace, nearest};
use crate::policy::ast::{self, Named};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{
    Aggregate, By, EntityIx, EventIx, Expr, Feature, FeatureIx, FeatureKind, FieldIx, FieldType, Let, LetIx,
    Source, Span, Type, Window,
};
use std::collections::{HashMap, HashSet};

/// By what a feature counts, and what its other clauses say.
struct Counting<'c> {
    by: By<EntityIx>,
    via: &'c Via,
    clauses: &'c Clauses,
}

/// What is aggregated.
enum Aggregated {
    Key(FieldIx),
    Value(Expr, Type),
}

/// A `let` before it is checked.
struct Definition {
    node: SyntaxNode,
    name: Named,
    event: EventIx,
    /// The definitions that this one names.
    uses: Vec<usize>,
}

impl Checker<'_> {
    pub(super) fn each_let(&mut self, root: &SyntaxNode) {
        let mut definitions = Vec::new();
        let mut by_name: HashMap<(EventIx, String), usize> = HashMap::new();
        for (count, node) in ast::children(root, K::LetDecl).enumerate() {
            if count >= DECLARATIONS_MAX {
                self.too_many(&node, DECLARATIONS_MAX);
                break;
            }
            if self.is_broken(&node) {
                continue;
            }
            let (Some(name), Some(on)) = (ast::name(&node), ast::clause_name(&node, K::OnClause)) else {
                continue;
            };
            let Some(event) = self.let_event(&name, &on) else {
                self.poisoned.insert(name.text);
                continue;
            };
            if by_name.contains_key(&(event, name.text.clone())) {
                let message = format!("`{}` is declared twice on `{}`", name.text, on.text);
                self.push(name.span, message, "declared again here", "give one of the two another name");
                continue;
            }
            by_name.insert((event, name.text.clone()), definitions.len());
            definitions.push(Definition { node, name, event, uses: Vec::new() });
        }
        for definition in &mut definitions {
            let own = self.policy.events[definition.event.index()].name.as_str();
            let named = definition.node.descendants().filter_map(|node| match node.kind() {
                K::NameRef => ast::word(&node),
                K::PathExpr => ast::path(&node).filter(|(event, _)| event.text == own).map(|(_, name)| name),
                _ => None,
            });
            let mut uses: Vec<usize> =
                named.filter_map(|name| by_name.get(&(definition.event, name.text)).copied()).collect();
            uses.sort_unstable();
            uses.dedup();
            definition.uses = uses;
        }
        for at in self.in_order(&definitions) {
            self.define(&definitions[at]);
        }
    }

    /// The event of a `let`, when the name is free there.
    fn let_event(&mut self, name: &Named, on: &Named) -> Option<EventIx> {
        let event = self.event_named(on)?;
        let word = name.text.as_str();
        if matches!(word, "score" | "rule_scores" | "missing") {
            let message = format!("`{word}` cannot be the name of a `let`");
            self.push(name.span, message, "a word of the language", "choose another name");
            return None;
        }
        let shadowed = if self.fields[event.index()].contains_key(word) {
            Some(format!("a field of `{}`", on.text))
        } else if self.events.contains_key(word) {
            Some("an event".to_owned())
        } else {
            None
        };
        if let Some(shadowed) = shadowed {
            let message = format!("`{word}` shadows {shadowed}");
            self.push(name.span, message, "has the same name", "give the `let` another name");
            return None;
        }
        Some(event)
    }

    /// Definitions after what they use. Those in a cycle are reported and left out, with all that use them.
    fn in_order(&mut self, definitions: &[Definition]) -> Vec<usize> {
        let mut waiting: Vec<usize> = definitions.iter().map(|definition| definition.uses.len()).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); definitions.len()];
        for (at, definition) in definitions.iter().enumerate() {
            for used in &definition.uses {
                users[*used].push(at);
            }
        }
        // Source order among those that are ready, so that indexes are stable; a later one may wait.
        let mut ready: std::collections::BTreeSet<usize> =
            (0..definitions.len()).filter(|at| waiting[*at] == 0).collect();
        let mut order = Vec::new();
        while let Some(at) = ready.pop_first() {
            order.push(at);
            for user in &users[at] {
                waiting[*user] -= 1;
                if waiting[*user] == 0 {
                    ready.insert(*user);
                }
            }
        }
        let stuck: Vec<usize> = (0..definitions.len()).filter(|at| waiting[*at] > 0).collect();
        let mut told: HashSet<usize> = HashSet::new();
        for at in stuck {
            self.poisoned.insert(definitions[at].name.text.clone());
            if let Some(cycle) = cycle_from(definitions, &waiting, at)
                && cycle.iter().all(|member| !told.contains(member))
            {
                let first = &definitions[cycle[0]].name;
                let path: Vec<&str> =
                    cycle.iter().chain(&cycle[..1]).map(|at| definitions[*at].name.text.as_str()).collect();
                let message = match cycle.len() {
                    1 => format!("the `let` `{}` uses itself", first.text),
                    _ => format!("these definitions are cyclic: {}", path.join(" → ")),
                };
                self.push(
                    first.span,
                    message,
                    "defined by itself in the end",
                    "define one of them from fields alone",
                );
                told.extend(cycle);
            }
        }
        order
    }

    fn define(&mut self, definition: &Definition) {
        let scope = Scope { event: definition.event, place: Place::Let };
        let checked = ast::expression(&definition.node).and_then(|node| self.whole(&node, scope));
        let name = &definition.name.text;
        let Some((expr, ty)) = checked else {
            self.poisoned.insert(name.clone());
            return;
        };
        let ix = LetIx(self.policy.lets.len() as u16);
        let extent = self.extent(&expr);
        self.let_extents.push(extent);
        self.let_events.entry(name.clone()).or_insert(definition.event);
        self.lets.insert((definition.event, name.clone()), ix);
        self.policy.lets.push(Let { name: name.clone(), event: definition.event, expr, ty });
    }

    pub(super) fn feature(&mut self, node: &SyntaxNode) {
        let Some(name) = ast::name(node) else { return };
        if !self.declare(Namespace::Value, &name, "a feature") {
            return;
        }
        let shadowed = self.fields.iter().position(|fields| fields.contains_key(&name.text));
        let shadowed = match shadowed {
            Some(event) => Some(format!("a field of `{}`", self.policy.events[event].name)),
            None => self.let_events.contains_key(&name.text).then(|| "a `let`".to_owned()),
        };
        if let Some(shadowed) = shadowed {
            let message = format!("the feature `{}` shadows {shadowed}", name.text);
            self.push(name.span, message, "has the same name", "give the feature another name");
        }
        let checked = match ast::clause_name(node, K::OnClause) {
            Some(on) => self.scalar(node, &on),
            None => self.window(node, &name),
        };
        let Some((kind, ty)) = checked else {
            self.poisoned.insert(name.text);
            return;
        };
        self.features.insert(name.text.clone(), FeatureIx(self.policy.features.len() as u16));
        let assume = super::frames::assumed(node);
        self.policy.features.push(Feature { name: name.text, ty, kind, assume });
    }

    /// `feature NAME on EVENT = EXPR`.
    fn scalar(&mut self, node: &SyntaxNode, on: &Named) -> Option<(FeatureKind, Type)> {
        for clause in CLAUSES {
            if let Some(clause) = ast::child(node, *clause) {
                let help = "a feature `on EVENT` is computed from that event alone; for a window leave `on EVENT` out";
                self.push(ast::span(&clause), "this feature has no window", "not possible here", help);
                return None;
            }
        }
        let event = self.event_named(on)?;
        if !self.judged(event, on, "feature") {
            return None;
        }
        let (expr, ty) = self.whole(&ast::expression(node)?, Scope { event, place: Place::Scalar })?;
        Some((FeatureKind::Scalar { event, expr }, ty))
    }

    /// `feature NAME = AGGREGATE(…) by … last …`.
    fn window(&mut self, node: &SyntaxNode, name: &Named) -> Option<(FeatureKind, Type)> {
        let call = ast::expression(node)?;
        if call.kind() == K::InExpr
            && let Some(zone) = ast::token(&call, K::Text)
        {
            let help = format!("write it after the window, as in `… by card this day in {}`", zone.text());
            self.push(ast::token_span(&zone), "the time zone of a feature comes last", "too early", help);
            return None;
        }
        let function = ast::word(&call).filter(|_| call.kind() == K::CallExpr);
        let Some(function) = function else {
            let help = format!(
                "the aggregates are {}; to compute from the judged event alone write \
                 `feature {} on EVENT = …`",
                AGGREGATES.join(", "),
                name.text
            );
            self.push(
                ast::span(&call),
                "a feature without `on EVENT` is an aggregate over a window",
                "not an aggregate",
                help,
            );
            return None;
        };
        let function_name = AGGREGATES.iter().copied().find(|known| *known == function.text);
        let Some(function_name) = function_name else {
            self.not_an_aggregate(&function);
            return None;
        };
        let complete = self.clauses_once(node);
        let by = match ast::child(node, K::ByClause) {
            Some(clause) => self.by(&clause),
            None => {
                let help = "say whose events are counted, as in `by card`";
                self.push(
                    name.span,
                    format!("the feature `{}` has no key", name.text),
                    "`by ENTITY` is missing",
                    help,
                );
                None
            }
        };
        let clauses = self.clauses(node, name, function_name);
        let via = match by {
            Some(by) => self.via(node, by),
            None => None,
        };
        let (by, via, clauses) = (by?, via?, clauses?);
        if !complete {
            return None;
        }
        let counting = Counting { by, via: &via, clauses: &clauses };
        let (aggregate, ty) = self.aggregate(&call, function_name, &counting)?;
        let judged_by = self.judged_by(name, by, &via)?;
        self.vias.insert(name.text.clone(), via);
        let Clauses { frame, delay_us, .. } = clauses;
        Some((FeatureKind::Window(Window { by, frame, delay_us, aggregate, judged_by }), ty))
    }

    fn not_an_aggregate(&mut self, function: &Named) {
        let word = function.text.as_str();
        let known = format!("the aggregates are {}", AGGREGATES.join(", "));
        let later = ["zscore", "entropy", "streak"];
        if later.contains(&word) {
            self.push(
                function.span,
                format!("the aggregate `{word}` is not there yet"),
                "not there yet",
                known,
            );
            return;
        }
        let help = match (word, nearest(word, AGGREGATES.iter().copied())) {
            ("average" | "mean", _) => "did you mean `avg`?".to_owned(),
            ("count_distinct" | "unique" | "nunique", _) => "did you mean `distinct`?".to_owned(),
            ("variance" | "std" | "sigma", _) => "did you mean `stddev`?".to_owned(),
            ("median", _) => "the median is `percentile(50, …)`".to_owned(),
            ("mode", _) => "the share of the most frequent value is `share(…)`".to_owned(),
            ("time_since", _) => "did you mean `since_last`?".to_owned(),
            ("first_seen" | "age", _) => "did you mean `since_first`?".to_owned(),
            ("trend" | "rate", _) => "did you mean `change`?".to_owned(),
            ("decayed" | "ewma", _) => "did you mean `decayed_sum`?".to_owned(),
            ("first_present" | "major" | "hour" | "weekday", _) => {
                format!("to compute from the judged event alone write `on EVENT` after the name; {known}")
            }
            (_, Some(near)) => format!("did you mean `{near}`?"),
            _ => known,
        };
        self.push(function.span, format!("there is no aggregate `{word}`"), "not known", help);
    }

    fn aggregate(
        &mut self,
        call: &SyntaxNode,
        function: &'static str,
        by: &Counting<'_>,
    ) -> Option<(Aggregate, Type)> {
        let args: Vec<SyntaxNode> = ast::children(call, K::Arg).collect();
        let wanted = if matches!(function, "ratio" | "percentile") { 2 } else { 1 };
        if args.len() != wanted {
            let help = match function {
                "count" | "since_last" | "since_first" | "days" | "decayed_count" => {
                    format!("for example: {function}(payment where channel == ecom)")
                }
                "ratio" => "for example: ratio(payment where channel == ecom, payment)".to_owned(),
                "percentile" => "for example: percentile(95, payment.amount in USD)".to_owned(),
                "change" => "for example: change(count(payment))".to_owned(),
                "distance" | "speed" => format!("for example: {function}(payment.location)"),
                "distinct" | "share" | "seen" => format!("for example: {function}(payment.device)"),
                _ => format!("for example: {function}(payment.amount in USD where channel == ecom)"),
            };
            let message = format!(
                "`{function}` takes {} argument{}, not {}",
                wanted,
                if wanted == 1 { "" } else { "s" },
                args.len()
            );
            self.push(ast::span(call), message, "this aggregate", help);
            return None;
        }
        let half_life_us = by.clauses.half_life_us.unwrap_or(1);
        match function {
            "count" => Some((Aggregate::Count(self.counted(&args[0], by)?), Type::Int)),
            "since_last" => Some((Aggregate::SinceLast(self.counted(&args[0], by)?), Type::Duration)),
            "since_first" => Some((Aggregate::SinceFirst(self.counted(&args[0], by)?), Type::Duration)),
            "decayed_count" => {
                let source = self.counted(&args[0], by)?;
                Some((Aggregate::DecayedCount(source, half_life_us), Type::Decimal))
            }
            "days" => {
                let source = self.counted(&args[0], by)?;
                let zone = by.clauses.zone.clone().unwrap_or_else(|| "UTC".to_owned());
                Some((Aggregate::Days(source, zone), Type::Int))
            }
            "ratio" => self.ratio(&args, by),
            "change" => self.change(&args[0], by),
            "distance" | "speed" => self.measured(&args[0], function, by),
            "percentile" => {
                let percent = self.percent(&args[0]);
                let (source, value, ty) = self.over_numbers(&args[1], function, by)?;
                Some((Aggregate::Percentile(percent?, source, value), ty))
            }
            "distinct" | "share" | "seen" | "first" | "last" => self.over_values(&args[0], function, by),
            _ => {
                let (source, value, ty) = self.over_numbers(&args[0], function, by)?;
                let fraction = if ty == Type::Int { Type::Decimal } else { ty };
                Some(match function {
                    "sum" => (Aggregate::Sum(source, value), ty),
                    "min" => (Aggregate::Min(source, value), ty),
                    "max" => (Aggregate::Max(source, value), ty),
                    "avg" => (Aggregate::Avg(source, value), fraction),
                    "stddev" => (Aggregate::Stddev(source, value), fraction),
                    _ => (Aggregate::DecayedSum(source, value, half_life_us), fraction),
                })
            }
        }
    }

    fn ratio(&mut self, args: &[SyntaxNode], by: &Counting<'_>) -> Option<(Aggregate, Type)> {
        let (part, whole) = (self.counted(&args[0], by), self.counted(&args[1], by));
        let (part, whole) = (part?, whole?);
        if by.clauses.frame.is_by_event() && (part.event, part.role) != (whole.event, whole.role) {
            let help =
                "the window is made of the events of the second; use `last DURATION` to compare two kinds";
            self.push(
                ast::span(&args[0]),
                "over such a window both sides of `ratio` speak of one event",
                "another event",
                help,
            );
            return None;
        }
        Some((Aggregate::Ratio(part, whole), Type::Decimal))
    }

    /// `change(AGGREGATE(…))`.
    fn change(&mut self, arg: &SyntaxNode, by: &Counting<'_>) -> Option<(Aggregate, Type)> {
        const COMPARED: &[&str] = &["count", "sum", "avg", "min", "max", "stddev", "distinct", "percentile"];
        let call = ast::expression(arg)?;
        let function = ast::word(&call).filter(|_| call.kind() == K::CallExpr);
        let compared =
            function.and_then(|function| COMPARED.iter().copied().find(|known| *known == function.text));
        let Some(compared) = compared else {
            let help = format!("for example: change(count(payment)); it compares {}", COMPARED.join(", "));
            self.push(
                ast::span(&call),
                "`change` compares an aggregate with itself",
                "not one of them",
                help,
            );
            return None;
        };
        if let Some(filter) = ast::child(arg, K::WhereClause) {
            let help = "for example: change(count(payment where channel == ecom))";
            self.push(ast::span(&filter), "`where` belongs into the aggregate", "outside of it", help);
            return None;
        }
        let (of, _) = self.aggregate(&call, compared, by)?;
        let (against, delay_us) = by.clauses.against.clone()?;
        Some((Aggregate::Change { of: Box::new(of), against, delay_us }, Type::Decimal))
    }

    /// `distance(EVENT.FIELD)`, `speed(EVENT.FIELD)`.
    fn measured(
        &mut self,
        arg: &SyntaxNode,
        function: &'static str,
        by: &Counting<'_>,
    ) -> Option<(Aggregate, Type)> {
        let place = ast::expression(arg)?;
        let Some((event_name, field_name)) = ast::path(&place).filter(|_| place.kind() == K::PathExpr) else {
            let help = format!("for example: {function}(payment.location)");
            self.push(ast::span(&place), format!("`{function}` takes a field"), "not `event.field`", help);
            return None;
        };
        let event = self.event_named(&event_name)?;
        let field = self.field_named(event, &field_name)?;
        if *self.field_type(event, field)? != FieldType::Geo {
            let message = format!("`{function}` measures between places; this is not a place");
            let help = format!("declare it as one: `{}: geo?`", field_name.text);
            self.push(ast::span(&place), message, "not of type `geo`", help);
            return None;
        }
        let source = self.source(arg, event, event_name.span, by)?;
        Some(match function {
            "distance" => (Aggregate::Distance(source, field), Type::Distance),
            _ => (Aggregate::Speed(source, field), Type::Speed),
        })
    }

    /// A percentage as a whole number.
    fn percent(&mut self, arg: &SyntaxNode) -> Option<u8> {
        let expression = ast::expression(arg)?;
        let number = ast::token(&expression, K::Number).filter(|_| expression.kind() == K::Literal);
        let percent = number.and_then(|number| number.text().replace('_', "").parse().ok());
        let percent = percent.filter(|percent| *percent <= 100 && ast::child(arg, K::WhereClause).is_none());
        if percent.is_none() {
            let help = "for example: percentile(95, payment.amount in USD)";
            let message = "the first argument of `percentile` is a whole number from 0 to 100";
            self.push(ast::span(arg), message, "not a percentage", help);
        }
        percent
    }

    /// `EVENT [where CONDITION]`.
    fn counted(&mut self, arg: &SyntaxNode, by: &Counting<'_>) -> Option<Source> {
        let what = ast::expression(arg)?;
        if what.kind() != K::NameRef {
            let help =
                "events are counted: `count(payment where …)`; different values are counted by `distinct`";
            self.push(ast::span(&what), "the name of an event belongs here", "not an event", help);
            return None;
        }
        let name = ast::word(&what)?;
        let event = self.event_named(&name)?;
        self.source(arg, event, name.span, by)
    }

    fn source(&mut self, arg: &SyntaxNode, event: EventIx, at: Span, by: &Counting<'_>) -> Option<Source> {
        let Counting { by, via, .. } = *by;
        let role = match self.role(event, by, via) {
            Ok(role) => role,
            Err(_) if self.incomplete[event.index()] => return None,
            Err(lacking) => {
                self.not_counted_by(event, at, by, &lacking);
                return None;
            }
        };
        let filter = match ast::child(arg, K::WhereClause) {
            None => None,
            Some(clause) => {
                Some(self.condition(&ast::expression(&clause)?, Scope { event, place: Place::Aggregate })?)
            }
        };
        Some(Source { event, role, filter })
    }

    /// What computes with numbers or money.
    fn over_numbers(
        &mut self,
        arg: &SyntaxNode,
        function: &'static str,
        by: &Counting<'_>,
    ) -> Option<(Source, Expr, Type)> {
        let (source, value) = self.aggregated_value(arg, function, by)?;
        let at = ast::expression(arg)?;
        let (expr, ty) = match value {
            Aggregated::Key(_) => {
                let message = format!("`{function}` computes with numbers or money; this is a key");
                self.push(ast::span(&at), message, "a key", "different keys are counted by `distinct`");
                return None;
            }
            Aggregated::Value(expr, ty) => (expr, ty),
        };
        let ordered = ty == Type::Time && matches!(function, "min" | "max");
        if ordered || matches!(ty, Type::Int | Type::Decimal | Type::Money(_) | Type::Duration) {
            return Some((source, expr, ty));
        }
        let message = format!("`{function}` computes with numbers or money; this is {}", self.type_name(ty));
        let help = match ty {
            Type::Bool => "events for which it is true are counted by `count(… where …)`",
            Type::Time => "times have a `min` and a `max`; the time between two is a duration",
            _ => "different words are counted by `distinct`, events with one of them by `count(… where …)`",
        };
        self.push(ast::span(&at), message, "not a number", help);
        None
    }

    /// What takes values of most types.
    fn over_values(
        &mut self,
        arg: &SyntaxNode,
        function: &'static str,
        by: &Counting<'_>,
    ) -> Option<(Aggregate, Type)> {
        let (source, value) = self.aggregated_value(arg, function, by)?;
        Some(match (function, value) {
            ("distinct", Aggregated::Key(field)) => (Aggregate::DistinctKeys(source, field), Type::Int),
            ("distinct", Aggregated::Value(expr, _)) => (Aggregate::DistinctValues(source, expr), Type::Int),
            ("share", Aggregated::Key(field)) => (Aggregate::ShareKeys(source, field), Type::Decimal),
            ("share", Aggregated::Value(expr, _)) => (Aggregate::ShareValues(source, expr), Type::Decimal),
            ("seen", Aggregated::Key(field)) => (Aggregate::SeenKey(source, field), Type::Bool),
            ("seen", Aggregated::Value(expr, _)) => (Aggregate::SeenValue(source, expr), Type::Bool),
            ("first", Aggregated::Value(expr, ty)) => (Aggregate::First(source, expr), ty),
            (_, Aggregated::Value(expr, ty)) => (Aggregate::Last(source, expr), ty),
            (_, Aggregated::Key(_)) => {
                let message = format!("`{function}` tells a value; this is a key");
                let help = "whether a key was there before is told by `seen`, and how many by `distinct`";
                self.push(ast::span(&ast::expression(arg)?), message, "a key", help);
                return None;
            }
        })
    }

    /// The source and the value (or key) of an aggregate over values.
    fn aggregated_value(
        &mut self,
        arg: &SyntaxNode,
        function: &'static str,
        by: &Counting<'_>,
    ) -> Option<(Source, Aggregated)> {
        let value = ast::expression(arg)?;
        let (event, at) = self.aggregated(&value, function)?;
        let source = self.source(arg, event, at, by);
        let scope = Scope { event, place: Place::Aggregate };
        let operand = self.operand(&value, scope, None);
        let (source, operand) = (source?, operand?);
        if let Operand::Key(field, _) = operand {
            return Some((source, Aggregated::Key(field)));
        }
        let (expr, ty) = self.whole(&value, scope)?;
        if matches!(ty, Type::Distance | Type::Speed) {
            let message = format!("`{function}` takes what events carry; this is {}", self.type_name(ty));
            self.push(ast::span(&value), message, "the same for every event", "use a field of the event");
            return None;
        }
        Some((source, Aggregated::Value(expr, ty)))
    }

    /// The event that an aggregated value speaks of: that of its first qualified name, amendments last.
    fn aggregated(&mut self, value: &SyntaxNode, function: &str) -> Option<(EventIx, Span)> {
        let paths: Vec<Named> = value
            .descendants()
            .filter(|node| node.kind() == K::PathExpr)
            .filter_map(|node| ast::path(&node).map(|(event, _)| event))
            .collect();
        let original = paths.iter().find(|name| {
            self.events.get(&name.text).is_some_and(|event| self.event(*event).amends.is_none())
        });
        match original.or(paths.first()) {
            Some(name) => Some((self.event_named(name)?, name.span)),
            None => {
                let bare = value
                    .descendants()
                    .find(|node| node.kind() == K::NameRef)
                    .and_then(|node| ast::word(&node));
                let field = bare.as_ref().map_or("amount", |name| name.text.as_str());
                let help = match self.events.get(field) {
                    Some(event) => {
                        let own = self
                            .event(*event)
                            .fields
                            .iter()
                            .find(|field| !matches!(field.ty, FieldType::Entity(_)));
                        format!(
                            "name the field too: `{function}({field}.{})`",
                            own.map_or("field", |own| own.name.as_str())
                        )
                    }
                    None => {
                        let owner = self.fields.iter().position(|fields| fields.contains_key(field));
                        let owner = owner.map_or("event", |at| self.policy.events[at].name.as_str());
                        format!("name the event too: `{function}({owner}.{field})`")
                    }
                };
                self.push(
                    ast::span(value),
                    format!("`{function}` does not say of which event"),
                    "no `event.field` in it",
                    help,
                );
                None
            }
        }
    }

    /// Whether the event has a `decide`; reports when it has none.
    pub(super) fn judged(&mut self, event: EventIx, name: &Named, what: &str) -> bool {
        if self.decided.contains(&event) {
            return true;
        }
        if self.lost {
            return false;
        }
        if let Some(target) = self.event(event).amends {
            let target = self.event_name(target);
            let message = format!("`{}` is an amendment and is not judged", name.text);
            self.push(
                name.span,
                message,
                "never decided",
                format!("write the {what} on `{target}`, and count `{}` with a feature", name.text),
            );
        } else {
            let message = format!("`{}` is not judged: it has no `decide`", name.text);
            self.push(
                name.span,
                message,
                "never decided",
                format!("add `decide {} {{ … }}`, or write the {what} on a judged event", name.text),
            );
        }
        false
    }
}

/// A cycle through the definitions that wait for each other, reached from one of them: its members, from the first in
/// source order.
fn cycle_from(definitions: &[Definition], waiting: &[usize], from: usize) -> Option<Vec<usize>> {
    let mut path = vec![from];
    let mut place: HashMap<usize, usize> = HashMap::from([(from, 0)]);
    loop {
        let at = *path.last()?;
        let next = *definitions[at].uses.iter().find(|used| waiting[**used] > 0)?;
        if let Some(start) = place.get(&next) {
            let mut cycle = path.split_off(*start);
            let first = cycle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(place, _)| place);
            cycle.rotate_left(first);
            return Some(cycle);
        }
        place.insert(next, path.len());
        path.push(next);
    }
}
