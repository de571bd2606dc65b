"""How far the way into a private room has come. It closes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.spans import Line, Span, dim, line
from sandpiper.faces.tui.dialogs.dialog import Dialog, Paragraph

if TYPE_CHECKING:
    from textual.app import ComposeResult

SHOWN = 6  # steps: a way that takes many turns shows the last ones


class JoiningDialog(Dialog[None]):
    """The steps so far; the last one is still going on. Esc hides it, and the way goes on."""

    WIDTH = 72
    guard = "always"
    GUARDED = "joining: a moment"

    def __init__(self, step: str) -> None:
        super().__init__("Joining", ("esc hide",))
        self._steps = [step]
        self.over = False
        """Closed, or about to be."""

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(*self._lines(), id="steps", classes="gap")
        yield Paragraph(line(dim("What is typed here goes to the line below when it is over.")), classes="gap")

    def _lines(self) -> list[Line]:
        shown = [step.removeprefix("Joining: ") for step in self._steps[-SHOWN:]]
        done = [line(Span("✓ ", "good"), step) for step in shown[:-1]]
        return [*done, line(Span("… ", "accent"), shown[-1])]

    def went_on(self, step: str) -> None:
        """There is another step."""
        self._steps.append(step)
        del self._steps[:-SHOWN]
        for steps in self.query("#steps").results(Paragraph) if not self.over else ():
            steps.show(*self._lines())

    def end(self) -> None:
        """The way is over. It may be so before the dialog is on the screen."""
        self.over = True
        if self.is_current:
            self.done(None)

    @override
    def opened(self) -> None:
        if self.over:
            self.call_after_refresh(self.done, None)
        else:
            self.query_one("#steps", Paragraph).show(*self._lines())

    def on_screen_resume(self) -> None:
        """What stood above this is closed."""
        if self.over:
            super().done(None)

    @override
    def done(self, result: None) -> None:
        self.over = True
        super().done(result)
