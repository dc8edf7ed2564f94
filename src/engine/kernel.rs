//! The rows of one block, by segment and lane: the innermost loop, for whatever vectors the processor has.
//!
//! One generic loop over [`Vector`], compiled once for AVX-512 (eight rows at a time), once for AVX2 (four), once for NEON (two),
//! and beside them the plain loop of [`tally`]. Which one runs is chosen when the engine is made; all give the same sums,
//! as whole numbers are added. Rows of a block that are outside a segment are masked, not branched around: a block is
//! short, and where in it a window begins is anybody's guess.
//!
//! A sum of 64-bit numbers takes more than 64 bits. Numbers are moved up by 2⁶³, so that they have no sign, and their
//! halves are added apart: no carry is lost within 2³² rows.

use super::rows::Block;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::rows::last_stamp_of;
use super::tally::{Lane, Sum, Test, tally};

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
    /// In ascending order, each once. See [`Edges`](super::tree::Edges).
    pub(super) edges: &'a [i64],
    /// The lanes of the shape.
    pub(super) lanes: &'a [Lane],
    pub(super) used: &'a [Used],
}

/// The sums of lane `used[i]` in segment j are added to `sums[j × used + i]`.
pub(super) type Kernel = fn(&Task<'_>, &Block<'_>, &mut [Sum]);

/// The best that this processor can run.
pub(super) fn best() -> Kernel {
    all().last().map_or(portable, |&(_, kernel)| kernel)
}

/// All that this processor can run, and what they are called; the best last.
pub(super) fn all() -> Vec<(&'static str, Kernel)> {
    #[allow(unused_mut, reason = "where there is only the portable one")]
    let mut all: Vec<(&'static str, Kernel)> = vec![("portable", portable)];
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt") {
            all.push(("avx2", x86::avx2));
        }
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("popcnt") {
            all.push(("avx512", x86::avx512));
        }
    }
    #[cfg(target_arch = "aarch64")]
    all.push(("neon", arm::neon));
    all
}

/// Row by row.
fn portable(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
    let width = task.used.len();
    let mut first = block.rows_until(task.edges[0]);
    for (segment, &edge) in task.edges[1..].iter().enumerate() {
        let end = block.rows_until(edge);
        if end > first {
            for (used, sum) in task.used.iter().zip(&mut sums[segment * width..]) {
                tally(block, first..end, &task.lanes[used.lane], sum);
            }
        }
        first = end;
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
    type Mask: Copy;

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
    /// The numbers of the mask, and those of `other` elsewhere.
    unsafe fn kept_or(self, mask: Self::Mask, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn low_half(self) -> Self;
    unsafe fn high_half(self) -> Self;
    unsafe fn lesser(self, other: Self) -> Self;
    unsafe fn greater(self, other: Self) -> Self;
    unsafe fn total(self) -> u64;
    unsafe fn least(self) -> i64;
    unsafe fn greatest(self) -> i64;
}

/// What [`portable`] does, by vectors.
///
/// # Safety
///
/// The processor must have the instructions of `V`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn by_vector<V: Vector>(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
    // No closures here: they would be functions of their own, without the instructions.
    let edges = task.edges;
    if edges.len() > EDGES_MAX || block.count > 64 {
        return portable(task, block, sums);
    }
    let all = bits_below(block.count);
    // Of each edge, the rows that are not after it.
    let mut until = [0_u64; EDGES_MAX];
    let stamps = block.column(0).as_ptr();
    let mut base = 0;
    while base < block.count {
        // SAFETY: the instructions are there, as the caller has made sure; only rows of the block are read.
        unsafe {
            let stamps = V::load(V::some(all >> base), stamps.add(base));
            for (until, &edge) in until.iter_mut().zip(edges) {
                *until |= V::bits(stamps.up_to(V::splat(last_stamp_of(edge)))) << base;
            }
        }
        base += V::ROWS;
    }
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
                unsafe { add_values::<V>(block.column(column), rows, used, sum) };
            }
        }
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

