"""The log file: what went wrong and when, without message texts or secrets, in files that do not grow forever."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandpiper.config import Paths

MAX_LOG_BYTES = 1024 * 1024  # one file: some ten thousand lines, enough for days
LOG_FILES = 3  # older files beside it
FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class Narrator(logging.Handler):
    """`--debug`: log lines to stderr, or above the prompt of a screen that somebody else draws."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
        self.write: Callable[[str], None] = _to_stderr

    @contextlib.contextmanager
    def through(self, write: Callable[[str], None]) -> Iterator[None]:
        """Inside, lines go through `write`."""
        self.write = write
        try:
            yield
        finally:
            self.write = _to_stderr

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            self.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as all handlers do
            self.handleError(record)


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


class _PrivateFile(RotatingFileHandler):
    """Rotating files that only their owner can read."""

    @override
    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(open(self.baseFilename, "ab", opener=_private), encoding=self.encoding, errors="replace")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def start(paths: Paths, *, debug: bool) -> tuple[Narrator | None, str]:
    """Log into a file of the log directory; with `debug` more of it, and to the screen.

    Returns:
        The handler that writes to the screen, and why there is no log file (empty: there is one).
    """
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    logging.raiseExceptions = debug  # a full disk must not write tracebacks over the chat
    problem = ""
    try:
        paths.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _PrivateFile(
            paths.log_dir / "sandpiper.log", maxBytes=MAX_LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )
        file.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(file)
    except OSError as exc:
        problem = f"There is no log file: {exc.strerror} ({paths.log_dir})."
        root.addHandler(logging.NullHandler())
    narrator = None
    if debug:
        narrator = Narrator()
        root.addHandler(narrator)
    return narrator, problem
