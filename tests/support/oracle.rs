//! The oracle: a second, naive reading of a policy.
//!
//! It walks [`typed::Policy`] directly. Every accepted event is kept for ever in a plain list per (event kind, key
//! fields, keys); every feature is one linear scan of such a list; every expression is evaluated by recursion over its
//! tree in exact fractions. The single concession to speed is [`Row::known`]: what a source says of a row is
//! remembered until an amendment changes the row.
//!
//! It is one file, so that it can be read beside the policy's types from top to bottom;
//! [`aggregates`](super::aggregates) has the arithmetic. What a decision means is written here once more, from the
//! documentation of `policy::typed`, `engine::wire` and the design, and from nothing else:
//!
//! 1. A malformed frame is refused; a repeated one gets the stored verdict; an id with other content is refused.
//! 2. Time: `Clock::Event` takes the event's; `Clock::Wall` the event's too, unless it is beyond the skew of now.
//!    An event that moves the clock (by `Clock::Event`, the watermark) further at once than `jump_us` is counted.
//!    After a jump of the wall clock history is reckoned from the watermark before it, until receipts have gone on for
//!    `jump_us` since the last jump.
//!    An amendment is for the rows of its target's id that are of the time it names for it, or of the time at which an event
//!    of that id, kind and named time was last taken in.
//! 3. More than the lateness behind the watermark is too late: judged without windows, kept out of them.
//! 4. The event enters its windows, then an amendment changes its target's rows, then features are computed.
//!    What money is worth in another currency is decided by the rates that had come when the event did, for ever.
//! 5. Rules, removal by `allow over`, score, thresholds, action, reasons.
//!
//! It is one file because it is one reading: whoever doubts a decision reads it from top to bottom.

use super::aggregates::{self, Held};
use super::fraction::Fraction;
use super::frames::{Cell, Layout, header_words, width};
use super::models;
use super::receipts::{Receipts, is_jump};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use tollgate::engine::lists::{self, Edit};
use tollgate::engine::orders::{Name, Order};
use tollgate::engine::program::{Assume, DISTINCT_EXACT_MAX, ListOf};
use tollgate::engine::units::codes::COUNTRIES;
use tollgate::engine::units::entries::Entry;
use tollgate::engine::units::{Action, Currency, EventId, Key, SECOND, TIME_END, TIME_MIN, Time, Value};
use tollgate::engine::wire::{
    Admission, FLAG_ACK, FLAG_ALERT, FLAG_DUPLICATE, FLAG_FALLBACK, FLAG_INEXACT, Input, Outcome,
    PRESENCE_WORD, Refusal,
};
use tollgate::engine::{Clock, Limits, Step};
use tollgate::policy::entries;
use tollgate::policy::typed::{
    self, Aggregate, Arithmetic, By, Compare, EventIx, Expr, FeatureKind, FieldIx, FieldType, Frame, Policy,
    Source, Type, Window, Within,
};
use tollgate::token::Tokenizer;
use tollgate_model::archive::Opened;

/// What an expression comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Missing, or unknown.
    Missing,
    /// A truth value.
    Truth(bool),
    /// A number, an ordinal, minor units of a currency that the type names.
    Number(Fraction),
    /// Money of any currency, and when it came.
    Cash(i64, Currency, Moment),
    /// A key, of a row.
    Key(Key),
}

impl Answer {
    pub fn number(of: Option<Fraction>) -> Self {
        of.map_or(Self::Missing, Self::Number)
    }

    pub fn int(number: i64) -> Self {
        Self::Number(Fraction::int(number))
    }

    fn is_true(self) -> bool {
        self == Self::Truth(true)
    }

    /// As the engine tells it: truth is 0 or 1, missing is `None`.
    pub fn told(self) -> Option<Fraction> {
        match self {
            Self::Missing => None,
            Self::Truth(truth) => Some(Fraction::int(i64::from(truth))),
            Self::Number(number) => Some(number),
            Self::Cash(..) | Self::Key(_) => panic!("{self:?} was told"),
        }
    }
}

/// When an event came: what its money is worth depends on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its time, as judged.
    time: i64,
    /// How many rates had come.
    rates: usize,
}

/// A rate, in the order in which they came.
#[derive(Clone, Copy, Debug)]
struct Rate {
    from: u64,
    to: u64,
    time: i64,
    tag: u64,
    num: i128,
    den: i128,
}

/// What has happened; compared with the engine's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub decided: u64,
    pub repeated: u64,
    pub refused: [u64; 8],
    pub late: u64,
    pub too_late: u64,
    pub skewed_ahead: u64,
    pub skewed_behind: u64,
    pub clock_jumps: u64,
    pub rates: u64,
}

/// One event as decoded.
#[derive(Debug)]
pub struct Taken {
    kind: EventIx,
    pub time: i64,
    pub tag: u64,
    cells: Vec<Option<Cell>>,
    /// Rates and orders that had come when it did.
    rates: usize,
    edits: usize,
}

impl Taken {
    fn moment(&self) -> Moment {
        Moment { time: self.time, rates: self.rates }
    }
}

/// A list of the policy.
struct Listed {
    name: Name,
    of: ListOf,
    /// With until when they count.
    entries: Vec<(Entry, i64)>,
}

impl Listed {
    /// Whether what a field holds is in it: the last edit of an entry that is in force says so, else the policy does.
    fn has(&self, cell: Cell, time: i64, edits: &[(Order, Time)]) -> bool {
        let in_force = self.entries.iter().filter(|(_, until)| time < *until);
        let mut all: BTreeMap<Entry, bool> = in_force.map(|(entry, _)| (*entry, true)).collect();
        let mut edited: BTreeMap<Entry, (bool, i64)> = BTreeMap::new();
        for (order, given) in edits {
            let Order::List { list, entry, edit, until } = order else { continue };
            if *list == self.name {
                match edit {
                    Edit::Add | Edit::Remove if until > given => {
                        edited.insert(*entry, (*edit == Edit::Add, until.0));
                    }
                    _ => _ = edited.remove(entry),
                }
            }
        }
        for (entry, (added, until)) in edited {
            if time < until {
                all.insert(entry, added);
            }
        }
        // Of prefixes the longest says so.
        let matching = all.iter().filter(|(entry, _)| self.matches(entry, cell));
        matching.max_by_key(|(entry, _)| entry.width).is_some_and(|(_, counts)| *counts)
    }

    fn matches(&self, entry: &Entry, cell: Cell) -> bool {
        let whole = |words: &[u64; 8]| u128::from(words[0]) << 64 | u128::from(words[1]);
        match (self.of, cell) {
            (ListOf::Entity(_), Cell::Key(key)) => entry.words[..2] == key.0,
            (ListOf::Text, Cell::Words(words, _)) => entry.words == words,
            (ListOf::Ip, Cell::Words(words, 2)) => {
                (whole(&words) ^ whole(&entry.words)).leading_zeros() >= u32::from(entry.width)
            }
            (ListOf::Bin, Cell::Number(number)) => {
                let digits = format!("{:08}", number / 10);
                let digits = &digits[..(number % 10) as usize];
                digits.starts_with(&format!("{:01$}", entry.words[0], usize::from(entry.width)))
            }
            (ListOf::Int | ListOf::Country | ListOf::Currency | ListOf::Mcc, Cell::Number(number)) => {
                entry.words[0] == number as u64
            }
            (of, cell) => panic!("{cell:?} is looked up among {of:?}"),
        }
    }
}

/// What a frame holds.
enum Arrived {
    Event(Taken),
    Rate(Rate),
}

/// The newest amendment of one kind applied to a row.
type Applied = BTreeMap<EventIx, Rc<Taken>>;

/// One event, as kept under one of its keys.
struct Row {
    event: Rc<Taken>,
    applied: Applied,
    /// By source of the policy: whether the filter is true, and the value.
    known: RefCell<BTreeMap<usize, (bool, Answer)>>,
}

/// What is kept of one event kind under one of its key fields, or a pair of them.
struct Group {
    event: EventIx,
    role: By<FieldIx>,
    by: By<typed::EntityIx>,
    retention_us: i64,
    /// By the key, or by both keys in order.
    rows: BTreeMap<Vec<Key>, Vec<Row>>,
}

