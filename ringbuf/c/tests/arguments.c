/* Wrong arguments get a status; and the bare client's functions over a real server, whose socket is the argument. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "tollgate_ring.h"

static void wrong_sessions(const char *path)
{
    tg_ring_session *session = NULL;
    tg_ring_session_options options;
    char error[TG_RING_ERROR_BYTES];
    CHECK(tg_ring_session_options_init(NULL) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_options_init(&options) == TG_RING_STATUS_OK);
    CHECK(tg_ring_session_open(&options, NULL, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_open(NULL, &session, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "options is null") != NULL && session == NULL);
    CHECK(tg_ring_session_open(&options, &session, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "fallback_mode") != NULL);
    options.fallback_mode = TG_RING_FAIL_CLOSED;
    CHECK(tg_ring_session_open(&options, &session, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "socket's path") != NULL);
    options.path = path;
    CHECK(tg_ring_session_open(&options, &session, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "deadline") != NULL);
    CHECK(tg_ring_session_open(&options, &session, 0, error, 9) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strcmp(error, "deadline") == 0);
    CHECK(tg_ring_session_open(&options, &session, 0, NULL, 0) == TG_RING_STATUS_BAD_ARGUMENT);
    options.deadline_ns = 1000;
    options.struct_bytes++;
    CHECK(tg_ring_session_open(&options, &session, 0, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    options.struct_bytes--;
    CHECK(tg_ring_session_open(&options, &session, 1000, error, sizeof error) == TG_RING_STATUS_OK);
    CHECK(session != NULL && error[0] == '\0');

    uint64_t words[64] = {0};
    tg_ring_answer answer;
    tg_ring_session_counts counts;
    CHECK(tg_ring_session_submit(NULL, 1, 0, 1, 0, words, 1, 1000) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_submit(session, 1, 0, 1, 0, NULL, 1, 1000) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_submit(session, 1, 0, 1, 0, (const uint64_t *)((uintptr_t)words + 1), 1, 1000) ==
          TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_submit(session, 1, 0, 1, 0, words, 13, 1000) == TG_RING_STATUS_TOO_LONG);
    CHECK(tg_ring_session_submit(session, 1, 0, 1, 0, words, SIZE_MAX, 1000) == TG_RING_STATUS_TOO_LONG);
    CHECK(tg_ring_session_submit(session, 5, 0, 77, 0, NULL, 0, 1000) == TG_RING_STATUS_OK);
    CHECK(tg_ring_session_in_flight(session) == 1 && tg_ring_session_unheard(session) == 1);
    CHECK(tg_ring_session_poll(session, NULL, 1000) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_poll(NULL, &answer, 1000) == TG_RING_STATUS_BAD_ARGUMENT);
    /* At the deadline, by a clock of the caller's. */
    CHECK(tg_ring_session_poll(session, &answer, 2000) == TG_RING_STATUS_OK);
    CHECK(answer.req_id == 77 && answer.t_intended_ns == 1000 && answer.kind == 5);
    CHECK(answer.source == TG_RING_SOURCE_FAIL_CLOSED && answer.silence == TG_RING_SILENCE_DEADLINE);
    CHECK(tg_ring_session_poll(session, &answer, 2000) == TG_RING_STATUS_NOTHING);
    CHECK(tg_ring_session_read_counts(session, NULL) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_read_counts(session, &counts) == TG_RING_STATUS_OK);
    CHECK(counts.submitted == 1 && counts.fallback_deadline == 1 && counts.answered == 0);
    CHECK(tg_ring_session_wait(NULL, 0, 0) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_last_error(session, NULL, 4) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_session_last_closed(session) == TG_RING_STATUS_NOTHING);
    CHECK(tg_ring_session_last_closed(NULL) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(!tg_ring_session_is_connected(NULL) && tg_ring_session_in_flight(NULL) == 0);
    tg_ring_session_close(session);
    tg_ring_session_close(NULL);
}

static void bare_client(const char *path)
{
    tg_ring_client *client = NULL;
    tg_ring_client_options options;
    char error[TG_RING_ERROR_BYTES];
    CHECK(tg_ring_client_options_init(NULL) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_client_options_init(&options) == TG_RING_STATUS_OK);
    CHECK(tg_ring_client_connect(NULL, &client, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "options is null") != NULL);
    CHECK(tg_ring_client_connect(&options, NULL, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    options.durable = 2;
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "durable must be 0 or 1") != NULL);
    options.durable = 0;
    options.struct_bytes--;
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(strstr(error, "struct_bytes is wrong") != NULL);
    options.struct_bytes++;
    options.path = "/nowhere/at/all";
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_NOT_CONNECTED);
    CHECK(strstr(error, "no server listens on /nowhere/at/all") != NULL);
    options.path = path;
    options.timeout_ns = 60ull * 1000 * 1000 * 1000;
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_NOT_CONNECTED);
    CHECK(strstr(error, "schema") != NULL && client == NULL);
    memset(options.schema_hash, 7, sizeof options.schema_hash);
    options.slot_bytes = 256;
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_NOT_CONNECTED);
    CHECK(strstr(error, "slot_bytes = 128") != NULL);
    options.slot_bytes = 128;
    CHECK(tg_ring_client_connect(&options, &client, error, sizeof error) == TG_RING_STATUS_OK);
    CHECK(client != NULL && tg_ring_client_id(client) != 0 && tg_ring_client_is_alive(client));
    CHECK(tg_ring_client_in_flight_max(client) == 64);
    uint64_t words[12] = {3, 4};
    CHECK(tg_ring_client_send(NULL, 9, 1, 5, 6, words, 2) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_client_send(client, 9, 1, 5, 6, words, 13) == TG_RING_STATUS_TOO_LONG);
    CHECK(tg_ring_client_heartbeat(client, 0) == TG_RING_STATUS_OK);
    CHECK(tg_ring_client_send(client, 9, 1, 5, 6, words, 2) == TG_RING_STATUS_OK);
    CHECK(tg_ring_client_in_flight(client) == 1);
    CHECK(tg_ring_client_wait(client, 60ull * 1000 * 1000 * 1000) == TG_RING_STATUS_OK);
    tg_ring_verdict verdict;
    CHECK(tg_ring_client_recv(client, NULL) == TG_RING_STATUS_BAD_ARGUMENT);
    CHECK(tg_ring_client_recv(client, &verdict) == TG_RING_STATUS_OK);
    CHECK(verdict.req_id == 5 && verdict.t_intended_ns == 6 && verdict.kind == 9 && verdict.flags == 1);
    CHECK(verdict.payload[0] == 2 && verdict.payload[1] == 7);
    CHECK(tg_ring_client_recv(client, &verdict) == TG_RING_STATUS_NOTHING);
    CHECK(tg_ring_client_wait(client, 0) == TG_RING_STATUS_NOTHING);
    tg_ring_client_close(client);
    tg_ring_client_close(NULL);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SOCKET NO_SOCKET\n", argv[0]);
        return 2;
    }
    wrong_sessions(argv[2]);
    bare_client(argv[1]);
    return failures != 0;
}
