//! `swap`: what it costs the payments that policies take over while they come.
//!
//! Payments come at a steady rate, each timed from when it was due. Between the slices only one thing differs: nobody deploys;
//! policies are deployed for trial, which compiles and validates them and makes all ready; they take over, and are rolled back,
//! in turns; or rules are killed and lists edited. What a take-over costs is the difference of the second and the third: compiling
//! takes a core for a while, and on a machine of two cores it takes it from the client or the engine.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::value_parser;
use serde_json::{Value, json};

use crate::e2e::load::{Measured, Slice};
use crate::e2e::{Place, Rig, appliance};
use crate::figure::{Figure, Form, Report};
use crate::machine::{Cores, pin};
use crate::payments::FULL;
use crate::stats::median;

/// What `swap` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Customers, and as many terminals.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=10_000_000))]
    keys: u64,
    /// Slices of each kind.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=1_000))]
    slices: u64,
    /// Length of a slice. A fifth of it is spent before, to warm up.
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u64).range(100..=600_000))]
    slice_ms: u64,
    /// Deployments, rollbacks or orders in a second.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=1_000))]
    per_s: u64,
    /// Payments in a second.
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(100..=10_000_000))]
    rate: u64,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// What is done to the appliance in a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Quiet,
    Trial,
    Swap,
    Orders,
}

const MANNERS: [(Manner, &str); 4] = [
    (Manner::Quiet, "swap.quiet.p999"),
    (Manner::Trial, "swap.trial.p999"),
    (Manner::Swap, "swap.p999"),
    (Manner::Orders, "swap.orders.p999"),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.near)?;
    let mut report = Report::new(&args.form, vec![cores.near, cores.far]);
    let mut rig = Rig::start(args.keys, &args.place, cores)?;
    rig.load.fill(args.keys * FULL).context("filling the windows")?;
    let socket = rig.control_socket();
    let time_ns = args.slice_ms * 1_000_000;
    let slice = Slice { warm_ns: time_ns / 5, time_ns };
    let mut found = [Measured::new()?, Measured::new()?, Measured::new()?, Measured::new()?];
    let mut tails: [Vec<f64>; 4] = Default::default();
    let (revision, mut done) = (AtomicU32::new(1), [0; 4]);
    // With what the orders are about.
    Desk::connect(&socket)?.done(&deployment(&revision, false))?;
    for _ in 0..args.slices {
        for (number, (manner, _)) in MANNERS.into_iter().enumerate() {
            let stop = AtomicBool::new(false);
            let mut one = Measured::new()?;
            let every = Duration::from_secs(1) / args.per_s as u32;
            let deployed = std::thread::scope(|scope| {
                let deployer = scope.spawn(|| {
                    pin(cores.cold)?;
                    deploy(&socket, manner, every, &revision, &stop)
                });
                let measured = rig.load.open(args.rate as f64, slice, &mut one);
                stop.store(true, Ordering::Relaxed);
                let deployed = deployer.join().map_err(|_| anyhow::anyhow!("the deployer panicked"))?;
                measured.and(deployed)
            })?;
            done[number] += deployed;
            tails[number].push(one.times.value_at_quantile(0.999) as f64);
            found[number].times.add(&one.times).context("adding up")?;
        }
    }
    let tail = |number: usize| median(&mut tails[number].clone());
    for (number, (_, name)) in MANNERS.into_iter().enumerate() {
        let mut figure = Figure::of_times(name, &found[number].times, args.slices as usize);
        figure.value = tail(number);
        figure.more = vec![("done", json!(done[number]))];
        if number > 0 {
            figure.floor = Some(tail(0));
            let ratios = tails[number].iter().zip(&tails[0]).map(|(one, quiet)| one / quiet);
            figure.ratio = Some(median(&mut ratios.collect::<Vec<f64>>()));
        }
        report.add(figure);
    }
    let to_trial = tails[2].iter().zip(&tails[1]).map(|(swap, trial)| swap / trial);
    report.note(format!(
        "{} take-overs, half of them rollbacks, and {} orders; against trial deployments, slice by slice, the 99.9th percentile is {:.2} times as high. value: median of \
         the slices' 99.9th percentiles",
        done[2],
        done[3],
        median(&mut to_trial.collect::<Vec<f64>>())
    ));
    if let Some(note) = cores.note() {
        report.note(note);
    }
    rig.stop()?;
    report.finish()
}

/// The control socket.
struct Desk(BufReader<UnixStream>);

impl Desk {
    fn connect(socket: &Path) -> Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket).context("the control socket")?)))
    }

    fn done(&mut self, request: &Value) -> Result<()> {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).context("asking the desk")?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).context("the desk's answer")?;
        let answer: Value = serde_json::from_str(&answer)?;
        let cold = answer["cold"].as_array().is_some_and(|cold| !cold.is_empty());
        ensure!(answer["ok"] == true && !cold, "not done: {answer}");
        Ok(())
    }
}

/// The handbook's policy with a list, in a revision that there has not been.
fn deployment(revision: &AtomicU32, dry_run: bool) -> Value {
    let number = revision.fetch_add(1, Ordering::Relaxed) + 1;
    let text = appliance::policy().first_text().replacen("revision 1", &format!("revision {number}"), 1)
        + "\nlist watched of terminal\nrule watched on payment { when terminal in watched then score 1 }\n";
    let texts = json!({ "name": "handbook.policy", "files": { "handbook.policy": text } });
    json!({ "do": "deploy", "texts": texts, "dry_run": dry_run })
}

/// Deploys, or orders, until told to stop; how many times.
fn deploy(
    socket: &Path,
    manner: Manner,
    every: Duration,
    revision: &AtomicU32,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut done = 0;
    if manner == Manner::Quiet {
        return Ok(done);
    }
    let mut desk = Desk::connect(socket)?;
    let mut due = Instant::now();
    let ordered = |mut order: Value| {
        order["owner"] = "bench".into();
        order["reason"] = "to see what it costs".into();
        order
    };
    while !stop.load(Ordering::Relaxed) {
        due += every;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let edit = |what: &str| json!({ "do": "edit_list", "list": "watched", "entry": format!("t{}", done / 4 % 1_000), "edit": what });
        let kill = |seconds: u64| json!({ "do": "kill_rule", "rule": "watched", "seconds": seconds });
        let request = match (manner, done % 4) {
            (Manner::Quiet | Manner::Trial, _) => deployment(revision, true),
            (Manner::Swap, 0 | 2) => deployment(revision, false),
            (Manner::Swap, _) => json!({ "do": "rollback" }),
            (Manner::Orders, 0) => ordered(edit("add")),
            (Manner::Orders, 1) => ordered(kill(60)),
            (Manner::Orders, 2) => ordered(edit("forget")),
            (Manner::Orders, _) => ordered(kill(0)),
        };
        desk.done(&request)?;
        done += 1;
    }
    Ok(done)
}
