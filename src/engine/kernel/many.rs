//! Many rows, a vector of them at a time, each compared with the start of every window.
//!
//! What a vector of rows has in a window is counted and added up without asking first where the window begins: how often the loop goes
//! round depends on how many rows there are, and on nothing that is in them. So no branch is guessed wrong for where a window happens to
//! begin, and no row that is far away holds up the next.
//!
//! As few rows lack a value, a lane that asks for nothing else is added up as if none did. Only where one does is it added up once more.

use super::{BEYOND, BIAS, BLOCKS, Few, Numbers, Used, Vector, bits_below};
use crate::engine::rows::Block;
use crate::engine::tally::{Lane, Test};

/// What is asked of a row before it is added: nothing, bits of its stamp, or bits of any columns.
const NOTHING: u8 = 0;
const STAMP: u8 = 1;
const COLUMNS: u8 = 2;

/// Of each block, the row after the last that windows may hold.
type Ends = [usize; BLOCKS];

/// What [`few_rows`](super::few_rows) does, for so many windows.
///
/// # Safety
///
/// The processor must have the instructions of `V`; and see [`Kernel::few`](super::Kernel::few).
#[inline(always)]
pub(super) unsafe fn few_in_windows<V: Vector, const WINDOWS: usize>(
    few: &Few<'_>,
    numbers: &mut [Numbers],
) -> bool {
    let mut ends = [0; BLOCKS];
    for (end, block) in ends.iter_mut().zip(few.blocks) {
        *end = rows_until(block, few.until);
    }
    let mut is_told = true;
    // How many rows there are in each window, if that is wanted, once it is known.
    let mut all = All { is_wanted: few.used.iter().any(|used| used.lane == Lane::ALL), counts: None };
    for (used, numbers) in few.used.iter().zip(&mut *numbers) {
        if used.lane != Lane::ALL {
            // SAFETY: as the caller has made sure.
            is_told &= unsafe { of_lane::<V, WINDOWS>(few, &ends, used, &mut all, numbers) };
        }
    }
    for (used, numbers) in few.used.iter().zip(numbers) {
        if used.lane == Lane::ALL {
            match all.counts {
                Some(counts) => numbers.count = counts,
                // SAFETY: as the caller has made sure.
                None => unsafe {
                    add::<V, WINDOWS, NOTHING, false, false, false, false>(few, &ends, &used.lane, numbers);
                },
            }
        }
    }
    is_told
}

/// How many rows there are in each window, whatever they are.
struct All {
    is_wanted: bool,
    counts: Option<[i64; Few::WINDOWS]>,
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
    (place, unsafe { V::some(bits_below(end - at) << (at - place)) })
}

/// One lane that is not all rows counted. False where a value is too large. Finds out how many rows there are besides, where
/// that takes little.
///
/// # Safety
///
/// As for [`few_in_windows`]; and the ends must be those of the blocks.
#[inline(always)]
unsafe fn of_lane<V: Vector, const WINDOWS: usize>(
    few: &Few<'_>,
    ends: &Ends,
    used: &Used,
    all: &mut All,
    numbers: &mut Numbers,
) -> bool {
    let lane = &used.lane;
    // SAFETY: as the caller has made sure.
    unsafe {
        macro_rules! add {
            ($value:literal, $least:literal, $greatest:literal) => {
                match lane.is_told_by_stamp() {
                    true => {
                        add::<V, WINDOWS, STAMP, $value, $least, $greatest, false>(few, ends, lane, numbers)
                    }
                    false => {
                        add::<V, WINDOWS, COLUMNS, $value, $least, $greatest, false>(few, ends, lane, numbers)
                    }
                }
            };
        }
        let added = match (lane.is_of_values(), used.least, used.greatest) {
            (false, ..) if all.is_wanted && all.counts.is_none() && lane.is_told_by_stamp() => {
                let added = add::<V, WINDOWS, STAMP, false, false, false, true>(few, ends, lane, numbers);
                all.counts = Some(added.all);
                added
            }
            (false, ..) => add!(false, false, false),
            (true, false, false) if lane.is_having_value() => {
                let added = add::<V, WINDOWS, NOTHING, true, false, false, false>(few, ends, lane, numbers);
                all.counts = Some(numbers.count);
                match added.is_lacking {
                    true => add!(true, false, false),
                    false => added,
                }
            }
            (true, false, false) => add!(true, false, false),
            (true, false, true) => add!(true, false, true),
            (true, true, _) => add!(true, true, true),
        };
        !added.is_large
    }
}

