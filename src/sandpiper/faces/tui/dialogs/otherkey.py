"""Somebody comes with a verified name under another key: what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.tui.dialogs.answers import Answer, AnswerDialog, Answers
from sandpiper.faces.tui.dialogs.dialog import Paragraph

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from sandpiper.faces.tui.views import OtherKey

SAID = 3  # of the lines: what has happened and what follows; the rest are commands, which the answers stand for

ANSWERS = {"v": "/verify {}", "a": "/verify {} accept", "i": "/ignore {}"}


class OtherKeyDialog(AnswerDialog[str]):
    """The command that was chosen, with a place for the key; None: to be decided later, and held back until then."""

    TONE = "error"
    WIDTH = 72

    def __init__(self, told: OtherKey) -> None:
        self._lines = told.lines
        answers = [
            Answer("v", "compare words", "good"),
            Answer("a", "write all the same", "bad"),
            Answer("i", "ignore them"),
            Answer("escape", "later"),
        ]
        super().__init__(f"Another key: {told.name}", ("v a i", "esc later: nothing is sent to them"), answers)

    @override
    def contents(self) -> ComposeResult:
        for said in self._lines[:SAID]:
            yield Paragraph(said, classes="gap")
        yield Answers(self.answers)

    @override
    def answered(self, key: str) -> None:
        self.done(ANSWERS.get(key))
