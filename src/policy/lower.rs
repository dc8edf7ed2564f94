//! Typed policy → flat program.
//!
//! * [`layout`] gives every field of an event its words and its presence bit.
//! * [`expressions`] turns trees into graphs in which equal expressions are one node.
//! * [`code`] turns graphs into runs of instructions.
//! * [`matching`] turns the conditions of rules into clauses.
//! * [`models`] says what models are given.
//! * [`groups`] decides what is stored of an event under a key, and packs it into rows and records.
//! * [`zones`] writes out the offsets of the time zones that are mentioned.
//!
//! This file ties them together: features, rules, decisions and the plan of each event.
//!
//! The order of everything in a program follows the order of the policy, so that one policy always gives the
//! same bytes.

mod code;
mod expressions;
mod groups;
mod layout;
mod matching;
mod models;
mod zones;

#[cfg(test)]
mod tests;

use super::diagnostics::Diagnostic;
use super::entries;
use super::test::script::Stubs;
use super::typed::{
    Aggregate, By, EventIx, Expr, Feature, FeatureKind, FieldIx, Frame, List, ListEntry, ModelIx, Policy,
    Source, Span, Type,
};
use crate::engine::program::{
    self, Against, Agg, Assume, DecidePlan, EntityPlan, EventPlan, FeaturePlan, FeatureUse, InsertPlan,
    KEYS_MAX, KeyAt, KeyPlan, ListOf, ListPart, ListPlan, NONE, Program, QueuePlan, RatesPlan, ReasonPlan,
    RulePlan, Run, SEMANTICS_VERSION, Said, TargetPlan, Term, Unit,
};
use crate::engine::units::entries::Entry;
use crate::engine::units::{Action, Currency};
use crate::engine::validate::{COUNT_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::token::Tokenizer;
use code::{Code, Target};
use expressions::{Graph, Inputs};
pub use groups::Base;
use groups::{Groups, Moved, Sums, Tables, Want, Wanted};
use layout::EventLayout;
use matching::Matching;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use zones::Zones;

/// Lowers a checked policy. Fails only where a bound of the engine is exceeded (registers, keys, words).
pub fn lower(policy: &Policy, tokenizer: &Tokenizer) -> Result<Program, Diagnostic> {
    Ok(lower_onto(policy, tokenizer, None)?.program)
}

/// A policy as it takes over from another.
#[derive(Clone, Debug, PartialEq)]
pub struct TakeOver {
    /// The program.
    pub program: Program,
    /// The features whose events are kept only from the take-over on.
    pub cold: Vec<Cold>,
    /// Those whose events are kept only since an earlier take-over.
    pub recent: Vec<String>,
}

/// A feature that asks for what the program before did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cold {
    /// Its name.
    pub feature: String,
    /// What was not kept.
    pub why: String,
}

/// Lowers a policy so that its program can take over what `base` has stored: all of `base`'s groups are kept, as they are, and
/// what they hold is recognised by what it means. What is not held is kept in tables of its own from then on.
///
/// Besides the engine's bounds, events and entity kinds that are not those of `base` are refused.
pub fn lower_onto(
    policy: &Policy,
    tokenizer: &Tokenizer,
    base: Option<&Base<'_>>,
) -> Result<TakeOver, Diagnostic> {
    lower_with(policy, tokenizer, base, &Stubs::default())
}

/// Lowers a policy for a test: wherever a verdict reads what is stubbed, it reads the stub's value instead.
pub(super) fn lower_stubbed(
    policy: &Policy,
    tokenizer: &Tokenizer,
    stubs: &Stubs,
) -> Result<Program, Diagnostic> {
    Ok(lower_with(policy, tokenizer, None, stubs)?.program)
}

