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
from sandpiper.hub.sqlite_rows import Rows
from sandpiper.hub.sqlite_upkeep import Upkeep
from sandpiper.store.damage import damage_note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandpiper.hub.sqlite_rows import Item
    from sandpiper.hub.sqlite_schema import HistorySettings


log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05  # lines gather so long before they are committed together: what a crash may take
COMMIT_BYTES = 4 * 1024 * 1024  # taken for one commit, which then takes some 50 ms
RETRY_SECONDS = 1.0  # between tries to write on a disk that fails
LAST_TRIES = 3  # when the hub ends while the disk fails
IDLE_SECONDS = 0.1  # nothing has come for so long: time for upkeep
PAUSE_SECONDS = 0.01  # between two pieces of upkeep: nothing else on the machine should feel it
UPKEEP_SECONDS = 60.0  # between looks at whether anything has become too old

NO_LIMIT = 1 << 62

_LOST_SEQ = "UPDATE lives SET seq = max(seq, ?) WHERE n = ?"


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
        self.late: dict[str, KeptRoom] = {}
        """Rooms that had no place in the queue, as they are now: a lock must not be lost."""
        self.lost: dict[tuple[str, str], int] = {}
        """The last number of each room that was dropped."""
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
        self._rows = Rows(db, clock)
        self._taken: list[tuple[int, Item]] = []
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
            elif self._upkeep.pressing:
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
        # Not before older ones of the same rooms that are in the queue.
        late, lost = ({}, {}) if self.queue else (dict(self.late), dict(self.lost))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            stored = self._rows.put([item for _, item in self._taken])
            self._rows.put(late.values())
            for (room, epoch), last in lost.items():
                self._db.execute(_LOST_SEQ, (last, self._rows.life(room, epoch)))
            self._db.execute("COMMIT")
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as exc:
            self._roll_back()
            if not isinstance(exc, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.ProgrammingError):
                self._failed(exc)
                return False
            self._drop(exc)
            return True
        except Exception as exc:  # noqa: BLE001 - one thing that cannot be kept must not keep all others from it
            self._roll_back()
            self._drop(exc)
            return True
        for name, kept in late.items():
            if (newer := self.late.pop(name)) is not kept:
                self.late.setdefault(name, newer)
        for place, last in lost.items():
            if self.lost.get(place) == last:
                del self.lost[place]
        self._upkeep.stored(*stored)
        if late or any(type(item) is KeptRoom for _, item in self._taken):
            self._upkeep.rooms_changed()
        self._finished()
        if self.problem is not None:
            log.warning("the hub's history can be written again")
            self.problem = None
        self._told()
        return True

    def _finished(self) -> None:
        self.settled += len(self._taken)
        self.done_bytes += sum(weight for weight, _ in self._taken)
        self._taken = []

    def _roll_back(self) -> None:
        self._rows.lives.clear()
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _drop(self, exc: Exception) -> None:
        """Go on without what cannot be written on any disk: a bug of ours, or a file that another program changed."""
        lines = sum(item.count for _, item in self._taken if isinstance(item, Batch))
        log.error("%d lines of the hub's rooms cannot be kept: %s: %s", lines, type(exc).__name__, exc)
        self.dropped += lines
        if lines:
            self.limit = min(self.limit, self.settled)
        self._finished()
        self.late.clear()
        self.lost.clear()
        self._told()

    def _failed(self, exc: sqlite3.Error) -> None:
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

    def _look_after(self) -> None:
        """One piece of upkeep; a disk that fails is told by the next commit."""
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
