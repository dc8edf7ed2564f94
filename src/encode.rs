//! Building events by field name: what a switch, the replay and the demo use to fill the words of `engine::wire`.

use crate::engine::program::{ArchivedEventPlan, ArchivedFieldKind, ArchivedProgram};
use crate::engine::units::{Currency, EventId, Key, Time};
use crate::engine::wire::{EVENT_WORDS_MAX, PRESENCE_WORD};

/// Where one field of an event lives.
#[derive(Clone, Copy, Debug)]
pub struct FieldSlot {
    /// First word.
    pub word: u16,
    /// Presence bit.
    pub bit: u8,
    /// Type.
    pub kind: ArchivedFieldKind,
}

/// The event kind with this name: its number on the wire and its layout.
#[must_use]
pub fn event<'p>(program: &'p ArchivedProgram, name: &str) -> Option<(u16, &'p ArchivedEventPlan)> {
    let kind = program.events.iter().position(|event| event.name.as_str() == name)?;
    Some((kind as u16, &program.events[kind]))
}

/// The field of this event with this name (`EVENT.FIELD` for an amendment's copy of a key).
#[must_use]
pub fn field(plan: &ArchivedEventPlan, name: &str) -> Option<FieldSlot> {
    let field = plan.fields.iter().find(|field| field.name.as_str() == name)?;
    Some(FieldSlot { word: field.word.to_native(), bit: field.bit, kind: field.kind })
}

/// The words of one event, being filled.
#[derive(Clone, Copy, Debug)]
pub struct EventWords {
    words: [u64; EVENT_WORDS_MAX],
    len: usize,
}

impl EventWords {
    /// An event of this layout with no field set.
    #[must_use]
    pub fn new(plan: &ArchivedEventPlan, id: EventId, time: Time) -> Self {
        let mut words = [0; EVENT_WORDS_MAX];
        words[..2].copy_from_slice(&id.0);
        words[2] = time.0 as u64;
        Self { words, len: usize::from(plan.words.to_native()).min(EVENT_WORDS_MAX) }
    }

    /// Says which event an amendment amends.
    pub fn set_target(&mut self, id: EventId, time: Time) {
        self.words[4..6].copy_from_slice(&id.0);
        self.words[6] = time.0 as u64;
    }

    /// Sets a one-word field: a bool, an int, a decimal (×10⁶), an enum's ordinal, a currency's number, a code's number
    /// ([`codes`](crate::engine::units::codes)), a time or a duration (µs).
    pub fn set_number(&mut self, slot: FieldSlot, number: i64) {
        self.words[usize::from(slot.word)] = number as u64;
        self.mark(slot);
    }

    /// Sets a place, in millionths of a degree.
    pub fn set_place(&mut self, slot: FieldSlot, latitude: i32, longitude: i32) {
        let word = u64::from(latitude.cast_unsigned()) << 32 | u64::from(longitude.cast_unsigned());
        self.words[usize::from(slot.word)] = word;
        self.mark(slot);
    }

    /// Sets a key.
    pub fn set_key(&mut self, slot: FieldSlot, key: Key) {
        let word = usize::from(slot.word);
        self.words[word..word + 2].copy_from_slice(&key.0);
        self.mark(slot);
    }

    /// Sets a text ([`words_of_text`](crate::policy::entries::words_of_text)) that is not longer than its field, or an address.
    pub fn set_words(&mut self, slot: FieldSlot, words: &[u64]) {
        self.words[usize::from(slot.word)..][..words.len()].copy_from_slice(words);
        self.mark(slot);
    }

    /// Sets an amount of money.
    pub fn set_money(&mut self, slot: FieldSlot, minor: i64, currency: Currency) {
        let word = usize::from(slot.word);
        self.words[word] = minor as u64;
        self.words[word + 1] = u64::from(currency.0);
        self.mark(slot);
    }

    /// Sets the two parts of a rate.
    pub fn set_rate(&mut self, slot: FieldSlot, num: u64, den: u64) {
        let word = usize::from(slot.word);
        self.words[word..word + 2].copy_from_slice(&[num, den]);
        self.mark(slot);
    }

    fn mark(&mut self, slot: FieldSlot) {
        self.words[PRESENCE_WORD] |= 1 << slot.bit;
    }

    /// The words to send.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }
}
