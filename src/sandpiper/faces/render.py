"""What things look like as lines of text: messages, changes to them, and what happens around them. Pure.

Time is the author's clock in local time. Every line of its own begins with a time, everything else is indented, so
no text of a peer can look like a line of another. State is never told by colour alone.
"""

from __future__ import annotations

import re
from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.spans import Line, Span, colour, columns, dim, excerpt, fold, line

if TYPE_CHECKING:
    from collections.abc import Mapping

QUOTE_WIDTH = 32  # cells of a quoted message: enough to know it again, short enough to leave room for the answer
ID_DIGITS = 6  # hex digits of a message id in listings: one in 16 million, and /edit takes any four or more


class Look(Struct, frozen=True):
    """How lines are laid out now. `width` is in cells (None: no folding); `zone` None is the machine's own."""

    width: int | None
    today: date
    zone: tzinfo | None = None


class Name(Struct, frozen=True):
    """Somebody's name and its colour."""

    text: str
    colour: int

    @property
    def span(self) -> Span:
        """The name in its colour."""
        return colour(self.text, self.colour)


class Quote(Struct, frozen=True):
    """What a message answers; `nick` is empty when it is not here."""

    nick: str
    text: str


class Shown(Struct, frozen=True):
    """A message, ready for the screen. `time` is in ms since 1970.

    `room` is its label when that is not the current room; `to` names the other side of a direct room; `id` is hex,
    for listings only; `me` is our nick, to find mentions.
    """

    author: Name
    time: int
    text: str
    action: bool = False
    room: str = ""
    to: Name | None = None
    quote: Quote | None = None
    late: bool = False
    mine: bool = False
    edited: bool = False
    retracted: bool = False
    reactions: tuple[tuple[str, int], ...] = ()
    id: str = ""
    me: str = ""


def clock(time_ms: int, look: Look) -> str:
    """`10:30`, and with the day in front when that is not today."""
    try:
        when = datetime.fromtimestamp(time_ms / 1000, look.zone).replace(tzinfo=None)
    except (OverflowError, OSError, ValueError):  # a clock that is centuries off
        return "??:??"
    if when.date() == look.today:
        return f"{when:%H:%M}"
    return f"{when:%d %b %H:%M}" if when.year == look.today.year else f"{when:%Y-%m-%d %H:%M}"


def mentions(text: str, nick: str) -> bool:
    """True when a text names `nick`, with or without @."""
    return bool(nick) and _naming(nick).search(text) is not None


@lru_cache(16)  # our own nick, mostly
def _naming(nick: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)@?{re.escape(nick)}(?!\w)", re.IGNORECASE)


def quoted(quote: Quote) -> Span:
    """A quoted message, shortly."""
    if not quote.nick:
        return dim("«an earlier message»")
    return dim(f"«{quote.nick}: {excerpt(quote.text, QUOTE_WIDTH)}»")


def message(shown: Shown, look: Look) -> list[Line]:
    """A message as lines: the first with time and author, the others indented."""
    head: list[str | Span] = []
    if shown.id:
        head.append(dim(f"{shown.id} "))
    head.append(dim(f"{clock(shown.time, look)} "))
    if shown.room and shown.to is None:
        head.append(dim(f"{shown.room} "))
    author = shown.author.span
    if shown.to is not None:
        arrow = (shown.author.span, Span(" → "), Span("you")) if not shown.mine else (Span("you → "), shown.to.span)
        head += [Span("* "), *arrow] if shown.action else arrow
    elif shown.action:
        head += [Span("* "), author]
    else:
        head.append(author)
    if shown.late:
        head.append(dim(" (late)"))
    head.append(" " if shown.action and shown.to is None else ": ")
    if shown.quote is not None:
        head += [quoted(shown.quote), " "]
    body: list[str | Span] = []
    if shown.retracted:
        body.append(dim("(deleted)"))
    else:
        body.append(Span(shown.text, "bold" if mentions(shown.text, shown.me) and not shown.mine else ""))
        if shown.edited:
            body.append(dim(" (edited)"))
    if shown.reactions:
        body.append(dim("  " + " ".join(f"[{emoji} {count}]" for emoji, count in shown.reactions)))
    return fold(line(*head, *body), look.width, indent(shown, look))


def indent(shown: Shown, look: Look) -> int:
    """Where the second line of a message begins: under its author."""
    return columns((f"{shown.id} " if shown.id else "") + clock(shown.time, look)) + 1


def happened(time_ms: int, look: Look, *parts: str | Span) -> list[Line]:
    """Something that is no message: somebody came, a topic was set. Dim, with a dot in front."""
    when = clock(time_ms, look)
    spans = [part if isinstance(part, Span) and part.style.startswith("colour") else dim(_text(part)) for part in parts]
    return fold(line(dim(f"{when} · "), *spans), look.width, columns(when) + 3)


def _text(part: str | Span) -> str:
    return part.text if isinstance(part, Span) else part


def trouble(text: str, hint: str, look: Look) -> list[Line]:
    """What went wrong and what to do next."""
    return fold(line(Span("! ", "error"), Span(text, "warn"), f" {hint}" if hint else ""), look.width, 2)


def day_rule(day: date) -> Line:
    """Between two days."""
    return (dim(f"── {day:%A} {day.day} {day:%B %Y} ──"),)


def grouped(reactions: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Reactions with their counts, the most frequent first."""
    return tuple(sorted(reactions.items(), key=lambda item: (-item[1], item[0])))
