//! The edges of every frame, to the microsecond, and what each aggregate makes of a handful of events: worked out by
//! hand, and held against the engine and against the oracle.
//!
//! Policies are written as text; cards and times are the only things that matter in most stories.

mod support;

use support::fraction::Fraction;
use support::frames::{Cell, Frame, Layout, encode};
use support::generate;
use support::oracle::Oracle;
use support::rng::Rng;
use support::streams::{self, Shape};
use tollgate::engine::units::{DAY, EventId, HOUR, Key, MINUTE, SECOND, TIME_END, Time};
use tollgate::engine::wire::{Admission, FLAG_INEXACT};
use tollgate::engine::{Clock, Engine, Limits, Step};
use tollgate::policy::typed::Policy;
use tollgate::policy::{archive, check, diagnostics::render, lower::lower};
use tollgate::token::Tokenizer;

/// A policy in which `touch` is counted and `payment` judged, with these features.
fn policy(features: &str) -> Policy {
    let text = format!(
        "policy frames revision 1
         entity card, shop
         event payment {{ card: card, shop: shop?, amount: int?, rate: decimal?, cost: money?, place: geo?, ok: bool? }}
         event touch {{ card: card, amount: int? }}
         event result amends payment {{ good: bool }}
         {features}
         decide payment {{ score = 0, unassessed review }}
         "
    );
    check(&text).unwrap_or_else(|errors| panic!("{}", render("frames.policy", &text, &errors)))
}

const PAYMENT: u16 = 0;
const TOUCH: u16 = 1;

/// Engine and oracle, told the same.
struct Both<'p> {
    layouts: &'p [Layout],
    engine: Engine,
    oracle: Oracle<'p>,
    id: u64,
}

fn with<R>(features: &str, lateness_us: i64, story: impl FnOnce(&mut Both<'_>) -> R) -> R {
    with_memory(features, lateness_us, 100_000, story)
}

/// With so many events remembered for duplicates.
fn with_memory<R>(
    features: &str,
    lateness_us: i64,
    dedup_entries_max: u32,
    story: impl FnOnce(&mut Both<'_>) -> R,
) -> R {
    let policy = policy(features);
    let tokenizer = Tokenizer::default();
    let program = lower(&policy, &tokenizer).expect("the policy lowers");
    let layouts = Layout::compiled(&policy, &program);
    let loaded = archive::open(archive::seal(&program)).expect("the program opens");
    let limits = Limits {
        keys_max: 100,
        spill_bytes_max: 1 << 22,
        dedup_entries_max,
        lateness_us,
        clock: Clock::Event,
        ..Limits::default()
    };
    let engine = Engine::new(loaded, &limits).unwrap_or_else(|error| panic!("{}", error.message));
    let oracle = Oracle::new(&policy, &layouts, limits, &tokenizer);
    story(&mut Both { layouts: &layouts, engine, oracle, id: 0 })
}

impl Both<'_> {
    /// Takes an event in; the features of the judged.
    fn feed(&mut self, kind: u16, time: i64, cells: &[Option<Cell>]) -> Vec<Option<Fraction>> {
        self.id += 1;
        let words = encode(&self.layouts[usize::from(kind)], EventId([self.id, 7]), time, None, cells);
        let frame = Frame {
            principal: 1,
            kind,
            admission: Admission::Normal,
            received: Time(time),
            words,
            orders: Vec::new(),
        };
        let step = self.engine.step(&frame.input());
        assert_eq!(step, self.oracle.step(&frame.input()), "at {time}");
        assert!(matches!(step, Step::Decided(outcome) if outcome.flags & FLAG_INEXACT == 0), "{step:?}");
        let told: Vec<_> = self.engine.features().iter().map(|value| Fraction::of(*value)).collect();
        let expected: Vec<_> = self.oracle.features().iter().map(|answer| answer.told()).collect();
        assert_eq!(told, expected, "at {time}: engine, oracle");
        told
    }

    fn touch(&mut self, time: i64) {
        self.feed(TOUCH, time, &[Some(card()), None]);
    }

    fn touch_of(&mut self, time: i64, amount: Option<i64>) {
        self.feed(TOUCH, time, &[Some(card()), amount.map(Cell::Number)]);
    }

    fn judge(&mut self, time: i64) -> Vec<Option<Fraction>> {
        self.feed(PAYMENT, time, &[Some(card()), None, None, None, None, None, None])
    }
}

fn card() -> Cell {
    Cell::Key(Key([1, 2]))
}

fn int(number: i64) -> Option<Fraction> {
    Some(Fraction::int(number))
}

fn ratio(num: i128, den: i128) -> Option<Fraction> {
    Fraction::new(num, den)
}

fn place(latitude: f64, longitude: f64) -> Cell {
    let (latitude, longitude) = ((latitude * 1e6).round() as i64, (longitude * 1e6).round() as i32);
    Cell::Number(latitude << 32 | i64::from(longitude.cast_unsigned()))
}

/// An instant in UTC.
fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_microsecond()
}

