//! What the rows of a table, and the bins of a scorecard, leave out, and what they say in vain: warnings.
//!
//! A row is a box with a region for each column, so that all of this is about boxes. Reasoning is bounded: where it would
//! cost too much, nothing is said.

use super::Checker;
use super::cells::{Bound, Input, Region, above, below, touches};
use crate::policy::ast;
use crate::policy::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Expr, Span, Type};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Rows of larger tables are only held against each other one by one.
const ROWS_MAX: usize = 512;
/// And so are those with more ranges of values in their cells than this.
const PARTS_MAX: usize = 8_192;
/// The most ranges of values that rows are held against each other by: all those of 16 000 rows with few columns.
const PAIRS_MAX: usize = 1 << 29;
/// The most boxes that what is left of a row is kept in.
const PIECES_MAX: usize = 64;

/// A cell, where it is written, and for which values it holds.
pub(super) struct Written {
    span: Span,
    pub(super) text: String,
    pub(super) region: Region,
}

/// A row of a table.
pub(super) struct Row {
    span: Span,
    /// Counted from 1.
    number: usize,
    /// One for each column.
    cells: Vec<Written>,
    /// The name of the reason it gives.
    reason: Option<String>,
}

/// Where values are left out.
struct Gap<'a> {
    /// The cell that ends there, or else the one that begins behind it.
    beside: &'a Written,
    message: String,
}

impl Written {
    pub(super) fn new(node: &SyntaxNode, region: Region) -> Self {
        let text = node.text().to_string().trim().to_owned();
        Self { span: ast::span(node), text: if text.is_empty() { "-".to_owned() } else { text }, region }
    }
}

impl Row {
    pub(super) fn new(node: &SyntaxNode, number: usize, cells: Vec<Written>) -> Self {
        let gives = |effect: &SyntaxNode| ast::word(effect).is_some_and(|word| word.text == "reason");
        let reason = ast::children(node, K::Effect).find(gives).and_then(|effect| ast::name_ref(&effect));
        Self { span: ast::span(node), number, cells, reason: reason.map(|reason| reason.text) }
    }

    /// Ranges of values in all cells.
    fn parts(&self) -> usize {
        self.cells.iter().map(|cell| 1 + cell.region.parts().len()).sum()
    }

    /// Whether there may be values for which both fit, whatever is in one column.
    fn meets_but_for(&self, column: usize, other: &Self) -> bool {
        let mut cells = self.cells.iter().zip(&other.cells).enumerate();
        cells.all(|(at, (a, b))| at == column || a.region.overlaps(&b.region))
    }
}

