//! Many rows, cut where windows begin.
//!
//! Rows are in order of time, so that those between the starts of two windows lie together. Each block is cut there, what lies
//! between two cuts is added up by vectors of rows, and a window comes to what follows its cut. So a row is looked at once, in
//! however many windows it is.

use super::{BLOCKS, Few, Numbers, Used, Vector, bits_below, rows_until};
use crate::engine::rows::Block;
use crate::engine::tally::{Lane, Test};

/// Of a block, the first row of each window, and the one after the last.
type Cuts = [usize; Few::WINDOWS + 1];

/// What [`few_rows`](super::few_rows) does, for so many windows.
///
/// # Safety
///
/// The processor must have the instructions of `V`; and see [`Kernel::few`](super::Kernel::few).
#[inline(always)]
pub(super) unsafe fn few_by_segment<V: Vector, const WINDOWS: usize>(
    few: &Few<'_>,
    numbers: &mut [Numbers],
) -> bool {
    let mut cuts = [[0; Few::WINDOWS + 1]; BLOCKS];
    for (cuts, block) in cuts.iter_mut().zip(few.blocks) {
        // SAFETY: as the caller has made sure.
        *cuts = unsafe { cut::<V, WINDOWS>(few, block) };
    }
    let mut is_told = true;
    for (used, numbers) in few.used.iter().zip(numbers) {
        if used.lane == Lane::ALL {
            for window in 0..WINDOWS {
                let mut count = few.own.map_or(0, |(_, windows)| i64::from(window < windows));
                for cuts in &cuts[..few.blocks.len()] {
                    count += (cuts[WINDOWS] - cuts[window]) as i64;
                }
                numbers.count[window] = count;
            }
            continue;
        }
        // SAFETY: as the caller has made sure.
        is_told &= unsafe { of_lane::<V, WINDOWS>(few, &cuts, used, numbers) };
    }
    is_told
}

/// Where the windows begin in a block, and where they end.
///
/// # Safety
///
/// As for [`few_by_segment`].
#[inline(always)]
unsafe fn cut<V: Vector, const WINDOWS: usize>(few: &Few<'_>, block: &Block<'_>) -> Cuts {
    let count = rows_until(block, few.until);
    let stamps = block.words.as_ptr();
    // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
    unsafe {
        let mut starts = [V::splat(0); WINDOWS];
        for (start, &stamp) in starts.iter_mut().zip(&few.starts.0) {
            *start = V::splat(stamp);
        }
        let mut before = [V::splat(0); WINDOWS];
        let every = V::some(u64::MAX);
        let mut at = 0;
        while at + V::ROWS <= count {
            let stamps = V::load(every, stamps.add(at));
            for (before, start) in before.iter_mut().zip(starts) {
                *before = before.one_more(stamps.up_to(every, start));
            }
            at += V::ROWS;
        }
        if at < count {
            let (place, rows) = rest::<V>(block, at, count);
            let stamps = V::load(rows, stamps.add(place));
            for (before, start) in before.iter_mut().zip(starts) {
                *before = before.one_more(stamps.up_to(rows, start));
            }
        }
        let [one, two, three, four] = V::totals_of(four(before)).map(|before| before as usize);
        let mut cuts = [one, two, three, four, count];
        cuts[WINDOWS] = count;
        cuts
    }
}

/// From where to load the rows from `at` up to `end`, which are fewer than a vector holds, and which of what is loaded they are.
///
/// No vector ends beyond a column that holds as many: its line is not near, and even a load that leaves it out waits for it. (Of
/// the older rows of a ring it may: there are few, and nearly all keys that have a ring go another way.)
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[inline(always)]
unsafe fn rest<V: Vector>(block: &Block<'_>, at: usize, end: usize) -> (usize, V::Mask) {
    let place = at.min(block.capacity.saturating_sub(V::ROWS));
    // SAFETY: as the caller has made sure.
    (place, unsafe { V::some(bits_below(end - at) << (at - place)) })
}

/// One lane that is not all rows counted. False where a value is too large.
///
/// # Safety
///
/// As for [`few_by_segment`]; and the cuts must be those of the blocks.
#[inline(always)]
unsafe fn of_lane<V: Vector, const WINDOWS: usize>(
    few: &Few<'_>,
    cuts: &[Cuts; BLOCKS],
    used: &Used,
    numbers: &mut Numbers,
) -> bool {
    // SAFETY: as the caller has made sure.
    unsafe {
        macro_rules! add {
            ($value:literal, $least:literal, $greatest:literal) => {
                match used.lane.is_told_by_stamp() {
                    true => {
                        add::<V, WINDOWS, false, $value, $least, $greatest>(few, cuts, &used.lane, numbers)
                    }
                    false => {
                        add::<V, WINDOWS, true, $value, $least, $greatest>(few, cuts, &used.lane, numbers)
                    }
                }
            };
        }
        match (used.lane.is_of_values(), used.least, used.greatest) {
            (false, ..) => add!(false, false, false),
            (true, false, false) => add!(true, false, false),
            (true, false, true) => add!(true, false, true),
            (true, true, _) => add!(true, true, true),
        }
    }
}

/// What the rows between two cuts come to, each number of a vector by itself.
#[derive(Clone, Copy)]
struct Segment<V> {
    counts: V,
    sums: V,
    least: V,
    greatest: V,
}

