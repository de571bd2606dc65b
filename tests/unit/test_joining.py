"""The joiner's side of a code: every end has a reason, and nobody gets more than three guesses out of one person."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console
from rich.pretty import Pretty

from sandpiper.core.joining import (
    ADMIT_SECONDS,
    JOIN_SECONDS,
    Asked,
    GaveUp,
    Joined,
    JoinEffect,
    Joining,
    Say,
    TryNow,
)
from sandpiper.errors import DialFailed, LinkLost, LinkTimeout, RemoteProtocolError, SandpiperError
from sandpiper.wire.admission import (
    MAX_ADMISSION_BYTES,
    MAX_ADMISSION_RECORDS,
    MAX_GUESSES,
    REFUSALS,
    Admitted,
    Asks,
    Declined,
    JoinFrame,
    NotAdmitted,
    Roster,
    Settled,
    Unproven,
)
from sandpiper.wire.ids import PeerKey

MEMBER = PeerKey(b"m" * 32)
ADMITTED = Admitted(b"r" * 32, b"s" * 32, "all")


def joining() -> Joining:
    one = Joining("jane", random.Random(1), 0.0)
    assert one.tick(0.0) == [TryNow()]
    return one


def proven() -> Joining:
    one = joining()
    assert one.proven(MEMBER, 1.0) == [Say(Asks("jane"))]
    return one


def end(effects: list[JoinEffect]) -> SandpiperError:
    (effect,) = effects
    assert isinstance(effect, GaveUp)
    return effect.error


def test_the_way_in() -> None:
    one = proven()
    states: list[str] = [one.state]
    assert one.received(ADMITTED, 2.0) == []
    assert one.received(Roster((b"genesis", b"one"), more=True), 3.0) == []
    say, joined = one.received(Roster((b"two",)), 4.0)
    assert say == Say(Settled())
    assert joined == Joined(MEMBER, ADMITTED, (b"genesis", b"one", b"two"))
    states.append(one.state)
    assert states == ["proven", "admitted"]
    assert one.deadline() is None
    assert one.tick(1000.0) == one.lost(LinkLost("gone")) == one.received(Roster(()), 5.0) == []
    printed = io.StringIO()
    Console(file=printed, width=200).print(Pretty(joined))
    for shown in (repr(joined), printed.getvalue()):
        assert ADMITTED.room.hex() in shown
        assert "ssss" not in shown


def test_what_is_lost_on_the_way_is_tried_again_with_patience() -> None:
    one, now, tries = joining(), 0.0, 1
    waits = []
    effects: list[JoinEffect] = []
    while one.state == "trying":
        effects = one.tried(DialFailed("nobody"), now)
        assert effects == []
        while not effects:
            due = one.deadline()
            assert due is not None
            waits.append(due - now)
            now = due
            effects = one.tick(now)
        tries += effects == [TryNow()]
    assert isinstance(effects[0], GaveUp)
    assert effects[0].error.code == "dial_failed"
    assert now == pytest.approx(JOIN_SECONDS)
    assert 8 < tries < 40
    assert min(waits[:-1]) >= 0.25


def test_a_busy_code_is_tried_again() -> None:
    one = joining()
    assert one.tried(NotAdmitted("busy"), 1.0) == []
    assert one.state == "trying"


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_refusal_before_any_proof_is_final_when_nobody_else_may_know_the_code(code: str) -> None:
    one = joining()
    assert one.tried(NotAdmitted(code), 1.0) == []
    assert one.tick(one.deadline() or 0.0) == [TryNow()]
    assert end(one.tried(NotAdmitted(code), 2.0, last=True)).code == code
    assert one.state == "failed"
    assert one.tried(LinkLost("gone"), 2.0) == one.tick(3.0) == one.proven(MEMBER, 4.0) == []


def test_the_first_who_calls_the_words_wrong_may_be_of_another_room_and_the_second_is_believed() -> None:
    one = joining()
    assert one.tried(NotAdmitted("wrong_code"), 1.0) == []
    assert one.shown == 1
    assert one.tick(one.deadline() or 0.0) == [TryNow()]
    assert end(one.tried(NotAdmitted("wrong_code"), 2.0)).code == "wrong_code"


def test_wrong_words_count_among_the_tries_that_show_them() -> None:
    one, now = joining(), 0.0
    for error in (Unproven("broke off"), NotAdmitted("wrong_code")):
        assert one.tried(error, now) == []
        now = one.deadline() or 0.0
        assert one.tick(now) == [TryNow()]
    assert end(one.tried(Unproven("broke off"), now)).code == "wrong_code"


def test_who_refused_is_not_asked_again_and_the_refusal_that_tells_most_is_told() -> None:
    asked = Asked()
    assert asked.verdict() is None
    assert asked.left(("a", "b")) == ["a", "b"]
    asked.tried("a")
    assert asked.left(("a", "b")) == ["b", "a"], "whom we asked least"
    asked.refused("a", NotAdmitted("no_such_code"))
    asked.refused("b", RemoteProtocolError("no member", code="not_sandpiper"))
    assert asked.left(("a", "b", "c")) == ["c"]
    for code in ("code_burnt", "wrong_code"):
        asked.refused(code, NotAdmitted(code))
        verdict = asked.verdict()
        assert verdict is not None
        assert verdict.code == code


def test_a_stranger_in_the_middle_gets_three_guesses_and_no_more() -> None:
    one, now = joining(), 0.0
    for number in range(1, MAX_GUESSES):
        assert one.tried(Unproven("broke off"), now) == []
        assert one.shown == number
        for other in (LinkLost("gone"), NotAdmitted("busy")):  # these are no guesses, and forgive none
            now = one.deadline() or 0.0
            assert one.tick(now) == [TryNow()]
            assert one.tried(other, now) == []
        now = one.deadline() or 0.0
        assert one.tick(now) == [TryNow()]
    error = end(one.tried(Unproven("broke off"), now))
    assert error.code == "too_many_tries"
    assert error.exit_code == 4


def test_nobody_in_time() -> None:
    error = end(joining().tick(JOIN_SECONDS))
    assert isinstance(error, LinkTimeout)
    assert error.exit_code == 6
    assert end(proven().tick(1.0 + ADMIT_SECONDS)).exit_code == 6
    assert end(proven().received(ADMITTED, 1.0 + ADMIT_SECONDS)).exit_code == 6


def test_a_member_may_say_no_after_the_proof() -> None:
    assert end(proven().received(Declined("room_full"), 2.0)).code == "room_full"
    assert end(proven().received(Declined("\x1b[2J"), 2.0)).code == "failed"


def test_a_proven_link_that_ends_is_the_end() -> None:
    one = proven()
    assert end(one.lost(LinkLost("gone"))).code == "link_lost"
    assert joining().lost(LinkLost("gone")) == []


@pytest.mark.parametrize(
    "frames",
    [
        (Roster(()),),
        (Settled(),),
        (Asks("x"),),
        (ADMITTED, ADMITTED),
        (ADMITTED, Settled()),
        (ADMITTED, Roster((), more=True)),
        (ADMITTED, *[Roster((b"x" * 60_000,) * 8, more=True)] * (MAX_ADMISSION_BYTES // 480_000 + 1)),
        (ADMITTED, *[Roster((b"x",) * 256, more=True)] * (MAX_ADMISSION_RECORDS // 256 + 1)),
    ],
    ids=["roster first", "settled", "asks", "twice", "no roster", "empty piece", "bytes", "records"],
)
def test_what_is_no_admission_ends_it_and_holds_nothing(frames: tuple[JoinFrame, ...]) -> None:
    one = proven()
    for frame in frames[:-1]:
        assert one.received(frame, 2.0) == []
    assert end(one.received(frames[-1], 2.0)).code == "bad_frame"
    assert one._records == []
