"""What a commit of a hub's history writes: batches gathered into rows, edits and retractions noted, rooms and nicks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sandpiper.hub.history import Barred, Batch, KeptRoom
from sandpiper.hub.sqlite_lines import changes, pack
from sandpiper.hub.sqlite_schema import MAX_KEPT_NICKS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from sandpiper.wire.ids import PeerKey

ROW_BYTES = 64 * 1024  # lines in one row: a page unpacks a row or two, and packing gains nothing beyond
ROWS_AT_ONCE = 64  # in one statement: each statement waits for its turn to run Python


class Nick(NamedTuple):
    """A nick that belongs to a key."""

    nick: str
    key: PeerKey


class Bans(NamedTuple):
    """All who are banned from the whole hub."""

    bans: tuple[Barred, ...]


class Lost(NamedTuple):
    """Lines of a room that are not kept: their numbers, up to `last`, were given out and are not used again."""

    room: str
    epoch: str
    last: int


Item = Batch | KeptRoom | Nick | Bans | Lost
Late = KeptRoom | Nick | Bans
"""What must not be lost because there was no place for it at the time."""


def pack_barred(bans: tuple[Barred, ...]) -> bytes:
    """As they stand in the file."""
    return msgspec.json.encode(bans) if bans else b""


def unpack_barred(raw: bytes) -> tuple[Barred, ...]:
    """Those of the file.

    Raises:
        msgspec.MsgspecError: they are damaged.
    """
    return msgspec.json.decode(raw, type=tuple[Barred, ...]) if raw else ()


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


class _RowOf(NamedTuple):
    place: tuple[str, str]
    row: _Row


class Rows:
    """Writes items within the transaction of its caller. After one that failed, `lives` has to be cleared."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float], keep_rooms: int) -> None:
        self._db = db
        self._clock = clock
        self._keep_rooms = keep_rooms
        self.lives: dict[tuple[str, str], int] = {}
        """Numbers of the lives of rooms, by name and epoch."""

    def put(self, items: Iterable[Item]) -> tuple[int, int]:
        """Write these. Returns (rows, bytes) of lines."""
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
                elif isinstance(item, Nick):
                    self._keep_nick(item)
                elif isinstance(item, Lost):
                    life = self.life(item.room, item.epoch)
                    self._db.execute("UPDATE lives SET seq = max(seq, ?) WHERE n = ?", (item.last, life))
                else:
                    self._db.execute("UPDATE state SET bans = ?", (pack_barred(item.bans),))
        self._insert(rows)
        return count, size

    @staticmethod
    def _gather(items: Iterable[Item]) -> Iterator[_RowOf | KeptRoom | Nick | Bans | Lost]:
        """Batches of a room that follow each other become one; everything else keeps its place among them."""
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
        life, row = self.life(*item.place), item.row
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

    def life(self, room: str, epoch: str) -> int:
        """The number of a room's life."""
        life = self.lives.get((room, epoch))
        if life is None:
            if len(self.lives) >= self._keep_rooms:
                self.lives.clear()
            self._db.execute("INSERT OR IGNORE INTO lives (room, epoch) VALUES (?, ?)", (room, epoch))
            row = self._db.execute("SELECT n FROM lives WHERE room = ? AND epoch = ?", (room, epoch)).fetchone()
            life = self.lives[room, epoch] = row[0]
        return life

    def _keep_room(self, room: KeptRoom) -> None:
        db, now = self._db, int(self._clock())
        db.execute("UPDATE lives SET dead = 1 WHERE room = ? AND epoch IS NOT ?", (room.name, room.epoch))
        if room.closed:
            db.execute("UPDATE lives SET dead = 1 WHERE room = ?", (room.name,))
            db.execute("DELETE FROM rooms WHERE name = ?", (room.name,))
        else:
            # The hub may still have a room that had to make place here.
            life = self.life(room.name, room.epoch)
            db.execute("UPDATE lives SET dead = 0, seq = max(seq, ?) WHERE n = ?", (room.seq, life))
            what = (room.topic, room.lock, b"".join(room.operators), room.slowmode)
            barred = (pack_barred(room.bans), pack_barred(room.mutes))
            db.execute(
                "INSERT OR REPLACE INTO rooms (name, epoch, topic, lock, operators, slowmode, used, bans, mutes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (room.name, room.epoch, *what, now, *barred),
            )
            self._make_place(room.name)

    def _make_place(self, new: str) -> None:
        """Only so many rooms, of which the `new` one never goes: first those that nobody rules, as nobody loses a
        password or a say in them, and of these as of the others those that nothing was said in for longest.
        """
        over = self._db.execute("SELECT count(*) FROM rooms").fetchone()[0] - self._keep_rooms
        if over > 0:
            query = (
                "SELECT name FROM rooms r WHERE name != ?"
                " ORDER BY length(lock) + length(operators) + length(bans) + length(mutes) > 0, max(used, coalesce("
                "(SELECT ts FROM batches WHERE life = (SELECT n FROM lives WHERE room = r.name AND epoch = r.epoch)"
                " ORDER BY first DESC LIMIT 1), 0)) LIMIT ?"
            )
            for (name,) in self._db.execute(query, (new, over)).fetchall():
                self._db.execute("DELETE FROM rooms WHERE name = ?", (name,))
                self._db.execute("UPDATE lives SET dead = 1 WHERE room = ?", (name,))

    def _keep_nick(self, nick: Nick) -> None:
        known = self._db.execute("DELETE FROM nicks WHERE nick = ?", (nick.nick,)).rowcount
        self._db.execute("INSERT INTO nicks (nick, key) VALUES (?, ?)", nick)
        if not known:  # else it was used again: there are no more of them, and numbers have holes
            oldest = "(SELECT n FROM nicks ORDER BY n DESC LIMIT 1 OFFSET ?)"
            self._db.execute(f"DELETE FROM nicks WHERE n <= {oldest}", (MAX_KEPT_NICKS,))
