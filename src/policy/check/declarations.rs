//! The header, rates, entity kinds, events, reasons and queues.

use super::{Checker, Namespace, literals};
use crate::engine::program::TEXT_FIELD_BYTES_MAX;
use crate::engine::units::DAY;
use crate::engine::wire::{AMEND_HEADER_WORDS, EVENT_WORDS_MAX, FIELDS_MAX, HEADER_WORDS};
use crate::policy::ast::{self, Named};
use crate::policy::suggest::nearest;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{
    EntityIx, Event, EventIx, Field, FieldIx, FieldType, Queue, RATE_EVENT, Rates, Reason, Span,
    WINDOW_MAX_DAYS,
};
use std::collections::{HashMap, HashSet};

/// The most words one enum may have.
const ENUM_WORDS_MAX: usize = 256;
/// The most event kinds, amendments included.
const EVENTS_MAX: usize = 256;
/// The most entity kinds.
const ENTITIES_MAX: usize = 64;

/// The longest name of rates, in bytes.
const RATES_NAME_BYTES_MAX: usize = 64;

const TYPES: &[&str] = &[
    "bool", "int", "decimal", "money", "enum", "geo", "country", "currency", "mcc", "bin", "time",
    "duration", "text", "ip",
];

impl Checker<'_> {
    /// `policy NAME revision N`: once, and first; in files that are used not at all.
    pub(super) fn header(&mut self, root: &SyntaxNode) {
        const HELP: &str = "a policy starts with, for example, `policy card_payments revision 1`";
        let first_end = self.parse.first_end;
        let is_first = |node: &SyntaxNode| u32::from(node.text_range().start()) < first_end;
        for node in ast::children(root, K::PolicyDecl).filter(|node| !is_first(node)) {
            let help = "remove this line: the header stands in the file that uses the others";
            self.push(ast::head_span(&node), "a file that is used has no header", "a second header", help);
        }
        let mut headers = ast::children(root, K::PolicyDecl).filter(is_first);
        let Some(node) = headers.next() else {
            self.push(
                Span::default(),
                "this policy has no header",
                "expected `policy NAME revision N`",
                HELP,
            );
            return;
        };
        if let Some(second) = headers.next() {
            self.push(
                ast::head_span(&second),
                "a policy has one header",
                "a second one",
                "remove one of the two",
            );
        }
        if node.prev_sibling().is_some() {
            self.push(
                ast::head_span(&node),
                "the header of a policy comes first",
                "move it to the top",
                HELP,
            );
        }
        if self.is_broken(&node) {
            return;
        }
        if let (Some(name), Some(revision)) = (ast::name(&node), ast::token(&node, K::Number)) {
            self.policy.name = name.text;
            match revision.text().replace('_', "").parse::<u32>() {
                Ok(revision) if revision > 0 => self.policy.revision = revision,
                _ => self.push(
                    ast::token_span(&revision),
                    "a revision is a whole number from 1 to 4294967295",
                    "not a revision",
                    "count revisions up from 1",
                ),
            }
        }
    }

    /// `rates "NAME" max_age D`: at most once. Before events and features, whose names it takes one from.
    pub(super) fn rates(&mut self, root: &SyntaxNode) {
        let mut declared = ast::children(root, K::RatesDecl);
        let Some(node) = declared.next() else { return };
        if let Some(second) = declared.next() {
            let help = "all money is converted by the same rates; remove one of the two";
            self.push(ast::head_span(&second), "a policy has one `rates`", "a second one", help);
        }
        self.taken.insert((Namespace::Value, RATE_EVENT.to_owned()), "the event that brings rates");
        if self.is_broken(&node) {
            return;
        }
        let Some(token) = ast::token(&node, K::Text) else { return };
        let name = literals::text(token.text());
        if name.is_empty() || name.len() > RATES_NAME_BYTES_MAX {
            let help = "for example: rates \"daily\" max_age 3d";
            let message = format!("the name of rates has 1 to {RATES_NAME_BYTES_MAX} bytes");
            self.push(ast::token_span(&token), message, "this name", help);
        }
        let Some(max_age_us) = self.duration(&node) else { return };
        if !(1..=WINDOW_MAX_DAYS * DAY).contains(&max_age_us) {
            let message = format!("rates convert for more than no time and at most {WINDOW_MAX_DAYS} days");
            let help = "say how old a rate may be, with room for a weekend: `max_age 3d`";
            if let Some(token) = ast::token(&node, K::Duration) {
                self.push(ast::token_span(&token), message, "not possible", help);
            }
            return;
        }
        self.policy.rates = Some(Rates { name, max_age_us });
    }

    pub(super) fn entity(&mut self, node: &SyntaxNode) {
        for name in ast::children(node, K::Name).filter_map(|name| ast::word(&name)) {
            if TYPES.contains(&name.text.as_str()) {
                self.push(
                    name.span,
                    format!("`{}` is already a type", name.text),
                    "the name of a built-in type",
                    "choose another name for the entity kind",
                );
                continue;
            }
            if !self.declare(Namespace::Entity, &name, "an entity kind") {
                continue;
            }
            if self.policy.entities.len() >= ENTITIES_MAX {
                self.push(
                    name.span,
                    format!("there are more than {ENTITIES_MAX} entity kinds"),
                    "one too many",
                    "use one kind for keys that are counted alike",
                );
                return;
            }
            self.entities.insert(name.text.clone(), EntityIx(self.policy.entities.len() as u16));
            self.policy.entities.push(name.text);
        }
    }

    /// Events first by name, so that an amendment may come before what it amends; then their fields; then the
    /// keys that amendments inherit.
    pub(super) fn each_event(&mut self, root: &SyntaxNode) {
        let mut declared = Vec::new();
        for (count, node) in ast::children(root, K::EventDecl).enumerate() {
            if count >= EVENTS_MAX {
                self.too_many(&node, EVENTS_MAX);
                break;
            }
            let Some(name) = ast::name(&node) else { continue };
            if !self.declare(Namespace::Value, &name, "an event") {
                continue;
            }
            self.events.insert(name.text.clone(), EventIx(self.policy.events.len() as u16));
            self.policy.events.push(Event { name: name.text.clone(), amends: None, fields: Vec::new() });
            self.incomplete.push(self.is_broken(&node));
            self.field_types.push(Vec::new());
            self.fields.push(HashMap::new());
            declared.push((node, name));
        }
        for (at, (node, _)) in declared.iter().enumerate() {
            self.own_fields(EventIx(at as u16), node);
        }
        for (at, (node, name)) in declared.iter().enumerate() {
            self.amendment(EventIx(at as u16), node, name);
        }
        for (at, (_, name)) in declared.iter().enumerate() {
            self.inherit(EventIx(at as u16), name);
            self.check_size(EventIx(at as u16), name);
        }
    }

    fn own_fields(&mut self, event: EventIx, node: &SyntaxNode) {
        for field in ast::children(node, K::FieldDecl) {
            let Some(name) = ast::name(&field) else {
                self.incomplete[event.index()] = true;
                continue;
            };
            if matches!(name.text.as_str(), "score" | "rule_scores" | "missing") {
                self.push(
                    name.span,
                    format!("`{}` cannot be the name of a field", name.text),
                    "a word of the language",
                    "choose another name",
                );
                continue;
            }
            if self.fields[event.index()].contains_key(&name.text) {
                self.push(
                    name.span,
                    format!("field `{}` is declared twice", name.text),
                    "declared again here",
                    "give one of the two another name",
                );
                continue;
            }
            if name.text == self.event(event).name {
                self.push(
                    name.span,
                    format!("field `{}` shadows its event", name.text),
                    "has the name of the event",
                    "give the field another name",
                );
            }
            if self.policy.events[event.index()].fields.len() >= FIELDS_MAX {
                self.push(
                    name.span,
                    format!("an event has at most {FIELDS_MAX} fields"),
                    "one too many",
                    "leave out fields that no feature or rule reads",
                );
                self.incomplete[event.index()] = true;
                return;
            }
            let ty = ast::child(&field, K::TypeRef);
            let optional = ty.as_ref().is_some_and(|ty| ast::token(ty, K::Question).is_some());
            let ty = ty.and_then(|ty| self.declared_type(&ty, event));
            self.add_field(event, name.text, ty, optional, None);
        }
    }

    fn add_field(
        &mut self,
        event: EventIx,
        name: String,
        ty: Option<FieldType>,
        optional: bool,
        inherited: Option<FieldIx>,
    ) {
        let fields = &mut self.policy.events[event.index()].fields;
        self.fields[event.index()].insert(name.clone(), FieldIx(fields.len() as u16));
        fields.push(Field { name, ty: ty.clone().unwrap_or(FieldType::Bool), optional, inherited });
        self.field_types[event.index()].push(ty);
    }

    fn declared_type(&mut self, node: &SyntaxNode, event: EventIx) -> Option<FieldType> {
        if ast::has_word(node, "enum") {
            return self.declared_enum(node, event);
        }
        let name = ast::name_ref(node)?;
        match name.text.as_str() {
            "bool" => return Some(FieldType::Bool),
            "int" => return Some(FieldType::Int),
            "decimal" => return Some(FieldType::Decimal),
            "money" => return Some(FieldType::Money),
            "geo" => return Some(FieldType::Geo),
            "country" => return Some(FieldType::Country),
            "currency" => return Some(FieldType::Currency),
            "mcc" => return Some(FieldType::Mcc),
            "bin" => return Some(FieldType::Bin),
            "time" => return Some(FieldType::Time),
            "duration" => return Some(FieldType::Duration),
            "ip" => return Some(FieldType::Ip),
            "text" => return self.declared_text(node),
            _ => {}
        }
        if let Some(number) = ast::token(node, K::Number) {
            let message = format!("`{}` has no length", name.text);
            self.push(ast::token_span(&number), message, "not expected", "only `text(64)` has one");
            return None;
        }
        if let Some(entity) = self.entities.get(&name.text) {
            return Some(FieldType::Entity(*entity));
        }
        let known = format!(
            "the types are {}, and the entity kinds: {}",
            TYPES.join(", "),
            if self.policy.entities.is_empty() {
                "none is declared".to_owned()
            } else {
                self.policy.entities.join(", ")
            }
        );
        let near = match name.text.as_str() {
            "float" | "double" | "number" => Some("decimal".to_owned()),
            "integer" | "long" => Some("int".to_owned()),
            "boolean" => Some("bool".to_owned()),
            "date" | "datetime" | "timestamp" | "instant" => Some("time".to_owned()),
            "string" | "str" | "varchar" => Some("text(64)".to_owned()),
            "address" | "ipv4" | "ipv6" | "inet" => Some("ip".to_owned()),
            "location" | "place" | "coordinates" | "latlon" => Some("geo".to_owned()),
            word => {
                let names: Vec<&str> =
                    TYPES.iter().copied().chain(self.policy.entities.iter().map(String::as_str)).collect();
                nearest(word, names).map(str::to_owned)
            }
        };
        match near {
            Some(near) => self.push(
                name.span,
                format!("there is no type `{}`", name.text),
                "not known",
                format!("did you mean `{near}`?"),
            ),
            None => self.unknown(&name, "type", &[], &known),
        }
        None
    }

    /// `text(64)`.
    fn declared_text(&mut self, node: &SyntaxNode) -> Option<FieldType> {
        const HELP: &str = "say how many bytes it may have, as in `text(64)`";
        let bytes = ast::token(node, K::Number).map(|token| token.text().replace('_', ""));
        match bytes.as_deref().map(str::parse::<usize>) {
            Some(Ok(bytes)) if (1..=TEXT_FIELD_BYTES_MAX).contains(&bytes) => {
                Some(FieldType::Text(bytes as u16))
            }
            Some(_) => {
                let message = format!("a text has 1 to {TEXT_FIELD_BYTES_MAX} bytes");
                self.push(ast::span(node), message, "not possible", HELP);
                None
            }
            None => {
                self.push(ast::span(node), "a text says how long it may be", "how many bytes?", HELP);
                None
            }
        }
    }

    fn declared_enum(&mut self, node: &SyntaxNode, event: EventIx) -> Option<FieldType> {
        let mut seen = HashSet::new();
        let mut words = Vec::new();
        for word in ast::children(node, K::Name).filter_map(|name| ast::word(&name)) {
            if !seen.insert(word.text.clone()) {
                self.push(
                    word.span,
                    format!("the word `{}` is there twice", word.text),
                    "again here",
                    "remove one of the two",
                );
                continue;
            }
            words.push(word.text);
        }
        let wrong = match words.len() {
            // What is wrong in the braces was reported.
            0 if self.incomplete[event.index()] => return None,
            0 => "an enum needs at least one word".to_owned(),
            n if n > ENUM_WORDS_MAX => format!("an enum has at most {ENUM_WORDS_MAX} words"),
            _ => return Some(FieldType::Enum(words)),
        };
        self.push(ast::span(node), wrong, "this enum", "for example: enum { pos, ecom, atm }");
        None
    }

    /// `amends OTHER`.
    fn amendment(&mut self, event: EventIx, node: &SyntaxNode, name: &Named) {
        let Some(amended) = ast::clause_name(node, K::AmendsClause) else { return };
        let Some(target) = self.event_named(&amended) else {
            self.incomplete[event.index()] = true;
            return;
        };
        if target == event {
            self.push(
                amended.span,
                format!("`{}` cannot amend itself", name.text),
                "the same event",
                "name the event whose result, reversal or label this is",
            );
            return;
        }
        self.policy.events[event.index()].amends = Some(target);
    }

    /// An amendment carries the keys of the event it amends.
    fn inherit(&mut self, event: EventIx, name: &Named) {
        let Some(target) = self.event(event).amends else { return };
        if self.event(target).amends.is_some() {
            let message =
                format!("`{}` amends `{}`, which is an amendment itself", name.text, self.event(target).name);
            self.push(name.span, message, "amends an amendment", "amend the original event");
            return;
        }
        self.incomplete[event.index()] |= self.incomplete[target.index()];
        let target_fields = self.event(target).fields.clone();
        for (at, field) in target_fields.iter().enumerate() {
            if !matches!(self.field_type(target, FieldIx(at as u16)), Some(FieldType::Entity(_))) {
                continue;
            }
            if self.fields[event.index()].contains_key(&field.name) {
                let message = format!(
                    "field `{}` of `{}` shadows the key it has from `{}`",
                    field.name,
                    name.text,
                    self.event(target).name
                );
                let help = "an amendment has the keys of the event it amends already; remove the field or give it \
                     another name";
                self.push(name.span, message, "in this amendment", help);
                continue;
            }
            let ty = Some(field.ty.clone());
            self.add_field(event, field.name.clone(), ty, field.optional, Some(FieldIx(at as u16)));
        }
    }

    /// What the wire has room for, and names that an amendment or its event would shadow.
    fn check_size(&mut self, event: EventIx, name: &Named) {
        let fields = &self.event(event).fields;
        let header = if self.event(event).amends.is_some() { AMEND_HEADER_WORDS } else { HEADER_WORDS };
        let words = header + fields.iter().map(|field| field.ty.words()).sum::<usize>();
        let (count, inherited) =
            (fields.len(), fields.iter().filter(|field| field.inherited.is_some()).count());
        if count > FIELDS_MAX {
            let message =
                format!("`{}` has {count} fields, {inherited} of them keys of what it amends", name.text);
            self.push(
                name.span,
                message,
                format!("at most {FIELDS_MAX} fit"),
                "leave out fields that nothing reads",
            );
        } else if words > EVENT_WORDS_MAX {
            let message =
                format!("`{}` takes {words} words of 8 bytes, of which {header} are its header", name.text);
            let help =
                "a key or an amount takes two words, anything else one; leave out fields that nothing reads";
            self.push(name.span, message, format!("at most {EVENT_WORDS_MAX} words fit"), help);
        }
        if let Some(target) = self.event(event).amends
            && self.fields[target.index()].contains_key(&name.text)
        {
            let message = format!(
                "the amendment `{}` has the name of a field of `{}`",
                name.text,
                self.event(target).name
            );
            self.push(name.span, message, "shadows that field", "give one of the two another name");
        }
    }

    pub(super) fn reason(&mut self, node: &SyntaxNode) {
        const HELP: &str = "for example: reason VELOCITY 17 { analyst \"too many\", withhold, iso \"59\" }";
        let (Some(name), Some(number)) = (ast::name(node), ast::token(node, K::Number)) else { return };
        if !self.declare(Namespace::Reason, &name, "a reason") {
            return;
        }
        let id = number.text().replace('_', "").parse::<u16>().ok().filter(|id| *id > 0);
        let Some(id) = id else {
            self.push(
                ast::token_span(&number),
                "the number of a reason is a whole number from 1 to 65535",
                "outside",
                "choose a free number; it is what the switch receives",
            );
            self.poisoned.insert(name.text);
            return;
        };
        if let Some(other) = self.policy.reasons.iter().find(|reason| reason.id == id) {
            let message = format!("the number {id} already belongs to the reason `{}`", other.name);
            self.push(
                ast::token_span(&number),
                message,
                "used again here",
                "give each reason a number of its own",
            );
            self.poisoned.insert(name.text);
            return;
        }
        let (mut analyst, mut customer, mut iso, mut withhold) = (None, None, None, false);
        for item in ast::children(node, K::ReasonItem) {
            let Some(word) = ast::word(&item) else { continue };
            let value = ast::token(&item, K::Text).map(|token| literals::text(token.text()));
            let twice = match word.text.as_str() {
                "analyst" => std::mem::replace(&mut analyst, value).is_some(),
                "customer" => std::mem::replace(&mut customer, value).is_some(),
                "iso" => {
                    if value.as_ref().is_some_and(|code| {
                        code.len() != 2 || !code.bytes().all(|b| b.is_ascii_alphanumeric())
                    }) {
                        self.push(
                            ast::span(&item),
                            "an ISO 8583 response code is two letters or digits",
                            "not a response code",
                            "for example: iso \"05\" (do not honour) or iso \"59\" (suspected fraud)",
                        );
                    }
                    std::mem::replace(&mut iso, value).is_some()
                }
                _ => std::mem::replace(&mut withhold, true),
            };
            if twice {
                self.push(
                    ast::span(&item),
                    format!("`{}` is there twice", word.text),
                    "again here",
                    "remove one of the two",
                );
            }
        }
        let Some(analyst) = analyst else {
            let message = format!("the reason `{}` has nothing for analysts", name.text);
            self.push(name.span, message, "`analyst \"…\"` is missing", HELP);
            self.poisoned.insert(name.text);
            return;
        };
        match (&customer, withhold) {
            (Some(_), true) => {
                let message = format!("the reason `{}` is both told to the customer and withheld", name.text);
                self.push(name.span, message, "`customer` and `withhold`", "keep one of the two");
            }
            (None, false) => {
                let message =
                    format!("the reason `{}` does not say what the customer may be told", name.text);
                let help = "write `customer \"…\"`, or `withhold` when nothing may be told";
                self.push(name.span, message, "`customer` or `withhold` is missing", help);
            }
            _ => {}
        }
        self.reasons.insert(name.text.clone(), self.policy.reasons.len() as u16);
        self.policy.reasons.push(Reason { name: name.text, id, analyst, customer, iso });
    }

    pub(super) fn queue(&mut self, node: &SyntaxNode) {
        let (Some(name), Some(number)) = (ast::name(node), ast::token(node, K::Number)) else { return };
        if !self.declare(Namespace::Queue, &name, "a queue") {
            return;
        }
        let id = number.text().replace('_', "").parse::<u16>().ok().filter(|id| *id > 0);
        let Some(id) = id else {
            let message = "the number of a queue is a whole number from 1 to 65535";
            self.push(ast::token_span(&number), message, "outside", "choose a free number");
            self.poisoned.insert(name.text);
            return;
        };
        if let Some(other) = self.policy.queues.iter().find(|queue| queue.id == id) {
            let message = format!("the number {id} already belongs to the queue `{}`", other.name);
            let help = "give each queue a number of its own";
            self.push(ast::token_span(&number), message, "used again here", help);
            self.poisoned.insert(name.text);
            return;
        }
        self.queues.insert(name.text.clone(), self.policy.queues.len() as u16);
        self.policy.queues.push(Queue { name: name.text, id });
    }
}
