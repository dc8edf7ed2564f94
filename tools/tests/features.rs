//! `tollctl features export`: what a row holds, when labels count, and that they never reach back into features.

use parquet::column::reader::ColumnReader;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HOUR: i64 = 3_600_000_000;

/// 2026-01-05T00:00:00Z.
const START: i64 = 1_767_571_200_000_000;

/// After how long labels come: `after` in shop.toml.
const LABEL_AFTER: i64 = HOUR + HOUR / 2;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features")
}

/// One cell: its bits, if it is there.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Missing,
    Text(String),
    Int(i64),
    Real(u64),
    Truth(bool),
}

/// A Parquet file: columns by name, and what it says of itself.
struct Read {
    names: Vec<String>,
    columns: BTreeMap<String, Vec<Cell>>,
    notes: BTreeMap<String, String>,
    rows: usize,
}

impl Read {
    fn open(path: &Path) -> Self {
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let file = reader.metadata().file_metadata();
        let mut read = Self {
            names: file.schema_descr().columns().iter().map(|column| column.name().to_owned()).collect(),
            columns: BTreeMap::new(),
            notes: BTreeMap::new(),
            rows: usize::try_from(file.num_rows()).unwrap(),
        };
        for note in file.key_value_metadata().into_iter().flatten() {
            read.notes.insert(note.key.clone(), note.value.clone().unwrap_or_default());
        }
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).unwrap();
            let rows = usize::try_from(group.metadata().num_rows()).unwrap();
            for (index, name) in read.names.iter().enumerate() {
                let column = group.get_column_reader(index).unwrap();
                read.columns.entry(name.clone()).or_default().extend(cells(column, rows));
            }
        }
        read
    }

    fn column(&self, name: &str) -> &[Cell] {
        self.columns.get(name).unwrap_or_else(|| panic!("no column {name} in {:?}", self.names))
    }

    fn ids(&self) -> Vec<&str> {
        let texts = self.column("id").iter().map(|cell| match cell {
            Cell::Text(text) => text.as_str(),
            _ => panic!("{cell:?}"),
        });
        texts.collect()
    }
}

fn cells(reader: ColumnReader, rows: usize) -> Vec<Cell> {
    macro_rules! read {
        ($reader:ident, $kind:ty, $cell:expr) => {{
            let (mut reader, mut values, mut levels) = ($reader, Vec::<$kind>::new(), Vec::new());
            let read = reader.read_records(rows, Some(&mut levels), None, &mut values).unwrap();
            assert_eq!(read.0, rows);
            let mut values = values.into_iter().map($cell);
            let levels = if levels.is_empty() { vec![1; rows] } else { levels };
            levels
                .iter()
                .map(|level| if *level == 0 { Cell::Missing } else { values.next().unwrap() })
                .collect()
        }};
    }
    match reader {
        ColumnReader::BoolColumnReader(reader) => read!(reader, bool, Cell::Truth),
        ColumnReader::Int64ColumnReader(reader) => read!(reader, i64, Cell::Int),
        ColumnReader::DoubleColumnReader(reader) => read!(reader, f64, |real| Cell::Real(real.to_bits())),
        ColumnReader::ByteArrayColumnReader(reader) => {
            read!(reader, parquet::data_type::ByteArray, |text| Cell::Text(
                text.as_utf8().unwrap().to_owned()
            ))
        }
        _ => panic!("no such column is written"),
    }
}

/// One row of a file of events.
#[derive(Clone)]
struct Row {
    id: String,
    at: i64,
    payment: bool,
    told: bool,
    fraud: bool,
    rest: String,
}

