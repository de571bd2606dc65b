"""Codes over a restart: what is open stays open, what was counted stays counted, and what was closed stays closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.core.admission import CLOSED_SECONDS, CODE_SECONDS, CodeEnded, OpenCodes, Tell
from sandpiper.core.codekeeping import KeptCode, KeptEnd
from sandpiper.core.events import EnterPrivate, Now, SaveRoom
from sandpiper.core.private import begin_room
from sandpiper.crypto.codes import Code
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.pake import Secret
from sandpiper.crypto.rooms import RoomSecret
from sandpiper.node.notices import moment
from sandpiper.node.runner import Runner
from sandpiper.store.history import History
from sandpiper.wire.admission import MAX_GUESSES, CodeClosed, CodeGuessed, CodeOpen, Guesses, NotAdmitted
from sandpiper.wire.ids import PeerKey, RoomId

if TYPE_CHECKING:
    from pathlib import Path

ALICE, BOB = PeerKey(b"a" * 32), PeerKey(b"b" * 32)
ROOM, OTHER = RoomId(b"r" * 32), RoomId(b"o" * 32)
CODE, ID = Code("42", ("pine", "ocean")), b"i" * 8
START = Now(100.0, 1_750_000_000_000)


def later(seconds: float) -> Now:
    """After a restart of the machine: its monotonic clock begins anew."""
    return Now(3.0, START.wall_ms + int(seconds * 1000))


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "history.db")
    for room in (ROOM, OTHER):
        history.save_room(SaveRoom(room, "birds", "private", None, joined=True))
    history.commit()
    return history


def keep(codes: OpenCodes, history: History) -> None:
    changes = codes.unkept()
    history.keep_codes(changes)
    history.commit()
    codes.kept(changes)
    assert not codes.unkept()


def again(history: History, now: Now, me: PeerKey = ALICE) -> OpenCodes:
    codes = OpenCodes(me)
    codes.restore(history.load_codes(now.wall_ms), now)
    assert not codes.unkept()
    return codes


def guess(codes: OpenCodes, now: Now) -> None:
    codes.wrong(codes.begin("42", now), now)


def refused(codes: OpenCodes, now: Now) -> str:
    with pytest.raises(NotAdmitted) as caught:
        codes.begin("42", now)
    return caught.value.code


def test_a_code_lets_in_after_a_restart_and_ends_when_it_was_to_end(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.issue(CODE, ROOM, ID, START, salt=b"s" * 16, lock=b"l" * 32, relay="relay.example:8000")
    keep(codes, history)
    now = later(3600)
    codes = again(history, now)
    assert codes.nameplates(ROOM, now) == (("42", "relay.example:8000"),)
    attempt = codes.begin("42", now)
    assert (attempt.secret.reveal(), attempt.salt) == (Secret(CODE.words, b"l" * 32).reveal(), b"s" * 16)
    assert codes.deadline() == now.mono + CODE_SECONDS - 3600
    [told] = codes.linked(BOB, ROOM, now)
    assert isinstance(told, Tell)
    assert isinstance(told.frame, CodeOpen)
    assert told.frame.left == (CODE_SECONDS - 3600) * 1000
    assert again(history, later(CODE_SECONDS)).nameplates(ROOM, later(CODE_SECONDS)) == ()
    assert history.load_codes(START.wall_ms) == []  # and it was forgotten, whatever the clock says now


def test_no_clock_that_was_set_back_lengthens_a_codes_life(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.issue(CODE, ROOM, ID, START, seconds=600)
    keep(codes, history)
    now = later(-365 * 24 * 3600)
    assert again(history, now).deadline() == now.mono + 600


def test_a_guess_that_was_counted_stays_counted_and_the_rest_burns_the_code(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.issue(CODE, ROOM, ID, START)
    guess(codes, START)
    keep(codes, history)
    codes.told(BOB, CodeGuessed(ROOM, ID, (Guesses(BOB, 1),)), START)
    keep(codes, history)
    codes = again(history, later(1))
    guess(codes, later(1))
    assert refused(codes, later(1)) == "code_burnt"
    keep(codes, history)
    assert all(b"pine" not in bytes(row[0]) for row in history._db.execute("SELECT told FROM codes"))
    [end] = history.load_codes(later(2).wall_ms)
    assert isinstance(end, KeptEnd)
    assert refused(again(history, later(2)), later(2)) == "code_burnt"


def test_a_member_who_was_away_does_not_open_again_what_was_closed_before_the_restart(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.issue(CODE, ROOM, ID, START)
    codes.withdraw(ROOM, "42", START)
    keep(codes, history)
    codes = again(history, later(60))
    late = CodeOpen(ROOM, ID, "42", CODE.words, 3_600_000)
    assert codes.told(BOB, late, later(60)) == [Tell(ROOM, CodeClosed(ROOM, ID, "code_withdrawn"), to=BOB)]
    assert codes.nameplates(ROOM, later(60)) == ()
    assert codes.shut(ROOM, later(60)) == (("42", ""),), "whoever comes with it is told why not"
    assert again(history, later(CLOSED_SECONDS)).shut(ROOM, later(CLOSED_SECONDS)) == ()


def test_codes_of_others_are_kept_too_and_those_of_rooms_that_were_left_are_not(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.told(BOB, CodeOpen(ROOM, ID, "42", CODE.words, 3_600_000, wrong=(Guesses(BOB, 2),)), START)
    codes.issue(Code("43", ("river", "stone")), OTHER, b"o" * 8, START)
    keep(codes, history)
    codes.forget_room(OTHER)
    keep(codes, history)
    [kept] = history.load_codes(START.wall_ms)
    assert isinstance(kept, KeptCode)
    assert (kept.told.nameplate, kept.mine) == ("42", False)
    assert kept.told.wrong == (Guesses(BOB, 2),)
    codes = again(history, later(1))
    ended = codes.wrong(codes.begin("42", later(1)), later(1))
    assert CodeEnded(ROOM, "42", "code_burnt") in ended
    assert MAX_GUESSES == 3
    history.save_room(SaveRoom(ROOM, "birds", "private", None, joined=False))
    assert history.load_codes(START.wall_ms) == []


def test_no_repr_of_what_is_kept_shows_the_words(history: History) -> None:
    codes = OpenCodes(ALICE)
    codes.issue(CODE, ROOM, ID, START, salt=b"s" * 16, lock=b"secretlock" + b"l" * 22)
    shown = repr(codes.unkept())
    assert "pine" not in shown
    assert "secretlock" not in shown


def test_a_guess_is_on_the_disk_before_the_one_who_guessed_is_told(tmp_path: Path) -> None:
    me = Identity(b"m" * 32)
    history = History(tmp_path / "history.db")
    runner = Runner(me, "alice", history, lambda _: None)
    genesis = begin_room(me, "birds", b"s" * 16, moment().wall_ms)
    runner.do(EnterPrivate(genesis.room, (genesis,), RoomSecret(b"k" * 32)))
    runner.admission(runner.codes.issue(CODE, genesis.room, ID, moment()))
    runner.admission(runner.codes.wrong(runner.codes.begin("42", moment()), moment()))
    other = History(tmp_path / "history.db")  # as after kill -9: nothing was closed
    codes = Runner(me, "alice", other, lambda _: None).codes
    for _ in range(MAX_GUESSES - 1):
        guess(codes, moment())
    assert refused(codes, moment()) == "code_burnt"
    other.close()
    history.close()
