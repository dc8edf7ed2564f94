//! Rows for a model, as CSV: a column for each input, found by its name.

use crate::fault::{Fault, Problem, shown_text};
use csv::StringRecord;
use std::fs::File;
use std::path::Path;

/// The most rows of a file of golden rows.
const GOLDEN_ROWS_MAX: usize = 1 << 20;
/// The column of a golden row's margin.
const MARGIN: &str = "margin";

/// A file of rows.
pub(super) struct Rows {
    reader: csv::Reader<File>,
    file: String,
    /// For each input its column.
    columns: Vec<usize>,
    record: StringRecord,
    row: u64,
}

/// Whether a file may have columns that no input is called like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// It may not.
    Refused,
    /// They are not looked at.
    Ignored,
}

impl Rows {
    /// Opens a file for columns with these names.
    pub(super) fn open<'a>(
        path: &Path,
        names: impl Iterator<Item = &'a str> + Clone,
        extra: Extra,
    ) -> Result<Self, Fault> {
        let file = path.display().to_string();
        let unreadable = |error: csv::Error| {
            Problem::new(format!("cannot be read: {error}"), "check the path; rows are CSV in UTF-8")
                .at(&*file)
        };
        let mut reader = csv::ReaderBuilder::new().from_path(path).map_err(unreadable)?;
        let header = reader.headers().map_err(unreadable)?.clone();
        let column = |name: &str| -> Result<usize, Fault> {
            let mut found = (0..header.len()).filter(|at| header[*at].trim() == name);
            match (found.next(), found.next()) {
                (Some(column), None) => Ok(column),
                (None, _) => Err(Problem::new(
                    format!("there is no column {}", shown_text(name)),
                    "each input needs a column of its name; its cells may be empty",
                )
                .at(format!("{file}: the header"))),
                (Some(_), Some(_)) => Err(Problem::new(
                    format!("two columns are called {}", shown_text(name)),
                    "drop one of them",
                )
                .at(format!("{file}: the header"))),
            }
        };
        let columns = names.clone().map(column).collect::<Result<Vec<_>, _>>()?;
        let other = header.iter().find(|column| names.clone().all(|name| name != column.trim()));
        if let (Some(other), Extra::Refused) = (other, extra) {
            return Err(Problem::new(
                format!("no input is called {}", shown_text(other)),
                "drop the column, or ignore what is no input with --extra",
            )
            .at(format!("{file}: the header")));
        }
        Ok(Self { reader, file, columns, record: StringRecord::new(), row: 0 })
    }

    /// Appends the next row to `numbers`; false at the end.
    pub(super) fn next(&mut self, numbers: &mut Vec<f64>) -> Result<bool, Fault> {
        self.row += 1;
        let place = || format!("{}: row {}", self.file, self.row);
        let is_there = self.reader.read_record(&mut self.record).map_err(|error| {
            Problem::new(format!("cannot be read: {error}"), "each row needs as many cells as the header")
                .at(place())
        })?;
        if !is_there {
            return Ok(false);
        }
        for column in &self.columns {
            let cell = self.record[*column].trim();
            let number = if cell.is_empty() { Ok(f64::NAN) } else { cell.parse() };
            let number: f64 = number.map_err(|_| {
                let name = self.reader.headers().map_or("", |header| &header[*column]).to_owned();
                Problem::new(
                    format!("{} is not a number", shown_text(cell)),
                    "write numbers like -1.5e3, `inf` or `-inf`; leave the cell empty, or write `nan`, where it is missing",
                )
                .at(format!("{}: row {}, column {name}", self.file, self.row))
            })?;
            numbers.push(number);
        }
        Ok(true)
    }
}

/// Reads golden rows: inputs, and the margin that the library computed.
pub(super) fn golden(path: &Path, inputs: &[String]) -> anyhow::Result<Vec<(Vec<f64>, f64)>> {
    if inputs.iter().any(|name| name == MARGIN) {
        return Err(Problem::new(
            "an input is called `margin`, as the column of the margins has to be",
            "name it otherwise with --inputs",
        )
        .at(path.display().to_string())
        .into());
    }
    let names = inputs.iter().map(String::as_str).chain([MARGIN]);
    let mut rows = Rows::open(path, names, Extra::Refused)?;
    let mut golden = Vec::new();
    let mut numbers = Vec::new();
    while rows.next(&mut numbers)? {
        let margin = numbers.pop().unwrap_or(f64::NAN);
        if golden.len() == GOLDEN_ROWS_MAX {
            return Err(Problem::new(format!("has more than {GOLDEN_ROWS_MAX} rows"), "give fewer")
                .at(path.display().to_string())
                .into());
        }
        golden.push((std::mem::take(&mut numbers), margin));
    }
    if golden.is_empty() {
        return Err(Problem::new("has no rows", "leave --golden away, and rows are derived from the model")
            .at(path.display().to_string())
            .into());
    }
    Ok(golden)
}
