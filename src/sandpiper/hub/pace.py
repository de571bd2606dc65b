"""How often guests may do something: buckets that know how long to wait, so that nothing is dropped. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.rate import Bucket

if TYPE_CHECKING:
    from sandpiper.hub.limits import Pace


class Allowance(Bucket):
    """A bucket that gives as much as there is, takes back, and says when there is more."""

    __slots__ = ()

    def __init__(self, pace: Pace, now: float) -> None:
        super().__init__(pace.rate, pace.burst, now)

    def take_up_to(self, now: float, count: int) -> int:
        """Take `count` or as many whole ones as there are; how many that was. `now` in seconds."""
        if self.take(now, count):
            return count
        there = int(self._level)
        self._level -= there
        return there

    def change(self, pace: Pace, now: float) -> None:
        """Another pace from `now` (seconds) on."""
        self.take(now, 0.0)
        self._rate, self._burst = pace.rate, pace.burst
        self._level = min(self._level, pace.burst)

    def give_back(self, count: int) -> None:
        """Of what was taken, this was not used."""
        self._level += count

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds from `now` until `amount` (at most a whole burst) will be there."""
        self.take(now, 0.0)
        return max(0.0, (min(amount, self._burst) - self._level) / self._rate)


class Address:
    """What the connections of one address share."""

    __slots__ = ("allowance", "connections")

    def __init__(self, pace: Pace, now: float) -> None:
        self.connections = 0
        self.allowance = Allowance(pace, now)
