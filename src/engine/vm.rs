//! Runs of instructions: the one place where a policy's expressions are evaluated.
//!
//! Every instruction is total. Arithmetic goes through 128 bits and becomes missing when its exact, reduced
//! result does not fit 64; logic is Kleene's; skips only go forward, so a run of n instructions ends after at
//! most n steps. On a validated program nothing here can panic: every index was checked by
//! [`validate`](super::validate) when the program was loaded, and words of the event are read with a check
//! because their number belongs to the caller.

use super::calendar::{hour, weekday};
use super::lists::{Edits, List};
use super::program::{ArchivedInstr, ArchivedOp, ArchivedProgram, ArchivedRun, TextPair};
use super::rates::Rates;
use super::units::entries::masked;
use super::units::{DECIMAL_DEN, Time, Value};
use std::cmp::Ordering;

/// What code may look up besides its event and its registers.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The program that the code is of.
    pub program: &'a ArchivedProgram,
    /// The rates known now.
    pub rates: &'a Rates,
    /// What was edited in lists.
    pub edits: &'a Edits,
}

impl<'a> Basis<'a> {
    #[inline]
    fn list(self, number: usize, time: Time) -> List<'a> {
        List { plan: &self.program.lists[number], edits: self.edits, number, time }
    }
}

/// Evaluates `run` over one event (`frame` is all its words, `presence` its bitmap, `time` its time).
///
/// `registers` are made by [`ArchivedProgram::fresh_registers`]. Code over registers alone (a group's `derive`)
/// takes an empty frame.
#[inline(always)]
pub fn execute(
    basis: Basis<'_>,
    run: &ArchivedRun,
    frame: &[u64],
    presence: u64,
    time: Time,
    registers: &mut [Value],
) {
    let start = run.start.to_native() as usize;
    let code = &basis.program.code[start..start + run.len.to_native() as usize];
    // Many runs are empty.
    if !code.is_empty() {
        evaluate(basis, code, Event { frame, presence, time }, registers);
    }
}

/// The same for code that is not empty, or not all of a run.
#[inline(never)]
pub(super) fn evaluate(basis: Basis<'_>, code: &[ArchivedInstr], event: Event<'_>, registers: &mut [Value]) {
    let mut rest = code;
    while let [instr, after @ ..] = rest {
        rest = match step(basis, instr, event, registers) {
            0 => after,
            skipped => after.get(skipped..).unwrap_or_default(),
        };
    }
}

/// What code is evaluated over.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    frame: &'a [u64],
    presence: u64,
    time: Time,
}

impl<'a> Event<'a> {
    /// Of no fields.
    pub(super) const NONE: Self = Self { frame: &[], presence: 0, time: Time(0) };

    #[inline(always)]
    fn has(self, bit: u16) -> bool {
        self.presence >> (bit & 63) & 1 != 0
    }

    /// The word, or nothing when the field is absent.
    #[inline(always)]
    fn word(self, word: u16, bit: u16) -> Option<u64> {
        if self.has(bit) { self.frame.get(usize::from(word)).copied() } else { None }
    }

    #[inline(always)]
    fn words(self, word: u16, bit: u16, count: usize) -> Option<&'a [u64]> {
        if self.has(bit) { self.frame.get(usize::from(word)..)?.get(..count) } else { None }
    }

    #[inline(always)]
    fn pair(self, word: u16, bit: u16) -> Option<[u64; 2]> {
        let first = self.word(word, bit)?;
        Some([first, *self.frame.get(usize::from(word) + 1)?])
    }
}

