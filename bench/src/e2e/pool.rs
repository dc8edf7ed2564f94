//! Payments encoded before they are needed.
//!
//! The generator must not be slower than the appliance, so keys and amounts are drawn and laid out ahead; what is left to
//! do for each payment is its id and its time, which have to be new every time.

use anyhow::{Context, Result, ensure};
use tollgate::engine::Loaded;
use tollgate::engine::units::TIME_END;

use crate::payments::{Payments, time_of};

/// Encoded payments per key, so that nearly every key is among them.
const PER_KEY: u64 = 4;
/// The least worth drawing.
const LEAST: u64 = 1 << 16;

/// Payments, used again and again under new ids and times.
pub(crate) struct Pool {
    /// Their event kind's number.
    pub(crate) kind: u16,
    words: Vec<u64>,
    each: usize,
    count: u64,
    keys: u64,
}

impl Pool {
    /// Draws and encodes them.
    pub(crate) fn new(loaded: &Loaded, keys: u64) -> Result<Self> {
        let mut payments =
            Payments::new(loaded, keys).context("the policy has no payments as the handbook's")?;
        let (kind, count) = (payments.kind, (keys * PER_KEY).max(LEAST));
        let first = payments.next();
        let each = first.words().len();
        let mut words = Vec::with_capacity(each * count as usize);
        words.extend_from_slice(first.words());
        (1..count).for_each(|_| words.extend_from_slice(payments.next().words()));
        Ok(Self { kind, words, each, count, keys })
    }

    /// Payment `n`, n from 1. The same one each time that it is asked for.
    #[inline]
    pub(crate) fn payment(&mut self, n: u64) -> Result<&[u64]> {
        let time = time_of(n, self.keys);
        ensure!(
            time < TIME_END,
            "payment {n} would lie after 2200, as each of few keys pays but once a day: take more --keys or less time"
        );
        let start = ((n - 1) % self.count) as usize * self.each;
        let words = &mut self.words[start..start + self.each];
        words[0] = n;
        words[2] = time.0 as u64;
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e2e::appliance::policy;
    use tollgate::appliance;

    #[test]
    fn payments_come_again_under_new_ids_and_later_times() {
        let (loaded, _) = appliance::load(&policy()).unwrap();
        let mut pool = Pool::new(&loaded, 1_000).unwrap();
        let (first, count) = (pool.payment(1).unwrap().to_vec(), pool.count);
        let again = pool.payment(1 + count).unwrap().to_vec();
        assert_eq!(again[0], 1 + count);
        assert!((again[2] as i64) > first[2] as i64);
        assert_eq!(first[1], again[1]);
        assert_eq!(first[3..], again[3..]);
        assert_ne!(pool.payment(2).unwrap()[4..], first[4..]);
        assert_eq!(pool.payment(1).unwrap(), first);
    }

    #[test]
    fn the_first_are_those_of_the_generator_and_the_end_of_time_is_told() {
        let (loaded, _) = appliance::load(&policy()).unwrap();
        let mut payments = Payments::new(&loaded, 1_000).unwrap();
        let mut pool = Pool::new(&loaded, 1_000).unwrap();
        for n in 1..100 {
            assert_eq!(pool.payment(n).unwrap(), payments.next().words());
        }
        let refused = pool.payment(1 << 40).unwrap_err().to_string();
        assert!(refused.contains("--keys"), "{refused}");
    }
}
