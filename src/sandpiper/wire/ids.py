"""Names of things on the wire: keys, rooms, records, and how a person sees them."""

from __future__ import annotations

from typing import Annotated, NewType

from msgspec import Meta

from sandpiper.wire.limits import KEY_BYTES, MAX_SEQ, SIGNATURE_BYTES, TAG_BYTES

PeerKey = NewType("PeerKey", bytes)
"""A peer's Ed25519 public key, 32 bytes: its name everywhere."""
RoomId = NewType("RoomId", bytes)
"""A room's identity, 32 bytes (see `sandpiper.crypto.rooms`)."""
RoomTag = NewType("RoomTag", bytes)
"""The first 8 bytes of a hash of a room's identity: what beacons and hello show."""
RecordId = NewType("RecordId", bytes)
"""SHA-256 of a record's signed bytes, 32 bytes."""

Key32 = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Tag8 = Annotated[bytes, Meta(min_length=TAG_BYTES, max_length=TAG_BYTES)]
Signature64 = Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Seq = Annotated[int, Meta(ge=1, le=MAX_SEQ)]

NO_RECORD = RecordId(b"")
"""The `prev` of an author's first record."""


def short(key: bytes) -> str:
    """First 8 hex digits: what people see when a nick is not enough."""
    return key[:4].hex()
