/*
 * The shared-memory ring, for C. Made from ringbuf/c/src by the test `the_header_is_made_from_the_code`; do not edit.
 *
 * A handle belongs to one thread at a time and is ended by its close function. Times are nanoseconds of CLOCK_MONOTONIC.
 * Null or impossible arguments are answered by a status. Link with -ltollgate_ring; docs/RING.md tells the rest.
 */

#ifndef TOLLGATE_RING_H
#define TOLLGATE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 Version of this interface. It changes when a function or a structure does. Give it to `tg_ring_check`.
 */
#define TG_RING_C_VERSION 1

/*
 Bytes that always suffice for an error text with its final NUL.
 */
#define TG_RING_ERROR_BYTES 512

/*
 First word of both files.
 */
#define TG_RING_MAGIC 5138124842692530004ull

/*
 First word of every handshake message.
 */
#define TG_RING_HAND_MAGIC 4921943221536051028ull

/*
 Third word of both files.
 */
#define TG_RING_ENDIAN_TAG 72623859790382856ull

/*
 Tells apart layouts that claim one ABI version.
 */
#define TG_RING_LAYOUT_HASH 13844694765071446405ull

/*
 Version of the layout: another major one is refused.
 */
#define TG_RING_ABI_MAJOR 1

/*
 Version of the layout: minor ones only add what may be ignored.
 */
#define TG_RING_ABI_MINOR 0

/*
 Role word of C, which the client writes.
 */
#define TG_RING_ROLE_C 1

/*
 Role word of S, which the server writes.
 */
#define TG_RING_ROLE_S 2

/*
 Bytes of the header of both files.
 */
#define TG_RING_HEADER_BYTES 128

/*
 C: first index + verdicts received.
 */
#define TG_RING_C_VERDICT_CURSOR 128

/*
 C: the client's heartbeat.
 */
#define TG_RING_C_HEARTBEAT 256

/*
 C: the word the server sleeps on.
 */
#define TG_RING_C_KICK 384

/*
 C: 1 while the client sleeps.
 */
#define TG_RING_C_PARKED 512

/*
 S: first index + requests whose slots may be used again.
 */
#define TG_RING_S_REQUEST_CURSOR 128

/*
 S: the server's heartbeat.
 */
#define TG_RING_S_HEARTBEAT 256

/*
 S: 1 while the server sleeps.
 */
#define TG_RING_S_DOORBELL 384

/*
 S: the state of the connection.
 */
#define TG_RING_S_STATE 392

/*
 S: the word the client sleeps on.
 */
#define TG_RING_S_VERDICT_BELL 512

/*
 Both files: the first slot.
 */
#define TG_RING_SLOTS 4096

/*
 State: in service.
 */
#define TG_RING_STATE_ACTIVE 1ull

/*
 State: closed in good order.
 */
#define TG_RING_STATE_CLOSED 2ull

/*
 State: nothing more is read from this client.
 */
#define TG_RING_STATE_QUARANTINED 3ull

/*
 Feature bit: verdicts only once their decision is durable.
 */
#define TG_RING_FEATURE_DURABLE 1ull

/*
 Words before the payload of a slot.
 */
#define TG_RING_SLOT_HEADER_WORDS 4

/*
 Bytes of a verdict slot.
 */
#define TG_RING_VERDICT_SLOT_BYTES 64

/*
 Payload words of a verdict.
 */
#define TG_RING_VERDICT_WORDS 4

/*
 Payload words of the largest request.
 */
#define TG_RING_REQUEST_WORDS_MAX 60

/*
 Largest capacity of either ring.
 */
#define TG_RING_CAPACITY_MAX 1048576

/*
 Words of every handshake message.
 */
#define TG_RING_HAND_WORDS 16

/*
 Handshake message: hello, by the client.
 */
#define TG_RING_HAND_HELLO 1

/*
 Handshake message: welcome, by the server, with C and S.
 */
#define TG_RING_HAND_WELCOME 2

/*
 Handshake message: mapped, by the client.
 */
