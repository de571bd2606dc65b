/* Loads one server and checks every delivery. Prints one line of JSON.
 *
 *     loadgen SPEECH PORT TEXT_BYTES SERVER_PID AT_ONCE flood RECEIVERS SENDERS WINDOW SECONDS
 *     loadgen SPEECH PORT TEXT_BYTES SERVER_PID AT_ONCE pace RECEIVERS RATE SECONDS
 *     loadgen SPEECH PORT TEXT_BYTES SERVER_PID AT_ONCE join GUESTS
 *     loadgen SPEECH PORT TEXT_BYTES SERVER_PID AT_ONCE idle GUESTS
 *
 * Receivers are all members of one room; the first SENDERS of them send (redis: connections beside them). A sender has
 * at most WINDOW messages on their way: one counts as arrived when every receiver has it (but the sender itself, where
 * the server does not give senders their own). `idle` stays until its input ends. Guests come in AT_ONCE at a time, the next when one is in. It ends with the process that started it. */
#include "guests.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#define SENT_RING (1 << 16)       /* times of sending kept for `pace`: more than can be on their way */
#define WARM_UP 200000000LL       /* ns before a measurement counts */
#define DRAIN 2000000000LL        /* ns that the last messages may take */
#define FINE 50000                /* one-microsecond steps, */
#define COARSE 20000              /* then one-millisecond steps */

typedef struct {
    uint64_t delivered, bytes;
    int64_t at;
    double own_cpu, server_cpu; /* seconds */
} Mark;

static int receivers, senders, server_pid;
static uint32_t sent[SENDERS_MAX], everywhere[SENDERS_MAX];
static int behind[SENDERS_MAX]; /* a receiver that has the fewest of a sender's messages */
static Outgoing outgoing[SENDERS_MAX];
static char before[64], after[64];
static size_t before_length, after_length;

