//! The algorithm: what each end does to the two files, over any memory.
//!
//! Three ends meet at one pair of files. [`SendEnd`] writes requests and [`ReceiveEnd`] takes verdicts, each in a thread of
//! the client's; [`ServerEnd`] takes requests and writes verdicts. Nothing here knows sockets or mappings, so that the
//! models run the very code that production runs. Orderings come from [`crate::order`].
//!
//! Nothing read from the other side's file is trusted: a slot is copied, then judged, and a cursor must lie between where
//! it was last seen and how far this side has gone itself.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Closed, Quarantine, ReplyError, SendError};
use crate::file::{ReadFile, ReadSlot, WriteFile, WriteSlot};
use crate::layout::{
    C_KICK, C_PARKED, C_VERDICT_CURSOR, Geometry, Request, S_DOORBELL, S_REQUEST_CURSOR, S_STATE,
    S_VERDICT_BELL, SLOT_HEADER_WORDS, STATE_ACTIVE, STATE_QUARANTINED, SlotState, VERDICT_WORDS, Verdict,
    cursor_is_sane, pack_meta, seq_of, slot_state, slot_word, unpack_meta,
};
use crate::order;
use crate::sync::{AtomicU64, fence};
use crate::wait::monotonic_ns;

/// Words of a verdict slot.
const VERDICT_SLOT_WORDS: usize = SLOT_HEADER_WORDS + VERDICT_WORDS;

/// A line of its own for a word that one thread writes and another reads.
#[repr(align(128))]
struct Apart(AtomicU64);

/// What both ends of a client share: its two files, and two counts in private memory.
pub(crate) struct Link<C, S> {
    pub(crate) c: C,
    pub(crate) s: S,
    /// Requests sent, from the first index; written by the sender.
    sent: Apart,
    /// Verdicts received, from the first index; written by the receiver.
    received: Apart,
    /// Set by whoever learns that the server has gone without a word.
    pub(crate) hung_up: AtomicBool,
}

impl<C: WriteFile, S: ReadFile> Link<C, S> {
    /// Whether the server still says it serves.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), Closed> {
        match self.s.load(S_STATE) {
            STATE_ACTIVE if !self.hung_up.load(Ordering::Relaxed) => Ok(()),
            STATE_QUARANTINED => Err(Closed::Quarantined),
            _ => Err(Closed::ServerGone),
        }
    }

    /// Requests sent whose verdict has not been received. For the threads of the two ends.
    pub(crate) fn in_flight(&self) -> u64 {
        // The receiver has received no more than it finds sent, because a request is counted before it can be seen. The
        // sender, for its part, knows its own count.
        let received = self.received.0.load(Ordering::Relaxed);
        self.sent.0.load(Ordering::Relaxed).wrapping_sub(received)
    }
}

/// Both ends of a client, from a pair of files whose indices start at `first`.
pub(crate) fn client_ends<C: WriteFile, S: ReadFile>(
    c: C,
    s: S,
    geometry: Geometry,
    first: u64,
) -> (SendEnd<C, S>, ReceiveEnd<C, S>) {
    let link = Arc::new(Link {
        c,
        s,
        sent: Apart(AtomicU64::new(first)),
        received: Apart(AtomicU64::new(first)),
        hung_up: AtomicBool::new(false),
    });
    let sender = SendEnd { link: Arc::clone(&link), geometry, sent: first, released: first, received: first };
    (sender, ReceiveEnd { link, verdict_capacity: geometry.verdict_capacity, received: first })
}

/// Writes requests.
pub(crate) struct SendEnd<C, S> {
    pub(crate) link: Arc<Link<C, S>>,
    /// Private copies of the sizes, and of what the other side has last been seen to have done.
    pub(crate) geometry: Geometry,
    sent: u64,
    released: u64,
    received: u64,
}

