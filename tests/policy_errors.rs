//! What the policy language says about bad policies, word for word.
//!
//! Each `tests/golden/policy/NAME.policy` is a policy, and `NAME.expected` what is rendered for it; a policy that
//! is right has no such file. After a change of words, `UPDATE_GOLDEN=1 cargo test --test policy_errors` writes the
//! files again; read them before they are committed.

use std::fs;
use std::path::{Path, PathBuf};
use tollgate::policy::{check, diagnostics::render};

fn golden_policies() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the golden policies are there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "policy"))
        .collect();
    files.sort();
    files
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[test]
fn bad_policies_are_refused_with_these_words() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut refused = 0;
    for path in golden_policies() {
        let name = file_name(&path);
        let text = fs::read_to_string(&path).expect("a readable policy");
        let rendered = match check(&text) {
            Ok(_) => String::new(),
            Err(diagnostics) => {
                for diagnostic in &diagnostics {
                    assert!(!diagnostic.help.is_empty(), "{name}: no help for: {}", diagnostic.message);
                }
                refused += 1;
                render(&name, &text, &diagnostics)
            }
        };
        let expected_path = path.with_extension("expected");
        if update && !rendered.is_empty() {
            fs::write(&expected_path, &rendered).expect("a writable golden file");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if rendered != expected {
            wrong.push(format!("{name}:\n--- expected\n{expected}--- is\n{rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} golden files differ", wrong.join("\n"), wrong.len());
    assert!(refused >= 50, "only {refused} bad policies");
}

#[test]
fn every_construct_is_in_the_valid_policy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy/valid.policy");
    let text = fs::read_to_string(path).expect("a readable policy");
    if let Err(diagnostics) = check(&text) {
        panic!("{}", render("valid.policy", &text, &diagnostics));
    }
}
