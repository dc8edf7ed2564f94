//! The policies that are shipped: each is sound and formatted, has tests, and passes them.

use std::path::{Path, PathBuf};
use tollgate::policy::test;
use tollgate::policy_files;

/// Those that show how a kind of business is judged have this many tests at least.
const TESTS_MIN: usize = 15;
/// Which are these.
const SHOWN: [&str; 4] = ["acquiring.policy", "cards.policy", "funds.policy", "takeover.policy"];

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the policies are there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "policy"))
        .collect();
    files.sort();
    files
}

#[test]
fn shipped_policies_pass_their_tests() {
    let mut shown = 0;
    for path in shipped() {
        let sources = policy_files::read(&path).expect("a readable policy");
        let (policy, tests) =
            sources.check_with_tests().unwrap_or_else(|found| panic!("{}", sources.render(&found)));
        let reports =
            test::run(&policy, &tests, "").unwrap_or_else(|found| panic!("{}", sources.render(&[*found])));
        let text = test::text(&sources, &policy.name, &reports);
        assert!(reports.iter().all(|report| report.failures.is_empty()), "{text}");
        if SHOWN.iter().any(|name| path.ends_with(name)) {
            assert!(reports.len() >= TESTS_MIN, "{} has only {} tests", path.display(), reports.len());
            shown += 1;
        }
    }
    assert_eq!(shown, SHOWN.len());
}

/// A test that cannot fail proves nothing: with every rule's condition turned round, hardly any still holds.
#[test]
fn their_tests_notice_when_a_rule_is_wrong() {
    let mut unnoticed = Vec::new();
    for path in shipped().into_iter().filter(|path| SHOWN.iter().any(|name| path.ends_with(name))) {
        let sources = policy_files::read(&path).expect("a readable policy");
        let (policy, tests) = sources.check_with_tests().expect("sound");
        for rule in 0..policy.rules.len() {
            let mut wrong = policy.clone();
            let when = wrong.rules[rule].when.clone();
            wrong.rules[rule].when = tollgate::policy::typed::Expr::Not(Box::new(when));
            let reports = test::run(&wrong, &tests, "").expect("it lowers");
            if reports.iter().all(|report| report.failures.is_empty()) {
                unnoticed.push(format!("{}: {}", policy.name, policy.rules[rule].name));
            }
        }
    }
    assert!(unnoticed.is_empty(), "nothing tests {unnoticed:?}");
}
