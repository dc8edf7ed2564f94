//! The canonical model: what importers make, what is archived, what is explained.
//!
//! Everything that differs between the training libraries is written into the nodes when a model is imported, so that
//! nothing that scores asks where a model came from. There is one way to write each model down: nodes are in preorder,
//! leaves are numbered from left to right, and [`validate`](crate::validate::validate) refuses any other order.

use crate::lanes::Lanes;
use rkyv::{Archive, Deserialize, Serialize};

/// Version of the archived shape and of its meaning. There is no migration: import the model again.
pub const FORMAT_VERSION: u32 = 1;

/// The most inputs of a model.
pub const INPUTS_MAX: usize = 4_096;
/// The most trees of a model.
pub const TREES_MAX: usize = 65_536;
/// The most leaves of all trees together.
pub const LEAVES_MAX: usize = 1 << 23;
/// Categories are numbers below this.
pub const CATEGORY_MAX: u32 = 1 << 16;
/// The most words of all sets of categories together.
pub const SET_WORDS_MAX: usize = 1 << 22;
/// The most bins of one input of a scorecard.
pub const BINS_MAX: usize = 4_096;
/// The most golden rows.
pub const GOLDEN_ROWS_MAX: usize = 256;
/// The longest text in a model: a name, or a line of its provenance.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The most metrics that a model's provenance tells.
pub const METRICS_MAX: usize = 64;

/// A model, whole.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Model {
    /// [`FORMAT_VERSION`] of the importer.
    pub format: u32,
    /// Names of the inputs, in the order in which rows give them.
    pub inputs: Vec<String>,
    /// What is computed.
    pub body: Body,
    /// From the margin to what is told.
    pub link: Link,
    /// Where it came from. Nothing that scores looks at it.
    pub provenance: Provenance,
    /// Rows whose margin is known: looked at when the model is imported and each time it is loaded.
    pub golden: Vec<GoldenRow>,
}

/// What computes the margin.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
pub enum Body {
    /// The sum of one leaf of each tree.
    Trees(Trees),
    /// A weighted sum, or a scorecard's.
    Linear(Linear),
}

/// From the margin to what is told.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rkyv(derive(Debug, Clone, Copy))]
pub enum Link {
    /// The margin itself.
    Identity,
    /// `1 ÷ (1 + exp(−scale · margin))`: a probability. The scale is finite and greater than 0; 1, but for LightGBM's parameter
    /// `sigmoid`.
    Sigmoid(f64),
    /// `exp(margin)`: a rate or an amount.
    Exp,
}

/// A tree ensemble.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Trees {
    /// How inputs are taken before any node looks at them.
    pub rounding: Rounding,
    /// How leaves are added up.
    pub sum: Sum,
    /// The trees, in the order in which their leaves are added.
    pub trees: Vec<Tree>,
    /// The inner nodes of all trees, tree after tree, each tree's in preorder.
    pub nodes: Vec<Node>,
    /// The values of the leaves of all trees, tree after tree, each tree's from left to right. Finite.
    pub leaves: Vec<f64>,
    /// Sets of categories, as bits: category c is bit `c % 64` of word `c / 64` of the set.
    pub sets: Vec<u64>,
    /// The same trees laid out for the kernels; `None` when a tree has more leaves than they take
    /// ([`lanes::TREE_LEAVES_MAX`](crate::lanes::TREE_LEAVES_MAX)).
    pub lanes: Option<Lanes>,
}

/// How inputs are taken before any node looks at them.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Rounding {
    /// As they are. A category is the input without its fraction, towards zero.
    F64,
    /// Rounded to the nearest f32. A category is the input without its fraction, and what is below zero is none.
    F32,
}

/// How leaves are added up, in the order of the trees.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rkyv(derive(Debug, Clone, Copy))]
pub enum Sum {
    /// In f64 from 0, then divided by this, finite and greater than 0: the number of trees where the margin is their mean, else 1.
    F64(f64),
    /// In f32 from the first, then the last is added. Leaves and both are f32 numbers.
    F32(f32, f32),
}

/// One tree: `nodes[first_node..][..node_count]` and one leaf more than nodes from `first_leaf` on.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Tree {
    /// Its root, in [`Trees::nodes`].
    pub first_node: u32,
    /// How many inner nodes; 0 for a tree that is one leaf.
    pub node_count: u32,
    /// Its leftmost leaf, in [`Trees::leaves`].
    pub first_leaf: u32,
}

/// The child of a node: another node of its tree, or a leaf.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy))]
pub enum Child {
    /// An inner node, counted from the tree's root, which is 0.
    Node(u32),
    /// A leaf, counted from the tree's leftmost, which is 0.
    Leaf(u32),
}

/// An inner node.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Node {
    /// Which input it looks at.
    pub input: u16,
    /// What it asks.
    pub test: Test,
    /// Whether an input that counts as missing here goes left.
    pub missing_left: bool,
    /// Where to go when the answer is yes.
    pub left: Child,
    /// Where to go otherwise.
    pub right: Child,
}

