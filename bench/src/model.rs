//! `model`: the margin of one row, beside LightGBM's own call for single rows and XGBoost's, over models that those trained.
//!
//! `bench/models/peers.py` trains the models and says where the libraries are; they are loaded into this process, so that all
//! score the same rows on the same core, in turns, slice by slice. Before anything is timed, all margins are compared: with
//! LightGBM's and with XGBoost's own of the same model, to the last bit.
//!
//! Warm: row after row, with all that the model needs in the caches. Cold: before each row a block of memory that is larger
//! than the last cache is read, as an appliance does that scores a payment now and then among much else.

mod peers;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::value_parser;
use hdrhistogram::Histogram;
use serde_json::json;
use tollgate_model::archive::{self, Opened};
use tollgate_model::import::{self, Format, Options};
use tollgate_model::kernel::Kernel;
use tollgate_model::model::Body;
use tollgate_model::scorer::Scorer;
use tollgate_ring::monotonic_ns;

use crate::figure::{Figure, Form, Report, Unit};
use crate::interrupt;
use crate::machine::{Cores, pin};
use crate::stats::{histogram, median};
use peers::{LightGbm, XGBoost};

/// What `model` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What `bench/models/peers.py` has written
    #[arg(long, value_name = "FOLDER")]
    peers: PathBuf,
    /// Rounds of slices. One more, before them, warms up.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=10_000))]
    slices: u64,
    /// Length of a slice.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(1..=10_000))]
    slice_ms: u64,
    /// Rows that are scored with cold caches, in each slice.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=10_000))]
    cold_rows: u64,
    #[command(flatten)]
    form: Form,
}

const SHAPES: [&str; 2] = ["100x31", "500x63"];
/// Rows that are timed together: the clock takes as long as a part of one.
const BURST: usize = 8;
/// Rows of a batch.
const BATCH: usize = 1_024;
/// More than the last cache of any processor this ran on.
const COLD_BYTES: usize = 192 << 20;

/// The margin of a row.
type Score<'a> = Box<dyn FnMut(&[f64]) -> f64 + 'a>;

/// What scores a row: ours by one kernel or another, or a library.
struct Way<'a> {
    name: String,
    score: Score<'a>,
    times: Histogram<u64>,
    medians: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: impl Into<String>, score: impl FnMut(&[f64]) -> f64 + 'a) -> Result<Self> {
        Ok(Self { name: name.into(), score: Box::new(score), times: histogram()?, medians: Vec::new() })
    }

    /// Takes the times of a slice.
    fn take(&mut self, times: &Histogram<u64>) -> Result<()> {
        self.medians.push(times.value_at_quantile(0.5) as f64);
        self.times.add(times).context("histograms of one shape")
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.far)?;
    let mut report = Report::new(&args.form, vec![cores.far]);
    let libraries = fs::read_to_string(args.peers.join("libraries.txt")).with_context(|| {
        format!("no libraries.txt in {}: run bench/models/peers.py", args.peers.display())
    })?;
    let mut libraries = libraries.lines();
    let mut library = || libraries.next().map(Path::new).context("libraries.txt names two libraries");
    let (lightgbm, xgboost) = (peers::Library::open(library()?)?, peers::Library::open(library()?)?);
    let rows = read_rows(&args.peers.join("rows.f64"))?;
    for shape in SHAPES {
        let file = |name: String| args.peers.join(name);
        let text = file(format!("lightgbm.{shape}.txt"));
        let ours = imported(Format::LightGbm, &text)?;
        let ours_of_xgboost = imported(Format::XGBoost, &file(format!("xgboost.{shape}.ubj")))?;
        let width = ours.inputs.len();
        ensure!(rows.len() % width == 0, "rows.f64 does not hold whole rows of {width}");
        let lightgbm = LightGbm::load(&lightgbm, &text, width)?;
        let xgboost = XGBoost::load(&xgboost, &file(format!("xgboost.{shape}.ubj")), width)?;
        compare(&ours, &ours_of_xgboost, &lightgbm, &xgboost, &rows)?;
        single(args, shape, &ours, &lightgbm, &xgboost, &rows, &mut report)?;
        batch(args, shape, &ours, &lightgbm, &xgboost, &rows, &mut report)?;
    }
    report.note(
        "model.TREESxLEAVES: the margin of one row; warm: a row's share of a burst of 8; cold: one row after reading 192 MiB; floor: \
         LightGBM's call for single rows (LGBM_BoosterPredictForMatSingleRowFast); ratio: the median of the slices' ratios. \
         model.batch: a row's share of 1 024 scored by one call; floor: LightGBM's call for many rows, one thread.",
    );
    report.finish()
}