fn lower_with(
    policy: &Policy,
    tokenizer: &Tokenizer,
    base: Option<&Base<'_>>,
    stubs: &Stubs,
) -> Result<TakeOver, Diagnostic> {
    check_bounds(policy)?;
    let layouts = layout::lay_out(policy)?;
    let own_lists = list_plans(policy, tokenizer)?;
    let mut zones = Zones::with_lists(&own_lists);
    let mut code = Code::new(policy.features.len() + policy.models.len())?;
    if let Some(base) = base {
        same_kinds(policy, base.program)?;
    }

    // What is stored. Features name columns and bits by their place in lists that only grow, so terms can be
    // written down before the groups are finished.
    let mut groups = Groups::new(policy, &layouts, base);
    let mut features = Vec::with_capacity(policy.features.len());
    let (mut cold, mut recent) = (Vec::new(), Vec::new());
    for feature in &policy.features {
        let (plan, why) = feature_plan(feature, &mut groups, &mut zones)?;
        features.push(plan);
        let before = base.map_or(0, |base| base.program.groups.len());
        let is_kept = |term: &Term| usize::from(term.group) < before;
        if let (Some(base), Some(term)) = (base, features.last().and_then(|plan| plan.terms.first()))
            && is_kept(term)
            && base.is_added(base.program.groups[usize::from(term.group)].table)
        {
            recent.push(feature.name.clone());
        }
        cold.extend(why.map(|why| Cold { feature: feature.name.clone(), why }));
    }
    let mut moved = Moved { policy, zones: &mut zones, lists: Vec::new(), registers: HashMap::new() };
    let tables = groups.finish(&mut code, &mut moved)?;
    let kept_lists = moved.lists;

    let mut models = Vec::with_capacity(policy.models.len());
    let mut events = Vec::with_capacity(policy.events.len());
    for (index, event) in policy.events.iter().enumerate() {
        let this = EventIx(index as u16);
        let layout = &layouts[index];
        let mut inputs = Inputs::default();
        let decide = policy.decides.iter().find(|decide| decide.event == this);
        if decide.is_some() {
            inputs = Inputs {
                rule_scores_max: Some(code.register()?),
                rule_scores_sum: Some(code.register()?),
                final_score: Some(code.register()?),
            };
        }
        let mut graph = Graph::decision(policy, &layouts, this, inputs, stubs);

        let mut scalars = Vec::new();
        for (feature, declared) in policy.features.iter().enumerate() {
            if let FeatureKind::Scalar { event, expr } = &declared.kind
                && *event == this
            {
                scalars.push((graph.intern(&mut zones, expr)?, Target::Register(feature as u16)));
            }
        }
        let scalars = code.emit(&graph, &scalars, &HashMap::new())?.0;

        for (number, model) in policy.models.iter().enumerate().filter(|(_, model)| model.event == this) {
            let stub = stubs.models.get(&ModelIx(number as u16)).copied();
            models.push((number, models::plan(model, stub, &mut graph, &mut zones, &mut code)?));
        }

        let Matching { conditions, rules, plan: matching } =
            matching::matching(policy, this, &mut graph, &mut zones, &mut code)?;

        let decide = match decide {
            Some(decide) => Some(decide_plan(decide, &inputs, &mut graph, &mut zones, &mut code)?),
            None => None,
        };

        let mut plan = EventPlan {
            name: event.name.clone(),
            words: layout.words,
            known: layout.known,
            required: layout.required,
            fields: layout.fields.clone(),
            amends: event.amends.map_or(NONE, |amended| amended.0),
            keys: Vec::new(),
            inserts: Vec::new(),
            targets: Vec::new(),
            windows: Vec::new(),
            scalars,
            models: models::eager(policy, this),
            conditions,
            rules,
            matching,
            decide,
        };
        look_up(&mut plan, policy, this, layout, &tables, &features)?;
        events.push(plan);
    }

    let mut into = code.currencies();
    if let Some(kept) = base.and_then(|base| base.program.rates.as_ref()) {
        if let Some(code) = into.iter().find(|code| !kept.into.contains(code)) {
            let alpha = Currency(*code).alpha();
            return Err(bound(
                format!(
                    "money is converted into {alpha}, to which the policy that is running converts nothing"
                ),
                "rates to it were not kept: another currency takes a restart",
            ));
        }
        into.clone_from(&kept.into);
    }
    let rates = policy.rates.as_ref().map(|rates| RatesPlan {
        name: rates.name.clone(),
        max_age_us: rates.max_age_us,
        event: events.len() as u16,
        into,
    });
    if rates.is_some() {
        events.push(layout::rate_event());
    }

    models.sort_unstable_by_key(|(number, _)| *number);
    let entities = policy.entities.iter().zip(tables.record_words);
    let layout_hash = layout::hash(policy, &events);
    if base.is_some_and(|base| base.program.layout_hash != layout_hash) {
        return Err(bound(
            "the events are laid out otherwise than those of the policy that is running",
            "declare events, fields, enums and rates as they are there; another layout takes a restart with a new journal",
        ));
    }
    let mut lists = own_lists;
    lists.extend(kept_lists);
    let zone_database = zones.database();
    let (zones, texts, prefixes) = zones.finish();
    let mut program = Program {
        semantics: SEMANTICS_VERSION,
        name: policy.name.clone(),
        revision: policy.revision,
        layout_hash,
        entities: entities
            .map(|(name, record_words)| EntityPlan { name: name.clone(), record_words })
            .collect(),
        tables: tables.tables,
        events,
        groups: tables.groups,
        features,
        models: models.into_iter().map(|(_, plan)| plan).collect(),
        rules: rule_plans(policy),
        reasons: reason_plans(policy),
        queues: policy
            .queues
            .iter()
            .map(|queue| QueuePlan { id: queue.id, name: queue.name.clone() })
            .collect(),
        lists,
        zone_database,
        zones,
        texts,
        prefixes,
        consts: Vec::new(),
        code: Vec::new(),
        registers: 0,
        rates,
    };
    code.finish(&mut program)?;
    Ok(TakeOver { program, cold, recent })
}

