/*
 * A small payment switch: sends requests through a session and prints what was decided, by whom.
 *
 *     cargo build --release -p tollgate-ring-c
 *     cc -I ringbuf/c/include ringbuf/examples/switch.c -L target/release -ltollgate_ring \
 *       -Wl,-rpath,"$PWD/target/release" -o target/switch
 *     target/switch SOCKET COUNT DEADLINE_MS
 *
 * One line for each answer, "answer ID SOURCE SILENCE W0 W1 W2 W3", then the counts. Exit code: 0 if the server decided all,
 * 1 if something failed, 2 for a wrong command line, 3 if a fallback was used.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tollgate_ring.h"

static void print_answer(const tg_ring_answer *answer)
{
    printf("answer %" PRIu64 " %u %u", answer->req_id, (unsigned)answer->source, (unsigned)answer->silence);
    for (int i = 0; i < 4; i++)
        printf(" %" PRIu64, answer->payload[i]);
    putchar('\n');
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end = NULL;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *out <= max;
}

/* Submits requests 0 to count - 1 and takes the answers. */
static tg_ring_status run(tg_ring_session *session, uint64_t count)
{
    uint64_t sent = 0, answered = 0;
    while (answered < count) {
        /* The clock is read once a round. */
        uint64_t now = tg_ring_monotonic_ns();
        if (sent < count) {
            uint64_t payload[3] = {sent, sent * 100, 978};
            tg_ring_status status = tg_ring_session_submit(session, 1, 0, sent, now, payload, 3, now);
            if (status == TG_RING_STATUS_OK)
                sent++;
            else if (status != TG_RING_STATUS_BUSY)
                return status;
        }
        tg_ring_answer answer;
        tg_ring_status status = tg_ring_session_poll(session, &answer, now);
        if (status == TG_RING_STATUS_OK) {
            answered++;
            print_answer(&answer);
        } else if (status != TG_RING_STATUS_NOTHING) {
            return status;
        } else if (sent == count) {
            tg_ring_session_wait(session, 50 * 1000 * 1000, now);
        }
    }
    return TG_RING_STATUS_OK;
}

int main(int argc, char **argv)
{
    uint64_t count = 0, deadline_ms = 0;
    if (argc != 4 || !number(argv[2], 1000 * 1000, &count) || !number(argv[3], 1000 * 1000, &deadline_ms)) {
        fprintf(stderr, "usage: %s SOCKET COUNT DEADLINE_MS (numbers up to 1000000)\n", argv[0]);
        return 2;
    }
    tg_ring_status status = tg_ring_check(TG_RING_C_VERSION, TG_RING_LAYOUT_HASH);
    if (status != TG_RING_STATUS_OK) {
        fprintf(stderr, "%s\n", tg_ring_status_text(status));
        return 1;
    }
    tg_ring_session_options options;
    tg_ring_session_options_init(&options);
    options.path = argv[1];
    options.name = "switch.c";
    memset(options.schema_hash, 7, sizeof options.schema_hash);
    options.deadline_ns = deadline_ms * 1000 * 1000;
    options.fallback_mode = TG_RING_FAIL_OPEN;
    options.fallback_payload[0] = 4242;

    char error[TG_RING_ERROR_BYTES];
    tg_ring_session *session = NULL;
    status = tg_ring_session_open(&options, &session, 0, error, sizeof error);
    if (status != TG_RING_STATUS_OK) {
        fprintf(stderr, "cannot open a session: %s\n", error);
        return 1;
    }
    status = run(session, count);
    if (status != TG_RING_STATUS_OK) {
        fprintf(stderr, "%s\n", tg_ring_status_text(status));
        tg_ring_session_close(session);
        return 1;
    }
    if (tg_ring_session_last_error(session, error, sizeof error) == TG_RING_STATUS_OK)
        fprintf(stderr, "not connected: %s\n", error);
    tg_ring_session_counts counts;
    tg_ring_session_read_counts(session, &counts);
    uint64_t fallback = counts.fallback_deadline + counts.fallback_outage;
    printf("submitted %" PRIu64 " answered %" PRIu64 " fallback %" PRIu64 " resubmitted %" PRIu64 " connects %" PRIu64 "\n",
           counts.submitted, counts.answered, fallback, counts.resubmitted, counts.connects);
    tg_ring_session_close(session);
    return fallback == 0 ? 0 : 3;
}
