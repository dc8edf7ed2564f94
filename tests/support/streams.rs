//! Random streams of frames for a policy. Everything follows from the seed.
//!
//! Times sit on purpose at the edges of windows, delays, lateness and skew; stamps are years off, the receiver's clock
//! jumps and returns, or nothing happens for years. Ids are repeated and reused; amendments come before their target,
//! twice, stale, with wrong keys or for nothing; rates come late, early, tied, aged, twice or not at all; frames are broken
//! in exactly one way at a time, so that only one refusal is right.
//!
//! One thing is avoided: an amendment of an id that was taken in twice (sent again after it was forgotten, or by two
//! principals), because which of two equal rows it means is not defined.

use super::frames::{Cell, Frame, Layout, encode, width};
use super::generate::{ADDRESSES, TEXTS};
use super::rng::Rng;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use std::collections::{BTreeSet, VecDeque};
use tollgate::engine::lists::{self, Edit};
use tollgate::engine::orders::Order;
use tollgate::engine::units::{
    Currency, DAY, DECIMAL_DEN, EventId, HOUR, Key, MINUTE, SECOND, TIME_END, Time, mix,
};
use tollgate::engine::wire::{Admission, PRESENCE_WORD, RATE_PART_MAX};
use tollgate::engine::{Clock, Limits};
use tollgate::policy::entries;
use tollgate::policy::typed::{self, EntityIx, EventIx, Feature, FeatureKind, FieldType, Period, Policy};
use tollgate::token::Tokenizer;

/// The clear text of the n-th key of a kind.
pub fn key_text(number: usize) -> String {
    format!("key {number}")
}

/// What a stream is like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub limits: Limits,
    pub frames: usize,
    /// Keys per entity kind.
    pub keys: usize,
    /// Percentage of key fields that hold the hot key.
    pub hot: u64,
    /// Typical time between two events, µs.
    pub step: i64,
    /// Time leaps far ahead about once in so many events.
    pub leaps: u64,
    /// The receiver's clock is moved about once in so many events.
    pub jumps: u64,
    /// Percentage of events that are of the first judged kind.
    pub favourite: u64,
    /// Percentage of values at the edges of 64 bits.
    pub extreme: u64,
    /// Percentage of admissions that are not normal.
    pub fallback: u64,
    /// Percentage of broken frames.
    pub broken: u64,
    /// Percentage of frames that are rates, when the policy has any.
    pub rates: u64,
}

/// Limits under which nothing is ever lost in these tests.
fn limits(rng: &mut Rng, frames: usize, keys_max: u32) -> Limits {
    let lateness_us = *rng.pick(&[0, 1, SECOND, MINUTE, HOUR, DAY]);
    Limits {
        keys_max,
        // Reserved, and touched, at start: no more than the stream can need.
        spill_bytes_max: (1 << 20) + (frames as u64 * (4 << 10)),
        rows_per_key_max: 8_192,
        dedup_entries_max: *rng.pick(&[1, 3, 16, 100, 1_000, 4_096]),
        lateness_us,
        skew_us: *rng.pick(&[0, 1, SECOND, MINUTE, HOUR]),
        jump_us: *rng.pick(&[0, 1, SECOND, 10 * MINUTE, 3 * HOUR, DAY]),
        clock: if rng.percent(70) { Clock::Event } else { Clock::Wall },
        hash_seed: rng.word(),
    }
}

