/* The connections of the load generator: opening them, saying hello, sending, and reading what came. */
#ifndef GUESTS_H
#define GUESTS_H

#include "check.h"
#include "speak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ (128 * 1024) /* stays in the second-level cache together with what is checked */
#define REST (16 * 1024)  /* the longest line that may wait for its end */
#define EVENTS 512
#define STUCK 5000000000LL   /* ns without anybody coming in */
#define OPENED 30000000000LL /* ns that it may take until all are in */

enum { CLOSED, CONNECTING, GREETED, IN };

typedef struct {
    int fd, state, number, only_sends;
    uint32_t rest_used;
    char *rest; /* the beginning of a line */
    Checked checked;
} Guest;

typedef struct {
    char *bytes;
    size_t from, to;
} Outgoing;

static const Speech *speech;
static Shape shape;
static Guest *guests;
static int guest_count, opened, entered, loop, idle_only;
static int at_once; /* guests on their way in */
static struct sockaddr_in server;
static char input[REST + READ];
static uint64_t bytes_in, closed_early;
static OnTime on_time;
static int64_t arrival; /* when the chunk that is being checked was read */

static inline int64_t now(void) { /* nanoseconds */
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* What a guest says by itself is short and rare: the kernel always takes it. */
static void say(Guest *guest, const char *what, size_t length) {
    if (send(guest->fd, what, length, MSG_NOSIGNAL) != (ssize_t)length) die("send");
}

static void in(Guest *guest) {
    guest->state = IN;
    entered++;
}

static void hear(void *who, const char *line, size_t length) {
    Guest *guest = who;
    if (speech->ping && !strncmp(line, speech->ping, strlen(speech->ping))) {
        char pong[SAY_MAX];
        int rest = (int)(length - strlen(speech->ping));
        int size = snprintf(pong, sizeof pong, "%s%.*s\n", speech->pong, rest > 200 ? 200 : rest,
                            line + strlen(speech->ping));
        say(guest, pong, (size_t)size);
        return;
    }
    if (guest->state == GREETED) {
        const char *sign = guest->only_sends ? "PONG" : idle_only && speech->idle ? speech->idle : speech->in;
        if (holds(line, length, sign)) {
            in(guest);
            return;
        }
        if (holds(line, length, speech->welcome)) say(guest, speech->enter, strlen(speech->enter));
    }
    if (holds(line, length, speech->presence)) guest->checked.notices++;
}

static void open_guest(Guest *guest) {
    int on = 1;
    guest->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (guest->fd < 0) die("socket");
    setsockopt(guest->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(guest->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = guest};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, guest->fd, &event)) die("epoll");
    guest->state = CONNECTING;
    opened++;
}

static void greet(Guest *guest) {
    char hello[SAY_MAX];
    int wrong = 0;
    socklen_t size = sizeof wrong;
    getsockopt(guest->fd, SOL_SOCKET, SO_ERROR, &wrong, &size);
    if (wrong) {
        errno = wrong;
        die("connect");
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};
    epoll_ctl(loop, EPOLL_CTL_MOD, guest->fd, &event);
    guest->state = GREETED;
    const char *words = idle_only && speech->idle_hello ? speech->idle_hello : speech->hello;
    int length = snprintf(hello, sizeof hello, guest->only_sends ? speech->sender_hello : words, guest->number);
    say(guest, hello, (size_t)length);
}

static void leave(Guest *guest) {
    epoll_ctl(loop, EPOLL_CTL_DEL, guest->fd, NULL);
    close(guest->fd);
    guest->state = CLOSED;
    closed_early++;
}

static void take(Guest *guest) {
    char *at = input + REST - guest->rest_used;
    memcpy(at, guest->rest, guest->rest_used);
    ssize_t got = recv(guest->fd, input + REST, READ, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) leave(guest);
        return;
    }
    bytes_in += (uint64_t)got;
    if (on_time) arrival = now();
    const char *end = input + REST + got;
    const char *rest = check(&guest->checked, &shape, at, end, guest, hear, on_time);
    guest->rest_used = (uint32_t)(end - rest);
    if (guest->rest_used > REST) {
        errno = EMSGSIZE;
        die("a line without an end");
    }
    memcpy(guest->rest, rest, guest->rest_used);
}

/* One turn: wait up to `timeout` ms, read what came, open the next guests. Returns how many were ready; `other` is
 * called for events that are no guest's. */
static int turn(int timeout, void (*other)(void)) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(loop, events, EVENTS, timeout);
    for (int n = 0; n < ready; n++) {
        Guest *guest = events[n].data.ptr;
        if (!guest) {
            other();
            continue;
        }
        if (guest->state == CONNECTING) greet(guest);
        else if (guest->state != CLOSED) take(guest);
    }
    return ready;
}

static void open_all(int count, int senders_apart) {
    guest_count = count + senders_apart;
    guests = calloc((size_t)guest_count, sizeof *guests);
    char *rests = calloc((size_t)guest_count, REST);
    if (!guests || !rests) die("memory");
    loop = epoll_create1(0);
    for (int n = 0; n < guest_count; n++) {
        guests[n].number = n;
        guests[n].rest = rests + (size_t)n * REST;
        guests[n].only_sends = n >= count;
    }
    int64_t begun = now(), progress = begun;
    for (int before = 0; entered < guest_count;) {
        while (opened < guest_count && opened - entered < at_once) open_guest(&guests[opened]);
        turn(100, NULL);
        if (entered != before || closed_early) progress = now();
        before = entered;
        if (closed_early || now() - progress > STUCK || now() - begun > OPENED) {
            fprintf(stderr, "loadgen: %d of %d came in, %llu were thrown out\n", entered, guest_count,
                    (unsigned long long)closed_early);
            exit(1);
        }
    }
}

/* Until nothing has come for `quiet` ms, or `most` ms have passed. */
static void settle(int quiet, int64_t most) {
    int64_t end = now() + most * 1000000;
    while (now() < end && turn(quiet, NULL)) {
    }
}

/* Write what is left of `out` to the sender; keep the rest for the next turn. */
static void push(Guest *guest, Outgoing *out) {
    if (out->from == out->to) return;
    ssize_t sent = send(guest->fd, out->bytes + out->from, out->to - out->from, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN) closed_early++;
        return;
    }
    out->from += (size_t)sent;
    if (out->from == out->to) out->from = out->to = 0;
}

#endif
