"""A node on hubs: their rooms beside its own, in its history, over restarts. Everything stays on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.core.events import RoomChanged
from sandpiper.crypto.identity import Identity
from sandpiper.errors import StoreError, UsageError
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ChatSettings
from sandpiper.hub.serving import ChatServer, serve_chat
from sandpiper.net.hub import HubAddress, parse_hub
from sandpiper.node import (
    HubChange,
    HubNews,
    Node,
    NodeNotice,
    NodeSettings,
    PasswordWanted,
    PlainMessage,
    Problem,
    hubhearing,
    hubs,
)
from sandpiper.store.history import History
from sandpiper.testing.conformance import until
from sandpiper.wire.hub import asks
from sandpiper.wire.records import Edit, React, Retract, Text, Topic
from tests.links.test_hub_link import FAST, Tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RecordId, RoomId

HOST = "127.0.0.1"
SETTINGS = NodeSettings(ports=range(1), hosts=(HOST,), multicast=False)


class Ours:
    """A node and what it told."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[NodeNotice] = []
        node.subscribe(self.told.append)

    def texts(self) -> list[str]:
        return [one.text for one in self.told if isinstance(one, PlainMessage)]

    def ids(self) -> list[RecordId]:
        return [one.id for one in self.told if isinstance(one, PlainMessage)]

    def changes(self) -> list[Edit | Retract | React]:
        return [one.body for one in self.told if isinstance(one, HubChange)]

    def troubles(self) -> list[str]:
        return [one.code for one in self.told if isinstance(one, Problem)]

    def stored(self, room: RoomId) -> list[Message]:
        with self.node.reader() as reader:
            return reader.page(room)

    def codes(self) -> list[str]:
        return [one.code for one in self.told if isinstance(one, HubNews)]


@contextlib.asynccontextmanager
async def node(folder: Path, nick: str, key: int) -> AsyncIterator[Ours]:
    ours = Ours(Node(Identity(bytes([key]) * 32), nick, folder / f"{nick}.db", SETTINGS))
    async with ours.node:
        yield ours


@contextlib.asynccontextmanager
async def hub(history: MemoryHistory | None = None, port: int = 0, key: int = 1) -> AsyncIterator[ChatServer]:
    chat = ChatSettings(id=bytes([key]) * 32, guest_pace=FAST, address_pace=FAST, room_pace=FAST)
    server = await serve_chat(HOST, port, chat, history or MemoryHistory())
    try:
        yield server
    finally:
        await server.aclose()


def where(server: ChatServer) -> HubAddress:
    return HubAddress(HOST, server.port)


async def test_what_is_said_on_a_hub_is_told_and_kept_and_found(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server))
        assert bob.node.connect_hub(where(server)) == room
        await until(lambda: len(bob.node.members(room)) == len(alice.node.members(room)) == 1, "both to be there")
        alice.node.post(room, Text("pizza on friday?"))
        await until(lambda: bob.texts() == alice.texts() == ["pizza on friday?"], "both to hear it")
        bob.node.post(room, Text("yes", reply_to=next(one.id for one in bob.told if isinstance(one, PlainMessage))))
        await until(lambda: len(alice.texts()) == 2, "the answer")
        with alice.node.reader() as reader:
            page = reader.page(room)
            assert [(one.text, one.nick, one.author == alice.node.key) for one in page] == [
                ("pizza on friday?", "alice", True),
                ("yes", "bob", False),
            ]
            assert page[1].reply_to == page[0].id
            assert [one.text for one in reader.search("pizza")] == ["pizza on friday?"]
        found = alice.node.room(room)
        assert found is not None
        assert (found.name, found.kind) == (f"lobby@{HOST}:{server.port}", "hub")
        assert not alice.node.undelivered()


