"""A real process that a test watches and ends: the base of the drivers of `sandpiper`."""

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import AnyStr, Generic, Self

LAST_WORDS = 1.0  # seconds for what an ended process has written to arrive


class Process(Generic[AnyStr]):
    """A running process. Use it as a context manager, or `stop` it.

    Drivers read what it writes in threads of their own (`follow`) and change what they keep of it under `_changed`.
    """

    def __init__(self, process: subprocess.Popen[AnyStr]) -> None:
        self.process: subprocess.Popen[AnyStr] = process
        self._changed = threading.Condition()
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def follow(self, read: Callable[[], None]) -> None:
        """Run `read` in a thread of its own."""
        reader = threading.Thread(target=read, daemon=True)
        self._readers.append(reader)
        reader.start()

    def told(self) -> str:
        """What it has shown of late, for when something else was waited for."""
        return ""

    def until(self, predicate: Callable[[Self], object], what: str = "", seconds: float = 20) -> None:
        """Until `predicate(self)` holds; asked again whenever something arrives.

        Raises:
            AssertionError: it does not within `seconds`, or before the process ends.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while not predicate(self):
                left = end - time.monotonic()
                gone = self.process.poll() is not None
                if left <= 0 or (gone and not self._changed.wait(min(left, LAST_WORDS))):
                    after = "before the process ended" if gone else f"in {seconds} s"
                    raise AssertionError(f"{what or 'what was waited for'} did not come {after}\n{self.told()}")
                if not gone:
                    self._changed.wait(min(left, 0.5))

    def ended(self, seconds: float = 20) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self._finish()

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._finish()

    def _finish(self) -> None:
        self.process.wait(10)
        self._read_all()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def _read_all(self) -> None:
        for reader in self._readers:
            reader.join(10)
