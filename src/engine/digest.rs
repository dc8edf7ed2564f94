//! The rolling digest: one word that two engines share only if they decided everything alike.
//!
//! It is made of rounds of AES, which processors have an instruction for; here they mix, and keep no secret. Features go to
//! [`LANES`] blocks in turn, each a chain of its own, as a round waits for the one before it in its chain. A round takes a byte to four,
//! and another takes these to all sixteen: with two rounds for each value, whatever differs has spread over the entire block before
//! the next value of the lane can cancel it.
//!
//! What a round is, FIPS 197 (section 5.1) says byte by byte. So the digest is the same bits on every processor, with or without
//! such an instruction.

use super::units::Value;
use super::wire::Outcome;

/// So many rounds are under way at once in processors that begin two a cycle and end them four cycles later.
const LANES: usize = 8;

/// The digits of π after the point, as 64-bit words: nobody chose them.
const PI: [u64; 2 * LANES + 2] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6c,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
    0x9216_d5d9_8979_fb1b,
    0xd131_0ba6_98df_b5ac,
    0x2ffd_72db_d01a_dfb7,
    0xb8e1_afed_6a26_7e96,
    0xba7c_9045_f12c_7f99,
    0x24a1_9947_b391_6cf7,
    0x0801_f2e2_858e_fc16,
    0x6369_20d8_7157_4e69,
    0xa458_fea3_f493_3d7e,
    0x0d95_748f_728e_b658,
];

/// From here on up the word of the sequence number, which does not come so far, has the number of features.
const COUNT_SHIFT: u32 = 48;

const _: () = assert!(super::program::REGISTERS_MAX < 1 << (u64::BITS - COUNT_SHIFT));

/// 128 bits: the state of AES.
trait Block: Copy {
    /// Of two words: the low one is bytes 0 to 7, the lowest first.
    ///
    /// # Safety
    ///
    /// Here and below: the processor must have the instructions that the kind of block takes.
    unsafe fn of(low: u64, high: u64) -> Self;
    /// Numerator, then denominator.
    unsafe fn load(value: &Value) -> Self;
    /// One round: SubBytes, ShiftRows, MixColumns, AddRoundKey.
    unsafe fn round(self, key: Self) -> Self;
    /// See [`of`](Self::of).
    unsafe fn words(self) -> [u64; 2];
}

/// A block of the digits: one for each lane to begin with, and last the key that values are absorbed by.
///
/// # Safety
///
/// See [`Block`].
#[inline(always)]
unsafe fn digits<B: Block>(number: usize) -> B {
    // SAFETY: the caller's.
    unsafe { B::of(PI[2 * number], PI[2 * number + 1]) }
}

/// Takes a block into another, which then is of both. Not the same the other way round.
///
/// # Safety
///
/// See [`Block`].
#[inline(always)]
unsafe fn absorb<B: Block>(into: B, block: B) -> B {
    // SAFETY: the caller's.
    unsafe { into.round(block).round(digits(LANES)) }
}

/// See [`Roller::roll`].
///
/// # Safety
///
/// See [`Block`].
#[inline(always)]
unsafe fn roll_by<B: Block>(from: u64, seq: u64, features: &[Value], head: u64, reasons: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        let start = B::of(from, seq ^ (features.len() as u64) << COUNT_SHIFT);
        let mut lanes = [start; LANES];
        for (number, lane) in lanes.iter_mut().enumerate() {
            *lane = start.round(digits(number));
        }
        let (rows, rest) = features.as_chunks::<LANES>();
        for row in rows {
            for (lane, value) in lanes.iter_mut().zip(row) {
                *lane = absorb(*lane, B::load(value));
            }
        }
        // All lanes are gone through, as far as the compiler sees: so each stays in a register of its own.
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some(value) = rest.get(number) else { break };
            *lane = absorb(*lane, B::load(value));
        }
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] = absorb(lanes[lane], lanes[lane + half]);
            }
            half /= 2;
        }
        let all = absorb(lanes[0], B::of(head, reasons));
        let [low, high] = all.round(digits(LANES)).round(digits(LANES)).words();
        low ^ high
    }
}

/// A way to roll that this processor can go; all come to the same.
#[derive(Clone, Copy)]
pub(super) struct Roller(unsafe fn(u64, u64, &[Value], u64, u64) -> u64);

impl Roller {
    /// The digest after a decision, from the one before it, the policy, the features of a judged event, and the outcome
    /// (which holds the sequence number).
    #[inline(always)]
    pub(super) fn roll(self, before: u64, policy: u64, features: &[Value], outcome: Outcome) -> u64 {
        let [seq, head, reasons, _] = outcome.to_words(0);
        // SAFETY: `all` makes these only where the instructions are.
        unsafe { (self.0)(before ^ policy, seq, features, head, reasons) }
    }
}

/// The best that this processor can go.
pub(super) fn best() -> Roller {
    all().last().map_or(PORTABLE, |&(_, roller)| roller)
}

