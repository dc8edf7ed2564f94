//! PAGE 1: request rings → engine → journal → verdict rings.
//!
//! One thread runs [`HotLoop::run`] and owns everything it touches. A round takes a burst of frames, brings the memory
//! near that they will need, decides each in order, commits each decision to the journal ring, and only then makes any of
//! the verdicts visible. Whatever dies, a verdict that was seen is in the journal.
//!
//! After start nothing here allocates, locks, formats or makes a system call, but for the wake of a client that sleeps
//! and, when there is nothing to do, the engine thread's own rest. The clocks are read through the vDSO: both at the start
//! of a round, the monotonic one again when the burst has been decided. A verdict's engine time is that interval divided
//! by the frames of the burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate_ring::{Request, Verdict};

use crate::asks::{Answer, Ask, Asked, Given};
use crate::clients::{Client, Clients};
use crate::config::Idle;
use crate::engine::program::ArchivedProgram;
use crate::engine::units::{Action, Time};
use crate::engine::wire::{Admission, FLAG_PUBLISHED_LATE, FLAG_REFUSED, Input, Outcome, Refusal};
use crate::engine::{Counters, Engine, Step};
use crate::journal::{Decision, Ordered, Writer};
use crate::os::clock::{monotonic_ns, realtime_us};
use crate::stats::{Counts, Shared};

/// The engine thread: all that is on the data path.
pub struct HotLoop {
    engine: Engine,
    journal: Writer,
    clients: Clients,
    deadlines: Deadlines,
    /// The burst being worked on.
    frames: Box<[Frame]>,
    rest: Rest,
    stop: Arc<AtomicBool>,
    asked: Asked,
    counts: Counts,
    /// What the engine had counted when it came here: the replay is not traffic.
    replayed: Counters,
    shared: Arc<Shared>,
    told_ns: u64,
    /// Whether this round took nothing because the journal ring had no room.
    journal_full: bool,
    /// Set while stopping: when to give up waiting for room in the journal.
    drain_until_ns: Option<u64>,
}

/// A frame on its way from the request ring to the verdict ring.
#[derive(Clone, Copy)]
struct Frame {
    request: Request,
    /// The place of its client; holds for the burst.
    place: usize,
    principal: u32,
    admission: Admission,
    outcome: Outcome,
}

/// Both clocks, read together at the start of a round.
#[derive(Clone, Copy)]
struct Now {
    received: Time,
    monotonic_ns: u64,
}

/// Why the engine thread cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The journal ring refused a decision although it had said that there was room. The decision was not published.
    #[error("the journal ring refused decision {seq} after it had said that there was room")]
    JournalRefused {
        /// The decision.
        seq: u64,
    },
}

impl HotLoop {
    /// Serves until `stop` is set, then takes and answers what is in the rings already. Everyone is dismissed at the end.
    pub fn run(&mut self) -> Result<(), Fault> {
        loop {
            let now = Now::read();
            let taken = self.take_burst(now);
            if taken > 0 {
                self.look_ahead(taken, now);
                self.decide(taken, now)?;
                self.publish(taken, now);
            } else if self.drained(now) {
                break;
            }
            self.keep_house(taken, now);
        }
        self.close();
        Ok(())
    }

    /// Takes frames from the clients in turn, one at a time, until the burst is full or nobody has any more. Takes nothing
    /// when the journal could not hold a whole burst: an event must never be decided and then not committed.
    fn take_burst(&mut self, now: Now) -> usize {
        self.clients.welcome(now.monotonic_ns);
        self.journal_full = !self.journal.room(self.frames.len());
        if self.journal_full {
            self.counts.journal_full += 1;
            return 0;
        }
        let (mut taken, mut silent) = (0, 0);
        while taken < self.frames.len() && silent < self.clients.len() {
            let frame = &mut self.frames[taken];
            let (place, client) = self.clients.next();
            if client.take(&mut frame.request) {
                frame.place = place;
                frame.principal = client.principal;
                frame.admission = self.deadlines.admit(&frame.request, client, now.monotonic_ns);
                self.counts.admitted_late += u64::from(frame.admission == Admission::Late);
                self.counts.shed += u64::from(frame.admission == Admission::Shed);
                (taken, silent) = (taken + 1, 0);
            } else {
                silent += 1;
            }
        }
        taken
    }

    /// Brings near what the frames will need. Changes nothing.
    fn look_ahead(&mut self, taken: usize, now: Now) {
        self.engine.look_ahead(self.frames[..taken].iter().map(|frame| frame.input(now)));
    }

    /// Decides the frames in order and commits every new decision.
    fn decide(&mut self, taken: usize, now: Now) -> Result<(), Fault> {
        for frame in &mut self.frames[..taken] {
            let input = frame.input(now);
            frame.outcome = match self.engine.step(&input) {
                Step::Decided(outcome) => {
                    let decision = Decision { input, outcome, digest: self.engine.digest() };
                    let committed = self.journal.append(&decision);
                    committed.map_err(|_| Fault::JournalRefused { seq: outcome.seq })?;
                    self.counts.decided += 1;
                    outcome
                }
                Step::Repeated(outcome) => {
                    self.counts.repeated += 1;
                    outcome
                }
                Step::Refused(refusal) => {
                    self.counts.refused += 1;
                    self.deadlines.refused(refusal)
                }
            };
        }
        Ok(())
    }

