"""What Tab offers: commands, rooms, @nicks and messages, by where the cursor stands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.errors import UsageError
from sandpiper.faces.commands import COMMANDS, find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.faces.terminal import PromptState


class Offer(Struct, frozen=True):
    """A word to put where the last `length` characters before the cursor are."""

    text: str
    length: int


def complete(before: str, state: PromptState) -> list[Offer]:
    """What can follow `before`, the text left of the cursor."""
    start, _, word = before.rpartition(" ")
    if before.startswith("/") and not before.startswith("//"):
        if " " not in before:
            return _offers(before, (f"/{command.name} " for command in COMMANDS))
        return _argument(start, word, state)
    if word.startswith("#"):
        return _offers(word, (f"{room} " for room in state.rooms if room.startswith("#")))
    if word.startswith("@"):
        return _offers(word, (f"@{nick} " for nick in state.nicks))
    if word:
        return [Offer(offer.text, len(word)) for offer in _offers(f"@{word}", (f"@{nick} " for nick in state.nicks))]
    return []


def _argument(start: str, word: str, state: PromptState) -> list[Offer]:
    name, *given = start[1:].split()
    try:
        parameters = find(name).parameters
    except UsageError:
        return []
    if not parameters:
        return []
    parameter = parameters[min(len(given), len(parameters) - 1)]
    nicks = [f"@{nick} " for nick in state.nicks]
    match parameter.kind:
        case "room":
            return _offers(word, (f"{room} " for room in (*state.rooms, *(n.strip() for n in nicks))))
        case "nick":
            return _offers(word, (nick if word.startswith("@") else nick[1:] for nick in nicks))
        case "message":
            return _offers(word, ("^ ", *nicks))
        case "command":
            return _offers(word.removeprefix("/"), (command.name for command in COMMANDS))
        case _:
            return _offers(word, nicks) if word.startswith("@") else []


def _offers(word: str, words: Iterable[str]) -> list[Offer]:
    wanted = word.casefold()
    return [Offer(one, len(word)) for one in sorted(set(words)) if one.casefold().startswith(wanted)]


def common_start(words: list[str]) -> str:
    """What all words begin with, in the first one's spelling."""
    first = min(words, key=len)
    for i, letter in enumerate(first):
        if any(word[i].casefold() != letter.casefold() for word in words):
            return first[:i]
    return first