async def test_a_restart_of_ours_fetches_what_was_missed_and_nothing_twice(tmp_path: Path):
    async with hub() as server, node(tmp_path, "bob", 2) as bob:
        room = bob.node.connect_hub(where(server))
        for life in range(3):
            async with node(tmp_path, "alice", 1) as alice:
                alice.node.connect_hub(where(server))
                await until(lambda here=alice: here.node.members(room), "alice to be there")  # type: ignore[misc]
                bob.node.post(room, Text(f"to all {life}"))
                await until(lambda here=alice, n=life: f"to all {n}" in here.texts(), "alice to hear it")  # type: ignore[misc]
            bob.node.post(room, Text(f"meanwhile {life}"))
            await until(lambda n=life: f"meanwhile {n}" in bob.texts(), "it to be taken")  # type: ignore[misc]
        async with node(tmp_path, "alice", 1) as alice:
            assert not [one for one in alice.node.rooms() if one.kind == "hub"], "nobody connects without being asked"
            alice.node.connect_hub(where(server))
            await until(lambda: "meanwhile 2" in alice.texts(), "alice to catch up")
            with alice.node.reader() as reader:
                said = [one.text for one in reader.page(room, limit=100)]
        assert said == [f"{kind} {life}" for life in range(3) for kind in ("to all", "meanwhile")]


async def test_several_hubs_and_rooms_of_our_own_stand_side_by_side(tmp_path: Path):
    async with hub() as one, hub(key=2) as two, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        rooms = [alice.node.connect_hub(where(server)) for server in (one, two)]
        rooms.append(alice.node.connect_hub(where(one), "dev"))
        own = alice.node.join("general")
        assert len({*rooms, own}) == 4
        for room in [bob.node.connect_hub(where(server)) for server in (one, two)]:
            await until(lambda room=room: alice.node.members(room), "both to be there")  # type: ignore[misc]
        alice.node.post(rooms[1], Text("on two"))
        alice.node.post(own, Text("on the LAN"))
        await until(lambda: bob.texts() == ["on two"], "bob to hear it")
        with alice.node.reader() as reader:
            assert [[said.text for said in reader.page(room)] for room in (*rooms, own)] == [
                [],
                ["on two"],
                [],
                ["on the LAN"],
            ]


async def test_rooms_of_hubs_are_never_announced_on_the_network(tmp_path: Path):
    async with hub() as server:
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.join("general")
            alice.node.connect_hub(where(server))
            await until(lambda: "hub_up" in alice.codes(), "the hub")
            assert len(alice.node._run.engine.open_tags()) == 1
        async with node(tmp_path, "alice", 1) as alice:
            assert [room.name for room in alice.node._run.engine.rooms()] == ["general"]


async def test_topics_leaving_and_what_cannot_be_done(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server), "dev")
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        bob.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.members(room), "bob")
        alice.node.post(room, Topic("all about x"))
        await until(lambda: (found := bob.node.room(room)) is not None and found.topic == "all about x", "the topic")
        with pytest.raises(UsageError, match="does not know that message"):
            alice.node.post(room, React(bytes(32), "👍", add=True))
        bob.node.leave(room)
        await until(lambda: not alice.node.members(room), "bob to be gone")
        assert bob.node.room(room) is None
        assert any(isinstance(one, RoomChanged) and not one.joined for one in bob.told)


async def test_a_hub_whose_key_has_changed_is_not_talked_to_after_a_restart(tmp_path: Path):
    async with hub() as server:
        port = server.port
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.connect_hub(where(server))
            await until(lambda: "hub_up" in alice.codes(), "the hub")
    async with hub(port=port, key=7) as server, node(tmp_path, "alice", 1) as alice:
        alice.node.connect_hub(where(server))
        await until(lambda: any("Another hub" in getattr(one, "text", "") for one in alice.told), "the warning")
        assert "hub_up" not in alice.codes()
        alice.node.connect_hub(parse_hub(f"{HOST}:{port}#key:{'08' * 32}"))  # that is none of either
        await until(lambda: alice.troubles().count("hub_down") == 2, "the warning again")
        alice.node.connect_hub(parse_hub(f"{HOST}:{port}#key:{'07' * 32}"))
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        assert len(alice.node.hubs.views()) == 1
    async with hub(port=port, key=7) as server, node(tmp_path, "alice", 1) as alice:
        alice.node.connect_hub(where(server))
        await until(lambda: "hub_up" in alice.codes(), "the hub, by the key that is known now")


