//! Where the rows of one key and group are kept, and how they move.
//!
//! ```text
//! record:  … | head: branch, first, inline count | lost until | inline rows, column by column | …
//! branch:  nothing → a slab of 16, 32, 64, 128 rows → a tree of chunks of 64 (tree.rs)
//! ```
//!
//! Rows are in order of time (and of their ids' tags, where the group keeps them). The newest are inline: every scan has
//! them at hand, and most events go to their end. When the inline rows are full and the oldest of them is out of every
//! window's reach, the dead ones go, or of a few one, whose place the new row takes (`inline`); if all are alive, the older half moves to the branch, which grows from tier to tier
//! as it must, and shrinks again when it is dead for the most part. A late row enters its true place, wherever that is.
//! When the oldest inline row is dead, the whole branch is, and is given up at once.
//!
//! Those few are a ring, which is set straight before anything but a row at the end is added or changed.
//!
//! At the bound (`rows_per_key_max`, or no memory for another slab) the oldest rows go. Those that were still alive are
//! counted, and the greatest of their times is remembered: a window that reaches back to it is answered from what is left,
//! and flagged.
//!
//! # The stamp
//!
//! The first column of a row is its *stamp*: the time, and below it [`STAMP_BITS`] bits for predicates. Times are below
//! 2⁵³, so that stamps are in order of time as they are.

use super::Counters;
use super::kernel::Near;
use super::program::STAMP_BITS;
use super::spill::{self, Spill};
use super::tally::Lane;
use super::tree::{
    Branch, FANOUT, LEAF_LEVEL, LEAF_ROWS, NODE_LEVEL, SLAB_LEVEL, Tallied, Trees, Walk, block,
    change_rows_at, child, entry_words, last_of, node_words, push_leaves, rows_of,
};
use super::units::TIME_END;
use std::ops::Range;

mod inline;

use inline::{Head, inline, set_straight};
pub(super) use inline::{Inline, head_word, is_beyond, is_headed_first, lose_until, lost_until};

/// Rows of a slab, by its level: 1, 2, 3, which is that of the leaves of trees too, and 4.
pub(super) const TIERS: [usize; SLAB_LEVEL as usize] = [16, 32, LEAF_ROWS, 2 * LEAF_ROWS];

/// The stamp of a row of this time without any bits.
#[inline]
pub(super) fn stamp(time: i64) -> u64 {
    (time as u64) << STAMP_BITS
}

/// The time of a stamp.
#[inline]
pub(super) fn time_of(stamp: u64) -> i64 {
    (stamp >> STAMP_BITS) as i64
}

/// The greatest stamp of this time, as a signed number; below all stamps for a time below all times.
#[inline]
pub(super) fn last_stamp_of(time: i64) -> u64 {
    stamp(time.clamp(-1, TIME_END.0)) | ((1 << STAMP_BITS) - 1)
}

/// Where a row is in the order of rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct At {
    pub(super) time: i64,
    /// 0 where the group keeps none.
    pub(super) tag: u64,
}

/// The place in order of a row of a block.
#[inline]
pub(super) fn row_at(words: &[u64], capacity: usize, row: usize, id_column: Option<usize>) -> At {
    At { time: time_of(words[row]), tag: id_column.map_or(0, |column| words[column * capacity + row]) }
}

/// Puts a row in its place among `count` others, which must leave room; returns how many had to move.
pub(super) fn place_row(
    words: &mut [u64],
    capacity: usize,
    count: usize,
    row: &[u64],
    id_column: Option<usize>,
) -> usize {
    let at = row_at(row, 1, 0, id_column);
    let mut place = count;
    while place > 0 && row_at(words, capacity, place - 1, id_column) > at {
        place -= 1;
    }
    for (column, &word) in row.iter().enumerate() {
        let start = column * capacity;
        if place < count {
            words.copy_within(start + place..start + count, start + place + 1);
        }
        words[start + place] = word;
    }
    count - place
}

