"""Dialogs with a few answers: each has a key of its own, and Tab, Enter and the mouse work as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal

from msgspec import Struct
from rich.style import Style
from rich.text import Text
from textual.widget import Widget
from typing_extensions import override

from sandpiper.faces.spans import columns
from sandpiper.faces.tui.dialogs.dialog import Dialog, Result
from sandpiper.faces.tui.themes import looks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult, RenderResult

APART = 3  # cells between two answers


class Answer(Struct, frozen=True):
    """One answer: the key that gives it (as Textual spells it), its words, and what kind of answer it is."""

    key: str
    words: str
    tone: Literal["good", "bad", "other"] = "other"

    @property
    def cap(self) -> str:
        """The key as it stands on the answer."""
        return f" {'esc' if self.key == 'escape' else self.key} "

    @property
    def width(self) -> int:
        """Cells that the answer takes."""
        return columns(self.cap) + 2 + columns(self.words)


class Chip(Widget, can_focus=True):
    """An answer to press."""

    DEFAULT_CSS = "Chip { width: auto; height: 1; }"

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    @override
    def render(self) -> RenderResult:
        looks, answer = looks_of(self.app), self.answer
        palette = looks.palette
        back = {"good": palette.good, "bad": palette.error, "other": palette.chip}[answer.tone]
        ink = palette.text if answer.tone == "other" else palette.background
        text = Text(no_wrap=True, end="")
        text.append(answer.cap, Style(color=ink, bgcolor=back, bold=True))
        text.append("▸ " if self.has_focus else "  ", looks.style("accent bold"))
        return text.append(answer.words, looks.style("bold underline" if self.has_focus else ""))

    @override
    async def _on_key(self, event: events.Key) -> None:
        if isinstance(self.screen, Dialog) and self.screen.too_early(event):
            return
        if event.key in ("enter", "space"):
            event.stop()
            self._give()

    def on_click(self, event: events.Click) -> None:
        """Give this answer."""
        event.stop()
        self._give()

    def _give(self) -> None:
        if isinstance(self.screen, AnswerDialog):
            self.screen.answered(self.answer.key)


class Answers(Widget):
    """The answers side by side, or below each other where the dialog is too narrow."""

    DEFAULT_CSS = "Answers { width: 100%; height: auto; layout: horizontal; margin: 1 0; }"

    def __init__(self, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._answers = tuple(answers)

    @override
    def compose(self) -> ComposeResult:
        for number, answer in enumerate(self._answers):
            chip = Chip(answer)
            if number < len(self._answers) - 1:
                chip.styles.margin = (0, APART, 0, 0)
            yield chip

    def fit(self, width: int) -> None:
        """Stand side by side if this many cells are enough for it."""
        wanted = sum(answer.width + APART for answer in self._answers) - APART
        self.styles.layout = "horizontal" if wanted <= width else "vertical"


class AnswerDialog(Dialog[Result], Generic[Result]):
    """A dialog that ends with one of a few answers. Subclasses say what they are and what `answered` does.

    A key counts only after a pause: what is typed without one was meant for something else.
    """

    AUTO_FOCUS = "Box"
    guard = "always"

    def __init__(self, title: str, hints: Sequence[str], answers: Sequence[Answer]) -> None:
        super().__init__(title, hints)
        self.answers = tuple(answers)

    def answered(self, key: str) -> None:
        """The answer with this key was given."""
        raise NotImplementedError

    @override
    def pressed(self, event: events.Key) -> bool:
        key = event.key.lower()
        if key not in {answer.key for answer in self.answers}:
            return False
        self.answered(key)
        return True

    @override
    def _decorate(self, width: int | None = None) -> None:
        super()._decorate(width)
        inside = min(self.WIDTH, width or self.size.width or self.app.size.width) - 6
        for answers in self.query(Answers):
            answers.fit(inside)
