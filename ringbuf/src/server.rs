//! The server's end of one connection: reads requests from C, writes verdicts to S.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::ends::ServerEnd;
use crate::error::{Quarantine, ReplyError};
use crate::file::ReadFile;
use crate::layout::{
    C_HEARTBEAT, FEATURE_DURABLE, Geometry, Header, Request, S_HEARTBEAT, STATE_CLOSED, Verdict,
};
use crate::listener::Place;
use crate::memory::{HUGE_PAGE_BYTES, ReadMap, WriteMap};
use crate::watch::{Life, Lifeline};

/// Who is at the other end, as the kernel told it when the client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: i32,
    /// The client's number, never given twice by one [`crate::Listener`].
    pub client_id: u32,
}

/// One client, as its server sees it. Owned by one thread. [`Connection::poll`], [`Connection::reply`] and
/// [`Connection::publish`] allocate nothing and make no system call, but for one wake per `publish` when the client
/// sleeps. Dropping unmaps memory and closes descriptors: on a data path, hand it to a cold thread to drop.
pub struct Connection {
    pub(crate) end: ServerEnd<ReadMap, WriteMap>,
    durable: bool,
    principal: Principal,
    name: String,
    life: Arc<Life>,
    /// Of those the listener has to give.
    place: Option<Place>,
}

impl Connection {
    pub(crate) fn new(
        header: &Header,
        c: ReadMap,
        s: WriteMap,
        principal: Principal,
        name: String,
        life: Arc<Life>,
        place: Place,
    ) -> Connection {
        let durable = header.features & FEATURE_DURABLE != 0;
        let end = ServerEnd::new(c, s, header.geometry, header.first_index, durable);
        Connection { end, durable, principal, name, life, place: Some(place) }
    }

    /// Who the client is.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// What the client calls itself. A claim, for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ring sizes.
    pub fn geometry(&self) -> Geometry {
        self.end.geometry
    }

    /// Whether the client asked that verdicts be released only when what they answer is durable.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Takes the next request into `out`. False: there is none, or the client has no credit. On a quarantine `out` may
    /// hold part of the bad request, and every later call returns the same quarantine.
    #[inline]
    pub fn poll(&mut self, out: &mut Request) -> Result<bool, Quarantine> {
        self.end.poll(out)
    }

    /// Writes the verdict of one request taken; the client can see it at once. Verdicts may be in another order than
    /// requests, but each request gets exactly one. On a durable connection it waits its turn behind held verdicts.
    #[inline]
    pub fn reply(&mut self, verdict: &Verdict) -> Result<(), ReplyError> {
        self.reply_when(verdict, 0)
    }

    /// As [`Connection::reply`]; but if the connection [is durable](Connection::is_durable), the client sees the verdict
    /// only once [`Connection::release_verdicts`] has been told a position of at least `waits_for`. Without that mode
    /// `waits_for` means nothing.
    #[inline]
    pub fn reply_when(&mut self, verdict: &Verdict, waits_for: u64) -> Result<(), ReplyError> {
        self.end.reply(verdict, waits_for)
    }

    /// Makes visible, in the order of the replies, every held verdict that waits for no more than `reached`. To be
    /// followed by [`Connection::publish`].
    #[inline]
    pub fn release_verdicts(&mut self, reached: u64) {
        self.end.release_verdicts(reached);
    }

    /// Verdicts written and not yet visible to the client. Always 0 unless the connection is durable.
    #[inline]
    pub fn held(&self) -> u64 {
        self.end.held()
    }

    /// Once per burst, after its replies: gives the request slots back, and wakes the client if it sleeps and there are
    /// verdicts since the last call. Without it a sleeping client notices its verdicts only when its wait times out. A client
    /// that is woken more than 2 000 times a second gets further wakes later, by another call or by
    /// [`crate::Parker::park`]; so call it in rounds without requests too.
    #[inline]
    pub fn publish(&mut self) {
        self.end.publish();
    }

    /// Gives back the slots of every request taken. [`Connection::publish`] and an empty [`Connection::poll`] include it.
    #[inline]
    pub fn release_requests(&mut self) {
        self.end.release_requests();
    }

    /// Requests that may still be taken before the client must receive a verdict, as of the last look at its cursor.
    #[inline]
    pub fn credit(&self) -> u32 {
        self.end.credit()
    }

    /// Requests taken that have no verdict yet.
    pub fn owed(&self) -> u64 {
        self.end.owed()
    }

    /// Requests taken so far.
    pub fn taken(&self) -> u64 {
        self.end.taken
    }

    /// Why this client is read no more, if so.
    pub fn quarantined(&self) -> Option<Quarantine> {
        self.end.quarantine
    }

    /// Lets another client have this one's place among [`ServerOptions::clients_max`](crate::ServerOptions::clients_max)
    /// already, where dropping the connection is left to another thread.
    pub fn give_place_back(&mut self) {
        self.place = None;
    }

    /// True once a [`crate::Watcher`] has seen the peer go. One relaxed look at private memory.
    #[inline]
    pub fn hung_up(&self) -> bool {
        self.life.gone.load(Ordering::Acquire)
    }

    /// The same for other threads.
    pub fn lifeline(&self) -> Lifeline {
        Lifeline(Arc::clone(&self.life))
    }

    /// Tells the client that the server is at work.
    #[inline]
    pub fn heartbeat(&self, now_ns: u64) {
        self.end.s.word(S_HEARTBEAT).store(now_ns, Ordering::Relaxed);
    }

    /// What the client last wrote as its heartbeat. A claim, for logs and counters.
    pub fn client_heartbeat_ns(&self) -> u64 {
        self.end.c.load(C_HEARTBEAT)
    }

    /// Whether a file large enough for huge pages is made of them; None if neither is. If not, reserve some
    /// (`vm.nr_hugepages`): the ring works without.
    pub fn huge_pages(&self) -> Option<bool> {
        let (c, s) = (self.end.geometry.c_bytes(), self.end.geometry.s_bytes());
        let large = [(c, self.end.c.huge_pages()), (s, self.end.s.huge_pages())];
        large
            .into_iter()
            .filter(|(bytes, _)| *bytes >= HUGE_PAGE_BYTES)
            .map(|(_, huge)| huge)
            .reduce(|a, b| a && b)
    }

    /// Whether both files are locked in memory; if not, raise the limit on locked memory (`LimitMEMLOCK=`).
    pub fn locked(&self) -> bool {
        self.end.c.locked() && self.end.s.locked()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.end.quarantine.is_none() {
            self.end.end(STATE_CLOSED);
        }
        // A watcher may hold the socket a moment longer; the client should not have to wait for it.
        // SAFETY: shutdown of an open descriptor, without pointers.
        unsafe { libc::shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.life.socket), libc::SHUT_RDWR) };
    }
}
