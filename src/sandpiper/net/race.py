"""Several ways at once, each begun a moment after the one before it: the first that works wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from sandpiper.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

STAGGER = 0.3  # seconds: RFC 8305, section 5, has 250 ms between addresses; a relay's way is longer

T = TypeVar("T")


class AllFailed(LinkError):
    """None of them worked; `reasons` has one error for each."""

    def __init__(self, reasons: Sequence[LinkError]) -> None:
        super().__init__("; ".join(str(reason) for reason in reasons) or "There is nothing to try.")
        self.reasons = tuple(reasons)


def drop(task: asyncio.Task[T], discard: Callable[[T], None]) -> None:
    """Nobody waits for `task` any more; `discard` gets what it gives after all."""

    def ended(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            discard(task.result())

    task.cancel()
    task.add_done_callback(ended)


async def first_of(
    ways: Sequence[Callable[[], Awaitable[T]]], discard: Callable[[T], None], stagger: float = STAGGER
) -> T:
    """What the first way that works gives; each begins `stagger` seconds after the one before it, or when that has
    failed. `discard` gets what others give that work at the same moment.

    Raises:
        AllFailed: none works.
    """
    errors: dict[int, LinkError] = {}
    tasks: dict[asyncio.Task[T], int] = {}
    won: asyncio.Task[T] | None = None

    async def go(way: Callable[[], Awaitable[T]]) -> T:
        return await way()

    try:
        for number, way in enumerate(ways):
            tasks[asyncio.create_task(go(way), name=f"way {number}")] = number
            running = {task for task in tasks if not task.done()}
            last = number == len(ways) - 1
            before = len(errors)
            while running and won is None and (last or len(errors) == before):
                done, running = await asyncio.wait(
                    running, timeout=None if last else stagger, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    exc = task.exception()
                    if exc is None:
                        won = won or task
                    elif isinstance(exc, LinkError):
                        errors[tasks[task]] = exc
                    else:
                        raise exc
                if not done:
                    break
            if won is not None:
                return won.result()
        raise AllFailed([errors[number] for number in sorted(errors)])
    finally:
        for task in tasks:
            if task is not won:
                task.cancel()
        for one in await asyncio.gather(*(task for task in tasks if task is not won), return_exceptions=True):
            if not isinstance(one, BaseException):
                discard(one)
