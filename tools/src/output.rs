//! Verdict files: `seq, id, event, score, action, reasons`, then, for a replay of a policy with queues, `alerts`, then one
//! column per feature.
//!
//! A file is written beside its target under another name and renamed when it is complete: nobody ever reads
//! half of one. Equal inputs give equal bytes. Features are exact fractions until here; this is the edge at
//! which they become the shortest `f64`.

use crate::events::unknown_format;
use crate::fault::{Fault, Problem};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollgate::engine::program::{ArchivedProgram, ArchivedUnit};
use tollgate::engine::units::{Currency, SECOND, Value};
use tollgate::engine::wire::{FLAG_ACK, Outcome};

/// Rows of a Parquet row group.
const GROUP_ROWS: usize = 1 << 16;

/// The columns before the features.
pub(crate) const COLUMNS: [&str; 6] = ["seq", "id", "event", "score", "action", "reasons"];

/// The column of the queues that were alerted.
const ALERTS: &str = "alerts";

/// How a feature's value is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Whole,
    /// Times this many to the unit.
    Real(i64),
}

/// A value of a feature, written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Missing,
    Whole(i64),
    Real(f64),
}

impl Shape {
    fn of(unit: ArchivedUnit) -> Self {
        match unit {
            ArchivedUnit::Bool | ArchivedUnit::Int | ArchivedUnit::Distance => Self::Whole,
            ArchivedUnit::Decimal | ArchivedUnit::Speed => Self::Real(1),
            // In seconds.
            ArchivedUnit::Duration => Self::Real(SECOND),
            ArchivedUnit::Money(code) => {
                let digits =
                    Currency::from_numeric(u64::from(code.to_native())).map_or(0, Currency::exponent);
                Self::Real(10i64.pow(digits))
            }
        }
    }

    fn tell(self, value: Value) -> Told {
        match self {
            _ if value.is_missing() => Told::Missing,
            Self::Whole => value.round_half_even().map_or(Told::Missing, Told::Whole),
            Self::Real(per_unit) => match value.den.checked_mul(per_unit) {
                Some(den) => Told::Real(value.num as f64 / den as f64),
                None => Told::Real(value.num as f64 / value.den as f64 / per_unit as f64),
            },
        }
    }
}

/// What the verdict columns need of a policy: names by number.
struct Names {
    events: Vec<String>,
    reasons: Vec<(u16, String)>,
    /// `None` where there is no column of alerts.
    queues: Option<Vec<(u16, String)>>,
}

/// The names of these numbers, `;` between them; the number itself where it has no name.
fn joined(ids: &[u16], names: &[(u16, String)], into: &mut String) {
    into.clear();
    for id in ids {
        if !into.is_empty() {
            into.push(';');
        }
        match names.iter().find(|name| name.0 == *id) {
            Some((_, name)) => into.push_str(name),
            None => into.push_str(&id.to_string()),
        }
    }
}

/// Refuses to write verdicts over the events that they are of.
pub(crate) fn keep_apart(target: &Path, events: &Path) -> Result<(), Fault> {
    match (target.canonicalize(), events.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(Problem::new(
            "is the file of events, which the verdicts would replace",
            "write the verdicts to another file",
        )
        .at(target.display().to_string())),
        _ => Ok(()),
    }
}

/// A verdict file, being written.
pub(crate) struct Output {
    target: PathBuf,
    temporary: PathBuf,
    names: Names,
    shapes: Vec<Shape>,
    format: Format,
    reasons: String,
    alerts: String,
    /// Also write a row for events that are not judged.
    acknowledged: bool,
    finished: bool,
}

enum Format {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Ndjson { file: BufWriter<File>, line: Vec<u8>, keys: Vec<String> },
    Parquet(Box<ParquetRows>),
}

