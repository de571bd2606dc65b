"""From executing the program to what a person sees of it, against a minimal Textual app and the terminal chats at hand.

Three moments: something is on the screen; the frame of the line that one writes in; the last message of the room is
there and a letter that is struck then is shown. An existing profile with a hundred messages, a pty of 120 x 34.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.report import Result, spread
from bench.room import fill
from bench.screens import Terminal, rival, sandpiper, scratch, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RUNS = 9
MESSAGES = 100
TYPED = "zqxj"
PORT = 25_800
GOAL = 0.25  # seconds


class Start(NamedTuple):
    """Seconds from the program's execution to: anything, the frame, a letter shown below the last message."""

    anything: float
    frame: float
    typing: float


def start(command: Sequence[str], env: Mapping[str, str], last: str, framed: Callable[[list[str]], object]) -> Start:
    """One start; `last` is the text that stands for the room being there."""
    with Terminal(command, env) as terminal:
        terminal.wait_for(last)
        terminal.type(TYPED)
        typing, end = None, time.monotonic() + 10
        while typing is None:  # curses writes letter by letter, so the bytes alone do not tell
            terminal.rest(0.2)
            with suppress(TimeoutError):
                typing = terminal.seen(lambda lines: any(TYPED in line for line in lines))
            assert typing is not None or time.monotonic() < end, terminal.lines()
        anything = terminal.seen(lambda lines: any(line.strip() for line in lines))
        frame = terminal.seen(framed)
        return Start(anything - terminal.started, frame - terminal.started, typing - terminal.started)


def _rounded(lines: list[str]) -> bool:
    return any("╭──" in line or "╭─ " in line for line in lines) and any("─╯" in line for line in lines)


def imports(statement: str, env: Mapping[str, str]) -> float:
    """Seconds from start to end of a Python that does nothing but this; the median of several."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, env={**surroundings(), **env})
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def run() -> list[Result]:
    """Ours and the rivals in turns, so that all have the same neighbours."""
    with scratch() as folder:
        home = Path(folder) / "home"
        texts = fill(home, MESSAGES)
        compiled = {"PYTHONPYCACHEPREFIX": f"{folder}/compiled"}  # as after an installation, wherever this runs
        ours_at: list[Start] = []
        contenders: dict[str, tuple[list[str], str, Callable[[list[str]], object]]] = {
            "minimal Textual app": (rival(), "somebody 199 ", _rounded)
        }
        if irssi := shutil.which("irssi"):
            command = [irssi, "-!", f"--home={folder}/irssi"]
            contenders["irssi"] = (command, "[(status)]", lambda lines: any("[(status)]" in line for line in lines))
        if weechat := shutil.which("weechat"):
            command = [weechat, "--no-connect", "--dir", f"{folder}/weechat"]
            contenders["weechat"] = (command, "Plugins loaded", lambda lines: any("[core]" in line for line in lines))
        theirs: dict[str, list[Start]] = {name: [] for name in contenders}
        for number in range(RUNS + 1):
            command, env = sandpiper(home, PORT + number)
            ours_at.append(start(command, {**env, **compiled}, texts[-1][:40], _rounded))
            for name, (command, last, framed) in contenders.items():
                theirs[name].append(start(command, compiled, last, framed))
        for times in (ours_at, *theirs.values()):
            del times[0]  # files were read from the disk, and by some written
        bare, textual = imports("pass", compiled), imports("import textual.app", compiled)
        face = imports("import sandpiper.cli, sandpiper.faces.tui.app, sandpiper.faces.tui.run", compiled)
    absent = [name for name in ("irssi", "weechat") if name not in contenders]
    notes = [f"{name} {_medians(times)}" for name, times in theirs.items()]
    notes.append(f"not installed here: {', '.join(absent)}" if absent else "")
    notes.append(
        f"of ours, Python's start is {bare * 1e3:.0f} ms, importing Textual {(textual - bare) * 1e3:.0f} ms, and"
        f" importing the rest of the screen {(face - textual) * 1e3:.0f} ms"
    )
    note = "medians in ms of first paint / frame / typing: " + "; ".join(filter(None, notes))
    results = []
    for index, what in enumerate(("first paint", "frame of the composer", "last message, and a letter typed")):
        mine = [one[index] for one in ours_at]
        least = statistics.median(one[index] for one in theirs["minimal Textual app"])
        median = statistics.median(mine)
        goal, met = ("≤ 250 ms", median <= GOAL) if index == 0 else ("-", None)
        results.append(
            Result("first_paint", f"start to {what}", "ms", median * 1e3, "minimal Textual app", least * 1e3,
                   median / least, goal, met, f"in s {spread(mine)}" + (f"; {note}" if index == 0 else ""))
        )  # fmt: skip
    return results


def _medians(times: list[Start]) -> str:
    return " / ".join(f"{statistics.median(moment) * 1e3:.0f}" for moment in zip(*times, strict=True))
