//! Models: that each can be asked where it is, and that nothing reads what was not asked.

use super::runs::{Checker, Features, Reads};
use super::{Checked, NAME_BYTES_MAX, text};
use crate::engine::program::{
    ArchivedCalibrationPlan, ArchivedEventPlan, ArchivedModelPlan, ISOTONIC_MAX, ISOTONIC_POINTS_MAX,
    MODEL_INPUTS_MAX, MODELS_MAX,
};
use rkyv::rend::u16_le;

impl Checker<'_> {
    pub(super) fn models(&mut self) -> Checked {
        let models = &self.program.models;
        ensure!(models.len() <= MODELS_MAX, "{} models are more than {MODELS_MAX}", models.len());
        for (index, model) in models.iter().enumerate() {
            self.model(model).map_err(|error| format!("model {index}: {error}"))?;
        }
        Ok(())
    }

    fn model(&mut self, plan: &ArchivedModelPlan) -> Checked {
        text("its name", &plan.name, NAME_BYTES_MAX)?;
        let event = self.program.events.get(usize::from(plan.event.to_native()));
        let event = event.filter(|event| event.decide.is_some());
        let event = event.ok_or_else(|| format!("event {}, which it is on, is not judged", plan.event))?;
        let inputs = plan.inputs.len();
        ensure!(
            inputs == plan.model.inputs.len() && (1..=MODEL_INPUTS_MAX).contains(&inputs),
            "it is given {inputs} inputs and has {}; there can be {MODEL_INPUTS_MAX}",
            plan.model.inputs.len()
        );
        self.run("its inputs", &plan.code, Reads::Event(event), Features::Read, &[])?;
        for register in plan.inputs.iter() {
            self.computed("an input", register.to_native())?;
        }
        match &plan.calibration {
            ArchivedCalibrationPlan::None => {}
            ArchivedCalibrationPlan::Platt(a, b) => {
                let are_finite = a.to_native().is_finite() && b.to_native().is_finite();
                ensure!(are_finite, "its calibration is not of finite numbers");
            }
            ArchivedCalibrationPlan::Isotonic(points) => {
                ensure!(
                    (1..=ISOTONIC_POINTS_MAX).contains(&points.len()),
                    "its calibration has {} points; there can be 1 to {ISOTONIC_POINTS_MAX}",
                    points.len()
                );
                let ascends = points.is_sorted_by(|a, b| {
                    a.0.to_native() < b.0.to_native() && a.1.to_native() <= b.1.to_native()
                });
                let are_near = points.iter().all(|point| {
                    [point.0, point.1]
                        .iter()
                        .all(|number| number.to_native().unsigned_abs() <= ISOTONIC_MAX as u64)
                });
                ensure!(ascends && are_near, "the points of its calibration do not ascend, or are too great");
            }
        }
        tollgate_model::validate::validate(&plan.model).map_err(|error| error.to_string())
    }

    /// That the models of an event that are asked in any case are those that are not lazy.
    pub(super) fn models_of(&self, index: usize, event: &ArchivedEventPlan) -> Checked {
        let eager = self.program.models.iter().enumerate();
        let eager = eager.filter(|(_, model)| usize::from(model.event.to_native()) == index && !model.lazy);
        let are_all =
            eager.map(|(number, _)| number as u16).eq(event.models.iter().map(|model| model.to_native()));
        ensure!(are_all, "its models are not those that are on it");
        Ok(())
    }

    /// That these are lazy models of an event.
    pub(super) fn lazy(&self, event: &ArchivedEventPlan, models: &[u16_le]) -> Checked {
        self.models_on(event, models)?;
        let eager = models.iter().find(|model| !self.program.models[usize::from(model.to_native())].lazy);
        ensure!(eager.is_none(), "model {} is not lazy", eager.map_or(0, |model| model.to_native()));
        Ok(())
    }

    /// That these are models of an event.
    pub(super) fn models_on(&self, event: &ArchivedEventPlan, models: &[u16_le]) -> Checked {
        for number in models {
            let plan = self.program.models.get(usize::from(number.to_native()));
            let plan = plan.ok_or_else(|| format!("there is no model {number}"))?;
            let is_on_it =
                std::ptr::eq(&raw const self.program.events[usize::from(plan.event.to_native())], event);
            ensure!(is_on_it, "model {number} is on another event");
        }
        ensure!(models.is_sorted_by(|a, b| a.to_native() < b.to_native()), "its models do not ascend");
        Ok(())
    }

    /// The registers of models.
    pub(super) fn model_registers(&self, models: &[u16_le]) -> Vec<u16> {
        let first = self.program.features.len();
        models.iter().map(|model| (first + usize::from(model.to_native())) as u16).collect()
    }
}
