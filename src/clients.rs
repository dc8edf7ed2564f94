//! The engine thread's clients: whose turn it is, what each may still send, and how one leaves.
//!
//! Connections arrive through one bounded channel and leave through another, both shared with the control thread, which
//! does everything that takes time: shaking hands, unmapping, logging. Nothing here allocates after `new`.

use crossbeam::channel::{Receiver, Sender};
use tollgate_ring::{Connection, Parked, Parker, Quarantine, ReplyError, Request, Verdict};

use crate::config::RateLimit;

/// A client that is no longer served.
pub struct Departure {
    /// Its connection, to be dropped by a thread that has time.
    pub connection: Connection,
    /// Why.
    pub reason: Leaving,
}

/// Why a client is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Leaving {
    /// Its process or its socket is gone, and all that it sent has been taken.
    #[error("it went away")]
    HungUp,
    /// It did what no honest client does.
    #[error("quarantined: {0}")]
    Quarantined(Quarantine),
    /// A verdict could not be given to it.
    #[error("a verdict could not be written: {0}")]
    Unanswerable(ReplyError),
    /// The appliance is stopping.
    #[error("the appliance is stopping")]
    Stopping,
}

/// Whole tokens are kept in billionths, so that a rate per second refills exactly per nanosecond.
const TOKEN: u64 = 1_000_000_000;

/// A token bucket in integers: `rate` tokens a second, at most `burst` in hand.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: u64,
    full: u64,
    billionths: u64,
    filled_ns: u64,
}

impl Bucket {
    /// Full, as of `now_ns`.
    #[must_use]
    pub fn new(limit: RateLimit, now_ns: u64) -> Self {
        let full = u64::from(limit.burst) * TOKEN;
        Self { rate: limit.rate_max.into(), full, billionths: full, filled_ns: now_ns }
    }

    /// Takes one token; false when there is none. Without a rate there is no limit.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        let elapsed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        self.billionths = self.billionths.saturating_add(elapsed.saturating_mul(self.rate)).min(self.full);
        let allowed = self.billionths >= TOKEN;
        self.billionths -= if allowed { TOKEN } else { 0 };
        allowed
    }
}

/// One connected client.
pub(crate) struct Client {
    connection: Connection,
    /// Whose event ids these are: the user, so that a duplicate is recognised over reconnections and restarts.
    pub(crate) principal: u32,
    pub(crate) bucket: Bucket,
    /// Frames that may still be taken: all there can be, until the end is near.
    left: u64,
    leaving: Option<Leaving>,
}

impl Client {
    /// Takes the next request, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, request: &mut Request) -> bool {
        if self.leaving.is_some() || self.left == 0 {
            return false;
        }
        // Before the poll: once the peer is known to be gone, an empty ring stays empty.
        let gone = self.connection.hung_up();
        match self.connection.poll(request) {
            Ok(true) => {
                self.left -= 1;
                true
            }
            Ok(false) => {
                self.leaving = gone.then_some(Leaving::HungUp);
                false
            }
            Err(quarantine) => {
                self.leaving = Some(Leaving::Quarantined(quarantine));
                false
            }
        }
    }

    /// Writes one verdict; a client that cannot be answered leaves. A client that waits for durable verdicts sees it when
    /// decision `seq` is on disk.
    #[inline]
    pub(crate) fn reply(&mut self, verdict: &Verdict, seq: u64) -> bool {
        match self.connection.reply_when(verdict, seq) {
            Ok(()) => true,
            Err(error) => {
                let reason = match error {
                    ReplyError::Quarantined(quarantine) => Leaving::Quarantined(quarantine),
                    error => Leaving::Unanswerable(error),
                };
                self.leaving.get_or_insert(reason);
                false
            }
        }
    }
}

/// What [`Clients::end_round`] found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// Verdicts that still wait for the disk.
    pub(crate) held: u64,
    /// Clients that left.
    pub(crate) departed: u64,
    /// Quarantined for a sequence number, a length, a verdict cursor.
    pub(crate) sequence: u64,
    pub(crate) length: u64,
    pub(crate) cursor: u64,
}

/// All connected clients, in turn.
pub(crate) struct Clients {
    clients: Vec<Client>,
    turn: usize,
    limit: RateLimit,
    arrivals: Receiver<Connection>,
    departures: Sender<Departure>,
    parker: Parker,
}

