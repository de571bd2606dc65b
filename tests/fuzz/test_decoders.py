"""Every decoder gives what it promises or raises our error, whatever bytes it is given, and stays within bounds."""

import contextlib
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandpiper.crypto.handshake import LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import open_record, record_id, seal_record
from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.admission import CodeOpen, Guesses, Roster, decode_admission, decode_link, encode_admission
from sandpiper.wire.beacon import Beacon, decode_beacon, encode_beacon
from sandpiper.wire.frames import Hello, Records, decode_frame, encode_frame
from sandpiper.wire.ids import NO_RECORD, PeerKey
from sandpiper.wire.limits import MAX_FRAME_BYTES, MAX_NICK_CHARS, MAX_TEXT_CHARS
from sandpiper.wire.meeting import (
    Answers,
    CrossWith,
    Here,
    Meet,
    decode_code_signal,
    decode_room_signal,
    encode_code_signal,
    encode_room_signal,
)
from sandpiper.wire.records import Edit, Head, Profile, React, Record, Text, Topic, decode_payload

ME = Identity(b"m" * 32)
ROOM = open_room("general")
GOOD_RECORD = seal_record(
    ME, ROOM, 1, NO_RECORD, (Head(b"a" * 32, 1, b"i" * 32),), 1_700_000_000_000, Text("hello")
).raw
GOOD_FRAME = encode_frame(Records(ROOM, (GOOD_RECORD,)))
GOOD_HELLO = encode_frame(Hello(1, "x", "nick", 1_700_000_000_000, (b"t" * 8,), "away", ("f",)))
GOOD_BEACON = encode_beacon(Beacon("announce", "p", "nick", 9, 1_700_000_000.0, 1, PeerKey(b"k" * 32)))
GOOD_FIRST = LinkHandshake(ME, initiator=True, secret=b"s" * 64).first()

GOOD_CODE = encode_admission(CodeOpen(ROOM, b"i" * 8, "42", ("pine", "ocean"), 1000, wrong=(Guesses(ROOM, 1),)))
GOOD_ROSTER = encode_admission(Roster((GOOD_RECORD,), more=True))

DECODERS: dict[str, tuple[Callable[[bytes], object], tuple[bytes, ...]]] = {
    "beacon": (decode_beacon, (GOOD_BEACON,)),
    "frame": (decode_frame, (GOOD_FRAME, GOOD_HELLO)),
    "admission": (decode_admission, (GOOD_CODE, GOOD_ROSTER)),
    "link": (decode_link, (GOOD_CODE, GOOD_HELLO)),
    "code signal": (decode_code_signal, (encode_code_signal(CrossWith(bytes(32))), encode_code_signal(Answers()))),
    "room signal": (
        decode_room_signal, (encode_room_signal(Meet(ME.key, bytes(32))), encode_room_signal(Here(ME.key))),
    ),
    "record": (lambda raw: open_record(raw, ROOM), (GOOD_RECORD,)),
    "payload": (lambda raw: decode_payload(raw, record_id(raw)), (GOOD_RECORD,)),
    "handshake": (
        lambda raw: LinkHandshake(ME, initiator=False, secret=b"t" * 64).answer(raw), (GOOD_FIRST, bytes(33)),
    ),
}  # fmt: skip

FUZZ = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@st.composite
def near(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Bytes that are almost right."""
    raw = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.sampled_from(["set", "cut", "grow", "double"])):
            case "set":
                raw[at : at + 1] = bytes((draw(st.integers(0, 255)),))
            case "cut":
                del raw[at : at + draw(st.integers(1, 40))]
            case "grow":
                raw[at:at] = draw(st.binary(max_size=30))
            case _:
                raw[at:at] = raw[:at]
    return bytes(raw)


def harmless(decoded: object) -> bool:
    """All texts in what was decoded are fit to be shown, and within their lengths."""
    match decoded:
        case Record(body=body):
            return harmless(body)
        case Text(text=text) | Edit(text=text):
            return len(text) <= MAX_TEXT_CHARS and all(c.isprintable() or c in "\n\t" or ord(c) > 127 for c in text)
        case Topic(text=line) | Profile(nick=line) | React(emoji=line):
            return "\n" not in line and all(c.isprintable() or ord(c) > 127 for c in line)
        case Beacon(username=nick):
            return 0 < len(nick) <= MAX_NICK_CHARS and nick.isprintable()
        case _:
            return True


@pytest.mark.parametrize("name", DECODERS)
def test_bytes_that_are_almost_right(name: str) -> None:
    decode, good = DECODERS[name]

    @FUZZ
    @given(near(good))
    @example(good[0])
    def check(raw: bytes) -> None:
        try:
            assert harmless(decode(raw))
        except RemoteProtocolError as exc:
            told = str(exc)
            assert len(told) < 1000

    check()


@pytest.mark.parametrize("name", DECODERS)
def test_bytes_that_are_nothing(name: str) -> None:
    decode, _ = DECODERS[name]

    @FUZZ
    @given(st.binary(max_size=2000))
    @example(b"")
    @example(b"\x00" * 1000)
    @example(b"\xff" * 1000)
    def check(raw: bytes) -> None:
        with contextlib.suppress(RemoteProtocolError):
            assert harmless(decode(raw))

    check()


BOMBS = {
    "nested lists": b"\x91" * (MAX_FRAME_BYTES - 1),
    "nested maps": b"\x81\xa1a" * 300_000,
    "a list said to be huge": b"\xdd\xff\xff\xff\xff",
    "a map said to be huge": b"\xdf\xff\xff\xff\xff",
    "a string said to be huge": b"\xdb\xff\xff\xff\xff",
    "bytes said to be huge": b"\xc6\xff\xff\xff\xff",
    "an extension said to be huge": b"\xc9\xff\xff\xff\xff\x01",
    "as many nothings as fit": b"\xdd\x00\x0f\xff\x00" + b"\xc0" * 1_048_000,
    "as many empty lists as fit": b"\xdd\x00\x0f\xff\x00" + b"\x90" * 1_048_000,
    "fields without end": b"\x9f" + b"\x01" * 15,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_bytes_do_not_become_large_values(bomb: str) -> None:
    """Neither for frames nor for records, in any place of them."""
    for kind in (*range(48), 128, 255):
        raw = bytes((kind,)) + BOMBS[bomb]
        measured(lambda: decode_frame(raw[:MAX_FRAME_BYTES]))  # noqa: B023
        measured(lambda: decode_admission(raw[:MAX_FRAME_BYTES]))  # noqa: B023
    for prefix in (b"", b"\x98", b"\x98\x01", b"\x98\x01\xc4\x20" + ROOM):
        measured(lambda: open_record((bytes(64) + prefix + BOMBS[bomb])[:60_000], ROOM))  # noqa: B023


def measured(decode: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(RemoteProtocolError):
            decode()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * MAX_FRAME_BYTES


def test_the_good_ones_are_good() -> None:
    for decode, good in DECODERS.values():
        assert decode(good[0])
