//! One model, two ways: what a policy's models say in a replay is what `tollctl model predict` says of the exported features.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Inputs of every type that a model can be given, in the order in which all models here are given them.
const INPUTS: [&str; 11] = [
    "usd", "night", "channel", "share_1h", "far", "fast", "mean_1h", "distance", "idle", "idle_for", "tries",
];

const POLICY: &str = r#"policy cards revision 1

entity card

event payment {
  card: card, amount: money, channel: enum { pos, ecom, moto }
  tries: int?, distance: decimal?, idle: duration?, place: geo?
}

feature usd on payment = amount in USD
feature night on payment = hour() in "UTC" <= 6
feature share_1h = ratio(payment where amount in USD > 50 USD, payment) by card last 1h
feature mean_1h = avg(payment.amount in USD) by card last 1h
feature idle_for = since_last(payment) by card last 1h
feature far = distance(payment.place) by card last 12h
feature fast = speed(payment.place) by card last 12h

model trees on payment = "models/trees.tgm" (
  major(usd), night, channel, share_1h, far, fast, major(mean_1h), distance, idle, idle_for, tries
)
model strict on payment = "models/strict.tgm" (tries, distance)
model lenient on payment eager = "models/lenient.tgm" (tries, distance)
model seldom on payment lazy = "models/lenient.tgm" (tries, distance)

rule odd on payment { when trees > 0.5 or strict > 0.5 or lenient > 0.5 then review, score 60 }
rule alone on payment { when channel == moto and seldom > 0.5 then challenge }
decide payment { score = max(rule_scores, 100 * trees), unassessed review }
"#;

const MAP: &str = r#"[event.payment]
id = "id"
time = { column = "at", unit = "us" }

[event.payment.fields]
card = "card"
amount = { column = "amount", currency = "USD" }
channel = "channel"
tries = "tries"
distance = "distance"
idle = { column = "idle", unit = "s" }
place = { latitude = "lat", longitude = "lon" }
"#;

/// A logistic regression of two inputs; with something to take for those that are missing, or without.
fn logistic(missing: &str) -> String {
    format!(
        "kind = \"logistic\"\nintercept = -0.3\n\n\
         [[input]]\nname = \"tries\"\nmean = 4.5\nscale = 2.9\nweight = 1.7\n{missing}\n\
         [[input]]\nname = \"distance\"\nmean = 25.1\nscale = 14.3\nweight = -0.9\n{missing}\n"
    )
}

struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, line: &str) {
        let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
            .current_dir(self.folder.path())
            .args(line.split_ascii_whitespace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `model predict` says of these inputs of the exported rows, by id: those that has any input, and an answer.
    fn predicted(&self, rows: &[Row], model: &str, inputs: &[&str]) -> Vec<Option<f64>> {
        let mut text = inputs.join(",");
        for row in rows {
            let cells =
                inputs.iter().map(|name| row.numbers[*name].map_or(String::new(), |x| format!("{x:?}")));
            text += &format!("\n{}", cells.collect::<Vec<_>>().join(","));
        }
        self.write("rows.csv", &text);
        self.run(&format!("model predict --model models/{model}.tgm --input rows.csv --out told.csv"));
        let told = std::fs::read_to_string(self.path("told.csv")).unwrap();
        let told = told.lines().skip(1).map(|line| line.split_once(',').unwrap().1.parse::<f64>().unwrap());
        let has_any = rows.iter().map(|row| inputs.iter().any(|name| row.numbers[*name].is_some()));
        told.zip(has_any).map(|(told, has_any)| Some(told).filter(|told| has_any && !told.is_nan())).collect()
    }
}

/// A decision as it was written: numbers by column.
struct Row {
    id: String,
    numbers: BTreeMap<String, Option<f64>>,
}

/// The rows of a Parquet file.
fn read(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let (mut id, mut numbers) = (String::new(), BTreeMap::new());
        for (name, field) in row.unwrap().get_column_iter() {
            match field {
                Field::Str(text) if name == "id" => id.clone_from(text),
                Field::Double(number) => _ = numbers.insert(name.clone(), Some(*number)),
                Field::Null => _ = numbers.insert(name.clone(), None),
                _ => {}
            }
        }
        Row { id, numbers }
    });
    rows.collect()
}

