"""Pages of the history, read off the event loop: one at a time, and of those that wait only the newest.

What is said in a room while a page of it is being read is kept until the page is there: it may be on the page or not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.errors import SandpiperError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.faces.tui.transcript.sheets import Sheets
    from sandpiper.store.reader import Message, Reader
    from sandpiper.wire.ids import RecordId, RoomId

PAGE = 200  # messages read at once: some ten screenfuls, in a few milliseconds
MAX_HEARD = 5_000  # messages kept while a page is read: as many as a sheet has


class Wish(NamedTuple):
    """A page that is wanted: `ask` reads it, in a thread; `use` is given its messages, and those said meanwhile."""

    room: RoomId
    ask: Callable[[Reader], list[Message]]
    use: Callable[[list[Message], list[Message]], None]


class Paging:
    """Reads what is wished for. `failed` is told when it cannot be read."""

    def __init__(
        self, reader: Callable[[], Reader], sheets: Sheets, failed: Callable[[SandpiperError], object]
    ) -> None:
        self._reader = reader
        self._sheets = sheets
        self._failed = failed
        self._waiting: Wish | None = None
        self._reading: Wish | None = None
        self._heard: deque[Message] = deque(maxlen=MAX_HEARD)

    def reads(self, room: RoomId) -> bool:
        """A page of this room is being read, or will be."""
        return any(wish is not None and wish.room == room for wish in (self._reading, self._waiting))

    def heard(self, room: RoomId, messages: Sequence[Message]) -> None:
        """This was said now."""
        if self._reading is not None and self._reading.room == room:
            self._heard.extend(messages)

    def wish(self, wish: Wish) -> bool:
        """Read this next; true when `run` has to be started for it."""
        self._waiting = wish
        return self._reading is None

    async def run(self) -> None:
        """Read until nothing is wished for any more."""
        while self._waiting is not None:
            wish = self._reading = self._waiting
            self._waiting = None
            self._heard.clear()
            try:
                page, answered = await asyncio.to_thread(self._read, wish)
            except SandpiperError as exc:
                self._failed(exc)
            else:
                self._sheets.fetched(wish.room, answered)
                wish.use(page, list(self._heard))
            finally:
                self._reading = None

    def _read(self, wish: Wish) -> tuple[list[Message], list[Message]]:
        with self._reader() as reader:
            page = wish.ask(reader)
            return page, reader.messages(self._sheets.unknown(wish.room, page))

    async def fetch(self, ids: list[RecordId]) -> list[Message]:
        """Some messages by their ids; none when they cannot be read, which is told."""

        def read() -> list[Message]:
            with self._reader() as reader:
                return reader.messages(ids)

        try:
            return await asyncio.to_thread(read)
        except SandpiperError as exc:
            self._failed(exc)
            return []