/// What was answered to (principal, id).
struct Remembered {
    kind: u16,
    words: Vec<u64>,
    outcome: Outcome,
}

/// The naive engine.
pub struct Oracle<'p> {
    policy: &'p Policy,
    layouts: &'p [Layout],
    limits: Limits,
    lists: Vec<Listed>,
    edits: Vec<(Order, Time)>,
    zones: BTreeMap<String, TimeZone>,
    groups: Vec<Group>,
    remembered: BTreeMap<(u32, EventId), Remembered>,
    order: VecDeque<(u32, EventId)>,
    watermark: Option<i64>,
    receipts: Receipts,
    /// By kind, id tag and the time that it was said to be of: where an event went that was not believed.
    moved: BTreeMap<(EventIx, u64, i64), i64>,
    seq: u64,
    features: Vec<Answer>,
    models: Vec<Answer>,
    /// The models as the walk takes them.
    opened: Vec<Opened>,
    rates: Vec<Rate>,
    tally: Tally,
    /// Of how many events a count of different things that says `assume` is exact.
    exact_max: usize,
    /// Times that such a count was a bound.
    bounded: u64,
    /// Rows changed that were not at the time their amendment named.
    amended_elsewhere: u64,
    /// Events that had a history only because a jump of the clock let nothing expire.
    spared: u64,
    /// Times that a rule did not fire because it was not effective, or because of what it is part of, though its condition was
    /// true.
    not_effective: u64,
    not_let: u64,
    behind: u64,
    /// Numbers of the queues that the last decision alerted.
    alerts: BTreeSet<u16>,
}

/// What an expression may look at.
struct Context<'c> {
    event: &'c Taken,
    /// Inside an aggregate, the amendments of the row; `None` outside.
    applied: Option<&'c Applied>,
    features: &'c [Answer],
    models: &'c [Answer],
    rule_scores_max: Answer,
    rule_scores_sum: Answer,
    score: Answer,
}

impl<'c> Context<'c> {
    fn judging(event: &'c Taken, features: &'c [Answer]) -> Self {
        let missing = Answer::Missing;
        Self {
            event,
            applied: None,
            features,
            models: &[],
            rule_scores_max: missing,
            rule_scores_sum: missing,
            score: missing,
        }
    }

    fn row(row: &'c Row) -> Self {
        Self { applied: Some(&row.applied), ..Self::judging(&row.event, &[]) }
    }
}

impl<'p> Oracle<'p> {
    pub fn new(policy: &'p Policy, layouts: &'p [Layout], limits: Limits, tokenizer: &Tokenizer) -> Self {
        let list = |list: &typed::List| {
            let kind = list.of.word(|kind| policy.entities[usize::from(kind)].as_str());
            let entry = |entry: &typed::ListEntry| {
                let read =
                    entries::read(list.of, kind, &entry.text, tokenizer).expect("lists hold no card numbers");
                (read, entry.until.unwrap_or(i64::MAX))
            };
            Listed {
                name: lists::name(&list.name, kind),
                of: list.of,
                entries: list.entries.iter().map(entry).collect(),
            }
        };
        let mut groups: Vec<Group> = Vec::new();
        for window in windows(policy) {
            let reach = sides(window).map(|(frame, delay)| aggregates::reach(frame) + delay);
            let reach = reach.max().expect("a window has a frame");
            for source in sources(&window.aggregate) {
                let known = groups.iter_mut().find(|g| g.event == source.event && g.role == source.role);
                match known {
                    Some(group) => group.retention_us = group.retention_us.max(reach),
                    None => groups.push(Group {
                        event: source.event,
                        role: source.role,
                        by: window.by,
                        retention_us: reach,
                        rows: BTreeMap::new(),
                    }),
                }
            }
        }
        Self {
            policy,
            layouts,
            limits,
            lists: policy.lists.iter().map(list).collect(),
            edits: Vec::new(),
            zones: BTreeMap::new(),
            groups,
            remembered: BTreeMap::new(),
            order: VecDeque::new(),
            watermark: None,
            receipts: Receipts::new(limits),
            moved: BTreeMap::new(),
            seq: 0,
            features: vec![Answer::Missing; policy.features.len()],
            models: vec![Answer::Missing; policy.models.len()],
            opened: policy.models.iter().map(models::opened).collect(),
            rates: Vec::new(),
            tally: Tally::default(),
            exact_max: DISTINCT_EXACT_MAX as usize,
            bounded: 0,
            amended_elsewhere: 0,
            spared: 0,
            not_effective: 0,
            not_let: 0,
            behind: 0,
            alerts: BTreeSet::new(),
        }
    }

    /// The same, where a count of different things that says `assume` is exact of so many events.
    pub fn exact_up_to(self, events: u32) -> Self {
        Self { exact_max: events as usize, ..self }
    }

    /// What each model says of the last decision's event, whether or not it had to be asked.
    pub fn models(&self) -> &[Answer] {
        &self.models
    }

