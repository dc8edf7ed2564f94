//! The load generator: a client of the appliance that knows when each payment was meant to be sent.
//!
//! Payment n is sent once, as request n, and exactly one verdict is expected for it, in order. A time is counted from the
//! verdict's own `t_intended`: what the generator could not send in time, because the ring was full or its core was
//! taken from it, is in the figure.

use std::hint::spin_loop;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tollgate::engine::wire::{FLAG_DUPLICATE, FLAG_INEXACT, FLAG_REFUSED, Outcome};
use tollgate_ring::{Client, SendError, Verdict, monotonic_ns};

use super::pool::Pool;
use crate::interrupt;
use crate::stats::histogram;

/// How long to wait for verdicts that are owed before they count as never to come.
const PATIENCE_NS: u64 = 10_000_000_000;
/// How far behind its schedule an open loop may end before it is given up.
const BEHIND_MAX_NS: u64 = 60_000_000_000;
/// Payments between two readings of the clock when the ring is being filled.
const FILL_BURST: u32 = 64;

/// What a measure found, over all its slices.
pub(crate) struct Measured {
    /// From the intended time of sending to the verdict.
    pub(crate) times: Histogram<u64>,
    /// What the engine says each took.
    pub(crate) service: Histogram<u64>,
    /// Decisions each second, slice by slice.
    pub(crate) rates: Vec<f64>,
    /// How often the ring was found full.
    pub(crate) busy: u64,
    /// Requests before this one warm up.
    from: u64,
}

impl Measured {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { times: histogram()?, service: histogram()?, rates: Vec::new(), busy: 0, from: 0 })
    }
}

/// How long a slice is, after how long a time to warm up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) warm_ns: u64,
    pub(crate) time_ns: u64,
}

/// The client.
pub(crate) struct Load {
    client: Client,
    pool: Pool,
    sent: u64,
    answered: u64,
    /// When a verdict last came, or the first of those owed was sent.
    heard_ns: u64,
    /// Verdicts from fewer events than a window held.
    inexact: u64,
}

impl Load {
    pub(crate) fn new(client: Client, pool: Pool) -> Self {
        Self { client, pool, sent: 0, answered: 0, heard_ns: 0, inexact: 0 }
    }

    /// Payments answered so far: all that were sent, between measures.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// Verdicts that were marked inexact so far.
    pub(crate) fn inexact(&self) -> u64 {
        self.inexact
    }

    /// Sends so many payments as fast as they are taken.
    pub(crate) fn fill(&mut self, count: u64) -> Result<()> {
        let (mut unused, end) = (Measured::new()?, self.sent + count);
        while self.sent < end {
            interrupt::check()?;
            let burst = (end - self.sent).min(u64::from(FILL_BURST)) as u32;
            self.top_up(burst, monotonic_ns())?;
            self.receive(&mut unused)?;
        }
        self.drain(&mut unused)
    }

    /// Closed loop: one in flight, the next one sent when its verdict has come.
    pub(crate) fn closed(&mut self, slice: Slice, into: &mut Measured) -> Result<()> {
        let start = monotonic_ns();
        into.from = u64::MAX;
        loop {
            interrupt::check()?;
            let now = monotonic_ns();
            if now - start >= slice.warm_ns + slice.time_ns {
                return Ok(());
            }
            if into.from == u64::MAX && now - start >= slice.warm_ns {
                into.from = self.sent + 1;
            }
            ensure!(self.send(now)?, "the ring is full with nothing in flight");
            while self.answered < self.sent {
                self.receive(into)?;
                spin_loop();
            }
        }
    }

    /// The ring kept full: as many in flight as it holds.
    pub(crate) fn saturate(&mut self, slice: Slice, into: &mut Measured) -> Result<()> {
        let start = monotonic_ns();
        into.from = u64::MAX;
        let (mut warm_at, mut warm_answered) = (start, 0);
        loop {
            interrupt::check()?;
            let now = monotonic_ns();
            if now - start >= slice.warm_ns + slice.time_ns {
                let decided = self.answered - warm_answered;
                into.rates.push(decided as f64 * 1e9 / (now - warm_at) as f64);
                return self.drain(into);
            }
            if into.from == u64::MAX && now - start >= slice.warm_ns {
                (warm_at, warm_answered) = (now, self.answered);
                into.from = self.sent + 1;
            }
            into.busy += u64::from(self.top_up(FILL_BURST, now)?);
            self.receive(into)?;
        }
    }

