"""The pure core of the hub's chat: the founding protocol, rooms, resuming, who comes and goes, limits."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest

from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import (
    CROWD,
    CROWD_DELAY,
    MAX_CLIENT_IDS,
    MAX_PAGE_BYTES,
    MAX_ROOMS_A_GUEST,
    MAX_STRIKES,
    MAX_TAIL_BYTES,
    PRESENCE_DELAY,
    ROOMS_MADE,
    TYPING_SECONDS,
    ChatSettings,
    Full,
    Pace,
)
from sandpiper.hub.rooms import Room
from sandpiper.wire.hub.asks import Join, Msg
from sandpiper.wire.hub.lines import decode_chunk
from tests.unit.parlour import FAST, SETTINGS, WALL, Parlour, Visitor

# ---------------------------------------------------------------- the founding protocol


def test_founding_guests_get_exactly_what_they_know():
    parlour = Parlour()
    alice, bob = parlour.visitor(), parlour.visitor()
    assert alice.ask("nick", nick="alice") == [
        {"type": "nick", "text": "nick set to alice", "ts": WALL, "nick": "alice"}
    ]
    parlour.wait(PRESENCE_DELAY)
    alice.say("hi")
    joined, said = bob.lines()
    assert {key: joined[key] for key in ("type", "text", "ts")} == {
        "type": "notice",
        "text": "alice joined",
        "ts": WALL,
    }
    assert (said["type"], said["nick"], said["text"], said["ts"]) == ("msg", "alice", "hi", WALL)
    assert alice.texts == ["hi"], "the sender gets it, too"
    assert alice.notices == [], "nobody is told that they came themselves"
    alice.leave()
    parlour.wait(PRESENCE_DELAY)
    assert bob.notices == ["alice joined", "alice left"]


def test_whoever_has_no_nick_is_anonymous_and_may_talk():
    parlour = Parlour()
    one, two = parlour.visitor(), parlour.visitor()
    one.say("hi")
    nick = two.got("msg")[0]["nick"]
    assert nick.startswith("anon-")
    assert nick[5:].isdigit()
    assert one.guest.nick != two.guest.nick


def test_a_listener_that_says_nothing_comes_and_goes_unseen():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor()
    bob.leave()
    parlour.wait(1)
    assert alice.notices == []


def test_bad_lines_are_answered_and_the_twentieth_ends_the_connection():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    for _ in range(MAX_STRIKES - 1):
        alice.send(b"what?\n")
    alice.say("still here")
    assert (alice.cut, bob.texts) == ("", ["still here"])
    alice.send(b"what?\n", b'{"type":"msg","text":"too late"}\n')
    parlour.wait(1)
    assert alice.cut == "too_many_errors"
    assert alice.errors[-1] == "too_many_errors"
    assert (bob.texts, bob.notices[-1]) == (["still here"], "alice left")


# ---------------------------------------------------------------- nicks


def test_a_taken_nick_is_refused_with_one_that_is_free():
    parlour = Parlour()
    parlour.visitor("alice")
    parlour.visitor("alice2")
    bob = parlour.visitor()
    (error,) = bob.ask("nick", nick="\uff21lice")
    assert (error["code"], error["suggestion"]) == ("nick_taken", "\uff21lice3")
    assert bob.ask("nick", nick="alice3")[0]["text"] == "nick set to alice3"


def test_a_nick_is_free_again_when_its_bearer_is_gone():
    parlour = Parlour()
    parlour.visitor("alice").leave()
    assert parlour.visitor("alice").errors == []


def test_a_change_of_nick_is_told_to_the_others():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    parlour.wait(1)
    alice.ask("nick", nick="alicia")
    assert bob.notices[-1] == "alice is now called alicia"
    assert "alice is now called alicia" not in alice.notices


def test_a_nick_is_made_safe_and_one_that_nobody_sees_is_refused():
    parlour = Parlour()
    alice = parlour.visitor()
    assert alice.ask("nick", nick="al ice\x1b")[0]["nick"] == "al_ice\u241b"
    assert alice.ask("nick", nick="\u200b\u200b")[0]["code"] == "bad_nick"


# ---------------------------------------------------------------- rooms


def test_what_is_said_in_a_room_stays_there():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice", "", "dev", "lobby"), parlour.visitor("bob", "", "DEV")
    carol = parlour.visitor("carol")
    alice.say("dev only", "#Dev")
    alice.say("for all")
    assert (bob.texts, carol.texts, alice.texts) == (["dev only"], ["for all"], ["dev only", "for all"])
    assert bob.got("msg")[0]["room"] == "dev"
    assert "room" not in carol.got("msg")[0], "the lobby is what is meant when no room is named"


def test_whoever_says_hello_is_nowhere_until_it_joins():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor()
    (hello,) = bob.ask("hello", v=1)
    assert (hello["v"], hello["nick"]) == (1, bob.guest.nick)
    alice.say("hi")
    assert bob.texts == []
    bob.say("hi")
    assert bob.errors == ["not_in_room"]
    assert bob.ask("join", room="lobby")[0]["type"] == "joined"
    alice.say("again")
    assert bob.texts == ["again"]


def test_numbers_count_up_in_each_room_by_itself():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev", "ops")
    for room in ("dev", "ops", "dev", "dev"):
        alice.say("x", room)
    alice.ask("topic", room="dev", text="birds")
    alice.ask("edit", room="dev", id=1, text="y")
    seqs = [(line["room"], line["seq"]) for line in alice.lines() if "seq" in line and line["type"] != "joined"]
    assert seqs == [("dev", 1), ("ops", 1), ("dev", 2), ("dev", 3), ("dev", 4), ("dev", 5)]


def test_a_chunk_for_several_rooms_keeps_its_order():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "a", "b")
    msgs = [{"type": "msg", "text": f"{n}", "room": "ab"[n // 3 % 2]} for n in range(12)]
    assert alice.send(*msgs[:7], {"type": "ping", "n": 7}, *msgs[7:]) == 13
    for room in "ab":
        said = [line["text"] for line in alice.got("msg") if line["room"] == room]
        assert said == [msg["text"] for msg in msgs if msg["room"] == room]
    assert alice.got("pong") == [{"type": "pong", "n": 7}]


def test_a_newcomer_gets_nothing_that_was_said_before_it_came():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob", "", "dev")
    house, now = parlour.house, parlour.now
    house.take(alice.guest, [Msg("before")], now)
    house.take(bob.guest, [Join("lobby")], now)
    house.take(alice.guest, [Msg("after")], now)
    parlour.turn()
    assert bob.texts == ["after"]
    joined = bob.got("joined")[-1]
    assert joined["seq"] == 1


def test_a_message_that_is_sent_again_is_acknowledged_and_not_doubled():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    alice.say("hi", client_id="c1")
    assert alice.got("msg")[0]["client_id"] == "c1"
    alice.leave()
    again = parlour.visitor("alice")
    again.send(
        {"type": "msg", "text": "hi", "client_id": "c1"}, {"type": "msg", "text": "new", "client_id": "c2"},
        {"type": "msg", "text": "new", "client_id": "c2"},
    )  # fmt: skip
    assert bob.texts == ["hi", "new"]
    assert [(ack["client_id"], ack["seq"]) for ack in again.got("ack")] == [("c1", 1), ("c2", 2)]
    parlour.visitor("carol").say("other", client_id="c1")
    assert bob.texts[-1] == "other", "ids of others are no matter"


def test_whoever_resumes_gets_what_it_missed_once_and_in_order():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob", "", "lobby")
    epoch = bob.got("joined")[0]["epoch"]
    alice.send(*[{"type": "msg", "text": f"{n}"} for n in range(10)])
    assert bob.got("msg")[3]["seq"] == 4
    bob.leave()
    alice.say("10")
    alice.ask("edit", id=2, text="one")
    bob = parlour.visitor("bob", "", "dev")
    bob.ask("join", room="lobby", epoch=epoch, since=4)
    alice.say("11")
    joined = bob.got("joined")[-1]
    assert (joined["resumed"], joined["first"], joined["seq"]) == (True, 5, 12)
    seqs = [line["seq"] for line in bob.lines() if line["type"] in ("msg", "edit")]
    assert seqs == list(range(5, 14))


def test_a_member_that_joins_again_is_told_where_the_room_is_now():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev")
    epoch = alice.got("joined")[0]["epoch"]
    parlour.house.take(alice.guest, [Msg("x", "dev"), Join("dev", epoch=epoch, since=0)], parlour.now)
    parlour.turn()
    assert [line["type"] for line in alice.lines()[-3:]] == ["msg", "joined", "msg"]
    assert (alice.lines()[-2]["first"], alice.lines()[-1]["seq"]) == (1, 1)


def test_ids_and_no_ids_in_one_chunk_are_told_apart():
    parlour = Parlour()
    alice = parlour.visitor("alice")
    ids = ["", "a", "", "b", "b", "a", "c"]
    alice.send(*[{"type": "msg", "text": f"{n}", "client_id": name} for n, name in enumerate(ids)])
    alice.send(*[{"type": "msg", "text": "again", "client_id": name} for name in "abc"])
    assert alice.texts == ["0", "1", "2", "3", "6"]
    acks = [(ack["client_id"], ack["seq"]) for ack in alice.got("ack")]
    assert acks == [("b", 4), ("a", 2), ("a", 2), ("b", 4), ("c", 5)]


def test_so_many_client_ids_are_remembered_and_not_many_more():
    parlour = Parlour()
    alice = parlour.visitor("alice")
    msgs = [{"type": "msg", "text": "x", "client_id": f"{n}"} for n in range(3 * MAX_CLIENT_IDS)]
    for start in range(0, len(msgs), 500):
        alice.send(*msgs[start : start + 500])
    assert alice.send(*msgs[-MAX_CLIENT_IDS:]) == MAX_CLIENT_IDS
    assert len(alice.got("msg")) == len(msgs)
    assert len(parlour.house.rooms["lobby"]._client_ids) <= 2 * MAX_CLIENT_IDS


def test_an_id_of_a_sender_takes_no_more_memory_the_longer_it_is():
    parlour = Parlour()
    parlour.visitor("alice").send({"type": "msg", "text": "x", "client_id": "x" * 64})
    (known,) = parlour.house.rooms["lobby"]._client_ids
    assert sys.getsizeof(known) < 64


def test_what_a_room_no_longer_holds_is_said_and_found_in_the_history():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob", "", "lobby")
    epoch = bob.got("joined")[0]["epoch"]
    bob.leave()
    for _ in range(MAX_TAIL_BYTES // 10_000 + 5):
        alice.say("x" * 10_000)
    bob = parlour.visitor("bob", "", "dev")
    joined = bob.ask("join", room="lobby", epoch=epoch, since=0)[0]
    assert joined["first"] > 1
    page = bob.ask("history", before=joined["first"], limit=500)[0]
    assert [line["seq"] for line in page["messages"]] == list(range(1, joined["first"]))
    assert [line["seq"] for line in bob.got("msg")] == list(range(joined["first"], joined["seq"] + 1))


def test_another_life_of_a_room_is_not_resumed():
    parlour = Parlour()
    bob = parlour.visitor("bob", "", "dev")
    for epoch, since in (("nonsense", 0), (bob.got("joined")[0]["epoch"], 5)):
        joined = bob.ask("join", room="dev", epoch=epoch, since=since)[0]
        assert "resumed" not in joined


def test_a_page_of_long_messages_is_shorter():
    parlour = Parlour(history=MemoryHistory(most_bytes=4 * MAX_PAGE_BYTES))
    alice = parlour.visitor("alice", "", "lobby")
    text = "x" * 16_000
    for _ in range(100):
        alice.say(text)
    page = alice.ask("history", limit=100)[0]
    assert page["more"]
    assert 60 < len(page["messages"]) <= MAX_PAGE_BYTES / len(text)
    assert page["messages"][-1]["seq"] == 100
    older = alice.ask("history", limit=100, before=page["messages"][0]["seq"])[0]
    assert older["messages"][-1]["seq"] == page["messages"][0]["seq"] - 1


def test_history_comes_in_pages():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "lobby")
    for n in range(1, 31):
        alice.say(f"{n}")
    first = alice.ask("history", limit=10)[0]
    assert [line["text"] for line in first["messages"]] == [f"{n}" for n in range(21, 31)]
    second = alice.ask("history", limit=25, before=21)[0]
    assert [line["seq"] for line in second["messages"]] == list(range(1, 21))
    assert (first["more"], second.get("more", False)) == (True, False)


def test_pages_have_the_texts_of_now_and_none_of_what_was_taken_back():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "lobby")
    for text in ("teh", "secret", "same"):
        alice.say(text)
    alice.ask("edit", id=1, text="the")
    alice.ask("edit", id=2, text="still secret")
    alice.ask("edit", id=1, text="The")
    alice.ask("retract", id=2)
    alice.ask("edit", id=2, text="secret again")
    bob = parlour.visitor("bob", "", "lobby")
    page = bob.ask("history")[0]["messages"]
    assert [line.get("text") for line in page] == ["The", "", "same", "the", "", "The", None, ""]
    assert [line.get("text") for line in bob.ask("history", before=4)[0]["messages"]] == ["The", "", "same"]
    assert "secret" not in f"{bob.lines()}"


@pytest.mark.parametrize("kinds", [("history", "history"), ("history", "find"), ("find", "history"), ("find", "find")])
def test_of_pages_and_searches_one_at_a_time_is_on_its_way(kinds: tuple[str, str]):
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "lobby")
    alice.say("word")
    fields = {"history": {"type": "history"}, "find": {"type": "find", "text": "word"}}
    alice.send(*(fields[kind] for kind in kinds))
    answer = {"history": "history", "find": "found"}[kinds[0]]
    assert (alice.errors, len(alice.got(answer))) == (["busy"], 1)
    alice.send(fields[kinds[1]])
    assert alice.errors == ["busy"], "the next one after it"


def test_rooms_and_numbers_outlive_a_restart():
    first = Parlour()
    alice = first.visitor("alice", "", "dev")
    alice.say("one", "dev")
    alice.ask("topic", room="dev", text="birds")
    epoch = alice.got("joined")[0]["epoch"]
    second = Parlour(history=first.history)
    alice = second.visitor("alice", "", "ops")
    joined = alice.ask("join", room="dev", epoch=epoch, since=2)[0]
    assert (joined["epoch"], joined["seq"], joined["topic"], joined["resumed"]) == (epoch, 2, "birds", True)
    alice.say("two", "dev")
    assert alice.got("msg")[-1]["seq"] == 3


def test_a_password_locks_a_room():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice", "", "lobby"), parlour.visitor("bob", "", "lobby")
    alice.ask("join", room="dev", password="swan")
    assert alice.got("joined")[-1]["room"] == "lobby", "not before it is hashed"
    parlour.unlock()
    assert alice.got("joined")[-1]["room"] == "dev"
    assert bob.ask("join", room="dev")[0]["code"] == "locked"
    for word in ("goose", "swan"):
        bob.ask("join", room="dev", password=word)
        parlour.unlock()
    assert bob.errors == ["locked", "wrong_password"]
    assert bob.got("joined")[-1]["room"] == "dev"
    assert bob.ask("rooms")[0]["rooms"][1] == {"room": "dev", "members": 2, "locked": True}


def test_a_password_hashed_for_nothing_does_not_open_a_room_that_somebody_else_made():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice", "", "lobby"), parlour.visitor("bob", "", "lobby")
    alice.ask("join", room="dev", password="swan")
    bob.ask("join", room="dev", password="goose")
    parlour.unlock()
    assert bob.errors == ["wrong_password"]
    assert [one["room"] for one in bob.got("joined")] == ["lobby"]


def test_who_and_rooms_tell_who_is_where():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev", "lobby")
    parlour.visitor("bob")
    parlour.visitor("carol")
    assert [one["room"] for one in alice.ask("rooms")[0]["rooms"]] == ["lobby", "dev"]
    who = alice.ask("who", room="dev")[0]
    assert (who["count"], who["members"]) == (1, [{"nick": "alice", "operator": True}])
    assert alice.ask("who", room="elsewhere")[0]["code"] == "not_in_room"


def test_leaving_is_told_and_ends_what_one_hears():
    parlour = Parlour()
    bob = parlour.visitor("bob", "", "dev")
    parlour.wait(1)
    alice = parlour.visitor("alice", "", "dev")
    parlour.wait(1)
    assert bob.ask("leave", room="dev")[0] == {"type": "left", "room": "dev"}
    parlour.wait(1)
    alice.say("x", "dev")
    assert (bob.texts, alice.notices) == ([], ["bob left"])
    assert bob.ask("leave", room="dev")[0]["code"] == "not_in_room"


def test_a_room_that_nobody_left_anything_in_is_forgotten():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev", "ops")
    alice.say("x", "ops")
    alice.leave()
    assert set(parlour.house.rooms) == {"lobby", "ops"}
    bob = parlour.visitor()
    bob.ask("join", room="den")
    bob.ask("hello", v=1)
    assert "den" not in parlour.house.rooms
    bob.ask("join", room="den")
    bob.ask("kick", room="den", nick=bob.guest.nick)
    assert bob.got("left")[-1]["code"] == "kicked"
    assert set(parlour.house.rooms) == {"lobby", "ops"}, "whatever way the last one goes"


# ---------------------------------------------------------------- messages, afterwards


def test_only_the_author_edits_and_only_author_or_operator_retracts():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice", "", "dev"), parlour.visitor("bob", "", "dev")
    bob.say("teh", "dev")
    assert bob.ask("edit", room="dev", id=1, text="the")[0]["text"] == "the"
    assert alice.ask("edit", room="dev", id=1, text="mine")[0]["code"] == "not_yours"
    alice.say("mine", "dev")
    assert bob.ask("retract", room="dev", id=3)[0]["code"] == "not_yours"
    assert bob.ask("retract", room="dev", id=9)[0]["code"] == "not_yours"
    assert alice.ask("retract", room="dev", id=9)[0]["code"] == "not_yours", "there is none, for operators either"
    assert alice.ask("retract", room="dev", id=1)[0]["id"] == 1
    assert bob.ask("react", room="dev", id=3, emoji="\U0001f44b")[0]["emoji"] == "\U0001f44b"
    assert bob.ask("react", room="dev", id=30, emoji="x")[0]["code"] == "no_message"


def test_typing_is_told_to_the_others_now_and_then():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    for _ in range(5):
        alice.ask("typing")
    parlour.wait(TYPING_SECONDS)
    alice.ask("typing")
    assert (len(bob.got("typing")), alice.got("typing")) == (2, [])


# ---------------------------------------------------------------- coming and going


def test_comings_wait_for_the_next_message_and_no_longer_than_a_moment():
    parlour = Parlour()
    bob = parlour.visitor("bob")
    parlour.wait(1)
    alice = parlour.visitor("alice")
    assert bob.notices == []
    alice.say("hi")
    assert [line["type"] for line in bob.lines()[-2:]] == ["notice", "msg"]
    carol = parlour.visitor("carol")
    assert parlour.house.deadline() == parlour.now.mono + PRESENCE_DELAY
    parlour.wait(PRESENCE_DELAY)
    assert bob.notices == ["alice joined", "carol joined"]
    assert parlour.house.deadline() is None
    assert carol.notices == []


def test_those_who_come_together_are_told_of_each_other_and_not_of_themselves():
    parlour = Parlour()
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    parlour.wait(1)
    assert (alice.notices, bob.notices) == (["bob joined"], ["alice joined"])


def test_whoever_comes_is_not_told_of_those_who_were_gone_by_then():
    parlour = Parlour()
    alice, bob, eve = (parlour.visitor(nick, "", "lobby") for nick in ("alice", "bob", "eve"))
    parlour.wait(1)
    before = len(alice.notices)
    eve.leave()
    again = parlour.visitor("eve", "", "lobby")
    bob.leave()
    parlour.wait(1)
    assert alice.notices[before:] == ["eve left", "bob left", "eve joined"]
    assert again.notices == ["bob left"]


def test_whoever_is_gone_before_it_was_told_was_never_there():
    parlour = Parlour()
    bob = parlour.visitor("bob")
    parlour.wait(1)
    parlour.visitor("alice").leave()
    parlour.wait(1)
    assert bob.notices == []


def test_a_crowd_at_the_door_is_one_line():
    parlour = Parlour()
    bob = parlour.visitor("bob")
    parlour.wait(1)
    crowd = [parlour.visitor(f"guest{n}") for n in range(20)]
    parlour.wait(1)
    (notice,) = bob.got("notice")
    assert notice["text"] == "guest0, guest1, guest2 and 17 more joined"
    assert (len(notice["joined"]), notice["members"]) == (20, 21)
    for guest in crowd:
        guest.leave()
    parlour.wait(1)
    assert bob.notices[-1] == "guest0, guest1, guest2 and 17 more left"


def test_in_a_crowd_only_numbers_are_told():
    parlour = Parlour()
    crowd = [parlour.visitor(f"guest{n}") for n in range(CROWD + 2)]
    parlour.wait(1)
    notice = crowd[0].got("notice")[-1]
    assert notice == {"type": "notice", "text": f"{CROWD + 2} joined", "ts": WALL + 1, "members": CROWD + 2}
    crowd[5].leave("too slow")
    parlour.wait(1)
    assert crowd[0].notices[-1] == "guest5 left"


def test_a_crowd_waits_longer_and_small_rooms_do_not_wait_with_it():
    parlour = Parlour()
    crowd = [parlour.visitor(f"guest{n}", "", "lobby") for n in range(CROWD + 1)]
    bob = parlour.visitor("bob", "", "lobby", "dev")
    parlour.wait(1)
    before = len(crowd[0].notices)
    parlour.visitor("alice", "", "lobby", "dev")
    parlour.wait(PRESENCE_DELAY)
    assert (crowd[0].notices[before:], bob.notices[-1]) == ([], "alice joined"), "only dev was told"
    parlour.visitor("carol", "", "lobby")
    parlour.wait(CROWD_DELAY - PRESENCE_DELAY)
    assert crowd[0].notices[before:] == ["2 joined"], "both at once"
    assert parlour.house.deadline() is None


# ---------------------------------------------------------------- limits


def held(parlour: Parlour, visitor: Visitor, lines: list[dict[str, object]]) -> list[float]:
    """Bring lines until all are taken, as a connection does; the waits between."""
    waits: list[float] = []
    while True:
        lines = lines[visitor.send(*lines) :]
        if not lines:
            return waits
        (ask,) = decode_chunk(json.dumps(lines[0]).encode() + b"\n")
        waits.append(parlour.house.wait(visitor.guest, ask, parlour.now))
        parlour.wait(waits[-1])


def test_a_guest_that_is_too_fast_waits_and_loses_nothing():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, guest_pace=Pace(10, 30)))
    alice, bob = parlour.visitor(), parlour.visitor()
    waits = held(parlour, alice, [{"type": "msg", "text": f"{n}"} for n in range(100)])
    assert bob.texts == [f"{n}" for n in range(100)]
    assert 6.5 < sum(waits) < 7.5, "30 at once, then 10 a second"
    assert len(bob.errors) == len(alice.errors) == 0


def test_costly_lines_wait_as_well_even_with_a_small_allowance():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, guest_pace=Pace(10, 3)))
    alice = parlour.visitor()
    held(parlour, alice, [{"type": "rooms"}] * 5)
    assert len(alice.got("rooms")) == 5


def test_an_address_and_a_room_have_an_allowance_of_their_own():
    for settings in (
        ChatSettings(guest_pace=FAST, address_pace=Pace(10, 30), room_pace=FAST),
        ChatSettings(guest_pace=FAST, address_pace=FAST, room_pace=Pace(10, 30)),
    ):
        parlour = Parlour(settings)
        one, two = parlour.visitor("", "192.0.2.1"), parlour.visitor("", "192.0.2.1")
        msgs: list[dict[str, object]] = [{"type": "msg", "text": "x"}] * 25
        assert one.send(*msgs) == 25
        assert two.send(*msgs) == 5
        assert len(one.texts) == 30


def test_what_the_address_refuses_is_not_taken_from_the_guest():
    parlour = Parlour(ChatSettings(guest_pace=Pace(1, 100), address_pace=Pace(1000, 10), room_pace=FAST))
    alice = parlour.visitor("", "192.0.2.1")
    for _ in range(10):
        assert alice.send(*[{"type": "msg", "text": "x"}] * 50) == 10
        parlour.wait(0.02)
    assert alice.send({"type": "msg", "text": "x"}) == 0, "its own hundred are used up"


def test_connections_are_counted_in_all_and_by_address():
    parlour = Parlour(ChatSettings(connections=3, connections_an_address=2))
    one = parlour.visitor("", "192.0.2.1")
    parlour.visitor("", "192.0.2.1")

    def refused(address: str) -> str:
        try:
            parlour.visitor("", address)
        except Full as exc:
            return str(exc)
        return ""

    assert "your address" in refused("192.0.2.1")
    one.leave()
    assert refused("192.0.2.1") == refused("") == ""
    assert "full" in refused("192.0.2.2")


def test_rooms_are_counted_in_all_and_by_guest():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, rooms=MAX_ROOMS_A_GUEST + 3))
    alice, bob = parlour.visitor("alice", "", "lobby"), parlour.visitor("bob", "", "lobby")
    for n in range(MAX_ROOMS_A_GUEST):
        alice.ask("join", room=f"r{n}")
    assert alice.errors == ["too_many_rooms"]
    for n in range(5):
        bob.ask("join", room=f"s{n}")
    assert bob.errors == ["too_many_rooms"] * 2
    bob.say("kept", "s0")
    bob.ask("leave", room="s0")
    assert "s0" in parlour.house.rooms, "something was said in it"
    assert bob.ask("join", room="s3")[0]["type"] == "joined", "a room that nobody is in makes place"


def test_a_full_room_lets_nobody_in():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, guests_a_room=1))
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob")
    alice.say("alone")
    assert bob.texts == []
    assert bob.ask("join", room="lobby")[0]["code"] == "room_full"


def test_memory_stays_flat_while_guests_come_and_go():
    parlour = Parlour(ChatSettings(address_pace=Pace(1e6, 1e6), guest_pace=FAST, room_pace=FAST))
    sizes = []
    for number in range(10):
        crowd = [parlour.visitor(f"guest{n}", f"192.0.2.{n % 250}", "lobby", f"room{n % 20}") for n in range(500)]
        crowd[0].say(f"round {number}")
        for guest in crowd:
            guest.leave()
        parlour.wait(2 / ROOMS_MADE.rate)
        parlour.house.forget_addresses(parlour.now)
        house = parlour.house
        assert (len(house.guests), len(house._addresses), len(house._said)) == (0, 0, 0)
        assert not any(house._presence.values())
        sizes.append(len(house.rooms))
        assert all(isinstance(room, Room) and not room.members and not room.makers for room in house.rooms.values())
    assert set(sizes) == {1}
