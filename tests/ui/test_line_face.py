"""Line mode in one process: what commands do, and what people see of each other."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandpiper.core.events import Forked, Gap
from sandpiper.crypto.rooms import open_room
from sandpiper.faces.terminal import Ended, TooLong
from sandpiper.node import NodeNotice, PlainMessage, PlainPeer, Problem
from sandpiper.store.reader import Reader
from sandpiper.wire.ids import PeerKey, RecordId, short
from sandpiper.wire.limits import MAX_TEXT_CHARS
from tests.ui.people import Person, person

Pair = tuple[Person, Person]


@pytest.fixture
async def alice(tmp_path: Path) -> AsyncIterator[Person]:
    async with person("alice", tmp_path) as alice:
        yield alice


@pytest.fixture
async def pair(tmp_path: Path, alice: Person) -> AsyncIterator[Pair]:
    async with person("bob", tmp_path, alice) as bob:
        for both in (alice, bob):
            await both.sees(" is here (lan)")
        yield alice, bob


# ---------------------------------------------------------------- talking


async def test_what_one_says_both_see_once(pair: Pair):
    alice, bob = pair
    alice.type("hello bob")
    await bob.sees("alice: hello bob")
    bob.type("hello alice", "/me waves")
    await alice.sees("* bob waves")
    assert [line for line in alice.lines if "·" not in line] == ["alice: hello bob", "bob: hello alice", "* bob waves"]
    assert [line for line in bob.lines if "·" not in line] == ["alice: hello bob", "bob: hello alice", "* bob waves"]


async def test_a_slash_is_sent_only_when_it_is_doubled(pair: Pair):
    alice, bob = pair
    alice.type("/hello", "//hello", "end")
    await bob.sees("alice: end")
    assert "alice: /hello" in bob.lines
    assert "There is no command /hello; nothing was sent. Did you mean /help?" in alice.paper.aside
    assert sum("hello" in line for line in bob.lines) == 1


async def test_replies_edits_reactions_and_deletions_reach_the_other_side(pair: Pair):
    alice, bob = pair
    alice.type("how are you?")
    await bob.sees("how are you?")
    bob.type("/reply ^ fine", "/react @alice 👍")
    await alice.sees("bob: «alice: how are you?» fine", "bob put 👍 on «alice: how are you?»")
    bob.type("/react @alice 👍", "/edit ^ very well", "/edit splendid")
    await alice.sees("bob took 👍 off «alice: how are you?»", "bob edited «bob: fine» to: very well")
    await alice.sees("bob edited «bob: very well» to: splendid")
    bob.type("/delete")
    await alice.sees("bob deleted the message of")
    alice.type("/history")
    await alice.sees("bob: «alice: how are you?» (deleted)")


async def test_an_answer_to_a_message_deleted_meanwhile_is_not_sent(pair: Pair):
    alice, bob = pair
    alice.type("one", "two")
    await bob.sees("alice: two")
    with bob.node.reader() as reader:
        [two] = [message for message in reader.page(open_room("general")) if message.text == "two"]
    alice.type("/delete")
    await bob.sees("alice deleted the message of")
    bob.type(f"/reply {two.id.hex()} mine", f"/reply {'0' * 64} other", f"/reply {two.id.hex()[:8]} third", "end")
    await alice.sees("bob: end")
    assert "That message was deleted." in bob.paper.aside
    assert not any("mine" in line or "other" in line or "third" in line for line in alice.lines)


async def test_only_the_author_can_change_a_message(pair: Pair):
    alice, bob = pair
    alice.type("mine")
    await bob.sees("alice: mine")
    bob.type("/edit @alice yours", "/delete ^")
    await bob.sees("! There is no such message in this room.")
    bob.type("/history")
    listed = re.compile(r"(?m)^([0-9a-f]{6}) \d\d:\d\d alice: mine$")
    await bob.until(lambda me: listed.search(me.paper.out))
    [shown] = listed.findall(bob.paper.out)
    bob.type(f"/edit {shown} yours")
    await bob.sees("! That message is alice's: only its author can change it.")
    assert "yours" not in alice.paper.out


async def test_messages_are_named_by_caret_number_id_and_author(pair: Pair):
    alice, bob = pair
    alice.type("one", "two", "three")
    await bob.sees("alice: three")
    bob.type("mine", "/reply ^2 to three", "/reply ^5 to one", "/reply @alice to her last", "/reply ^99 no", "/reply")
    await bob.sees("«alice: three» to three", "«alice: one» to one", "«alice: three» to her last")
    await bob.sees("There is no such message in this room.", "/reply needs TEXT. Usage: /reply [MESSAGE] TEXT")


async def test_a_direct_message_is_seen_by_its_two_and_nobody_else(pair: Pair, tmp_path: Path):
    alice, bob = pair
    async with person("carol", tmp_path, alice, bob) as carol:
        alice.type("/msg bob psst", "to all")
        await bob.sees("alice → you: psst")
        await alice.sees("you → bob: psst")
        await carol.sees("alice: to all")
        assert "psst" not in carol.paper.out
        bob.type("/msg alice", "answer", "/join #general", "public")
        await alice.sees("bob → you: answer", "bob: public")
        await carol.sees("bob: public")
        assert "answer" not in carol.paper.out


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/msg nobody hi", "Nobody is called nobody here."),
        ("/msg bpb hi", "Did you mean bob?"),
        ("/msg alice hi", "That is you."),
        ("/nick two words", "is too much for /nick"),
        ("/nick @x", "cannot be used"),
        ("/join #!", "The room name '#!' cannot be used"),
        ("/leave #nowhere", "You are not in #nowhere. You are in: #general"),
        ("/react ^ no emoji here", "is too much for /react"),
        ("/history 0", "'0' is not a number from 1 to 1000."),
        ("/connect nowhere", "is not an address"),
        ("/unignore bob", "You do not ignore bob."),
        ("/ignore alice", "That is you."),
        ("/away", "You are not away."),
        ("/help nope", "There is no command /nope"),
        ("/edit nothing said yet", "There is no such message in this room."),
        ("/edit beef hello", "No message here has an id that begins with beef."),
        ("/search  ", "/search needs WORDS."),
        ("x" * (MAX_TEXT_CHARS + 1), "16,001 characters; 16,000 is the most. It was not sent."),
    ],
)
async def test_what_cannot_be_done_is_said_with_its_reason(pair: Pair, line: str, complaint: str):
    _, bob = pair
    alice = pair[0]
    alice.type(line, "still here")
    await bob.sees("alice: still here")
    assert complaint in alice.paper.aside
    assert [one for one in bob.lines if "·" not in one] == ["alice: still here"]


# ---------------------------------------------------------------- people


async def test_who_shows_the_others_their_paths_and_away_messages(pair: Pair):
    alice, bob = pair
    bob.type("/away lunch")
    await alice.sees("bob is away: lunch")
    alice.type("/who", "/whois bob", "/users")
    await alice.sees("#general: 1 other is here.", "  bob  lan ", "away: lunch", bob.node.key.hex()[:8])
    bob.type("/away")
    await alice.sees("bob is back")


async def test_a_new_nick_is_seen_by_the_others_and_kept(pair: Pair, tmp_path: Path):
    alice, bob = pair
    bob.type("/nick bobby")
    await alice.sees("bob is called bobby now")
    bob.type("it is me")
    await alice.sees("bobby: it is me")
    assert '"bobby"' in (tmp_path / "bob" / "profiles" / "bob" / "profile.json").read_text()


async def test_two_of_one_name_never_look_alike(pair: Pair):
    alice, bob = pair
    bob.type("/nick alice", "hello")
    suffix = bob.node.key[:2].hex()
    await alice.sees(f"bob is called alice~{suffix} now", f"alice~{suffix}: hello")
    await bob.sees("others see some digits of your key behind it")


async def test_who_is_ignored_is_not_seen_until_unignored(pair: Pair):
    alice, bob = pair
    alice.type("/ignore bob")
    await alice.sees("You no longer see what bob says.")
    bob.type("nonsense", "/me rants", "/topic rubbish")
    await bob.sees("set the topic: rubbish")
    alice.type("/ignore", "/unignore bob")
    await alice.sees("You ignore: bob", "You see what bob says again.")
    bob.type("sense")
    await alice.sees("bob: sense")
    assert "nonsense" not in alice.paper.out
    assert "rants" not in alice.paper.out


async def test_who_leaves_is_missed(pair: Pair, tmp_path: Path):
    alice, _ = pair
    async with person("carol", tmp_path, alice):
        await alice.sees("carol is here")
    await alice.sees("carol is gone")


async def test_whois_tells_all_that_is_known(pair: Pair):
    alice, bob = pair
    bob.type("/away at sea", "/msg alice hi")
    await alice.sees("bob is away: at sea", "bob → you: hi")
    alice.type("/ignore bob", "/whois bob", "/whois alice", "/who @bob")
    await alice.sees(
        "  away      at sea", "  rooms     #general @bob", "first met", "You ignore bob; to hear them again"
    )
    await alice.sees("alice is you", "@bob: 1 other is here.", "ignored")


async def test_the_digits_of_a_key_are_a_name_too(pair: Pair):
    alice, bob = pair
    alice.type(f"/msg {bob.node.key.hex()[:8]} psst", "/join @bob", "more")
    await bob.sees("alice → you: psst", "alice → you: more")


# ---------------------------------------------------------------- the old dialect, and what goes wrong

OLGA = PeerKey(b"o" * 32)
PLAIN_MESSAGE = PlainMessage(open_room("general"), RecordId(b"m" * 32), OLGA, "olga", 1_795_257_000_123, "ahoy")


async def test_plain_peers_are_marked_wherever_they_are_shown(alice: Person):
    alice.face.notice(PlainPeer(OLGA, "olga", linked=True))
    alice.face.notice(PLAIN_MESSAGE)
    await alice.sees("olga [plain] is here", "olga [plain]: ahoy")
    alice.type("/who", "/whois olga", "/msg olga psst", "/status", "hello")
    await alice.sees(
        "  olga [plain]", "speaks the old p2pchat dialect", "which has no direct messages", "olga: old dialect"
    )
    await alice.sees("alice: hello")
    assert "Nobody else is in" not in alice.paper.aside, "she hears it"
    alice.type("/edit hi")
    await alice.sees("Peers marked [plain] still see it as it was")
    alice.type("/ignore olga")
    await alice.sees("You no longer see what olga [plain] says.")
    alice.face.notice(PLAIN_MESSAGE)
    alice.face.notice(PlainPeer(OLGA, "olga", linked=False))
    assert alice.paper.out.count("ahoy") == 1


async def test_programs_get_plain_peers_marked_too(tmp_path: Path):
    async with person("alice", tmp_path, json=True) as alice:
        alice.face.notice(PlainPeer(OLGA, "olga", linked=True))
        alice.face.notice(PLAIN_MESSAGE)
        [peer], [message] = alice.events("peer"), alice.events("message")
        assert (peer["nick"], peer["plain"], peer["state"]) == ("olga", True, "linked")
        assert (message["nick"], message["plain"], message["seq"], message["text"]) == ("olga", True, 0, "ahoy")
        assert message["time"] == "2026-11-21T10:30:00.123Z"


ROOM = open_room("general")
TROUBLES: list[NodeNotice] = [
    Gap(ROOM, OLGA, 2),
    Gap(ROOM, OLGA, 0),
    Forked(ROOM, OLGA, 7),
    Problem("clock_skew", "The clock of olga is 99 s ahead of this one.", "Times shown may be wrong."),
]


async def test_gaps_forks_and_problems_are_told(tmp_path: Path, alice: Person):
    name = short(OLGA)
    for notice in TROUBLES:
        alice.face.notice(notice)
    assert [line for line in alice.lines if "·" in line] == [
        f"· 2 messages from {name} missing, fetching",
        f"· Nothing is missing from {name} any more",
    ]
    assert f"! {name} signed two different records as number 7: the key is used twice" in alice.paper.aside
    assert "! The clock of olga is 99 s ahead of this one. Times shown may be wrong." in alice.paper.aside
    async with person("bob", tmp_path, json=True) as bob:
        for notice in TROUBLES:
            bob.face.notice(notice)
        assert [event["missing"] for event in bob.events("gap")] == [2, 0]
        assert [event["code"] for event in bob.events("error")] == ["clock_skew"]
        assert [event["code"] for event in bob.events("notice")] == ["forked"]


# ---------------------------------------------------------------- rooms and history


async def test_rooms_are_joined_left_and_named_in_lines_of_other_rooms(pair: Pair):
    alice, bob = pair
    alice.type("/join #Dev", "in dev", "/topic code")
    await alice.sees("You joined #dev, with nobody else yet. OPEN: anyone on this network can join and read along.")
    bob.type("/join dev", "/join #general", "/who #dev")
    await bob.sees("#dev: 1 other is here.", "alice: in dev")
    alice.type("again in dev", "/join #general", "/rooms")
    await bob.sees("#dev alice: again in dev")
    await alice.sees("> #general  OPEN  1 other here", "  #dev  OPEN  1 other here  code")
    alice.type("/leave #dev")
    await alice.sees("You left #dev; its history stays.")
    bob.type("/leave", "/leave", "hello?")
    await bob.sees("! You are in no room. Join one: /join #general")


async def test_the_topic_is_shown_set_and_taken_away(pair: Pair):
    alice, bob = pair
    alice.type("/topic", "/topic tides and crew")
    await alice.sees("There is no topic yet.")
    await bob.sees("alice set the topic: tides and crew")
    bob.type("/topic", "/topic -")
    await bob.sees("The topic of #general: tides and crew")
    await alice.sees("bob took the topic away")


async def test_history_pages_back_and_search_finds(alice: Person):
    alice.type(*(f"message {number}" for number in range(30)), "a pizza on friday")
    await alice.sees("a pizza on friday")
    before = len(alice.lines)
    alice.type("/history 3")
    await alice.until(lambda me: len(me.lines) >= before + 4)
    *shown, older = alice.lines[before:]
    assert [line.split(": ")[1] for line in shown] == ["message 28", "message 29", "a pizza on friday"]
    alice.type(older.removeprefix("Older ones: "))
    await alice.until(lambda me: len(me.lines) >= before + 8)
    assert [line.split(": ")[1] for line in alice.lines[before + 4 : before + 7]] == [
        f"message {n}" for n in (25, 26, 27)
    ]
    found = len(alice.lines)
    alice.type("/search pizza fri", "/search nothing")
    await alice.sees("No message here has: nothing")
    assert [line.split(": ")[1] for line in alice.lines[found : found + 1]] == ["a pizza on friday"]


async def test_status_tells_who_we_are_and_what_is_linked(pair: Pair):
    alice, _ = pair
    alice.type("/status")
    await alice.sees("alice, profile alice", "1: bob lan", "security", str(alice.node.port))


async def test_connect_links_and_says_when_nobody_answers(
    tmp_path: Path, alice: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sandpiper.faces.places.CONNECT_SECONDS", 0.05)
    async with person("bob", tmp_path, linked=False) as bob:
        bob.type(f"/connect 127.0.0.1:{alice.node.port}")
        await bob.sees("alice is here")
        bob.type("/connect 127.0.0.1:1")
        await bob.sees("Nobody has answered at 127.0.0.1:1 yet")


async def test_help_lists_every_command_and_explains_one(alice: Person):
    alice.type("/help", "/help edit", "/clear")
    await alice.sees("/edit [MESSAGE] TEXT", "/quit", "MESSAGE: ^ the last")
    await alice.until(lambda me: me.paper.cleared)


async def test_quit_ends_the_face(alice: Person):
    alice.type("/quit", "never said")
    assert await alice.living == "quit"
    assert "never said" not in alice.paper.out


async def test_a_line_too_long_is_refused_and_the_next_is_taken(alice: Person):
    alice.paper._inputs.put_nowait(TooLong())
    alice.type("short")
    await alice.sees("longer than 64 KiB and was not sent", "alice: short")


# ---------------------------------------------------------------- the start and the end


async def test_the_start_says_who_we_are_and_how_safe_it_is(alice: Person):
    assert "Sandpiper" in alice.paper.aside
    assert "you are alice · profile alice · key" in alice.paper.aside
    assert "OPEN #general: anyone on this network can join and read along." in alice.paper.aside
    await alice.sees("Nobody here yet.", f"sandpiper --peer 127.0.0.1:{alice.node.port}")


async def test_a_person_at_a_prompt_gets_the_last_messages_and_a_hint_line(tmp_path: Path):
    async with person("alice", tmp_path) as alice:
        alice.type("from yesterday")
        await alice.sees("alice: from yesterday")
    async with person("alice", tmp_path, interactive=True) as alice:
        assert alice.lines == ["alice: from yesterday"]
        assert "/help lists the commands" in alice.paper.aside
        assert alice.paper.state.room == "#general"
        alice.type("/who")
        await alice.sees("▸ /who", "#general: nobody else is here.")


async def test_a_quiet_face_shows_messages_and_errors_only(tmp_path: Path, alice: Person):
    async with person("bob", tmp_path, alice, quiet=True) as bob:
        alice.type("hello")
        bob.type("/nope")
        await bob.sees("alice: hello", "! There is no command /nope")
        assert bob.lines == ["alice: hello"]
        assert bob.paper.aside.count("\n") == 1


async def test_nobody_is_told_once_that_nobody_listens(alice: Person):
    alice.type("one", "two", "three")
    await alice.sees("alice: three")
    assert alice.paper.aside.count("Nobody else is in #general now.") == 1


async def test_the_end_of_input_waits_for_delivery(pair: Pair):
    alice, bob = pair
    alice.type(*(f"message {number}" for number in range(50)))
    alice.paper.end(Ended("eof"))
    assert await alice.living == "eof"
    assert alice.node.undelivered() == 0
    assert "not with everybody" not in alice.paper.aside
    await bob.sees("alice: message 49")


async def test_the_end_of_input_says_what_was_not_delivered(tmp_path: Path):
    async with person("alice", tmp_path, linger=0.0) as alice:
        alice.type("anybody?")
        alice.paper.end(Ended("eof"))
        assert await alice.living == "eof"
        assert "Nobody was in #general to receive what you sent. It is kept, and goes out" in alice.paper.aside


async def test_the_end_of_input_waits_for_a_first_peer(tmp_path: Path):
    async with person("alice", tmp_path, linger=20.0) as alice:
        alice.type("anybody?")
        alice.paper.end(Ended("eof"))
        async with person("bob", tmp_path, alice, linked=False) as bob:
            await bob.sees("alice: anybody?")
            assert await alice.living == "eof"


async def test_without_anything_sent_the_end_of_input_is_the_end(alice: Person):
    alice.paper.end(Ended("eof"))
    async with asyncio.timeout(1):
        assert await alice.living == "eof"


async def test_a_late_joiner_sees_the_newest_and_a_count_of_the_rest(tmp_path: Path, alice: Person):
    said = [f"message {number}" for number in range(400)]
    alice.type(*said)
    await alice.sees("message 399")
    async with person("bob", tmp_path, alice) as bob:
        await bob.sees("older messages are here now: /history")
        shown = [line.removeprefix("alice: ") for line in bob.lines if line.startswith("alice: ")]
        assert shown == said[-len(shown) :]
        assert 50 <= len(shown) <= 150
        assert f"{400 - len(shown)} older messages are here now" in bob.paper.aside
        with bob.node.reader() as reader:
            assert [one.text for one in reader.everything(bob.node.rooms()[0].id)] == said


# ---------------------------------------------------------------- JSON


async def test_programs_get_every_event(tmp_path: Path, alice: Person):
    async with person("bob", tmp_path, alice, json=True) as bob:
        bob.type("/me waves")  # when this is there, both know what the other has, and what follows is live
        await bob.until(lambda me: any(event["delivered"] for event in me.events("delivery")))
        alice.type("hello", "/react ^ 👍", "/edit hi", "/topic tides", "/nick al", "/away lunch", "/away", "/delete")
        await bob.until(lambda me: me.events("retract"))
        bob.type("/nope", "/join #dev")
        await bob.until(lambda me: me.events("room"))
        first = bob.events()[0]
        assert (first["event"], first["nick"], first["rooms"]) == ("ready", "bob", ["#general"])
        [peer] = bob.events("peer")
        assert (peer["nick"], peer["state"], peer["path"], peer["rooms"]) == ("alice", "linked", "lan", ["#general"])
        waves, hello = bob.events("message")
        assert (hello["text"], hello["mine"], hello["history"]) == ("hello", False, False)
        assert (waves["text"], waves["mine"], waves["action"]) == ("waves", True, True)
        for kind in ("react", "edit", "retract"):
            [change] = bob.events(kind)
            assert change["id"] == hello["id"]
        assert [event["change"] for event in bob.events("member")] == ["renamed", "away", "back"]
        assert {event["id"] for event in bob.events("delivery")} == {waves["id"]}
        [error] = bob.events("error")
        assert (error["code"], bool(error["hint"])) == ("no_command", True)
        assert bob.events("room")[0]["room"] == "#dev"
        assert bob.events("topic")[0]["text"] == "tides"


async def test_programs_get_all_of_the_history_marked_as_such(tmp_path: Path, alice: Person):
    alice.type(*(f"message {number}" for number in range(400)))
    await alice.sees("message 399")
    async with person("bob", tmp_path, alice, json=True) as bob:
        await bob.until(lambda me: len(me.events("message")) == 400)
        assert all(event["history"] for event in bob.events("message"))
        assert [event["text"] for event in bob.events("message")[:50]] == [f"message {n}" for n in range(300, 350)]
        alice.type("live")
        await bob.until(lambda me: len(me.events("message")) == 401)
        assert bob.events("message")[-1]["history"] is False
        codes = [event["code"] for event in bob.events("notice")]
        assert codes[-1] == "caught_up"


async def test_a_damaged_history_is_told_after_the_start(tmp_path: Path):
    async with person("alice", tmp_path):
        pass
    (tmp_path / "alice" / "profiles" / "alice" / "history.db").write_bytes(b"rubbish" * 1000)
    async with person("alice", tmp_path, json=True) as alice:
        assert [event["event"] for event in alice.events()][:2] == ["ready", "error"]
        assert alice.events("error")[0]["code"] == "damaged"
    with Reader(tmp_path / "alice" / "profiles" / "alice" / "history.db") as reader:
        assert reader.rooms()