async def test_messages_are_changed_taken_back_and_reacted_to_by_those_who_may(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server))
        bob.node.connect_hub(where(server))
        await until(lambda: alice.node.members(room) and bob.node.members(room), "both to be there")
        for text in ("tpyo", "secret"):
            alice.node.post(room, Text(text))
        await until(lambda: len(bob.ids()) == 2, "bob to hear it")
        typo, secret = bob.ids()
        assert alice.ids() == [typo, secret], "both have one name for a message"
        alice.node.post(room, Edit(typo, "typo"))
        alice.node.post(room, Retract(secret))
        bob.node.post(room, React(typo, "👍", add=True))
        await until(lambda: len(bob.changes()) == len(alice.changes()) == 3, "the changes")
        for ours in (alice, bob):
            first, second = ours.stored(room)
            assert (first.text, first.edited, [one.emoji for one in first.reactions]) == ("typo", True, ["👍"])
            assert (second.text, second.retracted) == ("", True)
            with ours.node.reader() as reader:
                assert [one.id for one in reader.search("typo")] == [typo]
                assert not reader.search("secret")
        bob.node.post(room, Edit(typo, "hijacked"))
        await until(lambda: "not_yours" in bob.troubles(), "the refusal")
        bob.node.post(room, React(typo, "👍", add=False))
        await until(lambda: not alice.stored(room)[0].reactions, "the emoji to go")


async def test_what_was_changed_while_we_were_away_is_so_when_we_are_back_and_old_messages_can_be_changed(
    tmp_path: Path,
):
    async with hub() as server, node(tmp_path, "bob", 2) as bob:
        room = bob.node.connect_hub(where(server))
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.connect_hub(where(server))
            await until(lambda: alice.node.members(room), "both to be there")
            alice.node.post(room, Text("mine"))
            bob.node.post(room, Text("first"))
            bob.node.post(room, Text("gone soon"))
            await until(lambda: len(alice.ids()) == len(bob.ids()) == 3, "both to hear it")
        first, gone = (one.id for one in bob.stored(room) if one.text in ("first", "gone soon"))
        bob.node.post(room, Edit(first, "second thoughts"))
        bob.node.post(room, Retract(gone))
        await until(lambda: len(bob.changes()) == 2, "bob's changes")
        async with node(tmp_path, "alice", 1) as alice:
            alice.node.connect_hub(where(server))
            await until(lambda: len(alice.changes()) == 2, "alice to catch up")
            assert sorted(one.text for one in alice.stored(room)) == ["", "mine", "second thoughts"]
            mine = next(one.id for one in alice.stored(room) if one.text == "mine")
            alice.node.post(room, Edit(mine, "still mine"))  # said in an earlier run
            await until(lambda: Edit(mine, "still mine") in bob.changes(), "bob to hear of it")
        async with node(tmp_path, "carol", 3) as carol:
            carol.node.connect_hub(where(server))
            await until(lambda: "caught_up" in carol.codes(), "somebody new to catch up")
            shown = [one.text for one in carol.told if isinstance(one, PlainMessage)]
            assert "" not in shown
            assert sorted(one.text for one in carol.stored(room)) == ["", "second thoughts", "still mine"]


async def test_a_message_of_a_room_that_was_closed_cannot_be_changed_in_the_next_of_its_name(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice:
        room = alice.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.hubs.operates(room), "the room")
        alice.node.post(room, Text("one"))
        await until(lambda: alice.texts() == ["one"], "it to be said")
        alice.node.hubs.rule(room, asks.Close(""))
        await until(lambda: alice.node.room(room) is None, "its end")
        alice.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.room(room) is not None and alice.node.hubs.operates(room), "the next one")
        alice.node.post(room, Text("two"))
        await until(lambda: alice.texts() == ["one", "two"], "it to be said")
        with pytest.raises(UsageError) as caught:
            alice.node.post(room, Edit(alice.ids()[0], "another"))
        assert caught.value.code == "no_message"


async def test_there_are_only_so_many_hubs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "MAX_HUBS", 1)
    async with hub() as one, hub() as two, node(tmp_path, "alice", 1) as alice:
        room = alice.node.connect_hub(where(one))
        alice.node.connect_hub(where(one), "dev")
        with pytest.raises(UsageError):
            alice.node.connect_hub(where(two))
        assert len(alice.node.rooms()) == 2
        alice.node.leave(room)
        alice.node.leave(next(one.id for one in alice.node.rooms()))
        alice.node.connect_hub(where(two))


