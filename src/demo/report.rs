//! What the simulated switch tells its parent, one JSON object a line, and how a person sees it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line from the switch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Progress(Progress),
    Summary(Summary),
}

/// The last second.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) second: u64,
    /// Simulated time, e.g. `day 2 14:05`.
    pub(super) simulated: String,
    pub(super) events: u64,
    pub(super) actions: BTreeMap<String, u64>,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) max_ns: u64,
}

/// The whole run, as the switch saw it. Payments are judged; results, labels and password changes are acknowledged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) seconds: f64,
    /// Events sent, of all kinds.
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) unanswered: u64,
    /// Frames that the appliance refused.
    pub(super) refused: u64,
    pub(super) payments: u64,
    /// Verdicts on payments.
    pub(super) actions: BTreeMap<String, u64>,
    /// Of the payments that were challenged, held or blocked, how many were fraud.
    pub(super) precision: f64,
    /// Of the fraudulent payments, how many were challenged, held or blocked.
    pub(super) recall: f64,
    /// (fraudulent payments, caught), by shape of fraud.
    pub(super) frauds: BTreeMap<String, (u64, u64)>,
    /// From the intended send time to the verdict's arrival.
    pub(super) rtt_ns: Percentiles,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) p9999: u64,
    pub(super) max: u64,
}

/// `1 234 567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds in the unit that suits them.
pub(super) fn span(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

impl Progress {
    pub(super) fn render(&self) -> String {
        let total: u64 = self.actions.values().sum();
        let mut text =
            format!("{:>4} s  {}  {:>7} events/s ", self.second, self.simulated, grouped(self.events));
        for action in ["allow", "challenge", "review", "block"] {
            let share = *self.actions.get(action).unwrap_or(&0) as f64 * 100.0 / total.max(1) as f64;
            text.push_str(&format!(" {action} {share:.2}%"));
        }
        text.push_str(&format!(
            "  rtt p50 {}  p99 {}  max {}",
            span(self.p50_ns),
            span(self.p99_ns),
            span(self.max_ns)
        ));
        text
    }
}

impl Summary {
    pub(super) fn render(&self) -> String {
        let mut text = format!(
            "\n{} events in {:.1} s: {} payments judged, {} other events taken in, {} refused, {} unanswered\n",
            grouped(self.sent),
            self.seconds,
            grouped(self.payments),
            grouped(self.sent - self.payments.min(self.sent)),
            grouped(self.refused),
            grouped(self.unanswered),
        );
        let total: u64 = self.actions.values().sum();
        for action in ["allow", "challenge", "review", "block"] {
            let count = *self.actions.get(action).unwrap_or(&0);
            let share = count as f64 * 100.0 / total.max(1) as f64;
            text.push_str(&format!("  {action:<10} {:>12}  {share:6.2} %\n", grouped(count)));
        }
        text.push_str(&format!("precision {:.3}   recall {:.3}\n", self.precision, self.recall));
        for (fraud, (all, caught)) in &self.frauds {
            let share = *caught as f64 * 100.0 / (*all).max(1) as f64;
            text.push_str(&format!("  {fraud:<20} {:>8} payments, {share:5.1} % caught\n", grouped(*all)));
        }
        let rtt = &self.rtt_ns;
        text.push_str(&format!(
            "round trip from the intended send time: p50 {}  p99 {}  p99.9 {}  p99.99 {}  max {}",
            span(rtt.p50),
            span(rtt.p99),
            span(rtt.p999),
            span(rtt.p9999),
            span(rtt.max)
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(span(999), "999 ns");
        assert_eq!(span(12_340), "12.3 µs");
    }
}
