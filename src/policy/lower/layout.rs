//! Where each field of an event is: the words after the header, in declaration order, and a presence bit each.

use super::{EMPTY, bound};
use crate::engine::program::{EventPlan, FieldKind, FieldPlan, MatchPlan, NONE};
use crate::engine::wire::{
    AMEND_HEADER_WORDS, EVENT_WORDS_MAX, FIELDS_MAX, HEADER_WORDS, RATE_FROM_WORD, RATE_PARTS_WORD,
    RATE_TO_WORD, RATE_WORDS,
};
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{FieldIx, FieldType, Policy, RATE_EVENT};
use std::fmt::Write as _;

/// Where one event's fields are.
pub(super) struct EventLayout {
    pub(super) words: u16,
    pub(super) known: u64,
    pub(super) required: u64,
    pub(super) fields: Vec<FieldPlan>,
}

/// Where one field is.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) word: u16,
    pub(super) bit: u8,
    pub(super) kind: FieldKind,
}

impl EventLayout {
    pub(super) fn slot(&self, field: FieldIx) -> Slot {
        let plan = &self.fields[field.index()];
        Slot { word: plan.word, bit: plan.bit, kind: plan.kind }
    }

    /// Entity kind and place of a key field.
    pub(super) fn key(&self, field: FieldIx) -> Option<(u16, Slot)> {
        let plan = self.fields.get(field.index())?;
        (plan.kind == FieldKind::Entity).then(|| (plan.arg, self.slot(field)))
    }
}

/// The layouts of all events.
pub(super) fn lay_out(policy: &Policy) -> Result<Vec<EventLayout>, Diagnostic> {
    let mut layouts = Vec::with_capacity(policy.events.len());
    for event in &policy.events {
        if event.fields.len() > FIELDS_MAX {
            return Err(bound(
                format!("event {} has {} fields, more than {FIELDS_MAX}", event.name, event.fields.len()),
                "leave out fields that no rule or feature uses; an amendment also carries the keys it inherits",
            ));
        }
        let mut word = if event.amends.is_some() { AMEND_HEADER_WORDS } else { HEADER_WORDS };
        let mut layout = EventLayout { words: 0, known: 0, required: 0, fields: Vec::new() };
        for (bit, field) in event.fields.iter().enumerate() {
            let (kind, arg, labels) = match &field.ty {
                FieldType::Bool => (FieldKind::Bool, 0, &[][..]),
                FieldType::Int => (FieldKind::Int, 0, &[][..]),
                FieldType::Decimal => (FieldKind::Decimal, 0, &[][..]),
                FieldType::Money => (FieldKind::Money, 0, &[][..]),
                FieldType::Enum(labels) => (FieldKind::Enum, labels.len() as u16, &labels[..]),
                FieldType::Entity(entity) => (FieldKind::Entity, entity.0, &[][..]),
                FieldType::Geo => (FieldKind::Geo, 0, &[][..]),
                FieldType::Country => (FieldKind::Country, 0, &[][..]),
                FieldType::Currency => (FieldKind::Currency, 0, &[][..]),
                FieldType::Mcc => (FieldKind::Mcc, 0, &[][..]),
                FieldType::Bin => (FieldKind::Bin, 0, &[][..]),
                FieldType::Time => (FieldKind::Time, 0, &[][..]),
                FieldType::Duration => (FieldKind::Duration, 0, &[][..]),
                FieldType::Text(bytes) => (FieldKind::Text, *bytes, &[][..]),
                FieldType::Ip => (FieldKind::Ip, 0, &[][..]),
            };
            let name = match (field.inherited, event.amends) {
                (Some(_), Some(amended)) => format!("{}.{}", policy.events[amended.index()].name, field.name),
                _ => field.name.clone(),
            };
            let plan =
                FieldPlan { name, kind, arg, word: word as u16, bit: bit as u8, labels: labels.to_vec() };
            word += field.ty.words();
            layout.known |= 1 << bit;
            if !field.optional {
                layout.required |= 1 << bit;
            }
            layout.fields.push(plan);
        }
        if word > EVENT_WORDS_MAX {
            return Err(bound(
                format!("event {} takes {word} words of 8 bytes, more than {EVENT_WORDS_MAX}", event.name),
                "leave out fields that no rule or feature uses; keys, money and addresses take two words, texts one for eight bytes, others one",
            ));
        }
        layout.words = word as u16;
        layouts.push(layout);
    }
    Ok(layouts)
}

/// The event that brings rates: nothing is kept of it, and it is not judged.
pub(super) fn rate_event() -> EventPlan {
    let field = |(bit, (name, kind, word)): (usize, (&str, FieldKind, usize))| FieldPlan {
        name: name.to_owned(),
        kind,
        arg: 0,
        word: word as u16,
        bit: bit as u8,
        labels: Vec::new(),
    };
    let fields = [
        ("from", FieldKind::Currency, RATE_FROM_WORD),
        ("to", FieldKind::Currency, RATE_TO_WORD),
        ("rate", FieldKind::Rate, RATE_PARTS_WORD),
    ];
    let all = (1 << fields.len()) - 1;
    EventPlan {
        name: RATE_EVENT.to_owned(),
        words: RATE_WORDS as u16,
        known: all,
        required: all,
        fields: fields.into_iter().enumerate().map(field).collect(),
        amends: NONE,
        keys: Vec::new(),
        inserts: Vec::new(),
        targets: Vec::new(),
        windows: Vec::new(),
        models: Vec::new(),
        scalars: EMPTY,
        conditions: EMPTY,
        rules: Vec::new(),
        matching: MatchPlan::default(),
        decide: None,
    }
}

/// BLAKE3 of the layouts, written out so that nothing that matters to a sender is left out.
pub(super) fn hash(policy: &Policy, events: &[EventPlan]) -> [u8; 32] {
    let mut text = String::from("tollgate layout 1\n");
    for (number, event) in events.iter().enumerate().take(policy.events.len()) {
        let amends = policy.events[number].amends.map(|amended| &policy.events[amended.index()].name);
        let _ = writeln!(text, "event {number} {:?} amends {amends:?} words {}", event.name, event.words);
        for (field, declared) in event.fields.iter().zip(&policy.events[number].fields) {
            let required = if declared.optional { "optional" } else { "required" };
            let _ = write!(
                text,
                "  field {:?} {:?} word {} bit {} {required}",
                field.name, field.kind, field.word, field.bit
            );
            match &declared.ty {
                FieldType::Enum(labels) => _ = write!(text, " {labels:?}"),
                FieldType::Entity(entity) => _ = write!(text, " {:?}", policy.entities[entity.index()]),
                _ => {}
            }
            text.push('\n');
        }
    }
    if let (Some(rates), Some(event)) = (&policy.rates, events.get(policy.events.len())) {
        let _ = writeln!(text, "rates {:?} event {} words {}", rates.name, policy.events.len(), event.words);
        for field in &event.fields {
            let _ = writeln!(
                text,
                "  field {:?} {:?} word {} bit {}",
                field.name, field.kind, field.word, field.bit
            );
        }
    }
    *blake3::hash(text.as_bytes()).as_bytes()
}
