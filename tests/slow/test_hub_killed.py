"""`kill -9` of a hub under load: what it has acknowledged is in its history once, and no number names two lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from sandpiper.hub.sqlite_lines import unpack
from tests.program import SANDPIPER, Program
from tests.served import HOST, Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    Line = dict[str, Any]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the hub is killed as POSIX does it")

CAN_MOUNT = sys.platform == "linux" and os.geteuid() == 0
FAST = [f"--{whose}-{what}={1e9}" for whose in ("guest", "room") for what in ("rate", "burst")]
WINDOW = 50  # messages of one guest on their way at once
LIVES = 4
WAIT = 30.0


class Guest:
    """A program written from the protocol's page: it comes back by itself, says again what was not acknowledged, and
    fetches what it has missed.
    """

    def __init__(self, port: int, nick: str, *, durable: bool = True) -> None:
        self.port = port
        self.durable = durable
        self.nick = nick
        self.said = 0
        self.unsaid: dict[str, str] = {}
        self.acknowledged: dict[str, int] = {}
        self.heard: dict[tuple[str, int], tuple[str, str]] = {}
        """By the room's epoch and number: (id of its sender, text)."""
        self.again = 0
        self.refused = 0
        self.talking = True
        self.epoch = ""
        self._since: int | None = None
        self._missing: tuple[int, int] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, self._writer = await asyncio.open_connection(HOST, self.port, limit=1 << 24)
                try:
                    await self._visit(reader)
                finally:
                    self._writer.transport.abort()
            await asyncio.sleep(0.02)

    async def _visit(self, reader: asyncio.StreamReader) -> None:
        self._missing = None
        resume = {"epoch": self.epoch, "since": self._since} if self._since is not None else None
        join = {"type": "join", "room": "lobby", **(resume or {})}
        self._send({"type": "hello"}, {"type": "nick", "nick": self.nick}, join)
        joined = False
        while True:
            line = json.loads(await reader.readuntil(b"\n"))
            if line["type"] == "joined":
                if resume and not line.get("resumed"):
                    assert not self.durable, "the room has lost its life"
                    self._since = resume = None
                joined, self.epoch = True, line["epoch"]
                if self._since is not None and line["first"] > self._since + 1:
                    self._missing = (self._since, line["first"])
                    self._ask()
                self._since = max(self._since or 0, line["seq"] if not resume else line["first"] - 1)
                self._send(*(self._msg(one, text) for one, text in self.unsaid.items()))
            elif line["type"] == "history":
                self._page(line)
            elif joined:
                self._take(line)
            if joined and self.talking:
                self._talk()

    def _ask(self) -> None:
        assert self._missing is not None
        self._send({"type": "history", "room": "lobby", "before": self._missing[1], "limit": 500})

    def _page(self, page: Line) -> None:
        assert self._missing is not None
        since, before = self._missing
        for line in page["messages"]:
            if line["seq"] > since:
                assert line["seq"] < before
                self._hear(line)
        lowest = min((line["seq"] for line in page["messages"]), default=0)
        if page.get("more") and lowest > since + 1:
            self._missing = (since, lowest)
            self._ask()
        else:
            self._missing = None

    def _take(self, line: Line) -> None:
        if line["type"] == "msg":
            assert self._since is not None
            assert line["seq"] > self._since, "it came twice, or out of order"
            self._since = line["seq"]
            self._hear(line)
        elif line["type"] == "ack":
            self.again += 1
            self._settle(line["client_id"], line["seq"])
        elif line["type"] == "error":
            assert line["code"] == "busy", line
            self.refused += 1

    def _hear(self, line: Line) -> None:
        seq, told = line["seq"], (line.get("client_id", ""), line["text"])
        assert self.heard.setdefault((self.epoch, seq), told) == told, "a number names two lines"
        if line["nick"] == self.nick:
            self._settle(told[0], seq)

    def _settle(self, client_id: str, seq: int) -> None:
        self.unsaid.pop(client_id, None)
        assert self.acknowledged.setdefault(client_id, seq) == seq or not self.durable, "one message has two numbers"

    def _talk(self) -> None:
        while len(self.unsaid) < WINDOW:
            self.say()

    def say(self) -> None:
        """One more message."""
        self.said += 1
        client_id, text = f"{self.nick}-{self.said}", f"{self.nick} says {self.said} {'x' * (self.said * 37 % 300)}"
        self.unsaid[client_id] = text
        self._send(self._msg(client_id, text))

    def _msg(self, client_id: str, text: str) -> Line:
        return {"type": "msg", "text": text, "client_id": client_id}

    def _send(self, *lines: Line) -> None:
        assert self._writer is not None
        if not self._writer.transport.is_closing():
            self._writer.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def kept(path: Path) -> list[Line]:
    """Messages in the history, in its order."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT packed, raw FROM batches ORDER BY life, first").fetchall()
    lines = [json.loads(line) for packed, raw in rows for line in unpack(packed, raw).splitlines()]
    return [line for line in lines if line["type"] == "msg"]


async def until(condition: Any, what: str, seconds: float = WAIT) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - of several programs: there is no event to wait for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not come") from None


class House:
    """A hub's directory, and the hubs that live in it, one after the other, on one port."""

    def __init__(self, home: Path, *args: str) -> None:
        self.home = home
        self.args = args
        self.hub = Served(home, *FAST, *args)
        self.port = self.hub.port

    @property
    def history(self) -> Path:
        (path,) = self.home.rglob("history.db")
        return path

    def again(self) -> None:
        """The next one, after the last was killed."""
        self.hub = Served(self.home, *FAST, f"--port={self.port}", *self.args)


