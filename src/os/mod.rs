//! What is asked of the operating system, one noun a file.

pub mod memfd;
