//! Where the rows of one key and group are kept, and how they move.
//!
//! ```text
//! record:  … | head slab, inline count | lost until | inline rows, column by column | …
//! slab:    next slab, capacity, count | least time | greatest time | … one line, then rows, column by column
//! ```
//!
//! New rows go to the inline rows of the record, which every scan has at hand. When those are full, rows that no window
//! can reach any more are squeezed out; if all are alive they move, as one batch, to a slab: first one of 16
//! rows, then of 64, then of 256, then a chain of 256-slabs, newest first. So a slab holds rows of about one time, and
//! its least and greatest time let scans pass it by. Inside a block rows are in no order: the past is entered
//! like the present, and nothing but the time of a row decides which windows it is in.
//!
//! At the bound (`rows_per_key_max`, or no memory for another slab) the slab with the oldest rows is emptied. Its rows that
//! were still alive are counted, and the greatest of their times is remembered: a window that reaches back to
//! it is answered from what is left, and flagged.

use super::memory::{LINE_WORDS, Memory};
use super::program::GROUP_HEADER_WORDS;
use super::{Counters, LimitError};

/// Rows of the slabs: a group's only slab grows from tier to tier; only those of the last are chained.
const TIERS: [usize; 3] = [16, 64, 256];
/// Rows of a slab of the last tier.
const SLAB_ROWS: usize = TIERS[TIERS.len() - 1];

/// Where in the record's group header what is.
const HEAD: usize = 0;
const LOST: usize = 1;

/// Where in a slab's header line what is.
const LINK: usize = 0;
const LEAST: usize = 1;
const GREATEST: usize = 2;

/// The geometry of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) row_words: usize,
    record_word: usize,
    inline_rows: usize,
    /// `inline_rows`, or fewer where `rows_per_key_max` says so.
    inline_max: usize,
    slab_rows_max: usize,
    /// By tier: the size class of its slabs.
    classes: [usize; TIERS.len()],
}

impl Shape {
    pub(super) fn new(
        row_words: usize,
        record_word: usize,
        inline_rows: usize,
        rows_per_key_max: usize,
        spill: &mut Spill,
    ) -> Self {
        Self {
            row_words,
            record_word,
            inline_rows,
            inline_max: inline_rows.min(rows_per_key_max),
            slab_rows_max: rows_per_key_max.saturating_sub(inline_rows),
            classes: TIERS.map(|rows| spill.class(row_words, rows)),
        }
    }

    fn inline_words(&self) -> std::ops::Range<usize> {
        let start = self.record_word + GROUP_HEADER_WORDS;
        start..start + self.inline_rows * self.row_words
    }

    fn class_of(&self, capacity: usize) -> usize {
        self.classes[tier_of(capacity)]
    }
}

fn tier_of(capacity: usize) -> usize {
    TIERS.iter().position(|&rows| rows == capacity).unwrap_or(TIERS.len() - 1)
}

/// The memory of all slabs: a bump pointer, and a list of free slabs per size.
pub(super) struct Spill {
    memory: Memory,
    /// First line never used. Line 0 is never given out: 0 means "no slab".
    fresh: usize,
    lines: usize,
    classes: Vec<Class>,
    free_lines: usize,
}

struct Class {
    lines: usize,
    free: u32,
}

impl Spill {
    pub(super) fn reserve(bytes: u64) -> Result<Self, LimitError> {
        let lines = bytes / 64;
        if lines > u64::from(u32::MAX) {
            let message = format!("spill_bytes_max is {bytes}; it must be at most 256 GiB");
            return Err(LimitError { message });
        }
        let lines = lines as usize + 1;
        let memory = Memory::reserve(lines * LINE_WORDS, "spill_bytes_max")?;
        Ok(Self { memory, fresh: 1, lines, classes: Vec::new(), free_lines: 0 })
    }

    fn class(&mut self, row_words: usize, rows: usize) -> usize {
        let lines = 1 + (row_words * rows).div_ceil(LINE_WORDS);
        self.classes.iter().position(|class| class.lines == lines).unwrap_or_else(|| {
            self.classes.push(Class { lines, free: 0 });
            self.classes.len() - 1
        })
    }

    /// Bytes of the slabs in use.
    pub(super) fn used_bytes(&self) -> u64 {
        64 * (self.fresh - 1 - self.free_lines) as u64
    }

