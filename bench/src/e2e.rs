//! `e2e`: the whole appliance, from a client's intended time of sending to the verdict in its hands.
//!
//! The appliance runs in a process of its own: engine thread on one core, journal on disk, journal ring and socket on
//! tmpfs. This process is its only client. Before each slice the same core is watched for as long as the slice will
//! last: what an event due at a random moment waits there with nothing to do is the floor of every open loop.

pub(crate) mod appliance;
pub(crate) mod load;
mod pool;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::value_parser;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::os::lock::is_on_tmpfs;
use tollgate_ring::{Client, ClientOptions};

use crate::child::Child;
use crate::figure::{Figure, Form, Report, Unit};
use crate::machine::{Cores, pin};
use crate::noise::Noise;
use crate::payments::FULL;
use crate::plot::Curve;
use crate::stats::median;
use load::{Load, Measured, Slice};
use pool::Pool;

/// What `e2e` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Customers, and as many terminals.
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(100..=10_000_000))]
    keys: u64,
    /// Slices of each measure.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(1..=1_000))]
    slices: u64,
    /// Length of a slice. A fifth of it is spent before, to warm up.
    #[arg(long, default_value_t = 3_000, value_parser = value_parser!(u64).range(10..=600_000))]
    slice_ms: u64,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// Where the appliance keeps what it keeps.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where to keep the journal while it runs; its disk is the one that is measured.
    #[arg(long, value_name = "DIR")]
    journal_dir: Option<PathBuf>,
    /// Where to keep the journal's ring and the socket while it runs; on tmpfs.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    runtime_dir: PathBuf,
}

/// Shares of the saturated rate, in percent.
const SHARES: [u64; 4] = [10, 50, 80, 95];
/// A policy's largest event must fit: the shipped configuration's slots.
const SLOT_BYTES: u32 = 256;
/// Longest time for the appliance to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for the journal's writer to catch up before the core is watched.
const SETTLE: Duration = Duration::from_millis(200);

/// How payments are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Closed,
    Full,
    Open { rate: f64 },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.near)?;
    let mut report = Report::new(&args.form, vec![cores.near, cores.far]);
    let mut rig = Rig::start(args.keys, &args.place, cores)?;
    rig.load.fill(args.keys * FULL).context("filling the windows")?;

    let slices = args.slices as usize;
    let mut idle = Noise::new()?;
    let (closed, noise) = rig.measure(args, Pace::Closed)?;
    idle.absorb(&noise)?;
    add(&mut report, "e2e.closed", Pace::Closed, &closed, &noise, slices);
    let (mut full, noise) = rig.measure(args, Pace::Full)?;
    idle.absorb(&noise)?;
    let saturated = median(&mut full.rates);
    ensure!(saturated >= 1.0, "no payment was decided at saturation: the slices are too short");
    add(&mut report, "e2e.saturation", Pace::Full, &full, &noise, slices);
    if full.busy == 0 {
        report.note("the ring was never full: e2e.saturation is the generator's rate, not the appliance's");
    }
    for share in SHARES {
        let pace = Pace::Open { rate: saturated * share as f64 / 100.0 };
        let (open, noise) = rig.measure(args, pace)?;
        idle.absorb(&noise)?;
        add(&mut report, &format!("e2e.open.{share}"), pace, &open, &noise, slices);
    }
    report.curve("idle wait", Curve::sample(idle.time_ns(), |quantile| idle.wait_ns(quantile)));
    notes(&mut report, &rig, cores);
    let full_rounds = rig.stop()?;
    if full_rounds > 0 {
        report.note(format!(
            "the journal ring was full in {full_rounds} of the engine's rounds: the disk, not the engine, set the pace then"
        ));
    }
    report.finish()
}

/// Adds a measure: its round trips, and beside them the engine's own part.
fn add(report: &mut Report, name: &str, pace: Pace, found: &Measured, noise: &Noise, slices: usize) {
    let mut figure = Figure::of_times(name, &found.times, slices);
    figure.idle = Some(noise.waits());
    figure.floor = figure.idle.map(|idle| idle.p50 as f64);
    figure.more = match pace {
        Pace::Closed => vec![("loop", json!("closed"))],
        Pace::Full => vec![("loop", json!("full")), ("ring_full", json!(found.busy))],
        Pace::Open { rate } => {
            vec![("loop", json!("open")), ("offered_per_s", json!(rate)), ("ring_full", json!(found.busy))]
        }
    };
    if pace == Pace::Full {
        figure.unit = Unit::PerSecond;
        figure.value = median(&mut found.rates.clone());
        figure.floor = None;
    }
    report.add(figure);
    report.add(Figure::of_times(format!("{name}.service"), &found.service, slices));
}

