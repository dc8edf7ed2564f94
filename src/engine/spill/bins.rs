//! Free blocks by size: *two-level segregated fit*, by which finding one takes the same few steps however many there are (Masmano, Ripoll,
//! Crespo and Real, "TLSF: a new dynamic memory allocator for real-time systems", 2004).
//!
//! Up to [`FINE`] lines there is a bin for each size; from there on [`FINE`] of them up to twice the size, and so on. A bit says whether a bin has any
//! blocks, and a bit above [`FINE`] of those whether any of these is set.

use super::Slab;

const FINE_LOG2: usize = 5;
/// Bins for sizes up to twice as large.
const FINE: usize = 1 << FINE_LOG2;
/// A slab is a 32-bit number.
const COARSE: usize = 32 - FINE_LOG2 + 1;

/// See the module. Of each block its number is known here, and who asks tells the rest.
pub(super) struct Bins {
    /// The first block of each; 0 is none.
    first: [[Slab; FINE]; COARSE],
    fine: [u32; COARSE],
    coarse: u32,
}

impl Default for Bins {
    fn default() -> Self {
        Self { first: [[0; FINE]; COARSE], fine: [0; COARSE], coarse: 0 }
    }
}

/// The bin of blocks of so many lines, of which there must be some.
fn bin(lines: usize) -> (usize, usize) {
    let above = (lines.ilog2() as usize).saturating_sub(FINE_LOG2 - 1);
    match above {
        0 => (0, lines),
        _ => (above, (lines >> (above - 1)) % FINE),
    }
}

impl Bins {
    /// A block of at least so many lines, at the head of its bin; `lines_of` tells how many a block has. None, if there is none in the
    /// bins above that of blocks of this size, and the first in that one is too small.
    pub(super) fn find(&self, lines: usize, lines_of: impl Fn(Slab) -> usize) -> Option<Slab> {
        let (coarse, fine) = bin(lines);
        let same = self.first[coarse][fine];
        if same != 0 && lines_of(same) >= lines {
            return Some(same);
        }
        let others = self.fine[coarse] & (u32::MAX << fine) & !(1 << fine);
        if others != 0 {
            return Some(self.first[coarse][others.trailing_zeros() as usize]);
        }
        let above = self.coarse & (u32::MAX << coarse) & !(1 << coarse);
        if above == 0 {
            return None;
        }
        let coarse = above.trailing_zeros() as usize;
        Some(self.first[coarse][self.fine[coarse].trailing_zeros() as usize])
    }

    /// Puts a block of so many lines at the head of its bin; the block that was there, or 0.
    pub(super) fn push(&mut self, block: Slab, lines: usize) -> Slab {
        let (coarse, fine) = bin(lines);
        let before = self.first[coarse][fine];
        self.set_first(lines, block);
        before
    }

    /// Sets the head of the bin of blocks of so many lines; 0 is none.
    pub(super) fn set_first(&mut self, lines: usize, block: Slab) {
        let (coarse, fine) = bin(lines);
        self.first[coarse][fine] = block;
        let bits = &mut self.fine[coarse];
        *bits = *bits & !(1 << fine) | u32::from(block != 0) << fine;
        let any = *bits != 0;
        self.coarse = self.coarse & !(1 << coarse) | u32::from(any) << coarse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_in_order_of_size_and_narrow() {
        let place = |lines: usize| {
            let (coarse, fine) = bin(lines);
            coarse * FINE + fine
        };
        let sizes = (1..5_000).chain((13..32).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        let mut before = (0, 0);
        for lines in sizes.chain([u32::MAX as usize]) {
            let at = place(lines);
            assert!(before.1 <= at && at < COARSE * FINE, "{lines}");
            if before.1 == at {
                assert!(lines - before.0 < 1.max(lines / FINE * 2), "{lines} and {} in one bin", before.0);
            }
            before = (lines, at);
        }
    }
}
