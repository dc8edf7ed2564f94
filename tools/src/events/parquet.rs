//! Parquet: one column reader per selected column of the current row group.

use super::{BATCH_ROWS, Rows, Stored, ambiguous_column};
use crate::fault::{Fault, Problem};
use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::ByteArray;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;
use std::fs::File;
use tollgate::engine::units::{DAY, Time};

/// What the numbers of a column stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Plain,
    Unsigned,
    /// Units per microsecond, as multiplier and divisor.
    Time(i64, i64),
    Scaled(u8),
}

struct Column {
    index: usize,
    name: String,
    meaning: Meaning,
    optional: bool,
    reader: Option<ColumnReader>,
}

pub(super) struct ParquetRows {
    reader: SerializedFileReader<File>,
    selected: Vec<Column>,
    /// The row group to open next, and rows left in the current one.
    next_group: usize,
    left: usize,
    read: u64,
    total: u64,
    levels: Vec<i16>,
    values: Values,
}

/// One buffer per physical type, reused from batch to batch.
#[derive(Default)]
struct Values {
    bools: Vec<bool>,
    int32: Vec<i32>,
    int64: Vec<i64>,
    float: Vec<f32>,
    double: Vec<f64>,
    bytes: Vec<ByteArray>,
}

fn broken(error: &::parquet::errors::ParquetError) -> Problem {
    Problem::new(
        format!("is not a Parquet file that can be read: {error}"),
        "write it again; snappy, zstd and uncompressed pages are read",
    )
}

impl ParquetRows {
    pub(super) fn open(file: &str, source: File) -> Result<Self, Fault> {
        let reader = SerializedFileReader::new(source).map_err(|error| broken(&error).at(file))?;
        let total = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        Ok(Self {
            reader,
            selected: Vec::new(),
            next_group: 0,
            left: 0,
            read: 0,
            total,
            levels: Vec::new(),
            values: Values::default(),
        })
    }

    fn columns(&self) -> Vec<(usize, &ColumnDescriptor)> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().map(|column| &**column).enumerate().collect()
    }

    pub(super) fn available(&self) -> Vec<String> {
        self.columns().iter().map(|(_, column)| column.path().string()).collect()
    }

    pub(super) fn select(&mut self, file: &str, names: &[String]) -> Result<(), Fault> {
        let mut selected = Vec::new();
        for name in names {
            let mut found = self.columns().into_iter().filter(|(_, column)| column.path().string() == *name);
            let Some((index, column)) = found.next() else { continue };
            if found.next().is_some() {
                return Err(ambiguous_column(file, name));
            }
            let meaning = meaning(column).map_err(|problem| problem.at(format!("{file}, column {name}")))?;
            let optional = column.max_def_level() > 0;
            selected.push(Column { index, name: name.clone(), meaning, optional, reader: None });
        }
        self.selected = selected;
        Ok(())
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.read, self.total)
    }

    pub(super) fn read(&mut self, file: &str, rows: &mut Rows) -> Result<(), Fault> {
        while self.left == 0 {
            if self.next_group == self.reader.num_row_groups() {
                return Ok(());
            }
            self.open_group().map_err(|error| broken(&error).at(file))?;
        }
        let wanted = self.left.min(BATCH_ROWS);
        for (column, selected) in self.selected.iter_mut().enumerate() {
            let place = || format!("{file}: row {}, column {}", self.read + 1, selected.name);
            let reader = selected.reader.as_mut().expect("opened with the row group");
            self.levels.clear();
            fill(reader, wanted, &mut self.levels, &mut self.values)
                .map_err(|error| broken(&error).at(place()))?;
            let present = if selected.optional {
                if self.levels.len() != wanted {
                    return Err(too_few(wanted).at(place()));
                }
                &self.levels[..]
            } else {
                &[]
            };
            store(reader, present, wanted, selected.meaning, &mut self.values, rows, column)
                .map_err(|problem| problem.at(place()))?;
        }
        rows.len = wanted;
        self.left -= wanted;
        self.read += wanted as u64;
        Ok(())
    }

    fn open_group(&mut self) -> ::parquet::errors::Result<()> {
        let group = self.reader.get_row_group(self.next_group)?;
        for column in &mut self.selected {
            column.reader = Some(group.get_column_reader(column.index)?);
        }
        self.left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        self.next_group += 1;
        Ok(())
    }
}

fn too_few(wanted: usize) -> Problem {
    Problem::new(
        format!("the column has fewer than the {wanted} values that its row group promises"),
        "the file is damaged; write it again",
    )
}

