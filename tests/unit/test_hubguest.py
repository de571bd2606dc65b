"""A guest on a hub without sockets: real hubs in memory, connections that end at any byte, and hubs that lie."""

from __future__ import annotations

import base64
import json
import random
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandpiper.core.hubbusy import BUSY_FIRST, BUSY_MOST
from sandpiper.core.hubcatchup import BUSY_SECONDS, MAX_PAGE_TRIES, PAGE_SECONDS
from sandpiper.core.hubevents import (
    HubCame,
    HubCaughtUp,
    HubDial,
    HubDown,
    HubEffect,
    HubFound,
    HubHangUp,
    HubHeard,
    HubKnown,
    HubLocked,
    HubMissing,
    HubNick,
    HubNote,
    HubNotFound,
    HubRoomIn,
    HubRoomOut,
    HubSent,
    HubUnsent,
    HubUp,
    HubWrite,
)
from sandpiper.core.hubgreeting import HELLO_SECONDS, MAX_BUSY_TRIES, MAX_NICK_TRIES, NICK_SECONDS, Signer
from sandpiper.core.hubguest import MAX_ROOMS, MAX_STRIKES, HubGuest
from sandpiper.core.hubpulse import DOUBT_SECONDS, PING_SECONDS, SILENCE_SECONDS
from sandpiper.core.hubroom import (
    MAX_CATCH_UP,
    MAX_CATCH_UP_CHARS,
    MAX_HELD,
    MAX_MEMBERS,
    PAGE,
    RECENT,
    HubRoom,
    Mark,
    Numbered,
)
from sandpiper.core.hubtalk import UNKEPT_SECONDS
from sandpiper.core.hubunsaid import MAX_UNSAID, WINDOW
from sandpiper.crypto.identity import Identity
from sandpiper.errors import UsageError
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import PRESENCE_DELAY
from sandpiper.wire.hub.answers import Edited, Joined, Member, Said, TopicSet
from sandpiper.wire.hub.asks import React, Rooms, Topic
from tests.unit.parlour import SETTINGS, Parlour, Visitor

T = TypeVar("T")
HUB_ID = bytes(range(32))
KNOWN = msgspec.structs.replace(SETTINGS, id=HUB_ID, name="the hub")


def arrive(visitor: Visitor, raw: bytes) -> None:
    """Lines reach the hub; those that it does not take at once are brought again, as by a connection."""
    lines = raw.splitlines(keepends=True)
    for _ in range(len(lines) + 2):
        if lines:
            del lines[: visitor.send(b"".join(lines))]
    assert not lines or visitor.cut