/// What is known of the rows that were added.
struct Added {
    /// Whether a value in a window is too large.
    is_large: bool,
    /// Where nothing was asked: whether a row, in a window or not, has not what the lane asks for.
    is_lacking: bool,
    /// Where that was wanted: how many rows there are in each window, whatever was asked.
    all: [i64; Few::WINDOWS],
}

/// Adds up a lane, asking of rows what `ASKED` says; and counts `ALL` rows.
///
/// # Safety
///
/// As for [`of_lane`].
#[inline(always)]
unsafe fn add<
    V: Vector,
    const WINDOWS: usize,
    const ASKED: u8,
    const VALUES: bool,
    const LEAST: bool,
    const GREATEST: bool,
    const ALL: bool,
>(
    few: &Few<'_>,
    ends: &Ends,
    lane: &Lane,
    numbers: &mut Numbers,
) -> Added {
    let column = lane.value().unwrap_or(0);
    let [first, second] = lane.tests();
    let first = first.unwrap_or(Test { column: 0, mask: 0 });
    let second = second.unwrap_or(first);
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
        macro_rules! take {
            ($window:expr, $rows:expr, $values:expr) => {
                counts[$window] = counts[$window].one_more($rows);
                if VALUES {
                    sums[$window] = sums[$window].plus($rows, $values);
                    if $window == 0 {
                        bits = bits.or(bias.plus($rows, $values));
                    }
                }
                if LEAST {
                    least[$window] = least[$window].lesser($rows, $values);
                }
                if GREATEST {
                    greatest[$window] = greatest[$window].greater($rows, $values);
                }
            };
        }
        if let Some((_, windows)) = few.own
            && ALL
        {
            for count in all.iter_mut().take(windows) {
                *count = count.one_more(V::some(1));
            }
        }
        if let Some((row, windows)) = few.own
            && (ASKED == NOTHING || lane.has(row))
        {
            let (one, value) = (V::some(1), V::splat(row[column]));
            lacking = V::splat(row[0]).lacking(one, masks[0]);
            for window in 0..windows.min(WINDOWS) {
                take!(window, one, value);
            }
        }
        for (block, &end) in few.blocks.iter().zip(ends) {
            debug_assert!(end <= block.count && column * block.capacity + block.count <= block.words.len());
            let start = block.words.as_ptr();
            let columns = [0, first.column, second.column, column]
                .map(|column| start.wrapping_add(column * block.capacity));
            macro_rules! take_rows {
                ($place:expr, $rows:expr) => {
                    let stamps = V::load($rows, columns[0].add($place));
                    let mut here = $rows;
                    if ALL {
                        for window in 0..WINDOWS {
                            all[window] = all[window].one_more(stamps.above(here, starts[window]));
                        }
                    }
                    match ASKED {
                        NOTHING => lacking = lacking.or(stamps.lacking(here, masks[0])),
                        STAMP => here = stamps.having(here, masks[0]),
                        _ => {
                            here = V::load($rows, columns[1].add($place)).having(here, masks[0]);
                            here = V::load($rows, columns[2].add($place)).having(here, masks[1]);
                        }
                    }
                    let values = if VALUES { V::load($rows, columns[3].add($place)) } else { zero };
                    for window in 0..WINDOWS {
                        let here = stamps.above(here, starts[window]);
                        take!(window, here, values);
                    }
                };
            }
            let mut at = 0;
            while at + V::ROWS <= end {
                take_rows!(at, every);
                at += V::ROWS;
            }
            if at < end {
                let (place, rows) = rest::<V>(block, at, end);
                take_rows!(place, rows);
            }
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
        Added {
            is_large: VALUES && bits.any_has(V::splat(BEYOND)),
            is_lacking: ASKED == NOTHING && lacking.any_has(masks[0]),
            all: if ALL { V::totals_of(four(all)) } else { [0; Few::WINDOWS] },
        }
    }
}

/// Of fewer, the last again.
#[inline(always)]
fn four<V: Copy, const WINDOWS: usize>(of: [V; WINDOWS]) -> [V; 4] {
    [of[0], of[1.min(WINDOWS - 1)], of[2.min(WINDOWS - 1)], of[3.min(WINDOWS - 1)]]
}
