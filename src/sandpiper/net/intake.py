"""One link's incoming frames: signatures are checked ahead, on threads, while earlier frames take effect in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sandpiper.wire.admission import LinkFrame
from sandpiper.wire.records import Record

AHEAD = 2  # frames whose signatures are being checked while one takes effect: both cores stay busy, memory small

Checked = Awaitable[tuple[Record, ...]] | tuple[Record, ...]
"""Records with checked signatures: now, or soon."""
Check = Callable[[LinkFrame], Checked]
Apply = Callable[[LinkFrame, tuple[Record, ...]], None]


_Queue = asyncio.Queue[tuple[LinkFrame, Checked] | None]


class Intake:
    """Takes frames of one link in order and applies them in order.

    `check(frame)` gives the records of a frame, or starts checking them on a thread when they are many;
    `apply(frame, records)` lets it take effect. The first error of either comes out of the next `put` or `drain`;
    `failed(error)` is told at once, because the other side may have nothing more to say.
    """

    def __init__(
        self, check: Check, apply: Apply, failed: Callable[[Exception], None], tasks: asyncio.TaskGroup, name: str
    ) -> None:
        self._check = check
        self._apply = apply
        self._failed = failed
        self._tasks = tasks
        self._name = name
        self._queue: _Queue | None = None
        self._worker: asyncio.Task[None] | None = None
        self._taken = 0  # frames that were taken and have not taken effect, the one that waits for room included
        self._error: Exception | None = None

    async def put(self, frame: LinkFrame) -> None:
        """Take one frame; waits while too many are ahead of it."""
        if self._error is not None:
            raise self._error
        checked = self._check(frame)
        if isinstance(checked, tuple) and not self._taken:
            self._apply(frame, checked)
            return
        if self._queue is None:
            self._queue = _Queue(AHEAD)
            self._worker = self._tasks.create_task(self._work(self._queue), name=f"apply {self._name}")
        self._taken += 1
        await self._queue.put((frame, checked))

    async def drain(self) -> None:
        """Let everything that was taken take effect; nothing can be put after it."""
        if self._queue is not None and self._worker is not None:
            try:
                if not self._worker.done():
                    await self._queue.put(None)
                await self._worker
            finally:
                self._worker.cancel()  # when we are cancelled, or it was: nobody empties the queue any more
        if self._error is not None:
            raise self._error

    async def _work(self, queue: _Queue) -> None:
        while (item := await queue.get()) is not None:
            frame, checked = item
            try:
                records = checked if isinstance(checked, tuple) else await checked
                if self._error is None:
                    self._apply(frame, records)
            except Exception as exc:  # noqa: BLE001 - handed to whoever puts the next frame
                if self._error is None:
                    self._error = exc
                    self._failed(exc)
            self._taken -= 1