#define TG_RING_HAND_MAPPED 3

/*
 Handshake message: active, by the server.
 */
#define TG_RING_HAND_ACTIVE 4

/*
 Handshake message: refused, by the server.
 */
#define TG_RING_HAND_REFUSED 5

/*
 Fallback mode: silence lets the request pass.
 */
#define TG_RING_FAIL_OPEN 1

/*
 Fallback mode: silence stops the request.
 */
#define TG_RING_FAIL_CLOSED 2

/*
 Source of an answer: the server.
 */
#define TG_RING_SOURCE_SERVER 0

/*
 Source of an answer: the fallback, and its mode is fail-open.
 */
#define TG_RING_SOURCE_FAIL_OPEN 1

/*
 Source of an answer: the fallback, and its mode is fail-closed.
 */
#define TG_RING_SOURCE_FAIL_CLOSED 2

/*
 Silence of an answer: there was none, the server answered.
 */
#define TG_RING_SILENCE_NONE 0

/*
 Silence of an answer: no verdict came before the deadline.
 */
#define TG_RING_SILENCE_DEADLINE 1

/*
 Silence of an answer: there was no server, and the grace was over.
 */
#define TG_RING_SILENCE_OUTAGE 2

/*
 What a call came to. From -5 downwards the connection or the handle has ended; otherwise it is well. The values stay as
 they are; later versions may add some.
 */
enum tg_ring_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Done.
   */
  TG_RING_STATUS_OK = 0,
  /*
   There is nothing yet; not an error.
   */
  TG_RING_STATUS_NOTHING = 1,
  /*
   No room: take answers and try again, or decide without the server.
   */
  TG_RING_STATUS_BUSY = 2,
  /*
   An argument is null, misaligned or impossible.
   */
  TG_RING_STATUS_BAD_ARGUMENT = -1,
  /*
   The payload does not fit in a slot.
   */
  TG_RING_STATUS_TOO_LONG = -2,
  /*
   The program was built against another version of this library.
   */
  TG_RING_STATUS_WRONG_VERSION = -3,
  /*
   No connection could be made; the error text says why.
   */
  TG_RING_STATUS_NOT_CONNECTED = -4,
  /*
   The server has gone or has closed the connection.
   */
  TG_RING_STATUS_SERVER_GONE = -5,
  /*
   The server has put this client in quarantine.
   */
  TG_RING_STATUS_QUARANTINED = -6,
  /*
   The server's memory holds impossible values.
   */
  TG_RING_STATUS_CORRUPT = -7,
  /*
   The library failed within, now or earlier on this handle. Close the handle.
   */
  TG_RING_STATUS_PANICKED = -8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum tg_ring_status tg_ring_status;
#else
typedef int32_t tg_ring_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 One connection. Opaque; one thread at a time.
 */
typedef struct tg_ring_client tg_ring_client;

/*
 A session. Opaque; one thread at a time.
 */
typedef struct tg_ring_session tg_ring_session;

/*
 What a connection asks for. Fill it with `tg_ring_client_options_init`, then set `path`. The texts are copied.
 */
typedef struct tg_ring_client_options {
  /*
   Size of this structure, set by init.
   */
  uint32_t struct_bytes;
  /*
   Request slot size, as the server's: 128, 256 or 512.
   */
  uint32_t slot_bytes;
  /*
   The server's socket, 1 to 107 bytes.
   */
  const char *path;
  /*
   A name for the server's log, or null; 32 bytes travel.
   */
  const char *name;
  /*
   What the payload words mean; must equal the server's.
   */
  uint8_t schema_hash[32];
  /*
   Longest time to connect.
   */
  uint64_t timeout_ns;
  /*
   1: verdicts only once their decision is durable. 0: at once.
   */
  uint32_t durable;
  /*
   Zero.
   */
  uint32_t reserved;
} tg_ring_client_options;

/*
 A verdict.
 */
