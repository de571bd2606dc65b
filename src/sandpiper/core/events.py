"""What goes into the engine and what comes out of it: frozen values, nothing else crosses its wall."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from sandpiper.core.admission import CodeEnded, CodeTried, Decline
from sandpiper.core.control import MemberRole
from sandpiper.crypto.rooms import NO_SECRET, RoomSecret
from sandpiper.wire.admission import LinkFrame
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import AnyBody, Head, Record

RoomKind = Literal["open", "direct", "private", "hub"]
"""How a room admits; pinned when it is first joined. Those of hubs are no rooms of the engine."""
PathKind = Literal["lan", "direct", "relay"]


class Now(NamedTuple):
    """One moment on both clocks: `mono` in seconds, never going back; `wall_ms` in ms since 1970."""

    mono: float
    wall_ms: int


# ---------------------------------------------------------------- into the engine


class PeerUp(Struct, frozen=True):
    """A link to `peer` is ready (again: it takes the place of an earlier one). `room`: `peer` has just been let into it
    over this link, and wants its heads and history next: it is told without having to ask.
    """

    peer: PeerKey
    path: PathKind = "lan"
    room: RoomId | None = None


class PeerDown(Struct, frozen=True):
    """The link to `peer` is gone."""

    peer: PeerKey
    reason: str = ""


class Received(Struct, frozen=True):
    """A frame came. For a `Records` frame, `records` are its records with checked signatures, or None where one
    did not hold.
    """

    peer: PeerKey
    frame: LinkFrame
    records: tuple[Record, ...] = ()


class Vouched(Struct, frozen=True):
    """Somebody shows, at a rendezvous, the control records by which it is a member of `room`; signatures checked."""

    room: RoomId
    peer: PeerKey
    records: tuple[Record, ...]


class Tick(Struct, frozen=True):
    """`engine.deadline()` has come."""


class JoinOpen(Struct, frozen=True):
    """Join, or make, the open room of this name (normalised)."""

    name: str


class OpenDirect(Struct, frozen=True):
    """Join, or make, the direct room with `peer`."""

    peer: PeerKey


class EnterPrivate(Struct, frozen=True):
    """Be in a private room from now on: one that we made (`records` is its genesis alone), or one that a member let
    us into (`records` are its control records, signatures checked). `secret` is what its members share.
    """

    room: RoomId
    records: tuple[Record, ...]
    secret: RoomSecret = NO_SECRET
    lock: RoomSecret = NO_SECRET
    """The room's password, stretched; empty: it has none."""
    relay: str = ""
    """Where its members meet, beside the relays of the settings."""
    by: PeerKey | None = None
    """Who let us in."""


class LeaveRoom(Struct, frozen=True):
    """Stop sharing a room; in a private one, leave its roster too. What is on the disk stays."""

    room: RoomId


class Post(Struct, frozen=True):
    """Append a record of ours to a room."""

    room: RoomId
    body: AnyBody


class SetPresence(Struct, frozen=True):
    """Be called `nick` with this away message from now on."""

    nick: str
    status: str = ""


class SetTyping(Struct, frozen=True):
    """The person is typing in `room`."""

    room: RoomId


_Command = JoinOpen | OpenDirect | EnterPrivate | LeaveRoom | Post | SetPresence | SetTyping
Event = PeerUp | PeerDown | Received | Vouched | Tick | _Command


# ---------------------------------------------------------------- out of the engine: to do


class Send(Struct, frozen=True):
    """Offer `frame` to each of `peers`; whatever was appended before must be on disk first."""

    peers: tuple[PeerKey, ...]
    frame: LinkFrame


class Serve(Struct, frozen=True):
    """Read these records and send them as one `Records` frame: `places` on their authors' chains, `ids` beside
    them (forks). `since` and `before` go into the first frame.
    """

    peer: PeerKey
    room: RoomId
    places: tuple[tuple[PeerKey, int], ...]
    ids: tuple[RecordId, ...]
    answer: int
    since: int = 0
    before: tuple[Head, ...] = ()


class Append(Struct, frozen=True):
    """Keep an accepted record. `clock` orders the room: sort by (clock, id). `main` false: beside its log, a fork."""

    record: Record
    clock: int
    main: bool = True
    counts: bool = True
    """False: it says nothing to anybody; others were built on it."""


class SaveRoom(Struct, frozen=True):
    """Remember that the profile is (or is no longer) in a room. Its kind stays what it was first."""

    room: RoomId
    name: str
    kind: RoomKind
    peer: PeerKey | None
    joined: bool
    secret: RoomSecret = NO_SECRET
    lock: RoomSecret = NO_SECRET
    relay: str = ""
    since: int = 0
    """The order clock from which on the history is for us."""


