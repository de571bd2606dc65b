"""One of the two connections of a bridge: what it reads goes to the other one, as fast as that one takes it."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Protocol, cast

from typing_extensions import override

from sandpiper.hub.chat import DIRECT
from sandpiper.hub.rendezvous.limits import MAX_EARLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class Yard(Protocol):
    """What halves share."""

    buffer: memoryview
    """What is read goes here first, and from here to the other side."""
    now: Callable[[], float]
    """This moment, in seconds."""

    def relayed(self, half: Half, count: int) -> float:
        """So many bytes came from it; for how many seconds it shall not be read."""
        ...

    def ended(self, half: Half) -> None:
        """Its connection is gone."""
        ...


class Half(asyncio.BufferedProtocol):
    """A connection that waits for its other half, and then passes bytes to it.

    A socket takes bytes straight from the shared buffer. What it does not take is held, at most one read's worth, and
    nothing more is read from the other side until it is gone: so each bridge holds `BRIDGE_CHUNK` bytes each way at
    most, however slow a side is.
    """

    __slots__ = (
        "_clear", "_early", "_fd", "_paused", "_resume", "_transport", "_yard", "address", "closing_since", "ended",
        "heard", "other", "token",
    )  # fmt: skip

    def __init__(self, yard: Yard, token: bytes, address: str, early: bytes) -> None:
        self.token = token
        self.address = address
        """By which it is counted; empty: not at all."""
        self.other: Half | None = None
        self.heard = yard.now()
        """When it last sent something; before that, when it came."""
        self.ended = False
        """It sends nothing more."""
        self.closing_since = 0.0
        self._yard = yard
        self._early = early
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._clear = True  # nothing waits to be taken by this side
        self._paused = False
        self._resume: asyncio.TimerHandle | None = None  # it was too fast

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=0)  # "paused" means that anything waits at all
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if DIRECT and transport.get_extra_info("sslcontext") is None and not transport.get_write_buffer_size():
                self._fd = sock.fileno()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = -1
        self._transport = None
        if self._resume is not None:
            self._resume.cancel()
        self._yard.ended(self)

    # ------------------------------------------------------------ the pair

    def splice(self, other: Half, first: bytes) -> None:
        """Its other half is there: tell it `first`, and what the other one has sent already."""
        self.other = other
        self._take(memoryview(first + other._early))
        other._early = b""
        self.heard = self._yard.now()
        self._flow()
        other._flow()

    def tell_and_close(self, raw: bytes) -> None:
        """It waits in vain."""
        if self._transport is not None:
            self._transport.write(raw)
        self.close()

    def close(self) -> None:
        """Close once what waits was taken."""
        self.closing_since = self.closing_since or self._yard.now()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def held(self) -> int:
        """Bytes that this side has not taken yet."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return waiting + len(self._early)

    # ------------------------------------------------------------ in

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        if self.other is None:
            return self._yard.buffer[: max(1, MAX_EARLY_BYTES - len(self._early))]
        return self._yard.buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        other = self.other
        if other is None:
            self._early += bytes(self._yard.buffer[:nbytes])
            self._flow()
            return
        self.heard = self._yard.now()
        wait = self._yard.relayed(self, nbytes)
        if not other._take(self._yard.buffer[:nbytes]) or wait:
            if wait and self._resume is None:
                self._resume = asyncio.get_running_loop().call_later(wait, self._may_go_on)
            self._flow()

    @override
    def eof_received(self) -> bool:
        """The other one may still send what it has, where connections can be closed halfway."""
        self.ended = True
        other, own = self.other, self._transport
        if other is None or own is None or other._transport is None:
            return False
        if not own.can_write_eof() or not other._transport.can_write_eof() or other.ended:
            other.close()
            return False
        if not other._transport.is_closing():
            other._transport.write_eof()
        return True

    def _may_go_on(self) -> None:
        self._resume = None
        self._flow()

    def _flow(self) -> None:
        """Read it, or not."""
        if self.other is None:
            pause = len(self._early) >= MAX_EARLY_BYTES
        else:
            pause = self._resume is not None or not self.other._clear
        transport = self._transport
        if pause == self._paused or transport is None or transport.is_closing():
            return
        self._paused = pause
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # ------------------------------------------------------------ out

    def _take(self, raw: memoryview) -> bool:
        """Have these bytes sent; False when some of them must wait."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True  # it is gone, and its end ends the other side
        if self._fd >= 0 and self._clear:
            try:
                sent = os.write(self._fd, raw)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return True
            if sent == len(raw):
                return True
            raw = raw[sent:]
        transport.write(bytes(raw))  # a copy: the buffer is read into again
        self._clear = not transport.get_write_buffer_size()
        return self._clear

    @override
    def pause_writing(self) -> None:
        self._clear = False

    @override
    def resume_writing(self) -> None:
        self._clear = True
        if self.other is not None:
            self.other._flow()
