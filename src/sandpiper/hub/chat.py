"""One connection of the hub's chat: bytes in, whole lines to the house; bytes out, at once or after a bounded wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol, cast

from typing_extensions import override

from sandpiper.hub.limits import MAX_BACKLOG_BYTES, MAX_BACKLOGS_BYTES, MAX_READ_BYTES, MAX_STRIKES, Full
from sandpiper.wire.hub.answers import Error, Pinged
from sandpiper.wire.hub.lines import BLANK, TOO_LONG, decode_chunk, encode_answers
from sandpiper.wire.limits import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.backlogs import Backlogs
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import History
    from sandpiper.hub.house import House
    from sandpiper.hub.limits import Times
    from sandpiper.wire.hub.asks import AnyAsk
    from sandpiper.wire.hub.lines import BadLine

log = logging.getLogger(__name__)

HELD_AT_ONCE = 200  # lines of a guest over its rate that are looked at again at once: what a burst takes
BEHIND_WAIT = 0.05  # seconds that a guest is not read while the history is behind: one commit of it
FINISH_SECONDS = 30.0  # after its end of input, for an answer that takes longer: a page, a search, a password

# A machine that has vanished without a word is noticed after two minutes: seconds of silence before the system asks for
# it, seconds between two questions, and how many are left without an answer.
ALIVE = (
    ("TCP_KEEPIDLE", 60),
    ("TCP_KEEPALIVE", 60),  # as it is called on macOS
    ("TCP_KEEPINTVL", 15),
    ("TCP_KEEPCNT", 4),
)
DIRECT = os.name == "posix"  # elsewhere a socket is no file
_write = os.write  # a look-up less for each delivery


class Hall(Protocol):
    """What connections share."""

    house: House
    history: History
    connections: set[Connection]
    buffer: memoryview
    """What is read goes here first; each connection takes it out before the next one reads."""
    stopped: bool
    """Guests are not read for now."""
    backlogs: Backlogs

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
    buffer passes `MAX_BACKLOG_BYTES`, or that takes nothing of it for long, is cut, so nobody ever waits for it.
    """

    __slots__ = (
        "_begun", "_clear", "_closing", "_fd", "_first", "_hall", "_held", "_partial", "_pinged", "_skipping",
        "_taken", "_transport", "backlog", "guest", "heard",
    )  # fmt: skip

    def __init__(self, hall: Hall, first: bytes = b"") -> None:
        self.guest: Guest | None = None
        self.heard = 0.0
        """When its last line came, in seconds; 0: none has."""
        self.backlog = 0
        """See `Slow`."""
        self._taken: float | None = None  # since when it takes nothing of that; None: it takes some, as far as is known
        self._hall = hall
        self._first = first
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._clear = False  # nothing waits in the transport's buffer, and we may write past it
        self._partial = b""  # the beginning of a line
        self._skipping = False  # in a line that was too long
        self._begun: float | None = None  # since when a line has not ended
        self._held: list[AnyAsk | BadLine] | None = None  # these wait, the guest is too fast; it is not read then
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
        if sock is not None and DIRECT and transport.get_extra_info("sslcontext") is None:
            self._fd = sock.fileno()
            self._clear = True
        now = hall.now()
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
        self._waits(0)
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
            try:
                transport.write_eof()
            except OSError:  # the other side has reset it: there is nobody to wait for
                transport.close()
            else:
                transport.resume_reading()
        else:
            transport.close()

    def finish(self) -> None:
        """Close as soon as what waits is taken, whether or not the other side has closed."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._clear = False
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ out

    def write(self, raw: bytes) -> None:
        """Write now, or as soon as the other side takes it; never waits."""
        if self._clear:
            # Past the transport, whose own way to the same system call takes longer than the call.
            try:
                sent = _write(self._fd, raw)
                if sent == len(raw):
                    return
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return
            transport = self._transport
            self._clear = False
            assert transport is not None
            transport.write(memoryview(raw)[sent:])
        elif (transport := self._transport) is None or self._closing is not None or transport.is_closing():
            return
        else:
            transport.write(raw)
        waiting = transport.get_write_buffer_size()
        if waiting < self.backlog + len(raw):
            self._taken = None
        self._waits(waiting)
        if waiting > MAX_BACKLOG_BYTES:
            self.cut_slow()
        elif self._hall.backlogs.total > MAX_BACKLOGS_BYTES:
            self._hall.backlogs.relieve()
        elif not waiting and self._fd >= 0:
            self._clear = True

    def _waits(self, waiting: int) -> None:
        self._hall.backlogs.total += waiting - self.backlog
        self.backlog = waiting

    def measure(self) -> int:
        """See `Slow`."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if waiting < self.backlog:
            self._taken = None
        self._waits(waiting)
        return waiting

    def cut_slow(self) -> None:
        """See `Slow`: it does not take what is said, or too little of it."""
        log.info("guest %s does not read: cut", self.guest.number if self.guest else 0)
        self._hall.house.counts.cuts.add("too_slow")
        self._waits(0)
        self.abort()
        self._gone("too slow")

    @override
    def pause_writing(self) -> None:
        self._clear = False

    @override
    def resume_writing(self) -> None:
        self._clear = self._fd >= 0 and self._closing is None
        self._taken = None
        self._waits(0)

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
        self._hall.afterwards(partial(self._finish, self._hall.now().mono + FINISH_SECONDS))
        return True

    def _finish(self, until: float) -> None:
        transport, guest, now = self._transport, self.guest, self._hall.now().mono
        if transport is None:
            return
        if self._closing is not None:
            transport.close()  # once our reason is taken: this end of input may be older than that
            return
        if self._held:
            until = now + FINISH_SECONDS
        if guest is not None and guest.open and (self._held or ((guest.recalling or guest.waiting) and now < until)):
            again = partial(self._finish, until)
            asyncio.get_running_loop().call_later(BEHIND_WAIT, self._hall.afterwards, again)
        else:
            self.close(now, linger=False)

    def _take_bytes(self, chunk: bytes) -> None:
        self._hall.house.counts.bytes_read += len(chunk)
        if self.guest is None or not self.guest.open or self._closing is not None:
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
                self._held += decode_chunk(chunk, MAX_STRIKES) or (BLANK,)
            else:
                self._take(decode_chunk(chunk, MAX_STRIKES) or (BLANK,), now)
        if self._skipping:
            self._partial = b""
        elif len(self._partial) >= MAX_LINE_BYTES:
            self._partial, self._skipping = b"", True
            if self._held is not None:
                self._held.append(TOO_LONG)
            else:
                self._take((TOO_LONG,), now)
        if self._hall.house.busy:
            self._hall.wake()

    def _take(self, asks: Sequence[AnyAsk | BadLine], now: Now) -> list[AnyAsk | BadLine] | None:
        """Returns what must wait, which is held; None when the guest may go on."""
        assert self.guest is not None
        house = self._hall.house
        taken = house.take(self.guest, asks, now)
        if taken < len(asks):
            return self._hold(list(asks[taken:]), house.wait(self.guest, asks[taken], now))
        if self._hall.history.behind or self._hall.stopped:
            return self._hold([], BEHIND_WAIT)
        return None

    def _hold(self, asks: list[AnyAsk | BadLine], seconds: float) -> list[AnyAsk | BadLine]:
        """Read no more for so long; then go on with these. Nothing is lost, the sender's system waits."""
        assert self._transport is not None
        self._held = asks
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._go_on)
        return asks

    def _go_on(self) -> None:
        asks = self._held
        if asks is None or self.guest is None or not self.guest.open or self._transport is None:
            return
        if self._hall.stopped:
            asyncio.get_running_loop().call_later(BEHIND_WAIT, self._go_on)
            return
        self._held = None
        now = self._hall.now()
        if self._begun is not None:
            self._begun = now.mono  # we did not read: the half line is not late
        held, at = None, 0
        while at < len(asks) and held is None:
            held = self._take(asks[at : at + HELD_AT_ONCE], now)
            at += HELD_AT_ONCE
        if self._hall.house.busy:
            self._hall.wake()
        if held is not None:
            held += asks[at:]
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    # ------------------------------------------------------------ in time

    def look(self, now: Now, times: Times) -> None:
        """What is due: a ping, or the end. Called every now and then."""
        guest = self.guest
        if self._closing is not None:
            if now.mono >= self._closing + times.farewell:
                self.abort()
        elif guest is None or not guest.open or self._stuck(now.mono, times.untaken) or self._held is not None:
            return
        elif self._begun is not None and now.mono >= self._begun + times.half_line:
            self._cut("half_line", f"A line did not end within {times.half_line:.0f} s.", now)
        elif guest.modern:
            silent = now.mono - self.heard
            if silent >= times.silence:
                self._cut("silent", f"You said nothing for {times.silence:.0f} s, and did not answer a ping.", now)
            elif silent >= times.ping and not self._pinged:
                self._pinged = True
                self.write(encode_answers((Pinged(int(now.mono)),)))

    def _stuck(self, now: float, seconds: float) -> bool:
        """Whether nothing of what waits for it was taken for so long; then it is cut."""
        if self._clear or not self.measure():
            self._taken = None
            return False
        if self._taken is None:
            self._taken = now
        if now < self._taken + seconds:
            return False
        self.cut_slow()
        return True

    def _cut(self, code: str, text: str, now: Now) -> None:
        assert self.guest is not None
        self._hall.house.cut(self.guest, code, text, now)
        self._hall.wake()


def keep_alive(server: asyncio.Server) -> None:
    """Have the system notice when the other side of a connection that comes in here has vanished, also if nothing is
    said. Where it has no such settings, it takes its own time. Call it before the server listens: each connection has
    the settings of the socket that took it.
    """
    for sock in server.sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in ALIVE:
            if (option := getattr(socket, name, None)) is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)


@lru_cache(1024)  # of the many that come, most come from few places
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