/// Executes one instruction; returns how many to skip after it.
#[inline(always)]
fn step(basis: Basis<'_>, instr: &ArchivedInstr, event: Event<'_>, registers: &mut [Value]) -> usize {
    let Basis { program, rates, .. } = basis;
    let (a, b) = (instr.a.to_native(), instr.b.to_native());
    let imm = instr.imm.to_native() as usize;
    macro_rules! reg {
        ($index:expr) => {
            registers[usize::from($index)]
        };
    }
    let value = match instr.op {
        ArchivedOp::Move => reg!(a),
        ArchivedOp::Field => event.word(a, b).map_or(Value::MISSING, |word| Value::int(word as i64)),
        ArchivedOp::FieldDecimal => {
            event.word(a, b).map_or(Value::MISSING, |word| Value { num: word as i64, den: DECIMAL_DEN })
        }
        ArchivedOp::FieldMoney => match event.pair(a, b) {
            Some([minor, currency]) => {
                rates.convert(Value::int(minor as i64), currency, imm as u64, event.time)
            }
            None => Value::MISSING,
        },
        ArchivedOp::Present => Value::bool(event.has(b)),
        ArchivedOp::SameKey => {
            let other = event.pair((imm & 0xffff) as u16, (imm >> 16) as u16);
            match (event.pair(a, b), other) {
                (Some(left), Some(right)) => Value::bool(left == right),
                _ => Value::MISSING,
            }
        }
        ArchivedOp::Not => not(reg!(a)),
        ArchivedOp::And => and(reg!(a), reg!(b)),
        ArchivedOp::Or => not(and(not(reg!(a)), not(reg!(b)))),
        ArchivedOp::Eq => reg!(a).compare(reg!(b)).map_or(Value::MISSING, |order| Value::bool(order.is_eq())),
        ArchivedOp::Lt => reg!(a).compare(reg!(b)).map_or(Value::MISSING, |order| Value::bool(order.is_lt())),
        ArchivedOp::Le => reg!(a).compare(reg!(b)).map_or(Value::MISSING, |order| Value::bool(order.is_le())),
        ArchivedOp::IsMissing => Value::bool(reg!(a).is_missing()),
        ArchivedOp::Add => add(reg!(a), reg!(b), 1),
        ArchivedOp::Sub => add(reg!(a), reg!(b), -1),
        ArchivedOp::Mul => multiply(reg!(a), reg!(b)),
        ArchivedOp::Div => divide(reg!(a), reg!(b)),
        ArchivedOp::Max => extreme(reg!(a), reg!(b), Ordering::Less),
        ArchivedOp::Min => extreme(reg!(a), reg!(b), Ordering::Greater),
        ArchivedOp::Rescale => reg!(a).rescaled(program.consts[imm].num.to_native()),
        ArchivedOp::Convert => rates.convert(reg!(a), u64::from(b), imm as u64, event.time),
        ArchivedOp::SkipIfPresent => return if reg!(a).is_missing() { 0 } else { imm },
        ArchivedOp::SkipUnlessTrue => return if reg!(a).is_true() { 0 } else { imm },
        ArchivedOp::Skip => return imm,
        ArchivedOp::EventTime => Value::int(event.time.0),
        ArchivedOp::Hour => Value::int(hour(&program.zones[imm], event.time)),
        ArchivedOp::Weekday => Value::int(weekday(&program.zones[imm], event.time)),
        ArchivedOp::InList
        | ArchivedOp::Listed
        | ArchivedOp::Within
        | ArchivedOp::TextIs
        | ArchivedOp::TextStarts
        | ArchivedOp::SameText => look_up(basis, instr, event, registers),
    };
    reg!(instr.dst.to_native()) = value;
    0
}

/// Lists, texts and prefixes: apart, so that what they need is not made ready for every run.
#[inline(never)]
fn look_up(basis: Basis<'_>, instr: &ArchivedInstr, event: Event<'_>, registers: &[Value]) -> Value {
    let program = basis.program;
    let (a, b) = (instr.a.to_native(), instr.b.to_native());
    let imm = instr.imm.to_native() as usize;
    match instr.op {
        ArchivedOp::InList => event
            .words(a, b, imm >> 16)
            .map_or(Value::MISSING, |words| Value::bool(basis.list(imm & 0xffff, event.time).has(words))),
        ArchivedOp::Listed => basis.list(imm, event.time).has_number(registers[usize::from(a)]),
        ArchivedOp::Within => event.pair(a, b).map_or(Value::MISSING, |address| {
            let prefix = &program.prefixes[imm];
            Value::bool(
                masked(address, prefix.bits) == [prefix.address[0], prefix.address[1]].map(|w| w.to_native()),
            )
        }),
        ArchivedOp::TextIs => event.words(a, b, imm >> 16).map_or(Value::MISSING, |words| {
            Value::bool(text_is(words, program.texts[imm & 0xffff].as_bytes(), false))
        }),
        ArchivedOp::TextStarts => event.words(a, b, imm >> 16).map_or(Value::MISSING, |words| {
            Value::bool(text_is(words, program.texts[imm & 0xffff].as_bytes(), true))
        }),
        ArchivedOp::SameText => {
            let TextPair { words, other_words, other, other_bit } = TextPair::from_imm(imm as u32);
            let texts = event.words(a, b, usize::from(words)).zip(event.words(
                other,
                other_bit,
                usize::from(other_words),
            ));
            texts.map_or(Value::MISSING, |(left, right)| {
                let words = left.len().max(right.len());
                let word = |of: &[u64], at: usize| of.get(at).copied().unwrap_or(0);
                Value::bool((0..words).all(|at| word(left, at) == word(right, at)))
            })
        }
        _ => Value::MISSING,
    }
}

#[inline(always)]
fn not(a: Value) -> Value {
    if a.is_missing() { Value::MISSING } else { Value::bool(a.num == 0) }
}

#[inline(always)]
fn and(a: Value, b: Value) -> Value {
    let certainly_not = |value: Value| value.den != 0 && value.num == 0;
    if certainly_not(a) || certainly_not(b) {
        Value::FALSE
    } else if a.is_missing() || b.is_missing() {
        Value::MISSING
    } else {
        Value::TRUE
    }
}

