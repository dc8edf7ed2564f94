//! The memory for rows that do not fit inside their record: a bump pointer, and a list of free slabs for each size.
//!
//! Nothing here takes longer for a larger slab, nor for a larger tree: the tree of a dropped key is *felled*, that is,
//! put on a list from which every decision frees a few slabs.

use super::LimitError;
use super::memory::{LINE_WORDS, Memory};

/// First line of a slab; 0 is none.
pub(super) type Slab = u32;

/// See the module.
pub(super) struct Spill {
    memory: Memory,
    /// First line never used. Line 0 is never given out.
    fresh: usize,
    lines: usize,
    free: Free,
    free_lines: usize,
    /// First of the nodes to be taken apart. Their first word is a [`Felled`].
    felled: Slab,
    /// Room for one row on its way.
    row: Vec<u64>,
}

/// Which sizes of slabs and rows there may be: the largest of each.
#[derive(Clone, Copy, Default)]
pub(super) struct Sizes {
    lines: usize,
    row_words: usize,
}

impl Sizes {
    /// The size of slabs that have so many words: a number of lines.
    pub(super) fn class(&mut self, words: usize) -> usize {
        let lines = words.div_ceil(LINE_WORDS);
        self.lines = self.lines.max(lines);
        lines
    }

    /// There are rows of so many words.
    pub(super) fn row(&mut self, words: usize) {
        self.row_words = self.row_words.max(words);
    }
}

/// Bytes of a slab of this size.
pub(super) fn slab_bytes(class: usize) -> u64 {
    64 * class as u64
}

/// The free slabs of each size. The first word of a free one is the number of the next.
#[derive(Default)]
struct Free {
    /// By lines: the first of them.
    first: Vec<Slab>,
    /// By lines, 64 to a word: whether there is one. So that a larger one is found without looking at all sizes.
    some: Vec<u64>,
}

impl Free {
    fn up_to(lines: usize) -> Self {
        Self { first: vec![0; lines + 1], some: vec![0; lines / 64 + 1] }
    }

    fn set(&mut self, lines: usize, first: Slab) {
        self.first[lines] = first;
        let (word, bit) = (&mut self.some[lines / 64], 1 << (lines % 64));
        *word = if first == 0 { *word & !bit } else { *word | bit };
    }

    /// The smallest size larger than this of which there is a free slab.
    fn larger(&self, lines: usize) -> Option<usize> {
        let from = lines + 1;
        let mut word = from / 64;
        let mut some = self.some.get(word)? & (u64::MAX << (from % 64));
        while some == 0 {
            word += 1;
            some = *self.some.get(word)?;
        }
        Some(word * 64 + some.trailing_zeros() as usize)
    }
}

/// Room for more sizes than a [`Spill`] has, reserved elsewhere.
pub(super) struct MoreSizes {
    free: Free,
    row: Vec<u64>,
}

impl MoreSizes {
    pub(super) fn reserve(sizes: Sizes) -> Self {
        Self { free: Free::up_to(sizes.lines), row: Vec::with_capacity(sizes.row_words) }
    }
}

/// The first word of a node that is to be taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Felled {
    /// The next one.
    pub(super) next: Slab,
    /// What it is a node of.
    pub(super) group: u16,
    /// Its level.
    pub(super) level: u8,
    /// How many children are left.
    pub(super) count: u8,
}

impl Felled {
    fn to_word(self) -> u64 {
        u64::from(self.next) << 32
            | u64::from(self.group) << 16
            | u64::from(self.level) << 8
            | u64::from(self.count)
    }

    fn from_word(word: u64) -> Self {
        Self {
            next: (word >> 32) as u32,
            group: (word >> 16) as u16,
            level: (word >> 8) as u8,
            count: word as u8,
        }
    }
}

impl Spill {
    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(bytes: u64) -> u64 {
        (bytes / 64).saturating_add(1).saturating_mul(64)
    }

    /// How much of the memory is in use, of a hundred, rounded up.
    pub(super) fn percent(&self) -> u64 {
        let (used, all) = (self.fresh - 1 - self.free_lines, self.lines - 1);
        (100 * used as u64).div_ceil((all as u64).max(1))
    }

