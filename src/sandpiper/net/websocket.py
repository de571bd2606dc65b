"""A pipe inside a WebSocket's binary frames, as seen from the side that dials. RFC 6455, by `websockets` without IO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI

from sandpiper.errors import DialFailed, LinkLost

if TYPE_CHECKING:
    from sandpiper.net.relays import RelayPipe

FRAME_BYTES = 64 * 1024
MAX_FRAME_BYTES = 1024 * 1024  # of the other side; relays of ours send 64 KiB


class WebSocketPipe:
    """A `Pipe` in frames."""

    def __init__(self, pipe: RelayPipe, frames: ClientProtocol) -> None:
        self.address = pipe.address
        self._pipe = pipe
        self._frames = frames

    @property
    def pending(self) -> int:
        """See `Pipe.pending`."""
        return self._pipe.pending

    async def read(self) -> bytes:
        """See `Pipe.read`."""
        while True:
            got = bytearray()
            for event in self._frames.events_received():
                if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                    got += event.data
            self._flush()
            if got:
                return bytes(got)
            if self._frames.state is not State.OPEN:
                if self._frames.parser_exc is not None:
                    raise LinkLost(f"{self.address} does not speak WebSocket as it should.")
                return b""
            chunk = await self._pipe.read()
            if chunk:
                self._frames.receive_data(chunk)
            else:
                self._frames.receive_eof()

    def write(self, *parts: bytes) -> None:
        """See `Pipe.write`."""
        whole = b"".join(parts)
        for at in range(0, len(whole), FRAME_BYTES):
            if self._frames.state is State.OPEN:
                self._frames.send_binary(whole[at : at + FRAME_BYTES])
        self._flush()

    async def close(self) -> None:
        """See `Pipe.close`."""
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
            self._flush()
        await self._pipe.close()

    def abort(self) -> None:
        """See `Pipe.abort`."""
        self._pipe.abort()

    def _flush(self) -> None:
        raw = b"".join(self._frames.data_to_send())
        if raw:
            self._pipe.write(raw)


async def upgrade(pipe: RelayPipe, authority: str, path: str) -> WebSocketPipe:
    """Ask for a WebSocket over a pipe that nothing was said on.

    Raises:
        DialFailed: the other side has none there.
    """
    host, _, port = authority.rpartition(":")
    # Whether there is TLS below changes nothing in the frames; the name goes into `Host`.
    uri = WebSocketURI(secure=False, host=host.strip("[]"), port=int(port), path=path, query="")
    frames = ClientProtocol(uri, max_size=MAX_FRAME_BYTES)
    request = frames.connect()
    frames.send_request(request)
    pipe.write(b"".join(frames.data_to_send()))
    try:
        while frames.handshake_exc is None:
            chunk = await pipe.read()
            if chunk:
                frames.receive_data(chunk)
            else:
                frames.receive_eof()
            if frames.state is State.OPEN:
                events = frames.events_received()
                assert isinstance(events[0], Response)
                framed = WebSocketPipe(pipe, frames)
                frames.events.extend(events[1:])  # what came right behind the answer
                return framed
    except (LinkLost, WebSocketException) as exc:
        raise DialFailed(f"{pipe.address} broke off.") from exc
    raise DialFailed(
        f"There is no relay at {pipe.address}: it is no WebSocket.", hint="Check the address, and that it is a relay."
    ) from frames.handshake_exc
