//! The rows of one block, or of a few, by window and lane: the innermost loop, for whatever vectors the processor has.
//!
//! Generic loops over [`Vector`], compiled once for AVX-512 (eight rows at a time), once for AVX2 (four), once for NEON (two),
//! and beside them the plain loops of [`tally`]. Which run is chosen when the engine is made; all give the same sums,
//! as whole numbers are added. Rows of a block that are outside a window are masked, not branched around: a block is
//! short, and where in it a window begins is anybody's guess.
//!
//! There are two. [`Kernel::nest`] is for windows that end together and a key whose rows are in a few blocks, as nearly
//! all are: the sums of all windows side by side, in registers, while the rows go by once for each lane. [`Kernel::add`] is for
//! all else: a block of many, added to what the segments between the ends of windows came to so far.
//!
//! A sum of 64-bit numbers takes more than 64 bits. Their halves are added apart, the upper one with the sign: no carry is
//! lost within 2³¹ rows.

use super::rows::Block;
use super::tally::{Lane, Sum, Test, tally, tally_row};

/// A lane, and what is wanted of its rows besides their count. What is not wanted may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// Index into the lanes of the shape.
    pub(super) lane: usize,
    pub(super) sum: bool,
    pub(super) least: bool,
    pub(super) greatest: bool,
}

/// What is to be done with a block.
pub(super) struct Task<'a> {
    /// Stamps in ascending order, each once. See [`Edges`](super::tree::Edges).
    pub(super) edges: &'a [u64],
    /// The lanes of the shape.
    pub(super) lanes: &'a [Lane],
    pub(super) used: &'a [Used],
}

/// All rows of a key that windows can reach.
pub(super) struct Near<'a> {
    /// From `first` on; the newest rows last.
    blocks: [Block<'a>; Near::BLOCKS],
    first: usize,
    /// The judged event's own row, and the segment that it is in.
    pub(super) own: Option<(&'a [u64], usize)>,
    /// Entries of a tree that were looked at to find them.
    pub(super) entries: u64,
}

impl Near<'_> {
    /// The most blocks.
    pub(super) const BLOCKS: usize = 4;
}

impl<'a> Near<'a> {
    /// Of nothing yet. It is filled where it is: to move it would be to copy wide what was just written narrow.
    #[inline(always)]
    pub(super) fn new() -> Self {
        const NONE: Block<'_> = Block { words: &[], capacity: 0, count: 0 };
        Self { blocks: [NONE; Self::BLOCKS], first: Self::BLOCKS, own: None, entries: 0 }
    }

    /// Adds a block of older rows, for which there must be room.
    #[inline(always)]
    pub(super) fn push_older(&mut self, block: Block<'a>) {
        self.first -= 1;
        self.blocks[self.first] = block;
    }

    #[inline(always)]
    pub(super) fn blocks(&self) -> &[Block<'a>] {
        &self.blocks[self.first..]
    }
}

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// The sums of lane `used[i]` in segment j are added to `sums[j × used + i]`.
    pub(super) add: fn(&Task<'_>, &Block<'_>, &mut [Sum]),
    /// What lane `used[i]` comes to in segment j and all after it is written to `sums[j × used + i]`.
    pub(super) nest: fn(&Task<'_>, &Near<'_>, &mut [Sum]),
}

/// The best that this processor can run.
pub(super) fn best() -> Kernel {
    all().last().map_or(PORTABLE, |&(_, kernel)| kernel)
}

