//! `tollctl`.
fn main() {}
