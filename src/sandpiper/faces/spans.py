"""Styled text as values: spans in lines, folded to a width, turned into plain text or ANSI at the very end. Pure.

Styles are words (see `_SGR`), never escapes, so no text of a peer can carry one; `ansi` is the only place in the
program that writes an escape sequence around text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import category

from wcwidth import iter_graphemes, wcswidth, wcwidth

from sandpiper.wire.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_FOLD = 20  # columns: a narrower terminal gets unfolded lines, folding would be one word a line
TAB = "    "


class Span(NamedTuple):
    """Some text in one style. Styles: "" as is, dim, bold, warn, error, qr (black on white), and `colour N` of the
    256-colour palette.
    """

    text: str
    style: str = ""


Line = tuple[Span, ...]

_SGR = {"dim": "2", "bold": "1", "warn": "33", "error": "1;31", "qr": "38;5;16;48;5;231"}


def line(*parts: str | Span) -> Line:
    """A line of plain strings and spans; empty ones are left out."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return tuple(span for span in spans if span.text)


def dim(text: str) -> Span:
    """A span in the background."""
    return Span(text, "dim")


def colour(text: str, number: int, *, bold: bool = False) -> Span:
    """A span in a colour of the 256-colour palette."""
    return Span(text, f"{'bold ' if bold else ''}colour {number}")


def text_of(spans: Line) -> str:
    """The line without styles."""
    return "".join(span.text for span in spans)


def ansi(spans: Line) -> str:
    """The line with its styles as ANSI sequences."""
    return "".join(f"\x1b[{_sgr(span.style)}m{span.text}\x1b[0m" if span.style else span.text for span in spans)


def _sgr(style: str) -> str:
    words = iter(style.split())
    return ";".join(f"38;5;{next(words)}" if word == "colour" else _SGR[word] for word in words)


def harmless(spans: Line) -> Line:
    """The last net before the terminal: text was made safe at the boundary, and is so again here.

    A line is one line: breaks that are left become spaces.
    """
    return tuple(Span(clean_text(span.text).replace("\n", " ").replace("\t", TAB), span.style) for span in spans)


_SPACING = re.compile("[\u0903-\u1cf7\ua823-\uabec\U00011000-\U0001d172]")  # where spacing marks are, among others


def columns(text: str) -> int:
    """How many terminal cells a text takes; what has no known width counts one a character.

    Some terminals measure whole syllables, others letter by letter. Where vowel signs have cells of their own (category
    Mc) that makes a difference; the wider one counts, so that no line is wider than it was measured.
    """
    if text.isascii():
        return len(text)  # control characters are gone by now
    width = wcswidth(text)
    if width < 0 or _SPACING.search(text):
        return max(width, sum(map(_cells, text)))
    return width


@lru_cache(4096)
def _cells(char: str) -> int:
    """How many cells a character takes where it is measured by itself."""
    width = wcwidth(char)
    return 1 if width < 0 or (width == 0 and category(char) == "Mc") else width


def excerpt(text: str, width: int) -> str:
    """The beginning of a text on one line, at most `width` cells wide; a cut is marked with an ellipsis."""
    return cut(" ".join(text[: width * 8].split()), width)


def cut(text: str, width: int, measure: Callable[[str], int] = columns) -> str:
    """As much of a text as `width` cells hold by this measure; where something is missing there is an ellipsis."""
    if measure(text) <= width:
        return text
    kept, used = "", 0
    for piece in iter_graphemes(text):
        used += measure(piece)
        if used > width - 1:
            break
        kept += piece
    return kept.rstrip() + "…" if width > 0 else ""


_BREAKS = re.compile(r"(\n| +)")


def fold(spans: Line, width: int | None, indent: int, *, least: int = MIN_FOLD) -> list[Line]:
    """Break a line at its newlines, and between words so that nothing is wider than `width` (None, or less than
    `least`: no limit).

    All lines but the first are indented, so that no text can pretend to be a line of its own.
    """
    if width is not None and width < max(least, indent * 2):
        width = None
    whole = text_of(spans)
    if (
        "\n" not in whole
        and "\t" not in whole
        and (width is None or sum(columns(span.text) for span in spans) <= width)
    ):
        return [_joined([span for span in spans if span.text])]  # as most are
    out: list[list[Span]] = [[]]
    used = 0
    pad = " " * indent

    def new_line() -> None:
        nonlocal used
        out.append([Span(pad)] if pad else [])
        used = indent

    def put(text: str, style: str) -> None:
        nonlocal used
        out[-1].append(Span(text, style))
        used += columns(text)

    for text, style in spans:
        for piece in _BREAKS.split(text.replace("\t", TAB)):
            if piece == "\n":
                new_line()
            elif width is None or used + columns(piece) <= width:
                if piece:
                    put(piece, style)
            elif piece.isspace():
                new_line()
            elif columns(piece) <= width - indent:
                new_line()
                put(piece, style)
            else:
                for grapheme in iter_graphemes(piece):
                    if used + columns(grapheme) > width:
                        new_line()
                    put(grapheme, style)
    return [_joined(spans) for spans in out]


def _joined(spans: list[Span]) -> Line:
    """Neighbours of one style as one span."""
    out: list[Span] = []
    for span in spans:
        if out and out[-1].style == span.style:
            out[-1] = Span(out[-1].text + span.text, span.style)
        else:
            out.append(span)
    return tuple(out)
