//! The program's tables as native structs, so that the hot path follows no archived offsets.
//!
//! Made once by [`Plan::new`] from a validated program. Runs of instructions stay in the archive; the engine reads
//! them there.

mod levels;
mod recipe;
#[cfg(test)]
mod tests;

use super::Limits;
use super::amend::fixed_row;
use super::decode::{Decoded, EventForm};
use super::direct::{Direct, Number, Told};
use super::frames::Frame;
use super::gather::{Gather, Wanted};
use super::kernel::{NumberAt, Numbers, Pass, Used, What};
use super::lists;
use super::matching::Matcher;
use super::orders::{self, Name};
use super::program::{
    ArchivedAgg, ArchivedEventPlan, ArchivedFeaturePlan, ArchivedLaneOf, ArchivedLanePlan, ArchivedListPlan,
    ArchivedOrigin, ArchivedProgram, ArchivedTerm, NONE,
};
use super::rows::{Geometry, Shape, head_word, is_headed_first};
use super::shared::{self, Bounded};
use super::sketch::{self, Sketch};
use super::table::{KEY_WORDS, NO_SECOND, RecordKey};
use super::tally::Lane;
use super::units::{Action, Value};
use super::windows::{Cell, Distinct, Output, Scan, Window, WindowSet};
use levels::Levels;
use recipe::Recipe;

/// Where a bit of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bit {
    pub(super) column: usize,
    pub(super) bit: u32,
}

/// A stored number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) register: usize,
    pub(super) column: usize,
    pub(super) den: i64,
    pub(super) present: Bit,
    pub(super) origin: ColumnOrigin,
}

/// See [`super::program::Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnOrigin {
    Own,
    Amend(usize),
    Derived,
}

/// A stored key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyColumn {
    pub(super) word: usize,
    pub(super) event_bit: u32,
    pub(super) column: usize,
    pub(super) present: Bit,
}

/// A stored predicate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicate {
    pub(super) register: usize,
    pub(super) at: Bit,
    pub(super) derived: bool,
}

/// How one kind of amendment changes a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amend {
    pub(super) version_column: usize,
    pub(super) applied: Bit,
    pub(super) applied_register: usize,
}

/// What is kept of one event kind under one of its key fields, or a pair of them.
pub(super) struct Group {
    pub(super) table: usize,
    pub(super) shape: Shape,
    /// A row at or before `watermark − dead_after` is in no window any more.
    pub(super) dead_after: i64,
    /// The same for the features there are, if there are any: older rows are no history.
    pub(super) forgotten_after: Option<i64>,
    pub(super) id_column: Option<usize>,
    pub(super) columns: Vec<Column>,
    pub(super) keys: Vec<KeyColumn>,
    pub(super) predicates: Vec<Predicate>,
    pub(super) amends: Vec<Amend>,
    /// What registers hold of an event that nothing has amended yet.
    pub(super) unamended: Vec<(usize, Value)>,
    /// See [`fixed_row`].
    pub(super) fixed_row: Option<Box<[u64]>>,
}

/// A key, or a pair of keys, to look up.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeySpec {
    pub(super) table: usize,
    /// See [`KeyPlan`](super::program::KeyPlan).
    pub(super) tells_history: bool,
    /// Those of the fields, of which all must be present.
    bits: u64,
    /// Where the key is, and the second one of a pair.
    first: u16,
    second: Option<u16>,
}

impl KeySpec {
    fn new(plan: &super::program::ArchivedKeyPlan) -> Self {
        let second = plan.second.as_ref();
        let bit = |at: &super::program::ArchivedKeyAt| 1_u64 << at.bit;
        let word = |at: &super::program::ArchivedKeyAt| at.word.to_native();
        Self {
            table: index(plan.table),
            tells_history: plan.tells_history,
            bits: bit(&plan.first) | second.map_or(0, bit),
            first: word(&plan.first),
            second: second.map(word),
        }
    }

    /// The key in the words of an event; `None` when it, or one of the pair, is absent.
    #[inline(always)]
    pub(super) fn read<'a>(&self, words: &'a [u64], presence: u64) -> Option<RecordKey<'a>> {
        if presence & self.bits != self.bits {
            return None;
        }
        let key = |word: u16| words.get(usize::from(word)..usize::from(word) + KEY_WORDS)?.first_chunk();
        let second = match self.second {
            None => NO_SECOND,
            Some(word) => key(word)?,
        };
        Some(RecordKey { first: key(self.first)?, second })
    }

    /// The key of an event that has been checked.
    #[inline(always)]
    pub(super) fn of<'a>(&self, event: &Decoded<'a>) -> Option<RecordKey<'a>> {
        self.read(event.words, event.presence)
    }
}

