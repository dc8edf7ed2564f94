//! Rows whose margin is known: as the library said, or derived from the model where it is most easily got wrong.

use super::{ImportError, refuse};
use crate::archive;
use crate::model::{
    AtMost, Bins, Body, GOLDEN_ROWS_MAX, GoldenRow, In, Model, Rounding, Scaled, Sum, Term, Test, ZERO,
};
use crate::walk;

/// Rows that are derived, unless there are many inputs.
const DERIVED_ROWS: usize = 64;
/// Numbers in all rows that are derived.
const DERIVED_NUMBERS: usize = 1 << 16;
/// Nodes of one input that rows are derived from.
const NODES: usize = 4_096;
/// Categories of one set that rows are derived from.
const CATEGORIES: usize = 8;

/// Rows for a model: those given, all verified; or, if there are none, derived ones.
pub(super) fn rows(model: &Model, given: &[(Vec<f64>, f64)]) -> Result<Vec<GoldenRow>, ImportError> {
    let archived = archive::archived(model);
    let mut known = Vec::new();
    if given.is_empty() {
        for row in derived(model) {
            let margin = walk::margin(&archived, &row);
            known.push(GoldenRow { row, margin, from_library: false });
        }
        return Ok(known);
    }
    for (at, (row, told)) in given.iter().enumerate() {
        let place = format!("golden row {}", at + 1);
        if row.len() != model.inputs.len() {
            let message = format!("it has {} values for {} inputs", row.len(), model.inputs.len());
            return refuse(place, message);
        }
        let margin = walk::margin(&archived, row);
        if !is_same(model, margin, *told) {
            return refuse(place, different(model, margin, *told));
        }
        if at * GOLDEN_ROWS_MAX / given.len() == known.len() || given.len() <= GOLDEN_ROWS_MAX {
            known.push(GoldenRow { row: row.clone(), margin, from_library: true });
        }
    }
    Ok(known)
}

/// Whether the library says the same. A margin that it computes in f32 may be told with an f32's digits.
fn is_same(model: &Model, margin: f64, told: f64) -> bool {
    match &model.body {
        Body::Trees(trees) if matches!(trees.sum, Sum::F32(..)) && !told.is_nan() => {
            (told as f32).to_bits() == (margin as f32).to_bits()
        }
        _ => told.to_bits() == margin.to_bits() || (told.is_nan() && margin.is_nan()),
    }
}

fn different(model: &Model, margin: f64, told: f64) -> String {
    let mut message = format!("its margin should be {told:?} and is {margin:?}");
    if let Body::Trees(trees) = &model.body
        && let Sum::F64(divisor) = trees.sum
        && divisor > 1.0
        && is_same(model, margin, told / divisor)
    {
        message.push_str(&format!(
            "; the margin of a random forest is the mean of its trees: divide LightGBM's raw_score by {divisor}"
        ));
        return message;
    }
    message.push_str(
        "; check that the rows are this model's, with all its iterations, and that the column is the margin",
    );
    message
}

/// Rows at thresholds and one step beside them, in and out of sets, at zero and its neighbours, and missing. The same for
/// the same model.
fn derived(model: &Model) -> Vec<Vec<f64>> {
    let numbers = numbers(model);
    let count = (DERIVED_NUMBERS / numbers.len().max(1)).clamp(1, DERIVED_ROWS);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let edges = [0.0, -0.0, ZERO, -ZERO, 1e9, -1e9];
    let mut number = |of: &Vec<f64>| match random.below(16) {
        0 | 1 => f64::NAN,
        2 => edges[random.below(edges.len())],
        _ if of.is_empty() => random.below(100) as f64,
        _ => of[random.below(of.len())],
    };
    (0..count).map(|_| numbers.iter().map(&mut number).collect()).collect()
}

/// For each input the numbers that its answers change at.
fn numbers(model: &Model) -> Vec<Vec<f64>> {
    let mut numbers = vec![Vec::new(); model.inputs.len()];
    match &model.body {
        Body::Trees(trees) => {
            for node in &trees.nodes {
                let numbers = &mut numbers[usize::from(node.input)];
                if numbers.len() >= NODES * 3 {
                    continue;
                }
                match node.test {
                    Test::AtMost(AtMost { threshold, .. }) => {
                        numbers.extend(around(threshold, trees.rounding));
                    }
                    Test::In(In { first_word, word_count, .. }) => {
                        let set = &trees.sets[first_word as usize..][..usize::from(word_count)];
                        let end = set.len() * 64;
                        let inside = (0..end).filter(|bit| set[bit / 64] >> (bit % 64) & 1 != 0);
                        numbers.extend(inside.take(CATEGORIES).map(|category| category as f64));
                        numbers.extend([end as f64 - 0.5, end as f64, -1.0]);
                    }
                }
            }
        }
        Body::Linear(linear) => {
            for (term, numbers) in linear.terms.iter().zip(&mut numbers) {
                match term {
                    Term::Scaled(Scaled { mean, scale, .. }) => {
                        numbers.extend([*mean, mean + scale, mean - scale]);
                    }
                    Term::Bins(Bins { below, .. }) => {
                        numbers.extend(below.iter().flat_map(|bound| around(*bound, Rounding::F64)));
                    }
                }
            }
        }
    }
    numbers
}

/// A number and those next to it, as the model takes them.
fn around(number: f64, rounding: Rounding) -> [f64; 3] {
    match rounding {
        Rounding::F64 => [number.next_down(), number, number.next_up()],
        Rounding::F32 => {
            let number = number as f32;
            [number.next_down(), number, number.next_up()].map(f64::from)
        }
    }
}

/// Xorshift: not random, but spread.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }
}
