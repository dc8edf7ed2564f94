//! The index of a sealed segment: where the frame of each event is, by a 64-bit tag of the event's id.
//!
//! A segment that another one follows never changes again, so its index is made once and kept beside it
//! (`00000001.tgx`). It is a convenience: whoever looks something up makes it when it is missing, and again when it
//! is damaged. Nothing is believed because an index says so: the frame it points to is read and checked, and only
//! the frame's own id counts.
//!
//! ```text
//! header      one block: which segment, what it holds; the last batch's chained hash stands for all of its bytes
//! blocks      255 entries (tag, byte of the frame) each; their CRC starts from the header's
//! fences      the first tag of every block
//! ```
//!
//! Entries are sorted within runs of a fixed number of blocks, not over the whole file: the largest segment is
//! indexed in the memory of one run, without a merge.

use super::frame::{self, Frame, Record, bytes_of, bytes_of_mut, hash_from_words, words_from_hash};
use super::recovery::RecoverError;
use super::segment::{self, BLOCK_BYTES, Opened, Position, Seen, SegmentFile};
use crate::engine::wire::{HEADER_WORDS, event_id};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Ending of an index's name.
const INDEX_EXTENSION: &str = "tgx";
const INDEX_MAGIC: u64 = u64::from_le_bytes(*b"TGINDEX1");
const INDEX_VERSION: u32 = 1;

const BLOCK_WORDS: usize = BLOCK_BYTES / 8;
/// Words of a block before its entries: CRC, number of the block.
const BLOCK_HEAD_WORDS: usize = 2;
const ENTRIES_PER_BLOCK: usize = (BLOCK_WORDS - BLOCK_HEAD_WORDS) / 2;
/// Words of the header that say which segment it is of.
const BINDING_WORDS: usize = 12;
const HEADER_WORDS_USED: usize = 16;

/// Blocks of a sorted run: one million entries, the 16 MiB that making an index takes.
pub(super) const RUN_BLOCKS: u32 = 4096;

/// A segment that another one follows, and where that one says it ends.
pub(super) struct Sealed<'a> {
    pub(super) segment: &'a SegmentFile,
    pub(super) opened: Opened,
    end: Position,
}

impl<'a> Sealed<'a> {
    pub(super) fn open(segment: &'a SegmentFile, next: &SegmentFile) -> Result<Self, RecoverError> {
        let opened = open_one(segment)?;
        let end = open_one(next)?.header.before;
        if end.journal != opened.header.before.journal {
            let what = "it is of another journal than the segment before it";
            return Err(RecoverError::rot(&next.path, 32, what, None));
        }
        Ok(Self { segment, opened, end })
    }

    pub(super) fn end(&self) -> &Position {
        &self.end
    }

    /// The words that bind an index to this segment.
    fn binding(&self) -> [u64; BINDING_WORDS] {
        let header = &self.opened.header;
        let mut words = [0; BINDING_WORDS];
        words[0] = INDEX_MAGIC;
        words[1] = u64::from(INDEX_VERSION) | u64::from(header.term) << 32;
        words[2] = header.number();
        words[3] = header.nonce;
        words[4..6].copy_from_slice(&header.before.journal);
        words[6] = self.end.offset;
        words_from_hash(&mut words[7..11], &self.end.chain);
        words
    }

    /// The event whose frame starts at this byte; `words` is where it is read to.
    pub(super) fn event<'w>(&self, offset: u64, words: &'w mut [u64]) -> Result<Frame<'w>, String> {
        let header = &self.opened.header;
        let left = self.end.offset.saturating_sub(offset) / 8;
        if offset < BLOCK_BYTES as u64 || !offset.is_multiple_of(8) || left == 0 {
            return Err(format!("byte {offset} is outside the segment's frames"));
        }
        let room = words.len().min(left as usize);
        let words = &mut words[..room];
        self.opened.file.read_exact_at(bytes_of_mut(words), offset).map_err(|error| error.to_string())?;
        let (frame, _) = frame::decode(words).map_err(|error| format!("at byte {offset}, {error}"))?;
        if (frame.head.term, frame.head.nonce) != (header.term, header.nonce) {
            return Err(format!("the frame at byte {offset} is of another run"));
        }
        if tag_of(&frame).is_none() {
            return Err(format!("the frame at byte {offset} is no event's"));
        }
        Ok(frame)
    }
}

