//! How the measuring process tells the other whose turn it is, in a page of shared memory before the bare exchange's slots.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::child::Child;
use crate::memory::Memory;

/// Bytes in front of the slots.
pub(crate) const CONTROL_BYTES: usize = 4096;
/// Words: whose turn it is, and, on a line of its own, whose turn the other process has understood it to be.
const TURN: usize = 0;
const UNDERSTOOD: usize = 32;

/// Nobody's turn.
pub(crate) const NOBODY: u64 = 0;
/// The end.
pub(crate) const END: u64 = u64::MAX;

/// How long the other process may take to hear of a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page. Turns are numbers that both processes count alike.
#[derive(Clone, Copy)]
pub(crate) struct Control<'m>(&'m Memory);

impl<'m> Control<'m> {
    pub(crate) fn new(memory: &'m Memory) -> Self {
        Self(memory)
    }

    /// Whose turn it is. A look at a line that stays in this core's cache until it changes.
    #[inline(always)]
    pub(crate) fn turn(&self) -> u64 {
        self.0.words()[TURN].load(Ordering::Acquire)
    }

    /// The measuring process: gives the turn, and waits until the other has taken it.
    pub(crate) fn give(&self, turn: u64, child: &mut Child) -> Result<()> {
        self.0.words()[TURN].store(turn, Ordering::Release);
        let end = Instant::now() + PATIENCE;
        while self.0.words()[UNDERSTOOD].load(Ordering::Acquire) != turn {
            child.check()?;
            crate::interrupt::check()?;
            ensure!(Instant::now() < end, "the other process does not take its turn");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// The measuring process: ends the other, without waiting.
    pub(crate) fn end(&self) {
        self.0.words()[TURN].store(END, Ordering::Release);
    }

    /// The other process: says that it has understood.
    pub(crate) fn take(&self, turn: u64) {
        self.0.words()[UNDERSTOOD].store(turn, Ordering::Release);
    }
}
