//! The policy language: text → lossless syntax → typed policy → flat program. Pure and cold.
//!
//! ```text
//! text ──parse──▶ syntax tree ──check──▶ typed::Policy ──lower──▶ Program ──archive──▶ bytes ──open──▶ Loaded
//! ```

pub mod archive;
pub mod ast;
mod check;
pub mod diagnostics;
mod lexer;
pub mod lower;
pub mod parser;
mod suggest;
pub mod syntax;
pub mod typed;

use crate::engine::program::Program;
use crate::token::Tokenizer;
use diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use parser::SOURCE_BYTES_MAX;
use typed::Span;

/// Reads and checks a policy. Reports as many errors as it can find, in source order.
pub fn check(text: &str) -> Result<typed::Policy, Vec<Diagnostic>> {
    if text.len() > SOURCE_BYTES_MAX {
        return Err(vec![Diagnostic {
            message: format!("this policy is {} bytes long; at most {SOURCE_BYTES_MAX} are read", text.len()),
            span: Span::default(),
            label: String::new(),
            help: "move long lists out of the policy text".to_owned(),
        }]);
    }
    let parse = parser::parse(text);
    let (policy, found) = check::check(&parse);
    let mut diagnostics = parse.errors;
    diagnostics.extend(found);
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
    diagnostics.truncate(DIAGNOSTICS_MAX);
    match policy {
        Some(policy) if diagnostics.is_empty() => Ok(policy),
        _ => Err(diagnostics),
    }
}

/// Reads, checks and lowers a policy.
pub fn compile(text: &str, tokenizer: &Tokenizer) -> Result<Program, Vec<Diagnostic>> {
    let policy = check(text)?;
    lower::lower(&policy, tokenizer).map_err(|error| vec![error])
}