/// A row to make: once for all groups whose rows are the same.
pub(super) struct OwnRow {
    /// One of these groups.
    pub(super) group: usize,
    /// Where it is staged.
    pub(super) staged: usize,
    /// The keys that it is stored under; it is needed if the event has one of them.
    pub(super) keys: Vec<usize>,
}

/// A row to add.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insert {
    pub(super) table: usize,
    pub(super) group: usize,
    pub(super) key: usize,
    /// Where the row is staged.
    pub(super) staged: usize,
}

/// A row to change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) group: usize,
    pub(super) key: usize,
    pub(super) amend: usize,
}

/// One rule.
pub(super) struct Rule {
    pub(super) index: u16,
    pub(super) action: Action,
    pub(super) score: i64,
    pub(super) reason: u16,
    pub(super) mandatory: bool,
    pub(super) monitor: bool,
    pub(super) allow_over: Vec<u16>,
    /// Numbers of queues.
    pub(super) alerts: Vec<u16>,
}

/// How a judged event is decided.
pub(super) struct Decide {
    pub(super) rule_scores_max: usize,
    pub(super) rule_scores_sum: usize,
    pub(super) score: usize,
    pub(super) final_score: usize,
    pub(super) thresholds: Vec<(usize, Action)>,
    /// What they come to, where they look at the score alone.
    pub(super) levels: Option<Levels>,
    pub(super) unassessed: Action,
    pub(super) has_late: bool,
    pub(super) late: Vec<(usize, Action)>,
    pub(super) late_otherwise: Action,
}

/// One event kind.
pub(super) struct Event {
    pub(super) form: EventForm,
    pub(super) keys: Vec<KeySpec>,
    pub(super) inserts: Vec<Insert>,
    pub(super) rows: Vec<OwnRow>,
    pub(super) targets: Vec<Target>,
    /// The windows of the scans; most scans share a set.
    pub(super) window_sets: Vec<WindowSet>,
    /// How the first of the scans are run where all is as it nearly always is.
    pub(super) directs: Vec<Direct>,
    pub(super) scans: Vec<Scan>,
    /// The features that two scans tell together.
    pub(super) outputs: Vec<Output>,
    /// The features that sums do not do for.
    pub(super) gathers: Vec<Gather>,
    /// The features that are told by a bound where there are many rows.
    pub(super) sketches: Vec<Sketch>,
    /// The features of which an upper bound is told where not all is known.
    pub(super) bounded: Vec<Bounded>,
    /// In the order in which their reasons are told: greater salience first, then policy order.
    pub(super) rules: Vec<Rule>,
    pub(super) matcher: Matcher,
    pub(super) decide: Option<Decide>,
}

/// The table of one entity kind, or of a pair of kinds.
pub(super) struct TableSpec {
    pub(super) name: String,
    pub(super) is_pair: bool,
    /// See [`TablePlan`](super::program::TablePlan).
    pub(super) added_to: u64,
    pub(super) record_words: usize,
    pub(super) groups: Vec<usize>,
    /// Those whose rows are headed in the first line of a record: where, and which.
    pub(super) heads: Vec<(usize, usize)>,
    /// Whether those are all.
    pub(super) are_headed_first: bool,
    /// A record whose newest row is at or before `watermark − dead_after` has no live row.
    pub(super) dead_after: i64,
}

/// See the module.
pub(super) struct Plan {
    /// Those of the entity kinds, then those of pairs.
    pub(super) tables: Vec<TableSpec>,
    pub(super) events: Vec<Event>,
    pub(super) groups: Vec<Group>,
    /// By group: what keys without a record share.
    pub(super) shared: Vec<shared::Form>,
    pub(super) features: usize,
    pub(super) models: usize,
    pub(super) rules: usize,
    /// By rule.
    pub(super) rule_names: Vec<Name>,
    /// By list: its name, as edits have it.
    pub(super) list_names: Vec<Name>,
    /// How many there are in the program.
    pub(super) queues: usize,
    pub(super) registers: usize,
    pub(super) revision: u32,
    pub(super) bounds: Bounds,
}