typedef struct tg_ring_verdict {
  /*
   The request it answers.
   */
  uint64_t req_id;
  /*
   The request's intended send time.
   */
  uint64_t t_intended_ns;
  /*
   What was decided.
   */
  uint64_t payload[4];
  /*
   Flags.
   */
  uint32_t flags;
  /*
   Kind.
   */
  uint16_t kind;
  /*
   Zero.
   */
  uint16_t reserved;
} tg_ring_verdict;

/*
 How a session behaves. Fill it with `tg_ring_session_options_init`, then set at least `path`, `deadline_ns` and
 `fallback_mode`. The texts are copied.
 */
typedef struct tg_ring_session_options {
  /*
   Size of this structure, set by init.
   */
  uint32_t struct_bytes;
  /*
   Request slot size, as the server's: 128, 256 or 512.
   */
  uint32_t slot_bytes;
  /*
   The server's socket, 1 to 107 bytes.
   */
  const char *path;
  /*
   A name for the server's log, or null; 32 bytes travel.
   */
  const char *name;
  /*
   What the payload words mean; must equal the server's.
   */
  uint8_t schema_hash[32];
  /*
   Longest time from the intended send time to an answer.
   */
  uint64_t deadline_ns;
  /*
   Longest time for one attempt to connect.
   */
  uint64_t connect_timeout_ns;
  /*
   How long an unanswered request may wait once the connection is known to be lost.
   */
  uint64_t outage_grace_ns;
  /*
   Least time from one attempt to connect to the next.
   */
  uint64_t reconnect_every_ns;
  /*
   How often the system is asked whether the server lives.
   */
  uint64_t life_check_every_ns;
  /*
   Most unanswered requests, a power of two.
   */
  uint32_t in_flight_max;
  /*
   What silence decides: `TG_RING_FAIL_OPEN` or `TG_RING_FAIL_CLOSED`.
   */
  uint32_t fallback_mode;
  /*
   Payload of the answer that silence gets.
   */
  uint64_t fallback_payload[4];
  /*
   1: verdicts only once their decision is durable. 0: at once.
   */
  uint32_t durable;
  /*
   Zero.
   */
  uint32_t reserved;
} tg_ring_session_options;

/*
 The one answer to a request.
 */
typedef struct tg_ring_answer {
  /*
   As submitted.
   */
  uint64_t req_id;
  /*
   As submitted; the time of submission if that was 0.
   */
  uint64_t t_intended_ns;
  /*
   The verdict's payload, or the one declared for silence.
   */
  uint64_t payload[4];
  /*
   The verdict's flags; 0 in a fallback.
   */
  uint32_t flags;
  /*
   The verdict's kind; that of the request in a fallback.
   */
  uint16_t kind;
  /*
   Who decided: `TG_RING_SOURCE_SERVER`, `_FAIL_OPEN` or `_FAIL_CLOSED`.
   */
  uint8_t source;
  /*
   Why the server did not: `TG_RING_SILENCE_NONE`, `_DEADLINE` or `_OUTAGE`.
   */
  uint8_t silence;
} tg_ring_answer;

/*
 What has happened so far. `submitted` = `answered` + `fallback_deadline` + `fallback_outage` + those in flight.
 */
typedef struct tg_ring_session_counts {
  /*
   Requests accepted.
   */
  uint64_t submitted;
  /*
   Answers that were the server's.
   */
  uint64_t answered;
  /*
   Answers by fallback because of the deadline.
   */
  uint64_t fallback_deadline;
  /*
   Answers by fallback because there was no server.
   */
  uint64_t fallback_outage;
  /*
   Verdicts dropped because they came after the fallback.
   */
  uint64_t late;
  /*
   Verdicts dropped because nothing waits for them: a server's mistake, or of a request that was forgotten.
   */
  uint64_t strange;
  /*
   Requests that the server may never have heard of: settled by fallback, and given up to make room.
   */
  uint64_t forgotten;
  /*
   Requests sent once more on a later connection.
   */
  uint64_t resubmitted;
  /*
   Connections made.
   */
  uint64_t connects;
  /*
   Connections lost.
   */
  uint64_t disconnects;
  /*
   Requests refused because too many were unanswered.
   */
  uint64_t busy;
} tg_ring_session_counts;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The status in words, in English. Never null; static, not to be freed. Any number may be asked about.
 */