static double server_seconds(void) {
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", server_pid);
    FILE *stat = fopen(path, "r");
    if (!stat) return 0;
    size_t length = fread(line, 1, sizeof line - 1, stat);
    fclose(stat);
    line[length] = 0;
    char *name_end = strrchr(line, ')');
    if (name_end) sscanf(name_end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static Mark mark(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    Mark mark = {.at = now(), .bytes = bytes_in, .server_cpu = server_seconds()};
    mark.own_cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    for (int n = 0; n < guest_count; n++) mark.delivered += guests[n].checked.delivered;
    return mark;
}

static Guest *sending(int sender) { return &guests[speech->apart ? receivers + sender : sender]; }

/* How many messages of a sender every receiver has. Looks at all of them only when the one that had the fewest went on. */
static uint32_t arrived(int sender) {
    uint32_t fewest = guests[behind[sender]].checked.next[sender];
    if (fewest == everywhere[sender] && fewest) return fewest;
    fewest = UINT32_MAX;
    for (int n = 0; n < receivers; n++) {
        if (!speech->own && !speech->apart && n == sender) continue;
        uint32_t next = guests[n].checked.next[sender];
        if (next < fewest) fewest = next, behind[sender] = n;
        if (fewest == everywhere[sender]) break;
    }
    return everywhere[sender] = fewest;
}

static void compose(int sender, uint32_t count) {
    Outgoing *out = &outgoing[sender];
    char *at = out->bytes + out->to;
    while (count--) {
        memcpy(at, before, before_length);
        write_text(at + before_length, &shape, (uint32_t)sender, sent[sender]++);
        memcpy(at + before_length + shape.length, after, after_length);
        at += before_length + shape.length + after_length;
    }
    out->to = (size_t)(at - out->bytes);
}

static void prepare(uint32_t window) {
    before_length = (size_t)snprintf(before, sizeof before, speech->before, (size_t)shape.length);
    after_length = (size_t)snprintf(after, sizeof after, "%s", speech->after);
    size_t one = before_length + shape.length + after_length;
    for (int n = 0; n < senders; n++)
        if (!(outgoing[n].bytes = malloc(one * window))) die("memory");
}

/* Deliveries that must still come: every receiver owes every message, but not senders their own where they get none. */
static uint64_t owed(uint64_t *lost) {
    uint64_t missing = 0;
    *lost = 0;
    for (int n = 0; n < receivers; n++) {
        for (int s = 0; s < senders; s++)
            if (speech->own || speech->apart || n != s) missing += sent[s] - guests[n].checked.next[s];
        *lost += guests[n].checked.lost;
    }
    return missing;
}

/* Read on until everything has come; what is owed after DRAIN without an end is told as "open". */
static uint64_t drain(void) {
    uint64_t lost, open;
    int64_t end = now() + DRAIN;
    while ((open = owed(&lost)) && now() < end && !closed_early) {
        for (int s = 0; s < senders; s++) push(sending(s), &outgoing[s]);
        turn(10, NULL);
    }
    return open;
}

static void tell(Mark from, Mark to, uint64_t open) {
    uint64_t lost = 0, doubled = 0, broken = 0;
    for (int n = 0; n < guest_count; n++) {
        lost += guests[n].checked.lost;
        doubled += guests[n].checked.doubled;
        broken += guests[n].checked.broken;
    }
    double seconds = (double)(to.at - from.at) / 1e9;
    printf("\"seconds\": %.4f, \"delivered\": %llu, \"rate\": %.1f, \"bytes\": %llu, \"lost\": %llu, \"doubled\": %llu, "
           "\"broken\": %llu, \"open\": %llu, \"closed\": %llu, \"generator_cpu\": %.3f, \"server_cpu\": %.3f}\n",
           seconds, (unsigned long long)(to.delivered - from.delivered),
           (double)(to.delivered - from.delivered) / seconds, (unsigned long long)(to.bytes - from.bytes),
           (unsigned long long)lost, (unsigned long long)doubled, (unsigned long long)broken,
           (unsigned long long)open, (unsigned long long)closed_early, (to.own_cpu - from.own_cpu) / seconds,
           (to.server_cpu - from.server_cpu) / seconds);
}

static void flood(uint32_t window, double seconds) {
    prepare(window);
    Mark from = {0};
    int64_t start = now() + WARM_UP, end = start + (int64_t)(seconds * 1e9);
    for (int64_t at = now(); at < end && !closed_early; at = now()) {
        if (!from.at && at >= start) from = mark();
        for (int s = 0; s < senders; s++) {
            uint32_t free = window - (sent[s] - arrived(s));
            if (free && outgoing[s].from == outgoing[s].to) compose(s, free);
            push(sending(s), &outgoing[s]);
        }
        turn(1, NULL);
    }
    Mark to = mark();
    uint64_t open = drain();
    printf("{");
    tell(from, to, open);
}

static int64_t due[SENT_RING];
static uint64_t fine[FINE], coarse[COARSE];
static int timer, counting;

static void late_by(uint32_t sender, uint32_t number) {
    (void)sender;
    if (!counting) return;
    int64_t micros = (arrival - due[number % SENT_RING]) / 1000;
    if (micros < 0) micros = 0;
    if (micros < FINE) fine[micros]++;
    else coarse[micros / 1000 < COARSE ? micros / 1000 : COARSE - 1]++;
}

static void tick(void) {
    uint64_t times;
    if (read(timer, &times, sizeof times) < 0) return;
}

static double quantile(double share) { /* milliseconds */
    uint64_t all = 0, seen = 0;
    for (int n = 0; n < FINE; n++) all += fine[n];
    for (int n = 0; n < COARSE; n++) all += coarse[n];
    for (int n = 0; n < FINE; n++)
        if ((seen += fine[n]) > share * (double)all) return n / 1000.0;
    for (int n = 0; n < COARSE; n++)
        if ((seen += coarse[n]) > share * (double)all) return n;
    return 0;
}

/* Open loop: a message is due every 1/rate s whether or not the last ones arrived, and late from when it was due. */
static void pace(double rate, double seconds) {
    uint32_t most = SENT_RING / 2;
    prepare(most);
    int64_t gap = (int64_t)(1e9 / rate), next = now() + gap, start = now() + WARM_UP;
    int64_t end = start + (int64_t)(seconds * 1e9);
    struct itimerspec every = {.it_value = {.tv_nsec = gap}, .it_interval = {.tv_nsec = gap}};
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(timer, 0, &every, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
    on_time = late_by;
    Mark from = {0};
    for (int64_t at = now(); at < end && !closed_early; at = now()) {
        if (!from.at && at >= start) {
            from = mark();
            counting = 1;
        }
        for (; next <= at && sent[0] - arrived(0) < most; next += gap) {
            due[sent[0] % SENT_RING] = next;
            if (outgoing[0].to < (most - 1) * (before_length + shape.length + after_length)) compose(0, 1);
        }
        push(sending(0), &outgoing[0]);
        turn(1, tick);
    }
    Mark to = mark();
    epoll_ctl(loop, EPOLL_CTL_DEL, timer, NULL);
    uint64_t open = drain();
    printf("{\"p50\": %.3f, \"p99\": %.3f, ", quantile(0.50), quantile(0.99));
    tell(from, to, open);
}

int main(int count, char **words) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (count < 8 || !(speech = speech_called(words[1]))) return 2;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    shape.length = (uint32_t)atoi(words[3]);
    if (shape.length < MARK || shape.length > TEXT_MAX) return 2;
    for (uint32_t n = 0; n < shape.length - MARK; n++) shape.filler[n] = " a line of chat as people write it, give or take"[n % 48];
    server_pid = atoi(words[4]);
    at_once = atoi(words[5]);
    const char *mode = words[6];
    receivers = atoi(words[7]);
    int64_t begun = now();
    if (!strcmp(mode, "flood") && count == 11) {
        senders = atoi(words[8]);
        if (senders < 1 || senders > SENDERS_MAX || senders > receivers || receivers < 2) return 2;
        open_all(receivers, speech->apart ? senders : 0);
        settle(150, 3000);
        flood((uint32_t)atoi(words[9]), atof(words[10]));
    } else if (!strcmp(mode, "pace") && count == 10) {
        senders = 1;
        open_all(receivers, speech->apart ? senders : 0);
        settle(150, 3000);
        pace(atof(words[8]), atof(words[9]));
    } else if (!strcmp(mode, "join") || !strcmp(mode, "idle")) {
        idle_only = !strcmp(mode, "idle");
        open_all(receivers, 0);
        double seconds = (double)(now() - begun) / 1e9;
        settle(300, 3000);
        uint64_t notices = 0;
        for (int n = 0; n < guest_count; n++) notices += guests[n].checked.notices;
        printf("{\"seconds\": %.4f, \"rate\": %.1f, \"notices\": %llu, \"bytes\": %llu, \"closed\": %llu}\n", seconds,
               receivers / seconds, (unsigned long long)notices, (unsigned long long)bytes_in,
               (unsigned long long)closed_early);
        fflush(stdout);
        char byte;
        while (idle_only && read(0, &byte, 1) > 0) {
        }
    } else {
        return 2;
    }
    return 0;
}
