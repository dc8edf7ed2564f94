//! Conditions → clauses.
//!
//! That a condition is certainly true is, in Kleene's logic, a formula without negation over what is certainly true or
//! certainly false: `a and b` is true when both are, false when either is. Below that are tests of one number against
//! literals, each a [`Set`] of numbers, with or without nothing. So a condition becomes a few [`Clause`]s, each with one set
//! for each operand; sets of one operand that are alternatives are joined, so that `channel in { … }` stays one test. A
//! condition that would take more than [`CLAUSES_OF_RULE_MAX`] keeps the part that does as a condition that code computes.
//!
//! The operands that fields and features are, and those that more than one rule tests, are computed for every event. What
//! takes code and only one rule asks for is that clause's rest, which is not executed unless its tests hold. So is all that
//! reads a lazy model. Where the rests are short and there are few of them, they are computed for every event too: to begin
//! with a run takes as long as some instructions.

use super::bound;
use super::code::{Code, Target};
use super::expressions::{Graph, Node, NodeId, Scale};
use super::zones::Zones;
use crate::engine::program::{
    CLAUSES_MAX, ClausePlan, CutPlan, FirstPlan, MODEL_DEN, MatchPlan, Op, OperandPlan, RestPlan, Run,
    TestPlan,
};
use crate::engine::units::{DECIMAL_DEN, Value};
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{EventIx, Policy, Type, Within};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// The most clauses of one rule.
const CLAUSES_OF_RULE_MAX: usize = 8;

/// So much of what only one rule asks for is computed for every event: steps, in all, of which most are an instruction.
const COMPUTED_MAX: usize = 16;

/// What the rules of an event come to.
pub(super) struct Matching {
    /// Code that sets the registers of the operands.
    pub(super) conditions: Run,
    /// Indexes into the policy's rules, ascending.
    pub(super) rules: Vec<u16>,
    pub(super) plan: MatchPlan,
}

/// A place between numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    at: Value,
    after: bool,
}

impl Cut {
    fn order(self, other: Self) -> Ordering {
        self.at.compare(other.at).unwrap_or(Ordering::Equal).then(self.after.cmp(&other.after))
    }
}

/// Numbers, and whether nothing belongs to them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    missing: bool,
    /// Whether the least of all numbers is in it. At each cut that changes.
    low: bool,
    cuts: Vec<Cut>,
}

impl Set {
    fn of(low: bool, cuts: &[(Value, bool)]) -> Self {
        let cuts = cuts.iter().map(|(at, after)| Cut { at: *at, after: *after }).collect();
        Self { missing: false, low, cuts }
    }

    /// What a condition is that is certainly true, or certainly false.
    fn truth(wanted: bool) -> Self {
        Self::of(!wanted, &[(Value::TRUE, false)])
    }

    fn missing() -> Self {
        Self { missing: true, ..Self::of(false, &[]) }
    }

    fn is_empty(&self) -> bool {
        !self.missing && !self.low && self.cuts.is_empty()
    }

    fn is_everything(&self) -> bool {
        self.missing && self.low && self.cuts.is_empty()
    }

    /// What is in as many of both as `join` asks.
    fn joined(&self, other: &Self, join: fn(bool, bool) -> bool) -> Self {
        let (mut a, mut b) = (self.cuts.iter().peekable(), other.cuts.iter().peekable());
        let (mut in_a, mut in_b) = (self.low, other.low);
        let low = join(in_a, in_b);
        let (mut inside, mut cuts) = (low, Vec::new());
        while let Some(&cut) = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => Some(if a.order(**b).is_le() { *a } else { *b }),
            (a, b) => a.or(b).copied(),
        } {
            if a.next_if(|next| next.order(cut).is_eq()).is_some() {
                in_a = !in_a;
            }
            if b.next_if(|next| next.order(cut).is_eq()).is_some() {
                in_b = !in_b;
            }
            if join(in_a, in_b) != inside {
                inside = !inside;
                cuts.push(cut);
            }
        }
        Self { missing: join(self.missing, other.missing), low, cuts }
    }
}

