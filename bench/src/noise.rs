//! The idle noise floor: how long a spinning thread is away from its core, and how often.
//!
//! Two views of the same gaps. Per reading of the clock: how long one took. Per instant: how long an event that is due at
//! a random moment waits until the thread is back, which is the least that an open-loop round trip can show on this
//! machine, whatever runs on it.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::json;
use tollgate_ring::monotonic_ns;

/// What `noise` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to look.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Gaps kept for the second view.
const GAPS_MAX: usize = 1 << 20;

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
    let core = crate::pin(0);
    let mut gaps = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    let end = monotonic_ns() + args.seconds * 1_000_000_000;
    let mut long = Vec::with_capacity(GAPS_MAX);
    let (mut before, mut away) = (monotonic_ns(), 0);
    while before < end {
        let now = monotonic_ns();
        let gap = now - before;
        gaps.saturating_record(gap);
        // Ten microseconds is far above one reading of the clock: the core was doing something else.
        away += if gap > 10_000 { gap } else { 0 };
        if gap > 1_000 && long.len() < GAPS_MAX {
            long.push(gap);
        }
        before = now;
    }
    let wait = |share: f64| wait_ns(&long, args.seconds as f64 * 1e9, share);
    let (p99, p999, p9999) = (wait(0.01), wait(0.001), wait(0.0001));
    let share = away as f64 / (args.seconds as f64 * 1e9);
    let at = |quantile| gaps.value_at_quantile(quantile);
    if args.json {
        let value = json!({
            "name": "noise", "unit": "ns", "p50": at(0.5), "p9999": at(0.9999), "p99999": at(0.99999),
            "max": gaps.max(), "away_share": share, "wait": { "p99": p99, "p999": p999, "p9999": p9999 }, "samples": gaps.len(), "core": core,
        });
        println!("{value}");
    } else {
        println!(
            "{} readings of the clock on core {}: p50 {} ns, p99.99 {} ns, p99.999 {} ns, max {} ns; away {:.3} % of the time; \
             an event due at a random moment waits p99 {p99} ns, p99.9 {p999} ns, p99.99 {p9999} ns",
            gaps.len(),
            core.map_or("any".to_owned(), |core| core.to_string()),
            at(0.5),
            at(0.9999),
            at(0.99999),
            gaps.max(),
            share * 100.0
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::wait_ns;

    #[test]
    fn a_wait_is_weighed_by_time() {
        // One gap of 100 in 1 000: a tenth of all instants fall into it, half of these wait for more than 50.
        assert_eq!(wait_ns(&[100], 1_000.0, 0.05), 50);
        assert_eq!(wait_ns(&[100], 1_000.0, 0.1), 0);
        assert_eq!(wait_ns(&[], 1_000.0, 0.1), 0);
    }
}
