"""The rendezvous' desk without sockets: time is a number, and every promise of its page is kept to the second."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.core.events import Now
from sandpiper.hub.rendezvous.desk import Desk, End, HandOver, Seen, Tell
from sandpiper.hub.rendezvous.limits import (
    COORDINATION_SECONDS,
    EMPTY_SECONDS,
    IDLE_SECONDS,
    MAX_COORDINATIONS,
    MAX_ROOMS_A_GUEST,
    PING_SECONDS,
    SILENCE_SECONDS,
    START_MARGIN,
    RendezvousSettings,
)
from sandpiper.hub.rendezvous.nameplates import Nameplates
from sandpiper.hub.rendezvous.quotas import Quotas
from sandpiper.wire.rendezvous import (
    MAX_PEERS,
    Bridge,
    Candidate,
    Coordinate,
    Coordinated,
    CreateRoom,
    Observe,
    PeerRegistered,
    Ping,
    Pong,
    Refusal,
    RegisterPeer,
    RoomCreated,
    RoomExpired,
    Signal,
    Signalled,
    encode_line,
)

if TYPE_CHECKING:
    from sandpiper.hub.rendezvous.desk import Effect
    from sandpiper.wire.rendezvous import AnyAsk

HOME = Seen("198.51.100.7", 40_000, "198.51.100.7")


class Office:
    """A desk with a clock that a test moves."""

    def __init__(self, **settings: Any) -> None:
        self.settings = RendezvousSettings(**settings)
        self.desk = Desk(Quotas(self.settings), random.Random(1).randrange)
        self.time = 1000.0
        self.told: dict[int, list[Any]] = {}
        self.ended: dict[int, str] = {}
        self.handed: dict[int, bytes] = {}

    @property
    def now(self) -> Now:
        return Now(mono=self.time, wall_ms=int(self.time * 1000))

    def enter(self, *numbers: int, seen: Seen = HOME) -> None:
        for number in numbers:
            self.told[number] = []
            self.desk.enter(number, seen, self.now)

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(guest=number, word=word):
                    self.told[number].append(word)
                case End(guest=number, why=why):
                    assert number not in self.ended, "ended twice"
                    self.ended[number] = why
                case HandOver(guest=number, token=token):
                    self.handed[number] = token

    def say(self, number: int, ask: AnyAsk) -> list[Any]:
        """What it is told in answer; pings are left out."""
        before = len(self.told[number])
        self.do(self.desk.hear(number, encode_line(ask)[:-1], self.now))
        return [word for word in self.told[number][before:] if not isinstance(word, Ping)]

    def leave(self, number: int) -> None:
        self.do(self.desk.gone(number, self.now))

    def later(self, seconds: float, *, answering: bool = True) -> None:
        """Time passes, a second at a time; guests answer pings."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + 1)
            marks = {number: len(words) for number, words in self.told.items()}
            self.do(self.desk.tick(self.now))
            for number, mark in marks.items() if answering else ():
                for word in self.told[number][mark:]:
                    if isinstance(word, Ping):
                        self.do(self.desk.hear(number, encode_line(Pong(n=word.n))[:-1], self.now))

    def room(self, number: int) -> str:
        """A new one, where this guest is."""
        (made,) = self.say(number, CreateRoom())
        assert isinstance(made, RoomCreated)
        self.say(number, RegisterPeer(code=made.code))
        return made.code


# ---------------------------------------------------------------- codes


def test_nameplates_are_as_short_as_can_be_and_never_given_twice() -> None:
    plates = Nameplates(random.Random(2).randrange)
    given = [plates.give() for _ in range(2000)]
    assert len(set(given)) == 2000
    assert sorted(given[:9]) == list("123456789")
    assert {len(code) for code in given[9:99]} == {2}
    plates.give_back("7")
    assert plates.give() == "7"


def test_a_code_that_is_used_lives_its_time_and_comes_back() -> None:
    office = Office(code_hours=1)
    office.enter(1)
    code = office.room(1)
    office.later(3599)
    assert RoomExpired(code=code) not in office.told[1]
    office.later(2)
    assert office.told[1][-1] == RoomExpired(code=code)
    assert (len(office.desk.nameplates), office.desk.registrations, office.desk.rooms) == (0, 0, {})


