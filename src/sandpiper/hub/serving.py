"""The hub's chat on a port: one house, its connections, its history, and the loop that carries out what is decided."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sandpiper.core.events import Now
from sandpiper.errors import StoreError, UsageError
from sandpiper.hub import answering
from sandpiper.hub.backlogs import Backlogs
from sandpiper.hub.chat import Connection, keep_alive, shared_buffer
from sandpiper.hub.effects import Bar, Cut, Deliver, Effect, Keep, Lock, Own, Recall, Recollect, Remember, Search
from sandpiper.hub.holding import Holding
from sandpiper.hub.house import House
from sandpiper.hub.limits import MAX_CLIENT_IDS, MAX_RECALLS, MAX_RECOLLECTIONS, WRONG_PASSWORD_SECONDS, ChatSettings
from sandpiper.hub.locks import Locks
from sandpiper.hub.operators import ANSWERERS
from sandpiper.hub.passwords import fits, make_lock
from sandpiper.wire.hub.answers import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from sandpiper.hub.bus.cluster import Cluster
    from sandpiper.hub.counts import Counts
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import History, SentId
    from sandpiper.hub.holding import Step
    from sandpiper.wire.hub.asks import Join

log = logging.getLogger(__name__)

BACKLOG = 1024  # connections that the system holds for us until the loop comes round
LAST_LINES = 0.5  # seconds to take the goodbye, for guests that are just sending: closing at once would throw it away
GOODBYE = "The hub is closing; come back in a while."
UNKEPT = "The hub cannot write its history to its disk now, so nothing can be said; try again later."


class ChatServer:
    """The chat role of a hub. Made by `serve_chat`, or, behind a listener of its own, started with `start`.

    `connection` is the protocol factory: it takes what was read from a socket before.
    """

    def __init__(
        self, settings: ChatSettings, history: History, counts: Counts | None = None, bus: Cluster | None = None
    ) -> None:
        """The history stays its maker's: it is closed after `aclose`; so does `bus`, by which hubs decide together what
        happens. `counts`: where to count.
        """
        self.history = history
        self.connections: set[Connection] = set()
        self.backlogs = Backlogs(self.connections)
        self.buffer = shared_buffer()
        self.port = 0
        self._bus = bus
        order = bus.order if bus is not None else None
        self.house = House(settings, ANSWERERS, random.SystemRandom(), history.load(), self.now(), counts, order)
        self.stopped = False
        """Guests are not read, because too much that they said waits for the disk."""
        self._holding = Holding(history) if history.durable else None
        self._given_up = False  # the hub closes, and the disk has not taken what was to be told before
        self._drained = asyncio.Event()  # nothing is held any more, or never will be told
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._woken = False
        self._timer: asyncio.Handle | None = None  # uvloop gives no TimerHandle for a delay of nothing
        self._due = 0.0  # when it rings, on the clock of `now`
        self._recalls = 0
        self._recollections = 0
        self._locks = Locks()
        # One password at a time: each takes 19 MiB, and the C library keeps as much for every thread that had one.
        self._hashing = ThreadPoolExecutor(1, "password")
        self._hasher: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()  # all connections have ended, after `aclose`
        self._closing = False
        self._life: asyncio.Task[None] | None = None

    @property
    def life(self) -> asyncio.Task[None]:
        """Ends before `aclose` only by a mistake of ours, with its exception."""
        assert self._life is not None
        return self._life

    @property
    def held(self) -> int:
        """Bytes that wait to be told until they are on disk."""
        return self._holding.size if self._holding is not None else 0

    def connection(self, first: bytes = b"") -> Connection:
        """The protocol object of a new connection; `first` was read from it already."""
        return Connection(self, first)

    def reload(self, settings: ChatSettings, motd: str = "") -> None:
        """Take over other settings for everybody; a new `motd` is told to those who are here."""
        now = self.now()
        self.house.reload(settings, now)
        if motd:
            self.house.tell_all(Notice(motd, now.wall_ms // 1000, code="motd"))
        self.wake()

    @staticmethod
    def now() -> Now:
        """This moment, on the clocks that everything here uses."""
        return Now(time.monotonic(), int(time.time() * 1000))

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Begin to look after connections."""
        if self._holding is not None:
            self.history.watch(self._written)
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready), name="hub chat")
        await ready.wait()
        self.wake()  # the lobby is kept before anybody comes

    async def listen(self, host: str, port: int) -> None:
        """Take connections on a port (0: any free one; `port` tells which).

        Raises:
            OSError: the port cannot be used.
        """
        self._server = await self._loop.create_server(self.connection, host, port, backlog=BACKLOG, start_serving=False)
        keep_alive(self._server)
        await self._server.start_serving()
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
        await self._drain()
        self.house.farewell(text, self.now())
        self._flush()
        await self._drain()
        now = self.now().mono
        if not self.connections:
            self._empty.set()
        for connection in tuple(self.connections):
            connection.close(now)
        await self._emptied(LAST_LINES)
        for connection in tuple(self.connections):
            connection.finish()
        await self._emptied(self.house.settings.times.farewell)
        for connection in tuple(self.connections):
            connection.abort()
        await self._empty.wait()
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        self._stop.set()
        self._hashing.shutdown(wait=False)
        if self._server is not None:
            await self._server.wait_closed()
        if self._life is not None:
            await self._life

    async def _emptied(self, seconds: float) -> None:
        """Until nobody is connected, at most for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    async def _drain(self) -> None:
        """Until what is held was told; what the disk does not take in time never will be."""
        if self._bus is not None:
            self._flush()
            await self._bus.drain()
        if self._holding is None:
            return
        self._flush()
        if self._holding and not self.house.unkept:
            self._drained.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.house.settings.times.farewell):
                    await self._drained.wait()
            self._flush()
        self._let_go(self._holding.endings())
        if left := self._holding.clear():
            self._given_up = True
            self.house.unkept = UNKEPT
            log.warning("%d batches of lines were not told: the disk has not taken them in time", left)

    async def _sweep(self) -> None:
        times = self.house.settings.times
        while True:
            await asyncio.sleep(times.sweep)
            now = self.now()
            for connection in tuple(self.connections):
                try:
                    connection.look(now, times)
                except Exception:
                    log.exception("a connection ends by a mistake of ours")
                    connection.abort()
            try:
                self.house.forget_addresses(now)
            except Exception:
                log.exception("what nobody uses was not forgotten, by a mistake of ours")

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
        if self._holding is None:
            for effect in self.house.flush(self.now()):
                if type(effect) is Deliver:
                    self._deliver(effect)
                else:
                    self._try(effect)
        else:
            self._flush_durably(self._holding)
        if self.house.busy:
            self.wake()
        self._set_timer()

    def _deliver(self, effect: Deliver) -> None:
        raw, to, counts = effect.raw, effect.to, self.house.counts
        counts.deliveries += effect.lines * len(to)
        counts.bytes_written += len(raw) * len(to)
        for guest in to:
            try:
                guest.outlet.write(raw)
            except Exception:  # noqa: BLE001 - whatever it is, the others get theirs
                self._missed(guest)

    def _missed(self, guest: Guest) -> None:
        """By a mistake of ours it did not get a line. It comes again for what it has missed; others lose nothing."""
        log.exception("guest %d is not written to any more, by a mistake of ours", guest.number)
        outlet = guest.outlet
        assert isinstance(outlet, Connection)
        outlet.abort()

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

    def _try(self, effect: Effect) -> None:
        """Carry it out; a mistake of ours in it does not keep what follows from being done."""
        try:
            self._carry_out(effect)
        except Exception:
            log.exception("%s was not carried out, by a mistake of ours", type(effect).__name__)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Keep(batch):
                self.history.append(batch)
            case Cut(guest, code):
                self.house.counts.cuts.add(code)
                log.info("guest %d is cut: %s", guest.number, code)
                outlet = guest.outlet
                assert isinstance(outlet, Connection)
                outlet.close(self.now().mono)
            case Remember(room):
                self.history.remember(room)
            case Own(nick, key):
                self.history.own(nick, key)
            case Bar(bans):
                self.history.bar(bans)
            case Recollect():
                self._recollect(effect)
            case Recall():
                self._recall(effect)
            case Search():
                self._search(effect)
            case Lock():
                self._lock(effect)
            case Deliver():
                raise AssertionError("delivered by the caller")
            case _:
                assert self._bus is not None
                self._bus.carry_out(effect)

    # ------------------------------------------------------------ told once it is on disk

    def afterwards(self, do: Callable[[], None]) -> None:
        """Have `do` called when everything that has come so far was dealt with, and what it set off was told."""
        self._loop.call_soon(self._when_told, do)

    def _when_told(self, do: Callable[[], None]) -> None:
        if self.house.busy:
            self._flush()  # an answer that was got ready in between is none that `do` may overlook
        if self.house.busy:  # nor is one that came of that
            self.afterwards(do)
        elif self._bus is not None:
            self._bus.afterwards(do)
        elif self._holding and not self.house.unkept:
            self._holding.hold(do)
        else:
            do()

    def _flush_durably(self, holding: Holding) -> None:
        """What is to be kept is handed over now; what is told of it waits until it is on disk."""
        failing = self.house.unkept
        told: list[Step] = []
        for effect in self.house.flush(self.now()):
            if type(effect) is Deliver:
                if failing and effect.early:
                    self._deliver(effect)
                else:
                    told.append(effect)
            elif type(effect) is Cut and not failing:
                told.append(effect)
            else:
                self._try(effect)
        # Only now: an `ack` may be told ahead of a batch of the same turn that it is about.
        for step in told:
            holding.hold(step)
        self._written()

    def _written(self) -> None:
        """The history has come further, or it has failed."""
        holding = self._holding
        assert holding is not None
        self._let_go(holding.ready())
        failing = self._given_up or self.history.problem is not None
        self.house.unkept = UNKEPT if failing or holding.overfull else ""
        if failing:
            self._let_go(holding.endings())
        self.stopped = self._closing or holding.full
        if failing or not holding:
            self._drained.set()

    def _let_go(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Deliver):
                self._deliver(step)
            elif isinstance(step, Cut):
                self._carry_out(step)
            else:
                step()

    # ------------------------------------------------------------ what takes longer

    def _begin(self, what: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(_alone(what, name), name=name)

    def _recollect(self, ask: Recollect) -> None:
        if self._recollections >= MAX_RECOLLECTIONS:
            answering.recollected(self.house, ask, None)
            return
        self._recollections += 1
        _ = self._begin(self._read_ids(ask), "ids of senders in a room")

    async def _read_ids(self, ask: Recollect) -> None:
        ids: list[SentId] | None = []
        try:
            ids = await self.history.sent_ids(ask.room, ask.epoch, MAX_CLIENT_IDS)
        except StoreError as exc:
            if exc.code == "busy":
                ids = None
            else:
                log.warning("messages that are sent again may be doubled, the history cannot be read: %s", exc)
        except Exception:
            log.exception("messages that are sent again may be doubled, by a mistake of ours")
        finally:
            self._recollections -= 1
        answering.recollected(self.house, ask, ids)

    def _recall(self, ask: Recall) -> None:
        if self._recalls >= MAX_RECALLS:
            answering.recalled(self.house, ask, None)
            return
        self._recalls += 1
        _ = self._begin(self._read(ask), f"history for guest {ask.guest.number}")

    async def _read(self, ask: Recall) -> None:
        page = None
        try:
            page = await self.history.read(ask.room, ask.epoch, ask.before, ask.limit)
        except StoreError as exc:
            log.warning("history cannot be read: %s", exc)
        except Exception:
            log.exception("history cannot be read, by a mistake of ours")
        finally:
            self._recalls -= 1
        answering.recalled(self.house, ask, page)
        self.wake()

    def _search(self, ask: Search) -> None:
        if self._recalls >= MAX_RECALLS:
            answering.searched(self.house, ask, None)
            return
        self._recalls += 1
        _ = self._begin(self._find(ask), f"search for guest {ask.guest.number}")

    async def _find(self, ask: Search) -> None:
        found, why = None, ""
        try:
            found = await self.history.search(ask.room, ask.epoch, ask.words, ask.before, ask.limit)
        except UsageError as exc:
            why = exc.sentence()
        except StoreError as exc:
            log.warning("history cannot be searched: %s", exc)
        except Exception:
            log.exception("history cannot be searched, by a mistake of ours")
        finally:
            self._recalls -= 1
        answering.searched(self.house, ask, found, why)
        self.wake()

    def _lock(self, ask: Lock) -> None:
        if not self._locks.put(ask):
            answering.not_unlocked(self.house, ask.guest, ask.ask)
            self.wake()
        elif self._hasher is None:
            self._hasher = self._begin(self._hash_all(), "passwords")

    async def _hash_all(self) -> None:
        """One password after the other, until none waits."""
        try:
            while (effect := self._locks.take()) is not None:
                await self._hash(effect)
        finally:
            self._hasher = None

    async def _hash(self, effect: Lock) -> None:
        guest, ask, lock, fit = effect.guest, effect.ask, effect.lock, True
        try:
            if lock:
                fit = await self._loop.run_in_executor(self._hashing, fits, ask.password, lock)
            else:
                lock = await self._loop.run_in_executor(self._hashing, make_lock, ask.password)
        except Exception:
            log.exception("a password cannot be hashed")
            answering.not_unlocked(self.house, guest, ask)
            self.wake()
            return
        if fit:
            self._unlocked(guest, ask, lock, True)
        else:
            self._loop.call_later(WRONG_PASSWORD_SECONDS, self._unlocked, guest, ask, lock, False)

    def _unlocked(self, guest: Guest, ask: Join, lock: bytes, fit: bool) -> None:
        answering.unlocked(self.house, guest, ask, lock, fit, self.now())
        self.wake()


async def _alone(what: Coroutine[None, None, None], name: str) -> None:
    """Others go on whatever becomes of it."""
    try:
        await what
    except Exception:
        log.exception("%s: given up, by a mistake of ours", name)


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
