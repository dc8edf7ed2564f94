//! The formatter: every policy keeps what it says and every comment, and a second time changes nothing.
//!
//! Besides the policies that are there, each is taken apart into its tokens and put together again with comments, empty
//! lines and odd spaces between them, wherever a policy may have them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::rng::Rng;
use support::{generate, printer, sayable, texts};
use tollgate::policy::diagnostics::{Diagnostic, render};
use tollgate::policy::format::{WIDTH, format};
use tollgate::policy::parser::parse;
use tollgate::policy::syntax::{SyntaxKind, SyntaxToken};
use tollgate::policy::typed::Policy;
use tollgate::policy::{Sources, check};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The policies of a folder and of the folders in it.
fn policies(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "policy") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn tokens(text: &str) -> Vec<SyntaxToken> {
    let elements = parse(text).root.descendants_with_tokens();
    elements.filter_map(|element| element.into_token()).collect()
}

fn of_kind(text: &str, wanted: fn(SyntaxKind) -> bool) -> Vec<String> {
    let tokens = tokens(text).into_iter().filter(|token| wanted(token.kind()));
    tokens.map(|token| token.text().trim_end().to_owned()).collect()
}

/// Formats, and holds the result against what was there.
fn formatted(name: &str, text: &str) -> String {
    let once =
        format(text).unwrap_or_else(|errors| panic!("{name}:\n{}\n{text}", render(name, text, &errors)));
    let twice = format(&once).unwrap_or_else(|errors| panic!("{}", render(name, &once, &errors)));
    assert_eq!(once, twice, "{name}: a second time changes it; the first was\n{text}");
    let significant = |kind: SyntaxKind| !kind.is_trivia();
    assert_eq!(of_kind(text, significant), of_kind(&once, significant), "{name}");
    let comment = |kind: SyntaxKind| kind == SyntaxKind::Comment;
    assert_eq!(of_kind(text, comment), of_kind(&once, comment), "{name}");
    assert!(once.lines().all(|line| line.trim_end() == line), "{name}: spaces at the end of a line");
    assert!(
        !once.contains("\n\n\n") && !once.starts_with('\n') && !once.ends_with("\n\n"),
        "{name}:\n{once}"
    );
    once
}

/// What a policy says, when it is a good one that stands alone.
fn assert_same_meaning(name: &str, before: &str, after: &str) {
    match (check(before), check(after)) {
        (Ok(before), Ok(after)) => assert!(before == after, "{name}: means something else"),
        (Err(before), Err(after)) => {
            let messages = |errors: &[Diagnostic]| -> Vec<String> {
                let mut messages: Vec<_> = errors.iter().map(|error| error.message.clone()).collect();
                messages.sort();
                messages
            };
            assert_eq!(messages(&before), messages(&after), "{name}");
        }
        _ => panic!("{name}: good before or after, not both:\n{after}"),
    }
}

/// The kinds of nodes and the tokens, in order.
fn shape(text: &str) -> Vec<(SyntaxKind, String)> {
    let elements = parse(text).root.descendants_with_tokens();
    let significant = elements.filter(|element| !element.kind().is_trivia());
    significant
        .map(|element| {
            (element.kind(), element.as_token().map_or(String::new(), |token| token.text().to_owned()))
        })
        .collect()
}

/// The same declaration with other spaces, line ends and comments between its tokens, wherever the grammar has room for
/// them.
fn disturbed(declaration: &str, rng: &mut Rng, comments: &mut usize) -> String {
    let tokens: Vec<String> = of_kind(declaration, |kind| kind != SyntaxKind::Whitespace);
    let spaces: Vec<String> = gaps(declaration);
    assert_eq!(tokens.len(), spaces.len() + 1);
    let join = |spaces: &[String]| {
        let gaps = spaces.iter().map(String::as_str).chain([""]);
        tokens.iter().zip(gaps).map(|(token, gap)| format!("{token}{gap}")).collect::<String>()
    };
    let (wanted, mut text) = (shape(declaration), declaration.to_owned());
    let mut spaces = spaces;
    for at in 0..spaces.len() {
        if !rng.percent(15) {
            continue;
        }
        *comments += 1;
        let other = match rng.below(7) {
            0 => " ".to_owned(),
            1 => "   \t ".to_owned(),
            2 => "\n".to_owned(),
            3 => "  \n\n\n  ".to_owned(),
            4 => format!(" // behind {comments}\n"),
            5 => format!("\n# alone {comments}\n   # twice  \n\n"),
            _ => String::new(),
        };
        let kept = std::mem::replace(&mut spaces[at], other);
        let changed = join(&spaces);
        if parse(&changed).errors.is_empty() && shape(&changed) == wanted {
            text = changed;
        } else {
            spaces[at] = kept;
        }
    }
    text
}

