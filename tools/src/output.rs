//! Verdict files: `seq, id, event, score, action, reasons`, then, for a replay of a policy with queues, `alerts`, then one
//! column per feature.
//!
//! A file is written beside its target under another name and renamed when it is complete: nobody ever reads
//! half of one. Equal inputs give equal bytes. Features are exact fractions until here; this is the edge at
//! which they become the shortest `f64`.

use crate::events::unknown_format;
use crate::fault::{Fault, Problem};
use crate::rewrite::Beside;
use crate::table::{Column, Item, Kind, Table};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use tollgate::engine::program::{ArchivedProgram, ArchivedUnit};
use tollgate::engine::units::{Currency, SECOND, Value};
use tollgate::engine::wire::{FLAG_ACK, Outcome};

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
    beside: Beside,
    names: Names,
    shapes: Vec<Shape>,
    format: Format,
    reasons: String,
    alerts: String,
    /// Also write a row for events that are not judged.
    acknowledged: bool,
}

enum Format {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Ndjson { file: BufWriter<File>, line: Vec<u8>, keys: Vec<String> },
    Parquet(Box<Table>),
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
        let features = program
            .features
            .iter()
            .filter(|_| with_features)
            .map(|feature| (feature.name.as_str().to_owned(), Shape::of(feature.unit)));
        let models = program.models.iter().filter(|_| with_features);
        let models = models.map(|model| (model.name.as_str().to_owned(), Shape::Real(1)));
        let features = features.chain(models).collect();
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
        let extension = target.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !["csv", "ndjson", "jsonl", "parquet"].contains(&extension) {
            return Err(unknown_format(&target.display().to_string()));
        }
        let shapes: Vec<Shape> = features.iter().map(|feature| feature.1).collect();
        let columns =
            || COLUMNS.iter().copied().chain(alerts).chain(features.iter().map(|feature| feature.0.as_str()));
        let (beside, file) = Beside::create(target).map_err(|error| cannot(target, &error))?;
        let format = match extension {
            "csv" => {
                let mut writer = csv::Writer::from_writer(BufWriter::with_capacity(1 << 16, file));
                writer
                    .write_record(columns())
                    .map(|()| Format::Csv(Box::new(writer)))
                    .map_err(|error| cannot(target, &error))
            }
            "parquet" => Table::new(file, "verdicts", &parquet_columns(alerts, &features), Vec::new())
                .map(|table| Format::Parquet(Box::new(table)))
                .map_err(|error| cannot(target, &error)),
            _ => Ok(Format::Ndjson {
                file: BufWriter::with_capacity(1 << 16, file),
                line: Vec::new(),
                keys: columns().map(|name| serde_json::Value::from(name).to_string()).collect(),
            }),
        }?;
        let (reasons, alerts) = (String::new(), String::new());
        Ok(Self { beside, names, shapes, format, reasons, alerts, acknowledged })
    }

    /// Writes a verdict, if it is one: events that are not judged are only acknowledged, and leave a row only when that
    /// was asked for. `alerts` are the numbers of queues, `features` those of the policy and then its models, or none.
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
                record().map_err(|error| cannot(self.beside.target(), &error))
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
                file.write_all(line).map_err(|error| cannot(self.beside.target(), &error))
            }
            Format::Parquet(table) => {
                let items = [
                    Item::Int(outcome.seq as i64),
                    Item::Text(id),
                    Item::Text(event),
                    score.map_or(Item::Missing, Item::Int),
                    Item::Text(action),
                    Item::Text(reasons),
                ];
                let told = told.map(|value| match value {
                    Told::Missing => Item::Missing,
                    Told::Whole(number) => Item::Int(number),
                    Told::Real(number) => Item::Real(number),
                });
                table
                    .push(items.into_iter().chain(alerts.map(Item::Text)).chain(told))
                    .map_err(|error| cannot(self.beside.target(), &error))
            }
        }
    }

    /// Completes the file and gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        let target = self.beside.target().to_owned();
        let failed = |error: &dyn std::fmt::Display| cannot(&target, error);
        match &mut self.format {
            Format::Csv(writer) => {
                writer.flush().map_err(|error| failed(&error))?;
            }
            Format::Ndjson { file, .. } => file.flush().map_err(|error| failed(&error))?,
            Format::Parquet(table) => table.close().map_err(|error| failed(&error))?,
        }
        self.beside.finish().map_err(|error| failed(&error))
    }
}

/// The columns of a verdict file in Parquet.
fn parquet_columns(alerts: Option<&str>, features: &[(String, Shape)]) -> Vec<Column> {
    let text = |name| Column::required(name, Kind::Text);
    let mut columns = vec![
        Column::required("seq", Kind::Int).distinct(),
        text("id").distinct(),
        text("event"),
        Column::optional("score", Kind::Int),
        text("action"),
        text("reasons"),
    ];
    columns.extend(alerts.map(text));
    columns.extend(features.iter().map(|(name, shape)| {
        Column::optional(name, if *shape == Shape::Whole { Kind::Int } else { Kind::Real })
    }));
    columns
}

/// A file that cannot be written.
pub(crate) fn cannot(target: &Path, error: &dyn std::fmt::Display) -> Fault {
    Problem::new(
        format!("cannot be written: {error}"),
        "check that its directory exists, can be written, and has room",
    )
    .at(target.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Reader, Rows};
    use crate::table::GROUP_ROWS;
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
