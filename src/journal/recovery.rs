//! Starting from what is there: check it, take in what the ring still holds, go on in a new segment.
//!
//! 1. Lock the directory; two appliances cannot share a journal.
//! 2. Walk every segment: chain, CRCs, sequence numbers. A bad batch that was once durable is rot, an error; the
//!    torn end of what was being written is noted and left behind.
//! 3. Take the frames of the ring that follow the last durable one, and write them durably to a recovery segment,
//!    which appears whole (by rename) or not at all.
//! 4. [`Recovered::for_each`] streams everything for replay; [`Recovered::start`] makes a new segment, ring, nonce and
//!    term. No recovered segment is appended to.

use super::flusher::{self, FlushStatus, Flusher};
use super::frame::{Frame, Record, bytes_of};
use super::ring::{Identity, Image, RING_FILE, Ring, Writer};
use super::segment::{
    self, BATCH_HEADER_WORDS, BLOCK_BYTES, Position, Seen, SegmentFile, SegmentHeader, Stop, segment_path,
};
use super::{Epoch, JournalOptions};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ending of files that are not part of the journal yet.
pub(super) const UNFINISHED: &str = "tmp";
const LOCK_FILE: &str = "journal.lock";

/// Why a journal cannot be read or started.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The operating system refused something.
    #[error("{what}: {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: String,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is locked by a running appliance; stop that one first, or give this one its own directories", path.display())]
    InUse {
        /// What is locked.
        path: PathBuf,
    },
    /// The options contradict each other or a bound.
    #[error("journal options: {0}")]
    Options(String),
    /// A file with a segment's ending and another name.
    #[error("{} is not the name of a segment; move it out of the journal's directory", path.display())]
    StrangeFile {
        /// The file.
        path: PathBuf,
    },
    /// A segment is not there though a later one is, or though the ring says that it was.
    #[error("{} is missing; restore it from a copy: without it the decisions after it cannot be replayed", path.display())]
    MissingSegment {
        /// The file that should be there.
        path: PathBuf,
    },
    /// Bytes that were durable have changed.
    #[error(
        "{} is damaged at byte {offset}: {what}. {} Restore this file from a copy (a standby or a backup); do not delete it, as the journal after it cannot be replayed without it",
        path.display(),
        after_seq(seq)
    )]
    Rot {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// The last decision that can still be read, where known.
        seq: Option<u64>,
    },
    /// The ring cannot be used.
    #[error(
        "the journal ring {} cannot be used: {what}. Copy it away for inspection and remove it; decisions that were only in it are lost",
        path.display()
    )]
    BadRing {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The ring holds frames of another journal.
    #[error(
        "the journal ring {} holds decisions of another journal than {}; point dir at that journal, or give this one its own runtime_dir, or remove the ring if its decisions may be lost",
        path.display(),
        dir.display()
    )]
    ForeignRing {
        /// The ring.
        path: PathBuf,
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The ring continues somewhere behind the end of the segments.
    #[error(
        "the segments end at sequence number {seq}, but the ring {} goes on behind that: {what}. Segments are missing or cut off: restore them from a copy",
        path.display()
    )]
    Gap {
        /// The ring.
        path: PathBuf,
        /// The last decision in the segments.
        seq: u64,
        /// How it goes on.
        what: String,
    },
}

fn after_seq(seq: &Option<u64>) -> String {
    match seq {
        Some(seq) => {
            format!("Decisions up to {seq} are whole; what follows was durable and can no longer be read.")
        }
        None => "It was durable and can no longer be read.".to_owned(),
    }
}

impl RecoverError {
    pub(super) fn io(what: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: what.to_owned(), path: path.to_owned(), source }
    }

    pub(super) fn rot(path: &Path, offset: u64, what: &str, seq: Option<u64>) -> Self {
        Self::Rot { path: path.to_owned(), offset, what: what.to_owned(), seq }
    }
}

/// The journal of an appliance.
pub struct Journal;

