//! Windows abreast: of few rows, each is compared with the starts of all windows at once, and added to those that it is in.
//!
//! A vector holds a number for each window. So nothing is folded in the end, no vector is half full of rows, and the work is so
//! many instructions a row however the rows lie. Of many rows a vector of rows does more at a time.

use super::{BEYOND, BIAS, Few, Numbers, UpToFour, Used, rows_until};
use crate::engine::tally::{Lane, Test};

/// For so many rows, the event's own apart.
pub(super) const ROWS_MAX: usize = 20;

/// What [`few_rows`](super::few_rows) does, `PARTS` vectors for each row: so many that they hold a number for each window.
///
/// # Safety
///
/// The processor must have the instructions of `V`; and see [`Kernel::few`](super::Kernel::few).
#[inline(always)]
pub(super) unsafe fn few_abreast<V: UpToFour, const PARTS: usize>(
    few: &Few<'_>,
    numbers: &mut [Numbers],
) -> bool {
    const { assert!(PARTS * V::ROWS == Few::WINDOWS, "a number for each window") };
    // SAFETY: the instructions are there, as the caller has made sure, and there are as many starts as the parts have numbers.
    unsafe {
        let mut starts = [V::splat(0); PARTS];
        for (part, start) in starts.iter_mut().enumerate() {
            *start = V::load(V::some(u64::MAX), few.starts.0.as_ptr().wrapping_add(part * V::ROWS));
        }
        let mut lane = 0;
        while lane < few.used.len() {
            let (used, numbers) = (few.used[lane], &mut numbers[lane..]);
            // All rows are counted in passing.
            let next = few.used.get(lane + 1).filter(|_| used.lane == Lane::ALL);
            let next = next.filter(|next| next.lane.is_of_values());
            lane += 1 + usize::from(next.is_some());
            let is_told = match next {
                Some(next) => of_lane::<V, PARTS, true>(few, &starts, next, numbers),
                None => of_lane::<V, PARTS, false>(few, &starts, &used, numbers),
            };
            if !is_told {
                return false;
            }
        }
    }
    true
}

/// One lane; with `ALL`, after what all rows come to.
///
/// # Safety
///
/// As for [`few_abreast`].
#[inline(always)]
unsafe fn of_lane<V: UpToFour, const PARTS: usize, const ALL: bool>(
    few: &Few<'_>,
    starts: &[V; PARTS],
    used: &Used,
    numbers: &mut [Numbers],
) -> bool {
    let lane = &used.lane;
    // SAFETY: as the caller has made sure.
    unsafe {
        macro_rules! add {
            ($value:literal, $least:literal, $greatest:literal) => {
                match lane.is_told_by_stamp() {
                    true => {
                        add::<V, PARTS, ALL, false, $value, $least, $greatest>(few, starts, lane, numbers)
                    }
                    false => {
                        add::<V, PARTS, ALL, true, $value, $least, $greatest>(few, starts, lane, numbers)
                    }
                }
            };
        }
        match (lane.is_of_values(), used.least, used.greatest) {
            (false, ..) => add!(false, false, false),
            (true, false, false) => add!(true, false, false),
            (true, false, true) => add!(true, false, true),
            (true, true, _) => add!(true, true, true),
        }
    }
}

/// What rows come to, by window.
#[derive(Clone, Copy)]
struct Added<V, const PARTS: usize> {
    all: [V; PARTS],
    counts: [V; PARTS],
    sums: [V; PARTS],
    least: [V; PARTS],
    greatest: [V; PARTS],
    /// The bits of all values.
    bits: [V; PARTS],
}

/// Adds up: with `TESTS` where a row must have more than bits of its stamp.
///
/// # Safety
///
/// As for [`few_abreast`].
#[inline(always)]
unsafe fn add<
    V: UpToFour,
    const PARTS: usize,
    const ALL: bool,
    const TESTS: bool,
    const VALUES: bool,
    const LEAST: bool,
    const GREATEST: bool,
