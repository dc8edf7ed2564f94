//! The files of a policy: the one that is named, and those that it uses.
//!
//! All files are one source for whoever checks them: file after file, a line end between two, so that a [`Span`] says
//! file and place at once. Each file is parsed alone, so that a brace left open ends with its file.
//!
//! The files of tables and lists are among them, with grammars of their own (`parser/csv.rs`). The files of models are not
//! text, and beside them.
//!
//! Nothing here touches a disk: files are read by a function that is handed in.

use super::ast;
use super::check::{self, Checked, literals};
use super::diagnostics::{DIAGNOSTICS_MAX, Diagnostic, Severity, json, line, render};
use super::lint::lint;
use super::lower::lower;
use super::parser::{Parse, SOURCE_BYTES_MAX, parse, parse_list, parse_table};
use super::syntax::{SyntaxKind as K, SyntaxNode};
use super::test::script::Test;
use super::typed::{ModelFile, Policy, Span};
use crate::engine::program::Program;
use crate::token::Tokenizer;
use rowan::{GreenNode, GreenToken, NodeOrToken};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tollgate_model::archive;

/// The most files of one policy.
pub const FILES_MAX: usize = 64;

/// The most bytes of all models of one policy together.
pub const MODEL_BYTES_MAX: usize = 64 << 20;

/// Reads a file by its path from the first file's folder, `/` between the parts. The error says why it cannot.
pub type ReadFile<'r> = &'r mut dyn FnMut(&str) -> Result<Vec<u8>, String>;

/// The files of a policy, read and parsed.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<File>,
    /// The trees of all files in one, whose text is that of all files.
    tree: GreenNode,
    errors: Vec<Diagnostic>,
    broken: HashSet<u32>,
    sheets: HashMap<u32, u32>,
    models: HashMap<u32, ModelFile>,
    /// The files of models, by the names that errors would call them.
    model_files: Vec<(String, Arc<[u8]>)>,
    /// Longer than a policy may be: nothing was parsed.
    too_long: bool,
}

/// What there is to say about a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The policy, if it has no errors.
    pub policy: Option<Policy>,
    /// Its errors; or, if it has none, warnings. In source order.
    pub diagnostics: Vec<Diagnostic>,
}

/// One file.
#[derive(Clone, Debug)]
struct File {
    /// What errors call it.
    name: String,
    text: String,
    /// Its first byte among all.
    start: usize,
}

impl Sources {
    /// A policy of one file, which cannot use others. `name` is what errors call it.
    #[must_use]
    pub fn single(name: &str, text: &str) -> Self {
        Loader::load(name, text, None)
    }

    /// A policy with all files that it uses. Files that cannot be read, or may not be used, are errors of the policy.
    ///
    /// `name` is the path of the first file as errors say it; those of others are told from its folder.
    #[must_use]
    pub fn read(name: &str, text: &str, read: ReadFile<'_>) -> Self {
        Loader::load(name, text, Some(read))
    }

    /// Checks the policy. Reports as many errors as it can find, file by file, in source order.
    pub fn check(&self) -> Result<Policy, Vec<Diagnostic>> {
        self.check_with_tests().map(|(policy, _)| policy)
    }

    /// Checks the policy, and hands out its tests too, in source order.
    pub fn check_with_tests(&self) -> Result<(Policy, Vec<Test>), Vec<Diagnostic>> {
        self.checked().map(|(checked, _)| (checked.policy, checked.tests))
    }

    /// Checks the policy, and says what is hardly meant in it, if it has no errors.
    #[must_use]
    pub fn analyse(&self) -> Analysis {
        match self.checked() {
            Ok((Checked { policy, mut warnings, .. }, root)) => {
                warnings.extend(lint(&policy, &root));
                warnings.sort_by_key(|warning| (warning.span.start, warning.span.end));
                warnings.dedup();
                warnings.truncate(DIAGNOSTICS_MAX);
                Analysis { diagnostics: warnings, policy: Some(policy) }
            }
            Err(diagnostics) => Analysis { policy: None, diagnostics },
        }
    }

