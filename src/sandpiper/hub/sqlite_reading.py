"""Reading a hub's history: pages and search, each on a thread and a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from msgspec import MsgspecError

from sandpiper.errors import StoreError, UsageError
from sandpiper.hub.history import Found, LinesBefore, SentId, newest_ids
from sandpiper.hub.sqlite_lines import WITH_TEXT, texts, unpack, with_text
from sandpiper.hub.sqlite_schema import SEQ_BITS
from sandpiper.store.damage import BUSY_MS, connect, damage_note, damaged, sql_errors
from sandpiper.store.schema import TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Concatenate

    P = ParamSpec("P")
    T = TypeVar("T")

SCAN_BYTES = 4 * 1024 * 1024  # lines not indexed yet that one search looks at: a third of a second
IDS_BYTES = 16 * 1024 * 1024  # lines that are looked at for their senders' ids: a tenth of a second, once a room
MAX_HITS = 5000  # of the index that one search looks at: stale ones are passed over
MAX_WORDS = 16  # in one search: more is a pasted text
MAX_WAITING = 16  # questions that wait for one thread: more are refused as busy

_AFTER_ALL = 1 << SEQ_BITS  # more than any number of a line in the index
_LIFE = "SELECT n FROM lives WHERE room = ? AND epoch = ? AND NOT dead"
_ROW = "SELECT first, last, packed, raw FROM batches WHERE life = ? AND first <= ? ORDER BY first DESC LIMIT 1"


class Desk:
    """One reader: a thread, and a connection that only it uses."""

    def __init__(self, path: Path, name: str, most: int = MAX_WAITING) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._db: sqlite3.Connection | None = None
        self._most = most
        self._waiting = 0

    async def ask(
        self, question: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Have `question` answered on the thread.

        Raises:
            StoreError: it cannot be, or (`busy`) too many wait.
        """
        if self._waiting >= self._most:
            raise StoreError("Too many want to read the history; try again.", code="busy")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: self._answer(lambda db: question(db, *args, **kwargs))
            )
        finally:
            self._waiting -= 1

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with sql_errors(self._path, "reading it"):
                if self._db is None:
                    self._db = connect(self._path, "ro")
                    self._db.isolation_level = None
                    self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
                    self._db.execute("PRAGMA temp_store = MEMORY")
                self._db.execute("BEGIN")  # what one question reads is of one moment
                try:
                    return question(self._db)
                finally:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
        except (LookupError, TypeError, ValueError, MsgspecError) as exc:
            error = damaged(self._path, f"{type(exc).__name__}: {exc}")
            self._note(error)
            raise error from exc
        except StoreError as exc:
            self._note(exc)
            raise

    def _note(self, error: StoreError) -> None:
        """Have the next start keep a damaged file aside."""
        if error.code == "damaged":
            with contextlib.suppress(OSError):
                damage_note(self._path).touch()

    async def aclose(self) -> None:
        """Wait for what is being read, and let go of the file."""

        def close() -> None:
            if self._db is not None:
                self._db.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)


