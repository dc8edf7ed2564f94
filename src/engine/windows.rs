//! Windowed features: an exact rescan of the rows of a key, shared by all features that look at them.
//!
//! Nearly all scans go the [`direct`] way. This is how all others do, and what they have in common with those.
//!
//! The ends of the windows that one judged event wants of one (key, group) cut time into *segments*. Windows that end together
//! are each a segment and all after it; where their rows are near, they are added up by [`Kernel::few`], four windows at a
//! time. If there are no more, and they are `last` with one delay, features are told straight from what that comes to ([`Told`]). Where rows are not near, or windows end apart, each row is added once, to what its segment comes to in
//! every [`Lane`](super::tally::Lane) that is wanted, and a feature's window is a run of segments, which are then added up. The event's own
//! row is one more block, of one row, after the stored ones.

use super::direct::{self, Direct, Run, Stored, Told, average, share};
use super::frames::Frame;
use super::kernel::{self, Few, Kernel, Near, Numbers, Pass, Starts, Task, Used, nest_sums};
use super::plan::{Bit, Insert, Plan};
use super::program::{ArchivedAgg, ArchivedFeaturePlan, ArchivedProgram, STAMP_BITS};
use super::rows::{Block, Rows, last_stamp_of, stamp};
use super::tally::Sum;
use super::tree::{Edges, Tallied};
use super::units::{TIME_END, Value, mix};

/// What one judged event kind wants of one (key, group).
pub(super) struct Scan {
    /// Index into the event's keys.
    pub(super) key: usize,
    /// Index into the groups.
    pub(super) group: usize,
    /// The event's insert into this group, if it has one.
    pub(super) own: Option<Insert>,
    /// Its windows: index into the event's sets of windows.
    pub(super) windows: usize,
    pub(super) lanes: Vec<Used>,
    /// Those that [`Pass::of`] makes of these, if they are told by [`few`](Self::few).
    pub(super) passes: Vec<Pass>,
    /// Where its sums go, which no other scan of the event uses.
    pub(super) sums: usize,
    pub(super) cells: Vec<Cell>,
    pub(super) distinct: Vec<Distinct>,
    /// The features that this scan alone tells.
    pub(super) outputs: Vec<Output>,
    /// How they are told from what [`Kernel::few`] says, where that is all there is to it.
    pub(super) few: Option<Told>,
}

/// The rows of a frame that is a range of times, looking back from t − `delay`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) frame: Frame,
    pub(super) delay: i64,
}

impl Window {
    /// The frame of a feature that is a range of times.
    pub(super) fn of(feature: &ArchivedFeaturePlan) -> Self {
        Self { frame: Frame::new(&feature.frame), delay: feature.delay_us.to_native() }
    }

    /// Seen from `t`: the time after which it begins, and the one with which it ends.
    #[inline]
    pub(super) fn reach(&self, program: &ArchivedProgram, t: i64) -> (i64, i64) {
        let until = t.saturating_sub(self.delay);
        (self.frame.after(program, until), until)
    }
}

/// The windows of a scan, or of several.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct WindowSet {
    pub(super) windows: Vec<Window>,
    /// Where all are `last` with one delay: their spans in descending order, each once. Then their ends are always in one
    /// order, and nothing about them depends on the event but its time.
    pub(super) spans: Vec<i64>,
    /// That delay.
    delay: i64,
    /// Of a fixed set of so few that [`Kernel::few`] does for it: how much less than the stamp that they end with the one before them is,
    /// and what that is at least. Of windows that there are not, it is above all stamps.
    few: Option<[(i64, i64); Few::WINDOWS]>,
}

impl WindowSet {
    pub(super) fn new(windows: Vec<Window>) -> Self {
        let delay = windows.first().map_or(0, |window| window.delay);
        let span = |window: &Window| match window.frame {
            Frame::Last { span } if window.delay == delay => Some(span),
            _ => None,
        };
        let mut spans = windows.iter().map(span).collect::<Option<Vec<i64>>>().unwrap_or_default();
        spans.sort_unstable_by(|a, b| b.cmp(a));
        spans.dedup();
        let few = (1..=Few::WINDOWS).contains(&spans.len()).then(|| {
            let mut few = [(0, i64::MAX); Few::WINDOWS];
            for (few, &span) in few.iter_mut().zip(&spans) {
                *few = (stamp(span.min(TIME_END.0 + 1)) as i64, last_stamp_of(-1) as i64);
            }
            few
        });
        Self { windows, spans, delay, few }
    }