impl Journal {
    /// Locks, checks and completes the journal that `options` name; an empty directory is an empty journal.
    pub fn recover(options: &JournalOptions) -> Result<Recovered, RecoverError> {
        let options = options.checked()?;
        for dir in [&options.dir, &options.runtime_dir] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|error| RecoverError::io("cannot create the directory", dir, error))?;
        }
        let lock = lock_dir(&options.dir)?;
        remove_unfinished(&options.dir)?;
        let files = segment::list(&options.dir)?;
        let (position, stop) = match segment::walk(&files, |_| true)? {
            Some(end) => (end.position, end.stop),
            None => (Position::default(), Stop::Clean),
        };
        let mut recovered =
            Recovered { options, position, files, notes: Vec::new(), drained: 0, lock, ring_lock: None };
        if let Some((image, ring_lock)) = Image::load(&recovered.options.runtime_dir, true)? {
            recovered.drain(&image, &stop)?;
            recovered.ring_lock = Some(ring_lock);
        } else if recovered.position.segment > 0 {
            recovered.notes.push(format!(
                "there is no ring in {}: what the last run had committed there and not yet written to disk is lost, unless \
                 runtime_dir was another then; after a restart of the machine this is to be expected",
                recovered.options.runtime_dir.display()
            ));
        }
        if let (Stop::Torn { offset, what }, Some(last)) = (&stop, recovered.files.last()) {
            recovered.notes.insert(
                0,
                format!(
                    "the journal's last write did not finish ({}, byte {offset}: {what}); \
                     nothing that was durable is missing",
                    last.path.display()
                ),
            );
        }
        Ok(recovered)
    }
}

