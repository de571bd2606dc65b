"""What was meant as a code is never the name of something that others can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.crypto.codes import BadCode, like_code
from sandpiper.faces.incode import check_start
from tests.neighbours import neighbour, refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "typed",
    [
        "maple-rivre-42",
        "42-maple-rivre",
        "maple-river",
        "MAPLE-RIVER",
        "mapleriver-42",
        "maple-river-4-2",
        "maple-river-42x",
    ],
)
async def test_a_slip_in_a_code_makes_no_open_room(typed: str, tmp_path: Path) -> None:
    async with neighbour(tmp_path, "bob") as bob:
        before = bob.node.rooms()
        error = await refused(BadCode, bob, f"/join {typed}")
        assert bob.node.rooms() == before
        assert "maple" not in error.sentence().casefold()
        assert "#" in error.hint, "how to go to an open room of such a name"
        assert any("maple-river-42?" in line for line in bob.page.lines) == (
            typed in ("maple-rivre-42", "42-maple-rivre")
        )


async def test_an_open_room_may_still_have_such_a_name(tmp_path: Path) -> None:
    async with neighbour(tmp_path, "bob") as bob:
        await bob.types("/join #maple-rivre-42", "/join general", "/join room2", "/join birds-2")
        assert [room.name for room in bob.node.rooms()] == ["maple-rivre-42", "general", "room2", "birds-2"]


@pytest.mark.parametrize("name", ["general", "birds", "room2", "team-2", "2026", "", "#", "über-uns", "a" * 10_000])
def test_names_of_rooms_are_no_codes(name: str) -> None:
    assert not like_code(name)


@pytest.mark.parametrize("typed", ["maple-river-42", "maple-rivre-42", "maple-river"])
def test_a_code_is_no_room_to_begin_in(typed: str) -> None:
    with pytest.raises(BadCode) as caught:
        check_start(typed)
    assert "maple" not in caught.value.sentence()
    check_start(f"#{typed}")
    check_start("birds~1a2b")
