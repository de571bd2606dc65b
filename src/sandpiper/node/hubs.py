"""The hubs that a node is a guest of: their rooms beside its own, what is said there in its history."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING

from sandpiper.core import hubevents as told
from sandpiper.core.events import RoomChanged, SaveRoom, TypingSeen
from sandpiper.core.hubgreeting import Signer
from sandpiper.core.hubguest import HubGuest
from sandpiper.core.hubroom import Mark
from sandpiper.core.room import Room
from sandpiper.errors import StoreError, UsageError
from sandpiper.net.hub import HubAddress, HubLink
from sandpiper.node.notices import HubNews, NodeNotice, PlainMessage, Problem
from sandpiper.store.hubs import HubMessage, HubPlace
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub import answers as their
from sandpiper.wire.hub import asks as our
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Text, Topic

if TYPE_CHECKING:
    from sandpiper.core.hubevents import HubNotice
    from sandpiper.crypto.identity import Identity
    from sandpiper.node.runner import Runner
    from sandpiper.wire.records import AnyBody

MAX_HUBS = 16  # hubs at one time: a connection each
MAX_ANSWERABLE = 4096  # newest messages of a hub whose numbers are remembered, so that they can be answered


def hub_room(address: HubAddress, name: str) -> RoomId:
    """What stands for a room's identity where one of a hub is meant."""
    return RoomId(sha256(b"sandpiper hub room 1\x00" + f"{address.host}:{address.port} {name}".encode()).digest())


def hub_author(address: HubAddress, nick: str) -> PeerKey:
    """What stands for a key where somebody on a hub is meant. No key pair has it, and nothing proves it."""
    return PeerKey(sha256(b"sandpiper hub author 1\x00" + f"{address.host}:{address.port} {nick}".encode()).digest())


def hub_message(room: RoomId, life: str, seq: int | str) -> RecordId:
    """What stands for a record's id where a message of a hub's room is meant."""
    return RecordId(sha256(b"sandpiper hub message 1\x00" + room + f"{life} {seq}".encode()).digest())


class _Hub:
    """One of them."""

    def __init__(self, address: HubAddress, guest: HubGuest) -> None:
        self.address = address
        self.guest = guest
        self.link: HubLink
        self.task: asyncio.Task[None] | None = None
        self.rooms: dict[str, Room] = {}
        self.clocks: dict[str, int] = {}
        self.seqs: OrderedDict[RecordId, int] = OrderedDict()
        self.down_told = False
        self.count = 0  # messages without numbers


