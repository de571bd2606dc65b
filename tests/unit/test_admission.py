"""The member's side of codes: who may try, how often, and what members tell each other. Time is a number here."""

from __future__ import annotations

import itertools

import pytest

from sandpiper.core.admission import (
    ASK_SECONDS,
    CODE_SECONDS,
    MAX_CLOSED,
    MAX_CODES,
    MAX_CODES_A_ROOM,
    MAX_OWN_CODES,
    MAX_WAITING,
    AdmissionEffect,
    Attempt,
    CodeEnded,
    CodeTried,
    Decline,
    Let,
    OpenCodes,
    Tell,
)
from sandpiper.core.events import Now
from sandpiper.crypto.codes import Code
from sandpiper.crypto.pake import Secret
from sandpiper.errors import LocalProtocolError
from sandpiper.wire.admission import (
    MAX_CODE_SECONDS,
    MAX_GUESSES,
    Asks,
    CodeClosed,
    CodeGuessed,
    CodeOpen,
    Declined,
    Guesses,
    NotAdmitted,
)
from sandpiper.wire.ids import PeerKey, RoomId

ALICE, BOB, CAROL, JOINER = (PeerKey(letter * 32) for letter in (b"a", b"b", b"c", b"j"))
ROOM, OTHER = RoomId(b"r" * 32), RoomId(b"o" * 32)
CODE, ID = Code("42", ("pine", "ocean")), b"i" * 8
START = Now(100.0, 1_750_000_000_000)


def at(seconds: float) -> Now:
    return Now(START.mono + seconds, START.wall_ms + int(seconds * 1000))


def member(key: PeerKey = ALICE, refusal: str = "") -> OpenCodes:
    return OpenCodes(key, lambda _room, _peer: refusal)


def issuer(refusal: str = "") -> OpenCodes:
    codes = member(ALICE, refusal)
    codes.issue(CODE, ROOM, ID, START)
    return codes


def told(effects: list[AdmissionEffect], kind: type[object]) -> list[Tell]:
    return [effect for effect in effects if isinstance(effect, Tell) and isinstance(effect.frame, kind)]


def refused(codes: OpenCodes, nameplate: str = "42", now: Now = START, relay: str = "") -> str:
    with pytest.raises(NotAdmitted) as caught:
        codes.begin(nameplate, now, lambda at: relay in ("", at))
    return caught.value.code


def guess(codes: OpenCodes, now: Now = START) -> list[AdmissionEffect]:
    return codes.wrong(codes.begin("42", now), now)


# ---------------------------------------------------------------- one joiner


def test_who_knows_the_code_is_let_in() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    assert (attempt.room, attempt.nameplate, attempt.salt) == (ROOM, "42", b"")
    assert codes.proven(attempt, JOINER, at(1)) == []
    assert codes.asked(attempt, Asks("j\x1bane"), at(2)) == [Let(attempt.number, ROOM, JOINER, "j\u241bane")]
    again = codes.begin("42", at(3))  # a code is for as many as it takes
    assert again.number != attempt.number


def test_one_attempt_at_a_time() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    assert refused(codes) == "busy"
    codes.ended(attempt)
    second = codes.begin("42", START)
    codes.ended(attempt)  # whoever is late frees nothing that is another's
    assert refused(codes) == "busy"
    codes.proven(second, JOINER, START)
    third = codes.begin("42", START)
    codes.wrong(third, START)
    codes.begin("42", START)


def test_breaking_off_is_no_guess() -> None:
    codes = issuer()
    for _ in range(10 * MAX_GUESSES):
        codes.ended(codes.begin("42", START))
    codes.begin("42", START)


