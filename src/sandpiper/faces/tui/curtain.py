"""The first paint: the frame of the screen, drawn while everything else is still being loaded.

Textual alone takes a fifth of a second to load. The frame stands where the screen will draw it again, in the same
colours, so nothing jumps; keys that are struck meanwhile are kept for the composer and not echoed.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

    from sandpiper.faces.tui.palettes import Palette

NARROW = 84  # columns; as `wording.NARROW`, which loads more
MIN_SIDEBAR_ROWS = 12  # as in `chat`
SIDEBAR = 31


class Curtain:
    """`draw` it first. `lift` it when the screen could not be shown; `put_away` after the screen has ended."""

    def __init__(self, palette: Palette) -> None:
        self._palette = palette
        self._drawn = False
        self._modes: list[int | list[bytes | int]] | None = None

    def draw(self) -> None:
        """Paint the frame. A terminal that cannot be asked for its size gets none."""
        stream = sys.__stderr__
        if stream is None or sys.platform == "win32":  # there Textual prepares the console first
            return
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(stream.fileno())
            signal.signal(signal.SIGTERM, _leave)  # until the screen heeds signals by itself
            self._keep_keys()
            self._drawn = True
            stream.write(f"\x1b[?1049h\x1b[?25l{frame(self._palette, size.columns, size.lines)}")
            stream.flush()

    def lift(self) -> None:
        """Leave the terminal as it was found; nothing else has drawn on it since."""
        if self._drawn and sys.__stderr__ is not None:
            self._drawn = False
            with suppress(OSError, ValueError):
                sys.__stderr__.write("\x1b[0m\x1b[?25h\x1b[?1049l")
                sys.__stderr__.flush()
        self.put_away()

    def put_away(self) -> None:
        """Make the terminal behave as it was found. The screen took the curtain for that."""
        if self._modes is not None and sys.platform != "win32":
            import termios

            with suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._modes)
            self._modes = None

    def _keep_keys(self) -> None:
        """Neither echo what is typed nor wait for the end of its line."""
        if sys.platform != "win32":
            import termios

            with suppress(termios.error):
                self._modes = termios.tcgetattr(sys.stdin.fileno())
                modes = list(self._modes)
                modes[0] = self._modes[0] & ~termios.ICRNL  # type: ignore[operator]  # Enter is no new line
                modes[3] = self._modes[3] & ~(termios.ECHO | termios.ICANON)  # type: ignore[operator]
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def frame(palette: Palette, columns: int, rows: int) -> str:
    """The frame as text for the terminal: ground, name, composer and status line, `columns` by `rows` cells."""
    wide = columns >= NARROW and rows >= MIN_SIDEBAR_ROWS
    left = SIDEBAR if wide else 0
    main = columns - left
    inset = 1 if wide else 0
    empty = _ground(palette.panel) + " " * left + _ground(palette.background) + " " * main
    out = [_at(row, 0) + empty for row in range(rows - 1)]
    out.append(_at(rows - 1, 0) + _ground(palette.bar) + " " * columns)
    if wide:
        out.append(_at(1, 2) + _ground(palette.panel) + _ink(palette.link) + "≈ ")
        out.append(_ink(palette.accent) + "\x1b[1msandpiper\x1b[22m")
    if rows >= 6 and main > 4 + 2 * inset:
        rule = "─" * (main - 2 - 2 * inset)
        box = _ground(palette.background) + _ink(palette.accent)
        out.append(_at(rows - 4, left + inset) + box + f"╭{rule}╮")
        out.append(_at(rows - 3, left + inset) + f"│{' ' * len(rule)}│")
        out.append(_at(rows - 2, left + inset) + f"╰{rule}╯")
    return "".join(out) + "\x1b[0m"


def _at(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H"


def _ground(colour: str) -> str:
    return f"\x1b[48;2;{_rgb(colour)}m"


def _ink(colour: str) -> str:
    return f"\x1b[38;2;{_rgb(colour)}m"


def _rgb(colour: str) -> str:
    return ";".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
