//! Trees laid out for the kernels: 64 abreast, one byte of a vector for each.
//!
//! Where a row ends in a tree is found without walking it (QuickScorer; Lucchese et al., SIGIR 2015). Leaves are numbered from
//! left to right, one bit for each, all set at first. A node whose answer is no clears the leaves of its left subtree, in
//! whatever order the nodes are looked at, and the lowest bit that is left is the leaf where the row ends. Here the bits of a
//! tree are cut into *planes* of eight leaves, and a plane is worked through for the trees of a *block* at once: each of its
//! *slots* holds, for each of 64 trees, one node that clears leaves of this plane. So a step is the same for all 64: look the
//! rank of the node's input up, compare, clear.
//!
//! Inputs are compared once, with all thresholds that any node has for them: the *rank* of an input in a *column* is how many
//! of the column's thresholds (*cuts*) are below it, and a node's answer is no when the rank is greater than the number of its
//! cut. A column takes at most [`CUTS_MAX`] cuts, so that a rank is one byte; an input with more thresholds has several
//! columns, and so has an input that some nodes send left when it is missing and others right. A missing input has the rank
//! 0 where it goes left, and 255 where it goes right.
//!
//! A node that asks for a set of categories is answered beforehand: each category has a row of words, one for each slot that
//! asks for its input, one bit for each of the 64 trees: whether it goes right.
//!
//! What is laid out is redundant. [`validate`](crate::validate::validate) lays the trees out again and compares.

use crate::model::{ArchivedMissing, AtMost, Child, In, Missing, Node, Test, Trees};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Fallible;
use rkyv::ser::Writer;
use rkyv::traits::{CopyOptimization, NoUndef};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Deserialize, Place, Portable, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Trees in a block.
pub const LANES: usize = 64;
/// Leaves in a plane.
pub const PLANE_LEAVES: usize = 8;
/// The most leaves of a tree that is laid out.
pub const TREE_LEAVES_MAX: usize = PLANE_LEAVES * 255;
/// The most cuts of a column.
pub const CUTS_MAX: usize = 255;
/// The most columns that a block looks at.
pub const TABLE_MAX: usize = 256;
/// The rank of what is missing and goes right.
pub const RANK_MAX: u8 = 255;
/// Cuts that are counted at once: with more, sixteen pivots tell first which sixteen.
pub const CUTS_ABREAST: usize = 16;
/// The most words of the rows of all categories: beyond, trees are not laid out.
pub const ROW_WORDS_MAX: usize = 1 << 22;
/// The most slots of all planes: beyond, trees are not laid out. Only trees that are more like lists need more.
pub const SLOTS_MAX: usize = 1 << 18;
const LINE_CUTS: usize = 8;

/// A cache line: one byte for each of 64 trees, or eight cuts.
#[derive(Clone, Copy, PartialEq, Eq, Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C, align(64))]
pub struct Line(pub [u8; LANES]);

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:02x?}", self.0)
    }
}

impl Line {
    /// All bytes the same.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        Self([byte; LANES])
    }
}

// SAFETY: 64 bytes and an alignment of 64: there is no padding.
unsafe impl NoUndef for Line {}

impl Archive for Line {
    // SAFETY: the archived form is the type itself, bytes that mean the same everywhere.
    const COPY_OPTIMIZATION: CopyOptimization<Self> = unsafe { CopyOptimization::enable() };
    type Archived = Self;
    type Resolver = ();

    fn resolve(&self, (): (), out: Place<Self>) {
        out.write(*self);
    }
}

