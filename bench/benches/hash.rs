//! The hashes of an event's five keys: one by one, as the engine makes them, and by vectors of keys.
//!
//! What a line tells is the time of a burst of 64 events, 320 keys. Both read the keys where events have them, and write a bucket
//! and a tag for each where looking ahead wants them. The vectors are given the best case there is: all events are of one kind and
//! have all keys, so that the keys of one kind can be put side by side, and seed and number of buckets are the same in
//! all of a vector.
//! [Decision 36](../../docs/decisions/0036-keys-are-hashed-one-by-one.md) says what came of it.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::engine::units::mix;

const EVENTS: usize = 64;
const KEYS: usize = 5;
/// Words of an event, and which of them the first key is at.
const WORDS: usize = 24;
const FIRST: usize = 3;

/// What keys of one kind are hashed with.
#[derive(Clone, Copy)]
struct Kind {
    seed: u64,
    buckets: u64,
}

/// As looking ahead has it for each key.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[repr(C)]
struct Sight {
    /// The bucket + 1, and above it the tag.
    start: [u32; 2],
    kind: u32,
    record: u32,
}

type Events = [[u64; WORDS]; EVENTS];
type Sights = [[Sight; KEYS]; EVENTS];

/// Keys of one kind side by side, as their events have them.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Column([[u64; 2]; EVENTS]);

