"""The one thread that writes a hub's history: group commits, and upkeep while nothing waits."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.errors import StoreError
from sandpiper.hub.history import Batch, KeptRoom
from sandpiper.hub.sqlite_lines import changes, pack
from sandpiper.hub.sqlite_schema import MAX_KEPT_NICKS, MAX_KEPT_ROOMS, HistorySettings
from sandpiper.hub.sqlite_upkeep import Upkeep
from sandpiper.store.damage import damage_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from sandpiper.wire.ids import PeerKey

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05  # lines gather so long before they are committed together: what a crash may take
COMMIT_BYTES = 4 * 1024 * 1024  # taken for one commit, which then takes some 50 ms
ROW_BYTES = 64 * 1024  # lines in one row: a page unpacks a row or two, and packing gains nothing beyond
RETRY_SECONDS = 1.0  # between tries to write on a disk that fails
LAST_TRIES = 3  # when the hub ends while the disk fails
IDLE_SECONDS = 0.1  # nothing has come for so long: time for upkeep
UPKEEP_SECONDS = 60.0  # between looks at whether anything has become too old
ROWS_AT_ONCE = 64  # in one statement: each statement waits for its turn to run Python

_LOST_SEQ = "UPDATE lives SET seq = max(seq, ?) WHERE n = ?"


class Nick(NamedTuple):
    """A nick that belongs to a key."""

    nick: str
    key: PeerKey


Item = Batch | KeptRoom | Nick


class _Row:
    """Batches of one room that follow each other, on their way into one row."""

    __slots__ = ("first", "last", "parts", "size", "ts")

    def __init__(self, batch: Batch) -> None:
        self.first = batch.first
        self.last = batch.first + batch.count - 1
        self.ts = batch.ts
        self.parts = [batch.raw]
        self.size = len(batch.raw)

    def add(self, batch: Batch) -> bool:
        """Take this batch in, too; False when it does not belong here."""
        if batch.first != self.last + 1 or self.size + len(batch.raw) > ROW_BYTES:
            return False
        self.last += batch.count
        self.ts = batch.ts
        self.parts.append(batch.raw)
        self.size += len(batch.raw)
        return True


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
        self.written = 0
        """Items that are on disk."""
        self.done_bytes = 0
        self.dropped = 0
        """Lines that this thread could not keep, whatever it tried."""
        self.problem: StoreError | None = None
        self._db = db
        self._settings = settings
        self._told = told
        self._lives: dict[tuple[str, str], int] = {}
        self._taken: list[tuple[int, Item]] = []
        self._clock = clock
        self._upkeep = Upkeep(db, settings, self._lives, clock)

    # ------------------------------------------------------------ its life

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
        late, lost = dict(self.late), dict(self.lost)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            stored = self._put([item for _, item in self._taken])
            self._put(late.values())
            for (room, epoch), last in lost.items():
                self._db.execute(_LOST_SEQ, (last, self._life(room, epoch)))
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
        for name, room in late.items():
            if self.late.get(name) is room:
                del self.late[name]
        for place, last in lost.items():
            if self.lost.get(place) == last:
                del self.lost[place]
        self._upkeep.stored(*stored)
        self._finished()
        if self.problem is not None:
            log.warning("the hub's history can be written again")
            self.problem = None
        self._told()
        return True

    def _finished(self) -> None:
        self.written += len(self._taken)
        self.done_bytes += sum(weight for weight, _ in self._taken)
        self._taken = []

    def _roll_back(self) -> None:
        self._lives.clear()
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _drop(self, exc: Exception) -> None:
        """Go on without what cannot be written on any disk: a bug of ours, or a file that another program changed."""
        lines = sum(item.count for _, item in self._taken if isinstance(item, Batch))
        log.error("%d lines of the hub's rooms cannot be kept: %s: %s", lines, type(exc).__name__, exc)
        self.dropped += lines
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

    def _put(self, items: Iterable[Item]) -> tuple[int, int]:
        """Write these within the transaction. Returns (rows, bytes) of lines."""
        rows: list[tuple[object, ...]] = []
        size = count = 0
        for item in self._gather(items):
            if isinstance(item, _RowOf):
                rows.append(self._row(item))
                size += len(rows[-1][-1])  # type: ignore[arg-type]
                count += 1
                if len(rows) == ROWS_AT_ONCE:
                    self._insert(rows)
                    rows = []
            else:
                self._insert(rows)
                rows = []
                if isinstance(item, KeptRoom):
                    self._keep_room(item)
                else:
                    self._keep_nick(item)
        self._insert(rows)
        return count, size

    @staticmethod
    def _gather(items: Iterable[Item]) -> Iterator[_RowOf | KeptRoom | Nick]:
        """Batches of a room that follow each other become one; rooms and nicks keep their place among them."""
        open_rows: dict[tuple[str, str], _Row] = {}
        for item in items:
            if type(item) is Batch:
                place = (item.room, item.epoch)
                row = open_rows.get(place)
                if row is None:
                    open_rows[place] = _Row(item)
                elif not row.add(item):
                    yield _RowOf(place, row)
                    open_rows[place] = _Row(item)
            else:
                yield from (_RowOf(place, row) for place, row in open_rows.items())
                open_rows = {}
                assert not isinstance(item, Batch)
                yield item
        yield from (_RowOf(place, row) for place, row in open_rows.items())

    def _row(self, item: _RowOf) -> tuple[object, ...]:
        life, row = self._life(*item.place), item.row
        raw = row.parts[0] if len(row.parts) == 1 else b"".join(row.parts)
        for change in changes(raw):
            if change.type == "edit":
                values = (life, change.id, change.seq, change.text)
                self._db.execute("INSERT OR REPLACE INTO edits VALUES (?, ?, ?, ?)", values)
                # An edit of what was retracted: to be erased as well.
                self._db.execute("UPDATE retracted SET erased = 0 WHERE life = ? AND id = ?", values[:2])
            else:
                self._db.execute("INSERT OR REPLACE INTO retracted (life, id) VALUES (?, ?)", (life, change.id))
        return (life, row.first, row.last, row.ts, *pack(raw))

    def _insert(self, rows: list[tuple[object, ...]]) -> None:
        if rows:
            places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(rows))
            self._db.execute(
                f"INSERT OR IGNORE INTO batches (life, first, last, ts, packed, raw) VALUES {places}",
                [value for row in rows for value in row],
            )

    def _life(self, room: str, epoch: str) -> int:
        life = self._lives.get((room, epoch))
        if life is None:
            if len(self._lives) >= MAX_KEPT_ROOMS:
                self._lives.clear()
            self._db.execute("INSERT OR IGNORE INTO lives (room, epoch) VALUES (?, ?)", (room, epoch))
            row = self._db.execute("SELECT n FROM lives WHERE room = ? AND epoch = ?", (room, epoch)).fetchone()
            life = self._lives[room, epoch] = row[0]
        return life

    def _keep_room(self, room: KeptRoom) -> None:
        db, now = self._db, int(self._clock())
        db.execute("UPDATE lives SET dead = 1 WHERE room = ? AND epoch IS NOT ?", (room.name, room.epoch))
        if room.closed:
            db.execute("UPDATE lives SET dead = 1 WHERE room = ?", (room.name,))
            db.execute("DELETE FROM rooms WHERE name = ?", (room.name,))
        else:
            self._life(room.name, room.epoch)
            db.execute(
                "INSERT OR REPLACE INTO rooms VALUES (?, ?, ?, ?, ?, ?, ?)",
                (room.name, room.epoch, room.topic, room.lock, b"".join(room.operators), room.slowmode, now),
            )
            self._make_place()
        self._upkeep.somebody_died()

    def _make_place(self) -> None:
        """Only so many rooms: those that nothing was said in for longest go."""
        over = self._db.execute("SELECT count(*) FROM rooms").fetchone()[0] - MAX_KEPT_ROOMS
        if over > 0:
            query = (
                "SELECT name FROM rooms r ORDER BY max(used, coalesce((SELECT ts FROM batches WHERE life ="
                " (SELECT n FROM lives WHERE room = r.name AND epoch = r.epoch) ORDER BY first DESC LIMIT 1), 0)) LIMIT ?"
            )
            for (name,) in self._db.execute(query, (over,)).fetchall():
                self._db.execute("DELETE FROM rooms WHERE name = ?", (name,))
                self._db.execute("UPDATE lives SET dead = 1 WHERE room = ?", (name,))

    def _keep_nick(self, nick: Nick) -> None:
        self._db.execute("DELETE FROM nicks WHERE nick = ?", (nick.nick,))
        self._db.execute("INSERT INTO nicks (nick, key) VALUES (?, ?)", nick)
        self._db.execute("DELETE FROM nicks WHERE n <= (SELECT max(n) FROM nicks) - ?", (MAX_KEPT_NICKS,))

    # ------------------------------------------------------------ upkeep

    def _look_after(self) -> None:
        """One piece of upkeep; a disk that fails is told by the next commit."""
        try:
            self._upkeep.step()
        except (sqlite3.Error, ValueError) as exc:
            self._roll_back()
            self._upkeep.rest()
            name = getattr(exc, "sqlite_errorname", "") or ""
            if name.startswith("SQLITE_CORRUPT"):
                assert isinstance(exc, sqlite3.Error)
                self._failed(exc)
            else:
                log.warning("upkeep of the hub's history has to wait: %s", exc)


class _RowOf(NamedTuple):
    place: tuple[str, str]
    row: _Row
