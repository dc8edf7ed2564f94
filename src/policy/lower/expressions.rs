//! Trees → graphs.
//!
//! A [`Graph`] holds the expressions over one event with every equal subexpression once (hash-consing), so that
//! equality of expressions is equality of [`NodeId`]s and a `let` used twice is one node. A node's children
//! always have smaller ids. [`super::code`] writes runs from such graphs.

use super::bound;
use super::layout::{EventLayout, Slot};
use super::zones::Zones;
use crate::engine::program::{Definition, FieldKind, Op, TextPair};
use crate::engine::units::{Currency, DECIMAL_DEN, SECOND, Value};
use crate::engine::validate::DEPTH_MAX;
use crate::policy::diagnostics::Diagnostic;
use crate::policy::test::script::Stubs;
use crate::policy::typed::{
    Arithmetic, Compare, Effective, EventIx, Expr, FieldIx, FieldType, LetIx, Policy, Type,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A node of a [`Graph`].
pub(super) type NodeId = u32;

/// An instruction that reads the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) op: Op,
    pub(super) a: u16,
    pub(super) b: u16,
    pub(super) imm: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// A literal.
    Const { num: i64, den: i64 },
    /// Read from the event in context.
    Load(Load),
    /// Read from the newest amendment of this event kind.
    Amended(u16, Load),
    /// Whether an amendment of this event kind has been applied (known).
    Applied(u16),
    /// A register that something else sets: a feature, a model's value, a score.
    Input(u16),
    /// `Not`, `IsMissing`.
    Unary(Op, NodeId),
    /// Everything with two operands.
    Binary(Op, NodeId, NodeId),
    /// Rounded half-even to this denominator.
    Rescale(NodeId, i64),
    /// Minor units of the first currency as minor units of the second.
    Convert(NodeId, u16, u16),
    /// Whether the value is in this list.
    Listed(NodeId, u16),
    /// The first unless it is missing, else the second.
    FirstPresent(NodeId, NodeId),
    /// If the first is certainly true the second, else the third.
    Choose(NodeId, NodeId, NodeId),
}

impl Node {
    fn children(self) -> impl Iterator<Item = NodeId> {
        let (list, count) = match self {
            Self::Const { .. } | Self::Load(_) | Self::Amended(..) | Self::Applied(_) | Self::Input(_) => {
                ([0; 3], 0)
            }
            Self::Unary(_, a) | Self::Rescale(a, _) | Self::Convert(a, ..) | Self::Listed(a, _) => {
                ([a, 0, 0], 1)
            }
            Self::Binary(_, a, b) | Self::FirstPresent(a, b) => ([a, b, 0], 2),
            Self::Choose(a, b, c) => ([a, b, c], 3),
        };
        list.into_iter().take(count)
    }
}

/// Which denominators a node's value can have: decides whether it can be stored without rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Always 1 (or missing).
    Whole,
    /// Always [`DECIMAL_DEN`] (or missing).
    Decimal,
    /// Any.
    Free,
}

impl Scale {
    /// The denominator of a column that holds such values exactly.
    pub(super) fn den(self) -> Option<i64> {
        match self {
            Self::Whole => Some(1),
            Self::Decimal => Some(DECIMAL_DEN),
            Self::Free => None,
        }
    }
}

struct Entry {
    node: Node,
    scale: Scale,
    /// Mentions an amendment, itself or below.
    amended: bool,
}

/// Registers that the engine sets before decision code runs.
#[derive(Clone, Copy, Default)]
pub(super) struct Inputs {
    pub(super) rule_scores_max: Option<u16>,
    pub(super) rule_scores_sum: Option<u16>,
    pub(super) final_score: Option<u16>,
}

/// What money an expression is.
enum Money {
    /// Only known when the event is there.
    Any,
    /// Always this currency.
    Of(Currency),
    /// No money.
    None,
}

/// The expressions over one event.
pub(super) struct Graph<'p> {
    policy: &'p Policy,
    layouts: &'p [EventLayout],
    event: EventIx,
    /// Inside aggregates amendments can be there; outside they are always missing.
    amendments: bool,
    inputs: Inputs,
    /// What a test has fixed.
    stubs: Option<&'p Stubs>,
    entries: Vec<Entry>,
    index: HashMap<Node, NodeId>,
    lets: HashMap<LetIx, NodeId>,
    depth: usize,
}