    /// Whether it is known beforehand which segment a window begins with.
    pub(super) fn is_fixed(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Whether the row of the judged event is in all its windows, if they are fixed; else it is in none.
    pub(super) fn is_up_to_now(&self) -> bool {
        self.delay == 0
    }

    /// Whether it is a fixed one of so few that [`Kernel::few`] does for it.
    pub(super) fn is_few(&self) -> bool {
        self.few.is_some()
    }

    /// The segment that a window of a fixed set begins with.
    pub(super) fn first_segment(&self, window: usize) -> usize {
        let frame = self.windows[window].frame;
        self.spans.iter().position(|&span| frame == Frame::Last { span }).unwrap_or(0)
    }
}

/// What a lane comes to in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) window: usize,
    /// Index into the scan's lanes.
    pub(super) lane: usize,
    /// Where it is told from: of a fixed set of windows, where it is among the sums; else where it is copied to.
    pub(super) slot: usize,
}

/// How many different things there are in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Distinct {
    pub(super) window: usize,
    pub(super) filter: Option<Bit>,
    pub(super) present: Bit,
    pub(super) column: usize,
    /// The thing is a key, in this column and the next.
    pub(super) is_key: bool,
    /// Where the count goes.
    pub(super) slot: usize,
}

/// How a feature is told from its cells.
pub(super) struct Output {
    pub(super) feature: usize,
    pub(super) key: usize,
    pub(super) agg: ArchivedAgg,
    pub(super) cell: usize,
    /// The second cell of a ratio.
    pub(super) under: usize,
    pub(super) den: i64,
}

/// A set of windows as seen from one instant.
pub(super) struct Seen {
    /// Of a fixed set of a few; those of no window are above all stamps.
    pub(super) starts: Starts,
    /// Of such a set, the greatest stamp in them.
    pub(super) until: u64,
    /// The time after which the longest begins.
    pub(super) oldest: i64,
    /// Their ends in ascending order, each once; at least two. Of a fixed set of a few only once they are asked for.
    edges: Vec<i64>,
    /// The greatest stamps up to these.
    stamps: Vec<u64>,
    /// From where they are seen.
    time: i64,
    /// By window: the end after which it begins, and the one with which it ends. Not of fixed sets.
    windows: Vec<(i64, i64)>,
    /// By window: its first segment, and the one after its last. Not of fixed sets.
    segments: Vec<(usize, usize)>,
    /// All end at one time, which is that of the event if none is delayed.
    end_together: bool,
}

impl Seen {
    #[inline]
    fn look(&mut self, set: &WindowSet, program: &ArchivedProgram, t: i64) {
        self.time = t;
        self.edges.clear();
        self.stamps.clear();
        if let Some(few) = &set.few {
            self.until = last_stamp_of(t.saturating_sub(set.delay));
            for (start, (span, least)) in self.starts.0.iter_mut().zip(few) {
                *start = (self.until as i64 - span).max(*least) as u64;
            }
            self.oldest = self.starts.0[0] as i64 >> STAMP_BITS;
        } else {
            self.find_edges(set, program, t);
        }
    }

    /// What is not needed of a fixed set of a few where the rows are near.
    fn find_edges(&mut self, set: &WindowSet, program: &ArchivedProgram, t: i64) {
        if set.is_fixed() {
            let until = t.saturating_sub(set.delay);
            self.edges.extend(set.spans.iter().map(|&span| until.saturating_sub(span)));
            self.edges.push(until);
            self.end_together = true;
        } else {
            self.windows.clear();
            self.windows.extend(set.windows.iter().map(|window| window.reach(program, t)));
            self.sort_edges();
        }
        self.stamps.extend(self.edges.iter().map(|&edge| last_stamp_of(edge)));
        self.oldest = self.edges[0];
    }

    fn sort_edges(&mut self) {
        self.segments.clear();
        for window in 0..self.windows.len() {
            let (after, until) = self.windows[window];
            self.edge(until);
            self.edge(after);
        }
        let place = |edge: i64| self.edges.iter().map(|&other| usize::from(other < edge)).sum();
        self.segments.extend(self.windows.iter().map(|&(after, until)| (place(after), place(until))));
        self.end_together = self.windows.iter().all(|window| window.1 == self.windows[0].1);
    }

