"""Lines of styled text as strips of the screen, and selected lines as text to copy. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

if TYPE_CHECKING:
    from textual.selection import Selection

    from sandpiper.faces.spans import Line
    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.transcript.sheet import Sheet

_BARS = ("│", "▌")


def painted(line: Line, looks: Looks, ground: str, width: int, span: tuple[int, int] | None) -> Strip:
    """A line on a ground (the word of a style), exactly `width` cells; `span` of its characters is selected (an end
    of -1: to the end).
    """
    base = looks.style(ground)
    segments = [Segment(one.text, base + looks.style(one.style) if one.style else base) for one in line if one.text]
    if span is not None:
        segments = _highlighted(segments, span, looks)
    used = sum(cell_len(segment.text) for segment in segments)
    return Strip(segments, used).adjust_cell_length(width, base)


def _highlighted(segments: list[Segment], span: tuple[int, int], looks: Looks) -> list[Segment]:
    start, end = span
    over, out, at = looks.style("selection"), list[Segment](), 0
    for text, style, _ in segments:
        stop = len(text) if end < 0 else max(0, min(len(text), end - at))
        begin = max(0, min(len(text), start - at))
        for piece, inside in ((text[:begin], False), (text[begin:stop], True), (text[max(begin, stop) :], False)):
            if piece:
                out.append(Segment(piece, (style + over if style else over) if inside else style))
        at += len(text)
    return out


def selected_text(sheet: Sheet, selection: Selection) -> str:
    """The selected characters of a sheet, without what stands to the left of texts."""
    first = selection.start.y if selection.start is not None else 0
    last = selection.end.y if selection.end is not None else sheet.height - 1
    lines = []
    for y in range(max(0, first), min(last, sheet.height - 1) + 1):
        found, span = sheet.line(y), selection.get_span(y)
        if found is None or span is None:
            continue
        line, _, _ = found
        left = _body_starts(line)
        text = "".join(one.text for one in line)
        start, end = max(span[0], left), len(text) if span[1] < 0 else span[1]
        lines.append(text[start:end].rstrip())
    return "\n".join(lines)


def _body_starts(line: Line) -> int:
    """The first character past the bar; 0 for lines without one."""
    at = 0
    for i, span in enumerate(line):
        at += len(span.text)
        if span.text in _BARS:
            return at + (1 if i + 1 < len(line) and line[i + 1].text == " " else 0)
    return 0
