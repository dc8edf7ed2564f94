//! Segments and batches: the journal on disk, and the one walk that checks all of it.
//!
//! A directory holds segments `00000001.tgj`, `00000002.tgj`, … A segment is a header block and then batches, each a
//! whole number of 4 KiB blocks; the rest is zeros. A batch's hash is BLAKE3 over the hash before it, its header and
//! its body; a segment's header repeats the last hash of the segment before it and says where that one ends, so the
//! chain runs through the whole journal, past tails that a crash tore.
//!
//! The flusher has one write in flight. Therefore a bad batch with a whole batch behind it was once durable: that is
//! rot. A bad batch with nothing behind it is the torn end of what was being written.

use super::frame::{self, Frame, Record, bytes_of, bytes_of_mut, hash_from_words, words_from_hash};
use super::recovery::RecoverError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Everything on disk is a multiple of this.
pub const BLOCK_BYTES: usize = 4096;
/// The largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// The largest batch.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Ending of a segment's name.
pub const SEGMENT_EXTENSION: &str = "tgj";

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"TGSEGM01");
const SEGMENT_VERSION: u32 = frame::FRAME_VERSION as u32;
const SEGMENT_HEADER_WORDS: usize = 16;
const RECOVERED: u64 = 1;

const BATCH_MAGIC: u64 = u64::from_le_bytes(*b"TGBATCH1");
/// Words of a batch before its frames.
pub(super) const BATCH_HEADER_WORDS: usize = 16;

const _: () = assert!((BATCH_HEADER_WORDS + frame::FRAME_WORDS_MAX) * 8 <= BLOCK_BYTES);

/// A point in the journal: everything that what follows is checked against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Random number of the whole journal.
    pub journal: [u64; 2],
    /// Number of the segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// Hash of the last batch.
    pub chain: [u8; 32],
    /// Number of the last batch.
    pub batch: u64,
    /// The last decision.
    pub seq: u64,
    /// The last epoch or order.
    pub epoch: u32,
    /// Term of the last segment.
    pub term: u32,
}

impl Position {
    /// Whether this frame comes next; moves on if so.
    pub(super) fn follow(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let head = &frame.head;
        let (seq, epoch) = match frame.record {
            Record::Epoch(_) | Record::Order(_) => (self.seq, self.epoch.checked_add(1)),
            Record::Decision(_) => (self.seq + 1, Some(self.epoch).filter(|epoch| *epoch > 0)),
        };
        if self.epoch == 0 && matches!(frame.record, Record::Order(_)) {
            return Err("an order stands before any epoch".to_owned());
        }
        let Some(epoch) = epoch else { return Err("a decision stands before any epoch".to_owned()) };
        if head.seq != seq {
            return Err(format!("sequence number {} where {seq} should be", head.seq));
        }
        if head.epoch != epoch {
            return Err(format!("epoch {} where {epoch} should be", head.epoch));
        }
        if head.durable_seq > self.seq {
            return Err(format!("durable_seq {} is ahead of sequence number {seq}", head.durable_seq));
        }
        (self.seq, self.epoch) = (seq, epoch);
        Ok(())
    }
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its bytes when full.
    pub bytes: u64,
    /// Random number of the ring that its frames were committed in.
    pub nonce: u64,
    /// Whether recovery wrote it, from a ring that a crash left.
    pub recovered: bool,
    /// Term of its frames.
    pub term: u32,
    /// Where the journal ended when it was made (`segment` and `offset` in the segment before it).
    pub before: Position,
}

impl SegmentHeader {
    pub(super) fn number(&self) -> u64 {
        self.before.segment + 1
    }

    /// The position at its first batch.
    pub(super) fn start(&self) -> Position {
        Position { segment: self.number(), offset: BLOCK_BYTES as u64, term: self.term, ..self.before }
    }

