//! A flood of keys that never come twice, against a budget of memory.
//!
//! The engine's limits are chosen so that all it ever uses is within the budget. Then known customers go on paying while
//! random keys come in, many more than there is room for. What must hold: memory stays within the budget, by the engine's
//! own account and by the system's; what is known of the known customers is exact; what could not be kept is counted, and
//! every verdict that it could matter to is flagged, so that no count is silently zero.
//!
//! `FLOOD_KEYS=50000000` is fifty million keys against 2 GiB, which is what `.ci/soak` runs. One test in this file, because
//! the memory of the process is what is measured.

#[path = "support/flooded.rs"]
mod flooded;

use flooded::{Customer, Flooded, START, is_inexact};
use tollgate::engine::units::{DAY, HOUR, Key, Value, mix};
use tollgate::engine::{Clock, Limits};

/// The flood takes this long, however many keys it has: a part of the longest window, so that all its keys are alive.
const FLOOD: i64 = 10 * HOUR;

/// Customers that paid before the flood; each pays on, some of them often.
const KNOWN: u64 = 4_000;
/// Of these, so many pay this many times as often as the others.
const OFTEN: (u64, u64) = (40, 20);

/// Of the budget, what is left to the process for pages of code, stacks and the like.
const OTHER: u64 = 2 << 20;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system tells");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// Events and keys that were not kept.
fn lost_by(flooded: &Flooded) -> u64 {
    flooded.engine.counters().keys_lost + flooded.engine.counters().doorkept
}

/// A key of the flood, which comes once.
fn stranger(number: u64) -> Key {
    Key([mix(number, 0x666c_6f6f), number])
}

/// Limits that fit into so many bytes.
fn limits(bytes: u64) -> Limits {
    // A thirty-second for what is remembered of duplicates, an eighth for slabs, a little for all that does not grow;
    // the rest is for records of 320 bytes at most, 13 bytes of index, two of the doorkeeper and 16 of what keys share, each.
    let dedup_entries_max = (bytes / 32 / 80) as u32;
    let spill_bytes_max = bytes / 8;
    let keys_max = ((bytes - bytes / 32 - spill_bytes_max - bytes / 64) / 351) as u32;
    Limits {
        keys_max,
        spill_bytes_max,
        dedup_entries_max,
        clock: Clock::Event,
        lateness_us: HOUR,
        ..Limits::default()
    }
}

