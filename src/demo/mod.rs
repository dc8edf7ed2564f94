//! `tollgate demo`: the main job with nothing to prepare.
//!
//! Starts the appliance in this process and a simulated payment switch as a process of its own (a hidden
//! subcommand of the same binary), joined by a shared-memory ring. The switch plays a city whose frauds it
//! knows ([`stream`]), shows what it gets back each second, and counts precision, recall and round trips.

mod layout;
mod random;
mod report;
mod stream;
mod switch;
mod world;

use crate::appliance;
use crate::config::{Config, Idle};
use crate::engine::Clock;
use crate::engine::units::HOUR;
use crate::log::Level;
use crate::os::affinity;
use anyhow::{Context, Result, bail};
use report::{Line, Summary};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What `tollgate demo` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the switch sends.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Events per second, payments and all others together.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    pub rate: u64,
    /// Judge by this policy instead of the demo's own.
    #[arg(long)]
    pub policy: Option<PathBuf>,
    /// Print one JSON object as the last line (progress goes to standard error).
    #[arg(long)]
    pub json: bool,
    /// Seed of the simulated city.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// People in the simulated city.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=2_000_000))]
    pub customers: u64,
}

/// What the hidden `tollgate demo-switch` takes.
#[derive(Debug, clap::Args)]
pub struct SwitchArgs {
    /// The appliance's socket.
    #[arg(long)]
    pub socket: PathBuf,
    /// The policy the appliance runs.
    #[arg(long)]
    pub policy: PathBuf,
    /// As of `demo`.
    #[arg(long)]
    pub seconds: u64,
    /// As of `demo`.
    #[arg(long)]
    pub rate: u64,
    /// As of `demo`.
    #[arg(long)]
    pub seed: u64,
    /// As of `demo`.
    #[arg(long)]
    pub customers: usize,
    /// Bytes of a request slot.
    #[arg(long)]
    pub slot_bytes: u32,
}

/// Runs the demonstration. Fails when an event went unanswered.
pub fn run(args: &Args) -> Result<()> {
    let state =
        tempfile::Builder::new().prefix("tollgate-demo-").tempdir().context("a directory for the journal")?;
    let runtime = runtime_dir()?;
    let policy = match &args.policy {
        Some(path) => appliance::read_policy(path)?,
        None => appliance::demo_policy(),
    };
    // The switch reads the same policy from its file: it must lay its events out as the appliance expects them.
    let policy_file = match &args.policy {
        Some(path) => path.clone(),
        None => {
            let file = state.path().join("demo.policy");
            std::fs::write(&file, appliance::DEMO_POLICY).context("the policy, for the switch to read")?;
            file
        }
    };
    let (loaded, _) = appliance::load(&policy)?;
    layout::Layout::new(loaded.program())?;
    let config = configuration(args, state.path(), runtime.path());
    if let Some(cores) = Cores::available() {
        // What this process starts from here on stays off the engine's core. Best effort: it is only slower without.
        let _ = affinity::pin_to(cores.switch);
    }
    let appliance = appliance::start(&config, &policy)?;
    let outcome = play(args, &config, &policy_file);
    let stopped = appliance.stop();
    let summary = outcome?;
    stopped?;
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{}", summary.render());
    }
    if summary.unanswered > 0 {
        bail!("{} events went unanswered", summary.unanswered);
    }
    Ok(())
}

/// The shipped configuration, in directories that vanish, sized for the city.
fn configuration(args: &Args, state: &Path, runtime: &Path) -> Config {
    let mut config = Config::shipped();
    config.journal.dir = state.join("journal");
    config.journal.runtime_dir = runtime.to_owned();
    config.listen.socket = runtime.join("switch.sock");
    config.control_socket = runtime.join("control.sock");
    config.listen.allowed_uids = Vec::new();
    config.log.level = Level::Warn;
    let limits = &mut config.engine.limits;
    // Simulated days pass in seconds: only the events' own clock makes sense, and a verdict's result, sent a few
    // milliseconds later, lies simulated minutes back.
    limits.clock = Clock::Event;
    limits.lateness_us = 6 * HOUR;
    limits.keys_max = (args.customers as u32).saturating_mul(2).max(1 << 16);
    limits.spill_bytes_max = 256 << 20;
    limits.dedup_entries_max = 1 << 19;
    // Start at once; an event then pays for the first touch of a page.
    config.engine.touch_memory = false;
    config.engine.lock_memory = false;
    match Cores::available() {
        Some(cores) => config.engine.core = Some(cores.engine),
        None => config.engine.idle = Idle::Park,
    }
    config
}

/// Who runs where. Both ends of the ring poll, so they need a core each, and everything else has to share one with the
/// switch: the engine is what is being shown.
struct Cores {
    engine: usize,
    switch: usize,
}

impl Cores {
    /// `None` on a single core: then the engine sleeps when there is nothing to do.
    fn available() -> Option<Self> {
        match affinity::cores()[..] {
            [switch, .., engine] => Some(Self { engine, switch }),
            _ => None,
        }
    }
}

/// Memory-backed where there is any: the journal ring and the socket live here.
fn runtime_dir() -> Result<tempfile::TempDir> {
    let shm = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("tollgate-demo-");
    if shm.is_dir() { builder.tempdir_in(shm) } else { builder.tempdir() }.context("a runtime directory")
}

/// Starts the switch, passes its lines on, and returns its summary.
fn play(args: &Args, config: &Config, policy_file: &Path) -> Result<Summary> {
    let child = Command::new(std::env::current_exe().context("the path of this program")?)
        .arg("demo-switch")
        .args([Path::new("--socket"), config.listen.socket.as_path(), Path::new("--policy"), policy_file])
        .args(["--seconds", &args.seconds.to_string(), "--rate", &args.rate.to_string()])
        .args(["--seed", &args.seed.to_string(), "--customers", &args.customers.to_string()])
        .args(["--slot-bytes", &config.listen.geometry.slot_bytes.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the simulated switch")?;
    let mut child = Reaped(child);
    let lines = child.0.stdout.take().context("the switch's output")?;
    let mut summary = None;
    for line in BufReader::new(lines).lines() {
        match serde_json::from_str(&line?).context("the switch said something unexpected")? {
            Line::Progress(progress) if args.json => eprintln!("{}", progress.render()),
            Line::Progress(progress) => println!("{}", progress.render()),
            Line::Summary(whole) => summary = Some(whole),
        }
    }
    let status = child.0.wait()?;
    match summary {
        Some(summary) if status.success() => Ok(summary),
        _ => bail!("the simulated switch stopped early: {status}"),
    }
}

/// Ends the switch if its parent fails before it does.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Already gone in the ordinary case; then both calls fail, harmlessly.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the simulated switch.
pub fn run_switch(args: &SwitchArgs) -> Result<()> {
    let (loaded, _) = appliance::load(&appliance::read_policy(&args.policy)?)?;
    let plan = switch::Plan {
        socket: &args.socket,
        seconds: args.seconds,
        rate: args.rate,
        seed: args.seed,
        customers: args.customers,
        slot_bytes: args.slot_bytes,
    };
    switch::run(&plan, &loaded)
}
