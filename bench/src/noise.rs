//! The idle noise floor: how long a spinning thread is away from its core, and how often.

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

pub(crate) fn run(args: &Args) -> Result<()> {
    let core = crate::pin(0);
    let mut gaps = Histogram::<u64>::new(3)?;
    let end = monotonic_ns() + args.seconds * 1_000_000_000;
    let (mut before, mut away) = (monotonic_ns(), 0);
    while before < end {
        let now = monotonic_ns();
        let gap = now - before;
        gaps.saturating_record(gap);
        // Ten microseconds is far above one reading of the clock: the core was doing something else.
        away += if gap > 10_000 { gap } else { 0 };
        before = now;
    }
    let share = away as f64 / (args.seconds as f64 * 1e9);
    let at = |quantile| gaps.value_at_quantile(quantile);
    if args.json {
        let value = json!({
            "name": "noise", "unit": "ns", "p50": at(0.5), "p9999": at(0.9999), "p99999": at(0.99999),
            "max": gaps.max(), "away_share": share, "samples": gaps.len(), "core": core,
        });
        println!("{value}");
    } else {
        println!(
            "{} readings of the clock on core {}: p50 {} ns, p99.99 {} ns, p99.999 {} ns, max {} ns; away {:.3} % of the time",
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
