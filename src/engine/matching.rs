//! Which rules of an event fire: at a cost that grows with those that could, not with all.
//!
//! The compiler has taken the conditions apart into *clauses*, each one way for a rule to fire: tests of *operands* against
//! sets of numbers, and a rest that only code can tell ([`MatchPlan`](super::program::MatchPlan)). An operand's *rank* says
//! between which of all the places where some set begins or ends it is, 0 that it is missing; one search for each operand of
//! the event finds it. From then on numbers are not looked at any more. (Where there is one block, an operand is ranked only when it is come to.)
//!
//! Clauses are in blocks of 64, one bit each. For an operand that several clauses of a block test, and for every one if there are
//! few, the block has a word for each rank: the clauses that the rank leaves possible. These words are intersected, those that leave the fewest first,
//! until no bit is left, which for most blocks is soon, because clauses that share the test that leaves the fewest are put
//! in one block. What few clauses of a block test is looked at only for those whose bit is left, and their rest after that.
//!
//! All of this is made from a validated program when an engine is; no index below comes from anywhere else.

use super::Loaded;
use super::lists::Edits;
use super::models::Judged;
use super::plan::{Rule, matched};
use super::program::{ArchivedClausePlan, ArchivedCutPlan, ArchivedEventPlan, ArchivedRun, ArchivedTestPlan};
use super::rates::Rates;
use super::units::{Time, Value};
use super::vm::{Basis, execute};
use rkyv::rend::u16_le;
use std::cmp::Ordering;
use std::ops::Range;

/// An operand that so many clauses of a block test has words there. For fewer it costs less to look when it comes to it.
const SHARED_MIN: usize = 4;
/// A block that tests so few operands has words for all of them.
const FEW_OPERANDS: usize = 8;
/// The most words of all blocks of an event (32 MiB). What comes later is looked at clause by clause.
const WORDS_MAX: usize = 1 << 22;
/// Clauses of a block.
const BLOCK: usize = 64;

/// The rules of one event kind, ready to be matched.
#[derive(Default)]
pub(super) struct Matcher {
    operands: Vec<Operand>,
    /// Of each operand: the greatest numerators below its cuts, ascending.
    below: Vec<i64>,
    /// Of each operand: its cuts, ascending.
    cuts: Vec<Cut>,
    blocks: Vec<Block>,
    steps: Vec<Step>,
    words: Vec<u64>,
    clauses: Vec<Clause>,
    checks: Vec<Check>,
    spans: Vec<Span>,
    /// Whether there is one block, whose steps are all that is tested of an operand.
    is_one: bool,
    /// By position of a rule: up to before which position no other fires once it has. The rows of a table are together.
    /// Empty where all rules may fire.
    until: Vec<u32>,
}

/// What matching works with. Reserved once.
#[derive(Default)]
pub(super) struct Matches {
    /// By operand.
    ranks: Vec<u32>,
    /// A bit for each rule, by position. All zero between decisions.
    fired: Vec<u64>,
}

struct Operand {
    register: usize,
    den: i64,
    /// The first of `below`, and of `cuts`.
    first: (i64, Cut),
    /// Into `below` and `cuts`.
    cuts: Range<usize>,
}

/// A place between numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    at: Value,
    after: bool,
}

/// Ranks from the first to before the last.
type Span = (u32, u32);

struct Block {
    /// The bits that there are clauses for.
    all: u64,
    steps: Range<usize>,
}

/// One operand in a block: the word of its rank leaves the clauses that it does not rule out.
struct Step {
    operand: u32,
    words: u32,
}

struct Clause {
    /// Of its rule.
    position: u16,
    checks: Range<usize>,
    /// Index of the clause in the program, when it has a rest.
    rest: Option<usize>,
}

/// A test that is no step: whether the rank is in one of these.
struct Check {
    operand: u32,
    spans: Range<usize>,
}

impl Cut {
    fn new(cut: &ArchivedCutPlan) -> Self {
        Self { at: Value { num: cut.num.to_native(), den: cut.den.to_native() }, after: cut.after }
    }

