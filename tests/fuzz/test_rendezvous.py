"""Hostile lines against both ends of a rendezvous, and against its desk: an error or a meaning, and nothing grows."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.events import Now
from sandpiper.core.rendezvous import Introduced
from sandpiper.hub.rendezvous.desk import Desk, Seen
from sandpiper.hub.rendezvous.limits import RendezvousSettings
from sandpiper.hub.rendezvous.quotas import Quotas
from sandpiper.wire.rendezvous import OPENINGS, BadAsk, BadWord, decode_ask, decode_word, encode_line, opens_rendezvous
from tests.hostile import HOSTILE

WORDS = ("room_created", "peer_registered", "room_info", "peer_joined", "peer_left", "room_expired", "observed")
TYPES = sorted((*OPENINGS, *WORDS, "bridged", "closing", "error", "ping", "pong"))
FIELDS = ("code", "tag", "token", "peer", "peers", "to", "from", "data", "candidates", "n", "v", "host", "port", "text",
          "expires_at", "start_in", "again_in", "about", "room", "tunnel", "relay", "second_port")  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=60)
    | st.sampled_from(["5", "42", "A" * 43 + "=", "A" * 24, "127.0.0.1", "a1", *HOSTILE.values()]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6).flatmap(
    lambda rest: st.sampled_from(TYPES).map(lambda kind: json.dumps({"type": kind, **rest}).encode())
)
lines = objects | st.binary(max_size=300)


def harmless(exc: Exception) -> None:
    assert str(exc).isprintable()


@given(lines)
def test_asks_are_refused_or_mean_one_thing(line: bytes) -> None:
    opens_rendezvous(line)
    try:
        ask = decode_ask(line)
    except BadAsk as exc:
        harmless(exc)
        return
    assert decode_ask(encode_line(ask)[:-1]) == ask


@given(lines)
def test_words_are_refused_or_mean_one_thing(line: bytes) -> None:
    try:
        word = decode_word(line)
    except BadWord as exc:
        harmless(exc)
        return
    again = decode_word(encode_line(word)[:-1])
    assert again == word
    for text in (getattr(word, "text", ""), getattr(word, "about", ""), getattr(word, "room", "")):
        assert "\x1b" not in text
        assert "\n" not in text


@given(st.lists(st.tuples(st.integers(0, 3), lines | st.sampled_from([b"GONE", b"LATER"])), max_size=40))
def test_the_desk_survives_everything_and_forgets_everybody(script: list[tuple[int, bytes]]) -> None:
    desk = Desk(Quotas(RendezvousSettings()), random.Random(1).randrange)
    time = 0.0
    for number, line in script:
        now = Now(mono=time, wall_ms=int(time * 1000))
        if line == b"GONE":
            desk.gone(number, now)
        elif line == b"LATER":
            time += 40.0
            desk.tick(now)
        else:
            desk.enter(number, Seen("h", 1, f"a{number}"), now) if number not in desk._guests else None
            desk.hear(number, line, now)
    for number in range(4):
        desk.gone(number, Now(mono=time, wall_ms=0))
    assert desk.registrations == 0
    for _ in range(3):
        time += 90_000.0
        desk.tick(Now(mono=time, wall_ms=0))
    assert not desk.rooms
    assert len(desk.nameplates) == 0
    assert len(desk.quotas) == 0


@given(st.lists(lines, max_size=30))
def test_a_peer_survives_every_rendezvous(script: list[bytes]) -> None:
    guest: Any = Introduced(random.Random(1), 0.0)
    guest.register("42", keep=True)
    guest.register(bytes(32))
    guest.connected(0.0)
    for at, line in enumerate(script):
        guest.heard(line, float(at))
        guest.tick(float(at))
        assert len(guest.flush()) < 20
    guest.lost("", 100.0)
    assert guest.deadline() is not None
