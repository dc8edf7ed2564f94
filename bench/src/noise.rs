//! The idle noise floor: how long a spinning thread is away from its core, and how often.
//!
//! Two views of the same gaps. Per reading of the clock: how long one took. Per instant: how long an event that is due at
//! a random moment waits until the thread is back, which is the least that an open-loop round trip can show on this
//! machine, whatever runs on it.

use anyhow::{Result, ensure};
use clap::value_parser;
use hdrhistogram::Histogram;
use serde_json::json;
use tollgate_ring::monotonic_ns;

use crate::figure::{Figure, Form, Report};
use crate::interrupt;
use crate::machine::{Cores, pin};
use crate::stats::{Percentiles, histogram};

/// What `noise` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to look.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    form: Form,
}

/// Gaps kept for the second view.
const GAPS_MAX: usize = 1 << 20;
/// Shorter gaps are readings of the clock, not absences.
const GAP_MIN_NS: u64 = 1_000;
/// Ten microseconds is far above one reading of the clock: the core was doing something else.
const AWAY_MIN_NS: u64 = 10_000;

/// What a thread that did nothing but read the clock saw of its core.
pub(crate) struct Noise {
    /// Every reading.
    readings: Histogram<u64>,
    /// The gaps worth waiting for.
    gaps: Vec<u64>,
    away_ns: u64,
    time_ns: u64,
}

impl Noise {
    /// Nothing seen yet; all the memory it will need.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { readings: histogram()?, gaps: Vec::with_capacity(GAPS_MAX), away_ns: 0, time_ns: 0 })
    }

    /// Looks for so long, on the core that the calling thread is on. What was seen before stays.
    pub(crate) fn look(&mut self, time_ns: u64) -> Result<()> {
        let start = monotonic_ns();
        let mut before = start;
        while before - start < time_ns {
            interrupt::check()?;
            let now = monotonic_ns();
            let gap = now - before;
            self.readings.saturating_record(gap);
            self.away_ns += if gap > AWAY_MIN_NS { gap } else { 0 };
            if gap > GAP_MIN_NS && self.gaps.len() < GAPS_MAX {
                self.gaps.push(gap);
            }
            before = now;
        }
        self.time_ns += before - start;
        // A floor that leaves gaps out would be too low without saying so.
        ensure!(
            self.gaps.len() < GAPS_MAX,
            "more than {GAPS_MAX} gaps above {GAP_MIN_NS} ns: look for a shorter time, or free the core"
        );
        Ok(())
    }

    /// Takes in what another look saw.
    pub(crate) fn absorb(&mut self, other: &Self) -> Result<()> {
        self.readings.add(&other.readings)?;
        self.gaps.extend_from_slice(&other.gaps);
        self.away_ns += other.away_ns;
        self.time_ns += other.time_ns;
        Ok(())
    }

    /// How long it has looked, all in all.
    pub(crate) fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// How long an event that is due at a random moment waits for the thread: the wait at this quantile.
    pub(crate) fn wait_ns(&self, quantile: f64) -> u64 {
        wait_ns(&self.gaps, self.time_ns as f64, 1.0 - quantile)
    }

    /// The same for all the quantiles that are shown.
    pub(crate) fn waits(&self) -> Percentiles {
        Percentiles::of(|quantile| self.wait_ns(quantile))
    }
}

/// The wait that this share of all instants exceeds: the least x with Σ max(0, gap − x) ≤ share × time.
fn wait_ns(gaps: &[u64], time_ns: f64, share: f64) -> u64 {
    let exceeds = |x: u64| gaps.iter().map(|gap| gap.saturating_sub(x) as f64).sum::<f64>() > share * time_ns;
    let (mut low, mut high) = (0, gaps.iter().copied().max().unwrap_or(0));
    while low < high {
        let middle = low + (high - low) / 2;
        if exceeds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let core = Cores::choose()?.near;
    pin(core)?;
    let mut report = Report::new(&args.form, vec![core]);
    let mut noise = Noise::new()?;
    noise.look(args.seconds * 1_000_000_000)?;
    let share = noise.away_ns as f64 / noise.time_ns as f64;
    let wait = noise.waits();
    let mut figure = Figure::of_times("noise", &noise.readings, 1);
    figure.more = vec![
        ("p99999", json!(noise.readings.value_at_quantile(0.99999))),
        ("away_share", json!(share)),
        ("wait", json!({ "p99": wait.p99, "p999": wait.p999, "p9999": wait.p9999, "max": wait.max })),
    ];
    report.add(figure);
    report.add(Figure::of_waits("noise.wait", &noise, 1));
    report.note(format!(
        "noise: readings of the clock. noise.wait: what an event due at a random moment waits for the thread. Away for \
         {:.3} % of {} s.",
        share * 100.0,
        args.seconds
    ));
    report.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_weighed_by_time() {
        // One gap of 100 in 1 000: a tenth of all instants fall into it, half of these wait for more than 50.
        assert_eq!(wait_ns(&[100], 1_000.0, 0.05), 50);
        assert_eq!(wait_ns(&[100], 1_000.0, 0.1), 0);
        assert_eq!(wait_ns(&[], 1_000.0, 0.1), 0);
    }

    #[test]
    fn a_look_lasts_as_long_as_asked_and_adds_up() {
        let mut noise = Noise::new().unwrap();
        noise.look(1_000_000).unwrap();
        noise.look(1_000_000).unwrap();
        assert!(noise.time_ns >= 2_000_000);
        assert!(noise.readings.len() >= 2);
        let mut both = Noise::new().unwrap();
        both.absorb(&noise).unwrap();
        both.absorb(&noise).unwrap();
        assert_eq!((both.time_ns, both.readings.len()), (2 * noise.time_ns, 2 * noise.readings.len()));
        assert_eq!(both.waits(), noise.waits());
        let longest = noise.gaps.iter().copied().max().unwrap_or(0);
        assert_eq!(noise.waits().max, longest);
    }
}
