//! At the limit of keys: who gets a record, what becomes of the rows of those who do not, and what is told of them.

use super::plan::Insert;
use super::rows::{lose_until, lost_until};
use super::table::RecordNumber;
use super::{Engine, LookedUp, Moment, SWEEP_PER_KEY};

impl Engine {
    /// The record that a row of the event goes to whose key had none when it was looked up, made if there is still none; `None` without a
    /// key or room for it.
    pub(super) fn record_for(
        &mut self,
        kind: usize,
        insert: usize,
        moment: &mut Moment,
    ) -> Option<RecordNumber> {
        let (before, at) = self.plan.events[kind].inserts.split_at(insert);
        let key = self.looked_up[at[0].key].key?;
        let number = self.plan.groups[at[0].group].table;
        let table = &mut self.tables[number];
        // Another role of this event may have just added the same key.
        if let Some(record) = table.find(key) {
            return Some(record);
        }
        self.sweeps[number] += if table.is_past_half() { SWEEP_PER_KEY } else { 0 };
        let mut turned_away = false;
        if table.is_nearly_full() {
            // An event is seen once, in however many roles it has the key.
            let same = |other: &Insert| {
                self.plan.groups[other.group].table == number && self.looked_up[other.key].key == Some(key)
            };
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
    pub(super) fn share(&mut self, insert: &Insert) {
        let group = &self.plan.groups[insert.group];
        let (Some(key), Some(shared)) = (self.looked_up[insert.key].key, &mut self.shared[insert.group])
        else {
            return;
        };
        let row = &self.staged[insert.staged..insert.staged + group.shape.row_words];
        let hash = self.tables[group.table].hash(key);
        shared.add(&self.plan.shared[insert.group], hash, row, self.watermark);
    }

    /// Raises the features that say `assume high` and reach back to where rows were not kept, to what there can be at most.
    #[inline(never)]
    pub(super) fn tell_bounds(&mut self, kind: usize, time: i64) {
        let program = self.loaded.program();
        let plan = &self.plan.events[kind];
        let mut told = false;
        for bounded in &plan.bounded {
            let LookedUp { key: Some(key), record } = self.looked_up[bounded.key] else { continue };
            let Some(shared) = &self.shared[bounded.group] else { continue };
            let table = &self.tables[plan.keys[bounded.key].table];
            let shape = &self.plan.groups[bounded.group].shape;
            let lost = record
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
