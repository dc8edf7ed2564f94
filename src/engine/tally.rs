//! Adding up rows: what every sum-like feature is made from.
//!
//! A [`Lane`] says which rows of a group count and which column of them: `sum(payment.amount where outcome == approved)`
//! and `max(…)` of the same are one lane. A [`Sum`] is what the rows of a lane come to. Sums of disjoint rows can be
//! added, in any order, so that they can be kept for whole chunks of a hot key's rows.

use super::plan::Bit;
use super::rows::Block;
use std::ops::Range;

/// Bits of one column that must all be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Test {
    pub(super) column: usize,
    pub(super) mask: u64,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lane {
    tests: [Option<Test>; 2],
    column: Option<usize>,
}

/// Words of a [`Sum`] that only counts, and of one of values.
const WORDS: [usize; 2] = [1, 5];

impl Lane {
    /// All rows, counted.
    pub(super) const ALL: Self = Self { tests: [None; 2], column: None };

    /// The rows that have this bit, if one is named, counted; or those of them that have this value too, added up.
    pub(super) fn new(filter: Option<Bit>, value: Option<(usize, Bit)>) -> Self {
        let test = |bit: Bit| Test { column: bit.column, mask: 1 << bit.bit };
        let mut tests = [filter.map(test), value.map(|(_, present)| test(present))];
        match tests {
            [None, Some(_)] => tests.swap(0, 1),
            [Some(first), Some(second)] if first.column == second.column => {
                tests = [Some(Test { mask: first.mask | second.mask, ..first }), None];
            }
            _ => {}
        }
        Self { tests, column: value.map(|(column, _)| column) }
    }

    /// The same rows, counted and not added up.
    pub(super) fn counted(self) -> Self {
        Self { column: None, ..self }
    }

    /// What a row must have to count; the second only if there is a first.
    #[inline]
    pub(super) fn tests(&self) -> [Option<Test>; 2] {
        self.tests
    }

    /// Whether a row is of the lane.
    #[inline(always)]
    pub(super) fn has(&self, row: &[u64]) -> bool {
        self.tests.iter().all(|test| test.is_none_or(|test| row[test.column] & test.mask == test.mask))
    }

    /// Whether bits of a row's stamp alone say if it is of the lane.
    #[inline(always)]
    pub(super) fn is_told_by_stamp(&self) -> bool {
        matches!(self.tests, [None | Some(Test { column: 0, .. }), None])
    }

    /// Whether nothing is asked of a row but that it has a value, and its stamp says so.
    #[inline(always)]
    pub(super) fn is_having_value(&self) -> bool {
        self.is_of_values() && self.is_told_by_stamp() && self.stamp_mask().is_power_of_two()
    }

    /// The bits of its stamp that a row must have, of a lane that these tell.
    #[inline(always)]
    pub(super) fn stamp_mask(&self) -> u64 {
        self.tests[0].map_or(0, |test| test.mask)
    }

    /// The column that is added up, if one is.
    #[inline]
    pub(super) fn value(&self) -> Option<usize> {
        self.column
    }

    /// Whether values are added up, and not only counted.
    pub(super) fn is_of_values(&self) -> bool {
        self.column.is_some()
    }

    /// Words that a sum takes where it is stored.
    pub(super) fn words(&self) -> usize {
        WORDS[usize::from(self.column.is_some())]
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) sum: i128,
    /// Of no rows: the greatest number there is.
    pub(super) least: i64,
    /// Of no rows: the least number there is.
    pub(super) greatest: i64,
}

impl Sum {
    /// Of no rows.
    pub(super) const EMPTY: Self = Self { count: 0, sum: 0, least: i64::MAX, greatest: i64::MIN };

    /// Adds the sum of other rows.
    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// Writes it into as many words as its lane has.
    #[inline]
    pub(super) fn store(&self, words: &mut [u64]) {
        words[0] = self.count;
        if let [_, low, high, least, greatest] = words {
            (*low, *high) = (self.sum as u64, (self.sum >> 64) as u64);
            (*least, *greatest) = (self.least as u64, self.greatest as u64);
        }
    }

    /// Reads what [`store`](Self::store) wrote.
    #[inline]
    pub(super) fn load(words: &[u64]) -> Self {
        match *words {
            [count, low, high, least, greatest] => Self {
                count,
                sum: i128::from(high as i64) << 64 | i128::from(low),
                least: least as i64,
                greatest: greatest as i64,
            },
            _ => Self { count: words[0], ..Self::EMPTY },
        }
    }
}

