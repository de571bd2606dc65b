"""Codes and keys on the whole screen: which dialogs open, what their answers do, and that none stays too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.crypto.codes import parse_code
from sandpiper.faces.spans import line
from sandpiper.faces.tui.dialogs.dialog import Dialog
from sandpiper.faces.tui.dialogs.joining import JoiningDialog
from sandpiper.faces.tui.dialogs.otherkey import OtherKeyDialog
from sandpiper.faces.tui.views import Invited, Joining, OtherKey
from sandpiper.node import CodePassword
from sandpiper.wire.ids import PeerKey
from tests.ui.stage import Play, Stage, playing, stage_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = parse_code("pine-ocean-42")
WANTED = CodePassword(CODE)
EVE = PeerKey(b"e" * 32)


def other_key(name: str = "bob~6565") -> OtherKey:
    lines = (line(f"ANOTHER KEY: {name}"), line("What that can mean."), line("What follows."))
    return OtherKey(EVE, name, lines)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(Dialog, "PAUSE", 0)
    with stage_in(tmp_path) as stage:
        stage.enter("harbour")
        yield stage


def dialogs(play: Play, kind: type[Dialog[Any]] = Dialog) -> int:
    return sum(isinstance(screen, kind) for screen in play.app.screen_stack)


@pytest.mark.parametrize(("key", "command"), [("v", "/verify {}"), ("a", "/verify {} accept"), ("i", "/ignore {}")])
async def test_what_is_decided_about_another_key_is_done_to_that_key(stage: Stage, key: str, command: str):
    async with playing(stage) as play:
        await play.tell(other_key())
        await play.sees("ANOTHER KEY: bob~6565", "write all the same")
        await play.pilot.pause()
        await play.press(key)
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(play.chat.room, command.format(EVE.hex()))]


async def test_many_other_keys_open_one_dialog_and_later_decides_nothing(stage: Stage):
    async with playing(stage) as play:
        for number in range(5):
            await play.tell(other_key(f"bob~{number}"))
        await play.sees("ANOTHER KEY: bob~0")
        await play.pilot.pause()
        assert dialogs(play, OtherKeyDialog) == 1
        await play.press("escape")
        await play.sees_no("ANOTHER KEY")
        assert not stage.asked("obey")
        await play.tell(other_key("bob~9"))
        await play.sees("ANOTHER KEY: bob~9")


async def test_a_made_code_is_in_the_clipboard_with_the_command(stage: Stage):
    async with playing(stage, (100, 40)) as play:
        await play.tell(Invited("#birds", CODE, ""))
        await play.sees("A code for #birds", "this network only")
        assert play.app.clipboard == "sandpiper join pine-ocean-42"
        await play.press("escape")
        await play.sees_no("A code for #birds")


async def test_the_steps_go_by_themselves_and_give_back_what_was_typed_meanwhile(stage: Stage):
    async with playing(stage) as play:
        await play.tell(Joining("Joining: one."))
        await play.sees("… one.")
        await play.tell(Joining("Joining: two."))
        await play.sees("✓ one.", "… two.")
        await play.type("hi")
        await play.tell(Joining(""))
        await play.sees_no("two.")
        await play.until(lambda: play.chat.composer.text == "hi", "what was typed")


async def test_a_way_that_is_over_at_once_leaves_no_dialog(stage: Stage):
    async with playing(stage) as play:
        await play.tell(Joining("Joining: one."), Joining("Joining: two."), Joining(""))
        await play.settled()
        await play.until(lambda: not dialogs(play), "the end of the dialog")
        await play.tell(Joining("Joining: again."))
        await play.sees("… again.")


async def test_steps_that_were_hidden_come_back_on_the_next_way_only(stage: Stage):
    async with playing(stage) as play:
        await play.tell(Joining("Joining: one."))
        await play.sees("… one.")
        await play.press("escape")
        await play.until(lambda: not dialogs(play), "the end of the dialog")
        await play.tell(Joining("Joining: two."))
        await play.settled()
        assert not dialogs(play)
        await play.tell(Joining(""), Joining("Joining: another way."))
        await play.sees("… another way.")


async def test_a_password_that_is_asked_for_on_the_way_is_typed_unseen_and_nothing_stays_behind_it(stage: Stage):
    async with playing(stage, (80, 24)) as play:
        await play.tell(Joining("Joining: one."))
        await play.tell(WANTED, Joining(""))
        await play.sees("Password of the room of code 42", "sent to nobody")
        await play.type("two herons")
        assert "herons" not in play.text
        await play.press("enter")
        await play.until(lambda: stage.asked("unlock"), "the answer")
        assert stage.asked("unlock") == [(WANTED, "two herons")]
        await play.until(lambda: not dialogs(play, JoiningDialog), "no steps left")
        await play.tell(WANTED)
        await play.sees("Password of")
        await play.press("escape")
        await play.until(lambda: len(stage.asked("unlock")) == 2, "the refusal")
        assert stage.asked("unlock")[1] == (WANTED, None)
