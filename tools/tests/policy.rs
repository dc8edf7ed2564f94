//! `tollctl policy` through the real binary: what it prints is compared word for word.
//!
//! Case NAME is `golden/plan/NAME.expected`. `GOLDEN_UPDATE=1` writes the expected texts anew.

mod expected;

use expected::is_expected;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan")
}

fn plan(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
    command.current_dir(golden()).args(["policy", "plan"]).args(arguments).output().unwrap()
}

/// Its exit code, what it prints, and what it says is wrong.
fn told(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {}\n{out}{error}", output.status.code().unwrap())
}

/// The policy that has every construct.
const VALID: &str = "../../../../tests/golden/policy/valid.policy";

#[test]
fn plans_are_told_word_for_word() {
    let mut wrong = Vec::new();
    for (name, arguments) in [
        ("valid", [VALID].as_slice()),
        ("small", &["small.policy"]),
        ("small_json", &["small.policy", "--json", "--config", "bounded.toml"]),
        ("within", &["small.policy", "--config", "bounded.toml"]),
        ("over", &["small.policy", "--config", "tight.toml"]),
        ("wrong_config", &["small.policy", "--config", "wrong.toml"]),
        ("wrong_policy", &["wrong.policy"]),
    ] {
        let told = told(&plan(arguments));
        if !is_expected(&golden().join(format!("{name}.expected")), &told) {
            wrong.push(format!("{name}:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Over the bound there is a plan all the same, and a reason, and a script that reads neither is told too.
#[test]
fn over_the_bound_the_object_is_whole_and_the_exit_code_is_not_zero() {
    let output = plan(&["small.policy", "--json", "--config", "tight.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["fits"], false);
    let number = |name: &str| object[name].as_u64().unwrap();
    assert!(number("total_bytes") > number("memory_bytes_max"));
    let tables = object["tables"].as_array().unwrap().iter();
    let tables: u64 = tables
        .map(|table| table["index_bytes"].as_u64().unwrap() + table["records_bytes"].as_u64().unwrap())
        .sum();
    let others = [
        "spill_bytes",
        "dedup_bytes",
        "edits_bytes",
        "models_bytes",
        "rates_bytes",
        "shared_bytes",
        "working_bytes",
    ]
    .map(number);
    assert_eq!(number("total_bytes"), tables + others.iter().sum::<u64>(), "the parts are the whole");
    let refusal = object["refusal"].as_str().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("error: {refusal}\n"));
}

/// What is kept by one key and by a pair of keys of the policy that has every construct.
#[test]
fn a_plan_tells_keys_and_pairs() {
    let output = plan(&[VALID, "--json"]);
    assert!(output.status.success(), "{}", told(&output));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |list: &str| -> Vec<String> {
        let list = object[list].as_array().unwrap().iter();
        list.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let pairs = ["(card, merchant)", "(account, account)", "(account, merchant)"];
    let kinds = ["card", "account", "device", "merchant"];
    assert_eq!(names("tables"), kinds.into_iter().chain(pairs).collect::<Vec<_>>());
    for group in [
        "payment by card",
        "payment by (card, merchant)",
        "payee_added by (owner, payee)",
        "result by (payment.payer, payment.merchant)",
    ] {
        assert!(names("groups").iter().any(|name| name == group), "{group} in {:?}", names("groups"));
    }
}
