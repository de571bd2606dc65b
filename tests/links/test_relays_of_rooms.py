"""Where the members of a private room meet: what is told, what is remembered, and what another spelling changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sandpiper.core.codekeeping import KeptCode
from sandpiper.core.events import Accepted, EnterPrivate
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.rooms import RoomSecret, meeting_tag
from sandpiper.net.relays import RelayAddress, names, parse_relay
from sandpiper.node import MeetingNews, moment
from sandpiper.node.meeting import MAX_ELSEWHERE, MAX_RELAYS, Meetings
from sandpiper.wire.admission import MAX_CODE_SECONDS, Admitted, CodeOpen
from sandpiper.wire.frames import encode_frame
from sandpiper.wire.ids import RoomId
from sandpiper.wire.records import Text
from tests.neighbours import neighbour
from tests.relayed import Relayed, free_port
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.core.meeting import Cross

PIN = "ab" * 32


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAddress]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield parse_relay(f"{HOST}:{served.port}")
        served.unharmed()


async def test_who_comes_in_on_one_network_is_told_where_the_room_meets(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", alice) as bob,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        assert bob.private(room).relay == relay.spelled
    async with neighbour(tmp_path, "bob") as bob:
        assert bob.private(room).relay == relay.spelled


async def test_coming_in_again_mends_what_one_was_told_wrong(tmp_path: Path, relay: RelayAddress) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", alice) as bob,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        bob.node._run.do(EnterPrivate(room, (), RoomSecret(b"x" * 32), relay="relay.invalid"))
        assert bob.private(room).secret == b"x" * 32
        await bob.types(f"/join {code.spoken}")
        right = alice.private(room)
        assert (bob.private(room).secret, bob.private(room).relay) == (right.secret, right.relay)
    async with neighbour(tmp_path, "bob") as bob:
        assert (bob.private(room).secret, bob.private(room).relay) == (right.secret, right.relay)


async def test_a_pin_of_the_settings_holds_whatever_a_peer_has_told_and_no_peers_pin_is_anybody_elses(
    tmp_path: Path,
) -> None:
    away = free_port()
    mine = parse_relay(f"tls://{HOST}:{away}#sha256:{PIN}")
    told = f"tls://{HOST}:{away}#sha256:{'0' * 64}"
    async with neighbour(tmp_path, "alice", relays=(mine,)) as alice:
        for place in (f"tls://{HOST}:{away}", told):
            room = PrivateRoom(RoomId(b"r" * 32), alice.node.key, relay=place)
            assert alice.node._meetings.relays_of(room) == (mine,)
        assert alice.node._meetings.place(mine) is not alice.node._meetings.place(parse_relay(told))
        assert {shown for shown, _ in alice.node.codes.reached()} == {f"tls://{HOST}:{away}"}


async def test_a_member_answers_where_the_code_was_given_out_also_when_the_room_meets_elsewhere(
    tmp_path: Path, relay: RelayAddress
) -> None:
    with Relayed(tmp_path / "first") as first:
        gone = parse_relay(f"{HOST}:{first.port}")
        async with neighbour(tmp_path, "alice", relays=(gone,)) as alice:
            room, code = await alice.creates()
            async with neighbour(tmp_path, "carol", relays=(gone,)) as carol:
                await carol.types(f"/join {code.spoken}")
        first.stop()
    async with neighbour(tmp_path, "carol") as carol:
        async with neighbour(tmp_path, "alice", carol, relays=(relay,)) as alice:
            await alice.until(lambda: alice.node.members(room))
            code = await alice.invites(room)
            await carol.until(lambda: carol.node._run.codes.nameplates(room, moment()))
        assert carol.private(room).relay == gone.spelled
        async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
            await bob.types(f"/join {code.spoken}")
            assert bob.page.room == room


async def test_around_midnight_whoever_was_there_for_a_moment_is_met_at_once_when_it_comes_again(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members are under two tags then. Bridges agreed with whoever has gone are not waited at: others are for it."""
    monkeypatch.setattr(
        "sandpiper.node.meeting.meeting_tags", lambda secret, _: (meeting_tag(secret, 1), meeting_tag(secret, 2))
    )
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice:
        room, code = await alice.creates()
        async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
            await bob.types(f"/join {code.spoken}")
        meetings, agreed = alice.node._meetings, asyncio.Event()
        cross = meetings._cross

        def crosses(effect: Cross) -> None:
            agreed.set()
            cross(effect)

        monkeypatch.setattr(meetings, "_cross", crosses)
        for _ in range(3):
            agreed.clear()
            async with neighbour(tmp_path, "bob", relays=(relay,)), asyncio.timeout(10):
                await agreed.wait()
        async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
            await alice.until(lambda: alice.node.members(room), 10)


