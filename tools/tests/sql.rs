//! Windows that a SQL engine computed from the same files, held against the engine's, value by value.
//!
//! What is compared with was written by `sql/check.py golden` with DuckDB, from the files alone: every value for payments in
//! several currencies, and a digest of each feature for the handbook's payments (which are kept outside the project; without
//! them that test says that it was skipped). `sql/check.py compare FILE` compares a verdict file row by row.

use std::path::{Path, PathBuf};
use std::process::Command;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql")
}

/// One judged payment: its id and its features, by the names in `names`; whole numbers, money in minor units.
fn replay(
    name: &str,
    events: &Path,
    rates: Option<&Path>,
    names: &[&str],
    mut row: impl FnMut(&str, &[Option<i64>]),
) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("verdicts.csv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
    command.args(["replay", "--features", "--policy"]).arg(here().join(format!("{name}.policy")));
    command
        .arg("--map")
        .arg(here().join(format!("{name}.toml")))
        .arg("--events")
        .arg(events)
        .arg("--out")
        .arg(&out);
    if let Some(rates) = rates {
        command.arg("--rates").arg(rates);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let columns: Vec<usize> =
        names.iter().map(|name| header.iter().position(|column| column == name).expect(name)).collect();
    let mut values = Vec::with_capacity(names.len());
    for line in lines {
        values.clear();
        values.extend(names.iter().zip(&columns).map(|(name, column)| whole(line[*column], scale(name))));
        row(line[1], &values);
    }
}

/// Minor units of the money that a feature tells, by its name; 1 for counts.
fn scale(name: &str) -> f64 {
    let money = ["sum", "min", "max", "usd_last"].iter().any(|word| name.contains(word));
    match name.split('_').next() {
        _ if !money => 1.0,
        Some("jpy") => 1.0,
        Some("kwd") => 1_000.0,
        _ => 100.0,
    }
}

fn whole(text: &str, scale: f64) -> Option<i64> {
    (!text.is_empty()).then(|| (text.parse::<f64>().unwrap() * scale).round() as i64)
}

fn told(value: Option<i64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

#[test]
fn payments_in_several_currencies_agree_with_sql() {
    let golden = include_str!("sql/currencies.golden.csv");
    let mut lines = golden.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').skip(1).collect();
    let (mut rows, mut missing) = (0, 0);
    replay(
        "currencies",
        &here().join("currencies.csv"),
        Some(&here().join("rates.csv")),
        &names,
        |id, values| {
            let line = [id.to_owned()]
                .into_iter()
                .chain(values.iter().map(|value| told(*value)))
                .collect::<Vec<_>>();
            assert_eq!(lines.next(), Some(line.join(",").as_str()), "names: {names:?}");
            rows += 1;
            missing += usize::from(values.contains(&None));
        },
    );
    assert_eq!((rows, lines.next()), (4_000, None));
    assert!((10..2_000).contains(&missing), "{missing} rows in which something is missing");
}

#[test]
fn the_handbooks_payments_agree_with_sql() {
    let events =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/handbook/transactions.parquet");
    if !events.is_file() {
        eprintln!("SKIPPED: {} is not there", events.display());
        return;
    }
    let golden: Vec<Vec<&str>> =
        include_str!("sql/handbook.golden").lines().map(|line| line.split(' ').collect()).collect();
    let names: Vec<&str> = golden.iter().map(|line| line[0]).collect();
    let mut digests = vec![blake3::Hasher::new(); names.len()];
    let mut rows = 0_u64;
    replay("handbook", &events, None, &names, |id, values| {
        rows += 1;
        for (digest, value) in digests.iter_mut().zip(values) {
            digest.update(format!("{id},{}\n", told(*value)).as_bytes());
        }
    });
    for (line, digest) in golden.iter().zip(digests) {
        assert_eq!(line[1..], [rows.to_string(), digest.finalize().to_string()], "{}", line[0]);
    }
}
