"""Fan-out: one room, every delivery counted and checked, our hub against real servers and two bounds.

The server has one core to itself and the load generator (`loadgen.c`) another. `python -m bench.fanout --help` runs
parts of it by hand; README.md beside this file says how it measures and how each rival is configured.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench.report import Result

if TYPE_CHECKING:
    from bench.fanout.matrix import Point, Race
    from bench.fanout.rivals import Rival

EVERYTHING = "BENCH_FANOUT_FULL"  # an environment variable: set, the whole matrix runs


def run() -> list[Result]:
    """The quick set: 100 receivers, one sender, three windows; one row for each, against the best real server."""
    from bench.fanout.build import built
    from bench.fanout.load import raise_limits, unable
    from bench.fanout.matrix import FULL, QUICK, Figures, say, throughput
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
    return [row for point in points for row in _row(race, rivals, point)]


def _thrift(race: Race, rival: Rival, point: Point) -> float:
    return (race[rival.name].median(point, lambda load: load.each_cpu_second) or 0.0) / 1e6


def _row(race: Race, rivals: list[Rival], point: Point) -> list[Result]:
    rates = {rival: rate / 1e6 for rival in rivals if (rate := race[rival.name].median(point)) is not None}
    ours = next((rival for rival in rates if rival.ours), None)
    if ours is None:
        return []
    best = max((rival for rival in rates if rival.real), key=lambda rival: rates[rival], default=None)
    against = rates[best] if best else None
    wrong = "; ".join(f"{name}: {figures.wrong(point)}" for name, figures in race.items() if figures.wrong(point))
    others = ", ".join(f"{rival.name} {rate:.3g} ({_thrift(race, rival, point):.3g})" for rival, rate in rates.items())
    ratio = rates[ours] / against if against else None
    goal = "as fast as the best" if point.window == 1 else "twice the best"
    met = None if ratio is None else not race[ours.name].wrong(point) and ratio >= (0.9 if point.window == 1 else 2)
    right = wrong or "no delivery lost, doubled or out of order"
    note = f"{others} (in brackets: each CPU second of the server); {right}; load average {os.getloadavg()[0]:.1f}"
    name = best.name if best else ""
    return [Result("fanout", str(point), "M deliveries/s", rates[ours], name, against, ratio, goal, met, note)]
