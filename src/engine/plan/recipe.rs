//! What the rows of a group are made by, so that groups whose rows are always the same share one.

use super::{ColumnOrigin, Group};
use crate::engine::program::{ArchivedGroupPlan, ArchivedProgram, ArchivedRun};
use std::collections::BTreeMap;

/// Everything that [`encode_row`](crate::engine::amend::encode_row) reads of a group, in the order in which it does, as
/// numbers.
///
/// Registers are numbered anew in the order in which they are first mentioned, but for literals, which are the program's.
/// Groups with equal recipes use registers that correspond one to one; whatever is read was set before, by the recipe
/// itself (validation sees to that); so they make the same row of the same event.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Recipe(Vec<u64>);

impl Recipe {
    pub(super) fn new(program: &ArchivedProgram, plan: &ArchivedGroupPlan, group: &Group) -> Self {
        let mut recipe = Writer::default();
        recipe.number(group.shape.row_words);
        recipe.number(group.id_column.map_or(0, |column| column + 1));
        recipe.number(group.amends.len());
        for amend in &group.amends {
            recipe.register(amend.applied_register);
        }
        recipe.number(group.columns.len());
        for column in &group.columns {
            recipe.number(match column.origin {
                ColumnOrigin::Own => 0,
                ColumnOrigin::Derived => 1,
                ColumnOrigin::Amend(amend) => 2 + amend,
            });
            recipe.register(column.register);
            recipe.number(column.column);
            recipe.number(column.den as usize);
            recipe.number(column.present.column);
            recipe.number(column.present.bit as usize);
        }
        recipe.number(group.keys.len());
        for key in &group.keys {
            recipe.number(key.word);
            recipe.number(key.event_bit as usize);
            recipe.number(key.column);
            recipe.number(key.present.column);
            recipe.number(key.present.bit as usize);
        }
        recipe.number(group.predicates.len());
        for predicate in &group.predicates {
            recipe.register(predicate.register);
            recipe.number(predicate.at.column);
            recipe.number(predicate.at.bit as usize);
        }
        recipe.run(program, &plan.ingest);
        recipe.run(program, &plan.derive);
        Self(recipe.numbers)
    }
}

#[derive(Default)]
struct Writer {
    numbers: Vec<u64>,
    registers: BTreeMap<usize, usize>,
}

impl Writer {
    fn number(&mut self, number: usize) {
        self.numbers.push(number as u64);
    }

    fn register(&mut self, register: usize) {
        let next = self.registers.len();
        let number = *self.registers.entry(register).or_insert(next);
        self.number(number);
    }

    fn run(&mut self, program: &ArchivedProgram, run: &ArchivedRun) {
        let (start, len) = (run.start.to_native() as usize, run.len.to_native() as usize);
        self.number(len);
        for instr in &program.code[start..start + len] {
            let uses = instr.op.native().uses();
            self.number(instr.op.native() as usize);
            self.number(instr.imm.to_native() as usize);
            let operands = [(uses.dst, instr.dst), (uses.a, instr.a), (uses.b, instr.b)];
            for (is_register, operand) in operands.map(|(uses, operand)| (uses, super::index(operand))) {
                if is_register && operand < super::index(program.registers) {
                    self.register(operand);
                } else {
                    self.number(operand);
                }
            }
        }
    }
}
