"""The old p2pchat dialect: one JSON object a line, plaintext that nobody signed. Page: docs/protocol/p2pchat.md."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from sandpiper.errors import LocalProtocolError, RemoteProtocolError
from sandpiper.wire.beacon import parse_timestamp, rfc3339
from sandpiper.wire.limits import MAX_LINE_BYTES, MAX_NICK_CHARS
from sandpiper.wire.text import clean_line, clean_nick, clean_text

PLAIN_ROOM = "general"  # what we write; any is accepted, the founding program's own default is not known

OurLineType = Literal["chat", "join", "leave", "heartbeat"]


class PlainLine(Struct, frozen=True):
    """One line. Texts are safe to show; `username` is empty where the line names none.

    `timestamp` is in seconds since 1970, 0 or less when it says nothing. `unit` is how it is written: 0 as RFC 3339,
    else as a number, so many to a second. `type` may be one that we do not know.
    """

    id: str
    type: str
    sender_id: str
    username: str
    content: str
    timestamp: float
    sequence: int
    room_id: str = PLAIN_ROOM
    unit: int = 0


class BadLine(RemoteProtocolError):
    """A line of the old dialect that is refused; the link goes on until there were too many."""

    code = "bad_line"


class _Wire(Struct, frozen=True):
    """The founding program's object: exactly these keys, in this order."""

    id: Annotated[str, Meta(max_length=128)] = ""
    type: Annotated[str, Meta(max_length=32)] = ""
    sender_id: Annotated[str, Meta(max_length=128)] = ""
    username: Annotated[str, Meta(max_length=256)] = ""
    content: str = ""
    timestamp: float | Annotated[str, Meta(max_length=64)] = 0.0
    sequence: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    room_id: Annotated[str, Meta(max_length=128)] = ""


class _Error(Struct, frozen=True, tag_field="type", tag="error"):
    code: str
    text: str


_decoder = msgspec.json.Decoder(_Wire)
_encoder = msgspec.json.Encoder()


def encode_line(line: PlainLine) -> bytes:
    """The line and its newline, together at most 64 KiB: what Go's `bufio.Scanner` takes.

    Raises:
        LocalProtocolError: it does not fit; a text that `clean_text` has passed always does.
    """
    stamp: float | str = int(line.timestamp * line.unit) if line.unit else rfc3339(line.timestamp)
    wire = _Wire(
        id=line.id,
        type=line.type,
        sender_id=line.sender_id,
        username=line.username,
        content=line.content,
        timestamp=stamp,
        sequence=line.sequence,
        room_id=line.room_id,
    )
    raw = _encoder.encode(wire) + b"\n"
    if len(raw) > MAX_LINE_BYTES:
        raise LocalProtocolError(f"A line of {len(raw)} bytes is too long for p2pchat.")
    return raw


def encode_error(code: str, text: str) -> bytes:
    """The last line of a link that we close: old programs ignore its type, a person with a terminal reads it."""
    return _encoder.encode(_Error(code, text)) + b"\n"


def decode_line(raw: bytes) -> PlainLine:
    """What a line (without its newline) says. Unknown keys are ignored, missing ones are empty.

    Raises:
        BadLine: too long (`line_too_long`), or not JSON or a wrong type or length (`bad_line`).
    """
    if len(raw) > MAX_LINE_BYTES:
        raise BadLine("A line is longer than 64 KiB; it was dropped.", code="line_too_long")
    try:
        wire = _decoder.decode(raw)
        seconds = parse_timestamp(wire.timestamp)
    # OSError: Windows has no local time before 1970, which is how a time without a zone is read.
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError, RecursionError, OSError) as exc:
        raise BadLine(f"A line could not be read ({exc}); it was dropped.") from exc
    unit = 0 if isinstance(wire.timestamp, str) else round(wire.timestamp / seconds) if seconds else 0
    return PlainLine(
        id=wire.id,
        type=wire.type,
        sender_id=wire.sender_id,
        username=clean_nick(wire.username) if wire.username else "",
        content=clean_text(wire.content),
        timestamp=seconds,
        sequence=wire.sequence,
        room_id=clean_line(wire.room_id, MAX_NICK_CHARS),
        unit=unit,
    )


class LineCutter:
    """Cuts what comes from a pipe into lines; holds at most 64 KiB of an unfinished one."""

    __slots__ = ("_bytes", "_skipping")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without newlines; blank ones are left out.

        Of a line that is too long its beginning is given, once, one byte longer than `decode_line` takes.
        """
        lines: list[bytes] = []
        held, start, look = self._bytes, 0, len(self._bytes)
        held += chunk
        while (end := held.find(b"\n", look)) >= 0:
            if not self._skipping:
                lines.append(bytes(held[start : min(end, start + MAX_LINE_BYTES + 1)]))
            self._skipping = False
            start = look = end + 1
        del held[:start]
        if not self._skipping and len(held) > MAX_LINE_BYTES:
            lines.append(bytes(held[: MAX_LINE_BYTES + 1]))
            self._skipping = True
        if self._skipping:
            held.clear()
        return [line for line in lines if line.strip()]
