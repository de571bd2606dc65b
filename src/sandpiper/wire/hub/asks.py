"""What a guest may ask of a hub: every line that it sends, typed. Fields that we do not know are ignored."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from typing_extensions import override

from sandpiper.wire.ids import Key32, Signature64
from sandpiper.wire.limits import (
    MAX_EMOJI_CHARS,
    MAX_NICK_CHARS,
    MAX_ROOM_NAME_CHARS,
    MAX_SEQ,
    MAX_TEXT_CHARS,
    MAX_TOPIC_CHARS,
)

MAX_CLIENT_ID_CHARS = 64  # a UUID is 36; it goes to every receiver, so no longer than that takes
MAX_PASSWORD_CHARS = 256  # a long passphrase; it is hashed, not kept
MAX_REASON_CHARS = 200  # one line on an operator's screen
MAX_FEATURES = 32
MAX_PAGE = 500  # messages in one page of history: a page of ordinary ones stays below 64 KiB
MAX_FOUND = 50  # messages that one search finds: two screenfuls, and of the longest ones 3 MiB
MAX_FIND_CHARS = 200  # words that are searched for: more is a pasted text
MAX_BAN_SECONDS = 365 * 24 * 3600  # longer is for ever
MAX_SLOW_SECONDS = 3600  # between two messages of one guest

# Names come in any form that people type, and are normalised by the hub: hence four times as long.
NickField = Annotated[str, Meta(min_length=1, max_length=MAX_NICK_CHARS * 4)]
RoomField = Annotated[str, Meta(max_length=MAX_ROOM_NAME_CHARS * 4)]
TextField = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
ClientId = Annotated[str, Meta(max_length=MAX_CLIENT_ID_CHARS)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
Place = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
"""A message's number in its room, from 1; 0 names none."""
BanSeconds = Annotated[int, Meta(ge=0, le=MAX_BAN_SECONDS)]


class Ask(Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """One line of a guest. None of them refers to another object, so the garbage collector may pass them over."""


class Nick(Ask, frozen=True, tag="nick", gc=False):
    """Be called so from now on."""

    nick: NickField


class Password(Struct, frozen=True, tag_field="type", tag="password"):
    """The password of the hub itself: the first line of a connection where a hub has one. No guest says it later."""

    password: Annotated[str, Meta(max_length=MAX_PASSWORD_CHARS)]

    @override
    def __repr__(self) -> str:
        return "Password(…)"


class Msg(Ask, frozen=True, tag="msg", gc=False):
    """Say something in a room (empty: the lobby).

    `client_id` is the sender's own, for a message that must not be doubled when it is sent again; `reply_to` is the
    `seq` of another message; `action` is what `/me` does.
    """

    text: TextField
    room: RoomField = ""
    client_id: ClientId = ""
    reply_to: Place = 0
    action: bool = False


class Hello(Ask, frozen=True, tag="hello", gc=False):
    """The guest knows this protocol, not just the founding one: it is pinged, and leaves the lobby until it joins."""

    v: Annotated[int, Meta(ge=1, le=1 << 16)] = 1
    features: Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=MAX_FEATURES)] = ()
    agent: Annotated[str, Meta(max_length=64)] = ""


class Join(Ask, frozen=True, tag="join", gc=False):
    """Enter a room, which is made if there is none. `password` opens a locked one, or locks a new one.

    `epoch` and `since` resume: the epoch that an earlier `joined` named, and the last `seq` that came.
    """

    room: RoomField
    password: Annotated[str, Meta(max_length=MAX_PASSWORD_CHARS)] = ""
    epoch: Annotated[str, Meta(max_length=16)] = ""
    since: Place | None = None

    @override
    def __repr__(self) -> str:
        return f"Join({self.room!r}, {'…' if self.password else ''!r}, {self.epoch!r}, {self.since})"


class Leave(Ask, frozen=True, tag="leave", gc=False):
    """Leave a room."""

    room: RoomField = ""


