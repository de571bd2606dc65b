"""Relays that do what no relay should: one that plays everybody itself, and one that stands before an honest one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from sandpiper.net.relays import parse_relay
from sandpiper.net.tcp import TcpPipe
from tests.relayed import undirected
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandpiper.net.link import Pipe
    from sandpiper.net.relays import RelayAddress

Meets = Callable[["Pipe"], Awaitable[object]]
Words = Callable[[dict[str, Any]], list[dict[str, Any]]]
ANSWERS = base64.b64encode(b"\x01").decode()
CHUNK = 700  # bytes at a time: a handshake comes in several, and so does a screenful


class Port:
    """A server on this machine that tells where it is as relays are named, and leaves nothing behind."""

    def __init__(self) -> None:
        self.where: RelayAddress
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._server = await asyncio.start_server(self._come, HOST, 0, limit=1 << 20)
        self.where = parse_relay(f"{HOST}:{self._server.sockets[0].getsockname()[1]}")
        try:
            yield
        finally:
            self._server.close()
            self.cut()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            with contextlib.suppress(AttributeError):  # see TcpPipe.abort
                writer.transport.abort()
        self._writers.clear()

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        raise NotImplementedError


class Impostor(Port):
    """A relay without anybody behind it: it says that `members` answer for every number, and meets whoever comes to
    a bridge itself. `more` are lines that it says after each line of a peer.
    """

    def __init__(self, meets: Meets, *, members: int = 1, more: Words = lambda _line: []) -> None:
        super().__init__()
        self._meets, self._members, self._more = meets, members, more
        self.bridges = 0

    @override
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.readline():
            line = json.loads(raw)
            if line["type"] == "bridge":
                self.bridges += 1
                writer.write(b'{"type":"bridged"}\n')
                pipe = TcpPipe(reader, writer)
                try:
                    await self._meets(pipe)
                finally:
                    await pipe.close()
                return
            words = [*self._answers(line), *self._more(line)]
            writer.write(b"".join(json.dumps(word).encode() + b"\n" for word in words))
            await writer.drain()

    def _answers(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        match line["type"]:
            case "observe":
                return [{"type": "observed", "host": "192.0.2.1", "port": 1, "relay": True}]
            case "create_room":
                return [{"type": "room_created", "code": line.get("code", "42"), "expires_at": 2_000_000_000}]
            case "register_peer":
                room: dict[str, Any] = {name: line[name] for name in ("code", "tag") if name in line}
                peers = [f"member{number}" for number in range(self._members)]
                told: list[dict[str, Any]] = [{"type": "peer_registered", "peer": "you", "peers": peers, **room}]
                if "code" in room:
                    told += [{"type": "signal", "from": peer, "data": ANSWERS} for peer in peers]
                return told
            case "ping":
                return [{"type": "pong", "n": line.get("n", 0)}]
            case _:
                return []


Twist = Callable[[bytes, int], bytes]
"""What becomes of a chunk that begins at this place of one direction of a bridge."""


def honest(chunk: bytes, _at: int) -> bytes:
    """As it came."""
    return chunk


def _undirected(chunk: bytes, _at: int) -> bytes:
    return undirected(chunk)


class Crooked(Port):
    """Stands between peers and an honest relay. Lines of the rendezvous pass as they are, but for those that lead to a
    link without the relay; each direction of a bridge goes through `twist`, which can be changed at any time.
    """

    def __init__(self, far: int) -> None:
        super().__init__()
        self._far = far
        self.twist: Twist = honest
        self.bridges = 0

    @override
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        far_reader, far_writer = await asyncio.open_connection(HOST, self._far)
        self._writers.add(far_writer)
        bridge = b'"bridge"' in first
        twist = self.twist if bridge else _undirected
        self.bridges += bridge
        far_writer.write(first)
        skip = len(b'{"type":"bridged"}\n') if bridge else 0
        await asyncio.gather(
            self._pass_on(reader, far_writer, twist, 0), self._pass_on(far_reader, writer, twist, skip)
        )

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, twist: Twist, skip: int
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            target.write(await source.readexactly(skip))
            at = 0
            while chunk := await source.read(CHUNK):
                target.write(twist(chunk, at))
                at += len(chunk)
                await target.drain()
        with contextlib.suppress(OSError, RuntimeError):
            target.close()
