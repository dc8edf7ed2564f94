//! Lists: what the policy says is in them, and what was edited since.
//!
//! The policy's entries are sorted, and part of its archive. Edits are orders: given while the engine runs, journaled, and given
//! again in a replay. They are kept here under the list's name and type, whatever policy runs, in a table that was reserved
//! before. Where there is an edit that is in force, it decides; else the policy does.
//!
//! Lists of addresses and of leading digits hold prefixes of several widths: each width that occurs is looked up.

use super::orders::{self, Name};
use super::plan::Plan;
use super::program::{ArchivedListOf, ArchivedListPart, ArchivedListPlan, TEXT_WORDS_MAX};
use super::units::codes::BIN_DIGITS_MAX;
use super::units::entries::{Entry, masked};
use super::units::{Time, Value, mix};
use std::cmp::Ordering;

/// The most edits of lists that can be kept at a time.
pub const EDITS_MAX: usize = 1 << 14;
/// The most lists that can be edited.
pub const EDITED_LISTS_MAX: usize = 256;

/// Slots of the table; at most half of them are used.
const SLOTS: usize = 2 * EDITS_MAX;
/// What is edited and how (0 for a free slot); until when; the entry.
const SLOT_WORDS: usize = 2 + TEXT_WORDS_MAX;

/// What is done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is in the list.
    Add,
    /// It is not.
    Remove,
    /// What the policy says holds again.
    Forget,
}

/// The name of a list with what it is of, as orders have it. Part of the journal's format.
#[must_use]
pub fn name(list: &str, of: &str) -> Name {
    orders::name(&format!("list {list} of {of}"))
}

/// The edits that were made. Reserved once.
pub struct Edits {
    slots: Vec<u64>,
    used: usize,
    /// The lists that were edited: name, how many edits there are, and which widths they have, one bit each.
    lists: Vec<(Name, usize, u128)>,
    /// By list of the program: index into `lists`, or [`NOWHERE`].
    by_list: Vec<u16>,
}

const NOWHERE: u16 = u16::MAX;

/// Which edit a slot holds.
const fn tag(list: usize, width: u8) -> u64 {
    (list as u64 + 1) | ((width as u64) << 16)
}

/// The bit of a tag that says that the entry is in the list.
const ADDED: u64 = 1 << 32;