/// Whether one touch at `time` is in the frame of a payment judged at `judged`.
fn holds(frame: &str, time: i64, judged: i64) -> bool {
    let feature = format!("feature n = count(touch) by card {frame}");
    let told = with(&feature, 500 * DAY, |both| {
        both.touch(time);
        both.judge(judged)
    });
    assert!(told[0] == int(0) || told[0] == int(1), "{told:?}");
    told[0] == int(1)
}

/// A touch at `first` is in the frame, one a microsecond before is not; so with its end.
fn begins(frame: &str, first: i64, judged: i64, last: i64) {
    for (time, inside) in [
        (first - 1, false),
        (first, true),
        (first + 1, true),
        (last - 1, true),
        (last, true),
        (last + 1, false),
    ] {
        assert_eq!(holds(frame, time, judged), inside, "{frame}: {time} for {judged}");
    }
}

#[test]
fn ranges_begin_and_end_to_the_microsecond() {
    let t = at("2025-03-05T10:20:30.400500Z");
    begins("last 1h", t - HOUR + 1, t, t);
    begins("last 1h delayed 1d", t - DAY - HOUR + 1, t, t - DAY);
    begins("last 5 events within 1h", t - HOUR + 1, t, t);
    begins("last 1 events within 1h delayed 2m", t - 2 * MINUTE - HOUR + 1, t, t - 2 * MINUTE);
    begins("every 1h", at("2025-03-05T10:00:00Z"), t, t);
    begins("every 1d", at("2025-03-05T00:00:00Z"), t, t);
    begins("every 1d delayed 12h", at("2025-03-04T00:00:00Z"), t, t - 12 * HOUR);
    begins("every 7d", at("2025-02-27T00:00:00Z"), t, t);
    begins("session gap 10m within 1h", t - 10 * MINUTE, t, t);
    begins("session gap 10m within 1h delayed 1h", t - 70 * MINUTE, t, t - HOUR);
    begins("this hour in \"UTC\"", at("2025-03-05T10:00:00Z"), t, t);
    begins("this hour in \"Asia/Kathmandu\"", at("2025-03-05T10:15:00Z"), t, t);
    begins("this day in \"UTC\"", at("2025-03-05T00:00:00Z"), t, t);
    begins("this day in \"Asia/Shanghai\"", at("2025-03-04T16:00:00Z"), t, t);
    begins("this week in \"UTC\"", at("2025-03-03T00:00:00Z"), t, t);
    begins("this month in \"UTC\"", at("2025-03-01T00:00:00Z"), t, t);
    begins("this day in \"Europe/Berlin\" delayed 1d", at("2025-03-03T23:00:00Z"), t, t - DAY);
    // Judged at the very start of a period only what is at that instant is in it.
    let start = at("2025-03-03T00:00:00Z");
    for frame in ["every 1h", "this hour in \"UTC\"", "this day in \"UTC\"", "this week in \"UTC\""] {
        assert!(holds(frame, start, start) && !holds(frame, start - 1, start), "{frame}");
        assert!(!holds(frame, start, start - 1), "{frame}");
    }
}

