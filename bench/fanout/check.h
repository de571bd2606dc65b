/* Finds the messages in what a connection received, and checks every one of them: sender, number, order, each byte of
 * the text. Nothing here allocates.
 *
 * A text is TEXT bytes long: "~#" two digits of the sender "~at#" eight digits of the number, then filler. No protocol
 * that we speak escapes any of these bytes, and each puts a message's text on one line, so a delivery is a line with
 * the marker "~#" in it, whatever stands around it. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <string.h>

#define SENDERS_MAX 16
#define MARK 16 /* bytes before the filler */
#define TEXT_MAX 512

typedef struct {
    uint32_t next[SENDERS_MAX]; /* the number that must come next from each sender */
    uint32_t offset, stride;    /* how far into a record the text began last time, and how long the record was */
    uint64_t delivered, lost, doubled, broken, notices;
} Checked;

typedef struct {
    uint32_t length;       /* of the text */
    char filler[TEXT_MAX]; /* what follows the mark */
} Shape;

/* What the caller does with a message that came in order, and with a line that is no message. */
typedef void (*OnLine)(void *who, const char *line, size_t length);
typedef void (*OnTime)(uint32_t sender, uint32_t number);

static inline uint64_t word(const char *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/* Eight decimal digits at once (little endian): pairs, then fours, then all. */
static inline uint32_t eight_digits(uint64_t value) {
    value = (value & 0x0F0F0F0F0F0F0F0FULL) * 2561 >> 8;
    value = (value & 0x00FF00FF00FF00FFULL) * 6553601 >> 16;
    return (uint32_t)((value & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32);
}

static inline void put_digits(char *at, uint32_t value, int width) {
    while (width--) {
        at[width] = (char)('0' + value % 10);
        value /= 10;
    }
}

static inline void write_text(char *at, const Shape *shape, uint32_t sender, uint32_t number) {
    memcpy(at, "~#", 2);
    put_digits(at + 2, sender, 2);
    memcpy(at + 4, "~at#", 4);
    put_digits(at + 8, number, 8);
    memcpy(at + MARK, shape->filler, shape->length - MARK);
}

/* The sender of a text that begins at `at`, or -1 where the mark is not whole. */
static inline int sender_of(const char *at) {
    const uint64_t fixed = 0xFFFFFFFF0000FFFFULL; /* all but the two digits */
    if ((word(at) & fixed) != (word("~#00~at#") & fixed)) return -1;
    uint32_t sender = (uint32_t)(at[2] - '0') * 10 + (uint32_t)(at[3] - '0');
    return sender < SENDERS_MAX ? (int)sender : -1;
}

static inline int same_filler(const char *at, const Shape *shape) {
    if (shape->length == 64) { /* the usual size: no call */
        const char *good = shape->filler;
        uint64_t wrong = 0;
        for (int n = 0; n < 48; n += 8) wrong |= word(at + n) ^ word(good + n);
        return wrong == 0;
    }
    return memcmp(at, shape->filler, shape->length - MARK) == 0;
}

/* Read what lies in [at, end) and return where the first incomplete line begins.
 *
 * Most records look like the one before, so the next text is first looked for at the same offset and its end at the
 * same length (`quick`). Anything else goes line by line. Skipping a message by this guess cannot go unseen: the
 * numbers of every sender must come without a gap. */
static inline const char *check(Checked *c, const Shape *shape, const char *at, const char *end, void *who,
                                OnLine on_line, OnTime on_time) {
    const uint32_t length = shape->length;
    const char *record = at;
    for (;;) {
        const uint32_t offset = c->offset, stride = c->stride;
        uint64_t quick = 0;
        if (stride)
            while ((size_t)(end - at) >= stride) {
                const char *text = at + offset;
                int sender = sender_of(text);
                if (sender < 0 || at[stride - 1] != '\n') break;
                uint32_t number = eight_digits(word(text + 8));
                if (number != c->next[sender] || !same_filler(text + MARK, shape)) break;
                c->next[sender]++;
                quick++;
                if (on_time) on_time((uint32_t)sender, number);
                at += stride;
            }
        c->delivered += quick;
        if (quick) record = at;

        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) return at;
        size_t size = (size_t)(stop + 1 - at);
        const char *text = size >= length ? memmem(at, size, "~#", 2) : NULL;
        int sender = text && text + length <= stop ? sender_of(text) : -1;
        if (sender < 0) {
            if (text) c->broken++;
            else on_line(who, at, size - 1);
        } else {
            uint32_t number = eight_digits(word(text + 8));
            if (!same_filler(text + MARK, shape)) c->broken++;
            if (number < c->next[sender]) {
                c->doubled++; /* or out of order: then a loss was counted before */
            } else {
                c->lost += number - c->next[sender];
                c->next[sender] = number + 1;
                c->delivered++;
                if (on_time) on_time((uint32_t)sender, number);
            }
            c->offset = (uint32_t)(text - record);
            c->stride = (uint32_t)(stop + 1 - record);
            record = stop + 1;
        }
        at = stop + 1;
    }
}

#endif
