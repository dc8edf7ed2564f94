//! Looking ahead over a burst: what its events will need is asked for in rounds that depend on each other, and where it
//! was found is noted, so that nothing is searched for twice.
//!
//! Index buckets and the first lines of records are asked for a group of events at a time, one close upon the other. Each is
//! on a page of its own, and the processor goes on from such a prefetch only when it has found the page: side by side these
//! searches overlap, one by one among other work they do not. What follows lies on pages that have been found, and is a
//! pipeline: while an event is decided, the memory brings the lines of the records of the third after it, and what the records of
//! the second say is beyond them. Whoever looks at a line right after asking for it waits: once a burst has begun, there is a decision
//! between the two in this pipeline.
//!
//! What is noted is a guess. The words it was made from have not been checked yet, and between the look and the decision
//! other events of the burst are decided, which add records and drop them. So a record is believed to be a key's only after
//! its key has been compared; if it is not, the key is looked up as if nobody had looked ahead. Hence looking ahead
//! changes no decision, whatever was looked at.

use super::index::{Compare, Start};
use super::plan::Plan;
use super::rows;
use super::spill::Spill;
use super::table::{RecordKey, RecordNumber, Table};
use std::num::NonZeroU32;
use std::ops::Range;

/// The most events of a burst. Of a longer one the rest is not looked ahead at.
pub(super) const EVENTS_MAX: usize = 64;

/// Events whose buckets and records are asked for at a time.
const GROUP: usize = 16;

/// How many events before its decision each later round asks for an event.
const LINES: usize = 3;
const BEYOND: usize = 2;
const ROWS: usize = 1;

/// Where one key of an event is likely to be.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    table: u32,
    /// `None` where the event has no such key.
    start: Option<Start>,
    /// Once its group has been asked for: the number of its record, + 1.
    record: Option<NonZeroU32>,
}

// There are many, and each is gone through again and again.
const _: () = assert!(size_of::<Sight>() == 16);

impl Sight {
    #[inline(always)]
    fn table(self) -> usize {
        self.table as usize
    }

    #[inline(always)]
    fn record(self) -> Option<RecordNumber> {
        self.record.map(|number| number.get() - 1)
    }
}

/// See the module.
pub(super) struct Ahead {
    /// Of all keys of the burst, an event's in their order.
    sights: Vec<Sight>,
    /// By event: the first of its keys that was not noted.
    ends: Vec<u32>,
    /// The next event to be decided.
    next: usize,
    /// Those events that have something to ask for in the last round, a bit for each.
    deep: u64,
    /// Of the group that is being asked for: sights whose record the first look at the first bucket did not name, though there may be one.
    elsewhere: Vec<u32>,
    /// [`ask_for_records_by`](Self::ask_for_records_by) for the best vectors that this processor has.
    ask_for_records: AskForRecords,
}

/// See [`Ahead::ask_for_records_by`].
type AskForRecords = unsafe fn(&mut Ahead, usize, &[Table]);

const _: () = assert!(EVENTS_MAX == u64::BITS as usize);

impl Ahead {
    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(keys_max: usize) -> u64 {
        (EVENTS_MAX * (keys_max * (size_of::<Sight>() + size_of::<u32>()) + size_of::<u32>())) as u64
    }

    /// For events of at most so many keys.
    pub(super) fn reserve(keys_max: usize) -> Self {
        let sights = Vec::with_capacity(EVENTS_MAX * keys_max);
        let elsewhere = Vec::with_capacity(EVENTS_MAX * keys_max);
        let ask_for_records = ask::all().last().map_or(ask::by_any as AskForRecords, |&(_, ask)| ask);
        Self { sights, ends: Vec::with_capacity(EVENTS_MAX), next: 0, deep: 0, elsewhere, ask_for_records }
    }

    /// Begins a burst.
    pub(super) fn clear(&mut self) {
        self.sights.clear();
        self.ends.clear();
        self.next = 0;
        self.deep = 0;
    }

