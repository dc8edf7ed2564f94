//! Whether anything is known of a payment's keys, from the first instant that there is: windows then begin before all times,
//! and a key's record may be there for the sake of another kind of event alone. Every answer is held against the oracle.

mod support;

use support::frames::{Cell, Compiled, Frame, compiled, encode};
use support::oracle::Oracle;
use support::rng::Rng;
use tollgate::engine::units::{Action, Currency, DAY, EventId, HOUR, Key, MINUTE, Time};
use tollgate::engine::wire::{Admission, Outcome};
use tollgate::engine::{Clock, Engine, Limits, Step};

const POLICY: &str = "policy history revision 1
entity card
event payment { card: card, amount: money }
event password { card: card }
feature payments = count(payment) by card last 30d
feature spent = sum(payment.amount in USD) by card last 30d
feature passwords = count(password) by card last 1h
decide payment { score = rule_scores, unassessed challenge }
";

const PAYMENT: u16 = 0;
const PASSWORD: u16 = 1;

/// An event of a kind, of a card, at a time.
type Sent = (u16, u64, i64);

/// The answers to these, each with an id of its own.
fn told(sent: &[Sent]) -> Vec<Outcome> {
    let Compiled { policy, tokenizer, layouts, loaded } = compiled(POLICY);
    let limits = Limits {
        keys_max: 64,
        spill_bytes_max: 1 << 20,
        dedup_entries_max: 64,
        lateness_us: 0,
        jump_us: 0,
        clock: Clock::Event,
        ..Limits::default()
    };
    let mut oracle = Oracle::new(&policy, &layouts, limits, &tokenizer);
    let mut engine = Engine::new(loaded, &limits).unwrap_or_else(|error| panic!("{}", error.message));
    let usd = Currency::from_alpha("USD").expect("USD");
    let mut answer = |(id, &(kind, card, time)): (u64, &Sent)| {
        let mut cells = vec![Some(Cell::Key(Key([card, 9])))];
        if kind == PAYMENT {
            cells.push(Some(Cell::Cash(100, usd)));
        }
        let words = encode(&layouts[usize::from(kind)], EventId([id, 1]), time, None, &cells);
        let (principal, admission, received) = (1, Admission::Normal, Time(0));
        let frame = Frame { principal, kind, admission, received, words, orders: Vec::new() };
        let step = engine.step(&frame.input());
        assert_eq!(step, oracle.step(&frame.input()), "event {id}, of kind {kind} at {time}");
        let Step::Decided(outcome) = step else { panic!("{step:?}") };
        outcome
    };
    (1..).zip(sent).map(&mut answer).collect()
}

#[test]
fn a_record_without_payments_is_no_history() {
    let payment = |card| (PAYMENT, card, 3 * HOUR);
    let told = told(&[(PASSWORD, 1, HOUR), payment(2), payment(1), payment(1)]);
    let said = |outcome: &Outcome| (outcome.score, outcome.action);
    assert_eq!(said(&told[2]), (-1, Action::Challenge), "the password is two hours old");
    assert_eq!(said(&told[3]), (0, Action::Allow), "there is a payment");
}

#[test]
fn what_is_known_from_the_first_instant_on_is_what_the_oracle_knows() {
    let mut rng = Rng::new(7);
    let (mut unknown, mut known) = (0, 0);
    for _ in 0..20 {
        let mut time = 0;
        let sent = |_| {
            time += match rng.percent(3) {
                true => rng.between(1, 20 * DAY),
                false => rng.between(0, 30 * MINUTE),
            };
            (if rng.percent(60) { PASSWORD } else { PAYMENT }, rng.below(40) as u64, time)
        };
        let sent: Vec<Sent> = (0..400).map(sent).collect();
        for (outcome, _) in told(&sent).iter().zip(&sent).filter(|(_, sent)| sent.0 == PAYMENT) {
            *(if outcome.score < 0 { &mut unknown } else { &mut known }) += 1;
        }
    }
    assert!(unknown > 100 && known > 100, "{unknown} unknown, {known} known");
}
