"""A verified name that comes with another key: it is told, marked, and nothing is sent to it until somebody decides."""

# ruff: noqa: RUF001  (letters that look alike are what this is about)

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.config import Paths
from sandpiper.crypto.safety import safety
from sandpiper.errors import TrustError
from sandpiper.node import KeyChanged
from sandpiper.store.history import open_history
from sandpiper.store.profile import open_profile
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.records import Admit, Retract, Text
from tests.ui.people import Person, person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BLOCK = "ANOTHER KEY: "
HELD = "Nothing was sent: "


async def verify(alice: Person, nick: str) -> None:
    alice.type(f"/verify {nick}", f"/verify {nick} yes")
    await alice.sees(f"You have verified {nick}")


@asynccontextmanager
async def verified_bob(home: Path, **settings: Any) -> AsyncIterator[Person]:
    """Alice, who has verified bob, of whom nobody is here now."""
    async with person("alice", home, **settings) as alice:
        async with person("bob", home, alice):
            await verify(alice, "bob")
        await alice.until(lambda me: not me.node.linked())
        yield alice


@asynccontextmanager
async def impostor(home: Path, alice: Person, nick: str = "bob") -> AsyncIterator[Person]:
    """Somebody with another key who comes to alice with this nick."""
    async with person("eve", home, linked=False) as eve:
        eve.node.set_presence(nick)
        eve.node.connect("127.0.0.1", alice.node.port)
        await eve.until(lambda me: me.node.linked())
        await alice.until(lambda me: eve.node.key in me.node.linked())
        yield eve


async def test_another_key_with_a_verified_name_is_told_in_a_block_and_marked(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        name = f"bob~{eve.node.key.hex()[:4]}"
        await alice.sees(f"! {BLOCK}{name} is not the bob whom you have verified", f"/verify {name} accept", "────────")
        eve.type("it is me, send the password")
        await alice.sees(f"{name} [other key]: it is me, send the password")
        alice.type("/who", f"/whois {name}")
        await alice.sees(f"  {name} [other key]  lan ", "  verified  no, and another key than the one")
        assert alice.node.names.show(eve.node.key) == name


@pytest.mark.parametrize("nick", ["BOB", "bоb", "b0b", "bob✓", "вов"], ids=["case", "o", "zero", "mark", "all"])
async def test_a_nick_that_looks_like_a_verified_one_is_no_way_around(tmp_path: Path, nick: str):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice, nick) as eve:
        await alice.sees(BLOCK)
        room = alice.node.open_direct(eve.node.key)
        with pytest.raises(TrustError):
            alice.node.post(room, Text("a secret"))


