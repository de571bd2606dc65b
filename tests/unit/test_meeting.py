"""Who meets whom at rendezvous: real keys and seals, and a rendezvous that a test plays."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.meeting import (
    GREETED_SECONDS,
    HELLO_BURST,
    HELLO_RATE,
    LARGER_WAITS,
    MAX_HELLOS,
    MAX_NAMES,
    RETRY_FIRST,
    Answered,
    Coordinate,
    Cross,
    DialAt,
    Known,
    Meeting,
    Offered,
    Say,
    Unlinked,
    Wanted,
)
from sandpiper.core.rendezvous import Came, DialNow, Offline, Registered, SignalCame, Went
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.meeting import Seal, sign_signal
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.meeting import (
    BadSignal,
    CrossWith,
    Here,
    Meet,
    Offer,
    RoomSignal,
    decode_room_signal,
    encode_code_signal,
    encode_room_signal,
)
from sandpiper.wire.rendezvous import Candidate

ROOM, TAG = RoomId(b"r" * 32), b"t" * 32
SECRET = b"s" * 32
WHO = {one.key: one for one in sorted((Identity(bytes((n,)) * 32) for n in (1, 2, 3)), key=lambda one: one.key)}
SMALL, THIRD, LARGE = WHO
WHERE = "relay.example"
SOON = RETRY_FIRST * 1.5 + LARGER_WAITS  # jitter makes a wait up to so long


class Rendezvous:
    """Gives every meeting a name, tells who comes and goes, and passes signals on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.here: dict[str, Meeting] = {}
        self.rooms: dict[str, str | bytes] = {}
        self.crossed: dict[str, list[Cross]] = {}
        self.answered: list[Answered] = []
        self.told: dict[str, list[Known | Offered | DialAt | Unlinked]] = {}
        self.asked: dict[str, str] = {}  # who wants to dial whom
        self.passed: list[bytes] = []
        self._count = 0

    def enters(self, one: Meeting, room: str | bytes = TAG) -> str:
        self._count += 1
        name = f"p{self._count}"
        others = tuple(other for other in self.here if self.rooms[other] == room)
        self.here[name], self.rooms[name] = one, room
        self.crossed.setdefault(name, [])
        self.told[name] = []
        one.told(WHERE, Registered(room, name, others), self.now)
        for other in others:
            self.here[other].told(WHERE, Came(room, name), self.now)
        self.settle()
        return name

    def leaves(self, name: str) -> None:
        del self.here[name]
        for other, one in self.here.items():
            if self.rooms[other] == self.rooms[name]:
                one.told(WHERE, Went(self.rooms[name], name), self.now)
        self.settle()

    def settle(self) -> None:
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
                                room = self.rooms[peer]
                                [said] = (n for n, o in self.here.items() if o is one and self.rooms[n] == room)
                                self.here[peer].told(WHERE, SignalCame(room, said, data), self.now)
                        case Cross():
                            self.crossed[name].append(effect)
                        case Answered():
                            self.answered.append(effect)
                        case Coordinate(name=peer) if self.asked.get(peer) == name:
                            del self.asked[peer]
                            for to, other in ((name, peer), (peer, name)):
                                seen = (Candidate("198.51.100.7", 1),)
                                self.here[to].told(WHERE, DialNow(other, seen, self.now + 1), self.now)
                        case Coordinate(name=peer):
                            self.asked[name] = peer
                        case Known() | Offered() | DialAt() | Unlinked():
                            self.told[name].append(effect)

    def later(self, seconds: float) -> None:
        self.now += seconds
        for one in self.here.values():
            one.tick(self.now)
        self.settle()


def member(key: PeerKey, *admitted: PeerKey, secret: bytes = SECRET, wanted: Wanted | None = None) -> Meeting:
    rng = random.Random(key)
    one = Meeting(
        WHO[key],
        random.Random(1),
        rng.randbytes,
        lambda _room: secret,
        lambda _room, peer: peer in (admitted or (SMALL, LARGE)),
    )
    one.want(WHERE, wanted if wanted is not None else Wanted({TAG: ROOM}))
    return one


def newcomer(key: PeerKey, *known: PeerKey, good: bool = True) -> tuple[Meeting, Meeting]:
    """Somebody whom the other has not heard of, showing what makes it a member (or something else), and the other."""
    other = SMALL if key == LARGE else LARGE
    admitted = {other}

    def hear(room: RoomId, shows: PeerKey, records: tuple[bytes, ...]) -> None:
        if (room, records) == (ROOM, (b"signed",)):
            admitted.add(shows)

    def made(me: PeerKey, admits: set[PeerKey], shown: tuple[bytes, ...]) -> Meeting:
        one = Meeting(
            WHO[me],
            random.Random(1),
            random.Random(me).randbytes,
            lambda _room: SECRET,
            lambda _room, peer: peer in admits,
            lambda _room: shown,
            hear,
        )
        one.want(WHERE, Wanted({TAG: ROOM}))
        return one

    return made(key, {other}, (b"signed" if good else b"forged",)), made(other, admitted, ())