class Hubs:
    """All of them. Commands are plain calls, as a node's are; what happens is told through the runner."""

    def __init__(self, identity: Identity, run: Runner, tasks: asyncio.TaskGroup) -> None:
        self._identity = identity
        self._run = run
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._hubs: dict[tuple[str, int], _Hub] = {}
        self._where: dict[RoomId, tuple[_Hub, str]] = {}
        self._notices: list[NodeNotice] = []
        self._closing = False
        self._places: dict[RoomId, HubPlace] = {}

    # ------------------------------------------------------------ what there is

    def rooms(self) -> tuple[Room, ...]:
        """The rooms of hubs that we are in, or mean to be."""
        return tuple(hub.rooms[name] for hub, name in self._where.values())

    def room(self, room: RoomId) -> Room | None:
        """One of them."""
        hub, name = self._where.get(room, (None, ""))
        return hub.rooms[name] if hub is not None else None

    def members(self, room: RoomId) -> tuple[PeerKey, ...]:
        """Who else is in one of them, as far as the hub tells."""
        hub, name = self._where[room]
        inside = hub.guest.rooms.get(name)
        if inside is None:
            return ()
        return tuple(self._key(hub, hub.rooms[name], nick) for nick in inside.members if nick != hub.guest.nick)

    def unsaid(self) -> int:
        """How many of our messages no hub has confirmed."""
        return sum(hub.guest.unsaid.count() for hub in self._hubs.values())

    # ------------------------------------------------------------ wishes

    def connect(self, address: HubAddress, room: str = LOBBY, password: str = "") -> RoomId:
        """Be on a hub and in one of its rooms (a normalised name) until we leave; the room.

        Raises:
            UsageError: there are too many hubs or rooms.
            StoreError: the disk failed.
        """
        hub = self._hubs.get((address.host, address.port))
        if hub is None:
            hub = self._begin(address)
        else:
            hub.guest.again(self._loop.time())
        entered = self._enter(hub, room, password)
        hub.link.carry_out()
        return entered

    def _begin(self, address: HubAddress) -> _Hub:
        if len(self._hubs) >= MAX_HUBS:
            raise UsageError(f"You are on {MAX_HUBS} hubs.", hint="Leave the rooms of one first: /leave")
        known = self._run.history.hub(str(address))
        signer = Signer(self._identity.key, self._identity.sign)
        guest = HubGuest(self._run.nick, random.SystemRandom(), self._loop.time(), signer=signer, hub_id=known.id)
        hub = _Hub(address, guest)

        def trusted(trust: str) -> None:
            try:
                self._remember(hub, trust=trust)
            except StoreError as exc:
                self._run.problem(exc.code, str(exc), exc.hint)

        hub.link = HubLink(address, guest, lambda notice: self._told(hub, notice), trusted, known.trust, self._settled)
        self._hubs[address.host, address.port] = hub
        hub.task = self._tasks.create_task(hub.link.run(), name=f"hub {address}")
        return hub

    def _enter(self, hub: _Hub, name: str, password: str) -> RoomId:
        room = hub_room(hub.address, name)
        if room not in self._where:
            label = f"{name}@{hub.address.label}"
            self._run.history.save_room(SaveRoom(room, label, "hub", None, joined=True))
            place = self._run.history.hub_place(room)
            self._run.history.commit()
            mark = Mark(name, place.life, place.last) if place is not None and place.life else None
            hub.guest.join(name, password, mark)
            hub.clocks[name] = place.clock if place is not None else 0
            hub.rooms[name] = Room(room, label, "hub", self._identity.key)
            self._where[room] = (hub, name)
            self._run.tell(RoomChanged(room, label, "hub", None, joined=True))
        return room

    def leave(self, room: RoomId) -> None:
        """Leave a room, and with the last one its hub."""
        hub, name = self._where[room]
        hub.guest.leave(name, self._loop.time())
        if not hub.guest.rooms:
            hub.link.close()
            self._hubs.pop((hub.address.host, hub.address.port), None)
        else:
            hub.link.carry_out()

    def post(self, room: RoomId, body: AnyBody) -> None:
        """Say something in a room, or set its topic.

        Raises:
            UsageError: that cannot be done there.
        """
        hub, name = self._where[room]
        match body:
            case Text(text=text, reply_to=reply_to, action=action):
                answered = hub.seqs.get(RecordId(reply_to), 0) if reply_to else 0
                hub.guest.say(name, text, action=action, reply_to=answered)
            case Topic(text=text):
                hub.guest.ask(our.Topic("" if name == LOBBY else name, text))
            case _:
                raise UsageError("Messages on a hub cannot be changed from here yet.", code="hub_message")
        hub.link.carry_out()

    def typing(self, room: RoomId) -> None:
        """Tell the others in a room that the person is typing."""
        hub, name = self._where[room]
        if hub.guest.phase == "up" and not hub.guest.founding:
            hub.guest.ask(our.Typing("" if name == LOBBY else name))
            hub.link.carry_out()

    def rename(self, nick: str) -> None:
        """Be called `nick` on all hubs, as far as they let us."""
        for hub in self._hubs.values():
            hub.guest.rename(nick)
            hub.link.carry_out()

    async def close(self) -> None:
        """Leave all of them."""
        self._closing = True
        hubs = list(self._hubs.values())
        for hub in hubs:
            hub.link.close()
        await asyncio.gather(*(hub.task for hub in hubs if hub.task is not None))

    # ------------------------------------------------------------ what the guests tell

    def _told(self, hub: _Hub, notice: HubNotice) -> None:
        """Keep and gather; `_settled` tells."""
        try:
            self._take(hub, notice)
        except StoreError as exc:
            self._notices.append(Problem(exc.code, str(exc), exc.hint))

    def _settled(self) -> None:
        """Nothing is told before it is on disk."""
        places, self._places = self._places, {}
        notices, self._notices = self._notices, []
        if not notices and not places:
            return
        try:
            for room, place in places.items():
                self._run.history.save_hub_place(room, place)
            self._run.history.commit()
        except StoreError as exc:
            self._run.problem(exc.code, str(exc), exc.hint)
        for notice in notices:
            self._run.tell(notice)

    def _news(self, hub: _Hub, name: str, code: str, text: str, hint: str = "", *, coming: bool = False) -> None:
        room = hub.rooms.get(name)
        self._notices.append(HubNews(room.id if room is not None else None, code, text, hint, coming))

    def _take(self, hub: _Hub, notice: HubNotice) -> None:
        label = hub.address.label
        match notice:
            case told.HubHeard():
                self._heard(hub, notice)
            case told.HubUp(nick=nick):
                hub.down_told = False
                self._news(hub, "", "hub_up", f"On {label} as {nick}. HUB: it can read all that is said there.")
            case told.HubDown(reason=reason, seconds=None):
                if hub.guest.rooms and not self._closing:
                    self._notices.append(Problem("hub_down", f"{label}: {reason}", "To try again: /connect"))
            case told.HubDown(reason=reason):
                if not hub.down_told:
                    hub.down_told = True
                    text = f"No connection to {label}: {reason}"
                    self._news(hub, "", "hub_down", text, "It is tried again and again; what you write is sent then.")
            case told.HubKnown(id=key):
                self._remember(hub, key=key)
            case told.HubNick(nick=nick, wanted=wanted):
                text = f"You are {nick} on {label}" + (f": {wanted} is taken." if wanted != nick else ".")
                self._news(hub, "", "hub_nick", text)
            case told.HubRoomIn(room=name, topic=topic):
                if name not in hub.rooms:
                    self._enter(hub, name, "")
                hub.rooms[name].topic = topic
            case told.HubRoomOut(room=name, code=code, text=text):
                self._out_of(hub, name, code, text)
            case told.HubUnsent(room=name, text=text, reason=reason):
                self._notices.append(Problem("unsent", f"Not sent to #{name}@{label}: {reason}", f"It was: {text}"))
            case told.HubMissing(room=name, count=count):
                self._news(hub, name, "hub_missing", f"The hub does not keep {count} older messages any more.")
            case told.HubCaughtUp(room=name, received=received):
                self._news(hub, name, "caught_up", f"{received} older messages are here now.")
            case told.HubCame(room=name, text=text):
                self._news(hub, name, "hub_presence", text, coming=True)
            case told.HubRenamed(room=name, old=old, new=new):
                self._news(hub, name, "hub_presence", f"{old} is now called {new}", coming=True)
            case told.HubTyping(room=name, nick=nick) if (room := hub.rooms.get(name)) is not None:
                self._notices.append(TypingSeen(room.id, self._key(hub, room, nick)))
            case told.HubRooms(rooms=rooms, more=more):
                listed = ", ".join(f"#{one.room} ({one.members})" for one in rooms)
                self._news(hub, "", "hub_rooms", f"Rooms on {label}: {listed}{f' and {more} more' if more else ''}")
            case told.HubNote(room=name, code=code, text=text, refused=True):
                self._notices.append(Problem(code or "hub", f"{label}: {text}"))
            case told.HubNote(room=name, code=code, text=text):
                self._news(hub, name, code or "hub", text, coming=not code)
            case _:
                pass

    def _remember(self, hub: _Hub, *, key: bytes | None = None, trust: str | None = None) -> None:
        address, history = str(hub.address), self._run.history
        known = history.hub(address)
        if key is not None:
            known = known._replace(id=key)
        if trust is not None:
            known = known._replace(trust=trust)
        history.save_hub(address, known)
        history.commit()

    def _out_of(self, hub: _Hub, name: str, code: str, text: str) -> None:
        room = hub.rooms.pop(name, None)
        if room is None:
            return
        self._where.pop(room.id, None)
        self._places.pop(room.id, None)
        self._run.history.save_room(SaveRoom(room.id, room.name, "hub", None, joined=False))
        if code:
            self._notices.append(Problem(code, f"You are not in #{room.name}: {text}"))
        self._notices.append(RoomChanged(room.id, room.name, "hub", None, joined=False))

    # ------------------------------------------------------------ what is said

    def _key(self, hub: _Hub, room: Room, nick: str) -> PeerKey:
        key = hub_author(hub.address, nick)
        room.nicks[key] = nick
        return key

    def _heard(self, hub: _Hub, heard: told.HubHeard) -> None:
        name, kept = heard.room, heard.kept
        room = hub.rooms.get(name)
        if room is None:
            return
        match kept:
            case their.Said():
                self._said(hub, room, heard, kept)
            case their.TopicSet(text=text, nick=nick):
                room.topic = text
                if not heard.history:
                    self._news(hub, name, "hub_topic", f"{nick} set the topic: {text}")
            case their.Edited(nick=nick, text=text):
                self._news(hub, name, "hub_edit", f"{nick} changed a message: {text}")
            case their.Retracted(nick=nick):
                self._news(hub, name, "hub_retract", f"{nick} took a message back.")
            case their.Reacted(nick=nick, emoji=emoji, on=True):
                self._news(hub, name, "hub_react", f"{nick} reacted with {emoji}", coming=True)
            case _:
                pass
        if heard.seq:
            self._places[room.id] = HubPlace(heard.life, heard.seq, hub.clocks[name])

    def _said(self, hub: _Hub, room: Room, heard: told.HubHeard, said: their.Said) -> None:
        now = time.time_ns() // 1_000_000
        when = min(said.ts * 1000, now)
        # The hub's order is kept, whatever its clock says.
        clock = hub.clocks[heard.room] = max(when, hub.clocks[heard.room] + 1)
        if heard.seq:
            message = hub_message(room.id, heard.life, heard.seq)
        else:
            hub.count += 1
            message = hub_message(room.id, f"{now}", hub.count)
        reply_to = hub_message(room.id, heard.life, said.reply_to) if said.reply_to else b""
        author = self._identity.key if heard.mine else self._key(hub, room, said.nick)
        self._run.history.append_hub(
            room.id,
            HubMessage(message, author, said.nick, clock, when, said.text, said.action, reply_to, heard.mine),
        )
        hub.seqs[message] = heard.seq
        if len(hub.seqs) > MAX_ANSWERABLE:
            hub.seqs.popitem(last=False)
        self._notices.append(
            PlainMessage(
                room.id,
                message,
                author,
                said.nick,
                when,
                said.text,
                said.action,
                reply_to,
                mine=heard.mine,
                history=heard.history,
                hub=True,
                clock=clock,
            )
        )
