//! `tollctl features export`: what each decision of a replay saw, for training models.
//!
//! A row holds the features of one decision as the engine had them when it decided, as numbers that models take
//! ([`Value::to_f64`]), and what was found out about the event later. Nothing is computed again with what came in between, so
//! what comes after a row cannot change its features.
//!
//! With labels the file is replayed twice: once to find them, and where it ends, and once for the rows. So memory is the
//! engine's, one row group and the newest labels of the rows asked for, but never a row that waits for its label. Both
//! replays have to come to the same digest.

mod columns;
mod labels;

use crate::cell::{self, Cell, TimeUnit};
use crate::fault::{Fault, Problem};
use crate::files::Inputs;
use crate::map;
use crate::output::{cannot, keep_apart};
use crate::replay::{self, progress_bar};
use crate::rewrite::Beside;
use crate::sequence::{Event, Sequence};
use crate::table::{Column, Item, Kind, Table};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use columns::{Feature, Number, Site};
use indicatif::ProgressBar;
use labels::Labels;
use std::path::PathBuf;
use std::time::Instant;
use tollgate::engine::units::{TIME_END, Time, Value};
use tollgate::engine::wire::{self, FLAG_ACK, FLAG_INEXACT, Outcome};
use tollgate::engine::{Engine, Loaded};

/// Events taken in together.
const BURST: usize = 16;

/// What to do with features.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay a file of events and write what each decision saw, a row each: features and fields as numbers for a model, the
    /// verdict, and labels that came later.
    Export(Box<Export>),
}

/// Options of `features export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    inputs: Inputs,
    /// Where the rows go: .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The event whose decisions are the rows; may be left out where the policy judges only one.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Which features, fields and models, in this order; without it all fields of the event that are numbers, then all features that
    /// it has.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// Fields of amendments that say what became of the event, such as `label.is_fraud`: of each kind of amendment the newest.
    #[arg(long, value_name = "AMENDMENT.FIELD", value_delimiter = ',')]
    labels: Vec<String>,
    /// How long it takes until labels are known, such as 7d: adds a column `mature` that says whether the row is so old at the
    /// latest event that counts. No label is then yet to come.
    #[arg(long, value_name = "DURATION", requires = "labels", value_parser = parse_duration)]
    mature: Option<i64>,
    /// Stop before the first event that is later than this: later rows are left out, and labels that come later do not count.
    /// Without it the file counts to its end.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    as_of: Option<Time>,
    /// Leave out rows before this time, such as 2018-07-25 or 2018-07-25T08:00:00Z; their events still count in windows.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Time>,
    /// Leave out rows at this time or later.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Export(options) = command;
    export(options)
}

fn parse_duration(text: &str) -> Result<i64, String> {
    map::duration(text).ok_or_else(|| "write a whole number and us, ms, s, m, h or d, such as 7d".to_owned())
}

fn parse_time(text: &str) -> Result<Time, String> {
    let told = |unit| cell::time(Cell::Text(text), unit);
    told(TimeUnit::Rfc3339).or_else(|_| told(TimeUnit::Timestamp)).map_err(|_| {
        "write 2018-07-25 for the start of that day in UTC, or 2018-07-25T08:00:00Z with any offset, from 1970 to 2199"
            .to_owned()
    })
}

/// Which rows are written: those of this event at these times.
struct Wanted {
    kind: u16,
    from: Option<Time>,
    until: Option<Time>,
}

impl Wanted {
    fn holds(&self, time: Time) -> bool {
        self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time < until)
    }
}

/// What the first replay finds.
struct Found {
    labels: Labels,
    /// The latest time of any event.
    latest: Option<Time>,
    digest: u64,
}

/// The time that the file reaches, until which labels count, and how old a mature row is then, µs.
#[derive(Clone, Copy)]
struct Ripe {
    as_of: Option<Time>,
    after_us: Option<i64>,
}

impl Ripe {
    /// Whether a row of this time is mature; `None` when nobody asked.
    fn item<'a>(self, time: Time) -> Option<Item<'a>> {
        let after_us = self.after_us?;
        let mature = self.as_of.is_some_and(|as_of| as_of.0.saturating_sub(time.0) >= after_us);
        Some(Item::Truth(mature))
    }
}

