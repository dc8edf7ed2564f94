//! What a row has room for.

use super::{Checked, RECORD_WORDS_MAX};
use crate::engine::program::{ArchivedBitRef, ArchivedGroupPlan, STAMP_BITS};

/// The columns and bits of a row, each given out at most once.
pub(super) struct Row {
    columns: Vec<bool>,
    /// (column, bits taken) of the columns that hold bits.
    pub(super) bits: Vec<(u16, u64)>,
}

impl Row {
    pub(super) fn new(group: &ArchivedGroupPlan) -> Result<Self, String> {
        let words = usize::from(group.row_words.to_native());
        ensure!((1..=RECORD_WORDS_MAX).contains(&words), "a row of {words} words is not possible");
        let mut columns = vec![false; words];
        columns[0] = true; // the time, and the bits below it
        Ok(Self { columns, bits: vec![(0, u64::MAX << STAMP_BITS)] })
    }

    pub(super) fn column(&mut self, column: u16, size: usize) -> Checked {
        let first = usize::from(column);
        let columns = self.columns.get_mut(first..first + size);
        for taken in columns.ok_or_else(|| format!("column {column} is outside the row"))? {
            ensure!(!std::mem::replace(taken, true), "column {column} is used twice");
        }
        Ok(())
    }

    pub(super) fn bit(&mut self, at: &ArchivedBitRef) -> Checked {
        let (column, bit) = (at.column.to_native(), at.bit);
        let word = self.bits.iter_mut().find(|(holder, _)| *holder == column);
        let (_, taken) = word.ok_or_else(|| format!("column {column} does not hold bits"))?;
        ensure!(bit < 64, "there is no bit {bit} in a word");
        ensure!(*taken & 1 << bit == 0, "bit {bit} of column {column} is used twice");
        *taken |= 1 << bit;
        Ok(())
    }
}
