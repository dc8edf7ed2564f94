//! The journal ring: where a decision is committed before its verdict is seen.
//!
//! A file on tmpfs, mapped shared, filled and locked in memory before use, so that committing costs a copy and one
//! Release store. Its pages outlive the process, whatever instruction it is killed at; they do not outlive the power.
//!
//! ```text
//! page 0      header: identity (written once, CRC), then the flusher's cursors on lines of their own
//! then        capacity bytes (a power of two) of entries: commit word, frame; each entry contiguous
//! ```
//!
//! Positions count bytes ever written; the place in the file is the position modulo the capacity. The commit word of
//! the entry at position p is `p | 1` for a frame and `p | 2` for "the next entry is at the start of the ring"; 0
//! means that nothing is committed there yet. Before the writer commits an entry it zeroes the commit word of the
//! place that follows, so what an earlier lap left is never taken for a commit, and the entries that survive a crash
//! are exactly those from `flushed` to the first zero. One writer ([`Writer`], the engine thread) and one reader (the
//! flusher); both types can move to another thread and neither can be shared.

use super::flusher::FlushStatus;
use super::frame::{self, FRAME_WORDS_MAX, Frame, Head, bytes_of, bytes_of_mut};
use super::recovery::RecoverError;
use super::{Decision, Epoch, Ordered};
use memmap2::{MmapOptions, MmapRaw};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The smallest ring.
pub const RING_BYTES_MIN: u64 = 64 << 10;
/// The largest ring.
pub const RING_BYTES_MAX: u64 = 4 << 30;
/// Name of the ring's file in the runtime directory.
pub const RING_FILE: &str = "journal.ring";

const RING_MAGIC: u64 = u64::from_le_bytes(*b"TGJRING1");
const RING_VERSION: u32 = frame::FRAME_VERSION as u32;
const HEADER_BYTES: usize = 4096;
const IDENTITY_WORDS: usize = 8;
/// Words of the header that the flusher writes while the ring is in use.
const DURABLE_SEQ: usize = 16;
const DURABLE_BATCH: usize = 17;
const FLUSHED: usize = 32;

const COMMITTED: u64 = 1;
const SKIP: u64 = 2;
/// The largest entry: commit word and frame.
const ENTRY_BYTES_MAX: u64 = (FRAME_WORDS_MAX as u64 + 1) * 8;

const _: () = assert!(RING_BYTES_MIN.is_power_of_two() && RING_BYTES_MIN > 16 * ENTRY_BYTES_MAX);

/// Whose ring it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub journal: [u64; 2],
    pub term: u32,
    pub nonce: u64,
    pub capacity: u64,
}

impl Identity {
    fn to_words(self) -> [u64; IDENTITY_WORDS] {
        let version = u64::from(RING_VERSION) | u64::from(self.term) << 32;
        let mut words =
            [RING_MAGIC, version, self.capacity, self.nonce, self.journal[0], self.journal[1], 0, 0];
        words[7] = u64::from(crc32c::crc32c(bytes_of(&words[..7])));
        words
    }

    fn from_words(words: &[u64]) -> Result<Self, &'static str> {
        if words[0] != RING_MAGIC {
            return Err("this is not a journal ring");
        }
        if words[1] as u32 != RING_VERSION {
            return Err("the ring's version is another build's");
        }
        if words[7] != u64::from(crc32c::crc32c(bytes_of(&words[..7]))) {
            return Err("the CRC of the ring's header does not match");
        }
        let capacity = words[2];
        if !capacity.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&capacity) {
            return Err("the ring's capacity is out of range");
        }
        Ok(Self { journal: [words[4], words[5]], term: (words[1] >> 32) as u32, nonce: words[3], capacity })
    }
}

/// The mapped ring.
pub(super) struct Ring {
    map: MmapRaw,
    capacity: u64,
    /// Kept open because it holds the lock on the ring.
    _file: File,
}