fn export(options: &Export) -> anyhow::Result<()> {
    let started = Instant::now();
    if options.out.extension().is_none_or(|extension| extension != "parquet") {
        let problem = Problem::new("rows are written as Parquet", "give --out a name that ends in .parquet");
        return Err(problem.at(options.out.display().to_string()).into());
    }
    if let (Some(from), Some(until)) = (options.from, options.until)
        && from >= until
    {
        let problem = Problem::new("it is not before --until: there is no such time", "exchange the two");
        return Err(problem.at("--from").into());
    }
    let sources = options.inputs.sources()?;
    let (loaded, sequence) = options.inputs.open(&sources)?;
    let policy = sources.analyse().policy.ok_or_else(|| anyhow!("the policy compiles and has errors"))?;
    let site = Site { program: loaded.program(), policy: &policy };
    let kind = site.event(options.event.as_deref())?;
    let features = site.features(kind, &options.columns)?;
    let labels = Labels::new(&site, kind, &options.labels)?;
    let shape = shape(&features, &labels, options.mature.is_some())?;
    keep_apart(&options.out, options.inputs.events())?;

    let wanted = Wanted { kind, from: options.from, until: options.until };
    let rates_file = options.inputs.rates_file();
    let replays = if labels.is_none() { 1 } else { 2 };
    let progress = progress_bar(sequence.total() * replays);
    let begin = |sequence: Sequence| -> anyhow::Result<Replay<'_>> {
        let sequence = sequence.until(options.as_of.unwrap_or(TIME_END));
        let engine = replay::engine(loaded.clone())?;
        Ok(Replay { engine, sequence, rates_file: &rates_file, progress: &progress })
    };
    let (replay, found) = if labels.is_none() {
        (begin(sequence)?, Found { labels, latest: None, digest: 0 })
    } else {
        // Both engines are there before the first is used: memory that has been used would have to be cleared, all of it.
        let replay = begin(options.inputs.open(&sources)?.1)?;
        (replay, find(begin(sequence)?, labels, &wanted)?)
    };
    // A file that ends before `--as-of` says nothing of the time between.
    let ripe = Ripe { as_of: found.latest.or(options.as_of), after_us: options.mature };

    let failed = |error: &dyn std::fmt::Display| cannot(&options.out, error);
    let (beside, file) = Beside::create(&options.out).map_err(|error| failed(&error))?;
    let notes = notes(&loaded, &site, kind, &features, &found.labels, ripe);
    let table = Table::new(file, "features", &shape, notes).map_err(|error| failed(&error))?;
    let mut rows = Rows { table, features: &features, labels: &found.labels, ripe, tally: Tally::default() };
    let digest = replay.each(|event, outcome, values| {
        let time = wire::event_time(event.words);
        if event.kind != wanted.kind || outcome.flags & FLAG_ACK != 0 || !wanted.holds(time) {
            return Ok(());
        }
        rows.write(event, outcome, values).map_err(|error| failed(&error))
    })?;
    progress.finish_and_clear();
    if replays == 2 && digest != found.digest {
        let problem = Problem::new(
            "it changed while it was replayed",
            "export again, from files that stay as they are",
        );
        return Err(problem.at(options.inputs.events().display().to_string()).into());
    }
    rows.table.close().map_err(|error| failed(&error))?;
    beside.finish().map_err(|error| failed(&error))?;
    println!("{}", rows.tally.summary(&features, ripe, started.elapsed().as_secs_f64(), digest));
    Ok(())
}

/// Replays a file for its labels.
fn find(replay: Replay<'_>, mut labels: Labels, wanted: &Wanted) -> anyhow::Result<Found> {
    let mut latest = None;
    let digest = replay.each(|event, outcome, _| {
        latest = latest.max(Some(wire::event_time(event.words)));
        if labels.is_of(event.kind) && wanted.holds(wire::target_time(event.words)) {
            labels.add(event.kind, event.words, outcome.seq)?;
        }
        Ok(())
    })?;
    Ok(Found { labels, latest, digest })
}

/// A replay, not begun.
struct Replay<'a> {
    engine: Engine,
    sequence: Sequence,
    rates_file: &'a str,
    progress: &'a ProgressBar,
}

impl Replay<'_> {
    /// Replays; `take` is given each event that was decided, and no rate. Returns the engine's digest.
    fn each(
        mut self,
        mut take: impl FnMut(&Event<'_>, &Outcome, &[Value]) -> Result<(), Fault>,
    ) -> anyhow::Result<u64> {
        let engine = &mut self.engine;
        let file = self.sequence.file().to_owned();
        let before = self.progress.position();
        self.sequence.each_batch(|batch| {
            let mut first = 0;
            while first < batch.len() {
                let burst = first..(first + BURST).min(batch.len());
                first = burst.end;
                engine.look_ahead(burst.clone().map(|index| replay::input(&batch.event(index))));
                for index in burst {
                    let event = batch.event(index);
                    let (outcome, decided) = replay::step(engine, &event, &file, self.rates_file)?;
                    if decided && !event.rate {
                        take(&event, &outcome, engine.known())?;
                    }
                }
            }
            self.progress.set_position(before + batch.read);
            Ok(())
        })?;
        Ok(self.engine.digest())
    }
}