impl<C: WriteFile, S: ReadFile> SendEnd<C, S> {
    #[inline]
    pub(crate) fn send(
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
            self.received = self.link.received.0.load(order::credit_taken());
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
        let Link { c, s, sent, .. } = &*self.link;
        let slot_words = self.geometry.slot_bytes as usize / 8;
        let slot = c.slot(slot_word(index, self.geometry.request_capacity, slot_words), slot_words);
        slot.set(1, pack_meta(kind, payload.len() as u16, flags));
        slot.set(2, req_id);
        slot.set(3, t_intended);
        slot.fill(SLOT_HEADER_WORDS, payload);
        self.sent = index.wrapping_add(1);
        // Counted before it can be seen: whoever receives its verdict then finds it counted.
        sent.0.store(self.sent, Ordering::Relaxed);
        slot.publish(seq_of(index), order::request_published());
        // Pairs with the fence in `park`: either the server's last look finds the request, or we see it sleep.
        fence(order::server_woken());
        if s.load(S_DOORBELL) != 0 {
            c.bump_and_wake(C_KICK, order::wake_counted());
        }
        Ok(())
    }

    fn read_request_cursor(&mut self) -> Result<(), Closed> {
        let found = self.link.s.load(S_REQUEST_CURSOR);
        fence(order::release_seen());
        if !cursor_is_sane(found, self.released, self.sent) {
            return Err(Closed::Corrupt);
        }
        self.released = found;
        Ok(())
    }
}

/// Takes verdicts.
pub(crate) struct ReceiveEnd<C, S> {
    pub(crate) link: Arc<Link<C, S>>,
    verdict_capacity: u32,
    received: u64,
}

impl<C: WriteFile, S: ReadFile> ReceiveEnd<C, S> {
    #[inline]
    pub(crate) fn recv(&mut self) -> Result<Option<Verdict>, Closed> {
        let index = self.received;
        let capacity = self.verdict_capacity;
        let Link { c, s, received, .. } = &*self.link;
        let slot = s.slot(slot_word(index, capacity, VERDICT_SLOT_WORDS), VERDICT_SLOT_WORDS);
        match slot_state(slot.seq(), index, capacity) {
            SlotState::Ready => {}
            SlotState::Empty => {
                let Err(closed) = self.link.check() else { return Ok(None) };
                fence(order::end_seen());
                // The server may have written its last verdict after our look and before it closed.
                if slot_state(slot.seq(), index, capacity) != SlotState::Ready {
                    return Err(closed);
                }
            }
            SlotState::Wrong => return Err(Closed::Corrupt),
        }
        fence(order::verdict_seen());
        let (kind, len, flags) = unpack_meta(slot.word(1));
        let mut verdict =
            Verdict { kind, flags, req_id: slot.word(2), t_intended: slot.word(3), payload: [0; 4] };
        slot.copy(SLOT_HEADER_WORDS, &mut verdict.payload);
        if usize::from(len) != VERDICT_WORDS {
            return Err(Closed::Corrupt);
        }
        self.received = index.wrapping_add(1);
        // First the server's cursor, then our own count: the sender's next request carries the cursor with it.
        c.store(C_VERDICT_CURSOR, self.received, Ordering::Relaxed);
        received.0.store(self.received, order::credit_given());
        Ok(Some(verdict))
    }

    /// Sleeps once until woken, at most `timeout`, unless there is something to receive or the server has said that it is
    /// gone. Whether there is something now.
    pub(crate) fn doze(&mut self, timeout: Duration) -> bool {
        let Link { c, s, .. } = &*self.link;
        // The bell is read before announcing: a ring after our last look changes it, and the sleep returns at once.
        let bell = s.load(S_VERDICT_BELL);
        c.store(C_PARKED, 1, Ordering::Relaxed);
        // Pairs with the fence in `ServerEnd::publish`.
        fence(order::client_sleeps());
        let ready = self.ready();
        if !ready && !timeout.is_zero() && self.link.check().is_ok() {
            s.sleep(S_VERDICT_BELL, bell, timeout);
        }
        c.store(C_PARKED, 0, Ordering::Relaxed);
        ready || self.ready()
    }