impl Checker<'_> {
    fn warn(&mut self, code: &'static str, span: Span, message: String, label: &str, help: &str) {
        if self.warnings.len() < DIAGNOSTICS_MAX {
            self.warnings.push(Diagnostic::warning(code, span, message, label, help));
        }
    }

    /// Bins without `else` that leave values out.
    pub(super) fn bins_left_out(&mut self, input: &Input, bins: &[Written]) {
        let all: Vec<&Written> = bins.iter().collect();
        let left = self.words_left(&all, input.ty);
        let message = if !left.is_empty() {
            format!("no bin is for {}", left.join(", "))
        } else if is_coded(input.ty) {
            "these bins leave values out".to_owned()
        } else {
            match gap(&all, true) {
                Some(gap) => format!("no bin is for {}", gap.message),
                None => return,
            }
        };
        let help =
            "the scorecard is missing for them: add a bin, or say what all others count, as in `else: 0`";
        self.warn("uncovered", ast::span(&input.node), message, "values are left out", help);
    }

    /// Words of an enum, or truth values, in none of these cells.
    fn words_left(&self, cells: &[&Written], ty: Type) -> Vec<String> {
        let words: Vec<String> = match ty {
            Type::Enum(event, field) => self.words(event, field).to_vec(),
            Type::Bool => vec!["false".to_owned(), "true".to_owned()],
            _ => return Vec::new(),
        };
        let is_left = |at: usize| {
            let place = |at: usize| Some((crate::engine::units::Value::int(at as i64), false));
            let word = Region::of(place(at), place(at + 1));
            !cells.iter().any(|cell| cell.region.overlaps(&word))
        };
        let left = words.iter().enumerate().filter(|(at, _)| is_left(*at));
        left.map(|(_, word)| format!("`{word}`")).collect()
    }

    /// Whether a value may be missing, as far as that is plain.
    fn is_missable(&self, input: &Input) -> bool {
        match &input.expr {
            Expr::Field(field) => {
                let event = self.policy.events.get(input.event.index());
                event.and_then(|event| event.fields.get(field.index())).is_none_or(|field| field.optional)
            }
            _ => true,
        }
    }

    /// Looks through the rows of a table without mistakes.
    pub(super) fn rows(&mut self, name: &str, first: bool, inputs: &[Input], rows: &[Row]) {
        if first {
            self.never_first(name, inputs, rows);
        } else {
            self.same_rows(name, rows);
        }
        if !are_few(rows) {
            return;
        }
        for (column, input) in inputs.iter().enumerate() {
            self.column_left_out(name, column, input, rows);
        }
    }

    /// Rows that are not reached: behind one that fits whenever they do, an error; behind several that together do.
    fn never_first(&mut self, name: &str, inputs: &[Input], rows: &[Row]) {
        let ranges: Vec<_> =
            inputs.iter().map(|input| (self.is_missable(input), self.range(input.ty))).collect();
        let (mut pairs, are_few) = (0, are_few(rows));
        for (at, row) in rows.iter().enumerate() {
            pairs += at * row.parts();
            if pairs > PAIRS_MAX || self.is_full() {
                return;
            }
            let covers = |earlier: &Row| {
                earlier.cells.iter().zip(&row.cells).all(|(a, b)| a.region.covers_in_order(&b.region))
            };
            let number = row.number;
            if let Some(earlier) = rows[..at].iter().find(|earlier| covers(earlier)) {
                let message = format!("row {number} of `{name}` can never be the first that fits");
                let help = format!(
                    "row {} fits whenever this one does: put it behind, or remove one",
                    earlier.number
                );
                self.push(row.span, message, "never reached", help);
                continue;
            }
            let own = row.cells.iter().zip(&ranges);
            let own = own.map(|(cell, (missable, range))| cell.region.within(*missable, *range)).collect();
            if are_few && !is_something_left(own, &rows[..at]) {
                let message =
                    format!("row {number} of `{name}` is never reached: the rows before it leave nothing");
                let help = "put it before them, or remove it";
                self.warn("shadowed-by", row.span, message, "never reached", help);
            }
        }
    }

    /// Rows that fit alike, and give no reasons of their own.
    fn same_rows(&mut self, name: &str, rows: &[Row]) {
        let mut pairs = 0;
        for (at, row) in rows.iter().enumerate() {
            pairs += at * row.parts();
            if pairs > PAIRS_MAX {
                return;
            }
            let same = |other: &Row| {
                let mut cells = other.cells.iter().zip(&row.cells);
                other.reason == row.reason && cells.all(|(a, b)| a.region == b.region)
            };
            if let Some(other) = rows[..at].iter().find(|other| same(other)) {
                let message =
                    format!("row {} of `{name}` fits just where row {} does", row.number, other.number);
                let help =
                    "join the two, or correct one of them; only the greater action and score have an effect";
                self.warn("duplicate-condition", row.span, message, "the same cells", help);
            }
        }
    }

    /// Values of a column that no row is for, where rows are for most others.
    fn column_left_out(&mut self, name: &str, column: usize, input: &Input, rows: &[Row]) {
        let cells: Vec<&Written> = rows.iter().map(|row| &row.cells[column]).collect();
        let left = self.words_left(&cells, input.ty);
        let words = match input.ty {
            Type::Enum(event, field) => self.words(event, field).len(),
            _ => 2,
        };
        if !left.is_empty() && left.len() * 2 < words {
            let message = format!("no row of `{name}` is for {}", left.join(", "));
            let help = "add it to a row; a last row with `-` is for all that is left";
            self.warn("uncovered", ast::span(&input.node), message, "most words are in some row", help);
        }
        if is_coded(input.ty) || matches!(input.ty, Type::Enum(..) | Type::Bool) {
            return;
        }
        let mut told: HashSet<(u32, String)> = HashSet::new();
        for row in rows {
            let beside = rows.iter().filter(|other| row.meets_but_for(column, other));
            let cells: Vec<&Written> = beside.map(|other| &other.cells[column]).collect();
            let Some(gap) = gap(&cells, false) else { continue };
            if told.insert((gap.beside.span.start, gap.message.clone())) {
                let message = format!("no row of `{name}` is for {}", gap.message);
                let help = "`A to B` ends before B, `<` and `>` leave the value itself out: let one of the two reach the other";
                self.warn("uncovered", gap.beside.span, message, "values are left out", help);
            }
        }
    }
}

