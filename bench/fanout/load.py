"""Starts a server on one core and loads it from the other; both end with the block, and with this process."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.fanout.rivals import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.fanout.rivals import Rival

TEXT = 64  # bytes of a message's text: a usual line of chat
LONGEST = 60.0  # s that one run of the load generator may take before it is ended
UP = 10.0  # s that a server may take to open its port


class Failed(Exception):
    """A server did not take the load; the sentence says how far it came."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator tells. Rates are a second, times in ms, CPU in cores.

    `open`: deliveries still owed two seconds after the last message was sent; lost, doubled and broken are mistakes.
    """

    seconds: float
    rate: float
    bytes: int
    closed: int
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    broken: int = 0
    open: int = 0
    notices: int = 0
    p50: float = 0.0
    p99: float = 0.0
    generator_cpu: float = 0.0
    server_cpu: float = 0.0

    @property
    def each_cpu_second(self) -> float:
        """Deliveries for each second that the server computed: holds better than the rate where cores are shared."""
        return self.rate / self.server_cpu if self.server_cpu else 0.0

    @property
    def wrong(self) -> str:
        """What was wrong with the deliveries, as words for a table; empty where every one was right."""
        counts = {"lost": self.lost, "doubled": self.doubled, "broken": self.broken, "cut off": self.closed}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def unable() -> str | None:
    """Why this machine cannot run the race, as a sentence; None where it can."""
    if sys.platform != "linux":
        return "it pins processes and reads /proc, so it needs Linux"
    for name, source in (("cc", "gcc"), ("setpriv", "util-linux"), ("taskset", "util-linux")):
        if not shutil.which(name):
            return f"{name} is not installed (apt install {source})"
    if len(os.sched_getaffinity(0)) < 2:
        return "it needs two cores: one for the server, one for the load generator"
    return None


def cores() -> tuple[int, int]:
    """The core of the load generator and the core of the server."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def raise_limits() -> int:
    """Allow as many open files as the system lets us; children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pinned(core: int, command: list[str]) -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), *command]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Loaded:
    """A server that runs, and what one can do to it."""

    def __init__(self, rival: Rival, process: subprocess.Popen[bytes], site: Site) -> None:
        self._rival = rival
        self._process = process
        self._site = site

    def _command(self, text: int, *mode: object) -> list[str]:
        command = [str(self._site.built / "loadgen"), self._rival.speech, str(self._site.port), str(text)]
        return _pinned(cores()[0], [*command, str(self._process.pid), str(self._rival.at_once), *map(str, mode)])

    def run(self, *mode: object, text: int = TEXT) -> Load:
        """One run of the load generator (`loadgen.c` says which modes there are).

        Raises:
            Failed: the server threw guests out, or did not let them in.
        """
        try:
            done = subprocess.run(self._command(text, *mode), capture_output=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {LONGEST:.0f} s") from None
        if done.returncode:
            raise Failed(done.stderr.decode().strip().removeprefix("loadgen: ") or f"exit {done.returncode}")
        return msgspec.json.decode(done.stdout, type=Load)

    def idle(self, guests: int) -> float:
        """KiB of the server's resident set that each of so many idle guests costs."""
        before = self._resident()
        with subprocess.Popen(
            self._command(TEXT, "idle", guests), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as crowd:
            assert crowd.stdin is not None
            assert crowd.stdout is not None
            assert crowd.stderr is not None
            try:
                if not crowd.stdout.readline():
                    raise Failed(crowd.stderr.read().decode().strip().removeprefix("loadgen: "))
                return (self._resident() - before) / guests
            finally:
                crowd.stdin.close()
                _end(crowd)

    def _resident(self) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise Failed("the server ended")


@contextlib.contextmanager
def loaded(rival: Rival, built: Path) -> Iterator[Loaded]:
    """The server on its core, until the block ends.

    Raises:
        Failed: it did not open its port.
    """
    with tempfile.TemporaryDirectory(prefix="fanout-") as folder:
        site = Site(Path(folder), _free_port(), built)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (site.folder / "output").open("wb") as output:
            process = subprocess.Popen(
                _pinned(cores()[1], rival.command(site)), stdout=output, stderr=output, env=environment
            )
        try:
            deadline = time.monotonic() + UP
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", site.port), 1):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (site.folder / "output").read_text(errors="replace").strip().splitlines()[-3:]
                    raise Failed("it did not start: " + " / ".join(said))
                time.sleep(0.02)
            yield Loaded(rival, process, site)
            if process.poll() is not None:
                said = (site.folder / "output").read_text(errors="replace").strip().splitlines()[-3:]
                print(f"{rival.name} ended by itself: {' / '.join(said)}", file=sys.stderr)
        finally:
            _end(process)
