//! The models of a judged event: their inputs from registers, their values into registers.
//!
//! A model takes numbers as f64 and gives one; both ends are exact numbers of the engine. Its inputs are rounded once, each by
//! itself ([`Value::to_f64`]), and its value is rounded half-even to billionths. In between is floating point, the same bits
//! on every machine (`tollgate_model` says how): this is the only part of the engine that computes with it.

use super::program::{
    ArchivedCalibrationPlan, ArchivedEventPlan, ArchivedModelPlan, ArchivedProgram, MODEL_DEN,
};
use super::units::{Time, Value, divide_half_even};
use super::vm::{Basis, execute};
use tollgate_model::link;
use tollgate_model::scorer::Scorer;

/// What asking models takes. Reserved once.
pub(super) struct Models {
    /// By model.
    scorers: Vec<Scorer>,
    /// The inputs of the model that is asked.
    row: Vec<f64>,
    /// One bit for each model that this event has asked.
    asked: u64,
}

/// The event that is judged, for the code of inputs.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) basis: Basis<'a>,
    pub(super) words: &'a [u64],
    pub(super) presence: u64,
    pub(super) time: Time,
}

impl Models {
    pub(super) fn reserve(program: &ArchivedProgram) -> Self {
        let inputs = program.models.iter().map(|model| model.inputs.len()).max().unwrap_or(0);
        Self {
            scorers: program.models.iter().map(|plan| Scorer::new(&plan.model)).collect(),
            row: vec![f64::NAN; inputs],
            asked: 0,
        }
    }

    /// Bytes that [`reserve`](Self::reserve) takes.
    pub(super) fn bytes(&self) -> usize {
        self.scorers.iter().map(|scorer| size_of::<Scorer>() + scorer.bytes()).sum::<usize>()
            + size_of_val(&*self.row)
    }

    /// Forgets the event before; their registers are missing.
    pub(super) fn clear(&mut self) {
        self.asked = 0;
    }

    /// Asks the models that are asked for every event of this kind.
    #[inline(never)]
    pub(super) fn ask_eager(
        &mut self,
        judged: Judged<'_>,
        event: &ArchivedEventPlan,
        registers: &mut [Value],
    ) {
        self.ask(judged, &event.models, registers);
    }

    /// Asks these models, unless they were asked before.
    #[inline]
    pub(super) fn ask(&mut self, judged: Judged<'_>, models: &[rkyv::rend::u16_le], registers: &mut [Value]) {
        for model in models {
            let number = usize::from(model.to_native());
            if self.asked >> (number & 63) & 1 == 0 {
                self.asked |= 1 << (number & 63);
                let program = judged.basis.program;
                let value = self.value(judged, number, &program.models[number], registers);
                registers[program.features.len() + number] = value;
            }
        }
    }

    /// What a model says: missing when it has none of its inputs, or no margin.
    fn value(
        &mut self,
        judged: Judged<'_>,
        number: usize,
        plan: &ArchivedModelPlan,
        registers: &mut [Value],
    ) -> Value {
        let Judged { basis, words, presence, time } = judged;
        execute(basis, &plan.code, words, presence, time, registers);
        let row = &mut self.row[..plan.inputs.len()];
        let mut is_there = false;
        for (input, register) in row.iter_mut().zip(plan.inputs.iter()) {
            *input = registers[usize::from(register.to_native())].to_f64();
            is_there |= !input.is_nan();
        }
        if !is_there {
            return Value::MISSING;
        }
        let margin = self.scorers[number].margin(&plan.model, row);
        match &plan.calibration {
            ArchivedCalibrationPlan::None => in_billionths(link::told(&plan.model, margin)),
            ArchivedCalibrationPlan::Platt(a, b) => {
                in_billionths(link::sigmoid(-(a.to_native() * margin + b.to_native())))
            }
            ArchivedCalibrationPlan::Isotonic(points) => {
                let told = in_billionths(link::told(&plan.model, margin));
                let Some(told) = Some(told.num).filter(|_| !told.is_missing()) else { return told };
                let point = |at: usize| (points[at].0.to_native(), points[at].1.to_native());
                let after = points.partition_point(|point| point.0.to_native() <= told);
                let value = if after == 0 {
                    point(0).1
                } else if after == points.len() {
                    point(after - 1).1
                } else {
                    between(point(after - 1), point(after), told)
                };
                Value { num: value, den: MODEL_DEN }
            }
        }
    }
}

/// The number rounded half-even to billionths; missing when it is none, or too great.
fn in_billionths(told: f64) -> Value {
    let scaled = (told * MODEL_DEN as f64).round_ties_even();
    // Below 2⁶³; NaN is not.
    if scaled.abs() < 9_223_372_036_854_775_808.0 {
        Value { num: scaled as i64, den: MODEL_DEN }
    } else {
        Value::MISSING
    }
}

/// The height at `x` of the line from one point to another, rounded half-even. Points are no further from 0 than
/// [`ISOTONIC_MAX`](super::program::ISOTONIC_MAX), so that no product leaves 128 bits.
fn between(from: (i64, i64), to: (i64, i64), x: i64) -> i64 {
    let [(from_x, from_y), (to_x, to_y)] = [from, to].map(|(x, y)| (i128::from(x), i128::from(y)));
    let run = to_x - from_x;
    divide_half_even(from_y * run + (i128::from(x) - from_x) * (to_y - from_y), run) as i64
}

#[cfg(test)]
mod tests {
    use super::super::program::ISOTONIC_MAX;
    use super::*;

    #[test]
    fn numbers_are_rounded_to_billionths_half_to_even() {
        let billionths = |told: f64| in_billionths(told).num;
        assert_eq!(billionths(0.25), 250_000_000);
        assert_eq!(billionths(0.5e-9), 0);
        assert_eq!(billionths(1.5e-9), 2);
        assert_eq!(billionths(-2.5e-9), -2);
        assert!([f64::NAN, f64::INFINITY, 1e10, -9.3e9].iter().all(|told| in_billionths(*told).is_missing()));
        assert_eq!(billionths(9e9), 9_000_000_000_000_000_000);
    }

    #[test]
    fn a_line_is_rounded_half_to_even_and_reaches_its_ends() {
        let most = ISOTONIC_MAX;
        for (from, to) in [((0, 0), (10, 5)), ((-7, 3), (1, 4)), ((-most, -most), (most, most))] {
            assert_eq!((between(from, to, from.0), between(from, to, to.0)), (from.1, to.1));
        }
        let heights: Vec<i64> = (0..=10).map(|x| between((0, 0), (10, 5), x)).collect();
        assert_eq!(heights, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]);
        assert_eq!(between((0, 1), (2, 2), 1), 2, "one and a half");
        assert_eq!(between((0, 2), (2, 3), 1), 2, "two and a half");
    }
}
