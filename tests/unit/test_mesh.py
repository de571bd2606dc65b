"""Whom a peer wants links to, with the clock in the test's hand."""

import random
import tracemalloc

import pytest

from sandpiper.core.events import Now
from sandpiper.core.mesh import (
    DIAL_RATE,
    DIALS_TOGETHER,
    GIVE_UP_SECONDS,
    LARGER_WAITS,
    LOST_MOST,
    MAX_ADDRESSES,
    MAX_DIALS,
    MAX_KNOWN,
    RETRY_FIRST,
    RETRY_MOST,
    SILENT_SECONDS,
    STEADY_SECONDS,
    Mesh,
    Target,
)
from sandpiper.wire.ids import PeerKey

SMALL, LARGE, OTHER = PeerKey(b"\x01" * 32), PeerKey(b"\xff" * 32), PeerKey(b"\xee" * 32)
HOST, PORT = "192.168.0.7", 8080
SLACK = 1.5  # jitter makes a wait up to this much longer


def at(seconds: float) -> Now:
    return Now(500.0 + seconds, 1_700_000_000_000)


def mesh(me: PeerKey = SMALL, seed: int = 1) -> Mesh:
    return Mesh(me, random.Random(seed))


def next_at(one: Mesh) -> float:
    deadline = one.deadline()
    assert deadline is not None
    return deadline - at(0).mono


def fail(one: Mesh, target: Target, now: float) -> float:
    """A dial came to nothing; how long the mesh waits before the next."""
    one.dialled(target, None, at(now))
    return next_at(one) - now


def link(one: Mesh, peer: PeerKey, now: float, *, dialled: bool = True) -> None:
    assert one.keep(peer, at(now), dialled=dialled)


# ---------------------------------------------------------------- whom to dial


def test_a_mesh_that_knows_nobody_wants_nothing():
    assert mesh().deadline() is None
    assert mesh().due(at(0)) == []


def test_the_smaller_key_dials_at_once():
    one = mesh(SMALL)
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    assert next_at(one) == 0
    assert one.due(at(0)) == [Target(LARGE, HOST, PORT)]
    assert one.deadline() is None, "one dial at a time"
    assert one.due(at(1)) == []


def test_the_larger_key_dials_when_nothing_has_come_by_then():
    one = mesh(LARGE)
    one.found(SMALL, HOST, PORT, at(0), fresh=True)
    assert one.due(at(0)) == []
    assert next_at(one) == LARGER_WAITS
    assert one.due(at(LARGER_WAITS)) == [Target(SMALL, HOST, PORT)]


def test_the_larger_key_does_not_dial_whoever_came_first():
    one = mesh(LARGE)
    one.found(SMALL, HOST, PORT, at(0), fresh=True)
    link(one, SMALL, 0.1, dialled=False)
    assert one.deadline() is None
    assert one.due(at(LARGER_WAITS)) == []


def test_nobody_dials_itself():
    one = mesh()
    one.found(SMALL, HOST, PORT, at(0), fresh=True)
    assert one.deadline() is None


def test_failed_dials_wait_longer_each_time_as_long_as_beacons_come():
    one = mesh()
    waits: list[float] = []
    now = 0.0
    for _ in range(10):
        one.found(LARGE, HOST, PORT, at(now), fresh=not waits)
        (target,) = one.due(at(now))
        waits.append(fail(one, target, now))
        now += waits[-1]
    assert all(RETRY_FIRST * 2**n / 2 <= wait <= RETRY_FIRST * 2**n * SLACK for n, wait in enumerate(waits[:5]))
    assert all(RETRY_MOST / 2 <= wait <= RETRY_MOST * SLACK for wait in waits[5:])


def test_a_peer_that_is_not_heard_any_more_is_dialled_seldom_and_then_given_up():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    now, dials = 0.0, []
    while one.deadline() is not None:
        now = next_at(one)
        for target in one.due(at(now)):
            dials.append(now)
            one.dialled(target, None, at(now))
    assert GIVE_UP_SECONDS <= now <= GIVE_UP_SECONDS + LOST_MOST
    assert dials[-1] - dials[-2] == LOST_MOST
    assert len(dials) < GIVE_UP_SECONDS / LOST_MOST + 10


def test_a_peer_that_is_linked_is_not_given_up_though_no_beacon_comes():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    link(one, LARGE, 0)
    one.found(OTHER, HOST, 9, at(GIVE_UP_SECONDS * 2), fresh=True)
    assert one.due(at(GIVE_UP_SECONDS * 2)) == [Target(OTHER, HOST, 9)]
    one.lost(LARGE, at(GIVE_UP_SECONDS * 2))
    assert one.deadline() is not None


