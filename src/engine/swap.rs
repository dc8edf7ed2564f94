//! One program takes over from another, between two events.
//!
//! What is in memory stays where it is. The successor's program says of everything stored what the program before said
//! (`policy::lower_onto` sees to that), and has tables of its own for what had not been kept. All that it needs besides is
//! made beside the engine, by whoever has the time ([`Successor::new`]); the engine itself only exchanges some pointers
//! ([`Engine::succeed`]), and hands out what it does not need any more, so that it frees nothing either.
//!
//! # Tables that begin later
//!
//! A table that was added holds what came after. Verdicts that look back further than that are flagged inexact, as where rows
//! were given up. In a replay the same program takes in events from before its time: its added tables *sleep* until the
//! record of the take-over comes ([`Engine::wake`]), so that they end up holding the same.

use super::ahead::Ahead;
use super::decision::Fired;
use super::gather::Gathered;
use super::matching::Matches;
use super::models::Models;
use super::orders::Orders;
use super::plan::Plan;
use super::program::{AmendPlan, ArchivedGroupPlan, ArchivedProgram, GroupPlan, Run};
use super::rates::Rates;
use super::shared::Shared;
use super::sketch::Sketched;
use super::skewed::Skewed;
use super::table::Table;
use super::windows::Scratch;
use super::{Clock, Engine, LimitError, Limits, Loaded, NO_WATERMARK, Value, first_word};
use rkyv::rancor;
use std::fmt;

/// Why a program cannot take over from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not keep what the other has stored.
    Storage(String),
    /// There is no memory for what it adds.
    Memory(String),
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Storage(why) | Self::Memory(why)) = self;
        write!(f, "the policy cannot take over from the one that is running: {why}")
    }
}

impl From<LimitError> for Misfit {
    fn from(error: LimitError) -> Self {
        Self::Memory(error.message)
    }
}

/// A program with all that an engine needs to go on with it; afterwards, what the engine had instead.
pub struct Successor {
    /// Hash of the program that it was made to follow.
    follows: [u8; 32],
    loaded: Loaded,
    plan: Plan,
    skewed: Option<Skewed>,
    rates: Rates,
    /// The tables, cells and sweeps that are added, and room for these and those that are there.
    tables: Joined<Table>,
    shared: Joined<Option<Shared>>,
    sweeps: Joined<u32>,
    registers: Vec<Value>,
    staged: Vec<u64>,
    ahead: Ahead,
    scratch: Scratch,
    gathered: Gathered,
    sketched: Sketched,
    models: Models,
    matches: Matches,
    fired: Fired,
    orders: Orders,
}

/// Things to be put after others, and room for all of them.
struct Joined<T> {
    added: Vec<T>,
    room: Vec<T>,
}

impl<T> Joined<T> {
    fn new(before: usize, added: Vec<T>) -> Self {
        Self { room: Vec::with_capacity(before + added.len()), added }
    }

    fn join(&mut self, to: &mut Vec<T>) {
        self.room.append(to);
        self.room.append(&mut self.added);
        std::mem::swap(&mut self.room, to);
    }
}

impl Successor {
    /// Makes ready all that an engine with program `current` and these limits will need to go on with `next`. Reserves
    /// memory; nothing of the engine is touched.
    pub fn new(current: &Loaded, next: Loaded, limits: &Limits) -> Result<Self, Misfit> {
        let (before, program) = (current.program(), next.program());
        fits(before, program).map_err(Misfit::Storage)?;
        let plan = Plan::new(program, limits);
        let skewed = (limits.clock == Clock::Wall).then(|| Skewed::new(&plan));
        let tables_before = before.entities.len() + before.tables.len();
        let tables = plan.tables.iter().zip(1..).skip(tables_before).map(|(table, number)| {
            Table::reserve(table, limits.keys_max, limits.hash_seed.wrapping_add(number))
        });
        let tables = tables.collect::<Result<Vec<_>, _>>()?;
        let shared = plan.shared.iter().skip(before.groups.len()).map(|form| Shared::reserve(form, limits));
        let shared = shared.collect::<Result<Vec<_>, _>>()?;
        let rows_max = Engine::rows_max(limits);
        Ok(Self {
            follows: current.hash(),
            skewed,
            rates: Rates::reserve(program),
            sweeps: Joined::new(tables_before, vec![0; tables.len()]),
            tables: Joined::new(tables_before, tables),
            shared: Joined::new(before.groups.len(), shared),
            registers: program.fresh_registers(),
            staged: vec![0; plan.bounds.staged_words],
            ahead: Ahead::reserve(plan.bounds.keys),
            scratch: Scratch::reserve(&plan, rows_max),
            gathered: Gathered::reserve(if plan.bounds.gathers { rows_max } else { 0 }),
            sketched: Sketched::reserve(plan.bounds.sketched_rows),
            models: Models::reserve(program),
            matches: Matches::reserve(plan.bounds.operands, plan.rules),
            fired: Fired::reserve(plan.rules, plan.queues),
            orders: Orders::follow(&plan),
            loaded: next,
            plan,
        })
    }

    /// The program.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The memory of the tables that are added, to be touched before it is used.
    pub fn each_block<E>(&mut self, mut touch: impl FnMut(&mut [u64]) -> Result<(), E>) -> Result<(), E> {
        let shared = self.shared.added.iter_mut().flatten().map(Shared::block);
        self.tables.added.iter_mut().flat_map(Table::blocks).chain(shared).try_for_each(&mut touch)
    }
}

