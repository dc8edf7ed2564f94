//! Bringing an engine to where the journal ends, and holding it to what the journal says.
//!
//! Every recorded decision is taken again. Where the same policy and the same limits decided it, the engine decides it
//! anew, and outcome and digest must be those recorded: each start is a proof of determinism. Where another policy or other
//! limits did, the engine takes the input in and keeps the verdict that was given. What was decided by another layout of
//! events, or by an engine that means something else, is refused by name.

use crate::engine::program::SEMANTICS_VERSION;
use crate::engine::wire::Outcome;
use crate::engine::{Engine, Limits, Step};
use crate::journal::{Decision, Epoch, Record};

/// Why a journal cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Written by another meaning of programs.
    #[error(
        "the journal was written by engine semantics version {found} after decision {seq}; this build has version {own}. \
         Start the build that wrote it, or give this one a [journal] dir of its own"
    )]
    Semantics {
        /// Last decision before it.
        seq: u64,
        /// The journal's.
        found: u32,
        /// This build's.
        own: u32,
    },
    /// The policy's events are laid out otherwise than the journal's.
    #[error(
        "the journal was written with other event layouts (hash {found}, after decision {seq}) than policy {policy} \
         declares (hash {own}). Start with events declared as they were (the policy was stored as {stored}), or give the new \
         layouts a [journal] dir of their own"
    )]
    Layout {
        /// Last decision before it.
        seq: u64,
        /// The journal's layout hash, abbreviated.
        found: String,
        /// The policy's, abbreviated.
        own: String,
        /// The policy's name.
        policy: String,
        /// The name of the file beside the journal.
        stored: String,
    },
    /// The same state and input came to something else.
    #[error(
        "determinism broken at decision {seq}: the journal says {recorded}; deciding it again says {replayed}. The machine, \
         the build or the journal is faulty: keep the journal, verify it with `tollctl journal verify`, and start elsewhere"
    )]
    Diverged {
        /// The decision.
        seq: u64,
        /// What was recorded.
        recorded: String,
        /// What it came to now.
        replayed: String,
    },
    /// A decision before anything said under what it was made.
    #[error("decision {seq} comes before any epoch: this is not a journal's beginning")]
    NoEpoch {
        /// The decision.
        seq: u64,
    },
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Starts of the appliance.
    pub epochs: u64,
    /// Decisions decided anew and found equal.
    pub proved: u64,
    /// Decisions of another policy or other limits, taken in.
    pub adopted: u64,
}

/// Steps an engine through a journal, record by record.
pub struct Replay<'a> {
    engine: &'a mut Engine,
    limits: Limits,
    /// Whether the present epoch is decided anew; `None` before the first.
    same: Option<bool>,
    done: Replayed,
}

impl<'a> Replay<'a> {
    /// `engine` is new and was made with `limits`.
    pub fn new(engine: &'a mut Engine, limits: Limits) -> Self {
        Self { engine, limits, same: None, done: Replayed::default() }
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> Replayed {
        self.done
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), ReplayError> {
        match record {
            Record::Epoch(epoch) => self.enter(epoch),
            Record::Decision(decision) => self.decide(decision),
        }
    }

    fn enter(&mut self, epoch: &Epoch) -> Result<(), ReplayError> {
        let seq = self.engine.next_seq() - 1;
        if epoch.semantics != SEMANTICS_VERSION {
            return Err(ReplayError::Semantics { seq, found: epoch.semantics, own: SEMANTICS_VERSION });
        }
        let loaded = self.engine.loaded();
        let program = loaded.program();
        if epoch.layout_hash != program.layout_hash {
            return Err(ReplayError::Layout {
                seq,
                found: abbreviated(&epoch.layout_hash),
                own: abbreviated(&program.layout_hash),
                policy: program.name.as_str().into(),
                stored: format!("policy-{}.tgp", abbreviated(&epoch.policy_hash)),
            });
        }
        self.same = Some(epoch.policy_hash == loaded.hash() && epoch.limits == self.limits);
        self.done.epochs += 1;
        Ok(())
    }

    fn decide(&mut self, decision: &Decision<'_>) -> Result<(), ReplayError> {
        let seq = decision.outcome.seq;
        if !self.same.ok_or(ReplayError::NoEpoch { seq })? {
            self.engine.adopt(&decision.input, decision.outcome, decision.digest);
            self.done.adopted += 1;
            return Ok(());
        }
        let step = self.engine.step(&decision.input);
        let digest = self.engine.digest();
        if step != Step::Decided(decision.outcome) || digest != decision.digest {
            let replayed = match step {
                Step::Decided(outcome) => tell(&outcome, digest),
                Step::Repeated(outcome) => format!("a duplicate of decision {}", outcome.seq),
                Step::Refused(refusal) => format!("refused, {refusal}"),
            };
            let recorded = tell(&decision.outcome, decision.digest);
            return Err(ReplayError::Diverged { seq, recorded, replayed });
        }
        self.done.proved += 1;
        Ok(())
    }
}

fn tell(outcome: &Outcome, digest: u64) -> String {
    let Outcome { seq, score, action, flags, policy_revision, reasons } = outcome;
    format!(
        "seq {seq}, {}, score {score}, reasons {reasons:?}, flags {flags}, revision {policy_revision}, digest {digest:016x}",
        action.word()
    )
}

/// The first 16 hexadecimal digits of a hash: enough to tell hashes apart in a line of text.
#[must_use]
pub fn abbreviated(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
