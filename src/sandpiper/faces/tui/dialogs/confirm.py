"""Asking before something that cannot be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.tui.dialogs.answers import Answer, AnswerDialog, Answers
from sandpiper.faces.tui.dialogs.dialog import Paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from sandpiper.faces.spans import Line


class ConfirmDialog(AnswerDialog[bool]):
    """A question with `yes` and `no` in words of their own ("delete it", "keep it"). True or False; None after Esc."""

    TONE = "error"
    WIDTH = 60

    def __init__(self, title: str, lines: Sequence[Line], yes: str = "yes", no: str = "no") -> None:
        super().__init__(title, ("esc close",), (Answer("y", yes, "bad"), Answer("n", no)))
        self._lines = tuple(lines)

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(*self._lines, classes="gap")
        yield Answers(self.answers)

    @override
    def answered(self, key: str) -> None:
        self.done(key == "y")