/// The geometry of one group.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Its number.
    pub(super) group: u16,
    pub(super) row_words: usize,
    pub(super) id_column: Option<usize>,
    pub(super) inline: Inline,
    rows_max: usize,
    /// By level.
    classes: [usize; TIERS.len()],
    pub(super) node_class: usize,
    pub(super) entry_words: usize,
    /// What sums are kept for; the first counts all rows.
    pub(super) lanes: Vec<Lane>,
    lane_words: Vec<Range<usize>>,
    /// What features look at, in ascending order; the stamps are always among it.
    read: Vec<usize>,
}

/// The parts of a [`Shape`] that a program gives.
pub(super) struct Geometry {
    pub(super) group: u16,
    pub(super) row_words: usize,
    pub(super) id_column: Option<usize>,
    pub(super) record_word: usize,
    pub(super) inline_rows: usize,
}

impl Shape {
    /// `lanes[0]` must be [`Lane::ALL`].
    pub(super) fn new(geometry: &Geometry, lanes: Vec<Lane>, rows_per_key_max: usize) -> Self {
        let Geometry { group, row_words, id_column, record_word, inline_rows } = *geometry;
        let mut end = entry_words(&[]);
        let lane_words = lanes.iter().map(|lane| {
            end += lane.words();
            end - lane.words()..end
        });
        let tested = lanes.iter().flat_map(|lane| lane.tests().into_iter().flatten().map(|test| test.column));
        let mut read: Vec<usize> = lanes.iter().filter_map(Lane::value).chain(tested).chain([0]).collect();
        read.sort_unstable();
        read.dedup();
        Self {
            read,
            group,
            row_words,
            id_column,
            inline: Inline::new(record_word, inline_rows, row_words, rows_per_key_max),
            rows_max: rows_per_key_max,
            classes: TIERS.map(|rows| spill::class(row_words * rows)),
            node_class: spill::class(node_words(&lanes)),
            entry_words: entry_words(&lanes),
            lane_words: lane_words.collect(),
            lanes,
        }
    }

    /// Features look at more than what sums are kept of.
    pub(super) fn read_all_columns(&mut self) {
        self.read = (0..self.row_words).collect();
    }

    /// The most rows kept inside the record, and the most kept of a key.
    pub(super) fn rows_max(&self) -> (usize, usize) {
        (self.inline.max, self.rows_max)
    }

    /// Rows of a slab of this level.
    #[inline]
    pub(super) fn capacity(&self, level: u8) -> usize {
        match level {
            0 => 0,
            level => TIERS[usize::from(level.min(SLAB_LEVEL)) - 1],
        }
    }

    /// The size of the slabs of rows of this level.
    pub(super) fn class_of(&self, level: u8) -> usize {
        self.classes[usize::from(level.clamp(1, SLAB_LEVEL)) - 1]
    }

    pub(super) fn leaf_class(&self) -> usize {
        self.class_of(LEAF_LEVEL)
    }

    /// Where in an entry the sums of a lane are.
    #[inline]
    pub(super) fn lane_words(&self, lane: usize) -> Range<usize> {
        self.lane_words[lane].clone()
    }
}

/// Rows that lie together, column by column: column c of row r is `words[c * capacity + r]`. In order, where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) words: &'a [u64],
    pub(super) capacity: usize,
    pub(super) count: usize,
}

impl<'a> Block<'a> {
    /// One row by itself.
    #[inline]
    pub(super) fn of_row(row: &'a [u64]) -> Self {
        Self { words: row, capacity: 1, count: 1 }
    }

    /// A column of all rows. That of the stamps is column 0.
    #[inline]
    pub(super) fn column(&self, column: usize) -> &'a [u64] {
        let start = column * self.capacity;
        &self.words[start..start + self.count]
    }

    /// The first so many rows, which there must be, and the others.
    #[inline]
    pub(super) fn split_at(&self, first: usize) -> (Self, Self) {
        let others = Self { words: &self.words[first..], capacity: self.capacity, count: self.count - first };
        (Self { count: first, ..*self }, others)
    }

    /// The time of a row.
    #[inline]
    pub(super) fn time(&self, row: usize) -> i64 {
        time_of(self.words[row])
    }

    /// How many rows are not after the row of this stamp.
    #[inline]
    pub(super) fn rows_until_stamp(&self, last: u64) -> usize {
        self.column(0).partition_point(|&stamp| stamp as i64 <= last as i64)
    }

    /// How many rows are not after this time.
    #[inline]
    pub(super) fn rows_until(&self, time: i64) -> usize {
        self.column(0).partition_point(|&stamp| time_of(stamp) <= time)
    }
}