    /// Writes the verdicts. What is late by now is marked so; it stands as decided.
    fn publish(&mut self, taken: usize, now: Now) {
        let done_ns = monotonic_ns();
        let engine_ns = done_ns.saturating_sub(now.monotonic_ns) / taken as u64;
        for frame in &self.frames[..taken] {
            let Request { kind, req_id, t_intended, .. } = frame.request;
            let mut outcome = frame.outcome;
            if self.deadlines.passed(kind, t_intended, done_ns) {
                outcome.flags |= FLAG_PUBLISHED_LATE;
                self.counts.published_late += 1;
            }
            let payload = outcome.to_words(engine_ns);
            let written = self
                .clients
                .at(frame.place)
                .reply(&Verdict { kind, flags: 0, req_id, t_intended, payload }, outcome.seq);
            self.counts.verdicts += u64::from(written);
        }
        self.counts.frames += taken as u64;
        self.counts.bursts += 1;
    }
}

impl Now {
    #[inline]
    fn read() -> Self {
        Self { received: Time(realtime_us()), monotonic_ns: monotonic_ns() }
    }
}

impl Frame {
    const EMPTY: Self = Self {
        request: Request::new(),
        place: 0,
        principal: 0,
        admission: Admission::Normal,
        outcome: Outcome {
            seq: 0,
            score: 0,
            action: Action::None,
            flags: 0,
            policy_revision: 0,
            reasons: [0; 4],
        },
    };

    #[inline]
    fn input(&self, now: Now) -> Input<'_> {
        Input {
            principal: self.principal,
            kind: self.request.kind,
            admission: self.admission,
            received: now.received,
            words: self.request.words(),
        }
    }
}

// Off the page: what happens at the start, at the end and between bursts.

/// Longest sleep of the engine thread: heartbeats and counters stay fresh.
const PARK_MAX: Duration = Duration::from_millis(50);
/// How long the engine thread sleeps before it looks again whether a full journal ring has room, or verdicts that wait for
/// the disk may go.
const FULL_REST: Duration = Duration::from_micros(100);
/// How often counters and heartbeats are made visible.
const TELL_EVERY_NS: u64 = 10_000_000;
/// How long a stop may wait for room in the journal before it leaves requests unanswered.
const DRAIN_MAX_NS: u64 = 5_000_000_000;
/// Rounds without work before yielding, and before sleeping.
const SPINS: u32 = 2_000;
const YIELDS: u32 = 200;

impl HotLoop {
    /// Reserves all it needs. `engine` has taken in the journal up to where `journal` goes on.
    #[must_use]
    pub(crate) fn new(
        engine: Engine,
        journal: Writer,
        clients: Clients,
        burst: usize,
        idle: Idle,
        (stop, asked): (Arc<AtomicBool>, Asked),
        shared: Arc<Shared>,
    ) -> Self {
        let deadlines = Deadlines::new(engine.loaded().program());
        let replayed = *engine.counters();
        Self {
            engine,
            journal,
            clients,
            deadlines,
            frames: vec![Frame::EMPTY; burst].into(),
            rest: Rest { idle, rounds: 0 },
            stop,
            asked,
            counts: Counts::default(),
            replayed,
            shared,
            told_ns: 0,
            journal_full: false,
            drain_until_ns: None,
        }
    }

    /// The engine, when the loop has ended.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Between bursts: wakes clients and lets them go, tells how things are, and rests if there was nothing to do.
    #[inline]
    fn keep_house(&mut self, taken: usize, now: Now) {
        let round = self.clients.end_round(self.journal.durable_seq());
        self.counts.take_round(&round);
        if let Some(ask) = self.asked.next() {
            self.obey(ask);
        }
        if now.monotonic_ns.saturating_sub(self.told_ns) >= TELL_EVERY_NS {
            self.tell(now.monotonic_ns);
        }
        if self.drain_until_ns.is_none() && self.stop.load(Ordering::Relaxed) {
            self.begin_drain(now);
        }
        if taken > 0 {
            self.rest.rounds = 0;
        } else if self.rest.spin_or_yield() {
            self.tell(now.monotonic_ns);
            if self.journal_full {
                // Requests are waiting, so that parking would return at once: it is the flusher that is waited for.
                std::thread::sleep(FULL_REST);
            } else {
                // Nobody wakes this thread when the disk has caught up.
                self.clients.park(if self.counts.held > 0 { FULL_REST } else { PARK_MAX });
                self.counts.parks += 1;
            }
        }
    }

