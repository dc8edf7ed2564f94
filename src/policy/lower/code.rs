//! Graphs → runs.
//!
//! Children of a node have smaller ids than the node; so the nodes a run needs are written in ascending order,
//! each once, without recursion. Both sides of a choice are evaluated: nothing has side effects and no operation
//! is dear.

use super::expressions::{Graph, Load, Node, NodeId};
use super::groups::Moved;
use super::{EMPTY, bound};
use crate::engine::program::{Const, Instr, Op, Program, REGISTERS_MAX, Run};
use crate::engine::validate::{CODE_MAX, COUNT_MAX};
use crate::policy::diagnostics::Diagnostic;
use std::collections::{BTreeSet, HashMap};

/// Where a root of a run goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A register of its own, which nothing else writes.
    Keep,
    /// This register.
    Register(u16),
}

/// Marks a register that is only used inside one run; all runs share these. Numbered for good at the end.
const SCRATCH: u16 = 0x8000;
/// Marks a literal. Literals too are numbered for good at the end, after all registers.
const LITERAL: u16 = 0x4000;
const _: () = assert!(REGISTERS_MAX <= LITERAL as usize && COUNT_MAX <= LITERAL as usize);

/// The instructions, literals and registers of a program in the making.
pub(super) struct Code {
    instrs: Vec<Instr>,
    consts: Vec<Const>,
    const_index: HashMap<(i64, i64), u32>,
    registers: usize,
    scratch_most: u16,
}

/// The scratch registers of one run.
#[derive(Default)]
struct Scratch {
    free: Vec<u16>,
    used: u16,
}

impl Code {
    pub(super) fn new(features: usize) -> Result<Self, Diagnostic> {
        if features >= REGISTERS_MAX {
            return Err(too_many_registers());
        }
        Ok(Self {
            instrs: Vec::new(),
            consts: Vec::new(),
            const_index: HashMap::new(),
            registers: features,
            scratch_most: 0,
        })
    }

    /// A register of its own.
    pub(super) fn register(&mut self) -> Result<u16, Diagnostic> {
        if self.registers + usize::from(self.scratch_most) >= REGISTERS_MAX {
            return Err(too_many_registers());
        }
        self.registers += 1;
        Ok((self.registers - 1) as u16)
    }

    fn constant(&mut self, num: i64, den: i64) -> u32 {
        let next = self.consts.len() as u32;
        let index = *self.const_index.entry((num, den)).or_insert(next);
        if index == next {
            self.consts.push(Const { num, den });
        }
        index
    }

    /// Where a literal is read. Of one too many it does not matter: no run is made after it.
    fn literal(&mut self, num: i64, den: i64) -> u16 {
        LITERAL | self.constant(num, den) as u16 & (LITERAL - 1)
    }

    fn push(&mut self, op: Op, dst: u16, a: u16, b: u16, imm: u32) {
        self.instrs.push(Instr { op, dst, a, b, imm });
    }

    /// The code that reads these places of an amendment into these registers.
    pub(super) fn loads(&mut self, loads: &[(Load, u16)]) -> Result<Run, Diagnostic> {
        let start = self.instrs.len();
        for (load, register) in loads {
            self.push(load.op, *register, load.a, load.b, load.imm);
        }
        self.run_from(start)
    }

    /// The currencies that code converts money to, ascending.
    pub(super) fn currencies(&self) -> Vec<u16> {
        let converts = |instr: &&Instr| matches!(instr.op, Op::FieldMoney | Op::Convert);
        let into: BTreeSet<u16> = self.instrs.iter().filter(converts).map(|instr| instr.imm as u16).collect();
        into.into_iter().collect()
    }

    /// Where a register of a program that is kept goes.
    pub(super) fn moved_register(&mut self, register: u16, moved: &mut Moved<'_>) -> Result<u16, Diagnostic> {
        if let Some(register) = moved.registers.get(&register) {
            return Ok(*register);
        }
        let new = self.register()?;
        moved.registers.insert(register, new);
        Ok(new)
    }

