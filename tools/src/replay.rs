//! `tollctl replay`: the engine over a file of events.
//!
//! One thread reads and maps, this one decides and writes; the engine is the appliance's own, stepped in the
//! same bursts. What comes out depends on the policy, the map and the file alone. How long the engine took is told apart
//! from reading and writing: a burst is decided as a whole, between two looks at the clock, and then written.

use crate::fault::{Fault, Problem};
use crate::files::Files;
use crate::output::Output;
use crate::rates;
use crate::sequence::{Batch, Event};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Range;
use std::time::{Duration, Instant};
use tollgate::engine::units::{Action, Value};
use tollgate::engine::wire::{self, Admission, Input, Outcome};
use tollgate::engine::{Engine, Limits, Loaded, Step};

/// The largest burst.
const BURST_MAX: u16 = 1024;

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    files: Files,
    /// Write one column per feature too, and per model.
    #[arg(long)]
    features: bool,
    /// Events taken in together; changes the speed, never a verdict.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(BURST_MAX)))]
    burst: u16,
    /// Read the whole file before the first event is decided, and tell how long that took: one thread then does all there is,
    /// one thing after the other, in memory for the whole file.
    #[arg(long)]
    preload: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let (loaded, sequence, output) = options.files.open(options.features, true)?;
    let mut engine = engine(loaded)?;
    if options.preload {
        // As at an appliance's start: pages are then not part of what an event costs.
        let touched = engine.each_block(tollgate::os::memory::touch);
        touched.map_err(|error| {
            Problem::new(error.to_string(), "free memory, or replay without --preload").at("the engine")
        })?;
    }
    let progress = progress_bar(sequence.total());
    let mut replay = Replay {
        engine,
        output,
        file: sequence.file().to_owned(),
        rates_file: options.files.rates_file(),
        tally: Tally::default(),
        burst: Vec::with_capacity(usize::from(options.burst)),
        alerts: Vec::new(),
        features: Vec::new(),
        with_features: options.features,
        deciding: Duration::ZERO,
    };
    let take = |batch: &Batch| {
        replay.batch(batch, usize::from(options.burst))?;
        progress.set_position(batch.read);
        Ok(())
    };
    let reading = if options.preload {
        Some(sequence.each_preloaded(take)?)
    } else {
        sequence.each_batch(take)?;
        None
    };
    progress.finish_and_clear();
    replay.output.finish()?;
    let engine = EngineRun { reading, deciding: replay.deciding, digest: replay.engine.digest() };
    println!("{}", replay.tally.summary(started.elapsed().as_secs_f64(), Some(&engine)));
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) fn progress_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {elapsed} (left {eta})");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Replay {
    engine: Engine,
    output: Output,
    file: String,
    rates_file: String,
    tally: Tally,
    /// The burst that is being decided: each outcome, and where its alerts and features end in `alerts` and `features`.
    burst: Vec<(Outcome, usize, usize)>,
    alerts: Vec<u16>,
    features: Vec<Value>,
    with_features: bool,
    /// In the engine, over all bursts.
    deciding: Duration,
}

impl Replay {
    fn batch(&mut self, batch: &Batch, burst: usize) -> anyhow::Result<()> {
        let mut first = 0;
        while first < batch.len() {
            let end = (first + burst).min(batch.len());
            let begun = Instant::now();
            self.decide(batch, first..end)?;
            self.deciding += begun.elapsed();
            self.write(batch, first)?;
            first = end;
        }
        Ok(())
    }

    /// Asks for what the burst will need, then takes its events in, in order.
    fn decide(&mut self, batch: &Batch, events: Range<usize>) -> anyhow::Result<()> {
        self.burst.clear();
        self.alerts.clear();
        self.features.clear();
        self.engine.look_ahead(events.clone().map(|index| input(&batch.event(index))));
        for index in events {
            let event = batch.event(index);
            let (outcome, decided) = step(&mut self.engine, &event, &self.file, &self.rates_file)?;
            if self.with_features && decided && outcome.flags & wire::FLAG_ACK == 0 {
                self.features.extend_from_slice(self.engine.known());
            }
            if decided {
                self.alerts.extend_from_slice(self.engine.alerts());
            }
            self.burst.push((outcome, self.alerts.len(), self.features.len()));
        }
        Ok(())
    }

