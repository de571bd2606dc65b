"""What a hub counts about itself, for its metrics and its log: by the batch, never for each receiver. Pure."""

from __future__ import annotations

from collections import Counter, deque

LAG_SAMPLES = 60  # newest measurements of the loop's lag: a minute of them, longer than most scrapes are apart
MAX_CODES = 64  # different reasons that are told apart: ours are some thirty, and all of them are our own words


class Tally:
    """How often each of a few words came; beyond `MAX_CODES` different ones they are `other`."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, word: str, times: int = 1) -> None:
        """It came so many times more."""
        self._counts[word if word in self._counts or len(self._counts) < MAX_CODES else "other"] += times

    def items(self) -> list[tuple[str, int]]:
        """Words and how often they came, by word."""
        return sorted(self._counts.items())

    def __getitem__(self, word: str) -> int:
        """How often it came."""
        return self._counts[word]


class Counts:
    """Counted since the start. Sizes in bytes, times in seconds."""

    def __init__(self) -> None:
        self.joins = Tally()
        """Connections by what they spoke: chat, http, tls (whatever is inside is counted, too), link."""
        self.turned_away = Tally()
        """Connections that ended at the door, by why."""
        self.pages = Tally()
        """Answers to HTTP, by status."""
        self.messages = 0
        """Lines that got a number: messages, edits, reactions and the like."""
        self.message_bytes = 0
        """Their bytes, once each, however many they went to."""
        self.batches = 0
        self.deliveries = 0
        """Messages and whatever else was told, for each guest that it went to."""
        self.bytes_written = 0
        """Bytes of deliveries, also of those that a guest did not stay for."""
        self.bytes_read = 0
        """Bytes that guests sent."""
        self.cuts = Tally()
        """Connections that the hub has closed, by code."""
        self.errors = Tally()
        """Errors that guests were told, by code."""
        self.strikes = 0
        """Lines that no program sends by a slip of its user."""
        self.wrong_passwords = 0
        self.reloads = 0
        self._lags: deque[float] = deque([0.0], LAG_SAMPLES)

    def lagged(self, seconds: float) -> None:
        """The loop came round so much later than it was asked to."""
        self._lags.append(max(0.0, seconds))

    @property
    def lag(self) -> float:
        """The loop's newest lag."""
        return self._lags[-1]

    @property
    def worst_lag(self) -> float:
        """The worst of the last minute."""
        return max(self._lags)
