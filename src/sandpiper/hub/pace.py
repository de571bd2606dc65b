"""How often guests may do something: buckets that know how long to wait, so that nothing is dropped. Pure."""

from __future__ import annotations

from sandpiper.core.rate import Bucket
from sandpiper.hub.limits import ARRIVALS, MAX_CONNECTIONS_AN_ADDRESS, NICKS_OWNED, ROOMS_MADE, Pace

# Seconds that one of a queue waits at most beyond what it would wait alone: whoever asked and went meanwhile must not
# keep others waiting, and 20,000 who look again every two seconds cost little.
LONGEST_TURN = 2.0
AT_ONCE = 0.001  # seconds by which clocks are not exact: whose turn it was a moment ago waits no more


class Allowance(Bucket):
    """A bucket that gives as much as there is, takes back, and says when there is more."""

    __slots__ = ("_last",)

    def __init__(self, pace: Pace, now: float) -> None:
        super().__init__(pace.rate, pace.burst, now)
        self._last = now  # when it is the turn of the last who wait for it

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

    def used(self, now: float) -> bool:
        """Whether it is not whole at `now` (seconds)."""
        self.take(now, 0.0)
        return self._level < self._burst

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds from `now` until `amount` (at most a whole burst) will be there."""
        self.take(now, 0.0)
        return max(0.0, (min(amount, self._burst) - self._level) / self._rate)

    def turn(self, now: float, amount: float) -> float:
        """As `wait`, for one of many who wait: behind all who asked before, each of whom will have `amount`. So they
        look again one by one, not all at once for the little that there is.
        """
        alone = self.wait(now, amount)
        if not alone:
            return 0.0
        behind = 0.0
        if self._last > now + AT_ONCE:
            behind = min(self._last - now + min(amount, self._burst) / self._rate, LONGEST_TURN)
        self._last = now + max(alone, behind)
        return max(alone, behind)


class Address:
    """What the connections of one address share."""

    __slots__ = ("_owns", "_rooms", "allowance", "connections")

    def __init__(self, pace: Pace, now: float) -> None:
        self.connections = 0
        self.allowance = Allowance(pace, now)
        self._rooms: Allowance | None = None  # most need neither
        self._owns: Allowance | None = None

    def makes_room(self, now: float) -> bool:
        """Whether one more new room may be made from here at `now` (seconds); it counts."""
        if self._rooms is None:
            self._rooms = Allowance(ROOMS_MADE, now)
        return self._rooms.take(now)

    def owns_nick(self, now: float) -> bool:
        """Whether one more nick may become somebody's from here at `now` (seconds); it counts."""
        if self._owns is None:
            self._owns = Allowance(NICKS_OWNED, now)
        return self._owns.take(now)

    def whole(self, now: float) -> bool:
        """Whether nothing of what it may do is used up at `now` (seconds): it need not be remembered."""
        return not any(one is not None and one.used(now) for one in (self.allowance, self._rooms, self._owns))


class Arrivals:
    """New connections by address: whoever comes and goes all the time never has many at once, and costs the hub a
    handshake each time.
    """

    def __init__(self) -> None:
        self._addresses: dict[str, Allowance] = {}  # those that have come of late

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._addresses)

    def takes(self, address: str, most: int, now: float) -> bool:
        """Whether one more may come from there at `now` (seconds), which may have `most` at once; it counts."""
        allowance = self._addresses.get(address)
        if allowance is None:
            times = most / MAX_CONNECTIONS_AN_ADDRESS
            pace = Pace(ARRIVALS.rate * max(1.0, times), ARRIVALS.burst * max(1.0, times))
            allowance = self._addresses[address] = Allowance(pace, now)
        return allowance.take(now)

    def forget(self, now: float) -> None:
        """Those who may come as if they never had; call it now and then."""
        for address, allowance in list(self._addresses.items()):
            if not allowance.used(now):
                del self._addresses[address]
