//! Rows: how an event becomes one, and how a later result, reversal or label changes one.
//!
//! Both follow the documentation of [`GroupPlan`](super::program::GroupPlan). An amendment finds the rows of the event
//! it amends by that event's id tag and time, under the key it carries for the group. Under
//! [`Clock::Wall`](super::Clock::Wall) they may have been stored at receipt; when, [`Skewed`](super::skewed::Skewed)
//! remembers. Rows that no window can reach any more are not found, whether they are still stored or not. Among
//! amendments of one kind the greatest (time as judged, id tag) wins.

use super::Counters;
use super::decode::Decoded;
use super::plan::{Bit, Column, ColumnOrigin, Group};
use super::program::{ArchivedGroupPlan, ArchivedProgram};
use super::rows::{At, change_rows, stamp};
use super::spill::Spill;
use super::units::{Time, Value};
use super::vm::{Basis, execute};

/// Writes the row of `event` at `time` into `row`.
#[inline(never)]
pub(super) fn encode_row(
    basis: Basis<'_>,
    plan: &ArchivedGroupPlan,
    group: &Group,
    event: &Decoded<'_>,
    time: Time,
    registers: &mut [Value],
    row: &mut [u64],
) {
    match &group.fixed_row {
        Some(fixed) => row.copy_from_slice(fixed),
        None => {
            for &(register, value) in &group.unamended {
                registers[register] = value;
            }
            execute(basis, &plan.ingest, event.words, event.presence, time, registers);
            execute(basis, &plan.derive, event.words, event.presence, time, registers);
            row.fill(0);
            RowAt { words: row, capacity: 1, row: 0 }.store_all(group, registers);
        }
    }
    row[0] |= stamp(time.0);
    if let Some(id) = group.id_column {
        row[id] = event.id.tag();
    }
    let mut row = RowAt { words: row, capacity: 1, row: 0 };
    for key in &group.keys {
        if event.presence >> key.event_bit & 1 == 1 {
            row.set(key.column, event.words[key.word]);
            row.set(key.column + 1, event.words[key.word + 1]);
            row.set_bit(key.present, true);
        }
    }
}

/// The row that every event has in a group where no code tells anything of it, but for its stamp, tag and keys. `None` where code does.
pub(super) fn fixed_row(
    program: &ArchivedProgram,
    plan: &ArchivedGroupPlan,
    group: &Group,
) -> Option<Box<[u64]>> {
    if plan.ingest.len != 0 || plan.derive.len != 0 {
        return None;
    }
    let mut registers = program.fresh_registers();
    for &(register, value) in &group.unamended {
        registers[register] = value;
    }
    let mut row = vec![0; group.shape.row_words];
    RowAt { words: &mut row, capacity: 1, row: 0 }.store_all(group, &registers);
    Some(row.into())
}

/// What an amendment did to the rows of a group.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Amended {
    /// Rows of the amended event.
    pub(super) found: usize,
    /// Rows among them that it changed.
    pub(super) changed: usize,
}

/// An amendment on its way to the rows of a group.
pub(super) struct Amendment<'a> {
    pub(super) basis: Basis<'a>,
    pub(super) plan: &'a ArchivedGroupPlan,
    pub(super) group: &'a Group,
    /// Index into the group's amendment kinds.
    pub(super) kind: usize,
    pub(super) event: &'a Decoded<'a>,
    /// Its time as judged.
    pub(super) time: Time,
    /// The id tag of its target, and where its rows may be.
    pub(super) target_tag: u64,
    pub(super) places: [Option<i64>; 2],
    /// What is not after this is in no window's reach.
    pub(super) dead: i64,
}

impl Amendment<'_> {
    /// Changes the rows of its target in this record.
    pub(super) fn apply(
        &self,
        record: &mut [u64],
        spill: &mut Spill,
        registers: &mut [Value],
        counters: &mut Counters,
    ) -> Amended {
        let mut amended = Amended::default();
        for time in self.places.into_iter().flatten().filter(|&time| time > self.dead) {
            let at = At { time, tag: self.target_tag };
            let change = |words: &mut [u64], capacity: usize, row: usize| {
                amended.changed += usize::from(self.change(RowAt { words, capacity, row }, registers));
            };
            amended.found += change_rows(record, &self.group.shape, spill, at, counters, change);
        }
        amended
    }

    fn change(&self, mut row: RowAt<'_>, registers: &mut [Value]) -> bool {
        let amend = &self.group.amends[self.kind];
        let version = (self.time.0, self.event.id.tag());
        let held = (row.get(amend.version_column) as i64, row.get(amend.version_column + 1));
        if row.bit(amend.applied) && held >= version {
            return false;
        }
        row.set(amend.version_column, version.0 as u64);
        row.set(amend.version_column + 1, version.1);
        row.set_bit(amend.applied, true);
        for other in &self.group.amends {
            registers[other.applied_register] = Value::bool(row.bit(other.applied));
        }
        for column in self.group.columns.iter().filter(|column| column.origin != ColumnOrigin::Derived) {
            registers[column.register] = row.load(column);
        }
        let Decoded { words, presence, .. } = *self.event;
        let code = &self.plan.amends[self.kind].code;
        execute(self.basis, code, words, presence, self.time, registers);
        execute(self.basis, &self.plan.derive, words, presence, self.time, registers);
        for column in &self.group.columns {
            if column.origin == ColumnOrigin::Derived || column.origin == ColumnOrigin::Amend(self.kind) {
                row.store(column, registers[column.register]);
            }
        }
        for predicate in self.group.predicates.iter().filter(|predicate| predicate.derived) {
            row.set_bit(predicate.at, registers[predicate.register].is_true());
        }
        true
    }
}

/// One row inside a block.
struct RowAt<'a> {
    words: &'a mut [u64],
    capacity: usize,
    row: usize,
}

impl RowAt<'_> {
    fn at(&mut self, column: usize) -> &mut u64 {
        &mut self.words[column * self.capacity + self.row]
    }

    fn get(&self, column: usize) -> u64 {
        self.words[column * self.capacity + self.row]
    }

    fn set(&mut self, column: usize, word: u64) {
        *self.at(column) = word;
    }

    fn bit(&self, bit: Bit) -> bool {
        self.get(bit.column) >> bit.bit & 1 == 1
    }

    fn set_bit(&mut self, bit: Bit, set: bool) {
        let word = self.at(bit.column);
        *word = *word & !(1 << bit.bit) | u64::from(set) << bit.bit;
    }

    fn load(&self, column: &Column) -> Value {
        if self.bit(column.present) {
            Value { num: self.get(column.column) as i64, den: column.den }
        } else {
            Value::MISSING
        }
    }

    /// All that registers tell.
    #[inline(always)]
    fn store_all(&mut self, group: &Group, registers: &[Value]) {
        for column in &group.columns {
            self.store(column, registers[column.register]);
        }
        for predicate in &group.predicates {
            self.set_bit(predicate.at, registers[predicate.register].is_true());
        }
    }

    fn store(&mut self, column: &Column, value: Value) {
        let units = units_of(value, column.den);
        self.set(column.column, units.unwrap_or(0) as u64);
        self.set_bit(column.present, units.is_some());
    }
}

/// The numerator over `den`, half-even; `None` when missing or too large. Compiled code hands over values whose
/// denominator is already `den`; this only sees to it that a column can never hold anything else.
#[inline]
fn units_of(value: Value, den: i64) -> Option<i64> {
    if value.den == den {
        return Some(value.num);
    }
    Value::from_wide(i128::from(value.num) * i128::from(den), i128::from(value.den)).round_half_even()
}
