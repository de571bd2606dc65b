"""Many connections in one process, for tests of servers that should hold thousands. Linux."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

WAVE = 250  # guests that do something before anybody looks what came of it: what the kernel holds meanwhile is small
PATIENCE = 60.0
READ = 1 << 18
RST = struct.pack("ii", 1, 0)


def come_from(source: str, port: int) -> socket.socket:
    """A connection from this address of this machine."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    sock.bind((source, 0))
    sock.connect((HOST, port))
    return sock


class Crowd:
    """Many founding programs in one process: raw sockets under one epoll, which only counts what comes."""

    def __init__(self, port: int, count: int, source: str) -> None:
        """`source`: the address of this machine that they come from; another one for each crowd has ports to spare."""
        self.poll = select.epoll()
        self.socks: list[socket.socket] = []
        self.heard: dict[int, int] = {}
        """Of each guest, how often it has heard what is listened for."""
        self.ends: dict[int, bytes] = {}  # the last bytes, for what is cut in two
        self.mark = b""
        for at in range(0, count, WAVE):
            for _ in range(min(WAVE, count - at)):
                sock = come_from(source, port)
                sock.setblocking(False)
                self.poll.register(sock, select.EPOLLIN)
                self.socks.append(sock)
                self.heard[sock.fileno()] = 0
                self.ends[sock.fileno()] = b""

    def listen_for(self, mark: bytes) -> None:
        """Count this from now on."""
        self.mark = mark
        self.heard = dict.fromkeys(self.heard, 0)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Read what comes until `done`."""
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, f"{what}: {sum(self.heard.values()):,} heard, and no more came"
            for number, _ in self.poll.poll(0.2):
                chunk = os.read(number, READ)
                assert chunk, "the hub has closed"
                chunk = self.ends[number] + chunk
                self.heard[number] += chunk.count(self.mark)
                self.ends[number] = chunk[max(0, len(chunk) - len(self.mark) + 1) :]

    def heard_in_all(self, count: int) -> Callable[[], bool]:
        """Whether all of them together have heard it so often."""
        return lambda: sum(self.heard.values()) >= count

    def take_nicks(self, first: int) -> None:
        """guest0, guest1 …, a wave at a time."""
        self.listen_for(b'"text":"nick set to ')
        for at in range(0, len(self.socks), WAVE):
            wave = self.socks[at : at + WAVE]
            for number, sock in enumerate(wave, first + at):
                sock.sendall(b'{"type":"nick","nick":"guest%d"}\n' % number)
            self.until(self.heard_in_all(at + len(wave)), "nicks")

    def leave(self, *, rudely: bool = False) -> None:
        """All at once; `rudely` with a reset."""
        for sock in self.socks:
            if rudely:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            sock.close()
        self.poll.close()
