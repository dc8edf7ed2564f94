//! What the algorithm asks of a shared file, whichever memory it is made of.
//!
//! [`crate::memory`] implements it over mapped memory files; the models implement it over race-checked cells. A slot's
//! first word, its `seq`, and the words below the slots order things. The other words of a slot are guarded by `seq`: the
//! models check that no two threads are at one of them at the same time.

use std::sync::atomic::Ordering;
use std::time::Duration;

/// A shared file as the side sees it that may only read it.
pub(crate) trait ReadFile {
    /// One slot.
    type Slot<'a>: ReadSlot + Copy
    where
        Self: 'a;

    /// Relaxed load of the word at a byte offset.
    fn load(&self, offset: usize) -> u64;
    /// `count` words from word number `first`.
    fn slot(&self, first: usize, count: usize) -> Self::Slot<'_>;
    /// Sleeps while the lower half of the word at a byte offset is that of `expected`, at most `timeout`. May end early.
    fn sleep(&self, offset: usize, expected: u64, timeout: Duration);
}

/// One slot of a file that may only be read.
pub(crate) trait ReadSlot {
    /// Relaxed load of the sequence number.
    fn seq(&self) -> u64;
    /// Relaxed load of another word.
    fn word(&self, word: usize) -> u64;
    /// Copies words from number `first` on until `out` is full.
    fn copy(&self, first: usize, out: &mut [u64]);
}

/// A shared file as its one writer sees it.
pub(crate) trait WriteFile {
    /// One slot.
    type Slot<'a>: WriteSlot + Copy
    where
        Self: 'a;

    /// Store to the word at a byte offset.
    fn store(&self, offset: usize, value: u64, order: Ordering);
    /// Adds one to a word that only this thread writes, and wakes whoever sleeps on its lower half.
    fn bump_and_wake(&self, offset: usize, order: Ordering);
    /// `count` words from word number `first`.
    fn slot(&self, first: usize, count: usize) -> Self::Slot<'_>;
}

/// One slot of a file that this side writes.
pub(crate) trait WriteSlot {
    /// Relaxed store of a word other than `seq`.
    fn set(&self, word: usize, value: u64);
    /// Relaxed stores from word number `first` on.
    fn fill(&self, first: usize, values: &[u64]);
    /// Store of the sequence number.
    fn publish(&self, seq: u64, order: Ordering);
}
