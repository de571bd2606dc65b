"""Direct rooms stay between two; rooms can be left and joined again; topics and nicks come out the same everywhere."""

from __future__ import annotations

import pytest

from sandpiper.core.events import Accepted, Forked, Refused, RoomChanged, SetTyping, TypingSeen
from sandpiper.crypto.rooms import direct_room, room_tag
from sandpiper.errors import UsageError
from sandpiper.testing.simulation import CALM, Crashed, End, Simulation, Weather
from sandpiper.wire.frames import AnyFrame, Fetch, Heads, Hello, Records, Rooms, Typing, Want, encode_frame
from sandpiper.wire.records import Text, Topic
from tests.sim.checks import LOBBY, check_causal, check_converged, check_no_fork, check_nothing_lost, check_told_once

# ---------------------------------------------------------------- direct rooms


def test_a_direct_room_opens_at_both_and_carries_messages() -> None:
    sim = Simulation(1, peers=3, weather=CALM)
    sim.run_until(2)
    alice, bob, _ = sim.peers
    room = alice.direct(bob)
    alice.say(room, "just us")
    sim.run_for(1)
    bob.say(room, "so it is")
    sim.run_for(1)
    assert alice.texts(room) == bob.texts(room) == ["just us", "so it is"]
    assert [(n.kind, n.peer) for n in bob.told(RoomChanged) if n.room == room] == [("direct", alice.key)]


def test_a_third_peer_never_gets_a_frame_because_of_a_direct_room() -> None:
    def run(*, whisper: bool) -> tuple[Simulation, list[tuple[float, bytes]]]:
        sim = Simulation(2, peers=3, weather=CALM)
        seen: list[tuple[float, bytes]] = []

        def tap(_source: End, target: End, frame: AnyFrame) -> None:
            if target is sim.peers[2]:
                seen.append((sim.now, encode_frame(frame)))

        sim.tap(tap)
        sim.run_until(2)
        if whisper:
            room = sim.peers[0].direct(sim.peers[1])
            for n in range(5):
                sim.peers[n % 2].say(room, "psst")
                sim.run_for(1)
            sim.peers[0].leave(room)
        sim.run_until(10)
        # A link made later begins with a hello, too.
        sim.crash(2)
        sim.restart(2)
        sim.run_until(20)
        return sim, seen

    sim, seen = run(whisper=True)
    room = direct_room(sim.peers[0].key, sim.peers[1].key)
    assert not [raw for _, raw in seen if bytes(room) in raw or bytes(room_tag(room)) in raw]
    _, quiet = run(whisper=False)
    assert len(seen) == len(quiet), "the third peer can tell from frames that there is a direct room"


def test_a_third_peer_that_knows_of_a_direct_room_gets_nothing_out_of_it() -> None:
    sim = Simulation(3, peers=2, weather=CALM)
    sim.run_until(1)
    alice, bob = sim.peers
    room = alice.direct(bob)
    secret = alice.say(room, "psst")
    sim.run_for(1)
    mallory = sim.stranger()
    mallory.dial(alice)
    mallory.hello(alice, [room, LOBBY])
    sim.run_for(1)
    assert [type(f) for _, f in mallory.inbox] == [Hello, Heads]
    hello = mallory.inbox[0][1]
    assert isinstance(hello, Hello)
    assert hello.rooms == (room_tag(LOBBY),)
    mallory.inbox.clear()
    for frame in (Want(room, ()), Want(room, (), recent=50), Fetch(room, (secret.id,)), Heads(room, ()), Typing(room)):
        mallory.send(alice, frame)
    mallory.send(alice, Records(room, (mallory.record(room, "let me in").raw,)))
    sim.run_for(5)
    assert not mallory.inbox
    assert {n.code for n in alice.told(Refused)} == {"not_shared"}
    assert alice.texts(room) == bob.texts(room) == ["psst"]
    alice.say(room, "and again")
    sim.run_for(40)
    assert bytes(room) not in b"".join(encode_frame(f) for _, f in mallory.inbox)


def test_a_record_by_someone_else_has_no_place_in_a_direct_room_even_from_its_member() -> None:
    # Bob's own program passes on what mallory signed: alice takes nothing, and does not ask for it again and again.
    sim = Simulation(4, peers=1, weather=CALM)
    sim.run_until(1)
    alice = sim.peers[0]
    bob, mallory = sim.stranger(), sim.stranger()
    room = direct_room(alice.key, bob.key)
    bob.dial(alice)
    bob.hello(alice, [room])
    sim.run_for(1)
    assert alice.engine is not None
    assert alice.engine.members(room) == (bob.key,)
    bob.inbox.clear()
    foreign = mallory.record(room, "let me in")
    bob.send(alice, Records(room, (foreign.raw, bob.record(room, "hi").raw)))
    sim.run_for(100)
    assert alice.texts(room) == ["hi"]
    assert not alice.room(room).pending
    assert not [f for _, f in bob.inbox if isinstance(f, Want | Fetch)]


