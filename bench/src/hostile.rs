//! `hostile`: what a client that writes anything anywhere in its own memory costs the others.
//!
//! An honest client asks in a closed loop and times every round trip; a neighbour, with a connection of its own to the
//! same server, acts once in each of them. Between the slices only its manner differs: silent, calm or hostile. The thread that
//! waits for the answer does the neighbour's stores, so that they fall into the very time that the server answers in, and
//! take the same time of the same core in every manner.

mod neighbour;
mod raw;
mod server;

pub(crate) use server::{Args as ServerArgs, run as serve};

use std::hint::spin_loop;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::value_parser;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tollgate_ring::{Client, ClientOptions, monotonic_ns};

use crate::child::Child;
use crate::control::Control;
use crate::figure::{Figure, Form, Report};
use crate::machine::{Cores, pin};
use crate::memory::Memory;
use crate::peer::{LISTENING, SOCKET};
use crate::stats::{histogram, median};
use neighbour::{Manner, Neighbour, Trick};
use raw::Rings;
use server::GEOMETRY;

/// What `hostile` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds of slices: each has one slice of every manner.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(1..=10_000))]
    slices: u64,
    /// Length of a slice. A fifth of it is spent before, to warm up.
    #[arg(long, default_value_t = 250, value_parser = value_parser!(u64).range(10..=10_000))]
    slice_ms: u64,
    /// How often the neighbour connects anew, in every manner.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u64).range(1..=1_000))]
    connects_per_s: u64,
    /// What a hostile neighbour does, one for each connection, in turn.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values_t = [Trick::Asleep, Trick::Storm, Trick::Tear, Trick::Stall])]
    tricks: Vec<Trick>,
    #[command(flatten)]
    form: Form,
}

/// The manners in the order of the figures. The goal is that of the last to the one before.
const MANNERS: [(Manner, &str); 3] = [
    (Manner::Silent, "hostile.silent.p999"),
    (Manner::Calm, "hostile.calm.p999"),
    (Manner::Hostile, "hostile.p999"),
];
/// More than this is a failing of the product, or of the machine.
const GOAL: f64 = 1.2;
/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks for an answer between two looks at the clock; where both ends share a core, between two yields.
const LOOKS: u32 = 1 << 16;
/// Round trips that a neighbour stays after what earns it a quarantine: the server looks at it in every one.
const GRACE: u32 = 2 * GEOMETRY.request_capacity;

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.near)?;
    let directory = tempfile::Builder::new().prefix("tollgate-bench-").tempdir().context("a directory")?;
    let socket = directory.path().join(SOCKET);
    let memory = Memory::new(crate::control::CONTROL_BYTES)?;
    let (mut child, mut output) = start(cores, &socket, &memory)?;
    let (orders, ordered) = channel();
    let (made, makes) = channel();
    let porter = Porter { socket: socket.clone(), ordered, made };
    let found = std::thread::scope(|scope| {
        scope.spawn(move || porter.work());
        // The porter ends with the orders, which end with the street.
        let mut street = Street::new(args, &socket, orders, makes)?;
        let series = measure(args, &mut street)?;
        anyhow::Ok((series, street.counts()))
    });
    child.check()?;
    Control::new(&memory).end();
    let (series, counts) = found?;
    let mut said = String::new();
    output.read_line(&mut said).context("the server's counts")?;
    child.finish(PATIENCE)?;
    let served: Value =
        serde_json::from_str(&said).with_context(|| format!("the server's counts: {said}"))?;
    report(args, cores, series, counts, &served)
}

fn start(cores: Cores, socket: &Path, memory: &Memory) -> Result<(Child, BufReader<ChildStdout>)> {
    use std::os::fd::AsRawFd;
    let arguments = [
        format!("--core={}", cores.far),
        format!("--cold-core={}", cores.cold),
        format!("--socket={}", socket.display()),
        format!("--memory={}", memory.file().as_raw_fd()),
    ];
    let mut child = Child::spawn("hostile-server", &arguments, &[memory.file()])?;
    let output = child.process.stdout.take().context("the serving process's output")?;
    let (mut output, mut said) = (BufReader::new(output), String::new());
    output.read_line(&mut said)?;
    if said.trim_end() != LISTENING {
        child.finish(PATIENCE)?;
        bail!("the serving process said {said:?} instead of {LISTENING:?}");
    }
    Ok((child, output))
}