fn notes(report: &mut Report, rig: &Rig, cores: Cores) {
    report.note(
        "e2e.closed: one in flight. e2e.saturation: the ring kept full; its times are mostly waiting in the ring. e2e.open.N: \
         N % of the saturated rate, timed from when each payment was due. service: what the engine says a decision took, \
         its journal frame included. idle wait: what an event due at a random moment waited on the client's core, \
         watched before each slice for as long.",
    );
    if let Some(note) = cores.note() {
        report.note(note);
    } else if cores.cold == cores.near {
        report.note("there is no third core: the journal's writer has to share the client's");
    }
    if is_on_tmpfs(rig.disk.path()) {
        report.note("the journal was on tmpfs: no disk was measured; choose one by --journal-dir");
    }
    if rig.load.inexact() > 0 {
        report.note(format!(
            "{} verdicts were marked inexact: the engine had too little room",
            rig.load.inexact()
        ));
    }
}

/// The appliance and its client, in directories that vanish. Fields are dropped in this order.
pub(crate) struct Rig {
    pub(crate) load: Load,
    output: BufReader<ChildStdout>,
    child: Child,
    disk: TempDir,
    memory: TempDir,
}

impl Rig {
    pub(crate) fn start(keys: u64, at: &Place, cores: Cores) -> Result<Self> {
        let place = |parent: &Path| {
            let made = tempfile::Builder::new().prefix("tollgate-bench-").tempdir_in(parent);
            made.with_context(|| format!("a directory in {}", parent.display()))
        };
        let disk = place(&at.journal_dir.clone().unwrap_or_else(std::env::temp_dir))?;
        let memory = place(&at.runtime_dir)?;
        let policy = appliance::policy();
        let (loaded, _) = tollgate::appliance::load(&policy)?;
        let pool = Pool::new(&loaded, keys)?;
        let runtime_dir = memory.path().join("run");
        let arguments = [
            format!("--runtime-dir={}", runtime_dir.display()),
            format!("--journal-dir={}", disk.path().join("journal").display()),
            format!("--core={}", cores.far),
            format!("--cold-core={}", cores.cold),
            format!("--keys={keys}"),
        ];
        let mut child = Child::spawn("appliance", &arguments, &[])?;
        let output = child.process.stdout.take().context("the appliance's output")?;
        let mut output = BufReader::new(output);
        let said = line(&mut output)?;
        if said != appliance::READY {
            child.finish(PATIENCE)?;
            anyhow::bail!("the appliance said {said:?} instead of {:?}", appliance::READY);
        }
        let options = ClientOptions {
            schema_hash: loaded.program().layout_hash,
            slot_bytes: SLOT_BYTES,
            name: "bench".to_owned(),
            timeout: PATIENCE,
            durable: false,
        };
        let client = Client::connect(&runtime_dir.join(appliance::SOCKET), options)?;
        Ok(Self { load: Load::new(client, pool), output, child, disk, memory })
    }

    /// Where the appliance can be asked things.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.memory.path().join("run").join(appliance::CONTROL)
    }

    /// All slices of one measure, each after a look at the core.
    fn measure(&mut self, args: &Args, pace: Pace) -> Result<(Measured, Noise)> {
        let time_ns = args.slice_ms * 1_000_000;
        let slice = Slice { warm_ns: time_ns / 5, time_ns };
        let (mut found, mut noise) = (Measured::new()?, Noise::new()?);
        for _ in 0..args.slices {
            self.child.check()?;
            std::thread::sleep(SETTLE.min(Duration::from_millis(args.slice_ms)));
            noise.look(time_ns)?;
            match pace {
                Pace::Closed => self.load.closed(slice, &mut found)?,
                Pace::Full => self.load.saturate(slice, &mut found)?,
                Pace::Open { rate } => self.load.open(rate, slice, &mut found)?,
            }
        }
        ensure!(!found.times.is_empty(), "nothing was measured: the slices are too short");
        Ok((found, noise))
    }

    /// Ends the appliance in good order, and holds what it decided against what was answered. Returns the rounds in which
    /// the journal ring had no room.
    pub(crate) fn stop(mut self) -> Result<u64> {
        let answered = self.load.answered();
        drop(self.load);
        drop(self.child.process.stdin.take());
        let counts: Value =
            serde_json::from_str(&line(&mut self.output)?).context("the appliance's counts")?;
        self.child.finish(PATIENCE)?;
        let decided = counts["decided"].as_u64().context("the number of decisions")?;
        ensure!(decided == answered, "{answered} payments were answered, but {decided} decided");
        counts["journal_full"].as_u64().context("the rounds without room in the journal")
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    output.read_line(&mut line).context("the appliance's output")?;
    Ok(line.trim_end().to_owned())
}
