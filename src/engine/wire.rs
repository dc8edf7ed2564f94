//! What a frame is made of: words of an event on its way in, words of a verdict on its way out.
//!
//! # An event, in 8-byte words
//!
//! ```text
//! word 0, 1   event id
//! word 2      event time, µs since 1970 (i64)
//! word 3      presence bitmap: bit i says that field i is there
//! word 4, 5   amendments only: id of the amended event
//! word 6      amendments only: time of the amended event
//! then        the fields, at the word each was given by the compiler; an absent field is all zeros
//! ```
//!
//! A field is 1 word or 2 (entity: the key; money: minor units, then ISO numeric currency). One word are bool; int; decimal;
//! enum; geo: latitude in the high half, longitude in the low half, each an i32 in millionths of a degree; country, mcc and
//! bin as [`codes`](super::units::codes) numbers them; currency: its ISO number; time: µs since 1970; duration: µs. An amendment
//! carries, after its own fields, every entity field of the event it amends, so that it can find the windows that
//! counted it. The event kind travels beside the words, in the ring slot.
//!
//! # A rate
//!
//! A policy that declares `rates` has one event kind more, after its own, of eight words in all:
//!
//! ```text
//! word 0..4   id, time from which the rate is in effect, presence bitmap: always 7
//! word 4, 5   ISO numeric currency converted from, and to
//! word 6, 7   what one whole unit of the first is worth in whole units of the second: word 6 ÷ word 7,
//!             each from 1 to 10¹⁵
//! ```
//!
//! It is taken in however it was admitted, and acknowledged.

use super::units::{Action, EventId, Time};

/// Words before the first field of an ordinary event.
pub const HEADER_WORDS: usize = 4;
/// Words before the first field of an amendment.
pub const AMEND_HEADER_WORDS: usize = 7;
/// The most words an event may have: what fits the largest ring slot (512 bytes less its header).
pub const EVENT_WORDS_MAX: usize = 60;
/// The most fields an event may have: one presence bit each.
pub const FIELDS_MAX: usize = 56;

/// Words of a rate.
pub const RATE_WORDS: usize = 8;
/// Word of the currency a rate converts from.
pub const RATE_FROM_WORD: usize = 4;
/// Word of the currency it converts to.
pub const RATE_TO_WORD: usize = 5;
/// First of the two words of the rate itself.
pub const RATE_PARTS_WORD: usize = 6;
/// The most either part of a rate may be.
pub const RATE_PART_MAX: u64 = 1_000_000_000_000_000;

/// Index of the presence bitmap.
pub const PRESENCE_WORD: usize = 3;

/// The event's id. `words` must hold at least the header.
#[inline]
#[must_use]
pub fn event_id(words: &[u64]) -> EventId {
    EventId([words[0], words[1]])
}

/// The event's time.
#[inline]
#[must_use]
pub fn event_time(words: &[u64]) -> Time {
    Time(words[2] as i64)
}

/// The id of the event that an amendment amends.
#[inline]
#[must_use]
pub fn target_id(words: &[u64]) -> EventId {
    EventId([words[4], words[5]])
}

/// The time of the event that an amendment amends.
#[inline]
#[must_use]
pub fn target_time(words: &[u64]) -> Time {
    Time(words[6] as i64)
}

/// The verdict's answer to a duplicate: the stored verdict, repeated.
pub const FLAG_DUPLICATE: u8 = 1;
/// The frame was refused; the first reason holds a [`Refusal`] code.
pub const FLAG_REFUSED: u8 = 2;
/// Judged by the `late after` clause or shed at admission.
pub const FLAG_FALLBACK: u8 = 4;
/// A feature was computed from fewer events than its window held (a bound or a full table), or the event was
/// too late to enter its windows.
pub const FLAG_INEXACT: u8 = 8;
/// Published later than the deadline (set at publish time, outside the engine, and never journaled).
pub const FLAG_PUBLISHED_LATE: u8 = 16;
/// The event is not of a judged kind: taken in, nothing to decide.
pub const FLAG_ACK: u8 = 32;
/// A queue was alerted. Which ones is told by the engine that decides, [`Engine::alerts`](super::Engine::alerts).
pub const FLAG_ALERT: u8 = 64;