impl<S: Fallible + ?Sized> Serialize<S> for Line {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<D: Fallible + ?Sized> Deserialize<Self, D> for Line {
    fn deserialize(&self, _: &mut D) -> Result<Self, D::Error> {
        Ok(*self)
    }
}

/// Vectors of lines: the serialiser aligns what needs up to 32 bytes, and this aligns to 64 before it is asked to.
#[derive(Debug)]
pub struct OnLines;

impl<T: Archive> ArchiveWith<Vec<T>> for OnLines {
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    fn resolve_with(field: &Vec<T>, resolver: VecResolver, out: Place<Self::Archived>) {
        field.resolve(resolver, out);
    }
}

impl<T, S> SerializeWith<Vec<T>, S> for OnLines
where
    Vec<T>: Serialize<S, Resolver = VecResolver>,
    T: Archive,
    S: Fallible + Writer + ?Sized,
{
    fn serialize_with(field: &Vec<T>, serializer: &mut S) -> Result<VecResolver, S::Error> {
        let gap = serializer.pos().next_multiple_of(align_of::<Line>()) - serializer.pos();
        serializer.write(&[0; align_of::<Line>()][..gap])?;
        field.serialize(serializer)
    }
}

impl<T, D> DeserializeWith<ArchivedVec<T::Archived>, Vec<T>, D> for OnLines
where
    T: Archive,
    ArchivedVec<T::Archived>: Deserialize<Vec<T>, D>,
    D: Fallible + ?Sized,
{
    fn deserialize_with(field: &ArchivedVec<T::Archived>, deserializer: &mut D) -> Result<Vec<T>, D::Error> {
        field.deserialize(deserializer)
    }
}

/// All of it.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Lanes {
    /// The columns; each has one rank for a row.
    pub columns: Vec<Column>,
    /// Cuts of all columns, eight f64 to a line: of a column with more than [`CUTS_ABREAST`] first its pivots (the last cut of
    /// each sixteen), then the cuts; filled up with NaN, which is below nothing.
    #[rkyv(with = OnLines)]
    pub cuts: Vec<Line>,
    /// Inputs that are looked up in sets.
    pub set_inputs: Vec<SetInput>,
    /// Rows of all categories of all of these.
    pub row_words: Vec<u64>,
    /// The blocks, in the order of the trees.
    pub blocks: Vec<Block>,
    /// The columns that blocks look at, for those with a table of their own.
    pub tables: Vec<u16>,
    /// The planes of all blocks, of each block from the last to the first.
    pub planes: Vec<Plane>,
    /// The slots of all planes that compare.
    #[rkyv(with = OnLines)]
    pub slots: Vec<Slot>,
    /// The slots of all planes that ask for sets.
    #[rkyv(with = OnLines)]
    pub set_slots: Vec<SetSlot>,
}

/// One column.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Column {
    /// Which input it ranks.
    pub input: u16,
    /// What is missing in it.
    pub missing: Missing,
    /// The rank of what is missing: 0 or [`RANK_MAX`].
    pub missing_rank: u8,
    /// First of its lines in [`Lanes::cuts`].
    pub first_line: u32,
    /// Whether pivots stand before its cuts.
    pub has_pivots: bool,
}

/// An input that is looked up in sets.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct SetInput {
    /// Which.
    pub input: u16,
    /// Categories with a row of their own: those below this. Then come the row of all others and the row of what is missing.
    pub categories: u32,
    /// Words of a row.
    pub row_words: u32,
    /// Where the row of category 0 begins in [`Lanes::row_words`].
    pub first_word: u32,
}

/// Up to 64 trees, in their order, one for each byte.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Block {
    /// How many trees.
    pub trees: u32,
    /// Where its columns begin in [`Lanes::tables`].
    pub first_column: u32,
    /// How many columns it looks at; 0: the table is that of all columns.
    pub columns: u32,
    /// Its first plane, which is the last of its trees'.
    pub first_plane: u32,
    /// How many.
    pub planes: u32,
}

/// Eight leaves of each tree of a block.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Plane {
    /// Which eight.
    pub number: u8,
    /// First slot that compares.
    pub first_slot: u32,
    /// How many.
    pub slots: u32,
    /// First slot that asks for a set.
    pub first_set_slot: u32,
    /// How many.
    pub set_slots: u32,
}

