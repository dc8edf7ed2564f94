//! The slots of a bucket compared all at once, by whatever vectors the processor has.

use super::LINE_WORDS;

/// Vectors that slots are compared by.
///
/// # Safety
///
/// Whoever calls [`tagged`](Self::tagged) must have made sure that the processor has them.
pub(in crate::engine) trait Compare {
    /// Which words of a line have this tag, their upper half: bit i for word i.
    unsafe fn tagged(line: &[u64; LINE_WORDS], tag: u32) -> u32;
}

/// Which every processor that this is compiled for has.
#[cfg(target_arch = "aarch64")]
pub(in crate::engine) type Here = Neon;
#[cfg(target_arch = "x86_64")]
pub(in crate::engine) type Here = Sse2;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(in crate::engine) type Here = Portable;

/// Word by word.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(in crate::engine) struct Portable;

#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
impl Portable {
    pub(super) fn high(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
        Self::bits(line.map(|word| (word >> 32) as u32 == wanted))
    }

    pub(super) fn low(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
        Self::bits(line.map(|word| word as u32 == wanted))
    }

    fn bits(of: [bool; LINE_WORDS]) -> u32 {
        of.iter().rev().fold(0, |bits, &bit| bits << 1 | u32::from(bit))
    }
}

#[cfg(target_arch = "x86_64")]
pub(in crate::engine) use x86::{Avx2, Avx512, Sse2};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Compare, LINE_WORDS};
    use std::arch::x86_64::*;

    /// Is part of x86-64.
    pub(in crate::engine) struct Sse2;
    pub(in crate::engine) struct Avx2;
    /// Its foundation.
    pub(in crate::engine) struct Avx512;

    /// Of two vectors of four halves, the first and third of each, or the second and fourth.
    const LOW: i32 = 0b10_00_10_00;
    const HIGH: i32 = 0b11_01_11_01;

    impl Sse2 {
        #[inline]
        pub(in crate::engine::index) fn high(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            Self::equal::<HIGH>(line, wanted)
        }

        #[inline]
        pub(in crate::engine::index) fn low(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            Self::equal::<LOW>(line, wanted)
        }

        #[inline(always)]
        fn equal<const HALF: i32>(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            // SAFETY: SSE2 is part of x86-64, and two words are as long as a vector.
            unsafe {
                let wanted = _mm_set1_epi32(wanted.cast_signed());
                let load = |word: usize| _mm_loadu_ps(line[word..word + 2].as_ptr().cast());
                let four = |one: __m128, two: __m128| {
                    let halves = _mm_castps_si128(_mm_shuffle_ps::<HALF>(one, two));
                    _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(halves, wanted))).cast_unsigned()
                };
                four(load(0), load(2)) | four(load(4), load(6)) << 4
            }
        }
    }

    impl Compare for Sse2 {
        #[inline(always)]
        unsafe fn tagged(line: &[u64; LINE_WORDS], tag: u32) -> u32 {
            Self::high(line, tag)
        }
    }

    impl Compare for Avx2 {
        #[inline(always)]
        unsafe fn tagged(line: &[u64; LINE_WORDS], tag: u32) -> u32 {
            let (first, second) = line.split_at(LINE_WORDS / 2);
            // SAFETY: the caller has made sure of the instructions, and four words are as long as a vector.
            unsafe {
                let tag = _mm256_set1_epi32(tag.cast_signed());
                // The sign of each word is that of its upper half.
                let first = _mm256_cmpeq_epi32(_mm256_loadu_si256(first.as_ptr().cast()), tag);
                let second = _mm256_cmpeq_epi32(_mm256_loadu_si256(second.as_ptr().cast()), tag);
                let first = _mm256_movemask_pd(_mm256_castsi256_pd(first)).cast_unsigned();
                first | _mm256_movemask_pd(_mm256_castsi256_pd(second)).cast_unsigned() << 4
            }
        }
    }

    impl Compare for Avx512 {
        #[inline(always)]
        unsafe fn tagged(line: &[u64; LINE_WORDS], tag: u32) -> u32 {
            // SAFETY: the caller has made sure of the instructions, and a line is as long as a vector.
            unsafe {
                let tags = _mm512_srli_epi64::<32>(_mm512_loadu_si512(line.as_ptr().cast()));
                u32::from(_mm512_cmpeq_epi64_mask(tags, _mm512_set1_epi64(i64::from(tag))))
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(in crate::engine) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Compare, LINE_WORDS};
    use std::arch::aarch64::{vaddvq_u32, vandq_u32, vceqq_u32, vdupq_n_u32, vld1q_u32, vld2q_u32};

    /// Every processor that this target means has it. Its loads take low and high halves apart.
    pub(in crate::engine) struct Neon;

    /// What each lane adds to the answer.
    const BITS: [u32; 4] = [1, 2, 4, 8];

    impl Neon {
        #[inline]
        pub(in crate::engine::index) fn high(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            Self::equal::<true>(line, wanted)
        }

        #[inline]
        pub(in crate::engine::index) fn low(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            Self::equal::<false>(line, wanted)
        }

        #[inline(always)]
        fn equal<const HIGH: bool>(line: &[u64; LINE_WORDS], wanted: u32) -> u32 {
            // SAFETY: NEON is part of every processor that this target means, and four words are as long as two vectors.
            unsafe {
                let (wanted, bits) = (vdupq_n_u32(wanted), vld1q_u32(BITS.as_ptr()));
                let four = |word: usize| {
                    let pair = vld2q_u32(line[word..word + 4].as_ptr().cast());
                    let halves = if HIGH { pair.1 } else { pair.0 };
                    vaddvq_u32(vandq_u32(vceqq_u32(halves, wanted), bits))
                };
                four(0) | four(4) << 4
            }
        }
    }

    impl Compare for Neon {
        #[inline(always)]
        unsafe fn tagged(line: &[u64; LINE_WORDS], tag: u32) -> u32 {
            Self::high(line, tag)
        }
    }
}
