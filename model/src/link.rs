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

/// Whether floating point is as everything here takes it to be: rounded to nearest, ties to even, and no number next to
/// zero taken for zero. A thread that has loaded a library compiled for speed may have it otherwise.
#[must_use]
pub fn is_ieee() -> bool {
    use std::hint::black_box;
    let half_step = black_box(f64::EPSILON / 2.0);
    let (one, least) = (black_box(1.0_f64), black_box(f64::MIN_POSITIVE));
    let ties_to_even = one + half_step == 1.0 && -one - half_step == -1.0;
    let nearest = one + half_step * black_box(1.5) > 1.0 && one + half_step * black_box(0.5) == 1.0;
    let gradual = black_box(least / black_box(2.0)) > 0.0 && black_box(5e-324_f64) * black_box(2.0) > 0.0;
    ties_to_even && nearest && gradual && black_box(f32::MIN_POSITIVE) / black_box(2.0) > 0.0
}

#[cfg(test)]
mod tests {
    use super::{is_ieee, sigmoid};

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

    #[test]
    fn floating_point_is_as_it_should_be_and_it_is_seen_when_not() {
        assert!(is_ieee());
        #[cfg(target_arch = "x86_64")]
        for changed in [0x6000, 0x2000, 0x4000, 0x8000, 0x0040] {
            // Rounding to zero, down or up; flushing results or operands to zero.
            let mut control = 0_u32;
            // SAFETY: the control word is put back before anything else is computed.
            unsafe {
                std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control);
                let other = control & !0x6000 | changed;
                std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const other);
            }
            let seen = is_ieee();
            // SAFETY: as it was.
            unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control) };
            assert!(!seen, "{changed:#x}");
        }
    }
}
