//! `tollctl replay`: the engine over a file of events.
//!
//! One thread reads and maps, this one decides and writes; the engine is the appliance's own, stepped in the
//! same bursts. What comes out depends on the policy, the map and the file alone.

use crate::fault::{Fault, Problem};
use crate::files::Files;
use crate::output::Output;
use crate::rates;
use crate::sequence::{Batch, Event};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;
use tollgate::engine::units::Action;
use tollgate::engine::wire::{self, Admission, Input};
use tollgate::engine::{Engine, Limits, Step};

/// The largest burst.
const BURST_MAX: u16 = 1024;

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    files: Files,
    /// Write one column per feature too.
    #[arg(long)]
    features: bool,
    /// Events taken in together; changes the speed, never a verdict.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(BURST_MAX)))]
    burst: u16,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let (loaded, sequence, output) = options.files.open(options.features)?;
    let limits = Limits::default();
    let engine = Engine::new(loaded, &limits).map_err(|error| {
        Problem::new(error.message, "free memory, or make the policy's windows shorter").at("the engine")
    })?;
    // Faster with, and right without.
    let _ = tollgate::os::memory::prefer_huge_pages();
    let progress = progress_bar(sequence.total());
    let mut replay = Replay {
        engine,
        output,
        file: sequence.file().to_owned(),
        rates_file: options.files.rates_file(),
        tally: Tally::default(),
    };
    sequence.each_batch(|batch| {
        replay.batch(batch, usize::from(options.burst))?;
        progress.set_position(batch.read);
        Ok(())
    })?;
    progress.finish_and_clear();
    replay.output.finish()?;
    println!("{}", replay.tally.summary(started.elapsed().as_secs_f64(), Some(replay.engine.digest())));
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
}

impl Replay {
    fn batch(&mut self, batch: &Batch, burst: usize) -> anyhow::Result<()> {
        let mut first = 0;
        while first < batch.len() {
            let end = (first + burst).min(batch.len());
            for index in first..end {
                self.engine.prefetch_index(&input(&batch.event(index)));
            }
            for index in first..end {
                self.engine.prefetch_records(&input(&batch.event(index)));
            }
            for index in first..end {
                self.event(batch.event(index))?;
            }
            first = end;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>) -> anyhow::Result<()> {
        let (outcome, decided) = match self.engine.step(&input(&event)) {
            Step::Decided(outcome) => (outcome, true),
            Step::Repeated(outcome) => (outcome, false),
            Step::Refused(refusal) if event.rate => {
                return Err(rates::refused(&self.rates_file, event.row, refusal).into());
            }
            Step::Refused(refusal) => return Err(refused(&self.file, event.row, refusal).into()),
        };
        if event.rate {
            self.tally.rates += 1;
            return Ok(());
        }
        let judged = decided && outcome.flags & wire::FLAG_ACK == 0;
        let features = if judged { self.engine.features() } else { &[] };
        self.output.write(event.id, event.kind, &outcome, features)?;
        self.tally.add(event.row, &outcome);
        Ok(())
    }
}

/// A row whose event the engine does not take.
pub(crate) fn refused(file: &str, row: u64, refusal: wire::Refusal) -> Fault {
    Problem::new(format!("the event was refused: {refusal}"), "correct the row, or leave it out with `when`")
        .at(format!("{file}: row {row}"))
}

fn input<'a>(event: &Event<'a>) -> Input<'a> {
    Input {
        principal: 0,
        kind: event.kind,
        admission: Admission::Normal,
        received: wire::event_time(event.words),
        words: event.words,
    }
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
    pub(crate) fn add(&mut self, row: u64, outcome: &wire::Outcome) {
        self.rows = self.rows.max(row);
        self.events += 1;
        self.actions[outcome.action as usize] += 1;
        self.inexact += u64::from(outcome.flags & wire::FLAG_INEXACT != 0);
        self.repeated += u64::from(outcome.flags & wire::FLAG_DUPLICATE != 0);
    }

    /// One line for a person.
    pub(crate) fn summary(&self, seconds: f64, digest: Option<u64>) -> String {
        let rate = self.events as f64 / seconds.max(1e-9);
        let mut line =
            format!("rows {}, events {}, {seconds:.2} s, {rate:.0} events/s", self.rows, self.events);
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
        if let Some(digest) = digest {
            line.push_str(&format!(", digest {digest:016x}"));
        }
        line
    }
}