/// Whether rows can all be held against each other, part by part.
fn are_few(rows: &[Row]) -> bool {
    rows.len() <= ROWS_MAX && rows.iter().map(Row::parts).sum::<usize>() <= PARTS_MAX
}

/// Whether values of a type have no order that a gap could be in.
fn is_coded(ty: Type) -> bool {
    matches!(ty, Type::Country | Type::Currency | Type::Mcc | Type::Bin)
}

/// The first place between these cells that none of them holds; with `ends`, also before all and behind all.
fn gap<'a>(cells: &[&'a Written], ends: bool) -> Option<Gap<'a>> {
    type Part<'a> = (Option<Bound>, Option<Bound>, &'a Written);
    let parts = cells.iter().flat_map(|cell| cell.region.parts().iter().map(|part| (part.0, part.1, *cell)));
    let mut parts: Vec<Part<'a>> = parts.collect();
    parts.sort_by(|a, b| below(a.0, b.0));
    let mut parts = parts.into_iter();
    let (start, mut end, mut last) = parts.next()?;
    if ends && start.is_some() {
        return Some(Gap { beside: last, message: format!("values below `{}`", last.text) });
    }
    for (from, to, cell) in parts {
        // What `!= 5` leaves out is meant to be, unless all values must be somewhere.
        let same = last.text == cell.text;
        if !touches(end, from) && (ends || !same) {
            let message = match same {
                true => format!("the value that `{}` leaves out", last.text),
                false => format!("values between `{}` and `{}`", last.text, cell.text),
            };
            return Some(Gap { beside: last, message });
        }
        if above(end, to) == Ordering::Less {
            (end, last) = (to, cell);
        }
    }
    (ends && end.is_some()).then(|| Gap { beside: last, message: format!("values above `{}`", last.text) })
}

/// Whether a box is more than what these rows have of it.
fn is_something_left(own: Vec<Region>, rows: &[Row]) -> bool {
    let mut pieces = vec![own];
    for row in rows {
        let mut left = Vec::new();
        for piece in pieces {
            if piece.iter().zip(&row.cells).any(|(own, cell)| !own.overlaps(&cell.region)) {
                left.push(piece);
                continue;
            }
            let mut inside = piece;
            for (at, cell) in row.cells.iter().enumerate() {
                let outside = inside[at].minus(&cell.region);
                if !outside.is_empty() {
                    let mut rest = inside.clone();
                    rest[at] = outside;
                    left.push(rest);
                }
                inside[at] = inside[at].intersection(&cell.region);
            }
        }
        if left.is_empty() {
            return false;
        }
        if left.len() > PIECES_MAX {
            return true;
        }
        pieces = left;
    }
    true
}