>(
    few: &Few<'_>,
    starts: &[V; PARTS],
    lane: &Lane,
    numbers: &mut [Numbers],
) -> bool {
    let column = lane.value().unwrap_or(0);
    // No closures that take vectors: they would be functions of their own, without the instructions.
    // SAFETY: the instructions are there, as the caller has made sure; only rows of blocks are read, and of ordinals and numbers as
    // many as the parts have.
    unsafe {
        let zero = V::splat(0);
        let mut added = Added {
            all: [zero; PARTS],
            counts: [zero; PARTS],
            sums: [zero; PARTS],
            least: [V::splat(i64::MAX as u64); PARTS],
            greatest: [V::splat(i64::MIN as u64); PARTS],
            bits: [zero; PARTS],
        };
        let every = V::some(u64::MAX);
        if let Some((row, windows)) = few.own {
            let (windows, value) = (V::splat(windows as u64), V::splat(row[column]));
            let is_of_lane = V::some(u64::from(lane.has(row)).wrapping_neg());
            for part in 0..PARTS {
                let ordinals = V::load(every, ORDINALS.as_ptr().wrapping_add(part * V::ROWS));
                let here = windows.above(every, ordinals);
                if ALL {
                    added.all[part] = added.all[part].one_more(here);
                }
                let here = windows.above(is_of_lane, ordinals);
                added.take::<VALUES, LEAST, GREATEST>(part, here, value);
            }
        }
        let [first, second] = lane.tests();
        let first = first.unwrap_or(Test { column: 0, mask: 0 });
        let second = second.unwrap_or(first);
        let masks = [V::splat(first.mask), V::splat(second.mask)];
        for block in few.blocks {
            debug_assert!(
                block.count <= block.capacity && (column + 1) * block.capacity <= block.words.len()
            );
            let column_of = |column: usize| block.words.as_ptr().wrapping_add(column * block.capacity);
            let (stamps, values) = (column_of(0), column_of(column));
            let tested = [column_of(first.column), column_of(second.column)];
            for row in 0..rows_until(block, few.until) {
                let stamp = V::splat(*stamps.add(row));
                for (part, &start) in starts.iter().enumerate() {
                    let mut here = stamp.above(every, start);
                    if ALL {
                        added.all[part] = added.all[part].one_more(here);
                    }
                    if TESTS {
                        here = V::splat(*tested[0].add(row)).having(here, masks[0]);
                        here = V::splat(*tested[1].add(row)).having(here, masks[1]);
                    } else {
                        here = stamp.having(here, masks[0]);
                    }
                    let value = V::splat(if VALUES { *values.add(row) } else { 0 });
                    added.take::<VALUES, LEAST, GREATEST>(part, here, value);
                }
            }
        }
        let (all, rest) = numbers.split_at_mut(usize::from(ALL));
        let numbers = &mut rest[0];
        let mut is_large = false;
        for part in 0..PARTS {
            if ALL {
                added.all[part].store(&mut all[0].count, part * V::ROWS);
            }
            added.counts[part].store(&mut numbers.count, part * V::ROWS);
            if VALUES {
                added.sums[part].store(&mut numbers.sum, part * V::ROWS);
                is_large |= added.bits[part].any_has(V::splat(BEYOND));
            }
            if LEAST {
                added.least[part].store(&mut numbers.least, part * V::ROWS);
            }
            if GREATEST {
                added.greatest[part].store(&mut numbers.greatest, part * V::ROWS);
            }
        }
        !is_large
    }
}

/// Places of windows.
const ORDINALS: [u64; Few::WINDOWS] = [0, 1, 2, 3];

impl<V: UpToFour, const PARTS: usize> Added<V, PARTS> {
    /// Adds a row of this value to those windows of a part that the mask names.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn take<const VALUES: bool, const LEAST: bool, const GREATEST: bool>(
        &mut self,
        part: usize,
        here: V::Mask,
        value: V,
    ) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            self.counts[part] = self.counts[part].one_more(here);
            if VALUES {
                self.sums[part] = self.sums[part].plus(here, value);
                let biased = V::splat(BIAS).plus(here, value);
                self.bits[part] = self.bits[part].or(biased);
            }
            if LEAST {
                self.least[part] = self.least[part].lesser(here, value);
            }
            if GREATEST {
                self.greatest[part] = self.greatest[part].greater(here, value);
            }
        }
    }
}
