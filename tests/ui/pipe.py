"""A real program with pipes for its three files."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path


class Pipe:
    """`python -m sandpiper` without a terminal. Use it as a context manager."""

    def __init__(self, home: Path, *args: str, env: Mapping[str, str] | None = None, read: bool = True) -> None:
        """`read` false leaves stdout to whoever wants it."""
        self.out = b""
        self.aside = b""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandpiper", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SANDPIPER_HOME": str(home), **(env or {})},
        )
        self._readers: list[threading.Thread] = []
        self._follow("aside")
        if read:
            self.read()

    def read(self) -> None:
        """Begin to read stdout."""
        self._follow("out")

    def _follow(self, name: str) -> None:
        reader = threading.Thread(target=self._read, args=(name,), daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, name: str) -> None:
        file = self.process.stdout if name == "out" else self.process.stderr
        assert file is not None
        while data := os.read(file.fileno(), 65536):
            with self._changed:
                setattr(self, name, getattr(self, name) + data)
                self._changed.notify_all()

    def __enter__(self) -> "Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert file is not None
            with suppress(BrokenPipeError):
                file.close()

    @property
    def text(self) -> str:
        """Stdout so far."""
        return self.out.decode()

    @property
    def narration(self) -> str:
        """Stderr so far."""
        return self.aside.decode()

    @property
    def lines(self) -> list[str]:
        """Stdout, without the times in front."""
        return [line[6:] if line[2:3] == ":" else line for line in self.text.splitlines()]

    def say(self, *lines: str) -> None:
        """Write lines to stdin."""
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, raw: bytes) -> None:
        """Write bytes to stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(raw)
        self.process.stdin.flush()

    def end(self) -> None:
        """End stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def until(self, predicate: Callable[["Pipe"], object], what: str = "", seconds: float = 20) -> None:
        """Until `predicate(self)` holds."""
        end = time.monotonic() + seconds
        with self._changed:
            while not predicate(self):
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what or 'it'} did not come\n{self.text[-4000:]}\n{self.narration}")
                self._changed.wait(left)

    def sees(self, *texts: str) -> None:
        """Until all of these were written, as data or narration."""
        for text in texts:
            self.until(partial(_shows, text), text)

    def ended(self, seconds: float = 20) -> int:
        """Wait for the process and for all that it wrote; its exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return code


def _shows(text: str, pipe: Pipe) -> bool:
    return text in pipe.text + pipe.narration
