//! `tollctl policy fmt` as it is run.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const UGLY: &str =
    "policy   p revision 1\nentity card\nevent e{card:card}  // kept\ndecide e {score=1,unassessed allow}\n";
const FINE: &str = "policy p revision 1\nentity card\nevent e { card: card }  // kept\ndecide e { score = 1, unassessed allow }\n";
const BROKEN: &str = "policy p revision 1\nentity   ,\n";

fn tollctl(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .args(["policy", "fmt"])
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn told(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn files_are_rewritten_at_once_and_keep_mode_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ugly.policy"), UGLY).unwrap();
    fs::write(path("fine.policy"), FINE).unwrap();
    fs::set_permissions(path("ugly.policy"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("ugly.policy", path("link.policy")).unwrap();
    let untouched = fs::metadata(path("fine.policy")).unwrap().modified().unwrap();

    let output = tollctl(folder.path(), &["--check", "fine.policy", "link.policy"]);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(1), "link.policy\n"));
    assert_eq!(fs::read_to_string(path("ugly.policy")).unwrap(), UGLY);

    let output = tollctl(folder.path(), &["fine.policy", "link.policy"]);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(0), ""), "{}", told(&output.stderr));
    assert_eq!(fs::read_to_string(path("ugly.policy")).unwrap(), FINE);
    assert_eq!(fs::metadata(path("ugly.policy")).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(path("link.policy")).unwrap().is_symlink());
    assert_eq!(fs::metadata(path("fine.policy")).unwrap().modified().unwrap(), untouched);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside them");

    let output = tollctl(folder.path(), &["--check", "fine.policy", "ugly.policy"]);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(0), ""));
}

#[test]
fn a_policy_with_errors_is_left_as_it_is_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("broken.policy"), BROKEN).unwrap();
    fs::write(path("ugly.policy"), UGLY).unwrap();
    let output = tollctl(folder.path(), &["broken.policy", "nowhere.policy", "ugly.policy"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = told(&output.stderr);
    assert!(errors.contains("error[syntax]: ") && errors.contains("broken.policy:2:10"), "{errors}");
    assert!(errors.contains("error: nowhere.policy cannot be read"), "{errors}");
    assert_eq!(fs::read_to_string(path("broken.policy")).unwrap(), BROKEN);
    assert_eq!(fs::read_to_string(path("ugly.policy")).unwrap(), FINE);
}

#[test]
fn standard_input_is_formatted_to_standard_output() {
    let through = |args: &[&str], text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tollctl"))
            .args(["policy", "fmt", "-"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = through(&[], UGLY);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(0), FINE));
    let output = through(&["--check"], UGLY);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(1), "standard input\n"));
    let output = through(&[], BROKEN);
    assert_eq!((output.status.code(), told(&output.stdout)), (Some(1), ""));
}
