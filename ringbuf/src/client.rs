//! The client's end: writes requests to C, reads verdicts from S.

use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crate::ends::{Link, ReceiveEnd, SendEnd, client_ends};
use crate::error::{Closed, SendError};
use crate::file::ReadFile;
use crate::layout::{C_HEARTBEAT, Geometry, S_HEARTBEAT, Verdict};
use crate::memory::{ReadMap, WriteMap};
use crate::wait::monotonic_ns;
use crate::watch::socket_hung_up;

/// How long a sleeper goes without asking whether the server is alive.
const LIFE_CHECK_EVERY: Duration = Duration::from_millis(50);

/// What the handshake yields.
pub(crate) struct Parts {
    pub(crate) socket: OwnedFd,
    pub(crate) c: WriteMap,
    pub(crate) s: ReadMap,
    pub(crate) geometry: Geometry,
    pub(crate) first_index: u64,
    pub(crate) client_id: u32,
}

/// What both halves know of the connection besides its rings.
struct Shared {
    socket: OwnedFd,
    client_id: u32,
}

impl Shared {
    /// Asks the system, and remembers a hang-up.
    fn is_alive(&self, link: &Link<WriteMap, ReadMap>) -> bool {
        if socket_hung_up(&self.socket) {
            link.hung_up.store(true, Ordering::Relaxed);
        }
        link.check().is_ok()
    }
}

fn server_heartbeat_age(link: &Link<WriteMap, ReadMap>) -> Option<Duration> {
    let beat = link.s.load(S_HEARTBEAT);
    (beat != 0).then(|| Duration::from_nanos(monotonic_ns().saturating_sub(beat)))
}

/// Both halves in one, for a thread that sends and receives.
pub struct Client {
    sender: Sender,
    receiver: Receiver,
}

/// Sends requests. Owned by one thread at a time.
pub struct Sender {
    end: SendEnd<WriteMap, ReadMap>,
    shared: Arc<Shared>,
    _not_sync: PhantomData<Cell<()>>,
}

/// Receives verdicts. Owned by one thread at a time.
pub struct Receiver {
    end: ReceiveEnd<WriteMap, ReadMap>,
    shared: Arc<Shared>,
    _not_sync: PhantomData<Cell<()>>,
}

impl Client {
    pub(crate) fn new(parts: Parts) -> Client {
        let Parts { socket, c, s, geometry, first_index, client_id } = parts;
        let shared = Arc::new(Shared { socket, client_id });
        let (sender, receiver) = client_ends(c, s, geometry, first_index);
        Client {
            sender: Sender { end: sender, shared: Arc::clone(&shared), _not_sync: PhantomData },
            receiver: Receiver { end: receiver, shared, _not_sync: PhantomData },
        }
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
        self.sender.end.geometry
    }

    /// The number the server knows this client by.
    pub fn client_id(&self) -> u32 {
        self.sender.shared.client_id
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
        self.sender.end.link.c.locked() && self.sender.end.link.s.locked()
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
        self.end.send(kind, flags, req_id, t_intended, payload)
    }

    /// Requests sent whose verdict has not been received.
    pub fn in_flight(&self) -> u64 {
        self.end.link.in_flight()
    }

    /// Ring sizes.
    pub fn geometry(&self) -> Geometry {
        self.end.geometry
    }

    /// Asks the system whether the server is still there. One system call.
    pub fn is_alive(&self) -> bool {
        self.shared.is_alive(&self.end.link)
    }

    /// Time since the server last said it was at work. None: it never did.
    pub fn server_heartbeat_age(&self) -> Option<Duration> {
        server_heartbeat_age(&self.end.link)
    }

    /// Tells the server that this client is at work.
    pub fn heartbeat(&self, now_ns: u64) {
        self.end.link.c.word(C_HEARTBEAT).store(now_ns, Ordering::Relaxed);
    }
}

impl Receiver {
    /// Takes the next verdict. None: there is none yet. Verdicts already written are still received after the server has
    /// gone; only then comes the error. A server that died without a word is noticed by [`Receiver::wait`] and
    /// [`Receiver::is_alive`], not here: this makes no system call.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Verdict>, Closed> {
        self.end.recv()
    }

    /// Sleeps until there is a verdict to receive, at most `timeout`. True: receive. False: the time is over. Notices
    /// the server's death within 50 ms.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Closed> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.end.doze(left.min(LIFE_CHECK_EVERY)) {
                return Ok(true);
            }
            if !self.is_alive() {
                // One more look: the last verdicts may have come just before the end.
                fence(Ordering::Acquire);
                return if self.end.ready() { Ok(true) } else { self.end.link.check().map(|()| false) };
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Requests sent whose verdict has not been received.
    pub fn in_flight(&self) -> u64 {
        self.end.link.in_flight()
    }

    /// Asks the system whether the server is still there. One system call.
    pub fn is_alive(&self) -> bool {
        self.shared.is_alive(&self.end.link)
    }

    /// Time since the server last said it was at work. None: it never did.
    pub fn server_heartbeat_age(&self) -> Option<Duration> {
        server_heartbeat_age(&self.end.link)
    }
}

// The atomics of the model checkers work inside models only.
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::file::{WriteFile, WriteSlot};
    use crate::layout::{
        ROLE_C, S_REQUEST_CURSOR, S_STATE, STATE_ACTIVE, STATE_QUARANTINED, VERDICT_SLOT_BYTES, pack_meta,
        slot_word,
    };
    use crate::memory;
    use std::os::unix::net::UnixStream;

    const GEOMETRY: Geometry = Geometry { slot_bytes: 128, request_capacity: 4, verdict_capacity: 8 };

    /// A client of a server that does with S as the test likes.
    fn client_and_server() -> (UnixStream, WriteMap, Client) {
        let c = memory::create(c"test", GEOMETRY.c_bytes()).unwrap();
        let s = memory::create(c"test", GEOMETRY.s_bytes()).unwrap();
        let server = WriteMap::new(&s, GEOMETRY.s_bytes()).unwrap();
        server.format(&[ROLE_C.into()], 0, GEOMETRY.verdict_capacity, VERDICT_SLOT_BYTES as usize / 8);
        server.word(S_STATE).store(STATE_ACTIVE, Ordering::Relaxed);
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
            slot.set(1, pack_meta(1, len, 0));
            slot.publish(seq, Ordering::Release);
            assert_eq!(client.wait(Duration::ZERO), Ok(true));
            assert_eq!(client.recv(), Err(Closed::Corrupt));
        }
    }

    #[test]
    fn a_quarantine_and_a_hang_up_end_the_connection() {
        let (_socket, server, mut client) = client_and_server();
        server.word(S_STATE).store(STATE_QUARANTINED, Ordering::Release);
        assert_eq!(client.recv(), Err(Closed::Quarantined));
        assert_eq!(client.send(1, 1, 0, &[]), Err(SendError::Closed(Closed::Quarantined)));

        let (socket, _server, mut client) = client_and_server();
        drop(socket);
        assert_eq!(client.recv(), Ok(None), "no system call, so it cannot know yet");
        assert_eq!(client.wait(Duration::from_secs(60)), Err(Closed::ServerGone));
        assert_eq!(client.recv(), Err(Closed::ServerGone));
    }
}
