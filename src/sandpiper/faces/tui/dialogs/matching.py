"""Finding what a person means by a few letters, and where the words of a search stand in a text. Pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from wcwidth import iter_graphemes

from sandpiper.faces.spans import Line, Span, columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PREFIX = 100  # the text begins with what was typed: nothing else comes near
WORD_START = 10  # letters that begin a word are what people abbreviate by
RUN = 6  # letters in a row
GAP = 1  # for each letter skipped
MAX_TEXT = 100  # characters looked at: names and titles are shorter


class Match(NamedTuple):
    """How well something fits (more is better), and at which characters."""

    score: int
    places: tuple[int, ...] = ()


def match(query: str, text: str) -> Match | None:
    """How a few letters fit a text: all of them, in their order; None when they do not. Spaces in between, case and
    accents do not matter. Nothing typed fits everything.
    """
    letters = [letter for letter in folded(query) if letter.strip()]
    if not letters:
        return Match(0)
    against = folded(text[:MAX_TEXT])
    starts = _word_starts(text[:MAX_TEXT])
    best: Match | None = None
    for first, letter in enumerate(against):
        if letter != letters[0]:
            continue
        for words_first in (True, False):
            places = _follow(letters, against, starts, first, words_first=words_first)
            if places is None:
                continue
            score = _score(places, starts, len(against))
            if best is None or score > best.score:
                best = Match(score, places)
    return best


def highlighted(text: str, places: Iterable[int], style: str = "mention", other: str = "") -> Line:
    """A text as spans with the characters at these places in another style."""
    marked = frozenset(places)
    out: list[Span] = []
    for index, char in enumerate(text):
        wanted = style if index in marked else other
        if out and (out[-1].style == wanted or unicodedata.category(char)[0] == "M"):  # never an accent by itself
            out[-1] = Span(out[-1].text + char, out[-1].style)
        else:
            out.append(Span(char, wanted))
    return tuple(out)


def folded(text: str) -> list[str]:
    """Each character without case and accents, one for one; the history's index does the same."""
    return [(unicodedata.normalize("NFD", char)[0].lower() or char)[0] for char in text]


def spots(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where words begin a word of the text, as start and end, in order and without overlap."""
    plain, starts = "".join(folded(text)), _word_starts(text)
    found: list[tuple[int, int]] = []
    for word in {"".join(folded(word)) for word in words} - {""}:
        begin = plain.find(word)
        while begin >= 0:
            if starts[begin]:
                found.append((begin, begin + len(word)))
            begin = plain.find(word, begin + 1)
    out: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return out


def around_spots(text: str, words: Sequence[str], lead: int, width: int) -> Line:
    """One line of a text from at most `lead` cells before the first of these words, at most about `width` cells wide,
    with the words highlighted; where it is cut there is an ellipsis.
    """
    text = " ".join(text.split())
    found = spots(text, words)
    begin = found[0][0] if found else 0
    start = 0
    if begin and columns(text[:begin]) > lead:
        start = begin
        used = 0
        for piece in reversed(list(iter_graphemes(text[max(0, begin - 4 * lead) : begin]))):
            used += columns(piece)
            if used > lead:
                break
            start -= len(piece)
        space = text.find(" ", start, begin)
        start = space + 1 if space >= 0 else start
    shown = text[start : start + width]
    places = [at - start for low, high in found for at in range(low, high)]
    spans = highlighted(shown, places)
    if start:
        spans = (Span("…", "dim"), *spans)
    return (*spans, Span("…")) if start + width < len(text) else spans


def _word_starts(text: str) -> list[bool]:
    """For each character: it is a letter or digit after something that is none, or a capital after a small letter."""
    out, before = [], " "
    for char in text:
        out.append(char.isalnum() and (not before.isalnum() or (char.isupper() and before.islower())))
        before = char if unicodedata.category(char)[0] != "M" else before
    return out


def _follow(
    letters: list[str], against: list[str], starts: list[bool], first: int, *, words_first: bool
) -> tuple[int, ...] | None:
    """The places of all letters from the first one on: next to each other, else (with `words_first`) at the next
    beginning of a word, else wherever the letter comes next.
    """
    places = [first]
    for letter in letters[1:]:
        after = places[-1] + 1
        coming = [index for index in range(after, len(against)) if against[index] == letter]
        if not coming:
            return None
        if words_first and coming[0] != after:
            places.append(next((index for index in coming if starts[index]), coming[0]))
        else:
            places.append(coming[0])
    return tuple(places)


def _score(places: tuple[int, ...], starts: list[bool], length: int) -> int:
    score = -(length // 8)  # of two that fit alike, the shorter one
    last = places[0] - 1
    for place in places:
        if starts[place]:
            score += WORD_START
        if place == last + 1:
            score += RUN
        else:
            score -= GAP * (place - last - 1)
        last = place
    if places[-1] == len(places) - 1:  # the first letters of the text, all of them
        score += PREFIX
    return score - min(places[0], 10) * GAP
