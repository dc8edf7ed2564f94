//! Parquet tables: rows in, row groups out, in memory for one row group.
//!
//! Equal rows give equal bytes.

use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fs::File;
use std::sync::Arc;

/// Rows of a row group.
pub(crate) const GROUP_ROWS: usize = 1 << 16;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8.
    Text,
    /// Whole numbers of 64 bits.
    Int,
    /// Microseconds since 1970, UTC.
    Time,
    /// Numbers of 64 bits with a floating point.
    Real,
    /// True or false.
    Truth,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    name: String,
    kind: Kind,
    optional: bool,
    distinct: bool,
}

impl Column {
    /// A column in which every row has a value.
    pub(crate) fn required(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, optional: false, distinct: false }
    }

    /// A column in which rows may have none.
    pub(crate) fn optional(name: &str, kind: Kind) -> Self {
        Self { optional: true, ..Self::required(name, kind) }
    }

    /// The same, where few rows share a value: a dictionary of them is all the values and costs a lookup for each.
    pub(crate) fn distinct(self) -> Self {
        Self { distinct: true, ..self }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item<'a> {
    /// None; of an optional column.
    Missing,
    /// Of a column of texts.
    Text(&'a str),
    /// Of a column of whole numbers or times.
    Int(i64),
    /// Of a column of numbers with a floating point.
    Real(f64),
    /// Of a column of truth values.
    Truth(bool),
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

/// The rows of a column that are not written yet.
enum Rows {
    Text(Texts),
    Int(Nullable<i64>),
    Real(Nullable<f64>),
    Truth(Nullable<bool>),
}

impl Rows {
    fn push(&mut self, item: Item<'_>) {
        match (self, item) {
            (Self::Text(rows), Item::Text(text)) => {
                rows.bytes.extend_from_slice(text.as_bytes());
                rows.ends.push(rows.bytes.len());
            }
            // Texts are there in every row. One that is not would leave its column short, which its row group refuses.
            (Self::Text(_), _) => debug_assert!(false, "no text for a column of texts"),
            (Self::Int(rows), Item::Int(number)) => rows.push(Some(number)),
            (Self::Int(rows), _) => rows.push(None),
            (Self::Real(rows), Item::Real(number)) => rows.push(Some(number)),
            (Self::Real(rows), _) => rows.push(None),
            (Self::Truth(rows), Item::Truth(truth)) => rows.push(Some(truth)),
            (Self::Truth(rows), _) => rows.push(None),
        }
    }
}

/// A table, being written.
pub(crate) struct Table {
    writer: SerializedFileWriter<File>,
    columns: Vec<(Rows, bool)>,
    rows: usize,
}

impl Table {
    /// Begins a table with this name; `notes` are the file's own keys and values.
    pub(crate) fn new(
        file: File,
        name: &str,
        columns: &[Column],
        notes: Vec<(String, String)>,
    ) -> Result<Self> {
        let field = |column: &Column| {
            let (physical, logical) = match column.kind {
                Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
                Kind::Int => (PhysicalType::INT64, None),
                Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
                Kind::Real => (PhysicalType::DOUBLE, None),
                Kind::Truth => (PhysicalType::BOOLEAN, None),
            };
            let repetition = if column.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
            Type::primitive_type_builder(&column.name, physical)
                .with_repetition(repetition)
                .with_logical_type(logical)
                .build()
                .map(Arc::new)
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Type::group_type_builder(name).with_fields(fields).build()?);
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("tollctl".to_owned());
        for column in columns.iter().filter(|column| column.distinct) {
            properties = properties.set_column_dictionary_enabled(column.name.as_str().into(), false);
            if matches!(column.kind, Kind::Int | Kind::Time) {
                properties = properties
                    .set_column_encoding(column.name.as_str().into(), Encoding::DELTA_BINARY_PACKED);
            }
        }
        if !notes.is_empty() {
            let notes = notes.into_iter().map(|(key, value)| KeyValue::new(key, value));
            properties = properties.set_key_value_metadata(Some(notes.collect()));
        }
        let rows = |column: &Column| {
            let rows = match column.kind {
                Kind::Text => Rows::Text(Texts::default()),
                Kind::Int | Kind::Time => Rows::Int(Nullable::default()),
                Kind::Real => Rows::Real(Nullable::default()),
                Kind::Truth => Rows::Truth(Nullable::default()),
            };
            (rows, column.optional)
        };
        Ok(Self {
            writer: SerializedFileWriter::new(file, schema, Arc::new(properties.build()))?,
            columns: columns.iter().map(rows).collect(),
            rows: 0,
        })
    }

    /// Writes a row: one value for each column, in their order.
    pub(crate) fn push<'a>(&mut self, row: impl Iterator<Item = Item<'a>>) -> Result<()> {
        for ((rows, _), item) in self.columns.iter_mut().zip(row) {
            rows.push(item);
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        macro_rules! column {
            ($kind:ty, $values:expr, $levels:expr) => {{
                if let Some(mut column) = group.next_column()? {
                    column.typed::<$kind>().write_batch($values, $levels, None)?;
                    column.close()?;
                }
            }};
        }
        macro_rules! nullable {
            ($kind:ty, $rows:expr, $optional:expr) => {{
                column!($kind, &$rows.values, $optional.then_some(&$rows.levels[..]));
                $rows.clear();
            }};
        }
        for (rows, optional) in &mut self.columns {
            match rows {
                Rows::Text(rows) => column!(ByteArrayType, &rows.take(), None),
                Rows::Int(rows) => nullable!(Int64Type, rows, optional),
                Rows::Real(rows) => nullable!(DoubleType, rows, optional),
                Rows::Truth(rows) => nullable!(BoolType, rows, optional),
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    /// Writes the last row group and what makes the file one.
    pub(crate) fn close(&mut self) -> Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.writer.finish().map(|_| ())
    }
}
