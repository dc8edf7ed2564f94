//! Frames in, events out: every word is checked once, and nothing after this point doubts one.

use super::earth::Place;
use super::program::{ArchivedEventPlan, ArchivedFieldKind, NONE, TEXT_FIELD_BYTES_MAX};
use super::units::codes::{Bin, Country, MCC_MAX};
use super::units::entries::has_card_number;
use super::units::{CURRENCIES, EventId, TIME_END, TIME_MIN, Time};
use super::wire::{
    AMEND_HEADER_WORDS, HEADER_WORDS, PRESENCE_WORD, RATE_PART_MAX, Refusal, event_id, event_time, target_id,
    target_time,
};

/// What the decoder knows of one event kind.
pub(super) struct EventForm {
    /// Exact number of words.
    pub(super) words: usize,
    known: u64,
    required: u64,
    amends: bool,
    fields: Vec<FieldForm>,
    /// Words that belong to no field and must be zero.
    unused: Vec<usize>,
}

struct FieldForm {
    kind: ArchivedFieldKind,
    below: u64,
    word: usize,
    bit: u32,
}

/// An event whose words have been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded<'a> {
    pub(super) words: &'a [u64],
    pub(super) presence: u64,
    pub(super) id: EventId,
    /// The event's own time.
    pub(super) time: Time,
    /// Id tag and time of the amended event.
    pub(super) target: Option<(u64, Time)>,
}

impl FieldForm {
    fn width(&self) -> usize {
        self.kind.native().words(self.below as u16)
    }
}

impl EventForm {
    fn header(&self) -> usize {
        if self.amends { AMEND_HEADER_WORDS } else { HEADER_WORDS }
    }

    pub(super) fn new(event: &ArchivedEventPlan) -> Self {
        let amends = event.amends.to_native() != NONE;
        let field = |field: &super::program::ArchivedFieldPlan| FieldForm {
            kind: field.kind,
            below: u64::from(field.arg.to_native()),
            word: usize::from(field.word.to_native()),
            bit: u32::from(field.bit),
        };
        let fields: Vec<FieldForm> = event.fields.iter().map(field).collect();
        let words = usize::from(event.words.to_native());
        let header = if amends { AMEND_HEADER_WORDS } else { HEADER_WORDS };
        let used =
            |word: &usize| fields.iter().any(|field| (field.word..field.word + field.width()).contains(word));
        let unused = (header..words).filter(|word| !used(word)).collect();
        Self {
            words,
            known: event.known.to_native(),
            required: event.required.to_native(),
            amends,
            fields,
            unused,
        }
    }

    /// Checks the words, in the order in which refusals are declared except that times come before fields.
    pub(super) fn decode<'a>(
        &self,
        words: &'a [u64],
        currencies: &Currencies,
    ) -> Result<Decoded<'a>, Refusal> {
        if words.len() != self.words || words.len() < self.header() {
            return Err(Refusal::WrongLength);
        }
        let presence = words[PRESENCE_WORD];
        if presence & !self.known != 0 || presence & self.required != self.required {
            return Err(Refusal::BadPresence);
        }
        let time = event_time(words);
        let target = self.amends.then(|| (target_id(words).tag(), target_time(words)));
        if !is_accepted(time) || target.is_some_and(|(_, time)| !is_accepted(time)) {
            return Err(Refusal::BadTime);
        }
        for field in &self.fields {
            field.check(presence, words, currencies)?;
        }
        if self.unused.iter().any(|&word| words[word] != 0) {
            return Err(Refusal::BadValue);
        }
        Ok(Decoded { words, presence, id: event_id(words), time, target })
    }
}

fn is_accepted(time: Time) -> bool {
    (TIME_MIN..TIME_END).contains(&time)
}

impl FieldForm {
    #[inline]
    fn check(&self, presence: u64, words: &[u64], currencies: &Currencies) -> Result<(), Refusal> {
        if self.kind == ArchivedFieldKind::Text {
            let present = presence >> self.bit & 1 != 0;
            return check_text(&words[self.word..self.word + self.width()], self.below as usize, present);
        }
        let first = words[self.word];
        let second = if self.width() == 2 { words[self.word + 1] } else { 0 };
        if presence >> self.bit & 1 == 0 {
            return if first | second == 0 { Ok(()) } else { Err(Refusal::BadValue) };
        }
        let in_type = match self.kind {
            ArchivedFieldKind::Bool => first < 2,
            ArchivedFieldKind::Enum => first < self.below,
            ArchivedFieldKind::Int
            | ArchivedFieldKind::Decimal
            | ArchivedFieldKind::Duration
            | ArchivedFieldKind::Ip
            | ArchivedFieldKind::Text => true,
            ArchivedFieldKind::Money => currencies.knows(second),
            ArchivedFieldKind::Entity if is_digits(first) && is_digits(second) => {
                return Err(Refusal::RawCardNumber);
            }
            ArchivedFieldKind::Entity => true,
            ArchivedFieldKind::Currency => currencies.knows(first),
            ArchivedFieldKind::Rate => [first, second].iter().all(|part| (1..=RATE_PART_MAX).contains(part)),
            ArchivedFieldKind::Geo => Place::from_word(first).is_some(),
            ArchivedFieldKind::Country => Country::from_number(first).is_some(),
            ArchivedFieldKind::Mcc => first <= MCC_MAX,
            ArchivedFieldKind::Bin => Bin::from_number(first).is_some(),
            ArchivedFieldKind::Time => is_accepted(Time(first as i64)),
        };
        if in_type { Ok(()) } else { Err(Refusal::BadValue) }
    }
}

