//! A hash index: from a 64-bit hash to the numbers of the entries that may have it.
//!
//! Buckets are one cache line: seven slots of (32-bit tag, 32-bit number + 1; 0 is empty), and a word that counts the
//! entries that started here or before and were **passed on** to a later bucket. A search stops at the first bucket
//! that passed nothing on, so deleting an entry leaves no tombstone: it only lowers the counts on its way. The index
//! never holds a key; whoever searches compares the full key of each candidate.
//!
//! A bucket's slots are compared all at once: where the wanted one is among them is chance, so that a loop which ends there
//! is a branch that the processor cannot foresee.

use super::LimitError;
use super::memory::{LINE_WORDS, Memory};
use std::num::NonZeroU32;

#[cfg(target_arch = "x86_64")]
pub(super) use halves::{Avx2, Avx512};
pub(super) use halves::{Compare, Here};

mod halves;

const SLOTS: usize = LINE_WORDS - 1;
const PASSED: usize = SLOTS;
/// One bit per slot, and none for the word that counts.
const ALL_SLOTS: u32 = (1 << SLOTS) - 1;

/// Entries per bucket that the index is sized for: a load of 5/7.
const MEAN_LOAD: usize = 5;

/// The most buckets a search looks at. At the load above no run of full buckets comes near it by chance.
const PROBES_MAX: usize = 256;

/// The most entries an index may be sized for.
pub(super) const ENTRIES_MAX: u32 = 1 << 30;

/// See the module.
pub(super) struct Index {
    lines: Memory,
    buckets: usize,
}

/// Where a search for a hash begins, and what it looks for.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// Its number + 1, so that no start takes no more room than one.
    bucket: NonZeroU32,
    tag: u32,
}

impl Start {
    #[inline(always)]
    fn bucket(self) -> usize {
        self.bucket.get() as usize - 1
    }
}

impl Index {
    fn buckets_for(entries: u32) -> usize {
        entries as usize / MEAN_LOAD + 2
    }

    /// What [`reserve`](Self::reserve) takes for so many entries.
    pub(super) fn bytes_for(entries: u32) -> u64 {
        Memory::bytes_for((Self::buckets_for(entries) * LINE_WORDS) as u64)
    }

    /// For up to `entries` entries.
    pub(super) fn reserve(entries: u32, what: &str) -> Result<Self, LimitError> {
        let buckets = Self::buckets_for(entries);
        Ok(Self { lines: Memory::reserve(buckets * LINE_WORDS, what)?, buckets })
    }

    /// Bytes of all buckets.
    pub(super) fn bytes(&self) -> u64 {
        8 * self.lines.len() as u64
    }

