"""One identity used twice (a copied profile): everyone learns of it, and everyone ends with both branches."""

from __future__ import annotations

import pytest

from sandpiper.core.events import CatchUp, Forked, Gap
from sandpiper.core.limits import MAX_BRANCHES
from sandpiper.testing.simulation import CALM, SimPeer, Simulation, Storm
from sandpiper.wire.frames import Fetch, Heads, Records, Want
from tests.sim.checks import (
    LOBBY,
    check_causal,
    check_converged,
    check_nothing_lost,
    check_told_once,
    head,
    replay,
)


def twins(seed: int, others: int = 4) -> tuple[Simulation, SimPeer, SimPeer]:
    """Peer 0 and its twin on two sides of a partition, the others shared out between them."""
    sim = Simulation(seed, peers=1 + others)
    twin = sim.add_peer(nick="twin", twin_of=0)
    half = 1 + others // 2
    sim.partition([[0, *range(1, half)], [twin.index, *range(half, 1 + others)]])
    sim.run_until(5)
    return sim, sim.peers[0], twin


def check_all_know(sim: Simulation, author: SimPeer) -> None:
    for peer in sim.peers:
        told = [notice.author for notice in peer.told(Forked)]
        assert told == [author.key], f"{peer} was told {len(told)} times of the fork"


def check_settled(sim: Simulation) -> None:
    """Nothing is asked for any more, and no hole or catching up is still shown."""
    asked: list[object] = []
    sim.tap(lambda _source, _target, frame: asked.append(frame) if isinstance(frame, Want | Fetch | Records) else None)
    sim.run_for(120)
    assert not asked
    for peer in sim.peers:
        shown: dict[bytes, int] = {}
        for gap in peer.told(Gap):
            shown[gap.author] = gap.missing
        assert not any(shown.values()), f"{peer} still shows a hole"
        catching = peer.told(CatchUp)
        assert not catching or catching[-1].missing == 0, f"{peer} still shows that it is catching up"


@pytest.mark.parametrize("seed", range(8))
def test_two_branches_of_one_record_reach_everyone(seed: int) -> None:
    sim, one, twin = twins(seed)
    one.say("lobby", "left")
    twin.say("lobby", "right")
    sim.run_for(5)
    sim.heal()
    assert sim.run_until_quiet(300)
    history = check_converged(sim)
    check_causal(sim, history)
    check_told_once(sim)
    assert {"left", "right"} <= set(one.texts("lobby"))
    check_all_know(sim, one)
    check_settled(sim)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("left", "right"), [(1, 9), (9, 1), (7, 7)])
def test_branches_of_several_records_reach_everyone_with_what_others_built_on_them(
    seed: int, left: int, right: int
) -> None:
    sim, one, twin = twins(seed)
    for n in range(left):
        one.say("lobby", f"left {n}")
        sim.run_for(1)
        sim.peers[1].say("lobby", f"answer to left {n}")
    for n in range(right):
        twin.say("lobby", f"right {n}")
        sim.run_for(1)
        sim.peers[4].say("lobby", f"answer to right {n}")
    sim.run_for(5)
    sim.heal()
    assert sim.run_until_quiet(300)
    history = check_converged(sim)
    check_causal(sim, history)
    check_told_once(sim)
    assert len(one.texts("lobby")) == 2 * (left + right)
    check_all_know(sim, one)
    check_settled(sim)


@pytest.mark.parametrize("seed", range(8))
def test_both_branches_go_on_after_they_met(seed: int) -> None:
    sim, one, twin = twins(seed)
    one.say("lobby", "left")
    twin.say("lobby", "right")
    sim.heal()
    sim.run_for(60)
    for n in range(5):
        one.say("lobby", f"left again {n}")
        sim.run_for(3)
        twin.say("lobby", f"right again {n}")
        sim.peers[2].say("lobby", f"both {n}")
        sim.run_for(3)
    assert sim.run_until_quiet(300)
    check_causal(sim, check_converged(sim))
    assert len(sim.peers[2].texts("lobby")) == 17
    check_settled(sim)


@pytest.mark.parametrize("seed", range(4))
def test_a_branch_reaches_a_newcomer_from_a_peer_that_has_it_beside_the_log(seed: int) -> None:
    # The twin is gone; whoever is left has its longer branch as a fork only.
    sim, one, twin = twins(seed)
    late = sim.add_peer(nick="late", rooms=(), started=False)
    one.say("lobby", "left")
    for n in range(12):
        twin.say("lobby", f"right {n}")
    sim.run_for(5)
    sim.partition([[0, 1], [late.index]])
    assert sim.run_until_quiet(300)
    sim.heal()
    sim.run_for(30)
    # One peer that was on the left (its main chain is "left") teaches the newcomer all there is.
    for peer in sim.peers:
        if peer not in (sim.peers[1], late):
            sim.crash(peer.index)
    sim.restart(late.index)
    late.join("lobby")
    assert sim.run_until_quiet(300)
    assert late.places("lobby") == sim.peers[1].places("lobby")
    assert len(late.texts("lobby")) == 13
    assert late.told(Forked)


