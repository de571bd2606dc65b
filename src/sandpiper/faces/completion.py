"""What can follow what is typed: commands, rooms, @nicks, messages and :emoji:, by where the cursor stands. Pure.

`complete` is for Tab, whose offers all begin with what is typed; `suggest` is for a list that shows while typing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.crypto import codes
from sandpiper.errors import UsageError
from sandpiper.faces.commands import COMMANDS, find
from sandpiper.faces.emojis import MIN_PREFIX, emoji_named, names_matching, shown
from sandpiper.faces.onhubs import PASSWORD
from sandpiper.faces.spans import Line, Span, columns, line
from sandpiper.faces.verifying import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.faces.commands import Command, Parameter
    from sandpiper.faces.terminal import PromptState

MAX_SUGGESTIONS = 60  # rows of a list: nobody looks through more


class Offer(Struct, frozen=True):
    """A word to put where the last `length` characters before the cursor are."""

    text: str
    length: int


class Suggestion(Struct, frozen=True):
    """A row of the list of what can follow: put `text` where the last `length` characters before the cursor are.

    `label` says what it is, in style words of the screen's themes; `help` what it does.
    """

    text: str
    length: int
    label: Line
    help: str = ""


_WORD = re.compile(r"\S*\Z")
_INTO_A_ROOM = ("/join ", "/j ")
_BEGUN = re.compile(r"[^\W\d_]{2,}\Z")  # of a word of a code: with one letter there are a hundred
_EMOJI = re.compile(rf":([a-z0-9_+-]{{{MIN_PREFIX},}}):?", re.ASCII | re.IGNORECASE)


def _is_call(before: str) -> bool:
    return before.startswith("/") and not before.startswith("//")


def _split(before: str) -> tuple[str, str]:
    """What is before the word at the cursor, and what of the word is typed."""
    match = _WORD.search(before)
    at = match.start() if match is not None else len(before)
    return before[:at], before[at:]


# ---------------------------------------------------------------- Tab


def complete(before: str, state: PromptState) -> list[Offer]:
    """What can follow `before`, the text left of the cursor."""
    start, word = _split(before)
    if _is_call(before):
        if not start:
            return _offers(before, (f"/{command.name} " for command in COMMANDS))
        return _argument(start, word, state)
    if word.startswith("#"):
        return _offers(word, (f"{room} " for room in state.rooms if room.startswith("#")))
    if word.startswith("@"):
        return _offers(word, (f"@{nick} " for nick in state.nicks))
    if word.startswith(":"):
        return _emoji(word)
    if word:
        return [Offer(offer.text, len(word)) for offer in _offers(f"@{word}", (f"@{nick} " for nick in state.nicks))]
    return []


def _parameter(start: str) -> Parameter | None:
    """The parameter that comes after `start`, a command and what is given to it."""
    name, *given = start[1:].split() or [""]
    try:
        parameters = find(name).parameters
    except UsageError:
        return None
    return parameters[min(len(given), len(parameters) - 1)] if parameters else None


def _argument(start: str, word: str, state: PromptState) -> list[Offer]:
    parameter = _parameter(start)
    if parameter is None:
        return []
    nicks = [f"@{nick} " for nick in state.nicks]
    match parameter.kind:
        case "room":
            named = _offers(word, (f"{room} " for room in (*state.rooms, *(n.strip() for n in nicks))))
            return named or (_code(word) if start in _INTO_A_ROOM else [])
        case "nick":
            return _offers(word, (nick if word.startswith("@") else nick[1:] for nick in nicks))
        case "message":
            return _offers(word, ("^ ", *nicks)) or _emoji(word)
        case "command":
            return _offers(word.removeprefix("/"), (command.name for command in COMMANDS))
        case "lock":
            return _offers(word, (PASSWORD,))
        case "answer":
            return _offers(word, ANSWERS)
        case _:
            return _offers(word, nicks) if word.startswith("@") else _emoji(word)


def _code(word: str) -> list[Offer]:
    """The words that a begun code can go on with: they are the same for everybody, and tell nothing."""
    if not _BEGUN.search(word) or word[0] in "#@":
        return []
    return [Offer(one, len(word)) for one in codes.complete(word)]


def _offers(word: str, words: Iterable[str]) -> list[Offer]:
    wanted = word.casefold()
    return [Offer(one, len(word)) for one in sorted(set(words)) if one.casefold().startswith(wanted)]


def _emoji(word: str) -> list[Offer]:
    """The names that a begun `:name` can become; the emoji itself when there is one only, or the name is closed."""
    if not _EMOJI.fullmatch(word):
        return []
    if word.endswith(":"):
        emoji = emoji_named(word[1:-1])
        return [Offer(f"{emoji} ", len(word))] if emoji else []
    wanted = word[1:].casefold()
    found = [named for named in names_matching(wanted) if named.name.startswith(wanted)]
    if len(found) == 1:
        return [Offer(f"{found[0].emoji} ", len(word))]
    return _offers(word, (f":{named.name}:" for named in found))


def common_start(words: list[str]) -> str:
    """What all words begin with, in the first one's spelling."""
    first = min(words, key=len)
    for i, letter in enumerate(first):
        if any(word[i].casefold() != letter.casefold() for word in words):
            return first[:i]
    return first


