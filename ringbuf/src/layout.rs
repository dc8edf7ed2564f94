//! Every offset of the two shared files, and the arithmetic of running indices.
//!
//! All numbers are little-endian. Offsets are in bytes from the start of the file. Every shared word is eight bytes and is
//! reached by eight-byte atomic accesses only; a word that is slept on is the kernel's futex in its lower half.
//! docs/RING.md is the same for people who implement it in another language.
//!
//! # Header, the first 128 bytes of both files, written by the server before anyone maps them
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u64 | magic, the bytes `TOLLRING` |
//! | 8 | u16, u16, u32 | ABI major, ABI minor, role (1 = C, 2 = S) |
//! | 16 | u64 | endian tag `0x0102030405060708` |
//! | 24 | u32, u32 | request slot bytes (128, 256 or 512), verdict slot bytes (64) |
//! | 32 | u32, u32 | request capacity, verdict capacity (slots; powers of two) |
//! | 40 | u64 | epoch: differs for every connection |
//! | 48 | u64 | layout hash: [`LAYOUT_HASH`] |
//! | 56 | u64 | bytes of this file in use; one made of huge pages is rounded up to 2 MiB |
//! | 64 | `[u8; 32]` | schema hash: what the payload words mean, opaque here |
//! | 96 | u64 | feature bits in force: [`FEATURE_DURABLE`] |
//! | 104 | u64 | first index: where both running indices start |
//! | 112 | 16 bytes | zero |
//!
//! # C: the client writes, the server maps read-only
//!
//! | offset | type | field |
//! |---|---|---|
//! | 128 | u64 | verdict cursor: first index + verdicts received |
//! | 256 | u64 | heartbeat, `CLOCK_MONOTONIC` ns |
//! | 384 | u64 | kick: the server sleeps on its lower half; the client adds one and wakes it when the doorbell says "parked" |
//! | 512 | u64 | parked: 1 while the client sleeps on the verdict bell |
//! | 4096 | slots | request slots |
//!
//! # S: the server writes, the client maps read-only
//!
//! | offset | type | field |
//! |---|---|---|
//! | 128 | u64 | request cursor: first index + requests whose slots may be used again |
//! | 256 | u64 | heartbeat, `CLOCK_MONOTONIC` ns |
//! | 384 | u64 | doorbell: 1 while the server sleeps on the kick word |
//! | 392 | u64 | state: [`STATE_ACTIVE`], [`STATE_CLOSED`] or [`STATE_QUARANTINED`] |
//! | 512 | u64 | verdict bell: the client sleeps on its lower half; the server adds one and wakes it when C says "parked" |
//! | 4096 | slots | verdict slots |
//!
//! # Slot
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u64 | seq: index + 1; until this lap's message is there, index + 1 − capacity |
//! | 8 | u16, u16, u32 | kind, payload length in words, flags |
//! | 16 | u64 | request id |
//! | 24 | u64 | intended send time, `CLOCK_MONOTONIC` ns |
//! | 32 | u64 words | payload |
//!
//! The message with running index `i` is in slot `i mod capacity`. Lines that different threads write are 128 bytes
//! apart: some processors fetch cache lines in pairs and some have lines of 128 bytes.

use thiserror::Error;

/// A client with another major version is refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor versions only add what an older peer may ignore.
pub const ABI_MINOR: u16 = 0;
/// First word of both files.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TOLLRING");
/// Reads differently on a host of the other byte order.
pub const ENDIAN_TAG: u64 = 0x0102_0304_0506_0708;
/// Role word of C, the file the client writes.
pub const ROLE_C: u32 = 1;
/// Role word of S, the file the server writes.
pub const ROLE_S: u32 = 2;

/// Bytes of the header at the start of both files.
pub const HEADER_BYTES: usize = 128;
/// C: verdict cursor.
pub const C_VERDICT_CURSOR: usize = 128;
/// C: the client's heartbeat.
pub const C_HEARTBEAT: usize = 256;
/// C: the word the server sleeps on.
pub const C_KICK: usize = 384;
/// C: 1 while the client sleeps.
pub const C_PARKED: usize = 512;
/// S: request cursor.
pub const S_REQUEST_CURSOR: usize = 128;
/// S: the server's heartbeat.
pub const S_HEARTBEAT: usize = 256;
/// S: 1 while the server sleeps.
pub const S_DOORBELL: usize = 384;
/// S: the state of the connection.
pub const S_STATE: usize = 392;
/// S: the word the client sleeps on.
pub const S_VERDICT_BELL: usize = 512;
/// Both files: the first slot, on a page of its own.
pub const SLOTS: usize = 4096;

