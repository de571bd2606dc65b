"""A node in this process whose private rooms meet at relays, and everything that it told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from sandpiper.core.events import Accepted
from sandpiper.core.private import PrivateRoom
from sandpiper.node import CodeMade, NodeSettings
from sandpiper.node.node import Node
from sandpiper.wire.records import Text
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from sandpiper.crypto.codes import Code
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.relays import RelayAddress
    from sandpiper.node import NodeNotice
    from sandpiper.wire.ids import PeerKey, RoomId

WAIT = 30.0


class Insider:
    """One of our own peers. Neither does it look for a LAN, nor is it found on one, but for `peers`."""

    def __init__(
        self, who: Identity, nick: str, folder: Path, *relays: RelayAddress, peers: tuple[tuple[str, int], ...] = ()
    ) -> None:
        settings = NodeSettings(ports=range(0, 1), hosts=(HOST,), multicast=False, peers=peers, relays=relays)
        self.key: PeerKey = who.key
        self.node = Node(who, nick, folder / f"{nick}.db", settings)
        self.told: list[NodeNotice] = []
        self._changed = asyncio.Event()
        self.node.subscribe(self._hear)

    def _hear(self, notice: NodeNotice) -> None:
        self.told.append(notice)
        self._changed.set()

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until this holds; looked at whenever something is told, and now and then."""
        try:
            async with asyncio.timeout(WAIT):
                while not holds():
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.2)
        except TimeoutError:
            raise AssertionError(f"{self.node.nick}: {what} did not come; told: {self.told[-8:]}") from None

    def of(self, kind: type[Any]) -> list[Any]:
        return [notice for notice in self.told if isinstance(notice, kind)]

    async def create(self, name: str, password: str = "") -> tuple[RoomId, Code]:
        """Make a room, and a code for it."""
        room = await self.node.codes.create(name, password)
        return room, self.of(CodeMade)[-1].code

    async def invite(self, room: RoomId) -> Code:
        """Another code for it."""
        await self.node.codes.invite(room)
        code: Code = self.of(CodeMade)[-1].code
        return code

    def private(self, room: RoomId) -> PrivateRoom:
        found = self.node.room(room)
        assert isinstance(found, PrivateRoom)
        return found

    def texts(self) -> list[str]:
        bodies = [notice.record.body for notice in self.of(Accepted)]
        return [body.text for body in bodies if isinstance(body, Text)]

    def say(self, room: RoomId, text: str) -> None:
        self.node.post(room, Text(text))

    async def shows(self, *texts: str) -> None:
        await self.until(lambda: set(texts) <= set(self.texts()), f"{texts}")

    async def shares(self, room: RoomId, *others: Insider) -> None:
        """Wait until these are linked and in the room."""
        await self.until(lambda: {one.key for one in others} <= set(self.node.members(room)), "members")


@contextlib.asynccontextmanager
async def insider(
    who: Identity, nick: str, folder: Path, *relays: RelayAddress, peers: tuple[tuple[str, int], ...] = ()
) -> AsyncIterator[Insider]:
    """One that runs."""
    one = Insider(who, nick, folder, *relays, peers=peers)
    async with one.node:
        yield one
