"""What the guests of a hub have not taken yet, all together: whoever takes least goes before it is too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sandpiper.hub.limits import MAX_BACKLOGS_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection

RELIEVED = 0.75  # of what all may leave, once it was too much: so that not every line makes us look at everybody


class Slow(Protocol):
    """A connection that may not take what is written to it."""

    backlog: int
    """Bytes that it has not taken, when that was last looked at; part of `total`."""

    def measure(self) -> int:
        """How many they are now."""
        ...

    def cut_slow(self) -> None:
        """End it at once."""
        ...


class Backlogs:
    """Counts them for these connections, which change `total` themselves."""

    def __init__(self, connections: Collection[Slow]) -> None:
        self.total = 0
        """Bytes, or a little more than there are."""
        self._connections = connections

    def relieve(self) -> None:
        """Cut those who have taken least, if it is too much, until it is clearly less."""
        if self.total <= MAX_BACKLOGS_BYTES:
            return
        for one in tuple(self._connections):
            one.measure()
        if self.total <= MAX_BACKLOGS_BYTES:
            return
        for one in sorted(self._connections, key=lambda one: one.backlog, reverse=True):
            if self.total <= MAX_BACKLOGS_BYTES * RELIEVED:
                break
            one.cut_slow()
