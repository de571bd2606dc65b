"""Hostile bytes against the hub: the decoder never raises, the house never breaks, other guests notice nothing."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from sandpiper.hub.backlogs import Backlogs
from sandpiper.hub.chat import Connection
from sandpiper.hub.effects import Deliver
from sandpiper.hub.operators import ANSWERERS
from sandpiper.wire.hub import asks
from sandpiper.wire.hub.lines import BadLine, decode_chunk, encode_asks
from sandpiper.wire.text import clean_text
from tests.unit.parlour import Parlour

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import Now
    from sandpiper.hub.history import History

KINDS = [ask.__struct_config__.tag for ask in ANSWERERS] + ["msg", "nonsense"]
FIELDS = sorted({name for ask in ANSWERERS for name in ask.__struct_fields__} | {"client_id", "reply_to", "other"})

values = st.one_of(
    st.text(max_size=40), st.sampled_from(["", "lobby", "dev", "eve", "alice", "#Dev", "a" * 40]),
    st.integers(-(2**70), 2**70), st.integers(0, 30), st.floats(), st.booleans(), st.none(),
    st.lists(st.integers(), max_size=3), st.binary(max_size=64).map(lambda raw: raw.hex()),
)  # fmt: skip
nearly = st.builds(
    lambda kind, fields: json.dumps({"type": kind, **fields}).encode(errors="replace"),
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=6),
)
DEV = (
    asks.Msg("x", "dev", "1"), asks.Join("dev"), asks.Leave("dev"), asks.Close("dev"), asks.Kick("eve", "dev"),
    asks.Ban("eve", "dev"), asks.History("dev"), asks.Join("dev", epoch="", since=0), asks.Topic("dev", "t"),
    asks.Msg("x"), asks.Hello(), asks.Leave(), asks.Nick("eve"), asks.Edit(1, "x", "dev"), asks.Mute("eve", "dev"),
)  # fmt: skip
right = st.sampled_from([encode_asks([ask]).rstrip() for ask in DEV])
lines = st.one_of(nearly, right, st.binary(max_size=60), st.just(b""))
chunks = st.lists(lines, min_size=1, max_size=12).map(lambda some: b"\n".join(some) + b"\n")


@given(st.one_of(chunks, st.binary(max_size=400).map(lambda raw: raw + b"\n")))
@settings(max_examples=300)
def test_every_line_is_an_ask_or_a_bad_line_and_safe(chunk: bytes):
    got = decode_chunk(chunk)
    assert len(got) == len([line for line in chunk.split(b"\n") if line.strip()])
    for one in got:
        if isinstance(one, BadLine):
            assert one.text.isprintable()
        elif isinstance(one, (asks.Msg, asks.Edit)):
            assert clean_text(one.text) == one.text


@given(st.lists(chunks, min_size=1, max_size=6), st.integers(0, 3))
@settings(max_examples=300)
def test_whatever_one_guest_sends_another_hears_its_friend(sent: list[bytes], turn: int):
    parlour = Parlour()
    alice, bob = parlour.visitor("alice", "", "safe"), parlour.visitor("bob", "", "safe")
    eve = parlour.visitor()
    for number, chunk in enumerate(sent):
        if eve.cut:
            break
        eve.send(chunk)
        if number % 4 == turn:
            parlour.wait(0.1)
    parlour.unlock()
    bob.say("still here", "safe")
    assert alice.texts == ["still here"]
    for line in eve.lines():
        assert isinstance(line["type"], str)
        if "text" in line:
            assert clean_text(line["text"]) == line["text"]
    for room in parlour.house.rooms.values():
        assert not room.pending
        assert all(guest.open and room in guest.rooms for guest in room.members)
    eve.leave()
    assert len(parlour.house.guests) == 2


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=8))
@settings(max_examples=200)
def test_where_the_bytes_are_cut_makes_no_difference(raw: bytes, cuts: list[int]):
    raw = raw.replace(b"\x00", b"\n") + b'\n{"type":"ping","n":7}\n'

    def heard(pieces: list[bytes]) -> list[bytes]:
        hall = Hall()
        connection = Connection(hall)
        connection.guest = hall.parlour.house.enter("", hall, hall.parlour.now)
        for piece in pieces:
            connection._take_bytes(piece)
        for effect in hall.house.flush(hall.parlour.now):
            if isinstance(effect, Deliver):
                hall.written.append(effect.raw)
        return b"".join(hall.written).splitlines()

    places = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]
    assert heard(pieces) == heard([raw])


class Hall:
    """What a connection needs, without sockets."""

    def __init__(self) -> None:
        self.parlour = Parlour()
        self.house = self.parlour.house
        self.history: History = self.parlour.history
        self.connections: set[Connection] = set()
        self.backlogs = Backlogs(self.connections)
        self.buffer = memoryview(bytearray(1))
        self.written: list[bytes] = []
        self.stopped = False

    def afterwards(self, do: Callable[[], None]) -> None:
        do()

    def now(self) -> Now:
        return self.parlour.now

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def wake(self) -> None:
        pass

    def write(self, raw: bytes) -> None:
        raise AssertionError("flushed by the test")
