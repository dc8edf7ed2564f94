//! What is wrong with a policy, where, and what to do about it.

use super::codes;
use super::typed::Span;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::ops::Range;

/// The most errors, and the most warnings, reported for one source.
pub const DIAGNOSTICS_MAX: usize = 50;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken, and may not say what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A change of the text that surely puts something right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub replacement: String,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Of which kind it is: a word of [`codes::ALL`].
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where.
    pub span: Span,
    /// A few words shown under the span, or empty.
    pub label: String,
    /// What to do.
    pub help: String,
    /// The same as a change of the text, when there is no doubt about it.
    pub fix: Option<Box<Fix>>,
}

impl Diagnostic {
    /// An error. Its code follows from its words; the nearest name, when the help proposes one, is its fix.
    pub(super) fn error(
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (message, label, help) = (message.into(), label.into(), help.into());
        let code = codes::of_error(&message, &label);
        let near = help.strip_prefix("did you mean `").and_then(|rest| rest.strip_suffix("`?"));
        // An empty span lies before what is wrong, not on it.
        let fix = near
            .filter(|_| span.start < span.end)
            .map(|near| Box::new(Fix { span, replacement: near.to_owned() }));
        Self { severity: Severity::Error, code, message, span, label, help, fix }
    }

    /// A warning.
    pub(super) fn warning(
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (message, label, help) = (message.into(), label.into(), help.into());
        Self { severity: Severity::Warning, code, message, span, label, help, fix: None }
    }

    /// An error of the grammar.
    pub(super) fn syntax(span: Span, message: String, label: String, help: String) -> Self {
        let code = codes::of_syntax(&message, &label);
        Self { code, ..Self::error(span, message, label, help) }
    }
}

/// All of them with file, line, column and the source lines, for a person to read.
///
/// What could be a card number is shown as asterisks.
#[must_use]
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    let (original, text) = (text, mask(text));
    let renderer = Renderer::plain().decor_style(DecorStyle::Ascii).term_width(160);
    let mut rendered = String::new();
    for diagnostic in diagnostics {
        let range = in_text(&text, diagnostic.span);
        let words = Words { quoted: &original[range.clone()], shown: &text[range.clone()] };
        let (message, label, help) =
            (words.of(&diagnostic.message), words.of(&diagnostic.label), mask(&diagnostic.help));
        let mut annotation = AnnotationKind::Primary.span(range);
        if !label.is_empty() {
            annotation = annotation.label(label.as_str());
        }
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level
            .primary_title(message.as_str())
            .id(diagnostic.code)
            .element(Snippet::source(text.as_str()).path(file).annotation(annotation));
        if !help.is_empty() {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        rendered.push_str(&renderer.render(&[group]));
        rendered.push_str("\n\n");
    }
    rendered
}

/// One diagnostic as a JSON object on one line, for scripts and editors: `file`, `line`, `column`, `end_line`,
/// `end_column` (counted from 1, columns in characters; the end is just behind the last one), `span` (bytes, from 0),
/// `severity`, `code`, `message`, `label`, `help`, and `fix` (`span`, `replacement`) when there is one.
///
/// What could be a card number is shown as asterisks.
#[must_use]
pub fn json(file: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let range = in_text(text, diagnostic.span);
    let ((line, column), (end_line, end_column)) = (place(text, range.start), place(text, range.end));
    let masked = mask(text);
    let words = Words { quoted: &text[range.clone()], shown: &masked[range.clone()] };
    let bytes = |range: Range<usize>| Bytes { start: range.start, end: range.end };
    let told = Told {
        file,
        line,
        column,
        end_line,
        end_column,
        span: bytes(range),
        severity: diagnostic.severity.word(),
        code: diagnostic.code,
        message: words.of(&diagnostic.message),
        label: words.of(&diagnostic.label),
        help: mask(&diagnostic.help),
        fix: diagnostic.fix.as_ref().map(|fix| ToldFix {
            span: bytes(in_text(text, fix.span)),
            replacement: words.of(&fix.replacement),
        }),
    };
    // Strings and numbers have no way to fail.
    serde_json::to_string(&told).unwrap_or_default()
}

/// One diagnostic on one line, for a log: `file:line:column: message (code)`.
///
/// What could be a card number is shown as asterisks.
#[must_use]
pub fn line(file: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let range = in_text(text, diagnostic.span);
    let (line, column) = place(text, range.start);
    let masked = mask(text);
    let words = Words { quoted: &text[range.clone()], shown: &masked[range] };
    format!("{file}:{line}:{column}: {} ({})", words.of(&diagnostic.message), diagnostic.code)
}