def test_the_code_burns_at_the_third_wrong_guess_and_members_are_told() -> None:
    codes = issuer()
    for number in range(1, MAX_GUESSES):
        effects = guess(codes)
        assert CodeTried(ROOM, "42", MAX_GUESSES - number) in effects
        (tell,) = told(effects, CodeGuessed)
        assert tell == Tell(ROOM, CodeGuessed(ROOM, ID, (Guesses(ALICE, number),)))
    effects = guess(codes)
    assert CodeTried(ROOM, "42", 0) in effects
    assert CodeEnded(ROOM, "42", "code_burnt") in effects
    assert [tell.frame for tell in told(effects, CodeClosed)] == [CodeClosed(ROOM, ID, "code_burnt")]
    assert refused(codes) == "code_burnt"
    assert codes.nameplates(ROOM, START) == ()


def test_a_guess_counts_once() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    assert codes.wrong(attempt, START)
    for _ in range(5):
        assert codes.wrong(attempt, START) == []
    codes.begin("42", START)


def test_a_guess_is_not_judged_any_more_once_the_code_is_closed() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    codes.judge(attempt, START)
    codes.told(BOB, CodeGuessed(ROOM, ID, (Guesses(BOB, MAX_GUESSES),)), START)
    with pytest.raises(NotAdmitted) as caught:
        codes.judge(attempt, START)
    assert caught.value.code == "code_burnt"
    slow = issuer()
    attempt = slow.begin("42", START)
    slow.judge(attempt, at(CODE_SECONDS))  # it was begun in time
    slow.forget_room(ROOM)
    with pytest.raises(NotAdmitted):
        slow.judge(attempt, START)
    slow.ended(attempt)
    with pytest.raises(NotAdmitted):
        slow.judge(attempt, START)


def test_a_proof_in_a_burnt_code_lets_nobody_in() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    codes.proven(attempt, JOINER, START)
    for _ in range(MAX_GUESSES):
        guess(codes)
    assert codes.asked(attempt, Asks("j"), START) == [Decline(attempt.number, Declined("code_burnt"))]


@pytest.mark.parametrize("reason", ["room_full", "banned"])
def test_who_may_not_come_in_learns_it_only_after_the_proof(reason: str) -> None:
    codes = issuer(reason)
    attempt = codes.begin("42", START)
    codes.proven(attempt, JOINER, START)
    assert codes.asked(attempt, Asks("j"), START) == [Decline(attempt.number, Declined(reason))]


def test_who_asks_twice_or_too_late_or_without_proof_is_not_let_in() -> None:
    codes = issuer()
    failed = Declined("failed")
    attempt = codes.begin("42", START)
    assert codes.asked(attempt, Asks("j"), START) == [Decline(attempt.number, failed)]
    codes.proven(attempt, JOINER, START)
    assert isinstance(codes.asked(attempt, Asks("j"), START)[0], Let)
    assert codes.asked(attempt, Asks("j"), START) == [Decline(attempt.number, failed)]
    slow = codes.begin("42", START)
    codes.proven(slow, JOINER, START)
    assert codes.asked(slow, Asks("j"), at(ASK_SECONDS)) == [Decline(slow.number, failed)]


def test_who_proves_and_never_asks_is_hung_up_on() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    codes.proven(attempt, JOINER, START)
    assert codes.deadline() == START.mono + ASK_SECONDS
    assert codes.tick(at(ASK_SECONDS - 1)) == []
    assert codes.tick(at(ASK_SECONDS)) == [Decline(attempt.number, Declined("failed"))]
    many = []
    for _ in range(MAX_WAITING + 3):
        many.append(codes.begin("42", START))
        effects = codes.proven(many[-1], JOINER, START)
        if len(many) > MAX_WAITING:
            assert effects == [Decline(many[len(many) - MAX_WAITING - 1].number, Declined("failed"))]


def test_a_code_expires_by_either_clock() -> None:
    codes = issuer()
    assert refused(codes, now=at(CODE_SECONDS)) == "code_expired"
    assert refused(codes, now=Now(START.mono + CODE_SECONDS, START.wall_ms)) == "code_expired"  # clock set back
    assert refused(codes, now=Now(START.mono, START.wall_ms + int(CODE_SECONDS * 1000))) == "code_expired"  # slept
    assert codes.nameplates(ROOM, at(CODE_SECONDS)) == ()
    assert codes.deadline() == START.mono + CODE_SECONDS
    assert codes.tick(at(CODE_SECONDS - 1)) == []
    assert codes.tick(at(CODE_SECONDS)) == [CodeEnded(ROOM, "42", "code_expired")]
    assert codes.deadline() is None
    assert refused(codes, now=at(CODE_SECONDS)) == "code_expired"


