"""Signals during a chat: the first says goodbye, a second does not wait for that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType

EXIT_INTERRUPTED = 130

Asked = Literal["interrupt", "stopped", "gone"]
"""By Ctrl+C or SIGINT; by SIGTERM; by SIGHUP, because the terminal was closed."""

_ASKED: dict[str, Asked] = {"SIGINT": "interrupt", "SIGBREAK": "interrupt", "SIGTERM": "stopped", "SIGHUP": "gone"}


@contextlib.contextmanager
def heeded(
    stop: Callable[[Asked], None],
    at_once: Callable[[], None],
    begun: Callable[[Asked], None] = lambda asked: None,
    *,
    ignored: Collection[str] = (),
) -> Iterator[None]:
    """Inside, the first signal calls `stop` on the running loop; the second calls `at_once` and ends the process.

    Signals named in `ignored` change nothing. `begun` is called with the first signal wherever the program is, also
    when the loop stands still; it must not wait. For the main thread; elsewhere it does nothing, because Python allows
    no more.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        reason = _ASKED[signal.Signals(number).name]
        if asked and reason != "gone":  # a closing terminal sends several
            at_once()
            os._exit(EXIT_INTERRUPTED)
        asked = True
        begun(reason)
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(stop, reason)

    before = {}
    for name in _ASKED:
        if hasattr(signal, name):
            with contextlib.suppress(ValueError):  # not the main thread
                number = signal.Signals[name]
                before[number] = signal.signal(number, signal.SIG_IGN if name in ignored else handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
