"""What newcomers are given of a room's history: the last part of its one order, from whomever they ask."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import Gap
from sandpiper.core.private import PrivateRoom
from sandpiper.errors import UsageError
from sandpiper.testing.simulation import CALM, Crashed, SimPeer, Simulation, Weather
from sandpiper.wire.frames import Fetch, Heads, Records, Want
from sandpiper.wire.records import Admit, Head, Role
from tests.sim.checks import check_told_once, replay

if TYPE_CHECKING:
    from sandpiper.wire.ids import RoomId


def reeds(
    seed: int, history: str, *, peers: int = 4, members: int = 2, weather: Weather | None = CALM
) -> tuple[Simulation, RoomId]:
    """A private room of the first peer, with the next ones in it from the beginning."""
    sim = Simulation(seed, peers=peers, rooms=(), weather=weather)
    sim.run_until(3)
    room = sim.peers[0].make_private("reeds", history=history)
    for peer in sim.peers[1:members]:
        sim.peers[0].admit(room, peer)
    sim.run_for(3)
    return sim, room


def private(peer: SimPeer, room: RoomId) -> PrivateRoom:
    found = peer.room(room)
    assert isinstance(found, PrivateRoom)
    return found


def since(peer: SimPeer, room: RoomId) -> int:
    return private(peer, room).floor.since


def one_end(sim: Simulation, room: RoomId, *, of: int = 0) -> None:
    """Everybody who is a member has the end of one order, as far as it is theirs, and nothing else."""
    whole = sim.peers[of].places(room)
    for peer in sim.peers:
        if not peer.alive or room not in peer.disk.rooms():
            continue
        theirs = [place for place in whole if place[0] >= since(peer, room)]
        assert peer.places(room) == theirs, f"{peer} has another end{replay(sim)}"
        assert not private(peer, room).pending, f"{peer} waits for something{replay(sim)}"


def test_with_none_a_newcomer_gets_what_is_said_from_then_on_and_nothing_else() -> None:
    sim, room = reeds(1, "none")
    owner, ann, ben, _ = sim.peers
    for n in range(5):
        owner.say(room, f"before {n}")
        ann.say(room, f"answer {n}")
        sim.run_for(1)
    ann.set_topic(room, "old")
    sim.run_for(2)
    seen: list[bytes] = []
    sim.tap(lambda _s, target, frame: seen.extend(frame.records if isinstance(frame, Records) else ()))
    ann.admit(room, ben)
    sim.run_for(5)
    ben.say(room, "hello")
    owner.say(room, "welcome")
    sim.run_for(2)
    ann.say(room, "you missed a lot")
    assert sim.run_until_quiet(300)
    assert ben.texts(room) == ["hello", "welcome", "you missed a lot"]
    assert owner.texts(room)[-3:] == ben.texts(room)
    assert not any(b"before" in raw or b"answer" in raw for raw in seen)
    assert not ben.told(Gap)
    one_end(sim, room)
    check_told_once(sim)
    # And after a restart, also of somebody who has said nothing since.
    for index in (1, 2):
        sim.crash(index)
        sim.restart(index)
    sim.run_for(5)
    owner.say(room, "again")
    assert sim.run_until_quiet(300)
    assert ben.texts(room)[-1] == "again"
    one_end(sim, room)


@pytest.mark.parametrize(("policy", "texts"), [("3", 3), ("3d", 2), ("100", 8), ("all", 8)])
def test_a_number_of_entries_or_days_is_given(policy: str, texts: int) -> None:
    sim, room = reeds(2, policy, members=1)
    owner, ann = sim.peers[:2]
    for n in range(8):
        owner.say(room, f"{n}")
        sim.run_for(24 * 3600.0)
    sim.run_for(3600.0)
    owner.admit(room, ann)
    assert sim.run_until_quiet(300)
    assert ann.texts(room) == [f"{n}" for n in range(8 - texts, 8)]
    one_end(sim, room)


def test_whoever_the_newcomer_asks_and_however_gives_it_nothing_older() -> None:
    sim, room = reeds(3, "none")
    owner, ann = sim.peers[:2]
    said = [owner.say(room, f"before {n}") for n in range(4)]
    sim.run_for(2)
    mallory = sim.stranger()
    admitted = ann.post(room, Admit(mallory.key, "mallory"))
    sim.run_for(2)
    for peer in (owner, ann):
        mallory.dial(peer)
        mallory.hello(peer, [room])
        sim.run_for(1)
        for frame in (
            Want(room, ()),
            Want(room, (), 100),
            Want(room, (Head(owner.key, 2, said[0].id),)),
            Fetch(room, tuple(record.id for record in said)),
            Fetch(room, (said[-1].id,), since=1),
        ):
            mallory.send(peer, frame)
        sim.run_for(40)
    given = [raw for _, frame in mallory.inbox if isinstance(frame, Records) for raw in frame.records]
    heads = [head.id for _, frame in mallory.inbox if isinstance(frame, Heads) for head in frame.heads]
    assert admitted.raw in given
    assert not [record for record in said if record.raw in given]
    assert not [record for record in said if record.id in heads]


@pytest.mark.parametrize("again", ["left", "kicked", "member"])
def test_who_comes_back_gives_whoever_lets_it_in_nothing_older_than_is_for_them(again: str) -> None:
    sim, room = reeds(6, "none", peers=3)
    owner, ann, ben = sim.peers
    ann.say(room, "before")
    sim.run_for(3)
    given: list[bytes] = []
    sim.tap(
        lambda _s, target, frame: given.extend(frame.records if target is ben and isinstance(frame, Records) else ())
    )
    owner.admit(room, ben)
    sim.run_for(5)
    if again == "left":
        ann.leave(room)
    elif again == "kicked":
        owner.kick(room, ann)
    sim.run_for(3)
    sim.cut(1, 2)
    sim.break_between(1, 2)
    sim.run_for(5)
    ben.admit(room, ann)
    sim.mend(1, 2)
    sim.run_for(30)
    ann.say(room, "after")
    assert sim.run_until_quiet(300)
    assert ben.texts(room) == ["after"]
    assert not [raw for raw in given if b"before" in raw]
    one_end(sim, room)


def test_who_lets_somebody_in_to_whom_it_is_linked_may_give_unasked_only_then() -> None:
    sim, room = reeds(7, "all", peers=2, members=1)
    owner, ann = sim.peers
    owner.say(room, "welcome")
    owner.admit(room, ann)
    sim.run_for(5)
    assert ann.texts(room) == ["welcome"]
    ann.say(room, "thanks")
    sim.run_for(5)
    given: list[Records] = []
    sim.tap(lambda _s, _t, frame: given.append(frame) if isinstance(frame, Records) else None)
    sim.break_between(0, 1)
    sim.run_for(60)
    assert given == [], "nobody lacks anything"


def test_a_newcomer_that_lets_in_a_second_self_gets_no_more_by_that() -> None:
    sim, room = reeds(4, "none", members=1)
    owner = sim.peers[0]
    said = [owner.say(room, f"before {n}") for n in range(4)]
    sim.run_for(2)
    mallory, moll = sim.stranger(), sim.stranger()
    owner.post(room, Admit(mallory.key, "mallory"))
    sim.run_for(2)
    causes = private(owner, room).roster.acts.newest()
    second = mallory.record(room, Admit(moll.key, "moll", causes, 0), time_ms=1)
    for one in (mallory, moll):
        one.dial(owner)
        one.hello(owner, [room])
        sim.run_for(1)
        if one is mallory:
            one.send(owner, Records(room, (second.raw,)))
            sim.run_for(1)
        one.send(owner, Want(room, ()))
        one.send(owner, Fetch(room, tuple(record.id for record in said)))
        sim.run_for(5)
        given = [raw for _, frame in one.inbox if isinstance(frame, Records) for raw in frame.records]
        assert not [record for record in said if record.raw in given]
    assert moll.key in private(owner, room).roster.ruling.roles, "let in she is"


def test_what_was_said_elsewhere_at_the_time_of_an_admission_has_one_place_for_all() -> None:
    sim, room = reeds(5, "none", peers=5, members=3)
    owner, ann, ben, cat, dan = sim.peers
    owner.say(room, "together")
    sim.run_for(2)
    sim.partition([[0, 3], [1, 2, 4]])
    sim.run_for(2)
    ann.say(room, "elsewhere, before")
    ben.say(room, "answered elsewhere")
    sim.run_for(5)
    owner.admit(room, cat)
    sim.run_for(5)
    ann.say(room, "elsewhere, after")
    sim.run_for(1)
    ben.admit(room, dan)
    sim.run_for(2)
    dan.say(room, "dan is here")
    cat.say(room, "cat is here")
    sim.heal()
    assert sim.run_until_quiet(300)
    one_end(sim, room)
    assert cat.texts(room) == ["elsewhere, after", *[t for t in owner.texts(room) if t.endswith("is here")]]
    assert "elsewhere, after" not in dan.texts(room)
    assert len(owner.texts(room)) == 6


@pytest.mark.parametrize("linked", [True, False])
def test_who_was_let_in_or_put_out_elsewhere_before_is_known_to_a_newcomer_although_no_log_says_so(
    linked: bool,
) -> None:
    """`linked`: to one who hears of it later; else it meets those who have heard of it long ago."""
    sim, room = reeds(10, "none", peers=5, members=3)
    owner, ann, ben, cat, dan = sim.peers
    sim.partition([[0, 1, 3], [2, 4]])
    sim.run_for(2)
    owner.admit(room, cat)
    owner.kick(room, ann)
    sim.run_for(2)
    sim.crash(1)
    ben.admit(room, dan)
    sim.run_for(2)
    if linked:
        for other in (0, 1, 3):
            sim.cut(other, 4)
        sim.partition([])
    else:
        sim.partition([[0, 1, 2, 3], [4]])
        sim.run_for(60)
        sim.heal()
    sim.run_for(60)
    cat.say(room, "do you know me?")
    assert sim.run_until_quiet(300)
    assert dan.texts(room) == ["do you know me?"]
    roles = private(dan, room).roster.ruling.roles
    assert cat.key in roles
    assert ann.key not in roles
    one_end(sim, room)


def test_who_came_late_ends_a_membership_without_taking_old_words_away() -> None:
    sim, room = reeds(6, "none")
    owner, ann, ben, _ = sim.peers
    ann.say(room, "an old word")
    owner.say(room, "yes")
    sim.run_for(2)
    owner.admit(room, ben)
    owner.set_role(room, ben, admin=True)
    sim.run_for(5)
    sim.crash(2)
    sim.partition([[2], [0, 1]])
    sim.restart(2)
    sim.run_for(2)
    with pytest.raises(UsageError, match="not known here"):
        ben.kick(room, ann)
    sim.heal()
    sim.run_for(5)
    ben.kick(room, ann)
    assert sim.run_until_quiet(300)
    assert owner.texts(room) == ["an old word", "yes"]
    assert ann.key not in private(owner, room).roster.ruling.roles
    with pytest.raises(UsageError, match="not a member"):
        ann.say(room, "hello?")


def test_who_comes_back_gets_what_was_said_meanwhile() -> None:
    sim, room = reeds(7, "none")
    owner, ann, ben, _ = sim.peers
    owner.say(room, "before ben")
    sim.run_for(2)
    owner.admit(room, ben)
    sim.run_for(2)
    owner.say(room, "with ben")
    sim.run_for(2)
    owner.kick(room, ben)
    sim.run_for(2)
    owner.say(room, "without ben")
    sim.run_for(2)
    ann.admit(room, ben)
    assert sim.run_until_quiet(300)
    assert ben.texts(room) == ["with ben", "without ben"]
    one_end(sim, room)


def test_a_role_of_the_owner_gives_no_more_of_the_history() -> None:
    sim, room = reeds(8, "none")
    owner, _, ben, _ = sim.peers
    owner.say(room, "before")
    sim.run_for(2)
    owner.admit(room, ben)
    owner.post(room, Role(ben.key, True))
    assert sim.run_until_quiet(300)
    assert ben.texts(room) == []
    assert private(owner, room).begins(ben.key) == since(ben, room) > 0


def test_one_that_lies_about_where_a_newcomers_part_begins_is_believed_by_nobody_else() -> None:
    """What was told before, and what is linked by hash, holds against it."""
    sim, room = reeds(9, "none", members=2)
    owner, _, ben, _ = sim.peers
    owner.say(room, "before")
    sim.run_for(2)
    mallory = sim.stranger()
    owner.post(room, Admit(mallory.key, "mallory"))
    owner.admit(room, ben)
    sim.run_for(5)
    for n in range(5):
        owner.say(room, f"{n}")
    sim.run_for(2)
    mallory.dial(ben)
    mallory.hello(ben, [room])
    sim.run_for(1)
    log = private(ben, room).logs[owner.key]
    lie = Head(owner.key, len(log) + 50, b"x" * 32)
    for answer in range(4):
        mallory.send(ben, Records(room, (), answer, False, since(ben, room), (lie,)))
    sim.run_for(2)
    for n in range(5, 10):
        owner.say(room, f"{n}")
        sim.run_for(1)
    assert sim.run_until_quiet(300)
    assert ben.texts(room) == [f"{n}" for n in range(10)]
    one_end(sim, room)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_things_ends_with_one_order_of_which_everybody_has_their_end(seed: int) -> None:
    rng = random.Random(seed)
    policy = rng.choice(["none", "5", "1d", "none"])
    sim, room = reeds(100 + seed, policy, peers=6, members=2, weather=None)
    inside = [0, 1]
    for _ in range(50):
        live = [n for n in inside if sim.peers[n].alive]
        match rng.randrange(9):
            case 0 if len(inside) < 6:
                one = rng.choice(live) if live else None
                other = next(n for n in range(6) if n not in inside)
                if one is not None and sim.peers[other].alive:
                    try:
                        sim.peers[one].admit(room, sim.peers[other])
                        inside.append(other)
                    except (Crashed, UsageError):
                        pass
            case 1:
                groups: list[list[int]] = [[], []]
                for n in range(6):
                    groups[rng.randrange(2)].append(n)
                sim.partition(groups)
            case 2:
                sim.heal()
            case 3 if live and len(live) > 1:
                sim.crash(rng.choice(live), while_writing=rng.random() < 0.5)
            case 4:
                for n in range(6):
                    if not sim.peers[n].alive:
                        sim.restart(n)
            case _ if live:
                with contextlib.suppress(Crashed):
                    sim.peers[rng.choice(live)].say(room, f"{rng.randrange(1000)}")
            case _:
                pass
        sim.run_for(rng.uniform(0.1, 6))
    sim.heal()
    for n in range(6):
        sim.restart(n)
    for n in inside:
        sim.peers[n].die_while_writing(never=True)
    assert sim.run_until_quiet(900), replay(sim)
    one_end(sim, room)
    check_told_once(sim)
