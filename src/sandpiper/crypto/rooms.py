"""Identities and tags of rooms, derived so that all who should can compute them and nobody else can link them."""

from __future__ import annotations

from hashlib import sha256

from sandpiper.wire.ids import PeerKey, RecordId, RoomId, RoomTag
from sandpiper.wire.limits import TAG_BYTES


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
