"""Whether a hub is still there, and how far away: when to ping it, and when it has been silent for too long. Pure."""

from __future__ import annotations

from typing import Literal

PING_SECONDS = 45.0  # silence of the hub after which it is pinged; it pings us after 30 s, so this is seldom needed
SILENCE_SECONDS = 75.0  # silence after which it is gone
MEASURE_SECONDS = 60.0  # between two measures of the round trip: it is looked at, not acted on
DOUBT_SECONDS = 6.0  # for an answer to come when the network has changed under us: a far tunnel answers within two


class Pulse:
    """Of one connection. Call `tick` at its `deadline`."""

    def __init__(self, now: float) -> None:
        self.round_trip: float | None = None
        """The last one that was measured, in seconds."""
        self._heard = now
        self._pinged = False  # because of its silence
        self._gone_at: float | None = None  # unless it answers before: there is reason to doubt
        self._doubted = 0  # the first ping whose answer ends the doubt
        self._measure_at = now + MEASURE_SECONDS
        self._sent: tuple[int, float] | None = None  # the ping whose answer is awaited, and since when
        self._n = 0

    def deadline(self) -> float:
        """When to call `tick`, in seconds."""
        silent = self._heard + (SILENCE_SECONDS if self._pinged else PING_SECONDS)
        return min(silent, self._measure_at, silent if self._gone_at is None else self._gone_at)

    def tick(self, now: float) -> Literal["ping", "gone", "wait"]:
        """The deadline has come: what is to be done."""
        if self._gone_at is not None and now >= self._gone_at:
            return "gone"
        if self._pinged and now >= self._heard + SILENCE_SECONDS:
            return "gone"
        if not self._pinged and now >= self._heard + PING_SECONDS:
            self._pinged = True
            return "ping"
        if now >= self._measure_at:
            return "ping"
        return "wait"

    def ping(self, now: float) -> int:
        """The number of a ping that goes out now."""
        self._n += 1
        self._sent = self._n, now
        self._measure_at = now + MEASURE_SECONDS
        return self._n

    def pong(self, n: int, now: float) -> None:
        """It was answered."""
        if n >= self._doubted:
            self._gone_at = None
        if self._sent is not None and self._sent[0] == n:
            self.round_trip = now - self._sent[1]
            self._sent = None

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard, self._pinged = now, False

    def doubt(self, now: float) -> None:
        """The network has changed, or the machine has slept: it is gone unless it answers the next ping soon.

        Other lines prove nothing: they may have come before, and wait in the socket.
        """
        self._gone_at, self._doubted = now + DOUBT_SECONDS, self._n + 1
