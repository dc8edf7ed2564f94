/*
 * The ring's two files for clients that do without the library: offsets, slots, and the data path of a client.
 *
 * Shared memory is reached by 8-byte __atomic loads and stores and by nothing else. docs/RING.md says why each ordering
 * is what it is. The structures below are only there to hold the offsets against the compiler; never dereference one in
 * shared memory. Nothing here makes a system call: where the server has to be woken, the caller is told. Needs C11 or C++11,
 * gcc or clang, and a little-endian 64-bit host.
 */
#ifndef TOLLGATE_RING_LAYOUT_H
#define TOLLGATE_RING_LAYOUT_H

#include <assert.h>

#include "tollgate_ring.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the ring's layout is little-endian"
#endif

/* The header of both files. */
struct tg_ring_header {
    uint64_t magic;
    uint16_t abi_major, abi_minor;
    uint32_t role;
    uint64_t endian_tag;
    uint32_t request_slot_bytes, verdict_slot_bytes;
    uint32_t request_capacity, verdict_capacity;
    uint64_t epoch;
    uint64_t layout_hash;
    uint64_t file_bytes;
    uint8_t schema_hash[32];
    uint64_t features;
    uint64_t first_index;
    uint64_t zero[2];
};

/* A slot up to its payload. */
struct tg_ring_slot {
    uint64_t seq;
    uint16_t kind, words;
    uint32_t flags;
    uint64_t req_id;
    uint64_t t_intended_ns;
};

static_assert(sizeof(void *) == 8, "a 64-bit host");
static_assert(sizeof(struct tg_ring_header) == TG_RING_HEADER_BYTES, "header");
static_assert(offsetof(struct tg_ring_header, role) == 12, "role");
static_assert(offsetof(struct tg_ring_header, endian_tag) == 16, "endian tag");
static_assert(offsetof(struct tg_ring_header, request_slot_bytes) == 24, "slot bytes");
static_assert(offsetof(struct tg_ring_header, request_capacity) == 32, "capacities");
static_assert(offsetof(struct tg_ring_header, epoch) == 40, "epoch");
static_assert(offsetof(struct tg_ring_header, layout_hash) == 48, "layout hash");
static_assert(offsetof(struct tg_ring_header, file_bytes) == 56, "file bytes");
static_assert(offsetof(struct tg_ring_header, schema_hash) == 64, "schema hash");
static_assert(offsetof(struct tg_ring_header, features) == 96, "features");
static_assert(offsetof(struct tg_ring_header, first_index) == 104, "first index");
static_assert(sizeof(struct tg_ring_slot) == 8 * TG_RING_SLOT_HEADER_WORDS, "slot");
static_assert(offsetof(struct tg_ring_slot, req_id) == 16, "request id");
static_assert(offsetof(struct tg_ring_slot, t_intended_ns) == 24, "intended send time");
static_assert(TG_RING_VERDICT_SLOT_BYTES == 8 * (TG_RING_SLOT_HEADER_WORDS + TG_RING_VERDICT_WORDS), "verdict");
static_assert(TG_RING_C_VERDICT_CURSOR == 128 && TG_RING_C_HEARTBEAT == 256, "C");
static_assert(TG_RING_C_KICK == 384 && TG_RING_C_PARKED == 512, "C");
static_assert(TG_RING_S_REQUEST_CURSOR == 128 && TG_RING_S_HEARTBEAT == 256, "S");
static_assert(TG_RING_S_DOORBELL == 384 && TG_RING_S_STATE == 392 && TG_RING_S_VERDICT_BELL == 512, "S");
static_assert(TG_RING_SLOTS == 4096, "slots");

/* The word at a byte offset of a file, which must be a multiple of 8. */
static inline uint64_t tg_ring_load(const void *file, size_t offset)
{
    return __atomic_load_n((const uint64_t *)((const char *)file + offset), __ATOMIC_RELAXED);
}

static inline void tg_ring_store(void *file, size_t offset, uint64_t value)
{
    __atomic_store_n((uint64_t *)((char *)file + offset), value, __ATOMIC_RELAXED);
}

static inline void tg_ring_store_release(void *file, size_t offset, uint64_t value)
{
    __atomic_store_n((uint64_t *)((char *)file + offset), value, __ATOMIC_RELEASE);
}