/// What a node asks.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub enum Test {
    /// Left if the input is at most a threshold.
    AtMost(AtMost),
    /// Left or right by a set of categories. NaN is missing. What is no category at all is in no set.
    In(In),
}

/// A threshold.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct AtMost {
    /// Not NaN; may be infinite.
    pub threshold: f64,
    /// Which inputs are missing.
    pub missing: Missing,
}

/// A set of categories, and which way it sends them.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct In {
    /// First word of the set in [`Trees::sets`].
    pub first_word: u32,
    /// Words of the set; categories beyond it are not in it. At least 1, and the last is not 0.
    pub word_count: u16,
    /// Whether what is in the set goes left; what is not in it then goes right, and the other way about.
    pub inside_left: bool,
}

/// Which inputs count as missing at a node.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Missing {
    /// None: NaN is taken as 0.
    Never,
    /// NaN and whatever is not further from 0 than [`ZERO`].
    Zero,
    /// NaN.
    Nan,
}

/// What [`Missing::Zero`] takes for 0: 1e-35 as an f32, as LightGBM has it (`kZeroThreshold`).
pub const ZERO: f64 = 1e-35_f32 as f64;

/// A linear model or a scorecard: `intercept`, then each term's points, added in f64 in their order.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Linear {
    /// What the sum begins with. Finite.
    pub intercept: f64,
    /// One for each input, in the order of the inputs.
    pub terms: Vec<Term>,
}

/// What one input adds.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub enum Term {
    /// In proportion to it.
    Scaled(Scaled),
    /// By the bin that it is in.
    Bins(Bins),
}

/// `weight · ((x − mean) ÷ scale)`. All finite, `scale` is not 0.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Scaled {
    /// Subtracted first.
    pub mean: f64,
    /// Then divided by.
    pub scale: f64,
    /// Then multiplied by.
    pub weight: f64,
    /// What is taken for an input that is missing; `None`: then there is no margin.
    pub missing: Option<f64>,
}

/// The points of the bin that holds x.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Bins {
    /// Upper bounds, ascending and finite: bin i holds what is below `below[i]` and in no earlier bin.
    pub below: Vec<f64>,
    /// Points of each bin; one more than bounds. Finite.
    pub points: Vec<f64>,
    /// Points of an input that is missing; `None`: then there is no margin.
    pub missing: Option<f64>,
}

/// Where a model came from.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Provenance {
    /// `lightgbm`, `xgboost` or `linear`.
    pub source: String,
    /// BLAKE3 of the file that was imported.
    pub source_hash: [u8; 32],
    /// What the file says of its objective.
    pub objective: String,
    /// When the first training row happened, RFC 3339, or empty.
    pub trained_from: String,
    /// When the last did, or empty.
    pub trained_to: String,
    /// Names and values of what was measured when it was trained.
    pub metrics: Vec<(String, f64)>,
    /// What else its makers want to say, or empty.
    pub note: String,
}

/// A row whose margin is known. Two are equal when they are to the last bit: NaN is NaN here.
#[derive(Archive, Serialize, Deserialize, Clone, Debug)]
#[rkyv(derive(Debug))]
pub struct GoldenRow {
    /// One value for each input; NaN for missing.
    pub row: Vec<f64>,
    /// The margin, to the last bit; NaN when there is none.
    pub margin: f64,
    /// Whether the library that trained the model said so; else the importer did.
    pub from_library: bool,
}

impl ArchivedModel {
    /// Bytes that scoring a row may read, and of the whole model.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let golden: usize = self.golden.iter().map(|golden| size_of_val(&*golden.row)).sum();
        let trees = match &self.body {
            ArchivedBody::Trees(trees) => trees,
            ArchivedBody::Linear(linear) => {
                let bins = linear.terms.iter().map(|term| match term {
                    ArchivedTerm::Scaled(_) => 0,
                    ArchivedTerm::Bins(bins) => size_of_val(&*bins.below) + size_of_val(&*bins.points),
                });
                let scored = size_of_val(&*linear.terms) + bins.sum::<usize>();
                return Bytes { scored, all: golden + scored };
            }
        };
        let lanes = trees.lanes.as_ref().map_or(0, |lanes| {
            size_of_val(&*lanes.columns)
                + size_of_val(&*lanes.cuts)
                + size_of_val(&*lanes.row_words)
                + size_of_val(&*lanes.planes)
                + size_of_val(&*lanes.slots)
                + size_of_val(&*lanes.set_slots)
        });
        let walked = size_of_val(&*trees.nodes) + size_of_val(&*trees.sets);
        let leaves = size_of_val(&*trees.leaves) + size_of_val(&*trees.trees);
        let scored = leaves + if lanes > 0 { lanes } else { walked };
        Bytes { scored, all: golden + leaves + lanes + walked }
    }
}

/// How large a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// What scoring a row may read.
    pub scored: usize,
    /// All of it, but for names and notes.
    pub all: usize,
}

impl PartialEq for GoldenRow {
    fn eq(&self, other: &Self) -> bool {
        let bits = |row: &[f64]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        bits(&self.row) == bits(&other.row)
            && self.margin.to_bits() == other.margin.to_bits()
            && self.from_library == other.from_library
    }
}
