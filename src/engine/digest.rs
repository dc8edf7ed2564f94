//! The rolling digest: one word that two engines share only if they decided everything alike.
//!
//! Features go to [`LANES`] words in turn, each a chain of its own: multiplications of one chain wait for each other, and
//! there are as many as there are features.

use super::units::{Value, mix};
use super::wire::Outcome;

const LANES: usize = 4;

/// The digest after a decision, from the one before it, the policy, the features of a judged event, and the outcome
/// (which holds the sequence number).
#[inline]
pub(super) fn roll(before: u64, policy: u64, features: &[Value], outcome: Outcome) -> u64 {
    let [seq, head, reasons, _] = outcome.to_words(0);
    let start = mix(before ^ policy, seq);
    let mut lanes = [start, !start, start.rotate_left(21), !start.rotate_left(42)];
    let (rounds, rest) = features.as_chunks::<LANES>();
    for round in rounds {
        for (lane, feature) in lanes.iter_mut().zip(round) {
            *lane = absorb(*lane, *feature);
        }
    }
    for (lane, feature) in lanes.iter_mut().zip(rest) {
        *lane = absorb(*lane, *feature);
    }
    let [first, second, third, fourth] = lanes;
    let digest = mix(mix(first, second), mix(third, fourth));
    mix(mix(digest, head), reasons)
}

#[inline(always)]
fn absorb(lane: u64, feature: Value) -> u64 {
    mix(lane ^ feature.num as u64, feature.den as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let outcome = Outcome { seq: 3, score: 50, reasons: [1, 0, 0, 0], ..Outcome::default() };
        let features = [Value::int(1), Value::MISSING];
        let digests = [
            roll(1, 2, &features, outcome),
            roll(2, 2, &features, outcome),
            roll(1, 3, &features, outcome),
            roll(1, 2, &[Value::MISSING, Value::int(1)], outcome),
            roll(1, 2, &features[..1], outcome),
            roll(1, 2, &features, Outcome { seq: 4, ..outcome }),
            roll(1, 2, &features, Outcome { score: 51, ..outcome }),
            roll(1, 2, &features, Outcome { reasons: [0, 1, 0, 0], ..outcome }),
        ];
        for (number, digest) in digests.iter().enumerate() {
            assert!(!digests[..number].contains(digest), "{number}");
        }
    }

    /// Whatever is changed in, taken from, or exchanged between features, in one lane or two.
    #[test]
    fn every_feature_counts_at_its_place() {
        let outcome = Outcome { seq: 3, ..Outcome::default() };
        let features: Vec<Value> = (0..3 * LANES as i64 + 1).map(|number| Value::ratio(number, 7)).collect();
        let mut digests = vec![roll(1, 2, &features, outcome)];
        let mut note = |features: &[Value]| digests.push(roll(1, 2, features, outcome));
        for one in 0..features.len() {
            note(&features[..one]);
            for changed in [Value::ratio(99, 7), Value { den: 8, ..features[one] }, Value::MISSING] {
                let mut features = features.clone();
                features[one] = changed;
                note(&features);
            }
            for other in 0..one {
                let mut features = features.clone();
                features.swap(one, other);
                note(&features);
            }
        }
        // Whole lanes, and what is between rounds.
        for shift in 1..features.len() {
            let mut features = features.clone();
            features.rotate_left(shift);
            note(&features);
        }
        let all = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all);
    }
}