    /// The features of the last decision.
    pub fn features(&self) -> &[Answer] {
        &self.features
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn amended_elsewhere(&self) -> u64 {
        self.amended_elsewhere
    }

    pub fn bounded(&self) -> u64 {
        self.bounded
    }

    pub fn alerts(&self) -> Vec<u16> {
        self.alerts.iter().copied().collect()
    }

    pub fn not_effective(&self) -> u64 {
        self.not_effective
    }

    pub fn not_let(&self) -> u64 {
        self.not_let
    }

    /// Rows of tables that would have fired if none before them had.
    pub fn behind(&self) -> u64 {
        self.behind
    }

    pub fn spared(&self) -> u64 {
        self.spared
    }

    /// An order, which holds from the next event on.
    pub fn order(&mut self, order: &Order, given: Time) {
        self.edits.push((*order, given));
    }

    /// One whole decision.
    pub fn step(&mut self, input: &Input<'_>) -> Step {
        self.alerts.clear();
        let arrived = match self.decode(input) {
            Ok(arrived) => arrived,
            Err(refusal) => return self.refuse(refusal),
        };
        let id = EventId([input.words[0], input.words[1]]);
        if let Some(before) = self.remembered.get(&(input.principal, id)) {
            if before.kind != input.kind || before.words != input.words {
                return self.refuse(Refusal::IdReused);
            }
            self.tally.repeated += 1;
            return Step::Repeated(Outcome {
                flags: before.outcome.flags | FLAG_DUPLICATE,
                ..before.outcome
            });
        }
        let mut outcome = match arrived {
            Arrived::Event(event) => self.decide(event, input),
            Arrived::Rate(rate) => self.take_rate(rate),
        };
        self.seq += 1;
        outcome.seq = self.seq;
        self.tally.decided += 1;
        self.remember(input, id, outcome);
        Step::Decided(outcome)
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.tally.refused[refusal as usize] += 1;
        Step::Refused(refusal)
    }

    fn remember(&mut self, input: &Input<'_>, id: EventId, outcome: Outcome) {
        if self.order.len() == self.limits.dedup_entries_max as usize {
            let oldest = self.order.pop_front().expect("at least one entry is kept");
            self.remembered.remove(&oldest);
        }
        self.order.push_back((input.principal, id));
        let words = input.words.to_vec();
        self.remembered.insert((input.principal, id), Remembered { kind: input.kind, words, outcome });
    }

    /// Shed or not, whatever the time: it only waits for those who ask.
    fn take_rate(&mut self, rate: Rate) -> Outcome {
        self.tally.rates += 1;
        self.rates.push(rate);
        self.features.fill(Answer::Missing);
        self.models.fill(Answer::Missing);
        Outcome { flags: FLAG_ACK, policy_revision: self.policy.revision, ..Outcome::default() }
    }

    fn decide(&mut self, mut event: Taken, input: &Input<'_>) -> Outcome {
        let shed = input.admission == Admission::Shed;
        event.rates = self.rates.len();
        event.edits = self.edits.len();
        let before = self.watermark;
        let said = event.time;
        event.time = self.receipts.place(event.time, input.received.0, shed, before, &mut self.tally);
        let too_late = !shed && before.is_some_and(|w| event.time < w - self.limits.lateness_us);
        let history = self.has_history(&event, self.receipts.mark(before));
        self.spared += u64::from(history && !self.has_history(&event, before));
        let event = Rc::new(event);
        if !shed {
            self.tally.too_late += u64::from(too_late);
            self.tally.late += u64::from(!too_late && before.is_some_and(|w| event.time < w));
            let moved = before.map_or(0, |w| event.time - w);
            let by_event = self.limits.clock == Clock::Event;
            self.tally.clock_jumps += u64::from(by_event && is_jump(&self.limits, moved));
            self.watermark = before.max(Some(event.time));
            if !too_late {
                self.insert(&event);
                if event.time != said {
                    self.moved.insert((event.kind, event.tag, said), event.time);
                }
            }
            if self.policy.events[event.kind.index()].amends.is_some() {
                self.amend(&event, input.words);
            }
        }
        self.features = self.all_features(&event, shed, too_late);
        let mut outcome = self.judge(&event, input.admission, history);
        outcome.policy_revision = self.policy.revision;
        outcome.flags |= if too_late { FLAG_INEXACT } else { 0 };
        outcome
    }

    /// Whether the last jump of the wall clock is too recent for anything to expire.
    pub fn expiry_frozen(&self) -> bool {
        self.receipts.expiry_frozen()
    }

    // ── decoding ────────────────────────────────────────────────────────────────────────────────────────────────

    fn decode(&self, input: &Input<'_>) -> Result<Arrived, Refusal> {
        let words = input.words;
        let kind = EventIx(input.kind);
        if self.policy.rates.is_some() && kind.index() == self.policy.events.len() {
            return rate(words).map(Arrived::Rate);
        }
        let event = self.policy.events.get(kind.index()).ok_or(Refusal::UnknownEvent)?;
        let layout = &self.layouts[kind.index()];
        if words.len() != layout.words {
            return Err(Refusal::WrongLength);
        }
        let present = words[PRESENCE_WORD];
        let bits = || layout.fields.iter().map(|&(_, bit)| 1_u64 << bit);
        let known: u64 = bits().sum();
        let required: u64 =
            bits().zip(&event.fields).filter(|(_, field)| !field.optional).map(|(bit, _)| bit).sum();
        if present & !known != 0 || present & required != required {
            return Err(Refusal::BadPresence);
        }
        let accepted = |time: u64| (TIME_MIN..TIME_END).contains(&Time(time as i64));
        if !accepted(words[2]) || event.amends.is_some() && !accepted(words[6]) {
            return Err(Refusal::BadTime);
        }
        debug_assert!(layout.fields.iter().all(|&(word, _)| word >= header_words(event)));
        let mut cells = Vec::with_capacity(event.fields.len());
        for (field, &(word, bit)) in event.fields.iter().zip(&layout.fields) {
            let held = &words[word..word + width(&field.ty)];
            cells.push(if present >> bit & 1 == 1 {
                Some(cell(&field.ty, held)?)
            } else if held.iter().all(|&word| word == 0) {
                None
            } else {
                return Err(Refusal::BadValue);
            });
        }
        let tag = EventId([words[0], words[1]]).tag();
        Ok(Arrived::Event(Taken { kind, time: words[2] as i64, tag, cells, rates: 0, edits: 0 }))
    }

    // ── state ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn insert(&mut self, event: &Rc<Taken>) {
        for group in self.groups.iter_mut().filter(|group| group.event == event.kind) {
            if let Some(keys) = keys_of(event, group.role) {
                let row = Row { event: event.clone(), applied: Applied::new(), known: RefCell::default() };
                group.rows.entry(keys).or_default().push(row);
            }
        }
    }

    /// Each row of the target is reached through the keys that the amendment carries for the fields it is kept by.
    fn amend(&mut self, amendment: &Rc<Taken>, words: &[u64]) {
        let (target_tag, target_time) = (EventId([words[4], words[5]]).tag(), words[6] as i64);
        let amend = &self.policy.events[amendment.kind.index()];
        let moved = amend.amends.and_then(|kind| self.moved.get(&(kind, target_tag, target_time))).copied();
        for group in self.groups.iter_mut().filter(|group| Some(group.event) == amend.amends) {
            let mut keys = Vec::new();
            for role in group.role.each() {
                let carried = amend.fields.iter().position(|field| field.inherited == Some(role));
                keys.push(carried.and_then(|field| key_of(amendment, FieldIx(field as u16))));
            }
            let keys: Option<Vec<Key>> = keys.into_iter().collect();
            let Some(rows) = keys.and_then(|keys| group.rows.get_mut(&keys)) else { continue };
            for row in rows {
                let is_there = row.event.time == target_time || Some(row.event.time) == moved;
                if row.event.tag != target_tag || !is_there {
                    continue;
                }
                let newest = row.applied.get(&amendment.kind).map(|newest| (newest.time, newest.tag));
                if newest.is_none_or(|newest| newest < (amendment.time, amendment.tag)) {
                    self.amended_elsewhere += u64::from(row.event.time != target_time);
                    row.applied.insert(amendment.kind, amendment.clone());
                    row.known.borrow_mut().clear();
                }
            }
        }
    }

    /// Whether anything is known of a key, or a pair of keys, of this event, before it is itself taken in, that is not expired
    /// at `mark`.
    fn has_history(&self, event: &Taken, mark: Option<i64>) -> bool {
        let kept = self.groups.iter().filter(|group| group.event == event.kind).map(|group| group.role);
        let used = windows(self.policy)
            .flat_map(|window| &window.judged_by)
            .filter(|(judged, _)| *judged == event.kind)
            .map(|(_, role)| *role);
        let roles: BTreeSet<By<FieldIx>> = kept.chain(used).collect();
        roles.into_iter().any(|role| {
            let Some(keys) = keys_of(event, role) else { return false };
            let fields = &self.policy.events[event.kind.index()].fields;
            let types: Vec<FieldType> = role.each().map(|field| fields[field.index()].ty.clone()).collect();
            let same_kinds =
                |group: &&Group| group.by.each().map(FieldType::Entity).collect::<Vec<_>>() == types;
            self.groups.iter().filter(same_kinds).any(|group| {
                let horizon = self.limits.lateness_us + group.retention_us;
                let dead = mark.map_or(i64::MIN, |mark| mark - horizon);
                group.rows.get(&keys).is_some_and(|rows| rows.iter().any(|row| row.event.time > dead))
            })
        })
    }

    // ── features ────────────────────────────────────────────────────────────────────────────────────────────────

    fn all_features(&mut self, event: &Taken, shed: bool, too_late: bool) -> Vec<Answer> {
        let judged = self.policy.decides.iter().any(|decide| decide.event == event.kind);
        let policy = self.policy;
        let mut source_number = 0;
        let mut answers = Vec::with_capacity(policy.features.len());
        for feature in &policy.features {
            let first_source = source_number;
            answers.push(match &feature.kind {
                _ if shed || !judged => Answer::Missing,
                FeatureKind::Scalar { event: on, expr } if *on == event.kind => {
                    self.evaluate(expr, &Context::judging(event, &[]))
                }
                FeatureKind::Window(window) if !too_late => {
                    self.windowed(window, feature.assume, event, first_source)
                }
                FeatureKind::Scalar { .. } | FeatureKind::Window(_) => Answer::Missing,
            });
            if let FeatureKind::Window(window) = &feature.kind {
                source_number += sources(&window.aggregate).len();
            }
        }
        answers
    }

    fn windowed(
        &mut self,
        window: &Window,
        assume: Option<Assume>,
        event: &Taken,
        first_source: usize,
    ) -> Answer {
        let by = window.judged_by.iter().find(|(judged, _)| *judged == event.kind);
        let Some(keys) = by.and_then(|(_, role)| keys_of(event, *role)) else { return Answer::Missing };
        let numbers: Vec<usize> =
            (0..).map(|i| first_source + i).take(sources(&window.aggregate).len()).collect();
        let mut answers = Vec::new();
        for (frame, delay) in sides(window) {
            // Neither of so many events, nor compared, is anything a bound.
            let by_event = matches!(frame, Frame::Events { .. } | Frame::Session { .. });
            let is_compared = matches!(window.aggregate, Aggregate::Change { .. });
            let assume = assume.filter(|_| !by_event && !is_compared);
            let look = Look { frame, until: event.time - delay, keys: &keys, event, assume };
            answers.push(self.computed(base(&window.aggregate), &look, &numbers));
        }
        match answers[..] {
            [Answer::Number(a), Answer::Number(b)] => Answer::number(a.change_from(b)),
            [answer] => answer,
            _ => Answer::Missing,
        }
    }

