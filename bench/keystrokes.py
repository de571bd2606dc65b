"""From striking a key to its letter on the terminal, while the room on the screen is filled by a peer, and in peace.

The peer is another real process of this program, fed line by line. The rival is the minimal Textual app, which writes
as many lines a second by itself: no network, no signatures, no disk. Keys during which the host of a virtual machine
took the processor away are counted apart, for both.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.peers import ROOM
from bench.report import Result, percentile
from bench.room import fill
from bench.screens import Terminal, rival, sandpiper, scratch
from bench.stolen import Stolen
from sandpiper.crypto.rooms import open_room
from sandpiper.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 500  # messages a second
SECONDS = 10.0
EVERY = 0.05  # seconds between two keys
LINE = 70  # letters before the line is cleared, so that it never wraps
TAIL = 6  # letters that are looked for together: what is said has no such sequence
GOAL = 0.05  # seconds, for the slowest key
PORT = 25_840
FED = "so many have been said of these in the room already: "


class Typing(NamedTuple):
    """Seconds for each key, and for those during which the host took the processor away; the shares of the time that
    the program took of a core, and that its screen's thread was ready and got none; MB a second that it wrote.
    """

    times: list[float]
    disturbed: list[float]
    share: float
    waited: float
    written: float


def strike(terminal: Terminal, seconds: float) -> Typing:
    """Type for so long, a key every `EVERY` seconds, whether the one before is shown or not."""
    rng, line = random.Random(3), ""
    struck: list[tuple[float, str]] = []
    spent, waited, began, first = terminal.spent(), terminal.waited(), time.monotonic(), len(terminal.arrived)
    due = began
    with Stolen() as stolen:
        while due < began + seconds:
            time.sleep(max(0, due - time.monotonic()))
            if len(line) == LINE:
                terminal.wait_for(line[-TAIL:], since=struck[-1][0])  # what is cleared before it is drawn is never seen
                terminal.type("\x15")
                line, due = "", time.monotonic()
            else:
                line += rng.choice("bcdfghjkmnpqrstvwxz")
                struck.append((terminal.type(line[-1]), line[-TAIL:]))
            due += EVERY
        took = time.monotonic() - began
        spent, waited = terminal.spent() - spent, terminal.waited() - waited
        terminal.rest(0.5, 5)
    written = sum(len(data) for _, data in terminal.arrived[first:]) / took / 1e6
    return Typing(*_shown(terminal, struck, stolen), spent / took, waited / took, written)


def _shown(terminal: Terminal, struck: list[tuple[float, str]], stolen: Stolen) -> tuple[list[float], list[float]]:
    """How long each took, and each of those that the host disturbed; a letter is shown when it and those before it are
    written in one go.
    """
    times: list[float] = []
    disturbed: list[float] = []
    for at, letters in struck:
        if len(letters) == TAIL:  # the first ones of a line could be found in any word
            shown = terminal.wait_for(letters, since=at, seconds=5)
            (disturbed if stolen.between(at, shown) else times).append(shown - at)
    return times, disturbed


@contextmanager
def fed(home: Path, port: int, rate: int) -> Iterator[threading.Event]:
    """A peer that says `rate` messages a second for `SECONDS` once the event is set."""
    command, env = sandpiper(home, port, "--plain", "--json", "--nick", "feeder", "--linger", "60")
    go = threading.Event()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    ) as peer:
        os.setpriority(os.PRIO_PROCESS, peer.pid, 19)  # in life it has a machine of its own
        assert peer.stdin is not None
        assert peer.stdout is not None
        out, into = peer.stdout, peer.stdin
        for line in out:
            event = json.loads(line)
            if event["event"] == "peer" and event["state"] == "linked":
                break

        def drain() -> None:
            for _ in out:
                pass

        def feed() -> None:
            go.wait()
            began, said = time.monotonic(), 0
            while said < rate * SECONDS:
                due = min(int((time.monotonic() - began) * rate) + 1, int(rate * SECONDS))
                for number in range(said, due):
                    into.write(f"{FED}{number}\n")
                into.flush()
                said = due
                time.sleep(0.02)

        threads = [threading.Thread(target=drain, daemon=True), threading.Thread(target=feed, daemon=True)]
        for thread in threads:
            thread.start()
        try:
            yield go
            threads[1].join()
        finally:
            peer.kill()


def came(home: Path) -> int:
    """Messages of the peer in the history of the program."""
    [history] = home.glob("profiles/*/history.db")
    with Reader(history) as reader:
        return sum(message.text.startswith(FED) for message in reader.everything(open_room(ROOM)))


def ours(folder: Path, port: int) -> tuple[Typing, Typing, int, float]:
    """In peace, under load, messages that came, and seconds until the last one was on the screen (0: in time)."""
    home = folder / "ours"
    texts = fill(home, 1_000)
    command, env = sandpiper(home, port)
    with Terminal(command, env) as terminal:
        terminal.wait_for(texts[-1][:40])
        terminal.rest(1)
        quiet = strike(terminal, SECONDS)
        terminal.type("\x15")
        with fed(folder / "feeder", port, RATE) as go:
            time.sleep(1)
            go.set()
            loaded = strike(terminal, SECONDS)
            ended = time.monotonic()
            deadline, total = ended + 60, int(RATE * SECONDS)
            while (count := came(home)) < total and time.monotonic() < deadline:
                time.sleep(0.25)
            late = time.monotonic() - ended
            terminal.rest(0.5, 5)
        bottom = "\n".join(terminal.lines())
        assert f"{FED}{total - 1}" in bottom, bottom
    return quiet, loaded, count, late


def least(rate: int) -> Typing:
    """The minimal app, with so many lines a second."""
    with Terminal(rival(str(rate))) as terminal:
        terminal.wait_for("somebody 199 ")
        terminal.rest(1)
        if rate:
            terminal.type("a\x15")  # it begins to write
            time.sleep(0.3)
        return strike(terminal, SECONDS)


def _row(what: str, mine: Typing, theirs: Typing, note: str, *, goal: bool) -> Result:
    times = mine.times
    at = {name: percentile(mine.times, share) * 1e3 for name, share in (("p50", 0.5), ("p95", 0.95))}
    other = {name: percentile(theirs.times, share) * 1e3 for name, share in (("p50", 0.5), ("p95", 0.95))}
    over = sum(one > GOAL for one in times)
    apart = "" if not mine.disturbed else (
        f" (and {len(mine.disturbed)} while the host took time from this machine: {max(mine.disturbed) * 1e3:.0f} ms)"
    )  # fmt: skip
    note = (
        f"p50 / p95 / max {at['p50']:.1f} / {at['p95']:.1f} / {max(times) * 1e3:.0f} ms, {over} of {len(times)} over"
        f" 50 ms{apart}; rival {other['p50']:.1f} / {other['p95']:.1f} / {max(theirs.times) * 1e3:.0f} ms; share of a"
        f" core {mine.share:.0%}, rival {theirs.share:.0%}, and ready without"
        f" one {mine.waited:.0%}, rival {theirs.waited:.0%} of the time; written"
        f" {mine.written:.2f} MB/s, rival {theirs.written:.2f}"
        f"{note}"
    )
    return Result("keystrokes", f"key to letter, {what}, slowest", "ms", max(times) * 1e3, "minimal Textual app",
                  max(theirs.times) * 1e3, max(times) / max(theirs.times), "≤ 50 ms" if goal else "-",
                  max(times) <= GOAL if goal else None, note)  # fmt: skip


def run() -> list[Result]:
    """Ours, and the minimal app before and after."""
    with scratch() as folder:
        rival_quiet, rival_loaded = least(0), least(RATE)
        quiet, loaded, count, late = ours(Path(folder), PORT)
        again = least(RATE)
    rival_loaded = Typing(
        rival_loaded.times + again.times,
        rival_loaded.disturbed + again.disturbed,
        (rival_loaded.share + again.share) / 2,
        (rival_loaded.waited + again.waited) / 2,
        (rival_loaded.written + again.written) / 2,
    )
    total = int(RATE * SECONDS)
    note = f"; {count} of {total} messages came, the last one {late:.1f} s after the last key"
    results = [
        _row("nothing else happens", quiet, rival_quiet, "", goal=True),
        _row(f"{RATE} messages/s", loaded, rival_loaded, note, goal=True),
    ]
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        mine, theirs = percentile(loaded.times, share) * 1e3, percentile(rival_loaded.times, share) * 1e3
        results.append(
            Result("keystrokes", f"key to letter, {RATE} messages/s, {name}", "ms", mine, "minimal Textual app", theirs,
                   mine / theirs, "-", None)
        )  # fmt: skip
    return results
