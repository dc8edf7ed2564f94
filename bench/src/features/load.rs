//! A policy with 45 features, and payments that fill its windows with as many events as asked.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::Loaded;
use tollgate::engine::program::ArchivedEventPlan;
use tollgate::engine::units::{Currency, DAY, EventId, Key, TIME_END, Time, mix};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

/// What payments are looked up by.
pub(super) const ENTITIES: [&str; 5] = ["card", "account", "device", "merchant", "address"];
/// The length of the longest window.
const LONGEST_US: i64 = 7 * DAY;
const START: i64 = 1_522_540_800_000_000;

/// Five entities × three windows × count, sum and greatest amount; or the same policy without any of these.
pub(super) fn load(with_features: bool) -> Result<Loaded> {
    let mut text = format!("policy features revision 1\nentity {}\nevent payment {{ ", ENTITIES.join(", "));
    for name in ENTITIES {
        let _ = write!(text, "{name}: {name}, ");
    }
    text.push_str("amount: money, attempts: int }\nreason MANY 1 { analyst \"many attempts\", withhold }\n");
    for name in ENTITIES.iter().filter(|_| with_features) {
        for window in ["1h", "1d", "7d"] {
            let _ = writeln!(text, "feature {name}_count_{window} = count(payment) by {name} last {window}");
            for aggregate in ["sum", "max"] {
                let of = format!("{aggregate}(payment.amount in USD)");
                let _ = writeln!(text, "feature {name}_{aggregate}_{window} = {of} by {name} last {window}");
            }
        }
    }
    text.push_str("rule many on payment { when attempts > 1000000 then score 80, reason MANY }\n");
    text.push_str("decide payment { score = rule_scores\n review when score >= 70\n unassessed allow }\n");
    let program = policy::compile(&text, &Tokenizer::default()).map_err(|mistakes| {
        anyhow::anyhow!("the policy of the measurement does not compile: {mistakes:?}")
    })?;
    archive::open(archive::seal(&program)).context("the policy of the measurement does not open")
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// Every key once in as many payments as there are keys, each time in another order.
    Uniform,
    /// The key of rank r with a probability of about 1/r (Zipf's law with exponent 1).
    Zipf,
    /// Each time any key: how many payments of a key a window holds follows Poisson's law.
    Poisson,
    /// Any key, but each as often as its own exponentially distributed weight says: the law is then the geometric one.
    Geometric,
}

/// No key is drawn more than so many times as often as the mean.
const WEIGHT_MAX: f64 = 8.0;

/// Payments without end, in event order.
pub(super) struct Payments<'p> {
    plan: &'p ArchivedEventPlan,
    pub(super) kind: u16,
    keys: [FieldSlot; ENTITIES.len()],
    amount: FieldSlot,
    attempts: FieldSlot,
    currency: Currency,
    /// Of the keys of each entity.
    keys_log2: u32,
    draw: Draw,
    step_us: i64,
    number: u64,
    time: i64,
}

impl<'p> Payments<'p> {
    /// For 2^`keys_log2` keys of each entity, so that the longest window holds at most `population` events of a key drawn
    /// uniformly, and about as many of the most frequent one drawn by rank.
    pub(super) fn new(loaded: &'p Loaded, keys_log2: u32, population: u64) -> Result<Self> {
        let (kind, plan) = encode::event(loaded.program(), "payment").context("no payment in the policy")?;
        let field = |name| encode::field(plan, name).with_context(|| format!("no {name} in a payment"));
        let mut keys = [field(ENTITIES[0])?; ENTITIES.len()];
        for (slot, name) in keys.iter_mut().zip(ENTITIES) {
            *slot = field(name)?;
        }
        let mut payments = Self {
            plan,
            kind,
            keys,
            amount: field("amount")?,
            attempts: field("attempts")?,
            currency: Currency::from_alpha("USD").context("there is no USD")?,
            keys_log2,
            draw: Draw::Uniform,
            step_us: 0,
            number: 0,
            time: START,
        };
        payments.set(Draw::Uniform, population);
        Ok(payments)
    }

    /// From now on keys are drawn like this, and as much time goes by as before.
    pub(super) fn draw(&mut self, draw: Draw) {
        self.draw = draw;
    }

    /// From now on keys are drawn like this, and the longest window holds so many payments.
    pub(super) fn set(&mut self, draw: Draw, population: u64) {
        // Of all payments, one in this many is of the most frequent key.
        let share = match draw {
            Draw::Uniform | Draw::Poisson | Draw::Geometric => 1 << self.keys_log2,
            Draw::Zipf => u64::from(self.keys_log2),
        };
        self.draw = draw;
        // Rounded up, so that there are never more.
        self.step_us = (LONGEST_US as u64).div_ceil(share * population) as i64;
    }

    /// The keys of one entity.
    pub(super) fn keys(&self) -> u64 {
        1 << self.keys_log2
    }

    /// How many more there can be before the end of time.
    pub(super) fn left(&self) -> u64 {
        ((TIME_END.0 - 1 - self.time) / self.step_us).max(0) as u64
    }

    /// How many payments go by in the longest window.
    pub(super) fn in_longest_window(&self) -> u64 {
        (LONGEST_US / self.step_us) as u64
    }

