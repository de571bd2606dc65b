"""A simulated peer: the real engine, with a disk, a clock and links made of memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from sandpiper.core.admission import Decline
from sandpiper.core.engine import Engine
from sandpiper.core.events import (
    Accepted,
    Append,
    Effect,
    Enact,
    EnterPrivate,
    Event,
    Hangup,
    JoinOpen,
    Judged,
    LeaveRoom,
    Notice,
    OpenDirect,
    PeerDown,
    PeerUp,
    Post,
    Received,
    Refused,
    SaveRoom,
    Send,
    Serve,
    SetPresence,
    Tick,
)
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.rooms import RoomSecret, direct_room, open_room
from sandpiper.errors import RemoteProtocolError, SandpiperError
from sandpiper.testing.simulation.disk import Disk, Place
from sandpiper.testing.simulation.link import End, Link
from sandpiper.wire.admission import LinkFrame, Vouch, decode_link
from sandpiper.wire.frames import Bye, Records, encode_frame
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_RECORDS, MAX_ROSTER, SALT_BYTES
from sandpiper.wire.records import Admit, AnyBody, Record, Remove, Role, Text, Topic

if TYPE_CHECKING:
    from sandpiper.core.room import Room
    from sandpiper.crypto.identity import Identity
    from sandpiper.testing.simulation.world import Simulation

Watch = Callable[["SimPeer", Notice], object]
_N = TypeVar("_N", bound=Notice)


class Crashed(SandpiperError):
    """The peer is down, or died while it did what it was told."""

    code = "crashed"


class SimPeer(End):
    """One peer of a `Simulation`. Rooms are named by name (open rooms) or by the id that `direct` gives back."""

    def __init__(
        self, world: Simulation, number: int, index: int, identity: Identity, nick: str, skew: float,
        rooms: tuple[str, ...],
    ) -> None:  # fmt: skip
        super().__init__(world, number, identity.key)
        self.index = index
        """Its place in `Simulation.peers`, which the methods of `Simulation` take."""
        self.identity = identity
        self.nick = nick
        self.skew = skew
        """By how many seconds its wall clock is wrong."""
        self.disk = Disk()
        self.engine: Engine | None = None
        """None while it is down."""
        self.notices: list[Notice] = []
        """Everything a face would have been told, oldest first, over all restarts."""
        self.starts = 0
        self._first_rooms = rooms
        self._notices_at_start = 0
        self._on_disk_at_start: frozenset[RecordId] = frozenset()
        self._watchers: list[Watch] = []
        self._untold: list[Notice] = []
        self._tick_at: float | None = None
        self._dying = False
        self._let_in: dict[PeerKey, RoomId] = {}  # by us, with no link so far

    @override
    def __repr__(self) -> str:
        return f"<SimPeer {self.index} {self.nick}>"

    # ------------------------------------------------------------ what a person does

    def join(self, name: str) -> RoomId:
        """Join an open room."""
        self.command(JoinOpen(name))
        return open_room(name)

    def direct(self, other: SimPeer) -> RoomId:
        """Open the direct room with another peer."""
        self.command(OpenDirect(other.key))
        return direct_room(self.key, other.key)

    def make_private(self, name: str, *, limit: int = MAX_ROSTER, history: str = "all") -> RoomId:
        """Make a private room, whose newcomers are given so much of its history."""
        salt, now = self.world.rng.randbytes(SALT_BYTES), self.world.moment(self.skew)
        genesis = begin_room(self.identity, name, salt, now.wall_ms, limit, history)
        self.command(EnterPrivate(genesis.room, (genesis,), RoomSecret(self.world.rng.randbytes(32))))
        return genesis.room

    def admit(self, room: RoomId, other: SimPeer) -> None:
        """Let another peer into a private room, and (as if a code had brought them together) have it enter."""
        self.post(room, Admit(other.key, other.nick))
        assert self.engine is not None
        records = self.world.open(self.engine.roster_records(room), room)
        if self.living_link(other.key) is None:
            self._let_in[other.key] = room
        other.command(EnterPrivate(room, records, by=self.key))

    def kick(self, room: RoomId, other: SimPeer, *, ban: bool = False) -> None:
        """Remove another peer from a private room."""
        self.post(room, Remove(other.key, ban))

    def set_role(self, room: RoomId, other: SimPeer, *, admin: bool) -> None:
        """Make another peer an admin of a private room, or a member like others."""
        self.post(room, Role(other.key, admin))

    def roles(self, room: RoomId) -> dict[PeerKey, str]:
        """Who is who in a private room, as this peer knows it."""
        found = self.room(room)
        assert isinstance(found, PrivateRoom)
        return dict(found.roster.ruling.roles)

    def leave(self, room: str | RoomId) -> None:
        """Leave a room; what is on the disk stays."""
        self.command(LeaveRoom(room_id(room)))

    def say(self, room: str | RoomId, text: str) -> Record:
        """Post a message. When this returns, it is on the disk.

        Raises:
            Crashed: the peer is down, or died before the message was safe.
            UsageError: it is not in that room.
        """
        return self.post(room, Text(text))

    def set_topic(self, room: str | RoomId, topic: str) -> Record:
        """Set a room's topic; raises as `say`."""
        return self.post(room, Topic(topic))

    def set_nick(self, nick: str, status: str = "") -> None:
        """Be called something else; rooms learn of it with the next message."""
        self.nick = nick
        self.command(SetPresence(nick, status))

    def post(self, room: str | RoomId, body: AnyBody) -> Record:
        """Post any kind of record; raises as `say`."""
        effects = self.command(Post(room_id(room), body))
        return [e.record for e in effects if isinstance(e, Accepted)][-1]

    def command(self, event: Event) -> list[Effect]:
        """Give the engine any event and carry out what comes back.

        Raises:
            Crashed: the peer is down, or died over it.
        """
        if self.engine is None:
            raise Crashed(f"{self.nick} is down.", hint="Start it: sim.restart(index)")
        effects = self.engine.handle(event, self.world.moment(self.skew))
        self._carry_out(self.engine, effects)
        return effects

    # ------------------------------------------------------------ what a person sees

    def watch(self, callback: Watch) -> None:
        """Call `callback(peer, notice)` for every notice from now on: this is where a bot reacts. It is called when
        all that the notice comes from is on the disk, and may use this peer.
        """
        self._watchers.append(callback)

    def history(self, room: str | RoomId) -> list[Record]:
        """All records of a room that are on the disk, in the room's order. Also works while the peer is down."""
        return self.disk.history(room_id(room))

    def places(self, room: str | RoomId) -> list[Place]:
        """(clock, id) of the same: equal on peers that have converged."""
        return self.disk.places(room_id(room))

    def texts(self, room: str | RoomId) -> list[str]:
        """The texts of all messages of a room that count, in the room's order."""
        return [record.body.text for record in self.history(room) if isinstance(record.body, Text)]

    def room(self, room: str | RoomId) -> Room:
        """The engine's own room: its topic, nicks and what waits.

        Raises:
            Crashed: the peer is down.
            KeyError: it is not in that room.
        """
        if self.engine is None:
            raise Crashed(f"{self.nick} is down.")
        found = self.engine.room(room_id(room))
        if found is None:
            raise KeyError(room)
        return found

    def told(self, kind: type[_N], *, since_start: bool = False) -> list[_N]:
        """All notices of one kind; `since_start`: since the program started last."""
        notices = self.notices[self._notices_at_start :] if since_start else self.notices
        return [notice for notice in notices if isinstance(notice, kind)]

    @property
    def on_disk_at_start(self) -> frozenset[RecordId]:
        """What was on its disk when it started last."""
        return self._on_disk_at_start

    # ------------------------------------------------------------ life and death, for the simulation

    @property
    @override
    def alive(self) -> bool:
        return self.engine is not None

    def start(self) -> None:
        """Run an engine on what is on the disk; see `Simulation.restart`."""
        if self.engine is not None:
            return
        self.starts += 1
        self._notices_at_start = len(self.notices)
        self._on_disk_at_start = frozenset(i for room in self.disk.rooms() for i in self.disk.ids(room))
        rng = random.Random(f"sandpiper simulation {self.world.seed} {self.number} {self.starts}")
        moment = self.world.moment(self.skew)
        self.engine = Engine(self.identity, self.nick, rng, moment, self.disk.stored())
        self.world.active()
        self._plan_tick(self.engine)
        if self.starts == 1:
            for name in self._first_rooms:
                self.join(name)

    def stop(self) -> None:
        """Lose memory, links and what is not committed; see `Simulation.crash`."""
        self.engine = None
        self._dying = False
        self._tick_at = None
        self._untold.clear()
        self.links.clear()
        self.disk.crash()
        self.world.active()

    def die_while_writing(self, *, never: bool = False) -> None:
        """See `Simulation.crash`; `never` takes it back."""
        self._dying = not never

    # ------------------------------------------------------------ links

    @override
    def link_up(self, link: Link) -> None:
        key = link.other(self).key
        self._take(PeerUp(key, room=self._let_in.pop(key, None)))

    @override
    def link_down(self, link: Link, reason: str) -> None:
        self._take(PeerDown(link.other(self).key, reason))

    @override
    def receive(self, link: Link, raw: bytes) -> None:
        other = link.other(self).key
        try:
            frame = decode_link(raw)
            records = self.world.open(frame.records, RoomId(frame.room)) if isinstance(frame, Records | Vouch) else ()
        except RemoteProtocolError as exc:
            self._tell(Refused(other, exc.code, str(exc)))
            self._hang_up(other, exc.code)
            self._tell_watchers()
            return
        self._take(Received(other, frame, records))
        if isinstance(frame, Bye):
            self.world.break_link(link, "hangup bye", lose=False)

    # ------------------------------------------------------------ inside

    def _take(self, event: Event) -> None:
        """Something happened by itself; when the peer dies of it, so be it."""
        try:
            self.command(event)
        except Crashed:
            return

    def _carry_out(self, engine: Engine, effects: list[Effect]) -> None:
        """Do what the engine wants, in order, as the node does: nothing is told before it is on the disk."""
        last = -1
        if self._dying and any(isinstance(effect, Append) for effect in effects):
            last = self.world.rng.randrange(len(effects) + 1)
        if last:
            for effect in effects:  # what is to be kept is kept together, or not at all
                if isinstance(effect, Append | SaveRoom | Enact | Judged):
                    self.disk.stage(effect)
        for n, effect in enumerate(effects):
            if n == last:
                break
            self._do(engine, effect)
        if last >= 0:
            self.world.crash(self.index)
            raise Crashed(f"{self.nick} died while writing.")
        self._commit()
        self._plan_tick(engine)
        self._tell_watchers()

    def _do(self, engine: Engine, effect: Effect) -> None:
        match effect:
            case Send(peers=peers, frame=frame):
                self._commit()
                self._send(peers, frame)
            case Append() | SaveRoom() | Enact() | Decline():
                pass  # nobody comes with a code here
            case Judged():
                self._commit()
                engine.derived(effect, self.disk.derived(effect))
                self._tell(effect)
            case Serve():
                self._commit()
                self._serve(engine, effect)
            case Hangup(peer=peer, code=code):
                self._hang_up(peer, code)
            case _:
                self._tell(effect)

    def _serve(self, engine: Engine, serve: Serve) -> None:
        """Answer with as many frames as the records fill, at most `MAX_ANSWER_FRAMES`; the asker asks on."""
        beside = self.disk.read_beside(serve.room, serve.ids)
        places, before = serve.places, serve.before
        for left in range(MAX_ANSWER_FRAMES - 1, -1, -1):
            found = self.disk.read(serve.room, places[:MAX_BATCH_RECORDS])
            places = places[len(found) :]
            more = bool(found) and bool(places) and left > 0
            raws = tuple(record.raw for record in (*found, *beside)[:MAX_BATCH_RECORDS])
            self._send((serve.peer,), Records(serve.room, raws, serve.answer, more, serve.since, before))
            before = ()
            for record in found:
                engine.served(serve.peer, serve.room, record.author, record.seq)
            if not more:
                return
            beside = []

    def _commit(self) -> None:
        if self.disk.commit():
            self.world.active()

    def _send(self, peers: tuple[PeerKey, ...], frame: LinkFrame) -> None:
        raw = encode_frame(frame)
        for peer in peers:
            link = self.links.get(peer)
            if link is not None:
                link.send(self, raw)

    def _hang_up(self, peer: PeerKey, code: str) -> None:
        link = self.links.get(peer)
        if link is not None:
            link.send(self, encode_frame(Bye(code)))
            self.world.hang_up(self, link, code)

    def _tell(self, notice: Notice) -> None:
        self.notices.append(notice)
        if self._watchers:
            self._untold.append(notice)

    def _tell_watchers(self) -> None:
        untold, self._untold = self._untold, []
        for notice in untold:
            for watcher in self._watchers:
                watcher(self, notice)

    def _plan_tick(self, engine: Engine) -> None:
        deadline = engine.deadline()
        if deadline is None:
            return
        when = max(deadline, self.world.now)
        if self._tick_at is None or when < self._tick_at:
            self._tick_at = when
            self.world.schedule(when, self._tick, self.starts)

    def _tick(self, start: int) -> None:
        if start != self.starts or self.engine is None or self._tick_at != self.world.now:
            return
        self._tick_at = None
        deadline = self.engine.deadline()
        if deadline is not None and deadline <= self.world.now:
            self._take(Tick())
        else:
            self._plan_tick(self.engine)


def room_id(room: str | RoomId) -> RoomId:
    """The id of an open room by its name; an id stays as it is."""
    return open_room(room) if isinstance(room, str) else room