impl<'p> Graph<'p> {
    /// For what is stored of an event.
    pub(super) fn stored(policy: &'p Policy, layouts: &'p [EventLayout], event: EventIx) -> Self {
        Self {
            policy,
            layouts,
            event,
            amendments: true,
            inputs: Inputs::default(),
            stubs: None,
            entries: Vec::new(),
            index: HashMap::new(),
            lets: HashMap::new(),
            depth: 0,
        }
    }

    /// For judging an event.
    pub(super) fn decision(
        policy: &'p Policy,
        layouts: &'p [EventLayout],
        event: EventIx,
        inputs: Inputs,
        stubs: &'p Stubs,
    ) -> Self {
        Self { amendments: false, inputs, stubs: Some(stubs), ..Self::stored(policy, layouts, event) }
    }

    pub(super) fn node(&self, id: NodeId) -> Node {
        self.entries[id as usize].node
    }

    pub(super) fn scale(&self, id: NodeId) -> Scale {
        self.entries[id as usize].scale
    }

    /// Whether the node mentions an amendment.
    pub(super) fn is_amended(&self, id: NodeId) -> bool {
        self.entries[id as usize].amended
    }

    pub(super) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.node(id).children()
    }

    /// What a node means, wherever it is computed: the same in every program of one event layout.
    pub(super) fn meaning_of(&self, id: NodeId, zones: &Zones) -> Definition {
        let hash = self.meaning(id, zones, &mut HashMap::new());
        let word =
            |at: usize| hash[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        [word(0), word(8)]
    }

    fn meaning(&self, id: NodeId, zones: &Zones, known: &mut HashMap<NodeId, [u8; 32]>) -> [u8; 32] {
        if let Some(hash) = known.get(&id) {
            return *hash;
        }
        let node = self.node(id);
        let mut hasher = blake3::Hasher::new();
        // What is named by a number that the program gives out is named by what it stands for.
        let mut load = |load: Load| {
            let named = zones.named(&load);
            let imm = if named.is_none() { load.imm } else { 0 };
            let named = named.unwrap_or_default();
            hasher.update(format!("{:?} {} {} {imm} {named:?}", load.op, load.a, load.b).as_bytes());
        };
        match node {
            Node::Load(of) => load(of),
            Node::Amended(event, of) => {
                load(of);
                hasher.update(format!("amended by {event}").as_bytes());
            }
            Node::Const { num, den } => _ = hasher.update(format!("{num}/{den}").as_bytes()),
            Node::Applied(event) => _ = hasher.update(format!("applied {event}").as_bytes()),
            Node::Input(register) => _ = hasher.update(format!("input {register}").as_bytes()),
            Node::Unary(op, _) => _ = hasher.update(format!("unary {op:?}").as_bytes()),
            Node::Binary(op, ..) => _ = hasher.update(format!("binary {op:?}").as_bytes()),
            Node::Rescale(_, den) => _ = hasher.update(format!("rescale {den}").as_bytes()),
            Node::Convert(_, from, to) => _ = hasher.update(format!("convert {from} {to}").as_bytes()),
            Node::Listed(_, list) => {
                hasher.update(format!("in list {}", zones.list(u32::from(list))).as_bytes());
            }
            Node::FirstPresent(..) => _ = hasher.update(b"first present"),
            Node::Choose(..) => _ = hasher.update(b"choose"),
        }
        for child in node.children() {
            hasher.update(&self.meaning(child, zones, known));
        }
        let hash = *hasher.finalize().as_bytes();
        known.insert(id, hash);
        hash
    }

    /// The node of what a column of type `ty` holds: the value itself where its denominator is fixed, else
    /// rounded half-even to the type's.
    pub(super) fn storable(&mut self, id: NodeId, ty: FieldScale) -> NodeId {
        if self.scale(id) != Scale::Free {
            return id;
        }
        self.add(Node::Rescale(id, if ty == FieldScale::Decimal { DECIMAL_DEN } else { 1 }))
    }

    fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.index.get(&node) {
            return *id;
        }
        let scale = self.scale_of(node);
        let amended = matches!(node, Node::Amended(..) | Node::Applied(_))
            || node.children().any(|child| self.is_amended(child));
        let id = self.entries.len() as NodeId;
        self.entries.push(Entry { node, scale, amended });
        self.index.insert(node, id);
        id
    }

    fn scale_of(&self, node: Node) -> Scale {
        let join =
            |a: NodeId, b: NodeId| if self.scale(a) == self.scale(b) { self.scale(a) } else { Scale::Free };
        let of_den = |den| match den {
            1 => Scale::Whole,
            DECIMAL_DEN => Scale::Decimal,
            _ => Scale::Free,
        };
        match node {
            Node::Const { den, .. } | Node::Rescale(_, den) => of_den(den),
            Node::Load(load) | Node::Amended(_, load) if load.op == Op::FieldDecimal => Scale::Decimal,
            Node::Load(_)
            | Node::Amended(..)
            | Node::Applied(_)
            | Node::Unary(..)
            | Node::Convert(..)
            | Node::Listed(..) => Scale::Whole,
            Node::Input(_) => Scale::Free,
            Node::FirstPresent(a, b) | Node::Choose(_, a, b) => join(a, b),
            Node::Binary(op, a, b) => {
                let is = |other: Op| op == other;
                if is(Op::Max) || is(Op::Min) {
                    join(a, b)
                } else if is(Op::Div) {
                    Scale::Free
                } else if is(Op::Add) || is(Op::Sub) || is(Op::Mul) {
                    // The sum of two decimals can be reduced to another denominator when it overflows.
                    if join(a, b) == Scale::Whole { Scale::Whole } else { Scale::Free }
                } else {
                    Scale::Whole
                }
            }
        }
    }

    pub(super) fn unary(&mut self, op: Op, a: NodeId) -> NodeId {
        self.add(Node::Unary(op, a))
    }

    pub(super) fn binary(&mut self, op: Op, a: NodeId, b: NodeId) -> NodeId {
        self.add(Node::Binary(op, a, b))
    }

    /// The value of an input of a model: durations, which are in microseconds, in seconds.
    pub(super) fn model_input(
        &mut self,
        zones: &mut Zones,
        (expr, ty): &(Expr, Type),
    ) -> Result<NodeId, Diagnostic> {
        let input = self.intern(zones, expr)?;
        if *ty != Type::Duration {
            return Ok(input);
        }
        let second = self.literal(Value::int(SECOND));
        Ok(self.binary(Op::Div, input, second))
    }

    /// The lazy models that these nodes read, ascending.
    pub(super) fn lazy_models(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<u16> {
        let mut models = self.models(roots);
        models.retain(|model| self.policy.models[usize::from(*model)].lazy);
        models
    }

    /// The models that these nodes read, ascending.
    pub(super) fn models(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<u16> {
        let first = self.policy.features.len();
        let (mut models, mut seen) = (BTreeSet::new(), HashSet::new());
        let mut open: Vec<NodeId> = roots.into_iter().collect();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Node::Input(register) = self.node(id)
                && let Some(model) = usize::from(register).checked_sub(first)
                && model < self.policy.models.len()
            {
                models.insert(model as u16);
            }
            open.extend(self.children(id));
        }
        models.into_iter().collect()
    }

    /// Whether two conditions hold.
    pub(super) fn both(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Op::And, a, b)
    }

    pub(super) fn literal(&mut self, value: Value) -> NodeId {
        if value.den > 0 {
            return self.add(Node::Const { num: value.num, den: value.den });
        }
        // There is no missing literal; dividing by zero makes one.
        let (one, zero) =
            (self.add(Node::Const { num: 1, den: 1 }), self.add(Node::Const { num: 0, den: 1 }));
        self.binary(Op::Div, one, zero)
    }

    fn load(&mut self, op: Op, a: u16, b: u16, imm: u32) -> NodeId {
        self.add(Node::Load(Load { op, a, b, imm }))
    }

    /// Whether something holds that holds only while effective, and, where a condition is given, only while that is true.
    /// Always when there is neither.
    pub(super) fn effective(&mut self, effective: Effective, when: Option<NodeId>) -> NodeId {
        let time = self.load(Op::EventTime, 0, 0, 0);
        let from = effective.from.map(|from| {
            let from = self.literal(Value::int(from));
            self.binary(Op::Le, from, time)
        });
        let until = effective.until.map(|until| {
            let until = self.literal(Value::int(until));
            self.binary(Op::Lt, time, until)
        });
        let mut parts = [from, until, when].into_iter().flatten();
        let Some(first) = parts.next() else { return self.literal(Value::TRUE) };
        parts.fold(first, |all, part| self.binary(Op::And, all, part))
    }

    /// Adds an expression; equal expressions get equal nodes.
    pub(super) fn intern(&mut self, zones: &mut Zones, expr: &Expr) -> Result<NodeId, Diagnostic> {
        if self.depth == DEPTH_MAX {
            return Err(bound(
                format!("an expression is nested more than {DEPTH_MAX} levels deep, definitions included"),
                "simplify it",
            ));
        }
        self.depth += 1;
        let node = self.intern_inner(zones, expr);
        self.depth -= 1;
        node
    }

    fn intern_inner(&mut self, zones: &mut Zones, expr: &Expr) -> Result<NodeId, Diagnostic> {
        Ok(match expr {
            Expr::Const(value, _) => self.literal(*value),
            Expr::Field(field) => self.field(*field)?,
            Expr::Amended(event, field) => self.amended(*event, *field)?,
            Expr::FieldMissing(field) => {
                let present = self.field_present(*field);
                self.unary(Op::Not, present)
            }
            Expr::AmendMissing(event, None) => {
                if self.amendments {
                    let applied = self.add(Node::Applied(event.0));
                    self.unary(Op::Not, applied)
                } else {
                    self.literal(Value::TRUE)
                }
            }
            Expr::AmendMissing(event, Some(field)) => {
                let raw = self.amended_raw(*event, *field);
                self.unary(Op::IsMissing, raw)
            }
            Expr::IsMissing(of) => {
                if matches!(self.money(of), Money::Any) {
                    let present = self.present(of)?;
                    self.unary(Op::Not, present)
                } else {
                    let of = self.intern(zones, of)?;
                    self.unary(Op::IsMissing, of)
                }
            }
            Expr::Let(definition) => self.definition(zones, *definition)?,
            Expr::Feature(feature) => match self.stubs.and_then(|stubs| stubs.features.get(feature)) {
                Some(value) => self.literal(*value),
                None => self.add(Node::Input(feature.0)),
            },
            Expr::Model(model) => self.add(Node::Input(self.policy.features.len() as u16 + model.0)),
            Expr::InCurrency(of, currency) => match self.money(of) {
                Money::Any => self.convert(of, *currency)?,
                Money::Of(from) if from == *currency => self.intern(zones, of)?,
                Money::Of(_) if self.policy.rates.is_none() => self.literal(Value::MISSING),
                Money::Of(from) => {
                    let of = self.intern(zones, of)?;
                    // It would be converted again whenever an amendment comes, at a rate of then.
                    if self.is_amended(of) {
                        return Err(internal("money that an amendment may change is converted twice"));
                    }
                    self.add(Node::Convert(of, from.0, currency.0))
                }
                Money::None => return Err(internal("a number is used as money")),
            },
            Expr::Major(of) => {
                let Money::Of(currency) = self.money(of) else {
                    return Err(internal("major() of money of no particular currency"));
                };
                let minor = self.intern(zones, of)?;
                if currency.exponent() == 0 {
                    minor
                } else {
                    let units = self.literal(Value::int(10_i64.pow(currency.exponent())));
                    self.binary(Op::Div, minor, units)
                }
            }
            Expr::CurrencyOf(of) => self.currency_of(of)?,
            Expr::FirstPresent(of) => {
                self.fold(zones, of, |graph, a, b| graph.add(Node::FirstPresent(a, b)))?
            }
            Expr::Extreme { greatest, of } => {
                let op = if *greatest { Op::Max } else { Op::Min };
                self.fold(zones, of, |graph, a, b| graph.binary(op, a, b))?
            }
            Expr::Choose { branches, otherwise } => {
                let mut value = self.intern(zones, otherwise)?;
                for (when, then) in branches.iter().rev() {
                    let (when, then) = (self.intern(zones, when)?, self.intern(zones, then)?);
                    value = self.add(Node::Choose(when, then, value));
                }
                value
            }
            Expr::Not(of) => {
                let of = self.intern(zones, of)?;
                self.unary(Op::Not, of)
            }
            Expr::And(a, b) => self.two(zones, Op::And, a, b)?,
            Expr::Or(a, b) => self.two(zones, Op::Or, a, b)?,
            Expr::Compare(compare, a, b) => match compare {
                Compare::Eq => self.two(zones, Op::Eq, a, b)?,
                Compare::Ne => {
                    let equal = self.two(zones, Op::Eq, a, b)?;
                    self.unary(Op::Not, equal)
                }
                Compare::Lt => self.two(zones, Op::Lt, a, b)?,
                Compare::Le => self.two(zones, Op::Le, a, b)?,
                Compare::Gt => self.two(zones, Op::Lt, b, a)?,
                Compare::Ge => self.two(zones, Op::Le, b, a)?,
            },
            Expr::Arithmetic(operator, a, b) => {
                let op = match operator {
                    Arithmetic::Add => Op::Add,
                    Arithmetic::Sub => Op::Sub,
                    Arithmetic::Mul => Op::Mul,
                    Arithmetic::Div => Op::Div,
                };
                self.two(zones, op, a, b)?
            }
            Expr::Negate(of) => {
                let of = self.intern(zones, of)?;
                let zero = self.literal(Value::int(0));
                self.binary(Op::Sub, zero, of)
            }
            Expr::InList(field, list) => {
                let (slot, words) = self.words(*field);
                self.load(Op::InList, slot.word, u16::from(slot.bit), u32::from(list.0) | words << 16)
            }
            Expr::Listed(of, list) => match **of {
                Expr::Field(field) => {
                    let (slot, words) = self.words(field);
                    self.load(Op::InList, slot.word, u16::from(slot.bit), u32::from(list.0) | words << 16)
                }
                // Looked up when the amendment comes.
                Expr::Amended(event, field) => {
                    self.amended_load(Op::InList, event, field, u32::from(list.0) | 1 << 16)
                }
                _ => {
                    let of = self.intern(zones, of)?;
                    // It would be looked up again whenever an amendment comes, in the list of then.
                    if self.is_amended(of) {
                        return Err(internal("what an amendment may change is computed, then looked up"));
                    }
                    self.add(Node::Listed(of, list.0))
                }
            },
            Expr::Within(field, prefix) => {
                let (slot, prefix) = (self.words(*field).0, zones.prefix(*prefix)?);
                self.load(Op::Within, slot.word, u16::from(slot.bit), u32::from(prefix))
            }
            Expr::TextIs(field, text) | Expr::TextStarts(field, text) => {
                let op = if matches!(expr, Expr::TextIs(..)) { Op::TextIs } else { Op::TextStarts };
                let ((slot, words), text) = (self.words(*field), zones.text(text)?);
                self.load(op, slot.word, u16::from(slot.bit), u32::from(text) | words << 16)
            }
            Expr::SameText(a, b) => {
                let ((a, words), (b, other_words)) = (self.words(*a), self.words(*b));
                let (words, other_words) = (words as u16, other_words as u16);
                let pair = TextPair { words, other_words, other: b.word, other_bit: u16::from(b.bit) };
                self.load(Op::SameText, a.word, u16::from(a.bit), pair.to_imm())
            }
            Expr::SameKey(a, b) => {
                let layout = &self.layouts[self.event.index()];
                let (a, b) = (layout.slot(*a), layout.slot(*b));
                let imm = u32::from(b.bit) << 16 | u32::from(b.word);
                self.load(Op::SameKey, a.word, u16::from(a.bit), imm)
            }
            Expr::Now => self.load(Op::EventTime, 0, 0, 0),
            Expr::Hour(zone) => {
                let zone = zones.index(zone)?;
                self.load(Op::Hour, 0, 0, u32::from(zone))
            }
            Expr::Weekday(zone) => {
                let zone = zones.index(zone)?;
                self.load(Op::Weekday, 0, 0, u32::from(zone))
            }
            Expr::RuleScoresMax => self.input(self.inputs.rule_scores_max)?,
            Expr::RuleScoresSum => self.input(self.inputs.rule_scores_sum)?,
            Expr::Score => self.input(self.inputs.final_score)?,
        })
    }

    /// Where a field of the event in context is, and how many words it takes.
    fn words(&self, field: FieldIx) -> (Slot, u32) {
        let words = self.policy.events[self.event.index()].fields[field.index()].ty.words();
        (self.layouts[self.event.index()].slot(field), words as u32)
    }

    fn input(&mut self, register: Option<u16>) -> Result<NodeId, Diagnostic> {
        let register = register.ok_or_else(|| internal("a score is used outside a decision"))?;
        Ok(self.add(Node::Input(register)))
    }

    fn two(&mut self, zones: &mut Zones, op: Op, a: &Expr, b: &Expr) -> Result<NodeId, Diagnostic> {
        let (a, b) = (self.intern(zones, a)?, self.intern(zones, b)?);
        Ok(self.binary(op, a, b))
    }

    fn fold(
        &mut self,
        zones: &mut Zones,
        of: &[Expr],
        join: impl Fn(&mut Self, NodeId, NodeId) -> NodeId,
    ) -> Result<NodeId, Diagnostic> {
        let Some((first, rest)) = of.split_first() else {
            return Ok(self.literal(Value::MISSING));
        };
        let mut joined = self.intern(zones, first)?;
        for next in rest {
            let next = self.intern(zones, next)?;
            joined = join(self, joined, next);
        }
        Ok(joined)
    }

    fn definition(&mut self, zones: &mut Zones, definition: LetIx) -> Result<NodeId, Diagnostic> {
        if let Some(node) = self.lets.get(&definition) {
            return Ok(*node);
        }
        let policy = self.policy;
        let node = match self.stubs.and_then(|stubs| stubs.lets.get(&definition)) {
            Some(value) => self.literal(*value),
            None => self.intern(zones, &policy.lets[definition.index()].expr)?,
        };
        self.lets.insert(definition, node);
        Ok(node)
    }

    fn field(&mut self, field: FieldIx) -> Result<NodeId, Diagnostic> {
        let slot = self.layouts[self.event.index()].slot(field);
        let op = number_op(slot.kind)?;
        Ok(self.load(op, slot.word, u16::from(slot.bit), 0))
    }

    fn field_present(&mut self, field: FieldIx) -> NodeId {
        let slot = self.layouts[self.event.index()].slot(field);
        self.load(Op::Present, 0, u16::from(slot.bit), 0)
    }

    fn amended(&mut self, event: EventIx, field: FieldIx) -> Result<NodeId, Diagnostic> {
        let op = number_op(self.layouts[event.index()].slot(field).kind)?;
        Ok(self.amended_load(op, event, field, 0))
    }

    /// Something that is there exactly when the amendment's field is, whatever its type.
    fn amended_raw(&mut self, event: EventIx, field: FieldIx) -> NodeId {
        let kind = self.layouts[event.index()].slot(field).kind;
        let op = if kind == FieldKind::Decimal { Op::FieldDecimal } else { Op::Field };
        self.amended_load(op, event, field, 0)
    }

    fn amended_load(&mut self, op: Op, event: EventIx, field: FieldIx, imm: u32) -> NodeId {
        if !self.amendments {
            return self.literal(Value::MISSING);
        }
        let slot = self.layouts[event.index()].slot(field);
        self.add(Node::Amended(event.0, Load { op, a: slot.word, b: u16::from(slot.bit), imm }))
    }

    fn money(&self, expr: &Expr) -> Money {
        let of_type = |ty: Type| match ty {
            Type::Money(currency) => Money::Of(currency),
            Type::AnyMoney => Money::Any,
            _ => Money::None,
        };
        let of_field =
            |event: EventIx, field: FieldIx| match self.policy.events[event.index()].fields[field.index()].ty
            {
                FieldType::Money => Money::Any,
                _ => Money::None,
            };
        match expr {
            Expr::Const(_, ty) => of_type(*ty),
            Expr::Field(field) => of_field(self.event, *field),
            Expr::Amended(event, field) => of_field(*event, *field),
            Expr::Let(definition) => of_type(self.policy.lets[definition.index()].ty),
            Expr::Feature(feature) => of_type(self.policy.features[feature.index()].ty),
            Expr::InCurrency(_, currency) => Money::Of(*currency),
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                of.first().map_or(Money::None, |first| self.money(first))
            }
            Expr::Choose { otherwise, .. } => self.money(otherwise),
            Expr::Negate(of) => self.money(of),
            // Money ÷ money is a number; otherwise whichever side is money says which.
            Expr::Arithmetic(operator, a, b) => match (self.money(a), self.money(b)) {
                (Money::None, money) => money,
                (Money::Of(_), Money::Of(_)) if *operator == Arithmetic::Div => Money::None,
                (money, _) => money,
            },
            _ => Money::None,
        }
    }

    /// Whether money of any currency is there (known).
    fn present(&mut self, expr: &Expr) -> Result<NodeId, Diagnostic> {
        match expr {
            Expr::Field(field) => Ok(self.field_present(*field)),
            Expr::Amended(event, field) => {
                let raw = self.amended_raw(*event, *field);
                let missing = self.unary(Op::IsMissing, raw);
                Ok(self.unary(Op::Not, missing))
            }
            Expr::FirstPresent(of) => {
                let mut any = self.literal(Value::FALSE);
                for (position, candidate) in of.iter().enumerate() {
                    let present = self.present(candidate)?;
                    any = if position == 0 { present } else { self.binary(Op::Or, any, present) };
                }
                Ok(any)
            }
            _ => Err(internal("money of unknown currency is computed with")),
        }
    }

    /// The ISO number of the currency of the first of these that is there.
    fn currency_of(&mut self, expr: &Expr) -> Result<NodeId, Diagnostic> {
        match expr {
            Expr::Field(field) => {
                let slot = self.layouts[self.event.index()].slot(*field);
                Ok(self.load(Op::Field, slot.word + 1, u16::from(slot.bit), 0))
            }
            Expr::Amended(event, field) if self.amendments => {
                let slot = self.layouts[event.index()].slot(*field);
                let load = Load { op: Op::Field, a: slot.word + 1, b: u16::from(slot.bit), imm: 0 };
                Ok(self.add(Node::Amended(event.0, load)))
            }
            Expr::Amended(..) => Ok(self.literal(Value::MISSING)),
            Expr::FirstPresent(of) => {
                let mut first = self.literal(Value::MISSING);
                for (position, candidate) in of.iter().enumerate() {
                    let next = self.currency_of(candidate)?;
                    first = if position == 0 { next } else { self.add(Node::FirstPresent(first, next)) };
                }
                Ok(first)
            }
            _ => Err(internal("money of unknown currency is computed with")),
        }
    }

    /// Money of any currency as minor units of this one. The first that is *there* counts, even where it then
    /// turns out to be in a currency that cannot be converted.
    fn convert(&mut self, expr: &Expr, currency: Currency) -> Result<NodeId, Diagnostic> {
        let code = u32::from(currency.0);
        match expr {
            Expr::Field(field) => {
                let slot = self.layouts[self.event.index()].slot(*field);
                Ok(self.load(Op::FieldMoney, slot.word, u16::from(slot.bit), code))
            }
            Expr::Amended(event, field) => Ok(self.amended_load(Op::FieldMoney, *event, *field, code)),
            Expr::FirstPresent(of) => {
                let Some((last, before)) = of.split_last() else {
                    return Ok(self.literal(Value::MISSING));
                };
                // Whether the last is there does not matter: if not, its conversion is missing too.
                let mut value = self.convert(last, currency)?;
                for candidate in before.iter().rev() {
                    let (present, converted) = (self.present(candidate)?, self.convert(candidate, currency)?);
                    value = self.add(Node::Choose(present, converted, value));
                }
                Ok(value)
            }
            _ => Err(internal("money of unknown currency is computed with")),
        }
    }
}