/// The largest of each thing that an event of the program can need, so that it can be reserved.
#[derive(Default)]
pub(super) struct Bounds {
    pub(super) keys: usize,
    pub(super) staged_words: usize,
    /// Of one set.
    pub(super) windows: usize,
    pub(super) window_sets: usize,
    pub(super) directs: usize,
    /// Of all scans of an event.
    pub(super) sums: usize,
    pub(super) distinct: bool,
    pub(super) gathers: bool,
    /// Of one sketch.
    pub(super) sketched_rows: usize,
    /// Of one event's rules.
    pub(super) operands: usize,
    /// All tables of all rules.
    pub(super) matcher_bytes: usize,
}

impl Plan {
    /// Copies the tables.
    pub(super) fn new(program: &ArchivedProgram, limits: &Limits) -> Self {
        let groups: Vec<Group> =
            program.groups.iter().enumerate().map(|(number, _)| group(program, number, limits)).collect();
        let kinds = program.entities.iter();
        let kinds = kinds.map(|entity| (entity.name.as_str().to_owned(), false, entity.record_words, 0));
        let others = program.tables.iter().map(|table| {
            let name = |kind| program.entities[index(kind)].name.as_str();
            let (name, is_pair) = match table.second.to_native() {
                NONE => (name(table.first).to_owned(), false),
                _ => (format!("({}, {})", name(table.first), name(table.second)), true),
            };
            let added_to = table.added_to.to_native();
            let name = if added_to == 0 { name } else { format!("{name}, added later") };
            (name, is_pair, table.record_words, added_to)
        });
        let tables =
            kinds.chain(others).enumerate().map(|(number, (name, is_pair, record_words, added_to))| {
                let in_it = |&group: &usize| groups[group].table == number;
                let kept: Vec<usize> = (0..groups.len()).filter(in_it).collect();
                let heads: Vec<(usize, usize)> = kept
                    .iter()
                    .filter(|&&group| is_headed_first(&groups[group].shape))
                    .map(|&group| (head_word(&groups[group].shape), group))
                    .collect();
                TableSpec {
                    name,
                    is_pair,
                    added_to,
                    record_words: index(record_words),
                    are_headed_first: heads.len() == kept.len(),
                    heads,
                    dead_after: kept.iter().map(|&group| groups[group].dead_after).max().unwrap_or(0),
                    groups: kept,
                }
            });
        let tables = tables.collect();
        let forms = groups.iter().enumerate();
        let forms = forms.map(|(number, group)| shared::Form::new(program, number, group, limits));
        let forms: Vec<shared::Form> = forms.collect();
        let mut bounds = Bounds::default();
        let events = program.events.iter();
        let events = events.map(|event| self::event(program, event, &groups, &forms, &mut bounds)).collect();
        Self {
            tables,
            events,
            groups,
            shared: forms,
            features: program.features.len(),
            models: program.models.len(),
            rules: program.rules.len(),
            rule_names: program.rules.iter().map(|rule| orders::name(&rule.name)).collect(),
            list_names: program.lists.iter().map(|list| list_name(program, list)).collect(),
            queues: program.queues.len(),
            registers: usize::from(program.registers.to_native()) + program.consts.len(),
            revision: program.revision.to_native(),
            bounds,
        }
    }
}

/// The name of a list of a program, as edits have it.
#[must_use]
pub fn list_name(program: &ArchivedProgram, list: &ArchivedListPlan) -> Name {
    let kind = |kind: u16| program.entities[usize::from(kind)].name.as_str();
    lists::name(&list.name, list.of.native().word(kind))
}

pub(super) fn index(number: rkyv::rend::u16_le) -> usize {
    usize::from(number.to_native())
}

fn bit(at: &super::program::ArchivedBitRef) -> Bit {
    Bit { column: index(at.column), bit: u32::from(at.bit) }
}

fn action(code: u8) -> Action {
    Action::from_code(code).unwrap_or_default()
}

