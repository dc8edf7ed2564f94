//! The vectors of x86-64.

use super::abreast::Abreast;
use super::many::{self, Added, Ends, Pass, Ways};
#[cfg(test)]
use super::{AddUp, InRecord, Lanes};
use super::{BIAS, Block, Few, Kernel, Numbers, Run, Sum, Task, UpToFour, Vector, add_vectors, direct};
use std::arch::x86_64::*;

/// Loops over vectors of one kind, compiled with the instructions that they take.
macro_rules! kernel {
    ($vector:ty, $features:literal) => {{
        #[target_feature(enable = $features)]
        fn add(task: &Task<'_>, block: &Block<'_>, sums: &mut [Sum]) {
            // SAFETY: these are the instructions of the vector.
            unsafe { add_vectors::<$vector>(task, block, sums) };
        }
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn pass<const WINDOWS: usize, const ASKED: u8, const TOLD: u8, const ALL: bool>(
            few: &Few<'_>,
            ends: &Ends,
            pass: &Pass,
            numbers: &mut [Numbers],
        ) -> Added {
            // SAFETY: these are the instructions of the vector, and the rest is the caller's.
            unsafe { many::add::<$vector, WINDOWS, ASKED, TOLD, ALL>(few, ends, pass, numbers) }
        }
        unsafe fn few(few: &Few<'_>, numbers: &mut [Numbers]) -> bool {
            static WAYS: Ways = many::ways!(pass);
            // SAFETY: as the caller has made sure.
            unsafe { many::few_by(&WAYS, few, numbers) }
        }
        #[target_feature(enable = $features)]
        unsafe fn direct(run: &mut Run<'_>) {
            // SAFETY: as above.
            unsafe { direct::run::<Abreast<__m256i, 1>>(run) }
        }
        #[cfg(test)]
        #[target_feature(enable = $features)]
        unsafe fn in_record(
            rows: &InRecord<'_>,
            lanes: &Lanes,
            numbers: &mut [Numbers; Numbers::LANES],
        ) -> bool {
            // SAFETY: as above.
            unsafe { Abreast::<__m256i, 1>::add_up(rows, lanes, numbers) }
        }
        Kernel {
            // SAFETY: `all` gives this out only where the instructions are.
            add: |task, block, sums| unsafe { add(task, block, sums) },
            few,
            direct,
            #[cfg(test)]
            in_record,
        }
    }};
}

pub(super) const AVX512: Kernel = kernel!(__m512i, "avx512f,avx2,popcnt");
pub(super) const AVX2: Kernel = kernel!(__m256i, "avx2,popcnt");

/// Folds four vectors at once: of each, all its numbers into one.
macro_rules! fold_four {
    ($four:expr, $fold:ident) => {{
        let [one, two, three, four] = $four;
        // Pairs of each by turns, then half as many twice.
        let first = $fold(_mm512_unpacklo_epi64(one, two), _mm512_unpackhi_epi64(one, two));
        let second = $fold(_mm512_unpacklo_epi64(three, four), _mm512_unpackhi_epi64(three, four));
        let both = $fold(
            _mm512_shuffle_i64x2::<0b10_00_10_00>(first, second),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(first, second),
        );
        let both = $fold(
            _mm512_shuffle_i64x2::<0b10_00_10_00>(both, both),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(both, both),
        );
        words(_mm512_castsi512_si256(both)).map(|word| word as i64)
    }};
}

/// The same for vectors half as long.
macro_rules! turn_four {
    ($four:expr, $fold:ident) => {{
        let [one, two, three, four] = $four;
        let first = $fold(_mm256_unpacklo_epi64(one, two), _mm256_unpackhi_epi64(one, two));
        let second = $fold(_mm256_unpacklo_epi64(three, four), _mm256_unpackhi_epi64(three, four));
        $fold(
            _mm256_permute2x128_si256::<0x20>(first, second),
            _mm256_permute2x128_si256::<0x31>(first, second),
        )
    }};
}

