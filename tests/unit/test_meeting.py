"""Who meets whom at rendezvous: real keys and seals, and a rendezvous that a test plays."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.meeting import LARGER_WAITS, RETRY_FIRST, Answered, Cross, Meeting, Say, Wanted
from sandpiper.core.rendezvous import Came, Offline, Registered, SignalCame, Went
from sandpiper.crypto.meeting import Seal
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.meeting import BadSignal, CrossWith, Here, Meet, decode_room_signal, encode_code_signal

ROOM, TAG = RoomId(b"r" * 32), b"t" * 32
SECRET = b"s" * 32
SMALL, LARGE, THIRD = PeerKey(b"\x01" * 32), PeerKey(b"\xff" * 32), PeerKey(b"\x7f" * 32)
WHERE = "relay.example"
SOON = RETRY_FIRST * 1.5 + LARGER_WAITS  # jitter makes a wait up to so long


class Rendezvous:
    """Gives every meeting a name, tells who comes and goes, and passes signals on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.here: dict[str, Meeting] = {}
        self.crossed: dict[str, list[Cross]] = {}
        self.answered: list[Answered] = []
        self.passed: list[bytes] = []
        self._count = 0

    def enters(self, one: Meeting, room: str | bytes = TAG) -> str:
        self._count += 1
        name = f"p{self._count}"
        others = tuple(self.here)
        self.here[name] = one
        self.crossed.setdefault(name, [])
        one.told(WHERE, Registered(room, name, others), self.now)
        for other in others:
            self.here[other].told(WHERE, Came(room, name), self.now)
        self.settle(room)
        return name

    def settle(self, room: str | bytes = TAG) -> None:
        """Pass on what is said until nothing more is."""
        busy = True
        while busy:
            busy = False
            for name, one in list(self.here.items()):
                for effect in one.flush():
                    busy = True
                    match effect:
                        case Say(peer=peer, data=data):
                            self.passed.append(data)
                            if peer in self.here:
                                self.here[peer].told(WHERE, SignalCame(room, name, data), self.now)
                        case Cross():
                            self.crossed[name].append(effect)
                        case Answered():
                            self.answered.append(effect)

    def later(self, seconds: float) -> None:
        self.now += seconds
        for one in self.here.values():
            one.tick(self.now)
        self.settle()


def member(key: PeerKey, *admitted: PeerKey, secret: bytes = SECRET, wanted: Wanted | None = None) -> Meeting:
    rng = random.Random(key)
    one = Meeting(
        key,
        random.Random(1),
        rng.randbytes,
        lambda _room: secret,
        lambda _room, peer: peer in (admitted or (SMALL, LARGE)),
    )
    one.want(WHERE, wanted if wanted is not None else Wanted({TAG: ROOM}))
    return one


@pytest.mark.parametrize("first", [SMALL, LARGE])
def test_two_members_go_to_one_bridge_and_the_smaller_key_dials(first: PeerKey) -> None:
    desk = Rendezvous()
    second = LARGE if first == SMALL else SMALL
    names = {first: desk.enters(member(first)), second: desk.enters(member(second))}
    [small], [large] = desk.crossed[names[SMALL]], desk.crossed[names[LARGE]]
    assert small.token == large.token
    assert (small.dial, small.peer) == (True, LARGE)
    assert (large.dial, large.peer) == (False, SMALL)


def test_who_is_linked_already_gets_no_bridge_until_the_link_is_lost() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    small.linked(LARGE)
    large.linked(SMALL)
    one, other = desk.enters(small), desk.enters(large)
    desk.later(60)
    assert not desk.crossed[one] + desk.crossed[other]
    small.lost(LARGE, desk.now)
    large.lost(SMALL, desk.now)
    desk.later(SOON)
    [first], [_] = desk.crossed[one], desk.crossed[other]
    assert first.dial


def test_a_link_that_only_the_smaller_key_believes_in_is_made_anew() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    small.linked(LARGE)
    one = desk.enters(small)
    desk.enters(large)
    assert not desk.crossed[one]
    desk.later(SOON)
    assert desk.crossed[one]


