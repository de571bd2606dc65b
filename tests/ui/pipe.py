"""A real program with pipes for its three files."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from typing_extensions import override

from tests.process import Process


class Pipe(Process[bytes]):
    """`python -m sandpiper` without a terminal. Use it as a context manager."""

    def __init__(self, home: Path, *args: str, env: Mapping[str, str] | None = None, read: bool = True) -> None:
        """`read` false leaves stdout to whoever wants it."""
        self.out = b""
        self.aside = b""
        super().__init__(
            subprocess.Popen(
                [sys.executable, "-m", "sandpiper", *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "SANDPIPER_HOME": str(home), **(env or {})},
            )
        )
        self.follow(partial(self._read, "aside"))
        if read:
            self.read()

    def read(self) -> None:
        """Begin to read stdout."""
        self.follow(partial(self._read, "out"))

    def _read(self, name: str) -> None:
        file = self.process.stdout if name == "out" else self.process.stderr
        assert file is not None
        while data := os.read(file.fileno(), 65536):
            with self._changed:
                setattr(self, name, getattr(self, name) + data)
                self._changed.notify_all()

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

    @override
    def told(self) -> str:
        """Its output and narration."""
        return f"{self.text[-4000:]}\n{self.narration}"

    def sees(self, *texts: str) -> None:
        """Until all of these were written, as data or narration."""
        for text in texts:
            self.until(partial(_shows, text), text)

    @override
    def ended(self, seconds: float = 20) -> int:
        """Wait for the process and for all that it wrote; its exit code."""
        code = super().ended(seconds)
        self._read_all()
        return code


def _shows(text: str, pipe: Pipe) -> bool:
    return text in pipe.text + pipe.narration