/// A segment by itself. That its header follows from the segment before it is for a walk over all to say; here its numbers
/// only have to be possible.
pub(super) fn open_one(segment: &SegmentFile) -> Result<Opened, RecoverError> {
    let opened = segment::open(&segment.path)?;
    let (header, before) = (&opened.header, &opened.header.before);
    if header.number() != segment.number {
        let what = format!("this is segment {}", header.number());
        return Err(RecoverError::rot(&segment.path, 16, &what, None));
    }
    if before.seq.max(before.batch) > u64::MAX / 2 || header.term == 0 {
        return Err(RecoverError::rot(&segment.path, 0, "its header's numbers are impossible", None));
    }
    Ok(opened)
}

/// The tag of the event that a frame holds, if it holds one.
fn tag_of(frame: &Frame<'_>) -> Option<u64> {
    match &frame.record {
        Record::Decision(decision) if decision.input.words.len() >= HEADER_WORDS => {
            Some(event_id(decision.input.words).tag())
        }
        _ => None,
    }
}

/// Where the index of a segment is.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension(INDEX_EXTENSION)
}

/// Why there is no index to read.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It was not made yet.
    Missing,
    /// What is there is not the index of this segment.
    Damaged(String),
}

/// Why an index could not be made.
pub(super) enum NotMade {
    /// The segment cannot be read.
    Segment(RecoverError),
    /// The index cannot be written.
    Store(io::Error),
}

/// An open index whose header and fences have been checked. Blocks are checked as they are read.
pub(super) struct Index {
    file: File,
    entries: u64,
    run_blocks: usize,
    fences: Vec<u64>,
    seed: u32,
}

impl Index {
    /// Opens the index of a segment.
    pub(super) fn open(sealed: &Sealed<'_>) -> Result<Self, Unusable> {
        match File::open(index_path(&sealed.segment.path)) {
            Ok(file) => Self::read(file, sealed).map_err(Unusable::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::Missing),
            Err(error) => Err(Unusable::Damaged(error.to_string())),
        }
    }

    fn read(file: File, sealed: &Sealed<'_>) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let length = file.metadata().map_err(told)?.len();
        let mut header = [0; BLOCK_WORDS];
        if length < BLOCK_BYTES as u64 {
            return Err("the file ends within its header".to_owned());
        }
        file.read_exact_at(bytes_of_mut(&mut header), 0).map_err(told)?;
        if header[0] != INDEX_MAGIC {
            return Err("this is not an index".to_owned());
        }
        if header[15] != u64::from(crc32c::crc32c(bytes_of(&header[..15]))) {
            return Err("the CRC32C of its header does not match".to_owned());
        }
        let binding = sealed.binding();
        if header[..BINDING_WORDS] != binding {
            return Err(match hash_from_words(&header[7..11]) == sealed.end.chain {
                true => "it is of another version".to_owned(),
                false => "it is of another segment, or of other contents of this one".to_owned(),
            });
        }
        if header[HEADER_WORDS_USED..].iter().any(|word| *word != 0) || header[14] != 0 {
            return Err("bytes that are reserved are not zero".to_owned());
        }
        // Counts are held against the segment and the file before anything is reserved by them.
        let (entries, run_blocks) = (header[12], (header[13] >> 32) as usize);
        if entries > sealed.end.offset / (frame::FRAME_WORDS_MIN as u64 * 8) || run_blocks == 0 {
            return Err("its counts are impossible".to_owned());
        }
        let blocks = entries.div_ceil(ENTRIES_PER_BLOCK as u64);
        if length != fences_at(blocks) + blocks * 8 {
            return Err("the file's length is not that of its header".to_owned());
        }
        let mut fences = vec![0; blocks as usize];
        file.read_exact_at(bytes_of_mut(&mut fences), fences_at(blocks)).map_err(told)?;
        if crc32c::crc32c(bytes_of(&fences)) != header[13] as u32 {
            return Err("the CRC32C of its fences does not match".to_owned());
        }
        Ok(Self { file, entries, run_blocks, fences, seed: seed(&binding) })
    }

