"""A real `sandpiper keep` that a test starts: what it logs, and with `json` what it tells."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.process import Process
from tests.program import SANDPIPER

if TYPE_CHECKING:
    from pathlib import Path


class Kept(Process[str]):
    """A member that nobody sits at."""

    def __init__(
        self, nick: str, home: Path, *args: str, relay: str = "", multicast: str = "", env: dict[str, str] | None = None
    ) -> None:
        self.lines: list[str] = []
        self.out: list[str] = []
        lan = ("--multicast", multicast) if multicast else ("--no-multicast",)
        ways = ("--relay", relay) if relay else ()
        command = (str(SANDPIPER), "keep", "--interface", "lo", "--nick", nick, *lan, *ways, *args)
        told = {**os.environ, "SANDPIPER_HOME": str(home), **(env or {})}
        pipe = subprocess.PIPE
        super().__init__(subprocess.Popen(command, env=told, text=True, stdin=pipe, stdout=pipe, stderr=pipe))
        self.follow(self._read_log)
        self.follow(self._read_out)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.out.append(line)
                self._changed.notify_all()

    def type(self, line: str) -> None:
        """A line on its input, and the input's end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.close()

    @override
    def told(self) -> str:
        return "".join(self.lines[-30:])

    def logs(self, words: str, seconds: float = 30) -> None:
        """Wait until this is in the log."""
        self.until(lambda me: words in "".join(me.lines), words, seconds)
