"""A member's door: what joiners, honest or not, can have of it at one time."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from sandpiper.core import admission
from sandpiper.core.admission import CodeTried
from sandpiper.core.events import PeerChanged
from sandpiper.core.mesh import SILENT_SECONDS
from sandpiper.core.rendezvous import Registered
from sandpiper.crypto.identity import Identity
from sandpiper.net.relays import RelayAddress, parse_relay
from sandpiper.net.secure import secure_as_joiner
from sandpiper.net.tcp import dial
from sandpiper.node.meeting import MAX_KNOCKS
from sandpiper.testing.conformance import until
from sandpiper.wire.admission import Admitted, Asks, Declined, Unproven, decode_admission, encode_admission
from sandpiper.wire.meeting import BRIDGE_TOKEN_BYTES, CrossWith, encode_code_signal
from tests.neighbours import SECONDS, neighbour
from tests.relayed import Relayed, answering, friend, knock
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.wire.ids import PeerKey


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAddress]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield parse_relay(f"{HOST}:{served.port}")
        served.unharmed()


async def test_joiners_who_come_to_no_bridge_keep_a_member_at_few_and_members_from_none(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice:
        room, code = await alice.creates()
        async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
            await bob.types(f"/join {code.spoken}")
        async with AsyncExitStack() as liars:
            there = ""
            for _ in range(MAX_KNOCKS + 2):
                liar = await liars.enter_async_context(friend(relay))
                liar.wish(lambda guest: guest.register(code.nameplate))
                peers = (await liar.hears(Registered)).peers
                there = there or peers[0]
                for _ in range(5):
                    crossing = encode_code_signal(CrossWith(os.urandom(BRIDGE_TOKEN_BYTES)))
                    liar.wish(lambda guest, data=crossing, to=there: guest.signal(to, data))  # type: ignore[misc]
            async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
                await bob.until(lambda: bob.node.members(room))
            under: list[PeerKey | None] = [cross.peer for cross in alice.node._meetings._bridges.values()]
            assert under.count(None) == MAX_KNOCKS


async def test_who_is_linked_already_and_comes_with_a_code_through_a_relay_is_lost_to_nobody(
    tmp_path: Path, relay: RelayAddress
) -> None:
    """The member must not take the joiner's link for the better one while the joiner does not have it yet."""
    async with (
        neighbour(tmp_path, "alice", relays=(relay,)) as alice,
        neighbour(tmp_path, "bob", alice, relays=(relay,)) as bob,
    ):
        room, code = await alice.creates()
        await bob.until(lambda: bob.node.linked() and alice.node.linked())
        for one, other in ((alice, bob), (bob, alice)):
            one.node._mesh._linked[other.node.key].heard -= 2 * SILENT_SECONDS  # nothing was said for so long
        await bob.types(f"/join {code.spoken}")
        for one, other in ((alice, bob), (bob, alice)):
            await one.until(lambda one=one, other=other: one.node.members(room) == (other.node.key,))  # type: ignore[misc]
        for one in (alice, bob):
            assert {notice.state for notice in one.heard(PeerChanged)} == {"linked"}


async def test_who_asks_for_another_bridge_is_waited_for_at_that_one_and_the_code_is_free_for_it(
    tmp_path: Path, relay: RelayAddress
) -> None:
    """As when its way to the first one failed: nobody will ever be there."""
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice, friend(relay) as joiner:
        room, code = await alice.creates()
        [there] = await answering(joiner, code.nameplate, 1)
        lost = encode_code_signal(CrossWith(os.urandom(BRIDGE_TOKEN_BYTES)))
        joiner.wish(lambda guest: guest.signal(there, lost))
        pipe = await knock(joiner, relay, there)
        link = await secure_as_joiner(pipe, Identity(bytes(32)), code)
        link.offer(encode_admission(Asks("bob")))
        async with asyncio.timeout(SECONDS):
            assert isinstance(decode_admission(await link.receive()), Admitted)
        link.abort()
        assert len(alice.node.roles(room)) == 2


async def test_a_joiner_who_does_not_come_or_has_gone_keeps_no_code_busy(
    tmp_path: Path, relay: RelayAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandpiper.node.door.COME_SECONDS", 0.5)
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice:
        _, code = await alice.creates()
        [open_code] = alice.node._run.codes._open.values()
        for leaves in (False, True):
            async with friend(relay) as joiner:
                [there] = await answering(joiner, code.nameplate, 1)
                crossing = encode_code_signal(CrossWith(os.urandom(BRIDGE_TOKEN_BYTES)))
                joiner.wish(lambda guest, data=crossing, to=there: guest.signal(to, data))  # type: ignore[misc]
                await until(lambda: open_code.busy, "an attempt")
                if not leaves:
                    await until(lambda: not open_code.busy, "its end")
            monkeypatch.setattr("sandpiper.node.door.COME_SECONDS", 60.0)
            await until(lambda: not open_code.busy, "its end")


async def test_who_comes_with_another_number_than_it_asked_with_gets_nowhere(
    tmp_path: Path, relay: RelayAddress
) -> None:
    async with neighbour(tmp_path, "alice", relays=(relay,)) as alice, friend(relay) as joiner:
        room, code = await alice.creates()
        other = await alice.invites(room)
        [there] = await answering(joiner, code.nameplate, 1)
        pipe = await knock(joiner, relay, there)
        with pytest.raises(Unproven):
            await secure_as_joiner(pipe, Identity(bytes(32)), other)
        assert not alice.heard(CodeTried), "it was no guess"


async def test_who_proves_the_code_and_never_asks_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ASK_SECONDS", 0.3)
    async with neighbour(tmp_path, "alice") as alice:
        room, code = await alice.creates()
        link = await secure_as_joiner(await dial(*alice.address), Identity(bytes(32)), code, path="lan")
        try:
            async with asyncio.timeout(SECONDS):
                assert decode_admission(await link.receive()) == Declined("failed")
        finally:
            link.abort()
        assert len(alice.node.roles(room)) == 1
        async with neighbour(tmp_path, "bob", alice) as bob:
            await bob.types(f"/join {code.spoken}")
            assert bob.page.room == room, "and the code is free again"
