"""A durable hub tells nothing before its disk has it: over real sockets, with a disk that waits, fails and comes back.

The disk is stalled by another writer that holds SQLite's lock: the hub's commits wait for it, and after a time fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from sandpiper.hub import holding, sqlite_schema, sqlite_writer
from sandpiper.hub.limits import Times
from sandpiper.hub.serving import ChatServer, serve_chat
from sandpiper.hub.sqlite import SqliteHistory
from sandpiper.hub.sqlite_lines import unpack
from sandpiper.hub.sqlite_schema import HistorySettings
from sandpiper.testing.conformance import until
from tests.links.test_hub_chat import HOST, SETTINGS, Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.links.test_hub_chat import Line, Program

QUICK = msgspec.structs.replace(SETTINGS, times=Times(sweep=0.02, farewell=0.5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@contextlib.asynccontextmanager
async def durable(path: Path) -> AsyncIterator[Hub]:
    history = SqliteHistory(path, HistorySettings(durable=True))
    try:
        async with contextlib.AsyncExitStack() as stack:
            server = await serve_chat(HOST, 0, QUICK, history)
            stack.push_async_callback(server.aclose)
            yield Hub(server, stack)
    finally:
        await history.aclose()


@contextlib.contextmanager
def stalled(path: Path) -> Iterator[None]:
    """Inside, nothing can be written to the file."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def on_disk(path: Path) -> list[Line]:
    """The lines that anybody who opens the file finds."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT packed, raw FROM batches ORDER BY n").fetchall()
    return [json.loads(line) for packed, raw in rows for line in unpack(packed, raw).splitlines()]


def msg(text: str, room: str = "dev") -> Line:
    return {"type": "msg", "room": room, "text": text, "client_id": f"id {text[:40]}"}


async def held(server: ChatServer, count: int = 1) -> None:
    await until(lambda: server._holding is not None and len(server._holding) >= count, "something to be held")


async def silent(program: Program) -> None:
    """Nothing has come: what waits in the socket would be read at once."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await program.reader.readline()


# ---------------------------------------------------------------- a disk that takes its time


async def test_whoever_is_told_of_a_message_finds_it_on_disk(path):
    async with durable(path) as hub:
        alice, bob = await hub.modern("alice", "dev"), await hub.modern("bob", "dev")
        for number in range(30):
            alice.send(msg(f"{number}"))
            for program in (bob, alice):
                line = await program.next("msg")
                assert line["seq"] in {one["seq"] for one in on_disk(path)}, "it was told before it was on disk"


async def test_messages_acks_and_numbers_wait_for_the_disk_in_order(path):
    async with durable(path) as hub:
        alice, bob = await hub.modern("alice", "dev"), await hub.modern("bob")
        with stalled(path):
            alice.send(msg("one"), msg("one"), {"type": "edit", "room": "dev", "id": 1, "text": "uno"})
            await held(hub.server)
            bob.send({"type": "join", "room": "dev"})
            await held(hub.server, 3)
            await silent(bob)
            await silent(alice)
            assert on_disk(path) == []
        assert [(await alice.line())["type"] for _ in range(3)] == ["ack", "msg", "edit"]
        assert (await bob.next("joined"))["seq"] == 2


async def test_lines_piped_in_before_the_end_of_input_are_answered(path):
    async with durable(path) as hub:
        pipe = await hub.program()
        with stalled(path):
            pipe.send({"type": "nick", "nick": "pipe"}, {"type": "msg", "text": "last"})
            pipe.writer.write_eof()
            await held(hub.server, 2)
        assert [line["type"] for line in await pipe.end()] == ["nick", "msg"]


async def test_guests_that_leave_or_are_put_out_while_much_is_held_get_what_was_said_before(path):
    async with durable(path) as hub:
        alice, bob, carol = [await hub.modern(nick, "dev") for nick in ("alice", "bob", "carol")]
        with stalled(path):
            alice.send(msg("before"), {"type": "kick", "room": "dev", "nick": "bob"}, msg("after"))
            await held(hub.server, 4)
            # A reset, as when a program is killed: at the end of input the hub would have her hear what is held.
            carol.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            carol.writer.transport.abort()
            await until(lambda: len(hub.server.house.guests) == 2, "carol to be gone")
            bob.send(b"no line\n" * 20)
            await until(lambda: len(hub.server.house.guests) == 1, "bob to be cut")
            assert len(hub.server.connections) == 2, "what he is told before that is not on disk yet"
        lines = await bob.end()
        kinds = [line["type"] for line in lines if line["type"] in ("msg", "left", "error")]
        assert kinds == ["msg", "left", *["error"] * 20]
        assert lines[-1]["code"] == "too_many_errors"
        assert await alice.texts(2) == ["before", "after"]