impl Ring {
    /// Makes a ring and puts it in the place of the one that may be there.
    pub(super) fn create(path: &Path, identity: Identity) -> Result<Self, RecoverError> {
        let fresh = path.with_extension("ring.new");
        let fail = |what: &str, source: io::Error| RecoverError::io(what, &fresh, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(|error| fail("cannot create the ring", error))?;
        let bytes = HEADER_BYTES as u64 + identity.capacity;
        allocate(&file, bytes).map_err(|error| {
            fail("cannot reserve the ring's memory (make the tmpfs larger, or ring_bytes smaller)", error)
        })?;
        file.try_lock().map_err(|error| fail("cannot lock the ring", error.into()))?;
        let map = MmapOptions::new()
            .len(bytes as usize)
            .populate()
            .map_raw(&file)
            .map_err(|error| fail("cannot map the ring", error))?;
        // SAFETY: the range is the mapping just made. Locking is best effort: without the privilege, the pages of
        // a tmpfs may be swapped, which costs time and nothing else.
        let _ = unsafe { libc::mlock(map.as_ptr().cast(), map.len()) };
        let ring = Self { map, capacity: identity.capacity, _file: file };
        for (index, word) in identity.to_words().into_iter().enumerate() {
            ring.header(index).store(word, Ordering::Relaxed);
        }
        std::fs::rename(&fresh, path).map_err(|error| fail("cannot put the ring in place", error))?;
        Ok(ring)
    }

    fn header(&self, word: usize) -> &AtomicU64 {
        debug_assert!(word < HEADER_BYTES / 8);
        // SAFETY: the mapping is page-aligned, at least HEADER_BYTES long, lives as long as `self`, and its header
        // is only ever accessed through these atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(word)) }
    }

    /// Pointer to the byte at this position.
    fn at(&self, position: u64) -> *mut u64 {
        let place = HEADER_BYTES + (position & (self.capacity - 1)) as usize;
        // SAFETY: `place` is below HEADER_BYTES + capacity, the length of the mapping.
        unsafe { self.map.as_mut_ptr().add(place).cast() }
    }

    fn commit(&self, position: u64) -> &AtomicU64 {
        // SAFETY: positions of entries are multiples of 8 and the mapping is page-aligned; a place is accessed
        // without atomics only between `flushed` and the commit that covers it, by the writer alone.
        unsafe { AtomicU64::from_ptr(self.at(position)) }
    }

    /// Bytes from this position to the end of the file.
    fn contiguous(&self, position: u64) -> u64 {
        self.capacity - (position & (self.capacity - 1))
    }

    pub(super) fn durable_seq(&self) -> u64 {
        self.header(DURABLE_SEQ).load(Ordering::Acquire)
    }

    /// Says that everything up to this decision and this batch is durable.
    pub(super) fn publish_durable(&self, seq: u64, batch: u64) {
        self.header(DURABLE_BATCH).store(batch, Ordering::Release);
        self.header(DURABLE_SEQ).store(seq, Ordering::Release);
    }
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: plain call on an open descriptor. Unlike ftruncate it fails now when the tmpfs is full, instead of
    // killing the process when a page is touched later.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The ring has no room: the flusher is behind, or has stopped ([`Writer::status`] says why). Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal ring is full: the disk is slower than the traffic, or flushing has stopped; take no input until there is room"
)]
pub struct Full;

/// The engine thread's end: commits frames.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<tollgate::journal::Writer>();
/// ```
pub struct Writer {
    ring: Arc<Ring>,
    status: Arc<FlushStatus>,
    /// Position of the next entry; its commit word is zero.
    head: u64,
    /// As last read: everything below may be overwritten.
    flushed: u64,
    term: u32,
    nonce: u64,
    seq: u64,
    epoch: u32,
    scratch: [u64; FRAME_WORDS_MAX],
    _not_sync: PhantomData<Cell<()>>,
}

impl Writer {
    pub(super) fn new(
        ring: Arc<Ring>,
        status: Arc<FlushStatus>,
        identity: Identity,
        seq: u64,
        epoch: u32,
    ) -> Self {
        let Identity { term, nonce, .. } = identity;
        let scratch = [0; FRAME_WORDS_MAX];
        Self { ring, status, head: 0, flushed: 0, term, nonce, seq, epoch, scratch, _not_sync: PhantomData }
    }

    /// Commits a decision: when this returns `Ok`, it survives the end of this process. No allocation, no syscall.
    ///
    /// # Panics
    /// If the decision's seq is not the one after the last: a journal with a gap could never be replayed.
    pub fn append(&mut self, decision: &Decision<'_>) -> Result<(), Full> {
        assert_eq!(decision.outcome.seq, self.seq + 1, "decisions are journaled in order");
        let head = self.frame_head(decision.outcome.seq, self.epoch);
        let words = frame::encode_decision(&mut self.scratch, &head, decision);
        self.commit(words)?;
        self.seq += 1;
        Ok(())
    }

    /// Commits a new epoch: what holds for the decisions after it.
    pub fn append_epoch(&mut self, epoch: &Epoch) -> Result<(), Full> {
        let head = self.frame_head(self.seq, self.epoch + 1);
        let words = frame::encode_epoch(&mut self.scratch, &head, epoch);
        self.commit(words)?;
        self.epoch += 1;
        Ok(())
    }

    /// Commits an order, which holds for the decisions after it.
    pub fn append_order(&mut self, ordered: &Ordered<'_>) -> Result<(), Full> {
        let head = self.frame_head(self.seq, self.epoch + 1);
        let words = frame::encode_order(&mut self.scratch, &head, ordered);
        self.commit(words)?;
        self.epoch += 1;
        Ok(())
    }