/// Payments and logins of a few cards at a few shops over two days, some late, one in nine sent twice.
fn rows() -> Vec<Row> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..1500_u64 {
        if draw(9) == 0 && number > 0 {
            rows.push(rows[rows.len() - 1].clone());
            continue;
        }
        let late = if draw(10) == 0 { draw(1_800_000_000) as i64 } else { 0 };
        let at = START + number as i64 * 115_200_001 - late;
        let payment = draw(5) > 0;
        let optional = |some: bool, text: String| if some { text } else { String::new() };
        let shop = draw(7);
        let rest = [
            format!("c{}", draw(12)),
            optional(shop > 0, format!("m{shop}")),
            format!("{}.{:02}", draw(100), draw(100)),
            if draw(20) == 0 { "EUR" } else { "USD" }.to_owned(),
            ["pos", "ecom", "moto"][draw(3) as usize].to_owned(),
            optional(!payment || draw(3) > 0, (["false", "true"][draw(2) as usize]).to_owned()),
            optional(draw(3) > 0, draw(1000).to_string()),
            optional(draw(3) > 0, format!("{}.{:06}", draw(50), draw(1_000_000))),
            optional(draw(3) > 0, format!("{}.5", draw(5000))),
            optional(draw(3) > 0, "0742".to_owned()),
            optional(draw(2) > 0, format!("{}.{:02}", draw(90), draw(100))),
            optional(draw(2) > 0, ["stolen", "fake"][draw(2) as usize].to_owned()),
        ];
        let (told, fraud) = (payment && draw(2) == 0, draw(3) == 0);
        rows.push(Row { id: format!("r{number}"), at, payment, told, fraud, rest: rest.join(",") });
    }
    rows
}

fn write(path: &Path, rows: &[Row]) {
    let mut text = "id,at,what,told,fraud,card,shop,amount,currency,channel,present,tries,distance,idle,category,loss,how\n"
        .to_owned();
    for row in rows {
        let what = if row.payment { "payment" } else { "login" };
        let (told, fraud) = (u8::from(row.told), u8::from(row.fraud));
        text += &format!("{},{},{what},{told},{fraud},{}\n", row.id, row.at, row.rest);
    }
    std::fs::write(path, text).unwrap();
}

struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn new(rows: &[Row]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("events.csv"), rows);
        Self { folder }
    }

    fn run(&self, command: &[&str], out: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollctl"))
            .current_dir(here())
            .args(command)
            .args(["--policy", "shop.policy", "--map", "shop.toml", "--events"])
            .arg(self.folder.path().join("events.csv"))
            .arg("--out")
            .arg(self.folder.path().join(out))
            .args(more)
            .output()
            .unwrap()
    }

    fn read(&self, command: &[&str], more: &[&str]) -> (Read, String) {
        let output = self.run(command, "out.parquet", more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = Read::open(&self.folder.path().join("out.parquet"));
        (read, String::from_utf8(output.stdout).unwrap())
    }

    fn export(&self, more: &[&str]) -> Read {
        self.read(&["features", "export", "--event", "payment"], more).0
    }
}

/// Features that only logins have.
const OF_LOGINS: [&str; 1] = ["was_good"];

/// Features of a policy, in its order, from the columns of its replay.
fn features(replayed: &Read) -> Vec<&str> {
    let names = replayed.names.iter().map(String::as_str);
    names.skip(6).collect()
}

#[test]
fn features_are_those_of_each_decision_bit_for_bit() {
    let rig = Rig::new(&rows());
    let (replayed, summary) = rig.read(&["replay", "--features"], &[]);
    let digest = summary.trim_end().rsplit(' ').next().unwrap().to_owned();
    let (exported, summary) = rig.read(&["features", "export", "--event", "payment"], &[]);
    assert!(summary.contains(&format!("digest {digest}")), "{summary}");
    // Duplicates are decided once, and only then have features.
    let mut decided = BTreeSet::new();
    let ids = replayed.ids();
    let payments: Vec<usize> = (0..replayed.rows)
        .filter(|row| replayed.column("event")[*row] == Cell::Text("payment".to_owned()))
        .filter(|row| decided.insert(ids[*row]))
        .collect();
    assert!(payments.len() > 1000 && exported.rows == payments.len(), "{} {}", payments.len(), exported.rows);
    for name in ["id", "seq", "score", "action"] {
        let told: Vec<&Cell> = payments.iter().map(|row| &replayed.column(name)[*row]).collect();
        assert_eq!(exported.column(name).iter().collect::<Vec<_>>(), told, "{name}");
    }
    let mut missing = 0;
    let names = features(&replayed);
    for name in &names {
        if OF_LOGINS.contains(name) {
            assert!(!exported.names.iter().any(|column| column == name), "{name}");
            continue;
        }
        let mut different = BTreeSet::new();
        for (row, cell) in payments.iter().zip(exported.column(name)) {
            let told = match &replayed.column(name)[*row] {
                Cell::Int(number) => Cell::Real((*number as f64).to_bits()),
                cell => cell.clone(),
            };
            assert_eq!(*cell, told, "{name} of {}", ids[*row]);
            missing += usize::from(*cell == Cell::Missing);
            different.insert(format!("{cell:?}"));
        }
        assert!(different.len() > 1, "{name} says nothing");
    }
    assert!(names.len() == 17 && missing > 1000, "{} features, {missing} values missing", names.len());
}

