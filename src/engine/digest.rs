//! The rolling digest: one word that two engines share only if they decided everything alike.

use super::units::{Value, mix};
use super::wire::Outcome;

/// The digest after a decision, from the one before it, the policy, the features of a judged event, and the outcome
/// (which holds the sequence number).
#[inline]
pub(super) fn roll(before: u64, policy: u64, features: &[Value], outcome: Outcome) -> u64 {
    let [seq, head, reasons, _] = outcome.to_words(0);
    let mut digest = mix(before ^ policy, seq);
    for feature in features {
        digest = mix(digest ^ feature.num as u64, digest.rotate_left(32) ^ feature.den as u64);
    }
    mix(mix(digest, head), reasons)
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
}