/// A text, filled up with zeros.
fn check_text(words: &[u64], bytes_max: usize, present: bool) -> Result<(), Refusal> {
    let mut bytes = [0; TEXT_FIELD_BYTES_MAX];
    for (chunk, word) in bytes.chunks_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(TEXT_FIELD_BYTES_MAX);
    let (text, rest) = bytes.split_at(end);
    if rest.iter().any(|byte| *byte != 0) || text.len() > bytes_max || !present && !text.is_empty() {
        return Err(Refusal::BadValue);
    }
    match std::str::from_utf8(text) {
        Ok(text) if text.chars().any(char::is_control) => Err(Refusal::BadValue),
        Ok(text) if has_card_number(text) => Err(Refusal::RawCardNumber),
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::BadValue),
    }
}

/// Whether all eight bytes are ASCII digits: 0x30..=0x39 keeps its high half when 6 is added.
#[inline]
fn is_digits(word: u64) -> bool {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    word & HIGH == ZEROS && word.wrapping_add(0x0606_0606_0606_0606) & HIGH == ZEROS
}

/// The known currencies, one bit per ISO numeric code.
pub(super) struct Currencies([u64; 16]);

impl Currencies {
    pub(super) fn new() -> Self {
        let mut bits = [0; 16];
        for &(_, numeric, _) in CURRENCIES {
            bits[usize::from(numeric / 64)] |= 1 << (numeric % 64);
        }
        Self(bits)
    }

