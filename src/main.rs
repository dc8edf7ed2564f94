//! `tollgate`.
fn main() {}