#[test]
fn fields_are_numbers_in_the_units_that_the_file_tells() {
    let rows: Vec<Row> = rows();
    let rig = Rig::new(&rows);
    let read = rig.export(&["--labels", "label.how,label.loss"]);
    let head =
        ["id", "time", "seq", "amount", "amount.currency", "channel", "present", "tries", "distance", "idle"];
    assert_eq!(read.names[..10], head);
    assert_eq!(
        read.names[read.names.len() - 8..],
        [
            "score",
            "action",
            "inexact",
            "label.how",
            "label.loss",
            "label.loss.currency",
            "label.time",
            "label.seq"
        ]
    );
    for (note, told) in
        [("tollgate.policy", "shop"), ("tollgate.revision", "3"), ("tollgate.event", "payment")]
    {
        assert_eq!(read.notes[note], told);
    }
    assert_eq!(read.notes["tollgate.policy_hash"].len(), 64);
    let columns: Vec<serde_json::Value> = serde_json::from_str(&read.notes["tollgate.columns"]).unwrap();
    let note = |name: &str| columns.iter().find(|note| note["name"] == name).unwrap();
    for (name, of, unit) in [
        ("amount", "field", "of amount.currency"),
        ("idle", "field", "s"),
        ("opened", "field", "us since 1970"),
        ("category", "field", "mcc"),
        ("spent_1d", "feature", "USD"),
        ("idle_for", "feature", "s"),
        ("fraud_1d", "feature", "decimal"),
        ("label.loss.currency", "label", "currency"),
    ] {
        assert_eq!((&note(name)["of"], &note(name)["unit"]), (&of.into(), &unit.into()), "{name}");
    }
    assert_eq!(note("channel")["words"], serde_json::json!(["pos", "ecom", "moto"]));
    assert_eq!(note("channel_before")["words"], note("channel")["words"]);
    assert_eq!(note("label.how")["words"], serde_json::json!(["stolen", "fake"]));

    let by_id: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let real = |text: &str, times: f64| match text {
        "" => Cell::Missing,
        text => Cell::Real((text.parse::<f64>().unwrap() * times).to_bits()),
    };
    for (index, id) in read.ids().into_iter().enumerate() {
        let row = by_id[id];
        let rest: Vec<&str> = row.rest.split(',').collect();
        let channel = ["pos", "ecom", "moto"].iter().position(|word| *word == rest[4]).unwrap();
        let currency = if rest[3] == "USD" { 840.0_f64 } else { 978.0 };
        let expected = [
            ("time", Cell::Int(row.at)),
            ("amount", real(rest[2], 1.0)),
            ("amount.currency", Cell::Real(currency.to_bits())),
            ("channel", Cell::Real((channel as f64).to_bits())),
            ("present", real(&rest[5].replace("true", "1").replace("false", "0"), 1.0)),
            ("tries", real(rest[6], 1.0)),
            ("distance", real(rest[7], 1.0)),
            ("idle", real(rest[8], 1.0)),
            ("opened", Cell::Real((row.at as f64).to_bits())),
            ("category", real(rest[9], 1.0)),
            ("label.loss", if row.told { real(rest[10], 1.0) } else { Cell::Missing }),
        ];
        for (name, cell) in expected {
            assert_eq!(read.column(name)[index], cell, "{name} of {id}");
        }
    }
}