/// What is stored is numbered by entity kind, so that kinds must stay as they are.
fn same_kinds(policy: &Policy, base: &Program) -> Result<(), Diagnostic> {
    let running = base.entities.iter().map(|entity| &entity.name);
    if policy.entities.iter().eq(running.clone()) {
        return Ok(());
    }
    let names: Vec<&str> = running.map(String::as_str).collect();
    Err(bound(
        "the entity kinds are not those of the policy that is running",
        format!("declare them as they are there: `entity {}`; other kinds take a restart", names.join(", ")),
    ))
}

/// An error that names no place: what is too much is rarely one expression.
fn bound(message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Span::default(), message, "", help)
}

fn check_bounds(policy: &Policy) -> Result<(), Diagnostic> {
    let counts = [
        ("entities", policy.entities.len()),
        ("events", policy.events.len()),
        ("reasons", policy.reasons.len()),
        ("queues", policy.queues.len()),
        ("lists", policy.lists.len()),
        ("features", policy.features.len()),
        ("rules", policy.rules.len()),
        ("scenes", policy.scenes.len()),
        ("tables", policy.tables.len()),
    ];
    for (what, count) in counts {
        if count > COUNT_MAX {
            return Err(bound(
                format!("the policy has {count} {what}, more than the {COUNT_MAX} a program can hold"),
                "split the policy into several instances",
            ));
        }
    }
    let named = policy.events.iter().map(|event| &event.name);
    let names = [&policy.name].into_iter().chain(&policy.entities).chain(named);
    let names =
        names.chain(policy.events.iter().flat_map(|event| event.fields.iter().map(|field| &field.name)));
    let names = names.chain(policy.features.iter().map(|feature| &feature.name));
    let names = names.chain(policy.models.iter().map(|model| &model.name));
    let names = names.chain(policy.rules.iter().map(|rule| &rule.name));
    let names = names.chain(policy.reasons.iter().map(|reason| &reason.name));
    let names = names.chain(policy.queues.iter().map(|queue| &queue.name));
    let names = names.chain(policy.lists.iter().map(|list| &list.name));
    for name in names {
        // An inherited field is called EVENT.FIELD, so one name may use at most half.
        if name.len() > NAME_BYTES_MAX / 2 - 1 {
            return Err(bound(
                format!("a name has {} bytes: `{}…`", name.len(), name.chars().take(32).collect::<String>()),
                format!("use at most {} bytes", NAME_BYTES_MAX / 2 - 1),
            ));
        }
    }
    for reason in &policy.reasons {
        let texts = [Some(&reason.analyst), reason.customer.as_ref(), reason.iso.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(bound(
                format!("a text of reason {} is longer than {TEXT_BYTES_MAX} bytes", reason.name),
                "shorten it",
            ));
        }
    }
    Ok(())
}