/// All that this processor can go, and what they are called; the best last.
fn all() -> Vec<(&'static str, Roller)> {
    #[allow(unused_mut, reason = "where there is only the portable one")]
    let mut all = vec![("portable", PORTABLE)];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx") {
        all.push(("aes", x86::AES));
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("aes") {
        all.push(("aes", arm::AES));
    }
    all
}

/// Nothing is asked of the processor.
const PORTABLE: Roller = Roller(roll_by::<Bytes>);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Block, Roller, Value, roll_by};
    use std::arch::x86_64::*;

    pub(super) const AES: Roller = Roller(roll);

    /// With AVX, a round takes its key from memory wherever it is.
    #[target_feature(enable = "aes,avx")]
    fn roll(from: u64, seq: u64, features: &[Value], head: u64, reasons: u64) -> u64 {
        // SAFETY: these are the instructions of the block.
        unsafe { roll_by::<__m128i>(from, seq, features, head, reasons) }
    }

    // SAFETY (of all below): see `Block`; a value is as long as a block.
    #[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for one or two instructions")]
    impl Block for __m128i {
        #[inline(always)]
        unsafe fn of(low: u64, high: u64) -> Self {
            _mm_set_epi64x(high as i64, low as i64)
        }
        #[inline(always)]
        unsafe fn load(value: &Value) -> Self {
            _mm_loadu_si128(std::ptr::from_ref(value).cast())
        }
        #[inline(always)]
        unsafe fn round(self, key: Self) -> Self {
            _mm_aesenc_si128(self, key)
        }
        #[inline(always)]
        unsafe fn words(self) -> [u64; 2] {
            [_mm_cvtsi128_si64(self) as u64, _mm_cvtsi128_si64(_mm_unpackhi_epi64(self, self)) as u64]
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Block, Roller, Value, roll_by};
    use std::arch::aarch64::*;

    pub(super) const AES: Roller = Roller(roll);

    #[target_feature(enable = "aes")]
    fn roll(from: u64, seq: u64, features: &[Value], head: u64, reasons: u64) -> u64 {
        // SAFETY: these are the instructions of the block.
        unsafe { roll_by::<uint8x16_t>(from, seq, features, head, reasons) }
    }

    // SAFETY (of all below): see `Block`.
    #[allow(unsafe_op_in_unsafe_fn, reason = "each is a name for a few instructions")]
    impl Block for uint8x16_t {
        #[inline(always)]
        unsafe fn of(low: u64, high: u64) -> Self {
            vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)))
        }
        #[inline(always)]
        unsafe fn load(value: &Value) -> Self {
            vreinterpretq_u8_s64(vld1q_s64(std::ptr::from_ref(value).cast()))
        }
        /// The instruction adds a key before the other steps, as the round before does in AES: here none.
        #[inline]
        #[target_feature(enable = "aes")]
        unsafe fn round(self, key: Self) -> Self {
            veorq_u8(vaesmcq_u8(vaeseq_u8(self, vdupq_n_u8(0))), key)
        }
        #[inline(always)]
        unsafe fn words(self) -> [u64; 2] {
            let words = vreinterpretq_u64_u8(self);
            [vgetq_lane_u64::<0>(words), vgetq_lane_u64::<1>(words)]
        }
    }
}

/// Numerator and denominator are a block as they are.
const _: () = assert!(
    size_of::<Value>() == 16
        && std::mem::offset_of!(Value, num) == 0
        && std::mem::offset_of!(Value, den) == 8
);

/// Four columns of four bytes.
#[derive(Clone, Copy)]
struct Bytes([u8; 16]);

// SAFETY (of all below): they are safe.
impl Block for Bytes {
    #[inline]
    unsafe fn of(low: u64, high: u64) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }
    #[inline]
    unsafe fn load(value: &Value) -> Self {
        // SAFETY: it is safe here.
        unsafe { Self::of(value.num as u64, value.den as u64) }
    }
    #[inline]
    unsafe fn round(self, key: Self) -> Self {
        let mut next = key.0;
        for (at, byte) in next.iter_mut().enumerate() {
            let (column, row) = (at / 4, at % 4);
            // What is in this row of the column, and of those rows after it, once rows were shifted.
            let shifted = |down: usize| {
                let row = (row + down) % 4;
                SUBSTITUTES[usize::from(self.0[(column + row) % 4 * 4 + row])]
            };
            *byte ^= double(shifted(0)) ^ double(shifted(1)) ^ shifted(1) ^ shifted(2) ^ shifted(3);
        }
        Self(next)
    }
    #[inline]
    unsafe fn words(self) -> [u64; 2] {
        let all = u128::from_le_bytes(self.0);
        [all as u64, (all >> 64) as u64]
    }
}

