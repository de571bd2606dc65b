"""The last net in front of the terminal: nothing that a terminal obeys, or that turns text around, passes it.

Peer text is made safe where it comes in (`sandpiper.wire.text`); this is for the day when some text is forgotten there,
because Textual writes to the terminal whatever a widget holds. An app installs one instance, last in the list:

    def get_line_filters(self):
        return [*super().get_line_filters(), self._last_net]
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.filter import LineFilter
from typing_extensions import override

if TYPE_CHECKING:
    from rich.style import Style
    from textual.color import Color

NOT_A_SIGN = "\ufffd"
_SHOWS_NOTHING = "\u200c"  # as wide as what it stands in for, and harmless: zero cells
_KEPT = frozenset("\u200c\u200d")  # joiners of scripts and emoji
_JOINING = ("\u200d", "\ufe0f")  # what comes before and after these decides how wide text is


def forbidden(char: str) -> bool:
    """True for what must not reach a terminal: controls, what changes the direction of text, separators, tags, halves.

    Tested by category, so that what a later Unicode adds to them is refused too.
    """
    if char in _KEPT:
        return False
    code = ord(char)
    if 0x2060 <= code <= 0x206F or 0xE0000 <= code <= 0xE007F:  # not all of these are assigned, all show nothing
        return True
    return unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")


@lru_cache(4096)
def caught(text: str) -> str:
    """`text` without what is `forbidden`, and exactly as wide as before: on a screen each cell counts."""
    bad = {char for char in text if forbidden(char)}
    if not bad:
        return text
    # Dropping a character of no width brings its neighbours together, which changes their width when one of them joins.
    nothing = _SHOWS_NOTHING if any(char in text for char in _JOINING) else ""
    return text.translate({ord(char): NOT_A_SIGN * cell_len(char) or nothing for char in bad})


@lru_cache(1024)
def _linked_safely(style: Style) -> Style:
    """The style without its link when that could carry an escape: a link is written to the terminal as it is."""
    link = style.link or ""
    return style if link.isascii() and link.isprintable() else style.update_link(None)


class LastNet(LineFilter):
    """Takes what is `forbidden` out of every line that Textual is about to write. Widths stay as they are."""

    @override
    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [segment if segment.control else _passed(segment) for segment in segments]


def _passed(segment: Segment) -> Segment:
    text, style, _ = segment
    text = text if text.isascii() and text.isprintable() else caught(text)
    if style is not None and style.link is not None:
        style = _linked_safely(style)
    return segment if text is segment.text and style is segment.style else Segment(text, style)
