//! Models.

use super::{EventIx, Expr, Type};
use crate::engine::units::Value;
use std::sync::Arc;
use tollgate_model::model;

/// `model NAME on EVENT [eager | lazy] = "FILE" (INPUT, …) [calibrated …]`.
///
/// Its value is a decimal: what the model tells of its inputs (a probability, where the model says so), calibrated, and rounded
/// half-even to billionths. An input that is missing is given to the model as missing, and it is for the model to say what
/// that means. The value is missing when all inputs are, when the model says nothing, when the value does not fit 64 bits in
/// billionths, and for an event that was shed.
///
/// Only rules, scenes, tables and decisions mention it. A payment is not unassessed when a model that its decision
/// mentions has said something about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// The judged event.
    pub event: EventIx,
    /// It is only asked where it can still make a difference: for a condition of a rule all other parts of which hold, or for
    /// a decision that mentions it. No verdict depends on that.
    pub lazy: bool,
    /// Its inputs, in the model's order, with their types: numbers, conditions (1 or 0), words of an enum by their ordinals, codes by
    /// their numbers, durations in seconds, distances in metres, speeds in km/h.
    pub inputs: Vec<(Expr, Type)>,
    /// What becomes of what it tells.
    pub calibration: Calibration,
    /// The model.
    pub file: ModelFile,
}

impl Model {
    /// Whether its value is between 0 and 1, both included.
    #[must_use]
    pub fn is_probability(&self) -> bool {
        match &self.calibration {
            Calibration::None => matches!(self.file.model.link, model::Link::Sigmoid(_)),
            Calibration::Platt(..) => true,
            Calibration::Isotonic(points) => {
                let is_one = |value: &Value| !value.is_missing() && (0..=value.den).contains(&value.num);
                points.iter().all(|(_, value)| is_one(value))
            }
        }
    }
}

/// From what a model tells to its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Calibration {
    /// As it is.
    None,
    /// `calibrated platt(A, B)`: 1 ÷ (1 + exp(A · margin + B)), whatever the model itself makes of its margin.
    Platt(Value, Value),
    /// `calibrated isotonic { TOLD: VALUE, … }`: in proportion between two points, before the first and after the last as there.
    /// What is told is rounded half-even to billionths first.
    Isotonic(Vec<(Value, Value)>),
}

/// A model as it was read from its file. Two are equal when their files are.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
    /// What is in it.
    pub model: Arc<model::Model>,
}

impl PartialEq for ModelFile {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}
