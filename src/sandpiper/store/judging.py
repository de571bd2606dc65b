"""What a private room's roster means for its history: which records are kept as part of it, and which are not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import Derived
from sandpiper.crypto.signing import reopen_record
from sandpiper.wire.records import Edit, Profile, React, Record, Retract, Text, Topic

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sandpiper.core.events import Enact, Judged
    from sandpiper.wire.ids import PeerKey

_OWN = "SELECT clock, raw FROM records WHERE room = ? AND author = ? ORDER BY clock, id"


class Judging:
    """The part of a `History` that keeps rosters and carries out what they rule."""

    _db: sqlite3.Connection
    _rooms: dict[bytes, int]
    _last_message: int

    def _writing(self, doing: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _index(self) -> None:
        raise NotImplementedError

    def _react(self, room: int, author: int, react: React) -> None:
        raise NotImplementedError

    def _author(self, key: PeerKey, *, plain: bool = False) -> int:
        raise NotImplementedError

    def enact(self, enact: Enact) -> None:
        """Keep a control record of a room."""
        with self._writing("keeping a roster"):
            self._begin()
            record = enact.record
            room = self._rooms[record.room]
            self._db.execute(
                "INSERT OR IGNORE INTO acts (room, id, raw) VALUES (?, ?, ?)", (room, record.id, record.raw)
            )

    def _load_acts(self, room: int) -> Iterator[Record]:
        for (raw,) in self._db.execute("SELECT raw FROM acts WHERE room = ? ORDER BY n", (room,)):
            yield reopen_record(raw)

    def judge(self, judged: Judged) -> Derived:
        """Make anew, from its records, all that an author has said in a room, without those that do not count."""
        with self._writing("keeping a roster"):
            self._begin()
            self._flush()
            self._index()  # the index can only forget a text that it holds
            room, author = self._rooms[judged.room], self._author(judged.author)
            own = [(clock, reopen_record(raw)) for clock, raw in self._db.execute(_OWN, (room, author)).fetchall()]
            good = [(clock, record) for clock, record in own if record.id not in judged.void]
            self._unsay(room, author, judged)
            self._say(room, author, good)
            if any(isinstance(record.body, Topic) for _, record in own):
                self._retitle(room, judged)
            query = "SELECT topic, topic_clock, topic_id FROM rooms WHERE n = ?"
            topic, clock, topic_id = self._db.execute(query, (room,)).fetchone()
            query = "SELECT nick FROM nicks WHERE room = ? AND author = ?"
            row = self._db.execute(query, (room, author)).fetchone()
            return Derived(topic, (clock, topic_id), row[0] if row is not None else "")

    def _unsay(self, room: int, author: int, judged: Judged) -> None:
        """Take away what the author has changed, and the messages that do not count."""
        db = self._db
        db.execute(
            "DELETE FROM reactions WHERE author = ? AND target IN (SELECT id FROM messages WHERE room = ?)",
            (author, room),
        )
        db.execute("DELETE FROM nicks WHERE room = ? AND author = ?", (room, author))
        for n, record, text in db.execute(
            "SELECT n, id, text FROM messages WHERE room = ? AND author = ?", (room, author)
        ).fetchall():
            if record in judged.void:
                db.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (n, text))
                db.execute("DELETE FROM reactions WHERE target = ?", (record,))
                db.execute("DELETE FROM messages WHERE n = ?", (n,))

    def _say(self, room: int, author: int, records: list[tuple[int, Record]]) -> None:
        texts: dict[bytes, str] = {}
        edited: set[bytes] = set()
        taken_back: set[bytes] = set()
        for clock, record in records:
            match record.body:
                case Text(text=text, action=action, reply_to=reply_to):
                    texts[record.id] = text
                    row = (self._last_message + 1, room, clock, record.id, author, record.seq, record.time, text)
                    self._last_message += self._db.execute(
                        "INSERT OR IGNORE INTO messages"
                        " (n, room, clock, id, author, seq, time, text, action, reply_to)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (*row, action, reply_to),
                    ).rowcount
                case Edit(target=target, text=text) if target in texts and target not in taken_back:
                    texts[target] = text
                    edited.add(target)
                case Retract(target=target) if target in texts:
                    texts[target] = ""
                    taken_back.add(target)
                case React():
                    self._react(room, author, record.body)
                case Profile(nick=nick):
                    self._db.execute("INSERT OR REPLACE INTO nicks VALUES (?, ?, ?)", (room, author, nick))
                case _:
                    pass
        self._index()
        for record_id, text in texts.items():
            self._db.execute(
                "UPDATE messages SET text = ?, edited = ?, retracted = ? WHERE id = ?"
                " AND (text, edited, retracted) != (?, ?, ?)",
                (values := (text, record_id in edited, record_id in taken_back)) + (record_id,) + values,
            )

    def _retitle(self, room: int, judged: Judged) -> None:
        """The topic is the last one that counts: of others, all that was shown is."""
        last: tuple[int, bytes, str] = (-1, b"", "")
        query = "SELECT clock, id, raw FROM records WHERE room = ?"
        for clock, record_id, raw in self._db.execute(query, (room,)):
            if record_id in judged.void or (clock, record_id) < last[:2]:
                continue
            body = reopen_record(raw).body
            if isinstance(body, Topic):
                last = (clock, record_id, body.text)
        self._db.execute("UPDATE rooms SET topic_clock = ?, topic_id = ?, topic = ? WHERE n = ?", (*last, room))