/// Connects for the neighbour, and closes what it leaves behind: none of that in the measuring thread.
struct Porter {
    socket: PathBuf,
    ordered: Receiver<Order>,
    made: Sender<Result<Rings>>,
}

enum Order {
    Connect(Manner),
    Close(Rings),
}

impl Porter {
    fn work(self) {
        for order in self.ordered {
            match order {
                Order::Connect(manner) => {
                    let rings = Rings::connect(&self.socket, GEOMETRY.slot_bytes as usize);
                    let rings = if manner == Manner::Silent {
                        rings.and_then(|rings| rings.aside(GEOMETRY))
                    } else {
                        rings
                    };
                    // Nobody takes it only when the run has failed.
                    let _ = self.made.send(rings);
                }
                Order::Close(rings) => drop(rings),
            }
        }
    }
}

/// What the neighbour came to.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    connects: u64,
    /// Of these, in hostile slices.
    hostile: u64,
    /// Of the hostile ones, those put in quarantine.
    quarantined: u64,
    /// Connections of a well-behaved neighbour put in quarantine: must be none.
    wronged: u64,
    /// Round trips of the honest client, and those whose answer was missing or another's.
    asked: u64,
    lost: u64,
}

/// Where the neighbour is in its life.
enum Stage {
    /// No connection until then.
    Away { until_ns: u64 },
    /// The porter has been told.
    Coming,
    /// In service until then.
    In { until_ns: u64 },
    /// It has done its worst, and stays for so many round trips more.
    Leaving { trips: u32, since_ns: u64 },
}

/// The honest client and its neighbour.
struct Street {
    honest: Client,
    payload: Vec<u64>,
    manner: Manner,
    stage: Stage,
    neighbour: Option<Neighbour>,
    /// Does the stores while the neighbour has no connection.
    stand_in: Neighbour,
    tricks: Vec<Trick>,
    /// From one connection to the next.
    period_ns: u64,
    orders: Sender<Order>,
    made: Receiver<Result<Rings>>,
    counts: Counts,
}