#[test]
fn days_are_as_long_as_the_clocks_make_them() {
    for (zone, starts) in [
        (
            "Europe/Berlin",
            ["2024-03-29T23:00Z", "2024-03-30T23:00Z", "2024-03-31T22:00Z", "2024-04-01T22:00Z"],
        ),
        (
            "Europe/Berlin",
            ["2024-10-25T22:00Z", "2024-10-26T22:00Z", "2024-10-27T23:00Z", "2024-10-28T23:00Z"],
        ),
        // Midnight is skipped; the day begins at one o'clock.
        (
            "America/Sao_Paulo",
            ["2018-11-02T03:00Z", "2018-11-03T03:00Z", "2018-11-04T03:00Z", "2018-11-05T02:00Z"],
        ),
        // At midnight the clocks go back to eleven.
        (
            "America/Sao_Paulo",
            ["2018-02-16T02:00Z", "2018-02-17T02:00Z", "2018-02-18T03:00Z", "2018-02-19T03:00Z"],
        ),
        // Half an hour.
        (
            "Australia/Lord_Howe",
            ["2024-04-05T13:00Z", "2024-04-06T13:00Z", "2024-04-07T13:30Z", "2024-04-08T13:30Z"],
        ),
        (
            "Australia/Lord_Howe",
            ["2024-10-04T13:30Z", "2024-10-05T13:30Z", "2024-10-06T13:00Z", "2024-10-07T13:00Z"],
        ),
        (
            "Asia/Shanghai",
            ["1988-04-15T16:00Z", "1988-04-16T16:00Z", "1988-04-17T15:00Z", "1988-04-18T15:00Z"],
        ),
        (
            "Asia/Shanghai",
            ["1988-09-09T15:00Z", "1988-09-10T15:00Z", "1988-09-11T16:00Z", "1988-09-12T16:00Z"],
        ),
        // Midnight comes twice, an hour apart; the day begins with the first.
        (
            "America/Havana",
            ["2024-11-01T04:00Z", "2024-11-02T04:00Z", "2024-11-03T04:00Z", "2024-11-04T05:00Z"],
        ),
        // A day that never was.
        (
            "Pacific/Apia",
            ["2011-12-28T10:00Z", "2011-12-29T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"],
        ),
    ] {
        let starts = starts.map(|start| at(&start.replace('Z', ":00Z")));
        let frame = format!("this day in \"{zone}\"");
        for pair in starts.windows(2) {
            begins(&frame, pair[0], pair[1] - 1, pair[1] - 1);
            begins(&frame, pair[0], (pair[0] + pair[1]) / 2, (pair[0] + pair[1]) / 2);
        }
    }
}

