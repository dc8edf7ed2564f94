//! What models are given.

use super::code::{Code, Target};
use super::expressions::Graph;
use super::zones::Zones;
use crate::engine::program::{CalibrationPlan, MODEL_DEN, ModelPlan};
use crate::engine::units::Value;
use crate::policy::diagnostics::Diagnostic;
use crate::policy::typed::{Calibration, EventIx, Model, Policy};
use std::collections::HashMap;
use tollgate_model::model::{self, Body, FORMAT_VERSION, Linear, Link, Provenance, Scaled, Term};

/// The models that are asked whenever an event is judged.
pub(super) fn eager(policy: &Policy, event: EventIx) -> Vec<u16> {
    let models = policy.models.iter().zip(0..);
    models.filter(|(model, _)| model.event == event && !model.lazy).map(|(_, number)| number).collect()
}

/// A model that says this whatever it is asked about, or nothing.
fn constant(says: Value) -> model::Model {
    let term = Term::Scaled(Scaled { mean: 0.0, scale: 1.0, weight: 0.0, missing: None });
    let linear = Linear { intercept: if says.is_missing() { 0.0 } else { says.to_f64() }, terms: vec![term] };
    model::Model {
        format: FORMAT_VERSION,
        inputs: vec!["stub".to_owned()],
        body: Body::Linear(linear),
        link: Link::Identity,
        provenance: Provenance::default(),
        golden: Vec::new(),
    }
}

/// The plan of a model, or, where a test says what it is to say, of one that says this.
pub(super) fn plan(
    model: &Model,
    stub: Option<Value>,
    graph: &mut Graph<'_>,
    zones: &mut Zones,
    code: &mut Code,
) -> Result<ModelPlan, Diagnostic> {
    let mut roots = Vec::with_capacity(model.inputs.len());
    match stub {
        // Given nothing, it says nothing.
        Some(says) => {
            let given = graph.literal(if says.is_missing() { says } else { Value::int(0) });
            roots.push((given, Target::Keep));
        }
        None => {
            for input in &model.inputs {
                roots.push((graph.model_input(zones, input)?, Target::Keep));
            }
        }
    }
    // Of literals that the checker has found to be small enough.
    let billionths = |literal: Value| literal.rescaled(MODEL_DEN).num;
    let (run, inputs) = code.emit(graph, &roots, &HashMap::new())?;
    Ok(ModelPlan {
        name: model.name.clone(),
        event: model.event.0,
        lazy: model.lazy,
        code: run,
        inputs,
        calibration: match &model.calibration {
            _ if stub.is_some() => CalibrationPlan::None,
            Calibration::None => CalibrationPlan::None,
            Calibration::Platt(a, b) => CalibrationPlan::Platt(a.to_f64(), b.to_f64()),
            Calibration::Isotonic(points) => CalibrationPlan::Isotonic(
                points.iter().map(|(told, value)| (billionths(*told), billionths(*value))).collect(),
            ),
        },
        file_hash: model.file.hash,
        model: stub.map_or_else(|| model.file.model.as_ref().clone(), constant),
    })
}
