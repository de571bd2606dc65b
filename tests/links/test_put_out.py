"""Whoever is put out of a private room does not come in again by what they know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.core.admission import CodeEnded
from sandpiper.errors import UsageError
from sandpiper.net.relays import RelayAddress, parse_relay
from sandpiper.node.meeting import MAX_TO_ONE
from sandpiper.wire.admission import NotAdmitted
from sandpiper.wire.meeting import Meet
from tests.neighbours import neighbour, refused
from tests.relayed import Relayed
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAddress]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield parse_relay(f"{HOST}:{served.port}")
        served.unharmed()


@pytest.mark.parametrize("how", ["kick", "ban"])
async def test_the_code_that_somebody_came_with_does_not_let_them_in_again(how: str, tmp_path: Path) -> None:
    async with (
        neighbour(tmp_path, "alice") as alice,
        neighbour(tmp_path, "carol", alice) as carol,
        neighbour(tmp_path, "bob", alice, carol) as bob,
        neighbour(tmp_path, "eve", alice, carol) as eve,
    ):
        room, code = await alice.creates()
        await carol.types(f"/join {code.spoken}")
        await bob.types(f"/join {code.spoken}")
        await alice.until(lambda: len(alice.node.members(room)) == 2)
        await alice.types(f"/{how} bob")
        await carol.until(lambda: carol.heard(CodeEnded))
        assert [(one.nameplate, one.reason) for one in alice.heard(CodeEnded)] == [(code.nameplate, "code_withdrawn")]
        for whom in (bob, eve):  # with the old key and with a new one
            assert (await refused(NotAdmitted, whom, f"/join {code.spoken}")).code == "code_withdrawn"
        assert {bob.node.key, eve.node.key}.isdisjoint(alice.node.roles(room))
        again = await alice.invites(room)
        await eve.types(f"/join {again.spoken}")
        assert eve.node.key in alice.node.roles(room)
        await alice.until(lambda: eve.node.key in alice.node.members(room))
        if how == "kick":
            await bob.types(f"/join {again.spoken}")
            return
        assert (await refused(NotAdmitted, bob, f"/join {again.spoken}")).code == "banned"
        await alice.types("/unban bob")
        await bob.types(f"/join {again.spoken}")
        assert bob.node.key in alice.node.roles(room)


async def test_unban_never_puts_a_member_out_and_kick_never_lifts_a_ban(tmp_path: Path) -> None:
    async with neighbour(tmp_path, "alice") as alice, neighbour(tmp_path, "bob", alice) as bob:
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        await alice.until(lambda: bob.node.key in alice.node.members(room))
        assert (await refused(UsageError, alice, "/unban bob")).code == "no_ban"
        assert alice.node.roles(room)[bob.node.key] == "member"
        await alice.types("/ban bob")
        assert (await refused(UsageError, alice, "/kick bob")).code == "banned"
        again = await alice.invites(room)
        assert (await refused(NotAdmitted, bob, f"/join {again.spoken}")).code == "banned"
        await alice.types("/unban bob")
        for command in ("/unban bob", "/kick bob"):
            assert (await refused(UsageError, alice, command)).code == "no_member"
        await bob.types(f"/join {again.spoken}")
        assert alice.node.roles(room)[bob.node.key] == "member"


async def test_a_stranger_with_a_members_nick_is_not_put_out_in_their_place(tmp_path: Path) -> None:
    async with (
        neighbour(tmp_path, "alice") as alice,
        neighbour(tmp_path / "stranger", "bob", alice) as stranger,
        neighbour(tmp_path / "member", "bob") as bob,
    ):
        await alice.until(lambda: stranger.node.key in alice.node.linked())
        assert alice.people.name(stranger.node.key) == "bob", "whom alice has known for longer"
        room, code = await alice.creates()
        bob.node.connect(*alice.address)
        await bob.types(f"/join {code.spoken}")
        await alice.until(lambda: bob.node.key in alice.node.members(room))
        await alice.types("/role bob admin")
        assert alice.node.roles(room)[bob.node.key] == "admin"
        await alice.types("/ban bob")
        assert alice.node.banned(room) == {bob.node.key}
        assert (await refused(UsageError, alice, "/ban nobody")).code == "no_member"
        await alice.types(f"/ban {stranger.node.key.hex()}")
        assert alice.node.banned(room) == {bob.node.key, stranger.node.key}


async def test_of_two_members_with_one_nick_neither_is_meant_by_it_alone(tmp_path: Path) -> None:
    async with (
        neighbour(tmp_path, "alice") as alice,
        neighbour(tmp_path / "one", "bob", alice) as one,
        neighbour(tmp_path / "two", "bob", alice) as two,
    ):
        room, code = await alice.creates()
        for each in (one, two):
            await each.types(f"/join {code.spoken}")
        await alice.until(lambda: len(alice.node.members(room)) == 2)
        errors = [
            await refused(UsageError, alice, f"/{command}") for command in ("role bob admin", "kick bob", "ban BOB")
        ]
        assert [error.code for error in errors] == ["ambiguous"] * 3
        assert set(alice.node.roles(room).values()) == {"owner", "member"}
        [named] = [word for word in errors[0].hint.split() if word.startswith(f"bob~{one.node.key.hex()[:4]}")]
        await alice.types(f"/role {named} admin", f"/kick {two.node.key.hex()[:12]}")
        assert alice.node.roles(room) == {alice.node.key: "owner", one.node.key: "admin"}


async def test_a_member_that_sends_tokens_without_end_takes_two_bridges_and_no_more(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", relays=(relay,)) as bob,
        neighbour(tmp_path, "carol", relays=(relay,)) as carol,
    ):
        room, code = await alice.creates()
        await bob.types(f"/join {code.spoken}")
        theirs = bob.node._meetings._meeting
        met = await bob.until(lambda: theirs._met.get(alice.node.key))
        for number in range(100):
            theirs._whisper(met[0].place, room, met[0].tag, met[0].name, Meet(bob.node.key, bytes((number,)) * 32))
        bob.node._meetings._do()
        ours = alice.node._meetings
        await carol.types(f"/join {code.spoken}")
        assert carol.page.room == room
        under = [cross.peer for cross in ours._bridges.values()]
        assert 0 < under.count(bob.node.key) <= MAX_TO_ONE  # one of the two may have been for the link, which is made
