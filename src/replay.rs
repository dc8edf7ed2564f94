//! Bringing an engine to where the journal ends, and holding it to what the journal says.
//!
//! Every recorded decision is taken again. Where the same policy and the same limits decided it, the engine decides it
//! anew, and outcome and digest must be those recorded: each start is a proof of determinism. Where another policy or other
//! limits did, the engine takes the input in and keeps the verdict that was given. What was decided by another layout of
//! events, or by an engine that means something else, is refused by name.

use crate::engine::program::SEMANTICS_VERSION;
use crate::engine::wire::Outcome;
use crate::engine::{Engine, Limits, Step, first_word};
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
    /// The policy before it.
    policy_hash: [u8; 32],
    done: Replayed,
}

impl<'a> Replay<'a> {
    /// `engine` is new and was made with `limits`.
    pub fn new(engine: &'a mut Engine, limits: Limits) -> Self {
        Self { engine, limits, same: None, policy_hash: [0; 32], done: Replayed::default() }
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
            Record::Order(ordered) => {
                self.engine.order(&ordered.order, ordered.given);
                Ok(())
            }
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
        let same_policy = epoch.policy_hash == loaded.hash();
        self.same = Some(same_policy && epoch.limits == self.limits);
        if epoch.took_over {
            self.engine.wake(Some(first_word(&self.policy_hash)));
        } else {
            self.done.epochs += 1;
            if same_policy {
                self.engine.wake(None);
            }
        }
        self.policy_hash = epoch.policy_hash;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{self, EventWords};
    use crate::engine::units::{EventId, Key, Time};
    use crate::engine::wire::{Admission, Input};
    use crate::policy::{self, archive};
    use crate::token::Tokenizer;

    const POLICY: &str = "policy p revision 1\nentity card\nevent payment { card: card, amount: money }\n\
                          feature n = count(payment) by card last 1h\n\
                          rule many on payment { when n > 2 then review, score 80 }\n\
                          decide payment { score = rule_scores, review when score >= 70, unassessed allow }\n";

    const LIMITS: Limits = Limits {
        keys_max: 64,
        spill_bytes_max: 1 << 16,
        rows_per_key_max: 64,
        dedup_entries_max: 64,
        lateness_us: 0,
        skew_us: 0,
        jump_us: 0,
        clock: crate::engine::Clock::Event,
        hash_seed: 1,
    };

    fn engine(policy: &str) -> Engine {
        let program = policy::compile(policy, &Tokenizer::default()).expect("a valid policy");
        Engine::new(archive::open(archive::seal(&program)).unwrap(), &LIMITS).unwrap()
    }

    fn epoch_of(engine: &Engine) -> Epoch {
        Epoch {
            semantics: SEMANTICS_VERSION,
            policy_hash: engine.loaded().hash(),
            layout_hash: engine.loaded().program().layout_hash,
            limits: LIMITS,
            started: Time(0),
            took_over: false,
        }
    }

    fn payment(engine: &Engine, n: u64) -> Vec<u64> {
        let loaded = engine.loaded();
        let (_, plan) = encode::event(loaded.program(), "payment").unwrap();
        let mut words = EventWords::new(plan, EventId([n, 0]), Time(n as i64));
        words.set_key(encode::field(plan, "card").unwrap(), Key([1, 2]));
        let dollars = crate::engine::units::Currency::from_alpha("USD").unwrap();
        words.set_money(encode::field(plan, "amount").unwrap(), 100, dollars);
        words.words().to_vec()
    }

    fn input(words: &[u64]) -> Input<'_> {
        Input { principal: 0, kind: 0, admission: Admission::Normal, received: Time(0), words }
    }

    /// Five decisions made live: frames, outcomes, digests.
    fn recorded() -> Vec<(Vec<u64>, Outcome, u64)> {
        let mut live = engine(POLICY);
        let decide = |n| {
            let words = payment(&live, n);
            let Step::Decided(outcome) = live.step(&input(&words)) else { panic!("not decided") };
            (words, outcome, live.digest())
        };
        (1..=5).map(decide).collect()
    }

    #[test]
    fn the_same_policy_decides_anew_and_must_agree() {
        let mut engine = engine(POLICY);
        let epoch = epoch_of(&engine);
        let mut replay = Replay::new(&mut engine, LIMITS);
        replay.take(&Record::Epoch(epoch)).unwrap();
        let recorded = recorded();
        for (words, outcome, digest) in &recorded {
            let decision = Decision { input: input(words), outcome: *outcome, digest: *digest };
            replay.take(&Record::Decision(decision)).unwrap();
        }
        assert_eq!(replay.done(), Replayed { epochs: 1, proved: 5, adopted: 0 });
        assert_eq!(engine.digest(), recorded[4].2);
    }

    #[test]
    fn a_difference_is_refused_with_its_sequence_number() {
        let recorded = recorded();
        let changes: [fn(&mut Outcome, &mut u64); 3] =
            [|outcome, _| outcome.score += 1, |outcome, _| outcome.seq += 1, |_, digest| *digest ^= 1];
        for change in changes {
            let mut engine = engine(POLICY);
            let epoch = epoch_of(&engine);
            let mut replay = Replay::new(&mut engine, LIMITS);
            replay.take(&Record::Epoch(epoch)).unwrap();
            let (words, mut outcome, mut digest) = recorded[0].clone();
            change(&mut outcome, &mut digest);
            let decision = Decision { input: input(&words), outcome, digest };
            let error = replay.take(&Record::Decision(decision)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("determinism broken at decision {}", outcome.seq)), "{error}");
        }
    }

    #[test]
    fn another_policy_or_other_limits_take_in_what_was_decided() {
        let stricter = POLICY.replace("n > 2", "n > 0");
        let other_limits = Limits { dedup_entries_max: 32, ..LIMITS };
        for (policy, limits) in [(stricter.as_str(), LIMITS), (POLICY, other_limits)] {
            let recorded = recorded();
            let epoch = epoch_of(&engine(POLICY));
            let mut engine = engine(policy);
            let mut replay = Replay::new(&mut engine, limits);
            replay.take(&Record::Epoch(epoch)).unwrap();
            for (words, outcome, digest) in &recorded {
                let decision = Decision { input: input(words), outcome: *outcome, digest: *digest };
                replay.take(&Record::Decision(decision)).unwrap();
            }
            assert_eq!(replay.done(), Replayed { epochs: 1, proved: 0, adopted: 5 });
            assert_eq!((engine.next_seq(), engine.digest()), (6, recorded[4].2));
            let (words, outcome, _) = &recorded[4];
            let flags = outcome.flags | crate::engine::wire::FLAG_DUPLICATE;
            assert_eq!(engine.step(&input(words)), Step::Repeated(Outcome { flags, ..*outcome }));
        }
    }

    #[test]
    fn another_meaning_or_layout_is_refused_by_name() {
        let mut engine = engine(POLICY);
        let epoch = epoch_of(&engine);
        let mut check = |record: Record<'_>, expected: &str| {
            let error = Replay::new(&mut engine, LIMITS).take(&record).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            Record::Epoch(Epoch { semantics: 99, ..epoch }),
            "semantics version 99 after decision 0; this build has version",
        );
        check(
            Record::Epoch(Epoch { layout_hash: [0xab; 32], ..epoch }),
            "other event layouts (hash abababababababab, after decision 0) than policy p declares",
        );
        let (words, outcome, digest) = &recorded()[0];
        let decision = Decision { input: input(words), outcome: *outcome, digest: *digest };
        check(Record::Decision(decision), "decision 1 comes before any epoch");
    }
}
