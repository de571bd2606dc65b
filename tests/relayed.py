"""A real `sandpiper relay` that a test starts, and what a test needs to talk with it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import socket
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from sandpiper.core.rendezvous import Introduced, Registered, SignalCame
from sandpiper.net.rendezvous import RendezvousLink, bridge, new_token
from sandpiper.wire.meeting import Answers, CrossWith, decode_code_signal, encode_code_signal
from tests.served import HOST, WAIT, Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from sandpiper.core.rendezvous import RvNotice
    from sandpiper.net.proxies import Proxy
    from sandpiper.net.relays import RelayAddress
    from sandpiper.net.rendezvous import BridgePipe

STARTED = re.compile(r"on port (\d+) of")


class Relayed(Served):
    """`sandpiper serve` with the roles of a relay, and what it tells on stderr."""

    def __init__(self, home: Path, *args: str, roles: str = "rendezvous,relay", **more: Any) -> None:
        super().__init__(home, "--roles", roles, *args, **more)

    @property
    @override
    def port(self) -> int:
        self.until(lambda me: STARTED.search("".join(me.lines)) is not None, "its port")
        found = STARTED.search("".join(self.lines))
        assert found is not None
        return int(found[1])


class Caller:
    """A plain socket that says lines: somebody with `nc`, or somebody worse."""

    def __init__(self, port: int, host: str = HOST) -> None:
        self.sock = socket.create_connection((host, port), WAIT)
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def say(self, **line: object) -> None:
        self.raw(json.dumps(line).encode() + b"\n")

    def raw(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def hear(self) -> dict[str, Any]:
        """The next line; pings are left out."""
        while True:
            line = self._file.readline()
            assert line, "the connection has ended"
            word: dict[str, Any] = json.loads(line)
            if word["type"] != "ping":
                return word

    def ask(self, **line: object) -> dict[str, Any]:
        self.say(**line)
        return self.hear()

    def register(self, **room: object) -> dict[str, Any]:
        answer = self.ask(type="register_peer", **room)
        assert answer["type"] == "peer_registered", answer
        return answer

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        return self._file.read(count)

    def ended(self) -> bool:
        """Wait until the other side has closed; what it still says is passed over."""
        with contextlib.suppress(ConnectionResetError):
            while self._file.read(65536):
                pass
        return True


def tag(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


def token(number: int | None = None) -> str:
    return base64.b64encode(os.urandom(32) if number is None else number.to_bytes(32, "big")).decode()


def no_proxy(_host: str) -> Proxy | None:
    return None


class Friend:
    """One of our own peers at a rendezvous."""

    def __init__(self, *relays: RelayAddress, proxies: Callable[[str], Proxy | None] = no_proxy, seed: int = 0) -> None:
        self.told: list[RvNotice] = []
        self._changed = asyncio.Event()
        self.guest = Introduced(random.Random(seed), asyncio.get_running_loop().time())
        self.link = RendezvousLink(relays, self.guest, self._tell, proxies)

    def _tell(self, notice: RvNotice) -> None:
        self.told.append(notice)
        self._changed.set()

    def wish(self, do: Callable[[Introduced], None]) -> None:
        do(self.guest)
        self.link.carry_out()

    async def hears(self, kind: type[Any], since: int = 0, **fields: object) -> Any:
        """Wait until it was told that."""
        async with asyncio.timeout(20):
            while True:
                for notice in self.told[since:]:
                    if isinstance(notice, kind) and all(getattr(notice, k) == v for k, v in fields.items()):
                        return notice
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def friend(*relays: RelayAddress, **more: Any) -> AsyncIterator[Friend]:
    one = Friend(*relays, **more)
    running = asyncio.create_task(one.link.run())
    try:
        yield one
    finally:
        one.link.close()
        await running


async def answering(guest: Friend, nameplate: str, count: int) -> list[str]:
    """Names of so many who say to a guest that they answer for this number."""
    guest.wish(lambda introduced: introduced.register(nameplate))
    await guest.hears(Registered, room=nameplate)
    found: dict[str, None] = {}
    since = 0
    while len(found) < count:
        signal = await guest.hears(SignalCame, since)
        since = guest.told.index(signal, since) + 1
        if isinstance(decode_code_signal(signal.data), Answers):
            found[signal.peer] = None
    return list(found)


async def knock(guest: Friend, relay: RelayAddress, peer: str) -> BridgePipe:
    """A bridge to one of those."""
    token = new_token()
    guest.wish(lambda introduced: introduced.signal(peer, encode_code_signal(CrossWith(token))))
    return await bridge(relay, token, no_proxy)


def undirected(chunk: bytes) -> bytes:
    """What peers say to a rendezvous, without their wish to dial each other: everything stays on the relay then."""
    return re.sub(rb'\{"type":"coordinate_connection"[^\n]*\n', b"", chunk)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        return int(sock.getsockname()[1])


def lines_of(raw: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in raw.splitlines())
