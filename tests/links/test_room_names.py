"""Which room a name means: what is meant for the members of a private room never goes to an open one of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.core.events import RoomChanged
from sandpiper.crypto.rooms import open_room
from sandpiper.errors import UsageError
from sandpiper.faces.archive import Archive
from sandpiper.faces.incode import start_in
from sandpiper.faces.settings import START_ROOM
from tests.neighbours import neighbour, refused

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_private_room_does_not_become_the_room_that_one_starts_in(tmp_path: Path) -> None:
    async with neighbour(tmp_path, "alice") as alice:
        room, _ = await alice.creates(START_ROOM)
        assert start_in(alice.node, alice.people, START_ROOM) == open_room(START_ROOM)
        labels = {one.id: alice.people.label(one) for one in alice.node.rooms()}
        assert labels == {room: f"#{START_ROOM}~{room.hex()[:4]}", open_room(START_ROOM): f"#{START_ROOM}"}
        assert start_in(alice.node, alice.people, labels[room]) == room


async def test_a_name_that_several_rooms_have_is_refused_with_names_that_tell_them_apart(tmp_path: Path) -> None:
    async with neighbour(tmp_path, "alice") as alice:
        one, _ = await alice.creates("birds")
        assert alice.people.room(one) == "#birds", "no digits that nobody needs"
        await alice.types("/join #birds")
        assert alice.page.room == one
        other, _ = await alice.creates("birds")
        for command in ("/join #birds", "/join birds", "/leave #birds", "/who #birds"):
            error = await refused(UsageError, alice, command)
            assert error.code == "ambiguous"
            assert {f"#birds~{room.hex()[:4]}" for room in (one, other)} <= set(error.hint.split())
        for room in (one, other):
            await alice.types(f"/join #birds~{room.hex()[:6]}")
            assert alice.page.room == room
        await alice.types("/join #birds~open")
        assert alice.page.room == open_room("birds")
        assert "#birds~open" in (await refused(UsageError, alice, "/join #birds")).hint.split()
        assert (await refused(UsageError, alice, "/join #birds~0123456789")).code == "no_room"
        await alice.types(f"/leave #birds~{one.hex()[:6]}", "/leave #birds~open", "/join #birds")
        assert alice.page.room == other
        folder = alice.context.profile.directory
    with Archive(folder) as kept:
        for room in (one, other):
            assert kept.find_room(f"#birds~{room.hex()[:4]}").room == room
        assert kept.find_room("#birds").room == open_room("birds")


@pytest.mark.parametrize("start", [False, True])
async def test_the_name_of_a_private_room_that_was_left_does_not_lead_to_an_open_one(
    start: bool, tmp_path: Path
) -> None:
    async with neighbour(tmp_path, "alice") as alice:
        await alice.creates("birds")
        await alice.types("/leave #birds")
    async with neighbour(tmp_path, "alice") as alice:
        if start:
            with pytest.raises(UsageError, match="left the private room"):
                start_in(alice.node, alice.people, "birds")
        else:
            assert (await refused(UsageError, alice, "/join #birds")).code == "left"
        assert not alice.heard(RoomChanged)
        await alice.types("/join #birds~open")
        assert alice.page.room == open_room("birds")
