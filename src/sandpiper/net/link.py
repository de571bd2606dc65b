"""What a pipe and a link are: the two contracts of this folder, and the bounds that every one of them keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sandpiper.core.events import PathKind
    from sandpiper.wire.ids import PeerKey

MAX_OUTBOX = 4 * 1024 * 1024  # bytes a link holds for a slow peer: eight batches of records; then it is closed
READ_CHUNK = 256 * 1024  # bytes read at once: measured best for bulk on asyncio TCP
CLOSE_SECONDS = 1.0  # how long closing waits for the last bytes to go out


class Pipe(Protocol):
    """An ordered pipe of bytes, both ways: TCP, memory, a relay's bridge. Conformance: tests/links."""

    @property
    def address(self) -> str:
        """The other end as a person would write it."""
        ...

    @property
    def pending(self) -> int:
        """Bytes written here and not yet taken by the other side or its network."""
        ...

    async def read(self) -> bytes:
        """Some bytes, as soon as there are any; empty once the other side has closed its half.

        Not reading makes the other side's `pending` grow: that is the backpressure.

        Raises:
            LinkLost: the pipe broke.
        """
        ...

    def write(self, *parts: bytes) -> None:
        """Hand over bytes, in order, at once; never waits. Writing to a closed pipe does nothing."""
        ...

    async def close(self) -> None:
        """Send what is pending for at most `CLOSE_SECONDS`, then close. May be called twice."""
        ...

    def abort(self) -> None:
        """Close now; what is pending is dropped."""
        ...


class Link(Protocol):
    """A live encrypted pipe of frames to one proven peer."""

    @property
    def peer(self) -> PeerKey:
        """Who is at the other end; proven by the handshake."""
        ...

    @property
    def path(self) -> PathKind:
        """The kind of way it takes."""
        ...

    @property
    def address(self) -> str:
        """The other end's address, for people."""
        ...

    @property
    def dialled(self) -> bool:
        """True when this side dialled."""
        ...

    def offer(self, frame: bytes) -> bool:
        """Queue one frame; never waits. False when the outbox is full: the owner closes the link, sync refills."""
        ...

    async def receive(self) -> bytes:
        """The next frame.

        Raises:
            LinkLost: the link has ended.
            RemoteProtocolError: what came is not a genuine frame; the link is closed.
        """
        ...

    async def close(self) -> None:
        """Send what is queued for at most `CLOSE_SECONDS`, then close."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...
