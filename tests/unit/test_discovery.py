"""What beacons mean, with the clock in the test's hand."""

import random
import tracemalloc
from typing import Any

import pytest

from sandpiper.core.discovery import (
    BEACON_JITTER,
    BEACON_SECONDS,
    FORGET_SECONDS,
    MAX_HEARD,
    OLD_SECONDS,
    PONG_MOST,
    PONG_QUIET,
    SKEW_MOST,
    SKEW_QUIET,
    SKEW_SECONDS,
    Cast,
    Discovery,
    DiscoveryEffect,
    Found,
    FoundPlain,
    Ignored,
    Left,
    Skewed,
)
from sandpiper.core.events import Now
from sandpiper.wire.beacon import Beacon
from sandpiper.wire.ids import PeerKey

US, THEM, HOST, PORT = "us", "them", "192.168.0.7", 8080
KEY = PeerKey(b"k" * 32)
EPOCH = 1_700_000_000.0


def at(seconds: float) -> Now:
    return Now(500.0 + seconds, int((EPOCH + seconds) * 1000))


def discovery(seed: int = 1) -> Discovery:
    return Discovery(US, random.Random(seed), at(0))


def beacon(seconds: float = 0.0, **changes: Any) -> Beacon:
    """A beacon of THEM, sent at that moment by a clock that is right."""
    fields: dict[str, Any] = {
        "type": "announce", "peer_id": THEM, "username": "them", "port": PORT, "timestamp": EPOCH + seconds,
        "sequence": int(seconds * 10) + 1, "key": KEY,
    } | changes  # fmt: skip
    return Beacon(**fields)


def kinds(effects: list[DiscoveryEffect]) -> list[type]:
    return [type(effect) for effect in effects]


# ---------------------------------------------------------------- sending


def test_at_the_start_we_announce_and_ask_at_once():
    one = discovery()
    assert one.deadline() == at(0).mono
    assert one.tick(at(0)) == [Cast("announce"), Cast("ping")]
    assert one.tick(at(0.001)) == []


def test_then_we_announce_every_five_seconds_with_jitter():
    one = discovery()
    one.tick(at(0))
    waits = []
    for _ in range(100):
        now = one.deadline()
        assert one.tick(Now(now, 0)) == [Cast("announce")]
        waits.append(one.deadline() - now)
    assert all(BEACON_SECONDS - BEACON_JITTER <= wait <= BEACON_SECONDS + BEACON_JITTER for wait in waits)
    assert len(set(waits)) > 90


def test_a_new_interface_or_the_end_of_sleep_makes_us_announce_and_ask_at_once():
    one = discovery()
    one.tick(at(0))
    one.interfaces_changed(at(1))
    assert one.deadline() == at(1).mono
    assert one.tick(at(1)) == [Cast("announce"), Cast("ping")]


def test_a_ping_is_answered_within_fifty_milliseconds_and_not_by_all_in_one_instant():
    moments = []
    for seed in range(100):
        one = discovery(seed)
        one.tick(at(0))
        one.heard(beacon(type="ping"), HOST, at(1))
        moments.append(one.deadline() - at(1).mono)
        assert one.tick(Now(one.deadline(), 0)) == [Cast("pong")]
    assert all(0 <= moment <= PONG_MOST for moment in moments)
    assert max(moments) - min(moments) > PONG_MOST / 2


def test_many_pings_get_one_answer():
    one = discovery()
    one.tick(at(0))
    answers = 0
    for number in range(1000):
        now = at(1 + number / 1000)
        one.heard(beacon(1, type="ping", peer_id=f"p{number}"), HOST, now)
        answers += one.tick(now).count(Cast("pong"))
    assert 1 <= answers <= 1 / PONG_QUIET + 1
    one.heard(beacon(5, type="ping"), HOST, at(3))
    assert one.tick(at(3 + PONG_MOST)) == [Cast("pong")]


def test_a_ping_that_comes_too_soon_after_an_answer_is_answered_when_that_time_is_over():
    one = discovery()
    one.tick(at(0))
    one.heard(beacon(1, type="ping", peer_id="first"), HOST, at(1))
    assert one.tick(at(1 + PONG_MOST)) == [Cast("pong")]
    one.heard(beacon(1.1, type="ping", peer_id="second"), HOST, at(1.1))
    assert one.tick(at(1 + PONG_QUIET - 0.01)) == []
    assert one.tick(at(1 + 2 * PONG_MOST + PONG_QUIET)) == [Cast("pong")]


