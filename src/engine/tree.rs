//! The rows of a hot key: a B+ tree in order of time.
//!
//! Leaves are chunks of up to 64 rows. A node has up to 32 children, and of each of them an *entry*: the time (and tag) of
//! its last row, where it is, and what its rows come to in every [`Lane`] of the group. So the rows between any two
//! times are added up from a path to each of these times and the entries between; a late row, or a change of one, touches a
//! path. Nothing depends on how many rows there are but the depth, which is at most [`DEPTH_MAX`].
//!
//! Rows mostly come in at the newest end, and go at the oldest: a full chunk at the newest end is left full, any
//! other is split in half; the oldest chunks are removed whole, and with them the nodes that they empty. Nodes are never joined,
//! so that the depth follows from what has been put in since the tree was last empty at its oldest end.
//!
//! ```text
//! node:   header (while it is being taken apart) | entry | entry | … up to 32
//! entry:  time of the last row | its tag | branch | the sums, lane by lane
//! leaf:   rows, column by column
//! ```

use super::kernel::{Kernel, Near, Task, Used};
use super::rows::{At, Block, Shape, place_row, row_at};
use super::spill::{Felled, Slab, Spill};
use super::tally::{Lane, Sum, tally, tally_row};

/// Children of a node.
pub(super) const FANOUT: usize = 32;
/// Rows of a leaf.
pub(super) const LEAF_ROWS: usize = 64;
/// Level of leaves; those below are of smaller slabs.
pub(super) const LEAF_LEVEL: u8 = 3;
/// Level of the largest slab, which holds as much as two leaves. A key whose rows it holds needs no tree, and needs not to look for
/// them in two places.
pub(super) const SLAB_LEVEL: u8 = LEAF_LEVEL + 1;
/// Level of the nodes above leaves.
pub(super) const NODE_LEVEL: u8 = SLAB_LEVEL + 1;
/// Levels of nodes. 2²³ rows in leaves that are half full, under nodes that are half full, need five.
const DEPTH_MAX: usize = 8;

/// Where in an entry what is.
const LAST: usize = 0;
const TAG: usize = 1;
const BRANCH: usize = 2;
const SUMS: usize = 3;

/// A slab of rows, or a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Branch {
    pub(super) slab: Slab,
    /// 0: nothing; up to [`SLAB_LEVEL`]: rows; beyond it: a node.
    pub(super) level: u8,
    /// Its rows, or its children.
    pub(super) count: usize,
}

impl Branch {
    pub(super) const NONE: Self = Self { slab: 0, level: 0, count: 0 };

    fn to_word(self) -> u64 {
        u64::from(self.slab) << 32 | u64::from(self.level) << 16 | self.count as u64
    }

    fn from_word(word: u64) -> Self {
        Self { slab: (word >> 32) as u32, level: (word >> 16) as u8, count: word as usize & 0xffff }
    }

    /// The level of a node that it is in.
    fn level_above(self) -> u8 {
        if self.is_node() { self.level + 1 } else { NODE_LEVEL }
    }

    #[inline]
    pub(super) fn is_node(self) -> bool {
        self.level > SLAB_LEVEL
    }
}

/// Words of an entry of a tree with these lanes, and of a node.
pub(super) fn entry_words(lanes: &[Lane]) -> usize {
    SUMS + lanes.iter().map(Lane::words).sum::<usize>()
}

/// See [`entry_words`].
pub(super) fn node_words(lanes: &[Lane]) -> usize {
    1 + FANOUT * entry_words(lanes)
}

/// Times in ascending order, each once. Between two of them that follow each other is a *segment*: segment j holds what
/// is after `times[j]`, up to and with `times[j + 1]`.
#[derive(Clone, Copy)]
pub(super) struct Edges<'a> {
    pub(super) times: &'a [i64],
    /// The greatest stamps up to these.
    pub(super) stamps: &'a [u64],
}