#[test]
fn a_flood_of_keys_stays_within_its_memory_and_costs_the_known_nothing() {
    let keys: u64 = std::env::var("FLOOD_KEYS").map_or(600_000, |text| text.parse().expect("a number"));
    // 2 GiB for fifty million.
    let budget = (2 << 30) * keys / 50_000_000;

    let mut customers: Vec<Customer> = (0..KNOWN).map(|_| Customer::default()).collect();
    // Room for all they will pay, touched, so that what grows from here on is the engine.
    let often = |known: u64| known < OFTEN.0;
    let turns: Vec<u64> = (0..KNOWN)
        .flat_map(|known| std::iter::repeat_n(known, if often(known) { OFTEN.1 as usize } else { 1 }))
        .collect();
    let payments_each = 24;
    for (known, customer) in (0..).zip(&mut customers) {
        let payments = payments_each * if often(known) { OFTEN.1 as usize } else { 1 };
        customer.payments.resize(payments, (1, 1));
        customer.payments.clear();
    }
    let before = resident();
    let limits = limits(budget - OTHER);
    let mut flooded = Flooded::new(&limits);
    let reserved = flooded.engine.footprint().reserved_bytes;
    assert!(reserved <= budget - OTHER, "{reserved} bytes are reserved, of {budget}");

    let minor = |random: u64| 1 + (random >> 8) as i64 % 100_000;
    // Before the flood: four payments each.
    let mut now = START;
    let mut turn = 0;
    let mut known_pays = |flooded: &mut Flooded, now: i64| {
        turn += 1;
        // All have their turn, in another order each time.
        let known = turns[(turn * 7_919 % turns.len() as u64) as usize];
        let minor = minor(mix(turn, 3));
        let outcome = flooded.pay(now, Key([known, 77]), minor);
        let expected = customers[known as usize].pay(now, minor);
        assert!(!is_inexact(outcome), "customer {known} is flagged");
        assert_eq!(flooded.told(), (expected, expected), "customer {known}");
        let times = customers[known as usize].payments.len();
        assert_eq!(outcome.score, if times > 1 { 0 } else { -1 }, "customer {known}");
    };
    let all = turns.len() as u64;
    for _ in 0..4 * all {
        now += 4 * HOUR / (4 * all) as i64;
        known_pays(&mut flooded, now);
    }

    // The flood; meanwhile each customer has sixteen more turns.
    let every = keys / (16 * all);
    let (mut most, mut lost, mut asked_again, mut counted_1h) = (0, 0, 0, 0);
    for number in 0..keys {
        now += FLOOD / keys as i64;
        let outcome = flooded.pay(now, stranger(number), 5);
        // Its own payment is all that is known, and it is said when that is all that there could be room for.
        let own = [1, 1, 5, 5].map(Value::int);
        let (least, bound) = flooded.told();
        assert_eq!(least, own);
        assert_eq!(outcome.score, -1);
        let before = lost;
        lost = lost_by(&flooded);
        if before == 0 {
            assert_eq!(bound, own);
        }
        counted_1h += bound[0].num;
        assert_eq!(is_inexact(outcome), lost > 0, "stranger {number}, {lost} lost");
        if number % every == 0 {
            known_pays(&mut flooded, now);
        }
        if lost > before && number % 1_000 == 0 {
            // One that was not kept pays again: not known, and flagged.
            asked_again += 1;
            let outcome = flooded.pay(now, stranger(number), 5);
            assert!(is_inexact(outcome) && outcome.score == -1, "stranger {number} pays again");
            // It has come twice, and may not seem to have come less often.
            let (least, bound) = flooded.told();
            assert_eq!(least, own);
            for (most, truth) in bound.iter().zip([2, 2, 10, 5].map(Value::int)) {
                assert!(most.num >= truth.num, "stranger {number}: {most:?} of {truth:?}");
            }
            // Now it has a record, of which the first payment is not a part.
            assert!(is_inexact(flooded.pay(now, stranger(number), 5)));
            let (least, bound) = flooded.told();
            assert_eq!(least, [2, 2, 10, 5].map(Value::int));
            for (most, truth) in bound.iter().zip([3, 3, 15, 5].map(Value::int)) {
                assert!(most.num >= truth.num, "stranger {number}: {most:?} of {truth:?}");
            }
        }
        if number % (keys / 64) == 0 {
            most = most.max(resident());
        }
    }
    most = most.max(resident());
    let grown = most.saturating_sub(before);
    let footprint = flooded.engine.footprint();
    let counters = *flooded.engine.counters();
    println!(
        "{keys} keys against {budget} bytes: {reserved} reserved, resident {grown} more than before, {footprint:?}, \
         {} not kept, {} flagged, {} expired, a stranger has paid {} times within the hour at most",
        lost_by(&flooded),
        counters.inexact,
        counters.keys_expired,
        counted_1h / keys as i64
    );
    assert!(grown <= budget, "{grown} bytes more are resident, of {budget}");
    assert!(footprint.index_bytes + footprint.record_bytes + footprint.slab_bytes <= reserved);
    // The last sixteenth of the records is for those that came again, and all others are counted.
    let room = u64::from(limits.keys_max - limits.keys_max / 16);
    assert_eq!((footprint.keys, counters.keys_lost), (room + asked_again, 0));
    assert_eq!(counters.doorkept + footprint.keys, keys + KNOWN + asked_again);
    assert_eq!((counters.keys_expired, counters.rows_lost), (0, 0));
    assert!(counters.doorkept > keys / 2 && asked_again > 0);

    // Half a day later, strangers that were kept are known by what they paid.
    let later = now + DAY / 2;
    let outcome = flooded.pay(later, stranger(0), 5);
    assert!(!is_inexact(outcome) && outcome.score == 0);
    let expected = [1, 2, 10, 5].map(Value::int);
    assert_eq!(flooded.told(), (expected, expected));
    // When no window reaches back to the flood, there is room again. The last to be lost matters for a day.
    let last_lost = now;
    let mut fresh = keys;
    for (time, flagged) in [(last_lost + DAY - 1, true), (last_lost + 3 * DAY, false)] {
        fresh += 1;
        let outcome = flooded.pay(time, stranger(fresh), 5);
        let is_lost = lost_by(&flooded) > lost;
        lost = lost_by(&flooded);
        assert!(is_inexact(outcome) == flagged || is_lost, "at {time}");
    }
    // Idle keys go as new ones come: four are looked at for each. So many are in the last records.
    let late = last_lost + 4 * DAY;
    let lost = lost_by(&flooded);
    for number in 0..1_000 {
        flooded.pay(late + number, stranger(fresh + 1 + number as u64), 5);
    }
    assert!(
        lost_by(&flooded) - lost <= asked_again / 4 + 1,
        "no room again: {:?}",
        flooded.engine.counters()
    );
}