def test_no_direct_room_with_oneself() -> None:
    sim = Simulation(1, peers=1, weather=CALM)
    with pytest.raises(UsageError):
        sim.peers[0].direct(sim.peers[0])


def test_beacons_never_carry_the_tag_of_a_direct_room() -> None:
    sim = Simulation(1, peers=2, weather=CALM)
    sim.run_until(1)
    room = sim.peers[0].direct(sim.peers[1])
    sim.run_for(1)
    for peer in sim.peers:
        assert peer.engine is not None
        assert peer.engine.open_tags() == (room_tag(LOBBY),)
        assert peer.engine.room(room) is not None


# ---------------------------------------------------------------- leaving and joining


def test_a_room_that_was_left_and_joined_again_goes_on_with_the_same_log() -> None:
    sim = Simulation(5, peers=3, weather=CALM)
    sim.run_until(1)
    leaver, stayer, _ = sim.peers
    leaver.say("lobby", "before")
    sim.run_for(1)
    leaver.leave("lobby")
    sim.run_for(1)
    stayer.say("lobby", "meanwhile")
    sim.run_for(40)
    assert leaver.texts("lobby") == ["before"]
    with pytest.raises(UsageError):
        leaver.say("lobby", "nobody is there")
    leaver.join("lobby")
    leaver.say("lobby", "after")
    assert sim.run_until_quiet(300)
    history = check_converged(sim)
    check_no_fork(sim, history)
    check_causal(sim, history)
    check_told_once(sim)
    assert set(leaver.texts("lobby")) == {"before", "meanwhile", "after"}
    assert [r.seq for r in history if r.author == leaver.key] == [1, 2, 3]
    assert not any(peer.told(Forked) for peer in sim.peers)


def test_a_room_that_was_left_is_still_left_after_a_restart_and_its_log_goes_on() -> None:
    sim = Simulation(6, peers=2, weather=CALM)
    sim.run_until(1)
    sim.peers[0].say("lobby", "before")
    sim.run_for(1)
    sim.peers[0].leave("lobby")
    sim.crash(0)
    sim.restart(0)
    sim.peers[1].say("lobby", "meanwhile")
    sim.run_for(40)
    assert sim.peers[0].texts("lobby") == ["before"]
    assert sim.peers[0].engine is not None
    assert not sim.peers[0].engine.rooms()
    sim.peers[0].join("lobby")
    sim.peers[0].say("lobby", "after")
    assert sim.run_until_quiet(300)
    check_no_fork(sim, check_converged(sim))
    assert set(sim.peers[1].texts("lobby")) == {"before", "meanwhile", "after"}


def test_nothing_of_a_room_goes_to_who_has_left_it() -> None:
    sim = Simulation(7, peers=2, weather=CALM)
    sim.run_until(1)
    sim.peers[1].leave("lobby")
    sim.run_for(1)
    sent: list[AnyFrame] = []
    sim.tap(lambda _s, _t, frame: sent.append(frame))
    sim.peers[0].say("lobby", "are you there?")
    sim.run_for(60)
    assert not sent


def test_rooms_are_shared_only_by_those_who_are_in_them() -> None:
    sim = Simulation(8, peers=4, rooms=(), weather=CALM)
    sim.run_until(1)
    for index, names in enumerate((("a",), ("a", "b"), ("b",), ())):
        for name in names:
            sim.peers[index].join(name)
    sim.run_for(1)
    sim.peers[1].say("a", "to a")
    sim.peers[1].say("b", "to b")
    sim.run_for(1)
    assert [(p.texts("a"), p.texts("b")) for p in sim.peers] == [
        (["to a"], []),
        (["to a"], ["to b"]),
        ([], ["to b"]),
        ([], []),
    ]


def test_joining_twice_changes_nothing() -> None:
    sim = Simulation(9, peers=2, weather=CALM)
    sim.run_until(1)
    before = len(sim.peers[0].notices)
    sent: list[AnyFrame] = []
    sim.tap(lambda _s, _t, frame: sent.append(frame) if isinstance(frame, Rooms) else None)
    sim.peers[0].join("lobby")
    sim.run_for(1)
    assert len(sim.peers[0].notices) == before
    assert not sent


def test_typing_is_told_to_members_and_seldom() -> None:
    sim = Simulation(10, peers=2, weather=CALM)
    sim.run_until(1)
    for _ in range(40):
        sim.peers[0].command(SetTyping(LOBBY))
        sim.run_for(0.25)
    assert [(n.room, n.peer) for n in sim.peers[1].told(TypingSeen)] == [(LOBBY, sim.peers[0].key)] * 3


# ---------------------------------------------------------------- topics and nicks


