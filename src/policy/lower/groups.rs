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
    AmendPlan, BitPlan, BitRef, ColumnPlan, GROUP_HEADER_WORDS, GroupPlan, KeyColumn, LaneOf, LanePlan,
    ListPlan, NONE, Origin, Program, STAMP_BITS, TablePlan, Term,
};
use crate::engine::units::MINUTE;
use crate::engine::validate::{INLINE_ROWS_MAX, PAIR_HEADER_WORDS, RECORD_HEADER_WORDS, RECORD_WORDS_MAX};
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{By, EventIx, Expr, FieldIx, Policy};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Words of the smallest record: 320 bytes, or seventeen rows of one value.
const RECORD_WORDS: usize = 40;
/// Rows that every group keeps in the record.
const INLINE_ROWS_MIN: usize = 4;

/// The groups being collected while features are read.
///
/// Those of a program that is running already ([`Base`]) come first and stay as they are: the rows that they describe are
/// in memory. What a feature wants of events is found there, or kept in a group of its own from now on.
pub(super) struct Groups<'p> {
    policy: &'p Policy,
    layouts: &'p [EventLayout],
    base: Option<&'p Base<'p>>,
    /// One graph per event whose rows are kept.
    graphs: BTreeMap<EventIx, Graph<'p>>,
    groups: Vec<Group>,
    /// The tables beyond the first of each kind that are new, in order of their first use.
    tables: Vec<(u16, u16)>,
    /// By group of the base: how far back features look.
    reaches: Vec<i64>,
}

/// The program that is running, of which everything stored is kept.
pub struct Base<'p> {
    /// It.
    pub program: &'p Program,
    /// First word of its hash.
    pub hash: u64,
}

impl Base<'_> {
    /// Whether a table was added when a policy took over, and not there from the start.
    pub(super) fn is_added(&self, table: u16) -> bool {
        let number = usize::from(table).checked_sub(self.program.entities.len());
        number.is_some_and(|number| self.program.tables[number].added_to != 0)
    }
}

/// The finished groups, and the records of the tables they are in.
pub(super) struct Tables {
    pub(super) groups: Vec<GroupPlan>,
    /// By entity kind.
    pub(super) record_words: Vec<u16>,
    pub(super) tables: Vec<TablePlan>,
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
    lanes: Vec<LanePlan>,
    bounded: Vec<u16>,
    bounded_reaches: Vec<i64>,
}

/// What a feature wants of the rows of one event under one key.
pub(super) struct Want<'a> {
    pub(super) event: EventIx,
    pub(super) role: By<FieldIx>,
    /// How far back.
    pub(super) reach_us: i64,
    /// Whether it asks which of two rows of one time is the later.
    pub(super) ordered: bool,
    pub(super) filter: Option<&'a Expr>,
    pub(super) of: Wanted<'a>,
    pub(super) sums: Sums,
    /// Whether an upper bound is told where not all rows are known.
    pub(super) bounded: bool,
}

/// What of each row.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Nothing,
    Key(FieldIx),
    Value(&'a Expr),
    Place(FieldIx),
}

/// What the tree of a hot key has to keep for a feature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// Nothing: it looks at rows.
    None,
    /// How many rows there are, whatever is wanted of them.
    Counts,
    /// What is wanted, added up; the count where nothing is.
    Values,
}

/// A want, as the graph of its event has it.
struct Asked {
    filter: Option<NodeId>,
    value: Option<NodeId>,
    key: Option<FieldIx>,
    /// Whether there is an upper bound: not of what an amendment can change.
    bounded: bool,
}

impl<'p> Groups<'p> {
    pub(super) fn new(policy: &'p Policy, layouts: &'p [EventLayout], base: Option<&'p Base<'p>>) -> Self {
        let reaches = vec![0; base.map_or(0, |base| base.program.groups.len())];
        Self {
            policy,
            layouts,
            base,
            graphs: BTreeMap::new(),
            groups: Vec::new(),
            tables: Vec::new(),
            reaches,
        }
    }

