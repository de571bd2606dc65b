"""From the relay to a direct link and back, between real nodes through a real relay: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from sandpiper.core import paths as paths_module
from sandpiper.core.events import PeerChanged
from sandpiper.crypto.identity import Identity
from sandpiper.net.relays import parse_relay
from sandpiper.node import CodeMade
from sandpiper.wire.records import Text
from tests.links.test_private_rooms import Running
from tests.relayed import Relayed
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.wire.ids import RoomId

ALICE, BOB = sorted((Identity(bytes((n,)) * 32) for n in (3, 4)), key=lambda one: one.key)
BACK_SECONDS = 2.0  # until a relayed link stands in for a direct one that has died
SLACK = 5.0  # more on a machine that does much else


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield served
        served.unharmed()


class Pair:
    """Two members of one room, who know nothing of each other but the relay."""

    def __init__(self, folder: Path, relay: Relayed) -> None:
        where = (parse_relay(f"{HOST}:{relay.port}"),)
        self.alice = Running(ALICE, "alice", folder, relays=where)
        self.bob = Running(BOB, "bob", folder, relays=where)
        self.room: RoomId

    async def enter(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.alice.node)
        self.room = await self.alice.node.codes.create("birds")
        code = next(notice.code for notice in self.alice.told if isinstance(notice, CodeMade))
        await stack.enter_async_context(self.bob.node)
        assert await self.bob.node.codes.join(code) == self.room

    async def on(self, *paths: str) -> None:
        """Until both are linked over one of these paths."""
        for me, other in ((self.alice, BOB.key), (self.bob, ALICE.key)):
            await me.until(lambda me=me, other=other: path_of(me, other) in paths)  # type: ignore[misc]

    def ways(self) -> tuple[list[str], list[str]]:
        """Over which paths each was linked, one after the other; `-` when it was not."""
        return ways_of(self.alice), ways_of(self.bob)


def path_of(me: Running, other: bytes) -> str:
    told = [n for n in me.told if isinstance(n, PeerChanged) and n.peer == other]
    return told[-1].path if told and told[-1].state == "linked" else "-"


def ways_of(me: Running) -> list[str]:
    out: list[str] = []
    for notice in me.told:
        if isinstance(notice, PeerChanged):
            path = notice.path if notice.state == "linked" else "-"
            if out[-1:] != [path]:
                out.append(path)
    return out


async def test_they_talk_over_the_relay_first_and_move_to_a_direct_link_without_being_lost(
    tmp_path: Path, relay: Relayed
) -> None:
    async with AsyncExitStack() as stack:
        pair = Pair(tmp_path, relay)
        await pair.enter(stack)
        await pair.on("relay", "lan")
        pair.alice.node.post(pair.room, Text("hello"))
        await pair.bob.until(lambda: pair.bob.texts() == ["hello"])
        await pair.on("lan")
        assert pair.ways() == (["relay", "lan"], ["relay", "lan"])
        assert pair.alice.node.why(BOB.key) == pair.bob.node.why(ALICE.key) == "on this network"
        pair.bob.node.post(pair.room, Text("hi"))
        await pair.alice.until(lambda: "hi" in pair.alice.texts())


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_when_the_direct_link_dies_a_relayed_one_is_there_soon(who: str, tmp_path: Path, relay: Relayed) -> None:
    async with AsyncExitStack() as stack:
        pair = Pair(tmp_path, relay)
        await pair.enter(stack)
        await pair.on("lan")
        loop = asyncio.get_running_loop()
        cut(pair, who)
        began = loop.time()
        await pair.on("relay")
        assert loop.time() - began < BACK_SECONDS + SLACK
        assert all(ways[:4] == ["relay", "lan", "-", "relay"] for ways in pair.ways())
        await pair.on("lan")


def cut(pair: Pair, who: str) -> None:
    """End the link of one of them, as a crashed system would: nothing is said."""
    me, other = (pair.alice, BOB.key) if who == "alice" else (pair.bob, ALICE.key)
    link = me.node.link(other)
    assert link is not None
    link.abort()


async def test_a_thousand_messages_each_way_over_ten_changes_of_path_come_once_and_in_one_order(
    tmp_path: Path, relay: Relayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths_module, "STEADY_SECONDS", 0.0)  # a link that is cut at once is no reason to wait here
    count, changes = 1000, 10
    async with AsyncExitStack() as stack:
        pair = Pair(tmp_path, relay)
        await pair.enter(stack)
        await pair.on("relay", "lan")
        stop = asyncio.Event()

        async def talk(me: Running, name: str) -> None:
            """Numbered messages; the last ones when all changes have been."""
            for number in range(count):
                me.node.post(pair.room, Text(f"{name} {number}"))
                if number < count - 100:
                    await asyncio.sleep(0.01)
                elif number == count - 100:
                    await stop.wait()

        async with asyncio.TaskGroup() as talking:
            talking.create_task(talk(pair.alice, "alice"))
            talking.create_task(talk(pair.bob, "bob"))
            for number in range(changes // 2):
                await pair.on("lan")
                cut(pair, "alice" if number % 2 else "bob")
                await pair.on("relay")
            stop.set()
        wanted = {f"{name} {number}" for name in ("alice", "bob") for number in range(count)}
        for me in (pair.alice, pair.bob):
            await me.until(lambda me=me: set(me.texts()) >= wanted)  # type: ignore[misc]
            assert len(me.texts()) == len(wanted), "something was told twice"
        told = []
        for me in (pair.alice, pair.bob):
            with me.node.reader() as reader:
                told.append([message.text for message in reader.page(pair.room, limit=3 * count)])
        assert told[0] == told[1]
        assert set(told[0]) == wanted
        assert len(told[0]) == len(wanted)
        for name in ("alice", "bob"):
            assert [text for text in told[0] if text.startswith(name)] == [f"{name} {n}" for n in range(count)]
        assert min(sum(way != "-" for way in ways) for ways in pair.ways()) >= changes
