"""Real programs for the pictures: on pseudo-terminals, where pyte says what is seen, and on pipes."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = str(Path(sys.executable).with_name("sandpiper"))
PATIENCE = 30.0  # seconds; six programs start at once on what may be a slow machine
CALM = 0.8  # seconds without a new word on the screen: it is painted
STEADY = 1.3  # seconds: more than a cursor takes to go and come back


def around(home: Path, port: int) -> dict[str, str]:
    """The surroundings of a program that keeps everything in `home` and stays on loopback."""
    return {
        **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        "SANDPIPER_HOME": str(home),
        "SANDPIPER_INTERFACES": "lo0" if sys.platform == "darwin" else "lo",
        "SANDPIPER_MULTICAST": f"224.0.0.1:{port}",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }


def free_port() -> int:
    """A UDP port that nobody uses now, so that two runs do not meet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for something to be so. Raises: TimeoutError: it is not, in `patience` seconds."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


class Terminal:
    """A program on a pseudo-terminal, and what its screen shows."""

    def __init__(self, nick: str, home: Path, port: int, *args: str, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.nick = nick
        self._stream = pyte.Stream(self.screen)
        self._lock = threading.Lock()
        self._child = pexpect.spawn(
            PROGRAM,
            ["--nick", nick, *args],
            env=around(home, port),
            dimensions=(rows, columns),
            encoding="utf-8",
            timeout=1,
        )
        self._child.delaybeforesend = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                text = self._child.read_nonblocking(65536, timeout=0.5)
            except pexpect.TIMEOUT:
                continue
            except (pexpect.EOF, OSError, ValueError):
                return
            with self._lock:
                self._stream.feed(text)
            if "\x1b[6n" in text:  # the prompt of line mode asks where it is
                self._child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")

    def type(self, keys: str) -> None:
        """Strike keys."""
        self._child.send(keys)

    def enter(self, text: str) -> None:
        """A text and Enter; lines of a message are apart by newlines."""
        self.type(text)
        time.sleep(0.15)  # as a person would: Enter in one burst with a slash command picks a suggestion
        self.type("\r")

    def resize(self, columns: int, rows: int) -> None:
        """Another size, told as terminals do; waits until the program has painted anew."""
        with self._lock:
            self.screen.resize(rows, columns)
            self.screen.reset()
        self._child.setwinsize(rows, columns)
        until(lambda: sum(bool(line.strip()) for line in self.screen.display) > rows // 3, f"{columns}x{rows} cells")

    @property
    def text(self) -> str:
        """All that is on the screen."""
        with self._lock:
            return "\n".join(self.screen.display)

    def sees(self, *texts: str) -> None:
        """Wait until all of these are on the screen. Raises: TimeoutError: they are not."""
        try:
            for text in texts:
                until(lambda text=text: text in self.text, text)  # type: ignore[misc]
        except TimeoutError as error:
            raise TimeoutError(f"{self.nick} does not see {error}:\n{self.text}") from None

    def sees_no(self, text: str) -> None:
        """Wait until this is not on the screen. Raises: TimeoutError: it is."""
        until(lambda: text not in self.text, f"{text!r} still there:\n{self.text}")

    def frame(self, best: Callable[[pyte.Screen], int]) -> pyte.Screen:
        """The screen once it is painted, at its best within a moment: cursors blink."""
        before, since = self.text, time.monotonic()
        while time.monotonic() < since + CALM:
            time.sleep(0.05)
            if self.text != before:
                before, since = self.text, time.monotonic()
        frames: list[pyte.Screen] = []
        end = time.monotonic() + STEADY
        while time.monotonic() < end:
            with self._lock:
                frames.append(copy.deepcopy(self.screen))
            time.sleep(0.15)
        return max(reversed(frames), key=best)

    def end(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self.type("\x04" if "--plain" in self._child.args else "\x11")
        with contextlib.suppress(TimeoutError):
            until(lambda: not self._child.isalive(), f"{self.nick} stays", 10)
        self._child.close(force=True)
        self._reader.join(2)


class Voice:
    """A program on pipes, for those whose screen is in no picture."""

    def __init__(self, nick: str, home: Path, port: int, *args: str) -> None:
        self.nick = nick
        self.events: list[dict[str, object]] = []
        self._process = subprocess.Popen(
            [PROGRAM, "--json", "--nick", nick, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=around(home, port),
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.events.append(json.loads(line))

    def enter(self, text: str) -> None:
        """A line."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def hears(self, text: str) -> None:
        """Wait until this was said. Raises: TimeoutError: it was not."""
        until(
            lambda: any(event["event"] == "message" and text in str(event["text"]) for event in list(self.events)),
            f"{self.nick} does not hear {text!r}: {self.events[-5:]}",
        )

    def knows(self, nick: str) -> None:
        """Wait until somebody is linked. Raises: TimeoutError: they are not."""
        until(
            lambda: any(
                (event["event"], event.get("nick"), event.get("state")) == ("peer", nick, "linked")
                for event in list(self.events)
            ),
            f"{self.nick} does not know {nick}: {self.events}",
        )

    def end(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self.enter("/quit")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
