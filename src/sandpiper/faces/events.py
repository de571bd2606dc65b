"""JSON events, version 1: one object a line on stdout with `--json`. Every event and field: docs/json-events.md.

Fields may be added, none is renamed or taken away within a version. Texts in them are safe to show.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True):
    """What all events begin with: the version, and which event it is."""

    v: Literal[1] = 1
    event: str = ""


class Ready(Event, frozen=True, kw_only=True):
    """The first event: this peer listens and can be found.

    `temporary`: the identity lasts until the end of this run, because the profile is in use.
    """

    event: Literal["ready"] = "ready"
    nick: str
    key: str
    profile: str
    port: int
    rooms: tuple[str, ...]
    temporary: bool = False
    version: str = ""


class Peer(Event, frozen=True, kw_only=True):
    """A peer was linked (told again when the path or the reason for it changes) or lost. A link belongs to no room, so
    `room` is null; `rooms` are those shared now. `why`: a short sentence on the path; empty: nothing is known.

    `plain`: it speaks an old dialect, without encryption or proof of who it is; its `key` is made up. `verified`: its
    safety words were compared. `other_key`: it has the name of somebody verified, and is not it.
    """

    event: Literal["peer"] = "peer"
    nick: str
    key: str
    state: Literal["linked", "lost"]
    path: Literal["lan", "direct", "relay"]
    why: str = ""
    room: str | None = None
    rooms: tuple[str, ...] = ()
    status: str = ""
    plain: bool = False
    reason: str = ""
    verified: bool = False
    other_key: bool = False


class Message(Event, frozen=True, kw_only=True):
    """Somebody said something, we too (`mine`).

    `history`: it is older and came by catching up, or was asked for. `late`: messages that belong after it were told
    before it. `action`: as of `/me`. `time` is the author's clock. `seq` is 0 for plain messages. `verified` and
    `other_key` are about its author, as in `Peer`; false in what was asked for.
    """

    event: Literal["message"] = "message"
    room: str
    id: str
    nick: str
    key: str
    seq: int
    time: str
    text: str
    reply_to: str | None = None
    mine: bool = False
    history: bool = False
    late: bool = False
    action: bool = False
    plain: bool = False
    edited: bool = False
    retracted: bool = False
    verified: bool = False
    other_key: bool = False


class Delivery(Event, frozen=True, kw_only=True):
    """Of the `members` others that are reachable now, `delivered` hold our message `id`."""

    event: Literal["delivery"] = "delivery"
    id: str
    delivered: int
    members: int
    room: str


class Gap(Event, frozen=True, kw_only=True):
    """`missing` records of somebody are known to exist and are being fetched; 0: none any more."""

    event: Literal["gap"] = "gap"
    nick: str
    missing: int
    room: str
    key: str


class Change(Event, frozen=True, kw_only=True):
    """What edits, retractions, reactions and topics have in common: who, where, when."""

    room: str
    nick: str
    key: str
    time: str
    mine: bool = False
    history: bool = False


class Edit(Change, frozen=True, kw_only=True):
    """The author of message `id` gave it a new text."""

    event: Literal["edit"] = "edit"
    id: str
    text: str


class Retract(Change, frozen=True, kw_only=True):
    """The author of message `id` took it back."""

    event: Literal["retract"] = "retract"
    id: str


class React(Change, frozen=True, kw_only=True):
    """Somebody put an emoji on message `id`, or took it away (`add` false)."""

    event: Literal["react"] = "react"
    id: str
    emoji: str
    add: bool


class Topic(Change, frozen=True, kw_only=True):
    """Somebody set a room's topic; empty: took it away."""

    event: Literal["topic"] = "topic"
    text: str


class Member(Event, frozen=True, kw_only=True):
    """A linked peer is called something else (`renamed`, `old_nick` is what it was), went `away`, or is `back`."""

    event: Literal["member"] = "member"
    nick: str
    key: str
    change: Literal["renamed", "away", "back"]
    old_nick: str = ""
    status: str = ""
    room: str | None = None


class Room(Event, frozen=True, kw_only=True):
    """We are in a room now, or no longer. `kind`: how it admits. `peer`: the other member of a direct room. `code`: one
    was made with which others may join a private room; a further one is a further event.

    `sandpiper rooms` gives the number of stored `messages` and the time of the `last`, too; a chat leaves them null.
    """

    event: Literal["room"] = "room"
    room: str
    state: Literal["joined", "left"]
    kind: Literal["open", "direct", "private", "hub"]
    peer: str | None = None
    topic: str = ""
    code: str | None = None
    messages: int | None = None
    last: str | None = None


class Safety(Event, frozen=True, kw_only=True):
    """Safety words to compare with somebody, in the answer of `/verify`: the same on both sides, or somebody is in the
    middle. `path` is how they are linked now, empty when they are not.
    """

    event: Literal["safety"] = "safety"
    nick: str
    key: str
    words: tuple[str, ...]
    digits: tuple[str, ...]
    verified: bool
    first_seen: str | None = None
    path: str = ""


class KeyChanged(Event, frozen=True, kw_only=True):
    """Somebody comes with the name of a verified key and is not it: what is said is held back from them, and from the
    private `room` that they are a member of, until somebody decides with `/verify`.
    """

    event: Literal["key_changed"] = "key_changed"
    nick: str
    key: str
    verified_nick: str
    verified_key: str
    room: str | None = None


class Notice(Event, frozen=True, kw_only=True):
    """Something worth knowing, or a line of a command's answer; `code` says which."""

    event: Literal["notice"] = "notice"
    code: str
    text: str
    hint: str = ""
    room: str | None = None


class Error(Event, frozen=True, kw_only=True):
    """Something failed: what happened and why, and what to do next. `code` is stable."""

    event: Literal["error"] = "error"
    code: str
    text: str
    hint: str = ""


class Known(Event, frozen=True, kw_only=True):
    """One peer of `sandpiper peers`. `here`: it answers on this network now, at `addresses`.

    The times are null for somebody never linked. `plain`: an old dialect, and `key` is empty. `verified`: its safety
    words were compared.
    """

    event: Literal["known"] = "known"
    nick: str
    key: str
    here: bool
    addresses: tuple[str, ...] = ()
    plain: bool = False
    first_seen: str | None = None
    last_seen: str | None = None
    ignored: bool = False
    verified: bool = False


class Setting(Event, frozen=True, kw_only=True):
    """One setting of `sandpiper config`: its value as config.toml spells it, and where it comes from."""

    event: Literal["setting"] = "setting"
    name: str
    value: str
    source: str


EVENTS: tuple[type[Event], ...] = (
    Ready, Peer, Message, Delivery, Gap, Edit, Retract, React, Topic, Member, Room, Safety, KeyChanged, Notice, Error,
    Known, Setting,
)  # fmt: skip

_encoder = msgspec.json.Encoder()


def encode(event: Event) -> str:
    """One event as one line, with its newline."""
    return _encoder.encode(event).decode() + "\n"


def timestamp(time_ms: int) -> str:
    """Ms since 1970 as RFC 3339 in UTC, with milliseconds."""
    seconds, ms = divmod(time_ms, 1000)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):  # a clock beyond the year 9999
        whole = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