    pub(super) fn fill(&self, block: &mut [u64]) {
        let before = &self.before;
        block.fill(0);
        block[0] = SEGMENT_MAGIC;
        block[1] = u64::from(SEGMENT_VERSION) | u64::from(self.term) << 32;
        block[2] = self.number();
        block[3] = self.nonce;
        block[4..6].copy_from_slice(&before.journal);
        block[6] = self.bytes;
        block[7] = before.seq + 1;
        block[8] = u64::from(before.epoch) | if self.recovered { RECOVERED << 32 } else { 0 };
        block[9] = before.batch;
        block[10] = before.offset;
        words_from_hash(&mut block[11..15], &before.chain);
        block[15] = u64::from(crc32c::crc32c(bytes_of(&block[..15])));
    }

    fn read(block: &[u64]) -> Result<Self, &'static str> {
        if block[0] != SEGMENT_MAGIC {
            return Err("this is not a journal segment");
        }
        if block[1] as u32 != SEGMENT_VERSION {
            return Err("the format version is another build's; read it with the build that wrote it");
        }
        if block[15] != u64::from(crc32c::crc32c(bytes_of(&block[..15]))) {
            return Err("the CRC32C of the segment's header does not match");
        }
        if block[SEGMENT_HEADER_WORDS..].iter().any(|word| *word != 0) || block[8] >> 33 != 0 {
            return Err("bytes that are reserved are not zero");
        }
        if block[2] == 0 || block[7] == 0 {
            return Err("segments and sequence numbers start at 1");
        }
        let before = Position {
            journal: [block[4], block[5]],
            segment: block[2] - 1,
            offset: block[10],
            chain: hash_from_words(&block[11..15]),
            batch: block[9],
            seq: block[7] - 1,
            epoch: block[8] as u32,
            term: 0,
        };
        let recovered = block[8] >> 32 == RECOVERED;
        let term = (block[1] >> 32) as u32;
        Ok(Self { bytes: block[6], nonce: block[3], recovered, term, before })
    }
}

/// What a batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub number: u64,
    pub term: u32,
    pub frames: u32,
    pub nonce: u64,
    /// The decision after the last before the batch.
    pub first_seq: u64,
    /// The last decision up to the end of the batch; less than `first_seq` if it holds epochs only.
    pub last_seq: u64,
    pub durable_seq: u64,
    pub body_bytes: u32,
    pub padded_bytes: u32,
    pub chain: [u8; 32],
}

impl BatchHeader {
    fn read(words: &[u64]) -> Result<Self, &'static str> {
        if words[0] != BATCH_MAGIC {
            return Err("no batch starts here");
        }
        if words[12] != u64::from(crc32c::crc32c(bytes_of(&words[..12]))) {
            return Err("the CRC32C of the batch's header does not match");
        }
        if words[13..BATCH_HEADER_WORDS].iter().any(|word| *word != 0) {
            return Err("bytes that are reserved are not zero");
        }
        let header = Self {
            number: words[1],
            term: words[2] as u32,
            frames: (words[2] >> 32) as u32,
            nonce: words[3],
            first_seq: words[4],
            last_seq: words[5],
            durable_seq: words[6],
            body_bytes: words[7] as u32,
            padded_bytes: (words[7] >> 32) as u32,
            chain: hash_from_words(&words[8..12]),
        };
        let whole = u64::from(header.body_bytes) + BATCH_HEADER_WORDS as u64 * 8;
        let padded = u64::from(header.padded_bytes);
        if whole.next_multiple_of(BLOCK_BYTES as u64) != padded || !header.body_bytes.is_multiple_of(8) {
            return Err("the batch's lengths do not agree");
        }
        if padded > BATCH_BYTES_MAX {
            return Err("the batch is longer than any batch");
        }
        Ok(header)
    }
}

