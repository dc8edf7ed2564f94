//! Ways for two processes to exchange a request and an answer, each with its two ends.
//!
//! Every way moves the same bytes: a request of the slot's size there, [`ANSWER_BYTES`] back, one in flight, written and
//! read in full at both ends. The asking end is a [`Caller`], the answering one an [`Echo`]; both poll, unless the way's
//! name says that they block.

pub(crate) mod bare;
#[cfg(feature = "iceoryx2")]
pub(crate) mod iceoryx;
pub(crate) mod rings;
pub(crate) mod stream;

use std::hint::spin_loop;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tollgate_ring::monotonic_ns;

use crate::control::Control;
use crate::interrupt;

/// Bytes of an answer: a verdict slot.
pub(crate) const ANSWER_BYTES: usize = 64;
/// Slots each way, in the ring and in the bare exchange: the line being written is not the one being polled for the
/// turn before.
pub(crate) const SLOTS: usize = 64;

/// One way to exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Words in shared memory and nothing else: the floor of all the others.
    Bare,
    /// The ring.
    Ring,
    /// A Unix stream socket.
    Unix,
    /// The same, sleeping in the kernel until something comes.
    UnixBlocking,
    /// A Unix socket that keeps messages apart.
    SeqPacket,
    /// A pipe there and one back.
    Pipe,
    /// TCP over loopback, a length before each message.
    Tcp,
    /// iceoryx2, a service there and one back.
    #[cfg(feature = "iceoryx2")]
    Iceoryx2,
}

impl Way {
    /// All that are built, the floor first.
    pub(crate) const ALL: &[Self] = &[
        Self::Bare,
        Self::Ring,
        Self::Unix,
        Self::SeqPacket,
        Self::Pipe,
        Self::Tcp,
        #[cfg(feature = "iceoryx2")]
        Self::Iceoryx2,
        Self::UnixBlocking,
    ];

    /// What its figure is called.
    pub(crate) fn name(self, slot_bytes: usize) -> String {
        let name = match self {
            Self::Bare => "floor.rtt",
            Self::Ring => "ring.rtt",
            Self::Unix => "peer.unix",
            Self::UnixBlocking => "peer.unix.blocking",
            Self::SeqPacket => "peer.seqpacket",
            Self::Pipe => "peer.pipe",
            Self::Tcp => "peer.tcp",
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 => "peer.iceoryx2",
        };
        format!("{name}.{slot_bytes}")
    }
}

/// Round trips timed together: reading the clock costs a good part of one.
const BATCH: u32 = 16;
/// How long an answer may take before the other end is given up.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The asking end.
pub(crate) trait Caller {
    /// One request, and its answer.
    fn round_trip(&mut self) -> Result<()>;

    /// Round trips for a slice of time. Returns the median of one in nanoseconds, from the first half, where the clock is
    /// read once in [`BATCH`] of them. In the second half each is timed by itself, into `times`.
    ///
    /// Here, so that it is compiled for each way, with nothing indirect in the loop.
    fn slice(&mut self, slice_ns: u64, batches: &mut Vec<f64>, times: &mut Histogram<u64>) -> Result<f64> {
        batches.clear();
        let start = monotonic_ns();
        let mut before = start;
        while before - start < slice_ns / 2 {
            for _ in 0..BATCH {
                self.round_trip()?;
            }
            let now = monotonic_ns();
            batches.push((now - before) as f64 / f64::from(BATCH));
            before = now;
        }
        loop {
            let before = monotonic_ns();
            self.round_trip()?;
            let now = monotonic_ns();
            times.saturating_record(now - before);
            if now - start >= slice_ns {
                return Ok(crate::stats::median(batches));
            }
        }
    }
}

/// The answering end.
pub(crate) trait Echo {
    /// Answers a request, if there is one.
    fn answer(&mut self) -> Result<bool>;

    /// Answers for as long as it is this way's turn.
    fn serve(&mut self, control: &Control, turn: u64) -> Result<()> {
        while control.turn() == turn {
            if !self.answer()? {
                spin_loop();
            }
        }
        Ok(())
    }
}

/// Looks until there is an answer. The clock is read once in `looks` of them, to give up in the end.
#[inline(always)]
pub(crate) fn await_answer(looks: u32, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let (mut left, mut since_ns) = (looks, None);
    while !look()? {
        spin_loop();
        left -= 1;
        if left == 0 {
            left = looks;
            still_patient(&mut since_ns)?;
        }
    }
    Ok(())
}

#[cold]
fn still_patient(since_ns: &mut Option<u64>) -> Result<()> {
    interrupt::check()?;
    let now = monotonic_ns();
    let waited_ns = now - *since_ns.get_or_insert(now);
    ensure!(
        waited_ns < PATIENCE_NS,
        "no answer for {} s: the other process hangs or is gone",
        PATIENCE_NS / 1_000_000_000
    );
    Ok(())
}

/// Looks at memory between two readings of the clock.
pub(crate) const LOOKS: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::histogram;

    struct Counter(u64);

    impl Caller for Counter {
        fn round_trip(&mut self) -> Result<()> {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_slice_times_both_ways() {
        let (mut counter, mut batches, mut times) = (Counter(0), Vec::new(), histogram().unwrap());
        let median = counter.slice(2_000_000, &mut batches, &mut times).unwrap();
        assert!(median.is_finite() && median >= 0.0);
        assert_eq!(counter.0, batches.len() as u64 * u64::from(BATCH) + times.len());
        assert!(!batches.is_empty() && !times.is_empty());
    }

    #[test]
    fn an_answer_is_looked_for_until_it_is_there() {
        let mut looks = 0;
        await_answer(3, || {
            looks += 1;
            Ok(looks == 10)
        })
        .unwrap();
        assert_eq!(looks, 10);
        assert!(await_answer(3, || anyhow::bail!("closed")).is_err());
    }

    #[test]
    fn names_tell_ways_and_sizes_apart() {
        let mut names: Vec<_> = Way::ALL.iter().flat_map(|way| [way.name(128), way.name(512)]).collect();
        assert_eq!(names[2], "ring.rtt.128");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Way::ALL.len() * 2);
        assert_eq!(Way::ALL[0], Way::Bare);
    }
}