async def test_a_locked_room_is_made_asks_for_its_password_and_opens_with_it(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server), "vault", "open sesame")
        await until(lambda: alice.node.hubs.operates(room), "the room to be made")
        bob.node.connect_hub(where(server), "vault")
        wanted = lambda: [one for one in bob.told if isinstance(one, PasswordWanted)]  # noqa: E731
        await until(lambda: [one.wrong for one in wanted()] == [False], "bob to be asked")
        bob.node.connect_hub(wanted()[0].hub, wanted()[0].room, "open barley")
        await until(lambda: [one.wrong for one in wanted()] == [False, True], "bob to be asked again")
        assert wanted()[1].label == f"#vault@{HOST}:{server.port}"
        assert not bob.troubles()
        bob.node.connect_hub(wanted()[1].hub, wanted()[1].room, "open sesame")
        await until(lambda: bob.node.members(room), "bob to come in")
        alice.node.post(room, Text("treasure"))
        await until(lambda: bob.texts() == ["treasure"], "bob to hear it")
        assert "sesame" not in repr([*alice.told, *bob.told])
        assert "sesame" not in repr(asks.Join("vault", "open sesame")) + repr(asks.Password("open sesame"))
        async with node(tmp_path, "carol", 3) as carol:
            locked = carol.node.connect_hub(where(server), "vault")
            await until(lambda: any(isinstance(one, PasswordWanted) for one in carol.told), "carol to be asked")
            carol.node.leave(locked)  # she does not know it
            assert not [one for one in carol.node.rooms() if one.kind == "hub"]
            assert not carol.node.hubs.views()


