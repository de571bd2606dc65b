"""Frames: what is written is read back; what is not a frame is refused with the one documented error."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.wire.frames import (
    AnyFrame,
    BadFrame,
    Bye,
    Fetch,
    Heads,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    Rooms,
    Typing,
    UnknownFrame,
    Want,
    decode_frame,
    encode_frame,
)
from sandpiper.wire.limits import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_FETCH_IDS,
    MAX_FRAME_BYTES,
    MAX_HEADS,
    MAX_RECORD_BYTES,
    MAX_ROOM_TAGS,
    MAX_SEQ,
    MAX_TIME_MS,
)
from sandpiper.wire.records import Head

KEY, OTHER, TAG = bytes(range(32)), bytes(32), bytes(8)

keys = st.binary(min_size=32, max_size=32)
tags = st.lists(st.binary(min_size=8, max_size=8), max_size=5).map(tuple)
heads = st.lists(st.builds(Head, keys, st.integers(1, MAX_SEQ), keys), max_size=5).map(tuple)
numbers = st.integers(0, 2**62 - 1)
frames: st.SearchStrategy[AnyFrame] = st.one_of(
    st.builds(
        Hello,
        st.integers(-(2**31), 2**31),
        st.text(max_size=64),
        st.text(max_size=128),
        st.integers(0, MAX_TIME_MS),
        tags,
        st.text(max_size=400),
        st.lists(st.text(max_size=9), max_size=5).map(tuple),
    ),
    st.builds(Rooms, tags),
    st.builds(Presence, st.text(max_size=128), st.text(max_size=400)),
    st.builds(Heads, keys, heads, st.booleans()),
    st.builds(Want, keys, heads, st.integers(0, MAX_BATCH_RECORDS)),
    st.builds(Fetch, keys, st.lists(keys, max_size=5).map(tuple)),
    st.builds(Records, keys, st.lists(st.binary(max_size=99), max_size=5).map(tuple), st.integers(0, 3), st.booleans()),
    st.builds(Ping, numbers),
    st.builds(Pong, numbers),
    st.builds(Typing, keys),
    st.builds(Bye, st.text(max_size=32), st.text(max_size=400)),
)


@given(frames)
def test_a_frame_comes_out_as_it_went_in(frame: AnyFrame) -> None:
    raw = encode_frame(frame)
    assert raw[0] == frame.kind
    assert decode_frame(raw) == frame
    assert decode_frame(memoryview(raw)) == frame


@given(st.binary(max_size=300) | st.builds(lambda kind, body: bytes((kind,)) + body, st.integers(1, 33), st.binary()))
def test_any_bytes_are_a_frame_or_a_bad_frame_and_nothing_else(raw: bytes) -> None:
    try:
        decode_frame(raw)
    except BadFrame:
        return


@given(frames, st.data())
def test_a_frame_that_was_damaged_is_another_frame_or_a_bad_one(frame: AnyFrame, data: st.DataObject) -> None:
    raw = bytearray(encode_frame(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(("flip", "cut", "insert", "double"))):
            case "flip" if raw:
                raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
            case "cut":
                del raw[data.draw(st.integers(0, len(raw))) :]
            case "insert":
                raw[data.draw(st.integers(0, len(raw))) :] += data.draw(st.binary(max_size=8))
            case _:
                raw += bytes(raw)
    try:
        decode_frame(bytes(raw))
    except BadFrame:
        return


@pytest.mark.parametrize("kind", [0, 10, 15, 16, 31, 34, 99, 255])
def test_kinds_of_later_versions_are_told_apart_from_bad_frames(kind: int) -> None:
    assert decode_frame(bytes((kind,)) + b"\xff\xff") == UnknownFrame(kind)


def test_fields_of_later_versions_are_ignored() -> None:
    raw = bytes((Ping.kind,)) + msgspec.msgpack.encode([7, "something new", {"more": [1, 2]}])
    assert decode_frame(raw) == Ping(7)


def test_fields_that_came_later_may_be_missing() -> None:
    raw = bytes((Hello.kind,)) + msgspec.msgpack.encode([1, "agent", "nick", 5, []])
    assert decode_frame(raw) == Hello(1, "agent", "nick", 5, ())
    raw = bytes((Records.kind,)) + msgspec.msgpack.encode([KEY, [b"r"]])
    assert decode_frame(raw) == Records(KEY, (b"r",), 0, False)


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
def test_a_frame_outside_the_limits_is_refused_before_it_is_read(size: int) -> None:
    with pytest.raises(BadFrame):
        decode_frame(b"\x63" * size)  # a kind that would otherwise be ignored


def test_the_largest_frames_that_peers_send_fit() -> None:
    head = Head(KEY, MAX_SEQ, OTHER)
    largest: list[AnyFrame] = [
        Heads(KEY, (head,) * MAX_HEADS),
        Want(KEY, (head,) * MAX_HEADS, MAX_BATCH_RECORDS),
        Fetch(KEY, (OTHER,) * MAX_FETCH_IDS),
        Rooms((TAG,) * MAX_ROOM_TAGS),
        Records(KEY, (bytes(2048),) * MAX_BATCH_RECORDS),
        Records(KEY, (bytes(MAX_RECORD_BYTES),) * (MAX_BATCH_BYTES // MAX_RECORD_BYTES + 1)),
    ]
    for frame in largest:
        assert decode_frame(encode_frame(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Hello(1, "x" * 65, "n", 0, ()),
        Hello(1, "x", "n" * 129, 0, ()),
        Hello(1, "x", "n", -1, ()),
        Hello(1, "x", "n", MAX_TIME_MS + 1, ()),
        Hello(1, "x", "n", 0, (b"short",)),
        Hello(1, "x", "n", 0, (TAG,) * (MAX_ROOM_TAGS + 1)),
        Hello(1, "x", "n", 0, (), "s" * 401),
        Hello(1, "x", "n", 0, (), "", ("f",) * 65),
        Rooms((TAG,) * (MAX_ROOM_TAGS + 1)),
        Presence("n" * 129),
        Heads(b"short", ()),
        Heads(KEY, (Head(KEY, 0, OTHER),)),
        Heads(KEY, (Head(KEY, MAX_SEQ + 1, OTHER),)),
        Heads(KEY, (Head(b"", 1, OTHER),)),
        Heads(KEY, (Head(KEY, 1, OTHER),) * (MAX_HEADS + 1)),
        Want(KEY, (), MAX_BATCH_RECORDS + 1),
        Want(KEY, (), -1),
        Fetch(KEY, (b"short",)),
        Fetch(KEY, (OTHER,) * (MAX_FETCH_IDS + 1)),
        Records(KEY, (b"",) * (MAX_BATCH_RECORDS + 1)),
        Records(KEY, (bytes(MAX_RECORD_BYTES + 1),)),
        Records(KEY, (), 4),
        Ping(-1),
        Pong(1 << 62),
        Typing(b""),
        Bye("c" * 33),
        Bye("c", "r" * 401),
    ],
)
def test_what_is_past_a_limit_is_refused(frame: AnyFrame) -> None:
    with pytest.raises(BadFrame):
        decode_frame(encode_frame(frame))


def test_deep_nesting_is_refused_and_not_followed() -> None:
    with pytest.raises(BadFrame):
        decode_frame(bytes((Heads.kind,)) + b"\x91" * 500_000)
    # Where a later version's field would stand, too.
    raw = bytes((Ping.kind,)) + b"\x92\x01" + b"\x91" * 500_000
    with pytest.raises(BadFrame):
        decode_frame(raw)
