//! The flusher: the one thread that makes decisions durable.
//!
//! Each cycle it takes what the ring holds, in batches of at most `batch_bytes_max`, and writes each batch with one
//! durable write; only then does it publish `durable_seq` and give the ring's bytes back. A frame thus waits at most
//! `flush_interval` for company, and not at all while batches are full. One write is in flight at a time.
//!
//! A write or sync that fails is final. After a failed fsync the kernel may drop the dirty pages and report success
//! the next time, so a retry could only lie: the flusher says why in [`FlushStatus::degraded`], stops, and
//! `durable_seq` stays where it is. What is in the ring survives there for the next start.

use super::JournalOptions;
use super::disk::{AlignedWords, Disk};
use super::frame::{self, bytes_of};
use super::recovery::{RecoverError, UNFINISHED, sync_dir};
use super::ring::{Ring, RingReader};
use super::segment::{self, BATCH_HEADER_WORDS, BLOCK_BYTES, Position, SegmentHeader, segment_path};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why flushing stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FlushError(String);

/// What the flusher has done, for anyone to read.
#[derive(Debug)]
pub struct FlushStatus {
    backend: &'static str,
    fallback: Option<String>,
    degraded: OnceLock<FlushError>,
    batches: AtomicU64,
    bytes: AtomicU64,
    segments: AtomicU64,
}

impl FlushStatus {
    /// How segments are written.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Why io_uring is not used, when it was tried.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Why flushing has stopped for good, if it has: from then on nothing becomes durable.
    #[must_use]
    pub fn degraded(&self) -> Option<&FlushError> {
        self.degraded.get()
    }

    /// Batches written since start.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Bytes written since start, padding included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Segments begun since start.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }
}

const RUN: u8 = 0;
const DRAIN: u8 = 1;
const ABANDON: u8 = 2;

/// The running flusher. Dropping it stops the thread without draining: what is committed stays in the ring, as if
/// the process had been killed. [`shutdown`](Self::shutdown) is the way to end.
pub struct Flusher {
    thread: Option<JoinHandle<Result<(), FlushError>>>,
    ring: Arc<Ring>,
    status: Arc<FlushStatus>,
    phase: Arc<AtomicU8>,
    /// Keeps others out of the directory, also when the thread has given up: the ring still holds what they would lack.
    _lock: File,
}

impl Flusher {
    pub(super) fn spawn(
        core: Core,
        ring: Arc<Ring>,
        status: Arc<FlushStatus>,
        lock: File,
    ) -> io::Result<Self> {
        let phase = Arc::new(AtomicU8::new(RUN));
        let reader = RingReader::new(Arc::clone(&ring));
        let seen = Arc::clone(&phase);
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || core.run(reader, &seen))?;
        Ok(Self { thread: Some(thread), ring, status, phase, _lock: lock })
    }

    /// The last decision that would survive a loss of power.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.ring.durable_seq()
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> &Arc<FlushStatus> {
        &self.status
    }

    /// Makes everything committed so far durable and ends the thread; says which decision is the last.
    pub fn shutdown(mut self) -> Result<u64, FlushError> {
        let Some(result) = self.stop(DRAIN) else { return Ok(self.durable_seq()) };
        result.unwrap_or_else(|_| Err(FlushError("the journal's thread panicked".to_owned())))?;
        Ok(self.durable_seq())
    }

    fn stop(&mut self, phase: u8) -> Option<std::thread::Result<Result<(), FlushError>>> {
        let thread = self.thread.take()?;
        self.phase.store(phase, Ordering::Release);
        thread.thread().unpark();
        Some(thread.join())
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let _ = self.stop(ABANDON);
    }
}

/// The flusher's own state.
pub(super) struct Core {
    dir: PathBuf,
    segment_bytes: u64,
    flush_interval: Duration,
    disk: Disk,
    segment: File,
    nonce: u64,
    position: Position,
    batch: AlignedWords,
    spare: Option<JoinHandle<io::Result<()>>>,
    status: Arc<FlushStatus>,
}

impl Core {
    /// Chooses how to write and makes the run's first segment.
    pub(super) fn open(
        options: &JournalOptions,
        before: Position,
        term: u32,
        nonce: u64,
    ) -> Result<Self, RecoverError> {
        let dir = options.dir.clone();
        let disk = Disk::choose(options.backend, &dir)
            .map_err(|error| RecoverError::io("cannot write segments this way", &dir, error))?;
        let header = SegmentHeader { bytes: options.segment_bytes, nonce, recovered: false, term, before };
        let segment = zero_fill(&spare_path(&dir), options.segment_bytes)
            .and_then(|()| place_segment(&disk, &dir, &header))
            .map_err(|error| RecoverError::io("cannot make a segment", &dir, error))?;
        let fallback = match &disk {
            Disk::Uring(_) => None,
            Disk::Pwrite(why) => why.clone(),
        };
        let status = FlushStatus {
            backend: disk.name(),
            fallback,
            degraded: OnceLock::new(),
            batches: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            segments: AtomicU64::new(1),
        };
        Ok(Self {
            dir,
            segment_bytes: options.segment_bytes,
            flush_interval: options.flush_interval,
            disk,
            segment,
            nonce,
            position: header.start(),
            batch: AlignedWords::zeroed(options.batch_bytes_max as usize),
            spare: None,
            status: Arc::new(status),
        })
    }

