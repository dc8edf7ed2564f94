//! The appliance's configuration: parsed loosely once, validated once, trusted after.
//!
//! `RawConfig` mirrors the file: every key optional, unknown keys refused. What a file leaves out comes from
//! `config/appliance.toml`, which is embedded, so that every default stands in one place. [`Config`] is what the rest of
//! the appliance sees: units, enums and ranges settled. Every refusal names file, line and column, says what is wrong
//! and what to write instead.

mod raw;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tollgate_ring::{Geometry, GeometryError};
use toml::Spanned;

use self::raw::{RawClock, RawConfig, SIZE_UNITS, SPAN_UNITS, Size, Span, line_and_column, tell};
use crate::engine::units::DAY;
use crate::engine::{Clock, Limits, ROWS_PER_KEY_LIMIT};

/// The shipped configuration: every key with its default.
pub const DEFAULT_TEXT: &str = include_str!("../config/appliance.toml");

/// Longest configuration file read.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Most clients at once.
pub const CLIENTS_MAX: u32 = 1024;
/// Most frames in one burst.
pub const BURST_MAX: usize = 64;

/// A validated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The policy's file; `None` for the demonstration policy that is built in.
    pub policy_file: Option<PathBuf>,
    /// Whom to serve and how.
    pub listen: Listen,
    /// The engine thread and its state.
    pub engine: EngineThread,
    /// What each client may send.
    pub admission: RateLimit,
    /// Where decisions are kept.
    pub journal: JournalPlace,
    /// The Unix socket for operators.
    pub control_socket: PathBuf,
    /// What is said on standard error.
    pub log: Logging,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Ring sizes, the same for every client.
    pub geometry: Geometry,
    /// Most clients at once.
    pub clients_max: u32,
    /// Users that may connect; empty for the own user and root.
    pub allowed_uids: Vec<u32>,
    /// Longest time from connecting to being served.
    pub handshake_timeout: Duration,
}

/// `[engine]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineThread {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Most frames per burst.
    pub burst: usize,
    /// How much state the engine keeps and how it reads time.
    pub limits: Limits,
    /// Most memory that the engine may reserve for what the policy and the limits ask for; `None` for no bound but the
    /// machine's. No part of what makes a decision.
    pub memory_bytes_max: Option<u64>,
    /// Touch all memory of the engine at start, on the core that it is pinned to.
    pub touch_memory: bool,
    /// Keep memory from being swapped out, if the system allows.
    pub lock_memory: bool,
}

/// What the engine thread does when no client has anything to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// [`Spin`](Self::Spin) on a core of its own, else [`Park`](Self::Park).
    Auto,
    /// Never leaves its core.
    Spin,
    /// Spins, then offers its core to others.
    Yield,
    /// Spins, yields, then sleeps until woken.
    Park,
}

/// `[admission]`: a token bucket for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Judged events per second; 0 for no limit.
    pub rate_max: u32,
    /// Judged events at once after a pause.
    pub burst: u32,
}

/// `[journal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalPlace {
    /// The directory of the segments.
    pub dir: PathBuf,
    /// The directory of ring, socket and lock.
    pub runtime_dir: PathBuf,
    /// Bytes of the journal ring.
    pub ring_bytes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Longest time that a decision waits for company.
    pub flush_interval: Duration,
    /// How segments are written.
    pub backend: Backend,
}

/// How journal segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Backend {
    /// The first that works.
    #[serde(rename = "auto")]
    Auto,
    /// O_DIRECT through io_uring.
    #[serde(rename = "io_uring")]
    IoUring,
    /// `pwrite` and `fdatasync`.
    #[serde(rename = "plain")]
    Plain,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The least severe that is written.
    pub level: Level,
    /// How often the counters are written; `None` for never.
    pub metrics_interval: Option<Duration>,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something works less well than it should.
    Warn,
    /// What happens in the life of the appliance.
    Info,
    /// What happens to each client.
    Debug,
}