#[test]
fn a_label_never_changes_features_of_rows_before_it() {
    let rows = rows();
    let select = ["--labels", "label.is_fraud,label.loss"];
    let before = Rig::new(&rows).export(&select);
    let ids: Vec<String> = before.ids().into_iter().map(str::to_owned).collect();
    let names: Vec<&String> = before.names.iter().filter(|name| !name.contains("label")).collect();
    for cut in [0, ids.len() / 3, ids.len() / 2, ids.len() - 2] {
        // A label of this time or later comes after the row, which its own events do at the row's time at the earliest.
        let place = rows.iter().position(|row| row.id == ids[cut]).unwrap();
        let now = rows[..=place].iter().map(|row| row.at).max().unwrap();
        let mut altered = rows.clone();
        for (number, row) in altered.iter_mut().enumerate().filter(|(_, row)| row.payment) {
            if row.at + LABEL_AFTER <= now {
                continue;
            }
            match number % 3 {
                0 => row.fraud = !row.fraud,
                1 => row.told = !row.told,
                _ => row.told = true,
            }
        }
        // Both of two duplicates alike.
        for index in 1..altered.len() {
            if altered[index].id == altered[index - 1].id {
                altered[index] = altered[index - 1].clone();
            }
        }
        let after = Rig::new(&altered).export(&select);
        assert_eq!(after.ids(), before.ids());
        let changed = |name: &str, row: usize| after.column(name)[row] != before.column(name)[row];
        for (row, id) in ids.iter().enumerate().take(cut + 1) {
            for name in &names {
                assert!(!changed(name, row), "{name} of {id}, {cut}");
            }
        }
        // Labels were altered all the same, and later rows see it.
        let labels = |row: &usize| changed("label.is_fraud", *row);
        assert!((0..ids.len()).any(|row| labels(&row)), "{cut}");
        if cut < ids.len() / 2 + 1 {
            let differs = |row: &usize| names.iter().any(|name| *name != "seq" && changed(name, *row));
            let later = (cut + 1..ids.len()).filter(differs).count();
            assert!(later > 100, "only {later} later rows differ after {cut}");
        }
    }
}