    fn frame_head(&self, seq: u64, epoch: u32) -> Head {
        Head { term: self.term, nonce: self.nonce, seq, durable_seq: self.ring.durable_seq(), epoch }
    }

    /// Whether that many decisions of any size are sure to fit.
    #[must_use]
    pub fn room(&self, frames: usize) -> bool {
        let flushed = self.ring.header(FLUSHED).load(Ordering::Acquire);
        let free = self.ring.capacity - (self.head - flushed);
        // Besides the frames: the commit word after the last, and what a skip to the start may waste.
        (frames as u64).saturating_mul(ENTRY_BYTES_MAX).saturating_add(ENTRY_BYTES_MAX + 16) <= free
    }

    /// The last decision that would survive a loss of power.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.ring.durable_seq()
    }

    /// The last decision committed.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    /// How the flusher is doing.
    #[must_use]
    pub fn status(&self) -> &FlushStatus {
        &self.status
    }

    /// Copies the first `words` of scratch into the ring and commits them.
    fn commit(&mut self, words: usize) -> Result<(), Full> {
        let entry = (words as u64 + 1) * 8;
        // The commit word after the entry is zeroed too, so an entry always leaves eight contiguous bytes.
        let contiguous = self.ring.contiguous(self.head);
        let skip = if contiguous < entry + 8 { contiguous } else { 0 };
        let end = self.head + skip + entry + 8;
        if end - self.flushed > self.ring.capacity {
            self.flushed = self.ring.header(FLUSHED).load(Ordering::Acquire);
            if end - self.flushed > self.ring.capacity {
                return Err(Full);
            }
        }
        if skip > 0 {
            self.ring.commit(self.head + skip).store(0, Ordering::Relaxed);
            self.ring.commit(self.head).store(self.head | SKIP, Ordering::Release);
            self.head += skip;
        }
        let position = self.head;
        self.ring.commit(position + entry).store(0, Ordering::Relaxed);
        // SAFETY: `position + 8 .. position + entry` is contiguous (checked above), inside the mapping, and between
        // the last commit and `flushed + capacity`, where the reader does not look; `scratch` is private memory.
        unsafe { std::ptr::copy_nonoverlapping(self.scratch.as_ptr(), self.ring.at(position + 8), words) };
        self.ring.commit(position).store(position | COMMITTED, Ordering::Release);
        self.head = position + entry;
        Ok(())
    }
}

/// The flusher's end: takes committed frames in order.
pub(super) struct RingReader {
    ring: Arc<Ring>,
    tail: u64,
    _not_sync: PhantomData<Cell<()>>,
}

impl RingReader {
    pub(super) fn new(ring: Arc<Ring>) -> Self {
        Self { ring, tail: 0, _not_sync: PhantomData }
    }

    /// Copies the next committed frame to the start of `out`; 0 words when there is none, or when it does not fit.
    pub(super) fn take(&mut self, out: &mut [u64]) -> Result<usize, String> {
        loop {
            let position = self.tail;
            match self.ring.commit(position).load(Ordering::Acquire) {
                0 => return Ok(0),
                word if word == position | SKIP => self.tail += self.ring.contiguous(position),
                word if word == position | COMMITTED => {
                    let damaged = |what: &str| Err(format!("ring position {position}: {what}"));
                    let limit = (self.ring.contiguous(position) / 8 - 1) as usize;
                    if limit < 2 {
                        return damaged("an entry runs past the end");
                    }
                    let at = self.ring.at(position + 8);
                    // SAFETY: the Acquire load saw this entry's commit, so the writer is done with it and will
                    // not touch it until `flushed` passes it; at least two words are inside the mapping.
                    let (first, second) = unsafe { (at.read(), at.add(1).read()) };
                    let words = match frame::frame_words(first, second) {
                        Ok(words) => words,
                        Err(error) => return damaged(&error.to_string()),
                    };
                    if words > limit {
                        return damaged("an entry runs past the end");
                    }
                    let Some(out) = out.get_mut(..words) else { return Ok(0) };
                    // SAFETY: as above, and `words` are inside the mapping; `out` is private memory that long.
                    unsafe { std::ptr::copy_nonoverlapping(at, out.as_mut_ptr(), words) };
                    self.tail += (words as u64 + 1) * 8;
                    return Ok(words);
                }
                word => return Err(format!("ring position {position}: {word:#x} is not a commit word")),
            }
        }
    }

    /// Gives everything taken so far back to the writer.
    pub(super) fn release(&self) {
        self.ring.header(FLUSHED).store(self.tail, Ordering::Release);
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }
}

/// A copy of a ring's bytes: what recovery and tools read.
///
/// The cursors are read on both sides of the copy; entries from the later `flushed` on cannot have been
/// overwritten while it was made. What the writer committed meanwhile may be missing from the copy of a ring in use, and a
/// word of an earlier lap stand where it ends.
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) durable_seq: u64,
    pub(super) durable_batch: u64,
    flushed: u64,
    data: Vec<u64>,
    /// The ring itself, unless it is known that nobody writes to it.
    live: Option<File>,
}

