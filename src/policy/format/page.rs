//! Where lines end: a text with places at which it may be broken → lines that fit the page.
//!
//! The method is Wadler's ("A prettier printer"): a group is written on one line when it fits, and else broken at all
//! of its own lines, while the groups in it are looked at anew. Comments run to the end of their line, so a group with a
//! comment inside is always broken, and what follows a comment starts a line, whatever the layout says.

use super::WIDTH;

/// What one level of indentation is.
const STEP: usize = 2;

/// A piece of the page.
#[derive(Debug)]
pub(super) enum Doc {
    /// Written as it is.
    Text(String),
    /// A space, or the end of the line when its group is broken.
    Line,
    /// Nothing, or the end of the line when its group is broken.
    Soft,
    /// A space when what follows, up to the next place to break at, fits the line; else the end of the line.
    Fill,
    /// The end of the line.
    Hard,
    /// An empty line before what follows, if that starts a line.
    Blank,
    /// A comment behind what stands on its line.
    Behind(String),
    /// A comment on a line of its own.
    Alone(String),
    /// Further in.
    Indent(Vec<Doc>),
    /// On one line if it fits and is not to be broken anyway.
    Group {
        /// Broken even if it would fit.
        broken: bool,
        /// What is in it.
        inside: Vec<Doc>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flat,
    Broken,
}

type Item<'d> = (usize, Mode, &'d Doc);

/// Writes the page.
pub(super) fn write(docs: &[Doc]) -> String {
    let mut page = Page { text: String::new(), column: 0, indent: 0, closed: false, blank: false };
    let mut stack: Vec<Item<'_>> = docs.iter().rev().map(|doc| (0, Mode::Broken, doc)).collect();
    while let Some((indent, mode, doc)) = stack.pop() {
        match doc {
            Doc::Text(text) => page.put(text, indent),
            Doc::Line | Doc::Soft => match mode {
                Mode::Broken => page.end_line(indent),
                Mode::Flat if page.closed => page.end_line(indent),
                Mode::Flat if matches!(doc, Doc::Line) => page.space(),
                Mode::Flat => {}
            },
            Doc::Fill => {
                let left = WIDTH.checked_sub(page.column + 1);
                let fits = mode == Mode::Flat || left.is_some_and(|left| follows(left, &stack, true));
                if fits && !page.closed { page.space() } else { page.end_line(indent) }
            }
            Doc::Hard => page.end_line(indent),
            Doc::Blank => page.blank = true,
            Doc::Behind(comment) => page.behind(comment, indent),
            Doc::Alone(comment) => page.alone(comment, indent),
            Doc::Indent(inside) => {
                stack.extend(inside.iter().rev().map(|doc| (indent + STEP, mode, doc)));
            }
            Doc::Group { broken, inside } => {
                let left = WIDTH.saturating_sub(page.next_column(indent));
                let flat = mode == Mode::Flat || !broken && fits(left, inside, &stack);
                let mode = if flat { Mode::Flat } else { Mode::Broken };
                stack.extend(inside.iter().rev().map(|doc| (indent, mode, doc)));
            }
        }
    }
    page.finish()
}

/// Whether `inside` on one line, and what follows it up to where the line may end, needs no more than `left` columns.
fn fits(left: usize, inside: &[Doc], after: &[Item<'_>]) -> bool {
    let mut left = left;
    let mut stack: Vec<&Doc> = inside.iter().rev().collect();
    // A comment behind the last thing inside does no harm.
    let mut closed = false;
    while let Some(doc) = stack.pop() {
        match doc {
            Doc::Text(text) if text.is_empty() => {}
            Doc::Text(_) | Doc::Line | Doc::Fill if closed => return false,
            Doc::Text(text) => match left.checked_sub(text.chars().count()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Doc::Line | Doc::Fill => match left.checked_sub(1) {
                Some(rest) => left = rest,
                None => return false,
            },
            Doc::Soft | Doc::Blank => {}
            Doc::Hard | Doc::Alone(_) | Doc::Group { broken: true, .. } => return false,
            Doc::Behind(_) => closed = true,
            Doc::Indent(inside) | Doc::Group { inside, .. } => stack.extend(inside.iter().rev()),
        }
    }
    closed || follows(left, after, false)
}

/// Whether what follows, up to where the line may end, needs no more than `left` columns; groups that need not be broken on
/// one line if `whole`.
fn follows(left: usize, after: &[Item<'_>], whole: bool) -> bool {
    let mut left = left;
    let mut rest = after.iter().rev();
    let mut stack: Vec<(Mode, &Doc)> = Vec::new();
    while let Some((mode, doc)) = stack.pop().or_else(|| rest.next().map(|(_, mode, doc)| (*mode, *doc))) {
        match doc {
            Doc::Text(text) => match left.checked_sub(text.chars().count()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Doc::Line | Doc::Soft | Doc::Fill if mode == Mode::Broken => return true,
            Doc::Line | Doc::Fill => match left.checked_sub(1) {
                Some(rest) => left = rest,
                None => return false,
            },
            Doc::Soft | Doc::Blank => {}
            Doc::Hard | Doc::Behind(_) | Doc::Alone(_) => return true,
            Doc::Group { broken: false, inside } if whole => {
                stack.extend(inside.iter().rev().map(|doc| (Mode::Flat, doc)));
            }
            Doc::Indent(inside) | Doc::Group { inside, .. } => {
                stack.extend(inside.iter().rev().map(|doc| (mode, doc)));
            }
        }
    }
    true
}

/// The page while it is written.
struct Page {
    text: String,
    /// Columns of the line so far; 0 before anything is on it.
    column: usize,
    /// Of the line that is next begun.
    indent: usize,
    /// A comment ends the line: nothing more goes on it.
    closed: bool,
    /// An empty line is wanted before the next text that starts a line.
    blank: bool,
}

impl Page {
    fn end_line(&mut self, indent: usize) {
        if self.column > 0 {
            self.text.truncate(self.text.trim_end_matches(' ').len());
            self.text.push('\n');
        }
        (self.column, self.indent, self.closed) = (0, indent, false);
    }

    /// Where the next text starts.
    fn next_column(&self, indent: usize) -> usize {
        match self.column {
            _ if self.closed => indent,
            0 => self.indent,
            column => column,
        }
    }

    fn space(&mut self) {
        if self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
    }

    fn put(&mut self, text: &str, indent: usize) {
        if text.is_empty() {
            return;
        }
        if self.closed {
            self.end_line(indent);
        }
        if self.column == 0 {
            if self.blank && !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.extend(std::iter::repeat_n(' ', self.indent));
            self.column = self.indent;
        }
        self.blank = false;
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn behind(&mut self, comment: &str, indent: usize) {
        if self.column > 0 && !self.closed {
            self.text.truncate(self.text.trim_end_matches(' ').len());
            self.text.push_str("  ");
        }
        self.put(comment, indent);
        self.closed = true;
    }

    fn alone(&mut self, comment: &str, indent: usize) {
        if self.column > 0 {
            self.end_line(indent);
        }
        self.indent = indent;
        self.put(comment, indent);
        self.closed = true;
    }

    fn finish(mut self) -> String {
        self.end_line(0);
        self.text
    }
}
