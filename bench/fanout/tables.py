"""Figures as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fanout.matrix import PACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.fanout.matrix import Figures, Point, Race


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _notes(race: Race, keys: Iterable[object]) -> str:
    keys = list(keys)
    notes = []
    for name, figures in race.items():
        for key in keys:
            if key in figures.failed:
                notes.append(f"- {name}, {key}: {figures.failed[key]}")
            if figures.wrong(key):
                notes.append(f"- {name}, {key}: **{figures.wrong(key)}**")
            if unfinished := max((load.open for load in figures.loads.get(key, ())), default=0):
                notes.append(f"- {name}, {key}: {unfinished} deliveries were still owed 2 s after the end")
    return "\n" + "\n".join(notes) + "\n" if notes else ""


def _rate(figures: Figures, point: Point) -> str:
    rate = figures.median(point)
    if rate is None:
        return "-"
    generator = figures.median(point, lambda load: load.generator_cpu)
    server = figures.median(point, lambda load: load.server_cpu)
    return f"{rate / 1e6:.3g} ({100 * (server or 0):.0f}/{100 * (generator or 0):.0f})"


def _thrift(figures: Figures, point: Point) -> str:
    each = figures.median(point, lambda load: load.each_cpu_second)
    return "-" if each is None else f"{each / 1e6:.3g}"


def rate_table(race: Race, points: Sequence[Point], text: int) -> str:
    """Throughput, twice: a second, and a CPU second of the server. Points down, rivals across."""
    first = f"M deliveries/s (CPU % of server/generator), texts of {text} B"
    rates = _table([first, *race], [[str(p), *(_rate(figures, p) for figures in race.values())] for p in points])
    second = "M deliveries a CPU second of the server"
    thrift = _table([second, *race], [[str(p), *(_thrift(figures, p) for figures in race.values())] for p in points])
    return f"\n{rates}\n\n{thrift}\n{_notes(race, points)}"


def latency_table(race: Race) -> str:
    """Latency: rivals down, paces across."""

    def cell(figures: Figures, pace: int) -> str:
        p50 = figures.least(("pace", pace), lambda load: load.p50)
        p99 = figures.least(("pace", pace), lambda load: load.p99)
        return "-" if p50 is None or p99 is None else f"{p50:.2f} / {p99:.2f}"

    head = ["100 receivers, ms p50 / p99, each the lowest", *(f"{pace} messages/s" for pace in PACES)]
    rows = [[name, *(cell(figures, pace) for pace in PACES)] for name, figures in race.items()]
    return f"\n{_table(head, rows)}\n{_notes(race, [('pace', pace) for pace in PACES])}"


def join_table(race: Race, guests: int, idle: int) -> str:
    """Join rate and memory."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    head = ["", f"joins/s, {guests} guests", "presence lines seen", f"KiB an idle guest, {idle} guests"]
    rows = [
        [
            name,
            number(figures.median("join"), ".0f"),
            number(figures.median("join", lambda load: load.notices), ".0f"),
            number(figures.idle, ".2f"),
        ]
        for name, figures in race.items()
    ]
    return f"\n{_table(head, rows)}\n{_notes(race, ['join', 'idle'])}"
