"""Reading a profile's history: pages, search, export. For faces and scripts; never writes, may run on any thread.

Every call opens its own short read, so a profile in use by another process can be read at the same time.
"""

from __future__ import annotations

import os
import sqlite3
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.events import RoomKind
from sandpiper.errors import StoreError, UsageError
from sandpiper.store.damage import BUSY_MS, sql_errors
from sandpiper.store.schema import LAST_INDEXED, TOKENIZER
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


EXPORT_PAGE = 1000  # rows held at once while exporting
CHUNK = 500  # ids in one question: every build of SQLite takes 999
RECENT = 1_000  # messages of a room in which a search looks first


class Reaction(Struct, frozen=True):
    """One author's emoji on a message."""

    author: PeerKey
    emoji: str


class Message(Struct, frozen=True):
    """A message as people see it. `place` sorts it in its room; `time` is the author's clock, ms since 1970;
    `plain`: from an old dialect, unsigned; `hub`: from a hub, unsigned, `seq` is its number there.
    """

    room: RoomId
    place: tuple[int, bytes]
    id: RecordId
    author: PeerKey
    nick: str
    seq: int
    time: int
    text: str
    action: bool
    reply_to: bytes
    edited: bool
    retracted: bool
    plain: bool
    reactions: tuple[Reaction, ...] = ()
    hub: bool = False


class RoomRow(Struct, frozen=True):
    """A room on disk, with how many messages it has and the time of the newest (0: none)."""

    room: RoomId
    name: str
    kind: RoomKind
    peer: PeerKey | None
    peer_nick: str
    joined: bool
    topic: str
    messages: int
    last_time: int


class PeerRow(Struct, frozen=True):
    """Somebody ever linked; times in ms since 1970. `pinned` is the nick under which the person has verified the key,
    or goes on with it without; empty: neither.
    """

    key: PeerKey
    nick: str
    first_seen: int
    last_seen: int
    ignored: bool
    verified: bool = False
    pinned: str = ""


_COLUMNS = (
    "SELECT r.id, m.clock, m.id, a.key, coalesce(k.nick, p.nick, ''), m.seq, m.time, m.text, m.action, m.reply_to,"
    " m.edited, m.retracted, a.plain, r.kind"
    " FROM messages m JOIN rooms r ON r.n = m.room JOIN authors a ON a.n = m.author"
    " LEFT JOIN nicks k ON k.room = m.room AND k.author = m.author LEFT JOIN peers p ON p.key = a.key"
)


