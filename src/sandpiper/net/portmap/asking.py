"""One question to a router, and its answer: by UDP, by a search on its network, by HTTP. From its address alone."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from sandpiper.errors import LinkError, LinkTimeout
from sandpiper.wire import igd
from sandpiper.wire.portmap import BadAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.net.portmap.gateway import Gateway

PAUSES = (0.25, 0.5, 1.0)  # after each sending; as RFC 6886, section 3.1, begins. A router is one hop away
SEARCH_PAUSES = (0.7, 1.5)  # an answer may wait for a second (MX)
FETCH_SECONDS = 4.0  # for a page of a router, whose processor may be a slow one
MAX_WAITING = 16  # datagrams that have come and are not looked at; more are dropped

T = TypeVar("T")


class _Ear(asyncio.DatagramProtocol):
    """Datagrams of one address; an error of the system (nothing listens there) instead of one."""

    def __init__(self, host: str) -> None:
        self.came: asyncio.Queue[bytes | OSError] = asyncio.Queue(MAX_WAITING)
        self._host = host

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if addr[0] == self._host:
            self._put(data)

    @override
    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._put(exc)

    def _put(self, one: bytes | OSError) -> None:
        if not self.came.full():
            self.came.put_nowait(one)


async def first_answer(gateway: Gateway, request: bytes, accept: Callable[[bytes], T | None]) -> T:
    """Send a datagram until one comes back that `accept` gives a meaning; one that it does not is passed over.

    Raises:
        LinkError: nothing listens there, or there is no way there.
        LinkTimeout: no answer after three sendings.
        BadAnswer: none but answers that make no sense.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, ear = await loop.create_datagram_endpoint(
            lambda: _Ear(gateway.host), local_addr=(gateway.own, 0), remote_addr=(gateway.host, gateway.port)
        )
    except OSError as exc:
        raise LinkError(f"The router cannot be asked: {exc.strerror or exc}.") from exc
    wrong: BadAnswer | None = None
    try:
        for pause in PAUSES:
            transport.sendto(request)
            try:
                async with asyncio.timeout(pause):
                    while True:
                        try:
                            answer = accept(_datagram(await ear.came.get()))
                        except BadAnswer as exc:
                            wrong = exc
                            continue
                        if answer is not None:
                            return answer
            except TimeoutError:
                continue
    finally:
        transport.close()
    raise wrong or LinkTimeout("The router does not answer.")


def _datagram(came: bytes | OSError) -> bytes:
    if isinstance(came, OSError):
        raise LinkError("The router does not listen for it.") from came
    return came


async def find_description(gateway: Gateway) -> igd.Url:
    """Where the router describes itself to UPnP; asked on its network, and it itself.

    Raises:
        LinkError: it cannot be asked, or does not answer.
    """
    loop = asyncio.get_running_loop()
    try:
        sock = _searching_socket(gateway.own)
        transport, ear = await loop.create_datagram_endpoint(lambda: _Ear(gateway.host), sock=sock)
    except OSError as exc:
        raise LinkError(f"The router cannot be searched for: {exc.strerror or exc}.") from exc
    try:
        for pause in SEARCH_PAUSES:
            for target in igd.TARGETS:
                for host in dict.fromkeys((gateway.group.host, gateway.host)):
                    transport.sendto(igd.search(target), (host, gateway.group.port))
            try:
                async with asyncio.timeout(pause):
                    while True:
                        came = await ear.came.get()
                        # An error is about one of the four datagrams; the others may be answered.
                        page = igd.description_at(came, gateway.host) if isinstance(came, bytes) else None
                        if page is not None:
                            return page
            except TimeoutError:
                continue
    finally:
        transport.close()
    raise LinkTimeout("The router does not answer.")


def _searching_socket(own: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.bind((own, 0))
    except BaseException:
        sock.close()
        raise
    return sock


async def fetch(gateway: Gateway, url: igd.Url, request: bytes) -> igd.Reply:
    """Send an HTTP request to the router, and its answer, within `FETCH_SECONDS`.

    Raises:
        LinkError: it cannot be reached, breaks off or is too slow.
        BadAnswer: its answer makes no sense, or is too long.
    """
    assert url.host == gateway.host, "only the router is asked"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            reader, writer = await asyncio.open_connection(url.host, url.port, local_addr=(gateway.own, 0))
            writer.write(request)
            raw = b""
            while True:
                chunk = await reader.read(16 * 1024)
                raw += chunk
                reply = igd.read_reply(raw, ended=not chunk)
                if reply is not None:
                    return reply
    except TimeoutError as exc:
        raise LinkTimeout("The router's UPnP page does not answer.") from exc
    except OSError as exc:
        raise LinkError(f"The router's UPnP page cannot be reached: {exc.strerror or exc}.") from exc
    finally:
        if writer is not None:
            writer.transport.abort()
