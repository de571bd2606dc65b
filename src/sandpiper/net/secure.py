"""The native link over any pipe: preamble, Noise handshake, then sealed frames. Page: docs/protocol/link.md."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sandpiper.crypto.handshake import MODE_XXPSK0, PREAMBLE, LinkHandshake
from sandpiper.crypto.noise import MAC_BYTES, CipherState, HandshakeFailed
from sandpiper.crypto.pake import ENTROPY_BYTES, Pake, Secret, stretch
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError
from sandpiper.net.link import MAX_OUTBOX, Pipe
from sandpiper.wire.admission import (
    PAKE_BYTES,
    NotAdmitted,
    Unproven,
    decode_answer,
    decode_opening,
    encode_answer,
    encode_opening,
    encode_refusal,
    unwrap,
    wrap,
)
from sandpiper.wire.ids import short
from sandpiper.wire.limits import HANDSHAKE_SECONDS, MAX_FRAME_BYTES, MAX_HANDSHAKE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sandpiper.core.admission import Attempt
    from sandpiper.core.events import PathKind
    from sandpiper.crypto.codes import Code
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
        self,
        pipe: Pipe,
        inbox: _Inbox,
        peer: PeerKey,
        ciphers: tuple[CipherState, CipherState],
        *,
        dialled: bool,
        path: PathKind = "lan",
    ) -> None:
        self._pipe = pipe
        self._inbox = inbox
        self._sender, self._receiver = ciphers
        self._expected: bytes | None = None
        self._broken: RemoteProtocolError | None = None
        self.peer = peer
        self.path = path
        self.dialled = dialled

    @property
    def address(self) -> str:
        """The other end's address."""
        return self._pipe.address

    @property
    def pending(self) -> int:
        """See `Pipe.pending`."""
        return self._pipe.pending

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
    pipe: Pipe,
    identity: Identity,
    wanted: Callable[[PeerKey], bool] = lambda _peer: True,
    *,
    path: PathKind = "lan",
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
    async with _shaking_hands(pipe):
        pipe.write(PREAMBLE, _framed(handshake.first()))
        await _expect_preamble(inbox, pipe)
        second = await _message(inbox, pipe)
        third = handshake.finish(second)
        if not wanted(handshake.peer):
            raise Unwanted(f"{pipe.address} is {short(handshake.peer)}, to whom no link is wanted.", handshake.peer)
        pipe.write(_framed(third))
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=True, path=path)


async def accept_secure(pipe: Pipe, identity: Identity, already: bytes = b"", *, path: PathKind = "lan") -> SecureLink:
    """The handshake of the side that was dialled; `already` was read from the pipe before. Raises as `dial_secure`."""
    inbox = _Inbox(pipe, already)
    handshake = LinkHandshake(identity, initiator=False, secret=os.urandom(64))
    async with _shaking_hands(pipe):
        await _expect_preamble(inbox, pipe)
        first = await _message(inbox, pipe)
        pipe.write(PREAMBLE, _framed(handshake.answer(first)))
        handshake.accept(await _message(inbox, pipe))
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=False, path=path)


# ---------------------------------------------------------------- links by code (docs/protocol/admission.md)


class Answerer(Protocol):
    """Who decides about joiners on a member's side (`sandpiper.core.admission.OpenCodes`, with the time put in)."""

    def begin(self, nameplate: str) -> Attempt:
        """Somebody wants to join with the code of this nameplate.

        Raises:
            NotAdmitted: it cannot be tried now.
        """
        ...

    def judge(self, attempt: Attempt) -> None:
        """The joiner's proof has come, and has not been looked at.

        Raises:
            NotAdmitted: it must not be looked at any more.
        """
        ...

    def wrong(self, attempt: Attempt) -> None:
        """The joiner did not know the words; called before it is told."""
        ...

    def proven(self, attempt: Attempt, peer: PeerKey) -> None:
        """The joiner knows the words, and is `peer`."""
        ...

    def ended(self, attempt: Attempt) -> None:
        """The handshake ended before anything was known."""
        ...


class Knock(NamedTuple):
    """Somebody who says to know a code with our nameplate. Nothing of the words is shown yet."""

    pipe: Pipe
    inbox: _Inbox
    opening: bytes
    answer: bytes
    until: float
    """When the handshake must be done, on the event loop's clock."""