/// All that this processor can run, and what they are called; the best last.
pub(super) fn all() -> Vec<(&'static str, Kernel)> {
    #[allow(unused_mut, reason = "where there is only the portable one")]
    let mut all: Vec<(&'static str, Kernel)> = vec![("portable", PORTABLE)];
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt") {
            all.push(("avx2", x86::AVX2));
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(("avx512", x86::AVX512));
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    all.push(("neon", arm::NEON));
    all
}

/// Row by row.
const PORTABLE: Kernel = Kernel { add: add_rows, nest: nest_rows };

fn add_rows(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
    let width = task.used.len();
    let mut first = block.rows_until_stamp(task.edges[0]);
    for (segment, &edge) in task.edges[1..].iter().enumerate() {
        let end = block.rows_until_stamp(edge);
        if end > first {
            for (used, sum) in task.used.iter().zip(&mut sums[segment * width..]) {
                tally(block, first..end, &task.lanes[used.lane], sum);
            }
        }
        first = end;
    }
}

fn nest_rows(task: &Task<'_>, near: &Near<'_>, sums: &mut [Sum]) {
    let width = task.used.len();
    sums.fill(Sum::EMPTY);
    near.blocks().iter().for_each(|block| add_rows(task, block, sums));
    if let Some((row, segment)) = near.own {
        for (used, sum) in task.used.iter().zip(&mut sums[segment * width..]) {
            tally_row(row, &task.lanes[used.lane], sum);
        }
    }
    nest_sums(sums, width);
}

/// Makes of sums of segments, each of so many lanes, sums of each segment and all after it.
pub(super) fn nest_sums(sums: &mut [Sum], width: usize) {
    for place in (0..sums.len().saturating_sub(width)).rev() {
        let (older, newer) = sums.split_at_mut(place + width);
        older[place].add(&newer[0]);
    }
}

/// A few 64-bit numbers.
///
/// # Safety
///
/// Whoever calls any of these must have made sure that the processor has the instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
trait Vector: Copy {
    /// How many numbers.
    const ROWS: usize;
    /// Some of them.
    type Mask: Mask;

    unsafe fn splat(word: u64) -> Self;
    /// Those whose bit is set.
    unsafe fn some(bits: u64) -> Self::Mask;
    /// A bit for each.
    unsafe fn bits(mask: Self::Mask) -> u64;
    /// The numbers from `at` on that the mask names, and 0 for the others, which are not read.
    unsafe fn load(mask: Self::Mask, at: *const u64) -> Self;
    /// Those that are not above `most`, both signed.
    unsafe fn up_to(self, most: Self) -> Self::Mask;
    /// Those that have all bits of `bits`.
    unsafe fn having(self, bits: Self) -> Self::Mask;
    /// With those of the others added that the mask names.
    unsafe fn plus(self, mask: Self::Mask, others: Self) -> Self;
    unsafe fn low_half(self) -> Self;
    /// With the sign.
    unsafe fn high_half(self) -> Self;
    /// These, or those of the others that the mask names and that are less.
    unsafe fn lesser(self, mask: Self::Mask, others: Self) -> Self;
    /// These, or those of the others that the mask names and that are greater.
    unsafe fn greater(self, mask: Self::Mask, others: Self) -> Self;
    /// What these and those come to.
    unsafe fn totals(self, other: Self) -> [u64; 2];
    unsafe fn least(self) -> i64;
    unsafe fn greatest(self) -> i64;
}

/// Which of a few numbers are meant. For safety, see [`Vector`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
trait Mask: Copy {
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn and_not(self, other: Self) -> Self;
}

/// What [`add_rows`] does, by vectors.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn add_vectors<V: Vector>(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
    // No closures here: they would be functions of their own, without the instructions.
    let edges = task.edges;
    if edges.len() > EDGES_MAX || block.count > 64 {
        return add_rows(task, block, sums);
    }
    let mut until = [0_u64; EDGES_MAX];
    // SAFETY: the instructions are there, as the caller has made sure.
    unsafe { rows_until::<V>(block, edges, &mut until) };
    let width = task.used.len();
    for (number, used) in task.used.iter().enumerate() {
        let lane = &task.lanes[used.lane];
        // SAFETY: the instructions are there, as the caller has made sure.
        let counted = unsafe { counted::<V>(block, lane) };
        for (segment, ends) in until[..edges.len()].windows(2).enumerate() {
            let rows = ends[1] & !ends[0] & counted;
            if rows == 0 {
                continue;
            }
            let sum = &mut sums[segment * width + number];
            sum.count += u64::from(rows.count_ones());
            if let Some(column) = lane.value() {
                // SAFETY: the instructions are there, as the caller has made sure; `rows` are rows of the block.
                unsafe {
                    let mut values = Values::<V>::none();
                    values.add(block.column(column), rows, used);
                    values.add_to(used, sum);
                }
            }
        }
    }
}

/// What [`nest_rows`] does, by vectors: for so many windows at a time as there are registers for.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn nest_vectors<V: Vector>(task: &Task<'_>, near: &Near<'_>, sums: &mut [Sum]) {
    let Some((&until, mut after)) = task.edges.split_last() else { return };
    let mut first = 0;
    while !after.is_empty() {
        let some = after.len().min(4);
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            match *after {
                [one] => nest_windows::<V, 1>(task, near, first, [one], until, sums),
                [one, two] => nest_windows::<V, 2>(task, near, first, [one, two], until, sums),
                [one, two, three] => nest_windows::<V, 3>(task, near, first, [one, two, three], until, sums),
                [one, two, three, four, ..] => {
                    nest_windows::<V, 4>(task, near, first, [one, two, three, four], until, sums);
                }
                [] => {}
            }
        }
        after = &after[some..];
        first += some;
    }
}

