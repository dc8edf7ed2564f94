//! What features are by: `by ENTITY`, `by (ENTITY, ENTITY)` and `via EVENT.FIELD`, and which fields of each event
//! these are.

use super::Checker;
use crate::policy::ast::{self, Named};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{By, EntityIx, EventIx, FieldIx, FieldType, Span};
use std::collections::HashMap;

/// The fields that `via` chose, by event: the first for the only key or the first of a pair, the second for the second.
pub(super) type Via = HashMap<EventIx, [Option<FieldIx>; 2]>;

/// Why an event has no key for a window: it has so many fields of this kind, and it is not said which.
pub(super) struct Lacking {
    pub(super) kind: EntityIx,
    pub(super) count: usize,
}

/// Whether it is a pair of one kind twice. Which of its fields comes first, only `via` can say.
fn is_twice(by: By<EntityIx>) -> bool {
    by.second() == Some(by.first())
}

impl Checker<'_> {
    /// What is written after `by`: a kind, or a pair of kinds in parentheses.
    pub(super) fn by(&mut self, clause: &SyntaxNode) -> Option<By<EntityIx>> {
        let names = ast::name_refs(clause);
        let in_parentheses = ast::token(clause, K::LParen).is_some();
        if in_parentheses && names.len() != 2 {
            let first = names.first().map_or("card", |name| name.text.as_str());
            let other = self.policy.entities.iter().map(String::as_str).find(|kind| *kind != first);
            let second = names.get(1).map(|name| name.text.as_str()).or(other).unwrap_or(first);
            let message = format!("a pair has two kinds of keys, not {}", names.len());
            let help = format!("write `by {first}`, or, for a pair, `by ({first}, {second})`");
            self.push(ast::span(clause), message, "not a pair", help);
            return None;
        }
        let kinds: Vec<Option<EntityIx>> = names.iter().map(|name| self.entity_named(name)).collect();
        match kinds[..] {
            [only] => Some(By::One(only?)),
            [first, second] => {
                let (first, second) = (first?, second?);
                Some(By::Pair(first.min(second), first.max(second)))
            }
            _ => None,
        }
    }

    /// As it is written after `by`.
    fn by_text(&self, by: By<EntityIx>) -> String {
        let kind = |entity: EntityIx| self.policy.entities[entity.index()].as_str();
        match by {
            By::One(only) => kind(only).to_owned(),
            By::Pair(first, second) => format!("({}, {})", kind(first), kind(second)),
        }
    }

    /// How it is said which of several fields of an event are meant: what to say, and its text.
    fn via_help(&self, by: By<EntityIx>, owner: &str, roles: &[String]) -> (&'static str, String) {
        let text = self.by_text(by);
        match roles {
            [first, second, ..] if is_twice(by) => {
                ("which two", format!("`by {text} via {owner}.{first}, {owner}.{second}`"))
            }
            _ => {
                ("which one", format!("`by {text} via {owner}.{}`", roles.first().map_or("", String::as_str)))
            }
        }
    }

    pub(super) fn via(&mut self, node: &SyntaxNode, by: By<EntityIx>) -> Option<Via> {
        let mut via = Via::new();
        let Some(clause) = ast::child(node, K::ViaClause) else { return Some(via) };
        let mut places = Vec::new();
        for path in ast::children(&clause, K::PathExpr) {
            let (event_name, field_name) = ast::path(&path)?;
            let event = self.event_named(&event_name)?;
            let field = self.field_named(event, &field_name)?;
            let kind = match self.field_type(event, field)? {
                FieldType::Entity(kind) if by.each().any(|wanted| wanted == *kind) => *kind,
                _ => {
                    self.not_of_the_kinds(&path, event, &field_name, by);
                    return None;
                }
            };
            let chosen = via.entry(event).or_default();
            let places_of_kind =
                || by.each().zip(0..).filter(|(wanted, _)| *wanted == kind).map(|(_, at)| at);
            let again = is_twice(by) && chosen[0] == Some(field);
            let free = places_of_kind().find(|at: &usize| chosen[*at].is_none());
            if let Some(at) = free.filter(|_| !again) {
                chosen[at] = Some(field);
                places.push((event, path));
                continue;
            }
            let event = &event_name.text;
            let kind = &self.policy.entities[kind.index()];
            let (message, label, help) = match by {
                By::One(_) => (
                    format!("`via` names two fields of `{event}`"),
                    "a second one",
                    "declare two features, one for each role".to_owned(),
                ),
                By::Pair(..) if again => (
                    format!("`via` names `{event}.{}` twice", field_name.text),
                    "again here",
                    format!("a pair of two keys of kind `{kind}` is of two different fields"),
                ),
                By::Pair(..) if is_twice(by) => (
                    format!("`via` names three fields of `{event}`"),
                    "a third one",
                    "the first two are the pair, in that order".to_owned(),
                ),
                By::Pair(..) => (
                    format!("`via` names two fields of `{event}` of kind `{kind}`"),
                    "a second one",
                    "declare two features, one for each role".to_owned(),
                ),
            };
            self.push(ast::span(&path), message, label, help);
            return None;
        }
        for (event, path) in places {
            if is_twice(by) && via[&event][1].is_none() {
                let kind = &self.policy.entities[by.first().index()];
                let message =
                    format!("`via` names one field of `{}`, and the pair needs two", self.event_name(event));
                let help = format!("name the second field of kind `{kind}` too");
                self.push(ast::span(&path), message, "half of a pair", help);
                return None;
            }
        }
        Some(via)
    }

    /// Reports a field in `via` that is no key of the kinds after `by`.
    fn not_of_the_kinds(&mut self, path: &SyntaxNode, event: EventIx, field: &Named, by: By<EntityIx>) {
        let mut kinds: Vec<String> =
            by.each().map(|kind| format!("`{}`", self.policy.entities[kind.index()])).collect();
        kinds.dedup();
        let kinds = kinds.join(" or ");
        let event_name = self.event_name(event);
        let message = format!("`{event_name}.{}` is not a key of kind {kinds}", field.text);
        let help = match by.each().find_map(|kind| self.roles(event, kind).into_iter().next()) {
            Some(role) => format!("for example: via {event_name}.{role}"),
            None => format!("`{event_name}` has no field of kind {kinds}"),
        };
        self.push(ast::span(path), message, "of another kind", help);
    }

    /// The names of the fields by which events of this kind can be looked up: for an amendment those of what it amends,
    /// if there are any.
    pub(super) fn roles(&self, event: EventIx, entity: EntityIx) -> Vec<String> {
        let fields = self.role_fields(event, entity);
        fields.into_iter().map(|field| self.event(event).fields[field.index()].name.clone()).collect()
    }

    fn role_fields(&self, event: EventIx, entity: EntityIx) -> Vec<FieldIx> {
        let fields = &self.event(event).fields;
        let of_kind = |inherited: bool| -> Vec<FieldIx> {
            (0..fields.len() as u16)
                .map(FieldIx)
                .filter(|ix| fields[ix.index()].inherited.is_some() == inherited)
                .filter(|ix| matches!(self.field_type(event, *ix), Some(FieldType::Entity(kind)) if *kind == entity))
                .collect()
        };
        let inherited = of_kind(true);
        if inherited.is_empty() { of_kind(false) } else { inherited }
    }

    /// The field (or fields) by which this event is looked up, from `via` or because there is only one of the kind.
    pub(super) fn role(&self, event: EventIx, by: By<EntityIx>, via: &Via) -> Result<By<FieldIx>, Lacking> {
        let part = |kind: EntityIx, at: usize| {
            if let Some(field) = self.chosen(event, via, at) {
                return Ok(field);
            }
            match self.role_fields(event, kind)[..] {
                [only] if !is_twice(by) => Ok(only),
                ref several => Err(Lacking { kind, count: several.len() }),
            }
        };
        Ok(match by {
            By::One(kind) => By::One(part(kind, 0)?),
            By::Pair(first, second) => By::Pair(part(first, 0)?, part(second, 1)?),
        })
    }

    /// What `via` chose for the only key (0), or the first (0) or second (1) of a pair: of the event, or of that which
    /// it amends.
    fn chosen(&self, event: EventIx, via: &Via, at: usize) -> Option<FieldIx> {
        if let Some(field) = via.get(&event).and_then(|chosen| chosen[at]) {
            return Some(field);
        }
        let original = via.get(&self.event(event).amends?)?[at]?;
        let copy = self.event(event).fields.iter().position(|field| field.inherited == Some(original));
        copy.map(|copy| FieldIx(copy as u16))
    }

    /// The judged events that can use a window, each with its key.
    pub(super) fn judged_by(
        &mut self,
        name: &Named,
        by: By<EntityIx>,
        via: &Via,
    ) -> Option<Vec<(EventIx, By<FieldIx>)>> {
        let events: Vec<EventIx> = (0..self.policy.events.len() as u16)
            .map(EventIx)
            .filter(|event| self.decided.contains(event))
            .collect();
        let judged: Vec<(EventIx, By<FieldIx>)> =
            events.iter().filter_map(|event| Some((*event, self.role(*event, by, via).ok()?))).collect();
        let lost = self.lost || events.iter().any(|event| self.incomplete[event.index()]);
        if !judged.is_empty() || events.is_empty() || lost {
            return Some(judged);
        }
        let ambiguous = events
            .iter()
            .filter_map(|event| Some((*event, self.role(*event, by, via).err()?)))
            .find(|(_, lacking)| lacking.count > 1);
        let message = format!("the feature `{}` can be looked up for no judged event", name.text);
        let (label, help) = match (ambiguous, by) {
            (Some((event, Lacking { kind, count })), _) => {
                let roles = self.roles(event, kind);
                let event = self.event_name(event);
                let kind = &self.policy.entities[kind.index()];
                let (which, text) = self.via_help(by, &event, &roles);
                (format!("`{event}` has {count} fields of kind `{kind}`"), format!("say {which}: {text}"))
            }
            (None, By::One(kind)) => {
                let kind = &self.policy.entities[kind.index()];
                (
                    format!("no event with a `decide` has a field of kind `{kind}`"),
                    format!("add a field of kind `{kind}` to the judged event, or use another kind"),
                )
            }
            (None, By::Pair(..)) => (
                "no event with a `decide` has both keys of the pair".to_owned(),
                "add the key that is missing to the judged event, or use another pair".to_owned(),
            ),
        };
        self.push(name.span, message, label, help);
        None
    }

    /// Reports an event that has no key, or more than one, to be counted by.
    pub(super) fn not_counted_by(&mut self, event: EventIx, at: Span, by: By<EntityIx>, lacking: &Lacking) {
        let kind = self.policy.entities[lacking.kind.index()].clone();
        let event_name = self.event_name(event);
        let roles = self.roles(event, lacking.kind);
        match lacking.count {
            0 => {
                let message = format!("`{event_name}` has no key of kind `{kind}`");
                let help =
                    format!("count by a kind that `{event_name}` has, or add a field of kind `{kind}` to it");
                self.push(at, message, "cannot be counted by it", help);
            }
            1 => {
                let message = format!("`{event_name}` has one key of kind `{kind}`, and the pair needs two");
                let help = format!("count by `{kind}` alone, or add a second field of kind `{kind}` to it");
                self.push(at, message, "cannot be counted by it", help);
            }
            count => {
                let message =
                    format!("`{event_name}` has {count} keys of kind `{kind}`: {}", roles.join(", "));
                // Named on the amended event, it serves both that event and the amendment.
                let inherits =
                    self.event(event).fields.iter().any(|f| f.inherited.is_some() && f.name == roles[0]);
                let owner = self.event(event).amends.filter(|_| inherits).unwrap_or(event);
                let (which, text) = self.via_help(by, &self.event_name(owner), &roles);
                let label = if is_twice(by) { "by which two?" } else { "by which one?" };
                self.push(at, message, label, format!("say {which}: {text}"));
            }
        }
    }

    /// Reports a feature whose key (or one key of its pair) the event lacks, or has more than once.
    pub(super) fn not_looked_up(&mut self, name: &Named, event: EventIx, by: By<EntityIx>) {
        let Some(via) = self.vias.get(&name.text) else { return };
        let Err(Lacking { kind, count }) = self.role(event, by, via) else { return };
        if count == 0 && self.incomplete[event.index()] {
            return;
        }
        let roles = self.roles(event, kind);
        let (event, kind) = (self.event_name(event), self.policy.entities[kind.index()].clone());
        let message = format!("the feature `{}` cannot be looked up for `{event}`", name.text);
        let (label, help) = match count {
            0 => (
                format!("`{event}` has no field of kind `{kind}`"),
                format!("add a field of kind `{kind}` to `{event}`, or use a feature by another kind"),
            ),
            1 => (
                format!("`{event}` has one field of kind `{kind}`, and the pair needs two"),
                format!("add a second field of kind `{kind}` to `{event}`, or use a feature by another kind"),
            ),
            _ => {
                let (which, text) = self.via_help(by, &event, &roles);
                (
                    format!("`{event}` has {count} fields of kind `{kind}`"),
                    format!("say {which} in the feature: {text}"),
                )
            }
        };
        self.push(name.span, message, label, help);
    }
}
