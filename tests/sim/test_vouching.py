"""Who was let in, or put out, while others were away: they learn of it from whoever they meet, itself included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import MemberChanged
from sandpiper.core.private import PrivateRoom
from sandpiper.core.vouching import removal_of, vouch_of
from sandpiper.errors import UsageError
from sandpiper.testing.simulation import CALM, SimPeer, Simulation
from sandpiper.wire.admission import Vouch
from sandpiper.wire.frames import UnknownFrame, encode_frame
from sandpiper.wire.limits import MAX_VOUCH_BYTES, MAX_VOUCH_RECORDS
from sandpiper.wire.records import Admit, Remove, Role
from tests.sim.checks import check_told_once
from tests.sim.test_private_rooms import agreed, birds, names

if TYPE_CHECKING:
    from sandpiper.wire.ids import RoomId


def private(peer: SimPeer, room: RoomId) -> PrivateRoom:
    found = peer.room(room)
    assert isinstance(found, PrivateRoom)
    return found


def apart(seed: int, *, peers: int, members: int) -> tuple[Simulation, RoomId]:
    """Everybody alone."""
    sim, room = birds(seed, peers=peers, members=members, weather=CALM)
    sim.partition([[n] for n in range(peers)])
    sim.run_for(2)
    return sim, room


def together(sim: Simulation, *indexes: int) -> None:
    """These, for a while, and nobody else."""
    sim.partition([list(indexes), *([n] for n in range(len(sim.peers)) if n not in indexes)])
    sim.run_for(20)


@pytest.mark.parametrize("seed", range(3))
def test_who_was_let_in_by_somebody_who_is_gone_shows_it_to_those_it_meets(seed: int) -> None:
    sim, room = apart(seed, peers=3, members=2)
    owner, ann, ben = sim.peers
    sim.partition([[0, 2], [1]])
    owner.admit(room, ben)
    sim.run_for(2)
    sim.crash(0)
    together(sim, 1, 2)
    assert names(sim, ann, room) == {"peer0": "owner", "peer1": "member", "peer2": "member"}
    ann.say(room, "who are you?")
    sim.run_for(2)
    ben.say(room, "he let me in")
    sim.run_for(5)
    assert ann.texts(room) == ben.texts(room) == ["who are you?", "he let me in"]
    # It holds over a restart, and the owner agrees when it is back.
    sim.crash(1)
    sim.restart(1)
    sim.restart(0)
    sim.heal()
    assert sim.run_until_quiet(300)
    agreed(sim, room)
    check_told_once(sim)


def test_a_whole_chain_of_admissions_is_shown() -> None:
    sim, room = apart(5, peers=6, members=2)
    for one in range(1, 5):
        sim.partition([[one, one + 1], *([n] for n in range(6) if n not in (one, one + 1))])
        sim.run_for(2)
        sim.peers[one].admit(room, sim.peers[one + 1])
        sim.run_for(2)
        sim.crash(one)
    together(sim, 0, 5)
    sim.peers[5].say(room, "a friend of a friend")
    sim.run_for(5)
    assert sim.peers[0].texts(room) == ["a friend of a friend"]
    assert len(names(sim, sim.peers[0], room)) == 6


def test_who_was_put_out_by_somebody_who_is_gone_hears_it_from_a_third() -> None:
    sim, room = apart(6, peers=4, members=4)
    owner, ann, ben, cat = sim.peers
    together(sim, 0, 1)
    owner.kick(room, ben)
    sim.run_for(2)
    sim.crash(0)
    # Cat has not heard of it: the two talk, until she does.
    together(sim, 2, 3)
    ben.say(room, "anybody?")
    sim.run_for(2)
    assert cat.texts(room) == ["anybody?"]
    together(sim, 1, 3)
    assert cat.texts(room) == [], "what came after the cut is on no screen"
    assert names(sim, cat, room) == {"peer0": "owner", "peer1": "member", "peer3": "member"}
    # Ann has never met ben since. He learns it from her.
    assert not ben.told(MemberChanged)[-1:] or ben.told(MemberChanged)[-1].peer != ben.key
    together(sim, 1, 2)
    assert ben.told(MemberChanged)[-1] == MemberChanged(room, ben.key, None, "member")
    with pytest.raises(UsageError, match="not a member"):
        ben.say(room, "hello?")
    ann.say(room, "among ourselves")
    sim.restart(0)
    sim.heal()
    assert sim.run_until_quiet(300)
    agreed(sim, room, without=(2,))
    assert ben.texts(room) == [], "nor on his own"


def test_who_was_put_out_and_shows_that_it_was_let_in_once_is_no_member_by_that() -> None:
    sim, room = birds(7, peers=2, weather=CALM)
    owner, ann = sim.peers
    mallory = sim.stranger()
    admitted = owner.post(room, Admit(mallory.key, "mallory"))
    owner.post(room, Remove(mallory.key, False))
    sim.run_for(2)
    mallory.dial(ann)
    mallory.hello(ann, [room])
    sim.run_for(1)
    for _ in range(3):
        mallory.send_raw(ann, encode_frame(Vouch(room, (admitted.raw,))))
    sim.run_for(1)
    assert names(sim, ann, room) == {"peer0": "owner", "peer1": "member"}
    told = [frame for _, frame in mallory.inbox if bytes(room) in encode_frame(frame)]
    assert not told, "but for the one frame of another kind that says why"
    kinds = [frame.number for _, frame in mallory.inbox if isinstance(frame, UnknownFrame)]
    assert kinds == [Vouch.kind]


def test_an_outsider_shows_what_it_signed_itself_and_fills_no_table() -> None:
    sim, room = birds(8, peers=2, weather=CALM)
    owner = sim.peers[0]
    acts = private(owner, room).roster.acts
    before, causes = len(acts.all), acts.newest()
    mallory, moll = sim.stranger(), sim.stranger()
    forged = [mallory.record(room, Admit(key, "friend", causes)).raw for key in (mallory.key, moll.key)]
    forged.append(mallory.record(room, Role(mallory.key, True, causes)).raw)
    forged.append(mallory.record(room, Admit(moll.key, "later", (b"n" * 32,))).raw)
    for one in (mallory, moll):
        one.dial(owner)
        one.hello(owner, [room])
        sim.run_for(1)
        for _ in range(40):
            one.send_raw(owner, encode_frame(Vouch(room, tuple(forged))))
        sim.run_for(1)
        assert not [frame for _, frame in one.inbox if bytes(room) in encode_frame(frame)]
    assert len(acts.all) == before
    assert not acts.wanted()
    assert len(names(sim, owner, room)) == 2


def test_nobody_shows_anything_to_those_who_know_it_or_to_outsiders() -> None:
    sim, room = birds(9, peers=4, members=3, weather=CALM)
    shown: list[int] = []
    sim.tap(lambda _s, _t, frame: shown.append(frame.number) if isinstance(frame, UnknownFrame) else None)
    sim.break_between(0, 1)
    sim.break_between(1, 3)
    sim.run_for(60)
    assert not shown, "a simulation's taps do not know this kind of frame"
    assert len(agreed(sim, room, without=(3,))) == 3


def test_what_is_shown_fits_a_signal_however_long_the_roster_is() -> None:
    sim, room = birds(10, peers=2, weather=CALM)
    owner, ann = sim.peers
    for n in range(MAX_VOUCH_RECORDS + 8):
        owner.post(room, Admit(bytes((n,)) * 32, f"somebody {n}"))
    sim.run_for(5)
    late = sim.add_peer(nick="late", rooms=())
    sim.run_for(2)
    ann.admit(room, late)
    sim.run_for(5)
    shown = vouch_of(private(late, room), late.key)
    owner.kick(room, late)
    for raws in (shown, removal_of(private(owner, room), late.key)):
        assert 0 < len(raws) <= MAX_VOUCH_RECORDS
        assert sum(map(len, raws)) <= MAX_VOUCH_BYTES
    assert vouch_of(private(owner, room), owner.key) == ()
