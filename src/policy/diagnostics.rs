//! What is wrong with a policy, where, and what to do about it.

use super::typed::Span;

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
#[must_use]
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    let _ = (file, text, diagnostics);
    panic!("contract")
}
