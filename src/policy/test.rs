//! Running the tests of a policy: each in an engine of its own, under the event clock, through the same `step` as any
//! verdict; and telling what went wrong in the words of the policy.

pub mod script;

use super::Sources;
use super::archive;
use super::diagnostics::Diagnostic;
use super::entries;
use super::explain::{Facts, offset};
use super::lower::lower_stubbed;
use super::typed::{Compare, Policy, Rule, RuleIx, Span, TableIx, Within};
use crate::engine::program::{EventPlan, Program};
use crate::engine::units::{EventId, Time};
use crate::engine::wire::{Admission, Input, Outcome, PRESENCE_WORD, RATE_PARTS_WORD, RATE_WORDS};
use crate::engine::{Clock, Engine, Limits, Loaded, Step};
use crate::token::Tokenizer;
use script::{Expectation, Given, Judged, Stubs, TEST_START, Test, TestEvent};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Rules that are explained for one `when`, at most.
const EXPLAINED_MAX: usize = 5;

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The test's name.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// What was not as expected; none when the test holds.
    pub failures: Vec<Failure>,
}

/// One `when` that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it is written.
    pub span: Span,
    /// What was judged, and when: `payment at 5m`.
    pub what: String,
    /// What was expected and what came, one thing a line: `expected block, got allow`.
    pub differences: Vec<String>,
    /// Why, one rule or clause a line.
    pub explanations: Vec<String>,
}

/// Runs tests of a policy, those whose name contains `filter`, in order. An error is that of lowering the policy.
pub fn run(policy: &Policy, tests: &[Test], filter: &str) -> Result<Vec<Report>, Box<Diagnostic>> {
    let plain = Compiled::new(policy, &Stubs::default())?;
    let mut reports = Vec::new();
    for test in tests.iter().filter(|test| test.name.contains(filter)) {
        let stubbed = if test.stubs.is_empty() { None } else { Some(Compiled::new(policy, &test.stubs)?) };
        let failures = stubbed.as_ref().unwrap_or(&plain).run(policy, test);
        reports.push(Report { name: test.name.clone(), span: test.span, failures });
    }
    Ok(reports)
}

