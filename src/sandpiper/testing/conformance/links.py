"""The contract of `sandpiper.net.link.Link`, as tests of the native link."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from sandpiper.crypto.identity import Identity
from sandpiper.crypto.noise import MAC_BYTES
from sandpiper.errors import LinkLost, RemoteProtocolError, SandpiperError
from sandpiper.net.link import CLOSE_SECONDS, MAX_OUTBOX, READ_CHUNK, Link, Pipe
from sandpiper.net.secure import accept_secure, dial_secure
from sandpiper.testing.conformance.tools import DEADLINE, IN_TRANSIT, interrupted, noise, refused, turns, until
from sandpiper.wire.limits import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

_HEADER = 4


class Tap:
    """A pipe that a test can listen to and hold up: what `hold` catches is sent when the test says so."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.hold = False
        self.held: list[bytes] = []
        """What was written while `hold` was set, one entry a write."""

    @property
    def address(self) -> str:
        """See `Pipe.address`."""
        return self.pipe.address

    @property
    def pending(self) -> int:
        """See `Pipe.pending`."""
        return self.pipe.pending

    async def read(self) -> bytes:
        """See `Pipe.read`."""
        return await self.pipe.read()

    def write(self, *parts: bytes) -> None:
        """See `Pipe.write`."""
        if self.hold:
            self.held.append(b"".join(parts))
        else:
            self.pipe.write(*parts)

    async def close(self) -> None:
        """See `Pipe.close`."""
        await self.pipe.close()

    def abort(self) -> None:
        """See `Pipe.abort`."""
        self.pipe.abort()


class Linked:
    """Two ends of a link, and the pipes below them: `one.offer` travels through `taps[0]`."""

    def __init__(self, one: Link, other: Link, taps: tuple[Tap, Tap]) -> None:
        self.one = one
        self.other = other
        self.taps = taps

    def catch(self, *frames: bytes) -> list[bytes]:
        """What `one` would send for these frames, frame by frame, without sending it."""
        tap = self.taps[0]
        tap.hold = True
        for frame in frames:
            assert self.one.offer(frame)
        tap.hold = False
        caught, tap.held = tap.held, []
        return caught

    def inject(self, *raw: bytes) -> None:
        """Send bytes to `other` as if `one` had."""
        self.taps[0].pipe.write(*raw)


