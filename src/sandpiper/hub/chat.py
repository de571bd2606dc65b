"""One connection of the hub's chat: bytes in, whole lines to the house; bytes out, at once or after a bounded wait."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol, cast

from typing_extensions import override

from sandpiper.hub.house import Full
from sandpiper.hub.limits import MAX_BACKLOG_BYTES, MAX_READ_BYTES
from sandpiper.wire.hub.answers import Error, Pinged
from sandpiper.wire.hub.lines import TOO_LONG, decode_chunk, encode_answers
from sandpiper.wire.limits import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import History
    from sandpiper.hub.house import House
    from sandpiper.hub.limits import Times

log = logging.getLogger(__name__)

HELD_AT_ONCE = 200  # lines of a guest over its rate that are looked at again at once: what a burst takes
BEHIND_WAIT = 0.05  # seconds that a guest is not read while the history is behind: one commit of it
DIRECT = os.name == "posix"  # elsewhere a socket is no file


class Hall(Protocol):
    """What connections share."""

    house: House
    history: History
    connections: set[Connection]
    buffer: memoryview
    """What is read goes here first; each connection takes it out before the next one reads."""
    stopped: bool
    """Guests are not read for now."""

    def afterwards(self, do: Callable[[], None]) -> None:
        """Have `do` called when everything that has come so far was dealt with, and what it set off was told."""
        ...

    def left(self, connection: Connection) -> None:
        """This connection has ended."""
        ...

    def now(self) -> Now:
        """This moment."""
        ...

    def wake(self) -> None:
        """The house has something to do: do it in this turn of the loop."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One guest's socket. It accepts the bytes that somebody has read from it before, to see what it speaks.

    Outgoing bytes go straight to the socket while nothing waits, else to the transport's buffer; a guest whose
    buffer passes `MAX_BACKLOG_BYTES` is cut, so nobody ever waits for it.
    """

    __slots__ = (
        "_begun", "_clear", "_closing", "_fd", "_first", "_hall", "_held", "_partial", "_pinged", "_skipping",
        "_transport", "born", "guest", "heard",
    )  # fmt: skip

    def __init__(self, hall: Hall, first: bytes = b"") -> None:
        self.guest: Guest | None = None
        self.born = 0.0
        self.heard = 0.0
        """When its last line came, in seconds; 0: none has."""
        self._hall = hall
        self._first = first
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._clear = False  # nothing waits in the transport's buffer, and we may write past it
        self._partial = b""  # the beginning of a line
        self._skipping = False  # in a line that was too long
        self._begun: float | None = None  # since when a line has not ended
        self._held: list[bytes] | None = None  # lines that wait because the guest is too fast; it is not read then
        self._pinged = False
        self._closing: float | None = None

    # ------------------------------------------------------------ life

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        hall = self._hall
        hall.connections.add(self)
        # With no marks in between, "paused" means that anything waits at all.
        transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if DIRECT and transport.get_extra_info("sslcontext") is None:
                self._fd = sock.fileno()
                self._clear = True
        now = hall.now()
        self.born = now.mono
        peer = transport.get_extra_info("peername")
        try:
            self.guest = hall.house.enter(
                address_of(peer[0] if peer else "", loopback_counts=hall.house.settings.loopback_counts), self, now
            )
        except Full as exc:
            self.write(encode_answers((Error(str(exc), exc.code),)))
            self.close(now.mono)
            return
        if hall.house.busy:
            hall.wake()
        if self._first:
            first, self._first = self._first, b""
            self._take_bytes(first)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._clear = False
        self._held = None
        self._hall.left(self)
        self._gone("")
        # The transport and this object name each other; idle guests come and go by the thousand.
        self._transport = None

    def _gone(self, why: str) -> None:
        if self.guest is not None and self.guest.open:
            self._hall.house.gone(self.guest, why, self._hall.now())
            self._hall.wake()

    def close(self, now: float, *, linger: bool = True) -> None:
        """Write nothing more, and close once what waits is taken, or a little later. `now` in seconds.

        With `linger` the other side closes first: closing while it still sends would make its system throw away what
        it has not read yet, and with it the reason.
        """
        self._clear = False
        self._held = None
        transport = self._transport
        if transport is None or self._closing is not None:
            return
        self._closing = now
        if linger and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._clear = False
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ out

    def write(self, raw: bytes) -> None:
        """Write now, or as soon as the other side takes it; never waits."""
        transport = self._transport
        if self._clear:
            # Past the transport, whose own way to the same system call takes longer than the call.
            try:
                sent = os.write(self._fd, raw)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return
            if sent == len(raw):
                return
            self._clear = False
            assert transport is not None
            transport.write(memoryview(raw)[sent:])
        elif transport is None or self._closing is not None or transport.is_closing():
            return
        else:
            transport.write(raw)
        waiting = transport.get_write_buffer_size()
        if waiting > MAX_BACKLOG_BYTES:
            log.info("guest %s does not read: cut", self.guest.number if self.guest else 0)
            self._hall.house.counts.cuts.add("too_slow")
            self.abort()
            self._gone("too slow")
        elif not waiting and self._fd >= 0:
            self._clear = True

    @override
    def pause_writing(self) -> None:
        self._clear = False

    @override
    def resume_writing(self) -> None:
        self._clear = self._fd >= 0 and self._closing is None

    # ------------------------------------------------------------ in

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._hall.buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._take_bytes(bytes(self._hall.buffer[:nbytes]))

    @override
    def eof_received(self) -> bool:
        """Lines that are piped into `nc` are said, and answered, before the connection closes. One that has no end is
        none.
        """
        self._hall.afterwards(self._finish)
        return True

    def _finish(self) -> None:
        if self._closing is not None:
            self.abort()  # the other side has taken our reason, and closed as well
        elif self._held and self.guest is not None and self.guest.open:
            asyncio.get_running_loop().call_later(BEHIND_WAIT, self._hall.afterwards, self._finish)
        else:
            self.close(self._hall.now().mono, linger=False)

    def _take_bytes(self, chunk: bytes) -> None:
        self._hall.house.counts.bytes_read += len(chunk)
        if self.guest is None or not self.guest.open:
            return
        if self._partial:
            chunk = self._partial + chunk
        end = chunk.rfind(b"\n") + 1
        now = self._hall.now()
        if end < len(chunk):
            self._partial = chunk[end:]
            if end or self._begun is None:
                self._begun = now.mono
            chunk = chunk[:end]
        else:
            self._partial, self._begun = b"", None
        if self._skipping and end:
            chunk = chunk[chunk.index(b"\n") + 1 :]
            self._skipping = False
        if chunk:
            self.heard = now.mono
            self._pinged = False
            if self._held is not None:  # the transport had this already when it was paused
                self._held += _lines(chunk)
            else:
                self._take_lines(chunk, now)
        if self._skipping:
            self._partial = b""
        elif len(self._partial) >= MAX_LINE_BYTES:
            self._partial, self._skipping = b"", True
            self._hall.house.take(self.guest, (TOO_LONG,), now)
        if self._hall.house.busy:
            self._hall.wake()

    def _take_lines(self, chunk: bytes, now: Now) -> list[bytes] | None:
        """Returns the lines that must wait, which are held; None when the guest may go on."""
        assert self.guest is not None
        house = self._hall.house
        asks = decode_chunk(chunk)
        taken = house.take(self.guest, asks, now)
        if taken < len(asks):
            return self._hold(_lines(chunk)[taken:], house.wait(self.guest, now))
        if self._hall.history.behind or self._hall.stopped:
            return self._hold([], BEHIND_WAIT)
        return None

    def _hold(self, lines: list[bytes], seconds: float) -> list[bytes]:
        """Read no more for so long; then go on with these lines. Nothing is lost, the sender's system waits."""
        assert self._transport is not None
        self._held = lines
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._go_on)
        return lines

    def _go_on(self) -> None:
        lines = self._held
        if lines is None or self.guest is None or not self.guest.open or self._transport is None:
            return
        if self._hall.stopped:
            asyncio.get_running_loop().call_later(BEHIND_WAIT, self._go_on)
            return
        self._held = None
        now = self._hall.now()
        if self._begun is not None:
            self._begun = now.mono  # we did not read: the half line is not late
        held = None
        while lines and held is None:
            part, lines = lines[:HELD_AT_ONCE], lines[HELD_AT_ONCE:]
            held = self._take_lines(b"\n".join(part) + b"\n", now)
        if self._hall.house.busy:
            self._hall.wake()
        if held is not None:
            held += lines
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    # ------------------------------------------------------------ in time

    def look(self, now: Now, times: Times) -> None:
        """What is due: a ping, or the end. Called every now and then."""
        guest = self.guest
        if self._closing is not None:
            if now.mono >= self._closing + times.farewell:
                self.abort()
        elif guest is None or not guest.open or self._held is not None:
            return
        elif self._begun is not None and now.mono >= self._begun + times.half_line:
            self._cut("half_line", f"A line did not end within {times.half_line:.0f} s.", now)
        elif not self.heard:
            if now.mono >= self.born + times.first_line:
                self._cut("silent", f"You said nothing for {times.first_line:.0f} s.", now)
        elif guest.modern:
            silent = now.mono - self.heard
            if silent >= times.silence:
                self._cut("silent", f"You said nothing for {times.silence:.0f} s, and did not answer a ping.", now)
            elif silent >= times.ping and not self._pinged:
                self._pinged = True
                self.write(encode_answers((Pinged(int(now.mono)),)))

    def _cut(self, code: str, text: str, now: Now) -> None:
        assert self.guest is not None
        self._hall.house.cut(self.guest, code, text, now)
        self._hall.wake()


def _lines(chunk: bytes) -> list[bytes]:
    """As `decode_chunk` counts them."""
    return [line for line in chunk.split(b"\n") if line.strip()]


def address_of(host: str, *, loopback_counts: bool) -> str:
    """By what limits an address are counted: an IPv6 network of 64 bits is one household; empty: not at all."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback and not loopback_counts:
        return ""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def shared_buffer() -> memoryview:
    """For `Hall.buffer`."""
    return memoryview(bytearray(MAX_READ_BYTES))
