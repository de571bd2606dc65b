"""The hub's one port: it takes connections, and lets each in as what it speaks."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from collections import Counter
from typing import TYPE_CHECKING, Protocol, cast

from sandpiper.errors import LinkError
from sandpiper.hub.chat import keep_alive
from sandpiper.hub.door import Door, Front
from sandpiper.hub.metrics import file_limit
from sandpiper.hub.pace import Arrivals
from sandpiper.hub.serving import BACKLOG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.hub.chat import Hall
    from sandpiper.hub.counts import Counts
    from sandpiper.hub.http import Page, Request
    from sandpiper.hub.introducing import Introductions
    from sandpiper.hub.serving import ChatServer

    class Pages(Protocol):
        """Answers HTTP."""

        def __call__(self, request: Request, *, local: bool) -> Page:
            """The page that is asked for; `local`: from this machine."""
            ...


log = logging.getLogger(__name__)

MAX_AT_DOOR = 4 * BACKLOG  # connections that have not said what they speak: four turns of the loop full of new ones
MAX_AT_DOOR_AN_ADDRESS = 64  # of one household: a browser opens six at once, a load balancer's probes some more
SPARE_FILES = 64  # beside connections: history, log, listening sockets, the system's own
SWEEP = 0.5  # seconds between two looks at what is due
HANDSHAKE_SECONDS = 10.0  # for TLS: three round trips to the other side of the world, one of them lost
SHUTDOWN_SECONDS = 3.0  # for the other side's goodbye in TLS

_FULL = "The hub is full; try again later."
_TOO_OFTEN = "Too many connections came from your address of late; try again in a minute."


class Listener:
    """Where connections come in (a `Porch`). `open` it, `start` it, then exchange `front` when settings change."""

    def __init__(self, chat: ChatServer, front: Front, counts: Counts, pages: Pages) -> None:
        self.chat = chat
        self.front = front
        self.counts = counts
        self.closing = ""
        self.introductions: Introductions | None = None
        self.port = self.second_port = 0
        self._pages = pages
        self._doors: dict[Door, None] = {}
        self._addresses: Counter[str] = Counter()
        self._arrivals = Arrivals()
        self._most, self._backlog = connections_within(file_limit())
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []
        self._stop = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self.life: asyncio.Future[None] = self._loop.create_future()
        """Ends before `aclose` only by a mistake of ours, with its exception."""

    def __len__(self) -> int:
        """How many connections have not become guests."""
        return len(self._doors)

    # ------------------------------------------------------------ life

    async def open(self, hosts: Sequence[str], port: int, *, second: bool = False) -> None:
        """Take connections on these addresses (none: all of this machine) from now on; 0 is any free port. A second
        one is the same door elsewhere.

        Raises:
            LinkError: the port or an address cannot be used.
        """
        try:
            server = await self._loop.create_server(
                lambda: Door(self), list(hosts) or None, port, backlog=self._backlog, start_serving=False
            )
            keep_alive(server)
            await server.start_serving()
        except OSError as exc:
            raise _unusable(hosts, port, exc) from exc
        self._servers.append(server)
        opened = server.sockets[0].getsockname()[1]
        if second:
            self.second_port = opened
        else:
            self.port = opened

    async def start(self) -> None:
        """Begin to look after those at the door."""
        ready = asyncio.Event()
        self.life = asyncio.create_task(self._live(ready.set), name="hub listener")
        await ready.wait()

    async def _live(self, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            sweeping = self._tasks.create_task(self._sweep(), name="hub listener sweep")
            ready()
            await self._stop.wait()
            sweeping.cancel()
            for door in tuple(self._doors):
                door.abort()

    async def aclose(self) -> None:
        """Take no more connections, and end those at the door. Guests are the chat's, and closed first."""
        for server in self._servers:
            server.close()
        self._stop.set()
        await self.life
        for server in self._servers:
            await server.wait_closed()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = self.chat.now()
            for door in tuple(self._doors):
                try:
                    door.look(now.mono)
                except Exception:
                    log.exception("a connection that has not said what it speaks ends by a mistake of ours")
                    door.abort()
            if self.introductions is not None:
                self.introductions.look(now)
            self._arrivals.forget(now.mono)

    # ------------------------------------------------------------ for doors (see `Porch`)

    @property
    def hall(self) -> Hall:
        """See `Porch`."""
        return self.chat

    def arrive(self, door: Door) -> str:
        """See `Porch`. Inside TLS or a WebSocket it has been here before, outside.

        When all places are taken, whoever has been silent longest makes room: a crowd that says nothing keeps nobody
        out, neither guests nor those who ask how the hub is.
        """
        most = self.chat.house.settings.connections_an_address
        if door.address and not door.inner and not self._arrivals.takes(door.address, most, self.chat.now().mono):
            return _TOO_OFTEN
        introduced = len(self.introductions) if self.introductions is not None else 0
        if not door.inner and len(self._doors) + len(self.chat.connections) + introduced >= self._most:
            return _FULL
        if len(self._doors) >= MAX_AT_DOOR:
            silent = next((one for one in self._doors if one.silent), None)
            if silent is None:
                return _FULL
            silent.hurry()
        if door.address:
            if self._addresses[door.address] >= MAX_AT_DOOR_AN_ADDRESS:
                return _FULL
            self._addresses[door.address] += 1
        self._doors[door] = None
        return ""

    def leave(self, door: Door) -> None:
        """See `Porch`."""
        if door in self._doors:
            del self._doors[door]
            if door.address:
                self._addresses[door.address] -= 1
                if not self._addresses[door.address]:
                    del self._addresses[door.address]

    def page(self, request: Request, *, local: bool) -> Page:
        """See `Porch`."""
        return self._pages(request, local=local)

    def frame(self, door: Door, transport: asyncio.Transport, first: bytes) -> None:
        """See `Porch`."""
        from sandpiper.hub.websocket import WebSocketLayer  # a hub that nobody asks for one never loads it

        self.leave(door)
        layer = WebSocketLayer(lambda: Door(self, secure=door.secure, framed=True), self.chat.buffer)
        transport.set_protocol(layer)
        layer.begin(transport, first)

    def secure(self, door: Door, transport: asyncio.Transport, first: bytes) -> None:
        """See `Porch`. The loop's own TLS takes over the transport in the task's first step, gets its
        `connection_made` in the next turn, and must have `first` after that and before anything else is read.
        """
        self._tasks.create_task(self._handshake(door, transport), name="TLS handshake")
        self._loop.call_soon(self._loop.call_soon, _feed, transport, first)

    async def _handshake(self, door: Door, transport: asyncio.Transport) -> None:
        inner = Door(self, secure=True)
        context = self.front.tls
        assert context is not None
        try:
            secured = await self._loop.start_tls(
                transport,
                inner,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
            if secured is not None:
                inner.connection_made(secured)
        except OSError as exc:  # ssl.SSLError and lost connections are such
            log.debug("TLS failed: %s", exc)
            self._tls_failed(transport)
        except Exception:
            log.exception("TLS failed by a mistake of ours: one connection ends, the hub goes on")
            self._tls_failed(transport)
        finally:
            self.leave(door)

    def _tls_failed(self, transport: asyncio.Transport) -> None:
        self.counts.turned_away.add("tls_failed")
        transport.abort()


def connections_within(files: int) -> tuple[int, int]:
    """How many connections a process can have that may open so many files (0: any number), and how many the system may
    hold for it: the loop opens all of those at once, before anybody is asked whether there is a place.
    """
    if not files:
        return sys.maxsize, BACKLOG
    backlog = max(1, min(BACKLOG, files // 8))
    return max(1, files - SPARE_FILES - backlog), backlog


def _feed(transport: asyncio.Transport, first: bytes) -> None:
    """Give bytes to the transport's protocol, as if they had just been read."""
    while first and not transport.is_closing():
        protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())  # uvloop's own is none by its class
        buffer = memoryview(protocol.get_buffer(len(first)))
        count = min(len(buffer), len(first))
        buffer[:count] = first[:count]
        protocol.buffer_updated(count)
        first = first[count:]


def _unusable(hosts: Sequence[str], port: int, exc: OSError) -> LinkError:
    where = f"Port {port}" + (f" of {', '.join(hosts)}" if hosts else "")
    if exc.errno == errno.EADDRINUSE:
        return LinkError(
            f"{where} is in use by another program.", hint="Choose another one with --port.", code="port_in_use"
        )
    if exc.errno == errno.EACCES:
        hint = "Ports below 1024 are the system's; choose a higher one with --port."
        return LinkError(f"{where} may not be used.", hint=hint, code="port")
    return LinkError(f"{where} cannot be used: {exc.strerror or exc}.", hint="Look at --host and --port.", code="port")