class Ahead(NamedTuple):
    """What a member answers to whoever comes with a code. Its attempt is to be ended by whoever has this."""

    attempt: Attempt
    pake: Pake
    answer: bytes

    @property
    def said(self) -> bytes:
        """To be written to the joiner, who may not have said its opening yet."""
        return PREAMBLE + _framed(self.answer)


def _opening(nameplate: str) -> bytes:
    return bytes((MODE_XXPSK0,)) + encode_opening(nameplate)


def knocking(nameplate: str) -> bytes:
    """What `knock` says."""
    return PREAMBLE + _framed(_opening(nameplate))


async def knock(pipe: Pipe, nameplate: str, *, said: bool = False) -> Knock:
    """Ask whoever is there whether it answers for a code, before it is shown anything of the words. The pipe is closed
    when that fails. `said`: `knocking` was said over the pipe already.

    Raises:
        NotAdmitted: it says no.
        LinkLost, LinkTimeout: it is gone, or too slow.
        RemoteProtocolError: it is no Sandpiper member.
    """
    inbox = _Inbox(pipe)
    until = asyncio.get_running_loop().time() + HANDSHAKE_SECONDS
    async with _shaking_hands(pipe, until):
        if not said:
            pipe.write(knocking(nameplate))
        await _expect_preamble(inbox, pipe)
        answer = await _message(inbox, pipe)
        decode_answer(answer)
    return Knock(pipe, inbox, _opening(nameplate), answer, until)


async def joiners_half(code: Code) -> Pake:
    """What `prove` shows of a code, if the room has no password; to be had while nobody waits for it. For one try."""
    return await _pake(Secret(code.words), code.nameplate, joiner=True)


async def secure_as_joiner(
    pipe: Pipe,
    identity: Identity,
    code: Code,
    password: str = "",
    *,
    path: PathKind = "relay",
    said: bool = False,
    half: Awaitable[Pake] | None = None,
) -> SecureLink:
    """The handshake of whoever has a code: `knock` (`said` as there), then `prove`, whose errors it raises."""
    return await prove(await knock(pipe, code.nameplate, said=said), identity, code, password, path=path, half=half)


async def prove(
    knocked: Knock,
    identity: Identity,
    code: Code,
    password: str = "",
    *,
    path: PathKind = "relay",
    half: Awaitable[Pake] | None = None,
) -> SecureLink:
    """Show that we know the code, to whoever says to know it; `password` is the room's, if it has one. The pipe is
    closed when it fails. `half`: that of `joiners_half`, which was shown to nobody.

    Raises:
        NotAdmitted: the member said no, or did not know the same words (`wrong_code`); exit codes are in the error.
        Unproven: the other side broke off after it was shown what it could try one guess on: count these.
        LinkLost, LinkTimeout: it was gone, or too slow, before that.
        RemoteProtocolError: it is no Sandpiper member.
    """
    pipe, inbox, opening, answer, until = knocked
    shown = False
    try:
        async with _shaking_hands(pipe, until):
            theirs, salt = decode_answer(answer)
            if bool(salt) != bool(password):
                raise NotAdmitted("password_needed" if salt else "no_password")
            lock = await asyncio.to_thread(stretch, password, salt) if salt else b""
            pake = await (half if half and not salt else _pake(Secret(code.words, lock), code.nameplate, joiner=True))
            psk = await asyncio.to_thread(pake.key, theirs)
            context = _framed(opening) + _framed(answer) + pake.message
            handshake = LinkHandshake(identity, initiator=True, secret=os.urandom(64), psk=psk, context=context)
            shown = True
            pipe.write(_framed(pake.message + handshake.first()))
            third = _finish(handshake, await _message(inbox, pipe))
            pipe.write(_framed(third))
    except (LinkLost, LinkTimeout, NotAdmitted) as exc:
        if not shown or exc.code == "wrong_code":
            raise
        # A member that was shown the words proves them, or says that they are wrong. Who does neither may have guessed.
        raise Unproven(
            f"{pipe.address} broke off without showing that it knows the code.", hint="Try again, a few times at most."
        ) from exc
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=True, path=path)


async def ahead(answerer: Answerer, nameplate: str) -> Ahead:
    """The answer to somebody who is on its way with the code of this nameplate: said at once, it saves a round trip.

    Raises:
        NotAdmitted: there is none now.
    """
    attempt = answerer.begin(nameplate)
    try:
        pake = await _pake(attempt.secret, nameplate, joiner=False)
    except BaseException:
        answerer.ended(attempt)
        raise
    return Ahead(attempt, pake, encode_answer(pake.message, attempt.salt))


