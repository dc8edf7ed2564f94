//! Plain log lines on standard error: time, level, message. Never a key's text, never a card number.

use std::fmt;

pub use crate::config::Level;

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
