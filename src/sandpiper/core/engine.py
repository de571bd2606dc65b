"""The engine: peers and rooms, and which of them shares what. One call in, effects out; docs/architecture.md.

It never waits and never looks at a clock: time, randomness and the identity are passed in, so thousands of engines
run in one process from one seed (`sandpiper.testing.Simulation`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sandpiper.core.events import (
    Accepted,
    Append,
    Effect,
    Event,
    Forked,
    Hangup,
    JoinOpen,
    LeaveRoom,
    Now,
    OpenDirect,
    PathKind,
    PeerChanged,
    PeerDown,
    PeerUp,
    Post,
    Preview,
    Received,
    Refused,
    RoomChanged,
    SaveRoom,
    Send,
    SetPresence,
    SetTyping,
    StoredRoom,
    Tick,
    TypingSeen,
)
from sandpiper.core.limits import (
    FRAME_BURST,
    FRAME_RATE,
    HEADS_A_FRAME,
    MAX_PREVIEW,
    MAX_PUSHED,
    PUSH_BURST,
    PUSH_RATE,
    TYPING_SECONDS,
)
from sandpiper.core.rate import Bucket
from sandpiper.core.room import Placed, Room
from sandpiper.core.sync import PUSHED, WANTED_RECENT, Sync
from sandpiper.crypto.rooms import direct_room, open_room, room_tag
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.frames import (
    LINK_VERSION,
    AnyFrame,
    Bye,
    Fetch,
    Heads,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    Rooms,
    Typing,
    UnknownFrame,
    Want,
)
from sandpiper.wire.ids import PeerKey, RecordId, RoomId, RoomTag
from sandpiper.wire.limits import MAX_ROOM_TAGS
from sandpiper.wire.records import AnyBody, Profile, Record
from sandpiper.wire.text import clean_nick, clean_status

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sandpiper.crypto.identity import Identity

AGENT = "sandpiper"


class _Peer:
    """A linked peer, from its link's first moment."""

    __slots__ = ("budget", "greeted", "nick", "path", "pushes", "skew_ms", "status", "tags")

    def __init__(self, path: PathKind, now: Now) -> None:
        self.path = path
        self.greeted = False
        self.nick = "nameless"
        self.status = ""
        self.skew_ms = 0
        self.tags: frozenset[RoomTag] = frozenset()
        self.pushes = Bucket(PUSH_RATE, PUSH_BURST, now.mono)
        self.budget = Bucket(FRAME_RATE, FRAME_BURST, now.mono)


class _Membership:
    """A room that we are in, and its sync."""

    __slots__ = ("preview", "room", "sync", "typed_at", "used")

    def __init__(self, room: Room, sync: Sync) -> None:
        self.room = room
        self.sync = sync
        self.preview: set[RecordId] = set()
        self.typed_at = -TYPING_SECONDS
        self.used = True  # False: opened by the other side of a direct room, and nothing said in it yet


