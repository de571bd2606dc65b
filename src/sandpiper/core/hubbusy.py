"""What a hub had no time for, to be asked again: later and later, until it is done. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.backoff import Backoff

if TYPE_CHECKING:
    import random

BUSY_FIRST, BUSY_MOST = 1.0, 30.0  # seconds: a hash queue is empty in one, a disk is not made room on in ten
NICK = " nick"
"""Our nick. No room's name has a space."""
SAY = " say"
"""Whatever we say, in all rooms: a hub that cannot keep anything can do so nowhere."""


class Busy:
    """What waits, by room's name (to enter it), `NICK` or `SAY`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._backoffs: dict[str, Backoff] = {}
        self._due: dict[str, float] = {}

    def refused(self, what: str, now: float) -> bool:
        """The hub had no time for it; whether that is the first time since it was `done`."""
        first = what not in self._backoffs
        if first:
            self._backoffs[what] = Backoff(BUSY_FIRST, BUSY_MOST)
        if what not in self._due:
            self._due[what] = now + self._backoffs[what].next(self._rng)
        return first

    def later(self, what: str, when: float) -> None:
        """Ask for it then, whatever the hub has time for."""
        self._due[what] = when

    def waits(self, what: str) -> bool:
        """Whether it is not to be asked for yet."""
        return what in self._due

    def done(self, what: str) -> None:
        """It is done, or not wanted any more."""
        self._backoffs.pop(what, None)
        self._due.pop(what, None)

    def deadline(self) -> float | None:
        """When to call `due`, in seconds."""
        return min(self._due.values(), default=None)

    def due(self, now: float) -> list[str]:
        """What is to be asked for now."""
        found = [what for what, when in self._due.items() if now >= when]
        for what in found:
            del self._due[what]
        return found

    def stop(self) -> None:
        """The connection has ended: all of it is asked for anew on the next one."""
        self._backoffs.clear()
        self._due.clear()
