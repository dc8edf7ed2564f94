//! Windows abreast: of few rows, each is compared with the starts of all windows at once, and added to those that it is in.
//!
//! A vector holds a number for each window. So nothing is folded in the end, no vector is half full of rows, and the work is so
//! many instructions a row however the rows lie. Where there are enough rows and none is asked, vectors of rows do more at a time: for
//! each window its own, and in the end they are turned, so that again there is a number for each window. What is left of a vector
//! is added abreast.
//!
//! Nearly always every row has a value. So of a lane that asks for nothing else it is not asked row by row: the bits of all rows are
//! looked at together in the end, and only where one is missing are they gone through again. The values are added up with
//! [`BIAS`] on top, which takes their sign away: then bits say whether one was too large, what is in no window is 0, and the greatest is
//! found by one instruction.

use super::{AddUp, BEYOND, BIAS, Few, InRecord, Lanes, Numbers, StampLane, Starts, UpToFour, Wanted};
use std::marker::PhantomData;

/// Adds up rows in a record, `PARTS` vectors for each row: so many that they hold a number for each window.
pub(super) struct Abreast<V, const PARTS: usize>(PhantomData<V>);

impl<V: UpToFour, const PARTS: usize> AddUp for Abreast<V, PARTS> {
    #[inline(always)]
    unsafe fn add_up(rows: &InRecord<'_>, lanes: &Lanes, numbers: &mut [Numbers; Numbers::LANES]) -> bool {
        const { assert!(PARTS * V::ROWS == Few::WINDOWS, "a number for each window") };
        let mut counts_of_all = None;
        for lane in &lanes.others {
            let numbers = &mut numbers[lane.lane % Numbers::LANES];
            // SAFETY: as the caller has made sure.
            unsafe {
                let biases = V::load(V::some(u64::MAX), lanes.biases.as_ptr());
                let mut told = of_lane::<V, PARTS>(rows, lane, (lane.is_having_value, biases), numbers);
                match told.counts_of_all {
                    Some(counts) => counts_of_all = Some(counts),
                    None if lane.is_having_value => told = of_lane(rows, lane, (false, biases), numbers),
                    None => {}
                }
                if told.is_large {
                    return false;
                }
            }
        }
        if let Some(all) = lanes.all {
            // SAFETY: as the caller has made sure.
            unsafe {
                let counts = match counts_of_all {
                    Some(counts) => counts,
                    None => add::<V, PARTS, false, false, false>(rows, (0, 0), V::splat(BIAS)).counts,
                };
                for (part, counts) in counts.into_iter().enumerate() {
                    counts.store(&mut numbers[all % Numbers::LANES].count, part * V::ROWS);
                }
            }
        }
        true
    }
}

/// What is known when a lane has been added up.
struct Known<V, const PARTS: usize> {
    /// Whether a value is too large.
    is_large: bool,
    /// How many rows there are in each window, if it is known that all are of the lane.
    counts_of_all: Option<[V; PARTS]>,
}

/// What rows come to, by window.
#[derive(Clone, Copy)]
struct Added<V, const PARTS: usize> {
    counts: [V; PARTS],
    /// With as many times the bias.
    sums: [V; PARTS],
    least: [V; PARTS],
    /// With the bias; 0 of no rows.
    greatest: [V; PARTS],
    /// The bits of all values with the bias.
    some: [V; PARTS],
    /// The bits that all stamps have.
    every: V,
}

/// One lane, as if all rows were of it; or as it is, each row being asked.
///
/// # Safety
///
/// As for [`AddUp::add_up`].
#[inline(always)]
unsafe fn of_lane<V: UpToFour, const PARTS: usize>(
    rows: &InRecord<'_>,
    lane: &StampLane,
    (as_if_all, biases): (bool, V),
    numbers: &mut Numbers,
) -> Known<V, PARTS> {
    let of = (lane.column, lane.mask);
    // SAFETY: the instructions are there, as the caller has made sure.
    unsafe {
        let added = match (as_if_all, lane.wanted) {
            (true, Wanted::SumAndLeast) => add::<V, PARTS, false, true, true>(rows, of, biases),
            (true, _) => add::<V, PARTS, false, true, false>(rows, of, biases),
            (false, Wanted::Count) => add::<V, PARTS, true, false, false>(rows, of, biases),
            (false, Wanted::Sum) => add::<V, PARTS, true, true, false>(rows, of, biases),
            (false, Wanted::SumAndLeast) => add::<V, PARTS, true, true, true>(rows, of, biases),
        };
        let (zero, every) = (V::splat(0), V::some(u64::MAX));
        let mut is_large = false;
        for part in 0..PARTS {
            let counts = added.counts[part];
            counts.store(&mut numbers.count, part * V::ROWS);
            added.sums[part].minus(counts.biases()).store(&mut numbers.sum, part * V::ROWS);
            let greatest = added.greatest[part].minus(biases);
            let greatest = V::splat(i64::MIN as u64).greater(counts.above(every, zero), greatest);
            greatest.store(&mut numbers.greatest, part * V::ROWS);
            if matches!(lane.wanted, Wanted::SumAndLeast) {
                added.least[part].store(&mut numbers.least, part * V::ROWS);
            }
            is_large |= added.some[part].any_has(V::splat(BEYOND));
        }
        let is_of_all = as_if_all && added.every.all_have(V::splat(lane.mask));
        Known { is_large, counts_of_all: is_of_all.then_some(added.counts) }
    }
}

