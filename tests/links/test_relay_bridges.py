"""Bridges on real sockets with a clock that a test moves: nothing waits, idles or stays half closed for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from sandpiper.hub.relay.bridges import Bridges
from sandpiper.hub.rendezvous.limits import (
    BRIDGE_IDLE_SECONDS,
    HALF_CLOSED_SECONDS,
    WAITING_SECONDS,
    RendezvousSettings,
)
from sandpiper.hub.rendezvous.quotas import Quotas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Yard:
    """A relay whose port takes every connection as half of a bridge."""

    def __init__(self) -> None:
        self.time = 100.0
        self.bridges = Bridges(Quotas(RendezvousSettings(bridges_an_address=3)), lambda: self.time)
        self.port = 0
        self.taken = asyncio.Event()
        self._sides: list[Side] = []

    async def dial(self, token: bytes) -> Side:
        self.taken.clear()
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(token)
        self._sides.append((reader, writer))
        await self.taken.wait()
        return reader, writer

    async def pair(self) -> tuple[Side, Side]:
        near, far = await self.dial(b"a" * 16), await self.dial(b"a" * 16)
        for reader, _ in (near, far):
            assert await reader.readline() == b'{"type":"bridged"}\n'
        return near, far

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.bridges.look(self.time)

    def close(self) -> None:
        self.bridges.abort()
        for _, writer in self._sides:
            writer.transport.abort()


class Taker(asyncio.Protocol):
    """Its first sixteen bytes are the token."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        assert self._yard.bridges.refusal("192.0.2.1", data[:16]) is None
        self._yard.bridges.join(self._transport, data[:16], "192.0.2.1", data[16:])
        self._yard.taken.set()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Yard]:
    yard = Yard()
    server = await asyncio.get_running_loop().create_server(lambda: Taker(yard), HOST, 0)
    yard.port = server.sockets[0].getsockname()[1]
    try:
        yield yard
    finally:
        yard.close()
        server.close()
        await yard.bridges.over()


async def ended(reader: asyncio.StreamReader) -> bool:
    """It ends, in whichever way."""
    with contextlib.suppress(ConnectionError):
        await reader.read()
    return True


async def test_a_half_is_told_when_nobody_comes() -> None:
    async with opened() as yard:
        reader, _ = await yard.dial(b"b" * 16)
        yard.later(WAITING_SECONDS - 1)
        assert yard.bridges.waiting == 1
        yard.later(1)
        assert json.loads(await reader.readline())["code"] == "nobody_came"
        assert await reader.read() == b""
        assert (yard.bridges.waiting, len(yard.bridges)) == (0, 0)


async def test_a_quiet_bridge_ends_and_a_busy_one_does_not() -> None:
    async with opened() as yard:
        near, far = await yard.pair()
        yard.later(BRIDGE_IDLE_SECONDS - 1)
        near[1].write(b"x")
        assert await far[0].read(1) == b"x"
        yard.later(BRIDGE_IDLE_SECONDS - 1)
        assert len(yard.bridges) == 2
        yard.later(1)
        await yard.bridges.over()
        assert await ended(near[0])


async def test_a_bridge_that_is_half_closed_does_not_stay() -> None:
    async with opened() as yard:
        near, far = await yard.pair()
        near[1].write_eof()
        assert await far[0].read() == b""
        yard.later(HALF_CLOSED_SECONDS - 1)
        assert len(yard.bridges) == 2
        yard.later(1)
        await yard.bridges.over()


async def test_places_come_back_when_bridges_end() -> None:
    async with opened() as yard:
        for _ in range(5):  # of three places
            near, far = await yard.pair()
            near[1].close()
            assert await far[0].read() == b""
            far[1].close()
            await yard.bridges.over()
        assert yard.bridges.made == 5
