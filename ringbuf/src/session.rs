//! A client that always has an answer in time: deadline, declared fallback, reconnection and resubmission.
//!
//! # What is promised
//!
//! Each accepted [`Session::submit`] gets exactly one [`Answer`] from [`Session::poll`]: the server's verdict, or, when
//! that does not come in time, the verdict that was declared for silence. Answers come in any order. This holds over the
//! server's death and return, and with no server at all.
//!
//! # When the server is silent
//!
//! A request's deadline counts from its intended send time. When the connection is lost, a request waits for the
//! `outage_grace` at most, counted from the loss: a restart that is quicker than that is not noticed by anyone, and in a
//! longer outage every request gets the fallback at the next poll. A request that got the fallback is kept all the same,
//! and sent, again if need be, once there is a connection, so that the server's state learns of the event; the verdict it
//! then gives is dropped ([`SessionCounts::late`]). When there is no room for more of these, the one that was settled
//! first is forgotten.
//!
//! # What the server must do
//!
//! A server that died between taking a request and answering it gets the same request again after its restart. It must
//! know duplicates by something in the payload, and answer with the verdict it gave or would have given. The request id on
//! the wire is of no use for that: it is the session's own running number, its *ticket*.
//!
//! # What it costs
//!
//! No call blocks but [`Session::wait`], and nothing is allocated after [`Session::open`] except while reconnecting. The
//! clock is read by the caller. There is one system call each `life_check_every`, to learn of a server that died without
//! a word. A request is copied twice, once into the session's table and once into the ring.

mod table;
mod terms;

use std::time::Duration;

use crate::client::{Receiver, Sender};
use crate::connect::{ConnectError, Connecting};
use crate::error::{Closed, SendError};
use crate::layout::{Geometry, Verdict};
use table::{Submission, Table};
pub use terms::{
    Answer, Fallback, SessionCounts, SessionError, SessionOptions, Silence, Source, SubmitError,
};

/// How long [`Session::wait`] sleeps when requests wait for room in the ring, which nothing tells of.
const ROOM_PAUSE_NS: u64 = 1_000_000;

/// A client with a deadline, a fallback, and as many connections as it takes. Owned by one thread at a time.
///
/// ```no_run
/// use std::time::Duration;
/// use tollgate_ring::{ClientOptions, Fallback, Session, SessionOptions, Source, SubmitError, monotonic_ns};
///
/// fn decide(payments: &[[u64; 12]]) -> Result<(), Box<dyn std::error::Error>> {
///     let client = ClientOptions {
///         schema_hash: [0; 32],
///         slot_bytes: 128,
///         name: "switch".into(),
///         timeout: Duration::from_secs(1),
///         durable: false,
///     };
///     let fallback = Fallback::FailOpen { payload: [0; 4] };
///     let options =
///         SessionOptions::new("/run/server.sock".into(), client, Duration::from_millis(5), fallback);
///     let mut session = Session::open(options, monotonic_ns())?;
///     let (mut sent, mut answered) = (0, 0);
///     while answered < payments.len() {
///         let now_ns = monotonic_ns();
///         if sent < payments.len() {
///             match session.submit(1, 0, sent as u64, now_ns, &payments[sent], now_ns) {
///                 Ok(()) => sent += 1,
///                 Err(SubmitError::Busy) => {}
///                 Err(error) => return Err(error.into()),
///             }
///         }
///         match session.poll(now_ns) {
///             Some(answer) => {
///                 answered += 1;
///                 if answer.source != Source::Server {
///                     eprintln!("payment {} was let pass: {:?}", answer.req_id, answer.source);
///                 }
///             }
///             None if sent == payments.len() => session.wait(Duration::from_millis(50), now_ns),
///             None => {}
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Session {
    options: SessionOptions,
    deadline_ns: u64,
    payload_words_max: usize,
    table: Table,
    line: Line,
    /// When the connection was lost, or the session opened. Means nothing while connected.
    lost_ns: u64,
    next_attempt_ns: u64,
    next_life_check_ns: u64,
    counts: SessionCounts,
    last_error: Option<ConnectError>,
    last_closed: Option<Closed>,
}

/// The way to the server.
enum Line {
    Up(Up),
    Calling(Box<Connecting>),
    Down,
}