/// Completes the batch whose frames fill `words[BATCH_HEADER_WORDS..end]`, after `position`; says how many bytes to
/// write, and moves `position` behind it. `words` must reach to the end of the last block.
pub(super) fn seal_batch(
    words: &mut [u64],
    end: usize,
    frames: u32,
    nonce: u64,
    after: &Position,
    position: &mut Position,
) -> usize {
    let padded = (end * 8).next_multiple_of(BLOCK_BYTES);
    let words = &mut words[..padded / 8];
    words[end..].fill(0);
    words[..BATCH_HEADER_WORDS].fill(0);
    words[0] = BATCH_MAGIC;
    words[1] = position.batch + 1;
    words[2] = u64::from(position.term) | u64::from(frames) << 32;
    words[3] = nonce;
    words[4] = position.seq + 1;
    words[5] = after.seq;
    words[6] = position.seq;
    words[7] = ((end - BATCH_HEADER_WORDS) * 8) as u64 | (padded as u64) << 32;
    let chain = batch_hash(&position.chain, words);
    words_from_hash(&mut words[8..12], &chain);
    words[12] = u64::from(crc32c::crc32c(bytes_of(&words[..12])));
    let offset = position.offset + padded as u64;
    *position = Position {
        chain,
        batch: position.batch + 1,
        offset,
        seq: after.seq,
        epoch: after.epoch,
        ..*position
    };
    padded
}

fn batch_hash(before: &[u8; 32], words: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(bytes_of(&words[..8]));
    hasher.update(bytes_of(&words[BATCH_HEADER_WORDS..]));
    *hasher.finalize().as_bytes()
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub number: u64,
    pub path: PathBuf,
}

pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.{SEGMENT_EXTENSION}"))
}

/// The segments of a directory, in order; refuses one with a gap.
pub(super) fn list(dir: &Path) -> Result<Vec<SegmentFile>, RecoverError> {
    let fail = |source| RecoverError::io("cannot list the journal's directory", dir, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION) {
            continue;
        }
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        match number {
            Some(number) if segment_path(dir, number) == path => files.push(SegmentFile { number, path }),
            _ => return Err(RecoverError::StrangeFile { path }),
        }
    }
    files.sort_by_key(|file| file.number);
    for (index, file) in files.iter().enumerate() {
        let expected = index as u64 + 1;
        if file.number != expected {
            return Err(RecoverError::MissingSegment { path: segment_path(dir, expected) });
        }
    }
    Ok(files)
}

/// What the walk shows as it goes.
pub(super) enum Seen<'a> {
    /// A segment begins.
    Segment(&'a SegmentFile, &'a SegmentHeader),
    /// A frame, and its byte in the segment's file.
    Frame(&'a Frame<'a>, u64),
    /// A batch ends.
    Batch,
    /// A segment ends here, because of what.
    End(&'a Position, &'a Stop),
}

