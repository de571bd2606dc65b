"""A key is on its way to the screen: the node's thread waits meanwhile.

One thread of Python runs at a time. With a burst from the network going on, the two would take turns, and a letter
would take twice as long to be there.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

HUSH_SECONDS = 0.02  # at most, for one key; a paint takes some milliseconds, and nothing of the node's is so urgent


class Hush:
    """`begin` and `end` are called in the screen's thread, and wait for nothing."""

    def __init__(self) -> None:
        self._painted = threading.Event()
        self._asked = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """A key was struck: have this loop of another thread wait, once it has done what it is doing now. Between two
        waits it does whatever there is to do, so that a key that is held down does not stop it.
        """
        self._painted.clear()
        if not self._asked:
            self._asked = True
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self._wait)

    def end(self) -> None:
        """The screen was painted."""
        self._painted.set()

    def _wait(self) -> None:
        self._asked = False
        self._painted.wait(HUSH_SECONDS)
