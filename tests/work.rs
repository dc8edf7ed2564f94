//! How much one event can cost: a merchant with very many payments, every window of which is told from sums kept by chunk.
//!
//! `WORK_PAYMENTS_A_DAY=1000000` is a million payments a day for nine days, which is what `.ci/soak` runs. The bound is
//! stated in [`bound`]; it depends on the depth of the tree and on nothing else that grows.
//!
//! Not bounded so, and not here: what is gathered row by row (`distinct` without `assume`, percentiles, `last N events`,
//! sessions and all others that docs/FEATURES.md lists) looks at every row of its frame. `distinct` with `assume` is here.

use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::program::DISTINCT_EXACT_MAX;
use tollgate::engine::units::{Currency, DAY, EventId, HOUR, Key, Time, Value, mix};
use tollgate::engine::wire::{Admission, FLAG_INEXACT, Input};
use tollgate::engine::{Clock, Engine, Limits, Loaded, ROWS_PER_KEY_LIMIT, Step};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

const POLICY: &str = "policy work revision 1
entity merchant, card
event payment { merchant: merchant, card: card, amount: money, online: bool }
event result amends payment { declined: bool }
feature count_1h = count(payment) by merchant last 1h
feature count_7d = count(payment) by merchant last 7d
feature sum_7d = sum(payment.amount in USD) by merchant last 7d
feature max_1d = max(payment.amount in USD) by merchant last 1d
feature online_7d = sum(payment.amount in USD where online) by merchant last 7d
feature declined_1d = count(payment where result.declined) by merchant last 1d
feature ripe_declined_2d = sum(payment.amount in USD where result.declined) by merchant last 2d delayed 3d
feature cards_7d = distinct(payment.card) by merchant last 7d assume high
feature ripe_cards_2d = distinct(payment.card) by merchant last 2d delayed 3d assume low
decide payment { score = rule_scores, unassessed allow }
";

/// The windows' ends, as seen from t: t itself, and 1 h, 1 d, 3 d, 5 d and 7 d before.
const EDGES: u64 = 6;
const LATENESS: i64 = HOUR;
/// By the wall clock: what is further from its receipt is stored at its receipt.
const SKEW: i64 = HOUR / 2;
/// The merchant.
const HOT: Key = Key([7, 7]);
const START: i64 = 1_522_540_800_000_000;

/// Rows of a leaf, and of the inline rows the most; children of a node. As `src/engine/tree.rs` has them.
const LEAF: u64 = 64;
const INLINE: u64 = 64;
const FANOUT: u64 = 32;
/// Of so many payments a count of different cards is exact.
const EXACT: u64 = DISTINCT_EXACT_MAX as u64;

/// Levels of nodes over so many rows. A root is put on top only when the one before has 32 children. All but the first
/// and the last of them have at least 16 themselves, and so on down to leaves of at least 32 rows.
fn depth(rows: u64) -> u64 {
    let mut depth = 1;
    let mut needed = 30 * 32;
    while needed <= rows {
        depth += 1;
        needed *= 16;
    }
    depth
}

/// The most rows and entries that one event may look at and move, for one key and group with a tree of this depth.
///
/// - To tell the features: the inline rows; for every end of a window the entries of the nodes on one path, and the rows of
///   one leaf. All between two paths is told by its entry.
/// - To tell a bound of different cards: the inline rows, the event's own, and, since every payment has a card, as many rows as
///   are told exactly and what else is in the two leaves at the ends of these. On the way there, an entry for each leaf (all
///   but the ones at the ends are half full), and at most two nodes a level besides. To count the others, the inline rows
///   again and a path for each end of the window.
/// - To store a row: the inline rows, once to drop those that are dead and once to move the older half out (twenty or fewer may
///   have to be set straight first: with a third time, still fewer than here). The path for
///   each of that half leads down the newest side, where it looks at one entry a level and updates it. What is dead at the
///   oldest end goes: on the oldest path entries are looked at, shifted and written anew, three paths in all; what was
///   below is freed later, a few slabs an event. At most one leaf in a half is filled, and then split: a split writes two
///   entries a level anew, each from what is below it, and shifts or halves the children, four paths in all.
/// - To amend: the inline rows and a path, or two where the row is the last of its leaf, whose entries are written anew.
const fn bound(depth: u64) -> u64 {
    let path = FANOUT * depth + LEAF;
    let newest = INLINE + 1 + EXACT + 2 * LEAF + EXACT / (LEAF / 2) + 2 * FANOUT * depth;
    let scan = INLINE + EDGES * path + 2 * (newest + INLINE + 2 * path);
    let store = 2 * INLINE + INLINE / 2 * 2 * depth + FANOUT + 3 * path + 4 * path;
    let amend = INLINE + 4 * path;
    if amend > scan + store { amend } else { scan + store }
}

