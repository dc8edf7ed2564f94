//! Looking ahead over a burst: what its events will need is asked for together, in rounds that depend on each other, and
//! where it was found is noted, so that nothing is searched for twice.
//!
//! What is noted is a guess. The words it was made from have not been checked yet, and between the look and the decision
//! other events of the burst are decided, which add records and drop them. So a record is believed to be a key's only after
//! its key has been compared; if it is not, the key is looked up as if nobody had looked ahead. Hence looking ahead
//! changes no decision, whatever was looked at.

use super::plan::{Group, TableSpec};
use super::rows;
use super::spill::Spill;
use super::table::{RecordKey, RecordNumber, Table};

/// The most events of a burst. Of a longer one the rest is not looked ahead at.
pub(super) const EVENTS_MAX: usize = 64;

/// Where one key of an event is likely to be.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    table: usize,
    hash: u64,
    /// Once its bucket was there to be looked at.
    record: Option<RecordNumber>,
}

/// See the module.
pub(super) struct Ahead {
    /// Of all keys of the burst, an event's in their order.
    sights: Vec<Sight>,
    /// By event: the first of its keys that was not noted.
    ends: Vec<u32>,
    /// The next event to be decided.
    next: usize,
}

impl Ahead {
    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(keys_max: usize) -> u64 {
        (EVENTS_MAX * (keys_max * size_of::<Sight>() + size_of::<u32>())) as u64
    }

    /// For events of at most so many keys.
    pub(super) fn reserve(keys_max: usize) -> Self {
        let sights = Vec::with_capacity(EVENTS_MAX * keys_max);
        Self { sights, ends: Vec::with_capacity(EVENTS_MAX), next: 0 }
    }

    /// Begins a burst.
    pub(super) fn clear(&mut self) {
        self.sights.clear();
        self.ends.clear();
        self.next = 0;
    }

    /// Whether another event can be looked ahead at.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.ends.len() < EVENTS_MAX
    }

    /// Asks for the index bucket of a key of the event that is being noted.
    #[inline]
    pub(super) fn note(&mut self, number: usize, table: &Table, key: Option<RecordKey>) {
        let hash = key.map_or(0, |key| table.hash(key));
        table.prefetch_index(hash);
        // There is always room: see `reserve`.
        if self.sights.len() < self.sights.capacity() {
            self.sights.push(Sight { table: number, hash, record: None });
        }
    }

    /// Ends the event that is being noted.
    #[inline]
    pub(super) fn end_event(&mut self) {
        self.ends.push(self.sights.len() as u32);
    }

    /// Asks for the records that the buckets name.
    #[inline(never)]
    pub(super) fn ask_for_records(&mut self, tables: &[Table]) {
        for sight in &mut self.sights {
            let table = &tables[sight.table];
            sight.record = table.likely(sight.hash);
            if let Some(record) = sight.record {
                table.prefetch_record(record);
            }
        }
    }

    /// Asks for the newest rows beyond the records.
    #[inline(never)]
    pub(super) fn ask_for_rows(
        &self,
        tables: &[Table],
        specs: &[TableSpec],
        groups: &[Group],
        spill: &Spill,
    ) {
        for &Sight { table, record, .. } in &self.sights {
            let Some(record) = record else { continue };
            for &group in &specs[table].groups {
                rows::prefetch(tables[table].record(record), &groups[group].shape, spill);
            }
        }
    }

    /// Where the keys of the next event are likely to be, in their order; of events that were not looked ahead at, nothing.
    #[inline]
    pub(super) fn next_event(&mut self) -> std::ops::Range<usize> {
        let next = self.next;
        self.next += 1;
        let Some(&end) = self.ends.get(next) else { return 0..0 };
        let start = if next == 0 { 0 } else { self.ends[next - 1] };
        start as usize..end as usize
    }

    /// The records of these keys. Each may be another's, or none any more.
    #[inline]
    pub(super) fn likely(&self, keys: std::ops::Range<usize>) -> impl Iterator<Item = Option<RecordNumber>> {
        self.sights[keys].iter().map(|sight| sight.record)
    }
}
