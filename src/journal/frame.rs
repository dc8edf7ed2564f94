//! The frame: one record of the journal, the same bytes in the ring and on disk.
//!
//! ```text
//! word 0    magic u32, format version u8, kind u8, payload words u16
//! word 1    bytes of the whole frame u32, term u32
//! word 2    nonce of the ring it was committed in
//! word 3    seq: the decision's own; of an epoch, the last decision's before it
//! word 4    durable_seq when it was committed
//! word 5    epoch id u32, event kind u16, admission u8, zero u8
//! word 6    received, µs since 1970 (of an epoch: started)
//! word 7    principal u32, policy revision u32
//! word 8    score i16, action u8, flags u8, zero u32
//! word 9    four reason ids u16
//! word 10   rolling digest
//! then      payload: the event's words, or the epoch's
//! last      CRC32C of all words before it u32, zero u32
//! ```
//!
//! [`decode`] checks everything once: lengths before any of it is touched, then the CRC, then each code. What it
//! returns can be trusted; nothing in it can make it panic.

use super::{Decision, Epoch, NOTE_BYTES_MAX, Ordered};
use crate::engine::lists::Edit;
use crate::engine::orders::Order;
use crate::engine::program::{PrefixPlan, TEXT_WORDS_MAX};
use crate::engine::units::entries::Entry;
use crate::engine::units::{Action, Time};
use crate::engine::wire::{Admission, EVENT_WORDS_MAX, Input, Outcome};
use crate::engine::{Clock, Limits};

/// First four bytes of a frame.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"TGFR");
/// Version of the format of frames, segments and rings. One for all: a header is then the first to be refused, where a frame of
/// another version would pass for a write that did not finish.
pub const FRAME_VERSION: u8 = 3;
/// Words before the payload.
pub const HEAD_WORDS: usize = 11;
/// Words of an epoch's payload.
pub const EPOCH_WORDS: usize = 17;
/// The most words of a frame.
pub const FRAME_WORDS_MAX: usize = HEAD_WORDS + EVENT_WORDS_MAX + 1;
/// The fewest words of a frame.
pub const FRAME_WORDS_MIN: usize = HEAD_WORDS + 1;

const KIND_EPOCH: u8 = 1;
const KIND_DECISION: u8 = 2;
const KIND_ORDER: u8 = 3;

const ORDER_KILL_RULE: u64 = 1;
const ORDER_KILL_ALL: u64 = 2;
const ORDER_LIST: u64 = 3;
/// Words of an order's payload before its note.
const ORDER_WORDS: usize = 5;
/// The same of an order about a list: its entry is behind the others.
const ORDER_LIST_WORDS: usize = ORDER_WORDS + TEXT_WORDS_MAX;

const _: () =
    assert!(ORDER_LIST_WORDS + NOTE_BYTES_MAX / 8 <= EVENT_WORDS_MAX && NOTE_BYTES_MAX.is_multiple_of(8));
const _: () = assert!(EPOCH_WORDS <= EVENT_WORDS_MAX && EVENT_WORDS_MAX <= u16::MAX as usize);

/// What a frame says about itself, besides the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which start of the appliance committed it; the first is 1.
    pub term: u32,
    /// Random number of the ring it was committed in.
    pub nonce: u64,
    /// Sequence number of the decision; of an epoch, of the last decision before it.
    pub seq: u64,
    /// Last decision known durable when the frame was committed.
    pub durable_seq: u64,
    /// Which epoch the frame is, or belongs to; the first is 1.
    pub epoch: u32,
}

