"""Fan-out: one room, every delivery counted and checked, our hub against real servers and two bounds.

The server has one core to itself and the load generator (`loadgen.c`) another. `python -m bench.fanout --help` runs
parts of it by hand; README.md beside this file says how it measures and how each rival is configured.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench.report import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.fanout.matrix import Figures, Point, Race
    from bench.fanout.rivals import Rival

EVERYTHING = "BENCH_FANOUT_FULL"  # an environment variable: set, the whole matrix runs

# What we want to be at 100 receivers: by window, times the fastest real server, and times the C reference.
GOALS = {1: 0.9, 100: 1.8, 1000: 4.0}
BOUND_GOAL = 0.6
LATE_GOALS = {200: 1.2, 5000: 1.0}  # p99 at this pace, times the best real server's: at most
JOINS_GOAL = 5000  # a second
IDLE_GOAL = 4.0  # KiB


def run() -> list[Result]:
    """100 receivers, one sender, three windows; latency, joins, memory: each a row, against the best real server."""
    from bench.fanout.build import built
    from bench.fanout.load import raise_limits, unable
    from bench.fanout.matrix import FULL, QUICK, Figures, joins, latency, memory, say, throughput
    from bench.fanout.rivals import everyone

    if reason := unable():
        say(f"fanout is left out: {reason}")
        return []
    raise_limits()
    rivals = []
    for rival in everyone():
        if reason := rival.missing():
            say(f"without {rival.name}: {reason}")
        else:
            rivals.append(rival)
    race = {rival.name: Figures() for rival in rivals}
    points = FULL if os.environ.get(EVERYTHING) else QUICK
    with built() as programs:
        throughput(rivals, points, programs, race)
        latency(rivals, programs, race)
        joins(rivals, programs, race)
        memory(rivals, programs, race)
    return _Rows(race, rivals).all(points)


class _Rows:
    """A race as rows: ours is the hub that everybody gets, on Python's own event loop; uvloop is in the notes."""

    def __init__(self, race: Race, rivals: list[Rival]) -> None:
        self._race = race
        self._rivals = rivals
        self._ours = next(rival for rival in rivals if rival.ours and rival.usual)

    def all(self, points: tuple[Point, ...]) -> list[Result]:
        """In the order of the tables."""
        rows = [self._fastest(point) for point in points]
        rows += [self._beside_the_bound(point) for point in points if point.window == max(GOALS)]
        rows += [self._latency(pace) for pace in LATE_GOALS]
        return [row for row in (*rows, self._joins(), self._memory()) if row is not None]

    def _figures(self, of: Callable[[Figures], float | None]) -> dict[Rival, float]:
        return {rival: figure for rival in self._rivals if (figure := of(self._race[rival.name])) is not None}

    def _wrong(self, key: object) -> str:
        wrong = "; ".join(f"{name}: {one.wrong(key)}" for name, one in self._race.items() if one.wrong(key))
        return f"{wrong or 'no delivery lost, doubled or out of order'}; load average {os.getloadavg()[0]:.1f}"

    def _fastest(self, point: Point) -> Result | None:
        rates = self._figures(lambda figures: _millions(figures.median(point)))
        best = max((rival for rival in rates if rival.real), key=lambda rival: rates[rival], default=None)
        goal = GOALS[point.window]
        return self._row(str(point), "M deliveries/s", rates, best, f"{goal:g} times the fastest", goal, point)

    def _beside_the_bound(self, point: Point) -> Result | None:
        rates = self._figures(lambda figures: _millions(figures.median(point)))
        bound = next((rival for rival in rates if rival.bound), None)
        goal = f"{BOUND_GOAL:g} times what C can do"
        return self._row(f"{point}, beside C", "M deliveries/s", rates, bound, goal, BOUND_GOAL, point)

    def _latency(self, pace: int) -> Result | None:
        key = ("pace", pace)
        late = self._figures(lambda figures: figures.least(key, lambda load: load.p99))
        best = min((rival for rival in late if rival.real), key=lambda rival: late[rival], default=None)
        goal = LATE_GOALS[pace]
        said = f"at most {goal:g} times the best" if goal > 1 else "below every other"
        return self._row(f"p99 at {pace} messages/s into 100", "ms", late, best, said, -goal, key)

    def _joins(self) -> Result | None:
        rates = self._figures(lambda figures: figures.median("join"))
        best = max((rival for rival in rates if rival.real and rival.presence), key=lambda r: rates[r], default=None)
        row = self._row("joins", "guests/s", rates, best, f"{JOINS_GOAL}", 0, "join")
        return _with_met(row, row is not None and row.ours >= JOINS_GOAL)

    def _memory(self) -> Result | None:
        sizes = self._figures(lambda figures: figures.idle)
        best = min((rival for rival in sizes if rival.real), key=lambda rival: sizes[rival], default=None)
        row = self._row("memory of an idle guest", "KiB", sizes, best, f"{IDLE_GOAL:g}", 0, "idle")
        return _with_met(row, row is not None and row.ours <= IDLE_GOAL)

    def _row(
        self, what: str, unit: str, figures: dict[Rival, float], best: Rival | None, said: str, goal: float, key: object
    ) -> Result | None:
        """`goal`: the ratio to reach; negative: not to pass."""
        ours = figures.get(self._ours)
        if ours is None:
            return None
        against = figures[best] if best else None
        ratio = ours / against if against else None
        met = None if ratio is None else ratio >= goal if goal >= 0 else ratio <= -goal
        met = met and not self._race[self._ours.name].wrong(key)
        note = ", ".join(f"{rival.name} {figure:.4g}{self._thrift(rival, key)}" for rival, figure in figures.items())
        name = best.name if best else ""
        return Result("fanout", what, unit, ours, name, against, ratio, said, met, f"{note}; {self._wrong(key)}")

    def _thrift(self, rival: Rival, key: object) -> str:
        """Each CPU second of the server, where that was counted."""
        each = self._race[rival.name].median(key, lambda load: load.each_cpu_second)
        return f" ({each / 1e6:.3g} a CPU second)" if each and not isinstance(key, (str, tuple)) else ""


def _millions(rate: float | None) -> float | None:
    return None if rate is None else rate / 1e6


def _with_met(row: Result | None, met: bool) -> Result | None:
    return None if row is None else Result(**{**vars(row), "met": met and row.met is not False})
