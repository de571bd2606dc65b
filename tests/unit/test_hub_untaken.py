"""When a guest counts as one that takes nothing: a connection over a transport that is told what waits in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.hub.chat import Connection
from sandpiper.hub.limits import Times
from tests.fuzz.test_hub import Hall

if TYPE_CHECKING:
    from collections.abc import Callable

UNTAKEN = Times().untaken


class Pipe(asyncio.Transport):
    """Takes what it is told to take."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.gone = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.waiting += len(data)

    @override
    def get_write_buffer_size(self) -> int:
        return self.waiting

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    @override
    def is_closing(self) -> bool:
        return self.gone

    @override
    def abort(self) -> None:
        self.gone = True


def joined() -> tuple[Connection, Pipe, Callable[[float], bool]]:
    """A guest's connection, its transport, and a look at it so many seconds later: whether it is there still."""
    hall, pipe = Hall(), Pipe()
    connection = Connection(hall)
    connection.connection_made(pipe)

    def later(seconds: float) -> bool:
        hall.parlour.wait(seconds)
        connection.look(hall.now(), Times())
        return not pipe.gone

    return connection, pipe, later


def test_whoever_takes_a_little_stays_and_whoever_takes_nothing_goes():
    connection, pipe, later = joined()
    connection.write(bytes(1000))
    for _ in range(5):
        assert later(UNTAKEN - 1)
        pipe.waiting -= 1
    assert later(1)
    assert later(UNTAKEN - 1)
    assert not later(1)
    assert connection.guest is not None
    assert not connection.guest.open


def test_what_is_written_meanwhile_hides_neither_that_nothing_is_taken_nor_that_something_is():
    connection, pipe, later = joined()
    connection.write(bytes(1000))
    assert later(0)
    for _ in range(4):
        pipe.waiting -= 10
        connection.write(bytes(1000))
        assert later(UNTAKEN - 1)
    connection.write(bytes(1000))
    assert not later(UNTAKEN)


def test_whoever_has_taken_all_may_be_silent_for_ever():
    connection, pipe, later = joined()
    connection.write(bytes(1000))
    assert later(UNTAKEN - 1)
    pipe.waiting = 0
    connection.resume_writing()
    assert later(10 * UNTAKEN)
    connection.write(bytes(1000))
    assert later(UNTAKEN - 1)
    assert connection.backlog == 1000