async def test_codes_of_others_take_few_of_the_places_and_what_finds_none_is_told_once(tmp_path: Path) -> None:
    relays = tuple(parse_relay(f"{HOST}:{free_port()}") for _ in range(MAX_RELAYS + 1))
    async with neighbour(tmp_path, "alice") as alice:
        await alice.creates()
        room = alice.page.room
        assert room is not None
        for number in range(9):
            told = CodeOpen(
                room, bytes((number,)) * 8, "7", ("pine", "ocean"), MAX_CODE_SECONDS, relay=f"{HOST}:{2 + number}",
                after=alice.private(room).roster.acts.newest(),
            )  # fmt: skip
            alice.node._run.codes.told(alice.node.key, told, moment())
        alice.node._meetings.look()
        assert len(alice.node.codes.reached()) == MAX_ELSEWHERE
    async with neighbour(tmp_path, "bob", relays=relays) as bob:
        genesis = begin_room(bob.context.profile.identity, "birds", bytes(16), moment().wall_ms)
        bob.node._run.do(EnterPrivate(genesis.room, (genesis,), RoomSecret(b"s" * 32)))
        for _ in range(2):
            bob.node._meetings.look()
        assert [news.code for news in bob.heard(MeetingNews) if news.code == "relays_full"] == ["relays_full"]


@pytest.mark.parametrize("text", [f"{HOST}:80", f"tls://{HOST}:80", f"wss://{HOST}:80#sha256:{PIN}", f"ws://{HOST}"])
def test_a_relay_is_the_same_whatever_way_leads_to_it(text: str) -> None:
    assert names(text, parse_relay(f"tcp://{HOST}:80"))
    assert not names(text, parse_relay(f"tcp://{HOST}:81"))
    assert not names("no relay at all", parse_relay(f"{HOST}:80"))


def test_what_is_no_address_is_no_admission() -> None:
    with pytest.raises(ValueError, match="address"):
        Admitted(b"r" * 32, b"s" * 32, "all", relay="a b")


async def test_codes_that_are_no_news_cost_no_look_at_all_rooms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Meetings] = []
    look = Meetings.look

    def counted(self: Meetings) -> None:
        looks.append(self)
        look(self)

    monkeypatch.setattr(Meetings, "look", counted)
    async with neighbour(tmp_path, "alice") as alice, neighbour(tmp_path, "bob", alice) as bob:
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        await bob.until(lambda: bob.node._run.codes.nameplates(room, moment()))
        await alice.until(lambda: bob.node.key in alice.node.members(room))
        [kept] = [change.told for change in alice.node._run.history.load_codes(0) if isinstance(change, KeptCode)]
        raw = encode_frame(kept)
        before = looks.count(bob.node._meetings)
        for _ in range(200):
            alice.node._run.links.send(bob.node.key, raw)
        alice.node.post(room, Text("that was all"))
        await bob.until(lambda: any(isinstance(one.record.body, Text) for one in bob.heard(Accepted)))
        assert looks.count(bob.node._meetings) - before < 5
        await alice.invites(room)
        alice.node.post(room, Text("and now"))
        await bob.until(lambda: sum(isinstance(one.record.body, Text) for one in bob.heard(Accepted)) == 2)
        assert len(bob.node._run.codes.nameplates(room, moment())) == 2
        assert looks.count(bob.node._meetings) > before