impl Clients {
    pub(crate) fn new(
        clients_max: u32,
        limit: RateLimit,
        arrivals: Receiver<Connection>,
        departures: Sender<Departure>,
        parker: Parker,
    ) -> Self {
        let clients = Vec::with_capacity(clients_max as usize);
        Self { clients, turn: 0, limit, arrivals, departures, parker }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Takes in who has arrived, up to the room reserved.
    #[inline]
    pub(crate) fn welcome(&mut self, now_ns: u64) {
        while self.clients.len() < self.clients.capacity()
            && let Ok(connection) = self.arrivals.try_recv()
        {
            let principal = connection.principal().uid;
            let bucket = Bucket::new(self.limit, now_ns);
            self.clients.push(Client { connection, principal, bucket, left: u64::MAX, leaving: None });
        }
    }

    /// The client whose turn it is, and its place. There must be one.
    #[inline]
    pub(crate) fn next(&mut self) -> (usize, &mut Client) {
        self.turn = if self.turn + 1 < self.clients.len() { self.turn + 1 } else { 0 };
        (self.turn, &mut self.clients[self.turn])
    }

    /// The client at this place. Places hold until [`end_round`](Self::end_round).
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> &mut Client {
        &mut self.clients[place]
    }

    pub(crate) fn heartbeat(&self, now_ns: u64) {
        for client in &self.clients {
            client.connection.heartbeat(now_ns);
        }
    }

    /// From now on takes no more from each client than its ring can hold already.
    pub(crate) fn drain(&mut self) {
        for client in &mut self.clients {
            client.left = client.left.min(client.connection.geometry().request_capacity.into());
        }
    }

    /// At the end of a round: lets each client see what waited for decisions up to `durable_seq`, gives request slots back,
    /// wakes who sleeps, and hands those that leave to the control thread. Places change.
    #[inline]
    pub(crate) fn end_round(&mut self, durable_seq: u64) -> Round {
        let mut round = Round::default();
        let mut place = 0;
        while let Some(client) = self.clients.get_mut(place) {
            client.connection.release_verdicts(durable_seq);
            client.connection.publish();
            if let Some(reason) = client.leaving {
                self.dismiss(place, reason, &mut round);
            } else {
                round.held += client.connection.held();
                place += 1;
            }
        }
        round
    }

    #[cold]
    fn dismiss(&mut self, place: usize, reason: Leaving, round: &mut Round) {
        let mut connection = self.clients.swap_remove(place).connection;
        // Whoever comes next need not wait for the control thread.
        connection.give_place_back();
        round.departed += 1;
        if let Leaving::Quarantined(quarantine) = reason {
            match quarantine {
                Quarantine::Sequence { .. } => round.sequence += 1,
                Quarantine::Length { .. } => round.length += 1,
                Quarantine::VerdictCursor { .. } => round.cursor += 1,
            }
        }
        // When the control thread is behind, the connection is dropped here: slower, and never lost.
        drop(self.departures.try_send(Departure { connection, reason }));
    }

    /// Dismisses everyone.
    pub(crate) fn close(&mut self) -> Round {
        for client in &mut self.clients {
            client.leaving.get_or_insert(Leaving::Stopping);
        }
        self.end_round(0)
    }

    /// Sleeps until a client has something, the control thread rings or the time is over.
    pub(crate) fn park(&mut self, timeout: std::time::Duration) -> Parked {
        self.parker.park(self.clients.iter().map(|client| &client.connection), timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(RateLimit { rate_max: 10, burst: 3 }, 1_000);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 1_000), 3);
        assert_eq!(taken(&mut bucket, 100_000_999), 0);
        assert_eq!(taken(&mut bucket, 100_001_000), 1);
        assert_eq!(taken(&mut bucket, 5), 0, "a clock that goes back gives nothing");
        assert_eq!(taken(&mut bucket, u64::MAX), 3, "and no pause gives more than the burst");
        assert_eq!(taken(&mut Bucket::new(RateLimit { rate_max: 0, burst: 1 }, 0), 0), 100);
    }

    #[test]
    fn a_bucket_loses_no_fraction() {
        let mut bucket = Bucket::new(RateLimit { rate_max: 3, burst: 2 }, 0);
        assert!(bucket.take(0) && bucket.take(0));
        let taken = (1..=10_000).filter(|ms| bucket.take(ms * 1_000_000)).count();
        assert_eq!(taken, 30);
    }
}