    /// The policy with its tests, and the tree of all its files.
    fn checked(&self) -> Result<(Checked, SyntaxNode), Vec<Diagnostic>> {
        if self.too_long {
            return Err(self.errors.clone());
        }
        let parse = Parse {
            root: SyntaxNode::new_root(self.tree.clone()),
            errors: self.errors.clone(),
            broken: self.broken.clone(),
            first_end: offset(self.files[0].text.len()),
            sheets: self.sheets.clone(),
            models: self.models.clone(),
        };
        let (checked, found) = check::check(&parse);
        let mut diagnostics = parse.errors;
        diagnostics.extend(found);
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        // What is wrong in a file of two tables is found twice.
        diagnostics.dedup();
        diagnostics.truncate(DIAGNOSTICS_MAX);
        match checked {
            Some(checked) if diagnostics.is_empty() => Ok((checked, parse.root)),
            _ => Err(diagnostics),
        }
    }

    /// Checks and lowers the policy.
    pub fn compile(&self, tokenizer: &Tokenizer) -> Result<Program, Vec<Diagnostic>> {
        lower(&self.check()?, tokenizer).map_err(|error| vec![error])
    }

    /// All of them with file, line, column and the source lines, for a person to read.
    #[must_use]
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let mut rendered = String::new();
        for diagnostic in diagnostics {
            let (file, diagnostic) = self.in_file(diagnostic);
            rendered.push_str(&render(&file.name, &file.text, &[diagnostic]));
        }
        rendered
    }

    /// The same for scripts: a JSON object a line (see [`json`]).
    #[must_use]
    pub fn json(&self, diagnostics: &[Diagnostic]) -> String {
        let mut lines = String::new();
        for diagnostic in diagnostics {
            let (file, diagnostic) = self.in_file(diagnostic);
            lines.push_str(&json(&file.name, &file.text, &diagnostic));
            lines.push('\n');
        }
        lines
    }

    /// The policy's warnings, each as one line for a log: place, what is hardly meant, and the code. None for a policy with errors.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warnings =
            self.analyse().diagnostics.into_iter().filter(|found| found.severity == Severity::Warning);
        warnings
            .map(|warning| {
                let (file, warning) = self.in_file(&warning);
                line(&file.name, &file.text, &warning)
            })
            .collect()
    }

    /// The file that a diagnostic is about, and the diagnostic with its spans from that file's beginning.
    fn in_file(&self, diagnostic: &Diagnostic) -> (&File, Diagnostic) {
        let file = self.file_at(diagnostic.span.start);
        let start = offset(file.start);
        (file, moved(diagnostic.clone(), |at| at.saturating_sub(start)))
    }

    /// The files, by the names that errors call them, the first one first.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// The files of its models, named as [`files`](Self::files) are.
    pub fn models(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.model_files.iter().map(|(name, bytes)| (name.as_str(), &**bytes))
    }

    /// File and line (from 1) of a place.
    #[must_use]
    pub fn place(&self, span: Span) -> (&str, usize) {
        let file = self.file_at(span.start);
        let at = (span.start as usize).saturating_sub(file.start).min(file.text.len());
        (&file.name, 1 + file.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count())
    }

    /// The first file's text.
    #[must_use]
    pub fn first_text(&self) -> &str {
        &self.files[0].text
    }

    /// The file in which a byte is. What is said of the end of a file is at one past its last byte.
    fn file_at(&self, at: u32) -> &File {
        let after = self.files.partition_point(|file| file.start <= at as usize);
        &self.files[after.saturating_sub(1)]
    }
}

/// Reads files, each after the one that used it first.
struct Loader<'r> {
    read: Option<ReadFile<'r>>,
    /// The folder of the first file as errors say it, with its `/`, or empty.
    folder: String,
    files: Vec<File>,
    trees: Vec<GreenNode>,
    errors: Vec<Diagnostic>,
    broken: HashSet<u32>,
    /// Bytes of all files so far, with the line ends between them.
    len: usize,
    /// Files by their path from the first file's folder; true while what they use is being read.
    seen: HashMap<String, bool>,
    /// The files of tables and lists: where each begins, and whether it has errors.
    read_sheets: HashMap<(String, bool), (u32, bool)>,
    sheets: HashMap<u32, u32>,
    /// The models by their path.
    read_models: HashMap<String, ModelFile>,
    models: HashMap<u32, ModelFile>,
    model_files: Vec<(String, Arc<[u8]>)>,
}

