//! The server's end of one connection: reads requests from C, writes verdicts to S.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use thiserror::Error;

use crate::layout::{
    C_HEARTBEAT, C_KICK, C_PARKED, C_VERDICT_CURSOR, Geometry, Header, Request, S_DOORBELL, S_HEARTBEAT,
    S_REQUEST_CURSOR, S_STATE, S_VERDICT_BELL, SLOT_HEADER_WORDS, STATE_CLOSED, STATE_QUARANTINED, SlotState,
    VERDICT_WORDS, Verdict, cursor_is_sane, pack_meta, seq_of, slot_state, slot_word, unpack_meta,
};
use crate::listener::Place;
use crate::memory::{ReadMap, ReadSlot, WriteMap};
use crate::wait::futex_wake;
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

/// What a client did that no honest client does. Its connection reads no more; drop it. Other clients are not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Quarantine {
    /// A request slot held a sequence number of neither this lap nor the one before.
    #[error(
        "request {index}: its slot is numbered {found}; expected {expected}. The client writes slots out of turn"
    )]
    Sequence {
        /// The running index expected next.
        index: u64,
        /// The number that would have been right.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A request said it is longer than its slot.
    #[error(
        "request {index}: {found} payload words in a slot for {max}. The client writes lengths that cannot be"
    )]
    Length {
        /// The running index of the request.
        index: u64,
        /// The length found.
        found: u16,
        /// What fits.
        max: u16,
    },
    /// The verdict cursor went back, or past the verdicts written.
    #[error(
        "verdict cursor {found} lies outside {last} to {written}. The client claims verdicts it cannot have received"
    )]
    VerdictCursor {
        /// The cursor found.
        found: u64,
        /// Where it was last seen.
        last: u64,
        /// How far verdicts have been written.
        written: u64,
    },
}

/// Why a verdict was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Every request taken has its verdict already.
    #[error("no request is waiting for a verdict: reply exactly once to each request")]
    NothingOwed,
    /// The client has not made room. Impossible while its credit is respected, and so a fault in this crate or its use.
    #[error("the verdict ring is full: the client has more requests in flight than it may")]
    Full,
    /// The client is in quarantine.
    #[error("the client is in quarantine: {0}")]
    Quarantined(#[from] Quarantine),
}