/// What the wall clock takes on top, with a tree of this depth of the events that were stored at their receipt.
///
/// - To store such an event: a path on which it is looked for, one for its row, and four for a split.
/// - To amend one: in each of two such trees a path, and in the one that has it a second, which is written anew. Then its row is
///   looked for twice: at the time that was named, and at its receipt.
const fn bound_by_the_wall_clock(depth: u64, skewed_depth: u64) -> u64 {
    let (path, skewed) = (FANOUT * depth + LEAF, FANOUT * skewed_depth + LEAF);
    let store = bound(depth) + 6 * skewed;
    let amend = 3 * skewed + 2 * (INLINE + 4 * path);
    if amend > store { amend } else { store }
}

/// A payment as it was sent, and what is known of it by now.
struct Paid {
    /// Its time, and what it said of it.
    time: i64,
    said: i64,
    minor: i64,
    card: u64,
    online: bool,
    declined: bool,
}

struct Shop {
    engine: Engine,
    loaded: Loaded,
    payment: u16,
    result: u16,
    fields: [FieldSlot; 7],
    usd: Currency,
    paid: Vec<Paid>,
    clock: Clock,
    amendments: u64,
    /// Of these, of payments that were stored at their receipt.
    of_skewed: u64,
    others: u64,
    checked: u64,
}

impl Shop {
    fn new(payments: u64, clock: Clock) -> Self {
        let program = policy::compile(POLICY, &Tokenizer::default()).expect("the policy compiles");
        let loaded = archive::open(archive::seal(&program)).expect("the program opens");
        let limits = Limits {
            keys_max: 1 << 18,
            spill_bytes_max: payments * 200 + (1 << 20),
            rows_per_key_max: ROWS_PER_KEY_LIMIT,
            dedup_entries_max: 1 << 12,
            lateness_us: LATENESS,
            skew_us: SKEW,
            jump_us: 0,
            clock,
            ..Limits::default()
        };
        let engine = Engine::new(loaded.clone(), &limits).unwrap_or_else(|error| panic!("{}", error.message));
        let program = loaded.program();
        let (payment, of_payment) = encode::event(program, "payment").expect("payments");
        let (result, of_result) = encode::event(program, "result").expect("results");
        let slot = |plan, name| encode::field(plan, name).unwrap_or_else(|| panic!("no field {name}"));
        let fields = [
            slot(of_payment, "merchant"),
            slot(of_payment, "amount"),
            slot(of_payment, "online"),
            slot(of_result, "payment.merchant"),
            slot(of_result, "declined"),
            slot(of_payment, "card"),
            slot(of_result, "payment.card"),
        ];
        let usd = Currency::from_alpha("USD").expect("USD");
        let paid = Vec::with_capacity(payments as usize + payments as usize / 4);
        Self {
            engine,
            loaded,
            payment,
            result,
            fields,
            usd,
            paid,
            clock,
            amendments: 0,
            of_skewed: 0,
            others: 0,
            checked: 0,
        }
    }

    fn step(&mut self, kind: u16, words: &EventWords, received: i64) {
        let words = words.words();
        let received = Time(received);
        let input = Input { principal: 1, kind, admission: Admission::Normal, received, words };
        match self.engine.step(&input) {
            Step::Decided(outcome) => assert_eq!(outcome.flags & FLAG_INEXACT, 0),
            other => panic!("not decided: {other:?}"),
        }
    }

    /// A payment of this time, taken in now.
    fn pay(&mut self, time: i64, now: i64) {
        let number = self.paid.len() as u64;
        let random = mix(number, 0x0070_6179);
        let said = match (self.clock, random >> 40 & 31) {
            (Clock::Event, _) => time,
            // Clocks that were never set, that run backwards, that say anything, and that are ahead.
            (Clock::Wall, 0) => 0,
            (Clock::Wall, 1) => START - 365 * DAY - number as i64,
            (Clock::Wall, 2) => (random >> 20) as i64 & ((1 << 50) - 1),
            (Clock::Wall, 3) => now + SKEW + 1,
            (Clock::Wall, _) => time,
        };
        let time = if self.clock == Clock::Wall && (said - now).abs() > SKEW { now } else { said };
        let minor = 1 + (random >> 8) as i64 % 50_000;
        let card = random >> 50 & 0xfff;
        let paid = Paid { time, said, minor, card, online: random & 3 == 0, declined: false };
        let words = self.words(EventId([number, 1]), &paid, HOT);
        self.paid.push(paid);
        self.step(self.payment, &words, now);
    }