class Reader:
    """A read-only connection to one `history.db`. Close it, or use it as a context manager."""

    def __init__(self, path: Path, *, without_ignored: bool = False) -> None:
        """Open the file. `without_ignored`: messages and reactions of those whom the person ignores are left out.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        self.path = path
        self._without_ignored = without_ignored
        self._heard = f"{_COLUMNS} WHERE {'NOT coalesce(p.ignored, 0)' if without_ignored else 'TRUE'}"
        self._reactors = " LEFT JOIN peers p ON p.key = a.key WHERE NOT coalesce(p.ignored, 0)" * without_ignored
        if not path.exists():
            raise StoreError("There is no history yet.", hint="Start sandpiper once, or check --profile.")
        with sql_errors(path, "reading it"):
            # Reading a WAL database makes files beside it; in a folder where nobody can, nobody is writing either.
            still = not path.with_name(f"{path.name}-wal").exists() and not os.access(path.parent, os.W_OK)
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' * still}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            self._db.execute("PRAGMA temp_store = MEMORY")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # ------------------------------------------------------------ rooms and peers

    def rooms(self) -> list[RoomRow]:
        """All rooms, those with the newest messages first."""
        query = (
            "SELECT r.id, r.name, r.kind, r.peer, coalesce(p.nick, ''), r.joined, r.topic,"
            " (SELECT count(*) FROM messages m WHERE m.room = r.n),"
            " coalesce((SELECT m.time FROM messages m WHERE m.room = r.n ORDER BY m.clock DESC, m.id DESC LIMIT 1), 0)"
            " FROM rooms r LEFT JOIN peers p ON p.key = r.peer ORDER BY 9 DESC, r.n"
        )
        with sql_errors(self.path, "reading it"):
            return [
                RoomRow(room, name, kind, peer, peer_nick, bool(joined), topic, messages, last_time)
                for room, name, kind, peer, peer_nick, joined, topic, messages, last_time in self._db.execute(query)
            ]

    def peers(self) -> list[PeerRow]:
        """Everybody ever linked, the newest first."""
        with sql_errors(self.path, "reading it"):
            # A file that no node has opened since an update is read as it is.
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            verified = "verified" if version >= 2 else "0"
            pinned = "pinned" if version >= 6 else f"iif({verified}, nick, '')"
            query = f"SELECT key, nick, first_seen, last_seen, ignored, {verified}, {pinned} FROM peers"
            return [
                PeerRow(key, nick, first_seen, last_seen, bool(ignored), bool(verified), pinned)
                for key, nick, first_seen, last_seen, ignored, verified, pinned in self._db.execute(
                    f"{query} ORDER BY last_seen DESC, key"
                )
            ]

    def acquaintances(self) -> list[PeerRow]:
        """The same, whoever was met first in front: the order in which nicks were taken. Somebody never linked (a
        peer of the old dialect that is ignored) comes last.
        """
        return sorted(self.peers(), key=lambda peer: (peer.first_seen == 0, peer.first_seen, peer.key))

    # ------------------------------------------------------------ messages

    def page(
        self, room: RoomId, *, before: tuple[int, bytes] | None = None, limit: int = 100, since_ms: int = 0
    ) -> list[Message]:
        """The last `limit` messages of a room, before a place if given; oldest first."""
        query, values = f"{self._heard} AND r.id = ? AND m.time >= ?", [room, since_ms]
        if before is not None:
            query += " AND (m.clock, m.id) < (?, ?)"
            values += [*before]
        query += " ORDER BY m.clock DESC, m.id DESC LIMIT ?"
        return self._messages(query, (*values, limit))[::-1]

    def page_after(self, room: RoomId, after: tuple[int, bytes], limit: int = 100) -> list[Message]:
        """The first `limit` messages of a room past a place; oldest first."""
        query = f"{self._heard} AND r.id = ? AND (m.clock, m.id) > (?, ?) ORDER BY m.clock, m.id LIMIT ?"
        return self._messages(query, (room, *after, limit))

    def messages(self, ids: Sequence[RecordId]) -> list[Message]:
        """The messages with these ids, oldest first; those that are not here are left out."""
        found: list[Message] = []
        for chunk in _chunks(dict.fromkeys(ids)):
            found += self._messages(f"{self._heard} AND m.id IN ({_marks(chunk)})", chunk)
        return sorted(found, key=lambda message: message.place)

    def search(self, words: str, *, room: RoomId | None = None, limit: int = 100, since_ms: int = 0) -> list[Message]:
        """The newest `limit` messages that hold all `words` (the last one may be a beginning); oldest first.

        Raises:
            UsageError: nothing to search for.
        """
        words = words.replace("\0", " ").encode(errors="replace").decode()  # neither can be in what SQLite is asked
        terms = ['"' + word.replace('"', '""') + '"' for word in words.split()]
        if not terms:
            raise UsageError("There is nothing to search for.", hint="For example: /search pizza friday")
        match = " ".join(terms) + "*"
        with sql_errors(self.path, "searching it"):
            self._index_the_newest()
        found: list[Message] = []
        for floor, first in (self._recent(room), (-1, 0)):  # a common word is among what was said of late
            # The newest are chosen before anything is joined to them: a common word has many.
            chosen = (
                "SELECT n FROM messages WHERE n IN (SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ?"
                " UNION ALL SELECT rowid FROM temp.newest WHERE newest MATCH ?)"
                " AND clock > ? AND NOT retracted AND time >= ?"
            )
            values: list[object] = [match, first, match, floor, since_ms]
            if room is not None:
                chosen, values = f"{chosen} AND room = (SELECT n FROM rooms WHERE id = ?)", [*values, room]
            if self._without_ignored:
                chosen += " AND author NOT IN (SELECT a.n FROM authors a JOIN peers p ON p.key = a.key WHERE p.ignored)"
            query = (
                f"{self._heard} AND m.n IN ({chosen} ORDER BY clock DESC, id DESC LIMIT ?)"
                " ORDER BY m.clock DESC, m.id DESC"
            )
            found = self._messages(query, (*values, limit))
            if len(found) >= limit:
                break
        return found[::-1]

    def _recent(self, room: RoomId | None) -> tuple[int, int]:
        """A clock above which a room, or any room, has `RECENT` messages at most, and the first row of those."""
        rooms = "room = (SELECT n FROM rooms WHERE id = ?)" if room is not None else "room IN (SELECT n FROM rooms)"
        with sql_errors(self.path, "searching it"):
            mine = () if room is None else (room,)
            [floor] = self._db.execute(
                "SELECT coalesce(max((SELECT clock FROM messages WHERE room = r.n ORDER BY clock DESC, id DESC"
                f" LIMIT 1 OFFSET ?)), -1) FROM rooms r WHERE {'TRUE' if room is None else 'r.id = ?'}",
                (RECENT, *mine),
            ).fetchone()
            [first] = self._db.execute(
                f"SELECT coalesce(min(n), 0) FROM messages WHERE {rooms} AND clock > ?", (*mine, floor)
            ).fetchone()
        return floor, first

    def _index_the_newest(self) -> None:
        """The writer indexes some hundreds of messages at a time; the rest is indexed here, in memory."""
        self._db.execute("DROP TABLE IF EXISTS temp.newest")
        self._db.execute(f"CREATE VIRTUAL TABLE temp.newest USING fts5 (text, {TOKENIZER})")
        self._db.execute(
            f"INSERT INTO temp.newest (rowid, text) SELECT n, text FROM main.messages WHERE n > ({LAST_INDEXED})"
        )

    def find(self, room: RoomId, id_prefix: str) -> list[Message]:
        """Messages of a room whose id begins with these hex digits; at most ten.

        Raises:
            UsageError: not at least four hex digits.
        """
        prefix = id_prefix.casefold()
        if not 4 <= len(prefix) <= 64 or any(c not in "0123456789abcdef" for c in prefix):
            raise UsageError(f"{id_prefix!r} is no message id.", hint="Give at least four of its hex digits.")
        low = bytes.fromhex(prefix.ljust(64, "0"))
        high = bytes.fromhex(prefix.ljust(64, "f"))
        query = f"{self._heard} AND +r.id = ? AND m.id BETWEEN ? AND ? ORDER BY m.clock, m.id LIMIT 10"
        return self._messages(query, (room, low, high))

    def everything(self, room: RoomId, *, since_ms: int = 0) -> Iterator[Message]:
        """All messages of a room in order, a page at a time."""
        place = (-1, b"")
        while page := self.page_after(room, place, EXPORT_PAGE):
            yield from (message for message in page if message.time >= since_ms)
            place = page[-1].place

    def _messages(self, query: str, values: tuple[object, ...]) -> list[Message]:
        with sql_errors(self.path, "reading it"):
            rows = self._db.execute(query, values).fetchall()
            reactions = self._reactions([row[2] for row in rows])
            return [
                Message(
                    room=row[0],
                    place=(row[1], row[2]),
                    id=row[2],
                    author=row[3],
                    nick=row[4],
                    seq=row[5],
                    time=row[6],
                    text=row[7],
                    action=bool(row[8]),
                    reply_to=row[9],
                    edited=bool(row[10]),
                    retracted=bool(row[11]),
                    plain=bool(row[12]) and row[13] != "hub",
                    reactions=tuple(reactions.get(row[2], ())),
                    hub=row[13] == "hub",
                )
                for row in rows
            ]

    def _reactions(self, targets: Sequence[bytes]) -> dict[bytes, list[Reaction]]:
        """Reactions by message: one question for many messages, because a screen asks often."""
        out: dict[bytes, list[Reaction]] = {}
        for chunk in _chunks(targets):
            query = (
                "SELECT x.target, a.key, x.emoji FROM reactions x JOIN authors a ON a.n = x.author"
                f"{self._reactors or ' WHERE TRUE'} AND x.target IN ({_marks(chunk)}) ORDER BY x.emoji, a.key"
            )
            for target, author, emoji in self._db.execute(query, chunk):
                out.setdefault(target, []).append(Reaction(author, emoji))
        return out


def _chunks(ids: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    left = iter(ids)
    while chunk := tuple(islice(left, CHUNK)):
        yield chunk


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