/// The rows of a key and group, and the judged event's own.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) shape: &'a Shape,
    pub(super) spill: &'a Spill,
    /// `None`: there are none.
    pub(super) record: Option<&'a [u64]>,
    pub(super) own: Option<Block<'a>>,
}

impl<'a> Rows<'a> {
    /// Adds all up by segment.
    #[inline]
    pub(super) fn tally(&self, tallied: &mut Tallied<'_>) {
        let Self { shape, spill, .. } = *self;
        if let Some(record) = self.record {
            let head = Head::of(record, shape);
            let (older, newer) = inline(record, shape, head);
            // What is older than the oldest inline row is looked at only where a window reaches that far.
            let reached = head.count == 0 || older.time(0) > tallied.edges.times[0];
            if head.branch.level > 0 && reached {
                tallied.branch(spill, shape, head.branch, i64::MIN);
            }
            if head.count > 0 {
                tallied.block(&older);
            }
            if let Some(newer) = newer {
                tallied.block(&newer);
            }
        }
        if let Some(own) = &self.own {
            tallied.row(own);
        }
    }

    /// Fills in all stored rows after one time and up to another, where they are in the record and a slab, or a few leaves of a small
    /// tree: nearly always. False where they are not, or where that is more leaves than `leaves`.
    #[inline(always)]
    pub(super) fn near(&self, (after, until): (i64, i64), leaves: usize, near: &mut Near<'a, '_>) -> bool {
        let Self { shape, spill, record, .. } = *self;
        let Some(record) = record else { return true };
        let head = Head::of(record, shape);
        let (older, newer) = inline(record, shape, head);
        near.push(older);
        if let Some(newer) = newer {
            near.push(newer);
        }
        // What is older than the oldest inline row is looked at only where a window reaches that far.
        let is_reached = head.count == 0 || older.time(0) > after;
        match head.branch.level {
            1..=SLAB_LEVEL if is_reached => near.push(block(spill, shape, head.branch)),
            level if level > SLAB_LEVEL && is_reached => {
                return push_leaves(spill, shape, head.branch, (after, until), leaves, near);
            }
            _ => {}
        }
        true
    }

