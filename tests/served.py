"""A real `sandpiper serve` process that a test starts, watches, measures and ends."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.process import Process
from tests.program import SANDPIPER

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
WAIT = 10.0
STARTED = re.compile(r"serving the chat on port (\d+)")
PINNED = re.compile(r"to pin: ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})")

# The same program with an ear: for each line on stdin it tells how many blocks of memory its objects take, without
# what is garbage.
COUNTING = """
import gc, sys, threading
from sandpiper.cli import main

def count():
    for number, _ in enumerate(sys.stdin):
        gc.collect()
        print(f"count {number}: {sys.getallocatedblocks()}", file=sys.stderr, flush=True)

threading.Thread(target=count, daemon=True).start()
sys.exit(main())
"""


class Served(Process[str]):
    """A hub, and what it tells on stderr."""

    def __init__(
        self,
        home: Path,
        *args: str,
        env: dict[str, str] | None = None,
        most_kib: int = 0,
        most_files: int = 0,
        counting: bool = False,
    ) -> None:
        """No file may become larger than `most_kib`, as on a full disk, and no more than `most_files` may be open
        (0: any). With `counting`, `blocks` works.
        """
        self.lines: list[str] = []
        self._counts = 0
        program: Sequence[str] = (sys.executable, "-c", COUNTING) if counting else (str(SANDPIPER),)
        command: tuple[str, ...] = (*program, "serve", "--port", "0", "--host", HOST, *args)
        limits = [f"ulimit -f {most_kib}"] * bool(most_kib) + [f"ulimit -n {most_files}"] * bool(most_files)
        if limits:
            command = ("bash", "-c", f'{"; ".join(limits)}; exec "$@"', "bash", *command)
        told = {**os.environ, "SANDPIPER_HOME": str(home), **(env or {})}
        ear = subprocess.PIPE if counting else None
        super().__init__(subprocess.Popen(command, env=told, text=True, stdin=ear, stderr=subprocess.PIPE))
        self.follow(self._read)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @override
    def told(self) -> str:
        return "".join(self.lines[-30:])

    def tells(self, words: str) -> None:
        self.until(lambda me: words in "".join(me.lines), words)

    @property
    def port(self) -> int:
        self.tells("serving the chat")
        found = STARTED.search("".join(self.lines))
        assert found is not None
        return int(found[1])

    @property
    def pin(self) -> str:
        self.tells("to pin: ")
        found = PINNED.search("".join(self.lines))
        assert found is not None
        return found[1]

    def get(self, path: str, scheme: str = "http") -> tuple[int, str, str]:
        """Status, kind and body of a page."""
        try:
            context = trusting() if scheme == "https" else None
            with urllib.request.urlopen(f"{scheme}://{HOST}:{self.port}{path}", timeout=WAIT, context=context) as page:
                return page.status, page.headers["Content-Type"], page.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.headers["Content-Type"], exc.read().decode()

    def metric(self, name: str, labels: str = "") -> float:
        """One of its own metrics; 0 if there is none with such `labels` yet."""
        text = self.get("/metrics")[2]
        found = re.search(rf"^sandpiper_hub_{re.escape(name + labels)} (\S+)$", text, re.MULTILINE)
        assert found is not None or labels, name
        return float(found[1]) if found is not None else 0.0

    # ------------------------------------------------------------ what it takes

    def resident(self) -> int:
        """Bytes of it in RAM. Linux."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """Files and sockets that it has open. Linux."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def blocks(self) -> int:
        """Blocks of memory that its objects take, as Python's allocator counts them."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = f"count {self._counts}: "
        self._counts += 1
        self.tells(words)
        return int("".join(self.lines).rpartition(words)[2].split()[0])

    def unharmed(self) -> None:
        """It runs, and nothing has gone wrong inside it."""
        assert self.process.poll() is None, self.told()
        told = "".join(self.lines)
        assert "Traceback" not in told, told[-3000:]
        assert "ERROR" not in told, told[-3000:]


def trusting() -> ssl.SSLContext:
    """TLS that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
