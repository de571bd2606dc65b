"""Records: what their signed bytes say. Layout and kinds: docs/protocol/records.md.

On the wire and on disk a record is `signature (64 bytes) ‖ payload`, the payload a MessagePack array.
The payload's bytes are what is hashed and signed; they are kept and passed on exactly as they came.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import Key32, PeerKey, RecordId, RoomId, Seq
from sandpiper.wire.limits import (
    KEY_BYTES,
    MAX_DEPS,
    MAX_EMOJI_CHARS,
    MAX_NICK_CHARS,
    MAX_RECORD_BYTES,
    MAX_STATUS_CHARS,
    MAX_TEXT_CHARS,
    MAX_TIME_MS,
    MAX_TOPIC_CHARS,
    SIGNATURE_BYTES,
)
from sandpiper.wire.nesting import nests_too_deep
from sandpiper.wire.text import clean_emoji, clean_nick, clean_status, clean_text, clean_topic

RECORD_VERSION = 1

Prev = Annotated[bytes, Meta(max_length=KEY_BYTES)]
_LONG = 4  # peers may sign up to four times what we show; we cut when we show, never when we keep
RawText = Annotated[str, Meta(max_length=MAX_TEXT_CHARS * _LONG)]


class Head(Struct, frozen=True, array_like=True):
    """One record named by its place: the `seq`-th of `author`, with its id. As a head: the last one held."""

    author: Key32
    seq: Seq
    id: Key32


class Body(Struct, frozen=True, array_like=True):
    """What a record says. `kind` is its number on the wire; trailing fields that we do not know are ignored."""

    kind: ClassVar[int] = 0


class Text(Body, frozen=True, array_like=True):
    """A message. `reply_to` is the id of the record it answers (or empty); `action` is IRC's `/me`."""

    kind: ClassVar[int] = 1
    text: RawText
    reply_to: Prev = b""
    action: bool = False


class Edit(Body, frozen=True, array_like=True):
    """New text for the author's own earlier message `target`."""

    kind: ClassVar[int] = 2
    target: Key32
    text: RawText


class Retract(Body, frozen=True, array_like=True):
    """The author takes back the own earlier message `target`; honest members hide it."""

    kind: ClassVar[int] = 3
    target: Key32


class React(Body, frozen=True, array_like=True):
    """One emoji of the author on `target`; `add` false takes it away."""

    kind: ClassVar[int] = 4
    target: Key32
    emoji: Annotated[str, Meta(max_length=MAX_EMOJI_CHARS * _LONG)]
    add: bool = True


class Topic(Body, frozen=True, array_like=True):
    """The room's topic; the last one in the room's order holds."""

    kind: ClassVar[int] = 5
    text: Annotated[str, Meta(max_length=MAX_TOPIC_CHARS * _LONG)]


class Profile(Body, frozen=True, array_like=True):
    """What the author is called from here on, and the away message (empty: present)."""

    kind: ClassVar[int] = 6
    nick: Annotated[str, Meta(max_length=MAX_NICK_CHARS * _LONG)]
    status: Annotated[str, Meta(max_length=MAX_STATUS_CHARS * _LONG)] = ""


class Unknown(Body, frozen=True, array_like=True):
    """A kind from a later version: kept and passed on, not shown. Numbers 7 file offer, 16 genesis, 17 admit,
    18 role, 19 remove are taken by later issues.
    """

    number: int


AnyBody = Text | Edit | Retract | React | Topic | Profile | Unknown


class Record(Struct, frozen=True, gc=False):
    """A record whose signature has been checked (only `sandpiper.crypto.signing` makes these).

    `raw` is the exact bytes that travel; `prev` is empty for seq 1; `deps` are heads of others that the author
    had seen; `time` is the author's clock in ms since 1970. Texts in `body` are already safe to show.
    """

    id: RecordId
    raw: bytes
    room: RoomId
    author: PeerKey
    seq: int
    prev: RecordId
    deps: tuple[Head, ...]
    time: int
    body: AnyBody


class _Payload(Struct, frozen=True, array_like=True):
    version: int
    room: Key32
    author: Key32
    seq: Seq
    prev: Prev
    deps: Annotated[tuple[Head, ...], Meta(max_length=MAX_DEPS)]
    time: Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
    kind: Annotated[int, Meta(ge=0, le=65535)]
    body: msgspec.Raw


