"""TCP pipes: dialling, listening, and turning the system's errors into ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from sandpiper.errors import DialFailed, LinkLost, UsageError
from sandpiper.net.link import CLOSE_SECONDS, READ_CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

DIAL_SECONDS = 5.0  # a LAN answers in milliseconds, a far host in one or two seconds
BACKLOG = 128
DEAF_SECONDS = 6.0  # bytes that nobody acknowledges for so long end a link: a pulled cable, a NAT that has forgotten

_REASONS = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.EHOSTUNREACH: "no such host on this network",
    errno.ENETUNREACH: "no way to that network",
    errno.ETIMEDOUT: "no answer",
    errno.ECONNRESET: "the other side reset the connection",
    errno.EADDRNOTAVAIL: "the address is not usable from here",
}


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """The host of what `format_address` gives."""
    return address.rpartition(":")[0].strip("[]")


class TcpPipe:
    """A connected TCP socket as a `Pipe`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.extra = writer.get_extra_info
        peer = writer.get_extra_info("peername") or ("?", 0)
        self.address = format_address(str(peer[0]), int(peer[1]))
        self._closed = False

    @property
    def pending(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def read(self) -> bytes:
        """See `Pipe.read`."""
        try:
            return await self._reader.read(READ_CHUNK)
        except OSError as exc:
            raise LinkLost(f"The link to {self.address} broke: {_REASONS.get(exc.errno or 0, exc)}.") from exc

    def write(self, *parts: bytes) -> None:
        """See `Pipe.write`."""
        if not self._closed and not self._writer.transport.is_closing():
            self._writer.writelines(parts)

    async def close(self) -> None:
        """See `Pipe.close`."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.wait_closed()
        self.abort()

    def abort(self) -> None:
        """See `Pipe.abort`."""
        self._closed = True
        # A transport that had bytes left when it was closed, and has sent them, has let go of its loop; asyncio
        # then fails here with AttributeError (seen in 3.11 to 3.13). There is nothing left to abort.
        with contextlib.suppress(AttributeError):
            self._writer.transport.abort()


def notice_silence(pipe: TcpPipe) -> None:
    """Have the system end the connection when what we send is not acknowledged for `DEAF_SECONDS`, where it can."""
    sock: socket.socket | None = pipe.extra("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAF_SECONDS * 1000))


async def dial(host: str, port: int) -> TcpPipe:
    """Connect within `DIAL_SECONDS`.

    Raises:
        DialFailed: nothing answers there; the sentence says why.
    """
    where = format_address(host, port)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=READ_CHUNK)
    except TimeoutError as exc:
        raise DialFailed(
            f"No answer from {where} within {DIAL_SECONDS:.0f} s.", hint="A firewall may drop it: sandpiper doctor"
        ) from exc
    except socket.gaierror as exc:
        raise DialFailed(
            f"The name {host} could not be found.", hint="Check the spelling, or give an address."
        ) from exc
    except (OSError, ValueError, OverflowError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        raise DialFailed(f"Could not reach {where}: {_REASONS.get(number or 0, exc)}.") from exc
    pipe = TcpPipe(reader, writer)
    notice_silence(pipe)
    return pipe


class Listener:
    """A listening TCP port, IPv4 and IPv6."""

    def __init__(self, server: asyncio.Server, port: int) -> None:
        self._server = server
        self.port = port

    def close(self) -> None:
        """Stop listening; links that exist go on."""
        self._server.close()


async def listen(accept: Callable[[TcpPipe], None], ports: range, hosts: tuple[str, ...] = ()) -> Listener:
    """Listen on the first free port of `ports`, on all addresses or on `hosts`; `accept` gets every new pipe.

    Raises:
        UsageError: every one of the ports is taken, or may not be used.
    """

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = TcpPipe(reader, writer)
        notice_silence(pipe)
        accept(pipe)

    last: OSError | None = None
    for port in ports:
        try:
            server = await asyncio.start_server(accepted, list(hosts) or None, port, backlog=BACKLOG, limit=READ_CHUNK)
        except OSError as exc:
            last = exc
            continue
        return Listener(server, server.sockets[0].getsockname()[1])
    which = f"Port {ports[0]}" if len(ports) == 1 else f"Every port from {ports[0]} to {ports[-1]}"
    why = "is in use" if last is not None and last.errno == errno.EADDRINUSE else f"cannot be used ({last})"
    raise UsageError(f"{which} {why}.", hint="Choose another with --port.", code="port_in_use") from last