def test_a_bridge_that_failed_is_tried_again_until_there_is_a_link_or_the_other_has_gone() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    one, other = desk.enters(small), desk.enters(large)
    small.crossed(LARGE, desk.now)
    desk.later(SOON)
    first, second = desk.crossed[one]
    assert first.token != second.token
    small.crossed(LARGE, desk.now)
    small.told(WHERE, Went(TAG, other), desk.now)
    del desk.here[other]
    desk.later(100)
    assert len(desk.crossed[one]) == 2


def test_after_the_rendezvous_was_away_members_meet_under_new_names() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    desk.enters(small)
    desk.enters(large)
    for each in (small, large):
        each.told(WHERE, Offline("gone", 0.0), desk.now)
    small.crossed(LARGE, desk.now)
    desk.here.clear()
    one = desk.enters(small)
    desk.enters(large)
    assert len(desk.crossed[one]) == 1


@pytest.mark.parametrize("other", [member(THIRD), member(LARGE, secret=b"x" * 32), member(SMALL)])
def test_nobody_goes_to_a_bridge_for_who_is_no_member_has_not_the_secret_or_is_ourselves(other: Meeting) -> None:
    desk = Rendezvous()
    one, two = desk.enters(member(SMALL)), desk.enters(other)
    desk.later(10)
    assert not desk.crossed[one] + desk.crossed[two]


def test_the_rendezvous_reads_no_key_and_can_give_no_signal_to_somebody_else() -> None:
    desk = Rendezvous()
    desk.enters(member(SMALL))
    desk.enters(member(LARGE))
    assert desk.passed
    assert not any(bytes(key) in data for key in (SMALL, LARGE) for data in desk.passed)
    sealed = Seal(SECRET).seal(b"\x01" + LARGE, TAG, "p2", "p1", b"n" * 12)
    assert Seal(SECRET).open(sealed, TAG, "p2", "p1") == b"\x01" + LARGE
    for tag, sender, to in ((b"u" * 32, "p2", "p1"), (TAG, "p3", "p1"), (TAG, "p2", "p3"), (TAG, "p1", "p2")):
        with pytest.raises(BadSignal):
            Seal(SECRET).open(sealed, tag, sender, to)


def test_members_answer_whoever_comes_under_a_nameplate_and_cross_with_a_joiner() -> None:
    desk = Rendezvous()
    inside = member(SMALL, wanted=Wanted(answered=frozenset({"42"})))
    joiner = member(THIRD, wanted=Wanted(sought=frozenset({"42"})))
    other = member(LARGE, wanted=Wanted(sought=frozenset({"42"})))
    answering = desk.enters(inside, "42")
    desk.enters(other, "42")
    name = desk.enters(joiner, "42")
    assert [one.peer for one in desk.answered] == [answering, answering], "joiners do not answer each other"
    inside.told(WHERE, SignalCame("42", name, encode_code_signal(CrossWith(b"k" * 32))), desk.now)
    other.told(WHERE, SignalCame("42", name, encode_code_signal(CrossWith(b"k" * 32))), desk.now)
    desk.settle("42")
    assert desk.crossed[answering] == [Cross(WHERE, b"k" * 32, None, dial=False)]
    assert not desk.crossed["p2"]


@given(st.binary(max_size=80))
def test_signals_that_are_none_change_nothing(data: bytes) -> None:
    one = member(SMALL, wanted=Wanted({TAG: ROOM}, frozenset({"42"}), frozenset({"43"})))
    one.told(WHERE, Registered(TAG, "p1", ()), 0.0)
    one.told(WHERE, SignalCame(TAG, "p2", data), 0.0)
    assert one.flush() == []


def test_room_signals_come_back_as_they_went() -> None:
    from sandpiper.wire.meeting import encode_room_signal

    for signal in (Here(SMALL), Here(SMALL, lost=True), Meet(SMALL, b"k" * 32)):
        assert decode_room_signal(encode_room_signal(signal)) == signal
