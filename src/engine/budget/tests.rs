//! What is reckoned beforehand, held against what engines then do.

use super::work::{of_gather, of_scan, of_sketch};
use super::*;
use crate::engine::units::{DAY, SECOND, Time, mix};
use crate::engine::wire::{Admission, Input};
use crate::engine::{Engine, Loaded, Step};
use crate::policy::{self, archive};
use crate::token::Tokenizer;

const POLICY: &str = "policy budget revision 1
entity card, shop, place
event payment { card: card, shop: shop, amount: int, remote: bool }
event label amends payment { fraud: bool }
feature remote_30d = count(payment where remote) by card last 30d
feature spend_2d = sum(payment.amount) by shop last 2d
feature most_1d = max(payment.amount where remote) by shop last 1d delayed 1d
feature risk_30d = ratio(payment where label.fraud, payment) by (card, shop) last 30d delayed 7d
feature cards_2d = distinct(payment.card) by shop last 2d
feature today = count(payment) by shop every 1d
feature five_last = avg(payment.amount) by card last 5 events within 30d
feature five_remote = avg(payment.amount where remote) by card last 5 events within 30d delayed 1d
feature growth = change(sum(payment.amount)) by card last 1d against last 1d delayed 2d
feature spread = stddev(payment.amount) by shop last 3d
feature recent = decayed_count(payment) by (card, shop) last 30d half_life 1d
feature big on payment = amount > 5
rule any on payment { when remote_30d > 5 and big then score 9 }
decide payment { score = rule_scores, review when score >= 70, unassessed allow }
";

