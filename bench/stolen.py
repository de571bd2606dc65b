"""When the host of a virtual machine took the processor away: what happens then says nothing about any program.

Linux counts it as `steal`, in steps of 10 ms (proc(5)). Elsewhere, and on real machines, nothing is ever stolen.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Self

EVERY = 0.005  # seconds between two looks
AROUND = 0.015  # seconds before and after that a step may be counted late
_STEAL = 8  # field of the first line


class Stolen:
    """Looks on while a block runs. Times are `time.monotonic()`, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []
        """When a step was seen."""
        self._stopping = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._looking.join()

    def _look(self) -> None:
        before = stolen()
        while not self._stopping.wait(EVERY):
            now = stolen()
            if now > before:
                self.times.append(time.monotonic())
            before = now

    def between(self, begin: float, end: float) -> bool:
        """True when some of that time was taken."""
        return bisect_left(self.times, begin - AROUND) < bisect_right(self.times, end + AROUND)


def stolen() -> int:
    """Steps since the machine was started, of all cores."""
    counted = Path("/proc/stat")
    if not counted.exists():
        return 0
    with counted.open() as lines:
        fields = next(lines).split()
    return int(fields[_STEAL]) if len(fields) > _STEAL else 0