impl Engine {
    /// Whether `next` was made to follow the program that is running.
    #[must_use]
    pub fn can_succeed(&self, next: &Successor) -> bool {
        next.follows == self.loaded.hash()
    }

    /// Goes on with another program from the next event on. It must have been made for the program that is running, and for
    /// these limits. Allocates nothing, frees nothing; `next` has what is left of the program before.
    ///
    /// False, and nothing changed, where `next` was made for another program.
    pub fn succeed(&mut self, next: &mut Successor) -> bool {
        if !self.can_succeed(next) {
            return false;
        }
        let slept = self.tables.len();
        next.tables.join(&mut self.tables);
        next.shared.join(&mut self.shared);
        next.sweeps.join(&mut self.sweeps);
        let since = self.since();
        self.tables[slept..].iter_mut().for_each(|table| table.wake(since));
        if let (Some(skewed), Some(next)) = (&mut self.skewed, &mut next.skewed) {
            skewed.take_over(next);
        }
        self.rates.take_over(&next.rates);
        self.policy_word = first_word(&next.loaded.hash());
        self.orders.take_over(&mut next.orders, &next.plan);
        let Successor {
            loaded,
            plan,
            registers,
            staged,
            ahead,
            scratch,
            gathered,
            sketched,
            models,
            matches,
            fired,
            ..
        } = next;
        std::mem::swap(&mut self.loaded, loaded);
        std::mem::swap(&mut self.plan, plan);
        std::mem::swap(&mut self.registers, registers);
        std::mem::swap(&mut self.staged, staged);
        std::mem::swap(&mut self.ahead, ahead);
        std::mem::swap(&mut self.scratch, scratch);
        std::mem::swap(&mut self.gathered, gathered);
        std::mem::swap(&mut self.sketched, sketched);
        std::mem::swap(&mut self.models, models);
        std::mem::swap(&mut self.matches, matches);
        std::mem::swap(&mut self.fired, fired);
        true
    }

    /// From here on the tables hold what comes that were added to the program with this first word of its hash; all tables,
    /// when none is named.
    pub fn wake(&mut self, added_to: Option<u64>) {
        let since = self.since();
        for (table, spec) in self.tables.iter_mut().zip(&self.plan.tables) {
            if table.is_asleep() && added_to.is_none_or(|program| program == spec.added_to) {
                table.wake(since);
            }
        }
        if let Some(skewed) = &mut self.skewed {
            let tables = &self.tables;
            skewed.look_at(&self.plan, |table| !tables[table].is_asleep());
        }
    }

    /// The latest event so far, if there was one.
    fn since(&self) -> Option<i64> {
        (self.watermark != NO_WATERMARK).then_some(self.watermark)
    }
}

/// Why what `before` has stored is not what `next` says is stored.
fn fits(before: &ArchivedProgram, next: &ArchivedProgram) -> Result<(), String> {
    let need = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    need(before.layout_hash == next.layout_hash, "its events are laid out otherwise")?;
    let kinds = |program: &ArchivedProgram| -> Vec<(String, u16)> {
        let kinds = program.entities.iter();
        kinds.map(|kind| (kind.name.as_str().to_owned(), kind.record_words.to_native())).collect()
    };
    need(kinds(before) == kinds(next), "its entity kinds, or what is kept by them, are others")?;
    let tables = |program: &ArchivedProgram, count: usize| -> Vec<[u64; 4]> {
        let tables = program.tables.iter().take(count).map(|table| {
            let [first, second, words] =
                [table.first, table.second, table.record_words].map(|word| u64::from(word.to_native()));
            [first, second, words, table.added_to.to_native()]
        });
        tables.collect()
    };
    let count = before.tables.len();
    need(tables(before, count) == tables(next, count), "it has other tables")?;
    need(before.groups.len() <= next.groups.len(), "it keeps less")?;
    for (number, (one, other)) in before.groups.iter().zip(next.groups.iter()).enumerate() {
        if stored(one) != stored(other) {
            return Err(format!("what it keeps in group {number} is laid out otherwise"));
        }
    }
    let first_added = before.entities.len() + count;
    let is_added = |group: &ArchivedGroupPlan| usize::from(group.table.to_native()) >= first_added;
    need(
        next.groups.iter().skip(before.groups.len()).all(is_added),
        "it keeps more in a table that is there",
    )?;
    let into = |program: &ArchivedProgram| -> Option<Vec<u16>> {
        Some(program.rates.as_ref()?.into.iter().map(|code| code.to_native()).collect())
    };
    need(into(before) == into(next), "it converts into other currencies, to which rates were not kept")
}

/// A group without its code, the registers of that, and what a program's features make of it.
fn stored(group: &ArchivedGroupPlan) -> Option<GroupPlan> {
    // Plain numbers: it cannot fail.
    let mut group: GroupPlan = rkyv::deserialize::<GroupPlan, rancor::Error>(group).ok()?;
    let nothing = Run::default();
    (group.ingest, group.derive, group.reach_us) = (nothing, nothing, 0);
    group.columns.iter_mut().for_each(|column| column.register = 0);
    group.bits.iter_mut().for_each(|bit| bit.register = 0);
    for AmendPlan { code, applied_register, .. } in &mut group.amends {
        (*code, *applied_register) = (nothing, 0);
    }
    Some(group)
}