fn group(program: &ArchivedProgram, number: usize, limits: &Limits) -> Group {
    let group = &program.groups[number];
    let column = |column: &super::program::ArchivedColumnPlan| Column {
        register: index(column.register),
        column: index(column.column),
        den: column.den.to_native(),
        present: bit(&column.present),
        origin: match column.origin {
            ArchivedOrigin::Own => ColumnOrigin::Own,
            ArchivedOrigin::Amend(amend) => ColumnOrigin::Amend(index(amend)),
            ArchivedOrigin::Derived => ColumnOrigin::Derived,
        },
    };
    let key = |key: &super::program::ArchivedKeyColumn| KeyColumn {
        word: index(key.word),
        event_bit: u32::from(key.bit),
        column: index(key.column),
        present: bit(&key.present),
    };
    let predicate = |plan: &super::program::ArchivedBitPlan| Predicate {
        register: index(plan.register),
        at: bit(&plan.at),
        derived: plan.derived,
    };
    let amend = |amend: &super::program::ArchivedAmendPlan| Amend {
        version_column: index(amend.version_column),
        applied: bit(&amend.applied),
        applied_register: index(amend.applied_register),
    };
    let columns: Vec<Column> = group.columns.iter().map(column).collect();
    let predicates: Vec<Predicate> = group.bits.iter().map(predicate).collect();
    let keys: Vec<KeyColumn> = group.keys.iter().map(key).collect();
    let mut lanes = vec![Lane::ALL];
    let planned = group.lanes.iter().map(|plan| planned_lane(plan, &predicates, &columns, &keys));
    planned.for_each(|lane| _ = position_or_push(&mut lanes, lane));
    let id_column = (group.id_column.to_native() != NONE).then(|| index(group.id_column));
    let geometry = Geometry {
        group: number as u16,
        row_words: index(group.row_words),
        id_column,
        record_word: index(group.record_word),
        inline_rows: index(group.inline_rows),
    };
    let amends: Vec<Amend> = group.amends.iter().map(amend).collect();
    let applied = amends.iter().map(|amend| (amend.applied_register, Value::FALSE));
    let amended = columns.iter().filter(|column| matches!(column.origin, ColumnOrigin::Amend(_)));
    let unamended = applied.chain(amended.map(|column| (column.register, Value::MISSING))).collect();
    let mut shape = Shape::new(&geometry, lanes, limits.rows_per_key_max as usize);
    let is_of_it =
        |feature: &ArchivedFeaturePlan| feature.terms.iter().any(|term| index(term.group) == number);
    let is_summed = |feature: &ArchivedFeaturePlan| {
        is_scanned(feature) && !matches!(feature.agg, ArchivedAgg::DistinctKeys | ArchivedAgg::DistinctValues)
    };
    if program.features.iter().any(|feature| is_of_it(feature) && !is_summed(feature)) {
        shape.read_all_columns();
    }
    let mut made = Group {
        table: index(group.table),
        shape,
        dead_after: group.retention_us.to_native().saturating_add(limits.lateness_us),
        forgotten_after: match group.reach_us.to_native() {
            0 => None,
            reach => Some(reach.saturating_add(limits.lateness_us)),
        },
        id_column,
        columns,
        keys,
        predicates,
        amends,
        unamended,
        fixed_row: None,
    };
    made.fixed_row = fixed_row(program, group, &made);
    made
}

pub(super) fn filter(term: &ArchivedTerm, predicates: &[Predicate]) -> Option<Bit> {
    match term.filter.to_native() {
        NONE => None,
        filter => Some(predicates[usize::from(filter)].at),
    }
}

/// A lane as the rows have it. Two plans can come to the same.
pub(super) fn planned_lane(
    plan: &ArchivedLanePlan,
    predicates: &[Predicate],
    columns: &[Column],
    keys: &[KeyColumn],
) -> Lane {
    let filter = match plan.filter.to_native() {
        NONE => None,
        filter => Some(predicates[usize::from(filter)].at),
    };
    let value = |number| {
        let column: &Column = &columns[index(number)];
        Some((column.column, column.present))
    };
    match plan.of {
        ArchivedLaneOf::Rows => Lane::new(filter, None),
        ArchivedLaneOf::Sums(number) => Lane::new(filter, value(number)),
        ArchivedLaneOf::Values(number) => Lane::new(filter, value(number)).counted(),
        ArchivedLaneOf::Keys(number) => {
            let key = &keys[index(number)];
            Lane::new(filter, Some((key.column, key.present))).counted()
        }
    }
}