impl<'r> Loader<'r> {
    fn load(name: &str, text: &str, read: Option<ReadFile<'r>>) -> Sources {
        let (folder, file) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
        let mut loader = Loader {
            read,
            folder: folder.to_owned(),
            files: Vec::new(),
            trees: Vec::new(),
            errors: Vec::new(),
            broken: HashSet::new(),
            len: 0,
            seen: HashMap::new(),
            read_sheets: HashMap::new(),
            sheets: HashMap::new(),
            read_models: HashMap::new(),
            models: HashMap::new(),
            model_files: Vec::new(),
        };
        let too_long = text.len() > SOURCE_BYTES_MAX;
        if too_long {
            let message =
                format!("this policy is {} bytes long; at most {SOURCE_BYTES_MAX} are read", text.len());
            let help = "move long lists out of the policy text";
            loader.errors.push(Diagnostic::error(Span::default(), message, "", help));
            loader.add(name.to_owned(), String::new(), parse);
        } else {
            loader.file(file, name.to_owned(), text.to_owned());
        }
        let tree = loader.tree();
        let Loader { files, errors, broken, sheets, models, model_files, .. } = loader;
        Sources { files, tree, errors, broken, sheets, models, model_files, too_long }
    }

    /// Takes a file in. Returns its tree, and where it starts.
    fn add(&mut self, name: String, text: String, parse: fn(&str) -> Parse) -> (SyntaxNode, u32) {
        let start = if self.files.is_empty() { 0 } else { self.len + 1 };
        let parsed = parse(&text);
        let from = offset(start);
        self.errors.extend(parsed.errors.into_iter().map(|error| moved(error, |at| at + from)));
        self.broken.extend(parsed.broken.iter().map(|at| at + from));
        self.trees.push(parsed.root.green().into_owned());
        self.len = start + text.len();
        self.files.push(File { name, text, start });
        (parsed.root, from)
    }

    fn file(&mut self, path: &str, name: String, text: String) {
        self.seen.insert(path.to_owned(), true);
        let (root, start) = self.add(name, text, parse);
        let mut used = HashSet::new();
        let mut others = false;
        for node in root.children() {
            match node.kind() {
                K::PolicyDecl => continue,
                K::UseDecl | K::TableDecl | K::ListDecl | K::ModelDecl => {}
                _ => {
                    others = true;
                    continue;
                }
            }
            let is_list = node.kind() == K::ListDecl;
            let is_model = node.kind() == K::ModelDecl;
            let has_sheet = is_list || is_model || node.kind() == K::TableDecl;
            let Some(token) = ast::token(&node, K::Text) else {
                others |= has_sheet;
                continue;
            };
            let at = ast::token_span(&token);
            let at = Span { start: at.start + start, end: at.end + start };
            let written = literals::text(token.text());
            let declared = u32::from(node.text_range().start()) + start;
            let done = if is_model && self.read.is_some() {
                others = true;
                from_root(path, &written)
                    .and_then(|target| self.model(&target))
                    .map(|model| _ = self.models.insert(declared, model))
            } else if has_sheet && self.read.is_some() {
                others = true;
                from_root(path, &written).and_then(|target| self.sheet(&target, is_list)).map(
                    |(sheet, is_broken)| {
                        self.sheets.insert(declared, sheet);
                        if is_broken {
                            self.broken.insert(declared);
                        }
                    },
                )
            } else if others && !has_sheet {
                refuse(
                    "files are used before anything is declared",
                    "too late",
                    "move it to the top of the file",
                )
            } else if self.read.is_none() {
                let help = "check the file itself, from where the others can be read";
                refuse("this text stands alone: it cannot use other files", "not read", help)
            } else {
                match from_root(path, &written) {
                    Ok(target) if !used.insert(target.clone()) => {
                        refuse("this file is used twice here", "again here", "remove one of the two")
                    }
                    Ok(target) => self.used(&target),
                    Err(refused) => Err(refused),
                }
            };
            if let Err(Refused { message, label, help }) = done {
                self.errors.push(Diagnostic::error(at, message, label, help));
                // What the file declares is not known: names that are not found are no errors.
                self.broken.insert(declared);
            }
        }
        self.seen.insert(path.to_owned(), false);
    }

    /// Reads a file that is used, unless it was read before.
    fn used(&mut self, path: &str) -> Result<(), Refused> {
        match self.seen.get(path) {
            Some(true) => {
                let help = "move what both need into a third file, and use that in both";
                return refuse("this file uses the one it is used by", "a circle", help);
            }
            Some(false) => return Ok(()),
            None => {}
        }
        let text = self.text(path)?;
        let name = format!("{}{path}", self.folder);
        self.file(path, name, text);
        Ok(())
    }