/// One client, as its server sees it. Owned by one thread. [`Connection::poll`], [`Connection::reply`] and
/// [`Connection::publish`] allocate nothing and make no system call, but for one wake per `publish` when the client
/// sleeps. Dropping unmaps memory and closes descriptors: on a data path, hand it to a cold thread to drop.
pub struct Connection {
    c: ReadMap,
    s: WriteMap,
    /// Private copy; the shared header is never read again.
    geometry: Geometry,
    /// The same as words, to keep the arithmetic out of the loop.
    slot_words: usize,
    /// Next request to take. `taken - released` slots are copied but not yet given back.
    taken: u64,
    released: u64,
    /// Next verdict to write. INVARIANT: `written` never passes `taken`, nor `consumed` by more than the capacity.
    written: u64,
    /// `written` at the last `publish`.
    announced: u64,
    /// The client's verdict cursor as last read and found sane.
    consumed: u64,
    quarantine: Option<Quarantine>,
    principal: Principal,
    name: String,
    life: Arc<Life>,
    _place: Place,
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
        let first = header.first_index;
        Connection {
            c,
            s,
            geometry: header.geometry,
            slot_words: header.geometry.slot_bytes as usize / 8,
            taken: first,
            released: first,
            written: first,
            announced: first,
            consumed: first,
            quarantine: None,
            principal,
            name,
            life,
            _place: place,
        }
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
        self.geometry
    }

    /// Takes the next request into `out`. False: there is none, or the client has no credit. On a quarantine `out` may
    /// hold part of the bad request, and every later call returns the same quarantine.
    #[inline]
    pub fn poll(&mut self, out: &mut Request) -> Result<bool, Quarantine> {
        if let Some(quarantine) = self.quarantine {
            return Err(quarantine);
        }
        if self.credit() == 0 {
            self.read_verdict_cursor()?;
            if self.credit() == 0 {
                self.release_requests();
                return Ok(false);
            }
        }
        let index = self.taken;
        let slot = self.request_slot(index);
        let seq = slot.load(0);
        match slot_state(seq, index, self.geometry.request_capacity) {
            SlotState::Ready => {}
            SlotState::Empty => {
                self.release_requests();
                return Ok(false);
            }
            SlotState::Wrong => {
                let expected = seq_of(index);
                return Err(self.put_in_quarantine(Quarantine::Sequence { index, expected, found: seq }));
            }
        }
        fence(Ordering::Acquire);
        let (kind, len, flags) = unpack_meta(slot.load(1));
        let max = self.slot_words - SLOT_HEADER_WORDS;
        if usize::from(len) > max {
            return Err(self.put_in_quarantine(Quarantine::Length { index, found: len, max: max as u16 }));
        }
        out.kind = kind;
        out.len = len;
        out.flags = flags;
        out.req_id = slot.load(2);
        out.t_intended = slot.load(3);
        slot.copy(SLOT_HEADER_WORDS, &mut out.payload[..usize::from(len)]);
        self.taken = index.wrapping_add(1);
        // Half a ring at the latest, so that a caller that never sees the ring empty does not stop the client.
        if self.taken.wrapping_sub(self.released) >= u64::from(self.geometry.request_capacity / 2) {
            self.release_requests();
        }
        Ok(true)
    }

    /// Writes the verdict of one request taken; the client can see it at once. Verdicts may be in another order than
    /// requests, but each request gets exactly one.
    #[inline]
    pub fn reply(&mut self, verdict: &Verdict) -> Result<(), ReplyError> {
        if let Some(quarantine) = self.quarantine {
            return Err(quarantine.into());
        }
        if self.written == self.taken {
            return Err(ReplyError::NothingOwed);
        }
        let index = self.written;
        let capacity = self.geometry.verdict_capacity;
        if index.wrapping_sub(self.consumed) >= u64::from(capacity) {
            self.read_verdict_cursor()?;
            if index.wrapping_sub(self.consumed) >= u64::from(capacity) {
                return Err(ReplyError::Full);
            }
        }
        const WORDS: usize = SLOT_HEADER_WORDS + VERDICT_WORDS;
        let slot = self.s.slot(slot_word(index, capacity, WORDS), WORDS);
        slot[1].store(pack_meta(verdict.kind, VERDICT_WORDS as u16, verdict.flags), Ordering::Relaxed);
        slot[2].store(verdict.req_id, Ordering::Relaxed);
        slot[3].store(verdict.t_intended, Ordering::Relaxed);
        for (to, &word) in slot[SLOT_HEADER_WORDS..].iter().zip(&verdict.payload) {
            to.store(word, Ordering::Relaxed);
        }
        slot[0].store(seq_of(index), Ordering::Release);
        self.written = index.wrapping_add(1);
        Ok(())
    }

    /// Once per burst, after its replies: gives the request slots back, and wakes the client if it sleeps and there are
    /// verdicts since the last call. Without it a sleeping client notices its verdicts only when its wait times out.
    #[inline]
    pub fn publish(&mut self) {
        self.release_requests();
        if self.written == self.announced {
            return;
        }
        self.announced = self.written;
        // Pairs with the fence in `Receiver::wait`: either the client's last look finds the verdicts, or we see that it
        // sleeps.
        fence(Ordering::SeqCst);
        if self.c.load_half(C_PARKED) != 0 {
            self.ring_client();
        }
    }

    /// Gives back the slots of every request taken. [`Connection::publish`] and an empty [`Connection::poll`] include it.
    #[inline]
    pub fn release_requests(&mut self) {
        if self.released != self.taken {
            self.released = self.taken;
            // Release: the copies out of the slots come before the client may overwrite them. A Release fence orders
            // earlier loads too.
            self.s.word(S_REQUEST_CURSOR).store(self.released, Ordering::Release);
        }
    }

    /// Brings the slot of the next request near. Worth calling for the next client before serving this one.
    #[inline]
    pub fn prefetch_next(&self) {
        self.request_slot(self.taken).prefetch();
    }

    /// Requests that may still be taken before the client must receive a verdict, as of the last look at its cursor.
    #[inline]
    pub fn credit(&self) -> u32 {
        self.geometry.verdict_capacity.saturating_sub(self.taken.wrapping_sub(self.consumed) as u32)
    }

    /// Requests taken that have no verdict yet.
    pub fn owed(&self) -> u64 {
        self.taken.wrapping_sub(self.written)
    }

    /// Requests taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Why this client is read no more, if so.
    pub fn quarantined(&self) -> Option<Quarantine> {
        self.quarantine
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
        self.s.word(S_HEARTBEAT).store(now_ns, Ordering::Relaxed);
    }

    /// What the client last wrote as its heartbeat. A claim, for logs and counters.
    pub fn client_heartbeat_ns(&self) -> u64 {
        self.c.load(C_HEARTBEAT)
    }

    /// Whether both files are locked in memory; if not, raise the limit on locked memory (`LimitMEMLOCK=`).
    pub fn locked(&self) -> bool {
        self.c.locked() && self.s.locked()
    }

    /// Says in the doorbell whether the server sleeps. [`crate::Parker::park`] does it in the right order.
    pub(crate) fn announce(&self, parked: bool) {
        self.s.half(S_DOORBELL).store(parked.into(), Ordering::Relaxed);
    }

    /// The word this client changes to wake the server, and what it holds now.
    pub(crate) fn kick(&self) -> (*const u32, u32) {
        (self.c.futex(C_KICK), self.c.load_half(C_KICK))
    }

    /// Whether a poll would do anything. A client without credit has no work: else it could keep the server awake.
    pub(crate) fn has_work(&self) -> bool {
        let out_of_credit = self.credit() == 0 && self.c.load(C_VERDICT_CURSOR) == self.consumed;
        if self.quarantine.is_some() || out_of_credit {
            return false;
        }
        let seq = self.request_slot(self.taken).load(0);
        slot_state(seq, self.taken, self.geometry.request_capacity) != SlotState::Empty
    }

    #[inline(always)]
    fn request_slot(&self, index: u64) -> ReadSlot<'_> {
        let first = slot_word(index, self.geometry.request_capacity, self.slot_words);
        self.c.slot(first, self.slot_words)
    }

    fn read_verdict_cursor(&mut self) -> Result<(), Quarantine> {
        let found = self.c.load(C_VERDICT_CURSOR);
        fence(Ordering::Acquire);
        if !cursor_is_sane(found, self.consumed, self.written) {
            let (last, written) = (self.consumed, self.written);
            return Err(self.put_in_quarantine(Quarantine::VerdictCursor { found, last, written }));
        }
        self.consumed = found;
        Ok(())
    }

    #[cold]
    fn put_in_quarantine(&mut self, quarantine: Quarantine) -> Quarantine {
        self.quarantine = Some(quarantine);
        self.end(STATE_QUARANTINED);
        quarantine
    }

    /// Tells the client that no more verdicts come.
    fn end(&self, state: u32) {
        self.s.half(S_STATE).store(state, Ordering::Release);
        self.ring_client();
    }

    #[cold]
    fn ring_client(&self) {
        let bell = self.s.half(S_VERDICT_BELL);
        bell.fetch_add(1, Ordering::Release);
        futex_wake(bell.as_ptr());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.quarantine.is_none() {
            self.end(STATE_CLOSED);
        }
        // A watcher may hold the socket a moment longer; the client should not have to wait for it.
        // SAFETY: shutdown of an open descriptor, without pointers.
        unsafe { libc::shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.life.socket), libc::SHUT_RDWR) };
    }
}
