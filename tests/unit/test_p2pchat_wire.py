"""The old p2pchat dialect without sockets: lines, what is believed of them, whom we dial and which link stays."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandpiper.core.discovery import Cast, Discovery, FoundPlain
from sandpiper.core.events import Now
from sandpiper.core.p2pchat import (
    MAX_KNOWN,
    MAX_PEERS,
    MAX_SEEN,
    MAX_STRIKES,
    OLD_SECONDS,
    TIE_MS,
    TIMES,
    Conversation,
    PlainMesh,
    Told,
)
from sandpiper.crypto.rooms import plain_author, plain_message
from sandpiper.errors import LinkTimeout, LocalProtocolError, RemoteProtocolError
from sandpiper.wire.beacon import decode_beacon
from sandpiper.wire.limits import MAX_LINE_BYTES, MAX_NICK_CHARS, MAX_TEXT_CHARS
from sandpiper.wire.p2pchat import BadLine, LineCutter, PlainLine, decode_line, encode_error, encode_line
from sandpiper.wire.text import clean_text
from tests.oldpeer import Refused, go_time
from tests.oldpeer import decode_line as old_decode_line

KEYS = ["id", "type", "sender_id", "username", "content", "timestamp", "sequence", "room_id"]
T0 = 1_700_000_000.0


def line(**changes: Any) -> PlainLine:
    fields: dict[str, Any] = {
        "id": "1",
        "type": "chat",
        "sender_id": "bob",
        "username": "bob",
        "content": "hi",
        "timestamp": T0,
        "sequence": 1,
    }
    return PlainLine(**(fields | changes))


def raw(**changes: Any) -> bytes:
    return encode_line(line(**changes)).rstrip(b"\n")


def join(**changes: Any) -> bytes:
    return raw(**({"type": "join", "sequence": 0, "content": ""} | changes))


# --- lines ---------------------------------------------------------------------------------------------------------


def test_a_line_has_exactly_the_founding_keys_in_their_order():
    sent = json.loads(encode_line(line()))
    assert list(sent) == KEYS
    assert sent["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert sent["room_id"] == "general"


def test_a_message_of_several_lines_goes_out_as_one():
    out = encode_line(line(content="one\ntwo"))
    assert out.count(b"\n") == 1
    assert out.endswith(b"\n")
    assert decode_line(out[:-1]).content == "one\ntwo"


nicks = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=MAX_NICK_CHARS)


@given(
    st.builds(
        line,
        id=st.text(st.characters(exclude_categories=["Cs"]), max_size=128),
        sender_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=128),
        username=nicks.filter(lambda nick: nick.isascii()),
        content=st.text().map(clean_text),
        timestamp=st.integers(1, 2**32).map(float),
        sequence=st.integers(0, 2**60),
        unit=st.sampled_from([0, 1, 1000, 10**6, 10**9]),
    ).filter(lambda x: not x.unit or x.timestamp > 1e8)  # smaller numbers would be taken for seconds
)
def test_what_is_written_is_read_again(sent: PlainLine):
    assert decode_line(encode_line(sent)[:-1]) == sent


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_times_are_written_in_the_form_in_which_the_other_side_writes_them(unit: int):
    theirs = json.dumps(json.loads(raw()) | {"timestamp": int(T0) * unit}).encode()
    assert decode_line(theirs).unit == unit
    assert decode_line(theirs).timestamp == T0
    assert json.loads(encode_line(line(unit=unit)))["timestamp"] == int(T0) * unit


@given(st.text(max_size=2 * MAX_TEXT_CHARS), nicks)
@example("\U0001f426" * 20_000, "\U0001f426" * MAX_NICK_CHARS)
@example('"' * 20_000, "x")
@example("\x01" * 20_000, "x")
@example("\n" * 20_000, "x")
def test_every_safe_text_fits_a_line_of_the_old_program(text: str, nick: str):
    out = encode_line(line(content=clean_text(text), username=nick, sender_id="x" * 128))
    assert len(out) <= MAX_LINE_BYTES
    assert old_decode_line(out[:-1], max_age=None)["content"] == clean_text(text)


def test_a_line_that_does_not_fit_is_our_bug():
    with pytest.raises(LocalProtocolError):
        encode_line(line(content="x" * MAX_LINE_BYTES))


def test_the_independent_old_peer_reads_what_we_write_and_we_what_it_writes():
    theirs = {
        "id": "7",
        "type": "chat",
        "sender_id": "old",
        "username": "Ann <b>",
        "content": "5 > 4 & \u2028",
        "timestamp": go_time(1_700_000_000_123_456_789, 3600),
        "sequence": 3,
        "room_id": "lobby",
    }
    text = json.dumps(theirs).replace("<", "\\u003c")
    got = decode_line(text.encode())
    assert (got.username, got.content, got.room_id, got.unit) == ("Ann_<b>", "5 > 4 & \n", "lobby", 0)
    assert got.timestamp == pytest.approx(1_700_000_000.123456, abs=1e-5)
    assert old_decode_line(raw(), now=T0) == json.loads(raw())
    assert old_decode_line(raw(unit=1), "unix", now=T0) == json.loads(raw(unit=1))


def test_missing_keys_are_empty_and_unknown_ones_ignored():
    assert decode_line(b'{"type":"heartbeat","extra":{"a":[1]}}') == PlainLine(
        "", "heartbeat", "", "", "", 0.0, 0, room_id=""
    )


def test_peer_text_is_made_safe():
    got = decode_line(json.dumps({"username": "a b\x1b[2J", "content": "x\u202ey\x07", "room_id": "r\nr"}).encode())
    assert got.username == "a_b␛[2J"
    assert got.content == "xy␇"
    assert got.room_id == "r r"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"", "bad_line"),
        (b"hello", "bad_line"),
        (b"[]", "bad_line"),
        (b'{"type":1}', "bad_line"),
        (b'{"sequence":-1}', "bad_line"),
        (b'{"sequence":1.5}', "bad_line"),
        (b'{"sender_id":"%s"}' % (b"x" * 129), "bad_line"),
        (b'{"timestamp":"yesterday"}', "bad_line"),
        (b'{"timestamp":true}', "bad_line"),
        (b'{"content":"\xff"}', "bad_line"),
        (b'{"content":"\\ud800"}', "bad_line"),
        (b'{"x":' + b"[" * 5000, "bad_line"),
        (b"x" * (MAX_LINE_BYTES + 1), "line_too_long"),
    ],
)
def test_bad_lines_are_refused_with_the_documented_error(bad: bytes, code: str):
    with pytest.raises(BadLine) as caught:
        decode_line(bad)
    assert caught.value.code == code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
times = st.one_of(json_values, st.datetimes().map(str), st.datetimes().map(lambda time: time.isoformat() + "Z"))


@given(
    st.one_of(
        st.binary(),
        st.dictionaries(st.sampled_from(KEYS), json_values).map(lambda d: json.dumps(d).encode()),
        st.fixed_dictionaries({"timestamp": times}).map(lambda d: json.dumps(d).encode()),
        st.binary(max_size=40).map(lambda piece: raw()[:60] + piece + raw()[60:]),
    )
)
def test_arbitrary_bytes_raise_only_the_documented_error(data: bytes):
    with contextlib.suppress(BadLine):
        got = decode_line(data)
        assert got.content == clean_text(got.content)
        assert got.unit in (0, 1, 1000, 10**6, 10**9)
        encode_line(line(content=got.content))


def test_the_last_line_of_a_refused_link_is_no_line_of_the_old_dialect():
    out = encode_error("full", "Too many.")
    assert json.loads(out) == {"type": "error", "code": "full", "text": "Too many."}
    with pytest.raises(Refused):
        old_decode_line(out[:-1])


# --- cutting -------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_are_the_same_however_the_bytes_arrive(parts: list[bytes], data: st.DataObject):
    stream = b"\n".join(parts)
    whole = LineCutter().feed(stream)
    cutter, got = LineCutter(), list[bytes]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += cutter.feed(stream[:size])
        stream = stream[size:]
    assert got == whole == [part for part in parts[:-1] if part.strip()]


@pytest.mark.parametrize("step", [1000, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 10**6])
@pytest.mark.parametrize("size", [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES])
def test_a_line_that_is_too_long_counts_once_and_the_next_is_read(size: int, step: int):
    cutter = LineCutter()
    stream = b"a\n" + b"x" * size + b"\nb\n"
    got = [line for start in range(0, len(stream), step) for line in cutter.feed(stream[start : start + step])]
    assert [len(line) for line in got] == [1, min(size, MAX_LINE_BYTES + 1), 1]


def test_an_endless_line_takes_no_memory():
    cutter = LineCutter()
    assert [len(x) for _ in range(20) for x in cutter.feed(b"x" * MAX_LINE_BYTES)] == [MAX_LINE_BYTES + 1]
    assert len(cutter._bytes) <= MAX_LINE_BYTES
    assert cutter.feed(b"rest\nnext\n") == [b"next"]


# --- what is believed ----------------------------------------------------------------------------------------------


def joined(now: float = 0.0, **changes: Any) -> Conversation:
    talk = Conversation("alice", now)
    talk.take(join(**changes), now)
    return talk


def test_the_first_line_names_the_peer():
    talk = joined(unit=1)
    assert (talk.peer_id, talk.nick, talk.unit, talk.strikes) == ("bob", "bob", 1, 0)
    assert joined(username="").nick == "nameless"


@pytest.mark.parametrize(
    "first", [raw(), raw(type="join", sequence=1), join(sender_id=""), raw(type="leave"), b"{", b'{"type":"error"}']
)
def test_anything_before_the_join_is_counted_and_dropped(first: bytes):
    talk = Conversation("alice", 0.0)
    with pytest.raises(BadLine):
        talk.take(first, 1.0)
    assert (talk.peer_id, talk.strikes, talk.heard) == ("", 1, 0.0)
    assert talk.take(join(), 2.0).type == "join"


def test_our_own_id_and_somebody_else_than_was_dialled_end_the_link():
    with pytest.raises(RemoteProtocolError) as caught:
        Conversation("bob", 0.0).take(join(), 0.0)
    assert caught.value.code == "self"
    with pytest.raises(RemoteProtocolError) as caught:
        Conversation("alice", 0.0, "carol").take(join(), 0.0)
    assert caught.value.code == "wrong_peer"


@pytest.mark.parametrize("kind", ["chat", "join", "leave", "heartbeat"])
def test_nobody_speaks_in_the_name_of_another(kind: str):
    talk = joined()
    with pytest.raises(BadLine) as caught:
        talk.take(raw(type=kind, sender_id="carol", username="carol"), 1.0)
    assert (caught.value.code, talk.strikes, talk.nick, talk.heard) == ("spoofed", 1, "bob", 0.0)


def test_too_many_refused_lines_end_the_link():
    talk = joined()
    for _ in range(MAX_STRIKES - 1):
        with pytest.raises(BadLine):
            talk.take(b"{", 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        talk.take(b"{", 0.0)
    assert caught.value.code == "too_many_errors"


def test_the_nick_is_that_of_the_last_line_that_names_one():
    talk = joined()
    talk.take(raw(username="robert"), 0.0)
    talk.take(raw(username=""), 0.0)
    assert talk.nick == "robert"


@pytest.mark.parametrize("wrong", [-86_400.0, -40.0, 0.0, 40.0, 86_400.0])
def test_a_wrong_clock_hides_nobody_but_old_messages_are_refused(wrong: float):
    talk = joined(100.0, timestamp=T0 + wrong)
    talk.take(raw(timestamp=T0 + wrong + 5), 105.0)
    talk.take(raw(timestamp=T0 + wrong), 100.0 + OLD_SECONDS)
    with pytest.raises(BadLine) as caught:
        talk.take(raw(timestamp=T0 + wrong), 101.0 + OLD_SECONDS)
    assert (caught.value.code, talk.strikes, talk.heard) == ("stale", 0, 101.0 + OLD_SECONDS)
    talk.take(raw(timestamp=T0 + wrong + 32), 132.0)


def test_a_clock_that_is_set_back_hides_a_peer_for_half_a_minute_only():
    talk = joined()
    for second in range(1, 31):
        with pytest.raises(BadLine):
            talk.take(raw(timestamp=T0 - 3600 + second), float(second))
    talk.take(raw(timestamp=T0 - 3600 + 31), 31.0)
    talk.take(raw(timestamp=T0 - 3600 + 32), 32.0)
    with pytest.raises(BadLine):
        talk.take(raw(timestamp=T0 - 3600), 63.0)


def test_lines_that_we_kept_waiting_are_not_old():
    talk = joined()
    talk.take(raw(timestamp=T0 + 1), 61.0, waited=60.0)
    with pytest.raises(BadLine):
        talk.take(raw(timestamp=T0 + 1), 100.0, waited=60.0)


@pytest.mark.parametrize("nothing", [0.0, -62_135_596_800.0])
def test_a_line_without_a_time_is_taken_as_new(nothing: float):
    talk = joined(timestamp=nothing)
    talk.take(raw(timestamp=T0), 1.0)
    talk.take(raw(timestamp=nothing), 2.0)


def test_silence_ends_a_link_and_a_stranger_has_less_time():
    talk = Conversation("alice", 100.0)
    assert talk.limit(105.0) == 100.0 + TIMES.identify
    with pytest.raises(RemoteProtocolError) as caught:
        talk.limit(100.0 + TIMES.identify)
    assert caught.value.code == "not_identified"
    talk.take(join(), 109.0)
    assert talk.limit(109.0 + 59.0) == 109.0 + TIMES.silence
    talk.take(raw(type="heartbeat", timestamp=T0 + 59), 168.0)
    assert talk.limit(168.0 + 59.0) == 168.0 + TIMES.silence
    with pytest.raises(LinkTimeout):
        talk.limit(168.0 + TIMES.silence)


# --- whom we dial, which link stays ---------------------------------------------------------------------------------


def mesh(me: str = "m") -> PlainMesh:
    return PlainMesh(me, random.Random(1))


def test_only_the_smaller_id_dials():
    assert mesh("a").found("b", 0.0)
    assert not mesh("b").found("a", 0.0)
    assert not mesh("b").found("b", 0.0)
    assert not mesh("a").found("B", 0.0)  # strings are compared as Go does


def test_nobody_is_dialled_twice():
    us = mesh()
    assert us.found("z", 0.0)
    assert not us.found("z", 1000.0)
    assert us.keep("z", dialled=True)
    us.dialled("z", 1000.0)
    assert not us.found("z", 2000.0)
    us.lost("z")
    assert us.found("z", 3000.0)


def test_who_does_not_answer_is_dialled_less_and_less_often():
    us, waits = mesh(), list[float]()
    now = last = 0.0
    while len(waits) < 12:
        if us.found("z", now):
            us.dialled("z", now)
            waits.append(now - last)
            last = now
        now += 0.1
    assert waits[1] < 2.0
    assert 30.0 <= waits[-1] <= 90.2
    assert us.found("z", now + 1000.0)
    us.dialled("z", now + 2000.0, 0)
    assert us.found("z", now + 2002.0)


def test_how_a_peer_writes_times_is_remembered():
    us = mesh()
    assert us.unit("z") == 0
    us.found("z", 0.0)
    us.dialled("z", 0.0, 1000)
    assert us.unit("z") == 1000


def test_what_is_remembered_is_bounded():
    us = mesh("a")
    for i in range(MAX_KNOWN + 1):
        assert us.found(f"b{i}", 0.0)
        us.dialled(f"b{i}", 0.0, 1)
    assert us.unit("b0") == 0
    assert us.unit("b1") == 1
    dialled = [i for i in range(MAX_PEERS + 1) if us.found(f"c{i}", 0.0)]
    assert len(dialled) == MAX_PEERS
    for i in range(MAX_PEERS):
        assert us.keep(f"c{i}", dialled=False)
    assert not us.found("d", 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        us.keep("d", dialled=False)
    assert caught.value.code == "full"
    assert us.keep("c0", dialled=False)  # again: takes the older one's place


@pytest.mark.parametrize("order", [(True, False), (False, True)])
@pytest.mark.parametrize(("me", "other"), [("a", "b"), ("b", "a")])
def test_both_ends_keep_the_link_that_the_smaller_id_dialled(me: str, other: str, order: tuple[bool, bool]):
    us, them = mesh(me), mesh(other)
    ours = theirs = None
    for dialled in order:
        if us.keep(other, dialled=dialled):
            ours = dialled
        if them.keep(me, dialled=not dialled):
            theirs = not dialled
    assert ours is (me < other)
    assert theirs is (other < me)


def test_the_first_beacon_of_an_old_peer_is_answered_at_once():
    now = Now(100.0, int(T0 * 1000))
    us = Discovery("m", random.Random(1), now)
    us.tick(now)
    theirs = {"type": "announce", "peer_id": "a", "username": "olga", "port": 9, "timestamp": T0, "sequence": 1}
    beacon = decode_beacon(json.dumps(theirs).encode())
    assert beacon.unix_time
    assert us.heard(beacon, "127.0.0.1", now) == [FoundPlain("a", "127.0.0.1", 9, "olga")]
    assert us.tick(Now(100.1, now.wall_ms + 100)) == [Cast("pong")]
    us.heard(beacon, "127.0.0.1", Now(101.0, now.wall_ms + 1000))
    assert us.tick(Now(101.1, now.wall_ms + 1100)) == []


# --- messages ------------------------------------------------------------------------------------------------------


def test_a_message_is_told_once():
    told = Told()
    first = told.place(line(), 1000)
    assert first == (plain_message("bob", "1"), 1000)
    assert told.place(line(content="another text"), 2000) is None
    assert told.place(line(sender_id="carol"), 2000) is not None
    assert told.place(line(id="2", content=" \n"), 2000) is None
    assert told.place(line(id="", sequence=2), 2000) != told.place(line(id="", sequence=3), 2000) is not None


def test_messages_keep_the_order_in_which_they_came():
    told = Told()
    times = [told.place(line(id=str(i)), 1000) for i in range(3)]
    assert [place[1] for place in times if place] == [1000, 1001, 1002]
    back = told.place(line(id="back"), 1002 - TIE_MS)
    assert back is not None
    assert back[1] == 1002 - TIE_MS  # our clock was set back: its times hold


def test_the_memory_of_messages_is_bounded():
    told = Told()
    for i in range(MAX_SEEN + 1):
        assert told.place(line(id=str(i)), i)
    assert told.place(line(id=str(MAX_SEEN)), 0) is None
    assert told.place(line(id="0"), 0) is not None


def test_made_up_keys_and_ids_are_fixed():
    assert plain_author("3f2a").hex() == "f0200ee0cb145668741e2e088c3f1bdfe331d81fb48ac9bab36ce59581285af5"
    assert plain_message("3f2a", "7").hex() == "efea16881c70f9daadb850a28f3118a83e6dedabe7ddbe91083be1b823103fe8"
    assert plain_message("3f2a", "7") != plain_message("3f2", "a7")