    /// Whether more than half of the memory is in use.
    pub(super) fn is_past_half(&self) -> bool {
        (self.fresh - self.free_lines) * 2 > self.lines
    }

    fn take(&mut self, class: usize, capacity: usize) -> Option<u32> {
        let Class { lines, free } = self.classes[class];
        let slab = if free != 0 {
            self.classes[class].free = self.link(free).next;
            self.free_lines -= lines;
            free
        } else if self.fresh + lines <= self.lines {
            let slab = self.fresh as u32;
            self.fresh += lines;
            slab
        } else {
            return None;
        };
        self.set_link(slab, Link { next: 0, capacity, count: 0 });
        self.empty(slab);
        Some(slab)
    }

    fn give_back(&mut self, class: usize, slab: u32) {
        let next = self.classes[class].free;
        self.set_link(slab, Link { next, capacity: 0, count: 0 });
        self.classes[class].free = slab;
        self.free_lines += self.classes[class].lines;
    }

    #[inline]
    fn word(slab: u32) -> usize {
        slab as usize * LINE_WORDS
    }

    #[inline]
    fn link(&self, slab: u32) -> Link {
        Link::from_word(self.memory[Self::word(slab) + LINK])
    }

    fn set_link(&mut self, slab: u32, link: Link) {
        self.memory[Self::word(slab) + LINK] = link.to_word();
    }

    fn times(&self, slab: u32) -> (i64, i64) {
        let word = Self::word(slab);
        (self.memory[word + LEAST] as i64, self.memory[word + GREATEST] as i64)
    }

    fn set_times(&mut self, slab: u32, least: i64, greatest: i64) {
        let word = Self::word(slab);
        self.memory[word + LEAST] = least as u64;
        self.memory[word + GREATEST] = greatest as u64;
    }

    fn empty(&mut self, slab: u32) {
        let link = self.link(slab);
        self.set_link(slab, Link { count: 0, ..link });
        self.set_times(slab, i64::MAX, i64::MIN);
    }

    #[inline]
    fn rows(&self, slab: u32, words: usize) -> &[u64] {
        let start = Self::word(slab) + LINE_WORDS;
        &self.memory[start..start + words]
    }

    #[inline]
    fn rows_mut(&mut self, slab: u32, words: usize) -> &mut [u64] {
        let start = Self::word(slab) + LINE_WORDS;
        &mut self.memory[start..start + words]
    }
}

/// First word of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    next: u32,
    capacity: usize,
    count: usize,
}

impl Link {
    fn from_word(word: u64) -> Self {
        Self {
            next: (word >> 32) as u32,
            capacity: (word >> 16) as usize & 0xffff,
            count: word as usize & 0xffff,
        }
    }

    fn to_word(self) -> u64 {
        u64::from(self.next) << 32 | (self.capacity as u64) << 16 | self.count as u64
    }
}

/// Rows that lie together, column by column: column c of row r is `words[c * capacity + r]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) words: &'a [u64],
    pub(super) capacity: usize,
    pub(super) count: usize,
    /// No row is older.
    pub(super) least: i64,
    /// No row is newer.
    pub(super) greatest: i64,
}

impl<'a> Block<'a> {
    /// One row by itself.
    #[inline]
    pub(super) fn of_row(row: &'a [u64]) -> Self {
        let time = row[0] as i64;
        Self { words: row, capacity: 1, count: 1, least: time, greatest: time }
    }

    /// A column of all rows.
    #[inline]
    pub(super) fn column(&self, column: usize) -> &'a [u64] {
        let start = column * self.capacity;
        &self.words[start..start + self.count]
    }
}

/// The blocks of one key and group: the inline rows, then each slab.
#[derive(Clone)]
pub(super) struct Blocks<'a> {
    inline: Option<Block<'a>>,
    slab: u32,
    spill: &'a Spill,
    row_words: usize,
}

