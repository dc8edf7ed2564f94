//! Bad maps and bad rows through the real binary: what it says is compared word for word.
//!
//! Case NAME is `golden/NAME.expected`, with `NAME.csv` or `NAME.ndjson` for events and `NAME.toml` for a map; what
//! a case does not have it takes from `good.csv` and `good.toml`. `GOLDEN_UPDATE=1` writes the expected texts anew.

mod expected;

use expected::is_expected;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn replay(events: &str, map: &str, out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .current_dir(golden())
        .args(["replay", "--policy", "golden.policy", "--events", events, "--map", map, "--out"])
        .arg(out)
        .args(more)
        .output()
        .unwrap()
}

fn cases() -> BTreeSet<String> {
    std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension != "policy" && extension != "expected")
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "good")
        .collect()
}

#[test]
fn every_bad_map_and_row_is_told_word_for_word() {
    let cases = cases();
    assert!(cases.len() >= 30, "{}", cases.len());
    let mut wrong = Vec::new();
    for name in &cases {
        let file = |extensions: &[&str]| {
            let own = extensions.iter().map(|extension| format!("{name}.{extension}"));
            own.into_iter()
                .find(|file| golden().join(file).exists())
                .unwrap_or_else(|| format!("good.{}", extensions[0]))
        };
        let directory = tempfile::tempdir().unwrap();
        let output =
            replay(&file(&["csv", "ndjson"]), &file(&["toml"]), &directory.path().join("out.csv"), &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(!told.contains("1111"), "{name} tells a card number");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{name} leaves a file behind");
        if !is_expected(&golden().join(format!("{name}.expected")), &told) {
            wrong.push(format!("{name}:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_good_file_yields_one_row_an_event_and_a_label_when_it_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.csv");
    let output = replay("good.csv", "good.toml", &out, &["--features", "--acknowledged"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.starts_with("rows 2, events 3, "), "{summary}");
    let all = std::fs::read_to_string(&out).unwrap();
    assert_eq!(
        all,
        "seq,id,event,score,action,reasons,payments_1d,spent_1d,fraud_7d\n\
         1,a1,payment,-1,allow,,1,12.5,0\n\
         2,a2,payment,80,review,LARGE,2,2512.5,0\n\
         3,a2,label,,none,,,,\n"
    );
    assert!(summary.contains(", engine ") && !summary.contains("reading"), "{summary}");
    let preloaded = replay("good.csv", "good.toml", &out, &["--preload"]);
    let summary = String::from_utf8(preloaded.stdout).unwrap();
    assert!(summary.contains(", reading ") && summary.contains(", engine "), "{summary}");
    let judged = directory.path().join("judged.csv");
    assert!(replay("good.csv", "good.toml", &judged, &["--features"]).status.success());
    let judged = std::fs::read_to_string(&judged).unwrap();
    assert_eq!(judged, all.replace("3,a2,label,,none,,,,\n", ""));
}

#[test]
fn formats_agree_and_the_limit_counts_rows() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.ndjson");
    let mut text = String::new();
    for row in 0..50 {
        let (card, shop) = (row % 3, if row % 4 == 0 { "null".to_owned() } else { format!("\"m{row}\"") });
        text += &format!(
            "{{\"id\":{row},\"at\":\"2026-01-05T10:00:{row:02}Z\",\"card\":\"c{card}\",\"shop\":{shop},\"amount\":{row}.25,\
             \"currency\":\"USD\",\"channel\":\"pos\",\"fraud\":{}}}\n",
            row % 2
        );
    }
    std::fs::write(&events, text).unwrap();
    let run = |out: &str, more: &[&str]| {
        let out = directory.path().join(out);
        let more = [&["--acknowledged"], more].concat();
        let output = replay(events.to_str().unwrap(), "good.toml", &out, &more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(out).unwrap()
    };
    let all = run("a.csv", &["--features"]);
    assert_eq!(all, run("b.csv", &["--features", "--burst", "1"]));
    assert_eq!(all, run("c.csv", &["--features", "--burst", "64"]));
    assert_eq!(all, run("g.csv", &["--features", "--preload"]));
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines(&all), 1 + 50 + 25);
    assert_eq!(lines(&run("d.ndjson", &["--limit", "10"])), 10 + 5);
    assert_eq!(run("e.parquet", &["--features"]), run("f.parquet", &["--features"]));
}

#[test]
fn a_bad_policy_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("bad.policy");
    std::fs::write(
        &policy,
        "policy bad revision 1\nentity card\nfeature f = count(nothing) by card last 1d\n",
    )
    .unwrap();
    let check = |file: &Path| {
        Command::new(env!("CARGO_BIN_EXE_tollctl")).args(["policy", "check"]).arg(file).output().unwrap()
    };
    let output = check(&policy);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("bad.policy:3:") && told.contains("nothing"), "{told}");
    let output = check(&golden().join("golden.policy"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Warnings leave a policy sound, unless they are denied; errors never do. As JSON both are lines.
#[test]
fn warnings_and_errors_are_told_for_scripts_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("policy p revision 1\nentity card\n{text}")).unwrap();
        path
    };
    let sound = "event e { card: card }\ndecide e { score = 1, unassessed allow }\n";
    let clean = file("clean.policy", sound);
    let warned = file("warned.policy", &format!("entity spare\n{sound}"));
    let wrong = file("wrong.policy", "event e { card: crad }\n");
    let check = |file: &Path, options: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_tollctl"));
        let output = tool.args(["policy", "check"]).arg(file).args(options).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for (file, options, code, lines) in [
        (&clean, &["--json", "--deny-warnings"][..], 0, 0),
        (&warned, &["--json"], 0, 1),
        (&warned, &["--json", "--deny-warnings"], 1, 1),
        (&wrong, &["--json"], 1, 1),
    ] {
        let (exit, told, errors) = check(file, options);
        assert_eq!((exit, told.lines().count(), errors.as_str()), (Some(code), lines, ""), "{told}");
        for line in told.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["file"], file.display().to_string());
            assert_eq!((object["line"].as_u64(), object["column"].is_u64()), (Some(3), true), "{line}");
        }
    }
    let (exit, told, errors) = check(&warned, &[]);
    assert_eq!(exit, Some(0));
    assert!(told.contains("is sound") && told.contains("1 warning"), "{told}");
    assert!(errors.starts_with("warning[unused-entity]: "), "{errors}");
    assert_eq!(check(&warned, &["--deny-warnings"]).0, Some(1));
    assert!(check(&wrong, &[]).2.starts_with("error[unknown-name]: "));
}