/// The columns of the file. Two of one name are refused.
fn shape(features: &[Feature], labels: &Labels, with_mature: bool) -> Result<Vec<Column>, Fault> {
    let mut columns = vec![
        Column::required("id", Kind::Text).distinct(),
        Column::required("time", Kind::Time).distinct(),
        Column::required("seq", Kind::Int).distinct(),
    ];
    columns.extend(features.iter().map(|feature| Column::optional(&feature.name, Kind::Real)));
    columns.extend([
        Column::required("score", Kind::Int),
        Column::required("action", Kind::Text),
        Column::required("inexact", Kind::Truth),
    ]);
    columns.extend(labels.shape());
    columns.extend(with_mature.then(|| Column::required("mature", Kind::Truth)));
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].iter().any(|before| before.name() == column.name()) {
            let name = column.name();
            return Err(Problem::new(
                format!("two columns would be called `{name}`"),
                "leave it out with --columns or --labels, or rename it in the policy; \
                 id, time, seq, score, action, inexact and mature are columns of every export",
            )
            .at(format!("column {name}")));
        }
    }
    Ok(columns)
}

/// What the file says of itself.
fn notes(
    loaded: &Loaded,
    site: &Site<'_>,
    kind: u16,
    features: &[Feature],
    labels: &Labels,
    ripe: Ripe,
) -> Vec<(String, String)> {
    let hash: String = loaded.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    let columns: Vec<_> = features.iter().chain(labels.features()).map(Feature::note).collect();
    let mut notes = vec![
        ("tollgate.policy", site.program.name.as_str().to_owned()),
        ("tollgate.revision", site.program.revision.to_native().to_string()),
        ("tollgate.policy_hash", hash),
        ("tollgate.event", site.name(kind).to_owned()),
        ("tollgate.columns", serde_json::Value::from(columns).to_string()),
    ];
    notes.extend(ripe.as_of.map(|as_of| ("tollgate.as_of", told(as_of))));
    notes.extend(ripe.after_us.map(|after_us| ("tollgate.mature_us", after_us.to_string())));
    notes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A time, as it is read too.
fn told(time: Time) -> String {
    jiff::Timestamp::from_microsecond(time.0).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// The rows, being written.
struct Rows<'a> {
    table: Table,
    features: &'a [Feature],
    labels: &'a Labels,
    ripe: Ripe,
    tally: Tally,
}

impl Rows<'_> {
    fn write(
        &mut self,
        event: &Event<'_>,
        outcome: &Outcome,
        values: &[Value],
    ) -> parquet::errors::Result<()> {
        let time = wire::event_time(event.words);
        let key = (wire::event_id(event.words), time);
        let mature = self.ripe.item(time);
        let head = [Item::Text(event.id), Item::Int(time.0), Item::Int(outcome.seq as i64)];
        let features = self.features.iter().map(|feature| match feature.number {
            Number::Feature { index, per_unit } => columns::item(columns::in_units(values[index], per_unit)),
            Number::Field(at) => columns::item(at.read(event.words)),
        });
        let verdict = [
            Item::Int(i64::from(outcome.score)),
            Item::Text(outcome.action.word()),
            Item::Truth(outcome.flags & FLAG_INEXACT != 0),
        ];
        self.tally.rows += 1;
        self.tally.labelled += u64::from(self.labels.know(key));
        self.tally.mature += u64::from(mature == Some(Item::Truth(true)));
        let labels = self.labels.items(key);
        self.table.push(head.into_iter().chain(features).chain(verdict).chain(labels).chain(mature))
    }
}

/// What was written.
#[derive(Default)]
struct Tally {
    rows: u64,
    labelled: u64,
    mature: u64,
}

impl Tally {
    /// One line for a person.
    fn summary(&self, features: &[Feature], ripe: Ripe, seconds: f64, digest: u64) -> String {
        let mut line = format!("rows {}, numbers {}, labelled {}", self.rows, features.len(), self.labelled);
        if ripe.after_us.is_some() {
            line.push_str(&format!(", mature {}", self.mature));
        }
        if let Some(as_of) = ripe.as_of {
            line.push_str(&format!(", as of {}", told(as_of)));
        }
        line.push_str(&format!(", {seconds:.2} s, digest {digest:016x}"));
        line
    }
}