@pytest.mark.parametrize("seed", range(4))
def test_a_restarted_peer_still_knows_both_branches_and_is_not_told_of_the_fork_again(seed: int) -> None:
    sim, one, twin = twins(seed)
    for n in range(3):
        one.say("lobby", f"left {n}")
        twin.say("lobby", f"right {n}")
    sim.heal()
    assert sim.run_until_quiet(300)
    peer = sim.peers[2]
    sim.crash(2)
    sim.restart(2)
    sim.peers[3].say("lobby", "and on")
    assert sim.run_until_quiet(300)
    check_converged(sim)
    assert not peer.told(Forked, since_start=True)
    check_settled(sim)


def test_a_peer_that_signs_one_place_many_times_keeps_honest_peers_from_nothing() -> None:
    sim = Simulation(3, peers=3, weather=CALM)
    sim.run_until(2)
    liar = sim.stranger()
    first = liar.record(LOBBY, "first")
    branches = [liar.record(LOBBY, f"branch {n}", seq=2, prev=first.id) for n in range(3 * MAX_BRANCHES)]
    for peer in sim.peers:
        liar.dial(peer)
        liar.hello(peer, [LOBBY])
    sim.run_for(1)
    told: list[int] = []
    sim.tap(lambda source, _t, frame: told.append(len(frame.heads)) if isinstance(frame, Heads | Want) else None)
    liar.send(sim.peers[0], Records(LOBBY, (first.raw,)))
    for n, branch in enumerate(branches):
        liar.send(sim.peers[n % 3], Records(LOBBY, (branch.raw,)))
        sim.run_for(0.1)
    sim.run_for(5)
    # Each of these names branches of the liar as what its author had seen.
    for n in range(6):
        sim.peers[n % 3].say("lobby", f"honest {n}")
        sim.run_for(5)
    sent = sim.frames_sent
    sim.run_for(120)
    for peer in sim.peers:
        assert {f"honest {n}" for n in range(6)} <= set(peer.texts("lobby"))
        assert len(peer.told(Forked)) == 1
        assert not peer.room(LOBBY).pending
    assert max(told) <= 4 + MAX_BRANCHES, "the liar's branches crowd heads"
    assert sim.frames_sent - sent < 500, "peers ask each other for what they cannot get, over and over"


def test_a_fork_deep_in_a_long_log_costs_a_few_frames_not_the_log() -> None:
    sim = Simulation(5, peers=2, weather=CALM)
    twin = sim.add_peer(twin_of=0)
    sim.partition([[0, 1], [twin.index]])
    sim.run_until(2)
    for n in range(400):
        sim.peers[0].say("lobby", f"{n}")
    twin.say("lobby", "other")
    sim.run_for(60)
    served: list[int] = []
    sim.tap(lambda _s, _t, frame: served.append(len(frame.records)) if isinstance(frame, Records) else None)
    sim.crash(0)
    sim.heal()
    assert sim.run_until_quiet(300)
    assert twin.places("lobby") == sim.peers[1].places("lobby")
    assert sum(served) < 2 * 400
    assert head(twin.history("lobby")[0]).seq == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_copied_profile_in_a_storm_still_leads_to_one_history(seed: int) -> None:
    sim = Simulation(seed, peers=7)
    twin = sim.add_peer(nick="twin", twin_of=0)
    storm = Storm(sim, seconds=30, texts=60)
    assert sim.run_until_quiet(900), f"still something new{replay(sim)}"
    # Others keep one link for each key, so that one of the two may have been shut out: give each of them a turn.
    sim.crash(0)
    assert sim.run_until_quiet(900), f"still something new{replay(sim)}"
    sim.crash(twin.index)
    sim.restart(0)
    assert sim.run_until_quiet(900), f"still something new{replay(sim)}"
    history = check_converged(sim)
    check_causal(sim, history)
    check_told_once(sim)
    check_nothing_lost(sim, storm.posted)
    assert twin.disk.ids(LOBBY) <= {record.id for record in history}
    assert not any(peer.room("lobby").pending for peer in sim.peers if peer.alive)
    if len({(record.author, record.seq) for record in history}) < len(history):
        for peer in sim.peers:
            assert peer.told(Forked), f"{peer} was not told of the fork{replay(sim)}"
            assert len(peer.told(Forked, since_start=True)) <= 1, f"{peer} was told twice{replay(sim)}"