    fn edge(&mut self, edge: i64) {
        let place = self.edges.iter().map(|&other| usize::from(other < edge)).sum();
        if self.edges.get(place) != Some(&edge) {
            self.edges.insert(place, edge);
        }
    }
}

/// Working memory of the scans, reserved once.
pub(super) struct Scratch {
    /// By scan, segment and lane; then what is copied out of these, and what is no sum.
    sums: Vec<Sum>,
    /// By set of windows.
    seen: Vec<Seen>,
    /// By lane of a scan, if [`Kernel::few`] or [`Kernel::direct`] does for it.
    numbers: [Numbers; Numbers::LANES],
    /// Direct scans that are none after all.
    left: Vec<usize>,
    set: DistinctSet,
    kernel: Kernel,
    /// Rows and entries looked at.
    work: u64,
}

impl Scratch {
    /// What [`reserve`](Self::reserve) takes, the set of different things apart.
    pub(super) fn bytes_for(plan: &Plan) -> u64 {
        let bounds = &plan.bounds;
        let seen = 4 * size_of::<i64>() + size_of::<(i64, i64)>() + size_of::<(usize, usize)>();
        let seen = bounds.window_sets * (size_of::<Seen>() + bounds.windows * seen);
        (seen + bounds.sums * size_of::<Sum>() + bounds.directs * size_of::<usize>()) as u64
    }

    /// What the set of different things takes, where a key has up to so many rows.
    pub(super) fn set_bytes_for(rows_max: usize) -> u64 {
        DistinctSet::bytes_for(rows_max)
    }

    pub(super) fn reserve(plan: &Plan, rows_max: usize) -> Self {
        let bounds = &plan.bounds;
        let seen = |_| Seen {
            edges: Vec::with_capacity(2 * bounds.windows),
            stamps: Vec::with_capacity(2 * bounds.windows),
            time: 0,
            windows: Vec::with_capacity(bounds.windows),
            segments: Vec::with_capacity(bounds.windows),
            end_together: false,
            starts: Starts::NONE,
            until: 0,
            oldest: 0,
        };
        Self {
            sums: vec![Sum::EMPTY; bounds.sums],
            seen: (0..bounds.window_sets).map(seen).collect(),
            numbers: [Numbers::default(); Numbers::LANES],
            left: Vec::with_capacity(bounds.directs),
            set: DistinctSet::reserve(if bounds.distinct { rows_max } else { 0 }),
            kernel: kernel::best(),
            work: 0,
        }
    }

    /// Looks at the sets of windows from time `t`. What the scans of the event before came to is written over by [`run`](Self::run).
    #[inline]
    pub(super) fn begin(&mut self, windows: &[WindowSet], program: &ArchivedProgram, t: i64) {
        for (seen, set) in self.seen.iter_mut().zip(windows) {
            seen.look(set, program, t);
        }
    }

    /// Runs those scans that are [`Direct`] as far as they are. Which are left to [`run`](Self::run) is in [`left`](Self::left), and
    /// whether a window reaches rows that were given up is returned, and whether a key is seen to have a history.
    #[inline]
    pub(super) fn run_direct(
        &mut self,
        directs: &[Direct],
        stored: Stored<'_>,
        registers: &mut [Value],
    ) -> (bool, bool) {
        let Self { seen, numbers, left, kernel, work, .. } = self;
        left.clear();
        let few = kernel.few;
        let mut run = Run {
            directs,
            stored,
            few,
            seen,
            registers,
            numbers,
            left,
            work: 0,
            inexact: false,
            is_known: false,
        };
        // SAFETY: the kernel is one that this processor can run, and `few` is its own.
        unsafe { (kernel.direct)(&mut run) };
        *work += run.work;
        (run.inexact, run.is_known)
    }

    /// The scan in this place of those that were left; none from there on.
    #[inline]
    pub(super) fn left(&self, place: usize) -> Option<usize> {
        self.left.get(place).copied()
    }

