//! What is wrong with a policy, where, and what to do about it.

use super::typed::Span;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// The most errors reported for one source.
pub const DIAGNOSTICS_MAX: usize = 50;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where.
    pub span: Span,
    /// A few words shown under the span, or empty.
    pub label: String,
    /// What to do.
    pub help: String,
}

/// All of them with file, line, column and the source lines, for a person to read.
///
/// What could be a card number is shown as asterisks.
#[must_use]
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    let text = mask(text);
    let renderer = Renderer::plain().decor_style(DecorStyle::Ascii).term_width(160);
    let mut rendered = String::new();
    for diagnostic in diagnostics {
        let range = in_text(&text, diagnostic.span);
        let (message, label, help) =
            (mask(&diagnostic.message), mask(&diagnostic.label), mask(&diagnostic.help));
        let mut annotation = AnnotationKind::Primary.span(range);
        if !label.is_empty() {
            annotation = annotation.label(label.as_str());
        }
        let mut group = Level::ERROR
            .primary_title(message.as_str())
            .element(Snippet::source(text.as_str()).path(file).annotation(annotation));
        if !help.is_empty() {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        rendered.push_str(&renderer.render(&[group]));
        rendered.push_str("\n\n");
    }
    rendered
}

/// The span as a range that is surely inside the text and on its character boundaries.
fn in_text(text: &str, span: Span) -> std::ops::Range<usize> {
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

/// Puts asterisks over thirteen or more digits in a row, whatever single spaces, hyphens or underscores are between
/// them. The length in bytes stays.
pub(super) fn mask(text: &str) -> String {
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
        let diagnostic = Diagnostic {
            message: "found `4111111111111111`".to_owned(),
            span: Span { start: 0, end: 16 },
            label: "4111111111111111".to_owned(),
            help: "4111111111111111".to_owned(),
        };
        assert!(!render("f", "4111111111111111", &[diagnostic]).contains("4111"));
    }

    #[test]
    fn a_span_outside_the_text_is_drawn_at_its_end() {
        let diagnostic = Diagnostic {
            message: "m".to_owned(),
            span: Span { start: 7, end: 900 },
            label: String::new(),
            help: String::new(),
        };
        assert!(render("f.policy", "風", &[diagnostic]).contains("f.policy:1"));
    }
}
