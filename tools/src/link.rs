//! A client of a running appliance: requests in flight, answered in order, and the end of patience.

use crate::fault::Problem;
use anyhow::Context as _;
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};
use tollgate::engine::Loaded;
use tollgate::engine::wire::Outcome;
use tollgate_ring::{Client, ClientOptions, Closed, SendError};

/// How long the appliance may take for one answer before the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long to sleep for a verdict before looking again.
const WAIT: Duration = Duration::from_millis(100);

/// How to connect.
pub(crate) struct LinkOptions<'a> {
    /// The appliance's socket.
    pub(crate) socket: &'a Path,
    /// Bytes of a request slot.
    pub(crate) slot_bytes: u32,
    /// Take verdicts only when their decisions are on disk.
    pub(crate) durable: bool,
    /// The client's name, in the appliance's log.
    pub(crate) name: &'a str,
    /// What an early end leaves behind, as errors say it.
    pub(crate) at_end: &'static str,
}

/// A connection; `T` is what is remembered of a request until it is answered.
pub(crate) struct Link<T> {
    client: Client,
    flight: VecDeque<T>,
    sent: u64,
    answered: Instant,
    at_end: &'static str,
}

impl<T> Link<T> {
    /// Connects as a client that lays events out as this policy does.
    pub(crate) fn connect(loaded: &Loaded, options: &LinkOptions<'_>) -> anyhow::Result<Self> {
        let client = Client::connect(
            options.socket,
            ClientOptions {
                schema_hash: loaded.program().layout_hash,
                slot_bytes: options.slot_bytes,
                name: options.name.to_owned(),
                timeout: Duration::from_secs(5),
                durable: options.durable,
            },
        )
        .with_context(|| format!("cannot connect to {}", options.socket.display()))?;
        let at_end = options.at_end;
        Ok(Self { client, flight: VecDeque::new(), sent: 0, answered: Instant::now(), at_end })
    }

    /// How many requests were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many requests are unanswered.
    pub(crate) fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Sends an event that was due at `intended_ns`, or never.
    pub(crate) fn send(
        &mut self,
        kind: u16,
        intended_ns: u64,
        words: &[u64],
        asked: impl FnOnce() -> T,
    ) -> Result<(), SendError> {
        self.client.send(kind, self.sent, intended_ns, words)?;
        if self.flight.is_empty() {
            self.answered = Instant::now();
        }
        self.flight.push_back(asked());
        self.sent += 1;
        Ok(())
    }

    /// Takes one answer, if there is one; with `wait`, sleeps for it a while. Gives up on a silent appliance.
    pub(crate) fn receive(&mut self, wait: bool) -> anyhow::Result<Option<(T, Outcome)>> {
        if let Some(verdict) = self.client.recv().map_err(|closed| self.closed(closed))? {
            self.answered = Instant::now();
            let number = self.sent - self.flight.len() as u64;
            let Some(asked) = self.flight.pop_front().filter(|_| verdict.req_id == number) else {
                anyhow::bail!("the appliance answered request {}, where {number} was next", verdict.req_id);
            };
            let (outcome, _) = Outcome::from_words(verdict.payload)
                .context("the appliance sent a verdict with an unknown action; is it of the same version?")?;
            return Ok(Some((asked, outcome)));
        }
        if wait && !self.client.wait(WAIT).map_err(|closed| self.closed(closed))? {
            let silent = self.answered.elapsed();
            if silent > ANSWER_WITHIN {
                anyhow::bail!(
                    "{} events are unanswered and the appliance has been silent for {} s; see its log",
                    self.flight.len(),
                    silent.as_secs()
                );
            }
        }
        Ok(None)
    }

    /// What it means that the connection has ended.
    pub(crate) fn closed(&self, closed: Closed) -> anyhow::Error {
        anyhow::anyhow!("{closed}; {} events are unanswered and {}", self.flight.len(), self.at_end)
    }
}

/// An event that does not fit the ring.
pub(crate) fn too_long(found: usize) -> Problem {
    Problem::new(
        format!("an event of {found} words does not fit a request slot of this ring"),
        "set a larger slot_bytes in the appliance's configuration, and --slot-bytes here",
    )
}
