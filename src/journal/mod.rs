//! The journal: every input and its outcome, in order, on disk.
//!
//! ```text
//! engine thread ─Writer::append─▶ ring (tmpfs; survives SIGKILL) ─Flusher─▶ segments (disk; survives power loss)
//! ```
//!
//! A decision is *published* once its frame is committed in the [`ring`]: one Release store, no syscall. It is
//! *durable* once the [`flusher`]'s thread has written the batch that holds it, in order, and the disk said so;
//! [`Writer::durable_seq`] tells how far that is. At start [`Journal::recover`] checks every segment, moves what
//! survived in the ring to a segment of its own, and streams all of it; nothing is ever appended to a segment of
//! an earlier run. `docs/JOURNAL.md` is the reference of the format.
//!
//! Bytes on disk are little-endian and made of 8-byte words, so a frame is read in place.

mod disk;
pub mod find;
pub mod flusher;
pub mod frame;
mod index;
pub mod reader;
pub mod recovery;
pub mod ring;
pub mod segment;

use crate::engine::Limits;
use crate::engine::orders::Order;
use crate::engine::units::Time;
use crate::engine::wire::{Input, Outcome};
use std::path::PathBuf;
use std::time::Duration;

pub use disk::Backend;
pub use find::Searched;
pub use flusher::{FlushError, FlushStatus, Flusher};
pub use frame::{Frame, FrameError, Record};
pub use reader::{Reader, SegmentInfo, SegmentState, Summary};
pub use recovery::{Journal, RecoverError, Recovered, policy_path, store_policy};
pub use ring::{Full, Writer};

const _: () = assert!(cfg!(target_endian = "little"), "journal words are read in place: little-endian only");

/// What holds for all decisions that follow it, until the next epoch. Written whenever the appliance starts, and when a policy
/// takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Version of the engine's semantics.
    pub semantics: u32,
    /// BLAKE3 of the policy archive.
    pub policy_hash: [u8; 32],
    /// Hash of the event layouts.
    pub layout_hash: [u8; 32],
    /// The engine's limits.
    pub limits: Limits,
    /// When it began, by the appliance's clock.
    pub started: Time,
    /// Whether the appliance went on running, and the policy took over from that of the epoch before; else it started.
    pub took_over: bool,
}

/// What an operator ordered. Like an epoch it has no sequence number of its own, and counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered<'a> {
    /// The order.
    pub order: Order,
    /// When it was given, by the appliance's clock.
    pub given: Time,
    /// Who gave it and why, as a JSON object of at most [`NOTE_BYTES_MAX`] bytes.
    pub note: &'a str,
}

/// The most bytes of what is noted of an order.
pub const NOTE_BYTES_MAX: usize = 376;

/// One decision: the input, what it came to, and the engine's rolling digest after it.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What came in.
    pub input: Input<'a>,
    /// What was decided; `outcome.seq` is the journal's sequence number.
    pub outcome: Outcome,
    /// The rolling digest after this decision.
    pub digest: u64,
}

/// Where the journal lives and how it is written.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Directory of the segments, on a disk. Created if it is not there.
    pub dir: PathBuf,
    /// Directory of the ring, on tmpfs (a path under `/run` or `/dev/shm`). Created if it is not there.
    pub runtime_dir: PathBuf,
    /// Bytes of the ring; rounded up to a power of two, 64 KiB to 4 GiB.
    pub ring_bytes: u64,
    /// Bytes of a segment; rounded up to 4 KiB, at most 4 GiB.
    pub segment_bytes: u64,
    /// The most bytes written at once; rounded up to 4 KiB, at most 64 MiB and what fits a segment.
    pub batch_bytes_max: u64,
    /// How long a committed frame waits for company before it is written.
    pub flush_interval: Duration,
    /// How segments are written.
    pub backend: Backend,
}

impl JournalOptions {
    /// The defaults: a ring of 64 MiB, segments of 64 MiB, batches of at most 1 MiB, a linger of 2 ms.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, runtime_dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            runtime_dir: runtime_dir.into(),
            ring_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            batch_bytes_max: 1 << 20,
            flush_interval: Duration::from_millis(2),
            backend: Backend::Auto,
        }
    }

    /// Checks the sizes against each other and rounds them.
    fn checked(&self) -> Result<Self, RecoverError> {
        let mut options = self.clone();
        let refuse = |what: String| Err(RecoverError::Options(what));
        if !(ring::RING_BYTES_MIN..=ring::RING_BYTES_MAX).contains(&self.ring_bytes) {
            return refuse(format!(
                "ring_bytes is {}; it must be {} to {}",
                self.ring_bytes,
                ring::RING_BYTES_MIN,
                ring::RING_BYTES_MAX
            ));
        }
        options.ring_bytes = self.ring_bytes.next_power_of_two();
        let block = segment::BLOCK_BYTES as u64;
        if self.segment_bytes > segment::SEGMENT_BYTES_MAX || self.segment_bytes < 2 * block {
            return refuse(format!(
                "segment_bytes is {}; it must be {} to {}",
                self.segment_bytes,
                2 * block,
                segment::SEGMENT_BYTES_MAX
            ));
        }
        options.segment_bytes = self.segment_bytes.next_multiple_of(block);
        if self.batch_bytes_max > segment::BATCH_BYTES_MAX || self.batch_bytes_max < block {
            return refuse(format!(
                "batch_bytes_max is {}; it must be {} to {}",
                self.batch_bytes_max,
                block,
                segment::BATCH_BYTES_MAX
            ));
        }
        options.batch_bytes_max = self.batch_bytes_max.next_multiple_of(block);
        if options.batch_bytes_max + block > options.segment_bytes {
            return refuse(format!(
                "batch_bytes_max {} does not fit a segment of {} bytes; make segment_bytes larger",
                options.batch_bytes_max, options.segment_bytes
            ));
        }
        Ok(options)
    }
}
