//! The rows of one block, or of a few, by window and lane: the innermost loop, for whatever vectors the processor has.
//!
//! Generic loops over [`Vector`], compiled once for AVX-512 (eight rows at a time), once for AVX2 (four), once for NEON (two),
//! and beside them the plain loops of [`tally`]. Which run is chosen when the engine is made; all give the same sums,
//! as whole numbers are added.
//!
//! There are three. [`Kernel::direct`] and [`Kernel::few`] are for windows that end together, four at a time. Up to some twenty rows
//! in a record, as nearly all keys have, are compared with the starts of all windows at once, a vector of windows for each row
//! (`abreast`, by vectors of no more than four numbers). More, or rows in a few blocks, are compared with them by vectors of rows
//! (`many`). [`Kernel::add`] is for all else: a block of many, added to what the segments between the ends of windows came to
//! so far. In all of them rows that are outside a window are masked, not branched around: a block is short, and where in it a window
//! begins is anybody's guess.
//!
//! A sum of 64-bit numbers takes more than 64 bits. The first two add up what cannot come to more, as few rows of values
//! below 2⁵³ cannot, and say so of all else. [`Kernel::add`] adds their halves apart, the upper one with the sign: no carry is
//! lost within 2³¹ rows.

use super::direct::{self, AddUp, Run};
use super::rows::Block;
use super::tally::{Lane, Sum, Test, tally, tally_row};
use std::mem::MaybeUninit;

pub(super) use passes::Pass;

/// A lane, and what is wanted of its rows besides their count. What is not wanted may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    pub(super) lane: Lane,
    /// Index into the lanes of the shape.
    pub(super) number: usize,
    pub(super) sum: bool,
    pub(super) least: bool,
    pub(super) greatest: bool,
}

/// What is to be done with a block.
pub(super) struct Task<'a> {
    /// Stamps in ascending order, each once. See [`Edges`](super::tree::Edges).
    pub(super) edges: &'a [u64],
    pub(super) used: &'a [Used],
}

/// All rows of a key that windows can reach.
pub(super) struct Near<'a, 'room> {
    /// The first `count` of them are there.
    blocks: &'room mut NearRoom<'a>,
    count: usize,
    /// Their rows; the judged event's own is not among them.
    pub(super) rows: usize,
    /// Entries of a tree that were looked at to find them.
    pub(super) entries: u64,
}

/// Where the blocks of a [`Near`] are: apart from it, so that nobody sets them to nothing first.
pub(super) type NearRoom<'a> = [MaybeUninit<Block<'a>>; BLOCKS];

/// The most blocks of a [`Near`], the judged event's own row among them.
const BLOCKS: usize = Near::STORED + 1;

impl<'a, 'room> Near<'a, 'room> {
    /// The most blocks of stored rows.
    pub(super) const STORED: usize = 4;

    /// For blocks.
    #[inline(always)]
    pub(super) fn room() -> NearRoom<'a> {
        [const { MaybeUninit::uninit() }; BLOCKS]
    }

    /// Of nothing yet.
    #[inline(always)]
    pub(super) fn new(room: &'room mut NearRoom<'a>) -> Self {
        Self { blocks: room, count: 0, rows: 0, entries: 0 }
    }

    /// Adds a block, for which there must be room; in what order does not matter.
    #[inline(always)]
    pub(super) fn push(&mut self, block: Block<'a>) {
        self.blocks[self.count].write(block);
        self.count += 1;
        self.rows += block.count;
    }

    /// Adds the judged event's own row, once.
    #[inline(always)]
    pub(super) fn push_own(&mut self, row: &'a [u64]) {
        self.blocks[self.count].write(Block::of_row(row));
        self.count += 1;
    }

    #[inline(always)]
    pub(super) fn blocks(&self) -> &[Block<'a>] {
        // SAFETY: so many have been written, one after the other.
        unsafe { self.blocks[..self.count].assume_init_ref() }
    }
}

/// Rows near by, and windows that end together.
pub(super) struct Few<'a> {
    /// At most [`Near::STORED`] of at most 128 rows, which are no more than there is room for, with all columns of the lanes; and the
    /// event's own row.
    pub(super) blocks: &'a [Block<'a>],
    /// Of each window, the longest first, the greatest stamp before it.
    pub(super) starts: &'a Starts,
    /// How many they are: one to [`Few::WINDOWS`].
    pub(super) windows: usize,
    /// The greatest stamp in them.
    pub(super) until: u64,
    pub(super) used: &'a [Used],
    /// Those that [`Pass::of`] makes of these.
    pub(super) passes: &'a [Pass],
}