def test_a_code_that_nobody_opened_is_not_known() -> None:
    assert refused(issuer(), "43") == "no_such_code"
    assert refused(member()) == "no_such_code"


def test_a_withdrawn_code_lets_nobody_in_and_members_are_told() -> None:
    codes = issuer()
    effects = codes.withdraw(ROOM, "42", START)
    assert CodeEnded(ROOM, "42", "code_withdrawn") in effects
    assert told(effects, CodeClosed)
    assert refused(codes) == "code_withdrawn"
    assert codes.withdraw(ROOM, "42", START) == []


class Put:
    """A room whose roster a test writes: which control records are here, and after which somebody was put out."""

    def __init__(self) -> None:
        self.here: set[bytes] = set()
        self.out: set[bytes] = set()

    def member(self, key: PeerKey) -> OpenCodes:
        return OpenCodes(key, lambda _room, _peer: "", lambda _room, after: self._stands(after))

    def _stands(self, after: tuple[bytes, ...]) -> bool | None:
        return self.out <= set(after) if self.here >= set(after) else None


def test_who_is_put_out_takes_along_the_codes_that_they_know_and_no_later_ones() -> None:
    put = Put()
    codes = put.member(ALICE)
    codes.issue(CODE, ROOM, ID, START)
    assert codes.roster_changed(ROOM, START, inside=True) == []
    put.here = put.out = {b"x"}
    assert refused(codes) == "code_withdrawn", "at once, whoever sees it first"
    codes.issue(Code("43", CODE.words), ROOM, b"k" * 8, START, after=(b"x",))
    (close, ended) = codes.roster_changed(ROOM, START, inside=True)
    assert close == Tell(ROOM, CodeClosed(ROOM, ID, "code_withdrawn"))
    assert ended == CodeEnded(ROOM, "42", "code_withdrawn")
    codes.begin("43", START)
    assert codes.roster_changed(ROOM, START, inside=False) == []
    assert refused(codes, "43") == "no_such_code"


def test_a_code_that_came_before_the_removal_it_knows_of_waits_for_it() -> None:
    put = Put()
    bob = put.member(BOB)
    bob.told(ALICE, CodeOpen(ROOM, ID, "42", CODE.words, 10_000, after=(b"x",)), START)
    bob.told(ALICE, CodeOpen(ROOM, b"k" * 8, "43", CODE.words, 10_000), START)
    assert refused(bob) == "busy", "tried again, and nobody comes in meanwhile"
    put.here = put.out = {b"x"}
    assert [type(effect) for effect in bob.roster_changed(ROOM, START, inside=True)] == [Tell, CodeEnded]
    bob.begin("42", START)
    assert refused(bob, "43") == "code_withdrawn"


def test_who_tells_of_a_code_that_has_ended_so_is_told_that() -> None:
    put = Put()
    bob = put.member(BOB)
    put.here = put.out = {b"x"}
    effects = bob.told(CAROL, CodeOpen(ROOM, ID, "42", CODE.words, 10_000), START)
    assert told(effects, CodeClosed)
    assert not told(effects, CodeOpen)
    assert refused(bob) == "code_withdrawn"


def test_whose_code_names_records_that_do_not_exist_lets_nobody_in_and_stands_before_nobodys() -> None:
    put = Put()
    bob = put.member(BOB)
    bob.told(CAROL, CodeOpen(ROOM, b"k" * 8, "42", ("moon", "river"), 10_000, after=(b"none",)), START)
    assert refused(bob) == "busy"
    bob.told(ALICE, CodeOpen(ROOM, ID, "42", CODE.words, 10_000), START)
    assert bob.begin("42", START).secret.reveal() == Secret(CODE.words).reveal()


