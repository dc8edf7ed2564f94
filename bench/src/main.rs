//! `tollgate-bench`: figures, each beside the floor measured in the same run.
//!
//! `noise` is the floor of everything: what a thread that does nothing but read the clock sees of this machine. `ring` is a
//! round trip between two processes over the ring, beside a bare exchange of the same bytes and beside what the kernel
//! offers. `hostile` is what one client can do to another. `swap` is what it costs that policies
//! take over. `e2e` is the whole appliance, from the intended time of sending to
//! the verdict. `features` is a decision alone, over more keys than any cache holds; `policy` is its rules alone, `model` a model alone, beside the
//! libraries that train such.
//! [docs/BENCHMARKS.md](../../docs/BENCHMARKS.md) says how to read them.

mod child;
mod control;
mod e2e;
mod exchange;
mod features;
mod figure;
mod hostile;
mod interrupt;
mod machine;
mod memory;
mod model;
mod noise;
mod payments;
mod peer;
mod plot;
mod policy;
mod ring;
mod stats;
mod swap;

use clap::{Parser, Subcommand};

/// The appliance's own allocator: it runs in this binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Round trip over the ring between two processes, against its floor and against sockets and pipes
    Ring(ring::Args),
    /// The whole appliance: closed loop, saturation, open loop at shares of it
    E2e(e2e::Args),
    /// A decision with 45 features over up to millions of keys, against five bare lookups
    Features(features::Args),
    /// Which rules fire: a hundred against the same by hand, and up to 10 000 of them
    Policy(policy::Args),
    /// A row through a model, against the libraries that trained it
    Model(model::Args),
    /// What a hostile client costs the others
    Hostile(hostile::Args),
    /// What it costs that policies take over while payments come
    Swap(swap::Args),
    /// The answering process of `ring`
    #[command(hide = true)]
    Peer(peer::Args),
    /// The serving process of `hostile`
    #[command(hide = true)]
    HostileServer(hostile::ServerArgs),
    /// The appliance of `e2e`
    #[command(hide = true)]
    Appliance(e2e::appliance::Args),
}

fn main() -> anyhow::Result<()> {
    let what = Args::parse().what;
    if !matches!(what, What::Peer(_) | What::HostileServer(_) | What::Appliance(_)) {
        // The others end when their parent tells them to, or with it.
        interrupt::install();
    }
    match what {
        What::Noise(args) => noise::run(&args),
        What::Ring(args) => ring::run(&args),
        What::E2e(args) => e2e::run(&args),
        What::Features(args) => features::run(&args),
        What::Policy(args) => policy::run(&args),
        What::Model(args) => model::run(&args),
        What::Hostile(args) => hostile::run(&args),
        What::HostileServer(args) => hostile::serve(&args),
        What::Swap(args) => swap::run(&args),
        What::Peer(args) => peer::run(&args),
        What::Appliance(args) => e2e::appliance::run(&args),
    }
}
