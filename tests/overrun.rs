//! Senders with many payments on many cards, against the memory for rows that do not fit in their record.
//!
//! There are records for everybody, but `spill_bytes_max` is a part of what the senders' payments would take, and they send
//! before, while and after customers pay. What must hold of everybody, sender or customer, at every payment: what is kept of a card is
//! no more than the truth, what `assume high` tells no less, and a verdict for which that makes a difference is flagged. Who pays
//! so seldom that it all fits in a record is exact throughout: no sender can touch that. The engine takes no more memory, one payment
//! no more work than one row more or less of it can cost, and once the senders have gone everything is exact again.

#[path = "support/flooded.rs"]
mod flooded;

use flooded::{Customer, Flooded, START, is_inexact};
use tollgate::engine::units::{DAY, HOUR, Key, mix};
use tollgate::engine::{Clock, Limits};

/// Customers; the first of them pay often.
const CUSTOMERS: u64 = 300;
const OFTEN: u64 = 30;
/// Of a day's payments of those who do not, no more than a record holds.
const SELDOM_A_DAY: usize = 10;
const SENDERS: u64 = 3_000;
const SPILL: u64 = 1 << 20;

/// Who pays, each with what the test knows of him.
struct Cards {
    customers: Vec<Customer>,
    first: u64,
}

impl Cards {
    fn new(count: u64, first: u64) -> Self {
        Self { customers: (0..count).map(|_| Customer::default()).collect(), first }
    }
}

/// What came of a payment: whether it was flagged, whether an upper bound was told that is not what was kept, and by how many payments
/// the day's count was above the truth.
struct Told {
    flagged: bool,
    bounded: bool,
    above: i64,
}

fn pay(flooded: &mut Flooded, cards: &mut Cards, number: u64, now: i64) -> Told {
    let minor = 1 + (mix(now as u64, number) >> 8) as i64 % 100_000;
    let truth = cards.customers[number as usize].pay(now, minor);
    let outcome = flooded.pay(now, Key([mix(cards.first + number, 5), 7]), minor);
    let (kept, bound) = flooded.told();
    let flagged = is_inexact(outcome);
    for (feature, truth) in truth.iter().enumerate() {
        let (kept, bound) = (kept[feature], bound[feature]);
        assert_eq!((kept.den, bound.den), (truth.den, truth.den));
        let (least, most) = (kept.num, bound.num);
        assert!(least <= truth.num && truth.num <= most, "feature {feature}: {least}, {truth:?}, {most}");
        assert!(flagged || least == most, "feature {feature} is not exact, and not flagged");
    }
    Told { flagged, bounded: kept != bound, above: bound[1].num - truth[1].num }
}

#[test]
fn what_senders_crowd_out_is_flagged_and_bounded_and_touches_no_record() {
    let limits = Limits {
        keys_max: 1 << 16,
        spill_bytes_max: SPILL,
        dedup_entries_max: 1 << 16,
        clock: Clock::Event,
        lateness_us: HOUR,
        ..Limits::default()
    };
    let mut flooded = Flooded::new(&limits);
    let reserved = flooded.engine.footprint().reserved_bytes;
    let mut customers = Cards::new(CUSTOMERS, 0);
    let mut senders = Cards::new(SENDERS, CUSTOMERS);
    let (mut now, mut random) = (START, 1);
    let (mut flagged, mut bounded, mut sent_above, mut sent_bounded) = (0, 0, 0, 0);
    // A day of customers alone, two with senders, then three without.
    let turns = 40_000;
    for day in 0..6 {
        let are_sending = day == 1 || day == 2;
        for turn in 0..turns {
            now += DAY / turns;
            random = mix(random, turn as u64);
            if are_sending {
                for _ in 0..5 {
                    random = mix(random, 3);
                    let told = pay(&mut flooded, &mut senders, random % SENDERS, now);
                    sent_bounded += u64::from(told.bounded);
                    sent_above += if told.bounded { told.above } else { 0 };
                }
            }
            let seldom = CUSTOMERS - OFTEN;
            let every = turns / (seldom as i64 * SELDOM_A_DAY as i64);
            let is_seldom = turn % every == 0;
            let number = if is_seldom { OFTEN + (turn / every) as u64 % seldom } else { random % OFTEN };
            let told = pay(&mut flooded, &mut customers, number, now);
            if is_seldom {
                assert!(!told.flagged, "a customer whose payments are in a record is flagged");
            }
            flagged += u64::from(told.flagged);
            bounded += u64::from(told.bounded);
            // Before anybody sent, and once no window reaches back to when the senders' payments were still kept.
            assert!(!told.flagged || (1..5).contains(&day), "customer {number} is flagged on day {day}");
        }
    }
    let (counters, footprint) = (*flooded.engine.counters(), flooded.engine.footprint());
    println!(
        "{} rows given up, {flagged} verdicts of customers flagged, {bounded} with an upper bound; of senders {sent_bounded}, {} payments above \
         the truth on average; one event looked at and moved {} at most; {footprint:?}",
        counters.rows_lost,
        sent_above / sent_bounded.max(1) as i64,
        counters.event_work_max
    );
    assert!(counters.rows_lost > 100_000 && flagged > 1_000 && bounded > 1_000 && sent_bounded > 100_000);
    assert_eq!((footprint.reserved_bytes, counters.keys_lost + counters.doorkept), (reserved, 0));
    assert!(footprint.slab_bytes <= SPILL);
}
