//! Thresholds that look at the score alone, as most do: what they come to is known for every score before there is one.

use crate::engine::lists::Edits;
use crate::engine::program::{ArchivedDecidePlan, ArchivedInstr, ArchivedProgram, Op};
use crate::engine::rates::Rates;
use crate::engine::units::{Action, Time, Value};
use crate::engine::vm::{Basis, execute};

/// By score, the most severe action whose threshold holds; [`Action::None`] where none does.
pub(in crate::engine) type Levels = [Action; 101];

/// `None` where they look at something else too.
pub(super) fn levels(program: &ArchivedProgram, decide: &ArchivedDecidePlan) -> Option<Levels> {
    let (start, len) =
        (decide.threshold_code.start.to_native() as usize, decide.threshold_code.len.to_native());
    let code = &program.code[start..start + len as usize];
    let score = decide.final_score.to_native();
    let registers = usize::from(program.registers.to_native());
    if !looks_at_one(code, score, registers) {
        return None;
    }
    let (rates, edits) = (Rates::reserve(program), Edits::none());
    let basis = Basis { program, rates: &rates, edits: &edits };
    let mut registers = vec![Value::MISSING; registers];
    Some(std::array::from_fn(|level| {
        registers[usize::from(score)] = Value::int(level as i64);
        execute(basis, &decide.threshold_code, &[], 0, Time(0), &mut registers);
        let holds = |branch: &&rkyv::tuple::ArchivedTuple2<rkyv::rend::u16_le, u8>| {
            registers[super::index(branch.0)].is_true()
        };
        decide.thresholds.iter().filter(holds).map(|branch| super::action(branch.1)).max().unwrap_or_default()
    }))
}

/// Whether code reads nothing but this register, and what it has written itself.
fn looks_at_one(code: &[ArchivedInstr], register: u16, registers: usize) -> bool {
    let mut known = vec![false; registers];
    known[usize::from(register)] = true;
    code.iter().all(|instr| {
        let op = instr.op.native();
        let uses = op.uses();
        let is_known = |is_used: bool, operand: u16| !is_used || known[usize::from(operand)];
        let is_so =
            computes(op) && is_known(uses.a, instr.a.to_native()) && is_known(uses.b, instr.b.to_native());
        if uses.dst {
            known[usize::from(instr.dst.to_native())] = true;
        }
        is_so
    })
}

/// Whether what it does follows from registers and literals.
fn computes(op: Op) -> bool {
    match op {
        Op::Const
        | Op::Move
        | Op::Not
        | Op::And
        | Op::Or
        | Op::Eq
        | Op::Lt
        | Op::Le
        | Op::IsMissing
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Max
        | Op::Min
        | Op::Rescale
        | Op::SkipIfPresent
        | Op::SkipUnlessTrue
        | Op::Skip => true,
        Op::Field
        | Op::FieldDecimal
        | Op::FieldMoney
        | Op::Present
        | Op::InList
        | Op::Listed
        | Op::SameKey
        | Op::Within
        | Op::TextIs
        | Op::TextStarts
        | Op::SameText
        | Op::Hour
        | Op::Weekday
        | Op::Convert
        | Op::EventTime => false,
    }
}