    /// Reads the file of a table or a list, unless it was read before. Returns where it begins, and whether it has errors.
    fn sheet(&mut self, path: &str, is_list: bool) -> Result<(u32, bool), Refused> {
        if let Some(sheet) = self.read_sheets.get(&(path.to_owned(), is_list)) {
            return Ok(*sheet);
        }
        let text = self.text(path)?;
        let errors = self.errors.len();
        let (_, start) =
            self.add(format!("{}{path}", self.folder), text, if is_list { parse_list } else { parse_table });
        let sheet = (start, self.errors.len() > errors);
        self.read_sheets.insert((path.to_owned(), is_list), sheet);
        Ok(sheet)
    }

    /// Reads the file of a model and looks at all of it, unless that was done before.
    fn model(&mut self, path: &str) -> Result<ModelFile, Refused> {
        if let Some(model) = self.read_models.get(path) {
            return Ok(model.clone());
        }
        let bytes = self.bytes(path)?;
        let before: usize = self.model_files.iter().map(|(_, bytes)| bytes.len()).sum();
        if before + bytes.len() > MODEL_BYTES_MAX {
            let message =
                format!("with this file the models of the policy are longer than {MODEL_BYTES_MAX} bytes");
            return refuse(message, "this file", "use fewer models, or smaller ones");
        }
        let model = match archive::open(&bytes) {
            Ok(model) => model.to_model(),
            Err(error) => {
                let message = format!("the model in `{path}` cannot be used: {error}");
                return refuse(message, "this file", "make it with `tollctl model import`");
            }
        };
        let model = ModelFile { hash: *blake3::hash(&bytes).as_bytes(), model: Arc::new(model) };
        self.model_files.push((format!("{}{path}", self.folder), bytes.into()));
        self.read_models.insert(path.to_owned(), model.clone());
        Ok(model)
    }

    /// One more file.
    fn bytes(&mut self, path: &str) -> Result<Vec<u8>, Refused> {
        if self.files.len() + self.model_files.len() >= FILES_MAX {
            let message = format!("a policy has at most {FILES_MAX} files");
            return refuse(message, "one too many", "join some of them");
        }
        let Some(read) = &mut self.read else {
            return refuse("this text stands alone: it cannot use other files", "not read", "");
        };
        read(path).or_else(|reason| unreadable(path, &reason))
    }

    /// The text of one more file.
    fn text(&mut self, path: &str) -> Result<String, Refused> {
        let bytes = self.bytes(path)?;
        let Ok(text) = String::from_utf8(bytes) else { return unreadable(path, "it is not UTF-8 text") };
        if self.len + 1 + text.len() > SOURCE_BYTES_MAX {
            let message = format!("with this file the policy is longer than {SOURCE_BYTES_MAX} bytes");
            return refuse(message, "this file", "move long lists out of the policy text");
        }
        Ok(text)
    }

    /// The trees of all files under one root.
    fn tree(&self) -> GreenNode {
        if let [only] = &self.trees[..] {
            return only.clone();
        }
        let mut children = Vec::new();
        for (at, tree) in self.trees.iter().enumerate() {
            if at > 0 {
                children.push(NodeOrToken::Token(GreenToken::new(K::Whitespace.into(), "\n")));
            }
            children.extend(tree.children().map(|child| child.to_owned()));
        }
        GreenNode::new(K::Root.into(), children)
    }
}

/// Why a file is not used.
struct Refused {
    message: String,
    label: &'static str,
    help: String,
}

fn unreadable<T>(path: &str, reason: &str) -> Result<T, Refused> {
    let message = format!("`{path}` cannot be read: {reason}");
    refuse(message, "this file", "paths are from the folder of the file that names it")
}

fn refuse<T>(message: impl Into<String>, label: &'static str, help: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { message: message.into(), label, help: help.into() })
}

/// The path from the first file's folder of what the file at `user` writes as `written`.
fn from_root(user: &str, written: &str) -> Result<String, Refused> {
    const HELP: &str =
        "name a file in the folder of the first file or below, as in `use \"cards/limits.policy\"`";
    if written.starts_with('/') || written.contains(['\\', ':', '\0']) {
        return refuse("a used file is named by a path from this file's folder", "not such a path", HELP);
    }
    let mut parts: Vec<&str> = user.split('/').collect();
    parts.pop();
    for part in written.split('/') {
        match part {
            "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return refuse("this path leaves the folder of the policy", "outside", HELP);
                }
            }
            "" => return refuse("this path has an empty part", "not a path", HELP),
            part => parts.push(part),
        }
    }
    if parts.is_empty() || written.ends_with('.') {
        return refuse("this is a folder, not a file", "not a file", HELP);
    }
    Ok(parts.join("/"))
}

