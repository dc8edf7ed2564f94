//! What the engine thread counts, and how other threads read it.
//!
//! The engine thread owns plain numbers ([`Counts`]) and copies them into atomics ([`Shared`]) now and then, each with a
//! relaxed store: a reader may see numbers of two neighbouring moments side by side, never a torn one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clients::Round;
use crate::engine::{Counters, Fill};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since start, and a few present values.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[doc = $doc])+ pub $name: u64,)+ }

        /// The same, for reading from other threads.
        #[derive(Debug, Default)]
        pub struct Shared { $($name: AtomicU64,)+ }

        impl Shared {
            /// Makes these counts visible. For the one thread that counts.
            pub fn publish(&self, counts: &Counts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)+
            }

            /// What was last made visible.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl Counts {
            /// Names and values, for showing.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}

counts! {
    /// Clients connected now.
    clients,
    /// Frames taken from clients.
    frames,
    /// Bursts that held at least one frame.
    bursts,
    /// Verdicts written.
    verdicts,
    /// New decisions.
    decided,
    /// Duplicates answered with the first verdict.
    repeated,
    /// Frames refused.
    refused,
    /// Frames admitted late.
    admitted_late,
    /// Frames shed for their client's rate.
    shed,
    /// Verdicts published after their deadline.
    published_late,
    /// Decisions flagged inexact.
    inexact,
    /// Events behind the latest one that entered their place in their windows.
    late,
    /// Events too late to enter their windows.
    too_late,
    /// With `clock = "wall"`: events taken at their receipt, as their own time was further from it than `skew`.
    skewed,
    /// Of these, with a time ahead of their receipt.
    skewed_ahead,
    /// Of these, with a time behind their receipt.
    skewed_behind,
    /// Times that the clock, or with `clock = "event"` the events' time, moved by more than `clock_jump_max` at once.
    clock_jumps,
    /// Whether nothing expires at present, as the clock jumped: 0 or 1.
    expiry_frozen,
    /// Amendments that changed what a window holds.
    amended,
    /// Amendments whose event is in no window: unknown, or expired.
    amend_unknown,
    /// Amendments older than the one already applied.
    amend_stale,
    /// Rows moved to a larger tier.
    promoted,
    /// Rows moved to a smaller tier.
    demoted,
    /// Rows, and entries of trees, that features looked at.
    rows_scanned,
    /// Rows, and entries of trees, that were moved or brought up to date to store others.
    rows_moved,
    /// The most of both for one event, the replay's included.
    event_work_max,
    /// Keys dropped because no window reached back to their last event.
    keys_expired,
    /// Rows given up while still inside a window.
    rows_lost,
    /// Keys that could not be kept.
    keys_lost,
    /// Events that were not kept because their key was new and its table nearly full.
    doorkept,
    /// Decisions for which upper bounds were told, by `assume high`.
    shared_told,
    /// How much of its room for keys the fullest table uses now, of a hundred, rounded up.
    table_percent,
    /// Which table that is: entity kinds in the order of the policy, from 0, then pairs of kinds.
    table_fullest,
    /// How much of `spill_bytes_max` is in use now, of a hundred, rounded up.
    spill_percent,
    /// Duplicate entries overwritten to make room.
    dedup_evicted,
    /// Exchange rates taken in.
    rates,
    /// Of these, rates between currencies that the policy never converts.
    rates_unused,
    /// Exchange rates given up because their pair had no room for more.
    rates_lost,
    /// Events of which some money was not converted: no rate was in effect.
    rate_missing,
    /// Events of which some money was not converted: the newest rate was too old.
    rate_stale,
    /// Events of which some money was not converted: it left 64 bits.
    rate_overflow,
    /// Rounds in which nothing was taken because the journal ring had no room.
    journal_full,
    /// Clients quarantined.
    quarantined,
    /// Of these, for a request slot numbered out of turn.
    quarantined_sequence,
    /// Of these, for a request longer than its slot.
    quarantined_length,
    /// Of these, for a verdict cursor that cannot be right.
    quarantined_cursor,
    /// Verdicts that wait until their decision is on disk.
    held,
    /// Clients that went away.
    departed,
    /// Times the engine thread slept.
    parks,
    /// Sequence number of the last decision.
    seq,
    /// Rolling digest after it.
    digest,
    /// Sequence number up to which decisions survive a power loss.
    durable_seq,
}