/// One comparison for each tree. Where a tree has none left its cut is 255, which no rank exceeds.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
#[repr(C)]
pub struct Slot {
    /// Which column of the block's table.
    pub column: Line,
    /// The cut: right if the rank is greater.
    pub cut: Line,
    /// Leaves of the plane that are cleared if so.
    pub clear: Line,
}

impl Slot {
    /// Nothing is cleared.
    const IDLE: Self = Self { column: Line::of(0), cut: Line::of(RANK_MAX), clear: Line::of(0) };
}

/// One question for a set for each tree that has it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct SetSlot {
    /// Leaves of the plane that are cleared if it goes right.
    pub clear: Line,
    /// Of which input, in [`Lanes::set_inputs`].
    pub set_input: u16,
    /// Which word of the row tells it.
    pub word: u32,
}

impl ArchivedMissing {
    /// The kind itself.
    #[inline]
    #[must_use]
    pub const fn native(self) -> Missing {
        match self {
            Self::Never => Missing::Never,
            Self::Zero => Missing::Zero,
            Self::Nan => Missing::Nan,
        }
    }
}

/// What a column is of, before its cuts are dealt out.
type Key = (u16, Missing, bool);

/// A node of a tree with the leaves that it clears.
#[derive(Clone, Copy)]
struct Clearing<'a> {
    node: &'a Node,
    /// Leaves from here …
    first: u32,
    /// … to here, this one not included.
    end: u32,
}

/// The nodes of a tree with the leaves of their left subtrees.
fn clearings(nodes: &[Node]) -> Vec<Clearing<'_>> {
    // Preorder and leaves from left to right: the left subtree begins with the first leaf that was not seen before the node,
    // and ends before the first leaf of the right one.
    let mut leftmost = vec![0_u32; nodes.len()];
    for at in (0..nodes.len()).rev() {
        leftmost[at] = leftmost_leaf(nodes[at].left, &leftmost);
    }
    nodes
        .iter()
        .enumerate()
        .map(|(at, node)| Clearing { node, first: leftmost[at], end: leftmost_leaf(node.right, &leftmost) })
        .collect()
}

fn leftmost_leaf(child: Child, leftmost: &[u32]) -> u32 {
    match child {
        Child::Leaf(leaf) => leaf,
        Child::Node(node) => leftmost[node as usize],
    }
}

fn key(node: &Node) -> Option<(Key, f64)> {
    match node.test {
        // The side of what is missing is of no meaning where nothing is.
        Test::AtMost(AtMost { threshold, missing }) => {
            // Minus zero is zero.
            Some(((node.input, missing, missing != Missing::Never && node.missing_left), threshold + 0.0))
        }
        Test::In(_) => None,
    }
}

/// Columns while they are made: where each cut of each key went.
#[derive(Default)]
struct Columns {
    columns: Vec<Column>,
    cuts: Vec<Line>,
    /// By key: all cuts, ascending, and the column of the first [`CUTS_MAX`] of them.
    by_key: BTreeMap<Key, (Vec<f64>, usize)>,
}

impl Columns {
    fn of(trees: &Trees) -> Option<Self> {
        let mut by_key: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        for (key, cut) in trees.nodes.iter().filter_map(key) {
            by_key.entry(key).or_default().push(cut);
        }
        let mut made = Self::default();
        for (key, mut cuts) in by_key {
            cuts.sort_by(f64::total_cmp);
            cuts.dedup();
            let first = made.columns.len();
            for part in cuts.chunks(CUTS_MAX) {
                made.add(key, part);
            }
            made.by_key.insert(key, (cuts, first));
        }
        // Tables name columns by u16.
        (made.columns.len() <= usize::from(u16::MAX)).then_some(made)
    }