/// A diagnostic with its places turned into others.
fn moved(mut diagnostic: Diagnostic, place: impl Fn(u32) -> u32) -> Diagnostic {
    let span = |span: Span| Span { start: place(span.start), end: place(span.end) };
    diagnostic.span = span(diagnostic.span);
    if let Some(fix) = &mut diagnostic.fix {
        fix.span = span(fix.span);
    }
    diagnostic
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Sources {
        let mut reader = |path: &str| match files.iter().find(|(name, _)| *name == path) {
            Some((_, text)) => Ok(text.as_bytes().to_vec()),
            None => Err("no such file".to_owned()),
        };
        Sources::read("folder/main.policy", files[0].1, &mut reader)
    }

    const EVENTS: &str = "entity card\nevent e { card: card, n: int }";
    const DECIDE: &str = "decide e { score = max(rule_scores), unassessed review }\n";

    #[test]
    fn a_policy_of_several_files_is_that_of_all_their_declarations() {
        let main = format!("policy p revision 3\nuse \"a/events.policy\"\nuse \"rules.policy\"\n{DECIDE}");
        let rules = "use \"a/events.policy\"\nrule r on e { when n > 3 then score 7 }\n";
        let sources = read(&[("main.policy", &main), ("a/events.policy", EVENTS), ("rules.policy", rules)]);
        let joined = format!("policy p revision 3\n{DECIDE}{EVENTS}\n{}", rules.split_once('\n').unwrap().1);
        assert_eq!(sources.check(), crate::policy::check(&joined));
        assert!(sources.check().is_ok());
    }

    #[test]
    fn a_mistake_is_told_in_the_file_it_is_in() {
        let main = format!("policy p revision 3\nuse \"events.policy\"\nuse \"rules.policy\"\n{DECIDE}");
        let rules = "rule r on e { when m > 3 then score 7 }\nrule s on e { when n > 3 then block";
        let sources = read(&[("main.policy", &main), ("events.policy", EVENTS), ("rules.policy", rules)]);
        let found = sources.check().unwrap_err();
        let rendered = sources.render(&found);
        assert_eq!(found.len(), 2, "{rendered}");
        assert!(rendered.contains("folder/rules.policy:1:20"), "{rendered}");
        // Of the end of a file: not of the file after it.
        assert!(rendered.contains("folder/rules.policy:2:36"), "{rendered}");
    }

    #[test]
    fn a_text_that_stands_alone_uses_nothing() {
        let found = crate::policy::check(
            "policy p revision 1\nuse \"a.policy\"\nrule r on e { when x then block }\n",
        );
        let found = found.unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "this text stands alone: it cannot use other files");
    }

    const SHEET: &str = "\u{feff}n;then;;\r\n> 3;score 7;;\r\n;;;\r\n\"{ 1, 2 }\";\"block, score 9\"\r\n\r\n";

    #[test]
    fn a_table_in_a_file_is_that_of_the_policy() {
        let main = format!("policy p revision 3\nuse \"a/events.policy\"\n{DECIDE}");
        let events = format!("{EVENTS}\ntable t on e first = \"sheets/t.csv\"\n");
        let files = [("main.policy", &*main), ("a/events.policy", &*events), ("a/sheets/t.csv", SHEET)];
        let sources = read(&files);
        let rows = "{ > 3 => score 7\n{ 1, 2 } => block, score 9\n}";
        let joined = format!("policy p revision 3\n{DECIDE}{EVENTS}\ntable t on e first (n) {rows}");
        let policy = sources.check().unwrap();
        assert_eq!((&policy, policy.rules.len()), (&crate::policy::check(&joined).unwrap(), 2));
        let names: Vec<&str> = sources.files().map(|file| file.0).collect();
        assert_eq!(names, ["folder/main.policy", "folder/a/events.policy", "folder/a/sheets/t.csv"]);
        assert_eq!(sources.files().last().map(|file| file.1), Some(SHEET), "byte for byte");
    }

    #[test]
    fn mistakes_in_the_file_of_a_table_are_told_there_and_card_numbers_are_not() {
        let main = format!(
            "policy p revision 3\n{EVENTS}\ntable t on e first = \"t.csv\"\ntable u on e all = \"t.csv\"\n{DECIDE}"
        );
        let sheet = "n,then\r\n\"{ 4111111111111111, x }\",score 7\r\n4111 1111 1111 1111,block\r\n";
        let sources = read(&[("main.policy", &main), ("t.csv", sheet)]);
        let found = sources.check().unwrap_err();
        let told = sources.render(&found) + &sources.json(&found);
        assert!(told.contains("folder/t.csv:3:6") && !told.contains("1111"), "{told}");
        assert_eq!(found.len(), 1, "{told}");
        let sheet = sheet.replace("4111 1111 1111 1111", "4111111111111111");
        let sources = read(&[("main.policy", &main), ("t.csv", &sheet)]);
        let found = sources.check().unwrap_err();
        let told = sources.render(&found) + &sources.json(&found);
        assert!(told.contains("folder/t.csv:2:22") && !told.contains("1111"), "{told}");
        assert_eq!(found.len(), 1, "the same mistake in both tables: {told}");
        let alone = crate::policy::check(&main).unwrap_err();
        assert_eq!(alone.len(), 2, "{alone:?}");
        assert_eq!(alone[0].message, "this text stands alone: it cannot use other files");
    }

    #[test]
    fn the_number_of_files_and_their_length_are_bounded() {
        let uses: String = (0..FILES_MAX).map(|n| format!("use \"f{n}\"\n")).collect();
        let mut asked = 0;
        let sources = Sources::read("main", &format!("policy p revision 1\n{uses}"), &mut |_| {
            asked += 1;
            Ok(Vec::new())
        });
        let found = sources.check().unwrap_err();
        assert_eq!((found.len(), asked), (1, FILES_MAX - 1), "{found:?}");
        assert!(found[0].message.contains("at most 64 files"));

        let long = " ".repeat(SOURCE_BYTES_MAX / 2);
        let sources = Sources::read("main", "policy p revision 1\nuse \"a\"\nuse \"b\"\n", &mut |_| {
            Ok(long.clone().into_bytes())
        });
        let found = sources.check().unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("longer than 1048576 bytes"));
    }

    #[test]
    fn a_list_may_stand_in_a_file() {
        let main =
            format!("policy p revision 3\n{EVENTS}\nlist known of card = \"lists/known.csv\"\n{DECIDE}");
        let sheet = "\u{feff}reason;entry;until;owner;from\r\n\"say \"\"why\"\"\";c1;2026-12-31;ann;policy\r\n;c 2;;;\r\n\r\n";
        let sources = read(&[("main.policy", &main), ("lists/known.csv", sheet)]);
        let written = "list known of card { \"c1\" until 2026-12-31 owner \"ann\" reason \"say \\\"why\\\"\"\n\"c 2\" }";
        let joined = format!("policy p revision 3\n{EVENTS}\n{written}\n{DECIDE}");
        assert_eq!(sources.check(), crate::policy::check(&joined));
        assert!(sources.check().is_ok(), "{:?}", sources.check());
        // What `tollctl list show` prints of times.
        let sheet = "entry,until\nc1,2026-12-31T00:00:00Z\n";
        let policy = read(&[("main.policy", &main), ("lists/known.csv", sheet)]).check().unwrap();
        assert_eq!(policy.lists[0].entries[0].until, Some(1_798_675_200_000_000));
        for (sheet, place, message) in [
            ("", "known.csv:1:1", "no column of this list is headed `entry`"),
            ("key\nc1\n", "known.csv:1:1", "a list has no column `key`"),
            ("entry,entry\nc1,c2\n", "known.csv:1:7", "this column is there twice"),
            ("entry\nc1,c2\n", "known.csv:2:4", "this cell belongs to no column"),
            ("entry,until\nc1,soon\n", "known.csv:2:4", "there is no date `soon`"),
            ("entry,owner\n,ann\n", "known.csv:2:2", "an entry of a list cannot be empty"),
            ("entry\nc1\nc1\n", "known.csv:3:1", "this entry is in the list twice"),
            ("entry\n\"c1\n", "known.csv:2:1", "this quote is not closed"),
            ("entry\n4111 1111 1111 1111\n", "known.csv:2:1", "cannot be a raw card number"),
        ] {
            let sources = read(&[("main.policy", &main), ("lists/known.csv", sheet)]);
            let told = sources.render(&sources.check().unwrap_err());
            assert!(
                told.contains(place) && told.contains(message) && !told.contains("1111"),
                "{sheet:?}: {told}"
            );
        }
    }
}
