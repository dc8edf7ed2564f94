//! Counts of different things that say `assume`, at a shop with several thousand payments in each window: of the newest 1 024
//! that qualify they are exact, and beyond that they are bounds. Held against a plain list of all payments, which is put in
//! order anew for every check.

mod support;

use std::collections::BTreeSet;
use support::rng::Rng;
use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::program::{ArchivedEventPlan, DISTINCT_EXACT_MAX};
use tollgate::engine::units::{DAY, EventId, HOUR, Key, MINUTE, SECOND, Time};
use tollgate::engine::wire::{Admission, FLAG_INEXACT, Input};
use tollgate::engine::{Clock, Engine, Limits, Loaded, Step};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

const POLICY: &str = "policy sketch revision 1
entity shop, card
event payment { shop: shop, card: card?, amount: int?, online: bool }
event result amends payment { declined: bool }
feature cards_1d = distinct(payment.card) by shop last 1d
feature most_cards_1d = distinct(payment.card) by shop last 1d assume high
feature least_cards_1d = distinct(payment.card) by shop last 1d assume low
feature ripe_cards_12h = distinct(payment.card) by shop last 12h delayed 6h assume high
feature least_ripe_12h = distinct(payment.amount) by shop last 12h delayed 6h assume low
feature declined_1d = distinct(payment.card where result.declined) by shop last 1d assume high
feature kept_today = distinct(payment.amount where result is missing or not result.declined) by shop every 1d assume high
feature least_kept_today = distinct(payment.amount where result is missing or not result.declined) by shop every 1d assume low
feature few_online = distinct(payment.card where online and result.declined) by shop last 1d assume high
feature cards_1h = distinct(payment.card) by shop last 1h assume low
decide payment { score = rule_scores, unassessed allow }
";

const SHOP: Key = Key([3, 3]);
const START: i64 = 1_522_540_800_000_000;
const EXACT: usize = DISTINCT_EXACT_MAX as usize;

#[derive(Clone, Copy)]
struct Paid {
    id: EventId,
    time: i64,
    card: Option<u64>,
    amount: Option<u64>,
    online: bool,
    declined: Option<bool>,
}

/// Of the payments after one time and up to another, in any order: how many different things there are, and the bounds that
/// are told.
fn different(
    paid: &[Paid],
    (after, until): (i64, i64),
    counts: impl Fn(&Paid) -> bool,
    thing: impl Fn(&Paid) -> Option<u64>,
) -> [i64; 3] {
    let in_it = paid.iter().filter(|paid| after < paid.time && paid.time <= until && counts(paid));
    let mut things: Vec<(i64, u64, u64)> =
        in_it.filter_map(|paid| Some((paid.time, paid.id.tag(), thing(paid)?))).collect();
    things.sort_unstable();
    let of = |things: &[(i64, u64, u64)]| things.iter().map(|at| at.2).collect::<BTreeSet<_>>().len();
    let earlier = things.len().saturating_sub(EXACT);
    let least = of(&things[earlier..]);
    [of(&things), least, least + earlier].map(|count| count as i64)
}

struct Shop {
    engine: Engine,
    loaded: Loaded,
    paid: Vec<Paid>,
    amendments: u64,
    /// Checks, and features that were told by a bound above, or below, what there was.
    checked: u64,
    above: u64,
    below: u64,
}

impl Shop {
    fn new() -> Self {
        let program = policy::compile(POLICY, &Tokenizer::default()).expect("the policy compiles");
        let loaded = archive::open(archive::seal(&program)).expect("the program opens");
        let limits = Limits {
            keys_max: 16,
            spill_bytes_max: 16 << 20,
            dedup_entries_max: 64,
            lateness_us: HOUR,
            jump_us: 0,
            clock: Clock::Event,
            ..Limits::default()
        };
        let engine = Engine::new(loaded.clone(), &limits).unwrap_or_else(|error| panic!("{}", error.message));
        Self { engine, loaded, paid: Vec::new(), amendments: 0, checked: 0, above: 0, below: 0 }
    }

    fn event(&self, name: &str) -> (u16, &ArchivedEventPlan) {
        encode::event(self.loaded.program(), name).expect("an event of the policy")
    }

    fn step(&mut self, kind: u16, words: &EventWords) {
        let words = words.words();
        let input = Input { principal: 1, kind, admission: Admission::Normal, received: Time(0), words };
        match self.engine.step(&input) {
            Step::Decided(outcome) => assert_eq!(outcome.flags & FLAG_INEXACT, 0),
            other => panic!("not decided: {other:?}"),
        }
    }

