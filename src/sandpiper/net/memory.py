"""Pipes inside one process: for tests, bots and simulations. Same contract as TCP."""

from __future__ import annotations

import asyncio
from collections import deque

from sandpiper.errors import LinkLost
from sandpiper.net.link import CLOSE_SECONDS, READ_CHUNK

WINDOW = 256 * 1024  # bytes one side takes without reading, as a socket's buffers would


class MemoryPipe:
    """One end of a pair made by `memory_pipes`."""

    def __init__(self, name: str) -> None:
        self.address = name
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._other: MemoryPipe | None = None
        self._changed = asyncio.Event()
        self._eof = False  # the other side closed its half
        self._closed = False
        self._broken = False

    @property
    def pending(self) -> int:
        """Bytes that the other side has not taken yet."""
        return self._outbox_bytes

    async def read(self) -> bytes:
        """See `Pipe.read`."""
        while not self._inbox:
            if self._broken or self._closed:
                raise LinkLost("The link was cut.")
            if self._eof:
                return b""
            self._changed.clear()
            await self._changed.wait()
        out = bytearray()
        while self._inbox and len(out) < READ_CHUNK:
            out += self._inbox.popleft()
        self._inbox_bytes -= len(out)
        if self._other is not None:
            self._other._push()
        return bytes(out)

    def write(self, *parts: bytes) -> None:
        """See `Pipe.write`."""
        if self._closed or self._broken:
            return
        for part in parts:
            if part:
                self._outbox.append(bytes(part))
                self._outbox_bytes += len(part)
        self._push()

    def _push(self) -> None:
        other = self._other
        if other is None:
            return
        while self._outbox and other._inbox_bytes < WINDOW:
            part = self._outbox.popleft()
            self._outbox_bytes -= len(part)
            if not other._closed:
                other._inbox.append(part)
                other._inbox_bytes += len(part)
        if self._closed and not self._outbox:
            other._eof = True
        other._changed.set()
        self._changed.set()

    async def close(self) -> None:
        """See `Pipe.close`."""
        if self._closed:
            return
        self._closed = True
        self._push()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._outbox and not self._broken:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """See `Pipe.abort`."""
        self._closed = self._broken = True
        self._outbox.clear()
        self._outbox_bytes = 0
        self._changed.set()
        if self._other is not None:
            self._other._broken = True
            self._other._changed.set()


def memory_pipes(one: str = "memory:one", other: str = "memory:other") -> tuple[MemoryPipe, MemoryPipe]:
    """Two ends of one pipe; each is named after the end that it leads to."""
    a, b = MemoryPipe(other), MemoryPipe(one)
    a._other, b._other = b, a
    return a, b
