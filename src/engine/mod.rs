//! The decision engine: a deterministic state machine, `step(state, input) → outcome`.
//!
//! Pure by construction: no I/O, clock, threads, randomness or hash-order iteration, and no allocation after
//! [`Engine::new`]. `tests/tidy.rs` holds it to that.

pub mod program;
pub mod units;
pub mod validate;
pub mod vm;
pub mod wire;

use program::ArchivedProgram;
use std::ptr::NonNull;
use std::sync::Arc;
use units::Value;
use wire::{Input, Outcome, Refusal};

/// Bytes that hold an archived program for as long as anyone executes it: a sealed memfd mapping, or memory.
pub trait ProgramBytes: AsRef<[u8]> + Send + Sync + 'static {}
impl<T: AsRef<[u8]> + Send + Sync + 'static> ProgramBytes for T {}

/// A validated program together with the bytes it lives in.
#[derive(Clone)]
pub struct Loaded {
    /// Points into what `owner.as_ref()` returned, once, when this was made.
    program: NonNull<ArchivedProgram>,
    owner: Arc<dyn ProgramBytes>,
    hash: [u8; 32],
}

// SAFETY: a `Loaded` gives shared access alone, to an `ArchivedProgram` (plain data, `Sync`) inside an owner that
// is `Send + Sync` itself.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Takes what `find` finds in the owner's bytes. The caller vouches that it was validated.
    ///
    /// `find` must not be able to smuggle in a reference from elsewhere that lives shorter than the bytes: its
    /// signature, for every lifetime, sees to that.
    pub(crate) fn from_owner<E>(
        owner: Arc<dyn ProgramBytes>,
        find: impl for<'a> FnOnce(&'a [u8]) -> Result<(&'a ArchivedProgram, [u8; 32]), E>,
    ) -> Result<Self, E> {
        let (program, hash) = find((*owner).as_ref())?;
        let program = NonNull::from(program);
        Ok(Self { program, owner, hash })
    }

    /// The program.
    #[inline]
    #[must_use]
    pub fn program(&self) -> &ArchivedProgram {
        // SAFETY: the pointer was made from a reference that borrowed `*owner`. The `Arc` keeps the owner at its
        // address and, as nothing here ever asks for exclusive access, shared for as long as `self` lives; so
        // that borrow could have lasted as long as the one given out.
        unsafe { self.program.as_ref() }
    }

    /// The bytes the program lives in, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// BLAKE3 of the archive.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// Whose clock decides what "now" is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The appliance's: event times beyond ± skew of receipt are judged at receipt time.
    Wall,
    /// The events' own times: replays and file-fed switches.
    Event,
}

/// How much state the engine may keep, and how it reads time. Fixed at start; part of what makes a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys per entity kind.
    pub keys_max: u32,
    /// Bytes for rows that do not fit inside their record, all kinds together.
    pub spill_bytes_max: u64,
    /// Rows kept per key and group; beyond it the oldest go, counted and flagged.
    pub rows_per_key_max: u32,
    /// Events remembered for answering duplicates.
    pub dedup_entries_max: u32,
    /// How far behind the largest admitted event time an event may come and still enter its windows, µs.
    pub lateness_us: i64,
    /// `Clock::Wall`: how far an event time may be from receipt, µs.
    pub skew_us: i64,
    /// Whose clock.
    pub clock: Clock,
    /// Seed of all table hashes.
    pub hash_seed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys_max: 1 << 20,
            spill_bytes_max: 2 << 30,
            rows_per_key_max: 16_384,
            dedup_entries_max: 1 << 20,
            lateness_us: units::HOUR,
            skew_us: units::MINUTE,
            clock: Clock::Event,
            hash_seed: 0x746f_6c6c_6761_7465,
        }
    }
}

/// Why an engine cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitError {
    /// What is wrong and what to do.
    pub message: String,
}

/// What one input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new decision: journal it, then publish it.
    Decided(Outcome),
    /// A duplicate: the stored verdict, [`wire::FLAG_DUPLICATE`] set. Nothing changed; nothing to journal.
    Repeated(Outcome),
    /// Refused. Nothing changed; nothing to journal.
    Refused(Refusal),
}

/// What has happened since start. Plain numbers: one thread owns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decisions (including acknowledgements of events that are not judged).
    pub decided: u64,
    /// Duplicates answered with the stored verdict.
    pub repeated: u64,
    /// Frames refused, by [`Refusal`] code.
    pub refused: [u64; 8],
    /// Events behind the watermark that entered their true place.
    pub late: u64,
    /// Events too late for that: judged without features, kept out of the windows.
    pub too_late: u64,
    /// `Clock::Wall`: events judged at receipt time because theirs was beyond the skew.
    pub skewed: u64,
    /// Amendments that changed at least one row.
    pub amended: u64,
    /// Amendments whose event is in no window here (unknown, or expired).
    pub amend_unknown: u64,
    /// Amendments older than the one already applied.
    pub amend_stale: u64,
    /// Rows moved to a larger tier.
    pub promoted: u64,
    /// Rows given up because of `rows_per_key_max` or `spill_bytes_max`, while still inside a window.
    pub rows_lost: u64,
    /// Keys that could not be kept because the table was full.
    pub keys_lost: u64,
    /// Keys dropped because they were idle past every horizon.
    pub keys_expired: u64,
    /// Decisions flagged inexact.
    pub inexact: u64,
    /// Duplicate entries overwritten to make room.
    pub dedup_evicted: u64,
}

/// The state machine.
pub struct Engine {
    loaded: Loaded,
}

impl Engine {
    /// Reserves all memory that `limits` allow.
    pub fn new(loaded: Loaded, limits: &Limits) -> Result<Self, LimitError> {
        let _ = limits;
        Ok(Self { loaded })
    }

    /// The program being executed.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// First phase of a burst: touches the index buckets of every key of the event. Changes nothing; safe on any input.
    pub fn prefetch_index(&self, input: &Input<'_>) {
        let _ = input;
    }

    /// Second phase of a burst: touches the records. Changes nothing; safe on any input.
    pub fn prefetch_records(&self, input: &Input<'_>) {
        let _ = input;
    }

    /// One whole decision.
    pub fn step(&mut self, input: &Input<'_>) -> Step {
        let _ = input;
        panic!("contract")
    }

    /// Recovery: takes the input of a journaled decision whose outcome another policy decided. State changes as in
    /// [`step`](Self::step); the verdict kept for duplicates, and the digest after it, are those recorded.
    pub fn adopt(&mut self, input: &Input<'_>, recorded: Outcome, digest: u64) {
        let _ = (input, recorded, digest);
    }

    /// The sequence number the next decision will get; the first is 1.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        panic!("contract")
    }

    /// Rolling digest of (seq, policy, feature words, outcome) of all decisions so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        panic!("contract")
    }

    /// The features of the last decision, in policy order; missing where the event has none.
    #[must_use]
    pub fn features(&self) -> &[Value] {
        panic!("contract")
    }

    /// What has happened since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        panic!("contract")
    }
}