struct Up {
    sender: Sender,
    receiver: Receiver,
    /// The sender or the life check found the end; verdicts already written are still to be received.
    ended: Option<Closed>,
}

impl Session {
    /// Calls the server, and succeeds whether or not one listens: the session connects when it can. An error says which
    /// option is impossible.
    pub fn open(options: SessionOptions, now_ns: u64) -> Result<Session, SessionError> {
        options.validate()?;
        let slot_bytes = options.client.slot_bytes;
        let words = Geometry { slot_bytes, request_capacity: 2, verdict_capacity: 2 }.request_words();
        let mut session = Session {
            deadline_ns: nanoseconds(options.deadline),
            payload_words_max: words,
            table: Table::new(options.in_flight_max, words),
            line: Line::Down,
            lost_ns: now_ns,
            next_attempt_ns: now_ns,
            next_life_check_ns: now_ns,
            counts: SessionCounts::default(),
            last_error: None,
            last_closed: None,
            options,
        };
        session.reconnect(now_ns);
        Ok(session)
    }

    /// Takes a request in, and sends it if there is a connection with room; otherwise a later call sends it, in order.
    /// `t_intended` of 0 means `now_ns`.
    #[inline]
    pub fn submit(
        &mut self,
        kind: u16,
        flags: u32,
        req_id: u64,
        t_intended: u64,
        payload: &[u64],
        now_ns: u64,
    ) -> Result<(), SubmitError> {
        if payload.len() > self.payload_words_max {
            return Err(SubmitError::TooLong { found: payload.len(), max: self.payload_words_max });
        }
        if self.table.is_full_of_open() {
            self.counts.busy += 1;
            return Err(SubmitError::Busy);
        }
        let t_intended = if t_intended == 0 { now_ns } else { t_intended };
        let due_ns = t_intended.saturating_add(self.deadline_ns);
        let forgets = self.table.add(&Submission { kind, flags, req_id, t_intended, due_ns }, payload);
        self.counts.forgotten += u64::from(forgets);
        self.counts.submitted += 1;
        self.send_unsent();
        Ok(())
    }

    /// The next answer: verdicts first, then what is due. None: nothing yet. Call it in a loop, and often: it also connects,
    /// sends what waits, and notices the end of a connection.
    #[inline]
    pub fn poll(&mut self, now_ns: u64) -> Option<Answer> {
        if !self.is_connected() {
            self.reconnect(now_ns);
        }
        let answer = self.take_verdict(now_ns);
        self.send_unsent();
        answer.or_else(|| self.take_silence(now_ns))
    }

    /// Sleeps until there may be something to poll for, at most `timeout`: a verdict, a request that is due, a step of
    /// connecting. It may return early. `now_ns` is the time of the call.
    pub fn wait(&mut self, timeout: Duration, now_ns: u64) {
        let mut until_ns = now_ns.saturating_add(nanoseconds(timeout));
        until_ns = until_ns.min(self.next_due_ns().unwrap_or(u64::MAX));
        let mut earlier = |ns: u64| until_ns = until_ns.min(ns);
        match &mut self.line {
            Line::Up(Up { ended: Some(_), .. }) => {}
            Line::Up(up) => {
                if self.table.open_count() > 0 {
                    earlier(self.next_life_check_ns);
                }
                if self.table.next_unsent().is_some() {
                    earlier(now_ns.saturating_add(ROOM_PAUSE_NS));
                }
                // What it found, the next poll finds too.
                let _ = up.receiver.wait(Duration::from_nanos(until_ns.saturating_sub(now_ns)));
            }
            Line::Calling(connecting) => {
                // The system rounds this sleep up to a millisecond; what is due sooner must not wait for that.
                let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                match left.as_millis() {
                    0 => std::thread::sleep(left),
                    ms => connecting.wait(Duration::from_millis(ms as u64)),
                }
            }
            Line::Down => {
                earlier(self.next_attempt_ns);
                std::thread::sleep(Duration::from_nanos(until_ns.saturating_sub(now_ns)));
            }
        }
    }

    /// When the next fallback is due if nothing is heard. None: nothing is in flight.
    pub fn next_due_ns(&self) -> Option<u64> {
        let place = self.table.first_due()?;
        Some(self.table.entry(place).due_ns.min(self.outage_due_ns()))
    }

