//! The code of an event's rules.
//!
//! First come the rules that stand alone and the conditions of the scenes, then scene by scene the rules of each, which are
//! skipped as a whole unless the scene's condition is true. What is skipped has false conditions: their registers are cleared
//! before anything else. What is used on both sides of a skip is computed before it.

use super::code::{Code, Target};
use super::expressions::{Graph, NodeId};
use super::zones::Zones;
use crate::engine::program::Run;
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{EventIx, Policy, SceneIx, Within};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Rules that are skipped together.
struct Section {
    /// What must be true for them.
    gate: NodeId,
    /// Rules and their conditions.
    rules: Vec<(usize, NodeId)>,
}

/// Writes the code that sets the condition registers of an event's rules. Returns it, and the rules with these registers.
pub(super) fn conditions(
    policy: &Policy,
    event: EventIx,
    graph: &mut Graph<'_>,
    zones: &mut Zones,
    code: &mut Code,
) -> Result<(Run, Vec<(usize, u16)>), Diagnostic> {
    let mut alone = Vec::new();
    let mut sections: Vec<(SceneIx, Section)> = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| rule.event == event) {
        let when = graph.intern(zones, &rule.when)?;
        let when = graph.effective(rule.effective, Some(when));
        let Some(Within::Scene(scene)) = rule.within else {
            alone.push((index, when));
            continue;
        };
        if !matches!(sections.last(), Some((last, _)) if *last == scene) {
            let declared = &policy.scenes[scene.index()];
            let gate = graph.intern(zones, &declared.when)?;
            let gate = graph.effective(declared.effective, Some(gate));
            sections.push((scene, Section { gate, rules: Vec::new() }));
        }
        if let Some((_, section)) = sections.last_mut() {
            section.rules.push((index, when));
        }
    }
    let sections: Vec<Section> = sections.into_iter().map(|(_, section)| section).collect();

    let start = code.here();
    let registers = code.cleared(sections.iter().map(|section| section.rules.len()).sum())?;
    let mut roots: Vec<NodeId> = alone.iter().map(|(_, when)| *when).collect();
    roots.extend(sections.iter().map(|section| section.gate));
    let shared = shared(graph, &roots, &sections);
    let first = roots.iter().copied().chain(shared).map(|node| (node, Target::Keep));
    let first: Vec<_> = first.collect();
    let (_, kept) = code.emit(graph, &first, &HashMap::new())?;
    let given: HashMap<NodeId, u16> = first.iter().map(|(node, _)| *node).zip(kept).collect();

    let mut conditions: Vec<(usize, u16)> = alone.iter().map(|(rule, when)| (*rule, given[when])).collect();
    let mut registers = registers.into_iter();
    for section in &sections {
        let own: Vec<u16> = registers.by_ref().take(section.rules.len()).collect();
        let skip = code.skip_unless_true(given[&section.gate]);
        let roots = section.rules.iter().zip(&own).map(|((_, when), own)| (*when, Target::Register(*own)));
        code.emit(graph, &roots.collect::<Vec<_>>(), &given)?;
        code.land(skip);
        conditions.extend(section.rules.iter().map(|(rule, _)| *rule).zip(own));
    }
    Ok((code.run_from(start)?, conditions))
}

/// What the sections use of what is computed for `roots`.
fn shared(graph: &Graph<'_>, roots: &[NodeId], sections: &[Section]) -> BTreeSet<NodeId> {
    let mut before = HashSet::new();
    let mut open = roots.to_vec();
    while let Some(node) = open.pop() {
        if before.insert(node) {
            open.extend(graph.children(node));
        }
    }
    let (mut shared, mut seen) = (BTreeSet::new(), HashSet::new());
    let mut open: Vec<NodeId> =
        sections.iter().flat_map(|section| &section.rules).map(|rule| rule.1).collect();
    while let Some(node) = open.pop() {
        if before.contains(&node) {
            shared.insert(node);
        } else if seen.insert(node) {
            open.extend(graph.children(node));
        }
    }
    shared
}