def test_a_peer_that_comes_back_is_dialled_at_once_however_long_it_was_away():
    """With a new beacon after silence, or when it says that it has just started."""
    for fresh in (False, True):
        one = mesh()
        one.found(LARGE, HOST, PORT, at(0), fresh=True)
        for now in (0, 10, 20.5):
            for target in one.due(at(now)):
                one.dialled(target, None, at(now))
        assert next_at(one) > 22 + RETRY_MOST
        one.found(LARGE, HOST, PORT, at(22), fresh=fresh)
        assert one.due(at(22)) == [Target(LARGE, HOST, PORT)]


def test_a_beacon_as_any_other_does_not_shorten_a_wait():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    for now in (0, 1, 3):
        for target in one.due(at(now)):
            one.dialled(target, None, at(now))
    before = next_at(one)
    one.found(LARGE, HOST, PORT, at(3.1), fresh=False)
    assert next_at(one) == before


def test_beacons_that_claim_to_be_fresh_cannot_make_us_dial_in_a_loop():
    one = mesh()
    dials, now = 0, 0.0
    while now < 10:
        one.found(LARGE, HOST, 1 + int(now * 1000), at(now), fresh=True)
        for target in one.due(at(now)):
            dials += 1
            one.dialled(target, None, at(now))
        now += 0.01
    assert dials <= 10 / (RETRY_FIRST / 2) + 1


def test_each_network_that_a_peer_is_on_gets_its_turn_the_newest_first():
    one = mesh()
    for number in range(MAX_ADDRESSES + 2):
        one.found(LARGE, f"10.0.{number}.1", PORT, at(0), fresh=True)
    one.found(LARGE, "10.0.4.1", PORT, at(0), fresh=False)
    asked, now = [], 0.0
    for _ in range(MAX_ADDRESSES * 2):
        (target,) = one.due(at(now))
        asked.append(target.host)
        now += fail(one, target, now)
        one.found(LARGE, "10.0.4.1", PORT, at(now), fresh=False)
    assert asked == ["10.0.4.1", "10.0.5.1", "10.0.3.1", "10.0.2.1"] * 2


def test_on_one_host_the_last_port_counts():
    """A peer that has started anew; and who forges beacons cannot crowd out other addresses."""
    one = mesh()
    one.found(LARGE, "10.0.0.1", PORT, at(0), fresh=True)
    for port in range(1000):
        one.found(LARGE, HOST, 1 + port, at(0), fresh=True)
    asked, now = [], 0.0
    for _ in range(4):
        (target,) = one.due(at(now))
        asked.append((target.host, target.port))
        now += fail(one, target, now)
    assert asked == [(HOST, 1000), ("10.0.0.1", PORT)] * 2


def test_where_somebody_else_answers_the_peer_is_not_dialled_again():
    """A peer that has gone and whose address another has now, or a forged beacon."""
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    (target,) = one.due(at(0))
    one.dialled(target, OTHER, at(0.1))
    assert one.deadline() is None
    one.found(LARGE, HOST, PORT, at(5), fresh=False)
    assert 0.1 < next_at(one) <= 0.1 + RETRY_FIRST * SLACK
    one.found(LARGE, "192.168.0.9", PORT, at(6), fresh=True)
    (target,) = one.due(at(6))
    assert target.host == "192.168.0.9", "the newest first"


def test_a_forged_address_waits_its_turn_like_any_that_fails():
    one = mesh()
    waits: list[float] = []
    now = 0.0
    for _ in range(6):
        one.found(LARGE, HOST, PORT, at(now), fresh=not waits)
        (target,) = one.due(at(now))
        one.dialled(target, OTHER, at(now))
        one.found(LARGE, HOST, PORT, at(now), fresh=False)
        waits.append(next_at(one) - now)
        now += waits[-1]
    assert waits[-1] > RETRY_MOST / 2, "longer each time"


def test_a_peer_forgotten_in_a_flood_while_it_was_dialled_is_no_trouble():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    (target,) = one.due(at(0))
    for peer in keys(MAX_KNOWN):
        one.found(peer, HOST, 9, at(0), fresh=True)
    one.dialled(target, None, at(1))
    assert LARGE not in one._known


def test_an_address_that_vanished_while_it_was_dialled_is_no_trouble():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    (target,) = one.due(at(0))
    one.gone(LARGE)
    one.dialled(target, OTHER, at(1))
    assert one.deadline() is None


# ---------------------------------------------------------------- leaving, and who only says so


def test_whoever_leaves_is_not_dialled_until_it_is_found_again():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    one.gone(LARGE)
    assert one.deadline() is None
    assert one.due(at(100)) == []
    one.found(LARGE, HOST, PORT, at(101), fresh=True)
    assert one.due(at(101)) == [Target(LARGE, HOST, PORT)]