#[test]
fn months_and_weeks_begin_with_their_first_day() {
    for (frame, start, next) in [
        ("this month in \"UTC\"", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("this month in \"UTC\"", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z"),
        ("this month in \"UTC\"", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
        ("this month in \"UTC\"", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z"),
        ("this month in \"UTC\"", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ("this month in \"UTC\"", "2024-04-01T00:00:00Z", "2024-05-01T00:00:00Z"),
        ("this month in \"Europe/Berlin\"", "2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z"),
        ("this month in \"Europe/Berlin\"", "2024-09-30T22:00:00Z", "2024-10-31T23:00:00Z"),
        ("this week in \"Europe/Berlin\"", "2024-10-20T22:00:00Z", "2024-10-27T23:00:00Z"),
        ("this week in \"Europe/Berlin\"", "2024-03-24T23:00:00Z", "2024-03-31T22:00:00Z"),
        ("this week in \"UTC\"", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"),
        ("this week in \"Asia/Shanghai\"", "2024-02-25T16:00:00Z", "2024-03-03T16:00:00Z"),
        ("this week in \"UTC\"", "1970-01-05T00:00:00Z", "1970-01-12T00:00:00Z"),
    ] {
        let (start, next) = (at(start), at(next));
        begins(frame, start, next - 1, next - 1);
        assert!(!holds(frame, next - 1, next), "{frame}");
    }
}

#[test]
fn a_burst_shorter_than_the_window_is_seen_whole_at_every_phase() {
    // A window of 300 s that hopped by 60 s would lose most bursts of 270 s.
    const WINDOW: i64 = 300 * SECOND;
    with("feature n = count(touch) by card last 300s", HOUR, |both| {
        let mut base = at("2025-01-01T00:00:00Z");
        for phase in 0..300 {
            for length in [241, 270, 299] {
                base += HOUR;
                let start = base + phase * SECOND;
                for part in 0..5 {
                    both.touch(start + length * SECOND * part / 4);
                }
                let end = start + length * SECOND;
                assert_eq!(both.judge(end)[0], int(5), "phase {phase}, length {length}");
                assert_eq!(both.judge(start + WINDOW - 1)[0], int(5));
                assert_eq!(both.judge(start + WINDOW)[0], int(4));
            }
        }
    });
}

#[test]
fn nothing_is_left_after_idle_years() {
    let frames = "
        feature a = count(touch) by card last 400d
        feature b = count(touch) by card this month in \"Europe/Berlin\"
        feature c = count(touch) by card session gap 100d within 400d
        feature d = count(touch) by card last 100 events within 300d
        feature e = since_last(touch) by card last 400d
        feature f = decayed_count(touch) by card last 400d half_life 30d";
    with(frames, HOUR, |both| {
        let start = at("2020-02-29T12:00:00Z");
        for hour in 0..50 {
            both.touch(start + hour * HOUR);
        }
        for years in [2, 5, 40, 100] {
            let later = both.judge(start + years * 365 * DAY);
            assert_eq!(later, [int(0), int(0), int(0), int(0), None, int(0)], "{years} years");
        }
    });
}

#[test]
fn the_last_events_are_the_latest_by_time_and_id() {
    let frames = "
        feature sum_2 = sum(touch.amount) by card last 2 events within 1d
        feature over = count(touch where amount > 10) by card last 2 events within 1d
        feature part = ratio(touch where amount > 10, touch) by card last 4 events within 1d
        feature all = count(touch) by card last 10000 events within 1d
        feature first = first(touch.amount) by card last 1d
        feature last = last(touch.amount) by card last 1d";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T00:00:00Z");
        for (time, amount) in [(1, 5), (2, 20), (3, 30), (5, 7), (4, 100)] {
            both.touch_of(t + time, Some(amount));
        }
        // The one at 4 came last and is the second latest.
        assert_eq!(both.judge(t + 10), [int(107), int(2), ratio(3, 4), int(5), int(5), int(7)]);
        // Without a value it holds its place among the last.
        both.touch_of(t + 11, None);
        assert_eq!(both.judge(t + 12), [int(7), int(2), ratio(2, 4), int(6), int(5), int(7)]);
        assert_eq!(both.judge(t + 3 + DAY), [int(7), int(1), ratio(1, 3), int(3), int(100), int(7)]);
    });
}

#[test]
fn a_session_ends_where_nothing_happened_for_too_long() {
    let frames = "
        feature n = count(touch) by card session gap 10m within 1h
        feature big = count(touch where amount > 10) by card session gap 10m within 1h
        feature total = sum(touch.amount) by card session gap 10m within 1h";
    with(frames, DAY, |both| {
        let t = at("2025-06-01T12:00:00Z");
        for (minutes, amount) in [(0, 50), (20, 1), (30, 20), (40, 2)] {
            both.touch_of(t + minutes * MINUTE, Some(amount));
        }
        // 20, 30 and 40; of the big ones only 30 is near enough to 40.
        assert_eq!(both.judge(t + 40 * MINUTE), [int(3), int(1), int(23)]);
        assert_eq!(both.judge(t + 50 * MINUTE), [int(3), int(0), int(23)]);
        assert_eq!(both.judge(t + 50 * MINUTE + 1), [int(0), int(0), int(0)]);
        // A late one closes the gap.
        both.touch_of(t + 10 * MINUTE, None);
        assert_eq!(both.judge(t + 50 * MINUTE), [int(5), int(0), int(73)]);
    });
}

#[test]
fn the_other_events_are_never_the_judged_one() {
    let frames = "
        feature last = since_last(payment) by card last 1h
        feature first = since_first(payment) by card last 1h
        feature pair = since_last(payment) by card last 1 events within 1h
        feature same_shop = seen(payment.shop) by card last 1h
        feature same_amount = seen(payment.amount where ok) by card last 1h
        feature older = seen(payment.shop) by card last 1h delayed 10m
        feature ticks = since_last(touch) by card last 1h";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        let pay = |both: &mut Both<'_>, time, shop: Option<u64>, amount: Option<i64>, ok: bool| {
            let shop = shop.map(|shop| Cell::Key(Key([shop, 0])));
            let ok = Some(Cell::Number(i64::from(ok)));
            both.feed(PAYMENT, time, &[Some(card()), shop, amount.map(Cell::Number), None, None, None, ok])
        };
        let (no, yes) = (int(0), int(1));
        assert_eq!(pay(both, t, Some(1), Some(5), true), [None, None, None, no, no, no, None]);
        let minute = |n: i64| int(n * MINUTE);
        // The judged event alone is the last one: nothing other is in the frame.
        assert_eq!(
            pay(both, t + MINUTE, Some(1), Some(6), false),
            [minute(1), minute(1), None, yes, no, no, None]
        );
        // 6 was seen, but not where `ok`; 5 was; whether the judged event itself is `ok` does not matter.
        assert_eq!(
            pay(both, t + 3 * MINUTE, Some(2), Some(6), true),
            [minute(2), minute(3), None, no, no, no, None]
        );
        assert_eq!(
            pay(both, t + 4 * MINUTE, None, Some(5), false),
            [minute(1), minute(4), None, None, yes, None, None]
        );
        both.touch(t + 5 * MINUTE);
        assert_eq!(
            pay(both, t + 11 * MINUTE, Some(2), None, true),
            [minute(7), minute(11), None, yes, None, no, minute(6)]
        );
        assert_eq!(
            pay(both, t + 60 * MINUTE, Some(1), None, true),
            [minute(49), minute(59), None, yes, None, yes, minute(55)]
        );
    });
}

