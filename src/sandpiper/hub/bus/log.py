"""What hubs of a cluster write into a room's log, as bytes; and how rooms and lines are called there. Pure."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.hub.history import Barred
from sandpiper.hub.ruling import AnyRuling
from sandpiper.wire.hub.answers import Edited, Reacted, Retracted, TopicSet
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
"""Of everything here. Hubs of other versions are not understood, and not guessed at."""

INDEX_BITS = 10
MAX_LINES = 1 << INDEX_BITS  # in one message of the log
MAX_POSTED_BYTES = 512 * 1024  # in one message of the log: half of what a NATS server takes unless told otherwise
HOUSE = ""  # the log of the hub itself, beside those of rooms, which have names


class BadLog(RemoteProtocolError):
    """Something in the log could not be read: it is no log of hubs, or of hubs of another version."""

    code = "bad_log"


def token(room: str) -> str:
    """The room's name as a part of a subject: itself after "r-" if it is plain, else encoded after "x-"."""
    if room == HOUSE:
        return "house"
    if re.fullmatch("[a-z0-9_-]+", room):
        return f"r-{room}"
    return f"x-{base64.urlsafe_b64encode(room.encode()).decode().rstrip('=')}"


def nick_token(folded: str) -> str:
    """The folded nick as a part of a subject or key."""
    return base64.urlsafe_b64encode(folded.encode()).decode().rstrip("=")


def number(place: int, index: int) -> int:
    """The number of a line: `index` within the message at `place` of the log. Every hub gives it alike."""
    return place << INDEX_BITS | index


def place_of(seq: int) -> int:
    """Where in the log the line with this number is."""
    return seq >> INDEX_BITS


class Talk(Struct, frozen=True, tag="t", array_like=True, gc=False):
    """Messages of one guest: (text, client_id, reply_to, action) each. `ts` in seconds since 1970."""

    guest: int
    key: bytes
    nick: str
    ts: int
    lines: list[tuple[str, str, int, bool]]

    @property
    def owner(self) -> PeerKey | int:
        """Whose they are."""
        return PeerKey(self.key) if self.key else self.guest


class Change(Struct, frozen=True, tag="c", array_like=True):
    """Something else with a number; here its number is 0."""

    guest: int
    key: bytes
    kept: Edited | Retracted | Reacted | TopicSet

    @property
    def owner(self) -> PeerKey | int:
        """Whose it is."""
        return PeerKey(self.key) if self.key else self.guest


class Begun(Struct, frozen=True, tag="b", array_like=True):
    """A guest enters a room that does not exist, or that nobody is in charge of: it is made, and theirs."""

    guest: int
    key: bytes
    epoch: str
    lock: bytes


class Ruled(Struct, frozen=True, tag="r", array_like=True):
    """A command of this guest (0: it follows of another)."""

    guest: int
    ruling: AnyRuling


Entry = Talk | Change | Begun | Ruled


class Posted(Struct, frozen=True, array_like=True):
    """What a hub's guests said and did in one room, in their order: one message of the log.

    `turn` counts the messages of this hub in this room, so that one that was sent twice is taken once. `back` is the
    place of a message some hundred lines earlier (0: there may be none): pages are found by it.
    """

    version: int
    hub: str
    turn: int
    back: int
    entries: list[Entry]


class RoomState(Struct, frozen=True):
    """What a room is after everything up to `place` of its log. Whoever loads it reads the log from `since` on, to
    know also what was said last.
    """

    version: int
    name: str
    place: int
    since: int
    epoch: str
    """Empty: there is no such room."""
    seq: int = 0
    topic: str = ""
    lock: bytes = b""
    operators: tuple[bytes, ...] = ()
    slowmode: int = 0
    bans: tuple[Barred, ...] = ()
    mutes: tuple[Barred, ...] = ()
    turns: dict[str, int] = {}


_encoder = msgspec.msgpack.Encoder()
_posted = msgspec.msgpack.Decoder(Posted)
_state = msgspec.msgpack.Decoder(RoomState)


def encode(what: Posted | RoomState) -> bytes:
    """As bytes."""
    return _encoder.encode(what)


def decode_posted(raw: bytes) -> Posted:
    """What `encode` made.

    Raises:
        BadLog: it did not.
    """
    try:
        posted = _posted.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadLog(f"The cluster's log cannot be read ({exc}).") from exc
    if posted.version != VERSION or lines_of(posted.entries) > MAX_LINES:
        raise BadLog("The cluster's log is of another version of Sandpiper.")
    return posted


def decode_state(raw: bytes) -> RoomState:
    """What `encode` made.

    Raises:
        BadLog: it did not.
    """
    try:
        state = _state.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadLog(f"The state of a room cannot be read ({exc}).") from exc
    if state.version != VERSION:
        raise BadLog("The state of a room is of another version of Sandpiper.")
    return state


class Changed(NamedTuple):
    """Line `seq` is not what the log says, as of line `as_of`: edited ("e"), retracted ("r"), or void ("v")."""

    version: int
    seq: int
    as_of: int
    kind: str
    text: str


def decode_change(raw: bytes) -> Changed:
    """What is stored beside the log of a line.

    Raises:
        BadLog: it cannot be read.
    """
    try:
        change = msgspec.msgpack.decode(raw, type=Changed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BadLog("A change of a line cannot be read.") from exc
    if change.version != VERSION:
        raise BadLog("A change of a line is of another version of Sandpiper.")
    return change


def lines_of(entries: Sequence[Entry]) -> int:
    """How many numbers these take."""
    return sum(len(entry.lines) if type(entry) is Talk else 1 for entry in entries)


def size_of(entry: Entry) -> int:
    """About how many bytes it takes, not less than three quarters of it."""
    match entry:
        case Talk(_, _, nick, _, lines):
            return 64 + 4 * len(nick) + sum(4 * len(text) + len(own) + 16 for text, own, _, _ in lines)
        case Change(_, _, Edited(_, text)):
            return 256 + 4 * len(text)
        case _:
            return 4096