    /// An aggregate over one frame.
    fn computed(&mut self, aggregate: &Aggregate, look: &Look<'_>, numbers: &[usize]) -> Answer {
        let policy = self.policy;
        let reader = Reader { policy, lists: &[], edits: &[], rates: &[] };
        let decimal = |source: &Source, expr: &Expr| reader.is_decimal(expr, source.event);
        let mut held = |source, what| self.held(source, what, look, numbers[numbers.len() - 1]);
        match aggregate {
            Aggregate::Count(source) => Answer::int(held(source, What::Nothing).len() as i64),
            // A sum is missing when it leaves 64 bits in its unit; an average only when the quotient does.
            Aggregate::Sum(source, expr) => {
                let (units, den) = sum(&numbers_of(&held(source, What::Value(expr))), decimal(source, expr));
                let fits = i64::try_from(units).is_ok();
                Answer::number(Fraction::new(units, den).filter(|_| fits))
            }
            Aggregate::Avg(source, expr) => {
                let values = numbers_of(&held(source, What::Value(expr)));
                let (units, den) = sum(&values, decimal(source, expr));
                Answer::number(Fraction::new(units, den * values.len() as i128))
            }
            Aggregate::Min(source, expr) => {
                let values = numbers_of(&held(source, What::Value(expr)));
                Answer::number(values.into_iter().min_by(|a, b| a.compare(*b)))
            }
            Aggregate::Max(source, expr) => {
                let values = numbers_of(&held(source, What::Value(expr)));
                Answer::number(values.into_iter().max_by(|a, b| a.compare(*b)))
            }
            Aggregate::DistinctValues(source, expr) => {
                let held = held(source, What::Value(expr));
                self.different(&held, look.assume)
            }
            Aggregate::DistinctKeys(source, field) => {
                let held = held(source, What::Key(*field));
                self.different(&held, look.assume)
            }
            Aggregate::Ratio(over, under) if look.frame.is_by_event() => {
                let also = held_in(self.held_by_time(over, What::Nothing, look, numbers[0]));
                let mut all = self.held_by_time(under, What::Nothing, look, numbers[1]);
                all.iter_mut().for_each(|held| held.value = Answer::Truth(also(held)));
                all.sort_by(Held::later);
                let frame = aggregates::cut(look.frame, look.until, all);
                let both = frame.iter().filter(|held| held.value.is_true()).count();
                aggregates::ratio(both, frame.len())
            }
            Aggregate::Ratio(over, under) => {
                let under = held(under, What::Nothing).len();
                aggregates::ratio(self.held(over, What::Nothing, look, numbers[0]).len(), under)
            }
            Aggregate::Stddev(source, expr) => {
                let den = if decimal(source, expr) { 1_000_000 } else { 1 };
                aggregates::deviation(&numbers_of(&held(source, What::Value(expr))), den)
            }
            Aggregate::First(source, expr) => aggregates::present(&held(source, What::Value(expr)))
                .first()
                .map_or(Answer::Missing, |held| held.value),
            Aggregate::Last(source, expr) => aggregates::present(&held(source, What::Value(expr)))
                .last()
                .map_or(Answer::Missing, |held| held.value),
            Aggregate::ShareKeys(source, field) => aggregates::share(&held(source, What::Key(*field))),
            Aggregate::ShareValues(source, expr) => aggregates::share(&held(source, What::Value(expr))),
            Aggregate::Percentile(percent, source, expr) => {
                aggregates::percentile(numbers_of(&held(source, What::Value(expr))), *percent)
            }
            Aggregate::Change { .. } => panic!("a change of a change"),
            Aggregate::DecayedCount(source, half_life) => {
                let weighed = held(source, What::Nothing);
                let weighed = weighed.iter().map(|held| (look.until - held.event.time, Fraction::int(1)));
                aggregates::decayed(weighed, *half_life, 1)
            }
            Aggregate::DecayedSum(source, expr, half_life) => {
                let den = if decimal(source, expr) { 1_000_000 } else { 1 };
                let weighed = aggregates::present(&held(source, What::Value(expr)));
                let weighed = weighed
                    .iter()
                    .filter_map(|held| Some((look.until - held.event.time, held.value.told()?)));
                aggregates::decayed(weighed, *half_life, den)
            }
            Aggregate::SinceLast(source) => {
                let latest = aggregates::others(held(source, What::Nothing)).pop();
                latest.map_or(Answer::Missing, |held| Answer::int(look.event.time - held.event.time))
            }
            Aggregate::SinceFirst(source) => {
                let others = aggregates::others(held(source, What::Nothing));
                others.first().map_or(Answer::Missing, |held| Answer::int(look.event.time - held.event.time))
            }
            Aggregate::Distance(source, field) | Aggregate::Speed(source, field) => {
                let others = aggregates::others(held(source, What::Place(*field)));
                let own =
                    self.own(source, What::Place(*field), look, numbers[0]).filter(|(counts, _)| *counts);
                let (Some((_, Answer::Number(here))), Some(latest)) =
                    (own, aggregates::present(&others).pop())
                else {
                    return Answer::Missing;
                };
                let there = latest.value.told().expect("a place is a number");
                let metres = Fraction::int(aggregates::metres(here, there));
                match aggregate {
                    Aggregate::Distance(..) => Answer::Number(metres),
                    _ => {
                        let apart = (look.event.time - latest.event.time).max(1_000_000);
                        let hours = Fraction::new(i128::from(apart), 3_600_000_000).expect("it fits");
                        Answer::number(Fraction::new(1, 1000).and_then(|km| metres.mul(km)?.div(hours)))
                    }
                }
            }
            Aggregate::SeenKey(source, field) => {
                let others = aggregates::others(held(source, What::Key(*field)));
                aggregates::seen(self.own(source, What::Key(*field), look, numbers[0]), &others)
            }
            Aggregate::SeenValue(source, expr) => {
                let others = aggregates::others(held(source, What::Value(expr)));
                aggregates::seen(self.own(source, What::Value(expr), look, numbers[0]), &others)
            }
            Aggregate::Days(source, zone) => {
                let held = held(source, What::Nothing);
                let zones = &mut self.zones;
                let days: BTreeSet<_> =
                    held.iter().map(|held| local(held.event.time, zone, zones).date()).collect();
                Answer::int(days.len() as i64)
            }
        }
    }

    /// How many different values there are; or, where one is assumed, a bound: of so many of the latest events that have a
    /// value, and by the upper one each earlier event with one besides.
    fn different(&mut self, held: &[Held], assume: Option<Assume>) -> Answer {
        let held = aggregates::present(held);
        let earlier = if assume.is_some() { held.len().saturating_sub(self.exact_max) } else { 0 };
        self.bounded += u64::from(earlier > 0);
        let different = aggregates::frequencies(&held[earlier..]).len();
        Answer::int(if assume == Some(Assume::High) { different + earlier } else { different } as i64)
    }

    /// The events of a frame, the latest last.
    fn held(&mut self, source: &Source, what: What<'_>, look: &Look<'_>, number: usize) -> Vec<Held> {
        let held = self.held_by_time(source, what, look, number);
        aggregates::cut(look.frame, look.until, held)
    }

