"""From starting the second peer to its first message on the first peer's screen, against the founding program's rules.

Both sides are real processes on loopback, the start of Python included. The rival is a plain-socket implementation of
the old rules (`tests/oldpeer`): a beacon every 5 s, the first one after the first tick, the smaller id dials. Its time
depends on whose id is smaller, so both orders are measured.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import LOOPBACK
from bench.report import Result, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = 5
OLD_RUNS = 2  # of each order; every one takes up to 5 s
GROUP = "224.0.0.1:{}"
GREETING = "hello from the second"


def _start(command: Sequence[str], home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"SANDPIPER_HOME": str(home), "SANDPIPER_INTERFACES": LOOPBACK[0], "PATH": "/usr/bin:/bin"},
    )


def _time(first: Sequence[str], second: Sequence[str], ready: str | None, settle: float) -> float:
    """Seconds from starting `second`, with one line typed, to that line in the output of `first`."""
    with tempfile.TemporaryDirectory() as folder:
        one = _start(first, Path(folder) / "one")
        assert one.stdout is not None
        while ready is not None and ready not in one.stdout.readline():
            pass
        time.sleep(settle)
        start = time.perf_counter()
        two = _start(second, Path(folder) / "two")
        assert two.stdin is not None
        two.stdin.write(GREETING + "\n")
        two.stdin.flush()
        while GREETING not in one.stdout.readline():
            pass
        elapsed = time.perf_counter() - start
        for process in (two, one):
            process.communicate(timeout=20)
        return elapsed


def ours(port: int) -> float:
    """Two fresh profiles of this program."""
    program = str(Path(sys.executable).with_name("sandpiper"))
    command = [program, "--plain", "--json", "--no-input", "--multicast", GROUP.format(port), "--nick"]
    return _time([*command, "first"], [*command, "second"], '"ready"', 1.0)


def old(port: int, ids: tuple[str, str]) -> float:
    """Two peers of the old rules with these ids."""
    command = [sys.executable, "-m", "tests.oldpeer.p2pchat", "--interface", "127.0.0.1"]
    command += ["--multicast", GROUP.format(port), "--wait-peers", "1", "--username"]
    return _time([*command, "first", "--peer-id", ids[0]], [*command, "second", "--peer-id", ids[1]], None, 2.0)


def run() -> list[Result]:
    """Ours several times, the old rules in both id orders."""
    times = [ours(21_000 + number) for number in range(RUNS)]
    rival = [old(21_100 + number, ("a" * 8, "b" * 8)) for number in range(OLD_RUNS)]
    rival += [old(21_200 + number, ("b" * 8, "a" * 8)) for number in range(OLD_RUNS)]
    mine, theirs = statistics.median(times), statistics.median(rival)
    sooner = theirs / mine
    note = f"ours {spread(times)}; old rules {spread(rival)}"
    return [
        Result("first_message", "start of the second peer to its first message at the first", "s", mine,
               "old rules, 5 s beacon", theirs, sooner, "under 1 s and 5 times sooner", mine < 1 and sooner >= 5, note),
    ]  # fmt: skip