    pub(super) fn reserve(bytes: u64, sizes: Sizes) -> Result<Self, LimitError> {
        let lines = bytes / 64;
        if lines > u64::from(u32::MAX) {
            let message = format!("spill_bytes_max is {bytes}; it must be at most 256 GiB");
            return Err(LimitError { message });
        }
        let lines = lines as usize + 1;
        let memory = Memory::reserve(lines * LINE_WORDS, "spill_bytes_max")?;
        let MoreSizes { free, row } = MoreSizes::reserve(sizes);
        Ok(Self { memory, fresh: 1, lines, free, free_lines: 0, felled: 0, row })
    }

    /// Takes room for more sizes, and gives back what it had.
    pub(super) fn take_sizes(&mut self, more: &mut MoreSizes) {
        if more.free.first.len() > self.free.first.len() {
            more.free.first[..self.free.first.len()].copy_from_slice(&self.free.first);
            more.free.some[..self.free.some.len()].copy_from_slice(&self.free.some);
            std::mem::swap(&mut self.free, &mut more.free);
        }
        if more.row.capacity() > self.row.capacity() {
            std::mem::swap(&mut self.row, &mut more.row);
        }
    }

    /// A buffer for one row, which has to be put back.
    pub(super) fn take_row_buffer(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.row)
    }

    /// See [`take_row_buffer`](Self::take_row_buffer).
    pub(super) fn put_row_buffer(&mut self, row: Vec<u64>) {
        self.row = row;
    }

    /// Bytes of the slabs in use.
    pub(super) fn used_bytes(&self) -> u64 {
        64 * (self.fresh - 1 - self.free_lines) as u64
    }

    /// Bytes of all slabs that there can be.
    pub(super) fn reserved_bytes(&self) -> u64 {
        8 * self.memory.len() as u64
    }

    /// All slabs that there can be.
    pub(super) fn block(&mut self) -> &mut [u64] {
        &mut self.memory
    }

    /// Whether more than half of the memory is in use.
    pub(super) fn is_past_half(&self) -> bool {
        (self.fresh - self.free_lines) * 2 > self.lines
    }

    /// A slab of so many lines, holding whatever it held before.
    pub(super) fn take(&mut self, lines: usize) -> Option<Slab> {
        if self.free.first[lines] != 0 {
            return Some(self.take_free(lines));
        }
        if self.fresh + lines <= self.lines {
            let slab = self.fresh as u32;
            self.fresh += lines;
            return Some(slab);
        }
        self.cut(lines)
    }

    fn take_free(&mut self, lines: usize) -> Slab {
        let slab = self.free.first[lines];
        let next = self.words(slab, 1)[0] as u32;
        self.free.set(lines, next);
        self.free_lines -= lines;
        slab
    }

    /// Cuts the smallest free slab that is larger. What is left is a free slab of its own size, which may be cut in turn, and
    /// is never joined again. Which one is cut depends on what was taken and given back, and on nothing else.
    fn cut(&mut self, lines: usize) -> Option<Slab> {
        let larger = self.free.larger(lines)?;
        let slab = self.take_free(larger);
        self.give_back(larger - lines, slab + lines as u32);
        Some(slab)
    }

    pub(super) fn give_back(&mut self, lines: usize, slab: Slab) {
        self.words_mut(slab, 1)[0] = u64::from(self.free.first[lines]);
        self.free.set(lines, slab);
        self.free_lines += lines;
    }

    /// The first words of a slab.
    #[inline]
    pub(super) fn words(&self, slab: Slab, words: usize) -> &[u64] {
        let start = slab as usize * LINE_WORDS;
        &self.memory[start..start + words]
    }

    /// The first words of a slab, to be changed.
    #[inline]
    pub(super) fn words_mut(&mut self, slab: Slab, words: usize) -> &mut [u64] {
        let start = slab as usize * LINE_WORDS;
        &mut self.memory[start..start + words]
    }

    /// Copies words from one slab to another, or within one.
    pub(super) fn copy(&mut self, from: (Slab, std::ops::Range<usize>), to: (Slab, usize)) {
        let base = from.0 as usize * LINE_WORDS;
        let range = base + from.1.start..base + from.1.end;
        self.memory.copy_within(range, to.0 as usize * LINE_WORDS + to.1);
    }

    /// Asks the processor for the lines of a slab that hold these words.
    #[inline]
    pub(super) fn prefetch(&self, slab: Slab, words: std::ops::Range<usize>) {
        let (first, end) = (words.start / LINE_WORDS, words.end.div_ceil(LINE_WORDS));
        let base = (slab as usize + first) * LINE_WORDS;
        self.memory.prefetch_lines(base, end.saturating_sub(first));
    }

    /// Puts a node on the list of those to be taken apart.
    pub(super) fn fell(&mut self, node: Slab, felled: Felled) {
        self.words_mut(node, 1)[0] = Felled { next: self.felled, ..felled }.to_word();
        self.felled = node;
    }

    /// The node to be taken apart next.
    pub(super) fn felled(&self) -> Option<(Slab, Felled)> {
        (self.felled != 0).then(|| (self.felled, Felled::from_word(self.words(self.felled, 1)[0])))
    }

    /// Takes the first node off that list.
    pub(super) fn unlist_felled(&mut self) {
        if let Some((_, Felled { next, .. })) = self.felled() {
            self.felled = next;
        }
    }

    /// Notes how many children are left of the first node on that list.
    pub(super) fn set_felled_count(&mut self, count: u8) {
        if let Some((slab, felled)) = self.felled() {
            self.words_mut(slab, 1)[0] = Felled { count, ..felled }.to_word();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::mix;

    #[test]
    fn slabs_do_not_overlap_and_are_used_again() {
        let mut sizes = Sizes::default();
        let classes: Vec<usize> = [8, 30, 129].map(|words| sizes.class(words)).to_vec();
        let words = |class: usize| [8, 30, 129][class];
        assert_eq!(sizes.class(25), classes[1], "sizes are whole lines");
        let mut spill = Spill::reserve(64 * 400, sizes).unwrap();
        let (mut held, mut random, mut refused) = (Vec::new(), 3, 0);
        for round in 0..20_000 {
            random = mix(random, round);
            let class = (random >> 10) as usize % 3;
            if random & 1 == 0 || held.is_empty() {
                match spill.take(classes[class]) {
                    Some(slab) => {
                        spill.words_mut(slab, words(class)).fill(random);
                        held.push((class, slab, random));
                    }
                    None => refused += 1,
                }
            } else {
                let (class, slab, filled) = held.swap_remove((random >> 20) as usize % held.len());
                assert!(spill.words(slab, words(class)).iter().all(|&word| word == filled));
                spill.give_back(classes[class], slab);
            }
            let lines: usize = held.iter().map(|held| words(held.0).div_ceil(8)).sum();
            assert_eq!(spill.used_bytes(), 64 * lines as u64);
        }
        assert!(refused > 0);
    }

    #[test]
    fn a_larger_slab_is_cut_when_nothing_else_is_left() {
        let mut sizes = Sizes::default();
        let [small, middle, large] = [16, 32, 96].map(|words| sizes.class(words));
        let mut spill = Spill::reserve(64 * 14, sizes).unwrap();
        let held = spill.take(large).unwrap();
        assert_eq!(spill.take(small), Some(13));
        assert_eq!(spill.take(small), None);
        spill.give_back(large, held);
        // Twelve lines: two, then four of the ten that are left, four of six, and the last two as they are.
        assert_eq!(spill.take(small), Some(held));
        assert_eq!([spill.take(middle), spill.take(middle)], [Some(held + 2), Some(held + 6)]);
        assert_eq!([spill.take(small), spill.take(small)], [Some(held + 10), None]);
        assert_eq!(spill.used_bytes(), 64 * 14);
        // With more sizes than it began with, what is free is still free.
        spill.give_back(middle, held + 2);
        let largest = sizes.class(1_000);
        spill.take_sizes(&mut MoreSizes::reserve(sizes));
        assert_eq!([spill.take(largest), spill.take(middle)], [None, Some(held + 2)]);
    }
}