/// The windows of segments `first` and on: what is after each of these stamps, up to `until`.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn nest_windows<V: Vector, const WINDOWS: usize>(
    task: &Task<'_>,
    near: &Near<'_>,
    first: usize,
    after: [u64; WINDOWS],
    until: u64,
    sums: &mut [Sum],
) {
    let width = task.used.len();
    let windows = &Windows { near, after, until };
    for (number, used) in task.used.iter().enumerate() {
        let lane = &task.lanes[used.lane];
        // The row of the event, which does not go through the vectors.
        let mut own = Own { sum: Sum::EMPTY, windows: 0 };
        if let Some((row, segment)) = near.own {
            tally_row(row, lane, &mut own.sum);
            own.windows = (segment + 1).saturating_sub(first);
        }
        let out = Out { sums: &mut *sums, first: first * width + number, width };
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            match (lane.value(), used.sum, used.least, used.greatest) {
                (None, ..) => windows.count::<V>(lane, &own, out),
                (Some(column), true, false, false) => {
                    windows.add::<V, true, false, false>(lane, column, &own, out);
                }
                (Some(column), true, false, true) => {
                    windows.add::<V, true, false, true>(lane, column, &own, out);
                }
                (Some(column), false, false, true) => {
                    windows.add::<V, false, false, true>(lane, column, &own, out);
                }
                (Some(column), ..) => windows.add::<V, true, true, true>(lane, column, &own, out),
            }
        }
    }
}

/// What the event's own row comes to, and how many windows, the longest first, it is in.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Own {
    sum: Sum,
    windows: usize,
}

/// Where sums are written, from registers: one that is returned would be copied wide right after it was written narrow, for
/// which the processor has to wait.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Out<'a> {
    sums: &'a mut [Sum],
    first: usize,
    width: usize,
}

/// Windows that end together, and the rows that they may hold.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Windows<'a, const WINDOWS: usize> {
    near: &'a Near<'a>,
    /// Of each, the greatest stamp before it.
    after: [u64; WINDOWS],
    until: u64,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<const WINDOWS: usize> Windows<'_, WINDOWS> {
    /// Of a vector of rows from `base` on: which are of the lane, by window.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`; the block must have a row `base`.
    #[inline(always)]
    unsafe fn rows<V: Vector>(
        block: &Block<'_>,
        base: usize,
        lane: &Lane,
        (starts, until): (&[V; WINDOWS], V),
    ) -> (V::Mask, [V::Mask; WINDOWS]) {
        // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
        unsafe {
            let some = V::some(bits_below(block.count - base));
            let stamps = V::load(some, block.words.as_ptr().add(base));
            let mut rows = some.and(stamps.up_to(until));
            if let [Some(test), second] = lane.tests() {
                rows = rows.and(having::<V>(block, base, some, test));
                if let Some(test) = second {
                    rows = rows.and(having::<V>(block, base, some, test));
                }
            }
            let mut here = [rows; WINDOWS];
            for (here, start) in here.iter_mut().zip(starts) {
                *here = here.and_not(stamps.up_to(*start));
            }
            (some, here)
        }
    }

    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn edges<V: Vector>(&self) -> ([V; WINDOWS], V) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            let mut starts = [V::splat(0); WINDOWS];
            for (start, after) in starts.iter_mut().zip(self.after) {
                *start = V::splat(after);
            }
            (starts, V::splat(self.until))
        }
    }

    /// How many rows there are of a lane.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn count<V: Vector>(&self, lane: &Lane, own: &Own, out: Out<'_>) {
        let mut counts = [0; WINDOWS];
        // SAFETY: the instructions are there, as the caller has made sure; only rows of blocks are read.
        unsafe {
            let (starts, until) = self.edges::<V>();
            for block in self.near.blocks() {
                let mut base = 0;
                while base < block.count {
                    let (_, here) = Self::rows::<V>(block, base, lane, (&starts, until));
                    for (count, here) in counts.iter_mut().zip(here) {
                        *count += u64::from(V::bits(here).count_ones());
                    }
                    base += V::ROWS;
                }
            }
        }
        for (window, count) in counts.into_iter().enumerate() {
            let sum = &mut out.sums[out.first + window * out.width];
            sum.count = count + if window < own.windows { own.sum.count } else { 0 };
        }
    }

    /// The same, and what is wanted of this column.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn add<V: Vector, const SUM: bool, const LEAST: bool, const GREATEST: bool>(
        &self,
        lane: &Lane,
        column: usize,
        own: &Own,
        out: Out<'_>,
    ) {
        let mut counts = [0; WINDOWS];
        let used = &Used { lane: 0, sum: SUM, least: LEAST, greatest: GREATEST };
        // SAFETY: the instructions are there, as the caller has made sure; only rows of blocks are read.
        unsafe {
            let (starts, until) = self.edges::<V>();
            let mut values = [Values::<V>::none(); WINDOWS];
            for block in self.near.blocks() {
                let column = block.column(column).as_ptr();
                let mut base = 0;
                while base < block.count {
                    let (some, here) = Self::rows::<V>(block, base, lane, (&starts, until));
                    let words = V::load(some, column.add(base));
                    let halves = (words.low_half(), words.high_half());
                    for window in 0..WINDOWS {
                        counts[window] += u64::from(V::bits(here[window]).count_ones());
                        values[window].take(here[window], words, halves, used);
                    }
                    base += V::ROWS;
                }
            }
            for window in 0..WINDOWS {
                let mut sum = if window < own.windows { own.sum } else { Sum::EMPTY };
                values[window].add_to(used, &mut sum);
                sum.count += counts[window];
                out.sums[out.first + window * out.width] = sum;
            }
        }
    }
}