impl Edges<'_> {
    /// How many edges are before this time: of a row in segment j, j + 1.
    #[inline]
    pub(super) fn before(self, time: i64) -> usize {
        self.times.iter().map(|&edge| usize::from(edge < time)).sum()
    }

    pub(super) fn segments(self) -> usize {
        self.times.len() - 1
    }

    /// The segment that a time is in.
    pub(super) fn segment_of(self, time: i64) -> Option<usize> {
        let before = self.before(time);
        (1..=self.segments()).contains(&before).then(|| before - 1)
    }

    /// The first edge and the last.
    pub(super) fn reach(self) -> (i64, i64) {
        (self.times[0], self.times[self.segments()])
    }
}

/// Adds up rows by segment: the sums of lane `used[i]` in segment j go to `sums[j × used + i]`.
pub(super) struct Tallied<'a> {
    pub(super) kernel: Kernel,
    pub(super) edges: Edges<'a>,
    pub(super) used: &'a [Used],
    pub(super) sums: &'a mut [Sum],
    /// Rows and entries looked at.
    pub(super) work: u64,
}

impl Tallied<'_> {
    /// Adds the rows of a block.
    #[inline]
    pub(super) fn block(&mut self, block: &Block<'_>) {
        self.work += block.count as u64;
        let task = Task { edges: self.edges.stamps, used: self.used };
        let mut rest = *block;
        while rest.count > LEAF_ROWS {
            let (first, others) = rest.split_at(LEAF_ROWS);
            (self.kernel.add)(&task, &first, self.sums);
            rest = others;
        }
        (self.kernel.add)(&task, &rest, self.sums);
    }

    /// Adds a block of one row: too little for vectors.
    #[inline]
    pub(super) fn row(&mut self, row: &Block<'_>) {
        if let Some(segment) = self.edges.segment_of(row.time(0)) {
            let sums = &mut self.sums[segment * self.used.len()..];
            for (used, sum) in self.used.iter().zip(sums) {
                tally_row(row.words, &used.lane, sum);
            }
        }
    }

    /// Adds the rows of a branch, none of which is older than `before`.
    pub(super) fn branch(&mut self, spill: &Spill, shape: &Shape, branch: Branch, mut before: i64) {
        if !branch.is_node() {
            return self.block(&block(spill, shape, branch));
        }
        let segments = self.edges.segments();
        for child in 0..branch.count {
            let entry = entry(spill, shape, branch.slab, child);
            let last = entry[LAST] as i64;
            let (from, to) = (self.edges.before(before), self.edges.before(last));
            self.work += 1;
            if from > segments {
                break;
            }
            if from != to {
                self.branch(spill, shape, Branch::from_word(entry[BRANCH]), before);
            } else if from > 0 {
                let sums = &mut self.sums[(from - 1) * self.used.len()..];
                for (used, sum) in self.used.iter().zip(sums) {
                    sum.add(&Sum::load(&entry[shape.lane_words(used.number)]));
                }
            }
            before = last;
        }
    }
}

#[inline]
fn entry<'a>(spill: &'a Spill, shape: &Shape, node: Slab, child: usize) -> &'a [u64] {
    let start = 1 + child * shape.entry_words;
    &spill.words(node, start + shape.entry_words)[start..]
}

#[inline]
fn last(spill: &Spill, shape: &Shape, node: Slab, child: usize) -> At {
    let entry = entry(spill, shape, node, child);
    At { time: entry[LAST] as i64, tag: entry[TAG] }
}

#[inline]
pub(super) fn child(spill: &Spill, shape: &Shape, node: Slab, child: usize) -> Branch {
    Branch::from_word(entry(spill, shape, node, child)[BRANCH])
}

/// The rows of a branch that is no node.
#[inline]
pub(super) fn block<'a>(spill: &'a Spill, shape: &Shape, branch: Branch) -> Block<'a> {
    let capacity = shape.capacity(branch.level);
    let words = spill.words(branch.slab, capacity * shape.row_words);
    Block { words, capacity, count: branch.count }
}