fn loaded(text: &str) -> Loaded {
    let program = policy::compile(text, &Tokenizer::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    archive::open(archive::seal(&program)).expect("a program")
}

fn limits(rows_per_key_max: u32) -> Limits {
    Limits {
        keys_max: 1_000,
        spill_bytes_max: 64 << 20,
        rows_per_key_max,
        dedup_entries_max: 1_000,
        lateness_us: 40 * DAY,
        ..Limits::default()
    }
}

/// An engine, its budget, and a stream for it.
struct Fed {
    engine: Engine,
    budget: Budget,
    id: u64,
    random: u64,
}

impl Fed {
    fn new(limits: &Limits) -> Self {
        Self::of(POLICY, limits)
    }

    fn of(text: &str, limits: &Limits) -> Self {
        Self::with(loaded(text), limits)
    }

    fn with(loaded: Loaded, limits: &Limits) -> Self {
        let budget = Budget::new(loaded.program(), limits).unwrap();
        let engine = Engine::new(loaded, limits).unwrap_or_else(|error| panic!("{}", error.message));
        Self { engine, budget, id: 0, random: 9 }
    }

    fn next(&mut self) -> u64 {
        self.random = mix(self.random, 1);
        self.random
    }

    /// A payment of this key and shop.
    fn pay(&mut self, key: u64, time: i64) {
        self.id += 1;
        let amount = self.next() % 1_000;
        let words = [self.id, 0, time as u64, 0b1111, key, 5, key, 6, amount, amount & 1];
        let input =
            Input { principal: 1, kind: 0, admission: Admission::Normal, received: Time(0), words: &words };
        match self.engine.step(&input) {
            Step::Decided(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn slab_bytes(&self) -> u64 {
        self.engine.footprint().slab_bytes
    }

    fn told(&self, bytes: impl Fn(&GroupBudget) -> u64) -> u64 {
        self.budget.groups.iter().map(bytes).sum()
    }
}

const START: i64 = 20_000 * DAY;

#[test]
fn a_key_takes_what_was_told_event_by_event() {
    for rows_max in [3, 64, 100, 400, 5_000] {
        let mut fed = Fed::new(&limits(rows_max));
        let rows_max = u64::from(rows_max);
        for event in 1..=rows_max.max(100) + 3_000 {
            fed.pay(1, START + event as i64 * SECOND);
            let (told, takes) = (fed.told(|group| group.spill_bytes_of(event)), fed.slab_bytes());
            // Half of what is inside moves at once, and finds the bound that much sooner.
            if event + fed.budget.groups.iter().map(|group| group.inline_max).max().unwrap() <= rows_max {
                assert_eq!(told, takes, "{event} of {rows_max}");
            } else {
                // A chunk goes whole, and with it a node sooner or later.
                let more = fed.told(|group| group.leaf_bytes() + 2 * group.node_bytes);
                assert!(takes <= told + more, "{event} of {rows_max}: {takes}, told {told}");
            }
            assert!(takes <= fed.told(|group| group.spill_bytes_at_most(event)), "{event} of {rows_max}");
        }
        assert_eq!(fed.engine.counters().keys_lost, 0);
    }
}

#[test]
fn many_keys_take_what_was_told() {
    let mut fed = Fed::new(&limits(1_000));
    let events_of = |key: u64| key * key % 97 * 5;
    let mut time = START;
    let mut keys = 0;
    for key in 0..300 {
        keys += u64::from(events_of(key) > 0);
        for _ in 0..events_of(key) {
            time += SECOND;
            fed.pay(key, time);
        }
    }
    let footprint = fed.engine.footprint();
    let (tables, index): (Vec<_>, u64) = (
        fed.budget.tables.iter().filter(|table| table.record_bytes > 0).collect(),
        fed.budget.tables.iter().map(|table| table.index_bytes).sum(),
    );
    // Of cards, shops, and pairs of them.
    assert_eq!(tables.len(), 3);
    assert_eq!((footprint.keys, footprint.index_bytes), (3 * keys, index));
    assert_eq!(footprint.record_bytes, tables.iter().map(|table| keys * table.record_bytes).sum::<u64>());
    let of_key = |key| fed.told(|group| group.spill_bytes_of(events_of(key)));
    assert_eq!(footprint.slab_bytes, (0..300).map(of_key).sum::<u64>());
    for group in &fed.budget.groups {
        let others = fed.budget.groups.iter().filter(|other| other.table == group.table);
        let header = if fed.budget.tables[group.table].is_pair { 5 } else { 3 };
        let record = header * 8 + others.map(|other| other.key_bytes).sum::<u64>();
        let whole = fed.budget.tables[group.table].record_bytes;
        assert!(record <= whole && whole < record + group.row_bytes + 64, "{record} of {whole}");
    }
}

#[test]
fn events_in_any_order_take_no_more_than_the_most() {
    for spread in [1, 7, 1_000, 20 * DAY / SECOND] {
        let mut fed = Fed::new(&limits(6_000));
        for event in 1..=9_000 {
            let late = fed.next() as i64 % spread;
            fed.pay(1, START + (event as i64 - late.abs()) * SECOND);
            let most = fed.told(|group| group.spill_bytes_at_most(event));
            assert!(fed.slab_bytes() <= most, "{event}, spread {spread}: {} of {most}", fed.slab_bytes());
        }
        assert!(fed.engine.counters().late > 0 || spread == 1);
    }
}

/// The most that is told for the features of the judged event, each pass counted once.
fn work_told(fed: &Fed) -> u64 {
    let (groups, event) = (&fed.budget.groups, &fed.engine.plan.events[0]);
    let scans = event.scans.iter().map(|scan| {
        let (sums, sets) = of_scan(groups, event, scan);
        // The engine does not count the entries on the way to single rows.
        sums.rows + sums.entries + sets.iter().map(|set| set.rows).sum::<u64>()
    });
    let gathers = event.gathers.iter().map(|gather| of_gather(groups, gather).rows);
    let sketches = event.sketches.iter().map(|sketch| of_sketch(groups, sketch));
    scans.chain(gathers).chain(sketches.map(|work| work.rows + work.entries)).sum()
}

/// The policy with no other features than these and those that its rule asks for.
fn policy_of(features: &[&str]) -> String {
    let is_kept = |line: &&str| {
        let name = line.strip_prefix("feature ").and_then(|rest| rest.split(' ').next());
        name.is_none_or(|name| ["remote_30d", "big"].contains(&name) || features.contains(&name))
    };
    POLICY.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[test]
fn no_decision_looks_at_more_than_was_told() {
    // Sums by themselves, as their bound is far below those of others.
    let sums = policy_of(&["spend_2d", "most_1d", "risk_30d", "today"]);
    let by_number = policy_of(&["five_last"]);
    for (text, rows_max, spread) in [
        (POLICY, 64, 1),
        (POLICY, 300, 50),
        (POLICY, 2_000, 3_000),
        (&sums, 64, 9),
        (&sums, 500, 300),
        (&sums, 5_000, 1),
        (&sums, 20_000, 1),
        (&sums, 20_000, 9_000),
        (&by_number, 3_000, 1),
        (&by_number, 3_000, 3_000),
    ] {
        let mut fed = Fed::of(text, &limits(rows_max));
        let most = work_told(&fed);
        let (mut before, mut greatest) = (0, 0);
        for event in 0..i64::from(rows_max) + 4_000 {
            let late = fed.next() as i64 % spread;
            // Some days with so many rows that what is between the ends of windows is in the nodes.
            fed.pay(1, START + (event - late.abs()) * 40 * SECOND);
            let scanned = fed.engine.counters().rows_scanned;
            greatest = greatest.max(scanned - before);
            before = scanned;
        }
        assert!(greatest <= most, "{greatest} rows and entries, told {most}, rows_per_key_max {rows_max}");
        assert!(greatest > most / 10, "{greatest}, told {most}: hardly a bound, rows_per_key_max {rows_max}");
    }
}

/// Of one that counts every row, and of one that counts so few that each is in a chunk of its own.
#[test]
fn a_sketch_looks_at_no_more_than_was_told() {
    let counted = "feature counted = distinct(payment.card";
    for (wanted, spread, hardly) in [(")", 1, 10), (")", 3_000, 10), (" where amount < 30)", 3_000, 10)] {
        let feature = format!("{counted}{wanted} by shop last 30d delayed 1h assume high\n");
        let text = policy_of(&[]) + &feature;
        let mut program =
            policy::compile(&text, &Tokenizer::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let sketched = program.features.last_mut().unwrap();
        sketched.argument = 100;
        let loaded = archive::open(archive::seal(&program)).expect("a program");
        let mut fed = Fed::with(loaded, &limits(20_000));
        let most = work_told(&fed);
        let (mut before, mut greatest) = (0, 0);
        for event in 0..24_000 {
            let late = fed.next() as i64 % spread;
            fed.pay(1, START + (event - late.abs()) * 40 * SECOND);
            let scanned = fed.engine.counters().rows_scanned;
            greatest = greatest.max(scanned - before);
            before = scanned;
        }
        assert!(greatest <= most, "{greatest} rows and entries, told {most}{wanted}");
        assert!(greatest > most / hardly, "{greatest}, told {most}: hardly a bound{wanted}");
        // Where all rows count, a hundred of them, and paths.
        assert!(wanted.len() > 1 || greatest < 1_000, "{greatest}");
    }
}

#[test]
fn the_levels_of_a_tree() {
    for (rows, levels) in [(1, 0), (64, 0), (65, 1), (960, 1), (961, 2), (16_384, 3), (1 << 20, 4)] {
        assert_eq!(work::levels_max(rows), levels, "{rows}");
    }
}

#[test]
fn each_feature_says_what_it_needs() {
    let limits = limits(5_000);
    let budget = Budget::new(loaded(POLICY).program(), &limits).unwrap();
    let told = |name: &str| budget.features.iter().find(|feature| feature.name == name).unwrap();
    for (name, way, days, exactness) in [
        ("remote_30d", Way::Scanned, 30, Exactness::Exact),
        ("most_1d", Way::Scanned, 2, Exactness::Exact),
        ("risk_30d", Way::Scanned, 37, Exactness::Exact),
        ("cards_2d", Way::Scanned, 2, Exactness::Exact),
        ("today", Way::Scanned, 1, Exactness::Exact),
        ("five_remote", Way::Gathered, 31, Exactness::Exact),
        ("growth", Way::Gathered, 3, Exactness::Exact),
        ("spread", Way::Gathered, 3, Exactness::RoundedDown),
        ("recent", Way::Gathered, 30, Exactness::OfTable),
        ("big", Way::Event, 0, Exactness::Exact),
    ] {
        let feature = told(name);
        assert_eq!((feature.way, feature.horizon_us), (way, days * DAY), "{name}");
        assert_eq!(feature.exactness, exactness, "{name}");
        assert_eq!(feature.work == Work::default(), way == Way::Event, "{name}");
        assert!(feature.own_event_bytes <= feature.event_bytes, "{name}");
    }
    // A key of two words that only one feature asks for; amounts that several do.
    assert_eq!(told("cards_2d").own_event_bytes, 16);
    assert_eq!(told("spend_2d").own_event_bytes, 0);
    assert_eq!(told("five_last").event_bytes, told("growth").event_bytes);
    // Where every row counts, as many as are asked for are enough.
    assert!(told("five_last").work.rows < 300 && told("five_remote").work.rows > 5_000);
    // A sum passes what is between; a set of different things, and what is gathered, do not.
    assert!(told("spend_2d").work.rows < 1_000 && told("cards_2d").work.rows > 5_000);
    assert!(told("growth").work.rows > 2 * 5_000);
    let assumed = |assume: &str| {
        let text = POLICY.replace("by shop last 2d\n", &format!("by shop last 2d assume {assume}\n"));
        let budget =
            Budget::new(loaded(&text).program(), &Limits { rows_per_key_max: 1 << 20, ..limits }).unwrap();
        budget.features.into_iter().find(|feature| feature.name == "cards_2d").unwrap()
    };
    assert_eq!(assumed("low").exactness, Exactness::UpTo(1_024, Assume::Low));
    let high = assumed("high");
    assert_eq!((high.way, high.exactness), (Way::Sketched, Exactness::UpTo(1_024, Assume::High)));
    assert_eq!(high.exactness.words(), "exact up to 1024 events, above that an upper bound");
    // Every payment has a card; and where not all count, as many chunks as rows.
    assert!(high.work.rows < 2_000 && high.work.entries < 1_000, "{high:?}");
    let others = format!("{}feature alone = count(label where fraud) by card last 1h\n", POLICY);
    let budget = Budget::new(loaded(&others).program(), &limits).unwrap();
    let alone = budget.features.last().unwrap();
    assert_eq!(alone.own_event_bytes, alone.event_bytes);
}

#[test]
fn what_is_told_is_what_is_asked_for() {
    let mut random = 3;
    let loaded = loaded(POLICY);
    for round in 0..200 {
        random = mix(random, round);
        let limits = Limits {
            keys_max: 1 + (random >> 40) as u32 % 5_000_000,
            spill_bytes_max: random >> 20 & ((8 << 30) - 1),
            rows_per_key_max: 64 + random as u32 % 100_000,
            dedup_entries_max: 1 + (random >> 12) as u32 % 3_000_000,
            ..Limits::default()
        };
        let budget = Budget::new(loaded.program(), &limits).unwrap();
        let total = budget.total_bytes();
        assert_eq!(
            total,
            budget.items().iter().map(|item| item.bytes).sum::<u64>(),
            "the parts are the whole"
        );
        assert_eq!(budget.refusal(total), None);
        assert!(budget.refusal(total - 1).is_some());
        // Whatever is advised is enough, and no more than enough.
        let max = total / 16 * (1 + random % 16);
        for (name, value) in budget.lowered(max) {
            let number = value.trim_matches('"').trim_end_matches("MiB").parse::<u64>().unwrap();
            let with = |number: u64| {
                let mut limits = limits;
                match name {
                    "keys_max" => limits.keys_max = number as u32,
                    "rows_per_key_max" => limits.rows_per_key_max = number as u32,
                    "dedup_entries_max" => limits.dedup_entries_max = number as u32,
                    "spill_bytes_max" => limits.spill_bytes_max = number << 20,
                    other => panic!("{other}"),
                }
                Budget::new(loaded.program(), &limits).unwrap().total_bytes()
            };
            assert!(with(number) <= max && with(number + 1) > max, "{name} {value}");
        }
    }
}

#[test]
fn a_refusal_word_for_word() {
    let budget = Budget::new(loaded(POLICY).program(), &Limits::default()).unwrap();
    let said = budget.refusal(2 << 30).unwrap();
    let expected = [
        "the policy with these limits takes 3.1 GiB of memory, and [engine] memory_bytes_max is 2.0 GiB",
        "  card            1048576 keys (keys_max)                    334.8 MiB",
        "  shop            1048576 keys (keys_max)                    334.8 MiB",
        "  (card, shop)    1048576 pairs (keys_max)                   334.8 MiB",
        "  older events    spill_bytes_max                              2.0 GiB",
        "  duplicates      1048576 events (dedup_entries_max)          76.8 MiB",
        "  edits of lists  16384 entries                                2.5 MiB",
        "  working memory  16384 events of a key (rows_per_key_max)     2.1 MiB",
        "  help: lower spill_bytes_max to at most \"960MiB\"; or raise memory_bytes_max to at least \"3138MiB\"",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let said = budget.refusal(3 << 30).unwrap();
    let help = "  help: lower keys_max to at most 979845, or spill_bytes_max to at most \"1982MiB\", or dedup_entries_max to at most 149705; or raise memory_bytes_max to \
                at least \"3138MiB\"";
    assert_eq!(said.lines().last(), Some(help));
    let said = budget.refusal(1 << 20).unwrap();
    assert!(
        said.contains("\n  help: lower several of these limits; or raise memory_bytes_max to at least \""),
        "{said}"
    );
}

#[test]
fn bytes_are_told_to_a_tenth() {
    for (bytes, told) in [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (1_075, "1.0 KiB"),
        (1_076, "1.1 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (u64::MAX, "16384.0 PiB"),
    ] {
        assert_eq!(tell_bytes(bytes), told);
    }
}

#[test]
fn limits_beyond_reason_have_a_budget_too() {
    let limits = Limits {
        keys_max: u32::MAX,
        spill_bytes_max: u64::MAX,
        rows_per_key_max: u32::MAX,
        dedup_entries_max: u32::MAX,
        ..Limits::default()
    };
    let budget = Budget::new(loaded(POLICY).program(), &limits).unwrap();
    assert_eq!(budget.total_bytes(), u64::MAX);
    assert!(budget.refusal(1 << 40).is_some());
}