/// Adds up a column: with `ASKED` of the rows whose stamps have these bits.
///
/// # Safety
///
/// As for [`AddUp::add_up`].
#[inline(always)]
unsafe fn add<V: UpToFour, const PARTS: usize, const ASKED: bool, const VALUES: bool, const LEAST: bool>(
    rows: &InRecord<'_>,
    (column, mask): (usize, u64),
    biases: V,
) -> Added<V, PARTS> {
    let InRecord { block, own, starts } = rows;
    debug_assert!(block.count <= block.capacity && (column + 1) * block.capacity <= block.words.len());
    let stamps = block.words.as_ptr();
    let values = stamps.wrapping_add(column * block.capacity);
    // No closures that take vectors: they would be functions of their own, without the instructions.
    // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read, and there are as many starts
    // as the parts have numbers.
    unsafe {
        let (zero, every) = (V::splat(0), V::some(u64::MAX));
        let mask = V::splat(mask);
        let mut added = Added {
            counts: [zero; PARTS],
            sums: [zero; PARTS],
            least: [V::splat(i64::MAX as u64); PARTS],
            greatest: [zero; PARTS],
            some: [zero; PARTS],
            every,
        };
        if let Some(own) = own {
            let (stamp, value) = (V::splat(own[0]), V::splat(own[column]));
            let here = if ASKED { stamp.having(every, mask) } else { every };
            added.every = added.every.and(stamp);
            for part in 0..PARTS {
                added.take::<VALUES, LEAST>(part, here, value, biases);
            }
        }
        let mut after = [zero; PARTS];
        for (part, after) in after.iter_mut().enumerate() {
            *after = V::load(every, starts.0.as_ptr().wrapping_add(part * V::ROWS));
        }
        let mut row = 0;
        if VALUES && !ASKED && !LEAST && block.count >= 3 * V::ROWS {
            // Three windows are as many as most policies have.
            row = match starts.0[Few::WINDOWS - 1] == i64::MAX as u64 {
                true => added.take_vectors::<3>((stamps, values, block.count), starts, biases),
                false => {
                    added.take_vectors::<{ Few::WINDOWS }>((stamps, values, block.count), starts, biases)
                }
            };
        }
        // Two at a time, as the compiler does not by itself.
        macro_rules! add_row {
            ($row:expr) => {
                let stamp = V::splat_at(stamps.add($row));
                let value = if VALUES { V::splat_at(values.add($row)) } else { zero };
                added.every = added.every.and(stamp);
                for (part, &after) in after.iter().enumerate() {
                    let mut here = stamp.above(every, after);
                    if ASKED {
                        here = stamp.having(here, mask);
                    }
                    added.take::<VALUES, LEAST>(part, here, value, biases);
                }
            };
        }
        while row + 1 < block.count {
            add_row!(row);
            add_row!(row + 1);
            row += 2;
        }
        if row < block.count {
            add_row!(row);
        }
        added
    }
}

impl<V: UpToFour, const PARTS: usize> Added<V, PARTS> {
    /// Adds a row of this value to those windows of a part that the mask names.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`.
    #[inline(always)]
    unsafe fn take<const VALUES: bool, const LEAST: bool>(
        &mut self,
        part: usize,
        here: V,
        value: V,
        biases: V,
    ) {
        // SAFETY: the instructions are there, as the caller has made sure.
        unsafe {
            self.counts[part] = self.counts[part].one_more(here);
            if VALUES {
                let every = V::some(u64::MAX);
                let biased = value.plus(every, biases).and(here);
                self.sums[part] = self.sums[part].plus(every, biased);
                self.greatest[part] = self.greatest[part].greater_of(biased);
                self.some[part] = self.some[part].or(biased);
            }
            if LEAST {
                self.least[part] = self.least[part].lesser(here, value);
            }
        }
    }

    /// Adds rows from the first on, a vector of them at a time, to those of the first `WINDOWS` windows that they are in; rows are in no
    /// other. Returns how many it added.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `V`; so many stamps and values must be there.
    #[inline(always)]
    unsafe fn take_vectors<const WINDOWS: usize>(
        &mut self,
        (stamps, values, count): (*const u64, *const u64, usize),
        starts: &Starts,
        biases: V,
    ) -> usize {
        let mut row = 0;
        // SAFETY: the instructions are there, and the rows, as the caller has made sure.
        unsafe {
            let (zero, every) = (V::splat(0), V::some(u64::MAX));
            let mut after = [zero; WINDOWS];
            for (window, after) in after.iter_mut().enumerate() {
                *after = V::splat_at(&raw const starts.0[window]);
            }
            // By window; and of those that there are not, nothing.
            let (mut counts, mut sums, mut greatest) =
                ([zero; Few::WINDOWS], [zero; Few::WINDOWS], [zero; Few::WINDOWS]);
            let (mut some, mut all) = (zero, self.every);
            while row + V::ROWS <= count {
                let stamps = V::load_all(stamps.add(row));
                let biased = V::load_all(values.add(row)).plus(every, biases);
                all = all.and(stamps);
                for window in 0..WINDOWS {
                    let here = stamps.above(every, after[window]);
                    let biased = biased.and(here);
                    counts[window] = counts[window].one_more(here);
                    sums[window] = sums[window].plus(every, biased);
                    greatest[window] = greatest[window].greater_of(biased);
                    // The first window is the longest.
                    if window == 0 {
                        some = some.or(biased);
                    }
                }
                row += V::ROWS;
            }
            for part in 0..PARTS {
                let first = part * V::ROWS;
                self.counts[part] = self.counts[part].plus(every, V::turned(&counts[first..], false));
                self.sums[part] = self.sums[part].plus(every, V::turned(&sums[first..], false));
                self.greatest[part] = self.greatest[part].greater_of(V::turned(&greatest[first..], true));
                self.some[part] = self.some[part].or(some);
            }
            self.every = all;
        }
        row
    }
}
