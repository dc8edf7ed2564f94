//! The kernel for AVX2: half a line at once, ranks looked up sixteen at a time.

use super::{Asked, Reached, Table, goes_right};
use crate::lanes::{ArchivedBlock, ArchivedLanes, LANES, Line};
use crate::model::ArchivedRounding;
use std::arch::x86_64::{
    __m256i, _CMP_LT_OQ, _mm_load_si128, _mm256_add_epi16, _mm256_adds_epu8, _mm256_and_si256,
    _mm256_andnot_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_cmp_pd, _mm256_cmpeq_epi8, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_load_pd,
    _mm256_load_si256, _mm256_min_epu8, _mm256_movemask_pd, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi64x, _mm256_set1_pd, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_store_si256, _mm256_sub_epi8,
};

/// Ranks in a table of one shuffle.
const SHUFFLE: usize = 16;

#[target_feature(enable = "avx2,popcnt")]
pub(super) fn rank(lanes: &ArchivedLanes, rounding: ArchivedRounding, row: &[f64], ranks: &mut [u8]) {
    super::rank(lanes, rounding, row, ranks, |lines, x| below(lines, x));
}

/// How many of sixteen cuts are below x.
#[target_feature(enable = "avx2,popcnt")]
#[inline]
fn below(lines: &[Line], x: f64) -> usize {
    let x = _mm256_set1_pd(x);
    let mask = |line: &Line, half: usize| {
        // SAFETY: a line is eight f64, little-endian as this processor is, and aligned to its 64 bytes.
        let cuts = unsafe { _mm256_load_pd(line.0.as_ptr().add(half * 32).cast()) };
        _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(cuts, x))
    };
    let (first, second) = (&lines[0], &lines[1]);
    let masks = mask(first, 0) | mask(first, 1) << 4 | mask(second, 0) << 8 | mask(second, 1) << 12;
    masks.count_ones() as usize
}

#[target_feature(enable = "avx2")]
pub(super) fn reach<const ROWS: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: [Asked<'_>; ROWS],
    reached: &mut [Reached; ROWS],
) {
    for (asked, reached) in asked.iter().zip(reached) {
        match asked.columns {
            0..=16 => planes::<1>(lanes, block, asked, reached),
            17..=32 => planes::<2>(lanes, block, asked, reached),
            33..=48 => planes::<3>(lanes, block, asked, reached),
            49..=64 => planes::<4>(lanes, block, asked, reached),
            65..=128 => planes::<8>(lanes, block, asked, reached),
            _ => planes::<16>(lanes, block, asked, reached),
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn planes<const TABLES: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: &Asked<'_>,
    reached: &mut Reached,
) {
    let tables: [__m256i; TABLES] = std::array::from_fn(|at| table(asked.table, at));
    let zero = _mm256_setzero_si256();
    let mut ended = [zero; 2];
    let mut in_plane = [zero; 2];
    for plane in lanes.planes_of(block) {
        let mut left = [_mm256_set1_epi8(-1); 2];
        for slot in lanes.slots_of(plane) {
            for (half, left) in left.iter_mut().enumerate() {
                let (column, cut) = (load(&slot.column, half), load(&slot.cut, half));
                let rank = look_up(&tables, column);
                // Not greater: the lesser of the two is the rank.
                let stays = _mm256_cmpeq_epi8(_mm256_min_epu8(rank, cut), rank);
                let clear = _mm256_andnot_si256(stays, load(&slot.clear, half));
                *left = _mm256_andnot_si256(clear, *left);
            }
        }
        for slot in lanes.set_slots_of(plane) {
            let right = goes_right(lanes, asked, slot);
            for (half, left) in left.iter_mut().enumerate() {
                let clear =
                    _mm256_and_si256(bytes_of((right >> (32 * half)) as u32), load(&slot.clear, half));
                *left = _mm256_andnot_si256(clear, *left);
            }
        }
        let number = _mm256_set1_epi8(plane.number as i8);
        for half in 0..2 {
            let none = _mm256_cmpeq_epi8(left[half], zero);
            ended[half] = _mm256_blendv_epi8(left[half], ended[half], none);
            in_plane[half] = _mm256_blendv_epi8(number, in_plane[half], none);
        }
    }
    for half in 0..2 {
        leaves(reached, half, in_plane[half], lowest(ended[half]));
    }
}

/// The place of the lowest bit of each byte; 0 of a byte without one.
#[target_feature(enable = "avx2")]
#[inline]
fn lowest(bytes: __m256i) -> __m256i {
    let bit = _mm256_and_si256(bytes, _mm256_sub_epi8(_mm256_setzero_si256(), bytes));
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_and_si256(bit, nibble);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bit), nibble);
    // One of the two halves of the byte has the bit: its place there is at 1, 2, 4 and 8.
    let of_low = _mm256_setr_epi64x(0x2_0001_0000, 3, 0x2_0001_0000, 3);
    let of_high = _mm256_setr_epi64x(0x6_0005_0400, 7, 0x6_0005_0400, 7);
    _mm256_or_si256(_mm256_shuffle_epi8(of_low, low), _mm256_shuffle_epi8(of_high, high))
}

