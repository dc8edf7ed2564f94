//! Every kernel against the walk, bit for bit, on random trees and the rows that are hardest for them.

#[path = "support/random.rs"]
mod random;

use random::{Random, ensemble, hard_row, model};
use tollgate_model::archive::{archived, open, seal};
use tollgate_model::kernel::Kernel;
use tollgate_model::lanes::Lanes;
use tollgate_model::model::{Body, In, Rounding, Sum, Test, Trees};
use tollgate_model::scorer::Scorer;
use tollgate_model::walk;

/// What a random ensemble is like.
struct Shape {
    trees: usize,
    leaves: usize,
    inputs: u16,
    /// Different thresholds of an input.
    cuts: usize,
    /// Nodes in a hundred that ask for categories.
    sets: u32,
}

const SHAPES: &[Shape] = &[
    Shape { trees: 1, leaves: 1, inputs: 1, cuts: 1, sets: 0 },
    Shape { trees: 3, leaves: 2, inputs: 1, cuts: 1, sets: 0 },
    Shape { trees: 64, leaves: 8, inputs: 3, cuts: 5, sets: 0 },
    Shape { trees: 65, leaves: 9, inputs: 16, cuts: 16, sets: 30 },
    Shape { trees: 100, leaves: 31, inputs: 31, cuts: 17, sets: 0 },
    Shape { trees: 130, leaves: 63, inputs: 40, cuts: 255, sets: 10 },
    // A second column for an input.
    Shape { trees: 200, leaves: 64, inputs: 3, cuts: 256, sets: 0 },
    Shape { trees: 70, leaves: 200, inputs: 90, cuts: 30, sets: 5 },
    Shape { trees: 20, leaves: 300, inputs: 150, cuts: 700, sets: 0 },
    // More columns than one table takes: blocks have their own.
    Shape { trees: 150, leaves: 60, inputs: 300, cuts: 40, sets: 5 },
    Shape { trees: 64, leaves: 128, inputs: 20, cuts: 5_000, sets: 0 },
    Shape { trees: 5, leaves: 2_040, inputs: 10, cuts: 100, sets: 20 },
    // All are sets.
    Shape { trees: 80, leaves: 20, inputs: 4, cuts: 10, sets: 100 },
];

fn check(trees: Trees, inputs: u16, random: &mut Random, rows: usize) {
    let model = model(trees, inputs);
    let Body::Trees(trees) = &model.body else { panic!("trees were made") };
    let opened = archived(&model);
    let mut scorers: Vec<Scorer> =
        Kernel::available().into_iter().map(|kernel| Scorer::with_kernel(&opened, kernel)).collect();
    let mut table = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..rows {
        let row = hard_row(random, trees, inputs);
        let margin = walk::margin(&opened, &row);
        for scorer in &mut scorers {
            let scored = scorer.margin(&opened, &row);
            assert_eq!(scored.to_bits(), margin.to_bits(), "{} on {row:?}", scorer.kernel().name());
        }
        table.extend(row);
        expected.push(margin.to_bits());
    }
    for scorer in &mut scorers {
        let mut margins = vec![0.0; rows];
        scorer.margins(&opened, &table, &mut margins);
        let bits: Vec<u64> = margins.iter().map(|margin| margin.to_bits()).collect();
        assert_eq!(bits, expected, "many rows by {}", scorer.kernel().name());
    }
}

#[test]
fn every_kernel_equals_the_walk() {
    for (number, shape) in SHAPES.iter().enumerate() {
        for seed in 0..4 {
            let mut random = Random::new(1 + seed * 1_000 + number as u64);
            let mut trees =
                ensemble(&mut random, shape.trees, shape.leaves, shape.inputs, shape.cuts, shape.sets);
            if seed % 2 == 1 {
                random::to_f32(&mut trees);
            }
            trees.lanes = Lanes::of(&trees);
            assert!(trees.lanes.is_some(), "shape {number} is laid out");
            check(trees, shape.inputs, &mut random, 60);
        }
    }
}