/// The rows of a group of this record.
#[inline]
pub(super) fn blocks<'a>(record: &'a [u64], shape: &Shape, spill: &'a Spill) -> Blocks<'a> {
    let head = Head::of(record, shape);
    let inline = Block {
        words: &record[shape.inline_words()],
        capacity: shape.inline_rows,
        count: head.count,
        least: i64::MIN,
        greatest: i64::MAX,
    };
    let inline = (head.count > 0).then_some(inline);
    Blocks { inline, slab: head.slab, spill, row_words: shape.row_words }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    #[inline]
    fn next(&mut self) -> Option<Block<'a>> {
        if let Some(inline) = self.inline.take() {
            return Some(inline);
        }
        if self.slab == 0 {
            return None;
        }
        let slab = self.slab;
        let Link { next, capacity, count } = self.spill.link(slab);
        let (least, greatest) = self.spill.times(slab);
        self.slab = next;
        let words = self.spill.rows(slab, capacity * self.row_words);
        Some(Block { words, capacity, count, least, greatest })
    }
}

/// Greatest time of the rows that were given up; `None` when none was.
#[inline]
pub(super) fn lost_until(record: &[u64], shape: &Shape) -> Option<i64> {
    match record[shape.record_word + LOST] {
        0 => None,
        after => Some(after as i64 - 1),
    }
}

/// Remembers that rows up to this time were given up.
pub(super) fn lose_until(record: &mut [u64], shape: &Shape, time: i64) {
    let lost = &mut record[shape.record_word + LOST];
    *lost = (*lost).max(time as u64 + 1);
}

/// First word of a group's header.
#[derive(Clone, Copy)]
struct Head {
    slab: u32,
    count: usize,
}

impl Head {
    #[inline]
    fn of(record: &[u64], shape: &Shape) -> Self {
        let word = record[shape.record_word + HEAD];
        Self { slab: (word >> 32) as u32, count: word as usize & 0xffff }
    }

    fn store(self, record: &mut [u64], shape: &Shape) {
        record[shape.record_word + HEAD] = u64::from(self.slab) << 32 | self.count as u64;
    }
}

/// Gives back the slabs of a group whose record is dropped.
pub(super) fn release(record: &[u64], shape: &Shape, spill: &mut Spill) {
    let mut slab = Head::of(record, shape).slab;
    while slab != 0 {
        let Link { next, capacity, .. } = spill.link(slab);
        spill.give_back(shape.class_of(capacity), slab);
        slab = next;
    }
}

/// Whether any row is newer than `dead`.
pub(super) fn any_alive(record: &[u64], shape: &Shape, spill: &Spill, dead: i64) -> bool {
    blocks(record, shape, spill)
        .any(|block| block.greatest > dead && block.column(0).iter().any(|&time| time as i64 > dead))
}

/// Adds a row. Rows at or before `dead` may be overwritten.
pub(super) fn insert(
    record: &mut [u64],
    shape: &Shape,
    spill: &mut Spill,
    row: &[u64],
    dead: i64,
    counters: &mut Counters,
) {
    let mut head = Head::of(record, shape);
    if head.count >= shape.inline_max {
        head.count = squeeze(&mut record[shape.inline_words()], shape, shape.inline_rows, head.count, dead);
        head.store(record, shape);
    }
    if head.count >= shape.inline_max {
        Group { record, shape, spill, dead, counters }.move_out();
        head = Head::of(record, shape);
    }
    let inline = &mut record[shape.inline_words()];
    for (column, &word) in row.iter().enumerate() {
        inline[column * shape.inline_rows + head.count] = word;
    }
    Head { count: head.count + 1, ..head }.store(record, shape);
}

/// Drops the rows at or before `dead` from a block; returns how many are left.
fn squeeze(words: &mut [u64], shape: &Shape, capacity: usize, count: usize, dead: i64) -> usize {
    let mut left = 0;
    for row in 0..count {
        if words[row] as i64 > dead {
            if left != row {
                for column in 0..shape.row_words {
                    words[column * capacity + left] = words[column * capacity + row];
                }
            }
            left += 1;
        }
    }
    left
}

/// The rows of one key and group, being rearranged.
struct Group<'a> {
    record: &'a mut [u64],
    shape: &'a Shape,
    spill: &'a mut Spill,
    dead: i64,
    counters: &'a mut Counters,
}