fn feature_plan(
    feature: &Feature,
    groups: &mut Groups<'_>,
    zones: &mut Zones,
) -> Result<(FeaturePlan, Option<String>), Diagnostic> {
    let unit = match feature.ty {
        Type::Bool => Unit::Bool,
        Type::Int | Type::Enum(..) | Type::Country | Type::Currency | Type::Mcc | Type::Bin | Type::Time => {
            Unit::Int
        }
        Type::Decimal => Unit::Decimal,
        Type::Money(currency) => Unit::Money(currency.0),
        Type::Duration => Unit::Duration,
        Type::Distance => Unit::Distance,
        Type::Speed => Unit::Speed,
        Type::AnyMoney => {
            return Err(bound(
                format!("feature {} is money of no particular currency", feature.name),
                "say which currency, as in `amount in USD`",
            ));
        }
    };
    let scalar = FeaturePlan {
        name: feature.name.clone(),
        unit,
        agg: Agg::Scalar,
        terms: Vec::new(),
        frame: program::Frame::Last(0),
        delay_us: 0,
        against: None,
        argument: 0,
        zone: NONE,
        assume: feature.assume,
    };
    let window = match &feature.kind {
        FeatureKind::Scalar { .. } => return Ok((scalar, None)),
        FeatureKind::Window(window) => window,
    };
    let mut reach_us = window.frame.reach_us().saturating_add(window.delay_us);
    let is_sketched = feature.is_sketched();
    let mut ordered = is_sketched || matches!(window.frame, Frame::Events { .. });
    let (aggregate, against) = match &window.aggregate {
        Aggregate::Change { of, against, delay_us } => {
            reach_us = reach_us.max(against.reach_us().saturating_add(*delay_us));
            ordered |= matches!(against, Frame::Events { .. });
            (&**of, Some(Against { frame: frame(against, zones)?, delay_us: *delay_us }))
        }
        aggregate => (aggregate, None),
    };
    let is_by_event = |frame: &Frame| matches!(frame, Frame::Events { .. } | Frame::Session { .. });
    let sums = match aggregate {
        _ if is_sketched => Sums::Counts,
        _ if against.is_some() || is_by_event(&window.frame) => Sums::None,
        Aggregate::Count(..)
        | Aggregate::Ratio(..)
        | Aggregate::Sum(..)
        | Aggregate::Avg(..)
        | Aggregate::Min(..)
        | Aggregate::Max(..) => Sums::Values,
        _ => Sums::None,
    };
    let bounded = sums == Sums::Values && feature.assume == Some(Assume::High);
    let kept = Kept { reach_us, ordered, sums, bounded };
    let Computed { agg, terms, argument, zone, missing } = computed(aggregate, kept, groups, zones)?;
    let argument = if is_sketched { i64::from(program::DISTINCT_EXACT_MAX) } else { argument };
    let frame = frame(&window.frame, zones)?;
    let plan =
        FeaturePlan { agg, terms, frame, delay_us: window.delay_us, against, argument, zone, ..scalar };
    Ok((plan, missing))
}

