//! The decision engine: a deterministic state machine, `step(state, input) → outcome`.
//!
//! Pure by construction: no I/O, clock, threads, randomness or hash-order iteration, and no allocation after
//! [`Engine::new`]. `tests/tidy.rs` holds it to that.
//!
//! # One decision
//!
//! [`Engine::step`] is the whole of it. An event is decoded, and answered at once if it was sent before. It is placed in time;
//! its keys are looked up; its own rows are made. If its kind is judged, the features are scanned from the rows
//! already stored and the event's own, models are asked, rules are evaluated, and the verdict falls. Only then are the rows
//! stored and, if the event is an amendment, the rows of its target changed: what one event does is felt from the next one on.
//!
//! The stages are functions of their own, never inlined, so that any profile of a running appliance says which of them
//! takes the time (docs/COST.md).
//!
//! # What a key's history is
//!
//! A score of −1 says that nothing is known for or against a payment: no rule fired, no model that the decision reads answered,
//! and none of its keys has a stored row that some window could still reach (newer than mark − lateness − retention of its
//! group). A pair of keys that features are by counts as a key here. So it makes no difference when the records of idle keys
//! are dropped.
//!
//! The *mark* is the watermark, except after a jump of the wall clock: then it stays where it was until the clock has been
//! steady for [`Limits::jump_us`], so that a clock set wrong for a moment does not cost what was known.

pub mod budget;
pub mod lists;
pub mod orders;
pub mod program;
pub mod rates;
pub mod units;
pub mod validate;
pub mod vm;
pub mod wire;

mod ahead;
mod amend;
mod asked;
mod calendar;
mod counters;
mod decay;
mod decision;
mod decode;
mod dedup;
mod digest;
mod direct;
mod doorkeeper;
mod earth;
mod footprint;
mod frames;
mod gather;
mod index;
mod kernel;
mod limit;
mod loaded;
mod matching;
mod memory;
mod models;
mod plan;
mod rows;
mod shared;
mod sketch;
mod skewed;
mod spill;
mod store;
mod swap;
mod table;
mod tally;
mod tree;
mod windows;

use ahead::Ahead;
use amend::{Amendment, encode_row};
use decision::{Case, Fired};
use decode::{Currencies, Decoded};
use dedup::{Content, Dedup, Seen};
use digest::Roller;
use direct::Stored;
use gather::Gathered;
use matching::Matches;
use models::{Judged, Models};
use orders::{Order, Orders};
use plan::{Insert, Plan};
use program::KEYS_MAX;
use rates::Rates;
use rows::{Block, Rows, any_alive, lost_until, release};
use shared::Shared;
use sketch::Sketched;
use skewed::{Skewed, named};
use spill::Spill;
use std::ops::Range;
use table::{RecordNumber, Table};
use tree::free_felled;
use units::{TIME_END, TIME_MIN, Time, Value};
use vm::{Basis, execute};
use windows::{Scan, Scratch};
use wire::{Admission, FLAG_ACK, FLAG_DUPLICATE, FLAG_FALLBACK, FLAG_INEXACT, Input, Outcome, Refusal};

pub use counters::Counters;
pub use footprint::{Fill, Footprint};
pub use loaded::{Loaded, ProgramBytes};
pub use matching::Rules;
pub use plan::list_name;
pub use swap::{Misfit, Successor};

/// Whose clock decides what "now" is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The appliance's: event times beyond ± skew of receipt are judged at receipt time.
    Wall,
    /// The events' own times: replays and file-fed switches.
    Event,
}

/// The most that [`Limits::rows_per_key_max`] may be: a million rows a day for eight days.
pub const ROWS_PER_KEY_LIMIT: u32 = 1 << 23;

