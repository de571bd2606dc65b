"""Datagrams from anybody on the LAN: garbage, cut, oversized, forged, replayed."""

import contextlib
import json
import random
import socket
import struct
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandpiper.net.beacons import peer_id
from sandpiper.wire.beacon import Beacon, b64, encode_beacon
from sandpiper.wire.ids import PeerKey
from tests.fuzz.arena import HOST, Arena, resident

LEAK = 10 * 1024 * 1024  # a kilobyte a datagram would be twice as much


def beacon(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "type": "announce", "peer_id": "e" * 32, "username": "eve", "port": 9, "timestamp": time.time(),
        "sequence": 1, "key": PeerKey(b"e" * 32),
    } | changes  # fmt: skip
    return encode_beacon(Beacon(**fields))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def twisted(draw: st.DrawFn) -> bytes:
    """A beacon in which some fields hold something else."""
    fields = json.loads(beacon())
    for name in draw(st.lists(st.sampled_from([*fields, "key", "rooms", "v", "extra"]), min_size=1, max_size=3)):
        where = fields["sp"] if name in ("v", "key", "rooms") and isinstance(fields["sp"], dict) else fields
        where[name] = draw(JSON)
    return json.dumps(fields, allow_nan=True, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a beacon, cut, flipped or grown."""
    raw = bytearray(beacon(type=draw(st.sampled_from(["announce", "ping", "pong", "leave"]))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["flip", "cut", "grow"])):
            case "flip":
                raw[at] ^= draw(st.integers(1, 255))
            case "cut":
                raw = raw[: max(1, at)]
            case _:
                raw[at:at] = draw(st.binary(max_size=20))
    return bytes(raw)


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.binary(max_size=1500) | twisted() | damaged(), min_size=1, max_size=20))
def test_no_datagram_harms_a_node(arena: Arena, datagrams: list[bytes]) -> None:
    arena.cast(datagrams)
    assert not arena.ear.wrong, arena.ear.wrong


def test_the_friends_still_talk(arena: Arena) -> None:
    arena.check()
    assert arena.strangers_stored() == []


SHAPES = {
    "nothing": b"",
    "a zero": b"\x00",
    "deep lists": b"[" * 1024,
    "deep objects": b'{"a":' * 200,
    "oversized": beacon()[:-1] + b',"x":"' + b"y" * 2000 + b'"}',
    "as long as can be": b"{" + b" " * 60_000 + b"}",
    "bad utf-8": beacon().replace(b"eve", b"\xff\xfe\xfd"),
    "a lone surrogate": beacon().replace(b"eve", b"\\ud800"),
    "controls": beacon().replace(b"eve", b"\\u001b[2J\\r\\nERROR: forged line"),
    "controls where a word belongs": beacon().replace(b"announce", b"\\u001b[2J\\n2026 ERROR forged line"),
    "a long number": beacon().replace(b'"port":9', b'"port":' + b"9" * 400),
    "infinity": beacon().replace(b'"port":9', b'"port":1e999'),
    "a far date": beacon().replace(b'"timestamp":"2', b'"timestamp":"9'),
    "no date": beacon().replace(b'"timestamp":"', b'"timestamp":"x'),
    "another version": beacon().replace(b'"v":1', b'"v":2'),
    "a short key": beacon().replace(b64(b"e" * 32).encode(), b"ZWVl"),
    "no base64": beacon().replace(b64(b"e" * 32).encode(), b"\\u0000!" * 5),
    "twice": beacon() * 2,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_datagram_that_is_no_beacon_gets_at_most_one_line(arena: Arena, shape: str) -> None:
    before = arena.ear.lines.total()
    arena.cast([SHAPES[shape]])
    arena.run(arena._talk())
    lines = list(arena.ear.newest)[len(arena.ear.newest) - min(200, arena.ear.lines.total() - before) :]
    # Two nodes hear it.
    assert len([line for line in lines if "datagram from" in line or "beacon from" in line or "clock" in line]) <= 2
    assert not arena.ear.wrong, arena.ear.wrong


def test_forged_goodbyes_and_addresses_of_a_friend_do_not_touch_its_link(arena: Arena) -> None:
    friend, victim = arena.friend, arena.victim
    link = victim.link(friend.key)
    forged = [
        beacon(type=kind, key=key, peer_id=name, port=port, sequence=number, timestamp=time.time() + skew)
        for number, (kind, key, name, port, skew) in enumerate(
            (kind, key, name, port, skew)
            for kind in ("leave", "ping", "announce")
            for key in (friend.key, victim.key)
            for name in (peer_id(friend.key), peer_id(victim.key), "x")
            for port in (0, 1, victim.port, friend.port)
            for skew in (-1e6, 0, 1e6)
        )
    ]
    arena.cast(forged * 3)
    arena.check()
    assert victim.link(friend.key) is link, "not even made anew"


def test_replayed_beacons_do_no_harm(arena: Arena) -> None:
    """Real ones, heard on the group as anybody can, played back many times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        membership = socket.inet_aton(arena.group[0]) + struct.pack("4s", socket.inet_aton(HOST))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        ear.bind(("", arena.group[1]))
        ear.settimeout(0.2)
        recorded: set[bytes] = set()
        while len(recorded) < 2:
            arena.cast([beacon(type="ping", peer_id="curious", key=None)])  # both answer, though not to each one
            with contextlib.suppress(TimeoutError):
                while True:
                    raw = ear.recv(2000)
                    if b'"pong"' in raw:
                        recorded.add(raw)
    arena.cast(list(recorded) * 500)
    arena.check()


def test_a_flood_of_bad_and_forged_datagrams_leaves_memory_flat(arena: Arena) -> None:
    """20,000 of them; the first round fills all tables that there are."""
    rng = random.Random(5)

    def bad(number: int) -> bytes:
        key = PeerKey(rng.randbytes(32))
        match number % 5:
            case 0:
                return rng.randbytes(rng.randrange(1400))
            case 1:
                return beacon(key=key, peer_id=key.hex()[:32], port=1 + rng.randrange(1000))[: rng.randrange(10, 300)]
            case 2:
                return beacon(peer_id=rng.randbytes(16).hex(), key=None, timestamp=rng.random() * 1e10)
            case 3:
                return beacon(key=key, peer_id=key.hex()[:32], port=0)
            case _:
                return beacon(key=key, peer_id=key.hex()[:32], type="ping", port=1, timestamp=rng.random() * 1e10)

    with arena.quietly():
        arena.cast([bad(number) for number in range(6000)])
        arena.check()
        before, heard = resident(), arena.heard
        for _ in range(4):
            arena.cast([bad(number) for number in range(5000)])
        arena.check()
        assert arena.heard - heard > 15_000, "the system has dropped too many for this to say anything"
        assert resident() - before < LEAK
    assert len(arena.victim.linked()) == 1
    assert arena.strangers_stored() == []