@pytest.mark.parametrize("key", [SMALL, LARGE])
@pytest.mark.parametrize("last", [True, False])
def test_who_was_let_in_meanwhile_shows_it_and_is_met(key: PeerKey, last: bool) -> None:
    desk = Rendezvous()
    new, old = newcomer(key)
    order = (old, new) if last else (new, old)
    names = [desk.enters(one) for one in order]
    desk.later(SOON)
    assert [len(desk.crossed[name]) for name in names] == [1, 1]


def test_who_shows_what_makes_it_no_member_is_not_answered() -> None:
    desk = Rendezvous()
    new, old = newcomer(SMALL, good=False)
    desk.enters(old)
    desk.enters(new)
    before = len(desk.passed)
    desk.later(60)
    assert before == 1, "its own signal, and no answer"
    assert not any(desk.crossed.values())


@pytest.mark.parametrize("raw", [b"\x92\xa1a", b"\xc0", b"\x91\x01", bytes((0xDC, 0, 33)) + b"\xc4\x01x" * 33])
def test_what_is_shown_and_cannot_be_read_is_a_bad_signal(raw: bytes) -> None:
    whole = encode_room_signal(Here(SMALL, vouch=(b"one", b"two")))
    assert decode_room_signal(whole) == Here(SMALL, vouch=(b"one", b"two"))
    with pytest.raises(BadSignal):
        decode_room_signal(encode_room_signal(Here(SMALL)) + raw)


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


def test_who_comes_back_under_another_name_is_not_kept_waiting_by_a_bridge_that_its_old_name_was_told_of() -> None:
    """As after roaming: the rendezvous has not noticed yet that the old connection is dead."""
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    one, old = desk.enters(small), desk.enters(large)
    assert len(desk.crossed[one]) == len(desk.crossed[old]) == 1
    desk.here[old] = member(THIRD, THIRD)  # nobody who would understand
    new = desk.enters(large)
    assert [cross.token for cross in desk.crossed[new]] == [desk.crossed[one][-1].token]
    assert len(desk.crossed[one]) == 2


@pytest.mark.parametrize("turned", [False, True])
def test_around_midnight_two_who_meet_under_two_tags_go_to_one_bridge_each_time_that_one_comes(turned: bool) -> None:
    """A bridge for each tag would keep whoever comes back at once from a third one until those are given up."""
    desk = Rendezvous()
    tags = [TAG, b"a" * 32]
    wanted = Wanted(dict.fromkeys(tags, ROOM))
    small, large = member(SMALL, wanted=wanted), member(LARGE, wanted=wanted)
    one, _ = (desk.enters(small, tag) for tag in tags)
    for turn in range(3):
        names = [desk.enters(large, tag) for tag in (reversed(tags) if turned else tags)]
        assert len(desk.crossed[one]) == turn + 1
        assert sum(len(desk.crossed[name]) for name in names) == 1
        for name in names:
            desk.leaves(name)
    desk.later(100)
    assert len(desk.crossed[one]) == 3


@pytest.mark.parametrize("way", ["we were away", "the tag is over"])
def test_a_bridge_of_before_keeps_nobody_waiting_once_we_are_no_more_under_the_name_that_agreed_on_it(way: str) -> None:
    desk = Rendezvous()
    other = b"a" * 32
    small, large = member(SMALL), member(LARGE, wanted=Wanted({TAG: ROOM, other: ROOM}))
    one, _ = desk.enters(small), desk.enters(large)
    assert len(desk.crossed[one]) == 1
    if way == "we were away":
        small.told(WHERE, Offline("gone", 0.0), desk.now)
        desk.leaves(one)
        again = desk.enters(small)
    else:
        small.want(WHERE, Wanted({other: ROOM}))
        again = desk.enters(small, other)
        desk.enters(large, other)
    assert len(desk.crossed[one]) + len(desk.crossed[again]) == 2


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
    small.crossed(desk.crossed[one][-1], desk.now)
    desk.later(SOON)
    first, second = desk.crossed[one]
    assert first.token != second.token
    small.crossed(desk.crossed[one][-1], desk.now)
    small.told(WHERE, Went(TAG, other), desk.now)
    del desk.here[other]
    desk.later(100)
    assert len(desk.crossed[one]) == 2


