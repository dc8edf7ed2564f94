//! The client's end: writes requests to C, reads verdicts from S.

use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::layout::{
    C_HEARTBEAT, C_KICK, C_PARKED, C_VERDICT_CURSOR, Geometry, S_DOORBELL, S_HEARTBEAT, S_REQUEST_CURSOR,
    S_STATE, S_VERDICT_BELL, SLOT_HEADER_WORDS, STATE_ACTIVE, STATE_QUARANTINED, SlotState, VERDICT_WORDS,
    Verdict, cursor_is_sane, pack_meta, seq_of, slot_state, slot_word, unpack_meta,
};
use crate::memory::{ReadMap, WriteMap};
use crate::wait::{futex_wait, futex_wake, monotonic_ns};
use crate::watch::socket_hung_up;

/// How long a sleeper goes without asking whether the server is alive.
const LIFE_CHECK_EVERY: Duration = Duration::from_millis(50);

/// Why no more verdicts come. What is in flight is lost to this client; connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// The server has gone away or closed the connection.
    #[error(
        "the server has closed the connection: connect again and decide what the requests in flight are worth"
    )]
    ServerGone,
    /// The server found something impossible in this client's ring.
    #[error(
        "the server has put this client in quarantine: its memory was written wrongly; see the server's log"
    )]
    Quarantined,
    /// The server's cursor or a verdict's number cannot be right.
    #[error("the server's memory holds impossible values: connect again and report the server's version")]
    Corrupt,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The ring is full, or as many requests are in flight as the server has verdict slots.
    #[error("busy: receive verdicts and try again, or give up as your deadline says")]
    Busy,
    /// The payload does not fit in a slot.
    #[error("payload of {found} words in a slot for {max}: use a larger slot size on both ends")]
    TooLong {
        /// Words given.
        found: usize,
        /// Words that fit.
        max: usize,
    },
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What the handshake yields.
pub(crate) struct Parts {
    pub(crate) socket: OwnedFd,
    pub(crate) c: WriteMap,
    pub(crate) s: ReadMap,
    pub(crate) geometry: Geometry,
    pub(crate) first_index: u64,
    pub(crate) client_id: u32,
}

/// A line of its own for a word that one thread writes and another reads.
#[repr(align(128))]
struct Apart(AtomicU64);

/// What both halves share, in private memory but for the two mappings.
struct Link {
    parts: Parts,
    /// Requests sent, from the first index; written by the sender.
    sent: Apart,
    /// Verdicts received, from the first index; written by the receiver.
    received: Apart,
    hung_up: AtomicBool,
}

impl Link {
    /// Whether the server still says it serves. No system call.
    #[inline(always)]
    fn check(&self) -> Result<(), Closed> {
        match self.parts.s.load_half(S_STATE) {
            STATE_ACTIVE if !self.hung_up.load(Ordering::Relaxed) => Ok(()),
            STATE_QUARANTINED => Err(Closed::Quarantined),
            _ => Err(Closed::ServerGone),
        }
    }

    fn is_alive(&self) -> bool {
        if socket_hung_up(&self.parts.socket) {
            self.hung_up.store(true, Ordering::Relaxed);
        }
        self.check().is_ok()
    }

    fn in_flight(&self) -> u64 {
        // Received first: a verdict that comes between the two loads can only make the answer larger.
        let received = self.received.0.load(Ordering::Acquire);
        self.sent.0.load(Ordering::Acquire).wrapping_sub(received)
    }

    fn server_heartbeat_age(&self) -> Option<Duration> {
        let beat = self.parts.s.load(S_HEARTBEAT);
        (beat != 0).then(|| Duration::from_nanos(monotonic_ns().saturating_sub(beat)))
    }
}

/// Both halves in one, for a thread that sends and receives.
pub struct Client {
    sender: Sender,
    receiver: Receiver,
}

/// Sends requests. Owned by one thread at a time.
pub struct Sender {
    link: Arc<Link>,
    /// Private copies of what `link` cannot change, and of what the other side has last been seen to have done.
    geometry: Geometry,
    sent: u64,
    released: u64,
    received: u64,
    _not_sync: PhantomData<Cell<()>>,
}

/// Receives verdicts. Owned by one thread at a time.
pub struct Receiver {
    link: Arc<Link>,
    verdict_capacity: u32,
    received: u64,
    _not_sync: PhantomData<Cell<()>>,
}

