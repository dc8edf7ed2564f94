//! Exchange rates: what money of one currency was worth in another at the time of an event.
//!
//! A rate is an input like any other. What it brings is kept here and nowhere else: it enters no window, belongs to no
//! key, and does not move the watermark, because a rate may take effect tomorrow. For each pair of currencies that the
//! program converts between, the [`RATES_PER_PAIR_MAX`] newest rates are kept in order of effective time, in memory
//! reserved at start. Money is converted when code looks at an event, and code looks once, when the event enters: what
//! windows hold is the result, so that later rates change nothing that was stored.
//!
//! Converting is exact. Parts of a rate are bounded on the wire, so that no product here leaves 128 bits; only a result
//! beyond 64 bits is missing.

use super::Counters;
use super::program::ArchivedProgram;
use super::units::{CURRENCIES, Currency, Time, Value, divide_half_even};
use super::wire::{RATE_FROM_WORD, RATE_PART_MAX, RATE_PARTS_WORD, RATE_TO_WORD, event_id, event_time};
use std::cell::Cell;

/// Rates kept of one pair of currencies; beyond it those of the earliest effective time go.
pub const RATES_PER_PAIR_MAX: usize = 1_024;

/// ISO numeric codes are below this.
const CODES: usize = 1_024;
/// No currency has more digits after the point than this.
const EXPONENT_MAX: u8 = 3;
/// A code that has no place.
const NOWHERE: u8 = u8::MAX;
const _: () = assert!(CURRENCIES.len() < NOWHERE as usize);
// A value's part (at most 2⁶³), times a rate's part, times the power of ten between two currencies: twice that fits.
const _: () = assert!(RATE_PART_MAX * 10_u64.pow(EXPONENT_MAX as u32) < 1 << 62);
const _: () = {
    let mut place = 0;
    while place < CURRENCIES.len() {
        assert!(CURRENCIES[place].2 <= EXPONENT_MAX && (CURRENCIES[place].1 as usize) < CODES);
        place += 1;
    }
};

/// No rate was in effect.
const MISSING: u8 = 1;
/// The newest rate in effect was too old.
const STALE: u8 = 2;
/// The result did not fit 64 bits.
const OVERFLOW: u8 = 4;
/// None is kept that was in effect, but one that was given up might have been.
const LOST: u8 = 8;

/// See the module.
pub struct Rates {
    /// The event kind that brings rates; `None` when the program has no rates.
    kind: Option<u16>,
    max_age_us: i64,
    /// By ISO numeric code: its place among [`CURRENCIES`], and among those converted to.
    from: [u8; CODES],
    to: [u8; CODES],
    /// By place of the currency converted to, then by that of the one converted from.
    pairs: Vec<Pair>,
    /// What has gone wrong since it was last asked.
    failures: Cell<u8>,
}

struct Pair {
    /// By (effective time, id tag); among equals in order of arrival.
    quotes: Vec<Quote>,
    /// Latest effective time of what was given up.
    lost_until: i64,
}

/// From `time` on, one minor unit is worth `num / den` minor units of the other currency.
#[derive(Clone, Copy)]
struct Quote {
    time: i64,
    tag: u64,
    num: i64,
    den: i64,
}

impl Rates {
    /// No rates: only money that is already in a currency converts to it.
    #[must_use]
    pub fn none() -> Self {
        Self {
            kind: None,
            max_age_us: 0,
            from: [NOWHERE; CODES],
            to: [NOWHERE; CODES],
            pairs: Vec::new(),
            failures: Cell::new(0),
        }
    }

    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(program: &ArchivedProgram) -> u64 {
        let Some(plan) = program.rates.as_ref() else { return 0 };
        let pair = size_of::<Pair>() + RATES_PER_PAIR_MAX * size_of::<Quote>();
        (plan.into.len() * CURRENCIES.len() * pair) as u64
    }

    /// Reserves what the program's rates can take.
    #[must_use]
    pub fn reserve(program: &ArchivedProgram) -> Self {
        let mut rates = Self::none();
        let Some(plan) = program.rates.as_ref() else { return rates };
        rates.kind = Some(plan.event.to_native());
        rates.max_age_us = plan.max_age_us.to_native();
        for (place, (_, numeric, _)) in CURRENCIES.iter().enumerate() {
            rates.from[usize::from(*numeric)] = place as u8;
        }
        for (place, numeric) in plan.into.iter().enumerate() {
            rates.to[usize::from(numeric.to_native())] = place as u8;
        }
        let pair = || Pair { quotes: Vec::with_capacity(RATES_PER_PAIR_MAX), lost_until: i64::MIN };
        rates.pairs.resize_with(plan.into.len() * CURRENCIES.len(), pair);
        rates
    }

    /// Goes on as another program wants it, which converts into the same currencies.
    pub(super) fn take_over(&mut self, next: &Self) {
        self.max_age_us = next.max_age_us;
    }

