//! The least that five lookups can cost: two rounds of five reads at random places, the second where the first points.

use std::hint::black_box;

use anyhow::{Context, Result};
use memmap2::MmapMut;
use tollgate::engine::units::mix;

const LINE_WORDS: usize = 8;

/// Two blocks of memory with nothing in them.
pub(super) struct Floor {
    first: MmapMut,
    second: MmapMut,
    /// Of each block: the lines of one entity's fifth.
    lines: [u64; 2],
}

impl Floor {
    /// Of so many bytes, all resident, in large pages if the system has them and they are wanted.
    pub(super) fn new(first: u64, second: u64, large_pages: bool) -> Result<Self> {
        let block = |bytes: u64| -> Result<MmapMut> {
            let mut block = MmapMut::map_anon(bytes.max(4096) as usize).context("memory for the floor")?;
            if large_pages {
                // Only advice.
                let _ = block.advise(memmap2::Advice::HugePage);
            }
            block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            Ok(block)
        };
        let lines = [first, second].map(|bytes| (bytes / 64 / 5).max(1));
        Ok(Self { first: block(first)?, second: block(second)?, lines })
    }

    /// One event's worth. Returns something that depends on every read.
    #[inline]
    pub(super) fn reads(&self, number: u64) -> u64 {
        let (first, second) = (words(&self.first), words(&self.second));
        let place = |random: u64, entity: usize, lines: u64| {
            let line = (u128::from(random) * u128::from(lines)) >> 64;
            (entity * lines as usize + line as usize) * LINE_WORDS
        };
        let mut at = [0; 5];
        for (entity, at) in at.iter_mut().enumerate() {
            *at = place(mix(number, entity as u64), entity, self.lines[0]);
            prefetch(&first[*at]);
        }
        for (entity, at) in at.iter_mut().enumerate() {
            let found = first[*at];
            *at = place(mix(number ^ found, entity as u64 + 5), entity, self.lines[1]);
            prefetch(&second[*at]);
        }
        black_box(at.iter().fold(0, |sum, &at| sum ^ second[at]))
    }
}

fn words(block: &MmapMut) -> &[u64] {
    // SAFETY: the mapping is page-aligned and lives as long as the slice; any eight bytes are a number.
    unsafe { std::slice::from_raw_parts(block.as_ptr().cast(), block.len() / 8) }
}

#[inline]
fn prefetch(at: &u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing that a program can observe.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `prfm` never faults and changes nothing that a program can observe.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_reads_within_the_blocks() {
        for bytes in [0, 4096, 100_000] {
            let floor = Floor::new(bytes, bytes * 3, true).unwrap();
            (0..10_000).for_each(|number| _ = floor.reads(number));
        }
    }
}
