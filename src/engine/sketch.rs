//! Counts of different things that say `assume`: exact where a window holds few rows, a bound where it holds many.
//!
//! Of the rows of the window that qualify (the filter is true, the value is there) the newest are looked at one by one, up to
//! so many, by (time, tag): the different things among them are the lower bound. How many more qualify is told by what
//! trees keep of their chunks, and each of those may hold a thing of its own: the upper bound. So no row beyond the newest is
//! looked at, and chunks in which none qualifies are passed over.
//!
//! Where one id was taken in twice at one time, which rows are the newest must not depend on the order of arrival: then the
//! one with the greater value is the later, and the judged event's is later than its equal (`policy::typed`).

use super::kernel::{self, Kernel, Used};
use super::plan::{Bit, Column, Group, Insert, KeyColumn, filter, index};
use super::program::{ArchivedAgg, ArchivedAssume, ArchivedFeatureUse, ArchivedProgram, ArchivedTerm};
use super::rows::{At, Block, Rows, last_stamp_of, row_at};
use super::tally::{Lane, Sum};
use super::tree::{Edges, Tallied};
use super::units::Value;
use super::windows::{DistinctSet, Window};
use super::{Counters, View};

/// One such feature of a judged event.
pub(super) struct Sketch {
    /// Index into the event's keys.
    key: usize,
    /// Index into the groups.
    pub(super) group: usize,
    /// The event's insert into this group, if it has one.
    own: Option<Insert>,
    pub(super) feature: usize,
    window: Window,
    filter: Option<Bit>,
    thing: Thing,
    /// The rows that qualify, counted.
    lane: Used,
    /// How many are looked at.
    pub(super) rows: usize,
    is_upper: bool,
    /// Whether every row qualifies: there is no filter, and no event without the key.
    pub(super) is_each: bool,
}

/// What is counted.
#[derive(Clone, Copy)]
struct Thing {
    present: Bit,
    column: usize,
    /// A key, in this column and the next.
    is_key: bool,
}

impl Thing {
    fn of(agg: ArchivedAgg, term: &ArchivedTerm, columns: &[Column], keys: &[KeyColumn]) -> Self {
        let value = index(term.value);
        let is_key = agg == ArchivedAgg::DistinctKeys;
        let (column, present) = match is_key {
            true => (keys[value].column, keys[value].present),
            false => (columns[value].column, columns[value].present),
        };
        Self { present, column, is_key }
    }
}

/// The rows of a term that qualify, counted.
pub(super) fn lane(
    agg: ArchivedAgg,
    term: &ArchivedTerm,
    filter: Option<Bit>,
    columns: &[Column],
    keys: &[KeyColumn],
) -> Lane {
    let Thing { present, column, .. } = Thing::of(agg, term, columns, keys);
    Lane::new(filter, Some((column, present))).counted()
}

impl Sketch {
    /// `own` is the event's insert into the group of a term.
    fn new(
        program: &ArchivedProgram,
        using: &ArchivedFeatureUse,
        groups: &[Group],
        own: impl Fn(usize) -> Option<Insert>,
    ) -> Option<Self> {
        let feature = &program.features[index(using.feature)];
        let term = feature.terms.first().filter(|_| feature.is_sketched())?;
        let number = index(term.group);
        let group = &groups[number];
        let (filter, columns, keys) = (filter(term, &group.predicates), &group.columns, &group.keys);
        let lane = lane(feature.agg, term, filter, columns, keys);
        let lane = group.shape.lanes.iter().position(|known| *known == lane)?;
        let event = &program.events[index(program.groups[number].event)];
        let is_required = |key: &KeyColumn| event.required.to_native() >> key.event_bit & 1 == 1;
        let thing = Thing::of(feature.agg, term, columns, keys);
        let is_each = filter.is_none() && thing.is_key && is_required(&keys[index(term.value)]);
        Some(Self {
            key: index(using.key),
            group: number,
            own: own(number),
            feature: index(using.feature),
            window: Window::of(feature),
            filter,
            thing,
            lane: Used {
                lane: group.shape.lanes[lane],
                number: lane,
                sum: false,
                least: false,
                greatest: false,
            },
            rows: feature.argument.to_native() as usize,
            is_upper: feature.assume == Some(ArchivedAssume::High),
            is_each,
        })
    }

    fn qualifies(&self, block: &Block<'_>, row: usize) -> bool {
        let has = |bit: Bit| block.column(bit.column)[row] >> bit.bit & 1 == 1;
        self.filter.is_none_or(has) && has(self.thing.present)
    }

    fn row(&self, block: &Block<'_>, row: usize, id_column: Option<usize>, is_own: bool) -> Newest {
        // Numbers in the order of their words.
        const SIGN: u64 = 1 << 63;
        let Thing { column, is_key, .. } = self.thing;
        let things = match is_key {
            true => [block.column(column)[row], block.column(column + 1)[row]],
            false => [block.column(column)[row] ^ SIGN, 0],
        };
        Newest { at: row_at(block.words, block.capacity, row, id_column), things, is_own }
    }
}

/// One of the newest rows that qualify. Greater is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Newest {
    at: At,
    things: [u64; 2],
    is_own: bool,
}