/// Whether a type is stored with six digits after the point or as a whole number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldScale {
    Whole,
    Decimal,
}

impl Graph<'_> {
    /// How values of this (checked) expression are stored: money and whole numbers whole, fractions with six
    /// digits after the point.
    pub(super) fn field_scale(&self, expr: &Expr) -> FieldScale {
        let of_type = |ty: Type| match ty {
            Type::Decimal => FieldScale::Decimal,
            _ => FieldScale::Whole,
        };
        let of_field =
            |event: EventIx, field: FieldIx| match self.policy.events[event.index()].fields[field.index()].ty
            {
                FieldType::Decimal => FieldScale::Decimal,
                _ => FieldScale::Whole,
            };
        match expr {
            Expr::Const(_, ty) => of_type(*ty),
            Expr::Field(field) => of_field(self.event, *field),
            Expr::Amended(event, field) => of_field(*event, *field),
            Expr::Let(definition) => of_type(self.policy.lets[definition.index()].ty),
            Expr::Feature(feature) => of_type(self.policy.features[feature.index()].ty),
            Expr::Model(_) | Expr::Major(_) | Expr::RuleScoresMax | Expr::RuleScoresSum => {
                FieldScale::Decimal
            }
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                let decimal = of.iter().any(|of| self.field_scale(of) == FieldScale::Decimal);
                if decimal { FieldScale::Decimal } else { FieldScale::Whole }
            }
            Expr::Choose { branches, otherwise } => {
                let mut values = branches.iter().map(|(_, value)| value).chain([&**otherwise]);
                let decimal = values.any(|value| self.field_scale(value) == FieldScale::Decimal);
                if decimal { FieldScale::Decimal } else { FieldScale::Whole }
            }
            Expr::Negate(of) => self.field_scale(of),
            // What a duration is multiplied or divided by does not make it anything else.
            Expr::Arithmetic(_, a, b) if self.is_duration(a) || self.is_duration(b) => FieldScale::Whole,
            Expr::Arithmetic(operator, a, b) => match (operator, self.money(a), self.money(b)) {
                // Money ÷ number is money.
                (Arithmetic::Div, Money::Of(_), Money::None) => FieldScale::Whole,
                (Arithmetic::Div, ..) => FieldScale::Decimal,
                (_, Money::None, Money::None) => {
                    let decimal = [a, b].into_iter().any(|of| self.field_scale(of) == FieldScale::Decimal);
                    if decimal { FieldScale::Decimal } else { FieldScale::Whole }
                }
                _ => FieldScale::Whole,
            },
            _ => FieldScale::Whole,
        }
    }
}

