//! The policy language: text → lossless syntax → typed policy → flat program. Pure and cold.
//!
//! ```text
//! text ──parse──▶ syntax tree ──check──▶ typed::Policy ──lower──▶ Program ──archive──▶ bytes ──open──▶ Loaded
//! ```

pub mod archive;
pub mod ast;
mod check;
pub mod codes;
pub mod diagnostics;
pub mod entries;
pub mod explain;
pub mod format;
mod lexer;
mod lint;
pub mod lower;
pub mod parser;
pub mod sources;
mod suggest;
pub mod syntax;
pub mod test;
pub mod typed;

use crate::engine::program::Program;
use crate::token::Tokenizer;
pub use diagnostics::Diagnostic;
pub use sources::{Analysis, Sources};
pub(crate) use suggest::nearest;

/// Reads and checks a policy of one file, which cannot use others ([`Sources::read`] can). Reports as many errors as it
/// can find, in source order.
pub fn check(text: &str) -> Result<typed::Policy, Vec<Diagnostic>> {
    Sources::single("policy", text).check()
}

/// Reads, checks and lowers a policy of one file.
pub fn compile(text: &str, tokenizer: &Tokenizer) -> Result<Program, Vec<Diagnostic>> {
    Sources::single("policy", text).compile(tokenizer)
}