    /// A payment to a merchant that is not looked at again.
    fn pay_another(&mut self, time: i64) {
        self.others += 1;
        let paid = Paid { time, said: time, minor: 5, card: 0, online: false, declined: false };
        let words = self.words(EventId([self.others, 3]), &paid, Key([self.others, 8]));
        self.step(self.payment, &words, time);
    }

    fn words(&self, id: EventId, paid: &Paid, merchant: Key) -> EventWords {
        let plan = &self.loaded.program().events[usize::from(self.payment)];
        let mut words = EventWords::new(plan, id, Time(paid.said));
        words.set_key(self.fields[0], merchant);
        words.set_key(self.fields[5], Key([paid.card, 9]));
        words.set_money(self.fields[1], paid.minor, self.usd);
        words.set_number(self.fields[2], i64::from(paid.online));
        words
    }

    /// Says of an earlier payment that it was declined, or was not after all.
    fn amend(&mut self, time: i64, target: usize, declined: bool) {
        self.amendments += 1;
        let plan = &self.loaded.program().events[usize::from(self.result)];
        let mut words = EventWords::new(plan, EventId([self.amendments, 2]), Time(time));
        let Paid { time: stored, said, card, .. } = self.paid[target];
        self.of_skewed += u64::from(stored != said);
        words.set_target(EventId([target as u64, 1]), Time(said));
        words.set_key(self.fields[3], HOT);
        words.set_key(self.fields[6], Key([card, 9]));
        words.set_number(self.fields[4], i64::from(declined));
        self.paid[target].declined = declined;
        self.step(self.result, &words, time);
    }

    /// Holds the features of the payment just judged against all payments so far.
    fn check(&mut self) {
        self.checked += 1;
        let t = self.paid[self.paid.len() - 1].time;
        let (mut count_1h, mut count_7d, mut sum, mut most) = (0, 0, 0, None);
        let (mut online, mut declined, mut ripe) = (0, 0, 0);
        for paid in &self.paid {
            let age = t - paid.time;
            if !(0..7 * DAY).contains(&age) {
                continue;
            }
            count_1h += i64::from(age < HOUR);
            count_7d += 1;
            sum += paid.minor;
            online += if paid.online { paid.minor } else { 0 };
            if age < DAY {
                most = most.max(Some(paid.minor));
                declined += i64::from(paid.declined);
            }
            if paid.declined && (3 * DAY..5 * DAY).contains(&age) {
                ripe += paid.minor;
            }
        }
        let most = most.map_or(Value::MISSING, Value::int);
        let expected = [
            Value::int(count_1h),
            Value::int(count_7d),
            Value::int(sum),
            most,
            Value::int(online),
            Value::int(declined),
            Value::int(ripe),
            Value::int(self.cards((t - 7 * DAY, t))[1]),
            Value::int(self.cards((t - 5 * DAY, t - 3 * DAY))[0]),
        ];
        for (number, (found, expected)) in self.engine.features().iter().zip(expected).enumerate() {
            assert_eq!(*found, expected, "feature {number} of payment {}", self.paid.len());
        }
    }

    /// The bounds of how many different cards there are after one time and up to another.
    fn cards(&self, (after, until): (i64, i64)) -> [i64; 2] {
        let all = self.paid.iter().enumerate();
        let all = all.filter(|(_, paid)| after < paid.time && paid.time <= until);
        let at = |(number, paid): (usize, &Paid)| (paid.time, EventId([number as u64, 1]).tag(), paid.card);
        let mut all: Vec<(i64, u64, u64)> = all.map(at).collect();
        let earlier = all.len().saturating_sub(EXACT as usize);
        if earlier > 0 {
            all.select_nth_unstable(earlier);
        }
        let mut cards: Vec<u64> = all[earlier..].iter().map(|at| at.2).collect();
        cards.sort_unstable();
        cards.dedup();
        [cards.len(), cards.len() + earlier].map(|cards| cards as i64)
    }