/// The rows that a term adds up, and what of them; `None` where it counts different things.
fn lane(agg: ArchivedAgg, term: &ArchivedTerm, predicates: &[Predicate], columns: &[Column]) -> Option<Lane> {
    let value = match agg {
        ArchivedAgg::DistinctKeys | ArchivedAgg::DistinctValues => return None,
        ArchivedAgg::Sum | ArchivedAgg::Avg | ArchivedAgg::Min | ArchivedAgg::Max => {
            let column = &columns[index(term.value)];
            Some((column.column, column.present))
        }
        _ => None,
    };
    Some(Lane::new(filter(term, predicates), value))
}

pub(super) fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn event(
    program: &ArchivedProgram,
    event: &ArchivedEventPlan,
    groups: &[Group],
    forms: &[shared::Form],
    bounds: &mut Bounds,
) -> Event {
    let mut staged_words = 0;
    let (mut inserts, mut rows, mut recipes) = (Vec::new(), Vec::<OwnRow>::new(), Vec::new());
    for insert in event.inserts.iter() {
        let (group, key) = (index(insert.group), index(insert.key));
        let recipe = Recipe::new(program, &program.groups[group], &groups[group]);
        let row = recipes.iter().position(|known| *known == recipe).unwrap_or_else(|| {
            recipes.push(recipe);
            rows.push(OwnRow { group, staged: staged_words, keys: Vec::new() });
            staged_words += groups[group].shape.row_words;
            rows.len() - 1
        });
        rows[row].keys.push(key);
        inserts.push(Insert { table: groups[group].table, group, key, staged: rows[row].staged });
    }
    bounds.keys = bounds.keys.max(event.keys.len());
    bounds.staged_words = bounds.staged_words.max(staged_words);
    let Scanned { window_sets, directs, scans, outputs, sums } = scans(program, event, &inserts, groups);
    bounds.window_sets = bounds.window_sets.max(window_sets.len());
    bounds.directs = bounds.directs.max(directs.len());
    let windows = window_sets.iter().map(|set| set.windows.len()).max().unwrap_or(0);
    bounds.windows = bounds.windows.max(windows);
    bounds.sums = bounds.sums.max(sums);
    bounds.distinct |= scans.iter().any(|scan| !scan.distinct.is_empty());
    let gathers = gathers(program, event, &inserts, groups);
    bounds.gathers |= !gathers.is_empty();
    let sketches = sketch::sketches(program, &event.windows, groups, |group| own_row(&inserts, group));
    let sketched_rows = sketches.iter().map(|sketch| sketch.rows).max().unwrap_or(0);
    bounds.sketched_rows = bounds.sketched_rows.max(sketched_rows);
    let target = |target: &super::program::ArchivedTargetPlan| Target {
        group: index(target.group),
        key: index(target.key),
        amend: index(target.amend),
    };
    let (rules, matcher) = matched(program, event);
    bounds.operands = bounds.operands.max(matcher.operands());
    bounds.matcher_bytes += matcher.bytes();
    Event {
        form: EventForm::new(event),
        keys: event.keys.iter().map(KeySpec::new).collect(),
        inserts,
        rows,
        targets: event.targets.iter().map(target).collect(),
        window_sets,
        directs,
        scans,
        outputs,
        gathers,
        sketches,
        bounded: shared::bounded(program, event, groups, forms),
        rules,
        matcher,
        decide: event.decide.as_ref().map(|plan| decide(program, plan)),
    }
}

impl Event {
    /// Whether some features are not those of direct scans.
    pub(super) fn is_more_than_direct(&self) -> bool {
        let Self { scans, directs, outputs, gathers, sketches, .. } = self;
        scans.len() > directs.len() || !(outputs.is_empty() && gathers.is_empty() && sketches.is_empty())
    }
}

fn rules(program: &ArchivedProgram, event: &ArchivedEventPlan) -> Vec<Rule> {
    let mut order: Vec<usize> = event.rules.iter().map(|&rule| index(rule)).collect();
    order.sort_by_key(|&rule| (std::cmp::Reverse(program.rules[rule].salience.to_native()), rule));
    let rule = |number: usize| {
        let rule = &program.rules[number];
        Rule {
            index: number as u16,
            action: action(rule.action),
            score: i64::from(rule.score.to_native()),
            reason: rule.reason.to_native(),
            mandatory: rule.mandatory,
            monitor: rule.monitor,
            allow_over: rule.allow_over.iter().map(|over| over.to_native()).collect(),
            alerts: rule.alerts.iter().map(|queue| queue.to_native()).collect(),
        }
    };
    order.into_iter().map(rule).collect()
}

