"""A real program on a real pty: what is typed goes in, and pyte says what a person would see."""

import fcntl
import os
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

from tests.process import Process

# Makes the pty the controlling terminal, as a login does, so that Ctrl+C and closing it mean what they mean there.
# Whoever runs the tests in the background has SIGINT ignored, and so would we.
_ON_TTY = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


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
                if not select.select([self.master], [], [], 0.1)[0]:
                    continue
                data = os.read(self.master, 65536)
            except (OSError, ValueError):
                return
            with self._changed:
                self.raw += data
                self._stream.feed(data)
                self._changed.notify_all()

    def stand_still(self) -> None:
        """Read nothing more, as a stalled connection does."""
        self._reading.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reading.set()

    def resize(self, columns: int, rows: int = 24) -> None:
        """Another size, told as terminals do."""
        with self._changed:
            self._screen.resize(rows, columns)
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without empty lines at the end of it."""
        shown = [line.rstrip() for line in self._screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def type(self, keys: str) -> None:
        """Strike keys, all in one instant."""
        os.write(self.master, keys.encode())

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
