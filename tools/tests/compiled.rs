//! `tollctl policy compile` and `show` as they are run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const POLICY: &str = "policy small revision 7
entity card
event payment { card: card, n: int }
list known of card { \"a\", \"b\" }
feature n_1h = count(payment) by card last 1h
rule fast on payment { when n_1h > 3 and card not in known then review, score 80 }
decide payment { score = max(rule_scores), unassessed allow }
";

fn tollctl(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollctl")).arg("policy").args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_compiled_policy_is_shown_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("small.policy"), POLICY).unwrap();
    let output = tollctl(folder.path(), &["compile", "small.policy", "--out", "small.tgp"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout).to_owned();
    assert!(said.starts_with("small.tgp: policy small revision 7, "), "{said}");

    let output = tollctl(folder.path(), &["show", "small.tgp"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let hash = said.trim_end().rsplit(' ').next().unwrap();
    assert!(shown.starts_with("policy small revision 7\n") && shown.contains(hash), "{shown}");
    for line in ["features          1", "rules             1", "entries of lists  2"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }

    let before = fs::read(path("small.tgp")).unwrap();
    // Another layout of the same policy is the same program.
    fs::write(path("small.policy"), POLICY.replace(" > ", "\n  >   ")).unwrap();
    assert!(tollctl(folder.path(), &["compile", "small.policy", "--out", "small.tgp"]).status.success());
    assert_eq!(fs::read(path("small.tgp")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
}

#[test]
fn what_is_damaged_or_no_compiled_policy_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("small.policy"), POLICY).unwrap();
    assert!(tollctl(folder.path(), &["compile", "small.policy", "--out", "small.tgp"]).status.success());
    let whole = fs::read(path("small.tgp")).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (name, bytes, reason) in [
        ("damaged.tgp", &damaged[..], "the program's hash is not the one in its header: the file is damaged"),
        ("short.tgp", &whole[..whole.len() - 1], "the header promises"),
        ("empty.tgp", &[], "0 bytes are too few for a program"),
        ("text.tgp", POLICY.as_bytes(), "it does not begin with TOLLGATE"),
    ] {
        fs::write(path(name), bytes).unwrap();
        let output = tollctl(folder.path(), &["show", name]);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{name}");
        assert!(said.starts_with(&format!("error: {name} is refused: ")) && said.contains(reason), "{said}");
    }
    let output = tollctl(folder.path(), &["show", "nowhere.tgp"]);
    assert!(
        text(&output.stderr).starts_with("error: nowhere.tgp cannot be read: "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_policy_with_errors_is_not_compiled() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.policy"), POLICY.replace("n_1h > 3", "n_2h > 3")).unwrap();
    let output = tollctl(folder.path(), &["compile", "bad.policy", "--out", "bad.tgp"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error[unknown-name]: "), "{}", text(&output.stderr));
    assert!(!folder.path().join("bad.tgp").exists());
}
