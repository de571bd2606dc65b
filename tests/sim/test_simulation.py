"""The simulation keeps its own promises: without them the other tests would prove nothing."""

from __future__ import annotations

import pytest

from sandpiper.core.events import Accepted, Append, Notice, PeerChanged, SaveRoom
from sandpiper.errors import LocalProtocolError
from sandpiper.testing import Simulation as Exported
from sandpiper.testing.simulation import CALM, EPOCH_MS, Crashed, Disk, End, SimPeer, Simulation, Storm, Weather
from sandpiper.wire.frames import AnyFrame, Heads, Ping, Records
from sandpiper.wire.records import Text
from tests.sim.checks import LOBBY


def test_frames_of_one_link_arrive_in_order_and_different_links_overtake_each_other() -> None:
    sim = Simulation(1, peers=2, weather=Weather(delay=(0.01, 0.5), jitter=5.0))
    sim.run_until(3)
    strangers = [sim.stranger() for _ in range(5)]
    arrived: list[tuple[int, int]] = []
    peer = sim.peers[0]
    real = peer.receive

    def receive(link: object, raw: bytes) -> None:
        source = link.other(peer)  # type: ignore[attr-defined]
        arrived.append((source.number, int.from_bytes(raw[-2:], "big")))
        real(link, raw)  # type: ignore[arg-type]

    peer.receive = receive  # type: ignore[method-assign]
    for stranger in strangers:
        stranger.dial(peer)
    for n in range(1000, 1050):
        for stranger in strangers:
            stranger.send(peer, Ping(n))
    sim.run_for(60)
    pings = [(source, n) for source, n in arrived if source >= 2]
    assert len(pings) == 250
    for stranger in strangers:
        assert [n for source, n in pings if source == stranger.number] == list(range(1000, 1050))
    assert pings != sorted(pings, key=lambda ping: ping[1]), "links do not overtake each other"


@pytest.mark.parametrize(("lose", "arrives"), [(True, False), (False, True)])
def test_a_break_loses_what_is_on_its_way_or_not_as_the_weather_says(lose: bool, arrives: bool) -> None:
    sim = Simulation(2, peers=2, weather=Weather(delay=(0.5, 0.5), lose_in_flight=lose))
    sim.run_until(5)
    sim.peers[0].say("lobby", "on its way")
    sim.partition([[0], [1]])
    sim.run_for(5)
    assert (sim.peers[1].texts("lobby") == ["on its way"]) is arrives


def test_a_crash_loses_what_is_not_committed_and_keeps_what_is() -> None:
    sim = Simulation(3, peers=2, weather=CALM)
    sim.run_until(1)
    peer = sim.peers[0]
    peer.say("lobby", "kept")
    sim.crash(0, while_writing=True)
    with pytest.raises(Crashed):
        peer.say("lobby", "died over it")
    assert peer.engine is None
    assert peer.texts("lobby")[:1] == ["kept"]
    with pytest.raises(Crashed):
        peer.say("lobby", "it is down")
    with pytest.raises(Crashed):
        peer.room("lobby")
    sim.restart(0)
    assert peer.alive
    assert peer.starts == 2


def test_some_deaths_while_writing_lose_the_record_and_some_do_not() -> None:
    kept = set()
    for seed in range(20):
        sim = Simulation(seed, peers=2, weather=CALM)
        sim.run_until(1)
        sim.crash(0, while_writing=True)
        with pytest.raises(Crashed):
            sim.peers[0].say("lobby", "perhaps")
        kept.add(sim.peers[0].texts("lobby") == ["perhaps"])
    assert kept == {True, False}


def test_a_crash_loses_what_is_written_and_not_committed() -> None:
    sim = Simulation(4, peers=1, weather=CALM)
    sim.run_until(1)
    peer = sim.peers[0]
    record = sim.stranger().record(LOBBY, "written")
    peer.disk.stage(Append(record, record.time))
    sim.crash(0)
    sim.restart(0)
    assert not peer.history("lobby")
    peer.disk.stage(Append(record, record.time))
    peer.disk.commit()
    sim.crash(0)
    assert peer.history("lobby") == [record]


def test_nothing_is_sent_before_it_is_on_the_senders_disk() -> None:
    sim = Simulation(4, peers=6)
    sent = 0

    def tap(source: End, _target: End, frame: AnyFrame) -> None:
        nonlocal sent
        assert isinstance(source, SimPeer)
        if isinstance(frame, Records):
            for record in sim.open(frame.records, LOBBY):
                assert source.disk.holds(LOBBY, record.id)
                sent += 1
        if isinstance(frame, Heads):
            assert all(source.disk.holds(LOBBY, head.id) for head in frame.heads)

    sim.tap(tap)
    Storm(sim, seconds=20)
    sim.run_until(40)
    assert sent > 50


