"""Rows of styled text, measured in cells: what the widgets around the transcript are drawn with.

A widget says what its rows are (`Drawn.rows`); here they are cut to its width, so no text of a peer can push anything
out of place, and only rows that differ from those on the screen are painted again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from typing_extensions import override

from sandpiper.faces import spans
from sandpiper.faces.spans import Line, Span, columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Around
    from sandpiper.wire.ids import RoomId

_WHITE = re.compile(r"\s")
_CHARACTERS_A_CELL = 8  # a grapheme may have several; what is longer than that is cut before it is measured


def cells(text: str) -> int:
    """How many cells a text takes, by the more careful of Textual's measure and ours."""
    return len(text) if text.isascii() and text.isprintable() else max(cell_len(text), columns(text))


def cut(text: str, width: int) -> str:
    """The text on one line and at most `width` cells wide; where something is missing there is an ellipsis."""
    return spans.cut(_WHITE.sub(" ", text[: (max(0, width) + 1) * _CHARACTERS_A_CELL]), width, cells)


def extent(line: Line) -> int:
    """How many cells a line takes."""
    return sum(cells(span.text) for span in line)


def fitted(line: Line, width: int) -> Line:
    """As much of the line as `width` cells hold."""
    kept: list[Span] = []
    for span in line:
        text = cut(span.text, width)
        if text:
            kept.append(Span(text, span.style))
        width -= cells(text)
        if cells(span.text) > cells(text):
            break
    return tuple(kept)


def both_ends(left: Line, right: Line, width: int, gap: int = 1) -> Line:
    """`left` at the left edge and `right` at the right one, `width` cells in all; the left one is cut for the right."""
    right = fitted(right, width)
    left = fitted(left, width - extent(right) - (gap if right else 0))
    return (*left, Span(" " * max(0, width - extent(left) - extent(right))), *right)


class Drawn(Widget, can_focus=False):
    """A widget whose rows are lines of styled text. Call `redraw` when what it shows may have changed.

    `looks` says what the styles look like; set it when the theme changes. Set `narrow` on screens
    without a sidebar (fewer columns than `wording.NARROW`).
    """

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, looks: Looks, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._looks = looks
        self._narrow = False
        self._drawn: list[Line] = []
        self._drawn_size: Size | None = None

    @property
    def looks(self) -> Looks:
        """The styles to draw with."""
        return self._looks

    @looks.setter
    def looks(self, looks: Looks) -> None:
        self._looks = looks
        self.refresh()

    @property
    def narrow(self) -> bool:
        """True where there is no sidebar; the class `-narrow` says the same to style sheets."""
        return self._narrow

    @narrow.setter
    def narrow(self, narrow: bool) -> None:
        if narrow != self._narrow:
            self._narrow = narrow
            self._drawn_size = None
            self.set_class(narrow, "-narrow")
            self.refresh(layout=True)

    @property
    def ground(self) -> str:
        """The colour of the palette behind the text."""
        return "background"

    def rows(self, width: int, height: int) -> Sequence[Line]:
        """What is to be seen, from the top; at most `height` rows are drawn, each cut to `width` cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Paint the rows that are not as they should be."""
        size = self.content_size
        if self._drawn_size is None or size != self._drawn_size:
            self.refresh()  # never drawn in this size: `render_line` will do it
            return
        before, self._drawn = self._drawn, self._rows_of(size)
        if changed := [y for y, line in enumerate(self._drawn) if line != before[y]]:
            self.refresh(*(Region(0, y, size.width, 1) for y in changed))

    def _rows_of(self, size: Size) -> list[Line]:
        rows = [fitted(line, size.width) for line in self.rows(size.width, size.height)[: size.height]]
        return rows + [()] * (size.height - len(rows))

    @override
    def render_line(self, y: int) -> Strip:
        size = self.content_size
        if size != self._drawn_size:
            self._drawn_size, self._drawn = size, self._rows_of(size)
        line = self._drawn[y] if y < len(self._drawn) else ()
        ground = Style(bgcolor=getattr(self._looks.palette, self.ground))
        segments = [Segment(span.text, ground + self._looks.style(span.style)) for span in line]
        return Strip(segments).adjust_cell_length(size.width, ground)


class Edge(Drawn):
    """What stands around the transcript: it shows how things are, seen from the room that is on the screen."""

    class Asked(Message):
        """The hint of an action was clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, looks: Looks, *, id: str | None = None) -> None:
        super().__init__(looks, id=id)
        self._around: Around | None = None
        self._current: RoomId | None = None

    def show(self, around: Around, current: RoomId | None) -> None:
        """Show how things are; `current` is the room on the screen."""
        if (around, current) != (self._around, self._current):
            self._around, self._current = around, current
            self.redraw()
