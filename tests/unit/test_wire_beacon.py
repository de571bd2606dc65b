"""Beacons: at most 1024 bytes, both dialects, and nothing that arrives does more than be refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.wire.beacon import (
    MAX_TAGS,
    BadBeacon,
    Beacon,
    b64,
    decode_beacon,
    encode_beacon,
    parse_timestamp,
    rfc3339,
    unb64,
)
from sandpiper.wire.ids import PeerKey, RoomTag
from sandpiper.wire.limits import MAX_BEACON_BYTES
from sandpiper.wire.text import clean_nick

KEY = PeerKey(bytes(range(32)))
AT = 1_750_000_000.123


def beacon(**fields: object) -> Beacon:
    values = {
        "type": "announce",
        "peer_id": "98a1",
        "username": "alice",
        "port": 8080,
        "timestamp": AT,
        "sequence": 3,
        "key": KEY,
        "rooms": (RoomTag(b"lobbytag"),),
        "address": "192.168.1.20",
    }
    return Beacon(**{**values, **fields})  # type: ignore[arg-type]


def datagram(**fields: object) -> bytes:
    """What an old program (or a liar) sends."""
    values: dict[str, object] = {
        "type": "announce",
        "peer_id": "0123456789abcdef",
        "username": "bob",
        "address": "192.168.1.30",
        "port": 8081,
        "timestamp": "2026-11-21T10:30:00.123456789+01:00",
        "sequence": 1,
    }
    return json.dumps({**values, **fields}).encode()


beacons = st.builds(
    Beacon,
    st.sampled_from(("announce", "ping", "pong", "leave")),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=64),
    st.text(max_size=40).map(clean_nick),
    st.integers(0, 65535),
    st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000),
    st.integers(0, 2**62 - 1),
    st.none() | st.binary(min_size=32, max_size=32).map(PeerKey),
    st.lists(st.binary(min_size=8, max_size=8).map(RoomTag), max_size=60).map(tuple),
    st.sampled_from(("", "10.0.0.1", "fe80::1%eth0")),
)


@given(beacons, st.booleans())
def test_a_beacon_comes_out_as_it_went_in_and_fits_one_datagram(sent: Beacon, unix_time: bool) -> None:
    raw = encode_beacon(sent, unix_time=unix_time)
    assert len(raw) <= MAX_BEACON_BYTES
    got = decode_beacon(raw)
    for field in ("type", "peer_id", "username", "port", "sequence", "key", "address"):
        assert getattr(got, field) == getattr(sent, field), field
    assert abs(got.timestamp - sent.timestamp) <= (1 if unix_time else 0.001)
    assert got.rooms == (sent.rooms[: len(got.rooms)] if sent.key else ())


def test_room_tags_are_dropped_rather_than_a_datagram_too_long() -> None:
    rooms = tuple(RoomTag(n.to_bytes(8, "big")) for n in range(200))
    assert len(decode_beacon(encode_beacon(beacon(rooms=rooms))).rooms) == MAX_TAGS
    wide = beacon(rooms=rooms, username="\U0001f426" * 32, peer_id="p" * 128)
    got = decode_beacon(encode_beacon(wide))
    assert 0 < len(got.rooms) < MAX_TAGS
    assert got.username == "\U0001f426" * 32


def test_a_beacon_that_cannot_fit_is_an_error_and_not_a_longer_datagram() -> None:
    with pytest.raises(BadBeacon):
        encode_beacon(beacon(peer_id="\U0001f426" * 300))


def test_the_old_program_finds_every_key_it_knows() -> None:
    said = json.loads(encode_beacon(beacon()))
    assert {key: said[key] for key in said if key != "sp"} == {
        "type": "announce",
        "peer_id": "98a1",
        "username": "alice",
        "address": "192.168.1.20",
        "port": 8080,
        "timestamp": "2025-06-15T15:06:40.123Z",
        "sequence": 3,
    }
    assert set(said["sp"]) == {"v", "key", "rooms"}
    assert "sp" not in json.loads(encode_beacon(beacon(key=None)))
    assert json.loads(encode_beacon(beacon(), unix_time=True))["timestamp"] == int(AT)


def test_the_old_program_is_understood() -> None:
    got = decode_beacon(datagram())
    assert (got.key, got.rooms, got.username, got.port) == (None, (), "bob", 8081)
    assert got.timestamp == pytest.approx(1_795_253_400.123456)
    assert not got.unix_time
    assert decode_beacon(datagram(timestamp=1_750_000_000)).unix_time
    assert decode_beacon(b'{"type":"ping","peer_id":"x"}') == Beacon("ping", "x", "nameless", 0, 0.0, 0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2025-06-15T15:06:40Z", 1_750_000_000),
        ("2025-06-15T15:06:40.5Z", 1_750_000_000.5),
        ("2025-06-15T15:06:40.123456789Z", 1_750_000_000.123456),  # Go: nanoseconds
        ("2025-06-15T17:06:40.123456789+02:00", 1_750_000_000.123456),
        ("2025-06-15T10:06:40-05:00", 1_750_000_000),
        ("0001-01-01T00:00:00Z", -62135596800),  # Go's zero time
        ("", 0.0),
        (0, 0.0),
        (1_750_000_000, 1_750_000_000),
        (1_750_000_000.25, 1_750_000_000.25),
        (1_750_000_000_123, 1_750_000_000.123),  # milliseconds
        (1_750_000_000_123_456, 1_750_000_000.123456),  # microseconds
        (1_750_000_000_123_456_789, 1_750_000_000.123456789),  # nanoseconds
        (-5, -5),
    ],
)
def test_times_are_understood_however_old_programs_write_them(written: float | str, seconds: float) -> None:
    assert parse_timestamp(written) == pytest.approx(seconds, abs=1e-6)


@given(st.integers(0, 253_402_300_799_000))
def test_our_times_are_read_back_to_the_millisecond(ms: int) -> None:
    assert rfc3339(ms / 1000).endswith("Z")
    assert abs(parse_timestamp(rfc3339(ms / 1000)) - ms / 1000) < 0.0011


@given(st.binary(max_size=1100) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_beacon_or_a_bad_beacon_and_nothing_else(raw: bytes) -> None:
    try:
        decode_beacon(raw)
    except BadBeacon:
        return


json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(("type", "peer_id", "username", "address", "port", "timestamp", "sequence", "sp", "else")),
        json_values,
        min_size=1,
        max_size=4,
    )
)
def test_any_values_in_its_fields_are_a_beacon_or_a_bad_beacon(fields: dict[str, object]) -> None:
    try:
        got = decode_beacon(datagram(**fields))
    except BadBeacon:
        return
    assert math.isfinite(got.timestamp)


@given(beacons, st.data())
def test_a_beacon_that_was_damaged_is_another_beacon_or_a_bad_one(sent: Beacon, data: st.DataObject) -> None:
    raw = bytearray(encode_beacon(sent))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_beacon(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except BadBeacon:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 1000,
        b'{"a":' * 200,
        b"\xff\xfe",
        datagram(type="shout"),
        datagram(peer_id=""),
        datagram(peer_id="p" * 129),
        datagram(username="u" * 257),
        datagram(port=65536),
        datagram(port=-1),
        datagram(port="80"),
        datagram(sequence=-1),
        datagram(sequence=1 << 62),
        datagram(timestamp="yesterday"),
        datagram(timestamp="2025-13-45T00:00:00Z"),
        datagram(timestamp="2" * 65),
        datagram(timestamp=[1]),
        datagram(sp={"v": 1}),
        datagram(sp={"v": 1, "key": ""}),
        datagram(sp={"v": 1, "key": "A" * 44}),
        datagram(sp={"v": 1, "key": "!" * 43}),
        datagram(sp={"v": 1, "key": "é" * 43}),
        datagram(sp={"v": 1, "key": b64(KEY), "rooms": ["AAAA"]}),
        datagram(sp={"v": 1, "key": b64(KEY), "rooms": ["A" * 11] * (MAX_TAGS + 1)}),
        datagram(padding="x" * 1000),
    ],
)
def test_what_is_no_beacon_is_refused(raw: bytes) -> None:
    with pytest.raises(BadBeacon):
        decode_beacon(raw)


def test_a_beacon_of_another_version_says_to_update() -> None:
    with pytest.raises(BadBeacon) as caught:
        decode_beacon(datagram(sp={"v": 2, "key": b64(KEY)}))
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("ours", [None, {"v": 1, "key": b64(KEY), "later": [1]}])
def test_unknown_keys_are_ignored(ours: dict[str, object] | None) -> None:
    assert decode_beacon(datagram(sp=ours, later={"x": 1})).key == (KEY if ours else None)


def test_nicks_in_beacons_are_safe_to_show() -> None:
    assert decode_beacon(datagram(username="\x1b[2J@root\u202e")).username == "␛[2J@root"


@given(st.binary(max_size=40))
def test_base64_is_url_safe_without_padding_and_read_back(raw: bytes) -> None:
    text = b64(raw)
    assert not set(text) & set("+/=")
    assert unb64(text, len(raw)) == raw
    with pytest.raises(ValueError, match="bytes where"):
        unb64(text, len(raw) + 1)
