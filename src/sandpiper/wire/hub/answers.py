"""What a hub tells its guests: every line that it sends, typed.

The founding protocol's five (`nick`, `msg`, `notice`, `error`, and nothing else that its programs act on) have its
fields first; others follow, which its programs ignore, so that one encoding serves old and new guests alike. Fields
with their default are left out: each byte of a message is copied once for every guest in the room.
`ts` is in seconds since 1970. An empty `room` is the lobby.
"""

from __future__ import annotations

from msgspec import Raw, Struct


class Answer(Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """One line of the hub."""


class NickSet(Answer, frozen=True, tag="nick", gc=False):
    """The guest is called `nick` now."""

    text: str
    ts: int
    nick: str


class Notice(Answer, frozen=True, tag="notice"):
    """Something that a person may want to read. `joined` and `left` name who came and went, `old` and `new` a change
    of nick, `members` how many there are now; `code` says what else it is about.
    """

    text: str
    ts: int
    room: str = ""
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    old: str = ""
    new: str = ""
    members: int = 0
    code: str = ""


class Error(Answer, frozen=True, tag="error", gc=False):
    """Something was refused. `code` is the stable word; `client_id` the message's, if it had one."""

    text: str
    code: str = ""
    room: str = ""
    suggestion: str = ""
    client_id: str = ""


class Said(Answer, frozen=True, tag="msg", gc=False):
    """A message. With its room and the room's epoch, `seq` is its name for ever: what `id` and `reply_to` mean."""

    nick: str
    text: str
    ts: int
    room: str = ""
    seq: int = 0
    client_id: str = ""
    reply_to: int = 0
    action: bool = False


class Edited(Answer, frozen=True, tag="edit", gc=False):
    """Message `id` has another text."""

    nick: str
    text: str
    ts: int
    id: int
    room: str = ""
    seq: int = 0


class Retracted(Answer, frozen=True, tag="retract", gc=False):
    """Message `id` was taken back, by its author or an operator."""

    nick: str
    ts: int
    id: int
    room: str = ""
    seq: int = 0


class Reacted(Answer, frozen=True, tag="react", gc=False):
    """`nick` put an emoji to message `id`, or took it away."""

    nick: str
    emoji: str
    ts: int
    id: int
    room: str = ""
    seq: int = 0
    on: bool = True


class TopicSet(Answer, frozen=True, tag="topic", gc=False):
    """The topic; `seq` is there when it has just been set."""

    text: str
    nick: str = ""
    ts: int = 0
    room: str = ""
    seq: int = 0


Kept = Said | Edited | Retracted | Reacted | TopicSet
"""What has a `seq`: history keeps it, and a guest that resumes gets it."""


class Ack(Answer, frozen=True, tag="ack", gc=False):
    """The message with this `client_id` had been accepted before, as number `seq`; it was not said again."""

    client_id: str
    seq: int
    room: str = ""


class HelloBack(Answer, frozen=True, tag="hello"):
    """Who the hub is (`id`, base64, when it has a key), what it can do, and what the guest is called."""

    v: int
    hub: str
    features: tuple[str, ...]
    nick: str
    id: bytes = b""


class Joined(Answer, frozen=True, tag="joined", gc=False):
    """The guest is in `room`, whose last number is `seq`. After `resumed` the messages from `first` on follow at once;
    those between `since` and `first` must be asked for with `history`.
    """

    room: str
    epoch: str
    seq: int
    members: int
    topic: str = ""
    operator: bool = False
    slowmode: int = 0
    resumed: bool = False
    first: int = 0


class Left(Answer, frozen=True, tag="left", gc=False):
    """The guest is no longer in `room`."""

    room: str
    code: str = ""
    text: str = ""


class RoomLine(Struct, frozen=True, omit_defaults=True, gc=False):
    """One room of a list."""

    room: str
    members: int
    topic: str = ""
    locked: bool = False


class RoomList(Answer, frozen=True, tag="rooms"):
    """The rooms, the fullest first; `more` that are not listed."""

    rooms: tuple[RoomLine, ...]
    more: int = 0


class Member(Struct, frozen=True, omit_defaults=True, gc=False):
    """One member of a list. `key` (base64) only for those who have proved theirs."""

    nick: str
    operator: bool = False
    key: bytes = b""


class WhoList(Answer, frozen=True, tag="who"):
    """Who is in `room`: the first of `count`."""

    room: str
    count: int
    members: tuple[Member, ...]


class Page(Answer, frozen=True, tag="history"):
    """A page of history, oldest first: lines as they were sent. `more`: there are older ones."""

    room: str
    epoch: str
    messages: Raw
    more: bool = False


class FoundLines(Answer, frozen=True, tag="found"):
    """What a search has found in `room`: lines as the messages are now, the newest first. `more`: ask for them with
    this `before`. `whole` is false when some of what was said last could not be searched yet.
    """

    room: str
    epoch: str
    messages: Raw
    more: bool = False
    before: int = 0
    whole: bool = True


class TypingSeen(Answer, frozen=True, tag="typing", gc=False):
    """`nick` is typing."""

    nick: str
    room: str = ""


class Pinged(Answer, frozen=True, tag="ping", gc=False):
    """Asks for a `pong` with the same number."""

    n: int


class Ponged(Answer, frozen=True, tag="pong", gc=False):
    """Answers `ping`."""

    n: int


class Challenge(Answer, frozen=True, tag="challenge", gc=False):
    """What to sign: `AUTH_DOMAIN`, the hub's id (32 zero bytes if it has none), and this nonce (base64)."""

    nonce: bytes


class Authed(Answer, frozen=True, tag="auth", gc=False):
    """The key is proved. `nicks` belong to it; `operator`: of the whole hub."""

    text: str
    nicks: tuple[str, ...] = ()
    operator: bool = False


AnyAnswer = (
    NickSet | Notice | Error | Said | Edited | Retracted | Reacted | TopicSet | Ack | HelloBack | Joined | Left
    | RoomList | WhoList | Page | FoundLines | TypingSeen | Pinged | Ponged | Challenge | Authed
)  # fmt: skip
