//! The definition: each tree walked from its root, in f64, one node after the other.
//!
//! Slow on purpose, and short, so that it can be compared with the documentation of the libraries. The kernels are held
//! against it, and it scores what they do not take.

use crate::model::{
    ArchivedAtMost, ArchivedBins, ArchivedChild, ArchivedIn, ArchivedLinear, ArchivedMissing, ArchivedModel,
    ArchivedNode, ArchivedScaled, ArchivedSum, ArchivedTerm, ArchivedTest, ArchivedTree, ArchivedTrees,
    Rounding, ZERO,
};
use crate::model::{ArchivedBody, ArchivedRounding};

/// The margin of a row, one value for each input, NaN for missing; NaN when there is none.
///
/// # Panics
///
/// When the row is shorter than the model's inputs.
#[must_use]
pub fn margin(model: &ArchivedModel, row: &[f64]) -> f64 {
    match &model.body {
        ArchivedBody::Trees(trees) => {
            sum(trees, trees.trees.iter().map(|tree| leaf_value(trees, tree, leaf(trees, tree, row))))
        }
        ArchivedBody::Linear(linear) => linear_margin(linear, row),
    }
}

/// The value of a leaf of a tree.
#[inline]
#[must_use]
pub fn leaf_value(trees: &ArchivedTrees, tree: &ArchivedTree, leaf: u32) -> f64 {
    trees.leaves[(tree.first_leaf.to_native() + leaf) as usize].to_native()
}

/// Adds leaves up as the model says.
#[inline]
#[must_use]
pub fn sum(trees: &ArchivedTrees, leaves: impl Iterator<Item = f64>) -> f64 {
    match trees.sum {
        ArchivedSum::F64(_) => leaves.fold(f64::begin(trees), f64::with).margin(trees),
        ArchivedSum::F32(..) => leaves.fold(f32::begin(trees), f32::with).margin(trees),
    }
}

/// A margin while its leaves are added, in the one place where it is rounded: a number of the kind that the model adds in
/// ([`Sum`](crate::model::Sum)).
pub trait Partial: Copy {
    /// Before the first tree.
    fn begin(trees: &ArchivedTrees) -> Self;
    /// With the leaf of the next tree.
    #[must_use]
    fn with(self, leaf: f64) -> Self;
    /// After the last tree.
    fn margin(self, trees: &ArchivedTrees) -> f64;
}

impl Partial for f64 {
    #[inline(always)]
    fn begin(_: &ArchivedTrees) -> Self {
        0.0
    }

    #[inline(always)]
    fn with(self, leaf: f64) -> Self {
        self + leaf
    }

    #[inline(always)]
    fn margin(self, trees: &ArchivedTrees) -> f64 {
        match &trees.sum {
            ArchivedSum::F64(divisor) => self / divisor.to_native(),
            ArchivedSum::F32(..) => self,
        }
    }
}

impl Partial for f32 {
    #[inline(always)]
    fn begin(trees: &ArchivedTrees) -> Self {
        match &trees.sum {
            ArchivedSum::F32(first, _) => first.to_native(),
            ArchivedSum::F64(_) => 0.0,
        }
    }

    #[inline(always)]
    fn with(self, leaf: f64) -> Self {
        // Leaves of such models are f32 numbers.
        self + leaf as f32
    }

    #[inline(always)]
    fn margin(self, trees: &ArchivedTrees) -> f64 {
        match &trees.sum {
            ArchivedSum::F32(_, last) => f64::from(self + last.to_native()),
            ArchivedSum::F64(_) => f64::from(self),
        }
    }
}

/// The leaf of a tree where a row ends, counted from the tree's leftmost.
#[must_use]
pub fn leaf(trees: &ArchivedTrees, tree: &ArchivedTree, row: &[f64]) -> u32 {
    if tree.node_count == 0 {
        return 0;
    }
    let nodes = &trees.nodes[tree.first_node.to_native() as usize..];
    let mut at = 0;
    loop {
        let node = &nodes[at];
        let child = if goes_left(trees, node, row) { &node.left } else { &node.right };
        match child {
            ArchivedChild::Node(next) => at = next.to_native() as usize,
            ArchivedChild::Leaf(leaf) => return leaf.to_native(),
        }
    }
}

fn goes_left(trees: &ArchivedTrees, node: &ArchivedNode, row: &[f64]) -> bool {
    let x = rounded(trees.rounding, row[usize::from(node.input.to_native())]);
    match &node.test {
        ArchivedTest::AtMost(ArchivedAtMost { threshold, missing }) => match present(x, *missing) {
            Some(x) => x <= threshold.to_native(),
            None => node.missing_left,
        },
        ArchivedTest::In(ArchivedIn { first_word, word_count, inside_left }) => {
            if x.is_nan() {
                return node.missing_left;
            }
            let set = &trees.sets[first_word.to_native() as usize..][..usize::from(word_count.to_native())];
            let is_inside = category(trees.rounding, x).is_some_and(|category| {
                let word = set.get(category as usize / 64);
                word.is_some_and(|word| word.to_native() >> (category % 64) & 1 != 0)
            });
            is_inside == *inside_left
        }
    }
}

/// An input as the model takes it.
#[inline]
#[must_use]
pub fn rounded(rounding: ArchivedRounding, x: f64) -> f64 {
    match rounding {
        ArchivedRounding::F64 => x,
        ArchivedRounding::F32 => f64::from(x as f32),
    }
}

/// The value that is compared; `None` when it is missing.
#[inline]
#[must_use]
pub fn present(x: f64, missing: ArchivedMissing) -> Option<f64> {
    match missing {
        ArchivedMissing::Never => Some(if x.is_nan() { 0.0 } else { x }),
        ArchivedMissing::Zero => (x.abs() > ZERO).then_some(x),
        ArchivedMissing::Nan => (!x.is_nan()).then_some(x),
    }
}

/// The category that a number which is not NaN says; `None` when it says none.
#[inline]
#[must_use]
pub fn category(rounding: ArchivedRounding, x: f64) -> Option<u32> {
    let is_one = match rounding {
        // Without its fraction, −0.5 is category 0.
        ArchivedRounding::F64 => x > -1.0,
        ArchivedRounding::F32 => x >= 0.0,
    };
    // Beyond 2³² no set reaches.
    (is_one && x < f64::from(u32::MAX)).then_some(x as u32)
}

fn linear_margin(linear: &ArchivedLinear, row: &[f64]) -> f64 {
    linear.terms.iter().zip(row).fold(linear.intercept.to_native(), |sum, (term, x)| sum + points(term, *x))
}

fn points(term: &ArchivedTerm, x: f64) -> f64 {
    let unless_missing = |missing: Option<f64>| missing.unwrap_or(f64::NAN);
    match term {
        ArchivedTerm::Scaled(ArchivedScaled { mean, scale, weight, missing }) => {
            let x = if x.is_nan() { unless_missing(missing.as_ref().map(|x| x.to_native())) } else { x };
            weight.to_native() * ((x - mean.to_native()) / scale.to_native())
        }
        ArchivedTerm::Bins(ArchivedBins { below, points, missing }) => {
            if x.is_nan() {
                return unless_missing(missing.as_ref().map(|points| points.to_native()));
            }
            points[below.partition_point(|bound| bound.to_native() <= x)].to_native()
        }
    }
}

impl ArchivedRounding {
    /// The rounding itself.
    #[must_use]
    pub const fn native(self) -> Rounding {
        match self {
            Self::F64 => Rounding::F64,
            Self::F32 => Rounding::F32,
        }
    }
}