/// Of a vector of rows from `base` on: those that pass the test.
///
/// # Safety
///
/// The processor must have the instructions of `V`; `some` must be rows of the block from `base` on.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn having<V: Vector>(block: &Block<'_>, base: usize, some: V::Mask, test: Test) -> V::Mask {
    // SAFETY: as the caller has made sure.
    unsafe { V::load(some, block.column(test.column).as_ptr().add(base)).having(V::splat(test.mask)) }
}

/// Of each edge, the rows of a block of at most 64 that are not after it.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn rows_until<V: Vector>(block: &Block<'_>, edges: &[u64], until: &mut [u64; EDGES_MAX]) {
    let all = bits_below(block.count);
    let stamps = block.column(0).as_ptr();
    let mut base = 0;
    while base < block.count {
        // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
        unsafe {
            let stamps = V::load(V::some(all >> base), stamps.add(base));
            for (until, &edge) in until.iter_mut().zip(edges) {
                *until |= V::bits(stamps.up_to(V::splat(edge))) << base;
            }
        }
        base += V::ROWS;
    }
}

/// The most edges of which the vectors keep track.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const EDGES_MAX: usize = 16;

/// The lowest `count` bits, up to 64.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn bits_below(count: usize) -> u64 {
    if count < 64 { (1 << count) - 1 } else { u64::MAX }
}

/// The rows of a lane.
///
/// # Safety
///
/// The processor must have the instructions of `V`; the block must have at most 64 rows.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn counted<V: Vector>(block: &Block<'_>, lane: &Lane) -> u64 {
    let all = bits_below(block.count);
    let mut rows = all;
    for test in lane.tests() {
        let Some(Test { column, mask }) = test else { break };
        let words = block.column(column).as_ptr();
        let (mut having, mut base) = (0, 0);
        while base < block.count {
            // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
            unsafe {
                let words = V::load(V::some(all >> base), words.add(base));
                having |= V::bits(words.having(V::splat(mask))) << base;
            }
            base += V::ROWS;
        }
        rows &= having;
    }
    rows
}