    /// Calls `visit` with every stored block that may hold a row after `after` and up to `until`, newest first, until it
    /// says false.
    pub(super) fn each_stored(&self, reach: (i64, i64), visit: impl FnMut(Block<'a>) -> bool) {
        self.each_of_lane(0, reach, visit);
    }

    /// The same, but for chunks of a tree that hold no row of this lane. Returns how many entries were looked at.
    pub(super) fn each_of_lane(
        &self,
        lane: usize,
        reach: (i64, i64),
        mut visit: impl FnMut(Block<'a>) -> bool,
    ) -> u64 {
        let Self { shape, spill, record: Some(record), .. } = *self else { return 0 };
        let head = Head::of(record, shape);
        let (older, newer) = inline(record, shape, head);
        for part in newer.into_iter().chain((head.count > 0).then_some(older)) {
            if !visit(part) || part.time(0) <= reach.0 {
                return 0;
            }
        }
        let mut walk = Walk { spill, shape, reach, lane, entries: 0 };
        if head.branch.level > 0 {
            walk.each_block(head.branch, &mut visit);
        }
        walk.entries
    }
}

/// Asks the processor for the newest rows beyond the record, if there are any: a slab's, or the newest entries of a tree. Whether it is
/// a tree.
#[inline]
pub(super) fn prefetch(record: &[u64], shape: &Shape, spill: &Spill) -> bool {
    let branch = Head::of(record, shape).branch;
    if branch.level == 0 {
        return false;
    }
    if branch.is_node() {
        let end = 1 + branch.count * shape.entry_words;
        let newest = LEAVES_AHEAD * shape.entry_words;
        spill.prefetch(branch.slab, end.saturating_sub(newest)..end);
    } else {
        prefetch_block(branch, shape, spill);
    }
    branch.is_node()
}

/// The leaves of a tree that are asked for ahead.
const LEAVES_AHEAD: usize = 2;

/// Once [`prefetch`] has brought the newest entries of a small tree: asks for their rows.
///
/// The record may have been dropped since it was guessed, and its root be anything by now: no more is read of it than every
/// node has room for, and whatever that says, a few lines are asked for.
pub(super) fn prefetch_leaves(record: &[u64], shape: &Shape, spill: &Spill) {
    let root = Head::of(record, shape).branch;
    if root.level == NODE_LEVEL {
        let count = root.count.min(FANOUT);
        for at in count.saturating_sub(LEAVES_AHEAD)..count {
            prefetch_block(child(spill, shape, root.slab, at), shape, spill);
        }
    }
}

/// Asks for what is in use of the columns that features look at.
#[inline]
fn prefetch_block(branch: Branch, shape: &Shape, spill: &Spill) {
    let capacity = shape.capacity(branch.level);
    for start in shape.read.iter().map(|column| column * capacity) {
        spill.prefetch(branch.slab, start..start + branch.count.min(capacity));
    }
}

/// Gives back the slabs of a group whose record is dropped.
pub(super) fn release(record: &[u64], shape: &Shape, spill: &mut Spill) {
    Trees { spill, shape, work: 0 }.fell(Head::of(record, shape).branch);
}

/// Whether any row is newer than `dead`.
#[inline]
pub(super) fn any_alive(record: &[u64], shape: &Shape, spill: &Spill, dead: i64) -> bool {
    if let Some(newest) = shape.inline.newest(record) {
        return newest > dead;
    }
    let branch = Head::of(record, shape).branch;
    branch.level > 0 && last_of(spill, shape, branch).time > dead
}

/// Is told of every row that is given up though it is not dead: the record, the block that the row is in, and where.
pub(super) type GivenUp<'a> = dyn FnMut(&[u64], &Block<'_>, usize) + 'a;

/// Adds a row where that takes no more than the record, as nearly always; else nothing is changed, and it has to be [placed](place). Rows at or
/// before `dead` may be dropped.
#[inline(always)]
pub(super) fn push(
    record: &mut [u64],
    shape: &Shape,
    row: &[u64],
    dead: i64,
    counters: &mut Counters,
) -> bool {
    let moved = shape.inline.push(record, row, dead);
    counters.rows_moved += moved.unwrap_or(0) as u64;
    moved.is_some()
}

/// Adds a row wherever it belongs. Rows at or before `dead` may be dropped.
pub(super) fn place(
    record: &mut [u64],
    shape: &Shape,
    spill: &mut Spill,
    row: &[u64],
    dead: i64,
    counters: &mut Counters,
    given_up: &mut GivenUp<'_>,
) {
    Group { record, shape, spill, dead, counters, given_up }.place(row);
}

/// The oldest of the inline rows, of which there must be one.
#[inline]
fn first_inline(record: &[u64], shape: &Shape) -> At {
    row_at(&record[shape.inline.words()], shape.inline.rows, 0, shape.id_column)
}

/// Drops the first rows of a block.
fn drop_first(words: &mut [u64], capacity: usize, count: usize, dropped: usize) {
    for start in (0..words.len()).step_by(capacity) {
        words.copy_within(start + dropped..start + count, start);
    }
}

/// The rows of one key and group, being rearranged.
struct Group<'a> {
    record: &'a mut [u64],
    shape: &'a Shape,
    spill: &'a mut Spill,
    dead: i64,
    counters: &'a mut Counters,
    given_up: &'a mut GivenUp<'a>,
}