def test_a_forged_leave_does_not_touch_a_live_link():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    link(one, LARGE, 0)
    one.gone(LARGE)
    one.gone(OTHER)
    one.heard(LARGE, at(1))
    assert not one.keep(LARGE, at(2), dialled=False), "the link still stands"
    one.lost(LARGE, at(20))
    one.found(LARGE, HOST, PORT, at(21), fresh=False)
    assert one.due(at(22)) == [Target(LARGE, HOST, PORT)], "and after it the next beacon brings it back"


# ---------------------------------------------------------------- addresses that a person gave


def test_a_given_address_is_dialled_at_once_and_never_given_up():
    one = mesh(LARGE)
    one.given(HOST, PORT, at(0))
    now = 0.0
    for _ in range(200):
        (target,) = one.due(at(now))
        assert target == Target(None, HOST, PORT)
        wait = fail(one, target, now)
        assert wait <= RETRY_MOST * SLACK
        now += wait
    assert now > GIVE_UP_SECONDS


def test_a_given_address_is_dialled_again_when_its_link_is_lost():
    one = mesh()
    one.given(HOST, PORT, at(0))
    (target,) = one.due(at(0))
    one.dialled(target, LARGE, at(0.1))
    link(one, LARGE, 0.1)
    assert one.deadline() is None
    one.lost(LARGE, at(60))
    assert 60 < next_at(one) <= 60 + RETRY_FIRST * SLACK
    assert one.due(at(61)) == [target]


def test_a_given_address_that_is_our_own_is_dialled_once():
    one = mesh()
    one.given(HOST, PORT, at(0))
    (target,) = one.due(at(0))
    one.dialled(target, SMALL, at(0))
    assert one.deadline() is None
    assert one.due(at(1000)) == []


def test_a_given_address_whose_peer_has_a_link_already_is_left_alone():
    one = mesh()
    link(one, LARGE, 0, dialled=False)
    one.given(HOST, PORT, at(1))
    (target,) = one.due(at(1))
    one.dialled(target, LARGE, at(1))
    assert one.deadline() is None
    one.lost(OTHER, at(2))
    assert one.deadline() is None
    one.lost(LARGE, at(3))
    assert one.deadline() is not None


# ---------------------------------------------------------------- two links to one peer


def both_keep(order_small: list[bool], order_large: list[bool], now: float = 0) -> tuple[list[bool], list[bool]]:
    """Links between SMALL and LARGE, named by "SMALL dialled it", become ready at each end in these orders; what is
    left at each end.
    """
    ends = []
    for me, peer, order in ((SMALL, LARGE, order_small), (LARGE, SMALL, order_large)):
        one, left = mesh(me), []
        for small_dialled in order:
            if one.keep(peer, at(now), dialled=small_dialled == (me == SMALL)):
                left = [small_dialled]
        ends.append(left)
    return ends[0], ends[1]


@pytest.mark.parametrize("small", [[True, False], [False, True]], ids=str)
@pytest.mark.parametrize("large", [[True, False], [False, True]], ids=str)
def test_of_two_links_both_ends_keep_the_one_that_the_smaller_key_dialled(small, large):
    assert both_keep(small, large) == ([True], [True])


def test_a_link_that_is_silent_loses_against_a_new_one():
    one = mesh(SMALL)
    link(one, LARGE, 0, dialled=True)
    one.heard(LARGE, at(1))
    assert not one.keep(LARGE, at(1 + SILENT_SECONDS - 0.1), dialled=False)
    assert one.keep(LARGE, at(1 + SILENT_SECONDS), dialled=False)


def test_a_peer_that_started_anew_takes_the_place_of_its_former_self():
    """Its new link comes the same way as the old one, which may look alive."""
    one = mesh(SMALL)
    link(one, LARGE, 0, dialled=False)
    one.heard(LARGE, at(1))
    assert one.keep(LARGE, at(1.1), dialled=False)


@pytest.mark.parametrize("dialled", [True, False])
def test_of_two_links_both_ends_keep_the_one_on_the_better_path(dialled):
    for me, other in ((SMALL, LARGE), (LARGE, SMALL)):
        for second in (True, False):
            one = mesh(me)
            assert one.keep(other, at(0), dialled=dialled, path="relay")
            assert one.betters(other, "lan")
            assert not one.betters(other, "relay")
            assert one.keep(other, at(1), dialled=second, path="lan"), "the better one comes later"
            assert not one.keep(other, at(2), dialled=second, path="relay"), "the worse one comes later"


def test_who_is_linked_over_a_relay_is_dialled_where_it_is_near():
    one = mesh(SMALL)
    assert one.keep(LARGE, at(0), dialled=True, path="relay")
    one.found(LARGE, HOST, PORT, at(1), fresh=True)
    assert one.due(at(1)) == [Target(LARGE, HOST, PORT)]
    one.dialled(Target(LARGE, HOST, PORT), LARGE, at(1))
    link(one, LARGE, 1)
    assert one.deadline() is None
    assert one.addresses() == ((HOST, PORT),)


