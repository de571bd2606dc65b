"""The native link over any pipe: preamble, Noise handshake, then sealed frames. Page: docs/protocol/link.md."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from sandpiper.crypto.handshake import PREAMBLE, LinkHandshake
from sandpiper.crypto.noise import MAC_BYTES, CipherState
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError
from sandpiper.net.link import MAX_OUTBOX, Pipe
from sandpiper.wire.ids import short
from sandpiper.wire.limits import HANDSHAKE_SECONDS, MAX_FRAME_BYTES, MAX_HANDSHAKE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import PathKind
    from sandpiper.crypto.identity import Identity
    from sandpiper.wire.ids import PeerKey

_HEADER = 4
_LENGTH = 2


class _Inbox:
    """Bytes of a pipe, taken in exact pieces."""

    __slots__ = ("_bytes", "_pipe", "_start")

    def __init__(self, pipe: Pipe, already: bytes = b"") -> None:
        self._pipe = pipe
        self._bytes = bytearray(already)
        self._start = 0

    async def take(self, count: int, *, begun: bool = False) -> bytes:
        """Exactly `count` bytes; on cancellation nothing is lost. `begun`: they go on where the last ones ended.

        Raises:
            LinkLost: the pipe ended first.
        """
        while len(self._bytes) - self._start < count:
            chunk = await self._pipe.read()
            if not chunk:
                cut = " in the middle of a message" if begun or len(self._bytes) > self._start else ""
                raise LinkLost(f"{self._pipe.address} closed the link{cut}.")
            if self._start:
                del self._bytes[: self._start]
                self._start = 0
            self._bytes += chunk
        end = self._start + count
        piece = bytes(self._bytes[self._start : end])
        self._start = end
        if end == len(self._bytes):
            self._bytes.clear()
            self._start = 0
        return piece


class SecureLink:
    """A `Link`: frames sealed with AES-256-GCM, each direction with its own key and counter."""

    def __init__(
        self, pipe: Pipe, inbox: _Inbox, peer: PeerKey, ciphers: tuple[CipherState, CipherState], *, dialled: bool
    ) -> None:
        self._pipe = pipe
        self._inbox = inbox
        self._sender, self._receiver = ciphers
        self._expected: bytes | None = None
        self._broken: RemoteProtocolError | None = None
        self.peer = peer
        self.path: PathKind = "lan"
        self.dialled = dialled

    @property
    def address(self) -> str:
        """The other end's address."""
        return self._pipe.address

    def offer(self, frame: bytes) -> bool:
        """See `Link.offer`."""
        if self._pipe.pending > MAX_OUTBOX:
            return False
        header = (len(frame) + MAC_BYTES).to_bytes(_HEADER, "big")
        self._pipe.write(header, self._sender.encrypt(frame, header))
        return True

    async def receive(self) -> bytes:
        """See `Link.receive`. May be cancelled and called again: nothing is lost. What follows a frame that was not
        genuine is never given out.
        """
        if self._broken is not None:
            raise self._broken
        try:
            if self._expected is None:
                self._expected = await self._inbox.take(_HEADER)
            header = self._expected
            size = int.from_bytes(header, "big")
            if not MAC_BYTES < size <= MAX_FRAME_BYTES + MAC_BYTES:
                raise RemoteProtocolError(f"{self.address} announced a frame of {size} bytes.", code="bad_frame")
            sealed = await self._inbox.take(size, begun=True)
            self._expected = None
            return self._receiver.decrypt(sealed, header)
        except RemoteProtocolError as exc:
            self._broken = exc
            self.abort()
            raise

    async def close(self) -> None:
        """See `Link.close`."""
        await self._pipe.close()

    def abort(self) -> None:
        """See `Link.abort`."""
        self._pipe.abort()


class Unwanted(LinkError):
    """Who answered is not somebody that we want a link to now; `peer` is who it is."""

    code = "unwanted"

    def __init__(self, message: str, peer: PeerKey) -> None:
        super().__init__(message)
        self.peer = peer


async def dial_secure(
    pipe: Pipe, identity: Identity, wanted: Callable[[PeerKey], bool] = lambda _peer: True
) -> SecureLink:
    """The handshake of the side that dialled; the pipe is closed when it fails. `wanted(peer)` is asked once it is
    proven who answers, and before that one takes us for linked.

    Raises:
        Unwanted: `wanted` said no.
        LinkLost: the other side went away.
        LinkTimeout: it took longer than ten seconds.
        RemoteProtocolError: the other side is not a Sandpiper peer, or is tampered with; the sentence says which.
    """
    inbox = _Inbox(pipe)
    handshake = LinkHandshake(identity, initiator=True, secret=os.urandom(64))
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            pipe.write(PREAMBLE, _framed(handshake.first()))
            await _expect_preamble(inbox, pipe)
            second = await _message(inbox, pipe)
            third = handshake.finish(second)
            if not wanted(handshake.peer):
                raise Unwanted(f"{pipe.address} is {short(handshake.peer)}, to whom no link is wanted.", handshake.peer)
            pipe.write(_framed(third))
    except TimeoutError as exc:
        pipe.abort()
        raise LinkTimeout(f"{pipe.address} did not finish the handshake in time.") from exc
    except BaseException:
        pipe.abort()
        raise
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=True)


async def accept_secure(pipe: Pipe, identity: Identity, already: bytes = b"") -> SecureLink:
    """The handshake of the side that was dialled; `already` was read from the pipe before. Raises as `dial_secure`."""
    inbox = _Inbox(pipe, already)
    handshake = LinkHandshake(identity, initiator=False, secret=os.urandom(64))
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await _expect_preamble(inbox, pipe)
            first = await _message(inbox, pipe)
            pipe.write(PREAMBLE, _framed(handshake.answer(first)))
            handshake.accept(await _message(inbox, pipe))
    except TimeoutError as exc:
        pipe.abort()
        raise LinkTimeout(f"{pipe.address} did not finish the handshake in time.") from exc
    except BaseException:
        pipe.abort()
        raise
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=False)


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(_LENGTH, "big") + message


async def _message(inbox: _Inbox, pipe: Pipe) -> bytes:
    size = int.from_bytes(await inbox.take(_LENGTH), "big")
    if size > MAX_HANDSHAKE_BYTES // 3:
        raise RemoteProtocolError(f"{pipe.address} sent a handshake message of {size} bytes.", code="handshake")
    return await inbox.take(size)


async def _expect_preamble(inbox: _Inbox, pipe: Pipe) -> None:
    """Byte by byte, so that whoever speaks something else is told at its first wrong byte."""
    got = b""
    for expected in PREAMBLE:
        got += await inbox.take(1)
        if got[-1] != expected:
            theirs, ours = got[:-1], PREAMBLE[:-3]
            if theirs.startswith(ours):
                raise RemoteProtocolError(
                    f"{pipe.address} speaks another version of the link protocol.",
                    hint="Update the older of the two.",
                    code="version",
                )
            raise RemoteProtocolError(f"{pipe.address} does not speak Sandpiper's protocol.", code="not_sandpiper")
