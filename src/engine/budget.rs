//! What an engine will reserve, and what each feature costs, told before anything is reserved.
//!
//! A [`Budget`] follows from a program and [`Limits`] alone. Its sums are those that [`Engine::new`](super::Engine::new)
//! reserves by (`tests/budget.rs` counts what the allocator is asked for), but for the program's own tables, a few KiB.
//! What an event adds to a key that has so many already is [`GroupBudget::spill_bytes_of`]; the engine's own footprint is
//! held against it.

mod refusal;
#[cfg(test)]
mod tests;
mod work;

use super::ahead::Ahead;
use super::dedup::Dedup;
use super::gather::Gathered;
use super::lists::Edits;
use super::matching::Matches;
use super::models::Models;
use super::plan::Plan;
use super::program::{
    ArchivedAgg, ArchivedAssume, ArchivedFeaturePlan, ArchivedGroupPlan, ArchivedProgram, ArchivedTerm,
    Assume, GROUP_HEADER_WORDS, NONE,
};
use super::rates::Rates;
use super::rows::TIERS;
use super::shared::{Form, Shared};
use super::sketch::Sketched;
use super::spill::{Spill, slab_bytes};
use super::table::Table;
use super::tree::{FANOUT, LEAF_LEVEL, LEAF_ROWS};
use super::units::Value;
use super::windows::Scratch;
use super::{LimitError, Limits};
use std::borrow::Cow;

pub use refusal::{Item, tell_bytes};
pub use work::{Way, Work};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// By entity kind, then by pair of kinds.
    pub tables: Vec<TableBudget>,
    /// What is kept of events, in the order of the program.
    pub groups: Vec<GroupBudget>,
    /// In the order of the policy.
    pub features: Vec<FeatureBudget>,
    /// What it was reckoned with.
    pub limits: Limits,
    /// Bytes for rows that are not inside a record.
    pub spill_bytes: u64,
    /// Bytes for answering duplicates, their index included.
    pub dedup_bytes: u64,
    /// Bytes for edits of lists.
    pub edits_bytes: u64,
    /// Bytes for exchange rates.
    pub rates_bytes: u64,
    /// Bytes for what keys without a record share, so that upper bounds can be told.
    pub shared_bytes: u64,
    /// Bytes of models.
    pub models_bytes: u64,
    /// Bytes that one decision works with.
    pub working_bytes: u64,
    working: Working,
    /// By group.
    shared: Vec<Form>,
}

/// What working memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Working {
    /// What does not depend on the limits.
    fixed_bytes: u64,
    /// Whether some feature counts different things, for which there is a set.
    distinct: bool,
    /// Whether some feature is gathered row by row.
    gathers: bool,
}

/// The table of an entity kind, or of a pair of kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableBudget {
    /// The kind, or `(kind, kind)`.
    pub name: String,
    /// Whether it is of a pair.
    pub is_pair: bool,
    /// Bytes of a key's record; 0 where nothing is kept by this kind.
    pub record_bytes: u64,
    /// Bytes of the index and of the doorkeeper, for `keys_max` keys.
    pub index_bytes: u64,
    /// Bytes of `keys_max` records.
    pub records_bytes: u64,
}

impl TableBudget {
    /// Bytes of index and records, for `keys_max` keys.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index_bytes.saturating_add(self.records_bytes)
    }
}

/// What is kept of an event kind under one of its keys, or a pair of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupBudget {
    /// Index into [`Budget::tables`].
    pub table: usize,
    /// The event kind.
    pub event: String,
    /// The key field, or `(field, field)`.
    pub by: String,
    /// Bytes of an event's row.
    pub row_bytes: u64,
    /// Rows inside the record.
    pub inline_rows: u64,
    /// Bytes of the record that are this group's: its header and the rows inside.
    pub key_bytes: u64,
    /// The furthest that a feature looks back, µs. Rows are kept for this and the lateness.
    pub retention_us: i64,
    /// What a key takes beyond its record as its events come to be more: rows, and bytes of a slab for them.
    pub slabs: [(u64, u64); TIERS.len()],
    /// Beyond the largest slab there is a tree, of slabs half as large and of nodes for so many branches each: bytes of a node.
    pub node_bytes: u64,
    /// Bytes of an entry of a node.
    pub entry_bytes: u64,
    /// The most rows that are inside a record, which `rows_per_key_max` can make fewer than there is room for.
    inline_max: u64,
    /// The most rows of a key.
    rows_max: u64,
}