async def test_a_locked_room_goes_on_where_it_was_left_when_its_password_comes_later(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice:
        room = alice.node.connect_hub(where(server), "vault", "open sesame")
        await until(lambda: alice.node.hubs.operates(room), "the room to be made")
        async with node(tmp_path, "bob", 2) as bob:
            bob.node.connect_hub(where(server), "vault", "open sesame")
            await until(lambda: bob.node.members(room), "bob to come in")
            alice.node.post(room, Text("seen"))
            await until(lambda: bob.texts() == ["seen"], "bob to hear it")
        for text in ("missed", "missed as well"):
            alice.node.post(room, Text(text))
        await until(lambda: len(alice.texts()) == 3, "all to be said")
        async with node(tmp_path, "bob", 2) as bob:
            bob.node.connect_hub(where(server), "vault")
            await until(lambda: any(isinstance(one, PasswordWanted) for one in bob.told), "bob to be asked")
            bob.node.connect_hub(where(server), "vault", "open sesame")
            await until(lambda: "missed as well" in bob.texts(), "bob to catch up")
            assert bob.texts() == ["missed", "missed as well"], "he has what was told in an earlier run"


async def test_a_locked_room_that_is_left_is_gone_at_once_beside_others_of_its_hub(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice:
        vault = alice.node.connect_hub(where(server), "vault", "open sesame")
        await until(lambda: alice.node.hubs.operates(vault), "the room to be made")
        async with node(tmp_path, "bob", 2) as bob:
            bob.node.connect_hub(where(server))
            locked = bob.node.connect_hub(where(server), "vault")
            await until(lambda: any(isinstance(one, PasswordWanted) for one in bob.told), "bob to be asked")
            bob.node.leave(locked)
            assert [one.room for one in bob.told if isinstance(one, RoomChanged) and not one.joined] == [locked]
            with bob.node.reader() as reader:
                assert not next(one for one in reader.rooms() if one.room == locked).joined


async def test_of_whoever_changes_nicks_all_the_time_the_last_ones_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hubhearing, "MAX_NICKS", 3)
    async with hub() as server, node(tmp_path, "alice", 1) as alice:
        room = alice.node.connect_hub(where(server))
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        _, writer = await asyncio.open_connection(HOST, server.port)
        for number in range(8):
            writer.write(b'{"type":"nick","nick":"eve%d"}\n{"type":"msg","text":"%d"}\n' % (number, number))
        await until(lambda: len(alice.texts()) == 8, "all to be heard")
        found = alice.node.room(room)
        assert found is not None
        assert list(found.nicks.values()) == ["eve5", "eve6", "eve7"]
        writer.close()


async def test_operators_rule_and_others_are_told_that_they_may_not(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.hubs.operates(room), "alice to be in charge")
        bob.node.connect_hub(where(server), "dev")
        await until(lambda: alice.node.members(room), "bob")
        bob.node.hubs.rule(room, asks.Kick("alice"))
        await until(lambda: "not_operator" in bob.troubles(), "bob to be refused")
        alice.node.hubs.rule(room, asks.Slowmode(30))
        await until(lambda: "slowmode" in bob.codes(), "slow mode")
        alice.node.hubs.rule(room, asks.Kick("bob", reason="noise"))
        await until(lambda: "kicked" in bob.troubles(), "bob to be out")
        assert bob.node.room(room) is None
        await until(
            lambda: server.house.guests.find("bob") is None, "bob to be gone from a hub that he is in no room of"
        )
        assert not bob.node.hubs.views()
        bob.node.connect_hub(where(server), "dev")
        await until(lambda: bob.node.members(room), "bob to be back")


async def test_the_hub_finds_what_is_older_than_what_we_have(tmp_path: Path):
    async with hub() as server, node(tmp_path, "alice", 1) as alice:
        room = alice.node.connect_hub(where(server))
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        for number in range(420):
            alice.node.post(room, Text(f"pizza number {number}"))
        await until(lambda: len(alice.texts()) == 420, "all to be said")
        async with node(tmp_path, "bob", 2) as bob:
            bob.node.connect_hub(where(server))
            await until(lambda: "caught_up" in bob.codes(), "bob to catch up")
            with bob.node.reader() as reader:
                assert reader.page(room, limit=500)[0].text == "pizza number 220"
            found = await bob.node.hubs.find(room, "pizza number 7")
            texts = [hit.said.text for hit in found.hits]
            assert texts[-1] == "pizza number 7"
            assert found.hits[-1].id == alice.ids()[7], "its name is the same for all"
            first = await bob.node.hubs.find(room, "pizza")
            assert [hit.said.text for hit in first.hits] == [f"pizza number {n}" for n in range(419, 369, -1)]
            second = await bob.node.hubs.find(room, "pizza", first.before)
            assert [hit.said.text for hit in second.hits] == [f"pizza number {n}" for n in range(369, 319, -1)]
            assert not (await bob.node.hubs.find(room, "anchovies")).hits
            with pytest.raises(UsageError):
                await bob.node.hubs.find(room, "?!")
            rooms = await bob.node.hubs.list_rooms(room)
            assert [(one.room, one.members) for one in rooms.rooms] == [("lobby", 2)]


async def test_of_several_addresses_the_next_is_used_when_one_dies_and_nothing_is_lost(tmp_path: Path):
    history = MemoryHistory()
    one = await serve_chat(HOST, 0, ChatSettings(id=bytes(32)), history)
    async with hub(history, key=9) as two, node(tmp_path, "alice", 1) as alice:
        address = HubAddress(HOST, one.port, others=((HOST, two.port),))
        room = alice.node.connect_hub(address)
        await until(lambda: "hub_up" in alice.codes(), "the first")
        assert alice.node.hubs.views()[0].place == f"{HOST}:{one.port}"
        alice.node.post(room, Text("on one"))
        await until(lambda: alice.texts() == ["on one"], "it to be taken")
        await one.aclose()
        alice.node.post(room, Text("between"))
        await until(lambda: alice.codes().count("hub_up") == 2, "the second")
        assert alice.node.hubs.views()[0].place == f"{HOST}:{two.port}"
        alice.node.post(room, Text("on two"))
        await until(lambda: alice.texts()[-2:] == ["between", "on two"], "it to be taken there")


@pytest.mark.parametrize("fails", ["append_hub", "commit"])
async def test_what_our_disk_refuses_is_shown_and_kept_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
):
    monkeypatch.setattr("sandpiper.core.hubtalk.UNKEPT_SECONDS", 0.3)
    async with hub() as server, node(tmp_path, "alice", 1) as alice, node(tmp_path, "bob", 2) as bob:
        room = alice.node.connect_hub(where(server))
        bob.node.connect_hub(where(server))
        await until(lambda: alice.node.members(room) and bob.node.members(room), "both")
        alice.node.post(room, Text("before"))
        await until(lambda: bob.texts() == alice.texts() == ["before"], "it to come")
        real = getattr(History, fails)
        full = True

        def failing(history: History, *args: Any) -> None:
            if full and history.path.name == "bob.db" and (fails == "append_hub" or history._dirty):
                history.rollback()
                raise StoreError("The disk is full.")
            real(history, *args)

        monkeypatch.setattr(History, fails, failing)
        alice.node.post(room, Text("one"))
        alice.node.post(room, Text("two"))
        bob.node.post(room, Text("mine"))
        await until(lambda: "store" in bob.troubles(), "the trouble")
        await until(lambda: len(alice.texts()) == 4, "all at alice's")
        assert bob.texts() == ["before"], "nothing is told before it is on disk"
        full = False
        await until(lambda: len(bob.texts()) == 4, "it to be fetched")
        assert bob.texts() == alice.texts()
        assert [one.mine for one in bob.told if isinstance(one, PlainMessage) and one.text == "mine"] == [True]
        alice.node.post(room, Text("after"))
        await until(lambda: bob.texts()[-1] == "after", "the next one")
        assert [message.text for message in bob.stored(room)] == bob.texts() == alice.texts()
    async with node(tmp_path, "bob", 2) as bob:
        assert len(bob.stored(room)) == 5


