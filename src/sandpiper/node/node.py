"""One profile, running: its life from first beacon to goodbye, and what faces may ask and do.

    async with Node(identity, "alice", history_path, settings) as node:
        room = node.join("general")
        node.post(room, Text("hello"))

Everything happens on one event loop; commands are plain calls that take effect at once and raise our errors.
What happens is told to subscribers as notices (`sandpiper.core.events` and `sandpiper.node.notices`).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from sandpiper.core.discovery import Discovery
from sandpiper.core.events import JoinOpen, LeaveRoom, OpenDirect, Post, SetPresence, SetTyping
from sandpiper.core.mesh import Mesh
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.rooms import direct_room, open_room
from sandpiper.errors import SandpiperError
from sandpiper.net.beacons import Beacons, Identifying, peer_id
from sandpiper.net.lan import Multicast
from sandpiper.net.links import Links
from sandpiper.net.p2pchat import PlainChat
from sandpiper.net.tcp import Listener, listen
from sandpiper.node.alarm import Alarm
from sandpiper.node.codes import Codes
from sandpiper.node.door import Door
from sandpiper.node.hubs import Hubs
from sandpiper.node.mapping import mapped_ports
from sandpiper.node.meeting import Meetings
from sandpiper.node.notices import NodeSettings, Subscriber, moment
from sandpiper.node.runner import OLD_ROOM, Runner
from sandpiper.node.trust import Trust
from sandpiper.node.whereabouts import Whereabouts
from sandpiper.store.history import open_history
from sandpiper.store.marks import UNREAD
from sandpiper.store.reader import Reader
from sandpiper.wire.records import AnyBody, Remove, Role, Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from sandpiper.core.control import MemberRole
    from sandpiper.core.names import Names
    from sandpiper.core.room import Room
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.hub import HubAddress
    from sandpiper.net.link import Link
    from sandpiper.store.marks import Place
    from sandpiper.wire.ids import PeerKey, RecordId, RoomId


class Node:
    """A running peer. Use it as an async context manager; leaving it says goodbye and closes the history."""

    def __init__(self, identity: Identity, nick: str, history: Path, settings: NodeSettings) -> None:
        self.key = identity.key
        self.settings = settings
        self.port = 0
        """Where we listen, once running."""
        self._identity = identity
        self._first_nick = nick
        self._path = history
        self._early: list[Subscriber] = []
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._alarm: Alarm | None = None
        self._whereabouts = Whereabouts(settings.interfaces, moment())
        self._task: asyncio.Task[None] | None = None
        self._mesh = Mesh(self.key, random.Random())
        self._lan = Multicast(settings.group, settings.group_port, settings.interfaces)
        self._plain: PlainChat | None = None
        self._run: Runner
        self._links: Links
        self._beacons: Beacons
        self._hubs: Hubs
        self._meetings: Meetings
        self._codes: Codes
        self._trust: Trust

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Node:
        """Open the history, listen, announce; returns once others can find us.

        Raises:
            SandpiperError: the port, an interface or the history file cannot be used.
        """
        self._task = asyncio.create_task(self._live(), name="node")
        ready = asyncio.create_task(self._ready.wait(), name="node-ready")
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            await self.finished()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave: a last beacon, goodbyes, everything on disk."""
        self._stopping.set()
        await self.finished()

    async def finished(self) -> None:
        """Wait until the node has ended; raises what ended it, if that was no ordinary end."""
        if self._task is None:
            return
        try:
            await asyncio.shield(self._task)
        except ExceptionGroup as group:
            ours = group.subgroup(SandpiperError)
            if ours is None:
                raise
            first: BaseException = ours
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from group

    async def _live(self) -> None:
        opened = await asyncio.to_thread(open_history, self._path)
        try:
            self._run = Runner(self._identity, self._first_nick, opened.history, self._wake)
            for subscriber in self._early:
                self._run.subscribe(subscriber)
            self._trust = Trust(self._run)
            if opened.damaged is not None:
                self._run.problem(
                    "damaged",
                    f"The history file was damaged. It was kept aside as {opened.damaged} and a new one was begun.",
                    "Peers that you meet send back what they have, your own messages included.",
                )
            await self._be_on_the_network()
        finally:
            opened.history.close()

    async def _be_on_the_network(self) -> None:
        settings = self.settings
        listener: Listener | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                if settings.plain:
                    self._plain = PlainChat(
                        peer_id(self.key), self.nick, tasks, self._run.plain_said, self._run.plain_peer
                    )
                self._hubs = Hubs(self._identity, self._run, tasks)
                path_to = self._whereabouts.path_to
                self._links = Links(
                    self._identity, self._mesh, self._run, tasks, moment, self._plain, self._look_again, path_to
                )
                self._run.links = self._links
                self._links.door = door = Door(self._identity, self._run)
                run, links, names = self._run, self._links, settings.interfaces
                self._meetings = Meetings(
                    self._identity, run, links, door, tasks, settings.relays, names, self._look_again
                )
                if settings.port_mapping:
                    self._meetings.mapping = mapped_ports(tasks, names, self._meetings.reaching.map_changed)
                self._codes = Codes(self._identity, self._run, self._links, self._mesh, self._meetings)
                discovery = Discovery(peer_id(self.key), random.Random(), moment())
                self._beacons = Beacons(
                    self._lan,
                    discovery,
                    self._mesh,
                    moment,
                    self._us,
                    self._skewed,
                    self._look_again,
                    self._plain,
                    self._hubs.look_again,
                )
                listener = await listen(self._links.accepted, settings.ports, settings.hosts)
                self.port = listener.port
                if self._plain is not None:
                    self._plain.port = self.port
                for host, port in settings.peers:
                    self._mesh.given(host, port, moment())
                own = []
                if settings.multicast:
                    await self._lan.look()
                    own.append(tasks.create_task(self._beacons.follow(), name="interfaces"))
                self._alarm = Alarm(self._ring)
                own.append(tasks.create_task(self._alarm.run(), name="time"))
                self._meetings.look()
                self._ready.set()
                await self._stopping.wait()
                for task in own:
                    task.cancel()
                self._beacons.leave()
                listener.close()
                await self._hubs.close()
                await self._meetings.close()
                if self._plain is not None:
                    await self._plain.close()
                await self._links.close_all()
        finally:
            if listener is not None:
                listener.close()
            self._lan.close()

    # ------------------------------------------------------------ time

    def _wake(self, at: float | None) -> None:
        """The engine wants to be called then."""
        if self._alarm is not None:
            self._alarm.by(at)

    def _look_again(self) -> None:
        """Links or beacons may want to be called sooner than before."""
        if self._alarm is not None:
            self._alarm.by(self._next())

    def _next(self) -> float | None:
        times = (
            self._run.engine.deadline(),
            self._links.deadline(),
            self._beacons.deadline(),
            self._meetings.deadline(),
            self._whereabouts.deadline(),
        )
        return min((t for t in times if t is not None), default=None)

    def _ring(self) -> float | None:
        if (moved := self._whereabouts.look(moment())) is not None:
            self._beacons.again()
            self._links.network_changed(gone=moved.gone)
            self._meetings.network_changed(moved.own)
            self._hubs.look_again()
        self._beacons.tick()
        self._links.tick()
        self._meetings.tick()
        self._run.tick()
        return self._next()

    # ------------------------------------------------------------ what faces may ask

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every notice from now on, on the event loop; the result ends that. Before the node
        runs, so that the first notices are not missed, or later.
        """
        if self._task is None:
            self._early.append(subscriber)
            return lambda: self._run.subscribe(subscriber)()
        return self._run.subscribe(subscriber)

    @property
    def nick(self) -> str:
        """What we are called."""
        return self._run.engine.nick

    @property
    def status(self) -> str:
        """Our away message; empty: present."""
        return self._run.engine.status

    @property
    def names(self) -> Names:
        """What everybody is called on our screen."""
        return self._run.names

    @property
    def ignored(self) -> frozenset[PeerKey]:
        """Peers whose words are hidden."""
        return frozenset(self._run.ignored)

    @property
    def verified(self) -> frozenset[PeerKey]:
        """Keys whose safety words were compared and were the same."""
        return frozenset(self._run.verified)

    @property
    def lan_problems(self) -> dict[str, str]:
        """Interface addresses that carry no beacons, and why."""
        return dict(self._lan.problems)

    def rooms(self) -> tuple[Room, ...]:
        """The rooms we are in."""
        return self._run.engine.rooms() + self._hubs.rooms()

    def left_private(self, name: str) -> bool:
        """Whether we were in a private room of this name, and left it."""
        return any(room.kind == "private" and room.name == name for room in self._run.engine.left.values())

    def room(self, room: RoomId) -> Room | None:
        """One of the rooms we are in."""
        found = self._run.engine.room(room)
        return found if found is not None else self._hubs.room(room)  # a room without records is false

    def members(self, room: RoomId) -> tuple[PeerKey, ...]:
        """Linked peers that share a room; for a hub's, what stands for those that the hub names."""
        if self._hubs.room(room) is not None:
            return self._hubs.members(room)
        return self._run.engine.members(room)

    def linked(self) -> tuple[PeerKey, ...]:
        """All linked peers."""
        return self._run.engine.linked()

    def link(self, peer: PeerKey) -> Link | None:
        """The live link to a peer: its path and address."""
        return self._links.get(peer)

    def why(self, peer: PeerKey) -> str:
        """One short sentence on why a linked peer is reached over its path; empty: there is nothing to say."""
        return self._meetings.reaching.paths.why(peer)

    def rtt(self, peer: PeerKey) -> float | None:
        """The last measured round trip to a peer, in seconds."""
        return self._links.rtt(peer)

    def reader(self) -> Reader:
        """A connection for reading the history; use it off the event loop for anything long."""
        return Reader(self._path)

    def undelivered(self) -> int:
        """How many of our messages some linked member, or a hub, is not known to hold yet."""
        return self._run.engine.undelivered() + self._hubs.unsaid()

    def unsaid(self) -> int:
        """How many of our messages wait for a hub."""
        return self._hubs.unsaid()

    def delivery(self, room: RoomId, record: RecordId) -> tuple[int, int] | None:
        """How many of the linked members of a room hold this record of ours, and how many there are; None: it is not
        ours, or not known here.
        """
        return self._run.engine.delivery(room, record)

    def read_places(self) -> dict[RoomId, Place]:
        """For each room ever joined, the place of the newest message that was seen; `UNREAD` when none was."""
        return {**{room.id: UNREAD for room in self.rooms()}, **self._run.read}

    def newest_place(self, room: RoomId) -> Place:
        """The place of the newest message of a room that has one; `UNREAD` when there is none.

        Raises:
            StoreError: the history cannot be read.
        """
        return self._run.history.newest_place(room)

    # ------------------------------------------------------------ what faces may do

    def join(self, name: str) -> RoomId:
        """Join the open room of this (normalised) name."""
        self._run.do(JoinOpen(name))
        return open_room(name)

    def open_direct(self, peer: PeerKey) -> RoomId:
        """Join the direct room with a peer, linked or not."""
        self._run.do(OpenDirect(peer))
        return direct_room(self.key, peer)

    def roles(self, room: RoomId) -> dict[PeerKey, MemberRole]:
        """All members of a private room, linked or not, with their roles; empty for rooms of other kinds."""
        found = self._run.engine.room(room)
        return dict(found.roster.ruling.roles) if isinstance(found, PrivateRoom) else {}

    def banned(self, room: RoomId) -> frozenset[PeerKey]:
        """Keys that are refused in a private room."""
        found = self._run.engine.room(room)
        return found.roster.ruling.banned if isinstance(found, PrivateRoom) else frozenset()

    def kick(self, room: RoomId, peer: PeerKey) -> None:
        """End somebody's membership of a private room.

        Raises:
            UsageError: it is no private room, it is nobody's membership, or we may not do that.
            StoreError: it could not be kept, and was not done.
        """
        if isinstance(found := self._run.engine.room(room), PrivateRoom):
            found.check_banned(peer, banned=False)
        self._run.do(Post(room, Remove(peer, False)))

    def unban(self, room: RoomId, peer: PeerKey) -> None:
        """Refuse a key no longer: it may come in again with a code; raises as `kick`."""
        if isinstance(found := self._run.engine.room(room), PrivateRoom):
            found.check_banned(peer, banned=True)
        self._run.do(Post(room, Remove(peer, False)))

    def ban(self, room: RoomId, peer: PeerKey) -> None:
        """End somebody's membership of a private room, and refuse the key from now on; raises as `kick`."""
        self._run.do(Post(room, Remove(peer, True)))

    def set_admin(self, room: RoomId, peer: PeerKey, *, admin: bool) -> None:
        """Make somebody an admin of a private room, or a member like others; raises as `kick`."""
        self._run.do(Post(room, Role(peer, admin)))

    def leave(self, room: RoomId) -> None:
        """Leave a room, and the roster of a private one; its history stays."""
        if self._hubs.room(room) is not None:
            self._hubs.leave(room)
            return
        self._run.do(LeaveRoom(room))

    def post(self, room: RoomId, body: AnyBody) -> None:
        """Append a record of ours; on disk, and offered to every linked member, when this returns.

        Raises:
            UsageError: we are not in that room.
            TrustError: it is held back from a member whose key is another than the one verified under its name.
            StoreError: it could not be kept, and was not sent.
        """
        if self._hubs.room(room) is not None:
            self._hubs.post(room, body)
            return
        self._trust.check(room, body)
        self._run.do(Post(room, body))
        if self._plain is not None and isinstance(body, Text) and room == open_room(OLD_ROOM):
            self._plain.say(f"* {self.nick} {body.text}" if body.action else body.text)

    def set_presence(self, nick: str, status: str = "") -> None:
        """Be called `nick` (already checked) with this away message."""
        self._run.nick = nick
        self._run.names.learn(self.key, nick)
        if self._plain is not None:
            self._plain.nick = nick
        self._hubs.rename(nick)
        self._run.do(SetPresence(nick, status))

    def typing(self, room: RoomId) -> None:
        """Tell the others that the person is typing."""
        if self._hubs.room(room) is not None:
            self._hubs.typing(room)
            return
        self._run.do(SetTyping(room))

    def connect_hub(
        self, address: HubAddress, room: str = "lobby", password: str = "", hub_password: str = ""
    ) -> RoomId:
        """Be on a hub, in one of its rooms (a normalised name), until we leave it; the room. The hub can read it.
        `password` is the room's, `hub_password` the hub's own.

        Raises:
            UsageError: there are too many hubs or rooms.
            StoreError: the disk failed.
        """
        return self._hubs.connect(address, room, password, hub_password)

    @property
    def hubs(self) -> Hubs:
        """What only hubs have: how things are with them, their other rooms, search, and what operators may do."""
        return self._hubs

    @property
    def codes(self) -> Codes:
        """Private rooms by code: making one, joining one, and new codes."""
        return self._codes

    @property
    def trust(self) -> Trust:
        """What the person has said about keys, and what is held back because of it."""
        return self._trust

    def connect(self, host: str, port: int) -> None:
        """Dial an address now and whenever its link is lost, until the end."""
        self._mesh.given(host, port, moment())
        self._look_again()

    def ignore(self, peer: PeerKey, *, ignored: bool) -> None:
        """Hide what a peer says (or not); remembered."""
        (self._run.ignored.add if ignored else self._run.ignored.discard)(peer)
        self._run.history.set_ignored(peer, self.names.nick(peer), ignored=ignored)

    def mark_read(self, room: RoomId, place: Place) -> None:
        """Everything in a room up to `place` has been seen; remembered. What was read before stays read.

        Raises:
            StoreError: the disk failed; nothing has changed.
        """
        place = min(place, self.newest_place(room))  # a time of a peer's making would hide all that is said later
        if place > self._run.read.get(room, UNREAD):
            self._run.history.mark_read(room, place)
            self._run.read[room] = place

    # ------------------------------------------------------------ what the parts ask and tell

    def _us(self) -> Identifying:
        return Identifying(self.key, self.nick, self.port, self._run.engine.open_tags())

    def _skewed(self, nick: str, seconds: float) -> None:
        self._run.problem(
            "clock_skew",
            f"The clock of {nick} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this one.",
            "Times shown may be wrong; the order of messages is not affected.",
        )