class Ours:
    """Our guest and its connection to a house; what it does and tells is carried out and kept."""

    def __init__(
        self, parlour: Parlour | None, nick: str = "alice", *rooms: str, key: int = 0, marks: tuple[Mark, ...] = ()
    ) -> None:
        identity = Identity(bytes([key]) * 32) if key else None
        signer = Signer(identity.key, identity.sign) if identity is not None else None
        self.now = 100.0
        self.parlour = parlour
        self.guest = HubGuest(nick, random.Random(nick), self.now, signer=signer, rooms=marks)
        for room in rooms:
            self.guest.join(room)
        self.visitor: Visitor | None = None
        self.read = 0
        self.told: list[HubEffect] = []
        self.written: list[dict[str, Any]] = []

    @property
    def phase(self) -> str:
        return self.guest.phase

    def go(self) -> Ours:
        """Connect, and do everything that can be done now."""
        self.guest.again(self.now)
        self.guest.tick(self.now)
        self.pump()
        return self

    def pump(self) -> None:
        busy = True
        while busy:
            busy = False
            for effect in self.guest.flush():
                busy = True
                self._carry_out(effect)
            if self.visitor is not None and self.read < len(self.visitor.raw):
                busy = True
                raw = b"".join(self.visitor.raw[self.read :])
                self.read = len(self.visitor.raw)
                self.guest.take(raw.splitlines(), self.now)
            if self.visitor is not None and self.visitor.cut and self.read == len(self.visitor.raw):
                self.visitor = None
                self.guest.lost("closed", self.now)

    def _carry_out(self, effect: HubEffect) -> None:
        match effect:
            case HubDial() if self.parlour is not None:
                self.visitor, self.read = Visitor(self.parlour, ""), 0
                self.guest.connected(self.now)
            case HubWrite(raw=raw):
                self.written += [json.loads(line) for line in raw.splitlines()]
                if self.visitor is not None:
                    arrive(self.visitor, raw)
            case HubHangUp():
                self.told.append(effect)
                if self.visitor is not None:
                    self.visitor.leave()
                    self.visitor = None
            case _:
                self.told.append(effect)

    def hear(self, *lines: dict[str, Any] | bytes) -> None:
        """Lines of a hub that does not exist."""
        raws = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        self.guest.take(raws, self.now)
        self.pump()

    def wait(self, seconds: float) -> None:
        """Time passes, tick by tick."""
        end = self.now + seconds
        while (due := self.guest.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.guest.tick(self.now)
            self.pump()
        self.now = end

    def cut(self, *, unread: bool = False) -> None:
        """The connection ends; `unread`: what the hub sent last is lost."""
        visitor, self.visitor = self.visitor, None
        if visitor is not None:
            visitor.leave()
        if not unread and visitor is not None:
            self.guest.take(b"".join(visitor.raw[self.read :]).splitlines(), self.now)
        self.guest.lost("cut", self.now)
        self.pump()

    def say(self, text: str, room: str = "lobby") -> str:
        client_id = self.guest.say(room, text)
        self.pump()
        return client_id

    def texts(self, room: str = "lobby") -> list[str]:
        return [one.kept.text for one in self.all(HubHeard) if one.room == room and isinstance(one.kept, Said)]

    def all(self, kind: type[T]) -> list[T]:
        return [effect for effect in self.told if isinstance(effect, kind)]


def said(seq: int, text: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "msg", "nick": "bob", "text": text or f"{seq}", "ts": 1, "seq": seq, **more}


def joined(seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "joined", "room": "lobby", "epoch": "e1", "seq": seq, "members": 1, **more}


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def stranger(*rooms: str) -> Ours:
    """Our guest on a hub that the test plays, up."""
    ours = Ours(None, "alice", *(rooms or ("lobby",))).go()
    ours.guest.connected(ours.now)
    ours.hear(
        {"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"},
        {"type": "nick", "text": "", "ts": 1, "nick": "alice"},
    )
    assert ours.phase == "up"
    return ours


# ---------------------------------------------------------------- coming in


def test_two_guests_chat_and_each_message_comes_once_to_both():
    parlour = Parlour(KNOWN)
    alice, bob = Ours(parlour, "alice", "lobby").go(), Ours(parlour, "bob", "lobby").go()
    alice.pump()
    alice.say("hi")
    bob.pump()
    bob.say("hello")
    alice.pump()
    assert alice.texts() == bob.texts() == ["hi", "hello"]
    assert [one.mine for one in alice.all(HubHeard)] == [True, False]
    assert (alice.all(HubUp)[0].hub, alice.all(HubUp)[0].nick) == ("the hub", "alice")
    assert len(alice.all(HubSent)) == 1
    assert not alice.guest.unsaid.count()
    parlour.wait(PRESENCE_DELAY)
    alice.pump()
    assert set(alice.guest.rooms["lobby"].members) == {"alice", "bob"}


def test_rooms_are_told_apart():
    parlour = Parlour()
    alice, bob = Ours(parlour, "alice", "lobby", "dev").go(), Ours(parlour, "bob", "dev").go()
    alice.say("in dev", "dev")
    alice.say("in the lobby")
    bob.pump()
    assert bob.texts("dev") == ["in dev"]
    assert bob.texts("lobby") == []
    with pytest.raises(UsageError):
        bob.guest.say("lobby", "not there")


def test_whoever_comes_later_gets_what_was_said_before_as_history():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby").go()
    for number in range(RECENT + 50):
        alice.say(f"{number}")
    bob = Ours(parlour, "bob", "lobby").go()
    assert bob.texts() == [f"{number}" for number in range(50, RECENT + 50)]
    assert all(one.history for one in bob.all(HubHeard))
    assert not bob.all(HubMissing)
    alice.say("now")
    bob.pump()
    assert bob.texts()[-1] == "now"
    assert not bob.all(HubHeard)[-1].history


def test_a_taken_nick_becomes_what_the_hub_suggests_and_that_is_told():
    parlour = Parlour()
    Ours(parlour, "alice").go()
    other = Ours(parlour, "alice", "lobby").go()
    assert other.all(HubNick) == [HubNick("alice2", "alice")]
    assert other.guest.nick == "alice2"
    assert other.guest.rooms["lobby"].inside


def test_a_nick_that_is_chosen_while_we_are_coming_in_is_the_one_we_have_then():
    parlour = Parlour()
    ours = Ours(parlour, "alice", "lobby")
    ours.guest.tick(ours.now)
    ours.guest.flush()
    ours.visitor = Visitor(parlour, "")
    ours.guest.connected(ours.now)
    ours.guest.rename("alicia")
    ours.pump()
    assert (ours.phase, ours.guest.nick) == ("up", "alicia")
    assert ours.visitor.guest.nick == "alicia"
    assert all(one.nick == one.wanted for one in ours.all(HubNick)), "nobody has taken it"
    ours = founding()
    ours.guest.rename("alicia")
    ours.hear({"type": "error", "text": "bad type"}, {"type": "nick", "text": "nick set to alice", "ts": 1})
    assert (ours.phase, ours.guest.nick) == ("up", "alicia")
    assert ours.written[-1] == {"type": "nick", "nick": "alicia"}


def test_a_nick_that_was_refused_later_on_is_not_asked_for_again():
    ours = stranger()
    ours.guest.rename("bob")
    ours.hear({"type": "error", "text": "No.", "code": "nick_taken"})
    assert ours.guest.nick == "alice"
    ours.cut()
    ours.go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"})
    assert ours.written[-1] == {"type": "nick", "nick": "alice"}


def test_what_a_busy_hub_says_once_our_nick_is_ours_is_not_about_it():
    ours = stranger()
    ours.hear(joined(0))
    ours.guest.rename("bob")
    ours.hear({"type": "nick", "text": "", "ts": 1, "nick": "bob"}, {"type": "error", "text": "Later.", "code": "busy"})
    assert ours.all(HubNote) == [HubNote("lobby", "busy", "Later.", refused=True)]


def test_a_hub_that_refuses_every_nick_gets_its_way_and_that_is_told():
    ours = Ours(None).go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"})
    for number in range(MAX_NICK_TRIES + 1):
        ours.hear({"type": "error", "text": "No.", "code": "nick_taken", "suggestion": f"n{number}"})
    assert ours.phase == "up"
    assert ours.all(HubNote) == [HubNote("", "nick_taken", "No.", refused=True)]


def test_a_key_is_proved_and_takes_its_nick_back_from_the_lost_connection():
    parlour = Parlour(KNOWN)
    alice = Ours(parlour, "alice", "lobby", key=1).go()
    assert alice.all(HubUp)[0].proved
    assert alice.all(HubKnown) == [HubKnown(HUB_ID)]
    ghost = alice.visitor
    alice.visitor = None  # the hub does not know yet that this connection is dead
    alice.guest.lost("stalled", alice.now)
    alice.go()
    assert ghost is not None
    assert ghost.cut == "replaced"
    assert alice.guest.nick == "alice"
    assert len(alice.all(HubUp)) == 2


def test_another_program_with_our_key_takes_over_and_we_do_not_fight_for_it():
    parlour = Parlour(KNOWN)
    first = Ours(parlour, "alice", "lobby", key=1).go()
    Ours(parlour, "alice", "lobby", key=1).go()
    first.pump()
    assert first.phase == "over"
    assert first.all(HubDown)[-1].seconds is None
    assert first.guest.deadline() is None


def test_a_hub_gets_no_signature_over_what_it_likes_and_none_later_on():
    for count, signed in ((15, 0), (16, 1), (32, 1), (64, 1), (65, 0)):
        ours = Ours(None, "alice", "lobby", key=1).go()
        ours.guest.connected(ours.now)
        ours.hear({"type": "hello", "v": 1, "hub": "h", "features": ["auth"], "nick": "anon-1", "id": b64(HUB_ID)})
        ours.hear({"type": "challenge", "nonce": b64(bytes(count))})
        assert sum("signature" in line for line in ours.written) == signed
        ours.hear({"type": "nick", "text": "", "ts": 1, "nick": "alice"})
        assert ours.phase == "up"
        ours.hear({"type": "challenge", "nonce": b64(bytes(32))})
        assert sum("signature" in line for line in ours.written) == signed


def test_no_signature_is_given_to_a_hub_without_a_key():
    alice = Ours(Parlour(), "alice", "lobby", key=1).go()
    assert not alice.all(HubUp)[0].proved
    assert not [line for line in alice.written if line["type"] == "auth"]


def test_a_hub_with_another_key_than_before_is_not_talked_to():
    parlour = Parlour(KNOWN)
    alice = Ours(parlour, "alice", "lobby", key=1).go()
    alice.parlour = Parlour(msgspec.structs.replace(KNOWN, id=bytes(32)[1:] + b"x"))
    alice.cut()
    before = len(alice.written)
    alice.go()
    assert [line["type"] for line in alice.written[before:]] == ["hello"]
    assert alice.phase == "over"
    assert f"#key:{(bytes(32)[1:] + b'x').hex()}" in alice.all(HubDown)[-1].reason
    alice.guest.expect(bytes(32)[1:] + b"x")
    alice.go()
    assert alice.phase == "up"


def test_a_banned_guest_does_not_come_back_and_says_that_its_words_were_not_sent():
    ours = stranger()
    ours.guest.say("lobby", "hi")
    ours.hear({"type": "error", "text": "You may not come in here.", "code": "banned"})
    ours.guest.lost("closed", ours.now)
    ours.pump()
    assert ours.all(HubDown) == [HubDown("You may not come in here.", None, "banned")]
    assert [one.text for one in ours.all(HubUnsent)] == ["hi"]


def test_being_refused_in_one_room_ends_nothing_else():
    parlour = Parlour()
    owner = parlour.visitor("owner", "", "dev")
    owner.send({"type": "ban", "room": "dev", "nick": "alice"})
    alice = Ours(parlour, "alice", "lobby", "dev").go()
    out = alice.all(HubRoomOut)
    assert not out or out[0].code == "banned"
    owner.send({"type": "join", "room": "vault"}, {"type": "op", "room": "vault", "nick": "owner"})
    alice.hear({"type": "error", "text": "The room x needs a password.", "code": "locked", "room": "lobby"})
    alice.say("still here")
    assert alice.texts() == ["still here"]


def test_a_locked_room_is_told_and_left_alone():
    ours = stranger("lobby", "vault")
    ours.hear({"type": "error", "text": "It needs a password.", "code": "locked", "room": "vault"})
    assert ours.all(HubRoomOut) == [HubRoomOut("vault", "locked", "It needs a password.")]
    ours.cut()
    ours.go()
    ours.guest.connected(ours.now)
    assert "vault" not in ours.guest.rooms


def test_a_connection_that_is_lost_after_a_room_was_refused_is_made_again():
    ours = stranger("lobby", "vault")
    ours.hear({"type": "error", "text": "It needs a password.", "code": "locked", "room": "vault"})
    ours.cut()
    assert ours.phase == "down"


def test_a_wrong_password_of_the_hub_is_not_said_again():
    ours = Ours(None)
    ours.guest.password = "barley"
    ours.go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "error", "text": "Wrong.", "code": "wrong_password"})
    assert ours.all(HubLocked) == [HubLocked("", "Wrong.", True)]
    before = len(ours.written)
    ours.go()
    ours.guest.connected(ours.now)
    ours.pump()
    assert [line["type"] for line in ours.written[before:]] == ["hello"]