macro_rules! fold_four_short {
    ($four:expr, $fold:ident) => {
        words(turn_four!($four, $fold)).map(|word| word as i64)
    };
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
    unsafe fn up_to(self, mask: __mmask8, most: Self) -> __mmask8 {
        _mm512_mask_cmple_epi64_mask(mask, self, most)
    }
    #[inline(always)]
    unsafe fn above(self, mask: __mmask8, least: Self) -> __mmask8 {
        _mm512_mask_cmpgt_epi64_mask(mask, self, least)
    }
    #[inline(always)]
    unsafe fn having(self, mask: __mmask8, bits: Self) -> __mmask8 {
        _mm512_mask_cmpeq_epi64_mask(mask, _mm512_and_si512(self, bits), bits)
    }
    #[inline(always)]
    unsafe fn lacking(self, mask: __mmask8, bits: Self) -> Self {
        _mm512_maskz_andnot_epi64(mask, self, bits)
    }
    #[inline(always)]
    unsafe fn plus(self, mask: __mmask8, others: Self) -> Self {
        _mm512_mask_add_epi64(self, mask, self, others)
    }
    #[inline(always)]
    unsafe fn low_half(self) -> Self {
        _mm512_and_si512(self, _mm512_set1_epi64(0xffff_ffff))
    }
    #[inline(always)]
    unsafe fn high_half(self) -> Self {
        _mm512_srai_epi64::<32>(self)
    }
    #[inline(always)]
    unsafe fn lesser(self, mask: __mmask8, others: Self) -> Self {
        _mm512_mask_min_epi64(self, mask, self, others)
    }
    #[inline(always)]
    unsafe fn greater(self, mask: __mmask8, others: Self) -> Self {
        _mm512_mask_max_epi64(self, mask, self, others)
    }
    #[inline(always)]
    unsafe fn totals(self, other: Self) -> [u64; 2] {
        // Of each by turns: half as much to fold.
        let both = _mm512_add_epi64(_mm512_unpacklo_epi64(self, other), _mm512_unpackhi_epi64(self, other));
        let upper = _mm512_extracti64x4_epi64::<1>(both);
        fold(_mm256_add_epi64(_mm512_castsi512_si256(both), upper))
    }
    #[inline(always)]
    unsafe fn least(self) -> i64 {
        _mm512_reduce_min_epi64(self)
    }
    #[inline(always)]
    unsafe fn greatest(self) -> i64 {
        _mm512_reduce_max_epi64(self)
    }
    #[inline(always)]
    unsafe fn totals_of(four: [Self; 4]) -> [i64; 4] {
        fold_four!(four, _mm512_add_epi64)
    }
    #[inline(always)]
    unsafe fn least_of(four: [Self; 4]) -> [i64; 4] {
        fold_four!(four, _mm512_min_epi64)
    }
    #[inline(always)]
    unsafe fn greatest_of(four: [Self; 4]) -> [i64; 4] {
        fold_four!(four, _mm512_max_epi64)
    }
    #[inline(always)]
    unsafe fn one_more(self, mask: __mmask8) -> Self {
        _mm512_mask_add_epi64(self, mask, self, _mm512_set1_epi64(1))
    }
    #[inline(always)]
    unsafe fn or(self, others: Self) -> Self {
        _mm512_or_si512(self, others)
    }
    #[inline(always)]
    unsafe fn any_has(self, bits: Self) -> bool {
        _mm512_test_epi64_mask(self, bits) != 0
    }
}

/// The sum of both halves.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn fold(vector: __m256i) -> [u64; 2] {
    // SAFETY: as the caller has made sure; and all are sixteen bytes of which any are allowed.
    unsafe {
        let upper = _mm256_extracti128_si256::<1>(vector);
        std::mem::transmute(_mm_add_epi64(_mm256_castsi256_si128(vector), upper))
    }
}

fn words(vector: __m256i) -> [u64; 4] {
    // SAFETY: both are thirty-two bytes of which any are allowed.
    unsafe { std::mem::transmute(vector) }
}

/// Of each four, the lesser.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn lesser_of(one: __m256i, two: __m256i) -> __m256i {
    // SAFETY: as the caller has made sure.
    unsafe { _mm256_blendv_epi8(one, two, _mm256_cmpgt_epi64(one, two)) }
}

/// Of each four, the greater.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn greater_of(one: __m256i, two: __m256i) -> __m256i {
    // SAFETY: as the caller has made sure.
    unsafe { _mm256_blendv_epi8(two, one, _mm256_cmpgt_epi64(one, two)) }
}

