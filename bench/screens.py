"""A program on a real terminal that notes when its bytes came, and what a person saw at any of those moments.

Nothing is interpreted while the program runs: that would take the time of the core that it needs. `seen` replays what
came afterwards, through pyte.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyte

from bench.peers import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROGRAM = str(Path(sys.executable).with_name("sandpiper"))
COLUMNS, ROWS = 120, 34
PATIENCE = 60.0  # seconds for anything that is waited for

# Makes the pty the controlling terminal, says when, and becomes the program: starting this is not part of its time.
_ON_TTY = """
import fcntl, os, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.write(int(sys.argv[1]), str(time.monotonic_ns()).encode())
os.close(int(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Terminal:
    """A program on a pty. Times are `time.monotonic()`, in seconds; `started` is when the program was executed."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.arrived: list[tuple[float, bytes]] = []
        """When something came and what it was; b"" stands where the size was changed."""
        self._sizes: list[tuple[int, int]] = [(COLUMNS, ROWS)]
        self._master, slave = os.openpty()
        self._resize(slave)
        said, says = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TTY, str(says), *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            pass_fds=(says,),
            env={**surroundings(), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})},
        )
        os.close(slave)
        os.close(says)
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with os.fdopen(said, "rb") as stamp:
            self.started = int(stamp.read()) / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        os.close(self._master)

    def _read(self) -> None:
        with suppress(OSError):  # the program's end closes the other side
            while data := os.read(self._master, 1 << 16):
                now = time.monotonic()
                with self._came:
                    self.arrived.append((now, data))
                    self._came.notify_all()

    # ------------------------------------------------------------ what a person does

    def type(self, keys: str) -> float:
        """Strike keys; when."""
        now = time.monotonic()
        os.write(self._master, keys.encode())
        return now

    def resize(self, columns: int, rows: int = ROWS) -> float:
        """Another size of the terminal; when."""
        with self._came:
            now = time.monotonic()
            self.arrived.append((now, b""))
            self._sizes.append((columns, rows))
            self._resize(self._master)
        return now

    def _resize(self, terminal: int) -> None:
        columns, rows = self._sizes[-1]
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # ------------------------------------------------------------ what comes

    def wait_for(self, text: str, since: float = 0, seconds: float = PATIENCE) -> float:
        """Until these characters were written in one go, after `since`; when they came.

        Raises:
            TimeoutError: they did not.
        """
        wanted, end, tail = text.encode(), time.monotonic() + seconds, b""
        at = self.count(since)
        with self._came:
            while True:
                while at < len(self.arrived):
                    came, data = self.arrived[at]
                    at += 1
                    tail += data
                    if wanted in tail:
                        return came
                    tail = tail[-len(wanted) :]
                left = end - time.monotonic()
                if left <= 0 or not self._came.wait(left):
                    raise TimeoutError(f"{text!r} was not written in {seconds} s\n" + "\n".join(self.lines()))

    def count(self, since: float) -> int:
        """How much had come before `since`."""
        with self._came:
            count = len(self.arrived)
            while count and self.arrived[count - 1][0] >= since:
                count -= 1
            return count

    def rest(self, quiet: float = 0.4, seconds: float = 10) -> None:
        """Until nothing has come for so long, or for at most `seconds`."""
        end = time.monotonic() + seconds
        with self._came:
            while (left := end - time.monotonic()) > 0 and self._came.wait(min(quiet, left)):
                pass

    def seen(self, predicate: Callable[[list[str]], object], since: float = 0) -> float:
        """When the screen showed this for the first time after `since`; a replay of what has come so far.

        Raises:
            TimeoutError: it never did.
        """
        for came, screen in self._replay():
            if came >= since and predicate(list(screen.display)):
                return came
        raise TimeoutError("It was never on the screen:\n" + "\n".join(self.lines()))

    def lines(self) -> list[str]:
        """The screen as it is now."""
        shown: list[str] = []
        for _, screen in self._replay():
            shown = screen.display
        return list(shown)

    def _replay(self) -> Iterator[tuple[float, pyte.Screen]]:
        sizes = iter(self._sizes)
        columns, rows = next(sizes)
        screen = pyte.Screen(columns, rows)
        stream = pyte.ByteStream(screen)
        for came, written in list(self.arrived):
            if written:
                stream.feed(written)
            else:
                columns, rows = next(sizes)
                screen.resize(rows, columns)
            yield came, screen

    # ------------------------------------------------------------ what it costs

    def resident(self) -> float:
        """MB in memory."""
        return status(self.process.pid, "VmRSS")

    def spent(self) -> float:
        """Seconds of a core so far, its threads included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waited(self) -> float:
        """Seconds that its first thread, the screen's, was ready to run and had no core; 0 where that is not told."""
        counted = Path(f"/proc/{self.process.pid}/schedstat")
        return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else 0.0


def surroundings() -> dict[str, str]:
    """The environment of a program, without what changes how it looks or lets it compile itself at every start."""
    unwanted = ("NO_COLOR", "COLORFGBG", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in unwanted}


def status(pid: int, field: str) -> float:
    """A line of /proc/PID/status, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def sandpiper(home: Path, port: int, *more: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of this program that finds others on this machine by this port, and nobody else."""
    command = [PROGRAM, "--multicast", f"224.0.0.1:{port}", *more]
    return command, {"SANDPIPER_HOME": str(home), "SANDPIPER_INTERFACES": LOOPBACK[0]}


def rival(*args: str) -> list[str]:
    """Command of the minimal Textual app."""
    return [sys.executable, "-m", "bench.minimal", *args]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True)