/// One way for a condition to be true: all of these are in their sets.
type Clause = BTreeMap<NodeId, Set>;

/// Takes conditions apart.
struct Parts<'g, 'p> {
    graph: &'g Graph<'p>,
    known: HashMap<(NodeId, bool), Rc<Vec<Clause>>>,
}

impl Parts<'_, '_> {
    /// The ways for a condition to be certainly true (`wanted`), or certainly false.
    fn ways(&mut self, id: NodeId, wanted: bool) -> Rc<Vec<Clause>> {
        if let Some(known) = self.known.get(&(id, wanted)) {
            return known.clone();
        }
        let ways = Rc::new(self.new_ways(id, wanted));
        self.known.insert((id, wanted), ways.clone());
        ways
    }

    fn new_ways(&mut self, id: NodeId, wanted: bool) -> Vec<Clause> {
        let graph = self.graph;
        let constant = |id: NodeId| match graph.node(id) {
            Node::Const { num, den } => Some(Value { num, den }),
            _ => None,
        };
        let one = |operand: NodeId, set: Set| vec![Clause::from([(operand, set)])];
        match graph.node(id) {
            Node::Const { num, .. } if (num != 0) == wanted => vec![Clause::new()],
            Node::Const { .. } => Vec::new(),
            Node::Unary(Op::Not, of) => self.ways(of, !wanted).to_vec(),
            Node::Unary(Op::IsMissing, of) if wanted => one(of, Set::missing()),
            Node::Unary(Op::IsMissing, of) => one(of, Set::of(true, &[])),
            Node::Binary(op @ (Op::And | Op::Or), a, b) => {
                let (ways, others) = (self.ways(a, wanted), self.ways(b, wanted));
                if (op == Op::And) == wanted {
                    if ways.len() * others.len() <= CLAUSES_OF_RULE_MAX {
                        return both(&ways, &others);
                    }
                    // The part with more ways is left to code.
                    let (few, part) = if ways.len() > others.len() { (others, a) } else { (ways, b) };
                    return both(&few, &one(part, Set::truth(wanted)));
                }
                let ways = either(&ways, &others);
                if ways.len() <= CLAUSES_OF_RULE_MAX { ways } else { one(id, Set::truth(wanted)) }
            }
            Node::Binary(op @ (Op::Eq | Op::Lt | Op::Le), a, b) => {
                let (of, set) = match (op, constant(a), constant(b)) {
                    (Op::Eq, None, Some(at)) => (a, Set::of(false, &[(at, false), (at, true)])),
                    (Op::Eq, Some(at), None) => (b, Set::of(false, &[(at, false), (at, true)])),
                    (_, None, Some(at)) => (a, Set::of(true, &[(at, op == Op::Le)])),
                    (_, Some(at), None) => (b, Set::of(false, &[(at, op == Op::Lt)])),
                    _ => return one(id, Set::truth(wanted)),
                };
                one(of, Set { low: set.low == wanted, ..set })
            }
            _ => one(id, Set::truth(wanted)),
        }
    }
}

/// The ways for two things to be so.
fn both(ways: &[Clause], others: &[Clause]) -> Vec<Clause> {
    let mut found = Vec::new();
    for (way, other) in ways.iter().flat_map(|way| others.iter().map(move |other| (way, other))) {
        let mut way = way.clone();
        for (operand, set) in other {
            let own = way.entry(*operand).or_insert_with(|| Set { missing: true, ..Set::of(true, &[]) });
            *own = own.joined(set, |a, b| a && b);
        }
        if !way.values().any(Set::is_empty) {
            found.push(way);
        }
    }
    found
}

