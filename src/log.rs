//! Plain log lines on standard error: time, level, message. Never a key's text, never a card number.

use std::error::Error;
use std::fmt;

pub use crate::config::Level;

/// An error and its causes on one line, each said once: many errors have their cause in their own words already.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        next = cause.source();
    }
    said
}

/// Writes lines up to a level. For cold threads: it formats and makes system calls.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    level: Level,
}

impl Log {
    /// Writes what matters at least this much.
    #[must_use]
    pub const fn new(level: Level) -> Self {
        Self { level }
    }

    /// Something does not work.
    pub fn error(&self, message: impl fmt::Display) {
        self.write(Level::Error, &message);
    }

    /// Something works less well than it should.
    pub fn warn(&self, message: impl fmt::Display) {
        self.write(Level::Warn, &message);
    }

    /// What happens in the life of the appliance.
    pub fn info(&self, message: impl fmt::Display) {
        self.write(Level::Info, &message);
    }

    /// What happens to each client.
    pub fn debug(&self, message: impl fmt::Display) {
        self.write(Level::Debug, &message);
    }

    fn write(&self, level: Level, message: &dyn fmt::Display) {
        if level > self.level {
            return;
        }
        let now = jiff::Timestamp::now();
        let line = format!("{now:.3} {:5} {message}\n", level.word());
        // A log that cannot be written must not stop the appliance.
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read a: {source}")]
    struct Told {
        source: std::io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no start")]
    struct Outer(#[source] Told);

    #[test]
    fn a_cause_is_said_once() {
        let told = || Told { source: std::io::Error::other("gone") };
        assert_eq!(causes(&told()), "cannot read a: gone");
        assert_eq!(causes(&Outer(told())), "no start: cannot read a: gone");
    }
}