/// Line and column of a byte, counted from 1, columns in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The keys of a diagnostic in JSON, in this order.
#[derive(serde::Serialize)]
struct Told<'d> {
    file: &'d str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    span: Bytes,
    severity: &'d str,
    code: &'d str,
    message: String,
    label: String,
    help: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<ToldFix>,
}

#[derive(serde::Serialize)]
struct ToldFix {
    span: Bytes,
    replacement: String,
}

#[derive(serde::Serialize)]
struct Bytes {
    start: usize,
    end: usize,
}

/// The span as a range that is surely inside the text and on its character boundaries.
fn in_text(text: &str, span: Span) -> Range<usize> {
    let boundary = |at: u32| {
        let mut at = (at as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (boundary(span.start), boundary(span.end));
    start..end.max(start)
}

/// Words about a place, which may quote what stands there.
struct Words<'t> {
    quoted: &'t str,
    /// The same as it is shown: of what could be a card number it may be a part.
    shown: &'t str,
}

impl Words<'_> {
    fn of(&self, words: &str) -> String {
        let masked = mask(words);
        if self.quoted == self.shown { masked } else { masked.replace(self.quoted, self.shown) }
    }
}

/// Puts asterisks over thirteen or more digits in a row, whatever single spaces, hyphens or underscores are between
/// them. The length in bytes stays.
#[must_use]
pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let (start, mut digits, mut end) = (at, 0, at);
        while end < bytes.len() {
            if bytes[end].is_ascii_digit() {
                digits += 1;
                end += 1;
            } else if matches!(bytes[end], b' ' | b'-' | b'_')
                && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
            {
                end += 1;
            } else {
                break;
            }
        }
        if digits >= 13 {
            masked.get_or_insert_with(|| bytes.to_vec())[start..end].fill(b'*');
        }
        at = end;
    }
    // Only whole ASCII characters were replaced.
    masked.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_card_number_is_never_shown() {
        for (text, shown) in [
            ("x 4111111111111111 y", "x **************** y"),
            ("\"4111 1111-1111 1111\"", "\"*******************\""),
            ("123456789012", "123456789012"),
            ("1_000_000 2026", "1_000_000 2026"),
            ("風4111111111111111", "風****************"),
        ] {
            assert_eq!(mask(text), shown);
        }
        let digits = "4111111111111111";
        let diagnostic =
            Diagnostic::error(Span { start: 0, end: 16 }, "found `4111111111111111`", digits, digits);
        assert!(!render("f", "4111111111111111", &[diagnostic]).contains("4111"));
        // Of a part of it neither.
        let diagnostic = Diagnostic::error(Span { start: 5, end: 9 }, "found `1111`", "not `1111`", "");
        let (text, all) = ("4111 1111 1111 1111", std::slice::from_ref(&diagnostic));
        let told = render("f", text, all) + &json("f", text, &diagnostic) + &line("f", text, &diagnostic);
        assert!(!told.contains("1111") && told.contains("found `****`"), "{told}");
    }

    #[test]
    fn places_are_counted_from_one_in_characters_and_spans_from_zero_in_bytes() {
        let text = "風 x\n  風風 y 4111111111111111\n";
        let at = text.find('y').unwrap() as u32;
        let diagnostic = Diagnostic::error(
            Span { start: at, end: at + 2 },
            "4111 1111 1111 1111",
            "4111111111111111",
            "did you mean `4111111111111111`?",
        );
        let line = json("f", text, &diagnostic);
        assert!(!line.contains("4111") && !line.contains('\n'), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let number = |key: &str| object[key].as_u64().unwrap();
        assert_eq!([number("line"), number("column")], [2, 6]);
        assert_eq!([number("end_line"), number("end_column")], [2, 8]);
        assert_eq!(object["span"]["start"], at);
        assert_eq!(object["fix"]["span"]["end"], at + 2);
    }

    #[test]
    fn a_span_outside_the_text_is_drawn_at_its_end() {
        let diagnostic = Diagnostic::error(Span { start: 7, end: 900 }, "m", "", "");
        assert!(render("f.policy", "風", &[diagnostic]).contains("f.policy:1"));
    }
}
