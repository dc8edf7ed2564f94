//! The kernel in plain Rust: one byte after the other.

use super::{Asked, Reached, flat, goes_right};
use crate::lanes::{ArchivedBlock, ArchivedLanes, LANES, Line};
use crate::model::ArchivedRounding;

pub(super) fn rank(lanes: &ArchivedLanes, rounding: ArchivedRounding, row: &[f64], ranks: &mut [u8]) {
    super::rank(lanes, rounding, row, ranks, below);
}

/// How many of sixteen cuts are below x.
fn below(lines: &[Line], x: f64) -> usize {
    let cuts = lines[..2].iter().flat_map(|line| line.0.as_chunks::<8>().0);
    cuts.filter(|cut| f64::from_le_bytes(**cut) < x).count()
}

pub(super) fn reach<const ROWS: usize>(
    lanes: &ArchivedLanes,
    block: &ArchivedBlock,
    asked: [Asked<'_>; ROWS],
    reached: &mut [Reached; ROWS],
) {
    for (asked, reached) in asked.iter().zip(reached) {
        let table = flat(asked.table);
        for plane in lanes.planes_of(block) {
            let mut left = [u8::MAX; LANES];
            for slot in lanes.slots_of(plane) {
                // Looked up first, so that the rest is done several bytes at once, whatever the processor.
                let mut ranks = [0; LANES];
                for (rank, column) in ranks.iter_mut().zip(&slot.column.0) {
                    *rank = table[usize::from(*column)];
                }
                for lane in 0..LANES {
                    let right = u8::from(ranks[lane] > slot.cut.0[lane]).wrapping_neg();
                    left[lane] &= !(slot.clear.0[lane] & right);
                }
            }
            for slot in lanes.set_slots_of(plane) {
                let right = goes_right(lanes, asked, slot);
                for (lane, left) in left.iter_mut().enumerate() {
                    *left &= !(slot.clear.0[lane] & (right >> lane & 1).wrapping_neg() as u8);
                }
            }
            for (left, leaf) in left.iter().zip(&mut reached.0) {
                if *left != 0 {
                    *leaf = u16::from(plane.number) * 8 + left.trailing_zeros() as u16;
                }
            }
        }
    }
}