#[test]
fn spread_rank_and_share_are_those_of_the_textbook() {
    let frames = "
        feature sd = stddev(touch.amount) by card last 1h
        feature p0 = percentile(0, touch.amount) by card last 1h
        feature p50 = percentile(50, touch.amount) by card last 1h
        feature p51 = percentile(51, touch.amount) by card last 1h
        feature p100 = percentile(100, touch.amount) by card last 1h
        feature share = share(touch.amount) by card last 1h";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        assert_eq!(both.judge(t), [None; 6]);
        both.touch_of(t, None);
        both.touch_of(t, Some(2));
        assert_eq!(both.judge(t), [None, int(2), int(2), int(2), int(2), int(1)]);
        for amount in [4, 4, 4, 5, 5, 7, 9] {
            both.touch_of(t, Some(amount));
        }
        // Σx = 40, Σx² = 232, so s² = (8·232 − 1600) ÷ 56 = 32 ÷ 7.
        let sd = ratio(2_138_089, 1_000_000);
        assert_eq!(both.judge(t + 1), [sd, int(2), int(4), int(5), int(9), ratio(3, 8)]);
        both.touch_of(t, Some(i64::MAX));
        both.touch_of(t, Some(i64::MIN));
        assert_eq!(both.judge(t + 1)[0], None, "too far apart for 64 bits in millionths");
        assert_eq!(both.judge(t + 1)[1], int(i64::MIN));
    });
}

#[test]
fn changes_are_relative_to_the_other_window() {
    let frames = "
        feature n = change(count(touch)) by card last 1h against last 1h delayed 1h
        feature s = change(sum(touch.amount)) by card last 1h against last 4h
        feature top = change(max(touch.amount)) by card last 1 events within 1h against last 4h";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        for (minutes, amount) in [(0, 10), (10, -30), (70, 5), (80, 6), (90, 3)] {
            both.touch_of(t + minutes * MINUTE, Some(amount));
        }
        // 3 against 2; 14 against −6; 3 against 10.
        assert_eq!(both.judge(t + 100 * MINUTE), [ratio(1, 2), ratio(-10, 3), ratio(-7, 10)]);
        assert_eq!(both.judge(t + 125 * MINUTE)[0], ratio(2, 1));
        assert_eq!(both.judge(t + 190 * MINUTE)[0], int(-1), "nothing against three");
        assert_eq!(both.judge(t + 270 * MINUTE)[0], None, "nothing to compare with");
    });
}

