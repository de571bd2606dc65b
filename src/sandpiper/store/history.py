"""The history file: keeps every accepted record, and gives the engine and other peers back what they ask for.

One writer (the node, in its own thread of control); faces read through `sandpiper.store.reader`. Appends gather in
one transaction until `commit`, which never waits for the disk: WAL with synchronous=NORMAL survives `kill -9` at any
moment, and checkpoints run on a thread of their own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from typing_extensions import override

from sandpiper.core.events import Append, SaveRoom, StoredLog, StoredRoom
from sandpiper.crypto.rooms import RoomSecret
from sandpiper.crypto.signing import reopen_record
from sandpiper.errors import RemoteProtocolError, StoreError
from sandpiper.store.codes import CodesKept
from sandpiper.store.damage import BUSY_MS, check, connect, damage_note, damaged, move_aside, sql_errors
from sandpiper.store.hubs import HubPlaces
from sandpiper.store.judging import Judging
from sandpiper.store.marks import Marks
from sandpiper.store.schema import LAST_INDEXED, migrate
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_BATCH_BYTES
from sandpiper.wire.records import Edit, Head, Profile, React, Record, Retract, Text, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHECKPOINT_EVERY = 1000  # records and transactions before the WAL is folded into the file: some 4 to 16 MiB
MAX_REACTIONS = 16  # of one author on one message: more is a flood, and every page reads them all
INDEX_FROM = 256  # messages that wait before they are added to the search index together

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA busy_timeout = {BUSY_MS}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = FAST",
    "PRAGMA cache_size = -4096",
)


class Opened(Struct, frozen=True):
    """How opening went: `damaged` is where a damaged file was moved to, if it was."""

    history: History
    damaged: Path | None


class History(Marks, HubPlaces, Judging, CodesKept):
    """A profile's `history.db`, opened for writing. Not thread-safe: one owner."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; see `open_history` for what damaged files get.

        Raises:
            StoreError: it cannot be opened, or is damaged.
        """
        self.path = path
        self._rooms: dict[bytes, int] = {}
        self._authors: dict[bytes, int] = {}
        self._last_message = 0
        self._last_indexed = 0
        self._dirty = False
        self._new_records: list[tuple[int, int, bool, int, bytes, int, bytes]] = []
        self._new_messages: list[tuple[int, int, bytes, int, int, int, str, bool, bytes]] = []
        self._appended = 0
        self._checkpoint: threading.Thread | None = None
        self._preloaded: list[StoredRoom] | None = None
        with sql_errors(path, "opening it"):
            check(path)
            # SQLite makes the files beside it with the rights that this one has.
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                os.chmod(path, 0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                for pragma in _PRAGMAS:
                    self._db.execute(pragma)
                migrate(self._db)
                self._remember()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Commit and close; the file then stands alone, without a WAL beside it."""
        try:
            self.commit()
            with contextlib.suppress(StoreError):  # not needed: whoever searches indexes the newest by itself
                with self._writing("closing it"):
                    self._index()
                self.commit()
        finally:
            if self._checkpoint is not None:
                self._checkpoint.join()
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA optimize")
            self._db.close()

    @override
    @contextlib.contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        """When anything goes wrong, all since the last commit is forgotten: SQLite may have done so by itself."""
        try:
            with sql_errors(self.path, doing):
                yield
        except BaseException as exc:
            self._note_damage(exc)
            self.rollback()
            raise

    @override
    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with sql_errors(self.path, "reading it"):
                yield
        except (LookupError, TypeError, ValueError, RemoteProtocolError) as exc:
            error = damaged(self.path, f"{type(exc).__name__}: {exc}")
            self._note_damage(error)
            raise error from exc
        except StoreError as exc:
            self._note_damage(exc)
            raise

    def _note_damage(self, error: BaseException) -> None:
        """Have the next start keep the file aside, also when a check at opening does not see what we saw."""
        if isinstance(error, StoreError) and error.code == "damaged":
            with contextlib.suppress(OSError):
                damage_note(self.path).touch()

    def rollback(self) -> None:
        """Forget what was appended since the last commit.

        Raises:
            StoreError: not even this can be done.
        """
        self._dirty = False
        self._new_records.clear()
        self._new_messages.clear()
        with sql_errors(self.path, "reading it"):
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            self._remember()

    def _remember(self) -> None:
        """Read what is kept in memory beside the file."""
        self._rooms = dict(self._db.execute("SELECT id, n FROM rooms"))
        self._authors = dict(self._db.execute("SELECT key, n FROM authors"))
        self._last_message = self._db.execute("SELECT coalesce(max(n), 0) FROM messages").fetchone()[0]
        self._last_indexed = self._db.execute(LAST_INDEXED).fetchone()[0]

    @override
    def commit(self) -> None:
        """Make everything appended so far survive a crash of this process.

        Raises:
            StoreError: the disk is full or failed; nothing of this transaction is kept.
        """
        if not self._dirty:
            return
        with self._writing("keeping messages"):
            self._flush()
            self._db.execute("COMMIT")
        self._dirty = False
        self._appended += 1
        if self._appended >= CHECKPOINT_EVERY and (self._checkpoint is None or not self._checkpoint.is_alive()):
            self._appended = 0
            self._checkpoint = threading.Thread(target=self._fold, name="history-checkpoint", daemon=True)
            self._checkpoint.start()

    def _fold(self) -> None:
        """Fold the WAL into the file, on a thread and connection of its own: this is what waits for the disk."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(self.path, "rw")) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @override
    def _begin(self) -> None:
        if not self._dirty:
            self._db.execute("BEGIN IMMEDIATE")
            self._dirty = True
            self._preloaded = None

    @override
    def _flush(self) -> None:
        """Write the gathered rows: together they cost half of what they cost one by one."""
        if self._new_records:
            self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", self._new_records)
            self._new_records.clear()
        if self._new_messages:
            last = self._last_message
            self._db.executemany(
                "INSERT OR IGNORE INTO messages (n, room, clock, id, author, seq, time, text, action, reply_to)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((last + count, *row) for count, row in enumerate(self._new_messages, 1)),
            )
            self._last_message += len(self._new_messages)
            self._new_messages.clear()
            if self._last_message - self._last_indexed >= INDEX_FROM:
                self._index()

    @override
    def _index(self) -> None:
        """Make the newest messages searchable by index. One by one it would double the cost of keeping them."""
        if self._last_message > self._last_indexed:
            self._begin()
            query = "INSERT INTO words (rowid, text) SELECT n, text FROM messages WHERE n > ?"
            self._db.execute(query, (self._last_indexed,))
            self._last_indexed = self._last_message

    # ------------------------------------------------------------ keeping

    def save_room(self, room: SaveRoom) -> None:
        """Remember that the profile is, or no longer is, in a room."""
        with self._writing("keeping a room"):
            self._begin()
            row = (room.room, room.name, room.kind, room.peer, room.joined, bytes(room.secret), bytes(room.lock))
            self._db.execute(
                "INSERT INTO rooms (id, name, kind, peer, joined, secret, lock, relay, since)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET joined = excluded.joined, lock = excluded.lock, relay = excluded.relay,"
                " secret = CASE length(excluded.secret) WHEN 0 THEN secret ELSE excluded.secret END",
                (*row, room.relay, room.since),
            )
            self._rooms[room.room] = self._db.execute("SELECT n FROM rooms WHERE id = ?", (room.room,)).fetchone()[0]

    def append(self, append: Append) -> None:
        """Keep an accepted record, and what it means for people. Nothing is safe before `commit`."""
        self._appended += 1
        record, said = append.record, append.record.body if append.counts else None
        author = self._authors.get(record.author)
        if author is not None and self._dirty and isinstance(said, Text):
            self._gather(self._rooms[record.room], author, append, said)
            return
        with self._writing("keeping a message"):
            self._begin()
            room, author = self._rooms[record.room], self._author(record.author)
            self._gather(room, author, append, said if isinstance(said, Text) else None)
            if said is not None and not isinstance(said, Text):
                self._change(room, author, record, append.clock)

    def _gather(self, room: int, author: int, append: Append, said: Text | None) -> None:
        """Note the rows of a record; `_flush` writes them. No SQL: this is what catching up spends its time on."""
        record, clock = append.record, append.clock
        self._new_records.append((room, author, append.main, record.seq, record.id, clock, record.raw))
        if said is not None:
            self._new_messages.append(
                (room, clock, record.id, author, record.seq, record.time, said.text, said.action, said.reply_to)
            )

    def _change(self, room: int, author: int, record: Record, clock: int) -> None:
        """What a record that is no message means for people."""
        db = self._db
        self._flush()  # what follows may be about a message just gathered
        if isinstance(record.body, Edit | Retract):
            self._index()  # the index can only forget a text that it holds
        match record.body:
            case Edit(target=target, text=text):
                db.execute(
                    "UPDATE messages SET text = ?, edited = 1"
                    " WHERE id = ? AND room = ? AND author = ? AND NOT retracted",
                    (text, target, room, author),
                )
            case Retract(target=target):
                db.execute(
                    "UPDATE messages SET text = '', retracted = 1 WHERE id = ? AND room = ? AND author = ?",
                    (target, room, author),
                )
            case React():
                self._react(room, author, record.body)
            case Topic(text=text):
                db.execute(
                    "UPDATE rooms SET topic = ?, topic_clock = ?, topic_id = ?"
                    " WHERE n = ? AND (topic_clock, topic_id) < (?, ?)",
                    (text, clock, record.id, room, clock, record.id),
                )
            case Profile(nick=nick):
                db.execute("INSERT OR REPLACE INTO nicks VALUES (?, ?, ?)", (room, author, nick))
            case _:
                pass  # kinds of later versions are kept as they are

    @override
    def _react(self, room: int, author: int, react: React) -> None:
        """An emoji that an author puts on a message, or takes off it."""
        target, emoji = react.target, react.emoji
        if react.add:
            self._db.execute(
                "INSERT OR IGNORE INTO reactions SELECT id, ?, ? FROM messages WHERE id = ? AND room = ?"
                " AND (SELECT count(*) FROM reactions WHERE target = ? AND author = ?) < ?",
                (author, emoji, target, room, target, author, MAX_REACTIONS),
            )
        else:
            self._db.execute(
                "DELETE FROM reactions WHERE target = ? AND author = ? AND emoji = ?", (target, author, emoji)
            )

    def append_plain(
        self, room: RoomId, message: RecordId, author: PeerKey, nick: str, time_ms: int, text: str
    ) -> None:
        """Keep a message of an old dialect: shown in the room, never synced, because nobody signed it."""
        with self._writing("keeping a message"):
            self._begin()
            n, who = self._rooms[room], self._author(author, plain=True)
            self._db.execute("INSERT OR REPLACE INTO nicks VALUES (?, ?, ?)", (n, who, nick))
            self._new_messages.append((n, time_ms, message, who, 0, time_ms, text, False, b""))

    @override
    def _author(self, key: PeerKey, *, plain: bool = False) -> int:
        n = self._authors.get(key)
        if n is None:
            row = self._db.execute(
                "INSERT INTO authors (key, plain) VALUES (?, ?) RETURNING n", (key, plain)
            ).fetchone()
            n = self._authors[key] = row[0]
        return n

    # ------------------------------------------------------------ giving back

    def preload(self) -> None:
        """See whether `load_rooms` can be done; the next one then costs nothing."""
        self._preloaded = self.load_rooms()

    def load_rooms(self) -> list[StoredRoom]:
        """All rooms that the profile was ever in, as the engine needs them; those of hubs are not its own."""
        preloaded, self._preloaded = self._preloaded, None
        if preloaded is not None:
            return preloaded
        self.commit()
        with self._reading():
            rows = self._db.execute(
                "SELECT n, id, name, kind, peer, joined, topic, topic_clock, topic_id, secret, lock, relay, since"
                " FROM rooms WHERE kind != 'hub' ORDER BY n"
            ).fetchall()
            out = []
            for n, room, name, kind, peer, joined, topic, topic_clock, topic_id, secret, lock, relay, since in rows:
                logs = tuple(self._load_logs(n))
                tips = tuple(self._load_tips(n, logs))
                place = (topic_clock, topic_id)
                acts, kept = tuple(self._load_acts(n)), RoomSecret(secret)
                out.append(
                    StoredRoom(
                        RoomId(room),
                        name,
                        kind,
                        peer,
                        logs,
                        tips,
                        topic,
                        place,
                        bool(joined),
                        kept,
                        acts,
                        RoomSecret(lock),
                        relay,
                        since,
                    )
                )
            return out

    def _load_logs(self, room: int) -> Iterator[StoredLog]:
        forks: dict[int, list[tuple[Head, int, RecordId]]] = {}
        keys = {n: key for key, n in self._authors.items()}
        query = "SELECT author, seq, id, clock, raw FROM records WHERE room = ? AND main = 0"
        for author, seq, record, clock, raw in self._db.execute(query, (room,)):
            place = Head(keys[author], seq, record)
            forks.setdefault(author, []).append((place, clock, reopen_record(raw).prev))
        nicks = dict(self._db.execute("SELECT author, nick FROM nicks WHERE room = ?", (room,)))
        logs: dict[int, tuple[bytearray, list[int], int]] = {}
        query = "SELECT author, seq, id, clock FROM records WHERE room = ? AND main = 1 ORDER BY author, seq"
        for author, seq, record, clock in self._db.execute(query, (room,)):
            ids, clocks, _ = logs.setdefault(author, (bytearray(), [], seq))
            ids += record
            clocks.append(clock)
        first = "SELECT raw FROM records WHERE room = ? AND main = 1 AND author = ? AND seq = ?"
        for author, (ids, clocks, begins) in logs.items():
            before = None
            if begins > 1:  # what came before is not for us
                row = self._db.execute(first, (room, author, begins)).fetchone()
                before = Head(keys[author], begins - 1, reopen_record(row[0]).prev)
            yield StoredLog(
                author=PeerKey(keys[author]),
                ids=bytes(ids),
                clocks=tuple(clocks),
                forks=tuple(forks.get(author, ())),
                nick=nicks.get(author, ""),
                before=before,
            )

    def _load_tips(self, room: int, logs: Iterable[StoredLog]) -> Iterator[Head]:
        """Records that no other record names. Only ends of logs can be; those that other ends name are none. One
        that an older record names is taken for a tip, and named once more: harmless.
        """
        last = "SELECT raw FROM records WHERE room = ? AND author = ? AND main = 1 ORDER BY seq DESC LIMIT 1"
        rows = [self._db.execute(last, (room, self._authors[log.author])).fetchone() for log in logs]
        rows += self._db.execute("SELECT raw FROM records WHERE room = ? AND main = 0", (room,)).fetchall()
        ends = [reopen_record(row[0]) for row in rows if row is not None]
        named = {record.prev for record in ends} | {dep.id for record in ends for dep in record.deps}
        for record in ends:
            if record.id not in named:
                yield Head(record.author, record.seq, record.id)

    def raws(self, room: RoomId, places: Iterable[tuple[PeerKey, int]]) -> list[tuple[PeerKey, int, bytes]]:
        """Records by place, in the order asked for, cut before `MAX_BATCH_BYTES`; at least one when any is there."""
        out: list[tuple[PeerKey, int, bytes]] = []
        size, n = 0, self._rooms.get(room, -1)
        query = (
            "SELECT seq, raw FROM records WHERE room = ? AND main = 1 AND author = ? AND seq BETWEEN ? AND ?"
            " ORDER BY seq"
        )
        with self._reading():
            for author, first, last in _runs(places):
                expected = first
                for seq, raw in self._db.execute(query, (n, self._authors.get(author, -1), first, last)):
                    size += len(raw)
                    if seq != expected or (out and size > MAX_BATCH_BYTES):
                        return out
                    out.append((author, seq, raw))
                    expected += 1
                if expected != last + 1:
                    return out
        return out

    def fork_raws(self, room: RoomId, ids: Iterable[RecordId]) -> list[bytes]:
        """Records beside their logs (forks) by id, cut before `MAX_BATCH_BYTES`."""
        out: list[bytes] = []
        size, n = 0, self._rooms.get(room, -1)
        with self._reading():
            for record in ids:
                row = self._db.execute(
                    "SELECT raw FROM records WHERE room = ? AND id = ? AND main = 0", (n, record)
                ).fetchone()
                if row is not None:
                    size += len(row[0])
                    if out and size > MAX_BATCH_BYTES:
                        break
                    out.append(row[0])
        return out


def _runs(places: Iterable[tuple[PeerKey, int]]) -> Iterator[tuple[PeerKey, int, int]]:
    """Places that follow each other in one log, as (author, first seq, last seq)."""
    run: tuple[PeerKey, int, int] | None = None
    for author, seq in places:
        if run is not None and run[0] == author and run[2] + 1 == seq:
            run = (author, run[1], seq)
        else:
            if run is not None:
                yield run
            run = (author, seq, seq)
    if run is not None:
        yield run


def open_history(path: Path) -> Opened:
    """Open a profile's history. A damaged file is moved aside, with its name in the result, and a new one begun.

    Raises:
        StoreError: it cannot be opened and moving it aside would not help (rights, full disk, newer version).
    """
    if not (damage_note(path).exists() and path.exists()):
        try:
            history = _checked(path)
        except StoreError as exc:
            if exc.code != "damaged":
                raise
        else:
            with contextlib.suppress(OSError):
                damage_note(path).unlink(missing_ok=True)
            return Opened(history, None)
    aside = move_aside(path)
    return Opened(History(path), aside)


def _checked(path: Path) -> History:
    history = History(path)
    try:
        history.preload()
    except BaseException:
        history._db.close()
        raise
    return history