/// The connection is in service.
pub const STATE_ACTIVE: u64 = 1;
/// The server has closed the connection in good order.
pub const STATE_CLOSED: u64 = 2;
/// The server has put the client in quarantine and will read no more from it.
pub const STATE_QUARANTINED: u64 = 3;

/// Feature bit: verdicts are released only when what they answer is durable.
pub const FEATURE_DURABLE: u64 = 1;

/// Words before the payload of a slot.
pub const SLOT_HEADER_WORDS: usize = 4;
/// Bytes of a verdict slot.
pub const VERDICT_SLOT_BYTES: u32 = 64;
/// Payload words of a verdict.
pub const VERDICT_WORDS: usize = 4;
/// Payload words of the largest request: a slot of 512 bytes less its header.
pub const REQUEST_WORDS_MAX: usize = 60;
/// Largest capacity of either ring. It bounds what one client can cost.
pub const CAPACITY_MAX: u32 = 1 << 20;

/// Tells apart builds whose offsets differ although they claim one ABI version.
pub const LAYOUT_HASH: u64 = hash_words(&[
    HEADER_BYTES,
    C_VERDICT_CURSOR,
    C_HEARTBEAT,
    C_KICK,
    C_PARKED,
    S_REQUEST_CURSOR,
    S_HEARTBEAT,
    S_DOORBELL,
    S_STATE,
    S_VERDICT_BELL,
    SLOTS,
    SLOT_HEADER_WORDS,
    VERDICT_SLOT_BYTES as usize,
    VERDICT_WORDS,
]);

const LINE: usize = 128;
const _: () = {
    assert!(HEADER_WORDS * 8 == HEADER_BYTES);
    // The words that different threads write never share a line.
    assert!(C_VERDICT_CURSOR.is_multiple_of(LINE) && C_VERDICT_CURSOR >= HEADER_BYTES);
    assert!(C_HEARTBEAT.is_multiple_of(LINE) && C_HEARTBEAT >= C_VERDICT_CURSOR + LINE);
    assert!(C_KICK.is_multiple_of(LINE) && C_KICK >= C_HEARTBEAT + LINE);
    assert!(C_PARKED.is_multiple_of(LINE) && C_PARKED >= C_KICK + LINE && SLOTS >= C_PARKED + LINE);
    assert!(S_REQUEST_CURSOR.is_multiple_of(LINE) && S_REQUEST_CURSOR >= HEADER_BYTES);
    assert!(S_HEARTBEAT.is_multiple_of(LINE) && S_HEARTBEAT >= S_REQUEST_CURSOR + LINE);
    assert!(S_DOORBELL.is_multiple_of(LINE) && S_DOORBELL >= S_HEARTBEAT + LINE && S_STATE == S_DOORBELL + 8);
    assert!(S_VERDICT_BELL.is_multiple_of(LINE) && S_VERDICT_BELL >= S_DOORBELL + LINE);
    assert!(SLOTS >= S_VERDICT_BELL + LINE && SLOTS.is_multiple_of(4096));
    assert!(VERDICT_SLOT_BYTES as usize == (SLOT_HEADER_WORDS + VERDICT_WORDS) * 8);
    assert!(REQUEST_WORDS_MAX == 512 / 8 - SLOT_HEADER_WORDS);
};

