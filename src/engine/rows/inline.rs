//! The rows inside a record, and what its header says of a group.
//!
//! A few rows are a *ring*: where they are full and nothing is beyond them, a new row takes the place of the oldest once that is dead, and
//! no other moves. So the oldest is anywhere among them, as the head says, and after the last of them comes the first. A key that has
//! been here for a while then always has as many rows, of which some may be dead, and to add up as many each time takes less than
//! finding out how many there are. Whatever is rarer than to add a row at the end sets the ring straight before it begins.

use super::{Block, Branch, Shape, time_of};
use crate::engine::Counters;
use crate::engine::kernel::InRecord;
use crate::engine::memory::LINE_WORDS;
use crate::engine::program::GROUP_HEADER_WORDS;
use std::ops::Range;

/// Where in the record's group header what is.
const HEAD: usize = 0;
const LOST: usize = 1;

/// First word of a group's header.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) branch: Branch,
    /// Inline rows.
    pub(super) count: usize,
    /// Where the oldest of them is. Not 0 only if they are a ring, and full, and there is no branch.
    pub(super) first: usize,
}

impl Head {
    #[inline]
    pub(super) fn of(record: &[u64], shape: &Shape) -> Self {
        let word = record[shape.inline.record_word + HEAD];
        let branch = Branch {
            slab: (word >> 32) as u32,
            level: (word >> 24) as u8,
            count: (word >> 16) as usize & 0xff,
        };
        let (count, first) = count_and_first(word);
        Self { branch, count, first }
    }

    #[inline]
    pub(super) fn store(self, record: &mut [u64], shape: &Shape) {
        let Branch { slab, level, count } = self.branch;
        record[shape.inline.record_word + HEAD] = u64::from(slab) << 32
            | u64::from(level) << 24
            | (count as u64) << 16
            | (self.first as u64) << 8
            | self.count as u64;
    }
}

/// Where in a record the rows of a group are, and what is said of them.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Inline {
    /// Where the header is.
    pub(super) record_word: usize,
    /// For so many there is room.
    pub(super) rows: usize,
    /// What these take.
    len: usize,
    /// So many there may be: as many, or fewer where `rows_per_key_max` says so.
    pub(super) max: usize,
    /// Whether they are a ring. Of many the dead are dropped instead: to look at these as well takes longer than to move the others.
    is_ring: bool,
}

impl Inline {
    /// For so many rows of so many words, from this word of a record on.
    pub(super) fn new(record_word: usize, rows: usize, row_words: usize, rows_per_key_max: usize) -> Self {
        let max = rows.min(rows_per_key_max);
        let is_ring = (1..=InRecord::ROWS_MAX).contains(&max);
        Self { record_word, rows, len: rows * row_words, max, is_ring }
    }

    /// The words of the rows.
    #[inline(always)]
    pub(super) fn words(&self) -> Range<usize> {
        let start = self.record_word + GROUP_HEADER_WORDS;
        start..start + self.len
    }

