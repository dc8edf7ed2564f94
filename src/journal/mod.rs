//! The journal: every input and its outcome, in order, on disk.

use crate::engine::Limits;
use crate::engine::units::Time;
use crate::engine::wire::{Input, Outcome};

/// What holds for all decisions that follow it, until the next epoch. Written whenever the appliance starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Version of the engine's semantics.
    pub semantics: u32,
    /// BLAKE3 of the policy archive.
    pub policy_hash: [u8; 32],
    /// Hash of the event layouts.
    pub layout_hash: [u8; 32],
    /// The engine's limits.
    pub limits: Limits,
    /// When the appliance started, by its clock.
    pub started: Time,
}

/// One decision: the input, what it came to, and the engine's rolling digest after it.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What came in.
    pub input: Input<'a>,
    /// What was decided; `outcome.seq` is the journal's sequence number.
    pub outcome: Outcome,
    /// The rolling digest after this decision.
    pub digest: u64,
}
