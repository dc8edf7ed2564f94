//! Thresholds that look at the score alone: what they come to is known for every score before there is one.

use crate::engine::lists::Edits;
use crate::engine::program::{ArchivedDecidePlan, ArchivedInstr, ArchivedProgram, Op};
use crate::engine::rates::Rates;
use crate::engine::units::{Action, Value};
use crate::engine::vm::{Basis, Event, evaluate};

/// By score, the most severe action whose threshold holds; [`Action::None`] where none does.
pub(in crate::engine) type Levels = [Action; 101];

/// `None` where they look at something else too.
pub(super) fn levels(program: &ArchivedProgram, decide: &ArchivedDecidePlan) -> Option<Levels> {
    let (start, len) =
        (decide.threshold_code.start.to_native() as usize, decide.threshold_code.len.to_native());
    let code = &program.code[start..start + len as usize];
    let score = decide.final_score.to_native();
    let thresholds: Vec<(u16, Action)> =
        decide.thresholds.iter().map(|branch| (branch.0.to_native(), super::action(branch.1))).collect();
    let mut registers = program.fresh_registers();
    let is_threshold = |register: u16| thresholds.iter().any(|threshold| threshold.0 == register);
    // What comes after the last of them, such as what is asked of late events, may read anything.
    let sets_one =
        |instr: &ArchivedInstr| instr.op.native().uses().dst && is_threshold(instr.dst.to_native());
    let code = &code[..code.iter().rposition(sets_one).map_or(0, |last| last + 1)];
    let mut known = vec![false; registers.len()];
    known[usize::from(score)] = true;
    known[usize::from(program.registers.to_native())..].fill(true);
    let known = known_by(code, known)?;
    if !thresholds.iter().all(|&(register, _)| known[usize::from(register)]) {
        return None;
    }
    let (rates, edits) = (Rates::reserve(program), Edits::none());
    let basis = Basis { program, rates: &rates, edits: &edits };
    Some(std::array::from_fn(|level| {
        registers[usize::from(score)] = Value::int(level as i64);
        evaluate(basis, code, Event::NONE, &mut registers);
        let holds = |&&(register, _): &&(u16, Action)| registers[usize::from(register)].is_true();
        thresholds.iter().filter(holds).map(|&(_, action)| action).max().unwrap_or_default()
    }))
}

/// These registers and those that code sets, if it reads nothing but them, and what it has set itself.
fn known_by(code: &[ArchivedInstr], mut known: Vec<bool>) -> Option<Vec<bool>> {
    for instr in code {
        let op = instr.op.native();
        let uses = op.uses();
        let is_known = |is_used: bool, operand: u16| !is_used || known[usize::from(operand)];
        if !computes(op) || !is_known(uses.a, instr.a.to_native()) || !is_known(uses.b, instr.b.to_native()) {
            return None;
        }
        if uses.dst {
            known[usize::from(instr.dst.to_native())] = true;
        }
    }
    Some(known)
}

/// Whether what it does follows from registers and literals.
fn computes(op: Op) -> bool {
    match op {
        Op::Move
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
