"""The hub's chat on a port: one house, its connections, its history, and the loop that carries out what is decided."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING

from sandpiper.core.events import Now
from sandpiper.errors import StoreError
from sandpiper.hub import answering
from sandpiper.hub.chat import Connection, shared_buffer
from sandpiper.hub.effects import Cut, Deliver, Effect, Keep, Lock, Own, Recall, Remember
from sandpiper.hub.house import House
from sandpiper.hub.limits import MAX_LOCKS, MAX_RECALLS, ChatSettings
from sandpiper.hub.operators import ANSWERERS
from sandpiper.hub.passwords import fits, make_lock

if TYPE_CHECKING:
    from sandpiper.hub.history import History

log = logging.getLogger(__name__)

BACKLOG = 1024  # connections that the system holds for us until the loop comes round
GOODBYE = "The hub is closing; come back in a while."


class ChatServer:
    """The chat role of a hub. Made by `serve_chat`, or, behind a listener of its own, started with `start`.

    `connection` is the protocol factory: it takes what was read from a socket before.
    """

    def __init__(self, settings: ChatSettings, history: History) -> None:
        """The history stays its maker's: it is closed after `aclose`."""
        self.history = history
        self.connections: set[Connection] = set()
        self.buffer = shared_buffer()
        self.port = 0
        self.house = House(settings, ANSWERERS, random.SystemRandom(), history.load(), self.now())
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._woken = False
        self._timer: asyncio.Handle | None = None  # uvloop gives no TimerHandle for a delay of nothing
        self._due = 0.0  # when it rings, on the clock of `now`
        self._recalls = 0
        self._locks = 0
        self._hashing = asyncio.Lock()  # one password at a time: each takes 19 MiB
        self._tasks: asyncio.TaskGroup
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()  # all connections have ended, after `aclose`
        self._closing = False
        self._life: asyncio.Task[None] | None = None

    def connection(self, first: bytes = b"") -> Connection:
        """The protocol object of a new connection; `first` was read from it already."""
        return Connection(self, first)

    @staticmethod
    def now() -> Now:
        """This moment, on the clocks that everything here uses."""
        return Now(time.monotonic(), int(time.time() * 1000))

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Begin to look after connections."""
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready), name="hub chat")
        await ready.wait()

    async def listen(self, host: str, port: int) -> None:
        """Take connections on a port (0: any free one; `port` tells which).

        Raises:
            OSError: the port cannot be used.
        """
        self._server = await self._loop.create_server(self.connection, host, port, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _live(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            sweeping = self._tasks.create_task(self._sweep(), name="hub chat sweep")
            ready.set()
            await self._stop.wait()
            sweeping.cancel()

    async def aclose(self, text: str = GOODBYE) -> None:
        """Say goodbye to everybody, let what was written be taken, and end."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        self.house.farewell(text, self.now())
        self._flush()
        now = self.now().mono
        if not self.connections:
            self._empty.set()
        for connection in tuple(self.connections):
            connection.close(now, linger=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.house.settings.times.farewell):
                await self._empty.wait()
        for connection in tuple(self.connections):
            connection.abort()
        await self._empty.wait()
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        self._stop.set()
        if self._life is not None:
            await self._life
        if self._server is not None:
            await self._server.wait_closed()

    async def _sweep(self) -> None:
        times = self.house.settings.times
        while True:
            await asyncio.sleep(times.sweep)
            now = self.now()
            for connection in tuple(self.connections):
                connection.look(now, times)
            self.house.forget_addresses(now)

    # ------------------------------------------------------------ the turn of the loop

    def left(self, connection: Connection) -> None:
        """This connection has ended."""
        self.connections.discard(connection)
        if self._closing and not self.connections:
            self._empty.set()

    def wake(self) -> None:
        """The house has something to do: do it when everything that has arrived in this turn was read."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._woken = False
        for effect in self.house.flush(self.now()):
            if type(effect) is Deliver:
                raw = effect.raw
                for guest in effect.to:
                    guest.outlet.write(raw)
            else:
                self._carry_out(effect)
        if self.house.busy:
            self.wake()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self.house.deadline()
        if due is not None and (self._timer is None or self._due > due):
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_later(max(0.0, due - self.now().mono), self._presence_due)

    def _presence_due(self) -> None:
        self._timer = None
        self._flush()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Keep(batch):
                self.history.append(batch)
            case Cut(guest, code, why):
                log.info("guest %d is cut: %s (%s)", guest.number, code, why)
                outlet = guest.outlet
                assert isinstance(outlet, Connection)
                outlet.close(self.now().mono)
            case Remember(room):
                self.history.remember(room)
            case Own(nick, key):
                self.history.own(nick, key)
            case Recall():
                self._recall(effect)
            case Lock():
                self._lock(effect)
            case Deliver():
                raise AssertionError("delivered by the caller")

    # ------------------------------------------------------------ what takes longer

    def _recall(self, ask: Recall) -> None:
        if self._recalls >= MAX_RECALLS:
            answering.recalled(self.house, ask, None)
            return
        self._recalls += 1
        self._tasks.create_task(self._read(ask), name=f"history for guest {ask.guest.number}")

    async def _read(self, ask: Recall) -> None:
        page = None
        try:
            page = await self.history.read(ask.room, ask.epoch, ask.before, ask.limit)
        except StoreError as exc:
            log.warning("history cannot be read: %s", exc)
        finally:
            self._recalls -= 1
        answering.recalled(self.house, ask, page)
        self.wake()

    def _lock(self, ask: Lock) -> None:
        if self._locks >= MAX_LOCKS:
            self.house.refuse(ask.guest, "busy", "Too many passwords wait to be checked; try again.")
            return
        self._locks += 1
        self._tasks.create_task(self._hash(ask), name=f"password of guest {ask.guest.number}")

    async def _hash(self, effect: Lock) -> None:
        ask, lock = effect.ask, effect.lock
        fit = True
        try:
            async with self._hashing:
                if lock:
                    fit = await asyncio.to_thread(fits, ask.password, lock)
                else:
                    lock = await asyncio.to_thread(make_lock, ask.password)
        finally:
            self._locks -= 1
        answering.unlocked(self.house, effect.guest, ask, lock, fit, self.now())
        self.wake()


async def serve_chat(host: str, port: int, settings: ChatSettings, history: History) -> ChatServer:
    """Serve the chat on `host` and `port` (0: any free one) until its `aclose`.

    Raises:
        OSError: the port cannot be used.
        StoreError: the history cannot be read.
    """
    server = ChatServer(settings, history)
    await server.listen(host, port)
    await server.start()
    return server
