//! Keys that are busy, then quiet, then busy again: what holds their rows grows to a tree and shrinks to a small slab while
//! windows look at it. Every feature of every decision is held against the oracle, which knows nothing of tiers.

mod support;

use support::fraction::Fraction;
use support::frames::{Cell, Compiled, Frame, compiled, encode};
use support::oracle::{Answer, Oracle};
use support::rng::Rng;
use tollgate::engine::units::{Currency, DAY, EventId, HOUR, Key, MINUTE, SECOND, Time};
use tollgate::engine::wire::Admission;
use tollgate::engine::{Clock, Engine, Limits, Step};

const POLICY: &str = "policy tiers revision 1
entity card, shop, till
event payment { card: card, shop: shop, till: till, amount: money, online: bool, tip: money? }
event result amends payment { declined: bool }
feature count_1d = count(payment) by card last 1d
feature kept_1d = sum(payment.amount in USD where result is missing or not result.declined) by card last 1d
feature most_6h = max(payment.amount in USD where online) by card last 6h
feature least_1d = min(payment.amount in USD) by card last 1d
feature mean_1h = avg(payment.amount in USD) by card last 1h
feature refused = ratio(payment where result.declined, payment) by card last 12h delayed 6h
feature today = count(payment) by card every 1d
feature usual_3h = percentile(50, payment.amount in USD) by card last 3h
feature recent = sum(payment.amount in USD) by card last 7 events within 1d
feature idle = since_last(payment) by card last 1d
// Windows that all end with the event, and such as all end before it: for these few rows are added up at once, wherever they are.
feature shop_1d = count(payment) by shop last 1d
feature shop_kept_6h = sum(payment.amount in USD where result is missing or not result.declined) by shop last 6h
feature shop_tip_1d = avg(payment.tip in USD) by shop last 1d
feature shop_most_3h = max(payment.amount in USD) by shop last 3h
feature shop_least_1h = min(payment.tip in USD where online) by shop last 1h
feature till_1d = count(payment) by till last 1d delayed 2h
feature till_refused_6h = ratio(payment where result.declined, payment) by till last 6h delayed 2h
feature till_mean_1d = avg(payment.amount in USD) by till last 1d delayed 2h
decide payment { score = rule_scores, unassessed allow }
";

const CARDS: u64 = 2;

/// What becomes of a card, over and over: so many payments, one each step.
const LIFE: [(usize, i64); 9] = [
    // A tree.
    (450, 30 * SECOND),
    // Rows die by the day: chunks go, then the slab is too large, and too large again.
    (60, 30 * MINUTE),
    (40, 45 * MINUTE),
    (30, HOUR),
    (8, 5 * HOUR),
    // A tree again, while the windows still hold rows of before; and down again.
    (250, MINUTE),
    (60, 35 * MINUTE),
    // Nothing at all for longer than all reach.
    (1, 3 * DAY),
    (200, 5 * SECOND),
];

#[test]
fn growing_and_shrinking_shows_in_no_feature() {
    let Compiled { policy, tokenizer, layouts, loaded } = compiled(POLICY);
    let limits = Limits {
        keys_max: 16,
        spill_bytes_max: 8 << 20,
        dedup_entries_max: 64,
        lateness_us: HOUR,
        jump_us: 0,
        clock: Clock::Event,
        ..Limits::default()
    };
    let mut oracle = Oracle::new(&policy, &layouts, limits, &tokenizer);
    let mut engine = Engine::new(loaded, &limits).unwrap_or_else(|error| panic!("{}", error.message));
    let mut rng = Rng::new(41);
    let usd = Currency::from_alpha("USD").expect("USD");

    let mut feed = |kind: u16, words: Vec<u64>| {
        let frame = Frame {
            principal: 1,
            kind,
            admission: Admission::Normal,
            received: Time(0),
            words,
            orders: Vec::new(),
        };
        let step = engine.step(&frame.input());
        assert_eq!(step, oracle.step(&frame.input()), "engine and oracle differ");
        assert!(matches!(step, Step::Decided(_)));
        let told: Vec<_> = engine.features().iter().map(|value| Fraction::of(*value)).collect();
        let expected: Vec<_> = oracle.features().iter().map(|answer: &Answer| answer.told()).collect();
        assert_eq!(told, expected, "after {} decisions", engine.next_seq() - 1);
        (told[0], *engine.counters())
    };

    // The lives of the cards, each begun at another time, as one stream.
    let mut due: Vec<(i64, u64)> = Vec::new();
    let start = 1_522_540_800_000_000;
    for card in 0..CARDS {
        let mut time = start + card as i64 * 11 * HOUR;
        for (payments, step) in LIFE {
            due.extend((0..payments).map(|_| {
                time += rng.between(1, 2 * step);
                (time, card)
            }));
        }
    }
    due.sort_unstable();

    let (mut sent, mut ids) = (Vec::new(), 0);
    // What of a card was seen: a tree, then that it shrank.
    let (mut trees, mut shrunk, mut demoted) = (0, 0, 0);
    let mut large = [false; CARDS as usize];
    for (now, card) in due {
        let late = if rng.percent(10) { rng.between(0, HOUR) } else { 0 };
        ids += 1;
        let (id, time, key) = (EventId([ids, 1]), now - late, Key([card, 9]));
        let amount = Cell::Cash(rng.between(1, 400), usd);
        let tip = rng.percent(80).then(|| Cell::Cash(rng.between(1, 40), usd));
        let keys = || Some(Cell::Key(key));
        let cells = [keys(), keys(), keys(), Some(amount), Some(Cell::Number(rng.between(0, 1))), tip];
        let (count, counters) = feed(0, encode(&layouts[0], id, time, None, &cells));
        // At most 64 rows are inline, and 128 in the largest slab.
        let is_large = count.is_some_and(|count| count.compare(Fraction::int(192)).is_gt());
        trees += u64::from(is_large && !large[card as usize]);
        large[card as usize] |= is_large;
        if counters.demoted > demoted {
            demoted = counters.demoted;
            shrunk += u64::from(large[card as usize]);
            large[card as usize] = false;
        }
        sent.push((id, time, key));
        if rng.percent(25) {
            // Of any payment of the last many: some are in the tree, some nowhere any more.
            let back = rng.below(sent.len().min(1_500));
            let (id, time, key) = sent[sent.len() - 1 - back];
            ids += 1;
            let cells: Vec<_> = policy.events[1]
                .fields
                .iter()
                .map(|field| match field.name.as_str() {
                    "declined" => Some(Cell::Number(i64::from(rng.percent(70)))),
                    _ => Some(Cell::Key(key)),
                })
                .collect();
            feed(1, encode(&layouts[1], EventId([ids, 2]), now, Some((id, time)), &cells));
        }
    }
    let counters = engine.counters();
    println!("{trees} trees, {shrunk} of them shrunk, {counters:?}");
    assert!(trees >= 2 * CARDS && shrunk >= CARDS, "{trees} trees, {shrunk} shrunk");
    assert!(counters.promoted > 1_000 && counters.demoted >= 16 && counters.late > 100);
    assert_eq!((counters.rows_lost, counters.inexact), (0, 0));
}
