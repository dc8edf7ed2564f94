//! Event files: CSV, NDJSON and Parquet, read in batches of rows, only the columns that a map names.
//!
//! Whatever the format, a batch is the same: [`Cell`]s by column and row, and the place of each row for errors.
//! Everything is bounded: rows per batch, bytes per row.

mod parquet;

use crate::cell::Cell;
use crate::fault::{Fault, Problem, shown_text};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;
use tollgate::engine::units::Time;

/// Rows of one batch.
pub(crate) const BATCH_ROWS: usize = 4096;

/// What stands for standard input in place of a path.
pub(crate) const STANDARD_INPUT: &str = "-";

/// The longest row of text.
const ROW_BYTES_MAX: u64 = 1 << 20;

/// A cell of a batch; text is kept beside.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Scaled(i64, u8),
    Time(Time),
    Text { start: usize, end: usize },
}

/// A batch of rows, by column.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    columns: Vec<Vec<Stored>>,
    text: String,
    /// Line of each row, in text formats.
    lines: Vec<u64>,
    /// Number of the first row, from 1.
    first: u64,
    len: usize,
}

impl Rows {
    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number of a row in its file, from 1.
    pub(crate) fn number(&self, row: usize) -> u64 {
        self.first + row as u64
    }

    /// The cell of a column, in the order in which columns were selected.
    pub(crate) fn cell(&self, column: usize, row: usize) -> Cell<'_> {
        match self.columns[column][row] {
            Stored::Null => Cell::Null,
            Stored::Bool(truth) => Cell::Bool(truth),
            Stored::Int(number) => Cell::Int(number),
            Stored::Float(number) => Cell::Float(number),
            Stored::Scaled(number, scale) => Cell::Scaled(number, scale),
            Stored::Time(time) => Cell::Time(time),
            Stored::Text { start, end } => Cell::Text(&self.text[start..end]),
        }
    }

    /// The line of a row, or its number where the format has no lines.
    pub(crate) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or_else(|| self.number(row))
    }

    /// Where a row is, as errors say it.
    pub(crate) fn place(&self, file: &str, row: usize) -> String {
        match self.lines.get(row) {
            Some(line) => format!("{file}:{line}"),
            None => format!("{file}: row {}", self.number(row)),
        }
    }

    fn reset(&mut self, columns: usize) {
        self.first += self.len as u64;
        self.first = self.first.max(1);
        self.len = 0;
        self.columns.resize_with(columns, Vec::new);
        self.columns.iter_mut().for_each(Vec::clear);
        self.text.clear();
        self.lines.clear();
    }

    fn store_text(&mut self, text: &str) -> Stored {
        if text.is_empty() {
            return Stored::Null;
        }
        let start = self.text.len();
        self.text.push_str(text);
        Stored::Text { start, end: self.text.len() }
    }
}

/// An open event file.
pub(crate) struct Reader {
    file: String,
    columns: usize,
    /// Rows of a batch, at most.
    rows_max: usize,
    format: Format,
}

enum Format {
    Csv(Box<CsvRows>),
    Ndjson(NdjsonRows),
    Parquet(parquet::ParquetRows),
}