impl Group<'_> {
    /// Adds a row where it belongs, once there is room for it.
    fn place(&mut self, row: &[u64]) {
        set_straight(self.record, self.shape, self.counters);
        let mut head = self.head();
        let has_branch = head.branch.level > 0;
        if head.count >= self.shape.inline.max
            || has_branch && head.count > 0 && first_inline(self.record, self.shape).time <= self.dead
        {
            self.make_room();
            head = self.head();
        }
        if head.branch.level > 0 {
            let at = row_at(row, 1, 0, self.shape.id_column);
            let is_late = head.count == 0 || at < first_inline(self.record, self.shape);
            if is_late && at < last_of(self.spill, self.shape, head.branch) {
                self.push_or_lose(row);
                return;
            }
        }
        let inline = &self.shape.inline;
        let words = &mut self.record[inline.words()];
        let moved = place_row(words, inline.rows, head.count, row, self.shape.id_column);
        self.counters.rows_moved += moved as u64;
        Head { count: head.count + 1, ..head }.store(self.record, self.shape);
    }

    fn head(&self) -> Head {
        Head::of(self.record, self.shape)
    }

    fn set_branch(&mut self, branch: Branch) {
        Head { branch, ..self.head() }.store(self.record, self.shape);
    }

    /// Calls `act` with the branch, and keeps what becomes of it.
    fn with_branch<T>(&mut self, act: impl FnOnce(&mut Trees<'_>, &mut Branch) -> T) -> T {
        let mut branch = self.head().branch;
        let mut trees = Trees { spill: self.spill, shape: self.shape, work: 0 };
        let result = act(&mut trees, &mut branch);
        self.counters.rows_moved += trees.work;
        self.set_branch(branch);
        result
    }

    /// Makes room among the inline rows.
    fn make_room(&mut self) {
        self.drop_dead_inline_rows();
        if self.head().count < self.shape.inline.max {
            return;
        }
        let wanted = self.shape.inline.max.div_ceil(2);
        let branch = self.head().branch;
        // The dead rows of a slab stay until others want their place, or they are more than half of it: to move those that are left takes longer than to
        // look at a few more.
        let is_full = branch.count + wanted > self.shape.capacity(branch.level);
        if branch.is_node() || is_full || self.room() < wanted || self.is_half_dead(branch) {
            self.drop_dead_of_branch();
            self.shrink();
        }
        if self.move_to_slab(wanted) {
            return;
        }
        let mut row = self.spill.take_row_buffer();
        let (mut room, mut moved) = (self.room(), 0);
        while moved < wanted {
            let inline = &self.record[self.shape.inline.words()];
            row.clear();
            row.extend(
                (0..self.shape.row_words).map(|column| inline[column * self.shape.inline.rows + moved]),
            );
            if !self.push(&row, &mut room) {
                break;
            }
            moved += 1;
        }
        if moved == 0 {
            self.lose(&row);
        }
        self.spill.put_row_buffer(row);
        self.drop_inline_rows(moved.max(1));
    }

    /// Moves the first so many inline rows to a slab, which grows if it must. False, and no row moved, where they do not belong after all
    /// of its rows, or are too many for a slab, for the bound, or for the memory there is.
    fn move_to_slab(&mut self, moved: usize) -> bool {
        let Branch { level, count, .. } = self.head().branch;
        let fits = |level: u8| count + moved <= self.shape.capacity(level);
        let Some(wanted) = (level.max(1)..=SLAB_LEVEL).find(|&level| fits(level)) else { return false };
        if self.room() < moved {
            return false;
        }
        if level > 0
            && last_of(self.spill, self.shape, self.head().branch) > first_inline(self.record, self.shape)
        {
            return false;
        }
        if level != wanted {
            if !self.move_to(wanted) {
                return false;
            }
            self.counters.promoted += count as u64;
        }
        let Branch { slab, .. } = self.head().branch;
        let capacity = self.shape.capacity(wanted);
        let from = self.record[self.shape.inline.words()].chunks_exact(self.shape.inline.rows);
        let to = self.spill.words_mut(slab, capacity * self.shape.row_words).chunks_exact_mut(capacity);
        for (from, to) in from.zip(to) {
            to[count..count + moved].copy_from_slice(&from[..moved]);
        }
        self.counters.promoted += moved as u64;
        self.set_branch(Branch { slab, level: wanted, count: count + moved });
        self.drop_inline_rows(moved);
        true
    }

    fn drop_inline_rows(&mut self, dropped: usize) {
        let head = self.head();
        let range = self.shape.inline.words();
        drop_first(&mut self.record[range], self.shape.inline.rows, head.count, dropped);
        self.counters.rows_moved += (head.count - dropped) as u64;
        Head { count: head.count - dropped, ..head }.store(self.record, self.shape);
    }

    /// Where the oldest inline row is dead, all in the branch are.
    fn drop_dead_inline_rows(&mut self) {
        let (all, _) = inline(self.record, self.shape, self.head());
        let dead = all.rows_until(self.dead);
        if dead > 0 {
            self.drop_inline_rows(dead);
            if self.head().branch.level > 0 {
                self.with_branch(|trees, branch| trees.fell(std::mem::replace(branch, Branch::NONE)));
            }
        }
    }

    /// Whether more than half of the rows of a slab are dead.
    fn is_half_dead(&self, slab: Branch) -> bool {
        slab.level > 0 && block(self.spill, self.shape, slab).time(slab.count / 2) <= self.dead
    }

    /// Drops dead rows of the branch: all of a slab, and all chunks of a tree that are wholly dead.
    fn drop_dead_of_branch(&mut self) {
        let dead = self.dead;
        if self.head().branch.is_node() {
            self.with_branch(|trees, branch| trees.remove_dead(branch, dead));
        }
        let branch = self.head().branch;
        if (1..=SLAB_LEVEL).contains(&branch.level) {
            let gone = block(self.spill, self.shape, branch).rows_until(dead);
            self.drop_first_of_slab(gone);
        }
    }

    /// Drops the first rows of a branch that is a slab; the slab too, when none are left.
    fn drop_first_of_slab(&mut self, dropped: usize) {
        let branch = self.head().branch;
        if dropped == 0 {
            return;
        }
        let count = branch.count - dropped;
        self.counters.rows_moved += count as u64;
        if count == 0 {
            self.with_branch(|trees, branch| trees.fell(std::mem::replace(branch, Branch::NONE)));
        } else {
            let capacity = self.shape.capacity(branch.level);
            let words = self.spill.words_mut(branch.slab, capacity * self.shape.row_words);
            drop_first(words, capacity, branch.count, dropped);
            self.set_branch(Branch { count, ..branch });
        }
    }

    /// Moves the rows of a slab that is a quarter full to one of half the size.
    fn shrink(&mut self) {
        let branch = self.head().branch;
        let is_wide = (2..=SLAB_LEVEL).contains(&branch.level);
        if is_wide && branch.count <= self.shape.capacity(branch.level) / 4 && self.move_to(branch.level - 1)
        {
            self.counters.demoted += branch.count as u64;
        }
    }

    /// Moves the rows of a slab, if there is one, to one of another level; false when there is no memory.
    fn move_to(&mut self, level: u8) -> bool {
        let Branch { slab: old, level: from, count } = self.head().branch;
        let Some(new) = self.spill.take(self.shape.class_of(level)) else { return false };
        if from == 0 {
            self.set_branch(Branch { slab: new, level, count: 0 });
            return true;
        }
        for column in 0..self.shape.row_words {
            let start = column * self.shape.capacity(from);
            self.spill.copy((old, start..start + count), (new, column * self.shape.capacity(level)));
        }
        self.spill.give_back(self.shape.class_of(from), old);
        self.counters.rows_moved += count as u64;
        self.set_branch(Branch { slab: new, level, count });
        true
    }

    /// Adds a row to the branch, or gives it up. Dead rows make room for it first.
    fn push_or_lose(&mut self, row: &[u64]) {
        let branch = self.head().branch;
        if !branch.is_node() && branch.count == self.shape.capacity(branch.level) {
            self.drop_dead_of_branch();
        }
        let mut room = self.room();
        if !self.push(row, &mut room) {
            self.lose(row);
        }
    }

    /// Adds a row to the branch, which grows if it must; at the bound, or without memory to grow, older rows make room.
    /// False when there can be no branch at all. `room` is that of [`room`](Self::room), and is kept so.
    fn push(&mut self, row: &[u64], room: &mut usize) -> bool {
        if self.shape.rows_max == self.shape.inline.max {
            return false;
        }
        if *room == 0 {
            self.give_up_oldest();
            *room = self.room();
        }
        // Twice without memory: what was given up did not help.
        for _ in 0..2 {
            if self.grow_and_insert(row) {
                self.counters.promoted += 1;
                *room = room.saturating_sub(1);
                return true;
            }
            if self.head().branch.level == 0 {
                return false;
            }
            self.give_up_oldest();
            *room = self.room();
        }
        *room = room.saturating_sub(1);
        self.grow_and_insert(row)
    }

    /// How many more rows the branch may have.
    fn room(&mut self) -> usize {
        let Head { branch, .. } = self.head();
        if branch.is_node() {
            self.counters.rows_moved += branch.count as u64;
        }
        let rows = rows_of(self.spill, self.shape, branch) as usize;
        (self.shape.rows_max - self.shape.inline.max).saturating_sub(rows)
    }

    /// Adds a row to the branch; false, and nothing changed, where that takes memory that there is not.
    fn grow_and_insert(&mut self, row: &[u64]) -> bool {
        let Head { branch, .. } = self.head();
        if branch.level == 0 {
            let Some(slab) = self.spill.take(self.shape.class_of(1)) else { return false };
            self.set_branch(Branch { slab, level: 1, count: 0 });
        } else if !branch.is_node() && branch.count == self.shape.capacity(branch.level) {
            let has_grown = match branch.level {
                SLAB_LEVEL => self.with_branch(|trees, branch| trees.plant(branch)),
                level => self.move_to(level + 1),
            };
            if !has_grown {
                return false;
            }
            self.counters.promoted += branch.count as u64;
        }
        let Head { branch, .. } = self.head();
        if branch.is_node() {
            return self.with_branch(|trees, branch| trees.insert(branch, row));
        }
        let capacity = self.shape.capacity(branch.level);
        let words = self.spill.words_mut(branch.slab, capacity * self.shape.row_words);
        let moved = place_row(words, capacity, branch.count, row, self.shape.id_column);
        self.counters.rows_moved += moved as u64;
        self.set_branch(Branch { count: branch.count + 1, ..branch });
        true
    }

    /// Gives up the oldest row of a slab, or the oldest chunk of a tree.
    fn give_up_oldest(&mut self) {
        let branch = self.head().branch;
        if branch.is_node() {
            let leaf = self.with_branch(|trees, branch| trees.first_leaf(*branch));
            self.lose_rows(leaf, leaf.count);
            self.with_branch(|trees, branch| trees.remove_first_leaf(branch));
        } else if branch.level > 0 {
            self.lose_rows(branch, 1);
            self.drop_first_of_slab(1);
        }
    }

    /// Counts the first rows of a block as lost, if they are not dead.
    fn lose_rows(&mut self, branch: Branch, count: usize) {
        let Self { record, shape, spill, dead, counters, given_up } = self;
        counters.rows_moved += count as u64;
        let block = block(spill, shape, branch);
        for row in (0..count).filter(|&row| block.time(row) > *dead) {
            lose_row(record, shape, counters, *given_up, (&block, row));
        }
    }

    /// Counts a row as lost, if it is not dead.
    fn lose(&mut self, row: &[u64]) {
        let block = Block::of_row(row);
        if block.time(0) > self.dead {
            lose_row(self.record, self.shape, self.counters, self.given_up, (&block, 0));
        }
    }
}

