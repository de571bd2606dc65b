"""How long to wait before trying again: longer each time, with jitter, so that peers do not march in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


class Backoff:
    """Waits of `first`, then `factor` times more, up to `most` seconds, each times 0.5 to 1.5."""

    __slots__ = ("_factor", "_first", "_most", "_tries")

    def __init__(self, first: float, most: float, factor: float = 2.0) -> None:
        self._first = first
        self._most = most
        self._factor = factor
        self._tries = 0

    def next(self, rng: random.Random) -> float:
        """The next wait, in seconds."""
        wait = min(self._most, self._first * self._factor**self._tries)
        self._tries += wait < self._most
        return wait * rng.uniform(0.5, 1.5)

    def reset(self) -> None:
        """Something worked: begin anew."""
        self._tries = 0