/// How near a feature's number is to what its definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// It is that number.
    Exact,
    /// Exact, of weights that are those of a fixed-point table; the sum rounded to millionths.
    OfTable,
    /// Rounded down to six digits after the point.
    RoundedDown,
    /// Rounded to whole metres.
    Metres,
    /// Of a distance rounded to whole metres, exact.
    OfMetres,
    /// Exact where no more events qualify than so many; else a bound.
    UpTo(i64, Assume),
}

impl Exactness {
    fn of(feature: &ArchivedFeaturePlan) -> Self {
        match feature.agg {
            _ if feature.is_sketched() => {
                let is_high = feature.assume == Some(ArchivedAssume::High);
                let bound = if is_high { Assume::High } else { Assume::Low };
                Self::UpTo(feature.argument.to_native(), bound)
            }
            ArchivedAgg::DecayedCount | ArchivedAgg::DecayedSum => Self::OfTable,
            ArchivedAgg::Stddev => Self::RoundedDown,
            ArchivedAgg::Distance => Self::Metres,
            ArchivedAgg::Speed => Self::OfMetres,
            _ => Self::Exact,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> Cow<'static, str> {
        let words = match self {
            Self::Exact => "exact",
            Self::OfTable => "exact, of a fixed-point table",
            Self::RoundedDown => "rounded down to six digits",
            Self::Metres => "rounded to whole metres",
            Self::OfMetres => "exact, of whole metres",
            Self::UpTo(events, assume) => {
                let bound = if assume == Assume::High { "an upper" } else { "a lower" };
                return format!("exact up to {events} events, above that {bound} bound").into();
            }
        };
        words.into()
    }
}

/// What one feature needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureBudget {
    /// Its name.
    pub name: String,
    /// How near it is to what its definition says.
    pub exactness: Exactness,
    /// How it is computed.
    pub way: Way,
    /// How far it looks back, µs: its delay and the length of its frame.
    pub horizon_us: i64,
    /// What it reads: indexes into [`Budget::groups`].
    pub groups: Vec<usize>,
    /// Bytes of a key's record that hold what it reads, which other features may read too.
    pub key_bytes: u64,
    /// Bytes of an event's rows that it reads from, which other features may read too.
    pub event_bytes: u64,
    /// Of these, those that are there for it alone: the whole row where no other feature reads from it, else the values
    /// and keys that no other aggregates. Bits of conditions are not reckoned.
    pub own_event_bytes: u64,
    /// The most that one decision does for it, and for those that share the work.
    pub work: Work,
}

impl Budget {
    /// Reckons up. Limits that the engine refuses have a budget all the same.
    pub fn new(program: &ArchivedProgram, limits: &Limits) -> Result<Self, LimitError> {
        let plan = Plan::new(program, limits);
        let table = |table: &super::plan::TableSpec| {
            let (index_bytes, records_bytes) = Table::bytes_for(table.record_words, limits.keys_max);
            TableBudget {
                name: table.name.clone(),
                is_pair: table.is_pair,
                record_bytes: 8 * table.record_words as u64,
                index_bytes,
                records_bytes,
            }
        };
        let groups: Vec<GroupBudget> =
            (0..plan.groups.len()).map(|number| group(program, &plan, number)).collect();
        let features = program.features.iter().enumerate();
        let features =
            features.map(|(number, feature)| self::feature(program, &plan, &groups, number, feature));
        let features = features.collect();
        let working = Working {
            fixed_bytes: fixed_bytes(program, &plan),
            distinct: plan.bounds.distinct,
            gathers: plan.bounds.gathers,
        };
        Ok(Self {
            tables: plan.tables.iter().map(table).collect(),
            groups,
            features,
            limits: *limits,
            spill_bytes: Spill::bytes_for(limits.spill_bytes_max),
            dedup_bytes: Dedup::bytes_for(limits.dedup_entries_max),
            edits_bytes: Edits::BYTES,
            models_bytes: program.models.iter().map(|model| model.model.bytes().all as u64).sum(),
            rates_bytes: Rates::bytes_for(program),
            shared_bytes: shared_bytes(&plan.shared, limits),
            working_bytes: working.bytes(limits),
            working,
            shared: plan.shared,
        })
    }