/// What SubBytes puts in a byte's place: its inverse in the field of 256, as bits of a vector, times a matrix, plus 0x63.
const SUBSTITUTES: [u8; 256] = {
    // Zero has no inverse, and stays zero.
    let mut substitutes = [0x63; 256];
    // All others are powers of 3, and 0xf6 is its inverse.
    let (mut power, mut inverse) = (1_u8, 1_u8);
    let mut count = 0;
    while count < 255 {
        let sum = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        substitutes[power as usize] = sum ^ 0x63;
        power ^= double(power);
        inverse = product(inverse, 0xf6);
        count += 1;
    }
    substitutes
};

/// Twice a number of the field.
const fn double(byte: u8) -> u8 {
    (byte << 1) ^ ((byte >> 7) * 0x1b)
}

const fn product(mut one: u8, mut other: u8) -> u8 {
    let mut sum = 0;
    while other != 0 {
        sum ^= one * (other & 1);
        one = double(one);
        other >>= 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::units::mix;
    use super::*;

    const GOLDEN: [u64; 2] = [0xb4fb_fff2_4f9d_4a75, 0x772d_e601_9387_a93c];

    /// A value, and the next of a row of random ones.
    fn value(random: &mut u64) -> Value {
        *random = mix(*random, 1);
        match *random % 8 {
            0 => Value::MISSING,
            1 => Value { num: *random as i64, den: mix(*random, 2) as i64 },
            _ => Value::ratio((*random >> 40) as i64, (*random >> 3 & 0xff) as i64),
        }
    }

    /// Appendix B of FIPS 197: the first round of its example.
    #[test]
    fn a_round_is_that_of_aes() {
        /// # Safety
        ///
        /// See [`Block`].
        unsafe fn check<B: Block>() {
            let block = |digits: u128| {
                let digits = digits.swap_bytes();
                // SAFETY: the caller's.
                unsafe { B::of(digits as u64, (digits >> 64) as u64) }
            };
            let state = block(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808);
            let key = block(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605);
            // SAFETY: the caller's.
            unsafe {
                let next = block(0xa49c_7ff2_689f_352b_6b5b_ea43_026a_5049);
                assert_eq!(state.round(key).words(), next.words());
                let [low, high] = state.words();
                let value = Value { num: low as i64, den: high as i64 };
                assert_eq!(B::load(&value).round(key).words(), next.words());
            }
        }
        // SAFETY: the portable one asks for nothing, and the other is there.
        unsafe {
            check::<Bytes>();
            if all().len() > 1 {
                #[cfg(target_arch = "x86_64")]
                check::<std::arch::x86_64::__m128i>();
                #[cfg(target_arch = "aarch64")]
                check::<std::arch::aarch64::uint8x16_t>();
            }
        }
    }

    #[test]
    fn all_ways_come_to_the_same() {
        let mut random = 1;
        for count in 0..=100 {
            let features: Vec<Value> = (0..count).map(|_| value(&mut random)).collect();
            let [before, policy, seq, reasons] = [3, 4, 5, 6].map(|number| mix(random, number));
            let reasons = [0, 16, 32, 48].map(|shift| (reasons >> shift) as u16);
            let outcome = Outcome { seq, score: seq as i16, reasons, ..Outcome::default() };
            let portable = PORTABLE.roll(before, policy, &features, outcome);
            for (name, roller) in all() {
                assert_eq!(
                    roller.roll(before, policy, &features, outcome),
                    portable,
                    "{name}, {count} features"
                );
            }
        }
    }

    /// Journals hold digests: where this changes, the version of the semantics has to.
    #[test]
    fn it_is_what_it_was() {
        let outcome =
            Outcome { seq: 3, score: 50, policy_revision: 7, reasons: [1, 2, 3, 4], ..Outcome::default() };
        let features: Vec<Value> = (0..21).map(|number| Value::ratio(number * number - 50, number)).collect();
        for (name, roller) in all() {
            let digests = [&features[..], &[]].map(|features| roller.roll(1, 2, features, outcome));
            assert_eq!(digests, GOLDEN, "{name}");
        }
    }

    #[test]
    fn every_part_counts() {
        all().into_iter().for_each(|(name, roller)| check_parts(name, roller));
    }

    fn check_parts(name: &str, roller: Roller) {
        let roll =
            |before, policy, features: &[Value], outcome| roller.roll(before, policy, features, outcome);
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
            assert!(!digests[..number].contains(digest), "{name}, {number}");
        }
    }

    /// Whatever is changed in, taken from, or exchanged between features, in one lane or two.
    #[test]
    fn every_feature_counts_at_its_place() {
        all().into_iter().for_each(|(name, roller)| check_places(name, roller));
    }

    fn check_places(name: &str, roller: Roller) {
        let outcome = Outcome { seq: 3, ..Outcome::default() };
        let features: Vec<Value> = (0..3 * LANES as i64 + 1).map(|number| Value::ratio(number, 7)).collect();
        let mut digests = vec![roller.roll(1, 2, &features, outcome)];
        let mut note = |features: &[Value]| digests.push(roller.roll(1, 2, features, outcome));
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
        assert_eq!(digests.len(), all, "{name}");
    }
}