    pub(super) fn status(&self) -> Arc<FlushStatus> {
        Arc::clone(&self.status)
    }

    fn run(mut self, mut reader: RingReader, phase: &AtomicU8) -> Result<(), FlushError> {
        let result = loop {
            let begun = Instant::now();
            let now = phase.load(Ordering::Acquire);
            if now == ABANDON {
                break Ok(());
            }
            if let Err(error) = self.cycle(&mut reader, now == DRAIN, phase) {
                let error = FlushError(format!(
                    "{error}; flushing has stopped and decisions after {} are not safe from a loss of power: \
                     replace or free the disk, then restart",
                    self.position.seq
                ));
                let _ = self.status.degraded.set(error.clone());
                break Err(error);
            }
            if now == DRAIN {
                break Ok(());
            }
            std::thread::park_timeout(self.flush_interval.saturating_sub(begun.elapsed()));
        };
        if let Some(spare) = self.spare.take() {
            let _ = spare.join();
        }
        result
    }

    /// Writes what is committed: everything when draining, else until a batch is not full.
    fn cycle(&mut self, reader: &mut RingReader, drain: bool, phase: &AtomicU8) -> Result<(), String> {
        loop {
            let (end, frames, after) = self.fill(reader)?;
            if frames == 0 {
                return Ok(());
            }
            self.write(end, frames, &after)?;
            reader.ring().publish_durable(self.position.seq, self.position.batch);
            reader.release();
            let full = end > self.batch.len() / 2;
            if !drain && (!full || phase.load(Ordering::Acquire) == ABANDON) {
                return Ok(());
            }
        }
    }

    /// Takes committed frames into the batch: where they end, how many, and the position after them.
    fn fill(&mut self, reader: &mut RingReader) -> Result<(usize, u32, Position), String> {
        let mut after = self.position;
        let (mut end, mut frames) = (BATCH_HEADER_WORDS, 0);
        loop {
            let taken = reader.take(&mut self.batch[end..])?;
            if taken == 0 {
                return Ok((end, frames, after));
            }
            // Checked again in private memory: what is wrong in the ring must not reach the disk.
            let (frame, _) = frame::decode(&self.batch[end..end + taken])
                .map_err(|error| format!("the journal ring is damaged: {error}"))?;
            if (frame.head.term, frame.head.nonce) != (self.position.term, self.nonce) {
                return Err("the journal ring is damaged: a frame is of another run".to_owned());
            }
            after.follow(&frame).map_err(|what| format!("the journal ring is damaged: {what}"))?;
            end += taken;
            frames += 1;
        }
    }

    fn write(&mut self, end: usize, frames: u32, after: &Position) -> Result<(), String> {
        let padded = (end * 8).next_multiple_of(BLOCK_BYTES) as u64;
        if self.position.offset + padded > self.segment_bytes {
            self.rotate()?;
        }
        let offset = self.position.offset;
        let bytes = segment::seal_batch(&mut self.batch, end, frames, self.nonce, after, &mut self.position);
        let written = self.disk.write(&self.segment, &mut self.batch, bytes, offset);
        if let Err(error) = written {
            // The position is only told in the error from here on: say what is durable, not what was tried.
            self.position.seq = frame_seq_before(&self.batch, self.position.seq);
            let path = segment_path(&self.dir, self.position.segment);
            return Err(format!("cannot write {} at byte {offset}: {error}", path.display()));
        }
        self.status.batches.fetch_add(1, Ordering::Relaxed);
        self.status.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.spare.is_none() && self.position.offset > self.segment_bytes / 2 {
            let (path, bytes) = (spare_path(&self.dir), self.segment_bytes);
            self.spare = std::thread::Builder::new()
                .name("journal-spare".to_owned())
                .spawn(move || {
                    // There is time until this segment is needed, and the engine may share the core.
                    crate::os::affinity::make_way();
                    zero_fill(&path, bytes)
                })
                .ok();
        }
        Ok(())
    }

