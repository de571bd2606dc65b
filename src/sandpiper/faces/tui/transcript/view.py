"""A sheet on the screen: the lines that are in view, following the end of the room or staying where one reads.

Built on Textual's Line API: only the lines on the screen are ever painted. Whatever changes above the view, the lines
that one reads stay where they are. `widget` adds what fills the sheet and what is done with its messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message as Event
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget
from typing_extensions import override

from sandpiper.faces.tui.transcript.painting import painted, selected_text
from sandpiper.faces.tui.transcript.sheets import Sheets

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.geometry import Region
    from textual.selection import Selection

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.transcript.layout import Setting
    from sandpiper.faces.tui.transcript.sheet import Block, Sheet, Spot
    from sandpiper.faces.tui.views import Place
    from sandpiper.wire.ids import RoomId

MAX_STRIPS = 1_000  # painted lines kept: a high screen, scrolled back and forth for some pages


class View(ScrollView):
    """See the module."""

    DEFAULT_CSS = """
    View { background: $background; scrollbar-gutter: stable; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """

    class Seen(Event):
        """Everything of `room` up to `place` has been on the screen."""

        def __init__(self, room: RoomId, place: Place) -> None:
            super().__init__()
            self.room = room
            self.place = place

    class Emptied(Event):
        """There are no messages in the room on the screen any more, or there are some now."""

    def __init__(self, setting: Setting, looks: Looks, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.sheets = Sheets(setting)
        self.room: RoomId | None = None
        self._looks = looks
        self._strips: LRUCache[tuple[int, int, str, int], tuple[Block, int, Strip]] = LRUCache(MAX_STRIPS)
        self._attended = True
        self._told: tuple[RoomId, Place] | None = None
        self._was_empty = True
        self._settled = Size(0, 0)  # the size that the lines were last put on the screen in
        self._followed = True

    @property
    def sheet(self) -> Sheet | None:
        """The sheet of the room on the screen."""
        return self.sheets.get(self.room)

    @property
    def has_nothing(self) -> bool:
        """There is no message in the room on the screen, as far as is known."""
        sheet = self.sheet
        return sheet is None or (sheet.at_start and sheet.at_end and sheet.last_place() is None)

    # ------------------------------------------------------------ how it looks

    def set(self, setting: Setting) -> None:
        """Lay out for this from now on; the width is found here."""
        self._change(lambda: self.sheets.set(replace(setting, width=self._width), self.room))

    @property
    def looks(self) -> Looks:
        """The theme."""
        return self._looks

    @looks.setter
    def looks(self, looks: Looks) -> None:
        self._looks = looks
        self._strips.clear()
        self.refresh()

    @property
    def _width(self) -> int:
        return max(1, self.scrollable_content_region.width)

    @override
    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines of the screen as they are. There is neither border nor padding: to look for them, for every line of
        every picture, would take as long as the rest.
        """
        top, selection, background = self._line_at(0), self.text_selection, self.background_colors[1]
        width, outer = self.size.width, self.region.width
        strips = [self._strip(top + y, width, outer, selection) for y in crop.line_range]
        for look in self.get_line_filters():
            strips = [strip.apply_filter(look, background) for strip in strips]
        x1, x2 = crop.column_span
        return strips if (x1, x2) == (0, outer) else [strip.crop(x1, x2) for strip in strips]

    @override
    def render_line(self, y: int) -> Strip:
        """A line of the screen; few lines stand at the bottom, where the next will come."""
        return self._strip(self._line_at(y), self.size.width, self.region.width, self.text_selection)

    def _strip(self, at: int, width: int, outer: int, selection: Selection | None) -> Strip:
        """A line of the sheet, `width` cells of it, up to and with the column of the scrollbar."""
        looks, sheet = self._looks, self.sheet
        found = sheet.line(at) if sheet is not None else None
        if sheet is None or found is None:
            return Strip.blank(outer, looks.style("base"))
        line, block, row = found
        index = sheet.entry_at(at)
        chosen = index is not None and sheet.entries[index].id == self.sheets.setting.chosen
        ground = "base" if row < block.lead else "selected" if chosen else "marked" if block.marked else "base"
        span = selection.get_span(at) if selection is not None else None
        key = (id(block), row, ground, width)  # a block lives as long as it is kept here
        _, where, known = self._strips.get(key) or (block, -1, None)
        if known is None or where != at or span is not None:  # the same strip keeps what Textual has made of it
            known = painted(line, looks, ground, width, span).apply_offsets(0, at)
            known = known.adjust_cell_length(outer, looks.style("base"))
            if span is None:
                self._strips[key] = (block, at, known)
        return known

    def _line_at(self, y: int) -> int:
        """Which line of the sheet is on row `y` of the view; negative above the first."""
        sheet = self.sheet
        height = sheet.height if sheet is not None else 0
        return y + self.scroll_offset.y - max(0, self.size.height - height)

    def on_resize(self, event: events.Resize) -> None:
        """Lay out for the new width."""
        self._change(lambda: self.sheets.set(replace(self.sheets.setting, width=self._width), self.room))

    # ------------------------------------------------------------ copying with the mouse

    @override
    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, without times, names and bars."""
        sheet = self.sheet
        return (selected_text(sheet, selection), "\n") if sheet is not None else None

    @override
    def selection_updated(self, selection: Selection | None) -> None:
        """See `Widget`."""
        self.refresh()

    # ------------------------------------------------------------ staying where one reads

    @property
    def following(self) -> bool:
        """The last message is on the screen, and the next one will be."""
        sheet = self.sheet
        if sheet is None or not sheet.at_end:
            return sheet is None
        if self.size != self._settled:  # resized, and not laid out again yet: as it was before
            return self._followed
        return self.scroll_offset.y >= self._lowest

    @property
    def _lowest(self) -> int:
        """How far one can scroll."""
        return max(0, self.virtual_size.height - self.scrollable_content_region.height)

    def _spot(self) -> Spot | None:
        sheet = self.sheet
        return sheet.spot(self.scroll_offset.y) if sheet is not None else None

    def _change(self, change: Callable[[], object], room: RoomId | None = None, *, unfinished: bool = False) -> None:
        """Change the sheet on the screen, or that of another room; the view stays at its end, or at the lines that one
        reads. `unfinished`: another change of the end follows soon, and it is enough to be shown then.
        """
        if room is not None and room != self.room:
            change()
            return
        follow, spot, sheet = self.following, self._spot(), self.sheet
        change()
        if unfinished and follow:
            return
        if sheet is not None:
            sheet.trim(keep_end=follow)
        self._settle(None if follow else spot)

    def _settle(self, spot: Spot | None) -> None:
        """The sheet has changed: its height, and what is on the screen of it. `spot` None: its end."""
        sheet = self.sheet
        self._settled = self.size
        self._measure(sheet.height if sheet is not None else 0)
        at = sheet.find(spot) if sheet is not None and spot is not None else None
        before = round(self.scroll_y)
        self.scroll_to(y=self._lowest if at is None else at, animate=False, immediate=True, force=True)
        if round(self.scroll_y) == before:  # else `watch_scroll_y` has done these
            self._followed = self.following
            self.refresh()
            self._tell_seen()
        if self.has_nothing != self._was_empty:
            self._was_empty = not self._was_empty
            self.post_message(self.Emptied())

    def _measure(self, height: int) -> None:
        """Say how high the sheet is. Textual lays the whole screen out anew for that; while the scrollbar is there and
        stays, it is enough that the bar knows.
        """
        size = Size(self._width, height)
        if self.show_vertical_scrollbar and height > self.size.height:
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = height
        else:
            self.virtual_size = size

    # ------------------------------------------------------------ what was seen

    @property
    def attended(self) -> bool:
        """A person sees this: what is on the screen is read."""
        return self._attended

    @attended.setter
    def attended(self, attended: bool) -> None:
        self._attended = attended
        self._tell_seen()

    def _tell_seen(self) -> None:
        sheet = self.sheet
        if self.room is None or sheet is None or not self._attended or not self.following:
            return
        place = sheet.settled_place()
        if place is not None and self._told != (self.room, place):
            self._told = (self.room, place)
            self.post_message(self.Seen(self.room, place))