async def killed_under_load(house: House, guests: list[Guest], rng: random.Random) -> None:
    for _ in range(LIVES):
        goal = sum(len(one.acknowledged) for one in guests) + rng.randint(200, 2000)
        await until(lambda goal=goal: sum(len(one.acknowledged) for one in guests) >= goal, "more to be said")
        house.hub.kill()
        await asyncio.to_thread(house.again)
        await asyncio.to_thread(lambda: house.hub.port)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """End these guests; fails if one of them has seen what must not be."""
    for task in tasks:
        task.cancel()
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, Exception):
            raise end


def once(lines: list[Line]) -> dict[str, Line]:
    """By ids of their senders, each of which is there once, and each number as well."""
    by_id = {line["client_id"]: line for line in lines if "client_id" in line}
    assert len(by_id) == sum("client_id" in line for line in lines), "a message is in the history twice"
    seqs = [line["seq"] for line in lines]
    assert seqs == sorted(set(seqs))
    return by_id


async def test_a_durable_hub_that_is_killed_under_load_loses_and_doubles_nothing(tmp_path: Path, multicast: str):
    rng = random.Random()
    house = House(tmp_path / "hub", "--durable")
    with ExitStack() as stack:
        stack.callback(lambda: house.hub.stop())
        ours: list[Program] = []
        for nick in ("olga", "otto"):
            command = (
                str(SANDPIPER), "connect", f"{HOST}:{house.port}", "--plain", "--json", "--no-input", "--nick", nick,
            )  # fmt: skip
            ours.append(stack.enter_context(Program(nick, tmp_path / nick, command=command)))
            await asyncio.to_thread(ours[-1].ready)
        for program in ours:
            program.say(f"{program.nick} is here")
        for program in ours:  # or it would get only the newest of what was said before it came
            await asyncio.to_thread(program.wait, lambda me: len(me.texts()) == 2, 20, "both to be there")
        guests = [Guest(house.port, f"raw{number}") for number in range(3)]
        tasks = [asyncio.create_task(one.live(), name=one.nick) for one in guests]
        typed = [[f"{one.nick} types {number}" for number in range(200)] for one in ours]
        for program, told in zip(ours, typed, strict=True):
            program.say(*told)
        await killed_under_load(house, guests, rng)
        for one in guests:
            one.talking = False
        await until(lambda: not any(one.unsaid for one in guests), "everything to be acknowledged")
        total = sum(one.said for one in guests) + sum(map(len, typed)) + len(ours)
        await until(lambda: len(kept(house.history)) >= total, "all of it")
        for program in ours:
            await asyncio.to_thread(program.wait, lambda me: len(set(me.texts())) >= total, 30, f"all {total} texts")
        await ended(tasks)
        lines = kept(house.history)
        by_id = once(lines)
        assert len(lines) == total
        for one in guests:
            assert {i: by_id[i]["seq"] for i in one.acknowledged} == one.acknowledged
            assert len(one.acknowledged) == one.said
            for (_, seq), (client_id, text) in one.heard.items():
                assert (by_id[client_id]["seq"], by_id[client_id]["text"]) == (seq, text)
            mine = [line["text"].split()[2] for line in lines if line["nick"] == one.nick]
            assert mine == [f"{number + 1}" for number in range(one.said)], "in the order in which they were said"
        everything = sorted(line["text"] for line in lines)
        for program, told in zip(ours, typed, strict=True):
            assert [line["text"] for line in lines if line["nick"] == program.nick][1:] == told
            assert sorted(program.texts()) == everything, "each of them once"


async def test_a_hub_that_is_not_durable_uses_no_number_twice(tmp_path: Path):
    house = House(tmp_path / "hub")
    guests = [Guest(house.port, f"raw{number}", durable=False) for number in range(3)]
    tasks = [asyncio.create_task(one.live(), name=one.nick) for one in guests]
    try:
        await killed_under_load(house, guests, random.Random())
        for one in guests:
            one.talking = False
        await until(lambda: not any(one.unsaid for one in guests), "everything to be acknowledged")
    finally:
        await ended(tasks)
        house.hub.stop()
    lines = kept(house.history)
    once(lines)
    epoch = guests[0].epoch
    told = {(epoch, line["seq"]): (line["client_id"], line["text"]) for line in lines}
    for one in guests:
        for number, what in one.heard.items():
            assert told.setdefault(number, what) == what, "a number names two lines"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "sandpiper-test", str(where)], check=True, capture_output=True,
        timeout=30,
    )  # fmt: skip
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True, capture_output=True, timeout=30)


@pytest.mark.skipif(not CAN_MOUNT, reason="mounting file systems takes root on Linux")
async def test_on_a_full_disk_a_durable_hub_refuses_messages_and_keeps_what_it_has_acknowledged(
    disk: Path, tmp_path: Path
):
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    house = House(tmp_path / "hub", "--durable", f"--history={disk / 'history.db'}")
    guest = Guest(house.port, "raw")
    task = asyncio.create_task(guest.live())
    try:
        await until(lambda: house.hub.metric("history_failing"), "the disk to be full")
        guest.say()  # all that is on its way may be held
        await until(lambda: guest.refused, "the hub to say so")
        ballast.unlink()
        await until(lambda: house.hub.metric("history_failing") == 0, "room on it")
        house.hub.kill()
        house.again()
        before = len(guest.acknowledged)
        await until(lambda: len(guest.acknowledged) > before + 100, "it to go on")
        guest.talking = False
        await until(lambda: not guest.unsaid, "everything to be acknowledged")
    finally:
        await ended([task])
        house.hub.stop()
    by_id = once(kept(disk / "history.db"))
    assert {i: by_id[i]["seq"] for i in guest.acknowledged} == guest.acknowledged
