"""Fetches what was missed in the rooms of a hub: one page at a time, since a hub gives no more at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.core.hubroom import HubRoom
    from sandpiper.wire.hub.asks import History

PAGE_SECONDS = 20.0  # for a page to come: megabytes, at worst, through a thin tunnel
BUSY_SECONDS = 1.0  # before a page that the hub had no time for is asked for again
MAX_PAGE_TRIES = 3  # times that a page is asked for before what it would hold is given up


class CatchUp:
    """Which page is on its way."""

    def __init__(self) -> None:
        self.room: HubRoom | None = None
        """Whose page it is."""
        self._by = 0.0
        self._again: float | None = None  # the hub was busy: ask then
        self._tries = 0

    def deadline(self) -> float | None:
        """When to call `tick`, in seconds."""
        if self.room is None:
            return None
        return self._by if self._again is None else self._again

    def begin(self, rooms: Iterable[HubRoom], now: float) -> History | None:
        """What to ask for, if anything is missing and nothing on its way."""
        if self.room is not None:
            return None
        self.room = next((room for room in rooms if room.inside and room.behind), None)
        self._tries = 0
        return self._ask(now)

    def _ask(self, now: float) -> History | None:
        if self.room is None:
            return None
        self._again, self._by = None, now + PAGE_SECONDS
        return self.room.ask()

    def tick(self, now: float) -> History | None:
        """The deadline has come: what to ask for again; None: give up."""
        if self._again is None:
            self._tries += 1
            if self._tries >= MAX_PAGE_TRIES:
                return None
        return self._ask(now)

    def busy(self, room: str, now: float) -> bool:
        """The hub has no time for a page of `room` (as lines name it); False: that is none of ours."""
        if self.room is None or room not in (self.room.shown, self.room.name):
            return False
        self._again = now + BUSY_SECONDS
        return True

    def expects(self, room: str, epoch: str) -> HubRoom | None:
        """The room that this page belongs to, if it was asked for."""
        found = self.room
        if found is None or self._again is not None or (found.name, found.epoch) != (room, epoch):
            return None
        return found

    def stop(self) -> None:
        """Nothing is on its way any more."""
        self.room = self._again = None