/// Puts a row to the newest, the latest first, of which there are so many `at_most`; they come in descending order of time and
/// tag. False when neither it nor what is older is one of them.
fn put(newest: &mut Vec<Newest>, at_most: usize, row: Newest) -> bool {
    let Some(last) = newest.last().filter(|_| newest.len() >= at_most) else {
        newest.push(row);
        return true;
    };
    let is_tied = row.at == last.at;
    let tied = newest.iter_mut().rev().take_while(|other| other.at == row.at);
    if let Some(earliest) = tied.min()
        && *earliest < row
    {
        *earliest = row;
    }
    is_tied
}

/// Working memory of the sketches, reserved once.
pub(super) struct Sketched {
    newest: Vec<Newest>,
    set: DistinctSet,
    kernel: Kernel,
}

impl Sketched {
    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(rows: usize) -> u64 {
        (rows * size_of::<Newest>()) as u64 + DistinctSet::bytes_for(rows)
    }

    /// For sketches of up to so many rows.
    pub(super) fn reserve(rows: usize) -> Self {
        Self { newest: Vec::with_capacity(rows), set: DistinctSet::reserve(rows), kernel: kernel::best() }
    }

    /// Writes to all of it, so that it is backed with memory.
    pub(super) fn write_over(&mut self) {
        let row = Newest { at: At { time: 0, tag: 0 }, things: [0; 2], is_own: false };
        self.newest.resize(self.newest.capacity(), row);
        self.newest.clear();
        self.set.write_over();
    }

    /// Sets the registers of an event's sketches. Whether rows that they reach back to were given up.
    pub(super) fn tell(
        &mut self,
        view: &View<'_>,
        (program, t): (&ArchivedProgram, i64),
        registers: &mut [Value],
        counters: &mut Counters,
    ) -> bool {
        let mut inexact = false;
        for sketch in &view.event.sketches {
            let Some((rows, lost)) = view.rows(sketch.key, sketch.group, sketch.own) else { continue };
            let reach = sketch.window.reach(program, t);
            registers[sketch.feature] = self.told(sketch, &rows, reach, &mut counters.rows_scanned);
            inexact |= lost.is_some_and(|lost| lost > reach.0);
        }
        inexact
    }

    fn told(&mut self, sketch: &Sketch, rows: &Rows<'_>, reach: (i64, i64), work: &mut u64) -> Value {
        let is_all = self.collect(sketch, rows, reach, work);
        self.set.clear_for(self.newest.len());
        self.newest.iter().for_each(|row| self.set.insert(row.things));
        let more = match sketch.is_upper && !is_all {
            true => self.count(sketch, rows, reach, work) - self.newest.len() as u64,
            false => 0,
        };
        Value::int((self.set.count + more) as i64)
    }

    /// Collects the newest rows; whether these are all.
    fn collect(
        &mut self,
        sketch: &Sketch,
        rows: &Rows<'_>,
        (after, until): (i64, i64),
        work: &mut u64,
    ) -> bool {
        let id_column = rows.shape.id_column;
        let newest = &mut self.newest;
        newest.clear();
        let (mut qualified, mut looked_at) = (0, 0);
        let mut put = |row: Newest| {
            qualified += 1;
            put(newest, sketch.rows, row)
        };
        // It takes its place among the stored ones, which come newest first.
        let own = rows.own.as_ref().filter(|own| (after + 1..=until).contains(&own.time(0)));
        let own = own.filter(|own| sketch.qualifies(own, 0));
        let mut own = own.map(|own| sketch.row(own, 0, id_column, true));
        let entries = rows.each_of_lane(sketch.lane.number, (after, until), |block| {
            looked_at += block.count as u64;
            for row in (block.rows_until(after)..block.rows_until(until)).rev() {
                if sketch.qualifies(&block, row) {
                    let row = sketch.row(&block, row, id_column, false);
                    if own.take_if(|own| own.at >= row.at).is_some_and(|own| !put(own)) || !put(row) {
                        return false;
                    }
                }
            }
            true
        });
        own.into_iter().for_each(|own| _ = put(own));
        *work += entries + looked_at + u64::from(rows.own.is_some());
        qualified == self.newest.len()
    }

    /// How many rows qualify.
    fn count(&mut self, sketch: &Sketch, rows: &Rows<'_>, (after, until): (i64, i64), work: &mut u64) -> u64 {
        let times = [after, until];
        let (stamps, mut sums) = (times.map(last_stamp_of), [Sum::EMPTY]);
        let edges = Edges { times: &times, stamps: &stamps };
        let (kernel, used) = (self.kernel, &[sketch.lane]);
        let mut tallied = Tallied { kernel, edges, used, sums: &mut sums, work: 0 };
        rows.tally(&mut tallied);
        *work += tallied.work;
        sums[0].count
    }
}

/// The features of one event that are sketched.
pub(super) fn sketches(
    program: &ArchivedProgram,
    uses: &[ArchivedFeatureUse],
    groups: &[Group],
    own: impl Fn(usize) -> Option<Insert>,
) -> Vec<Sketch> {
    uses.iter().filter_map(|using| Sketch::new(program, using, groups, &own)).collect()
}
