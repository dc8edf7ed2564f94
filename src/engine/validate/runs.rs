//! Code: every operand inside its table, every skip inside its run, and no register read that nothing has set.

use super::Checked;
use crate::engine::program::{
    ArchivedEventPlan, ArchivedInstr, ArchivedListOf, ArchivedProgram, ArchivedRun, Op, TEXT_WORDS_MAX,
    TextPair,
};
use crate::engine::units::Currency;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What code may read besides registers.
#[derive(Clone, Copy)]
pub(super) enum Reads<'p> {
    /// The words of this event.
    Event(&'p ArchivedEventPlan),
    /// Nothing.
    Nothing,
}

/// What code has to do with the registers of features.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    /// Nothing: it runs apart from any decision.
    Unused,
    /// It sets some.
    Set,
    /// They are all set before.
    Read,
}

/// Goes through the code of a program, run by run.
pub(super) struct Checker<'p> {
    pub(super) program: &'p ArchivedProgram,
    registers: u16,
    /// Instructions not yet in a run: runs do not overlap, so that checking and executing stay linear.
    code_left: usize,
    /// Which registers hold something, in the run checked last: those whose number is `round`.
    known: Vec<u32>,
    round: u32,
    /// The round of a run after which others go on with what it left.
    kept: Option<u32>,
}

impl<'p> Checker<'p> {
    pub(super) fn new(program: &'p ArchivedProgram) -> Self {
        let registers = program.registers.to_native();
        let known = vec![0; usize::from(registers)];
        Self { program, registers, code_left: program.code.len(), known, round: 0, kept: None }
    }

    pub(super) fn register(&self, what: &str, register: u16) -> Checked {
        ensure!(register < self.registers, "{what} is register {register} of {}", self.registers);
        Ok(())
    }

    /// Whether a literal is read there, which nothing has to set.
    fn is_literal(&self, register: u16) -> bool {
        register.checked_sub(self.registers).is_some_and(|at| usize::from(at) < self.program.consts.len())
    }

    /// That a register was given to the run checked last, or computed by it whatever was skipped. A register that
    /// nobody sets would hold what an earlier decision left there.
    pub(super) fn computed(&self, what: &str, register: u16) -> Checked {
        if self.is_literal(register) {
            return Ok(());
        }
        self.register(what, register)?;
        let known = self.known[usize::from(register)];
        ensure!(
            known == self.round || Some(known) == self.kept,
            "{what} is in register {register}, which nothing sets"
        );
        Ok(())
    }

    /// Checks a run that starts from what `given` registers hold.
    pub(super) fn run(
        &mut self,
        what: &str,
        run: &ArchivedRun,
        reads: Reads<'_>,
        features: Features,
        given: &[u16],
    ) -> Checked {
        let (start, len) = (run.start.to_native() as usize, run.len.to_native() as usize);
        let code = self.program.code.get(start..).and_then(|code| code.get(..len));
        let code = code.ok_or_else(|| format!("{what} is outside the code"))?;
        ensure!(len <= self.code_left, "{what} is shared with other code");
        self.code_left -= len;

        self.round += 1;
        for register in given {
            self.register("a register given to code", *register)?;
            self.known[usize::from(*register)] = self.round;
        }
        if features == Features::Read {
            self.known[..self.program.features.len()].fill(self.round);
        }
        // What is set between a skip and where it leads is only known in between: up to where the first of the skips that are
        // open there leads. The nearest of each is on top.
        let mut ends: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
        let mut unsure: BinaryHeap<(Reverse<usize>, u16)> = BinaryHeap::new();
        for (index, instr) in code.iter().enumerate() {
            while ends.peek().is_some_and(|Reverse(end)| *end <= index) {
                ends.pop();
            }
            self.forget(&mut unsure, index);
            self.instr(instr, reads, features, len - index - 1)
                .map_err(|error| format!("{what}, instruction {index} ({:?}): {error}", instr.op))?;
            let (op, imm) = (instr.op.native(), instr.imm.to_native());
            if !op.uses().dst {
                ends.push(Reverse(index + 1 + imm as usize));
                continue;
            }
            let dst = instr.dst.to_native();
            let known = &mut self.known[usize::from(dst)];
            if *known != self.round
                && let Some(end) = ends.peek()
            {
                unsure.push((*end, dst));
            }
            *known = self.round;
        }
        self.forget(&mut unsure, usize::MAX);
        Ok(())
    }

    /// What is known now is known to the runs to come as well, until [`forget_kept`](Self::forget_kept).
    pub(super) fn keep_known(&mut self) {
        self.kept = Some(self.round);
    }

    /// See [`keep_known`](Self::keep_known).
    pub(super) fn forget_kept(&mut self) {
        self.kept = None;
    }

    /// Forgets the registers that are only known up to before `index`.
    fn forget(&mut self, unsure: &mut BinaryHeap<(Reverse<usize>, u16)>, index: usize) {
        while let Some(&(Reverse(end), register)) = unsure.peek()
            && end <= index
        {
            self.known[usize::from(register)] = 0;
            unsure.pop();
        }
    }