    fn order(&self, other: &Self) -> Ordering {
        self.at.compare(other.at).unwrap_or(Ordering::Equal).then(self.after.cmp(&other.after))
    }

    /// Whether a number is beyond it. Of nothing, any answer.
    #[inline(always)]
    fn is_passed_by(&self, value: Value) -> bool {
        // Products of 64 bits and 63: one more fits.
        let number = i128::from(value.num) * i128::from(self.at.den) + i128::from(!self.after);
        number > i128::from(self.at.num) * i128::from(value.den)
    }

    /// The greatest numerator over `den` that is not beyond it; `None` when that does not fit.
    fn below(&self, den: i64) -> Option<i64> {
        let (num, at) = (i128::from(self.at.num) * i128::from(den), i128::from(self.at.den));
        let floor = num.div_euclid(at);
        let is_exact = num.rem_euclid(at) == 0;
        i64::try_from(if is_exact && !self.after { floor - 1 } else { floor }).ok()
    }
}

impl Operand {
    /// The rank of a value: 0 when it is missing, else one more than the cuts that it is beyond.
    #[inline(always)]
    fn rank(&self, value: Value, below: &[i64], cuts: &[Cut]) -> u32 {
        // Most have one.
        let is_one = self.cuts.len() == 1;
        if value.den == self.den {
            if is_one {
                return 1 + u32::from(value.num > self.first.0);
            }
            1 + below[self.cuts.clone()].partition_point(|&below| value.num > below) as u32
        } else if value.is_missing() {
            0
        } else if is_one {
            1 + u32::from(self.first.1.is_passed_by(value))
        } else {
            1 + cuts[self.cuts.clone()].partition_point(|cut| cut.is_passed_by(value)) as u32
        }
    }
}

/// A test as ranks.
struct Tested {
    operand: usize,
    spans: Vec<Span>,
    /// The share of the ranks that it holds for.
    share: f64,
}

/// A clause as ranks.
struct Told {
    clause: Clause,
    tests: Vec<Tested>,
}

impl Told {
    /// Clauses with the same test that leaves the fewest come together, in the order of what it leaves.
    fn place(&self) -> (usize, u32) {
        let narrowest = self.tests.iter().min_by(|a, b| a.share.total_cmp(&b.share));
        narrowest.map_or((usize::MAX, 0), |test| (test.operand, test.spans.first().map_or(0, |span| span.0)))
    }
}

impl Matcher {
    /// `position`: by index into the event's rules, in which order they are told.
    pub(super) fn new(event: &ArchivedEventPlan, position: &[u16]) -> Self {
        let plan = &event.matching;
        let mut cuts = vec![Vec::new(); plan.operands.len()];
        for test in plan.clauses.iter().flat_map(|clause| clause.tests.iter()) {
            cuts[usize::from(test.operand.to_native())].extend(test.cuts.iter().map(Cut::new));
        }
        let mut matcher = Self::default();
        for (operand, mut cuts) in plan.operands.iter().zip(cuts) {
            cuts.sort_unstable_by(Cut::order);
            cuts.dedup_by(|a, b| a.order(b).is_eq());
            // A denominator over which some cut does not fit is none that values are compared over at once.
            let wanted = operand.den.to_native();
            let below: Option<Vec<i64>> = cuts.iter().map(|cut| cut.below(wanted)).collect();
            let (den, below) = match below {
                Some(below) => (wanted, below),
                None => (-1, vec![0; cuts.len()]),
            };
            let start = matcher.cuts.len();
            let none = Cut { at: Value::MISSING, after: false };
            let first = (below.first().copied().unwrap_or(0), cuts.first().copied().unwrap_or(none));
            matcher.below.extend(below);
            matcher.cuts.extend(cuts);
            let cuts = start..matcher.cuts.len();
            let register = usize::from(operand.register.to_native());
            matcher.operands.push(Operand { register, den, first, cuts });
        }
        let told = plan.clauses.iter().enumerate();
        let mut told: Vec<Told> = told.map(|(index, clause)| matcher.told(index, clause, position)).collect();
        told.sort_by_key(Told::place);
        if !plan.firsts.is_empty() {
            matcher.until = vec![0; position.len()];
        }
        for first in plan.firsts.iter() {
            let (start, count) = (usize::from(first.start.to_native()), usize::from(first.count.to_native()));
            let places = &position[start..][..count];
            let end = places.last().map_or(0, |last| u32::from(*last) + 1);
            places.iter().for_each(|place| matcher.until[usize::from(*place)] = end);
        }
        let mut rest = told.into_iter();
        loop {
            let block: Vec<Told> = rest.by_ref().take(BLOCK).collect();
            if block.is_empty() {
                break;
            }
            matcher.add(block);
        }
        let are_steps = matcher.clauses.iter().all(|clause| clause.checks.is_empty());
        matcher.is_one = matcher.blocks.len() == 1 && are_steps;
        matcher
    }

