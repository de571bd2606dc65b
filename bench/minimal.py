"""The least that a chat on Textual can be: a `Log` with lines in it, a `TextArea` to write in, and nothing behind.

It is the rival of the full screen: what it takes is what Textual takes.
"""

from __future__ import annotations

import sys

from textual.app import App, ComposeResult
from textual.widgets import Log, TextArea
from typing_extensions import override

PULSE_SECONDS = 0.03  # as the full screen: a burst is a few redraws


class Minimal(App[None]):
    """`rate` lines a second are written into the log, from when the first key is struck."""

    CSS = "Log { height: 1fr; } TextArea { height: 3; border: round gray; }"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self._written = 0.0

    @override
    def compose(self) -> ComposeResult:
        yield Log()
        yield TextArea()

    def on_mount(self) -> None:
        """Fill the log."""
        self.query_one(TextArea).focus()
        self.query_one(Log).write_lines(map(_said, range(200)))

    def on_text_area_changed(self) -> None:
        """The first key is struck."""
        if self._rate and not self._written:
            self._written = 1
            self.set_interval(PULSE_SECONDS, self._write)

    def _write(self) -> None:
        before, self._written = int(self._written), self._written + self._rate * PULSE_SECONDS
        lines = range(before, int(self._written))
        self.query_one(Log).write_lines(map(_said, lines))


def _said(number: int) -> str:
    return f"12:00 somebody {number} has said something of the usual length"


if __name__ == "__main__":
    Minimal(int(sys.argv[1]) if len(sys.argv) > 1 else 0).run()