/// Values being added up.
#[derive(Clone, Copy)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Values<V> {
    low: V,
    high: V,
    least: V,
    greatest: V,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<V: Vector> Values<V> {
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn none() -> Self {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            let zero = V::splat(0);
            let (least, greatest) = (V::splat(i64::MAX as u64), V::splat(i64::MIN as u64));
            Self { low: zero, high: zero, least, greatest }
        }
    }

    /// Adds the values of these rows.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`; `rows` must be places in `values`.
    #[inline(always)]
    unsafe fn add(&mut self, values: &[u64], rows: u64, used: &Used) {
        if rows == 0 {
            return;
        }
        let values = values.as_ptr();
        let end = 64 - rows.leading_zeros() as usize;
        let mut base = rows.trailing_zeros() as usize / V::ROWS * V::ROWS;
        while base < end {
            // SAFETY: the instructions are there, as the caller has made sure, and of `values` only `rows` are read.
            unsafe {
                let kept = V::some(rows >> base);
                let values = V::load(kept, values.add(base));
                self.take(kept, values, (values.low_half(), values.high_half()), used);
            }
            base += V::ROWS;
        }
    }

    /// Adds these values, of which the halves are given too.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn take(&mut self, kept: V::Mask, values: V, (low, high): (V, V), used: &Used) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            if used.sum {
                self.low = self.low.plus(kept, low);
                self.high = self.high.plus(kept, high);
            }
            if used.least {
                self.least = self.least.lesser(kept, values);
            }
            if used.greatest {
                self.greatest = self.greatest.greater(kept, values);
            }
        }
    }

    /// Adds what they came to to a sum.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn add_to(&self, used: &Used, sum: &mut Sum) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            if used.sum {
                let [low, high] = self.low.totals(self.high);
                sum.sum += (i128::from(high as i64) << 32) + i128::from(low);
            }
            if used.least {
                sum.least = sum.least.min(self.least.least());
            }
            if used.greatest {
                sum.greatest = sum.greatest.max(self.greatest.greatest());
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::Bit;
    use crate::engine::rows::{last_stamp_of, stamp};
    use crate::engine::units::mix;

    /// Random blocks, lanes and edges: every kernel against the portable one, which adds up by `tally`, which
    /// is tested against plain sums.
    #[test]
    fn all_kernels_are_equal() {
        let kernels = all();
        println!("{:?}", kernels.iter().map(|kernel| kernel.0).collect::<Vec<_>>());
        let mut random = 5_u64;
        let mut next = move || {
            random = mix(random, 1);
            random
        };
        for round in 0..20_000 {
            let (capacity, columns) = (1 + next() as usize % 64, 4);
            let count = next() as usize % (capacity + 1);
            let spread = [3, 100, 1 << 40][round % 3];
            let mut stamps: Vec<u64> =
                (0..count).map(|_| stamp((next() % spread) as i64) | next() & 1023).collect();
            stamps.sort_unstable();
            let mut words = vec![0; capacity * columns];
            words[..count].copy_from_slice(&stamps);
            for word in &mut words[capacity..] {
                *word = match next() % 4 {
                    0 => i64::MAX as u64,
                    1 => i64::MIN as u64,
                    _ => next(),
                };
            }
            let block = Block { words: &words, capacity, count };
            let bit = |column, bit| Bit { column, bit };
            let filters = [None, Some(bit(0, 3)), Some(bit(1, 60))];
            let values = [None, Some((2, bit(0, 4))), Some((3, bit(1, 5))), Some((2, bit(1, 60)))];
            let lanes: Vec<Lane> =
                filters.iter().flat_map(|&filter| values.map(|value| Lane::new(filter, value))).collect();
            let used: Vec<Used> = (0..lanes.len())
                .map(|lane| Used { lane, sum: true, least: next() & 1 == 0, greatest: next() & 1 == 0 })
                .collect();
            let mut edges: Vec<i64> =
                (0..2 + next() % 5).map(|_| (next() % (spread + 2)) as i64 - 1).collect();
            edges.push(-(1 << 60));
            edges.sort_unstable();
            edges.dedup();
            let edges: Vec<u64> = edges.into_iter().map(last_stamp_of).collect();
            let task = Task { edges: &edges, lanes: &lanes, used: &used };
            // Two blocks of what was one, in any way.
            let cut = next() as usize % (count + 1);
            let of_rows = |rows: std::ops::Range<usize>| {
                let columns = words.chunks_exact(capacity).flat_map(|column| &column[rows.clone()]);
                columns.copied().collect::<Vec<u64>>()
            };
            let halves = [of_rows(0..cut), of_rows(cut..count)];
            let half = |half: usize, count| Block { words: &halves[half], capacity: count, count };
            let own: Vec<u64> = (0..columns).map(|_| next()).collect();
            let own = (next() & 1 == 0).then_some((&own[..], next() as usize % (edges.len() - 1)));
            let mut near = Near::new();
            near.own = own;
            near.push_older(half(1, count - cut));
            if cut > 0 || next() & 1 == 0 {
                near.push_older(half(0, cut));
            }
            let sums_of = |kernel: Kernel| {
                let mut added = vec![Sum { count: 1, ..Sum::EMPTY }; (edges.len() - 1) * used.len()];
                (kernel.add)(&task, &block, &mut added);
                let mut nested = vec![Sum { count: 77, ..Sum::EMPTY }; added.len()];
                (kernel.nest)(&task, &near, &mut nested);
                for sums in [&mut added, &mut nested] {
                    for (place, sum) in sums.iter_mut().enumerate() {
                        let used = used[place % used.len()];
                        sum.least = if used.least { sum.least } else { 0 };
                        sum.greatest = if used.greatest { sum.greatest } else { 0 };
                    }
                }
                [added, nested]
            };
            let expected = sums_of(PORTABLE);
            for &(name, kernel) in &kernels {
                assert_eq!(sums_of(kernel), expected, "{name}");
            }
        }
    }
}
