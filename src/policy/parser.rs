//! Tokens → syntax tree, by recursive descent; expressions by precedence.
//!
//! The parser never gives up: a declaration that goes wrong is reported once, its rest is kept as an error node up to a
//! place where reading can go on (the next item, the closing brace, the next declaration), and reading goes on
//! there. Nesting is bounded, because the tree is walked, and dropped, by recursion.
//!
//! Expressions are in [`expressions`], declarations in [`declarations`]; here is what both stand on.

mod csv;
mod declarations;
mod expressions;
mod models;
mod tables;
mod tests;

use super::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use super::lexer::{Token, lex};
use super::syntax::{SyntaxKind, SyntaxNode};
use super::typed::{ModelFile, Span};
pub(super) use csv::{parse_list, parse_table};
use rowan::{Checkpoint, GreenNodeBuilder};
use std::collections::{HashMap, HashSet};

/// The deepest nesting of an expression.
pub const DEPTH_MAX: u32 = 200;
/// The longest source.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;

/// A source, read.
pub struct Parse {
    /// The tree; its text is the source.
    pub root: SyntaxNode,
    /// What does not follow the grammar, in source order.
    pub errors: Vec<Diagnostic>,
    /// First bytes of the declarations in which there are errors.
    pub broken: HashSet<u32>,
    /// Where the first file ends: what comes after it are files that it uses.
    pub first_end: u32,
    /// Where the file of a table or a list begins, by the first byte of the declaration.
    pub sheets: HashMap<u32, u32>,
    /// What is in the file of a model, by the first byte of the declaration.
    pub models: HashMap<u32, ModelFile>,
}

/// Reads a source. Any text gives a tree.
#[must_use]
pub fn parse(text: &str) -> Parse {
    let tokens = lex(text);
    let mut significant = Vec::new();
    let mut line_starts = Vec::new();
    let mut newline = true;
    for (at, token) in tokens.iter().enumerate() {
        if token.kind.is_trivia() {
            newline |= text[token.start..token.end].contains('\n');
        } else {
            significant.push(at);
            line_starts.push(newline);
            newline = false;
        }
    }
    let mut parser = Parser { line_starts, ..Parser::new(text, tokens, significant) };
    let broken = parser.source();
    let green = parser.builder.finish();
    let first_end = span(text.len(), text.len()).end;
    Parse {
        root: SyntaxNode::new_root(green),
        errors: parser.errors,
        broken,
        first_end,
        sheets: HashMap::new(),
        models: HashMap::new(),
    }
}

/// The words that start a declaration.
pub(super) const DECLARATIONS: &[&str] = &[
    "policy",
    "use",
    "rates",
    "entity",
    "reason",
    "queue",
    "event",
    "list",
    "let",
    "feature",
    "scorecard",
    "model",
    "scene",
    "table",
    "rule",
    "decide",
    "test",
];

/// The words that start a declaration the language does not have yet.
pub(super) const RESERVED: &[&str] = &["pattern", "penalty"];

