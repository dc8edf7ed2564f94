//! Payments without end for the handbook policy, in event order.

use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::Loaded;
use tollgate::engine::program::ArchivedEventPlan;
use tollgate::engine::units::{Currency, EventId, HOUR, Key, Time, mix};

/// 2018-04-01T00:00:00Z
pub(crate) const START: i64 = 1_522_540_800_000_000;
/// Each key pays once in this time or so, so that 30 days hold some 24 payments of it.
const EACH_KEY_US: i64 = 30 * HOUR;
/// Payments per key after which the windows are full: 30 days, and 7 of delay.
pub(crate) const FULL: u64 = 30;

/// The time of payment `n`, with so many keys.
pub(crate) fn time_of(n: u64, keys: u64) -> Time {
    let step_us = (EACH_KEY_US as u64 / keys).max(1);
    Time(START.saturating_add_unsigned(n.saturating_mul(step_us)))
}

/// Payments drawn from `keys` customers and `keys` terminals.
pub(crate) struct Payments<'p> {
    plan: &'p ArchivedEventPlan,
    /// Their event kind's number.
    pub(crate) kind: u16,
    customer: FieldSlot,
    terminal: FieldSlot,
    amount: FieldSlot,
    keys: u64,
    number: u64,
    currency: Currency,
}

impl<'p> Payments<'p> {
    /// From the first on. `None`: the policy is not the handbook's.
    pub(crate) fn new(loaded: &'p Loaded, keys: u64) -> Option<Self> {
        let (kind, plan) = encode::event(loaded.program(), "payment")?;
        let field = |name| encode::field(plan, name);
        let (customer, terminal, amount) = (field("customer")?, field("terminal")?, field("amount")?);
        let currency = Currency::from_alpha("USD")?;
        Some(Self { plan, kind, customer, terminal, amount, keys, number: 0, currency })
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> EventWords {
        self.number += 1;
        let n = self.number;
        let draw = |salt| mix(n, salt) % self.keys;
        let mut words = EventWords::new(self.plan, EventId([n, 1]), time_of(n, self.keys));
        words.set_key(self.customer, Key([draw(1), 1]));
        words.set_key(self.terminal, Key([draw(2), 2]));
        words.set_money(self.amount, 100 + (mix(n, 3) % 20_000) as i64, self.currency);
        words
    }
}