impl Output {
    /// Begins a file; its extension says the format.
    pub(crate) fn create(
        target: &Path,
        program: &ArchivedProgram,
        with_features: bool,
        with_alerts: bool,
        with_acknowledged: bool,
    ) -> Result<Self, Fault> {
        let queues =
            program.queues.iter().map(|queue| (queue.id.to_native(), queue.name.as_str().to_owned()));
        let queues: Vec<_> = queues.collect();
        let names = Names {
            events: program.events.iter().map(|event| event.name.as_str().to_owned()).collect(),
            reasons: program.reasons.iter().map(|r| (r.id.to_native(), r.name.as_str().to_owned())).collect(),
            queues: (with_alerts && !queues.is_empty()).then_some(queues),
        };
        let features: Vec<(String, Shape)> = program
            .features
            .iter()
            .filter(|_| with_features)
            .map(|feature| (feature.name.as_str().to_owned(), Shape::of(feature.unit)))
            .collect();
        Self::with_names(target, names, features, with_acknowledged)
    }

    fn with_names(
        target: &Path,
        names: Names,
        features: Vec<(String, Shape)>,
        acknowledged: bool,
    ) -> Result<Self, Fault> {
        let alerts = names.queues.as_ref().map(|_| ALERTS);
        let is_column = |name: &str| COLUMNS.iter().copied().chain(alerts).any(|column| column == name);
        if let Some((name, _)) = features.iter().find(|(name, _)| is_column(name)) {
            return Err(Problem::new(
                format!("the policy has a feature named `{name}`, which is a column of every output"),
                "rename the feature, or write no features",
            )
            .at(target.display().to_string()));
        }
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let extension = target.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !["csv", "ndjson", "jsonl", "parquet"].contains(&extension) {
            return Err(unknown_format(&target.display().to_string()));
        }
        let shapes: Vec<Shape> = features.iter().map(|feature| feature.1).collect();
        let columns =
            || COLUMNS.iter().copied().chain(alerts).chain(features.iter().map(|feature| feature.0.as_str()));
        let file = File::create(&temporary).map_err(|error| cannot(target, &error))?;
        let started = match extension {
            "csv" => {
                let mut writer = csv::Writer::from_writer(BufWriter::with_capacity(1 << 16, file));
                writer
                    .write_record(columns())
                    .map(|()| Format::Csv(Box::new(writer)))
                    .map_err(|error| cannot(target, &error))
            }
            "parquet" => ParquetRows::new(file, alerts, &features)
                .map(|rows| Format::Parquet(Box::new(rows)))
                .map_err(|error| cannot(target, &error)),
            _ => Ok(Format::Ndjson {
                file: BufWriter::with_capacity(1 << 16, file),
                line: Vec::new(),
                keys: columns().map(|name| serde_json::Value::from(name).to_string()).collect(),
            }),
        };
        let format = started.inspect_err(|_| drop(std::fs::remove_file(&temporary)))?;
        let target = target.to_owned();
        let (reasons, alerts) = (String::new(), String::new());
        Ok(Self { target, temporary, names, shapes, format, reasons, alerts, acknowledged, finished: false })
    }

