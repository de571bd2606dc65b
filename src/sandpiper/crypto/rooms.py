"""Identities and tags of rooms, derived so that all who should can compute them and nobody else can link them."""

from __future__ import annotations

import hmac
from hashlib import sha256

from typing_extensions import override

from sandpiper.wire.ids import PeerKey, RecordId, RoomId, RoomTag
from sandpiper.wire.limits import TAG_BYTES


class RoomSecret(bytes):
    """What the members of a private room share: 32 random bytes, or none. It does not show in `repr`."""

    @override
    def __repr__(self) -> str:
        return "RoomSecret(…)" if self else "RoomSecret()"

    __str__ = __repr__


NO_SECRET = RoomSecret()


def open_room(name: str) -> RoomId:
    """The open room called `name` (already normalised by `check_room_name`): the same for everybody."""
    return RoomId(sha256(b"sandpiper open room 1\x00" + name.encode()).digest())


def direct_room(one: PeerKey, other: PeerKey) -> RoomId:
    """The private room of two peers; both compute it, in either order."""
    return RoomId(sha256(b"sandpiper direct room 1\x00" + b"".join(sorted((one, other)))).digest())


def room_tag(room: RoomId) -> RoomTag:
    """What hello and beacons show of a room. A beacon carries tags of open rooms only: whoever knows a name can
    recognise its tag. Tags of direct rooms go only over the encrypted link to the other member.
    """
    return RoomTag(sha256(b"sandpiper room tag 1\x00" + room).digest()[:TAG_BYTES])


def plain_author(peer_id: str) -> PeerKey:
    """What stands for a key where a peer of the old dialect is meant. No key pair has it, and nothing proves it."""
    return PeerKey(sha256(b"sandpiper plain author 1\x00" + peer_id.encode()).digest())


def plain_message(sender_id: str, message_id: str) -> RecordId:
    """What stands for a record's id where a message of the old dialect is meant: the same on every peer."""
    return RecordId(sha256(b"sandpiper plain message 1\x00" + plain_author(sender_id) + message_id.encode()).digest())


# ---------------------------------------------------------------- where members of a private room meet again

ROOM_SECRET_BYTES = 32  # random, made by the room's creator, given to members when they are admitted
DAY_MS = 24 * 60 * 60 * 1000
MAX_SKEW_MS = 60 * 60 * 1000  # clocks an hour apart still meet around midnight: a clock set to the wrong zone's hour
MAX_DAY = (1 << 32) - 1


def day_of(wall_ms: int) -> int:
    """The day (UTC, days since 1970) of a moment in ms since 1970."""
    return min(MAX_DAY, max(0, wall_ms // DAY_MS))


def meeting_tag(secret: bytes, day: int) -> bytes:
    """The 32-byte name under which a room's members look for each other on a rendezvous on this day. Without `secret`
    the tags of two days look like those of two rooms.

    Raises:
        ValueError: `secret` has not 32 bytes, or `day` is none.
    """
    if len(secret) != ROOM_SECRET_BYTES or not 0 <= day <= MAX_DAY:
        raise ValueError("a meeting tag is made of a room's secret (32 bytes) and a day")
    return hmac.digest(secret, b"sandpiper meeting tag 1\x00" + day.to_bytes(4, "big"), "sha256")


def meeting_tags(secret: bytes, wall_ms: int) -> tuple[bytes, ...]:
    """Today's tag; and within an hour of midnight (UTC) the neighbouring day's after it, because clocks differ.

    Whoever shows two tags at once lets the rendezvous see that they belong together: no more of them than needed.
    """
    days = {day_of(wall_ms): None, day_of(wall_ms - MAX_SKEW_MS): None, day_of(wall_ms + MAX_SKEW_MS): None}
    return tuple(meeting_tag(secret, day) for day in days)
