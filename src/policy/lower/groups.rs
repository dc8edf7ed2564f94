//! What is stored: which bits and columns of an event are kept under a key or a pair of keys, where in the row, and how
//! many rows fit into a record.
//!
//! An expression that mentions no amendment is computed once, when the event enters. One that does is cut: its
//! greatest parts without amendments that can be stored exactly become columns of their own, the amendment's
//! fields become columns that the amendment sets, and `derive` computes the rest whenever one of them changes.

use super::code::{Code, Target};
use super::expressions::{Graph, Load, Node, NodeId};
use super::layout::EventLayout;
use super::zones::Zones;
use super::{EMPTY, bound};
use crate::engine::program::{
    AmendPlan, BitPlan, BitRef, ColumnPlan, GROUP_HEADER_WORDS, GroupPlan, KeyColumn, NONE, Origin, PairPlan,
    STAMP_BITS,
};
use crate::engine::validate::{INLINE_ROWS_MAX, PAIR_HEADER_WORDS, RECORD_HEADER_WORDS, RECORD_WORDS_MAX};
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{By, EventIx, Expr, FieldIx, Policy};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Words of the smallest record: 320 bytes, or seventeen rows of one value.
const RECORD_WORDS: usize = 40;
/// Rows that every group keeps in the record.
const INLINE_ROWS_MIN: usize = 4;

/// The groups being collected while features are read.
pub(super) struct Groups<'p> {
    policy: &'p Policy,
    layouts: &'p [EventLayout],
    /// One graph per event whose rows are kept.
    graphs: BTreeMap<EventIx, Graph<'p>>,
    groups: Vec<Group>,
    /// The pairs of kinds that something is kept by, in order of their first use. Their tables come after those of the
    /// kinds.
    pairs: Vec<(u16, u16)>,
}

/// The finished groups, and the records of the tables they are in.
pub(super) struct Tables {
    pub(super) groups: Vec<GroupPlan>,
    /// By entity kind.
    pub(super) record_words: Vec<u16>,
    pub(super) pairs: Vec<PairPlan>,
}

struct Group {
    table: u16,
    event: EventIx,
    role: By<FieldIx>,
    retention_us: i64,
    /// Whether a feature asks which of two rows of one time is the later.
    ordered: bool,
    filters: Vec<NodeId>,
    values: Vec<NodeId>,
    keys: Vec<FieldIx>,
}

impl<'p> Groups<'p> {
    pub(super) fn new(policy: &'p Policy, layouts: &'p [EventLayout]) -> Self {
        Self { policy, layouts, graphs: BTreeMap::new(), groups: Vec::new(), pairs: Vec::new() }
    }

    /// The group of this event under this key or pair of keys, kept for at least so long, and in order if `ordered`.
    pub(super) fn of(
        &mut self,
        event: EventIx,
        role: By<FieldIx>,
        retention_us: i64,
        ordered: bool,
    ) -> Result<u16, Diagnostic> {
        let known = self.groups.iter().position(|group| (group.event, group.role) == (event, role));
        if let Some(index) = known {
            let group = &mut self.groups[index];
            group.retention_us = group.retention_us.max(retention_us);
            group.ordered |= ordered;
            return Ok(index as u16);
        }
        let kinds = role.try_map(|field| self.layouts[event.index()].key(field).map(|(kind, _)| kind));
        let kinds = kinds.ok_or_else(|| {
            bound(
                format!("a role of event {} is not a key", self.policy.events[event.index()].name),
                "count by an entity field",
            )
        })?;
        let table = match kinds {
            By::One(kind) => kind,
            By::Pair(first, second) => {
                self.policy.entities.len() as u16 + place(&mut self.pairs, (first, second))
            }
        };
        let (policy, layouts) = (self.policy, self.layouts);
        self.graphs.entry(event).or_insert_with(|| Graph::stored(policy, layouts, event));
        self.groups.push(Group {
            table,
            event,
            role,
            retention_us,
            ordered,
            filters: Vec::new(),
            values: Vec::new(),
            keys: Vec::new(),
        });
        Ok((self.groups.len() - 1) as u16)
    }

    fn graph(&mut self, group: u16) -> (&mut Group, &mut Graph<'p>) {
        let group = &mut self.groups[usize::from(group)];
        let (policy, layouts, event) = (self.policy, self.layouts, group.event);
        (group, self.graphs.entry(event).or_insert_with(|| Graph::stored(policy, layouts, event)))
    }

    /// The group's bit for this filter.
    pub(super) fn bit(&mut self, group: u16, zones: &mut Zones, filter: &Expr) -> Result<u16, Diagnostic> {
        let (group, graph) = self.graph(group);
        let node = graph.intern(zones, filter)?;
        Ok(place(&mut group.filters, node))
    }

    /// The group's column for this value.
    pub(super) fn value(&mut self, group: u16, zones: &mut Zones, value: &Expr) -> Result<u16, Diagnostic> {
        let (group, graph) = self.graph(group);
        let node = graph.intern(zones, value)?;
        let scale = graph.field_scale(value);
        let node = graph.storable(node, scale);
        Ok(place(&mut group.values, node))
    }