@pytest.mark.parametrize("seed", range(20))
def test_all_who_start_at_about_the_same_time_have_found_each_other_well_within_a_second(seed):
    rng = random.Random(seed)
    begins = sorted(rng.uniform(0, 1) for _ in range(8))  # nobody hears anything before
    peers = [Discovery(f"p{n}", random.Random(rng.random()), at(begin)) for n, begin in enumerate(begins)]
    found: list[set[PeerKey]] = [set() for _ in peers]
    last, sent = begins[-1], 0
    end = at(last + PONG_QUIET + 2 * PONG_MOST)
    while (mono := min(peer.deadline() for peer in peers)) <= end.mono:
        now = at(mono - at(0).mono)
        for n, peer in enumerate(peers):
            for cast in peer.tick(now) if peer.deadline() <= mono else ():
                assert isinstance(cast, Cast)
                sent += 1
                said = beacon(mono - at(0).mono, type=cast.type, peer_id=f"p{n}", key=PeerKey(bytes([n]) * 32))
                for other, hears in enumerate(peers):
                    if begins[other] <= mono - at(0).mono:
                        effects = hears.heard(said, HOST, now)
                        found[other] |= {effect.peer for effect in effects if isinstance(effect, Found)}
    everyone = {PeerKey(bytes([n]) * 32) for n in range(8)}
    assert [everyone - known for known in found] == [{PeerKey(bytes([n]) * 32)} for n in range(8)]
    assert sent <= 8 * 6  # announce and ping, and a pong every half second


# ---------------------------------------------------------------- hearing


def test_a_beacon_tells_where_a_peer_can_be_dialled():
    one = discovery()
    assert one.heard(beacon(), HOST, at(0)) == [Found(KEY, HOST, PORT, "them", fresh=True)]
    assert one.heard(beacon(5), HOST, at(5)) == [Found(KEY, HOST, PORT, "them", fresh=False)]


def test_a_peer_of_the_old_program_is_told_apart():
    one = discovery()
    assert one.heard(beacon(key=None), HOST, at(0)) == [FoundPlain(THEM, HOST, PORT, "them")]


def test_we_dial_where_a_beacon_came_from_and_not_where_it_says():
    (found,) = discovery().heard(beacon(address="203.0.113.1"), HOST, at(0))
    assert isinstance(found, Found)
    assert found.host == HOST


def test_our_own_beacons_are_not_heard():
    one = discovery()
    assert one.heard(beacon(peer_id=US, type="ping"), HOST, at(0)) == []
    assert one.tick(at(0)) == [Cast("announce"), Cast("ping")]


def test_a_peer_is_fresh_when_it_is_new_moves_or_says_that_it_starts():
    one = discovery()
    fresh = []
    steps: list[tuple[float, str, dict[str, Any]]] = [
        (0, HOST, {}), (1, HOST, {}), (2, HOST, {"port": 9}), (3, HOST, {"port": 9}), (4, HOST, {"type": "ping"}),
        (5, "10.0.0.1", {}), (6, HOST, {}), (6 + FORGET_SECONDS + BEACON_SECONDS * 2, HOST, {}),
    ]  # fmt: skip
    for seconds, host, changes in steps:
        one.tick(at(seconds))
        (found,) = one.heard(beacon(seconds, **changes), host, at(seconds))
        assert isinstance(found, Found)
        fresh.append(found.fresh)
    assert fresh == [True, False, True, False, True, True, False, True]


def test_a_beacon_without_a_port_is_refused():
    assert kinds(discovery().heard(beacon(port=0), HOST, at(0))) == [Ignored]


@pytest.mark.parametrize("key", [KEY, None], ids=["native", "old"])
def test_whoever_leaves_is_told_and_forgotten(key):
    one = discovery()
    one.heard(beacon(key=key), HOST, at(0))
    assert one.heard(beacon(1, type="leave", key=key), HOST, at(1)) == [Left(THEM, key)]
    (found,) = one.heard(beacon(2, key=key), HOST, at(2))
    assert found == (Found(KEY, HOST, PORT, "them", fresh=True) if key else FoundPlain(THEM, HOST, PORT, "them"))


# ---------------------------------------------------------------- old ones, and wrong clocks


def test_a_replayed_beacon_is_ignored():
    one = discovery()
    old = beacon(0)
    one.heard(old, HOST, at(0))
    for seconds in range(5, 60, 5):
        one.heard(beacon(seconds), HOST, at(seconds))
    assert kinds(one.heard(old, HOST, at(60))) == [Ignored]
    assert kinds(one.heard(beacon(60), HOST, at(60))) == [Found], "and hides nothing"