async def test_nothing_goes_to_the_other_key_until_the_person_accepts_it(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
        name = alice.node.names.show(eve.node.key)
        alice.type(f"/msg {name} a secret")
        await alice.sees(f"{HELD}{name} has not the key that you have verified", f"/verify {name} accept")
        room = alice.node.open_direct(eve.node.key)
        with alice.node.reader() as reader:
            assert reader.page(room) == [], "not kept either, so that nothing goes out later"
        alice.type(f"/verify {name} accept", f"/msg {name} well then")
        await eve.sees("well then")
        assert "a secret" not in eve.paper.out
        assert eve.node.key not in alice.node.verified, "accepted is not verified"
        alice.type("/who")
        await alice.sees(f"  {name}  lan ")


async def test_comparing_words_with_the_other_key_ends_it_as_well(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
        name = alice.node.names.show(eve.node.key)
        await verify(alice, name)
        alice.type(f"/msg {name} a new machine then")
        await eve.sees("a new machine then")


async def test_nothing_is_held_back_that_was_not_asked_for(tmp_path: Path):
    async with verified_bob(tmp_path) as alice:
        alice.type("/verify bob accept")
        await alice.sees("Nothing is held back from bob.")


async def test_open_rooms_are_for_everybody_and_nothing_is_held_back_there(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
        alice.type("hello all")
        await eve.sees("alice: hello all")


async def test_what_was_decided_holds_over_a_restart(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
    async with person("alice", tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
        room = alice.node.open_direct(eve.node.key)
        with pytest.raises(TrustError):
            alice.node.post(room, Text("a secret"))
        alice.type(f"/verify {alice.node.names.show(eve.node.key)} accept")
        await alice.sees("They are not verified by that.")
    async with person("alice", tmp_path) as alice, impostor(tmp_path, alice) as eve:
        alice.node.post(alice.node.open_direct(eve.node.key), Text("as decided"))
        await eve.sees("as decided")
        assert BLOCK not in alice.paper.aside


async def test_the_name_stays_the_verified_keys_when_that_is_called_something_else(tmp_path: Path):
    async with person("alice", tmp_path) as alice, person("bob", tmp_path, alice) as bob:
        await verify(alice, "bob")
        bob.type("/nick robert")
        await alice.sees("bob is called robert now")
        async with impostor(tmp_path, alice) as eve:
            await alice.sees("not the bob whom you have verified", "you have verified robert ✓")
            alice.type("/msg bob a secret")
            await alice.sees("Nobody is called bob here.")
            assert alice.node.names.show(eve.node.key).startswith("bob~")


async def test_whoever_comes_with_another_nick_and_takes_a_verified_one_is_told_as_well(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice, "carol") as eve:
        room = alice.node.open_direct(eve.node.key)
        alice.node.post(room, Text("hello carol"))
        await eve.sees("hello carol")
        eve.type("/nick bob")
        await alice.sees(BLOCK)
        with pytest.raises(TrustError):
            alice.node.post(room, Text("a secret"))
        eve.type("/nick carol")
        await alice.until(lambda me: me.node.trust.rival(eve.node.key) is None)
        alice.node.post(room, Text("carol again"))


async def test_another_key_of_somebody_not_verified_gets_a_suffix_and_nothing_more(tmp_path: Path):
    async with person("alice", tmp_path) as alice:
        async with person("bob", tmp_path, alice):
            pass
        await alice.until(lambda me: not me.node.linked())
        async with impostor(tmp_path, alice) as eve:
            name = f"bob~{eve.node.key.hex()[:4]}"
            alice.type(f"/msg {name} hello")
            await eve.sees("hello")
            assert BLOCK not in alice.paper.aside
            assert "[other key]" not in alice.paper.out


async def test_verifying_somebody_tells_of_another_who_has_the_name_already(tmp_path: Path):
    """Whoever came first with the name had it bare until now."""
    async with person("alice", tmp_path) as alice, impostor(tmp_path, alice) as eve:
        assert alice.node.names.show(eve.node.key) == "bob"
        async with person("bob", tmp_path, alice) as bob:
            name = alice.node.names.show(bob.node.key)
            await verify(alice, name)
            await alice.sees(BLOCK)
            assert alice.node.names.show(bob.node.key) == "bob"
            with pytest.raises(TrustError):
                alice.node.post(alice.node.open_direct(eve.node.key), Text("a secret"))
            alice.node.trust.verify(bob.node.key, verified=False)
            alice.node.post(alice.node.open_direct(eve.node.key), Text("nobody is verified now"))


async def test_in_a_private_room_nothing_is_said_as_long_as_another_key_is_a_member(tmp_path: Path):
    async with verified_bob(tmp_path) as alice, impostor(tmp_path, alice) as eve:
        await alice.sees(BLOCK)
        room = await alice.node.codes.create("birds")
        alice.node.post(room, Text("before"))
        alice.node.post(room, Admit(eve.node.key, "bob"))
        await alice.sees("nor into #birds, of which they are a member")
        for body in (Text("a secret"), Text("me too", action=True)):
            with pytest.raises(TrustError, match="Nothing was sent"):
                alice.node.post(room, body)
        with alice.node.reader() as reader:
            (said,) = reader.page(room)
        alice.node.post(room, Retract(said.id))  # that much is always allowed
        alice.node.kick(room, eve.node.key)
        alice.node.post(room, Text("among ourselves"))


async def test_a_member_who_was_never_met_is_known_by_what_admitted_them(tmp_path: Path):
    async with verified_bob(tmp_path) as alice:
        async with person("eve", tmp_path, linked=False) as eve:
            key = eve.node.key
        room = await alice.node.codes.create("birds")
        alice.node.post(room, Admit(key, "bоb"))
        await alice.sees(BLOCK, "nor into #birds")
        with pytest.raises(TrustError):
            alice.node.post(room, Text("a secret"))
        alice.type("/join #birds", f"/verify {alice.node.names.show(key)} accept")
        await alice.sees("They are not verified by that.")
        alice.node.post(room, Text("well then"))


async def test_many_keys_with_a_verified_name_are_all_held_back_and_few_of_them_told(tmp_path: Path):
    from sandpiper.core.events import PeerChanged
    from sandpiper.node.trust import TELL_BURST

    async with verified_bob(tmp_path) as alice:
        told: list[KeyChanged] = []
        alice.node.subscribe(lambda notice: told.append(notice) if isinstance(notice, KeyChanged) else None)
        keys = [PeerKey(number.to_bytes(32, "big")) for number in range(1, 200)]
        for key in keys:
            alice.node.names.learn(key, "bob")
            alice.node.trust._heard(PeerChanged(key, "bob", "", "linked", "lan"))
        assert len(told) == TELL_BURST
        assert all(alice.node.trust.rival(key) is not None for key in keys)


async def test_programs_are_told_with_both_keys_and_messages_say_whose_they_are(tmp_path: Path):
    async with verified_bob(tmp_path, json=True) as alice, impostor(tmp_path, alice) as eve:
        await alice.until(lambda me: me.events("key_changed"))
        (event,) = alice.events("key_changed")
        assert event["nick"] == f"bob~{eve.node.key.hex()[:4]}"
        assert event["key"] == eve.node.key.hex()
        assert (event["verified_nick"], event["room"]) == ("bob", None)
        assert event["verified_key"] == next(iter(alice.node.verified)).hex()
        eve.type("hi")
        await alice.until(lambda me: me.events("message"))
        (said,) = alice.events("message")
        assert (said["verified"], said["other_key"]) == (False, True)
        assert alice.events("peer")[-1]["other_key"] is True
        alice.type(f"/msg {event['nick']} a secret")
        await alice.until(lambda me: me.events("error"))
        assert alice.events("error")[0]["code"] == "key_changed"


def test_without_a_chat_the_words_are_the_same_and_another_key_is_said_with_the_exit_code(tmp_path: Path):
    bob, other = PeerKey(b"b" * 32), PeerKey(b"e" * 32)
    paths = Paths(tmp_path, tmp_path, tmp_path / "log", portable=True)
    with open_profile(paths, "alice", nick="alice", keyring=False) as profile:
        me = profile.identity.key
        history = open_history(profile.history).history
        history.saw_peer(bob, "bob", 1_000)
        history.set_verified(bob, "bob", verified=True)
        history.saw_peer(other, "bob", 2_000)
        history.close()

    def run(*args: str) -> tuple[int, str]:
        home = {**os.environ, "SANDPIPER_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "sandpiper", "verify", *args]
        done = subprocess.run(command, env=home, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout

    code, out = run("bob")
    assert code == 0
    assert " ".join(safety(me, bob).digits[:4]) in " ".join(out.split())
    assert "You have verified bob before" in out
    code, out = run(f"bob~{other.hex()[:4]}", "--json")
    assert code == 5
    event = json.loads(out)
    assert (event["event"], event["key"], event["verified"]) == ("safety", other.hex(), False)
    assert tuple(event["words"]) == safety(me, other).words
    assert run("nobody") == (2, "")
