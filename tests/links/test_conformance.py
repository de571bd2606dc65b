"""Every kind of pipe, and the native link over each, keeps the contract of `sandpiper.net.link`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sandpiper.net.link import Pipe
from sandpiper.net.memory import memory_pipes
from sandpiper.net.tcp import TcpPipe, dial, listen
from sandpiper.testing.conformance import LinkConformance, PipeConformance


@asynccontextmanager
async def in_memory() -> AsyncIterator[tuple[Pipe, Pipe]]:
    yield memory_pipes()


@asynccontextmanager
async def over_tcp(host: str) -> AsyncIterator[tuple[Pipe, Pipe]]:
    callers: asyncio.Queue[TcpPipe] = asyncio.Queue()
    listener = await listen(callers.put_nowait, range(1), (host,))
    try:
        dialled = await dial(host, listener.port)
        yield dialled, await callers.get()
    finally:
        listener.close()


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6 or not has_ipv6(), reason="no ::1 on this machine")


class InMemory:
    def pipes(self):
        return in_memory()


class OverTcp4:
    def pipes(self):
        return over_tcp("127.0.0.1")


class OverTcp6:
    def pipes(self):
        return over_tcp("::1")


class TestPipeInMemory(InMemory, PipeConformance):
    pass


class TestPipeOverTcp4(OverTcp4, PipeConformance):
    pass


@needs_ipv6
class TestPipeOverTcp6(OverTcp6, PipeConformance):
    pass


class TestLinkInMemory(InMemory, LinkConformance):
    pass


class TestLinkOverTcp4(OverTcp4, LinkConformance):
    pass


@needs_ipv6
class TestLinkOverTcp6(OverTcp6, LinkConformance):
    pass
