//! Payments by card, and what is to be known of each customer: for the tests that flood an engine.

use std::collections::VecDeque;
use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::units::{Currency, DAY, EventId, HOUR, Key, Time, Value};
use tollgate::engine::wire::{Admission, FLAG_INEXACT, Input, Outcome};
use tollgate::engine::{Engine, Limits, Loaded, Step};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

const POLICY: &str = "policy flood revision 1
entity card
event payment { card: card, amount: money }
feature count_1h = count(payment) by card last 1h
feature count_1d = count(payment) by card last 1d
feature sum_1d = sum(payment.amount in USD) by card last 1d
feature max_1d = max(payment.amount in USD) by card last 1d
feature count_1h_most = count(payment) by card last 1h assume high
feature count_1d_most = count(payment) by card last 1d assume high
feature sum_1d_most = sum(payment.amount in USD) by card last 1d assume high
feature max_1d_most = max(payment.amount in USD) by card last 1d assume high
decide payment { score = rule_scores, unassessed review }
";

pub(crate) const START: i64 = 1_522_540_800_000_000;

/// What is known of a customer, by the test: the payments of the last day.
#[derive(Default)]
pub(crate) struct Customer {
    pub(crate) payments: VecDeque<(i64, i64)>,
}

impl Customer {
    /// Pays; what each feature is then to tell.
    pub(crate) fn pay(&mut self, time: i64, minor: i64) -> [Value; 4] {
        while self.payments.front().is_some_and(|&(paid, _)| paid <= time - DAY) {
            self.payments.pop_front();
        }
        self.payments.push_back((time, minor));
        let recent = self.payments.iter().filter(|(paid, _)| *paid > time - HOUR).count();
        let minors = self.payments.iter().map(|&(_, minor)| minor);
        let most = minors.clone().max().unwrap_or(0);
        [recent as i64, self.payments.len() as i64, minors.sum(), most].map(Value::int)
    }
}

/// An engine, and payments into it.
pub(crate) struct Flooded {
    pub(crate) engine: Engine,
    loaded: Loaded,
    kind: u16,
    card: FieldSlot,
    amount: FieldSlot,
    usd: Currency,
    events: u64,
}

impl Flooded {
    pub(crate) fn new(limits: &Limits) -> Self {
        let program = policy::compile(POLICY, &Tokenizer::default()).expect("the policy compiles");
        let loaded = archive::open(archive::seal(&program)).expect("the program opens");
        let engine = Engine::new(loaded.clone(), limits).unwrap_or_else(|error| panic!("{}", error.message));
        let (kind, plan) = encode::event(loaded.program(), "payment").expect("payments");
        let card = encode::field(plan, "card").expect("a card");
        let amount = encode::field(plan, "amount").expect("an amount");
        let usd = Currency::from_alpha("USD").expect("USD");
        Self { engine, loaded, kind, card, amount, usd, events: 0 }
    }

    /// What was kept of the last payment's card comes to, and what it may come to at the most.
    pub(crate) fn told(&self) -> ([Value; 4], [Value; 4]) {
        let features = self.engine.features();
        (features[..4].try_into().expect("four"), features[4..].try_into().expect("four"))
    }

    pub(crate) fn pay(&mut self, time: i64, card: Key, minor: i64) -> Outcome {
        self.events += 1;
        let plan = &self.loaded.program().events[usize::from(self.kind)];
        let mut words = EventWords::new(plan, EventId([self.events, 1]), Time(time));
        words.set_key(self.card, card);
        words.set_money(self.amount, minor, self.usd);
        let words = words.words();
        let input =
            Input { principal: 1, kind: self.kind, admission: Admission::Normal, received: Time(0), words };
        match self.engine.step(&input) {
            Step::Decided(outcome) => outcome,
            other => panic!("not decided: {other:?}"),
        }
    }
}

pub(crate) fn is_inexact(outcome: Outcome) -> bool {
    outcome.flags & FLAG_INEXACT != 0
}
