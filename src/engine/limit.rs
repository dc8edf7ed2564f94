//! At the limit of keys: who gets a record, what becomes of the rows of those who do not, and what is told of them.

use super::decode::Decoded;
use super::plan::Insert;
use super::rows::{Block, lose_until, lost_until};
use super::table::RecordNumber;
use super::{Engine, Moment, SWEEP_PER_KEY};

impl Engine {
    /// The record that a row of the event goes to whose key had none when it was looked up, made if there is still none; `None` without a
    /// key or room for it.
    #[inline(never)]
    pub(super) fn record_for(
        &mut self,
        kind: usize,
        insert: usize,
        event: &Decoded<'_>,
        moment: &mut Moment,
    ) -> Option<RecordNumber> {
        let plan = &self.plan.events[kind];
        let (before, at) = plan.inserts.split_at(insert);
        let (key, number) = (plan.keys[at[0].key].of(event)?, at[0].table);
        let table = &mut self.tables[number];
        // Another role of this event may have just added the same key.
        if let Some(record) = table.find(key) {
            return Some(record);
        }
        if table.is_past_half() {
            self.sweeps[number] += SWEEP_PER_KEY;
            self.sweeps_due = true;
        }
        let mut turned_away = false;
        if table.is_nearly_full() {
            // An event is seen once, in however many roles it has the key.
            let same = |other: &Insert| other.table == number && plan.keys[other.key].of(event) == Some(key);
            let is_new = before.iter().any(same) || !table.has_seen(key, moment.time.0);
            turned_away = is_new && !table.is_full();
        }
        let added = if turned_away { None } else { table.add(key) };
        let Some(record) = added else {
            table.lose(moment.time.0);
            let counter =
                if turned_away { &mut self.counters.doorkept } else { &mut self.counters.keys_lost };
            *counter += 1;
            moment.inexact = true;
            return None;
        };
        if let Some(lost) = table.lost_until() {
            for &group in &self.plan.tables[number].groups {
                lose_until(table.record_mut(record), &self.plan.groups[group].shape, lost);
            }
        }
        Some(record)
    }

    /// Adds a row that is not kept to what upper bounds are told from.
    #[inline(never)]
    pub(super) fn share(&mut self, kind: usize, insert: usize, event: &Decoded<'_>) {
        let insert = &self.plan.events[kind].inserts[insert];
        let group = &self.plan.groups[insert.group];
        let key = self.plan.events[kind].keys[insert.key].of(event);
        let (Some(key), Some(shared)) = (key, &mut self.shared[insert.group]) else {
            return;
        };
        let row = &self.staged[insert.staged..insert.staged + group.shape.row_words];
        let hash = self.tables[insert.table].hash(key);
        let row = (&Block::of_row(row), 0);
        shared.add(&self.plan.shared[insert.group], hash, row, self.watermark);
    }

    /// Raises the features that say `assume high` and reach back to where rows were not kept, to what there can be at most.
    #[inline(never)]
    pub(super) fn tell_bounds(&mut self, kind: usize, event: &Decoded<'_>, time: i64) {
        let program = self.loaded.program();
        let plan = &self.plan.events[kind];
        let mut told = false;
        for bounded in &plan.bounded {
            let Some(key) = plan.keys[bounded.key].of(event) else { continue };
            let Some(shared) = &self.shared[bounded.group] else { continue };
            let table = &self.tables[plan.keys[bounded.key].table];
            let shape = &self.plan.groups[bounded.group].shape;
            let lost = self.looked_up[bounded.key]
                .record
                .map_or(table.lost_until(), |number| lost_until(table.record(number), shape))
                .unwrap_or(i64::MIN);
            let until = time.saturating_sub(bounded.window.delay);
            let after = bounded.window.frame.after(program, until);
            if lost > after {
                let form = &self.plan.shared[bounded.group];
                let bound = shared.bound(form, table.hash(key), bounded.lane, (after, until), self.watermark);
                let register = &mut self.registers[bounded.feature];
                *register = bounded.raise(*register, &bound);
                told = true;
            }
        }
        self.counters.shared_told += u64::from(told);
    }
}
