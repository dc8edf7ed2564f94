//! From trees as libraries number them to the one order of the canonical form.

use crate::model::{
    AtMost, CATEGORY_MAX, Child, In, LEAVES_MAX, Missing, Node, Rounding, SET_WORDS_MAX, Sum, TREES_MAX,
    Test, Tree, Trees,
};

/// Where a split leads, by the library's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// To another split.
    Split(usize),
    /// To a leaf.
    Leaf(usize),
}

/// A split of a library's tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// Which input it looks at.
    pub(super) input: u16,
    /// What it asks.
    pub(super) test: Test,
    /// Whether what is missing goes left.
    pub(super) missing_left: bool,
    /// Where to go when the answer is yes.
    pub(super) left: Side,
    /// Where to go otherwise.
    pub(super) right: Side,
}

impl Split {
    /// The same split where all that is not missing goes right, whatever it is: there is no threshold that says so, but
    /// there is one that nothing exceeds, and sides can be exchanged.
    pub(super) fn never(self) -> Self {
        Self { test: ANYTHING, missing_left: !self.missing_left, left: self.right, right: self.left, ..self }
    }
}

/// What all that is not missing answers with yes.
pub(super) const ANYTHING: Test = Test::AtMost(AtMost { threshold: f64::INFINITY, missing: Missing::Nan });

/// Trees while they are put in order.
pub(super) struct Builder(Trees);

impl Builder {
    pub(super) fn new(rounding: Rounding, sum: Sum) -> Self {
        Self(Trees {
            rounding,
            sum,
            trees: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            sets: Vec::new(),
            lanes: None,
        })
    }

    pub(super) fn finish(self) -> Trees {
        self.0
    }

    /// Keeps a set of categories; `None` for one that is empty.
    pub(super) fn set(&mut self, words: &[u64], inside_left: bool) -> Result<Option<Test>, String> {
        let count = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        if count == 0 {
            return Ok(None);
        }
        if count * 64 > CATEGORY_MAX as usize {
            return Err(format!(
                "a category is {CATEGORY_MAX} or more: number categories from 0 on, and keep them below {CATEGORY_MAX}"
            ));
        }
        let first = self.0.sets.len();
        if first + count > SET_WORDS_MAX {
            return Err(format!("the sets of categories are longer than {SET_WORDS_MAX} words together"));
        }
        self.0.sets.extend_from_slice(&words[..count]);
        Ok(Some(Test::In(In { first_word: first as u32, word_count: count as u16, inside_left })))
    }

    /// Adds a tree: from its root, each split before what is below it, left before right. The second number is how many of
    /// `splits` and of `leaves` were reached.
    pub(super) fn tree(
        &mut self,
        root: Side,
        splits: &[Option<Split>],
        leaves: &[f64],
    ) -> Result<(usize, usize), String> {
        let trees = &mut self.0;
        if trees.trees.len() == TREES_MAX {
            return Err(format!("there are more than {TREES_MAX} trees"));
        }
        let (first_node, first_leaf) = (trees.nodes.len(), trees.leaves.len());
        let mut seen_splits = vec![false; splits.len()];
        let mut seen_leaves = vec![false; leaves.len()];
        // What waits, with the node that leads there, and whether it is that node's left side.
        let mut waiting: Vec<(Side, Option<(usize, bool)>)> = vec![(root, None)];
        while let Some((side, parent)) = waiting.pop() {
            let (number, seen, what) = match side {
                Side::Split(number) => (number, &mut seen_splits, "node"),
                Side::Leaf(number) => (number, &mut seen_leaves, "leaf"),
            };
            match seen.get_mut(number) {
                None => return Err(format!("{what} {number} is not there")),
                Some(true) => {
                    return Err(format!(
                        "{what} {number} is below two nodes, or below itself: this is no tree"
                    ));
                }
                Some(seen) => *seen = true,
            }
            let child = match side {
                Side::Leaf(number) => {
                    let value = leaves[number];
                    if !value.is_finite() {
                        return Err(format!("leaf {number} has the value {value}"));
                    }
                    if trees.leaves.len() == LEAVES_MAX {
                        return Err(format!("the trees have more than {LEAVES_MAX} leaves together"));
                    }
                    trees.leaves.push(value);
                    Child::Leaf((trees.leaves.len() - 1 - first_leaf) as u32)
                }
                Side::Split(number) => {
                    let Some(split) = splits[number] else {
                        return Err(format!("node {number} is not there"));
                    };
                    let Split { input, test, missing_left, left, right } = split;
                    let at = trees.nodes.len();
                    // The children are put in when they are numbered.
                    let unknown = Child::Leaf(0);
                    trees.nodes.push(Node { input, test, missing_left, left: unknown, right: unknown });
                    waiting.extend([(right, Some((at, false))), (left, Some((at, true)))]);
                    Child::Node((at - first_node) as u32)
                }
            };
            if let Some((at, is_left)) = parent {
                let node = &mut trees.nodes[at];
                *if is_left { &mut node.left } else { &mut node.right } = child;
            }
        }
        let (nodes, leaves) = (trees.nodes.len() - first_node, trees.leaves.len() - first_leaf);
        trees.trees.push(Tree {
            first_node: first_node as u32,
            node_count: nodes as u32,
            first_leaf: first_leaf as u32,
        });
        Ok((nodes, leaves))
    }
}