def test_partitioned_peers_are_not_linked_and_healed_ones_are_again() -> None:
    sim = Simulation(5, peers=4)
    sim.run_until(5)
    assert all(sim.linked(a, b) for a in range(4) for b in range(a))
    sim.partition([[0, 1]])
    assert [sim.linked(0, 1), sim.linked(2, 3), sim.linked(0, 2), sim.linked(1, 3)] == [True, True, False, False]
    sim.run_for(20)
    assert [sim.linked(0, 1), sim.linked(2, 3), sim.linked(0, 2), sim.linked(1, 3)] == [True, True, False, False]
    sim.heal()
    sim.run_for(5)
    assert all(sim.linked(a, b) for a in range(4) for b in range(a))


def test_clocks_are_wrong_by_as_much_as_the_weather_says() -> None:
    sim = Simulation(6, peers=8, weather=Weather(skew=3600.0))
    sim.run_until(10)
    skews = [peer.skew for peer in sim.peers]
    assert max(skews) > 600
    assert min(skews) < -600
    record = sim.peers[0].say("lobby", "what time is it")
    assert abs(record.time - EPOCH_MS - 1000 * (10 + skews[0])) <= 1
    told = {n.peer: n.skew_ms for n in sim.peers[0].told(PeerChanged) if n.state == "linked"}
    for peer in sim.peers[1:]:
        assert abs(told[peer.key] / 1000 - (peer.skew - skews[0])) < 1


def test_a_link_with_too_much_on_its_way_is_closed_and_dialled_again() -> None:
    sim = Simulation(7, peers=2, weather=Weather(bandwidth=200_000))
    sim.run_until(5)
    for n in range(300):
        sim.peers[0].say("lobby", f"{n}" + "x" * 15_000)
    assert not sim.linked(0, 1)
    assert sim.run_until_quiet(600)
    assert len(sim.peers[1].texts("lobby")) == 300


def test_quiet_means_that_nothing_new_comes_for_a_while_and_a_limit_is_a_limit() -> None:
    sim = Simulation(8, peers=3)
    assert sim.run_until_quiet(100)
    done: list[float] = []
    sim.after(50, lambda: done.append(sim.now))
    assert sim.run_until_quiet(300)
    assert done, "it did not wait for what was planned"
    sim.after(50, lambda: None)
    assert not sim.run_until_quiet(10)


def test_watchers_are_told_when_it_is_on_disk_and_may_answer() -> None:
    sim = Simulation(9, peers=2, weather=CALM)
    sim.run_until(1)

    def bot(peer: SimPeer, notice: Notice) -> None:
        if isinstance(notice, Accepted) and not notice.mine and isinstance(notice.record.body, Text):
            assert peer.disk.holds(LOBBY, notice.record.id)
            peer.say("lobby", f"you said: {notice.record.body.text}")

    sim.peers[1].watch(bot)
    sim.peers[0].say("lobby", "hello bot")
    sim.run_for(1)
    assert sim.peers[0].texts("lobby") == ["hello bot", "you said: hello bot"]


def test_the_disk_refuses_what_a_real_store_would_choke_on() -> None:
    sim = Simulation(10, peers=1, weather=CALM)
    stranger = sim.stranger()
    one, two, three = (stranger.record(LOBBY, f"{n}") for n in range(3))
    for bad in ([one, one], [two], [one, three]):
        disk = Disk()
        disk.stage(SaveRoom(LOBBY, "lobby", "open", None, joined=True))
        for record in bad:
            disk.stage(Append(record, record.time))
        with pytest.raises(LocalProtocolError):
            disk.commit()


def test_a_simulation_that_stands_still_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation(11, peers=1, weather=CALM)
    sim.run_until(1)

    def again() -> None:
        sim.schedule(sim.now, again)

    monkeypatch.setattr("sandpiper.testing.simulation.world.MAX_SAME_INSTANT", 1000)
    sim.schedule(sim.now, again)
    with pytest.raises(LocalProtocolError):
        sim.run_until(2)


def test_the_example_in_the_documentation_runs() -> None:
    assert Exported is Simulation
    sim = Simulation(seed=7, peers=3)
    sim.run_until(5)
    sim.peers[0].say("lobby", "hello")
    sim.partition([[0], [1, 2]])
    sim.crash(2)
    sim.run_for(10)
    sim.heal()
    sim.restart(2)
    assert sim.run_until_quiet(300)
    assert [peer.texts("lobby") for peer in sim.peers] == [["hello"]] * 3