const char *tg_ring_status_text(int32_t status);

/*
 Whether this library is the one the program was built for. Call it once, with `TG_RING_C_VERSION` and
 `TG_RING_LAYOUT_HASH` of the header; anything but OK: build again with the library's own header.
 */
tg_ring_status tg_ring_check(uint32_t c_version,
                             uint64_t layout_hash);

/*
 The clock of this interface: `CLOCK_MONOTONIC` in nanoseconds.
 */
uint64_t tg_ring_monotonic_ns(void);

/*
 Fills options with what has a good default. The path has none.

 Pointers:
 `options` is null or may be written.
 */
tg_ring_status tg_ring_client_options_init(struct tg_ring_client_options *options);

/*
 Connects; blocks for `timeout_ns` of the options at most. On success `*client` is a handle to close with
 `tg_ring_client_close`; otherwise it is null, and `error` (if not null, of `error_bytes` bytes) says why.

 Pointers:
 Each pointer is null or valid for what is said here; texts are NUL-terminated.
 */
tg_ring_status tg_ring_client_connect(const struct tg_ring_client_options *options,
                                      struct tg_ring_client **client,
                                      char *error,
                                      size_t error_bytes);

/*
 Sends one request. BUSY: the ring is full, or as many requests are in flight as the server has verdict slots.
 `payload` may be null if `payload_words` is 0.

 Pointers:
 `client` is null or an open handle; `payload` has `payload_words` words.
 */
tg_ring_status tg_ring_client_send(struct tg_ring_client *client,
                                   uint16_t kind,
                                   uint32_t flags,
                                   uint64_t req_id,
                                   uint64_t t_intended_ns,
                                   const uint64_t *payload_or_null,
                                   size_t payload_words);

/*
 Takes the next verdict. OK: `*verdict` is written. NOTHING: there is none yet. Makes no system call, so it does not
 notice a server that died without a word; `tg_ring_client_wait` and `tg_ring_client_is_alive` do.

 Pointers:
 `client` is null or an open handle; `verdict` is null or may be written.
 */
tg_ring_status tg_ring_client_recv(struct tg_ring_client *client,
                                   struct tg_ring_verdict *verdict);

/*
 Sleeps until there is a verdict to receive, at most `timeout_ns`. OK: receive. NOTHING: the time is over. Notices the
 server's death within 50 ms.

 Pointers:
 `client` is null or an open handle.
 */
tg_ring_status tg_ring_client_wait(struct tg_ring_client *client,
                                   uint64_t timeout_ns);

/*
 Requests sent whose verdict has not been received. 0 for null.

 Pointers:
 `client` is null or an open handle.
 */
uint64_t tg_ring_client_in_flight(struct tg_ring_client *client);

/*
 Asks the system whether the server is still there. One system call. False for null.

 Pointers:
 `client` is null or an open handle.
 */
bool tg_ring_client_is_alive(struct tg_ring_client *client);

/*
 Tells the server that this client is at work.

 Pointers:
 `client` is null or an open handle.
 */
tg_ring_status tg_ring_client_heartbeat(struct tg_ring_client *client, uint64_t now_ns);

/*
 The number the server knows this client by. 0 for null.

 Pointers:
 `client` is null or an open handle.
 */
uint32_t tg_ring_client_id(struct tg_ring_client *client);

/*
 Verdict slots: the most requests in flight. 0 for null.

 Pointers:
 `client` is null or an open handle.
 */
uint32_t tg_ring_client_in_flight_max(struct tg_ring_client *client);

/*
 Ends a connection. Null is fine. The handle must not be used again.

 Pointers:
 `client` is null or an open handle.
 */
void tg_ring_client_close(struct tg_ring_client *client);

/*
 Fills options with what has a good default. Path, deadline and fallback mode have none.

 Pointers:
 `options` is null or may be written.
 */