impl Street {
    fn new(args: &Args, socket: &Path, orders: Sender<Order>, made: Receiver<Result<Rings>>) -> Result<Self> {
        let options = ClientOptions {
            schema_hash: [0; 32],
            slot_bytes: GEOMETRY.slot_bytes,
            name: "honest".to_owned(),
            timeout: PATIENCE,
            durable: false,
        };
        let honest = Client::connect(socket, options).context("the honest client")?;
        Ok(Self {
            payload: vec![7; honest.geometry().request_words()],
            honest,
            manner: Manner::Silent,
            stage: Stage::Away { until_ns: 0 },
            neighbour: None,
            stand_in: Neighbour::new(Rings::private(GEOMETRY)?, Manner::Silent, Trick::Asleep, 0),
            tricks: args.tricks.clone(),
            period_ns: 1_000_000_000 / args.connects_per_s,
            orders,
            made,
            counts: Counts::default(),
        })
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    /// One slice of the neighbour's manner; what is timed before `from_ns` has passed is not recorded.
    fn slice(
        &mut self,
        manner: Manner,
        from_ns: u64,
        time_ns: u64,
        times: &mut Histogram<u64>,
    ) -> Result<()> {
        self.manner = manner;
        let start = monotonic_ns();
        self.stage = Stage::Away { until_ns: start };
        let mut now = start;
        while now - start < from_ns + time_ns {
            let (ns, at) = self.round_trip()?;
            if now - start >= from_ns {
                times.saturating_record(ns);
            }
            self.live(at)?;
            now = at;
        }
        // The neighbour leaves as it always does, before the next one comes.
        while !matches!(self.stage, Stage::Away { .. }) {
            let (_, now) = self.round_trip()?;
            if let Stage::In { until_ns } = &mut self.stage {
                *until_ns = now;
            }
            self.live(now)?;
        }
        Ok(())
    }

    /// One request of the honest client and its answer, with one act of the neighbour's before or in it. How long it took,
    /// and the time after it.
    #[inline]
    fn round_trip(&mut self) -> Result<(u64, u64)> {
        let number = self.counts.asked;
        self.counts.asked += 1;
        self.payload[0] = number;
        let neighbour = self.neighbour.as_mut().unwrap_or(&mut self.stand_in);
        let before = number.is_multiple_of(2);
        if before {
            neighbour.act();
        }
        // The neighbour's stores leave this core first: else the request would wait behind them in the store buffer, which a
        // client on a core of its own would not.
        fence(Ordering::SeqCst);
        let start = monotonic_ns();
        self.honest.send(1, number, start, &self.payload).context("the honest client's request")?;
        if !before {
            neighbour.act();
        }
        let mut looks = 0_u32;
        let verdict = loop {
            if let Some(verdict) = self.honest.recv().context("the honest client's answer")? {
                break verdict;
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS) {
                crate::interrupt::check()?;
                ensure!(
                    u128::from(monotonic_ns() - start) < PATIENCE.as_nanos(),
                    "an honest request has had no answer for {PATIENCE:?}"
                );
                std::thread::yield_now();
            }
            spin_loop();
        };
        let now = monotonic_ns();
        self.counts.lost += u64::from(verdict.req_id != number || verdict.payload != [number; 4]);
        Ok((now - start, now))
    }

    /// Brings the neighbour's life forward, between two round trips.
    #[inline]
    fn live(&mut self, now_ns: u64) -> Result<()> {
        match &mut self.stage {
            Stage::Away { until_ns } if now_ns >= *until_ns => {
                self.orders.send(Order::Connect(self.manner)).ok().context("the porter has gone")?;
                self.stage = Stage::Coming;
            }
            Stage::Coming => {
                let Ok(rings) = self.made.try_recv() else { return Ok(()) };
                let seed = self.counts.connects + 1;
                let trick = self.tricks[seed as usize % self.tricks.len()];
                self.neighbour = Some(Neighbour::new(rings?, self.manner, trick, seed));
                self.counts.connects += 1;
                self.counts.hostile += u64::from(self.manner == Manner::Hostile);
                self.stage = Stage::In { until_ns: now_ns + self.period_ns * 4 / 5 };
            }
            Stage::In { until_ns } if now_ns >= *until_ns => {
                self.neighbour.iter_mut().for_each(Neighbour::doom);
                self.stage = Stage::Leaving { trips: GRACE, since_ns: now_ns };
            }
            Stage::Leaving { trips: 0, since_ns } => {
                let neighbour = self.neighbour.take().context("a neighbour that leaves")?;
                let quarantined = u64::from(neighbour.quarantined());
                let in_time = u128::from(now_ns - *since_ns) < PATIENCE.as_nanos();
                if self.manner == Manner::Hostile && quarantined == 0 && in_time {
                    // A loaded machine may not have brought it to the engine thread yet.
                    self.neighbour = Some(neighbour);
                    self.stage = Stage::Leaving { trips: GRACE, since_ns: *since_ns };
                    return Ok(());
                }
                match self.manner {
                    Manner::Hostile => self.counts.quarantined += quarantined,
                    Manner::Silent | Manner::Calm => self.counts.wronged += quarantined,
                }
                self.orders.send(Order::Close(neighbour.into_rings())).ok().context("the porter has gone")?;
                self.stage = Stage::Away { until_ns: now_ns + self.period_ns / 5 };
            }
            Stage::Leaving { trips, .. } => *trips -= 1,
            Stage::Away { .. } | Stage::In { .. } => {}
        }
        Ok(())
    }
}

/// One manner's slices.
struct Series {
    pooled: Histogram<u64>,
    /// p50, p99 and p99.9 of each slice.
    slices: Vec<[f64; 3]>,
}

fn measure(args: &Args, street: &mut Street) -> Result<[Series; 3]> {
    let empty = || anyhow::Ok(Series { pooled: histogram()?, slices: Vec::new() });
    let mut series = [empty()?, empty()?, empty()?];
    let mut times = histogram()?;
    let time_ns = args.slice_ms * 1_000_000;
    for round in 0..args.slices as usize {
        for turn in 0..MANNERS.len() {
            // Each manner comes first as often as last, so that no drift of the machine favours one.
            let place = if round % 2 == 0 { turn } else { MANNERS.len() - 1 - turn };
            times.reset();
            street.slice(MANNERS[place].0, time_ns / 5, time_ns, &mut times)?;
            let one = &mut series[place];
            one.slices.push([0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile) as f64));
            one.pooled.add(&times)?;
        }
    }
    Ok(series)
}

