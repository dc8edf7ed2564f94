//! From fired rules to score, action and reasons. The order of rules never matters, except to reasons.
//!
//! 1. A rule fires when its condition is certainly true; of tables that say so, only the first row. Monitor rules are reported
//!    and have no further effect.
//! 2. What all fired rules together allow over is removed, mandatory rules excepted; the others survive.
//! 3. The score is computed from the survivors, rounded half-even and clamped to 0..=100; missing counts as 0.
//! 4. The action is the greatest of allow, the survivors' actions and the thresholds that hold.
//! 5. No rule fired, no model that the decision reads answered, and no key has history: score −1 and the `unassessed` action.
//! 6. The queues that survivors name are alerted, however the event was admitted.
//! 7. Late or shed: the `late` clause, or `unassessed` without one, and the survivors that are mandatory.
//! 8. Killed rules do not fire; the next row of their table that fits does instead. An action that was ordered for every event
//!    replaces all of this but the survivors that are mandatory, and the alerts.

use super::decode::Decoded;
use super::plan::{Decide, Event, Rule};
use super::program::ArchivedDecidePlan;
use super::units::{Action, Time, Value};
use super::vm::{Basis, execute};
use super::wire::{Admission, FLAG_ALERT, FLAG_FALLBACK, Outcome};

/// Which rules fired, and which of them were removed. Reserved once.
pub(super) struct Fired {
    /// Indexes into the program's rules.
    rules: Vec<u16>,
    /// The same rules as positions among the event's.
    positions: Vec<u16>,
    /// By index of the program; all false between decisions.
    removed: Vec<bool>,
    /// Numbers of the queues that were alerted, in ascending order.
    alerts: Vec<u16>,
}

/// What a decision depends on besides registers.
pub(super) struct Case<'a> {
    pub(super) basis: Basis<'a>,
    pub(super) event: &'a Decoded<'a>,
    pub(super) time: Time,
    pub(super) admission: Admission,
    /// What operators have ordered for every event.
    pub(super) ordered: Option<Action>,
}

impl Fired {
    pub(super) fn reserve(rules: usize, queues: usize) -> Self {
        Self {
            rules: Vec::with_capacity(rules),
            positions: Vec::with_capacity(rules),
            removed: vec![false; rules],
            alerts: Vec::with_capacity(queues),
        }
    }

    /// The rules that fired, most salient first, monitor rules included.
    pub(super) fn rules(&self) -> &[u16] {
        &self.rules
    }

    /// The queues that were alerted.
    pub(super) fn alerts(&self) -> &[u16] {
        &self.alerts
    }

    /// Forgets the event before.
    pub(super) fn clear(&mut self) {
        self.alerts.clear();
        self.rules.clear();
        self.positions.clear();
    }

    /// Notes that the rule at this position fired; true if it is not only monitored.
    pub(super) fn note(&mut self, event: &Event, position: u16) -> bool {
        let rule = &event.rules[usize::from(position)];
        self.rules.push(rule.index);
        self.positions.push(position);
        !rule.monitor
    }

    /// Decides. `unassessed`: no rule fired and there is no history.
    pub(super) fn decide(
        &mut self,
        event: &Event,
        plans: (&Decide, &ArchivedDecidePlan),
        case: &Case<'_>,
        unassessed: bool,
        registers: &mut [Value],
    ) -> Outcome {
        let (decide, archived) = plans;
        self.mark_removed(event, true);
        let mut scores = (Value::MISSING, 0);
        let (mut action, mut mandatory) = (Action::Allow, Action::None);
        let mut outcome = Outcome::default();
        let mut alerts = std::mem::take(&mut self.alerts);
        let mut reasons = 0;
        for rule in self.survivors(event) {
            if rule.score >= 0 {
                scores = (Value::int(rule.score.max(scores.0.num)), scores.1 + rule.score);
            }
            action = action.max(rule.action);
            if rule.mandatory {
                mandatory = mandatory.max(rule.action);
            }
            for queue in &rule.alerts {
                if let Err(place) = alerts.binary_search(queue) {
                    alerts.insert(place, *queue);
                }
            }
            let known = outcome.reasons[..reasons].contains(&rule.reason);
            if rule.reason != 0 && !known && reasons < outcome.reasons.len() {
                outcome.reasons[reasons] = rule.reason;
                reasons += 1;
            }
        }

        if !alerts.is_empty() {
            outcome.flags |= FLAG_ALERT;
        }
        self.alerts = alerts;
        self.mark_removed(event, false);

        let Case { basis, event: Decoded { words, presence, .. }, time, admission, ordered } = *case;
        registers[decide.rule_scores_max] = scores.0;
        registers[decide.rule_scores_sum] = Value::int(scores.1);
        execute(basis, &archived.score_code, words, *presence, time, registers);
        let score = registers[decide.score].round_half_even().unwrap_or(0).clamp(0, 100);
        registers[decide.final_score] = Value::int(score);
        let levels = decide.levels.as_ref().filter(|_| admission == Admission::Normal);
        if levels.is_none() {
            execute(basis, &archived.threshold_code, words, *presence, time, registers);
        }

        let holds = |branch: &&(usize, Action)| registers[branch.0].is_true();
        outcome.score = if unassessed { -1 } else { score as i16 };
        outcome.action = if admission != Admission::Normal {
            outcome.flags |= FLAG_FALLBACK;
            let fallback = match decide.late.iter().find(holds) {
                _ if !decide.has_late => decide.unassessed,
                Some(branch) => branch.1,
                None => decide.late_otherwise,
            };
            mandatory.max(fallback)
        } else if unassessed {
            decide.unassessed
        } else if let Some(levels) = levels {
            action.max(levels[score as usize])
        } else {
            decide.thresholds.iter().filter(holds).fold(action, |action, branch| action.max(branch.1))
        };
        if let Some(ordered) = ordered {
            outcome.action = mandatory.max(ordered);
        }
        outcome
    }

    /// Marks, or unmarks again, what the fired rules allow over.
    fn mark_removed(&mut self, event: &Event, removed: bool) {
        for &position in &self.positions {
            let rule = &event.rules[usize::from(position)];
            if !rule.monitor {
                rule.allow_over.iter().for_each(|&over| self.removed[usize::from(over)] = removed);
            }
        }
    }

    fn survivors<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Rule> {
        let fired = self.positions.iter().map(|&position| &event.rules[usize::from(position)]);
        fired.filter(|rule| !rule.monitor && (rule.mandatory || !self.removed[usize::from(rule.index)]))
    }
}