    /// Goes through the segment and writes its index, which appears whole (by rename) or not at all. It need not be
    /// durable: one that a loss of power tore is made again.
    pub(super) fn make(sealed: &Sealed<'_>, run_blocks: u32) -> Result<Self, NotMade> {
        let path = index_path(&sealed.segment.path);
        let dir = path.parent().unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix("index-")
            .suffix(".tmp")
            .tempfile_in(dir)
            .map_err(NotMade::Store)?;
        let file = temporary.reopen().map_err(NotMade::Store)?;
        let mut maker = Maker::new(file, sealed.binding(), run_blocks).map_err(NotMade::Store)?;
        let mut failed = None;
        let (opened, end) = (&sealed.opened, Some(&sealed.end));
        let walked = segment::walk_one(&sealed.segment.path, opened, end, &mut Vec::new(), &mut |seen| {
            if let Seen::Frame(frame, offset) = seen
                && let Some(tag) = tag_of(frame)
            {
                failed = maker.push(tag, offset).err();
            }
            failed.is_none()
        });
        walked.map_err(NotMade::Segment)?;
        if let Some(error) = failed {
            return Err(NotMade::Store(error));
        }
        let index = maker.finish().map_err(NotMade::Store)?;
        temporary.persist(&path).map_err(|error| NotMade::Store(error.error))?;
        Ok(index)
    }