#[inline(never)]
fn one_by_one(events: &Events, kinds: &[Kind; KEYS], sights: &mut Sights) {
    for (event, sights) in events.iter().zip(sights) {
        for (key, (sight, kind)) in sights.iter_mut().zip(kinds).enumerate() {
            let words = &event[FIRST + 2 * key..][..2];
            let hash = mix(mix(words[0] ^ kind.seed, words[1]), kind.seed);
            let bucket = ((u128::from(hash) * u128::from(kind.buckets)) >> 64) as u32;
            *sight = Sight { start: [bucket + 1, hash as u32], kind: key as u32, record: 0 };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::{Column, EVENTS, Events, FIRST, KEYS, Kind, Sight, Sights};
    use std::arch::x86_64::*;

    /// What both widths do in the same way: `$two` takes the first and the second words of keys apart, `$low` has the lower
    /// half of one and the lower half of another above it.
    macro_rules! by_columns {
        ($name:ident, $features:literal, $vector:ty, $splat:ident, $xor:ident, $add:ident, $mul:ident, $above:ident,
         $turn:ident, $store:ident, $two:ident, $join:ident) => {
            /// # Safety
            ///
            /// The processor must have these instructions.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(
                events: &Events,
                kinds: &[Kind; KEYS],
                sights: &mut Sights,
                columns: &mut [Column; KEYS],
            ) {
                const WIDTH: usize = size_of::<$vector>() / 8;
                for (event, at) in events.iter().zip(0..) {
                    for (key, column) in columns.iter_mut().enumerate() {
                        column.0[at] = [event[FIRST + 2 * key], event[FIRST + 2 * key + 1]];
                    }
                }
                /// Upper and lower words of products of 64 bits, from products of 32.
                #[target_feature(enable = $features)]
                #[inline]
                fn product(one: $vector, two: $vector) -> ($vector, $vector) {
                    let (one_above, two_above) = ($above::<32>(one), $above::<32>(two));
                    let lowest = $mul(one, two);
                    let middle = $add($mul(one, two_above), $above::<32>(lowest));
                    let other = $add($mul(one_above, two), $join(middle, $splat(0)));
                    let upper = $add($mul(one_above, two_above), $above::<32>(middle));
                    ($add(upper, $above::<32>(other)), $join(lowest, other))
                }
                #[target_feature(enable = $features)]
                #[inline]
                fn mix(one: $vector, two: $vector) -> $vector {
                    let (upper, lower) = product(
                        $xor(one, $splat(0xa076_1d64_78bd_642f_u64 as i64)),
                        $xor(two, $splat(0xe703_7ed1_a0b4_28db_u64 as i64)),
                    );
                    $xor($xor(upper, lower), $xor($turn::<0b10_11_00_01>(one), two))
                }
                for (key, (column, kind)) in columns.iter().zip(kinds).enumerate() {
                    let (seed, buckets) = ($splat(kind.seed as i64), $splat(kind.buckets as i64));
                    for first in (0..EVENTS).step_by(WIDTH) {
                        // SAFETY: so many keys are there from `first` on.
                        let (one, two) = unsafe { $two(column.0[first..first + WIDTH].as_ptr().cast()) };
                        let hash = mix(mix($xor(one, seed), two), seed);
                        let bucket = $add(product(hash, buckets).0, $splat(1));
                        let mut starts = [[0_u32; 2]; WIDTH];
                        // SAFETY: the vector is as long.
                        unsafe { $store(starts.as_mut_ptr().cast(), $join(bucket, hash)) };
                        for (start, sights) in starts.into_iter().zip(&mut sights[first..]) {
                            sights[key] = Sight { start, kind: key as u32, record: 0 };
                        }
                    }
                }
            }
        };
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn two_short(at: *const __m256i) -> (__m256i, __m256i) {
        // SAFETY: as the caller has made sure.
        let (one, two) = unsafe { (_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))) };
        let turned = |keys| _mm256_permute4x64_epi64::<0b11_01_10_00>(keys);
        let (one, two) = (turned(one), turned(two));
        (_mm256_permute2x128_si256::<0x20>(one, two), _mm256_permute2x128_si256::<0x31>(one, two))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn join_short(low: __m256i, high: __m256i) -> __m256i {
        _mm256_blend_epi32::<0b1010_1010>(low, _mm256_slli_epi64::<32>(high))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn two_long(at: *const __m512i) -> (__m512i, __m512i) {
        // SAFETY: as the caller has made sure.
        let (one, two) = unsafe { (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1))) };
        let every_second = |first: i64| {
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(|place| first + 2 * place as i64);
            _mm512_permutex2var_epi64(one, _mm512_setr_epi64(a, b, c, d, e, f, g, h), two)
        };
        (every_second(0), every_second(1))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn join_long(low: __m512i, high: __m512i) -> __m512i {
        _mm512_mask_shuffle_epi32::<0b10_11_00_01>(low, 0b1010_1010_1010_1010, high)
    }

    by_columns!(
        avx2,
        "avx2",
        __m256i,
        _mm256_set1_epi64x,
        _mm256_xor_si256,
        _mm256_add_epi64,
        _mm256_mul_epu32,
        _mm256_srli_epi64,
        _mm256_shuffle_epi32,
        _mm256_storeu_si256,
        two_short,
        join_short
    );
    by_columns!(
        avx512,
        "avx512f",
        __m512i,
        _mm512_set1_epi64,
        _mm512_xor_si512,
        _mm512_add_epi64,
        _mm512_mul_epu32,
        _mm512_srli_epi64,
        _mm512_shuffle_epi32,
        _mm512_storeu_si512,
        two_long,
        join_long
    );
}

fn hash(c: &mut Criterion) {
    let mut random = 1;
    let mut next = || {
        random = mix(random, 7);
        random
    };
    let events: Events = std::array::from_fn(|_| std::array::from_fn(|_| next()));
    let kinds: [Kind; KEYS] = std::array::from_fn(|_| Kind { seed: next(), buckets: next() >> 40 });
    let mut expected = [[Sight::default(); KEYS]; EVENTS];
    one_by_one(&events, &kinds, &mut expected);
    let mut sights = [[Sight::default(); KEYS]; EVENTS];
    c.bench_function("hash/one by one", |b| b.iter(|| one_by_one(black_box(&events), &kinds, &mut sights)));
    #[cfg(target_arch = "x86_64")]
    {
        type Way = unsafe fn(&Events, &[Kind; KEYS], &mut Sights, &mut [Column; KEYS]);
        let mut columns = [Column([[0; 2]; EVENTS]); KEYS];
        let ways: [(&str, bool, Way); 2] = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2"), vectors::avx2),
            ("avx512", std::arch::is_x86_feature_detected!("avx512f"), vectors::avx512),
        ];
        for (name, is_there, way) in ways {
            if !is_there {
                println!("hash/{name}: this processor does not have it");
                continue;
            }
            sights = [[Sight::default(); KEYS]; EVENTS];
            // SAFETY: the processor has the instructions.
            unsafe { way(&events, &kinds, &mut sights, &mut columns) };
            assert_eq!(sights, expected, "{name}");
            c.bench_function(&format!("hash/{name}"), |b| {
                // SAFETY: as above.
                b.iter(|| unsafe { way(black_box(&events), &kinds, &mut sights, &mut columns) });
            });
        }
    }
}

criterion_group!(benches, hash);
criterion_main!(benches);
