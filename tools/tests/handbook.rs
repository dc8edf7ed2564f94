//! The features that the Fraud Detection Handbook's authors published, recomputed by the engine from their payments.
//!
//! The data is kept outside the project (`../shared/data/handbook`); without it the test says that it was skipped.

use parquet::column::reader::ColumnReader;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A whole column as numbers; a null is NaN.
fn numbers(path: &Path, name: &str) -> Vec<f64> {
    column(path, name, |reader, rows| {
        macro_rules! read {
            ($reader:ident, $kind:ty, $number:expr) => {{
                let (mut values, mut levels) = (Vec::<$kind>::new(), Vec::new());
                $reader.read_records(rows, Some(&mut levels), None, &mut values).unwrap();
                let mut values = values.into_iter();
                let levels = if levels.is_empty() { vec![1; rows] } else { levels };
                levels
                    .iter()
                    .map(|level| if *level == 0 { f64::NAN } else { values.next().map_or(f64::NAN, $number) })
                    .collect()
            }};
        }
        match reader {
            ColumnReader::Int32ColumnReader(reader) => read!(reader, i32, f64::from),
            ColumnReader::Int64ColumnReader(reader) => read!(reader, i64, |value| value as f64),
            ColumnReader::DoubleColumnReader(reader) => read!(reader, f64, |value| value),
            _ => panic!("{name} is not a column of numbers"),
        }
    })
}

fn texts(path: &Path, name: &str) -> Vec<String> {
    column(path, name, |reader, rows| {
        let ColumnReader::ByteArrayColumnReader(reader) = reader else { panic!("{name} is not text") };
        let mut values = Vec::new();
        reader.read_records(rows, None, None, &mut values).unwrap();
        values.iter().map(|value| value.as_utf8().unwrap().to_owned()).collect()
    })
}

fn column<T>(path: &Path, name: &str, read: impl Fn(&mut ColumnReader, usize) -> Vec<T>) -> Vec<T> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let index = schema.columns().iter().position(|column| column.name() == name).expect(name);
    let mut all = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).unwrap();
        let rows = group.metadata().num_rows() as usize;
        all.extend(read(&mut group.get_column_reader(index).unwrap(), rows));
    }
    all
}

fn replay(data: &Path, out: &Path, burst: &str) -> String {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/handbook");
    let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .args(["replay", "--features", "--burst", burst, "--policy"])
        .arg(config.join("handbook.policy"))
        .arg("--map")
        .arg(config.join("map.toml"))
        .arg("--events")
        .arg(data.join("transactions.parquet"))
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Payments in which one customer pays twice within one second, and whether the published values differ.
fn ties() -> BTreeMap<u32, bool> {
    include_str!("fixtures/handbook_ties.csv")
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .map(|line| line.split_once(',').unwrap())
        .map(|(id, differs)| (id.parse().unwrap(), differs == "1"))
        .collect()
}

#[test]
fn the_published_features_are_recomputed() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/handbook");
    if !data.is_dir() {
        eprintln!("SKIPPED: {} is not there", data.display());
        return;
    }
    let ties = ties();
    assert_eq!((ties.len(), ties.values().filter(|differs| **differs).count()), (38, 10));

    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("verdicts.parquet");
    eprintln!("{}", replay(&data, &out, "16").trim_end());
    let bytes = std::fs::read(&out).unwrap();
    for burst in ["1", "64"] {
        let again = directory.path().join(format!("burst-{burst}.parquet"));
        replay(&data, &again, burst);
        assert!(std::fs::read(&again).unwrap() == bytes, "a burst of {burst} writes other bytes");
    }

    let expected = data.join("expected_features.parquet");
    let ids = numbers(&expected, "TRANSACTION_ID");
    let (events, out_ids) = (texts(&out, "event"), texts(&out, "id"));
    let payments: Vec<usize> = (0..events.len()).filter(|row| events[*row] == "payment").collect();
    assert_eq!(payments.len(), ids.len());
    for (row, id) in payments.iter().zip(&ids) {
        assert_eq!(out_ids[*row], format!("{id}"));
    }

    let mut differing = BTreeSet::new();
    let names = numbers_of_features();
    for name in &names {
        let (published, found) = (numbers(&expected, name), numbers(&out, name));
        for (index, row) in payments.iter().enumerate() {
            let (published, found) = (published[index], found[*row]);
            let tolerance = if name.contains("AVG") { 1e-9 } else { 0.0 };
            if (published - found).abs() <= tolerance {
                continue;
            }
            let id = ids[index] as u32;
            assert!(
                name.starts_with("CUSTOMER") && ties.get(&id) == Some(&true),
                "payment {id}: {name} is {found}, published is {published}"
            );
            differing.insert(id);
        }
    }
    let expected_to_differ: BTreeSet<u32> =
        ties.into_iter().filter(|(_, differs)| *differs).map(|(id, _)| id).collect();
    assert_eq!(differing, expected_to_differ);
}

fn numbers_of_features() -> Vec<String> {
    let mut names = vec!["TX_DURING_WEEKEND".to_owned(), "TX_DURING_NIGHT".to_owned()];
    for (key, kinds) in [("CUSTOMER_ID", ["NB_TX", "AVG_AMOUNT"]), ("TERMINAL_ID", ["NB_TX", "RISK"])] {
        for days in [1, 7, 30] {
            names.extend(kinds.map(|kind| format!("{key}_{kind}_{days}DAY_WINDOW")));
        }
    }
    names
}
