"""A list to pick from under a line to type in: the keys of the list work while the focus stays in the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from msgspec import Struct
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from typing_extensions import override

from sandpiper.faces.spans import Line, Span, columns, line, text_of
from sandpiper.faces.tui.dialogs.dialog import Dialog, Entry, Result, styled
from sandpiper.faces.tui.themes import looks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events

    from sandpiper.faces.tui.themes import Looks

ROWS = 14  # at most, so that the list stays a glance
MARGIN = 6  # lines above the box at most
MARK = 2  # cells of a mark and the space after it
MIN_NOTE = 8  # cells: below that a note says nothing
MIN_WITH_HINT = 48  # cells of a row: in a narrower one the note needs the place of the hint


class Pick(Struct, frozen=True):
    """One row: a mark of one cell, what it is, what more there is to say, and the key that does the same."""

    value: object
    title: Line
    mark: Span = Span("")
    note: Line = ()
    hint: str = ""


class Picks(ScrollView, can_focus=True):
    """Rows of which one is chosen; Enter or a click picks it and calls `PickDialog.picked`."""

    DEFAULT_CSS = """
    Picks {
        width: 100%;
        height: auto;
        overflow-x: hidden;
        overflow-y: auto;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    """

    def __init__(self, *, share: float = 0.45) -> None:
        """`share` is how much of the width titles may take when there are notes."""
        super().__init__()
        self._share = share
        self._rows: tuple[Pick, ...] = ()
        self._nothing: Line = ()
        self._looks: Looks
        self.chosen = 0
        """Index of the chosen row."""

    @property
    def rows(self) -> tuple[Pick, ...]:
        """What there is to pick from."""
        return self._rows

    def show(self, rows: Sequence[Pick], nothing: Line = ()) -> None:
        """Offer these rows; `nothing` is said when there are none."""
        self._rows = tuple(rows)
        self._nothing = nothing
        self._looks = looks_of(self.app)
        self.virtual_size = Size(0, max(1, len(self._rows)))
        self.choose(0)
        self.refresh(layout=True)

    def choose(self, index: int) -> None:
        """Choose the row of this number, or the nearest that there is, and bring it into view."""
        self.chosen = max(0, min(index, len(self._rows) - 1))
        self._reveal()
        self.refresh()

    def _reveal(self) -> None:
        height = self.size.height or self.outer_size.height
        if not height:
            return
        top = round(self.scroll_target_y)
        if self.chosen < top:
            self.scroll_to(y=self.chosen, animate=False, force=True)
        elif self.chosen >= top + height:
            self.scroll_to(y=self.chosen - height + 1, animate=False, force=True)

    def take(self, key: str) -> bool:
        """Do what a key does in the list; False when it does nothing there."""
        page = max(1, self.size.height - 1)
        last = len(self._rows) - 1
        match key:
            case "up":  # round the corner, so that the last row is one key away
                self.choose(self.chosen - 1 if self.chosen else last)
            case "down":
                self.choose(self.chosen + 1 if self.chosen < last else 0)
            case "pageup":
                self.choose(self.chosen - page)
            case "pagedown":
                self.choose(self.chosen + page)
            case "home" | "ctrl+home":
                self.choose(0)
            case "end" | "ctrl+end":
                self.choose(last)
            case "enter":
                self.pick()
            case _:
                return False
        return True

    def pick(self) -> None:
        """Pick the chosen row; nothing happens when there is none."""
        screen = self.screen
        if self._rows and isinstance(screen, PickDialog):
            screen.picked(self._rows[self.chosen].value)

    # ------------------------------------------------------------ Textual

    @override
    async def _on_key(self, event: events.Key) -> None:
        if isinstance(self.screen, Dialog) and self.screen.too_early(event):
            return
        if self.take(event.key):
            event.stop()
            event.prevent_default()

    def on_click(self, event: events.Click) -> None:
        """Pick the row under the mouse."""
        row = event.y + self.scroll_offset.y
        if 0 <= row < len(self._rows):
            event.stop()
            self.choose(row)
            self.pick()

    def on_resize(self) -> None:
        """Keep the chosen row in view."""
        self._reveal()

    @override
    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        row = y + self.scroll_offset.y
        if not width or (row >= len(self._rows) and (row or not self._nothing)):
            return Strip.blank(width, base)
        chosen = False
        if row < len(self._rows):
            chosen = row == self.chosen
            text = self._laid_out(self._rows[row], width, chosen=chosen)
        else:
            text = _cut(styled(self._looks, line(" ", *self._nothing)), width)
        if chosen:
            base += Style(bgcolor=self._looks.palette.selected)
        segments = [Segment(part.text, part.style) for part in text.render(self.app.console) if part.text]
        return Strip(segments).apply_style(base).adjust_cell_length(width, base)

    def _laid_out(self, pick: Pick, width: int, *, chosen: bool) -> Text:
        """A row: the sign of the chosen one, mark, title, note, hint."""
        looks = self._looks
        mark = MARK if any(row.mark.text for row in self._rows) else 0
        inside = width - 3 - mark
        hint = pick.hint if width >= MIN_WITH_HINT else ""
        widest = max(columns(text_of(row.title)) for row in self._rows) + 2
        title_width, note_width = inside, 0
        if any(row.note for row in self._rows):
            title_width = min(widest, round(inside * self._share))
            note_width = inside - title_width - (columns(hint) + 1 if hint else 0)
            if note_width < MIN_NOTE:
                title_width, note_width, hint = inside, 0, ""
        elif hint:
            title_width -= columns(hint) + 1
        if not pick.note and not hint:  # nothing stands beside it
            title_width, note_width = inside, 0
        text = Text(end="", no_wrap=True)
        text.append("▸ " if chosen else "  ", looks.style("accent bold"))
        if mark:
            text.append_text(_cut(styled(looks, (pick.mark,)), mark))
        if note_width and not pick.note:  # the title may have its place
            title_width, note_width = title_width + note_width, 0
        text.append_text(_cut(styled(looks, pick.title), title_width - 1 if note_width else title_width))
        if note_width:
            text.append(" ")
            text.append_text(_cut(styled(looks, pick.note), note_width))
        if hint:
            text.append(" ")
            text.append_text(styled(looks, (Span(hint, "faint"),)))
        return text


class PickDialog(Dialog[Result], Generic[Result]):
    """A dialog with an `Entry` above `Picks`. Subclasses yield both in `contents`, show rows for what is typed in
    `offer` and say what `picked` does.
    """

    DEFAULT_CSS = """
    PickDialog { align: center top; }
    PickDialog > Box { padding: 0; overflow-y: hidden; }
    PickDialog Entry, PickDialog Entry:focus { margin: 0 1 1 1; }
    PickDialog Paragraph { padding: 0 1; }
    """
    AUTO_FOCUS = "Entry"
    _offered: str | None = None
    CHROME = 4
    """Lines of the dialog that are not the list."""

    @property
    def picks(self) -> Picks:
        """The list; there while the dialog is open."""
        return self.query_one(Picks)

    def offer(self, typed: str) -> None:
        """Show what there is for what is typed."""
        raise NotImplementedError

    def on_input_changed(self, event: Entry.Changed) -> None:
        """Offer what fits now."""
        self._offer(event.value)

    def _offer(self, typed: str) -> None:
        if typed != self._offered:  # offering the same again would lose which row is chosen
            self._offered = typed
            self.offer(typed)

    @override
    def opened(self) -> None:
        self._offer(self.query_one(Entry).value)

    @override
    def entered(self, text: str) -> None:
        self._offer(text)  # keys in a burst come before the news of what they changed
        self.picks.pick()

    def picked(self, value: object) -> None:
        """The value of a row was picked."""
        raise NotImplementedError

    @override
    def taken(self, event: events.Key, entry: Entry) -> bool:
        if event.key in ("up", "down", "pageup", "pagedown", "ctrl+home", "ctrl+end"):
            return self.picks.take(event.key)
        if event.key == "home" and entry.cursor_position == 0:
            return self.picks.take("home")
        if event.key == "end" and entry.cursor_position == len(entry.value):
            return self.picks.take("end")
        return super().taken(event, entry)

    @override
    def _decorate(self, width: int | None = None) -> None:
        super()._decorate(width)
        height = self.size.height or self.app.size.height
        above = min(MARGIN, max(0, (height - 20) // 3))  # the line to type in stays where it is as the list changes
        self.box.styles.margin = (above, 0, 0, 0)
        self.picks.styles.max_height = max(1, min(ROWS, height - self.CHROME - above))


def _cut(text: Text, width: int) -> Text:
    """The text in exactly this many cells."""
    text.truncate(max(0, width), overflow="ellipsis", pad=True)
    return text
