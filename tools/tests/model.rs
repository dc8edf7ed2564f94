//! `tollctl model` as it is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name)
}

fn tollctl(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollctl")).arg("model").args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn must(folder: &Path, args: &[&str]) -> String {
    let output = tollctl(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = tollctl(folder, args);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{args:?}");
    text(&output.stderr).to_owned()
}

/// A folder with a model and its rows, as the library computed their margins.
fn imported(format: &str, name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = golden(name).with_extension("csv");
    let (file, rows) = (golden(name).display().to_string(), rows.display().to_string());
    must(folder.path(), &["import", "--format", format, &file, "--out", "m.tgm", "--golden", &rows]);
    fs::copy(rows, folder.path().join("rows.csv")).unwrap();
    folder
}

#[test]
fn margins_are_predicted_to_the_last_bit() {
    for (format, name) in [
        ("lightgbm", "lightgbm_categorical.txt"),
        ("xgboost", "xgboost_numeric.ubj"),
        ("linear", "scorecard.toml"),
    ] {
        let folder = imported(format, name);
        let args = ["predict", "--model", "m.tgm", "--input", "rows.csv", "--out", "out.csv", "--extra"];
        for kernel in ["walk", "portable"] {
            must(folder.path(), &[args.as_slice(), &["--kernel", kernel]].concat());
            let told = fs::read_to_string(folder.path().join("rows.csv")).unwrap();
            let found = fs::read_to_string(folder.path().join("out.csv")).unwrap();
            assert!(found.starts_with("margin,probability\n"), "{found}");
            let bits = |cell: &str| cell.parse::<f64>().map_or(f64::NAN.to_bits(), f64::to_bits);
            let expected: Vec<u64> =
                told.lines().skip(1).map(|line| bits(line.rsplit(',').next().unwrap())).collect();
            let margins: Vec<u64> =
                found.lines().skip(1).map(|line| bits(line.split(',').next().unwrap())).collect();
            assert_eq!(margins, expected, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside them");
    }
}

#[test]
fn columns_are_found_by_name_and_leaves_are_told() {
    let folder = imported("lightgbm", "lightgbm_poisson.txt");
    let rows = "extra,Column_10,Column_9,Column_8,Column_7,Column_6,Column_5,Column_4,Column_3,Column_2,Column_1,Column_0\n\
                x,1,,nan,inf,-inf,0,-0.0,1e-35,5e-324,7, 12.5 \n";
    let turned = "Column_0,Column_1,Column_2,Column_3,Column_4,Column_5,Column_6,Column_7,Column_8,Column_9,Column_10\n\
                  12.5,7,5e-324,1e-35,-0.0,0,-inf,inf,nan,,1\n";
    fs::write(folder.path().join("a.csv"), rows).unwrap();
    fs::write(folder.path().join("b.csv"), turned).unwrap();
    let args =
        |rows, out| ["predict", "--model", "m.tgm", "--input", rows, "--out", out, "--leaves", "--extra"];
    let said = must(folder.path(), &args("a.csv", "a.out"));
    assert!(said.starts_with("a.out: 1 rows, kernel "), "{said}");
    must(folder.path(), &args("b.csv", "b.out"));
    let out = fs::read_to_string(folder.path().join("a.out")).unwrap();
    assert_eq!(out, fs::read_to_string(folder.path().join("b.out")).unwrap());
    assert!(out.starts_with("margin,probability,leaf_0,leaf_1,leaf_2,leaf_3\n"), "{out}");
    let numbers: Vec<f64> =
        out.lines().nth(1).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    assert!(
        (numbers[1] - numbers[0].exp()).abs() < 1e-12 && numbers[2..].iter().all(|leaf| *leaf < 4.0),
        "{out}"
    );
}

#[test]
fn what_is_wrong_with_rows_is_told() {
    let folder = imported("linear", "scorecard.toml");
    for (rows, args, message) in [
        ("amount\n1\n", "", "rows.csv: the header: there is no column `age`"),
        ("amount,age,amount\n1,2,3\n", "", "rows.csv: the header: two columns are called `amount`"),
        (
            "amount,age,id\n1,2,3\n",
            "",
            "rows.csv: the header: no input is called `id`\n  help: drop the column, or ignore",
        ),
        ("amount,age\n1,2\n3,4x\n", "", "rows.csv: row 2, column age: `4x` is not a number"),
        ("amount,age\n1,2\n3\n", "", "rows.csv: row 2: cannot be read: "),
        ("amount,age\n1,2\n", "--kernel=none", "--kernel none: this processor has "),
    ] {
        fs::write(folder.path().join("rows.csv"), rows).unwrap();
        let mut all = vec!["predict", "--model", "m.tgm", "--input", "rows.csv", "--out", "out.csv"];
        all.extend(Some(args).filter(|args| !args.is_empty()));
        let said = refused(folder.path(), &all);
        assert!(said.starts_with("error: ") && said.contains(message), "{rows}: {said}");
        assert!(!folder.path().join("out.csv").exists());
    }
}

#[test]
fn what_is_in_a_model_is_shown() {
    let folder = imported("lightgbm", "lightgbm_rf.txt");
    let file = golden("lightgbm_rf.txt").display().to_string();
    let args = [
        "import",
        "--format",
        "lightgbm",
        &file,
        "--out",
        "n.tgm",
        "--trees",
        "4",
        "--trained-from",
        "2018-07-25",
    ];
    let more = [
        "--trained-to",
        "2018-07-31T12:00:00Z",
        "--metric",
        "auc=0.875",
        "--metric",
        "ap=0.5",
        "--note",
        "a note",
    ];
    let said = must(folder.path(), &[args.as_slice(), &more].concat());
    assert!(said.starts_with("n.tgm: lightgbm model, inputs 11, trees 4, leaves "), "{said}");
    let shown = must(folder.path(), &["show", "n.tgm"]);
    for line in [
        "source            lightgbm",
        "objective         binary sigmoid:1",
        "link              sigmoid 1.0",
        "arithmetic        inputs f64, sum f64 divided by 4.0",
        "trees             4",
        "golden rows       64",
        "from library      0",
        "trained from      2018-07-25",
        "trained to        2018-07-31T12:00:00Z",
        "note              a note",
        "metric            auc 0.875",
        "input             Column_10",
    ] {
        assert!(shown.contains(&format!("{line}\n")), "{line}: {shown}");
    }
    let object: serde_json::Value =
        serde_json::from_str(&must(folder.path(), &["show", "n.tgm", "--json"])).unwrap();
    assert_eq!((object["trees"].as_u64(), object["golden_rows"].as_u64()), (Some(4), Some(64)));
    assert_eq!(object["metrics"]["ap"], 0.5);
    assert_eq!(object["input_names"].as_array().unwrap().len(), 11);
    let object: serde_json::Value =
        serde_json::from_str(&must(folder.path(), &["show", "m.tgm", "--json"])).unwrap();
    assert_eq!((object["trees"].as_u64(), object["from_library"].as_u64()), (Some(8), Some(100)));
}

#[test]
fn what_cannot_be_imported_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = fs::read_to_string(golden("lightgbm_poisson.txt")).unwrap();
    fs::write(path("m.txt"), model.replace("objective=poisson", "objective=rank_xendcg")).unwrap();
    let import = ["import", "--format", "lightgbm", "m.txt", "--out", "m.tgm"];
    let said = refused(folder.path(), &import);
    assert!(
        said.starts_with("error: m.txt: line 7: the objective `rank_xendcg` is not imported; "),
        "{said}"
    );
    fs::write(path("m.txt"), &model).unwrap();
    // Each margin as it is, but for the last.
    let rows = fs::read_to_string(golden("lightgbm_poisson.csv")).unwrap();
    fs::write(path("rows.csv"), format!("{}1\n", rows.trim_end())).unwrap();
    let said = refused(folder.path(), &[import.as_slice(), &["--golden", "rows.csv"]].concat());
    assert!(said.starts_with("error: m.txt and rows.csv: golden row 100: its margin should be "), "{said}");
    fs::write(path("rows.csv"), rows.lines().next().unwrap()).unwrap();
    let said = refused(folder.path(), &[import.as_slice(), &["--golden", "rows.csv"]].concat());
    assert!(said.starts_with("error: rows.csv: has no rows"), "{said}");
    assert!(!path("m.tgm").exists(), "nothing is written unless all is well");
    let output = tollctl(folder.path(), &[import.as_slice(), &["--trained-from", "yesterday"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));

    must(folder.path(), &import);
    let whole = fs::read(path("m.tgm")).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (name, bytes, reason) in [
        ("damaged.tgm", &damaged[..], "the model's hash is not the one in its header: the file is damaged"),
        ("short.tgm", &whole[..whole.len() - 1], "the header promises"),
        ("empty.tgm", &[], "0 bytes are too few for a model"),
        ("text.tgm", model.as_bytes(), "it does not begin with TGMODEL"),
    ] {
        fs::write(path(name), bytes).unwrap();
        let said = refused(folder.path(), &["show", name]);
        assert!(said.starts_with(&format!("error: {name} is refused: ")) && said.contains(reason), "{said}");
    }
    assert!(
        refused(folder.path(), &["show", "nowhere.tgm"]).starts_with("error: nowhere.tgm cannot be read: ")
    );
}