/// What came of the tests of a policy, for a person to read.
#[must_use]
pub fn text(sources: &Sources, policy: &str, reports: &[Report]) -> String {
    if reports.is_empty() {
        return format!("policy {policy} has no tests\n");
    }
    let mut text = String::new();
    for report in reports {
        if report.failures.is_empty() {
            let _ = writeln!(text, "ok      {}", report.name);
            continue;
        }
        let (file, line) = sources.place(report.span);
        let _ = writeln!(text, "FAILED  {} ({file}:{line})", report.name);
        for failure in &report.failures {
            let (file, line) = sources.place(failure.span);
            let _ = writeln!(text, "  {file}:{line}: {}", failure.what);
            for line in failure.differences.iter().chain(&failure.explanations) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    let failed = reports.iter().filter(|report| !report.failures.is_empty()).count();
    let tests = if reports.len() == 1 { "test" } else { "tests" };
    let _ = writeln!(text, "{} {tests}: {} ok, {failed} FAILED", reports.len(), reports.len() - failed);
    text
}

struct Compiled {
    program: Program,
    loaded: Loaded,
    tokenizer: Tokenizer,
}

impl Compiled {
    fn new(policy: &Policy, stubs: &Stubs) -> Result<Self, Box<Diagnostic>> {
        let tokenizer = Tokenizer::default();
        let program = lower_stubbed(policy, &tokenizer, stubs)?;
        let loaded = archive::open(archive::seal(&program)).map_err(|error| {
            let message = format!("this policy was not checked: {error}");
            Diagnostic::error(
                Span::default(),
                message,
                "",
                "report this policy: `check` should have refused it",
            )
        })?;
        Ok(Self { program, loaded, tokenizer })
    }

    fn run(&self, policy: &Policy, test: &Test) -> Vec<Failure> {
        let mut engine = match Engine::new(self.loaded.clone(), &limits(test)) {
            Ok(engine) => engine,
            Err(error) => return vec![broken(test, &error.message)],
        };
        for (number, rate) in test.rates.iter().enumerate() {
            let mut words = [0; RATE_WORDS];
            words[..4].copy_from_slice(&[number as u64 + 1, 2, rate.time.0 as u64, 7]);
            words[4..6].copy_from_slice(&[u64::from(rate.from.0), u64::from(rate.to.0)]);
            words[RATE_PARTS_WORD..].copy_from_slice(&[rate.num, rate.den]);
            let kind = policy.events.len() as u16;
            if let Step::Refused(refusal) = engine.step(&input(kind, TEST_START, false, &words)) {
                return vec![broken(test, &refusal.to_string())];
            }
        }
        let mut order: Vec<usize> = (0..test.events.len()).collect();
        order.sort_by_key(|&at| test.events[at].time);
        let mut failures = Vec::new();
        for at in order {
            let event = &test.events[at];
            let words = match self.words(test, at) {
                Ok(words) => words,
                Err(message) => return vec![broken(test, &message)],
            };
            let late = event.judged.as_ref().is_some_and(|judged| judged.late);
            let outcome = match engine.step(&input(event.event.0, event.time, late, &words)) {
                Step::Decided(outcome) => outcome,
                Step::Refused(refusal) => return vec![broken(test, &refusal.to_string())],
                Step::Repeated(_) => return vec![broken(test, "an event was taken for one sent before")],
            };
            if let Some(judged) = &event.judged {
                let facts = Facts {
                    policy,
                    event: event.event,
                    values: &event.values,
                    time: event.time,
                    features: engine.features(),
                    models: engine.models(),
                    stubs: &test.stubs,
                    rates: &test.rates,
                };
                let verdict = Verdict { facts, event, outcome, fired: engine.fired() };
                debug_assert!(
                    verdict.is_explained(),
                    "conditions are explained otherwise than they are computed"
                );
                failures.extend(verdict.failure(judged));
            }
        }
        failures
    }

    fn words(&self, test: &Test, at: usize) -> Result<Vec<u64>, String> {
        let event = &test.events[at];
        let plan: &EventPlan = &self.program.events[event.event.index()];
        let mut words = vec![0; usize::from(plan.words)];
        words[..2].copy_from_slice(&id(at).0);
        words[2] = event.time.0 as u64;
        if let Some(target) = event.amends {
            words[4..6].copy_from_slice(&id(target).0);
            words[6] = test.events[target].time.0 as u64;
        }
        for (field, value) in plan.fields.iter().zip(&event.values) {
            let Some(value) = value else { continue };
            let word = usize::from(field.word);
            words[PRESENCE_WORD] |= 1 << field.bit;
            match value {
                Given::Number(number) => words[word] = *number as u64,
                Given::Money(minor, currency) => {
                    words[word..word + 2].copy_from_slice(&[*minor as u64, u64::from(currency.0)]);
                }
                Given::Text(text) => {
                    let text = entries::words_of_text(text).map_err(|(message, _)| message)?;
                    words[word..word + text.len()].copy_from_slice(&text);
                }
                Given::Address(address) => words[word..word + 2].copy_from_slice(address),
                Given::Key(text) => {
                    let kind = &self.program.entities[usize::from(field.arg)].name;
                    let key = self.tokenizer.key(kind, text).map_err(|error| error.to_string())?;
                    words[word..word + 2].copy_from_slice(&key.0);
                }
            }
        }
        Ok(words)
    }
}

/// The id of an event of a test. No rate has it.
fn id(at: usize) -> EventId {
    EventId([at as u64 + 1, 1])
}

fn input(kind: u16, time: Time, late: bool, words: &[u64]) -> Input<'_> {
    let admission = if late { Admission::Late } else { Admission::Normal };
    Input { principal: 1, kind, admission, received: time, words }
}

/// Room for all that a test can hold, so that nothing in it is a bound. Memory is only taken as it is used.
fn limits(test: &Test) -> Limits {
    let events = test.events.len() as u32;
    Limits {
        // Twice as many keys as there can be, since the last ones of a table are only for keys that come again.
        keys_max: 64 + 2 * 16 * events,
        spill_bytes_max: (1 << 20) + u64::from(events) * (64 << 10),
        rows_per_key_max: 1_024 + 16 * events,
        dedup_entries_max: 64 + events + test.rates.len() as u32,
        jump_us: 0,
        clock: Clock::Event,
        ..Limits::default()
    }
}

fn broken(test: &Test, why: &str) -> Failure {
    Failure {
        span: test.span,
        what: "the test".to_owned(),
        differences: vec![format!("it cannot be run: {why}")],
        explanations: Vec::new(),
    }
}

/// A verdict and what it was computed from.
struct Verdict<'a> {
    facts: Facts<'a>,
    event: &'a TestEvent,
    outcome: Outcome,
    fired: &'a [u16],
}