def test_a_room_with_a_password_gives_its_salt() -> None:
    codes = member()
    codes.issue(CODE, ROOM, ID, START, salt=b"s" * 16, lock=b"l" * 32)
    attempt = codes.begin("42", START)
    assert attempt.salt == b"s" * 16
    assert attempt.secret.reveal().endswith(b"l" * 32)
    for wrong in ({"salt": b"s" * 16}, {"lock": b"l" * 32}, {"salt": b"s", "lock": b"l" * 32}):
        with pytest.raises(LocalProtocolError):
            member().issue(CODE, ROOM, ID, START, **wrong)  # type: ignore[arg-type]
    for seconds in (0, -1, MAX_CODE_SECONDS + 1):
        with pytest.raises(LocalProtocolError):
            member().issue(CODE, ROOM, ID, START, seconds=seconds)
    with pytest.raises(LocalProtocolError):
        codes.issue(CODE, ROOM, ID, START)


def test_a_nameplate_belongs_to_the_relay_that_gave_it_out() -> None:
    codes = member()
    codes.issue(CODE, ROOM, ID, START, relay="one.example:8000")
    codes.issue(Code("42", ("moon", "river")), OTHER, b"k" * 8, START, relay="two.example:8000")
    assert codes.begin("42", START, lambda at: at == "two.example:8000").room == OTHER
    assert codes.begin("42", START, lambda at: at == "one.example:8000").room == ROOM
    assert refused(codes, relay="three.example:8000") == "no_such_code"
    assert codes.nameplates(ROOM, START) == (("42", "one.example:8000"),)


def test_who_leaves_a_room_answers_for_none_of_its_codes() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    codes.proven(attempt, JOINER, START)
    codes.forget_room(OTHER)
    codes.begin("42", START)
    codes.forget_room(ROOM)
    assert refused(codes) == "no_such_code"
    assert codes.asked(attempt, Asks("j"), START) == [Decline(attempt.number, Declined("failed"))]


# ---------------------------------------------------------------- members tell each other


def shared(now: Now = START) -> tuple[OpenCodes, OpenCodes]:
    """Alice has opened a code, and Bob has heard of it when they were linked."""
    alice, bob = issuer(), member(BOB)
    for tell in alice.linked(BOB, ROOM, now):
        assert isinstance(tell, Tell)
        assert tell.to == BOB
        bob.told(ALICE, tell.frame, now)
    return alice, bob


def test_any_member_that_was_told_may_answer() -> None:
    _, bob = shared()
    attempt = bob.begin("42", START)
    assert attempt.secret.reveal() == issuer().begin("42", START).secret.reveal()
    bob.proven(attempt, JOINER, START)
    assert isinstance(bob.asked(attempt, Asks("j"), START)[0], Let)


def test_a_code_is_told_to_its_own_room_only() -> None:
    alice = issuer()
    assert alice.linked(BOB, OTHER, START) == []
    (opened,) = told(alice.issue(Code("43", ("moon", "river")), OTHER, b"k" * 8, START), CodeOpen)
    assert opened.room == OTHER
    assert alice.linked(BOB, ROOM, at(CODE_SECONDS)) == []


def test_what_a_member_is_told_it_tells_on_once() -> None:
    bob = member(BOB)
    (opened,) = told(issuer().linked(BOB, ROOM, START), CodeOpen)
    (on,) = told(bob.told(ALICE, opened.frame, START), CodeOpen)
    assert (on.to, on.without) == (None, ALICE)
    assert bob.told(ALICE, opened.frame, START) == []
    assert bob.told(CAROL, opened.frame, START) == []