    fn told(&self, index: usize, clause: &ArchivedClausePlan, position: &[u16]) -> Told {
        let tested = |test: &ArchivedTestPlan| {
            let operand = usize::from(test.operand.to_native());
            let cuts = &self.cuts[self.operands[operand].cuts.clone()];
            let spans = spans(test, cuts);
            let held: u32 = spans.iter().map(|span| span.1 - span.0).sum();
            Tested { operand, spans, share: f64::from(held) / (cuts.len() + 2) as f64 }
        };
        let rest = clause.rest.is_some().then_some(index);
        let position = position[usize::from(clause.rule.to_native())];
        let clause_told = Clause { position, checks: 0..0, rest };
        Told { clause: clause_told, tests: clause.tests.iter().map(tested).collect() }
    }

    /// One block of at most 64.
    fn add(&mut self, block: Vec<Told>) {
        let mut uses: Vec<(usize, usize, f64)> = Vec::new();
        let mut tested: Vec<(usize, f64)> =
            block.iter().flat_map(|told| &told.tests).map(|test| (test.operand, 1.0 - test.share)).collect();
        tested.sort_unstable_by_key(|tested| tested.0);
        for same in tested.chunk_by(|a, b| a.0 == b.0) {
            uses.push((same[0].0, same.len(), same.iter().map(|tested| tested.1).sum()));
        }
        // What rules out the most comes first.
        uses.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
        let first_step = self.steps.len();
        let are_few = uses.len() <= FEW_OPERANDS;
        for (operand, count, _) in uses {
            let ranks = self.operands[operand].cuts.len() + 2;
            let is_shared = count >= SHARED_MIN || are_few;
            if !is_shared || self.words.len() + ranks > WORDS_MAX {
                continue;
            }
            let first = self.words.len();
            let tests = |told: &Told| told.tests.iter().any(|test| test.operand == operand);
            let free = block.iter().enumerate().filter(|(_, told)| !tests(told));
            let free = free.fold(0, |free, (bit, _)| free | 1_u64 << bit);
            self.words.resize(first + ranks, free);
            for (bit, told) in block.iter().enumerate() {
                for test in told.tests.iter().filter(|test| test.operand == operand) {
                    for &(start, end) in &test.spans {
                        let words = &mut self.words[first..][start as usize..end as usize];
                        words.iter_mut().for_each(|word| *word |= 1 << bit);
                    }
                }
            }
            self.steps.push(Step { operand: operand as u32, words: first as u32 });
        }
        let steps = first_step..self.steps.len();
        let is_step =
            |steps: &[Step], operand: usize| steps.iter().any(|step| step.operand as usize == operand);
        let all = u64::MAX >> (BLOCK - block.len());
        for mut told in block {
            let first = self.checks.len();
            told.tests.sort_by(|a, b| a.share.total_cmp(&b.share));
            for test in told.tests {
                if is_step(&self.steps[steps.clone()], test.operand) {
                    continue;
                }
                let start = self.spans.len();
                self.spans.extend(test.spans);
                self.checks.push(Check { operand: test.operand as u32, spans: start..self.spans.len() });
            }
            self.clauses.push(Clause { checks: first..self.checks.len(), ..told.clause });
        }
        self.blocks.push(Block { all, steps });
    }