/// What a frame records.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// What holds from here on.
    Epoch(Epoch),
    /// What was ordered.
    Order(Ordered<'a>),
    /// One decision.
    Decision(Decision<'a>),
}

/// A checked frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// About itself.
    pub head: Head,
    /// What it records.
    pub record: Record<'a>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the frame: {what}")]
pub struct FrameError {
    /// Where, in bytes from the start of the frame.
    pub offset: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// The bytes of words, for hashing and I/O.
#[must_use]
pub(super) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: any initialised u64 is eight initialised bytes; length and lifetime are those of the slice.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// The bytes of words, to be read into.
pub(super) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any eight bytes are a u64; length and lifetime are those of the slice, which is borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Frames a decision into `out`; says how many words it took.
///
/// # Panics
/// If the event has more than [`EVENT_WORDS_MAX`] words, which no engine accepts.
pub fn encode_decision(out: &mut [u64; FRAME_WORDS_MAX], head: &Head, decision: &Decision<'_>) -> usize {
    let Decision { input, outcome, digest } = decision;
    let [_, verdict, reasons, _] = outcome.to_words(0);
    out[5] = u64::from(input.kind) << 32 | u64::from(input.admission as u8) << 48;
    out[6] = input.received.0 as u64;
    out[7] = u64::from(input.principal) | u64::from(outcome.policy_revision) << 32;
    out[8] = verdict & 0xffff_ffff;
    out[9] = reasons;
    out[10] = *digest;
    out[HEAD_WORDS..HEAD_WORDS + input.words.len()].copy_from_slice(input.words);
    finish(out, KIND_DECISION, head, input.words.len())
}

/// Frames an epoch into `out`; says how many words it took.
pub fn encode_epoch(out: &mut [u64; FRAME_WORDS_MAX], head: &Head, epoch: &Epoch) -> usize {
    let Epoch { semantics, policy_hash, layout_hash, limits, started, took_over } = epoch;
    let clock = match limits.clock {
        Clock::Wall => 0,
        Clock::Event => 1,
    };
    out[5..HEAD_WORDS].fill(0);
    out[6] = started.0 as u64;
    let payload = &mut out[HEAD_WORDS..HEAD_WORDS + EPOCH_WORDS];
    payload[0] = u64::from(*semantics) | clock << 32 | u64::from(*took_over) << 40;
    words_from_hash(&mut payload[1..5], policy_hash);
    words_from_hash(&mut payload[5..9], layout_hash);
    payload[9] = u64::from(limits.keys_max) | u64::from(limits.rows_per_key_max) << 32;
    payload[10] = limits.spill_bytes_max;
    payload[11] = u64::from(limits.dedup_entries_max);
    payload[12] = limits.lateness_us as u64;
    payload[13] = limits.skew_us as u64;
    payload[14] = limits.hash_seed;
    payload[15] = started.0 as u64;
    payload[16] = limits.jump_us as u64;
    finish(out, KIND_EPOCH, head, EPOCH_WORDS)
}

/// Frames an order into `out`; says how many words it took. Of a note that is too long the beginning is kept.
pub fn encode_order(out: &mut [u64; FRAME_WORDS_MAX], head: &Head, ordered: &Ordered<'_>) -> usize {
    let Ordered { order, given, note } = ordered;
    let note = &note.as_bytes()[..note.floor_char_boundary(NOTE_BYTES_MAX)];
    let before = if matches!(order, Order::List { .. }) { ORDER_LIST_WORDS } else { ORDER_WORDS };
    let words = before + note.len().div_ceil(8);
    out[5..HEAD_WORDS + words].fill(0);
    out[6] = given.0 as u64;
    let payload = &mut out[HEAD_WORDS..HEAD_WORDS + words];
    let (code, operands) = match *order {
        Order::KillRule { rule, until } => (ORDER_KILL_RULE, [rule[0], rule[1], until.0 as u64]),
        Order::KillAll { action, until } => (ORDER_KILL_ALL, [action as u64, 0, until.0 as u64]),
        Order::List { list, entry, edit, until } => {
            let edit = match edit {
                Edit::Add => 1,
                Edit::Remove => 2,
                Edit::Forget => 3,
            };
            payload[4] = u64::from(entry.width) | edit << 8;
            payload[ORDER_WORDS..ORDER_LIST_WORDS].copy_from_slice(&entry.words);
            (ORDER_LIST, [list[0], list[1], until.0 as u64])
        }
    };
    payload[0] = code | (note.len() as u64) << 32;
    payload[1..4].copy_from_slice(&operands);
    bytes_of_mut(&mut payload[before..])[..note.len()].copy_from_slice(note);
    finish(out, KIND_ORDER, head, words)
}

/// Fills in what all frames have, and the CRC.
fn finish(out: &mut [u64; FRAME_WORDS_MAX], kind: u8, head: &Head, payload: usize) -> usize {
    let len = HEAD_WORDS + payload + 1;
    out[0] = u64::from(FRAME_MAGIC)
        | u64::from(FRAME_VERSION) << 32
        | u64::from(kind) << 40
        | (payload as u64) << 48;
    out[1] = (len as u64 * 8) | u64::from(head.term) << 32;
    out[2] = head.nonce;
    out[3] = head.seq;
    out[4] = head.durable_seq;
    out[5] |= u64::from(head.epoch);
    out[len - 1] = u64::from(crc32c::crc32c(bytes_of(&out[..len - 1])));
    len
}

/// Words of the frame that starts with these two words, checked against the bounds of any frame.
pub(super) fn frame_words(first: u64, second: u64) -> Result<usize, FrameError> {
    let fail = |offset, what| Err(FrameError { offset, what });
    if first as u32 != FRAME_MAGIC {
        return fail(0, "no frame starts here");
    }
    if (first >> 32) as u8 != FRAME_VERSION {
        return fail(4, "the format version is another build's; read it with the build that wrote it");
    }
    let len = HEAD_WORDS + usize::from((first >> 48) as u16) + 1;
    if len > FRAME_WORDS_MAX {
        return fail(6, "more words than any event has");
    }
    if second as u32 as usize != len * 8 {
        return fail(8, "the length is not that of the words");
    }
    Ok(len)
}

/// Checks the frame at the start of `words`, and says how many of them it takes.
pub fn decode(words: &[u64]) -> Result<(Frame<'_>, usize), FrameError> {
    let fail = |offset, what| Err(FrameError { offset, what });
    if words.len() < FRAME_WORDS_MIN {
        return fail(words.len() * 8, "the bytes end before the frame does");
    }
    let len = frame_words(words[0], words[1])?;
    if words.len() < len {
        return fail(words.len() * 8, "the bytes end before the frame does");
    }
    let (body, crc) = (&words[..len - 1], words[len - 1]);
    if u64::from(crc32c::crc32c(bytes_of(body))) != crc {
        return fail((len - 1) * 8, "the CRC32C does not match");
    }
    let head = Head {
        term: (body[1] >> 32) as u32,
        nonce: body[2],
        seq: body[3],
        durable_seq: body[4],
        epoch: body[5] as u32,
    };
    let payload = &body[HEAD_WORDS..];
    let record = match (body[0] >> 40) as u8 {
        KIND_EPOCH => Record::Epoch(decode_epoch(body, payload)?),
        KIND_DECISION => Record::Decision(decode_decision(body, payload)?),
        KIND_ORDER => Record::Order(decode_order(body, payload)?),
        _ => return fail(5, "neither an epoch, an order nor a decision"),
    };
    Ok((Frame { head, record }, len))
}

fn decode_decision<'a>(body: &[u64], payload: &'a [u64]) -> Result<Decision<'a>, FrameError> {
    let fail = |offset, what| Err(FrameError { offset, what });
    let Some(admission) = Admission::from_code((body[5] >> 48) as u8) else {
        return fail(46, "unknown admission code");
    };
    if body[5] >> 56 != 0 || body[8] >> 32 != 0 {
        return fail(40, "bytes that are reserved are not zero");
    }
    let verdict = body[8] | body[7] >> 32 << 32;
    let Some((outcome, _)) = Outcome::from_words([body[3], verdict, body[9], 0]) else {
        return fail(66, "unknown action code");
    };
    let input = Input {
        principal: body[7] as u32,
        kind: (body[5] >> 32) as u16,
        admission,
        received: Time(body[6] as i64),
        words: payload,
    };
    Ok(Decision { input, outcome, digest: body[10] })
}