/// Adds the leaves that may hold rows after one time and up to another; false where there are more than `most`, or than there is room
/// for.
pub(super) fn push_leaves<'a>(
    spill: &'a Spill,
    shape: &Shape,
    root: Branch,
    (after, until): (i64, i64),
    most: usize,
    near: &mut Near<'a, '_>,
) -> bool {
    if root.level > NODE_LEVEL {
        return false;
    }
    let mut room = (Near::STORED - near.blocks().len()).min(most);
    for at in (0..root.count).rev() {
        near.entries += 1;
        if last(spill, shape, root.slab, at).time <= after {
            break;
        }
        if at > 0 && last(spill, shape, root.slab, at - 1).time > until {
            continue;
        }
        if room == 0 {
            return false;
        }
        room -= 1;
        near.push(block(spill, shape, child(spill, shape, root.slab, at)));
    }
    true
}

/// The last row of a branch that has one.
pub(super) fn last_of(spill: &Spill, shape: &Shape, branch: Branch) -> At {
    if branch.is_node() {
        last(spill, shape, branch.slab, branch.count - 1)
    } else {
        let block = block(spill, shape, branch);
        row_at(block.words, block.capacity, branch.count - 1, shape.id_column)
    }
}

/// The rows under a branch.
pub(super) fn rows_of(spill: &Spill, shape: &Shape, branch: Branch) -> u64 {
    if !branch.is_node() {
        return branch.count as u64;
    }
    let counted = shape.lane_words(0).start;
    (0..branch.count).map(|child| entry(spill, shape, branch.slab, child)[counted]).sum()
}

/// The way along the blocks of a branch that may hold rows of a lane, newest first.
pub(super) struct Walk<'a, 's> {
    pub(super) spill: &'a Spill,
    pub(super) shape: &'s Shape,
    /// Of those after the first of these times, and up to the second.
    pub(super) reach: (i64, i64),
    pub(super) lane: usize,
    /// Entries looked at.
    pub(super) entries: u64,
}

impl<'a> Walk<'a, '_> {
    /// Calls `visit` with every block, until it says false.
    pub(super) fn each_block(&mut self, branch: Branch, visit: &mut impl FnMut(Block<'a>) -> bool) -> bool {
        let Self { spill, shape, reach: (after, until), .. } = *self;
        if !branch.is_node() {
            return branch.count == 0 || visit(block(spill, shape, branch));
        }
        let counted = shape.lane_words(self.lane).start;
        for at in (0..branch.count).rev() {
            self.entries += 1;
            let entry = entry(spill, shape, branch.slab, at);
            if entry[LAST] as i64 <= after {
                return true;
            }
            let is_later = at > 0 && last(spill, shape, branch.slab, at - 1).time > until;
            if is_later || entry[counted] == 0 {
                continue;
            }
            if !self.each_block(Branch::from_word(entry[BRANCH]), visit) {
                return false;
            }
        }
        true
    }
}

/// Calls `change` with each of the rows, which are in order, that is at `at`; returns how many there were.
pub(super) fn change_rows_at(
    words: &mut [u64],
    capacity: usize,
    count: usize,
    (at, id_column): (At, usize),
    change: &mut impl FnMut(&mut [u64], usize, usize),
) -> usize {
    let after =
        (0..count).rev().take_while(|&row| row_at(words, capacity, row, Some(id_column)) > at).count();
    let end = count - after;
    let first = (0..end).rev().take_while(|&row| row_at(words, capacity, row, Some(id_column)) == at);
    let first = end - first.count();
    (first..end).for_each(|row| change(words, capacity, row));
    end - first
}

/// Changes to trees.
pub(super) struct Trees<'a> {
    pub(super) spill: &'a mut Spill,
    pub(super) shape: &'a Shape,
    /// Rows and entries moved or looked at.
    pub(super) work: u64,
}

/// A node on the way to a leaf, and which of its children is next.
#[derive(Clone, Copy, Default)]
struct Step {
    node: Slab,
    count: usize,
    child: usize,
}

