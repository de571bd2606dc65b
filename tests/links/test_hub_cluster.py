"""Hubs that are one: real `sandpiper serve` processes on one real nats-server. Everything stays on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sandpiper.crypto.identity import Identity
from tests.natsd import Natsd, free_port
from tests.roamer import WAIT, Roamer, has
from tests.served import Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.roamer import Line

FAST = ("--guest-rate", "1e9", "--guest-burst", "1e9", "--room-rate", "1e9", "--room-burst", "1e9", "--no-uvloop")
HUBS = 3

pytestmark = pytest.mark.timeout(120)


class Hubs:
    """A cluster."""

    def __init__(self, natsd: Natsd, folder: Path) -> None:
        self.natsd = natsd
        self._folder = folder
        self.hubs: list[Served] = []
        self._stack = contextlib.ExitStack()

    def add(self, *more: str) -> Served:
        home = self._folder / f"hub{len(self.hubs)}"
        home.mkdir()
        hub = Served(home, "--bus", self.natsd.url, *FAST, *more, env={"SANDPIPER_INTERFACES": "lo"})
        self._stack.callback(hub.stop)
        self.hubs.append(hub)
        return hub

    def close(self) -> None:
        self._stack.close()

    @property
    def ports(self) -> list[int]:
        return [hub.port for hub in self.hubs]


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[Hubs]:
    with Natsd(tmp_path / "nats") as natsd:
        cluster = Hubs(natsd, tmp_path)
        try:
            for _ in range(HUBS):
                cluster.add()
            assert len(cluster.ports) == HUBS
            yield cluster
        finally:
            cluster.close()


@contextlib.asynccontextmanager
async def guests(hubs: Hubs, *nicks: str, room: str = "dev") -> AsyncIterator[list[Roamer]]:
    """One guest after the other, each at the next hub, and each knows of all."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for at, nick in enumerate(nicks):
            found.append(await stack.enter_async_context(Roamer(nick, hubs.ports, room, at)))
        for guest in found:
            await everybody(guest, len(nicks))
        yield found


async def eventually(guest: Roamer, ask: Line, kind: str, holds: Callable[[Line], object]) -> None:
    """Ask until the answer is such; hubs tell each other of who is where a little later."""
    async with asyncio.timeout(WAIT):
        while not holds(answer := await guest.ask(ask, kind)):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)
    assert answer["type"] == kind


async def everybody(guest: Roamer, count: int) -> None:
    """Until the guest's hub knows of all members of the room."""
    await eventually(guest, {"type": "who", "room": guest.room}, "who", lambda answer: answer.get("count") == count)


async def test_all_hubs_tell_everybody_the_same_in_the_same_order(hubs):
    count = 200
    async with guests(hubs, "alice", "bob", "carol", "dave") as all_of_them:
        for n in range(count):
            for guest in all_of_them:
                guest.say(f"{guest.nick} {n}")
            if n % 10 == 0:
                await asyncio.sleep(0)
        total = count * len(all_of_them)
        for guest in all_of_them:
            await guest.until(partial(has, guest, total), f"{total} lines")
        first = all_of_them[0].lines
        for guest in all_of_them:
            assert guest.lines == first
            own = [line["text"] for line in first if line["nick"] == guest.nick]
            assert own == [f"{guest.nick} {n}" for n in range(count)]
            assert await guest.history() == first


async def test_a_nick_is_one_guests_in_the_whole_cluster(hubs):
    async with guests(hubs, "alice", "bob") as (_, bob):
        refused = await bob.ask({"type": "nick", "nick": "ALICE"}, "nick")
        assert (refused["type"], refused["code"]) == ("error", "nick_taken")
        assert (await bob.ask({"type": "nick", "nick": refused["suggestion"]}, "nick"))["type"] == "nick"
        # What was bob's is free again.
        async with Roamer("bob", hubs.ports, "dev", 2, keyed=False) as other:
            assert (await other.ask({"type": "nick", "nick": "bob"}, "nick"))["type"] == "error", "it is a key's"
        async with Roamer("carol", hubs.ports, "dev", 2, keyed=False) as other:
            assert (await other.gets("nick"))["nick"] == "carol"


async def test_the_same_key_takes_its_nick_over_at_another_hub_at_once(hubs):
    async with Roamer("alice", hubs.ports[:1], "dev") as first, Roamer("alice", hubs.ports[1:2], "dev") as second:
        assert (await second.gets("nick"))["nick"] == "alice"
        assert (await first.gets("error", code="replaced"))["text"]


