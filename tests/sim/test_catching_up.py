"""Late joiners, broken links, fast talkers: what is missing comes once, from one peer, the newest screenful first."""

from __future__ import annotations

from collections import Counter

import pytest

from sandpiper.core.events import Accepted, CatchUp, Delivered, Gap, PeerChanged, Preview
from sandpiper.core.limits import GAP_GRACE, RECENT
from sandpiper.core.sync import WANTED, WANTED_RECENT
from sandpiper.crypto.signing import record_id
from sandpiper.testing.simulation import CALM, End, SimPeer, Simulation
from sandpiper.wire.frames import AnyFrame, Records, Want
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_RECORDS
from tests.sim.checks import LOBBY, check_converged, check_told_once


class Deliveries:
    """Counts the records that come to one peer, by who sent them."""

    def __init__(self, sim: Simulation, target: SimPeer) -> None:
        self.target = target
        self.frames: list[tuple[End, Records]] = []
        self.by_source: Counter[End] = Counter()
        sim.tap(self._seen)

    def _seen(self, source: End, target: End, frame: AnyFrame) -> None:
        if target is self.target and isinstance(frame, Records):
            self.frames.append((source, frame))
            self.by_source[source] += len(frame.records)

    def records(self, *, answer: int | None = None) -> Counter[bytes]:
        wanted = [f for _, f in self.frames if answer is None or f.answer == answer]
        return Counter(record_id(raw) for frame in wanted for raw in frame.records)


