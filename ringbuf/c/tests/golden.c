/* Reads the golden bytes with the layout header alone, and encodes the request anew to the same bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tollgate_ring_layout.h"

/* The words of a file, which must be exactly as many. */
static void read_words(const char *folder, const char *name, uint64_t *words, size_t count)
{
    char path[4096], line[256];
    snprintf(path, sizeof path, "%s/%s.hex", folder, name);
    FILE *file = fopen(path, "r");
    size_t found = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (line[0] == '#')
            continue;
        unsigned char bytes[8];
        for (size_t i = 0; i < 8; i++) {
            unsigned byte = 0;
            CHECK(sscanf(line + 2 * i, "%2x", &byte) == 1);
            bytes[i] = (unsigned char)byte;
        }
        if (found < count)
            memcpy(&words[found], bytes, 8);
        found++;
    }
    CHECK(file != NULL && found == count);
    if (file)
        fclose(file);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s GOLDEN_FOLDER\n", argv[0]);
        return 2;
    }
    const uint64_t first = UINT64_MAX - 1;
    uint64_t w[64] = {0};
    struct tg_ring_header header;
    for (int role = TG_RING_ROLE_C; role <= TG_RING_ROLE_S; role++) {
        bool c = role == TG_RING_ROLE_C;
        read_words(argv[1], c ? "c_header" : "s_header", w, 16);
        memcpy(&header, w, sizeof header);
        CHECK(header.magic == TG_RING_MAGIC && header.endian_tag == TG_RING_ENDIAN_TAG);
        CHECK(header.abi_major == TG_RING_ABI_MAJOR && header.role == (uint32_t)role);
        CHECK(header.request_slot_bytes == 128 && header.verdict_slot_bytes == TG_RING_VERDICT_SLOT_BYTES);
        CHECK(header.request_capacity == 4 && header.verdict_capacity == 8);
        CHECK(header.layout_hash == TG_RING_LAYOUT_HASH && header.features == TG_RING_FEATURE_DURABLE);
        CHECK(header.file_bytes == (c ? tg_ring_file_bytes(4, 128) : tg_ring_file_bytes(8, 64)));
        CHECK(header.first_index == first && header.schema_hash[31] == 7);
    }

    /* A whole C in private memory: empty as published, then with the request written by the header's own functions. */
    uint64_t *file = calloc(1, tg_ring_file_bytes(4, 128));
    if (!file)
        return 1;
    read_words(argv[1], "c_slots", file + TG_RING_SLOTS / 8, 64);
    for (uint64_t i = first; i != first + 4; i++)
        CHECK(tg_ring_load(file, tg_ring_slot_offset(i, 4, 128)) == tg_ring_empty_seq_of(i, 4));
    uint64_t payload[3] = {1, UINT64_MAX, 3};
    tg_ring_put_request(file, first, 4, 128, 0x1122, 0, 0x0102030405060708, 1000000007, payload, 3);
    read_words(argv[1], "request_slot", w, 16);
    CHECK(memcmp((char *)file + tg_ring_slot_offset(first, 4, 128), w, 128) == 0);
    free(file);

    read_words(argv[1], "s_slots", w, 64);
    for (uint64_t i = first; i != first + 8; i++)
        CHECK(w[(tg_ring_slot_offset(i, 8, 64) - TG_RING_SLOTS) / 8] == tg_ring_empty_seq_of(i, 8));
    read_words(argv[1], "verdict_slot", w, 8);
    CHECK(w[0] == tg_ring_seq_of(first) && w[2] == 0x0102030405060708 && w[3] == 1000000007);
    CHECK(w[1] == tg_ring_pack_meta(0x1122, TG_RING_VERDICT_WORDS, 0x55667788));
    CHECK(w[4] == 9 && w[7] == 6);

    const char *names[] = {"hello", "welcome", "mapped", "active", "refused"};
    for (uint32_t type = TG_RING_HAND_HELLO; type <= TG_RING_HAND_REFUSED; type++) {
        read_words(argv[1], names[type - 1], w, TG_RING_HAND_WORDS);
        CHECK(w[0] == TG_RING_HAND_MAGIC);
        CHECK(w[1] == tg_ring_pack_meta(TG_RING_ABI_MAJOR, TG_RING_ABI_MINOR, type));
        if (type == TG_RING_HAND_HELLO) {
            CHECK(memcmp(&w[8], "golden\0", 7) == 0 && w[12] == TG_RING_LAYOUT_HASH);
            CHECK(w[2] == TG_RING_FEATURE_DURABLE && w[3] == tg_ring_pair(128, 64));
        }
        if (type == TG_RING_HAND_WELCOME)
            CHECK(w[4] == tg_ring_pair(4, 8) && w[6] == TG_RING_LAYOUT_HASH && w[8] == first);
        if (type == TG_RING_HAND_REFUSED)
            CHECK(w[2] == 2 && w[3] == 128);
    }
    return failures != 0;
}
