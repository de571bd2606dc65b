"""A relay that does worse than passing bytes on: whatever it does to a bridge, no link accepts anything from it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sandpiper.crypto.identity import Identity
from sandpiper.errors import LinkError, RemoteProtocolError
from sandpiper.net.relays import parse_relay
from sandpiper.net.rendezvous import bridge, new_token
from sandpiper.net.secure import Unwanted, accept_secure, dial_secure
from tests.relayed import no_proxy
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandpiper.net.rendezvous import BridgePipe
    from sandpiper.net.secure import SecureLink

ALICE, BOB, EVE = (Identity(bytes(range(at, at + 32))) for at in (0, 32, 64))
FRAMES = [bytes([number]) * 1000 for number in range(20)]
ROUGH = 300  # bytes of a side's first words, in which the handshake is
OVER = (LinkError, RemoteProtocolError)

Twist = Callable[[bytes, int, random.Random], bytes]
"""What becomes of a chunk that begins at this place of one direction."""


class Malicious:
    """Says `bridged` to every two connections, and then does to their bytes what it likes."""

    def __init__(self, twist: Twist, *, reflect: bool = False, cut_after: int = 0, slow: float = 0) -> None:
        self._twist, self._reflect, self._cut_after, self._slow = twist, reflect, cut_after, slow
        self._first: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._paired = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await reader.readline()
        if self._first is None:
            self._first = reader, writer
            return
        other_reader, other_writer = self._first
        self._first = None
        for one in (writer, other_writer):
            one.write(b'{"type":"bridged"}\n')
        ways = [(reader, other_writer), (other_reader, writer)]
        if self._reflect:
            ways = [(reader, writer), (other_reader, other_writer)]
        await asyncio.gather(*(self._pass_on(*way, random.Random(at)) for at, way in enumerate(ways)))

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, rng: random.Random) -> None:
        at = 0
        with contextlib.suppress(OSError):
            while chunk := await source.read(700):
                if self._cut_after and at + len(chunk) >= self._cut_after:
                    target.write(chunk[: self._cut_after - at])
                    break
                if self._slow:
                    await asyncio.sleep(self._slow)
                target.write(self._twist(chunk, at, rng))
                at += len(chunk)
        with contextlib.suppress(OSError, RuntimeError):
            target.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def pipes(relay: Malicious) -> AsyncIterator[tuple[BridgePipe, BridgePipe]]:
    """Both ends of a bridge through it."""
    server = await asyncio.start_server(relay.serve, HOST, 0)
    where = parse_relay(f"{HOST}:{server.sockets[0].getsockname()[1]}")
    token = new_token()
    ends = await asyncio.gather(bridge(where, token, no_proxy), bridge(where, token, no_proxy))
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.abort()
        relay.close()
        server.close()
        await asyncio.sleep(0)


async def talk(near: BridgePipe, far: BridgePipe) -> tuple[list[bytes], list[bytes], list[BaseException]]:
    """Link, and send all frames both ways: what each side accepted, and how it ended."""
    got: tuple[list[bytes], list[bytes]] = ([], [])
    ends: list[BaseException] = []

    async def side(number: int) -> None:
        try:
            link: SecureLink = await (dial_secure(near, ALICE) if number == 0 else accept_secure(far, BOB))
            assert link.peer == (BOB.key, ALICE.key)[number], "somebody else was accepted"
            for frame in FRAMES:
                link.offer(frame)
            while len(got[number]) < len(FRAMES):
                got[number].append(await link.receive())
        except OVER as exc:
            ends.append(exc)
            (near, far)[number].abort()

    await asyncio.gather(side(0), side(1))
    return got[0], got[1], ends


def untouched(chunk: bytes, at: int, rng: random.Random) -> bytes:
    return chunk


def flipped(chunk: bytes, at: int, rng: random.Random) -> bytes:
    """One bit, somewhere."""
    where = rng.randrange(len(chunk))
    return chunk[:where] + bytes([chunk[where] ^ 1 << rng.randrange(8)]) + chunk[where + 1 :]


def late_flip(chunk: bytes, at: int, rng: random.Random) -> bytes:
    return flipped(chunk, at, rng) if at > 3000 else chunk


def swapped(chunk: bytes, at: int, rng: random.Random) -> bytes:
    half = len(chunk) // 2
    return chunk[half:] + chunk[:half] if at > ROUGH else chunk


def replayed(chunk: bytes, at: int, rng: random.Random) -> bytes:
    return chunk + chunk if at > ROUGH else chunk


def dropped(chunk: bytes, at: int, rng: random.Random) -> bytes:
    return b"" if at > ROUGH and rng.random() < 0.3 else chunk


def replaced(chunk: bytes, at: int, rng: random.Random) -> bytes:
    return rng.randbytes(len(chunk)) if at > ROUGH else chunk


async def test_an_honest_one_passes_everything() -> None:
    """The measure of the tests below."""
    async with pipes(Malicious(untouched)) as (near, far):
        assert await talk(near, far) == (FRAMES, FRAMES, [])


async def test_a_slow_one_delays_and_changes_nothing() -> None:
    async with pipes(Malicious(untouched, slow=0.002)) as (near, far):
        assert await talk(near, far) == (FRAMES, FRAMES, [])


@pytest.mark.parametrize("twist", [flipped, late_flip, swapped, replayed, dropped, replaced])
async def test_bytes_that_were_tampered_with_end_both_links(twist: Twist) -> None:
    async with pipes(Malicious(twist)) as (near, far):
        one, other, ends = await talk(near, far)
    assert len(ends) == 2
    for got in (one, other):
        assert got == FRAMES[: len(got)], "something was accepted that was not sent"
        assert len(got) < len(FRAMES)


async def test_one_that_reflects_cannot_be_taken_for_the_other_side() -> None:
    async with pipes(Malicious(untouched, reflect=True)) as (near, far):
        one, other, ends = await talk(near, far)
    assert (one, other, len(ends)) == ([], [], 2)


@pytest.mark.parametrize("after", [1, 12, 60, 200, 330, 2000, 9000])
async def test_a_cut_is_an_end_and_never_a_frame(after: int) -> None:
    async with pipes(Malicious(untouched, cut_after=after)) as (near, far):
        one, other, ends = await talk(near, far)
    assert len(ends) == 2
    for got in (one, other):
        assert got == FRAMES[: len(got)]
        assert len(got) < len(FRAMES)


async def test_one_that_answers_itself_is_not_the_peer_that_is_wanted() -> None:
    """The relay links to both sides under a key of its own: whoever wants a certain peer goes."""
    listening = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    server = await asyncio.start_server(lambda *pair: listening.put_nowait(pair), HOST, 0)
    where = parse_relay(f"{HOST}:{server.sockets[0].getsockname()[1]}")
    dialling = asyncio.create_task(bridge(where, new_token(), no_proxy))
    reader, writer = await listening.get()
    await reader.readline()
    writer.write(b'{"type":"bridged"}\n')
    near = await dialling

    class Middle:
        address, pending = "eve", 0

        async def read(self) -> bytes:
            return await reader.read(65536)

        def write(self, *parts: bytes) -> None:
            writer.writelines(parts)

        async def close(self) -> None:
            writer.close()

        def abort(self) -> None:
            writer.transport.abort()

    eve, alice = await asyncio.gather(
        accept_secure(Middle(), EVE), dial_secure(near, ALICE, lambda peer: peer == BOB.key), return_exceptions=True
    )
    assert isinstance(alice, Unwanted)
    assert isinstance(eve, OVER), "before the key was proven wanted, nothing was linked"
    near.abort()
    writer.transport.abort()
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n\n\n",
        b"{}\n",
        b'{"type":"bridged"',
        b'{"type":"pong"}\n',
        b'{"type":"error","code":"nobody_came","text":"\\u001b[2Jnobody"}\n',
        b"x" * 70_000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_what_is_no_bridge_is_an_error_and_harmless(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    where = parse_relay(f"{HOST}:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(OVER) as caught:
        await bridge(where, new_token(), no_proxy)
    assert "\x1b" not in str(caught.value)
    server.close()
