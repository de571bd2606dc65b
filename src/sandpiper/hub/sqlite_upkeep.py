"""Looking after a hub's history in small pieces: the search index, erasing what was retracted, and retention.

All on the writer's thread; each step is one transaction, short enough for lines that come meanwhile to wait for.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import MsgspecError

from sandpiper.hub.sqlite_lines import WITH_TEXT, pack, texts, unpack, with_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from sandpiper.hub.sqlite_schema import HistorySettings

STEP_BYTES = 32 * 1024  # lines (packed) that are indexed or removed in one step: some 20 ms
STEP_ROWS = 512  # the same for rows of a line or two
MAX_UNINDEXED = 16 * 1024 * 1024  # bytes (packed) that wait for the index before it takes its turn between commits
VACUUM_PAGES = 256  # given back to the system in one step
SPARE_PAGES = 1024  # empty pages that stay for what is written next: 4 MiB
ERASE_AT_ONCE = 64  # retracted messages in one step: each rewrites a row
REST_STEPS = 10  # pieces of upkeep left out after one that failed
MERGE_AFTER = 100_000  # lines removed before the index is put together, so that their words give their place back
MERGE_PAGES = 200  # of the index, in one step of that

_DELETE_WORDS = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)"


class Upkeep:
    """What is to be done, and the next piece of it."""

    def __init__(
        self,
        db: sqlite3.Connection,
        settings: HistorySettings,
        lives: dict[tuple[str, str], int],
        clock: Callable[[], float],
    ) -> None:
        self._db = db
        self._settings = settings
        self._lives = lives  # the writer's: lives that end are taken out
        self._clock = clock
        self._indexed: int = db.execute("SELECT indexed FROM state").fetchone()[0]
        self._bytes: int = db.execute("SELECT coalesce(sum(length(raw)), 0) FROM batches").fetchone()[0]
        self._unindexed: int = db.execute(
            "SELECT coalesce(sum(length(raw)), 0) FROM batches WHERE n > ?", (self._indexed,)
        ).fetchone()[0]
        self._dead = True  # there may be lives whose lines are to be removed
        self._erase = True
        self._removed = 0  # words of so many lines were taken out of the index and still have their place in it
        self._merging = False
        self._vacuum = True
        self._resting = 0
        self._kinds = deque((self._erase_retracted, self._remove_or_index))
        self.wanted = True
        """There is something to do, or may be."""

    @property
    def pressing(self) -> bool:
        """Something must not wait any longer for a quiet moment."""
        return self._too_large or self._unindexed > MAX_UNINDEXED

    @property
    def _too_large(self) -> bool:
        return self._bytes > self._settings.keep_bytes

    def stored(self, rows: int, size: int) -> None:
        """So much was written."""
        self._bytes += size
        self._unindexed += size
        if rows:
            self._erase = self.wanted = True

    def rooms_changed(self) -> None:
        """A room may have been closed or made anew."""
        self._dead = self.wanted = True

    def rest(self) -> None:
        """A piece has failed: leave it for a while."""
        self._resting = REST_STEPS

    def step(self) -> None:
        """The next piece: of what keeps the file within its bounds, else erasing and all other work in turn, so that
        no amount of one keeps the other waiting.
        """
        if self._resting:
            self._resting -= 1
            return
        urgent = self._too_large and self._remove_too_much()
        self.wanted = urgent or any(self._next() for _ in range(len(self._kinds)))

    def _next(self) -> bool:
        """A piece of the kind that has waited longer; False when there is nothing of it."""
        kind = self._kinds[0]
        self._kinds.rotate(-1)
        return kind()

    def _remove_or_index(self) -> bool:
        # In this order: what is not in the index yet need not be taken out of it.
        return self._remove_too_much() or self._remove_dead() or self._index() or self._tidy()

    # ------------------------------------------------------------ the index

    def _index(self) -> bool:
        db = self._db
        rows = db.execute(
            "SELECT n, life, packed, raw FROM batches WHERE n > ? ORDER BY n LIMIT ?", (self._indexed, STEP_ROWS)
        )
        taken, last, entries = 0, 0, []
        for n, life, packed, raw in rows:
            entries += _texts(life, packed, raw)
            taken += len(raw)
            last = n
            if taken >= STEP_BYTES:
                break
        rows.close()
        if not last:
            self._unindexed = 0
            return False
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", entries)
        db.execute("UPDATE state SET indexed = ?", (last,))
        db.execute("COMMIT")
        self._indexed = last
        self._unindexed = max(0, self._unindexed - taken)
        return True

    # ------------------------------------------------------------ retracted

    def _erase_retracted(self) -> bool:
        """Take retracted texts out of the rows, the edits and the index."""
        if not self._erase:
            return False
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        ids = db.execute("SELECT life, id FROM retracted WHERE NOT erased LIMIT ?", (ERASE_AT_ONCE,)).fetchall()
        rows: dict[int, set[int]] = {}
        for life, id_ in ids:
            edits = db.execute("SELECT seq FROM edits WHERE life = ? AND id = ? AND text != ''", (life, id_))
            for seq in (id_, *(seq for (seq,) in edits)):
                row = db.execute(
                    "SELECT n, last FROM batches WHERE life = ? AND first <= ? ORDER BY first DESC LIMIT 1", (life, seq)
                ).fetchone()
                if row is not None and row[1] >= seq:
                    rows.setdefault(row[0], set()).add(seq)
        for n, seqs in rows.items():
            self._blank(n, seqs)
        db.executemany("UPDATE edits SET text = '' WHERE life = ? AND id = ?", ids)
        db.executemany("UPDATE retracted SET erased = 1 WHERE life = ? AND id = ?", ids)
        db.execute("COMMIT")
        self._erase = len(ids) == ERASE_AT_ONCE
        return bool(ids)

    def _blank(self, n: int, seqs: set[int]) -> None:
        db = self._db
        life, first, packed, raw = db.execute(
            "SELECT life, first, packed, raw FROM batches WHERE n = ?", (n,)
        ).fetchone()
        lines = unpack(packed, raw).splitlines()
        for seq in seqs:
            if seq - first < len(lines):
                line = lines[seq - first]
                if n <= self._indexed:
                    db.executemany(_DELETE_WORDS, texts(life, line))
                if line.startswith(WITH_TEXT):
                    lines[seq - first] = with_text(line, "")
        packed, new = pack(b"\n".join(lines) + b"\n")
        db.execute("UPDATE batches SET packed = ?, raw = ? WHERE n = ?", (packed, new, n))
        self._bytes += len(new) - len(raw)

    # ------------------------------------------------------------ retention

    def _remove_too_much(self) -> bool:
        oldest = self._db.execute("SELECT ts FROM batches ORDER BY n LIMIT 1").fetchone()
        if oldest is None:
            self._bytes = 0
            return False
        if self._too_large:
            return self._remove("ORDER BY n", (), float("inf"))
        before = self._clock() - self._settings.keep_seconds
        return bool(oldest[0] < before) and self._remove("ORDER BY n", (), before)

    def _remove_dead(self) -> bool:
        """Remove lines of rooms that are no more, and then what is left of these rooms."""
        if not self._dead:
            return False
        life = self._db.execute("SELECT n, room, epoch FROM lives WHERE dead LIMIT 1").fetchone()
        if life is None:
            self._dead = False
            return False
        if not self._remove("WHERE life = ? ORDER BY first", life[:1], float("inf")):
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("edits", "retracted"):
                self._db.execute(f"DELETE FROM {table} WHERE life = ?", life[:1])
            self._db.execute("DELETE FROM lives WHERE n = ?", life[:1])
            self._db.execute("COMMIT")
            self._lives.pop((life[1], life[2]), None)
        return True

    def _remove(self, which: str, values: tuple[int, ...], before: float) -> bool:
        """Remove the first of these rows, as long as they are from `before`; False when there are none."""
        db = self._db
        rows = db.execute(f"SELECT n, life, last, ts, packed, raw FROM batches {which} LIMIT ?", (*values, STEP_ROWS))
        gone, entries, ends, size = [], [], {}, 0
        for n, life, last, ts, packed, raw in rows:
            over = before < float("inf") or values or self._bytes - size > self._settings.keep_bytes
            if ts >= before or not over or size >= STEP_BYTES:
                break
            gone.append((n,))
            ends[life] = last
            size += len(raw)
            if n <= self._indexed:
                entries += _texts(life, packed, raw)
        rows.close()
        if not gone:
            return False
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_DELETE_WORDS, entries)
        db.executemany("DELETE FROM batches WHERE n = ?", gone)
        for life, last in ends.items():
            db.execute("UPDATE lives SET seq = max(seq, ?) WHERE n = ?", (last, life))
            for table in ("edits", "retracted"):
                db.execute(f"DELETE FROM {table} WHERE life = ? AND id <= ?", (life, last))
        db.execute("COMMIT")
        self._bytes -= size
        if gone[-1][0] > self._indexed:
            self._unindexed = max(0, self._unindexed - size)
        self._removed += len(entries)
        self._vacuum = True
        return True

    def _tidy(self) -> bool:
        """Put the index together and give empty pages back to the system; False when there is no more to do."""
        db = self._db
        if self._removed >= MERGE_AFTER or self._merging:
            # FTS5's own way: a negative number begins to put everything together, positive ones go on, and fewer than
            # two changes mean that it is done.
            before = db.total_changes
            pages = MERGE_PAGES if self._merging else -MERGE_PAGES
            db.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
            self._merging = not self._merging or db.total_changes - before >= 2
            self._removed = 0
            self._vacuum = True
            return True
        if self._vacuum:
            free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
            self._vacuum = free > SPARE_PAGES
            if self._vacuum:
                # Not `execute`, which would stop at the first page.
                db.executescript(f"PRAGMA incremental_vacuum({min(VACUUM_PAGES, free - SPARE_PAGES)})")
                return True
        return False


def _texts(life: int, packed: int, raw: bytes) -> list[tuple[int, str]]:
    """What the index holds of a row; FTS5 must be told the same again to remove it."""
    try:
        return list(texts(life, unpack(packed, raw)))
    except (ValueError, MsgspecError):
        return []  # a row that cannot be read is in nobody's way