impl Reader {
    /// Opens a file; its extension says the format.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        Self::of(&path.display().to_string(), extension(path), || File::open(path))
    }

    /// Reads rows as they come: from a FIFO, whose extension says the format, or CSV from standard input (`-`). A FIFO does
    /// not end when its last writer leaves.
    pub(crate) fn follow(path: &Path) -> Result<Self, Fault> {
        let mut reader = if path == Path::new(STANDARD_INPUT) {
            Self::standard_input()?
        } else {
            let file = path.display().to_string();
            if std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_fifo()) {
                let help = "follow standard input: tail -f FILE | tollctl resolve --follow -";
                return Err(Problem::new("is no FIFO and cannot be followed", help).at(file));
            }
            // Held open for writing too, it never comes to an end.
            Self::of(&file, extension(path), || OpenOptions::new().read(true).write(true).open(path))?
        };
        reader.rows_max = 1;
        Ok(reader)
    }

    /// CSV from standard input.
    pub(crate) fn standard_input() -> Result<Self, Fault> {
        Self::of("standard input", "csv", || File::open("/dev/stdin"))
    }

    fn of(file: &str, extension: &str, open: impl Fn() -> std::io::Result<File>) -> Result<Self, Fault> {
        let open = || {
            open().map_err(|error| {
                Problem::new(format!("cannot be read: {error}"), "check the path and its permissions")
                    .at(file)
            })
        };
        let format = match extension {
            "csv" => Format::Csv(Box::new(CsvRows::open(file, open()?)?)),
            "ndjson" | "jsonl" => Format::Ndjson(NdjsonRows::open(open()?)),
            "parquet" => Format::Parquet(parquet::ParquetRows::open(file, open()?)?),
            _ => return Err(unknown_format(file)),
        };
        Ok(Self { file: file.to_owned(), columns: 0, rows_max: BATCH_ROWS, format })
    }

    /// The file's name, as errors say it.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The columns that the file has, if it says so before its rows.
    pub(crate) fn available(&self) -> Option<Vec<String>> {
        match &self.format {
            Format::Csv(rows) => Some(rows.header.clone()),
            Format::Ndjson(_) => None,
            Format::Parquet(rows) => Some(rows.available()),
        }
    }

    /// Chooses the columns to read; each must be among those available.
    pub(crate) fn select(&mut self, names: &[String]) -> Result<(), Fault> {
        self.columns = names.len();
        match &mut self.format {
            Format::Csv(rows) => rows.select(&self.file, names),
            Format::Ndjson(rows) => {
                rows.names = names.to_vec();
                Ok(())
            }
            Format::Parquet(rows) => rows.select(&self.file, names),
        }
    }

    /// Reads the next batch; false when the file is at its end.
    pub(crate) fn next(&mut self, rows: &mut Rows) -> Result<bool, Fault> {
        rows.reset(self.columns);
        match &mut self.format {
            Format::Csv(csv) => csv.read(&self.file, self.rows_max, rows)?,
            Format::Ndjson(ndjson) => ndjson.read(&self.file, self.rows_max, rows)?,
            Format::Parquet(parquet) => parquet.read(&self.file, rows)?,
        }
        Ok(rows.len > 0)
    }

    /// How much has been read, and how much there is: bytes of text, rows of Parquet.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match &self.format {
            Format::Csv(rows) => (rows.reader.position().byte(), rows.bytes),
            Format::Ndjson(rows) => (rows.read, rows.bytes),
            Format::Parquet(rows) => rows.progress(),
        }
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// A file whose extension names no format.
pub(crate) fn unknown_format(file: &str) -> Fault {
    Problem::new("the file's format is unknown", "name it .parquet, .csv or .ndjson").at(file)
}

fn ambiguous_column(file: &str, name: &str) -> Fault {
    Problem::new(format!("there are two columns `{name}`"), "rename one of them").at(file)
}

