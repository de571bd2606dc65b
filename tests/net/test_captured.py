"""Every packet of a LAN on which people meet by a code, caught at one host's interface and searched."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from sandpiper.testing.netlab import Host, NetLab, available
from tests.captured import all_said, shown, spoken
from tests.program import SANDPIPER, Program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

ROOM, TEXTS = "birdwatchers", ("the heron has landed", "who saw the kingfisher")
NICKS = ("alice-heron", "bob-egret")
EVERYTHING = 0x0003  # ETH_P_ALL
TCP, UDP = 6, 17


class Capture:
    """All frames of a host's interface, in and out, taken apart far enough to know what was said over what."""

    def __init__(self, host: Host) -> None:
        self._sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._sock.bind((host.interface(), 0))
        self._sock.settimeout(0.2)
        self._over = threading.Event()
        self.frames: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self.frames.append(self._sock.recv(1 << 17))

    def close(self) -> None:
        self._over.set()
        self._reader.join(10)
        self._sock.close()

    def said(self, protocol: int) -> bytes:
        """What was said over TCP (each direction in one piece) or UDP."""
        flows: dict[tuple[bytes, bytes], dict[int, bytes]] = {}
        for number, frame in enumerate(self.frames):
            packet = frame[14:]
            if frame[12:14] == b"\x08\x00":
                head, kind, ends = (packet[0] & 15) * 4, packet[9], packet[12:20]
                packet = packet[: int.from_bytes(packet[2:4], "big")]
            elif frame[12:14] == b"\x86\xdd":
                head, kind, ends = 40, packet[6], packet[8:40]
                packet = packet[: 40 + int.from_bytes(packet[4:6], "big")]
            else:
                continue
            if kind != protocol:
                continue
            inside = packet[head:]
            if kind == TCP:
                at, body = int.from_bytes(inside[4:8], "big"), inside[(inside[12] >> 4) * 4 :]
            else:
                at, body = number, inside[8:]
            if body:
                flows.setdefault((ends, inside[:4]), {}).setdefault(at, body)
        return b"\n--\n".join(b"".join(parts.values()) for parts in flows.values())


def test_on_a_lan_a_join_shows_who_is_there_and_nothing_of_the_room(lab: NetLab, tmp_path: Path) -> None:
    """Nick and key are in beacons, for everybody to find; the words, the room and what is said in it are nowhere."""
    office = lab.lan("office")
    hosts = [lab.host(nick.partition("-")[0], office) for nick in NICKS]
    capture = Capture(hosts[0])
    base = (str(SANDPIPER), "--plain", "--json", "--no-input", "--nick")

    def run(number: int, *command: str) -> Program:
        words = (base[0], *command, *base[1:], NICKS[number])
        return Program(NICKS[number], tmp_path / NICKS[number], command=words, start=hosts[number].popen)

    try:
        with run(0, "create", ROOM) as host:
            host.wait(lambda me: any(room.get("code") for room in me.of("room")), 30, "a code")
            code = str(next(room["code"] for room in host.of("room") if room.get("code")))
            host.say(TEXTS[0])
            with run(1, "join", code) as guest:
                guest.shows(TEXTS[0], 30)
                guest.say(TEXTS[1])
                host.shows(TEXTS[1], 30)
                keys = [str(one.of("ready")[0]["key"]) for one in (host, guest)]
    finally:
        capture.close()
    beacons, links = capture.said(UDP), capture.said(TCP)
    one, other, number = code.split("-")
    assert b"SANDPIPER/1\n" in links
    assert re.search(rb"\x01\x01" + number.encode(), links), "the number is asked for in the clear"
    assert b'"announce"' in beacons
    for heard in (beacons, links):
        assert spoken((one, other), heard) == []
        assert all_said((ROOM, f"#{ROOM}", *TEXTS), heard) == []
    assert set(all_said(NICKS, beacons)) == set(NICKS), "who is there, everybody may know"
    assert all_said(NICKS, links) == []
    assert not [key for key in keys if shown(key, links)]