fn frame(frame: &Frame, zones: &mut Zones) -> Result<program::Frame, Diagnostic> {
    use super::typed::Period;
    Ok(match frame {
        Frame::Last { span_us } => program::Frame::Last(*span_us),
        Frame::Events { count, span_us } => program::Frame::Events(*count, *span_us),
        Frame::Every { span_us } => program::Frame::Every(*span_us),
        Frame::This { period, zone } => {
            let period = match period {
                Period::Hour => program::Period::Hour,
                Period::Day => program::Period::Day,
                Period::Week => program::Period::Week,
                Period::Month => program::Period::Month,
            };
            program::Frame::This(period, zones.index(zone)?)
        }
        Frame::Session { gap_us, span_us } => program::Frame::Session(*gap_us, *span_us),
    })
}

/// What a feature wants of the rows it looks at.
#[derive(Clone, Copy)]
struct Kept {
    reach_us: i64,
    /// Whether its frame, or which of its events are the newest, depends on their order.
    ordered: bool,
    sums: Sums,
    /// Whether it says `assume high` of something that an upper bound can be told of.
    bounded: bool,
}

/// What a feature computes.
struct Computed {
    agg: Agg,
    terms: Vec<Term>,
    argument: i64,
    zone: u16,
    /// Why what it asks for is kept only from now on.
    missing: Option<String>,
}

fn computed(
    aggregate: &Aggregate,
    kept: Kept,
    groups: &mut Groups<'_>,
    zones: &mut Zones,
) -> Result<Computed, Diagnostic> {
    let (mut argument, mut zone) = (0, NONE);
    let (agg, source, value) = match aggregate {
        Aggregate::Count(source) => (Agg::Count, source, Wanted::Nothing),
        Aggregate::Ratio(_, whole) => (Agg::Ratio, whole, Wanted::Nothing),
        Aggregate::Sum(source, value) => (Agg::Sum, source, Wanted::Value(value)),
        Aggregate::Avg(source, value) => (Agg::Avg, source, Wanted::Value(value)),
        Aggregate::Min(source, value) => (Agg::Min, source, Wanted::Value(value)),
        Aggregate::Max(source, value) => (Agg::Max, source, Wanted::Value(value)),
        Aggregate::DistinctKeys(source, field) => (Agg::DistinctKeys, source, Wanted::Key(*field)),
        Aggregate::DistinctValues(source, value) => (Agg::DistinctValues, source, Wanted::Value(value)),
        Aggregate::Stddev(source, value) => (Agg::Stddev, source, Wanted::Value(value)),
        Aggregate::First(source, value) => (Agg::First, source, Wanted::Value(value)),
        Aggregate::Last(source, value) => (Agg::Last, source, Wanted::Value(value)),
        Aggregate::ShareKeys(source, field) => (Agg::ShareKeys, source, Wanted::Key(*field)),
        Aggregate::ShareValues(source, value) => (Agg::ShareValues, source, Wanted::Value(value)),
        Aggregate::Percentile(percent, source, value) => {
            argument = i64::from(*percent);
            (Agg::Percentile, source, Wanted::Value(value))
        }
        Aggregate::Change { .. } => {
            return Err(bound("a change of a change is not possible", "compare an aggregate itself"));
        }
        Aggregate::DecayedCount(source, half_life_us) => {
            argument = *half_life_us;
            (Agg::DecayedCount, source, Wanted::Nothing)
        }
        Aggregate::DecayedSum(source, value, half_life_us) => {
            argument = *half_life_us;
            (Agg::DecayedSum, source, Wanted::Value(value))
        }
        Aggregate::SinceLast(source) => (Agg::SinceLast, source, Wanted::Nothing),
        Aggregate::SinceFirst(source) => (Agg::SinceFirst, source, Wanted::Nothing),
        Aggregate::Distance(source, field) => (Agg::Distance, source, Wanted::Place(*field)),
        Aggregate::Speed(source, field) => (Agg::Speed, source, Wanted::Place(*field)),
        Aggregate::SeenKey(source, field) => (Agg::SeenKey, source, Wanted::Key(*field)),
        Aggregate::SeenValue(source, value) => (Agg::SeenValue, source, Wanted::Value(value)),
        Aggregate::Days(source, name) => {
            zone = zones.index(name)?;
            (Agg::Days, source, Wanted::Nothing)
        }
    };
    let want = |source: &'_ Source| Want {
        event: source.event,
        role: source.role,
        reach_us: kept.reach_us,
        ordered: kept.ordered || agg.is_ordered(),
        filter: None,
        of: Wanted::Nothing,
        sums: kept.sums,
        // Not of ratios and averages, and not of least values.
        bounded: kept.bounded && matches!(agg, Agg::Count | Agg::Sum | Agg::Max),
    };
    let mut wants = Vec::with_capacity(2);
    if let Aggregate::Ratio(part, _) = aggregate {
        wants.push(Want { filter: part.filter.as_ref(), ..want(part) });
    }
    wants.push(Want { filter: source.filter.as_ref(), of: value, ..want(source) });
    let (terms, missing) = groups.terms(&wants, zones)?;
    Ok(Computed { agg, terms, argument, zone, missing })
}