/// `a + sign × b`. The wide sum cannot overflow: each product stays below 2¹²⁶.
#[inline(always)]
fn add(a: Value, b: Value, sign: i128) -> Value {
    if a.is_missing() || b.is_missing() {
        return Value::MISSING;
    }
    let (left, right) = (i128::from(a.num), sign * i128::from(b.num));
    if a.den == b.den {
        return Value::from_wide(left + right, i128::from(a.den));
    }
    let (a_den, b_den) = (i128::from(a.den), i128::from(b.den));
    Value::from_wide(left * b_den + right * a_den, a_den * b_den)
}

#[inline(always)]
fn multiply(a: Value, b: Value) -> Value {
    // A missing side makes the denominator 0, which is missing.
    Value::from_wide(i128::from(a.num) * i128::from(b.num), i128::from(a.den) * i128::from(b.den))
}

#[inline(always)]
fn divide(a: Value, b: Value) -> Value {
    if a.is_missing() || b.is_missing() {
        return Value::MISSING;
    }
    let (num, den) = (i128::from(a.num) * i128::from(b.den), i128::from(a.den) * i128::from(b.num));
    if den < 0 { Value::from_wide(-num, -den) } else { Value::from_wide(num, den) }
}

/// `b` when `a` compares to it as `worse`, else `a`; whichever is there when the other is not.
#[inline(always)]
fn extreme(a: Value, b: Value, worse: Ordering) -> Value {
    match a.compare(b) {
        Some(order) if order == worse => b,
        Some(_) => a,
        None if a.is_missing() => b,
        None => a,
    }
}

/// Whether a text, filled up with zeros to whole words, is another one, or begins with it.
#[inline]
fn text_is(words: &[u64], other: &[u8], begins: bool) -> bool {
    let mut chunks = other.chunks(8);
    for word in words {
        let chunk = chunks.next().unwrap_or(&[]);
        let mut filled = [0; 8];
        filled[..chunk.len()].copy_from_slice(chunk);
        let counted = match chunk.len() {
            0 if begins => return true,
            bytes if begins && bytes < 8 => (1 << (8 * bytes)) - 1,
            _ => u64::MAX,
        };
        if (word ^ u64::from_le_bytes(filled)) & counted != 0 {
            return false;
        }
    }
    chunks.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logic_is_kleenes() {
        let (t, f, u) = (Value::TRUE, Value::FALSE, Value::MISSING);
        let or = |a, b| not(and(not(a), not(b)));
        for (a, b, both, either) in
            [(t, t, t, t), (t, f, f, t), (t, u, u, t), (f, f, f, f), (f, u, f, u), (u, u, u, u)]
        {
            assert_eq!((and(a, b), and(b, a)), (both, both));
            assert_eq!((or(a, b), or(b, a)), (either, either));
        }
        assert_eq!([not(t), not(f), not(u)], [f, t, u]);
    }

    #[test]
    fn arithmetic_that_leaves_64_bits_is_missing() {
        let (most, least) = (Value::int(i64::MAX), Value::int(i64::MIN));
        assert!(add(most, Value::int(1), 1).is_missing());
        assert!(add(Value::int(0), least, -1).is_missing());
        assert!(multiply(most, Value::int(2)).is_missing());
        assert!(divide(least, Value::int(-1)).is_missing());
        assert!(divide(most, Value::int(0)).is_missing());
        assert!(most.rescaled(DECIMAL_DEN).is_missing());
        assert_eq!(add(Value::ratio(i64::MIN, i64::MAX), Value::int(1), 1), Value::ratio(-1, i64::MAX));
        assert_eq!(divide(least, least), Value::int(1));
    }

    #[test]
    fn the_greater_and_the_lesser_are_of_those_that_are_there() {
        let (one, two, none) = (Value::int(1), Value::int(2), Value::MISSING);
        for (a, b, greater, lesser) in [(one, two, two, one), (two, one, two, one), (one, none, one, one)] {
            assert_eq!((extreme(a, b, Ordering::Less), extreme(a, b, Ordering::Greater)), (greater, lesser));
            assert_eq!((extreme(b, a, Ordering::Less), extreme(b, a, Ordering::Greater)), (greater, lesser));
        }
    }

    #[test]
    fn rounding_is_half_to_even() {
        for (num, rounded) in [(5, 2), (15, 8), (25, 12), (-5, -2), (-15, -8), (7, 4)] {
            assert_eq!(Value::ratio(num, 10).rescaled(5), Value { num: rounded, den: 5 }, "{num}/10");
        }
    }

    #[test]
    fn a_text_is_another_or_begins_with_it() {
        let words = |text: &str, count: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(8 * count, 0);
            let word = |word: &[u8]| word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            bytes.chunks(8).map(word).collect::<Vec<u64>>()
        };
        let texts = ["", "a", "ab", "abcdefgh", "abcdefghi", "abcdefghijklmnop", "abcdefghijklmnopq", "b"];
        for text in texts {
            for count in text.len().div_ceil(8)..4 {
                for other in texts {
                    let held = words(text, count);
                    let is = |begins| text_is(&held, other.as_bytes(), begins);
                    assert_eq!(
                        (is(false), is(true)),
                        (text == other, text.starts_with(other)),
                        "{text} {other}"
                    );
                }
            }
        }
    }
}