/// Payments of a few cards over a day and a half; of what may be absent something mostly is.
fn payments() -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut text = "id,at,card,amount,channel,tries,distance,idle,lat,lon\n".to_owned();
    for number in 0..900 {
        let at = 1_767_571_200_000_000_u64 + number * 143_000_001;
        let channel = ["pos", "ecom", "moto"][draw(3) as usize];
        text += &format!("p{number},{at},c{},{}.{:02},{channel}", draw(9), draw(150), draw(100));
        let (tries, distance) = (draw(10).to_string(), format!("{}.{:06}", draw(50), draw(1_000_000)));
        let (idle, place) =
            (format!("{}.25", draw(20_000)), format!("0.{:06},1.{:06}", draw(2_000), draw(2_000)));
        for (cells, absent) in [(tries, ""), (distance, ""), (idle, ""), (place, ",")] {
            text += &format!(",{}", if draw(3) == 0 { absent } else { &cells });
        }
        text.push('\n');
    }
    text
}

#[test]
fn a_policy_says_of_a_model_what_predict_says_of_the_exported_features() {
    let rig = Rig { folder: tempfile::tempdir().unwrap() };
    std::fs::create_dir(rig.path("models")).unwrap();
    rig.write("cards.policy", POLICY);
    rig.write("map.toml", MAP);
    rig.write("payments.csv", &payments());
    rig.write("strict.toml", &logistic(""));
    rig.write("lenient.toml", &logistic("missing = 2.5"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden");
    std::fs::copy(golden.join("lightgbm_numeric.txt"), rig.path("trees.txt")).unwrap();
    let names = INPUTS.join(",");
    rig.run(&format!("model import --format lightgbm trees.txt --inputs {names} --out models/trees.tgm"));
    rig.run("model import --format linear strict.toml --out models/strict.tgm");
    rig.run("model import --format linear lenient.toml --out models/lenient.tgm");

    let events = "--policy cards.policy --map map.toml --events payments.csv";
    rig.run(&format!("features export {events} --columns {names} --out features.parquet"));
    rig.run(&format!("replay {events} --features --out verdicts.parquet"));
    let (rows, verdicts) = (read(&rig.path("features.parquet")), read(&rig.path("verdicts.parquet")));
    assert!(rows.len() == 900 && rows.iter().zip(&verdicts).all(|(row, verdict)| row.id == verdict.id));

    let models: [(&str, &[&str]); 3] =
        [("trees", &INPUTS), ("strict", &["tries", "distance"]), ("lenient", &["tries", "distance"])];
    for (model, inputs) in models {
        let predicted = rig.predicted(&rows, model, inputs);
        let (mut distinct, mut missing) = (Vec::new(), 0);
        for (told, verdict) in predicted.into_iter().zip(&verdicts) {
            // In billionths, half to even, as the engine has it.
            let expected = told.map(|told| (told * 1e9).round_ties_even() / 1e9);
            assert_eq!(verdict.numbers[model], expected, "{model} of {}", verdict.id);
            missing += usize::from(expected.is_none());
            distinct.extend(expected);
        }
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let (distinct_min, can_miss) = if model == "trees" { (100, false) } else { (250, true) };
        assert!(distinct.len() >= distinct_min, "{model}: {} distinct answers", distinct.len());
        assert_eq!(missing > 0, can_miss, "{model}: {missing} missing");
    }
    // A lazy model says the same, where it was asked.
    let column = |name: &'static str| verdicts.iter().map(move |verdict| verdict.numbers[name]);
    let asked = column("seldom").zip(column("lenient")).filter(|(seldom, _)| seldom.is_some());
    let asked: Vec<_> = asked.collect();
    assert!(asked.iter().all(|(seldom, lenient)| seldom == lenient));
    assert!((150..450).contains(&asked.len()), "asked {} times", asked.len());
}
