//! The style of the code as a test: which part may know which, what the engine may touch, what every file needs.
//!
//! A rule that only stands in prose is forgotten; these are the ones that a text search can hold. Comments, and the
//! unit tests at the end of a file, are left out where a rule is about what runs.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines beyond which a file's header has to say why it is one file.
const LINES_MAX: usize = 900;

/// What each of the lower parts may name of the crate. Parts that are not listed are the appliance itself
/// (`main`, `hot_loop`, `control`, `replica`, `edge`, …): they may name anything, and nothing listed may name them.
const LAYERS: &[(&str, &[&str])] = &[
    ("engine", &["engine"]),
    ("token", &["engine", "token"]),
    ("encode", &["engine", "encode"]),
    ("policy", &["policy", "engine", "token"]),
    ("journal", &["journal", "engine", "os"]),
    ("os", &["os"]),
    ("config", &["config", "engine", "os"]),
];

/// What the policy compiler may name of the engine, besides types at its root.
const ENGINE_FOR_POLICY: &[&str] = &["program", "units", "validate", "wire"];

/// What the engine may name of the models' crate.
const MODELS_FOR_ENGINE: &[&str] = &["link", "model", "scorer", "validate"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    /// Lines of code with their numbers: no comments, no unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line));
        lines
            .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
            .map(|(i, line)| (i, line.split("//").next().unwrap_or("")))
    }

    /// The inner doc comment at the top.
    fn header(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
}

/// The project's Rust files below a folder, this one aside.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    files(&root().join(folder), "rs", &mut found);
    found.retain(|path| !path.ends_with("tests/tidy.rs"));
    found
        .into_iter()
        .map(|path| Source { text: fs::read_to_string(&path).expect("a readable file"), path })
        .collect()
}

/// Fails with all complaints at once.
fn verdict(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Names that follow `prefix`: of `crate::{a::b, c}` with prefix `crate::` these are `a::b` and `c`.
fn paths_after(text: &str, prefix: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '}' if depth == 0 => break,
                    ',' if depth == 0 => paths.push(std::mem::take(&mut item)),
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if !(c == ',' && depth == 0) {
                    item.push(c);
                }
            }
            paths.push(item);
        } else {
            paths.push(rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect());
        }
    }
    paths.into_iter().map(|path| path.trim().to_owned()).filter(|path| !path.is_empty()).collect()
}

/// The part of the crate that a file under `src` belongs to.
fn part(source: &Source) -> String {
    let inside = source.path.strip_prefix(root().join("src")).expect("a file under src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn code_text(source: &Source) -> String {
    source.code().map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut complaints = Vec::new();
    for source in sources("src") {
        if source.path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
        {
            continue;
        }
        let part = part(&source);
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == part) else { continue };
        let code = code_text(&source);
        let engine = paths_after(&code, "crate::engine::").into_iter().map(|path| format!("engine::{path}"));
        for path in paths_after(&code, "crate::").into_iter().chain(engine) {
            let target = path.split(':').next().unwrap_or("");
            if !allowed.contains(&target) {
                complaints.push(format!("{}: {part} must not know {target} (crate::{path})", source.name()));
            }
            if part == "policy" && target == "engine" {
                // `crate::engine::{…}` was taken apart above.
                let inner = path["engine".len()..].trim_start_matches(':').to_owned();
                let names = if inner.is_empty() { Vec::new() } else { vec![inner] };
                for name in names {
                    let name = name.split(':').next().unwrap_or("").to_owned();
                    let is_type = name.starts_with(char::is_uppercase);
                    if !is_type && !ENGINE_FOR_POLICY.contains(&name.as_str()) {
                        complaints.push(format!("{}: policy must not know engine::{name}", source.name()));
                    }
                }
            }
        }
    }
    for source in sources("ringbuf") {
        if code_text(&source).contains("tollgate::") {
            complaints.push(format!("{}: the ring knows no payments", source.name()));
        }
    }
    verdict(complaints);
}

#[test]
fn the_engine_touches_nothing_but_its_state() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let crates: Vec<String> = manifest["dependencies"]
        .as_table()
        .expect("a table")
        .keys()
        .map(|name| format!("{}::", name.replace('-', "_")))
        .filter(|name| name != "rkyv::" && name != "tollgate_model::")
        .collect();
    let world = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::time",
        "std::env",
        "std::io",
        "std::process",
        "std::os",
        "Instant::",
        "SystemTime",
        "HashMap",
        "HashSet",
        "RandomState",
        "thread_local",
        "println!",
        "eprintln!",
        "Mutex",
        "RwLock",
        "rand::",
    ];
    let arithmetic = [
        "f32",
        ".exp(",
        ".exp2(",
        ".ln(",
        ".log(",
        ".log2(",
        ".log10(",
        ".powf(",
        ".powi(",
        ".sin(",
        ".cos(",
        ".tan(",
        ".tanh(",
        ".mul_add(",
    ];
    let mut complaints = Vec::new();
    let crates = || crates.iter().map(String::as_str);
    for source in sources("src/engine") {
        for (number, line) in source.code() {
            let mut words = world.into_iter().chain(arithmetic).chain(crates());
            if let Some(word) = words.find(|word| names(line, word)) {
                complaints.push(format!("{}:{number}: {word} in the engine", source.name()));
            }
            // Of models what scores them, and not what reads files of other libraries.
            let module = line.split("tollgate_model::").nth(1);
            if module.is_some_and(|module| !MODELS_FOR_ENGINE.iter().any(|known| module.starts_with(known))) {
                complaints.push(format!("{}:{number}: {} in the engine", source.name(), line.trim()));
            }
        }
    }
    // What scores is part of the engine. It computes with floating point, by its own `exp`.
    for source in sources("model/src").into_iter().filter(|source| !is_cold(source)) {
        let libraries = arithmetic.into_iter().filter(|word| *word != "f32");
        let forbidden: Vec<&str> = world.into_iter().chain(libraries).chain(crates()).collect();
        for (number, line) in source.code() {
            if let Some(word) = forbidden.iter().find(|word| names(line, word)) {
                complaints.push(format!("{}:{number}: {word} in what scores models", source.name()));
            }
        }
    }
    verdict(complaints);
}

