"""The full screen: how soon it is there, how it types under load, and what a long history costs it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import big_room, first_paint, keystrokes

if TYPE_CHECKING:
    from bench.report import Result


def run() -> list[Result]:
    """All three, one after another: each of them can be asked for by its own name, too."""
    results: list[Result] = []
    for part in (first_paint, keystrokes, big_room):
        load = os.getloadavg()[0]
        found = part.run()
        note = f"load average {load:.1f} before and {os.getloadavg()[0]:.1f} after"
        results += [replace(one, note="; ".join(filter(None, (one.note, note)))) for one in found]
    return results