async def test_a_killed_hub_gives_its_nicks_and_its_members_back(hubs):
    async with guests(hubs, "alice", "bob") as (alice, _), Roamer("carol", hubs.ports[2:], "dev", keyed=False):
        await everybody(alice, 3)
        hubs.hubs[2].kill()
        async with Roamer("carol", hubs.ports[:2], "dev", 1, keyed=False) as carol:
            assert (await carol.gets("nick"))["nick"] == "carol"  # refused until the lease has ended
            await everybody(alice, 3)


async def test_rooms_with_passwords_topics_and_operators_are_the_same_everywhere(hubs):
    async with guests(hubs, "alice", "bob") as (alice, bob):
        made = await alice.ask({"type": "join", "room": "den", "password": "swan"}, "joined")
        assert made["operator"]
        assert made["members"] == 1
        assert (await bob.ask({"type": "join", "room": "den"}, "joined"))["code"] == "locked"
        wrong = await bob.ask({"type": "join", "room": "den", "password": "lake"}, "joined")
        assert wrong["code"] == "wrong_password"
        entered = await bob.ask({"type": "join", "room": "den", "password": "swan"}, "joined")
        assert entered["members"] == 2
        assert entered["epoch"] == made["epoch"]
        assert "operator" not in entered
        assert (await bob.ask({"type": "topic", "room": "den", "text": "mine"}, "topic"))["code"] == "not_operator"
        alice.send({"type": "topic", "room": "den", "text": "ours"})
        await bob.gets("topic", room="den", text="ours")
        await alice.gets("notice", room="den", joined=["bob"])
        alice.send({"type": "op", "room": "den", "nick": "bob"})
        await bob.gets("notice", room="den", code="op")
        bob.send({"type": "topic", "room": "den", "text": "everybody's"})
        assert (await alice.gets("topic", text="everybody's"))["nick"] == "bob"
        async with Roamer("carol", hubs.ports[2:], "dev") as carol:
            listed = {"room": "den", "members": 2, "topic": "everybody's", "locked": True}
            await eventually(carol, {"type": "rooms"}, "rooms", lambda answer: listed in answer["rooms"])


async def test_operators_kick_and_mute_guests_of_other_hubs(hubs):
    async with guests(hubs, "alice", "bob", "carol") as (alice, bob, carol):
        alice.send({"type": "mute", "room": "dev", "nick": "bob"})
        await bob.gets("notice", code="mute")
        assert (await bob.ask({"type": "msg", "room": "dev", "text": "hm"}, "msg"))["code"] == "muted"
        alice.send({"type": "mute", "room": "dev", "nick": "bob", "on": False})
        await bob.gets("notice", text="bob may talk again")
        alice.send({"type": "kick", "room": "dev", "nick": "bob", "reason": "too loud"})
        assert (await bob.gets("left", code="kicked"))["text"] == "alice has put you out of dev: too loud"
        assert (await carol.gets("notice", code="kicked"))["text"] == "bob was put out by alice: too loud"
        await everybody(carol, 2)
        assert (await bob.ask({"type": "join", "room": "dev"}, "joined"))["type"] == "joined"
        await everybody(alice, 3)


async def test_who_is_banned_is_banned_at_hubs_that_have_never_heard_of_the_room(hubs):
    async with guests(hubs, "alice") as (alice,):
        async with Roamer("bob", hubs.ports[1:2], "dev") as bob:
            await everybody(alice, 2)
            alice.send({"type": "ban", "room": "dev", "nick": "bob"})
            await bob.gets("left", code="banned")
            assert (await bob.ask({"type": "join", "room": "dev"}, "joined"))["code"] == "banned"
            await everybody(alice, 1)
        late = hubs.add()
        async with Roamer("bob", [late.port], "elsewhere") as bob:
            assert (await bob.ask({"type": "join", "room": "dev"}, "joined"))["code"] == "banned"
            alice.send({"type": "ban", "room": "dev", "nick": "bob", "on": False})
            await alice.gets("notice", text="bob may come in again.")
            await eventually(bob, {"type": "join", "room": "dev"}, "joined", lambda answer: answer["type"] == "joined")