    /// All buckets.
    pub(super) fn block(&mut self) -> &mut [u64] {
        &mut self.lines
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets as u128) >> 64) as usize
    }

    /// Where a search for this hash begins.
    #[inline]
    pub(super) fn start(&self, hash: u64) -> Start {
        // `ENTRIES_MAX` sees to it that there are never nearly as many buckets.
        Start { bucket: NonZeroU32::MIN.saturating_add(self.home(hash) as u32), tag: hash as u32 }
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets { 0 } else { bucket + 1 }
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> &[u64; LINE_WORDS] {
        let start = bucket * LINE_WORDS;
        self.lines[start..start + LINE_WORDS].first_chunk().expect("a bucket is a whole line")
    }

    #[inline]
    fn bucket_mut(&mut self, bucket: usize) -> &mut [u64; LINE_WORDS] {
        let start = bucket * LINE_WORDS;
        self.lines[start..start + LINE_WORDS].first_chunk_mut().expect("a bucket is a whole line")
    }

    /// Asks for the bucket where a search begins.
    #[inline]
    pub(super) fn prefetch(&self, start: Start) {
        self.lines.prefetch(start.bucket() * LINE_WORDS);
    }

    /// The first entry of this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.find_from(self.start(hash), is_it)
    }

    /// The first entry that a search comes by, + 1, as slots have it; or none, and whether [`first_of_any`](Self::first_of_any) may
    /// find one all the same.
    ///
    /// # Safety
    ///
    /// As for [`Compare`].
    #[inline(always)]
    pub(super) unsafe fn first<C: Compare>(&self, start: Start) -> (Option<NonZeroU32>, bool) {
        let line = self.bucket(start.bucket());
        // SAFETY: as the caller has made sure.
        let tagged = unsafe { C::tagged(line, start.tag) } & ALL_SLOTS;
        // A slot that nothing is in looks like one of the tag 0.
        let number = NonZeroU32::new(line[tagged.trailing_zeros() as usize % LINE_WORDS] as u32);
        match tagged {
            0 => (None, line[PASSED] != 0),
            _ => (number, number.is_none()),
        }
    }

    /// The first entry that a search comes by, + 1, in whatever bucket.
    #[inline(never)]
    pub(super) fn first_of_any(&self, start: Start) -> Option<NonZeroU32> {
        self.find_from(start, |_| true).map(|entry| NonZeroU32::MIN.saturating_add(entry))
    }

    /// Asks for the bucket after the one where a search begins.
    #[inline]
    pub(super) fn prefetch_second(&self, start: Start) {
        self.lines.prefetch(self.next(start.bucket()) * LINE_WORDS);
    }

    #[inline]
    fn find_from(&self, start: Start, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut bucket = start.bucket();
        for _ in 0..PROBES_MAX.min(self.buckets) {
            let line = self.bucket(bucket);
            let mut tagged = Here::high(line, start.tag) & ALL_SLOTS;
            while tagged != 0 {
                let number = line[tagged.trailing_zeros() as usize % LINE_WORDS] as u32;
                if number != 0 && is_it(number - 1) {
                    return Some(number - 1);
                }
                tagged &= tagged - 1;
            }
            if line[PASSED] == 0 {
                return None;
            }
            bucket = self.next(bucket);
        }
        None
    }

    /// Adds an entry; false when no free slot is near enough.
    pub(super) fn insert(&mut self, hash: u64, entry: u32) -> bool {
        let home = self.home(hash);
        let mut bucket = home;
        for probe in 0..PROBES_MAX.min(self.buckets) {
            let line = self.bucket_mut(bucket);
            let empty = Here::low(line, 0) & ALL_SLOTS;
            if empty != 0 {
                line[empty.trailing_zeros() as usize % LINE_WORDS] = hash << 32 | u64::from(entry + 1);
                self.count_passed(home, probe, |passed| passed + 1);
                return true;
            }
            bucket = self.next(bucket);
        }
        false
    }

    /// Removes an entry that was inserted with this hash.
    pub(super) fn remove(&mut self, hash: u64, entry: u32) {
        let wanted = hash << 32 | u64::from(entry + 1);
        let home = self.home(hash);
        let mut bucket = home;
        for probe in 0..PROBES_MAX.min(self.buckets) {
            let line = self.bucket_mut(bucket);
            // No two slots have one number.
            let numbered = Here::low(line, entry + 1) & ALL_SLOTS;
            let slot = &mut line[numbered.trailing_zeros() as usize % LINE_WORDS];
            if numbered != 0 && *slot == wanted {
                *slot = 0;
                self.count_passed(home, probe, |passed| passed - 1);
                return;
            }
            bucket = self.next(bucket);
        }
    }

    fn count_passed(&mut self, home: usize, buckets: usize, change: impl Fn(u64) -> u64) {
        let mut bucket = home;
        for _ in 0..buckets {
            let line = self.bucket_mut(bucket);
            line[PASSED] = change(line[PASSED]);
            bucket = self.next(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::halves::Portable;
    use super::*;
    use crate::engine::units::mix;
    use std::collections::BTreeMap;

    /// Hashes are squeezed into few values, so that buckets overflow and tags collide.
    #[test]
    fn finds_exactly_what_was_inserted_and_not_removed() {
        for (entries, spread) in [(40_u32, 1_u64), (200, 3), (1_000, u64::MAX)] {
            let mut index = Index::reserve(entries, "a test").unwrap();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut random = 7_u64;
            for round in 0..200_000_u64 {
                random = mix(random, round);
                let entry = (random >> 40) as u32 % entries;
                match model.remove(&entry) {
                    Some(hash) => index.remove(hash, entry),
                    None => {
                        let hash = mix(random % spread, 99);
                        assert!(index.insert(hash, entry));
                        model.insert(entry, hash);
                    }
                }
                let probe = (random >> 13) as u32 % entries;
                let hash = model.get(&probe).copied().unwrap_or(mix(random % spread, 99));
                assert_eq!(index.find(hash, |found| found == probe).is_some(), model.contains_key(&probe));
                let start = index.start(hash);
                let any = index.first_of_any(start);
                assert_eq!(any.map(|number| number.get() - 1), index.find(hash, |_| true));
                // SAFETY: every processor has these vectors.
                match unsafe { index.first::<Here>(start) } {
                    (first, false) => assert_eq!(first, any),
                    (first, true) => assert_eq!(first, None),
                }
            }
        }
    }

    #[test]
    fn all_ways_of_comparing_agree() {
        let mut random = 5;
        for round in 0..100_000_u64 {
            let line = std::array::from_fn(|word| {
                random = mix(random, round << 3 | word as u64);
                // Few different halves, and large ones.
                (random & 0x8000_0003_8000_0003) | ((random >> 20 & 1) * 0x7fff_fffc)
            });
            for wanted in [random as u32, line[3] as u32, (line[6] >> 32) as u32, 0] {
                let high = |word: &u64| (word >> 32) as u32 == wanted;
                let low = |word: &u64| *word as u32 == wanted;
                let bits = |is: &dyn Fn(&u64) -> bool| {
                    (0..).zip(&line).map(|(at, word)| u32::from(is(word)) << at).sum::<u32>()
                };
                let told = [bits(&high), bits(&low)];
                assert_eq!([Portable::high(&line, wanted), Portable::low(&line, wanted)], told);
                assert_eq!([Here::high(&line, wanted), Here::low(&line, wanted)], told);
                #[cfg(target_arch = "x86_64")]
                {
                    if std::arch::is_x86_feature_detected!("avx2") {
                        // SAFETY: as just said.
                        assert_eq!(unsafe { Avx2::tagged(&line, wanted) }, told[0]);
                    }
                    if std::arch::is_x86_feature_detected!("avx512f") {
                        // SAFETY: as just said.
                        assert_eq!(unsafe { Avx512::tagged(&line, wanted) }, told[0]);
                    }
                }
            }
        }
    }
}
