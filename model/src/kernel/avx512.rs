//! The kernel for AVX-512 with VBMI: a slot is five instructions.

use super::{Asked, Reached, Table, goes_right};
use crate::lanes::{ArchivedBlock, ArchivedLanes, Line};
use crate::model::ArchivedRounding;
use std::arch::x86_64::{
    __m512i, _CMP_LT_OQ, _mm512_add_epi16, _mm512_and_si512, _mm512_andnot_si512, _mm512_castsi512_si256,
    _mm512_cmp_pd_mask, _mm512_cmpgt_epu8_mask, _mm512_cvtepu8_epi16, _mm512_extracti64x4_epi64,
    _mm512_load_pd, _mm512_load_si512, _mm512_mask_blend_epi8, _mm512_maskz_mov_epi8, _mm512_movepi8_mask,
    _mm512_or_si512, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_set1_pd,
    _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi16, _mm512_srli_epi16,
    _mm512_store_si512, _mm512_sub_epi8, _mm512_test_epi8_mask,
};

#[target_feature(enable = "avx512f,avx512bw,popcnt")]
pub(super) fn rank(lanes: &ArchivedLanes, rounding: ArchivedRounding, row: &[f64], ranks: &mut [u8]) {
    super::rank(lanes, rounding, row, ranks, |lines, x| below(lines, x));
}

/// How many of sixteen cuts are below x.
#[target_feature(enable = "avx512f,popcnt")]
#[inline]
fn below(lines: &[Line], x: f64) -> usize {
    let x = _mm512_set1_pd(x);
    let mask = |line: &Line| {
        // SAFETY: a line is eight f64, little-endian as this processor is, and aligned to its 64 bytes.
        let cuts = unsafe { _mm512_load_pd(line.0.as_ptr().cast()) };
        _mm512_cmp_pd_mask::<_CMP_LT_OQ>(cuts, x)
    };
    let [first, second] = [&lines[0], &lines[1]].map(mask);
    u16::from_le_bytes([first, second]).count_ones() as usize
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn reach<const ROWS: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: [Asked<'_>; ROWS],
    reached: &mut [Reached; ROWS],
) {
    match asked.iter().map(|asked| asked.columns).max().unwrap_or(0) {
        0..=64 => planes::<1, ROWS>(lanes, block, asked, reached),
        65..=128 => planes::<2, ROWS>(lanes, block, asked, reached),
        _ => planes::<4, ROWS>(lanes, block, asked, reached),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn planes<const LINES: usize, const ROWS: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: [Asked<'_>; ROWS],
    reached: &mut [Reached; ROWS],
) {
    let tables: [[__m512i; LINES]; ROWS] = std::array::from_fn(|row| table(asked[row].table));
    let mut ended = [_mm512_setzero_si512(); ROWS];
    let mut in_plane = [_mm512_setzero_si512(); ROWS];
    for plane in lanes.planes_of(block) {
        let mut left = [_mm512_set1_epi8(-1); ROWS];
        for slot in lanes.slots_of(plane) {
            let (column, cut, clear) = (load(&slot.column), load(&slot.cut), load(&slot.clear));
            for row in 0..ROWS {
                let right = _mm512_cmpgt_epu8_mask(look_up(&tables[row], column), cut);
                left[row] = _mm512_andnot_si512(_mm512_maskz_mov_epi8(right, clear), left[row]);
            }
        }
        for slot in lanes.set_slots_of(plane) {
            let clear = load(&slot.clear);
            for row in 0..ROWS {
                let right = goes_right(lanes, &asked[row], slot);
                left[row] = _mm512_andnot_si512(_mm512_maskz_mov_epi8(right, clear), left[row]);
            }
        }
        let number = _mm512_set1_epi8(plane.number as i8);
        for row in 0..ROWS {
            let some = _mm512_test_epi8_mask(left[row], left[row]);
            ended[row] = _mm512_mask_blend_epi8(some, ended[row], left[row]);
            in_plane[row] = _mm512_mask_blend_epi8(some, in_plane[row], number);
        }
    }
    for row in 0..ROWS {
        leaves(&mut reached[row], in_plane[row], lowest(ended[row]));
    }
}

/// The place of the lowest bit of each byte; 0 of a byte without one.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn lowest(bytes: __m512i) -> __m512i {
    let bit = _mm512_and_si512(bytes, _mm512_sub_epi8(_mm512_setzero_si512(), bytes));
    let nibble = _mm512_set1_epi8(15);
    let low = _mm512_and_si512(bit, nibble);
    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bit), nibble);
    // One of the two halves of the byte has the bit: its place there is at 1, 2, 4 and 8.
    let of_low = _mm512_set4_epi32(0, 3, 2, 0x0001_0000);
    let of_high = _mm512_set4_epi32(0, 7, 6, 0x0005_0400);
    _mm512_or_si512(_mm512_shuffle_epi8(of_low, low), _mm512_shuffle_epi8(of_high, high))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn leaves(reached: &mut Reached, plane: __m512i, bit: __m512i) {
    for half in 0..2 {
        let [plane, bit] = [plane, bit].map(|bytes| {
            let bytes = match half {
                0 => _mm512_castsi512_si256(bytes),
                _ => _mm512_extracti64x4_epi64::<1>(bytes),
            };
            _mm512_cvtepu8_epi16(bytes)
        });
        let leaf = _mm512_add_epi16(_mm512_slli_epi16::<3>(plane), bit);
        // SAFETY: 32 of the 64 numbers of 16 bits, from the beginning or the middle on, aligned to 64 bytes.
        unsafe { _mm512_store_si512(reached.0.as_mut_ptr().add(32 * half).cast(), leaf) };
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn table<const LINES: usize>(table: &Table) -> [__m512i; LINES] {
    std::array::from_fn(|line| load(&table[line]))
}

/// The ranks of these columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn look_up<const LINES: usize>(table: &[__m512i; LINES], column: __m512i) -> __m512i {
    if LINES == 1 {
        _mm512_permutexvar_epi8(column, table[0])
    } else if LINES == 2 {
        _mm512_permutex2var_epi8(table[0], column, table[1])
    } else {
        // Both look at the low seven bits; the highest chooses.
        let low = _mm512_permutex2var_epi8(table[0], column, table[1]);
        let high = _mm512_permutex2var_epi8(table[2], column, table[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(column), low, high)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line has 64 bytes and is aligned to them.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}
