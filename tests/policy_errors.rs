//! What the policy language says about bad policies, word for word.
//!
//! Each `tests/golden/policy/NAME.policy` is a policy, and `NAME.expected` what is rendered for it; a policy that
//! is right has no such file. What policies use is in folders beside them. After a change of words, `UPDATE_GOLDEN=1 cargo test --test policy_errors` writes the
//! files again; read them before they are committed.

#[path = "support/small_model.rs"]
mod small_model;

use small_model::small_model;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tollgate::policy::diagnostics::{Diagnostic, Severity, json, render};
use tollgate::policy::{Sources, check, codes};

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
    // Messages without what is quoted and counted in them.
    let mut shapes = BTreeSet::new();
    for path in golden_policies() {
        let name = file_name(&path);
        let text = fs::read_to_string(&path).expect("a readable policy");
        let folder = path.parent().expect("the folder of golden policies");
        let mut read = |file: &str| match file {
            "small.tgm" => Ok(small_model()),
            file => fs::read(folder.join(file)).map_err(|_| "no such file".to_owned()),
        };
        let sources = Sources::read(&name, &text, &mut read);
        let rendered = match sources.check() {
            Ok(_) => String::new(),
            Err(diagnostics) => {
                for diagnostic in &diagnostics {
                    assert!(!diagnostic.help.is_empty(), "{name}: no help for: {}", diagnostic.message);
                    let quoted = diagnostic.message.split('`').enumerate().filter(|(at, _)| at % 2 == 0);
                    let words: String = quoted.map(|(_, words)| words).collect();
                    shapes.insert(words.replace(|c: char| c.is_ascii_digit(), ""));
                    if diagnostic.code == "invalid" {
                        wrong.push(format!(
                            "{name}: no line of src/policy/codes.rs for: {}; {}",
                            diagnostic.message, diagnostic.label
                        ));
                    }
                }
                refused += 1;
                sources.render(&diagnostics)
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
    assert!(refused >= 100, "only {refused} bad policies");
    assert!(shapes.len() >= 150, "only {} different diagnostics", shapes.len());
}

/// Each warning has a policy that it is told of, `tests/golden/lints/CODE.policy`, and one just like it that it is not told
/// of, `CODE_silent.policy`.
#[test]
fn warnings_are_told_with_these_words_and_not_without_cause() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lints");
    let mut wrong = Vec::new();
    let warnings = codes::ALL.iter().filter(|code| code.severity == Severity::Warning);
    for code in warnings.map(|code| code.word) {
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a policy for each warning");
        let name = format!("{code}.policy");
        let mut with_model = |_: &str| Ok(small_model());
        let sources = Sources::read(&name, &read(&name), &mut with_model);
        let analysis = sources.analyse();
        let rendered = sources.render(&analysis.diagnostics);
        assert!(analysis.policy.is_some(), "{rendered}");
        let is_it = |found: &Diagnostic| found.code == code && found.severity == Severity::Warning;
        assert!(
            !analysis.diagnostics.is_empty() && analysis.diagnostics.iter().all(is_it),
            "{code}:\n{rendered}"
        );
        assert!(analysis.diagnostics.iter().all(|found| !found.help.is_empty()), "{rendered}");
        let expected = folder.join(format!("{code}.expected"));
        if update {
            fs::write(&expected, &rendered).expect("a writable golden file");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != rendered {
            wrong.push(rendered);
        }
        let name = format!("{code}_silent.policy");
        let sources = Sources::read(&name, &read(&name), &mut with_model);
        let found = sources.analyse().diagnostics;
        assert!(found.is_empty(), "{}", sources.render(&found));
    }
    assert!(wrong.is_empty(), "{}\n{} golden files differ", wrong.join("\n"), wrong.len());
}

/// The table of codes in the documentation is that of the code.
#[test]
fn all_codes_are_documented() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/POLICY.md")).expect("the page");
    let rows: Vec<String> = codes::ALL
        .iter()
        .map(|code| format!("| `{}` | {} | {} |", code.word, code.severity.word(), code.meaning))
        .collect();
    assert!(page.contains(&rows.join("\n")), "docs/POLICY.md is to say:\n{}", rows.join("\n"));
}

/// The policies that are shipped are examples: nothing is to be said about them, but that the handbook has features that are
/// only there to be compared with those that were published.
#[test]
fn the_shipped_policies_have_no_warnings() {
    for (name, allowed) in [
        ("policies/demo.policy", ""),
        ("handbook/handbook.policy", "unused-feature"),
        ("handbook/extended.policy", ""),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let sources = Sources::single(name, &fs::read_to_string(path).expect("a readable policy"));
        let mut found = sources.analyse().diagnostics;
        found.retain(|warning| warning.code != allowed);
        assert!(found.is_empty(), "{}", sources.render(&found));
    }
}

/// What scripts read: as JSON, beside some of the golden policies.
#[test]
fn diagnostics_are_told_as_json() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for name in [
        "card_number_in_text",
        "currency_unknown",
        "name_unknown_word",
        "syntax_several_errors",
        "type_choice",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/policy/{name}.policy"));
        let text = fs::read_to_string(&path).expect("a readable policy");
        let diagnostics = check(&text).expect_err("a bad policy");
        let told: String =
            diagnostics.iter().map(|diagnostic| json(&file_name(&path), &text, diagnostic) + "\n").collect();
        let expected_path = path.with_extension("json");
        if update {
            fs::write(&expected_path, &told).expect("a writable golden file");
        }
        assert_eq!(told, fs::read_to_string(&expected_path).expect("a golden file"), "{name}");
    }
}

