//! The vectors of 64-bit ARM.

#[cfg(test)]
use super::AddUp;
use super::abreast::Abreast;
use super::many::{self, Added, Ends, Pass, Ways};
use super::{BIAS, Few, Kernel, Numbers, UpToFour, Vector, add_vectors, direct};
use std::arch::aarch64::*;

/// Every processor of this architecture has NEON.
pub(super) const NEON: Kernel = Kernel {
    // SAFETY: as said.
    add: |task, block, sums| unsafe { add_vectors::<uint64x2_t>(task, block, sums) },
    few,
    direct: direct::run::<Abreast<uint64x2_t, 2>>,
    #[cfg(test)]
    in_record: Abreast::<uint64x2_t, 2>::add_up,
};

#[inline(never)]
unsafe fn pass<const WINDOWS: usize, const ASKED: u8, const TOLD: u8, const ALL: bool>(
    few: &Few<'_>,
    ends: &Ends,
    pass: &Pass,
    numbers: &mut [Numbers],
) -> Added {
    // SAFETY: as the caller has made sure.
    unsafe { many::add::<uint64x2_t, WINDOWS, ASKED, TOLD, ALL>(few, ends, pass, numbers) }
}

unsafe fn few(few: &Few<'_>, numbers: &mut [Numbers]) -> bool {
    static WAYS: Ways = many::ways!(pass);
    // SAFETY: as the caller has made sure.
    unsafe { many::few_by(&WAYS, few, numbers) }
}

// SAFETY (of all below): see `Vector`.
#[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
impl Vector for uint64x2_t {
    const ROWS: usize = 2;
    /// All bits of a number that is meant.
    type Mask = Self;

    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        vdupq_n_u64(word)
    }
    #[inline(always)]
    unsafe fn some(bits: u64) -> Self {
        let each = |bit: u64| vcreate_u64((bits >> bit & 1).wrapping_neg());
        vcombine_u64(each(0), each(1))
    }
    #[inline(always)]
    unsafe fn bits(mask: Self) -> u64 {
        vgetq_lane_u64::<0>(mask) & 1 | vgetq_lane_u64::<1>(mask) & 2
    }
    #[inline(always)]
    unsafe fn load(mask: Self, at: *const u64) -> Self {
        let word = |meant: u64, place: usize| if meant == 0 { 0 } else { *at.add(place) };
        let first = word(vgetq_lane_u64::<0>(mask), 0);
        let second = word(vgetq_lane_u64::<1>(mask), 1);
        vcombine_u64(vcreate_u64(first), vcreate_u64(second))
    }
    #[inline(always)]
    unsafe fn up_to(self, mask: Self, most: Self) -> Self {
        vandq_u64(mask, vcleq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(most)))
    }
    #[inline(always)]
    unsafe fn above(self, mask: Self, least: Self) -> Self {
        vandq_u64(mask, vcgtq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(least)))
    }
    #[inline(always)]
    unsafe fn having(self, mask: Self, bits: Self) -> Self {
        vandq_u64(mask, vceqq_u64(vandq_u64(self, bits), bits))
    }
    #[inline(always)]
    unsafe fn lacking(self, mask: Self, bits: Self) -> Self {
        vandq_u64(mask, vbicq_u64(bits, self))
    }
    #[inline(always)]
    unsafe fn plus(self, mask: Self, others: Self) -> Self {
        vaddq_u64(self, vandq_u64(mask, others))
    }
    #[inline(always)]
    unsafe fn low_half(self) -> Self {
        vandq_u64(self, vdupq_n_u64(0xffff_ffff))
    }
    #[inline(always)]
    unsafe fn high_half(self) -> Self {
        vreinterpretq_u64_s64(vshrq_n_s64::<32>(vreinterpretq_s64_u64(self)))
    }
    #[inline(always)]
    unsafe fn lesser(self, mask: Self, others: Self) -> Self {
        let lesser = vcgtq_s64(vreinterpretq_s64_u64(self), vreinterpretq_s64_u64(others));
        vbslq_u64(vandq_u64(mask, lesser), others, self)
    }
    #[inline(always)]
    unsafe fn greater(self, mask: Self, others: Self) -> Self {
        let greater = vcgtq_s64(vreinterpretq_s64_u64(others), vreinterpretq_s64_u64(self));
        vbslq_u64(vandq_u64(mask, greater), others, self)
    }
    #[inline(always)]
    unsafe fn totals(self, other: Self) -> [u64; 2] {
        [vaddvq_u64(self), vaddvq_u64(other)]
    }
    #[inline(always)]
    unsafe fn least(self) -> i64 {
        (vgetq_lane_u64::<0>(self) as i64).min(vgetq_lane_u64::<1>(self) as i64)
    }
    #[inline(always)]
    unsafe fn greatest(self) -> i64 {
        (vgetq_lane_u64::<0>(self) as i64).max(vgetq_lane_u64::<1>(self) as i64)
    }
    #[inline(always)]
    unsafe fn one_more(self, mask: Self) -> Self {
        vsubq_u64(self, mask)
    }
    #[inline(always)]
    unsafe fn or(self, others: Self) -> Self {
        vorrq_u64(self, others)
    }
    #[inline(always)]
    unsafe fn any_has(self, bits: Self) -> bool {
        let both = vandq_u64(self, bits);
        vgetq_lane_u64::<0>(both) | vgetq_lane_u64::<1>(both) != 0
    }
}

// SAFETY (of all below): see `UpToFour`.
#[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
impl UpToFour for uint64x2_t {
    #[inline(always)]
    unsafe fn splat_at(place: *const u64) -> Self {
        vld1q_dup_u64(place)
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [i64; 4], first: usize) {
        to[first] = vgetq_lane_u64::<0>(self) as i64;
        to[first + 1] = vgetq_lane_u64::<1>(self) as i64;
    }
    #[inline(always)]
    unsafe fn and(self, others: Self) -> Self {
        vandq_u64(self, others)
    }
    #[inline(always)]
    unsafe fn all_have(self, bits: Self) -> bool {
        let missing = vbicq_u64(bits, self);
        vgetq_lane_u64::<0>(missing) | vgetq_lane_u64::<1>(missing) == 0
    }
    #[inline(always)]
    unsafe fn minus(self, others: Self) -> Self {
        vsubq_u64(self, others)
    }
    #[inline(always)]
    unsafe fn biases(self) -> Self {
        vshlq_n_u64::<{ BIAS.trailing_zeros() as i32 }>(self)
    }
    #[inline(always)]
    unsafe fn greater_of(self, others: Self) -> Self {
        vreinterpretq_u64_f64(vmaxq_f64(vreinterpretq_f64_u64(self), vreinterpretq_f64_u64(others)))
    }
    #[inline(always)]
    unsafe fn load_all(at: *const u64) -> Self {
        vld1q_u64(at)
    }
    #[inline(always)]
    unsafe fn turned(vectors: &[Self], greatest: bool) -> Self {
        let (one, two) = (vectors[0], vectors[1]);
        if greatest {
            let (one, two) = (vreinterpretq_f64_u64(one), vreinterpretq_f64_u64(two));
            vreinterpretq_u64_f64(vpmaxq_f64(one, two))
        } else {
            vpaddq_u64(one, two)
        }
    }
}
