//! `ring`: a round trip over the ring against its floor, and against what else two processes could use.
//!
//! Two processes, each pinned to a core: this one asks, a child of the same binary answers. All ways take turns in slices
//! of a fraction of a second, because the hypervisor moves the cores about: a figure is the median of its slices, and its
//! ratio the median of the ratios to the floor's slice of the same round.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::value_parser;
use hdrhistogram::Histogram;
use tollgate_ring::ConnectError;

use crate::child::Child;
use crate::control::{Control, NOBODY};
use crate::exchange::bare::{Bare, memory_bytes};
use crate::exchange::rings::RingCaller;
use crate::exchange::stream::{self, StreamCaller};
use crate::exchange::{Caller, Way};
use crate::figure::{Figure, Form, Report};
use crate::machine::{Cores, pin};
use crate::memory::Memory;
use crate::peer::{self, LISTENING, SOCKET};
use crate::stats::{histogram, median};

/// What `ring` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Bytes of a request slot: 128, 256 or 512; several with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 256, 512], value_parser = slot_bytes)]
    slot_bytes: Vec<usize>,
    /// Rounds of slices. One more, before them, warms up.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=10_000))]
    slices: u64,
    /// Length of a slice.
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u64).range(1..=10_000))]
    slice_ms: u64,
    #[command(flatten)]
    form: Form,
}

fn slot_bytes(text: &str) -> Result<usize, String> {
    match text {
        "128" => Ok(128),
        "256" => Ok(256),
        "512" => Ok(512),
        _ => Err("choose 128, 256 or 512".to_owned()),
    }
}

/// Batches of the fastest way in the longest usual slice.
const BATCHES: usize = 1 << 18;
/// How long the answering process may take to come and to go.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.near)?;
    let mut report = Report::new(&args.form, vec![cores.near, cores.far]);
    for &bytes in &args.slot_bytes {
        for figure in measure(args, cores, bytes)? {
            report.add(figure);
        }
    }
    if let Some(note) = cores.note() {
        report.note(note);
    }
    report.note(
        "value: the median of the slices' medians, by batches of 16 round trips; ratio: the median of the slices' ratios to \
         the floor; percentiles: round trips timed one by one, each with one reading of the clock in it. Every way polls at \
         both ends, but for peer.unix.blocking, which sleeps in read.",
    );
    #[cfg(not(feature = "iceoryx2"))]
    report.note(
        "peer.iceoryx2 is not built: cargo run --release -p tollgate-bench --features iceoryx2 -- ring",
    );
    report.finish()
}

/// One way's slices.
struct Series {
    name: String,
    caller: Box<dyn Caller>,
    turn: u64,
    medians: Vec<f64>,
    ratios: Vec<f64>,
    floor: f64,
    times: Histogram<u64>,
}

impl Series {
    fn new(way: Way, slot_bytes: usize, caller: Box<dyn Caller>) -> Result<Self> {
        Ok(Self {
            name: way.name(slot_bytes),
            caller,
            turn: peer::turn(way),
            medians: Vec::new(),
            ratios: Vec::new(),
            floor: f64::NAN,
            times: histogram()?,
        })
    }

    fn figure(mut self, slices: usize) -> Figure {
        let mut figure = Figure::of_times(self.name, &self.times, slices);
        figure.value = median(&mut self.medians);
        if !self.ratios.is_empty() {
            figure.floor = Some(self.floor);
            figure.ratio = Some(median(&mut self.ratios));
        }
        figure
    }
}

fn measure(args: &Args, cores: Cores, slot_bytes: usize) -> Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("tollgate-bench-").tempdir().context("a directory")?;
    #[cfg(feature = "iceoryx2")]
    let _leftovers = crate::exchange::iceoryx::Leftovers::of(directory.path());
    let memory = Rc::new(Memory::new(memory_bytes(slot_bytes))?);
    let (mut series, mut child) = open(cores, slot_bytes, directory.path(), &memory)?;
    let control = Control::new(&memory);
    let mut batches = Vec::with_capacity(BATCHES);
    for round in 0..=args.slices {
        let mut floor = f64::NAN;
        for (place, one) in series.iter_mut().enumerate() {
            control.give(one.turn, &mut child)?;
            let found = one.caller.slice(args.slice_ms * 1_000_000, &mut batches, &mut one.times);
            let median = found.with_context(|| format!("measuring {}", one.name))?;
            if place == 0 {
                floor = median;
            }
            if round == 0 {
                one.times.reset();
                continue;
            }
            one.medians.push(median);
            if place > 0 {
                one.ratios.push(median / floor);
            }
        }
    }
    // The answering end goes first, in good order.
    control.give(NOBODY, &mut child)?;
    control.end();
    child.finish(PATIENCE)?;
    let floor = median(&mut series[0].medians.clone());
    series.iter_mut().for_each(|one| one.floor = floor);
    // The asking ends go before the directory that some of them keep things in.
    Ok(series.into_iter().map(|one| one.figure(args.slices as usize)).collect())
}