    /// Those in reach of a frame.
    fn held_by_time(&mut self, source: &Source, what: What<'_>, look: &Look<'_>, number: usize) -> Vec<Held> {
        let first = match look.frame {
            Frame::This { period, zone } => aggregates::period_start(*period, zone, look.until),
            Frame::Every { span_us } => look.until - look.until.rem_euclid(*span_us),
            Frame::Last { span_us } | Frame::Events { span_us, .. } | Frame::Session { span_us, .. } => {
                look.until - span_us + 1
            }
        };
        let mut held = Vec::new();
        self.visit(source, what, look.keys, number, |row, counts, value| {
            if counts && first <= row.event.time && row.event.time <= look.until {
                let own = std::ptr::eq(&*row.event, look.event);
                held.push(Held { event: row.event.clone(), value, own });
            }
        });
        held.sort_by(Held::later);
        held
    }

    /// Whether the judged event counts, and its value, when it is kept under this key.
    fn own(
        &mut self,
        source: &Source,
        what: What<'_>,
        look: &Look<'_>,
        number: usize,
    ) -> Option<(bool, Answer)> {
        let mut own = None;
        self.visit(source, what, look.keys, number, |row, counts, value| {
            if std::ptr::eq(&*row.event, look.event) {
                own = Some((counts, value));
            }
        });
        own
    }

    /// Every row of a key: whether the source counts it, and its value.
    fn visit(
        &mut self,
        source: &Source,
        what: What<'_>,
        keys: &[Key],
        number: usize,
        mut each: impl FnMut(&Row, bool, Answer),
    ) {
        let zones = &mut self.zones;
        let reader =
            Reader { policy: self.policy, lists: &self.lists, edits: &self.edits, rates: &self.rates };
        let group = self.groups.iter().find(|group| group.event == source.event && group.role == source.role);
        let rows = group.and_then(|group| group.rows.get(keys));
        for row in rows.into_iter().flatten() {
            let (counts, answer) = *row.known.borrow_mut().entry(number).or_insert_with(|| {
                let context = Context::row(row);
                let mut read = |expr: &Expr| reader.evaluate(expr, &context, zones);
                let counts = source.filter.as_ref().is_none_or(|filter| read(filter).is_true());
                let answer = match what {
                    What::Nothing => Answer::Missing,
                    What::Value(expr) => {
                        let answer = read(expr);
                        stored(reader.is_decimal(expr, source.event), answer)
                    }
                    What::Key(field) => key_of(&row.event, field).map_or(Answer::Missing, Answer::Key),
                    What::Place(field) => match row.event.cells[field.index()] {
                        Some(Cell::Number(word)) => Answer::int(word),
                        _ => Answer::Missing,
                    },
                };
                (counts, answer)
            });
            each(row, counts, answer);
        }
    }

    // ── judging ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn judge(&mut self, event: &Taken, admission: Admission, history: bool) -> Outcome {
        let policy = self.policy;
        self.models.fill(Answer::Missing);
        let Some(decide) = policy.decides.iter().find(|decide| decide.event == event.kind) else {
            let flags = FLAG_ACK | if admission == Admission::Shed { FLAG_FALLBACK } else { 0 };
            return Outcome { flags, ..Outcome::default() };
        };
        let features = self.features.clone();
        self.models = self.all_models(event, admission, &features);
        let models = self.models.clone();
        let mut context = Context { models: &models, ..Context::judging(event, &features) };
        let mut fired = BTreeSet::new();
        for (index, rule) in policy.rules.iter().enumerate() {
            if rule.event == event.kind && !rule.monitor && self.fires(rule, &context) {
                fired.insert(index);
            }
        }
        let removed: BTreeSet<usize> =
            fired.iter().flat_map(|&rule| &policy.rules[rule].allow_over).map(|rule| rule.index()).collect();
        let survivors: Vec<&typed::Rule> = fired
            .iter()
            .filter(|&&rule| policy.rules[rule].mandatory || !removed.contains(&rule))
            .map(|&rule| &policy.rules[rule])
            .collect();

        let scores: Vec<i64> = survivors.iter().filter_map(|rule| rule.score).map(i64::from).collect();
        context.rule_scores_max = scores.iter().max().map_or(Answer::Missing, |score| Answer::int(*score));
        context.rule_scores_sum = Answer::int(scores.iter().sum());
        let score = match self.evaluate(&decide.score, &context) {
            Answer::Number(number) => number.round_half_even(1).clamp(0, 100) as i16,
            _ => 0,
        };
        context.score = Answer::int(i64::from(score));

        let shed = admission == Admission::Shed;
        let decides = format!("{decide:?}");
        let has_answer = (0..policy.models.len())
            .any(|ix| decides.contains(&format!("Model(ModelIx({ix}))")) && models[ix] != Answer::Missing);
        let unassessed = fired.is_empty() && !has_answer && (shed || !history);
        let actions = survivors.iter().filter_map(|rule| rule.action);
        let mut action = if unassessed {
            decide.unassessed
        } else {
            let reached = decide
                .thresholds
                .iter()
                .filter(|(_, when)| self.evaluate(when, &context).is_true())
                .map(|t| t.0);
            reached.chain(actions).fold(Action::Allow, Action::max)
        };
        let alerts = survivors.iter().flat_map(|rule| &rule.alerts);
        self.alerts = alerts.map(|queue| policy.queues[usize::from(*queue)].id).collect();
        let mut flags = if self.alerts.is_empty() { 0 } else { FLAG_ALERT };
        if admission != Admission::Normal {
            let mandatory = survivors.iter().filter(|rule| rule.mandatory).filter_map(|rule| rule.action);
            let fallback = match &decide.late {
                None => decide.unassessed,
                Some(late) => {
                    let branch =
                        late.branches.iter().find(|(_, when)| self.evaluate(when, &context).is_true());
                    branch.map_or(late.otherwise, |branch| branch.0)
                }
            };
            action = mandatory.fold(fallback, Action::max);
            flags |= FLAG_FALLBACK;
        }
        Outcome {
            seq: 0,
            score: if unassessed { -1 } else { score },
            action,
            flags,
            policy_revision: 0,
            reasons: reasons(policy, survivors),
        }
    }

    fn all_models(&mut self, event: &Taken, admission: Admission, features: &[Answer]) -> Vec<Answer> {
        let policy = self.policy;
        let mut answers = vec![Answer::Missing; policy.models.len()];
        for (ix, model) in policy.models.iter().enumerate() {
            if model.event != event.kind || admission == Admission::Shed {
                continue;
            }
            let context = Context::judging(event, features);
            let mut input = |(expr, ty): &(Expr, Type)| match self.evaluate(expr, &context) {
                Answer::Missing => f64::NAN,
                Answer::Truth(truth) => f64::from(u8::from(truth)),
                Answer::Number(number) => {
                    let seconds = *ty == Type::Duration;
                    let number = if seconds { number.div(Fraction::int(SECOND)) } else { Some(number) };
                    number.map_or(f64::NAN, |number| {
                        let (num, den) = number.parts();
                        Value::ratio(num as i64, den as i64).to_f64()
                    })
                }
                other => panic!("{other:?} is an input of a model"),
            };
            let row: Vec<f64> = model.inputs.iter().map(&mut input).collect();
            answers[ix] = models::says(model, &self.opened[ix], &row);
        }
        answers
    }

    /// The rules that fire for an event by itself, monitored ones included, if its features are these; `None` when it is not
    /// an event.
    pub fn fired(&mut self, input: &Input<'_>, features: &[Answer], models: &[Answer]) -> Option<Vec<usize>> {
        let Ok(Arrived::Event(event)) = self.decode(input) else { return None };
        let (policy, context) = (self.policy, Context { models, ..Context::judging(&event, features) });
        let rules = policy.rules.iter().enumerate().filter(|(_, rule)| rule.event == event.kind);
        Some(rules.filter(|(_, rule)| self.fires(rule, &context)).map(|(index, _)| index).collect())
    }

    fn fires(&mut self, rule: &typed::Rule, context: &Context<'_>) -> bool {
        let is_true = self.evaluate(&rule.when, context).is_true();
        let is_effective = rule.effective.holds_at(context.event.time);
        let let_to = match rule.within {
            None => true,
            Some(Within::Scene(scene)) => {
                let scene = &self.policy.scenes[scene.index()];
                let holds = scene.effective.holds_at(context.event.time);
                holds && self.evaluate(&scene.when, context).is_true()
            }
            Some(Within::Table(table)) => {
                let policy = self.policy;
                let table = &policy.tables[table.index()];
                let earlier = policy.rules.iter().take_while(|other| !std::ptr::eq(*other, rule));
                let mut earlier = earlier.filter(|other| table.first && other.within == rule.within);
                let fits = |row: &typed::Rule| self.evaluate(&row.when, context).is_true();
                let is_behind = earlier.any(fits);
                self.behind += u64::from(is_true && is_behind);
                table.effective.holds_at(context.event.time) && !is_behind
            }
        };
        self.not_effective += u64::from(is_true && !is_effective);
        self.not_let += u64::from(is_true && !let_to);
        is_true && is_effective && let_to
    }

    fn evaluate(&mut self, expr: &Expr, context: &Context<'_>) -> Answer {
        Reader { policy: self.policy, lists: &self.lists, edits: &self.edits, rates: &self.rates }.evaluate(
            expr,
            context,
            &mut self.zones,
        )
    }
}

