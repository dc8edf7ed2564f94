//! The cold thread: shakes hands with clients, watches who goes, buries those who left, writes the metrics line.

mod room;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use tollgate_ring::{AcceptError, Bell, Connection, Listener, ListenerCounts, Refusal};

use crate::clients::{Departure, Leaving};
use crate::journal::FlushStatus;
use crate::log::Log;
use crate::stats::{Counts, Shared};
use room::Room;

/// How long one wait for a handshake may be: also how soon a client that died is noticed.
const ACCEPT_WAIT: Duration = Duration::from_millis(20);
/// How long to leave a listening socket alone after it failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// The control thread's belongings.
pub(crate) struct Control {
    pub(crate) listener: Listener,
    pub(crate) arrivals: Sender<Connection>,
    pub(crate) departures: Receiver<Departure>,
    pub(crate) flush: Arc<FlushStatus>,
    pub(crate) bell: Bell,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics_interval: Option<Duration>,
    /// What the engine's tables are called.
    pub(crate) tables: Vec<String>,
    pub(crate) log: Log,
}

impl Control {
    /// Works until told to stop. The socket is gone when it returns.
    pub(crate) fn run(mut self) {
        let watcher = self.listener.watcher();
        let mut metrics = Metrics::new(self.metrics_interval, std::mem::take(&mut self.tables));
        while !self.stop.load(Ordering::Acquire) {
            match self.listener.accept_within(ACCEPT_WAIT) {
                Ok(Some(connection)) => self.hand_over(connection),
                Ok(None) => {}
                Err(AcceptError::Io(error)) => {
                    self.log.error(format_args!("cannot accept clients: {error}"));
                    std::thread::sleep(AFTER_FAILURE);
                }
                Err(refused) => self.log.warn(refused),
            }
            if !watcher.poll(Duration::ZERO).is_empty() {
                self.bell.ring();
            }
            bury(&self.departures, self.log);
            metrics.tell(&self.shared, &self.flush, || self.listener.counts(), self.log);
        }
    }

    fn hand_over(&self, connection: Connection) {
        let who = connection.principal();
        self.log.info(format_args!(
            "client {} connected: process {}, user {}{}{}{}",
            who.client_id,
            who.pid,
            who.uid,
            if connection.is_durable() { "; its verdicts wait for the disk" } else { "" },
            if connection.locked() { "" } else { "; its rings are not locked in memory (LimitMEMLOCK=)" },
            if connection.huge_pages() == Some(false) {
                "; no huge pages were free for its rings"
            } else {
                ""
            },
        ));
        // The listener gives out no more places than the channel has, so it is never full.
        if self.arrivals.try_send(connection).is_err() {
            self.log
                .error(format_args!("client {} dropped: the engine takes no more clients", who.client_id));
        }
        self.bell.ring();
    }
}

/// Says who left and why, and gives their memory back.
pub(crate) fn bury(departures: &Receiver<Departure>, log: Log) {
    for Departure { connection, reason } in departures.try_iter() {
        let client = connection.principal().client_id;
        let line = format!("client {client} left after {} requests: {reason}", connection.taken());
        match reason {
            Leaving::HungUp | Leaving::Stopping => log.info(line),
            Leaving::Quarantined(_) => log.warn(line),
            Leaving::Unanswerable(_) => log.error(line),
        }
    }
}

/// Writes one line with all counters now and then, and one at once when the appliance degrades or recovers, or time jumps.
struct Metrics {
    interval: Option<Duration>,
    last: Instant,
    before: Counts,
    degraded: bool,
    looked: Instant,
    failed: bool,
    room: Room,
}

/// How often to look for degradation.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Metrics {
    fn new(interval: Option<Duration>, tables: Vec<String>) -> Self {
        let now = Instant::now();
        let (before, room) = (Counts::default(), Room::new(tables));
        Self { interval, last: now, before, degraded: false, looked: now, failed: false, room }
    }

    fn tell(&mut self, shared: &Shared, flush: &FlushStatus, doors: impl Fn() -> ListenerCounts, log: Log) {
        let now = Instant::now();
        if now - self.looked >= LOOK_EVERY {
            self.looked = now;
            if let Some(error) = flush.degraded()
                && !self.failed
            {
                self.failed = true;
                log.error(format_args!("the journal is no longer written to disk: {error}"));
            }
            let counts = shared.read();
            let degraded = counts.journal_full != self.before.journal_full;
            if let Some(line) = jump_line(&self.before, &counts) {
                log.warn(line);
            }
            for line in self.room.look(&counts, now) {
                log.warn(line);
            }
            if counts.expiry_frozen < self.before.expiry_frozen {
                log.info("the clock has been steady for `clock_jump_max`: expiry goes on");
            }
            self.before = counts;
            if degraded && !self.degraded {
                log.warn("degraded: the journal ring is full, so no requests are taken; the disk cannot keep up or has failed");
            } else if !degraded && self.degraded {
                log.info("no longer degraded: the journal ring has room again");
            }
            self.degraded = degraded;
        }
        if self.interval.is_some_and(|interval| now - self.last >= interval) {
            self.last = now;
            log.info(metrics_line(&shared.read(), &doors()));
        }
    }
}

/// What to say when time has jumped since the last look, or expiry was found frozen by a jump before this start.
fn jump_line(before: &Counts, counts: &Counts) -> Option<String> {
    let news = counts.clock_jumps > before.clock_jumps || counts.expiry_frozen > before.expiry_frozen;
    let frozen = match counts.expiry_frozen {
        0 => "",
        _ => "; nothing expires until the clock has been steady for as long",
    };
    let jumps = counts.clock_jumps;
    news.then(|| format!("time jumped by more than `clock_jump_max`, {jumps} times since start{frozen}"))
}

/// All counters in one line of `name=value`.
#[must_use]
pub fn metrics_line(counts: &Counts, doors: &ListenerCounts) -> String {
    let mut line = String::from("metrics");
    for (name, value) in counts.iter() {
        let pair =
            if name == "digest" { format!(" {name}={value:016x}") } else { format!(" {name}={value}") };
        line.push_str(&pair);
    }
    let ListenerCounts { accepted, unlocked, went_away, failed, refused } = doors;
    for (name, value) in
        [("accepted", accepted), ("unlocked", unlocked), ("went_away", went_away), ("accept_failed", failed)]
    {
        line.push_str(&format!(" clients_{name}={value}"));
    }
    for (name, value) in Refusal::NAMES.iter().zip(refused) {
        line.push_str(&format!(" clients_refused_{name}={value}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once() {
        let check = |before: (u64, u64), now: (u64, u64), expected: Option<&str>| {
            let counts =
                |(clock_jumps, expiry_frozen)| Counts { clock_jumps, expiry_frozen, ..Counts::default() };
            assert_eq!(jump_line(&counts(before), &counts(now)).as_deref(), expected, "{before:?} {now:?}");
        };
        let frozen = "; nothing expires until the clock has been steady for as long";
        let jumped = |times| format!("time jumped by more than `clock_jump_max`, {times} times since start");
        check((0, 0), (0, 0), None);
        check((0, 0), (1, 1), Some(&format!("{}{frozen}", jumped(1))));
        check((1, 1), (1, 1), None);
        check((1, 1), (3, 1), Some(&format!("{}{frozen}", jumped(3))));
        check((3, 1), (3, 0), None);
        // By the event clock; then a start with a journal that ends soon after a jump.
        check((3, 0), (4, 0), Some(&jumped(4)));
        check((0, 0), (0, 1), Some(&format!("{}{frozen}", jumped(0))));
    }
}