class Engine:
    """One profile's rooms and linked peers.

    `handle` takes one event and gives back what the node must do, in order. `rng` is used for jitter only.
    """

    def __init__(
        self, identity: Identity, nick: str, rng: random.Random, now: Now, rooms: Iterable[StoredRoom] = ()
    ) -> None:
        self._identity = identity
        self.key = identity.key
        self.nick = nick
        self.status = ""
        self._rng = rng
        self._peers: dict[PeerKey, _Peer] = {}
        self._rooms: dict[RoomId, _Membership] = {}
        self._left: dict[RoomId, Room] = {}  # rooms of earlier: their logs go on where they ended
        for stored in rooms:
            room = Room.restored(stored, self.key)
            if stored.joined:
                self._enter(room, now)
            else:
                self._left[room.id] = room

    # ------------------------------------------------------------ what others may look at

    def room(self, room: RoomId) -> Room | None:
        """The room, when we are in it."""
        membership = self._rooms.get(room)
        return membership.room if membership else None

    def rooms(self) -> tuple[Room, ...]:
        """All rooms that we are in, in the order of joining."""
        return tuple(m.room for m in self._rooms.values() if m.used)

    def members(self, room: RoomId) -> tuple[PeerKey, ...]:
        """Linked peers that share `room`."""
        membership = self._rooms.get(room)
        return membership.sync.members if membership else ()

    def linked(self) -> tuple[PeerKey, ...]:
        """All linked peers that have said hello."""
        return tuple(key for key, peer in self._peers.items() if peer.greeted)

    def open_tags(self) -> tuple[RoomTag, ...]:
        """Tags for the beacon: open rooms only."""
        return tuple(m.room.tag for m in self._rooms.values() if m.room.kind == "open")

    def undelivered(self) -> int:
        """How many of our records some linked member is not known to hold."""
        return sum(m.sync.undelivered() for m in self._rooms.values())

    def delivery(self, room: RoomId, record: RecordId) -> tuple[int, int] | None:
        """How many linked members hold this record of ours, and how many there are; None: not ours, or not here."""
        membership = self._rooms.get(room)
        return membership.sync.delivery(record) if membership is not None else None

    def deadline(self) -> float | None:
        """When the engine wants a `Tick`, in seconds of `Now.mono`; None: not before something else happens."""
        return min((m.sync.deadline() for m in self._rooms.values()), default=None)

    # ------------------------------------------------------------ the one way in

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event; what comes back is to be done in order.

        Raises:
            UsageError: a command names a room that we are not in, or a peer that cannot be.
        """
        match event:
            case Received(peer=peer, frame=frame, records=records):
                return self._received(peer, frame, records, now)
            case Tick():
                return [e for m in self._rooms.values() if m.sync.deadline() <= now.mono for e in m.sync.tick(now)]
            case PeerUp(peer=peer, path=path):
                return self._peer_up(peer, path, now)
            case PeerDown(peer=peer, reason=reason):
                return self._peer_down(peer, reason, now)
            case JoinOpen(name=name):
                return self._join(Room(open_room(name), name, "open", self.key), now)
            case OpenDirect(peer=peer):
                return self._open_direct(peer, now)
            case LeaveRoom(room=room):
                return self._leave(room)
            case Post(room=room, body=body):
                return self._post(self._membership(room), body, now)
            case SetPresence(nick=nick, status=status):
                self.nick, self.status = nick, status
                everyone = tuple(self._peers)  # also whose hello has not come yet: ours has gone, with the old nick
                return [Send(everyone, Presence(nick, status))] if everyone else []
            case SetTyping(room=room):
                return self._typing(self._membership(room), now)
            case _:
                assert_never(event)

    # ------------------------------------------------------------ peers

    def _peer_up(self, key: PeerKey, path: PathKind, now: Now) -> list[Effect]:
        out: list[Effect] = []
        if key in self._peers:
            for membership in self._rooms.values():
                out += membership.sync.part(key, now)
        self._peers[key] = _Peer(path, now)
        hello = Hello(LINK_VERSION, AGENT, self.nick, now.wall_ms, self._tags_for(key), self.status)
        return [*out, Send((key,), hello)]

    def _peer_down(self, key: PeerKey, reason: str, now: Now) -> list[Effect]:
        peer = self._peers.pop(key, None)
        if peer is None:
            return []
        out: list[Effect] = []
        for membership in self._rooms.values():
            out += membership.sync.part(key, now)
        if (direct := direct_room(self.key, key)) in self._rooms:
            self._forget_unused(direct)
        if peer.greeted:
            out.append(PeerChanged(key, peer.nick, peer.status, "lost", peer.path, peer.skew_ms, reason))
        return out

    def _invite(self, key: PeerKey, now: Now) -> list[Effect]:
        """`key` has opened the direct room with us: share it, and keep it once something is said there. Strangers in
        bulk cost memory while they are linked, and nothing on disk.
        """
        room = Room(direct_room(self.key, key), "", "direct", self.key, key)
        self._enter(room, now).used = False
        return self._tell_rooms(room)

    def _forget_unused(self, room: RoomId) -> None:
        if not self._rooms[room].used:
            del self._rooms[room]

    def _use(self, membership: _Membership) -> list[Effect]:
        """A room that we did not ask for is one of ours now."""
        if membership.used:
            return []
        membership.used = True
        room = membership.room
        return [
            SaveRoom(room.id, room.name, room.kind, room.peer, joined=True),
            RoomChanged(room.id, room.name, room.kind, room.peer, joined=True),
        ]

    def _tags_for(self, peer: PeerKey) -> tuple[RoomTag, ...]:
        """Tags of the rooms that `peer` may know of: others' direct rooms are none of its business."""
        return tuple(m.room.tag for m in self._rooms.values() if m.room.roster.admits(peer))[:MAX_ROOM_TAGS]

    def _linked(self, key: PeerKey, peer: _Peer) -> PeerChanged:
        return PeerChanged(key, peer.nick, peer.status, "linked", peer.path, peer.skew_ms)

    def _share(self, key: PeerKey, tags: tuple[bytes, ...], now: Now) -> list[Effect]:
        """`key` names its rooms: begin or end sharing accordingly."""
        peer = self._peers[key]
        peer.tags = frozenset(RoomTag(tag) for tag in tags)
        out: list[Effect] = []
        direct = direct_room(self.key, key)
        if room_tag(direct) in peer.tags and direct not in self._rooms:
            out += self._open_direct(key, now) if direct in self._left else self._invite(key, now)
        for membership in self._rooms.values():
            shared = membership.room.tag in peer.tags and membership.room.roster.admits(key)
            if shared and key not in membership.sync.members:
                out += membership.sync.join(key)
            elif not shared:
                out += membership.sync.part(key, now)
        if direct in self._rooms and room_tag(direct) not in peer.tags:
            self._forget_unused(direct)
        return out

    # ------------------------------------------------------------ rooms

    def _membership(self, room: RoomId) -> _Membership:
        try:
            return self._rooms[room]
        except KeyError:
            raise UsageError("You are not in that room.", hint="Join it first: /join #name", code="no_room") from None

    def _enter(self, room: Room, now: Now) -> _Membership:
        membership = self._rooms[room.id] = _Membership(room, Sync(room, self.key, self._rng, now))
        return membership

    def _join(self, room: Room, now: Now) -> list[Effect]:
        if room.id in self._rooms:
            return self._use(self._rooms[room.id])
        room = self._left.pop(room.id, room)
        membership = self._enter(room, now)
        out: list[Effect] = [
            SaveRoom(room.id, room.name, room.kind, room.peer, joined=True),
            RoomChanged(room.id, room.name, room.kind, room.peer, joined=True),
            *self._tell_rooms(room),
        ]
        for key, peer in self._peers.items():
            if peer.greeted and room.tag in peer.tags and room.roster.admits(key):
                out += membership.sync.join(key)
        return out

    def _open_direct(self, peer: PeerKey, now: Now) -> list[Effect]:
        if peer == self.key:
            raise UsageError("That is you.", hint="Notes to yourself fit a room of their own: /join #notes")
        return self._join(Room(direct_room(self.key, peer), "", "direct", self.key, peer), now)

    def _leave(self, room_id: RoomId) -> list[Effect]:
        room = self._membership(room_id).room
        del self._rooms[room_id]
        room.forget_pending()
        self._left[room_id] = room
        return [
            SaveRoom(room.id, room.name, room.kind, room.peer, joined=False),
            RoomChanged(room.id, room.name, room.kind, room.peer, joined=False),
            *self._tell_rooms(room),
        ]

    def _tell_rooms(self, changed: Room) -> list[Effect]:
        """Tell those who may know of the room that was joined or left: others would learn that there is one."""
        return [
            Send((key,), Rooms(self._tags_for(key)))
            for key in self._peers  # our hello named the rooms of before, to whoever has not said its own yet, too
            if changed.roster.admits(key)
        ]

    def _post(self, membership: _Membership, body: AnyBody, now: Now) -> list[Effect]:
        out: list[Effect] = []
        room = membership.room
        if not isinstance(body, Profile) and room.nicks.get(self.key) != self.nick:
            # Whoever reads this room later must know what the author was called. Nothing is placed before all of it
            # is known to be sound: what is in memory and not on disk would be a hole in our log.
            self._seal(room, body, now)
            out += self._post(membership, Profile(self.nick, self.status), now)
        placed = self._place(membership, self._seal(room, body, now), None, now, history=False)
        if not placed:
            raise UsageError("The room has no place for what you said.", hint="Leave it and join it again.")
        return [*out, *placed]

    def _seal(self, room: Room, body: AnyBody, now: Now) -> Record:
        seq, prev, deps = room.next_place(self.key)
        return seal_record(self._identity, room.id, seq, prev, deps, now.wall_ms, body)

    def _typing(self, membership: _Membership, now: Now) -> list[Effect]:
        if now.mono < membership.typed_at + TYPING_SECONDS or not membership.sync.members:
            return []
        membership.typed_at = now.mono
        return [Send(membership.sync.members, Typing(membership.room.id))]

    # ------------------------------------------------------------ frames

    def _received(self, key: PeerKey, frame: AnyFrame, records: tuple[Record, ...], now: Now) -> list[Effect]:
        peer = self._peers.get(key)
        if peer is None:
            return []
        if not peer.budget.take(now.mono, _weight(frame)):
            return [Hangup(key, "flood", "too many frames")]
        if not peer.greeted and not isinstance(frame, Hello | Bye | Ping | Pong | UnknownFrame):
            return [Hangup(key, "protocol", "the first frame must be hello")]
        match frame:
            case Records(room=room) | Heads(room=room) | Want(room=room) | Fetch(room=room) | Typing(room=room):
                membership = self._rooms.get(RoomId(room))
                if membership is None or key not in membership.sync.members:
                    return [Refused(key, "not_shared", "a frame about a room that is not shared")]
                return self._about_room(key, peer, membership, frame, records, now)
            case Hello():
                return self._hello(key, peer, frame, now)
            case Rooms(rooms=tags):
                return self._share(key, tags, now)
            case Presence(nick=nick, status=status):
                peer.nick, peer.status = clean_nick(nick), clean_status(status)
                return [self._linked(key, peer)]
            case Ping(number=number):
                return [Send((key,), Pong(number))]
            case Bye(code=code):
                return [Refused(key, "bye", clean_status(code))]
            case Pong():
                return []
            case UnknownFrame(number=number):
                return [Refused(key, "unknown_frame", f"a frame of unknown kind {number}")]
            case _:
                assert_never(frame)

    def _hello(self, key: PeerKey, peer: _Peer, frame: Hello, now: Now) -> list[Effect]:
        if frame.version != LINK_VERSION:
            return [Hangup(key, "version", f"this peer speaks version {LINK_VERSION} of the link protocol")]
        peer.greeted = True
        peer.nick, peer.status = clean_nick(frame.nick), clean_status(frame.status)
        peer.skew_ms = frame.time - now.wall_ms
        return [self._linked(key, peer), *self._share(key, frame.rooms, now)]

    def _about_room(
        self,
        key: PeerKey,
        peer: _Peer,
        membership: _Membership,
        frame: Records | Heads | Want | Fetch | Typing,
        records: tuple[Record, ...],
        now: Now,
    ) -> list[Effect]:
        sync = membership.sync
        match frame:
            case Records():
                return self._take(key, peer, membership, frame, records, now)
            case Heads():
                return sync.heads(key, frame, now)
            case Want():
                return sync.want(key, frame)
            case Fetch(ids=ids):
                return sync.fetch(key, tuple(RecordId(i) for i in ids))
            case Typing():
                return [TypingSeen(membership.room.id, key)]
            case _:
                assert_never(frame)

    def _take(
        self, key: PeerKey, peer: _Peer, membership: _Membership, frame: Records, records: tuple[Record, ...], now: Now
    ) -> list[Effect]:
        """Records with checked signatures came from `key`."""
        out: list[Effect] = []
        room, sync = membership.room, membership.sync
        frame = sync.judged(key, frame)
        progress = 0
        if frame.answer == WANTED_RECENT:
            for record in records:
                fresh = record.id not in membership.preview and record.seq > room.head_seq(record.author)
                if fresh and room.roster.admits(record.author) and len(membership.preview) < MAX_PREVIEW:
                    membership.preview.add(record.id)
                    out.append(Preview(record))
        else:
            pushed = frame.answer == PUSHED
            over = pushed and not peer.pushes.take(now.mono, len(records))
            if pushed:
                sync.note_pushed(key, records, over_rate=over, now=now)
            for record in () if over else records:
                effects = self._place(membership, record, key, now, history=not pushed)
                progress += bool(effects)
                out += effects
        return [*out, *sync.answered(key, frame, progress=progress, now=now)]

    def _place(
        self, membership: _Membership, record: Record, source: PeerKey | None, now: Now, *, history: bool
    ) -> list[Effect]:
        out: list[Effect] = []
        placed: Placed
        for placed in membership.room.add(record):
            one = placed.record
            out += self._use(membership)
            out.append(Append(one, placed.clock, placed.main))
            if placed.forks:
                out.append(Forked(membership.room.id, one.author, placed.forks))
            shown = one.id in membership.preview
            membership.preview.discard(one.id)
            mine = one.author == self.key
            out.append(Accepted(one, placed.clock, mine, history, placed.late, shown))
            out += membership.sync.placed(placed, source, now)
        return out

    def expects(self, peer: PeerKey, frame: Records) -> bool:
        """False when checking the signatures in `frame` would be wasted: the room is not shared, more is pushed than
        honest peers push, or it answers what was not asked.
        """
        membership = self._rooms.get(RoomId(frame.room))
        if membership is None or peer not in membership.sync.members:
            return False
        return len(frame.records) <= MAX_PUSHED if frame.answer == PUSHED else membership.sync.owes(peer)

    def served(self, peer: PeerKey, room: RoomId, author: PeerKey, seq: int) -> None:
        """The node has carried out a `Serve` and sent records of `author` up to `seq`."""
        membership = self._rooms.get(room)
        if membership is not None:
            membership.sync.served(peer, author, seq)


def _weight(frame: AnyFrame) -> float:
    """For how many frames this one counts."""
    match frame:
        case Heads(heads=heads) | Want(heads=heads):
            return 1 + len(heads) / HEADS_A_FRAME
        case Fetch(ids=ids):
            return 1.0 + len(ids)
        case _:
            return 1.0
