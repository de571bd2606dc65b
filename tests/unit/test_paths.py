"""When a better path is tried, with which addresses, and why it is as it is: time is in the test's hand."""

from __future__ import annotations

import random

import pytest

from sandpiper.core.paths import (
    ANSWER_SECONDS,
    GAP_SECONDS,
    LARGER_WAITS,
    MAX_KNOWN,
    MAX_SEEN,
    MAX_TRIES,
    OFFERS_BURST,
    OFFERS_RATE,
    RETRY_FIRST,
    RETRY_MOST,
    STEADY_SECONDS,
    Ask,
    Own,
    PathEffect,
    Paths,
    Punch,
    offers,
    path_to,
    why_relay,
    worth_dialling,
)
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.rendezvous import MAX_CANDIDATES, Candidate

SMALL, LARGE, THIRD = PeerKey(b"\x01" * 32), PeerKey(b"\xff" * 32), PeerKey(b"\x80" * 32)
INSIDE, SEEN = Candidate("192.168.7.9", 4000), Candidate("198.51.100.7", 40_000)


def relayed(me: PeerKey = SMALL, peer: PeerKey = LARGE, now: float = 100.0) -> Paths:
    """Somebody linked over a relay, who is at the rendezvous."""
    paths = Paths(me, random.Random(1))
    paths.linked(peer, "relay", now)
    paths.met(peer, now)
    return paths


def until(paths: Paths, now: float) -> list[tuple[float, PathEffect]]:
    """What is asked up to a moment, with when."""
    out: list[tuple[float, PathEffect]] = []
    while (due := paths.deadline()) is not None and due <= now:
        paths.tick(due)
        out += [(round(due, 3), effect) for effect in paths.flush()]
    return out


def tried(paths: Paths, peer: PeerKey, now: float) -> Punch:
    paths.tick(now)
    assert paths.flush() == [Ask(peer)]
    paths.offered(peer, "easy", (INSIDE,), now)
    paths.dial_at(peer, (SEEN,), now + 1, now)
    [punch] = paths.flush()
    assert isinstance(punch, Punch)
    return punch


def test_it_is_tried_as_soon_as_there_is_a_link_over_a_relay() -> None:
    paths = relayed()
    assert paths.deadline() == 100.0
    punch = tried(paths, LARGE, 100.0)
    assert punch == Punch(LARGE, (SEEN, INSIDE), frozenset({SEEN}), 101.0)
    assert paths.deadline() is None, "while it runs there is nothing to do"


def test_the_larger_key_leaves_it_to_the_smaller_one_at_first() -> None:
    paths = relayed(LARGE, SMALL)
    assert paths.deadline() == 100.0 + LARGER_WAITS
    paths.offered(SMALL, "easy", (INSIDE,), 100.2)
    assert paths.flush() == [Ask(SMALL)], "whoever is asked does not wait"


@pytest.mark.parametrize("path", ["lan", "direct"])
def test_nothing_is_tried_where_the_path_is_good(path: str) -> None:
    paths = relayed()
    paths.linked(LARGE, path, 100.0)  # type: ignore[arg-type]
    assert paths.deadline() is None
    paths.offered(LARGE, "easy", (INSIDE,), 101.0)
    paths.dial_at(LARGE, (SEEN,), 102.0, 101.0)
    paths.changed(103.0)
    paths.met(LARGE, 104.0)
    paths.tick(110.0)
    assert paths.flush() == []


def test_who_is_not_at_the_rendezvous_is_tried_when_they_come() -> None:
    paths = Paths(SMALL, random.Random(1))
    paths.linked(LARGE, "relay", 100.0)
    assert until(paths, 200.0) == []
    paths.met(LARGE, 200.0)
    assert until(paths, 200.0) == [(200.0, Ask(LARGE))]


def test_what_fails_is_tried_again_ever_more_seldom() -> None:
    paths = relayed()
    now, waits = 100.0, []
    for _ in range(12):
        tried(paths, LARGE, now)
        paths.ended(LARGE, "silent", now)
        due = paths.deadline()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits[0] <= RETRY_FIRST * 1.5
    assert RETRY_MOST * 0.5 <= waits[-1] <= RETRY_MOST * 1.5


def test_who_does_not_take_part_is_asked_again_later() -> None:
    paths = relayed()
    paths.tick(100.0)
    assert paths.flush() == [Ask(LARGE)]
    assert paths.deadline() == 100.0 + ANSWER_SECONDS
    paths.tick(100.0 + ANSWER_SECONDS)
    assert paths.flush() == []
    assert paths.why(LARGE) == why_relay("unknown", "unknown", "unanswered")
    [(when, ask)] = until(paths, 100.0 + ANSWER_SECONDS + RETRY_FIRST * 1.5)
    assert ask == Ask(LARGE)
    assert when > 100.0 + ANSWER_SECONDS