/// Adds up: with `TESTS` where a row must have more than bits of its stamp.
///
/// # Safety
///
/// As for [`of_lane`].
#[inline(always)]
unsafe fn add<
    V: Vector,
    const WINDOWS: usize,
    const TESTS: bool,
    const VALUES: bool,
    const LEAST: bool,
    const GREATEST: bool,
>(
    few: &Few<'_>,
    cuts: &[Cuts; BLOCKS],
    lane: &Lane,
    numbers: &mut Numbers,
) -> bool {
    let column = lane.value().unwrap_or(0);
    let [first, second] = lane.tests();
    let first = first.unwrap_or(Test { column: 0, mask: 0 });
    let second = second.unwrap_or(first);
    // No closures that take vectors: they would be functions of their own, without the instructions.
    // SAFETY: the instructions are there, as the caller has made sure; only rows of blocks are read.
    unsafe {
        let (zero, every) = (V::splat(0), V::some(u64::MAX));
        let none = Segment {
            counts: zero,
            sums: zero,
            least: V::splat(i64::MAX as u64),
            greatest: V::splat(i64::MIN as u64),
        };
        let (mut segments, mut bits) = ([none; WINDOWS], zero);
        if let Some((row, windows @ 1..)) = few.own
            && lane.has(row)
        {
            let segment = &mut segments[windows.min(WINDOWS) - 1];
            segment.take::<VALUES, LEAST, GREATEST>(V::some(1), V::splat(row[column]), &mut bits);
        }
        let masks = [V::splat(first.mask), V::splat(second.mask)];
        for (block, cuts) in few.blocks.iter().zip(cuts) {
            debug_assert!(column * block.capacity + block.count <= block.words.len());
            let start = block.words.as_ptr();
            let columns = [0, first.column, second.column, column]
                .map(|column| start.wrapping_add(column * block.capacity));
            for window in 0..WINDOWS {
                let segment = &mut segments[window];
                let (mut at, end) = (cuts[window], cuts[window + 1]);
                macro_rules! take {
                    ($place:expr, $rows:expr) => {
                        let mut here = $rows;
                        if TESTS {
                            here = V::load(here, columns[1].add($place)).having(here, masks[0]);
                            here = V::load(here, columns[2].add($place)).having(here, masks[1]);
                        } else {
                            here = V::load(here, columns[0].add($place)).having(here, masks[0]);
                        }
                        let values = if VALUES { V::load($rows, columns[3].add($place)) } else { zero };
                        segment.take::<VALUES, LEAST, GREATEST>(here, values, &mut bits);
                    };
                }
                while at + V::ROWS <= end {
                    take!(at, every);
                    at += V::ROWS;
                }
                if at < end {
                    let (place, rows) = rest::<V>(block, at, end);
                    take!(place, rows);
                }
            }
        }
        let mut after = segments[WINDOWS - 1];
        for segment in segments[..WINDOWS - 1].iter_mut().rev() {
            after = segment.with::<VALUES, LEAST, GREATEST>(after);
            *segment = after;
        }
        let (mut counts, mut sums, mut least, mut greatest) =
            ([zero; WINDOWS], [zero; WINDOWS], [zero; WINDOWS], [zero; WINDOWS]);
        for (window, segment) in segments.iter().enumerate() {
            counts[window] = segment.counts;
            sums[window] = segment.sums;
            least[window] = segment.least;
            greatest[window] = segment.greatest;
        }
        numbers.count = V::totals_of(four(counts));
        if VALUES {
            numbers.sum = V::totals_of(four(sums));
        }
        if LEAST {
            numbers.least = V::least_of(four(least));
        }
        if GREATEST {
            numbers.greatest = V::greatest_of(four(greatest));
        }
        !(VALUES && bits.any_has(V::splat(super::BEYOND)))
    }
}

impl<V: Vector> Segment<V> {
    /// Adds the rows that the mask names.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn take<const VALUES: bool, const LEAST: bool, const GREATEST: bool>(
        &mut self,
        here: V::Mask,
        values: V,
        bits: &mut V,
    ) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            self.counts = self.counts.one_more(here);
            if VALUES {
                self.sums = self.sums.plus(here, values);
                *bits = bits.or(V::splat(super::BIAS).plus(here, values));
            }
            if LEAST {
                self.least = self.least.lesser(here, values);
            }
            if GREATEST {
                self.greatest = self.greatest.greater(here, values);
            }
        }
    }

    /// What these and those come to.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn with<const VALUES: bool, const LEAST: bool, const GREATEST: bool>(self, other: Self) -> Self {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            let every = V::some(u64::MAX);
            Self {
                counts: self.counts.plus(every, other.counts),
                sums: if VALUES { self.sums.plus(every, other.sums) } else { self.sums },
                least: if LEAST { self.least.lesser(every, other.least) } else { self.least },
                greatest: if GREATEST { self.greatest.greater(every, other.greatest) } else { self.greatest },
            }
        }
    }
}

/// Of fewer, the last again.
#[inline(always)]
fn four<V: Copy, const WINDOWS: usize>(of: [V; WINDOWS]) -> [V; 4] {
    [of[0], of[1.min(WINDOWS - 1)], of[2.min(WINDOWS - 1)], of[3.min(WINDOWS - 1)]]
}