    /// Whether `recv` would do anything but return None on a live connection.
    pub(crate) fn ready(&self) -> bool {
        let first = slot_word(self.received, self.verdict_capacity, VERDICT_SLOT_WORDS);
        let seq = self.link.s.slot(first, 1).seq();
        slot_state(seq, self.received, self.verdict_capacity) != SlotState::Empty
    }
}

/// Takes requests and writes verdicts. The running indices obey, in wrapping order,
/// `consumed ≤ visible ≤ written ≤ taken`, `announced ≤ visible`, `released ≤ taken`, and
/// `taken − consumed ≤ verdict capacity`.
pub(crate) struct ServerEnd<C, S> {
    pub(crate) c: C,
    pub(crate) s: S,
    /// Private copy; the shared header is never read again.
    pub(crate) geometry: Geometry,
    /// The same as words, to keep the arithmetic out of the loop.
    slot_words: usize,
    /// Next request to take. `taken - released` slots are copied but not yet given back.
    pub(crate) taken: u64,
    released: u64,
    /// Next verdict to write.
    written: u64,
    /// Next verdict to make visible. Lags behind `written` where verdicts are held.
    visible: u64,
    /// `visible` at the last `publish`.
    announced: u64,
    /// The client's verdict cursor as last read and found sane.
    consumed: u64,
    pub(crate) quarantine: Option<Quarantine>,
    wakes: WakeBudget,
    /// A wake that the budget did not allow yet.
    wake_owed: Cell<bool>,
    /// What each verdict slot's verdict waits for; empty if this connection's verdicts are never held.
    waits_for: Box<[u64]>,
}

impl<C: ReadFile, S: WriteFile> ServerEnd<C, S> {
    /// `holds`: whether verdicts wait for [`ServerEnd::release_verdicts`].
    pub(crate) fn new(c: C, s: S, geometry: Geometry, first: u64, holds: bool) -> ServerEnd<C, S> {
        let held_max = if holds { geometry.verdict_capacity as usize } else { 0 };
        ServerEnd {
            c,
            s,
            geometry,
            slot_words: geometry.slot_bytes as usize / 8,
            taken: first,
            released: first,
            written: first,
            visible: first,
            announced: first,
            consumed: first,
            quarantine: None,
            wakes: WakeBudget::new(),
            wake_owed: Cell::new(false),
            waits_for: vec![0; held_max].into(),
        }
    }

    #[inline]
    pub(crate) fn poll(&mut self, out: &mut Request) -> Result<bool, Quarantine> {
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
        let seq = slot.seq();
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
        fence(order::request_seen());
        let (kind, len, flags) = unpack_meta(slot.word(1));
        let max = self.slot_words - SLOT_HEADER_WORDS;
        if usize::from(len) > max {
            return Err(self.put_in_quarantine(Quarantine::Length { index, found: len, max: max as u16 }));
        }
        out.kind = kind;
        out.len = len;
        out.flags = flags;
        out.req_id = slot.word(2);
        out.t_intended = slot.word(3);
        slot.copy(SLOT_HEADER_WORDS, &mut out.payload[..usize::from(len)]);
        self.taken = index.wrapping_add(1);
        // Half a ring at the latest, so that a caller that never sees the ring empty does not stop the client.
        if self.taken.wrapping_sub(self.released) >= u64::from(self.geometry.request_capacity / 2) {
            self.release_requests();
        }
        Ok(true)
    }