def test_a_replayed_leave_is_ignored():
    one = discovery()
    leave = beacon(0, type="leave")
    for seconds in range(0, 60, 5):
        one.heard(beacon(seconds), HOST, at(seconds))
    assert kinds(one.heard(leave, HOST, at(60))) == [Ignored]


def test_a_beacon_that_took_a_while_is_no_replay():
    one = discovery()
    one.heard(beacon(0), HOST, at(0))
    assert kinds(one.heard(beacon(10), HOST, at(10 + OLD_SECONDS - 1))) == [Found]


@pytest.mark.parametrize("wrong", [-10 * 365 * 86400.0, -86400.0, 86400.0, 10 * 365 * 86400.0], ids=str)
def test_a_wrong_clock_does_not_hide_a_peer_and_is_told_once(wrong):
    one = discovery()
    first = one.heard(beacon(0, timestamp=EPOCH + wrong), HOST, at(0))
    assert first == [Skewed("them", wrong), Found(KEY, HOST, PORT, "them", fresh=True)]
    for seconds in range(5, 50, 5):
        assert kinds(one.heard(beacon(seconds, timestamp=EPOCH + wrong + seconds), HOST, at(seconds))) == [Found]


def test_a_clock_that_is_set_while_it_runs_does_not_hide_its_peer():
    for change in (-3600.0, 3600.0):
        one = discovery()
        one.heard(beacon(0), HOST, at(0))
        seen = [
            kinds(one.heard(beacon(seconds, timestamp=EPOCH + seconds + change), HOST, at(seconds)))[-1]
            for seconds in range(5, 100, 5)
        ]
        assert seen == [Found] * len(seen)


def test_a_forged_beacon_from_the_future_does_not_hide_its_peer():
    one = discovery()
    one.heard(beacon(0), HOST, at(0))
    one.heard(beacon(0, timestamp=EPOCH + 1e9, sequence=1 << 60), HOST, at(1))
    seen = [kinds(one.heard(beacon(seconds), HOST, at(seconds)))[-1] for seconds in range(5, 40, 5)]
    assert seen == [Ignored] + [Found] * 6


def test_a_single_old_beacon_replayed_again_and_again_stays_ignored():
    one = discovery()
    old = beacon(0)
    for seconds in range(0, 60, 5):
        one.heard(beacon(seconds), HOST, at(seconds))
    for late in (60, 60.1, 60.2, 65, 70):
        assert kinds(one.heard(old, HOST, at(late))) == [Ignored]


def test_our_own_clock_set_while_we_run_hides_nobody():
    one = discovery()
    one.heard(beacon(0), HOST, at(0))
    for seconds in (5, 10, 15):
        late = Now(at(seconds).mono, at(seconds).wall_ms + 3_600_000)
        assert kinds(one.heard(beacon(seconds), HOST, late))[-1] is Found


def test_a_clock_that_is_nearly_right_is_not_told():
    one = discovery()
    assert kinds(one.heard(beacon(SKEW_SECONDS - 1), HOST, at(0))) == [Found]


def test_a_beacon_that_says_nothing_of_time_says_nothing_of_clocks():
    one = discovery()
    for seconds in (0, 100):
        assert kinds(one.heard(beacon(seconds, timestamp=0.0), HOST, at(seconds))) == [Found]


def test_a_flood_of_wrong_clocks_tells_few():
    one = discovery()
    told = [
        effect
        for number in range(10_000)
        for effect in one.heard(beacon(0, peer_id=f"p{number}", timestamp=-1e290), HOST, at(number * SKEW_QUIET / 5000))
        if isinstance(effect, Skewed)
    ]
    assert told == [Skewed("them", -SKEW_MOST)] * 2


# ---------------------------------------------------------------- bounds


def test_a_flood_of_forged_beacons_does_not_fill_the_memory():
    one = discovery()
    for number in range(100_000):
        if number == 90_000:  # the table is full: from here on nothing may be added that is not also dropped
            tracemalloc.start()
        one.heard(beacon(0, peer_id=f"peer {number}"), HOST, at(0))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(one._heard) == MAX_HEARD
    assert grown < 1_000 * MAX_HEARD


def test_silent_peers_are_forgotten():
    one = discovery()
    one.tick(at(0))
    one.heard(beacon(0), HOST, at(0))
    one.heard(beacon(50, peer_id="other"), HOST, at(50))
    one.tick(at(FORGET_SECONDS + 1))
    assert [peer_id for peer_id, _ in one._heard] == ["other"]