/// The rules of an event in the order in which their reasons are told, and what finds those that fire.
pub(super) fn matched(program: &ArchivedProgram, event: &ArchivedEventPlan) -> (Vec<Rule>, Matcher) {
    let rules = rules(program, event);
    let mut position = vec![0; event.rules.len()];
    for (place, rule) in rules.iter().enumerate() {
        // The event's rules ascend.
        if let Ok(at) = event.rules.binary_search_by(|other| other.to_native().cmp(&rule.index)) {
            position[at] = place as u16;
        }
    }
    let matcher = Matcher::new(event, &position);
    (rules, matcher)
}

fn decide(program: &ArchivedProgram, decide: &super::program::ArchivedDecidePlan) -> Decide {
    let branch =
        |branch: &rkyv::tuple::ArchivedTuple2<rkyv::rend::u16_le, u8>| (index(branch.0), action(branch.1));
    Decide {
        rule_scores_max: index(decide.rule_scores_max),
        rule_scores_sum: index(decide.rule_scores_sum),
        score: index(decide.score),
        final_score: index(decide.final_score),
        thresholds: decide.thresholds.iter().map(branch).collect(),
        levels: levels::levels(program, decide),
        unassessed: action(decide.unassessed),
        has_late: decide.late_after_ns.to_native() != 0,
        late: decide.late.iter().map(branch).collect(),
        late_otherwise: action(decide.late_otherwise),
    }
}

/// Whether sums do for a feature: its rows are a range of times, and each adds something of its own to a sum, an
/// extreme or a set.
pub(super) fn is_scanned(feature: &ArchivedFeaturePlan) -> bool {
    let summed = matches!(
        feature.agg,
        ArchivedAgg::Count
            | ArchivedAgg::Sum
            | ArchivedAgg::Avg
            | ArchivedAgg::Min
            | ArchivedAgg::Max
            | ArchivedAgg::DistinctValues
            | ArchivedAgg::DistinctKeys
            | ArchivedAgg::Ratio
    );
    summed && !feature.frame.is_by_event() && feature.against.is_none() && !feature.is_sketched()
}

/// The event's insert into a group, of its inserts.
fn own_row(inserts: &[Insert], group: usize) -> Option<Insert> {
    inserts.iter().find(|insert| insert.group == group).copied()
}

/// The features of one event that are neither scanned nor sketched.
fn gathers(
    program: &ArchivedProgram,
    event: &ArchivedEventPlan,
    inserts: &[Insert],
    groups: &[Group],
) -> Vec<Gather> {
    let features = event.windows.iter().map(|using| (using, &program.features[index(using.feature)]));
    let gather = |(using, feature): (&super::program::ArchivedFeatureUse, &ArchivedFeaturePlan)| {
        // Of a ratio the second term is the frame, and the first a question asked of its rows.
        let term = feature.terms.last()?;
        let number = index(term.group);
        let group = &groups[number];
        let filter = |term: &ArchivedTerm| filter(term, &group.predicates);
        let wanted = match feature.agg {
            ArchivedAgg::Ratio => Wanted::Also(filter(&feature.terms[0])),
            _ if term.value.to_native() == NONE => Wanted::Nothing,
            ArchivedAgg::DistinctKeys | ArchivedAgg::ShareKeys | ArchivedAgg::SeenKey => {
                let key = &group.keys[index(term.value)];
                Wanted::Key { column: key.column, present: key.present }
            }
            _ => {
                let Column { column, den, present, .. } = group.columns[index(term.value)];
                Wanted::Number { column, den, present }
            }
        };
        Some(Gather {
            key: index(using.key),
            group: number,
            own: own_row(inserts, number),
            feature: index(using.feature),
            agg: feature.agg,
            frame: (Frame::new(&feature.frame), feature.delay_us.to_native()),
            against: feature
                .against
                .as_ref()
                .map(|against| (Frame::new(&against.frame), against.delay_us.to_native())),
            filter: filter(term),
            wanted,
            id_column: group.id_column,
            argument: feature.argument.to_native(),
            zone: index(feature.zone),
        })
    };
    features
        .filter(|(_, feature)| !is_scanned(feature) && !feature.is_sketched())
        .filter_map(gather)
        .collect()
}