def test_new_addresses_are_reason_to_try_at_once() -> None:
    paths = relayed()
    now = 100.0
    for _ in range(8):
        tried(paths, LARGE, now)
        paths.ended(LARGE, "silent", now)
        now = paths.deadline() or 0.0
    tried(paths, LARGE, now)
    paths.ended(LARGE, "silent", now)
    assert (paths.deadline() or 0.0) > now + RETRY_FIRST * 2
    paths.changed(now + 1)
    assert paths.deadline() == now + 1


def test_however_often_the_other_asks_there_is_time_between_tries() -> None:
    paths = relayed()
    tried(paths, LARGE, 100.0)
    paths.ended(LARGE, "refused", 100.1)
    for at in range(5):
        paths.offered(LARGE, "easy", (INSIDE,), 100.2 + at / 100)
    assert paths.flush() == []
    assert paths.deadline() == 100.0 + GAP_SECONDS
    assert until(paths, 100.0 + GAP_SECONDS) == [(101.0, Ask(LARGE))]


def test_a_moment_that_nobody_wants_any_more_is_passed_over() -> None:
    paths = relayed()
    tried(paths, LARGE, 100.0)
    paths.dial_at(LARGE, (SEEN,), 101.0, 100.5)
    assert paths.flush() == [], "one try at a time"
    paths.dial_at(THIRD, (SEEN,), 101.0, 100.5)
    assert paths.flush() == [], "not linked"
    paths.lost(LARGE, 100.6)
    paths.ended(LARGE, "silent", 103.0)
    paths.dial_at(LARGE, (SEEN,), 104.0, 103.5)
    assert paths.flush() == []
    assert paths.deadline() is None


def test_only_so_many_are_dialled_at_one_time() -> None:
    paths = Paths(SMALL, random.Random(1))
    peers = [PeerKey(bytes((2, number)) + b"\xff" * 30) for number in range(MAX_TRIES + 3)]
    for peer in peers:
        paths.linked(peer, "relay", 100.0)
        paths.met(peer, 100.0)
    paths.tick(100.0)
    assert len(paths.flush()) == MAX_TRIES
    assert paths.deadline() == 100.0 + ANSWER_SECONDS
    for peer in peers:
        paths.dial_at(peer, (SEEN,), 101.0, 100.0)
    assert len(paths.flush()) == MAX_TRIES
    assert paths.deadline() is None
    for peer in peers[:MAX_TRIES]:
        paths.ended(peer, "silent", 104.0)
    waiting = {effect.peer for _, effect in until(paths, 120.0)}
    assert set(peers[MAX_TRIES:]) <= waiting, "the others get their turn"


def test_a_link_that_died_at_once_is_not_made_anew_at_once_and_one_that_lived_is() -> None:
    paths = relayed()
    tried(paths, LARGE, 100.0)
    paths.linked(LARGE, "direct", 101.0)
    paths.ended(LARGE, "linked", 101.0)
    paths.lost(LARGE, 101.5)
    paths.linked(LARGE, "relay", 102.0)
    assert (paths.deadline() or 0.0) > 101.5 + RETRY_FIRST * 0.4
    paths.linked(LARGE, "direct", 110.0)
    paths.lost(LARGE, 110.0 + STEADY_SECONDS)
    paths.linked(LARGE, "relay", 120.0)
    assert paths.deadline() == 120.0


def test_a_rendezvous_cannot_have_us_dial_when_we_have_not_asked_nor_whom_it_likes() -> None:
    paths = relayed()
    paths.dial_at(LARGE, (SEEN,), 101.0, 99.0)
    assert paths.flush() == []
    paths.tick(100.0)
    paths.flush()
    many = [Candidate(f"198.51.100.{n}", 4000) for n in range(100)]
    paths.dial_at(LARGE, many, 101.0, 100.0)
    [punch] = paths.flush()
    assert isinstance(punch, Punch)
    assert len(punch.candidates) == len(punch.seen) == MAX_SEEN
    assert worth_dialling([Candidate("198.51.100.7", 25)], OWN, "10.1.0.5", 4000) == (), "the port of a service"


def test_a_member_that_asks_all_the_time_is_dialled_a_few_times_only() -> None:
    paths, tries, now = relayed(), 0, 100.0
    tried(paths, LARGE, now)
    paths.ended(LARGE, "refused", now)
    for _ in range(600):
        now += 1.0
        paths.offered(LARGE, "easy", (INSIDE,), now)
        tries += len(paths.flush())
        paths.dial_at(LARGE, (SEEN,), now, now)
        paths.flush()
        paths.ended(LARGE, "refused", now)
    assert tries <= OFFERS_BURST + 600 * OFFERS_RATE + 1