#[test]
fn labels_count_until_the_point_that_is_asked_for() {
    let rows = rows();
    let rig = Rig::new(&rows);
    let select = ["--labels", "label.is_fraud", "--mature", "90m"];
    let all = rig.export(&select);
    let by_id: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let check = |read: &Read, as_of: i64| {
        let mut counts = [0; 4];
        for (index, id) in read.ids().into_iter().enumerate() {
            let row = by_id[id];
            let (known, mature) = (row.told && row.at + LABEL_AFTER <= as_of, as_of - row.at >= LABEL_AFTER);
            let fraud = Cell::Real(f64::from(u8::from(row.fraud)).to_bits());
            let expected = [
                if known { fraud } else { Cell::Missing },
                if known { Cell::Int(row.at + LABEL_AFTER) } else { Cell::Missing },
                Cell::Truth(mature),
            ];
            let told =
                ["label.is_fraud", "label.time", "mature"].map(|name| read.column(name)[index].clone());
            assert_eq!(told, expected, "{id} as of {as_of}");
            match (&read.column("label.seq")[index], &read.column("seq")[index]) {
                (Cell::Int(label), Cell::Int(own)) => assert!(known && label > own, "{id}"),
                (label, _) => assert!(!known && *label == Cell::Missing, "{id}"),
            }
            counts[usize::from(mature) * 2 + usize::from(known)] += 1;
        }
        counts
    };
    // A label has the number under which the replay acknowledged it.
    let (replayed, _) = rig.read(&["replay"], &["--acknowledged"]);
    let is_label = |row: &usize| replayed.column("event")[*row] == Cell::Text("label".to_owned());
    let labels = (0..replayed.rows).filter(is_label);
    let (ids, seqs) = (replayed.ids(), replayed.column("seq"));
    let seqs: BTreeMap<&str, &Cell> = labels.map(|row| (ids[row], &seqs[row])).collect();
    for (id, seq) in all.ids().into_iter().zip(all.column("label.seq")) {
        assert_eq!(seqs.get(id).copied().unwrap_or(&Cell::Missing), seq, "{id}");
    }
    let end = rows.iter().map(|row| row.at + if row.told { LABEL_AFTER } else { 0 }).max().unwrap();
    let counts = check(&all, end);
    // Nothing is known of the time behind the end of the file.
    let late = rig.export(&[&select[..], &["--as-of", "2199-01-01"]].concat());
    assert!(late.columns == all.columns && late.notes == all.notes);
    assert!(counts[1] == 0 && counts[2] > 100 && counts[3] > 100, "{counts:?}");
    assert_eq!(all.notes["tollgate.mature_us"], LABEL_AFTER.to_string());

    // The time of a label itself, at which it counts, and the microsecond before; and the time of a row, which is not left out.
    let told = rows[rows.len() / 2..].iter().find(|row| row.told).unwrap();
    let known = told.at + LABEL_AFTER;
    let row = rows.iter().find(|row| row.payment && row.at > known).unwrap();
    for as_of in [known, known - 1, row.at] {
        let time = jiff::Timestamp::from_microsecond(as_of).unwrap().to_string();
        let part = rig.export(&[&select[..], &["--as-of", &time]].concat());
        let first_later = rows.iter().position(|row| row.at > as_of).unwrap();
        // The latest event that counts, which here is mostly a label.
        let times = rows[..first_later].iter().flat_map(|row| {
            let label = Some(row.at + LABEL_AFTER).filter(|label| row.told && *label <= as_of);
            [Some(row.at), label].into_iter().flatten()
        });
        let latest = times.max().unwrap();
        assert_eq!(
            part.notes["tollgate.as_of"],
            jiff::Timestamp::from_microsecond(latest).unwrap().to_string()
        );
        let counts = check(&part, latest);
        assert!(counts[0] > 10 && counts[1] == 0 && counts[3] > 100, "{counts:?}");
        let row = part.ids().iter().position(|id| *id == told.id).unwrap();
        assert_eq!(part.column("label.seq")[row] == Cell::Missing, as_of < known);
        // As though the file ended there: the rows before its first later event, and no other differs in anything else.
        let mut seen = BTreeSet::new();
        let kept = rows[..first_later].iter().filter(|row| row.payment && seen.insert(&row.id)).count();
        assert_eq!((part.rows, &part.ids()[..]), (kept, &all.ids()[..kept]));
        for name in all.names.iter().filter(|name| !name.starts_with("label") && *name != "mature") {
            assert_eq!(part.column(name), &all.column(name)[..kept], "{name}");
        }
    }
}

#[test]
fn rows_and_columns_are_chosen_and_nothing_else_changes() {
    let rows = rows();
    let rig = Rig::new(&rows);
    let all = rig.export(&["--labels", "label.is_fraud"]);
    let (from, until) = (START + 10 * HOUR, START + 24 * HOUR);
    let select = ["--columns", "spent_1d,amount", "--columns", "idle_for", "--labels", "label.is_fraud"];
    let range = ["--from", "2026-01-05T12:00:00+02:00", "--until", "2026-01-06"];
    let part = rig.export(&[&select[..], &range].concat());
    let names = [
        "id",
        "time",
        "seq",
        "spent_1d",
        "amount",
        "idle_for",
        "score",
        "action",
        "inexact",
        "label.is_fraud",
        "label.time",
        "label.seq",
    ];
    assert_eq!(part.names, names);
    let inside =
        |row: &usize| matches!(all.column("time")[*row], Cell::Int(at) if (from..until).contains(&at));
    let chosen: Vec<usize> = (0..all.rows).filter(inside).collect();
    assert!(chosen.len() > 200 && chosen.len() < all.rows - 200, "{}", chosen.len());
    for name in names {
        let expected: Vec<&Cell> = chosen.iter().map(|row| &all.column(name)[*row]).collect();
        assert_eq!(part.column(name).iter().collect::<Vec<_>>(), expected, "{name}");
    }
    // The same bytes again.
    let bytes = || std::fs::read(rig.folder.path().join("out.parquet")).unwrap();
    let once = bytes();
    rig.export(&[&select[..], &range].concat());
    assert!(bytes() == once);
    // Logins have columns of their own.
    let (logins, _) = rig.read(&["features", "export", "--event", "login"], &[]);
    let names = ["id", "time", "seq", "good", "payments_1d"];
    assert_eq!(logins.names[..5], names);
    assert!(logins.names.contains(&"was_good".to_owned()) && !logins.names.contains(&"fraud_1d".to_owned()));
}

