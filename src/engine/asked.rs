//! What can be asked of an engine between decisions: what the last came to, and what has happened so far.

use super::units::Value;
use super::wire::{FLAG_ACK, Outcome};
use super::{Counters, Engine};

impl Engine {
    /// The sequence number the next decision will get; the first is 1.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Rolling digest of (seq, policy, features, models, outcome) of all decisions so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The features of the last decision, in policy order; missing where the event has none.
    #[must_use]
    pub fn features(&self) -> &[Value] {
        &self.registers[..self.plan.features]
    }

    /// What the models said of the last decision, in policy order; missing where they were not asked, or knew nothing.
    #[must_use]
    pub fn models(&self) -> &[Value] {
        &self.registers[self.plan.features..][..self.plan.models]
    }

    /// Both: features, then models.
    #[must_use]
    pub fn known(&self) -> &[Value] {
        &self.registers[..self.plan.features + self.plan.models]
    }

    pub(super) fn judged_by(&self, outcome: &Outcome) -> &[Value] {
        if outcome.flags & FLAG_ACK == 0 { self.known() } else { &[] }
    }

    /// The rules that fired in the last decision (indexes into the program's rules), most salient first, with those that are only
    /// monitored and those that another rule removed.
    #[must_use]
    pub fn fired(&self) -> &[u16] {
        self.fired.rules()
    }

    /// The queues that the last decision alerted: their numbers, in ascending order.
    #[must_use]
    pub fn alerts(&self) -> &[u16] {
        self.fired.alerts()
    }

    /// Whether the wall clock has jumped and not been steady for long enough since: nothing expires.
    #[must_use]
    pub fn expiry_frozen(&self) -> bool {
        self.jumped_to.is_some()
    }

    /// What has happened since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
