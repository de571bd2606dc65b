"""A room whose older messages are coming: which of them deserve a line now, and how many stay for /history. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sandpiper.wire.records import Text

if TYPE_CHECKING:
    from sandpiper.wire.records import Record

TAIL = 20  # messages shown at the end of a catch-up that brought no newest screenful first


class CatchingUp:
    """One catch-up, from its first notice to its last."""

    def __init__(self) -> None:
        self._newest: int | None = None  # time of the newest preview
        self._tail: deque[Record] = deque(maxlen=TAIL)
        self._hidden = 0

    def preview(self, record: Record) -> None:
        """One of the newest records was shown."""
        self._newest = record.time if self._newest is None else max(self._newest, record.time)

    def hides(self, record: Record) -> bool:
        """True for what is not shown, because it is older than what was."""
        if self._newest is not None and record.time > self._newest:
            return False
        if isinstance(record.body, Text):
            self._hidden += 1
            self._tail.append(record)
        return True

    def end(self) -> tuple[list[Record], int]:
        """Records to show now, because nothing was shown yet, and how many older messages remain unseen."""
        tail = [] if self._newest is not None else list(self._tail)
        return tail, self._hidden - len(tail)