#[test]
fn what_cannot_be_exported_is_told_with_what_can() {
    let rig = Rig::new(&rows()[..20]);
    let cases: &[(&[&str], &str)] = &[
        (
            &[],
            "--event: the policy does not judge exactly one event, so one has to be named\n  help: it judges payment, login",
        ),
        (
            &["--event", "label"],
            "--event: the policy judges no event `label`\n  help: it judges payment, login",
        ),
        (&["--event", "refund"], "--event: the policy judges no event `refund`"),
        (
            &["--event", "payment", "--columns", "spent"],
            "--columns: payment has no field or feature `spent`\n  help: its numbers are amount, amount.currency, channel,",
        ),
        (&["--event", "payment", "--columns", "card"], "--columns: `card` is a key, and not a number"),
        (&["--event", "payment", "--columns", "email"], "--columns: `email` is a text, and not a number"),
        (
            &["--event", "payment", "--columns", "was_good"],
            "--columns: payment does not have the feature `was_good`",
        ),
        (
            &["--event", "payment", "--columns", "amount,amount"],
            "column amount: two columns would be called `amount`",
        ),
        (
            &["--event", "payment", "--labels", "is_fraud"],
            "--labels: `is_fraud` is not AMENDMENT.FIELD\n  help: labels of payment are label.is_fraud, label.loss, label.how",
        ),
        (&["--event", "payment", "--labels", "login.good"], "--labels: `login` is no amendment of payment"),
        (&["--event", "payment", "--labels", "label.is_fruad"], "--labels: label has no field `is_fruad`"),
        (
            &["--event", "payment", "--labels", "label.note"],
            "--labels: `label.note` is a text, and not a number",
        ),
        (
            &["--event", "login", "--labels", "label.is_fraud"],
            "help: no amendment of login has a field that is a number",
        ),
        (
            &["--event", "payment", "--labels", "label.is_fraud,label.is_fraud"],
            "two columns would be called `label.is_fraud`",
        ),
        (&["--event", "payment", "--mature", "7d"], "--labels"),
        (
            &["--event", "payment", "--labels", "label.is_fraud", "--mature", "a week"],
            "write a whole number and us, ms, s, m, h or d, such as 7d",
        ),
        (
            &["--event", "payment", "--as-of", "yesterday"],
            "write 2018-07-25 for the start of that day in UTC",
        ),
        (
            &["--event", "payment", "--from", "2026-01-06", "--until", "2026-01-06"],
            "--from: it is not before --until",
        ),
    ];
    let refused = |out: &str, more: &[&str], said: &str| {
        let output = rig.run(&["features", "export"], out, more);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(said), "{more:?}: {told}");
        assert_eq!(std::fs::read_dir(rig.folder.path()).unwrap().count(), 1, "{more:?} leaves a file behind");
    };
    for (more, said) in cases {
        refused("out.parquet", more, said);
    }
    refused("out.csv", &["--event", "payment"], "out.csv: rows are written as Parquet");
    refused("nowhere/out.parquet", &["--event", "payment"], "nowhere/out.parquet: cannot be written");

    // A row that cannot be read ends it, and the file is not there.
    let events = rig.folder.path().join("events.csv");
    let text = std::fs::read_to_string(&events).unwrap();
    std::fs::write(&events, format!("{text}r9,soon,payment,0,0,c1,,1,USD,pos,,,,,,,\n")).unwrap();
    refused("out.parquet", &["--event", "payment"], "events.csv:22, column at");
}

