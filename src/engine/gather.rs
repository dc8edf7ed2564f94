//! The general way to a windowed feature: the rows of its frame one by one, for what sums cannot say.
//!
//! A [`Gather`] is one feature of one judged event. The qualifying rows in reach of its frame are collected, put in
//! order where the frame is formed by events, cut to the frame, and only then computed with. What each frame and
//! aggregate means is written at `policy::typed`; [`windows`](super::windows) is the fast way to the aggregates that
//! are sums over times.

use super::calendar::local_day;
use super::decay;
use super::earth::Place;
use super::frames::Frame;
use super::plan::{Bit, Insert};
use super::program::{ArchivedAgg, ArchivedProgram};
use super::rows::{Block, Rows};
use super::units::{DECIMAL_DEN, SECOND, Time, Value};

/// One feature of a judged event.
pub(super) struct Gather {
    /// Index into the event's keys.
    pub(super) key: usize,
    /// Index into the groups.
    pub(super) group: usize,
    /// The event's insert into this group, if it has one.
    pub(super) own: Option<Insert>,
    pub(super) feature: usize,
    pub(super) agg: ArchivedAgg,
    /// The frame and its delay.
    pub(super) frame: (Frame, i64),
    /// Those of the other side of a change.
    pub(super) against: Option<(Frame, i64)>,
    pub(super) filter: Option<Bit>,
    pub(super) wanted: Wanted,
    pub(super) id_column: Option<usize>,
    pub(super) argument: i64,
    pub(super) zone: usize,
}

/// What is wanted of each row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Nothing,
    /// Whether another predicate holds too; always, when there is none.
    Also(Option<Bit>),
    Number {
        column: usize,
        den: i64,
        present: Bit,
    },
    Key {
        column: usize,
        present: Bit,
    },
}

/// Of one row, what counts. Greater is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    time: i64,
    tag: u64,
    present: bool,
    /// A key, or a number in the first word such that the words are in its order.
    words: [u64; 2],
    own: bool,
}

const SIGN: u64 = 1 << 63;

impl Item {
    fn number(&self) -> i64 {
        (self.words[0] ^ SIGN) as i64
    }

    fn place(&self) -> Option<Place> {
        if self.present { Place::from_word(self.number() as u64) } else { None }
    }
}

/// Working memory, reserved once.
pub(super) struct Gathered {
    items: Vec<Item>,
    /// Rows looked at.
    work: u64,
}

impl Gathered {
    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(rows: usize) -> u64 {
        (rows * size_of::<Item>()) as u64
    }

    /// For up to `rows` rows.
    pub(super) fn reserve(rows: usize) -> Self {
        Self { items: Vec::with_capacity(rows), work: 0 }
    }

    /// Writes to all of it, so that it is backed with memory.
    pub(super) fn write_over(&mut self) {
        let item = Item { time: 0, tag: 0, present: false, words: [0; 2], own: false };
        self.items.resize(self.items.capacity(), item);
        self.items.clear();
    }

    /// How many rows were looked at since this was last asked.
    pub(super) fn take_work(&mut self) -> u64 {
        std::mem::take(&mut self.work)
    }

    /// The feature's value at time `t`, and the end of its reach: a row that was given up matters if it is newer than
    /// that.
    pub(super) fn run(
        &mut self,
        gather: &Gather,
        program: &ArchivedProgram,
        t: i64,
        rows: &Rows<'_>,
    ) -> (Value, i64) {
        let (value, oldest) = self.side(gather, program, t, gather.frame, rows);
        let Some(against) = gather.against else { return (value, oldest) };
        let (base, older) = self.side(gather, program, t, against, rows);
        (change(value, base), oldest.min(older))
    }

    fn side(
        &mut self,
        gather: &Gather,
        program: &ArchivedProgram,
        t: i64,
        (frame, delay): (Frame, i64),
        rows: &Rows<'_>,
    ) -> (Value, i64) {
        let until = t.saturating_sub(delay);
        let after = frame.after(program, until);
        self.items.clear();
        let Self { items, work } = self;
        let mut collect = |block: &Block<'_>, own: bool| {
            *work += block.count as u64;
            for row in (block.rows_until(after)..block.rows_until(until)).rev() {
                if gather.counts(block, row) {
                    items.push(gather.item(block, row, own));
                }
            }
            items.len()
        };
        let own = rows.own.as_ref().map_or(0, |own| collect(own, true));
        // Rows come newest first, so that so many are enough; but which of one time is the later depends on all of it.
        let wanted = match frame {
            Frame::Events { count, .. } => count,
            _ => usize::MAX,
        };
        let mut enough = None;
        rows.each_stored((after, until), |block| {
            if block.count > 0 && enough.is_some_and(|time| block.time(block.count - 1) < time) {
                return false;
            }
            let stored = collect(&block, false) - own;
            if enough.is_none() && stored >= wanted {
                enough = Some(block.time(0));
            }
            true
        });
        let items = cut(frame, until, &mut self.items);
        let judged = Judged { t, until, own: rows.own.as_ref() };
        (gather.told(program, &judged, items), after)
    }
}