impl Counts {
    /// Takes over how full the engine's memory is.
    pub(crate) fn take_fill(&mut self, fill: &Fill) {
        self.table_percent = fill.table_percent;
        self.table_fullest = fill.table as u64;
        self.spill_percent = fill.spill_percent;
    }

    /// Takes over what a round did for the clients.
    #[inline]
    pub(crate) fn take_round(&mut self, round: &Round) {
        self.held = round.held;
        if round.departed > 0 {
            self.departed += round.departed;
            self.quarantined_sequence += round.sequence;
            self.quarantined_length += round.length;
            self.quarantined_cursor += round.cursor;
            self.quarantined = self.quarantined_sequence + self.quarantined_length + self.quarantined_cursor;
        }
    }

    /// Takes over what the engine has counted itself since it had counted `before`, in the replay.
    pub fn take_engine(&mut self, engine: &Counters, before: &Counters) {
        self.decided = engine.decided - before.decided;
        self.repeated = engine.repeated - before.repeated;
        self.refused = engine.refused.iter().sum::<u64>() - before.refused.iter().sum::<u64>();
        self.inexact = engine.inexact - before.inexact;
        self.late = engine.late - before.late;
        self.too_late = engine.too_late - before.too_late;
        self.skewed_ahead = engine.skewed_ahead - before.skewed_ahead;
        self.skewed_behind = engine.skewed_behind - before.skewed_behind;
        self.skewed = self.skewed_ahead + self.skewed_behind;
        self.clock_jumps = engine.clock_jumps - before.clock_jumps;
        self.amended = engine.amended - before.amended;
        self.amend_unknown = engine.amend_unknown - before.amend_unknown;
        self.amend_stale = engine.amend_stale - before.amend_stale;
        self.promoted = engine.promoted - before.promoted;
        self.demoted = engine.demoted - before.demoted;
        self.rows_scanned = engine.rows_scanned - before.rows_scanned;
        self.rows_moved = engine.rows_moved - before.rows_moved;
        self.event_work_max = engine.event_work_max;
        self.keys_expired = engine.keys_expired - before.keys_expired;
        self.rows_lost = engine.rows_lost - before.rows_lost;
        self.keys_lost = engine.keys_lost - before.keys_lost;
        self.doorkept = engine.doorkept - before.doorkept;
        self.shared_told = engine.shared_told - before.shared_told;
        self.dedup_evicted = engine.dedup_evicted - before.dedup_evicted;
        self.rates = engine.rates - before.rates;
        self.rates_unused = engine.rates_unused - before.rates_unused;
        self.rates_lost = engine.rates_lost - before.rates_lost;
        self.rate_missing = engine.rate_missing - before.rate_missing;
        self.rate_stale = engine.rate_stale - before.rate_stale;
        self.rate_overflow = engine.rate_overflow - before.rate_overflow;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let shared = Shared::default();
        let counts = Counts { frames: 3, digest: u64::MAX, ..Counts::default() };
        shared.publish(&counts);
        assert_eq!(shared.read(), counts);
        assert_eq!(counts.iter().filter(|(_, value)| *value != 0).count(), 2);
    }

    #[test]
    fn what_time_did_is_counted_since_the_replay() {
        let counters = |late, too_late, skewed_ahead, skewed_behind, clock_jumps| Counters {
            late,
            too_late,
            skewed_ahead,
            skewed_behind,
            clock_jumps,
            ..Counters::default()
        };
        let mut counts = Counts::default();
        counts.take_engine(&counters(15, 26, 37, 48, 59), &counters(5, 6, 7, 8, 9));
        let Counts { late, too_late, skewed, skewed_ahead, skewed_behind, clock_jumps, .. } = counts;
        assert_eq!((late, too_late, clock_jumps), (10, 20, 50));
        assert_eq!((skewed, skewed_ahead, skewed_behind), (70, 30, 40));
    }
}
