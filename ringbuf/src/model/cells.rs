//! A shared file made of atomics and of cells that are checked for races.

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex};
#[cfg(not(any(loom, shuttle)))]
use std::sync::{Condvar, Mutex};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::file::{ReadFile, ReadSlot, WriteFile, WriteSlot};
use crate::layout::{
    C_HEARTBEAT, C_KICK, C_PARKED, C_VERDICT_CURSOR, Geometry, S_DOORBELL, S_STATE, SLOT_HEADER_WORDS, SLOTS,
    STATE_ACTIVE, VERDICT_WORDS, empty_seq_of, slot_word,
};
use crate::sync::AtomicU64;

/// A word that must never be written while another thread is at it.
pub(crate) struct Plain(
    #[cfg(loom)] loom::cell::UnsafeCell<u64>,
    #[cfg(not(loom))] std::cell::UnsafeCell<u64>,
);

// SAFETY: that accesses do not overlap is exactly what the models check.
unsafe impl Sync for Plain {}

impl Plain {
    pub(crate) fn new() -> Plain {
        #[cfg(loom)]
        return Plain(loom::cell::UnsafeCell::new(0));
        #[cfg(not(loom))]
        Plain(std::cell::UnsafeCell::new(0))
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: ours and live; a write at the same time is the bug that the checker in use reports.
        #[cfg(loom)]
        return self.0.with(|word| unsafe { *word });
        // SAFETY: as above.
        #[cfg(not(loom))]
        unsafe {
            *self.0.get()
        }
    }

    pub(crate) fn set(&self, value: u64) {
        // SAFETY: as in `get`.
        #[cfg(loom)]
        return self.0.with_mut(|word| unsafe { *word = value });
        // SAFETY: as in `get`.
        #[cfg(not(loom))]
        unsafe {
            *self.0.get() = value;
        }
    }
}

/// ThreadSanitizer does not understand fences, so that every load has to carry what a fence after it would.
const LOAD: Ordering = if cfg!(tsan) { Ordering::Acquire } else { Ordering::Relaxed };

struct Slot {
    seq: AtomicU64,
    /// The words after `seq`.
    words: Box<[Plain]>,
}

struct Shared {
    /// The words below the slots: cursors, announcements, bells.
    control: [AtomicU64; 5],
    slot_words: usize,
    slots: Box<[Slot]>,
    /// Sleepers wait here; a waker passes through the lock, as it does in the kernel.
    bed: (Mutex<()>, Condvar),
}

/// One of the two files of a model.
#[derive(Clone)]
pub(crate) struct ModelFile(Arc<Shared>);

/// C and S of a connection whose indices start at `first`. Slots hold `words` payload words.
pub(crate) fn files(geometry: Geometry, first: u64, words: usize) -> (ModelFile, ModelFile) {
    let c = ModelFile::new(geometry.request_capacity, first, words, geometry.slot_bytes as usize / 8);
    let s =
        ModelFile::new(geometry.verdict_capacity, first, VERDICT_WORDS, SLOT_HEADER_WORDS + VERDICT_WORDS);
    s.0.control[place(S_STATE)].store(STATE_ACTIVE, Ordering::Relaxed);
    (c, s)
}

/// C and S have words at the same offsets, but for the state.
const fn place(offset: usize) -> usize {
    match offset {
        C_VERDICT_CURSOR => 0,
        C_HEARTBEAT => 1,
        C_KICK => 2,
        S_STATE => 3,
        C_PARKED => 4,
        _ => panic!("no word is there"),
    }
}

impl ModelFile {
    fn new(capacity: u32, first: u64, words: usize, slot_words: usize) -> ModelFile {
        let slots = (0..u64::from(capacity)).map(|i| {
            // The slot at place `i` is first used by the first index that falls on it.
            let index = first.wrapping_add(i.wrapping_sub(first) & u64::from(capacity - 1));
            Slot {
                seq: AtomicU64::new(empty_seq_of(index, capacity)),
                words: (1..SLOT_HEADER_WORDS + words).map(|_| Plain::new()).collect(),
            }
        });
        let control = core::array::from_fn(|i| AtomicU64::new(if i == 0 { first } else { 0 }));
        let bed = (Mutex::new(()), Condvar::new());
        ModelFile(Arc::new(Shared { control, slot_words, slots: slots.collect(), bed }))
    }

    fn control(&self, offset: usize) -> &AtomicU64 {
        const { assert!(C_KICK == S_DOORBELL) };
        &self.0.control[place(offset)]
    }

    fn at(&self, first: usize) -> &Slot {
        let place = (first - SLOTS / 8) / self.0.slot_words;
        assert_eq!(slot_word(place as u64, self.0.slots.len() as u32, self.0.slot_words), first);
        &self.0.slots[place]
    }
}

impl ReadFile for ModelFile {
    type Slot<'a> = ModelSlot<'a>;

    fn load(&self, offset: usize) -> u64 {
        self.control(offset).load(LOAD)
    }

    fn slot(&self, first: usize, _count: usize) -> ModelSlot<'_> {
        ModelSlot(self.at(first))
    }

    fn sleep(&self, offset: usize, expected: u64, timeout: Duration) {
        let (lock, woken) = &self.0.bed;
        let guard = lock.lock().unwrap();
        if self.load(offset) as u32 != expected as u32 {
            return;
        }
        // The checkers' sleeps have no end: a wake that is lost is a deadlock, which they report.
        #[cfg(any(loom, shuttle))]
        {
            let _ = timeout;
            drop(woken.wait(guard).unwrap());
        }
        #[cfg(not(any(loom, shuttle)))]
        drop(woken.wait_timeout(guard, timeout).unwrap());
    }
}

impl WriteFile for ModelFile {
    type Slot<'a> = ModelSlot<'a>;

    fn store(&self, offset: usize, value: u64, order: Ordering) {
        self.control(offset).store(value, order);
    }

    fn bump_and_wake(&self, offset: usize, order: Ordering) {
        let word = self.control(offset);
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), order);
        let (lock, woken) = &self.0.bed;
        drop(lock.lock().unwrap());
        woken.notify_all();
    }

    fn slot(&self, first: usize, _count: usize) -> ModelSlot<'_> {
        ModelSlot(self.at(first))
    }
}

/// One slot of a model's file.
#[derive(Clone, Copy)]
pub(crate) struct ModelSlot<'a>(&'a Slot);

impl ReadSlot for ModelSlot<'_> {
    fn seq(&self) -> u64 {
        self.0.seq.load(LOAD)
    }

    fn word(&self, word: usize) -> u64 {
        self.0.words[word - 1].get()
    }

    fn copy(&self, first: usize, out: &mut [u64]) {
        for (to, from) in out.iter_mut().zip(&self.0.words[first - 1..]) {
            *to = from.get();
        }
    }
}

impl WriteSlot for ModelSlot<'_> {
    fn set(&self, word: usize, value: u64) {
        self.0.words[word - 1].set(value);
    }

    fn fill(&self, first: usize, values: &[u64]) {
        for (to, &value) in self.0.words[first - 1..].iter().zip(values) {
            to.set(value);
        }
    }

    fn publish(&self, seq: u64, order: Ordering) {
        self.0.seq.store(seq, order);
    }
}
