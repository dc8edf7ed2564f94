//! What is wrong with an input, where, and what to do: the one error of everything that reads files.

use crate::cell::Cell;

/// A problem without its place, as the conversions find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong, in one sentence.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

impl Problem {
    /// A problem with this message and help.
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// The problem, at this place.
    pub(crate) fn at(self, place: impl Into<String>) -> Fault {
        Fault { place: place.into(), problem: self }
    }
}

/// A problem and its place: a file with line and column, or with row and column name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}\n  help: {}", problem.message, problem.help)]
pub(crate) struct Fault {
    place: String,
    problem: Problem,
}

/// The command failed, and has said why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("see above")]
pub(crate) struct Told;

/// Characters of a value that an error shows.
const SHOWN_MAX: usize = 40;

/// A value, as errors show it: quoted, cut short, and never when it could be a card number.
pub(crate) fn shown(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "nothing".to_owned(),
        Cell::Text(text) => shown_text(text),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Int(number) => hide_digits(number.to_string()),
        Cell::Float(number) => hide_digits(number.to_string()),
        Cell::Scaled(number, scale) => hide_digits(format!("{number}e-{scale}")),
        Cell::Time(_) => "a timestamp".to_owned(),
    }
}

/// A text, as errors show it.
pub(crate) fn shown_text(text: &str) -> String {
    let mut cut: String =
        text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        cut.push('…');
    }
    hide_digits(format!("`{cut}`"))
}

/// Thirteen digits or more in one run, however they are spaced, are not shown: card numbers have 13 to 19.
fn hide_digits(text: String) -> String {
    let (mut run, mut longest) = (0, 0);
    for c in text.chars() {
        match c {
            '0'..='9' => run += 1,
            ' ' | '-' | '.' | '/' | '_' | ',' => {}
            _ => run = 0,
        }
        longest = longest.max(run);
    }
    if longest >= 13 { format!("a value with {longest} digits (not shown)") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_could_be_card_numbers_are_not_shown() {
        for text in ["4111111111111111", "4111 1111 1111 1111", "pan=4111-1111-1111-111", "4111.1111.1111.1"]
        {
            assert!(!shown_text(text).contains("1111"), "{text}");
        }
        assert!(!shown(Cell::Int(4_111_111_111_111_111)).contains("1111"));
        assert_eq!(shown_text("2026-01-05T10:00:01.25Z"), "`2026-01-05T10:00:01.25Z`");
        assert_eq!(shown_text("2026-01-05 10:00:01.25"), "`2026-01-05 10:00:01.25`");
        assert_eq!(shown_text("two\nlines"), "`two lines`");
        assert_eq!(shown_text(&"x".repeat(50)), format!("`{}…`", "x".repeat(40)));
    }
}