/// The greatest stamps before few windows; from there on, above all stamps.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Starts(pub(super) [u64; Few::WINDOWS]);

impl Starts {
    /// Of no windows.
    pub(super) const NONE: Self = Self([i64::MAX as u64; Few::WINDOWS]);

    /// Of these, of which there are at most [`Few::WINDOWS`].
    #[inline]
    pub(super) fn of(stamps: &[u64]) -> Self {
        let mut starts = Self::NONE;
        starts.0.iter_mut().zip(stamps).for_each(|(start, &stamp)| *start = stamp);
        starts
    }
}

/// Rows of a record that windows can reach, if these are all, and none is after the end of the windows.
pub(super) struct InRecord<'a> {
    /// At most [`InRecord::ROWS_MAX`], which are no more than there is room for. In any order.
    pub(super) block: Block<'a>,
    /// The event's own row, if it is in all windows; else it is in none.
    pub(super) own: Option<&'a [u64]>,
    pub(super) starts: &'a Starts,
}

impl InRecord<'_> {
    /// Of more rows than that, vectors of rows are less work.
    pub(super) const ROWS_MAX: usize = 20;
}

/// Lanes that are told by the stamps of rows.
pub(super) struct Lanes {
    pub(super) used: Vec<Used>,
    /// Those that [`Pass::of`] makes of these.
    pub(super) passes: Vec<Pass>,
    /// Which of them is that of all rows.
    all: Option<usize>,
    others: Vec<StampLane>,
    /// [`BIAS`] for each window: in memory, as the compiler would add a constant to each value before it makes a vector of it.
    biases: [u64; Few::WINDOWS],
}

/// A lane, and what is wanted of it.
#[derive(Clone, Copy)]
struct StampLane {
    lane: usize,
    wanted: Wanted,
    /// Whether nothing is asked of a row but that it has a value.
    is_having_value: bool,
    column: usize,
    /// The bits of its stamp that a row must have.
    mask: u64,
}

#[derive(Clone, Copy)]
enum Wanted {
    Count,
    Sum,
    /// And the least of its values.
    SumAndLeast,
}

impl Lanes {
    /// `None` where there are more than [`Numbers::LANES`], or one is not told by stamps.
    pub(super) fn of(used: &[Used]) -> Option<Self> {
        let is_all = |used: &Used| used.lane == Lane::ALL;
        let others =
            used.iter().enumerate().filter(|(_, used)| !is_all(used)).map(|(lane, used)| StampLane {
                lane,
                wanted: match used.lane.value() {
                    None => Wanted::Count,
                    Some(_) if used.least => Wanted::SumAndLeast,
                    Some(_) => Wanted::Sum,
                },
                is_having_value: used.lane.is_having_value(),
                column: used.lane.value().unwrap_or(0),
                mask: used.lane.stamp_mask(),
            });
        let is_told = used.len() <= Numbers::LANES && used.iter().all(|used| used.lane.is_told_by_stamp());
        is_told.then(|| Self {
            used: used.to_vec(),
            passes: Pass::of_all(used),
            all: used.iter().position(is_all),
            others: others.collect(),
            biases: [BIAS; Few::WINDOWS],
        })
    }
}

impl Few<'_> {
    /// The most windows.
    pub(super) const WINDOWS: usize = 4;
}

/// What a lane comes to in each of a few windows. What is not wanted of it, and what there is no window for, is anything.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Numbers {
    pub(super) count: [i64; Few::WINDOWS],
    pub(super) sum: [i64; Few::WINDOWS],
    /// Of no rows: the greatest number there is.
    pub(super) least: [i64; Few::WINDOWS],
    /// Of no rows: the least number there is.
    pub(super) greatest: [i64; Few::WINDOWS],
}

impl Numbers {
    /// The most lanes that features are told from by [`NumberAt`].
    pub(super) const LANES: usize = 16;
    /// How many they are of one lane.
    const EACH: usize = 4 * Few::WINDOWS;