impl Group<'_> {
    fn head(&self) -> Head {
        Head::of(self.record, self.shape)
    }

    fn set_head_slab(&mut self, slab: u32) {
        Head { slab, ..self.head() }.store(self.record, self.shape);
    }

    /// Makes room among the inline rows: moves them to the slabs, or, where there is none, gives up the oldest.
    fn move_out(&mut self) {
        while self.head().count > 0 {
            let slab = self.head().slab;
            let Link { capacity, count, .. } = self.spill.link(slab);
            if slab != 0 && count < capacity {
                self.move_last_row(slab);
            } else if !self.make_room() {
                self.give_up_oldest_inline_row();
                return;
            }
        }
    }

    fn move_last_row(&mut self, slab: u32) {
        let head = self.head();
        let link = self.spill.link(slab);
        let (row, capacity) = (head.count - 1, link.capacity);
        let inline = &self.record[self.shape.inline_words()];
        let time = inline[row] as i64;
        let words = self.spill.rows_mut(slab, capacity * self.shape.row_words);
        for column in 0..self.shape.row_words {
            words[column * capacity + link.count] = inline[column * self.shape.inline_rows + row];
        }
        let (least, greatest) = self.spill.times(slab);
        self.spill.set_times(slab, least.min(time), greatest.max(time));
        self.spill.set_link(slab, Link { count: link.count + 1, ..link });
        Head { count: row, ..head }.store(self.record, self.shape);
        self.counters.promoted += 1;
    }

    fn give_up_oldest_inline_row(&mut self) {
        let head = self.head();
        let shape = self.shape;
        let range = shape.inline_words();
        let inline = &mut self.record[range];
        let oldest = (0..head.count).min_by_key(|&row| inline[row] as i64).unwrap_or(0);
        let (time, last) = (inline[oldest] as i64, head.count - 1);
        for column in 0..shape.row_words {
            inline[column * shape.inline_rows + oldest] = inline[column * shape.inline_rows + last];
        }
        Head { count: last, ..head }.store(self.record, shape);
        lose_until(self.record, shape, time);
        self.counters.rows_lost += 1;
    }

    /// Sees to it that the head slab has room; false when there can be no slab at all.
    fn make_room(&mut self) -> bool {
        let held = self.drop_dead_slabs();
        let head = self.head().slab;
        if head != 0 {
            self.squeeze_slab(head);
            let link = self.spill.link(head);
            if link.count < link.capacity {
                return true;
            }
        }
        let room = match held {
            0 => self.add_slab(held, TIERS[0]),
            held if held < SLAB_ROWS => self.widen(head, held),
            held => self.add_slab(held, SLAB_ROWS),
        };
        room || self.give_up_oldest_slab()
    }

    /// Frees the slabs that no window reaches any more; returns the rows that the others have room for.
    fn drop_dead_slabs(&mut self) -> usize {
        let (mut slab, mut before, mut held) = (self.head().slab, 0, 0);
        while slab != 0 {
            let Link { next, capacity, .. } = self.spill.link(slab);
            if self.spill.times(slab).1 <= self.dead {
                self.unlink(slab, before);
                self.spill.give_back(self.shape.class_of(capacity), slab);
            } else {
                held += capacity;
                before = slab;
            }
            slab = next;
        }
        held
    }

    fn unlink(&mut self, slab: u32, before: u32) {
        let next = self.spill.link(slab).next;
        if before == 0 {
            self.set_head_slab(next);
        } else {
            let link = self.spill.link(before);
            self.spill.set_link(before, Link { next, ..link });
        }
    }

    fn squeeze_slab(&mut self, slab: u32) {
        if self.spill.times(slab).0 > self.dead {
            return;
        }
        let link = self.spill.link(slab);
        let words = self.spill.rows_mut(slab, link.capacity * self.shape.row_words);
        let count = squeeze(words, self.shape, link.capacity, link.count, self.dead);
        let times = words[..count].iter().map(|&time| time as i64);
        let (least, greatest) = (times.clone().min().unwrap_or(i64::MAX), times.max().unwrap_or(i64::MIN));
        self.spill.set_times(slab, least, greatest);
        self.spill.set_link(slab, Link { count, ..link });
    }

    fn add_slab(&mut self, held: usize, capacity: usize) -> bool {
        if held + capacity > self.shape.slab_rows_max {
            return false;
        }
        let Some(slab) = self.spill.take(self.shape.class_of(capacity), capacity) else { return false };
        self.push_front(slab);
        true
    }

    fn push_front(&mut self, slab: u32) {
        let link = self.spill.link(slab);
        self.spill.set_link(slab, Link { next: self.head().slab, ..link });
        self.set_head_slab(slab);
    }

    /// Replaces the only slab by one of the next tier.
    fn widen(&mut self, narrow: u32, from: usize) -> bool {
        let to = TIERS[tier_of(from) + 1];
        if to > self.shape.slab_rows_max {
            return false;
        }
        let Some(wide) = self.spill.take(self.shape.class_of(to), to) else { return false };
        let (source, target) = (Spill::word(narrow) + LINE_WORDS, Spill::word(wide) + LINE_WORDS);
        for column in 0..self.shape.row_words {
            let start = source + column * from;
            self.spill.memory.copy_within(start..start + from, target + column * to);
        }
        let (count, (least, greatest)) = (self.spill.link(narrow).count, self.spill.times(narrow));
        self.spill.set_times(wide, least, greatest);
        self.spill.set_link(wide, Link { next: 0, capacity: to, count });
        self.set_head_slab(wide);
        self.spill.give_back(self.shape.class_of(from), narrow);
        self.counters.promoted += count as u64;
        true
    }

    /// Empties the slab whose newest row is the oldest, and makes it the head.
    fn give_up_oldest_slab(&mut self) -> bool {
        let (mut oldest, mut before_oldest, mut oldest_time) = (0, 0, i64::MAX);
        let (mut slab, mut before) = (self.head().slab, 0);
        while slab != 0 {
            let (_, greatest) = self.spill.times(slab);
            if oldest == 0 || greatest <= oldest_time {
                (oldest, before_oldest, oldest_time) = (slab, before, greatest);
            }
            before = slab;
            slab = self.spill.link(slab).next;
        }
        if oldest == 0 {
            return false;
        }
        let link = self.spill.link(oldest);
        let times = &self.spill.rows(oldest, link.capacity * self.shape.row_words)[..link.count];
        let alive = times.iter().filter(|&&time| time as i64 > self.dead).count();
        if alive > 0 {
            self.counters.rows_lost += alive as u64;
            lose_until(self.record, self.shape, oldest_time);
        }
        self.unlink(oldest, before_oldest);
        self.spill.empty(oldest);
        self.push_front(oldest);
        true
    }
}

