"""Frames of the native link: one kind byte, then a MessagePack array. Layout: docs/protocol/link.md.

Kinds 10 to 15 are kept for gossip, 16 to 31 for files, so that those can come without a new version.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import Key32, Tag8
from sandpiper.wire.limits import (
    MAX_BATCH_RECORDS,
    MAX_CLOCK,
    MAX_FETCH_IDS,
    MAX_FRAME_BYTES,
    MAX_HEADS,
    MAX_NICK_CHARS,
    MAX_RECORD_BYTES,
    MAX_ROOM_TAGS,
    MAX_STATUS_CHARS,
    MAX_TIME_MS,
)
from sandpiper.wire.records import Head

LINK_VERSION = 1

Tags = Annotated[tuple[Tag8, ...], Meta(max_length=MAX_ROOM_TAGS)]
Heads_ = Annotated[tuple[Head, ...], Meta(max_length=MAX_HEADS)]
Clock = Annotated[int, Meta(ge=0, le=MAX_CLOCK)]
RawRecord = Annotated[bytes, Meta(max_length=MAX_RECORD_BYTES)]


class Frame(Struct, frozen=True, array_like=True):
    """One message on a link. `kind` is its first byte; trailing fields that we do not know are ignored."""

    kind: ClassVar[int] = 0


class Hello(Frame, frozen=True, array_like=True):
    """The first frame each way. `time` is the sender's clock in ms since 1970 (for skew only, never trusted);
    `rooms` are tags of the rooms it may share with this peer; `agent` is program and version.
    """

    kind: ClassVar[int] = 1
    version: int
    agent: Annotated[str, Meta(max_length=64)]
    nick: Annotated[str, Meta(max_length=MAX_NICK_CHARS * 4)]
    time: Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
    rooms: Tags
    status: Annotated[str, Meta(max_length=MAX_STATUS_CHARS * 4)] = ""
    features: Annotated[tuple[str, ...], Meta(max_length=64)] = ()


class Rooms(Frame, frozen=True, array_like=True):
    """The sender's rooms have changed: the whole new list of tags."""

    kind: ClassVar[int] = 2
    rooms: Tags


class Presence(Frame, frozen=True, array_like=True):
    """The sender's nick or away message has changed. Ephemeral."""

    kind: ClassVar[int] = 3
    nick: Annotated[str, Meta(max_length=MAX_NICK_CHARS * 4)]
    status: Annotated[str, Meta(max_length=MAX_STATUS_CHARS * 4)] = ""


class Heads(Frame, frozen=True, array_like=True):
    """The last record held of each log of `room`. `full` false: only logs that changed since the last one.
    A forked log has one head for each branch.
    """

    kind: ClassVar[int] = 4
    room: Key32
    heads: Heads_
    full: bool = True


class Want(Frame, frozen=True, array_like=True):
    """Ask for records past `heads`, in the room's order, at most one batch. `recent` > 0 asks instead for that
    many of the newest, so that a late joiner has something to read at once. `since`: only those of this order clock
    and later ones, because the history is for the asker from there on.
    """

    kind: ClassVar[int] = 5
    room: Key32
    heads: Heads_
    recent: Annotated[int, Meta(ge=0, le=MAX_BATCH_RECORDS)] = 0
    since: Clock = 0


class Fetch(Frame, frozen=True, array_like=True):
    """Ask for records by id: parents that forks hide from `Want`. `since` as there."""

    kind: ClassVar[int] = 6
    room: Key32
    ids: Annotated[tuple[Key32, ...], Meta(max_length=MAX_FETCH_IDS)]
    since: Clock = 0


class Records(Frame, frozen=True, array_like=True):
    """Records of one room, oldest first. `answer` 0: pushed live; 1: answers `Want`; 2: answers a recent `Want`;
    3: answers `Fetch`. `more`: another frame of the same answer follows. `since`: nothing from before this order clock
    is given; `before` are the last records of their logs that lie before it (in the answer to a `Fetch`: those of the
    ids), of which the asker gets none.
    """

    kind: ClassVar[int] = 7
    room: Key32
    records: Annotated[tuple[RawRecord, ...], Meta(max_length=MAX_BATCH_RECORDS)]
    answer: Annotated[int, Meta(ge=0, le=3)] = 0
    more: bool = False
    since: Clock = 0
    before: Heads_ = ()


class Ping(Frame, frozen=True, array_like=True):
    """Asks for a `Pong` with the same number: keep-alive, and the round trip shown as the path's latency."""

    kind: ClassVar[int] = 8
    number: Annotated[int, Meta(ge=0, lt=1 << 62)]


class Pong(Frame, frozen=True, array_like=True):
    """Answers `Ping`."""

    kind: ClassVar[int] = 9
    number: Annotated[int, Meta(ge=0, lt=1 << 62)]


class Typing(Frame, frozen=True, array_like=True):
    """The sender is typing in `room`. Ephemeral, at most one every few seconds."""

    kind: ClassVar[int] = 32
    room: Key32


class Bye(Frame, frozen=True, array_like=True):
    """The sender closes the link. `code`: leaving, duplicate, slow, flood, protocol, version, store, same_key."""

    kind: ClassVar[int] = 33
    code: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=400)] = ""


class UnknownFrame(Frame, frozen=True, array_like=True):
    """A kind from a later version: ignored and counted."""

    number: int


AnyFrame = Hello | Rooms | Presence | Heads | Want | Fetch | Records | Ping | Pong | Typing | Bye | UnknownFrame

_encoder = msgspec.msgpack.Encoder()
_KINDS: tuple[type[Frame], ...] = (
    Hello, Rooms, Presence, Heads, Want, Fetch, Records, Ping, Pong, Typing, Bye,
)  # fmt: skip
_decoders: dict[int, msgspec.msgpack.Decoder[AnyFrame]] = {k.kind: msgspec.msgpack.Decoder(k) for k in _KINDS}


class BadFrame(RemoteProtocolError):
    """A frame that breaks the format."""

    code = "bad_frame"


def encode_frame(frame: Frame) -> bytes:
    """Kind byte and body, at most `MAX_FRAME_BYTES`. Fields that came later are left off where they say nothing."""
    body: object = frame
    match frame:
        case Want(since=0):
            body = (frame.room, frame.heads, frame.recent)
        case Fetch(since=0):
            body = (frame.room, frame.ids)
        case Records(since=0):
            body = (frame.room, frame.records, frame.answer, frame.more)
        case _:
            pass
    return bytes((frame.kind,)) + _encoder.encode(body)


def decode_frame(raw: bytes | memoryview) -> AnyFrame:
    """The typed frame in `raw`.

    Raises:
        BadFrame: empty, too long, or not what its kind byte says.
    """
    if not 0 < len(raw) <= MAX_FRAME_BYTES:
        raise BadFrame(f"A frame of {len(raw)} bytes is outside the limits.")
    decoder = _decoders.get(raw[0])
    if decoder is None:
        return UnknownFrame(raw[0])
    try:
        return decoder.decode(memoryview(raw)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadFrame(f"A frame of kind {raw[0]} could not be read ({exc}).") from exc
