//! Remembers the last answers, so that an event that is sent twice gets the same answer twice.
//!
//! A ring of 64-byte entries in order of decision, found through a hash index over (principal, event id). The oldest
//! entry makes room for the newest. Identity is compared in full; the content by a 128-bit digest of its words.

use super::index::{ENTRIES_MAX, Index};
use super::memory::{LINE_WORDS, Memory};
use super::units::{EventId, mix};
use super::wire::{Input, Outcome};
use super::{Counters, LimitError};

const ID: usize = 0;
const DIGEST: usize = 2;
const OUTCOME: usize = 4;
const PRINCIPAL: usize = 7;

/// Decisions between asking for what an eviction touches and the eviction. As long as a long burst.
const AHEAD: u32 = 16;

/// What an event is compared by.
#[derive(Clone, Copy)]
pub(super) struct Content {
    /// Of its principal and id.
    hash: u64,
    /// Of its kind and words.
    digest: [u64; 2],
}

/// What is remembered of an event.
pub(super) enum Seen {
    /// Nothing.
    Never,
    /// The same event, and this was the answer.
    Same(Outcome),
    /// Its id, with other content.
    Reused,
}

/// See the module.
pub(super) struct Dedup {
    index: Index,
    entries: Memory,
    capacity: u32,
    used: u32,
    /// Where the next entry goes.
    next: u32,
    seed: u64,
}

impl Dedup {
    /// What [`reserve`](Self::reserve) takes for so many entries.
    pub(super) fn bytes_for(capacity: u32) -> u64 {
        Index::bytes_for(capacity) + Memory::bytes_for(u64::from(capacity) * LINE_WORDS as u64)
    }

    pub(super) fn reserve(capacity: u32, seed: u64) -> Result<Self, LimitError> {
        if !(1..=ENTRIES_MAX).contains(&capacity) {
            let message = format!("dedup_entries_max is {capacity}; it must be between 1 and {ENTRIES_MAX}");
            return Err(LimitError { message });
        }
        let entries = Memory::reserve(capacity as usize * LINE_WORDS, "dedup_entries_max")?;
        let index = Index::reserve(capacity, "the index of dedup_entries_max")?;
        Ok(Self { index, entries, capacity, used: 0, next: 0, seed: mix(seed, 0x6475_706c_6963_6174) })
    }

