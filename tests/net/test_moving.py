"""A thousand messages each way arrive once, in one order, while the way between two people changes ten times."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from sandpiper.store.reader import Message, Reader
from sandpiper.testing.netlab import SYMMETRIC, available
from tests.net.world import Person, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandpiper.testing.netlab import Lan

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

log = logging.getLogger(__name__)  # which ways: make net ARGS=--log-cli-level=info

STEPS = 10
A_STEP = 100  # messages of each
PAUSE = 0.03  # seconds between two of them: more than people type, and less than a peer may push at once
PATIENCE = 60.0  # for the way that is expected
CHANGES = 10
BACK_SECONDS = 10.0  # from a lost link to the next: two are promised, and each lost packet of a new one costs one more


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world
        world.relay.unharmed()


def kept(person: Person) -> list[Message]:
    """What somebody keeps of private rooms."""
    with Reader(person.database) as reader:
        return [one for room in reader.rooms() if room.kind == "private" for one in reader.everything(room.room)]


def has_all(person: Person) -> None:
    person.wait(lambda _: len(kept(person)) >= 2 * STEPS * A_STEP, PATIENCE, "all of it")


def talk(person: Person, first: int) -> None:
    for number in range(first, first + A_STEP):
        person.say(f"{person.nick} {number}")
        threading.Event().wait(PAUSE)


def test_a_thousand_messages_each_way_survive_ten_changes_of_the_way(world: World) -> None:
    home, friend = world.site("cone", 1), world.site("cone", 2)
    cafe = world.home_lan("cafe", SYMMETRIC, subnet="10.0.0.0/24").lans[1]
    laptop, here, there = home.host, home.host.lans[0], friend.host.lans[0]
    assert home.router is not None
    assert friend.router is not None
    routers = home.router, friend.router
    alice = world.person("alice", friend.host, "cone", "create", "birds")
    bob = world.person("bob", laptop, "cone", "join", alice.code)

    def roam(to: Lan) -> None:
        laptop.detach(laptop.lans[0])
        laptop.attach(to)

    def back() -> None:
        world.internet.part()
        roam(here)

    def pull() -> None:
        laptop.cable(up=False)
        alice.meets("bob", "", PATIENCE)
        laptop.cable(up=True)

    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: None, "direct"),
        (lambda: world.internet.part(routers), "relay"),
        (lambda: world.internet.part(), "direct"),
        (pull, "direct"),
        (lambda: roam(cafe), "relay"),
        (lambda: roam(there), "lan"),
        (lambda: roam(here), "direct"),
        (lambda: world.internet.part(routers), "relay"),
        (lambda: roam(there), "lan"),
        (back, "direct"),
    ]
    assert len(steps) == STEPS
    with alice, bob:
        bob.meets("alice", "relay", PATIENCE)
        for number, (change, path) in enumerate(steps):
            typists = [threading.Thread(target=talk, args=(one, number * A_STEP)) for one in (alice, bob)]
            for typist in typists:
                typist.start()
            change()
            for typist in typists:
                typist.join()
            for person, other in ((alice, "bob"), (bob, "alice")):
                person.meets(other, path, PATIENCE)
        for person in (alice, bob):
            has_all(person)
        ways = alice.paths("bob")
        log.info("alice reached bob: %s", [(way, round(at - ways[0][1], 1)) for way, at in ways])
        assert len([way for way, _ in ways if way]) > CHANGES
        for (way, lost), (_, found) in pairwise(ways):
            assert way or found - lost < BACK_SECONDS, "the relay is there when the link has died"
        histories = [kept(person) for person in (alice, bob)]
        assert [one.id for one in histories[0]] == [one.id for one in histories[1]]
        for person in (alice, bob):
            said = [f"{person.nick} {number}" for number in range(STEPS * A_STEP)]
            assert [one.text for one in histories[0] if one.text.startswith(person.nick)] == said
            for shown in (alice.texts(), bob.texts()):
                once = [text for text in shown if text.startswith(person.nick)]
                assert sorted(once) == sorted(said), "each is shown once"