    /// Writes a verdict, if it is one: events that are not judged are only acknowledged, and leave a row only when that
    /// was asked for. `alerts` are the numbers of queues, `features` those of the policy, or none.
    pub(crate) fn write(
        &mut self,
        id: &str,
        kind: u16,
        outcome: &Outcome,
        alerts: &[u16],
        features: &[Value],
    ) -> Result<(), Fault> {
        if outcome.flags & FLAG_ACK != 0 && !self.acknowledged {
            return Ok(());
        }
        let reasons = outcome.reasons.iter().take_while(|id| **id != 0).count();
        joined(&outcome.reasons[..reasons], &self.names.reasons, &mut self.reasons);
        joined(alerts, self.names.queues.as_deref().unwrap_or_default(), &mut self.alerts);
        let alerts = self.names.queues.as_ref().map(|_| self.alerts.as_str());
        let event = self.names.events.get(usize::from(kind)).map_or("", String::as_str);
        let score = (outcome.flags & FLAG_ACK == 0).then(|| i64::from(outcome.score));
        let (action, reasons) = (outcome.action.word(), self.reasons.as_str());
        let told =
            self.shapes.iter().enumerate().map(|(feature, shape)| {
                features.get(feature).map_or(Told::Missing, |value| shape.tell(*value))
            });
        match &mut self.format {
            Format::Csv(writer) => {
                let record = || -> Result<(), csv::Error> {
                    writer.write_field(outcome.seq.to_string())?;
                    writer.write_field(id)?;
                    writer.write_field(event)?;
                    writer.write_field(score.map_or(String::new(), |score| score.to_string()))?;
                    writer.write_field(action)?;
                    writer.write_field(reasons)?;
                    if let Some(alerts) = alerts {
                        writer.write_field(alerts)?;
                    }
                    for value in told {
                        match value {
                            Told::Missing => writer.write_field("")?,
                            Told::Whole(number) => writer.write_field(number.to_string())?,
                            Told::Real(number) => writer.write_field(number.to_string())?,
                        }
                    }
                    writer.write_record(None::<&[u8]>)
                };
                record().map_err(|error| cannot(&self.target, &error))
            }
            Format::Ndjson { file, line, keys } => {
                line.clear();
                let mut keys = keys.iter();
                let mut field = |value: &serde_json::Value| {
                    line.push(if line.is_empty() { b'{' } else { b',' });
                    line.extend_from_slice(keys.next().map_or("\"\"", String::as_str).as_bytes());
                    line.push(b':');
                    line.extend_from_slice(value.to_string().as_bytes());
                };
                field(&outcome.seq.into());
                field(&id.into());
                field(&event.into());
                field(&score.into());
                field(&action.into());
                field(&reasons.into());
                if let Some(alerts) = alerts {
                    field(&alerts.into());
                }
                for value in told {
                    field(&match value {
                        Told::Missing => serde_json::Value::Null,
                        Told::Whole(number) => number.into(),
                        Told::Real(number) => number.into(),
                    });
                }
                line.extend_from_slice(b"}\n");
                file.write_all(line).map_err(|error| cannot(&self.target, &error))
            }
            Format::Parquet(rows) => rows
                .push(outcome.seq, [id, event, action, reasons], alerts, score, told)
                .map_err(|error| cannot(&self.target, &error)),
        }
    }