    /// Writes code of a program that is kept once more.
    pub(super) fn take_over(
        &mut self,
        base: &Program,
        run: Run,
        moved: &mut Moved<'_>,
    ) -> Result<Run, Diagnostic> {
        let start = self.instrs.len();
        for instr in &base.code[run.start as usize..][..run.len as usize] {
            let mut instr = *instr;
            let uses = instr.op.uses();
            for (is_register, operand) in
                [(uses.dst, &mut instr.dst), (uses.a, &mut instr.a), (uses.b, &mut instr.b)]
            {
                if is_register {
                    *operand = match operand.checked_sub(base.registers) {
                        Some(at) => {
                            let Const { num, den } = base.consts[usize::from(at)];
                            self.literal(num, den)
                        }
                        None => self.moved_register(*operand, moved)?,
                    };
                }
            }
            let imm = instr.imm as usize;
            instr.imm = match instr.op {
                Op::Rescale => self.constant(base.consts[imm].num, base.consts[imm].den),
                Op::InList => moved.list(base, imm & 0xffff) | instr.imm & 0xffff_0000,
                Op::Listed => moved.list(base, imm),
                Op::TextIs | Op::TextStarts => {
                    u32::from(moved.zones.text(&base.texts[imm & 0xffff])?) | instr.imm & 0xffff_0000
                }
                Op::Within => u32::from(moved.zones.prefix(base.prefixes[imm])?),
                Op::Hour | Op::Weekday => u32::from(moved.zones.index(&base.zones[imm].name)?),
                _ => instr.imm,
            };
            self.instrs.push(instr);
        }
        self.run_from(start)
    }

    fn run_from(&self, start: usize) -> Result<Run, Diagnostic> {
        if self.instrs.len() > CODE_MAX || self.consts.len() > COUNT_MAX {
            return Err(bound(
                format!("the policy takes more than {CODE_MAX} instructions or {COUNT_MAX} literals"),
                "split the policy into several instances",
            ));
        }
        if start == self.instrs.len() {
            return Ok(EMPTY);
        }
        Ok(Run { start: start as u32, len: (self.instrs.len() - start) as u32 })
    }

    /// Writes the code that computes `roots`, taking the values of `given` nodes from their registers.
    /// Returns the register of each root.
    pub(super) fn emit(
        &mut self,
        graph: &Graph<'_>,
        roots: &[(NodeId, Target)],
        given: &HashMap<NodeId, u16>,
    ) -> Result<(Run, Vec<u16>), Diagnostic> {
        let start = self.instrs.len();
        let mut registers = given.clone();
        let needed = needed(graph, roots, given);
        for id in &needed {
            if let Node::Input(register) = graph.node(*id) {
                registers.insert(*id, register);
            }
        }
        let mut wanted: HashMap<NodeId, u16> = HashMap::new();
        for (root, target) in roots {
            if registers.contains_key(root) || wanted.contains_key(root) {
                continue;
            }
            let register = match target {
                Target::Keep => self.register()?,
                Target::Register(register) => *register,
            };
            wanted.insert(*root, register);
        }
        // A scratch register is free again after the last node that reads it.
        let mut last_use: HashMap<NodeId, NodeId> = HashMap::new();
        for id in needed.iter().filter(|id| !registers.contains_key(id)) {
            for child in graph.children(*id) {
                last_use.insert(child, *id);
            }
        }

        let mut scratch = Scratch::default();
        for id in &needed {
            if registers.contains_key(id) {
                continue;
            }
            let dst = match (wanted.get(id), graph.node(*id)) {
                (Some(register), _) => *register,
                (None, Node::Const { num, den }) => {
                    registers.insert(*id, self.literal(num, den));
                    continue;
                }
                (None, _) => self.scratch(&mut scratch)?,
            };
            self.emit_node(graph.node(*id), dst, &registers);
            registers.insert(*id, dst);
            let mut done = BTreeSet::new();
            for child in graph.children(*id) {
                if last_use.get(&child) == Some(id) && registers[&child] & SCRATCH != 0 && done.insert(child)
                {
                    scratch.free.push(registers[&child]);
                }
            }
        }

        let mut results = Vec::with_capacity(roots.len());
        for (root, target) in roots {
            let from = registers[root];
            results.push(match target {
                Target::Register(register) if *register != from => {
                    self.push(Op::Move, *register, from, 0, 0);
                    *register
                }
                _ => from,
            });
        }
        Ok((self.run_from(start)?, results))
    }