    /// Open loop: payment i is due at start + i / rate, whatever became of those before.
    pub(crate) fn open(&mut self, rate: f64, slice: Slice, into: &mut Measured) -> Result<()> {
        let interval_ns = 1e9 / rate;
        let count = |ns: u64| (ns as f64 / interval_ns) as u64;
        let (warm, total) = (count(slice.warm_ns), count(slice.warm_ns + slice.time_ns).max(1));
        into.from = self.sent + 1 + warm;
        let start = monotonic_ns();
        let (mut next, mut full) = (0, false);
        while next < total {
            interrupt::check()?;
            let now = monotonic_ns();
            let due = start + (next as f64 * interval_ns) as u64;
            if now >= due {
                ensure!(
                    now - due < BEHIND_MAX_NS,
                    "more than {} s behind at {rate:.0} payments a second: the appliance no longer takes what it took at \
                     saturation; measure again on a quieter machine",
                    BEHIND_MAX_NS / 1_000_000_000
                );
                let was_sent = self.send(due)?;
                next += u64::from(was_sent);
                // Each time that the ring is found full counts once, however long it stays so.
                into.busy += u64::from(!was_sent && !full);
                full = !was_sent;
            } else {
                spin_loop();
            }
            self.receive(into)?;
        }
        self.drain(into)
    }

    /// Sends until the ring is full or so many are sent. True: it is full.
    fn top_up(&mut self, most: u32, now: u64) -> Result<bool> {
        for _ in 0..most {
            if !self.send(now)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the next payment. False: the ring is full.
    #[inline]
    fn send(&mut self, due_ns: u64) -> Result<bool> {
        let number = self.sent + 1;
        let kind = self.pool.kind;
        match self.client.send(kind, number, due_ns, self.pool.payment(number)?) {
            Ok(()) => {}
            Err(SendError::Busy) => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("sending payment {number}")),
        }
        if self.answered == self.sent {
            self.heard_ns = monotonic_ns();
        }
        self.sent = number;
        Ok(true)
    }

    /// Receives all verdicts that are there. Fails when owed ones have not come for too long.
    #[inline]
    fn receive(&mut self, into: &mut Measured) -> Result<()> {
        let mut any = false;
        while let Some(verdict) = self.client.recv().context("the appliance went away with verdicts owed")? {
            self.take(&verdict, into)?;
            any = true;
        }
        if !any && self.answered < self.sent {
            self.still_patient()?;
        }
        Ok(())
    }

    fn still_patient(&self) -> Result<()> {
        interrupt::check()?;
        let owed = self.sent - self.answered;
        ensure!(
            monotonic_ns().saturating_sub(self.heard_ns) < PATIENCE_NS,
            "{owed} of {} payments are unanswered after {} s",
            self.sent,
            PATIENCE_NS / 1_000_000_000
        );
        Ok(())
    }

    #[inline]
    fn take(&mut self, verdict: &Verdict, into: &mut Measured) -> Result<()> {
        let now = monotonic_ns();
        self.heard_ns = now;
        self.answered += 1;
        let number = verdict.req_id;
        ensure!(number == self.answered, "verdict {number} came when {} was due", self.answered);
        let (outcome, engine_ns) =
            Outcome::from_words(verdict.payload).context("a verdict with an unknown action")?;
        if outcome.flags & (FLAG_REFUSED | FLAG_DUPLICATE) != 0 {
            bail!("payment {number} was refused or taken for a duplicate: {outcome:?}");
        }
        self.inexact += u64::from(outcome.flags & FLAG_INEXACT != 0);
        if number >= into.from {
            into.times.saturating_record(now.saturating_sub(verdict.t_intended));
            into.service.saturating_record(engine_ns);
        }
        Ok(())
    }

    /// Waits for every verdict that is owed.
    fn drain(&mut self, into: &mut Measured) -> Result<()> {
        while self.answered < self.sent {
            self.receive(into)?;
            spin_loop();
        }
        Ok(())
    }
}