    /// Whether another event can be looked ahead at.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.ends.len() < EVENTS_MAX
    }

    /// Notes a key of an event.
    #[inline(always)]
    pub(super) fn note(&mut self, number: usize, table: &Table, key: Option<RecordKey<'_>>) {
        let start = key.map(|key| table.search_start(key));
        // There is always room: see `reserve`.
        if self.sights.len() < self.sights.capacity() {
            self.sights.push(Sight { table: number as u32, start, record: None });
        }
    }

    /// Ends the event that is being noted.
    #[inline]
    pub(super) fn end_event(&mut self) {
        self.ends.push(self.sights.len() as u32);
    }

    /// Once all are noted: asks for what the first events need.
    pub(super) fn begin(&mut self, tables: &[Table], plan: &Plan, spill: &Spill) {
        self.ask_for_records(0, tables);
        (0..LINES).for_each(|event| self.ask_for_lines(event, tables));
        (0..BEYOND).for_each(|event| self.ask_beyond_records(event, tables, plan, spill));
        (0..ROWS).for_each(|event| self.ask_for_rows(event, tables, plan, spill));
    }

    /// Goes on to the next event to be decided: asks for what those after it need, and tells where its keys were seen.
    #[inline]
    pub(super) fn next_event(&mut self, tables: &[Table], plan: &Plan, spill: &Spill) -> Range<usize> {
        let event = self.next;
        self.next += 1;
        // One event before the first of them is looked at.
        let later = event + LINES + 1;
        if later.is_multiple_of(GROUP) {
            self.ask_for_records(later, tables);
        }
        self.ask_for_lines(event + LINES, tables);
        self.ask_beyond_records(event + BEYOND, tables, plan, spill);
        self.ask_for_rows(event + ROWS, tables, plan, spill);
        self.keys(event)
    }

    /// The sights of an event; of one that was not looked ahead at, none.
    #[inline]
    fn keys(&self, event: usize) -> Range<usize> {
        let Some(&end) = self.ends.get(event) else { return 0..0 };
        let start = if event == 0 { 0 } else { self.ends[event - 1] };
        start as usize..end as usize
    }

    /// The sights of a group of events from this one on.
    fn group(&self, event: usize) -> Range<usize> {
        let end = (event + GROUP).min(self.ends.len());
        if event < end { self.keys(event).start..self.keys(end - 1).end } else { 0..0 }
    }

    fn ask_for_records(&mut self, event: usize, tables: &[Table]) {
        // SAFETY: this processor has these vectors.
        unsafe { (self.ask_for_records)(self, event, tables) };
    }

    /// Asks for the index buckets of a group of events, and for the first lines of the records that they name. What asks is
    /// in loops of its own, with as little else in them as can be, so that many searches for pages are under way at a time.
    ///
    /// # Safety
    ///
    /// As for [`Compare`].
    #[inline(always)]
    unsafe fn ask_for_records_by<C: Compare>(&mut self, event: usize, tables: &[Table]) {
        let group = self.group(event);
        for sight in &self.sights[group.clone()] {
            if let Some(start) = sight.start {
                tables[sight.table()].prefetch_index(start);
            }
        }
        self.elsewhere.clear();
        for (sight, place) in self.sights[group.clone()].iter_mut().zip(group.start as u32..) {
            let Some(start) = sight.start else { continue };
            // SAFETY: as the caller has made sure.
            let (record, is_elsewhere) = unsafe { tables[sight.table()].likely::<C>(start) };
            sight.record = record;
            if is_elsewhere {
                self.elsewhere.push(place);
            }
        }
        for sight in &self.sights[group] {
            if let Some(record) = sight.record() {
                tables[sight.table()].prefetch_first_line(record);
            }
        }
        for &place in &self.elsewhere {
            let sight = &mut self.sights[place as usize];
            let (table, start) = (&tables[sight.table()], sight.start);
            sight.record = start.and_then(|start| table.likely_elsewhere(start));
            if let Some(record) = sight.record() {
                table.prefetch_first_line(record);
            }
        }
    }

    /// Asks for all lines of the records: for the first once more, as a processor that looks for many pages lets some of what was
    /// asked for go.
    #[inline(never)]
    fn ask_for_lines(&self, event: usize, tables: &[Table]) {
        for sight in &self.sights[self.keys(event)] {
            if let Some(record) = sight.record() {
                tables[sight.table()].prefetch_record(record);
            }
        }
    }

    /// Asks for what is beyond those records whose first line tells.
    #[inline(never)]
    fn ask_beyond_records(&mut self, event: usize, tables: &[Table], plan: &Plan, spill: &Spill) {
        let mut is_deep = false;
        for sight in &self.sights[self.keys(event)] {
            let Some(number) = sight.record() else { continue };
            let (table, spec) = (&tables[sight.table()], &plan.tables[sight.table()]);
            let record = table.record(number);
            is_deep |= !spec.are_headed_first;
            if spec.heads.iter().any(|&(head, _)| rows::is_beyond(record, head)) {
                is_deep |= ask_beyond(record, &spec.heads, plan, spill);
            }
        }
        if is_deep {
            self.deep |= 1 << event;
        }
    }

    /// Asks for the newest leaves of small trees, or, of groups of rows that are not headed in the first line, for what is beyond
    /// the record.
    #[inline(never)]
    fn ask_for_rows(&self, event: usize, tables: &[Table], plan: &Plan, spill: &Spill) {
        if event >= EVENTS_MAX || self.deep >> event & 1 == 0 {
            return;
        }
        for sight in &self.sights[self.keys(event)] {
            let Some(number) = sight.record() else { continue };
            let record = tables[sight.table()].record(number);
            for &group in &plan.tables[sight.table()].groups {
                let shape = &plan.groups[group].shape;
                if rows::is_headed_first(shape) {
                    rows::prefetch_leaves(record, shape, spill);
                } else {
                    rows::prefetch(record, shape, spill);
                }
            }
        }
    }

    /// The records of these keys. Each may be another's, or none any more.
    #[inline]
    pub(super) fn likely(&self, keys: Range<usize>) -> impl Iterator<Item = Option<RecordNumber>> {
        self.sights[keys].iter().map(|sight| sight.record())
    }
}

