//! Random ensembles, and rows that sit on their thresholds.

use tollgate_model::model::{
    AtMost, Body, Child, FORMAT_VERSION, In, Link, Missing, Model, Node, Provenance, Rounding, Sum, Test,
    Tree, Trees, ZERO,
};

/// xorshift64*: the same numbers everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn is(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }

    /// A number of any size and sign; seldom a special one.
    pub(crate) fn number(&mut self) -> f64 {
        match self.below(12) {
            0 => [0.0, -0.0, ZERO, -ZERO, f64::MIN_POSITIVE, 5e-324, f64::INFINITY, f64::NEG_INFINITY]
                [self.below(8)],
            1..=4 => self.below(20) as f64 - 10.0,
            _ => {
                let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
                unit * 10_f64.powi(self.below(7) as i32 - 3)
            }
        }
    }
}

/// Trees with up to so many leaves over thresholds of which each input has so many.
pub(crate) fn ensemble(
    random: &mut Random,
    trees: usize,
    leaves: usize,
    inputs: u16,
    cuts: usize,
    sets: u32,
) -> Trees {
    let thresholds: Vec<Vec<f64>> =
        (0..inputs).map(|_| (0..cuts).map(|_| random.number()).collect()).collect();
    let missing: Vec<Missing> =
        (0..inputs).map(|_| [Missing::Never, Missing::Zero, Missing::Nan][random.below(3)]).collect();
    let mut made = empty();
    for number in 0..trees {
        // The first has as many as there can be.
        let leaves = if number == 0 { leaves } else { 1 + random.below(leaves) };
        let mut tree = Vec::new();
        let mut next_leaf = 0;
        grow(random, leaves, &mut next_leaf, &mut tree, &mut |random| {
            let input = random.below(usize::from(inputs)) as u16;
            let test = if random.is(sets) {
                let first_word = made.sets.len() as u32;
                let word_count = 1 + random.below(3);
                for _ in 0..word_count {
                    let word = random.next() & random.next();
                    made.sets.push(word | 1 << random.below(64));
                }
                Test::In(In { first_word, word_count: word_count as u16, inside_left: random.is(50) })
            } else {
                let threshold = thresholds[usize::from(input)][random.below(cuts)];
                Test::AtMost(AtMost { threshold, missing: missing[usize::from(input)] })
            };
            (input, test)
        });
        add(&mut made, random, tree);
    }
    made
}

/// Trees of which each node has one leaf on its right, all else on its left.
pub(crate) fn lists(random: &mut Random, trees: usize, leaves: u32) -> Trees {
    let mut made = empty();
    for _ in 0..trees {
        let tree = (0..leaves - 1)
            .map(|at| Node {
                input: random.below(4) as u16,
                test: Test::AtMost(AtMost { threshold: random.number(), missing: Missing::Nan }),
                missing_left: random.is(50),
                left: if at + 2 == leaves { Child::Leaf(0) } else { Child::Node(at + 1) },
                right: Child::Leaf(leaves - 1 - at),
            })
            .collect();
        add(&mut made, random, tree);
    }
    made
}

fn empty() -> Trees {
    Trees {
        rounding: Rounding::F64,
        sum: Sum::F64(1.0),
        trees: Vec::new(),
        nodes: Vec::new(),
        leaves: Vec::new(),
        sets: Vec::new(),
        lanes: None,
    }
}

fn add(made: &mut Trees, random: &mut Random, tree: Vec<Node>) {
    let (first_node, first_leaf) = (made.nodes.len() as u32, made.leaves.len() as u32);
    made.trees.push(Tree { first_node, node_count: tree.len() as u32, first_leaf });
    made.leaves.extend((0..=tree.len()).map(|_| {
        let leaf = random.number();
        if leaf.is_finite() { leaf } else { 1.0 }
    }));
    made.nodes.extend(tree);
}

fn grow(
    random: &mut Random,
    leaves: usize,
    next_leaf: &mut u32,
    nodes: &mut Vec<Node>,
    test: &mut impl FnMut(&mut Random) -> (u16, Test),
) -> Child {
    if leaves == 1 {
        *next_leaf += 1;
        return Child::Leaf(*next_leaf - 1);
    }
    let at = nodes.len();
    let (input, test_here) = test(random);
    let missing_left = random.is(50);
    nodes.push(Node { input, test: test_here, missing_left, left: Child::Leaf(0), right: Child::Leaf(0) });
    // Now and then as uneven as can be.
    let on_left = if random.is(10) { 1 } else { 1 + random.below(leaves - 1) };
    let left = grow(random, on_left, next_leaf, nodes, test);
    let right = grow(random, leaves - on_left, next_leaf, nodes, test);
    (nodes[at].left, nodes[at].right) = (left, right);
    Child::Node(at as u32)
}

/// As a library has it that computes in f32.
pub(crate) fn to_f32(trees: &mut Trees) {
    trees.rounding = Rounding::F32;
    trees.sum = Sum::F32(0.5, 0.0);
    for leaf in &mut trees.leaves {
        *leaf = f64::from(*leaf as f32);
    }
}

/// A model of these trees.
pub(crate) fn model(trees: Trees, inputs: u16) -> Model {
    Model {
        format: FORMAT_VERSION,
        inputs: (0..inputs).map(|input| format!("x{input}")).collect(),
        body: Body::Trees(trees),
        link: Link::Identity,
        provenance: Provenance::default(),
        golden: Vec::new(),
    }
}

/// A row of which each value is at a threshold, next to one, a category, or something special.
pub(crate) fn hard_row(random: &mut Random, trees: &Trees, inputs: u16) -> Vec<f64> {
    let near: Vec<&Node> =
        (0..inputs).filter_map(|_| trees.nodes.get(random.below(trees.nodes.len().max(1)))).collect();
    let mut row: Vec<f64> = (0..inputs).map(|_| special(random)).collect();
    for node in near {
        row[usize::from(node.input)] = match node.test {
            Test::AtMost(AtMost { threshold, .. }) => match random.below(4) {
                0 => threshold,
                1 => threshold.next_up(),
                2 => threshold.next_down(),
                _ => special(random),
            },
            Test::In(_) => random.below(200) as f64 + [0.0, 0.5, -0.5, 0.999][random.below(4)],
        };
    }
    row
}

fn special(random: &mut Random) -> f64 {
    match random.below(8) {
        0 => f64::NAN,
        1 => [0.0, -0.0, ZERO, -ZERO, ZERO.next_up(), -ZERO.next_up(), 5e-324, 1e300][random.below(8)],
        2 => [-1.0, -0.5, -0.999, 1e10, -1e10, f64::INFINITY, f64::NEG_INFINITY, 4e9][random.below(8)],
        _ => random.number(),
    }
}