impl Level {
    /// The word that stands for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// Line and column, counted from 1, where they are known.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

impl Config {
    /// Reads and validates a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let refuse = |message: String, help: &str| ConfigError {
            file: file.clone(),
            at: None,
            message,
            help: help.into(),
        };
        let known = "`tollgate config` prints a complete configuration to start from";
        let length =
            std::fs::metadata(path).map_err(|e| refuse(format!("cannot be read: {e}"), known))?.len();
        if length > TEXT_BYTES_MAX {
            return Err(refuse(format!("{length} bytes are too long for a configuration"), known));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}"), known))?;
        Self::from_text(&file, &text)
    }

    /// Validates a text; `file` names it in errors.
    pub fn from_text(file: &str, text: &str) -> Result<Self, ConfigError> {
        let given = RawConfig::parse(file, text)?;
        let shipped = RawConfig::parse("config/appliance.toml", DEFAULT_TEXT)?;
        Validator { file, text }.validate(given, shipped)
    }

    /// The shipped configuration.
    ///
    /// # Panics
    /// Never: a test holds the embedded text to being valid.
    #[must_use]
    pub fn shipped() -> Self {
        Self::from_text("config/appliance.toml", DEFAULT_TEXT).expect("the embedded configuration is valid")
    }
}

/// Turns raw values into trusted ones; knows the text for saying where a refused value stands.
struct Validator<'a> {
    file: &'a str,
    text: &'a str,
}

/// The longest lateness, skew or jump, µs.
const HORIZON_MAX_US: i64 = 400 * DAY;