def test_a_code_without_anybody_is_forgotten_soon_but_not_at_once() -> None:
    office = Office()
    office.enter(1)
    code = office.room(1)
    office.leave(1)
    office.later(EMPTY_SECONDS / 2)
    office.enter(2)
    assert isinstance(office.say(2, RegisterPeer(code=code))[0], PeerRegistered)
    office.leave(2)
    office.later(2 * EMPTY_SECONDS)
    office.enter(3)
    assert office.say(3, RegisterPeer(code=code))[0].code == "no_room"
    assert len(office.desk.nameplates) == 0


def test_a_forgotten_code_can_be_asked_for_again_unless_somebody_has_it() -> None:
    office = Office()
    office.enter(1, 2)
    assert office.say(1, CreateRoom(code="42"))[0].code == "42"
    assert office.say(2, CreateRoom(code="42"))[0].code == "code_taken"


# ---------------------------------------------------------------- rooms


def test_signals_carry_the_name_that_the_sender_has_in_that_room() -> None:
    office = Office()
    office.enter(1, 2)
    tags = bytes(32), bytes(31) + b"\1"
    mine = [office.say(1, RegisterPeer(tag=tag))[0].peer for tag in tags]
    his = [office.say(2, RegisterPeer(tag=tag))[0].peer for tag in tags]
    assert len({*mine, *his}) == 4, "names tell nothing about other rooms"
    office.say(1, Signal(to=his[1], data=b"x"))
    assert office.told[2][-1] == Signalled(sender=mine[1], data=b"x")
    assert office.say(1, Signal(to=mine[0], data=b"x"))[0].code == "no_peer"


def test_rooms_and_guests_hold_only_so_many() -> None:
    office = Office(joins_a_minute=100_000, registrations_an_address=100_000)
    office.enter(*range(MAX_PEERS + 2))
    came = [office.say(number, RegisterPeer(tag=bytes(32)))[0] for number in range(MAX_PEERS + 2)]
    assert came[-1].code == "room_full"
    assert len(office.desk.rooms[bytes(32)].peers) == MAX_PEERS + 1
    office.enter(1000)
    answers = [office.say(1000, RegisterPeer(tag=n.to_bytes(32, "big")))[0] for n in range(1, MAX_ROOMS_A_GUEST + 2)]
    assert answers[-1].code == "too_many_rooms"
    office.leave(1000)
    assert office.desk.registrations == MAX_PEERS + 1


def test_limits_count_addresses_not_connections() -> None:
    office = Office(joins_a_minute=10, registrations_an_address=3, codes_an_address=2)
    office.enter(1, 2)
    office.enter(3, seen=Seen("203.0.113.9", 1, "203.0.113.9"))
    for number in range(3):
        assert isinstance(office.say(1 + number % 2, RegisterPeer(tag=number.to_bytes(32, "big")))[0], PeerRegistered)
    assert office.say(2, RegisterPeer(tag=b"x" * 32))[0].code == "too_many_registrations"
    assert [office.say(1, CreateRoom())[0].__class__ for _ in range(2)] == [RoomCreated] * 2
    assert office.say(2, CreateRoom())[0].code == "too_many_codes"
    for _ in range(3):
        office.say(2, CreateRoom())
    refused = office.say(1, CreateRoom())[0]
    assert refused.code == "rate_limited"
    assert isinstance(office.say(3, RegisterPeer(tag=b"x" * 32))[0], PeerRegistered)
    office.later(refused.again_in)
    assert office.say(1, CreateRoom())[0].code == "too_many_codes", "after the time that was told it is heard again"


def test_this_machine_is_not_counted() -> None:
    office = Office(joins_a_minute=1)
    office.enter(1, seen=Seen("127.0.0.1", 1, "", tunnel=True))
    assert len([office.room(1) for _ in range(20)]) == 20
    assert len(office.desk.quotas) == 0