class LinkConformance(ABC):
    """The contract of `sandpiper.net.link.Link`, for the native link over some kind of pipe."""

    @abstractmethod
    def pipes(self) -> AbstractAsyncContextManager[tuple[Pipe, Pipe]]:
        """Two ends of a new pipe; what they need is let go of when the context ends."""

    @contextlib.asynccontextmanager
    async def pair(self, identities: tuple[Identity, Identity] | None = None) -> AsyncIterator[Linked]:
        """A link that has just finished its handshake, cut when the test is over."""
        mine, theirs = identities or (Identity(noise(32, 11)), Identity(noise(32, 12)))
        async with self.pipes() as ends:
            taps = Tap(ends[0]), Tap(ends[1])
            try:
                async with asyncio.timeout(DEADLINE):
                    one, other = await asyncio.gather(dial_secure(taps[0], mine), accept_secure(taps[1], theirs))
                yield Linked(one, other, taps)
            finally:
                for tap in taps:
                    tap.abort()
                await turns()

    async def test_each_end_knows_who_is_at_the_other(self) -> None:
        """Proven by the handshake, with who dialled."""
        mine, theirs = Identity(noise(32, 21)), Identity(noise(32, 22))
        async with self.pair((mine, theirs)) as linked:
            assert linked.one.peer == theirs.key
            assert linked.other.peer == mine.key
            assert (linked.one.dialled, linked.other.dialled) == (True, False)
            assert linked.one.address
            assert linked.one.path == "lan"

    async def test_frames_arrive_once_and_in_order_whatever_their_size(self) -> None:
        """From one byte to the largest, each way."""
        sizes = (1, 2, 3, 255, 256, 65_535, 65_536, MAX_FRAME_BYTES - 1, MAX_FRAME_BYTES, 1)
        frames = [noise(size, seed) for seed, size in enumerate(sizes)]
        async with self.pair() as linked:
            for source, sink in ((linked.one, linked.other), (linked.other, linked.one)):
                for frame in frames:
                    assert source.offer(frame)
                assert await _frames(sink, len(frames)) == frames

    async def test_nothing_readable_travels(self) -> None:
        """Neither frames nor keys are seen between the ends."""
        async with self.pair() as linked:
            secret = b"the words of a person" * 10
            sealed = b"".join(linked.catch(secret, secret))
            assert secret[:21] not in sealed
            half = len(sealed) // 2
            assert sealed[:half] != sealed[half:], "the same twice must not look the same"

    async def test_both_ways_at_once_under_load(self) -> None:
        """Many frames of all sizes, as fast as the outboxes take them."""
        rng = random.Random(4)
        frames = [[noise(rng.choice((10, 300, 4_000, 60_000)), n) for n in range(400)] for _ in range(2)]

        async def pour(link: Link, out: list[bytes]) -> None:
            for frame in out:
                await until(lambda: link.offer(frame), "room in the outbox")  # noqa: B023

        async with self.pair() as linked, asyncio.TaskGroup() as tasks:
            tasks.create_task(pour(linked.one, frames[0]))
            tasks.create_task(pour(linked.other, frames[1]))
            there = tasks.create_task(_frames(linked.other, 400))
            back = tasks.create_task(_frames(linked.one, 400))
            assert [await there, await back] == frames

    async def test_a_reader_that_does_not_read_fills_the_outbox_and_no_more(self) -> None:
        """`offer` says so in time, memory stays where it is, other links go on, and what was taken still arrives."""
        frame, taken = noise(64 * 1024), 0
        async with self.pair() as slow, self.pair() as lively:
            tracemalloc.start()
            try:
                while slow.one.offer(frame):
                    taken += 1
                    assert taken * len(frame) < MAX_OUTBOX + IN_TRANSIT, "the outbox has no end"
                    lively.one.offer(b"how are you?")
                    assert await _frames(lively.other, 1) == [b"how are you?"]
                assert slow.taps[0].pending <= MAX_OUTBOX + len(frame) + _HEADER + MAC_BYTES
                assert taken * len(frame) >= MAX_OUTBOX, "a burst that fits the outbox is no reason to hang up"
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(500):
                    assert not slow.one.offer(frame)
                assert tracemalloc.get_traced_memory()[0] - before < 10 * len(frame)
            finally:
                tracemalloc.stop()
            assert await _frames(slow.other, taken) == [frame] * taken
            await until(lambda: slow.one.offer(b"again"), "room in the outbox")
            assert await _frames(slow.other, 1) == [b"again"]

    async def test_a_silent_peer_is_waited_for_without_an_error(self) -> None:
        """Silence is keep-alive's business: a link never ends by itself."""
        async with self.pair() as linked:
            waiting = asyncio.ensure_future(linked.one.receive())
            await turns(200)
            assert not waiting.done()
            assert linked.other.offer(b"at last")
            async with asyncio.timeout(DEADLINE):
                assert await waiting == b"at last"

    async def test_a_stalled_peer_does_not_hold_up_closing(self) -> None:
        """It never reads, it never writes; we are gone soon all the same."""
        async with self.pair() as linked:
            while linked.one.offer(noise(READ_CHUNK)):
                pass
            async with asyncio.timeout(CLOSE_SECONDS + DEADLINE):
                await linked.one.close()
            assert linked.taps[0].pending == 0

    async def test_a_cancelled_receive_loses_and_doubles_nothing(self) -> None:
        """Cancelled at any point: before, in the middle of and after a header or a body."""
        rng = random.Random(5)
        frames = [noise(rng.choice((1, 30, 700, 5_000)), n) for n in range(120)]
        async with self.pair() as linked:
            raw = b"".join(linked.catch(*frames))
            got: list[bytes] = []
            async with asyncio.timeout(DEADLINE):
                while len(got) < len(frames):
                    if raw and rng.random() < 0.7:
                        size = rng.choice((1, 3, 5, 40, 900))
                        linked.inject(raw[:size])
                        raw = raw[size:]
                    frame = await interrupted(lambda: asyncio.ensure_future(linked.other.receive()), rng)
                    if frame is not None:
                        got.append(frame)
            assert got == frames

    async def test_close_sends_what_was_offered_first(self) -> None:
        """The last words arrive, then the end."""
        frames = [noise(50_000, n) for n in range(40)]
        async with self.pair() as linked:
            for frame in frames:
                assert linked.one.offer(frame)
            reading = asyncio.ensure_future(_frames(linked.other, len(frames)))
            async with asyncio.timeout(DEADLINE):
                await linked.one.close()
            assert await reading == frames
            with refused(LinkLost):
                await _frames(linked.other, 1)

    async def test_an_end_between_frames_is_a_lost_link(self) -> None:
        """The other side has closed its half: nothing is missing."""
        async with self.pair() as linked:
            linked.inject(*linked.catch(b"whole"))
            await linked.taps[0].pipe.close()
            assert await _frames(linked.other, 1) == [b"whole"]
            with refused(LinkLost):
                await _frames(linked.other, 1)

    async def test_an_end_in_the_middle_of_a_frame_is_told_apart(self) -> None:
        """Something is missing, and the error says so, wherever it was cut."""
        async with self.pair() as linked:
            size = len(linked.catch(b"cut off")[0])
        for cut in (1, _HEADER - 1, _HEADER, _HEADER + 1, size - 1):
            async with self.pair() as linked:
                linked.inject(linked.catch(b"cut off")[0][:cut])
                await linked.taps[0].pipe.close()
                with refused(LinkLost, saying="in the middle"):
                    await _frames(linked.other, 1)

    async def test_an_oversized_frame_is_refused_when_it_is_announced(self) -> None:
        """No byte of it is waited for or held; the link is closed, and the other side learns it."""
        for size in (MAX_FRAME_BYTES + MAC_BYTES + 1, 2**31, 2**32 - 1, MAC_BYTES, 1, 0):
            async with self.pair() as linked:
                linked.inject(size.to_bytes(_HEADER, "big"))
                with refused(RemoteProtocolError, code="bad_frame"):
                    await _frames(linked.other, 1)
                await self._closed(linked)

    async def test_a_garbled_frame_is_refused_and_the_link_closed(self) -> None:
        """Each byte counts: one flipped bit anywhere behind the length is noticed."""
        async with self.pair() as linked:
            size = len(linked.catch(b"genuine")[0])
        for place in range(_HEADER, size):
            async with self.pair() as linked:
                linked.inject(*linked.catch(b"before"))
                garbled = bytearray(linked.catch(b"genuine")[0])
                garbled[place] ^= 1 << place % 8
                linked.inject(bytes(garbled))
                assert await _frames(linked.other, 1) == [b"before"]
                with refused(RemoteProtocolError, code="tampered"):
                    await _frames(linked.other, 1)
                await self._closed(linked)

    async def test_a_changed_length_is_refused(self) -> None:
        """The length is not secret, and yet covered: frames cannot be cut or joined on their way."""
        async with self.pair() as linked:
            raw = linked.catch(b"a frame of several bytes")[0]
            shorter = len(raw) - _HEADER - 1
            linked.inject(shorter.to_bytes(_HEADER, "big"), raw[_HEADER:])
            with refused(RemoteProtocolError, code="tampered"):
                await _frames(linked.other, 1)
            await self._closed(linked)

    async def test_replayed_frames_are_refused(self) -> None:
        """A frame is taken once."""
        async with self.pair() as linked:
            raw = linked.catch(b"pay bob")
            linked.inject(*raw, *raw)
            assert await _frames(linked.other, 1) == [b"pay bob"]
            with refused(RemoteProtocolError, code="tampered"):
                await _frames(linked.other, 1)
            await self._closed(linked)

    async def test_reordered_and_dropped_frames_are_refused(self) -> None:
        """Only the very next frame is taken."""
        for order, genuine in (((1, 0), []), ((1,), []), ((0, 2, 1), [b"first"])):
            async with self.pair() as linked:
                raws = linked.catch(b"first", b"second", b"third")
                linked.inject(*(raws[n] for n in order))
                assert await _frames(linked.other, len(genuine)) == genuine
                with refused(RemoteProtocolError, code="tampered"):
                    await _frames(linked.other, 1)
                await self._closed(linked)

    async def test_frames_of_another_link_or_of_the_other_direction_are_refused(self) -> None:
        """Each direction of each link has a key of its own, also between the same two peers."""
        async with self.pair() as linked, self.pair() as twin:
            linked.inject(*twin.catch(b"from elsewhere"))
            with refused(RemoteProtocolError, code="tampered"):
                await _frames(linked.other, 1)
            twin.taps[1].pipe.write(*twin.catch(b"reflected"))
            with refused(RemoteProtocolError, code="tampered"):
                await _frames(twin.one, 1)

    async def test_use_after_the_end_is_an_ordinary_end(self) -> None:
        """Offering does nothing and receiving says that the link is lost; in any order, also twice."""
        for ends in (("close",), ("abort",), ("close", "close"), ("close", "abort"), ("abort", "close")):
            async with self.pair() as linked:
                for end in ends:
                    async with asyncio.timeout(DEADLINE):
                        await linked.one.close() if end == "close" else linked.one.abort()
                for _ in range(100):
                    linked.one.offer(b"too late" * 1000)
                assert linked.taps[0].pending == 0
                for _ in range(2):
                    with refused(LinkLost):
                        await _frames(linked.one, 1)
                    with refused(LinkLost):
                        await _frames(linked.other, 1)

    async def test_abort_wakes_whoever_waits(self) -> None:
        """At both ends."""
        async with self.pair() as linked:
            waiting = [asyncio.ensure_future(link.receive()) for link in (linked.one, linked.other)]
            await turns()
            linked.one.abort()
            async with asyncio.timeout(DEADLINE):
                ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(end) for end in ends] == [LinkLost, LinkLost]

    async def _closed(self, linked: Linked) -> None:
        """`other` has closed the link because of what came: both ends get nothing more out of it."""
        with refused(SandpiperError):
            await _frames(linked.other, 1)
        with refused(LinkLost):
            await _frames(linked.one, 1)
        linked.other.offer(b"too late")
        assert linked.taps[1].pending == 0


async def _frames(link: Link, count: int) -> list[bytes]:
    async with asyncio.timeout(DEADLINE):
        return [await link.receive() for _ in range(count)]