#[test]
fn weights_halve_with_every_half_life() {
    let frames = "
        feature n = decayed_count(touch) by card last 1d half_life 1h
        feature s = decayed_sum(touch.amount) by card last 1d half_life 1h";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        both.touch_of(t, Some(100));
        both.touch_of(t, None);
        both.touch_of(t, Some(-20));
        assert_eq!(both.judge(t), [int(3), int(80)]);
        assert_eq!(both.judge(t + HOUR), [ratio(3, 2), int(40)]);
        // 2^(−1/2) = 0.707107.
        assert_eq!(both.judge(t + 90 * MINUTE)[1], ratio(28_284_271, 1_000_000));
        assert_eq!(both.judge(t + 4 * HOUR), [ratio(187_500, 1_000_000), int(5)]);
        assert_eq!(both.judge(t + DAY - 1)[0], ratio(0, 1));
        assert_eq!(both.judge(t + DAY), [int(0), int(0)]);
    });
}

#[test]
fn days_are_counted_where_the_customer_lives() {
    let frames = "
        feature utc = days(touch) by card last 7d
        feature berlin = days(touch) by card last 7d in \"Europe/Berlin\"
        feature shanghai = days(touch) by card this week in \"Asia/Shanghai\"";
    with(frames, DAY, |both| {
        let times =
            ["2024-10-26T21:59:59Z", "2024-10-26T22:00:00Z", "2024-10-27T22:59:59Z", "2024-10-27T23:00:00Z"];
        for time in times {
            both.touch(at(time));
        }
        assert_eq!(both.judge(at("2024-10-28T10:00:00Z")), [int(2), int(3), int(1)]);
    });
}

#[test]
fn ways_are_measured_from_the_latest_other_place() {
    let frames = "
        feature way = distance(payment.place where ok) by card last 12h
        feature speed = speed(payment.place where ok) by card last 12h
        rule far on payment { when speed > 900 km/h or way > 0.3 km and way < 10_000_000 metres then block }
        rule soon on payment { when speed is missing and way > 5 km then block }";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        let pay = |both: &mut Both<'_>, time, place: Option<Cell>, ok: bool| {
            let ok = Some(Cell::Number(i64::from(ok)));
            both.feed(PAYMENT, time, &[Some(card()), None, None, None, None, place, ok])
        };
        let berlin = || Some(place(52.52, 13.405));
        let paris = || Some(place(48.8566, 2.3522));
        assert_eq!(pay(both, t, berlin(), true), [None, None]);
        assert_eq!(pay(both, t + 1, None, true), [None, None]);
        assert_eq!(pay(both, t + 2, paris(), false), [None, None], "it is not `ok` itself");
        // 877 465 m in an hour.
        assert_eq!(pay(both, t + HOUR, paris(), true), [int(877_465), ratio(877_465, 1_000)]);
        assert_eq!(pay(both, t + HOUR, paris(), true), [int(0), int(0)]);
        // Less than a second apart counts as one.
        assert_eq!(pay(both, t + HOUR + 10, berlin(), true), [int(877_465), ratio(877_465 * 36, 10)]);
        assert_eq!(pay(both, t + HOUR + 10 + 12 * HOUR, berlin(), true), [None, None]);
    });
}

#[test]
fn truth_and_words_can_be_first_and_last() {
    let frames = "
        feature was = first(payment.ok) by card last 1h
        feature now = last(payment.ok) by card last 1h
        rule turned on payment { when was and not now then block }";
    with(frames, HOUR, |both| {
        let t = at("2025-06-01T12:00:00Z");
        let mut pay = |time, ok: Option<bool>| {
            let ok = ok.map(|ok| Cell::Number(i64::from(ok)));
            both.feed(PAYMENT, time, &[Some(card()), None, None, None, None, None, ok])
        };
        assert_eq!(pay(t, None), [None, None]);
        assert_eq!(pay(t + 1, Some(true)), [int(1), int(1)]);
        assert_eq!(pay(t + 2, Some(false)), [int(1), int(0)]);
        assert_eq!(pay(t + 3, None), [int(1), int(0)]);
    });
}

