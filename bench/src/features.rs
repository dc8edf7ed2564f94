//! `features`: one whole decision inside the engine with 45 features over five keys, beside five lookups that do nothing.
//!
//! The floor reads as many bytes of memory as the engine has for its index and its records, at as many random places, and
//! in the same two rounds. All ways take turns in slices, as in `ring`. And what keys and their events take in memory, when how
//! many a key has is left to chance.

mod floor;
mod load;

use std::hint::black_box;

use anyhow::{Context, Result, bail, ensure};
use clap::value_parser;
use hdrhistogram::Histogram;
use serde_json::json;
use tollgate::encode::EventWords;
use tollgate::engine::units::Time;
use tollgate::engine::wire::{Admission, Input, event_time};
use tollgate::engine::{Counters, Engine, Footprint, Limits, Loaded, ROWS_PER_KEY_LIMIT, Step};
use tollgate::os::memory;
use tollgate_ring::monotonic_ns;

use crate::figure::{Figure, Form, Report};
use crate::interrupt;
use crate::machine::{Cores, pin};
use crate::stats::{histogram, median};
use floor::Floor;
use load::{Draw, ENTITIES, Payments};

/// What `features` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of each of the five entities, as powers of two; several with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [11, 17, 21], value_parser = value_parser!(u32).range(1..=26))]
    keys_log2: Vec<u32>,
    /// Payments of a key in the longest window; several with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [16], value_parser = value_parser!(u64).range(1..=1_000_000))]
    population: Vec<u64>,
    /// Rounds of slices. One more, before them, warms up.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=10_000))]
    slices: u64,
    /// Length of a slice.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u64).range(1..=10_000))]
    slice_ms: u64,
    /// Keys of each of the five entities for the figures of memory, as a power of two.
    #[arg(long, default_value_t = 17, value_parser = value_parser!(u32).range(1..=24))]
    memory_keys_log2: u32,
    /// Only these ways beside the floor, as for a profile of one.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Way::Prefetched, Way::Plain, Way::Bursts])]
    ways: Vec<Way>,
    /// Do not ask the system for large pages, for the engine or the floor.
    #[arg(long)]
    small_pages: bool,
    #[command(flatten)]
    form: Form,
}

/// Payments that are made ready before any of them is timed.
const BATCH: usize = 64;
/// Payments that a burst holds.
const BURST: usize = 16;
/// The keys of the figure without a suffix: ten million in all.
const KEYS_LOG2: u32 = 21;
const POPULATION: u64 = 16;
/// Payments of a key in the longest window, on average, for the figures of memory.
const MEMORY_POPULATION: u64 = 20;
/// What a key should take at most, and what each of its stored events on top: bytes, index and slabs included.
const KEY_BYTES: u64 = 96;
const EVENT_BYTES: u64 = 32;

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.far)?;
    let mut report = Report::new(&args.form, vec![cores.far]);
    let loaded = load::load()?;
    for &keys_log2 in &args.keys_log2 {
        for &population in &args.population {
            Case { keys_log2, population }.measure(args, &loaded, &mut report)?;
        }
    }
    for draw in [Draw::Poisson, Draw::Geometric] {
        report.add(memory(args, &loaded, draw)?);
    }
    report.note(
        "One whole decision of the engine, without ring and journal: decode, duplicates, 45 features over five keys, a rule, \
         five rows stored. Every one is timed by itself, and so is every floor: five lookups in two dependent rounds over as \
         many bytes. value: the median of the slices' medians; ratio: the median of the slices' ratios. plain: without \
         prefetch; bursts: 16 prefetched together, an event's share of the time. memory: what a key takes with all its \
         events, 20 on average; beside it, as floor, what it should take at most: 96 bytes, and 32 for each event.",
    );
    report.finish()
}

/// How the engine is asked.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    #[value(skip)]
    Floor,
    Prefetched,
    Plain,
    Bursts,
}

impl Way {
    const ALL: [Self; 4] = [Self::Floor, Self::Prefetched, Self::Plain, Self::Bursts];
}

struct Case {
    keys_log2: u32,
    population: u64,
}

/// An engine being fed.
struct Fed<'p> {
    engine: Engine,
    payments: Payments<'p>,
    batch: Vec<EventWords>,
    floor: Floor,
    floor_number: u64,
}

impl Case {
    fn name(&self, draw: Draw, way: Way) -> String {
        let draw = match draw {
            Draw::Uniform => "uniform",
            Draw::Zipf => "zipf",
            Draw::Poisson => "poisson",
            Draw::Geometric => "geometric",
        };
        let mut name =
            if way == Way::Floor { format!("floor.lookups.{draw}") } else { format!("features.45.{draw}") };
        if self.keys_log2 != KEYS_LOG2 {
            name += &format!(".keys.{}", ENTITIES.len() << self.keys_log2);
        }
        if self.population != POPULATION {
            name += &format!(".population.{}", self.population);
        }
        name += match way {
            Way::Floor | Way::Prefetched => "",
            Way::Plain => ".plain",
            Way::Bursts => ".bursts",
        };
        name
    }

