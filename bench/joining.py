"""How soon a line arrives at somebody who was told a code, against magic-wormhole's own `send` and `receive`.

Each side is a real process with a fresh profile, and each has its own server on loopback: `sandpiper relay`, and
magic-wormhole's mailbox server. One side has made a code and said the line; then the other is started with the code,
and the clock runs until the line is on its output, the start of Python included. Ours has by then a room in which both
go on talking, with signed messages on disk; the rival's sides are done with each other.

The rival is run if it is there, on the PATH or beside this Python:
`pip install magic-wormhole magic-wormhole-mailbox-server`, best in an environment of its own: it brings much with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.relay import HOST, ours
from bench.report import Result, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RUNS = 5
WARM = 1  # runs before, that write caches of bytecode and are not counted
LINE = "the heron has landed"
CODE = re.compile(r"\b[a-z]+-[a-z]+-[0-9]+\b")
THEIR_CODE = re.compile(r"^Wormhole code is: (\S+)", re.MULTILINE)
LONGEST = 30.0

Times = tuple[float, float]
"""Seconds from the start of the first side, and of the second one, to the line."""


def found(name: str) -> str | None:
    """Where a program of the rival is."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join((beside, os.environ.get("PATH", ""))))


def start(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process whose lines, of both kinds, are read as they come."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env)


def line_with(process: subprocess.Popen[str], wanted: str | re.Pattern[str]) -> str:
    """Read until this is in a line."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line if isinstance(wanted, str) else wanted.search(line):
            return line
    raise RuntimeError(f"it ended without a line with {wanted!r}:\n{seen[-2000:]}")


def timed(
    first: Sequence[str], second: Sequence[str], code: re.Pattern[str], env: Mapping[str, str], say: str = ""
) -> Times:
    """Run both sides. The second one gets the code behind its words."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [{**env, "HOME": f"{folder}/{n}", "SANDPIPER_HOME": f"{folder}/{n}/sandpiper"} for n in range(2)]
        for home in homes:
            home.pop("PYTHONDONTWRITEBYTECODE", None)  # installed programs have theirs written
            Path(home["HOME"]).mkdir()
        began = time.perf_counter()
        one = start(first, homes[0])
        try:
            hit = code.search(line_with(one, code))
            assert hit is not None
            told = hit[hit.lastindex or 0]
            if say:
                assert one.stdin is not None
                one.stdin.write(f"{say}\n")
                one.stdin.flush()
                line_with(one, say)
            joined = time.perf_counter()
            two = start([word.replace("CODE", told) for word in second], homes[1])
            try:
                line_with(two, LINE)
                ended = time.perf_counter()
            finally:
                _end(two)
        finally:
            _end(one)
        return ended - began, ended - joined


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        process.communicate(timeout=10)
    process.kill()
    process.wait(LONGEST)


# ---------------------------------------------------------------- ours


def by_sandpiper(port: int) -> Times:
    """`sandpiper create`, and `sandpiper join` of its code."""
    program = str(Path(sys.executable).with_name("sandpiper"))
    usual = ["--plain", "--json", "--no-input", "--no-multicast", "--interface", "lo", "--relay", f"{HOST}:{port}"]
    return timed(
        [program, "create", "bench", *usual, "--nick", "first"],
        [program, "join", "CODE", *usual, "--nick", "second"],
        CODE,
        os.environ,
        say=LINE,
    )


# ---------------------------------------------------------------- the rival


@contextlib.contextmanager
def mailbox(twist: str) -> Iterator[int]:
    """The rival's mailbox server, and its port."""
    with socket.create_server((HOST, 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [twist, "wormhole-mailbox", f"--port=tcp:{port}:interface={HOST}", "--channel-db=channels.sqlite"]
        with subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": folder},
        ) as server:
            try:
                _until_open(port, server)
                yield port
            finally:
                server.terminate()


def _until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("the mailbox server did not open its port")


def by_wormhole(wormhole: str, port: int) -> Times:
    """`wormhole send --text`, and `wormhole receive` of its code."""
    base = [wormhole, "--relay-url", f"ws://{HOST}:{port}/v1"]
    return timed(
        [*base, "send", "--hide-progress", "--text", LINE],
        [*base, "receive", "--hide-progress", "--only-text", "CODE"],
        THEIR_CODE,
        os.environ,
    )


# ---------------------------------------------------------------- all of it


def _version(wormhole: str) -> str:
    done = subprocess.run([wormhole, "--version"], capture_output=True, text=True, check=False, timeout=LONGEST)
    return done.stdout.strip() or "magic-wormhole"


def run() -> list[Result]:
    """Both in turn."""
    wormhole, twist = found("wormhole"), found("twist")
    mine: list[Times] = []
    theirs: list[Times] = []
    with contextlib.ExitStack() as stack:
        _, port = stack.enter_context(ours())
        mailbox_port = stack.enter_context(mailbox(twist)) if wormhole and twist else 0
        for number in range(RUNS + WARM):
            times = by_sandpiper(port)
            others = by_wormhole(wormhole, mailbox_port) if wormhole and mailbox_port else None
            if number >= WARM:
                mine.append(times)
                theirs += [others] if others is not None else []
    if not theirs:
        print(
            "magic-wormhole is not installed: pip install magic-wormhole magic-wormhole-mailbox-server", file=sys.stderr
        )
    name = f"{_version(wormhole)}, send and receive" if wormhole and theirs else "-"
    results = []
    busy = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    for what, at, goal in (("start with a code to the line", 1, "sooner"), ("both starts in turn to the line", 0, "-")):
        own, other = [one[at] for one in mine], [one[at] for one in theirs]
        a, b = statistics.median(own), statistics.median(other) if other else None
        note = f"ours {spread(own)}" + (f"; theirs {spread(other)}; {busy}" if other else f"; {busy}")
        ratio = a / b if b else None
        met = ratio < 1 if ratio is not None and goal == "sooner" else None
        results.append(Result("joining", what, "s", a, name, b, ratio, goal, met, note))
    return results


if __name__ == "__main__":
    for result in run():
        print(f"{result.what}: {result.ours:.3g} s; {result.rival_name}: {result.rival}")
        print(f"  {result.note}")
