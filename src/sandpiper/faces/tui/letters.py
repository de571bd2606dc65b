"""What is being typed is painted first, and alone: a letter does not wait for the transcript, which takes five times as
long while a burst goes through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.screen import Screen
from typing_extensions import override

if TYPE_CHECKING:
    from textual.widget import Widget


class LettersFirst(Screen[None]):
    """A screen that does so. Textual (8.2) paints all that has changed in one go, and hears of each change by a message
    that often just misses a paint; it has no public way to say otherwise.
    """

    @override
    def _on_timer_update(self) -> None:
        later: set[Widget] = set()
        typed = self.focused
        if typed is not None and not (self._layout_required or self._scroll_required or self._repaint_required):
            if typed._repaint_regions and typed.display:  # the message may be on its way
                self._dirty_widgets.add(typed)
            if typed in self._dirty_widgets:
                later = self._dirty_widgets - {typed}
                self._dirty_widgets -= later
        super()._on_timer_update()
        if later:
            painted = not self._dirty_widgets  # not while something covers it
            self._dirty_widgets |= later
            if painted:
                self._update_timer.resume()