# ---------------------------------------------------------------- lost links


def test_after_a_link_is_lost_the_smaller_key_dials_soon_and_the_larger_a_second_later():
    waits = {}
    for me, peer in ((SMALL, LARGE), (LARGE, SMALL)):
        one = mesh(me)
        one.found(peer, HOST, PORT, at(0), fresh=True)
        link(one, peer, 0)
        one.lost(peer, at(100))
        waits[me] = next_at(one) - 100
    assert RETRY_FIRST / 2 <= waits[SMALL] <= RETRY_FIRST * SLACK
    assert LARGER_WAITS + RETRY_FIRST / 2 <= waits[LARGE] <= LARGER_WAITS + RETRY_FIRST * SLACK


def test_links_that_break_again_and_again_are_made_ever_more_seldom():
    """A peer that refuses us after each handshake is not dialled four times a second for ever."""
    one = mesh()
    one.given(HOST, PORT, at(0))
    waits: list[float] = []
    now = 0.0
    for _ in range(8):
        one.found(LARGE, HOST, PORT, at(now), fresh=not waits)
        targets = one.due(at(now))
        assert targets
        for target in targets:
            one.dialled(target, LARGE, at(now))
        link(one, LARGE, now)
        one.lost(LARGE, at(now))
        waits.append(next_at(one) - now)
        now += waits[-1]
    assert waits[-1] >= RETRY_MOST / 2
    now += 10
    for target in one.due(at(now)):
        one.dialled(target, LARGE, at(now))
    link(one, LARGE, now)
    one.lost(LARGE, at(now + STEADY_SECONDS))
    assert next_at(one) - now - STEADY_SECONDS <= RETRY_FIRST * SLACK, "one that lived begins anew"


def test_a_link_lost_that_was_never_kept_is_no_trouble():
    one = mesh()
    one.lost(LARGE, at(0))
    assert one.deadline() is None


def test_when_the_network_has_changed_all_waiting_is_forgotten():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    one.given("10.0.0.1", PORT, at(0))
    for now in (0, 1, 5):
        for target in one.due(at(now)):
            one.dialled(target, None, at(now))
    assert next_at(one) > 5
    one.retry_now(at(5.1))
    assert one.due(at(5.1)) == [Target(LARGE, HOST, PORT), Target(None, "10.0.0.1", PORT)]


# ---------------------------------------------------------------- bounds


def keys(count: int) -> list[PeerKey]:
    return [PeerKey(b"\x02" + n.to_bytes(31, "big")) for n in range(count)]


def test_a_flood_of_forged_beacons_neither_fills_the_memory_nor_dials_without_end():
    one = mesh()
    under_way: list[Target] = []
    for number, peer in enumerate(keys(100_000)):
        if number == 90_000:  # the table is full: from here on nothing may be added that is not also dropped
            tracemalloc.start()
        one.found(peer, HOST, 1 + number % 60_000, at(number / 10_000), fresh=True)
        if number % 500 == 0:
            under_way += one.due(at(number / 10_000))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(one._known) == MAX_KNOWN
    assert grown < 2_000 * MAX_KNOWN
    assert len(under_way) == MAX_DIALS
    assert one.deadline() is None, "nothing to do before a dial ends"
    for target in under_way:
        one.dialled(target, None, at(11))
    assert len(one.due(at(11))) == MAX_DIALS
    for _ in range(10_000):  # each answered at once, as by a host on which nothing listens
        for target in under_way:
            one.dialled(target, None, at(11))
        under_way = one.due(at(11))
    assert under_way == []
    later = one.deadline()
    assert later is not None
    assert at(11).mono < later <= at(11 + DIALS_TOGETHER / DIAL_RATE).mono
    assert DIALS_TOGETHER - 1 <= len(one.due(Now(later, 0))) <= DIALS_TOGETHER


def test_the_peers_heard_last_are_those_remembered():
    one = mesh()
    one.found(LARGE, HOST, PORT, at(0), fresh=True)
    for number, peer in enumerate(keys(MAX_KNOWN * 3)):
        one.found(peer, HOST, 9, at(0), fresh=True)
        if number % 500 == 0:
            one.found(LARGE, HOST, PORT, at(0), fresh=False)
    assert any(target.peer == LARGE for target in drain(one))


def drain(one: Mesh) -> list[Target]:
    dialled = []
    for second in range(100):
        for target in one.due(at(second)):
            one.dialled(target, None, at(second))
            dialled.append(target)
    return dialled


def test_those_who_have_waited_longest_are_dialled_first():
    one = mesh()
    for number, peer in enumerate(keys(MAX_DIALS + 1)):
        one.found(peer, HOST, 9, at(1 - number / 1000), fresh=True)
    last = keys(MAX_DIALS + 1)[0]
    assert last not in {target.peer for target in one.due(at(2))}