def test_our_own_words_of_an_earlier_run_are_ours_if_our_key_says_so():
    for key in (0, 1):
        parlour = Parlour(KNOWN)
        alice = Ours(parlour, "alice", "lobby", key=key).go()
        alice.say("mine")
        alice.cut()
        again = Ours(parlour, "alice", "lobby", key=key).go()
        assert [one.mine for one in again.all(HubHeard)] == [bool(key)]


def test_whoever_was_put_out_of_a_room_does_not_walk_in_again():
    parlour = Parlour()
    owner = parlour.visitor("owner", "", "dev")
    alice = Ours(parlour, "alice", "lobby", "dev").go()
    owner.send({"type": "kick", "room": "dev", "nick": "alice", "reason": "noise"})
    alice.pump()
    assert alice.all(HubRoomOut)[0].code == "kicked"
    alice.cut()
    alice.wait(5)
    assert [line["room"] for line in alice.written if line["type"] == "join"] == ["lobby", "dev", "lobby"]


# ---------------------------------------------------------------- reconnecting


def test_what_was_said_while_nobody_was_connected_goes_out_later_and_once():
    parlour = Parlour()
    alice, bob = Ours(parlour, "alice", "lobby"), Ours(parlour, "bob", "lobby").go()
    alice.say("early")
    alice.go()
    alice.cut()
    alice.say("between")
    alice.wait(5)
    bob.pump()
    assert bob.texts() == alice.texts() == ["early", "between"]


def test_our_own_words_that_had_arrived_before_the_cut_are_not_said_again():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby").go()
    alice.guest.say("lobby", "one")
    for effect in alice.guest.flush():
        if isinstance(effect, HubWrite) and alice.visitor is not None:
            arrive(alice.visitor, effect.raw)
    alice.cut(unread=True)
    # A hub that was started anew remembers no client ids.
    alice.parlour = Parlour(SETTINGS, parlour.history, seed=2)
    alice.wait(5)
    assert alice.texts() == ["one"]
    assert len(alice.all(HubSent)) == 1
    assert [line["type"] for line in alice.written].count("msg") == 0


def test_a_long_absence_is_fetched_page_by_page_in_order():
    parlour = Parlour()
    alice, bob = Ours(parlour, "alice", "lobby").go(), Ours(parlour, "bob", "lobby").go()
    alice.say("first")
    bob.pump()
    bob.cut()
    count = 3 * PAGE + 7
    for number in range(count):
        alice.say(f"{number}")
    # A hub that was started anew holds no newest lines: all of it must be asked for.
    bob.parlour = Parlour(SETTINGS, parlour.history, seed=2)
    bob.wait(5)
    assert bob.texts() == ["first", *(f"{number}" for number in range(count))]
    assert [line["type"] for line in bob.written].count("history") == 4
    assert bob.all(HubCaughtUp)[-1].received == count
    assert not bob.all(HubMissing)


def test_what_the_hub_does_not_keep_any_more_keeps_nobody_from_the_rest():
    parlour = Parlour(SETTINGS, MemoryHistory(batches=300))
    alice, bob = Ours(parlour, "alice", "lobby").go(), Ours(parlour, "bob", "lobby").go()
    alice.say("first")
    bob.pump()
    bob.cut()
    for number in range(5000):
        alice.say(f"{number}")
    bob.parlour = Parlour(SETTINGS, parlour.history, seed=2)
    bob.wait(5)
    assert bob.texts() == ["first", *(f"{number}" for number in range(4700, 5000))]
    assert [line["type"] for line in bob.written].count("history") == 2


def test_a_hub_that_lost_its_last_lines_does_not_hide_the_new_ones_behind_their_numbers():
    parlour = Parlour(SETTINGS, MemoryHistory())
    alice = Ours(parlour, "alice", "lobby").go()
    for text in ("one", "two", "three"):
        alice.say(text)
    lives = {one.life for one in alice.all(HubHeard)}
    alice.cut()
    history = MemoryHistory()
    history.remember(
        parlour.house.rooms["lobby"].kept()._replace(seq=0)
    )  # the same life of the room, nothing of what was said
    alice.parlour = Parlour(SETTINGS, history, seed=2)
    alice.wait(5)
    alice.say("four")
    assert alice.texts() == ["one", "two", "three", "four"]
    assert alice.all(HubHeard)[-1].seq == 1
    assert alice.all(HubHeard)[-1].life not in lives
    alice.cut()
    alice.wait(5)
    alice.say("five")
    assert alice.texts() == ["one", "two", "three", "four", "five"]