    /// All that is reserved.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_with(&self.limits)
    }

    /// All that would be reserved with other limits.
    fn total_with(&self, limits: &Limits) -> u64 {
        let tables = self.tables.iter().map(|table| {
            let (index, records) = Table::bytes_for(table.record_bytes as usize / 8, limits.keys_max);
            index.saturating_add(records)
        });
        let others = [
            Spill::bytes_for(limits.spill_bytes_max),
            Dedup::bytes_for(limits.dedup_entries_max),
            self.edits_bytes,
            self.models_bytes,
            self.rates_bytes,
            shared_bytes(&self.shared, limits),
            self.working.bytes(limits),
        ];
        tables.chain(others).fold(0, u64::saturating_add)
    }
}

fn shared_bytes(forms: &[Form], limits: &Limits) -> u64 {
    forms.iter().map(|form| Shared::bytes_for(form, limits.keys_max)).fold(0, u64::saturating_add)
}

impl Working {
    fn bytes(&self, limits: &Limits) -> u64 {
        // As `Engine::new` has it: rows of the record on top, where the bound is smaller, and the event's own.
        let rows_max = limits.rows_per_key_max as usize + 64 + 1;
        let set = if self.distinct { Scratch::set_bytes_for(rows_max) } else { 0 };
        self.fixed_bytes + set + if self.gathers { Gathered::bytes_for(rows_max) } else { 0 }
    }
}

/// Working memory whatever the limits are.
fn fixed_bytes(program: &ArchivedProgram, plan: &Plan) -> u64 {
    let rules = program.rules.len() * (2 * size_of::<u16>() + size_of::<bool>());
    let words = 8 * plan.bounds.staged_words + size_of::<Value>() * plan.registers;
    let ahead = Ahead::bytes_for(plan.bounds.keys);
    let matches = Matches::bytes_for(plan.bounds.operands, program.rules.len()) + plan.bounds.matcher_bytes;
    let models = Models::reserve(program).bytes();
    (rules + matches + words + models + size_of::<u32>() * plan.tables.len()) as u64
        + ahead
        + Scratch::bytes_for(plan)
        + Sketched::bytes_for(plan.bounds.sketched_rows)
}

fn index(number: rkyv::rend::u16_le) -> usize {
    usize::from(number.to_native())
}

/// The key field that a group is by, or both of a pair.
fn role(program: &ArchivedProgram, group: &ArchivedGroupPlan) -> String {
    let fields = &program.events[index(group.event)].fields;
    let first = fields[index(group.role)].name.as_str();
    match group.second_role.to_native() {
        NONE => first.to_owned(),
        second => format!("({first}, {})", fields[usize::from(second)].name),
    }
}

fn group(program: &ArchivedProgram, plan: &Plan, number: usize) -> GroupBudget {
    let (group, shape) = (&program.groups[number], &plan.groups[number].shape);
    let (inline_rows, row_words) = (index(group.inline_rows), index(group.row_words));
    let (inline_max, rows_max) = shape.rows_max();
    let mut level = 0;
    GroupBudget {
        table: index(group.table),
        event: program.events[index(group.event)].name.as_str().to_owned(),
        by: role(program, group),
        row_bytes: 8 * row_words as u64,
        inline_rows: inline_rows as u64,
        key_bytes: 8 * (GROUP_HEADER_WORDS + inline_rows * row_words) as u64,
        retention_us: group.retention_us.to_native(),
        slabs: TIERS.map(|rows| {
            level += 1;
            (rows as u64, slab_bytes(shape.class_of(level)))
        }),
        node_bytes: slab_bytes(shape.node_class),
        entry_bytes: 8 * shape.entry_words as u64,
        inline_max: inline_max as u64,
        rows_max: rows_max as u64,
    }
}

