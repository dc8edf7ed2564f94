//! Reading a journal without touching it: no lock, and a live appliance may be writing it meanwhile.
//!
//! The ring is copied first and the segments are listed after, so everything the flusher has taken out of the ring
//! by then is in the segments, and the rest follows them without a gap.

use super::Epoch;
use super::frame::{Frame, Record};
use super::recovery::RecoverError;
use super::ring::Image;
use super::segment::{self, Position, Seen, SegmentFile, Stop};
use crate::engine::units::Time;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Reads the journal of a directory.
pub struct Reader {
    pub(super) files: Vec<SegmentFile>,
    pub(super) ring: Option<Image>,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Another segment follows.
    Sealed,
    /// The last one; may be in use.
    Open,
    /// The last one, and bytes follow that are not a batch: a write that did not finish.
    Torn {
        /// Byte in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; the first is 1.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Which start of the appliance its frames are of.
    pub term: u32,
    /// Written by recovery, from a ring that a crash left.
    pub recovered: bool,
    /// The first decision in it, if there is any.
    pub first_seq: Option<u64>,
    /// The last decision in it, if there is any.
    pub last_seq: Option<u64>,
    /// When the first decision was taken in.
    pub first_received: Option<Time>,
    /// When the last decision was taken in.
    pub last_received: Option<Time>,
    /// Epochs that begin in it.
    pub epochs: u32,
    /// Batches in it.
    pub batches: u64,
    /// Bytes used, header and padding included.
    pub bytes_used: u64,
    /// Bytes reserved.
    pub bytes: u64,
    /// How it ends.
    pub state: SegmentState,
}

/// What reading to the end came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last decision.
    pub last_seq: u64,
    /// The last decision in the segments.
    pub durable_seq: u64,
    /// The last epoch.
    pub epoch: u32,
    /// Epoch and decision frames that only the ring holds.
    pub ring_frames: u64,
    /// Where the last segment's bytes stop making sense, if they do: (byte, what).
    pub torn: Option<(u64, String)>,
    /// Where the ring's do: (byte, what).
    pub ring_damage: Option<(u64, String)>,
}

impl Reader {
    /// The segments of this directory.
    pub fn open(dir: &Path) -> Result<Self, RecoverError> {
        Ok(Self { files: segment::list(dir)?, ring: None })
    }

    /// The segments of `dir`, and the ring in `runtime_dir`.
    pub fn open_with_ring(dir: &Path, runtime_dir: &Path) -> Result<Self, RecoverError> {
        let ring = Image::load(runtime_dir, false)?.map(|(image, _)| image);
        Ok(Self { files: segment::list(dir)?, ring })
    }

    /// Whether there is no segment at all, nor a ring.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.ring.is_none()
    }

    /// Shows every frame in order until `visit` breaks; says where it ended.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&Frame<'_>) -> ControlFlow<()>,
    ) -> Result<Summary, RecoverError> {
        let (mut position, mut broke) = (Position::default(), false);
        let end = segment::walk(&self.files, |seen| {
            match seen {
                Seen::Segment(_, header) => position = header.start(),
                Seen::Frame(frame, _) => {
                    (position.seq, position.epoch) = (frame.head.seq, frame.head.epoch);
                    broke = visit(frame).is_break();
                }
                Seen::Batch | Seen::End(..) => {}
            }
            !broke
        })?;
        let mut summary = Summary::default();
        if let Some(end) = end {
            position = end.position;
            if let Stop::Torn { offset, what } = end.stop {
                summary.torn = Some((offset, what));
            }
        }
        summary.durable_seq = position.seq;
        if let (Some(ring), false) = (&self.ring, broke) {
            self.for_each_in_ring(ring, &mut position, &mut summary, visit)?;
        }
        (summary.last_seq, summary.epoch) = (position.seq, position.epoch);
        Ok(summary)
    }

    pub(super) fn for_each_in_ring(
        &self,
        ring: &Image,
        position: &mut Position,
        summary: &mut Summary,
        mut visit: impl FnMut(&Frame<'_>) -> ControlFlow<()>,
    ) -> Result<(), RecoverError> {
        if ring.identity.journal != position.journal {
            let dir = self.files.first().and_then(|file| file.path.parent()).map(Path::to_owned);
            return Err(RecoverError::ForeignRing { path: ring.path.clone(), dir: dir.unwrap_or_default() });
        }
        if ring.identity.term < position.term {
            return Ok(());
        }
        let durable = *position;
        let Ok(end) = ring.walk(|frame, _| {
            let known = match frame.record {
                Record::Epoch(_) | Record::Order(_) => frame.head.epoch <= durable.epoch,
                Record::Decision(_) => frame.head.seq <= durable.seq,
            };
            if known {
                return Ok(Ok(()));
            }
            if let Err(what) = position.follow(frame) {
                return Ok(Err(what));
            }
            summary.ring_frames += 1;
            Ok::<_, Infallible>(match visit(frame) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(String::new()),
            })
        });
        summary.ring_damage = end.damaged.filter(|what| !what.is_empty()).map(|what| (end.offset, what));
        Ok(())
    }

    /// Shows every epoch, with the last decision before it.
    pub fn epochs(&self) -> Result<Vec<(u64, Epoch)>, RecoverError> {
        let mut epochs = Vec::new();
        self.for_each(|frame| {
            if let Record::Epoch(epoch) = frame.record {
                epochs.push((frame.head.seq, epoch));
            }
            ControlFlow::Continue(())
        })?;
        Ok(epochs)
    }

    /// Checks all segments and describes each.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, RecoverError> {
        let mut infos: Vec<SegmentInfo> = Vec::new();
        let last = self.files.len() as u64;
        segment::walk(&self.files, |seen| {
            if let Seen::Segment(file, header) = seen {
                infos.push(SegmentInfo {
                    number: file.number,
                    path: file.path.clone(),
                    term: header.term,
                    recovered: header.recovered,
                    first_seq: None,
                    last_seq: None,
                    first_received: None,
                    last_received: None,
                    epochs: 0,
                    batches: 0,
                    bytes_used: 0,
                    bytes: header.bytes,
                    state: SegmentState::Sealed,
                });
                return true;
            }
            let Some(info) = infos.last_mut() else { return true };
            match seen {
                Seen::Frame(frame, _) => match frame.record {
                    Record::Epoch(_) => info.epochs += 1,
                    Record::Order(_) => {}
                    Record::Decision(decision) => {
                        info.first_seq.get_or_insert(frame.head.seq);
                        info.first_received.get_or_insert(decision.input.received);
                        info.last_seq = Some(frame.head.seq);
                        info.last_received = Some(decision.input.received);
                    }
                },
                Seen::Batch => info.batches += 1,
                Seen::End(position, stop) => {
                    info.bytes_used = position.offset;
                    info.state = match stop {
                        Stop::Torn { offset, what } => {
                            SegmentState::Torn { offset: *offset, what: what.clone() }
                        }
                        Stop::Clean if info.number == last => SegmentState::Open,
                        Stop::Clean => SegmentState::Sealed,
                    };
                }
                Seen::Segment(..) => {}
            }
            true
        })?;
        Ok(infos)
    }
}
