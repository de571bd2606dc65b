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
    MAX_AFTER,
    MAX_CLOCK,
    MAX_DEPS,
    MAX_EMOJI_CHARS,
    MAX_NICK_CHARS,
    MAX_RECORD_BYTES,
    MAX_ROOM_NAME_CHARS,
    MAX_ROSTER,
    MAX_SEQ,
    MAX_STATUS_CHARS,
    MAX_TEXT_CHARS,
    MAX_TIME_MS,
    MAX_TOPIC_CHARS,
    SALT_BYTES,
    SIGNATURE_BYTES,
)
from sandpiper.wire.nesting import nests_too_deep
from sandpiper.wire.text import clean_emoji, clean_line, clean_nick, clean_status, clean_text, clean_topic

RECORD_VERSION = 1

Prev = Annotated[bytes, Meta(max_length=KEY_BYTES)]
_LONG = 4  # peers may sign up to four times what we show; we cut when we show, never when we keep
RawText = Annotated[str, Meta(max_length=MAX_TEXT_CHARS * _LONG)]
After = Annotated[tuple[Key32, ...], Meta(max_length=MAX_AFTER)]
NO_ROOM = RoomId(bytes(KEY_BYTES))
"""The room in a genesis' payload: the record cannot hold its own id."""


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


class Genesis(Body, frozen=True, array_like=True):
    """The first record of a private room, by its owner; the room's id is this record's id, so `room` is all zeros in
    its payload. `salt` is random, so that no two rooms are the same; `history` says what newcomers are given;
    `limit` is how many members the room takes.
    """

    kind: ClassVar[int] = 16
    name: Annotated[str, Meta(max_length=MAX_ROOM_NAME_CHARS * _LONG)]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    history: Annotated[str, Meta(max_length=16)] = "all"
    limit: Annotated[int, Meta(ge=1, le=MAX_ROSTER)] = MAX_ROSTER


class Admit(Body, frozen=True, array_like=True):
    """`key` is let in, and called `nick` until it says otherwise. By `key` itself: it comes back, and its log counts
    from here on. `after` are the ids of the newest control records that the author knew, as in all that follow. `since`
    is the order clock from which on the history is for `key`; 0: all of it.
    """

    kind: ClassVar[int] = 17
    key: Key32
    nick: Annotated[str, Meta(max_length=MAX_NICK_CHARS * _LONG)]
    after: After = ()
    since: Annotated[int, Meta(ge=0, le=MAX_CLOCK)] = 0


class Role(Body, frozen=True, array_like=True):
    """The owner makes `key` an admin, or (`admin` false) a member like others: then what it ruled counts up to its
    record `seq`, `last`, the last one that the owner had.
    """

    kind: ClassVar[int] = 18
    key: Key32
    admin: bool
    after: After = ()
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)] = 0
    last: Prev = b""


class Remove(Body, frozen=True, array_like=True):
    """`key` is no member any more: its records count up to `seq`, `last`, the last one that the author had (0 and
    empty: none). `ban`: nobody can let it in again, until a removal without `ban` lifts that.
    """

    kind: ClassVar[int] = 19
    key: Key32
    ban: bool
    after: After = ()
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)] = 0
    last: Prev = b""


class Leave(Body, frozen=True, array_like=True):
    """The author is no member any more, by its own wish; this is its last record that counts."""

    kind: ClassVar[int] = 20
    after: After = ()


class Unknown(Body, frozen=True, array_like=True):
    """A kind from a later version: kept and passed on, not shown. Number 7 is kept for file offers."""

    number: int


Control = Genesis | Admit | Role | Remove | Leave
"""What makes the roster of a private room: docs/protocol/roster.md."""
AnyBody = Text | Edit | Retract | React | Topic | Profile | Genesis | Admit | Role | Remove | Leave | Unknown


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
_C = TypeVar("_C", Role, Remove)


def _body_decoder(kind: type[_B]) -> msgspec.msgpack.Decoder[_B]:
    return msgspec.msgpack.Decoder(kind)


_text_decoder = _body_decoder(Text)
_edit_decoder = _body_decoder(Edit)
_retract_decoder = _body_decoder(Retract)
_react_decoder = _body_decoder(React)
_topic_decoder = _body_decoder(Topic)
_profile_decoder = _body_decoder(Profile)
_genesis_decoder = _body_decoder(Genesis)
_admit_decoder = _body_decoder(Admit)
_role_decoder = _body_decoder(Role)
_remove_decoder = _body_decoder(Remove)
_leave_decoder = _body_decoder(Leave)


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
        case 16:
            made = _genesis_decoder.decode(raw)
            return Genesis(clean_line(made.name, MAX_ROOM_NAME_CHARS), made.salt, made.history, made.limit)
        case 17:
            admit = _admit_decoder.decode(raw)
            return Admit(admit.key, clean_nick(admit.nick), admit.after, admit.since)
        case 18:
            return _whole_cut(_role_decoder.decode(raw))
        case 19:
            return _whole_cut(_remove_decoder.decode(raw))
        case 20:
            return _leave_decoder.decode(raw)
        case _:
            return Unknown(kind)


def _whole_cut(body: _C) -> _C:
    if len(body.last) != (KEY_BYTES if body.seq else 0):
        raise BadRecord("A record names the end of a log that contradicts itself; it was dropped.")
    return body


def _whole_id(raw: bytes) -> bytes:
    if len(raw) not in (0, KEY_BYTES):
        raise BadRecord("A record names another record by something that is not an id; it was dropped.")
    return raw


def encode_payload(
    room: RoomId, author: PeerKey, seq: int, prev: RecordId, deps: tuple[Head, ...], time_ms: int, body: AnyBody
) -> bytes:
    """The bytes that are hashed and signed."""
    said: object = body
    if isinstance(body, Admit) and not body.since:  # the field came later, and is left off where it says nothing
        said = (body.key, body.nick, body.after)
    packed = msgspec.Raw(_encoder.encode(said))
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
        begins = isinstance(body, Genesis)
        if begins != (fields.room == NO_ROOM) or (begins and fields.seq != 1):
            raise BadRecord("A record begins a room where none can begin; it was dropped.")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRecord(f"A record could not be read ({exc}); it was dropped.") from exc
    return Record(
        id=record_id,
        raw=raw,
        room=RoomId(record_id) if begins else RoomId(fields.room),
        author=PeerKey(fields.author),
        seq=fields.seq,
        prev=RecordId(fields.prev),
        deps=fields.deps,
        time=fields.time,
        body=body,
    )