impl Validator<'_> {
    fn validate(&self, given: RawConfig, shipped: RawConfig) -> Result<Config, ConfigError> {
        let policy = given.policy.or(shipped.policy);
        let listen = given.listen.or(shipped.listen);
        let first_given =
            |keys: [&Option<Spanned<_>>; 2]| keys.into_iter().flatten().next().map(Spanned::span);
        let horizon_at = first_given([&given.engine.lateness, &given.engine.skew]).unwrap_or(0..0);
        let jump_at = first_given([&given.engine.clock_jump_max, &given.engine.skew]).unwrap_or(0..0);
        let engine = given.engine.or(shipped.engine);
        let admission = given.admission.or(shipped.admission);
        let journal = given.journal.or(shipped.journal);
        let control = given.control.or(shipped.control);
        let log = given.log.or(shipped.log);

        let runtime_dir = self.path("runtime_dir", journal.runtime_dir)?;
        let geometry = self.geometry(listen.slot_bytes, listen.request_capacity, listen.verdict_capacity)?;
        let listen = Listen {
            socket: runtime_dir.join(self.path("socket", listen.socket)?),
            geometry,
            clients_max: self.number("clients_max", listen.clients_max, 1, u64::from(CLIENTS_MAX))? as u32,
            allowed_uids: self.required("allowed_uids", listen.allowed_uids)?.into_inner(),
            handshake_timeout: self.span(
                "handshake_timeout",
                listen.handshake_timeout,
                Duration::from_millis(1),
                Duration::from_secs(60),
            )?,
        };
        let horizon = Duration::from_micros(HORIZON_MAX_US as u64);
        let limits = Limits {
            keys_max: self.number("keys_max", engine.keys_max, 1, 1 << 30)? as u32,
            spill_bytes_max: self.size("spill_bytes_max", engine.spill_bytes_max, 1 << 16, 1 << 40)?,
            rows_per_key_max: self.number(
                "rows_per_key_max",
                engine.rows_per_key_max,
                64,
                u64::from(ROWS_PER_KEY_LIMIT),
            )? as u32,
            dedup_entries_max: self.number("dedup_entries_max", engine.dedup_entries_max, 1, 1 << 30)? as u32,
            lateness_us: self.span("lateness", engine.lateness, Duration::ZERO, horizon)?.as_micros() as i64,
            skew_us: self.span("skew", engine.skew, Duration::ZERO, horizon)?.as_micros() as i64,
            jump_us: self.span("clock_jump_max", engine.clock_jump_max, Duration::ZERO, horizon)?.as_micros()
                as i64,
            clock: match self.required("clock", engine.clock)?.into_inner() {
                RawClock::Wall => Clock::Wall,
                RawClock::Event => Clock::Event,
            },
            ..Limits::default()
        };
        // The latest event may be stamped `skew` ahead of now, and the next one `skew` behind it.
        if limits.clock == Clock::Wall && limits.lateness_us < 2 * limits.skew_us {
            let help = "with clock = \"wall\" choose a lateness of at least two skews, so that no stamp within the skew is too late";
            return Err(self.refuse(horizon_at, "`lateness` is less than twice `skew`".into(), help.into()));
        }
        if limits.clock == Clock::Wall && limits.jump_us < (2 * limits.skew_us).max(1) {
            let help = "with clock = \"wall\" choose at least two skews, and more than 0, so that what the skew allows is no jump";
            return Err(self.refuse(jump_at, "`clock_jump_max` is too short".into(), help.into()));
        }
        let memory_bytes_max = match engine.memory_bytes_max {
            Some(size) => Some(self.size("memory_bytes_max", Some(size), 1 << 20, 1 << 44)?),
            None => None,
        };
        let core = match engine.core {
            Some(core) => Some(self.number("core", Some(core), 0, 4095)? as usize),
            None => None,
        };
        let engine = EngineThread {
            core,
            idle: match self.required("idle", engine.idle)?.into_inner() {
                Idle::Auto if core.is_some() => Idle::Spin,
                Idle::Auto => Idle::Park,
                idle => idle,
            },
            burst: self.number("burst", engine.burst, 1, BURST_MAX as u64)? as usize,
            limits,
            memory_bytes_max,
            touch_memory: self.required("touch_memory", engine.touch_memory)?.into_inner(),
            lock_memory: self.required("lock_memory", engine.lock_memory)?.into_inner(),
        };
        let rate_max = self.number("rate_max", admission.rate_max, 0, 1_000_000_000)? as u32;
        let admission =
            RateLimit { rate_max, burst: self.number("burst", admission.burst, 1, 1_000_000_000)? as u32 };
        let control_socket = runtime_dir.join(self.path("socket", control.socket)?);
        let journal = JournalPlace {
            dir: self.path("dir", journal.dir)?,
            runtime_dir,
            ring_bytes: self.size("ring_bytes", journal.ring_bytes, 64 << 10, 4 << 30)?,
            segment_bytes: self.size("segment_bytes", journal.segment_bytes, 64 << 10, 4 << 30)?,
            flush_interval: self.span(
                "flush_interval",
                journal.flush_interval,
                Duration::ZERO,
                Duration::from_secs(10),
            )?,
            backend: self.required("backend", journal.backend)?.into_inner(),
        };
        let day = Duration::from_secs(86_400);
        let interval = self.span("metrics_interval", log.metrics_interval, Duration::ZERO, day)?;
        let log = Logging {
            level: self.required("level", log.level)?.into_inner(),
            metrics_interval: (!interval.is_zero()).then_some(interval),
        };
        let policy_file = match policy.file {
            Some(file) => Some(self.path("file", Some(file))?),
            None => None,
        };
        Ok(Config { policy_file, listen, engine, admission, journal, control_socket, log })
    }

    /// The value given or shipped. Only a shipped file that lacks a key could make it fail.
    fn required<T>(&self, key: &str, value: Option<Spanned<T>>) -> Result<Spanned<T>, ConfigError> {
        value.ok_or_else(|| self.refuse(0..0, format!("`{key}` is missing"), String::new()))
    }

    fn number(
        &self,
        key: &str,
        value: Option<Spanned<u64>>,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        let value = self.required(key, value)?;
        let number = *value.get_ref();
        if (least..=most).contains(&number) {
            return Ok(number);
        }
        let message = format!("`{key}` = {number} is out of range");
        Err(self.refuse(value.span(), message, format!("choose {least} to {most}")))
    }

    fn size(
        &self,
        key: &str,
        value: Option<Spanned<Size>>,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        let value = self.required(key, value)?;
        let size = value.get_ref().0;
        if (least..=most).contains(&size) {
            return Ok(size);
        }
        let help = format!("choose {} to {}", tell(least, &SIZE_UNITS), tell(most, &SIZE_UNITS));
        Err(self.refuse(value.span(), format!("`{key}` = {} is out of range", tell(size, &SIZE_UNITS)), help))
    }

    fn span(
        &self,
        key: &str,
        value: Option<Spanned<Span>>,
        least: Duration,
        most: Duration,
    ) -> Result<Duration, ConfigError> {
        let value = self.required(key, value)?;
        let span = value.get_ref().0;
        if (least..=most).contains(&span) {
            return Ok(span);
        }
        let tell = |span: Duration| tell(span.as_nanos() as u64, &SPAN_UNITS);
        let help = format!("choose {} to {}", tell(least), tell(most));
        Err(self.refuse(value.span(), format!("`{key}` = {} is out of range", tell(span)), help))
    }

    fn path(&self, key: &str, value: Option<Spanned<PathBuf>>) -> Result<PathBuf, ConfigError> {
        let value = self.required(key, value)?;
        // SAFETY: a call without arguments.
        let uid = unsafe { libc::geteuid() };
        let path = value.get_ref().to_string_lossy().replace("{uid}", &uid.to_string());
        if path.is_empty() || path.contains('\0') {
            let help = "write the path of a file or directory, or leave the key out".into();
            return Err(self.refuse(value.span(), format!("`{key}` is not a path"), help));
        }
        Ok(path.into())
    }

    fn geometry(
        &self,
        slot_bytes: Option<Spanned<u64>>,
        requests: Option<Spanned<u64>>,
        verdicts: Option<Spanned<u64>>,
    ) -> Result<Geometry, ConfigError> {
        let slot_bytes = self.required("slot_bytes", slot_bytes)?;
        let requests = self.required("request_capacity", requests)?;
        let verdicts = self.required("verdict_capacity", verdicts)?;
        let narrow = |value: &Spanned<u64>| u32::try_from(*value.get_ref()).unwrap_or(u32::MAX);
        let geometry = Geometry {
            slot_bytes: narrow(&slot_bytes),
            request_capacity: narrow(&requests),
            verdict_capacity: narrow(&verdicts),
        };
        geometry.validate().map_err(|error| {
            let (key, value, help) = match error {
                GeometryError::SlotBytes(_) => ("slot_bytes", slot_bytes, "choose 128, 256 or 512"),
                GeometryError::Capacity { ring: "request", .. } => {
                    ("request_capacity", requests, "choose a power of two from 2 to 1048576")
                }
                GeometryError::Capacity { .. } => {
                    ("verdict_capacity", verdicts, "choose a power of two from 2 to 1048576")
                }
            };
            let message = format!("`{key}` = {} is not a ring's size", value.get_ref());
            self.refuse(value.span(), message, help.into())
        })?;
        Ok(geometry)
    }

    fn refuse(&self, span: Range<usize>, message: String, help: String) -> ConfigError {
        let at = Some(line_and_column(self.text, span.start));
        ConfigError { file: self.file.into(), at, message, help }
    }
}

