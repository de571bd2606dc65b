"""The doctor's question is answered by peers of today, refused by the old program, and makes nobody a peer."""

import json
import random

import pytest

from sandpiper.core.discovery import Cast, Discovery, Ignored
from sandpiper.core.events import Now
from sandpiper.faces.doctor.probes.question import echo_of, encode_question
from sandpiper.wire.beacon import decode_beacon
from sandpiper.wire.limits import MAX_BEACON_BYTES
from tests.oldpeer import Refused, decode_datagram
from tests.oldpeer.p2pchat import Timestamps

TOKEN = "0123456789abcdef"
QUESTION = encode_question(TOKEN, 1, "192.168.100.200")


def test_question_is_a_ping_that_names_no_port():
    beacon = decode_beacon(QUESTION)
    assert (beacon.type, beacon.port, beacon.key, beacon.timestamp) == ("ping", 0, None, 0.0)
    assert len(encode_question(TOKEN, 99, "fe80::aaaa:bbbb:cccc:dddd")) < MAX_BEACON_BYTES


def test_question_does_not_look_like_the_old_program_with_unix_time():
    # Peers that also speak the old dialect would send every beacon in both forms from then on.
    assert not decode_beacon(QUESTION).unix_time


def test_peer_answers_the_question_and_keeps_nobody():
    now = Now(100.0, 1_800_000_000_000)
    discovery = Discovery("alice", random.Random(1), now)
    discovery.tick(now)
    effects = discovery.heard(decode_beacon(QUESTION), "192.168.100.200", now)
    assert all(isinstance(effect, Ignored) for effect in effects)
    later = Now(100.05, 1_800_000_000_050)
    assert discovery.tick(later) == [Cast("pong")]


@pytest.mark.parametrize("timestamps", ["rfc3339", "unix"])
def test_old_program_refuses_the_question_whatever_its_time_looks_like(timestamps: Timestamps):
    with pytest.raises(Refused):
        decode_datagram(QUESTION, timestamps, max_age=None)


@pytest.mark.parametrize("guard", ["timestamp", "PORT"])
def test_each_guard_alone_makes_the_old_program_refuse(guard: str):
    fields = json.loads(QUESTION)
    for key in {"timestamp", "TYPE", "PORT"} - {guard}:
        fields.pop(key)
    if guard != "timestamp":
        fields["timestamp"] = "2026-11-21T10:30:00Z"
    with pytest.raises(Refused):
        decode_datagram(json.dumps(fields).encode(), "rfc3339", max_age=None)


def test_own_question_is_told_from_all_others():
    assert echo_of(QUESTION, TOKEN) == "192.168.100.200"
    assert echo_of(QUESTION, "fedcba9876543210") is None
    assert echo_of(b'{"address": "0123456789abcdef"}', TOKEN) is None
    assert echo_of(b"0123456789abcdef", TOKEN) is None
    assert echo_of(b'{"token": "x0123456789abcdef", "address": ""}', TOKEN) is None
