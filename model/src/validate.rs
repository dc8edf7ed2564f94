//! Looking at all of a model, once, so that nothing that scores has to.
//!
//! A model may come from anywhere. What [`validate`] lets pass cannot make a kernel read beyond its tables, walk in a
//! circle, or differ from its trees: each tree is followed through in the one order that is allowed, and the trees are laid
//! out again and compared with what the archive says. Golden rows are scored last.

use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::model::{
    ArchivedModel, AtMost, BINS_MAX, Bins, Body, CATEGORY_MAX, Child, FORMAT_VERSION, GOLDEN_ROWS_MAX,
    INPUTS_MAX, In, LEAVES_MAX, Linear, Link, METRICS_MAX, Model, Node, SET_WORDS_MAX, Scaled, Sum,
    TEXT_BYTES_MAX, TREES_MAX, Term, Test, Tree, Trees,
};
use crate::scorer::Scorer;
use crate::walk;
use rkyv::rancor;
use std::collections::BTreeSet;

/// Why a model is refused: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl std::fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

fn refuse<T>(message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(message.into()))
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return refuse(format!($($message)+));
        }
    };
}

/// Checks a model whose structure is sound (bytecheck), all of it.
pub fn validate(archived: &ArchivedModel) -> Result<(), Invalid> {
    // Laid out anew from a copy: a model is loaded rarely, and native code reads best.
    let model: Model = match rkyv::deserialize::<Model, rancor::Error>(archived) {
        Ok(model) => model,
        Err(error) => return refuse(format!("it cannot be read: {error}")),
    };
    meaning(&model)?;
    if let Body::Trees(trees) = &model.body {
        ensure!(
            trees.lanes == Lanes::of(trees),
            "what is laid out for the kernels does not agree with the trees: import the model again"
        );
    }
    golden(archived, &model)
}

/// Checks everything but the layout for the kernels and the golden rows.
pub fn meaning(model: &Model) -> Result<(), Invalid> {
    ensure!(
        model.format == FORMAT_VERSION,
        "it was imported to format {}, this build reads {FORMAT_VERSION}: import it again",
        model.format
    );
    let inputs = model.inputs.len();
    ensure!((1..=INPUTS_MAX).contains(&inputs), "it has {inputs} inputs; there can be 1 to {INPUTS_MAX}");
    let mut names = BTreeSet::new();
    for name in &model.inputs {
        ensure!(
            !name.is_empty() && name.len() <= TEXT_BYTES_MAX && !name.chars().any(char::is_control),
            "the name of an input is empty, longer than {TEXT_BYTES_MAX} bytes, or has control characters: {name:?}"
        );
        ensure!(names.insert(name), "two inputs are called {name:?}");
    }
    if let Link::Sigmoid(scale) = model.link {
        ensure!(scale.is_finite() && scale > 0.0, "the sigmoid's scale is {scale}; it must be above 0");
    }
    provenance(model)?;
    ensure!(
        model.golden.len() <= GOLDEN_ROWS_MAX,
        "it has {} golden rows; there can be {GOLDEN_ROWS_MAX}",
        model.golden.len()
    );
    for (at, golden) in model.golden.iter().enumerate() {
        ensure!(
            golden.row.len() == inputs,
            "golden row {at} has {} values for {inputs} inputs",
            golden.row.len()
        );
    }
    match &model.body {
        Body::Trees(trees) => check_trees(trees, inputs),
        Body::Linear(linear) => check_linear(linear, inputs),
    }
}

fn provenance(model: &Model) -> Result<(), Invalid> {
    let provenance = &model.provenance;
    let texts = [
        &provenance.source,
        &provenance.objective,
        &provenance.trained_from,
        &provenance.trained_to,
        &provenance.note,
    ];
    for text in texts.into_iter().chain(provenance.metrics.iter().map(|(name, _)| name)) {
        ensure!(
            text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control),
            "a line of its provenance is longer than {TEXT_BYTES_MAX} bytes or has control characters: {:?}",
            text.chars().take(40).collect::<String>()
        );
    }
    let metrics = provenance.metrics.len();
    ensure!(metrics <= METRICS_MAX, "it tells {metrics} metrics; there can be {METRICS_MAX}");
    Ok(())
}