/* The number that publishes the message with this running index; indices wrap. */
static inline uint64_t tg_ring_seq_of(uint64_t index)
{
    return index + 1;
}

/* What its slot holds before that. */
static inline uint64_t tg_ring_empty_seq_of(uint64_t index, uint32_t capacity)
{
    return index + 1 - capacity;
}

/* Where the slot of a running index begins, in bytes from the start of its file. */
static inline size_t tg_ring_slot_offset(uint64_t index, uint32_t capacity, uint32_t slot_bytes)
{
    return TG_RING_SLOTS + (size_t)(index & (capacity - 1u)) * slot_bytes;
}

/* Bytes of a file: whole pages of 4096. */
static inline size_t tg_ring_file_bytes(uint32_t capacity, uint32_t slot_bytes)
{
    return (TG_RING_SLOTS + (size_t)capacity * slot_bytes + 4095) / 4096 * 4096;
}

/* The second word of a slot. */
static inline uint64_t tg_ring_pack_meta(uint16_t kind, uint16_t words, uint32_t flags)
{
    return (uint64_t)kind | (uint64_t)words << 16 | (uint64_t)flags << 32;
}

static inline uint16_t tg_ring_meta_kind(uint64_t meta)
{
    return (uint16_t)meta;
}

static inline uint16_t tg_ring_meta_words(uint64_t meta)
{
    return (uint16_t)(meta >> 16);
}

static inline uint32_t tg_ring_meta_flags(uint64_t meta)
{
    return (uint32_t)(meta >> 32);
}

/* Two 32-bit fields of one word, the first at the lower address. */
static inline uint64_t tg_ring_pair(uint32_t low, uint32_t high)
{
    return (uint64_t)low | (uint64_t)high << 32;
}

/* A cursor of the other side: neither behind where it was last seen nor past how far this side has gone. */
static inline bool tg_ring_cursor_is_sane(uint64_t found, uint64_t last, uint64_t limit)
{
    return found - last <= limit - last;
}

/* One thread's client. Geometry is taken from the welcome, never from the files. */
struct tg_ring_bare {
    void *c;
    const void *s;
    uint32_t slot_bytes, request_capacity, verdict_capacity;
    uint64_t sent, released, received;
};

/* All indices at the first index of the welcome. */
static inline void tg_ring_bare_init(struct tg_ring_bare *bare, void *c, const void *s, uint32_t slot_bytes,
                                     uint32_t request_capacity, uint32_t verdict_capacity, uint64_t first_index)
{
    bare->c = c;
    bare->s = s;
    bare->slot_bytes = slot_bytes;
    bare->request_capacity = request_capacity;
    bare->verdict_capacity = verdict_capacity;
    bare->sent = bare->released = bare->received = first_index;
}

/* Whether the server still serves: OK, QUARANTINED or SERVER_GONE. A server that died without a word is told by the socket. */
static inline tg_ring_status tg_ring_bare_state(const struct tg_ring_bare *bare)
{
    uint64_t state = tg_ring_load(bare->s, TG_RING_S_STATE);
    if (state == TG_RING_STATE_ACTIVE)
        return TG_RING_STATUS_OK;
    return state == TG_RING_STATE_QUARANTINED ? TG_RING_STATUS_QUARANTINED : TG_RING_STATUS_SERVER_GONE;
}

/* Writes a request into its slot and publishes it. */
static inline void tg_ring_put_request(void *c, uint64_t index, uint32_t capacity, uint32_t slot_bytes, uint16_t kind,
                                       uint32_t flags, uint64_t req_id, uint64_t t_intended_ns,
                                       const uint64_t *payload, uint16_t words)
{
    size_t slot = tg_ring_slot_offset(index, capacity, slot_bytes);
    tg_ring_store(c, slot + 8, tg_ring_pack_meta(kind, words, flags));
    tg_ring_store(c, slot + 16, req_id);
    tg_ring_store(c, slot + 24, t_intended_ns);
    for (uint16_t i = 0; i < words; i++)
        tg_ring_store(c, slot + 32 + 8 * (size_t)i, payload[i]);
    tg_ring_store_release(c, slot, tg_ring_seq_of(index)); /* request_published */
}

/*
 * Sends a request. OK, BUSY, TOO_LONG, CORRUPT, or that the connection has ended. If *wake is set, the server sleeps:
 * futex-wake the lower half of the word at TG_RING_C_KICK, which has been counted up already.
 */