impl Edits {
    /// How much memory they take.
    pub(super) const BYTES: u64 = (SLOTS * SLOT_WORDS * 8) as u64;

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self { slots: Vec::new(), used: 0, lists: Vec::new(), by_list: Vec::new() }
    }

    /// None yet, with room for as many as there can be.
    pub(super) fn reserve(plan: &Plan) -> Self {
        Self {
            slots: vec![0; SLOTS * SLOT_WORDS],
            used: 0,
            lists: Vec::with_capacity(EDITED_LISTS_MAX),
            by_list: vec![NOWHERE; plan.list_names.len()],
        }
    }

    /// What goes on with the edits under another program, which has none of its own.
    pub(super) fn follow(plan: &Plan) -> Self {
        Self { by_list: vec![NOWHERE; plan.list_names.len()], ..Self::none() }
    }

    /// The memory of the edits, to be touched before it is used.
    pub(super) fn block(&mut self) -> &mut [u64] {
        &mut self.slots
    }

    /// Makes an edit; false, and nothing changed but that edits whose time was up are gone, where there are too many.
    pub(super) fn take(
        &mut self,
        list: Name,
        entry: &Entry,
        edit: Edit,
        until: Time,
        now: Time,
        plan: &Plan,
    ) -> bool {
        let forget = edit == Edit::Forget || until <= now;
        let Some(number) = self.lists.iter().position(|known| known.0 == list) else {
            if forget {
                return true;
            }
            let number = match self.lists.iter().position(|known| known.1 == 0) {
                Some(number) => number,
                None if self.lists.len() == EDITED_LISTS_MAX => return false,
                None => {
                    self.lists.push((list, 0, 0));
                    self.lists.len() - 1
                }
            };
            self.lists[number] = (list, 0, 0);
            self.point(plan);
            return self.put(number, entry, edit, until, now);
        };
        if forget {
            if let Ok(slot) = self.search(tag(number, entry.width), &entry.words) {
                self.free(slot);
            }
            return true;
        }
        self.put(number, entry, edit, until, now)
    }

    fn put(&mut self, list: usize, entry: &Entry, edit: Edit, until: Time, now: Time) -> bool {
        let tag = tag(list, entry.width);
        if self.search(tag, &entry.words).is_err() && self.used == EDITS_MAX {
            self.drop_past(now);
        }
        let slot = match self.search(tag, &entry.words) {
            Ok(slot) => slot,
            Err(_) if self.used == EDITS_MAX => return false,
            Err(slot) => {
                self.used += 1;
                let known = &mut self.lists[list];
                known.1 += 1;
                known.2 |= if entry.width == 0 { 0 } else { 1 << (entry.width - 1) };
                slot
            }
        };
        let words = &mut self.slots[slot * SLOT_WORDS..][..SLOT_WORDS];
        words[0] = tag | if edit == Edit::Add { ADDED } else { 0 };
        words[1] = until.0 as u64;
        words[2..].copy_from_slice(&entry.words);
        true
    }

    /// The slot that holds an edit, or the free one where it belongs.
    fn search(&self, tag: u64, words: &[u64; TEXT_WORDS_MAX]) -> Result<usize, usize> {
        let mut slot = home(tag, words);
        loop {
            let held = &self.slots[slot * SLOT_WORDS..][..SLOT_WORDS];
            if held[0] == 0 {
                return Err(slot);
            }
            if held[0] & !ADDED == tag && held[2..] == words[..] {
                return Ok(slot);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Frees a slot, and moves up those behind it that it stood in the way of.
    fn free(&mut self, slot: usize) {
        let list = (self.slots[slot * SLOT_WORDS] & 0xffff) as usize - 1;
        let known = &mut self.lists[list];
        known.1 -= 1;
        if known.1 == 0 {
            known.2 = 0;
        }
        self.used -= 1;
        let (mut hole, mut next) = (slot, slot);
        loop {
            next = (next + 1) % SLOTS;
            let held = &self.slots[next * SLOT_WORDS..][..SLOT_WORDS];
            if held[0] == 0 {
                break;
            }
            let mut words = [0; TEXT_WORDS_MAX];
            words.copy_from_slice(&held[2..]);
            // It stays where its home lies between the hole and it.
            let home = home(held[0] & !ADDED, &words);
            if (next + SLOTS - home) % SLOTS >= (next + SLOTS - hole) % SLOTS {
                self.slots.copy_within(next * SLOT_WORDS..(next + 1) * SLOT_WORDS, hole * SLOT_WORDS);
                hole = next;
            }
        }
        self.slots[hole * SLOT_WORDS] = 0;
    }

    /// Forgets the edits whose time is up.
    fn drop_past(&mut self, now: Time) {
        let mut slot = 0;
        while slot < SLOTS {
            let held = &self.slots[slot * SLOT_WORDS..][..2];
            if held[0] != 0 && held[1] as i64 <= now.0 {
                // Another one may have moved here.
                self.free(slot);
            } else {
                slot += 1;
            }
        }
    }

    /// Goes on under another program, with the room that was reserved for that.
    pub(super) fn take_over(&mut self, next: &mut Self, plan: &Plan) {
        std::mem::swap(&mut self.by_list, &mut next.by_list);
        self.point(plan);
    }

    fn point(&mut self, plan: &Plan) {
        for (number, name) in self.by_list.iter_mut().zip(&plan.list_names) {
            let place = self.lists.iter().position(|known| known.0 == *name);
            *number = place.map_or(NOWHERE, |place| place as u16);
        }
    }

    /// The edits of a list of the program, if there are any: its number here, and the widths of their entries.
    #[inline]
    fn of(&self, list: usize) -> Option<(usize, u128)> {
        let number = usize::from(*self.by_list.get(list)?);
        self.lists.get(number).filter(|known| known.1 > 0).map(|known| (number, known.2))
    }

    /// What an edit that is in force says.
    fn says(&self, number: usize, entry: &Entry, time: Time) -> Option<bool> {
        let slot = self.search(tag(number, entry.width), &entry.words).ok()?;
        let held = &self.slots[slot * SLOT_WORDS..][..2];
        (time.0 < held[1] as i64).then_some(held[0] & ADDED != 0)
    }
}

fn home(tag: u64, words: &[u64; TEXT_WORDS_MAX]) -> usize {
    words.iter().fold(mix(0x6c69_7374, tag), |hash, word| mix(hash, *word)) as usize % SLOTS
}

/// A list of a program, and what was edited in it.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) plan: &'a ArchivedListPlan,
    pub(super) edits: &'a Edits,
    /// Its number in the program.
    pub(super) number: usize,
    /// When it is asked.
    pub(super) time: Time,
}

impl List<'_> {
    /// Whether a number, of the list's type, is in it.
    #[inline]
    pub(super) fn has_number(self, value: Value) -> Value {
        if value.is_missing() {
            return Value::MISSING;
        }
        // Only whole numbers are listed.
        if value.num % value.den != 0 {
            return Value::FALSE;
        }
        let number = (value.num / value.den) as u64;
        let ArchivedListOf::Bin = self.plan.of else {
            return Value::bool(self.has_words(&[number]));
        };
        let (filled, digits) = (number / 10, number % 10);
        let leading = |width: u8| {
            let digits = u64::from(width) <= digits;
            digits.then(|| [filled / 10_u64.pow(BIN_DIGITS_MAX.saturating_sub(u32::from(width))), 0])
        };
        Value::bool(self.has_prefix(1, leading))
    }

    /// Whether the words of a field of an event, of the list's type, are in it.
    #[inline]
    pub(super) fn has(self, words: &[u64]) -> bool {
        match self.plan.of {
            ArchivedListOf::Ip if words.len() == 2 => {
                let address = [words[0], words[1]];
                self.has_prefix(2, |width| Some(masked(address, width)))
            }
            ArchivedListOf::Bin if words.len() == 1 => self.has_number(Value::int(words[0] as i64)).is_true(),
            _ => self.has_words(words),
        }
    }

    fn has_words(self, words: &[u64]) -> bool {
        if let Some((number, _)) = self.edits.of(self.number)
            && let Some(says) = self.edits.says(number, &Entry::new(0, words), self.time)
        {
            return says;
        }
        self.plan.parts.first().is_some_and(|part| part.has(words, self.time))
    }

    /// Whether a prefix is in it: the widest that an edit or an entry in force is of says so. `prefix` is the first two words of
    /// that of a width, if there is one.
    fn has_prefix(self, size: usize, prefix: impl Fn(u8) -> Option<[u64; 2]>) -> bool {
        let edited = self.edits.of(self.number);
        let bit = |width: u8| 1_u128.checked_shl(u32::from(width).wrapping_sub(1)).unwrap_or(0);
        let mut left = self.plan.parts.iter().fold(0, |widths, part| widths | bit(part.width));
        left |= edited.map_or(0, |(_, widths)| widths);
        let mut parts = self.plan.parts.iter().rev().peekable();
        while left != 0 {
            let width = left.ilog2() as u8 + 1;
            left ^= bit(width);
            let part = parts.next_if(|part| part.width == width);
            let Some(words) = prefix(width) else { continue };
            let says = edited.and_then(|(number, _)| {
                self.edits.says(number, &Entry::new(width, &words[..size]), self.time)
            });
            if let Some(says) = says {
                return says;
            }
            if part.is_some_and(|part| part.has(&words[..size], self.time)) {
                return true;
            }
        }
        false
    }
}