    /// Bytes of all tables.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.operands)
            + size_of_val(&*self.below)
            + size_of_val(&*self.cuts)
            + size_of_val(&*self.blocks)
            + size_of_val(&*self.steps)
            + size_of_val(&*self.words)
            + size_of_val(&*self.clauses)
            + size_of_val(&*self.checks)
            + size_of_val(&*self.spans)
            + size_of_val(&*self.until)
    }

    pub(super) fn operands(&self) -> usize {
        self.operands.len()
    }

    /// Notes in `fired` the rules of which a clause holds. `rest` says whether that of a clause does.
    #[inline]
    fn find(
        &self,
        registers: &mut [Value],
        ranks: &mut [u32],
        fired: &mut [u64],
        mut rest: impl FnMut(usize, &mut [Value]) -> bool,
    ) {
        if self.is_one {
            self.find_in_one(registers, fired, &mut rest);
            return;
        }
        for (rank, operand) in ranks.iter_mut().zip(&self.operands) {
            *rank = operand.rank(registers[operand.register], &self.below, &self.cuts);
        }
        for (number, block) in self.blocks.iter().enumerate() {
            let mut left = block.all;
            for step in &self.steps[block.steps.clone()] {
                left &= self.words[step.words as usize + ranks[step.operand as usize] as usize];
                if left == 0 {
                    break;
                }
            }
            while left != 0 {
                let clause = &self.clauses[number * BLOCK + left.trailing_zeros() as usize];
                left &= left - 1;
                let holds = |check: &Check| {
                    let rank = ranks[check.operand as usize];
                    self.spans[check.spans.clone()].iter().any(|span| span.0 <= rank && rank < span.1)
                };
                if self.checks[clause.checks.clone()].iter().all(holds)
                    && clause.rest.is_none_or(|number| rest(number, registers))
                {
                    fired[usize::from(clause.position >> 6)] |= 1 << (clause.position & 63);
                }
            }
        }
    }

    /// The same for one block of steps: an operand is ranked when its step comes to it. Mostly the steps before leave nothing, and it never
    /// does.
    #[inline(always)]
    fn find_in_one(
        &self,
        registers: &mut [Value],
        fired: &mut [u64],
        rest: &mut impl FnMut(usize, &mut [Value]) -> bool,
    ) {
        let mut left = self.blocks[0].all;
        for step in &self.steps {
            let operand = &self.operands[step.operand as usize];
            let rank = operand.rank(registers[operand.register], &self.below, &self.cuts);
            left &= self.words[step.words as usize + rank as usize];
            if left == 0 {
                return;
            }
        }
        while left != 0 {
            let clause = &self.clauses[left.trailing_zeros() as usize];
            left &= left - 1;
            if clause.rest.is_none_or(|number| rest(number, registers)) {
                fired[usize::from(clause.position >> 6)] |= 1 << (clause.position & 63);
            }
        }
    }
}

/// The ranks among these cuts for which a test holds.
fn spans(test: &ArchivedTestPlan, cuts: &[Cut]) -> Vec<Span> {
    let rank = |cut: &ArchivedCutPlan| {
        let cut = Cut::new(cut);
        2 + cuts.partition_point(|other| other.order(&cut).is_lt()) as u32
    };
    let last = cuts.len() as u32 + 2;
    let mut spans = Vec::new();
    if test.missing {
        spans.push((0, 1));
    }
    let mut start = test.low.then_some(1);
    for cut in test.cuts.iter() {
        let here = rank(cut);
        match start.take() {
            Some(start) => spans.push((start, here)),
            None => start = Some(here),
        }
    }
    spans.extend(start.map(|start| (start, last)));
    spans
}

impl Matches {
    pub(super) fn reserve(operands: usize, rules: usize) -> Self {
        Self { ranks: vec![0; operands], fired: vec![0; rules.div_ceil(64)] }
    }