#[target_feature(enable = "avx2")]
#[inline]
fn leaves(reached: &mut Reached, half: usize, plane: __m256i, bit: __m256i) {
    debug_assert!(half < 2, "a line has two halves");
    for quarter in 0..2 {
        let [plane, bit] = [plane, bit].map(|bytes| {
            let bytes = match quarter {
                0 => _mm256_castsi256_si128(bytes),
                _ => _mm256_extracti128_si256::<1>(bytes),
            };
            _mm256_cvtepu8_epi16(bytes)
        });
        let leaf = _mm256_add_epi16(_mm256_slli_epi16::<3>(plane), bit);
        let first = 32 * half + 16 * quarter;
        // SAFETY: 16 of the 64 numbers of 16 bits, from a multiple of 16 on, aligned to 32 bytes.
        unsafe { _mm256_store_si256(reached.0.as_mut_ptr().add(first).cast(), leaf) };
    }
}

/// Sixteen ranks, in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn table(table: &Table, at: usize) -> __m256i {
    let line = &table[at * SHUFFLE / LANES];
    // SAFETY: sixteen bytes of a line of 64, from a multiple of sixteen on; lines are aligned to 64.
    let ranks = unsafe { _mm_load_si128(line.0.as_ptr().add(at * SHUFFLE % LANES).cast()) };
    _mm256_broadcastsi128_si256(ranks)
}

/// The ranks of these columns. A shuffle gives 0 where the highest bit of the place is set.
#[target_feature(enable = "avx2")]
#[inline]
fn look_up<const TABLES: usize>(tables: &[__m256i; TABLES], column: __m256i) -> __m256i {
    let mut ranks = _mm256_setzero_si256();
    for (at, table) in tables.iter().enumerate() {
        // In this table: 0 to 15, to which 0x70 leaves the highest bit clear; elsewhere it becomes set.
        let place = _mm256_sub_epi8(column, _mm256_set1_epi8((at * SHUFFLE) as i8));
        let place = _mm256_adds_epu8(place, _mm256_set1_epi8(0x70));
        ranks = _mm256_or_si256(ranks, _mm256_shuffle_epi8(*table, place));
    }
    ranks
}

/// All ones in each byte whose bit is set.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes_of(bits: u32) -> __m256i {
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi64x(i64::from(bits)), spread);
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(line: &Line, half: usize) -> __m256i {
    debug_assert!(half < 2, "a line has two halves");
    // SAFETY: `half` is 0 or 1, and a line of 64 bytes is aligned to them.
    unsafe { _mm256_load_si256(line.0.as_ptr().add(half * 32).cast()) }
}