impl Shape {
    pub fn random(rng: &mut Rng, policy: &Policy, frames: usize) -> Self {
        // The long streams are there for keys with many rows.
        let hot = rng.percent(if frames > 1_000 { 40 } else { 15 });
        // Room for every key of a pool, few enough that the table is more than half full. Where there are pairs, either
        // the same for all 324 pairs of a small pool and the last records, which are not for new keys, or for as many as there are frames.
        let is_pair = |feature: &Feature| match &feature.kind {
            FeatureKind::Window(window) => window.by.second().is_some(),
            FeatureKind::Scalar { .. } => false,
        };
        let (keys, keys_max) = if !policy.features.iter().any(is_pair) {
            (*rng.pick(&[3, 12, 40, 200]), 256)
        } else if rng.percent(70) {
            (*rng.pick(&[3, 6, 12]), 352)
        } else {
            (*rng.pick(&[40, 200]), 64 * 1024)
        };
        Self {
            limits: limits(rng, frames, keys_max),
            frames,
            keys: if hot { 1 + rng.below(3) } else { keys },
            hot: if hot { 90 } else { *rng.pick(&[0, 10, 30]) },
            step: if hot {
                *rng.pick(&[1, 1_000, SECOND, MINUTE])
            } else {
                *rng.pick(&[1, 1_000, SECOND, 20 * SECOND, 10 * MINUTE, HOUR, 12 * HOUR])
            },
            leaps: if hot { 10_000 } else { *rng.pick(&[100, 400]) },
            jumps: *rng.pick(&[30, 300]),
            favourite: if hot { 85 } else { 20 },
            extreme: *rng.pick(&[0, 0, 0, 2, 20]),
            fallback: *rng.pick(&[0, 3, 10]),
            broken: *rng.pick(&[0, 2, 5]),
            rates: if hot { *rng.pick(&[0, 2]) } else { *rng.pick(&[0, 2, 8, 25]) },
        }
    }
}

#[derive(Clone)]
struct Sent {
    kind: EventIx,
    principal: u32,
    id: EventId,
    /// What it says of its time, and when it is sent.
    time: i64,
    at: i64,
    target: Option<(EventId, i64)>,
    cells: Vec<Option<Cell>>,
}

struct Maker<'m> {
    rng: &'m mut Rng,
    policy: &'m Policy,
    layouts: &'m [Layout],
    shape: &'m Shape,
    keys: Vec<Vec<Key>>,
    edges: Vec<i64>,
    /// Lengths and delays of tumbling windows.
    grids: Vec<(i64, i64)>,
    /// Calendar periods and their delays.
    periods: Vec<(Period, String, i64)>,
    sent: Vec<Sent>,
    /// Rates that were sent.
    rates: Vec<Frame>,
    planned: VecDeque<Sent>,
    /// Ids that may have been taken in more than once.
    doubled: BTreeSet<EventId>,
    now: i64,
    watermark: i64,
    /// The latest receipt, and the latest that was a jump.
    clock: i64,
    jumped_to: i64,
    ids: u64,
}

/// A random stream.
pub fn stream(
    rng: &mut Rng,
    policy: &Policy,
    layouts: &[Layout],
    tokenizer: &Tokenizer,
    shape: &Shape,
) -> Vec<Frame> {
    let keys = policy.entities.iter().map(|entity| pool(tokenizer, entity, shape.keys)).collect();
    let (mut edges, mut grids, mut periods) = (Vec::new(), Vec::new(), Vec::new());
    for feature in &policy.features {
        if let FeatureKind::Window(window) = &feature.kind {
            let (reach, delay) = (window.frame.reach_us(), window.delay_us);
            edges.extend([reach, delay, reach + delay]);
            match &window.frame {
                typed::Frame::Session { gap_us, .. } => edges.extend([*gap_us, gap_us + delay]),
                typed::Frame::Every { span_us } => grids.push((*span_us, delay)),
                typed::Frame::This { period, zone } => periods.push((*period, zone.clone(), delay)),
                typed::Frame::Last { .. } | typed::Frame::Events { .. } => {}
            }
        }
    }
    edges.extend(policy.rates.as_ref().map(|rates| rates.max_age_us));
    let effective = policy.rules.iter().map(|rule| rule.effective);
    let effective = effective.chain(policy.scenes.iter().map(|scene| scene.effective));
    let effective = effective.chain(policy.tables.iter().map(|table| table.effective));
    let dates: Vec<i64> =
        effective.flat_map(|effective| [effective.from, effective.until]).flatten().collect();
    let start = match rng.below(8) {
        0 => 0,
        1 => TIME_END.0 - DAY,
        // In time to have events on both sides of a date.
        2..6 if !dates.is_empty() => *rng.pick(&dates) - rng.between(0, 10 * shape.step),
        _ => rng.between(1_500_000_000, 1_900_000_000) * SECOND + rng.between(0, SECOND - 1),
    };
    let ids = rng.word();
    let mut maker = Maker {
        rng,
        policy,
        layouts,
        shape,
        keys,
        edges,
        grids,
        periods,
        sent: Vec::new(),
        rates: Vec::new(),
        planned: VecDeque::new(),
        doubled: BTreeSet::new(),
        now: start,
        watermark: start,
        clock: start,
        jumped_to: start,
        ids,
    };
    (0..shape.frames).map(|_| maker.frame()).collect()
}