    fn measure(&self, args: &Args, loaded: &Loaded, report: &mut Report) -> Result<()> {
        let mut fed = self.fill(args, loaded)?;
        for draw in [Draw::Uniform, Draw::Zipf] {
            fed.payments.set(draw, self.population);
            if draw == Draw::Zipf {
                // The windows now reach over fewer payments: until they hold none of before.
                fed.feed(fed.payments.in_longest_window())?;
            }
            let (footprint, before) = (fed.engine.footprint(), *fed.engine.counters());
            let figures = self.slices(args, &mut fed, draw)?;
            for figure in figures {
                let mut more = parts(&footprint);
                more.push(("population", json!(self.population)));
                more.extend(work(&before, fed.engine.counters()));
                report.add(Figure { more, ..figure });
            }
        }
        Ok(())
    }

    /// An engine whose windows are full.
    fn fill<'p>(&self, args: &Args, loaded: &'p Loaded) -> Result<Fed<'p>> {
        let payments = Payments::new(loaded, self.keys_log2, self.population)?;
        let engine = engine(loaded, &payments, self.population)?;
        if !args.small_pages {
            memory::prefer_huge_pages().context("large pages")?;
        }
        let mut fed = Fed::new(engine, payments)?;
        // Once more than the windows hold, so that what is stored has also been dropped.
        fed.feed(fed.payments.keys() * (self.population + 1))?;
        fed.ensure_nothing_lost()?;
        let Footprint { index_bytes, record_bytes, slab_bytes, .. } = fed.engine.footprint();
        fed.floor = Floor::new(index_bytes, record_bytes + slab_bytes, !args.small_pages)?;
        Ok(fed)
    }

    fn slices(&self, args: &Args, fed: &mut Fed<'_>, draw: Draw) -> Result<Vec<Figure>> {
        let mut medians: [Vec<f64>; Way::ALL.len()] = Default::default();
        let mut times = Vec::new();
        for _ in Way::ALL {
            times.push(histogram()?);
        }
        for round in 0..=args.slices {
            let is_wanted = |way: &Way| *way == Way::Floor || args.ways.contains(way);
            let ways = Way::ALL.iter().zip(medians.iter_mut().zip(&mut times));
            for (way, (medians, times)) in ways.filter(|(way, _)| is_wanted(way)) {
                let mut slice = histogram()?;
                fed.slice(*way, args.slice_ms * 1_000_000, &mut slice)?;
                if round > 0 {
                    medians.push(slice.value_at_quantile(0.5) as f64);
                    times.add(&slice).context("histograms of one shape")?;
                }
            }
        }
        let floors = medians[0].clone();
        let figure = |(way, (mut medians, times)): (&Way, (Vec<f64>, &Histogram<u64>))| {
            let mut figure = Figure::of_times(self.name(draw, *way), times, args.slices as usize);
            if *way != Way::Floor {
                let mut ratios: Vec<f64> =
                    medians.iter().zip(&floors).map(|(one, floor)| one / floor).collect();
                figure.floor = Some(median(&mut floors.clone()));
                figure.ratio = Some(median(&mut ratios));
            }
            figure.value = median(&mut medians);
            figure
        };
        let ways = Way::ALL.iter().zip(medians.into_iter().zip(&times));
        Ok(ways.filter(|(_, (medians, _))| !medians.is_empty()).map(figure).collect())
    }
}

/// One that has room for so many payments of each key.
fn engine(loaded: &Loaded, payments: &Payments<'_>, population: u64) -> Result<Engine> {
    let rows = payments.keys() * population * ENTITIES.len() as u64;
    let limits = Limits {
        keys_max: u32::try_from(payments.keys())?,
        spill_bytes_max: (rows * 64).max(1 << 20),
        rows_per_key_max: ROWS_PER_KEY_LIMIT,
        dedup_entries_max: 1 << 16,
        lateness_us: 0,
        ..Limits::default()
    };
    Engine::new(loaded.clone(), &limits).map_err(|error| anyhow::anyhow!(error.message))
}

/// What keys take with all their events, when the number of a key's events is drawn. Three windows go by first, so that what
/// is stored has come and gone.
fn memory(args: &Args, loaded: &Loaded, draw: Draw) -> Result<Figure> {
    let mut payments = Payments::new(loaded, args.memory_keys_log2, MEMORY_POPULATION)?;
    payments.set(draw, MEMORY_POPULATION);
    let engine = engine(loaded, &payments, MEMORY_POPULATION)?;
    let mut fed = Fed::new(engine, payments)?;
    fed.feed(3 * fed.payments.in_longest_window())?;
    fed.ensure_nothing_lost()?;
    let footprint = fed.engine.footprint();
    let stored = fed.payments.in_longest_window() * ENTITIES.len() as u64;
    let budget = KEY_BYTES * footprint.keys + EVENT_BYTES * stored;
    let keys = footprint.keys as f64;
    let name = match draw {
        Draw::Geometric => "features.memory.geometric",
        _ => "features.memory",
    };
    let mut figure = Figure::of_bytes(name, bytes(&footprint) as f64 / keys, budget as f64 / keys);
    figure.more = parts(&footprint);
    figure.more.extend([
        ("stored", json!(stored)),
        ("budget_bytes", json!(budget)),
        ("bytes_per_stored", json!(bytes(&footprint) as f64 / stored as f64)),
    ]);
    figure.more.extend(work(&Counters::default(), fed.engine.counters()));
    Ok(figure)
}