    /// Whether there is a connection, as far as is known without asking the system.
    #[inline]
    pub fn is_connected(&self) -> bool {
        matches!(self.line, Line::Up(_))
    }

    /// Requests submitted that have no answer yet.
    pub fn in_flight(&self) -> u32 {
        self.table.open_count()
    }

    /// Requests that the server has not answered, those settled by fallback included. At zero the server has heard of
    /// everything, but for what [`SessionCounts::forgotten`] counts.
    pub fn unheard(&self) -> u32 {
        self.table.live_count()
    }

    /// What has happened so far.
    pub fn counts(&self) -> SessionCounts {
        self.counts
    }

    /// Why the last attempt to connect that has ended failed. None: it succeeded, or there was none.
    pub fn last_error(&self) -> Option<&ConnectError> {
        self.last_error.as_ref()
    }

    /// Why the last connection ended. None: none has.
    pub fn last_closed(&self) -> Option<Closed> {
        self.last_closed
    }

    fn take_verdict(&mut self, now_ns: u64) -> Option<Answer> {
        let Line::Up(up) = &mut self.line else { return None };
        if now_ns >= self.next_life_check_ns {
            self.next_life_check_ns = now_ns.saturating_add(nanoseconds(self.options.life_check_every));
            up.sender.heartbeat(now_ns);
            if !up.sender.is_alive() && up.ended.is_none() {
                up.ended = Some(Closed::ServerGone);
            }
        }
        // A bound, because a server could produce verdicts to be dropped as fast as they are; an honest one has no more
        // than this in the ring.
        for _ in 0..up.sender.geometry().verdict_capacity {
            let closed = match (up.receiver.recv(), up.ended) {
                (Ok(Some(verdict)), _) => match judge(&mut self.table, &mut self.counts, &verdict) {
                    Some(answer) => return Some(answer),
                    None => continue,
                },
                (Ok(None), None) => return None,
                (Ok(None), Some(closed)) | (Err(closed), _) => closed,
            };
            self.hang_up(closed, now_ns);
            return None;
        }
        None
    }

    fn take_silence(&mut self, now_ns: u64) -> Option<Answer> {
        let place = self.table.first_due()?;
        let entry = *self.table.entry(place);
        let outage_ns = self.outage_due_ns();
        // What came first is the reason. All that is in flight is due no earlier than this one.
        let silence = if entry.due_ns <= outage_ns { Silence::Deadline } else { Silence::Outage };
        if now_ns < entry.due_ns.min(outage_ns) {
            return None;
        }
        self.table.settle(place);
        match silence {
            Silence::Deadline => self.counts.fallback_deadline += 1,
            Silence::Outage => self.counts.fallback_outage += 1,
        }
        let (payload, source) = match self.options.fallback {
            Fallback::FailOpen { payload } => (payload, Source::FailOpen(silence)),
            Fallback::FailClosed { payload } => (payload, Source::FailClosed(silence)),
        };
        let table::Entry { kind, req_id, t_intended, .. } = entry;
        Some(Answer { kind, req_id, t_intended, payload, flags: 0, source })
    }

    /// When the grace of the present outage is over.
    fn outage_due_ns(&self) -> u64 {
        if self.is_connected() {
            return u64::MAX;
        }
        self.lost_ns.saturating_add(nanoseconds(self.options.outage_grace))
    }

    /// Sends all that the present connection has not carried, in order, as long as there is room.
    #[inline]
    fn send_unsent(&mut self) {
        let Line::Up(up @ Up { ended: None, .. }) = &mut self.line else { return };
        while let Some((entry, payload)) = self.table.next_unsent() {
            let table::Entry { kind, flags, ticket, t_intended, .. } = *entry;
            match up.sender.send_with_flags(kind, flags, ticket, t_intended, payload) {
                Ok(()) => self.counts.resubmitted += u64::from(self.table.mark_sent()),
                Err(SendError::Closed(closed)) => {
                    up.ended = Some(closed);
                    return;
                }
                // Too long it cannot be: the handshake agreed on the slot size that was checked against.
                Err(SendError::Busy | SendError::TooLong { .. }) => return,
            }
        }
    }