    pub(super) fn next(&mut self) -> EventWords {
        let n = self.number;
        self.number += 1;
        self.time += self.step_us;
        let mut words = EventWords::new(self.plan, EventId([n + 1, 1]), Time(self.time));
        for (entity, &slot) in (0..).zip(&self.keys) {
            let key = match self.draw {
                Draw::Uniform => self.shuffled(n, entity),
                Draw::Zipf => self.ranked(mix(n, entity + 1)),
                Draw::Poisson => random(n, entity) >> (64 - self.keys_log2),
                Draw::Geometric => self.weighted(random(n, entity)),
            };
            words.set_key(slot, Key([key + 1, entity + 1]));
        }
        words.set_number(self.attempts, 1);
        words.set_money(self.amount, 100 + (mix(n, 99) % 20_000) as i64, self.currency);
        words
    }

    /// The place of payment `n` in a random order of all keys, another one each time all have been had: steps that each
    /// map the numbers of so many bits one to one.
    fn shuffled(&self, n: u64, entity: u64) -> u64 {
        let (bits, mask) = (self.keys_log2, self.keys() - 1);
        let round = n >> bits;
        let mut key = n & mask;
        for step in 0..3 {
            let random = mix(round * 8 + entity, step);
            key = key.wrapping_mul(random | 1).wrapping_add(random >> 7) & mask;
            key ^= key >> (bits / 2).max(1);
        }
        key
    }

    /// Any key, kept with a probability that is its weight, or another one.
    fn weighted(&self, mut drawn: u64) -> u64 {
        loop {
            drawn = random(drawn, 5);
            let key = drawn >> (64 - self.keys_log2);
            if unit(random(drawn, 6)) * WEIGHT_MAX < -unit(random(key, 7)).ln() {
                return key;
            }
        }
    }

    /// 2^(u × bits) for a u between 0 and 1, then a place that has nothing to do with the rank.
    fn ranked(&self, random: u64) -> u64 {
        let rank = (unit(random) * f64::from(self.keys_log2)).exp2() as u64;
        self.shuffled((rank - 1) & (self.keys() - 1), 77)
    }
}

/// Small numbers that follow each other become numbers that have nothing to do with each other: for that, mixing once is not
/// enough.
fn random(number: u64, salt: u64) -> u64 {
    mix(mix(number ^ 0x9e37_79b9_7f4a_7c15, salt ^ 0xd1b5_4a32_d192_ed03), 0x8cb9_2ba7_2f3d_8dd7)
}

/// From 0 to below 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_once_before_any_comes_again() {
        let loaded = load(true).unwrap();
        for bits in [1, 2, 7, 12] {
            let mut payments = Payments::new(&loaded, bits, 16).unwrap();
            let mut orders = Vec::new();
            for _ in 0..3 {
                let mut keys: Vec<u64> = (0..payments.keys())
                    .map(|_| payments.next().words()[usize::from(payments.keys[2].word)])
                    .collect();
                orders.push(keys.clone());
                keys.sort_unstable();
                assert_eq!(keys, (1..=payments.keys()).collect::<Vec<_>>());
            }
            assert!(bits < 7 || orders[0] != orders[1] && orders[1] != orders[2]);
        }
    }

    /// How many keys have none, and the variance of how many each has, at a mean of twenty.
    #[test]
    fn numbers_of_payments_follow_their_laws() {
        let loaded = load(true).unwrap();
        for (draw, none, variance) in
            [(Draw::Poisson, 0..10, 15.0..25.0), (Draw::Geometric, 120..270, 330.0..480.0)]
        {
            let mut payments = Payments::new(&loaded, 12, 20).unwrap();
            payments.set(draw, 20);
            // The time between two is rounded up.
            assert!((20 << 12) - payments.in_longest_window() <= 1);
            let mut times = vec![0_u32; 1 << 12];
            for _ in 0..20 << 12 {
                times[payments.next().words()[usize::from(payments.keys[3].word)] as usize - 1] += 1;
            }
            assert!(none.contains(&times.iter().filter(|times| **times == 0).count()), "{draw:?}");
            let squares = times.iter().map(|&times| (f64::from(times) - 20.0).powi(2));
            let found = squares.sum::<f64>() / 4096.0;
            assert!(variance.contains(&found), "{draw:?}: {found}");
        }
    }

    #[test]
    fn ranks_follow_their_law() {
        let loaded = load(true).unwrap();
        let mut payments = Payments::new(&loaded, 10, 16).unwrap();
        payments.set(Draw::Zipf, 16);
        assert_eq!(payments.in_longest_window() / 16, 10);
        let mut times = std::collections::BTreeMap::<u64, u32>::new();
        for _ in 0..10_000 {
            *times.entry(payments.next().words()[usize::from(payments.keys[0].word)]).or_default() += 1;
        }
        // One in ten is of the first rank, one in ten of the next two together.
        let mut times: Vec<u32> = times.into_values().collect();
        times.sort_unstable_by_key(|times| std::cmp::Reverse(*times));
        assert!((900..1_100).contains(&times[0]), "{}", times[0]);
        assert!((900..1_100).contains(&(times[1] + times[2])), "{} {}", times[1], times[2]);
    }
}