    /// The rows, in any order, if they are all that windows can reach which begin after the row of one stamp and end with that of
    /// another, and none is after these; and if they are at most so many. And the newest stamp; where there are none, one that is below
    /// all stamps and not above what a window begins after, as signed numbers go.
    #[inline(always)]
    pub(in crate::engine) fn all_between<'a>(
        &self,
        record: &'a [u64],
        after: u64,
        until: u64,
        most: usize,
    ) -> (Option<Block<'a>>, u64) {
        let [head, _, words @ ..] = &record[self.record_word..] else { return (None, u64::MAX) };
        let (head, words) = (*head, &words[..self.len]);
        let (count, first) = count_and_first(head);
        let (oldest, newest) = match count {
            0 => (i64::MAX as u64, u64::MAX),
            _ => (words[first], words[if first == 0 { count } else { first } - 1]),
        };
        let is_beyond = is_branched(head) && oldest as i64 > after as i64;
        let is_told = count <= most.min(self.rows) && !is_beyond && newest as i64 <= until as i64;
        (is_told.then_some(Block { words, capacity: self.rows, count }), newest)
    }

    /// Adds a row that is newer than all others, where there is room in the record; or where nothing is beyond it, and there will be room
    /// without the oldest rows, which are dead: nearly always. Returns how many had to move; `None`, and nothing changed, where
    /// it is not so. What is beyond the record is older than a row in it, and given up once that is dead, which is not done here.
    #[inline(always)]
    pub(super) fn push(&self, record: &mut [u64], row: &[u64], dead: i64) -> Option<usize> {
        let [head, _, words @ ..] = &mut record[self.record_word..] else { return None };
        let (count, first) = count_and_first(*head);
        let is_full = count >= self.max;
        let mut place = if is_full { first } else { count };
        // Of no rows there is no newest.
        let newest = (if place == 0 { count } else { place }).wrapping_sub(1);
        let is_newer = words.get(newest).is_none_or(|&newest| time_of(newest) < time_of(row[0]));
        // With a branch the rows are no ring: the first is the oldest.
        let is_settled = !is_branched(*head) || !is_full && count > 0 && time_of(words[0]) > dead;
        if !is_newer || !is_settled {
            return None;
        }
        if !is_full {
            *head += 1;
        } else if self.is_ring {
            if time_of(words[place]) > dead {
                return None;
            }
            let next = if place + 1 == count { 0 } else { place + 1 };
            *head = (next as u64) << 8 | count as u64;
        } else {
            return self.push_without_dead(record, row, dead);
        }
        for &word in row {
            words[place] = word;
            place += self.rows;
        }
        Some(0)
    }

    /// The same for rows that are full and no ring: those that are not dead move to where the rows begin.
    #[inline(never)]
    fn push_without_dead(&self, record: &mut [u64], row: &[u64], dead: i64) -> Option<usize> {
        let [head, _, words @ ..] = &mut record[self.record_word..] else { return None };
        let count = *head as usize;
        let dropped = words[..count].iter().position(|&stamp| time_of(stamp) > dead).unwrap_or(count);
        if dropped == 0 {
            return None;
        }
        let left = count - dropped;
        for (column, &word) in row.iter().enumerate() {
            let start = column * self.rows;
            words.copy_within(start + dropped..start + count, start);
            words[start + left] = word;
        }
        *head = left as u64 + 1;
        Some(left)
    }

    /// The time of the newest row in the record; `None` where there is none.
    #[inline(always)]
    pub(super) fn newest(&self, record: &[u64]) -> Option<i64> {
        let [head, _, words @ ..] = &record[self.record_word..] else { return None };
        let (count, first) = count_and_first(*head);
        let newest = if first == 0 { count } else { first }.checked_sub(1)?;
        words.get(newest).map(|&stamp| time_of(stamp))
    }

    /// No rows.
    #[inline(always)]
    pub(in crate::engine) fn none(&self) -> Block<'static> {
        Block { words: &[], capacity: 0, count: 0 }
    }

    /// Greatest time of the rows that were given up; `None` when none was.
    #[inline(always)]
    pub(in crate::engine) fn lost_until(&self, record: &[u64]) -> Option<i64> {
        match record[self.record_word + LOST] {
            0 => None,
            after => Some(after as i64 - 1),
        }
    }
}

/// The inline rows: the older ones, and of a ring that is not straight, the newer.
#[inline(always)]
pub(super) fn inline<'a>(record: &'a [u64], shape: &Shape, head: Head) -> (Block<'a>, Option<Block<'a>>) {
    let (words, capacity) = (&record[shape.inline.words()], shape.inline.rows);
    match head.first {
        0 => (Block { words, capacity, count: head.count }, None),
        first => {
            let older = Block { words: &words[first..], capacity, count: head.count - first };
            (older, Some(Block { words, capacity, count: first }))
        }
    }
}

/// Sets a ring straight: the oldest row comes first again.
pub(super) fn set_straight(record: &mut [u64], shape: &Shape, counters: &mut Counters) {
    let head = Head::of(record, shape);
    if head.first > 0 {
        for column in record[shape.inline.words()].chunks_exact_mut(shape.inline.rows) {
            column[..head.count].rotate_left(head.first);
        }
        counters.rows_moved += head.count as u64;
        Head { first: 0, ..head }.store(record, shape);
    }
}

/// Greatest time of the rows that were given up; `None` when none was.
#[inline]
pub(in crate::engine) fn lost_until(record: &[u64], shape: &Shape) -> Option<i64> {
    shape.inline.lost_until(record)
}

/// Remembers that rows up to this time were given up.
pub(in crate::engine) fn lose_until(record: &mut [u64], shape: &Shape, time: i64) {
    let lost = &mut record[shape.inline.record_word + LOST];
    *lost = (*lost).max(time as u64 + 1);
}

/// Whether the group's header is in the first line of the record.
#[inline]
pub(in crate::engine) fn is_headed_first(shape: &Shape) -> bool {
    shape.inline.record_word < LINE_WORDS
}

/// Where in a record that is, of a group that is headed there.
pub(in crate::engine) fn head_word(shape: &Shape) -> usize {
    shape.inline.record_word + HEAD
}

/// Whether there are rows beyond a record, by this word of it.
#[inline]
pub(in crate::engine) fn is_beyond(record: &[u64], head: usize) -> bool {
    is_branched(record[head])
}

/// How many inline rows there are, and where the oldest of them is, as a head says.
#[inline(always)]
fn count_and_first(head: u64) -> (usize, usize) {
    (head as usize & 0xff, (head >> 8) as usize & 0xff)
}

/// Whether a head says anything of a branch.
#[inline(always)]
fn is_branched(head: u64) -> bool {
    head > 0xffff
}