/// What is wanted of each row of a window.
#[derive(Clone, Copy)]
enum What<'e> {
    Nothing,
    Value(&'e Expr),
    Key(FieldIx),
    Place(FieldIx),
}

/// From where, and at what, a frame looks back.
struct Look<'l> {
    frame: &'l Frame,
    until: i64,
    /// The judged event's key, or both of its pair.
    keys: &'l [Key],
    event: &'l Taken,
    /// Which bound is told of how many different things there are.
    assume: Option<Assume>,
}

/// The frames of a window, each with its delay: its own, and that of what a change is compared with.
fn sides(window: &Window) -> impl Iterator<Item = (&Frame, i64)> {
    let against = match &window.aggregate {
        Aggregate::Change { against, delay_us, .. } => Some((against, *delay_us)),
        _ => None,
    };
    std::iter::once((&window.frame, window.delay_us)).chain(against)
}

/// What is computed over each frame.
fn base(aggregate: &Aggregate) -> &Aggregate {
    match aggregate {
        Aggregate::Change { of, .. } => of,
        aggregate => aggregate,
    }
}

/// Whether an event is one of these.
fn held_in(all: Vec<Held>) -> impl Fn(&Held) -> bool {
    move |one| all.iter().any(|other| Rc::ptr_eq(&one.event, &other.event))
}

fn windows(policy: &Policy) -> impl Iterator<Item = &Window> {
    policy.features.iter().filter_map(|feature| match &feature.kind {
        FeatureKind::Window(window) => Some(window),
        FeatureKind::Scalar { .. } => None,
    })
}

/// The sources of an aggregate, in order.
pub fn sources(aggregate: &Aggregate) -> Vec<&Source> {
    match aggregate {
        Aggregate::Count(source)
        | Aggregate::Sum(source, _)
        | Aggregate::Avg(source, _)
        | Aggregate::Min(source, _)
        | Aggregate::Max(source, _)
        | Aggregate::DistinctKeys(source, _)
        | Aggregate::DistinctValues(source, _)
        | Aggregate::Stddev(source, _)
        | Aggregate::First(source, _)
        | Aggregate::Last(source, _)
        | Aggregate::ShareKeys(source, _)
        | Aggregate::ShareValues(source, _)
        | Aggregate::Percentile(_, source, _)
        | Aggregate::DecayedCount(source, _)
        | Aggregate::DecayedSum(source, _, _)
        | Aggregate::SinceLast(source)
        | Aggregate::SinceFirst(source)
        | Aggregate::Distance(source, _)
        | Aggregate::Speed(source, _)
        | Aggregate::SeenKey(source, _)
        | Aggregate::SeenValue(source, _)
        | Aggregate::Days(source, _) => vec![source],
        Aggregate::Ratio(over, under) => vec![over, under],
        Aggregate::Change { of, .. } => sources(of),
    }
}

fn key_of(event: &Taken, field: FieldIx) -> Option<Key> {
    match event.cells[field.index()] {
        Some(Cell::Key(key)) => Some(key),
        _ => None,
    }
}

/// The key in this field, or the keys in both fields in order; `None` when one is absent.
fn keys_of(event: &Taken, role: By<FieldIx>) -> Option<Vec<Key>> {
    role.each().map(|field| key_of(event, field)).collect()
}

fn cell(ty: &FieldType, words: &[u64]) -> Result<Cell, Refusal> {
    let below =
        |end: u64| if words[0] < end { Ok(Cell::Number(words[0] as i64)) } else { Err(Refusal::BadValue) };
    match ty {
        FieldType::Bool => below(2),
        FieldType::Enum(labels) => below(labels.len() as u64),
        FieldType::Int | FieldType::Decimal | FieldType::Duration => Ok(Cell::Number(words[0] as i64)),
        FieldType::Mcc => below(10_000),
        FieldType::Time => below(7_258_118_400_000_000),
        FieldType::Currency if Currency::from_numeric(words[0]).is_none() => Err(Refusal::BadValue),
        FieldType::Currency => below(1_000),
        FieldType::Country => {
            let known = COUNTRIES.iter().any(|code| {
                let letters = code.as_bytes();
                u64::from(letters[0]) * 256 + u64::from(letters[1]) == words[0]
            });
            if known { below(u64::MAX) } else { Err(Refusal::BadValue) }
        }
        FieldType::Bin => {
            // Eight digits and how many of them count; those that do not are zero.
            let text = words[0].to_string();
            let text = format!("{text:0>9}");
            let (digits, count) = text.split_at(8);
            let count =
                count.parse().ok().filter(|count| (6..=8).contains(count)).ok_or(Refusal::BadValue)?;
            let filled = text.len() == 9 && digits[count..].bytes().all(|digit| digit == b'0');
            if filled { below(u64::MAX) } else { Err(Refusal::BadValue) }
        }
        FieldType::Geo => {
            let (latitude, longitude) = aggregates::degrees(words[0] as i64);
            let exists = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
            if exists { Ok(Cell::Number(words[0] as i64)) } else { Err(Refusal::BadValue) }
        }
        FieldType::Money => {
            let currency = Currency::from_numeric(words[1]).ok_or(Refusal::BadValue)?;
            Ok(Cell::Cash(words[0] as i64, currency))
        }
        FieldType::Ip => Ok(Cell::address(u128::from(words[0]) << 64 | u128::from(words[1]))),
        FieldType::Text(most) => {
            let mut held = [0; 8];
            held[..words.len()].copy_from_slice(words);
            let text = text_of(&held);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let Ok(text) = String::from_utf8(text) else { return Err(Refusal::BadValue) };
            let padded = bytes[text.len()..].iter().all(|byte| *byte == 0);
            if !padded || text.len() > usize::from(*most) || text.chars().any(char::is_control) {
                return Err(Refusal::BadValue);
            }
            let is_card = |run: &str| {
                let doubled = |(at, digit): (usize, u32)| {
                    if at % 2 == 1 { 2 * digit / 10 + 2 * digit % 10 } else { digit }
                };
                let digits = run.chars().rev().filter_map(|c| c.to_digit(10)).enumerate();
                (13..=19).contains(&run.len()) && digits.map(doubled).sum::<u32>() % 10 == 0
            };
            for run in text.split(|c: char| !matches!(c, ' ' | '-') && !c.is_ascii_digit()) {
                let groups: Vec<&str> = run.split([' ', '-']).collect();
                for start in 0..groups.len() {
                    for end in start..groups.len() {
                        if is_card(&groups[start..=end].concat()) {
                            return Err(Refusal::RawCardNumber);
                        }
                    }
                }
            }
            Ok(Cell::Words(held, words.len()))
        }
        FieldType::Entity(_) => {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            let digits = bytes.filter(u8::is_ascii_digit).count();
            if digits == 16 { Err(Refusal::RawCardNumber) } else { Ok(Cell::Key(Key([words[0], words[1]]))) }
        }
    }
}