class Enact(Struct, frozen=True):
    """Keep a control record of a private room as part of its roster, whether its author's log is here or not."""

    record: Record


class Judged(Struct, frozen=True):
    """Of the records of `author` that are held, exactly these do not count any more: show none of them."""

    room: RoomId
    author: PeerKey
    void: frozenset[RecordId]


class Derived(Struct, frozen=True):
    """What people see of a room once a `Judged` has been carried out: its topic, with (clock, id) of the topic's
    record, and what the author judged is called (empty: it has not said).
    """

    topic: str = ""
    topic_place: tuple[int, bytes] = (-1, b"")
    nick: str = ""


class Hangup(Struct, frozen=True):
    """Close the link to `peer`, saying why."""

    peer: PeerKey
    code: str
    reason: str


# ---------------------------------------------------------------- out of the engine: to tell


class PeerChanged(Struct, frozen=True):
    """A peer came, went, is called something else, or names other rooms. `nick` is safe to show."""

    peer: PeerKey
    nick: str
    status: str
    state: Literal["linked", "lost"]
    path: PathKind
    skew_ms: int = 0
    reason: str = ""


class RoomChanged(Struct, frozen=True):
    """A room was joined or left."""

    room: RoomId
    name: str
    kind: RoomKind
    peer: PeerKey | None
    joined: bool


class MemberChanged(Struct, frozen=True):
    """Who `peer` is in a private room, and who it was before (None: no member)."""

    room: RoomId
    peer: PeerKey
    role: MemberRole | None
    before: MemberRole | None


class Accepted(Struct, frozen=True):
    """A record has its place in the room. `history`: it came by catching up, not live. `late`: records that sort
    after it were told before it. `shown`: it was told before as a preview.
    """

    record: Record
    clock: int
    mine: bool
    history: bool
    late: bool
    shown: bool = False


class Preview(Struct, frozen=True):
    """One of the newest records, shown before its log is complete."""

    record: Record


class Delivered(Struct, frozen=True):
    """Of `members` other members that are reachable now, `delivered` hold our record."""

    room: RoomId
    id: RecordId
    delivered: int
    members: int


class Gap(Struct, frozen=True):
    """`missing` records of `author` are known to exist and not here yet; 0: no more."""

    room: RoomId
    author: PeerKey
    missing: int


class CatchUp(Struct, frozen=True):
    """Catching up on a room has begun (`missing` > 0) or is done (0, with how many came)."""

    room: RoomId
    missing: int
    received: int = 0


class Forked(Struct, frozen=True):
    """`author` signed two records for one place: proof that its key lies or is used twice."""

    room: RoomId
    author: PeerKey
    seq: int


class TypingSeen(Struct, frozen=True):
    """`peer` is typing in `room`."""

    room: RoomId
    peer: PeerKey


class Refused(Struct, frozen=True):
    """Something of `peer` was refused; for the log and the operator's counts."""

    peer: PeerKey
    code: str
    reason: str


_OfRoom = Accepted | Preview | Delivered | Gap | CatchUp | Forked | TypingSeen | Judged | MemberChanged
Notice = PeerChanged | RoomChanged | _OfRoom | Refused | CodeTried | CodeEnded
Effect = Send | Serve | Append | SaveRoom | Enact | Hangup | Decline | Notice


# ---------------------------------------------------------------- what a restart brings back


class StoredLog(Struct, frozen=True):
    """One author's main chain as it stands on disk: `ids` are all ids one after another, `clocks` in step. `before` is
    the record after which it begins; None: it begins with the first.
    """

    author: PeerKey
    ids: bytes
    clocks: tuple[int, ...]
    forks: tuple[tuple[Head, int, RecordId], ...] = ()
    """Records beside the chain: place, clock, prev."""
    nick: str = ""
    before: Head | None = None


class StoredRoom(Struct, frozen=True):
    """A room as it stands on disk. `tips` are records that no other record names."""

    room: RoomId
    name: str
    kind: RoomKind
    peer: PeerKey | None
    logs: tuple[StoredLog, ...]
    tips: tuple[Head, ...] = ()
    topic: str = ""
    topic_place: tuple[int, bytes] = (-1, b"")
    """(clock, id) of the topic's record."""
    joined: bool = True
    secret: RoomSecret = NO_SECRET
    acts: tuple[Record, ...] = ()
    """Control records, causes first."""
    lock: RoomSecret = NO_SECRET
    relay: str = ""
    since: int = 0