fn decode_order<'a>(body: &[u64], payload: &'a [u64]) -> Result<Ordered<'a>, FrameError> {
    let fail = |offset, what| Err(FrameError { offset: HEAD_WORDS * 8 + offset, what });
    let is_list = payload.first().is_some_and(|first| first & 0xffff_ffff == ORDER_LIST);
    let before = if is_list { ORDER_LIST_WORDS } else { ORDER_WORDS };
    let Some((words, note)) = payload.split_at_checked(before) else {
        return fail(0, "an order has more words");
    };
    if body[5] >> 32 != 0 || body[7..HEAD_WORDS].iter().any(|word| *word != 0) || !is_list && words[4] != 0 {
        return fail(0, "bytes that are reserved are not zero");
    }
    let bytes = (words[0] >> 32) as usize;
    if bytes > NOTE_BYTES_MAX || note.len() != bytes.div_ceil(8) {
        return fail(4, "the length of its note is not that of its words");
    }
    let Ok(note) = std::str::from_utf8(&bytes_of(note)[..bytes]) else {
        return fail(before * 8, "its note is not UTF-8");
    };
    let until = Time(words[3] as i64);
    let order = match words[0] & 0xffff_ffff {
        ORDER_KILL_RULE => Order::KillRule { rule: [words[1], words[2]], until },
        ORDER_KILL_ALL => {
            let Some(action) = u8::try_from(words[1]).ok().and_then(Action::from_code) else {
                return fail(8, "unknown action code");
            };
            Order::KillAll { action, until }
        }
        ORDER_LIST => {
            let edit = match words[4] >> 8 {
                1 => Edit::Add,
                2 => Edit::Remove,
                3 => Edit::Forget,
                _ => return fail(33, "unknown edit of a list"),
            };
            let entry = Entry::new((words[4] & 0xff) as u8, &words[ORDER_WORDS..]);
            if entry.width > PrefixPlan::ALL_BITS {
                return fail(32, "an entry of a list is wider than any");
            }
            Order::List { list: [words[1], words[2]], entry, edit, until }
        }
        _ => return fail(0, "unknown order"),
    };
    Ok(Ordered { order, given: Time(body[6] as i64), note })
}