fn decide_plan(
    decide: &super::typed::Decide,
    inputs: &Inputs,
    graph: &mut Graph<'_>,
    zones: &mut Zones,
    code: &mut Code,
) -> Result<DecidePlan, Diagnostic> {
    let score_root = graph.intern(zones, &decide.score)?;
    let (score_code, score) = code.emit(graph, &[(score_root, Target::Keep)], &HashMap::new())?;

    let late = decide.late.as_ref();
    let branches = late.map_or(&[][..], |late| &late.branches);
    let mut roots = Vec::new();
    for (_, condition) in decide.thresholds.iter().chain(branches) {
        roots.push((graph.intern(zones, condition)?, Target::Keep));
    }
    let (threshold_code, registers) = code.emit(graph, &roots, &HashMap::new())?;
    let (thresholds, branch_registers) = registers.split_at(decide.thresholds.len());
    let paired = |conditions: &[(Action, Expr)], registers: &[u16]| {
        let pairs = conditions.iter().zip(registers);
        pairs.map(|((action, _), register)| (*register, *action as u8)).collect::<Vec<_>>()
    };
    let register = |input: Option<u16>| input.ok_or_else(|| bound("a decision has no registers", ""));
    Ok(DecidePlan {
        models: graph.models(roots.iter().map(|(root, _)| *root).chain([score_root])),
        rule_scores_max: register(inputs.rule_scores_max)?,
        rule_scores_sum: register(inputs.rule_scores_sum)?,
        score_code,
        score: score[0],
        final_score: register(inputs.final_score)?,
        threshold_code,
        thresholds: paired(&decide.thresholds, thresholds),
        unassessed: decide.unassessed as u8,
        // 0 would mean never.
        late_after_ns: late.map_or(0, |late| late.after_ns.max(1)),
        late: paired(branches, branch_registers),
        late_otherwise: late.map_or(decide.unassessed, |late| late.otherwise) as u8,
    })
}