pub(super) fn lock_dir(dir: &Path) -> Result<File, RecoverError> {
    let path = dir.join(LOCK_FILE);
    let fail = |error| RecoverError::io("cannot lock the journal's directory", &path, error);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(RecoverError::InUse { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(fail(error)),
    }
}

fn remove_unfinished(dir: &Path) -> Result<(), RecoverError> {
    let fail = |error| RecoverError::io("cannot remove an unfinished segment", dir, error);
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            match std::fs::remove_file(&path) {
                // The index of a segment, made by a tool, that got its name meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(fail)?,
            }
        }
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Cuts off the zeros that the last run had not come to; nobody appends to its segment again, and the new segment's header
/// says where it ends. Best effort: it only costs room. A torn end is left as it is, for whoever wants to look.
fn give_back(files: &[SegmentFile], end: &Position, notes: &[String]) {
    let Some(last) = files.last() else { return };
    if !notes.is_empty() || last.number != end.segment {
        return;
    }
    let cut = |file: File| match file.metadata()?.len() > end.offset {
        true => file.set_len(end.offset),
        false => Ok(()),
    };
    let _ = OpenOptions::new().write(true).open(&last.path).and_then(cut);
}

/// A journal that is whole, locked, and not being written yet.
pub struct Recovered {
    options: JournalOptions,
    position: Position,
    files: Vec<SegmentFile>,
    notes: Vec<String>,
    drained: u64,
    lock: File,
    ring_lock: Option<File>,
}

impl Recovered {
    /// The last decision; 0 when there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.position.seq
    }

    /// How many starts of the appliance there were; 0 for an empty journal.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.position.term
    }

    /// How many frames were taken from the ring that the last run left.
    #[must_use]
    pub fn drained(&self) -> u64 {
        self.drained
    }

    /// What an operator should read: torn ends that were left behind, damage in the ring. Usually empty.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Shows every record in order, without holding more than a batch in memory, until `visit` fails.
    pub fn for_each<E: From<RecoverError>>(
        &self,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let end = segment::walk(&self.files, |seen| {
            if let Seen::Frame(frame, _) = seen {
                failed = visit(frame.record).err();
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        // Going on from elsewhere than what was shown would put a hole or a fork into the journal.
        match (end, self.files.last()) {
            (Some(end), Some(last)) if end.position != self.position => {
                let changed = io::Error::other("its end is another than a moment ago; start again");
                Err(RecoverError::io("cannot replay the segment", &last.path, changed).into())
            }
            _ => Ok(()),
        }
    }

    /// What the engine's hashes begin with: as at the journal's first start, or random for an empty journal. Senders who knew
    /// it could choose keys that collide.
    pub fn hash_seed(&self) -> Result<u64, RecoverError> {
        let mut first = None;
        segment::walk(&self.files, |seen| {
            if let Seen::Frame(Frame { record: Record::Epoch(epoch), .. }, _) = seen {
                first = Some(epoch.limits.hash_seed);
            }
            first.is_none()
        })?;
        first.map_or_else(random, Ok)
    }

    /// Starts a new run: segment, ring, nonce and term are new, and `epoch` is its first frame.
    pub fn start(self, epoch: Epoch) -> Result<(Writer, Flusher), RecoverError> {
        let mut position = self.position;
        if position.journal == [0; 2] {
            position.journal = [random()?, random()?];
        }
        let (term, nonce) = (position.term + 1, random()?);
        let identity = Identity { journal: position.journal, term, nonce, capacity: self.options.ring_bytes };
        let core = flusher::Core::open(&self.options, position, term, nonce)?;
        let ring = Arc::new(Ring::create(&self.options.runtime_dir.join(RING_FILE), identity)?);
        drop(self.ring_lock);
        ring.publish_durable(position.seq, position.batch);
        give_back(&self.files, &self.position, &self.notes);
        let status: Arc<FlushStatus> = core.status();
        let mut writer =
            Writer::new(Arc::clone(&ring), Arc::clone(&status), identity, position.seq, position.epoch);
        writer.append_epoch(&epoch).map_err(|full| RecoverError::Options(full.to_string()))?;
        let flusher = Flusher::spawn(core, ring, status, self.lock)
            .map_err(|error| RecoverError::io("cannot start the flusher", &self.options.dir, error))?;
        Ok((writer, flusher))
    }

    /// Takes in what the ring holds beyond the segments.
    fn drain(&mut self, image: &Image, stop: &Stop) -> Result<(), RecoverError> {
        let ours = image.identity.journal == self.position.journal;
        let mut pending = false;
        let already = |position: &Position, record: &Record<'_>, seq: u64, epoch: u32| match record {
            Record::Epoch(_) | Record::Order(_) => epoch <= position.epoch,
            Record::Decision(_) => seq <= position.seq,
        };
        if !ours {
            image.walk(|_, _| {
                pending = true;
                Ok::<_, RecoverError>(Ok(()))
            })?;
            return match pending {
                true => {
                    Err(RecoverError::ForeignRing { path: image.path.clone(), dir: self.options.dir.clone() })
                }
                false => Ok(()),
            };
        }
        if image.identity.term > self.position.term {
            let path = segment_path(&self.options.dir, self.position.segment + 1);
            return Err(RecoverError::MissingSegment { path });
        }
        // A ring of an earlier term was drained before the segment of the later one was made.
        if image.identity.term < self.position.term {
            return Ok(());
        }
        if image.durable_batch > self.position.batch || image.durable_seq > self.position.seq {
            let (offset, what) = match stop {
                Stop::Torn { offset, what } => (*offset, what.as_str()),
                Stop::Clean => (self.position.offset, "the file ends where a batch was"),
            };
            let what =
                format!("{what}; the ring says that decisions up to {} were durable", image.durable_seq);
            let path = segment_path(&self.options.dir, self.position.segment);
            return Err(RecoverError::rot(&path, offset, &what, Some(self.position.seq)));
        }
        let mut segment: Option<RecoverySegment> = None;
        let mut after = self.position;
        let end = image.walk(|frame, words| {
            if already(&self.position, &frame.record, frame.head.seq, frame.head.epoch) {
                return Ok(Ok(()));
            }
            if let Err(what) = after.follow(frame) {
                if segment.is_some() {
                    return Ok(Err(what));
                }
                let (path, seq) = (image.path.clone(), self.position.seq);
                return Err(RecoverError::Gap { path, seq, what });
            }
            if segment.is_none() {
                segment = Some(RecoverySegment::create(&self.options, self.position, image.identity)?);
            }
            if let Some(segment) = &mut segment {
                segment.push(words, &after)?;
                self.drained += 1;
            }
            Ok(Ok(()))
        })?;
        if let Some(what) = end.damaged {
            self.notes.push(format!(
                "the ring {} is damaged at byte {} ({what}); decisions committed after {} and not yet durable are lost",
                image.path.display(),
                end.offset,
                after.seq
            ));
        }
        if let Some(segment) = segment {
            let (file, position) = segment.finish(&self.options.dir)?;
            self.files.push(file);
            self.position = position;
            self.notes.push(format!(
                "{} frames that only the ring held were made durable, up to decision {}",
                self.drained, self.position.seq
            ));
        }
        Ok(())
    }
}

fn random() -> Result<u64, RecoverError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| RecoverError::io("cannot read random numbers", path, error))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// The segment that takes what a ring held, built beside the journal and then put in place at once.
struct RecoverySegment {
    file: File,
    path: PathBuf,
    header: SegmentHeader,
    position: Position,
    after: Position,
    words: Vec<u64>,
    end: usize,
    frames: u32,
}

