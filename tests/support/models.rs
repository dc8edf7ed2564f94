//! Random models, and what they say by the plainest reading.

use super::fraction::Fraction;
use super::oracle::Answer;
use super::rng::Rng;
use random::Random;
use std::sync::Arc;
use tollgate::engine::units::Value;
use tollgate::policy::typed::{Calibration, Model, ModelFile};
use tollgate_model::archive::{Opened, archived, seal};
use tollgate_model::lanes::Lanes;
use tollgate_model::model::{Link, Missing, Test};
use tollgate_model::{link, walk};

#[path = "../../model/tests/support/random.rs"]
mod random;

/// A small model of so many inputs.
pub fn file(rng: &mut Rng, inputs: usize) -> ModelFile {
    let mut random = Random::new(rng.word());
    let (trees, leaves) = (1 + rng.below(4), 1 + rng.below(9));
    let mut trees = random::ensemble(&mut random, trees, leaves, inputs as u16, 6, 15);
    for leaf in &mut trees.leaves {
        *leaf = (*leaf * 0.1).clamp(-3.0, 3.0);
    }
    // Small numbers are what fields mostly hold.
    for node in &mut trees.nodes {
        if let Test::AtMost(test) = &mut node.test {
            test.threshold = rng.between(-3, 12) as f64 / 2.0;
            test.missing = [Missing::Never, Missing::Zero, Missing::Nan][usize::from(node.input) % 3];
        }
    }
    trees.lanes = Lanes::of(&trees);
    let mut model = random::model(trees, inputs as u16);
    model.link = [Link::Identity, Link::Sigmoid(1.0), Link::Sigmoid(0.7), Link::Exp][rng.below(4)];
    ModelFile { hash: *blake3::hash(&seal(&model)).as_bytes(), model: Arc::new(model) }
}

/// The file that it was read from, or might have been.
pub fn bytes(model: &Model) -> Vec<u8> {
    seal(&model.file.model)
}

/// As the walk takes it.
pub fn opened(model: &Model) -> Opened {
    archived(&model.file.model)
}

/// What a model says of these inputs.
pub fn says(model: &Model, opened: &Opened, row: &[f64]) -> Answer {
    if row.iter().all(|input| input.is_nan()) {
        return Answer::Missing;
    }
    let margin = walk::margin(opened, row);
    let told = match &model.calibration {
        Calibration::Platt(a, b) => 1.0 / (1.0 + libm::exp(number(*a) * margin + number(*b))),
        _ => link::told(opened, margin),
    };
    let Some(told) = billionths(told) else { return Answer::Missing };
    let value = match &model.calibration {
        Calibration::Isotonic(points) => on_line(points, told),
        _ => told,
    };
    Answer::number(Fraction::new(value, 1_000_000_000))
}

fn number(of: Value) -> f64 {
    of.num as f64 / of.den as f64
}

fn billionths(told: f64) -> Option<i128> {
    let scaled = told * 1e9;
    (scaled.abs() < 9.2e18).then(|| {
        let (floor, rest) = (scaled.floor(), scaled - scaled.floor());
        let floor = floor as i128;
        floor + i128::from(rest > 0.5 || rest == 0.5 && floor % 2 != 0)
    })
}

fn on_line(points: &[(Value, Value)], told: i128) -> i128 {
    let whole = |of: Value| i128::from(of.num) * 1_000_000_000 / i128::from(of.den);
    let points: Vec<(i128, i128)> = points.iter().map(|(x, y)| (whole(*x), whole(*y))).collect();
    let (first, last) = (points[0], points[points.len() - 1]);
    if told <= first.0 {
        return first.1;
    }
    if told >= last.0 {
        return last.1;
    }
    let pair = points.windows(2).find(|pair| pair[0].0 <= told && told < pair[1].0).expect("between two");
    let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
    let (num, den) = (y0 * (x1 - x0) + (told - x0) * (y1 - y0), x1 - x0);
    let twice = 2 * num.rem_euclid(den);
    let floor = num.div_euclid(den);
    floor + i128::from(twice > den || twice == den && floor % 2 != 0)
}
