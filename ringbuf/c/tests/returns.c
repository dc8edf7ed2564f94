/*
 * A session over a server that goes away and comes back. The server answers the first ANSWERED requests, takes some more, and
 * goes; it is back once the file CALL is there, and answers all. How long a request waits for a server to come back:
 *
 *     patient    longer than this takes: the server answers everything
 *     hasty      not at all: what is unanswered gets the fallback, and what the server says of it later is dropped
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tollgate_ring.h"

enum { COUNT = 100, ANSWERED = 40, KIND = 3, FLAGS = 8 };

static const uint64_t HOUR_NS = 3600ull * 1000 * 1000 * 1000;
static const uint64_t FALLBACK[4] = {4242, 1, 2, 3};
static unsigned answers[COUNT + 1];

static void submit(tg_ring_session *session, uint64_t id)
{
    uint64_t payload[2] = {id, id << 40};
    CHECK(tg_ring_session_submit(session, KIND, FLAGS, id, 0, payload, 2, 0) == TG_RING_STATUS_OK);
}

/* Takes an answer, or sleeps a little if there is none. */
static void step(tg_ring_session *session)
{
    tg_ring_answer answer;
    tg_ring_status status = tg_ring_session_poll(session, &answer, 0);
    if (status == TG_RING_STATUS_NOTHING) {
        tg_ring_session_wait(session, 10 * 1000 * 1000, 0);
        return;
    }
    if (status != TG_RING_STATUS_OK || answer.req_id > COUNT) {
        fprintf(stderr, "%s, request %llu\n", tg_ring_status_text(status), (unsigned long long)answer.req_id);
        exit(1);
    }
    answers[answer.req_id]++;
    CHECK(answer.kind == KIND);
    if (answer.source == TG_RING_SOURCE_SERVER) {
        CHECK(answer.silence == TG_RING_SILENCE_NONE && answer.flags == FLAGS);
        CHECK(answer.payload[0] == 2 && answer.payload[1] == answer.req_id + (answer.req_id << 40));
    } else {
        CHECK(answer.source == TG_RING_SOURCE_FAIL_CLOSED && answer.silence == TG_RING_SILENCE_OUTAGE);
        CHECK(answer.flags == 0 && memcmp(answer.payload, FALLBACK, sizeof FALLBACK) == 0);
    }
}

static tg_ring_session_counts counts(tg_ring_session *session)
{
    tg_ring_session_counts found;
    CHECK(tg_ring_session_read_counts(session, &found) == TG_RING_STATUS_OK);
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s SOCKET CALL patient|hasty\n", argv[0]);
        return 2;
    }
    bool patient = strcmp(argv[3], "patient") == 0;
    tg_ring_session_options options;
    CHECK(tg_ring_session_options_init(&options) == TG_RING_STATUS_OK);
    options.path = argv[1];
    memset(options.schema_hash, 7, sizeof options.schema_hash);
    options.deadline_ns = HOUR_NS;
    options.outage_grace_ns = patient ? HOUR_NS : 0;
    options.fallback_mode = TG_RING_FAIL_CLOSED;
    memcpy(options.fallback_payload, FALLBACK, sizeof FALLBACK);
    char error[TG_RING_ERROR_BYTES];
    tg_ring_session *session = NULL;
    if (tg_ring_session_open(&options, &session, 0, error, sizeof error) != TG_RING_STATUS_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }

    while (!tg_ring_session_is_connected(session))
        step(session);
    for (uint64_t id = 0; id < COUNT; id++)
        submit(session, id);
    while (counts(session).disconnects == 0)
        step(session);

    /* Nobody listens now, which the session finds out by trying. */
    while (tg_ring_session_last_error(session, error, sizeof error) == TG_RING_STATUS_NOTHING)
        step(session);
    CHECK(strstr(error, "no server listens on") != NULL);
    CHECK(tg_ring_session_last_closed(session) == TG_RING_STATUS_SERVER_GONE);
    while (!patient && tg_ring_session_in_flight(session) > 0)
        step(session);
    const uint64_t fallbacks = patient ? 0 : COUNT - ANSWERED;
    CHECK(!tg_ring_session_is_connected(session));
    CHECK(tg_ring_session_unheard(session) == COUNT - ANSWERED);
    CHECK(counts(session).answered == ANSWERED && counts(session).fallback_outage == fallbacks);

    FILE *call = fopen(argv[2], "w");
    CHECK(call != NULL && fclose(call) == 0);
    while (tg_ring_session_unheard(session) > 0)
        step(session);
    submit(session, COUNT);
    while (tg_ring_session_unheard(session) > 0)
        step(session);

    tg_ring_answer more;
    CHECK(tg_ring_session_poll(session, &more, 0) == TG_RING_STATUS_NOTHING);
    for (uint64_t id = 0; id <= COUNT; id++)
        CHECK(answers[id] == 1);
    tg_ring_session_counts end = counts(session);
    CHECK(end.submitted == COUNT + 1 && end.answered == COUNT + 1 - fallbacks);
    CHECK(end.fallback_outage == fallbacks && end.late == fallbacks && end.fallback_deadline == 0);
    CHECK(end.strange == 0 && end.forgotten == 0 && end.busy == 0);
    CHECK(end.connects == 2 && end.disconnects == 1);
    /* At least what the server had taken. */
    CHECK(end.resubmitted >= 20 && end.resubmitted <= COUNT - ANSWERED);
    tg_ring_session_close(session);
    return failures != 0;
}