    /// Whether events of this kind bring rates.
    #[inline]
    pub(super) fn are_brought_by(&self, kind: u16) -> bool {
        self.kind == Some(kind)
    }

    fn pair(&self, from: u64, to: u64) -> Option<usize> {
        let place = |places: &[u8; CODES], code: u64| {
            let place = *places.get(usize::try_from(code).ok()?)?;
            (place != NOWHERE).then_some(usize::from(place))
        };
        Some(place(&self.to, to)? * CURRENCIES.len() + place(&self.from, from)?)
    }

    /// Takes in a rate whose words have been checked.
    pub(super) fn take(&mut self, words: &[u64], counters: &mut Counters) {
        counters.rates += 1;
        let (from, to) = (words[RATE_FROM_WORD], words[RATE_TO_WORD]);
        let Some(pair) = self.pair(from, to).filter(|_| from != to) else {
            counters.rates_unused += 1;
            return;
        };
        let digits = |code: u64| Currency::from_numeric(code).map_or(0, Currency::exponent);
        let (from, to) = (digits(from), digits(to));
        let quote = Quote {
            time: event_time(words).0,
            tag: event_id(words).tag(),
            num: words[RATE_PARTS_WORD] as i64 * 10_i64.pow(to.saturating_sub(from)),
            den: words[RATE_PARTS_WORD + 1] as i64 * 10_i64.pow(from.saturating_sub(to)),
        };
        counters.rates_lost += u64::from(self.pairs[pair].take(quote));
    }

    /// `value` minor units of one currency as minor units of another, at the newest rate in effect at `time`, rounded
    /// half-even. Itself when the currencies are the same.
    #[inline]
    #[must_use]
    pub fn convert(&self, value: Value, from: u64, to: u64, time: Time) -> Value {
        if from == to {
            return value;
        }
        match self.pair(from, to) {
            Some(pair) if !value.is_missing() => self.exchange(value, &self.pairs[pair], time.0),
            _ => Value::MISSING,
        }
    }

    fn exchange(&self, value: Value, pair: &Pair, time: i64) -> Value {
        let in_effect = pair.quotes.partition_point(|quote| quote.time <= time);
        let Some(quote) = in_effect.checked_sub(1).map(|newest| pair.quotes[newest]) else {
            let lost = pair.lost_until >= time.saturating_sub(self.max_age_us);
            return self.fail(if lost { MISSING | LOST } else { MISSING });
        };
        if time - quote.time > self.max_age_us {
            return self.fail(STALE);
        }
        let num = i128::from(value.num) * i128::from(quote.num);
        let den = i128::from(value.den) * i128::from(quote.den);
        i64::try_from(divide_half_even(num, den)).map_or_else(|_| self.fail(OVERFLOW), Value::int)
    }

    #[cold]
    fn fail(&self, why: u8) -> Value {
        self.failures.set(self.failures.get() | why);
        Value::MISSING
    }

    /// Counts an event for which something could not be converted since this was last asked. True when a rate that was
    /// given up might have helped.
    #[inline]
    pub(super) fn count_failures(&self, counters: &mut Counters) -> bool {
        let failures = self.failures.replace(0);
        if failures != 0 {
            counters.rate_missing += u64::from(failures & MISSING != 0);
            counters.rate_stale += u64::from(failures & STALE != 0);
            counters.rate_overflow += u64::from(failures & OVERFLOW != 0);
        }
        failures & LOST != 0
    }
}