    /// Completes the file and gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        let target = self.target.clone();
        let failed = |error: &dyn std::fmt::Display| cannot(&target, error);
        match &mut self.format {
            Format::Csv(writer) => {
                writer.flush().map_err(|error| failed(&error))?;
            }
            Format::Ndjson { file, .. } => file.flush().map_err(|error| failed(&error))?,
            Format::Parquet(rows) => rows.close().map_err(|error| failed(&error))?,
        }
        std::fs::rename(&self.temporary, &target).map_err(|error| failed(&error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing to be done about it if it cannot be removed: it has a name of its own.
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}

fn cannot(target: &Path, error: &dyn std::fmt::Display) -> Fault {
    Problem::new(
        format!("cannot be written: {error}"),
        "check that its directory exists, can be written, and has room",
    )
    .at(target.display().to_string())
}

/// Up to one row group of rows, by column.
struct ParquetRows {
    writer: SerializedFileWriter<File>,
    seq: Vec<i64>,
    /// id, event, action, reasons.
    texts: [Texts; 4],
    alerts: Option<Texts>,
    score: Nullable<i64>,
    features: Vec<Feature>,
}

/// Values that are there, and for each row whether there is one.
struct Nullable<T> {
    values: Vec<T>,
    levels: Vec<i16>,
}

impl<T> Default for Nullable<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Nullable<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    fn clear(&mut self) {
        self.values.clear();
        self.levels.clear();
    }
}

/// Texts end to end.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

enum Feature {
    Whole(Nullable<i64>),
    Real(Nullable<f64>),
}

impl ParquetRows {
    fn new(file: File, alerts: Option<&str>, features: &[(String, Shape)]) -> parquet::errors::Result<Self> {
        let field = |name: &str, physical, repetition, logical: Option<LogicalType>| {
            Type::primitive_type_builder(name, physical)
                .with_repetition(repetition)
                .with_logical_type(logical)
                .build()
                .map(Arc::new)
        };
        let text =
            |name| field(name, PhysicalType::BYTE_ARRAY, Repetition::REQUIRED, Some(LogicalType::String));
        let mut fields = vec![
            field("seq", PhysicalType::INT64, Repetition::REQUIRED, None)?,
            text("id")?,
            text("event")?,
            field("score", PhysicalType::INT64, Repetition::OPTIONAL, None)?,
            text("action")?,
            text("reasons")?,
        ];
        fields.extend(alerts.map(text).transpose()?);
        for (name, shape) in features {
            let physical = if *shape == Shape::Whole { PhysicalType::INT64 } else { PhysicalType::DOUBLE };
            fields.push(field(name, physical, Repetition::OPTIONAL, None)?);
        }
        let schema = Arc::new(Type::group_type_builder("verdicts").with_fields(fields).build()?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("tollctl".to_owned())
            // No two rows share a number and few an id: a dictionary of them is all the values and costs a lookup for each.
            .set_column_dictionary_enabled("seq".into(), false)
            .set_column_encoding("seq".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled("id".into(), false)
            .build();
        let features = features.iter().map(|(_, shape)| match shape {
            Shape::Whole => Feature::Whole(Nullable::default()),
            Shape::Real(_) => Feature::Real(Nullable::default()),
        });
        Ok(Self {
            writer: SerializedFileWriter::new(file, schema, Arc::new(properties))?,
            seq: Vec::new(),
            texts: Default::default(),
            alerts: alerts.map(|_| Texts::default()),
            score: Nullable::default(),
            features: features.collect(),
        })
    }

    fn push(
        &mut self,
        seq: u64,
        texts: [&str; 4],
        alerts: Option<&str>,
        score: Option<i64>,
        told: impl Iterator<Item = Told>,
    ) -> parquet::errors::Result<()> {
        self.seq.push(seq as i64);
        for (column, text) in self.texts.iter_mut().zip(texts).chain(self.alerts.as_mut().zip(alerts)) {
            column.bytes.extend_from_slice(text.as_bytes());
            column.ends.push(column.bytes.len());
        }
        self.score.push(score);
        for (column, value) in self.features.iter_mut().zip(told) {
            match (column, value) {
                (Feature::Whole(column), Told::Whole(number)) => column.push(Some(number)),
                (Feature::Real(column), Told::Real(number)) => column.push(Some(number)),
                (Feature::Whole(column), _) => column.push(None),
                (Feature::Real(column), _) => column.push(None),
            }
        }
        if self.seq.len() == GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> parquet::errors::Result<()> {
        let mut group = self.writer.next_row_group()?;
        macro_rules! column {
            ($kind:ty, $values:expr, $levels:expr) => {{
                if let Some(mut column) = group.next_column()? {
                    column.typed::<$kind>().write_batch($values, $levels, None)?;
                    column.close()?;
                }
            }};
        }
        let texts = self.texts.each_mut().map(Texts::take);
        column!(Int64Type, &self.seq, None);
        column!(ByteArrayType, &texts[0], None);
        column!(ByteArrayType, &texts[1], None);
        column!(Int64Type, &self.score.values, Some(&self.score.levels));
        column!(ByteArrayType, &texts[2], None);
        column!(ByteArrayType, &texts[3], None);
        if let Some(alerts) = &mut self.alerts {
            column!(ByteArrayType, &alerts.take(), None);
        }
        for feature in &mut self.features {
            match feature {
                Feature::Whole(column) => {
                    column!(Int64Type, &column.values, Some(&column.levels));
                    column.clear();
                }
                Feature::Real(column) => {
                    column!(DoubleType, &column.values, Some(&column.levels));
                    column.clear();
                }
            }
        }
        group.close()?;
        self.seq.clear();
        self.score.clear();
        Ok(())
    }

    fn close(&mut self) -> parquet::errors::Result<()> {
        if !self.seq.is_empty() {
            self.flush()?;
        }
        self.writer.finish().map(|_| ())
    }
}

impl Texts {
    /// The texts, as slices of one shared buffer.
    fn take(&mut self) -> Vec<ByteArray> {
        let shared = ByteArray::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        let slice = |end: usize| {
            let text = shared.slice(start, end - start);
            start = end;
            text
        };
        self.ends.drain(..).map(slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Reader, Rows};
    use tollgate::engine::units::Action;

    fn outcome(seq: u64, flags: u8) -> Outcome {
        Outcome { seq, score: -1, action: Action::Review, flags, policy_revision: 1, reasons: [7, 9, 0, 0] }
    }

    #[test]
    fn verdicts_never_replace_their_events() {
        let directory = tempfile::tempdir().unwrap();
        let events = directory.path().join("events.csv");
        std::fs::write(&events, "id\n").unwrap();
        let round_about = directory.path().join(".").join("events.csv");
        assert!(keep_apart(&round_about, &events).is_err());
        assert_eq!(keep_apart(&directory.path().join("verdicts.csv"), &events), Ok(()));
    }

    fn written(extension: &str, rows: u64) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out").with_extension(extension);
        let names = Names {
            events: vec!["payment".to_owned(), "label".to_owned()],
            reasons: vec![(7, "FAST".to_owned())],
            queues: Some(vec![(3, "desk".to_owned())]),
        };
        let features = vec![("n".to_owned(), Shape::Whole), ("avg".to_owned(), Shape::Real(100))];
        let mut output = Output::with_names(&target, names, features, true).unwrap();
        for seq in 1..=rows {
            output
                .write("a,\"1", 0, &outcome(seq, 0), &[3, 4], &[Value::int(3), Value::ratio(5, 3)])
                .unwrap();
            assert!(!target.exists());
        }
        output.write("2", 1, &outcome(rows + 1, FLAG_ACK), &[], &[]).unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        if extension == "parquet" {
            let mut reader = Reader::open(&target).unwrap();
            let names =
                ["seq", "id", "event", "score", "action", "reasons", "alerts", "n", "avg"].map(str::to_owned);
            assert_eq!(reader.available().unwrap(), names);
            reader.select(&names).unwrap();
            let (mut batch, mut all) = (Rows::default(), 0);
            let mut last = String::new();
            while reader.next(&mut batch).unwrap() {
                all += batch.len() as u64;
                let cells =
                    (0..names.len()).map(|column| format!("{:?}", batch.cell(column, batch.len() - 1)));
                last = cells.collect::<Vec<_>>().join(" ");
            }
            assert_eq!(all, rows + 1);
            assert_eq!(
                last,
                format!(
                    "Int({}) Text(\"2\") Text(\"label\") Null Text(\"review\") Text(\"FAST;9\") Null Null Null",
                    rows + 1
                )
            );
        }
        std::fs::read(&target).unwrap()
    }

    #[test]
    fn every_format_writes_the_same_columns_and_the_same_bytes_twice() {
        assert_eq!(
            String::from_utf8(written("csv", 1)).unwrap(),
            "seq,id,event,score,action,reasons,alerts,n,avg\n\
             1,\"a,\"\"1\",payment,-1,review,FAST;9,desk;4,3,0.016666666666666666\n\
             2,2,label,,review,FAST;9,,,\n"
        );
        assert_eq!(
            String::from_utf8(written("ndjson", 1)).unwrap(),
            "{\"seq\":1,\"id\":\"a,\\\"1\",\"event\":\"payment\",\"score\":-1,\"action\":\"review\",\
             \"reasons\":\"FAST;9\",\"alerts\":\"desk;4\",\"n\":3,\"avg\":0.016666666666666666}\n\
             {\"seq\":2,\"id\":\"2\",\"event\":\"label\",\"score\":null,\"action\":\"review\",\
             \"reasons\":\"FAST;9\",\"alerts\":\"\",\"n\":null,\"avg\":null}\n"
        );
        let rows = GROUP_ROWS as u64 + 10;
        assert_eq!(written("parquet", rows), written("parquet", rows));
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out.csv");
        let names = Names { events: Vec::new(), reasons: Vec::new(), queues: None };
        drop(Output::with_names(&target, names, Vec::new(), true).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn values_are_told_in_their_unit() {
        assert_eq!(Shape::Real(100).tell(Value::int(5716)), Told::Real(57.16));
        assert_eq!(
            Shape::Real(100).tell(Value::ratio(1, i64::MAX)),
            Told::Real(1.0 / i64::MAX as f64 / 100.0)
        );
        assert_eq!(Shape::Whole.tell(Value::TRUE), Told::Whole(1));
        assert_eq!(Shape::Whole.tell(Value::MISSING), Told::Missing);
    }
}
