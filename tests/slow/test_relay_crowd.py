"""A relay that holds thousands and passes on what hundreds say, and one that is flooded: counts and memory only."""

from __future__ import annotations

import os
import random
import re
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.crowd import PATIENCE, READ, RST, WAVE, Crowd, come_from
from tests.relayed import Caller, Relayed, tag, token
from tests.served import HOST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="epoll, and the memory of another process from /proc"),
    pytest.mark.timeout(300),
]

KIB, MIB = 1024, 1024 * 1024
IDLE, BUSY = 5000, 500
SAID = 48 * KIB  # bytes that each side of a busy bridge says
SOURCES = tuple(f"127.0.0.{n}" for n in range(10, 18))  # from where a flood comes
ROUNDS = 8
EACH = 80  # connections of a source in a round, of each of which a limit for addresses refuses some


def signalled(near: Caller, far: Caller, to: str) -> None:
    """One of these can still whisper to the other."""
    near.say(type="signal", to=to, data="c2VhbGVk")
    while far.hear()["type"] != "signal":
        pass


def bridge(port: int) -> tuple[Caller, Caller]:
    near, far, line = Caller(port), Caller(port), token()
    for one in (near, far):
        one.say(type="bridge", token=line)
    for one in (near, far):
        assert one.hear() == {"type": "bridged"}
    return near, far


# ---------------------------------------------------------------- many


class Talk:
    """One side of a busy bridge: what it has to say, and what it must hear."""

    def __init__(self, sock: socket.socket, says: bytes, hears: bytes) -> None:
        self.sock, self.says, self.hears = sock, says, hears
        self.said = self.heard = 0
        sock.setblocking(False)

    def go_on(self) -> None:
        with suppress(BlockingIOError):
            self.said += self.sock.send(self.says[self.said : self.said + 4 * KIB])
        with suppress(BlockingIOError):
            chunk = self.sock.recv(64 * KIB)
            assert chunk == self.hears[self.heard : self.heard + len(chunk)] != b"", "something else came"
            self.heard += len(chunk)

    @property
    def over(self) -> bool:
        return self.said == len(self.says) and self.heard == len(self.hears)


def stay(idle: list[Crowd]) -> None:
    """Answer pings, so that the idle ones are taken for alive however slow this machine is."""
    for wave in idle:
        for fileno, _ in wave.poll.poll(0):
            for number in re.findall(rb'"type":"ping","n":(\d+)', os.read(fileno, READ)):
                os.write(fileno, b'{"type":"pong","n":%s}\n' % number)


