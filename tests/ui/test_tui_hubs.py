"""Rooms of hubs on the whole screen: their passwords, and messages in them that can be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from sandpiper.faces.tui.dialogs.dialog import Dialog
from sandpiper.faces.tui.drafts import Reply
from sandpiper.net.hub import HubAddress
from sandpiper.node import PasswordWanted
from tests.ui.stage import Stage, playing, stage_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WANTED = PasswordWanted(HubAddress("hub.example", 5000), "vault", "#vault@hub.example", "The room vault is locked.")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as stage:
        stage.enter("harbour")
        yield stage


async def test_a_password_is_typed_unseen_and_goes_to_the_hub_only(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Dialog, "PAUSE", 0)
    async with playing(stage, (80, 24)) as play:
        await play.tell(WANTED)
        await play.sees("Password of #vault@hub.example", "The room vault is locked.")
        await play.press("enter")
        await play.type("sesame")
        assert "sesame" not in play.text
        await play.press("enter")
        await play.until(lambda: stage.asked("unlock"), "the answer")
        assert stage.asked("unlock") == [(WANTED, "sesame")]
        await play.tell(WANTED)
        await play.sees("Password of")
        await play.press("escape")
        await play.until(lambda: len(stage.asked("unlock")) == 2, "the refusal")
        assert stage.asked("unlock")[1] == (WANTED, None)
        assert "sesame" not in play.chat.composer.text


async def test_messages_of_a_hub_are_answered_and_reacted_to_and_those_of_the_old_dialect_are_not(stage: Stage):
    room = stage.enter("dev")
    stage.meet("maya")
    said = stage.say("maya", "who has time?", room)
    async with playing(stage, (100, 30)) as play:
        play.chat.go(room)
        await play.sees("who has time?")
        play.chat.flows.wanted("reply", replace(said, plain=True))
        await play.sees("A [plain] message")
        play.chat.flows.wanted("reply", replace(said, hub=True))
        assert play.chat.composer.draft.mode == Reply(said.id.hex(), "maya", "who has time?")
