"""The logs of the rooms that this hub follows: proposals go out, and what comes back is applied in its order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.link import Stored
from sandpiper.hub.bus.log import (
    MAX_LINES,
    MAX_POSTED_BYTES,
    VERSION,
    BadLog,
    Posted,
    Talk,
    decode_posted,
    decode_state,
    encode,
    lines_of,
    size_of,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.msg import Msg

    from sandpiper.core.events import Now
    from sandpiper.hub.bus.link import Link
    from sandpiper.hub.bus.log import Entry, RoomState
    from sandpiper.hub.bus.replica import Replica
    from sandpiper.hub.bus.replicated import Replicated
    from sandpiper.hub.house import House

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.25  # before a message that may not have arrived is sent again
BEHIND_SECONDS = 0.05  # before a log is read again that should have more already: a copy of it lags
BEHIND_TRIES = 20
STOP_BYTES = 8 * 1024 * 1024  # waiting for the bus from which on guests are read no more: as with a disk that is late


class Hall(Protocol):
    """What the bus needs of the chat that it belongs to."""

    house: House
    stopped: bool
    """Guests are not read."""

    def now(self) -> Now:
        """This moment."""
        ...

    def wake(self) -> None:
        """The house has something to do."""
        ...


class RoomLog:
    """One room's log. One message at a time is on its way to it: what is said meanwhile goes into the next one, so
    that order holds whatever has to be sent again, and the busier the room, the more a message carries.
    """

    def __init__(
        self, name: str, hall: Hall, order: Replicated, link: Link,
        begin: Callable[[Coroutine[None, None, None], str], object],
    ) -> None:  # fmt: skip
        """`begin` runs something beside everything else, under a name."""
        self.name = name
        self.replica: Replica
        self.wanted: deque[tuple[Entry, int]] = deque()
        self._hall = hall
        self._order = order
        self._link = link
        self._begin = begin
        self._state: RoomState | None = None
        self.resting = asyncio.Event()
        """Set while nothing is on its way."""
        self.resting.set()
        self._reading: asyncio.Lock = asyncio.Lock()
        self._until = 0  # the log has messages up to here at least
        self._ends: list[Callable[[], Awaitable[None]]] = []

    # ------------------------------------------------------------ life

    async def open(self, here: Callable[[Msg], Awaitable[None]]) -> None:
        """Learn everything about the room; `here` gets what other hubs tell of who is in it.

        Raises:
            BusAway: it cannot be read now.
            BadLog: it cannot be understood.
        """
        kept = await self._link.rooms.get(token(self.name))
        self._state = decode_state(kept.raw) if kept is not None else None
        self.replica = self._order.known(self._hall.house, self.name, self._state, self._hall.now())
        self._ends.append(await self._link.listen(self._link.names.here(self.name), here))
        self._ends.append(await self._link.listen(self._link.names.live(self.name), self._live))
        await self.catch_up()
        self._order.opened(self._hall.house, self.replica, self._state)
        self._hall.wake()

    async def close(self) -> None:
        """Follow it no more."""
        for end in self._ends:
            await end()
        self._ends.clear()

    @property
    def idle(self) -> bool:
        """Nothing is on its way, neither there nor back."""
        return self.resting.is_set() and self.replica.place >= self._until

    # ------------------------------------------------------------ out

    def propose(self, entry: Entry) -> None:
        """Have this stored in the log."""
        size = size_of(entry)
        self._link.waiting += size
        self.wanted.append((entry, size))
        if self._link.waiting > STOP_BYTES:
            self._hall.stopped = True
        if self.resting.is_set():
            self.resting.clear()
            self._begin(self._send(), f"log of {token(self.name)}")

    async def _send(self) -> None:
        try:
            while self.wanted and not self._link.closing:
                entries, size = self._next()
                replica = self.replica
                replica.turn += 1
                posted = Posted(VERSION, replica.hub, replica.turn, replica.back, entries)
                await self._store(encode(posted), f"{replica.hub}.{token(self.name)}.{replica.turn}")
                self._link.waiting -= size
                if self._hall.stopped and self._link.waiting <= STOP_BYTES:
                    self._hall.stopped = False
        finally:
            self.resting.set()

    def _next(self) -> tuple[list[Entry], int]:
        """As much as one message takes."""
        entries: list[Entry] = []
        lines = size = 0
        while self.wanted:
            entry, takes = self.wanted[0]
            count = lines_of((entry,))
            if entries and (lines + count > MAX_LINES or size + takes > MAX_POSTED_BYTES):
                break
            self.wanted.popleft()
            if type(entry) is Talk and takes > MAX_POSTED_BYTES and count > 1:
                # One guest's lines alone are too much: half of them first.
                head, tail = entry.lines[: count // 2], entry.lines[count // 2 :]
                for part in (tail, head):
                    talk = Talk(entry.guest, entry.key, entry.nick, entry.ts, part)
                    self.wanted.appendleft((talk, size_of(talk)))
                self._link.waiting += sum(each for _, each in (self.wanted[0], self.wanted[1])) - takes
                continue
            entries.append(entry)
            lines += count
            size += takes
        return entries, size

    async def _store(self, raw: bytes, name: str) -> None:
        while not self._link.closing:
            await self._link.there.wait()
            try:
                names = self._link.names
                place = await self._link.store(names.log_stream, names.log(self.name), raw, name)
            except BusAway as exc:
                log.debug("bus: a message is sent again: %s", exc)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._until = max(self._until, place)
                return

    # ------------------------------------------------------------ in

    async def _live(self, told: Msg) -> None:
        """The server has stored a message, and tells all hubs."""
        headers = told.headers or {}
        place, before = int(headers.get("Nats-Sequence", 0)), int(headers.get("Nats-Last-Sequence", 0))
        self._until = max(self._until, place)
        replica = self.replica
        if self._reading.locked() or place <= replica.place:
            return
        if before == replica.place and replica.open:
            self._apply(Stored(place, before, "", told.data))
            self._hall.wake()
        else:
            self._begin(self.look(), f"reading of {token(self.name)}")

    async def look(self) -> None:
        """Take whatever is in the log and was not told; when it cannot be read now, it will be."""
        try:
            await self.catch_up()
        except BusAway as exc:
            log.debug("bus: %s", exc)

    async def catch_up(self, until: int = 0) -> None:
        """Take whatever is in the log, up to `until` at least if it is there.

        Raises:
            BusAway: it cannot be read now.
        """
        self._until = max(self._until, until)
        tries = 0
        async with self._reading:
            while True:
                found = await self._link.read(self.name, self.replica.place + 1)
                for stored in found:
                    self._apply(stored)
                if found:
                    self._hall.wake()
                elif self.replica.place >= self._until or tries >= BEHIND_TRIES:
                    break
                else:
                    tries += 1
                    await asyncio.sleep(BEHIND_SECONDS)
        self._until = min(self._until, self.replica.place)

    def _apply(self, stored: Stored) -> None:
        try:
            posted = decode_posted(stored.raw)
        except BadLog as exc:
            log.error("message %d of a room's log is left out: %s", stored.place, exc)
            self.replica.place = stored.place
            return
        self._order.apply(self._hall.house, self.replica, stored.place, posted, self._hall.now())
