"""Private rooms over whole networks: who is let in, put out and comes back, through partitions, crashes and lies."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import (
    Accepted,
    EnterPrivate,
    Forked,
    Judged,
    MemberChanged,
    OpenDirect,
    Refused,
    RoomChanged,
)
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.rooms import room_tag
from sandpiper.errors import UsageError
from sandpiper.testing.simulation import CALM, Crashed, End, SimPeer, Simulation, Weather
from sandpiper.wire.frames import AnyFrame, Fetch, Heads, Hello, Records, Rooms, Want, encode_frame
from sandpiper.wire.ids import NO_RECORD
from sandpiper.wire.records import Admit, Remove, Role, Text
from tests.sim.checks import check_causal, check_told_once, replay

if TYPE_CHECKING:
    from sandpiper.wire.ids import RoomId


def birds(
    seed: int, *, peers: int = 4, members: int | None = None, weather: Weather | None = None
) -> tuple[Simulation, RoomId]:
    """A private room of the first peer, with the next ones in it."""
    sim = Simulation(seed, peers=peers, rooms=(), weather=weather)
    sim.run_until(3)
    room = sim.peers[0].make_private("birds")
    for peer in sim.peers[1 : members if members is not None else peers]:
        sim.peers[0].admit(room, peer)
    sim.run_for(3)
    return sim, room


def names(sim: Simulation, peer: SimPeer, room: RoomId) -> dict[str, str]:
    by_key = {one.key: one.nick for one in sim.peers}
    return {by_key[key]: role for key, role in peer.roles(room).items()}


def agreed(sim: Simulation, room: RoomId, *, without: tuple[int, ...] = ()) -> dict[str, str]:
    """All members know the same roster, and hold the same records that count in the same order."""
    live = [peer for peer in sim.peers if peer.alive and peer.index not in without]
    first = live[0]
    for peer in live[1:]:
        assert names(sim, peer, room) == names(sim, first, room), f"{peer} has another roster{replay(sim)}"
        assert peer.places(room) == first.places(room), f"{peer} has other records{replay(sim)}"
    return names(sim, first, room)


# ---------------------------------------------------------------- in, and out


def test_members_talk_and_keep_their_room_over_a_restart() -> None:
    sim, room = birds(1, weather=CALM)
    for peer in sim.peers:
        peer.say(room, f"from {peer.index}")
        sim.run_for(1)
    assert agreed(sim, room) == {"peer0": "owner", "peer1": "member", "peer2": "member", "peer3": "member"}
    assert sim.peers[2].texts(room) == [f"from {n}" for n in range(4)]
    assert sim.peers[2].room(room).name == "birds"
    assert [n.kind for n in sim.peers[2].told(RoomChanged)] == ["private"]
    for index in range(4):
        sim.crash(index)
        sim.restart(index)
    sim.run_for(5)
    sim.peers[3].say(room, "after the restart")
    sim.run_for(5)
    assert sim.peers[1].texts(room)[-1] == "after the restart"
    assert len(agreed(sim, room)) == 4


def test_a_newcomer_gets_everything_from_any_member() -> None:
    sim, room = birds(2, members=2, weather=CALM)
    for n in range(300):
        sim.peers[n % 2].say(room, f"{n}")
    sim.run_for(5)
    sim.peers[1].admit(room, sim.peers[2])
    sim.crash(0)
    assert sim.run_until_quiet(300)
    assert len(sim.peers[2].texts(room)) == 300
    check_causal(sim, sim.peers[2].history(room))
    check_told_once(sim)


def test_a_kicked_member_learns_of_it_and_gets_and_says_nothing_more() -> None:
    sim, room = birds(3, weather=CALM)
    owner, _, ben, _ = sim.peers
    ben.say(room, "before")
    sim.run_for(2)
    owner.kick(room, ben)
    sim.run_for(2)
    assert ben.told(MemberChanged)[-1] == MemberChanged(room, ben.key, None, "member")
    frames: list[bytes] = []
    sim.tap(lambda _s, target, frame: frames.append(encode_frame(frame)) if target is ben else None)
    with pytest.raises(UsageError, match="not a member"):
        ben.say(room, "let me back")
    owner.say(room, "he is gone")
    sim.run_for(60)
    assert not [raw for raw in frames if bytes(room) in raw or bytes(room_tag(room)) in raw]
    assert ben.texts(room) == ["before"]
    assert agreed(sim, room, without=(2,)) == {"peer0": "owner", "peer1": "member", "peer3": "member"}


def test_links_to_the_removed_are_refused_for_this_room_whatever_they_send() -> None:
    sim, room = birds(4, peers=2, weather=CALM)
    owner = sim.peers[0]
    mallory = sim.stranger()
    admitted = owner.post(room, Admit(mallory.key, "mallory"))
    mallory.dial(owner)
    mallory.hello(owner, [room])
    sim.run_for(1)
    assert any(isinstance(frame, Heads) for _, frame in mallory.inbox), "a member is served"
    mallory.send(owner, Records(room, (mallory.record(room, "hi").raw,)))
    sim.run_for(1)
    assert owner.texts(room) == ["hi"]
    owner.post(room, Remove(mallory.key, False))
    sim.run_for(1)
    mallory.inbox.clear()
    owner.say(room, "he is gone")
    asks = (Want(room, ()), Fetch(room, (admitted.id,)), Heads(room, ()))
    for frame in asks:
        mallory.send(owner, frame)
    sim.run_for(60)
    mallory.hello(owner, [room])
    for frame in asks:
        mallory.send(owner, frame)
    mallory.send(owner, Records(room, (mallory.record(room, "and again").raw,)))
    sim.run_for(60)
    assert not [frame for _, frame in mallory.inbox if bytes(room) in encode_frame(frame)]
    assert [n.code for n in owner.told(Refused)].count("not_shared") == 7
    assert owner.texts(room) == ["hi", "he is gone"]


@pytest.mark.parametrize("helped", [False, True], ids=["alone", "with a member's help"])
def test_what_made_somebody_a_member_once_makes_nobody_a_member_again(helped: bool) -> None:
    """Somebody was let in, made an admin, and removed. It says all of that again but the removal, lets a friend in as
    if it did not know of the removal, and talks on; to a member who was away, too, and through one who is on its side.
    """
    sim, room = birds(40, peers=3, weather=CALM)
    owner, ann, ben = sim.peers
    mallory, friend, helper = sim.stranger(), sim.stranger(), sim.stranger()
    owner.post(room, Admit(helper.key, "helper"))
    let_in = owner.post(room, Admit(mallory.key, "mallory"))
    made_admin = owner.post(room, Role(mallory.key, True))
    mallory.dial(owner)
    mallory.hello(owner, [room])
    said = mallory.record(room, "as a member")
    mallory.send(owner, Records(room, (said.raw,)))
    sim.run_for(3)
    assert owner.texts(room) == ["as a member"]
    sim.crash(2)  # ben was away
    owner.post(room, Remove(mallory.key, False))
    sim.run_for(3)
    sim.restart(2)
    acts = (bytes(let_in.id), bytes(made_admin.id))
    old = [let_in, made_admin, said]
    new = [
        mallory.record(room, Admit(friend.key, "friend", acts)),
        mallory.record(room, Remove(ann.key, True, acts, 0, NO_RECORD)),
        mallory.record(room, "and so on"),
    ]
    hers = friend.record(room, Admit(mallory.key, "mallory", (bytes(new[0].id),)))
    changed = bytearray(let_in.raw)
    changed[-70] ^= 1  # in the signature, or just before it
    for teller in (helper,) if helped else (mallory, friend):
        for peer in (ben, ann, owner):
            teller.dial(peer)
            teller.hello(peer, [room])
            sim.run_for(0.5)
            for records in (old, new, [hers], [*old, *new, hers]):
                teller.send(peer, Records(room, tuple(one.raw for one in records)))
                sim.run_for(0.2)
            teller.dial(peer)
            teller.hello(peer, [room])
            sim.run_for(0.2)
            teller.send(peer, Records(room, (bytes(changed),)))
            sim.run_for(0.5)
    assert sim.run_until_quiet(300)
    everyone = {owner.key, ann.key, ben.key, helper.key}
    for peer in sim.peers:
        assert set(peer.roles(room)) == everyone
        assert peer.texts(room) == ["as a member"]
    for peer in sim.peers:  # also from the disk
        sim.crash(peer.index)
        sim.restart(peer.index)
        assert set(peer.roles(room)) == everyone


def test_leaving_is_told_and_a_ban_refuses_the_key_and_a_kick_does_not() -> None:
    sim, room = birds(5, weather=CALM)
    owner, ann, ben, cat = sim.peers
    ann.leave(room)
    owner.kick(room, ben)
    owner.kick(room, cat, ban=True)
    sim.run_for(3)
    assert names(sim, owner, room) == {"peer0": "owner"}
    with pytest.raises(UsageError, match="banned"):
        owner.admit(room, cat)
    for peer in (ann, ben):
        owner.admit(room, peer)
        sim.run_for(3)
        peer.say(room, f"{peer.nick} is back")
    sim.run_for(3)
    assert agreed(sim, room, without=(3,)) == {"peer0": "owner", "peer1": "member", "peer2": "member"}
    assert set(owner.texts(room)) == {"peer1 is back", "peer2 is back"}


# ---------------------------------------------------------------- partitions


@pytest.mark.parametrize("seed", range(8))
def test_what_the_removed_said_meanwhile_is_on_no_screen_once_the_two_sides_meet(seed: int) -> None:
    sim, room = birds(seed, peers=5)
    owner, ann, ben, cat, dan = sim.peers
    ben.say(room, "before")
    assert sim.run_until_quiet(300)
    sim.partition([[0, 1], [2, 3, 4]])
    sim.run_for(5)
    owner.kick(room, ben)
    for n in range(5):
        ben.say(room, f"meanwhile {n}")
        sim.run_for(1)
        cat.say(room, f"answer {n}")
    ben.set_topic(room, "mine")
    sim.run_for(5)
    assert "meanwhile 3" in dan.texts(room)
    sim.heal()
    assert sim.run_until_quiet(600)
    agreed(sim, room, without=(2,))
    for peer in (owner, ann, cat, dan):
        assert peer.texts(room) == ["before", *(f"answer {n}" for n in range(5))]
        assert peer.room(room).topic == ""
    assert dan.told(Judged)
    assert not owner.told(Forked)
    asked: list[AnyFrame] = []
    sim.tap(lambda _s, _t, frame: asked.append(frame) if isinstance(frame, Want | Fetch | Records) else None)
    sim.run_for(120)
    assert not asked, "somebody still asks for what does not count"
    # Who is let in later is not given it either, but for what others built on.
    sim.crash(2)
    late = sim.add_peer(nick="late", rooms=())
    sim.run_for(5)
    cat.admit(room, late)
    assert sim.run_until_quiet(600)
    agreed(sim, room, without=(2,))
    told = [n.record.body.text for n in late.told(Accepted) if isinstance(n.record.body, Text)]
    assert not [text for text in told if text.startswith("meanwhile")]
    for index in (0, 3, late.index):
        sim.crash(index)
        sim.restart(index)
    agreed(sim, room, without=(2,))


@pytest.mark.parametrize("seed", range(40))
def test_any_quarrel_through_partitions_and_crashes_ends_with_one_roster_and_one_history(seed: int) -> None:
    sim, room = birds(seed, peers=6)
    rng = random.Random(seed)
    owner = sim.peers[0]
    for index in (1, 2):
        owner.set_role(room, sim.peers[index], admin=True)
    assert sim.run_until_quiet(300)
    for n in range(40):
        peer, other = rng.sample(sim.peers, 2)
        try:
            match rng.choice(("say", "say", "say", "kick", "ban", "admit", "leave", "role", "cut", "heal", "crash")):
                case "say":
                    peer.say(room, f"text {n}")
                case "kick":
                    peer.kick(room, other)
                case "ban":
                    peer.kick(room, other, ban=rng.random() < 0.3)
                case "admit" if sim.linked(peer.index, other.index):
                    peer.admit(room, other)
                case "leave":
                    peer.leave(room)
                case "role":
                    owner.set_role(room, other, admin=rng.random() < 0.5)
                case "cut":
                    sim.partition([rng.sample(range(6), 3)])
                case "heal":
                    sim.heal()
                case "crash":
                    sim.crash(peer.index, while_writing=rng.random() < 0.5)
                case _:
                    pass
        except (Crashed, UsageError, KeyError):
            pass
        sim.run_for(rng.choice((0.0, 0.1, 1.0, 8.0)))
        for one in sim.peers:
            if not one.alive and rng.random() < 0.5:
                sim.restart(one.index)
    sim.heal()
    for one in sim.peers:
        one.die_while_writing(never=True)
        sim.restart(one.index)
    if owner.engine is not None and owner.engine.room(room) is None:
        _enter_again(owner, room)
    assert sim.run_until_quiet(900), f"still something new{replay(sim)}"
    members = owner.roles(room)
    inside = [peer for peer in sim.peers if peer.key in members and _is_inside(peer, room)]
    assert owner in inside
    for peer in inside:
        assert names(sim, peer, room) == names(sim, owner, room), f"{peer} has another roster{replay(sim)}"
        assert peer.places(room) == owner.places(room), f"{peer} has other records{replay(sim)}"
        assert not peer.room(room).pending, f"{peer} still waits{replay(sim)}"
    check_told_once(sim)


# ---------------------------------------------------------------- what outsiders learn, and kinds


def test_nobody_outside_gets_a_byte_because_of_a_private_room() -> None:
    sim = Simulation(6, peers=3, rooms=("lobby",), weather=CALM)
    seen: list[bytes] = []
    sim.tap(lambda _s, target, frame: seen.append(encode_frame(frame)) if target is sim.peers[2] else None)
    sim.run_until(2)
    room = sim.peers[0].make_private("birds")
    sim.peers[0].admit(room, sim.peers[1])
    sim.run_for(1)
    for n in range(4):
        sim.peers[n % 2].say(room, "psst")
        sim.run_for(1)
    sim.crash(2)
    sim.restart(2)
    sim.run_for(10)
    assert len(sim.peers[1].texts(room)) == 4
    assert not [raw for raw in seen if bytes(room) in raw or bytes(room_tag(room)) in raw]
    assert sim.peers[0].engine is not None
    assert room_tag(room) not in sim.peers[0].engine.open_tags()


def test_an_outsider_that_knows_the_room_gets_nothing_out_of_it_and_nothing_into_it() -> None:
    sim, room = birds(7, peers=2, weather=CALM)
    owner = sim.peers[0]
    secret = owner.say(room, "psst")
    sim.run_for(1)
    mallory = sim.stranger()
    mallory.dial(owner)
    mallory.hello(owner, [room])
    sim.run_for(1)
    hello = mallory.inbox[0][1]
    assert isinstance(hello, Hello)
    assert room_tag(room) not in hello.rooms
    mallory.inbox.clear()
    own = mallory.record(room, Admit(mallory.key, "mallory", (bytes(secret.id), bytes(room))))
    mallory.send(owner, Rooms((room_tag(room),)))
    for frame in (Want(room, ()), Fetch(room, (secret.id,)), Heads(room, ()), Records(room, (own.raw,))):
        mallory.send(owner, frame)
    sim.run_for(60)
    assert not mallory.inbox
    assert names(sim, owner, room) == {"peer0": "owner", "peer1": "member"}


def test_a_member_cannot_pass_on_what_an_outsider_signed() -> None:
    sim, room = birds(8, peers=1, weather=CALM)
    owner = sim.peers[0]
    bob, mallory = sim.stranger(), sim.stranger()
    owner.post(room, Admit(bob.key, "bob"))
    bob.dial(owner)
    bob.hello(owner, [room])
    sim.run_for(1)
    foreign = mallory.record(room, "let me in")
    bob.send(owner, Records(room, (foreign.raw, bob.record(room, "hi").raw)))
    sim.run_for(1)
    bob.inbox.clear()
    sim.run_for(100)
    assert owner.texts(room) == ["hi"]
    assert not owner.room(room).pending
    assert not [frame for _, frame in bob.inbox if isinstance(frame, Want | Fetch)]


def test_nothing_makes_a_private_room_anything_weaker() -> None:
    sim, room = birds(9, peers=3, members=2, weather=CALM)
    owner, ann, outsider = sim.peers
    owner.join(room.hex())
    owner.join("birds")
    owner.command(OpenDirect(outsider.key))
    sim.run_for(2)
    assert owner.room(room).kind == "private"
    # Its roster is lost from the disk: it admits nobody, rather than everybody.
    owner.disk._shelves[room].acts.clear()
    sim.crash(0)
    sim.restart(0)
    sim.run_for(5)
    lost = owner.room(room)
    assert isinstance(lost, PrivateRoom)
    assert not any(lost.roster.admits(peer.key) for peer in sim.peers)
    with pytest.raises(UsageError):
        owner.say(room, "is this thing open?")
    seen: list[tuple[End, AnyFrame]] = []
    sim.tap(lambda _s, target, frame: seen.append((target, frame)))
    sim.run_for(60)
    assert not [frame for _, frame in seen if isinstance(frame, Records)]
    assert ann.room(room).kind == "private"


# ---------------------------------------------------------------- small tools


def _is_inside(peer: SimPeer, room: RoomId) -> bool:
    """It is in the room, and knows itself that it is a member."""
    return peer.engine is not None and peer.engine.room(room) is not None and peer.key in peer.roles(room)


def _enter_again(peer: SimPeer, room: RoomId) -> None:
    stored = next(one for one in peer.disk.stored() if one.room == room)
    peer.command(EnterPrivate(room, stored.acts, stored.secret))