/// The rows of the frame among those in its reach.
fn cut(frame: Frame, until: i64, items: &mut [Item]) -> &mut [Item] {
    let first = match frame {
        Frame::Last { .. } | Frame::Every { .. } | Frame::This { .. } => 0,
        Frame::Events { count, .. } => {
            items.sort_unstable();
            items.len().saturating_sub(count)
        }
        Frame::Session { gap, .. } => {
            items.sort_unstable();
            let mut newer = until;
            let reached = |item: &&Item| {
                let near = newer - item.time <= gap;
                newer = item.time;
                near
            };
            items.len() - items.iter().rev().take_while(reached).count()
        }
    };
    &mut items[first..]
}

/// The judged event.
struct Judged<'a> {
    t: i64,
    until: i64,
    own: Option<&'a Block<'a>>,
}

impl Gather {
    fn counts(&self, block: &Block<'_>, row: usize) -> bool {
        self.filter.is_none_or(|filter| has(block, row, filter))
    }

    fn item(&self, block: &Block<'_>, row: usize, own: bool) -> Item {
        let word = |column: usize| block.column(column)[row];
        let (present, words) = match self.wanted {
            Wanted::Nothing => (true, [0, 0]),
            Wanted::Also(bit) => (true, [u64::from(bit.is_none_or(|bit| has(block, row, bit))), 0]),
            Wanted::Number { column, present, .. } if has(block, row, present) => {
                (true, [word(column) ^ SIGN, 0])
            }
            Wanted::Key { column, present } if has(block, row, present) => {
                (true, [word(column), word(column + 1)])
            }
            Wanted::Number { .. } | Wanted::Key { .. } => (false, [0, 0]),
        };
        Item { time: block.time(row), tag: self.id_column.map_or(0, word), present, words, own }
    }

    fn den(&self) -> i64 {
        match self.wanted {
            Wanted::Number { den, .. } => den,
            Wanted::Nothing | Wanted::Also(_) | Wanted::Key { .. } => 1,
        }
    }

    fn told(&self, program: &ArchivedProgram, judged: &Judged<'_>, items: &mut [Item]) -> Value {
        let den = self.den();
        let tell = |item: Option<&Item>| item.map_or(Value::MISSING, |item| Value::ratio(item.number(), den));
        match self.agg {
            ArchivedAgg::Scalar => Value::MISSING,
            ArchivedAgg::Count => Value::int(items.len() as i64),
            ArchivedAgg::Ratio => match items.len() {
                0 => Value::int(0),
                all => {
                    let part = items.iter().filter(|item| item.words[0] == 1).count();
                    Value::ratio(part as i64, all as i64)
                }
            },
            ArchivedAgg::Sum => {
                let sum = there(items).map(|item| i128::from(item.number())).sum::<i128>();
                i64::try_from(sum).map_or(Value::MISSING, |sum| Value::ratio(sum, den))
            }
            ArchivedAgg::Avg => {
                let sum = there(items).map(|item| i128::from(item.number())).sum::<i128>();
                Value::from_wide(sum, there(items).count() as i128 * i128::from(den))
            }
            ArchivedAgg::Min => tell(there(items).min_by_key(|item| item.words)),
            ArchivedAgg::Max => tell(there(items).max_by_key(|item| item.words)),
            ArchivedAgg::First => tell(there(items).min()),
            ArchivedAgg::Last => tell(there(items).max()),
            ArchivedAgg::DistinctValues | ArchivedAgg::DistinctKeys => {
                Value::int(in_order(items).chunk_by(same).count() as i64)
            }
            ArchivedAgg::ShareValues | ArchivedAgg::ShareKeys => {
                let values = in_order(items);
                let most = values.chunk_by(same).map(<[Item]>::len).max().unwrap_or(0);
                Value::ratio(most as i64, values.len() as i64)
            }
            ArchivedAgg::Percentile => {
                let values = in_order(items);
                let rank = (self.argument as usize * values.len()).div_ceil(100).max(1);
                tell(values.get(rank - 1))
            }
            ArchivedAgg::Stddev => stddev(items, den),
            ArchivedAgg::DecayedCount | ArchivedAgg::DecayedSum => {
                let counted = self.agg == ArchivedAgg::DecayedCount;
                let weighted = there(items).map(|item| {
                    let weight = decay::weight(judged.until - item.time, self.argument);
                    i128::from(weight) * i128::from(if counted { 1 } else { item.number() })
                });
                let millionths = decay::millionths(weighted.sum(), den);
                millionths.map_or(Value::MISSING, |num| Value::ratio(num, DECIMAL_DEN))
            }
            ArchivedAgg::SinceLast => since(judged.t, others(items).map(|item| item.time).max()),
            ArchivedAgg::SinceFirst => since(judged.t, others(items).map(|item| item.time).min()),
            ArchivedAgg::Distance | ArchivedAgg::Speed => self.way(judged, items),
            ArchivedAgg::SeenValue | ArchivedAgg::SeenKey => {
                let own = judged.own.map(|own| self.item(own, 0, true)).filter(|own| own.present);
                own.map_or(Value::MISSING, |own| {
                    Value::bool(others(items).any(|item| item.present && item.words == own.words))
                })
            }
            ArchivedAgg::Days => {
                let zone = &program.zones[self.zone];
                for item in &mut *items {
                    item.words = [local_day(zone, Time(item.time)) as u64 ^ SIGN, 0];
                }
                Value::int(in_order(items).chunk_by(same).count() as i64)
            }
        }
    }