#[test]
fn labels_come_before_payments_of_the_same_time_and_files_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.csv");
    let rows = [
        ("a1", "05T10:00:00Z", 1),
        ("a2", "05T10:00:00Z", 1),
        ("a3", "05T09:00:00Z", 1),
        ("b1", "06T09:30:00Z", 0),
        ("b2", "06T10:00:00Z", 0),
        ("b3", "06T10:00:00Z", 0),
    ];
    let mut text = "id,at,card,shop,amount,currency,channel,present,tries,fraud\n".to_owned();
    for (id, at, fraud) in rows {
        text += &format!("{id},2026-01-{at},c1,m1,1,USD,pos,,,{fraud}\n");
    }
    std::fs::write(&events, text).unwrap();
    let out = directory.path().join("out.csv");
    let output = replay(events.to_str().unwrap(), "good.toml", &out, &["--features", "--acknowledged"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(&out).unwrap();
    let order: Vec<String> = written
        .lines()
        .skip(1)
        .map(|line| line.split(',').skip(1).take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        order,
        [
            "a1 payment",
            "a2 payment",
            "a3 payment",
            "a3 label",
            "b1 payment",
            "a1 label",
            "a2 label",
            "b2 payment",
            "b3 payment"
        ]
    );
    // Judged after both labels: six payments in seven days, three of them fraud.
    assert!(written.lines().last().unwrap().ends_with(",0.5"), "{written}");
}
