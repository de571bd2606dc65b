"""F1: all keys and commands on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.commands import COMMANDS
from sandpiper.faces.spans import Line, Span, columns, dim, fold, line
from sandpiper.faces.tui.dialogs.dialog import Dialog, Paragraph
from sandpiper.faces.tui.keys import KEYS, Key
from sandpiper.faces.tui.wording import key_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.app import ComposeResult

COLUMN = 24  # cells of the keys or the command; what is longer has a line of its own
NARROW_COLUMN = 4  # the same where the page is narrow: what it does stands below, a little indented
NARROW = 56  # cells of the page

WRITING = (
    ("Enter", "send"),
    ("Shift+Enter", "new line; Alt+Enter and Ctrl+J as well"),
    ("Tab", "complete a /command and what belongs to it, a #room, a @name or an :emoji:"),
    ("Ctrl+P, Ctrl+N", "what you sent before, and back"),
    ("Ctrl+D", "in an empty line: say goodbye and end"),
    ("//", "begin a message with a slash"),
)
SELECTING = (
    ("Up", "in an empty line: select messages; Up and Down go from one to the next"),
    ("r", "answer it"),
    ("+", "react to it"),
    ("y", "copy it"),
    ("e", "change it, if it is yours"),
    ("d", "delete it, if it is yours"),
)
SEARCHING = (("Ctrl+R", "in the search: this room only, or all rooms"),)
MOUSE = ("Mouse", "click on rooms, people and hints; drag to select text; a double click selects a message")
NUMBERS = ("Alt+1 to Alt+9", "go to a room by its number")
ESCAPE = ("Esc", "back to writing; in a box like this one: close it")


class HelpDialog(Dialog[None]):
    """All keys, commands and places. `keys` are the person's own; `settings` and `log` the paths of those files."""

    WIDTH = 80
    TONE = "secondary"

    def __init__(self, keys: Sequence[Key] = KEYS, *, settings: str = "", log: str = "") -> None:
        super().__init__("Help", ("↑↓ PgUp PgDn scroll", "esc close"))
        self._keys = tuple(keys)
        self._files = tuple((what, path) for what, path in (("settings", settings), ("log", log)) if path)

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(id="page")

    @override
    def _decorate(self, width: int | None = None) -> None:
        super()._decorate(width)
        inside = min(self.WIDTH, width or self.size.width or self.app.size.width) - 5
        self.query_one("#page", Paragraph).show(*self._page(inside))

    def _page(self, width: int) -> Iterator[Line]:
        about = "Sandpiper: chat with the people on your network, without a server or an account."
        yield from fold(line(about), width, 0)
        keys = [(" ".join(map(_spelled, key.keys)), key.help) for key in self._keys if key.keys]
        commands = [(command.usage, command.help) for command in COMMANDS]
        for title, rows in (
            ("Keys", [*keys, NUMBERS, *SEARCHING, ESCAPE, MOUSE]),
            ("Writing", WRITING),
            ("A selected message", SELECTING),
            ("Commands", commands),
            ("Files", self._files),
        ):
            if rows:
                yield ()
                yield line(Span(title, "accent bold"))
                for left, right in rows:
                    yield from _row(left, right, width)
        yield ()
        yield from fold(
            line(dim("In a terminal: sandpiper --help, and sandpiper doctor when nobody is found.")), width, 0
        )


def _spelled(key: str) -> str:
    """A key in words, as people say it: `Ctrl+K`."""
    return key_name(key).replace("^", "Ctrl+")


def _row(left: str, right: str, width: int) -> list[Line]:
    """What is typed and what it does, beside each other or below."""
    column = COLUMN if width >= NARROW else NARROW_COLUMN
    gap = " " * (column - columns(left)) if columns(left) < column else "\n"
    return fold(line(Span(left, "teal"), gap, dim(right)), width, column)
