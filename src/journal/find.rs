//! Finding events by their ids, in everything that a journal holds.
//!
//! The look-up is cold: it reads the files beside a running appliance, takes no lock, and asks nothing of it. It goes
//! from the newest to the oldest: the segment that is being written and, where the reader has a ring, what only the
//! ring holds are gone through frame by frame; sealed segments are looked up in their [`index`], which
//! is made when it is missing and again when it is damaged. It does not end at the first find, because who asks
//! wants to know whether an id was used twice.
//!
//! # What is seen
//!
//! Everything committed before the [`Reader`] was opened, if it was opened with the ring; else everything that was
//! durable when the look-up came to the last segment, some `flush_interval` behind.
//!
//! # Memory
//!
//! 32 bytes for every id asked for, 24 for every find in one segment; one batch of a segment; the fences of an index (8 bytes
//! for 255 events), or one run of it while it is made (16 MiB); the reader's copy of the ring.

use super::frame::{FRAME_WORDS_MAX, Frame, Record};
use super::index::{self, Index, NotMade, RUN_BLOCKS, Sealed, Unusable};
use super::reader::{Reader, Summary};
use super::recovery::RecoverError;
use super::segment::{self, Position, Seen, SegmentFile};
use crate::engine::units::EventId;
use crate::engine::wire::{HEADER_WORDS, event_id};
use std::ops::ControlFlow;

/// What a look-up did besides finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// The last decision that it saw.
    pub last_seq: u64,
    /// Indexes that were made.
    pub made: u64,
    /// What an operator should read: damaged indexes, those that could not be kept, damage in the ring. Usually empty.
    pub notes: Vec<String>,
}

/// The ids asked for, by tag.
struct Wanted(Vec<(u64, EventId, usize)>);

impl Wanted {
    fn new(ids: &[EventId]) -> Self {
        let mut wanted: Vec<_> = ids.iter().enumerate().map(|(at, id)| (id.tag(), *id, at)).collect();
        wanted.sort_unstable();
        Self(wanted)
    }

    /// Each tag once, ascending.
    fn tags(&self) -> impl Iterator<Item = u64> + Clone {
        self.0.chunk_by(|a, b| a.0 == b.0).map(|same| same[0].0)
    }

    /// Shows the frame to all who asked for its event.
    fn show(&self, frame: &Frame<'_>, visit: &mut impl FnMut(usize, &Frame<'_>)) {
        let Record::Decision(decision) = &frame.record else { return };
        if decision.input.words.len() < HEADER_WORDS {
            return;
        }
        let id = event_id(decision.input.words);
        let tag = id.tag();
        let first = self.0.partition_point(|wanted| (wanted.0, wanted.1) < (tag, id));
        for (.., at) in self.0[first..].iter().take_while(|wanted| wanted.1 == id) {
            visit(*at, frame);
        }
    }
}

