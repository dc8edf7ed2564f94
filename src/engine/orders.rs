//! What operators order while the engine runs: rules that are not to fire, an action for every payment.
//!
//! An order is an input like any other: journaled, and given again in a replay. It holds for what is received from then on until
//! its time is up, whatever policy runs; an order for a rule holds for the rule of that name.

use super::lists::{Edit, Edits};
use super::plan::Plan;
use super::units::entries::Entry;
use super::units::{Action, Time, mix};

/// 128 bits that stand for a name.
pub type Name = [u64; 2];

/// The name of a rule, as orders have it. Part of the journal's format.
#[must_use]
pub fn name(text: &str) -> Name {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let words = || text.as_bytes().chunks(8).map(word).chain([text.len() as u64]);
    [0x6e61_6d65, 0x6f66_2072_756c_6521].map(|seed| words().fold(seed, mix))
}

/// The most rules that can be killed at a time.
pub const KILLS_MAX: usize = 64;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The rule of this name does not fire for what is received before `until`; a time that is past lifts the order.
    KillRule {
        /// The rule.
        rule: Name,
        /// Until when.
        until: Time,
    },
    /// Every judged event that is received before `until` is answered with this action, unless a mandatory rule fires whose
    /// action is greater; a time that is past lifts the order.
    KillAll {
        /// The action.
        action: Action,
        /// Until when.
        until: Time,
    },
    /// An entry of a list is edited, for events whose time is before `until`; a time that is past forgets the edit, as
    /// [`Edit::Forget`] does.
    List {
        /// The list, by [`lists::name`](super::lists::name).
        list: Name,
        /// The entry.
        entry: Entry,
        /// What is done.
        edit: Edit,
        /// Until when.
        until: Time,
    },
}

/// The orders that hold. Reserved once.
pub(super) struct Orders {
    /// By rule of the program: until when it is not to fire.
    rules: Vec<i64>,
    /// The same by name, of whatever program.
    named: Vec<(Name, i64)>,
    all: (Action, i64),
    pub(super) edits: Edits,
}

impl Orders {
    /// What goes on with the orders under another program.
    pub(super) fn follow(plan: &Plan) -> Self {
        let (rules, all) = (vec![i64::MIN; plan.rules], (Action::None, i64::MIN));
        Self { rules, named: Vec::new(), all, edits: Edits::follow(plan) }
    }

    pub(super) fn reserve(plan: &Plan) -> Self {
        let all = (Action::None, i64::MIN);
        Self {
            rules: vec![i64::MIN; plan.rules],
            named: Vec::with_capacity(KILLS_MAX),
            all,
            edits: Edits::reserve(plan),
        }
    }

    /// Takes an order; false, and nothing changed, where there are too many.
    pub(super) fn take(&mut self, order: &Order, now: Time, plan: &Plan) -> bool {
        match *order {
            Order::KillAll { action, until } => self.all = (action, until.0),
            Order::KillRule { rule, until } => {
                self.named.retain(|known| known.0 != rule && known.1 > now.0);
                if until > now {
                    if self.named.len() == KILLS_MAX {
                        return false;
                    }
                    self.named.push((rule, until.0));
                }
                self.apply(plan);
            }
            Order::List { list, ref entry, edit, until } => {
                return self.edits.take(list, entry, edit, until, now, plan);
            }
        }
        true
    }

    fn apply(&mut self, plan: &Plan) {
        for (until, name) in self.rules.iter_mut().zip(&plan.rule_names) {
            let named = self.named.iter().find(|known| known.0 == *name);
            *until = named.map_or(i64::MIN, |known| known.1);
        }
    }

    /// Goes on under another program, with the room that was reserved for that.
    pub(super) fn take_over(&mut self, next: &mut Self, plan: &Plan) {
        std::mem::swap(&mut self.rules, &mut next.rules);
        self.apply(plan);
        self.edits.take_over(&mut next.edits, plan);
    }

    /// Whether a rule is not to fire.
    #[inline]
    pub(super) fn is_killed(&self, rule: u16, received: Time) -> bool {
        received.0 < self.rules[usize::from(rule)]
    }

    /// The action that was ordered for every judged event.
    #[inline]
    pub(super) fn action(&self, received: Time) -> Option<Action> {
        (received.0 < self.all.1).then_some(self.all.0)
    }
}
