"""LAN beacons: the founding project's JSON datagram with our fields beside it. Layout: docs/protocol/beacon.md."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import PeerKey, RoomTag
from sandpiper.wire.limits import KEY_BYTES, MAX_BEACON_BYTES, TAG_BYTES
from sandpiper.wire.text import clean_nick

BEACON_VERSION = 1
DEFAULT_GROUP = "224.0.0.1"  # the founding project's group and port
DEFAULT_GROUP6 = "ff02::5350:1"  # link-local scope, transient-looking; "SP"
DEFAULT_PORT = 9999
MAX_TAGS = 40  # what still fits 1024 bytes beside the longest nick

BeaconType = Literal["announce", "ping", "pong", "leave"]


class Beacon(Struct, frozen=True):
    """What one datagram says. `key` is None for a peer of the old program; `timestamp` is in seconds since 1970;
    `rooms` are tags of open rooms. `address` is what the sender claims; we dial the datagram's source instead,
    but old programs dial the claim.
    """

    type: BeaconType
    peer_id: str
    username: str
    port: int
    timestamp: float
    sequence: int
    key: PeerKey | None = None
    rooms: tuple[RoomTag, ...] = ()
    address: str = ""
    unix_time: bool = False
    """Decoded: the timestamp was a number. Who writes numbers may read only numbers."""


class BadBeacon(RemoteProtocolError):
    """A datagram that is not a beacon we can read."""

    code = "bad_beacon"


class _Ours(Struct, frozen=True, omit_defaults=True):
    v: int
    key: Annotated[str, Meta(max_length=64)]
    rooms: Annotated[tuple[Annotated[str, Meta(max_length=16)], ...], Meta(max_length=MAX_TAGS)] = ()


class _Wire(Struct, frozen=True):
    type: BeaconType
    peer_id: Annotated[str, Meta(min_length=1, max_length=128)]
    username: Annotated[str, Meta(max_length=256)] = ""
    address: Annotated[str, Meta(max_length=64)] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    # Old programs may send seconds or RFC 3339; a Go peer decodes only the form it sends itself (see `encode`).
    timestamp: float | Annotated[str, Meta(max_length=64)] = 0.0
    sequence: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    sp: _Ours | UnsetType | None = UNSET


_decoder = msgspec.json.Decoder(_Wire)
_encoder = msgspec.json.Encoder()


def b64(raw: bytes) -> str:
    """URL-safe base64 without padding: keys and tags inside JSON."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str, length: int) -> bytes:
    """The `length` bytes in `text`.

    Raises:
        ValueError: not base64, or another length.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if len(raw) != length:
        raise ValueError(f"{len(raw)} bytes where {length} belong")
    return raw


def rfc3339(seconds: float) -> str:
    """UTC time in the form Go's `time.Time` has in JSON."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(value: float | str) -> float:
    """Seconds since 1970 from a number (s, ms or ns by its size) or RFC 3339; 0.0 when it says nothing.

    Raises:
        ValueError: a string that is no time.
    """
    if isinstance(value, str):
        if not value:
            return 0.0
        # Go writes up to nine digits of a second; Python 3.11 reads six.
        head, dot, tail = value.partition(".")
        if dot:
            digits = len(tail) - len(tail.lstrip("0123456789"))
            value = f"{head}.{tail[:digits][:6]}{tail[digits:]}"
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    for unit in (1e9, 1e6, 1e3):
        if value >= 1e11 * unit / 1e3:
            return value / unit
    return value


def encode_beacon(beacon: Beacon, *, unix_time: bool = False) -> bytes:
    """The datagram; always at most 1024 bytes. `unix_time` writes whole seconds instead of RFC 3339."""
    tags = beacon.rooms[:MAX_TAGS]
    while True:
        ours = _Ours(BEACON_VERSION, b64(beacon.key), tuple(b64(t) for t in tags)) if beacon.key else UNSET
        raw = _encoder.encode(
            _Wire(
                type=beacon.type,
                peer_id=beacon.peer_id,
                username=beacon.username,
                address=beacon.address,
                port=beacon.port,
                timestamp=int(beacon.timestamp) if unix_time else rfc3339(beacon.timestamp),
                sequence=beacon.sequence,
                sp=ours,
            )
        )
        if len(raw) <= MAX_BEACON_BYTES:
            return raw
        if not tags:
            raise BadBeacon(f"A beacon of {len(raw)} bytes does not fit one datagram.")
        tags = tags[: len(tags) // 2]


def decode_beacon(raw: bytes) -> Beacon:
    """What a datagram says. Unknown keys are ignored.

    Raises:
        BadBeacon: too long, not JSON, wrong types, a version that is not ours, or a key that is none.
    """
    if len(raw) > MAX_BEACON_BYTES:
        raise BadBeacon(f"A datagram of {len(raw)} bytes is too long for a beacon.")
    try:
        wire = _decoder.decode(raw)
        key: PeerKey | None = None
        rooms: tuple[RoomTag, ...] = ()
        if isinstance(wire.sp, _Ours):
            if wire.sp.v != BEACON_VERSION:
                raise BadBeacon(f"A beacon of version {wire.sp.v} cannot be read.", hint="Update sandpiper.")
            key = PeerKey(unb64(wire.sp.key, KEY_BYTES))
            rooms = tuple(RoomTag(unb64(tag, TAG_BYTES)) for tag in wire.sp.rooms)
        timestamp = parse_timestamp(wire.timestamp)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        ValueError,
        OverflowError,
        OSError,
        RecursionError,
        binascii.Error,
    ) as exc:
        raise BadBeacon(f"A datagram is not a beacon ({exc}).") from exc
    return Beacon(
        type=wire.type,
        peer_id=wire.peer_id,
        username=clean_nick(wire.username),
        port=wire.port,
        timestamp=timestamp,
        sequence=wire.sequence,
        key=key,
        rooms=rooms,
        address=wire.address,
        unix_time=not isinstance(wire.timestamp, str) and timestamp != 0,
    )
