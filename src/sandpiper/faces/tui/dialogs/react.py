"""Choosing a reaction to a message: a common one by its digit, or any emoji by its name, or a short word."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.emojis import MIN_PREFIX, emoji_named, names_matching, shown
from sandpiper.faces.spans import Span, columns, dim, line
from sandpiper.faces.tui.dialogs.dialog import Entry
from sandpiper.faces.tui.dialogs.picks import Pick, PickDialog, Picks
from sandpiper.wire.limits import MAX_EMOJI_CHARS
from sandpiper.wire.text import clean_emoji

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

COMMON = (
    ("👍", "yes, good"),
    ("❤️", "love it"),
    ("😂", "funny"),
    ("🎉", "hooray"),
    ("😮", "really?"),
    ("😢", "sad"),
    ("🙏", "thank you"),
    ("👀", "looking at it"),
)
"""What most reactions are, on the keys 1 to 8."""


class ReactDialog(PickDialog[str]):
    """An emoji or short word as `/react` takes it."""

    WIDTH = 48

    def __init__(self) -> None:
        super().__init__("React", (f"1-{len(COMMON)} or ↑↓ pick", "enter react", "esc close"))

    @override
    def contents(self) -> ComposeResult:
        yield Entry(placeholder=":name, emoji or word", max_length=4 * MAX_EMOJI_CHARS)
        yield Picks()

    @override
    def opened(self) -> None:
        super().opened()
        # The names take a while to load; whoever types one should not wait for them.
        self.run_worker(partial(names_matching, "ok"), thread=True)

    @override
    def taken(self, event: events.Key, entry: Entry) -> bool:
        return (not entry.value and self._by_digit(event)) or super().taken(event, entry)

    @override
    def picked(self, value: object) -> None:
        if isinstance(value, str):
            self.done(value)

    def _by_digit(self, event: events.Key) -> bool:
        if event.key.isascii() and event.key.isdigit() and 1 <= int(event.key) <= len(COMMON):
            self.done(COMMON[int(event.key) - 1][0])
            return True
        return False

    @override
    def offer(self, typed: str) -> None:
        wanted = typed.strip()
        if not wanted:
            rows = [_row(emoji, words, str(number)) for number, (emoji, words) in enumerate(COMMON, 1)]
        else:
            rows = _found(wanted)
        rule = f"One emoji or a word without spaces, at most {MAX_EMOJI_CHARS} characters."
        nothing = "No emoji has a name like this." if wanted.startswith(":") else rule
        self.picks.show(rows, line(dim(nothing)))


def _found(wanted: str) -> list[Pick]:
    """What was typed as it is, if it can be a reaction, and the emoji whose names fit it."""
    name = wanted.strip(":")
    found: dict[str, str] = {}
    if not wanted.startswith(":") and len(wanted) <= MAX_EMOJI_CHARS and clean_emoji(wanted) == wanted:
        found[wanted] = "as it is"
    if wanted.startswith(":") and (exact := emoji_named(name)) is not None:
        found[exact] = f":{name.casefold()}:"
    if len(name) >= MIN_PREFIX and name.isascii():
        for named in names_matching(name):
            found.setdefault(named.emoji, f":{named.name}:")
    return [_row(emoji, words) for emoji, words in found.items()]


def _row(emoji: str, words: str, digit: str = "") -> Pick:
    drawn = shown(emoji)
    gap = " " * max(1, 4 - columns(drawn))
    return Pick(emoji, line(Span(f"{digit}  " if digit else "", "accent bold"), drawn, gap, dim(words)))
