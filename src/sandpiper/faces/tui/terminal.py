"""What Textual 8 gets wrong about terminals, set right in one place; each entry says what happens without it.

Parts of Textual that are not public are used here and nowhere else, and only where they exist.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.geometry import Size
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from textual.app import App
    from textual.message import Message
    from textual.timer import Timer

SETTLED_SECONDS = 0.05  # after the last change of size, everything is painted once more
BURST_SECONDS = 0.03  # what comes this soon behind a paste is of that paste: nobody strikes a key so soon


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
    """Read bytes that are no UTF-8 as U+FFFD, and pastes as `Parser` does. Otherwise one such byte (a Latin-1 terminal,
    a binary paste) ends the program, and what follows an escape in a paste acts as keys, Enter among them.
    """
    if sys.platform != "win32":
        from textual.drivers import linux_driver

        lenient = partial(codecs.getincrementaldecoder("utf-8"), errors="replace")
        linux_driver.getincrementaldecoder = lambda encoding: lenient  # type: ignore[attr-defined]
        linux_driver.XTermParser = Parser  # type: ignore[attr-defined]
    else:
        from textual.drivers import win32

        win32.XTermParser = Parser  # type: ignore[attr-defined]


_EDGE = len(BRACKETED_PASTE_END) - 1  # characters of a mark that may have come before the rest of it
_REPORT = re.compile(r"\x1b\[(?:[IO]|48;[\d:;]*t|\?\d+;\d\$y)")  # focus, size, modes: a terminal says so at any time
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class Parser(XTermParser):
    """Makes events of what a terminal sends. A paste is its text without escapes, whatever is in it.

    Terminals should take the mark that ends a paste out of what is pasted, and not all do: what comes in one burst
    behind that mark is pasted text, too. What comes later cannot be told from keys.
    """

    def __init__(self, debug: bool = False, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds and does not go back."""
        self._clock = clock
        self._pasted: list[str] | None = None  # while something is pasted
        self._edge = ""  # the last characters: a mark may have begun there
        self._pasted_at = -BURST_SECONDS
        super().__init__(debug)

    @override
    def feed(self, data: str) -> Iterable[Message]:
        """Take in what came; empty: nothing more will."""
        if not data:
            yield from super().feed("")
        now = self._clock()
        while data:
            if self._pasted is not None:
                before, end, rest = (self._edge + data).partition(BRACKETED_PASTE_END)
                if not end:
                    at = max(0, len(before) - _EDGE)
                    self._pasted.append(before[:at])
                    self._edge = before[at:]
                    return
                text, self._pasted, self._edge, data = "".join((*self._pasted, before)), None, "", rest
                # Textual has been told that a paste begins, and knows nothing of what is in it.
                yield from (event for event in super().feed(end) if not isinstance(event, events.Paste))
                yield from _paste(text)
                self._pasted_at = now
                continue
            before, begin, _ = (self._edge + data).partition(BRACKETED_PASTE_START)
            at = len(before) + len(begin) - len(self._edge)  # the edge has been heeded
            if begin:
                self._pasted, self._edge = [], ""
            else:
                self._edge = before[-_EDGE:]
            ours, data = data[:at], data[at:]
            if now - self._pasted_at >= BURST_SECONDS:
                yield from super().feed(ours)
                continue
            self._pasted_at = now
            if heeded := "".join(_REPORT.findall(ours)) + begin:
                yield from super().feed(heeded)
            yield from _paste(_SEQUENCE.sub("", ours[: max(0, len(ours) - len(begin))]))


def _paste(raw: str) -> Iterator[events.Paste]:
    if text := raw.replace("\x1b", "").replace("\x00", ""):
        yield events.Paste(text)


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