/// Adds the values of these rows, of which there must be one.
///
/// # Safety
///
/// The processor must have the instructions of `V`; `rows` must be places in `values`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
unsafe fn add_values<V: Vector>(values: &[u64], rows: u64, used: &Used, sum: &mut Sum) {
    const SIGN: u64 = 1 << 63;
    let values = values.as_ptr();
    let end = 64 - rows.leading_zeros() as usize;
    let mut base = rows.trailing_zeros() as usize / V::ROWS * V::ROWS;
    // SAFETY: the instructions are there, as the caller has made sure, and of `values` only `rows` are read.
    unsafe {
        let (mut low, mut high) = (V::splat(0), V::splat(0));
        let (most, fewest) = (V::splat(i64::MAX as u64), V::splat(i64::MIN as u64));
        let (mut least, mut greatest) = (most, fewest);
        while base < end {
            let kept = V::some(rows >> base);
            let values = V::load(kept, values.add(base));
            if used.sum {
                let unsigned = values.xor(V::splat(SIGN)).kept_or(kept, V::splat(0));
                low = low.plus(unsigned.low_half());
                high = high.plus(unsigned.high_half());
            }
            if used.least {
                least = least.lesser(values.kept_or(kept, most));
            }
            if used.greatest {
                greatest = greatest.greater(values.kept_or(kept, fewest));
            }
            base += V::ROWS;
        }
        if used.sum {
            let unsigned = (i128::from(high.total()) << 32) + i128::from(low.total());
            sum.sum += unsigned - (i128::from(rows.count_ones()) << 63);
        }
        if used.least {
            sum.least = sum.least.min(least.least());
        }
        if used.greatest {
            sum.greatest = sum.greatest.max(greatest.greatest());
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Block, Sum, Task, Vector, by_vector};
    use std::arch::x86_64::*;

    pub(super) fn avx512(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
        #[target_feature(enable = "avx512f,popcnt")]
        fn inner(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
            // SAFETY: these are the instructions of `__m512i`.
            unsafe { by_vector::<__m512i>(task, block, sums) };
        }
        // SAFETY: `all` gives this out only where they are.
        unsafe { inner(task, block, sums) };
    }

    pub(super) fn avx2(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
        #[target_feature(enable = "avx2,popcnt")]
        fn inner(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
            // SAFETY: these are the instructions of `__m256i`.
            unsafe { by_vector::<__m256i>(task, block, sums) };
        }
        // SAFETY: `all` gives this out only where they are.
        unsafe { inner(task, block, sums) };
    }

    // SAFETY (of all below): see `Vector`.
    #[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
    impl Vector for __m512i {
        const ROWS: usize = 8;
        type Mask = __mmask8;

        #[inline(always)]
        unsafe fn splat(word: u64) -> Self {
            _mm512_set1_epi64(word as i64)
        }
        #[inline(always)]
        unsafe fn some(bits: u64) -> __mmask8 {
            bits as u8
        }
        #[inline(always)]
        unsafe fn bits(mask: __mmask8) -> u64 {
            u64::from(mask)
        }
        #[inline(always)]
        unsafe fn load(mask: __mmask8, at: *const u64) -> Self {
            _mm512_maskz_loadu_epi64(mask, at.cast())
        }
        #[inline(always)]
        unsafe fn up_to(self, most: Self) -> __mmask8 {
            _mm512_cmple_epi64_mask(self, most)
        }
        #[inline(always)]
        unsafe fn having(self, bits: Self) -> __mmask8 {
            _mm512_cmpeq_epi64_mask(_mm512_and_si512(self, bits), bits)
        }
        #[inline(always)]
        unsafe fn kept_or(self, mask: __mmask8, other: Self) -> Self {
            _mm512_mask_mov_epi64(other, mask, self)
        }
        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            _mm512_xor_si512(self, other)
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            _mm512_add_epi64(self, other)
        }
        #[inline(always)]
        unsafe fn low_half(self) -> Self {
            _mm512_and_si512(self, _mm512_set1_epi64(0xffff_ffff))
        }
        #[inline(always)]
        unsafe fn high_half(self) -> Self {
            _mm512_srli_epi64::<32>(self)
        }
        #[inline(always)]
        unsafe fn lesser(self, other: Self) -> Self {
            _mm512_min_epi64(self, other)
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> Self {
            _mm512_max_epi64(self, other)
        }
        #[inline(always)]
        unsafe fn total(self) -> u64 {
            _mm512_reduce_add_epi64(self) as u64
        }
        #[inline(always)]
        unsafe fn least(self) -> i64 {
            _mm512_reduce_min_epi64(self)
        }
        #[inline(always)]
        unsafe fn greatest(self) -> i64 {
            _mm512_reduce_max_epi64(self)
        }
    }

    fn words(vector: __m256i) -> [u64; 4] {
        // SAFETY: both are thirty-two bytes of which any are allowed.
        unsafe { std::mem::transmute(vector) }
    }

    // SAFETY (of all below): see `Vector`.
    #[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
    impl Vector for __m256i {
        const ROWS: usize = 4;
        /// All bits of a number that is meant.
        type Mask = Self;

        #[inline(always)]
        unsafe fn splat(word: u64) -> Self {
            _mm256_set1_epi64x(word as i64)
        }
        #[inline(always)]
        unsafe fn some(bits: u64) -> Self {
            let each = _mm256_setr_epi64x(1, 2, 4, 8);
            _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(bits as i64), each), each)
        }
        #[inline(always)]
        unsafe fn bits(mask: Self) -> u64 {
            _mm256_movemask_pd(_mm256_castsi256_pd(mask)) as u64
        }
        #[inline(always)]
        unsafe fn load(mask: Self, at: *const u64) -> Self {
            _mm256_maskload_epi64(at.cast(), mask)
        }
        #[inline(always)]
        unsafe fn up_to(self, most: Self) -> Self {
            _mm256_xor_si256(_mm256_cmpgt_epi64(self, most), _mm256_set1_epi64x(-1))
        }
        #[inline(always)]
        unsafe fn having(self, bits: Self) -> Self {
            _mm256_cmpeq_epi64(_mm256_and_si256(self, bits), bits)
        }
        #[inline(always)]
        unsafe fn kept_or(self, mask: Self, other: Self) -> Self {
            _mm256_blendv_epi8(other, self, mask)
        }
        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            _mm256_xor_si256(self, other)
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            _mm256_add_epi64(self, other)
        }
        #[inline(always)]
        unsafe fn low_half(self) -> Self {
            _mm256_and_si256(self, _mm256_set1_epi64x(0xffff_ffff))
        }
        #[inline(always)]
        unsafe fn high_half(self) -> Self {
            _mm256_srli_epi64::<32>(self)
        }
        #[inline(always)]
        unsafe fn lesser(self, other: Self) -> Self {
            _mm256_blendv_epi8(self, other, _mm256_cmpgt_epi64(self, other))
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> Self {
            _mm256_blendv_epi8(other, self, _mm256_cmpgt_epi64(self, other))
        }
        #[inline(always)]
        unsafe fn total(self) -> u64 {
            words(self).into_iter().fold(0, u64::wrapping_add)
        }
        #[inline(always)]
        unsafe fn least(self) -> i64 {
            words(self).into_iter().fold(i64::MAX, |least, word| least.min(word as i64))
        }
        #[inline(always)]
        unsafe fn greatest(self) -> i64 {
            words(self).into_iter().fold(i64::MIN, |greatest, word| greatest.max(word as i64))
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Block, Sum, Task, Vector, by_vector};
    use std::arch::aarch64::*;

    pub(super) fn neon(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { by_vector::<uint64x2_t>(task, block, sums) };
    }

    // SAFETY (of all below): see `Vector`.
    #[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
    impl Vector for uint64x2_t {
        const ROWS: usize = 2;
        /// All bits of a number that is meant.
        type Mask = Self;

        #[inline(always)]
        unsafe fn splat(word: u64) -> Self {
            vdupq_n_u64(word)
        }
        #[inline(always)]
        unsafe fn some(bits: u64) -> Self {
            let each = |bit: u64| vcreate_u64((bits >> bit & 1).wrapping_neg());
            vcombine_u64(each(0), each(1))
        }
        #[inline(always)]
        unsafe fn bits(mask: Self) -> u64 {
            vgetq_lane_u64::<0>(mask) & 1 | vgetq_lane_u64::<1>(mask) & 2
        }
        #[inline(always)]
        unsafe fn load(mask: Self, at: *const u64) -> Self {
            let word = |meant: u64, place: usize| if meant == 0 { 0 } else { *at.add(place) };
            let first = word(vgetq_lane_u64::<0>(mask), 0);
            let second = word(vgetq_lane_u64::<1>(mask), 1);
            vcombine_u64(vcreate_u64(first), vcreate_u64(second))
        }
        #[inline(always)]
        unsafe fn up_to(self, most: Self) -> Self {
            vcleq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(most))
        }
        #[inline(always)]
        unsafe fn having(self, bits: Self) -> Self {
            vceqq_u64(vandq_u64(self, bits), bits)
        }
        #[inline(always)]
        unsafe fn kept_or(self, mask: Self, other: Self) -> Self {
            vbslq_u64(mask, self, other)
        }
        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            veorq_u64(self, other)
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            vaddq_u64(self, other)
        }
        #[inline(always)]
        unsafe fn low_half(self) -> Self {
            vandq_u64(self, vdupq_n_u64(0xffff_ffff))
        }
        #[inline(always)]
        unsafe fn high_half(self) -> Self {
            vshrq_n_u64::<32>(self)
        }
        #[inline(always)]
        unsafe fn lesser(self, other: Self) -> Self {
            let above = vcgtq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(other));
            vbslq_u64(above, other, self)
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> Self {
            let above = vcgtq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(other));
            vbslq_u64(above, self, other)
        }
        #[inline(always)]
        unsafe fn total(self) -> u64 {
            vaddvq_u64(self)
        }
        #[inline(always)]
        unsafe fn least(self) -> i64 {
            (vgetq_lane_u64::<0>(self) as i64).min(vgetq_lane_u64::<1>(self) as i64)
        }
        #[inline(always)]
        unsafe fn greatest(self) -> i64 {
            (vgetq_lane_u64::<0>(self) as i64).max(vgetq_lane_u64::<1>(self) as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::Bit;
    use crate::engine::rows::stamp;
    use crate::engine::units::mix;

    /// Random blocks, lanes and edges: every kernel against [`portable`], which is tested against plain sums.
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
            let task = Task { edges: &edges, lanes: &lanes, used: &used };
            let sums_of = |kernel: Kernel| {
                let mut sums = vec![Sum::EMPTY; edges.len() * used.len()];
                kernel(&task, &block, &mut sums);
                for (place, sum) in sums.iter_mut().enumerate() {
                    let used = used[place % used.len()];
                    sum.least = if used.least { sum.least } else { 0 };
                    sum.greatest = if used.greatest { sum.greatest } else { 0 };
                }
                sums
            };
            let expected = sums_of(portable);
            for &(name, kernel) in &kernels {
                assert_eq!(sums_of(kernel), expected, "{name}");
            }
        }
    }
}