    /// Of which no value is too large.
    fn put(&mut self, window: usize, sum: &Sum) {
        self.count[window] = sum.count as i64;
        self.sum[window] = sum.sum as i64;
        self.least[window] = sum.least;
        self.greatest[window] = sum.greatest;
    }
}

/// What of [`Numbers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Count,
    Sum,
    Least,
    Greatest,
}

/// Where among the [`Numbers`] of a scan's lanes one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NumberAt(u8);

impl NumberAt {
    const END: usize = Numbers::LANES * Numbers::EACH;

    /// What of this lane, of at most [`Numbers::LANES`], in this window.
    pub(super) fn new(lane: usize, what: What, window: usize) -> Self {
        let at = lane * Numbers::EACH + what as usize * Few::WINDOWS + window;
        debug_assert!(at < Self::END && window < Few::WINDOWS);
        Self(at as u8)
    }

    /// What is there.
    #[inline(always)]
    pub(super) fn of(self, numbers: &[Numbers; Numbers::LANES]) -> i64 {
        const { assert!(size_of::<Numbers>() == size_of::<[i64; Numbers::EACH]>()) };
        // SAFETY: `Numbers` are so many whole numbers in the order of `What`, with nothing between them.
        let numbers: &[i64; Self::END] = unsafe { &*std::ptr::from_ref(numbers).cast() };
        const { assert!(u8::MAX as usize == Self::END - 1, "every number is a place") };
        numbers[usize::from(self.0)]
    }
}

