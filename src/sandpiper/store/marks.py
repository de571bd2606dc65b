"""What a profile has noted beside the records: peers seen, ignored, verified, pinned, and what of a room was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager

Place = tuple[int, bytes]
"""Where a message stands in its room: order clock and record id."""

UNREAD: Place = (-1, b"")
"""The place of a room that was never read: before its first message."""


class Marks:
    """The part of a `History` that keeps them. Nothing here is signed, and nobody else learns of it."""

    _db: sqlite3.Connection

    def _writing(self, doing: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _reading(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        """Make everything so far survive a crash of this process."""
        raise NotImplementedError

    # ------------------------------------------------------------ peers

    def saw_peer(self, key: PeerKey, nick: str, now_ms: int) -> None:
        """Remember a linked peer and what it is called."""
        with self._writing("keeping a peer"):
            self._begin()
            self._db.execute(
                "INSERT INTO peers (key, nick, first_seen, last_seen) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET nick = excluded.nick, last_seen = excluded.last_seen,"
                " first_seen = iif(first_seen, first_seen, excluded.first_seen)",  # 0: a choice came before the link
                (key, nick, now_ms, now_ms),
            )

    def set_ignored(self, key: PeerKey, nick: str, *, ignored: bool) -> None:
        """Hide (or show again) what a peer says, on this profile only."""
        self._choose("ignored", key, nick, ignored)

    def set_verified(self, key: PeerKey, nick: str, *, verified: bool) -> None:
        """The safety words of this key were the same when it was called `nick`, or are no longer believed to be."""
        self._choose("verified", key, nick, verified, pinned=nick if verified else "")

    def pin(self, key: PeerKey, nick: str) -> None:
        """The person goes on with this key under this nick, although it is another's."""
        self._choose("pinned", key, nick, nick)

    def _choose(self, column: str, key: PeerKey, nick: str, choice: bool | str, **more: str) -> None:
        """Keep a choice about a key, and `more` columns with it; the names of columns are our own."""
        values = {column: choice, **more}
        with self._writing("keeping a choice"):
            self._begin()
            self._db.execute(
                f"INSERT INTO peers (key, nick, first_seen, last_seen, {', '.join(values)})"
                f" VALUES (?, ?, 0, 0{', ?' * len(values)})"
                f" ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in values)}",
                (key, nick, *values.values()),
            )
            self.commit()

    # ------------------------------------------------------------ rooms

    def mark_read(self, room: RoomId, place: Place) -> None:
        """Everything up to `place` has been seen. Never goes back; a room that is not on disk has nothing to read."""
        with self._writing("keeping what was read"):
            self._begin()
            self._db.execute(
                "UPDATE rooms SET read_clock = ?, read_id = ? WHERE id = ? AND (read_clock, read_id) < (?, ?)",
                (*place, room, *place),
            )
            self.commit()

    def newest_place(self, room: RoomId) -> Place:
        """The place of the newest message of a room; `UNREAD` when there is none."""
        with self._reading():
            row = self._db.execute(
                "SELECT clock, id FROM messages WHERE room = (SELECT n FROM rooms WHERE id = ?)"
                " ORDER BY clock DESC, id DESC LIMIT 1",
                (room,),
            ).fetchone()
        return (row[0], RecordId(row[1])) if row is not None else UNREAD

    def read_places(self) -> dict[RoomId, Place]:
        """How far each room on disk was read."""
        with self._reading():
            return {
                RoomId(room): (clock, RecordId(record))
                for room, clock, record in self._db.execute("SELECT id, read_clock, read_id FROM rooms")
            }