def test_a_new_life_of_a_room_is_all_new():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby").go()
    alice.say("old")
    alice.cut()
    alice.parlour = Parlour(SETTINGS, seed=2)
    bob = Ours(alice.parlour, "bob", "lobby").go()
    bob.say("new")
    alice.wait(5)
    assert alice.texts() == ["old", "new"]


def test_a_message_that_came_under_two_numbers_is_told_once():
    ours = stranger()
    ours.hear(joined(0), said(1, "hi", client_id="x"), said(2, "hi", client_id="x"), said(3, "hi", client_id="y"))
    assert [one.seq for one in ours.all(HubHeard)] == [1, 3]


def test_a_restart_of_ours_goes_on_where_it_was():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby").go()
    alice.say("one")
    mark = alice.guest.rooms["lobby"].mark
    alice.cut()
    other = Ours(parlour, "bob", "lobby").go()
    other.say("two")
    again = Ours(parlour, "alice", marks=(mark,)).go()
    assert again.texts() == ["two"]


def test_waits_between_tries_grow_and_begin_anew_after_a_good_connection():
    ours = Ours(None).go()
    waits = []
    for _ in range(12):
        ours.guest.lost("nobody there", ours.now)
        ours.pump()
        waits.append(ours.all(HubDown)[-1].seconds or 0)
        ours.wait(waits[-1])
        assert ours.phase == "dialling"
    assert waits[0] < 1
    assert 30 <= waits[-1] <= 90
    ours.guest.connected(ours.now)
    ours.hear(
        {"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"},
        {"type": "nick", "text": "", "ts": 1, "nick": "a"},
    )
    ours.wait(30)
    ours.cut()
    assert (ours.all(HubDown)[-1].seconds or 99) < 1


def test_too_much_that_waits_is_refused_and_the_rest_goes_in_a_window():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby")
    for number in range(MAX_UNSAID):
        alice.say(f"{number}")
    with pytest.raises(UsageError):
        alice.say("one too many")
    alice.go()
    assert alice.texts() == [f"{number}" for number in range(MAX_UNSAID)]
    ours = stranger()
    ours.hear(joined(0))
    for number in range(WINDOW + 5):
        ours.say(f"{number}")
    assert [line["type"] for line in ours.written].count("msg") == WINDOW


SCHEDULE = st.lists(
    st.sampled_from(["say a", "say b", "say a", "say b", "cut a", "drop a", "cut b", "drop b", "restart", "pump a"]),
    max_size=60,
)


@settings(max_examples=150)
@given(SCHEDULE, st.integers(0, 3))
@example(["say b", "say b", "drop b", "say b", "restart"], 0)  # two of ours in one page: neither is said again
def test_whatever_breaks_everybody_has_everything_once_in_one_order(steps: list[str], seed: int):
    parlour = Parlour(KNOWN, seed=seed)
    both = {"a": Ours(parlour, "alice", "lobby", key=1), "b": Ours(parlour, "bob", "lobby", key=2)}
    for ours in both.values():
        ours.go()
    wanted: list[str] = []
    for number, step in enumerate(steps):
        what, _, who = step.partition(" ")
        if what == "restart":
            parlour = Parlour(KNOWN, parlour.history, seed=number)
            for ours in both.values():
                ours.parlour = parlour
                ours.cut(unread=number % 2 == 0)
        elif what == "say":
            wanted.append(f"{number}")
            both[who].guest.say("lobby", f"{number}")
        elif what == "pump":
            both[who].pump()
        else:
            # Dropped: it reaches the hub, which notices the end of the connection before we read anything of it.
            for effect in both[who].guest.flush():
                if isinstance(effect, HubWrite) and what == "drop" and (visitor := both[who].visitor) is not None:
                    arrive(visitor, effect.raw)
                elif not isinstance(effect, HubWrite):
                    both[who].told.append(effect)
            both[who].cut(unread=what == "drop")
    for _ in range(3):
        for ours in both.values():
            ours.wait(200)
    a, b = both["a"].texts(), both["b"].texts()
    assert a == b
    assert sorted(a) == sorted(wanted)
    assert not both["a"].guest.unsaid.count()
    assert not both["a"].all(HubUnsent)
    assert not both["a"].all(HubMissing)
    assert [one.seq for one in both["a"].all(HubHeard)] == list(range(1, len(wanted) + 1))


# ---------------------------------------------------------------- gaps


NUMBERS = st.lists(st.integers(1, 1 << 45), unique=True, max_size=60).map(sorted) | st.integers(0, 900).map(
    lambda top: list(range(1, top + 1))
)