#[test]
fn what_is_not_laid_out_is_walked() {
    let mut random = Random::new(9);
    let mut trees = ensemble(&mut random, 2, 2_041, 4, 50, 0);
    trees.lanes = Lanes::of(&trees);
    assert!(trees.lanes.is_none(), "a tree of 2041 leaves");
    check(trees, 4, &mut random, 20);
    // Trees that are lists, each node with all that is below it on its left: every node clears nearly all planes.
    let mut trees = random::lists(&mut random, 256, 2_000);
    trees.lanes = Lanes::of(&trees);
    assert!(trees.lanes.is_none(), "they would take more than is allowed");
    check(trees, 4, &mut random, 5);
    // Of sets trees share slots only where they ask for the same input.
    let mut trees = random::lists(&mut random, 64, 2_040);
    trees.sets.push(1);
    let per_tree = trees.nodes.len() / 64;
    for (at, node) in trees.nodes.iter_mut().enumerate() {
        node.input = (at / per_tree) as u16;
        node.test = Test::In(In { first_word: 0, word_count: 1, inside_left: true });
    }
    trees.lanes = Lanes::of(&trees);
    assert!(trees.lanes.is_none(), "they would take far more than is allowed");
    check(trees, 64, &mut random, 3);
}

#[test]
fn an_archive_opens_to_the_same_model() {
    let mut random = Random::new(77);
    let mut trees = ensemble(&mut random, 90, 31, 12, 20, 20);
    trees.lanes = Lanes::of(&trees);
    let model = model(trees, 12);
    let bytes = seal(&model);
    let opened = open(&bytes).expect("a model");
    // Thresholds may be anything but NaN, so that models equal themselves.
    assert_eq!(opened.to_model(), model);
    let mut damaged = bytes.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(open(&damaged).expect_err("damaged").to_string().contains("hash"));
}

#[test]
fn a_layout_that_is_not_that_of_the_trees_is_refused() {
    let mut random = Random::new(5);
    let mut trees = ensemble(&mut random, 10, 16, 5, 9, 10);
    trees.lanes = Lanes::of(&trees);
    let good = model(trees, 5);
    let refused = |change: &dyn Fn(&mut Trees)| {
        let mut bad = good.clone();
        let Body::Trees(trees) = &mut bad.body else { panic!("trees were made") };
        change(trees);
        open(&seal(&bad)).expect_err("it was changed").to_string()
    };
    let lanes = |change: &dyn Fn(&mut Lanes)| {
        let message = refused(&|trees| change(trees.lanes.as_mut().expect("laid out")));
        assert!(message.contains("does not agree with the trees"), "{message}");
    };
    lanes(&|lanes| lanes.slots[0].clear.0[1] ^= 4);
    lanes(&|lanes| lanes.slots[0].column.0[0] = 200);
    lanes(&|lanes| lanes.planes[0].slots += 1);
    lanes(&|lanes| lanes.columns[0].first_line = 9_999);
    lanes(&|lanes| lanes.blocks[0].trees = 64);
    lanes(&|lanes| lanes.row_words[0] ^= 1);
    let trees = |expected: &str, change: &dyn Fn(&mut Trees)| {
        let message = refused(change);
        assert!(message.contains(expected), "{message}");
    };
    trees("nodes are not in the order", &|trees| trees.nodes[0].right = trees.nodes[0].left);
    trees("asks for input 5 of 5", &|trees| trees.nodes[3].input = 5);
    trees("leaf 2 has the value", &|trees| trees.leaves[2] = f64::INFINITY);
    trees("does not lie where", &|trees| trees.trees[1].first_leaf += 1);
    trees("divided by 0", &|trees| trees.sum = Sum::F64(0.0));
    trees("belong to no tree", &|trees| trees.leaves.push(1.0));
}

#[test]
fn sums_round_as_each_library_rounds() {
    let mut random = Random::new(21);
    for rounding in [Rounding::F64, Rounding::F32] {
        let mut trees = ensemble(&mut random, 70, 4, 3, 4, 0);
        if rounding == Rounding::F32 {
            random::to_f32(&mut trees);
            trees.sum = Sum::F32(0.3, -0.7);
        } else {
            trees.sum = Sum::F64(70.0);
        }
        trees.lanes = Lanes::of(&trees);
        check(trees, 3, &mut random, 40);
    }
}