/// The way from the root to a leaf, the root first.
#[derive(Clone, Copy, Default)]
struct Path {
    steps: [Step; DEPTH_MAX],
    len: usize,
}

impl Path {
    fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// Whether it leads to the last leaf.
    fn is_newest(&self) -> bool {
        self.steps().iter().all(|step| step.child + 1 == step.count)
    }
}

impl Trees<'_> {
    /// The way to where a row at `at` belongs, and the leaf there.
    fn descend(&mut self, root: Branch, at: At) -> (Path, Branch) {
        let (mut path, mut branch) = (Path::default(), root);
        while branch.is_node() {
            let mut next = branch.count - 1;
            while next > 0 && last(self.spill, self.shape, branch.slab, next - 1) > at {
                next -= 1;
            }
            self.work += (branch.count - next) as u64;
            path.steps[path.len] = Step { node: branch.slab, count: branch.count, child: next };
            path.len += 1;
            branch = child(self.spill, self.shape, branch.slab, next);
        }
        (path, branch)
    }

    /// Sees to it that a tree has a leaf to begin with; false when there is no memory for that.
    pub(super) fn begin(&mut self, root: &mut Branch) -> bool {
        if root.level == 0 {
            let Some(slab) = self.spill.take(self.shape.leaf_class()) else { return false };
            *root = Branch { slab, level: LEAF_LEVEL, count: 0 };
        }
        true
    }

    /// Adds a row to a leaf of 64 or to a node; false when there is no memory for that.
    pub(super) fn insert(&mut self, root: &mut Branch, row: &[u64]) -> bool {
        debug_assert!(root.level != SLAB_LEVEL, "it is planted first");
        let at = row_at(row, 1, 0, self.shape.id_column);
        let (path, mut leaf) = self.descend(*root, at);
        if leaf.count < LEAF_ROWS {
            self.put(leaf, row);
            leaf.count += 1;
            match path.steps() {
                [] => root.count += 1,
                steps => self.add_to_entries(steps, leaf, row, at),
            }
            return true;
        }
        self.split(root, &path, leaf, row, at)
    }

    /// Makes a tree of the largest slab, which is full; false, and nothing changed, when there is no memory for that.
    pub(super) fn plant(&mut self, root: &mut Branch) -> bool {
        let (leaf, node) = (self.shape.leaf_class(), self.shape.node_class);
        let mut taken = [0; 3];
        for (place, class) in [leaf, leaf, node].into_iter().enumerate() {
            let Some(slab) = self.spill.take(class) else {
                taken[..place].iter().for_each(|&slab| self.spill.give_back(leaf, slab));
                return false;
            };
            taken[place] = slab;
        }
        let [left, right, top] = taken;
        let capacity = self.shape.capacity(root.level);
        for (column, half) in (0..self.shape.row_words).flat_map(|column| [(column, 0), (column, 1)]) {
            let start = column * capacity + half * LEAF_ROWS;
            let to = [left, right][half];
            self.spill.copy((root.slab, start..start + LEAF_ROWS), (to, column * LEAF_ROWS));
        }
        self.spill.give_back(self.shape.class_of(root.level), root.slab);
        self.work += root.count as u64;
        for (place, slab) in [left, right].into_iter().enumerate() {
            self.write_entry(top, place, Branch { slab, level: LEAF_LEVEL, count: LEAF_ROWS });
        }
        *root = Branch { slab: top, level: NODE_LEVEL, count: 2 };
        true
    }

    /// Puts a row into a leaf that has room.
    fn put(&mut self, leaf: Branch, row: &[u64]) {
        let words = self.spill.words_mut(leaf.slab, LEAF_ROWS * self.shape.row_words);
        self.work += place_row(words, LEAF_ROWS, leaf.count, row, self.shape.id_column) as u64;
    }

    /// Adds a row that was put into `leaf` to the entries on the way there.
    fn add_to_entries(&mut self, steps: &[Step], leaf: Branch, row: &[u64], at: At) {
        let shape = self.shape;
        for (place, lane) in shape.lanes.iter().enumerate() {
            let mut of_row = Sum::EMPTY;
            tally_row(row, lane, &mut of_row);
            for step in steps {
                let words = &mut self.entry_mut(step.node, step.child)[shape.lane_words(place)];
                let mut sum = Sum::load(words);
                sum.add(&of_row);
                sum.store(words);
            }
        }
        self.work += steps.len() as u64;
        for step in steps {
            let entry = self.entry_mut(step.node, step.child);
            let last = At { time: entry[LAST] as i64, tag: entry[TAG] }.max(at);
            (entry[LAST], entry[TAG]) = (last.time as u64, last.tag);
        }
        if let Some(step) = steps.last() {
            self.entry_mut(step.node, step.child)[BRANCH] = leaf.to_word();
        }
    }

    fn entry_mut(&mut self, node: Slab, child: usize) -> &mut [u64] {
        let words = self.shape.entry_words;
        let start = 1 + child * words;
        &mut self.spill.words_mut(node, start + words)[start..]
    }

    /// Adds a row to a full leaf, which is split in two, and so are the full nodes above it.
    fn split(&mut self, root: &mut Branch, path: &Path, leaf: Branch, row: &[u64], at: At) -> bool {
        let full = path.steps().iter().rev().take_while(|step| step.count == FANOUT).count();
        let grows = full == path.len;
        if grows && path.len == DEPTH_MAX {
            return false;
        }
        // All that can be needed first, so that nothing is half done when there is no more.
        let mut spare = [0; DEPTH_MAX + 1];
        let Some(right) = self.spill.take(self.shape.leaf_class()) else { return false };
        for place in 0..full + usize::from(grows) {
            match self.spill.take(self.shape.node_class) {
                Some(node) => spare[place] = node,
                None => {
                    spare[..place].iter().for_each(|&node| self.spill.give_back(self.shape.node_class, node));
                    self.spill.give_back(self.shape.leaf_class(), right);
                    return false;
                }
            }
        }
        let mut spare = spare.into_iter();
        let mut left = leaf;
        let mut right = Branch { slab: right, level: LEAF_LEVEL, count: 0 };
        let appends = path.is_newest();
        if !(appends && at >= last_of(self.spill, self.shape, leaf)) {
            self.halve_leaf(&mut left, &mut right);
        }
        if right.count == 0 || at >= self.first_of_leaf(right) {
            self.put(right, row);
            right.count += 1;
        } else {
            self.put(left, row);
            left.count += 1;
        }
        // `left` stays where the path leads, `right` goes after it.
        for step in path.steps().iter().rev() {
            self.write_entry(step.node, step.child, left);
            let node = Branch { slab: step.node, level: left.level_above(), count: step.count };
            if right.slab == 0 {
                left = node;
            } else if step.count < FANOUT {
                self.insert_entry(node, step.child + 1, right);
                left = Branch { count: step.count + 1, ..node };
                right = Branch::NONE;
            } else {
                let other = Branch { slab: spare.next().unwrap_or(0), ..node };
                (left, right) = self.split_node(node, other, step.child + 1, right, appends);
            }
        }
        if right.slab == 0 {
            *root = left;
        } else {
            let top = spare.next().unwrap_or(0);
            self.write_entry(top, 0, left);
            self.write_entry(top, 1, right);
            *root = Branch { slab: top, level: left.level_above(), count: 2 };
        }
        true
    }

    fn first_of_leaf(&self, leaf: Branch) -> At {
        row_at(
            self.spill.words(leaf.slab, LEAF_ROWS * self.shape.row_words),
            LEAF_ROWS,
            0,
            self.shape.id_column,
        )
    }

    fn halve_leaf(&mut self, left: &mut Branch, right: &mut Branch) {
        let half = LEAF_ROWS / 2;
        for column in 0..self.shape.row_words {
            let start = column * LEAF_ROWS;
            self.spill.copy((left.slab, start + half..start + LEAF_ROWS), (right.slab, start));
        }
        self.work += half as u64;
        (left.count, right.count) = (half, half);
    }

    /// Makes an entry for `branch` among the children of a node that has room.
    fn insert_entry(&mut self, node: Branch, at: usize, branch: Branch) {
        let words = self.shape.entry_words;
        self.spill
            .copy((node.slab, 1 + at * words..1 + node.count * words), (node.slab, 1 + (at + 1) * words));
        self.work += (node.count - at) as u64;
        self.write_entry(node.slab, at, branch);
    }

    /// Makes an entry for `branch` among the children of a full node, half of which go to `other`; both halves.
    fn split_node(
        &mut self,
        node: Branch,
        other: Branch,
        at: usize,
        branch: Branch,
        appends: bool,
    ) -> (Branch, Branch) {
        let kept = if appends { FANOUT } else { FANOUT / 2 };
        let words = self.shape.entry_words;
        self.spill.copy((node.slab, 1 + kept * words..1 + FANOUT * words), (other.slab, 1));
        self.work += (FANOUT - kept) as u64;
        let mut left = Branch { count: kept, ..node };
        let mut right = Branch { count: FANOUT - kept, ..other };
        if at <= kept && kept < FANOUT {
            self.insert_entry(left, at, branch);
            left.count += 1;
        } else {
            self.insert_entry(right, at - kept, branch);
            right.count += 1;
        }
        (left, right)
    }

    /// Writes the entry of a branch, its sums included.
    fn write_entry(&mut self, node: Slab, place: usize, branch: Branch) {
        let shape = self.shape;
        let At { time, tag } = last_of(self.spill, shape, branch);
        for (number, lane) in shape.lanes.iter().enumerate() {
            let mut sum = Sum::EMPTY;
            if branch.is_node() {
                for child in 0..branch.count {
                    sum.add(&Sum::load(
                        &entry(self.spill, shape, branch.slab, child)[shape.lane_words(number)],
                    ));
                }
            } else {
                tally(&block(self.spill, shape, branch), 0..branch.count, lane, &mut sum);
            }
            sum.store(&mut self.entry_mut(node, place)[shape.lane_words(number)]);
        }
        self.work += branch.count as u64;
        let entry = self.entry_mut(node, place);
        (entry[LAST], entry[TAG], entry[BRANCH]) = (time as u64, tag, branch.to_word());
    }

    /// The oldest leaf.
    pub(super) fn first_leaf(&self, root: Branch) -> Branch {
        let mut branch = root;
        while branch.is_node() {
            branch = child(self.spill, self.shape, branch.slab, 0);
        }
        branch
    }

    /// Removes the oldest leaf of a tree that has more than one. What is left may be a leaf.
    pub(super) fn remove_first_leaf(&mut self, root: &mut Branch) {
        let (mut path, mut branch) = (Path::default(), *root);
        while branch.is_node() {
            path.steps[path.len] = Step { node: branch.slab, count: branch.count, child: 0 };
            path.len += 1;
            branch = child(self.spill, self.shape, branch.slab, 0);
        }
        self.spill.give_back(self.shape.leaf_class(), branch.slab);
        let mut below = Branch::NONE;
        for (depth, step) in path.steps().iter().enumerate().rev() {
            let level = root.level - depth as u8;
            let mut count = step.count;
            if below.slab == 0 {
                let words = self.shape.entry_words;
                self.spill.copy((step.node, 1 + words..1 + count * words), (step.node, 1));
                self.work += count as u64;
                count -= 1;
            } else {
                self.write_entry(step.node, 0, below);
            }
            below = Branch { slab: step.node, level, count };
            if count == 0 {
                self.spill.give_back(self.shape.node_class, step.node);
                below = Branch::NONE;
            }
        }
        *root = below;
        self.lower(root);
    }

    /// Gives up all chunks and nodes at the oldest end of a tree none of whose rows is after `dead`. What is left may be a
    /// leaf, or nothing. However many rows go, this looks at the oldest path alone: the rest is felled.
    pub(super) fn remove_dead(&mut self, root: &mut Branch, dead: i64) {
        if last_of(self.spill, self.shape, *root).time <= dead {
            self.fell(std::mem::replace(root, Branch::NONE));
            return;
        }
        let (mut path, mut branch, mut changed) = (Path::default(), *root, 0);
        while branch.is_node() {
            // The last is alive, as is that of every node on the way.
            let mut gone = 0;
            while last(self.spill, self.shape, branch.slab, gone).time <= dead {
                self.fell(child(self.spill, self.shape, branch.slab, gone));
                gone += 1;
            }
            self.work += gone as u64 + 1;
            let count = branch.count - gone;
            if gone > 0 {
                let words = self.shape.entry_words;
                let kept = 1 + gone * words..1 + branch.count * words;
                self.spill.copy((branch.slab, kept), (branch.slab, 1));
                self.work += count as u64;
                changed = path.len + 1;
            }
            path.steps[path.len] = Step { node: branch.slab, count, child: 0 };
            path.len += 1;
            branch = child(self.spill, self.shape, branch.slab, 0);
        }
        // From the lowest node that lost something up, the sums of the first child are others now.
        let of_step = |depth: usize, step: &Step| Branch {
            slab: step.node,
            level: root.level - depth as u8,
            count: step.count,
        };
        for depth in (1..changed).rev() {
            self.write_entry(path.steps[depth - 1].node, 0, of_step(depth, &path.steps[depth]));
        }
        *root = of_step(0, &path.steps[0]);
        self.lower(root);
    }

    /// A root with one child is not needed.
    fn lower(&mut self, root: &mut Branch) {
        while root.is_node() && root.count == 1 {
            let only = child(self.spill, self.shape, root.slab, 0);
            self.spill.give_back(self.shape.node_class, root.slab);
            *root = only;
        }
    }

    /// Calls `change` with each row at `at`, as (block words, capacity, row); returns how many there were.
    pub(super) fn change(
        &mut self,
        branch: Branch,
        at: At,
        id_column: usize,
        change: &mut impl FnMut(&mut [u64], usize, usize),
    ) -> usize {
        if !branch.is_node() {
            let capacity = self.shape.capacity(branch.level);
            let words = self.spill.words_mut(branch.slab, capacity * self.shape.row_words);
            self.work += branch.count as u64;
            return change_rows_at(words, capacity, branch.count, (at, id_column), change);
        }
        let mut found = 0;
        for place in 0..branch.count {
            let last = last(self.spill, self.shape, branch.slab, place);
            self.work += 1;
            if last >= at {
                let below = child(self.spill, self.shape, branch.slab, place);
                let here = self.change(below, at, id_column, change);
                if here > 0 {
                    self.write_entry(branch.slab, place, below);
                }
                found += here;
            }
            if last > at {
                break;
            }
        }
        found
    }

    /// Gives a branch up. Its slabs are freed one by one, by [`free_felled`].
    pub(super) fn fell(&mut self, branch: Branch) {
        match branch.level {
            0 => {}
            level if branch.is_node() => {
                let felled = Felled { next: 0, group: self.shape.group, level, count: branch.count as u8 };
                self.spill.fell(branch.slab, felled);
            }
            level => self.spill.give_back(self.shape.class_of(level), branch.slab),
        }
    }
}

/// Frees a slab of what was felled; false when there is none.
pub(super) fn free_felled<'s>(spill: &mut Spill, shape_of: impl Fn(u16) -> Option<&'s Shape>) -> bool {
    let Some((node, Felled { group, level, count, .. })) = spill.felled() else { return false };
    let Some(shape) = shape_of(group) else { return false };
    if count == 0 {
        spill.unlist_felled();
        spill.give_back(shape.node_class, node);
        return true;
    }
    let below = child(spill, shape, node, usize::from(count) - 1);
    spill.set_felled_count(count - 1);
    if below.is_node() {
        spill.fell(below.slab, Felled { next: 0, group, level: level - 1, count: below.count as u8 });
    } else {
        spill.give_back(shape.leaf_class(), below.slab);
    }
    true
}