def test_memory_is_bounded_and_linked_peers_are_kept() -> None:
    paths = relayed()
    for number in range(MAX_KNOWN * 2):
        key = PeerKey(number.to_bytes(4, "big") * 8)
        paths.linked(key, "relay", 100.0)
        paths.lost(key, 100.0)
    assert len(paths._ways) <= MAX_KNOWN
    assert paths.why(LARGE)


# ---------------------------------------------------------------- why


def test_the_reason_is_said_for_every_path() -> None:
    paths = Paths(SMALL, random.Random(1))
    assert paths.why(LARGE) == ""
    paths.linked(LARGE, "relay", 100.0)
    assert "not at the relay" in paths.why(LARGE)
    paths.met(LARGE, 100.0)
    assert paths.why(LARGE) == "a direct way is being tried"
    paths.nat = "hard"
    tried(paths, LARGE, 100.0)
    paths.ended(LARGE, "silent", 104.0)
    assert paths.why(LARGE) == "your NAT gives each destination another port"
    paths.linked(LARGE, "direct", 110.0)
    assert paths.why(LARGE) == "through the NAT"
    paths.linked(LARGE, "lan", 111.0)
    assert paths.why(LARGE) == "on this network"
    paths.lost(LARGE, 112.0)
    assert paths.why(LARGE) == ""


@pytest.mark.parametrize(
    ("ours", "theirs", "how", "said"),
    [
        ("hard", "hard", "silent", "both NATs"),
        ("hard", "easy", "refused", "your NAT"),
        ("easy", "hard", "silent", "their NAT"),
        ("easy", "easy", "refused", "refuses"),
        ("unknown", "none", "silent", "firewall"),
        ("hard", "hard", "unanswered", "has not tried"),
        ("easy", "easy", "no_port", "this system"),
    ],
)
def test_why_there_is_no_direct_link(ours: str, theirs: str, how: str, said: str) -> None:
    sentence = why_relay(ours, theirs, how)  # type: ignore[arg-type]
    assert said in sentence
    assert len(sentence) < 80


# ---------------------------------------------------------------- addresses

OWN = (
    Own("127.0.0.1", 8),
    Own("192.168.7.9", 24),
    Own("10.1.0.5", 16),
    Own("2001:db8::5", 64),
    Own("2a00:1450::9", 64),
    Own("::1", 128),
)


def test_addresses_that_others_can_dial_are_offered_the_one_towards_the_rendezvous_first() -> None:
    found = offers(OWN, "10.1.0.5", 4000)
    assert [one.host for one in found] == ["10.1.0.5", "192.168.7.9", "2a00:1450::9", "2001:db8::5"]
    assert {one.port for one in found} == {4000}


def test_an_address_that_the_router_gives_us_is_offered_too() -> None:
    mapped = Candidate("203.0.113.4", 5555)
    assert mapped in offers(OWN, "10.1.0.5", 4000, mapped)


def test_addresses_of_one_machine_are_offered_where_the_rendezvous_is_on_it() -> None:
    assert {one.host for one in offers(OWN, "127.0.0.1", 4000)} >= {"127.0.0.1", "::1"}


def test_no_more_is_offered_than_a_peer_takes() -> None:
    many = [Own(f"10.{n}.0.1", 16) for n in range(40)]
    assert len(offers(many, "10.0.0.1", 4000, Candidate("203.0.113.4", 1))) == MAX_CANDIDATES


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "169.254.1.1",
        "fe80::1",
        "relay.example",
        "::ffff:127.0.0.1",
        "1.2.3",
        "",
    ],
)
def test_a_peer_cannot_have_us_dial_ourselves_or_many_or_a_name(host: str) -> None:
    assert worth_dialling([Candidate(host, 80)], OWN, "10.1.0.5", 4000) == ()


def test_our_own_port_is_not_dialled() -> None:
    ours = [Candidate("192.168.7.9", 4000), Candidate("10.1.0.5", 4000)]
    theirs = [Candidate("192.168.7.9", 4001), SEEN]
    assert worth_dialling([*ours, *theirs], OWN, "10.1.0.5", 4000) == tuple(theirs)


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("192.168.7.200", "lan"),
        ("10.1.99.99", "lan"),
        ("192.168.8.1", "direct"),
        ("198.51.100.7", "direct"),
        ("2001:db8::77", "lan"),
        ("2001:db8:1::77", "direct"),
        ("127.0.0.1", "lan"),
        ("fe80::1%eth0", "lan"),
        ("?", "direct"),
    ],
)
def test_a_link_to_an_address_on_a_network_of_ours_is_lan(host: str, path: str) -> None:
    assert path_to(host, OWN) == path
