//! The kernels: ranks of a row, and where it ends in the trees of a block.
//!
//! All do the same with the same bytes ([`lanes`](crate::lanes) says what) and give the same answer to the last bit, which
//! `tests/kernels.rs` holds them to. The best one the processor has is chosen when a model is loaded.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::lanes::{ArchivedBlock, ArchivedColumn, ArchivedLanes, CUTS_ABREAST, LANES, Line, TABLE_MAX};
use crate::model::ArchivedRounding;
use crate::walk;

/// Which instructions score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The trees are walked ([`walk`]): what no kernel takes.
    Walk,
    /// Plain Rust, on any processor.
    Portable,
    /// 32 bytes at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64 bytes at once; with VBMI a table of 128 ranks is looked up in one instruction.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 16 bytes at once.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Kernel {
    /// Those that this processor runs, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
            if has_avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vbmi")
            {
                kernels.push(Self::Avx512);
            }
            if has_avx2 {
                kernels.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        kernels.push(Self::Neon);
        kernels.extend([Self::Portable, Self::Walk]);
        kernels
    }

    /// The fastest that this processor runs.
    #[must_use]
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        }
    }

    /// Ranks a row in all columns.
    #[inline]
    pub(crate) fn rank(
        self,
        lanes: &ArchivedLanes,
        rounding: ArchivedRounding,
        row: &[f64],
        ranks: &mut [u8],
    ) {
        match self {
            Self::Walk | Self::Portable => portable::rank(lanes, rounding, row, ranks),
            // SAFETY: `available` has seen that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::rank(lanes, rounding, row, ranks) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::rank(lanes, rounding, row, ranks) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => arm::rank(lanes, rounding, row, ranks),
        }
    }

    /// Finds where rows end in the trees of a block.
    #[inline]
    pub(crate) fn reach<const ROWS: usize>(
        self,
        lanes: &ArchivedLanes,
        block: &ArchivedBlock,
        asked: [Asked<'_>; ROWS],
        reached: &mut [Reached; ROWS],
    ) {
        match self {
            Self::Walk | Self::Portable => portable::reach(lanes, block, asked, reached),
            // SAFETY: `available` has seen that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::reach(lanes, block, asked, reached) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::reach(lanes, block, asked, reached) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => arm::reach(lanes, block, asked, reached),
        }
    }
}

/// What a block is asked about one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The ranks that the block looks at, by its own numbers of columns.
    pub table: &'a Table,
    /// How many of them there are.
    pub columns: usize,
    /// Where the row of the category of each of [`ArchivedLanes::set_inputs`] begins.
    pub set_rows: &'a [u32],
}

/// The ranks that a block looks at.
pub(crate) type Table = [Line; TABLE_MAX / size_of::<Line>()];

/// The leaf where a row ends in each tree of a block: of a tree that is not there, any.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Reached(pub [u16; LANES]);

impl Reached {
    pub(crate) const NOWHERE: Self = Self([0; LANES]);
}

/// Ranks a row in all columns. `below` counts the cuts below a number in the first sixteen of these lines.
#[inline(always)]
fn rank(
    lanes: &ArchivedLanes,
    rounding: ArchivedRounding,
    row: &[f64],
    ranks: &mut [u8],
    below: impl Fn(&[Line], f64) -> usize,
) {
    const LINES: usize = CUTS_ABREAST * size_of::<f64>() / size_of::<Line>();
    for (column, rank) in lanes.columns.iter().zip(ranks) {
        *rank = match compared(column, rounding, row) {
            Ok(x) => {
                let lines = &lanes.cuts[column.first_line.to_native() as usize..];
                if column.has_pivots {
                    let sixteen = below(lines, x);
                    (CUTS_ABREAST * sixteen + below(&lines[LINES * (1 + sixteen)..], x)) as u8
                } else {
                    below(lines, x) as u8
                }
            }
            Err(rank) => rank,
        };
    }
}

/// The input of a column as it is compared, or the rank that it has as something missing.
#[inline(always)]
fn compared(column: &ArchivedColumn, rounding: ArchivedRounding, row: &[f64]) -> Result<f64, u8> {
    let x = walk::rounded(rounding, row[usize::from(column.input.to_native())]);
    walk::present(x, column.missing).ok_or(column.missing_rank)
}

/// All ranks of a table.
#[inline(always)]
fn flat(table: &Table) -> &[u8; TABLE_MAX] {
    // SAFETY: lines are bytes without padding, and so many are a table.
    unsafe { &*std::ptr::from_ref(table).cast() }
}

/// The word that says which trees of a slot send a row right by its category.
#[inline(always)]
fn goes_right(lanes: &ArchivedLanes, asked: &Asked<'_>, slot: &crate::lanes::ArchivedSetSlot) -> u64 {
    let row = asked.set_rows[usize::from(slot.set_input.to_native())];
    lanes.row_words[(row + slot.word.to_native()) as usize].to_native()
}
