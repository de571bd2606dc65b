"""The points of the race: what is measured, in which order, and how a table of it looks."""

from __future__ import annotations

import os
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from typing_extensions import override

from bench.fanout.load import TEXT, Failed, Load, loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.fanout.load import Loaded
    from bench.fanout.rivals import Rival

ROUNDS = 3  # a figure is the median of so many, taken in turns so that a noisy minute hits everyone
SECONDS = 1.0  # of load that counts in each
# For latency: of a second's 200 messages the slowest hundredth are two, and one pause of the machine takes both.
CALM_SECONDS = 2.0
PACES = (200, 5000)  # messages a second, for latency
GUESTS = 1000  # join rate
IDLE = 10_000  # memory


@dataclass(frozen=True, order=True)
class Point:
    """One setting of the throughput race."""

    receivers: int
    senders: int
    window: int

    @override
    def __str__(self) -> str:
        """As it stands in a table."""
        return f"{self.receivers} receivers, {self.senders} sender{'s' * (self.senders > 1)}, window {self.window}"


QUICK = tuple(Point(100, 1, window) for window in (1, 100, 1000))
FULL = tuple(Point(r, s, w) for r in (10, 100, 500) for s in (1, 10) for w in (1, 100, 1000))


@dataclass
class Figures:
    """What one rival did at each point, or why not."""

    loads: dict[object, list[Load]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[object, str] = field(default_factory=dict)
    idle: float | None = None

    def median(self, point: object, of: Callable[[Load], float] = lambda load: load.rate) -> float | None:
        """The median over the rounds, or None where there is no figure."""
        return statistics.median(map(of, self.loads[point])) if self.loads.get(point) else None

    def least(self, point: object, of: Callable[[Load], float]) -> float | None:
        """The lowest of the rounds: what a shared machine adds to a delay only adds."""
        return min(map(of, self.loads[point]), default=None) if point in self.loads else None

    def wrong(self, point: object) -> str:
        """What was wrong with deliveries in any round."""
        return "; ".join(load.wrong for load in self.loads.get(point, ()) if load.wrong)


Race = dict[str, Figures]


def say(*words: object) -> None:
    """Progress goes to stderr: stdout is the table."""
    print(*words, file=sys.stderr, flush=True)


def throughput(
    rivals: Iterable[Rival],
    points: Iterable[Point],
    built: Path,
    race: Race,
    *,
    text: int = TEXT,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> None:
    """Every rival at every point. A server starts fresh for each round, and again after it failed."""
    for turn in range(rounds):
        for rival in rivals:
            rest = list(points)
            while rest:
                rest = _some_points(rival, rest, built, race[rival.name], text, seconds)
            say(f"round {turn + 1}, {rival.name}: {_last_rates(race[rival.name])} (load {os.getloadavg()[0]:.1f})")


def _some_points(
    rival: Rival, points: list[Point], built: Path, figures: Figures, text: int, seconds: float
) -> list[Point]:
    """Measure until the server fails; returns the points that are left."""
    try:
        with loaded(rival, built) as server:
            while points:
                point = points.pop(0)
                load = _guarded(server, figures, point, ("flood", *_words(point), seconds), text)
                if load is None or load.open or load.wrong:
                    return points  # what is still on its way must not disturb the next
    except Failed as error:
        figures.failed |= dict.fromkeys(points, str(error))
        return []
    return points


def _words(point: Point) -> tuple[int, int, int]:
    return point.receivers, point.senders, point.window


def _guarded(server: Loaded, figures: Figures, key: object, mode: tuple[object, ...], text: int = TEXT) -> Load | None:
    try:
        load = server.run(*mode, text=text)
    except Failed as error:
        figures.failed[key] = str(error)
        return None
    figures.loads[key].append(load)
    return load


def _last_rates(figures: Figures) -> str:
    return ", ".join(f"{runs[-1].rate / 1e6:.3g}" for runs in figures.loads.values() if runs) + " M/s"


def latency(
    rivals: Sequence[Rival], built: Path, race: Race, paces: Sequence[int] = PACES, rounds: int = ROUNDS
) -> None:
    """From when a message was due to its delivery, 100 receivers, some seconds at each pace."""
    for rival, pace in (one for _ in range(rounds) for one in product(rivals, paces)):
        key = ("pace", pace)
        load = _fresh(rival, built, race, key, ("pace", 100, pace, CALM_SECONDS))
        say(f"{rival.name} at {pace}/s: {load.p50 if load else '-'} / {load.p99 if load else '-'} ms")


def joins(rivals: Sequence[Rival], built: Path, race: Race, guests: int = GUESTS, rounds: int = ROUNDS) -> None:
    """Guests connect, take a nick and enter one room, some at a time; until the last one is in."""
    for rival in (one for _ in range(rounds) for one in rivals):
        load = _fresh(rival, built, race, "join", ("join", guests))
        say(f"{rival.name}: {load.rate if load else 0:.0f} joins/s, {load.notices if load else 0} notices")


def _fresh(rival: Rival, built: Path, race: Race, key: object, mode: tuple[object, ...]) -> Load | None:
    """One measurement of a server that has just been started; None when it failed."""
    try:
        with loaded(rival, built) as server:
            return _guarded(server, race[rival.name], key, mode)
    except Failed as error:
        race[rival.name].failed[key] = str(error)
        return None


def memory(rivals: Iterable[Rival], built: Path, race: Race, guests: int = IDLE) -> None:
    """What each idle guest costs."""
    for rival in rivals:
        try:
            with loaded(rival, built) as server:
                race[rival.name].idle = server.idle(guests)
        except Failed as error:
            race[rival.name].failed["idle"] = str(error)
            continue
        say(f"{rival.name}: {race[rival.name].idle:.2f} KiB an idle guest")
