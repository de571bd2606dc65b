"""Direct links through NATs: both sides dial each other at one moment, from the port that the rendezvous has seen.

TCP simultaneous open (RFC 9293, section 3.5; RFC 5128, section 3.4). Whoever of the two comes first opens its own NAT
for the other one. Every candidate is dialled at once, and a listening socket on the same port takes what arrives from
where we have not dialled. Several streams may come about; the smaller key says over which of them the link goes, with
the last message of its handshake. Page: docs/protocol/rendezvous.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

from sandpiper.core.keepalive import ping_number
from sandpiper.errors import LinkError, RemoteProtocolError
from sandpiper.net.link import READ_CHUNK
from sandpiper.net.relays import share_port
from sandpiper.net.secure import accept_secure, dial_secure
from sandpiper.net.tcp import TcpPipe, notice_silence
from sandpiper.wire.admission import decode_link
from sandpiper.wire.frames import Ping, Pong, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from sandpiper.core.events import PathKind
    from sandpiper.core.paths import Ended
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.secure import SecureLink
    from sandpiper.wire.ids import PeerKey
    from sandpiper.wire.rendezvous import Candidate

log = logging.getLogger(__name__)

KNOCK_SECONDS = 3.0  # for which addresses are dialled: kernels say a lost SYN again after 1 s
GREET_SECONDS = 5.0  # more for a stream that has come about to become a link: six ways on a slow line
QUICK_PAUSE = 0.01, 0.1  # seconds after a refusal: a NAT that refuses what comes early is met by chance, so not in step
SLOW_PAUSE = 0.3  # at addresses that no NAT opens: there the other side is late at most
MAX_KNOCKS = 60  # at one address in one try
MAX_STREAMS = 8  # that have come to our port and are not a link yet; the oldest makes room
BACKLOG = 16


class PunchFailed(LinkError):
    """No direct link came about; `how` says what became of the dials."""

    code = "punch_failed"

    def __init__(self, how: Ended) -> None:
        super().__init__(f"No direct link came about ({how}).")
        self.how: Ended = how


class PunchPort:
    """One local port, that of a connection to a rendezvous, and all who dial us there or whom we dial from it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._tries: list[_Try] = []
        self._servers: list[asyncio.Server] = []

    @property
    def idle(self) -> bool:
        """No try is under way."""
        return not self._tries

    async def reach(
        self,
        identity: Identity,
        peer: PeerKey,
        candidates: Iterable[Candidate],
        seen: frozenset[Candidate],
        start_at: float,
        path: Callable[[str], PathKind],
    ) -> SecureLink:
        """A link to `peer`, which does the same at the same moment, proven by a round trip. `start_at` is of the event
        loop's clock; `seen` are candidates that a NAT may open in that moment; `path(host)` is what a link to there is.

        Raises:
            PunchFailed: it did not come about.
        """
        one = _Try(identity, peer, candidates, seen, self.port, path)
        self._tries.append(one)
        try:
            if len(self._tries) == 1:
                await self._listen()
            return await one.run(start_at)
        finally:
            self._tries.remove(one)
            if not self._tries:
                for server in self._servers:
                    _stop_listening(server)
                self._servers.clear()

    async def _listen(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            sock = None
            try:
                sock = _bound(family, self.port)
                server = await asyncio.start_server(
                    self._arrived, sock=sock, backlog=BACKLOG, limit=READ_CHUNK, start_serving=False
                )
                self._servers.append(server)  # before anything is waited for: whoever gives up closes it
                await server.start_serving()
            except OSError as exc:  # no such family here, or the port cannot be shared: dialling may do all the same
                log.debug("no listening on port %d: %s", self.port, exc)
                if sock is not None:
                    sock.close()

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has dialled us: the try that dials their address, at their port or (their NAT may have changed it)
        at another; or the only one.
        """
        pipe = TcpPipe(reader, writer)
        host, port = (writer.get_extra_info("peername") or ("", 0))[:2]
        fits = [one for one in self._tries if (host, port) in one.addresses]
        fits = fits or [one for one in self._tries if any(host == known for known, _ in one.addresses)] or self._tries
        if len(fits) == 1 and fits[0].arrived(pipe, host):
            return
        pipe.abort()


class _Try:
    """One try to reach one peer."""

    def __init__(
        self,
        identity: Identity,
        peer: PeerKey,
        candidates: Iterable[Candidate],
        seen: frozenset[Candidate],
        port: int,
        path: Callable[[str], PathKind],
    ) -> None:
        self._identity = identity
        self._peer = peer
        self._candidates = tuple(candidates)
        self._seen = seen
        self._port = port
        self._path = path
        self._chooses = identity.key < peer
        self._chosen: TcpPipe | None = None
        self._link: SecureLink | None = None
        self._over = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._arrivals: dict[asyncio.Task[None], None] = {}
        self._greeting = 0
        self._ends: Counter[Ended] = Counter()
        self.addresses = frozenset((one.host, one.port) for one in self._candidates)

    async def run(self, start_at: float) -> SecureLink:
        """See `PunchPort.reach`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                end = start_at + KNOCK_SECONDS
                for one in self._candidates:
                    _ = self._begin(self._tasks, self._knock(one, start_at, end), f"knock {one.host}:{one.port}")
                try:
                    await self._until(end)
                    while self._greeting and self._running and not self._over.is_set():
                        left = end + GREET_SECONDS - loop.time()
                        if left <= 0:
                            break
                        await asyncio.wait(self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                finally:  # also when somebody has given us up: who comes from now on is not wanted
                    self._over.set()
                for task in self._running:
                    task.cancel()
        except BaseException:
            if self._link is not None:
                self._link.abort()
            raise
        if self._link is None:
            ends: tuple[Ended, ...] = ("no_port", "refused")
            raise PunchFailed(next((how for how in ends if self._ends[how]), "silent"))
        return self._link

    async def _until(self, end: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._over.wait()

    def arrived(self, pipe: TcpPipe, host: str) -> bool:
        """A stream has come to our port; False: it is not wanted."""
        if self._tasks is None or self._over.is_set():
            return False
        if len(self._arrivals) >= MAX_STREAMS:
            next(iter(self._arrivals)).cancel()
        task = self._begin(self._tasks, self._greet(pipe, host), f"greet {pipe.address}")
        self._arrivals[task] = None

        def gone(task: asyncio.Task[None]) -> None:
            self._arrivals.pop(task, None)
            if task.cancelled():  # also when it has not begun
                pipe.abort()

        task.add_done_callback(gone)
        return True

    def _begin(self, tasks: asyncio.TaskGroup, doing: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = tasks.create_task(doing, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _knock(self, candidate: Candidate, start_at: float, end: float) -> None:
        """Dial one address again and again."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_at - loop.time())
        for _ in range(MAX_KNOCKS):
            try:
                async with asyncio.timeout_at(end):
                    sock = await self._dial(candidate)
            except TimeoutError:
                return
            except OSError as exc:
                log.debug("knocking at %s:%d: %s", candidate.host, candidate.port, exc)
                if isinstance(exc, ConnectionRefusedError | ConnectionResetError) and candidate in self._seen:
                    self._ends["refused"] += 1
            else:
                await self._connected(sock, candidate.host)
            pause = random.uniform(*QUICK_PAUSE) if candidate in self._seen else SLOW_PAUSE
            if loop.time() + pause >= end:
                return
            await asyncio.sleep(pause)

    async def _dial(self, candidate: Candidate) -> socket.socket:
        """Raises: OSError."""
        family = socket.AF_INET6 if ":" in candidate.host else socket.AF_INET
        try:
            sock = _bound(family, self._port)
        except OSError as exc:  # a system that lets no two sockets have one port: from another one, at least
            log.debug("port %d cannot be shared: %s", self._port, exc)
            sock = _bound(family, 0)
            if candidate in self._seen:  # others need no port that a NAT has opened
                self._ends["no_port"] += 1
        try:
            await asyncio.get_running_loop().sock_connect(sock, (candidate.host, candidate.port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _connected(self, sock: socket.socket, host: str) -> None:
        try:
            pipe = TcpPipe(*await asyncio.open_connection(sock=sock, limit=READ_CHUNK))
        except (OSError, ValueError):  # it was reset at once
            sock.close()
            return
        await self._greet(pipe, host)

    async def _greet(self, pipe: TcpPipe, host: str) -> None:
        """Make a link of a stream, if it is the one."""
        self._greeting += 1
        proven = False
        try:
            notice_silence(pipe)
            async with asyncio.timeout(GREET_SECONDS):
                link = await self._shake_hands(pipe, host)
                await self._prove(link)
            if self._link is None:
                self._link, proven = link, True
                self._over.set()
        except (LinkError, RemoteProtocolError, TimeoutError) as exc:
            log.debug("no link over %s: %s", pipe.address, exc)
        finally:
            self._greeting -= 1
            if not proven:
                pipe.abort()
                if self._chosen is pipe:
                    self._chosen = None

    async def _shake_hands(self, pipe: TcpPipe, host: str) -> SecureLink:
        path = self._path(host)
        if self._chooses:
            return await dial_secure(pipe, self._identity, lambda met: self._choose(pipe, met), path=path)
        link = await accept_secure(pipe, self._identity, path=path)
        if link.peer != self._peer:
            raise RemoteProtocolError(f"{pipe.address} is somebody else.", code="unwanted")
        return link

    def _choose(self, pipe: TcpPipe, met: PeerKey) -> bool:
        """Asked before the other side takes a stream for the link: it gets one such message at a time."""
        if met != self._peer or self._chosen is not None:
            return False
        self._chosen = pipe
        return True

    async def _prove(self, link: SecureLink) -> None:
        """One round trip over the new link, before anything depends on it. Raises: LinkError, RemoteProtocolError."""
        number = ping_number(time.monotonic())
        if self._chooses:
            link.offer(encode_frame(Ping(number)))
        frame = decode_link(await link.receive())
        if self._chooses and frame == Pong(number):
            return
        if not self._chooses and isinstance(frame, Ping):
            link.offer(encode_frame(Pong(frame.number)))
            return
        raise RemoteProtocolError(f"{link.address} did not answer as it should.", code="protocol")


def _stop_listening(server: asyncio.Server) -> None:
    """Take no more streams. `close` alone, in the turn in which one is accepted, leaves that one open for ever: asyncio
    makes its transport a turn later, and fails at it when the server is closed.
    """
    loop = server.get_loop()
    with contextlib.suppress(NotImplementedError):  # Windows accepts in another way
        for sock in server.sockets:
            loop.remove_reader(sock)
    loop.call_soon(server.close)


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    """A socket at a port that others of ours may have, too. Raises: OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        share_port(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    except BaseException:
        sock.close()
        raise
    return sock