/// The ways for one of two things to be so. Two that differ in the set of one operand are one.
fn either(ways: &[Clause], others: &[Clause]) -> Vec<Clause> {
    let mut found: Vec<Clause> = ways.to_vec();
    'others: for other in others {
        for way in &mut found {
            if way.len() != other.len() || !way.keys().eq(other.keys()) {
                continue;
            }
            let mut differ = way.iter().filter(|(operand, set)| other[*operand] != **set).map(|(of, _)| *of);
            match (differ.next(), differ.next()) {
                (None, _) => continue 'others,
                (Some(operand), None) => {
                    let set = way[&operand].joined(&other[&operand], |a, b| a || b);
                    if set.is_everything() {
                        way.remove(&operand)
                    } else {
                        way.insert(operand, set)
                    };
                    continue 'others;
                }
                _ => {}
            }
        }
        found.push(other.clone());
    }
    found
}

/// Writes what makes the rules of an event fire.
pub(super) fn matching(
    policy: &Policy,
    event: EventIx,
    graph: &mut Graph<'_>,
    zones: &mut Zones,
    code: &mut Code,
) -> Result<Matching, Diagnostic> {
    let (mut conditions, mut firsts) = (Vec::new(), Vec::<FirstPlan>::new());
    let mut last = None;
    for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| rule.event == event) {
        let when = graph.intern(zones, &rule.when)?;
        let mut when = graph.effective(rule.effective, Some(when));
        match rule.within {
            Some(Within::Scene(scene)) => {
                let scene = &policy.scenes[scene.index()];
                let gate = graph.intern(zones, &scene.when)?;
                let gate = graph.effective(scene.effective, Some(gate));
                when = graph.both(gate, when);
            }
            Some(Within::Table(table)) => {
                when = graph.effective(policy.tables[table.index()].effective, Some(when));
                match firsts.last_mut() {
                    _ if !policy.tables[table.index()].first => {}
                    Some(first) if last == rule.within => first.count += 1,
                    _ => firsts.push(FirstPlan { start: conditions.len() as u16, count: 1 }),
                }
            }
            None => {}
        }
        last = rule.within;
        conditions.push((index as u16, when));
    }
    // What the models of the event are given.
    let mut given = Vec::new();
    for model in policy.models.iter().filter(|model| model.event == event) {
        for input in &model.inputs {
            given.push(graph.model_input(zones, input)?);
        }
    }
    let mut parts = Parts { graph, known: HashMap::new() };
    let ways: Vec<Rc<Vec<Clause>>> = conditions.iter().map(|(_, when)| parts.ways(*when, true)).collect();

    // By how many rules each operand is tested.
    let mut uses: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for (rule, ways) in ways.iter().enumerate() {
        for operand in ways.iter().flat_map(Clause::keys) {
            let (last, count) = uses.entry(*operand).or_insert((usize::MAX, 0));
            if std::mem::replace(last, rule) != rule {
                *count += 1;
            }
        }
    }
    let is_lazy = |id: NodeId| !graph.lazy_models([id]).is_empty();
    let is_read = |id: NodeId| match graph.node(id) {
        Node::Input(_) => true,
        Node::Load(load) => {
            !matches!(load.op, Op::InList | Op::Within | Op::TextIs | Op::TextStarts | Op::SameText)
        }
        _ => false,
    };
    // A lazy model is not asked before all other parts of a clause hold: they are looked at first, as operands.
    let lazy: HashSet<NodeId> = uses.keys().copied().filter(|id| is_lazy(*id)).collect();
    let is_beside = |way: &&Clause| way.keys().any(|id| lazy.contains(id));
    let beside: HashSet<NodeId> =
        ways.iter().flat_map(|ways| ways.iter().filter(is_beside)).flat_map(Clause::keys).copied().collect();
    let is_operand =
        |id: &NodeId| !lazy.contains(id) && (is_read(*id) || uses[id].1 > 1 || beside.contains(id));
    let rests = uses.keys().copied().filter(|id| !lazy.contains(id) && !is_operand(id));
    let little = graph.little(rests, COMPUTED_MAX);
    let (operands, mut deferred): (Vec<NodeId>, Vec<NodeId>) =
        uses.keys().partition(|id| is_operand(id) || little.contains(id));
    // Money is what most rules look at. It is read once for all of them; and what cannot be converted is counted whether or
    // not a rule comes to it, or a model is asked.
    if policy.rates.is_some() {
        deferred.extend(given);
    }
    let converted = converted(graph, deferred);
    let computed: Vec<NodeId> = operands.iter().copied().chain(converted).collect();
    let roots: Vec<(NodeId, Target)> = computed.iter().map(|id| (*id, Target::Keep)).collect();
    let (conditions_run, registers) = code.emit(graph, &roots, &HashMap::new())?;
    let given: HashMap<NodeId, u16> = computed.iter().copied().zip(registers.iter().copied()).collect();
    let number: HashMap<NodeId, u16> = operands.iter().copied().zip(0..).collect();
    let is_model = |register: u16| {
        usize::from(register).checked_sub(policy.features.len()).is_some_and(|at| at < policy.models.len())
    };
    let plan_of = |(id, register): (&NodeId, &u16)| OperandPlan {
        register: *register,
        den: match graph.node(*id) {
            Node::Input(feature) => match policy.features.get(usize::from(feature)).map(|known| known.ty) {
                Some(Type::Decimal) => DECIMAL_DEN,
                None if is_model(feature) => MODEL_DEN,
                _ => 1,
            },
            _ if graph.scale(*id) == Scale::Decimal => DECIMAL_DEN,
            _ => 1,
        },
    };
    let mut plan = MatchPlan {
        operands: operands.iter().zip(&registers).map(plan_of).collect(),
        clauses: Vec::new(),
        firsts,
    };

    let mut rest_register = None;
    for (rule, ways) in ways.iter().enumerate() {
        for way in ways.iter() {
            let (mut tests, mut rest) = (Vec::new(), None);
            for (operand, set) in way {
                if let Some(operand) = number.get(operand) {
                    tests.push(test(*operand, set));
                } else {
                    let part = graph.is_in(*operand, set);
                    rest = Some(rest.map_or(part, |rest| graph.both(rest, part)));
                }
            }
            let rest = match rest {
                None => None,
                Some(rest) => {
                    // One register for all of them: each is looked at right after its code.
                    let register = match rest_register {
                        Some(register) => register,
                        None => *rest_register.insert(code.register()?),
                    };
                    let (code, _) = code.emit(graph, &[(rest, Target::Register(register))], &given)?;
                    Some(RestPlan { models: graph.lazy_models([rest]), code, register })
                }
            };
            plan.clauses.push(ClausePlan { rule: rule as u16, tests, rest });
        }
    }
    if plan.clauses.len() > CLAUSES_MAX {
        return Err(bound(
            format!("the rules of one event take more than {CLAUSES_MAX} clauses"),
            "use fewer alternatives in their conditions, or split the policy into several instances",
        ));
    }
    let rules = conditions.iter().map(|(rule, _)| *rule).collect();
    Ok(Matching { conditions: conditions_run, rules, plan })
}