def test_a_code_told_of_late_does_not_live_longer() -> None:
    _, bob = shared(at(CODE_SECONDS - 10))
    bob.begin("42", at(CODE_SECONDS - 1))
    assert refused(bob, now=at(CODE_SECONDS)) == "code_expired"
    (retold,) = told(bob.linked(CAROL, ROOM, at(CODE_SECONDS - 5)), CodeOpen)
    assert isinstance(retold.frame, CodeOpen)
    assert retold.frame.left == 5000


def test_guesses_at_different_members_are_added_up() -> None:
    alice, bob = shared()
    (first,) = told(guess(alice), CodeGuessed)
    assert CodeTried(ROOM, "42", 2) in bob.told(ALICE, first.frame, START)
    assert bob.told(ALICE, first.frame, START) == []  # told twice, counted once
    assert bob.told(CAROL, first.frame, START) == []
    (second,) = told(guess(bob), CodeGuessed)
    alice.told(BOB, second.frame, START)
    effects = guess(bob)
    assert CodeEnded(ROOM, "42", "code_burnt") in effects
    (closed,) = told(effects, CodeClosed)
    assert CodeEnded(ROOM, "42", "code_burnt") in alice.told(BOB, closed.frame, START)
    assert refused(alice) == refused(bob) == "code_burnt"


def test_who_hears_of_a_code_hears_of_its_guesses() -> None:
    alice = issuer()
    guess(alice)
    guess(alice)
    bob = member(BOB)
    (opened,) = told(alice.linked(BOB, ROOM, START), CodeOpen)
    assert CodeTried(ROOM, "42", 1) in bob.told(ALICE, opened.frame, START)
    assert CodeEnded(ROOM, "42", "code_burnt") in guess(bob)


@pytest.mark.parametrize("reason", ["code_burnt", "code_withdrawn"])
def test_who_was_away_when_a_code_ended_is_told_when_it_tells_of_it(reason: str) -> None:
    alice, bob = shared()
    if reason == "code_burnt":
        for _ in range(MAX_GUESSES):
            guess(alice)
    else:
        alice.withdraw(ROOM, "42", START)
    (opened,) = told(bob.linked(ALICE, ROOM, START), CodeOpen)
    (closed,) = told(alice.told(BOB, opened.frame, START), CodeClosed)
    assert closed.to == BOB
    assert CodeEnded(ROOM, "42", reason) in bob.told(ALICE, closed.frame, START)  # type: ignore[arg-type]
    assert bob.told(ALICE, closed.frame, START) == []
    assert bob.told(ALICE, CodeGuessed(ROOM, ID, ()), START) == [Tell(ROOM, closed.frame, to=ALICE)]


def test_a_member_of_one_room_has_no_say_in_another() -> None:
    codes = issuer()
    spoilt = (Guesses(BOB, MAX_GUESSES),)
    assert codes.told(BOB, CodeGuessed(OTHER, ID, spoilt), START) == []
    assert codes.told(BOB, CodeClosed(OTHER, ID, "code_burnt"), START) == []
    assert codes.told(BOB, CodeOpen(OTHER, ID, "42", ("moon", "river"), 1000, wrong=spoilt), START) == []
    assert codes.begin("42", START).room == ROOM
    codes.withdraw(ROOM, "42", START)
    assert codes.told(BOB, CodeOpen(OTHER, ID, "42", ("moon", "river"), 1000), START) == []


def test_a_member_cannot_put_its_words_in_front_of_ours() -> None:
    codes = issuer()
    codes.told(BOB, CodeOpen(OTHER, b"k" * 8, "42", ("moon", "river"), 1000), START)
    assert codes.begin("42", START).room == ROOM
    later = member()
    later.told(BOB, CodeOpen(OTHER, b"k" * 8, "42", ("moon", "river"), 100_000), START)
    later.issue(CODE, ROOM, ID, START)
    assert later.begin("42", START).room == ROOM


def test_what_is_told_of_an_unknown_code_is_nothing() -> None:
    codes = member()
    assert codes.told(BOB, CodeGuessed(ROOM, ID, (Guesses(BOB, 3),)), START) == []
    assert codes.told(BOB, CodeClosed(ROOM, ID, "code_burnt"), START) == []
    assert codes.told(BOB, CodeOpen(ROOM, ID, "42", ("moon", "river"), 0), START) == []
    assert refused(codes) == "no_such_code"


