/*
 * A client without the library: handshake, mapping, requests, verdicts and parking, from docs/RING.md and the layout header
 * alone. Sends COUNT requests and checks that each gets its verdict, in order: what the server answers is payload[0] = words
 * sent, payload[1] = their sum.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tollgate_ring_layout.h"

enum { SLOT_BYTES = 128, SCHEMA_BYTE = 7 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "not so: %s\n", what);
        exit(1);
    }
}

static int call(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (fd < 0)
        fail("socket");
    require(strlen(path) < sizeof address.sun_path, "the path fits in an address");
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    return fd;
}

static void say(int socket, uint32_t type, uint64_t words[TG_RING_HAND_WORDS])
{
    words[0] = TG_RING_HAND_MAGIC;
    words[1] = tg_ring_pack_meta(TG_RING_ABI_MAJOR, TG_RING_ABI_MINOR, type);
    if (send(socket, words, 8 * TG_RING_HAND_WORDS, MSG_NOSIGNAL) != 8 * TG_RING_HAND_WORDS)
        fail("send");
}

/* The next message, which must be of this type. Its descriptors go to fds; the others stay -1. */
static void hear(int socket, uint32_t type, uint64_t words[TG_RING_HAND_WORDS], int fds[2])
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = words, .iov_len = 8 * TG_RING_HAND_WORDS};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (received < 0)
        fail("recvmsg");
    require(received == 8 * TG_RING_HAND_WORDS && !(message.msg_flags & MSG_TRUNC), "a message of 128 bytes");
    require(words[0] == TG_RING_HAND_MAGIC, "a message of this protocol");
    uint32_t found = tg_ring_meta_flags(words[1]);
    if (found == TG_RING_HAND_REFUSED)
        fprintf(stderr, "refused: code %llu, detail %llu\n", (unsigned long long)words[2],
                (unsigned long long)words[3]);
    require(found == type, "the message that is due");
    fds[0] = fds[1] = -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS &&
        first->cmsg_len == CMSG_LEN(2 * sizeof(int)))
        memcpy(fds, CMSG_DATA(first), 2 * sizeof(int));
}

/* Maps a file that is as long and as sealed as agreed. */
static void *map(int fd, size_t bytes, int protection, int seals)
{
    struct stat found;
    if (fstat(fd, &found) != 0)
        fail("fstat");
    require((size_t)found.st_size == bytes, "a file as long as agreed");
    require((fcntl(fd, F_GET_SEALS) & seals) == seals, "a file sealed as agreed");
    void *base = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        fail("mmap");
    close(fd);
    return base;
}

static void check_header(const void *file, const uint64_t welcome[TG_RING_HAND_WORDS], uint32_t role, size_t bytes)
{
    uint64_t schema, expected[16] = {0};
    memset(&schema, SCHEMA_BYTE, sizeof schema);
    expected[0] = TG_RING_MAGIC;
    expected[1] = tg_ring_pack_meta(TG_RING_ABI_MAJOR, TG_RING_ABI_MINOR, role);
    expected[2] = TG_RING_ENDIAN_TAG;
    expected[3] = welcome[3];
    expected[4] = welcome[4];
    expected[5] = welcome[5];
    expected[6] = TG_RING_LAYOUT_HASH;
    expected[7] = bytes;
    for (int i = 8; i < 12; i++)
        expected[i] = schema;
    expected[12] = welcome[2];
    expected[13] = welcome[8];
    for (size_t i = 0; i < 16; i++)
        require(tg_ring_load(file, 8 * i) == expected[i], "a header as the welcome says");
}