impl Pair {
    /// Puts a rate into its place. True when one had to go.
    fn take(&mut self, quote: Quote) -> bool {
        let place = self.quotes.partition_point(|held| (held.time, held.tag) <= (quote.time, quote.tag));
        if self.quotes.len() < RATES_PER_PAIR_MAX {
            self.quotes.insert(place, quote);
            return false;
        }
        let Some(oldest) = place.checked_sub(1) else {
            self.lost_until = self.lost_until.max(quote.time);
            return true;
        };
        self.lost_until = self.lost_until.max(self.quotes[0].time);
        self.quotes.copy_within(1..place, 0);
        self.quotes[oldest] = quote;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::{EventId, mix};

    const USD: u64 = 840;
    const EUR: u64 = 978;
    const JPY: u64 = 392;
    const KWD: u64 = 414;

    /// Rates to euro and dinar.
    fn rates(max_age_us: i64) -> Rates {
        let mut rates = Rates { kind: Some(3), max_age_us, ..Rates::none() };
        for (place, (_, numeric, _)) in CURRENCIES.iter().enumerate() {
            rates.from[usize::from(*numeric)] = place as u8;
        }
        (rates.to[EUR as usize], rates.to[KWD as usize]) = (0, 1);
        let pair = || Pair { quotes: Vec::with_capacity(RATES_PER_PAIR_MAX), lost_until: i64::MIN };
        rates.pairs.resize_with(2 * CURRENCIES.len(), pair);
        rates
    }

    /// Takes a rate whose id is made of its tag's number; returns the id's tag.
    fn take(
        rates: &mut Rates,
        counters: &mut Counters,
        id: u64,
        time: i64,
        pair: [u64; 2],
        rate: [u64; 2],
    ) -> u64 {
        rates.take(&[id, 0, time as u64, 7, pair[0], pair[1], rate[0], rate[1]], counters);
        EventId([id, 0]).tag()
    }

    fn minor(rates: &Rates, minor: i64, pair: [u64; 2], time: i64) -> Option<i64> {
        let value = rates.convert(Value::int(minor), pair[0], pair[1], Time(time));
        (!value.is_missing()).then_some(value.num)
    }

    #[test]
    fn the_newest_rate_in_effect_converts_until_it_is_too_old() {
        let (mut rates, mut counters) = (rates(10), Counters::default());
        let pair = [USD, EUR];
        // Out of order: each finds its true place.
        for (id, time, rate) in [(1, 100, [2, 1]), (2, 105, [4, 1]), (3, 102, [3, 1])] {
            take(&mut rates, &mut counters, id, time, pair, rate);
        }
        for (time, expect) in [
            (99, None),
            (100, Some(20)),
            (102, Some(30)),
            (104, Some(30)),
            (105, Some(40)),
            (115, Some(40)),
            (116, None),
        ] {
            assert_eq!(minor(&rates, 10, pair, time), expect, "at {time}");
        }
        rates.count_failures(&mut counters);
        assert_eq!((counters.rates, counters.rate_missing, counters.rate_stale), (3, 1, 1));
        assert_eq!(minor(&rates, 10, [EUR, EUR], 0), Some(10), "needs no rate");
        assert_eq!(minor(&rates, 10, [EUR, USD], 105), None, "nothing is converted to dollars");
        assert!(rates.convert(Value::MISSING, USD, EUR, Time(105)).is_missing());
        assert!(!rates.count_failures(&mut counters));
        assert_eq!((counters.rate_missing, counters.rate_stale, counters.rate_overflow), (1, 1, 0));
    }

    #[test]
    fn among_equal_times_the_greatest_tag_wins_and_then_the_last_to_come() {
        let mut counters = Counters::default();
        for ids in [[1, 2], [2, 1], [7, 9], [9, 7]] {
            let mut rates = rates(10);
            let tags = ids.map(|id| take(&mut rates, &mut counters, id, 5, [USD, EUR], [id, 1]));
            let winner = if tags[0] > tags[1] { ids[0] } else { ids[1] };
            assert_eq!(minor(&rates, 1, [USD, EUR], 5), Some(winner as i64));
        }
        let mut rates = rates(10);
        for rate in [3, 8, 4] {
            take(&mut rates, &mut counters, 1, 5, [USD, EUR], [rate, 1]);
        }
        assert_eq!(minor(&rates, 1, [USD, EUR], 5), Some(4));
    }

    #[test]
    fn digits_after_the_point_are_counted_on_both_sides() {
        let mut counters = Counters::default();
        let mut rates = rates(0);
        for (pair, rate) in
            [([JPY, EUR], [1, 160]), ([JPY, KWD], [1, 500]), ([USD, KWD], [3, 10]), ([KWD, EUR], [3, 1])]
        {
            take(&mut rates, &mut counters, 1, 0, pair, rate);
        }
        // 1600 yen are 10 euro; 1 yen is 0.625 cents, 4 yen 2.5, 12 yen 7.5.
        for (yen, cents) in [(1_600, 1_000), (1, 1), (4, 2), (12, 8), (-4, -2), (-12, -8)] {
            assert_eq!(minor(&rates, yen, [JPY, EUR], 0), Some(cents), "{yen} yen");
        }
        assert_eq!(minor(&rates, 1, [JPY, KWD], 0), Some(2));
        assert_eq!(minor(&rates, 100, [USD, KWD], 0), Some(300));
        // 5 fils are 1.5 cents, 15 fils 4.5.
        assert_eq!(minor(&rates, 5, [KWD, EUR], 0), Some(2));
        assert_eq!(minor(&rates, 15, [KWD, EUR], 0), Some(4));
    }

    #[test]
    fn the_edges_of_64_bits_convert_exactly_or_are_missing_and_counted() {
        let most = RATE_PART_MAX;
        let mut counters = Counters::default();
        for (rate, amount, expect) in [
            ([1, 1], i64::MAX, Some(i64::MAX)),
            ([1, 1], i64::MIN, Some(i64::MIN)),
            ([most, most], i64::MIN, Some(i64::MIN)),
            ([most - 1, most], i64::MAX, Some(9_223_372_036_854_766_584)),
            ([1, most], i64::MAX, Some(9_223)),
            ([1, most], i64::MIN, Some(-9_223)),
            ([most, 1], 9_223, Some(9_223_000_000_000_000_000)),
            ([most, 1], 9_224, None),
            ([most, 1], -9_224, None),
            ([2, 1], i64::MAX / 2, Some(i64::MAX - 1)),
            ([2, 1], i64::MAX / 2 + 1, None),
            ([2, 1], i64::MIN / 2, Some(i64::MIN)),
            ([2, 1], i64::MIN / 2 - 1, None),
            ([999_999_999_999, 1_000_000_000_000], 500_000_000_000, Some(500_000_000_000)),
            ([999_999_999_999, 1_000_000_000_000], 1_500_000_000_000, Some(1_499_999_999_998)),
        ] {
            let mut rates = rates(0);
            take(&mut rates, &mut counters, 1, 0, [USD, EUR], rate);
            let before = counters.rate_overflow;
            assert_eq!(minor(&rates, amount, [USD, EUR], 0), expect, "{amount} at {rate:?}");
            assert!(!rates.count_failures(&mut counters));
            assert_eq!(counters.rate_overflow - before, u64::from(expect.is_none()));
        }
    }

    /// The result is the multiple that is nearest, by a definition that shares nothing with the division.
    #[test]
    fn results_are_nearest_and_ties_are_even() {
        let mut counters = Counters::default();
        let mut random = 11;
        for round in 0..20_000 {
            random = mix(random, round);
            let part = |bits: u64| (random.rotate_left(bits as u32) >> (14 + bits % 50)) % RATE_PART_MAX + 1;
            let rate = [part(random & 63), part(random >> 6 & 63)];
            let value = Value::ratio((random as i64) >> (random >> 12 & 63), 1 + (random >> 20 & 7) as i64);
            let mut rates = rates(0);
            take(&mut rates, &mut counters, 1, 0, [JPY, KWD], rate);
            let told = rates.convert(value, JPY, KWD, Time(0));
            if told.is_missing() {
                continue;
            }
            let (num, den) = (
                i128::from(value.num) * i128::from(rate[0]) * 1000,
                i128::from(value.den) * i128::from(rate[1]),
            );
            let off = i128::from(told.num) * den - num;
            assert!(
                2 * off.abs() < den || 2 * off.abs() == den && told.num % 2 == 0,
                "{value:?} {rate:?}: {told:?}"
            );
        }
    }

    #[test]
    fn the_newest_are_kept_and_what_was_given_up_is_told() {
        let kept = RATES_PER_PAIR_MAX as i64;
        let (mut rates, mut counters) = (rates(100), Counters::default());
        let pair = [USD, EUR];
        for time in 0..kept {
            take(&mut rates, &mut counters, time as u64, 1_000 + time, pair, [1 + time as u64, 1]);
        }
        assert_eq!(counters.rates_lost, 0);
        assert_eq!(minor(&rates, 1, pair, 1_000), Some(1));
        take(&mut rates, &mut counters, 5_000, 1_000 + kept, pair, [7, 1]);
        take(&mut rates, &mut counters, 5_001, 1_005, pair, [9, 1]);
        take(&mut rates, &mut counters, 5_002, 500, pair, [9, 1]);
        assert_eq!(counters.rates_lost, 3);
        assert_eq!(rates.pairs.iter().map(|pair| pair.quotes.capacity()).max(), Some(RATES_PER_PAIR_MAX));
        let quotes = &rates.pairs[rates.pair(USD, EUR).unwrap()].quotes;
        assert_eq!(quotes.len(), RATES_PER_PAIR_MAX);
        assert!(quotes.is_sorted_by_key(|quote| (quote.time, quote.tag)));
        assert_eq!(minor(&rates, 1, pair, 1_000 + kept), Some(7));
        assert!(!rates.count_failures(&mut counters));
        // 1 000 and 1 001 are gone; an event then might have used them.
        assert_eq!(minor(&rates, 1, pair, 1_001), None);
        assert!(rates.count_failures(&mut counters));
        // Another pair has lost nothing.
        assert_eq!(minor(&rates, 1, [JPY, EUR], 1_001), None);
        assert!(!rates.count_failures(&mut counters));
        assert_eq!(counters.rate_missing, 2);
    }

    #[test]
    fn rates_that_nothing_converts_by_are_counted() {
        let (mut rates, mut counters) = (rates(10), Counters::default());
        take(&mut rates, &mut counters, 1, 0, [EUR, USD], [1, 1]);
        take(&mut rates, &mut counters, 2, 0, [EUR, EUR], [2, 1]);
        assert_eq!((counters.rates, counters.rates_unused), (2, 2));
        assert_eq!(minor(&rates, 5, [EUR, EUR], 0), Some(5));
    }
}
