"""Peer text made harmless, once, at the boundary: every string a person may see passes here.

What goes: control characters (shown as their Unicode pictures, so tampering stays visible), C1 codes,
bidi overrides and isolates, invisible format characters, tag characters, piles of combining marks, and
everything past a length. What stays: all scripts, emoji with their joiners and variation selectors.
See docs/protocol/text.md.
"""

from __future__ import annotations

import re
import unicodedata

from sandpiper.errors import UsageError
from sandpiper.wire.limits import (
    MAX_COMBINING_MARKS,
    MAX_EMOJI_CHARS,
    MAX_NICK_CHARS,
    MAX_ROOM_NAME_CHARS,
    MAX_STATUS_CHARS,
    MAX_TEXT_CHARS,
    MAX_TOPIC_CHARS,
)

_PICTURES = 0x2400  # U+2400..U+241F: pictures of the C0 controls
_KEPT_FORMAT = {0x200C, 0x200D}  # ZWNJ (Persian, Indic scripts) and ZWJ (emoji)


def _replacement(code: int) -> str | None:
    """What `code` becomes, or None when it stays as it is."""
    if code < 0x20:
        return None if code in (0x09, 0x0A) else chr(_PICTURES + code)
    if code == 0x7F:
        return "\u2421"
    if 0x80 <= code <= 0x9F:
        return "\ufffd"
    if code in (0x2028, 0x2029):
        return "\n"
    if 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE:
        return "\ufffd"
    if unicodedata.category(chr(code)) == "Cf" and code not in _KEPT_FORMAT:
        return ""
    if 0x180B <= code <= 0x180F or code == 0x2065 or 0xFFF0 <= code <= 0xFFF8:
        return ""  # invisible like the format characters, by the standard's list of what may be ignored
    if 0xE0000 <= code <= 0xE0FFF and not 0xE0100 <= code <= 0xE01EF:
        return ""
    return None


class _Table(dict[int, int | str]):
    """`str.translate` table that decides a code point when it is first met; at most one entry a code point."""

    def __missing__(self, code: int) -> int | str:
        new = _replacement(code)
        self[code] = code if new is None else new
        return self[code]


_TABLE = _Table()
_NEWLINES = re.compile(r"\r\n?")
_SPACES = re.compile(r"\s+")
# Characters that stay in text but show nothing by themselves: joiners, fillers, variation selectors.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x200C, 0x200D, 0x2800, 0x3164, 0xFFA0)
_UNSEEN = dict.fromkeys([*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])


def clean_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """`text` safe to show on several lines, at most `limit` characters; a cut is marked with an ellipsis."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    text = _NEWLINES.sub("\n", text).translate(_TABLE)
    return text if text.isascii() else _without_piles(text)


def _without_piles(text: str) -> str:
    """At most `MAX_COMBINING_MARKS` marks in a row."""
    run = 0
    out = []
    for char in text:
        run = run + 1 if char > "\u02ff" and unicodedata.category(char) in ("Mn", "Me") else 0
        if run <= MAX_COMBINING_MARKS:
            out.append(char)
    return "".join(out)


def clean_line(text: str, limit: int) -> str:
    """`text` safe to show on one line: as `clean_text`, and white space of any kind becomes one space."""
    if len(text) > limit * 4:
        text = text[: limit * 4]
    return clean_text(_SPACES.sub(" ", clean_text(text, limit * 4)).strip(), limit)


def clean_nick(nick: str) -> str:
    """A peer's nick as we show it; never empty. NFC, no white space, at most 32 characters."""
    nick = unicodedata.normalize("NFC", clean_line(nick, MAX_NICK_CHARS)).replace(" ", "_").lstrip("@#/~+")
    nick = nick[:MAX_NICK_CHARS]
    return nick if visible(nick) else "nameless"


def visible(text: str) -> str:
    """`text` without what nobody sees: joiners, fillers and variation selectors."""
    return text if text.isascii() else text.translate(_UNSEEN)


def _is_room_name(name: str) -> bool:
    """Letters, digits and marks of any script, and - _ . + after the first."""
    kinds = [unicodedata.category(char)[0] for char in name]
    return bool(kinds) and kinds[0] in "LN" and all(k in "LNM" or c in "-_.+" for k, c in zip(kinds, name, strict=True))


def clean_topic(topic: str) -> str:
    """A topic as we show it: one line."""
    return clean_line(topic, MAX_TOPIC_CHARS)


def clean_status(status: str) -> str:
    """An away message as we show it: one line."""
    return clean_line(status, MAX_STATUS_CHARS)


def clean_emoji(emoji: str) -> str:
    """A reaction as we show it: one short word or emoji, never empty."""
    return clean_line(emoji, MAX_EMOJI_CHARS).replace(" ", "") or "?"


def check_nick(nick: str) -> str:
    """A nick its owner typed, normalised.

    Raises:
        UsageError: it is empty, too long, or has characters that a nick cannot have.
    """
    wanted = unicodedata.normalize("NFC", nick.strip())
    if not wanted or wanted != clean_nick(wanted):
        raise UsageError(
            f"The nick {clean_line(nick, 40)!r} cannot be used: 1 to {MAX_NICK_CHARS} characters, no spaces or "
            "control characters, and no @ # / ~ + in front.",
            hint="Try another, for example with --nick alice.",
            code="bad_nick",
        )
    return wanted


def check_room_name(name: str) -> str:
    """An open room's name as typed (`#Dev` or `dev`), normalised to its one spelling (`dev`).

    Raises:
        UsageError: it is empty, too long, or has characters that a room name cannot have.
    """
    wanted = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip().removeprefix("#")).casefold())
    if not _is_room_name(wanted) or len(wanted) > MAX_ROOM_NAME_CHARS or wanted != clean_line(wanted, 64):
        raise UsageError(
            f"The room name {clean_line(name, 40)!r} cannot be used: 1 to {MAX_ROOM_NAME_CHARS} letters, digits, "
            "- _ . +, starting with a letter or digit.",
            hint="For example: /join #dev",
            code="bad_room_name",
        )
    return wanted