    /// The terms of a feature, all in one table. Says why they are kept only from now on, where the program that is
    /// running does not keep them.
    pub(super) fn terms(
        &mut self,
        wants: &[Want<'_>],
        zones: &mut Zones,
    ) -> Result<(Vec<Term>, Option<String>), Diagnostic> {
        let mut asked = Vec::with_capacity(wants.len());
        for want in wants {
            asked.push(self.ask(want, zones)?);
        }
        let mut missing = None;
        if let Some(base) = self.base {
            match self.find(base, wants, &asked, zones) {
                Ok(terms) => {
                    for (term, want) in terms.iter().zip(wants) {
                        let reach = &mut self.reaches[usize::from(term.group)];
                        *reach = (*reach).max(want.reach_us);
                    }
                    return Ok((terms, None));
                }
                Err(why) => missing = Some(why),
            }
        }
        let mut terms = Vec::with_capacity(wants.len());
        for (want, asked) in wants.iter().zip(asked) {
            terms.push(self.add(want, &asked)?);
        }
        Ok((terms, missing))
    }

    fn ask(&mut self, want: &Want<'_>, zones: &mut Zones) -> Result<Asked, Diagnostic> {
        let (policy, layouts) = (self.policy, self.layouts);
        let graph =
            self.graphs.entry(want.event).or_insert_with(|| Graph::stored(policy, layouts, want.event));
        let filter = match want.filter {
            Some(filter) => Some(graph.intern(zones, filter)?),
            None => None,
        };
        let mut value = |expr: &Expr| -> Result<NodeId, Diagnostic> {
            let node = graph.intern(zones, expr)?;
            let scale = graph.field_scale(expr);
            Ok(graph.storable(node, scale))
        };
        let (value, key) = match want.of {
            Wanted::Nothing => (None, None),
            Wanted::Value(expr) => (Some(value(expr)?), None),
            Wanted::Place(field) => (Some(value(&Expr::Field(field))?), None),
            Wanted::Key(field) => {
                if layouts[want.event.index()].key(field).is_none() {
                    return Err(bound(
                        format!("field {} is not a key", field.0),
                        "count different values instead",
                    ));
                }
                (None, Some(field))
            }
        };
        let bounded = want.bounded && value.is_none_or(|value| !graph.is_amended(value));
        Ok(Asked { filter, value, key, bounded })
    }

    /// The kinds of the keys of a role.
    fn kinds(&self, event: EventIx, role: By<FieldIx>) -> Result<By<u16>, Diagnostic> {
        let kinds = role.try_map(|field| self.layouts[event.index()].key(field).map(|(kind, _)| kind));
        kinds.ok_or_else(|| {
            bound(
                format!("a role of event {} is not a key", self.policy.events[event.index()].name),
                "count by an entity field",
            )
        })
    }

    /// Adds what is wanted to the new group of this event under this key, which is made if there is none.
    fn add(&mut self, want: &Want<'_>, asked: &Asked) -> Result<Term, Diagnostic> {
        let place_of = |group: &Group| (group.event, group.role) == (want.event, want.role);
        let kept = self.base.map_or(0, |base| base.program.groups.len());
        let number = match self.groups.iter().position(place_of) {
            Some(number) => number,
            None => {
                let kinds = self.kinds(want.event, want.role)?;
                let entities = self.policy.entities.len() as u16;
                let table = match (kinds, self.base) {
                    (By::One(kind), None) => kind,
                    (kinds, base) => {
                        let before = base.map_or(0, |base| base.program.tables.len()) as u16;
                        let kinds = (kinds.first(), kinds.second().unwrap_or(NONE));
                        entities + before + place(&mut self.tables, kinds)
                    }
                };
                self.groups.push(Group {
                    table,
                    event: want.event,
                    role: want.role,
                    retention_us: 0,
                    ordered: false,
                    filters: Vec::new(),
                    values: Vec::new(),
                    keys: Vec::new(),
                    lanes: Vec::new(),
                    bounded: Vec::new(),
                    bounded_reaches: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[number];
        group.retention_us = group.retention_us.max(want.reach_us);
        group.ordered |= want.ordered;
        let filter = asked.filter.map_or(NONE, |filter| place(&mut group.filters, filter));
        let value = match (asked.value, asked.key) {
            (Some(value), _) => place(&mut group.values, value),
            (None, Some(key)) => place(&mut group.keys, key),
            (None, None) => NONE,
        };
        if let Some(lane) = lane(want, filter, value) {
            let lane = place(&mut group.lanes, lane);
            if asked.bounded {
                place(&mut group.bounded, lane);
            }
        } else if asked.bounded {
            // All rows, counted.
            place(&mut group.bounded, NONE);
        }
        if asked.bounded {
            place(&mut group.bounded_reaches, want.reach_us);
        }
        Ok(Term { group: (kept + number) as u16, filter, value })
    }

    /// The same terms in groups that are kept already, or why there are none.
    fn find(
        &self,
        base: &Base<'_>,
        wants: &[Want<'_>],
        asked: &[Asked],
        zones: &Zones,
    ) -> Result<Vec<Term>, String> {
        let mut why = None;
        let tables = base.program.entities.len() + base.program.tables.len();
        for table in 0..tables {
            let terms: Result<Vec<Term>, Option<String>> = wants
                .iter()
                .zip(asked)
                .map(|(want, asked)| self.find_in(base, table as u16, want, asked, zones))
                .collect();
            match terms {
                Ok(terms) => return Ok(terms),
                Err(reason) => why = why.or(reason),
            }
        }
        Err(why.unwrap_or_else(|| {
            let want = &wants[0];
            let event = &self.policy.events[want.event.index()];
            let by: Vec<&str> =
                want.role.each().map(|field| event.fields[field.index()].name.as_str()).collect();
            format!("no {} is kept by {}", event.name, by.join(", "))
        }))
    }

    /// One term in a group of this table; the reason why not where there is such a group.
    fn find_in(
        &self,
        base: &Base<'_>,
        table: u16,
        want: &Want<'_>,
        asked: &Asked,
        zones: &Zones,
    ) -> Result<Term, Option<String>> {
        let second = want.role.second().map_or(NONE, |field| field.0);
        let place_of = |group: &GroupPlan| {
            (group.table, group.event, group.role, group.second_role)
                == (table, want.event.0, want.role.first().0, second)
        };
        let number = base.program.groups.iter().position(place_of).ok_or(None)?;
        let group = &base.program.groups[number];
        let event = &self.policy.events[want.event.index()].name;
        let because = |reason: String| Err(Some(reason));
        if group.retention_us < want.reach_us {
            let (kept, wanted) = (hours(group.retention_us), hours(want.reach_us));
            return because(format!("{event} is kept for {kept}, and this looks back {wanted}"));
        }
        if want.ordered && group.id_column == NONE {
            return because(format!("the order of {event} within one microsecond is not kept"));
        }
        let graph = &self.graphs[&want.event];
        let filter = match asked.filter {
            None => NONE,
            Some(node) => {
                let wanted = graph.meaning_of(node, zones);
                let known = group.bits.iter().position(|bit| bit.definition == wanted);
                match known {
                    Some(bit) => bit as u16,
                    None => {
                        return because(format!("whether this `where` holds is not kept of {event}"));
                    }
                }
            }
        };
        let value = match (asked.value, asked.key) {
            (Some(node), _) => {
                let wanted = graph.meaning_of(node, zones);
                let known = group.columns.iter().position(|column| column.definition == wanted);
                known.ok_or_else(|| Some(format!("this value of {event} is not kept")))? as u16
            }
            (None, Some(field)) => {
                let slot = self.layouts[want.event.index()].slot(field);
                let known = group.keys.iter().position(|key| (key.word, key.bit) == (slot.word, slot.bit));
                let name = &self.policy.events[want.event.index()].fields[field.index()].name;
                known.ok_or_else(|| Some(format!("{name} of {event} is not kept")))? as u16
            }
            (None, None) => NONE,
        };
        let lane = match lane(want, filter, value) {
            None => NONE,
            Some(lane) => match group.lanes.iter().position(|known| *known == lane) {
                Some(lane) => lane as u16,
                None => return because(format!("sums of these rows of {event} are not kept for busy keys")),
            },
        };
        if asked.bounded {
            let covered = group.bounded_reaches.iter().any(|reach| *reach >= want.reach_us);
            if !group.bounded.contains(&lane) || !covered {
                return because(format!("upper bounds of these rows of {event} are not kept"));
            }
        }
        Ok(Term { group: number as u16, filter, value })
    }

    /// Writes the plans, and the words of each table's record.
    pub(super) fn finish(self, code: &mut Code, moved: &mut Moved<'_>) -> Result<Tables, Diagnostic> {
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let (graph, layout) = (&self.graphs[&group.event], &self.layouts[group.event.index()]);
            groups.push(plan(group, graph, layout, code, moved.zones)?);
        }
        let mut pack = |table: usize, name: &str, header: usize| {
            let in_it = groups.iter_mut().filter(|plan| usize::from(plan.table) == table).collect();
            pack_record(name, header, in_it)
        };
        let entities = &self.policy.entities;
        let mut record_words = Vec::with_capacity(entities.len());
        let mut tables = Vec::with_capacity(self.tables.len());
        if let Some(base) = self.base {
            record_words.extend(base.program.entities.iter().map(|entity| entity.record_words));
            tables.extend_from_slice(&base.program.tables);
        } else {
            for (entity, name) in entities.iter().enumerate() {
                record_words.push(pack(entity, name, RECORD_HEADER_WORDS)?);
            }
        }
        for &(first, second) in &self.tables {
            let first_name = &entities[usize::from(first)];
            let (name, header) = match second {
                NONE => (first_name.clone(), RECORD_HEADER_WORDS),
                second => (format!("({first_name}, {})", entities[usize::from(second)]), PAIR_HEADER_WORDS),
            };
            let record_words = pack(entities.len() + tables.len(), &name, header)?;
            let added_to = self.base.map_or(0, |base| base.hash);
            tables.push(TablePlan { first, second, record_words, added_to });
        }
        if let Some(base) = self.base {
            let mut kept = Vec::with_capacity(base.program.groups.len() + groups.len());
            for (group, reach_us) in base.program.groups.iter().zip(self.reaches) {
                kept.push(GroupPlan { reach_us, ..keep(group, base.program, code, moved)? });
            }
            kept.append(&mut groups);
            groups = kept;
        }
        Ok(Tables { groups, record_words, tables })
    }
}

fn hours(span_us: i64) -> String {
    let minutes = span_us / MINUTE;
    if minutes % 60 == 0 { format!("{} h", minutes / 60) } else { format!("{minutes} min") }
}

/// The lane that a want needs, but for that of all rows, counted, which is always there.
fn lane(want: &Want<'_>, filter: u16, value: u16) -> Option<LanePlan> {
    let of = match (want.sums, want.of) {
        (Sums::None, _) => return None,
        (_, Wanted::Nothing) if filter == NONE => return None,
        (_, Wanted::Nothing) => LaneOf::Rows,
        (Sums::Counts, Wanted::Key(_)) => LaneOf::Keys(value),
        (Sums::Counts, _) => LaneOf::Values(value),
        (Sums::Values, _) => LaneOf::Sums(value),
    };
    Some(LanePlan { filter, of })
}

/// Where the code of groups that are kept goes: everything that it names by number has another number now.
pub(super) struct Moved<'a> {
    pub(super) policy: &'a Policy,
    pub(super) zones: &'a mut Zones,
    /// Lists that the policy does not have any more, but rows that are kept ask for.
    pub(super) lists: Vec<ListPlan>,
    /// By old register.
    pub(super) registers: HashMap<u16, u16>,
}

impl Moved<'_> {
    /// The number of a list: the policy's own if that is the same, entries included, else that which rows are kept by.
    pub(super) fn list(&mut self, base: &Program, number: usize) -> u32 {
        let kept = &base.lists[number];
        let number = self.zones.same_list(kept).unwrap_or_else(|| {
            let place = self.lists.iter().position(|list| list == kept);
            self.policy.lists.len()
                + place.unwrap_or_else(|| {
                    self.lists.push(kept.clone());
                    self.lists.len() - 1
                })
        });
        number as u32
    }
}

/// A group as it is kept, its code written anew.
fn keep(
    group: &GroupPlan,
    base: &Program,
    code: &mut Code,
    moved: &mut Moved<'_>,
) -> Result<GroupPlan, Diagnostic> {
    let ingest = code.take_over(base, group.ingest, moved)?;
    let derive = code.take_over(base, group.derive, moved)?;
    let mut kept = GroupPlan { ingest, derive, ..group.clone() };
    for amend in &mut kept.amends {
        amend.code = code.take_over(base, amend.code, moved)?;
        amend.applied_register = code.moved_register(amend.applied_register, moved)?;
    }
    for column in &mut kept.columns {
        column.register = code.moved_register(column.register, moved)?;
    }
    for bit in &mut kept.bits {
        bit.register = code.moved_register(bit.register, moved)?;
    }
    Ok(kept)
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
    zones: &Zones,
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
        definition: graph.meaning_of(*id, zones),
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
            definition: graph.meaning_of(*id, zones),
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
        reach_us: group.retention_us,
        id_column,
        bits_columns: row.bits_columns,
        columns: column_plans,
        keys,
        bits,
        ingest,
        derive: if amends.is_empty() { EMPTY } else { derive },
        amends,
        lanes: group.lanes.clone(),
        bounded: group.bounded.clone(),
        bounded_reaches: group.bounded_reaches.clone(),
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
