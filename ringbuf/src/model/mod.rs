//! The algorithm under model checkers and race detectors.
//!
//! [`ModelFile`] stands in for a shared file: sequence numbers and the words below the slots are atomics, and every other
//! word of a slot is a plain cell, so that two threads at one of them at a time are a data race, which loom, Miri and
//! ThreadSanitizer report. The scenarios below run the code of [`crate::ends`] over it, under
//!
//! * **loom** (`--cfg loom`): every interleaving of a few messages, up to a bound on preemptions, with the weak memory that
//!   the orderings allow. A lost wake is a deadlock, which loom reports, because its sleeps have no time limit.
//! * **shuttle** (`--cfg shuttle`): random schedules of more messages, with reconnections; sequentially consistent.
//! * **threads**: the plain test run, Miri, and ThreadSanitizer (`--cfg tsan`).
//!
//! `.ci/models` runs them all, `.ci/weaken` shows that they would notice.

mod cells;
mod scenarios;

pub(crate) use cells::{ModelFile, Plain, files};

/// Runs a scenario: once for each schedule that the checker in use comes up with.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    #[cfg(loom)]
    {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(number("TOLLGATE_RING_PREEMPTIONS", 2));
        builder.max_branches = 20_000;
        builder.check(scenario);
    }
    #[cfg(shuttle)]
    {
        // Half of the schedules switch threads at a few places chosen beforehand, half of them anywhere.
        let scenario = std::sync::Arc::new(scenario);
        let again = std::sync::Arc::clone(&scenario);
        let half = number("TOLLGATE_RING_SCHEDULES", 1_000) / 2;
        shuttle::check_pct(move || scenario(), half, 5);
        shuttle::check_random(move || again(), half);
    }
    #[cfg(not(any(loom, shuttle)))]
    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
        scenario();
    }
}

/// A volume from the environment.
#[cfg(any(loom, shuttle))]
fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}
