"""Hostile programs on real sockets, whole sequences of what they do: the loop never sees an exception of ours, every
answer is a line of the protocol, two others chat on, and no table keeps anything of those who are gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandpiper.hub.counts import Counts
from sandpiper.hub.door import Front
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.http import FORBIDDEN, NOT_FOUND, Page, Request
from sandpiper.hub.limits import ChatSettings, Pace
from sandpiper.hub.listener import Listener
from sandpiper.hub.serving import ChatServer
from sandpiper.testing.conformance import until
from sandpiper.wire.hub.lines import decode_answer
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.text import clean_text
from tests.fuzz.test_hub import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
FAST = Pace(1e9, 1e9)
MANY = 100_000  # connections, one after the other: more than a night's examples
SETTINGS = ChatSettings(
    guest_pace=FAST, address_pace=FAST, room_pace=FAST, loopback_counts=True, connections_an_address=MANY
)
RST = struct.pack("ii", 1, 0)


class Visit(NamedTuple):
    """What one hostile program does: sends these pieces, then ends so; `reads` what it is told meanwhile."""

    pieces: list[bytes]
    end: str
    reads: bool


beginnings = st.sampled_from(
    [b"", b"GET / HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"SANDPIPER/", b"\n", b"HEAD "]
)
pieces = st.one_of(
    chunks, chunks.map(lambda raw: raw[:-1]), st.binary(max_size=400), st.just(b"x" * (MAX_LINE_BYTES + 1)),
    st.just(b"[" * 50_000 + b"\n"), st.just(b"\n" * 500), st.just(b'{"type":"who"}\n{"type":"history"}\n' * 20),
)  # fmt: skip
visits = st.builds(
    Visit,
    st.builds(lambda first, rest: [first, *rest], beginnings, st.lists(pieces, max_size=5)),
    st.sampled_from(["close", "reset", "half"]),
    st.booleans(),
)


def _page(request: Request, *, local: bool) -> Page:
    return NOT_FOUND if local else FORBIDDEN


class Arena:
    """A hub behind its listener, in a loop of its own, and two guests who chat."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.faults: list[dict[str, Any]] = []
        self.said = 0
        runner.run(self._open())

    async def _open(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.faults.append(context))
        self.chat = ChatServer(SETTINGS, MemoryHistory())
        front = Front(loopback_counts=True)
        self.listener = Listener(self.chat, front, Counts(), _page)
        await self.listener.open([HOST], 0)
        await self.chat.start()
        await self.listener.start()
        self.alice = await asyncio.open_connection(HOST, self.listener.port, limit=1 << 24)
        self.bob = await asyncio.open_connection(HOST, self.listener.port, limit=1 << 24)
        for _, writer in (self.alice, self.bob):
            writer.write(b'{"type":"hello"}\n{"type":"join","room":"safe"}\n')

    async def close(self) -> None:
        for _, writer in (self.alice, self.bob):
            writer.close()
        await self.chat.aclose()
        await self.listener.aclose()

    async def visit(self, visit: Visit) -> bytes:
        loop = asyncio.get_running_loop()
        heard = b""
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (HOST, self.listener.port))
            try:
                for piece in visit.pieces:
                    await loop.sock_sendall(sock, piece)
                    if visit.reads:
                        await asyncio.sleep(0)
                if visit.end == "half":
                    sock.shutdown(socket.SHUT_WR)
                    while chunk := await loop.sock_recv(sock, 1 << 16):
                        heard += chunk
                elif visit.end == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            except ConnectionError:
                pass  # it was cut
        return heard

    async def play(self, all_: list[Visit]) -> None:
        async with asyncio.timeout(30):
            heard = await asyncio.gather(*(self.visit(one) for one in all_))
        for raw in heard:
            if not raw.startswith((b"HTTP/1.1 ", b"\x15\x03")):
                self.check(raw)
        await until(lambda: len(self.chat.connections) == 2 and not len(self.listener), "the end of the others")
        self.said += 1
        text = f"still here {self.said}"
        self.alice[1].write(b'{"type":"msg","room":"safe","text":"%s"}\n' % text.encode())
        for reader, _ in (self.alice, self.bob):
            async with asyncio.timeout(10):
                while json.loads(await reader.readline()).get("text") != text:
                    pass

    @staticmethod
    def check(raw: bytes) -> None:
        """Whole lines of the protocol (but for one that the end cut), safe to show."""
        for line in raw.split(b"\n")[:-1]:
            decode_answer(line)
            shown = json.loads(line)
            if "text" in shown:
                assert clean_text(shown["text"]) == shown["text"]

    def tables(self) -> None:
        """Nothing is kept of those who are gone."""
        house = self.chat.house
        assert len(house.guests) == 2
        assert sum(place.connections for place in house._addresses.values()) == 2
        assert not self.listener._addresses
        assert len(self.listener._arrivals) <= 1
        assert not house._said
        assert not house._out
        assert len(house.rooms) <= 50
        for room in house.rooms.values():
            assert len(room.members) <= 2
            assert len(room.makers) <= len(room.members)
            assert not room.pending
            assert len(room.bans._names) + len(room.mutes._names) <= 100


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with asyncio.Runner() as runner:
        arena = Arena(runner)
        yield arena
        runner.run(arena.close())


@given(st.lists(visits, min_size=1, max_size=4))
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_programs_do_the_hub_answers_and_forgets_them(arena: Arena, all_: list[Visit]) -> None:
    arena.runner.run(arena.play(all_))
    assert not arena.faults, arena.faults[0]
    arena.tables()