impl Client {
    pub(crate) fn new(parts: Parts) -> Client {
        let first = parts.first_index;
        let geometry = parts.geometry;
        let link = Arc::new(Link {
            parts,
            sent: Apart(AtomicU64::new(first)),
            received: Apart(AtomicU64::new(first)),
            hung_up: AtomicBool::new(false),
        });
        let sender = Sender {
            link: Arc::clone(&link),
            geometry,
            sent: first,
            released: first,
            received: first,
            _not_sync: PhantomData,
        };
        let receiver = Receiver {
            link,
            verdict_capacity: geometry.verdict_capacity,
            received: first,
            _not_sync: PhantomData,
        };
        Client { sender, receiver }
    }

    /// Two halves for two threads. The connection closes when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// See [`Sender::send`].
    #[inline]
    pub fn send(
        &mut self,
        kind: u16,
        req_id: u64,
        t_intended: u64,
        payload: &[u64],
    ) -> Result<(), SendError> {
        self.sender.send(kind, req_id, t_intended, payload)
    }

    /// See [`Receiver::recv`].
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Verdict>, Closed> {
        self.receiver.recv()
    }

    /// See [`Receiver::wait`].
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Closed> {
        self.receiver.wait(timeout)
    }

    /// Requests sent whose verdict has not been received.
    pub fn in_flight(&self) -> u64 {
        self.sender.in_flight()
    }

    /// Ring sizes.
    pub fn geometry(&self) -> Geometry {
        self.sender.geometry
    }

    /// The number the server knows this client by.
    pub fn client_id(&self) -> u32 {
        self.sender.link.parts.client_id
    }

    /// Asks the system whether the server is still there. One system call.
    pub fn is_alive(&self) -> bool {
        self.sender.is_alive()
    }

    /// Time since the server last said it was at work. None: it never did.
    pub fn server_heartbeat_age(&self) -> Option<Duration> {
        self.sender.server_heartbeat_age()
    }

    /// Tells the server that this client is at work.
    pub fn heartbeat(&self, now_ns: u64) {
        self.sender.heartbeat(now_ns);
    }

    /// Whether both files are locked in memory; if not, raise the limit on locked memory.
    pub fn locked(&self) -> bool {
        self.sender.link.parts.c.locked() && self.sender.link.parts.s.locked()
    }
}

impl Sender {
    /// Sends one request; the server can see it at once. No system call unless the server sleeps.
    #[inline]
    pub fn send(
        &mut self,
        kind: u16,
        req_id: u64,
        t_intended: u64,
        payload: &[u64],
    ) -> Result<(), SendError> {
        self.send_with_flags(kind, 0, req_id, t_intended, payload)
    }

    /// As [`Sender::send`], with the flags word.
    #[inline]
    pub fn send_with_flags(
        &mut self,
        kind: u16,
        flags: u32,
        req_id: u64,
        t_intended: u64,
        payload: &[u64],
    ) -> Result<(), SendError> {
        let max = self.geometry.request_words();
        if payload.len() > max {
            return Err(SendError::TooLong { found: payload.len(), max });
        }
        self.link.check()?;
        let index = self.sent;
        if index.wrapping_sub(self.received) >= u64::from(self.geometry.verdict_capacity) {
            self.received = self.link.received.0.load(Ordering::Acquire);
            if index.wrapping_sub(self.received) >= u64::from(self.geometry.verdict_capacity) {
                return Err(SendError::Busy);
            }
        }
        if index.wrapping_sub(self.released) >= u64::from(self.geometry.request_capacity) {
            self.read_request_cursor()?;
            if index.wrapping_sub(self.released) >= u64::from(self.geometry.request_capacity) {
                return Err(SendError::Busy);
            }
        }
        let Parts { c, s, .. } = &self.link.parts;
        let slot_words = self.geometry.slot_bytes as usize / 8;
        let slot = c.slot(slot_word(index, self.geometry.request_capacity, slot_words), slot_words);
        slot[1].store(pack_meta(kind, payload.len() as u16, flags), Ordering::Relaxed);
        slot[2].store(req_id, Ordering::Relaxed);
        slot[3].store(t_intended, Ordering::Relaxed);
        for (to, &word) in slot[SLOT_HEADER_WORDS..].iter().zip(payload) {
            to.store(word, Ordering::Relaxed);
        }
        slot[0].store(seq_of(index), Ordering::Release);
        self.sent = index.wrapping_add(1);
        self.link.sent.0.store(self.sent, Ordering::Release);
        // Pairs with the fence in `Parker::park`: either the server's last look finds the request, or we see it sleep.
        fence(Ordering::SeqCst);
        if s.load_half(S_DOORBELL) != 0 {
            self.kick_server();
        }
        Ok(())
    }

