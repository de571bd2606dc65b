"""What a guest of a hub wants done, and what it tells: frozen values, texts safe to show. Rooms go by their names."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sandpiper.wire.hub.answers import Kept, Member, RoomLine, Said

FINAL = frozenset({"banned", "replaced", "kicked", "locked", "wrong_password", "tls_only", "not_served"})
"""Codes of a connection's end after which coming back would be rude, or would go on for ever."""
LOCKED = frozenset({"locked", "wrong_password"})
"""Codes of errors that a password would help against."""
ROOM_REFUSED = frozenset({"locked", "wrong_password", "banned", "room_full", "too_many_rooms", "bad_room_name"})
"""Codes of errors after which we are not in the room that they name."""

Phase = Literal["down", "dialling", "greeting", "up", "over"]
"""How far a guest has come with its hub."""

# ---------------------------------------------------------------- to do


class HubDial(Struct, frozen=True):
    """Connect; then call `connected`, or `lost` when that fails."""


class HubWrite(Struct, frozen=True):
    """Write these bytes to the connection."""

    raw: bytes


class HubHangUp(Struct, frozen=True):
    """Close the connection; the guest has done with it."""

    reason: str


# ---------------------------------------------------------------- to tell


class HubUp(Struct, frozen=True):
    """The hub knows us as `nick`. `founding`: it has one room, and nothing beyond the founding protocol. `proved`: it
    has seen that our key is ours.
    """

    hub: str
    nick: str
    founding: bool
    proved: bool


class HubDown(Struct, frozen=True):
    """There is no connection; `seconds` until the next try, None: there will be none. `code`: the hub's for that."""

    reason: str
    seconds: float | None
    code: str = ""


class HubKnown(Struct, frozen=True):
    """The hub at this address has this key (32 bytes): remember it."""

    id: bytes


class HubNick(Struct, frozen=True):
    """We are called `nick`; `wanted` was something else when it was taken."""

    nick: str
    wanted: str


class HubRoomIn(Struct, frozen=True):
    """We are in a room. `life` names the room's life on this program: numbers of messages count in it."""

    room: str
    life: str
    topic: str
    members: int
    operator: bool
    slowmode: int
    resumed: bool


class HubRoomOut(Struct, frozen=True):
    """We are not in a room (any more). Without a `code` it was our own wish."""

    room: str
    code: str = ""
    text: str = ""


class HubHeard(Struct, frozen=True):
    """Number `seq` of a room (0: the hub has no numbers): each is told once, in order. `history`: it was said before
    we came in.
    """

    room: str
    life: str
    seq: int
    kept: Kept
    mine: bool
    history: bool


class HubSent(Struct, frozen=True):
    """The hub has taken what we said."""

    room: str
    client_id: str
    seq: int


class HubUnsent(Struct, frozen=True):
    """What we said was not taken; `code` `unsure`: nobody knows whether it was."""

    room: str
    client_id: str
    text: str
    code: str
    reason: str


class HubMissing(Struct, frozen=True):
    """Messages of a room that were said while we were away are not here: there are too many, or the hub did not give
    them.
    """

    room: str


class HubLocked(Struct, frozen=True):
    """A password is needed for a room, or (empty) for the hub itself; `wrong`: there was one, and it is another."""

    room: str
    text: str
    wrong: bool


class HubFound(Struct, frozen=True):
    """What a search has found: messages, the newest first. `more`: ask for them with this `before`; not `whole`: what
    was said last could not all be searched.
    """

    room: str
    life: str
    lines: tuple[tuple[int, Said], ...]
    more: bool
    before: int
    whole: bool


class HubNotFound(Struct, frozen=True):
    """The search could not be done."""

    room: str
    code: str
    text: str


class HubCaughtUp(Struct, frozen=True):
    """All that was said while we were away is here: so many."""

    room: str
    received: int


class HubMembers(Struct, frozen=True):
    """Who is in a room: the first of `count`."""

    room: str
    members: tuple[Member, ...]
    count: int


class HubCame(Struct, frozen=True):
    """Who came and went, as far as the hub names them; `members` there are now (0: it does not say)."""

    room: str
    joined: tuple[str, ...]
    left: tuple[str, ...]
    members: int
    text: str


class HubRenamed(Struct, frozen=True):
    """Somebody is called something else."""

    room: str
    old: str
    new: str


class HubTyping(Struct, frozen=True):
    """Somebody is typing."""

    room: str
    nick: str


class HubRooms(Struct, frozen=True):
    """The hub's rooms; `more` that are not listed."""

    rooms: tuple[RoomLine, ...]
    more: int


class HubNote(Struct, frozen=True):
    """The hub says something that a person may want to read. `refused`: something was not done."""

    room: str
    code: str
    text: str
    refused: bool = False


HubNotice = (
    HubUp | HubDown | HubKnown | HubNick | HubRoomIn | HubRoomOut | HubHeard | HubSent | HubUnsent | HubMissing
    | HubCaughtUp | HubLocked | HubFound | HubNotFound | HubMembers | HubCame | HubRenamed | HubTyping | HubRooms
    | HubNote
)  # fmt: skip
HubEffect = HubDial | HubWrite | HubHangUp | HubNotice