fn decode_epoch(body: &[u64], payload: &[u64]) -> Result<Epoch, FrameError> {
    let fail = |offset, what| Err(FrameError { offset, what });
    if payload.len() != EPOCH_WORDS {
        return fail(6, "an epoch has another number of words");
    }
    if body[5] >> 32 != 0 || body[7..HEAD_WORDS].iter().any(|word| *word != 0) || payload[11] >> 32 != 0 {
        return fail(40, "bytes that are reserved are not zero");
    }
    let took_over = match payload[0] >> 40 {
        0 => false,
        1 => true,
        _ => return fail(HEAD_WORDS * 8 + 5, "it neither started nor took over"),
    };
    let clock = match payload[0] >> 32 & 0xff {
        0 => Clock::Wall,
        1 => Clock::Event,
        _ => return fail(HEAD_WORDS * 8 + 4, "unknown clock code"),
    };
    let limits = Limits {
        keys_max: payload[9] as u32,
        rows_per_key_max: (payload[9] >> 32) as u32,
        spill_bytes_max: payload[10],
        dedup_entries_max: payload[11] as u32,
        lateness_us: payload[12] as i64,
        skew_us: payload[13] as i64,
        jump_us: payload[16] as i64,
        clock,
        hash_seed: payload[14],
    };
    Ok(Epoch {
        semantics: payload[0] as u32,
        policy_hash: hash_from_words(&payload[1..5]),
        layout_hash: hash_from_words(&payload[5..9]),
        limits,
        started: Time(payload[15] as i64),
        took_over,
    })
}

