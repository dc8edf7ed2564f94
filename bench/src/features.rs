//! `features`: what 45 features over five keys cost, beside five lookups that do nothing.
//!
//! A decision is measured with the features, and by another engine without: payments of the same kind, and a policy that is the same but
//! for them. What there is between the two is the features' share: looking ahead and up, own rows, computing, storing, sweeping, and
//! what the digest and the caches feel of it. A reading of the clock is in both of them and so in none of it; hence the floor, too, is
//! without.
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
    /// Only these ways beside the floor.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Way::ALL)]
    ways: Vec<Way>,
    /// Only whole decisions with the features, as for a profile.
    #[arg(long)]
    decisions_only: bool,
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
    let policies = Policies { with: load::load(true)?, without: load::load(false)? };
    for &keys_log2 in &args.keys_log2 {
        for &population in &args.population {
            Case { keys_log2, population }.measure(args, &policies, &mut report)?;
        }
    }
    for draw in [Draw::Poisson, Draw::Geometric] {
        report.add(memory(args, &policies.with, draw)?);
    }
    report.note(
        "quiet: of the slices in which decision.0 took at most a tenth more than in its quickest. decision.45: one whole decision of the engine, without ring and journal: decode, duplicates, 45 features over five keys, \
         a rule, five rows stored. decision.0: the same without features. features.45: the one less the other: keys \
         looked up, features computed, rows stored. Every decision is timed by itself, and so is every floor: five lookups in two \
         dependent rounds over as many bytes, less what timing nothing takes (clock_ns). value: the median of the slices' medians, of features.45 of their differences; \
         ratio: the median of the slices' ratios. plain: without prefetch; bursts: 16 prefetched together, an event's share \
         of the time. memory: what a key takes with all its events, 20 on average; beside it, as floor, what it should take \
         at most: 96 bytes, and 32 for each event.",
    );
    report.finish()
}

/// Decisions without features.
const BARE: &str = "decision.0";
/// Features of the other engine.
const FEATURES: f64 = 45.0;

/// How an engine is asked.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Prefetched,
    Plain,
    Bursts,
}

impl Way {
    const ALL: [Self; 3] = [Self::Prefetched, Self::Plain, Self::Bursts];

    fn suffix(self) -> &'static str {
        match self {
            Self::Prefetched => "",
            Self::Plain => ".plain",
            Self::Bursts => ".bursts",
        }
    }
}

/// The same policy with the features and without.
struct Policies {
    with: Loaded,
    without: Loaded,
}

struct Case {
    keys_log2: u32,
    population: u64,
}

/// Slices of one kind.
struct Series {
    medians: Vec<f64>,
    times: Histogram<u64>,
}

impl Series {
    fn new() -> Result<Self> {
        Ok(Self { medians: Vec::new(), times: histogram()? })
    }

    fn add(&mut self, slice: &Histogram<u64>) -> Result<()> {
        self.medians.push(slice.value_at_quantile(0.5) as f64);
        self.times.add(slice).context("histograms of one shape")
    }

    fn figure(&self, name: String) -> Figure {
        let value = median(&mut self.medians.clone());
        Figure { value, ..Figure::of_times(name, &self.times, self.medians.len()) }
    }
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
    fn name(&self, what: &str, draw: Draw) -> String {
        let draw = match draw {
            Draw::Uniform => "uniform",
            Draw::Zipf => "zipf",
            Draw::Poisson => "poisson",
            Draw::Geometric => "geometric",
        };
        let mut name = format!("{what}.{draw}");
        if self.keys_log2 != KEYS_LOG2 {
            name += &format!(".keys.{}", ENTITIES.len() << self.keys_log2);
        }
        if self.population != POPULATION {
            name += &format!(".population.{}", self.population);
        }
        name
    }