    /// Requests sent whose verdict has not been received.
    pub fn in_flight(&self) -> u64 {
        self.link.in_flight()
    }

    /// Ring sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Asks the system whether the server is still there. One system call.
    pub fn is_alive(&self) -> bool {
        self.link.is_alive()
    }

    /// Time since the server last said it was at work. None: it never did.
    pub fn server_heartbeat_age(&self) -> Option<Duration> {
        self.link.server_heartbeat_age()
    }

    /// Tells the server that this client is at work.
    pub fn heartbeat(&self, now_ns: u64) {
        self.link.parts.c.word(C_HEARTBEAT).store(now_ns, Ordering::Relaxed);
    }

    fn read_request_cursor(&mut self) -> Result<(), Closed> {
        let found = self.link.parts.s.load(S_REQUEST_CURSOR);
        fence(Ordering::Acquire);
        if !cursor_is_sane(found, self.released, self.sent) {
            return Err(Closed::Corrupt);
        }
        self.released = found;
        Ok(())
    }

    #[cold]
    fn kick_server(&self) {
        let kick = self.link.parts.c.half(C_KICK);
        kick.fetch_add(1, Ordering::Release);
        futex_wake(kick.as_ptr());
    }
}

impl Receiver {
    /// Takes the next verdict. None: there is none yet. Verdicts already written are still received after the server has
    /// gone; only then comes the error. A server that died without a word is noticed by [`Receiver::wait`] and
    /// [`Receiver::is_alive`], not here: this makes no system call.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Verdict>, Closed> {
        const WORDS: usize = SLOT_HEADER_WORDS + VERDICT_WORDS;
        let index = self.received;
        let capacity = self.verdict_capacity;
        let Parts { c, s, .. } = &self.link.parts;
        let slot = s.slot(slot_word(index, capacity, WORDS), WORDS);
        match slot_state(slot.load(0), index, capacity) {
            SlotState::Ready => {}
            SlotState::Empty => {
                let Err(closed) = self.link.check() else { return Ok(None) };
                fence(Ordering::Acquire);
                // The server may have written its last verdict after our look and before it closed.
                if slot_state(slot.load(0), index, capacity) != SlotState::Ready {
                    return Err(closed);
                }
            }
            SlotState::Wrong => return Err(Closed::Corrupt),
        }
        fence(Ordering::Acquire);
        let (kind, len, flags) = unpack_meta(slot.load(1));
        let mut verdict =
            Verdict { kind, flags, req_id: slot.load(2), t_intended: slot.load(3), payload: [0; 4] };
        slot.copy(SLOT_HEADER_WORDS, &mut verdict.payload);
        if usize::from(len) != VERDICT_WORDS {
            return Err(Closed::Corrupt);
        }
        self.received = index.wrapping_add(1);
        // First the server's cursor, then our own count: whoever sends on the strength of the count publishes the cursor
        // with it, so that the server never finds an honest client without credit.
        c.word(C_VERDICT_CURSOR).store(self.received, Ordering::Release);
        self.link.received.0.store(self.received, Ordering::Release);
        Ok(Some(verdict))
    }

    /// Sleeps until there is a verdict to receive, at most `timeout`. True: receive. False: the time is over. Notices
    /// the server's death within 50 ms.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Closed> {
        let end = Instant::now() + timeout;
        let Parts { c, s, .. } = &self.link.parts;
        loop {
            // The bell is read before announcing: a ring after our last look changes it, and the sleep returns at once.
            let bell = s.load_half(S_VERDICT_BELL);
            c.half(C_PARKED).store(1, Ordering::Relaxed);
            // Pairs with the fence in `Connection::publish`.
            fence(Ordering::SeqCst);
            let left = end.saturating_duration_since(Instant::now());
            let ready = self.ready();
            if !ready && !left.is_zero() && self.link.check().is_ok() {
                futex_wait(s.futex(S_VERDICT_BELL), bell, left.min(LIFE_CHECK_EVERY));
            }
            c.half(C_PARKED).store(0, Ordering::Relaxed);
            if ready || self.ready() {
                return Ok(true);
            }
            if !self.link.is_alive() {
                // One more look: the last verdicts may have come just before the end.
                fence(Ordering::Acquire);
                return if self.ready() { Ok(true) } else { self.link.check().map(|()| false) };
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Requests sent whose verdict has not been received.
    pub fn in_flight(&self) -> u64 {
        self.link.in_flight()
    }

    /// Asks the system whether the server is still there. One system call.
    pub fn is_alive(&self) -> bool {
        self.link.is_alive()
    }

    /// Time since the server last said it was at work. None: it never did.
    pub fn server_heartbeat_age(&self) -> Option<Duration> {
        self.link.server_heartbeat_age()
    }

    /// Whether `recv` would do anything but return None on a live connection.
    fn ready(&self) -> bool {
        let first = slot_word(self.received, self.verdict_capacity, SLOT_HEADER_WORDS + VERDICT_WORDS);
        let seq = self.link.parts.s.slot(first, 1).load(0);
        slot_state(seq, self.received, self.verdict_capacity) != SlotState::Empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ROLE_C, VERDICT_SLOT_BYTES};
    use crate::memory;
    use std::os::unix::net::UnixStream;

    const GEOMETRY: Geometry = Geometry { slot_bytes: 128, request_capacity: 4, verdict_capacity: 8 };

    /// A client of a server that does with S as the test likes.
    fn client_and_server() -> (UnixStream, WriteMap, Client) {
        let c = memory::create(c"test", GEOMETRY.c_bytes()).unwrap();
        let s = memory::create(c"test", GEOMETRY.s_bytes()).unwrap();
        let server = WriteMap::new(&s, GEOMETRY.s_bytes()).unwrap();
        server.format(&[ROLE_C.into()], 0, GEOMETRY.verdict_capacity, VERDICT_SLOT_BYTES as usize / 8);
        server.half(S_STATE).store(STATE_ACTIVE, Ordering::Relaxed);
        let (here, there) = UnixStream::pair().unwrap();
        let parts = Parts {
            socket: here.into(),
            c: WriteMap::new(&c, GEOMETRY.c_bytes()).unwrap(),
            s: ReadMap::new(&s, GEOMETRY.s_bytes()).unwrap(),
            geometry: GEOMETRY,
            first_index: 0,
            client_id: 1,
        };
        (there, server, Client::new(parts))
    }

    #[test]
    fn a_request_cursor_past_what_was_sent_is_an_error() {
        let (_socket, server, mut client) = client_and_server();
        for n in 0..4 {
            client.send(1, n, 0, &[]).unwrap();
        }
        assert_eq!(client.send(1, 4, 0, &[]), Err(SendError::Busy));
        for found in [5, u64::MAX] {
            server.word(S_REQUEST_CURSOR).store(found, Ordering::Release);
            assert_eq!(client.send(1, 4, 0, &[]), Err(SendError::Closed(Closed::Corrupt)));
        }
        server.word(S_REQUEST_CURSOR).store(1, Ordering::Release);
        client.send(1, 4, 0, &[]).unwrap();
    }

    #[test]
    fn a_verdict_out_of_turn_or_of_another_length_is_an_error() {
        for (seq, len) in [(0, 4), (2, 4), (u64::MAX, 4), (1, 3), (1, 5)] {
            let (_socket, server, mut client) = client_and_server();
            assert_eq!(client.recv(), Ok(None));
            let slot = server.slot(slot_word(0, GEOMETRY.verdict_capacity, 8), 8);
            slot[1].store(pack_meta(1, len, 0), Ordering::Relaxed);
            slot[0].store(seq, Ordering::Release);
            assert_eq!(client.wait(Duration::ZERO), Ok(true));
            assert_eq!(client.recv(), Err(Closed::Corrupt));
        }
    }

    #[test]
    fn a_quarantine_and_a_hang_up_end_the_connection() {
        let (_socket, server, mut client) = client_and_server();
        server.half(S_STATE).store(STATE_QUARANTINED, Ordering::Release);
        assert_eq!(client.recv(), Err(Closed::Quarantined));
        assert_eq!(client.send(1, 1, 0, &[]), Err(SendError::Closed(Closed::Quarantined)));

        let (socket, _server, mut client) = client_and_server();
        drop(socket);
        assert_eq!(client.recv(), Ok(None), "no system call, so it cannot know yet");
        assert_eq!(client.wait(Duration::from_secs(60)), Err(Closed::ServerGone));
        assert_eq!(client.recv(), Err(Closed::ServerGone));
    }
}
