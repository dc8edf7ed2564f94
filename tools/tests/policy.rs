//! `tollctl policy` through the real binary.

use std::path::Path;
use std::process::Command;

/// What is kept by one key and by a pair of keys of the policy that has every construct.
#[test]
fn a_plan_tells_keys_and_pairs() {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/policy/valid.policy");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tollctl")).args(["policy", "plan"]).arg(policy).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tables: Vec<&str> = told.lines().filter(|line| !line.starts_with(' ')).collect();
    let names: Vec<&str> = tables.iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    let pairs = ["(card, merchant)", "(account, account)", "(account, merchant)"];
    assert_eq!(names, ["card", "account", "device", "merchant"].into_iter().chain(pairs).collect::<Vec<_>>());
    assert!(tables[..4].iter().all(|line| line.ends_with(" bytes per key")), "{told}");
    assert!(tables[4..].iter().all(|line| line.ends_with(" bytes per pair")), "{told}");
    for group in [
        "payment by card: ",
        "payment by (card, merchant): ",
        "payee_added by (owner, payee): ",
        "result by (payment.payer, payment.merchant): ",
    ] {
        assert!(told.lines().any(|line| line.trim_start().starts_with(group)), "{group} in {told}");
    }
}