    /// Shows where the frames with these tags are; `tags` must ascend. What was shown before an error counts for nothing.
    pub(super) fn search(
        &self,
        tags: impl Iterator<Item = u64> + Clone,
        mut found: impl FnMut(u64, u64),
    ) -> Result<(), String> {
        let (mut block, mut held) = ([0; BLOCK_WORDS], None);
        for (run, fences) in self.fences.chunks(self.run_blocks).enumerate() {
            let first = run * self.run_blocks;
            for tag in tags.clone() {
                // Equal tags may go over several blocks, and begin in the one before the first that starts with them.
                let mut at = fences.partition_point(|fence| *fence < tag).saturating_sub(1);
                while at < fences.len() && fences[at] <= tag {
                    if held != Some(first + at) {
                        self.read_block(first + at, &mut block)?;
                        held = Some(first + at);
                    }
                    for [entry, offset] in self.entries_of(first + at, &block).iter().filter(|e| e[0] == tag)
                    {
                        found(*entry, *offset);
                    }
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn entries_of<'b>(&self, number: usize, block: &'b [u64; BLOCK_WORDS]) -> &'b [[u64; 2]] {
        let (pairs, _) = block[BLOCK_HEAD_WORDS..].as_chunks();
        let left = self.entries - (number * ENTRIES_PER_BLOCK) as u64;
        &pairs[..pairs.len().min(left as usize)]
    }

    fn read_block(&self, number: usize, block: &mut [u64; BLOCK_WORDS]) -> Result<(), String> {
        let place = BLOCK_BYTES as u64 * (number as u64 + 1);
        self.file.read_exact_at(bytes_of_mut(block), place).map_err(|error| error.to_string())?;
        if block[0] != block_crc(self.seed, block)
            || block[1] != number as u64
            || block[2] != self.fences[number]
        {
            return Err(format!("block {number} is damaged"));
        }
        Ok(())
    }
}

fn fences_at(blocks: u64) -> u64 {
    BLOCK_BYTES as u64 * (blocks + 1)
}

fn seed(binding: &[u64; BINDING_WORDS]) -> u32 {
    crc32c::crc32c(bytes_of(binding))
}

/// Of a block without its first word, going on from the header's: a block of another index does not pass.
fn block_crc(seed: u32, block: &[u64; BLOCK_WORDS]) -> u64 {
    u64::from(crc32c::crc32c_append(seed, bytes_of(&block[1..])))
}

/// An index, being made.
struct Maker {
    file: BufWriter<File>,
    binding: [u64; BINDING_WORDS],
    run: Vec<[u64; 2]>,
    index_entries: u64,
    run_blocks: u32,
    fences: Vec<u64>,
}

impl Maker {
    fn new(mut file: File, binding: [u64; BINDING_WORDS], run_blocks: u32) -> io::Result<Self> {
        file.seek(SeekFrom::Start(BLOCK_BYTES as u64))?;
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(Self { file, binding, run: Vec::new(), index_entries: 0, run_blocks, fences: Vec::new() })
    }

    fn push(&mut self, tag: u64, offset: u64) -> io::Result<()> {
        self.run.push([tag, offset]);
        self.index_entries += 1;
        match self.run.len() == self.run_blocks as usize * ENTRIES_PER_BLOCK {
            true => self.write_run(),
            false => Ok(()),
        }
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        for entries in self.run.chunks(ENTRIES_PER_BLOCK) {
            let mut block = [0; BLOCK_WORDS];
            block[1] = self.fences.len() as u64;
            let words = entries.as_flattened();
            block[BLOCK_HEAD_WORDS..BLOCK_HEAD_WORDS + words.len()].copy_from_slice(words);
            block[0] = block_crc(seed(&self.binding), &block);
            self.file.write_all(bytes_of(&block))?;
            self.fences.push(entries[0][0]);
        }
        self.run.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Index> {
        self.write_run()?;
        self.file.write_all(bytes_of(&self.fences))?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut header = [0; BLOCK_WORDS];
        header[..BINDING_WORDS].copy_from_slice(&self.binding);
        header[12] = self.index_entries;
        header[13] = u64::from(crc32c::crc32c(bytes_of(&self.fences))) | u64::from(self.run_blocks) << 32;
        header[15] = u64::from(crc32c::crc32c(bytes_of(&header[..15])));
        file.write_all_at(bytes_of(&header), 0)?;
        Ok(Index {
            file,
            entries: self.index_entries,
            run_blocks: self.run_blocks as usize,
            fences: self.fences,
            seed: seed(&self.binding),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Decision, Epoch, Journal, JournalOptions};
    use super::*;
    use crate::engine::Limits;
    use crate::engine::units::{EventId, Time};
    use crate::engine::wire::{Admission, Input, Outcome};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::fs;

    /// A journal of segments of 256 KiB with an event for each of these ids, and one segment more.
    fn journal(ids: impl Iterator<Item = u64>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut options = JournalOptions::new(dir.path(), dir.path().join("run"));
        (options.ring_bytes, options.segment_bytes, options.batch_bytes_max) = (1 << 16, 1 << 18, 1 << 14);
        options.backend = Backend::Pwrite;
        let epoch = Epoch {
            semantics: 1,
            policy_hash: [1; 32],
            layout_hash: [2; 32],
            limits: Limits::default(),
            started: Time(0),
            took_over: false,
        };
        let (mut writer, flusher) = Journal::recover(&options).unwrap().start(epoch).unwrap();
        for (id, seq) in ids.zip(1..) {
            let words = [id, !id, seq, 0];
            let input = Input {
                principal: 1,
                kind: 0,
                admission: Admission::Normal,
                received: Time(0),
                words: &words,
            };
            let decision = Decision { input, outcome: Outcome { seq, ..Outcome::default() }, digest: 0 };
            while writer.append(&decision).is_err() {
                std::thread::yield_now();
            }
        }
        flusher.shutdown().unwrap();
        drop(writer);
        let (_, flusher) = Journal::recover(&options).unwrap().start(epoch).unwrap();
        flusher.shutdown().unwrap();
        dir
    }

    /// The sealed segments of a journal.
    fn sealed(files: &[SegmentFile]) -> impl Iterator<Item = Sealed<'_>> {
        files.windows(2).map(|pair| Sealed::open(&pair[0], &pair[1]).unwrap())
    }

    /// Tag → where its frames are, by going through the segment.
    fn naive(sealed: &Sealed<'_>) -> BTreeMap<u64, Vec<u64>> {
        let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let (path, opened) = (&sealed.segment.path, &sealed.opened);
        segment::walk_one(path, opened, Some(&sealed.end), &mut Vec::new(), &mut |seen| {
            if let Seen::Frame(frame, offset) = seen
                && let Some(tag) = tag_of(frame)
            {
                all.entry(tag).or_default().push(offset);
            }
            true
        })
        .unwrap();
        all
    }

    fn found(index: &Index, tags: &[u64]) -> Result<BTreeMap<u64, Vec<u64>>, String> {
        let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        index.search(tags.iter().copied(), |tag, offset| all.entry(tag).or_default().push(offset))?;
        all.values_mut().for_each(|offsets| offsets.sort_unstable());
        Ok(all)
    }

    /// All ids once and one of them eight hundred times, so that equal tags go over several blocks.
    fn ids() -> impl Iterator<Item = u64> {
        (0..2_000_u64).chain((0..800).map(|_| 77)).chain(2_000..2_500)
    }

    #[test]
    fn every_tag_is_found_in_runs_of_any_length() {
        let dir = journal(ids());
        let files = segment::list(dir.path()).unwrap();
        assert!(files.len() >= 3);
        let mut most = 0;
        for sealed in sealed(&files) {
            let all = naive(&sealed);
            most = most.max(all.values().map(Vec::len).max().unwrap());
            let absent = (0..100).map(|n| EventId([n, n]).tag());
            let mut tags: Vec<u64> = all.keys().copied().chain(absent).chain([0, u64::MAX]).collect();
            tags.sort_unstable();
            for run_blocks in [1, 2, 3, RUN_BLOCKS] {
                let Ok(made) = Index::make(&sealed, run_blocks) else { panic!("not made") };
                let opened = Index::open(&sealed).unwrap();
                assert_eq!(opened.fences, made.fences);
                assert_eq!(found(&made, &tags).unwrap(), all);
                assert_eq!(found(&opened, &tags).unwrap(), all);
            }
        }
        assert!(most > 2 * ENTRIES_PER_BLOCK, "{most}");
    }

    #[test]
    fn the_index_of_another_segment_is_refused() {
        let dir = journal(ids());
        let files = segment::list(dir.path()).unwrap();
        let sealed: Vec<_> = sealed(&files).collect();
        assert!(Index::make(&sealed[0], RUN_BLOCKS).is_ok());
        let (first, second) = (index_path(&files[0].path), index_path(&files[1].path));
        fs::copy(&first, &second).unwrap();
        assert!(Index::open(&sealed[0]).is_ok());
        let Err(Unusable::Damaged(what)) = Index::open(&sealed[1]) else { panic!("taken") };
        assert_eq!(what, "it is of another segment, or of other contents of this one");
        // A block of another index, its own CRC right.
        assert!(Index::make(&sealed[1], RUN_BLOCKS).is_ok());
        let other = fs::read(&second).unwrap();
        let mut bytes = fs::read(&first).unwrap();
        bytes[4096..8192].copy_from_slice(&other[4096..8192]);
        fs::write(&first, bytes).unwrap();
        let tags: Vec<u64> = naive(&sealed[0]).into_keys().collect();
        let spliced = Index::open(&sealed[0]).unwrap();
        assert_eq!(found(&spliced, &tags).unwrap_err(), "block 0 is damaged");
    }

    #[test]
    fn counts_that_cannot_be_are_refused_under_a_right_crc() {
        let dir = journal(ids());
        let files = segment::list(dir.path()).unwrap();
        let sealed = sealed(&files).next().unwrap();
        assert!(Index::make(&sealed, RUN_BLOCKS).is_ok());
        let path = index_path(&files[0].path);
        let whole = fs::read(&path).unwrap();
        let check = |word: usize, value: u64, expected: &str| {
            let mut header = [0; BLOCK_WORDS];
            bytes_of_mut(&mut header).copy_from_slice(&whole[..BLOCK_BYTES]);
            header[word] = value;
            header[15] = u64::from(crc32c::crc32c(bytes_of(&header[..15])));
            let mut bytes = whole.clone();
            bytes[..BLOCK_BYTES].copy_from_slice(bytes_of(&header));
            fs::write(&path, bytes).unwrap();
            let Err(Unusable::Damaged(what)) = Index::open(&sealed) else { panic!("word {word} was taken") };
            assert_eq!(what, expected);
        };
        check(12, u64::MAX, "its counts are impossible");
        check(12, 1 << 40, "its counts are impossible");
        check(12, 0, "the file's length is not that of its header");
        check(13, 0, "its counts are impossible");
        check(13, 1 << 32, "the CRC32C of its fences does not match");
        check(14, 1, "bytes that are reserved are not zero");
        check(20, 1, "bytes that are reserved are not zero");
        check(1, 2, "it is of another version");
        check(0, 0, "this is not an index");
    }

    #[test]
    fn damage_is_noticed_or_does_no_harm() {
        let dir = journal(ids());
        let files = segment::list(dir.path()).unwrap();
        let sealed = sealed(&files).next().unwrap();
        assert!(Index::make(&sealed, 2).is_ok());
        let path = index_path(&files[0].path);
        let whole = fs::read(&path).unwrap();
        let all = naive(&sealed);
        let tags: Vec<u64> = all.keys().copied().collect();
        let attempt = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match Index::open(&sealed) {
                Ok(index) => found(&index, &tags),
                Err(unusable) => Err(format!("{unusable:?}")),
            }
        };
        let bytes = whole.len();
        let edits = (0..bytes, prop::collection::vec((0..bytes, 1..=255_u8), 0..4), any::<bool>());
        proptest!(|((cut, flips, is_cut) in edits)| {
            let mut hurt = whole.clone();
            for (at, bits) in flips {
                hurt[at] ^= bits;
            }
            if is_cut {
                hurt.truncate(cut);
            }
            match attempt(&hurt) {
                Ok(found) => prop_assert_eq!(found, all.clone(), "it differs and was taken"),
                Err(_) => prop_assert!(hurt != whole),
            }
        });
    }
}