    fn add(&mut self, (input, missing, missing_left): Key, cuts: &[f64]) {
        let first_line = self.cuts.len() as u32;
        let has_pivots = cuts.len() > CUTS_ABREAST;
        if has_pivots {
            let pivots: Vec<f64> =
                cuts.chunks_exact(CUTS_ABREAST).map(|cuts| cuts[CUTS_ABREAST - 1]).collect();
            self.lines(&pivots, CUTS_ABREAST);
        }
        // What is above the last pivot is counted in the sixteen after it, even if there are none.
        let groups = if has_pivots { cuts.len() / CUTS_ABREAST + 1 } else { 1 };
        self.lines(cuts, groups * CUTS_ABREAST);
        let missing_rank = if missing_left || missing == Missing::Never { 0 } else { RANK_MAX };
        self.columns.push(Column { input, missing, missing_rank, first_line, has_pivots });
    }

    fn lines(&mut self, cuts: &[f64], places: usize) {
        for line in 0..places / LINE_CUTS {
            let mut bytes = [0; LANES];
            for (place, bytes) in bytes.chunks_exact_mut(8).enumerate() {
                let cut = cuts.get(line * LINE_CUTS + place).copied().unwrap_or(f64::NAN);
                bytes.copy_from_slice(&cut.to_le_bytes());
            }
            self.cuts.push(Line(bytes));
        }
    }

    /// The column of a node and the number of its cut there.
    fn find(&self, node: &Node) -> Option<(u16, u8)> {
        let (key, cut) = key(node)?;
        let (cuts, first) = self.by_key.get(&key)?;
        let at = cuts.partition_point(|other| *other < cut);
        Some(((first + at / CUTS_MAX) as u16, (at % CUTS_MAX) as u8))
    }
}

impl Lanes {
    /// Lays trees out that are as [`Trees`] says; `None` when a tree has more leaves than [`TREE_LEAVES_MAX`] or looks at
    /// more than [`TABLE_MAX`] columns, or when there are more categories or columns than can be.
    #[must_use]
    pub fn of(trees: &Trees) -> Option<Self> {
        let columns = Columns::of(trees)?;
        let has_one_table = columns.columns.len() <= TABLE_MAX;
        let nodes: Vec<&[Node]> = trees
            .trees
            .iter()
            .map(|tree| &trees.nodes[tree.first_node as usize..][..tree.node_count as usize])
            .collect();
        if nodes.iter().any(|nodes| nodes.len() >= TREE_LEAVES_MAX) {
            return None;
        }
        let mut lanes = Self {
            columns: Vec::new(),
            cuts: Vec::new(),
            set_inputs: set_inputs(trees),
            row_words: Vec::new(),
            blocks: Vec::new(),
            tables: Vec::new(),
            planes: Vec::new(),
            slots: Vec::new(),
            set_slots: Vec::new(),
        };
        let mut asking = Vec::new();
        let mut first = 0;
        while first < nodes.len() {
            let (end, table) = block(&nodes, first, &columns, has_one_table)?;
            lanes.block(&nodes[first..end], &columns, &table, &mut asking)?;
            first = end;
        }
        Columns { columns: lanes.columns, cuts: lanes.cuts, .. } = columns;
        lanes.rows(trees, &asking)?;
        Some(lanes)
    }

