"""What the whole screen looks like: pictures of the scripted chat, kept as SVG. `pytest --snapshot-update` draws anew.

The files can be opened in any browser; a change of a picture is to be looked at like a change of code.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual import events

from sandpiper.crypto.safety import safety
from sandpiper.faces.tui.views import Typing
from sandpiper.faces.verifying import Comparison
from tests.ui.stage import CAST, Play, at, harbour, playing, stage_in

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