/// Counts a row as lost, and tells of it.
fn lose_row(
    record: &mut [u64],
    shape: &Shape,
    counters: &mut Counters,
    given_up: &mut GivenUp<'_>,
    (block, row): (&Block<'_>, usize),
) {
    counters.rows_lost += 1;
    lose_until(record, shape, block.time(row));
    given_up(record, block, row);
}

/// Calls `change` with every row at `at`, as (block words, capacity, row). Returns how many there were.
pub(super) fn change_rows(
    record: &mut [u64],
    shape: &Shape,
    spill: &mut Spill,
    at: At,
    counters: &mut Counters,
    mut change: impl FnMut(&mut [u64], usize, usize),
) -> usize {
    let Some(id_column) = shape.id_column else { return 0 };
    set_straight(record, shape, counters);
    let head = Head::of(record, shape);
    let words = &mut record[shape.inline.words()];
    let mut found = change_rows_at(words, shape.inline.rows, head.count, (at, id_column), &mut change);
    counters.rows_moved += head.count as u64;
    if head.branch.level > 0 {
        let mut trees = Trees { spill, shape, work: 0 };
        found += trees.change(head.branch, at, id_column, &mut change);
        counters.rows_moved += trees.work;
    }
    found
}

#[cfg(test)]
mod tests;
