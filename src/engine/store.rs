//! An event's own rows go to the records of its keys, once it has been decided.

use super::decode::Decoded;
use super::plan::{Group, Insert};
use super::rows::{self, Block, lose_until};
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
        let mut stored = self.stored(kind, is_findable, time).push_from(0);
        while stored < inserts {
            let key = self.plan.events[kind].inserts[stored].key;
            let known = self.looked_up[key].record;
            match known.or_else(|| self.record_for(kind, stored, event, moment)) {
                Some(record) => self.store(kind, stored, record, is_findable, time),
                None => self.share(kind, stored, event),
            }
            stored = self.stored(kind, is_findable, time).push_from(stored + 1);
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
        let Self { plan, tables, looked_up, staged, counters, mark, .. } = self;
        let (groups, inserts) = (&plan.groups[..], &plan.events[kind].inserts[..]);
        Stored { inserts, looked_up, groups, tables, staged, counters, mark: *mark, time, is_findable }
    }

    /// Stores a row of an event in this record of its key, whatever that takes.
    #[inline(never)]
    fn store(&mut self, kind: usize, number: usize, record: RecordNumber, is_findable: bool, time: i64) {
        let insert = &self.plan.events[kind].inserts[number];
        let (group, table) = (&self.plan.groups[insert.group], &mut self.tables[insert.table]);
        if table.is_asleep() {
            return;
        }
        let row = &self.staged[insert.staged..insert.staged + group.shape.row_words];
        let dead = self.mark.saturating_sub(group.dead_after);
        let naming = table.naming();
        let record = table.record_mut(record);
        let (shared, form) = (&mut self.shared[insert.group], &self.plan.shared[insert.group]);
        let newest = self.watermark;
        let given_up = &mut |record: &[u64], block: &Block<'_>, row: usize| {
            if let Some(shared) = shared {
                shared.add(form, naming.hash(naming.key(record)), (block, row), newest);
            }
        };
        Table::touch(record, time);
        if !rows::push(record, &group.shape, row, dead, &mut self.counters) {
            rows::place(record, &group.shape, &mut self.spill, row, dead, &mut self.counters, given_up);
        }
        if !is_findable && !group.amends.is_empty() {
            // What amendments would make of it is lost, so that it counts as both.
            self.counters.rows_lost += 1;
            lose_until(record, &group.shape, time);
            given_up(record, &Block::of_row(row), 0);
        }
    }
}

/// What rows of one event are stored in, where that is simple.
struct Stored<'a> {
    inserts: &'a [Insert],
    looked_up: &'a [LookedUp],
    groups: &'a [Group],
    tables: &'a mut [Table],
    /// The rows.
    staged: &'a [u64],
    counters: &'a mut Counters,
    mark: i64,
    /// Of the event.
    time: i64,
    /// Whether amendments will find it.
    is_findable: bool,
}

impl Stored<'_> {
    /// Stores rows from this one on in the records of their keys, up to the first whose key has none, or that takes more than its record. Returns
    /// where that is.
    #[inline(always)]
    fn push_from(&mut self, from: usize) -> usize {
        for number in from..self.inserts.len() {
            let insert = &self.inserts[number];
            let (group, table) = (&self.groups[insert.group], &mut self.tables[insert.table]);
            if table.is_asleep() {
                continue;
            }
            let Some(record) = self.looked_up[insert.key].record else { return number };
            if !self.is_findable && !group.amends.is_empty() {
                return number;
            }
            let row = &self.staged[insert.staged..insert.staged + group.shape.row_words];
            let record = table.record_mut(record);
            let dead = self.mark.saturating_sub(group.dead_after);
            if !rows::push(record, &group.shape, row, dead, self.counters) {
                return number;
            }
            Table::touch(record, self.time);
        }
        self.inserts.len()
    }
}