@pytest.mark.parametrize("seed", range(6))
def test_topics_set_on_both_sides_of_a_partition_become_one_on_all(seed: int) -> None:
    sim = Simulation(seed, peers=6)
    sim.run_until(5)
    sim.partition([[0, 1, 2], [3, 4, 5]])
    sim.run_for(5)
    for n in range(3):
        sim.peers[n].set_topic("lobby", f"left {n}")
        sim.peers[3 + n].set_topic("lobby", f"right {n}")
        sim.run_for(1)
    sim.crash(1)
    sim.heal()
    sim.restart(1)
    assert sim.run_until_quiet(300)
    history = check_converged(sim)
    last = [r.body.text for r in history if isinstance(r.body, Topic)][-1]
    assert {peer.room("lobby").topic for peer in sim.peers} == {last}
    sim.crash(2)
    sim.restart(2)
    assert sim.peers[2].room("lobby").topic == last


@pytest.mark.parametrize("seed", range(4))
def test_everyone_is_called_what_they_last_said_they_are(seed: int) -> None:
    sim = Simulation(seed, peers=4)
    sim.run_until(5)
    sim.partition([[0, 1], [2, 3]])
    for peer in sim.peers:
        peer.say("lobby", "with the first nick")
        peer.set_nick(f"second{peer.index}")
        peer.say("lobby", "with the second")
        sim.run_for(1)
    sim.heal()
    late = sim.add_peer(nick="late")
    assert sim.run_until_quiet(300)
    check_converged(sim)
    expected = {peer.key: f"second{peer.index}" for peer in sim.peers[:4]}
    for peer in sim.peers:
        assert peer.room("lobby").nicks == expected
    sim.crash(late.index)
    sim.restart(late.index)
    assert late.room("lobby").nicks == expected


# ---------------------------------------------------------------- crashes


def test_a_message_that_is_told_survives_its_author() -> None:
    sim = Simulation(11, peers=3, weather=CALM)
    sim.run_until(1)
    told = sim.peers[0].say("lobby", "remember me")
    sim.run_for(0.01)
    sim.crash(0)
    sim.run_for(5)
    late = sim.add_peer(nick="late")
    assert sim.run_until_quiet(300)
    assert late.disk.holds(LOBBY, told.id)


def test_a_message_said_just_before_a_crash_is_on_disk_and_reaches_everyone_after_the_restart() -> None:
    sim = Simulation(12, peers=3, weather=CALM)
    sim.run_until(1)
    told = sim.peers[0].say("lobby", "one last thing")
    sim.crash(0)
    sim.run_for(5)
    assert not sim.peers[1].disk.holds(LOBBY, told.id)
    sim.restart(0)
    assert sim.run_until_quiet(300)
    assert sim.peers[1].disk.holds(LOBBY, told.id)


@pytest.mark.parametrize("seed", range(20))
def test_an_author_that_dies_while_writing_never_signs_a_place_twice(seed: int) -> None:
    sim = Simulation(seed, peers=3)
    sim.run_until(4)
    posted: list[tuple[int, bytes]] = []
    for n in range(10):
        sim.crash(0, while_writing=True)
        with pytest.raises(Crashed):
            posted.append((0, sim.peers[0].say("lobby", f"{n}").id))
        sim.run_for(sim.rng.choice((0.0, 0.1, 3.0)))
        sim.restart(0)
        sim.run_for(sim.rng.choice((0.0, 1.0, 6.0)))
        posted.append((0, sim.peers[0].say("lobby", f"{n} again").id))
    assert sim.run_until_quiet(300)
    history = check_converged(sim)
    check_no_fork(sim, history)
    check_nothing_lost(sim, posted)
    assert not any(peer.told(Forked) for peer in sim.peers)


def test_clocks_that_are_hours_wrong_do_not_turn_talk_around() -> None:
    sim = Simulation(13, peers=4, weather=Weather(skew=12 * 3600.0))
    sim.run_until(5)
    said = []
    for n in range(20):
        peer = sim.peers[n % 4]
        peer.say("lobby", f"{n}")
        said.append(f"{n}")
        sim.run_for(2)
    check_converged(sim)
    for peer in sim.peers:
        assert peer.texts("lobby") == said


def test_late_is_said_of_what_sorts_before_something_told_already_and_of_nothing_else() -> None:
    sim = Simulation(14, peers=2, weather=CALM)
    sim.run_until(1)
    sim.partition([[0], [1]])
    sim.run_for(1)
    sim.peers[0].say("lobby", "early")
    sim.run_for(5)
    sim.peers[1].say("lobby", "later")
    sim.heal()
    sim.run_for(5)
    flags = {n.record.body.text: n.late for n in sim.peers[1].told(Accepted) if isinstance(n.record.body, Text)}
    assert flags == {"later": False, "early": True}
    assert not any(n.late for n in sim.peers[0].told(Accepted))
