"""Bounds and timings of the engine, each with its reason."""

from __future__ import annotations

# --- memory ---
MAX_PENDING = 1000  # records of one room that wait for a parent: more means a broken or hostile peer
MAX_PREVIEW = 256  # newest records shown to a late joiner before their logs are complete
MAX_BRANCHES = 64  # ends of forked branches told of one author: proof needs two, honest accidents a handful
MAX_AUTHORS = 1000  # logs in one room: the roster limit
MAX_ACTS = 4096  # control records of one private room: four for each of its members; 2 MiB of causes
MAX_CLAIMS = 1024  # records that one member says it holds and we do not: one a log, and some branches
MAX_DELIVERY_NOTICES = 256  # newest own records whose delivery is told one by one

# --- timings, seconds ---
HEADS_DELAY = 0.05  # heads are gathered this long, so that a burst is one message
HEADS_DELAY_A_PEER = 0.01  # and longer with many peers, so that n² head messages stay few
SYNC_SECONDS = 30.0  # full heads to everyone: repairs whatever was missed
WANT_SECONDS = 5.0  # an asked peer that sends nothing for so long is passed over
PASS_OVER_SECONDS = 10.0  # for how long
GAP_GRACE = 1.0  # a hole younger than this is not shown: it is being filled; holes are counted this often
TYPING_SECONDS = 4.0  # at most one typing frame in this time

# --- floods ---
PUSH_RATE = 20.0  # records a second that one peer may push; what is over is pulled at our own pace, not lost
PUSH_BURST = 100.0
MAX_PUSHED = 4  # records in one pushed frame, of which we fill one: signatures of more are not even checked
FLOOD_PULL_DELAY = 0.25  # pause between pulls from a peer that is over its rate: 4,000 records/s at most
FLOOD_PULL_LEAST = 0.05  # and when they bring little: a lively room comes smoothly, not in lumps
FRAME_RATE = 500.0  # frames a second from one peer; sync answers us one batch at a time, so this is generous
FRAME_BURST = 5000.0
HEADS_A_FRAME = 32  # a frame counts once more for so many heads in it, and for each id: these are looked for

# --- sync ---
RECENT = 100  # what a late joiner gets first: a screenful with room to scroll
FETCH_BACK = 32  # records before one that is fetched by id which come with it: a branch is many round trips shorter
CATCH_UP_FROM = 200  # lacking more than this, the newest screenful comes first