/// Calls `change` with every row whose time and id tag are these (any time when `time` is `None`), as (block words,
/// capacity, row). Returns how many there were.
pub(super) fn for_each_match(
    record: &mut [u64],
    shape: &Shape,
    spill: &mut Spill,
    id_column: usize,
    tag: u64,
    time: Option<i64>,
    mut change: impl FnMut(&mut [u64], usize, usize),
) -> usize {
    let mut found = 0;
    let head = Head::of(record, shape);
    let mut visit = |words: &mut [u64], capacity: usize, count: usize| {
        for row in 0..count {
            if words[id_column * capacity + row] == tag && time.is_none_or(|time| words[row] as i64 == time) {
                change(words, capacity, row);
                found += 1;
            }
        }
    };
    visit(&mut record[shape.inline_words()], shape.inline_rows, head.count);
    let mut slab = head.slab;
    while slab != 0 {
        let Link { next, capacity, count } = spill.link(slab);
        let (least, greatest) = spill.times(slab);
        if time.is_none_or(|time| (least..=greatest).contains(&time)) {
            visit(spill.rows_mut(slab, capacity * shape.row_words), capacity, count);
        }
        slab = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::mix;

    const RECORD_WORD: usize = 3;

    struct Model {
        record: Vec<u64>,
        shape: Shape,
        spill: Spill,
        counters: Counters,
        /// (time, tag)
        rows: Vec<(i64, u64)>,
        lost: Option<i64>,
    }

    impl Model {
        fn new(inline_rows: usize, rows_per_key_max: usize, spill_bytes: u64) -> Self {
            let mut spill = Spill::reserve(spill_bytes).unwrap();
            let shape = Shape::new(3, RECORD_WORD, inline_rows, rows_per_key_max, &mut spill);
            let record = vec![0; RECORD_WORD + GROUP_HEADER_WORDS + inline_rows * 3];
            Self { record, shape, spill, counters: Counters::default(), rows: Vec::new(), lost: None }
        }

        fn stored(&self) -> Vec<(i64, u64)> {
            let mut rows = Vec::new();
            for block in blocks(&self.record, &self.shape, &self.spill) {
                for row in 0..block.count {
                    let time = block.column(0)[row] as i64;
                    assert!((block.least..=block.greatest).contains(&time));
                    assert_eq!(block.column(1)[row], !block.column(2)[row], "columns stay together");
                    rows.push((time, block.column(1)[row]));
                }
            }
            rows.sort_unstable();
            rows
        }

        fn insert(&mut self, time: i64, tag: u64, dead: i64) {
            let row = [time as u64, tag, !tag];
            let lost_before = self.counters.rows_lost;
            insert(&mut self.record, &self.shape, &mut self.spill, &row, dead, &mut self.counters);
            self.rows.push((time, tag));
            self.rows.retain(|&(time, _)| time > dead);
            let alive: Vec<_> = self.stored().into_iter().filter(|&(time, _)| time > dead).collect();
            self.rows.sort_unstable();
            if self.counters.rows_lost == lost_before {
                assert_eq!(alive, self.rows, "nothing is lost without being counted");
            } else {
                let lost = self.rows.len() - alive.len();
                assert_eq!(lost as u64, self.counters.rows_lost - lost_before);
                let until = lost_until(&self.record, &self.shape).unwrap();
                let gone = self.rows.iter().filter(|row| !alive.contains(row));
                assert!(gone.clone().all(|&(time, _)| time <= until));
                self.rows = alive;
                self.lost = Some(until);
            }
            assert_eq!(lost_until(&self.record, &self.shape), self.lost);
        }
    }

    /// Times mostly ascend; every tenth row comes late.
    fn run(model: &mut Model, rows: u64, retention: i64) {
        let (mut now, mut random) = (1_000_000_i64, 11_u64);
        for number in 0..rows {
            random = mix(random, number);
            now += (random & 15) as i64;
            let late = if random >> 8 & 15 == 0 { (random >> 20 & 255) as i64 } else { 0 };
            model.insert(now - late, random, now - 256 - retention);
        }
    }

    #[test]
    fn holds_exactly_the_rows_that_are_alive() {
        for (inline, retention) in [(1, 300), (4, 10), (4, 500), (8, 5_000), (64, 40_000)] {
            let mut model = Model::new(inline, 16_384, 1 << 22);
            run(&mut model, 6_000, retention);
            assert_eq!(model.counters.rows_lost, 0, "{inline} {retention}");
            assert!(retention < 300 || model.counters.promoted > 0);
        }
    }

    #[test]
    fn at_the_bound_the_oldest_go_and_are_counted() {
        for (inline, rows_max, spill) in
            [(4, 4, 1 << 20), (4, 2, 1 << 20), (4, 100, 1 << 20), (8, 700, 1 << 20), (4, 16_384, 9_000)]
        {
            let mut model = Model::new(inline, rows_max, spill);
            run(&mut model, 3_000, 1 << 40);
            assert!(model.counters.rows_lost > 0, "{inline} {rows_max}");
            assert!(model.rows.len() <= rows_max);
        }
    }

    #[test]
    fn freed_slabs_are_used_again() {
        let mut model = Model::new(4, 16_384, 200_000);
        for _ in 0..40 {
            run(&mut model, 500, 1 << 40);
            release(&model.record, &model.shape, &mut model.spill);
            model.record.fill(0);
            model.rows.clear();
        }
        assert_eq!(model.counters.rows_lost, 0);
        assert_eq!(model.spill.fresh - model.spill.free_lines, 1);
    }

    #[test]
    fn a_row_is_found_by_time_and_tag_wherever_it_moved() {
        let mut model = Model::new(4, 16_384, 1 << 22);
        run(&mut model, 2_000, 1 << 40);
        let rows = model.rows.clone();
        for (time, tag) in rows {
            let Model { record, shape, spill, .. } = &mut model;
            let mut seen = Vec::new();
            let change =
                |words: &mut [u64], capacity: usize, row: usize| seen.push(words[2 * capacity + row]);
            assert_eq!(for_each_match(record, shape, spill, 1, tag, Some(time), change), 1);
            assert_eq!(seen, [!tag]);
            assert_eq!(for_each_match(record, shape, spill, 1, tag, Some(time + 1), |_, _, _| {}), 0);
            assert_eq!(for_each_match(record, shape, spill, 1, tag, None, |_, _, _| {}), 1);
        }
    }
}