async def secure_as_member(
    pipe: Pipe,
    identity: Identity,
    answerer: Answerer,
    already: bytes = b"",
    *,
    path: PathKind = "relay",
    number: str = "",
    answered: Ahead | None = None,
) -> tuple[SecureLink, Attempt]:
    """The handshake of a member with whoever comes with a code; `already` was read from the pipe before, and `answered`
    was said over it. With a `number`, that of no other nameplate. The joiner is told why it is refused; the pipe is
    closed when it fails. The link is the joiner's: nobody is admitted by it yet.

    Raises:
        NotAdmitted: the joiner was refused; `wrong_code` when it did not know the words.
        LinkLost, LinkTimeout, RemoteProtocolError: as `dial_secure`.
    """
    inbox = _Inbox(pipe, already)
    async with _shaking_hands(pipe):
        try:
            await _expect_preamble(inbox, pipe)
            opening = await _message(inbox, pipe)
            if opening[:1] != bytes((MODE_XXPSK0,)):
                raise HandshakeFailed("The other side does not come with a code.", code="mode")
            asked = answered
            try:
                nameplate = decode_opening(opening[1:])
                if number and nameplate != number:
                    raise HandshakeFailed("The other side comes with another number than it asked with.", code="number")
                answered = answered or await ahead(answerer, nameplate)
            except NotAdmitted as exc:
                pipe.write(PREAMBLE if asked is None else b"")
                await _refuse(pipe, exc)
                raise
            if asked is None:
                pipe.write(answered.said)
            attempt, pake, answer = answered
            proof = await _message(inbox, pipe)
            context = _framed(opening) + _framed(answer) + proof[:PAKE_BYTES]
            try:
                answerer.judge(attempt)
                psk = await asyncio.to_thread(pake.key, proof[:PAKE_BYTES])
                handshake = LinkHandshake(identity, initiator=False, secret=os.urandom(64), psk=psk, context=context)
                second = handshake.answer(proof[PAKE_BYTES:])
            except NotAdmitted as exc:
                await _refuse(pipe, exc)
                raise
            except HandshakeFailed as exc:
                answerer.wrong(attempt)
                await _refuse(pipe, NotAdmitted("wrong_code"))
                raise NotAdmitted("wrong_code") from exc
            pipe.write(_framed(wrap(second)))
            handshake.accept(await _message(inbox, pipe))
            answerer.proven(attempt, handshake.peer)
        except BaseException:
            if answered is not None:
                answerer.ended(answered.attempt)
            raise
    return SecureLink(pipe, inbox, handshake.peer, handshake.ciphers(), dialled=False, path=path), attempt


async def _pake(secret: Secret, nameplate: str, *, joiner: bool) -> Pake:
    """On a thread: it is some 10 ms of computing."""
    return await asyncio.to_thread(Pake, secret, nameplate, joiner=joiner, entropy=os.urandom(ENTROPY_BYTES))


async def _refuse(pipe: Pipe, why: NotAdmitted) -> None:
    pipe.write(_framed(encode_refusal(why.code)))
    await pipe.close()


def _finish(handshake: LinkHandshake, second: bytes) -> bytes:
    """Message 3, from what a member says to our message 1."""
    try:
        return handshake.finish(unwrap(second))
    except HandshakeFailed as exc:
        if exc.code == "bad_proof":  # it knows the words, and is not who it says it is
            raise
        raise NotAdmitted("wrong_code") from exc


# ---------------------------------------------------------------- what all handshakes share


def comes_with_code(begun: bytes) -> bool | None:
    """Whether a caller's first bytes begin a handshake by code; None: there are too few of them to tell."""
    at = len(PREAMBLE) + _LENGTH
    if not PREAMBLE.startswith(begun[: len(PREAMBLE)]):
        return False
    return None if len(begun) <= at else begun[at] == MODE_XXPSK0


@contextlib.asynccontextmanager
async def _shaking_hands(pipe: Pipe, until: float | None = None) -> AsyncIterator[None]:
    """Inside, ten seconds run, or the time until `until`; whatever fails, the pipe is closed."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS) if until is None else asyncio.timeout_at(until):
            yield
    except TimeoutError as exc:
        pipe.abort()
        raise LinkTimeout(f"{pipe.address} did not finish the handshake in time.") from exc
    except BaseException:
        pipe.abort()
        raise


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