/// Why a segment ends where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is full, or zeros follow.
    Clean,
    /// The bytes that follow are not a batch: what, and where.
    Torn {
        /// Byte in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// Where the walk ended.
pub(super) struct WalkEnd {
    pub position: Position,
    pub stop: Stop,
}

/// A segment's file, opened, its header checked.
pub(super) struct Opened {
    pub file: File,
    pub length: u64,
    pub header: SegmentHeader,
}

/// Reads and checks a segment's header block.
pub(super) fn open(path: &Path) -> Result<Opened, RecoverError> {
    let fail = |source| RecoverError::io("cannot read the segment", path, source);
    let rot = |offset, what: &str| RecoverError::rot(path, offset, what, None);
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length < BLOCK_BYTES as u64 {
        return Err(rot(length, "the file ends within the segment's header"));
    }
    let mut block = [0; BLOCK_BYTES / 8];
    file.read_exact_at(bytes_of_mut(&mut block), 0).map_err(fail)?;
    let header = SegmentHeader::read(&block).map_err(|what| rot(0, what))?;
    Ok(Opened { file, length, header })
}

/// Checks all segments in order, showing what they hold; `visit` says whether to go on.
pub(super) fn walk(
    files: &[SegmentFile],
    mut visit: impl FnMut(Seen<'_>) -> bool,
) -> Result<Option<WalkEnd>, RecoverError> {
    let mut last = WalkEnd { position: Position::default(), stop: Stop::Clean };
    let mut words = Vec::new();
    for (index, segment) in files.iter().enumerate() {
        let opened = open(&segment.path)?;
        let (header, position) = (&opened.header, &mut last.position);
        if index == 0 {
            position.journal = header.before.journal;
        }
        let follows = header.before == Position { term: 0, ..*position };
        if !follows || header.term < position.term || header.term == 0 {
            let what = "the header does not follow from the segment before it";
            return Err(RecoverError::rot(&segment.path, 0, what, Some(position.seq)));
        }
        if !visit(Seen::Segment(segment, header)) {
            return Ok(None);
        }
        let end = match files.get(index + 1) {
            Some(next) => Some(open(&next.path)?.header.before),
            None => None,
        };
        match walk_one(&segment.path, &opened, end.as_ref(), &mut words, &mut visit)? {
            Some(end) => last = end,
            None => return Ok(None),
        }
        if !visit(Seen::End(&last.position, &last.stop)) {
            return Ok(None);
        }
    }
    Ok(Some(last))
}

/// Checks the batches of one segment, showing what they hold. `end` is where it ends, as whoever made the next segment
/// recorded; what lies behind is a torn write, or one that was still in flight when its process was killed, and the next
/// segment has those frames again.
pub(super) fn walk_one(
    path: &Path,
    opened: &Opened,
    end: Option<&Position>,
    words: &mut Vec<u64>,
    visit: &mut impl FnMut(Seen<'_>) -> bool,
) -> Result<Option<WalkEnd>, RecoverError> {
    let Opened { file, length, header } = opened;
    let mut position = header.start();
    let stop = loop {
        if end.is_some_and(|end| (end.offset, end.chain) == (position.offset, position.chain)) {
            break Stop::Clean;
        }
        match read_settled(file, *length, header, &position, words) {
            Ok(Read::Batch(batch, after)) => {
                if !show(&batch, position.offset, words, visit) {
                    return Ok(None);
                }
                position = after;
            }
            Ok(Read::Zeros | Read::Full) if end.is_some() => {
                let what = "the segment ends before the batches that the next one says it holds";
                return Err(RecoverError::rot(path, position.offset, what, Some(position.seq)));
            }
            Ok(Read::Zeros | Read::Full) => break Stop::Clean,
            Err(Failure::Bad { offset, what, durable }) if end.is_some() || durable => {
                return Err(RecoverError::rot(path, offset, &what, Some(position.seq)));
            }
            Err(Failure::Bad { offset, what, .. }) => break Stop::Torn { offset, what },
            Err(Failure::Io(error)) => {
                return Err(RecoverError::io("cannot read the segment", path, error));
            }
        }
    };
    Ok(Some(WalkEnd { position, stop }))
}

/// Reads the batch at `position`; if it is bad, looks for proof that it was once whole.
fn read_settled(
    file: &File,
    length: u64,
    segment: &SegmentHeader,
    position: &Position,
    words: &mut Vec<u64>,
) -> Result<Read, Failure> {
    match read_batch(file, length, segment, position, words) {
        Ok(Read::Zeros) | Err(Failure::Bad { .. }) => {}
        settled => return settled,
    }
    let later = later_batch(file, length, segment, position)?;
    // Read it again: a live appliance may have been writing it the first time.
    let again = read_batch(file, length, segment, position, words);
    let Some(later) = later else { return again };
    let (offset, what) = match again {
        Ok(Read::Zeros) => (position.offset, "zeros where a batch was".to_owned()),
        Err(Failure::Bad { offset, what, .. }) => (offset, what),
        settled => return settled,
    };
    let what = format!("{what}; batch {} behind it is there", later.number);
    Err(Failure::Bad { offset, what, durable: true })
}

/// Shows the frames of a batch that was checked, and starts at this byte.
fn show(batch: &BatchHeader, start: u64, words: &[u64], visit: &mut impl FnMut(Seen<'_>) -> bool) -> bool {
    let end = BATCH_HEADER_WORDS + batch.body_bytes as usize / 8;
    let mut at = BATCH_HEADER_WORDS;
    while let Ok((frame, length)) = frame::decode(&words[at..end]) {
        if !visit(Seen::Frame(&frame, start + at as u64 * 8)) {
            return false;
        }
        at += length;
    }
    visit(Seen::Batch)
}

enum Read {
    Batch(BatchHeader, Position),
    Zeros,
    Full,
}

enum Failure {
    /// `durable`: it is sure to have been whole once.
    Bad {
        offset: u64,
        what: String,
        durable: bool,
    },
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads and checks the batch at `position` into `words`.
fn read_batch(
    file: &File,
    length: u64,
    segment: &SegmentHeader,
    position: &Position,
    words: &mut Vec<u64>,
) -> Result<Read, Failure> {
    let start = position.offset;
    let bad = |offset: u64, what: String| Err(Failure::Bad { offset: start + offset, what, durable: false });
    let left = length.min(segment.bytes).saturating_sub(start);
    if left == 0 {
        return Ok(Read::Full);
    }
    if left < BLOCK_BYTES as u64 {
        return bad(left, "the file ends within a block".to_owned());
    }
    words.resize(BLOCK_BYTES / 8, 0);
    file.read_exact_at(bytes_of_mut(words), start)?;
    if words.iter().all(|word| *word == 0) {
        return Ok(Read::Zeros);
    }
    let batch = match BatchHeader::read(words) {
        Ok(batch) => batch,
        Err(what) => return bad(0, what.to_owned()),
    };
    if (batch.term, batch.nonce) != (segment.term, segment.nonce) {
        return bad(16, "the batch is of another run".to_owned());
    }
    if batch.number != position.batch + 1 {
        return bad(8, format!("batch {} where {} should be", batch.number, position.batch + 1));
    }
    if u64::from(batch.padded_bytes) > left {
        return bad(left, "the file ends within a batch".to_owned());
    }
    words.resize(batch.padded_bytes as usize / 8, 0);
    file.read_exact_at(bytes_of_mut(words), start)?;
    if batch_hash(&position.chain, words) != batch.chain {
        return bad(64, "the BLAKE3 hash of the batch does not match".to_owned());
    }
    let mut after = *position;
    let (mut at, mut frames) = (BATCH_HEADER_WORDS, 0_u64);
    let end = BATCH_HEADER_WORDS + batch.body_bytes as usize / 8;
    while at < end {
        let (frame, length) = match frame::decode(&words[at..end]) {
            Ok(found) => found,
            Err(error) => return bad((at * 8 + error.offset) as u64, error.to_string()),
        };
        if (frame.head.term, frame.head.nonce) != (segment.term, segment.nonce) {
            return bad(at as u64 * 8, "the frame is of another run".to_owned());
        }
        if let Err(what) = after.follow(&frame) {
            return bad(at as u64 * 8, what);
        }
        (at, frames) = (at + length, frames + 1);
    }
    if frames != u64::from(batch.frames)
        || (batch.first_seq, batch.last_seq, batch.durable_seq) != (position.seq + 1, after.seq, position.seq)
    {
        return bad(16, "the batch's header does not describe its frames".to_owned());
    }
    after.batch = batch.number;
    after.chain = batch.chain;
    after.offset += u64::from(batch.padded_bytes);
    Ok(Read::Batch(batch, after))
}

/// The first whole batch header of this run behind the batch that should be at `position`.
fn later_batch(
    file: &File,
    length: u64,
    segment: &SegmentHeader,
    position: &Position,
) -> io::Result<Option<BatchHeader>> {
    const CHUNK_BYTES: usize = 1 << 20;
    let mut chunk = vec![0_u64; CHUNK_BYTES / 8];
    let end = length.min(segment.bytes) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    let mut offset = position.offset;
    while offset < end {
        let bytes = (end - offset).min(CHUNK_BYTES as u64) as usize;
        let words = &mut chunk[..bytes / 8];
        file.read_exact_at(bytes_of_mut(words), offset)?;
        for block in words.chunks_exact(BLOCK_BYTES / 8) {
            if let Ok(batch) = BatchHeader::read(block)
                && (batch.term, batch.nonce) == (segment.term, segment.nonce)
                && batch.number > position.batch + 1
            {
                return Ok(Some(batch));
            }
        }
        offset += bytes as u64;
    }
    Ok(None)
}
