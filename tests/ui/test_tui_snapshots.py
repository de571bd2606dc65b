"""What the whole screen looks like: pictures of the scripted chat, kept as SVG. `pytest --snapshot-update` draws anew.

The files can be opened in any browser; a change of a picture is to be looked at like a change of code.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual import events

from sandpiper.core.names import Names
from sandpiper.crypto.codes import parse_code
from sandpiper.crypto.safety import safety
from sandpiper.faces.tui.views import Invited, Joining, Membering, OtherKey, Typing, Who
from sandpiper.faces.verifying import Comparison, key_changed_lines
from sandpiper.node import CodePassword, KeyChanged
from sandpiper.wire.ids import PeerKey
from tests.ui.stage import CAST, Play, at, harbour, playing, stage_in

if TYPE_CHECKING:
    from sandpiper.core.control import MemberRole
    from sandpiper.faces.people import People

pytestmark = pytest.mark.skipif(
    not hasattr(time, "tzset"), reason="dialogs show local time, which is set by tzset here"
)

WIDE, MIDDLE, NARROW, TINY = (120, 34), (80, 24), (60, 20), (40, 12)
PASTED = "\n".join(f"2025-11-20 14:{minute:02} swell 1.{minute % 10} m" for minute in range(25))


class Svg(SingleFileSnapshotExtension):
    """One file a picture."""

    _write_mode = WriteMode.TEXT
    file_extension = "svg"


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(Svg)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


Open = Callable[..., AbstractAsyncContextManager[Play]]


@pytest.fixture
def crew(tmp_path: Path) -> Open:
    """The scripted chat in a size and a theme."""

    @asynccontextmanager
    async def opened(size: tuple[int, int] = WIDE, theme: str = "dark") -> AsyncIterator[Play]:
        with stage_in(tmp_path) as stage:
            after = harbour(stage)
            async with playing(stage, size, theme=theme) as play:
                await play.tell(*after)
                await play.settled()
                await play.sees("thanks Wren!  ✓" if size != TINY else "✓")
                yield play

    return opened


async def drawn(play: Play) -> str:
    """The screen as an SVG that is the same in every run."""
    await play.settled()
    play.keep_still()
    if play.stage.peers and play.chat.room is not None:
        await play.tell(Typing(play.chat.room, "wren", CAST["wren"][1]))  # who types is forgotten after seconds
        await play.pilot.pause()
    svg = play.app.export_screenshot(simplify=True)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # names an address on the net
    return re.sub(r"terminal-\d+", "screen", svg)  # a checksum of everything in it


# ---------------------------------------------------------------- the chat


@pytest.mark.parametrize("theme", ["dark", "light", "none"])
@pytest.mark.parametrize("size", [WIDE, MIDDLE, NARROW], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_chat(crew: Open, picture: SnapshotAssertion, size: tuple[int, int], theme: str):
    async with crew(size, theme) as play:
        assert await drawn(play) == picture


async def test_the_chat_on_a_tiny_screen(crew: Open, picture: SnapshotAssertion):
    async with crew(TINY) as play:
        assert await drawn(play) == picture


async def test_a_selected_message(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("up")
        await play.sees("2 of 5 have it")
        assert await drawn(play) == picture


async def test_an_answer_being_written(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("up", "up", "r")
        await play.sees("reply to wren")
        await play.type("Thanks!")
        assert await drawn(play) == picture


async def test_command_suggestions(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.type("/")
        await play.sees("/join")
        assert await drawn(play) == picture


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_nobody_here_yet(tmp_path: Path, picture: SnapshotAssertion, size: tuple[int, int]):
    with stage_in(tmp_path) as stage:
        stage.enter("harbour", others=0)
        async with playing(stage, size) as play:
            await play.sees("Nobody here yet")
            assert await drawn(play) == picture


# ---------------------------------------------------------------- dialogs


async def test_jumping(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("ctrl+k", "m", "a")
        await play.sees("Jump to", "▸ ● maya")
        assert await drawn(play) == picture


async def test_verifying(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        key = play.stage.key("kenji")
        words = safety(play.stage.us.key, key)
        await play.tell(Comparison(key, "kenji", words.words, words.digits, False, at("14:05"), "relay"))
        await play.sees("Compare these words")
        assert await drawn(play) == picture


SIZES = pytest.mark.parametrize("size", [WIDE, MIDDLE, NARROW], ids=lambda size: f"{size[0]}x{size[1]}")


@SIZES
async def test_another_key_with_a_verified_name(crew: Open, picture: SnapshotAssertion, size: tuple[int, int]):
    async with crew(size) as play:
        key = play.stage.key("kenji")
        names = Names(play.stage.us.key, "you")
        names.learn(play.stage.key("maya"), "maya")
        names.pin(play.stage.key("maya"), "maya", verified=True)
        names.learn(key, "maya")
        lines = key_changed_lines(KeyChanged(key, play.stage.key("maya")), cast("People", Naming(names)))
        await play.tell(OtherKey(key, names.show(key), tuple(lines)))
        await play.sees("Another key: maya~")
        assert await drawn(play) == picture


class Naming:
    """As much of `People` as a sentence about two keys takes."""

    def __init__(self, names: Names) -> None:
        self.pinned = names.pinned
        self._names = names

    def name(self, key: PeerKey, _room: object = None) -> str:
        return self._names.show(key)


@SIZES
async def test_a_code_for_others(crew: Open, picture: SnapshotAssertion, size: tuple[int, int]):
    async with crew(size) as play:
        await play.tell(Invited("#harbour", parse_code("pine-ocean-42"), "relay.example"))
        await play.sees("A code for #harbour", "pine-ocean-42")
        assert await drawn(play) == picture


@SIZES
async def test_on_the_way_into_a_room(tmp_path: Path, picture: SnapshotAssertion, size: tuple[int, int]):
    with stage_in(tmp_path) as stage:
        async with playing(stage, size, begin=False) as play:
            await play.tell(Joining("Joining: the relay relay.example is reached, and a member is there."))
            await play.sees("the relay relay.example")
            await play.tell(Joining("Joining: key agreed; the member answers for the room."))
            await play.sees("… key agreed")
            assert await drawn(play) == picture
            await play.tell(Joining(""))
            await play.sees_no("key agreed")


@SIZES
async def test_the_password_of_a_codes_room(crew: Open, picture: SnapshotAssertion, size: tuple[int, int]):
    async with crew(size) as play:
        wanted = CodePassword(parse_code("pine-ocean-42"))
        await play.tell(wanted)
        await play.sees("Password of the room of code 42")
        assert await drawn(play) == picture


@SIZES
async def test_a_private_room_with_its_members(crew: Open, picture: SnapshotAssertion, size: tuple[int, int]):
    async with crew(size) as play:
        stage, room = play.stage, play.chat.room
        assert room is not None
        roles: dict[str, MemberRole] = {"maya": "owner", "you": "member", "kenji": "admin", "priya": "member"}
        members = tuple(
            Membering(Who(name, CAST[name][1], verified=name == "maya"), role, name != "priya")
            for name, role in roles.items()
        )
        stage.view(room, kind="private", members=members, held_back=("maya~1f2e",))
        await play.tell(stage.around())
        await play.sees("HELD BACK")
        assert await drawn(play) == picture


async def test_searching(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("ctrl+f")
        await play.sees("Type words")
        await play.type("the")
        await play.sees("in all rooms")
        assert await drawn(play) == picture


async def test_help(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("f1")
        await play.sees("Sandpiper: chat with the people")
        assert await drawn(play) == picture


async def test_reacting(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        await play.press("up", "up", "plus")
        await play.sees("React", "thank you")
        assert await drawn(play) == picture


async def test_pasting_many_lines(crew: Open, picture: SnapshotAssertion):
    async with crew() as play:
        play.app.post_message(events.Paste(PASTED))
        await play.sees("You pasted")
        assert await drawn(play) == picture


async def test_the_first_start(tmp_path: Path, picture: SnapshotAssertion):
    with stage_in(tmp_path) as stage:
        async with playing(stage, begin=False) as play:
            answer = asyncio.create_task(asyncio.to_thread(stage.ask.nick, "ann"))
            await play.sees("What should others call you?")
            assert await drawn(play) == picture
            await play.enter("a")
            assert await answer == "a"