/// The median of the ratios of two series, slice by slice: of p50, p99 and p99.9.
fn ratios(of: &Series, to: &Series) -> [f64; 3] {
    core::array::from_fn(|at| {
        median(&mut of.slices.iter().zip(&to.slices).map(|(of, to)| of[at] / to[at]).collect::<Vec<_>>())
    })
}

fn report(args: &Args, cores: Cores, series: [Series; 3], counts: Counts, served: &Value) -> Result<()> {
    let mut report = Report::new(&args.form, vec![cores.near, cores.far]);
    let value = |series: &Series| median(&mut series.slices.iter().map(|slice| slice[2]).collect::<Vec<_>>());
    let [silent, calm, hostile] = &series;
    let mut to_goal = f64::NAN;
    for ((manner, name), one) in MANNERS.iter().zip(&series) {
        let mut figure = Figure::of_times(*name, &one.pooled, args.slices as usize);
        figure.value = value(one);
        let floor = match manner {
            Manner::Silent => None,
            Manner::Calm => Some(silent),
            Manner::Hostile => Some(calm),
        };
        if let Some(floor) = floor {
            let [p50, p99, p999] = ratios(one, floor);
            figure.floor = Some(value(floor));
            figure.ratio = Some(p999);
            figure.more = vec![("ratio_p50", json!(p50)), ("ratio_p99", json!(p99))];
        }
        if *manner == Manner::Hostile {
            let [_, _, to_silent] = ratios(hostile, silent);
            to_goal = figure.ratio.unwrap_or(f64::NAN);
            figure.more.extend([
                ("ratio_silent", json!(to_silent)),
                ("tricks", json!(args.tricks.iter().map(|trick| format!("{trick:?}")).collect::<Vec<_>>())),
                ("connects", json!(counts.connects)),
                ("hostile_connects", json!(counts.hostile)),
                ("quarantined", json!(counts.quarantined)),
                ("asked", json!(counts.asked)),
                ("lost", json!(counts.lost)),
                ("server", served.clone()),
            ]);
        }
        report.add(figure);
    }
    report.note(format!(
        "value: the median of the slices' p99.9; ratio: the median of the slices' ratios to the floor, which is calm for \
         hostile (goal: at most {GOAL}{}) and silent for calm; percentiles: all slices together.",
        if to_goal > GOAL { ", missed" } else { "" },
    ));
    report.note(format!(
        "{} of {} hostile connections put in quarantine ({} by number, {} by length, {} by cursor); {} honest requests, {} \
         lost.",
        counts.quarantined,
        counts.hostile,
        served["sequence"],
        served["length"],
        served["cursor"],
        counts.asked,
        counts.lost
    ));
    if let Some(note) = cores.note() {
        report.note(note);
    }
    report.finish()?;
    let by_server: u64 = ["sequence", "length", "cursor"].iter().filter_map(|by| served[*by].as_u64()).sum();
    ensure!(counts.lost == 0, "{} honest requests got another's answer", counts.lost);
    ensure!(counts.wronged == 0, "{} well-behaved neighbours were put in quarantine", counts.wronged);
    ensure!(
        counts.quarantined == counts.hostile && by_server == counts.hostile,
        "of {} hostile connections, {} found themselves in quarantine and the server counts {by_server}",
        counts.hostile,
        counts.quarantined
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_slices_of_one_round() {
        let series = |slices: &[[f64; 3]]| Series { pooled: histogram().unwrap(), slices: slices.to_vec() };
        let calm = series(&[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [10.0, 20.0, 40.0]]);
        let hostile = series(&[[1.0, 3.0, 4.4], [2.0, 3.0, 4.0], [11.0, 20.0, 80.0]]);
        assert_eq!(ratios(&hostile, &calm), [1.1, 1.5, 1.1]);
    }
}