static int handshake(const char *path, struct tg_ring_bare *bare)
{
    uint64_t words[TG_RING_HAND_WORDS] = {0}, welcome[TG_RING_HAND_WORDS];
    int fds[2];
    int socket = call(path);
    words[3] = tg_ring_pair(SLOT_BYTES, TG_RING_VERDICT_SLOT_BYTES);
    memset(&words[4], SCHEMA_BYTE, 32);
    memcpy(&words[8], "bare.c", 6);
    words[12] = TG_RING_LAYOUT_HASH;
    say(socket, TG_RING_HAND_HELLO, words);

    hear(socket, TG_RING_HAND_WELCOME, welcome, fds);
    require(fds[0] >= 0 && fds[1] >= 0, "two files come with the welcome");
    require(welcome[3] == tg_ring_pair(SLOT_BYTES, TG_RING_VERDICT_SLOT_BYTES), "the slots asked for");
    require(welcome[6] == TG_RING_LAYOUT_HASH, "the same layout");
    uint32_t requests = (uint32_t)welcome[4], verdicts = (uint32_t)(welcome[4] >> 32);
    require(requests >= 2 && requests <= TG_RING_CAPACITY_MAX && (requests & (requests - 1)) == 0, "a capacity");
    require(verdicts >= 2 && verdicts <= TG_RING_CAPACITY_MAX && (verdicts & (verdicts - 1)) == 0, "a capacity");
    size_t c_bytes = tg_ring_file_bytes(requests, SLOT_BYTES);
    size_t s_bytes = tg_ring_file_bytes(verdicts, TG_RING_VERDICT_SLOT_BYTES);
    int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;
    void *c = map(fds[0], c_bytes, PROT_READ | PROT_WRITE, size_seals);
    void *s = map(fds[1], s_bytes, PROT_READ, size_seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    check_header(c, welcome, TG_RING_ROLE_C, c_bytes);
    check_header(s, welcome, TG_RING_ROLE_S, s_bytes);

    uint64_t epoch = welcome[5];
    memset(words, 0, sizeof words);
    words[2] = epoch;
    say(socket, TG_RING_HAND_MAPPED, words);
    hear(socket, TG_RING_HAND_ACTIVE, words, fds);
    require(words[2] == epoch, "this connection is activated");
    tg_ring_bare_init(bare, c, s, SLOT_BYTES, requests, verdicts, welcome[8]);
    return socket;
}

static void wake_server(struct tg_ring_bare *bare)
{
    syscall(SYS_futex, (char *)bare->c + TG_RING_C_KICK, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

/* Sleeps until rung, 50 ms at most; then asks the socket whether the server is there. */
static void park(struct tg_ring_bare *bare, int socket)
{
    struct timespec at_most = {.tv_sec = 0, .tv_nsec = 50 * 1000 * 1000};
    /* The bell is read before the announcement, so that a ring after the last look changes it. */
    uint32_t bell = (uint32_t)tg_ring_load(bare->s, TG_RING_S_VERDICT_BELL);
    tg_ring_store(bare->c, TG_RING_C_PARKED, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* client_sleeps */
    if (!tg_ring_bare_ready(bare) && tg_ring_bare_state(bare) == TG_RING_STATUS_OK)
        syscall(SYS_futex, (const char *)bare->s + TG_RING_S_VERDICT_BELL, FUTEX_WAIT, bell, &at_most, NULL, 0);
    tg_ring_store(bare->c, TG_RING_C_PARKED, 0);
    struct pollfd fd = {.fd = socket, .events = POLLRDHUP};
    require(poll(&fd, 1, 0) == 0, "the server is there");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SOCKET COUNT\n", argv[0]);
        return 2;
    }
    struct tg_ring_bare bare;
    int socket = handshake(argv[1], &bare);
    uint64_t count = strtoull(argv[2], NULL, 10), sent = 0, received = 0;
    while (received < count) {
        bool wake = false, idle = true;
        if (sent < count) {
            uint64_t payload[2] = {sent, sent << 40};
            tg_ring_status status = tg_ring_bare_send(&bare, 3, 8, sent, sent + 5, payload, 2, &wake);
            require(status == TG_RING_STATUS_OK || status == TG_RING_STATUS_BUSY, "the ring takes requests");
            if (status == TG_RING_STATUS_OK)
                sent++, idle = false;
            if (wake)
                wake_server(&bare);
        }
        tg_ring_verdict verdict;
        tg_ring_status status = tg_ring_bare_take(&bare, &verdict);
        if (status == TG_RING_STATUS_OK) {
            require(verdict.req_id == received && verdict.t_intended_ns == received + 5, "the verdict due");
            require(verdict.kind == 3 && verdict.flags == 8, "kind and flags as sent");
            require(verdict.payload[0] == 2 && verdict.payload[1] == received + (received << 40), "the sum");
            received++;
            continue;
        }
        require(status == TG_RING_STATUS_NOTHING, "a connection in order");
        if (idle)
            park(&bare, socket);
    }
    printf("exchanged %llu\n", (unsigned long long)received);
    return 0;
}
