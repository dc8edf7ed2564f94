//! From margins to what is told: probabilities, and what calibrates them.
//!
//! `exp` is that of the pinned crate `libm`, pure Rust, so that the same margin gives the same probability on every machine;
//! the platform's own differs from one C library to the next.

use crate::model::{ArchivedLink, ArchivedModel};

/// What a model tells of this margin: NaN when there is none.
#[inline]
#[must_use]
pub fn told(model: &ArchivedModel, margin: f64) -> f64 {
    match &model.link {
        ArchivedLink::Identity => margin,
        ArchivedLink::Sigmoid(scale) => sigmoid(scale.to_native() * margin),
        ArchivedLink::Exp => libm::exp(margin),
    }
}

/// `1 ÷ (1 + exp(−x))`.
#[inline]
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    /// The same bits on every machine: this test runs under emulation too.
    #[test]
    fn probabilities_have_pinned_bits() {
        let bits = |x: f64| sigmoid(x).to_bits();
        let told: Vec<u64> = [-800.0, -37.5, -2.25, -1e-9, 0.0, 0.1, 3.0, 40.0].map(bits).to_vec();
        assert_eq!(told[4], 0.5_f64.to_bits());
        assert_eq!(told[0], 0);
        assert_eq!(told[7], 1.0_f64.to_bits());
        let digest = told.iter().fold(0_u64, |sum, bits| sum.rotate_left(7) ^ bits);
        assert_eq!(digest, DIGEST, "{told:x?}");
    }

    const DIGEST: u64 = 0;
}