@settings(max_examples=200)
@given(NUMBERS, st.integers(0, 900), st.lists(st.integers(1, 400), max_size=4), st.booleans(), st.booleans())
def test_every_line_that_is_kept_is_told_once_and_in_order_however_its_numbers_jump(
    numbers: list[int], unkept: int, live: list[int], short_pages: bool, gap_in_the_tail: bool
):
    """A hub that keeps all but the first `unkept` lines, and pages that hold less than was asked for."""
    kept = numbers[unkept:]
    top = max(numbers, default=0)
    room = HubRoom("lobby", "", Mark("lobby", "e1", 0))
    tail = kept[len(kept) // 2 :] if gap_in_the_tail else []
    first = tail[0] if tail else top + 1
    room.joined(Joined("lobby", "e1", top, 1, resumed=True, first=first))
    told = [line.seq for number in tail for line in room.take(Numbered(number, None))]
    ahead = iter(live)
    for _ in range(3000):
        if not room.behind:
            break
        ask = room.ask()
        for _ in range(next(ahead, 0)):
            kept.append(kept[-1] + 3 if kept else top + 3)
            told += [line.seq for line in room.take(Numbered(kept[-1], None))]
        limit = min(ask.limit, 7) if short_pages else ask.limit
        older = [number for number in kept if number < ask.before]
        page = older[-limit:]
        got, given_up = room.page([Numbered(seq, None) for seq in page], more=len(older) > len(page))
        told += [line.seq for line in got]
        assert not given_up
    assert not room.behind
    assert told == kept
    assert room.last == max(kept, default=0)


def test_numbers_that_jump_while_we_are_there_are_no_hole_and_nothing_is_asked_for():
    ours = stranger()
    ours.hear(joined(0), said(1 << 20), said(5 << 20), said((5 << 20) + 1))
    assert [one.seq for one in ours.all(HubHeard)] == [1 << 20, 5 << 20, (5 << 20) + 1]
    assert "history" not in [line["type"] for line in ours.written]
    assert not ours.all(HubMissing)


def test_after_a_crash_of_the_hub_its_jump_hides_nothing_that_was_said_before():
    ours = stranger()
    ours.hear(joined(0), said(1))
    ours.guest.lost("cut", ours.now)
    ours.wait(2)
    ours.guest.connected(ours.now)
    jumped = (1 << 20) + 3
    ours.hear(
        {"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"},
        {"type": "nick", "text": "", "ts": 1, "nick": "alice"},
        joined(jumped, resumed=True, first=jumped + 1),
        {"type": "history", "room": "lobby", "epoch": "e1", "messages": [said(1), said(2), said(3)]},
        said(jumped + 1),
    )
    assert [one.seq for one in ours.all(HubHeard)] == [1, 2, 3, jumped + 1]
    assert [line["type"] for line in ours.written].count("history") == 1
    assert not ours.all(HubMissing)


def test_no_hub_can_make_us_hold_or_ask_for_much():
    room = HubRoom("lobby", "", Mark("lobby", "e1", 1))
    room.joined(Joined("lobby", "e1", 1 << 40, 1, resumed=True, first=(1 << 40) + 1))
    for number in range(MAX_HELD + 100):
        room.take(Numbered((1 << 40) + 1 + number, None))
    pages, told, given_up = 0, list[Numbered](), False
    while not given_up:
        before = room.ask().before
        page = [Numbered(number, None) for number in range(before - PAGE, before)]
        told, given_up = room.page(page, more=True)
        pages += 1
    assert pages == MAX_CATCH_UP // PAGE
    assert len(told) == MAX_CATCH_UP + MAX_HELD
    assert room.behind, "what was not held is asked for"
    room = HubRoom("lobby", "", Mark("lobby", "e1", 1))
    room.joined(Joined("lobby", "e1", 1 << 40, 1, resumed=True, first=(1 << 40) + 1))
    given_up, pages = False, 0
    while not given_up:
        before = room.ask().before
        page = [Numbered(before - n, Said("bob", "x" * 16_000, 1, "", before - n)) for n in range(1, PAGE + 1)]
        _, given_up = room.page(page, more=True)
        pages += 1
    assert pages * PAGE * 16_000 <= MAX_CATCH_UP_CHARS + PAGE * 16_000


def test_a_room_that_is_left_while_its_page_is_awaited_does_not_keep_others_waiting():
    ours = stranger("dev", "lobby")
    ours.hear(joined(7, room="dev"), joined(7))
    assert [line.get("room", "") for line in ours.written if line["type"] == "history"] == ["dev"]
    ours.hear({"type": "left", "room": "dev", "code": "kicked", "text": "Out."})
    assert [line.get("room", "") for line in ours.written if line["type"] == "history"] == ["dev", ""]


def test_a_number_is_told_once_and_a_page_of_another_life_never_whatever_a_hub_sends():
    ours = stranger()
    ours.hear(joined(0), said(5), said(5, "again"), said(3, "older"), said(6))
    assert ours.texts() == ["5", "6"]
    ours.cut()
    ours.go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"})
    ours.hear({"type": "nick", "text": "", "ts": 1, "nick": "alice"}, joined(9, resumed=True, first=9))
    page = {"type": "history", "room": "lobby", "messages": [said(7)]}
    ours.hear({**page, "epoch": "e2", "messages": [said(8, "of another life")]}, {**page, "epoch": "e1"})
    assert ours.texts() == ["5", "6", "7"]


def test_a_busy_hub_is_asked_again_and_one_that_never_answers_is_given_up():
    ours = stranger()
    ours.hear(joined(5))
    asked = lambda: [line["type"] for line in ours.written].count("history")  # noqa: E731
    assert asked() == 1
    ours.hear({"type": "error", "text": "Later.", "code": "busy"})
    assert not ours.all(HubNote)
    ours.wait(BUSY_SECONDS)
    assert asked() == 2
    ours.hear(said(6))
    for _ in range(MAX_PAGE_TRIES):
        ours.wait(PAGE_SECONDS)
        ours.hear({"type": "ping", "n": 1})
    assert ours.all(HubMissing) == [HubMissing("lobby")]
    assert [one.seq for one in ours.all(HubHeard)] == [6]


def asked(ours: Ours, kind: str) -> list[dict[str, Any]]:
    return [line for line in ours.written if line["type"] == kind]


def busy(**more: Any) -> dict[str, Any]:
    return {"type": "error", "text": "Later.", "code": "busy", **more}


@pytest.mark.parametrize("named", [True, False], ids=["names the room", "names nothing"])
def test_a_room_that_the_hub_had_no_time_for_is_asked_for_again_later_and_later(named: bool):
    ours = stranger("dev")
    ours.guest.join("dev", "swan")
    ours.pump()
    first = len(asked(ours, "join"))
    for tries in range(3):
        assert len(asked(ours, "join")) == first + tries
        ours.hear(busy(room="dev") if named else busy())
        ours.wait(BUSY_FIRST * 2**tries * 0.5 - 0.01)
        assert len(asked(ours, "join")) == first + tries, "not at once"
        ours.wait(BUSY_FIRST * 2**tries + 0.02)
    again = asked(ours, "join")[first:]
    assert len(again) == 3
    assert all(line["room"] == "dev" and line["password"] == "swan" for line in again)
    ours.hear(joined(0, room="dev"))
    ours.wait(BUSY_MOST)
    assert len(asked(ours, "join")) == first + 3, "it is in"
    assert not ours.all(HubNote)


def test_a_room_that_was_left_is_not_asked_for_again():
    ours = stranger("dev")
    for tries in range(3):
        ours.hear(busy(room="dev"))
        ours.wait(BUSY_FIRST * 2**tries * 1.5)
    ours.guest.leave("dev", ours.now)
    joins = len(asked(ours, "join"))
    ours.wait(BUSY_MOST)
    assert len(asked(ours, "join")) == joins
    ours.guest.join("dev")
    ours.hear(busy(room="dev"))
    ours.wait(BUSY_FIRST * 1.5)
    assert len(asked(ours, "join")) == joins + 2, "and waits no longer than at first when it is wanted again"


def test_a_nick_that_the_hub_had_no_time_for_is_not_ours_until_it_says_so():
    ours = Ours(None, "alice", "lobby").go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"})
    for tries in range(MAX_BUSY_TRIES + 1):
        assert len(asked(ours, "nick")) == tries + 1
        assert ours.phase == "greeting"
        ours.hear(busy())
        ours.wait(1.0)
    assert [one.nick for one in ours.all(HubUp)] == ["anon-1"]
    assert ours.guest.nick == "anon-1"
    assert not ours.all(HubNick), "nobody has taken it"
    ours.hear(joined(0))
    nicks = len(asked(ours, "nick"))
    ours.wait(BUSY_FIRST * 1.5)
    assert len(asked(ours, "nick")) == nicks + 1
    ours.hear(busy())
    ours.wait(BUSY_FIRST * 3)
    assert len(asked(ours, "nick")) == nicks + 2
    ours.hear({"type": "nick", "text": "", "ts": 1, "nick": "alice"})
    ours.wait(BUSY_MOST)
    assert len(asked(ours, "nick")) == nicks + 2
    assert ours.guest.nick == "alice"
    assert ours.all(HubNick) == [HubNick("alice", "alice")]


def test_a_hub_that_is_busy_for_a_moment_gives_us_our_nick_before_we_go_in():
    ours = Ours(None, "alice", "lobby").go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"}, busy())
    ours.wait(1.0)
    ours.hear({"type": "nick", "text": "", "ts": 1, "nick": "alice"})
    assert [one.nick for one in ours.all(HubUp)] == ["alice"]


def test_a_hub_that_never_answers_a_nick_is_believed_what_it_called_us():
    ours = Ours(None, "alice", "lobby").go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"})
    ours.wait(NICK_SECONDS)
    assert [one.nick for one in ours.all(HubUp)] == ["anon-1"]


def test_what_a_busy_hub_does_not_take_is_kept_and_said_again_in_order():
    ours = stranger()
    ours.hear(joined(0))
    ids = [ours.say(f"{number}") for number in range(3)]
    ours.hear(*(busy(client_id=one) for one in ids))
    assert not ours.all(HubUnsent)
    assert [note.code for note in ours.all(HubNote)] == ["busy"], "told once"
    assert ours.guest.unsaid.count() == 3
    ids.append(ours.say("3"))
    assert len(asked(ours, "msg")) == 3, "nothing more meanwhile"
    ours.wait(BUSY_FIRST * 1.5)
    assert [line["client_id"] for line in asked(ours, "msg")[3:]] == ids
    ours.hear(*(busy(client_id=one) for one in ids))
    ours.wait(BUSY_FIRST * 3)
    assert [line["client_id"] for line in asked(ours, "msg")[7:]] == ids
    ours.hear(*(said(seq, client_id=one) for seq, one in enumerate(ids, 1)))
    assert [one.client_id for one in ours.all(HubSent)] == ids
    assert len(ours.all(HubNote)) == 1
    assert not ours.guest.unsaid.count()


def test_a_window_full_of_what_was_not_taken_does_not_stop_the_rest():
    ours = stranger()
    ours.hear(joined(0))
    ids = [ours.say(f"{number}") for number in range(WINDOW)]
    ours.hear(*(busy(client_id=one) for one in ids))
    ours.wait(BUSY_FIRST * 1.5)
    assert [line["client_id"] for line in asked(ours, "msg")[WINDOW:]] == ids


def test_what_could_not_be_kept_here_is_told_again_after_a_while():
    parlour = Parlour()
    alice, bob = Ours(parlour, "alice", "lobby").go(), Ours(parlour, "bob", "lobby").go()
    alice.say("one")
    bob.pump()
    kept = bob.guest.rooms["lobby"].mark
    alice.say("two")
    bob.pump()
    bob.guest.not_kept(kept, bob.now)
    alice.say("three")
    bob.pump()
    assert bob.texts() == ["one", "two"]
    bob.wait(UNKEPT_SECONDS)
    assert bob.texts() == ["one", "two", "two", "three"]
    alice.say("four")
    bob.pump()
    assert bob.texts()[-1] == "four"


# ---------------------------------------------------------------- founding hubs


def founding() -> Ours:
    ours = Ours(None, "alice", "lobby", "dev").go()
    ours.guest.connected(ours.now)
    ours.pump()
    return ours


@pytest.mark.parametrize("answers", [True, False], ids=["an error", "silence"])
def test_a_founding_hub_is_recognised_and_used_as_it_is(answers: bool):
    ours = founding()
    if answers:
        ours.hear({"type": "error", "text": "unknown message type: hello"})
    else:
        ours.wait(HELLO_SECONDS)
    assert ours.written[-1] == {"type": "nick", "nick": "alice"}
    ours.hear({"type": "nick", "text": "nick set to alice", "ts": 1735812345.25})
    assert ours.all(HubUp) == [HubUp("", "alice", founding=True, proved=False)]
    assert [one.room for one in ours.all(HubRoomOut)] == ["dev"]
    assert [one.room for one in ours.all(HubRoomIn)] == ["lobby"]
    ours.say("hi")
    assert ours.written[-1] == {"type": "msg", "text": "hi"}, "nothing that it does not know"
    ours.hear(
        {"type": "msg", "nick": "alice", "text": "hi", "ts": 1735812345.25}, {"type": "notice", "text": "bob joined"}
    )
    assert ours.all(HubSent)
    assert ours.all(HubHeard)[0].mine
    assert ours.all(HubNote)[-1] == HubNote("lobby", "", "bob joined")
    with pytest.raises(UsageError):
        ours.guest.ask(Rooms())


def test_a_founding_hub_that_refuses_a_nick_is_asked_for_one_with_a_number():
    ours = founding()
    ours.hear({"type": "error", "text": "bad type"}, {"type": "error", "text": "alice is taken"})
    assert ours.written[-1] == {"type": "nick", "nick": "alice2"}
    ours.hear({"type": "nick", "text": "nick set to alice2", "ts": 1})
    assert ours.all(HubNick) == [HubNick("alice2", "alice")]


def test_what_we_do_is_said_to_a_founding_hub_in_words():
    ours = founding()
    ours.hear({"type": "error", "text": "bad type"}, {"type": "nick", "text": "ok", "ts": 1})
    ours.guest.say("lobby", "waves", action=True)
    ours.pump()
    assert ours.written[-1] == {"type": "msg", "text": "* alice waves"}


def test_nothing_is_said_twice_to_a_founding_hub_and_what_is_unsure_is_told():
    ours = founding()
    ours.hear({"type": "error", "text": "bad type"}, {"type": "nick", "text": "ok", "ts": 1})
    ours.say("did it arrive?")
    ours.cut()
    ours.say("not sent yet")
    assert [(one.text, one.code) for one in ours.all(HubUnsent)] == [("did it arrive?", "unsure")]
    ours.wait(2)
    ours.guest.connected(ours.now)
    ours.hear({"type": "error", "text": "bad type"}, {"type": "nick", "text": "ok", "ts": 1})
    assert [line["text"] for line in ours.written if line["type"] == "msg"] == ["did it arrive?", "not sent yet"]


def test_a_message_without_a_number_shows_a_founding_hub_at_once():
    ours = founding()
    ours.hear({"type": "msg", "nick": "bob", "text": "hi all", "ts": 1})
    assert ours.written[-1]["type"] == "nick"


def test_a_hub_that_answers_hello_late_is_still_one_of_ours():
    ours = founding()
    ours.wait(HELLO_SECONDS)
    ours.hear({"type": "nick", "text": "ok", "ts": 1, "nick": "alice"})
    assert [one.founding for one in ours.all(HubUp)] == [True]
    ours.hear(
        {"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"},
        {"type": "nick", "text": "", "ts": 1, "nick": "alice"},
    )
    assert [one.founding for one in ours.all(HubUp)] == [True, False]
    assert ours.written[-1]["type"] == "join"
    ours.hear(joined(0), said(1))
    assert ours.texts() == ["1"]


def test_a_founding_hub_that_does_not_confirm_nicks_is_used_all_the_same():
    ours = founding()
    ours.hear({"type": "error", "text": "bad type"})
    ours.wait(NICK_SECONDS)
    assert ours.phase == "up"


# ---------------------------------------------------------------- silence and hostile lines


def test_a_silent_hub_is_pinged_and_then_given_up():
    ours = stranger()
    ours.wait(PING_SECONDS)
    assert ours.written[-1]["type"] == "ping"
    assert ours.phase == "up"
    ours.hear({"type": "pong", "n": 1})
    ours.wait(PING_SECONDS - 1)
    assert ours.phase == "up"
    ours.wait(SILENCE_SECONDS - PING_SECONDS + 2)
    assert ours.all(HubHangUp)
    assert ours.all(HubDown)


def test_after_a_change_of_the_network_a_hub_that_says_nothing_is_left_in_seconds_and_another_is_not():
    ours = stranger()
    ours.guest.doubt(ours.now)
    ours.pump()
    assert ours.written[-1]["type"] == "ping"
    ours.hear({"type": "pong", "n": ours.written[-1]["n"]})
    ours.wait(DOUBT_SECONDS + 1)
    assert ours.phase == "up"
    ours.guest.doubt(ours.now)
    ours.hear({"type": "notice", "text": "bob joined", "ts": 1})  # it may have waited in the socket since before
    ours.wait(DOUBT_SECONDS)
    assert ours.all(HubDown)
    ours.guest.doubt(ours.now)
    assert ours.guest.deadline() == ours.now, "whoever is not connected tries at once"


def test_an_answer_that_waited_in_the_socket_does_not_show_that_a_hub_is_still_there():
    ours = stranger()
    assert ours.written[-2]["type"] == "ping"  # and then the join
    early = ours.written[-2]["n"]
    ours.guest.doubt(ours.now)
    ours.pump()
    assert ours.written[-1] == {"type": "ping", "n": early + 1}
    ours.hear({"type": "pong", "n": early})
    ours.wait(DOUBT_SECONDS)
    assert ours.phase == "down"


@pytest.mark.parametrize("more", [{"epoch": "e~1"}, {"epoch": ""}, {"epoch": "e" * 17}, {"first": 9}])
def test_a_room_that_cannot_be_is_not_entered(more: dict[str, Any]):
    ours = stranger()
    ours.hear(joined(7, **{"resumed": True, **more}))
    assert not ours.guest.rooms["lobby"].inside


def test_the_round_trip_is_measured():
    ours = stranger()
    assert ours.guest.round_trip is None
    n = next(line["n"] for line in ours.written if line["type"] == "ping")
    ours.now += 0.25
    ours.hear({"type": "pong", "n": n + 1}, {"type": "pong", "n": n})
    assert ours.guest.round_trip == 0.25


def test_a_hub_with_a_password_is_told_it_first_and_one_without_is_not_taken_for_a_founding_one():
    ours = Ours(None, "alice", "lobby").go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "error", "text": "This hub has a password.", "code": "locked"})
    assert ours.all(HubLocked) == [HubLocked("", "This hub has a password.", wrong=False)]
    assert ours.phase == "over"
    ours.guest.password = "sesame"
    ours.go()
    before = len(ours.written)
    ours.guest.connected(ours.now)
    ours.pump()
    assert [line["type"] for line in ours.written[before:]] == ["password", "hello"]
    ours.hear(
        {"type": "error", "text": "unknown type", "code": "unknown_type"},
        {"type": "hello", "v": 1, "hub": "h", "features": [], "nick": "anon-1"},
        {"type": "nick", "text": "", "ts": 1, "nick": "alice"},
    )
    assert [one.founding for one in ours.all(HubUp)] == [False]
    ours.cut()
    ours.wait(2)
    ours.guest.connected(ours.now)
    ours.hear({"type": "error", "text": "That is not it.", "code": "wrong_password"})
    assert ours.all(HubLocked)[-1] == HubLocked("", "That is not it.", wrong=True)
    assert ours.phase == "over"


