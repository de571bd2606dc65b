"""A code that was just made, for reading out, pasting and photographing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget
from typing_extensions import override

from sandpiper.faces.invitation import command, qr_lines
from sandpiper.faces.spans import Line, Span, columns, dim, line, text_of
from sandpiper.faces.tui.dialogs.answers import Answer, AnswerDialog, Answers
from sandpiper.faces.tui.dialogs.dialog import Paragraph
from sandpiper.faces.tui.themes import looks_of

if TYPE_CHECKING:
    from textual.app import ComposeResult, RenderResult

    from sandpiper.faces.tui.views import Invited

OTHERS = 13  # rows of the dialog beside a QR code, borders included


class Qr(Widget):
    """A QR code, in the middle of the width that there is."""

    DEFAULT_CSS = "Qr { width: 100%; height: auto; content-align: center middle; margin-top: 1; }"

    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self._lines = lines
        self.styles.height = len(lines)

    @override
    def render(self) -> RenderResult:
        looks = looks_of(self.app)
        text = Text(no_wrap=True, end="", justify="center")
        for number, spans in enumerate(self._lines):
            text.append("\n" if number else "")
            for part in spans:
                text.append(part.text, looks.style(part.style))
        return text


class InvitationDialog(AnswerDialog[None]):
    """The code, the command, and where the screen is high enough a QR code of the command."""

    TONE = "success"
    WIDTH = 76

    def __init__(self, made: Invited, *, qr: bool) -> None:
        self._made = made
        self._command = command(made.code, made.relay)
        self._qr = qr_lines(self._command, coloured=True) if qr else []
        answers = (Answer("c", "copy the command again"), Answer("escape", "close"))
        super().__init__(f"A code for {made.label}", ("c copy", "esc close"), answers)

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(line("Say it aloud, or send it: ", Span(self._made.code.spoken, "bold accent")), classes="gap")
        yield Paragraph(line(dim("Whoever may come in types:")), classes="gap")
        yield Paragraph(line(Span(self._command, "accent")))
        if self._qr:
            yield Qr(self._qr)
        reach = "" if self._made.relay else " No relay is named, so it works on this network only."
        yield Paragraph(line(dim(f"It lives for 24 hours and is for as many as come.{reach}")), classes="gap")
        yield Paragraph(line(dim("The command is in the clipboard, if the terminal allows that.")))
        yield Answers(self.answers)

    @override
    def _decorate(self, width: int | None = None) -> None:
        super()._decorate(width)
        inside = min(self.WIDTH, width or self.size.width or self.app.size.width) - 4
        high = len(self._qr) + OTHERS
        for code in self.query(Qr):
            wide = columns(text_of(self._qr[0]))
            code.display = wide <= inside and high <= self.app.size.height

    @override
    def answered(self, key: str) -> None:
        if key == "c":
            self.app.copy_to_clipboard(self._command)
            self.app.notify("The command is in the clipboard.", timeout=2, markup=False)
        else:
            self.done(None)