pub(super) fn words_from_hash(words: &mut [u64], hash: &[u8; 32]) {
    bytes_of_mut(words).copy_from_slice(hash);
}

pub(super) fn hash_from_words(words: &[u64]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes_of(words));
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::Action;
    use proptest::prelude::*;

    fn head() -> Head {
        Head { term: 3, nonce: 0x1234_5678_9abc_def0, seq: 77, durable_seq: 70, epoch: 2 }
    }

    fn decision(words: &[u64]) -> Decision<'_> {
        let outcome = Outcome {
            seq: 77,
            score: -1,
            action: Action::Review,
            flags: 12,
            policy_revision: u32::MAX,
            reasons: [17, 0xffff, 0, 3],
        };
        let input = Input {
            principal: 9,
            kind: 4,
            admission: Admission::Late,
            received: Time(1_700_000_000_000_000),
            words,
        };
        Decision { input, outcome, digest: u64::MAX }
    }

    fn epoch() -> Epoch {
        Epoch {
            semantics: 7,
            policy_hash: [0xab; 32],
            layout_hash: std::array::from_fn(|i| i as u8),
            limits: Limits { clock: Clock::Wall, skew_us: -5, jump_us: 77, ..Limits::default() },
            started: Time(123),
            took_over: true,
        }
    }

    #[test]
    fn a_decision_survives_its_frame_whatever_its_length() {
        let words: Vec<u64> =
            (0..EVENT_WORDS_MAX as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for count in 0..=EVENT_WORDS_MAX {
            let mut out = [u64::MAX; FRAME_WORDS_MAX];
            let len = encode_decision(&mut out, &head(), &decision(&words[..count]));
            let (frame, read) = decode(&out).unwrap();
            assert_eq!((len, frame.head), (read, head()));
            let Record::Decision(back) = frame.record else { panic!("not a decision") };
            assert_eq!(format!("{back:?}"), format!("{:?}", decision(&words[..count])));
        }
    }

    #[test]
    fn an_order_survives_its_frame_and_a_damaged_one_is_refused() {
        let until = Time(55);
        let long = "é".repeat(200);
        for order in [
            Order::KillRule { rule: [3, u64::MAX], until },
            Order::KillAll { action: Action::Review, until },
            Order::KillAll { action: Action::None, until: Time(i64::MIN) },
            Order::List {
                list: [3, u64::MAX],
                entry: Entry::new(128, &[1, u64::MAX, 3, 4, 5, 6, 7, 8]),
                edit: Edit::Remove,
                until,
            },
            Order::List { list: [0, 1], entry: Entry::new(0, &[0]), edit: Edit::Forget, until: Time(0) },
        ] {
            for (note, kept) in
                [("", 0), ("{}", 2), ("why", 3), ("eight by", 8), (long.as_str(), NOTE_BYTES_MAX)]
            {
                let mut out = [u64::MAX; FRAME_WORDS_MAX];
                let len = encode_order(&mut out, &head(), &Ordered { order, given: Time(-9), note });
                let (frame, read) = decode(&out).unwrap();
                assert_eq!((len, frame.head), (read, head()));
                let Record::Order(back) = frame.record else { panic!("not an order") };
                assert_eq!(back, Ordered { order, given: Time(-9), note: &note[..kept] });
                // Whatever else is in its words, with a right checksum, is an order or refused.
                for word in 5..len - 1 {
                    for bit in 0..64 {
                        let mut damaged = out;
                        damaged[word] ^= 1 << bit;
                        damaged[len - 1] = u64::from(crc32c::crc32c(bytes_of(&damaged[..len - 1])));
                        let _ = decode(&damaged);
                    }
                }
            }
        }
    }

    #[test]
    fn an_epoch_survives_its_frame() {
        let mut out = [u64::MAX; FRAME_WORDS_MAX];
        let len = encode_epoch(&mut out, &head(), &epoch());
        let (frame, read) = decode(&out[..len]).unwrap();
        assert_eq!((len, frame.head), (read, head()));
        let Record::Epoch(back) = frame.record else { panic!("not an epoch") };
        assert_eq!(back, epoch());
    }

    #[test]
    fn every_flipped_bit_and_every_missing_word_is_noticed() {
        let mut out = [0; FRAME_WORDS_MAX];
        let len = encode_decision(&mut out, &head(), &decision(&[1, 2, 3, 4, 5]));
        for bit in 0..len * 64 {
            let mut torn = out;
            torn[bit / 64] ^= 1 << (bit % 64);
            assert!(decode(&torn[..len]).is_err(), "bit {bit}");
        }
        for short in 0..len {
            let error = decode(&out[..short]).unwrap_err();
            assert_eq!(error, FrameError { offset: short * 8, what: "the bytes end before the frame does" });
        }
    }

    #[test]
    fn codes_out_of_range_are_refused_even_under_a_right_crc() {
        let check = |word: usize, value: u64, what: &str| {
            let mut out = [0; FRAME_WORDS_MAX];
            let len = encode_decision(&mut out, &head(), &decision(&[1; 5]));
            out[word] = value;
            out[len - 1] = u64::from(crc32c::crc32c(bytes_of(&out[..len - 1])));
            assert_eq!(decode(&out[..len]).unwrap_err().what, what);
        };
        check(5, 9 << 48, "unknown admission code");
        check(5, 1 << 56, "bytes that are reserved are not zero");
        check(8, 99 << 16, "unknown action code");
        check(8, 1 << 40, "bytes that are reserved are not zero");
        let first = u64::from(FRAME_MAGIC) | 5 << 48 | u64::from(FRAME_VERSION) << 32;
        check(0, first | 7 << 40, "neither an epoch, an order nor a decision");
        check(0, first | 1 << 40, "an epoch has another number of words");
    }

    proptest! {
        #[test]
        fn mutated_frames_never_panic(
            count in 0..=EVENT_WORDS_MAX,
            edits in prop::collection::vec((0..FRAME_WORDS_MAX, any::<u64>()), 0..8),
            cut in 0..=FRAME_WORDS_MAX,
            fix_crc in any::<bool>(),
            is_epoch in any::<bool>(),
        ) {
            let mut out = [0; FRAME_WORDS_MAX];
            let words = [5; EVENT_WORDS_MAX];
            let len = if is_epoch {
                encode_epoch(&mut out, &head(), &epoch())
            } else {
                encode_decision(&mut out, &head(), &decision(&words[..count]))
            };
            for (word, value) in edits {
                out[word] = value;
            }
            if fix_crc {
                out[len - 1] = u64::from(crc32c::crc32c(bytes_of(&out[..len - 1])));
            }
            if let Ok((frame, read)) = decode(&out[..cut]) {
                prop_assert!(read <= cut);
                let mut again = [0; FRAME_WORDS_MAX];
                let len = match frame.record {
                    Record::Epoch(epoch) => encode_epoch(&mut again, &frame.head, &epoch),
                    Record::Order(ordered) => encode_order(&mut again, &frame.head, &ordered),
                    Record::Decision(decision) => encode_decision(&mut again, &frame.head, &decision),
                };
                prop_assert_eq!(len, read);
                if matches!(frame.record, Record::Decision(_)) {
                    prop_assert_eq!(&again[..len], &out[..len]);
                }
            }
        }

        #[test]
        fn arbitrary_words_never_panic(words in prop::collection::vec(any::<u64>(), 0..FRAME_WORDS_MAX * 2)) {
            let _ = decode(&words);
        }
    }
}
