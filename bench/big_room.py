"""A room of 100,000 messages: memory, going to its beginning, another width, one message more, and search.

The program itself runs on a pty. What one more message costs is measured in this process, against what Textual
offers for the same: a `RichLog` and a column of `Static`s. Search is measured against grep and against SQLite's LIKE.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bench.peers import ROOM
from bench.report import Result, percentile
from bench.room import COMMON, FIRST, PREFIX, RARE, fill, say
from bench.screens import Terminal, rival, sandpiper, scratch, status
from sandpiper.crypto.rooms import open_room
from sandpiper.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.store.reader import Message

COUNT = 100_000
RESIDENT = 5_000  # entries that the screen keeps
COLUMN = 1_000  # `Static`s in a column: with more it is no rival any more
APPENDED = 100
PAGES = 20
SEARCHES = 30
PORT = 25_880


# ---------------------------------------------------------------- the program


def program(home: Path, texts: list[str]) -> list[Result]:
    """Memory and movement in the program itself."""
    command, env = sandpiper(home, PORT)
    with Terminal(command, env) as terminal:
        ready = terminal.wait_for(texts[-1][:30]) - terminal.started
        terminal.rest(1)
        begun = terminal.resident()
        pages = []
        for _ in range(PAGES):
            struck = terminal.type("\x1b[5~")
            terminal.rest(0.15)
            if drawn := terminal.arrived[terminal.count(struck) :]:
                pages.append(drawn[-1][0] - struck)
        paged = terminal.resident()
        struck = terminal.type("\x1b[1;5H")
        oldest = terminal.wait_for(FIRST, since=struck) - struck
        terminal.rest(1)
        home_again = terminal.resident()
        struck = terminal.type("\x1b[1;5F")
        newest = terminal.wait_for(texts[-1][:30], since=struck) - struck
        terminal.rest(1)
        sized = terminal.resize(80)
        terminal.wait_for(texts[-1][:30], since=sized)
        terminal.rest(0.5)
        narrow = terminal.seen(lambda lines: _bottom(lines, texts[-1], 80), since=sized) - sized
        most = status(terminal.process.pid, "VmHWM")
    with Terminal(rival()) as terminal:
        terminal.wait_for("somebody 199 ")
        terminal.rest(1)
        minimal = terminal.resident()
        sized = terminal.resize(80)
        terminal.rest(0.5, 2)  # its cursor blinks
        theirs = terminal.seen(
            lambda lines: any(len(line.rstrip()) == 80 and line[79] == "╮" for line in lines), since=sized
        )
        theirs -= sized
    note = (
        f"MB after the start {begun:.0f}, after {PAGES} pages up {paged:.0f}, after Ctrl+Home {home_again:.0f}, at most"
        f" {most:.0f}; {ready * 1e3:.0f} ms from start to last message"
    )
    name = "minimal Textual app, 200 lines"
    return [
        Result("big_room", f"memory with {COUNT:,} messages in the history", "MB", most, name, minimal, most / minimal,
               "≤ 120 MB", most <= 120, note),
        Result("big_room", "page up, drawn", "ms", statistics.median(pages) * 1e3, "-", None, None, "-", None,
               f"slowest {max(pages) * 1e3:.0f} ms; the last byte counts"),
        Result("big_room", "Ctrl+Home to the first message", "ms", oldest * 1e3, "-", None, None, "-", None,
               f"and Ctrl+End to the last {newest * 1e3:.0f} ms"),
        Result("big_room", "resize from 120 to 80 columns, redrawn", "ms", narrow * 1e3, name, theirs * 1e3,
               narrow / theirs, "-", None),
    ]  # fmt: skip


def _bottom(lines: list[str], last: str, columns: int) -> bool:
    """The composer ends at the edge, and the last message is above it."""
    frame = [n for n, line in enumerate(lines) if line.rstrip().endswith("─╮")]
    return bool(frame) and len(lines[frame[-1]].rstrip()) >= columns - 1 and any(last[:30] in line for line in lines)


# ---------------------------------------------------------------- widgets in this process


async def transcript(messages: list[Message], more: list[Message]) -> dict[str, float]:
    """Our transcript with `RESIDENT` entries, and the same again, message by message and drawn each time."""
    from textual.app import App, ComposeResult

    from sandpiper.faces.tui.palettes import PALETTES
    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.transcript.layout import Setting
    from sandpiper.faces.tui.transcript.widget import Transcript
    from sandpiper.wire.ids import PeerKey

    setting = Setting(120, PeerKey(b""), "bench")

    class Alone(App[None]):
        @override
        def compose(self) -> ComposeResult:
            yield Transcript(lambda: _none(), setting, Looks(PALETTES["dark"]))

    def _none() -> Reader:
        raise AssertionError("the history is not read here")

    app = Alone()
    async with app.run_test(size=(120, 34)) as pilot:
        widget = app.query_one(Transcript)
        room = messages[0].room
        widget.room = room
        sheet = widget.sheets.open(room)
        sheet.start_again(messages, at_start=False, at_end=True)
        widget._settle(None)
        await pilot.pause()
        times, drawn = [], []
        for message in more:
            start = time.perf_counter()
            widget.take(room, [message])
            times.append(time.perf_counter() - start)
            await _drawn(widget)
            drawn.append(time.perf_counter() - start)
        start = time.perf_counter()
        await pilot.resize_terminal(80, 34)
        await _drawn(widget)
        resized = time.perf_counter() - start
    return _figures(times, drawn, resized)


async def rich_log(texts: list[str], more: list[str]) -> dict[str, float]:
    """A `RichLog` with everything in it: it has no other way."""
    from textual.app import App, ComposeResult
    from textual.widgets import RichLog

    class Alone(App[None]):
        @override
        def compose(self) -> ComposeResult:
            yield RichLog(wrap=True)

    app = Alone()
    async with app.run_test(size=(120, 34)) as pilot:
        widget = app.query_one(RichLog)
        await pilot.pause()
        start = time.perf_counter()  # it does not fold again by itself: for another width, all this is done again
        for text in texts:
            widget.write(text)
        await _drawn(widget)
        written = time.perf_counter() - start
        times, drawn = [], []
        for text in more:
            start = time.perf_counter()
            widget.write(text)
            times.append(time.perf_counter() - start)
            await _drawn(widget)
            drawn.append(time.perf_counter() - start)
    return _figures(times, drawn, written)


async def statics(texts: list[str], more: list[str]) -> dict[str, float]:
    """A column of `Static`s, a widget a message."""
    from textual.app import App, ComposeResult
    from textual.containers import VerticalScroll
    from textual.widgets import Static

    class Alone(App[None]):
        @override
        def compose(self) -> ComposeResult:
            with VerticalScroll():
                for text in texts:
                    yield Static(text, markup=False)

    app = Alone()
    async with app.run_test(size=(120, 34)) as pilot:
        widget = app.query_one(VerticalScroll)
        await pilot.pause()
        times, drawn = [], []
        for text in more:
            start = time.perf_counter()
            await widget.mount(Static(text, markup=False))
            widget.scroll_end(animate=False)
            times.append(time.perf_counter() - start)
            await _drawn(widget)
            drawn.append(time.perf_counter() - start)
        start = time.perf_counter()
        await pilot.resize_terminal(80, 34)
        await _drawn(widget)
        resized = time.perf_counter() - start
    return _figures(times, drawn, resized)


async def _drawn(widget: object) -> None:
    """Until the screen was refreshed with all that is to be."""
    done = asyncio.Event()
    widget.call_after_refresh(done.set)  # type: ignore[attr-defined]
    await done.wait()


def _figures(times: list[float], drawn: list[float], resized: float) -> dict[str, float]:
    return {
        "append": statistics.median(times) * 1e3,
        "p99": percentile(times, 0.99) * 1e3,
        "drawn": statistics.median(drawn) * 1e3,
        "resize": resized * 1e3,
        "rss": status(os.getpid(), "VmRSS"),
    }


def widgets(history: Path) -> list[Result]:
    """Each in a process of its own, so that memory is its own."""
    found = {}
    for name in ("transcript", "rich_log", "statics"):
        command = [sys.executable, "-m", "bench.big_room", name, str(history)]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    ours, log, column = found["transcript"], found["rich_log"], found["statics"]
    note = (
        f"Transcript.take with {RESIDENT:,} entries under Textual's run_test, p99 {ours['p99']:.2f} ms; with the redraw"
        f" {ours['drawn']:.1f} ms; RichLog.write with {COUNT:,} lines {log['append']:.2f} ms, with the redraw"
        f" {log['drawn']:.1f} ms; one more Static under {COLUMN:,} {column['append']:.1f} ms, with the redraw"
        f" {column['drawn']:.1f} ms"
    )
    return [
        Result("big_room", "one message more, the widget's part", "ms", ours["append"], f"Static among {COLUMN:,}",
               column["append"], ours["append"] / column["append"], "≤ 1 ms", ours["append"] <= 1, note),
        Result("big_room", "one message more, until it is drawn", "ms", ours["drawn"], f"RichLog of {COUNT:,} lines",
               log["drawn"], ours["drawn"] / log["drawn"], "-", None),
        Result("big_room", "another width, the widget's part", "ms", ours["resize"], f"RichLog of {COUNT:,}, anew",
               log["resize"], ours["resize"] / log["resize"], "-", None,
               f"{COLUMN:,} Statics {column['resize']:.0f} ms; ours lays out {RESIDENT:,} entries"),
        Result("big_room", "memory of the widget's process", "MB", ours["rss"], f"RichLog of {COUNT:,} lines",
               log["rss"], ours["rss"] / log["rss"], "-", None, f"{COLUMN:,} Statics {column['rss']:.0f} MB"),
    ]  # fmt: skip


# ---------------------------------------------------------------- search


def search(history: Path, texts: list[str], folder: Path) -> list[Result]:
    """What the screen asks when a person has typed this, against grep and LIKE over the same texts."""
    lines = folder / "texts"
    lines.write_text("\n".join(texts) + "\n")
    some = texts[len(texts) // 2].split()
    wanted = {"a common word": COMMON, "a rare word": RARE, "two words": f"{some[2]} {some[3]}", "a prefix": PREFIX}
    results = []
    like = "SELECT n FROM messages WHERE text LIKE ? AND text LIKE ? ORDER BY clock DESC LIMIT 100"
    with Reader(history) as reader, closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as database:
        for what, words in wanted.items():
            first, last = words.split()[0], words.split()[-1]
            times = _times(partial(reader.search, words))
            grep = _times(partial(subprocess.run, ["grep", "-c", last, lines], stdout=subprocess.DEVNULL))
            scan = _times(lambda values=(f"%{first}%", f"%{last}%"): database.execute(like, values).fetchall())  # type: ignore[misc]
            p50, p95 = (percentile(times, share) * 1e3 for share in (0.5, 0.95))
            rivals = [percentile(one, 0.5) * 1e3 for one in (grep, scan)]
            results.append(
                Result("big_room", f"search for {what}, p95", "ms", p95, "sqlite3 LIKE, p50",
                       rivals[1], p95 / rivals[1],
                       "≤ 50 ms", p95 <= 50, f"p50 {p50:.1f} ms, {len(reader.search(words))} found; grep -c"
                       f" {rivals[0]:.1f} ms, its start included")
            )  # fmt: skip
    return results


def _times(do: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(SEARCHES):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return times


def run() -> list[Result]:
    """Make the room, and measure everything in it."""
    with scratch() as folder:
        home = Path(folder) / "home"
        texts = fill(home, COUNT)
        [history] = home.glob("profiles/*/history.db")
        results = search(history, texts, Path(folder))
        results += widgets(history)
        results += program(home, texts)
    return results


def _one(name: str, history: Path) -> dict[str, float]:
    rng = random.Random(5)
    with Reader(history) as reader:
        page = reader.page(open_room(ROOM), limit=RESIDENT + APPENDED)
    if name == "transcript":
        return asyncio.run(transcript(page[:RESIDENT], page[RESIDENT:]))
    more = [message.text for message in page[RESIDENT:]]
    count, show = (COUNT, rich_log) if name == "rich_log" else (COLUMN, statics)
    return asyncio.run(show([f"12:00 somebody │ {say(rng, number)}" for number in range(count)], more))


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], Path(sys.argv[2]))))
