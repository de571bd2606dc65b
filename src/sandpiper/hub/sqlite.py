"""The history of a hub on SQLite: takes lines from the event loop, and leaves everything that takes time to threads.

Written by one thread (`sqlite_writer`), read by two others (`sqlite_reading`). Page: docs/hub-history.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from filelock import FileLock, Timeout
from typing_extensions import override

from sandpiper.errors import StoreError
from sandpiper.hub.history import Found, History, KeptRoom, LinesBefore, Stored
from sandpiper.hub.sqlite_reading import Desk, page, query_of, search, sent_ids
from sandpiper.hub.sqlite_rows import Bans, Nick, unpack_barred
from sandpiper.hub.sqlite_schema import HistorySettings, open_file
from sandpiper.hub.sqlite_writer import COMMIT_BYTES, NO_LIMIT, Writer
from sandpiper.store.damage import damaged, sql_errors
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandpiper.hub.history import Barred, Batch, SentId
    from sandpiper.hub.sqlite_rows import Item, Late

log = logging.getLogger(__name__)

BEHIND_BYTES = 8 * 1024 * 1024  # waiting from which on the hub reads less: two commits, a tenth of a second
MAX_QUEUE_BYTES = 64 * 1024 * 1024  # waiting at most: what a small machine can spare while its disk fails
ITEM_BYTES = 256  # what an item costs beside its lines: many small ones count, too
BARRED_BYTES = 256  # what somebody who is banned or muted costs: three tokens
MAX_LATE_NICKS = 4000  # new owners of nicks that are held while there is no place for anything: half a megabyte
MAX_PAGES_WAITING = 64  # as many as the hub asks for at once


class SqliteHistory(History):
    """A hub's history in one file, for one hub at a time. Everything but `load` is called on one event loop."""

    def __init__(
        self,
        path: Path,
        settings: HistorySettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or begin the file; `clock` gives seconds since 1970. A damaged file is moved aside (`set_aside`).

        Raises:
            StoreError: it cannot be used; `in_use` when another hub has it.
        """
        self.path = path
        self.settings = settings or HistorySettings()
        self._on_written: Callable[[], None] | None = None
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as exc:
            raise StoreError(
                f"Another hub uses the history {path}.", hint="Stop it, or name another file.", code="in_use"
            ) from exc
        except OSError as exc:
            raise StoreError(
                f"The hub's history {path} cannot be written ({exc}).",
                hint="Check the rights of its folder.",
                code="not_writable",
            ) from exc
        try:
            self._db, self.set_aside = open_file(path, self.settings)
            try:
                with sql_errors(path, "reading it"):
                    self._writer = Writer(path, self._db, self.settings, self._told, clock)
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        if self.set_aside is not None:
            log.error("the hub's history was damaged; it is kept as %s, and a new one has begun", self.set_aside)
        self._pages = Desk(path, "hub-history-pages", MAX_PAGES_WAITING)
        self._search = Desk(path, "hub-history-search")
        self._queue = self._writer.queue
        self._count = 0
        self._put_bytes = 0
        self._dropped = 0
        self._crowded = False
        self._limit = NO_LIMIT  # as the writer's, for what did not even come to it
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # ------------------------------------------------------------ for operators

    @property
    @override
    def problem(self) -> StoreError | None:
        if self._stuck:
            return StoreError(
                f"Lines that should have been kept in {self.path} were not; nothing is acknowledged any more.",
                hint="Look after the disk, then start the hub again.",
                code="not_durable",
            )
        return self._writer.problem

    @property
    def lost(self) -> int:
        """Lines that were not kept since the start, because the disk failed for too long."""
        return self._dropped + self._writer.dropped

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written."""
        return self._put_bytes - self._writer.done_bytes

    # ------------------------------------------------------------ what the hub calls

    @property
    @override
    def behind(self) -> bool:
        return self._put_bytes - self._writer.done_bytes > BEHIND_BYTES

    @override
    def load(self) -> Stored:
        """What was kept, before anything else is called: all rooms, at most `keep_rooms`, the longest unused first.

        Raises:
            StoreError: it cannot be read.
        """
        if self._writer.is_alive():
            raise StoreError("The hub's history has been loaded already.", code="bug")
        with sql_errors(self.path, "reading it"):
            rooms = self._db.execute(
                "SELECT r.name, r.epoch, max(l.seq, coalesce(b.last, 0)), r.topic, r.lock, r.operators, r.slowmode,"
                " r.bans, r.mutes FROM rooms r JOIN lives l ON l.room = r.name AND l.epoch = r.epoch"
                " LEFT JOIN batches b ON b.n = (SELECT n FROM batches WHERE life = l.n ORDER BY first DESC LIMIT 1)"
                " ORDER BY max(r.used, coalesce(b.ts, 0)), r.name"
            ).fetchall()
            (barred,) = self._db.execute("SELECT bans FROM state").fetchone()
            nicks = self._db.execute("SELECT nick, key FROM nicks ORDER BY n").fetchall()
        try:
            stored = Stored(
                tuple(
                    KeptRoom(
                        name, epoch, seq, topic, lock, _keys(operators), slowmode, False, *map(unpack_barred, lists)
                    )
                    for name, epoch, seq, topic, lock, operators, slowmode, *lists in rooms
                ),
                tuple((nick, _keys(key)[0]) for nick, key in nicks),
                unpack_barred(barred),
            )
        except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as exc:
            raise damaged(self.path, f"{type(exc).__name__}: {exc}") from exc
        self._writer.start()
        return stored

    @override
    def append(self, batch: Batch) -> None:
        weight = len(batch.raw) + ITEM_BYTES
        if self._put_bytes - self._writer.done_bytes + weight > MAX_QUEUE_BYTES:
            self._drop(batch)
        else:
            self._put(weight, batch)

    @override
    def remember(self, room: KeptRoom) -> None:
        barred = len(room.bans) + len(room.mutes)
        weight = ITEM_BYTES + KEY_BYTES * len(room.operators) + BARRED_BYTES * barred
        self._put_or_hold(weight, room, room.name, self.settings.keep_rooms)

    @override
    def own(self, nick: str, key: PeerKey) -> None:
        self._put_or_hold(ITEM_BYTES, Nick(nick, key), nick, MAX_LATE_NICKS)

    @override
    def bar(self, bans: tuple[Barred, ...]) -> None:
        self._put_or_hold(ITEM_BYTES + BARRED_BYTES * len(bans), Bans(bans), "", 1)

    def _put_or_hold(self, weight: int, item: Late, name: str, most: int) -> None:
        """Keep the newest of this kind and name: beside the queue where it has no place, for `most` of a kind."""
        writer, place = self._writer, (type(item), name)
        if place not in writer.late and self.waiting <= MAX_QUEUE_BYTES - COMMIT_BYTES:
            self._put(weight, item)
            return
        with writer.aside:
            others = 0 if place in writer.late else sum(kind is place[0] for kind, _ in writer.late)
            if others < most:
                writer.late[place] = item
            elif not self._crowded:
                self._crowded = True  # once is enough
                log.error("the hub's history cannot be written; not all rooms and nicks are kept until it can")
        self._wake()

    def _put(self, weight: int, item: Item) -> None:
        self._put_bytes += weight
        self._count += 1
        self._queue.append((weight, item))
        self._wake()

    def _wake(self) -> None:
        writer = self._writer
        if not writer.awake.is_set():
            writer.awake.set()
        if self._put_bytes - writer.done_bytes > COMMIT_BYTES and not writer.hurry.is_set():
            writer.hurry.set()

    def _drop(self, batch: Batch) -> None:
        """There is no place any more. The numbers of these lines were given out, so they must not be used again."""
        if not self._dropped:
            log.error("the hub's history cannot be written; what is said is not kept until it can")
        self._dropped += batch.count
        with self._writer.aside:
            self._writer.lost[batch.room, batch.epoch] = batch.first + batch.count - 1
        self._limit = min(self._limit, self._count)
        self._wake()

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        await self.settle()
        return await self._pages.ask(page, room, epoch, before, limit)

    @override
    async def sent_ids(self, room: str, epoch: str, limit: int) -> list[SentId]:
        await self.settle()
        return await self._pages.ask(sent_ids, room, epoch, limit)

    @override
    async def search(self, room: str, epoch: str, words: str, before: int = 0, limit: int = 50) -> Found:
        match = query_of(words)
        await self.settle()
        return await self._search.ask(search, room, epoch, match, before, limit)

    @override
    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        writer = self._writer
        if not writer.is_alive() and not writer.ident:
            writer.start()  # it was never loaded: let it close the file well
        # Readers first: the last connection to close folds the WAL into the file, and they may not write to it.
        await self._pages.aclose()
        await self._search.aclose()
        writer.ending.set()
        writer.hurry.set()
        writer.awake.set()
        await asyncio.to_thread(writer.join)
        self._release()
        self._lock.release()

    # ------------------------------------------------------------ durable acknowledgement

    @property
    def _stuck(self) -> bool:
        return self.settings.durable and min(self._limit, self._writer.limit) < NO_LIMIT

    @property
    @override
    def durable(self) -> bool:
        return self.settings.durable

    @property
    @override
    def appended(self) -> int:
        return NO_LIMIT if self._stuck else self._count

    @property
    @override
    def written(self) -> int:
        writer = self._writer
        return min(writer.settled, writer.limit, self._limit) if self.settings.durable else writer.settled

    async def settle(self) -> None:
        """Until what was handed over before is on disk, or the disk has failed; does not wait for more to gather."""
        if self._writer.settled >= self._count or self._writer.problem is not None or not self._writer.is_alive():
            return
        self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        self._waiters.append((self._count, future))
        self._writer.hurry.set()
        self._release()  # it may have been written just before the writer could know that somebody waits
        await future

    @override
    def watch(self, on_written: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_written = on_written

    def _told(self) -> None:
        """On the writer's thread: something is on disk, or cannot be."""
        if self._loop is not None and (self._waiters or self._on_written is not None):
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        settled = self._writer.settled
        failed = self._writer.problem is not None or not self._writer.is_alive()
        while self._waiters and (failed or self._waiters[0][0] <= settled):
            _, future = self._waiters.popleft()
            if not future.done():
                future.set_result(None)
        if self._on_written is not None:
            self._on_written()


def _keys(raw: bytes) -> tuple[PeerKey, ...]:
    return tuple(PeerKey(raw[at : at + KEY_BYTES]) for at in range(0, len(raw), KEY_BYTES))
