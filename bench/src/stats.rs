//! Medians, histograms, and the percentiles that are shown of them.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// The longest time that a histogram tells apart; longer ones count as this.
const LONGEST_NS: u64 = 600_000_000_000;

/// A histogram of nanoseconds, exact to three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_NS, 3).context("a histogram of up to ten minutes")
}

/// The middle one, or the greater of the two in the middle; NaN of nothing.
pub(crate) fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What is shown of a distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    /// From what tells the value at a quantile; that at 1 is the greatest.
    pub(crate) fn of(at: impl Fn(f64) -> u64) -> Self {
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), p9999: at(0.9999), max: at(1.0) }
    }
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(times: &Histogram<u64>) -> Self {
        Self::of(|quantile| if quantile < 1.0 { times.value_at_quantile(quantile) } else { times.max() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn percentiles_are_those_of_the_histogram() {
        let mut times = histogram().unwrap();
        (1..=10_000).for_each(|ns| times.record(ns).unwrap());
        let found = Percentiles::from(&times);
        let near = |value: u64, expected: u64| value.abs_diff(expected) * 1_000 <= expected;
        for (value, expected) in
            [(found.p50, 5_000), (found.p90, 9_000), (found.p99, 9_900), (found.p999, 9_990)]
        {
            assert!(near(value, expected), "{value} for {expected}");
        }
        assert!(near(found.p9999, 10_000) && near(found.max, 10_000));
    }

    #[test]
    fn nothing_recorded_is_all_zeros() {
        let none = Percentiles::from(&histogram().unwrap());
        assert_eq!(none, Percentiles { p50: 0, p90: 0, p99: 0, p999: 0, p9999: 0, max: 0 });
    }
}
