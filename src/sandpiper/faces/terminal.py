"""Where lines go and come from: the contract of a terminal, and the bounded queue that keeps a slow one harmless.

The node's event loop only ever puts into a queue. Whatever may wait for a person, a pipe or a dead connection runs on
a thread of its own (`sandpiper.faces.pipes`, `sandpiper.faces.prompt`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OUTBOX_BYTES = 16 * 1024 * 1024  # characters held for a slow reader: a catch-up of 30,000 messages as JSON
MAX_TAKE = 64 * 1024  # characters written at once: typing is answered between two
MAX_INPUTS = 256  # lines read ahead of what the node has taken
MAX_INPUT_BYTES = 64 * 1024  # one line of input, as one line everywhere else (wire/limits.py)


class Typed(Struct, frozen=True):
    """A line, or a pasted text of several."""

    text: str


class TooLong(Struct, frozen=True):
    """A line over `MAX_INPUT_BYTES`; it was dropped."""


class Ended(Struct, frozen=True):
    """There is no more input. `eof`: it ended, or the person left; `interrupt`: Ctrl+C twice; `gone`: nobody can read
    what we write any more; `broken`: our own mistake, logged.
    """

    reason: Literal["eof", "interrupt", "gone", "broken"]


Input = Typed | TooLong | Ended


class PromptState(Struct, frozen=True):
    """What the prompt shows and completes. `others`: people in the room beside us."""

    room: str = ""
    others: int = 0
    away: bool = False
    rooms: tuple[str, ...] = ()
    nicks: tuple[str, ...] = ()
    secret: str = ""
    """What is asked for, unseen, instead of a line: the next `Typed` is it (empty: the person would rather not)."""


class Terminal(Protocol):
    """One place to read lines from and write text to. All calls on the event loop; none of them waits for a reader."""

    interactive: bool
    """A person sits at a prompt: typed commands are echoed, the start shows the last messages."""
    coloured: bool

    def width(self) -> int | None:
        """Cells of one line; None: lines have no limit."""
        ...

    def start(self) -> None:
        """Begin to read."""
        ...

    def write(self, text: str, *, aside: bool = False) -> None:
        """Queue text of whole lines; `aside` is narration, not data."""
        ...

    async def read(self) -> Input:
        """The next input; after `Ended` nothing more comes."""
        ...

    def prompt(self, state: PromptState) -> None:
        """Show this from now on."""
        ...

    def clear(self) -> None:
        """Empty the screen, where there is one."""
        ...

    def give_back(self) -> None:
        """Leave the terminal as it was found, now, from any thread."""
        ...

    async def close(self) -> None:
        """Write what is queued, as far as somebody reads it, and leave the terminal as it was found."""
        ...


class Piece(NamedTuple):
    """Text to write; `aside`: narration."""

    text: str
    aside: bool


class Outbox:
    """Text waiting for its reader. Putting never waits; when it is full, lines are skipped and counted."""

    def __init__(self, skipped: Callable[[int], str], limit: int = MAX_OUTBOX_BYTES) -> None:
        """`skipped(lines)` is the text that stands for skipped lines."""
        self._skip_text = skipped
        self._limit = limit
        self._pieces: deque[Piece] = deque()
        self._size = 0
        self._skipped = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, text: str, *, aside: bool = False) -> None:
        """Queue text, or count its lines as skipped."""
        with self._changed:
            if self._closed:
                return
            # Once full, everything is skipped until the reader has caught up: one hole, named once, in its place.
            if self._skipped or self._size + len(text) > self._limit:
                self._skipped += text.count("\n")
                return
            self._pieces.append(Piece(text, aside))
            self._size += len(text)
            self._changed.notify()

    def take(self, *, wait: bool = False) -> list[Piece]:
        """Some of what is queued, oldest first; `wait` until there is something. Empty: nothing now, or closed."""
        with self._changed:
            while wait and not self._pieces and not self._skipped and not self._closed:
                self._changed.wait()
            out: list[Piece] = []
            size = 0
            while self._pieces and (not out or size + len(self._pieces[0].text) <= MAX_TAKE):
                out.append(self._pieces.popleft())
                size += len(out[-1].text)
            self._size -= size
            if self._skipped and not self._pieces:
                out.append(Piece(self._skip_text(self._skipped), aside=False))
                self._skipped = 0
            return out

    def close(self) -> None:
        """Nothing more is put; what is queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Inbox:
    """Inputs on their way from a reading thread to the event loop; the thread waits when `MAX_INPUTS` are there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Input] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_INPUTS)

    def put(self, item: Input, *, wait: bool = True) -> bool:
        """From any thread; false when the loop is gone. `wait` false: for the few inputs that come from people."""
        if wait:
            self._room.acquire()
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return False
        return True

    async def get(self) -> Input:
        """The next input."""
        item = await self._queue.get()
        self._room.release()
        return item


def screen_width(file: int | None = None) -> int:
    """Cells of a line on the terminal behind this file, as it is now; what the environment says only without one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.stdout.fileno() if file is None else file).columns
    return shutil.get_terminal_size().columns


class TerminalModes:
    """How the terminal behaved when we found it."""

    def __init__(self) -> None:
        self._before: list[int | list[bytes | int]] | None = None
        if sys.platform != "win32":
            import termios

            with contextlib.suppress(termios.error, OSError, ValueError):
                self._before = termios.tcgetattr(sys.stdin.fileno())

    def restore(self) -> None:
        """Make it behave so again, whatever happened since."""
        if self._before is not None and sys.platform != "win32":
            import termios

            with contextlib.suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
