"""What a durable hub does not tell before its history is on disk: effects in order, each with how much must be written.

Pure but for the history, which is asked how far it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.hub.effects import Cut, Deliver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandpiper.hub.history import History

HELD_BYTES = 8 * 1024 * 1024  # held from which on no guest is read: what a slow disk writes in a second
MOST_HELD_BYTES = 4 * HELD_BYTES  # from which on messages are refused: what was on its way from a thousand guests
HELD_COST = 256  # what holding costs beside the bytes: many small things count, too

Step = Deliver | Cut | Callable[[], None]
"""Something to be done in its turn: an effect, or whatever is to come after all that was told before."""


class _Held(NamedTuple):
    mark: int
    size: int
    step: Step


class Holding:
    """Steps that wait until what was handed to `history` before them is on disk."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._held: deque[_Held] = deque()
        self.size = 0
        """Bytes that it takes."""

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self._held)

    @property
    def full(self) -> bool:
        """So much waits that no more should come."""
        return self.size > HELD_BYTES

    @property
    def overfull(self) -> bool:
        """So much waits that no more must come."""
        return self.size > MOST_HELD_BYTES

    def hold(self, step: Step) -> None:
        """This is to be done when everything that the history has got so far is on disk."""
        size = HELD_COST + (len(step.raw) if isinstance(step, Deliver) else 0)
        self.size += size
        self._held.append(_Held(self._history.appended, size, step))

    def ready(self) -> Iterator[Step]:
        """Take out what may be done by now, in order."""
        written = self._history.written
        held = self._held
        while held and held[0].mark <= written:
            one = held.popleft()
            self.size -= one.size
            yield one.step

    def endings(self) -> Sequence[Step]:
        """Take out what ends connections: that need not wait for a disk that fails."""
        out = [one.step for one in self._held if not isinstance(one.step, Deliver)]
        self._held = deque(one for one in self._held if isinstance(one.step, Deliver))
        self.size -= HELD_COST * len(out)
        return out

    def clear(self) -> int:
        """Forget everything; how much that was."""
        count = len(self._held)
        self._held.clear()
        self.size = 0
        return count
