"""Beacons on the wire: UDP multicast on every interface, IPv4 and IPv6, following interfaces as they come and go.

Measured on Linux: SO_REUSEADDR and SO_REUSEPORT before the bind let several programs of one machine hear; joining
by each interface's own address works without a default route (0.0.0.0 gives ENODEV there); sending needs one socket
an interface with IP_MULTICAST_IF; TTL 1 keeps it on the LAN; LOOP 1 lets programs of one machine hear each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
import sys
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.net.interfaces import Interface, list_interfaces
from sandpiper.wire.beacon import DEFAULT_GROUP6

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # how often interfaces are looked at
_IP_MULTICAST_ALL = 49  # linux/in.h: off, so that only the joined interfaces are heard
_IPV6_MULTICAST_ALL = 29


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, str], None]) -> None:
        self._heard = heard

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        host = str(addr[0])
        # An IPv6 link-local address means nothing without its interface.
        scoped = len(addr) == 4 and host.startswith("fe80") and "%" not in host
        self._heard(data, f"{host}%{addr[3]}" if scoped else host)

    @override
    def error_received(self, exc: Exception) -> None:
        log.debug("beacon socket: %s", exc)


class Multicast:
    """One multicast group on all interfaces, or on those named."""

    def __init__(self, group: str, port: int, only: tuple[str, ...] = ()) -> None:
        self._group = group
        self._port = port
        self._heard: Callable[[bytes, str], None] = lambda _raw, _host: None
        self._only = only
        self._receivers: dict[bool, asyncio.DatagramTransport] = {}  # by "is IPv6"
        self._senders: dict[Interface, socket.socket] = {}
        self.problems: dict[str, str] = {}  # interface address: why it cannot be used

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces in use."""
        return tuple(self._senders)

    def listen(self, heard: Callable[[bytes, str], None]) -> None:
        """Call `heard(datagram, source host)` for every datagram from now on."""
        self._heard = heard

    async def look(self) -> bool:
        """Follow the machine's interfaces; True when one has come.

        Raises:
            UsageError: an interface was asked for by a name that there is not (any more).
        """
        current = set(list_interfaces(self._only))
        for gone in self._senders.keys() - current:
            self._senders.pop(gone).close()
            self._membership(gone, join=False)
        come = False
        for new in sorted(current - self._senders.keys()):
            if new.v6 and new.loopback:
                continue
            try:
                await self._receiver(new.v6)
                self._membership(new, join=True)
                self._senders[new] = self._sender(new)
            except OSError as exc:
                if self.problems.get(new.address) != str(exc):
                    log.info("no beacons on %s (%s): %s", new.name, new.address, exc)
                self.problems[new.address] = str(exc)
                continue
            self.problems.pop(new.address, None)
            come = True
        return come

    def cast(self, encode: Callable[[str], bytes]) -> int:
        """Send a beacon, made for each interface's own address; how many interfaces took it."""
        sent = 0
        for interface, sender in self._senders.items():
            where: tuple[str, int] | tuple[str, int, int, int] = (self._group, self._port)
            if interface.v6:
                where = (DEFAULT_GROUP6, self._port, 0, interface.index)
            try:
                sender.sendto(encode(interface.address), where)
            except OSError as exc:  # a pulled cable, a filtered group: the next look or beacon mends it
                self.problems[interface.address] = str(exc)
                continue
            self.problems.pop(interface.address, None)
            sent += 1
        return sent

    def close(self) -> None:
        """Stop hearing and sending."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()
        for transport in self._receivers.values():
            transport.close()
        self._receivers.clear()

    async def _receiver(self, v6: bool) -> None:
        if v6 in self._receivers:
            return
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if v6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if sys.platform == "linux":
                with contextlib.suppress(OSError):
                    if v6:
                        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
                    else:
                        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            sock.bind(("", self._port))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(lambda raw, host: self._heard(raw, host)), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        self._receivers[v6] = transport

    def _membership(self, interface: Interface, *, join: bool) -> None:
        transport = self._receivers.get(interface.v6)
        if transport is None:
            return
        sock: socket.socket = transport.get_extra_info("socket")
        if interface.v6:
            request = socket.inet_pton(socket.AF_INET6, DEFAULT_GROUP6) + struct.pack("@I", interface.index)
            level, option = socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        else:
            request = socket.inet_aton(self._group) + socket.inet_aton(interface.address)
            level = socket.IPPROTO_IP
            option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        try:
            sock.setsockopt(level, option, request)
        except OSError as exc:
            # Two addresses of one interface join it twice (EADDRINUSE); a gone interface has left by itself.
            if join and exc.errno not in _ALREADY:
                raise

    def _sender(self, interface: Interface) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if interface.v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if interface.v6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface.index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            else:
                own = socket.inet_aton(interface.address)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
                sock.bind((interface.address, 0))
        except BaseException:
            sock.close()
            raise
        return sock


_ALREADY = {errno.EADDRINUSE, 10048}  # the second is Windows' own number for it