/// A field that is called as a column of every export is refused by default, and can be left out.
#[test]
fn names_of_the_exports_own_columns_are_refused() {
    let rig = Rig::new(&[]);
    let policy = rig.folder.path().join("shop.policy");
    std::fs::write(
        &policy,
        "policy p revision 1\nentity card\nevent payment { card: card, seq: int?, amount: money }\n\
         decide payment { score = 0, unassessed allow }\n",
    )
    .unwrap();
    let map = rig.folder.path().join("shop.toml");
    std::fs::write(
        &map,
        "[event.payment]\nid = \"id\"\ntime = { column = \"at\", unit = \"us\" }\n\
         fields = { card = \"card\", amount = { column = \"amount\", currency = \"USD\" } }\n",
    )
    .unwrap();
    let export = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
        command.current_dir(rig.folder.path()).args(["features", "export", "--policy", "shop.policy"]);
        command.args(["--map", "shop.toml", "--events", "events.csv", "--out", "out.parquet"]).args(more);
        command.output().unwrap()
    };
    let refused = export(&[]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("two columns would be called `seq`") && told.contains("--columns"), "{told}");
    let output = export(&["--columns", "amount"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A file without events has no rows, and all columns.
    let read = Read::open(&rig.folder.path().join("out.parquet"));
    assert_eq!((read.rows, read.names.len()), (0, 7));
}

/// The handbook's payments: labels are those of the file, and all that is needed to train is there.
#[test]
fn the_handbooks_labels_are_those_of_its_file() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/handbook/transactions.parquet");
    if !data.is_file() {
        eprintln!("SKIPPED: {} is not there", data.display());
        return;
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/handbook");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("features.parquet");
    let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .args([
            "features",
            "export",
            "--limit",
            "200000",
            "--labels",
            "label.is_fraud",
            "--mature",
            "7d",
            "--policy",
        ])
        .arg(config.join("handbook.policy"))
        .arg("--map")
        .arg(config.join("map.toml"))
        .arg("--events")
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = Read::open(&out);
    assert_eq!((read.rows, read.names.len()), (200_000, 3 + 2 + 14 + 3 + 3 + 1));
    let source = SerializedFileReader::new(std::fs::File::open(&data).unwrap()).unwrap();
    let schema = source.metadata().file_metadata().schema_descr();
    let fraud = schema.columns().iter().position(|column| column.name() == "TX_FRAUD").unwrap();
    let mut truth = Vec::new();
    for group in 0..source.num_row_groups() {
        let group = source.get_row_group(group).unwrap();
        let rows = usize::try_from(group.metadata().num_rows()).unwrap();
        let column = group.get_column_reader(fraud).unwrap();
        truth.extend(match column {
            ColumnReader::Int32ColumnReader(mut reader) => {
                let mut values = Vec::new();
                reader.read_records(rows, Some(&mut Vec::new()), None, &mut values).unwrap();
                values.into_iter().map(i64::from).collect::<Vec<_>>()
            }
            other => cells(other, rows)
                .into_iter()
                .map(|cell| if let Cell::Int(number) = cell { number } else { panic!("{cell:?}") })
                .collect(),
        });
        if truth.len() >= read.rows {
            break;
        }
    }
    let labels = read.column("label.is_fraud");
    let one = Cell::Real(1.0_f64.to_bits());
    for (row, fraud) in truth.iter().take(read.rows).enumerate() {
        assert_eq!(labels[row], if *fraud == 1 { one.clone() } else { Cell::Missing }, "row {row}");
    }
    assert!(labels.iter().filter(|label| **label == one).count() > 500);
}
