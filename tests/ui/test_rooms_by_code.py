"""Private rooms by code as people use them: real processes, a real relay, and no LAN between them unless it is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.program import SANDPIPER, Program
from tests.relayed import Relayed, free_port
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USUAL = ("--plain", "--json", "--no-input", "--interface", "lo")
CODE = re.compile(r"[a-z]+-[a-z]+-[1-9][0-9]*")


class Person(Program):
    """`sandpiper create`, `join` or nothing, by somebody in a home of their own."""

    def __init__(
        self,
        nick: str,
        home: Path,
        *command: str,
        relay: str = "",
        multicast: str = "",
        env: dict[str, str] | None = None,
    ) -> None:
        lan = ("--multicast", multicast) if multicast else ("--no-multicast",)
        ways = ("--relay", relay) if relay else ()
        super().__init__(
            nick, home, command=(str(SANDPIPER), *command, *USUAL, "--nick", nick, *lan, *ways), env=env or {}
        )

    @property
    def code(self) -> str:
        """The code that it was told."""
        self.wait(lambda me: any(room.get("code") for room in me.of("room")), 30, "a code")
        found = next(room["code"] for room in self.of("room") if room.get("code"))
        assert CODE.fullmatch(found)
        return str(found)

    def meets(self, nick: str, path: str, seconds: float = 30) -> None:
        """Wait until somebody is linked over this path."""
        self.wait(
            lambda me: any((p["nick"], p["state"], p["path"]) == (nick, "linked", path) for p in me.of("peer")),
            seconds,
            f"{nick} over {path}",
        )

    def fails(self, code: str, exit_code: int) -> dict[str, Any]:
        """Wait for its end; the error, which is this."""
        assert self.ended(40) == exit_code, self.told()
        self._read_all()
        error = self.of("error")[-1]
        assert error["code"] == code
        assert error["hint"]
        return error


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield served
        served.unharmed()


def at(relay: Relayed) -> str:
    return f"{HOST}:{relay.port}"


def wrong(code: str) -> str:
    """The same number with other words."""
    one, other, number = code.split("-")
    return f"{other}-{one}-{number}" if one != other else f"zebra-{other}-{number}"


def test_a_code_leads_into_a_room_and_both_come_back_without_one(tmp_path: Path, relay: Relayed) -> None:
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    with Person("alice", alice, "create", "birds", relay=at(relay)) as host:
        host.say("before you came")
        host.shows("before you came")
        with Person("bob", bob, "join", host.code, relay=at(relay)) as guest:
            guest.shows("before you came", 30)
            guest.meets("alice", "relay")
            guest.say("hello alice")
            host.shows("hello alice", 30)
            host.say("hello bob")
            guest.shows("hello bob", 30)
            assert all(event["room"] == "#birds" for event in guest.of("message"))
            assert guest.ready().of("ready")[0]["rooms"] == ["#general", "#birds"]
    # Without a code, and without naming the relay: it is remembered with the room.
    with Person("alice", alice, "--room", "birds") as host, Person("bob", bob) as guest:
        host.meets("bob", "relay")
        guest.meets("alice", "relay")
        host.say("here again")
        guest.shows("here again", 30)
        guest.say("/join #birds", "me too")
        host.shows("me too", 30)
        assert {event["room"] for event in (*host.of("message"), *guest.of("message"))} == {"#birds"}
        assert host.of("ready")[0]["rooms"] == ["#general", "#birds"]


def test_who_can_be_reached_nearer_is_and_nothing_is_lost_or_doubled(tmp_path: Path, relay: Relayed) -> None:
    with (
        Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as host,
        Person("bob", tmp_path / "bob", "join", host.code, relay=at(relay)) as guest,
    ):
        guest.meets("alice", "relay")
        texts = [f"far {n}" for n in range(5)]
        host.say(*texts)
        guest.shows(texts[-1], 30)
        guest.say(f"/connect {HOST}:{host.of('ready')[0]['port']}")
        guest.meets("alice", "lan")
        host.meets("bob", "lan")
        texts += [f"near {n}" for n in range(5)]
        host.say(*texts[5:])
        guest.shows(texts[-1], 30)
        assert guest.texts() == texts
        assert guest.linked() == {"alice"}


def test_a_code_may_come_from_the_input_and_a_slip_in_it_is_said_before_anything_begins(
    tmp_path: Path, relay: Relayed
) -> None:
    with Person("alice", tmp_path / "alice", "create", relay=at(relay)) as host:
        code = host.code
        with Person("bob", tmp_path / "bob", "join", relay=at(relay)) as guest:
            guest.say(code.upper().replace("-", " "), "and what follows is said")
            host.shows("and what follows is said", 30)
            assert {event["room"] for event in host.of("message")} == {"#private"}
            guest.say("/create nest")
            guest.wait(lambda me: any(room["room"] == "#nest" and room["code"] for room in me.of("room")), 30, "nest")
            guest.say("/role alice")
            guest.wait(lambda me: any("no member" in notice["text"] for notice in me.of("notice")), 20, "no role")
    with Person("eve", tmp_path / "eve", "join", "pine-ocaen-42") as eve:
        assert "ocaen" not in eve.fails("bad_code", 2)["text"]


def test_a_member_who_is_put_out_hears_and_says_nothing_more(tmp_path: Path, relay: Relayed) -> None:
    with (
        Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as host,
        Person("bob", tmp_path / "bob", "join", host.code, relay=at(relay)) as guest,
    ):
        host.meets("bob", "relay")
        host.say("/role bob admin")
        guest.wait(lambda me: any("an admin" in notice["text"] for notice in me.of("notice")), 20, "the role")
        host.say("/role bob member", "/ban bob")
        guest.wait(lambda me: any("no member" in notice["text"] for notice in me.of("notice")), 20, "the ban")
        host.say("among ourselves")
        guest.say("is anybody here?")
        guest.wait(lambda me: any(error["code"] == "no_member" for error in me.of("error")), 20, "why not")
        host.say("/invite")
        host.wait(lambda me: len([room for room in me.of("room") if room["code"]]) == 2, 20, "another code")
        again = [room["code"] for room in host.of("room") if room["code"]][-1]
        guest.say(f"/join {again}")
        guest.wait(lambda me: any(error["code"] == "banned" for error in me.of("error")), 30, "the refusal")
        assert "among ourselves" not in guest.texts()
        assert "is anybody here?" not in host.texts()


def test_wrong_words_are_refused_and_three_of_them_burn_the_code(tmp_path: Path, relay: Relayed) -> None:
    with Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as host:
        code = host.code
        for number in range(3):
            with Person(f"eve{number}", tmp_path / f"eve{number}", "join", wrong(code), relay=at(relay)) as eve:
                eve.fails("wrong_code", 4)
        host.wait(lambda me: sum(n["code"] == "code_tried" for n in me.of("notice")) == 3, 20, "the three tries")
        host.wait(lambda me: any(n["code"] == "code_burnt" for n in me.of("notice")), 20, "the code's end")
        with Person("bob", tmp_path / "bob", "join", code, relay=at(relay)) as bob:
            assert bob.ended(40) == 4, bob.told()
        # Another code works.
        host.say("/invite")
        host.wait(lambda me: len([r for r in me.of("room") if r.get("code")]) == 2, 20, "another code")
        again = [room["code"] for room in host.of("room") if room.get("code")][-1]
        with Person("ben", tmp_path / "ben", "join", again, relay=at(relay)) as ben:
            ben.meets("alice", "relay")


def test_a_password_is_needed_besides_the_code(tmp_path: Path, relay: Relayed) -> None:
    secret, other = tmp_path / "secret", tmp_path / "other"
    secret.write_text("two herons\n", encoding="utf-8")
    other.write_text("one heron\n", encoding="utf-8")
    made = ("create", "birds", "--password-file", str(secret))
    with Person("alice", tmp_path / "alice", *made, relay=at(relay)) as host:
        code = host.code
        with Person("ann", tmp_path / "ann", "join", code, relay=at(relay)) as ann:
            ann.fails("password_needed", 4)
        with Person("eve", tmp_path / "eve", "join", code, "--password-file", str(other), relay=at(relay)) as eve:
            eve.fails("wrong_code", 4)
        known = {"SANDPIPER_ROOM_PASSWORD": "two herons"}
        with Person("bob", tmp_path / "bob", "join", code, relay=at(relay), env=known) as bob:
            bob.meets("alice", "relay")
            host.say("welcome")
            bob.shows("welcome", 30)


def test_without_anybody_who_knows_the_code_the_sentence_says_what_to_try(tmp_path: Path, relay: Relayed) -> None:
    with Person("bob", tmp_path / "bob", "join", "pine-ocean-987654321", relay=at(relay)) as bob:
        bob.fails("no_such_code", 4)
    with Person("ben", tmp_path / "ben", "join", "pine-ocean-42") as ben:
        assert "--relay" in ben.fails("no_relay", 3)["hint"]
    with Person("ann", tmp_path / "ann", "join", "pine-ocean-42", relay=f"{HOST}:{free_port()}") as ann:
        assert "nothing listens" in ann.fails("no_relay", 3)["text"]
    with Person("amy", tmp_path / "amy", "create", "birds", relay=f"{HOST}:{free_port()}") as amy:
        amy.fails("no_relay", 3)


def test_direct_links_outlive_the_relay_and_members_meet_again_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with (
        Relayed(tmp_path / "relay", "--port", str(port)) as relay,
        Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as host,
    ):
        with Person("bob", tmp_path / "bob", "join", host.code, relay=at(relay)) as guest:
            guest.meets("alice", "lan")
            host.meets("bob", "lan")
            assert {event["why"] for event in host.of("peer") if event["path"] == "lan"} == {"on this network"}
            relay.stop()
            host.say("the relay is gone")
            guest.shows("the relay is gone", 30)
        host.wait(lambda me: not me.linked(), 20, "the loss")
        host.say("said while nothing was there")
        with Person("bob", tmp_path / "bob") as guest, Relayed(tmp_path / "relay", "--port", str(port)):
            guest.shows("said while nothing was there", 40)
            guest.say("there you are")
            host.shows("there you are", 30)


def test_any_member_lets_people_in_and_a_code_outlives_the_relay(tmp_path: Path) -> None:
    port = free_port()
    with Relayed(tmp_path / "relay", "--port", str(port)) as relay:
        with Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as host:
            code = host.code
            host.say("from the beginning")
            bob = Person("bob", tmp_path / "bob", "join", code, relay=at(relay))
            bob.shows("from the beginning", 30)
        relay.stop()
        with (
            bob,
            Relayed(tmp_path / "relay", "--port", str(port)),
            Person("carol", tmp_path / "carol", "join", code, relay=f"{HOST}:{port}") as carol,
        ):
            carol.meets("bob", "relay")
            carol.shows("from the beginning", 30)
            carol.say("without alice")
            bob.shows("without alice", 30)


def test_on_one_network_no_relay_is_needed(tmp_path: Path) -> None:
    group = f"224.0.0.1:{free_port()}"
    with Person("alice", tmp_path / "alice", "create", "birds", multicast=group) as host:
        host.wait(lambda me: any("this network only" in n["hint"] for n in me.of("notice")), 20, "what is said of it")
        with Person("bob", tmp_path / "bob", "join", host.code, multicast=group) as guest:
            guest.meets("alice", "lan")
            host.say("nice and near")
            guest.shows("nice and near", 30)
            assert all(event["room"] == "#birds" for event in guest.of("message"))


def test_who_came_in_on_one_network_is_met_through_the_relay_from_elsewhere(tmp_path: Path, relay: Relayed) -> None:
    group, alice, bob = f"224.0.0.1:{free_port()}", tmp_path / "alice", tmp_path / "bob"
    with (
        Person("alice", alice, "create", "birds", relay=at(relay), multicast=group) as host,
        Person("bob", bob, "join", host.code, multicast=group) as guest,
    ):
        guest.meets("alice", "lan")
        host.say("see you tomorrow")
        guest.shows("see you tomorrow", 30)
    with Person("alice", alice) as host, Person("bob", bob) as guest:
        guest.meets("alice", "relay")
        host.meets("bob", "relay")