/// What is between the tokens that are not spaces.
fn gaps(text: &str) -> Vec<String> {
    let mut gaps: Vec<String> = Vec::new();
    let mut gap = String::new();
    for token in tokens(text) {
        if token.kind() == SyntaxKind::Whitespace {
            gap = token.text().to_owned();
        } else if token.text_range().start() > 0.into() {
            gaps.push(std::mem::take(&mut gap));
        }
    }
    gaps
}

/// Disturbs a whole policy, declaration by declaration.
fn disturbed_policy(text: &str, rng: &mut Rng) -> String {
    let mut comments = 0;
    let mut whole = String::new();
    for node in parse(text).root.children() {
        whole.push_str(&disturbed(node.text().to_string().trim_end(), rng, &mut comments));
        whole.push_str(match rng.below(6) {
            0 => "  // behind it\n",
            1 => "\n\n\n\n",
            2 => "\n# alone\n\n# again\n",
            _ => "\n",
        });
    }
    whole
}

#[test]
fn policies_keep_their_meaning_and_their_comments() {
    let (mut kept, mut refused) = (0, 0);
    for path in [policies("config"), policies("tests/golden"), policies("tools/tests")].concat() {
        let text = fs::read_to_string(&path).expect("a readable policy");
        let name = path.display().to_string();
        if let Err(errors) = format(&text) {
            assert!(!errors.is_empty() && !parse(&text).errors.is_empty(), "{name}: {errors:?}");
            refused += 1;
            continue;
        }
        assert_same_meaning(&name, &text, &formatted(&name, &text));
        kept += 1;
    }
    assert!(kept >= 60 && refused >= 20, "{kept} formatted, {refused} refused");
}

#[test]
fn comments_and_spaces_may_be_anywhere() {
    let named = |name: &str| fs::read_to_string(root().join(name)).expect("a readable policy");
    let mut rng = Rng::new(1);
    for name in
        ["tests/golden/policy/valid.policy", "config/policies/demo.policy", "config/handbook/extended.policy"]
    {
        let text = named(name);
        for _ in 0..40 {
            let disturbed = disturbed_policy(&text, &mut rng);
            let comments = |text: &str| of_kind(text, |kind| kind == SyntaxKind::Comment).len();
            assert!(comments(&disturbed) > 20, "{name}: hardly disturbed");
            assert_same_meaning(name, &text, &formatted(name, &disturbed));
        }
    }
}

/// Texts of the grammar with long lines and deep conditions, each also disturbed. Some words are such that a line that starts
/// with them may be a declaration: these texts are no policies, and are left out.
#[test]
fn random_texts_of_the_grammar_are_formatted() {
    let (mut formatted_texts, mut broken_lines) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let text = texts::policy(&mut rng);
        if !parse(&text).errors.is_empty() {
            continue;
        }
        formatted_texts += 1;
        let name = format!("seed {seed}");
        let once = formatted(&name, &text);
        broken_lines += once.lines().filter(|line| line.trim_start().starts_with("and ")).count();
        assert_same_meaning(&name, &text, &once);
        formatted(&name, &disturbed_policy(&text, &mut rng));
        formatted(&name, &disturbed_policy(&once, &mut rng));
    }
    assert!(
        formatted_texts > 30 && broken_lines > 200,
        "{formatted_texts} texts, {broken_lines} broken lines"
    );
}

/// Words of the language that random policies are made of.
const PRINTED: &[&str] = &[
    "rates",
    "amends",
    "enum {",
    "text(",
    "geo",
    "ip",
    "bin",
    "withhold",
    "customer",
    "list",
    "until",
    "owner",
    "let",
    "decayed_sum(",
    "percentile(",
    "ratio(",
    "stddev(",
    "share(",
    "speed(",
    "since_first(",
    "seen(",
    "days(",
    "first(",
    "via",
    "by (",
    "events within",
    "every",
    "this month",
    "session gap",
    "delayed",
    "against",
    "half_life",
    "assume high",
    "assume low",
    "first_present(",
    "major(",
    "currency(",
    "now()",
    "hour() in",
    "weekday() in",
    "starts_with(",
    "is missing",
    "is not missing",
    "not in",
    " to ",
    " km/h",
    " metres",
    " in JPY",
    " != \"",
    " in \"",
    "scene",
    "mandatory",
    "monitor",
    "salience -2147483648",
    "effective from",
    "in \"europe/berlin\"",
    "alert",
    "over",
    "sum(rule_scores)",
    "late after",
    "else",
];

