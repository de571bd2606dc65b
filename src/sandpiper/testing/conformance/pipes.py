"""The contract of `sandpiper.net.link.Pipe`, as tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from sandpiper.errors import LinkLost
from sandpiper.net.link import CLOSE_SECONDS, MAX_OUTBOX, READ_CHUNK
from sandpiper.testing.conformance.tools import (
    DEADLINE,
    IN_TRANSIT,
    interrupted,
    noise,
    read_exactly,
    read_to_end,
    turns,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from sandpiper.net.link import Pipe


class PipeConformance(ABC):
    """The contract of `sandpiper.net.link.Pipe`."""

    @abstractmethod
    def pipes(self) -> AbstractAsyncContextManager[tuple[Pipe, Pipe]]:
        """Two ends of a new pipe; what they need is let go of when the context ends."""

    @contextlib.asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Pipe, Pipe]]:
        """The two ends, cut when the test is over."""
        async with self.pipes() as (one, other):
            try:
                yield one, other
            finally:
                one.abort()
                other.abort()
                await turns()

    async def test_bytes_arrive_once_and_in_order(self) -> None:
        """Small and big pieces, in several parts, each way."""
        rng = random.Random(1)
        pieces = [noise(rng.choice((1, 2, 100, 5_000, READ_CHUNK - 1, READ_CHUNK + 1)), i) for i in range(60)]
        async with self.pair() as pair:
            for source, sink in (pair, pair[::-1]):
                for piece in pieces:
                    source.write(piece[:1], b"", piece[1:])
                assert await read_exactly(sink, sum(map(len, pieces))) == b"".join(pieces)

    async def test_a_read_returns_as_soon_as_there_is_something(self) -> None:
        """One byte is enough, and a piece is never larger than it must be."""
        async with self.pair() as (one, other):
            for byte in (b"a", b"b", b"c"):
                one.write(byte)
                async with asyncio.timeout(DEADLINE):
                    assert await other.read() == byte

    async def test_both_ways_at_once_under_load(self) -> None:
        """What goes one way does not wait for, or mix with, what goes the other way."""
        load = [noise(8 * READ_CHUNK, seed) for seed in (1, 2)]

        async def pour(pipe: Pipe, content: bytes) -> None:
            for start in range(0, len(content), 50_000):
                await until(lambda: pipe.pending < READ_CHUNK, "room to write")
                pipe.write(content[start : start + 50_000])

        async with self.pair() as (one, other), asyncio.TaskGroup() as tasks:
            tasks.create_task(pour(one, load[0]))
            tasks.create_task(pour(other, load[1]))
            there = tasks.create_task(read_exactly(other, len(load[0])))
            back = tasks.create_task(read_exactly(one, len(load[1])))
            assert [await there, await back] == load

    async def test_not_reading_makes_pending_grow_at_the_writer(self) -> None:
        """That is the backpressure; reading makes it shrink again, and nothing is lost."""
        piece, sent = noise(64 * 1024), 0
        async with self.pair() as (one, other):
            while one.pending <= MAX_OUTBOX:
                one.write(piece)
                sent += len(piece)
                assert sent < MAX_OUTBOX + IN_TRANSIT, "the pipe takes everything: nobody will ever notice"
                await asyncio.sleep(0)
            assert one.pending <= MAX_OUTBOX + len(piece)
            assert await read_exactly(other, sent) == piece * (sent // len(piece))
            await until(lambda: one.pending == 0, "an empty outbox")

    async def test_a_cancelled_read_loses_nothing(self) -> None:
        """Cancelled at any point, again and again."""
        rng, content, got = random.Random(2), noise(40_000), bytearray()
        async with self.pair() as (one, other):
            sent = 0
            async with asyncio.timeout(DEADLINE):
                while len(got) < len(content):
                    if sent < len(content) and rng.random() < 0.5:
                        piece = content[sent : sent + rng.randrange(1, 400)]
                        one.write(piece)
                        sent += len(piece)
                    got += await interrupted(lambda: asyncio.ensure_future(other.read()), rng) or b""
            assert bytes(got) == content

    async def test_close_sends_what_is_pending_first(self) -> None:
        """The reader gets all of it and then the end; ending the pipe once more is no error then."""
        piece, sent = noise(READ_CHUNK), 0
        async with self.pair() as (one, other):
            while not one.pending:
                one.write(piece)
                sent += 1
            reading = asyncio.ensure_future(read_to_end(other))
            async with asyncio.timeout(DEADLINE):
                await one.close()
            assert await reading == piece * sent
            async with asyncio.timeout(DEADLINE):
                assert await other.read() == b"", "the end stays the end"
            one.abort()
            await one.close()

    async def test_close_does_not_wait_for_a_stalled_reader_for_long(self) -> None:
        """It gives up after `CLOSE_SECONDS`, and then holds nothing any more."""
        async with self.pair() as (one, _):
            while one.pending <= MAX_OUTBOX:
                one.write(noise(READ_CHUNK))
            async with asyncio.timeout(CLOSE_SECONDS + DEADLINE):
                await one.close()
            assert one.pending == 0

    async def test_a_cancelled_close_holds_nothing_either(self) -> None:
        """Whoever has no time to wait for the last bytes gets rid of them."""
        async with self.pair() as (one, _):
            while one.pending <= MAX_OUTBOX:
                one.write(noise(READ_CHUNK))
            await interrupted(lambda: asyncio.ensure_future(one.close()), random.Random(3))
            await turns()
            one.abort()
            assert one.pending == 0

    async def test_abort_ends_both_sides_at_once(self) -> None:
        """Whoever waits is told, here and there."""
        async with self.pair() as (one, other):
            waiting = [asyncio.ensure_future(_ending(pipe)) for pipe in (one, other)]
            await turns()
            one.abort()
            async with asyncio.timeout(DEADLINE):
                assert await asyncio.gather(*waiting) == [True, True]
            assert one.pending == 0

    async def test_what_is_written_after_the_end_goes_nowhere(self) -> None:
        """No error, no memory: the owner learns of the end by reading."""
        for end in ("close", "abort"):
            async with self.pair() as (one, other):
                await one.close() if end == "close" else one.abort()
                for _ in range(100):
                    one.write(b"too late" * 1000)
                assert one.pending == 0
                assert await _ending(other)
                assert await _ending(one)

    async def test_ending_twice_is_no_error(self) -> None:
        """In any order."""
        for first, second in (("close", "close"), ("close", "abort"), ("abort", "close"), ("abort", "abort")):
            async with self.pair() as (one, _):
                for end in (first, second):
                    async with asyncio.timeout(DEADLINE):
                        await one.close() if end == "close" else one.abort()

    async def test_writing_to_somebody_gone_ends_in_an_end(self) -> None:
        """A writer whose other side is gone learns it by reading, and no memory is held for it."""
        async with self.pair() as (one, other):
            other.abort()
            for _ in range(200):
                one.write(noise(READ_CHUNK // 4))
                await asyncio.sleep(0)
            assert await _ending(one)
            await until(lambda: one.pending == 0, "an empty outbox")

    async def test_it_says_where_it_leads(self) -> None:
        """For people."""
        async with self.pair() as (one, other):
            assert one.address
            assert other.address


async def _ending(pipe: Pipe) -> bool:
    """Read until the end; an end that is an error is our error."""
    async with asyncio.timeout(DEADLINE):
        try:
            while await pipe.read():
                pass
        except LinkLost:
            pass
    return True