def room_with_history(count: int, *, peers: int, seed: int = 1) -> tuple[Simulation, SimPeer]:
    """Peers that hold `count` records by two authors, and one more peer that is down and was never in the room."""
    sim = Simulation(seed, peers=peers, weather=CALM)
    late = sim.add_peer(nick="late", rooms=(), started=False)
    sim.partition([[0], [1]])
    sim.run_until(1)
    for n in range(count // 2 - 1):
        sim.peers[n % 2].say("lobby", f"text {n}")
        sim.peers[(n + 1) % 2].say("lobby", f"more {n}")
        sim.run_for(0.001)
    sim.heal()
    assert sim.run_until_quiet(600)
    assert len(check_converged(sim)) == count
    return sim, late


def test_late_joiner_gets_the_newest_screenful_first_and_ten_thousand_older_ones_from_one_peer() -> None:
    sim, late = room_with_history(10_000, peers=4)
    deliveries = Deliveries(sim, late)
    sim.restart(late.index)
    sim.run_for(1)
    assert late.engine is not None
    assert len(late.engine.linked()) == 4
    late.join("lobby")
    assert sim.run_until_quiet(600)
    history = check_converged(sim)
    assert len(history) == 10_000
    check_told_once(sim)

    shown = [n for n in late.notices if isinstance(n, Preview | Accepted)]
    previews = [n.record.id for n in shown[:RECENT] if isinstance(n, Preview)]
    assert previews == [record.id for record in history[-RECENT:]], "the newest screenful was not told first"
    assert len(late.told(Preview)) == RECENT
    assert [n.record.id for n in late.told(Accepted) if n.shown] == previews
    assert all(n.history for n in late.told(Accepted))
    begun, done = late.told(CatchUp)
    assert (begun.missing, done.missing, done.received) == (10_000, 0, 10_000)

    bulk = deliveries.records(answer=WANTED)
    assert set(bulk.values()) == {1}, "something older came twice"
    (_, most), *others = deliveries.by_source.most_common()
    assert most >= 10_000
    assert sum(count for _, count in others) <= RECENT, "linked peers send what one of them sends already"


def test_the_newest_screenful_comes_before_the_bulk_on_the_wire() -> None:
    sim, late = room_with_history(1000, peers=2)
    deliveries = Deliveries(sim, late)
    sim.restart(late.index)
    late.join("lobby")
    assert sim.run_until_quiet(600)
    answers = [frame.answer for _, frame in deliveries.frames]
    assert answers[0] == WANTED_RECENT
    assert WANTED_RECENT not in answers[1:]


@pytest.mark.parametrize("break_at", [2, 3, 7])
def test_a_link_that_breaks_in_the_middle_of_catching_up_costs_one_answer_at_most(break_at: int) -> None:
    sim, late = room_with_history(3000, peers=3)
    deliveries = Deliveries(sim, late)
    first: list[End] = []

    def breaker(source: End, target: End, frame: AnyFrame) -> None:
        bulk = target is late and isinstance(frame, Records) and frame.answer == WANTED
        if bulk and not first and len(deliveries.frames) >= break_at:
            assert isinstance(source, SimPeer)
            first.append(source)
            sim.after(0, lambda: sim.crash(source.index))

    sim.tap(breaker)
    sim.restart(late.index)
    sim.run_for(1)
    late.join("lobby")
    assert sim.run_until_quiet(600)
    assert first, "nothing was broken"
    assert late.places("lobby") == next(p for p in sim.peers if p.alive).places("lobby")
    check_told_once(sim)
    again = sum(deliveries.records(answer=WANTED).values()) - 3000
    assert again <= MAX_ANSWER_FRAMES * MAX_BATCH_RECORDS, "it began anew instead of going on"
    assert len({source for source, _ in deliveries.frames}) >= 2


def test_a_restart_in_the_middle_of_catching_up_goes_on_from_the_disk() -> None:
    sim, late = room_with_history(3000, peers=2)
    deliveries = Deliveries(sim, late)
    sim.restart(late.index)
    late.join("lobby")
    while len(late.disk.ids(LOBBY)) < 1000:
        sim.run_for(0.001)
    sim.crash(late.index)
    held = len(late.disk.ids(LOBBY))
    sim.restart(late.index)
    assert sim.run_until_quiet(600)
    check_converged(sim)
    check_told_once(sim)
    assert len(late.told(Accepted, since_start=True)) == 3000 - held
    assert sum(deliveries.records(answer=WANTED).values()) <= 3000 + MAX_ANSWER_FRAMES * MAX_BATCH_RECORDS


def test_what_is_said_while_a_late_joiner_catches_up_reaches_it_too() -> None:
    sim, late = room_with_history(3000, peers=3)
    sim.slow(late.index, 0, delay=0.05, bandwidth=50_000)
    sim.slow(late.index, 1, delay=0.05, bandwidth=50_000)
    sim.slow(late.index, 2, delay=0.05, bandwidth=50_000)
    sim.restart(late.index)
    sim.run_for(1)
    late.join("lobby")
    for n in range(20):
        sim.run_for(0.5)
        sim.peers[n % 3].say("lobby", f"live {n}")
    late.say("lobby", "I am here")
    assert sim.run_until_quiet(600)
    history = check_converged(sim)
    check_told_once(sim)
    assert len(history) == 3000 + 20 + 2 + 1  # the third author's and the late one's nicks are records, too


def test_a_slow_link_still_catches_up_without_sending_everything_twice() -> None:
    # One frame of 256 records takes longer than the time after which an asked peer is passed over.
    sim, late = room_with_history(2000, peers=2)
    sim.cut(late.index, 1)
    sim.slow(late.index, 0, delay=0.3, bandwidth=6_000)
    deliveries = Deliveries(sim, late)
    sim.restart(late.index)
    late.join("lobby")
    assert sim.run_until_quiet(3600, calm=120)
    check_converged(sim)
    assert sum(deliveries.records(answer=WANTED).values()) < 3 * 2000


def test_who_was_away_gets_only_what_is_new() -> None:
    sim, _ = room_with_history(1000, peers=3)
    sim.crash(2)
    sim.peers[0].say("lobby", "while you were away")
    sim.run_for(5)
    deliveries = Deliveries(sim, sim.peers[2])
    sim.restart(2)
    assert sim.run_until_quiet(300)
    check_converged(sim)
    assert sum(deliveries.records().values()) == 1
    assert not sim.peers[2].told(CatchUp, since_start=True), "one record is no catching up"


def test_a_fast_talker_reaches_everyone_while_it_talks() -> None:
    # Twice the rate that is taken as pushed: the rest is pulled, and must not wait until the talker is silent.
    sim = Simulation(2, peers=4, weather=CALM)
    sim.run_until(2)
    for n in range(1200):
        sim.at(2 + n / 40, lambda n=n: sim.peers[0].say("lobby", f"line {n}"))  # type: ignore[misc]
    sim.run_until(2 + 30)
    for peer in sim.peers[1:]:
        assert len(peer.texts("lobby")) > 1100, f"{peer} is far behind"
        assert not peer.told(Gap) or peer.told(Gap)[-1].missing == 0 or sim.now < 33
    assert sim.run_until_quiet(300)
    assert len(check_converged(sim)) == 1201


def test_a_member_that_got_our_record_by_way_of_another_is_pushed_the_next_one() -> None:
    sim = Simulation(4, peers=3, weather=CALM)
    sim.cut(0, 1)
    sim.run_until(2)
    sim.peers[0].say("lobby", "by way of peer 2")
    sim.run_for(2)
    assert sim.peers[1].texts("lobby") == ["by way of peer 2"]
    sim.mend(0, 1)
    sim.run_for(40)
    deliveries = Deliveries(sim, sim.peers[1])
    sim.peers[0].say("lobby", "directly")
    sim.run_for(0.01)
    assert sim.peers[1].texts("lobby") == ["by way of peer 2", "directly"]
    assert [source for source, _ in deliveries.frames] == [sim.peers[0]]


def test_what_was_said_before_heads_were_exchanged_does_not_stop_pushing() -> None:
    sim = Simulation(5, peers=3, weather=CALM)
    # Said in the moment between the link and the first heads over it: not pushed, found by heads.
    for peer in sim.peers:
        peer.watch(
            lambda p, n: p.say("lobby", "early") if len(p.history("lobby")) < 6 and isinstance(n, PeerChanged) else None
        )
    sim.run_until(30)
    asked: list[Want] = []
    sim.tap(lambda _s, _t, frame: asked.append(frame) if isinstance(frame, Want) else None)
    for n in range(5):
        for peer in sim.peers:
            peer.say("lobby", f"later {n}")
            sim.run_for(1)
    check_converged(sim)
    assert not asked, "records are pulled that should have been pushed"


def test_a_hole_is_named_while_it_lasts_and_no_longer() -> None:
    sim = Simulation(6, peers=3, weather=CALM)
    sim.cut(0, 2)
    sim.run_until(2)
    sim.slow(1, 2, delay=4.0, bandwidth=1e6)
    sim.run_for(20)
    for n in range(3):
        sim.peers[0].say("lobby", f"{n}")
    sim.run_for(4 + 4 + GAP_GRACE)
    named = sim.peers[2].told(Gap)
    assert [gap.author for gap in named] == [sim.peers[0].key]
    assert named[0].missing == 4
    assert sim.run_until_quiet(300)
    check_converged(sim)
    assert [gap.missing for gap in sim.peers[2].told(Gap)] == [4, 0]


def test_delivery_counts_up_as_members_really_have_the_message() -> None:
    sim = Simulation(7, peers=4, weather=CALM)
    sim.run_until(2)
    sim.partition([[0, 1], [2, 3]])
    sim.run_for(2)
    record = sim.peers[0].say("lobby", "who hears me")
    sim.run_for(2)
    told = [(n.delivered, n.members) for n in sim.peers[0].told(Delivered) if n.id == record.id]
    assert told == [(0, 1), (1, 1)]
    sim.heal()
    sim.run_for(5)
    told = [(n.delivered, n.members) for n in sim.peers[0].told(Delivered) if n.id == record.id]
    assert told[-1] == (3, 3)
    assert sim.peers[0].engine is not None
    assert sim.peers[0].engine.undelivered() == 0
