//! The memory for rows that do not fit inside their record: a bump pointer, and below it what is free by size.
//!
//! What is free and lies side by side is one free block, whoever had it, so that slabs of any size can be made of it: senders who fill the
//! memory with small ones leave nothing behind. Free blocks are in `bins` by their size; a slab is cut from the first block of the lowest
//! bin whose blocks are all large enough, if not from one that is just as large. Which one that is depends on what was taken and given back,
//! and on nothing else.
//!
//! Nothing here takes longer for a larger slab, nor for a larger tree: the tree of a dropped key is *felled*, that is,
//! put on a list from which every decision frees a few slabs.

use super::LimitError;
use super::memory::{LINE_WORDS, Memory};
use super::validate::RECORD_WORDS_MAX;
use bins::Bins;

mod bins;

/// First line of a slab; 0 is none.
pub(super) type Slab = u32;

/// See the module.
pub(super) struct Spill {
    /// The lines, and then a bit for each: whether a free block begins or ends there. Whoever asks knows on which side of it a block would be.
    memory: Memory,
    /// From here on no line is in use, nor in a free block. Line 0 is never given out.
    fresh: usize,
    lines: usize,
    bins: Bins,
    free_lines: usize,
    /// First of the nodes to be taken apart. Their first word is a [`Felled`].
    felled: Slab,
    /// Room for one row on its way.
    row: Vec<u64>,
}

/// The size of slabs that have so many words: a number of lines.
pub(super) fn class(words: usize) -> usize {
    words.div_ceil(LINE_WORDS)
}

/// Bytes of a slab of this size.
pub(super) fn slab_bytes(class: usize) -> u64 {
    64 * class as u64
}