    /// Writes a verdict; visible at once, or where verdicts are held, once `release_verdicts` has been told `waits_for`.
    #[inline]
    pub(crate) fn reply(&mut self, verdict: &Verdict, waits_for: u64) -> Result<(), ReplyError> {
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
        let slot = self.verdict_slot(index);
        slot.set(1, pack_meta(verdict.kind, VERDICT_WORDS as u16, verdict.flags));
        slot.set(2, verdict.req_id);
        slot.set(3, verdict.t_intended);
        slot.fill(SLOT_HEADER_WORDS, &verdict.payload);
        if self.waits_for.is_empty() {
            slot.publish(seq_of(index), order::verdict_published());
            self.written = index.wrapping_add(1);
            self.visible = self.written;
        } else {
            self.written = index.wrapping_add(1);
            self.waits_for[(index & u64::from(capacity - 1)) as usize] = waits_for;
        }
        Ok(())
    }

    /// Makes visible, in order, every held verdict that waits for no more than `reached`.
    #[inline]
    pub(crate) fn release_verdicts(&mut self, reached: u64) {
        let mask = u64::from(self.geometry.verdict_capacity - 1);
        while self.visible != self.written && self.quarantine.is_none() {
            if self.waits_for[(self.visible & mask) as usize] > reached {
                break;
            }
            self.verdict_slot(self.visible).publish(seq_of(self.visible), order::verdict_published());
            self.visible = self.visible.wrapping_add(1);
        }
    }

