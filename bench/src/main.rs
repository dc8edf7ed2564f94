//! `tollgate-bench`: figures, each beside the floor measured in the same run.
//!
//! `noise` is the floor of everything: what a thread that does nothing but read the clock sees of this machine.
//! `ring` is a round trip over the ring beside a bare ping-pong of the same bytes, in alternating slices.

mod noise;
mod ring;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "tollgate-bench", about = "Measures Tollgate beside the floor of the same machine and run")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Gaps seen by a thread that only reads the clock
    Noise(noise::Args),
    /// Round trip over the ring against a ping-pong moving the same bytes
    Ring(ring::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Noise(args) => noise::run(&args),
        What::Ring(args) => ring::run(&args),
    }
}

/// Pins the calling thread to the `n`-th core this process may use, if there is one.
fn pin(n: usize) -> Option<usize> {
    let core = core_affinity::get_core_ids()?.get(n).copied()?;
    core_affinity::set_for_current(core).then_some(core.id)
}
