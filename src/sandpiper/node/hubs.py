"""The hubs that a node is a guest of: their rooms beside its own, and what may be wished of them."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sandpiper.core.events import RoomChanged, SaveRoom
from sandpiper.core.hubgreeting import Signer
from sandpiper.core.hubguest import HubGuest
from sandpiper.core.hubroom import Mark
from sandpiper.core.room import Room
from sandpiper.errors import StoreError, UsageError
from sandpiper.net.hub import HubAddress, HubLink
from sandpiper.node.hubhearing import Hearing
from sandpiper.node.onhub import HubHit, HubHits, HubView, OnHub, hub_author, hub_message, hub_room
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub import asks as our
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Edit, React, Retract, Text, Topic

if TYPE_CHECKING:
    from sandpiper.core.hubevents import HubRooms
    from sandpiper.crypto.identity import Identity
    from sandpiper.node.runner import Runner
    from sandpiper.store.hubs import HubPlace
    from sandpiper.wire.hub.answers import Member
    from sandpiper.wire.records import AnyBody

MAX_HUBS = 16  # hubs at one time: a connection each

Rule = our.Operator | our.Kick | our.Ban | our.Mute | our.Slowmode | our.Close
"""What an operator may have done in a room; whatever room it names is filled in."""


class Hubs:
    """All of them. Commands are plain calls, as a node's are; what happens is told through the runner."""

    def __init__(self, identity: Identity, run: Runner, tasks: asyncio.TaskGroup) -> None:
        self._identity = identity
        self._run = run
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._hubs: dict[tuple[str, int], OnHub] = {}
        self._where: dict[RoomId, tuple[OnHub, str]] = {}
        self._hearing = Hearing(identity, run, self._where, self._go)

    # ------------------------------------------------------------ what there is

    def rooms(self) -> tuple[Room, ...]:
        """The rooms of hubs that we are in, or mean to be."""
        return tuple(hub.rooms[name] for hub, name in self._where.values())

    def room(self, room: RoomId) -> Room | None:
        """One of them."""
        hub, name = self._where.get(room, (None, ""))
        return hub.rooms[name] if hub is not None else None

    def views(self) -> tuple[HubView, ...]:
        """How things are with each hub."""
        return tuple(hub.view() for hub in self._hubs.values())

    def elsewhere(self) -> tuple[str, ...]:
        """Names of rooms on our hubs in which we are not, as `dev@hub.example`."""
        return tuple(
            hub.label(one.room) for hub in self._hubs.values() for one in hub.listed if one.room not in hub.rooms
        )

    def members(self, room: RoomId) -> tuple[PeerKey, ...]:
        """Who else is in one of them, as far as the hub tells."""
        hub, name = self._where[room]
        inside = hub.guest.rooms.get(name)
        if inside is None:
            return ()
        return tuple(self._hearing.key(hub, hub.rooms[name], nick) for nick in inside.members if nick != hub.guest.nick)

    def author(self, room: RoomId, nick: str) -> PeerKey:
        """What stands for the key of whoever is called so on the hub of `room`, whether they are there or not."""
        hub, _ = self._where[room]
        return hub_author(hub.address, nick)

    def member(self, room: RoomId, nick: str) -> Member | None:
        """What the hub has told of somebody in one of them; None: nothing."""
        hub, name = self._where[room]
        inside = hub.guest.rooms.get(name)
        return inside.members.get(nick) if inside is not None else None

    def shut(self, room: RoomId) -> bool:
        """Whether a room is one that we mean to be in and that its hub keeps closed: it wants a password."""
        hub, name = self._where[room]
        return name not in hub.guest.rooms

    def operates(self, room: RoomId) -> bool:
        """Whether we came into a room as its operator."""
        hub, name = self._where[room]
        return name in hub.guest.rooms and hub.guest.rooms[name].operator

    def unsaid(self) -> int:
        """How many of our messages no hub has confirmed."""
        return sum(hub.guest.unsaid.count() for hub in self._hubs.values())

    # ------------------------------------------------------------ coming and going

    def connect(self, address: HubAddress, room: str = LOBBY, password: str = "", hub_password: str = "") -> RoomId:
        """Be on a hub and in one of its rooms (a normalised name) until we leave; the room. `password` is the room's,
        `hub_password` the hub's own.

        Raises:
            UsageError: there are too many hubs or rooms.
            StoreError: the disk failed.
        """
        if address.key:
            self._expect(address)
        address = address._replace(key=b"")
        hub = self._hubs.get((address.host, address.port))
        if hub is None:
            hub = self._begin(address, hub_password)
        else:
            self._reach_by(hub, address)
            hub.guest.password = hub_password or hub.guest.password
            hub.guest.again(self._loop.time())
        entered = self._enter(hub, room, password)
        hub.link.carry_out()
        return entered

    def unlock(self, address: HubAddress, password: str) -> None:
        """Try again with the hub's own password."""
        hub = self._hubs.get((address.host, address.port))
        if hub is not None:
            hub.guest.password = password
            hub.guest.again(self._loop.time())
            hub.link.carry_out()

    def _expect(self, address: HubAddress) -> None:
        """The person says which key the hub has, whatever it had before."""
        history = self._run.history
        for place in address._replace(key=b"").each():
            history.save_hub(str(place), history.hub(str(place))._replace(id=address.key))
        history.commit()
        hub = self._hubs.get((address.host, address.port))
        if hub is not None:
            hub.guest.expect(address.key)

    def _begin(self, address: HubAddress, password: str) -> OnHub:
        if len(self._hubs) >= MAX_HUBS:
            raise UsageError(f"You are on {MAX_HUBS} hubs.", hint="Leave the rooms of one first: /leave")
        history = self._run.history
        signer = Signer(self._identity.key, self._identity.sign)
        known = history.hub(str(address.each()[0]))
        guest = HubGuest(self._run.nick, random.SystemRandom(), self._loop.time(), signer=signer, hub_id=known.id)
        guest.password = password
        hub = OnHub(address, guest)

        def trusted(_: HubAddress, trust: str) -> None:
            try:
                self._hearing.remember(hub, trust=trust)
            except StoreError as exc:
                self._run.problem(exc.code, str(exc), exc.hint)

        hub.link = HubLink(
            address,
            guest,
            partial(self._hearing.take, hub),
            trusted,
            lambda place: history.hub(str(place)),
            partial(self._hearing.settle, hub),
        )
        self._hubs[address.host, address.port] = hub
        hub.task = self._tasks.create_task(hub.link.run(), name=f"hub {address}")
        return hub

    def _reach_by(self, hub: OnHub, address: HubAddress) -> None:
        """Use another address for a hub that cannot be reached by the one that it has. Never one that is less safe:
        rooms are named by host and port only, without what was said about TLS before.
        """
        if address.tls and hub.guest.phase in ("down", "over"):
            old = hub.address
            better = address._replace(pin=address.pin or old.pin, others=address.others or old.others)
            if better != old:
                hub.address = better
                hub.link.move(better)

    def _enter(self, hub: OnHub, name: str, password: str) -> RoomId:
        room = hub_room(hub.address, name)
        if room in self._where:
            if password:
                hub.guest.join(name, password, _mark(name, hub.kept.get(room)))
            return room
        label = hub.label(name)
        self._run.history.save_room(SaveRoom(room, label, "hub", None, joined=True))
        place = self._run.history.hub_place(room)
        self._run.history.commit()
        hub.guest.join(name, password, _mark(name, place))
        hub.clocks[name] = place.clock if place is not None else 0
        if place is not None:
            hub.kept[room] = place
        hub.rooms[name] = Room(room, label, "hub", self._identity.key)
        self._where[room] = (hub, name)
        self._run.tell(RoomChanged(room, label, "hub", None, joined=True))
        return room

    def leave(self, room: RoomId) -> None:
        """Leave a room, and with the last one its hub."""
        hub, name = self._where[room]
        if name in hub.guest.rooms:
            hub.guest.leave(name, self._loop.time())
            hub.link.carry_out()
        else:  # it is locked, and we never came in
            self._hearing.out_of(hub, name)
            hub.link.carry_out()
        self._go(hub)

    def _go(self, hub: OnHub) -> None:
        """Leave a hub that we are in no room of: it would only go on to see that we are there."""
        if not hub.rooms and self._hubs.get((hub.address.host, hub.address.port)) is hub:
            del self._hubs[hub.address.host, hub.address.port]
            hub.link.close()

    def look_again(self) -> None:
        """The network has changed, or the machine has slept."""
        for hub in self._hubs.values():
            hub.guest.doubt(self._loop.time())
            hub.link.carry_out()

    async def close(self) -> None:
        """Leave all of them."""
        self._hearing.closing = True
        hubs = list(self._hubs.values())
        for hub in hubs:
            hub.link.close()
        await asyncio.gather(*(hub.task for hub in hubs if hub.task is not None))

    # ------------------------------------------------------------ wishes

    def post(self, room: RoomId, body: AnyBody) -> None:
        """Say something in a room, change or take back what we said, put an emoji on something, or set the topic.

        Raises:
            UsageError: that cannot be done there.
        """
        hub, name = self._where[room]
        shown = hub.shown(name)
        match body:
            case Text(text=text, reply_to=reply_to, action=action):
                answered = self._number(room, reply_to, must=False) if reply_to else 0
                hub.guest.say(name, text, action=action, reply_to=answered)
            case Topic(text=text):
                hub.guest.ask(our.Topic(shown, text))
            case Edit(target=target, text=text):
                hub.guest.ask(our.Edit(self._number(room, target), text, shown))
            case Retract(target=target):
                hub.guest.ask(our.Retract(self._number(room, target), shown))
            case React(target=target, emoji=emoji, add=add):
                hub.guest.ask(our.React(self._number(room, target), emoji, shown, add))
            case _:
                raise UsageError("That cannot be done on a hub.", code="hub_message")
        hub.link.carry_out()

    def _number(self, room: RoomId, target: bytes, *, must: bool = True) -> int:
        """The number that the hub has for a message of ours, if it is of the room's life of now."""
        hub, name = self._where[room]
        number = self._run.history.hub_number(RecordId(target))
        inside = hub.guest.rooms.get(name)
        if number and inside is not None and hub_message(room, inside.life, number) == target:
            return number
        if must:
            raise UsageError(
                "The hub does not know that message any more.", hint="Say it in a new one.", code="no_message"
            )
        return 0

    def rule(self, room: RoomId, rule: Rule) -> None:
        """Have something done that operators may; the hub answers.

        Raises:
            UsageError: we are not connected, or the hub cannot do that.
        """
        hub, name = self._where[room]
        hub.guest.ask(replace(rule, room=name))
        hub.link.carry_out()

    async def list_rooms(self, room: RoomId) -> HubRooms:
        """The rooms of the hub that `room` is on.

        Raises:
            UsageError: the hub does not tell.
        """
        hub, _ = self._where[room]
        hub.guest.ask(our.Rooms())
        hub.link.carry_out()
        return await hub.list_rooms()

    async def find(self, room: RoomId, words: str, before: int = 0, limit: int = our.MAX_FOUND) -> HubHits:
        """Messages of a room by their words, the newest first, as the hub has them.

        Raises:
            UsageError: the hub does not find any: it is away, busy, or cannot search.
        """
        hub, name = self._where[room]
        hub.guest.find(name, words, before, limit, self._loop.time())
        hub.link.carry_out()
        found = await hub.found()
        me = hub.guest.nick if hub.guest.proved else ""
        hits = tuple(
            HubHit(
                hub_message(room, found.life, seq),
                self._identity.key if said.nick == me else hub_author(hub.address, said.nick),
                said,
                seq,
                said.nick == me,
            )
            for seq, said in found.lines
        )
        return HubHits(hits, found.before if found.more else 0, found.whole)

    def typing(self, room: RoomId) -> None:
        """Tell the others in a room that the person is typing."""
        hub, name = self._where[room]
        if hub.guest.phase == "up" and not hub.guest.founding:
            hub.guest.ask(our.Typing(hub.shown(name)))
            hub.link.carry_out()

    def rename(self, nick: str) -> None:
        """Be called `nick` on all hubs, as far as they let us."""
        for hub in self._hubs.values():
            hub.guest.rename(nick)
            hub.link.carry_out()


def _mark(name: str, place: HubPlace | None) -> Mark | None:
    """Where to go on in a room; None: it was never read."""
    return Mark(name, place.life, place.last) if place is not None and place.life else None
