/* The reference: what a fan-out server costs at least. One thread, epoll; whatever arrived in a turn of the loop goes
 * to every member with one send. No nicks, no history, no limits: a line in is that line out, to all.
 *
 *     reference PORT
 *
 * "join\n" makes a member and is answered "ok\n". It ends with the process that started it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUESTS_MAX 20000
#define READ (256 * 1024)
#define EVENTS 1024

typedef struct {
    char *bytes;
    size_t used, room;
} Bytes;

typedef struct {
    int member, waiting; /* waiting: for EPOLLOUT, with `late` to send */
    Bytes part, late;    /* the beginning of a line; what the kernel did not take */
} Guest;

static Guest guests[GUESTS_MAX];
static int members[GUESTS_MAX], member_count, loop;
static Bytes turn;
static char input[READ];

static void add(Bytes *to, const char *bytes, size_t count) {
    if (to->used + count > to->room) {
        to->room = (to->used + count) * 2;
        to->bytes = realloc(to->bytes, to->room);
        if (!to->bytes) abort();
    }
    memcpy(to->bytes + to->used, bytes, count);
    to->used += count;
}

static void watch(int fd, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(loop, how, fd, &event);
}

static void leave(int fd) {
    Guest *guest = &guests[fd];
    for (int n = 0; guest->member && n < member_count; n++)
        if (members[n] == fd) {
            memmove(members + n, members + n + 1, (size_t)(--member_count - n) * sizeof *members);
            break;
        }
    free(guest->part.bytes);
    free(guest->late.bytes);
    memset(guest, 0, sizeof *guest);
    close(fd);
}

static void push(int fd, const char *bytes, size_t count) {
    Guest *guest = &guests[fd];
    ssize_t sent = guest->late.used ? 0 : send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) sent = 0; /* an error shows again when the loop reads */
    if ((size_t)sent == count) return;
    add(&guest->late, bytes + sent, count - (size_t)sent);
    if (!guest->waiting) watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    guest->waiting = 1;
}

static void push_late(int fd) {
    Bytes *late = &guests[fd].late;
    ssize_t sent = send(fd, late->bytes, late->used, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) return;
    memmove(late->bytes, late->bytes + sent, late->used - (size_t)sent);
    late->used -= (size_t)sent;
    if (late->used) return;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    guests[fd].waiting = 0;
}

static void take(int fd) {
    Guest *guest = &guests[fd];
    ssize_t got = recv(fd, input, READ, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        leave(fd);
        return;
    }
    const char *at = input, *end = input + got, *last = memrchr(input, '\n', (size_t)got);
    if (!guest->member && got == 5 && !memcmp(input, "join\n", 5)) {
        guest->member = 1;
        members[member_count++] = fd;
        push(fd, "ok\n", 3);
        return;
    }
    if (last) {
        add(&turn, guest->part.bytes ? guest->part.bytes : "", guest->part.used);
        guest->part.used = 0;
        add(&turn, at, (size_t)(last + 1 - at));
        at = last + 1;
    }
    if (at < end) add(&guest->part, at, (size_t)(end - at));
}

int main(int count, char **words) {
    if (count != 2) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 4096)) {
        perror("reference");
        return 1;
    }
    loop = epoll_create1(0);
    watch(door, EPOLL_CTL_ADD, EPOLLIN);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(loop, events, EVENTS, -1);
        turn.used = 0;
        for (int n = 0; n < ready; n++) {
            int fd = events[n].data.fd;
            if (fd == door) {
                for (int guest; (guest = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                    if (guest >= GUESTS_MAX) {
                        close(guest);
                        continue;
                    }
                    setsockopt(guest, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    watch(guest, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            if (events[n].events & EPOLLOUT) push_late(fd);
            if (events[n].events & ~(uint32_t)EPOLLOUT) take(fd);
        }
        for (int n = 0; turn.used && n < member_count; n++) push(members[n], turn.bytes, turn.used);
    }
}