class BadRecord(RemoteProtocolError):
    """A record that breaks the format or whose signature does not hold."""

    code = "bad_record"


_encoder = msgspec.msgpack.Encoder()
_payload_decoder = msgspec.msgpack.Decoder(_Payload)
_B = TypeVar("_B", bound=Body)


def _body_decoder(kind: type[_B]) -> msgspec.msgpack.Decoder[_B]:
    return msgspec.msgpack.Decoder(kind)


_text_decoder = _body_decoder(Text)
_edit_decoder = _body_decoder(Edit)
_retract_decoder = _body_decoder(Retract)
_react_decoder = _body_decoder(React)
_topic_decoder = _body_decoder(Topic)
_profile_decoder = _body_decoder(Profile)


def _decode_body(kind: int, raw: msgspec.Raw) -> AnyBody:
    """The typed body, with every string made safe to show."""
    match kind:
        case 1:
            text = _text_decoder.decode(raw)
            return Text(clean_text(text.text), _whole_id(text.reply_to), text.action)
        case 2:
            edit = _edit_decoder.decode(raw)
            return Edit(edit.target, clean_text(edit.text))
        case 3:
            return _retract_decoder.decode(raw)
        case 4:
            react = _react_decoder.decode(raw)
            return React(react.target, clean_emoji(react.emoji), react.add)
        case 5:
            return Topic(clean_topic(_topic_decoder.decode(raw).text))
        case 6:
            profile = _profile_decoder.decode(raw)
            return Profile(clean_nick(profile.nick), clean_status(profile.status))
        case _:
            return Unknown(kind)


def _whole_id(raw: bytes) -> bytes:
    if len(raw) not in (0, KEY_BYTES):
        raise BadRecord("A record names another record by something that is not an id; it was dropped.")
    return raw


def encode_payload(
    room: RoomId, author: PeerKey, seq: int, prev: RecordId, deps: tuple[Head, ...], time_ms: int, body: AnyBody
) -> bytes:
    """The bytes that are hashed and signed."""
    packed = msgspec.Raw(_encoder.encode(body))
    return _encoder.encode(
        _Payload(
            version=RECORD_VERSION,
            room=room,
            author=author,
            seq=seq,
            prev=prev,
            deps=deps,
            time=time_ms,
            kind=body.kind,
            body=packed,
        )
    )


def decode_payload(raw: bytes, record_id: RecordId) -> Record:
    """Type `raw` (signature ‖ payload) without checking the signature: for `crypto.signing` and for our own disk.

    Raises:
        BadRecord: too long, not our version, wrong types or lengths, or the chain fields contradict each other.
    """
    if not SIGNATURE_BYTES < len(raw) <= MAX_RECORD_BYTES:
        raise BadRecord(f"A record of {len(raw)} bytes is outside the limits; it was dropped.")
    if nests_too_deep(memoryview(raw)[SIGNATURE_BYTES:]):
        raise BadRecord("A record nests too deep; it was dropped.")
    try:
        # A view saves copying 64 KiB; msgspec reads any buffer.
        fields = _payload_decoder.decode(memoryview(raw)[SIGNATURE_BYTES:])
        if fields.version != RECORD_VERSION:
            raise BadRecord(
                f"A record of version {fields.version} cannot be read; it was dropped.",
                hint="Update sandpiper.",
                code="version",
            )
        if (fields.seq == 1) != (fields.prev == b"") or len(fields.prev) not in (0, KEY_BYTES):
            raise BadRecord("A record's place in its author's log contradicts itself; it was dropped.")
        for dep in fields.deps:
            if dep.author == fields.author:
                raise BadRecord("A record names its own author as another; it was dropped.")
        body = _decode_body(fields.kind, fields.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRecord(f"A record could not be read ({exc}); it was dropped.") from exc
    return Record(
        id=record_id,
        raw=raw,
        room=RoomId(fields.room),
        author=PeerKey(fields.author),
        seq=fields.seq,
        prev=RecordId(fields.prev),
        deps=fields.deps,
        time=fields.time,
        body=body,
    )
