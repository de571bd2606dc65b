"""A member's door: what joiners, honest or not, can have of it at one time."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from sandpiper.core import admission
from sandpiper.core.rendezvous import Registered
from sandpiper.crypto.identity import Identity
from sandpiper.net.relays import RelayAddress, parse_relay
from sandpiper.net.secure import secure_as_joiner
from sandpiper.net.tcp import dial
from sandpiper.node.meeting import MAX_KNOCKS
from sandpiper.wire.admission import Declined, decode_admission
from sandpiper.wire.meeting import BRIDGE_TOKEN_BYTES, CrossWith, encode_code_signal
from tests.neighbours import SECONDS, neighbour
from tests.relayed import Relayed, friend
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
        async with friend(relay) as liar:
            liar.wish(lambda guest: guest.register(code.nameplate))
            [answering] = (await liar.hears(Registered)).peers
            for _ in range(5 * MAX_KNOCKS):
                crossing = encode_code_signal(CrossWith(os.urandom(BRIDGE_TOKEN_BYTES)))
                liar.wish(lambda guest, data=crossing: guest.signal(answering, data))  # type: ignore[misc]
            async with neighbour(tmp_path, "bob", relays=(relay,)) as bob:
                await bob.until(lambda: bob.node.members(room))
            under: list[PeerKey | None] = [cross.peer for cross in alice.node._meetings._bridges.values()]
            assert under.count(None) == MAX_KNOCKS


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
