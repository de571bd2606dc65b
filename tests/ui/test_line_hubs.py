"""Line mode on a hub: what commands about people do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ChatSettings
from sandpiper.hub.serving import serve_chat
from sandpiper.net.hub import HubAddress
from sandpiper.node.onhub import hub_room
from sandpiper.testing.conformance import until
from tests.links.test_hub_node import hub
from tests.ui.people import person

if TYPE_CHECKING:
    from pathlib import Path


async def test_somebody_of_a_hub_is_ignored_by_name_also_after_a_restart(tmp_path: Path):
    async with hub() as server, person("bob", tmp_path) as bob:
        place = f"127.0.0.1:{server.port}"
        bob.type(f"/connect hub://{place}")
        await bob.sees(f"On {place} as bob.")
        async with person("alice", tmp_path) as alice:
            alice.type(f"/connect hub://{place}")
            await until(lambda: any(alice.node.members(room.id) for room in alice.node.rooms()), "bob to be there")
            alice.type("/ignore bob")
            await alice.sees(f"You no longer see what bob@{place} says.", "the hub says who is who")
            bob.type("nonsense", "/topic rubbish", "/me rants")
            await bob.sees("* bob rants")
            alice.type("said after it")
            await alice.sees("alice: said after it")
            assert "nonsense" not in alice.paper.out
            assert "rants" not in alice.paper.out
        async with person("alice", tmp_path) as alice:
            alice.type("/ignore")
            await alice.sees(f"You ignore: bob@{place}")
            alice.type(f"/msg bob@{place} hi", f"/verify bob@{place}", f"/whois bob@{place}")
            await alice.sees("is on no hub that you are on now")
            assert alice.paper.aside.count(f"bob@{place} is somebody of a hub.") == 2
            assert not [room for room in alice.node.rooms() if room.peer is not None]
            alice.type(f"/connect hub://{place}", "/unignore bob")
            await alice.sees(f"You see what bob@{place} says again.")
            bob.type("sense")
            await alice.sees("bob: sense")


async def test_whois_tells_what_the_hub_says_of_somebody_and_that_it_is_the_hub_that_says_it(tmp_path: Path):
    async with hub() as server, person("bob", tmp_path) as bob:
        place = f"127.0.0.1:{server.port}"
        bob.type(f"/connect hub://{place}", f"/join #dev@{place}")
        dev = hub_room(HubAddress("127.0.0.1", server.port), "dev")
        await until(lambda: bob.node.room(dev) is not None and bob.node.hubs.operates(dev), "bob to have made the room")
        async with person("alice", tmp_path) as alice:
            alice.type(f"/connect hub://{place}", f"/join #dev@{place}")
            await until(lambda: sum(bool(alice.node.members(one.id)) for one in alice.node.rooms()) == 2, "bob")
            alice.type("/whois bob", "/whois alice", "/whois nobody")
            await alice.sees(
                f"  on        {place}; it is the hub that says all of this",
                f"  key       {' '.join(bob.node.key.hex()[at : at + 8] for at in range(0, 64, 8))}",
                f"  rooms     #lobby@{place} #dev@{place}",
                f"an operator of #dev@{place}",
                "alice is you",
                "Nobody is called nobody here.",
            )
            assert "/verify bob" not in alice.paper.out + alice.paper.aside


async def test_operators_of_a_hub_put_people_out_of_all_of_it(tmp_path: Path):
    async with person("alice", tmp_path) as alice, person("bob", tmp_path, linked=False) as bob:
        settings = ChatSettings(id=bytes(32), operators=frozenset({alice.node.key}))
        server = await serve_chat("127.0.0.1", 0, settings, MemoryHistory())
        place = f"127.0.0.1:{server.port}"
        try:
            for one in (alice, bob):
                one.type(f"/connect hub://{place}")
                await one.sees(f"On {place} as ")
            bob.type(f"/kick alice@{place}")
            await bob.sees("Only an operator of the hub may do that.")
            alice.type(f"/ban @bob@{place} 2d noise")
            await bob.sees("alice has put you out of the hub: noise")
            assert server.house.bans
            alice.type(f"/unban bob@{place}")
            await alice.sees("bob may come in again.")
            assert not server.house.bans
            bob.type(f"/connect hub://{place}")
            await until(lambda: server.house.guests.find("bob") is not None, "bob to be back")
        finally:
            await server.aclose()