# ---------------------------------------------------------------- dialling at one moment


def test_both_sides_start_at_one_moment_whatever_their_ways_take() -> None:
    office = Office()
    office.enter(1, 2, seen=Seen("203.0.113.9", 7, "203.0.113.9"))
    ids = []
    for number, trip in ((1, 0.04), (2, 0.3)):
        office.desk.tick(office.now)
        (me,) = office.say(number, RegisterPeer(tag=bytes(32)))
        ids.append(me.peer)
        ping = next(word for word in office.told[number] if isinstance(word, Ping))
        office.time += trip
        office.say(number, Pong(n=ping.n))
    far = Candidate("192.0.2.1", 5)
    assert office.say(1, Coordinate(peer=ids[1], candidates=(far,))) == []
    office.say(2, Coordinate(peer=ids[0]))
    told = {number: office.told[number][-1] for number in (1, 2)}
    assert all(isinstance(word, Coordinated) for word in told.values())
    arrives = {1: 0.02 + told[1].start_in / 1000, 2: 0.15 + told[2].start_in / 1000}
    assert arrives[1] == pytest.approx(arrives[2], abs=0.002)
    assert arrives[1] == pytest.approx(0.15 + START_MARGIN, abs=0.002)
    assert told[2].candidates == (Candidate("203.0.113.9", 7), far), "with the address that is seen here"


def test_a_wish_to_dial_grows_old_and_there_are_only_so_many() -> None:
    office = Office(joins_a_minute=100_000, registrations_an_address=1000)
    office.enter(*range(MAX_COORDINATIONS + 3))
    ids = [office.say(number, RegisterPeer(tag=bytes(32)))[0].peer for number in office.told]
    for other in ids[1:]:
        office.say(0, Coordinate(peer=other))
    assert office.say(1, Coordinate(peer=ids[0])) == [], "the oldest wish was dropped"
    assert isinstance(office.say(len(ids) - 1, Coordinate(peer=ids[0]))[0], Coordinated)
    office.later(COORDINATION_SECONDS + 1)
    assert office.say(len(ids) - 2, Coordinate(peer=ids[0])) == []


# ---------------------------------------------------------------- time


def test_whoever_says_nothing_is_pinged_and_then_gone() -> None:
    office = Office()
    office.enter(1)
    office.say(1, RegisterPeer(tag=bytes(32)))
    office.later(2 * SILENCE_SECONDS)
    assert office.ended == {}
    office.later(PING_SECONDS + 1, answering=False)
    assert isinstance(office.told[1][-1], Ping)
    office.later(SILENCE_SECONDS, answering=False)
    assert office.ended == {1: "silent"}


def test_whoever_is_in_no_room_does_not_stay() -> None:
    office = Office()
    office.enter(1)
    office.say(1, Observe())
    office.later(IDLE_SECONDS + 1)
    assert office.ended == {1: "idle"}


def test_a_bridge_is_handed_over_with_nothing_left_behind() -> None:
    office = Office()
    office.enter(1)
    office.say(1, Bridge(token=bytes(16)))
    assert office.handed == {1: bytes(16)}
    assert office.say(1, Observe()) == []
    office.later(SILENCE_SECONDS)
    assert office.ended == {}


def test_addresses_that_hold_nothing_are_forgotten() -> None:
    office = Office()
    for number in range(500):
        office.enter(number, seen=Seen("x", 1, f"203.0.113.{number}"))
        office.say(number, RegisterPeer(tag=bytes(31) + bytes([number % 7])))
        office.leave(number)
    assert len(office.desk.quotas) == 500
    office.later(62)
    assert len(office.desk.quotas) == 0
    assert office.desk.rooms == {}


def test_more_lines_than_anybody_types_are_strikes() -> None:
    office = Office()
    office.enter(1)
    answers = [office.say(1, Observe())[-1:] for _ in range(230)]
    refused = [answer[0] for answer in answers if answer and isinstance(answer[0], Refusal)]
    assert {answer.code for answer in refused} == {"rate_limited", "too_many_errors"}
    assert office.ended == {1: "too_many_errors"}
