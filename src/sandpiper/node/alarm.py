"""One timer for everything that wants to be called later; asking for an earlier time is cheap."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_NAP = 30.0  # seconds: the clocks are compared at least this often, to notice sleep


class Alarm:
    """Calls `ring` when the earliest asked-for moment has come; `ring` gives the next one (seconds of
    `time.monotonic`, None: no wish). Make it on the event loop.
    """

    def __init__(self, ring: Callable[[], float | None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._handle: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def by(self, at: float | None) -> None:
        """Ring at `at`, if not sooner."""
        if at is None or at >= self._at or self._failed.done():
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._handle, self._at = None, float("inf")
        try:
            again = self._ring()
        except Exception as exc:  # noqa: BLE001 - `run` raises it where the node's other tasks are
            if not self._failed.done():
                self._failed.set_exception(exc)
            return
        longest = time.monotonic() + LONGEST_NAP
        self.by(longest if again is None else min(again, longest))

    async def run(self) -> None:
        """Ring for as long as this runs; raises what `ring` raises."""
        self._fire()
        try:
            await self._failed
        finally:
            self._failed.cancel()
            if self._handle is not None:
                self._handle.cancel()