impl Reader {
    /// Calls `visit` with each decision on an event that has one of these ids, and the place of the id in `ids`; every
    /// such decision once for each time that its id is asked for. The newest segment comes first; within one the order
    /// is any.
    pub fn find(
        &self,
        ids: &[EventId],
        mut visit: impl FnMut(usize, &Frame<'_>),
    ) -> Result<Searched, RecoverError> {
        let wanted = Wanted::new(ids);
        let mut searched = Searched::default();
        let mut position = Position::default();
        if let Some(last) = self.files.last() {
            position = scan(last, None, &wanted, &mut visit)?;
        }
        if let Some(ring) = &self.ring {
            let mut summary = Summary::default();
            self.for_each_in_ring(ring, &mut position, &mut summary, |frame| {
                wanted.show(frame, &mut visit);
                ControlFlow::Continue(())
            })?;
            if let Some((offset, what)) = summary.ring_damage {
                searched.notes.push(format!(
                    "the ring is damaged at byte {offset}: {what}; decisions committed after {} were not seen",
                    position.seq
                ));
            }
        }
        searched.last_seq = position.seq;
        for pair in self.files.windows(2).rev() {
            look_up(&pair[0], &pair[1], &wanted, &mut searched, &mut visit)?;
        }
        Ok(searched)
    }

    /// Makes the indexes of sealed segments that are missing or damaged.
    pub fn make_indexes(&self) -> Result<Searched, RecoverError> {
        let mut searched = Searched::default();
        for pair in self.files.windows(2) {
            let sealed = Sealed::open(&pair[0], &pair[1])?;
            match Index::open(&sealed) {
                Ok(_) => continue,
                Err(unusable) => note_unusable(&sealed, unusable, &mut searched),
            }
            make(&sealed, &mut searched)?;
        }
        Ok(searched)
    }
}

/// Goes through one segment, to where the next one says that it ends.
fn scan(
    segment: &SegmentFile,
    end: Option<&Position>,
    wanted: &Wanted,
    visit: &mut impl FnMut(usize, &Frame<'_>),
) -> Result<Position, RecoverError> {
    let opened = index::open_one(segment)?;
    let walked = segment::walk_one(&segment.path, &opened, end, &mut Vec::new(), &mut |seen| {
        if let Seen::Frame(frame, _) = seen {
            wanted.show(frame, visit);
        }
        true
    })?;
    Ok(walked.map_or(opened.header.start(), |end| end.position))
}

/// Looks the ids up in the index of a sealed segment; makes the index first when there is none that can be used, and goes
/// through the segment when it cannot be made.
fn look_up(
    segment: &SegmentFile,
    next: &SegmentFile,
    wanted: &Wanted,
    searched: &mut Searched,
    visit: &mut impl FnMut(usize, &Frame<'_>),
) -> Result<(), RecoverError> {
    let sealed = Sealed::open(segment, next)?;
    let opened = Index::open(&sealed);
    let found = match opened.and_then(|index| search(&index, &sealed, wanted).map_err(Unusable::Damaged)) {
        Ok(found) => Some(found),
        Err(unusable) => {
            note_unusable(&sealed, unusable, searched);
            let index = make(&sealed, searched)?;
            index.and_then(|index| search(&index, &sealed, wanted).ok())
        }
    };
    let Some(found) = found else {
        return scan(segment, Some(sealed.end()), wanted, visit).map(drop);
    };
    let mut words = [0; FRAME_WORDS_MAX];
    for offset in found {
        // It was read and checked a moment ago.
        let frame = sealed
            .event(offset, &mut words)
            .map_err(|what| RecoverError::rot(&segment.path, offset, &what, None))?;
        wanted.show(&frame, visit);
    }
    Ok(())
}

/// Where the frames of these ids are, each checked: an index that points to anything else is damaged, and nothing that it
/// said may be shown.
fn search(index: &Index, sealed: &Sealed<'_>, wanted: &Wanted) -> Result<Vec<u64>, String> {
    let mut found = Vec::new();
    index.search(wanted.tags(), |tag, offset| found.push((tag, offset)))?;
    let mut words = [0; FRAME_WORDS_MAX];
    for (tag, offset) in &found {
        let frame = sealed.event(*offset, &mut words)?;
        let Record::Decision(decision) = &frame.record else { continue };
        if event_id(decision.input.words).tag() != *tag {
            return Err(format!("the frame at byte {offset} is another event's"));
        }
    }
    let mut offsets: Vec<u64> = found.into_iter().map(|(_, offset)| offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    Ok(offsets)
}

fn note_unusable(sealed: &Sealed<'_>, unusable: Unusable, searched: &mut Searched) {
    if let Unusable::Damaged(what) = unusable {
        let path = index::index_path(&sealed.segment.path);
        searched.notes.push(format!("the index {} cannot be used and is made again: {what}", path.display()));
    }
}

/// Makes an index; none when it cannot be written, which only costs time.
fn make(sealed: &Sealed<'_>, searched: &mut Searched) -> Result<Option<Index>, RecoverError> {
    match Index::make(sealed, RUN_BLOCKS) {
        Ok(index) => {
            searched.made += 1;
            Ok(Some(index))
        }
        Err(NotMade::Segment(error)) => Err(error),
        Err(NotMade::Store(error)) => {
            let path = index::index_path(&sealed.segment.path);
            searched.notes.push(format!("the index {} could not be written: {error}", path.display()));
            Ok(None)
        }
    }
}
