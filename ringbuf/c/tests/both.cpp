/* Both headers in C++: the library's functions link, and the layout header's work on this program's own memory. */
#include <vector>

#include "check.h"
#include "tollgate_ring.h"
#include "tollgate_ring_layout.h"

static void a_session_without_a_server()
{
    tg_ring_session_options options;
    CHECK(tg_ring_session_options_init(&options) == TG_RING_STATUS_OK);
    options.path = "/nowhere/at/all";
    options.deadline_ns = 1000;
    options.fallback_mode = TG_RING_FAIL_OPEN;
    options.fallback_payload[3] = 4242;
    tg_ring_session *session = nullptr;
    CHECK(tg_ring_session_open(&options, &session, 1000, nullptr, 0) == TG_RING_STATUS_OK);
    CHECK(tg_ring_session_submit(session, 5, 0, 77, 0, nullptr, 0, 1000) == TG_RING_STATUS_OK);
    tg_ring_answer answer;
    CHECK(tg_ring_session_poll(session, &answer, 1999) == TG_RING_STATUS_NOTHING);
    CHECK(tg_ring_session_poll(session, &answer, 2000) == TG_RING_STATUS_OK);
    CHECK(answer.req_id == 77 && answer.source == TG_RING_SOURCE_FAIL_OPEN && answer.payload[3] == 4242);
    tg_ring_session_close(session);
}

static void a_request_and_its_verdict()
{
    const uint64_t first = UINT64_MAX;
    std::vector<uint64_t> c(tg_ring_file_bytes(4, 128) / 8), s(tg_ring_file_bytes(4, 64) / 8);
    s[TG_RING_S_STATE / 8] = TG_RING_STATE_ACTIVE;
    uint64_t *verdict = &s[tg_ring_slot_offset(first, 4, 64) / 8];
    verdict[0] = tg_ring_empty_seq_of(first, 4);
    tg_ring_bare bare;
    tg_ring_bare_init(&bare, c.data(), s.data(), 128, 4, 4, first);

    const uint64_t payload[2] = {3, 4};
    bool wake = true;
    CHECK(tg_ring_bare_send(&bare, 9, 1, 5, 6, payload, 2, &wake) == TG_RING_STATUS_OK && !wake);
    const uint64_t *request = &c[tg_ring_slot_offset(first, 4, 128) / 8];
    CHECK(request[0] == tg_ring_seq_of(first) && request[1] == tg_ring_pack_meta(9, 2, 1));
    CHECK(request[2] == 5 && request[3] == 6 && request[4] == 3 && request[5] == 4);

    tg_ring_verdict found;
    CHECK(tg_ring_bare_take(&bare, &found) == TG_RING_STATUS_NOTHING);
    verdict[1] = tg_ring_pack_meta(9, TG_RING_VERDICT_WORDS, 1);
    verdict[2] = 5;
    verdict[4] = 7;
    verdict[0] = tg_ring_seq_of(first);
    CHECK(tg_ring_bare_ready(&bare) && tg_ring_bare_take(&bare, &found) == TG_RING_STATUS_OK);
    CHECK(found.req_id == 5 && found.kind == 9 && found.flags == 1 && found.payload[0] == 7);
    CHECK(c[TG_RING_C_VERDICT_CURSOR / 8] == first + 1);
}

int main()
{
    CHECK(tg_ring_check(TG_RING_C_VERSION, TG_RING_LAYOUT_HASH) == TG_RING_STATUS_OK);
    a_session_without_a_server();
    a_request_and_its_verdict();
    return failures != 0;
}
