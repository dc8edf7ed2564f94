//! The neighbour: one more client of the same server, well-behaved or hostile, that writes as often either way.

use std::sync::atomic::Ordering;

use clap::ValueEnum;
use tollgate_ring::layout::{
    C_HEARTBEAT, C_KICK, C_PARKED, C_VERDICT_CURSOR, S_STATE, SLOTS, STATE_QUARANTINED,
};

use super::raw::Rings;
use super::server::GEOMETRY;

/// How the neighbour behaves for a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Has a connection and does not use it; does its writes in private memory.
    Silent,
    /// Sends well-formed requests, receives every verdict, never sleeps.
    Calm,
    /// Abuses its connection in one of the tricks, and ends each with something that earns a quarantine.
    Hostile,
}

/// What a hostile neighbour does for the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trick {
    /// Says that it sleeps, and does not: each of its verdicts costs the server a wake.
    Asleep,
    /// Random values in its heartbeat, its kick and its announcement of sleep.
    Storm,
    /// Rewrites a request after publishing it, while the server copies.
    Tear,
    /// Receives nothing until it has no credit left, and then scribbles over everything but its cursor.
    Stall,
}

/// Each act of every manner is this many stores.
const STORES: usize = 9;
/// Payload words of the neighbour's requests.
const WORDS: u64 = 3;
/// Verdicts that one act receives at most.
const RECEIVES_MAX: u64 = 4;
const CAPACITY: u64 = GEOMETRY.request_capacity as u64;
const SLOT_WORDS: usize = GEOMETRY.slot_bytes as usize / 8;
/// A verdict slot's words.
const VERDICT_SLOT_WORDS: usize = 8;
const _: () = assert!(GEOMETRY.request_capacity == GEOMETRY.verdict_capacity);

/// One connection of the neighbour's, or private memory instead of one.
pub(crate) struct Neighbour {
    rings: Rings,
    manner: Manner,
    trick: Trick,
    random: u64,
    sent: u64,
    received: u64,
    /// It has done what earns a quarantine.
    doomed: bool,
}

impl Neighbour {
    pub(crate) fn new(rings: Rings, manner: Manner, trick: Trick, seed: u64) -> Self {
        // A generator of this kind must not start from zero.
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { rings, manner, trick, random, sent: 0, received: 0, doomed: false }
    }

    /// The connection, to be closed.
    pub(crate) fn into_rings(self) -> Rings {
        self.rings
    }

    /// Whether the server has put it in quarantine.
    pub(crate) fn quarantined(&self) -> bool {
        self.rings.s()[S_STATE / 8].load(Ordering::Acquire) == STATE_QUARANTINED
    }

    /// One act: a look for verdicts, and nine stores.
    #[inline]
    pub(crate) fn act(&mut self) {
        self.receive();
        let full = self.sent.wrapping_sub(self.received) >= CAPACITY;
        if self.doomed || full {
            // Whoever means to go on waits for its verdicts, with as many stores as ever.
            let scribbles = self.doomed || (self.manner == Manner::Hostile && self.trick == Trick::Stall);
            return if scribbles { self.scribble() } else { self.beat() };
        }
        let index = self.sent;
        self.put(index, index.wrapping_add(1), WORDS);
        self.sent = index.wrapping_add(1);
        if self.manner != Manner::Hostile {
            self.store(C_VERDICT_CURSOR, self.received);
            return self.store(C_HEARTBEAT, index);
        }
        let value = self.next();
        self.store(C_VERDICT_CURSOR, if self.trick == Trick::Stall { 0 } else { self.received });
        match self.trick {
            Trick::Asleep => self.store(C_PARKED, value | 1),
            Trick::Stall => self.store(C_HEARTBEAT, value),
            Trick::Storm => self.store([C_HEARTBEAT, C_KICK, C_PARKED][(value % 3) as usize], value),
            Trick::Tear => {
                // Its number, its time or its payload; its length stays possible.
                let at = slot_offset(index) + 16 + (value % (2 + WORDS)) as usize * 8;
                self.store(at, value);
            }
        }
    }

    /// Hostile only: what earns a quarantine. From here on it scribbles.
    pub(crate) fn doom(&mut self) {
        if self.manner != Manner::Hostile || self.doomed {
            return;
        }
        self.doomed = true;
        let (index, value) = (self.sent, self.next());
        if self.trick == Trick::Stall {
            // The server looks at the cursor only when there is no credit left: ask until then.
            (index..CAPACITY).for_each(|index| self.put(index, index.wrapping_add(1), WORDS));
            return self.store(C_VERDICT_CURSOR, CAPACITY + 1 + value % CAPACITY);
        }
        match value % 3 {
            // Of no lap; of a lap to come; too long for its slot.
            0 => self.put(index, value | 1 << 63, WORDS),
            1 => self.put(index, index.wrapping_add(1 + CAPACITY), WORDS),
            _ => self.put(index, index.wrapping_add(1), u64::from(u16::MAX) - value % 1_000),
        }
    }

