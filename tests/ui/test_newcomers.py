"""What newcomers of a private room get of what was said before, as people see it: real processes, a real relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ui.test_keep import stored
from tests.ui.test_rooms_by_code import Person, at, relay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.relayed import Relayed

__all__ = ("relay",)


def test_with_none_nobody_who_comes_later_gets_what_was_said_before_from_anybody(
    tmp_path: Path, relay: Relayed
) -> None:
    homes = {nick: tmp_path / nick for nick in ("alice", "bob", "carol")}
    with Person("alice", homes["alice"], "create", "reeds", "--history", "none", relay=at(relay)) as alice:
        code = alice.code
        alice.say("before bob", "/topic before bob")
        alice.shows("before bob")
        with Person("bob", homes["bob"], "join", code, relay=at(relay)) as bob:
            bob.wait(lambda me: any("said before: none" in n["text"] for n in me.of("notice")), 30, "the policy")
            bob.meets("alice", "relay")
            alice.say("with bob")
            bob.shows("with bob", 30)
            bob.say("hello")
            alice.shows("hello", 30)
    # Bob alone lets carol in, after a restart; then all meet.
    with Person("bob", homes["bob"], "--room", "reeds") as bob:
        bob.say("before carol")
        bob.shows("before carol")
        with Person("carol", homes["carol"], "join", code, relay=at(relay)) as carol:
            carol.meets("bob", "relay")
            with Person("alice", homes["alice"], "--room", "reeds") as alice:
                alice.meets("carol", "relay")
                alice.shows("before carol", 30)
                carol.say("hello from carol")
                alice.shows("hello from carol", 30)
                alice.say("hello carol")
                carol.shows("hello carol", 30)
                bob.shows("hello carol", 30)
    order = ["before bob", "with bob", "hello", "before carol", "hello from carol", "hello carol"]
    assert stored(homes["alice"], "alice", "reeds") == order
    assert stored(homes["bob"], "bob", "reeds") == order[1:]
    assert stored(homes["carol"], "carol", "reeds") == order[4:]
    for nick, secret in (("bob", b"before bob"), ("carol", b"before carol"), ("carol", b"with bob")):
        files = (homes[nick] / "profiles" / nick).glob("history.db*")
        assert not any(secret in file.read_bytes() for file in files), f"{nick} has {secret!r} on the disk"


def test_what_is_no_policy_is_said_before_anything_begins(tmp_path: Path) -> None:
    with Person("alice", tmp_path / "alice", "create", "reeds", "--history", "some") as alice:
        assert "7d" in alice.fails("usage", 2)["hint"]
