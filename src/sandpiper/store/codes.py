"""What a profile keeps of the codes of its private rooms, beside these rooms' secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.codekeeping import CodeChange, KeptCode, KeptEnd
from sandpiper.wire.admission import CodeOpen, decode_admission, encode_admission
from sandpiper.wire.ids import RoomId

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from contextlib import AbstractContextManager


class CodesKept:
    """The part of a `History` that keeps them."""

    _db: sqlite3.Connection
    _rooms: dict[bytes, int]

    def _writing(self, doing: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _reading(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        """Make everything so far survive a crash of this process."""
        raise NotImplementedError

    def keep_codes(self, changes: Iterable[CodeChange]) -> None:
        """Keep codes as they are now. The words of one that is closed are written over."""
        with self._writing("keeping codes"):
            self._begin()
            for change in changes:
                self._db.execute("DELETE FROM codes WHERE id = ?", (change.id,))
                if not isinstance(change, KeptCode | KeptEnd):
                    continue
                self._db.execute(
                    "INSERT INTO codes (id, ends, mine, told, nameplate, relay, reason, room)"
                    " SELECT ?, ?, ?, ?, ?, ?, ?, n FROM rooms WHERE id = ?",
                    _row(change),
                )

    def load_codes(self, now_ms: int) -> list[KeptCode | KeptEnd]:
        """Codes of rooms that we are in which have not ended by `now_ms` (ms since 1970), the oldest first; all others
        are forgotten.

        Raises:
            StoreError: the file is damaged, or the disk failed.
        """
        with self._writing("keeping codes"):
            self._begin()
            self._db.execute(
                "DELETE FROM codes WHERE ends <= ? OR room NOT IN (SELECT n FROM rooms WHERE joined)", (now_ms,)
            )
        self.commit()
        with self._reading():
            rows = self._db.execute(
                "SELECT c.id, r.id, c.ends, c.mine, c.told, c.nameplate, c.relay, c.reason"
                " FROM codes c JOIN rooms r ON r.n = c.room ORDER BY c.ends, c.id"
            ).fetchall()
            out: list[KeptCode | KeptEnd] = []
            for code_id, room, ends, mine, told, nameplate, relay, reason in rows:
                if reason:
                    out.append(KeptEnd(code_id, RoomId(room), nameplate, relay, reason, ends))
                    continue
                opened = decode_admission(told)
                if not isinstance(opened, CodeOpen):
                    raise ValueError("a code that is none")
                out.append(KeptCode(opened, ends, bool(mine)))
            return out


def _row(change: KeptCode | KeptEnd) -> tuple[object, ...]:
    if isinstance(change, KeptCode):
        told = change.told
        return change.id, change.ends, change.mine, encode_admission(told), told.nameplate, told.relay, "", change.room
    return change.id, change.ends, False, b"", change.nameplate, change.relay, change.reason, change.room