impl Verdict<'_> {
    fn failure(&self, judged: &Judged) -> Option<Failure> {
        let mut differences = Vec::new();
        let mut explain: Vec<RuleIx> = Vec::new();
        for expectation in &judged.expectations {
            self.compare(expectation, &mut differences, &mut explain);
        }
        if differences.is_empty() {
            return None;
        }
        let mut told = BTreeSet::new();
        explain.retain(|rule| told.insert(*rule));
        let mut explanations: Vec<String> =
            explain.iter().take(EXPLAINED_MAX).flat_map(|rule| self.explain(*rule)).collect();
        if explain.len() > EXPLAINED_MAX {
            explanations.push(format!("and {} more rules", explain.len() - EXPLAINED_MAX));
        }
        explanations.push(self.told_fired());
        let event = &self.facts.policy.events[self.event.event.index()].name;
        let what = format!("{event} at {}", offset(self.event.time.0 - TEST_START.0));
        Some(Failure { span: judged.span, what, differences, explanations })
    }

    /// Notes what is not as expected, and which rules say why.
    fn compare(&self, expectation: &Expectation, differences: &mut Vec<String>, explain: &mut Vec<RuleIx>) {
        let outcome = &self.outcome;
        let (wanted, got): (String, String) = match expectation {
            Expectation::Action(action) if *action != outcome.action => {
                let wanted = |rule: &Rule| {
                    if outcome.action < *action { rule.action == Some(*action) } else { false }
                };
                explain.extend(self.rules(|ix, rule| wanted(rule) && !self.has_effect(ix)));
                if outcome.action > *action {
                    let too_much =
                        |ix, rule: &Rule| rule.action == Some(outcome.action) && self.has_effect(ix);
                    explain.extend(self.rules(too_much));
                }
                (action.word().to_owned(), outcome.action.word().to_owned())
            }
            Expectation::NotAction(action) if *action == outcome.action => {
                explain.extend(self.rules(|ix, rule| rule.action == Some(*action) && self.has_effect(ix)));
                (format!("not {}", action.word()), action.word().to_owned())
            }
            Expectation::Score(how, score) if !holds(*how, i64::from(outcome.score), *score) => {
                let same =
                    |ix, rule: &Rule| rule.score.map(i64::from) == Some(*score) && !self.has_effect(ix);
                if *how == Compare::Eq {
                    explain.extend(self.rules(same));
                }
                let gave = |ix, rule: &Rule| rule.score.is_some() && self.has_effect(ix);
                explain.extend(self.rules(gave));
                let operator = match how {
                    Compare::Eq => "",
                    Compare::Ne => "!= ",
                    Compare::Lt => "< ",
                    Compare::Le => "<= ",
                    Compare::Gt => "> ",
                    Compare::Ge => ">= ",
                };
                (format!("score {operator}{score}"), self.told_score())
            }
            Expectation::Unassessed if outcome.score >= 0 => ("unassessed".to_owned(), self.told_score()),
            Expectation::Because(reasons) => {
                let policy = self.facts.policy;
                let id = |reason: &u16| policy.reasons[usize::from(*reason)].id;
                let wanted: Vec<u16> = reasons.iter().map(id).collect();
                let got: Vec<u16> = outcome.reasons.iter().copied().filter(|id| *id != 0).collect();
                let lacks = |id: &u16| !got.contains(id);
                let surplus = |id: &u16| !wanted.contains(id);
                if !wanted.iter().any(lacks) && !got.iter().any(surplus) {
                    return;
                }
                let reason = |rule: &Rule| rule.reason.map(|reason| policy.reasons[usize::from(reason)].id);
                let lacking = |ix, rule: &Rule| {
                    reason(rule).is_some_and(|id| wanted.contains(&id) && lacks(&id)) && !self.has_effect(ix)
                };
                explain.extend(self.rules(lacking));
                let unwanted =
                    |ix, rule: &Rule| reason(rule).is_some_and(|id| surplus(&id)) && self.has_effect(ix);
                explain.extend(self.rules(unwanted));
                let told = |ids: &[u16]| {
                    let name = |id: &u16| policy.reasons.iter().find(|reason| reason.id == *id);
                    let names: Vec<&str> =
                        ids.iter().filter_map(name).map(|reason| reason.name.as_str()).collect();
                    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
                };
                (format!("because {}", told(&wanted)), format!("because {}", told(&got)))
            }
            Expectation::Fires(rule) if !self.fires(*rule) => {
                explain.push(*rule);
                let name = &self.rule(*rule).name;
                (format!("{name} to fire"), "it did not".to_owned())
            }
            Expectation::NotFires(rule) if self.fires(*rule) => {
                explain.push(*rule);
                let name = &self.rule(*rule).name;
                (format!("{name} not to fire"), "it fired".to_owned())
            }
            Expectation::FiresTable(table) if self.firing_rows(*table).is_empty() => {
                let in_table = |_, rule: &Rule| rule.within == Some(Within::Table(*table));
                explain.extend(self.rules(in_table));
                let name = &self.facts.policy.tables[table.index()].name;
                (format!("{name} to fire"), "no row of it did".to_owned())
            }
            Expectation::NotFiresTable(table) if !self.firing_rows(*table).is_empty() => {
                let rows = self.firing_rows(*table);
                let got = format!("{} fired", self.rule(rows[0]).name);
                explain.extend(rows);
                (format!("{} not to fire", self.facts.policy.tables[table.index()].name), got)
            }
            _ => return,
        };
        differences.push(format!("expected {wanted}, got {got}"));
    }

    fn told_score(&self) -> String {
        match self.outcome.score {
            -1 => "unassessed".to_owned(),
            score => format!("score {score}"),
        }
    }

    fn rule(&self, rule: RuleIx) -> &Rule {
        &self.facts.policy.rules[rule.index()]
    }

    /// The rules on the event that are such.
    fn rules(&self, wanted: impl Fn(RuleIx, &Rule) -> bool) -> Vec<RuleIx> {
        let rules = self.facts.policy.rules.iter().zip(0..);
        let of_event = rules.filter(|(rule, _)| rule.event == self.event.event);
        of_event.filter(|(rule, ix)| wanted(RuleIx(*ix), rule)).map(|(_, ix)| RuleIx(ix)).collect()
    }

    fn firing_rows(&self, table: TableIx) -> Vec<RuleIx> {
        self.rules(|ix, rule| rule.within == Some(Within::Table(table)) && self.fires(ix))
    }

    fn fires(&self, rule: RuleIx) -> bool {
        self.fired.contains(&rule.0)
    }

    /// The rule that fired and was allowed over this one.
    fn allowed_over(&self, rule: RuleIx) -> Option<&Rule> {
        if self.rule(rule).mandatory {
            return None;
        }
        let fired = self.fired.iter().map(|ix| self.rule(RuleIx(*ix)));
        fired.into_iter().find(|other| !other.monitor && other.allow_over.contains(&rule))
    }

    /// Whether the rule fired and nothing took its effects away.
    fn has_effect(&self, rule: RuleIx) -> bool {
        self.fires(rule) && !self.rule(rule).monitor && self.allowed_over(rule).is_none()
    }

    /// Why a rule fired, or did not, or fired in vain.
    fn explain(&self, ix: RuleIx) -> Vec<String> {
        let rule = self.rule(ix);
        let name = &rule.name;
        if self.fires(ix) {
            if rule.monitor {
                return vec![format!("{name} fired, and has no effect: it is only monitored")];
            }
            if let Some(over) = self.allowed_over(ix) {
                return vec![format!("{name} fired, and {} was allowed over it", over.name)];
            }
        }
        let head = if self.fires(ix) { format!("{name} fired") } else { format!("{name} did not fire") };
        let held_back = self.held_back(ix);
        let clauses = if held_back.is_empty() { self.facts.explain(&rule.when) } else { held_back };
        match &clauses[..] {
            [only] => vec![format!("{head}: {only}")],
            several => {
                let mut lines = vec![format!("{head}:")];
                lines.extend(several.iter().map(|clause| format!("  {clause}")));
                lines
            }
        }
    }

    /// What keeps a rule from firing whatever its condition is.
    fn held_back(&self, ix: RuleIx) -> Vec<String> {
        let (rule, time) = (self.rule(ix), self.event.time.0);
        if !rule.effective.holds_at(time) {
            return vec!["it is not effective at that time".to_owned()];
        }
        let scene = match rule.within {
            None => return Vec::new(),
            Some(Within::Scene(scene)) => &self.facts.policy.scenes[scene.index()],
            Some(Within::Table(table)) => {
                let table = &self.facts.policy.tables[table.index()];
                if !table.effective.holds_at(time) {
                    return vec![format!("its table {} is not effective at that time", table.name)];
                }
                let before = |other: &RuleIx, row: &Rule| other.0 < ix.0 && row.within == rule.within;
                let mut before = self.rules(|other, row| table.first && before(&other, row)).into_iter();
                let fired = before.find(|other| self.fires(*other));
                let told = |row| format!("{} before it is the first that fits", self.rule(row).name);
                return fired.map(told).into_iter().collect();
            }
        };
        if !scene.effective.holds_at(time) {
            return vec![format!("its scene {} is not effective at that time", scene.name)];
        }
        if self.facts.value(&scene.when).is_true() {
            return Vec::new();
        }
        let why = self.facts.explain(&scene.when);
        why.into_iter().map(|clause| format!("its scene {} does not hold: {clause}", scene.name)).collect()
    }

    /// Whether each rule fired exactly when its condition, as it would be explained, is true.
    fn is_explained(&self) -> bool {
        let should =
            |ix, rule: &Rule| self.held_back(ix).is_empty() && self.facts.value(&rule.when).is_true();
        self.rules(|ix, rule| should(ix, rule) != self.fires(ix)).is_empty()
    }

    fn told_fired(&self) -> String {
        let names: Vec<&str> = self.fired.iter().map(|ix| self.rule(RuleIx(*ix)).name.as_str()).collect();
        let fired = if names.is_empty() {
            "no rule fired".to_owned()
        } else {
            format!("fired: {}", names.join(", "))
        };
        format!("{fired}; action {}, {}", self.outcome.action.word(), self.told_score())
    }
}

fn holds(how: Compare, score: i64, bound: i64) -> bool {
    match how {
        Compare::Eq => score == bound,
        Compare::Ne => score != bound,
        Compare::Lt => score < bound,
        Compare::Le => score <= bound,
        Compare::Gt => score > bound,
        Compare::Ge => score >= bound,
    }
}
