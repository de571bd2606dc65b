"""Every bound of the wire formats, each with its reason (security page, "Limits")."""

from __future__ import annotations

KEY_BYTES = 32  # Ed25519 public key, SHA-256 digest
SIGNATURE_BYTES = 64  # Ed25519 (RFC 8032)
TAG_BYTES = 8  # room tags: enough to tell a peer's rooms apart, too short to be the room's id

MAX_BEACON_BYTES = 1024  # one datagram under every MTU, also with IPv6 and tunnel headers
MAX_LINE_BYTES = 64 * 1024  # NDJSON line, as in the founding projects
MAX_RECORD_BYTES = 64 * 1024  # signed bytes and signature of one record
MAX_FRAME_BYTES = 1024 * 1024  # plaintext of one link frame: a batch of records, or four file chunks
MAX_HANDSHAKE_BYTES = 64 * 1024  # all handshake messages of one link together
HANDSHAKE_SECONDS = 10.0  # a handshake is three short messages; slower is dead or hostile

MAX_TEXT_CHARS = 16_000  # at most 4 bytes each: fits a record with room to spare
MAX_NICK_CHARS = 32  # fits the narrow layout's nick column twice
MAX_ROOM_NAME_CHARS = 32
MAX_TOPIC_CHARS = 300
MAX_STATUS_CHARS = 100
MAX_EMOJI_CHARS = 32  # one grapheme; the longest family emoji has 11 code points
MAX_COMBINING_MARKS = 8  # on one base character: more is "zalgo", no script needs it

SALT_BYTES = 16  # of a private room: no two are alike by chance
MAX_ROSTER = 1000  # members of a private room: heads of all of them fit a frame several times
MAX_AFTER = 64  # newest control records that one names: as many rule at the same moment; 2 KiB

MAX_VOUCH_RECORDS = 32  # that a newcomer shows to somebody who has not heard of it: what was decided since they met
MAX_VOUCH_BYTES = 8 * 1024  # of these together: half a signal of a rendezvous

MAX_DEPS = 8  # heads of others one record names
MAX_TIME_MS = 1 << 48  # year 10889: nothing honest is later, and sums stay far below 2**63
MAX_SEQ = 1 << 48
MAX_CLOCK = 1 << 52  # order clocks: times, and one more for each step since
MAX_HEADS = 4096  # heads in one message: four times the largest roster
MAX_ROOM_TAGS = 512  # rooms one peer may name in hello
MAX_FETCH_IDS = 256  # records asked for by id in one frame
MAX_BATCH_RECORDS = 256  # records in one frame: ~20 ms of signature checks
MAX_ANSWER_FRAMES = 4  # frames that answer one Want: keeps a pipe full over a long way, and 2 MiB at most
MAX_BATCH_BYTES = 512 * 1024  # bytes of records in one frame: half a frame, so one record more always fits