/// FNV-1a over the words, enough to notice a difference that nobody made on purpose.
const fn hash_words(words: &[usize]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < words.len() {
        hash = (hash ^ words[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// Sizes of one client's two rings, chosen by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a request slot: 128, 256 or 512.
    pub slot_bytes: u32,
    /// Request slots, a power of two.
    pub request_capacity: u32,
    /// Verdict slots, a power of two. It is also the most requests a client may have in flight.
    pub verdict_capacity: u32,
}

/// Why a geometry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// Not one of the three slot sizes.
    #[error("request slot of {0} bytes: choose 128, 256 or 512")]
    SlotBytes(u32),
    /// Not a power of two in range.
    #[error("{ring} capacity of {found} slots: choose a power of two from 2 to {CAPACITY_MAX}")]
    Capacity {
        /// Which ring: `request` or `verdict`.
        ring: &'static str,
        /// The value refused.
        found: u32,
    },
}

impl Geometry {
    /// Checks the sizes; every other method relies on it.
    pub fn validate(&self) -> Result<(), GeometryError> {
        if !matches!(self.slot_bytes, 128 | 256 | 512) {
            return Err(GeometryError::SlotBytes(self.slot_bytes));
        }
        for (ring, found) in [("request", self.request_capacity), ("verdict", self.verdict_capacity)] {
            if !found.is_power_of_two() || !(2..=CAPACITY_MAX).contains(&found) {
                return Err(GeometryError::Capacity { ring, found });
            }
        }
        Ok(())
    }

    /// Payload words that fit in a request.
    pub fn request_words(&self) -> usize {
        self.slot_bytes as usize / 8 - SLOT_HEADER_WORDS
    }

    /// Bytes of C.
    pub fn c_bytes(&self) -> usize {
        page_up(SLOTS + self.slot_bytes as usize * self.request_capacity as usize)
    }

    /// Bytes of S.
    pub fn s_bytes(&self) -> usize {
        page_up(SLOTS + VERDICT_SLOT_BYTES as usize * self.verdict_capacity as usize)
    }
}

/// A memory file is whole pages whatever its length says; 64 KiB pages exist on aarch64, and there a file of whole
/// 4 KiB pages is still mapped and sealed exactly as asked.
fn page_up(bytes: usize) -> usize {
    bytes.next_multiple_of(4096)
}

/// A request, copied to private memory.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is asked; opaque here.
    pub kind: u16,
    /// Payload words in use.
    pub len: u16,
    /// Opaque here.
    pub flags: u32,
    /// The client's name for it, echoed in the verdict.
    pub req_id: u64,
    /// When the client meant to send it, `CLOCK_MONOTONIC` ns.
    pub t_intended: u64,
    /// Only the first `len` words mean anything; the others are left over from earlier requests.
    pub payload: [u64; REQUEST_WORDS_MAX],
}

impl Request {
    /// An empty request to poll into.
    pub const fn new() -> Request {
        Request { kind: 0, len: 0, flags: 0, req_id: 0, t_intended: 0, payload: [0; REQUEST_WORDS_MAX] }
    }

    /// The payload.
    pub fn words(&self) -> &[u64] {
        &self.payload[..usize::from(self.len).min(REQUEST_WORDS_MAX)]
    }
}

impl Default for Request {
    fn default() -> Request {
        Request::new()
    }
}

/// A verdict, in private memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What it is; opaque here.
    pub kind: u16,
    /// Opaque here.
    pub flags: u32,
    /// The request it answers.
    pub req_id: u64,
    /// The request's intended send time, echoed so that the client can measure without a table.
    pub t_intended: u64,
    /// Opaque here.
    pub payload: [u64; VERDICT_WORDS],
}

/// What a slot's sequence number says to the consumer that expects `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Ready,
    Empty,
    Wrong,
}

#[inline(always)]
pub(crate) fn slot_state(seq: u64, index: u64, capacity: u32) -> SlotState {
    if seq == seq_of(index) {
        SlotState::Ready
    } else if seq == empty_seq_of(index, capacity) {
        SlotState::Empty
    } else {
        SlotState::Wrong
    }
}

/// The number that publishes the message with this running index.
#[inline(always)]
pub(crate) fn seq_of(index: u64) -> u64 {
    index.wrapping_add(1)
}

/// What its slot holds before that: the number of the lap before.
#[inline(always)]
pub(crate) fn empty_seq_of(index: u64, capacity: u32) -> u64 {
    seq_of(index).wrapping_sub(u64::from(capacity))
}

/// The first word of the slot of `index`, counted in words from the start of the file.
#[inline(always)]
pub(crate) fn slot_word(index: u64, capacity: u32, slot_words: usize) -> usize {
    SLOTS / 8 + (index & u64::from(capacity - 1)) as usize * slot_words
}

/// A cursor read from the peer may stand anywhere from where it was last seen to how far the reader itself has gone.
#[inline(always)]
pub(crate) fn cursor_is_sane(found: u64, last: u64, limit: u64) -> bool {
    found.wrapping_sub(last) <= limit.wrapping_sub(last)
}

/// Second word of a slot.
#[inline(always)]
pub(crate) fn pack_meta(kind: u16, len: u16, flags: u32) -> u64 {
    u64::from(kind) | u64::from(len) << 16 | u64::from(flags) << 32
}

/// Inverse of [`pack_meta`].
#[inline(always)]
pub(crate) fn unpack_meta(word: u64) -> (u16, u16, u32) {
    (word as u16, (word >> 16) as u16, (word >> 32) as u32)
}

/// Words of the header.
pub(crate) const HEADER_WORDS: usize = 16;