def test_an_unknown_reason_withdraws() -> None:
    _, bob = shared()
    assert CodeEnded(ROOM, "42", "code_withdrawn") in bob.told(ALICE, CodeClosed(ROOM, ID, "later"), START)


# ---------------------------------------------------------------- memory


def test_an_own_code_too_many_takes_the_place_of_the_oldest() -> None:
    codes = issuer()
    for number in range(1, MAX_OWN_CODES):
        codes.issue(Code(str(number), CODE.words), ROOM, bytes(7) + bytes((number,)), START)
    codes.begin("42", START)
    effects = codes.issue(Code("99", CODE.words), ROOM, b"z" * 8, START)
    assert CodeEnded(ROOM, "42", "code_withdrawn") in effects
    assert len(codes.nameplates(ROOM, START)) == MAX_OWN_CODES


def test_a_member_that_floods_with_codes_fills_no_memory_and_closes_nobodys() -> None:
    codes = issuer()
    passed_on = 0
    for number in range(5000):
        room = RoomId(bytes(30) + (number % 20).to_bytes(2, "big"))
        frame = CodeOpen(room, number.to_bytes(8, "big"), "7", ("moon", "river"), 10_000)
        passed_on += len(codes.told(BOB, frame, START))
        if number % 3 == 0:
            codes.told(BOB, CodeClosed(room, frame.id, "code_withdrawn"), START)
    assert passed_on < 100, "each is passed on to all members"
    for peer, number in itertools.product(range(20), range(60)):
        frame = CodeOpen(ROOM, bytes((peer,)) + number.to_bytes(7, "big"), "7", ("moon", "river"), 10_000)
        codes.told(PeerKey(bytes((peer,)) * 32), frame, START)
    assert len(codes.nameplates(ROOM, START)) <= MAX_CODES_A_ROOM + 1
    assert len(codes._open) <= MAX_CODES + 1
    codes.begin("42", START)


def test_who_told_of_a_code_is_not_remembered_for_ever() -> None:
    codes = member()
    for number in range(2 * MAX_CODES):
        code_id = b"x" + number.to_bytes(7, "big")
        codes.told(PeerKey(number.to_bytes(32, "big")), CodeOpen(ROOM, code_id, "7", ("moon", "river"), 10_000), START)
        codes.told(PeerKey(number.to_bytes(32, "big")), CodeClosed(ROOM, code_id, "code_withdrawn"), START)
    assert len(codes._rates) == MAX_CODES


def test_closed_codes_are_remembered_within_a_bound_and_not_for_ever() -> None:
    codes = member()
    for number in range(MAX_CLOSED + 50):
        codes.issue(Code("7", CODE.words), ROOM, number.to_bytes(8, "big"), START)
        codes.withdraw(ROOM, "7", START)
    assert len(codes._closed) == MAX_CLOSED
    codes.tick(at(MAX_CODE_SECONDS))
    assert len(codes._closed) == 0


def test_attempts_leave_nothing_behind() -> None:
    codes = issuer()
    attempt = codes.begin("42", START)
    codes.ended(attempt)
    for _ in range(1000):
        attempt = codes.begin("42", START)
        codes.proven(attempt, JOINER, START)
        codes.asked(attempt, Asks("j"), START)
        codes.ended(codes.begin("42", START))
    assert not codes._trying
    assert not codes._waiting
    codes.proven(attempt, JOINER, START)  # it has ended
    assert not codes._waiting


def test_no_repr_shows_a_secret() -> None:
    codes = issuer()
    attempt: Attempt = codes.begin("42", START)
    for shown in (repr(attempt), repr(codes), repr(codes._open), repr(codes.linked(BOB, ROOM, START))):
        assert "pine" not in shown
        assert "ocean" not in shown