    #[cold]
    fn hang_up(&mut self, closed: Closed, now_ns: u64) {
        self.line = Line::Down;
        self.lost_ns = now_ns;
        self.last_closed = Some(closed);
        self.counts.disconnects += 1;
        self.table.rewind();
    }

    /// Begins an attempt if it is time for one, and advances it.
    #[cold]
    fn reconnect(&mut self, now_ns: u64) {
        if let Line::Down = self.line {
            if now_ns < self.next_attempt_ns {
                return;
            }
            // Counted from the beginning of one attempt to that of the next, however this one and the connection that may
            // come of it end.
            self.next_attempt_ns = now_ns.saturating_add(nanoseconds(self.options.reconnect_every));
            match Connecting::begin_at(&self.options.path, self.options.client.clone(), now_ns) {
                Ok(connecting) => self.line = Line::Calling(Box::new(connecting)),
                Err(error) => self.last_error = Some(error),
            }
        }
        let Line::Calling(connecting) = &mut self.line else { return };
        match connecting.advance_at(now_ns) {
            Ok(None) => {}
            Ok(Some(client)) => {
                let (sender, receiver) = client.split();
                self.line = Line::Up(Up { sender, receiver, ended: None });
                self.last_error = None;
                self.next_life_check_ns = now_ns;
                self.counts.connects += 1;
            }
            Err(error) => {
                self.line = Line::Down;
                self.last_error = Some(error);
            }
        }
    }
}

/// What a verdict means to the table. None: nobody waits for it.
#[inline]
fn judge(table: &mut Table, counts: &mut SessionCounts, verdict: &Verdict) -> Option<Answer> {
    let Some(place) = table.find(verdict.req_id) else {
        counts.strange += 1;
        return None;
    };
    let table::Entry { req_id, t_intended, .. } = *table.entry(place);
    if !table.remove(place) {
        counts.late += 1;
        return None;
    }
    counts.answered += 1;
    let &Verdict { kind, flags, payload, .. } = verdict;
    Some(Answer { kind, req_id, t_intended, payload, flags, source: Source::Server })
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().min(u64::MAX.into()) as u64
}

// The atomics of the model checkers work inside models only.
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::connect::ClientOptions;
    use crate::listener::{Listener, ServerOptions};

    /// However a connection ends, the session says how, and begins again at its pace.
    #[test]
    fn every_ending_is_told_and_paced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring");
        let server = ServerOptions {
            geometry: Geometry { slot_bytes: 128, request_capacity: 8, verdict_capacity: 8 },
            schema_hash: [7; 32],
            allowed_uids: Vec::new(),
            clients_max: 8,
            handshake_timeout: Duration::from_secs(60),
            durable: false,
        };
        let listener = Listener::bind(&path, server).unwrap();
        let client = ClientOptions {
            schema_hash: [7; 32],
            slot_bytes: 128,
            name: "test".into(),
            timeout: Duration::from_secs(60),
            durable: false,
        };
        let fallback = Fallback::FailOpen { payload: [0; 4] };
        let options = SessionOptions::new(path, client, Duration::from_secs(60), fallback);
        let every = nanoseconds(options.reconnect_every);
        let mut now = 0;
        let mut session = Session::open(options, now).unwrap();
        session.submit(1, 0, 1, 0, &[], now).unwrap();
        let mut connections = Vec::new();
        for (n, closed) in [Closed::ServerGone, Closed::Quarantined, Closed::Corrupt].into_iter().enumerate()
        {
            let began = now;
            while !session.is_connected() {
                connections.extend(listener.accept_within(Duration::ZERO).unwrap());
                assert_eq!(session.poll(now), None);
                now += 1;
            }
            assert_eq!((session.counts().connects, session.counts().resubmitted), (n as u64 + 1, n as u64));
            // What the sender finds; the receiver of this live connection would never say so.
            let Line::Up(up) = &mut session.line else { unreachable!("connected") };
            up.ended = Some(closed);
            assert_eq!(session.poll(now), None);
            assert_eq!((session.is_connected(), session.last_closed()), (false, Some(closed)));
            while now < began + every {
                assert_eq!(session.poll(now), None);
                assert!(matches!(session.line, Line::Down), "too soon");
                now += every / 16;
            }
            now = began + every;
        }
        assert_eq!(connections.len(), 3);
    }
}
