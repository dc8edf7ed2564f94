//! Many rows, a vector of them at a time, each compared with the start of every window.
//!
//! What a vector of rows has in a window is counted and added up without asking first where the window begins: how often the loop goes
//! round depends on how many rows there are, and on nothing that is in them. So no branch is guessed wrong for where a window happens to
//! begin, and no row that is far away holds up the next.
//!
//! Each [`Way`] to add up a lane, for each number of windows, is a function of its own: small, so that all it works with is in registers.

use super::passes::Way;
use super::{BEYOND, BIAS, BLOCKS, Few, Numbers, Vector};
use crate::engine::rows::Block;

pub(super) use super::passes::Pass;

/// What is asked of a row before it is added: nothing, bits of its stamp, or bits of any columns.
pub(super) const NOTHING: u8 = 0;
pub(super) const STAMP: u8 = 1;
pub(super) const COLUMNS: u8 = 2;

/// What is told of the rows besides how many they are.
pub(super) const COUNT: u8 = 0;
pub(super) const SUM: u8 = 1;
pub(super) const GREATEST: u8 = 2;
pub(super) const EXTREMES: u8 = 3;

/// Of each block, the row after the last that windows may hold.
pub(super) type Ends = [usize; BLOCKS];

/// Adds up a lane, and writes what it comes to to its place.
///
/// # Safety
///
/// The processor must be one that can run it; the ends must be those of the blocks, and the pass one of the lanes; and see
/// [`Kernel::few`](super::Kernel::few).
pub(super) type Add = unsafe fn(&Few<'_>, &Ends, &Pass, &mut [Numbers]) -> Added;

/// By number of windows, and by [`Way`].
pub(super) type Ways = [[Add; Way::COUNT]; Few::WINDOWS];

/// What became known of the rows that were added.
#[derive(Clone, Copy)]
pub(super) struct Added {
    /// A value in a window is too large.
    is_large: bool,
    /// Where nothing was asked: a row, in a window or not, has not what the lane asks for.
    is_lacking: bool,
}

/// All ways, in the order of [`Way`], of a function that is [`add`] for some vectors.
macro_rules! ways {
    ($add:ident) => {{
        use $crate::engine::kernel::many::{COLUMNS, COUNT, EXTREMES, GREATEST, NOTHING, STAMP, SUM};
        macro_rules! of {
            ($windows:literal) => {
                [
                    $add::<$windows, NOTHING, COUNT, false>,
                    $add::<$windows, STAMP, COUNT, false>,
                    $add::<$windows, STAMP, COUNT, true>,
                    $add::<$windows, COLUMNS, COUNT, false>,
                    $add::<$windows, NOTHING, SUM, false>,
                    $add::<$windows, STAMP, SUM, false>,
                    $add::<$windows, STAMP, GREATEST, false>,
                    $add::<$windows, STAMP, EXTREMES, false>,
                    $add::<$windows, COLUMNS, SUM, false>,
                    $add::<$windows, COLUMNS, GREATEST, false>,
                    $add::<$windows, COLUMNS, EXTREMES, false>,
                ]
            };
        }
        [of!(1), of!(2), of!(3), of!(4)]
    }};
}
pub(super) use ways;

/// What [`few_rows`](super::few_rows) does, by vectors of rows.
///
/// # Safety
///
/// The processor must be one that can run these; and see [`Kernel::few`](super::Kernel::few).
#[inline(always)]
pub(super) unsafe fn few_by(ways: &Ways, few: &Few<'_>, numbers: &mut [Numbers]) -> bool {
    let Some(ways) = ways.get(few.windows.wrapping_sub(1)) else { return false };
    let mut ends = [0; BLOCKS];
    for (end, block) in ends.iter_mut().zip(few.blocks) {
        *end = rows_until(block, few.until);
    }
    let mut is_told = true;
    for pass in few.passes {
        // SAFETY: as the caller has made sure.
        let mut added = unsafe { ways[pass.way as usize](few, &ends, pass, numbers) };
        if added.is_lacking {
            // SAFETY: as above.
            added = unsafe { ways[Way::SumOfStamps as usize](few, &ends, pass, numbers) };
        }
        is_told &= !added.is_large;
    }
    is_told
}

/// How many rows of a block are not after this stamp: nearly always all, or none. Else the last is searched for: how many steps that
/// takes hardly depends on how many rows there are, so that it is foreseen.
#[inline(always)]
fn rows_until(block: &Block<'_>, last: u64) -> usize {
    match block.column(0) {
        [] => 0,
        [.., newest] if *newest as i64 <= last as i64 => block.count,
        [oldest, ..] if *oldest as i64 > last as i64 => 0,
        _ => block.rows_until_stamp(last),
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
    (place, unsafe { V::between(at - place, end - place) })
}

/// Adds up a lane, asking of rows what `ASKED` says, and tells of them what `TOLD` says; and counts `ALL` rows.
///
/// # Safety
///
/// See [`Add`]; the processor must have the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn add<
    V: Vector,
    const WINDOWS: usize,
    const ASKED: u8,
    const TOLD: u8,
    const ALL: bool,
>(
    few: &Few<'_>,
    ends: &Ends,
    pass: &Pass,
    numbers: &mut [Numbers],
) -> Added {
    let Pass { column, tests: [first, second], .. } = *pass;
    let (has_values, has_least) = (TOLD >= SUM, TOLD >= EXTREMES);
    let has_greatest = TOLD >= GREATEST;
    // No closures that take vectors: they would be functions of their own, without the instructions.
    // SAFETY: the instructions are there, as the caller has made sure; only rows of blocks are read.
    unsafe {
        let (zero, every, bias) = (V::splat(0), V::some(u64::MAX), V::splat(BIAS));
        let masks = [V::splat(first.mask), V::splat(second.mask)];
        let mut starts = [zero; WINDOWS];
        for (start, &stamp) in starts.iter_mut().zip(&few.starts.0) {
            *start = V::splat(stamp);
        }
        let (mut counts, mut all, mut sums) = ([zero; WINDOWS], [zero; WINDOWS], [zero; WINDOWS]);
        let mut least = [V::splat(i64::MAX as u64); WINDOWS];
        let mut greatest = [V::splat(i64::MIN as u64); WINDOWS];
        // Of all values in the longest window the bits, with the bias; and of all rows those that they lack.
        let (mut bits, mut lacking) = (zero, zero);
        for (block, &end) in few.blocks.iter().zip(ends) {
            debug_assert!(end <= block.count);
            for column in [column, first.column, second.column] {
                debug_assert!(column * block.capacity + block.count <= block.words.len());
            }
            let start = block.words.as_ptr();
            let columns = [0, first.column, second.column, column]
                .map(|column| start.wrapping_add(column * block.capacity));
            macro_rules! take {
                ($place:expr, $rows:expr) => {
                    let stamps = V::load($rows, columns[0].add($place));
                    let values = if has_values { V::load($rows, columns[3].add($place)) } else { zero };
                    let mut asked = $rows;
                    match ASKED {
                        NOTHING => lacking = lacking.or(stamps.lacking(asked, masks[0])),
                        STAMP => asked = stamps.having(asked, masks[0]),
                        _ => {
                            asked = V::load($rows, columns[1].add($place)).having(asked, masks[0]);
                            asked = V::load($rows, columns[2].add($place)).having(asked, masks[1]);
                        }
                    }
                    for window in 0..WINDOWS {
                        if ALL {
                            all[window] = all[window].one_more(stamps.above($rows, starts[window]));
                        }
                        let here = stamps.above(asked, starts[window]);
                        counts[window] = counts[window].one_more(here);
                        if has_values {
                            sums[window] = sums[window].plus(here, values);
                            if window == 0 {
                                bits = bits.or(bias.plus(here, values));
                            }
                        }
                        if has_least {
                            least[window] = least[window].lesser(here, values);
                        }
                        if has_greatest {
                            greatest[window] = greatest[window].greater(here, values);
                        }
                    }
                };
            }
            let mut at = 0;
            while at + V::ROWS <= end {
                take!(at, every);
                at += V::ROWS;
            }
            if at < end {
                let (place, rows) = rest::<V>(block, at, end);
                take!(place, rows);
            }
        }
        let counts = V::totals_of(four(counts));
        // Not of a lane that is added up once more: then it is known already, and these are not all rows.
        if let Some(of_all) = pass.all
            && (ALL || ASKED == NOTHING)
        {
            numbers[of_all].count = if ALL { V::totals_of(four(all)) } else { counts };
        }
        let numbers = &mut numbers[pass.lane];
        numbers.count = counts;
        if has_values {
            numbers.sum = V::totals_of(four(sums));
        }
        if has_least {
            numbers.least = V::least_of(four(least));
        }
        if has_greatest {
            numbers.greatest = V::greatest_of(four(greatest));
        }
        Added {
            is_large: has_values && bits.any_has(V::splat(BEYOND)),
            is_lacking: ASKED == NOTHING && has_values && lacking.any_has(masks[0]),
        }
    }
}

/// Of fewer, the last again.
#[inline(always)]
fn four<V: Copy, const WINDOWS: usize>(of: [V; WINDOWS]) -> [V; 4] {
    [of[0], of[1.min(WINDOWS - 1)], of[2.min(WINDOWS - 1)], of[3.min(WINDOWS - 1)]]
}
