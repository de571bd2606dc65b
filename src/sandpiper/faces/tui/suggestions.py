"""The list that floats above the composer while something is typed that can be completed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from typing_extensions import override

from sandpiper.faces.emojis import shown
from sandpiper.faces.spans import Span, harmless, line
from sandpiper.faces.tui.row import extent, fitted
from sandpiper.faces.tui.themes import looks_of
from sandpiper.faces.tui.wording import NARROW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events

    from sandpiper.faces.completion import Suggestion
    from sandpiper.faces.spans import Line

WIDTH = 84  # cells, border included
ROWS = 10
NARROW_ROWS = 6  # on a narrow screen, which is a low one too
LEFT_FREE = 8  # lines of the screen that a list never takes: the composer, bars, and some of what is talked about
BORDERS = 2
MIN_HELP = 12  # cells: in fewer, help says nothing
GAP = 3  # cells between the widest label and the help


class Suggestions(ScrollView, can_focus=False):
    """Suggestions, one of which is picked. It knows nothing about keys: the composer does, and tells it.

    It takes no room in its layout, and floats above what comes after it.
    """

    DEFAULT_CSS = """
    Suggestions {
        overlay: screen;
        offset-y: -100%;
        display: none;
        width: 100%;
        max-width: 84;
        height: 3;
        border: round $secondary;
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    """

    def __init__(self, on_click: Callable[[Suggestion], None], *, id: str | None = None) -> None:
        """`on_click` is called with the suggestion that was clicked."""
        super().__init__(id=id)
        self._clicked = on_click
        self._rows: tuple[Suggestion, ...] = ()
        self._pick = 0
        self._widest = 0
        self.moved = False
        """The person has chosen among the suggestions."""

    @property
    def is_open(self) -> bool:
        """There is something to pick."""
        return bool(self._rows)

    @property
    def rows(self) -> tuple[Suggestion, ...]:
        """What there is to pick from."""
        return self._rows

    @property
    def picked(self) -> Suggestion | None:
        """The one that Tab takes."""
        return self._rows[self._pick] if self._rows else None

    def offer(self, rows: Sequence[Suggestion]) -> None:
        """Show these instead of those before; none closes the list. The first is picked, until the person moves."""
        if self._rows == tuple(rows):
            return
        self._rows = tuple(rows)
        self._pick, self.moved = 0, False
        self._widest = max((extent(_safe(row.label)) for row in self._rows), default=0)
        if self.is_mounted:
            self.fit()
            self.scroll_to(y=0, animate=False, force=True)

    def fit(self) -> None:
        """Take the height that the rows need on a screen of this size; none, when there are none."""
        self.display = self.is_open
        self.virtual_size = Size(0, len(self._rows))
        self.styles.height = self._height() + BORDERS
        self.refresh()

    def _height(self) -> int:
        screen = self.app.size
        most = NARROW_ROWS if screen.width < NARROW else ROWS
        return max(1, min(len(self._rows), most, screen.height - LEFT_FREE))

    def move(self, by: int) -> None:
        """Pick another one; after the last comes the first."""
        if self._rows:
            self._pick = (self._pick + by) % len(self._rows)
            self.moved = True
            if self.is_mounted:
                top = round(self.scroll_target_y)
                y = min(max(top, self._pick - self._height() + 1), self._pick)
                if y != top:
                    self.scroll_to(y=y, animate=False, force=True)
                self.refresh()

    # ------------------------------------------------------------ Textual

    @override
    def on_mount(self) -> None:
        """Show what was offered before there was a screen."""
        self.fit()

    def on_click(self, event: events.Click) -> None:
        """Take the suggestion under the mouse."""
        offset = event.get_content_offset(self)
        event.stop()
        if offset is not None:
            row = offset.y + self.scroll_offset.y
            if 0 <= row < len(self._rows):
                self._clicked(self._rows[row])

    @override
    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        base = self.rich_style
        if not 0 <= index < len(self._rows):
            return Strip.blank(width, base)
        picked = index == self._pick
        looks = looks_of(self.app)
        if picked:
            base += Style(bgcolor=looks.palette.selected)
        segments = [Segment(part.text, looks.style(part.style)) for part in self._laid_out(index, width, picked=picked)]
        return Strip(segments).apply_style(base).adjust_cell_length(width, base)

    def _laid_out(self, index: int, width: int, *, picked: bool) -> Line:
        """A row: a sign at the picked one, the label, and the help where there is room for it."""
        row = self._rows[index]
        # Not by colour alone: the sign stays where there are no colours.
        sign = Span("▸ ", "accent") if picked else Span("  ")
        label = _safe(row.label)
        column = min(self._widest + GAP, max(1, round((width - 2) * 0.5)))
        if not row.help or width - 2 - column < MIN_HELP:
            return (sign, *fitted(label, width - 2))
        label = fitted(label, column - 1)
        between = Span(" " * (column - extent(label)))
        return (sign, *label, between, *fitted(line(Span(row.help, "dim")), width - 3 - column))


@cache
def _safe(label: Line) -> Line:
    return harmless(tuple(Span(shown(part.text), part.style) for part in label))