/// A policy is printed plainly and oddly, and means what it did, as it is and formatted. Returns the errors of what is not
/// accepted.
fn printed(name: &str, policy: &Policy, seed: u64, words: &mut Vec<&str>) -> Vec<String> {
    let mut refused = Vec::new();
    for (how, text) in [("plain", printer::text(policy)), ("odd", printer::odd(policy, seed))] {
        let name = format!("{name}, {how}");
        match check_with_models(policy, &text) {
            Ok(checked) => assert_same(&name, policy, &checked, &text),
            Err(errors) => {
                refused.push(render(&name, &text, &errors));
                continue;
            }
        }
        let formatted = formatted(&name, &text);
        match check_with_models(policy, &formatted) {
            Ok(checked) => assert_same(&name, policy, &checked, &formatted),
            Err(errors) => panic!("formatted, it is refused: {}", render(&name, &formatted, &errors)),
        }
        words.retain(|word| !text.contains(word));
    }
    refused
}

/// Checks a text that uses the models of a policy, each in a file of its name.
fn check_with_models(policy: &Policy, text: &str) -> Result<Policy, Vec<Diagnostic>> {
    let mut read = |file: &str| {
        let model = policy.models.iter().find(|model| file == format!("{}.tgm", model.name));
        model.map(support::models::bytes).ok_or_else(|| "no such file".to_owned())
    };
    Sources::read("printed.policy", text, &mut read).check()
}

/// Random typed policies, printed, are checked to the same policies.
///
/// What is generated is first turned into what has words; `support/sayable.rs` lists in which ways it differs. From there on
/// everything is the same, to the last literal and index: a typed policy holds nothing that layout could change.
#[test]
fn random_policies_are_printed_checked_and_formatted() {
    let policies = std::env::var("PRINTED_POLICIES").map_or(1_000, |count| count.parse().expect("a number"));
    let (mut accepted, mut as_generated) = (0, 0);
    let (mut refused, mut words) = (Vec::new(), PRINTED.to_vec());
    for seed in 0..policies {
        let (policy, changed) = sayable::sayable(&generate::policy(&mut Rng::new(seed)));
        let errors = printed(&format!("seed {seed}"), &policy, seed, &mut words);
        accepted += u64::from(errors.is_empty());
        as_generated += u64::from(changed == 0);
        refused.extend(errors);
    }
    println!("{accepted} of {policies} accepted; {as_generated} were generated with exactly this meaning");
    refused.truncate(5);
    assert!(accepted * 100 >= policies * 80, "{accepted} of {policies}\n{}", refused.concat());
    assert!(policies < 1_000 || words.is_empty(), "never printed: {words:?}");
}

/// What the checker has made has words, as it is.
#[test]
fn good_policies_are_printed_and_checked_again() {
    let mut good = 0;
    for path in [policies("config"), policies("tests/golden"), policies("tools/tests")].concat() {
        let text = fs::read_to_string(&path).expect("a readable policy");
        let Ok(policy) = check(&text) else { continue };
        // These have no printer.
        if !policy.tables.is_empty() || policy.lets.iter().any(|of| sayable::is_scorecard(&of.expr)) {
            continue;
        }
        let name = path.display().to_string();
        let (same, changed) = sayable::sayable(&policy);
        assert_same(&name, &policy, &same, &text);
        assert_eq!(changed, 0, "{name}");
        for seed in 0..20 {
            let refused = printed(&name, &policy, seed, &mut Vec::new());
            assert!(refused.is_empty(), "{}", refused.concat());
        }
        good += 1;
    }
    assert!(good >= 4, "{good} good policies that stand alone");
}

#[test]
fn parentheses_stand_beside_names_but_not_beside_words() {
    let text = "policy p revision 1\nevent e { a: text (8)?, n: int }\nlet x on e = - (n) * (1 - n)\n\
        feature f = count (e where ( n > 1 )) by (card, device) last 1d\n";
    let wanted = "policy p revision 1\nevent e { a: text(8)?, n: int }\nlet x on e = -(n) * (1 - n)\n\
        feature f = count(e where (n > 1)) by (card, device) last 1d\n";
    assert_eq!(format(text), Ok(wanted.to_owned()));
}

/// Fails with the first part that differs.
fn assert_same(name: &str, wanted: &Policy, checked: &Policy, text: &str) {
    if wanted == checked {
        return;
    }
    let parts = |policy: &Policy| format!("{policy:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (wanted, checked) = (parts(wanted), parts(checked));
    let at = wanted.iter().zip(&checked).take_while(|(a, b)| a == b).count();
    let around = |lines: &[String]| lines[at.saturating_sub(40)..lines.len().min(at + 20)].join("\n");
    panic!(
        "{name}: means something else; wanted\n{}\nfound\n{}\nin\n{text}",
        around(&wanted),
        around(&checked)
    );
}

#[test]
fn the_shipped_policies_are_formatted() {
    for path in policies("config") {
        let text = fs::read_to_string(&path).expect("a readable policy");
        let name = path.display();
        assert!(format(&text).is_ok_and(|formatted| formatted == text), "run `tollctl policy fmt {name}`");
        // All their lines can be broken but for texts and comments.
        let long = text.lines().find(|line| line.chars().count() > WIDTH && !line.contains(['"', '#', '/']));
        assert_eq!(long, None, "{name}");
    }
}