/// Makes both ends of every way, and the process that has the answering ones.
fn open(
    cores: Cores,
    slot_bytes: usize,
    directory: &Path,
    memory: &Rc<Memory>,
) -> Result<(Vec<Series>, Child)> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for &way in Way::ALL {
        if let Some((near, far)) = stream::ends(way)? {
            here.push((way, near));
            there.extend([far.from, far.to]);
        }
    }
    let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let pairs: Vec<_> = there.iter().map(number).collect();
    let arguments = [
        format!("--core={}", cores.far),
        format!("--slot-bytes={slot_bytes}"),
        format!("--directory={}", directory.display()),
        format!("--memory={}", number(memory.file())),
        format!("--pairs={}", pairs.join(",")),
    ];
    let kept: Vec<&OwnedFd> = there.iter().chain([memory.file()]).collect();
    let mut child = Child::spawn("peer", &arguments, &kept)?;
    drop(there);
    let ring = connect(&directory.join(SOCKET), slot_bytes, &mut child)?;
    let mut said = String::new();
    let output = child.process.stdout.take().context("the answering process's output")?;
    BufReader::new(output).read_line(&mut said)?;
    if said.trim_end() != LISTENING {
        child.finish(PATIENCE)?;
        anyhow::bail!("the answering process said {said:?} instead of {LISTENING:?}");
    }
    let (mut ring, mut here) = (Some(ring), here.into_iter());
    let mut series = Vec::new();
    for &way in Way::ALL {
        let caller: Box<dyn Caller> = match way {
            Way::Bare => Box::new(Bare::new(Rc::clone(memory), slot_bytes)),
            Way::Ring => Box::new(ring.take().context("one ring")?),
            #[cfg(feature = "iceoryx2")]
            Way::Iceoryx2 => crate::exchange::iceoryx::caller(directory, slot_bytes)?,
            Way::Unix | Way::UnixBlocking | Way::SeqPacket | Way::Pipe | Way::Tcp => {
                let (made, pair) = here.next().context("an end for each way")?;
                ensure!(made == way, "ends were made in another order than they are used");
                Box::new(StreamCaller::new(way, pair, slot_bytes))
            }
        };
        series.push(Series::new(way, slot_bytes, caller)?);
    }
    Ok((series, child))
}

/// Connects as soon as the answering process listens.
fn connect(socket: &Path, slot_bytes: usize, child: &mut Child) -> Result<RingCaller> {
    let end = Instant::now() + PATIENCE;
    loop {
        child.check()?;
        crate::interrupt::check()?;
        match RingCaller::connect(socket, slot_bytes) {
            Err(ConnectError::NotListening { .. }) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.context("the ring"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still;

    impl Caller for Still {
        fn round_trip(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_figure_is_the_median_of_its_slices_and_a_floor_has_no_ratio() {
        let mut series = Series::new(Way::Ring, 256, Box::new(Still)).unwrap();
        series.medians = vec![300.0, 100.0, 200.0];
        series.ratios = vec![1.5, 1.1, 1.3];
        series.floor = 150.0;
        let figure = series.figure(3);
        assert_eq!((figure.name.as_str(), figure.value), ("ring.rtt.256", 200.0));
        assert_eq!((figure.floor, figure.ratio), (Some(150.0), Some(1.3)));

        let mut floor = Series::new(Way::Bare, 256, Box::new(Still)).unwrap();
        floor.medians = vec![100.0];
        let figure = floor.figure(1);
        assert_eq!((figure.floor, figure.ratio), (None, None));
    }

    #[test]
    fn only_the_rings_sizes_are_taken() {
        assert_eq!(slot_bytes("256"), Ok(256));
        assert!(slot_bytes("64").is_err());
    }
}
