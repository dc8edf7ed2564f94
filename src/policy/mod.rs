//! The policy language: text → lossless syntax → typed policy → flat program. Pure and cold.
//!
//! ```text
//! text ──parse──▶ syntax tree ──check──▶ typed::Policy ──lower──▶ Program ──archive──▶ bytes ──open──▶ Loaded
//! ```

pub mod archive;
pub mod diagnostics;
pub mod lower;
pub mod typed;

use crate::engine::program::Program;
use crate::token::Tokenizer;
use diagnostics::Diagnostic;

/// Reads and checks a policy. Reports as many errors as it can find, in source order.
pub fn check(text: &str) -> Result<typed::Policy, Vec<Diagnostic>> {
    let _ = text;
    panic!("contract")
}

/// Reads, checks and lowers a policy.
pub fn compile(text: &str, tokenizer: &Tokenizer) -> Result<Program, Vec<Diagnostic>> {
    let policy = check(text)?;
    lower::lower(&policy, tokenizer).map_err(|error| vec![error])
}
