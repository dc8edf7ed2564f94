//! Decision tables and lists from files that a spreadsheet writes.
//!
//! A file is RFC 4180: cells between `,` or `;`, maybe in quotes, lines that end in LF or CRLF, maybe a byte order mark. What is
//! in a cell is read like a cell of a table in a policy, and becomes the same nodes; what is between cells is trivia. So the tree
//! has all of the file's text, and whatever is said of a cell points to its place in the file.

use super::{DIAGNOSTICS_MAX, Diagnostic, Parse, Parser, Token, span};
use crate::policy::lexer::lex;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

const HEADER_HELP: &str =
    "the first line names the columns, those of what rows do last, as in `channel;amount in USD;then`";
const CELL_HELP: &str = "a cell is, for example, `ecom`, `{ pos, atm }`, `>= 100 USD`, `2 to 5`, `2.5`, `true` or `missing`, \
    or empty where anything will do";

const QUOTE_HELP: &str = "a cell in quotes ends with `\"`; a quote in it is written `\"\"`";

/// The cells of a file, line by line, with what stands in them.
struct Sheet {
    lines: Vec<Vec<Range<usize>>>,
    /// What is wrong with quotes: where, and what it is.
    wrong: Vec<(Range<usize>, &'static str, &'static str)>,
}

impl Sheet {
    fn read(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let separator = separator(&bytes[at..]);
        let mut sheet = Self { lines: Vec::new(), wrong: Vec::new() };
        while at < bytes.len() {
            let mut cells = Vec::new();
            loop {
                at += blanks(&bytes[at..]);
                let start = at;
                if bytes.get(at) == Some(&b'"') {
                    at = sheet.quoted(bytes, at, &mut cells);
                    let behind = at + blanks(&bytes[at..]);
                    at = behind + plain(&bytes[behind..], separator);
                    let rest = trimmed(bytes, behind..at);
                    if !rest.is_empty() {
                        sheet.wrong.push((rest, "text stands behind a closing quote", "behind it"));
                    }
                } else {
                    at += plain(&bytes[at..], separator);
                    cells.push(trimmed(bytes, start..at));
                }
                if bytes.get(at) != Some(&separator) {
                    break;
                }
                at += 1;
            }
            sheet.lines.push(cells);
            at += 1;
        }
        sheet
    }

    /// A cell in quotes, which begins at `open`. Returns where it ends, behind its quote.
    fn quoted(&mut self, bytes: &[u8], open: usize, cells: &mut Vec<Range<usize>>) -> usize {
        let mut at = open + 1;
        while at < bytes.len() {
            match (bytes[at], bytes.get(at + 1)) {
                (b'"', Some(b'"')) => at += 2,
                (b'"', _) => {
                    cells.push(trimmed(bytes, open + 1..at));
                    return at + 1;
                }
                _ => at += 1,
            }
        }
        self.wrong.push((open..open + 1, "this quote is not closed", "opened here"));
        bytes.len()
    }
}

/// What separates cells, by the first line: nothing that names a column has a `;` in it.
fn separator(bytes: &[u8]) -> u8 {
    let mut quoted = false;
    for byte in bytes {
        match byte {
            b'"' => quoted = !quoted,
            b';' if !quoted => return b';',
            b'\n' if !quoted => break,
            _ => {}
        }
    }
    b','
}

/// Spaces at the beginning.
fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count()
}

/// Bytes up to the end of the cell.
fn plain(bytes: &[u8], separator: u8) -> usize {
    bytes.iter().take_while(|byte| **byte != separator && **byte != b'\n').count()
}

/// The range without spaces around it.
fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let within = bytes[range.clone()].trim_ascii_start();
    let start = range.end - within.len();
    start..start + within.trim_ascii_end().len()
}

