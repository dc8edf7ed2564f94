//! The demonstration, as a newcomer runs it: the real binary, the switch in a process of its own.

use std::process::Command;

fn demo(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("demo")
        .args(arguments)
        .output()
        .expect("the demo starts")
}

#[test]
fn every_event_is_answered_and_fraud_is_found() {
    let output = demo(&["--seconds", "4", "--rate", "5000", "--customers", "2000", "--json"]);
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{log}");
    let summary: serde_json::Value =
        serde_json::from_str(text.lines().last().expect("a last line")).expect("JSON");
    let number = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"));
    assert_eq!((number("unanswered"), number("refused")), (0, 0), "{summary}");
    assert_eq!(number("answered"), number("sent"));
    let actions = summary["actions"].as_object().expect("actions");
    assert_eq!(actions.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), number("payments"));
    for action in ["allow", "challenge", "review", "block"] {
        assert!(actions[action].as_u64() > Some(0), "{action} in {summary}");
    }
    // Far better than chance, with room for a slow machine that gets through fewer simulated days.
    assert!(summary["recall"].as_f64() > Some(0.2), "{summary}");
    assert!(summary["precision"].as_f64() > Some(0.2), "{summary}");
    let rtt = &summary["rtt_ns"];
    assert!(rtt["p50"].as_u64() > Some(0) && rtt["max"].as_u64() >= rtt["p9999"].as_u64(), "{summary}");
}

#[test]
fn a_policy_without_payments_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("other.policy");
    std::fs::write(&file, "policy other revision 1\nentity card\nevent swipe { card: card }\ndecide swipe { score = 0, unassessed review }\n")
        .expect("a file");
    let output = demo(&["--seconds", "1", "--policy", file.to_str().expect("UTF-8")]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(log.contains("the policy must declare `event payment`"), "{log}");
}

#[test]
fn a_bad_policy_is_answered_with_the_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.policy");
    std::fs::write(&file, "policy bad revision 1\nentity card\nevent payment { card: crad }\n")
        .expect("a file");
    let output = demo(&["--seconds", "1", "--policy", file.to_str().expect("UTF-8")]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(log.contains("bad.policy:3:") && log.contains("card"), "{log}");
}