async def test_an_operator_of_the_hub_bans_from_all_hubs_for_good(hubs):
    key = Identity(b"root".ljust(32, b"\0")).key.hex()
    rulers = [hubs.add("--operator", key) for _ in range(2)]
    async with (
        Roamer("root", [rulers[0].port], "dev") as root,
        Roamer("bob", hubs.ports[:1], "other") as bob,
        Roamer("carol", hubs.ports[1:2], "other") as carol,
    ):
        assert (await root.gets("auth"))["operator"]
        root.send({"type": "kick", "nick": "carol", "hub": True})
        assert (await carol.gets("error", code="kicked"))["text"] == "root has put you out of the hub"
        root.send({"type": "ban", "nick": "bob", "hub": True})
        await bob.gets("error", code="banned")
        late = hubs.add()
        bob.ports, before = [late.port], len(bob.got)
        await bob.until(lambda: any(one.get("code") == "banned" for one in bob.got[before:]), "banned there, too")


async def test_a_closed_room_is_closed_everywhere_and_begins_anew(hubs):
    async with guests(hubs, "alice", "bob") as (alice, bob):
        bob.say("before")
        await alice.gets("msg", text="before")
        alice.send({"type": "close", "room": "dev", "reason": "done"})
        assert (await bob.gets("left", code="closed"))["text"] == "alice has closed dev: done"
        await alice.gets("left", code="closed")
        old = bob.joined["epoch"]
        again = await bob.ask({"type": "join", "room": "dev"}, "joined")
        assert again["epoch"] != old
        assert again["operator"]
        page = await bob.ask({"type": "history", "room": "dev"}, "history")
        assert page["messages"] == [], "what was said is gone"


async def test_a_hub_that_starts_later_has_the_whole_history_as_it_is_now(hubs):
    async with guests(hubs, "alice", "bob") as (alice, bob):
        for n in range(700):
            alice.say(f"message {n}")
        await bob.until(lambda: len(bob.lines) == 700, "700 lines")
        alice.send({"type": "edit", "room": "dev", "id": bob.lines[10]["seq"], "text": "other"})
        alice.send({"type": "edit", "room": "dev", "id": bob.lines[20]["seq"], "text": "secret"})
        alice.send({"type": "retract", "room": "dev", "id": bob.lines[20]["seq"]})
        await bob.gets("retract")
        bob.send({"type": "react", "room": "dev", "id": bob.lines[30]["seq"], "emoji": "👍"})
        await bob.gets("react")
        refused = await bob.ask({"type": "edit", "room": "dev", "id": bob.lines[5]["seq"], "text": "not mine"}, "edit")
        assert refused["code"] == "not_yours"
        late = hubs.add()
        async with Roamer("carol", [late.port], "dev") as carol:
            assert carol.joined["seq"] == bob.last
            assert carol.joined["members"] == 3
            told = await carol.history()
            assert told == await bob.history()
            texts = [line["text"] for line in told if line["type"] == "msg"]
            expected = [f"message {n}" for n in range(700)]
            expected[10], expected[20] = "other", ""
            assert texts == expected
            assert [line["type"] for line in told[700:]] == ["edit", "edit", "retract", "react"]
            assert told[701]["text"] == "", "an edit of what was taken back"
            # Who resumes there gets what is missing, and nothing twice.
            since = told[690]["seq"]
            ask = {"type": "join", "room": "dev", "epoch": carol.joined["epoch"], "since": since}
            seen = len(carol.got)
            carol.last = since
            again = await carol.ask(ask, "joined")
            assert again["resumed"]
            assert again["first"] == since + 1
            await carol.until(lambda: carol.last == bob.last, "what was missing")
            assert [line["seq"] for line in carol.got[seen:] if line.get("seq") and line["type"] != "joined"] == [
                line["seq"] for line in told[691:]
            ]


async def test_what_is_said_again_at_another_hub_is_said_once(hubs):
    async with guests(hubs, "bob") as (bob,):
        async with Roamer("alice", hubs.ports[1:2], "dev") as alice:
            said = alice.say("once")
            await bob.gets("msg", text="once")
            await alice.until(lambda: said in alice.acked, "confirmed")
        async with Roamer("alice", hubs.ports[2:], "dev") as moved:
            line = {"type": "msg", "room": "dev", "text": "once", "client_id": said}
            answer = await moved.ask(line, "ack")
            assert (answer["type"], answer["client_id"], answer["seq"]) == ("ack", said, alice.acked[said])
            moved.say("more")
            await bob.gets("msg", text="more")
        assert [line["text"] for line in bob.lines] == ["once", "more"]


