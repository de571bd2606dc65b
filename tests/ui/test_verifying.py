"""Comparing safety words in line mode, and what somebody who would like to be taken for verified can try."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandpiper.config import Paths, Settings
from sandpiper.crypto.safety import safety
from sandpiper.faces.nearby import look, peer_lines
from sandpiper.node import PlainPeer
from sandpiper.store.reader import Reader
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.records import Text
from tests.ui.people import Person, person

Pair = tuple[Person, Person]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with person("alice", tmp_path) as alice, person("bob", tmp_path, alice) as bob:
        yield alice, bob


def shown(someone: Person) -> list[str]:
    """The words and digits on somebody's paper."""
    rows = re.findall(r"(?m)^  ([a-z]{3,7}(?: +[a-z]{3,7}){3}|\d{5}(?:  \d{5}){3})$", someone.paper.out)
    return " ".join(rows).split()


async def test_both_see_the_same_words_and_what_to_type_next(pair: Pair):
    alice, bob = pair
    alice.type("/verify bob")
    bob.type("/verify @alice")
    await alice.sees("Compare these words with bob", "/verify bob yes", "/verify bob no")
    await bob.sees("Compare these words with alice", "/verify alice yes")
    said = safety(alice.node.key, bob.node.key)
    assert shown(alice) == shown(bob) == [*said.words, *said.digits]
    assert alice.node.verified == frozenset(), "looking is not comparing"


async def test_yes_puts_a_mark_behind_the_name_and_no_takes_it_away(pair: Pair, tmp_path: Path):
    alice, bob = pair
    alice.type("/whois bob", "/who")
    await alice.sees("  verified  no", "  bob  lan ")
    alice.type("/verify bob", "/verify bob yes", "/whois bob", "/who", "/status")
    await alice.sees(
        "You have verified bob: ✓ stands behind the name.", "  verified  yes ✓", "  bob ✓  lan ", "bob ✓ lan "
    )
    assert alice.node.verified == {bob.node.key}
    assert verified_on_disk(tmp_path) == {bob.node.key}
    alice.type("/verify bob")
    await alice.sees("✓ You have verified bob before.")
    alice.type("/verify bob no")
    await alice.sees("bob is not verified.", "do not send anything secret, and tell bob another way.")
    assert alice.node.verified == verified_on_disk(tmp_path) == frozenset()


def verified_on_disk(home: Path) -> frozenset[PeerKey]:
    with Reader(home / "alice" / "profiles" / "alice" / "history.db") as reader:
        return frozenset(row.key for row in reader.peers() if row.verified)


async def test_verified_is_kept_over_a_restart_and_a_new_nick_and_is_not_inherited(tmp_path: Path):
    async with person("alice", tmp_path) as alice, person("bob", tmp_path, alice) as bob:
        key = bob.node.key
        alice.type("/verify bob", "/verify bob yes")
        await alice.sees("You have verified bob")
        bob.type("/nick robert")
        await alice.sees("bob is called robert now")
    async with person("alice", tmp_path) as alice:
        assert alice.node.verified == {key}
        async with person("bob2", tmp_path, alice) as impostor:
            impostor.type("/nick robert")
            await alice.sees("is called robert~")
            alice.type("/whois robert", "/who")
            await alice.sees("  verified  yes ✓")
            name = alice.node.names.show(impostor.node.key)
            await alice.sees(f"  {name}  lan ")
            alice.type(f"/whois {name}")
            await alice.sees("  verified  no")
            assert alice.node.verified == {key}


async def test_a_name_that_changed_hands_since_the_words_were_shown_is_not_verified(pair: Pair, tmp_path: Path):
    """Whoever waits until the real bob goes by another name gets the bare nick, and not his mark."""
    alice, bob = pair
    alice.type("/verify bob")
    await alice.sees("Compare these words with bob")
    async with person("bob2", tmp_path, alice) as impostor:
        impostor.type("/nick bob")
        await alice.sees("is called bob~")
        bob.type("/nick robert")
        await alice.sees("bob is called robert now")
        await alice.until(lambda me: me.node.names.show(impostor.node.key) == "bob")
        alice.type("/verify bob yes")
        await alice.sees("You have not seen the safety words of this bob yet.")
        assert alice.node.verified == frozenset()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/verify alice", "That is you."),
        ("/verify nobody", "Nobody is called nobody here."),
        ("/verify bob maybe", "'maybe' is no answer."),
        ("/verify bob yes", "You have not seen the safety words of this bob yet. First: /verify bob"),
        ("/verify olga", "the old p2pchat dialect has no keys"),
        ("/verify olga yes", "the old p2pchat dialect has no keys"),
    ],
)
async def test_who_cannot_be_verified(pair: Pair, line: str, complaint: str):
    alice, _ = pair
    alice.face.notice(PlainPeer(PeerKey(b"o" * 32), "olga", linked=True))
    alice.type(line)
    await alice.until(lambda me: complaint in me.paper.aside, complaint)
    assert shown(alice) == []
    assert alice.node.verified == frozenset()


