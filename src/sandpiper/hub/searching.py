"""Search where there is no index: a room's lines looked through, newest first. Pure.

Words are compared as the SQLite history's index does it: whole words of any script, whatever their case and accents,
the last of those searched for may be a beginning. It takes a tenth of a second a megabyte: not for the event loop.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import msgspec

from sandpiper.errors import UsageError
from sandpiper.hub.history import Found
from sandpiper.hub.sqlite_lines import Line, with_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile(r"\w+")
_decoder = msgspec.json.Decoder(Line)


def _plain(text: str) -> str:
    """Without case and accents."""
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in split if not unicodedata.combining(character))


def look_through(raws: Iterable[bytes], words: str, before: int, limit: int) -> Found:
    """The newest `limit` messages among lines (whole ones, oldest first), told before number `before` (0: all), that
    have all `words` in what they say now.

    Raises:
        UsageError: there is nothing to search for.
    """
    *whole, last = _WORD.findall(_plain(words)) or [""]
    if not last:
        raise UsageError("There is nothing to search for.", hint="Name a word.")
    # By number: the line that said what they say now, what that is, and the message.
    messages: dict[int, tuple[int, str, bytes]] = {}
    for raw in raws:
        for line, one in zip(raw.splitlines(), _decoder.decode_lines(raw), strict=True):
            if one.type == "msg":
                messages[one.seq] = one.seq, one.text, line
            elif one.type == "edit" and one.id in messages:
                messages[one.id] = one.seq, one.text, with_text(messages[one.id][2], one.text)
            elif one.type == "retract":
                messages.pop(one.id, None)
    found: list[bytes] = []
    lowest = 0
    for seq, text, line in sorted(messages.values(), reverse=True):
        if before and seq >= before:
            continue
        plain = _plain(text)
        if not all(word in plain for word in (*whole, last)):
            continue  # as nearly always, so that few are taken apart
        said = set(_WORD.findall(plain))
        if all(word in said for word in whole) and any(word.startswith(last) for word in said):
            if len(found) == limit:
                return Found(tuple(found), True, lowest, True)
            found.append(line)
            lowest = seq
    return Found(tuple(found), False, 0, True)