/// What the entries of an [`Image`] came to.
pub(super) struct ImageEnd {
    /// Byte in the ring's file where reading ended.
    pub(super) offset: u64,
    /// Why it ended there, unless nothing more was committed.
    pub(super) damaged: Option<String>,
}

impl Image {
    /// Reads the ring in this directory, if there is one. With `lock`, refuses one that is in use, and returns the
    /// lock.
    pub(super) fn load(dir: &Path, lock: bool) -> Result<Option<(Self, File)>, RecoverError> {
        let path = dir.join(RING_FILE);
        let fail = |what: &str, source: io::Error| RecoverError::io(what, &path, source);
        let file = match OpenOptions::new().read(true).write(lock).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail("cannot open the ring", error)),
        };
        if lock {
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Err(RecoverError::InUse { path }),
                Err(std::fs::TryLockError::Error(error)) => return Err(fail("cannot lock the ring", error)),
            }
        }
        let bad = |what: &str| RecoverError::BadRing { path: path.clone(), what: what.to_owned() };
        let mut header = [0; HEADER_BYTES / 8];
        let read_header = |header: &mut [u64]| match file.read_exact_at(bytes_of_mut(header), 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(bad("the file is too short")),
            Err(error) => Err(fail("cannot read the ring", error)),
            Ok(()) => Ok(()),
        };
        read_header(&mut header)?;
        let identity = Identity::from_words(&header[..IDENTITY_WORDS]).map_err(bad)?;
        let length = file.metadata().map_err(|error| fail("cannot read the ring", error))?.len();
        if length != HEADER_BYTES as u64 + identity.capacity {
            return Err(bad("the file's length is not that of its header"));
        }
        let mut data = vec![0; identity.capacity as usize / 8];
        file.read_exact_at(bytes_of_mut(&mut data), HEADER_BYTES as u64)
            .map_err(|error| fail("cannot read the ring", error))?;
        read_header(&mut header)?;
        if header[FLUSHED] % 8 != 0 || header[FLUSHED] > u64::MAX / 2 {
            return Err(bad("its flushed position is impossible"));
        }
        let live = match lock {
            true => None,
            false => Some(file.try_clone().map_err(|error| fail("cannot read the ring", error))?),
        };
        let image = Self {
            path: path.clone(),
            identity,
            durable_seq: header[DURABLE_SEQ],
            durable_batch: header[DURABLE_BATCH],
            flushed: header[FLUSHED],
            data,
            live,
        };
        Ok(Some((image, file)))
    }

    /// Whether a word is another by now. It was copied before the writer came there, and is left over from an earlier lap:
    /// what follows was not committed yet.
    fn changed(&self, place: usize, copied: u64) -> bool {
        let mut now = [copied];
        let offset = (HEADER_BYTES + place * 8) as u64;
        let read = self.live.as_ref().map(|ring| ring.read_exact_at(bytes_of_mut(&mut now), offset));
        matches!(read, Some(Ok(()))) && now[0] != copied
    }

    /// Calls `visit` with each surviving frame, in order: right nonce and term, right CRC. It may say that a frame
    /// does not follow from what came before; nothing after that is visited.
    pub(super) fn walk<E>(
        &self,
        mut visit: impl FnMut(&Frame<'_>, &[u64]) -> Result<Result<(), String>, E>,
    ) -> Result<ImageEnd, E> {
        let (capacity, mask) = (self.identity.capacity, self.identity.capacity - 1);
        let mut position = self.flushed;
        loop {
            let place = (position & mask) as usize / 8;
            let end = |damaged: Option<String>| {
                Ok(ImageEnd { offset: HEADER_BYTES as u64 + (position & mask), damaged })
            };
            if position - self.flushed >= capacity {
                return end(None);
            }
            match self.data[place] {
                0 => return end(None),
                word if word == position | SKIP => {
                    position += capacity - (position & mask);
                    continue;
                }
                word if word == position | COMMITTED => {}
                word if self.changed(place, word) => return end(None),
                word => return end(Some(format!("{word:#x} is not a commit word"))),
            }
            let rest = &self.data[place + 1..];
            let (frame, words) = match frame::decode(rest) {
                Ok(found) => found,
                Err(error) => return end(Some(error.to_string())),
            };
            if (frame.head.term, frame.head.nonce) != (self.identity.term, self.identity.nonce) {
                return end(Some("the frame is of another ring".to_owned()));
            }
            if let Err(what) = visit(&frame, &rest[..words])? {
                return end(Some(what));
            }
            position += (words as u64 + 1) * 8;
        }
    }
}
