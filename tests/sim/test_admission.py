"""Guessers against a whole room of members: how many guesses they get is bounded, however they spread them."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.admission import AdmissionEffect, CodeEnded, OpenCodes, Tell
from sandpiper.core.events import Now
from sandpiper.crypto.codes import POSSIBLE_CODES, Code
from sandpiper.wire.admission import MAX_GUESSES, CodeFrame, NotAdmitted, decode_admission, encode_admission
from sandpiper.wire.ids import PeerKey, RoomId

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = RoomId(b"r" * 32)


class Room:
    """Members that tell each other over links with delays; time goes on from event to event."""

    def __init__(self, members: int, rng: random.Random, delay: float, cut: Callable[[int, int], bool]) -> None:
        self.rng = rng
        self.delay = delay
        self.cut: Callable[[int, int], bool] = connected
        self.members = [OpenCodes(PeerKey(n.to_bytes(32, "big"))) for n in range(members)]
        self.time = 0.0
        self.judged = 0
        self.ended: set[int] = set()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.take(0, self.members[0].issue(Code("42", ("pine", "ocean")), ROOM, b"i" * 8, self.now))
        self.run()
        self.cut = cut

    @property
    def now(self) -> Now:
        return Now(self.time, int(self.time * 1000))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.time + seconds, next(self._order), what))

    def run(self) -> None:
        while self._due:
            self.time, _, what = heapq.heappop(self._due)
            what()

    def take(self, who: int, effects: list[AdmissionEffect]) -> None:
        for effect in effects:
            match effect:
                case Tell(frame=frame, to=to, without=without):
                    for other, member in enumerate(self.members):
                        if other != who and to in (None, member._me) and member._me != without:
                            self.send(who, other, frame)
                case CodeEnded():
                    self.ended.add(who)
                case _:
                    pass

    def send(self, who: int, other: int, frame: CodeFrame) -> None:
        if self.cut(who, other):
            return
        raw = encode_admission(frame)
        sender = self.members[who]._me

        def arrives() -> None:
            told = decode_admission(raw)
            assert isinstance(told, CodeFrame)
            self.take(other, self.members[other].told(sender, told, self.now))

        self.after(self.rng.uniform(0.0, self.delay), arrives)

    def guess(self, who: int, lasts: float) -> None:
        """Somebody begins an attempt at one member, shows a wrong guess when it `lasts` no longer, and tries again."""
        member = self.members[who]
        try:
            attempt = member.begin("42", self.now)
        except NotAdmitted as exc:
            if exc.code == "busy":
                self.after(self.rng.uniform(0.0, lasts), lambda: self.guess(who, lasts))
            return

        def shows() -> None:
            try:
                member.judge(attempt, self.now)
            except NotAdmitted:
                member.ended(attempt)
            else:
                self.judged += 1
                self.take(who, member.wrong(attempt, self.now))
            self.after(0.0, lambda: self.guess(who, lasts))

        self.after(lasts, shows)

    def attack(self, guessers: int, lasts: float) -> None:
        """Everybody at once, spread over all members, until no member answers any more."""
        for number in range(guessers):
            who = number % len(self.members)
            self.after(self.rng.uniform(0.0, lasts), lambda who=who: self.guess(who, lasts))  # type: ignore[misc]
        self.run()


def connected(_one: int, _other: int) -> bool:
    return False


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("members", [1, 2, 5, 12])
def test_parallel_guessers_get_three_guesses_and_those_that_were_on_their_way(members: int, seed: int) -> None:
    """A try takes longer (several round trips through a relay) than members need to tell each other."""
    room = Room(members, random.Random(seed), delay=0.05, cut=connected)
    room.attack(guessers=60, lasts=0.1)
    assert MAX_GUESSES <= room.judged <= MAX_GUESSES + members - 1
    assert room.ended == set(range(members)), "everybody knows that the code has burnt"


@pytest.mark.parametrize("seed", range(10))
def test_one_guesser_who_goes_from_member_to_member_gets_three(seed: int) -> None:
    rng = random.Random(seed)
    room = Room(12, rng, delay=0.05, cut=connected)
    for step in range(40):
        room.run()
        room.time += 1.0
        member = room.members[rng.randrange(12)]
        if step >= MAX_GUESSES:
            with pytest.raises(NotAdmitted, match="burnt"):
                member.begin("42", room.now)
            continue
        attempt = member.begin("42", room.now)
        room.judged += 1
        room.take(room.members.index(member), member.wrong(attempt, room.now))
    assert room.judged == MAX_GUESSES


@pytest.mark.parametrize("seed", range(5))
def test_members_that_are_cut_off_from_each_other_still_stop(seed: int) -> None:
    """Whoever also cuts all links between members gets three guesses at each, and never more."""
    members = 12
    room = Room(members, random.Random(seed), delay=0.05, cut=lambda _one, _other: True)
    room.attack(guessers=100, lasts=0.1)
    assert room.judged == MAX_GUESSES * members
    assert room.judged / POSSIBLE_CODES < 1 / 100_000


@pytest.mark.parametrize("seed", range(5))
def test_slow_links_among_members_do_not_unbound_it(seed: int) -> None:
    members = 8
    room = Room(members, random.Random(seed), delay=3.0, cut=connected)
    room.attack(guessers=100, lasts=0.05)
    assert room.judged <= MAX_GUESSES * members
    assert room.ended == set(range(members))


@pytest.mark.parametrize("seed", range(10))
def test_members_agree_when_a_partition_heals(seed: int) -> None:
    """Two guesses on one side, two on the other: together they are too many, and everybody learns it."""
    room = Room(6, random.Random(seed), delay=0.05, cut=lambda one, other: one % 2 != other % 2)
    for who in (0, 2, 1, 3):
        member = room.members[who]
        room.take(who, member.wrong(member.begin("42", room.now), room.now))
        room.run()
    assert not room.ended
    room.cut = connected
    for one, other in itertools.permutations(range(6), 2):
        room.take(one, room.members[one].linked(room.members[other]._me, ROOM, room.now))
    room.run()
    assert room.ended == set(range(6))


@pytest.mark.parametrize("seed", range(20))
def test_members_that_start_anew_all_the_time_give_no_more_guesses(seed: int) -> None:
    """Whoever starts has forgotten everything, and hears from the others what was guessed, its own count as well."""
    rng = random.Random(seed)
    room = Room(5, rng, delay=0.05, cut=connected)

    def ends(who: int) -> None:
        key = room.members[who]._me
        room.members[who] = OpenCodes(key)  # nobody comes in there until it is told of the code
        room.after(rng.uniform(0.2, 1.0), lambda: comes_back(who, key))

    def comes_back(who: int, key: PeerKey) -> None:
        for other, member in enumerate(room.members):
            if other != who:
                room.take(other, member.linked(key, ROOM, room.now))

    for turn in range(30):
        room.after(turn * 2.0, lambda turn=turn: ends(1 + turn % 4))  # type: ignore[misc]
        for who in range(5):
            room.after(turn * 2.0 + rng.uniform(0.0, 2.0), lambda who=who: room.guess(who, 0.1))  # type: ignore[misc]
    room.run()
    assert MAX_GUESSES <= room.judged <= MAX_GUESSES + len(room.members) - 1
    assert 0 in room.ended
