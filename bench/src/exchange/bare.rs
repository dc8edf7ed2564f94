//! The floor: words in shared memory, a sequence number last, nothing else.
//!
//! No checks, no copies to private memory, no cursors, no flags: what two cores need in order to show each other the same
//! bytes. There are as many slots each way as the ring has, at the same distances.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::{ANSWER_BYTES, Caller, Echo, LOOKS, SLOTS, await_answer};
use crate::control::CONTROL_BYTES;
use crate::memory::Memory;

const CONTROL_WORDS: usize = CONTROL_BYTES / 8;
const ANSWER_WORDS: usize = ANSWER_BYTES / 8;

/// Bytes of memory for control page and slots.
pub(crate) const fn memory_bytes(slot_bytes: usize) -> usize {
    CONTROL_BYTES + SLOTS * (slot_bytes + ANSWER_BYTES)
}

/// Either end.
pub(crate) struct Bare {
    memory: Rc<Memory>,
    request_words: usize,
    seq: u64,
}

impl Bare {
    /// In memory of [`memory_bytes`], all zeros.
    pub(crate) fn new(memory: Rc<Memory>, slot_bytes: usize) -> Self {
        Self { memory, request_words: slot_bytes / 8, seq: 0 }
    }

    #[inline(always)]
    fn request(&self, seq: u64) -> &[AtomicU64] {
        let start = CONTROL_WORDS + seq as usize % SLOTS * self.request_words;
        &self.memory.words()[start..start + self.request_words]
    }

    #[inline(always)]
    fn verdict(&self, seq: u64) -> &[AtomicU64] {
        let start = CONTROL_WORDS + SLOTS * self.request_words + seq as usize % SLOTS * ANSWER_WORDS;
        &self.memory.words()[start..start + ANSWER_WORDS]
    }
}

#[inline(always)]
fn write(slot: &[AtomicU64], seq: u64) {
    for word in &slot[1..] {
        word.store(seq, Ordering::Relaxed);
    }
    slot[0].store(seq, Ordering::Release);
}

/// Reads a slot if it has this number.
#[inline(always)]
fn read(slot: &[AtomicU64], seq: u64) -> bool {
    if slot[0].load(Ordering::Acquire) != seq {
        return false;
    }
    let sum = slot[1..].iter().fold(0, |sum: u64, word| sum.wrapping_add(word.load(Ordering::Relaxed)));
    std::hint::black_box(sum);
    true
}

impl Caller for Bare {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        self.seq += 1;
        write(self.request(self.seq), self.seq);
        let verdict = self.verdict(self.seq);
        await_answer(LOOKS, || Ok(read(verdict, self.seq)))
    }
}

impl Echo for Bare {
    #[inline(always)]
    fn answer(&mut self) -> Result<bool> {
        let seq = self.seq + 1;
        if !read(self.request(seq), seq) {
            return Ok(false);
        }
        write(self.verdict(seq), seq);
        self.seq = seq;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_to_their_slots_over_several_laps() {
        let memory = Rc::new(Memory::new(memory_bytes(128)).unwrap());
        let (caller, mut echo) = (&mut Bare::new(Rc::clone(&memory), 128), Bare::new(memory, 128));
        for seq in 1..=3 * SLOTS as u64 {
            assert!(!echo.answer().unwrap());
            write(caller.request(seq), seq);
            assert!(echo.answer().unwrap());
            assert!(read(caller.verdict(seq), seq));
            assert!(!read(caller.verdict(seq + 1), seq + 1));
        }
        // The last slot ends where the memory does.
        assert_eq!(
            caller.verdict(SLOTS as u64 - 1).as_ptr_range().end,
            caller.memory.words().as_ptr_range().end
        );
    }
}