    /// Verdicts written and not yet visible.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        self.written.wrapping_sub(self.visible)
    }

    /// Gives request slots back, and wakes the client if it sleeps and verdicts have become visible since the last call; or
    /// later, in another call or in `park`, if it has been woken too often of late.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.release_requests();
        if self.visible != self.announced {
            self.announced = self.visible;
            // Pairs with the fence in `ReceiveEnd::doze`: either the client's last look finds the verdicts, or we see that
            // it sleeps.
            fence(order::client_woken());
            if self.c.load(C_PARKED) != 0 {
                self.wake_owed.set(true);
            }
        }
        if self.wake_owed.get() && self.wakes.take() {
            self.pay_wake();
        }
    }

    /// Wakes the client now if that is owed and it still says that it sleeps. If it does not, it looks for itself.
    pub(crate) fn pay_wake(&self) {
        if self.wake_owed.replace(false) && self.c.load(C_PARKED) != 0 {
            self.s.bump_and_wake(S_VERDICT_BELL, order::wake_counted());
        }
    }

    #[inline]
    pub(crate) fn release_requests(&mut self) {
        if self.released != self.taken {
            self.released = self.taken;
            self.s.store(S_REQUEST_CURSOR, self.released, order::requests_released());
        }
    }

    /// Requests that may still be taken before the client must receive a verdict, as of the last look at its cursor.
    #[inline]
    pub(crate) fn credit(&self) -> u32 {
        self.geometry.verdict_capacity.saturating_sub(self.taken.wrapping_sub(self.consumed) as u32)
    }

    /// Requests taken that have no verdict yet.
    pub(crate) fn owed(&self) -> u64 {
        self.taken.wrapping_sub(self.written)
    }

    /// Says in the doorbell whether the server sleeps.
    pub(crate) fn announce(&self, parked: bool) {
        self.s.store(S_DOORBELL, parked.into(), Ordering::Relaxed);
    }

    /// Whether a poll would do anything. A client without credit has no work: else it could keep the server awake.
    pub(crate) fn has_work(&self) -> bool {
        let out_of_credit = self.credit() == 0 && self.c.load(C_VERDICT_CURSOR) == self.consumed;
        if self.quarantine.is_some() || out_of_credit {
            return false;
        }
        let seq = self.request_slot(self.taken).seq();
        slot_state(seq, self.taken, self.geometry.request_capacity) != SlotState::Empty
    }

    /// Tells the client that no more verdicts come.
    pub(crate) fn end(&self, state: u64) {
        self.s.store(S_STATE, state, order::end_published());
        self.s.bump_and_wake(S_VERDICT_BELL, order::wake_counted());
    }

    #[inline(always)]
    fn request_slot(&self, index: u64) -> C::Slot<'_> {
        let first = slot_word(index, self.geometry.request_capacity, self.slot_words);
        self.c.slot(first, self.slot_words)
    }

    #[inline(always)]
    fn verdict_slot(&self, index: u64) -> S::Slot<'_> {
        let first = slot_word(index, self.geometry.verdict_capacity, VERDICT_SLOT_WORDS);
        self.s.slot(first, VERDICT_SLOT_WORDS)
    }

    fn read_verdict_cursor(&mut self) -> Result<(), Quarantine> {
        // Relaxed: a verdict slot is overwritten only for a request that was sent after its verdict was received, and that
        // request has been seen.
        let found = self.c.load(C_VERDICT_CURSOR);
        if !cursor_is_sane(found, self.consumed, self.visible) {
            let (last, written) = (self.consumed, self.visible);
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
}

/// How often a client is woken. A wake is a system call of the thread that serves everybody, and a client that always claims
/// to sleep would have one with every verdict. A few may follow each other at once; then it is one each
/// [`WAKE_EVERY_NS`], and the verdicts in between share it. Who wants more wakes than that should poll.
struct WakeBudget {
    left: u32,
    /// Up to when wakes have been earned.
    earned_ns: u64,
    looks: u32,
}

/// Wakes that may follow each other at once. Shuttle's schedules have no time in which more could be earned.
pub(crate) const WAKES_AT_ONCE: u32 = if cfg!(shuttle) { 1 << 30 } else { 8 };
/// Time in which one more wake is earned.
pub(crate) const WAKE_EVERY_NS: u64 = 500_000;
/// Who has no wake left looks at the clock only now and then.
const LOOKS_PER_CLOCK: u32 = 64;

impl WakeBudget {
    fn new() -> WakeBudget {
        WakeBudget { left: WAKES_AT_ONCE, earned_ns: 0, looks: 0 }
    }

    /// Whether a wake is allowed now.
    #[cold]
    fn take(&mut self) -> bool {
        if self.left == 0 {
            self.looks = self.looks.wrapping_add(1);
            if !self.looks.is_multiple_of(LOOKS_PER_CLOCK) {
                return false;
            }
        }
        self.earn(monotonic_ns());
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }

    fn earn(&mut self, now_ns: u64) {
        let earned = now_ns.saturating_sub(self.earned_ns) / WAKE_EVERY_NS;
        let room = u64::from(WAKES_AT_ONCE - self.left);
        self.left += earned.min(room) as u32;
        self.earned_ns = if earned >= room { now_ns } else { self.earned_ns + earned * WAKE_EVERY_NS };
    }
}

/// How one thread sleeps for many ends.
pub(crate) trait Sleeper<C, S> {
    /// How a sleep ended.
    type Slept;
    /// Remembers the word that this end's client would change to wake the server, and what it holds now.
    fn note(&mut self, end: &ServerEnd<C, S>);
    /// Whether anyone else has called.
    fn is_called(&self) -> bool;
    /// Sleeps until a word noted has changed.
    fn sleep(&mut self) -> Self::Slept;
}

/// How a server goes to sleep: notes each end's wake word, announces the sleep to its client, fences, looks once more, and
/// only then sleeps. The order pairs with the sender's (publish, fence, look at the announcement): one of the two always
/// sees the other. None: there was work.
pub(crate) fn park<'a, C, S, I, B>(ends: I, sleeper: &mut B) -> Option<B::Slept>
where
    C: ReadFile + 'a,
    S: WriteFile + 'a,
    I: Iterator<Item = &'a ServerEnd<C, S>> + Clone,
    B: Sleeper<C, S>,
{
    for end in ends.clone() {
        // Nobody is kept waiting by a wake now.
        end.pay_wake();
        sleeper.note(end);
        end.announce(true);
    }
    fence(order::server_sleeps());
    let work = sleeper.is_called() || ends.clone().any(ServerEnd::has_work);
    let slept = if work { None } else { Some(sleeper.sleep()) };
    for end in ends {
        end.announce(false);
    }
    slept
}