fn bytes(footprint: &Footprint) -> u64 {
    footprint.index_bytes + footprint.record_bytes + footprint.slab_bytes
}

/// What keys and stored rows take.
fn parts(footprint: &Footprint) -> Vec<(&'static str, serde_json::Value)> {
    let Footprint { keys, index_bytes, record_bytes, slab_bytes, .. } = *footprint;
    vec![
        ("keys", json!(keys)),
        ("index_bytes", json!(index_bytes)),
        ("record_bytes", json!(record_bytes)),
        ("slab_bytes", json!(slab_bytes)),
        ("bytes_per_key", json!(bytes(footprint) as f64 / keys.max(1) as f64)),
    ]
}

/// Rows, and entries of trees, that a decision looked at and moved, on average since `before`; and the most for one since start.
fn work(before: &Counters, now: &Counters) -> [(&'static str, serde_json::Value); 3] {
    let decided = (now.decided - before.decided).max(1) as f64;
    let mean = |before: u64, now: u64| json!((now - before) as f64 / decided);
    [
        ("rows_scanned", mean(before.rows_scanned, now.rows_scanned)),
        ("rows_moved", mean(before.rows_moved, now.rows_moved)),
        ("event_work_max", json!(now.event_work_max)),
    ]
}

fn input(kind: u16, words: &EventWords) -> Input<'_> {
    let received = event_time(words.words());
    Input {
        principal: 0,
        kind,
        admission: Admission::Normal,
        received: Time(received.0),
        words: words.words(),
    }
}

impl<'p> Fed<'p> {
    /// With no floor yet.
    fn new(engine: Engine, payments: Payments<'p>) -> Result<Self> {
        let floor = Floor::new(0, 0, false)?;
        Ok(Self { engine, payments, batch: Vec::with_capacity(BATCH), floor, floor_number: 0 })
    }

    fn ensure_nothing_lost(&self) -> Result<()> {
        let counters = self.engine.counters();
        ensure!(counters.rows_lost + counters.keys_lost == 0, "the engine was made too small: {counters:?}");
        Ok(())
    }

    fn refill(&mut self) {
        self.batch.clear();
        for _ in 0..BATCH {
            self.batch.push(self.payments.next());
        }
    }

    fn feed(&mut self, payments: u64) -> Result<()> {
        for number in 0..payments.div_ceil(BATCH as u64) {
            if number.is_multiple_of(1 << 10) {
                interrupt::check()?;
            }
            self.refill();
            self.burst(0..BATCH)?;
        }
        Ok(())
    }

    fn burst(&mut self, range: std::ops::Range<usize>) -> Result<()> {
        let kind = self.payments.kind;
        let inputs = self.batch[range].iter().map(|words| input(kind, words));
        self.engine.look_ahead(inputs.clone());
        for input in inputs {
            decided(self.engine.step(&input))?;
        }
        Ok(())
    }

    fn slice(&mut self, way: Way, time_ns: u64, times: &mut Histogram<u64>) -> Result<()> {
        let end = monotonic_ns() + time_ns;
        let kind = self.payments.kind;
        while monotonic_ns() < end {
            interrupt::check()?;
            if way != Way::Floor {
                self.refill();
            }
            let mut before = monotonic_ns();
            let mut note = |events: u64| {
                let now = monotonic_ns();
                times.saturating_record_n((now - before) / events, events);
                before = now;
            };
            match way {
                Way::Floor => {
                    for _ in 0..BATCH {
                        self.floor_number += 1;
                        black_box(self.floor.reads(self.floor_number));
                        note(1);
                    }
                }
                Way::Prefetched | Way::Plain => {
                    for words in &self.batch {
                        let input = input(kind, words);
                        if way == Way::Prefetched {
                            self.engine.look_ahead([input]);
                        }
                        decided(self.engine.step(&input))?;
                        note(1);
                    }
                }
                Way::Bursts => {
                    for start in (0..BATCH).step_by(BURST) {
                        self.burst(start..start + BURST)?;
                        note(BURST as u64);
                    }
                }
            }
        }
        Ok(())
    }
}

fn decided(step: Step) -> Result<()> {
    match step {
        Step::Decided(_) => Ok(()),
        other => bail!("a payment was not decided: {other:?}"),
    }
}
