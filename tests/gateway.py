"""A router on loopback that answers by PCP, NAT-PMP and UPnP as a test wants it, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from sandpiper.config.addresses import Address
from sandpiper.net.portmap import Gateway
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OUTSIDE = "11.0.0.7"  # public, and never sent to
_V6_OUTSIDE = b"\0" * 10 + b"\xff\xff"
IP1 = "urn:schemas-upnp-org:service:WANIPConnection:1"


class Router(asyncio.DatagramProtocol):
    """What it has been asked, what it maps, and how it answers.

    `speaks`: its protocols, of pcp, natpmp, upnp. `result`: refuse with this code. `seconds`: the most that it grants.
    `twist` makes something else of each answer (a list of datagrams).
    """

    def __init__(self, *speaks: str) -> None:
        self.speaks = set(speaks)
        self.result = 0
        self.seconds = 3600
        self.outside = OUTSIDE
        self.twist: Callable[[bytes], list[bytes]] = lambda raw: [raw]
        self.mapped: dict[int, int] = {}  # outside port: inside port
        self._ends: dict[int, asyncio.TimerHandle] = {}
        self.slow = False  # UPnP answers to a mapping are not sent
        self.lost_releases = 0  # so many are lost on the way
        self.asked: list[str] = []
        self.faults: list[int] = []  # for the next questions by UPnP
        self.page: bytes | None = None  # instead of the description
        self.location = ""
        self.forger: socket.socket | None = None  # who answers instead, from another address
        self.port = 0
        self.web = 0
        self.group = 0
        self._transport: Any = None
        self._changed = asyncio.Event()

    @property
    def gateway(self) -> Gateway:
        return Gateway(HOST, HOST, self.port, Address(HOST, self.group))

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not true():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)

    def note(self, what: str) -> None:
        self.asked.append(what)
        self._changed.set()

    # ------------------------------------------------------------ PCP and NAT-PMP

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if self.lost_releases and data[0] == 2 and data[4:8] == bytes(4):
            self.lost_releases -= 1
            return
        answer = self._pcp(data) if data[0] == 2 else self._pmp(data)
        for raw in self.twist(answer) if answer else ():
            (self.forger or self._transport).sendto(raw, addr)

    def _pcp(self, raw: bytes) -> bytes:
        if "pcp" not in self.speaks:
            return struct.pack("!BBHI", 0, 0x80 | raw[1], 1, 9) if "natpmp" in self.speaks else b""
        if raw[1] == 0:
            self.note("pcp look")
            return struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, 9)
        (seconds,) = struct.unpack_from("!I", raw, 4)
        nonce, internal, external = raw[24:36], *struct.unpack_from("!HH", raw, 40)
        self.note(f"pcp map {internal} for {seconds}")
        seconds, external = min(seconds, self.seconds), external or internal + 1
        self._keep(external, internal, seconds)
        head = struct.pack("!BBBBII12x", 2, 0x81, 0, self.result, seconds, 9)
        body = struct.pack("!12sB3xHH16s", nonce, 6, internal, external, _V6_OUTSIDE + socket.inet_aton(self.outside))
        return head + body

    def _pmp(self, raw: bytes) -> bytes:
        if "natpmp" not in self.speaks:
            return b""
        if raw[1] == 0:
            self.note("natpmp look")
            return struct.pack("!BBHI4s", 0, 0x80, self.result, 9, socket.inet_aton(self.outside))
        internal, external, seconds = struct.unpack_from("!HHI", raw, 4)
        self.note(f"natpmp map {internal} for {seconds}")
        seconds = min(seconds, self.seconds)
        if not seconds:
            for out in [out for out, port in self.mapped.items() if port == internal]:
                self._keep(out, internal, 0)
        else:
            self._keep(external, internal, seconds)
        return struct.pack("!BBHIHHI", 0, 0x82, self.result, 9, internal, external, seconds)

    def _keep(self, external: int, internal: int, seconds: int) -> None:
        if not self.result:
            self.mapped.pop(external, None)
            if external in self._ends:
                self._ends.pop(external).cancel()
            if seconds:
                self.mapped[external] = internal
                self._ends[external] = asyncio.get_running_loop().call_later(seconds, self._end, external)

    def _end(self, external: int) -> None:
        self.note(f"lease of {external} ended")
        del self._ends[external], self.mapped[external]

    # ------------------------------------------------------------ UPnP

    def search_answer(self, raw: bytes) -> bytes | None:
        if "upnp" not in self.speaks or b"M-SEARCH" not in raw:
            return None
        self.note("upnp search")
        where = self.location or f"http://{HOST}:{self.web}/root.xml"
        st = re.search(rb"\nST: (\S+)", raw)
        assert st is not None
        return f"HTTP/1.1 200 OK\r\nST: {st[1].decode()}\r\nLOCATION: {where}\r\n\r\n".encode()

    async def web_page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", raw)
            body = (await reader.readexactly(int(length[1]))).decode() if length is not None else ""
            answer = self._described() if raw.startswith(b"GET") else self._called(raw.decode(), body)
            if self.slow and b"AddPortMapping" in raw:
                await reader.read()  # until the other side gives up
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _described(self) -> bytes:
        self.note("upnp description")
        if self.page is not None:
            return self.page
        return _reply(
            200,
            f"<root><device><serviceList><service><serviceType>{IP1}</serviceType><controlURL>/ctl</controlURL>"
            "</service></serviceList></device></root>",
        )

    def _called(self, head: str, body: str) -> bytes:
        action = re.search(r'SOAPAction: "[^"]+#(\w+)"', head)
        assert action is not None
        values = dict(re.findall(r"<(New\w+)>([^<]*)<", body))
        self.note(f"upnp {action[1]} {values.get('NewExternalPort', '')} {values.get('NewLeaseDuration', '')}".strip())
        if action[1] == "GetExternalIPAddress":
            return _reply(200, f"<NewExternalIPAddress>{self.outside}</NewExternalIPAddress>")
        if self.faults and action[1] == "AddPortMapping":
            return _reply(500, f"<UPnPError><errorCode>{self.faults.pop(0)}</errorCode></UPnPError>")
        if action[1] == "AddPortMapping":
            assert values["NewInternalClient"] == HOST
            self.mapped[int(values["NewExternalPort"])] = int(values["NewInternalPort"])
        else:
            del self.mapped[int(values["NewExternalPort"])]
        return _reply(200, f"<u:{action[1]}Response/>")


def _reply(status: int, inner: str) -> bytes:
    body = f'<?xml version="1.0"?><s:Envelope xmlns:s="s" xmlns:u="u"><s:Body>{inner}</s:Body></s:Envelope>'
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


class _Searched(asyncio.DatagramProtocol):
    def __init__(self, router: Router) -> None:
        self._router = router
        self._transport: Any = None

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._router.group = transport.get_extra_info("sockname")[1]

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if answer := self._router.search_answer(data):
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def router(*speaks: str) -> AsyncIterator[Router]:
    one, loop = Router(*speaks), asyncio.get_running_loop()
    asked, _ = await loop.create_datagram_endpoint(lambda: one, local_addr=(HOST, 0))
    searched, _ = await loop.create_datagram_endpoint(lambda: _Searched(one), local_addr=(HOST, 0))
    web = await asyncio.start_server(one.web_page, HOST, 0)
    one.web = web.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        web.close()
        for end in one._ends.values():
            end.cancel()
        asked.close()
        searched.close()