    /// Adds a block of these trees. An empty table is that of all columns.
    fn block<'a>(
        &mut self,
        nodes: &[&'a [Node]],
        columns: &Columns,
        table: &BTreeSet<u16>,
        asking: &mut Vec<[Option<&'a Node>; LANES]>,
    ) -> Option<()> {
        let first_column = self.tables.len() as u32;
        self.tables.extend(table);
        let local = |column: u16| {
            if table.is_empty() { column as u8 } else { table.range(..column).count() as u8 }
        };
        let leaves = nodes.iter().map(|nodes| nodes.len() + 1).max().unwrap_or(1);
        // What clears leaves of each plane, tree by tree.
        let mut clearing = vec![Vec::new(); leaves.div_ceil(PLANE_LEAVES)];
        for (lane, nodes) in nodes.iter().enumerate() {
            let mut touches = 0;
            for one in clearings(nodes) {
                let planes = one.first as usize / PLANE_LEAVES..=(one.end as usize - 1) / PLANE_LEAVES;
                touches += planes.clone().count();
                planes.for_each(|plane| clearing[plane].push((lane, one)));
            }
            if self.slots.len() + touches > SLOTS_MAX {
                return None;
            }
        }
        let first_plane = self.planes.len() as u32;
        for (number, clearing) in clearing.iter().enumerate().rev() {
            let (first_slot, first_set_slot) = (self.slots.len(), self.set_slots.len());
            // Slots that a tree has used, and those for the sets of each input.
            let mut used = [0; LANES];
            let mut used_sets: BTreeMap<(u16, usize), usize> = BTreeMap::new();
            let mut plane_sets: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
            for (lane, clearing) in clearing {
                let (lane, cleared) = (*lane, cleared(clearing, number));
                if let Some((column, cut)) = columns.find(clearing.node) {
                    let at = first_slot + used[lane];
                    if at == self.slots.len() {
                        self.slots.push(Slot::IDLE);
                    }
                    let slot = &mut self.slots[at];
                    (slot.column.0[lane], slot.cut.0[lane], slot.clear.0[lane]) =
                        (local(column), cut, cleared);
                    used[lane] += 1;
                } else {
                    let input = clearing.node.input;
                    let used = used_sets.entry((input, lane)).or_default();
                    let slots = plane_sets.entry(input).or_default();
                    if *used == slots.len() {
                        slots.push(self.set_slots.len());
                        self.set_slot(input);
                        // As soon as there are too many: hostile trees share none of them.
                        if self.slots.len() + self.set_slots.len() > SLOTS_MAX {
                            return None;
                        }
                        asking.push([None; LANES]);
                    }
                    let at = slots[*used];
                    self.set_slots[at].clear.0[lane] = cleared;
                    asking[at][lane] = Some(clearing.node);
                    *used += 1;
                }
            }
            self.planes.push(Plane {
                number: number as u8,
                first_slot: first_slot as u32,
                slots: (self.slots.len() - first_slot) as u32,
                first_set_slot: first_set_slot as u32,
                set_slots: (self.set_slots.len() - first_set_slot) as u32,
            });
        }
        if self.slots.len() + self.set_slots.len() > SLOTS_MAX {
            return None;
        }
        self.blocks.push(Block {
            trees: nodes.len() as u32,
            first_column,
            columns: table.len() as u32,
            first_plane,
            planes: self.planes.len() as u32 - first_plane,
        });
        Some(())
    }

    fn set_slot(&mut self, input: u16) {
        let at = self.set_inputs.partition_point(|other| other.input < input);
        let word = self.set_inputs[at].row_words;
        self.set_inputs[at].row_words += 1;
        self.set_slots.push(SetSlot { clear: Line::of(0), set_input: at as u16, word });
    }

    /// Fills in what each category answers to each slot that asks for it.
    fn rows(&mut self, trees: &Trees, asking: &[[Option<&Node>; LANES]]) -> Option<()> {
        let mut words = 0_usize;
        for input in &mut self.set_inputs {
            input.first_word = words as u32;
            words += (input.categories as usize + 2) * input.row_words as usize;
            if words > ROW_WORDS_MAX {
                return None;
            }
        }
        self.row_words = vec![0; words];
        for (slot, nodes) in self.set_slots.iter().zip(asking) {
            let input = &self.set_inputs[usize::from(slot.set_input)];
            for (lane, node) in nodes.iter().enumerate() {
                let Some(node) = node else { continue };
                let Test::In(In { first_word, word_count, inside_left }) = node.test else { continue };
                let set = &trees.sets[first_word as usize..][..usize::from(word_count)];
                for row in 0..input.categories + 2 {
                    let left = if row > input.categories {
                        node.missing_left
                    } else {
                        is_inside(set, row) == inside_left
                    };
                    if !left {
                        let at = input.first_word + row * input.row_words + slot.word;
                        self.row_words[at as usize] |= 1 << lane;
                    }
                }
            }
        }
        Some(())
    }

    /// Bytes of it, as archived, without what is small.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cuts)
            + size_of_val(&*self.row_words)
            + size_of_val(&*self.slots)
            + size_of_val(&*self.set_slots)
    }
}

