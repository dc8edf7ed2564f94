//! The appliance of `e2e`, in a process of its own: what `tollgate run` starts, with its defaults but for places, sizes
//! and cores.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use tollgate::appliance;
use tollgate::config::{Config, Idle};
use tollgate::engine::Clock;
use tollgate::log::Level;
use tollgate::policy::Sources;

use crate::machine::pin;

/// What the hidden `appliance` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where ring, socket and lock are.
    #[arg(long)]
    runtime_dir: PathBuf,
    /// Where the journal is.
    #[arg(long)]
    journal_dir: PathBuf,
    /// The engine thread's core.
    #[arg(long)]
    core: usize,
    /// The core of all other threads.
    #[arg(long)]
    cold_core: usize,
    /// Keys of each kind that will come.
    #[arg(long)]
    keys: u64,
}

/// The socket, below the runtime directory.
pub(crate) const SOCKET: &str = "switch.sock";
/// The control socket, there too.
pub(crate) const CONTROL: &str = "control.sock";
/// Said on standard output when clients are let in.
pub(crate) const READY: &str = "ready";

/// The handbook's policy.
pub(crate) fn policy() -> Sources {
    let text = include_str!("../../../config/handbook/handbook.policy");
    Sources::single("config/handbook/handbook.policy", text)
}

/// Serves until standard input ends; then prints its counts.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Every thread but the engine's stays here.
    pin(args.cold_core)?;
    let appliance = appliance::start(&configuration(args), &policy())?;
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let counts = appliance.stop()?;
    println!("{}", json!({ "decided": counts.decided, "journal_full": counts.journal_full }));
    Ok(())
}

/// Bytes for the rows of one key of each kind that do not fit in its record, with room to spare.
const SPILL_BYTES_PER_KEY: u64 = 8 << 10;

fn configuration(args: &Args) -> Config {
    let mut config = Config::shipped();
    config.journal.dir.clone_from(&args.journal_dir);
    config.journal.runtime_dir.clone_from(&args.runtime_dir);
    config.listen.socket = args.runtime_dir.join(SOCKET);
    config.control_socket = args.runtime_dir.join(CONTROL);
    config.log.level = Level::Warn;
    config.engine.core = Some(args.core);
    // On one core for everything, spinning would keep the generator away.
    config.engine.idle = if args.core == args.cold_core { Idle::Yield } else { Idle::Spin };
    config.engine.lock_memory = false;
    // Room is far more than will be used.
    config.engine.touch_memory = false;
    let limits = &mut config.engine.limits;
    limits.clock = Clock::Event;
    limits.keys_max = (args.keys * 2).next_power_of_two().clamp(1 << 16, 1 << 30) as u32;
    limits.spill_bytes_max = (args.keys * SPILL_BYTES_PER_KEY).max(256 << 20);
    config
}
