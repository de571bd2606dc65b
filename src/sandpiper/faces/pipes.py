"""Line mode without a prompt: standard input line by line, standard output and error as they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from sandpiper.faces.terminal import (
    MAX_INPUT_BYTES,
    Ended,
    Inbox,
    Input,
    Outbox,
    PromptState,
    TooLong,
    Typed,
    screen_width,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE_SECONDS = 2.0  # how long a slow reader may take for the last lines
READ_CHUNK = 64 * 1024


class Pipes:
    """A `Terminal` of three files."""

    interactive = False

    def __init__(
        self,
        skipped: Callable[[int], str],
        *,
        coloured: bool,
        utf8: bool,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        """`skipped` as in `Outbox`; `utf8`: whatever the locale says (JSON). Without files: the process's own."""
        self.coloured = coloured
        self._input = _number(stdin or sys.stdin)
        out, aside = stdout or sys.stdout, stderr or sys.stderr
        self._outputs = (_number(out), _number(aside))
        locale = [getattr(file, "encoding", None) or "utf-8" for file in (out, aside)]
        self._encodings = ["utf-8", "utf-8"] if utf8 else locale
        self._folds = self._outputs[0] is not None and os.isatty(self._outputs[0])
        self._outbox = Outbox(skipped)
        self._inbox = Inbox()
        self._writer = threading.Thread(target=self._write_all, name="stdout", daemon=True)
        self._writer.start()

    def width(self) -> int | None:
        """See `Terminal`."""
        return screen_width(self._outputs[0]) if self._folds else None

    def start(self) -> None:
        """See `Terminal`."""
        threading.Thread(target=self._read_all, name="stdin", daemon=True).start()

    def write(self, text: str, *, aside: bool = False) -> None:
        """See `Terminal`."""
        self._outbox.put(text, aside=aside)

    async def read(self) -> Input:
        """See `Terminal`."""
        return await self._inbox.get()

    def prompt(self, state: PromptState) -> None:
        """No prompt."""

    def clear(self) -> None:
        """No screen."""

    def give_back(self) -> None:
        """Nothing was changed."""

    async def close(self) -> None:
        """See `Terminal`."""
        self._outbox.close()
        await asyncio.to_thread(self._writer.join, CLOSE_SECONDS)

    # ------------------------------------------------------------ threads

    def _read_all(self) -> None:
        # os.read and not a buffered file: a daemon thread inside one would hold its lock when Python ends.
        rest = b""
        dropping = False
        while chunk := self._read_some():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not dropping and not self._line(line):
                    return
                dropping = False
            if len(rest) > MAX_INPUT_BYTES:
                if not dropping:
                    self._inbox.put(TooLong())
                rest, dropping = b"", True
        if rest and not dropping:
            self._line(rest)
        self._inbox.put(Ended("eof"), wait=False)

    def _read_some(self) -> bytes:
        if self._input is None:
            return b""
        try:
            return os.read(self._input, READ_CHUNK)
        except OSError:  # a terminal that was closed, a descriptor that is not open
            return b""

    def _line(self, raw: bytes) -> bool:
        if len(raw) > MAX_INPUT_BYTES:
            return self._inbox.put(TooLong())
        return self._inbox.put(Typed(raw.decode("utf-8", "replace").removesuffix("\r")))

    def _write_all(self) -> None:
        while pieces := self._outbox.take(wait=True):
            for text, aside in pieces:
                file = self._outputs[aside]
                if file is None:
                    continue
                try:
                    _write(file, text.encode(self._encodings[aside], "replace"))
                except OSError:  # nobody reads any more
                    if not aside:
                        self._outbox.close()
                        self._inbox.put(Ended("gone"), wait=False)
                        return


def _number(file: TextIO | None) -> int | None:
    """A file's descriptor, or None for one that is closed or none at all."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return file.fileno() if file is not None else None
    return None


def _write(file: int, raw: bytes) -> None:
    """Write everything, however slow the other side is.

    Raises:
        OSError: it is gone.
    """
    view = memoryview(raw)
    while view:
        try:
            view = view[os.write(file, view) :]
        except BlockingIOError:  # somebody else made it non-blocking
            select.select([], [file], [])
