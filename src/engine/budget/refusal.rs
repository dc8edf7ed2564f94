//! What is said to a budget that is over what may be used.

use super::Budget;
use crate::engine::Limits;
use crate::engine::lists::EDITS_MAX;
use std::fmt::Write as _;

/// A part of what is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What for.
    pub name: String,
    /// What there is so much of, and the limit that says so.
    pub of: String,
    /// How much.
    pub bytes: u64,
}

/// A number of bytes in the largest unit of which there is one, to a tenth.
#[must_use]
pub fn tell_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let tenths = |unit: usize| {
        let size = 1_u128 << (10 * (unit + 1));
        (u128::from(bytes) * 10 + size / 2) / size
    };
    let unit = (0..UNITS.len()).find(|&unit| tenths(unit) < 10_240).unwrap_or(UNITS.len() - 1);
    let tenths = tenths(unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A limit that can be lowered.
struct Lever {
    name: &'static str,
    /// The least that a configuration may say.
    least: u64,
    /// How it is written.
    write: fn(u64) -> String,
    /// What it is a multiple of, as it is written.
    step: u64,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

const MIB: u64 = 1 << 20;

const LEVERS: [Lever; 4] = [
    Lever {
        name: "keys_max",
        least: 1,
        write: |keys| keys.to_string(),
        step: 1,
        get: |limits| u64::from(limits.keys_max),
        set: |limits, keys| limits.keys_max = keys as u32,
    },
    Lever {
        name: "spill_bytes_max",
        least: MIB,
        write: |bytes| format!("\"{}MiB\"", bytes / MIB),
        step: MIB,
        get: |limits| limits.spill_bytes_max,
        set: |limits, bytes| limits.spill_bytes_max = bytes,
    },
    Lever {
        name: "dedup_entries_max",
        least: 1,
        write: |entries| entries.to_string(),
        step: 1,
        get: |limits| u64::from(limits.dedup_entries_max),
        set: |limits, entries| limits.dedup_entries_max = entries as u32,
    },
    Lever {
        name: "rows_per_key_max",
        least: 64,
        write: |rows| rows.to_string(),
        step: 1,
        get: |limits| u64::from(limits.rows_per_key_max),
        set: |limits, rows| limits.rows_per_key_max = rows as u32,
    },
];

/// A limit is worth lowering alone if it need not go below one in so many.
const LOWERED_MAX: u64 = 16;

impl Budget {
    /// What is reserved, part by part: the tables, then what they share.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        let keys = self.limits.keys_max;
        let mut items: Vec<Item> = Vec::new();
        let mut item = |name: &str, of: String, bytes| items.push(Item { name: name.to_owned(), of, bytes });
        for table in self.tables.iter().filter(|table| table.record_bytes > 0) {
            let what = if table.is_pair { "pairs" } else { "keys" };
            item(&table.name, format!("{keys} {what} (keys_max)"), table.bytes());
        }
        item("older events", "spill_bytes_max".into(), self.spill_bytes);
        let entries = self.limits.dedup_entries_max;
        item("duplicates", format!("{entries} events (dedup_entries_max)"), self.dedup_bytes);
        item("edits of lists", format!("{EDITS_MAX} entries"), self.edits_bytes);
        if self.models_bytes > 0 {
            item("models", String::new(), self.models_bytes);
        }
        if self.rates_bytes > 0 {
            item("exchange rates", String::new(), self.rates_bytes);
        }
        if self.shared_bytes > 0 {
            item("upper bounds", format!("{keys} keys (keys_max)"), self.shared_bytes);
        }
        // A kind that nothing is kept by has a table all the same, of a few lines.
        let empty = self.tables.iter().filter(|table| table.record_bytes == 0).map(|table| table.bytes());
        let working = empty.fold(self.working_bytes, u64::saturating_add);
        let rows = self.limits.rows_per_key_max;
        item("working memory", format!("{rows} events of a key (rows_per_key_max)"), working);
        items
    }

    /// The greatest value of each limit with which, all others being as they are, `max` bytes would do; those that would
    /// have to be lowered beyond reason are left out.
    pub(super) fn lowered(&self, max: u64) -> Vec<(&'static str, String)> {
        let fits = |lever: &Lever, value: u64| {
            let mut limits = self.limits;
            (lever.set)(&mut limits, value);
            self.total_with(&limits) <= max
        };
        let lower = |lever: &Lever| {
            let now = (lever.get)(&self.limits);
            // In steps; `low` fits, `high` does not.
            let (mut low, mut high) = (lever.least.div_ceil(lever.step), now.div_ceil(lever.step));
            if low >= high || !fits(lever, low * lever.step) {
                return None;
            }
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match fits(lever, middle * lever.step) {
                    true => low = middle,
                    false => high = middle,
                }
            }
            let value = low * lever.step;
            (value >= now / LOWERED_MAX).then(|| (lever.name, (lever.write)(value)))
        };
        LEVERS.iter().filter_map(lower).collect()
    }

    /// Why this budget is refused where `max` bytes may be used: what takes how much, and what to do. `None` when it is not.
    #[must_use]
    pub fn refusal(&self, max: u64) -> Option<String> {
        let total = self.total_bytes();
        if total <= max {
            return None;
        }
        let (needed, allowed) = (tell_bytes(total), tell_bytes(max));
        let mut said = format!(
            "the policy with these limits takes {needed} of memory, and [engine] memory_bytes_max is {allowed}"
        );
        let items = self.items();
        let width =
            |text: fn(&Item) -> &str| items.iter().map(|item| text(item).chars().count()).max().unwrap_or(0);
        let (names, ofs) = (width(|item| &item.name), width(|item| &item.of));
        for Item { name, of, bytes } in &items {
            let _ = write!(said, "\n  {name:names$}  {of:ofs$}  {:>10}", tell_bytes(*bytes));
        }
        let lowered = self.lowered(max);
        let lowered: Vec<String> =
            lowered.iter().map(|(name, value)| format!("{name} to at most {value}")).collect();
        let raised = total.div_ceil(MIB);
        let _ = match lowered.as_slice() {
            [] => write!(said, "\n  help: lower several of these limits"),
            some => write!(said, "\n  help: lower {}", some.join(", or ")),
        };
        let _ = write!(said, "; or raise memory_bytes_max to at least \"{raised}MiB\"");
        Some(said)
    }
}