/// The bytes of a text before the zeros behind it.
fn text_of(words: &[u64; 8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// Decodes a rate.
fn rate(words: &[u64]) -> Result<Rate, Refusal> {
    let &[_, _, time, present, from, to, num, den] = words else { return Err(Refusal::WrongLength) };
    if present != 7 {
        return Err(Refusal::BadPresence);
    }
    if !(TIME_MIN..TIME_END).contains(&Time(time as i64)) {
        return Err(Refusal::BadTime);
    }
    let known = Currency::from_numeric(from).is_some() && Currency::from_numeric(to).is_some();
    let most = 10_u64.pow(15);
    if !known || num == 0 || den == 0 || num > most || den > most {
        return Err(Refusal::BadValue);
    }
    let tag = EventId([words[0], words[1]]).tag();
    Ok(Rate { from, to, time: time as i64, tag, num: i128::from(num), den: i128::from(den) })
}

fn numbers_of(held: &[Held]) -> Vec<Fraction> {
    held.iter().filter_map(|held| held.value.told()).collect()
}

/// The exact sum, in the unit that rows hold, and that unit's denominator.
fn sum(values: &[Fraction], decimal: bool) -> (i128, i128) {
    let den = if decimal { 1_000_000 } else { 1 };
    (values.iter().map(|value| value.round_half_even(den)).sum(), i128::from(den))
}

/// A value as a row holds it: six digits after the point for decimals, whole units for all else.
fn stored(decimal: bool, answer: Answer) -> Answer {
    let Answer::Number(number) = answer else { return answer };
    let den = if decimal { 1_000_000 } else { 1 };
    match i64::try_from(number.round_half_even(den)) {
        Ok(units) => Answer::number(Fraction::new(i128::from(units), i128::from(den))),
        Err(_) => Answer::Missing,
    }
}

/// Survivors' reasons: greater salience first, then in rule order; each once; at most four.
fn reasons(policy: &Policy, mut survivors: Vec<&typed::Rule>) -> [u16; 4] {
    survivors.sort_by_key(|rule| -i64::from(rule.salience));
    let mut ids: Vec<u16> = Vec::new();
    for reason in survivors.iter().filter_map(|rule| rule.reason) {
        let id = policy.reasons[usize::from(reason)].id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut told = [0; 4];
    told.iter_mut().zip(ids).for_each(|(slot, id)| *slot = id);
    told
}

/// Evaluates expressions.
struct Reader<'r> {
    policy: &'r Policy,
    lists: &'r [Listed],
    edits: &'r [(Order, Time)],
    rates: &'r [Rate],
}

impl Reader<'_> {
    fn evaluate(&self, expr: &Expr, context: &Context<'_>, zones: &mut BTreeMap<String, TimeZone>) -> Answer {
        let event = context.event;
        let mut eval = |expr: &Expr| self.evaluate(expr, context, zones);
        match expr {
            Expr::Const(value, ty) => {
                let number = Fraction::of(*value);
                match ty {
                    Type::Bool => number.map_or(Answer::Missing, |n| Answer::Truth(n != Fraction::int(0))),
                    _ => Answer::number(number),
                }
            }
            Expr::Field(field) => self.field(event, *field),
            Expr::Amended(kind, field) => {
                let newest = context.applied.and_then(|applied| applied.get(kind));
                newest.map_or(Answer::Missing, |amendment| self.field(amendment, *field))
            }
            Expr::FieldMissing(field) => Answer::Truth(event.cells[field.index()].is_none()),
            Expr::AmendMissing(kind, field) => {
                let newest = context.applied.and_then(|applied| applied.get(kind));
                Answer::Truth(newest.is_none_or(|amendment| {
                    field.is_some_and(|field| amendment.cells[field.index()].is_none())
                }))
            }
            Expr::IsMissing(of) => Answer::Truth(eval(of) == Answer::Missing),
            Expr::Let(name) => eval(&self.policy.lets[name.index()].expr),
            Expr::Feature(feature) => context.features[feature.index()],
            Expr::Model(model) => context.models[model.index()],
            Expr::InCurrency(of, currency) => match eval(of) {
                Answer::Cash(minor, held, moment) => {
                    self.worth(Fraction::int(minor), (held, *currency), moment)
                }
                Answer::Number(number) => match self.type_of(of, event.kind) {
                    Some(Type::Money(held)) => self.worth(number, (held, *currency), event.moment()),
                    ty => panic!("{ty:?} is converted: {of:?}"),
                },
                missing => missing,
            },
            Expr::Major(of) => {
                let Some(Type::Money(currency)) = self.type_of(of, event.kind) else {
                    panic!("major() of something that is not money: {of:?}")
                };
                let scale = Fraction::int(10_i64.pow(currency.exponent()));
                arithmetic(eval(of), Answer::Number(scale), Fraction::div)
            }
            Expr::CurrencyOf(of) => match eval(of) {
                Answer::Cash(_, currency, _) => Answer::int(i64::from(currency.0)),
                _ => Answer::Missing,
            },
            Expr::FirstPresent(of) => {
                of.iter().map(eval).find(|answer| *answer != Answer::Missing).unwrap_or(Answer::Missing)
            }
            Expr::Extreme { greatest, of } => {
                let there = of.iter().map(eval).filter_map(|answer| match answer {
                    Answer::Number(number) => Some(number),
                    _ => None,
                });
                let order = |a: &Fraction, b: &Fraction| a.compare(*b);
                Answer::number(if *greatest { there.max_by(order) } else { there.min_by(order) })
            }
            Expr::Choose { branches, otherwise } => {
                for (when, value) in branches {
                    if eval(when).is_true() {
                        return eval(value);
                    }
                }
                eval(otherwise)
            }
            Expr::Not(of) => match eval(of) {
                Answer::Truth(truth) => Answer::Truth(!truth),
                _ => Answer::Missing,
            },
            Expr::And(a, b) => match (eval(a), eval(b)) {
                (Answer::Truth(false), _) | (_, Answer::Truth(false)) => Answer::Truth(false),
                (Answer::Truth(true), Answer::Truth(true)) => Answer::Truth(true),
                _ => Answer::Missing,
            },
            Expr::Or(a, b) => match (eval(a), eval(b)) {
                (Answer::Truth(true), _) | (_, Answer::Truth(true)) => Answer::Truth(true),
                (Answer::Truth(false), Answer::Truth(false)) => Answer::Truth(false),
                _ => Answer::Missing,
            },
            Expr::Compare(how, a, b) => {
                let (Some(a), Some(b)) = (eval(a).told(), eval(b).told()) else { return Answer::Missing };
                let order = a.compare(b);
                Answer::Truth(match how {
                    Compare::Eq => order == Ordering::Equal,
                    Compare::Ne => order != Ordering::Equal,
                    Compare::Lt => order == Ordering::Less,
                    Compare::Le => order != Ordering::Greater,
                    Compare::Gt => order == Ordering::Greater,
                    Compare::Ge => order != Ordering::Less,
                })
            }
            Expr::Arithmetic(how, a, b) => {
                let operation = match how {
                    Arithmetic::Add => Fraction::add,
                    Arithmetic::Sub => Fraction::sub,
                    Arithmetic::Mul => Fraction::mul,
                    Arithmetic::Div => Fraction::div,
                };
                arithmetic(eval(a), eval(b), operation)
            }
            Expr::Negate(of) => match eval(of) {
                Answer::Number(number) => Answer::number(number.negate()),
                _ => Answer::Missing,
            },
            Expr::InList(field, list) => match event.cells[field.index()] {
                Some(cell) => {
                    let edits = &self.edits[..event.edits];
                    Answer::Truth(self.lists[list.index()].has(cell, event.time, edits))
                }
                None => Answer::Missing,
            },
            Expr::Listed(of, list) => {
                // What an amendment brings is looked up when it comes.
                let when = match &**of {
                    Expr::Amended(kind, _) => context.applied.and_then(|applied| applied.get(kind)),
                    _ => None,
                };
                let when = when.map_or(event, |amendment| amendment);
                let Some(number) = eval(of).told() else { return Answer::Missing };
                let (number, one) = number.parts();
                let list = &self.lists[list.index()];
                let cell = i64::try_from(number).ok().filter(|_| one == 1).map(Cell::Number);
                let has = |cell| list.has(cell, when.time, &self.edits[..when.edits]);
                Answer::Truth(cell.is_some_and(has))
            }
            Expr::Within(field, prefix) => match event.cells[field.index()] {
                Some(Cell::Words(words, 2)) => {
                    let bits = |words: [u64; 2]| u128::from(words[0]) << 64 | u128::from(words[1]);
                    let differs = bits([words[0], words[1]]) ^ bits(prefix.address);
                    Answer::Truth(differs.leading_zeros() >= u32::from(prefix.bits))
                }
                _ => Answer::Missing,
            },
            Expr::TextIs(field, with) | Expr::TextStarts(field, with) => match event.cells[field.index()] {
                Some(Cell::Words(words, _)) => {
                    let text = text_of(&words);
                    let begins = matches!(expr, Expr::TextStarts(..)) && text.starts_with(with.as_bytes());
                    Answer::Truth(begins || text == with.as_bytes())
                }
                _ => Answer::Missing,
            },
            Expr::SameText(a, b) => match (event.cells[a.index()], event.cells[b.index()]) {
                (Some(Cell::Words(a, _)), Some(Cell::Words(b, _))) => {
                    Answer::Truth(text_of(&a) == text_of(&b))
                }
                _ => Answer::Missing,
            },
            Expr::SameKey(a, b)
                if matches!(self.policy.events[event.kind.index()].fields[a.index()].ty, FieldType::Ip) =>
            {
                match (event.cells[a.index()], event.cells[b.index()]) {
                    (Some(a), Some(b)) => Answer::Truth(a == b),
                    _ => Answer::Missing,
                }
            }
            Expr::SameKey(a, b) => match (key_of(event, *a), key_of(event, *b)) {
                (Some(a), Some(b)) => Answer::Truth(a == b),
                _ => Answer::Missing,
            },
            Expr::Now => Answer::int(event.time),
            Expr::Hour(zone) => Answer::int(i64::from(local(event.time, zone, zones).hour())),
            Expr::Weekday(zone) => {
                let weekday = local(event.time, zone, zones).weekday();
                Answer::int(i64::from(weekday.to_monday_one_offset()))
            }
            Expr::RuleScoresMax => context.rule_scores_max,
            Expr::RuleScoresSum => context.rule_scores_sum,
            Expr::Score => context.score,
        }
    }

    /// Minor units of one currency in minor units of another, at a moment.
    fn worth(&self, minor: Fraction, (held, wanted): (Currency, Currency), moment: Moment) -> Answer {
        if held == wanted {
            return Answer::Number(minor);
        }
        let Some(rates) = &self.policy.rates else { return Answer::Missing };
        let pair = (u64::from(held.0), u64::from(wanted.0));
        let had_come = &self.rates[..moment.rates];
        let in_effect =
            had_come.iter().filter(|rate| (rate.from, rate.to) == pair && rate.time <= moment.time);
        // Of equals this takes the last.
        let Some(rate) = in_effect.max_by_key(|rate| (rate.time, rate.tag)) else { return Answer::Missing };
        if moment.time - rate.time > rates.max_age_us {
            return Answer::Missing;
        }
        let power = |currency: Currency| 10_i128.pow(currency.exponent());
        let (num, den) = minor.parts();
        let (common_num, common_den) = match (power(wanted), power(held)) {
            (wanted, held) if wanted >= held => (wanted / held, 1),
            (wanted, held) => (1, held / wanted),
        };
        let (num, den) = (num * rate.num * common_num, den * rate.den * common_den);
        let below = num.div_euclid(den);
        let (down, up) = (num - below * den, (below + 1) * den - num);
        let nearest = match down.cmp(&up) {
            Ordering::Less => below,
            Ordering::Greater => below + 1,
            Ordering::Equal => below + below.rem_euclid(2),
        };
        i64::try_from(nearest).map_or(Answer::Missing, Answer::int)
    }

    fn field(&self, event: &Taken, field: FieldIx) -> Answer {
        let Some(cell) = event.cells[field.index()] else { return Answer::Missing };
        match (&self.policy.events[event.kind.index()].fields[field.index()].ty, cell) {
            (FieldType::Bool, Cell::Number(number)) => Answer::Truth(number != 0),
            (
                FieldType::Int
                | FieldType::Enum(_)
                | FieldType::Country
                | FieldType::Currency
                | FieldType::Mcc
                | FieldType::Bin
                | FieldType::Time
                | FieldType::Duration,
                Cell::Number(number),
            ) => Answer::int(number),
            (FieldType::Decimal, Cell::Number(number)) => {
                Answer::number(Fraction::new(i128::from(number), 1_000_000))
            }
            (FieldType::Money, Cell::Cash(minor, currency)) => Answer::Cash(minor, currency, event.moment()),
            (ty, cell) => panic!("{cell:?} read as {ty:?}"),
        }
    }

    /// Whether rows hold values of this expression with six digits after the point.
    fn is_decimal(&self, expr: &Expr, event: EventIx) -> bool {
        self.type_of(expr, event) == Some(Type::Decimal)
    }

    /// The type of a number or of money, as far as rounding and `major` need it; `None` for anything else.
    fn type_of(&self, expr: &Expr, event: EventIx) -> Option<Type> {
        let field =
            |event: EventIx, field: FieldIx| match self.policy.events[event.index()].fields[field.index()].ty
            {
                FieldType::Int => Some(Type::Int),
                FieldType::Decimal => Some(Type::Decimal),
                FieldType::Time => Some(Type::Time),
                FieldType::Duration => Some(Type::Duration),
                _ => None,
            };
        match expr {
            Expr::Const(_, ty) => Some(*ty),
            Expr::Field(of) => field(event, *of),
            Expr::Amended(kind, of) => field(*kind, *of),
            Expr::Let(name) => Some(self.policy.lets[name.index()].ty),
            Expr::Feature(of) => Some(self.policy.features[of.index()].ty),
            Expr::Model(_) => Some(Type::Decimal),
            Expr::InCurrency(_, currency) => Some(Type::Money(*currency)),
            Expr::Major(_) => Some(Type::Decimal),
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                let types: Vec<_> = of.iter().map(|of| self.type_of(of, event)).collect();
                if types.contains(&Some(Type::Decimal)) { Some(Type::Decimal) } else { types[0] }
            }
            Expr::Choose { branches, otherwise } => {
                let values = branches.iter().map(|(_, value)| value).chain([&**otherwise]);
                let types: Vec<_> = values.map(|value| self.type_of(value, event)).collect();
                if types.contains(&Some(Type::Decimal)) { Some(Type::Decimal) } else { types[0] }
            }
            Expr::Negate(of) => self.type_of(of, event),
            Expr::Arithmetic(how, a, b) => {
                let (a, b) = (self.type_of(a, event)?, self.type_of(b, event)?);
                Some(match (how, a, b) {
                    (Arithmetic::Div, Type::Money(_), Type::Money(_)) => Type::Decimal,
                    (_, Type::Time, Type::Time) => Type::Duration,
                    (_, Type::Time, _) | (_, _, Type::Time) => Type::Time,
                    (_, Type::Money(_) | Type::Duration, _) => a,
                    (_, _, Type::Money(_) | Type::Duration) => b,
                    (Arithmetic::Div, _, _) | (_, Type::Decimal, _) | (_, _, Type::Decimal) => Type::Decimal,
                    _ => Type::Int,
                })
            }
            Expr::Now => Some(Type::Time),
            Expr::Hour(_) | Expr::Weekday(_) | Expr::RuleScoresSum | Expr::RuleScoresMax | Expr::Score => {
                Some(Type::Int)
            }
            _ => None,
        }
    }
}

fn arithmetic(a: Answer, b: Answer, operation: impl Fn(Fraction, Fraction) -> Option<Fraction>) -> Answer {
    match (a, b) {
        (Answer::Number(a), Answer::Number(b)) => Answer::number(operation(a, b)),
        _ => Answer::Missing,
    }
}

fn local(time: i64, zone: &str, zones: &mut BTreeMap<String, TimeZone>) -> jiff::civil::DateTime {
    let zone =
        zones.entry(zone.to_owned()).or_insert_with(|| TimeZone::get(zone).expect("a known time zone"));
    zone.to_datetime(Timestamp::from_microsecond(time).expect("a time before 2200"))
}