impl RecoverySegment {
    fn create(options: &JournalOptions, before: Position, ring: Identity) -> Result<Self, RecoverError> {
        let path = options.dir.join("recovery").with_extension(UNFINISHED);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| RecoverError::io("cannot create the recovery segment", &path, error))?;
        let header = SegmentHeader { bytes: 0, nonce: ring.nonce, recovered: true, term: ring.term, before };
        let words = vec![0; options.batch_bytes_max as usize / 8];
        let position = header.start();
        let end = BATCH_HEADER_WORDS;
        Ok(Self { file, path, header, position, after: position, words, end, frames: 0 })
    }

    fn push(&mut self, frame: &[u64], after: &Position) -> Result<(), RecoverError> {
        if self.end + frame.len() > self.words.len() {
            self.write()?;
        }
        self.words[self.end..self.end + frame.len()].copy_from_slice(frame);
        self.end += frame.len();
        self.frames += 1;
        (self.after.seq, self.after.epoch) = (after.seq, after.epoch);
        Ok(())
    }

    fn write(&mut self) -> Result<(), RecoverError> {
        let offset = self.position.offset;
        let bytes = segment::seal_batch(
            &mut self.words,
            self.end,
            self.frames,
            self.header.nonce,
            &self.after,
            &mut self.position,
        );
        (self.end, self.frames) = (BATCH_HEADER_WORDS, 0);
        self.file
            .write_all_at(&bytes_of(&self.words)[..bytes], offset)
            .map_err(|error| RecoverError::io("cannot write the recovery segment", &self.path, error))
    }

    fn finish(mut self, dir: &Path) -> Result<(SegmentFile, Position), RecoverError> {
        if self.frames > 0 {
            self.write()?;
        }
        self.header.bytes = self.position.offset;
        let mut block = [0; BLOCK_BYTES / 8];
        self.header.fill(&mut block);
        let number = self.header.number();
        let path = segment_path(dir, number);
        self.file
            .write_all_at(bytes_of(&block), 0)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| std::fs::rename(&self.path, &path))
            .and_then(|()| sync_dir(dir))
            .map_err(|error| {
                RecoverError::io("cannot put the recovery segment in place", &self.path, error)
            })?;
        Ok((SegmentFile { number, path }, self.position))
    }
}

/// Where the archive of the policy with this hash lies, beside the journal.
#[must_use]
pub fn policy_path(dir: &Path, hash: &[u8; 32]) -> PathBuf {
    let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    dir.join(format!("policy-{hex}.tgp"))
}

/// Stores the archive of a policy beside the journal, durably; one that is there already with the same bytes stays.
pub fn store_policy(dir: &Path, hash: &[u8; 32], bytes: &[u8]) -> Result<PathBuf, RecoverError> {
    let path = policy_path(dir, hash);
    let fail = |error| RecoverError::io("cannot store the policy", &path, error);
    if std::fs::read(&path).is_ok_and(|stored| stored == bytes) {
        return Ok(path);
    }
    let mut file = tempfile::Builder::new().suffix(".tmp").tempfile_in(dir).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist(&path).map_err(|error| fail(error.error))?;
    sync_dir(dir).map_err(fail)?;
    Ok(path)
}