    /// The distance to the latest other place, or the speed of going there.
    fn way(&self, judged: &Judged<'_>, items: &[Item]) -> Value {
        let own = judged.own.filter(|own| self.counts(own, 0));
        let here = own.and_then(|own| self.item(own, 0, true).place());
        let latest = others(items).filter(|item| item.place().is_some()).max();
        let (Some(here), Some(latest)) = (here, latest) else { return Value::MISSING };
        let Some(there) = latest.place() else { return Value::MISSING };
        let metres = there.metres_to(here);
        if self.agg == ArchivedAgg::Distance {
            return Value::int(metres);
        }
        // Metres per microsecond, times this, are kilometres per hour.
        const KM_H: i128 = 3_600_000;
        Value::from_wide(i128::from(metres) * KM_H, i128::from((judged.t - latest.time).max(SECOND)))
    }
}

#[inline]
fn has(block: &Block<'_>, row: usize, bit: Bit) -> bool {
    block.column(bit.column)[row] >> bit.bit & 1 == 1
}

fn there(items: &[Item]) -> impl Iterator<Item = &Item> {
    items.iter().filter(|item| item.present)
}

fn others(items: &[Item]) -> impl Iterator<Item = &Item> {
    items.iter().filter(|item| !item.own)
}

/// The values that are there, in ascending order.
fn in_order(items: &mut [Item]) -> &[Item] {
    items.sort_unstable_by_key(|item| (item.present, item.words));
    let first = items.partition_point(|item| !item.present);
    &items[first..]
}

fn same(a: &Item, b: &Item) -> bool {
    a.words == b.words
}

fn since(t: i64, time: Option<i64>) -> Value {
    time.map_or(Value::MISSING, |time| Value::int(t - time))
}

/// (a − b) ÷ b.
fn change(a: Value, b: Value) -> Value {
    if a.is_missing() || b.is_missing() || b.num == 0 {
        return Value::MISSING;
    }
    let base = i128::from(a.den) * i128::from(b.num);
    let change = i128::from(a.num) * i128::from(b.den) - base;
    if base < 0 { Value::from_wide(-change, -base) } else { Value::from_wide(change, base) }
}

/// The sample standard deviation, rounded down to millionths.
fn stddev(items: &[Item], den: i64) -> Value {
    let (mut count, mut sum, mut squares) = (0_i128, 0_i128, Some(0_i128));
    for item in there(items) {
        let number = i128::from(item.number());
        (count, sum) = (count + 1, sum + number);
        squares = squares.and_then(|squares| squares.checked_add(number * number));
    }
    let Some(squares) = squares.and_then(|squares| squares.checked_mul(count)).filter(|_| count > 1) else {
        return Value::MISSING;
    };
    // (Σx)² ≤ n·Σx², so it fits too.
    let (spread, under) = ((squares - sum * sum).unsigned_abs(), (count * (count - 1)).unsigned_abs());
    // Variance times 10¹², rounded down: columns hold units or millionths, so the factor is 10¹² or 1.
    let scale = (DECIMAL_DEN / den).unsigned_abs();
    let scale = u128::from(scale) * u128::from(scale);
    let whole = (spread / under).checked_mul(scale);
    let variance = whole.and_then(|whole| whole.checked_add(spread % under * scale / under));
    let millionths = variance.and_then(|variance| i64::try_from(variance.isqrt()).ok());
    millionths.map_or(Value::MISSING, |num| Value::ratio(num, DECIMAL_DEN))
}
