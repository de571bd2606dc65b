"""A connection that asks to become a WebSocket: inside its binary frames is what the port takes without them.

RFC 6455; the frames are read and written by `websockets`, without its sockets. Frames have no meaning of their own:
what they hold is one stream of bytes, however it is cut.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from typing_extensions import override
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.hub.door import Door

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 256 * 1024  # of others: a frame is held until it is whole; programs of ours send 64 KiB
FRAME_BYTES = 64 * 1024  # of ours


class FramedTransport(asyncio.Transport):
    """What the inner protocol takes for its connection. It has no socket that one could write past it."""

    def __init__(self, outer: asyncio.Transport, layer: WebSocketLayer) -> None:
        super().__init__()
        self._outer = outer
        self._layer = layer

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._outer.get_extra_info(name, default) if name in ("peername", "sockname") else default

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._layer.inner = cast("asyncio.BufferedProtocol", protocol)

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._layer.inner

    @override
    def is_closing(self) -> bool:
        return self._outer.is_closing()

    @override
    def close(self) -> None:
        self._layer.goodbye()
        self._outer.close()

    @override
    def abort(self) -> None:
        self._outer.abort()

    @override
    def is_reading(self) -> bool:
        return not self._layer.paused

    @override
    def pause_reading(self) -> None:
        self._layer.paused = True
        self._outer.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._layer.resume()

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._outer.set_write_buffer_limits(high, low)

    @override
    def get_write_buffer_size(self) -> int:
        return self._outer.get_write_buffer_size()

    @override
    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._outer.get_write_buffer_limits()

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for at in range(0, len(view), FRAME_BYTES):
            self._layer.send(bytes(view[at : at + FRAME_BYTES]))

    @override
    def can_write_eof(self) -> bool:
        return False


class WebSocketLayer(asyncio.BufferedProtocol):
    """Between the connection and what is inside its frames."""

    def __init__(self, make_inner: Callable[[], Door], buffer: memoryview) -> None:
        """`buffer` is shared with other connections."""
        self.inner: asyncio.BufferedProtocol
        self.paused = False
        self._make_inner = make_inner
        self._buffer = buffer
        self._held = bytearray()  # inside frames that came while the inner side was not to be read: one read at most
        # None: nobody who says of which web page it is. Browsers always do, and whose page it is nobody knows here.
        self._frames = ServerProtocol(origins=[None], max_size=MAX_FRAME_BYTES)
        self._outer: asyncio.Transport
        self._open = False

    def begin(self, transport: asyncio.Transport, first: bytes) -> None:
        """The connection has asked with `first`, a whole request and maybe more."""
        self._outer = transport
        self._frames.receive_data(first)
        events = self._frames.events_received()
        if not events or not isinstance(events[0], Request):
            transport.close()
            return
        response = self._frames.accept(events[0])
        self._frames.send_response(response)
        self._write()
        if response.status_code != 101:
            transport.close()
            return
        self._open = True
        framed = FramedTransport(transport, self)
        inner = self._make_inner()
        self.inner = inner
        inner.connection_made(framed)
        self._deliver(events[1:])

    # ------------------------------------------------------------ out

    def send(self, data: bytes) -> None:
        """These bytes as one frame."""
        if self._frames.state is State.OPEN:
            self._frames.send_binary(data)
            self._write()

    def goodbye(self) -> None:
        """A closing frame."""
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
            self._write()

    def _write(self) -> None:
        raw = b"".join(self._frames.data_to_send())
        if raw and not self._outer.is_closing():
            self._outer.write(raw)

    # ------------------------------------------------------------ in

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._open:
            self._frames.receive_data(bytes(self._buffer[:nbytes]))
            self._deliver(self._frames.events_received())

    def _deliver(self, events: Sequence[object]) -> None:
        for event in events:
            match event:
                case Frame(opcode=Opcode.BINARY | Opcode.CONT, data=data):
                    self._held += data
                case Frame(opcode=Opcode.TEXT):
                    self._frames.fail(1003, "binary frames only")
                case _:
                    pass
        self._pass_on()
        self._write()  # answers to pings, to a goodbye, and to what is no frame
        if self._frames.close_expected() and not self._outer.is_closing():
            self._outer.close()

    def _pass_on(self) -> None:
        """To the inner side, as if it had just been read; that may become another protocol meanwhile, or stop."""
        while self._held and not self.paused and not self._outer.is_closing():
            buffer = memoryview(self.inner.get_buffer(len(self._held)))
            count = min(len(buffer), len(self._held))
            buffer[:count] = self._held[:count]
            del self._held[:count]
            self.inner.buffer_updated(count)

    def resume(self) -> None:
        """The inner side is read again."""
        self.paused = False
        asyncio.get_running_loop().call_soon(self._resumed)

    def _resumed(self) -> None:
        if self.paused or self._outer.is_closing():
            return
        self._pass_on()
        if not self.paused and not self._outer.is_closing():
            self._outer.resume_reading()

    # ------------------------------------------------------------ the connection

    @override
    def pause_writing(self) -> None:
        if self._open:
            self.inner.pause_writing()

    @override
    def resume_writing(self) -> None:
        if self._open:
            self.inner.resume_writing()

    @override
    def eof_received(self) -> bool:
        if self._open:
            self.inner.eof_received()
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._open:
            self._open = False
            self.inner.connection_lost(exc)