/// Fills in the keys of an event and everything that is found through them.
fn look_up(
    plan: &mut EventPlan,
    policy: &Policy,
    event: EventIx,
    layout: &EventLayout,
    tables: &Tables,
    features: &[FeaturePlan],
) -> Result<(), Diagnostic> {
    let inherited = |role: FieldIx| {
        let fields = &policy.events[event.index()].fields;
        let copy = fields.iter().position(|field| field.inherited == Some(role));
        copy.map(|field| FieldIx(field as u16))
    };
    // Everything found by its table and field first; these become key numbers when all are known.
    let (mut inserts, mut targets, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    for (index, group) in tables.groups.iter().enumerate() {
        let role = match group.second_role {
            NONE => By::One(FieldIx(group.role)),
            second => By::Pair(FieldIx(group.role), FieldIx(second)),
        };
        if group.event == event.0 {
            inserts.push((index as u16, (role, group.table)));
        }
        if let Some(amend) = group.amends.iter().position(|amend| amend.event == event.0) {
            let field = role.try_map(inherited).ok_or_else(|| {
                let amended = &policy.events[usize::from(group.event)];
                let lost = role.each().find(|field| inherited(*field).is_none());
                let role = lost.map_or("", |field| &amended.fields[field.index()].name);
                bound(
                    format!("amendment {} does not carry key {}.{role}", plan.name, amended.name),
                    "declare the amendment with `amends`, so that it inherits the keys",
                )
            })?;
            targets.push((index as u16, (field, group.table), amend as u16));
        }
    }
    if plan.decide.is_some() {
        for (index, feature) in policy.features.iter().enumerate() {
            let FeatureKind::Window(window) = &feature.kind else { continue };
            if let Some((_, field)) = window.judged_by.iter().find(|(judged, _)| *judged == event) {
                let term = features[index].terms.first();
                let table = term.map_or(NONE, |term| tables.groups[usize::from(term.group)].table);
                windows.push((index as u16, (*field, table)));
            }
        }
    }

    let mut fields: BTreeSet<(By<FieldIx>, u16)> = inserts.iter().map(|(_, field)| *field).collect();
    fields.extend(targets.iter().map(|(_, field, _)| *field));
    fields.extend(windows.iter().map(|(_, field)| *field));
    // A key has history where a table of its kind has rows that features look at. There is one table of a kind unless some were
    // added; and what is kept for no feature of this policy is none of its business.
    let is_asked = |group: &u16| tables.groups[usize::from(*group)].reach_us > 0;
    let used = inserts.iter().filter(|(group, _)| is_asked(group)).map(|(_, field)| *field);
    let used = used.chain(targets.iter().filter(|(group, ..)| is_asked(group)).map(|(_, field, _)| *field));
    let used: BTreeSet<By<FieldIx>> =
        used.chain(windows.iter().map(|(_, field)| *field)).map(|(field, _)| field).collect();
    if plan.decide.is_some() {
        let kinds = |number: u16| match usize::from(number).checked_sub(policy.entities.len()) {
            None => (number, NONE),
            Some(added) => (tables.tables[added].first, tables.tables[added].second),
        };
        let asked: BTreeSet<u16> =
            tables.groups.iter().filter(|group| group.reach_us > 0).map(|group| group.table).collect();
        for (field, table) in fields.clone().into_iter().filter(|(field, _)| used.contains(field)) {
            let same = asked.iter().filter(|other| kinds(**other) == kinds(table));
            fields.extend(same.map(|other| (field, *other)));
        }
    }
    if fields.len() > KEYS_MAX {
        return Err(bound(
            format!("event {} is looked up by {} keys, more than {KEYS_MAX}", plan.name, fields.len()),
            "count it by fewer of its fields",
        ));
    }
    let key_of =
        |field: (By<FieldIx>, u16)| fields.iter().position(|other| *other == field).unwrap_or(0) as u16;
    for (field, table) in &fields {
        let table = *table;
        let at = |field: FieldIx| {
            let slot = layout.slot(field);
            KeyAt { word: slot.word, bit: slot.bit }
        };
        let (first, second) = (at(field.first()), field.second().map(at));
        plan.keys.push(KeyPlan { table, first, second, tells_history: used.contains(field) });
    }
    plan.inserts =
        inserts.iter().map(|(group, field)| InsertPlan { group: *group, key: key_of(*field) }).collect();
    let target = |(group, field, amend): &(u16, (By<FieldIx>, u16), u16)| TargetPlan {
        group: *group,
        key: key_of(*field),
        amend: *amend,
    };
    plan.targets = targets.iter().map(target).collect();
    let used =
        |(feature, field): &(u16, (By<FieldIx>, u16))| FeatureUse { feature: *feature, key: key_of(*field) };
    plan.windows = windows.iter().map(used).collect();
    plan.windows.sort_by_key(|used| {
        let feature = &features[usize::from(used.feature)];
        let group = feature.terms.first().map_or(NONE, |term| term.group);
        (used.key, group, feature.frame.reach_us(), feature.delay_us)
    });
    Ok(())
}

fn rule_plans(policy: &Policy) -> Vec<RulePlan> {
    let plan = |rule: &super::typed::Rule| RulePlan {
        name: rule.name.clone(),
        event: rule.event.0,
        action: rule.action.map_or(0, |action| action as u8),
        score: rule.score.unwrap_or(-1),
        reason: rule.reason.map_or(0, |reason| policy.reasons[usize::from(reason)].id),
        mandatory: rule.mandatory,
        monitor: rule.monitor,
        salience: rule.salience,
        allow_over: rule.allow_over.iter().map(|rule| rule.0).collect(),
        alerts: rule.alerts.iter().map(|queue| policy.queues[usize::from(*queue)].id).collect(),
    };
    policy.rules.iter().map(plan).collect()
}

fn reason_plans(policy: &Policy) -> Vec<ReasonPlan> {
    let plan = |reason: &super::typed::Reason| ReasonPlan {
        id: reason.id,
        name: reason.name.clone(),
        analyst: reason.analyst.clone(),
        customer: reason.customer.clone().unwrap_or_default(),
        iso: reason.iso.clone().unwrap_or_default(),
    };
    policy.reasons.iter().map(plan).collect()
}

fn list_plans(policy: &Policy, tokenizer: &Tokenizer) -> Result<Vec<ListPlan>, Diagnostic> {
    policy.lists.iter().map(|list| list_plan(policy, list, tokenizer)).collect()
}

/// The entries of a list by their widths, in order.
fn list_plan(policy: &Policy, list: &List, tokenizer: &Tokenizer) -> Result<ListPlan, Diagnostic> {
    let mut by_width: BTreeMap<u8, Vec<(Entry, &ListEntry)>> = BTreeMap::new();
    for (position, written) in list.entries.iter().enumerate() {
        let mut entry = written.entry;
        if let ListOf::Entity(kind) = list.of {
            // The entry itself is never repeated: it is the card number.
            let kind = &policy.entities[usize::from(kind)];
            entry = entries::read(list.of, kind, &written.text, tokenizer).map_err(|(message, help)| {
                bound(format!("entry {} of list {}: {message}", position + 1, list.name), help)
            })?;
        }
        by_width.entry(entry.width).or_default().push((entry, written));
    }
    let parts = by_width.into_iter().map(|(width, mut entries)| {
        entries.sort_unstable_by_key(|(entry, _)| entry.words);
        entries.dedup_by_key(|(entry, _)| entry.words);
        let used = |(entry, _): &(Entry, &ListEntry)| {
            entry.words.iter().rposition(|word| *word != 0).map_or(1, |at| at + 1)
        };
        let words = match list.of {
            ListOf::Entity(_) | ListOf::Ip => 2,
            ListOf::Text => entries.iter().map(used).max().unwrap_or(1),
            ListOf::Int | ListOf::Country | ListOf::Currency | ListOf::Mcc | ListOf::Bin => 1,
        };
        let ends = entries.iter().any(|(_, written)| written.until.is_some());
        let until = entries.iter().map(|(_, written)| written.until.unwrap_or(i64::MAX));
        let said = |(_, written): &(Entry, &ListEntry)| Said {
            entry: written.text.clone(),
            owner: written.owner.clone(),
            reason: written.reason.clone(),
        };
        ListPart {
            width,
            words: words as u8,
            keys: entries.iter().flat_map(|(entry, _)| entry.words[..words].iter().copied()).collect(),
            until: if ends { until.collect() } else { Vec::new() },
            said: entries.iter().map(said).collect(),
        }
    });
    Ok(ListPlan { name: list.name.clone(), of: list.of, parts: parts.collect() })
}

/// A run of nothing.
const EMPTY: Run = Run { start: 0, len: 0 };