    /// What a list is of.
    fn list(&self, number: usize) -> Result<ArchivedListOf, String> {
        let list = self.program.lists.get(number);
        list.map(|list| list.of).ok_or_else(|| format!("there is no list {number}"))
    }

    /// Whether the program keeps rates to this currency.
    fn is_converted_to(&self, code: usize) -> bool {
        let rates = self.program.rates.as_ref();
        rates.is_some_and(|rates| rates.into.iter().any(|into| usize::from(into.to_native()) == code))
    }

    /// One instruction with `after` others behind it in its run.
    fn instr(&self, instr: &ArchivedInstr, reads: Reads<'_>, features: Features, after: usize) -> Checked {
        let op = instr.op.native();
        let (a, b, imm) = (instr.a.to_native(), instr.b.to_native(), instr.imm.to_native() as usize);
        let uses = op.uses();
        if uses.dst {
            let dst = instr.dst.to_native();
            self.register("its result", dst)?;
            let features_end = self.program.features.len();
            let own = usize::from(dst) >= features_end + self.program.models.len();
            ensure!(
                own || features == Features::Set && usize::from(dst) < features_end,
                "it sets register {dst}, which is a feature's or a model's"
            );
        }
        if uses.a {
            self.computed("its first operand", a)?;
        }
        if uses.b {
            self.computed("its second operand", b)?;
        }
        match op {
            Op::Rescale => {
                let constant =
                    self.program.consts.get(imm).ok_or_else(|| format!("there is no literal {imm}"))?;
                ensure!(constant.num.to_native() > 0, "it rounds to a denominator that is not positive");
            }
            Op::Skip | Op::SkipIfPresent | Op::SkipUnlessTrue => {
                ensure!(imm <= after, "it skips {imm} instructions where {after} are left");
            }
            Op::Field | Op::FieldDecimal => place(reads, a, 1, b)?,
            Op::FieldMoney => {
                place(reads, a, 2, b)?;
                ensure!(
                    self.program.rates.is_none() || self.is_converted_to(imm),
                    "no rates are kept to currency {imm}"
                );
            }
            Op::Convert => {
                place(reads, 0, 1, 0)?;
                let known = Currency::from_numeric(u64::from(b)).is_some();
                ensure!(known, "it converts from currency {b}, which is not known");
                ensure!(self.is_converted_to(imm), "no rates are kept to currency {imm}");
            }
            Op::Present => place(reads, 0, 1, b)?,
            Op::InList => {
                let (list, words) = (imm & 0xffff, imm >> 16);
                let of = self.list(list)?;
                let fits = match of {
                    ArchivedListOf::Entity(_) | ArchivedListOf::Ip => words == 2,
                    ArchivedListOf::Text => (1..=TEXT_WORDS_MAX).contains(&words),
                    _ => words == 1,
                };
                ensure!(fits, "it looks {words} words up in list {list}, which is of {of:?}");
                place(reads, a, words, b)?;
            }
            Op::Listed => {
                let of = self.list(imm)?;
                let fields =
                    matches!(of, ArchivedListOf::Entity(_) | ArchivedListOf::Ip | ArchivedListOf::Text);
                ensure!(!fields, "it looks a number up in list {imm}, which is of {of:?}");
                place(reads, 0, 1, 0)?;
            }
            Op::Within => {
                place(reads, a, 2, b)?;
                ensure!(imm < self.program.prefixes.len(), "there is no prefix {imm}");
            }
            Op::TextIs | Op::TextStarts => {
                let (text, words) = (imm & 0xffff, imm >> 16);
                ensure!((1..=TEXT_WORDS_MAX).contains(&words), "it reads a text of {words} words");
                place(reads, a, words, b)?;
                ensure!(text < self.program.texts.len(), "there is no text {text}");
            }
            Op::SameText => {
                let pair = TextPair::from_imm(imm as u32);
                ensure!(pair.to_imm() as usize == imm, "it does not say where the other text is");
                place(reads, a, usize::from(pair.words), b)?;
                place(reads, pair.other, usize::from(pair.other_words), pair.other_bit)?;
            }
            Op::SameKey => {
                place(reads, a, 2, b)?;
                place(reads, (imm & 0xffff) as u16, 2, (imm >> 16) as u16)?;
            }
            Op::EventTime => place(reads, 0, 1, 0)?,
            Op::Hour | Op::Weekday => {
                place(reads, 0, 1, 0)?;
                ensure!(imm < self.program.zones.len(), "there is no time zone {imm}");
            }
            _ => {}
        }
        Ok(())
    }
}

/// That code may read `size` words from `word` on, if presence bit `bit` is set.
fn place(reads: Reads<'_>, word: u16, size: usize, bit: u16) -> Checked {
    let Reads::Event(event) = reads else {
        return Err("there is no event to read here".to_owned());
    };
    let words = event.words.to_native();
    ensure!(usize::from(word) + size <= usize::from(words), "it reads word {word} of {words}");
    ensure!(bit < 64, "it reads presence bit {bit}");
    Ok(())
}
