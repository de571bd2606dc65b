"""The one thread that writes a hub's history: group commits, and upkeep while nothing waits."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.errors import StoreError
from sandpiper.hub.history import Batch, KeptRoom
from sandpiper.hub.sqlite_rows import Lost, Rows
from sandpiper.hub.sqlite_upkeep import Upkeep
from sandpiper.store.damage import damage_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sandpiper.hub.sqlite_rows import Item, Late
    from sandpiper.hub.sqlite_schema import HistorySettings


log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05  # lines gather so long before they are committed together: what a crash may take
COMMIT_BYTES = 4 * 1024 * 1024  # taken for one commit, which then takes some 50 ms
RETRY_SECONDS = 1.0  # between tries to write on a disk that fails
LAST_TRIES = 3  # when the hub ends while the disk fails
IDLE_SECONDS = 0.1  # nothing has come for so long: time for upkeep
PAUSE_SECONDS = 0.01  # between two pieces of upkeep: nothing else on the machine should feel it
UPKEEP_SECONDS = 60.0  # between looks at whether anything has become too old
OVERDUE_SECONDS = 1.0  # a piece of upkeep waits no longer for a quiet moment: a fiftieth of the thread's time

NO_LIMIT = 1 << 62


class Writer(threading.Thread):
    """Writes what is in `queue`, in order; `told` is called, on this thread, after each commit and each failure.

    The counters are each changed by one thread only and read by others, which needs no lock.
    """

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        settings: HistorySettings,
        told: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name="hub-history", daemon=True)
        self.path = path
        self.queue: deque[tuple[int, Item]] = deque()
        """With what each counts in bytes."""
        self.late: dict[tuple[type, str], Late] = {}
        """What had no place in the queue, as it is now: a lock must not be lost, nor a ban. By kind and name."""
        self.lost: dict[tuple[str, str], int] = {}
        """The last number of each room that was dropped."""
        self.aside = threading.Lock()
        """Held by whoever changes `late` or `lost`: both threads do."""
        self.awake = threading.Event()
        self.hurry = threading.Event()
        """Somebody waits: do not gather."""
        self.ending = threading.Event()
        self.settled = 0
        """Items that are on disk, or never will be."""
        self.limit = NO_LIMIT
        """Of the items up to this one, all that are settled are on disk."""
        self.done_bytes = 0
        self.dropped = 0
        """Lines that this thread could not keep, whatever it tried."""
        self.problem: StoreError | None = None
        self._db = db
        self._settings = settings
        self._told = told
        self._rows = Rows(db, clock, settings.keep_rooms)
        self._taken: list[tuple[int, Item]] = []
        self._left_out: list[tuple[Item, Exception]] = []  # of this commit
        self._looked = time.monotonic()
        self._upkeep = Upkeep(db, settings, self._rows.lives, clock)

    # ------------------------------------------------------------ its life

    @override
    def run(self) -> None:
        """Until `ending` is set and all is written."""
        try:
            while self._turn():
                pass
            self._end()
        except Exception as exc:
            log.exception("the hub's history has stopped")
            self.problem = StoreError(f"The hub's history has stopped ({type(exc).__name__}).", hint="Start it again.")
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._told()

    def _turn(self) -> bool:
        """Write once, or do a piece of upkeep; False when it is time to end."""
        waits = IDLE_SECONDS if self._upkeep.wanted else UPKEEP_SECONDS
        if not self.ending.is_set() and not self.awake.wait(waits):
            self._look_after()
            while self._upkeep.wanted and not self.awake.wait(PAUSE_SECONDS):
                self._look_after()
            return True
        if not self._settings.durable:  # else the disk takes long enough for lines to gather
            self.hurry.wait(GATHER_SECONDS)
        self.awake.clear()
        self.hurry.clear()
        while self.queue or self._taken or self.late or self.lost:
            if not self._write():
                tries = LAST_TRIES
                while self.ending.is_set() and tries and not self._write():
                    tries -= 1
                    time.sleep(RETRY_SECONDS / LAST_TRIES)
                if self.ending.is_set():
                    break
                self.ending.wait(RETRY_SECONDS)
            elif self._upkeep.pressing or self._overdue:
                self._look_after()
        return not self.ending.is_set()

    def _end(self) -> None:
        left = sum(item.count for _, item in (*self._taken, *self.queue) if isinstance(item, Batch))
        if left:
            log.error("%d lines of the hub's rooms could not be written", left)
            self.dropped += left
            return
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("UPDATE state SET clean = 1")
            self._db.execute("PRAGMA optimize")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # ------------------------------------------------------------ writing

    def _write(self) -> bool:
        """Commit what waits, or the first part of it; False when the disk does not take it."""
        size = sum(weight for weight, _ in self._taken)
        while size < COMMIT_BYTES and self.queue:
            weight, item = self.queue.popleft()
            self._taken.append((weight, item))
            size += weight
        with self.aside:
            # Not before older ones of the same rooms that are in the queue.
            late, lost = ({}, {}) if self.queue else (self.late.copy(), self.lost.copy())
        items: list[Item] = [item for _, item in self._taken]
        items += late.values()
        items += [Lost(*place, last) for place, last in lost.items()]
        try:
            stored = self._commit(items)
        except Exception as exc:  # noqa: BLE001 - one thing that cannot be kept must not keep all others from it
            self._roll_back()
            if _of_the_disk(exc):
                self._failed(exc)
                return False
            try:
                stored = self._commit(items, one_by_one=True)
            except Exception as again:  # noqa: BLE001 - it is none of these: later it may go
                self._roll_back()
                self._failed(again)
                return False
        with self.aside:
            for place, item in late.items():
                if self.late[place] is item:
                    del self.late[place]
            for room, last in lost.items():
                if self.lost[room] == last:
                    del self.lost[room]
        self._upkeep.stored(*stored)
        if any(type(item) is KeptRoom for item in items):
            self._upkeep.rooms_changed()
        self._note_left_out()
        if self.problem is not None:  # before it shows that nothing waits
            log.warning("the hub's history can be written again")
            self.problem = None
        self.settled += len(self._taken)
        self.done_bytes += sum(weight for weight, _ in self._taken)
        self._taken = []
        self._told()
        return True

    def _commit(self, items: Sequence[Item], *, one_by_one: bool = False) -> tuple[int, int]:
        """Have these on disk. Returns (rows, bytes) of lines."""
        self._left_out = []
        self._db.execute("BEGIN IMMEDIATE")
        stored = self._sift(items) if one_by_one else self._rows.put(items)
        self._db.execute("COMMIT")
        return stored

    def _sift(self, items: Sequence[Item]) -> tuple[int, int]:
        """Write these but for what cannot be written on any disk (a bug of ours, or a file that another program
        changed), which is found by halves: hardly ever is there more than one.
        """
        self._db.execute("SAVEPOINT sift")
        try:
            stored = self._rows.put(items)
        except Exception as exc:
            if _of_the_disk(exc):
                raise
            self._rows.lives.clear()
            self._db.execute("ROLLBACK TO sift")
            self._db.execute("RELEASE sift")
            if len(items) > 1:
                middle = len(items) // 2
                halves = [self._sift(half) for half in (items[:middle], items[middle:])]
                return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]
            self._left_out.append((items[0], exc))
            if isinstance(items[0], Batch):
                batch = items[0]
                return self._sift([Lost(batch.room, batch.epoch, batch.first + batch.count - 1)])
            return 0, 0
        self._db.execute("RELEASE sift")
        return stored

    def _note_left_out(self) -> None:
        """Count and log what this commit could not keep, and have no line of it acknowledged."""
        if not self._left_out:
            return
        exc = self._left_out[0][1]
        batches = [item for item, _ in self._left_out if isinstance(item, Batch)]
        others = sum(not isinstance(item, Batch | Lost) for item, _ in self._left_out)
        lines = sum(batch.count for batch in batches)
        log.error(
            "%d lines of the hub's rooms and %d other things cannot be kept: %s: %s",
            lines, others, type(exc).__name__, exc,
        )  # fmt: skip
        self.dropped += lines
        if batches:
            before = next(at for at, (_, item) in enumerate(self._taken) if item is batches[0])
            self.limit = min(self.limit, self.settled + before)

    def _roll_back(self) -> None:
        self._rows.lives.clear()
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _failed(self, exc: Exception) -> None:
        """Say once what is wrong, until it is well again."""
        name = getattr(exc, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            with contextlib.suppress(OSError):
                damage_note(self.path).touch()
            problem = StoreError(
                f"The hub's history {self.path} is damaged ({exc}); what is said now is not kept.",
                hint="Start the hub again: the damaged file is kept aside and a new one begins.",
                code="damaged",
            )
        else:
            full = name.startswith("SQLITE_FULL")
            problem = StoreError(
                f"The hub's history {self.path} cannot be written ({exc}).",
                hint=f"{'Make room on the disk' if full else 'Look after the disk'}; the hub tries again by itself.",
                code="disk_full" if full else "not_writable",
            )
        if self.problem is None or self.problem.code != problem.code:
            log.error("%s", problem.sentence())
        self.problem = problem
        self._told()

    # ------------------------------------------------------------ upkeep

    @property
    def _overdue(self) -> bool:
        """Upkeep has waited so long for a quiet moment that there may be none."""
        return self._upkeep.wanted and time.monotonic() - self._looked >= OVERDUE_SECONDS

    def _look_after(self) -> None:
        """One piece of upkeep; a disk that fails is told by the next commit."""
        self._looked = time.monotonic()
        try:
            self._upkeep.step()
        except (sqlite3.Error, ValueError) as exc:
            self._roll_back()
            self._upkeep.rest()
            name = getattr(exc, "sqlite_errorname", "") or ""
            if isinstance(exc, sqlite3.Error) and name.startswith("SQLITE_CORRUPT"):
                self._failed(exc)
            else:
                log.warning("upkeep of the hub's history has to wait: %s", exc)


def _of_the_disk(exc: Exception) -> bool:
    """Whether this is about the disk or the file, not about what was to be written."""
    return isinstance(exc, sqlite3.DatabaseError) and not isinstance(
        exc, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.ProgrammingError
    )