static inline tg_ring_status tg_ring_bare_send(struct tg_ring_bare *bare, uint16_t kind, uint32_t flags, uint64_t req_id,
                                               uint64_t t_intended_ns, const uint64_t *payload, uint16_t words,
                                               bool *wake)
{
    *wake = false;
    if (words > bare->slot_bytes / 8 - TG_RING_SLOT_HEADER_WORDS)
        return TG_RING_STATUS_TOO_LONG;
    tg_ring_status state = tg_ring_bare_state(bare);
    if (state != TG_RING_STATUS_OK)
        return state;
    /* Credit: every request in flight must have a verdict slot to be answered in. */
    if (bare->sent - bare->received >= bare->verdict_capacity)
        return TG_RING_STATUS_BUSY;
    if (bare->sent - bare->released >= bare->request_capacity) {
        uint64_t found = tg_ring_load(bare->s, TG_RING_S_REQUEST_CURSOR);
        __atomic_thread_fence(__ATOMIC_ACQUIRE); /* release_seen */
        if (!tg_ring_cursor_is_sane(found, bare->released, bare->sent))
            return TG_RING_STATUS_CORRUPT;
        bare->released = found;
        if (bare->sent - bare->released >= bare->request_capacity)
            return TG_RING_STATUS_BUSY;
    }
    tg_ring_put_request(bare->c, bare->sent, bare->request_capacity, bare->slot_bytes, kind, flags, req_id,
                        t_intended_ns, payload, words);
    bare->sent++;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* server_woken */
    if (tg_ring_load(bare->s, TG_RING_S_DOORBELL) != 0) {
        uint64_t kicks = tg_ring_load(bare->c, TG_RING_C_KICK);
        tg_ring_store_release(bare->c, TG_RING_C_KICK, kicks + 1); /* wake_counted */
        *wake = true;
    }
    return TG_RING_STATUS_OK;
}

/* Whether there is anything to take: a verdict, or a number that cannot be right. */
static inline bool tg_ring_bare_ready(const struct tg_ring_bare *bare)
{
    size_t slot = tg_ring_slot_offset(bare->received, bare->verdict_capacity, TG_RING_VERDICT_SLOT_BYTES);
    return tg_ring_load(bare->s, slot) != tg_ring_empty_seq_of(bare->received, bare->verdict_capacity);
}

/* Takes the next verdict. OK, NOTHING, CORRUPT, or, once the last verdict is taken, that the connection has ended. */
static inline tg_ring_status tg_ring_bare_take(struct tg_ring_bare *bare, tg_ring_verdict *out)
{
    size_t slot = tg_ring_slot_offset(bare->received, bare->verdict_capacity, TG_RING_VERDICT_SLOT_BYTES);
    uint64_t ready = tg_ring_seq_of(bare->received);
    uint64_t seq = tg_ring_load(bare->s, slot);
    if (seq == tg_ring_empty_seq_of(bare->received, bare->verdict_capacity)) {
        tg_ring_status state = tg_ring_bare_state(bare);
        if (state == TG_RING_STATUS_OK)
            return TG_RING_STATUS_NOTHING;
        __atomic_thread_fence(__ATOMIC_ACQUIRE); /* end_seen */
        seq = tg_ring_load(bare->s, slot);
        if (seq != ready)
            return state;
    }
    if (seq != ready)
        return TG_RING_STATUS_CORRUPT;
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* verdict_seen */
    uint64_t meta = tg_ring_load(bare->s, slot + 8);
    out->kind = tg_ring_meta_kind(meta);
    out->flags = tg_ring_meta_flags(meta);
    out->reserved = 0;
    out->req_id = tg_ring_load(bare->s, slot + 16);
    out->t_intended_ns = tg_ring_load(bare->s, slot + 24);
    for (size_t i = 0; i < TG_RING_VERDICT_WORDS; i++)
        out->payload[i] = tg_ring_load(bare->s, slot + 32 + 8 * i);
    if (tg_ring_meta_words(meta) != TG_RING_VERDICT_WORDS)
        return TG_RING_STATUS_CORRUPT;
    bare->received++;
    /* credit_given: Release, as this store takes the place of the library's private count. */
    tg_ring_store_release(bare->c, TG_RING_C_VERDICT_CURSOR, bare->received);
    return TG_RING_STATUS_OK;
}

#endif