    /// Does what is asked, which is journaled first. Nothing of it was made here, and nothing of it is freed here.
    #[cold]
    fn obey(&mut self, mut ask: Ask) {
        if !self.journal.room(1) {
            return self.asked.put_off(ask);
        }
        let seq = self.journal.last_seq();
        let done = match &mut ask {
            Ask::TakeOver(next) => {
                self.engine.can_succeed(&next.successor)
                    && self.journal.append_epoch(&next.epoch).is_ok()
                    && self.engine.succeed(&mut next.successor)
                    && {
                        std::mem::swap(&mut self.deadlines, &mut next.deadlines);
                        true
                    }
            }
            Ask::Order(given) => {
                let Given { order, at, note } = &**given;
                self.engine.order(order, *at)
                    && self.journal.append_order(&Ordered { order: *order, given: *at, note }).is_ok()
            }
        };
        self.asked.answer(Answer { ask, done, seq });
    }

    fn tell(&mut self, now_ns: u64) {
        self.told_ns = now_ns;
        self.clients.heartbeat(now_ns);
        self.counts.take_engine(self.engine.counters(), &self.replayed);
        self.counts.take_fill(&self.engine.fill());
        self.counts.expiry_frozen = u64::from(self.engine.expiry_frozen());
        self.counts.clients = self.clients.len() as u64;
        self.counts.seq = self.engine.next_seq() - 1;
        self.counts.digest = self.engine.digest();
        self.counts.durable_seq = self.journal.durable_seq();
        self.shared.publish(&self.counts);
    }

    /// From now on only what is in the rings already.
    fn begin_drain(&mut self, now: Now) {
        self.clients.welcome(now.monotonic_ns);
        self.clients.drain();
        self.rest.idle = Idle::Yield;
        self.drain_until_ns = Some(now.monotonic_ns.saturating_add(DRAIN_MAX_NS));
    }

    /// Whether a round in which nothing was taken ends the loop: there was nothing left, or it has waited long enough for
    /// the journal.
    fn drained(&self, now: Now) -> bool {
        let Some(until_ns) = self.drain_until_ns else { return false };
        !(self.journal_full || self.counts.held > 0) || now.monotonic_ns >= until_ns
    }

    fn close(&mut self) {
        let round = self.clients.close();
        self.counts.take_round(&round);
        self.tell(monotonic_ns());
    }
}

/// What the engine thread does when no client has anything to say.
struct Rest {
    idle: Idle,
    rounds: u32,
}

impl Rest {
    /// One more round without work; true when it is time to sleep.
    fn spin_or_yield(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        match self.idle {
            Idle::Spin => std::hint::spin_loop(),
            _ if self.rounds < SPINS => std::hint::spin_loop(),
            Idle::Park | Idle::Auto if self.rounds >= SPINS + YIELDS => return true,
            _ => std::thread::yield_now(),
        }
        false
    }
}

/// What each kind of event allows: how old it may be, and whether its sender's rate applies.
pub(crate) struct Deadlines {
    kinds: Box<[Kind]>,
    revision: u32,
}

#[derive(Clone, Copy)]
struct Kind {
    /// `u64::MAX`: never late.
    late_after_ns: u64,
    judged: bool,
}

impl Deadlines {
    pub(crate) fn new(program: &ArchivedProgram) -> Self {
        let kinds = program.events.iter().map(|event| match event.decide.as_ref() {
            Some(decide) => {
                let late_after_ns = decide.late_after_ns.to_native();
                Kind {
                    late_after_ns: if late_after_ns == 0 { u64::MAX } else { late_after_ns },
                    judged: true,
                }
            }
            None => Kind { late_after_ns: u64::MAX, judged: false },
        });
        Self { kinds: kinds.collect(), revision: program.revision.to_native() }
    }

    /// Shed when its sender is over its rate, late when it is too old, else normal. Only judged events are shed: an
    /// amendment that did not enter would be lost, and nobody waits for its verdict.
    #[inline]
    fn admit(&self, request: &Request, client: &mut Client, now_ns: u64) -> Admission {
        match self.kinds.get(usize::from(request.kind)) {
            Some(kind) if kind.judged && !client.bucket.take(now_ns) => Admission::Shed,
            _ if self.passed(request.kind, request.t_intended, now_ns) => Admission::Late,
            _ => Admission::Normal,
        }
    }

    /// Whether the deadline of such an event has passed. An intended time of 0 says that there is none.
    #[inline]
    fn passed(&self, kind: u16, t_intended: u64, now_ns: u64) -> bool {
        let Some(kind) = self.kinds.get(usize::from(kind)) else { return false };
        t_intended != 0 && now_ns.saturating_sub(t_intended) > kind.late_after_ns
    }

    /// The answer to a frame that the engine did not take.
    fn refused(&self, refusal: Refusal) -> Outcome {
        Outcome {
            score: -1,
            flags: FLAG_REFUSED,
            policy_revision: self.revision,
            reasons: [refusal as u16, 0, 0, 0],
            ..Outcome::default()
        }
    }
}