class Rooms(Ask, frozen=True, tag="rooms", gc=False):
    """Which rooms are there?"""


class Who(Ask, frozen=True, tag="who", gc=False):
    """Who is in a room?"""

    room: RoomField = ""


class Topic(Ask, frozen=True, tag="topic", gc=False):
    """What is the topic (no `text`), or let it be `text`: operators only."""

    room: RoomField = ""
    text: Annotated[str, Meta(max_length=MAX_TOPIC_CHARS)] | None = None


class History(Ask, frozen=True, tag="history", gc=False):
    """The `limit` messages of a room before `before` (0: the newest)."""

    room: RoomField = ""
    before: Place = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


class Find(Ask, frozen=True, tag="find", gc=False):
    """The newest `limit` messages of a room that have all words of `text`, in lines before number `before` (0: all)."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_FIND_CHARS)]
    room: RoomField = ""
    before: Place = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = MAX_FOUND


class Edit(Ask, frozen=True, tag="edit", gc=False):
    """Message `id` of mine has another text."""

    id: Place
    text: TextField
    room: RoomField = ""


class Retract(Ask, frozen=True, tag="retract", gc=False):
    """Message `id`, mine or (for operators) anybody's, is taken back."""

    id: Place
    room: RoomField = ""


class React(Ask, frozen=True, tag="react", gc=False):
    """An emoji to message `id`; `on` false takes it away."""

    id: Place
    emoji: Annotated[str, Meta(min_length=1, max_length=MAX_EMOJI_CHARS)]
    room: RoomField = ""
    on: bool = True


class Typing(Ask, frozen=True, tag="typing", gc=False):
    """I am typing in a room."""

    room: RoomField = ""


class Ping(Ask, frozen=True, tag="ping", gc=False):
    """Asks for a `pong` with the same number."""

    n: Place = 0


class Pong(Ask, frozen=True, tag="pong", gc=False):
    """Answers the hub's `ping`."""

    n: Place = 0


class Auth(Ask, frozen=True, tag="auth", gc=False):
    """I own this Ed25519 key (base64). Without a signature it asks for a challenge, with one it answers it."""

    key: Key32
    signature: Signature64 | None = None


class Operator(Ask, frozen=True, tag="op", gc=False):
    """Make somebody an operator of a room, or no longer one."""

    nick: NickField
    room: RoomField = ""
    on: bool = True


class Kick(Ask, frozen=True, tag="kick", gc=False):
    """Put somebody out of a room, or, as an operator of the hub, out of the hub."""

    nick: NickField
    room: RoomField = ""
    reason: Reason = ""
    hub: bool = False


class Ban(Ask, frozen=True, tag="ban", gc=False):
    """Put somebody out and keep them out for so many seconds (0: for ever); `on` false lets them in again."""

    nick: NickField
    room: RoomField = ""
    reason: Reason = ""
    seconds: BanSeconds = 0
    on: bool = True
    hub: bool = False


class Mute(Ask, frozen=True, tag="mute", gc=False):
    """Let somebody listen only, for so many seconds (0: for ever); `on` false lets them talk again."""

    nick: NickField
    room: RoomField = ""
    seconds: BanSeconds = 0
    on: bool = True


class Slowmode(Ask, frozen=True, tag="slowmode", gc=False):
    """One message a guest in so many seconds; 0 ends it."""

    seconds: Annotated[int, Meta(ge=0, le=MAX_SLOW_SECONDS)]
    room: RoomField = ""


class Close(Ask, frozen=True, tag="close", gc=False):
    """Put everybody out of a room and forget it."""

    room: RoomField
    reason: Reason = ""


AnyAsk = (
    Nick | Msg | Hello | Join | Leave | Rooms | Who | Topic | History | Find | Edit | Retract | React | Typing | Ping
    | Pong | Auth | Operator | Kick | Ban | Mute | Slowmode | Close
)  # fmt: skip