/// See [`Kernel::few`].
pub(super) type AddFew = unsafe fn(&Few<'_>, &mut [Numbers]) -> bool;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// The sums of lane `used[i]` in segment j are added to `sums[j × used + i]`.
    pub(super) add: fn(&Task<'_>, &Block<'_>, &mut [Sum]),
    /// What lane `used[i]` comes to is written to `numbers[i]`. False, and nothing is told, where there is a value below −2⁵³, or of 2⁵³
    /// or more, in one of the windows.
    ///
    /// # Safety
    ///
    /// The kernel must be one that this processor can run; blocks, windows, lanes and passes must be as [`Few`] says.
    pub(super) few: AddFew,
    /// See the module [`direct`]. What the lanes of rows in a record come to is told as by [`few`](Self::few).
    ///
    /// # Safety
    ///
    /// The kernel, and that of the run's `few`, must be ones that this processor can run.
    pub(super) direct: unsafe fn(&mut Run<'_>),
    #[cfg(test)]
    in_record: unsafe fn(&InRecord<'_>, &Lanes, &mut [Numbers; Numbers::LANES]) -> bool,
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
const PORTABLE: Kernel = Kernel {
    add: add_rows,
    few: few_rows,
    direct: direct::run::<OneByOne>,
    #[cfg(test)]
    in_record: OneByOne::add_up,
};

fn add_rows(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
    let width = task.used.len();
    let mut first = block.rows_until_stamp(task.edges[0]);
    for (segment, &edge) in task.edges[1..].iter().enumerate() {
        let end = block.rows_until_stamp(edge);
        if end > first {
            for (used, sum) in task.used.iter().zip(&mut sums[segment * width..]) {
                tally(block, first..end, &used.lane, sum);
            }
        }
        first = end;
    }
}

fn few_rows(few: &Few<'_>, numbers: &mut [Numbers]) -> bool {
    let after = &few.starts.0[..few.windows];
    let windows = few.windows;
    for (used, numbers) in few.used.iter().zip(numbers) {
        let lane = &used.lane;
        // What begins with the start of each window and ends with that of the next; then each and all after it.
        let mut sums = [Sum::EMPTY; Few::WINDOWS];
        for block in few.blocks {
            let mut first = block.rows_until_stamp(after[0]);
            for (window, sum) in sums[..windows].iter_mut().enumerate() {
                let end = block.rows_until_stamp(after.get(window + 1).copied().unwrap_or(few.until));
                tally(block, first..end, lane, sum);
                first = end;
            }
        }
        nest_sums(&mut sums[..windows], 1);
        if is_too_large(lane, &sums[0]) {
            return false;
        }
        for (window, sum) in sums.iter().enumerate() {
            numbers.put(window, sum);
        }
    }
    true
}

/// Whether a value is one that the vectors cannot add up, among those of a window.
fn is_too_large(lane: &Lane, sum: &Sum) -> bool {
    let is_large = |value: i64| (value as u64).wrapping_add(BIAS) & BEYOND != 0;
    lane.is_of_values() && sum.count > 0 && (is_large(sum.least) || is_large(sum.greatest))
}

/// How [`PORTABLE`] adds up rows in a record.
struct OneByOne;

impl AddUp for OneByOne {
    unsafe fn add_up(rows: &InRecord<'_>, lanes: &Lanes, numbers: &mut [Numbers; Numbers::LANES]) -> bool {
        for (Used { lane, .. }, numbers) in lanes.used.iter().zip(numbers) {
            for (window, &start) in rows.starts.0.iter().enumerate() {
                let mut sum = Sum::EMPTY;
                for row in 0..rows.block.count {
                    if rows.block.words[row] as i64 > start as i64 {
                        tally(&rows.block, row..row + 1, lane, &mut sum);
                    }
                }
                if let Some(own) = rows.own {
                    tally_row(own, lane, &mut sum);
                }
                if is_too_large(lane, &sum) {
                    return false;
                }
                numbers.put(window, &sum);
            }
        }
        true
    }
}

/// Lanes that [`nest`] has looked at at a time.
const LANES_AT_A_TIME: usize = 4;

/// For windows that end together: what lane `used[i]` comes to in segment j and all after it is written to
/// `sums[j × used + i]`.
pub(super) fn nest(kernel: Kernel, task: &Task<'_>, near: &Near<'_, '_>, sums: &mut [Sum]) {
    let Some((&until, after)) = task.edges.split_last() else { return };
    let width = task.used.len();
    let mut all = [Numbers::default(); LANES_AT_A_TIME];
    for (first, after) in (0..).step_by(Few::WINDOWS).zip(after.chunks(Few::WINDOWS)) {
        let (starts, windows) = (&Starts::of(after), after.len());
        for (lane, used) in (0..).step_by(LANES_AT_A_TIME).zip(task.used.chunks(LANES_AT_A_TIME)) {
            let mut passes = [Pass::ALL; LANES_AT_A_TIME];
            let passes = Pass::of(used, &mut passes);
            let few = Few { blocks: near.blocks(), starts, windows, until, used, passes };
            // SAFETY: the blocks are a record's and slabs', and the lanes are of their rows.
            if !unsafe { (kernel.few)(&few, &mut all) } {
                return nest_rows(task, near, sums);
            }
            for ((lane, used), numbers) in (lane..).zip(used).zip(&all) {
                for window in 0..windows {
                    let sum = &mut sums[(first + window) * width + lane];
                    *sum = Sum { count: numbers.count[window] as u64, ..Sum::EMPTY };
                    if used.lane.is_of_values() {
                        sum.sum = i128::from(numbers.sum[window]);
                        (sum.least, sum.greatest) = (numbers.least[window], numbers.greatest[window]);
                    }
                }
            }
        }
    }
}

/// What [`nest`] does, row by row.
pub(super) fn nest_rows(task: &Task<'_>, near: &Near<'_, '_>, sums: &mut [Sum]) {
    let width = task.used.len();
    sums.fill(Sum::EMPTY);
    near.blocks().iter().for_each(|block| add_rows(task, block, sums));
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
    /// Which of them are meant.
    type Mask: Copy;

    unsafe fn splat(word: u64) -> Self;
    /// Those whose bit is set.
    unsafe fn some(bits: u64) -> Self::Mask;
    /// A bit for each.
    unsafe fn bits(mask: Self::Mask) -> u64;
    /// Those from one place on and before another.
    #[inline(always)]
    unsafe fn between(from: usize, to: usize) -> Self::Mask {
        // SAFETY: as the caller has made sure.
        unsafe { Self::some(bits_below(to) & !bits_below(from)) }
    }
    /// The numbers from `at` on that the mask names, and 0 for the others, which are not read.
    unsafe fn load(mask: Self::Mask, at: *const u64) -> Self;
    /// Those of the mask that are not above `most`, both signed.
    unsafe fn up_to(self, mask: Self::Mask, most: Self) -> Self::Mask;
    /// Those of the mask that are above `least`, both signed.
    unsafe fn above(self, mask: Self::Mask, least: Self) -> Self::Mask;
    /// Those of the mask that have all bits of `bits`.
    unsafe fn having(self, mask: Self::Mask, bits: Self) -> Self::Mask;
    /// Which of these bits those of the mask lack; the others lack none.
    unsafe fn lacking(self, mask: Self::Mask, bits: Self) -> Self;
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
    /// What each of four comes to.
    #[inline(always)]
    unsafe fn totals_of(four: [Self; 4]) -> [i64; 4] {
        let [one, two, three, four] = four;
        // SAFETY: as the caller has made sure.
        let ([one, two], [three, four]) = unsafe { (one.totals(two), three.totals(four)) };
        [one, two, three, four].map(|total| total as i64)
    }
    #[inline(always)]
    unsafe fn least_of(four: [Self; 4]) -> [i64; 4] {
        let [one, two, three, four] = four;
        // SAFETY: as the caller has made sure.
        unsafe { [one.least(), two.least(), three.least(), four.least()] }
    }
    #[inline(always)]
    unsafe fn greatest_of(four: [Self; 4]) -> [i64; 4] {
        let [one, two, three, four] = four;
        // SAFETY: as the caller has made sure.
        unsafe { [one.greatest(), two.greatest(), three.greatest(), four.greatest()] }
    }
    /// With 1 added to those that the mask names.
    unsafe fn one_more(self, mask: Self::Mask) -> Self;
    unsafe fn or(self, others: Self) -> Self;
    /// Whether any of them has any of these bits.
    unsafe fn any_has(self, bits: Self) -> bool;
}

/// A vector of at most four numbers.
///
/// # Safety
///
/// As for [`Vector`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
trait UpToFour: Vector<Mask = Self> {
    /// The number at this place, as often as there is room.
    unsafe fn splat_at(place: *const u64) -> Self;
    /// Writes them to `to` from `first` on, where there must be room.
    unsafe fn store(self, to: &mut [i64; 4], first: usize);
    unsafe fn and(self, others: Self) -> Self;
    /// Whether all of them have all of these bits.
    unsafe fn all_have(self, bits: Self) -> bool;
    unsafe fn minus(self, others: Self) -> Self;
    /// Times [`BIAS`].
    unsafe fn biases(self) -> Self;
    /// Of each two, the greater. They are compared as floating-point numbers, which numbers without a sign are in the order of
    /// unless they are as large as infinity: that takes one instruction everywhere.
    unsafe fn greater_of(self, others: Self) -> Self;
    /// As many numbers, from this place on.
    unsafe fn load_all(at: *const u64) -> Self;
    /// Of each of the first of these vectors, as many as one has numbers, what its numbers come to, or the greatest of them as
    /// [`greater_of`](Self::greater_of) has it.
    unsafe fn turned(vectors: &[Self], greatest: bool) -> Self;
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
    unsafe { rows_up_to::<V>(block, edges, &mut until) };
    let width = task.used.len();
    for (number, used) in task.used.iter().enumerate() {
        let lane = &used.lane;
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

/// What is added to values before their bits are looked at: those from −2⁵³ to 2⁵³ − 1 then have none [`BEYOND`]. Of four blocks of 128
/// rows and the event's own, (4 × 128 + 1) × 2⁵³ is below 2⁶³; and with the bias, of those in a record, (20 + 1) × 2⁵⁴.
const BIAS: u64 = 1 << 53;
const BEYOND: u64 = u64::MAX << 54;

/// Of each edge, the rows of a block of at most 64 that are not after it.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn rows_up_to<V: Vector>(block: &Block<'_>, edges: &[u64], until: &mut [u64; EDGES_MAX]) {
    let all = bits_below(block.count);
    let stamps = block.column(0).as_ptr();
    let mut base = 0;
    while base < block.count {
        // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
        unsafe {
            let some = V::some(all >> base);
            let stamps = V::load(some, stamps.add(base));
            for (until, &edge) in until.iter_mut().zip(edges) {
                *until |= V::bits(stamps.up_to(some, V::splat(edge))) << base;
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
                let some = V::some(all >> base);
                let words = V::load(some, words.add(base));
                having |= V::bits(words.having(some, V::splat(mask))) << base;
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

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod abreast;
#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod many;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "only vectors go by passes")
)]
mod passes;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;