fn meaning(column: &ColumnDescriptor) -> Result<Meaning, Problem> {
    if column.max_rep_level() > 0 || column.max_def_level() > 1 || column.path().parts().len() > 1 {
        return Err(Problem::new(
            "the column is nested",
            "columns hold single values; flatten it into columns of their own",
        ));
    }
    let physical = column.physical_type();
    if matches!(physical, PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY) {
        return Err(Problem::new(
            format!("columns of physical type {physical} are not read"),
            "write times as 64-bit timestamps, decimals as 64-bit decimals, and other values as text",
        ));
    }
    let meaning = match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Timestamp(timestamp)), _) => match timestamp.unit {
            TimeUnit::MILLIS => Meaning::Time(1000, 1),
            TimeUnit::MICROS => Meaning::Time(1, 1),
            TimeUnit::NANOS => Meaning::Time(1, 1000),
        },
        (None, ConvertedType::TIMESTAMP_MILLIS) => Meaning::Time(1000, 1),
        (None, ConvertedType::TIMESTAMP_MICROS) => Meaning::Time(1, 1),
        (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => Meaning::Time(DAY, 1),
        (Some(LogicalType::Decimal(decimal)), _) => Meaning::Scaled(u8::try_from(decimal.scale).unwrap_or(0)),
        (None, ConvertedType::DECIMAL) => Meaning::Scaled(u8::try_from(column.type_scale()).unwrap_or(0)),
        (Some(LogicalType::Integer(int)), _) if !int.is_signed => Meaning::Unsigned,
        (
            None,
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
        ) => Meaning::Unsigned,
        _ => Meaning::Plain,
    };
    if matches!(meaning, Meaning::Scaled(_)) && physical == PhysicalType::BYTE_ARRAY {
        return Err(Problem::new("decimals kept as bytes are not read", "write them as 64-bit decimals"));
    }
    Ok(meaning)
}

/// Reads `wanted` records into the buffer of the column's type. `read_records` goes on over page boundaries.
fn fill(
    reader: &mut ColumnReader,
    wanted: usize,
    levels: &mut Vec<i16>,
    values: &mut Values,
) -> ::parquet::errors::Result<()> {
    macro_rules! read {
        ($reader:ident, $buffer:ident) => {{
            values.$buffer.clear();
            $reader.read_records(wanted, Some(levels), None, &mut values.$buffer).map(|_| ())
        }};
    }
    match reader {
        ColumnReader::BoolColumnReader(reader) => read!(reader, bools),
        ColumnReader::Int32ColumnReader(reader) => read!(reader, int32),
        ColumnReader::Int64ColumnReader(reader) => read!(reader, int64),
        ColumnReader::FloatColumnReader(reader) => read!(reader, float),
        ColumnReader::DoubleColumnReader(reader) => read!(reader, double),
        ColumnReader::ByteArrayColumnReader(reader) => read!(reader, bytes),
        ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
            unreachable!("refused when the column was selected")
        }
    }
}

/// Turns what was read into cells. `present` is empty for a required column.
fn store(
    reader: &ColumnReader,
    present: &[i16],
    wanted: usize,
    meaning: Meaning,
    values: &mut Values,
    rows: &mut Rows,
    column: usize,
) -> Result<(), Problem> {
    let mut cells = std::mem::take(&mut rows.columns[column]);
    macro_rules! spread {
        ($buffer:ident, $convert:expr) => {
            spread(&mut values.$buffer, present, wanted, &mut cells, $convert)?
        };
    }
    match reader {
        ColumnReader::BoolColumnReader(_) => spread!(bools, |value| Ok(Stored::Bool(value))),
        ColumnReader::Int32ColumnReader(_) => spread!(int32, |value: i32| match meaning {
            Meaning::Unsigned => Ok(Stored::Int(i64::from(value as u32))),
            meaning => number(i64::from(value), meaning),
        }),
        ColumnReader::Int64ColumnReader(_) => spread!(int64, |value: i64| match meaning {
            Meaning::Unsigned if value < 0 => Ok(rows.store_text(&(value as u64).to_string())),
            meaning => number(value, meaning),
        }),
        ColumnReader::FloatColumnReader(_) => {
            // The shortest decimal of the 32-bit number, not of its 64-bit neighbour.
            spread!(float, |value: f32| Ok(float(value.to_string().parse().unwrap_or(f64::from(value)))));
        }
        ColumnReader::DoubleColumnReader(_) => spread!(double, |value| Ok(float(value))),
        ColumnReader::ByteArrayColumnReader(_) => spread!(bytes, |value: ByteArray| {
            let text = std::str::from_utf8(value.data())
                .map_err(|_| Problem::new("a text is not UTF-8", "convert the column to UTF-8"))?;
            Ok(rows.store_text(text))
        }),
        ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
            unreachable!("refused when the column was selected")
        }
    }
    rows.columns[column] = cells;
    Ok(())
}