    fn measure(&self, args: &Args, policies: &Policies, report: &mut Report) -> Result<()> {
        // First, so that it is given large pages too.
        let payments = Payments::new(&policies.without, self.keys_log2, self.population)?;
        let mut bare = Fed::new(engine(&policies.without, &payments, self.population)?, payments)?;
        let mut fed = self.fill(args, &policies.with)?;
        for draw in [Draw::Uniform, Draw::Zipf] {
            fed.payments.set(draw, self.population);
            // It has no windows that time would have to go by for.
            bare.payments.draw(draw);
            if draw == Draw::Zipf {
                // The windows now reach over fewer payments: until they hold none of before.
                fed.feed(fed.payments.in_longest_window())?;
            }
            let (footprint, before) = (fed.engine.footprint(), *fed.engine.counters());
            let figures = self.slices(args, &mut fed, &mut bare, draw)?;
            for figure in figures {
                let mut more = figure.more;
                more.push(("population", json!(self.population)));
                // The other engine has no keys.
                if !figure.name.starts_with(BARE) {
                    more.extend(parts(&footprint));
                    more.extend(work(&before, fed.engine.counters()));
                }
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

    fn slices(&self, args: &Args, fed: &mut Fed<'_>, bare: &mut Fed<'_>, draw: Draw) -> Result<Vec<Figure>> {
        let slice_ns = args.slice_ms * 1_000_000;
        let (mut floors, mut nothing) = (Series::new()?, Series::new()?);
        let series = |&way| Ok((way, Series::new()?, Series::new()?));
        let mut all = args.ways.iter().map(series).collect::<Result<Vec<(Way, Series, Series)>>>()?;
        let turns = (args.slices + 1) * args.ways.len() as u64;
        for fed in [&*fed, &*bare] {
            let most = fed.payments.left() / turns;
            ensure!(
                most >= BATCH as u64,
                "only {most} payments a slice before the end of time, as few of them are in a window; lower --slices, or raise \
                 --population or --keys-log2"
            );
        }
        for round in 0..=args.slices {
            let slice = |series: &mut Series, fed: &mut Fed<'_>, way: Way| -> Result<()> {
                let mut times = histogram()?;
                let most = fed.payments.left() / (turns - round * args.ways.len() as u64);
                fed.slice(way, (slice_ns, most), &mut times)?;
                if round > 0 { series.add(&times) } else { Ok(()) }
            };
            let (mut floor, mut clock) = (histogram()?, histogram()?);
            fed.floor_slice(slice_ns, &mut floor, &mut clock)?;
            if round > 0 {
                floors.add(&floor)?;
                nothing.add(&clock)?;
            }
            for (way, with, without) in &mut all {
                slice(with, fed, *way)?;
                if !args.decisions_only {
                    slice(without, bare, *way)?;
                }
            }
        }
        let without_clock =
            floors.medians.iter().zip(&nothing.medians).map(|(floor, clock)| (floor - clock).max(1.0));
        let floor = Series { medians: without_clock.collect(), times: floors.times };
        let mut figures = vec![floor.figure(self.name("floor.lookups", draw))];
        figures[0].more.push(("clock_ns", json!(median(&mut nothing.medians))));
        let floors = &floor.medians;
        // Beside the floor, slice by slice.
        let beside = |figure: Figure, values: &[f64]| {
            let mut ratios: Vec<f64> = values.iter().zip(floors).map(|(one, floor)| one / floor).collect();
            Figure { floor: Some(median(&mut floors.clone())), ratio: Some(median(&mut ratios)), ..figure }
        };
        for (way, with, without) in &all {
            let name = |what: &str| self.name(what, draw) + way.suffix();
            figures.push(beside(with.figure(name("decision.45")), &with.medians));
            if args.decisions_only {
                continue;
            }
            figures.push(beside(without.figure(name(BARE)), &without.medians));
            let shares: Vec<f64> =
                with.medians.iter().zip(&without.medians).map(|(with, without)| with - without).collect();
            let mut share = Figure::of_slices(name("features.45"), median(&mut shares.clone()), shares.len());
            share.more.push(("per_feature_ns", json!(share.value / FEATURES)));
            figures.push(beside(share, &shares));
            let quiet = quiet(&without.medians);
            let of_quiet = |values: &[f64]| quiet.iter().map(|&slice| values[slice]).collect::<Vec<f64>>();
            let (shares, floors) = (of_quiet(&shares), of_quiet(floors));
            let mut ratios: Vec<f64> = shares.iter().zip(&floors).map(|(one, floor)| one / floor).collect();
            let name = name("features.45") + ".quiet";
            figures.push(Figure {
                floor: Some(median(&mut floors.clone())),
                ratio: Some(median(&mut ratios)),
                ..Figure::of_slices(name, median(&mut shares.clone()), quiet.len())
            });
        }
        Ok(figures)
    }
}

/// The slices in which nobody else used the core, as far as that can be told by what needs it most and the memory least: decisions
/// without features took at most a tenth more than in the quickest of all.
fn quiet(bare: &[f64]) -> Vec<usize> {
    let least = bare.iter().copied().fold(f64::INFINITY, f64::min);
    (0..bare.len()).filter(|&slice| bare[slice] <= least * 1.1).collect()
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
        let batches = payments.div_ceil(BATCH as u64);
        let (wanted, left) = (batches * BATCH as u64, self.payments.left());
        ensure!(
            wanted <= left,
            "only {left} payments before the end of time, as few of them are in a window, and {wanted} fill the windows; raise \
             --population or --keys-log2"
        );
        for number in 0..batches {
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

    /// So much time or so many payments, whichever is over first.
    fn slice(&mut self, way: Way, (time_ns, most): (u64, u64), times: &mut Histogram<u64>) -> Result<()> {
        let end = monotonic_ns() + time_ns;
        let kind = self.payments.kind;
        for _ in 0..most / BATCH as u64 {
            if monotonic_ns() >= end {
                break;
            }
            interrupt::check()?;
            self.refill();
            let mut stopwatch = Stopwatch::start(times);
            match way {
                Way::Prefetched | Way::Plain => {
                    for words in &self.batch {
                        let input = input(kind, words);
                        if way == Way::Prefetched {
                            self.engine.look_ahead([input]);
                        }
                        decided(self.engine.step(&input))?;
                        stopwatch.note(1);
                    }
                }
                Way::Bursts => {
                    for start in (0..BATCH).step_by(BURST) {
                        self.burst(start..start + BURST)?;
                        stopwatch.note(BURST as u64);
                    }
                }
            }
        }
        Ok(())
    }

    /// The floor, and what timing nothing takes.
    fn floor_slice(
        &mut self,
        time_ns: u64,
        times: &mut Histogram<u64>,
        nothing: &mut Histogram<u64>,
    ) -> Result<()> {
        let end = monotonic_ns() + time_ns;
        while monotonic_ns() < end {
            interrupt::check()?;
            let mut stopwatch = Stopwatch::start(nothing);
            for _ in 0..BATCH {
                stopwatch.note(1);
            }
            let mut stopwatch = Stopwatch::start(times);
            for _ in 0..BATCH {
                self.floor_number += 1;
                black_box(self.floor.reads(self.floor_number));
                stopwatch.note(1);
            }
        }
        Ok(())
    }
}

/// Times one thing after the other.
struct Stopwatch<'t> {
    times: &'t mut Histogram<u64>,
    before: u64,
}

impl<'t> Stopwatch<'t> {
    fn start(times: &'t mut Histogram<u64>) -> Self {
        Self { times, before: monotonic_ns() }
    }

    /// So many events are done.
    fn note(&mut self, events: u64) {
        let now = monotonic_ns();
        self.times.saturating_record_n((now - self.before) / events, events);
        self.before = now;
    }
}

fn decided(step: Step) -> Result<()> {
    match step {
        Step::Decided(_) => Ok(()),
        other => bail!("a payment was not decided: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_what_is_near_the_quickest() {
        assert_eq!(quiet(&[330.0, 300.0, 331.0, 500.0, 329.0]), [0, 1, 4]);
        assert_eq!(quiet(&[300.0]), [0]);
        assert!(quiet(&[]).is_empty());
    }
}
