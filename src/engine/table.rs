//! The records of one entity kind, or of a pair of kinds: a hash index, and an arena of fixed-size records.
//!
//! Word 0 and 1 of a record are the key, word 2 the greatest event time seen; in the table of a pair, words 3 and 4
//! are the second key; then each group's block. Keys whose
//! rows are all dead are dropped by a sweep that looks at a bounded number of records for every key that is
//! added once the table is half full: between half full and full it passes every record twice, so a table can only
//! fill with keys that are alive. Dropping never shows in an answer: a window, an amendment and the
//! question whether a key has history all look at live rows only.

use super::LimitError;
use super::doorkeeper::Doorkeeper;
use super::index::{Compare, ENTRIES_MAX, Index, Start};
use super::memory::{LINE_WORDS, Memory};
use super::plan::TableSpec;
use super::units::mix;
use std::num::NonZeroU32;

/// Word of the greatest event time seen. In a free record, [`FREE`].
const NEWEST: usize = 2;
const FREE: u64 = u64::MAX;

/// Number of a record in its table.
pub(super) type RecordNumber = u32;

/// Where the second key of a pair is.
const SECOND: std::ops::Range<usize> = 3..5;

/// What a record is found by: a key, or in the table of a pair both keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordKey<'a> {
    pub(super) first: &'a KeyWords,
    /// In other tables than those of pairs: [`NO_SECOND`].
    pub(super) second: &'a KeyWords,
}

/// A key where it is read: in an event or a record. Many are passed about, and none needs to be moved.
pub(super) type KeyWords = [u64; KEY_WORDS];
pub(super) const KEY_WORDS: usize = 2;

/// Stands where a record is not found by a second key.
pub(super) const NO_SECOND: &KeyWords = &[0; KEY_WORDS];

/// How the records of a table are told apart.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    is_pair: bool,
    seed: u64,
}

impl Naming {
    /// What the index knows a key by.
    #[inline]
    pub(super) fn hash(self, key: RecordKey<'_>) -> u64 {
        let mut both = mix(key.first[0] ^ self.seed, key.first[1]);
        if self.is_pair {
            both = mix(mix(both, key.second[0]), key.second[1]);
        }
        mix(both, self.seed)
    }

    /// The key of a record in use.
    #[inline]
    pub(super) fn key(self, record: &[u64]) -> RecordKey<'_> {
        let words = |at| record.get(at..)?.first_chunk();
        let second = if self.is_pair { words(SECOND.start) } else { None };
        RecordKey { first: words(0).unwrap_or(NO_SECOND), second: second.unwrap_or(NO_SECOND) }
    }
}

/// See the module.
pub(super) struct Table {
    index: Index,
    door: Doorkeeper,
    records: Memory,
    record_words: usize,
    /// Lines of a record.
    lines: usize,
    naming: Naming,
    capacity: u32,
    /// Records never used begin here.
    fresh: u32,
    /// First of the free records, + 1; the next is in word 0.
    free: u32,
    used: u32,
    swept: u32,
    lost_until: Option<i64>,
    /// Whether it was added to a program that is not running yet: nothing is kept in it.
    asleep: bool,
}

impl Table {
    /// What [`reserve`](Self::reserve) takes: for the index and the doorkeeper, and for the records.
    pub(super) fn bytes_for(record_words: usize, keys_max: u32) -> (u64, u64) {
        let capacity = if record_words == 0 { 0 } else { keys_max };
        let words = u64::from(capacity).saturating_mul(record_words as u64);
        (Index::bytes_for(capacity) + Doorkeeper::bytes_for(capacity), Memory::bytes_for(words))
    }

    /// How full it is, of a hundred, rounded up.
    pub(super) fn percent(&self) -> u64 {
        (100 * u64::from(self.used)).div_ceil(u64::from(self.capacity).max(1))
    }