    /// Accumulates the cells of `scan`, and sets the registers of the features that it alone tells. `is_left`: it was a direct one, whose
    /// rows are not near, or have a large value.
    ///
    /// Returns the end of the oldest reach: a row that was given up matters if it is newer than that.
    #[inline(never)]
    pub(super) fn run(
        &mut self,
        set: &WindowSet,
        program: &ArchivedProgram,
        scan: &Scan,
        (rows, is_left): (Rows<'_>, bool),
        registers: &mut [Value],
    ) -> i64 {
        if is_left || !self.run_few(set, scan, &rows, registers) {
            let seen = &mut self.seen[scan.windows];
            if seen.edges.is_empty() {
                seen.find_edges(set, program, seen.time);
            }
            self.run_any(set, program, scan, rows, registers);
        }
        self.seen[scan.windows].oldest
    }

    /// The same for few windows of rows that are near. False where it is something else.
    #[inline(always)]
    fn run_few(&mut self, set: &WindowSet, scan: &Scan, rows: &Rows<'_>, registers: &mut [Value]) -> bool {
        let Some(told) = &scan.few else { return false };
        // It is in all of them, as none is empty, or in none.
        let own = rows.own.filter(|_| set.is_up_to_now()).map(|own| own.words);
        let seen = (&self.seen[scan.windows], set.spans.len());
        let lanes = (&scan.lanes[..], &scan.passes[..]);
        // SAFETY: the kernel is one that this processor can run, the lanes are of these rows, and `told` is there for so few windows.
        let (is_told, looked_at) =
            unsafe { direct::near((rows, own), seen, lanes, self.kernel.few, &mut self.numbers) };
        self.work += looked_at;
        if is_told {
            told.tell(&self.numbers, registers);
        }
        is_told
    }

    /// The same for whatever it is.
    #[inline(never)]
    fn run_any(
        &mut self,
        set: &WindowSet,
        program: &ArchivedProgram,
        scan: &Scan,
        rows: Rows<'_>,
        registers: &mut [Value],
    ) {
        let seen = &self.seen[scan.windows];
        let edges = Edges { times: &seen.edges, stamps: &seen.stamps };
        let mut room = Near::room();
        let mut near = Near::new(&mut room);
        let is_near = seen.end_together
            && !scan.cells.is_empty()
            && rows.near(edges.reach(), edges.times.len(), &mut near);
        if is_near && let Some(own) = rows.own {
            near.push_own(own.words);
        }
        if !scan.cells.is_empty() {
            let lanes = scan.lanes.len();
            let sums = &mut self.sums[scan.sums..][..edges.segments() * lanes];
            let task = Task { edges: edges.stamps, used: &scan.lanes };
            if is_near {
                self.work += near.entries + near.rows as u64;
                // Of few windows there is a large value, or the vectors would have told.
                match scan.few {
                    Some(_) => kernel::nest_rows(&task, &near, sums),
                    None => kernel::nest(self.kernel, &task, &near, sums),
                }
            } else {
                sums.fill(Sum::EMPTY);
                let mut tallied = Tallied { kernel: self.kernel, edges, used: &scan.lanes, sums, work: 0 };
                rows.tally(&mut tallied);
                self.work += tallied.work;
                if seen.end_together {
                    nest_sums(sums, lanes);
                }
            }
            // Those of a fixed set are told from where they are.
            for cell in if set.is_fixed() { &[] } else { &scan.cells[..] } {
                let (first, end) = seen.segments[cell.window];
                let segment = |segment: usize| scan.sums + segment * lanes + cell.lane;
                self.sums[cell.slot] = if seen.end_together {
                    self.sums[segment(first)]
                } else {
                    let mut sum = Sum::EMPTY;
                    (first..end).for_each(|number| sum.add(&self.sums[segment(number)]));
                    sum
                };
            }
        }
        for distinct in &scan.distinct {
            let reach = set.windows[distinct.window].reach(program, seen.time);
            self.set.clear(&rows, reach);
            rows.each_stored(reach, |block| {
                self.work += block.count as u64;
                self.set.add(distinct, &block, reach);
                true
            });
            if let Some(own) = &rows.own {
                self.set.add(distinct, own, reach);
            }
            self.sums[distinct.slot] = Sum { count: self.set.count, ..Sum::EMPTY };
        }
        self.tell(&scan.outputs, registers);
    }

    /// Writes to all of its set, so that it is backed with memory.
    pub(super) fn write_over(&mut self) {
        self.set.write_over();
    }

    /// How many rows and entries were looked at since this was last asked.
    pub(super) fn take_work(&mut self) -> u64 {
        std::mem::take(&mut self.work)
    }

    /// Sets the registers of features whose scans have run.
    #[inline]
    pub(super) fn tell(&self, outputs: &[Output], registers: &mut [Value]) {
        for output in outputs {
            registers[output.feature] = told(output, &self.sums);
        }
    }
}

/// The value of a feature.
#[inline(always)]
fn told(output: &Output, sums: &[Sum]) -> Value {
    let sum = &sums[output.cell];
    // Of values, the denominator is always above 0.
    let of_values = |num: i64, is_told: bool| match is_told {
        true => Value { num, den: output.den },
        false => Value::MISSING,
    };
    match output.agg {
        ArchivedAgg::Count | ArchivedAgg::DistinctValues | ArchivedAgg::DistinctKeys => {
            Value::int(sum.count as i64)
        }
        ArchivedAgg::Sum => i64::try_from(sum.sum).map_or(Value::MISSING, |sum| of_values(sum, true)),
        ArchivedAgg::Max => of_values(sum.greatest, sum.count > 0),
        ArchivedAgg::Min => of_values(sum.least, sum.count > 0),
        ArchivedAgg::Avg => average(sum.sum, sum.count.into(), output.den),
        ArchivedAgg::Ratio => share(sum.count as i64, sums[output.under].count as i64),
        // These are gathered.
        _ => Value::MISSING,
    }
}

/// An item, and the round in which it was added.
type Entry = ([u64; 2], u64);

/// An exact set of 128-bit items, emptied in no time: an entry counts only if it carries the current round.
pub(super) struct DistinctSet {
    entries: Vec<Entry>,
    round: u64,
    mask: usize,
    pub(super) count: u64,
}

impl DistinctSet {
    fn entries_for(items: usize) -> usize {
        if items == 0 { 0 } else { (items * 2).next_power_of_two() }
    }

    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(items: usize) -> u64 {
        (Self::entries_for(items) * size_of::<Entry>()) as u64
    }

