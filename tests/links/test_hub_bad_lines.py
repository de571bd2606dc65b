"""Bytes that no program should send, and programs that no hub should have: a real hub answers or cuts each of them,
and two guests who chat meanwhile get every word.

What goes on is measured by what was delivered, never by time. Memory and open files are the hub process's own.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import ssl
import struct
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.founder import Founder, Line
from tests.served import HOST, WAIT, Served, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is read from /proc")

KIB64 = 64 * 1024
MIB = 1024 * 1024
# Memory that a hub may have more after an attack than before: what Python's allocator and the C library keep for the
# next one. Each attack here sends many times as much.
GROWTH = 12 * MIB
HASHING = 20 * MIB  # what hashing one password takes, and its thread keeps
# Allowances out of the way, where what is tried is not about them.
FREE = ("--guest-rate", "1e6", "--guest-burst", "1e6", "--room-rate", "1e6", "--room-burst", "1e6")
LOOPS = pytest.mark.parametrize("loop", ["--no-uvloop", ""], ids=["asyncio", "uvloop"])
RST = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing throws away what waits and tells the other side so


class Stage:
    """A hub, two guests in its lobby who get every word of each other, and whoever else comes."""

    def __init__(self, home: Path, stack: ExitStack, *args: str, most_files: int = 0) -> None:
        args = tuple(filter(None, ("--no-history", *args)))
        self.hub = stack.enter_context(Served(home, *args, most_files=most_files))
        self.stack = stack
        self.said = 0
        self.alice = stack.enter_context(closing(Founder(self.hub.port, "alice")))
        self.bob = stack.enter_context(closing(Founder(self.hub.port, "bob")))
        self.chat()
        self.files = self.hub.files()
        self.hub.get("/metrics")
        self.memory = self.hub.resident()

    def attacker(self) -> socket.socket:
        """A connection. Whatever happens to it is not ours to complain about."""
        return self.stack.enter_context(socket.create_connection((HOST, self.hub.port), timeout=WAIT))

    def chat(self, count: int = 10) -> None:
        """Both say so much, and both hear all of it, in order; what others say or do is passed over."""
        texts = {one: [f"{one} {number}" for number in range(self.said, self.said + count)] for one in ("alice", "bob")}
        self.said += count
        for number in range(count):
            self.alice.msg(texts["alice"][number])
            self.bob.msg(texts["bob"][number])
        for one in (self.alice, self.bob):
            heard: dict[str, list[str]] = {"alice": [], "bob": []}
            while sum(map(len, heard.values())) < 2 * count:
                line = one.read()
                if line["type"] == "msg" and line["nick"] in heard and line["text"] != "settled":
                    heard[line["nick"]].append(line["text"])
            assert heard == texts

    def over(self, growth: int = GROWTH) -> None:
        """Everybody else is gone: nothing of them is left, and the two chat on."""
        self.hub.until(lambda me: me.metric("guests") == 2, "the end of the other guests")
        self.hub.until(lambda me: me.metric("undecided_connections") == 1, "nobody at the door but the request itself")
        self.hub.until(lambda me: me.files() == self.files, f"the end of their connections, {self.files} files")
        self.chat()
        grown = self.hub.resident() - self.memory
        assert grown <= growth, f"{grown / MIB:.1f} MiB more than before"
        self.hub.unharmed()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as stack:
        yield lambda *args, **more: Stage(tmp_path / "hub", stack, *args, **more)


def everything(sock: socket.socket) -> bytes:
    """What comes until the hub closes, in whatever way."""
    heard = b""
    with suppress(ConnectionError, ssl.SSLError):
        while chunk := sock.recv(1 << 20):
            heard += chunk
    return heard


def codes(heard: bytes) -> list[str]:
    """The codes of the errors among these lines."""
    lines = [json.loads(line) for line in heard.splitlines()]
    return [line["code"] for line in lines if line["type"] == "error"]


# ---------------------------------------------------------------- one bad line

MSG = b'{"type":"msg","text":"%s"}\n'
NOISE = random.Random(1).randbytes(5000).replace(b"\n", b"")
BAD = {
    "not UTF-8": (MSG % b"\xc3\x28", "not_utf8"),
    "UTF-8 of a surrogate": (MSG % b"\xed\xa0\x80", "not_utf8"),
    "longer UTF-8 than there is": (MSG % b"\xf8\x88\x80\x80\x80", "not_utf8"),
    "a lone surrogate": (MSG % rb"\ud800", "not_json"),
    "surrogates the wrong way": (MSG % rb"\udc00\ud800", "not_json"),
    "NUL": (b"\0\n", "not_json"),
    "NUL in a text": (MSG % b"a\0b", "not_json"),
    "a bell in a text": (MSG % b"\a", "not_json"),
    "a mark of byte order": (b"\xef\xbb\xbf" + MSG % b"hi", "not_json"),
    "deep arrays": (b'{"type":"msg","text":"x","y":' + b"[" * 60_000 + b"]" * 5000 + b"}\n", "nested_too_deep"),
    "deep objects": (b'{"a":' * 12_000 + b"}" * 4000 + b"\n", "nested_too_deep"),
    "deep and nothing else": (b"[" * 65_000 + b"\n", "not_valid"),
    "60,000 digits": (b'{"type":"ping","n":' + b"9" * 60_000 + b"}\n", "not_valid"),
    "an exponent": (b'{"type":"ping","n":1e999999999}\n', "not_valid"),
    "less than nothing": (b'{"type":"ping","n":-1}\n', "not_valid"),
    "2^64": (b'{"type":"ping","n":18446744073709551616}\n', "not_valid"),
    "not a number": (b'{"type":"ping","n":NaN}\n', "not_json"),
    "one byte over 64 KiB": (b'{"type":"msg","text":"' + b"x" * (KIB64 - 24) + b'"}\n', "line_too_long"),
    "5 MiB": (b"x" * 5 * MIB + b"\n", "line_too_long"),
    "a text too long": (MSG % (b"x" * 16_001), "not_valid"),
    "a text that nobody sees": (MSG % rb"\u200b\u2060", "not_valid"),
    "no text at all": (MSG % b"", "not_valid"),
    "noise": (NOISE + b"\n", "not_json"),
    "no object": (b'["msg","hi"]\n', "not_valid"),
    "no type": (b'{"text":"hi"}\n', "not_valid"),
    "a type that is none": (b'{"type":["msg"],"text":"hi"}\n', "not_valid"),
    "an unknown type": (b'{"type":"shutdown"}\n', "unknown_type"),
    "two types": (b'{"type":"msg","text":"hi","type":"nick"}\n', "unknown_type"),
    "two objects": (b'{"type":"ping"}{"type":"ping"}\n', "not_json"),
    "words": (b"GETTING started?\n", "not_json"),
    "another protocol": (b"NICK alice\r\n", "not_json"),
}


def test_a_bad_line_is_answered_with_its_code_and_the_next_one_is_said(stage: Callable[..., Stage]) -> None:
    here = stage(*FREE)
    for name, (raw, code) in BAD.items():
        with here.attacker() as eve, eve.makefile("rb") as file:
            eve.sendall(raw + MSG % b"after")
            lines: list[Line] = []
            while not lines or lines[-1]["type"] != "msg":
                lines.append(json.loads(file.readline()))
            errors = [line["code"] for line in lines if line["type"] == "error"]
            assert errors == [code], f"{name}: one error for one line"
            assert lines[-1]["text"] == "after", name
        while here.alice.read() != {"type": "msg", "nick": lines[-1]["nick"], "text": "after"}:
            pass
    here.over()


def test_utf_16_is_refused_until_the_connection_ends(stage: Callable[..., Stage]) -> None:
    here = stage()
    eve = here.attacker()
    eve.sendall((MSG.decode() % "hi").encode("utf-16") * 20)
    assert codes(everything(eve)) == ["not_json"] * 19 + ["too_many_errors"]
    eve.close()
    here.over()


def test_noise_is_cut_after_twenty_lines(stage: Callable[..., Stage]) -> None:
    here = stage()
    noise = random.Random(2)
    for _ in range(20):
        with here.attacker() as eve:
            with suppress(ConnectionError):
                eve.sendall(b"#" + noise.randbytes(MIB))
            heard = codes(everything(eve))
            assert heard[-1:] in ([], ["too_many_errors"]), "all errors, if its own sending did not lose them"
        here.chat(2)
    here.over()


# ---------------------------------------------------------------- other protocols


@LOOPS
def test_broken_tls_ends_and_takes_nothing_with_it(stage: Callable[..., Stage], loop: str) -> None:
    here = stage("--tls", "self-signed", loop)
    to_say = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(ssl.MemoryBIO(), to_say).do_handshake()
    hello = to_say.read()
    noise = random.Random(3)
    for number in range(120):
        eve = here.attacker()
        cut = noise.randrange(3, len(hello))
        with suppress(ConnectionError):
            match number % 6:
                case 0:  # garbage in a record
                    eve.sendall(b"\x16\x03\x01" + struct.pack(">H", 400) + noise.randbytes(400))
                case 1:  # a record that is too long
                    eve.sendall(b"\x16\x03\x01\xff\xff" + noise.randbytes(70_000))
                case 2:  # a bit of it is wrong
                    at = noise.randrange(5, len(hello))
                    eve.sendall(hello[:at] + bytes([hello[at] ^ 0x55]) + hello[at + 1 :])
                case 3:  # gone in the middle
                    eve.sendall(hello[:cut])
                    eve.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                case 4:  # gone in the middle, politely
                    eve.sendall(hello[:cut])
                    eve.shutdown(socket.SHUT_WR)
                case _:  # garbage after the first flight
                    eve.sendall(hello)
                    eve.recv(1)
                    eve.sendall(noise.randbytes(5000))
        if number % 6 not in (0, 2, 3):
            everything(eve)
        eve.close()
        if number % 30 == 0:
            here.chat(2)
    with trusting().wrap_socket(here.attacker()) as good:
        good.sendall(MSG % b"over TLS")
        while b"over TLS" not in good.recv(KIB64):
            pass
    here.over()
    assert here.hub.metric("turned_away_total", '{why="tls_failed"}') >= 80


HTTP = {
    b"GET / HTTP/1.1\r\n\r\n": 404,
    b"GET /metrics?" + b"x" * 8000 + b" HTTP/1.1\r\n\r\n": 200,
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n": 431,
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000: 431,
    b"GET \r\n\r\n": 400,
    b"GET / HTTP/9.9\r\n\r\n": 400,
    b"GET /\xff HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nA: \xff\0\r\n\r\n": 400,
    b"GET " + NOISE.replace(b"\r", b"") + b"\r\n\r\n": 400,
    b"HEAD is where I keep my brain\n\n": 400,
    b'POST / HTTP/1.1\r\nHost: h\r\n\r\n{"type":"msg","text":"from a web page"}\n': 405,
    b"GET ../../etc/passwd HTTP/1.0\n\n": 404,
}


@LOOPS
def test_every_broken_request_gets_a_status(stage: Callable[..., Stage], loop: str) -> None:
    here = stage(loop)
    for raw, status in HTTP.items():
        with here.attacker() as eve:
            eve.sendall(raw)
            if status == 404:
                eve.shutdown(socket.SHUT_WR)
            answer = everything(eve)
            assert answer.startswith(b"HTTP/1.1 %d " % status), (raw[:60], answer[:60])
    here.over()


# ---------------------------------------------------------------- too many, too much, too little


def test_ten_thousand_connections_that_say_nothing_keep_nobody_out(stage: Callable[..., Stage], limit: int) -> None:
    seats = limit // 4
    here = stage("--connections", str(seats), *FREE)
    crowd: list[socket.socket] = []
    late: list[Founder] = []
    for number in range(limit):
        one = here.stack.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex((HOST, here.hub.port))
        crowd.append(one)
        if number % 250 == 0:
            # Whoever asks how the hub is gets in behind them: then the system's queue of those who wait is empty.
            assert here.hub.get("/healthz")[0] == 200
        if number in (seats // 4, seats // 2, seats - 100):
            late.append(here.stack.enter_context(closing(Founder(here.hub.port, f"late{number}"))))
            here.chat(2)
    here.hub.until(lambda me: me.metric("guests") == seats, f"{seats} guests")
    for newcomer in late:
        newcomer.settle()
    here.chat()
    outside = limit - (seats - 2 - len(late))
    answers = {one.fileno(): b"" for one in crowd}
    refused: set[int] = set()
    with select.epoll() as poll:
        for number in answers:
            poll.register(number, select.EPOLLIN)
        end = time.monotonic() + 40
        while len(refused) < outside and time.monotonic() < end:
            for number, _ in poll.poll(1):
                with suppress(ConnectionError):
                    answers[number] += (heard := os.read(number, KIB64))
                    if heard and b'"code":"full"' not in answers[number]:
                        continue
                poll.unregister(number)
                refused.add(number)
    assert len(refused) == outside
    told = sum(b'"code":"full"' in answers[number] for number in refused)
    assert told == len(refused), f"{told} of {len(refused)} know why"
    for newcomer in late:
        newcomer.close()
    for one in crowd:
        one.close()
    here.over(growth=GROWTH + seats * 8 * 1024)


@pytest.fixture
def limit(capsys: pytest.CaptureFixture[str]) -> int:
    """How many connections can be tried here: 10,000, if so many files may be open."""
    import resource

    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + 500 if hard == resource.RLIM_INFINITY else min(hard, wanted + 500)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    count = min(wanted, max(soft, most) - 500)
    if count < wanted:
        with capsys.disabled():
            print(f"\nonly {count:,} connections instead of {wanted:,}: no more than {most:,} files may be open here")  # noqa: T201
    return count


@LOOPS
def test_when_files_run_out_those_inside_chat_on(stage: Callable[..., Stage], loop: str) -> None:
    here = stage(loop, *FREE, most_files=256)
    crowd = []
    for _ in range(300):
        one = here.attacker()
        one.setblocking(False)
        with suppress(ConnectionError, BlockingIOError):
            one.send(MSG % b"me too")
        crowd.append(one)
    here.chat()
    assert here.hub.files() < 256
    for one in crowd:
        one.close()
    here.over()


@LOOPS
def test_whoever_never_reads_is_cut_and_the_others_are_told(stage: Callable[..., Stage], loop: str) -> None:
    here = stage(loop, *FREE)
    for number in range(3):
        deaf = socket.socket()
        here.stack.enter_context(deaf)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((HOST, here.hub.port))
        deaf.sendall(b'{"type":"nick","nick":"deaf%d"}\n' % number)
    cut = {f"deaf{number} left (too slow)" for number in range(3)}
    gone: set[str] = set()
    text = "x" * 10_000
    while not cut <= gone:
        for _ in range(40):
            here.alice.msg(text)
        count = {"alice": 0, "bob": 0}
        for name, one in (("alice", here.alice), ("bob", here.bob)):
            while count[name] < 40:
                line = one.read()
                count[name] += line["type"] == "msg" and line["nick"] == "alice"
                gone |= {line["text"]} if line["type"] == "notice" else set()
    here.over(growth=3 * 4 * MIB + GROWTH)


FLOODS = {
    "messages": MSG % b"!!!",
    "long messages": MSG % (b"!" * 4000),
    "pings": b'{"type":"ping","n":1}\n',
    "nicks": b'{"type":"nick","nick":"eve"}\n{"type":"nick","nick":"adam"}\n',
    "rooms": b"".join(b'{"type":"join","room":"r%d"}\n{"type":"leave","room":"r%d"}\n' % (n, n) for n in range(500)),
    "lists": b'{"type":"who"}\n{"type":"rooms"}\n{"type":"history","limit":500}\n',
    "blank lines": b"\n",
    "a line without an end": b"x",
}


@LOOPS
@pytest.mark.parametrize("kind", FLOODS)
def test_whoever_sends_as_fast_as_it_can_slows_only_itself(stage: Callable[..., Stage], kind: str, loop: str) -> None:
    here = stage(loop)
    raw = FLOODS[kind] * (2 * MIB // len(FLOODS[kind]))
    eves = [here.attacker() for _ in range(4)]
    done = threading.Event()

    def send(eve: socket.socket) -> None:
        eve.settimeout(0.5)
        while not done.is_set():
            with suppress(TimeoutError):
                try:
                    eve.sendall(raw)
                except OSError as exc:
                    if not isinstance(exc, TimeoutError):
                        return

    def read(eve: socket.socket) -> None:
        while not done.is_set():
            if select.select([eve], [], [], 0.5)[0]:
                try:
                    if not eve.recv(1 << 20):
                        return
                except OSError:
                    return

    threads = [threading.Thread(target=work, args=(eve,)) for eve in eves for work in (send, read)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(4):
            here.chat()
    finally:
        done.set()
        for thread in threads:
            thread.join()
        for eve in eves:
            eve.close()
    here.over()


@LOOPS
def test_blank_lines_before_the_password_cost_no_more_than_others(
    stage: Callable[..., Stage], tmp_path: Path, loop: str
) -> None:
    file = tmp_path / "password"
    file.write_text("swan lake\n")
    with Served(tmp_path / "locked", "--no-history", "--password-file", str(file), *filter(None, [loop])) as hub:
        with socket.create_connection((HOST, hub.port), timeout=WAIT) as eve, eve.makefile("rb") as answers:
            eve.sendall(b"\n" * 20 * MIB + b'{"type":"password","password":"swan lake"}\n{"type":"ping","n":1}\n')
            assert json.loads(answers.readline()) == {"type": "pong", "n": 1}
        hub.unharmed()


# ---------------------------------------------------------------- ends in the middle


@LOOPS
def test_ends_in_the_middle_leave_nothing(stage: Callable[..., Stage], loop: str) -> None:
    here = stage("--tls", "self-signed", loop, *FREE)
    begun = [
        b"", b"{", b'{"type":"nick","nick":"eve"}\n', MSG % b"hi" * 50 + b'{"type":"ms', b"GET /metrics HTTP/1.1\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"SANDPIPER/1\n", b"x" * 200_000,
        b'{"type":"hello"}\n{"type":"join","room":"dev","password":"swan"}\n{"type":"history"}\n',
    ]  # fmt: skip
    for number in range(300):
        eve = here.attacker()
        with suppress(ConnectionError):
            eve.sendall(begun[number % len(begun)])
            match number // len(begun) % 3:
                case 0:
                    eve.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                case 1:
                    eve.shutdown(socket.SHUT_WR)
                    everything(eve)
                case _:
                    eve.shutdown(socket.SHUT_RD)
        eve.close()
        if number % 50 == 0:
            here.chat(2)
    here.over(growth=HASHING + GROWTH)


@LOOPS
def test_whoever_closes_one_half_still_gets_the_answers(stage: Callable[..., Stage], loop: str) -> None:
    here = stage(loop)
    eve = here.attacker()
    eve.sendall(b"".join(b'{"type":"ping","n":%d}\n' % n for n in range(150)) + b'{"type":"half a li')
    eve.shutdown(socket.SHUT_WR)
    answers = [json.loads(line) for line in everything(eve).splitlines()]
    assert [line["n"] for line in answers if line["type"] == "pong"] == list(range(150))
    eve.close()
    here.over()