    /// The group's key column for this field.
    pub(super) fn key(&mut self, group: u16, field: FieldIx) -> Result<u16, Diagnostic> {
        let group = &mut self.groups[usize::from(group)];
        if self.layouts[group.event.index()].key(field).is_none() {
            return Err(bound(format!("field {} is not a key", field.0), "count different values instead"));
        }
        Ok(place(&mut group.keys, field))
    }

    /// Writes the plans, and the words of each table's record.
    pub(super) fn finish(self, code: &mut Code) -> Result<Tables, Diagnostic> {
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            groups.push(plan(group, &self.graphs[&group.event], &self.layouts[group.event.index()], code)?);
        }
        let mut pack = |table: usize, name: &str, header: usize| {
            let in_it = groups.iter_mut().filter(|plan| usize::from(plan.table) == table).collect();
            pack_record(name, header, in_it)
        };
        let entities = &self.policy.entities;
        let mut record_words = Vec::with_capacity(entities.len());
        for (entity, name) in entities.iter().enumerate() {
            record_words.push(pack(entity, name, RECORD_HEADER_WORDS)?);
        }
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (at, &(first, second)) in self.pairs.iter().enumerate() {
            let name = format!("({}, {})", entities[usize::from(first)], entities[usize::from(second)]);
            let record_words = pack(entities.len() + at, &name, PAIR_HEADER_WORDS)?;
            pairs.push(PairPlan { first, second, record_words });
        }
        Ok(Tables { groups, record_words, pairs })
    }
}

/// The place of `item` in `list`, where it is put if it is not there.
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> u16 {
    let place = list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    });
    place as u16
}

/// What amended expressions are computed from.
#[derive(Default)]
struct Parts {
    /// Stored when the event enters.
    own: BTreeSet<NodeId>,
    /// Set by an amendment.
    amended: BTreeMap<NodeId, (u16, Load)>,
    /// Whether an amendment of a kind was applied.
    applied: BTreeMap<NodeId, u16>,
}

impl Parts {
    fn of(graph: &Graph<'_>, roots: impl Iterator<Item = NodeId>) -> Self {
        let mut parts = Self::default();
        let mut open: Vec<NodeId> = roots.collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            match graph.node(id) {
                Node::Amended(event, load) => _ = parts.amended.insert(id, (event, load)),
                Node::Applied(event) => _ = parts.applied.insert(id, event),
                Node::Const { .. } => {}
                _ if !graph.is_amended(id) && graph.scale(id).den().is_some() => _ = parts.own.insert(id),
                _ => open.extend(graph.children(id)),
            }
        }
        parts
    }
}

/// Gives out the columns of a row.
struct Row {
    words: usize,
    /// Bits given out, and the columns they are in (laid out before all others of unknown number).
    bits: usize,
    bits_columns: Vec<u16>,
}

impl Row {
    fn columns(&mut self, count: usize) -> u16 {
        self.words += count;
        (self.words - count) as u16
    }

    /// The first ones go below the time.
    fn bit(&mut self) -> BitRef {
        let at = match self.bits.checked_sub(STAMP_BITS as usize) {
            None => BitRef { column: 0, bit: self.bits as u8 },
            Some(bit) => BitRef { column: self.bits_columns[bit / 64], bit: (bit % 64) as u8 },
        };
        self.bits += 1;
        at
    }
}

