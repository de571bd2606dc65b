"""Crowds on a real hub: thousands come, speak, and go; each word is counted, and no memory of them stays.

Counts and memory are what is asserted, never time. One process plays the whole crowd.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.crowd import PATIENCE, READ, WAVE, Crowd
from tests.founder import Founder
from tests.served import HOST, Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="epoll, and the memory of another process from /proc"),
    pytest.mark.timeout(120),
]

LOOPS = pytest.mark.parametrize("loop", ["--no-uvloop", ""], ids=["asyncio", "uvloop"])
KIB, MIB = 1024, 1024 * 1024
CROWD = 5000
IDLE = 10_000
ROOM = 50  # guests of one room, where not all are in the lobby
FREE = ("--guest-rate", "1e6", "--guest-burst", "1e6", "--room-rate", "1e6", "--room-burst", "1e6")


@contextmanager
def hub(home: Path, *args: str) -> Iterator[Served]:
    with Served(home, "--no-history", *FREE, *filter(None, args), counting=True) as served:
        assert served.port
        yield served
        served.unharmed()


def gone(served: Served, files: int) -> None:
    """Everybody has left."""
    served.until(lambda me: me.metric("guests") == 0, "an empty hub", PATIENCE)
    served.until(lambda me: me.files() == files, "the end of their connections", PATIENCE)


def test_five_thousand_join_speak_and_leave_and_every_word_is_counted(tmp_path: Path) -> None:
    with hub(tmp_path) as served:
        files = served.files()
        crowd = Crowd(served.port, CROWD, "127.0.0.2")
        crowd.take_nicks(0)
        assert served.metric("guests") == CROWD
        crowd.listen_for(b'"type":"msg"')
        for at in range(0, CROWD, WAVE):
            for number, sock in enumerate(crowd.socks[at : at + WAVE], at):
                sock.sendall(b'{"type":"msg","text":"%d"}\n' % number)
            crowd.until(crowd.heard_in_all((at + WAVE) * CROWD), "what everybody said")
        assert set(crowd.heard.values()) == {CROWD}, "each of them has heard each of them once"
        assert served.metric("messages_total") == CROWD
        crowd.leave()
        gone(served, files)


@LOOPS
def test_an_idle_guest_takes_four_kib_at_most(tmp_path: Path, loop: str) -> None:
    with hub(tmp_path, loop) as served:
        with closing(Founder(served.port, "first")):  # what is made once is made before
            base = served.resident()
        crowd = Crowd(served.port, IDLE, "127.0.0.2")
        crowd.take_nicks(0)
        served.until(lambda me: me.metric("guests") == IDLE, f"{IDLE:,} guests")
        each = (served.resident() - base) / IDLE
        crowd.leave(rudely=True)
        print(f"{each:.0f} bytes a guest")  # noqa: T201
        assert each <= 4 * KIB


@pytest.mark.parametrize(("rounds", "loop"), [(10, ""), (3, "--no-uvloop")], ids=["uvloop", "asyncio"])
def test_rounds_of_five_thousand_leave_nothing_behind(tmp_path: Path, rounds: int, loop: str) -> None:
    rooms = CROWD // ROOM
    with hub(tmp_path, loop) as served:
        files = served.files()
        memory, blocks = [], []
        for round_ in range(rounds):
            crowd = Crowd(served.port, CROWD, f"127.0.0.{2 + round_}")
            crowd.listen_for(b'"type":"joined"')
            for at in range(0, CROWD, WAVE):
                for number, sock in enumerate(crowd.socks[at : at + WAVE], at):
                    sock.sendall(b'{"type":"hello"}\n{"type":"join","room":"r%d"}\n' % (number % rooms))
                crowd.until(crowd.heard_in_all(at + WAVE), "joins")
            crowd.listen_for(b'"type":"msg"')
            for number, sock in enumerate(crowd.socks):
                sock.sendall(b'{"type":"msg","room":"r%d","text":"hi","client_id":"%d"}\n' % (number % rooms, round_))
            crowd.until(crowd.heard_in_all(CROWD * ROOM), "what everybody said")
            assert set(crowd.heard.values()) == {ROOM}
            crowd.listen_for(b'"type":"left"')
            for number, sock in enumerate(crowd.socks[:rooms]):  # who made it forgets it, and all that was said in it
                sock.sendall(b'{"type":"close","room":"r%d"}\n' % number)
            crowd.until(crowd.heard_in_all(CROWD), "the end of the rooms")
            crowd.leave(rudely=round_ % 2 == 1)
            gone(served, files)
            memory.append(served.resident())
            blocks.append(served.blocks())
        assert served.metric("rooms") == 1
        told = f"MiB: {[round(one / MIB, 1) for one in memory]}, blocks: {blocks}"
        # Of 5,000 guests a round, with their rooms, words and ids, not one block for twenty may stay.
        assert blocks[-1] - blocks[1] <= (rounds - 2) * CROWD // 20, told
        assert memory[-1] - memory[1] <= 4 * MIB, told
        print(told)  # noqa: T201


def test_a_byte_a_second_is_no_way_to_stay(tmp_path: Path) -> None:
    beginnings = {
        b'{"type":"msg","text":"': b'"code":"half_line"',
        b"GET / HTTP/1.1\r\nA: ": b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"",
    }
    with hub(tmp_path, "--tls", "self-signed") as served, ExitStack() as stack:
        files = served.files()
        drips = [stack.enter_context(socket.create_connection((HOST, served.port))) for _ in beginnings]
        for sock, begun in zip(drips, beginnings, strict=True):
            sock.sendall(begun)
        heard = dict.fromkeys(drips, b"")
        left = set(drips)
        end = time.monotonic() + PATIENCE
        while left:
            assert time.monotonic() < end, f"{len(left)} are still there"
            for sock in select.select(list(left), [], [], 1)[0]:
                with suppress(ConnectionError):
                    if chunk := sock.recv(READ):
                        heard[sock] += chunk
                        continue
                left.discard(sock)
                sock.close()
            for sock in left:
                with suppress(ConnectionError):
                    sock.send(b"x")
        for sock, reason in zip(drips, beginnings.values(), strict=True):
            assert reason in heard[sock]
        gone(served, files)