/// Whether a category is in a set. The row of all other categories is one that no set holds.
fn is_inside(set: &[u64], category: u32) -> bool {
    set.get(category as usize / 64).is_some_and(|word| word >> (category % 64) & 1 != 0)
}

/// What a node clears of a plane.
fn cleared(clearing: &Clearing<'_>, plane: usize) -> u8 {
    let start = (plane * PLANE_LEAVES) as u32;
    let from = clearing.first.clamp(start, start + PLANE_LEAVES as u32) - start;
    let to = clearing.end.clamp(start, start + PLANE_LEAVES as u32) - start;
    ((1_u32 << to) - (1_u32 << from)) as u8
}

/// The trees from `first` on that go into one block, and its table.
fn block(
    nodes: &[&[Node]],
    first: usize,
    columns: &Columns,
    has_one_table: bool,
) -> Option<(usize, BTreeSet<u16>)> {
    let most = (first + LANES).min(nodes.len());
    if has_one_table {
        return Some((most, BTreeSet::new()));
    }
    let mut table = BTreeSet::new();
    for (at, nodes) in nodes.iter().enumerate().take(most).skip(first) {
        let mut wider = table.clone();
        wider.extend(nodes.iter().filter_map(|node| columns.find(node)).map(|(column, _)| column));
        if wider.len() > TABLE_MAX {
            return (at > first).then_some((at, table));
        }
        table = wider;
    }
    Some((most, table))
}

/// The inputs that are looked up in sets, ascending, rows not yet counted.
fn set_inputs(trees: &Trees) -> Vec<SetInput> {
    let mut categories: BTreeMap<u16, u32> = BTreeMap::new();
    for node in &trees.nodes {
        if let Test::In(In { word_count, .. }) = node.test {
            let categories = categories.entry(node.input).or_default();
            *categories = (*categories).max(u32::from(word_count) * 64);
        }
    }
    let input = |(input, categories)| SetInput { input, categories, row_words: 0, first_word: 0 };
    categories.into_iter().map(input).collect()
}

impl ArchivedLanes {
    /// The planes of a block, from its last to its first.
    #[inline]
    #[must_use]
    pub fn planes_of(&self, block: &ArchivedBlock) -> &[ArchivedPlane] {
        &self.planes[block.first_plane.to_native() as usize..][..block.planes.to_native() as usize]
    }

    /// The slots of a plane that compare.
    #[inline]
    #[must_use]
    pub fn slots_of(&self, plane: &ArchivedPlane) -> &[ArchivedSlot] {
        &self.slots[plane.first_slot.to_native() as usize..][..plane.slots.to_native() as usize]
    }

    /// The slots of a plane that ask for sets.
    #[inline]
    #[must_use]
    pub fn set_slots_of(&self, plane: &ArchivedPlane) -> &[ArchivedSetSlot] {
        &self.set_slots[plane.first_set_slot.to_native() as usize..][..plane.set_slots.to_native() as usize]
    }

    /// The columns of a block's own table; none where it is that of all columns.
    #[inline]
    #[must_use]
    pub fn table_of(&self, block: &ArchivedBlock) -> &[rkyv::rend::u16_le] {
        &self.tables[block.first_column.to_native() as usize..][..block.columns.to_native() as usize]
    }
}