    fn pay(&mut self, rng: &mut Rng, time: i64) {
        // Cards come back, more and more of them; amounts of which half are the same few.
        let cards = 1 + self.paid.len() / 3;
        let amount = if rng.percent(50) { rng.below(20) } else { rng.below(100_000) };
        let paid = Paid {
            id: EventId([self.paid.len() as u64, 1]),
            time,
            card: (!rng.percent(10)).then(|| rng.below(cards) as u64),
            amount: (!rng.percent(10)).then_some(amount as u64),
            online: rng.percent(3),
            declined: None,
        };
        let (kind, plan) = self.event("payment");
        let mut words = EventWords::new(plan, paid.id, Time(time));
        words.set_key(slot(plan, "shop"), SHOP);
        if let Some(card) = paid.card {
            words.set_key(slot(plan, "card"), Key([card, 5]));
        }
        if let Some(amount) = paid.amount {
            words.set_number(slot(plan, "amount"), amount as i64);
        }
        words.set_number(slot(plan, "online"), i64::from(paid.online));
        self.step(kind, &words);
        self.paid.push(paid);
    }

    /// Says of a payment that it was declined, or was not after all.
    fn amend(&mut self, now: i64, target: usize, declined: bool) {
        self.amendments += 1;
        let Paid { id, time, card, .. } = self.paid[target];
        let (kind, plan) = self.event("result");
        // Each at a time of its own: of one time the tags would say which holds.
        let at = Time(now + self.amendments as i64);
        let mut words = EventWords::new(plan, EventId([self.amendments, 2]), at);
        words.set_target(id, Time(time));
        words.set_key(slot(plan, "payment.shop"), SHOP);
        if let Some(card) = card {
            words.set_key(slot(plan, "payment.card"), Key([card, 5]));
        }
        words.set_number(slot(plan, "declined"), i64::from(declined));
        self.step(kind, &words);
        self.paid[target].declined = Some(declined);
    }

    /// Holds what was told of the last payment against all that there were.
    fn check(&mut self) {
        let t = self.paid[self.paid.len() - 1].time;
        let (day, ripe) = ((t - DAY, t), (t - 18 * HOUR, t - 6 * HOUR));
        let today = (t.div_euclid(DAY) * DAY - 1, t);
        let (card, amount) = (|paid: &Paid| paid.card, |paid: &Paid| paid.amount);
        let declined = |paid: &Paid| paid.declined == Some(true);
        let kept = |paid: &Paid| paid.declined != Some(true);
        let paid = &self.paid;
        let cards = different(paid, day, |_| true, card);
        let kept = different(paid, today, kept, amount);
        let few = different(paid, day, |paid| paid.online && declined(paid), card);
        let (exact, low, high) = (0, 1, 2);
        let expected = [
            (cards, exact),
            (cards, high),
            (cards, low),
            (different(paid, ripe, |_| true, card), high),
            (different(paid, ripe, |_| true, amount), low),
            (different(paid, day, declined, card), high),
            (kept, high),
            (kept, low),
            (few, high),
            (different(paid, (t - HOUR, t), |_| true, card), low),
        ];
        for (number, (found, (counts, told))) in self.engine.features().iter().zip(expected).enumerate() {
            assert_eq!(
                (found.num, found.den),
                (counts[told], 1),
                "feature {number} of payment {}",
                paid.len()
            );
            self.above += u64::from(counts[told] > counts[exact]);
            self.below += u64::from(counts[told] < counts[exact]);
        }
        self.checked += 1;
    }
}

fn slot(plan: &ArchivedEventPlan, name: &str) -> FieldSlot {
    encode::field(plan, name).unwrap_or_else(|| panic!("no field {name}"))
}

#[test]
fn bounds_are_of_the_newest_whatever_came_in_which_order() {
    let (mut shop, mut rng) = (Shop::new(), Rng::new(17));
    let mut now = START + 5 * HOUR;
    // Some 5 000 payments a day; so many at one instant that the tags alone say which are the newest; and then a few, until
    // the windows are exact again.
    for (payments, step) in
        [(900, 20 * SECOND), (7_000, 20 * SECOND), (1_500, 0), (2_000, 9 * SECOND), (60, HOUR)]
    {
        now += MINUTE;
        for number in 0..payments {
            now += if step > 0 { rng.between(1, 2 * step) } else { 0 };
            // To the second, so that there are ties.
            let late = if rng.percent(12) { rng.between(0, HOUR - MINUTE) } else { 0 };
            let at = if step > 0 { (now - late) / SECOND * SECOND } else { now };
            shop.pay(&mut rng, at);
            if number % 17 == 0 || payments < 100 {
                shop.check();
            }
            if rng.percent(45) {
                let reach = if rng.percent(80) { 1_500 } else { 9_000 };
                let back = rng.below(shop.paid.len().min(reach));
                let target = shop.paid.len() - 1 - back;
                let declined = rng.percent(70);
                shop.amend(now, target, declined);
            }
        }
    }
    let counters = shop.engine.counters();
    println!("{} checked, {} above, {} below; {counters:?}", shop.checked, shop.above, shop.below);
    assert!(shop.checked > 500 && shop.above > 500 && shop.below > 500);
    assert!(counters.late > 1_000 && counters.amended > 1_000);
    assert_eq!((counters.rows_lost, counters.inexact), (0, 0));
}