/// One cell a row: a converted value where there is one.
fn spread<T>(
    values: &mut Vec<T>,
    present: &[i16],
    wanted: usize,
    cells: &mut Vec<Stored>,
    mut convert: impl FnMut(T) -> Result<Stored, Problem>,
) -> Result<(), Problem> {
    let mut values = values.drain(..);
    for row in 0..wanted {
        cells.push(match present.get(row) {
            Some(0) => Stored::Null,
            _ => convert(values.next().ok_or_else(|| too_few(wanted))?)?,
        });
    }
    Ok(())
}

fn float(value: f64) -> Stored {
    if value.is_nan() { Stored::Null } else { Stored::Float(value) }
}

fn number(value: i64, meaning: Meaning) -> Result<Stored, Problem> {
    match meaning {
        Meaning::Plain | Meaning::Unsigned => Ok(Stored::Int(value)),
        Meaning::Scaled(scale) => Ok(Stored::Scaled(value, scale)),
        Meaning::Time(multiplier, divisor) => value
            .checked_mul(multiplier)
            .map(|micros| Stored::Time(Time(micros.div_euclid(divisor))))
            .ok_or_else(|| Problem::new("a timestamp is out of range", "correct the row")),
    }
}

#[cfg(test)]
mod tests {
    use crate::events::{Reader, Rows};
    use parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type, Int96, Int96Type,
    };
    use parquet::file::writer::SerializedFileWriter;
    use std::sync::Arc;

    #[test]
    fn every_type_becomes_the_cell_it_stands_for() {
        let schema = "message rows {
            required INT32 plain; optional INT32 small (INTEGER(8,true)); required INT64 at (TIMESTAMP(NANOS,false));
            required INT64 price (DECIMAL(10,2)); optional DOUBLE real; required FLOAT half; required BOOLEAN truth;
            optional BYTE_ARRAY text (UTF8); required INT64 huge (INTEGER(64,false)); required INT32 day (DATE);
            required INT96 old; }";
        let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
        let file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
        let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, Arc::default()).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            macro_rules! column {
                ($kind:ty, $values:expr, $levels:expr) => {{
                    let mut column = group.next_column().unwrap().unwrap();
                    column.typed::<$kind>().write_batch(&$values, $levels, None).unwrap();
                    column.close().unwrap();
                }};
            }
            column!(Int32Type, [-7, 7], None);
            column!(Int32Type, [1], Some(&[0, 1]));
            column!(Int64Type, [1_999, -1], None);
            column!(Int64Type, [1250, -1], None);
            column!(DoubleType, [f64::NAN, 0.1], Some(&[1, 1]));
            column!(FloatType, [0.1, 2.0], None);
            column!(BoolType, [true, false], None);
            column!(ByteArrayType, [ByteArray::from("c-1")], Some(&[1, 0]));
            column!(Int64Type, [-1, 5], None);
            column!(Int32Type, [1, 2], None);
            column!(Int96Type, [Int96::new(), Int96::new()], None);
            group.close().unwrap();
        }
        writer.close().unwrap();

        let mut reader = Reader::open(file.path()).unwrap();
        assert_eq!(reader.available().unwrap().len(), 11);
        let names = ["plain", "small", "at", "price", "real", "half", "truth", "text", "huge", "day"]
            .map(str::to_owned);
        reader.select(&names).unwrap();
        let mut rows = Rows::default();
        for first in [1, 3] {
            assert!(reader.next(&mut rows).unwrap());
            let told = |row| names.iter().enumerate().map(move |(column, _)| (column, row));
            let cells =
                |row| told(row).map(|(c, r)| format!("{:?}", rows.cell(c, r))).collect::<Vec<_>>().join(" ");
            assert_eq!(
                cells(0),
                "Int(-7) Null Time(Time(1)) Scaled(1250, 2) Null Float(0.1) Bool(true) Text(\"c-1\") \
                 Text(\"18446744073709551615\") Time(Time(86400000000))"
            );
            assert_eq!(
                cells(1),
                "Int(7) Int(1) Time(Time(-1)) Scaled(-1, 2) Float(0.1) Float(2.0) Bool(false) Null Int(5) \
                 Time(Time(172800000000))"
            );
            assert_eq!(rows.number(0), first);
        }
        assert!(!reader.next(&mut rows).unwrap());
        let refusal = reader.select(&["old".to_owned()]).unwrap_err().to_string();
        assert!(refusal.contains("INT96"), "{refusal}");
    }
}