/// A fix is certain: after it, what it was for is no longer reported there.
#[test]
fn fixes_put_right_what_they_are_for() {
    let (mut fixes, mut kinds) = (0, BTreeSet::new());
    for path in golden_policies() {
        let text = fs::read_to_string(&path).expect("a readable policy");
        let Err(diagnostics) = check(&text) else { continue };
        for diagnostic in &diagnostics {
            let Some(fix) = &diagnostic.fix else { continue };
            let mut fixed = text.clone();
            fixed.replace_range(fix.span.start as usize..fix.span.end as usize, &fix.replacement);
            let left = check(&fixed).err().unwrap_or_default();
            let again = left
                .iter()
                .find(|left| left.span.start == diagnostic.span.start && left.message == diagnostic.message);
            assert!(again.is_none(), "{}: not put right: {}", file_name(&path), diagnostic.message);
            fixes += 1;
            kinds.insert(diagnostic.code);
        }
    }
    assert!(fixes >= 20 && kinds.len() >= 3, "only {fixes} fixes, of {kinds:?}");
}

#[test]
fn every_construct_is_in_the_valid_policy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policy/valid.policy");
    let text = fs::read_to_string(path).expect("a readable policy");
    if let Err(diagnostics) = check(&text) {
        panic!("{}", render("valid.policy", &text, &diagnostics));
    }
}

/// Policies that went wrong in random ways: no panic, nothing lost, spans inside the text.
mod hostile {
    use proptest::prelude::*;
    use tollgate::policy::{check, diagnostics::render, parser::parse};