/// Adds one row, if it is of the lane.
#[inline]
pub(super) fn tally_row(row: &[u64], lane: &Lane, sum: &mut Sum) {
    if lane.has(row) {
        sum.count += 1;
        if let Some(column) = lane.column {
            let value = row[column] as i64;
            sum.sum += i128::from(value);
            sum.least = sum.least.min(value);
            sum.greatest = sum.greatest.max(value);
        }
    }
}

/// Adds the rows of a lane among `rows` of a block to `sum`.
#[inline]
pub(super) fn tally(block: &Block<'_>, rows: Range<usize>, lane: &Lane, sum: &mut Sum) {
    match lane.tests {
        [None, _] => tally_where(block, rows, lane, sum, |_| true),
        [Some(test), None] => {
            let words = block.column(test.column);
            tally_where(block, rows, lane, sum, |row| words[row] & test.mask == test.mask);
        }
        [Some(first), Some(second)] => {
            let (one, two) = (block.column(first.column), block.column(second.column));
            tally_where(block, rows, lane, sum, |row| {
                one[row] & first.mask == first.mask && two[row] & second.mask == second.mask
            });
        }
    }
}

/// The row loops: without branches that depend on a row, as what is in one says nothing about the next.
#[inline(always)]
fn tally_where(
    block: &Block<'_>,
    rows: Range<usize>,
    lane: &Lane,
    sum: &mut Sum,
    counts: impl Fn(usize) -> bool,
) {
    let Some(column) = lane.column else {
        sum.count += rows.map(|row| u64::from(counts(row))).sum::<u64>();
        return;
    };
    let values = block.column(column);
    // Halves, so that a sum of up to 2³¹ rows needs no wide arithmetic.
    let (mut count, mut low, mut high) = (0_u64, 0_u64, 0_i64);
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for row in rows {
        let value = values[row] as i64;
        let all = u64::from(counts(row)).wrapping_neg() as i64;
        let kept = value & all;
        count = count.wrapping_sub(all as u64);
        low += u64::from(kept as u32);
        high += kept >> 32;
        least = least.min(kept | (!all & i64::MAX));
        greatest = greatest.max(kept | (!all & i64::MIN));
    }
    sum.add(&Sum { count, sum: (i128::from(high) << 32) + i128::from(low), least, greatest });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::mix;

    #[test]
    fn sums_agree_with_plain_ones() {
        let mut random = 5_u64;
        let mut next = move || {
            random = mix(random, 1);
            random
        };
        for round in 0..2_000 {
            let (capacity, columns) = (1 + next() as usize % 70, 4);
            let count = next() as usize % (capacity + 1);
            // Extremes among them.
            let mut word = |_| match next() % 4 {
                0 => i64::MAX as u64,
                1 => i64::MIN as u64,
                _ => next(),
            };
            let words: Vec<u64> = (0..capacity * columns).map(&mut word).collect();
            let block = Block { words: &words, capacity, count };
            let bit = |column| Bit { column, bit: 3 };
            let filter = [None, Some(bit(0)), Some(bit(1))][round % 3];
            let value = [None, Some((2, bit(0))), Some((3, bit(1))), Some((2, Bit { column: 1, bit: 60 }))];
            let value = value[round / 3 % 4];
            let lane = Lane::new(filter, value);
            let first = if count == 0 { 0 } else { round % count };
            let has = |bit: Bit, row: usize| words[bit.column * capacity + row] >> bit.bit & 1 == 1;
            let counted = (first..count)
                .filter(|&row| filter.is_none_or(|bit| has(bit, row)))
                .filter(|&row| value.is_none_or(|(_, bit)| has(bit, row)));
            let counted: Vec<usize> = counted.collect();
            let mut plain = Sum { count: counted.len() as u64, ..Sum::EMPTY };
            if let Some((column, _)) = value {
                let values = counted.iter().map(|row| words[column * capacity + row] as i64);
                plain.sum = values.clone().map(i128::from).sum();
                plain.least = values.clone().min().unwrap_or(i64::MAX);
                plain.greatest = values.max().unwrap_or(i64::MIN);
            }
            let mut sum = Sum::EMPTY;
            tally(&block, first..count, &lane, &mut sum);
            assert_eq!(sum, plain);
            let mut stored = vec![0; lane.words()];
            sum.store(&mut stored);
            assert_eq!(Sum::load(&stored), sum);
            let mut halves = Sum::EMPTY;
            let middle = (first + count) / 2;
            tally(&block, middle..count, &lane, &mut halves);
            tally(&block, first..middle, &lane, &mut halves);
            assert_eq!(halves, sum);
            let mut one_by_one = Sum::EMPTY;
            for row in first..count {
                let row: Vec<u64> = (0..columns).map(|column| words[column * capacity + row]).collect();
                tally_row(&row, &lane, &mut one_by_one);
            }
            assert_eq!(one_by_one, sum);
        }
    }
}
