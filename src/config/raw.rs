//! The configuration file as it is written: keys, words, durations, sizes, and what is said about those that are wrong.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Backend, ConfigError, Idle, Level};

/// Declares a section of the file: every key optional, with its place in the text.
macro_rules! raw_section {
    ($name:ident { $($key:ident: $type:ty),+ $(,)? }) => {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $key: Option<Spanned<$type>>),+ }

        impl $name {
            /// What is given, else what is shipped.
            pub(super) fn or(self, shipped: Self) -> Self {
                Self { $($key: self.$key.or(shipped.$key)),+ }
            }
        }
    };
}

raw_section!(RawPolicy { file: PathBuf });
raw_section!(RawListen {
    socket: PathBuf,
    slot_bytes: u64,
    request_capacity: u64,
    verdict_capacity: u64,
    clients_max: u64,
    allowed_uids: Vec<u32>,
    handshake_timeout: Span,
});
raw_section!(RawEngine {
    core: u64,
    idle: Idle,
    burst: u64,
    clock: RawClock,
    lateness: Span,
    skew: Span,
    clock_jump_max: Span,
    keys_max: u64,
    spill_bytes_max: Size,
    rows_per_key_max: u64,
    dedup_entries_max: u64,
    memory_bytes_max: Size,
    touch_memory: bool,
    lock_memory: bool,
});
raw_section!(RawAdmission { rate_max: u64, burst: u64 });
raw_section!(RawJournal {
    dir: PathBuf,
    runtime_dir: PathBuf,
    ring_bytes: Size,
    segment_bytes: Size,
    flush_interval: Span,
    backend: Backend,
});
raw_section!(RawControl { socket: PathBuf });
raw_section!(RawLog { level: Level, metrics_interval: Span });

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) policy: RawPolicy,
    pub(super) listen: RawListen,
    pub(super) engine: RawEngine,
    pub(super) admission: RawAdmission,
    pub(super) journal: RawJournal,
    pub(super) control: RawControl,
    pub(super) log: RawLog,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawClock {
    Wall,
    Event,
}

impl RawConfig {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map(|span| line_and_column(text, span.start));
            let (message, help) = explain(error.message());
            ConfigError { file: file.into(), at, message, help }
        })
    }
}

/// A deserializer's message, in the words of this file's reader, and what to do.
fn explain(message: &str) -> (String, String) {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let form = "`tollgate config` shows every key as it is written".to_string();
    let plain =
        || message.replace('\n', " ").replace("u64", "a whole number").replace("u32", "a whole number");
    let (Some(found), known) = (names.first(), names.get(1..).unwrap_or_default()) else {
        let help = match message {
            "duplicate key" => "keep one of them".into(),
            // These say themselves what to write.
            _ if message.contains("write a whole number") => String::new(),
            _ => form,
        };
        return (plain(), help);
    };
    let unknown = |what: &str| {
        let nearest = known.iter().min_by_key(|name| distance(found, name));
        let close = nearest.filter(|name| distance(found, name) <= name.len() / 2);
        let help = match close {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        (format!("unknown {what} `{found}`"), help)
    };
    if message.starts_with("unknown field") {
        unknown("key")
    } else if message.starts_with("unknown variant") {
        unknown("value")
    } else {
        (plain(), form)
    }
}

/// Edit distance, to find the name that was probably meant.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A length of time as written: `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

pub(super) const SPAN_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        number_with_unit(&text, &SPAN_UNITS).map(|ns| Self(Duration::from_nanos(ns))).ok_or_else(|| {
            format!(
                "{text:?} is not a duration: write a whole number and one of ns us ms s m h d w, like \"90s\""
            )
        })
    }
}

/// An amount of memory as written: `"64MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

pub(super) const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        number_with_unit(&text, &SIZE_UNITS).map(Self).ok_or_else(|| {
            format!("{text:?} is not a size: write a whole number and one of B KiB MiB GiB, like \"64MiB\"")
        })
    }
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    u64::from_str(number).ok()?.checked_mul(*factor)
}

/// A number in the largest unit that holds it exactly.
pub(super) fn tell(number: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().rev().find(|(_, factor)| number != 0 && number.is_multiple_of(*factor));
    let (unit, factor) = exact.copied().unwrap_or(units[0]);
    format!("{}{unit}", number / factor)
}
