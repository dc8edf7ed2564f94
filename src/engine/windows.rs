//! Windowed features: an exact rescan of the rows of a key, shared by all features that look at them.
//!
//! A [`Scan`] is what one judged event wants of one (key, group). Its blocks are read 64 rows at a time. For each
//! such chunk a window becomes a 64-bit mask of the rows inside it, and so does every predicate and presence bit
//! in use; a cell (a count, a sum, …) then works on the `and` of the masks it names. The event's own row is one more
//! block, of one row, after the stored ones.

use super::frames::Frame;
use super::plan::Bit;
use super::program::{ArchivedAgg, ArchivedProgram};
use super::rows::Block;
use super::units::{Value, mix};

/// Rows of a chunk: one per bit of a mask.
const CHUNK: usize = 64;

/// What one judged event kind wants of one (key, group).
pub(super) struct Scan {
    /// Index into the event's keys.
    pub(super) key: usize,
    /// Index into the groups.
    pub(super) group: usize,
    /// Index of the event's insert into this group, if it has one.
    pub(super) own: Option<usize>,
    pub(super) windows: Vec<Window>,
    /// Bit 0 of the masks is always set; bit i + 1 is `bits[i]`.
    pub(super) bits: Vec<Bit>,
    pub(super) cells: Vec<Cell>,
    /// The cells that count different things.
    pub(super) distinct: Vec<Cell>,
}

/// The rows of a frame that is a range of times, looking back from t − `delay`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    frame: Frame,
    delay: i64,
}

/// What is accumulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CellKind {
    Count,
    Sum,
    Min,
    Max,
    DistinctValues,
    DistinctKeys,
}

/// One thing that is accumulated over the rows of a window, where the filter and the presence bit are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) kind: CellKind,
    pub(super) window: usize,
    pub(super) filter: usize,
    pub(super) present: usize,
    pub(super) column: usize,
    /// Where it is accumulated.
    pub(super) slot: usize,
}

/// How a feature is told from its cells.
pub(super) struct Output {
    pub(super) feature: usize,
    pub(super) key: usize,
    pub(super) agg: ArchivedAgg,
    pub(super) cell: usize,
    /// The second cell of a ratio.
    pub(super) under: usize,
    pub(super) den: i64,
}

impl Scan {
    pub(super) fn new(key: usize, group: usize, own: Option<usize>) -> Self {
        let (windows, bits, cells, distinct) = Default::default();
        Self { key, group, own, windows, bits, cells, distinct }
    }

    /// The number of a window of this scan.
    pub(super) fn window(&mut self, frame: Frame, delay: i64) -> usize {
        position_or_push(&mut self.windows, Window { frame, delay })
    }

    /// The number of a bit's mask.
    pub(super) fn bit(&mut self, bit: Bit) -> usize {
        position_or_push(&mut self.bits, bit) + 1
    }

    /// The slot of a cell; equal cells share one.
    pub(super) fn cell(&mut self, cell: Cell, slots: &mut usize) -> usize {
        let distinct = matches!(cell.kind, CellKind::DistinctKeys | CellKind::DistinctValues);
        let cells = if distinct { &mut self.distinct } else { &mut self.cells };
        if let Some(same) = cells.iter().find(|known| Cell { slot: cell.slot, ..**known } == cell) {
            return same.slot;
        }
        cells.push(Cell { slot: *slots, ..cell });
        *slots += 1;
        *slots - 1
    }
}

fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

/// An accumulator.
#[derive(Clone, Copy, Default)]
pub(super) struct Accumulated {
    count: u64,
    sum: i128,
    extreme: i64,
}

/// Working memory of the scans, reserved once.
pub(super) struct Scratch {
    accumulated: Vec<Accumulated>,
    bounds: Vec<(i64, i64)>,
    window_masks: Vec<u64>,
    bit_masks: Vec<u64>,
    set: DistinctSet,
}

impl Scratch {
    pub(super) fn reserve(bounds: &super::plan::Bounds, rows_max: usize) -> Self {
        Self {
            accumulated: vec![Accumulated::default(); bounds.cells],
            bounds: vec![(0, 0); bounds.windows],
            window_masks: vec![0; bounds.windows],
            bit_masks: vec![!0; bounds.bits + 1],
            set: DistinctSet::reserve(if bounds.distinct { rows_max } else { 0 }),
        }
    }

    /// Forgets the event before.
    pub(super) fn clear(&mut self) {
        self.accumulated.fill(Accumulated::default());
    }

