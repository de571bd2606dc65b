/* How to speak to each server: a table of what to say and of the line that means "you are in". */
#ifndef SPEAK_H
#define SPEAK_H

#include <stdio.h>
#include <string.h>

#define SAY_MAX 256
#define ROOM "fanout"

typedef struct {
    const char *name;
    int own;                  /* senders get their own messages back */
    int apart;                /* senders cannot be receivers (redis): they are connections of their own */
    const char *hello;        /* on connecting; %d is the guest's number */
    const char *idle_hello;   /* instead of `hello` for guests that enter no room (NULL: `hello`) */
    const char *sender_hello; /* the same for a connection that only sends */
    const char *welcome;      /* a line with this in it ... */
    const char *enter;        /* ... is answered by this */
    const char *in;           /* a line with this in it: the guest is in the room */
    const char *idle;         /* a line with this in it: registered, for guests that enter no room (NULL: `in`) */
    const char *presence;     /* a line with this in it tells of another guest's coming */
    const char *ping, *pong;  /* a line that begins so is answered so; the rest of the line is kept */
    const char *before, *after; /* around a text; %zu in `before` is its length */
} Speech;

#define REDIS_SUBSCRIBE "*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\n" ROOM "\r\n"
#define NATS_CONNECT "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n"
#define IRC_REGISTER "NICK g%05d\r\nUSER guest 0 * :guest\r\n"
#define JSON_NICK "{\"type\":\"nick\",\"nick\":\"g%05d\"}\n"

static const Speech SPEECHES[] = {
    {.name = "hub", .own = 1, .hello = JSON_NICK, .in = "\"nick\",", .presence = " joined",
     .before = "{\"type\":\"msg\",\"text\":\"", .after = "\"}\n"},
    {.name = "naive", .own = 1, .hello = JSON_NICK, .idle_hello = "{\"type\":\"\"}\n", .in = "\"nick\",", .idle = "\"error\"",
     .presence = " joined", .before = "{\"type\":\"msg\",\"text\":\"", .after = "\"}\n"},
    {.name = "nats", .own = 1, .hello = NATS_CONNECT "SUB " ROOM " 1\r\nPING\r\n", .in = "PONG",
     .ping = "PING", .pong = "PONG", .before = "PUB " ROOM " %zu\r\n", .after = "\r\n"},
    {.name = "redis", .own = 0, .apart = 1, .hello = REDIS_SUBSCRIBE, .sender_hello = "*1\r\n$4\r\nPING\r\n",
     .in = ":1", .idle = ":1", .before = "*3\r\n$7\r\nPUBLISH\r\n$6\r\n" ROOM "\r\n$%zu\r\n", .after = "\r\n"},
    {.name = "irc", .own = 0, .hello = IRC_REGISTER, .welcome = " 001 ", .enter = "JOIN #" ROOM "\r\n",
     .in = " 366 ", .idle = " 001 ", .presence = " JOIN ", .ping = "PING", .pong = "PONG",
     .before = "PRIVMSG #" ROOM " :", .after = "\r\n"},
    {.name = "lines", .own = 1, .hello = "join\n", .in = "ok",
     .before = "{'type':'msg','nick':'g00000','text':'", .after = "','ts':1735812345,'id':100000}\n"},
};

static inline const Speech *speech_called(const char *name) {
    for (size_t n = 0; n < sizeof SPEECHES / sizeof *SPEECHES; n++)
        if (!strcmp(SPEECHES[n].name, name)) return &SPEECHES[n];
    return NULL;
}

static inline int holds(const char *line, size_t length, const char *what) {
    return what && memmem(line, length, what, strlen(what)) != NULL;
}

#endif