fn imported(format: Format, path: &Path) -> Result<Opened> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    let model = import::import(format, &bytes, &Options::default())
        .with_context(|| format!("importing {}", path.display()))?;
    archive::open(&archive::seal(&model)).with_context(|| format!("{} as archived", path.display()))
}

fn read_rows(path: &Path) -> Result<Vec<f64>> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    ensure!(rest.is_empty(), "{} does not hold whole numbers of eight bytes", path.display());
    Ok(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

/// That all come to the same, to the last bit.
fn compare(
    ours: &Opened,
    ours_of_xgboost: &Opened,
    lightgbm: &LightGbm<'_>,
    xgboost: &XGBoost<'_>,
    rows: &[f64],
) -> Result<()> {
    let width = ours.inputs.len();
    for kernel in Kernel::available() {
        let mut scorer = Scorer::with_kernel(ours, kernel);
        let mut of_xgboost = Scorer::with_kernel(ours_of_xgboost, kernel);
        for (number, row) in rows.chunks_exact(width).enumerate() {
            let (found, expected) = (scorer.margin(ours, row), lightgbm.margin(row)?);
            ensure!(
                found.to_bits() == expected.to_bits(),
                "row {number}: {found:?} by {}, LightGBM {expected:?}",
                kernel.name()
            );
            let (found, expected) = (of_xgboost.margin(ours_of_xgboost, row), xgboost.margin(row)?);
            ensure!(
                found.to_bits() == expected.to_bits(),
                "row {number}: {found:?} by {}, XGBoost {expected:?}",
                kernel.name()
            );
        }
    }
    Ok(())
}

fn single(
    args: &Args,
    shape: &str,
    ours: &Opened,
    lightgbm: &LightGbm<'_>,
    xgboost: &XGBoost<'_>,
    rows: &[f64],
    report: &mut Report,
) -> Result<()> {
    for is_warm in [true, false] {
        let mut ways = vec![Way::new("lightgbm", |row: &[f64]| lightgbm.margin(row).unwrap_or(f64::NAN))?];
        for kernel in Kernel::available() {
            let mut scorer = Scorer::with_kernel(ours, kernel);
            ways.push(Way::new(kernel.name(), move |row: &[f64]| scorer.margin(ours, row))?);
        }
        ways.push(Way::new("xgboost", |row: &[f64]| xgboost.margin(row).unwrap_or(f64::NAN))?);
        let mut cold = if is_warm { Vec::new() } else { vec![1_u64; COLD_BYTES / 8] };
        for round in 0..=args.slices {
            for way in &mut ways {
                let mut times = histogram()?;
                if is_warm {
                    warm(args, way, rows, ours.inputs.len(), &mut times)?;
                } else {
                    let from = round as usize * args.cold_rows as usize;
                    for row in
                        rows.chunks_exact(ours.inputs.len()).cycle().skip(from).take(args.cold_rows as usize)
                    {
                        interrupt::check()?;
                        for line in cold.iter_mut().step_by(8) {
                            *line = line.wrapping_add(1);
                        }
                        // The row itself comes from the payment, and is at hand.
                        let row = black_box(row.to_vec());
                        let before = monotonic_ns();
                        black_box((way.score)(&row));
                        times.saturating_record(monotonic_ns() - before);
                    }
                }
                if round > 0 {
                    way.take(&times)?;
                }
            }
        }
        let name = format!("model.{shape}.{}", if is_warm { "warm" } else { "cold" });
        add(report, &name, ways, args.slices, ours);
    }
    Ok(())
}

fn warm(
    args: &Args,
    way: &mut Way<'_>,
    rows: &[f64],
    width: usize,
    times: &mut Histogram<u64>,
) -> Result<()> {
    let end = monotonic_ns() + args.slice_ms * 1_000_000;
    let mut bursts = rows.chunks_exact(width * BURST).cycle();
    while monotonic_ns() < end {
        interrupt::check()?;
        for burst in bursts.by_ref().take(16) {
            let before = monotonic_ns();
            for row in burst.chunks_exact(width) {
                black_box((way.score)(black_box(row)));
            }
            times.saturating_record_n((monotonic_ns() - before) / BURST as u64, BURST as u64);
        }
    }
    Ok(())
}

/// A figure for each way; the floor is the first, the figure without a name of its own is the best kernel's.
fn add(report: &mut Report, name: &str, ways: Vec<Way<'_>>, slices: u64, ours: &Opened) {
    let floors = ways[0].medians.clone();
    let best = Kernel::best().name();
    for mut way in ways {
        let name = if way.name == best { name.to_owned() } else { format!("{name}.{}", way.name) };
        let mut figure = Figure::of_times(name, &way.times, slices as usize);
        figure.unit = Unit::Ns;
        let mut ratios: Vec<f64> = way.medians.iter().zip(&floors).map(|(one, floor)| one / floor).collect();
        figure.value = median(&mut way.medians);
        figure.floor = Some(median(&mut floors.clone()));
        figure.ratio = Some(median(&mut ratios));
        if way.name == best
            && let Body::Trees(trees) = &ours.to_model().body
            && let Some(lanes) = &trees.lanes
        {
            figure.more = vec![
                ("kernel", json!(best)),
                ("columns", json!(lanes.columns.len())),
                ("slots", json!(lanes.slots.len())),
                ("lane_bytes", json!(lanes.bytes())),
            ];
        }
        report.add(figure);
    }
}

fn batch(
    args: &Args,
    shape: &str,
    ours: &Opened,
    lightgbm: &LightGbm<'_>,
    xgboost: &XGBoost<'_>,
    rows: &[f64],
    report: &mut Report,
) -> Result<()> {
    type ScoreAll<'a> = Box<dyn FnMut(&[f64], &mut [f64]) -> Result<()> + 'a>;
    let mut ways: Vec<(String, ScoreAll<'_>)> =
        vec![("lightgbm".to_owned(), Box::new(|rows, margins| lightgbm.margins(rows, margins)))];
    for kernel in Kernel::available() {
        let mut scorer = Scorer::with_kernel(ours, kernel);
        let score = move |rows: &[f64], margins: &mut [f64]| {
            scorer.margins(ours, rows, margins);
            Ok(())
        };
        ways.push((kernel.name().to_owned(), Box::new(score)));
    }
    ways.push(("xgboost".to_owned(), Box::new(|rows, margins| xgboost.margins(rows, margins))));
    let mut timed: Vec<Way<'_>> =
        ways.iter().map(|(name, _)| Way::new(name, |_: &[f64]| 0.0)).collect::<Result<_>>()?;
    let mut margins = vec![0.0; BATCH];
    for round in 0..=args.slices {
        for ((_, score), timed) in ways.iter_mut().zip(&mut timed) {
            let mut times = histogram()?;
            let end = monotonic_ns() + args.slice_ms * 1_000_000;
            for batch in rows.chunks_exact(ours.inputs.len() * BATCH).cycle() {
                interrupt::check()?;
                let before = monotonic_ns();
                score(black_box(batch), &mut margins)?;
                times.saturating_record_n((monotonic_ns() - before) / BATCH as u64, BATCH as u64);
                if monotonic_ns() >= end {
                    break;
                }
            }
            if round > 0 {
                timed.take(&times)?;
            }
        }
    }
    add(report, &format!("model.batch.{shape}"), timed, args.slices, ours);
    Ok(())
}