    /// Accumulates the cells of `scan` at time `t` over the rows of `blocks`.
    ///
    /// Returns the end of the oldest reach: a row that was given up matters if it is newer than that.
    pub(super) fn run<'a>(
        &mut self,
        scan: &Scan,
        program: &ArchivedProgram,
        t: i64,
        blocks: impl Iterator<Item = Block<'a>> + Clone,
    ) -> i64 {
        let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
        for (bounds, window) in self.bounds.iter_mut().zip(&scan.windows) {
            let until = t.saturating_sub(window.delay);
            *bounds = (window.frame.after(program, until), until);
            oldest = oldest.min(bounds.0);
            newest = newest.max(bounds.1);
        }
        let reached = move |block: &Block<'_>| block.greatest > oldest && block.least <= newest;
        let blocks = blocks.filter(reached);
        if !scan.cells.is_empty() {
            for block in blocks.clone() {
                for start in (0..block.count).step_by(CHUNK) {
                    self.chunk(scan, &block, start..block.count.min(start + CHUNK));
                }
            }
        }
        for cell in &scan.distinct {
            self.accumulated[cell.slot].count = self.distinct(scan, cell, blocks.clone());
        }
        oldest
    }

    #[inline]
    fn chunk(&mut self, scan: &Scan, block: &Block<'_>, rows: std::ops::Range<usize>) {
        let times = &block.column(0)[rows.clone()];
        let mut any = 0;
        for (mask, &(after, until)) in self.window_masks.iter_mut().zip(&self.bounds[..scan.windows.len()]) {
            *mask = mask_of_times(times, after, until);
            any |= *mask;
        }
        if any == 0 {
            return;
        }
        for (mask, bit) in self.bit_masks[1..].iter_mut().zip(&scan.bits) {
            *mask = mask_of_bit(&block.column(bit.column)[rows.clone()], bit.bit);
        }
        for cell in &scan.cells {
            let mask =
                self.window_masks[cell.window] & self.bit_masks[cell.filter] & self.bit_masks[cell.present];
            let accumulated = &mut self.accumulated[cell.slot];
            let values = || set_bits(mask).map(|row| block.column(cell.column)[rows.start + row] as i64);
            match cell.kind {
                CellKind::Sum => accumulated.sum += values().map(i128::from).sum::<i128>(),
                CellKind::Min => accumulated.least(values().min()),
                CellKind::Max => accumulated.greatest(values().max()),
                CellKind::Count | CellKind::DistinctValues | CellKind::DistinctKeys => {}
            }
            accumulated.count += u64::from(mask.count_ones());
        }
    }

    fn distinct<'a>(
        &mut self,
        scan: &Scan,
        cell: &Cell,
        blocks: impl Iterator<Item = Block<'a>> + Clone,
    ) -> u64 {
        let (after, until) = self.bounds[cell.window];
        let bit = |number: usize, block: &Block<'_>, rows: std::ops::Range<usize>| match number {
            0 => !0,
            number => {
                let bit = scan.bits[number - 1];
                mask_of_bit(&block.column(bit.column)[rows], bit.bit)
            }
        };
        self.set.clear(blocks.clone().map(|block| block.count).sum());
        for block in blocks {
            for start in (0..block.count).step_by(CHUNK) {
                let rows = start..block.count.min(start + CHUNK);
                let mut mask = mask_of_times(&block.column(0)[rows.clone()], after, until);
                if mask == 0 {
                    continue;
                }
                mask &= bit(cell.filter, &block, rows.clone()) & bit(cell.present, &block, rows);
                for row in set_bits(mask) {
                    let first = block.column(cell.column)[start + row];
                    let second = match cell.kind {
                        CellKind::DistinctKeys => block.column(cell.column + 1)[start + row],
                        _ => 0,
                    };
                    self.set.insert([first, second]);
                }
            }
        }
        self.set.count
    }

    /// The value of a feature after its scans have run.
    pub(super) fn told(&self, output: &Output) -> Value {
        let cell = &self.accumulated[output.cell];
        match output.agg {
            ArchivedAgg::Count | ArchivedAgg::DistinctValues | ArchivedAgg::DistinctKeys => {
                Value::int(cell.count as i64)
            }
            ArchivedAgg::Sum => {
                i64::try_from(cell.sum).map_or(Value::MISSING, |sum| Value::ratio(sum, output.den))
            }
            ArchivedAgg::Avg => Value::from_wide(cell.sum, i128::from(cell.count) * i128::from(output.den)),
            ArchivedAgg::Min | ArchivedAgg::Max if cell.count == 0 => Value::MISSING,
            ArchivedAgg::Min | ArchivedAgg::Max => Value::ratio(cell.extreme, output.den),
            ArchivedAgg::Ratio => match self.accumulated[output.under].count {
                0 => Value::int(0),
                under => Value::ratio(cell.count as i64, under as i64),
            },
            // All others are gathered.
            _ => Value::MISSING,
        }
    }
}

