"""The question that a paste of many lines asks: into the message, as a message by itself, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from sandpiper.faces.emojis import shown
from sandpiper.faces.spans import Span, dim, line
from sandpiper.faces.tui.dialogs.dialog import Dialog, Paragraph
from sandpiper.faces.tui.row import fitted

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from sandpiper.faces.spans import Line

PREVIEW = 8  # lines of the text: enough to see what it is
_WIDE = 54  # columns of a screen on which no answer takes two rows, which a low one does not have
_REST = 11  # rows of the dialog without them: the answers must be on the screen

Choice = Literal["paste", "send"]


class PasteDialog(Dialog[Choice]):
    """Shows the beginning of what was pasted; the result is None when it is to be dropped.

    A key counts only after a pause: who pastes goes on writing, and must not send all of it with an `s`.
    """

    WIDTH = 72
    guard = "always"

    def __init__(self, text: str) -> None:
        super().__init__("Paste", ())
        self._text = text

    @override
    def contents(self) -> ComposeResult:
        lines = self._text.strip("\n").split("\n")
        count = f"{len(lines):,} lines, {len(self._text):,} characters"
        yield Paragraph(line("You pasted ", Span(count, "bold"), "."))
        yield Paragraph(*self._preview(lines), classes="gap", id="preview")
        wide = self.app.size.width >= _WIDE
        yield Paragraph(
            _key("enter", f"put it into the message{', to go on writing' if wide else ''}"),
            _key("s", f"send it as one message{' right away' if wide else ''}"),
            _key("esc", "drop it"),
            classes="gap",
        )

    def _preview(self, lines: list[str]) -> list[Line]:
        width = min(self.WIDTH, self.app.size.width) - 8
        most = min(PREVIEW, max(1, self.app.size.height - _REST))
        shown_lines: list[Line] = []
        for text in lines[:most]:
            cut = fitted((Span(shown(text.expandtabs(4)), "code"),), width)
            shown_lines.append(line("  ", *cut) if cut else line(" "))
        more = len(lines) - most
        if more > 0:
            shown_lines.append(line(dim(f"  … and {more:,} more line{'' if more == 1 else 's'}")))
        return shown_lines

    @override
    def pressed(self, event: events.Key) -> bool:
        match event.key:
            case "enter" | "p":
                self.done("paste")
            case "s":
                self.done("send")
            case _:
                return False
        return True


def _key(name: str, does: str) -> Line:
    return line(Span(f"{name:>5}  ", "accent"), does)