def test_one_relay_on_one_core_holds_5000_registrations_and_passes_on_what_500_bridges_say(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--metrics", "all") as relay:
        port = relay.port
        os.sched_setaffinity(relay.process.pid, {min(os.sched_getaffinity(0))})
        for one in bridge(port):  # what is made once is made before
            one.__exit__()
        relay.until(lambda me: me.metric("relay_connections") == 0, "an empty relay")
        files, base = relay.files(), relay.resident()
        idle = []
        for at in range(0, IDLE, WAVE):
            wave = Crowd(port, WAVE, "127.0.0.2")
            idle.append(wave)
            wave.listen_for(b'"type":"peer_registered"')
            for number, sock in enumerate(wave.socks, at):
                sock.sendall(b'{"type":"register_peer","tag":"%s"}\n' % tag(number // 2).encode())
            wave.until(wave.heard_in_all(WAVE), "registrations")
            assert set(wave.heard.values()) == {1}
        assert relay.metric("rendezvous_registrations") == relay.metric("rendezvous_guests") == IDLE
        registered = relay.resident()
        with Caller(port) as ann, Caller(port) as ben:
            ann.register(tag=tag(IDLE))
            name = ben.register(tag=tag(IDLE))["peer"]
            bridges = [bridge(port) for _ in range(BUSY)]
            assert relay.metric("relay_connections") == 2 * BUSY
            talks: dict[int, Talk] = {}
            for number, sides in enumerate(bridges):
                words = [random.Random(2 * number + side).randbytes(SAID) for side in range(2)]
                for side, one in enumerate(sides):
                    talks[one.sock.fileno()] = Talk(one.sock, words[side], words[1 - side])
            poll, most = select.epoll(), 0
            for fileno in talks:
                poll.register(fileno, select.EPOLLIN | select.EPOLLOUT)
            left, turns = set(talks), 0
            end = time.monotonic() + 2 * PATIENCE
            while left:
                assert time.monotonic() < end, f"{len(left)} have not heard everything"
                for fileno, _ in poll.poll(0.2):
                    talks[fileno].go_on()
                    if talks[fileno].over:
                        poll.unregister(fileno)
                        left.discard(fileno)
                turns += 1
                if turns % 20 == 1:  # whispers, and idle guests, in between
                    signalled(ann, ben, name)
                    stay(idle)
                    most = max(most, relay.resident())
            poll.close()
            assert relay.metric("relay_bytes_total") >= 2 * BUSY * SAID
            assert relay.metric("rendezvous_registrations") == IDLE + 2, "nobody was lost over it"
            for sides in bridges:
                for one in sides:
                    one.__exit__()
        for wave in idle:
            wave.leave()
        relay.until(lambda me: me.metric("rendezvous_guests") + me.metric("relay_connections") == 0, "all gone")
        relay.until(lambda me: me.files() <= files, "the end of their connections", PATIENCE)
        told = f"{(registered - base) / IDLE:.0f} bytes a registration, {(most - registered) / BUSY:.0f} a busy bridge"
        print(told)  # noqa: T201
        assert (registered - base) / IDLE <= 6 * KIB, told
        assert (most - registered) / BUSY <= 64 * KIB, told
        relay.unharmed()


# ---------------------------------------------------------------- floods


class Honest:
    """Two who go on over a bridge while others flood, and count how often one has heard the other."""

    def __init__(self, port: int) -> None:
        self.near, self.far = bridge(port)
        self.count = 0
        self.problem = ""
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._talking = threading.Thread(target=self._talk, daemon=True)
        self._talking.start()

    def _talk(self) -> None:
        try:
            while not self._over.is_set():
                said = b"still here %08d" % self.count
                self.near.raw(said)
                assert self.far.read(len(said)) == said
                self.far.raw(said)
                assert self.near.read(len(said)) == said
                with self._changed:
                    self.count += 1
                    self._changed.notify_all()
        except (OSError, AssertionError) as exc:
            with self._changed:
                self.problem = repr(exc)
                self._changed.notify_all()

    def goes_on(self, times: int = 50) -> None:
        """Wait until it was heard so often more."""
        with self._changed:
            wanted = self.count + times
            assert self._changed.wait_for(lambda: self.problem or self.count >= wanted, PATIENCE), "it hangs"
        assert not self.problem, self.problem

    def close(self) -> None:
        self._over.set()
        self._talking.join(PATIENCE)
        self.near.__exit__()
        self.far.__exit__()


def flood(port: int, round_: int) -> list[socket.socket]:
    """Whatever can be done with a socket by somebody who wants to cost something; all of it is left open."""
    beginnings = (
        b"",  # a connection that says nothing
        b'{"type":"register_peer","tag":"',  # half a line
        b"x" * 70 * KIB + b"\n",  # a line too long
        b'{"type":"observe","x":"' + b"y" * 300 * KIB,  # one that does not end
        b"".join(b'{"type":"register_peer","tag":"%s"}\n' % tag(n).encode() for n in range(150)),
        b"".join(b'{"type":"lookup_room","code":"%d"}\n' % n for n in range(1, 150)),
        b'{"type":"create_room"}\n' * 50,
        b'{"type":"bridge","token":"%s"}\n',  # half a bridge
        b'{"type":"bridge","token":"%s"}\n' + b"z" * 40 * KIB,  # and much behind it
        b"{}\n" * 40,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # half a TLS handshake
        b"GET /sandpiper HTTP/1.1\r\nA: ",
        b"\xff\xfe\x00" * 5000,
    )
    socks = []
    for source in SOURCES:
        for number in range(EACH):
            sock = come_from(source, port)
            socks.append(sock)
            raw = beginnings[(number + round_) % len(beginnings)]
            if b"%s" in raw:
                raw = raw.replace(b"%s", token().encode(), 1)
            sock.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                while raw:
                    raw = raw[sock.send(raw) :]
    return socks


def test_floods_of_joins_half_open_connections_and_endless_lines_cost_a_relay_nothing_and_honest_ones_go_on(
    tmp_path: Path,
) -> None:
    with Relayed(tmp_path, "--metrics", "all", "--count-loopback", counting=True) as relay:
        port = relay.port
        honest = Honest(port)
        with Caller(port) as ann, Caller(port) as ben:
            ann.register(tag=tag(10**6))
            name = ben.register(tag=tag(10**6))["peer"]
            memory, blocks = [], []
            for round_ in range(ROUNDS):
                socks = flood(port, round_)
                honest.goes_on()
                signalled(ann, ben, name)
                with Caller(port) as newcomer:  # from an address that floods nobody
                    assert newcomer.register(tag=tag(10**6 + 1))["peer"]
                for number, sock in enumerate(socks):
                    if number % 2:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                    sock.close()
                relay.until(
                    lambda me: me.metric("rendezvous_guests") == 2 and me.metric("relay_connections") == 2,
                    "the honest ones alone",
                    PATIENCE,
                )
                memory.append(relay.resident())
                blocks.append(relay.blocks())
            refused = {
                code: relay.metric("rendezvous_refusals_total", f'{{code="{code}"}}')
                for code in ("line_too_long", "rate_limited", "too_many_codes", "too_many_errors", "too_early")
            }
        honest.close()
        told = f"MiB: {[round(one / MIB, 1) for one in memory]}, blocks: {blocks}, refused: {refused}"
        print(told)  # noqa: T201
        assert all(refused[code] for code in ("line_too_long", "rate_limited", "too_many_errors")), told
        assert blocks[-1] - blocks[2] <= 2000, told
        assert memory[-1] - memory[2] <= 4 * MIB, told
        relay.unharmed()


def test_who_connects_from_everywhere_leaves_no_more_than_its_address(tmp_path: Path) -> None:
    """A thousand addresses, each of which asks for something once and goes."""
    with Relayed(tmp_path, "--metrics", "all", "--count-loopback", counting=True) as relay:
        port, blocks = relay.port, []
        for round_ in range(4):
            for number in range(250):
                with come_from(f"127.1.{round_}.{number + 1}", port) as sock:
                    sock.sendall(b'{"type":"lookup_room","code":"%d"}\n' % (number + 1))
                    assert b"room_info" in sock.recv(4096)
            relay.until(lambda me: me.metric("rendezvous_guests") == 0, "an empty relay")
            blocks.append(relay.blocks())
        assert relay.metric("rendezvous_addresses") <= 1001
        assert blocks[-1] - blocks[0] <= 3 * 250 * 20, blocks
        relay.unharmed()


def test_an_address_that_floods_is_refused_and_another_one_is_not(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--count-loopback", "--joins-a-minute", "30") as relay:
        port = relay.port
        with come_from(SOURCES[0], port) as sock:
            sock.sendall(b"".join(b'{"type":"lookup_room","code":"%d"}\n' % n for n in range(1, 61)))
            heard = b""
            while heard.count(b"\n") < 60:
                heard += sock.recv(65536)
            assert (heard.count(b"room_info"), heard.count(b"rate_limited")) == (30, 30)
        with Caller(port, HOST) as other:
            assert other.ask(type="create_room")["type"] == "room_created"