@pytest.mark.parametrize("code", ["tls_only", "not_served"])
def test_a_hub_that_cannot_be_used_this_way_is_not_tried_again_and_again(code: str):
    ours = Ours(None, "alice", "lobby").go()
    ours.guest.connected(ours.now)
    ours.hear({"type": "error", "text": "No.", "code": code})
    ours.guest.lost("closed", ours.now)
    ours.pump()
    assert ours.all(HubDown) == [HubDown("No.", None, code)]


def test_a_search_waits_for_a_page_and_pages_wait_for_a_search():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby").go()
    for number in range(3):
        alice.say(f"pizza {number}")
    alice.guest.find("lobby", "PIZZA", 0, 2, alice.now)
    with pytest.raises(UsageError):
        alice.guest.find("lobby", "more", 0, 2, alice.now)
    alice.pump()
    found = alice.all(HubFound)[0]
    assert [(seq, said.text) for seq, said in found.lines] == [(3, "pizza 2"), (2, "pizza 1")]
    alice.guest.find("lobby", "pizza", found.before, 2, alice.now)
    alice.pump()
    assert [said.text for _, said in alice.all(HubFound)[1].lines] == ["pizza 0"]
    assert not alice.all(HubFound)[1].more
    ours = stranger("lobby", "dev")
    ours.hear(joined(5))
    ours.guest.find("lobby", "x", 0, 5, ours.now)
    ours.pump()
    kinds = lambda: [line["type"] for line in ours.written if line["type"] in ("history", "find")]  # noqa: E731
    assert kinds() == ["history"]
    ours.hear({"type": "history", "room": "lobby", "epoch": "e1", "messages": [said(5)]}, joined(7, room="dev"))
    assert kinds() == ["history", "find"]
    ours.hear({"type": "found", "room": "lobby", "epoch": "e1", "messages": [said(5), {}, 7], "more": True})
    assert kinds() == ["history", "find", "history"]
    assert not ours.all(HubFound)[0].more, "more without a place to go on from is no more"


