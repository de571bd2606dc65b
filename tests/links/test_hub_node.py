"""A node on hubs: their rooms beside its own, in its history, over restarts. Everything stays on 127.0.0.1."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import RoomChanged
from sandpiper.crypto.identity import Identity
from sandpiper.errors import UsageError
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ChatSettings
from sandpiper.hub.serving import ChatServer, serve_chat
from sandpiper.net.hub import HubAddress
from sandpiper.node import HubNews, Node, NodeNotice, NodeSettings, PlainMessage
from sandpiper.testing.conformance import until
from sandpiper.wire.records import React, Text, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST = "127.0.0.1"
SETTINGS = NodeSettings(ports=range(1), hosts=(HOST,), multicast=False)


class Ours:
    """A node and what it told."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[NodeNotice] = []
        node.subscribe(self.told.append)

    def texts(self) -> list[str]:
        return [one.text for one in self.told if isinstance(one, PlainMessage)]

    def codes(self) -> list[str]:
        return [one.code for one in self.told if isinstance(one, HubNews)]


@contextlib.asynccontextmanager
async def node(folder: Path, nick: str, key: int) -> AsyncIterator[Ours]:
    ours = Ours(Node(Identity(bytes([key]) * 32), nick, folder / f"{nick}.db", SETTINGS))
    async with ours.node:
        yield ours


@contextlib.asynccontextmanager
async def hub(history: MemoryHistory | None = None, port: int = 0, key: int = 1) -> AsyncIterator[ChatServer]:
    server = await serve_chat(HOST, port, ChatSettings(id=bytes([key]) * 32), history or MemoryHistory())
    try:
        yield server
    finally:
        await server.aclose()


def where(server: ChatServer) -> HubAddress:
    return HubAddress(HOST, server.port)


async def test_what_is_said_on_a_hub_is_told_and_kept_and_found(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server))
        assert bob.node.connect_hub(where(server)) == room
        await until(lambda: len(bob.node.members(room)) == len(alice.node.members(room)) == 1, "both to be there")
        alice.node.post(room, Text("pizza on friday?"))
        await until(lambda: bob.texts() == alice.texts() == ["pizza on friday?"], "both to hear it")
        bob.node.post(room, Text("yes", reply_to=next(one.id for one in bob.told if isinstance(one, PlainMessage))))
        await until(lambda: len(alice.texts()) == 2, "the answer")
        with alice.node.reader() as reader:
            page = reader.page(room)
            assert [(one.text, one.nick, one.author == alice.node.key) for one in page] == [
                ("pizza on friday?", "alice", True),
                ("yes", "bob", False),
            ]
            assert page[1].reply_to == page[0].id
            assert [one.text for one in reader.search("pizza")] == ["pizza on friday?"]
        found = alice.node.room(room)
        assert found is not None
        assert (found.name, found.kind) == (f"lobby@{HOST}:{server.port}", "hub")
        assert not alice.node.undelivered()


async def test_a_restart_of_ours_fetches_what_was_missed_and_nothing_twice(tmp_path: Path):
    async with hub() as server, node(tmp_path, "bob", 2) as bob:
        room = bob.node.connect_hub(where(server))
        for life in range(3):
            async with node(tmp_path, "alice", 1) as alice:
                alice.node.connect_hub(where(server))
                await until(lambda here=alice: here.node.members(room), "alice to be there")  # type: ignore[misc]
                bob.node.post(room, Text(f"to all {life}"))
                await until(lambda here=alice, n=life: f"to all {n}" in here.texts(), "alice to hear it")  # type: ignore[misc]
            bob.node.post(room, Text(f"meanwhile {life}"))
            await until(lambda n=life: f"meanwhile {n}" in bob.texts(), "it to be taken")  # type: ignore[misc]
        async with node(tmp_path, "alice", 1) as alice:
            assert not [one for one in alice.node.rooms() if one.kind == "hub"], "nobody connects without being asked"
            alice.node.connect_hub(where(server))
            await until(lambda: "meanwhile 2" in alice.texts(), "alice to catch up")
            with alice.node.reader() as reader:
                said = [one.text for one in reader.page(room, limit=100)]
        assert said == [f"{kind} {life}" for life in range(3) for kind in ("to all", "meanwhile")]


async def test_several_hubs_and_rooms_of_our_own_stand_side_by_side(tmp_path: Path):
    async with hub() as one, hub(key=2) as two, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        rooms = [alice.node.connect_hub(where(server)) for server in (one, two)]
        rooms.append(alice.node.connect_hub(where(one), "dev"))
        own = alice.node.join("general")
        assert len({*rooms, own}) == 4
        for room in [bob.node.connect_hub(where(server)) for server in (one, two)]:
            await until(lambda room=room: alice.node.members(room), "both to be there")  # type: ignore[misc]
        alice.node.post(rooms[1], Text("on two"))
        alice.node.post(own, Text("on the LAN"))
        await until(lambda: bob.texts() == ["on two"], "bob to hear it")
        with alice.node.reader() as reader:
            assert [[said.text for said in reader.page(room)] for room in (*rooms, own)] == [
                [],
                ["on two"],
                [],
                ["on the LAN"],
            ]


async def test_rooms_of_hubs_are_never_announced_on_the_network(tmp_path: Path):
    async with hub() as server:
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.join("general")
            alice.node.connect_hub(where(server))
            await until(lambda: "hub_up" in alice.codes(), "the hub")
            assert len(alice.node._run.engine.open_tags()) == 1
        async with node(tmp_path, "alice", 1) as alice:
            assert [room.name for room in alice.node._run.engine.rooms()] == ["general"]


async def test_topics_leaving_and_what_cannot_be_done(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server), "dev")
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        bob.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.members(room), "bob")
        alice.node.post(room, Topic("all about x"))
        await until(lambda: (found := bob.node.room(room)) is not None and found.topic == "all about x", "the topic")
        with pytest.raises(UsageError):
            alice.node.post(room, React(bytes(32), "👍", add=True))
        bob.node.leave(room)
        await until(lambda: not alice.node.members(room), "bob to be gone")
        assert bob.node.room(room) is None
        assert any(isinstance(one, RoomChanged) and not one.joined for one in bob.told)


async def test_a_hub_whose_key_has_changed_is_not_talked_to_after_a_restart(tmp_path: Path):
    async with hub() as server:
        port = server.port
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.connect_hub(where(server))
            await until(lambda: "hub_up" in alice.codes(), "the hub")
    async with hub(port=port, key=7) as server, node(tmp_path, "alice", 1) as alice:
        alice.node.connect_hub(where(server))
        await until(lambda: any("Another hub" in getattr(one, "text", "") for one in alice.told), "the warning")
        assert "hub_up" not in alice.codes()