async def test_a_key_that_nobody_has_ever_shown_to_have_cannot_be_verified(pair: Pair):
    """A peer of the old dialect that is ignored is known by a made-up key when it is gone."""
    alice, _ = pair
    alice.node.names.learn(PeerKey(b"o" * 32), "olga")
    alice.node.ignore(PeerKey(b"o" * 32), ignored=True)
    alice.type("/verify olga", "/verify olga yes")
    await alice.sees("olga has never shown to have that key.", "You have not seen the safety words of this olga yet.")
    assert alice.node.verified == frozenset()


async def test_programs_get_the_words_as_one_event(tmp_path: Path):
    async with person("alice", tmp_path, json=True) as alice, person("bob", tmp_path, alice) as bob:
        alice.type("/verify bob", "/verify bob yes")
        await alice.sees("You have verified bob")
        (event,) = alice.events("safety")
        said = safety(alice.node.key, bob.node.key)
        assert (event["nick"], event["key"], event["path"]) == ("bob", bob.node.key.hex(), "lan")
        assert (event["words"], event["digits"]) == (list(said.words), list(said.digits))
        assert event["verified"] is False
        assert event["first_seen"].endswith("Z")
        assert [one["verified"] for one in alice.events("peer")] == [False]


async def test_peers_lists_who_is_verified(pair: Pair, tmp_path: Path):
    alice, _ = pair
    alice.type("/verify bob", "/verify bob yes")
    await alice.sees("You have verified bob")
    with alice.node.reader() as reader:
        known = reader.acquaintances()
    (bob,) = look(Settings(), 0, known)
    assert bob.verified
    paths = Paths(tmp_path / "alice", tmp_path / "alice", tmp_path / "alice" / "log", portable=True)
    (line,) = peer_lines(Settings(profile="alice"), paths, 0, as_json=False)
    assert line.startswith("bob  seen  ")
    assert line.endswith("  ✓ verified\n")


# ---------------------------------------------------------------- what the node keeps for faces


async def test_delivery_is_told_by_record(pair: Pair, tmp_path: Path):
    alice, bob = pair
    room = alice.face.room
    assert room is not None
    alice.node.post(room, Text("hello"))
    with alice.node.reader() as reader:
        (mine,) = reader.page(room)
    assert alice.node.delivery(room, mine.id) == (0, 1), "bob cannot have said yet that he has it"
    await bob.sees("alice: hello")
    await alice.until(lambda me: me.node.delivery(room, mine.id) == (1, 1))
    assert bob.node.delivery(room, mine.id) is None, "it is not bob's"
    assert alice.node.delivery(bob.node.key, mine.id) is None  # type: ignore[arg-type]
    async with person("carol", tmp_path, alice, bob):
        await alice.until(lambda me: me.node.delivery(room, mine.id) == (2, 2))
    await alice.until(lambda me: me.node.delivery(room, mine.id) == (1, 1))


async def test_what_was_read_stays_read(tmp_path: Path):
    async with person("alice", tmp_path) as alice:
        room = alice.face.room
        assert room is not None
        assert alice.node.read_places() == {room: (-1, b"")}
        for text in ("one", "two"):
            alice.node.post(room, Text(text))
        with alice.node.reader() as reader:
            first, last = (message.place for message in reader.page(room))
        alice.node.mark_read(room, last)
        alice.node.mark_read(room, first)
        alice.node.mark_read(room, (2**48, b"z"))  # nothing past the newest message is ever read
        assert alice.node.read_places() == {room: last}
    async with person("alice", tmp_path) as alice:
        assert alice.node.read_places() == {room: last}
