//! What models are given.

use super::code::{Code, Target};
use super::expressions::Graph;
use super::zones::Zones;
use crate::engine::program::{CalibrationPlan, MODEL_DEN, ModelPlan};
use crate::engine::units::{Value, divide_half_even};
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{Calibration, EventIx, Model, Policy};
use std::collections::HashMap;

/// The models that are asked whenever an event is judged.
pub(super) fn eager(policy: &Policy, event: EventIx) -> Vec<u16> {
    let models = policy.models.iter().zip(0..);
    models.filter(|(model, _)| model.event == event && !model.lazy).map(|(_, number)| number).collect()
}

pub(super) fn plan(
    model: &Model,
    graph: &mut Graph<'_>,
    zones: &mut Zones,
    code: &mut Code,
) -> Result<ModelPlan, Diagnostic> {
    let mut roots = Vec::with_capacity(model.inputs.len());
    for input in &model.inputs {
        roots.push((graph.model_input(zones, input)?, Target::Keep));
    }
    let (run, inputs) = code.emit(graph, &roots, &HashMap::new())?;
    Ok(ModelPlan {
        name: model.name.clone(),
        event: model.event.0,
        lazy: model.lazy,
        code: run,
        inputs,
        calibration: match &model.calibration {
            Calibration::None => CalibrationPlan::None,
            Calibration::Platt(a, b) => CalibrationPlan::Platt(a.to_f64(), b.to_f64()),
            Calibration::Isotonic(points) => CalibrationPlan::Isotonic(
                points.iter().map(|(told, value)| (billionths(*told), billionths(*value))).collect(),
            ),
        },
        file_hash: model.file.hash,
        model: model.file.model.as_ref().clone(),
    })
}

/// A literal, which has at most as many digits after the point.
fn billionths(value: Value) -> i64 {
    let nearest =
        divide_half_even(i128::from(value.num) * i128::from(MODEL_DEN), i128::from(value.den.max(1)));
    i64::try_from(nearest).unwrap_or(if nearest < 0 { i64::MIN } else { i64::MAX })
}