/// Of each four, the greater, as floating-point numbers.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn greater_double_of(one: __m256i, two: __m256i) -> __m256i {
    // SAFETY: as the caller has made sure.
    unsafe { _mm256_castpd_si256(_mm256_max_pd(_mm256_castsi256_pd(one), _mm256_castsi256_pd(two))) }
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
    unsafe fn between(from: usize, to: usize) -> Self {
        // Of eight numbers, which are one line, four from any place on: those before the middle are meant.
        #[repr(align(64))]
        struct Line([u64; 8]);
        static FIRST: Line = Line([u64::MAX, u64::MAX, u64::MAX, u64::MAX, 0, 0, 0, 0]);
        let first = |count: usize| FIRST.0.as_ptr().wrapping_add(4 - count.min(4)).cast();
        _mm256_andnot_si256(_mm256_loadu_si256(first(from)), _mm256_loadu_si256(first(to)))
    }
    #[inline(always)]
    unsafe fn load(mask: Self, at: *const u64) -> Self {
        _mm256_maskload_epi64(at.cast(), mask)
    }
    #[inline(always)]
    unsafe fn up_to(self, mask: Self, most: Self) -> Self {
        _mm256_andnot_si256(_mm256_cmpgt_epi64(self, most), mask)
    }
    #[inline(always)]
    unsafe fn above(self, mask: Self, least: Self) -> Self {
        _mm256_and_si256(mask, _mm256_cmpgt_epi64(self, least))
    }
    #[inline(always)]
    unsafe fn having(self, mask: Self, bits: Self) -> Self {
        _mm256_and_si256(mask, _mm256_cmpeq_epi64(_mm256_and_si256(self, bits), bits))
    }
    #[inline(always)]
    unsafe fn lacking(self, mask: Self, bits: Self) -> Self {
        _mm256_and_si256(mask, _mm256_andnot_si256(self, bits))
    }
    #[inline(always)]
    unsafe fn plus(self, mask: Self, others: Self) -> Self {
        _mm256_add_epi64(self, _mm256_and_si256(mask, others))
    }
    #[inline(always)]
    unsafe fn low_half(self) -> Self {
        _mm256_and_si256(self, _mm256_set1_epi64x(0xffff_ffff))
    }
    #[inline(always)]
    unsafe fn high_half(self) -> Self {
        let upper = _mm256_shuffle_epi32::<0b11_11_01_01>(self);
        _mm256_blend_epi32::<0b1010_1010>(upper, _mm256_srai_epi32::<31>(upper))
    }
    #[inline(always)]
    unsafe fn lesser(self, mask: Self, others: Self) -> Self {
        let lesser = _mm256_and_si256(mask, _mm256_cmpgt_epi64(self, others));
        _mm256_blendv_epi8(self, others, lesser)
    }
    #[inline(always)]
    unsafe fn greater(self, mask: Self, others: Self) -> Self {
        let greater = _mm256_and_si256(mask, _mm256_cmpgt_epi64(others, self));
        _mm256_blendv_epi8(self, others, greater)
    }
    #[inline(always)]
    unsafe fn totals(self, other: Self) -> [u64; 2] {
        fold(_mm256_add_epi64(_mm256_unpacklo_epi64(self, other), _mm256_unpackhi_epi64(self, other)))
    }
    #[inline(always)]
    unsafe fn least(self) -> i64 {
        words(self).into_iter().fold(i64::MAX, |least, word| least.min(word as i64))
    }
    #[inline(always)]
    unsafe fn greatest(self) -> i64 {
        words(self).into_iter().fold(i64::MIN, |greatest, word| greatest.max(word as i64))
    }
    #[inline(always)]
    unsafe fn totals_of(four: [Self; 4]) -> [i64; 4] {
        fold_four_short!(four, _mm256_add_epi64)
    }
    #[inline(always)]
    unsafe fn least_of(four: [Self; 4]) -> [i64; 4] {
        fold_four_short!(four, lesser_of)
    }
    #[inline(always)]
    unsafe fn greatest_of(four: [Self; 4]) -> [i64; 4] {
        fold_four_short!(four, greater_of)
    }
    #[inline(always)]
    unsafe fn one_more(self, mask: Self) -> Self {
        _mm256_sub_epi64(self, mask)
    }
    #[inline(always)]
    unsafe fn or(self, others: Self) -> Self {
        _mm256_or_si256(self, others)
    }
    #[inline(always)]
    unsafe fn any_has(self, bits: Self) -> bool {
        _mm256_testz_si256(self, bits) == 0
    }
}

// SAFETY (of all below): see `UpToFour`.
#[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
impl UpToFour for __m256i {
    #[inline(always)]
    unsafe fn splat_at(place: *const u64) -> Self {
        // By the instruction of floating-point numbers, as there is no other that reads and spreads at once.
        _mm256_castpd_si256(_mm256_broadcast_sd(&*place.cast()))
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [i64; 4], _: usize) {
        _mm256_storeu_si256(to.as_mut_ptr().cast(), self);
    }
    #[inline(always)]
    unsafe fn and(self, others: Self) -> Self {
        _mm256_and_si256(self, others)
    }
    #[inline(always)]
    unsafe fn all_have(self, bits: Self) -> bool {
        _mm256_testc_si256(self, bits) == 1
    }
    #[inline(always)]
    unsafe fn minus(self, others: Self) -> Self {
        _mm256_sub_epi64(self, others)
    }
    #[inline(always)]
    unsafe fn biases(self) -> Self {
        _mm256_slli_epi64::<{ BIAS.trailing_zeros() as i32 }>(self)
    }
    #[inline(always)]
    unsafe fn greater_of(self, others: Self) -> Self {
        greater_double_of(self, others)
    }
    #[inline(always)]
    unsafe fn load_all(at: *const u64) -> Self {
        _mm256_loadu_si256(at.cast())
    }
    #[inline(always)]
    unsafe fn turned(vectors: &[Self], greatest: bool) -> Self {
        let four = [vectors[0], vectors[1], vectors[2], vectors[3]];
        if greatest { turn_four!(four, greater_double_of) } else { turn_four!(four, _mm256_add_epi64) }
    }
}
