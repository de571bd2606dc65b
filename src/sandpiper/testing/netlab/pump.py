"""Joins two TAP interfaces in user space with delay, loss and a rate: the lab's netem for kernels without one.

Runs as a child process, by its path, so it imports the standard library only. ``pump.py TAP TAP`` makes both TAPs in
the network namespace it was started in. Each line on stdin is a setting, ``DELAY_SECONDS LOSS BYTES_A_SECOND SEED``
(rate 0 = unlimited, seed ``-`` = by chance), answered with ``ok`` once it holds. The end of stdin ends the pump, so it
can not outlive the lab that started it.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import select
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass

# The queue before a slow link, as in a small router: what a quarter of a second carries, and never less than 64 full
# frames, so that a burst passes at low rates. What finds it full is dropped.
QUEUE_SECONDS = 0.25
QUEUE_BYTES = 64 * 1514
# Bounds the memory of a long delay without a rate: 1 s at 30,000 frames a second, about what this pump can carry.
QUEUE_FRAMES = 30_000
# Frames taken from one TAP before the other gets its turn.
BURST = 64

_FRAME_BYTES = 65_536
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


@dataclass(frozen=True, slots=True)
class Setting:
    """How a link treats frames: seconds one way, share of frames lost (0 to 1), bytes a second (0 = unlimited)."""

    delay: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    seed: str | None = None

    @classmethod
    def parse(cls, line: str) -> Setting:
        """Read a line of stdin. Raises ValueError when it is none."""
        delay, loss, rate, seed = line.split()
        return cls(float(delay), float(loss), float(rate), None if seed == "-" else seed)

    def line(self) -> str:
        """Give the line that :meth:`parse` reads."""
        return f"{self.delay} {self.loss} {self.rate} {'-' if self.seed is None else self.seed}\n"


class Direction:
    """One direction of the link, without IO: frames are offered, and come due later, in order. Times are in seconds.

    With a seed, each kind of traffic (ARP, UDP, TCP, …) has its own sequence of chances: the n-th UDP frame after a
    setting meets the same fate in every run, whatever else is on the wire.
    """

    def __init__(self, name: str) -> None:
        """Make a direction that delivers at once; the name keeps the chances of both directions apart."""
        self._name = name
        self._setting = Setting()
        self._chances: dict[bytes, random.Random] = {}
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._free = 0.0  # when the link has sent all that was accepted

    def set(self, setting: Setting) -> None:
        """Treat frames in this way from now on; those already under way keep their time."""
        self._setting = setting
        self._chances.clear()
        self._free = 0.0

    def offer(self, frame: bytes, now: float) -> bool:
        """Accept a frame, or drop it (False): by chance, or because the queue is full."""
        setting = self._setting
        if setting.loss and self._chance(frame).random() < setting.loss:
            return False
        if len(self._waiting) >= QUEUE_FRAMES:
            return False
        due = now
        if setting.rate:
            start = max(self._free, now)
            if (start - now) * setting.rate > max(QUEUE_BYTES, QUEUE_SECONDS * setting.rate):
                return False
            due = self._free = start + len(frame) / setting.rate
        due += setting.delay
        if self._waiting:
            due = max(due, self._waiting[-1][0])  # a shorter delay never lets a frame overtake
        self._waiting.append((due, frame))
        return True

    def take_due(self, now: float) -> list[bytes]:
        """Remove and give the frames whose time has come, oldest first."""
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        return due

    def deadline(self) -> float:
        """Give the time at which the next frame comes due, infinity when none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def _chance(self, frame: bytes) -> random.Random:
        """Give the sequence of chances for this frame's kind: its ethertype and, for IP, its protocol."""
        kind = frame[12:14]
        if kind == b"\x08\x00":
            kind += frame[23:24]
        elif kind == b"\x86\xdd":
            kind += frame[20:21]
        chance = self._chances.get(kind)
        if chance is None:
            seed = self._setting.seed
            chance = random.Random(None if seed is None else f"{seed} {self._name} {kind.hex()}")
            self._chances[kind] = chance
        return chance


def open_tap(name: str) -> int:
    """Make a TAP interface in this process's network; it is gone when the descriptor closes. Raises OSError."""
    import fcntl  # not there on Windows, where this module must still be importable

    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), _IFF_TAP | _IFF_NO_PI))
    return tap


def pump(taps: tuple[int, int], orders: int, answers: int) -> None:
    """Carry frames between both TAPs, obeying the settings read from `orders`, until that ends."""
    there, back = Direction("there"), Direction("back")
    ways = {taps[0]: (there, taps[1]), taps[1]: (back, taps[0])}
    unread = b""
    while True:
        wait = max(0.0, min(there.deadline(), back.deadline()) - time.monotonic())
        # select, because it waits by the microsecond where epoll waits by the millisecond
        for descriptor in select.select([*taps, orders], [], [], None if wait == math.inf else wait)[0]:
            if descriptor != orders:
                _take_in(descriptor, ways[descriptor][0])
                continue
            more = os.read(orders, 4096)
            if not more:
                return
            *lines, unread = (unread + more).split(b"\n")
            for line in lines:
                setting = Setting.parse(line.decode("ascii"))
                there.set(setting)
                back.set(setting)
                os.write(answers, b"ok\n")
        for direction, out in ways.values():
            _give_out(direction, out)


def _take_in(tap: int, direction: Direction) -> None:
    """Offer what has arrived on a TAP."""
    for _ in range(BURST):
        try:
            frame = os.read(tap, _FRAME_BYTES)
        except OSError:  # nothing more to read, or the interface is down
            return
        direction.offer(frame, time.monotonic())


def _give_out(direction: Direction, tap: int) -> None:
    """Write out what has come due."""
    for frame in direction.take_due(time.monotonic()):
        with contextlib.suppress(OSError):  # the interface is down: the frame is lost, as on a pulled cable
            os.write(tap, frame)


def main() -> None:
    """Run the pump between the two TAPs named on the command line."""
    first, second = sys.argv[1:]
    try:
        taps = open_tap(first), open_tap(second)
    except OSError as error:
        sys.exit(f"can not make a TAP interface: {error}")
    pump(taps, sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