async def test_a_hub_that_wants_tls_is_told_with_the_address_that_helps(tmp_path: Path):
    refusal = {"type": "error", "text": "This hub is used with TLS only.", "code": "tls_only"}

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)  # what is not read would reset the connection
        writer.write(json.dumps(refusal).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(refuse, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, node(tmp_path, "alice", 1) as alice:
        alice.node.connect_hub(HubAddress(HOST, port))
        await until(lambda: "hub_down" in alice.troubles(), "the refusal")
        (problem,) = (one for one in alice.told if isinstance(one, Problem))
        assert problem.hint == f"To try again: /connect tls://{HOST}:{port}"
        alice.node.connect_hub(HubAddress(HOST, port, tls=True))
        (view,) = alice.node.hubs.views()
        assert (view.address, view.tls) == (f"tls://{HOST}:{port}", True)


async def test_a_room_that_is_joined_by_host_alone_never_takes_tls_away(tmp_path: Path):
    async with node(tmp_path, "alice", 1) as alice:
        address = HubAddress(HOST, 1, tls=True, pin="00" * 32)
        alice.node.connect_hub(address)
        await until(lambda: "hub_down" in alice.codes(), "that nobody is there")
        for name, again in (("dev", HubAddress(HOST, 1)), ("ops", HubAddress(HOST, 1, tls=True))):
            alice.node.connect_hub(again, name)
            assert alice.node.hubs._hubs[HOST, 1].link.place == address


async def test_after_sleep_a_dead_connection_is_noticed_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sandpiper.core.hubpulse.DOUBT_SECONDS", 0.3)
    async with hub() as server, Tunnel(server.port, random.Random(1)) as tunnel, node(tmp_path, "alice", 1) as alice:
        alice.node.connect_hub(HubAddress(HOST, tunnel.port))
        await until(lambda: "hub_up" in alice.codes(), "the hub")
        tunnel.open.clear()  # as after sleep: everything is swallowed, and nobody says so
        alice.node.hubs.look_again()
        await until(lambda: "hub_down" in alice.codes(), "the loss to be noticed")
        tunnel.cut()
        tunnel.open.set()
        await until(lambda: alice.codes().count("hub_up") == 2, "the hub again")
        await until(lambda: alice.node.hubs.views()[0].round_trip is not None, "an answer")
        alice.node.hubs.look_again()
        alice.node.post(alice.node.hubs.views()[0].rooms[0], Text("still here"))
        await until(lambda: alice.texts() == ["still here"], "the connection to be good")
        assert alice.codes().count("hub_down") == 1, "a hub that answers is not left"