tg_ring_status tg_ring_session_options_init(struct tg_ring_session_options *options);

/*
 Opens a session and begins to connect; succeeds whether or not a server listens. On success `*session` is a handle to
 close with `tg_ring_session_close`; otherwise it is null, and `error` (if not null, of `error_bytes` bytes) says what to
 change. `now_ns` of 0: the library reads the clock.

 Pointers:
 Each pointer is null or valid for what is said here; texts are NUL-terminated.
 */
tg_ring_status tg_ring_session_open(const struct tg_ring_session_options *options,
                                    struct tg_ring_session **session,
                                    uint64_t now_ns,
                                    char *error,
                                    size_t error_bytes);

/*
 Takes a request in; OK means that `tg_ring_session_poll` will give exactly one answer for it. BUSY: too many are
 unanswered. `t_intended_ns` of 0 means now; `payload` may be null if `payload_words` is 0. `now_ns` of 0: the library
 reads the clock.

 Pointers:
 `session` is null or an open handle; `payload` has `payload_words` words.
 */
tg_ring_status tg_ring_session_submit(struct tg_ring_session *session,
                                      uint16_t kind,
                                      uint32_t flags,
                                      uint64_t req_id,
                                      uint64_t t_intended_ns,
                                      const uint64_t *payload_or_null,
                                      size_t payload_words,
                                      uint64_t now_ns);

/*
 Takes the next answer. OK: `*answer` is written. NOTHING: there is none yet. Call it often: it also connects, sends what
 waits, and notices the end of a connection. `now_ns` of 0: the library reads the clock.

 Pointers:
 `session` is null or an open handle; `answer` is null or may be written.
 */
tg_ring_status tg_ring_session_poll(struct tg_ring_session *session,
                                    struct tg_ring_answer *answer,
                                    uint64_t now_ns);

/*
 Sleeps until there may be something to poll for, at most `timeout_ns`. May return early; poll to find out. `now_ns` of 0:
 the library reads the clock.

 Pointers:
 `session` is null or an open handle.
 */
tg_ring_status tg_ring_session_wait(struct tg_ring_session *session,
                                    uint64_t timeout_ns,
                                    uint64_t now_ns);

/*
 Ends a session; requests without an answer get none. Null is fine. The handle must not be used again.

 Pointers:
 `session` is null or an open handle.
 */
void tg_ring_session_close(struct tg_ring_session *session);

/*
 Writes what has happened so far to `*counts`.

 Pointers:
 `session` is null or an open handle; `counts` is null or may be written.
 */
tg_ring_status tg_ring_session_read_counts(struct tg_ring_session *session,
                                           struct tg_ring_session_counts *counts);

/*
 Whether there is a connection, as far as is known without asking the system. False for null.

 Pointers:
 `session` is null or an open handle.
 */
bool tg_ring_session_is_connected(struct tg_ring_session *session);

/*
 Requests submitted that have no answer yet. 0 for null.

 Pointers:
 `session` is null or an open handle.
 */
uint32_t tg_ring_session_in_flight(struct tg_ring_session *session);

/*
 Requests that the server has not answered, those settled by fallback included: keep polling until it is 0 if the server
 is to hear of everything. 0 for null.

 Pointers:
 `session` is null or an open handle.
 */
uint32_t tg_ring_session_unheard(struct tg_ring_session *session);

/*
 Copies why the last attempt to connect failed to `error`, of `error_bytes` bytes. NOTHING: it did not; the text is then
 empty.

 Pointers:
 `session` is null or an open handle; `error` is null or may be written for `error_bytes` bytes.
 */
tg_ring_status tg_ring_session_last_error(struct tg_ring_session *session,
                                          char *error,
                                          size_t error_bytes);

/*
 Why the last connection ended: SERVER_GONE, QUARANTINED or CORRUPT. NOTHING: none has ended.

 Pointers:
 `session` is null or an open handle.
 */
tg_ring_status tg_ring_session_last_closed(struct tg_ring_session *session);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TOLLGATE_RING_H */