async def test_while_nats_is_away_guests_are_told_and_afterwards_all_goes_on(hubs):
    async with guests(hubs, "alice", "bob") as (alice, bob):
        alice.say("before")
        await bob.gets("msg", text="before")
        hubs.natsd.kill()
        kept = alice.say("kept")  # nobody has noticed yet
        await alice.gets("notice", code="cluster")
        refused = await alice.ask({"type": "msg", "room": "dev", "text": "refused"}, "msg")
        assert refused["code"] == "busy"
        status, _, body = await asyncio.to_thread(hubs.hubs[0].get, "/healthz")
        assert (status, '"failing"' in body) == (503, True)
        hubs.natsd.start()
        await bob.gets("msg", text="kept")
        await alice.until(lambda: kept in alice.acked, "kept")
        await alice.gets("notice", text="The hub has reached its cluster again.")
        assert (await asyncio.to_thread(hubs.hubs[0].get, "/healthz"))[0] == 200
        assert (await asyncio.to_thread(hubs.hubs[0].get, "/metrics"))[0] == 200
        bob.say("after")
        await alice.gets("msg", text="after")
        assert [line["text"] for line in await bob.history()] == ["before", "kept", "after"]


async def test_a_nats_server_that_goes_while_rooms_are_opened_does_not_end_the_hub(hubs):
    async with guests(hubs, "alice") as (alice,):
        for n in range(10):
            alice.send({"type": "join", "room": f"room{n}"})
        await alice.until(lambda: any(one.get("room") == "room1" for one in alice.got), "some rooms")
        hubs.natsd.kill()
        hubs.natsd.start()
        await eventually(alice, {"type": "join", "room": "after"}, "joined", lambda answer: answer["type"] == "joined")
        hubs.hubs[0].unharmed()


async def test_guests_are_told_when_nats_is_there_and_stores_nothing(hubs):
    async with guests(hubs, "alice") as (alice,):
        program = await pytest.importorskip("nats").connect(hubs.natsd.url)
        await program.jetstream().delete_stream("sandpiper")
        await program.close()
        alice.say("not stored")
        await alice.gets("notice", code="cluster")
        assert (await alice.ask({"type": "msg", "room": "dev", "text": "refused"}, "msg"))["code"] == "busy"
        assert (await asyncio.to_thread(hubs.hubs[0].get, "/healthz"))[0] == 503


async def test_a_hub_with_a_nats_server_of_its_own_keeps_everything_over_a_restart(tmp_path):
    with Natsd(tmp_path / "unused"):
        pass  # skips where there is none
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    for said in (["first"], ["first", "second"]):
        with Served(home, "--bus", f"embedded://127.0.0.1:{port}", *FAST) as hub:
            async with Roamer("alice", [hub.port], "dev") as alice:
                alice.say(said[-1])
                await alice.gets("msg", text=said[-1])
                assert [line["text"] for line in await alice.history()] == said
            hub.process.terminate()
            assert hub.ended() == 0
            assert "Traceback" not in hub.told()


async def test_what_is_piped_into_a_hub_is_said_and_answered_before_it_closes(hubs):
    async with guests(hubs, "alice", room="lobby") as (alice,):
        reader, writer = await asyncio.open_connection("127.0.0.1", hubs.ports[1])
        writer.write(b'{"type":"nick","nick":"pipe"}\n{"type":"msg","text":"one"}\n{"type":"msg","text":"two"}\n')
        writer.write_eof()
        async with asyncio.timeout(WAIT):
            told = (await reader.read()).decode()
        writer.close()
        assert "nick set to pipe" in told
        assert '"text":"one"' in told
        assert '"text":"two"' in told
        await alice.until(lambda: any(line.get("text") == "two" for line in alice.got), "two")
        assert [line["nick"] for line in alice.got if line["type"] == "msg"] == ["pipe", "pipe"]


async def test_a_nats_server_of_a_killed_hub_ends_and_the_next_start_waits_for_that(tmp_path):
    with Natsd(tmp_path / "unused"):
        pass  # skips where there is none
    home = tmp_path / "home"
    home.mkdir()
    for said in (["first"], ["first", "second"], ["first", "second", "third"]):
        with Served(home, "--bus", "embedded", *FAST) as hub:
            async with Roamer("alice", [hub.port], "dev") as alice:
                alice.say(said[-1])
                await alice.gets("msg", text=said[-1])
                assert [line["text"] for line in await alice.history()] == said
            hub.kill()
