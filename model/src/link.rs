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
        for (margin, bits) in [
            (-800.0, 0),
            (-37.5, 0x3c8d_d5c5_6630_1ec8),
            (-2.25, 0x3fb8_68d2_916e_ca5b),
            (-1e-9, 0x3fdf_ffff_ffbb_47d0),
            (0.0, 0x3fe0_0000_0000_0000),
            (0.1, 0x3fe0_cca1_2729_afb8),
            (3.0, 0x3fee_7b7c_bc36_fabd),
            (40.0, 0x3ff0_0000_0000_0000),
        ] {
            assert_eq!(sigmoid(margin).to_bits(), bits, "of {margin}: {}", sigmoid(margin));
        }
    }
}