@pytest.mark.parametrize("how", ["busy", "silence", "cut", "an old hub"])
def test_a_search_that_cannot_be_done_is_told_and_catching_up_goes_on(how: str):
    ours = stranger()
    ours.hear(joined(0))
    ours.guest.find("lobby", "x", 0, 5, ours.now)
    ours.pump()
    match how:
        case "busy":
            ours.hear({"type": "error", "text": "Later.", "code": "busy", "room": "lobby"})
        case "an old hub":
            ours.hear({"type": "error", "text": "What?", "code": "unknown_type"})
        case "cut":
            ours.cut()
        case _:
            for _ in range(3):
                ours.wait(10)
                ours.hear({"type": "ping", "n": 1})
    assert len(ours.all(HubNotFound)) == 1
    assert not ours.all(HubNote)


def test_a_ping_is_answered():
    ours = stranger()
    ours.hear({"type": "ping", "n": 7})
    assert ours.written[-1] == {"type": "pong", "n": 7}


def test_texts_and_names_of_a_hub_are_made_safe():
    ours = stranger()
    ours.hear(
        joined(0, topic="a\x1b[31m\nb"),
        said(1, "red\x1b[31m", nick="e v\x00e\u202e", client_id="\x1b"),
        {"type": "edit", "nick": "\x07", "text": "\x9b1m", "ts": 1, "id": 1, "seq": 2},
        {"type": "topic", "text": "t\x1b", "nick": "n\x1b", "ts": 1, "seq": 3},
        {"type": "notice", "text": "\x1b]0;x\x07", "ts": 1, "joined": ["m\x1ballory"]},
        {"type": "notice", "text": "\x1b", "ts": 1, "code": "\x1b"},
        {"type": "error", "text": "\x1b[2J", "code": "\x1b", "room": "\x1b"},
        {"type": "who", "room": "lobby", "count": 1, "members": [{"nick": "m\x1b", "key": "AAAA"}]},
        {"type": "rooms", "rooms": [{"room": "r\x1b", "members": 1, "topic": "\x1b"}]},
        {"type": "typing", "nick": "\x1bx"},
        {"type": "left", "room": "lobby", "code": "\x1b", "text": "\x1b"},
    )
    assert len(ours.told) >= 10
    for effect in ours.told:
        shown = repr(effect)
        assert not any(bad in shown for bad in ("\\x1b", "\\x9b", "\\u202e", "\\x07")), shown


