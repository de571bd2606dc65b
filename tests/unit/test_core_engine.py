"""The engine by itself: one event in, effects out. How engines behave together is in tests/sim."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.engine import Engine
from sandpiper.core.events import (
    Accepted,
    Append,
    CatchUp,
    Delivered,
    Effect,
    Event,
    Hangup,
    JoinOpen,
    LeaveRoom,
    Now,
    OpenDirect,
    PeerChanged,
    PeerDown,
    PeerUp,
    Post,
    Preview,
    Received,
    Refused,
    RoomChanged,
    SaveRoom,
    Send,
    Serve,
    SetPresence,
    SetTyping,
    Tick,
)
from sandpiper.core.limits import (
    CATCH_UP_FROM,
    MAX_AUTHORS,
    MAX_PUSHED,
    PASS_OVER_SECONDS,
    RECENT,
    TYPING_SECONDS,
    WANT_SECONDS,
)
from sandpiper.core.sync import FETCHED, PUSHED, WANTED, WANTED_RECENT
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room, open_room, room_tag
from sandpiper.crypto.signing import open_record, seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.admission import Settled
from sandpiper.wire.frames import (
    LINK_VERSION,
    Bye,
    Fetch,
    Heads,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    Rooms,
    Typing,
    UnknownFrame,
    Want,
)
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_SEQ
from sandpiper.wire.records import Head, Profile, Record, Text, Topic

if TYPE_CHECKING:
    from sandpiper.wire.admission import LinkFrame

ALICE, BOB, CAROL = (Identity(bytes((n,)) * 32) for n in (1, 2, 3))
DEV = open_room("dev")
EPOCH = 1_750_000_000_000


class Driver:
    """An engine with a clock that a test turns."""

    def __init__(self, who: Identity = ALICE, nick: str = "alice") -> None:
        self.time = 100.0
        self.engine = Engine(who, nick, random.Random(1), self.now())

    def now(self) -> Now:
        return Now(self.time, EPOCH + int(self.time * 1000))

    def do(self, event: Event) -> list[Effect]:
        return self.engine.handle(event, self.now())

    def gets(self, frame: LinkFrame, who: Identity = BOB, records: tuple[Record, ...] = ()) -> list[Effect]:
        if isinstance(frame, Records) and not records:
            records = tuple(open_record(raw, DEV) for raw in frame.records)
        return self.do(Received(who.key, frame, records))

    def meets(self, who: Identity = BOB, *, rooms: tuple[bytes, ...] = (DEV,)) -> list[Effect]:
        self.do(PeerUp(who.key))
        return self.gets(hello(rooms), who)

    def tick(self) -> list[Effect]:
        """Let time pass until the engine wants a tick."""
        deadline = self.engine.deadline()
        assert deadline is not None
        self.time = max(self.time, deadline)
        return self.do(Tick())


def hello(rooms: tuple[bytes, ...] = (DEV,), nick: str = "bob", version: int = LINK_VERSION) -> Hello:
    return Hello(version, "test", nick, EPOCH, tuple(room_tag(room) for room in rooms))  # type: ignore[arg-type]


def chain(who: Identity, count: int, *, time: int = EPOCH) -> list[Record]:
    out: list[Record] = []
    for n in range(count):
        prev = out[-1].id if out else NO_RECORD
        out.append(seal_record(who, DEV, n + 1, prev, (), time + n, Text(f"{n}")))
    return out


def head(record: Record) -> Head:
    return Head(record.author, record.seq, record.id)


def sent(effects: list[Effect]) -> list[LinkFrame]:
    return [e.frame for e in effects if isinstance(e, Send)]


def kinds(effects: list[Effect]) -> list[str]:
    return [type(e.frame if isinstance(e, Send) else e).__name__ for e in effects]


@pytest.fixture
def alice() -> Driver:
    driver = Driver()
    driver.do(JoinOpen("dev"))
    return driver


# ---------------------------------------------------------------- peers


def test_a_link_begins_with_hello_and_with_nothing_else(alice: Driver) -> None:
    effects = alice.do(PeerUp(BOB.key))
    assert effects == [
        Send((BOB.key,), Hello(LINK_VERSION, "sandpiper", "alice", alice.now().wall_ms, (room_tag(DEV),)))
    ]
    assert alice.engine.linked() == ()


def test_a_peer_is_linked_when_it_has_said_hello_and_heads_follow(alice: Driver) -> None:
    effects = alice.meets()
    assert kinds(effects) == ["PeerChanged", "Heads"]
    assert effects[0] == PeerChanged(BOB.key, "bob", "", "linked", "lan", EPOCH - alice.now().wall_ms)
    assert alice.engine.linked() == (BOB.key,)
    assert alice.engine.members(DEV) == (BOB.key,)
    assert alice.engine.members(open_room("elsewhere")) == ()


def test_a_peer_that_goes_is_told_if_it_was_ever_there(alice: Driver) -> None:
    alice.do(PeerUp(BOB.key))
    assert alice.do(PeerDown(BOB.key, "gone")) == []
    alice.meets()
    lost = alice.do(PeerDown(BOB.key, "gone"))
    assert [(e.state, e.reason) for e in lost if isinstance(e, PeerChanged)] == [("lost", "gone")]
    assert alice.do(PeerDown(BOB.key, "gone")) == []
    assert alice.engine.members(DEV) == ()


def test_a_link_that_takes_the_place_of_another_begins_anew(alice: Driver) -> None:
    alice.meets()
    effects = alice.do(PeerUp(BOB.key, "direct"))
    assert kinds(effects) == ["Hello"]
    assert alice.engine.members(DEV) == ()
    again = alice.gets(hello())
    assert kinds(again) == ["PeerChanged", "Heads"]
    assert isinstance(again[0], PeerChanged)
    assert again[0].path == "direct"


def test_a_link_that_takes_the_place_of_another_and_ends_before_it_says_hello_is_told_as_lost(alice: Driver) -> None:
    alice.meets()
    for _ in range(2):
        alice.do(PeerUp(BOB.key, "direct"))
    lost = alice.do(PeerDown(BOB.key, "gone"))
    assert [(e.nick, e.state, e.path) for e in lost if isinstance(e, PeerChanged)] == [("bob", "lost", "direct")]
    alice.do(PeerUp(BOB.key))
    assert alice.do(PeerDown(BOB.key, "gone")) == [], "and only that"


def test_who_has_just_been_let_in_is_told_heads_before_it_says_hello_and_is_there_when_it_does(alice: Driver) -> None:
    first = alice.do(PeerUp(BOB.key, "relay", DEV))
    assert kinds(first) == ["Hello", "Heads"]
    assert alice.engine.members(DEV) == ()
    assert alice.gets(Settled()) == []
    assert kinds(alice.gets(hello())) == ["PeerChanged"], "heads are not told twice"
    assert alice.engine.members(DEV) == (BOB.key,)
    assert kinds(alice.do(PeerUp(BOB.key, "relay", open_room("left")))) == ["Hello"]


@pytest.mark.parametrize(("records", "given"), [(1, True), (RECENT, True), (RECENT + 1, False)])
def test_who_has_just_been_let_in_is_given_a_short_history_and_asks_for_a_long_one(
    alice: Driver, records: int, given: bool
) -> None:
    for n in range(records - 1):  # the first brings our nick along
        alice.do(Post(DEV, Text(f"{n}")))
    if records == 1:
        alice.do(Post(DEV, Profile("alice", "")))
    first = alice.do(PeerUp(BOB.key, "relay", DEV))
    served = [effect for effect in first if isinstance(effect, Serve)]
    assert [(one.peer, len(one.places), one.answer) for one in served] == (
        [(BOB.key, records, WANTED)] if given else []
    )
    assert kinds(first)[-1] == "Heads", "when it hears of them it has them"


def test_who_was_let_in_and_has_left_at_once_shares_nothing(alice: Driver) -> None:
    alice.do(PeerUp(BOB.key, "relay", DEV))
    alice.gets(hello(rooms=()))
    assert alice.engine.members(DEV) == ()
    assert sent(alice.do(Post(DEV, Text("to nobody")))) == []


def test_frames_of_a_peer_without_a_link_have_no_effect(alice: Driver) -> None:
    assert alice.gets(Ping(1)) == []


@pytest.mark.parametrize("frame", [Rooms(()), Presence("x"), Heads(DEV, ()), Want(DEV, ()), Typing(DEV)])
def test_hello_must_come_first(alice: Driver, frame: LinkFrame) -> None:
    alice.do(PeerUp(BOB.key))
    [effect] = alice.gets(frame)
    assert isinstance(effect, Hangup)
    assert effect.code == "protocol"


def test_pings_byes_and_unknown_frames_may_come_before_hello(alice: Driver) -> None:
    alice.do(PeerUp(BOB.key))
    assert alice.gets(Ping(7)) == [Send((BOB.key,), Pong(7))]
    assert alice.gets(Pong(7)) == alice.gets(Settled()) == []
    assert alice.gets(UnknownFrame(99)) == [Refused(BOB.key, "unknown_frame", "a frame of unknown kind 99")]
    assert alice.gets(Bye("leaving")) == [Refused(BOB.key, "bye", "leaving")]


def test_another_version_of_the_link_is_closed_with_the_reason(alice: Driver) -> None:
    alice.do(PeerUp(BOB.key))
    [effect] = alice.gets(hello(version=LINK_VERSION + 1))
    assert isinstance(effect, Hangup)
    assert effect.code == "version"


def test_presence_goes_to_linked_peers_and_comes_safe_to_show(alice: Driver) -> None:
    assert alice.do(SetPresence("al")) == []
    alice.meets()
    assert alice.do(SetPresence("alicia", "away")) == [Send((BOB.key,), Presence("alicia", "away"))]
    [told] = alice.gets(Presence("b\x1bob", "g\none"))
    assert isinstance(told, PeerChanged)
    assert (told.nick, told.status) == ("b␛ob", "g one")


# ---------------------------------------------------------------- rooms


def test_joining_is_saved_and_told_and_linked_peers_hear_of_it() -> None:
    alice = Driver()
    alice.meets(rooms=(DEV,))
    effects = alice.do(JoinOpen("dev"))
    assert effects == [
        SaveRoom(DEV, "dev", "open", None, joined=True),
        RoomChanged(DEV, "dev", "open", None, joined=True),
        Send((BOB.key,), Rooms((room_tag(DEV),))),
        Send((BOB.key,), Heads(DEV, ())),
    ]
    assert alice.do(JoinOpen("dev")) == []
    assert [room.name for room in alice.engine.rooms()] == ["dev"]


def test_leaving_is_saved_and_told_and_ends_sharing(alice: Driver) -> None:
    alice.meets()
    effects = alice.do(LeaveRoom(DEV))
    assert kinds(effects) == ["SaveRoom", "RoomChanged", "Rooms"]
    assert alice.engine.room(DEV) is None
    assert alice.engine.deadline() is None
    assert [e.code for e in alice.gets(Heads(DEV, ())) if isinstance(e, Refused)] == ["not_shared"]
    alice.engine.served(BOB.key, DEV, ALICE.key, 1)  # an answer that was on its way: no harm


@pytest.mark.parametrize("event", [Post(DEV, Text("x")), LeaveRoom(DEV), SetTyping(DEV)])
def test_commands_about_a_room_that_we_are_not_in_say_how_to_join(event: Event) -> None:
    with pytest.raises(UsageError) as caught:
        Driver().do(event)
    assert "/join" in caught.value.hint


def test_a_peer_that_names_the_direct_room_opens_it_here_too(alice: Driver) -> None:
    room = direct_room(ALICE.key, BOB.key)
    effects = alice.meets(rooms=(room,))
    assert kinds(effects) == ["PeerChanged", "Rooms", "Heads"]
    assert alice.engine.room(room) is not None
    assert alice.engine.members(room) == (BOB.key,)
    # It is one of ours once something is said in it, and no sooner.
    assert [r.kind for r in alice.engine.rooms()] == ["open"]
    said = seal_record(BOB, room, 1, NO_RECORD, (), EPOCH, Text("psst"))
    effects = alice.gets(Records(room, (said.raw,)), records=(said,))
    assert kinds(effects)[:3] == ["SaveRoom", "RoomChanged", "Append"]
    # Of another pair's room the tag means nothing here.
    alice.meets(CAROL, rooms=(direct_room(BOB.key, CAROL.key), room))
    assert alice.engine.members(room) == (BOB.key,)
    assert len(alice.engine.rooms()) == 2


def test_direct_rooms_that_strangers_open_cost_nothing_once_they_are_gone(alice: Driver) -> None:
    for number in range(50):
        stranger = Identity(number.to_bytes(32, "big"))
        room = direct_room(ALICE.key, stranger.key)
        assert "SaveRoom" not in kinds(alice.meets(stranger, rooms=(room,)))
        assert alice.engine.room(room) is not None
        if number % 2:
            alice.do(PeerDown(stranger.key))
        else:
            alice.gets(Rooms(()), stranger)
        assert alice.engine.room(room) is None
    assert len(alice.engine.rooms()) == 1


def test_what_we_open_ourselves_is_ours_though_the_other_was_first(alice: Driver) -> None:
    room = direct_room(ALICE.key, BOB.key)
    alice.meets(rooms=(room,))
    assert kinds(alice.do(OpenDirect(BOB.key))) == ["SaveRoom", "RoomChanged"]
    alice.do(PeerDown(BOB.key))
    assert alice.engine.room(room) is not None


def test_a_room_full_of_made_up_authors_still_takes_what_we_say(alice: Driver) -> None:
    alice.meets()
    room = alice.engine.room(DEV)
    assert room is not None
    for number in range(MAX_AUTHORS + 5):
        room.add(chain(Identity(number.to_bytes(32, "big")), 1)[0])
    assert len(room.logs) == MAX_AUTHORS
    assert kinds(alice.do(Post(DEV, Text("still here")))).count("Append") == 2


def test_a_post_that_cannot_be_signed_leaves_no_trace(alice: Driver) -> None:
    room = alice.engine.room(DEV)
    assert room is not None
    for body in (Text("x" * 70_000), Text("\ud800"), Topic("t" * 2000)):
        with pytest.raises(UsageError):
            alice.do(Post(DEV, body))
    assert len(room) == 0  # not even the nick's record, of which the disk would know nothing
    assert [e.record.seq for e in alice.do(Post(DEV, Text("x"))) if isinstance(e, Append)] == [1, 2]


def test_signatures_that_nobody_asked_for_are_not_checked(alice: Driver) -> None:
    records = tuple(record.raw for record in chain(BOB, MAX_PUSHED + 1))
    assert not alice.engine.expects(BOB.key, Records(DEV, records[:1]))
    alice.meets()
    assert alice.engine.expects(BOB.key, Records(DEV, records[:MAX_PUSHED]))
    assert not alice.engine.expects(BOB.key, Records(DEV, records))
    assert not alice.engine.expects(BOB.key, Records(DEV, records, WANTED))
    alice.gets(Heads(DEV, (head(chain(BOB, 3)[-1]),)))
    assert alice.engine.expects(BOB.key, Records(DEV, records, WANTED))


def test_a_direct_room_is_told_to_the_other_and_to_nobody_else(alice: Driver) -> None:
    alice.meets(BOB)
    alice.meets(CAROL)
    effects = alice.do(OpenDirect(BOB.key))
    assert {peer for e in effects if isinstance(e, Send) for peer in e.peers} == {BOB.key}
    room = direct_room(ALICE.key, BOB.key)
    assert {peer for e in alice.do(LeaveRoom(room)) if isinstance(e, Send) for peer in e.peers} == {BOB.key}


def test_a_room_is_shared_while_both_name_it(alice: Driver) -> None:
    alice.meets(rooms=())
    assert alice.engine.members(DEV) == ()
    shared = alice.gets(Rooms((room_tag(DEV),)))
    assert kinds(shared) == ["Heads", "PeerChanged"]
    assert kinds(alice.gets(Rooms((room_tag(DEV),)))) == ["PeerChanged"]
    parted = alice.gets(Rooms(()))
    assert alice.engine.members(DEV) == ()
    for effects in (shared, parted):  # else a count of who is in the room stays what it was
        assert [(one.peer, one.state) for one in effects if isinstance(one, PeerChanged)] == [(BOB.key, "linked")]


# ---------------------------------------------------------------- writing


def test_a_post_is_appended_before_it_is_sent_and_the_nick_comes_first(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, ()))
    effects = alice.do(Post(DEV, Text("hello")))
    assert kinds(effects) == ["Append", "Accepted", "Records", "Delivered"] * 2
    bodies = [e.record.body for e in effects if isinstance(e, Append)]
    assert bodies == [Profile("alice"), Text("hello")]
    assert [e.delivered for e in effects if isinstance(e, Delivered)] == [0, 0]
    again = alice.do(Post(DEV, Text("and again")))
    assert kinds(again) == ["Append", "Accepted", "Records", "Delivered"]
    alice.do(SetPresence("alicia"))
    assert [e.record.body for e in alice.do(Post(DEV, Text("x"))) if isinstance(e, Append)] == [
        Profile("alicia"),
        Text("x"),
    ]


def test_what_is_sent_is_what_was_appended(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, ()))
    effects = alice.do(Post(DEV, Text("hello")))
    raws = [raw for frame in sent(effects) if isinstance(frame, Records) for raw in frame.records]
    assert raws == [e.record.raw for e in effects if isinstance(e, Append)]
    for raw in raws:
        assert open_record(raw, DEV).author == ALICE.key


def test_nothing_is_pushed_to_a_member_whose_heads_are_not_known_yet(alice: Driver) -> None:
    alice.meets()
    assert sent(alice.do(Post(DEV, Text("hello")))) == []
    alice.engine.served(BOB.key, DEV, ALICE.key, 2)
    assert kinds(alice.do(Post(DEV, Text("next")))) == ["Append", "Accepted", "Records", "Delivered"]


def test_delivery_is_read_off_heads_and_counts_down_what_is_undelivered(alice: Driver) -> None:
    for who in (BOB, CAROL):
        alice.meets(who)
        alice.gets(Heads(DEV, ()), who)
    posted = [e.record for e in alice.do(Post(DEV, Text("hello"))) if isinstance(e, Append)]
    assert alice.engine.undelivered() == 2
    told = alice.gets(Heads(DEV, (head(posted[0]),), full=False), BOB)
    assert told == [Delivered(DEV, posted[0].id, 1, 2)]
    told = alice.gets(Heads(DEV, (head(posted[1]),)), CAROL)
    assert told == [Delivered(DEV, posted[0].id, 2, 2), Delivered(DEV, posted[1].id, 1, 2)]
    assert alice.engine.undelivered() == 1
    alice.do(PeerDown(BOB.key))
    assert alice.engine.undelivered() == 0


def test_a_head_of_another_branch_of_our_log_is_no_delivery(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, ()))
    alice.do(Post(DEV, Text("hello")))
    told = alice.gets(Heads(DEV, (Head(ALICE.key, 2, RecordId(bytes(32))),)))
    assert not [e for e in told if isinstance(e, Delivered)]
    assert alice.engine.undelivered() == 2


def test_typing_goes_to_members_and_not_too_often(alice: Driver) -> None:
    assert alice.do(SetTyping(DEV)) == []
    alice.meets()
    assert sent(alice.do(SetTyping(DEV))) == [Typing(DEV)]
    alice.time += TYPING_SECONDS / 2
    assert sent(alice.do(SetTyping(DEV))) == []
    alice.time += TYPING_SECONDS / 2
    assert sent(alice.do(SetTyping(DEV))) == [Typing(DEV)]


# ---------------------------------------------------------------- taking in


def test_what_is_pushed_is_accepted_live_and_what_was_asked_for_as_history(alice: Driver) -> None:
    alice.meets()
    one, two, three = chain(BOB, 3)
    pushed = alice.gets(Records(DEV, (one.raw,)))
    assert [(e.record, e.history, e.mine, e.late, e.shown) for e in pushed if isinstance(e, Accepted)] == [
        (one, False, False, False, False)
    ]
    [want] = sent(alice.gets(Heads(DEV, (head(three),))))
    assert want == Want(DEV, (head(one),))
    answer = alice.gets(Records(DEV, (two.raw, three.raw), WANTED))
    assert [(e.record, e.history) for e in answer if isinstance(e, Accepted)] == [(two, True), (three, True)]


def test_the_same_records_again_have_no_effect(alice: Driver) -> None:
    alice.meets()
    one, two = chain(BOB, 2)
    frame = Records(DEV, (one.raw, two.raw))
    alice.gets(frame)
    assert alice.gets(frame) == []


def test_a_late_joiner_asks_for_the_newest_first_and_then_for_everything_in_turn(alice: Driver) -> None:
    alice.meets()
    records = chain(BOB, CATCH_UP_FROM + 100)
    effects = alice.gets(Heads(DEV, (head(records[-1]),)))
    assert effects == [CatchUp(DEV, len(records)), Send((BOB.key,), Want(DEV, (), RECENT))]
    shown = records[-RECENT:]
    effects = alice.gets(Records(DEV, tuple(r.raw for r in shown), WANTED_RECENT))
    assert effects == [*(Preview(r) for r in shown), Send((BOB.key,), Want(DEV, ()))]
    effects = alice.gets(Records(DEV, tuple(r.raw for r in records[:256]), WANTED))
    assert [e.shown for e in effects if isinstance(e, Accepted)].count(True) == 56
    assert sent(effects) == [Want(DEV, (head(records[255]),))]
    effects = alice.gets(Records(DEV, tuple(r.raw for r in records[256:]), WANTED))
    assert effects[-1] == CatchUp(DEV, 0, len(records))
    assert alice.gets(Heads(DEV, (head(records[-1]),))) == []


def test_more_that_turns_up_while_catching_up_is_asked_for_without_beginning_again(alice: Driver) -> None:
    alice.meets()
    records = chain(BOB, 2 * CATCH_UP_FROM + 50)
    assert kinds(alice.gets(Heads(DEV, (head(records[49]),)))) == ["Want"]
    alice.gets(Heads(DEV, (head(records[-1]),), full=False))
    effects = alice.gets(Records(DEV, tuple(r.raw for r in records[:50]), WANTED))
    assert not [e for e in effects if isinstance(e, CatchUp)]
    assert sent(effects) == [Want(DEV, (head(records[49]),), RECENT)]


def test_an_answer_in_several_frames_is_one_answer(alice: Driver) -> None:
    alice.meets()
    records = chain(BOB, 40)
    alice.gets(Heads(DEV, (head(records[-1]),)))
    for n in range(3):
        part = tuple(r.raw for r in records[10 * n : 10 * n + 10])
        assert not sent(alice.gets(Records(DEV, part, WANTED, more=True)))
    effects = alice.gets(Records(DEV, tuple(r.raw for r in records[30:]), WANTED))
    assert not sent(effects)
    assert alice.engine.room(DEV) is not None
    assert len(alice.engine.rooms()[0]) == 40


def test_an_answer_cannot_have_more_frames_than_it_may(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, (Head(BOB.key, MAX_SEQ, RecordId(bytes(32))),)))
    alice.gets(Records(DEV, (), WANTED_RECENT))
    records = chain(BOB, 200)
    for n in range(3 * MAX_ANSWER_FRAMES):
        alice.gets(Records(DEV, tuple(r.raw for r in records[10 * n : 10 * n + 10]), WANTED, more=True))
    taken = len(alice.engine.rooms()[0])
    # Two asks were out; what came beyond their frames counts as pushed, and is too much for that.
    assert taken <= 2 * MAX_ANSWER_FRAMES * 10 + 100


def test_an_answer_that_gives_nothing_is_not_waited_for_however_often_it_says_that_more_comes(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, (Head(BOB.key, 9, RecordId(bytes(32))),)))
    for _ in range(4):
        alice.time += WANT_SECONDS / 3
        alice.gets(Records(DEV, (), WANTED, more=True))
    alice.do(Tick())
    alice.meets(CAROL)
    heads = Heads(DEV, (head(chain(CAROL, 3)[-1]),))
    assert sent(alice.gets(heads, CAROL)) == [Want(DEV, ())], "still waits for bob"


def test_a_parent_that_a_member_did_not_have_is_asked_for_again_after_its_next_full_heads(alice: Driver) -> None:
    alice.meets()
    one, two = chain(BOB, 2)
    other = seal_record(BOB, DEV, 2, one.id, (), EPOCH + 7, Text("on another branch"))
    child = seal_record(CAROL, DEV, 1, NO_RECORD, (head(other),), EPOCH + 8, Text("saw it"))
    alice.gets(Records(DEV, (one.raw, two.raw)))
    assert Fetch(DEV, (other.id,)) in sent(alice.gets(Records(DEV, (child.raw,))))
    assert not sent(alice.gets(Records(DEV, (), FETCHED)))
    assert Fetch(DEV, (other.id,)) in sent(alice.gets(Heads(DEV, (head(two), head(other)))))
    effects = alice.gets(Records(DEV, (other.raw,), FETCHED))
    assert [e.record for e in effects if isinstance(e, Accepted)] == [other, child]


def test_a_member_that_does_not_answer_is_passed_over_for_another(alice: Driver) -> None:
    records = chain(CAROL, 3)
    heads = Heads(DEV, (head(records[-1]),))
    alice.meets(BOB)
    alice.meets(CAROL)
    assert [e.peers for e in alice.gets(heads, BOB) if isinstance(e, Send)] == [(BOB.key,)]
    assert sent(alice.gets(heads, CAROL)) == []
    alice.time += WANT_SECONDS
    asked = [e.peers for e in alice.do(Tick()) if isinstance(e, Send) and isinstance(e.frame, Want)]
    assert asked == [(CAROL.key,)]
    alice.time += WANT_SECONDS
    asked = [e.peers for e in alice.do(Tick()) if isinstance(e, Send) and isinstance(e.frame, Want)]
    assert asked == [], "bob is asked again before his time"
    alice.time += PASS_OVER_SECONDS
    asked = [e.peers for e in alice.do(Tick()) if isinstance(e, Send) and isinstance(e.frame, Want)]
    assert asked == [(BOB.key,)]


def test_whom_we_asked_may_go_and_another_is_asked_at_once(alice: Driver) -> None:
    heads = Heads(DEV, (head(chain(CAROL, 3)[-1]),))
    alice.meets(BOB)
    alice.meets(CAROL)
    alice.gets(heads, BOB)
    alice.gets(heads, CAROL)
    assert sent(alice.do(PeerDown(BOB.key))) == [Want(DEV, ())]


def test_wants_are_answered_past_the_heads_they_name(alice: Driver) -> None:
    alice.meets()
    alice.do(Post(DEV, Text("one")))
    effects = alice.do(Post(DEV, Text("two")))
    mine = next(e.record for e in effects if isinstance(e, Append))
    assert alice.gets(Want(DEV, ())) == [Serve(BOB.key, DEV, tuple((ALICE.key, seq) for seq in (1, 2, 3)), (), WANTED)]
    assert alice.gets(Want(DEV, (Head(ALICE.key, 2, RecordId(bytes(32))),))) == [
        Serve(BOB.key, DEV, ((ALICE.key, 3),), (), WANTED)
    ]
    assert alice.gets(Want(DEV, (), recent=2)) == [
        Serve(BOB.key, DEV, ((ALICE.key, 2), (ALICE.key, 3)), (), WANTED_RECENT)
    ]
    assert mine.seq == 3


# ---------------------------------------------------------------- time


def test_ticks_are_wanted_only_while_there_is_a_room() -> None:
    alice = Driver()
    assert alice.engine.deadline() is None
    assert alice.do(Tick()) == []
    alice.do(JoinOpen("dev"))
    assert alice.engine.deadline() is not None


def test_a_tick_before_its_time_does_nothing_and_each_tick_moves_the_deadline(alice: Driver) -> None:
    alice.meets()
    assert alice.do(Tick()) == []
    last = alice.time
    for _ in range(20):
        alice.tick()
        deadline = alice.engine.deadline()
        assert deadline is not None
        assert deadline > alice.time
    assert alice.time > last + 100


def test_changed_heads_are_told_together_a_moment_later(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, ()))
    records = chain(BOB, 3)
    for record in records:
        assert not sent(alice.gets(Records(DEV, (record.raw,))))
    assert sent(alice.tick()) == [Heads(DEV, (head(records[-1]),), full=False)]
    assert alice.time < 101


def test_all_heads_are_told_again_every_half_minute(alice: Driver) -> None:
    alice.meets()
    times = []
    for _ in range(6):
        frames = sent(alice.tick())
        assert frames == [Heads(DEV, ())]
        times.append(alice.time)
    assert all(20 < later - earlier < 40 for earlier, later in itertools.pairwise(times))


def test_changed_heads_are_not_told_when_nobody_is_left_to_hear_them(alice: Driver) -> None:
    alice.meets()
    alice.gets(Heads(DEV, ()))
    alice.gets(Records(DEV, (chain(BOB, 1)[0].raw,)))
    alice.do(PeerDown(BOB.key))
    for _ in range(3):
        assert sent(alice.tick()) == []


# ---------------------------------------------------------------- what others must not do


def test_an_answer_to_nothing_is_a_push_and_counts_as_one(alice: Driver) -> None:
    alice.meets()
    records = chain(BOB, 130)
    for answer in (WANTED, WANTED_RECENT, FETCHED):
        effects = alice.gets(Records(DEV, tuple(r.raw for r in records[:40]), answer))
        assert not [e for e in effects if isinstance(e, Preview)]
        assert not any(e.history for e in effects if isinstance(e, Accepted))
    # 120 records in one moment are more than may be pushed.
    assert len(alice.engine.rooms()[0]) == 40
    alice.gets(Records(DEV, tuple(r.raw for r in records[40:80]), PUSHED))
    assert len(alice.engine.rooms()[0]) == 40


def test_an_empty_push_does_no_harm(alice: Driver) -> None:
    alice.meets()
    assert alice.gets(Records(DEV, ())) == []


def test_heads_weigh_what_they_cost(alice: Driver) -> None:
    alice.meets()
    many = tuple(Head(n.to_bytes(32, "big"), 1, bytes(32)) for n in range(1, 4001))
    closed = [n for n in range(60) for e in alice.gets(Heads(DEV, many)) if isinstance(e, Hangup)]
    assert closed
    assert closed[0] > 10, "an honest peer may have to say that much, too"


def test_keys_are_not_shown_by_an_engine() -> None:
    alice = Driver()
    assert alice.engine.key == PeerKey(ALICE.key)
    assert ALICE.seed.hex() not in repr(vars(alice.engine))


def test_a_member_that_claims_much_and_gives_little_does_not_keep_others_from_being_asked(alice: Driver) -> None:
    alice.meets(BOB)
    alice.meets(CAROL)
    honest = chain(CAROL, 30)
    trickle = iter(chain(BOB, 50))
    effects = alice.gets(Heads(DEV, (Head(BOB.key, MAX_SEQ, b"f" * 32),)), BOB)
    effects += alice.gets(Heads(DEV, (head(honest[-1]),)), CAROL)
    asked: list[PeerKey] = []
    while CAROL.key not in asked:
        wants = [e for e in effects if isinstance(e, Send) and isinstance(e.frame, Want)]
        effects = []
        for want in wants:
            asked += want.peers
            assert isinstance(want.frame, Want)
            answer = WANTED_RECENT if want.frame.recent else WANTED
            given = () if want.frame.recent or want.peers != (BOB.key,) else (next(trickle),)
            if want.peers == (BOB.key,):
                effects += alice.gets(Records(DEV, tuple(r.raw for r in given), answer), BOB, given)
        effects += [] if effects else alice.tick()
        assert asked.count(BOB.key) < 5, asked
