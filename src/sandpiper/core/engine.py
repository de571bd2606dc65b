"""The engine: peers and rooms, and which of them shares what. One call in, effects out; docs/architecture.md.

It never waits and never looks at a clock: time, randomness and the identity are passed in, so thousands of engines
run in one process from one seed (`sandpiper.testing.Simulation`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sandpiper.core.admission import AdmissionEffect, OpenCodes
from sandpiper.core.events import (
    Derived,
    Effect,
    Enact,
    EnterPrivate,
    Event,
    Hangup,
    JoinOpen,
    Judged,
    LeaveRoom,
    MemberChanged,
    Now,
    OpenDirect,
    PathKind,
    PeerChanged,
    PeerDown,
    PeerUp,
    Post,
    Received,
    Refused,
    Send,
    SetPresence,
    SetTyping,
    StoredRoom,
    Tick,
    TypingSeen,
    Vouched,
)
from sandpiper.core.inviting import carried, stands
from sandpiper.core.limits import MAX_PUSHED
from sandpiper.core.linked import Linked, weight
from sandpiper.core.membership import Membership
from sandpiper.core.private import PrivateRoom, restored_room
from sandpiper.core.room import Room
from sandpiper.core.sync import Sync
from sandpiper.crypto.rooms import direct_room, open_room, room_tag
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.admission import CodeClosed, CodeGuessed, CodeOpen, LinkFrame, Settled, Vouch
from sandpiper.wire.frames import (
    LINK_VERSION,
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
from sandpiper.wire.records import Admit, AnyBody, Control, Leave, Profile, Record
from sandpiper.wire.text import clean_nick, clean_status

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sandpiper.crypto.identity import Identity

AGENT = "sandpiper"


class Engine:
    """One profile's rooms and linked peers.

    `handle` takes one event and gives back what the node must do, in order. `rng` is used for jitter only.
    """

    def __init__(
        self,
        identity: Identity,
        nick: str,
        rng: random.Random,
        now: Now,
        rooms: Iterable[StoredRoom] = (),
        codes: OpenCodes | None = None,
    ) -> None:
        """`codes` may be older than this engine; whoever made them asks it for `refusal`."""
        self._identity = identity
        self.key = identity.key
        self.nick = nick
        self.status = ""
        self.codes = codes or OpenCodes(self.key, self.refusal, lambda room, after: stands(self.room(room), after))
        self._rng = rng
        self._peers: dict[PeerKey, Linked] = {}
        self._rooms: dict[RoomId, Membership] = {}
        self.left: dict[RoomId, Room] = {}
        """Rooms of earlier: their logs go on where they ended."""
        for stored in rooms:
            room = restored_room(stored, self.key)
            if stored.joined:
                self._enter(room, now)
            else:
                self.left[room.id] = room

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
        return tuple(key for key in membership.sync.members if self._peers[key].greeted) if membership else ()

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
        times = [m.sync.deadline() for m in self._rooms.values()]
        codes = self.codes.deadline()
        return min([*times, codes] if codes is not None else times, default=None)

    # ------------------------------------------------------------ the one way in

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take one event; what comes back is to be done in order.

        Raises:
            UsageError: a command names a room that we are not in, or a peer that cannot be.
        """
        match event:
            case Received(peer=peer, frame=frame, records=records):
                return self._received(peer, frame, records, now)
            case Vouched(room=room, peer=peer, records=records):
                return self._vouched(peer, room, records, now)
            case Tick():
                out = [e for m in self._rooms.values() if m.sync.deadline() <= now.mono for e in m.sync.tick(now)]
                return [*out, *self.admission(self.codes.tick(now))]
            case PeerUp(peer=peer, path=path, room=room):
                return self._peer_up(peer, path, room, now)
            case PeerDown(peer=peer, reason=reason):
                return self._peer_down(peer, reason, now)
            case JoinOpen(name=name):
                return self._join(Room(open_room(name), name, "open", self.key), now)
            case OpenDirect(peer=peer):
                return self._open_direct(peer, now)
            case EnterPrivate():
                return self._enter_private(event, now)
            case LeaveRoom(room=room):
                return self._leave(self._membership(room), now)
            case Post(room=room, body=body):
                return self._post(self._membership(room), body, now)
            case SetPresence(nick=nick, status=status):
                self.nick, self.status = nick, status
                everyone = tuple(self._peers)  # also whose hello has not come yet: ours has gone, with the old nick
                return [Send(everyone, Presence(nick, status))] if everyone else []
            case SetTyping(room=room):
                return self._membership(room).typing(now)
            case _:
                assert_never(event)

    # ------------------------------------------------------------ peers

    def _peer_up(self, key: PeerKey, path: PathKind, room: RoomId | None, now: Now) -> list[Effect]:
        out: list[Effect] = []
        if key in self._peers:
            for membership in self._rooms.values():
                out += membership.sync.part(key, now)
        self._peers[key] = Linked(path, now, self._peers.get(key))
        out.append(Send((key,), Hello(LINK_VERSION, AGENT, self.nick, now.wall_ms, self._tags_for(key), self.status)))
        let_in = self._rooms.get(room) if room is not None else None
        shared = let_in is not None and self._shared(let_in.room, key)
        return [*out, *self._begin(let_in, key, now, newcomer=True)] if let_in and shared else out

    def _peer_down(self, key: PeerKey, reason: str, now: Now) -> list[Effect]:
        peer = self._peers.pop(key, None)
        if peer is None:
            return []
        out: list[Effect] = []
        for membership in self._rooms.values():
            out += membership.sync.part(key, now)
        if (direct := direct_room(self.key, key)) in self._rooms:
            self._forget_unused(direct)
        if peer.greeted or peer.told:
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

    def _tags_for(self, peer: PeerKey) -> tuple[RoomTag, ...]:
        """Tags of the rooms that `peer` may know of: others' direct rooms are none of its business."""
        return tuple(m.room.tag for m in self._rooms.values() if self._shared(m.room, peer))[:MAX_ROOM_TAGS]

    def _shared(self, room: Room, peer: PeerKey) -> bool:
        """True when `peer` may be told of `room`, and we still belong to it ourselves."""
        return room.roster.admits(peer) and room.roster.admits(self.key)

    def _linked(self, key: PeerKey, peer: Linked) -> PeerChanged:
        return PeerChanged(key, peer.nick, peer.status, "linked", peer.path, peer.skew_ms)

    def _share(self, key: PeerKey, tags: tuple[bytes, ...], now: Now) -> list[Effect]:
        """`key` names its rooms: begin or end sharing accordingly."""
        peer = self._peers[key]
        peer.tags = frozenset(RoomTag(tag) for tag in tags)
        out: list[Effect] = []
        direct = direct_room(self.key, key)
        if room_tag(direct) in peer.tags and direct not in self._rooms:
            out += self._open_direct(key, now) if direct in self.left else self._invite(key, now)
        for membership in self._rooms.values():
            shared = membership.room.tag in peer.tags and self._shared(membership.room, key)
            if shared and key not in membership.sync.members:
                out += self._begin(membership, key, now)
            elif not shared:
                out += [*membership.sync.part(key, now), *membership.vouch(key, peer)]
        if direct in self._rooms and room_tag(direct) not in peer.tags:
            self._forget_unused(direct)
        return out

    # ------------------------------------------------------------ rooms

    def _membership(self, room: RoomId) -> Membership:
        try:
            return self._rooms[room]
        except KeyError:
            raise UsageError("You are not in that room.", hint="Join it first: /join #name", code="no_room") from None

    def _enter(self, room: Room, now: Now) -> Membership:
        membership = self._rooms[room.id] = Membership(room, Sync(room, self.key, self._rng, now), self.key)
        return membership

    def _join(self, room: Room, now: Now, giver: PeerKey | None = None) -> list[Effect]:
        if room.id in self._rooms:
            return self._rooms[room.id].use()
        room = self.left.pop(room.id, room)
        membership = self._enter(room, now)
        membership.sync.giver = giver if not room.head_seq(self.key) else None
        out: list[Effect] = [*membership.saved(joined=True), *self._tell_rooms(room)]
        for key, peer in self._peers.items():
            if peer.greeted and room.tag in peer.tags and self._shared(room, key):
                out += self._begin(membership, key, now)
        return out

    def _begin(self, membership: Membership, key: PeerKey, now: Now, *, newcomer: bool = False) -> list[Effect]:
        """Share a room with a linked member; `newcomer`: whom we have just let in."""
        shared = membership.sync.join(key, newcomer=newcomer)
        if not isinstance(membership.room, PrivateRoom):
            return shared
        return [*shared, *membership.untold(key), *self.admission(self.codes.linked(key, membership.room.id, now))]

    def _vouched(self, key: PeerKey, room: RoomId, records: tuple[Record, ...], now: Now) -> list[Effect]:
        if (membership := self._rooms.get(room)) is None:
            return []
        return [*membership.vouched(key, self._peers.get(key), records, now), *self._settle(membership, now)]

    def _open_direct(self, peer: PeerKey, now: Now) -> list[Effect]:
        if peer == self.key:
            raise UsageError("That is you.", hint="Notes to yourself fit a room of their own: /join #notes")
        return self._join(Room(direct_room(self.key, peer), "", "direct", self.key, peer), now)

    def _leave(self, membership: Membership, now: Now) -> list[Effect]:
        room = membership.room
        out: list[Effect] = []
        if isinstance(room, PrivateRoom) and room.roster.role(self.key) in ("admin", "member"):
            out += self._post(membership, Leave(), now)
        told = [key for key in self._peers if room.roster.admits(key)]
        del self._rooms[room.id]
        self.codes.forget_room(room.id)
        room.forget_pending()
        self.left[room.id] = room
        return [*out, *membership.saved(joined=False), *(Send((key,), Rooms(self._tags_for(key))) for key in told)]

    def _tell_rooms(self, changed: Room) -> list[Effect]:
        """Tell those who may know of the room that was joined or left: others would learn that there is one."""
        return [
            Send((key,), Rooms(self._tags_for(key)))
            for key in self._peers  # our hello named the rooms of before, to whoever has not said its own yet, too
            if changed.roster.admits(key)
        ]

    def _post(self, membership: Membership, body: AnyBody, now: Now) -> list[Effect]:
        out: list[Effect] = []
        room = membership.room
        if isinstance(body, Control):
            if not isinstance(room, PrivateRoom):
                raise UsageError("Only private rooms have members to rule over.", hint="Everybody may be here.")
            body = room.completed(body, now.wall_ms)
        elif isinstance(room, PrivateRoom):
            room.check_writes()
        if not isinstance(body, Profile | Control) and room.nicks.get(self.key) != self.nick:
            # Whoever reads this room later must know what the author was called. Nothing is placed before all of it
            # is known to be sound: what is in memory and not on disk would be a hole in our log.
            self._seal(room, body, now)
            out += self._post(membership, Profile(self.nick, self.status), now)
        return [*out, *self._write(membership, self._seal(room, body, now), now)]

    def _write(self, membership: Membership, record: Record, now: Now) -> list[Effect]:
        placed = membership.place(record, None, now, history=False)
        if not placed:
            raise UsageError("The room has no place for what you said.", hint="Leave it and join it again.")
        return [*placed, *self._settle(membership, now)]

    # ------------------------------------------------------------ private rooms

    def roster_records(self, room: RoomId) -> tuple[bytes, ...]:
        """All control records of a private room, causes first: what whoever is let in needs to begin with."""
        private = self.room(room)
        return tuple(act.record.raw for act in private.roster.acts.all) if isinstance(private, PrivateRoom) else ()

    def refusal(self, room: RoomId, peer: PeerKey) -> str:
        """Why `peer` may not become a member: one of `REFUSALS`, empty: it may."""
        private = self.room(room)
        return private.refusal(peer) if isinstance(private, PrivateRoom) else "failed"

    def admission(self, effects: Iterable[AdmissionEffect]) -> list[Effect]:
        """What the codes want done, with members told over their links."""
        return carried(effects, lambda room: self._rooms[room].sync.members if room in self._rooms else ())

    def _enter_private(self, event: EnterPrivate, now: Now) -> list[Effect]:
        membership = self._rooms.get(event.room)
        room = membership.room if membership is not None else self.left.get(event.room)
        if room is None:
            room = PrivateRoom(event.room, self.key, event.secret)
        assert isinstance(room, PrivateRoom)  # ids of rooms of another kind are hashes of something else
        room.secret, room.lock = event.secret or room.secret, event.lock or room.lock
        room.relay = event.relay or room.relay
        room.enter(event.records)
        genesis = next((record for record in event.records if bytes(record.id) == event.room), None)
        if room.roster.acts.genesis is None:
            raise UsageError("What came is not the roster of that room.", hint="Ask for a new code.", code="no_roster")
        kept: list[Effect] = [Enact(record) for record in room.enacted()]
        joined = self._join(room, now, event.by) if membership is None else membership.saved(joined=True)[:1]
        membership = self._rooms[event.room]
        out = [*joined, *kept]
        if genesis is not None and genesis.author == self.key and not room.head_seq(self.key):
            out += membership.place(genesis, None, now, history=False)
        return [*out, *self._settle(membership, now)]

    def _settle(self, membership: Membership, now: Now) -> list[Effect]:
        """The roster may have changed: what counts, who shares the room, and whether our own log must say that we are
        back.
        """
        room, sync = membership.room, membership.sync
        if not isinstance(room, PrivateRoom) or not room.moved:
            return []
        changes = room.judged()
        out: list[Effect] = [*changes]
        moved = [c.peer for c in changes if isinstance(c, MemberChanged) and (c.role is None) != (c.before is None)]
        for key in self._peers if self.key in moved else [key for key in moved if key in self._peers]:
            peer = self._peers[key]
            if key in sync.members and not room.roster.admits(key):
                # The last thing that it hears of the room: why. What the log has before that, it may lack.
                newest = tuple(act.record.raw for act in room.roster.acts.all[-MAX_PUSHED:])
                out.append(Send((key,), Records(room.id, newest)))
            out.append(Send((key,), Rooms(self._tags_for(key))))
            if not self._shared(room, key):
                out += sync.part(key, now)
            elif peer.greeted and room.tag in peer.tags and key not in sync.members:
                out += self._begin(membership, key, now)
        out += self.admission(self.codes.roster_changed(room.id, now, inside=room.roster.admits(self.key)))
        if room.needs_return():
            back = self._seal(room, Admit(self.key, self.nick, room.roster.acts.newest()), now)
            return [*out, *self._write(membership, back, now)]
        return [*out, *sync.reconsider(now)]

    def _seal(self, room: Room, body: AnyBody, now: Now) -> Record:
        seq, prev, deps = room.next_place(self.key)
        if isinstance(body, Leave):
            deps = ()  # whoever lacks one of them could not ask us for it any more
        return seal_record(self._identity, room.id, seq, prev, deps, max(now.wall_ms, room.floor.since), body)

    # ------------------------------------------------------------ frames

    def _received(self, key: PeerKey, frame: LinkFrame, records: tuple[Record, ...], now: Now) -> list[Effect]:
        peer = self._peers.get(key)
        if peer is None:
            return []
        if not peer.budget.take(now.mono, weight(frame)):
            return [Hangup(key, "flood", "too many frames")]
        if not peer.greeted and not isinstance(frame, Hello | Bye | Ping | Pong | Settled | UnknownFrame):
            return [Hangup(key, "protocol", "the first frame must be hello")]
        match frame:
            case Records(room=room) | Heads(room=room) | Want(room=room) | Fetch(room=room) | Typing(room=room):
                membership = self._rooms.get(RoomId(room))
                if membership is None or key not in membership.sync.members:
                    return [Refused(key, "not_shared", "a frame about a room that is not shared")]
                return self._about_room(key, peer, membership, frame, records, now)
            case CodeOpen(room=room) | CodeGuessed(room=room) | CodeClosed(room=room):
                membership = self._rooms.get(RoomId(room))
                if membership is None or key not in membership.sync.members or membership.room.kind != "private":
                    return [Refused(key, "not_shared", "a frame about a code of a room that is not shared")]
                learnt = membership.meets_at(frame.relay) if isinstance(frame, CodeOpen) else []
                return [*learnt, *self.admission(self.codes.told(key, frame, now))]
            case Vouch(room=room):
                return self._vouched(key, RoomId(room), records, now)
            case Hello():
                return self._hello(key, peer, frame, now)
            case Rooms(rooms=tags):
                return [*self._share(key, tags, now), self._linked(key, peer)]
            case Presence(nick=nick, status=status):
                peer.nick, peer.status = clean_nick(nick), clean_status(status)
                return [self._linked(key, peer)]
            case Ping(number=number):
                return [Send((key,), Pong(number))]
            case Bye(code=code):
                return [Refused(key, "bye", clean_status(code))]
            case Pong() | Settled():
                return []
            case UnknownFrame(number=number):
                return [Refused(key, "unknown_frame", f"a frame of unknown kind {number}")]
            case _:
                assert_never(frame)

    def _hello(self, key: PeerKey, peer: Linked, frame: Hello, now: Now) -> list[Effect]:
        if frame.version != LINK_VERSION:
            return [Hangup(key, "version", f"this peer speaks version {LINK_VERSION} of the link protocol")]
        peer.greeted, peer.nick, peer.status = True, clean_nick(frame.nick), clean_status(frame.status)
        peer.skew_ms = frame.time - now.wall_ms
        return [self._linked(key, peer), *self._share(key, frame.rooms, now)]

    def _about_room(
        self,
        key: PeerKey,
        peer: Linked,
        membership: Membership,
        frame: Records | Heads | Want | Fetch | Typing,
        records: tuple[Record, ...],
        now: Now,
    ) -> list[Effect]:
        sync = membership.sync
        match frame:
            case Records():
                return [*membership.take(key, peer, frame, records, now), *self._settle(membership, now)]
            case Heads():
                return sync.heads(key, frame, now)
            case Want():
                return sync.want(key, frame)
            case Fetch():
                return sync.fetch(key, frame)
            case Typing():
                return [TypingSeen(membership.room.id, key)]
            case _:
                assert_never(frame)

    def expects(self, peer: PeerKey, frame: Records) -> bool:
        """False when checking the signatures in `frame` would be wasted: the room is not shared, more is pushed than
        honest peers push, or it answers what was not asked.
        """
        membership = self._rooms.get(RoomId(frame.room))
        return membership is not None and membership.expects(peer, frame)

    def derived(self, judged: Judged, said: Derived) -> None:
        """The node has carried out a `Judged`: this is what is left of it that people see."""
        room = self.room(judged.room)
        if isinstance(room, PrivateRoom):
            room.derive(judged.author, said)

    def served(self, peer: PeerKey, room: RoomId, author: PeerKey, seq: int) -> None:
        """The node has carried out a `Serve` and sent records of `author` up to `seq`."""
        membership = self._rooms.get(room)
        if membership is not None:
            membership.sync.served(peer, author, seq)
