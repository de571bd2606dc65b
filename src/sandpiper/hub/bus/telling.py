"""Tells other hubs who is in the rooms here, and hears it from them: at once what changes, all of it now and then."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sandpiper.hub.bus.here import (
    MAX_BEAT_CHARS,
    MAX_BEAT_ROOMS,
    MAX_EVENTS,
    Beat,
    Event,
    Here,
    Place,
    Tell,
    decode_beat,
    decode_here,
    decode_tell,
    encode,
    inside,
)
from sandpiper.hub.bus.log import VERSION, BadLog
from sandpiper.hub.limits import PRESENCE_DELAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.msg import Msg

    from sandpiper.hub.bus.link import Link
    from sandpiper.hub.bus.replicated import Replicated
    from sandpiper.hub.bus.rooms import Hall

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0  # between two lists of a hub's rooms: so old are numbers of members elsewhere at most
SILENT_SECONDS = 4 * BEAT_SECONDS  # a hub that was not heard of for so long is gone, and its guests with it
ROLL_SECONDS = 0.25  # a room that is opened waits so long for other hubs to tell who is in it


class Telling:
    """Both ways. `begin` runs something beside everything else."""

    def __init__(
        self, hall: Hall, order: Replicated, link: Link, begin: Callable[[Coroutine[None, None, None], str], object]
    ) -> None:
        self._hall = hall
        self._order = order
        self._link = link
        self._begin = begin
        self._events: dict[str, list[Event]] = {}
        self._turns: dict[str, int] = {}  # by room: of what was told last
        self._due = False
        self._told_at = 0.0
        self._rolls: dict[str, tuple[set[str], asyncio.Event]] = {}  # hubs that have not answered yet
        self._ends: list[Callable[[], Awaitable[None]]] = []

    async def open(self) -> None:
        """Begin to hear others.

        Raises:
            BusAway: the bus does not answer.
        """
        names = self._link.names
        self._ends.append(await self._link.listen(names.beat, self._beaten))
        self._ends.append(await self._link.listen(names.tell, self._asked))

    async def close(self) -> None:
        """This hub ends: its guests are gone."""
        for end in self._ends:
            await end()
        await self._link.say(self._link.names.beat, encode(Beat(VERSION, self._order.hub, False, [])))

    # ------------------------------------------------------------ out

    def share(self, room: str, event: Event) -> None:
        """Something has happened; it is told at once, and what follows soon together."""
        self._events.setdefault(room, []).append(event)
        if not self._due:
            self._due = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._told_at + PRESENCE_DELAY), self._tell_all)

    def _tell_all(self) -> None:
        self._due = False
        self._told_at = asyncio.get_running_loop().time()
        events, self._events = self._events, {}
        if not self._link.closing:
            self._begin(self._tell_events(events), "presence")

    async def _tell_events(self, rooms: dict[str, list[Event]]) -> None:
        for room, events in rooms.items():
            await self._tell(room, events, whole=False)

    async def _tell(self, room: str, events: list[Event], *, whole: bool) -> None:
        for at in range(0, max(1, len(events)), MAX_EVENTS):
            turn = self._turns.get(room, 0) + 1 if room in self._hall.house.rooms else 0
            if turn:
                self._turns[room] = turn
            part = events[at : at + MAX_EVENTS]
            here = Here(VERSION, self._order.hub, room, turn, whole and not at, part)
            await self._link.say(self._link.names.here(room), encode(here))

    async def tell_whole(self, name: str) -> None:
        """Everybody of this hub who is in a room."""
        room = self._hall.house.rooms.get(name)
        members = room.members if room is not None else ()
        # Of what waits to be told, this is the outcome; told again it changes nothing.
        await self._tell(name, [inside(guest, room) for guest in members] if room is not None else [], whole=True)

    def back(self) -> None:
        """The bus was away: other hubs could not be heard."""
        self._order.others.back(self._hall.now())

    async def beat(self) -> None:
        """Say that this hub is there, and which rooms it has guests in; forget hubs that say nothing."""
        house = self._hall.house
        rooms = sorted((room for room in house.rooms.values() if room.members), key=lambda room: -len(room.members))
        places: list[Place] = []
        chars = 0
        for room in rooms[:MAX_BEAT_ROOMS]:
            chars += len(room.name) + len(room.topic)
            if chars > MAX_BEAT_CHARS:
                break
            turn = self._turns.get(room.name, 0)
            places.append(Place(room.name, len(room.members), turn, room.topic, bool(room.lock)))
        await self._link.say(self._link.names.beat, encode(Beat(VERSION, self._order.hub, True, places)))
        if self._link.there.is_set():
            gone = self._order.others.silent(house, self._hall.now(), SILENT_SECONDS)
            for hub in gone:
                log.info("hub %s of the cluster is gone", hub)
            if gone:
                self._hall.wake()

    def shut(self, room: str) -> None:
        """A room is not followed any more."""
        self._events.pop(room, None)
        self._turns.pop(room, None)  # whoever heard of a higher one asks for everything when it begins again

    async def roll(self, room: str) -> None:
        """Ask all hubs who is in a room, and wait for their answers a moment."""
        hubs = set(self._order.others.hubs)
        done = asyncio.Event()
        self._rolls[room] = (hubs, done)
        try:
            await self._link.say(self._link.names.tell, encode(Tell(VERSION, self._order.hub, room)))
            if hubs:
                async with asyncio.timeout(ROLL_SECONDS):
                    await done.wait()
        except TimeoutError:
            log.debug("%d hubs did not tell who is in a room", len(hubs))
        finally:
            self._rolls.pop(room, None)

    # ------------------------------------------------------------ in

    async def heard(self, told: Msg) -> None:
        """Another hub tells who is in a room that is followed here."""
        try:
            here = decode_here(told.data)
        except BadLog as exc:
            log.debug("bus: %s", exc)
            return
        if here.hub == self._order.hub:
            return
        if not self._order.others.take(self._hall.house, here, self._hall.now()):
            await self._ask(here.room)
        waiting = self._rolls.get(here.room)
        if waiting is not None and here.whole:
            hubs, done = waiting
            hubs.discard(here.hub)
            if not hubs:
                done.set()
        self._hall.wake()

    async def _ask(self, room: str) -> None:
        await self._link.say(self._link.names.tell, encode(Tell(VERSION, self._order.hub, room)))

    async def _beaten(self, told: Msg) -> None:
        try:
            beat = decode_beat(told.data)
        except BadLog as exc:
            log.debug("bus: %s", exc)
            return
        known = beat.hub in self._order.others.hubs or beat.hub == self._order.hub
        for room in self._order.others.heard(self._hall.house, beat, self._hall.now()):
            await self._ask(room)
        if not known and beat.alive:
            log.info("hub %s is in the cluster", beat.hub)
            await self.beat()  # so that it knows us before it opens a room
        self._hall.wake()

    async def _asked(self, told: Msg) -> None:
        try:
            tell = decode_tell(told.data)
        except BadLog as exc:
            log.debug("bus: %s", exc)
            return
        if tell.hub != self._order.hub:
            await self.tell_whole(tell.room)