/// Keys of one kind: mostly tokens, and some that collide in one word or look odd.
fn pool(tokenizer: &Tokenizer, entity: &str, keys: usize) -> Vec<Key> {
    let token = |number: usize| tokenizer.key(entity, &key_text(number)).expect("no card number");
    let mut pool: Vec<Key> = (0..keys).map(token).collect();
    if keys > 10 {
        let Key([low, high]) = pool[0];
        let near_card = u64::from_le_bytes(*b"45678901");
        pool.extend([
            Key([0, 0]),
            Key([u64::MAX, u64::MAX]),
            Key([low, high ^ 1]),
            Key([low ^ 1, high]),
            Key([high, low]),
            Key([near_card, near_card ^ 1 << 7]),
        ]);
    }
    pool
}

impl Maker<'_> {
    fn frame(&mut self) -> Frame {
        let mut frame = self.one_frame();
        while !self.policy.lists.is_empty() && self.rng.percent(6) {
            frame.orders.push((self.edit(), frame.received));
        }
        frame
    }

    /// An edit of a list, mostly for a while.
    fn edit(&mut self) -> Order {
        let list = self.rng.pick(&self.policy.lists);
        let text = super::generate::entry(self.rng, list.of);
        let kind = list.of.word(|kind| self.policy.entities[usize::from(kind)].as_str());
        let entry = entries::read(list.of, kind, &text, &Tokenizer::default()).expect("an entry");
        let until = match self.rng.below(4) {
            0 => i64::MAX,
            1 => self.now + self.rng.between(0, 2_000) * self.shape.step,
            _ => self.now + self.rng.between(-3, 100) * self.shape.step,
        };
        Order::List {
            list: lists::name(&list.name, kind),
            entry,
            edit: *self.rng.pick(&[Edit::Add, Edit::Add, Edit::Remove, Edit::Forget]),
            until: Time(until),
        }
    }

    fn one_frame(&mut self) -> Frame {
        if self.policy.rates.is_some() && self.rng.percent(self.shape.rates) {
            return self.rate();
        }
        let time = self.time();
        if self.rng.percent(3) && !self.sent.is_empty() {
            return self.again(time);
        }
        let planned = self.planned.len() > 6 || self.rng.percent(5);
        let sent = match self.planned.pop_front() {
            Some(event) if planned => event,
            other => {
                self.planned.extend(other);
                self.event(time)
            }
        };
        let frame = self.send(&sent);
        if self.rng.percent(self.shape.broken) {
            return self.broken(frame);
        }
        self.sent.push(sent);
        frame
    }

    fn id(&mut self) -> EventId {
        self.ids += 1;
        EventId([mix(self.ids, 1), self.ids])
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The time of the next event, by its own clock; moves the stream on.
    fn time(&mut self) -> i64 {
        let lateness = self.shape.limits.lateness_us;
        let time = match self.rng.below(100) {
            0..8 => self.watermark - self.rng.between(0, lateness.max(1)),
            8..10 => self.watermark - lateness,
            10 => self.watermark - lateness - 1,
            11 => self.watermark - lateness - self.rng.between(1, 10 * DAY),
            12..22 => self.watermark,
            22..36 => self.edge(),
            36 if self.rng.once_in(self.shape.leaps / 100) => {
                self.now += self.rng.between(1, 1000) * DAY;
                self.now
            }
            _ => {
                self.now += self.rng.between(0, 2 * self.shape.step);
                self.now
            }
        };
        let time = time.clamp(0, TIME_END.0 - 1);
        let wall = self.shape.limits.clock == Clock::Wall;
        if wall && self.clock > self.now && self.rng.once_in(20) {
            // The receiver's clock was set ahead, and time has caught up with it.
            self.now = self.clock;
        }
        self.now = self.now.min(TIME_END.0 - 1);
        self.watermark = self.watermark.max(time);
        self.now = self.now.max(self.watermark);
        time
    }

    /// On the edge of a window that begins or ends at an earlier event, or 1 µs beside it.
    fn edge(&mut self) -> i64 {
        if self.sent.is_empty() || self.edges.is_empty() {
            return self.now;
        }
        let from = self.recent().time;
        let reach = *self.rng.pick(&self.edges);
        // Beyond the lateness too, where rows die and keys lose their history.
        let lateness = if self.rng.percent(30) { self.shape.limits.lateness_us } else { 0 };
        let mut time = from + reach + lateness + self.rng.between(-1, 1);
        if self.rng.percent(30)
            && let Some(start) = self.next_start()
        {
            time = start + self.rng.between(-1, 1);
        }
        let soon = time <= self.now + 20 * self.shape.step;
        if soon || self.rng.once_in(self.shape.leaps / 10) {
            time.max(self.watermark - self.shape.limits.lateness_us)
        } else {
            self.now
        }
    }

    /// When a tumbling window or a calendar period begins next, as far as that is what frames begin with.
    fn next_start(&mut self) -> Option<i64> {
        if !self.periods.is_empty() && self.rng.percent(60) {
            let (period, zone, delay) = self.rng.pick(&self.periods).clone();
            let zone = TimeZone::get(&zone).ok()?;
            let now = Timestamp::from_microsecond(self.now).ok()?.to_zoned(zone.clone());
            let date = match period {
                Period::Hour => return Some(self.now - self.now.rem_euclid(HOUR) + HOUR + delay),
                Period::Day => now.date().tomorrow().ok()?,
                Period::Week => now.date().nth_weekday(1, Weekday::Monday).ok()?,
                Period::Month => now.date().last_of_month().tomorrow().ok()?,
            };
            return Some(date.to_zoned(zone).ok()?.timestamp().as_microsecond() + delay);
        }
        let (span, delay) = *self.grids.get(self.rng.below(self.grids.len().max(1)))?;
        Some(self.now - self.now.rem_euclid(span) + span + delay)
    }

    fn recent(&mut self) -> Sent {
        let back = if self.rng.percent(70) { 30 } else { self.sent.len() };
        let index = self.sent.len() - 1 - self.rng.below(back.min(self.sent.len()));
        self.sent[index].clone()
    }

    // ── events ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn event(&mut self, time: i64) -> Sent {
        let kinds = self.policy.events.len();
        let judged: Vec<EventIx> = self.policy.decides.iter().map(|decide| decide.event).collect();
        let kind = if self.rng.percent(45) {
            *self.rng.pick(&judged)
        } else {
            EventIx(self.rng.below(kinds) as u16)
        };
        let principal = 1 + self.rng.below(3) as u32;
        let id = self.id();
        let mut cells = self.cells(kind);
        let target = self.policy.events[kind.index()].amends.map(|target| {
            let (target, time) = self.target(target, time);
            self.inherit(kind, &target, &mut cells);
            (target.id, (target.time + time).clamp(0, TIME_END.0 - 1))
        });
        Sent { kind, principal, id, time: self.stamp(time), at: time, target, cells }
    }

    /// What an event of this time says of it: by the wall clock, sometimes something else.
    fn stamp(&mut self, time: i64) -> i64 {
        let skew = self.shape.limits.skew_us;
        let wrong = match self.rng.below(30) {
            _ if self.shape.limits.clock == Clock::Event => 0,
            0 => skew + 1,
            1 => -skew - 1,
            2 => self.rng.between(-2 * skew, 2 * skew),
            3 => self.rng.between(-DAY, DAY),
            4 => self.rng.between(-10_000, 10_000) * DAY,
            _ => 0,
        };
        (time + wrong).clamp(0, TIME_END.0 - 1)
    }

    /// An event to amend, and how far the amendment is wrong about its time.
    fn target(&mut self, kind: EventIx, time: i64) -> (Sent, i64) {
        let wrong = if self.rng.percent(4) { self.rng.between(-1, 1) } else { 0 };
        let few = if self.rng.percent(70) { 3 } else { 100 };
        let recent =
            self.sent.iter().rev().filter(|sent| sent.kind == kind && !self.doubled.contains(&sent.id));
        let recent: Vec<&Sent> = recent.take(few).collect();
        if !recent.is_empty() && self.rng.percent(88) {
            return ((*self.rng.pick(&recent)).clone(), wrong);
        }
        let time = time.saturating_add(self.rng.between(-SECOND, MINUTE)).clamp(0, TIME_END.0 - 1);
        let target = Sent {
            kind,
            principal: 1 + self.rng.below(3) as u32,
            id: self.id(),
            time,
            at: time,
            target: None,
            cells: self.cells(kind),
        };
        if self.rng.percent(60) {
            self.planned.push_back(target.clone());
        }
        (target, wrong)
    }

    fn inherit(&mut self, kind: EventIx, target: &Sent, cells: &mut [Option<Cell>]) {
        let policy = self.policy;
        for (cell, field) in cells.iter_mut().zip(&policy.events[kind.index()].fields) {
            let Some(from) = field.inherited else { continue };
            if self.rng.percent(4) {
                continue;
            }
            *cell = target.cells[from.index()];
            if field.optional && self.rng.percent(4) {
                *cell = None;
            }
        }
    }

    fn cells(&mut self, kind: EventIx) -> Vec<Option<Cell>> {
        let policy = self.policy;
        let fields = &policy.events[kind.index()].fields;
        fields.iter().map(|f| (!f.optional || self.rng.percent(75)).then(|| self.cell(&f.ty))).collect()
    }

    fn cell(&mut self, ty: &FieldType) -> Cell {
        match ty {
            FieldType::Bool => Cell::Number(self.rng.between(0, 1)),
            FieldType::Enum(labels) => Cell::Number(self.rng.below(labels.len()) as i64),
            FieldType::Int => Cell::Number(self.number(-3, 9)),
            FieldType::Decimal => {
                let scale = *self.rng.pick(&[1, DECIMAL_DEN, DECIMAL_DEN / 2]);
                Cell::Number(self.number(-5, 5).saturating_mul(scale))
            }
            FieldType::Money => {
                let code =
                    if self.rng.percent(75) { "USD" } else { *self.rng.pick(&super::generate::CURRENCIES) };
                Cell::Cash(self.number(-50, 1_000), Currency::from_alpha(code).expect("a known currency"))
            }
            FieldType::Entity(entity) => Cell::Key(self.key(*entity)),
            FieldType::Geo => Cell::Number(self.place()),
            FieldType::Country => Cell::Number(*self.rng.pick(&[0x434e, 0x5553, 0x4445])),
            FieldType::Currency => Cell::Number(*self.rng.pick(&[840, 978, 392])),
            FieldType::Mcc => Cell::Number(*self.rng.pick(&[0, 5411, 5967, 7995, 9999])),
            FieldType::Bin => Cell::Number(*self.rng.pick(&super::generate::BINS)),
            FieldType::Time => {
                let near = self.rng.between(-3, 3) * HOUR;
                Cell::Number((self.now + near).clamp(0, TIME_END.0 - 1))
            }
            FieldType::Duration => Cell::Number(self.number(-1, 8).saturating_mul(MINUTE)),
            FieldType::Text(bytes) => {
                let fits: Vec<&str> =
                    TEXTS.iter().copied().filter(|text| text.len() <= usize::from(*bytes)).collect();
                let text: &str = fits[self.rng.below(fits.len())];
                Cell::text(text, width(ty))
            }
            FieldType::Ip => Cell::address(*self.rng.pick(&ADDRESSES)),
        }
    }

    /// Mostly one of a few places, else anywhere, now and then at the edges of the map.
    fn place(&mut self) -> i64 {
        let (latitude, longitude) = match self.rng.below(10) {
            0..5 => *self.rng.pick(&[(52_520_000, 13_405_000), (-33_868_800, 151_209_300), (0, 0)]),
            5 | 6 => {
                let near = |degrees: i64, rng: &mut Rng| degrees + rng.between(-2_000, 2_000);
                (near(52_520_000, self.rng), near(13_405_000, self.rng))
            }
            7 => *self.rng.pick(&[(90_000_000, 180_000_000), (-90_000_000, -180_000_000), (0, -180_000_000)]),
            _ => (self.rng.between(-90_000_000, 90_000_000), self.rng.between(-180_000_000, 180_000_000)),
        };
        latitude << 32 | i64::from((longitude as i32).cast_unsigned())
    }

    fn number(&mut self, low: i64, high: i64) -> i64 {
        if self.rng.percent(self.shape.extreme) {
            let edge =
                [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1, 1 << 62, -(1 << 62), 1 << 40, 3_037_000_500];
            return *self.rng.pick(&edge);
        }
        self.rng.between(low, high)
    }

    fn key(&mut self, entity: EntityIx) -> Key {
        let hot = self.rng.percent(self.shape.hot);
        let pool = &self.keys[entity.index()];
        if hot { pool[0] } else { *self.rng.pick(pool) }
    }

    // ── rates ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// A rate, or an earlier one once more. It does not move the stream on.
    fn rate(&mut self) -> Frame {
        if self.rng.percent(10) && !self.rates.is_empty() {
            let mut again = self.rng.pick(&self.rates).clone();
            match self.rng.below(6) {
                0 => again.principal += 1,
                1 => again.words[6] += 1,
                _ => {}
            }
            return again;
        }
        let kind = self.policy.events.len();
        let code = |rng: &mut Rng| {
            let alpha = *rng.pick(&super::generate::CURRENCIES);
            i64::from(Currency::from_alpha(alpha).expect("a known currency").0)
        };
        let (from, to) = (code(self.rng), if self.rng.percent(60) { 840 } else { code(self.rng) });
        let part = |rng: &mut Rng, extreme: u64| {
            if rng.percent(extreme) {
                *rng.pick(&[1, RATE_PART_MAX - 1, RATE_PART_MAX])
            } else {
                1 + rng.word() % 40
            }
        };
        let (num, den) = (part(self.rng, self.shape.extreme), part(self.rng, self.shape.extreme));
        let (id, time) = (self.id(), self.rate_time());
        let cells = [Some(Cell::Number(from)), Some(Cell::Number(to)), Some(Cell::Rate(num, den))];
        let mut frame = Frame {
            principal: 1 + self.rng.below(3) as u32,
            kind: kind as u16,
            admission: *self.rng.pick(&[
                Admission::Normal,
                Admission::Normal,
                Admission::Late,
                Admission::Shed,
            ]),
            received: Time(self.received(time)),
            words: encode(&self.layouts[kind], id, time, None, &cells),
            orders: Vec::new(),
        };
        if !self.rng.percent(self.shape.broken) {
            self.rates.push(frame.clone());
            return frame;
        }
        let words = &mut frame.words;
        match self.rng.below(8) {
            0 => drop(words.pop()),
            1 => words.push(0),
            2 => words[PRESENCE_WORD] = *self.rng.pick(&[0, 3, 6, 15, u64::MAX]),
            3 => words[2] = *self.rng.pick(&[u64::MAX, TIME_END.0 as u64]),
            4 => words[4 + self.rng.below(2)] = *self.rng.pick(&[0, 999, 840 + (1 << 32), 840 + (1 << 16)]),
            5 => words[6 + self.rng.below(2)] = 0,
            _ => words[6 + self.rng.below(2)] = *self.rng.pick(&[RATE_PART_MAX + 1, u64::MAX, 1 << 63]),
        }
        frame
    }

    /// When a rate takes effect: about now, tied with an event or another rate, exactly so long ago that an event at the
    /// same time as another is the last that it converts, long ago, or yet to come.
    fn rate_time(&mut self) -> i64 {
        let max_age = self.policy.rates.as_ref().map_or(0, |rates| rates.max_age_us);
        let time = match self.rng.below(8) {
            0 | 1 if !self.sent.is_empty() => self.recent().time,
            2 if !self.sent.is_empty() => self.recent().time - max_age - self.rng.between(-1, 1),
            3 if !self.rates.is_empty() => self.rng.pick(&self.rates).words[2] as i64,
            4 => self.now - self.rng.between(0, 2 * max_age),
            5 => self.now + self.rng.between(0, 20 * self.shape.step),
            _ => self.now,
        };
        time.clamp(0, TIME_END.0 - 1)
    }

    // ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn send(&mut self, sent: &Sent) -> Frame {
        let admission = match self.rng.below(100) as u64 {
            n if n * 3 < self.shape.fallback => Admission::Shed,
            n if n < self.shape.fallback => Admission::Late,
            _ => Admission::Normal,
        };
        let layout = &self.layouts[sent.kind.index()];
        let words = encode(layout, sent.id, sent.time, sent.target, &sent.cells);
        let received = self.received(sent.at);
        if admission != Admission::Shed {
            if received - self.clock > self.shape.limits.jump_us {
                self.jumped_to = received;
            }
            self.clock = self.clock.max(received);
        }
        let received = Time(received);
        Frame { principal: sent.principal, kind: sent.kind.0, admission, received, words, orders: Vec::new() }
    }

    /// When an event of this time is taken in: usually within the skew, or at its edges.
    fn received(&mut self, time: i64) -> i64 {
        if self.shape.limits.clock == Clock::Wall && self.rng.once_in(self.shape.jumps) {
            return self.jump();
        }
        let skew = self.shape.limits.skew_us;
        let apart = match self.rng.below(20) {
            0 => skew,
            1 => -skew,
            2 => skew + 1,
            3 => -skew - 1,
            4 => self.rng.between(-2 * skew, 2 * skew),
            _ => self.rng.between(0, skew / 4),
        };
        (time + apart).clamp(0, TIME_END.0 - 1)
    }

    /// A receipt at the edge of a jump, of what is steady after one, or far off. The stream's own time follows it, or not.
    fn jump(&mut self) -> i64 {
        let jump = self.shape.limits.jump_us;
        let to = match self.rng.below(12) {
            0 | 1 => self.clock + jump,
            2 | 3 => self.clock + jump + 1,
            4 | 5 => self.jumped_to + jump - 1,
            6 | 7 => self.jumped_to + jump,
            8 if self.rng.once_in(4) => self.clock + self.rng.between(1, 1_000) * DAY,
            9 => self.clock - self.rng.between(0, 2 * DAY),
            _ => self.clock + self.rng.between(0, 3 * jump),
        };
        let to = to.clamp(0, TIME_END.0 - 1);
        if self.rng.percent(50) {
            self.now = self.now.max(to);
        }
        to
    }

    /// An earlier frame once more: as it was, from somebody else, or with other content.
    fn again(&mut self, time: i64) -> Frame {
        let mut sent = self.recent();
        if sent.target.is_some_and(|(target, _)| self.doubled.contains(&target)) {
            sent = self.event(time);
        }
        let forgotten = (self.shape.limits.dedup_entries_max as usize) < self.shape.frames;
        let mut changed = forgotten;
        match self.rng.below(10) {
            0 => {
                sent.principal += 1;
                changed = true;
            }
            1 | 2 => {
                sent.cells = self.cells(sent.kind);
            }
            3 => sent.time = (sent.time + 1).min(TIME_END.0 - 1),
            _ => {}
        }
        if changed {
            self.doubled.insert(sent.id);
        }
        self.send(&sent)
    }

    /// The frame with exactly one thing wrong.
    fn broken(&mut self, mut frame: Frame) -> Frame {
        let policy = self.policy;
        let event = &policy.events[usize::from(frame.kind)];
        let layout = &self.layouts[usize::from(frame.kind)];
        let field = self.rng.below(event.fields.len().max(1));
        let words = &mut frame.words;
        match self.rng.below(9) {
            0 => frame.kind = *self.rng.pick(&[self.layouts.len() as u16, u16::MAX]),
            1 => drop(words.pop()),
            2 => words.push(0),
            3 => words.clear(),
            4 => words[2] = *self.rng.pick(&[u64::MAX, TIME_END.0 as u64, i64::MIN as u64, i64::MAX as u64]),
            5 if event.amends.is_some() => words[6] = *self.rng.pick(&[u64::MAX, TIME_END.0 as u64, 1 << 63]),
            6 => {
                let free: Vec<u32> =
                    (0..64).filter(|bit| layout.fields.iter().all(|(_, known)| known != bit)).collect();
                words[PRESENCE_WORD] |= 1 << self.rng.pick(&free);
            }
            _ if event.fields.is_empty() => drop(words.pop()),
            _ => {
                let (word, bit) = layout.fields[field];
                let ty = &event.fields[field].ty;
                let present = words[PRESENCE_WORD] >> bit & 1 == 1;
                if !present {
                    words[word + width(ty) - 1] = 1 + self.rng.word() % 3;
                } else if !event.fields[field].optional && self.rng.percent(30) {
                    words[PRESENCE_WORD] &= !(1 << bit);
                    words[word..word + width(ty)].fill(0);
                } else {
                    match ty {
                        FieldType::Bool => words[word] = *self.rng.pick(&[2, u64::MAX]),
                        FieldType::Enum(labels) => {
                            words[word] = *self.rng.pick(&[labels.len() as u64, u64::MAX, 1 << 32]);
                        }
                        FieldType::Money => {
                            words[word + 1] = *self.rng.pick(&[0, 999, 840 + (1 << 32), 840 + (1 << 16)]);
                        }
                        FieldType::Entity(_) => {
                            words[word] = u64::from_le_bytes(*b"41111111");
                            words[word + 1] = u64::from_le_bytes(*b"11111111");
                        }
                        FieldType::Geo => {
                            let beyond = [90_000_001 << 32, 180_000_001, 1 << 63, 1 << 31];
                            words[word] = *self.rng.pick(&beyond);
                        }
                        FieldType::Country => {
                            words[word] = *self.rng.pick(&[0, 0x434a, 0x434e + (1 << 16), u64::MAX, 0x636e]);
                        }
                        FieldType::Currency => {
                            words[word] = *self.rng.pick(&[0, 999, 840 + (1 << 32), u64::MAX]);
                        }
                        FieldType::Mcc => words[word] = *self.rng.pick(&[10_000, u64::MAX, 1 << 32]),
                        FieldType::Bin => {
                            let beyond = [0, 411_111_005, 411_111_009, 411_111_017, 1_000_000_008, u64::MAX];
                            words[word] = *self.rng.pick(&beyond);
                        }
                        FieldType::Time => {
                            words[word] = *self.rng.pick(&[TIME_END.0 as u64, u64::MAX, 1 << 63]);
                        }
                        FieldType::Text(_) => {
                            let text = match self.rng.below(5) {
                                0 => *b"\xff\0\0\0\0\0\0\0",
                                1 => *b"a\0b\0\0\0\0\0",
                                2 => *b"a\n\0\0\0\0\0\0",
                                3 => *b"\0bcdefgh",
                                _ => *b"ab\xc3\0\0\0\0\0",
                            };
                            words[word..word + width(ty)].fill(0);
                            words[word] = u64::from_le_bytes(text);
                            if width(ty) > 2 && self.rng.percent(40) {
                                words[word] = u64::from_le_bytes(*b"4111 111");
                                words[word + 1] = u64::from_le_bytes(*b"1-1111 1");
                                words[word + 2] = u64::from_le_bytes(*b"111\0\0\0\0\0");
                            }
                        }
                        FieldType::Int | FieldType::Decimal | FieldType::Duration | FieldType::Ip => {
                            words.push(1);
                        }
                    }
                }
            }
        }
        frame
    }
}