/// A reader that refuses to go on for ever inside one row.
struct Bounded {
    file: File,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count > 0 && self.left == 0 {
            return Err(std::io::Error::other(TOO_LONG));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

const TOO_LONG: &str = "a row is longer than 1 MiB";

struct CsvRows {
    reader: csv::Reader<Bounded>,
    header: Vec<String>,
    /// For each selected column, its index in the record.
    selected: Vec<usize>,
    record: csv::ByteRecord,
    bytes: u64,
    /// 1 if lines end with CR LF: the parser stops between the two, still on the line before.
    behind: u64,
}

impl CsvRows {
    fn open(file: &str, source: File) -> Result<Self, Fault> {
        let bytes = source.metadata().map_or(0, |metadata| metadata.len());
        let behind = u64::from(ends_lines_with_cr_lf(&source));
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(Bounded { file: source, left: ROW_BYTES_MAX });
        let header = reader
            .headers()
            .map_err(|error| csv_problem(&error).at(format!("{file}:1")))?
            .iter()
            .map(str::to_owned)
            .collect();
        Ok(Self { reader, header, selected: Vec::new(), record: csv::ByteRecord::new(), bytes, behind })
    }

    fn select(&mut self, file: &str, names: &[String]) -> Result<(), Fault> {
        self.selected.clear();
        for name in names {
            let mut found = (0..self.header.len()).filter(|index| self.header[*index] == *name);
            let index = found.next();
            if found.next().is_some() {
                return Err(ambiguous_column(&format!("{file}:1"), name));
            }
            self.selected.push(index.unwrap_or(usize::MAX));
        }
        Ok(())
    }

    fn read(&mut self, file: &str, rows_max: usize, rows: &mut Rows) -> Result<(), Fault> {
        while rows.len < rows_max {
            self.reader.get_mut().left = ROW_BYTES_MAX;
            let more = self.reader.read_byte_record(&mut self.record).map_err(|error| {
                csv_problem(&error).at(format!("{file}:{}", self.reader.position().line()))
            })?;
            if !more {
                break;
            }
            let line = self.record.position().map_or(0, csv::Position::line) + self.behind;
            if self.record.len() != self.header.len() {
                return Err(Problem::new(
                    format!("the row has {} fields, the header {}", self.record.len(), self.header.len()),
                    "put fields that contain a comma or a line break in double quotes",
                )
                .at(format!("{file}:{line}")));
            }
            for (column, index) in self.selected.iter().enumerate() {
                let text = std::str::from_utf8(&self.record[*index]).map_err(|_| {
                    Problem::new("the text is not UTF-8", "convert the file to UTF-8")
                        .at(format!("{file}:{line}, column {}", self.header[*index]))
                })?;
                let stored = rows.store_text(text);
                rows.columns[column].push(stored);
            }
            rows.lines.push(line);
            rows.len += 1;
        }
        Ok(())
    }
}

/// Whether the first line ends with CR LF.
fn ends_lines_with_cr_lf(file: &File) -> bool {
    let mut start = [0; 4096];
    let count = file.read_at(&mut start, 0).unwrap_or(0);
    let mut lines = start[..count].split(|byte| *byte == b'\n');
    lines.next().is_some_and(|first| first.ends_with(b"\r") && lines.next().is_some())
}

fn csv_problem(error: &csv::Error) -> Problem {
    match error.kind() {
        csv::ErrorKind::Io(error) => Problem::new(
            format!("cannot be read: {error}"),
            "look for an unclosed double quote, or check the disk",
        ),
        csv::ErrorKind::Utf8 { .. } => Problem::new("the text is not UTF-8", "convert the file to UTF-8"),
        _ => Problem::new("the row is not valid CSV", "write it with a CSV library"),
    }
}

struct NdjsonRows {
    reader: BufReader<File>,
    names: Vec<String>,
    line: String,
    number: u64,
    read: u64,
    bytes: u64,
}

impl NdjsonRows {
    fn open(source: File) -> Self {
        let bytes = source.metadata().map_or(0, |metadata| metadata.len());
        let reader = BufReader::with_capacity(1 << 16, source);
        Self { reader, names: Vec::new(), line: String::new(), number: 0, read: 0, bytes }
    }

    fn read(&mut self, file: &str, rows_max: usize, rows: &mut Rows) -> Result<(), Fault> {
        while rows.len < rows_max {
            self.line.clear();
            let place = format!("{file}:{}", self.number + 1);
            let count =
                (&mut self.reader).take(ROW_BYTES_MAX + 1).read_line(&mut self.line).map_err(|error| {
                    match error.kind() {
                        std::io::ErrorKind::InvalidData => {
                            Problem::new("the text is not UTF-8", "convert the file to UTF-8")
                        }
                        _ => Problem::new(format!("cannot be read: {error}"), "check the disk"),
                    }
                    .at(&*place)
                })?;
            if count as u64 > ROW_BYTES_MAX {
                return Err(Problem::new(TOO_LONG, "write one object a line").at(place));
            }
            if count == 0 {
                break;
            }
            self.read += count as u64;
            self.number += 1;
            if self.line.trim().is_empty() {
                continue;
            }
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&self.line)
                .map_err(|error| {
                    Problem::new(
                        format!("the line is not a JSON object (at column {})", error.column()),
                        "write one object a line, such as {\"id\": \"a\", \"amount\": 12.5}",
                    )
                    .at(&*place)
                })?;
            for (column, name) in self.names.iter().enumerate() {
                let stored = match object.get(name) {
                    None | Some(serde_json::Value::Null) => Stored::Null,
                    Some(serde_json::Value::Bool(truth)) => Stored::Bool(*truth),
                    Some(serde_json::Value::String(text)) => rows.store_text(text),
                    Some(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                        (Some(number), _) => Stored::Int(number),
                        (None, Some(float)) if !number.is_u64() => Stored::Float(float),
                        _ => rows.store_text(&number.to_string()),
                    },
                    Some(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
                        return Err(Problem::new(
                            "the value is an array or an object",
                            "columns hold single values; flatten it into columns of their own",
                        )
                        .at(format!("{place}, column {}", shown_column(name))));
                    }
                };
                rows.columns[column].push(stored);
            }
            rows.lines.push(self.number);
            rows.len += 1;
        }
        Ok(())
    }
}

/// A column's name; one that could be a card number is not told.
pub(crate) fn shown_column(name: &str) -> String {
    let shown = shown_text(name);
    shown.trim_matches('`').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(extension: &str, content: &[u8], names: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut reader = Reader::open(file.path()).map_err(|fault| fault.to_string())?;
        reader.select(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        let (mut rows, mut all) = (Rows::default(), Vec::new());
        let hide = |text: String| text.replace(&file.path().display().to_string(), "FILE");
        while reader.next(&mut rows).map_err(|fault| hide(fault.to_string()))? {
            for row in 0..rows.len() {
                let mut told = vec![hide(rows.place(reader.file(), row))];
                told.extend((0..names.len()).map(|column| format!("{:?}", rows.cell(column, row))));
                all.push(told);
            }
        }
        Ok(all)
    }

    #[test]
    fn csv_rows_know_their_lines_even_after_line_breaks_in_quotes() {
        let rows = read(".csv", b"\xef\xbb\xbfa,b,c\n1,\"x\ny\",\n2,,z\n", &["c", "a"]).unwrap();
        assert_eq!(rows, [["FILE:2", "Null", "Text(\"1\")"], ["FILE:4", "Text(\"z\")", "Text(\"2\")"]]);
    }

    #[test]
    fn ndjson_rows_keep_their_types() {
        let text =
            b"{\"a\":1,\"b\":null}\n\n{\"b\":\"x\",\"a\":1.5}\n{\"a\":18446744073709551615,\"b\":true}";
        let rows = read(".ndjson", text, &["a", "b"]).unwrap();
        assert_eq!(rows[0], ["FILE:1", "Int(1)", "Null"]);
        assert_eq!(rows[1], ["FILE:3", "Float(1.5)", "Text(\"x\")"]);
        assert_eq!(rows[2], ["FILE:4", "Text(\"18446744073709551615\")", "Bool(true)"]);
    }

    #[test]
    fn broken_text_is_refused_with_its_line() {
        for (extension, content, wanted) in [
            (".csv", &b"a\n1\n\xff\n"[..], "FILE:3, column a: the text is not UTF-8"),
            (".csv", b"a,b\n1,2\n3\n", "FILE:3: the row has 1 fields, the header 2"),
            (".csv", b"a,b\r\n1,2\r\n3\r\n", "FILE:3: the row has 1 fields, the header 2"),
            (".ndjson", b"{\"a\":1}\n[1]\n", "FILE:2: the line is not a JSON object"),
            (".ndjson", b"{\"a\":{}}\n", "FILE:1, column a: the value is an array or an object"),
            (".ndjson", b"{\"a\":\"\xff\"}\n", "FILE:1: the text is not UTF-8"),
        ] {
            let message = read(extension, content, &["a"]).unwrap_err();
            assert!(message.starts_with(wanted), "{message}");
        }
        let endless = [b"{\"a\":\"".to_vec(), vec![b'x'; 3 << 20]].concat();
        assert!(read(".ndjson", &endless, &["a"]).unwrap_err().contains(TOO_LONG));
        let endless = [b"a\n\"".to_vec(), vec![b'x'; 3 << 20]].concat();
        assert!(read(".csv", &endless, &["a"]).unwrap_err().contains(TOO_LONG));
    }

    #[test]
    fn batches_number_their_rows_through() {
        let mut text = b"a\n".to_vec();
        for number in 0..BATCH_ROWS * 2 + 5 {
            text.extend_from_slice(format!("{number}\n").as_bytes());
        }
        let rows = read(".csv", &text, &["a"]).unwrap();
        assert_eq!(rows.len(), BATCH_ROWS * 2 + 5);
        assert_eq!(rows.last().unwrap()[0], format!("FILE:{}", BATCH_ROWS * 2 + 6));
    }
}