impl GroupBudget {
    /// Bytes beyond its record that a key takes for so many events which came in the order of their times and of which
    /// none is out of reach. From about `rows_per_key_max` events on it stays where it is, give or take a chunk.
    #[must_use]
    pub fn spill_bytes_of(&self, events: u64) -> u64 {
        let events = events.min(self.rows_max);
        // The older half of those inside goes whenever there is no room.
        let half = self.inline_max.div_ceil(2).max(1);
        let beyond = events.saturating_sub(self.inline_max).div_ceil(half) * half;
        if let Some((_, bytes)) = self.slab_for(beyond.min(self.rows_max - self.inline_max)) {
            return bytes;
        }
        let leaves = beyond.min(self.rows_max - self.inline_max).div_ceil(LEAF_ROWS as u64);
        let (mut nodes, mut level) = (0, leaves);
        while level > 1 {
            level = level.div_ceil(FANOUT as u64);
            nodes += level;
        }
        leaves * self.leaf_bytes() + nodes * self.node_bytes
    }

    /// Bytes beyond its record that a key with so many events kept, and never more, can take at most, in whatever order they
    /// came: then slabs and nodes can be half full.
    #[must_use]
    pub fn spill_bytes_at_most(&self, events: u64) -> u64 {
        let events = events.min(self.rows_max);
        if let Some((_, bytes)) = self.slab_for(events) {
            return bytes;
        }
        let leaves = work::leaves_max(events);
        leaves * self.leaf_bytes() + work::nodes_max(events) * self.node_bytes
    }

    /// The slab for so many rows; of none there is none, and of more than all hold.
    fn slab_for(&self, rows: u64) -> Option<(u64, u64)> {
        match rows {
            0 => Some((0, 0)),
            _ => self.slabs.into_iter().find(|&(capacity, _)| rows <= capacity),
        }
    }

    fn leaf_bytes(&self) -> u64 {
        self.slabs[usize::from(LEAF_LEVEL) - 1].1
    }
}

/// The columns that a term aggregates.
fn columns(program: &ArchivedProgram, agg: ArchivedAgg, term: &ArchivedTerm) -> Vec<usize> {
    let group = &program.groups[index(term.group)];
    match agg {
        _ if term.value.to_native() == NONE => Vec::new(),
        ArchivedAgg::DistinctKeys | ArchivedAgg::ShareKeys | ArchivedAgg::SeenKey => {
            let column = index(group.keys[index(term.value)].column);
            vec![column, column + 1]
        }
        _ => vec![index(group.columns[index(term.value)].column)],
    }
}

fn feature(
    program: &ArchivedProgram,
    plan: &Plan,
    groups: &[GroupBudget],
    number: usize,
    feature: &ArchivedFeaturePlan,
) -> FeatureBudget {
    let mut read: Vec<usize> = feature.terms.iter().map(|term| index(term.group)).collect();
    read.dedup();
    let others = || program.features.iter().enumerate().filter(|&(other, _)| other != number);
    let own_words = |&group: &usize| {
        let reads = |term: &&ArchivedTerm| index(term.group) == group;
        let others: Vec<_> = others()
            .flat_map(|(_, other)| other.terms.iter().filter(reads).map(|term| (other.agg, term)))
            .collect();
        if others.is_empty() {
            return groups[group].row_bytes / 8;
        }
        let theirs: Vec<usize> =
            others.into_iter().flat_map(|(agg, term)| columns(program, agg, term)).collect();
        let own = feature.terms.iter().filter(reads).flat_map(|term| columns(program, feature.agg, term));
        let mut own: Vec<usize> = own.filter(|column| !theirs.contains(column)).collect();
        own.sort_unstable();
        own.dedup();
        own.len() as u64
    };
    let reach = |frame: &super::program::ArchivedFrame, delay: i64| frame.reach_us().saturating_add(delay);
    let horizon = reach(&feature.frame, feature.delay_us.to_native());
    let against = feature.against.as_ref();
    let against = against.map_or(0, |against| reach(&against.frame, against.delay_us.to_native()));
    let is_scalar = feature.agg == ArchivedAgg::Scalar;
    let (way, work) = work::of_feature(plan, groups, number, is_scalar);
    FeatureBudget {
        name: feature.name.as_str().to_owned(),
        exactness: Exactness::of(feature),
        way,
        horizon_us: if is_scalar { 0 } else { horizon.max(against) },
        key_bytes: read.iter().map(|&group| groups[group].key_bytes).sum(),
        event_bytes: read.iter().map(|&group| groups[group].row_bytes).sum(),
        own_event_bytes: 8 * read.iter().map(own_words).sum::<u64>(),
        groups: read,
        work,
    }
}