def page(db: sqlite3.Connection, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
    """The newest `limit` lines before number `before` (0: the newest of all), as their texts are now."""
    life = _life(db, room, epoch)
    if life is None or limit < 1:
        return LinesBefore((), False)
    rows = db.execute(
        "SELECT first, packed, raw FROM batches WHERE life = ? AND first < ? ORDER BY first DESC",
        (life, before or 1 << 62),
    )
    found: list[tuple[int, bytes]] = []
    with contextlib.closing(rows):
        for first, packed, raw in rows:
            lines = unpack(packed, raw).splitlines()
            if before:
                del lines[max(0, before - first) :]
            found[:0] = enumerate(lines, first)
            if len(found) > limit:
                break
    more = len(found) > limit
    return LinesBefore(tuple(_current(db, life, found[-limit:])), more)


def _current(db: sqlite3.Connection, life: int, lines: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
    """Lines with the texts that later edits gave them; those of retracted messages have none."""
    if not lines:
        return
    span = (life, lines[0][0], lines[-1][0])
    new: dict[int, str] = {
        id_: text
        for id_, _, text in db.execute(
            "SELECT id, max(seq), text FROM edits WHERE life = ? AND id BETWEEN ? AND ? GROUP BY id", span
        )
    }
    new |= {id_: "" for (id_,) in db.execute("SELECT id FROM retracted WHERE life = ? AND id BETWEEN ? AND ?", span)}
    new |= {
        seq: ""
        for (seq,) in db.execute(
            "SELECT e.seq FROM edits e JOIN retracted r ON r.life = e.life AND r.id = e.id"
            " WHERE e.life = ? AND e.seq BETWEEN ? AND ?",
            span,
        )
    }
    for seq, line in lines:
        text = new.get(seq)
        yield line if text is None or not line.startswith(WITH_TEXT) else with_text(line, text)


def sent_ids(db: sqlite3.Connection, room: str, epoch: str, limit: int) -> list[SentId]:
    """The newest `limit` messages of a room that have an id of their sender, oldest first; those in `IDS_BYTES`."""
    life = _life(db, room, epoch)
    if life is None:
        return []
    rows = db.execute("SELECT packed, raw FROM batches WHERE life = ? ORDER BY first DESC", (life,))

    def newest() -> Iterator[bytes]:
        left = IDS_BYTES
        for packed, raw in rows:
            lines = unpack(packed, raw)
            yield lines
            left -= len(lines)
            if left <= 0:
                return

    with contextlib.closing(rows):
        return newest_ids(newest(), limit)


def query_of(words: str) -> str:
    """What FTS5 is asked: all words, the last of which may be a beginning.

    Raises:
        UsageError: there is nothing to search for, or too much.
    """
    words = words.replace("\0", " ").encode(errors="replace").decode()  # neither can be in what SQLite is asked
    terms = ['"' + word.replace('"', '""') + '"' for word in words.split()]
    if not terms:
        raise UsageError("There is nothing to search for.", hint="Name a word.")
    if len(terms) > MAX_WORDS:
        raise UsageError(f"These are too many words to search for; {MAX_WORDS} are enough.")
    return " ".join(terms) + "*"


def search(db: sqlite3.Connection, room: str, epoch: str, match: str, before: int, limit: int) -> Found:
    """The newest messages that match; see `Found`."""
    life = _life(db, room, epoch)
    if life is None or limit < 1:
        return Found((), False, 0, True)
    hits = _Hits(db, life, match, min(before or _AFTER_ALL, _AFTER_ALL))  # beyond it other rooms begin
    finder = _Finder(db, life)
    found: dict[int, bytes] = {}
    last = 0
    for seq in hits:
        if len(found) >= limit:
            return Found(tuple(found.values()), True, last, hits.whole)
        last = seq
        message = finder.message(seq)
        if message is not None:
            found.setdefault(*message)
    return Found(tuple(found.values()), hits.cut, last if hits.cut else 0, hits.whole)


class _Hits:
    """Numbers of the lines that match, newest first: those not indexed yet, then those of the index.

    What is not indexed was written later than all that is: so it is in each room, too.
    """

    def __init__(self, db: sqlite3.Connection, life: int, match: str, before: int) -> None:
        self._db = db
        self._life = life
        self._match = match
        self._before = before
        self.whole = True
        self.cut = False
        """There may be more, but this was enough work for one search."""

    def __iter__(self) -> Iterator[int]:
        base = self._life << SEQ_BITS
        yield from self._of_the_newest(base)
        query = "SELECT rowid FROM words WHERE words MATCH ? AND rowid > ? AND rowid < ? ORDER BY rowid DESC"
        rows = self._db.execute(query, (self._match, base, base + self._before))
        with contextlib.closing(rows):
            for count, (rowid,) in enumerate(rows, 1):
                yield rowid - base
                if count == MAX_HITS:
                    self.cut = True
                    return

    def _of_the_newest(self, base: int) -> list[int]:
        db = self._db
        rows = db.execute(
            "SELECT packed, raw FROM batches WHERE life = ? AND first < ?"
            " AND n > (SELECT indexed FROM state) ORDER BY first DESC",
            (self._life, self._before),
        )
        entries: list[tuple[int, str]] = []
        left = SCAN_BYTES
        with contextlib.closing(rows):
            for packed, raw in rows:
                if left <= 0:
                    self.whole = False
                    break
                lines = unpack(packed, raw)
                left -= len(lines)
                entries += texts(self._life, lines)
        if not entries:
            return []
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.newest USING fts5 (text, content='', {TOKENIZER})")
        # The transaction is rolled back, and these with it.
        db.executemany("INSERT INTO temp.newest (rowid, text) VALUES (?, ?)", entries)
        found = db.execute(
            "SELECT rowid FROM temp.newest WHERE newest MATCH ? AND rowid < ? ORDER BY rowid DESC",
            (self._match, base + self._before),
        )
        return [rowid - base for (rowid,) in found]


class _Finder:
    """Messages by the numbers of lines that have their text."""

    def __init__(self, db: sqlite3.Connection, life: int) -> None:
        self._db = db
        self._life = life
        self._row = _Row(0, -1, [])

    def message(self, seq: int) -> tuple[int, bytes] | None:
        """(number, line as it is now) of the message whose text is in line `seq`; None when it has another text by
        now, was retracted, or is too old to be here.
        """
        edit = self._db.execute("SELECT id FROM edits WHERE life = ? AND seq = ?", (self._life, seq)).fetchone()
        id_ = seq if edit is None else edit[0]
        if self._db.execute("SELECT 1 FROM retracted WHERE life = ? AND id = ?", (self._life, id_)).fetchone():
            return None
        newest = self._db.execute(
            "SELECT seq, text FROM edits WHERE life = ? AND id = ? ORDER BY seq DESC LIMIT 1", (self._life, id_)
        ).fetchone()
        if newest is not None and newest[0] != seq:
            return None
        line = self._line(id_)
        if line is None or not line.startswith(b'{"type":"msg"'):
            return None
        return id_, line if newest is None else with_text(line, newest[1])

    def _line(self, seq: int) -> bytes | None:
        if not self._row.first <= seq <= self._row.last:
            row = self._db.execute(_ROW, (self._life, seq)).fetchone()
            if row is None or row[1] < seq:
                return None
            self._row = _Row(row[0], row[1], unpack(row[2], row[3]).splitlines())
        return self._row.lines[seq - self._row.first]


class _Row(NamedTuple):
    first: int
    last: int
    lines: list[bytes]


def _life(db: sqlite3.Connection, room: str, epoch: str) -> int | None:
    row = db.execute(_LIFE, (room, epoch)).fetchone()
    return None if row is None else int(row[0])