/// What the features of one event have in common.
struct Scanned {
    window_sets: Vec<WindowSet>,
    directs: Vec<Direct>,
    scans: Vec<Scan>,
    outputs: Vec<Output>,
    sums: usize,
}

/// A scan while it is being put together, with windows of its own.
struct Draft {
    scan: Scan,
    windows: Vec<Window>,
}

/// One scan per (key, group), one lane per different selection of rows, one cell per window and lane that a feature wants.
fn scans(
    program: &ArchivedProgram,
    event: &ArchivedEventPlan,
    inserts: &[Insert],
    groups: &[Group],
) -> Scanned {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut outputs = Vec::new();
    // Cells are numbered as they come, and given their slots when it is known what each scan holds.
    let mut cells = 0;
    for using in event.windows.iter() {
        let feature = &program.features[index(using.feature)];
        if !is_scanned(feature) {
            continue;
        }
        let window = Window::of(feature);
        let mut slots = [0; 2];
        let mut scans = [None; 2];
        let mut den = 1;
        for ((slot, scan), term) in slots.iter_mut().zip(&mut scans).zip(feature.terms.iter()) {
            let (key, number) = (index(using.key), index(term.group));
            let group = &groups[number];
            let draft = drafts.iter().position(|draft| (draft.scan.key, draft.scan.group) == (key, number));
            let draft = draft.unwrap_or_else(|| {
                let (lanes, cells, distinct, outputs, few) = Default::default();
                let own = own_row(inserts, number);
                let (windows, sums) = (0, 0);
                let group = number;
                let passes = Vec::new();
                let scan =
                    Scan { key, group, own, windows, lanes, passes, sums, cells, distinct, outputs, few };
                drafts.push(Draft { scan, windows: Vec::new() });
                drafts.len() - 1
            });
            *scan = Some(draft);
            let Draft { scan, windows } = &mut drafts[draft];
            let window = position_or_push(windows, window);
            *slot = match lane(feature.agg, term, &group.predicates, &group.columns) {
                Some(lane) => {
                    if lane.is_of_values() {
                        den = group.columns[index(term.value)].den;
                    }
                    let number = group.shape.lanes.iter().position(|known| *known == lane).unwrap_or(0);
                    let lane = group.shape.lanes[number];
                    let place =
                        scan.lanes.iter().position(|used| used.number == number).unwrap_or_else(|| {
                            scan.lanes.push(Used { lane, number, sum: false, least: false, greatest: false });
                            scan.lanes.len() - 1
                        });
                    let used = &mut scan.lanes[place];
                    used.sum |= matches!(feature.agg, ArchivedAgg::Sum | ArchivedAgg::Avg);
                    used.least |= feature.agg == ArchivedAgg::Min;
                    used.greatest |= feature.agg == ArchivedAgg::Max;
                    let lane = place;
                    match scan.cells.iter().find(|cell| (cell.window, cell.lane) == (window, lane)) {
                        Some(same) => same.slot,
                        None => {
                            scan.cells.push(Cell { window, lane, slot: cells });
                            cells += 1;
                            cells - 1
                        }
                    }
                }
                None => {
                    let distinct = distinct(feature.agg, term, group, window, cells);
                    let same =
                        scan.distinct.iter().find(|known| Distinct { slot: cells, ..**known } == distinct);
                    same.map(|same| same.slot).unwrap_or_else(|| {
                        scan.distinct.push(distinct);
                        cells += 1;
                        cells - 1
                    })
                }
            };
        }
        let output = Output {
            feature: index(using.feature),
            key: index(using.key),
            agg: feature.agg,
            cell: slots[0],
            under: slots[1],
            den,
        };
        match scans {
            [Some(one), None] => drafts[one].scan.outputs.push(output),
            [Some(one), Some(other)] if one == other => drafts[one].scan.outputs.push(output),
            _ => outputs.push(output),
        }
    }
    let mut window_sets = Vec::new();
    let mut sums = 0;
    let mut slots = vec![None; cells];
    let scan = |Draft { scan, windows }: Draft| {
        let start = sums;
        // So many segments if no two windows begin or end together.
        sums += (2 * windows.len() - 1) * scan.lanes.len();
        let set = WindowSet::new(windows);
        for cell in scan.cells.iter().filter(|_| set.is_fixed()) {
            slots[cell.slot] = Some(start + set.first_segment(cell.window) * scan.lanes.len() + cell.lane);
        }
        let few = told(&scan, &set, &outputs);
        let passes = if few.is_some() { Pass::of_all(&scan.lanes) } else { Vec::new() };
        Scan { windows: position_or_push(&mut window_sets, set), passes, sums: start, few, ..scan }
    };
    let mut scans: Vec<Scan> = drafts.into_iter().map(scan).collect();
    // The others, of which it is not known beforehand where among the sums they will be, and those that are no sums.
    let slots: Vec<usize> = slots
        .into_iter()
        .map(|slot| {
            slot.unwrap_or_else(|| {
                sums += 1;
                sums - 1
            })
        })
        .collect();
    for scan in &mut scans {
        scan.cells.iter_mut().for_each(|cell| cell.slot = slots[cell.slot]);
        scan.distinct.iter_mut().for_each(|distinct| distinct.slot = slots[distinct.slot]);
    }
    let told = scans.iter_mut().flat_map(|scan| &mut scan.outputs).chain(&mut outputs);
    told.for_each(|output| (output.cell, output.under) = (slots[output.cell], slots[output.under]));
    let mut directs = Vec::new();
    let mut others = Vec::new();
    for scan in scans {
        let (set, group) = (&window_sets[scan.windows], &groups[scan.group]);
        let tells_history = event.keys[scan.key].tells_history;
        match scan.few.clone().and_then(|told| Direct::new(&scan, set, (group, tells_history), told)) {
            Some(direct) => directs.push((direct, scan)),
            None => others.push(scan),
        }
    }
    let (directs, mut scans): (Vec<Direct>, Vec<Scan>) = directs.into_iter().unzip();
    scans.append(&mut others);
    Scanned { window_sets, directs, scans, outputs, sums }
}