    /// Bytes that [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(operands: usize, rules: usize) -> usize {
        operands * size_of::<u32>() + rules.div_ceil(64) * size_of::<u64>()
    }

    /// Calls `fires` with the position of each rule that fires, ascending. It says whether the rule really does: only then
    /// do the rows behind one of a table of which the first fires not. Calls `ask` with the models that are needed first
    /// wherever something is.
    #[inline]
    pub(super) fn find(
        &mut self,
        judged: Judged<'_>,
        (event, matcher): (&ArchivedEventPlan, &Matcher),
        registers: &mut [Value],
        mut ask: impl FnMut(&[u16_le], &mut [Value]),
        mut fires: impl FnMut(u16) -> bool,
    ) {
        let Judged { basis, words, presence, time } = judged;
        let run = |code: &ArchivedRun, registers: &mut [Value]| {
            execute(basis, code, words, presence, time, registers);
        };
        run(&event.conditions, registers);
        let rules = event.rules.len();
        let fired = &mut self.fired[..rules.div_ceil(64)];
        matcher.find(registers, &mut self.ranks, fired, |clause, registers| {
            event.matching.clauses[clause].rest.as_ref().is_some_and(|rest| {
                ask(&rest.models, registers);
                run(&rest.code, registers);
                registers[usize::from(rest.register.to_native())].is_true()
            })
        });
        let mut from = 0;
        for (number, word) in fired.iter_mut().enumerate() {
            let mut left = std::mem::take(word);
            while left != 0 {
                let position = (number * 64) as u16 + left.trailing_zeros() as u16;
                left &= left - 1;
                if u32::from(position) >= from && fires(position) {
                    from = matcher.until.get(usize::from(position)).copied().unwrap_or(0);
                }
            }
        }
    }
}

/// The rules of one event kind by themselves: what an engine does between features and decision, for measurements and
/// tests of it.
pub struct Rules {
    loaded: Loaded,
    kind: usize,
    rules: Vec<Rule>,
    matcher: Matcher,
    matches: Matches,
    rates: Rates,
    edits: Edits,
    registers: Vec<Value>,
    fired: Vec<u16>,
}

impl Rules {
    /// Those of the event kind with this number on the wire; `None` when there is no such kind. No rates are known.
    #[must_use]
    pub fn new(loaded: &Loaded, kind: u16) -> Option<Self> {
        let (program, kind) = (loaded.program(), usize::from(kind));
        let (rules, matcher) = matched(program, program.events.get(kind)?);
        Some(Self {
            kind,
            matches: Matches::reserve(matcher.operands(), rules.len()),
            rates: Rates::reserve(program),
            edits: Edits::none(),
            registers: program.fresh_registers(),
            fired: Vec::with_capacity(rules.len()),
            rules,
            matcher,
            loaded: loaded.clone(),
        })
    }

    /// The values of the features, in policy order, to be set before rules are asked for.
    pub fn features(&mut self) -> &mut [Value] {
        let features = self.loaded.program().features.len();
        &mut self.registers[..features]
    }

    /// What the models say, in policy order; to be set like the features. Lazy ones say it whether or not they would be asked.
    pub fn models(&mut self) -> &mut [Value] {
        let program = self.loaded.program();
        &mut self.registers[program.features.len()..][..program.models.len()]
    }

    /// The rules that fire for an event with all these words, its presence bits and its time: indexes into the program's
    /// rules, most salient first. Features that look at the event alone are as they were set.
    #[inline(never)]
    pub fn fired(&mut self, words: &[u64], presence: u64, time: Time) -> &[u16] {
        let Self { loaded, kind, rules, matcher, matches, rates, edits, registers, fired } = self;
        let program = loaded.program();
        let basis = Basis { program, rates, edits };
        fired.clear();
        let event = (&program.events[*kind], &*matcher);
        let judged = Judged { basis, words, presence, time };
        matches.find(
            judged,
            event,
            registers,
            |_, _| {},
            |position| {
                fired.push(rules[usize::from(position)].index);
                true
            },
        );
        fired
    }

    /// Ranks all operands first from now on, as where there are several blocks. False where that was done anyway.
    #[cfg(test)]
    pub(crate) fn rank_all(&mut self) -> bool {
        std::mem::take(&mut self.matcher.is_one)
    }

    /// Bytes of the tables that they are found by.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.matcher.bytes()
    }
}