/// The money that is read or converted below these nodes.
fn converted(graph: &Graph<'_>, mut open: Vec<NodeId>) -> BTreeSet<NodeId> {
    let (mut seen, mut found) = (HashSet::new(), BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        match graph.node(id) {
            // What a model has a part in is never converted in a policy that was checked.
            Node::Convert(..) if graph.lazy_models([id]).is_empty() => _ = found.insert(id),
            Node::Load(load) if load.op == Op::FieldMoney => _ = found.insert(id),
            _ => {}
        }
        open.extend(graph.children(id));
    }
    found
}

fn test(operand: u16, set: &Set) -> TestPlan {
    let cut = |cut: &Cut| CutPlan { num: cut.at.num, den: cut.at.den, after: cut.after };
    TestPlan { operand, missing: set.missing, low: set.low, cuts: set.cuts.iter().map(cut).collect() }
}

impl Graph<'_> {
    /// Those of the roots that are [`arithmetic`](Self::arithmetic), if it takes at most so many instructions to compute all
    /// of these; else none.
    fn little(&self, roots: impl Iterator<Item = NodeId>, most: usize) -> BTreeSet<NodeId> {
        let (mut little, mut all) = (BTreeSet::new(), HashSet::new());
        for root in roots {
            let Some(nodes) = self.arithmetic(root, most) else { continue };
            all.extend(nodes);
            if all.len() > most {
                return BTreeSet::new();
            }
            little.insert(root);
        }
        little
    }

    /// What is computed for a node, if it is computed from numbers that are read alone, so that nothing is looked up or
    /// converted for it, and if that is at most so much.
    fn arithmetic(&self, root: NodeId, most: usize) -> Option<HashSet<NodeId>> {
        let (mut open, mut nodes) = (vec![root], HashSet::new());
        while let Some(id) = open.pop() {
            match self.node(id) {
                Node::Input(_) | Node::Const { .. } => continue,
                Node::Convert(..) | Node::Listed(..) => return None,
                Node::Load(load) => match load.op {
                    Op::Field | Op::FieldDecimal | Op::FieldMoney | Op::Present | Op::EventTime => {}
                    _ => return None,
                },
                _ => {}
            }
            if nodes.insert(id) {
                open.extend(self.children(id));
            }
            if nodes.len() > most {
                return None;
            }
        }
        Some(nodes)
    }

    /// A condition that is true of what is in the set, and of nothing else.
    fn is_in(&mut self, of: NodeId, set: &Set) -> NodeId {
        for wanted in [true, false] {
            if self.is_condition(of) && *set == Set::truth(wanted) {
                return if wanted { of } else { self.unary(Op::Not, of) };
            }
        }
        let mut alternatives = Vec::new();
        if set.missing {
            alternatives.push(self.unary(Op::IsMissing, of));
        }
        let mut cuts = set.cuts.iter();
        let mut start = if set.low { Some(None) } else { cuts.next().map(Some) };
        while let Some(from) = start {
            let until = cuts.next();
            let above = from.map(|cut| {
                let at = self.literal(cut.at);
                self.binary(if cut.after { Op::Lt } else { Op::Le }, at, of)
            });
            let below = until.map(|cut| {
                let at = self.literal(cut.at);
                self.binary(if cut.after { Op::Le } else { Op::Lt }, of, at)
            });
            alternatives.push(match (above, below) {
                (Some(above), Some(below)) => self.both(above, below),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => {
                    let missing = self.unary(Op::IsMissing, of);
                    self.unary(Op::Not, missing)
                }
            });
            start = cuts.next().map(Some);
        }
        let mut alternatives = alternatives.into_iter();
        // No clause has an empty set.
        let Some(first) = alternatives.next() else { return self.literal(Value::FALSE) };
        alternatives.fold(first, |any, next| self.binary(Op::Or, any, next))
    }

    /// Whether it is true, false or unknown, and never another number.
    fn is_condition(&self, id: NodeId) -> bool {
        match self.node(id) {
            Node::Unary(op, _) | Node::Binary(op, ..) => {
                matches!(op, Op::Not | Op::IsMissing | Op::And | Op::Or | Op::Eq | Op::Lt | Op::Le)
            }
            Node::Listed(..) => true,
            Node::Load(load) => matches!(
                load.op,
                Op::Present
                    | Op::InList
                    | Op::SameKey
                    | Op::Within
                    | Op::TextIs
                    | Op::TextStarts
                    | Op::SameText
            ),
            _ => false,
        }
    }
}
