"""The relay against a bare splice: an epoll loop that moves bytes between two sockets inside the system, and nothing
else. The same load goes through both in turn, each in a process of its own.

By hand: `python -m bench.relay --crowd` adds 500 busy bridges and 5,000 idle registrations in one relay.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Result, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
BYTES = 512 << 20
ROUNDS = 3
MESSAGE = 200  # bytes: a line of chat, sealed
BUSY, IDLE, SECONDS = 500, 5000, 10.0
GOAL = 0.5

# ---------------------------------------------------------------- the rival


def splice_forever() -> None:
    """Join every two connections that come; each way its own pipe, the bytes never leave the system."""
    listener = socket.create_server((HOST, 0))
    print(listener.getsockname()[1], flush=True)
    poll, first = select.epoll(), None
    ways: dict[int, tuple[socket.socket, socket.socket, int, int]] = {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                if first is None:
                    first = sock
                    continue
                for one, other in ((first, sock), (sock, first)):
                    ways[one.fileno()] = (one, other, *os.pipe())
                    fcntl.fcntl(ways[one.fileno()][3], fcntl.F_SETPIPE_SZ, 1 << 20)
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    poll.register(one, select.EPOLLIN)
                first = None
                continue
            one, other, out, into = ways[fd]
            count = os.splice(fd, into, 1 << 20, flags=os.SPLICE_F_MOVE)
            if not count:
                poll.unregister(one)
                with contextlib.suppress(OSError):
                    other.shutdown(socket.SHUT_WR)
            while count:
                count -= os.splice(out, other.fileno(), count, flags=os.SPLICE_F_MOVE)


@contextlib.contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """The rival's process: its id and port."""
    with subprocess.Popen([sys.executable, "-m", "bench.relay", "--splice"], stdout=subprocess.PIPE, text=True) as one:
        try:
            assert one.stdout is not None
            yield one.pid, int(one.stdout.readline())
        finally:
            one.kill()


# ---------------------------------------------------------------- ours


@contextlib.contextmanager
def ours() -> Iterator[tuple[int, int]]:
    """A relay as people start it: its process and port."""
    with tempfile.TemporaryDirectory() as home:
        command = [str(Path(sys.executable).with_name("sandpiper")), "relay", "--host", HOST, "--port", "0"]
        env = {**os.environ, "SANDPIPER_HOME": home, "SANDPIPER_INTERFACES": "lo"}
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as one:
            try:
                assert one.stderr is not None
                found = next(hit for line in one.stderr if (hit := re.search(r"on port (\d+)", line)))
                threading.Thread(target=one.stderr.read, daemon=True).start()
                yield one.pid, int(found[1])
            finally:
                one.terminate()


def pair(port: int, *, token: bool) -> tuple[socket.socket, socket.socket]:
    """Two ends of a bridge."""
    sides = [socket.create_connection((HOST, port)) for _ in range(2)]
    if token:
        line = b'{"type":"bridge","token":"%s"}\n' % base64.b64encode(os.urandom(16))
        for side in sides:
            side.sendall(line)
        for side in sides:
            answer = b""
            while not answer.endswith(b"\n"):
                answer += side.recv(1)
            assert b"bridged" in answer, answer
    for side in sides:
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sides[0], sides[1]


# ---------------------------------------------------------------- the load


def bulk(port: int, *, token: bool) -> float:
    """MB a second of one stream through a bridge."""
    near, far = pair(port, token=token)
    chunk = memoryview(bytes(256 * 1024))

    def send() -> None:
        for _ in range(BYTES // len(chunk)):
            near.sendall(chunk)

    sender = threading.Thread(target=send)
    buffer, left = bytearray(1 << 20), BYTES
    began = time.perf_counter()
    sender.start()
    while left:
        left -= far.recv_into(buffer)
    spent = time.perf_counter() - began
    sender.join()
    near.close()
    far.close()
    return BYTES / spent / 1e6


def echo(port: int, *, token: bool, times: int = 3000) -> float:
    """Microseconds of one short message there and back."""
    near, far = pair(port, token=token)

    def answer() -> None:
        while got := far.recv(4096):
            far.sendall(got)

    threading.Thread(target=answer, daemon=True).start()
    message, waits = bytes(MESSAGE), []
    for _ in range(times):
        began = time.perf_counter()
        near.sendall(message)
        left = MESSAGE
        while left:
            left -= len(near.recv(left))
        waits.append(time.perf_counter() - began)
    near.close()
    return statistics.median(waits) * 1e6


def _compare(measure: Callable[..., float]) -> tuple[list[float], list[float]]:
    """Ours and the rival's, in turn."""
    with ours() as (_, our_port), bare() as (_, their_port):
        runs = [(measure(our_port, token=True), measure(their_port, token=False)) for _ in range(ROUNDS)]
    return [one for one, _ in runs], [other for _, other in runs]


def run() -> list[Result]:
    """Bulk and round trips against the bare splice."""
    if not hasattr(os, "splice"):
        return []
    results = []
    for what, unit, measure, goal, better in (
        ("bytes through one bridge", "MB/s", bulk, f"≥ {GOAL}x", 1),
        ("message there and back", "µs", echo, "≤ 2x", -1),
    ):
        mine, theirs = _compare(measure)
        a, b = statistics.median(mine), statistics.median(theirs)
        met = a / b >= GOAL if better > 0 else a / b <= 2
        results.append(Result("relay", what, unit, a, "bare splice", b, a / b, goal, met, spread(mine)))
    return results


# ---------------------------------------------------------------- many at once


def _status(pid: int) -> tuple[float, float]:
    """Seconds of CPU and MB in RAM."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def crowd() -> None:
    """500 busy bridges and 5,000 idle registrations in one relay on one core."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ours() as (pid, port):
        os.sched_setaffinity(pid, {0})
        _, empty = _status(pid)
        idle, codes = [], []
        for number in range(IDLE):
            peer = socket.create_connection((HOST, port))
            peer.sendall(b'{"type":"register_peer","tag":"%s"}\n' % base64.b64encode(number.to_bytes(32, "big")))
            codes.append(json.loads(peer.recv(4096).split(b"\n")[0])["type"])
            idle.append(peer)
        assert set(codes) == {"peer_registered"}
        _, registered = _status(pid)
        bridges = [pair(port, token=True) for _ in range(BUSY)]
        poll, ends = select.epoll(), {}
        for near, far in bridges:
            for one in (near, far):
                one.setblocking(False)
                ends[one.fileno()] = one
                poll.register(one, select.EPOLLIN)
            near.send(bytes(MESSAGE * 4))  # four messages of each bridge are always on their way
        cpu, _ = _status(pid)
        began, passed = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            for fd, _ in poll.poll():
                got = ends[fd].recv(65536)
                passed += len(got)
                ends[fd].send(got)
        spent, full = _status(pid)
        print(f"{IDLE} idle registrations: {(registered - empty) * 1000 / IDLE:.1f} kB each")
        print(
            f"{BUSY} busy bridges beside them: {passed / MESSAGE / SECONDS:,.0f} messages/s, "
            f"{(spent - cpu) / SECONDS:.0%} of one core, {full:.0f} MB "
            f"({(full - registered) * 1000 / BUSY:.1f} kB a bridge)"
        )


if __name__ == "__main__":
    if "--splice" in sys.argv:
        splice_forever()
    elif "--crowd" in sys.argv:
        crowd()
    else:
        for result in run():
            print(f"{result.what}: {result.ours:.4g} {result.unit}, {result.ratio:.2f}x {result.rival_name}")
            print(f"  {result.note}; rival {result.rival:.4g}")
