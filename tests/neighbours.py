"""Whole nodes in one process, on real sockets and disks, each with somebody who types commands at it."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sandpiper.config.paths import Paths
from sandpiper.core.private import PrivateRoom
from sandpiper.faces.commands import execute
from sandpiper.faces.context import Context
from sandpiper.faces.people import People
from sandpiper.faces.spans import text_of
from sandpiper.node import CodeMade, NodeSettings
from sandpiper.node.node import Node
from sandpiper.store.profile import open_profile
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from sandpiper.crypto.codes import Code
    from sandpiper.errors import SandpiperError
    from sandpiper.faces.spans import Line
    from sandpiper.faces.verifying import Comparison
    from sandpiper.net.relays import RelayAddress
    from sandpiper.node import NodeNotice, PasswordWanted
    from sandpiper.node.notices import CodePassword
    from sandpiper.store.profile import Profile
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId

T = TypeVar("T")
SECONDS = 20.0  # a slow machine has time; a hang ends


class Page:
    """A `Face` that writes down what it is told to show."""

    def __init__(self) -> None:
        self.room: RoomId | None = None
        self.lines: list[str] = []
        self.troubles: list[str] = []

    def switch(self, room: RoomId | None) -> None:
        self.room = room

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        self.lines += map(text_of, lines)

    def listing(self, messages: Sequence[Message], words: str = "") -> None:
        self.lines += [message.text for message in messages]

    def compare(self, comparison: Comparison) -> None:
        raise NotImplementedError

    def ask_password(self, wanted: PasswordWanted | CodePassword) -> None:
        raise NotImplementedError

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        self.troubles.append(code)

    def clear(self) -> None:
        self.lines.clear()

    def quit(self) -> None:
        raise NotImplementedError


class Neighbour:
    """A running node, what it has told, and its screen."""

    def __init__(self, node: Node, profile: Profile) -> None:
        self.node = node
        self.told: list[NodeNotice] = []
        self.page = Page()
        self.people = People(node)
        self.context = Context(node, profile, self.people, self.page)
        self._changed = asyncio.Event()
        node.subscribe(self._hear)

    def _hear(self, notice: NodeNotice) -> None:
        self.people.learn(notice)
        self.told.append(notice)
        self._changed.set()

    async def types(self, *lines: str) -> None:
        """What a person types, one after the other; errors are raised."""
        for line in lines:
            await execute(self.context, line)

    async def until(self, holds: Callable[[], T | None], seconds: float = SECONDS) -> T:
        """Wait until something holds, looking after each notice."""
        async with asyncio.timeout(seconds):
            while not (found := holds()):
                self._changed.clear()
                await self._changed.wait()
            return found

    def heard(self, kind: type[T]) -> list[T]:
        return [notice for notice in self.told if isinstance(notice, kind)]

    async def creates(self, name: str = "birds", password: str = "") -> tuple[RoomId, Code]:
        """A room with a code."""
        room = await self.node.codes.create(name, password)
        self.page.room = room
        return room, self.heard(CodeMade)[-1].code

    async def invites(self, room: RoomId) -> Code:
        await self.node.codes.invite(room)
        return self.heard(CodeMade)[-1].code

    def private(self, room: RoomId) -> PrivateRoom:
        found = self.node.room(room)
        assert isinstance(found, PrivateRoom)
        return found

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.node.port


@asynccontextmanager
async def neighbour(
    folder: Path,
    nick: str,
    *peers: Neighbour | tuple[str, int],
    relays: tuple[RelayAddress, ...] = (),
) -> AsyncIterator[Neighbour]:
    """Somebody who dials `peers`; the same `folder` and `nick` again are the same person after a restart."""
    home = folder / nick
    profile = open_profile(Paths(home, home, home, portable=True), nick, nick=nick, rng=os.urandom, keyring=False)
    addresses = tuple(one.address if isinstance(one, Neighbour) else one for one in peers)
    settings = NodeSettings(ports=range(1), hosts=(HOST,), multicast=False, peers=addresses, relays=relays)
    with profile:
        node = Node(profile.identity, nick, profile.history, settings)
        one = Neighbour(node, profile)
        async with node:
            yield one


async def refused(kind: type[SandpiperError], one: Neighbour, *lines: str) -> SandpiperError:
    """What was typed, and is refused with an error of this kind."""
    try:
        await one.types(*lines)
    except kind as exc:
        return exc
    raise AssertionError(f"{lines} was not refused")