/// Reads a table from a file. Any text gives a tree.
#[must_use]
pub(in crate::policy) fn parse_table(text: &str) -> Parse {
    let sheet = Sheet::read(text);
    let (mut tokens, mut significant): (Vec<Token>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut built = 0;
    let trivia = |tokens: &mut Vec<Token>, start: usize, end: usize| {
        if start < end {
            tokens.push(Token { kind: K::Whitespace, start, end });
        }
    };
    let mut lines = Vec::with_capacity(sheet.lines.len());
    for line in sheet.lines {
        let mut cells = Vec::with_capacity(line.len());
        for cell in line {
            trivia(&mut tokens, built, cell.start);
            let first = significant.len();
            for token in lex(&text[cell.clone()]) {
                // What a spreadsheet could not compute (`#N/A`) is no comment.
                let kind = if token.kind == K::Comment { K::Unknown } else { token.kind };
                if !kind.is_trivia() {
                    significant.push(tokens.len());
                }
                tokens.push(Token { kind, start: token.start + cell.start, end: token.end + cell.start });
            }
            built = cell.end;
            cells.push(Cell { bytes: cell, end: significant.len(), is_empty: first == significant.len() });
        }
        lines.push(cells);
    }
    trivia(&mut tokens, built, text.len());
    let mut parser =
        Parser { line_starts: vec![false; significant.len()], ..Parser::new(text, tokens, significant) };
    parser.end_word = "the end of the cell";
    parser.in_file = true;
    parser.builder.start_node(K::Root.into());
    parser.builder.start_node(K::TableFile.into());
    for (at, message, label) in sheet.wrong.into_iter().take(DIAGNOSTICS_MAX) {
        let help = QUOTE_HELP.to_owned();
        parser.errors.push(Diagnostic::syntax(
            span(at.start, at.end),
            message.to_owned(),
            label.to_owned(),
            help,
        ));
    }
    if parser.errors.is_empty() {
        parser.lines(&lines);
    }
    parser.end = parser.significant.len();
    parser.at = parser.end;
    parser.trivia();
    parser.finish();
    parser.finish();
    let broken = if parser.errors.is_empty() { HashSet::new() } else { HashSet::from([0]) };
    Parse {
        root: SyntaxNode::new_root(parser.builder.finish()),
        errors: parser.errors,
        broken,
        first_end: span(text.len(), text.len()).end,
        sheets: HashMap::new(),
        models: HashMap::new(),
    }
}

/// Columns that the file of a list may have. The last is what `tollctl list show` says; it means nothing here.
const LIST_COLUMNS: [&str; 5] = ["entry", "until", "owner", "reason", "from"];

/// Reads a list from a file. Any text gives a tree: a node for each line, in which each cell that is not empty has a node
/// that says of which column it is.
#[must_use]
pub(in crate::policy) fn parse_list(text: &str) -> Parse {
    const HELP: &str =
        "the first line names the columns: `entry`, and `until`, `owner`, `reason` if they are wanted";
    let sheet = Sheet::read(text);
    let mut errors = Vec::new();
    let mut wrong = |at: &Range<usize>, message: String, label: &str, help: &str| {
        if errors.len() < DIAGNOSTICS_MAX {
            errors.push(Diagnostic::syntax(
                span(at.start, at.end),
                message,
                label.to_owned(),
                help.to_owned(),
            ));
        }
    };
    for (at, message, label) in &sheet.wrong {
        wrong(at, (*message).to_owned(), label, QUOTE_HELP);
    }
    let mut lines = sheet.lines.into_iter().filter(|line| line.iter().any(|cell| !cell.is_empty()));
    let header = lines.next().unwrap_or_default();
    let mut columns: Vec<Option<&str>> = Vec::new();
    for cell in &header {
        let name = LIST_COLUMNS.into_iter().find(|name| *name == &text[cell.clone()]);
        if name.is_none() && !cell.is_empty() {
            wrong(cell, format!("a list has no column `{}`", &text[cell.clone()]), "not known", HELP);
        } else if name.is_some() && columns.contains(&name) {
            wrong(cell, "this column is there twice".to_owned(), "again here", "remove one of the two");
        }
        columns.push(name);
    }
    if !columns.contains(&Some("entry")) {
        let at = header.first().cloned().unwrap_or(0..0);
        wrong(&at, "no column of this list is headed `entry`".to_owned(), "the first line", HELP);
    }
    let mut builder = rowan::GreenNodeBuilder::new();
    builder.start_node(K::Root.into());
    builder.start_node(K::ListFile.into());
    let mut built = 0;
    for line in lines {
        builder.start_node(K::ListEntry.into());
        for (at, cell) in line.iter().enumerate() {
            let name = columns.get(at).copied().flatten();
            if name.is_none() && !cell.is_empty() {
                let help =
                    "name its column in the first line; a cell with the separator in it stands in quotes";
                wrong(cell, "this cell belongs to no column".to_owned(), "no name above it", help);
            }
            if name == Some("from") && &text[cell.clone()] == "removed" {
                let help = "take this line out: what is not in a list has no line in its file";
                wrong(cell, "this entry was removed from the list".to_owned(), "by an edit", help);
            }
            if cell.is_empty() || name.is_none_or(|name| name == "from") {
                continue;
            }
            if built < cell.start {
                builder.token(K::Whitespace.into(), &text[built..cell.start]);
            }
            let kind = match name {
                Some("until") => K::UntilCell,
                Some("owner") => K::OwnerCell,
                Some("reason") => K::ReasonCell,
                _ => K::EntryCell,
            };
            builder.start_node(kind.into());
            builder.token(K::Text.into(), &text[cell.clone()]);
            builder.finish_node();
            built = cell.end;
        }
        builder.finish_node();
    }
    if built < text.len() {
        builder.token(K::Whitespace.into(), &text[built..]);
    }
    builder.finish_node();
    builder.finish_node();
    let broken = if errors.is_empty() { HashSet::new() } else { HashSet::from([0]) };
    Parse {
        root: SyntaxNode::new_root(builder.finish()),
        errors,
        broken,
        first_end: span(text.len(), text.len()).end,
        sheets: HashMap::new(),
        models: HashMap::new(),
    }
}

/// A cell of a file.
struct Cell {
    bytes: Range<usize>,
    /// Behind its last token.
    end: usize,
    is_empty: bool,
}

impl Cell {
    /// Where it is, for an error about all of it.
    fn span(&self) -> crate::policy::typed::Span {
        span(self.bytes.start, self.bytes.end)
    }
}

impl Parser<'_> {
    fn lines(&mut self, lines: &[Vec<Cell>]) {
        let is_blank = |line: &&Vec<Cell>| line.iter().all(|cell| cell.is_empty);
        let mut lines = lines.iter().filter(|line| !is_blank(line));
        let Some(header) = lines.next() else {
            let message = "this file has no line that names columns".to_owned();
            self.error_at(span(0, 0), message, "is empty".to_owned(), HEADER_HELP.to_owned());
            return;
        };
        let Some((columns, all)) = self.header(header) else { return };
        for line in lines {
            self.line(line, columns, all);
        }
    }

    /// The line that names columns. Returns how many of them cells ask about, and how many there are.
    fn header(&mut self, cells: &[Cell]) -> Option<(usize, usize)> {
        let all = cells.iter().rposition(|cell| !cell.is_empty).map_or(0, |last| last + 1);
        let cells = &cells[..all];
        let is_then = |cell: &Cell| self.text[cell.bytes.clone()].trim() == "then";
        let Some(columns) = cells.iter().position(is_then) else {
            let last = cells.last().map_or_else(Default::default, Cell::span);
            let message = "no column of this table is headed `then`".to_owned();
            self.error_at(last, message, "the last one".to_owned(), HEADER_HELP.to_owned());
            return None;
        };
        if columns == 0 {
            let message = "this table asks about nothing".to_owned();
            self.error_at(cells[0].span(), message, "the first column".to_owned(), HEADER_HELP.to_owned());
            return None;
        }
        for cell in &cells[..columns] {
            self.end = cell.end;
            if cell.is_empty {
                let message = "this column is not named".to_owned();
                self.error_at(cell.span(), message, "is empty".to_owned(), HEADER_HELP.to_owned());
                self.recovering = false;
                continue;
            }
            self.start(K::Column);
            self.full_expression();
            self.end_of_cell("a column is headed by what its cells ask about, as in `amount in USD`");
            self.finish();
        }
        for cell in &cells[columns..] {
            self.end = cell.end;
            if self.text[cell.bytes.clone()].trim() != "then" {
                let message = "behind `then` all columns are headed `then`".to_owned();
                self.error_at(cell.span(), message, "another one".to_owned(), HEADER_HELP.to_owned());
                self.recovering = false;
            }
            while !self.at_end() {
                self.bump();
            }
        }
        self.errors.is_empty().then_some((columns, all))
    }

    fn line(&mut self, cells: &[Cell], columns: usize, all: usize) {
        self.start(K::TableRow);
        for cell in cells.iter().take(columns) {
            self.end = cell.end;
            if cell.is_empty {
                self.start_empty(K::Cell);
                continue;
            }
            self.cell(true);
            self.end_of_cell(CELL_HELP);
        }
        let effects = cells.get(columns..).unwrap_or_default();
        let effects = &effects[..effects.len().min(all - columns)];
        for cell in effects.iter().filter(|cell| !cell.is_empty) {
            self.end = cell.end;
            loop {
                self.effect();
                if !self.eat(K::Comma) {
                    break;
                }
            }
            self.end_of_cell("effects are separated by `,`, as in `review, score 70`");
        }
        if effects.iter().all(|cell| cell.is_empty) {
            let first = cells.iter().find(|cell| !cell.is_empty).map_or(0, |cell| cell.bytes.start);
            let last = cells.iter().rfind(|cell| !cell.is_empty).map_or(first, |cell| cell.bytes.end);
            let message = "this row does nothing".to_owned();
            let help = "write under `then` what the row does, as in `review, score 70`".to_owned();
            self.error_at(span(first, last), message, "nothing under `then`".to_owned(), help);
            self.recovering = false;
        }
        for cell in cells.iter().skip(all).filter(|cell| !cell.is_empty) {
            let message = "this cell belongs to no column".to_owned();
            let help = "name its column in the first line; a cell with the separator in it stands in quotes"
                .to_owned();
            self.error_at(cell.span(), message, "no name above it".to_owned(), help);
            self.recovering = false;
            self.end = cell.end;
            while !self.at_end() {
                self.bump();
            }
        }
        self.finish();
    }

    /// What is left of a cell is an error.
    fn end_of_cell(&mut self, help: &str) {
        if !self.recovering && !self.at_end() {
            self.expected("the end of the cell", help);
        }
        self.recover(|_| false);
    }

    /// A node without anything in it.
    fn start_empty(&mut self, kind: K) {
        self.builder.start_node(kind.into());
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<Vec<&str>> {
        let sheet = Sheet::read(text);
        assert!(sheet.wrong.is_empty(), "{:?}", sheet.wrong);
        sheet.lines.into_iter().map(|line| line.into_iter().map(|cell| &text[cell]).collect()).collect()
    }

    #[test]
    fn cells_are_those_of_a_spreadsheet() {
        assert_eq!(cells("a,b\r\n1,\"2, 3\"\r\n"), [["a", "b"], ["1", "2, 3"]]);
        assert_eq!(cells("\u{feff}a;b\n 1 ;\" 2;\n3 \" \n"), [["a", "b"], ["1", "2;\n3"]]);
        assert_eq!(cells("a;\"b,c\";;\n;;;"), [["a", "b,c", "", ""], ["", "", "", ""]]);
        assert_eq!(
            cells("\"a;b\",c\n1,\"say \"\"x\"\"\"\n\n"),
            [vec!["a;b", "c"], vec!["1", "say \"\"x\"\""], vec![""]]
        );
        assert!(cells("").is_empty());
    }

    #[test]
    fn quotes_that_go_wrong_are_told() {
        for text in ["a,\"b\n", "a,\"b\"c\n", "\"a\"\"", "\""] {
            assert!(!parse_table(text).errors.is_empty(), "{text}");
        }
    }

    #[test]
    fn any_text_has_a_tree_of_all_of_it() {
        let texts = [
            "",
            ";",
            "\u{feff}",
            "a;then\n1;block",
            "\u{feff}a;then;;\r\n1;block;;\r\n;;;\r\n",
            "then;a\n1;2\n",
            "a;then;b\n1;2;3\n",
            "a,b\n1,2\n",
            "a;;then\n1;2;block\n",
            "a;then\n1;block x;5\n",
            "a;then\n#N/A;block\n>;block\n1 2;block\n1;\n;block\n",
            "\"a\nb\";then\n{ x, y };\"block, score 4\"\n",
            "a;then;then\n1;block;score 3\n2\n",
            "風;then\n\"\n\"x;y\n",
            "a(;then\n{;block\n",
        ];
        for text in texts {
            let parse = parse_table(text);
            assert_eq!(parse.root.text().to_string(), text);
            assert_eq!(parse.errors.is_empty(), parse.broken.is_empty());
        }
        let mut random = 1_u64;
        for _ in 0..4_000 {
            let mut text = String::from("a;b;then\n");
            for _ in 0..12 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let parts = [
                    ";", "\n", "\"", "block", "then", "{ x, y", "}", ">= 5", "-", " to ", "missing", "(",
                    ",", "score 5", "#", "風",
                ];
                text.push_str(parts[(random >> 33) as usize % parts.len()]);
            }
            assert_eq!(parse_table(&text).root.text().to_string(), text);
        }
    }
}