/// Whatever the order in which events come, as long as none is too late, they end in the same features.
#[test]
fn shuffled_streams_end_in_the_same_features() {
    let (mut compared, mut different) = (0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(7_000_000 + seed);
        let policy = generate::policy(&mut rng);
        let tokenizer = Tokenizer::default();
        let program = lower(&policy, &tokenizer).expect("the policy lowers");
        let layouts = Layout::compiled(&policy, &program);
        let loaded = archive::open(archive::seal(&program)).expect("the program opens");
        let shape = Shape { broken: 0, fallback: 0, ..Shape::random(&mut rng, &policy, 150) };
        let stream = streams::stream(&mut rng, &policy, &layouts, &tokenizer, &shape);
        let limits =
            Limits { clock: Clock::Event, lateness_us: TIME_END.0, dedup_entries_max: 4_096, ..shape.limits };
        // Rates first: an amount is converted when its event enters, by the rates that are known then.
        let rates = policy.events.len();
        let (rates, others): (Vec<Frame>, Vec<Frame>) =
            stream.into_iter().partition(|frame| usize::from(frame.kind) >= rates);
        // Each id once: which of two equal ids is a repetition depends on which came first. And no amendments: one that
        // comes before its event finds nothing.
        let mut seen = std::collections::BTreeSet::new();
        let mut frames: Vec<Frame> = others
            .into_iter()
            .filter(|frame| policy.events[usize::from(frame.kind)].amends.is_none())
            .filter(|frame| seen.insert([frame.words[0], frame.words[1]]))
            .collect();
        let newest = frames.iter().map(|frame| frame.words[2]).max().unwrap_or(0);
        let mut probes = frames.clone();
        probes.retain(|frame| policy.decides.iter().any(|decide| decide.event.0 == frame.kind));
        probes.truncate(20);
        for (number, probe) in probes.iter_mut().enumerate() {
            probe.words[0] = !probe.words[0] ^ number as u64;
            probe.words[2] = newest;
        }
        let run = |frames: &[Frame]| {
            let mut engine = Engine::new(loaded.clone(), &limits).expect("the limits are fine");
            for rate in &rates {
                let _ = engine.step(&rate.input());
            }
            frames.iter().for_each(|frame| assert!(matches!(engine.step(&frame.input()), Step::Decided(_))));
            let mut told = Vec::new();
            for probe in &probes {
                assert!(matches!(engine.step(&probe.input()), Step::Decided(_)));
                told.push(engine.features().iter().map(|value| Fraction::of(*value)).collect::<Vec<_>>());
            }
            assert_eq!(engine.counters().rows_lost + engine.counters().keys_lost, 0);
            told
        };
        let expected = run(&frames);
        for _ in 0..3 {
            let before = frames.clone();
            rng.shuffle(&mut frames);
            different += usize::from(before != frames);
            assert_eq!(run(&frames), expected, "seed {seed}");
            compared += expected.iter().flatten().flatten().count();
        }
    }
    assert!(compared > 20_000 && different > 300, "{compared} features, {different} shuffles");
}

/// Rows of one time and one id come about when the first of them is no longer remembered as a duplicate. Which of them is the
/// latest does not depend on where they are kept.
#[test]
fn of_one_time_and_one_id_the_greatest_value_is_the_latest() {
    let feature = "feature latest = last(touch.amount) by card last 1 events within 1m";
    with_memory(feature, 0, 1, |both| {
        for number in 0..200_i64 {
            let amount = 1_000 - number * 7 % 400;
            both.id = 10;
            both.touch_of(MINUTE, Some(amount));
            both.id = 20 + number as u64 % 3;
            both.judge(MINUTE);
        }
    });
}