/// How much state the engine may keep, and how it reads time. Fixed at start; part of what makes a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys per entity kind, and pairs per pair of kinds that features are by.
    pub keys_max: u32,
    /// Bytes for rows that do not fit inside their record, all kinds together.
    pub spill_bytes_max: u64,
    /// Rows kept per key and group; beyond it the oldest go, counted and flagged.
    pub rows_per_key_max: u32,
    /// Events remembered for answering duplicates.
    pub dedup_entries_max: u32,
    /// How far behind the largest admitted event time an event may come and still enter its windows, µs.
    pub lateness_us: i64,
    /// `Clock::Wall`: how far an event time may be from receipt, µs.
    pub skew_us: i64,
    /// The furthest that time may move at once, µs; 0: any distance. Beyond it a jump is counted and, by `Clock::Wall`,
    /// expiry frozen until now has moved as far again without another.
    pub jump_us: i64,
    /// Whose clock.
    pub clock: Clock,
    /// Seed of all table hashes. The appliance has a random one for each journal, so that nobody can choose keys that collide;
    /// verdicts depend on it only where cells are shared (`assume high` at the limit).
    pub hash_seed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys_max: 1 << 20,
            spill_bytes_max: 2 << 30,
            rows_per_key_max: 16_384,
            dedup_entries_max: 1 << 20,
            lateness_us: units::HOUR,
            skew_us: units::MINUTE,
            jump_us: units::HOUR,
            clock: Clock::Event,
            hash_seed: 0x746f_6c6c_6761_7465,
        }
    }
}

/// Why an engine cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitError {
    /// What is wrong and what to do.
    pub message: String,
}

/// What one input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new decision: journal it, then publish it.
    Decided(Outcome),
    /// A duplicate: the stored verdict, [`wire::FLAG_DUPLICATE`] set. Nothing changed; nothing to journal.
    Repeated(Outcome),
    /// Refused. Nothing changed; nothing to journal.
    Refused(Refusal),
}

/// Records that a sweep looks at for every key that is added.
const SWEEP_PER_KEY: u32 = 4;

/// Rows moved or lost by one event for each of which a sweep looks at as many.
const SWEEP_ROWS_MAX: u64 = 16;

/// The watermark before the first event.
const NO_WATERMARK: i64 = i64::MIN;

/// The state machine.
pub struct Engine {
    loaded: Loaded,
    plan: Plan,
    currencies: Currencies,
    limits: Limits,
    /// First word of the policy's hash, for the digest.
    policy_word: u64,

    /// By entity kind, then by pair.
    tables: Vec<Table>,
    spill: Spill,
    /// `Clock::Wall`, where something is amended.
    skewed: Option<Skewed>,
    /// By group: what keys without a record share.
    shared: Vec<Option<Shared>>,
    dedup: Dedup,
    rates: Rates,
    /// Largest time admitted.
    watermark: i64,
    /// `Clock::Wall`: latest receipt.
    now: i64,
    /// Expiry is reckoned from here: the watermark, or, while expiry is frozen, what it was before the jump.
    mark: i64,
    /// `Clock::Wall`: what now jumped to, while expiry is frozen for it.
    jumped_to: Option<i64>,
    seq: u64,
    digest: u64,
    roller: Roller,
    counters: Counters,
    /// Rows scanned and moved so far.
    work: u64,

    // Working memory of one step.
    registers: Vec<Value>,
    looked_up: [LookedUp; KEYS_MAX],
    ahead: Ahead,
    /// What was seen ahead of the event's keys.
    sights: Range<usize>,
    /// The event's own rows.
    staged: Vec<u64>,
    scratch: Scratch,
    gathered: Gathered,
    sketched: Sketched,
    models: Models,
    matches: Matches,
    fired: Fired,
    orders: Orders,
    /// By table: records to look at when the step is done.
    sweeps: Vec<u32>,
    /// Whether there are any.
    sweeps_due: bool,
}

/// What is known of one key of the event, or of a pair of them.
#[derive(Clone, Copy, Default)]
struct LookedUp {
    /// Whether the event has the key.
    is_there: bool,
    record: Option<RecordNumber>,
}

/// When an event happens, as the engine sees it.
#[derive(Clone, Copy)]
struct Moment {
    time: Time,
    /// Behind the watermark by more than the lateness: kept out of all windows.
    too_late: bool,
    /// Kept out of all state.
    shed: bool,
    /// Whether a feature was computed from fewer rows than its window held, or will be.
    inexact: bool,
    /// Whether a key has been seen to have a history.
    is_known: bool,
}