def test_lines_of_later_hubs_are_passed_over_and_their_numbers_count():
    ours = stranger()
    ours.hear(
        joined(0), said(1), {"type": "poll", "seq": 2, "options": [1, 2]}, {"type": "weather"}, said(3, new_field={}),
    )  # fmt: skip
    assert [one.seq for one in ours.all(HubHeard)] == [1, 3]
    assert not ours.guest.rooms["lobby"].behind


def test_whatever_does_not_speak_as_a_hub_does_is_left():
    ours = stranger()
    ours.hear(*[b"HTTP/1.1 400 Bad Request"] * (MAX_STRIKES - 1))
    assert ours.phase == "up"
    ours.hear(b"\xff")
    assert ours.phase == "down"
    assert ours.all(HubHangUp)


ODD = (
    joined(3),
    joined(9, resumed=True, first=5),
    joined(-1),
    joined(1, epoch="~~"),
    said(-1),
    said(1 << 80),
    said(4),
    {"type": "history", "room": "lobby", "epoch": "e1", "messages": [said(1), said(2), {}, 3]},
    {"type": "history", "room": "lobby", "epoch": "e1", "messages": {}},
    {"type": "hello", "v": 1, "hub": "", "features": [], "nick": ""},
    {"type": "challenge", "nonce": ""},
    {"type": "auth", "text": ""},
    {"type": "ack", "client_id": "x", "seq": 1},
    {"type": "notice", "text": "", "ts": 1, "members": -5},
    {"type": "left", "room": ""},
    {"type": "nick", "text": ""},
    {"type": "error", "text": "", "code": "busy"},
    {"type": "msg", "nick": "", "text": "", "ts": 1e300},
)
ODD_LINES = st.binary(max_size=60) | st.sampled_from([json.dumps(line).encode() for line in ODD])


@settings(max_examples=100)
@given(st.lists(ODD_LINES), st.booleans())
def test_no_line_whatever_it_says_breaks_anything(lines: list[bytes], begun: bool):
    ours = stranger() if begun else founding()
    ours.hear(*lines)
    ours.wait(1000)
    seqs = [one.seq for one in ours.all(HubHeard) if one.seq]
    lives = [one.life for one in ours.all(HubHeard) if one.seq]
    if len(set(lives)) == 1 and "left" not in repr(lines):
        assert seqs == sorted(set(seqs))


def test_wishes_that_cannot_be_done_now_are_refused():
    ours = Ours(None)
    with pytest.raises(UsageError):
        ours.guest.ask(Topic("lobby", "x"))
    ours = stranger()
    for number in range(MAX_ROOMS - 1):
        ours.guest.join(f"r{number}")
    with pytest.raises(UsageError):
        ours.guest.join("one-more")


def test_edits_reactions_and_topics_come_in_their_place():
    parlour = Parlour(KNOWN)
    alice, bob = Ours(parlour, "alice", "dev", key=1).go(), Ours(parlour, "bob", "dev").go()
    alice.say("tpyo", "dev")
    alice.guest.ask(Topic("dev", "all about x"))
    bob.guest.ask(React(1, "👍", "dev"))
    for one in (alice, bob, alice, bob):
        one.pump()
    kinds = [type(one.kept) for one in bob.all(HubHeard)]
    assert kinds[:2] == [Said, TopicSet]
    assert bob.guest.rooms["dev"].topic == "all about x"
    assert Edited not in kinds
    assert len(kinds) == 3


def test_comings_and_goings_keep_the_list_of_members():
    parlour = Parlour()
    alice, bob = Ours(parlour, "alice", "lobby").go(), Ours(parlour, "bob", "lobby").go()
    parlour.wait(PRESENCE_DELAY)
    alice.pump()
    assert set(alice.guest.rooms["lobby"].members) == {"alice", "bob"}
    assert alice.all(HubCame)
    bob.guest.rename("rob")
    bob.pump()
    alice.pump()
    assert set(alice.guest.rooms["lobby"].members) == {"alice", "rob"}
    assert bob.guest.nick == "rob"
    bob.cut()
    parlour.wait(PRESENCE_DELAY)
    alice.pump()
    assert set(alice.guest.rooms["lobby"].members) == {"alice"}
    assert alice.guest.rooms["lobby"].count == 1


def test_somebody_with_another_nick_keeps_the_key_and_no_hub_can_name_more_and_more_of_them():
    ours = stranger("lobby")
    ours.hear(joined(0))
    key = b64(bytes(32))
    ours.hear({"type": "who", "room": "lobby", "count": 1, "members": [{"nick": "bob", "operator": True, "key": key}]})
    ours.hear({"type": "notice", "text": "", "ts": 1, "old": "bob", "new": "rob"})
    members = ours.guest.rooms["lobby"].members
    assert members == {"rob": Member("rob", True, bytes(32))}
    for number in range(MAX_MEMBERS + 100):
        ours.hear({"type": "notice", "text": "", "ts": 1, "old": f"o{number}", "new": f"n{number}"})
    assert len(members) == MAX_MEMBERS


def test_leaving_a_room_and_the_hub():
    parlour = Parlour()
    alice = Ours(parlour, "alice", "lobby", "dev").go()
    alice.guest.leave("dev", alice.now)
    alice.pump()
    assert alice.all(HubRoomOut) == [HubRoomOut("dev")]
    alice.guest.close()
    alice.pump()
    assert alice.phase == "over"
    assert alice.guest.deadline() is None
    with pytest.raises(UsageError):
        alice.guest.say("lobby", "x")