    /// For up to `items` different items.
    pub(super) fn reserve(items: usize) -> Self {
        let entries = vec![([0, 0], 0); Self::entries_for(items)];
        Self { entries, round: 0, mask: 0, count: 0 }
    }

    /// Writes to all of it, so that it is backed with memory.
    pub(super) fn write_over(&mut self) {
        self.entries.fill(([0, 0], 0));
    }

    /// Empties the set and prepares it for the rows in reach.
    fn clear(&mut self, rows: &Rows<'_>, reach: (i64, i64)) {
        let mut items = usize::from(rows.own.is_some());
        rows.each_stored(reach, |block| {
            items += block.count;
            true
        });
        self.clear_for(items);
    }

    /// Adds what is in the window of the rows of a block.
    fn add(&mut self, distinct: &Distinct, block: &Block<'_>, (after, until): (i64, i64)) {
        let has = |bit: Bit, row: usize| block.column(bit.column)[row] >> bit.bit & 1 == 1;
        for row in block.rows_until(after)..block.rows_until(until) {
            if distinct.filter.is_none_or(|filter| has(filter, row)) && has(distinct.present, row) {
                let first = block.column(distinct.column)[row];
                let second = if distinct.is_key { block.column(distinct.column + 1)[row] } else { 0 };
                self.insert([first, second]);
            }
        }
    }

    /// Empties the set and prepares it for at most `items` items; few items touch little memory.
    pub(super) fn clear_for(&mut self, items: usize) {
        self.round += 1;
        self.count = 0;
        self.mask = (items * 2).next_power_of_two().min(self.entries.len()) - 1;
    }

    #[inline]
    pub(super) fn insert(&mut self, item: [u64; 2]) {
        let mut at = mix(item[0], item[1]) as usize & self.mask;
        loop {
            let entry = &mut self.entries[at];
            if entry.1 != self.round {
                *entry = (item, self.round);
                self.count += 1;
                return;
            }
            if entry.0 == item {
                return;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_set_counts_different_items_exactly() {
        let mut set = DistinctSet::reserve(500);
        let mut random = 1_u64;
        for items in [1, 2, 30, 500] {
            set.clear_for(items);
            let mut model = BTreeSet::new();
            for item in 0..items {
                random = mix(random, item as u64);
                let item = [random % 97, random >> 60];
                set.insert(item);
                model.insert(item);
                assert_eq!(set.count, model.len() as u64);
            }
        }
    }
}
