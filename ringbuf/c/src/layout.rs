//! The numbers of docs/RING.md for C. They stand here as literals, because the header is made from the text; the compiler
//! holds each against the ring's own, and the golden bytes (`tests/golden.c`) hold those of the handshake, which the ring
//! keeps to itself.

/// First word of both files.
pub const TG_RING_MAGIC: u64 = 0x474e_4952_4c4c_4f54_u64;
/// First word of every handshake message.
pub const TG_RING_HAND_MAGIC: u64 = 0x444e_4148_4c4c_4f54_u64;
/// Third word of both files.
pub const TG_RING_ENDIAN_TAG: u64 = 0x0102_0304_0506_0708_u64;
/// Tells apart layouts that claim one ABI version.
pub const TG_RING_LAYOUT_HASH: u64 = 0xc022_3c89_57cb_3185_u64;
/// Version of the layout: another major one is refused.
pub const TG_RING_ABI_MAJOR: u16 = 1;
/// Version of the layout: minor ones only add what may be ignored.
pub const TG_RING_ABI_MINOR: u16 = 0;
/// Role word of C, which the client writes.
pub const TG_RING_ROLE_C: u32 = 1;
/// Role word of S, which the server writes.
pub const TG_RING_ROLE_S: u32 = 2;
/// Bytes of the header of both files.
pub const TG_RING_HEADER_BYTES: usize = 128;
/// C: first index + verdicts received.
pub const TG_RING_C_VERDICT_CURSOR: usize = 128;
/// C: the client's heartbeat.
pub const TG_RING_C_HEARTBEAT: usize = 256;
/// C: the word the server sleeps on.
pub const TG_RING_C_KICK: usize = 384;
/// C: 1 while the client sleeps.
pub const TG_RING_C_PARKED: usize = 512;
/// S: first index + requests whose slots may be used again.
pub const TG_RING_S_REQUEST_CURSOR: usize = 128;
/// S: the server's heartbeat.
pub const TG_RING_S_HEARTBEAT: usize = 256;
/// S: 1 while the server sleeps.
pub const TG_RING_S_DOORBELL: usize = 384;
/// S: the state of the connection.
pub const TG_RING_S_STATE: usize = 392;
/// S: the word the client sleeps on.
pub const TG_RING_S_VERDICT_BELL: usize = 512;
/// Both files: the first slot.
pub const TG_RING_SLOTS: usize = 4096;
/// State: in service.
pub const TG_RING_STATE_ACTIVE: u64 = 1_u64;
/// State: closed in good order.
pub const TG_RING_STATE_CLOSED: u64 = 2_u64;
/// State: nothing more is read from this client.
pub const TG_RING_STATE_QUARANTINED: u64 = 3_u64;
/// Feature bit: verdicts only once their decision is durable.
pub const TG_RING_FEATURE_DURABLE: u64 = 1_u64;
/// Words before the payload of a slot.
pub const TG_RING_SLOT_HEADER_WORDS: usize = 4;
/// Bytes of a verdict slot.
pub const TG_RING_VERDICT_SLOT_BYTES: u32 = 64;
/// Payload words of a verdict.
pub const TG_RING_VERDICT_WORDS: usize = 4;
/// Payload words of the largest request.
pub const TG_RING_REQUEST_WORDS_MAX: usize = 60;
/// Largest capacity of either ring.
pub const TG_RING_CAPACITY_MAX: u32 = 1_048_576;
/// Words of every handshake message.
pub const TG_RING_HAND_WORDS: usize = 16;
/// Handshake message: hello, by the client.
pub const TG_RING_HAND_HELLO: u32 = 1;
/// Handshake message: welcome, by the server, with C and S.
pub const TG_RING_HAND_WELCOME: u32 = 2;
/// Handshake message: mapped, by the client.
pub const TG_RING_HAND_MAPPED: u32 = 3;
/// Handshake message: active, by the server.
pub const TG_RING_HAND_ACTIVE: u32 = 4;
/// Handshake message: refused, by the server.
pub const TG_RING_HAND_REFUSED: u32 = 5;

const _: () = {
    use ring::layout as own;
    assert!(TG_RING_MAGIC == own::MAGIC);
    assert!(TG_RING_ENDIAN_TAG == own::ENDIAN_TAG);
    assert!(TG_RING_LAYOUT_HASH == own::LAYOUT_HASH);
    assert!(TG_RING_ABI_MAJOR == own::ABI_MAJOR);
    assert!(TG_RING_ABI_MINOR == own::ABI_MINOR);
    assert!(TG_RING_ROLE_C == own::ROLE_C);
    assert!(TG_RING_ROLE_S == own::ROLE_S);
    assert!(TG_RING_HEADER_BYTES == own::HEADER_BYTES);
    assert!(TG_RING_C_VERDICT_CURSOR == own::C_VERDICT_CURSOR);
    assert!(TG_RING_C_HEARTBEAT == own::C_HEARTBEAT);
    assert!(TG_RING_C_KICK == own::C_KICK);
    assert!(TG_RING_C_PARKED == own::C_PARKED);
    assert!(TG_RING_S_REQUEST_CURSOR == own::S_REQUEST_CURSOR);
    assert!(TG_RING_S_HEARTBEAT == own::S_HEARTBEAT);
    assert!(TG_RING_S_DOORBELL == own::S_DOORBELL);
    assert!(TG_RING_S_STATE == own::S_STATE);
    assert!(TG_RING_S_VERDICT_BELL == own::S_VERDICT_BELL);
    assert!(TG_RING_SLOTS == own::SLOTS);
    assert!(TG_RING_STATE_ACTIVE == own::STATE_ACTIVE);
    assert!(TG_RING_STATE_CLOSED == own::STATE_CLOSED);
    assert!(TG_RING_STATE_QUARANTINED == own::STATE_QUARANTINED);
    assert!(TG_RING_FEATURE_DURABLE == own::FEATURE_DURABLE);
    assert!(TG_RING_SLOT_HEADER_WORDS == own::SLOT_HEADER_WORDS);
    assert!(TG_RING_VERDICT_SLOT_BYTES == own::VERDICT_SLOT_BYTES);
    assert!(TG_RING_VERDICT_WORDS == own::VERDICT_WORDS);
    assert!(TG_RING_REQUEST_WORDS_MAX == own::REQUEST_WORDS_MAX);
    assert!(TG_RING_CAPACITY_MAX == own::CAPACITY_MAX);
    assert!(TG_RING_HAND_MAGIC == u64::from_le_bytes(*b"TOLLHAND"));
};
