"""What Textual 8 gets wrong about terminals, set right in one place; each entry says what happens without it.

Parts of Textual that are not public are used here and nowhere else, and only where they exist.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import shutil
import sys
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.geometry import Size

if TYPE_CHECKING:
    from textual.app import App
    from textual.timer import Timer

SETTLED_SECONDS = 0.05  # after the last change of size, everything is painted once more


class _Keys(StrEnum):
    ALT_ENTER = "alt+enter"
    ALT_1 = "alt+1"
    ALT_2 = "alt+2"
    ALT_3 = "alt+3"
    ALT_4 = "alt+4"
    ALT_5 = "alt+5"
    ALT_6 = "alt+6"
    ALT_7 = "alt+7"
    ALT_8 = "alt+8"
    ALT_9 = "alt+9"


def mend_keys() -> None:
    """Know what terminals without the newer keyboard protocol send for Alt and a key. Otherwise ESC CR is Enter, so
    that a new line would send, and ESC 1 a letter that one terminal on one system means by it.
    """
    digits = {f"\x1b{n}": (_Keys(f"alt+{n}"),) for n in range(1, 10)}
    cast("dict[str, object]", ANSI_SEQUENCES_KEYS).update({"\x1b\r": (_Keys.ALT_ENTER,), **digits})


def mend_input() -> None:
    """Read bytes that are no UTF-8 as U+FFFD. Otherwise one of them (a Latin-1 terminal, a binary paste) ends the
    program.
    """
    if sys.platform != "win32":
        from textual.drivers import linux_driver

        lenient = partial(codecs.getincrementaldecoder("utf-8"), errors="replace")
        linux_driver.getincrementaldecoder = lambda encoding: lenient  # type: ignore[attr-defined]


def mend_size() -> None:
    """Ask the terminal for its size. Otherwise COLUMNS and LINES win, which some shells and CI runners export and
    which are not so for long.
    """
    if sys.platform != "win32":
        from textual.drivers.linux_driver import LinuxDriver

        def measure(driver: LinuxDriver) -> tuple[int, int]:
            with suppress(OSError, ValueError):
                columns, rows = os.get_terminal_size(driver.fileno)
                if columns and rows:  # a serial line says 0 by 0
                    return columns, rows
            return shutil.get_terminal_size()

        LinuxDriver._get_terminal_size = measure  # type: ignore[method-assign, assignment]


class Signals:
    """The signals of the terminal, heeded between two steps of the loop.

    Textual heeds them wherever the program is. When that is in the queue of its output, which knows no second comer,
    SIGTSTP makes everything stand still for good; and of two SIGWINCH in quick order, the older size may win.
    """

    def __init__(self, app: App[int]) -> None:
        """In the app, when it is mounted."""
        self._app = app
        self._settling: Timer | None = None
        if sys.platform != "win32" and not app.is_headless:
            import signal

            loop, driver = asyncio.get_running_loop(), app._driver
            loop.add_signal_handler(signal.SIGWINCH, self._resized)
            for number, name in ((signal.SIGTSTP, "_sigtstp_application"), (signal.SIGCONT, "_sigcont_application")):
                heed = getattr(driver, name, None)
                if heed is not None:
                    loop.add_signal_handler(number, heed)

    def _resized(self) -> None:
        measure = getattr(self._app._driver, "_get_terminal_size", None)
        if measure is None:
            return
        size = Size(*measure())
        self._app.post_message(events.Resize(size, size))
        if self._settling is not None:
            self._settling.stop()
        # A size that comes back before the app has looked is no change to it, but the terminal has lost its text.
        self._settling = self._app.set_timer(SETTLED_SECONDS, self._paint)

    def _paint(self) -> None:
        for screen in self._app.screen_stack:
            screen.refresh(layout=True)