    fn scratch(&mut self, scratch: &mut Scratch) -> Result<u16, Diagnostic> {
        if let Some(register) = scratch.free.pop() {
            return Ok(register);
        }
        scratch.used += 1;
        self.scratch_most = self.scratch_most.max(scratch.used);
        if self.registers + usize::from(self.scratch_most) > REGISTERS_MAX {
            return Err(too_many_registers());
        }
        Ok(SCRATCH | (scratch.used - 1))
    }

    fn emit_node(&mut self, node: Node, dst: u16, registers: &HashMap<NodeId, u16>) {
        let reg = |id: NodeId| registers[&id];
        match node {
            Node::Const { num, den } => {
                let literal = self.literal(num, den);
                self.push(Op::Move, dst, literal, 0, 0);
            }
            Node::Load(load) => self.push(load.op, dst, load.a, load.b, load.imm),
            Node::Unary(op, a) => self.push(op, dst, reg(a), 0, 0),
            Node::Binary(op, a, b) => self.push(op, dst, reg(a), reg(b), 0),
            Node::Rescale(a, den) => {
                let imm = self.constant(den, 1);
                self.push(Op::Rescale, dst, reg(a), 0, imm);
            }
            Node::Listed(a, list) => self.push(Op::Listed, dst, reg(a), 0, u32::from(list)),
            Node::Convert(a, from, to) => self.push(Op::Convert, dst, reg(a), from, u32::from(to)),
            Node::FirstPresent(a, b) => {
                self.push(Op::Move, dst, reg(a), 0, 0);
                self.push(Op::SkipIfPresent, 0, dst, 0, 1);
                self.push(Op::Move, dst, reg(b), 0, 0);
            }
            Node::Choose(condition, then, otherwise) => {
                self.push(Op::Move, dst, reg(otherwise), 0, 0);
                self.push(Op::SkipUnlessTrue, 0, reg(condition), 0, 1);
                self.push(Op::Move, dst, reg(then), 0, 0);
            }
            // These are never computed: whoever mentions them gives their registers.
            Node::Amended(..) | Node::Applied(_) | Node::Input(_) => {}
        }
    }

    /// Hands instructions and literals to the program and numbers the scratch registers after all others, and
    /// the literals after those.
    pub(super) fn finish(mut self, program: &mut Program) -> Result<(), Diagnostic> {
        let registers = self.registers + usize::from(self.scratch_most);
        if registers > REGISTERS_MAX {
            return Err(too_many_registers());
        }
        let number = |register: &mut u16| {
            if *register & SCRATCH != 0 {
                *register = self.registers as u16 + (*register & !SCRATCH);
            } else if *register & LITERAL != 0 {
                *register = registers as u16 + (*register & !LITERAL);
            }
        };
        for instr in &mut self.instrs {
            let uses = instr.op.uses();
            if uses.dst {
                number(&mut instr.dst);
            }
            if uses.a {
                number(&mut instr.a);
            }
            if uses.b {
                number(&mut instr.b);
            }
        }
        program.registers = registers as u16;
        program.code = self.instrs;
        program.consts = self.consts;
        Ok(())
    }
}

/// All nodes below the roots, in ascending order, not looking below `given` ones.
fn needed(graph: &Graph<'_>, roots: &[(NodeId, Target)], given: &HashMap<NodeId, u16>) -> BTreeSet<NodeId> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<NodeId> = roots.iter().map(|(root, _)| *root).collect();
    while let Some(id) = open.pop() {
        if needed.insert(id) && !given.contains_key(&id) {
            open.extend(graph.children(id));
        }
    }
    needed
}

fn too_many_registers() -> Diagnostic {
    bound(
        format!("the policy needs more than {REGISTERS_MAX} registers"),
        "it has too many features, rules or stored values; split it into several instances",
    )
}
