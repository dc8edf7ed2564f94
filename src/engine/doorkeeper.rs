//! Who may have one of the last records of a table: keys that come back.
//!
//! A flood of keys that come once would otherwise take every record, and leave none to customers who return. So a table
//! that is nearly full turns a new key away at its first event and remembers that it was there; at a later event within the
//! *period* the key is let in. What is remembered is a tag of the key and the number of the period, in lines of eight of
//! which the newest replaces the oldest: a flood can make a key be forgotten, which costs it another event, and one key in
//! 2⁴⁵ is taken for another, which costs a record.

use super::LimitError;
use super::memory::{LINE_WORDS, Memory};

/// Keys of a table for each line: a quarter of them can be remembered.
const KEYS_PER_LINE: usize = 4 * LINE_WORDS;

/// Bits of an entry that are the number of a period, from 1 on; the others are the tag. An entry of 0 is none.
const PERIOD_BITS: u32 = 16;
const PERIODS: u64 = (1 << PERIOD_BITS) - 1;

/// See the module.
pub(super) struct Doorkeeper {
    lines: Memory,
    count: usize,
    period: i64,
}

impl Doorkeeper {
    fn lines_for(keys_max: u32) -> usize {
        keys_max as usize / KEYS_PER_LINE + 1
    }

    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(keys_max: u32) -> u64 {
        Memory::bytes_for((Self::lines_for(keys_max) * LINE_WORDS) as u64)
    }

    /// For a table of so many keys. What was seen is remembered for one period, µs, and at most for two.
    pub(super) fn reserve(keys_max: u32, period: i64, what: &str) -> Result<Self, LimitError> {
        let count = Self::lines_for(keys_max);
        Ok(Self { lines: Memory::reserve(count * LINE_WORDS, what)?, count, period: period.max(1) })
    }

    /// All entries.
    pub(super) fn block(&mut self) -> &mut [u64] {
        &mut self.lines
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        8 * self.lines.len() as u64
    }

    /// Whether a key with this hash was seen in this period or a neighbouring one; it is from now on.
    pub(super) fn has_seen(&mut self, hash: u64, time: i64) -> bool {
        let start = ((u128::from(hash) * self.count as u128) >> 64) as usize * LINE_WORDS;
        // The line is chosen by the high bits.
        let tag = hash << PERIOD_BITS;
        let period = (time.div_euclid(self.period) as u64) % PERIODS;
        let line = &mut self.lines[start..start + LINE_WORDS];
        let known = line.iter().position(|&entry| entry != 0 && entry & !PERIODS == tag);
        let seen = known.is_some_and(|at| {
            let between = (period + PERIODS - ((line[at] & PERIODS) - 1)) % PERIODS;
            between <= 1 || between == PERIODS - 1
        });
        line[..=known.unwrap_or(LINE_WORDS - 1)].rotate_right(1);
        line[0] = tag | (period + 1);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::mix;

    #[test]
    fn a_key_is_known_at_its_second_event_for_a_period_or_two() {
        const PERIOD: i64 = 1_000;
        for second in [0, 999, 1_000, 1_999] {
            let mut door = Doorkeeper::reserve(1 << 10, PERIOD, "").unwrap();
            assert!(!door.has_seen(5, 10_000));
            assert!(door.has_seen(5, 10_000 + second), "{second} later");
            assert!(!door.has_seen(6, 10_000));
        }
        let mut door = Doorkeeper::reserve(1 << 10, PERIOD, "").unwrap();
        assert!(!door.has_seen(5, 10_000));
        assert!(!door.has_seen(5, 12_000), "too long ago");
        // Out of order, and around the end of what period numbers there are.
        assert!(door.has_seen(5, 11_500));
        let end = PERIODS as i64 * PERIOD;
        assert!(!door.has_seen(5, end - 1));
        assert!(door.has_seen(5, end));
    }

    #[test]
    fn as_many_as_it_was_made_for_are_remembered_and_the_newest_longest() {
        let mut door = Doorkeeper::reserve(32 * 1_000, 1_000_000, "").unwrap();
        let hash = |key: u64| mix(key, 7);
        let all = 8 * 1_000;
        assert!((0..all).all(|key| !door.has_seen(hash(key), 0)));
        // Lines are not filled evenly.
        let known = (all - 1_000..all).filter(|&key| door.has_seen(hash(key), 0)).count();
        assert!(known > 950, "{known}");
        // One that comes again and again is not pushed out by those that come once.
        door.has_seen(hash(1), 0);
        for key in all..100 * all {
            door.has_seen(hash(key), 0);
            assert!(key % 1_000 != 0 || door.has_seen(hash(1), 0), "after {key}");
        }
    }
}
