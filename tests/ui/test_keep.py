"""`sandpiper keep` as a real process: members who are never online together meet through it."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from sandpiper.store.reader import Reader
from tests.kept import Kept
from tests.process import LAST_WORDS
from tests.program import Program
from tests.relayed import Relayed, free_port
from tests.ui.test_rooms_by_code import Person, at, relay, wrong

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("relay",)

posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def stored(home: Path, nick: str, room: str) -> list[str]:
    """Texts of a room that a profile keeps, in the room's order."""
    with Reader(home / "profiles" / nick / "history.db") as reader:
        [found] = [one for one in reader.rooms() if one.name == room]
        return [message.text for message in reader.everything(found.room)]


def until_stored(kept: Kept, home: Path, nick: str, room: str, text: str) -> None:
    """Wait until what it keeps has this."""
    kept.until(lambda _: text in stored(home, nick, room), f"{text} on the disk")


def test_two_who_are_never_online_together_hear_each_other_through_a_third_once_and_in_one_order(
    tmp_path: Path, relay: Relayed
) -> None:
    homes = {nick: tmp_path / nick for nick in ("alice", "bob", "home")}
    with Person("alice", homes["alice"], "create", "birds", relay=at(relay)) as alice:
        code = alice.code
        alice.say("from alice, 1")
        alice.shows("from alice, 1")
        keeper = Kept("home", homes["home"], "--code-file", "-", "--room", "ships", relay=at(relay))
        keeper.type(code)
        keeper.logs("keeping")
        with Person("bob", homes["bob"], "join", code, relay=at(relay)) as bob:
            bob.shows("from alice, 1", 30)
    with keeper:
        keeper.logs("alice is gone")
        said = ["from alice, 1"]
        for turn in range(2):
            for nick in ("bob", "alice"):
                text = f"from {nick}, while the others are away, {turn}"
                with Person(nick, homes[nick], "--room", "birds") as person:
                    person.meets("home", "relay")
                    if turn or nick == "alice":
                        person.shows(said[-1], 30)
                    person.say(text)
                    until_stored(keeper, homes["home"], "home", "birds", text)
                said.append(text)
        assert not [line for line in keeper.lines if "are away" in line or "from alice, 1" in line or code in line]
        keeper.process.terminate()
        assert keeper.ended() == 0, keeper.told()
    for nick in ("alice", "home"):
        assert stored(homes[nick], nick, "birds") == said
    # What alice said last, bob hears from the third although alice is gone for good.
    with Kept("home", homes["home"]), Person("bob", homes["bob"], "--room", "birds") as bob:
        bob.shows(said[-1], 30)
    assert stored(homes["bob"], "bob", "birds") == said
    assert len(said) == len(set(said)) == 5


def test_open_rooms_are_kept_too_and_the_lan_is_enough(tmp_path: Path) -> None:
    group = f"224.0.0.1:{free_port()}"
    usual = ("--interface", "lo", "--multicast", group, "--room", "ships")
    with Kept("home", tmp_path / "home", "--room", "ships", multicast=group) as keeper:
        keeper.logs("keeping #ships as home")
        with Program("alice", tmp_path / "alice", *usual) as alice:
            alice.links({"home"}, 20)
            alice.say("said to nobody who is here")
            until_stored(keeper, tmp_path / "home", "home", "ships", "said to nobody who is here")
        keeper.logs("alice is gone")
        with Program("bob", tmp_path / "bob", *usual) as bob:
            bob.shows("said to nobody who is here", 30)


def test_with_json_it_tells_all_events(tmp_path: Path) -> None:
    group = f"224.0.0.1:{free_port()}"
    usual = ("--interface", "lo", "--multicast", group, "--room", "ships")
    with Kept("home", tmp_path / "home", "--room", "ships", "--json", "--quiet", multicast=group) as keeper:
        keeper.until(lambda me: any('"event":"ready"' in line for line in me.out), "ready", 30)
        with Program("alice", tmp_path / "alice", *usual) as alice:
            alice.links({"home"}, 20)
            alice.say("hello")
            keeper.until(lambda me: any('"text":"hello"' in line for line in me.out), "the message", 30)
        keeper.process.terminate()
        assert keeper.ended() == 0
        keeper._read_all()
    events = [json.loads(line) for line in keeper.out]
    assert (events[0]["event"], events[0]["rooms"], events[0]["nick"]) == ("ready", ["#ships"], "home")
    assert not keeper.lines, "with --quiet the log is in its file alone"


def test_a_wrong_code_and_a_profile_in_use_end_it_with_what_to_do(tmp_path: Path, relay: Relayed) -> None:
    with Person("alice", tmp_path / "alice", "create", "birds", relay=at(relay)) as alice:
        file = tmp_path / "code"
        file.write_text(f"{wrong(alice.code)}\n", encoding="utf-8")
        with Kept("home", tmp_path / "home", "--code-file", str(file), relay=at(relay)) as keeper:
            assert keeper.ended(40) == 4, keeper.told()
        assert wrong(alice.code) not in keeper.told()
        with Kept("alice", tmp_path / "alice") as keeper:
            assert keeper.ended() == 1
            keeper._read_all()
        assert "is in use by another program" in keeper.told()
    for words in (("--code-file", str(tmp_path / "none")), ("--password-file", str(file))):
        with Kept("home", tmp_path / "home", *words) as keeper:
            assert keeper.ended() == 2, keeper.told()


@posix
def test_a_terminal_that_is_closed_does_not_end_it_and_systemd_hears_when_it_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(str(path))
        system.settimeout(30)
        with Kept("home", tmp_path / "home", env={"NOTIFY_SOCKET": str(path)}) as keeper:
            assert system.recv(100) == b"READY=1"
            keeper.logs("no room yet")
            keeper.process.send_signal(signal.SIGHUP)
            with pytest.raises(AssertionError):
                keeper.until(lambda _: False, "its end", LAST_WORDS)
            assert keeper.process.poll() is None
            keeper.process.send_signal(signal.SIGINT)
            assert keeper.ended() == 130
            assert system.recv(100) == b"STOPPING=1"


def test_a_code_outlives_a_restart_of_its_maker_and_a_counted_guess_outlives_its_death(
    tmp_path: Path, relay: Relayed
) -> None:
    home = tmp_path / "alice"
    with Person("alice", home, "create", "birds", relay=at(relay)) as alice:
        code = alice.code
        for eve in range(2):
            with Person("eve", tmp_path / f"eve{eve}", "join", wrong(code), relay=at(relay)) as guesser:
                guesser.fails("wrong_code", 4)
        alice.kill()
    # A member without a person answers as well, and so it is in the same profile.
    with Kept("alice", home) as keeper:
        keeper.logs("keeping #general, #birds")
        with Person("bob", tmp_path / "bob", "join", code, relay=at(relay)) as bob:
            bob.meets("alice", "relay")
        keeper.kill()
    with Person("alice", home, "--room", "birds") as alice:
        with Person("eve", tmp_path / "eve2", "join", wrong(code), relay=at(relay)) as guesser:
            guesser.fails("wrong_code", 4)
        alice.wait(lambda me: any(n["code"] == "code_burnt" for n in me.of("notice")), 20, "the third guess in all")
    with (
        Person("alice", home, "--room", "birds"),
        Person("ben", tmp_path / "ben", "join", code, relay=at(relay)) as ben,
    ):
        ben.fails("code_burnt", 4)