/// Asks for the newest rows beyond a record, of those groups that have any. Whether some are in a tree.
#[inline(never)]
fn ask_beyond(record: &[u64], heads: &[(usize, usize)], plan: &Plan, spill: &Spill) -> bool {
    let mut is_deep = false;
    for &(head, group) in heads {
        is_deep |= rows::is_beyond(record, head) && rows::prefetch(record, &plan.groups[group].shape, spill);
    }
    is_deep
}

/// What asks for records, by each kind of vectors.
mod ask {
    use super::{Ahead, AskForRecords, Table};
    use crate::engine::index::Here;
    #[cfg(target_arch = "x86_64")]
    use crate::engine::index::{Avx2, Avx512};

    /// All that this processor can run, and what they are called; the best last.
    pub(super) fn all() -> Vec<(&'static str, AskForRecords)> {
        #[allow(unused_mut, reason = "where there is only one")]
        let mut all: Vec<(&'static str, AskForRecords)> = vec![("everywhere", by_any)];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                all.push(("avx2", by_avx2));
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(("avx512", by_avx512));
            }
        }
        all
    }

    pub(super) unsafe fn by_any(ahead: &mut Ahead, event: usize, tables: &[Table]) {
        // SAFETY: every processor has these vectors.
        unsafe { ahead.ask_for_records_by::<Here>(event, tables) };
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn by_avx2(ahead: &mut Ahead, event: usize, tables: &[Table]) {
        // SAFETY: `all` gives this out only where the vectors are.
        unsafe { ahead.ask_for_records_by::<Avx2>(event, tables) };
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn by_avx512(ahead: &mut Ahead, event: usize, tables: &[Table]) {
        // SAFETY: `all` gives this out only where the vectors are.
        unsafe { ahead.ask_for_records_by::<Avx512>(event, tables) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::TableSpec;
    use crate::engine::table::NO_SECOND;
    use crate::engine::units::mix;

    /// A table so full that many searches go beyond their first bucket; of the keys looked for, half are in it.
    #[test]
    fn all_ways_of_asking_see_the_same_records() {
        const KEYS: u32 = 4_000;
        let spec = TableSpec {
            name: String::new(),
            is_pair: false,
            added_to: 0,
            record_words: 8,
            groups: Vec::new(),
            heads: Vec::new(),
            are_headed_first: true,
            dead_after: 0,
        };
        let tables = [1, 2].map(|seed| Table::reserve(&spec, KEYS, seed).unwrap());
        let mut tables = tables;
        let key = |number: u64| [mix(number, 3), number];
        for number in 0..u64::from(KEYS) {
            for table in &mut tables {
                let words = key(number);
                table.add(RecordKey { first: &words, second: NO_SECOND }).unwrap();
            }
        }
        let ways = ask::all();
        assert!(cfg!(not(target_arch = "x86_64")) || ways.len() > 1, "this processor has one way only");
        let (mut random, mut beyond) = (1, 0);
        for _ in 0..500 {
            random = mix(random, 9);
            let seen = ways.iter().map(|&(_, ask)| {
                let mut ahead = Ahead::reserve(2);
                let mut next = random;
                for _ in 0..next as usize % (EVENTS_MAX + 1) {
                    for (number, table) in tables.iter().enumerate() {
                        next = mix(next, 5);
                        let words = key(next % (2 * u64::from(KEYS)));
                        let key = RecordKey { first: &words, second: NO_SECOND };
                        ahead.note(number, table, (next >> 40 & 7 != 0).then_some(key));
                    }
                    ahead.end_event();
                }
                for event in (0..EVENTS_MAX).step_by(GROUP) {
                    // SAFETY: this processor has the vectors.
                    unsafe { ask(&mut ahead, event, &tables) };
                    beyond += ahead.elsewhere.len();
                }
                ahead.sights.iter().map(|sight| sight.record()).collect::<Vec<_>>()
            });
            let seen: Vec<_> = seen.collect();
            for ((name, _), records) in ways.iter().zip(&seen) {
                assert_eq!(*records, seen[0], "{name}");
            }
        }
        assert!(beyond > 1_000);
    }
}