    /// For up to `keys_max` keys (or pairs); for none when records have no words.
    pub(super) fn reserve(spec: &TableSpec, keys_max: u32, seed: u64) -> Result<Self, LimitError> {
        let (name, is_pair, record_words) = (&spec.name, spec.is_pair, spec.record_words);
        if !(1..=ENTRIES_MAX).contains(&keys_max) {
            let message = format!("keys_max is {keys_max}; it must be between 1 and {ENTRIES_MAX}");
            return Err(LimitError { message });
        }
        let capacity = if record_words == 0 { 0 } else { keys_max };
        let too_large = || LimitError { message: format!("keys_max is {keys_max}; lower it") };
        let words = record_words.checked_mul(capacity as usize).ok_or_else(too_large)?;
        Ok(Self {
            index: Index::reserve(capacity, &format!("the index of keys_max {name} keys"))?,
            door: Doorkeeper::reserve(capacity, spec.dead_after, &format!("new {name} keys"))?,
            records: Memory::reserve(words, &format!("keys_max {name} records"))?,
            record_words,
            lines: record_words.div_ceil(LINE_WORDS),
            naming: Naming { is_pair, seed: mix(seed, 0x7461_626c_6520_6f66) },
            capacity,
            fresh: 0,
            free: 0,
            used: 0,
            swept: 0,
            lost_until: None,
            asleep: spec.added_to != 0,
        })
    }

    /// How its records are told apart.
    #[inline]
    pub(super) fn naming(&self) -> Naming {
        self.naming
    }

    /// What the index knows a key by.
    #[inline]
    pub(super) fn hash(&self, key: RecordKey<'_>) -> u64 {
        self.naming.hash(key)
    }