/// What the header of one connection's files says, kept in private memory by both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    pub(crate) epoch: u64,
    pub(crate) first_index: u64,
    pub(crate) schema_hash: [u8; 32],
    /// Feature bits in force.
    pub(crate) features: u64,
}

impl Header {
    /// The exact words that the file of this role must begin with.
    pub(crate) fn words(&self, role: u32) -> [u64; HEADER_WORDS] {
        let g = &self.geometry;
        let bytes = if role == ROLE_C { g.c_bytes() } else { g.s_bytes() };
        let mut words = [0; HEADER_WORDS];
        words[0] = MAGIC;
        words[1] = pack_meta(ABI_MAJOR, ABI_MINOR, role);
        words[2] = ENDIAN_TAG;
        words[3] = pair(g.slot_bytes, VERDICT_SLOT_BYTES);
        words[4] = pair(g.request_capacity, g.verdict_capacity);
        words[5] = self.epoch;
        words[6] = LAYOUT_HASH;
        words[7] = bytes as u64;
        words[8..12].copy_from_slice(&hash_as_words(&self.schema_hash));
        words[12] = self.features;
        words[13] = self.first_index;
        words
    }
}

/// Two 32-bit fields in one word, the first at the lower address.
pub(crate) fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// A 32-byte hash as four words.
pub(crate) fn hash_as_words(hash: &[u8; 32]) -> [u64; 4] {
    let (chunks, _) = hash.as_chunks::<8>();
    core::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Indices of every size, most of them near the wrap.
    fn index() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), (0..5000_u64).prop_map(|n| u64::MAX - n), 0..5000_u64]
    }

    proptest! {
        #[test]
        fn a_slot_is_empty_then_ready_then_empty_for_the_next_lap(index in index(), log in 1..=20_u32) {
            let capacity = 1 << log;
            prop_assert_eq!(slot_state(empty_seq_of(index, capacity), index, capacity), SlotState::Empty);
            prop_assert_eq!(slot_state(seq_of(index), index, capacity), SlotState::Ready);
            let next_lap = index.wrapping_add(u64::from(capacity));
            prop_assert_eq!(slot_state(seq_of(index), next_lap, capacity), SlotState::Empty);
            prop_assert_eq!(slot_word(index, capacity, 16), slot_word(next_lap, capacity, 16));
        }

        #[test]
        fn any_other_number_is_wrong(index in index(), log in 1..=20_u32, seq in any::<u64>()) {
            let capacity = 1 << log;
            prop_assume!(seq != seq_of(index) && seq != empty_seq_of(index, capacity));
            prop_assert_eq!(slot_state(seq, index, capacity), SlotState::Wrong);
        }

        #[test]
        fn neighbours_use_neighbouring_slots(index in index(), log in 1..=20_u32) {
            let capacity = 1_u32 << log;
            let at = slot_word(index, capacity, 8);
            let next = slot_word(index.wrapping_add(1), capacity, 8);
            let last = slot_word(u64::from(capacity) - 1, capacity, 8);
            prop_assert!(at <= last);
            prop_assert_eq!(next, if at == last { SLOTS / 8 } else { at + 8 });
        }

        #[test]
        fn cursors_move_forward_and_never_past_the_limit(
            last in index(), open in 0..100_000_u64, step in 0..200_000_u64, back in 1..100_000_u64
        ) {
            let limit = last.wrapping_add(open);
            prop_assert_eq!(cursor_is_sane(last.wrapping_add(step), last, limit), step <= open);
            prop_assert!(!cursor_is_sane(last.wrapping_sub(back), last, limit));
        }

        #[test]
        fn meta_round_trips(kind: u16, len: u16, flags: u32) {
            prop_assert_eq!(unpack_meta(pack_meta(kind, len, flags)), (kind, len, flags));
        }
    }

    /// 2^64: the oracles below count indices, sequence numbers and cursors past it as if they never wrapped.
    const WRAP: u128 = 1 << 64;
    /// Largest capacity of the exhaustive tests. Miri is slow and the arithmetic has no memory to get wrong.
    const LAPPED_MAX: u32 = if cfg!(miri) { 4 } else { 64 };

    fn wrapped(number: u128) -> u64 {
        (number % WRAP) as u64
    }

    /// Every power of two up to the largest, with 1, which the models use.
    fn capacities() -> impl Iterator<Item = u32> {
        (0..=LAPPED_MAX.ilog2()).map(|log| 1 << log)
    }

    /// Every index within two laps of the wrap, as if it did not wrap.
    fn near_wrap(capacity: u32) -> impl Iterator<Item = u128> {
        let laps = 2 * u128::from(capacity);
        WRAP - laps..=WRAP + laps
    }

    #[test]
    fn every_sequence_number_near_the_wrap_is_judged_as_without_a_wrap() {
        for capacity in capacities() {
            let lap = u128::from(capacity);
            for index in near_wrap(capacity) {
                let expected = index + 1;
                // By what the numbers mean: the message with this index is there, or that of the lap before.
                let judge = |seq: u128| match seq {
                    seq if seq == expected => SlotState::Ready,
                    seq if seq + lap == expected => SlotState::Empty,
                    _ => SlotState::Wrong,
                };
                for seq in expected - 3 * lap..=expected + 3 * lap {
                    let found = slot_state(wrapped(seq), wrapped(index), capacity);
                    assert_eq!(found, judge(seq), "seq {seq}, index {index}, capacity {capacity}");
                }
                for seq in [0, 1, 1 << 63, (1 << 63) - 1, u64::MAX - 1, u64::MAX] {
                    // A number below the wrap may stand for one above it, but not for both here.
                    let (below, above) = (judge(seq.into()), judge(u128::from(seq) + WRAP));
                    let judged = if below == SlotState::Wrong { above } else { below };
                    let found = slot_state(seq, wrapped(index), capacity);
                    assert_eq!(found, judged, "seq {seq}, index {index}, capacity {capacity}");
                }
                assert_eq!(seq_of(wrapped(index)), wrapped(expected));
                assert_eq!(empty_seq_of(wrapped(index), capacity), wrapped(expected - lap));
            }
        }
    }

    #[test]
    fn every_index_near_the_wrap_has_the_slot_it_would_have_without_a_wrap() {
        for capacity in capacities() {
            for index in near_wrap(capacity) {
                let place = (index % u128::from(capacity)) as usize;
                for slot_words in [8, 16, 32, 64] {
                    let found = slot_word(wrapped(index), capacity, slot_words);
                    assert_eq!(found, 512 + place * slot_words, "index {index}, capacity {capacity}");
                }
            }
        }
    }

    #[test]
    fn every_cursor_near_the_wrap_is_judged_as_without_a_wrap() {
        let window = if cfg!(miri) { 6 } else { 80 };
        let near = || WRAP - window..=WRAP + window;
        for last in near() {
            // A side has never gone less far than the other was seen to be.
            for limit in last..=WRAP + window {
                let judged = |found: u128| (last..=limit).contains(&found);
                for found in near() {
                    let sane = cursor_is_sane(wrapped(found), wrapped(last), wrapped(limit));
                    assert_eq!(sane, judged(found), "found {found}, last {last}, limit {limit}");
                }
                for found in [0, 1, 1 << 63, (1 << 63) - 1, u64::MAX - 1, u64::MAX] {
                    let judged = judged(found.into()) || judged(u128::from(found) + WRAP);
                    let sane = cursor_is_sane(found, wrapped(last), wrapped(limit));
                    assert_eq!(sane, judged, "found {found}, last {last}, limit {limit}");
                }
            }
        }
    }

    #[test]
    fn geometry_is_checked() {
        let good = Geometry { slot_bytes: 128, request_capacity: 8, verdict_capacity: 8 };
        assert_eq!(good.validate(), Ok(()));
        assert_eq!((good.c_bytes(), good.s_bytes(), good.request_words()), (8192, 8192, 12));
        let slot = Geometry { slot_bytes: 64, ..good };
        assert_eq!(slot.validate(), Err(GeometryError::SlotBytes(64)));
        for found in [0, 1, 3, CAPACITY_MAX * 2] {
            let bad = Geometry { request_capacity: found, ..good };
            assert_eq!(bad.validate(), Err(GeometryError::Capacity { ring: "request", found }));
            let bad = Geometry { verdict_capacity: found, ..good };
            assert_eq!(bad.validate(), Err(GeometryError::Capacity { ring: "verdict", found }));
        }
    }

    #[test]
    fn the_header_has_its_published_offsets() {
        let header = Header {
            geometry: Geometry { slot_bytes: 256, request_capacity: 16, verdict_capacity: 32 },
            epoch: 7,
            first_index: 9,
            schema_hash: core::array::from_fn(|i| i as u8),
            features: FEATURE_DURABLE,
        };
        let words = header.words(ROLE_S);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(&bytes[..8], b"TOLLRING");
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[24..40], [0, 1, 0, 0, 64, 0, 0, 0, 16, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!((bytes[40], bytes[96], bytes[104]), (7, 1, 9));
        assert_eq!(bytes[64..96], header.schema_hash);
    }
}
