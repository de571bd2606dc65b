"""A private room between real nodes: real sockets, real disks; let in, talking, put out, and after a restart."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import Accepted, MemberChanged
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.identity import Identity
from sandpiper.errors import UsageError
from sandpiper.node import CodeMade, NodeSettings
from sandpiper.node.node import Node
from sandpiper.wire.records import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandpiper.core.room import Room
    from sandpiper.net.relays import RelayAddress
    from sandpiper.node import NodeNotice
    from sandpiper.wire.ids import RoomId

OWNER, ANN = (Identity(bytes((n,)) * 32) for n in (1, 2))


class Running:
    """A node, and everything that it told."""

    def __init__(
        self, who: Identity, name: str, folder: Path, peer: Running | None = None, relays: tuple[RelayAddress, ...] = ()
    ) -> None:
        peers = (("127.0.0.1", peer.node.port),) if peer is not None else ()
        settings = NodeSettings(
            ports=range(0, 1),
            hosts=("127.0.0.1",),
            multicast=False,
            peers=peers,
            relays=relays,
            interfaces=("lo0" if sys.platform == "darwin" else "lo",),
        )
        self.node: Node = Node(who, name, folder / f"{name}.db", settings)
        self.told: list[NodeNotice] = []
        self.too_early: list[str] = []  # texts that were told before they were on disk
        self._changed = asyncio.Event()
        self.node.subscribe(self._hear)

    def _hear(self, notice: NodeNotice) -> None:
        self.told.append(notice)
        if isinstance(notice, Accepted) and isinstance(notice.record.body, Text):
            with self.node.reader() as reader:  # it sees only what is committed, like another program
                if notice.record.id not in {message.id for message in reader.page(notice.record.room)}:
                    self.too_early.append(notice.record.body.text)
        self._changed.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def texts(self) -> list[str]:
        said = [n.record.body for n in self.told if isinstance(n, Accepted)]
        return [body.text for body in said if isinstance(body, Text)]

    def private(self, room: RoomId) -> PrivateRoom:
        found: Room | None = self.node.room(room)
        assert isinstance(found, PrivateRoom)
        return found


async def test_a_private_room_lives_over_links_and_restarts_and_a_kick_ends_it_for_the_kicked(tmp_path: Path) -> None:
    async with AsyncExitStack() as running:
        owner = Running(OWNER, "owner", tmp_path)
        await running.enter_async_context(owner.node)
        room = await owner.node.codes.create("birds")
        code = next(notice.code for notice in owner.told if isinstance(notice, CodeMade))
        async with AsyncExitStack() as first:
            ann = Running(ANN, "ann", tmp_path, owner)
            await first.enter_async_context(ann.node)
            assert await ann.node.codes.join(code) == room
            await owner.until(lambda: ANN.key in owner.node.members(room))
            owner.node.post(room, Text("hello"))
            await ann.until(lambda: ann.texts() == ["hello"])
            ann.node.post(room, Text("hi"))
            await owner.until(lambda: "hi" in owner.texts())
            assert owner.too_early == ann.too_early == []
        ann = Running(ANN, "ann", tmp_path, owner)
        await running.enter_async_context(ann.node)
        assert ann.private(room).name == "birds"
        assert ann.private(room).secret == owner.private(room).secret
        assert ann.node.roles(room) == {OWNER.key: "owner", ANN.key: "member"}
        await owner.until(lambda: ANN.key in owner.node.members(room))
        owner.node.kick(room, ANN.key)
        await ann.until(lambda: MemberChanged(room, ANN.key, None, "member") in ann.told)
        assert not ann.node.members(room)
        assert not owner.node.members(room)
        with pytest.raises(UsageError, match="not a member"):
            ann.node.post(room, Text("one more thing"))
        with ann.node.reader() as reader:
            assert [message.text for message in reader.page(room)] == ["hello", "hi"]
