//! The kernel for NEON: sixteen bytes at once, ranks looked up 64 at a time.

use super::{Asked, Reached, Table, goes_right};
use crate::lanes::{ArchivedBlock, ArchivedLanes, LANES, Line};
use crate::model::ArchivedRounding;
use std::arch::aarch64::{
    float64x2_t, uint8x16_t, uint8x16x4_t, vaddq_u64, vaddvq_u64, vaddw_high_u8, vaddw_u8, vandq_u8,
    vbicq_u8, vbslq_u8, vceqzq_u8, vcgtq_u8, vcltq_f64, vclzq_u8, vdupq_n_f64, vdupq_n_u8, vdupq_n_u64,
    vget_low_u8, vld1q_f64, vld1q_u8, vorrq_u8, vqtbl1q_u8, vqtbl4q_u8, vrbitq_u8, vreinterpretq_u8_u64,
    vshll_high_n_u8, vshll_n_u8, vst1q_u16, vsubq_u8, vtstq_u8,
};

const QUARTERS: usize = 4;
const QUARTER: usize = LANES / QUARTERS;

pub(super) fn rank(lanes: &ArchivedLanes, rounding: ArchivedRounding, row: &[f64], ranks: &mut [u8]) {
    super::rank(lanes, rounding, row, ranks, below);
}

/// How many of sixteen cuts are below x.
#[inline]
fn below(lines: &[Line], x: f64) -> usize {
    // SAFETY: every 64-bit ARM processor has NEON; a line is eight f64, little-endian as this processor is.
    unsafe {
        let x = vdupq_n_f64(x);
        let mut count = vdupq_n_u64(0);
        for line in &lines[..2] {
            let cuts: *const f64 = line.0.as_ptr().cast();
            for pair in 0..4 {
                let cuts: float64x2_t = vld1q_f64(cuts.add(2 * pair));
                // All ones is minus one.
                count = vaddq_u64(count, vcltq_f64(cuts, x));
            }
        }
        vaddvq_u64(count).wrapping_neg() as usize
    }
}

pub(super) fn reach<const ROWS: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: [Asked<'_>; ROWS],
    reached: &mut [Reached; ROWS],
) {
    for (asked, reached) in asked.iter().zip(reached) {
        match asked.columns {
            0..=64 => planes::<1>(lanes, block, asked, reached),
            65..=128 => planes::<2>(lanes, block, asked, reached),
            _ => planes::<4>(lanes, block, asked, reached),
        }
    }
}

#[inline]
fn planes<const TABLES: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: &Asked<'_>,
    reached: &mut Reached,
) {
    // SAFETY: every 64-bit ARM processor has NEON; loads and stores are of sixteen bytes of lines of 64.
    unsafe {
        let tables: [uint8x16x4_t; TABLES] = std::array::from_fn(|at| table(asked.table, at));
        let mut ended = [vdupq_n_u8(0); QUARTERS];
        let mut in_plane = [vdupq_n_u8(0); QUARTERS];
        for plane in lanes.planes_of(block) {
            let mut left = [vdupq_n_u8(u8::MAX); QUARTERS];
            for slot in lanes.slots_of(plane) {
                for (quarter, left) in left.iter_mut().enumerate() {
                    let rank = look_up(&tables, load(&slot.column, quarter));
                    let right = vcgtq_u8(rank, load(&slot.cut, quarter));
                    *left = vbicq_u8(*left, vandq_u8(right, load(&slot.clear, quarter)));
                }
            }
            for slot in lanes.set_slots_of(plane) {
                let right = goes_right(lanes, asked, slot);
                for (quarter, left) in left.iter_mut().enumerate() {
                    let right = bytes_of((right >> (QUARTER * quarter)) as u16);
                    *left = vbicq_u8(*left, vandq_u8(right, load(&slot.clear, quarter)));
                }
            }
            let number = vdupq_n_u8(plane.number);
            for quarter in 0..QUARTERS {
                let none = vceqzq_u8(left[quarter]);
                ended[quarter] = vbslq_u8(none, ended[quarter], left[quarter]);
                in_plane[quarter] = vbslq_u8(none, in_plane[quarter], number);
            }
        }
        for quarter in 0..QUARTERS {
            // The place of the lowest bit: 8 of a byte without one, which is of no tree.
            let bit = vclzq_u8(vrbitq_u8(ended[quarter]));
            let plane = in_plane[quarter];
            let low = vaddw_u8(vshll_n_u8::<3>(vget_low_u8(plane)), vget_low_u8(bit));
            let high = vaddw_high_u8(vshll_high_n_u8::<3>(plane), bit);
            let first = reached.0.as_mut_ptr().add(quarter * QUARTER);
            vst1q_u16(first, low);
            vst1q_u16(first.add(QUARTER / 2), high);
        }
    }
}

#[inline]
fn table(table: &Table, at: usize) -> uint8x16x4_t {
    uint8x16x4_t(load(&table[at], 0), load(&table[at], 1), load(&table[at], 2), load(&table[at], 3))
}

/// The ranks of these columns. A look-up gives 0 beyond the 64 of its table.
#[inline]
fn look_up<const TABLES: usize>(tables: &[uint8x16x4_t; TABLES], column: uint8x16_t) -> uint8x16_t {
    // SAFETY: every 64-bit ARM processor has NEON.
    unsafe {
        let mut ranks = vdupq_n_u8(0);
        for (at, table) in tables.iter().enumerate() {
            let place = vsubq_u8(column, vdupq_n_u8((at * LANES) as u8));
            ranks = vorrq_u8(ranks, vqtbl4q_u8(*table, place));
        }
        ranks
    }
}

/// All ones in each byte whose bit is set.
#[inline]
fn bytes_of(bits: u16) -> uint8x16_t {
    const SPREAD: [u8; QUARTER] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    const BIT: [u8; QUARTER] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: every 64-bit ARM processor has NEON; both arrays have sixteen bytes.
    unsafe {
        let bytes = vreinterpretq_u8_u64(vdupq_n_u64(u64::from(bits)));
        vtstq_u8(vqtbl1q_u8(bytes, vld1q_u8(SPREAD.as_ptr())), vld1q_u8(BIT.as_ptr()))
    }
}

#[inline]
fn load(line: &Line, quarter: usize) -> uint8x16_t {
    debug_assert!(quarter < QUARTERS, "a line has four quarters");
    // SAFETY: every 64-bit ARM processor has NEON; `quarter` is below 4, so that sixteen of the 64 bytes are read.
    unsafe { vld1q_u8(line.0.as_ptr().add(quarter * QUARTER)) }
}