    #[inline]
    fn knows(&self, numeric: u64) -> bool {
        numeric < 1024 && self.0[(numeric / 64) as usize] >> (numeric % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::Currency;

    fn form(kind: ArchivedFieldKind, below: u64) -> EventForm {
        let fields = vec![FieldForm { kind, below, word: 4, bit: 0 }];
        let words = 4 + fields[0].width();
        EventForm { words, known: 1, required: 0, amends: false, fields, unused: Vec::new() }
    }

    #[test]
    fn each_type_takes_its_values_and_no_others() {
        use ArchivedFieldKind::{
            Bin, Bool, Country, Currency, Decimal, Duration, Entity, Enum, Geo, Int, Ip, Mcc, Money, Rate,
            Text, Time,
        };
        let text = |bytes: &[u8; 16]| {
            let word = |half: &[u8]| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            [word(&bytes[..8]), word(&bytes[8..])]
        };
        let place = |latitude: i32, longitude: i32| {
            u64::from(latitude.cast_unsigned()) << 32 | u64::from(longitude.cast_unsigned())
        };
        let currencies = Currencies::new();
        let digits = u64::from_le_bytes(*b"41111111");
        for (kind, below, present, value, expect) in [
            (Bool, 0, 1, [1, 0], Ok(())),
            (Bool, 0, 1, [2, 0], Err(Refusal::BadValue)),
            (Bool, 0, 0, [1, 0], Err(Refusal::BadValue)),
            (Bool, 0, 2, [0, 0], Err(Refusal::BadPresence)),
            (Enum, 3, 1, [2, 0], Ok(())),
            (Enum, 3, 1, [3, 0], Err(Refusal::BadValue)),
            (Int, 0, 1, [u64::MAX, 0], Ok(())),
            (Decimal, 0, 1, [u64::MAX, 0], Ok(())),
            (Money, 0, 1, [5, 840], Ok(())),
            (Money, 0, 1, [5, 841], Err(Refusal::BadValue)),
            (Money, 0, 1, [5, u64::MAX], Err(Refusal::BadValue)),
            (Money, 0, 0, [0, 840], Err(Refusal::BadValue)),
            (Currency, 0, 1, [840, 0], Ok(())),
            (Currency, 0, 1, [841, 0], Err(Refusal::BadValue)),
            (Currency, 0, 1, [840 + (1 << 32), 0], Err(Refusal::BadValue)),
            (Rate, 0, 1, [1, 1], Ok(())),
            (Rate, 0, 1, [RATE_PART_MAX, RATE_PART_MAX], Ok(())),
            (Rate, 0, 1, [0, 1], Err(Refusal::BadValue)),
            (Rate, 0, 1, [1, 0], Err(Refusal::BadValue)),
            (Rate, 0, 1, [RATE_PART_MAX + 1, 1], Err(Refusal::BadValue)),
            (Rate, 0, 1, [1, u64::MAX], Err(Refusal::BadValue)),
            (Rate, 0, 0, [0, 1], Err(Refusal::BadValue)),
            (Entity, 0, 1, [digits, digits], Err(Refusal::RawCardNumber)),
            (Entity, 0, 1, [digits, digits + 0x0a], Ok(())),
            (Entity, 0, 1, [digits, 7], Ok(())),
            (Entity, 0, 0, [0, 0], Ok(())),
            (Geo, 0, 1, [place(90_000_000, -180_000_000), 0], Ok(())),
            (Geo, 0, 1, [place(-90_000_000, 180_000_000), 0], Ok(())),
            (Geo, 0, 1, [place(90_000_001, 0), 0], Err(Refusal::BadValue)),
            (Geo, 0, 1, [place(-90_000_001, 0), 0], Err(Refusal::BadValue)),
            (Geo, 0, 1, [place(0, 180_000_001), 0], Err(Refusal::BadValue)),
            (Geo, 0, 1, [place(0, i32::MIN), 0], Err(Refusal::BadValue)),
            (Geo, 0, 0, [1, 0], Err(Refusal::BadValue)),
            (Country, 0, 1, [0x434e, 0], Ok(())),
            (Country, 0, 1, [0x434f, 0], Ok(())),
            (Country, 0, 1, [0x434a, 0], Err(Refusal::BadValue)),
            (Country, 0, 1, [0, 0], Err(Refusal::BadValue)),
            (Country, 0, 1, [0x434e + (1 << 16), 0], Err(Refusal::BadValue)),
            (Mcc, 0, 1, [9_999, 0], Ok(())),
            (Mcc, 0, 1, [10_000, 0], Err(Refusal::BadValue)),
            (Bin, 0, 1, [411_111_006, 0], Ok(())),
            (Bin, 0, 1, [411_111_228, 0], Ok(())),
            (Bin, 0, 1, [411_111_226, 0], Err(Refusal::BadValue)),
            (Bin, 0, 1, [u64::MAX, 0], Err(Refusal::BadValue)),
            (Time, 0, 1, [TIME_END.0 as u64 - 1, 0], Ok(())),
            (Time, 0, 1, [TIME_END.0 as u64, 0], Err(Refusal::BadValue)),
            (Time, 0, 1, [u64::MAX, 0], Err(Refusal::BadValue)),
            (Duration, 0, 1, [u64::MAX, 0], Ok(())),
            (Duration, 0, 0, [1, 0], Err(Refusal::BadValue)),
            (Ip, 0, 1, [u64::MAX, 0], Ok(())),
            (Ip, 0, 0, [0, 1], Err(Refusal::BadValue)),
            (Text, 10, 1, text(b"abcdefghij\0\0\0\0\0\0"), Ok(())),
            (Text, 10, 1, text(b"abcdefghijk\0\0\0\0\0"), Err(Refusal::BadValue)),
            (Text, 16, 1, text(b"4222222222222\0\0\0"), Err(Refusal::RawCardNumber)),
            (Text, 16, 1, text(b"\xc3\xa4\xc3\xb6 abcdefg\0\0\0\0"), Ok(())),
            (Text, 16, 1, text(b"ab\xff\0\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Refusal::BadValue)),
            (Text, 16, 1, text(b"ab\0d\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Refusal::BadValue)),
            (Text, 16, 1, text(b"ab\t\0\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Refusal::BadValue)),
            (Text, 16, 1, [0, 0], Ok(())),
            (Text, 16, 0, [0, 0], Ok(())),
            (Text, 16, 0, text(b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), Err(Refusal::BadValue)),
        ] {
            let form = form(kind, below);
            let words = [9, 9, 1_000, present, value[0], value[1]];
            let got = form.decode(&words[..form.words], &currencies).map(|_| ());
            assert_eq!(got, expect, "{kind:?} {present} {value:?}");
        }
    }

    #[test]
    fn lengths_and_times_outside_are_refused() {
        let (form, currencies) = (form(ArchivedFieldKind::Int, 0), Currencies::new());
        for len in [0, 3, 4, 6, 60] {
            assert_eq!(form.decode(&vec![0; len], &currencies).unwrap_err(), Refusal::WrongLength);
        }
        for (time, accepted) in [(-1, false), (0, true), (TIME_END.0 - 1, true), (TIME_END.0, false)] {
            assert_eq!(form.decode(&[1, 1, time as u64, 0, 0], &currencies).is_ok(), accepted, "{time}");
        }
    }

    #[test]
    fn the_digit_test_and_the_currency_bits_agree_with_the_plain_ones() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                let mut bytes = *b"01234567";
                bytes[at] = byte;
                assert_eq!(is_digits(u64::from_le_bytes(bytes)), bytes.iter().all(u8::is_ascii_digit));
            }
        }
        let currencies = Currencies::new();
        for code in 0..2_000 {
            assert_eq!(currencies.knows(code), Currency::from_numeric(code).is_some());
        }
    }
}