fn plan(
    group: &Group,
    graph: &Graph<'_>,
    layout: &EventLayout,
    code: &mut Code,
) -> Result<GroupPlan, Diagnostic> {
    let wanted = || group.values.iter().chain(&group.filters).copied();
    let parts = Parts::of(graph, wanted().filter(|id| graph.is_amended(*id)));
    let mut kinds: Vec<u16> =
        parts.amended.values().map(|(event, _)| *event).chain(parts.applied.values().copied()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let amend_of = |event: u16| kinds.iter().position(|kind| *kind == event).unwrap_or(0) as u16;

    // Which columns there are: those that features read first, at the places they were promised.
    let mut columns = group.values.clone();
    let inputs = parts.own.iter().chain(parts.amended.keys()).copied();
    columns.extend(inputs.filter(|id| !group.values.contains(id)));

    // Code when the event enters.
    let own_roots: Vec<NodeId> =
        columns.iter().chain(&group.filters).copied().filter(|id| !graph.is_amended(*id)).collect();
    let keep = |roots: &[NodeId]| roots.iter().map(|id| (*id, Target::Keep)).collect::<Vec<_>>();
    let (ingest, own_registers) = code.emit(graph, &keep(&own_roots), &HashMap::new())?;
    let mut registers: HashMap<NodeId, u16> = own_roots.iter().copied().zip(own_registers).collect();

    // Code of each amendment: it only reads.
    let mut amend_codes = Vec::with_capacity(kinds.len());
    let mut applied_registers = Vec::with_capacity(kinds.len());
    for kind in &kinds {
        let mut loads = Vec::new();
        for (id, (event, load)) in &parts.amended {
            if event == kind {
                let register = code.register()?;
                registers.insert(*id, register);
                loads.push((*load, register));
            }
        }
        amend_codes.push(code.loads(&loads)?);
        applied_registers.push(code.register()?);
    }
    for (id, event) in &parts.applied {
        registers.insert(*id, applied_registers[usize::from(amend_of(*event))]);
    }

    // Code over registers alone. It may start from what is loaded from a row, and from nothing else: the register
    // of an own bit, say, is only set while the event enters.
    let loaded = |id: &NodeId| columns.contains(id) || parts.applied.contains_key(id);
    let given =
        registers.iter().filter(|(id, _)| loaded(id)).map(|(id, register)| (*id, *register)).collect();
    let derived_roots: Vec<NodeId> = wanted().filter(|id| graph.is_amended(*id)).collect();
    let (derive, derived_registers) = code.emit(graph, &keep(&derived_roots), &given)?;
    registers.extend(derived_roots.into_iter().zip(derived_registers));

    // The row: time, id, bits, values, keys, versions.
    let bit_count = group.filters.len() + columns.len() + group.keys.len() + kinds.len();
    let mut row = Row { words: 1, bits: 0, bits_columns: Vec::new() };
    let id_column = if kinds.is_empty() && !group.ordered { NONE } else { row.columns(1) };
    for _ in 0..bit_count.saturating_sub(STAMP_BITS as usize).div_ceil(64) {
        let column = row.columns(1);
        row.bits_columns.push(column);
    }
    let bits = group.filters.iter().map(|id| BitPlan {
        register: registers[id],
        at: row.bit(),
        derived: graph.is_amended(*id),
    });
    let bits = bits.collect();
    let mut column_plans = Vec::with_capacity(columns.len());
    for id in &columns {
        let origin = match graph.node(*id) {
            Node::Amended(event, _) => Origin::Amend(amend_of(event)),
            _ if graph.is_amended(*id) => Origin::Derived,
            _ => Origin::Own,
        };
        column_plans.push(ColumnPlan {
            register: registers[id],
            column: row.columns(1),
            den: graph.scale(*id).den().unwrap_or(1),
            present: row.bit(),
            origin,
        });
    }
    let mut keys = Vec::with_capacity(group.keys.len());
    for field in &group.keys {
        let slot = layout.slot(*field);
        keys.push(KeyColumn { word: slot.word, bit: slot.bit, column: row.columns(2), present: row.bit() });
    }
    let mut amends = Vec::with_capacity(kinds.len());
    for ((kind, code), applied_register) in kinds.iter().zip(amend_codes).zip(applied_registers) {
        amends.push(AmendPlan {
            event: *kind,
            version_column: row.columns(2),
            applied: row.bit(),
            applied_register,
            code,
        });
    }
    Ok(GroupPlan {
        table: group.table,
        event: group.event.0,
        role: group.role.first().0,
        second_role: group.role.second().map_or(NONE, |field| field.0),
        row_words: row.words.min(usize::from(NONE)) as u16,
        record_word: 0,
        inline_rows: 0,
        retention_us: group.retention_us,
        id_column,
        bits_columns: row.bits_columns,
        columns: column_plans,
        keys,
        bits,
        ingest,
        derive: if amends.is_empty() { EMPTY } else { derive },
        amends,
    })
}

/// Gives each group its block of the record, and rows in it as even as they fit; returns the record's words.
fn pack_record(table: &str, header: usize, mut groups: Vec<&mut GroupPlan>) -> Result<u16, Diagnostic> {
    if groups.is_empty() {
        return Ok(0);
    }
    let block = |group: &GroupPlan, rows: usize| GROUP_HEADER_WORDS + rows * usize::from(group.row_words);
    let least: usize = groups.iter().map(|group| block(group, INLINE_ROWS_MIN)).sum();
    let words = (header + least).max(RECORD_WORDS).next_multiple_of(8);
    if words > RECORD_WORDS_MAX {
        return Err(bound(
            format!("a record of {table} would take {words} words of 8 bytes, more than {RECORD_WORDS_MAX}"),
            "use fewer different filters and values over the events counted by it",
        ));
    }
    let mut spare = words - header - least;
    let mut rows = vec![INLINE_ROWS_MIN; groups.len()];
    loop {
        let fits =
            |index: &usize| rows[*index] < INLINE_ROWS_MAX && usize::from(groups[*index].row_words) <= spare;
        let Some(next) = (0..groups.len()).filter(fits).min_by_key(|index| rows[*index]) else { break };
        rows[next] += 1;
        spare -= usize::from(groups[next].row_words);
    }
    let mut word = header;
    for (group, rows) in groups.iter_mut().zip(rows) {
        group.record_word = word as u16;
        group.inline_rows = rows as u16;
        word += block(group, rows);
    }
    Ok(words as u16)
}