    /// Receives what is there. Private memory answers itself.
    #[inline]
    fn receive(&mut self) {
        for _ in 0..RECEIVES_MAX {
            let at = (SLOTS / 8) + (self.received % CAPACITY) as usize * VERDICT_SLOT_WORDS;
            let seq = self.rings.s()[at].load(Ordering::Acquire);
            if self.manner == Manner::Silent && self.received != self.sent {
                self.received = self.sent;
            }
            let stalls = self.manner == Manner::Hostile && self.trick == Trick::Stall;
            if seq != self.received.wrapping_add(1) || self.received == self.sent || stalls {
                return;
            }
            self.received = self.received.wrapping_add(1);
        }
    }

    /// A request with this sequence number and length: seven stores, the number last.
    #[inline]
    fn put(&mut self, index: u64, seq: u64, words: u64) {
        let at = slot_offset(index);
        self.store(at + 8, 1 | words << 16);
        self.store(at + 16, index);
        self.store(at + 24, 0);
        (0..WORDS as usize).for_each(|word| self.store(at + 32 + word * 8, index));
        self.rings.c()[at / 8].store(seq, Ordering::Release);
    }

    /// Nine stores of a client that has no credit.
    #[inline]
    fn beat(&mut self) {
        for _ in 0..STORES {
            self.store(C_VERDICT_CURSOR, self.received);
        }
    }

    /// Nine random words anywhere in its file: headers, cursors, numbers, lengths. Its cursor only once it is doomed.
    #[inline]
    fn scribble(&mut self) {
        for _ in 0..STORES {
            let value = self.next();
            let at = (value >> 20) as usize % self.rings.c().len() * 8;
            let at = if at == C_VERDICT_CURSOR && !self.doomed { C_PARKED } else { at };
            // Until the server has read what dooms it, that has to stay.
            let kept = self.doomed && (at == C_VERDICT_CURSOR || at / 256 == slot_offset(self.sent) / 256);
            self.store(if kept { C_KICK } else { at }, value);
        }
    }

    #[inline(always)]
    fn store(&self, offset: usize, value: u64) {
        self.rings.c()[offset / 8].store(value, Ordering::Relaxed);
    }

    /// Marsaglia's xorshift: the same for a seed, and cheap beside a store.
    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[inline(always)]
fn slot_offset(index: u64) -> usize {
    SLOTS + (index % CAPACITY) as usize * SLOT_WORDS * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(manner: Manner, trick: Trick) -> Neighbour {
        Neighbour::new(Rings::private(GEOMETRY).unwrap(), manner, trick, 7)
    }

    #[test]
    fn a_calm_neighbour_writes_what_the_layout_says() {
        let mut calm = neighbour(Manner::Calm, Trick::Asleep);
        calm.act();
        calm.act();
        let word = |offset: usize| calm.rings.c()[offset / 8].load(Ordering::Relaxed);
        assert_eq!((word(SLOTS), word(SLOTS + 256), word(SLOTS + 512)), (1, 2, 0));
        assert_eq!((word(SLOTS + 256 + 8), word(SLOTS + 256 + 16)), (1 | WORDS << 16, 1));
        assert_eq!((word(C_VERDICT_CURSOR), word(C_PARKED)), (0, 0));
        // Nobody answers: it stops where its credit does.
        (0..2 * CAPACITY).for_each(|_| calm.act());
        assert_eq!((calm.sent, calm.received), (CAPACITY, 0));
        calm.doom();
        assert!(!calm.doomed);
    }

    #[test]
    fn a_silent_neighbour_never_runs_out_of_credit() {
        let mut silent = neighbour(Manner::Silent, Trick::Asleep);
        (0..3 * CAPACITY).for_each(|_| silent.act());
        assert_eq!(silent.sent, 3 * CAPACITY);
    }

    #[test]
    fn every_trick_ends_in_what_cannot_be() {
        for trick in Trick::value_variants() {
            let mut hostile = neighbour(Manner::Hostile, *trick);
            (0..10).for_each(|_| hostile.act());
            assert_eq!(hostile.sent, 10, "{trick:?}");
            hostile.doom();
            let after = |hostile: &Neighbour| {
                let word = |offset: usize| hostile.rings.c()[offset / 8].load(Ordering::Relaxed);
                (word(slot_offset(10)), word(slot_offset(10) + 8) >> 16 & 0xffff, word(C_VERDICT_CURSOR))
            };
            let doomed = after(&hostile);
            let (seq, words, cursor) = doomed;
            assert!(seq != 11 || words > 28 || cursor > CAPACITY, "{trick:?}: {doomed:?}");
            // And stays there until the server has seen it.
            (0..10_000).for_each(|_| hostile.act());
            assert_eq!(after(&hostile), doomed, "{trick:?}");
        }
    }
}