#[cfg(test)]
mod tests {
    use super::raw::distance;
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Config::from_text("a.toml", text).expect_err("refused").to_string();
        assert_eq!(error, expected);
    }

    #[test]
    fn the_shipped_file_is_valid_and_an_empty_one_equals_it() {
        let shipped = Config::shipped();
        assert_eq!(Config::from_text("empty", "").as_ref(), Ok(&shipped));
        assert!(shipped.listen.socket.starts_with(&shipped.journal.runtime_dir));
        assert_eq!(shipped.engine.idle, Idle::Park);
        assert_eq!(shipped.engine.limits, Limits { clock: Clock::Wall, ..Limits::default() });
    }

    #[test]
    fn the_shipped_file_shows_and_explains_every_key() {
        let sections: Vec<_> = DEFAULT_TEXT.split("\n[").skip(1).collect();
        for section in ["policy", "listen", "engine", "admission", "journal", "control", "log"] {
            let text = sections.iter().find(|s| s.starts_with(&format!("{section}]"))).expect(section);
            let error = toml::from_str::<RawConfig>(&format!("[{section}]\nno_such_key = 1")).err().unwrap();
            let keys: Vec<&str> = error.message().split('`').skip(1).step_by(2).skip(1).collect();
            assert!(!keys.is_empty(), "{error}");
            for key in keys {
                let mut before = "";
                let shown = text.lines().any(|line| {
                    let found = line.trim_start_matches("# ").starts_with(&format!("{key} = "));
                    let explained = found && before.starts_with("# ");
                    before = line;
                    explained
                });
                assert!(shown, "[{section}] {key} is not shown below a comment in config/appliance.toml");
            }
        }
    }

    #[test]
    fn durations_and_sizes_are_exact() {
        for (text, ns) in
            [("0s", 0), ("500us", 500_000), ("90 s", 90_000_000_000), ("1w", 604_800_000_000_000)]
        {
            assert_eq!(Span::try_from(text.to_string()), Ok(Span(Duration::from_nanos(ns))), "{text}");
        }
        for text in ["", "1", "h", "1.5h", "-1s", "1 parsec", "99999999999999w", "1h30m"] {
            assert!(Span::try_from(text.to_string()).is_err(), "{text}");
        }
        assert_eq!(Size::try_from("64MiB".to_string()), Ok(Size(64 << 20)));
        for text in ["64", "64MB", "1.5GiB", "18446744073709551615KiB"] {
            assert!(Size::try_from(text.to_string()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_refused_where_it_stands() {
        check(
            "[engine]\nkeys_max = 0\n",
            "a.toml:2:12: `keys_max` = 0 is out of range\n  help: choose 1 to 1073741824",
        );
        check(
            "[listen]\nslot_bytes = 100",
            "a.toml:2:14: `slot_bytes` = 100 is not a ring's size\n  help: choose 128, 256 or 512",
        );
    }

    #[test]
    fn a_stamp_within_the_skew_is_never_too_late() {
        let refused = "`lateness` is less than twice `skew`\n  help: with clock = \"wall\" choose a lateness of at least \
                       two skews, so that no stamp within the skew is too late";
        check("[engine]\nlateness = \"119s\"\n", &format!("a.toml:2:12: {refused}"));
        check("[engine]\nskew = \"31m\"\n", &format!("a.toml:2:8: {refused}"));
        for text in ["lateness = \"2m\"", "skew = \"30m\"", "clock = \"event\"\nlateness = \"0s\""] {
            assert!(Config::from_text("a.toml", &format!("[engine]\n{text}\n")).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_the_skew_allows_is_no_jump() {
        let refused = "`clock_jump_max` is too short\n  help: with clock = \"wall\" choose at least two skews, and more than \
                       0, so that what the skew allows is no jump";
        check("[engine]\nclock_jump_max = \"119s\"\n", &format!("a.toml:2:18: {refused}"));
        check("[engine]\nskew = \"0s\"\nclock_jump_max = \"0s\"\n", &format!("a.toml:3:18: {refused}"));
        check("[engine]\nlateness = \"3h\"\nskew = \"31m\"\n", &format!("a.toml:3:8: {refused}"));
        for text in ["clock_jump_max = \"2m\"", "clock = \"event\"\nclock_jump_max = \"0s\""] {
            assert!(Config::from_text("a.toml", &format!("[engine]\n{text}\n")).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        assert_eq!(distance("sokcet", "socket"), 2);
        assert_eq!(distance("", "abc"), 3);
        check("[listen]\nsokcet = \"x\"", "a.toml:2:1: unknown key `sokcet`\n  help: did you mean `socket`?");
    }
}