async def test_guests_are_not_read_while_too_much_is_held_and_lose_nothing(path, monkeypatch):
    monkeypatch.setattr(holding, "HELD_BYTES", 100_000)
    async with durable(path) as hub:
        alice, bob = await hub.modern("alice", "dev"), await hub.modern("bob", "dev")
        texts = [f"{number} {'x' * 1000}" for number in range(2000)]
        with stalled(path):
            alice.send(*(msg(text) for text in texts))
            await until(lambda: hub.server.stopped, "the bound")
            await until(lambda: any(one._held is not None for one in hub.server.connections), "her to wait")
            size = hub.server.held
            await asyncio.sleep(0.3)  # several times as long as a guest waits until it is looked at again
            assert hub.server.held == size < 400_000
        assert await bob.texts(len(texts)) == texts
        assert await alice.texts(len(texts)) == texts


async def test_a_hub_that_closes_tells_what_is_held_before_it_says_goodbye(path):
    async with durable(path) as hub:
        alice = await hub.modern("alice", "dev")
        with stalled(path):
            alice.send(msg("last"))
            await held(hub.server)
            closing_ = asyncio.create_task(hub.server.aclose())
            await until(lambda: hub.server._closing, "the end to begin")
        await closing_
        lines = await alice.end()
        assert [(line["type"], line.get("code", "")) for line in lines] == [("msg", ""), ("notice", "closing")]


async def test_a_hub_that_closes_while_the_disk_stands_still_says_goodbye_and_tells_nothing_else(path):
    async with durable(path) as hub:
        alice = await hub.modern("alice", "dev")
        with stalled(path):
            alice.send(msg("last"))
            await held(hub.server)
            await hub.server.aclose()
            assert [line["type"] for line in await alice.end()] == ["notice"]


# ---------------------------------------------------------------- a disk that fails


async def test_while_the_disk_fails_messages_are_refused_and_what_was_said_before_is_told_later(path, monkeypatch):
    monkeypatch.setattr(sqlite_schema, "BUSY_MS", 50)
    monkeypatch.setattr(sqlite_writer, "RETRY_SECONDS", 0.05)
    async with durable(path) as hub:
        alice, bob = await hub.modern("alice", "dev"), await hub.modern("bob", "dev")
        with stalled(path):
            alice.send(msg("before"))
            await until(lambda: hub.server.house.unkept, "the failure")
            alice.send(msg("refused"), {"type": "edit", "room": "dev", "id": 1, "text": "refused"})
            refused = [await alice.next("error") for _ in range(2)]
            assert [(line["code"], line.get("client_id", "")) for line in refused] == [
                ("busy", "id refused"),
                ("busy", ""),
            ]
            assert "disk" in refused[0]["text"]
            bob.send(b"no line\n" * 20)
            assert (await bob.end())[-1]["code"] == "too_many_errors", "whoever is cut goes at once"
        assert await alice.texts(1) == ["before"]
        await until(lambda: not hub.server.house.unkept, "the end of it")
        alice.send(msg("refused"))
        assert await alice.texts(1) == ["refused"]
        assert [line["text"] for line in on_disk(path)] == ["before", "refused"]


async def test_once_a_line_was_lost_nothing_is_acknowledged_any_more(path):
    async with durable(path) as hub:
        alice = await hub.modern("alice", "dev")
        history = hub.server.history
        assert isinstance(history, SqliteHistory)
        with stalled(path):
            alice.send(msg("lost"))
            await held(hub.server)
            history._writer.limit = history.written  # as when there was no place for it any more
        await until(lambda: hub.server.house.unkept, "the loss to be noticed")
        alice.send(msg("next"))
        assert (await alice.next("error"))["client_id"] == "id next"
        assert hub.server.held
        await hub.server.aclose()
        assert [line["type"] for line in await alice.end()] == ["notice"]


# ---------------------------------------------------------------- after a restart


async def test_messages_that_are_sent_again_after_a_restart_are_not_doubled(path):
    async with durable(path) as hub:
        alice = await hub.modern("alice", "dev")
        alice.send(*(msg(f"{number}") for number in range(5000)))
        await alice.texts(5000)
    async with durable(path) as hub:
        alice, bob = await hub.modern("alice", "dev"), await hub.modern("bob", "dev")
        alice.send(*(msg(f"{number}") for number in range(5000 - 4096, 5001)))
        acks = [await alice.next("ack") for _ in range(4096)]
        assert [one["client_id"] for one in acks] == [f"id {number}" for number in range(5000 - 4096, 5000)]
        assert [one["seq"] for one in acks] == list(range(5001 - 4096, 5001))
        assert await bob.texts(1) == ["5000"]
        bob.send(msg("4999"))
        assert (await alice.next("msg"))["nick"] == "alice"
        assert (await alice.next("msg"))["nick"] == "bob", "an id is its sender's own"
