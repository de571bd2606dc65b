"""What conformance tests wait with, and how they say what must be refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandpiper.errors import SandpiperError
    from sandpiper.net.link import Pipe

DEADLINE = 20.0  # seconds that any one wait may take: far more than a slow machine needs
IN_TRANSIT = 32 * 1024 * 1024  # bytes that a network may hold between two ends: buffers of systems, not ours

_T = TypeVar("_T")


@contextlib.contextmanager
def refused(kind: type[SandpiperError], saying: str = "", code: str = "") -> Iterator[None]:
    """The block must raise this error, with these words in its text and this code."""
    caught: SandpiperError | None = None
    try:
        yield
    except kind as exc:
        caught = exc
    assert caught is not None, f"{kind.__name__} was not raised"
    assert saying in str(caught), f"{caught!r} does not say {saying!r}"
    assert not code or caught.code == code, f"{caught!r} has the code {caught.code!r}, not {code!r}"


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Let everything else run until `condition()` holds; fails after `DEADLINE`."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - of any kind: there is no event to wait for
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {DEADLINE:.0f} s") from None


async def turns(count: int = 20) -> None:
    """Let the event loop go round a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def read_exactly(pipe: Pipe, count: int) -> bytes:
    """Read until `count` bytes are there, and no more."""
    out = bytearray()
    async with asyncio.timeout(DEADLINE):
        while len(out) < count:
            chunk = await pipe.read()
            assert chunk, f"the pipe ended after {len(out)} of {count} bytes"
            out += chunk
    assert len(out) == count
    return bytes(out)


async def read_to_end(pipe: Pipe) -> bytes:
    """Read until the other side has closed its half."""
    out = bytearray()
    async with asyncio.timeout(DEADLINE):
        while chunk := await pipe.read():
            out += chunk
    return bytes(out)


async def interrupted(start: Callable[[], asyncio.Task[_T]], rng: random.Random) -> _T | None:
    """Start a task and cancel it some turns later; its result if it was faster."""
    task = start()
    await turns(rng.choice((0, 0, 1, 1, 2, 3, 5)))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that look like nothing, the same each time."""
    return random.Random(seed).randbytes(size)