    const VALID: &str = include_str!("golden/policy/valid.policy");
    const PIECES: &[&str] = &[
        "{",
        "|",
        "=>",
        "scorecard",
        "table",
        "first",
        "}",
        "(",
        ")",
        ",",
        ":",
        ".",
        "?",
        "=",
        "==",
        "<",
        "->",
        "-",
        "\"",
        "\"x\"",
        "#",
        "//",
        "\n",
        " ",
        "&&",
        "風",
        "42",
        "0.05",
        "5m",
        "200 USD",
        "99999999999999999999",
        "and",
        "or",
        "not",
        "in",
        "is",
        "missing",
        "when",
        "then",
        "where",
        "by",
        "via",
        "last",
        "1h",
        "delayed",
        "every",
        "this day",
        "this",
        "session gap 1m within",
        "last 5 events within",
        "in \"UTC\"",
        "against",
        "half_life",
        "scene",
        "effective from 2026-01-31",
        "5 km",
        "900 km/h",
        "300 metres",
        "geo",
        "assume",
        "on",
        "of",
        "amends",
        "score",
        "rule_scores",
        "payment",
        "result",
        "card",
        "amount",
        "policy",
        "entity",
        "reason",
        "event",
        "list",
        "let",
        "feature",
        "rule",
        "decide",
        "model",
        "penalty",
        "test",
        "count",
        "sum",
        "change(",
        "percentile(95,",
        "speed",
        "max",
        "hour()",
        "first_present(",
        "enum",
        "true",
        "else",
        "late",
        "after",
        "unassessed",
        "block",
        "allow over",
        "spent",
    ];

    fn survives(text: &str) -> Result<(), TestCaseError> {
        prop_assert_eq!(parse(text).root.text().to_string(), text);
        if let Err(diagnostics) = check(text) {
            prop_assert!(!diagnostics.is_empty());
            for diagnostic in &diagnostics {
                prop_assert!(diagnostic.span.start <= diagnostic.span.end);
                prop_assert!(diagnostic.span.end as usize <= text.len());
                prop_assert!(!diagnostic.message.is_empty() && !diagnostic.help.is_empty());
            }
            prop_assert!(render("hostile.policy", text, &diagnostics).contains("error["));
        }
        Ok(())
    }

    /// The nearest place at or before `at` where the text can be cut.
    fn boundary(text: &str, at: usize) -> usize {
        (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            survives(&String::from_utf8_lossy(&bytes))?;
        }

        #[test]
        fn any_pieces_survive(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..120)) {
            survives(&pieces.join(" "))?;
            survives(&pieces.concat())?;
        }

        #[test]
        fn mutations_of_a_valid_policy_survive(
            edits in proptest::collection::vec((any::<u16>(), 0usize..40, proptest::sample::select(PIECES)), 1..6),
        ) {
            let mut text = VALID.to_owned();
            for (at, removed, inserted) in edits {
                let from = boundary(&text, usize::from(at) % (text.len() + 1));
                let to = boundary(&text, from + removed).max(from);
                text.replace_range(from..to, inserted);
            }
            survives(&text)?;
        }

        #[test]
        fn any_prefix_of_a_valid_policy_survives(at in any::<u16>()) {
            survives(&VALID[..boundary(VALID, usize::from(at) % (VALID.len() + 1))])?;
        }
    }

    #[test]
    fn deep_and_long_texts_survive_on_a_small_stack() {
        let nested = |open: &str, close: &str, count: usize| {
            format!(
                "policy p revision 1\nentity c\nevent e {{ c: c, n: int }}\nlet x on e = {}n{}\n",
                open.repeat(count),
                close.repeat(count)
            )
        };
        let texts = [
            nested("(", ")", 100_000),
            nested("not ", "", 100_000),
            nested("- ", "", 100_000),
            nested("max(1, ", ")", 50_000),
            nested("", " + 1", 100_000),
            nested("", " and n", 100_000),
            nested("", " in USD", 100_000),
            nested("", " is missing", 50_000),
            nested("((n) + ", ")", 95),
            nested("", " == 1 == 1", 50_000),
            "{".repeat(1 << 20),
            "rule r on e {".repeat(60_000),
            "(".repeat(1 << 20),
            "event e { x: enum { ".repeat(40_000),
            "\n}".repeat(500_000),
        ];
        let worker = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            for text in &texts {
                assert!(parse(text).root.text() == text.as_str());
                let _ = check(text);
            }
        });
        worker.expect("a thread").join().expect("no overflow");
    }
}