/// Whether a file of the models' crate is about files, of other libraries or its own.
fn is_cold(source: &Source) -> bool {
    let name = source.name();
    name.starts_with("model/src/import") || name == "model/src/archive.rs"
}

/// Whether the word stands in the line, not as the tail of a longer name.
fn names(line: &str, word: &str) -> bool {
    let starts = word.starts_with(|c: char| c.is_alphanumeric());
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !(starts && before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

#[test]
fn nothing_is_left_undone() {
    let mut complaints = Vec::new();
    for folder in ["src", "ringbuf", "model", "bench", "tools", "tests"] {
        for source in sources(folder) {
            for (number, line) in source.text.lines().enumerate() {
                let at = format!("{}:{}", source.name(), number + 1);
                for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
                    if line.contains(word) {
                        complaints.push(format!("{at}: {word}"));
                    }
                }
                if line.trim() == "#[ignore]" {
                    complaints.push(format!("{at}: a test is ignored without a reason"));
                }
                if line.contains('\t') || line.ends_with(' ') {
                    complaints.push(format!("{at}: a tab, or a space at the end"));
                }
            }
        }
    }
    verdict(complaints);
}

#[test]
fn every_file_says_what_it_is_and_long_ones_why() {
    let mut complaints = Vec::new();
    for folder in ["src", "ringbuf/src", "bench", "tools", "tests"] {
        for source in sources(folder) {
            let (header, lines) = (source.header(), source.text.lines().count());
            if header.is_empty() {
                complaints.push(format!("{}: no header (//!) says what this file is", source.name()));
            }
            if lines > LINES_MAX && !header.contains("one file") {
                let name = source.name();
                complaints.push(format!(
                    "{name}: {lines} lines; split it, or say in its header why it is one file"
                ));
            }
        }
    }
    verdict(complaints);
}

#[test]
fn every_unsafe_block_names_its_invariant() {
    let mut complaints = Vec::new();
    for folder in ["src", "ringbuf", "model", "bench", "tools", "tests"] {
        for source in sources(folder) {
            let lines: Vec<&str> = source.text.lines().collect();
            for (number, line) in lines.iter().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                let block = code.contains("unsafe {") || code.contains("unsafe impl");
                // The functions of an `unsafe impl` are bound by their trait.
                let function = code.contains("pub unsafe fn") || code.contains("unsafe trait");
                if !block && !function {
                    continue;
                }
                // The comment stands right above, or above the statement that the block is part of.
                let above = lines[..number].iter().rev().take(12);
                let mut above = above.take_while(|line| !line.trim().is_empty());
                let wanted = if block { "SAFETY:" } else { "Safety" };
                if !above.any(|line| line.trim_start().starts_with("//") && line.contains(wanted)) {
                    complaints.push(format!("{}:{}: no {wanted} comment above", source.name(), number + 1));
                }
            }
        }
    }
    verdict(complaints);
}

#[test]
fn every_package_inherits_the_lints() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().expect("an array");
    let mut complaints = Vec::new();
    for member in members.iter().filter_map(toml::Value::as_str).chain(["."]) {
        let path = root().join(member).join("Cargo.toml");
        let package: toml::Table = fs::read_to_string(&path).expect("a manifest").parse().expect("TOML");
        let inherits =
            package.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            complaints.push(format!("{member}: [lints] workspace = true is missing"));
        }
    }
    verdict(complaints);
}

/// The commands of the first fenced block after a heading that contains `heading`.
fn commands(text: &str, heading: &str) -> Vec<String> {
    let is_heading = |line: &&str| line.starts_with('#') && line.to_lowercase().contains(heading);
    let after = text.lines().skip_while(|line| !is_heading(line));
    let block =
        after.skip_while(|line| !line.starts_with("```")).skip(1).take_while(|line| !line.starts_with("```"));
    block.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_readme_starts_in_two_commands() {
    let Ok(text) = fs::read_to_string(root().join("README.md")) else { return };
    let commands = commands(&text, "quick start");
    assert_eq!(commands.len(), 2, "the quick start of README.md has two commands, not {commands:?}");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut found = Vec::new();
    files(root(), "md", &mut found);
    let mut complaints = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).expect("a readable file");
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')' && *c != '#').collect();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !path.parent().expect("a folder").join(&target).exists() {
                complaints.push(format!("{}: {target} does not exist", path.display()));
            }
        }
    }
    verdict(complaints);
}