fn check_trees(trees: &Trees, inputs: usize) -> Result<(), Invalid> {
    ensure!(
        (1..=TREES_MAX).contains(&trees.trees.len()),
        "it has {} trees; there can be 1 to {TREES_MAX}",
        trees.trees.len()
    );
    ensure!(
        trees.leaves.len() <= LEAVES_MAX,
        "its trees have {} leaves; there can be {LEAVES_MAX}",
        trees.leaves.len()
    );
    ensure!(
        trees.sets.len() <= SET_WORDS_MAX,
        "its sets of categories are longer than {SET_WORDS_MAX} words"
    );
    match trees.sum {
        Sum::F64(divisor) => {
            ensure!(divisor.is_finite() && divisor > 0.0, "its sum is divided by {divisor}");
        }
        Sum::F32(first, last) => {
            ensure!(
                first.is_finite() && last.is_finite(),
                "its sum begins with {first} and ends with {last}"
            );
        }
    }
    let is_f32 = matches!(trees.sum, Sum::F32(..));
    for (at, leaf) in trees.leaves.iter().enumerate() {
        ensure!(
            leaf.is_finite() && (!is_f32 || f64::from(*leaf as f32) == *leaf),
            "leaf {at} has the value {leaf}"
        );
    }
    let (mut first_node, mut first_leaf) = (0_usize, 0_usize);
    for (at, tree) in trees.trees.iter().enumerate() {
        let count = tree.node_count as usize;
        let is_next = tree.first_node as usize == first_node && tree.first_leaf as usize == first_leaf;
        let nodes = trees.nodes.get(first_node..first_node.saturating_add(count));
        let (Some(nodes), true, true) = (nodes, is_next, first_leaf + count < trees.leaves.len()) else {
            return refuse(format!("tree {at} does not lie where the one before it ends"));
        };
        check_order(nodes, tree).map_err(|error| Invalid(format!("tree {at}: {error}")))?;
        for (number, node) in nodes.iter().enumerate() {
            check_node(node, trees, inputs)
                .map_err(|error| Invalid(format!("node {number} of tree {at}: {error}")))?;
        }
        first_node += count;
        first_leaf += count + 1;
    }
    ensure!(
        first_node == trees.nodes.len() && first_leaf == trees.leaves.len(),
        "there are nodes or leaves that belong to no tree"
    );
    Ok(())
}

/// Whether the nodes are one tree, in preorder, its leaves numbered from left to right.
fn check_order(nodes: &[Node], tree: &Tree) -> Result<(), Invalid> {
    if tree.node_count == 0 {
        return Ok(());
    }
    let (mut next_node, mut next_leaf) = (0, 0);
    let mut waiting = vec![Child::Node(0)];
    while let Some(child) = waiting.pop() {
        let next = match child {
            Child::Node(node) => (node, &mut next_node, tree.node_count),
            Child::Leaf(leaf) => (leaf, &mut next_leaf, tree.node_count + 1),
        };
        let (number, expected, end) = next;
        ensure!(number == *expected && number < end, "its nodes are not in the order that there has to be");
        *expected += 1;
        if let Child::Node(node) = child {
            let node = &nodes[node as usize];
            waiting.extend([node.right, node.left]);
        }
    }
    ensure!(
        next_node == tree.node_count && next_leaf == tree.node_count + 1,
        "not all of its nodes are below its root"
    );
    Ok(())
}

fn check_node(node: &Node, trees: &Trees, inputs: usize) -> Result<(), Invalid> {
    ensure!(usize::from(node.input) < inputs, "it asks for input {} of {inputs}", node.input);
    match node.test {
        Test::AtMost(AtMost { threshold, .. }) => {
            ensure!(!threshold.is_nan(), "its threshold is not a number");
        }
        Test::In(In { first_word, word_count, .. }) => {
            let first = first_word as usize;
            let set = trees.sets.get(first..first.saturating_add(usize::from(word_count)));
            let last = set.and_then(<[u64]>::last).copied().unwrap_or(0);
            ensure!(
                last != 0 && u32::from(word_count) * 64 <= CATEGORY_MAX,
                "its set of categories is empty, longer than {CATEGORY_MAX} categories, or not there"
            );
        }
    }
    Ok(())
}

fn check_linear(linear: &Linear, inputs: usize) -> Result<(), Invalid> {
    ensure!(linear.terms.len() == inputs, "it has {} terms for {inputs} inputs", linear.terms.len());
    ensure!(linear.intercept.is_finite(), "its intercept is {}", linear.intercept);
    for (at, term) in linear.terms.iter().enumerate() {
        let is_sound = match term {
            Term::Scaled(Scaled { mean, scale, weight, missing }) => {
                [mean, scale, weight].into_iter().chain(missing).all(|number| number.is_finite())
                    && *scale != 0.0
            }
            Term::Bins(Bins { below, points, missing }) => {
                below.len() < BINS_MAX
                    && points.len() == below.len() + 1
                    && below.iter().chain(points).chain(missing).all(|number| number.is_finite())
                    && below.is_sorted_by(|a, b| a < b)
            }
        };
        ensure!(
            is_sound,
            "the term of input {at} has numbers that are not finite, a scale of 0, or bins out of order"
        );
    }
    Ok(())
}

fn golden(archived: &ArchivedModel, model: &Model) -> Result<(), Invalid> {
    let mut scorer = Scorer::with_kernel(archived, Kernel::best());
    let is_same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    for (at, golden) in model.golden.iter().enumerate() {
        let (walked, scored) = (walk::margin(archived, &golden.row), scorer.margin(archived, &golden.row));
        ensure!(
            is_same(walked, golden.margin) && is_same(scored, golden.margin),
            "golden row {at} should have the margin {:?} and has {walked:?} walked, {scored:?} by {}",
            golden.margin,
            scorer.kernel().name()
        );
    }
    Ok(())
}