    /// The key of a record in use.
    #[inline]
    fn key(&self, number: RecordNumber) -> RecordKey<'_> {
        self.naming.key(self.record(number))
    }

    #[inline]
    fn start(&self, number: RecordNumber) -> usize {
        number as usize * self.record_words
    }

    /// A record.
    #[inline]
    pub(super) fn record(&self, number: RecordNumber) -> &[u64] {
        let start = self.start(number);
        &self.records[start..start + self.record_words]
    }

    /// A record, to be changed.
    #[inline]
    pub(super) fn record_mut(&mut self, number: RecordNumber) -> &mut [u64] {
        let start = self.start(number);
        &mut self.records[start..start + self.record_words]
    }

    /// The record of this key.
    #[inline(never)]
    pub(super) fn find(&self, key: RecordKey<'_>) -> Option<RecordNumber> {
        self.index.find(self.hash(key), |number| self.key(number) == key)
    }

    /// The record of this key, which is probably this one.
    #[inline(always)]
    pub(super) fn find_near(&self, key: RecordKey<'_>, likely: Option<RecordNumber>) -> Option<RecordNumber> {
        let is_it = |&number: &RecordNumber| {
            // A free record still has part of a key.
            let record = if number < self.fresh { self.record(number) } else { &[] };
            let &[one, two, newest, ref others @ ..] = record else { return false };
            let is_first = [one, two] == *key.first && newest != FREE;
            is_first && (!self.naming.is_pair || others.starts_with(key.second))
        };
        match likely.filter(is_it) {
            Some(number) => Some(number),
            None => self.find(key),
        }
    }

    /// Adds a record for a key that has none; `None` when the table is full.
    pub(super) fn add(&mut self, key: RecordKey<'_>) -> Option<RecordNumber> {
        let number = match self.free {
            0 if self.fresh < self.capacity => self.fresh,
            0 => return None,
            free => free - 1,
        };
        if !self.index.insert(self.hash(key), number) {
            return None;
        }
        if self.free == 0 {
            self.fresh += 1;
        } else {
            self.free = self.record(number)[0] as u32;
        }
        self.used += 1;
        let is_pair = self.naming.is_pair;
        let record = self.record_mut(number);
        record.fill(0);
        record[..2].copy_from_slice(key.first);
        if is_pair {
            record[SECOND].copy_from_slice(key.second);
        }
        Some(number)
    }

    /// Notes the time of a row that was added to a record.
    #[inline]
    pub(super) fn touch(record: &mut [u64], time: i64) {
        let newest = &mut record[NEWEST];
        *newest = (*newest).max(time as u64);
    }

    /// Keys, bytes of the index, and bytes of the records ever used.
    pub(super) fn footprint(&self) -> (u64, u64, u64) {
        let record_bytes = 8 * self.record_words as u64 * u64::from(self.fresh);
        (u64::from(self.used), self.index.bytes() + self.door.bytes(), record_bytes)
    }

    /// Bytes of index, doorkeeper and records, whether in use or not.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.index.bytes() + self.door.bytes() + 8 * self.records.len() as u64
    }

    /// Index, doorkeeper and records.
    pub(super) fn blocks(&mut self) -> [&mut [u64]; 3] {
        [self.index.block(), self.door.block(), &mut self.records]
    }

    /// Whether the last records are left, which are for keys that come back: a sixteenth, from sixteen on.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.used >= self.capacity - self.capacity / 16
    }

    /// Whether no record is left.
    pub(super) fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Whether a key without a record was seen by the doorkeeper before; it is from now on.
    pub(super) fn has_seen(&mut self, key: RecordKey<'_>, time: i64) -> bool {
        self.door.has_seen(self.hash(key), time)
    }

    /// Whether the sweep should look at records.
    pub(super) fn is_past_half(&self) -> bool {
        u64::from(self.used) * 2 > u64::from(self.capacity)
    }

    /// The next record to consider dropping, if its newest row is at or before `dead`.
    pub(super) fn sweep(&mut self, dead: i64) -> Option<RecordNumber> {
        if self.fresh == 0 {
            return None;
        }
        let number = if self.swept < self.fresh { self.swept } else { 0 };
        self.swept = number + 1;
        let newest = self.record(number)[NEWEST];
        (newest != FREE && newest as i64 <= dead).then_some(number)
    }

    /// Drops a record.
    pub(super) fn drop_record(&mut self, number: RecordNumber) {
        let hash = self.hash(self.key(number));
        self.index.remove(hash, number);
        let next_free = u64::from(self.free);
        let record = self.record_mut(number);
        record[0] = next_free;
        record[NEWEST] = FREE;
        self.free = number + 1;
        self.used -= 1;
    }

    /// Greatest time of a row that was not kept because there was no room for its key.
    pub(super) fn lost_until(&self) -> Option<i64> {
        self.lost_until
    }

    /// Remembers that a row of this time was not kept.
    pub(super) fn lose(&mut self, time: i64) {
        self.lost_until = self.lost_until.max(Some(time));
    }

    /// Whether nothing is kept in it yet.
    #[inline]
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Keeps what comes from now on; events up to `since` are not there.
    pub(super) fn wake(&mut self, since: Option<i64>) {
        self.asleep = false;
        self.lost_until = self.lost_until.max(since);
    }

    /// Where the search for a key begins.
    #[inline(always)]
    pub(super) fn search_start(&self, key: RecordKey<'_>) -> Start {
        self.index.start(self.hash(key))
    }

    /// Asks for the index bucket where a search begins.
    #[inline(always)]
    pub(super) fn prefetch_index(&self, start: Start) {
        self.index.prefetch(start);
    }

    /// The record that the index names for a key, + 1, which may be that of another; or none, and whether
    /// [`likely_elsewhere`](Self::likely_elsewhere) may name one, for which the next bucket has been asked for.
    ///
    /// # Safety
    ///
    /// As for [`Compare`].
    #[inline(always)]
    pub(super) unsafe fn likely<C: Compare>(&self, start: Start) -> (Option<NonZeroU32>, bool) {
        // SAFETY: as the caller has made sure.
        let (likely, is_elsewhere) = unsafe { self.index.first::<C>(start) };
        if is_elsewhere {
            self.index.prefetch_second(start);
        }
        (likely, is_elsewhere)
    }

    /// The same, from whatever bucket.
    pub(super) fn likely_elsewhere(&self, start: Start) -> Option<NonZeroU32> {
        self.index.first_of_any(start)
    }

    /// Asks for the first line of a record, without looking at it.
    #[inline]
    pub(super) fn prefetch_first_line(&self, number: RecordNumber) {
        self.records.prefetch(self.start(number));
    }

    /// Asks for all its lines.
    #[inline(always)]
    pub(super) fn prefetch_record(&self, number: RecordNumber) {
        self.records.prefetch_lines(self.start(number), self.lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The words of both keys, and back.
    fn words_of(key: RecordKey<'_>) -> [KeyWords; 2] {
        [*key.first, *key.second]
    }

    fn key_of([first, second]: &[KeyWords; 2]) -> RecordKey<'_> {
        RecordKey { first, second }
    }

    #[test]
    fn holds_the_keys_of_a_model_through_drops_and_a_full_table() {
        const KEYS: u32 = 300;
        for is_pair in [false, true] {
            let (name, groups) = ("card".to_owned(), Vec::new());
            let spec = TableSpec {
                name,
                is_pair,
                added_to: 0,
                record_words: 8,
                groups,
                heads: Vec::new(),
                are_headed_first: true,
                dead_after: 0,
            };
            let mut table = Table::reserve(&spec, KEYS, 1).unwrap();
            let mut model: BTreeMap<[KeyWords; 2], i64> = BTreeMap::new();
            let (mut random, mut refused) = (1_u64, 0);
            for now in 1..100_000_i64 {
                random = mix(random, now as u64);
                // Of pairs, many have one key in common.
                let (low, high) = (random >> 11 & 31, random >> 16 & 15);
                let words = if is_pair { [[low, 7], [7, high]] } else { [[low << 4 | high, 7], *NO_SECOND] };
                let key = key_of(&words);
                // Whatever record is guessed, another's or a free one.
                let guess = (random >> 20) as u32 % (KEYS + 1);
                let found = table.find(key);
                assert_eq!(table.find_near(key, Some(guess)), found);
                assert_eq!(table.find_near(key, found), found);
                match (found, model.contains_key(&words)) {
                    (Some(number), true) => assert_eq!(table.key(number), key),
                    (None, false) => match table.add(key) {
                        Some(number) => {
                            assert_eq!(table.key(number), key);
                            let header = if is_pair { SECOND.end } else { NEWEST + 1 };
                            assert_eq!(table.record(number)[NEWEST], 0);
                            assert!(table.record(number)[header..].iter().all(|&word| word == 0));
                            table.record_mut(number)[7] = 5;
                            model.insert(words, now);
                            Table::touch(table.record_mut(number), now);
                        }
                        None => {
                            refused += 1;
                            assert_eq!(model.len(), KEYS as usize);
                        }
                    },
                    other => panic!("table and model disagree: {other:?}"),
                }
                if now / 1_000 % 2 == 1
                    && let Some(number) = table.sweep(now - 400)
                {
                    let words = words_of(table.key(number));
                    assert!(model.remove(&words).unwrap() <= now - 400);
                    table.drop_record(number);
                    assert_eq!(table.find_near(key_of(&words), Some(number)), None);
                    // Not even by what is left of a key in a free record.
                    assert_ne!(table.find_near(table.key(number), Some(number)), Some(number));
                }
                assert_eq!(table.used as usize, model.len());
            }
            assert!(refused > 0);
        }
    }

    /// The keys of a pair are two: what one ends with is not taken for what the other begins with, nor is their order
    /// forgotten.
    #[test]
    fn a_pair_is_found_by_both_keys_in_order() {
        let spec = TableSpec {
            name: String::new(),
            is_pair: true,
            added_to: 0,
            record_words: 8,
            groups: Vec::new(),
            dead_after: 0,
            heads: Vec::new(),
            are_headed_first: true,
        };
        let mut table = Table::reserve(&spec, 10, 1).unwrap();
        let number = table.add(key_of(&[[1, 2], [3, 4]])).unwrap();
        assert_eq!(table.find(key_of(&[[1, 2], [3, 4]])), Some(number));
        for other in [[[3, 4], [1, 2]], [[1, 2], [3, 5]], [[1, 2], [5, 4]], [[1, 5], [3, 4]]] {
            assert_eq!(table.find(key_of(&other)), None);
        }
    }
}