    /// So many payments, one each `step`, from `start` on; returns when it was over.
    fn busy(&mut self, start: i64, step: i64, payments: u64, checks: u64) -> i64 {
        let mut now = start;
        for number in 0..payments {
            now += step;
            let random = mix(self.paid.len() as u64, 99);
            // One in 16 is late, by up to the lateness to the microsecond.
            let late = match random >> 8 & 15 {
                0 if number > 0 => (random >> 20) as i64 % (LATENESS + 1),
                _ => 0,
            };
            self.pay(now - late.min(now - start), now);
            if mix(random, number).is_multiple_of((payments / checks).max(1)) {
                self.check();
            }
            if random >> 12 & 7 == 0 {
                // Some are told once more, and some are of payments that no window has any more.
                let target = mix(random, 5) as usize % self.paid.len();
                let forgotten = random >> 16 & 3 == 0;
                let target = if forgotten { target } else { self.paid.len() - 1 - target / 2 };
                let declined = random >> 18 & 3 != 0;
                self.amend(now, target, declined);
            }
        }
        now
    }

    fn tell(&self, what: &str) {
        let counters = self.engine.counters();
        let events = counters.decided as f64;
        println!(
            "{what}: {} payments, {} amendments ({} of skewed), {} checked; rows scanned {:.1} and moved {:.1} an event, at most {} for one; slabs {} bytes",
            self.paid.len(),
            self.amendments,
            self.of_skewed,
            self.checked,
            counters.rows_scanned as f64 / events,
            counters.rows_moved as f64 / events,
            counters.event_work_max,
            self.engine.footprint().slab_bytes,
        );
    }
}

fn payments_a_day() -> u64 {
    std::env::var("WORK_PAYMENTS_A_DAY").map_or(25_000, |text| text.parse().expect("a number"))
}

#[test]
fn an_event_of_a_hot_merchant_costs_no_more_than_its_paths() {
    let a_day = payments_a_day();
    // Eight days is the reach of seven days and an hour, and dead chunks that are not removed yet.
    busy_and_quiet(a_day, Clock::Event, bound(depth(8 * a_day)));
}

#[test]
fn by_the_wall_clock_too() {
    let a_day = payments_a_day();
    // One in six at the most is stored at its receipt, and remembered for up to twice eight days.
    let bound = bound_by_the_wall_clock(depth(8 * a_day), depth(16 * a_day / 6));
    busy_and_quiet(a_day, Clock::Wall, bound);
}

fn busy_and_quiet(a_day: u64, clock: Clock, bound: u64) {
    let step = DAY / a_day as i64;
    let mut shop = Shop::new(9 * a_day, clock);
    let end = shop.busy(START, step, 9 * a_day, 250);
    shop.tell("busy");
    let most = shop.engine.footprint().slab_bytes;

    // Idle for longer than every window, then back.
    let back = end + 8 * DAY;
    shop.pay(back, back);
    shop.check();
    assert_eq!(shop.engine.features()[1], Value::int(1));
    shop.tell("back");
    let end = shop.busy(back, step, a_day, 50);
    shop.tell("busy again");
    // What was left behind is freed a few slabs an event.
    assert!(shop.engine.footprint().slab_bytes < most / 4);

    // Quiet: a payment every two hours, then one every twelve, until the tree is a slab again, and a small one. Others go on,
    // and what is dead is freed with them.
    let mut now = end;
    for step in std::iter::repeat_n(DAY / 12, 12 * 9).chain(std::iter::repeat_n(DAY / 2, 2 * 9)) {
        now = shop.busy(now, step, 1, 1);
        (0..a_day / 500).for_each(|_| shop.pay_another(now));
    }
    shop.tell("quiet");
    assert!(shop.engine.footprint().slab_bytes < 64 << 10);

    let counters = shop.engine.counters();
    assert_eq!((counters.rows_lost, counters.too_late, counters.inexact), (0, 0, 0));
    let by_wall = u64::from(clock == Clock::Wall);
    assert!(counters.skewed_ahead + counters.skewed_behind >= by_wall * a_day);
    assert!(shop.of_skewed >= by_wall * a_day / 8);
    assert!(counters.late > a_day / 4 && counters.amended > a_day / 4 && counters.amend_unknown > 0);
    assert!(counters.demoted > 0, "{counters:?}");
    println!("depth {}, bound {bound}, at most {}", depth(8 * a_day), counters.event_work_max);
    assert!(counters.event_work_max <= bound, "{} is more than {bound}", counters.event_work_max);
}