    /// Goes on in the next segment.
    fn rotate(&mut self) -> Result<(), String> {
        let before = Position { term: 0, ..self.position };
        let term = self.position.term;
        let header =
            SegmentHeader { bytes: self.segment_bytes, nonce: self.nonce, recovered: false, term, before };
        let made = match self.spare.take() {
            Some(spare) => spare
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that prepares segments panicked"))),
            None => zero_fill(&spare_path(&self.dir), self.segment_bytes),
        };
        self.segment =
            made.and_then(|()| place_segment(&self.disk, &self.dir, &header)).map_err(|error| {
                format!("cannot make {}: {error}", segment_path(&self.dir, header.number()).display())
            })?;
        self.position = header.start();
        self.status.segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The last decision before the batch in `words`.
fn frame_seq_before(words: &[u64], otherwise: u64) -> u64 {
    words[4].checked_sub(1).unwrap_or(otherwise)
}

fn spare_path(dir: &Path) -> PathBuf {
    dir.join("spare").with_extension(UNFINISHED)
}

/// Makes a file of zeros whose blocks are all written, so that writing them again changes no metadata.
fn zero_fill(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let zeros = vec![0; bytes.min(1 << 20) as usize];
    let mut offset = 0;
    while offset < bytes {
        let part = zeros.len().min((bytes - offset) as usize);
        file.write_all_at(&zeros[..part], offset)?;
        offset += part as u64;
    }
    file.sync_all()
}

/// Gives the spare file its header and then its name.
fn place_segment(disk: &Disk, dir: &Path, header: &SegmentHeader) -> io::Result<File> {
    let (spare, path) = (spare_path(dir), segment_path(dir, header.number()));
    let mut block = [0; BLOCK_BYTES / 8];
    header.fill(&mut block);
    let file = OpenOptions::new().write(true).open(&spare)?;
    file.write_all_at(bytes_of(&block), 0)?;
    file.sync_all()?;
    std::fs::rename(&spare, &path)?;
    sync_dir(dir)?;
    disk.open(&path)
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Decision, Epoch, Journal, Record, Writer};
    use super::*;
    use crate::engine::Limits;
    use crate::engine::units::Time;
    use crate::engine::wire::{Admission, Input, Outcome};

    fn append(writer: &mut Writer, seq: u64) {
        let words = [seq; 12];
        let input = Input {
            principal: 1,
            kind: 2,
            admission: Admission::Normal,
            received: Time(seq as i64),
            words: &words,
        };
        let outcome = Outcome { seq, ..Outcome::default() };
        writer.append(&Decision { input, outcome, digest: seq }).unwrap();
    }

    /// Starts a journal whose flusher writes to `device` from the first batch on.
    fn start_on(
        device: &Path,
        write: bool,
        backend: Backend,
        options: &mut JournalOptions,
    ) -> (Writer, Flusher) {
        options.backend = backend;
        let lock = super::super::recovery::lock_dir(&options.dir).unwrap();
        let before = Position { journal: [1, 2], ..Position::default() };
        let mut core = Core::open(options, before, 1, 7).unwrap();
        core.segment = OpenOptions::new().read(!write).write(write).open(device).unwrap();
        let identity = super::super::ring::Identity { journal: [1, 2], term: 1, nonce: 7, capacity: 1 << 16 };
        let ring = Arc::new(Ring::create(&options.runtime_dir.join("journal.ring"), identity).unwrap());
        let status = core.status();
        let mut writer = Writer::new(Arc::clone(&ring), Arc::clone(&status), identity, 0, 0);
        let epoch = Epoch {
            semantics: 1,
            policy_hash: [1; 32],
            layout_hash: [2; 32],
            limits: Limits::default(),
            started: Time(5),
            took_over: false,
        };
        writer.append_epoch(&epoch).unwrap();
        let flusher = Flusher::spawn(core, ring, status, lock).unwrap();
        (writer, flusher)
    }

    #[test]
    fn a_failed_write_stops_flushing_and_what_was_committed_survives_in_the_ring() {
        for (device, write, code) in [("/dev/full", true, "os error 28"), ("/dev/null", false, "os error 9")]
        {
            for backend in [Backend::Auto, Backend::Pwrite] {
                let dir = tempfile::tempdir().unwrap();
                let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
                let mut options = JournalOptions::new(dir.path(), runtime.path());
                (options.segment_bytes, options.batch_bytes_max) = (1 << 16, 1 << 14);
                let (mut writer, flusher) = start_on(Path::new(device), write, backend, &mut options);
                let deadline = Instant::now() + Duration::from_secs(20);
                while writer.status().degraded().is_none() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                for seq in 1..=50 {
                    append(&mut writer, seq);
                }
                let told = writer.status().degraded().unwrap().to_string();
                assert!(told.contains(code) && told.contains("flushing has stopped"), "{told}");
                assert_eq!(flusher.status().batches(), 0);
                // The ring holds what nobody else knows: no other appliance may go on with this journal yet.
                let elsewhere = JournalOptions { runtime_dir: dir.path().join("run"), ..options.clone() };
                assert!(matches!(Journal::recover(&elsewhere), Err(RecoverError::InUse { .. })));
                let error = flusher.shutdown().unwrap_err();
                assert_eq!((error.to_string(), writer.durable_seq()), (told, 0));
                drop(writer);

                let recovered = Journal::recover(&options).unwrap();
                assert_eq!((recovered.last_seq(), recovered.drained()), (50, 51));
                let mut seqs = Vec::new();
                let visit = |record: Record<'_>| {
                    if let Record::Decision(decision) = record {
                        seqs.push(decision.outcome.seq);
                    }
                    Ok::<_, RecoverError>(())
                };
                recovered.for_each(visit).unwrap();
                assert!(seqs.into_iter().eq(1..=50));
            }
        }
    }
}