    /// Writes the burst that begins at event `first` of the batch.
    fn write(&mut self, batch: &Batch, first: usize) -> anyhow::Result<()> {
        let (mut alerts_start, mut features_start) = (0, 0);
        for (index, (outcome, alerts_end, features_end)) in self.burst.iter().enumerate() {
            let event = batch.event(first + index);
            let alerts = &self.alerts[alerts_start..*alerts_end];
            let features = &self.features[features_start..*features_end];
            (alerts_start, features_start) = (*alerts_end, *features_end);
            if event.rate {
                self.tally.rates += 1;
                continue;
            }
            self.output.write(event.id, event.kind, outcome, alerts, features)?;
            self.tally.add(event.row, outcome);
        }
        Ok(())
    }
}

/// An engine with the default limits, on which replays and exports agree.
pub(crate) fn engine(loaded: Loaded) -> Result<Engine, Fault> {
    let engine = Engine::new(loaded, &Limits::default()).map_err(|error| {
        Problem::new(error.message, "free memory, or make the policy's windows shorter").at("the engine")
    })?;
    // Faster with, and right without.
    let _ = tollgate::os::memory::prefer_huge_pages();
    Ok(engine)
}

/// Takes one event in: its outcome, and whether that was decided now and not before.
pub(crate) fn step(
    engine: &mut Engine,
    event: &Event<'_>,
    file: &str,
    rates_file: &str,
) -> Result<(Outcome, bool), Fault> {
    match engine.step(&input(event)) {
        Step::Decided(outcome) => Ok((outcome, true)),
        Step::Repeated(outcome) => Ok((outcome, false)),
        Step::Refused(refusal) if event.rate => Err(rates::refused(rates_file, event.row, refusal)),
        Step::Refused(refusal) => Err(refused(file, event.row, refusal)),
    }
}

/// A row whose event the engine does not take.
pub(crate) fn refused(file: &str, row: u64, refusal: wire::Refusal) -> Fault {
    Problem::new(format!("the event was refused: {refusal}"), "correct the row, or leave it out with `when`")
        .at(format!("{file}: row {row}"))
}

/// An event as an engine takes it: received at its own time.
pub(crate) fn input<'a>(event: &Event<'a>) -> Input<'a> {
    Input {
        principal: 0,
        kind: event.kind,
        admission: Admission::Normal,
        received: wire::event_time(event.words),
        words: event.words,
    }
}

/// What an engine did for a summary.
pub(crate) struct EngineRun {
    /// Reading and mapping, where that came first.
    reading: Option<Duration>,
    deciding: Duration,
    digest: u64,
}

/// What came of all events.
#[derive(Default)]
pub(crate) struct Tally {
    rows: u64,
    events: u64,
    /// Rates that were sent beside the events.
    pub(crate) rates: u64,
    actions: [u64; Action::ALL.len()],
    inexact: u64,
    repeated: u64,
}

impl Tally {
    /// Counts a verdict.
    pub(crate) fn add(&mut self, row: u64, outcome: &Outcome) {
        self.rows = self.rows.max(row);
        self.events += 1;
        self.actions[outcome.action as usize] += 1;
        self.inexact += u64::from(outcome.flags & wire::FLAG_INEXACT != 0);
        self.repeated += u64::from(outcome.flags & wire::FLAG_DUPLICATE != 0);
    }

    /// One line for a person: over all, and what the engine alone took where it is this process's.
    pub(crate) fn summary(&self, seconds: f64, engine: Option<&EngineRun>) -> String {
        let rate = |seconds: f64| self.events as f64 / seconds.max(1e-9);
        let mut line = format!(
            "rows {}, events {}, {seconds:.2} s, {:.0} events/s",
            self.rows,
            self.events,
            rate(seconds)
        );
        if let Some(engine) = engine {
            if let Some(reading) = engine.reading {
                line.push_str(&format!(", reading {:.3} s", reading.as_secs_f64()));
            }
            let deciding = engine.deciding.as_secs_f64();
            line.push_str(&format!(", engine {deciding:.3} s, {:.0} events/s", rate(deciding)));
        }
        for (action, count) in Action::ALL.iter().zip(self.actions) {
            if count > 0 {
                line.push_str(&format!(", {} {count}", action.word()));
            }
        }
        for (word, count) in [("inexact", self.inexact), ("duplicates", self.repeated), ("rates", self.rates)]
        {
            if count > 0 {
                line.push_str(&format!(", {word} {count}"));
            }
        }
        if let Some(engine) = engine {
            line.push_str(&format!(", digest {:016x}", engine.digest));
        }
        line
    }
}
