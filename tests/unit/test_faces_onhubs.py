"""Commands and screens for rooms of hubs: what can be typed, what is never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from sandpiper.errors import UsageError
from sandpiper.faces.commands import Call, parse
from sandpiper.faces.completion import complete
from sandpiper.faces.onhubs import Given, _seconds
from sandpiper.faces.settings import LineSettings, Secret
from sandpiper.faces.spans import text_of
from sandpiper.faces.terminal import PromptState
from sandpiper.faces.tui.sidebar import list_rows
from sandpiper.faces.tui.status import laid_out
from sandpiper.faces.tui.views import Around, HubSide, RoomView, Us, Who
from sandpiper.faces.tui.wording import drawn_around, mode
from sandpiper.net.hub import HubAddress, parse_hub
from sandpiper.node.notices import PasswordWanted
from sandpiper.wire.ids import PeerKey, RoomId

if TYPE_CHECKING:
    from sandpiper.node import Node

ROOM = RoomId(bytes(32))


def around(hub: HubSide, *, others: int = 2) -> Around:
    us = Us(PeerKey(bytes(32)), "alice", "", temporary=False, address="", port=1, multicast=False)
    room = RoomView(ROOM, "#dev@hub.example", "hub", None, "", others, 0, 0, (-1, b""), hub=hub)
    return Around(us, (room,), ())


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("90", 90), ("30s", 30), ("10m", 600), ("2h", 7200), ("1W", 604_800)]
)
def test_times_are_read_as_people_write_them(text: str, seconds: int):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-5", "5y", "m", "²"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(UsageError):
        _seconds(text)


def test_a_ban_has_a_time_a_reason_both_or_neither():
    def arguments(text: str) -> tuple[str, str, str]:
        call = parse(text)
        assert isinstance(call, Call)
        return call.arguments["nick"], call.arguments.get("time"), call.arguments.get("reason")

    assert arguments("/ban eve") == ("eve", "", "")
    assert arguments("/ban eve 2d too loud") == ("eve", "2d", "too loud")
    assert arguments("/ban eve too loud") == ("eve", "", "too loud")


def test_rooms_of_the_hub_and_the_word_for_a_password_are_completed():
    state = PromptState(rooms=("#general", "#dev@hub.example"))
    assert [offer.text for offer in complete("/join #d", state)] == ["#dev@hub.example "]
    assert [offer.text for offer in complete("/join #dev@hub.example p", state)] == ["password"]


class Unlocking:
    """Stands for a node: what passwords it got, for which hub and room."""

    def __init__(self) -> None:
        self.got: list[tuple[HubAddress, str, str]] = []
        self.hubs = self

    def connect_hub(self, hub: HubAddress, room: str, password: str) -> RoomId:
        self.got.append((hub, room, password))
        return ROOM

    def unlock(self, hub: HubAddress, password: str) -> None:
        self.got.append((hub, "", password))


@pytest.mark.parametrize("start", ["tls://hub.example", "HUB.example:5000", "hub.example,other.example"])
def test_a_password_from_outside_goes_to_the_hub_of_the_start_and_to_no_other(start: str):
    node = Unlocking()
    given = Given(Secret("sesame"), start)

    def used(hub: str, room: str = "", *, wrong: bool = False) -> bool:
        wanted = PasswordWanted(parse_hub(hub), room, f"{room}@{hub}", "It needs a password.", wrong)
        return given.used(cast("Node", node), wanted)

    assert not used("evil.example")
    assert not used("evil.example", "vault")
    assert not used("hub.example:5001")
    assert not node.got
    assert used("hub.example")
    assert used("hub.example", "vault")
    assert not used("hub.example", "vault"), "once"
    assert [(room, password) for _, room, password in node.got] == [("", "sesame"), ("vault", "sesame")]


def test_a_password_from_outside_goes_nowhere_when_no_hub_was_named():
    wanted = PasswordWanted(parse_hub("hub.example"), "", "hub.example", "It needs a password.", wrong=False)
    assert not Given(Secret("sesame"), "").used(cast("Node", Unlocking()), wanted)


def test_a_password_is_in_no_repr():
    assert "sesame" not in repr(LineSettings(password=Secret("sesame")))


@pytest.mark.parametrize("width", [120, 80, 60, 40, 24])
@pytest.mark.parametrize("up", [True, False])
def test_that_the_hub_can_read_along_is_on_every_screen(width: int, up: bool):
    there = around(HubSide(up, tls=False, rtt=0.012))
    text = text_of(laid_out(there, there.rooms[0], (), width, narrow=width < 84).line)
    assert "HUB" in text
    if width >= 40:
        assert ("hub" in text) if up else ("no connection" in text)
        assert "nobody linked" not in text


def test_whoever_is_in_the_room_stands_in_the_sidebar():
    people = tuple(Who(name, 1) for name in ("bob", "carol"))
    there = around(HubSide(up=True, tls=True, people=people), others=5)
    rows = [text_of(row.line) for row in list_rows(there, ROOM, 0, 31)]
    assert any("HERE" in row and "6" in row for row in rows)
    assert [row.split()[-1] for row in rows if "●" in row] == ["bob", "carol"]
    assert any("and 3 more" in row for row in rows)
    assert not any("HERE" in text_of(row.line) for row in list_rows(there, None, 0, 31)), "only of the room shown"
    assert mode(there) == "hub"


def test_names_of_a_hubs_people_are_drawn_as_all_names_are():
    there = around(HubSide(up=True, tls=True, people=(Who("bob", 1),)))
    drawn = drawn_around(there, str.upper).rooms[0].hub
    assert drawn is not None
    assert [who.name for who in drawn.people] == ["BOB"]