# ---------------------------------------------------------------- the list while typing


def word_start(before: str) -> int:
    """Where the word at the cursor begins; `before` is the text left of the cursor."""
    return len(_split(before)[0])


def listed(offers: Iterable[Offer]) -> list[Suggestion]:
    """Offers of `complete` as rows of a list."""
    return [Suggestion(offer.text, offer.length, _label(offer.text)) for offer in offers][:MAX_SUGGESTIONS]


def suggest(before: str, state: PromptState, *, calls: bool = True) -> list[Suggestion]:
    """What a list beside the cursor shows while `before` is typed; nothing where it would only be in the way.

    Commands after a slash, then what their parameters can be, and anywhere @nicks and :emoji. `calls` False: a slash
    begins no command here.
    """
    start, word = _split(before)
    if calls and _is_call(before):
        if not start:
            return [_call(command, len(before)) for command in _commands(before[1:])]
        parameter = _parameter(start)
        if parameter is not None and (parameter.kind in ("room", "nick", "message", "command")):
            helps = {command.name: command.help for command in COMMANDS} if parameter.kind == "command" else {}
            offers = [offer for offer in _argument(start, word, state) if not word.startswith(":")]
            if offers:
                return [
                    Suggestion(offer.text, offer.length, _label(offer.text), helps.get(offer.text, ""))
                    for offer in offers[:MAX_SUGGESTIONS]
                ]
    if word.startswith("@"):
        return listed(_offers(word, (f"@{nick} " for nick in state.nicks)))
    if word.startswith(":") and not word.endswith(":") and _EMOJI.fullmatch(word):
        return [
            Suggestion(f"{named.emoji} ", len(word), line(_in_column(named.emoji), Span(named.name, "bold")))
            for named in names_matching(word[1:], MAX_SUGGESTIONS)
        ]
    return []


def _commands(typed: str) -> list[Command]:
    """Commands that begin with what is typed, then those also called so, then those that contain it."""
    wanted = typed.casefold()
    begin = [command for command in COMMANDS if command.name.startswith(wanted)]
    also = [command for command in COMMANDS if any(alias.startswith(wanted) for alias in command.aliases)]
    contain = [command for command in COMMANDS if wanted in command.name]
    return list({command.name: command for command in (*begin, *also, *contain)}.values())


def _call(command: Command, length: int) -> Suggestion:
    words = [f"[{p.name}]" if p.optional else p.name for p in command.parameters]
    label = line(Span("/", "accent"), Span(command.name, "bold"), Span("".join(f" {word}" for word in words), "teal"))
    return Suggestion(f"/{command.name}{' ' if words else ''}", length, label, command.help)


def _in_column(emoji: str) -> str:
    """An emoji and the space after it, so that names stand below each other."""
    emoji = shown(emoji)
    return emoji + " " * max(1, 3 - columns(emoji))


def _label(text: str) -> Line:
    """A room, a nick or a command: its mark in the colour of commands."""
    text = text.strip()
    if text[:1] in ("#", "@"):
        return line(Span(text[0], "accent"), Span(text[1:], "bold"))
    return line(Span(text, "bold"))
