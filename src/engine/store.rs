//! An event's own rows go to the records of its keys, once it has been decided.

use super::decode::Decoded;
use super::plan::{Group, Insert};
use super::rows::{self, Block, lose_until};
use super::shared::{Form, Shared};
use super::spill::Spill;
use super::table::{RecordNumber, Table};
use super::{Counters, Engine, LookedUp, Moment, SWEEP_PER_KEY, SWEEP_ROWS_MAX};

impl Engine {
    #[inline(never)]
    pub(super) fn store_own_rows(&mut self, kind: usize, event: &Decoded<'_>, moment: &mut Moment) {
        if moment.too_late {
            return;
        }
        let is_findable = self.skewed.as_mut().is_none_or(|skewed| {
            skewed.note(kind, event, moment.time, self.mark, &mut self.spill, &mut self.counters)
        });
        let moved_or_lost = |counters: &Counters| counters.promoted + counters.rows_lost;
        let before = moved_or_lost(&self.counters);
        let inserts = self.plan.events[kind].inserts.len();
        let time = moment.time.0;
        let mut stored = self.stored(kind, is_findable, time).store_known(0);
        while stored < inserts {
            match self.record_for(kind, stored, event, moment) {
                Some(record) => self.stored(kind, is_findable, time).store(stored, record),
                None => self.share(kind, stored, event),
            }
            stored = self.stored(kind, is_findable, time).store_known(stored + 1);
        }
        // Slabs of idle keys are wanted back before memory for slabs runs out, and more so after.
        let moved = moved_or_lost(&self.counters) - before;
        if moved > 0 && self.spill.is_past_half() {
            let looks = SWEEP_PER_KEY * moved.min(SWEEP_ROWS_MAX) as u32;
            self.sweeps.iter_mut().for_each(|sweep| *sweep += looks);
            self.sweeps_due = true;
        }
    }

    #[inline(always)]
    fn stored(&mut self, kind: usize, is_findable: bool, time: i64) -> Stored<'_> {
        let Self { plan, tables, looked_up, staged, spill, shared, counters, mark, watermark, .. } = self;
        let (groups, inserts) = (&plan.groups[..], &plan.events[kind].inserts[..]);
        Stored {
            inserts,
            looked_up,
            groups,
            tables,
            staged,
            spill,
            cells: (shared, &plan.shared, *watermark),
            counters,
            mark: *mark,
            time,
            is_findable,
        }
    }
}

/// What rows of one event are stored in.
struct Stored<'a> {
    inserts: &'a [Insert],
    looked_up: &'a [LookedUp],
    groups: &'a [Group],
    tables: &'a mut [Table],
    /// The rows.
    staged: &'a [u64],
    spill: &'a mut Spill,
    /// By group: what takes in rows that are given up, if anything does, and in what form; and the latest time of any event.
    cells: (&'a mut [Option<Shared>], &'a [Form], i64),
    counters: &'a mut Counters,
    mark: i64,
    /// Of the event.
    time: i64,
    /// Whether amendments will find it.
    is_findable: bool,
}

impl Stored<'_> {
    /// Stores rows from this one on, up to the first whose key has no record. Returns where that is.
    #[inline(always)]
    fn store_known(&mut self, from: usize) -> usize {
        for number in from..self.inserts.len() {
            let insert = &self.inserts[number];
            match self.looked_up[insert.key].record {
                Some(record) => self.store(number, record),
                None if self.tables[insert.table].is_asleep() => {}
                None => return number,
            }
        }
        self.inserts.len()
    }

    /// Stores a row in this record of its key.
    #[inline(always)]
    fn store(&mut self, number: usize, record: RecordNumber) {
        let insert = &self.inserts[number];
        let (group, table) = (&self.groups[insert.group], &mut self.tables[insert.table]);
        if table.is_asleep() {
            return;
        }
        let row = &self.staged[insert.staged..insert.staged + group.shape.row_words];
        let naming = table.naming();
        let record = table.record_mut(record);
        let dead = self.mark.saturating_sub(group.dead_after);
        let (shared, forms, newest) = &mut self.cells;
        let given_up = &mut |record: &[u64], block: &Block<'_>, row: usize| {
            if let Some(shared) = &mut shared[insert.group] {
                let hash = naming.hash(naming.key(record));
                shared.add(&forms[insert.group], hash, (block, row), *newest);
            }
        };
        rows::insert(record, &group.shape, self.spill, row, dead, self.counters, given_up);
        if !self.is_findable && !group.amends.is_empty() {
            // What amendments would make of it is lost, so that it counts as both.
            self.counters.rows_lost += 1;
            lose_until(record, &group.shape, self.time);
            given_up(record, &Block::of_row(row), 0);
        }
        Table::touch(record, self.time);
    }
}