/// How the features of a scan are told from a few windows; `None` where there are more, or more to tell. `shared` are
/// the features that scans tell together; no cell has its slot yet.
fn told(scan: &Scan, set: &WindowSet, shared: &[Output]) -> Option<Told> {
    let is_shared =
        |cell: &Cell| shared.iter().any(|output| [output.cell, output.under].contains(&cell.slot));
    let is_few = set.is_few()
        && (1..=Numbers::LANES).contains(&scan.lanes.len())
        && scan.distinct.is_empty()
        && !scan.cells.iter().any(is_shared);
    let mut told = Told::default();
    for output in scan.outputs.iter().filter(|_| is_few) {
        let of = |slot: usize| {
            let cell = scan.cells.iter().find(|cell| cell.slot == slot)?;
            Some((cell.lane, set.first_segment(cell.window)))
        };
        let (lane, window) = of(output.cell)?;
        let place = |what| NumberAt::new(lane, what, window);
        let number = |what, den| Number { feature: output.feature as u32, place: place(what), den };
        let (counted, den) = (place(What::Count), output.den);
        match output.agg {
            ArchivedAgg::Count => told.plain.push(number(What::Count, 1)),
            ArchivedAgg::Sum => told.plain.push(number(What::Sum, den)),
            ArchivedAgg::Min => told.of_some.push((number(What::Least, den), counted)),
            ArchivedAgg::Max => told.of_some.push((number(What::Greatest, den), counted)),
            ArchivedAgg::Avg => told.averages.push((number(What::Sum, den), counted)),
            ArchivedAgg::Ratio => {
                let (lane, window) = of(output.under)?;
                told.ratios.push((number(What::Count, den), NumberAt::new(lane, What::Count, window)));
            }
            _ => return None,
        }
    }
    is_few.then_some(told)
}

fn distinct(agg: ArchivedAgg, term: &ArchivedTerm, group: &Group, window: usize, slot: usize) -> Distinct {
    let filter = filter(term, &group.predicates);
    let value = index(term.value);
    let is_key = agg == ArchivedAgg::DistinctKeys;
    let (column, present) = match is_key {
        true => (group.keys[value].column, group.keys[value].present),
        false => (group.columns[value].column, group.columns[value].present),
    };
    Distinct { window, filter, present, column, is_key, slot }
}
