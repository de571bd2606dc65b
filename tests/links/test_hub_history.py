"""A hub with its history on disk, over real sockets: what guests find again after it was restarted or killed.

Everything stays on 127.0.0.1. Run as a program (`python -m tests.links.test_hub_history FILE`) this is such a hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandpiper.hub.serving import serve_chat
from sandpiper.hub.sqlite import SqliteHistory
from tests.links.test_hub_chat import HOST, SETTINGS, WAIT, Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.links.test_hub_chat import Line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@contextlib.asynccontextmanager
async def hub(path: Path) -> AsyncIterator[int]:
    """A hub in this process; its port."""
    history = SqliteHistory(path)
    try:
        server = await serve_chat(HOST, 0, SETTINGS, history)
        try:
            yield server.port
        finally:
            await server.aclose()
    finally:
        await history.aclose()


@contextlib.asynccontextmanager
async def doomed(path: Path) -> AsyncIterator[int]:
    """A hub in a process of its own, which is killed in the end; its port."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.links.test_hub_history", str(path), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert program.stdout is not None
        async with asyncio.timeout(WAIT):
            yield int(await program.stdout.readline())
    finally:
        program.send_signal(signal.SIGKILL)
        await program.wait()


@contextlib.asynccontextmanager
async def guest(port: int, nick: str) -> AsyncIterator[Program]:
    program = Program(*await asyncio.open_connection(HOST, port, limit=1 << 24))
    try:
        await program.ask({"type": "hello", "v": 1}, "hello")
        await program.nick(nick)
        yield program
    finally:
        program.close()


def join(**more: object) -> Line:
    return {"type": "join", "room": "dev", **more}


async def everything(program: Program) -> list[Line]:
    """All pages, oldest first."""
    lines: list[Line] = []
    more = True
    while more:
        before = lines[0]["seq"] if lines else 0
        page = await program.ask({"type": "history", "room": "dev", "before": before, "limit": 40}, "history")
        lines[:0] = page["messages"]
        more = page.get("more", False)
    return lines


async def test_rooms_topics_passwords_and_messages_are_there_after_a_restart(path):
    async with hub(path) as port, guest(port, "alice") as alice:
        before = await alice.ask(join(password="open sesame"), "joined")
        alice.send({"type": "topic", "room": "dev", "text": "lunch"})
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}"} for n in range(200)))
        alice.send({"type": "edit", "room": "dev", "id": 2, "text": "zero"})
        await alice.next("edit")
    async with hub(path) as port, guest(port, "bob") as bob:
        assert (await bob.ask(join(), "error"))["code"] == "locked"
        joined = await bob.ask(join(password="open sesame"), "joined")
        assert (joined["epoch"], joined["seq"], joined["topic"]) == (before["epoch"], 202, "lunch")
        lines = await everything(bob)
        assert [line["seq"] for line in lines] == list(range(1, 203))
        assert [line["text"] for line in lines if line["type"] == "msg"] == ["zero", *(f"{n}" for n in range(1, 200))]
        bob.send({"type": "msg", "room": "dev", "text": "next"})
        assert (await bob.next("msg"))["seq"] == 203


async def test_a_guest_resumes_over_a_restart_with_what_it_missed(path):
    async with hub(path) as port, guest(port, "alice") as alice:
        before = await alice.ask(join(), "joined")
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}"} for n in range(10)))
        await alice.texts(10)
    async with hub(path) as port, guest(port, "alice") as alice:
        joined = await alice.ask(join(epoch=before["epoch"], since=4), "joined")
        assert joined["resumed"]
        page = await alice.ask({"type": "history", "room": "dev", "before": joined["first"], "limit": 6}, "history")
        assert [line["seq"] for line in page["messages"]] == [5, 6, 7, 8, 9, 10]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
async def test_a_killed_hub_uses_no_number_twice_and_loses_only_the_last_moment(path):
    async with doomed(path) as port, guest(port, "alice") as alice:
        before = await alice.ask(join(), "joined")
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}"} for n in range(100)))
        await alice.texts(100)
        # Whoever reads a page sees what was said before it: so that much is on disk.
        await alice.ask({"type": "history", "room": "dev"}, "history")
        alice.send(*({"type": "msg", "room": "dev", "text": f"{n}"} for n in range(100, 200)))
        seen = [(await alice.next("msg"))["seq"] for _ in range(100)][-1]
    async with hub(path) as port, guest(port, "alice") as alice:
        joined = await alice.ask(join(epoch=before["epoch"], since=seen), "joined")
        assert joined["resumed"]
        alice.send({"type": "msg", "room": "dev", "text": "again"})
        again = await alice.next("msg")
        assert again["seq"] > seen, "a number that was seen is not used for anything else"
        lines = await everything(alice)
        kept = [line["text"] for line in lines]
        assert kept[-1] == "again"
        assert kept[:-1] == [f"{n}" for n in range(len(kept) - 1)]
        assert len(kept) > 100


async def _serve(path: Path) -> None:
    async with hub(path) as port:
        os.write(1, b"%d\n" % port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