impl Graph<'_> {
    fn is_duration(&self, expr: &Expr) -> bool {
        let of_field = |event: EventIx, field: FieldIx| {
            self.policy.events[event.index()].fields[field.index()].ty == FieldType::Duration
        };
        match expr {
            Expr::Const(_, ty) => *ty == Type::Duration,
            Expr::Field(field) => of_field(self.event, *field),
            Expr::Amended(event, field) => of_field(*event, *field),
            Expr::Let(definition) => self.policy.lets[definition.index()].ty == Type::Duration,
            Expr::Feature(feature) => self.policy.features[feature.index()].ty == Type::Duration,
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                of.first().is_some_and(|of| self.is_duration(of))
            }
            Expr::Negate(of) => self.is_duration(of),
            Expr::Arithmetic(_, a, b) => self.is_duration(a) || self.is_duration(b),
            _ => false,
        }
    }
}

fn number_op(kind: FieldKind) -> Result<Op, Diagnostic> {
    match kind {
        FieldKind::Bool
        | FieldKind::Int
        | FieldKind::Enum
        | FieldKind::Geo
        | FieldKind::Country
        | FieldKind::Currency
        | FieldKind::Mcc
        | FieldKind::Bin
        | FieldKind::Time
        | FieldKind::Duration => Ok(Op::Field),
        FieldKind::Decimal => Ok(Op::FieldDecimal),
        FieldKind::Money => Err(internal("money of unknown currency is used without `in`")),
        FieldKind::Entity => Err(internal("a key is used as a number")),
        FieldKind::Text | FieldKind::Ip => Err(internal("a text or an address is used as a number")),
        FieldKind::Rate => Err(internal("a rate is used as a number")),
    }
}

/// What a checked policy cannot contain.
fn internal(what: &str) -> Diagnostic {
    bound(
        format!("this policy was not checked: {what}"),
        "report this policy: `check` should have refused it",
    )
}