/// The first three words of a free block. The last of its words is where it begins.
struct FreeBlock {
    /// The next of its bin, and the one before it; 0 is none.
    next: Slab,
    before: Slab,
    lines: usize,
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
        let lines = (bytes / 64).saturating_add(1);
        Memory::bytes_for(lines.saturating_mul(LINE_WORDS as u64).saturating_add(lines.div_ceil(64)))
    }

    /// How much of the memory is in use, of a hundred, rounded up.
    pub(super) fn percent(&self) -> u64 {
        let (used, all) = (self.fresh - 1 - self.free_lines, self.lines - 1);
        (100 * used as u64).div_ceil((all as u64).max(1))
    }

    pub(super) fn reserve(bytes: u64) -> Result<Self, LimitError> {
        let lines = bytes / 64;
        if lines > u64::from(u32::MAX) {
            let message = format!("spill_bytes_max is {bytes}; it must be at most 256 GiB");
            return Err(LimitError { message });
        }
        let lines = lines as usize + 1;
        let memory = Memory::reserve(lines * LINE_WORDS + lines.div_ceil(64), "spill_bytes_max")?;
        let row = Vec::with_capacity(RECORD_WORDS_MAX);
        Ok(Self { memory, fresh: 1, lines, bins: Bins::default(), free_lines: 0, felled: 0, row })
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
        let Some(block) = self.bins.find(lines, |block| self.free_block(block).lines) else {
            let slab = self.fresh;
            return (slab + lines <= self.lines).then(|| {
                self.fresh += lines;
                slab as u32
            });
        };
        let all = self.unlist(block);
        if all > lines {
            self.list(block + lines as u32, all - lines);
        }
        Some(block)
    }

    pub(super) fn give_back(&mut self, lines: usize, slab: Slab) {
        let (mut first, mut end) = (slab as usize, slab as usize + lines);
        if self.is_edge(first - 1) {
            // The word at the end of a block is where it begins.
            let before = self.words(first as u32 - 1, LINE_WORDS)[LINE_WORDS - 1] as u32;
            self.unlist(before);
            first = before as usize;
        }
        if end < self.fresh && self.is_edge(end) {
            end += self.unlist(end as u32);
        }
        if end == self.fresh {
            self.fresh = first;
        } else {
            self.list(first as u32, end - first);
        }
    }

    /// What a free block says of itself.
    fn free_block(&self, block: Slab) -> FreeBlock {
        let words = self.words(block, 3);
        FreeBlock { next: words[0] as u32, before: words[1] as u32, lines: words[2] as usize }
    }

    /// Makes a free block of lines beside which nothing is free.
    fn list(&mut self, block: Slab, lines: usize) {
        let next = self.bins.push(block, lines);
        if next != 0 {
            self.words_mut(next, 2)[1] = u64::from(block);
        }
        self.words_mut(block, 3).copy_from_slice(&[u64::from(next), 0, lines as u64]);
        let last = block as usize + lines - 1;
        self.words_mut(last as u32, LINE_WORDS)[LINE_WORDS - 1] = u64::from(block);
        self.set_edge(block as usize, true);
        self.set_edge(last, true);
        self.free_lines += lines;
    }

    /// Makes a free block one no more; tells how many lines it has.
    fn unlist(&mut self, block: Slab) -> usize {
        let FreeBlock { next, before, lines } = self.free_block(block);
        match before {
            0 => self.bins.set_first(lines, next),
            before => self.words_mut(before, 1)[0] = u64::from(next),
        }
        if next != 0 {
            self.words_mut(next, 2)[1] = u64::from(before);
        }
        self.set_edge(block as usize, false);
        self.set_edge(block as usize + lines - 1, false);
        self.free_lines -= lines;
        lines
    }

    /// Whether a free block begins or ends at this line.
    fn is_edge(&self, line: usize) -> bool {
        self.memory[self.lines * LINE_WORDS + line / 64] >> (line % 64) & 1 == 1
    }

    fn set_edge(&mut self, line: usize, is_edge: bool) {
        let word = &mut self.memory[self.lines * LINE_WORDS + line / 64];
        *word = *word & !(1 << (line % 64)) | u64::from(is_edge) << (line % 64);
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

    /// Slabs of many sizes, taken and given back at random, against what is free by a map of lines.
    #[test]
    fn slabs_do_not_overlap_and_what_is_free_is_joined() {
        const LINES: usize = 3_000;
        let mut spill = Spill::reserve(64 * LINES as u64).unwrap();
        let (mut held, mut random, mut refused): (Vec<(usize, Slab, u64)>, _, _) = (Vec::new(), 3, 0);
        let mut is_free = vec![true; LINES + 1];
        is_free[0] = false;
        for round in 0..40_000_u64 {
            random = mix(random, round);
            // There are times of growing and of shrinking, and at the end nothing is held.
            let grows = round < 39_000
                && (random & 7 < if round / 2_000 % 2 == 0 { 5 } else { 3 } || held.is_empty());
            if grows {
                let lines = match random >> 10 & 3 {
                    0 => 1 + (random >> 20) as usize % 200,
                    1 => [2, 17, 33, 66, 130][(random >> 20) as usize % 5],
                    _ => 1 + (random >> 20) as usize % 12,
                };
                match spill.take(lines) {
                    Some(slab) => {
                        let range = slab as usize..slab as usize + lines;
                        assert!(is_free[range.clone()].iter().all(|&free| free), "round {round}");
                        is_free[range].fill(false);
                        spill.words_mut(slab, lines * LINE_WORDS).fill(random);
                        held.push((lines, slab, random));
                    }
                    None => {
                        refused += 1;
                        // A block that is a part in sixteen larger is always found.
                        let longest = is_free.split(|free| !free).map(<[bool]>::len).max().unwrap();
                        assert!(
                            longest < lines + lines.div_ceil(16),
                            "{lines} of {longest} in round {round}"
                        );
                    }
                }
            } else if !held.is_empty() {
                let (lines, slab, filled) = held.swap_remove((random >> 20) as usize % held.len());
                assert!(spill.words(slab, lines * LINE_WORDS).iter().all(|&word| word == filled));
                is_free[slab as usize..slab as usize + lines].fill(true);
                spill.give_back(lines, slab);
            }
            let lines: usize = held.iter().map(|held| held.0).sum();
            assert_eq!(spill.used_bytes(), 64 * lines as u64);
        }
        assert!(refused > 100 && held.is_empty(), "{refused}");
        assert_eq!(spill.take(LINES), Some(1), "all of it is one block again");
    }

    #[test]
    fn a_slab_is_cut_from_what_is_just_as_large_or_larger() {
        let mut spill = Spill::reserve(64 * 100).unwrap();
        let [one, _, two, _, three, _] = [10, 1, 40, 1, 10, 38].map(|lines| spill.take(lines).unwrap());
        assert_eq!(spill.take(1), None);
        for (lines, slab) in [(10, one), (40, two), (10, three)] {
            spill.give_back(lines, slab);
        }
        // The last that was given back comes first; then the larger is cut.
        assert_eq!([10, 10, 10].map(|lines| spill.take(lines)), [Some(three), Some(one), Some(two)]);
        assert_eq!([31, 30].map(|lines| spill.take(lines)), [None, Some(two + 10)]);
        assert_eq!(spill.used_bytes(), 64 * 100);
    }
}
