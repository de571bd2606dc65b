"""A real program on a real pty: what is typed goes in, and pyte says what a person would see."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyte
from typing_extensions import override
from wcwidth import wcwidth

from tests.process import Process

# Makes the pty the controlling terminal, as a login does, so that Ctrl+C and closing it mean what they mean there.
# Whoever runs the tests in the background has SIGINT ignored, and so would we.
_ON_TTY = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


_ON_BY_ITSELF = (b"7", b"25")  # lines wrap, and the cursor is seen; a terminal has every other mode off

PROGRAM = (sys.executable, "-m", "sandpiper")


class Screen(Process[bytes]):
    """A program on a terminal."""

    def __init__(
        self,
        home: Path,
        *args: str,
        program: Sequence[str] = PROGRAM,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self.slave)
        self.raw = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._closing = threading.Event()
        self._reading = threading.Event()
        self._reading.set()
        inherited = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        super().__init__(
            subprocess.Popen(
                [sys.executable, "-c", _ON_TTY, *program, *args],
                stdin=self.slave,
                stdout=self.slave,
                stderr=self.slave,
                start_new_session=True,
                env={**inherited, "SANDPIPER_HOME": str(home), "TERM": "xterm-256color", **(env or {})},
            )
        )
        self.follow(self._read)

    def hang_up(self) -> None:
        """Close the terminal, as its window does."""
        if not self._closing.is_set():
            self._closing.set()
            self._read_all()
            os.close(self.slave)
            os.close(self.master)

    @override
    def _finish(self) -> None:
        self.hang_up()
        super()._finish()

    def _read(self) -> None:
        while not self._closing.is_set():
            if not self._reading.wait(0.1):
                continue
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    self._take()
            except (OSError, ValueError):
                return

    def _take(self) -> bool:
        """What there is; False: nothing."""
        with self._changed:
            if not select.select([self.master], [], [], 0)[0]:
                return False
            data = os.read(self.master, 65536)
            self.raw += data
            self._stream.feed(data)
            self._changed.notify_all()
            return True

    def stand_still(self) -> None:
        """Read nothing more, as a stalled connection does."""
        self._reading.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reading.set()

    def paste(self, text: str) -> None:
        """Put text in as a terminal does when somebody pastes: between marks, with Enter for every line end."""
        self.type(f"\x1b[200~{text.replace(chr(10), chr(13))}\x1b[201~")

    def resize(self, columns: int, rows: int = 24) -> None:
        """Another size, told as terminals do."""
        with self._changed:
            self._screen.resize(rows, columns)
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without empty lines at the end of it."""
        shown = [self._shown(row).rstrip() for row in range(self._screen.lines)]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def _shown(self, row: int) -> str:
        """As pyte's own `display`, which fails at the second half of a wide character whose first was written over."""
        out, cells = "", self._screen.buffer[row]
        second_half = False
        for column in range(self._screen.columns):
            data = cells[column].data
            if not second_half:
                out += data or " "
            second_half = not second_half and bool(data) and wcwidth(data[0]) == 2
        return out

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    @property
    def cells(self) -> list[str]:
        """The screen cell by cell: every row is as long as the screen is wide, whatever is in it."""
        rows, columns = range(self._screen.lines), range(self._screen.columns)
        return ["".join(self._screen.buffer[row][column].data[:1] or " " for column in columns) for row in rows]

    def type(self, keys: str) -> None:
        """Strike keys, all in one instant."""
        self.type_raw(keys.encode())

    def type_raw(self, keys: bytes) -> None:
        """Bytes as a keyboard could never send them, or as it does in another encoding."""
        os.write(self.master, keys)

    def last_words(self) -> bytes:
        """All that came from a program that has ended, to the last byte."""
        self.ended()
        while self._take():
            pass
        return self.raw

    @property
    def is_given_back(self) -> bool:
        """The terminal's modes are those from before, and a full-screen program has undone all that it switched on."""
        if termios.tcgetattr(self.slave) != self.modes:
            return False
        switched: dict[bytes, bool] = {}
        for mode, on in re.findall(rb"\x1b\[\?(\d+)([hl])", self.raw):
            switched[mode] = on == b"h"
        pushed, popped = len(re.findall(rb"\x1b\[>\d+u", self.raw)), self.raw.count(b"\x1b[<u")
        return pushed == popped and switched == {mode: mode in _ON_BY_ITSELF for mode in switched}

    @override
    def told(self) -> str:
        """The screen, and the last bytes that made it."""
        return f"{self.text}\n{self.raw[-2000:]!r}"

    def sees(self, *texts: str) -> None:
        """Until all of these are on the screen."""
        for text in texts:
            self.until(partial(_shows, text), text)

    def prompts(self, text: str) -> None:
        """Until the last line is this prompt with what is typed behind it."""
        self.until(lambda me: me.lines and me.lines[-1] == text, text)


def _shows(text: str, screen: Screen) -> bool:
    return text in screen.text