/// The words that cannot be used as names because expressions and clauses are made of them.
pub(super) const EXPRESSION_WORDS: &[&str] =
    &["and", "or", "not", "in", "is", "true", "false", "when", "where", "then", "else"];

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// Indexes of the tokens that are not trivia.
    significant: Vec<usize>,
    /// For each of them, whether it is the first on its line.
    line_starts: Vec<bool>,
    /// The next significant token.
    at: usize,
    /// Behind the last significant token that is looked at.
    end: usize,
    /// What is there, for a message.
    end_word: &'static str,
    /// The next token to go into the tree.
    built: usize,
    builder: GreenNodeBuilder<'static>,
    errors: Vec<Diagnostic>,
    /// Set by an error, cleared where reading goes on. While it is set nothing is consumed and nothing reported.
    recovering: bool,
    errors_seen: usize,
    /// Inside a test, where `let` without `on` is no declaration.
    in_test: bool,
    /// In the file of a table, where spreadsheets write `TRUE`.
    in_file: bool,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, tokens: Vec<Token>, significant: Vec<usize>) -> Self {
        Self {
            text,
            tokens,
            end: significant.len(),
            end_word: "the end of the file",
            significant,
            line_starts: Vec::new(),
            at: 0,
            built: 0,
            builder: GreenNodeBuilder::new(),
            errors: Vec::new(),
            recovering: false,
            errors_seen: 0,
            in_test: false,
            in_file: false,
        }
    }

    fn token(&self, ahead: usize) -> Option<Token> {
        let at = self.at + ahead;
        let token = self.significant.get(at).filter(|_| at < self.end);
        token.map(|&at| self.tokens[at])
    }

    fn kind_at(&self, ahead: usize) -> Option<SyntaxKind> {
        self.token(ahead).map(|token| token.kind)
    }

    fn text_at(&self, ahead: usize) -> &'t str {
        self.token(ahead).map_or("", |token| &self.text[token.start..token.end])
    }

    fn is(&self, kind: SyntaxKind) -> bool {
        self.kind_at(0) == Some(kind)
    }

    /// Whether the next token is this word.
    fn is_word(&self, word: &str) -> bool {
        self.is(SyntaxKind::Ident) && self.text_at(0) == word
    }

    fn at_end(&self) -> bool {
        self.at >= self.end
    }

    /// Whether the next token is the first on its line (or there is none).
    fn on_new_line(&self, ahead: usize) -> bool {
        self.line_starts.get(self.at + ahead).copied().unwrap_or(true)
    }

    /// Puts the next token into the tree.
    fn bump(&mut self) {
        if let Some(&token) = self.significant.get(self.at) {
            self.build_up_to(token + 1);
            self.at += 1;
        }
    }

    fn build_up_to(&mut self, end: usize) {
        while self.built < end {
            let token = self.tokens[self.built];
            self.builder.token(token.kind.into(), &self.text[token.start..token.end]);
            self.built += 1;
        }
    }

    fn trivia(&mut self) {
        let end = self.significant.get(self.at).copied().unwrap_or(self.tokens.len());
        self.build_up_to(end);
    }

    fn start(&mut self, kind: SyntaxKind) {
        self.trivia();
        self.builder.start_node(kind.into());
    }

    fn checkpoint(&mut self) -> Checkpoint {
        self.trivia();
        self.builder.checkpoint()
    }

    fn start_at(&mut self, checkpoint: Checkpoint, kind: SyntaxKind) {
        self.builder.start_node_at(checkpoint, kind.into());
    }

    fn finish(&mut self) {
        self.builder.finish_node();
    }

    /// Consumes the next token if it is of this kind.
    fn eat(&mut self, kind: SyntaxKind) -> bool {
        let there = !self.recovering && self.is(kind);
        if there {
            self.bump();
        }
        there
    }

    /// Consumes the next token if it is this word.
    fn eat_word(&mut self, word: &str) -> bool {
        let there = !self.recovering && self.is_word(word);
        if there {
            self.bump();
        }
        there
    }

    /// Consumes this kind, or reports that it is missing.
    fn expect(&mut self, kind: SyntaxKind, what: &str, help: &str) -> bool {
        self.eat(kind) || self.expected(what, help)
    }

    /// Consumes this word, or reports that it is missing.
    fn expect_word(&mut self, word: &str, help: &str) -> bool {
        self.eat_word(word) || self.expected(&format!("`{word}`"), help)
    }

    /// Reports that something else should be here. Returns false.
    fn expected(&mut self, what: &str, help: &str) -> bool {
        let found = self.found();
        if self.at_open_text() {
            return self.error(
                "this text is not closed".to_owned(),
                "no `\"` on this line closes it".to_owned(),
                "close it with `\"`; a quote inside a text is written `\\\"`".to_owned(),
            );
        }
        self.error(format!("expected {what}, found {found}"), format!("expected {what}"), help.to_owned())
    }

    /// Whether the next token is a text without its closing quote.
    fn at_open_text(&self) -> bool {
        self.is(SyntaxKind::Unknown) && self.text_at(0).starts_with('"')
    }

    /// What the next token is, for a message.
    fn found(&self) -> String {
        match self.token(0) {
            None => self.end_word.to_owned(),
            Some(token) if token.end - token.start <= 40 => format!("`{}`", self.text_at(0)),
            Some(token) if token.kind == SyntaxKind::Text => "a text".to_owned(),
            Some(_) => "a very long word".to_owned(),
        }
    }

    /// Reports an error at the next token. Returns false.
    fn error(&mut self, message: String, label: String, help: String) -> bool {
        let span = match self.token(0) {
            Some(token) if !self.on_new_line(0) || self.at == 0 => span(token.start, token.end),
            _ => {
                let end = self.at.checked_sub(1).map_or(0, |last| self.tokens[self.significant[last]].end);
                span(end, end)
            }
        };
        self.error_at(span, message, label, help)
    }

    fn error_at(&mut self, span: Span, message: String, label: String, help: String) -> bool {
        if !self.recovering {
            self.errors_seen += 1;
            if self.errors.len() < DIAGNOSTICS_MAX {
                self.errors.push(Diagnostic::syntax(span, message, label, help));
            }
        }
        self.recovering = true;
        false
    }

    /// Keeps what is left before `stop` as an error node and goes on reading. Stops before a declaration too.
    /// Braces and parentheses that open on the way are skipped with what they hold.
    fn recover(&mut self, stop: impl Fn(&Self) -> bool) {
        if !self.recovering {
            return;
        }
        self.recovering = false;
        if self.at_end() || stop(self) || self.at_declaration() {
            return;
        }
        self.start(SyntaxKind::Error);
        let mut depth = 0u32;
        while !self.at_end() {
            if self.at_declaration() || depth == 0 && stop(self) {
                break;
            }
            match self.kind_at(0) {
                Some(SyntaxKind::LBrace | SyntaxKind::LParen) => depth += 1,
                Some(SyntaxKind::RBrace | SyntaxKind::RParen) => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.bump();
        }
        self.finish();
    }

    /// Whether a declaration starts here, for all we can tell from inside a broken one: its word is first on its
    /// line and a name (or a text) follows it.
    fn at_declaration(&self) -> bool {
        if !self.is(SyntaxKind::Ident) || !self.on_new_line(0) {
            return false;
        }
        let follows = self.kind_at(1);
        match self.text_at(0) {
            "reason" | "queue" => {
                follows == Some(SyntaxKind::Ident) && self.kind_at(2) == Some(SyntaxKind::Number)
            }
            "rates" | "use" | "test" => follows == Some(SyntaxKind::Text),
            "let" if self.in_test && self.text_at(2) != "on" => false,
            word if DECLARATIONS.contains(&word) || RESERVED.contains(&word) => {
                follows == Some(SyntaxKind::Ident) && !self.on_new_line(1)
            }
            _ => false,
        }
    }

    /// A name being declared.
    fn name(&mut self, what: &str) -> bool {
        self.word_node(SyntaxKind::Name, what)
    }

    /// A name being used.
    fn name_ref(&mut self, what: &str) -> bool {
        self.word_node(SyntaxKind::NameRef, what)
    }

    fn word_node(&mut self, node: SyntaxKind, what: &str) -> bool {
        if self.recovering {
            return false;
        }
        if !self.is(SyntaxKind::Ident) {
            let help = match self.kind_at(0) {
                Some(SyntaxKind::Text) => "names are written without quotes",
                _ => "a name is made of letters a–z, digits and `_`, and starts with a letter",
            };
            return self.expected(what, help);
        }
        if EXPRESSION_WORDS.contains(&self.text_at(0)) {
            let word = self.text_at(0);
            return self.error(
                format!("`{word}` cannot be used as a name"),
                format!("expected {what}"),
                format!("`{word}` is a word of the language; choose another name"),
            );
        }
        self.start(node);
        self.bump();
        self.finish();
        true
    }
}

fn span(start: usize, end: usize) -> Span {
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { start: offset(start), end: offset(end) }
}
