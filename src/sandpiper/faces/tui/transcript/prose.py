"""What is in a message's text: paragraphs with **strong** words, `code`, links and mentions, and blocks of code. Pure.

Only what people type in chats everywhere, and never more than a style: whatever does not read as one of these stays
as it is.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from sandpiper.faces.spans import Line, Span

_FENCE = re.compile(r"^```[\w+-]*$")
_SPECIAL = re.compile(r"[`*@/]|\n")
_PIECES = re.compile(
    r"(?P<code>`[^`\n]+`)"
    r"|(?P<strong>\*\*(?=\S)[^*\n]+(?<=\S)\*\*)"
    r"|(?P<link>https?://[^\s<>\"`]+[^\s<>\"`.,;:!?'\])}])"
    r"|(?P<name>(?<![\w@])@[\w][^\s@,;:!?()\[\]{}\"'`]*)"
)


class Part(Struct, frozen=True):
    """A stretch of a message: `text` to fold between words, or the lines of a block of code."""

    kind: Literal["text", "code"]
    spans: Line = ()
    lines: tuple[str, ...] = ()


def parts(text: str, me: str, style: str = "") -> list[Part]:
    """The parts of a message in their order. `me` is our nick: who names it, mentions us. `style` is what stretches
    without a meaning of their own have.
    """
    if "```" not in text:
        return [Part("text", inline(text, me, style))]
    out: list[Part] = []
    plain: list[str] = []
    code: list[str] | None = None
    for line in text.split("\n"):
        if _FENCE.match(line.strip()) and (code is None or line.strip() == "```"):
            if code is None:
                if plain:
                    out.append(Part("text", inline("\n".join(plain), me, style)))
                plain, code = [], []
            else:
                out.append(Part("code", lines=tuple(code)))
                code = None
        else:
            (plain if code is None else code).append(line)
    if code is not None:  # never closed: all that follows is code, as everywhere
        out.append(Part("code", lines=tuple(code)))
    if plain:
        out.append(Part("text", inline("\n".join(plain), me, style)))
    return [part for part in out if part.spans or part.lines] or [Part("text", (Span(text, style),))]


def plain(text: str) -> str:
    """A text for an excerpt of it: without the marks of code and strong words."""
    if "```" in text:
        text = "\n".join(line for line in text.split("\n") if not _FENCE.match(line.strip()))
    return _PIECES.sub(lambda found: found[0].strip("`*") if found.lastgroup in ("code", "strong") else found[0], text)


def inline(text: str, me: str, style: str = "") -> Line:
    """Text with the styles of what is in it."""
    if _SPECIAL.search(text) is None:
        return _mentioning(text, me, style)
    out: list[Span] = []
    end = 0
    for found in _PIECES.finditer(text):
        out += _mentioning(text[end : found.start()], me, style)
        end, piece = found.end(), found[0]
        match found.lastgroup:
            case "code":
                out.append(Span(piece[1:-1], "code"))
            case "strong":
                out.append(Span(piece[2:-2], f"{style} bold".strip()))
            case "link":
                out.append(Span(piece, "link"))
            case _:
                ours = bool(me) and piece[1:].casefold() == me.casefold()
                out.append(Span(piece, "mention" if ours else f"{style} bold".strip()))
    out += _mentioning(text[end:], me, style)
    return tuple(out)


def _mentioning(text: str, me: str, style: str) -> tuple[Span, ...]:
    """Text in one style, but for our nick."""
    if not text:
        return ()
    if not me or me.casefold() not in text.casefold():
        return (Span(text, style),)
    out = []
    for i, piece in enumerate(re.split(rf"(?<!\w)({re.escape(me)})(?!\w)", text, flags=re.IGNORECASE)):
        if piece:
            out.append(Span(piece, "mention" if i % 2 else style))
    return tuple(out)
