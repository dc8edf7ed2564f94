//! Tests of policies, run: what is told of those that fail, word for word.
//!
//! Each `tests/golden/policy_test/NAME.policy` is a policy with tests, and `NAME.expected` what `tollctl policy test` prints
//! of them. `UPDATE_GOLDEN=1 cargo test --test policy_tests` writes those anew; read them before they are committed.

#[path = "support/small_model.rs"]
mod small_model;

use small_model::small_model;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tollgate::policy::Sources;
use tollgate::policy::test::{Report, run, text};

fn reports(sources: &Sources) -> (String, Vec<Report>) {
    let (policy, tests) =
        sources.check_with_tests().unwrap_or_else(|diagnostics| panic!("{}", sources.render(&diagnostics)));
    let reports = run(&policy, &tests, "").unwrap_or_else(|error| panic!("{}", sources.render(&[*error])));
    (policy.name, reports)
}

#[test]
fn what_fails_is_told_with_its_reasons() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy_test");
    let mut wrong = Vec::new();
    for name in ["failing", "none", "models"] {
        let path = folder.join(format!("{name}.policy"));
        let policy = fs::read_to_string(&path).expect("a policy");
        let sources = Sources::read(&format!("{name}.policy"), &policy, &mut |_| Ok(small_model()));
        let (policy, reports) = reports(&sources);
        let told = text(&sources, &policy, &reports);
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &told).expect("a writable golden file");
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{name}:\n--- expected\n{expected}--- is\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tests_of_the_valid_policy_hold() {
    let sources = Sources::single("valid.policy", include_str!("golden/policy/valid.policy"));
    let (policy, reports) = reports(&sources);
    assert!(!reports.is_empty());
    assert!(reports.iter().all(|report| report.failures.is_empty()), "{}", text(&sources, &policy, &reports));
}

#[test]
fn tests_do_not_know_of_each_other_and_a_filter_chooses_some() {
    let mut policy = String::from(
        "policy p revision 1\nentity card\nevent payment { card: card }\n\
         feature n = count(payment) by card last 1h\n\
         rule second on payment { when n > 1 then block }\n\
         decide payment { score = 0, unassessed review }\n",
    );
    for number in 0..300 {
        let _ = writeln!(
            policy,
            "test \"number {number}\" {{ when payment {{ card: c1 }} at 0m then not fires second, when payment \
             {{ card: c1 }} at {number}s then block }}"
        );
    }
    let sources = Sources::single("p", &policy);
    let (checked, tests) = sources.check_with_tests().expect("a sound policy");
    let reports = run(&checked, &tests, "").expect("a policy that can be lowered");
    assert_eq!(reports.len(), 300);
    assert!(reports.iter().all(|report| report.failures.is_empty()));
    let some = run(&checked, &tests, "number 29").expect("a policy that can be lowered");
    assert_eq!(some.len(), 11, "29 and 290 to 299");
}