impl ArchivedListPart {
    /// Whether there is an entry of these words, filled up with zeros, that counts at this time.
    #[inline]
    fn has(&self, words: &[u64], time: Time) -> bool {
        let found = match (self.words, words) {
            (2, &[first, second]) => self.search([first, second]),
            (1, &[only]) => self.search([only]),
            _ => self.search_text(words),
        };
        found.is_some_and(|entry| self.until.get(entry).is_none_or(|until| time.0 < until.to_native()))
    }

    /// The place of an entry of so many words.
    #[inline]
    fn search<const WORDS: usize>(&self, words: [u64; WORDS]) -> Option<usize> {
        let (entries, _) = self.keys.as_chunks::<WORDS>();
        entries.binary_search_by(|entry| entry.each_ref().map(|word| word.to_native()).cmp(&words)).ok()
    }

    /// The place of a text, which its field may have more words for than any entry.
    fn search_text(&self, words: &[u64]) -> Option<usize> {
        let size = usize::from(self.words);
        let (own, beyond) = words.split_at(words.len().min(size));
        if beyond.iter().any(|word| *word != 0) {
            return None;
        }
        let mut filled = [0; TEXT_WORDS_MAX];
        filled[..own.len()].copy_from_slice(own);
        let (mut low, mut high) = (0, self.keys.len() / size);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.keys[middle * size..][..size].iter().map(|word| word.to_native());
            match entry.cmp(filled[..size].iter().copied()) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table against a plain list of what was done, close to its limit, with entries that collide often.
    #[test]
    fn edits_are_those_that_were_made() {
        let mut edits =
            Edits { slots: vec![0; SLOTS * SLOT_WORDS], lists: vec![([1, 2], 0, 0)], ..Edits::none() };
        let mut plain = std::collections::HashMap::new();
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state, 1) % below
        };
        let mut refused = 0;
        for step in 0..100_000_i64 {
            let entry = Entry::new(random(2) as u8, &[random(12_000)]);
            // None of the first is over before the table is full.
            let lasts = if step < 40_000 { 40_000 } else { 1 } + random(40_000) as i64;
            let (now, until) = (Time(step), Time(step + lasts));
            let edit =
                if random(8) == 0 { Edit::Forget } else { [Edit::Add, Edit::Remove][random(2) as usize] };
            if edit == Edit::Forget {
                if let Ok(slot) = edits.search(tag(0, entry.width), &entry.words) {
                    edits.free(slot);
                }
                plain.remove(&entry);
            } else if edits.put(0, &entry, edit, until, now) {
                plain.insert(entry, (edit == Edit::Add, until));
            } else {
                refused += 1;
                assert!(!plain.contains_key(&entry));
            }
            if edits.used < plain.len() {
                plain.retain(|_, (_, until)| *until > now);
            }
            assert_eq!(edits.used, plain.len());
            let asked = Entry::new(random(2) as u8, &[random(12_000)]);
            let expected = plain.get(&asked).filter(|known| now < known.1).map(|known| known.0);
            assert_eq!(edits.says(0, &asked, now), expected, "{step}");
        }
        assert!(refused > 0, "the table was never full");
        edits.drop_past(Time(i64::MAX));
        assert_eq!((edits.used, edits.lists[0].1), (0, 0));
        assert!(edits.slots.iter().step_by(SLOT_WORDS).all(|tag| *tag == 0));
    }
}