def test_after_the_rendezvous_was_away_members_meet_under_new_names() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    one = desk.enters(small)
    desk.enters(large)
    for each in (small, large):
        each.told(WHERE, Offline("gone", 0.0), desk.now)
    small.crossed(desk.crossed[one][-1], desk.now)
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


def test_a_rendezvous_that_names_new_peers_for_ever_is_told_our_key_and_fills_no_memory() -> None:
    one = member(SMALL)
    for turn in range(3 * MAX_NAMES // 100):
        one.told(WHERE, Registered(TAG, f"me{turn}", tuple(f"p{turn}-{n}" for n in range(100))), 0.0)
    assert len(one.flush()) <= HELLO_BURST + 1, "nor time"
    assert len(one._told) <= MAX_NAMES
    assert len(one._hellos[WHERE].waiting) == MAX_HELLOS


def test_in_a_large_room_all_are_told_our_key_no_faster_than_a_rendezvous_takes_lines() -> None:
    one, now = member(SMALL), 0.0
    names = tuple(f"p{n}" for n in range(128))
    one.told(WHERE, Registered(TAG, "me", names), now)
    told = [(now, say.peer) for say in one.flush() if isinstance(say, Say)]
    assert HELLO_BURST <= len(told) <= HELLO_BURST + 1
    while (due := one.deadline()) is not None:
        assert due > now
        now = due
        one.tick(now)
        told += [(now, say.peer) for say in one.flush() if isinstance(say, Say)]
    assert tuple(peer for _, peer in told) == names
    assert now == pytest.approx((128 - HELLO_BURST) / HELLO_RATE, abs=0.2)
    one.told(WHERE, Registered(TAG, "me", (*names, "new")), now)
    one.told(WHERE, Went(TAG, "new"), now)
    now += 100
    one.told(WHERE, Registered(TAG, "me", (*names, "newer")), now)
    assert [say.peer for say in one.flush() if isinstance(say, Say)][-1] == "newer"
    assert not one._hellos[WHERE].waiting, "those who know it are not told again"


def test_who_has_gone_or_is_of_a_room_that_was_left_is_not_told_our_key_later() -> None:
    for end in (Went(TAG, "p127"), Offline("gone", 0.0), None):
        one = member(SMALL)
        one.told(WHERE, Registered(TAG, "me", tuple(f"p{n}" for n in range(128))), 0.0)
        one.flush()
        if end is None:
            one.want(WHERE, Wanted())
        else:
            one.told(WHERE, end, 0.0)
        one.tick(100.0)
        assert "p127" not in [say.peer for say in one.flush() if isinstance(say, Say)]


def test_a_link_that_was_made_over_a_slow_relay_is_not_made_again_before_it_has_said_hello() -> None:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    one, _ = desk.enters(small), desk.enters(large)
    small.crossed(desk.crossed[one][-1], desk.now, made=True)
    desk.later(GREETED_SECONDS / 2)
    assert len(desk.crossed[one]) == 1
    desk.later(GREETED_SECONDS)
    assert len(desk.crossed[one]) == 2, "it never came"
    small.crossed(desk.crossed[one][-1], desk.now, made=True)
    small.linked(LARGE)
    large.linked(SMALL)
    desk.later(100)
    assert len(desk.crossed[one]) == 2


def forged(by: Identity, signal: RoomSignal, *, names: tuple[str, str] = ("p2", "p1")) -> bytes:
    """What somebody who knows the room's secret says to p1, as p2."""
    signed = sign_signal(by, encode_room_signal(signal), TAG, *names)
    return Seal(SECRET).seal(signed, TAG, "p2", "p1", b"n" * 12)


@pytest.mark.parametrize(
    "signal", [Here(LARGE), Here(LARGE, lost=True), Meet(LARGE, b"k" * 32), Offer(LARGE, "none", ())]
)
def test_who_was_removed_and_knows_the_secret_says_nothing_in_a_members_name(signal: RoomSignal) -> None:
    one = member(SMALL)
    one.told(WHERE, Registered(TAG, "p1", ("p2",)), 0.0)
    one.linked(LARGE)
    one.flush()
    bad = [
        forged(WHO[THIRD], signal),
        forged(WHO[LARGE], signal, names=("p2", "p9")),  # said to somebody else
        forged(WHO[LARGE], signal, names=("p9", "p1")),  # said by somebody else
        Seal(SECRET).seal(bytes(64) + encode_room_signal(signal), TAG, "p2", "p1", b"n" * 12),
        Seal(SECRET).seal(encode_room_signal(signal), TAG, "p2", "p1", b"n" * 12),
    ]
    for data in bad:
        one.told(WHERE, SignalCame(TAG, "p2", data), 0.0)
        assert one.flush() == []
    one.told(WHERE, SignalCame(TAG, "p2", forged(WHO[LARGE], signal)), 0.0)
    assert one.flush(), "the member itself is heard"


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
    desk.settle()
    assert desk.crossed[answering] == [Cross(WHERE, name, b"k" * 32, None, dial=False, nameplate="42")]
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


# ---------------------------------------------------------------- dialling each other

HOME = (Candidate("192.168.7.9", 4000), Candidate("2001:db8::9", 4000))
ABROAD = (Candidate("10.77.1.2", 5000),)


def together() -> tuple[Rendezvous, Meeting, Meeting, str, str]:
    desk = Rendezvous()
    small, large = member(SMALL), member(LARGE)
    names = desk.enters(small), desk.enters(large)
    small.linked(LARGE)
    large.linked(SMALL)
    return desk, small, large, *names


def test_both_know_the_addresses_of_the_other_before_they_are_told_the_moment_to_dial() -> None:
    desk, small, large, one, other = together()
    assert desk.told[one] == [Known(LARGE)]
    assert small.meets(LARGE) == large.meets(SMALL) == WHERE
    small.offer(LARGE, "easy", HOME)
    desk.settle()
    assert desk.told[other] == [Known(SMALL), Offered(SMALL, "easy", HOME)]
    large.offer(SMALL, "hard", ABROAD)
    desk.settle()
    dial = DialAt(WHERE, LARGE, (Candidate("198.51.100.7", 1),), desk.now + 1)
    assert desk.told[one] == [Known(LARGE), Offered(LARGE, "hard", ABROAD), dial]
    assert desk.told[other][-1] == DialAt(WHERE, SMALL, dial.seen, dial.start_at)


def test_addresses_of_ours_are_read_by_the_member_alone() -> None:
    desk, small, _, _, _ = together()
    passed = len(desk.passed)
    small.offer(LARGE, "easy", HOME)
    desk.settle()
    [offer] = desk.passed[passed:]
    for address in (b"\xc0\xa8\x07\x09", b"192.168.7.9", (4000).to_bytes(2, "big") + b"\x06", SMALL):
        assert address not in offer


def test_a_member_asked_under_one_tag_answers_under_the_same() -> None:
    """Two rooms that both are in: the rendezvous gives a moment only to two who ask for each other in one room."""
    desk = Rendezvous()
    both = {TAG: ROOM, b"a" * 32: ROOM}
    small, large = member(SMALL, wanted=Wanted(both)), member(LARGE, wanted=Wanted(both))
    names = [[desk.enters(one, tag) for one in (small, large)] for tag in both]
    small.want(WHERE, Wanted({TAG: ROOM}))  # no more under the other one, which both would take else
    small.offer(LARGE, "easy", HOME)
    desk.settle()
    large.offer(SMALL, "easy", ABROAD)
    [asked] = (effect for effect in large.flush() if isinstance(effect, Coordinate))
    assert asked.name == names[0][0]


@pytest.mark.parametrize("gone", [Went(TAG, "p1"), Offline("lost", 0.0)])
def test_who_is_not_at_the_rendezvous_any_more_is_offered_nothing(gone: Went | Offline) -> None:
    desk, small, large, one, _ = together()
    small.offer(LARGE, "easy", HOME)
    desk.settle()
    large.told(WHERE, gone, desk.now)
    assert one == "p1"
    assert large.meets(SMALL) is None
    large.offer(SMALL, "easy", ABROAD)
    assert not [effect for effect in large.flush() if isinstance(effect, Coordinate)]


def test_a_moment_to_dial_somebody_unknown_is_passed_over() -> None:
    desk, small, _, one, _ = together()
    before = list(desk.told[one])
    small.told(WHERE, DialNow("nobody", (), desk.now), desk.now)
    small.told("elsewhere.example", DialNow("p2", (), desk.now), desk.now)
    desk.settle()
    assert desk.told[one] == before


def test_whoever_has_no_link_to_us_says_so_and_ours_is_doubted() -> None:
    desk, _, large, one, _ = together()
    large.lost(SMALL, desk.now)
    desk.later(SOON)
    assert Unlinked(LARGE) in desk.told[one]


@given(st.binary(max_size=400))
def test_what_is_no_offer_is_refused_and_what_is_one_is_read_exactly(raw: bytes) -> None:
    try:
        read = decode_room_signal(b"\x04" + SMALL + raw)
    except BadSignal:
        return
    assert encode_room_signal(read) == b"\x04" + SMALL + raw