/// What the features of a judged event are computed from.
struct View<'a> {
    plan: &'a Plan,
    event: &'a plan::Event,
    decoded: &'a Decoded<'a>,
    tables: &'a [Table],
    spill: &'a Spill,
    looked_up: &'a [LookedUp],
    staged: &'a [u64],
}

impl<'a> View<'a> {
    /// The rows of a group under one of the event's keys, and until when some were given up; `None` without that key.
    #[inline(always)]
    fn rows(&self, key: usize, group: usize, own: Option<Insert>) -> Option<(Rows<'a>, Option<i64>)> {
        let LookedUp { is_there: true, record } = self.looked_up[key] else { return None };
        let plan::Group { table, shape, .. } = &self.plan.groups[group];
        let table = &self.tables[*table];
        let record = record.map(|number| table.record(number));
        let of = |key: usize| self.event.keys[key].of(self.decoded);
        let own = own.filter(|own| own.key == key || of(own.key) == of(key));
        let own = own.map(|own| Block::of_row(&self.staged[own.staged..own.staged + shape.row_words]));
        let lost = record.map_or(table.lost_until(), |record| lost_until(record, shape));
        Some((Rows { shape, spill: self.spill, record, own }, lost))
    }
}

/// What stands for a program with this hash in digests, and where a table was added to it.
#[must_use]
pub fn first_word(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

impl Engine {
    /// Reserves all memory that `limits` allow.
    pub fn new(loaded: Loaded, limits: &Limits) -> Result<Self, LimitError> {
        let spans =
            [("lateness_us", limits.lateness_us), ("skew_us", limits.skew_us), ("jump_us", limits.jump_us)];
        for (name, value) in spans {
            if !(0..=TIME_END.0).contains(&value) {
                let message = format!("{name} is {value}; it must be 0 or more, and less than 230 years");
                return Err(LimitError { message });
            }
        }
        if !(1..=ROWS_PER_KEY_LIMIT).contains(&limits.rows_per_key_max) {
            let rows = limits.rows_per_key_max;
            return Err(LimitError {
                message: format!("rows_per_key_max is {rows}; it must be between 1 and {ROWS_PER_KEY_LIMIT}"),
            });
        }
        if !tollgate_model::link::is_ieee() {
            let message = "floating point does not round to the nearest number here, so that models would say something \
                else than elsewhere; find what sets it otherwise in this process, and leave it out"
                .to_owned();
            return Err(LimitError { message });
        }
        let plan = Plan::new(loaded.program(), limits);
        let is_wall = limits.clock == Clock::Wall;
        let skewed = is_wall.then(|| Skewed::new(&plan));
        let spill = Spill::reserve(limits.spill_bytes_max)?;
        let tables = plan.tables.iter().zip(1..).map(|(table, number)| {
            Table::reserve(table, limits.keys_max, limits.hash_seed.wrapping_add(number))
        });
        let tables = tables.collect::<Result<Vec<_>, _>>()?;
        let shared = plan.shared.iter().map(|form| Shared::reserve(form, limits));
        let shared = shared.collect::<Result<Vec<_>, _>>()?;
        let rows_max = Self::rows_max(limits);
        let mut engine = Self {
            currencies: Currencies::new(),
            limits: *limits,
            policy_word: first_word(&loaded.hash()),
            dedup: Dedup::reserve(limits.dedup_entries_max, limits.hash_seed)?,
            rates: Rates::reserve(loaded.program()),
            watermark: NO_WATERMARK,
            now: TIME_MIN.0,
            mark: NO_WATERMARK,
            jumped_to: None,
            seq: 0,
            digest: 0,
            roller: digest::best(),
            counters: Counters::default(),
            work: 0,
            registers: loaded.program().fresh_registers(),
            looked_up: [LookedUp::default(); KEYS_MAX],
            ahead: Ahead::reserve(plan.bounds.keys),
            sights: 0..0,
            staged: vec![0; plan.bounds.staged_words],
            scratch: Scratch::reserve(&plan, rows_max),
            gathered: Gathered::reserve(if plan.bounds.gathers { rows_max } else { 0 }),
            sketched: Sketched::reserve(plan.bounds.sketched_rows),
            models: Models::reserve(loaded.program()),
            matches: Matches::reserve(plan.bounds.operands, plan.rules),
            fired: Fired::reserve(plan.rules, plan.queues),
            orders: Orders::reserve(&plan),
            sweeps: vec![0; tables.len()],
            sweeps_due: false,
            tables,
            spill,
            skewed,
            shared,
            plan,
            loaded,
        };
        if let Some(skewed) = &mut engine.skewed {
            skewed.look_at(&engine.plan, |table| !engine.tables[table].is_asleep());
        }
        Ok(engine)
    }

    /// The most rows of a key that a feature can see: the inline rows (at most 64) come on top of the bound only where the
    /// bound is smaller; and the event's own.
    fn rows_max(limits: &Limits) -> usize {
        limits.rows_per_key_max as usize + 64 + 1
    }

    /// The program being executed.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Sees to it that what the next events will need is near by then: index buckets, records, and what is beyond the
    /// records. They should be decided in this order. Changes no decision; safe on any input.
    #[inline(never)]
    pub fn look_ahead<'a>(&mut self, inputs: impl IntoIterator<Item = Input<'a>>) {
        self.ahead.clear();
        for input in inputs {
            if !self.ahead.has_room() {
                break;
            }
            self.note_keys(&input);
        }
        self.ahead.begin(&self.tables, &self.plan, &self.spill);
    }

    /// Notes the keys of a frame that has not been checked yet, if it has the right length.
    #[inline(never)]
    fn note_keys(&mut self, input: &Input<'_>) {
        let form =
            self.plan.events.get(usize::from(input.kind)).filter(|event| {
                input.words.len() == event.form.words && input.words.len() > wire::PRESENCE_WORD
            });
        if let Some(event) = form {
            for spec in &event.keys {
                let key = spec.read(input.words, input.words[wire::PRESENCE_WORD]);
                self.ahead.note(spec.table, &self.tables[spec.table], key);
            }
        }
        self.ahead.end_event();
        if let [first, second, ..] = *input.words {
            self.dedup.prefetch_index(input.principal, units::EventId([first, second]));
        }
    }

    /// One whole decision.
    pub fn step(&mut self, input: &Input<'_>) -> Step {
        self.sights = self.ahead.next_event(&self.tables, &self.plan, &self.spill);
        let (event, content) = match self.receive(input) {
            Ok(new) => new,
            Err(answer) => return answer,
        };
        let mut outcome = self.take_in(input, &event);
        self.seq += 1;
        outcome.seq = self.seq;
        self.digest = self.roller.roll(self.digest, self.policy_word, self.judged_by(&outcome), outcome);
        self.conclude(input, &event, content, outcome);
        Step::Decided(outcome)
    }

    /// Recovery: takes the input of a journaled decision whose outcome another policy decided. State changes as in
    /// [`step`](Self::step); the verdict kept for duplicates, and the digest after it, are those recorded. An input that
    /// this policy would refuse changes nothing else.
    pub fn adopt(&mut self, input: &Input<'_>, recorded: Outcome, digest: u64) {
        self.sights = self.ahead.next_event(&self.tables, &self.plan, &self.spill);
        if let Ok((event, content)) = self.receive(input) {
            self.take_in(input, &event);
            self.conclude(input, &event, content, recorded);
        }
        self.seq = recorded.seq;
        self.digest = digest;
    }

    /// Takes an order, which holds from the next event on. `now` is when it was given. False, and nothing changed, where
    /// [`orders::KILLS_MAX`] rules are killed already, or lists have more edits than can be kept.
    pub fn order(&mut self, order: &Order, now: Time) -> bool {
        self.orders.take(order, now, &self.plan)
    }

    /// Checks a frame, and answers it at once if it is refused or a duplicate.
    #[inline(never)]
    fn receive<'a>(&mut self, input: &Input<'a>) -> Result<(Decoded<'a>, Content), Step> {
        let form = self.plan.events.get(usize::from(input.kind)).map(|event| &event.form);
        let decoded =
            form.ok_or(Refusal::UnknownEvent).and_then(|form| form.decode(input.words, &self.currencies));
        let event = match decoded {
            Ok(event) => event,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        let content = self.dedup.content(input, event.id);
        match self.dedup.look_up(input.principal, event.id, content) {
            Seen::Never => Ok((event, content)),
            Seen::Reused => Err(self.refuse(Refusal::IdReused)),
            Seen::Same(outcome) => {
                self.counters.repeated += 1;
                Err(Step::Repeated(Outcome { flags: outcome.flags | FLAG_DUPLICATE, ..outcome }))
            }
        }
    }

    /// Checks a frame and nothing else; the event's own time. For measuring what that takes.
    #[doc(hidden)]
    pub fn decode(&self, input: &Input<'_>) -> Result<Time, Refusal> {
        let event = self.plan.events.get(usize::from(input.kind)).ok_or(Refusal::UnknownEvent)?;
        event.form.decode(input.words, &self.currencies).map(|decoded| decoded.time)
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.counters.refused[refusal as usize] += 1;
        Step::Refused(refusal)
    }

    /// Judges an event and lets it change the state.
    fn take_in(&mut self, input: &Input<'_>, event: &Decoded<'_>) -> Outcome {
        if self.rates.are_brought_by(input.kind) {
            return self.take_rate(event);
        }
        let kind = usize::from(input.kind);
        let mut moment = self.place_in_time(input, event);
        self.look_up_keys(kind, event);
        self.make_own_rows(kind, event, &moment);
        let mut outcome = if self.plan.events[kind].decide.is_some() {
            self.compute_features(kind, event, &mut moment);
            self.judge(kind, event, &moment, input)
        } else {
            self.acknowledge(&moment)
        };
        if !moment.shed {
            self.advance(moment.time.0);
            self.store_own_rows(kind, event, &mut moment);
            self.amend(kind, event, &moment);
            if std::mem::take(&mut self.sweeps_due) {
                self.drop_idle_keys();
            }
        }
        self.count_work();
        outcome.policy_revision = self.plan.revision;
        moment.inexact |= self.rates.count_failures(&mut self.counters);
        if moment.inexact {
            outcome.flags |= FLAG_INEXACT;
        }
        outcome
    }

    /// Frees some of what was given up, and counts what this event cost.
    fn count_work(&mut self) {
        // More than an event can give up in the long run: a row for each of its groups, of which a slab holds many.
        const FREED: usize = 4;
        let (groups, skewed) = (&self.plan.groups, self.skewed.as_ref().map(Skewed::shape));
        let shape_of = |group| groups.get(usize::from(group)).map(|group| &group.shape).or(skewed);
        for _ in 0..FREED {
            if !free_felled(&mut self.spill, shape_of) {
                break;
            }
        }
        let counters = &mut self.counters;
        counters.rows_scanned += self.scratch.take_work() + self.gathered.take_work();
        let work = counters.rows_scanned + counters.rows_moved;
        counters.event_work_max = counters.event_work_max.max(work - self.work);
        self.work = work;
    }

    /// Takes a rate in, however it was admitted: nothing sheds it, and its time is when it takes effect, not now.
    fn take_rate(&mut self, event: &Decoded<'_>) -> Outcome {
        self.rates.take(event.words, &mut self.counters);
        self.fired.clear();
        self.registers[..self.plan.features + self.plan.models].fill(Value::MISSING);
        Outcome { flags: FLAG_ACK, policy_revision: self.plan.revision, ..Outcome::default() }
    }

    #[inline(never)]
    fn conclude(&mut self, input: &Input<'_>, event: &Decoded<'_>, content: Content, outcome: Outcome) {
        self.dedup.remember(input.principal, event.id, content, outcome, &mut self.counters);
        self.counters.decided += 1;
        self.counters.inexact += u64::from(outcome.flags & FLAG_INEXACT != 0);
    }

    fn place_in_time(&mut self, input: &Input<'_>, event: &Decoded<'_>) -> Moment {
        let shed = input.admission == Admission::Shed;
        let mut time = event.time.0;
        if self.limits.clock == Clock::Wall {
            let now = self.now.max(input.received.0.clamp(TIME_MIN.0, TIME_END.0 - 1));
            if !shed {
                self.move_now(now);
            }
            let ahead = time - now;
            if ahead.abs() > self.limits.skew_us {
                time = now;
                self.counters.skewed_ahead += u64::from(ahead > 0);
                self.counters.skewed_behind += u64::from(ahead < 0);
            }
        }
        let too_late = !shed && time < self.watermark.saturating_sub(self.limits.lateness_us);
        self.counters.too_late += u64::from(too_late);
        self.counters.late += u64::from(!shed && !too_late && time < self.watermark);
        Moment { time: Time(time), too_late, shed, inexact: too_late, is_known: false }
    }

    /// The wall clock goes on to `now`: notices a jump, and when it has been steady for long enough after one.
    fn move_now(&mut self, now: i64) {
        if self.is_jump(self.now, now) {
            self.counters.clock_jumps += 1;
            self.jumped_to = Some(now);
        } else if self.jumped_to.is_some_and(|jumped_to| now - jumped_to >= self.limits.jump_us) {
            self.jumped_to = None;
            self.mark = self.watermark;
        }
        self.now = now;
    }

    /// The watermark goes on to the time of an admitted event. What a file says of its events' times is believed, so
    /// that by the event clock a jump is counted and nothing else.
    fn advance(&mut self, time: i64) {
        if self.limits.clock == Clock::Event && self.is_jump(self.watermark, time) {
            self.counters.clock_jumps += 1;
        }
        self.watermark = self.watermark.max(time);
        if self.jumped_to.is_none() {
            self.mark = self.watermark;
        }
    }

    /// Whether going from one time to another is a jump. There is none before the first event.
    fn is_jump(&self, from: i64, to: i64) -> bool {
        self.limits.jump_us > 0 && self.watermark != NO_WATERMARK && to - from > self.limits.jump_us
    }

    #[inline(never)]
    fn look_up_keys(&mut self, kind: usize, event: &Decoded<'_>) {
        let mut likely = self.ahead.likely(self.sights.clone());
        for (looked_up, spec) in self.looked_up.iter_mut().zip(&self.plan.events[kind].keys) {
            let likely = likely.next().flatten();
            *looked_up = match spec.of(event) {
                Some(key) => {
                    LookedUp { is_there: true, record: self.tables[spec.table].find_near(key, likely) }
                }
                None => LookedUp::default(),
            };
        }
    }

    #[inline(never)]
    fn make_own_rows(&mut self, kind: usize, event: &Decoded<'_>, moment: &Moment) {
        if moment.shed || moment.too_late {
            return;
        }
        let program = self.loaded.program();
        let basis = Basis { program, rates: &self.rates, edits: &self.orders.edits };
        for own in &self.plan.events[kind].rows {
            if own.keys.iter().any(|&key| self.looked_up[key].is_there) {
                let (plan, group) = (&program.groups[own.group], &self.plan.groups[own.group]);
                let row = &mut self.staged[own.staged..own.staged + group.shape.row_words];
                encode_row(basis, plan, group, event, moment.time, &mut self.registers, row);
            }
        }
    }

    /// Sets the feature registers: from the event alone, then from the rows of its keys.
    #[inline(never)]
    fn compute_features(&mut self, kind: usize, event: &Decoded<'_>, moment: &mut Moment) {
        self.registers[..self.plan.features + self.plan.models].fill(Value::MISSING);
        if moment.shed {
            return;
        }
        let program = self.loaded.program();
        let scalars = &program.events[kind].scalars;
        let basis = Basis { program, rates: &self.rates, edits: &self.orders.edits };
        execute(basis, scalars, event.words, event.presence, moment.time, &mut self.registers);
        if moment.too_late {
            return;
        }
        let plan = &self.plan.events[kind];
        self.scratch.begin(&plan.window_sets, program, moment.time.0);
        let stored = Stored {
            looked_up: &self.looked_up,
            tables: &self.tables,
            groups: &self.plan.groups,
            spill: &self.spill,
            staged: &self.staged,
        };
        let (inexact, is_known) = self.scratch.run_direct(&plan.directs, stored, &mut self.registers);
        moment.inexact |= inexact;
        moment.is_known = is_known;
        if plan.is_more_than_direct() || self.scratch.left(0).is_some() {
            self.compute_others(kind, event, moment);
        }
        if moment.inexact && !self.plan.events[kind].bounded.is_empty() {
            self.tell_bounds(kind, event, moment.time.0);
        }
    }

    /// Sets those that are left.
    #[inline(never)]
    fn compute_others(&mut self, kind: usize, event: &Decoded<'_>, moment: &mut Moment) {
        let (program, plan) = (self.loaded.program(), &self.plan.events[kind]);
        let view = View {
            plan: &self.plan,
            event: plan,
            decoded: event,
            tables: &self.tables,
            spill: &self.spill,
            looked_up: &self.looked_up,
            staged: &self.staged,
        };
        let mut scan = |scratch: &mut Scratch, scan: &Scan, is_left: bool| {
            let Some((rows, lost)) = view.rows(scan.key, scan.group, scan.own) else { return };
            let windows = &plan.window_sets[scan.windows];
            let oldest = scratch.run(windows, program, scan, (rows, is_left), &mut self.registers);
            moment.inexact |= lost.is_some_and(|lost| lost > oldest);
        };
        let mut place = 0;
        while let Some(left) = self.scratch.left(place) {
            scan(&mut self.scratch, &plan.scans[left], true);
            place += 1;
        }
        plan.scans[plan.directs.len()..].iter().for_each(|other| scan(&mut self.scratch, other, false));
        for gather in &plan.gathers {
            let Some((rows, lost)) = view.rows(gather.key, gather.group, gather.own) else { continue };
            let (value, oldest) = self.gathered.run(gather, program, moment.time.0, &rows);
            self.registers[gather.feature] = value;
            moment.inexact |= lost.is_some_and(|lost| lost > oldest);
        }
        let at = (program, moment.time.0);
        moment.inexact |= self.sketched.tell(&view, at, &mut self.registers, &mut self.counters);
        for output in &plan.outputs {
            if self.looked_up[output.key].is_there {
                self.scratch.tell(std::slice::from_ref(output), &mut self.registers);
            }
        }
    }

    #[inline(never)]
    fn judge(&mut self, kind: usize, event: &Decoded<'_>, moment: &Moment, input: &Input<'_>) -> Outcome {
        let program = self.loaded.program();
        let (plan, archived) = (&self.plan.events[kind], &program.events[kind]);
        let (Some(decide), Some(archived_decide)) = (&plan.decide, archived.decide.as_ref()) else {
            return self.acknowledge(moment);
        };
        let basis = Basis { program, rates: &self.rates, edits: &self.orders.edits };
        let (orders, models) = (&self.orders, &mut self.models);
        let (admission, received) = (input.admission, input.received);
        let case = Case { basis, event, time: moment.time, admission, ordered: orders.action(received) };
        let judged = Judged { basis, words: event.words, presence: event.presence, time: moment.time };
        models.clear();
        // What is shed has no features: there is nothing to ask a model.
        let is_asked = !moment.shed;
        if is_asked && !archived.models.is_empty() {
            models.ask_eager(judged, archived, &mut self.registers);
        }
        let mut ask = |needed: &[_], registers: &mut [Value]| {
            // Mostly no model is needed.
            if is_asked && !needed.is_empty() {
                models.ask(judged, needed, registers);
            }
        };
        let (mut any_fired, fired) = (false, &mut self.fired);
        fired.clear();
        self.matches.find(judged, (archived, &plan.matcher), &mut self.registers, &mut ask, |position| {
            let fires = !orders.is_killed(plan.rules[usize::from(position)].index, received);
            any_fired |= fires && fired.note(plan, position);
            fires
        });
        ask(&archived_decide.models, &mut self.registers);
        // Models that only rules read have no part in it: whether a lazy one was asked is how the rules are matched.
        let has_answer = archived_decide
            .models
            .iter()
            .any(|model| !self.models()[usize::from(model.to_native())].is_missing());
        let is_known = any_fired || has_answer || moment.is_known || !moment.shed && self.has_history(kind);
        self.fired.decide(plan, (decide, archived_decide), &case, !is_known, &mut self.registers)
    }

    /// The answer to an event that is not of a judged kind.
    fn acknowledge(&mut self, moment: &Moment) -> Outcome {
        self.fired.clear();
        self.registers[..self.plan.features + self.plan.models].fill(Value::MISSING);
        Outcome { flags: FLAG_ACK | if moment.shed { FLAG_FALLBACK } else { 0 }, ..Outcome::default() }
    }

    /// Whether a key of the event has a stored row that some window could still reach.
    fn has_history(&self, kind: usize) -> bool {
        let specs = &self.plan.events[kind].keys;
        specs.iter().zip(&self.looked_up).any(|(spec, looked_up)| {
            let Some(number) = looked_up.record.filter(|_| spec.tells_history) else { return false };
            let record = self.tables[spec.table].record(number);
            self.plan.tables[spec.table].groups.iter().any(|&group| {
                let group = &self.plan.groups[group];
                group.forgotten_after.is_some_and(|after| {
                    any_alive(record, &group.shape, &self.spill, self.mark.saturating_sub(after))
                })
            })
        })
    }

    /// Lets an amendment change the rows of its target.
    #[inline(never)]
    fn amend(&mut self, kind: usize, event: &Decoded<'_>, moment: &Moment) {
        let Some((target_tag, target_time)) = event.target else { return };
        let program = self.loaded.program();
        let basis = Basis { program, rates: &self.rates, edits: &self.orders.edits };
        let stored = self.skewed.as_mut().and_then(|skewed| {
            let target = named(usize::from(program.events[kind].amends.to_native()), target_tag, target_time);
            skewed.find(target, self.mark, &mut self.spill, &mut self.counters)
        });
        let places = [Some(target_time.0), stored];
        let (mut found, mut changed) = (0, 0);
        for target in &self.plan.events[kind].targets {
            let Some(record) = self.looked_up[target.key].record else { continue };
            let group = &self.plan.groups[target.group];
            let amendment = Amendment {
                basis,
                plan: &program.groups[target.group],
                group,
                kind: target.amend,
                event,
                time: moment.time,
                target_tag,
                places,
                dead: self.mark.saturating_sub(group.dead_after),
            };
            let record = self.tables[group.table].record_mut(record);
            let amended = amendment.apply(record, &mut self.spill, &mut self.registers, &mut self.counters);
            found += amended.found;
            changed += amended.changed;
        }
        let counter = match (found, changed) {
            (0, _) => &mut self.counters.amend_unknown,
            (_, 0) => &mut self.counters.amend_stale,
            _ => &mut self.counters.amended,
        };
        *counter += 1;
    }

    /// Looks at a bounded number of records, and drops those whose rows are all out of every window's reach.
    #[inline(never)]
    fn drop_idle_keys(&mut self) {
        for (number, looks) in self.sweeps.iter_mut().enumerate() {
            let (table, spec) = (&mut self.tables[number], &self.plan.tables[number]);
            for _ in 0..std::mem::take(looks) {
                let dead = self.mark.saturating_sub(spec.dead_after);
                let Some(idle) = table.sweep(dead) else { continue };
                for &group in &spec.groups {
                    release(table.record(idle), &self.plan.groups[group].shape, &mut self.spill);
                }
                table.drop_record(idle);
                self.counters.keys_expired += 1;
            }
        }
    }
}