/// Why a frame was refused. Nothing changed because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Refusal {
    /// No event has this kind number.
    UnknownEvent = 1,
    /// The number of words is not that of the event's layout.
    WrongLength = 2,
    /// The presence bitmap names an unknown field or lacks a required one.
    BadPresence = 3,
    /// A value is outside its type: an enum ordinal, a truth value, a currency, a word that should be zero.
    BadValue = 4,
    /// The event time is outside what is accepted.
    BadTime = 5,
    /// A key is sixteen ASCII digits: a raw card number.
    RawCardNumber = 6,
    /// The id was used before with another payload.
    IdReused = 7,
}

impl Refusal {
    /// The refusal with this code.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::UnknownEvent,
            2 => Self::WrongLength,
            3 => Self::BadPresence,
            4 => Self::BadValue,
            5 => Self::BadTime,
            6 => Self::RawCardNumber,
            7 => Self::IdReused,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownEvent => "no event has this kind number; connect again with the current layout",
            Self::WrongLength => "the event has the wrong number of words for its kind",
            Self::BadPresence => "the presence bitmap names an unknown field or lacks a required one",
            Self::BadValue => "a field holds a value outside its type, or an absent field is not zero",
            Self::BadTime => "the event time is before 1970 or after 2200",
            Self::RawCardNumber => "a key is sixteen digits, a raw card number; send a keyed token",
            Self::IdReused => "this id was used before with another payload",
        })
    }
}

/// What the engine decided about one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sequence number of the decision in the journal.
    pub seq: u64,
    /// 0..=100, or −1 when the payment could not be assessed.
    pub score: i16,
    /// What to do.
    pub action: Action,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Revision of the policy that decided.
    pub policy_revision: u32,
    /// Reason ids, most important first; 0 means none.
    pub reasons: [u16; 4],
}

impl Outcome {
    /// The four words of a verdict; `engine_ns` is how long the engine took, for colour only.
    #[inline]
    #[must_use]
    pub fn to_words(self, engine_ns: u64) -> [u64; 4] {
        let head = u64::from(self.score as u16)
            | u64::from(self.action as u8) << 16
            | u64::from(self.flags) << 24
            | u64::from(self.policy_revision) << 32;
        let reasons = self.reasons.iter().rev().fold(0, |word, reason| word << 16 | u64::from(*reason));
        [self.seq, head, reasons, engine_ns]
    }

    /// Reads a verdict's words; `None` when the action code is unknown.
    #[must_use]
    pub fn from_words(words: [u64; 4]) -> Option<(Self, u64)> {
        let [seq, head, reasons, engine_ns] = words;
        let action = Action::from_code((head >> 16) as u8)?;
        let outcome = Self {
            seq,
            score: head as u16 as i16,
            action,
            flags: (head >> 24) as u8,
            policy_revision: (head >> 32) as u32,
            reasons: [reasons as u16, (reasons >> 16) as u16, (reasons >> 32) as u16, (reasons >> 48) as u16],
        };
        Some((outcome, engine_ns))
    }
}

/// How the appliance took an event in; decided before the engine sees it, and journaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Admission {
    /// Judged in full.
    #[default]
    Normal = 0,
    /// Older than the policy's `late after` when it was taken in: state steps in full, the verdict falls back.
    Late = 1,
    /// Over its sender's rate: the verdict falls back and no state changes.
    Shed = 2,
}

impl Admission {
    /// The admission with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Normal),
            1 => Some(Self::Late),
            2 => Some(Self::Shed),
            _ => None,
        }
    }
}

/// One event as the engine takes it: everything a decision may depend on besides the engine's state.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Who sent it (part of the duplicate key).
    pub principal: u32,
    /// Index of the event kind in the policy.
    pub kind: u16,
    /// How it was admitted.
    pub admission: Admission,
    /// When it was taken in (read once per burst).
    pub received: Time,
    /// The event, laid out as this module's head describes.
    pub words: &'a [u64],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_its_words() {
        let outcome = Outcome {
            seq: u64::MAX - 1,
            score: -1,
            action: Action::Review,
            flags: FLAG_FALLBACK | FLAG_INEXACT,
            policy_revision: 0xdead_beef,
            reasons: [17, 0xffff, 0, 3],
        };
        assert_eq!(Outcome::from_words(outcome.to_words(77)), Some((outcome, 77)));
        assert_eq!(Outcome::from_words([0, 9 << 16, 0, 0]), None);
    }
}