    /// Bytes of index and entries, whether in use or not.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.index.bytes() + 8 * self.entries.len() as u64
    }

    /// Index and entries.
    pub(super) fn blocks(&mut self) -> [&mut [u64]; 2] {
        [self.index.block(), &mut self.entries]
    }

    #[inline]
    fn hash(&self, principal: u32, id: EventId) -> u64 {
        mix(mix(id.0[0] ^ self.seed, id.0[1]), self.seed ^ u64::from(principal))
    }

    #[inline]
    fn entry(&self, number: u32) -> &[u64; LINE_WORDS] {
        let start = number as usize * LINE_WORDS;
        self.entries[start..start + LINE_WORDS].first_chunk().expect("an entry is a whole line")
    }

    /// Of an event with this id.
    #[inline]
    pub(super) fn content(&self, input: &Input<'_>, id: EventId) -> Content {
        Content { hash: self.hash(input.principal, id), digest: self.digest(input) }
    }

    #[inline]
    fn digest(&self, input: &Input<'_>) -> [u64; 2] {
        let mut low = mix(self.seed, u64::from(input.kind));
        let mut high = mix(!self.seed, u64::from(input.kind));
        // Both halves take in every word, two at a time. They enter the two in different ways, so that
        // words that undo each other in one half do not in the other.
        let (pairs, rest) = input.words.as_chunks();
        for &[first, second] in pairs {
            low = mix(low ^ first, low.rotate_left(32) ^ second);
            high = mix(high.wrapping_add(second), high.rotate_left(32).wrapping_add(first));
        }
        for &word in rest {
            low = mix(low ^ word, 0x9e6c_63d0_876a_68de);
            high = mix(high.wrapping_add(word), 0xd2b7_4407_b1ce_6e93);
        }
        [low, high]
    }

    /// What is remembered of this principal's event.
    #[inline]
    pub(super) fn look_up(&self, principal: u32, id: EventId, content: Content) -> Seen {
        let found = self.index.find(content.hash, |number| {
            let entry = self.entry(number);
            entry[ID..ID + 2] == id.0 && entry[PRINCIPAL] == u64::from(principal)
        });
        let Some(number) = found else { return Seen::Never };
        let entry = self.entry(number);
        if entry[DIGEST..DIGEST + 2] != content.digest {
            return Seen::Reused;
        }
        match Outcome::from_words([entry[OUTCOME], entry[OUTCOME + 1], entry[OUTCOME + 2], 0]) {
            Some((outcome, _)) => Seen::Same(outcome),
            None => Seen::Never,
        }
    }

    /// Remembers an answer, forgetting the oldest when there is no room.
    pub(super) fn remember(
        &mut self,
        principal: u32,
        id: EventId,
        content: Content,
        outcome: Outcome,
        counters: &mut Counters,
    ) {
        let number = self.next;
        self.next = if number + 1 == self.capacity { 0 } else { number + 1 };
        if self.used == self.capacity {
            let oldest = self.entry(number);
            let oldest_id = EventId([oldest[ID], oldest[ID + 1]]);
            let hash = self.hash(oldest[PRINCIPAL] as u32, oldest_id);
            self.index.remove(hash, number);
            counters.dedup_evicted += 1;
            self.prefetch_eviction(number);
        } else {
            self.used += 1;
        }
        let [seq, head, reasons, _] = outcome.to_words(0);
        let start = number as usize * LINE_WORDS;
        let Content { hash, digest } = content;
        let entry = [id.0[0], id.0[1], digest[0], digest[1], seq, head, reasons, u64::from(principal)];
        self.entries[start..start + LINE_WORDS].copy_from_slice(&entry);
        self.index.insert(hash, number);
        if let Some(later) = self.ahead(number, 2 * AHEAD) {
            self.entries.prefetch(later as usize * LINE_WORDS);
        }
    }

    /// Asks for the index bucket.
    #[inline]
    pub(super) fn prefetch_index(&self, principal: u32, id: EventId) {
        self.index.prefetch(self.index.start(self.hash(principal, id)));
    }

    /// The entry that is written so many decisions after `number`; in a small ring there may be none.
    #[inline]
    fn ahead(&self, number: u32, decisions: u32) -> Option<u32> {
        let later = number + decisions;
        let later = if later < self.capacity { later } else { later - self.capacity };
        (later < self.capacity).then_some(later)
    }

    /// Asks for the bucket that names the entry which will be evicted [`AHEAD`] decisions after `number`: nothing else
    /// knows of ids so old.
    #[inline]
    fn prefetch_eviction(&self, number: u32) {
        if let Some(later) = self.ahead(number, AHEAD) {
            let entry = self.entry(later);
            self.prefetch_index(entry[PRINCIPAL] as u32, EventId([entry[ID], entry[ID + 1]]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::Time;
    use crate::engine::wire::Admission;
    use std::collections::VecDeque;

    fn input(words: &[u64], principal: u32) -> Input<'_> {
        Input { principal, kind: 1, admission: Admission::Normal, received: Time(0), words }
    }

    #[test]
    fn remembers_the_newest_answers_and_tells_same_from_reused() {
        const CAPACITY: u32 = 50;
        let mut dedup = Dedup::reserve(CAPACITY, 5).unwrap();
        let mut counters = Counters::default();
        let mut model: VecDeque<(u32, [u64; 4], Outcome)> = VecDeque::new();
        let mut random = 3;
        for seq in 1..100_000 {
            random = mix(random, seq);
            let words = [random >> 7 & 63, 0, 5, random >> 20 & 1];
            let principal = (random >> 33) as u32 & 1;
            let id = EventId([words[0], 0]);
            let content = dedup.content(&input(&words, principal), id);
            let known = model.iter().find(|known| known.0 == principal && known.1[0] == words[0]);
            match (dedup.look_up(principal, id, content), known) {
                (Seen::Never, None) => {
                    let outcome = Outcome { seq, score: -1, ..Outcome::default() };
                    dedup.remember(principal, id, content, outcome, &mut counters);
                    if model.len() == CAPACITY as usize {
                        model.pop_front();
                    }
                    model.push_back((principal, words, outcome));
                }
                (Seen::Same(outcome), Some(known)) => assert_eq!((words, outcome), (known.1, known.2)),
                (Seen::Reused, Some(known)) => assert_ne!(words, known.1),
                _ => panic!("engine and model disagree at {seq}"),
            }
        }
        assert!(counters.dedup_evicted > 0);
    }

    #[test]
    fn no_room_at_all_is_refused_by_name() {
        assert!(Dedup::reserve(0, 5).is_err_and(|error| error.message.contains("dedup_entries_max")));
    }

    #[test]
    fn each_word_counts_in_both_halves_of_a_digest() {
        let dedup = Dedup::reserve(1, 5).unwrap();
        for len in [1, 2, 17, 18] {
            let words: Vec<u64> = (0..len).map(|word| word * word % 7).collect();
            let mut digests = vec![dedup.digest(&input(&words, 0)), dedup.digest(&input(&words[1..], 0))];
            for one in 0..words.len() {
                for bit in [0, 31, 32, 63] {
                    let mut words = words.clone();
                    words[one] ^= 1 << bit;
                    digests.push(dedup.digest(&input(&words, 0)));
                }
                for other in (0..one).filter(|&other| words[one] != words[other]) {
                    let mut words = words.clone();
                    words.swap(one, other);
                    digests.push(dedup.digest(&input(&words, 0)));
                }
            }
            for half in 0..2 {
                let mut halves: Vec<u64> = digests.iter().map(|digest| digest[half]).collect();
                halves.sort_unstable();
                halves.dedup();
                assert_eq!(halves.len(), digests.len());
            }
        }
    }
}