impl Accumulated {
    /// Called before `count` is raised, so that the first value found is taken as it is.
    #[inline]
    fn least(&mut self, value: Option<i64>) {
        if let Some(value) = value {
            self.extreme = if self.count == 0 { value } else { self.extreme.min(value) };
        }
    }

    #[inline]
    fn greatest(&mut self, value: Option<i64>) {
        if let Some(value) = value {
            self.extreme = if self.count == 0 { value } else { self.extreme.max(value) };
        }
    }
}

/// Bit r is set where `after < times[r] <= until`. One unsigned comparison does for both ends.
#[inline]
fn mask_of_times(times: &[u64], after: i64, until: i64) -> u64 {
    let first = (after as u64).wrapping_add(1);
    let width = until.wrapping_sub(after) as u64;
    mask_of(times, |time| time.wrapping_sub(first) < width)
}

/// Bit r is set where bit `bit` of `words[r]` is.
#[inline]
fn mask_of_bit(words: &[u64], bit: u32) -> u64 {
    mask_of(words, |word| word >> bit & 1 != 0)
}

/// Eight rows at a time, so that the loop over them is unrolled.
#[inline]
fn mask_of(words: &[u64], is_set: impl Fn(u64) -> bool + Copy) -> u64 {
    let mut mask = 0;
    let mut eights = words.chunks_exact(8);
    let mut row = 0;
    for eight in &mut eights {
        let mut byte = 0;
        for (bit, &word) in eight.iter().enumerate() {
            byte |= u64::from(is_set(word)) << bit;
        }
        mask |= byte << row;
        row += 8;
    }
    for (bit, &word) in eights.remainder().iter().enumerate() {
        mask |= u64::from(is_set(word)) << (row + bit);
    }
    mask
}

#[inline]
fn set_bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let row = mask.trailing_zeros();
        let some = (mask != 0).then_some(row as usize);
        mask &= mask.wrapping_sub(1);
        some
    })
}

/// An exact set of 128-bit items, emptied in no time: an entry counts only if it carries the current round.
struct DistinctSet {
    entries: Vec<([u64; 2], u64)>,
    round: u64,
    mask: usize,
    count: u64,
}

impl DistinctSet {
    /// For up to `items` different items.
    fn reserve(items: usize) -> Self {
        let entries =
            if items == 0 { Vec::new() } else { vec![([0, 0], 0); (items * 2).next_power_of_two()] };
        Self { entries, round: 0, mask: 0, count: 0 }
    }

    /// Empties the set and prepares it for at most `items` items; few items touch little memory.
    fn clear(&mut self, items: usize) {
        self.round += 1;
        self.count = 0;
        self.mask = (items * 2).next_power_of_two().min(self.entries.len()) - 1;
    }

    #[inline]
    fn insert(&mut self, item: [u64; 2]) {
        let mut at = mix(item[0], item[1]) as usize & self.mask;
        loop {
            let entry = &mut self.entries[at];
            if entry.1 != self.round {
                *entry = (item, self.round);
                self.count += 1;
                return;
            }
            if entry.0 == item {
                return;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn masks_agree_with_the_plain_comparison() {
        let mut random = 5_u64;
        for round in 0..3_000 {
            let len = round % 65;
            let times: Vec<u64> = (0..len)
                .map(|row| {
                    random = mix(random, row as u64);
                    random % 50
                })
                .collect();
            let (after, until) = ((random >> 20) as i64 % 60 - 30, (random >> 30) as i64 % 60);
            let until = until.max(after + 1);
            let plain = |mask: u64, row: usize| {
                let time = times[row] as i64;
                mask | u64::from(after < time && time <= until) << row
            };
            assert_eq!(mask_of_times(&times, after, until), (0..len).fold(0, plain));
            let bit = |mask: u64, row: usize| mask | (times[row] >> 3 & 1) << row;
            assert_eq!(mask_of_bit(&times, 3), (0..len).fold(0, bit));
        }
    }

    #[test]
    fn the_set_counts_different_items_exactly() {
        let mut set = DistinctSet::reserve(500);
        let mut random = 1_u64;
        for items in [1, 2, 30, 500] {
            set.clear(items);
            let mut model = BTreeSet::new();
            for item in 0..items {
                random = mix(random, item as u64);
                let item = [random % 97, random >> 60];
                set.insert(item);
                model.insert(item);
                assert_eq!(set.count, model.len() as u64);
            }
        }
    }
}
