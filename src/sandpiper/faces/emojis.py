"""Names of emoji, and emoji drawn so that every terminal agrees how wide they are. Pure.

The `emoji` package has 5,000 names and takes a while to import, so that happens when the first name is asked for. Text
in ASCII needs none of it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal, NamedTuple

How = Literal["safe", "joined", "codes"]
"""How emoji are drawn: in parts whose width is certain, as they are, or as `:name:`."""

MIN_PREFIX = 2  # letters after the colon: with one, half of all emoji are possible
MAX_NAMES = 60  # as many as anybody looks through


class Named(NamedTuple):
    """An emoji and one name of it, without colons."""

    emoji: str
    name: str


# ---------------------------------------------------------------- names


class _Names(NamedTuple):
    by_name: dict[str, str]  # the emoji of each name
    by_emoji: dict[str, str]  # the name that is shown for an emoji; typing it gives that emoji back
    offered: list[Named]  # what completion knows, short names first; no skin tones, they are too many


@cache
def _names() -> _Names:
    from emoji import EMOJI_DATA, STATUS  # big

    proper: dict[str, str] = {}
    short: dict[str, str] = {}
    for emoji, entry in EMOJI_DATA.items():
        if entry["status"] <= STATUS["fully_qualified"]:
            proper.setdefault(_plain(entry["en"]), emoji)
            for alias in entry.get("alias", ()):
                short.setdefault(_plain(alias), emoji)
    # Where both exist, :cat: is what it is in other chats: the face.
    by_name = {name: emoji for name, emoji in {**proper, **short}.items() if name and name not in "0123456789"}
    by_emoji = {emoji: name for name, emoji in short.items() if by_name.get(name) == emoji}
    by_emoji |= {emoji: name for name, emoji in proper.items() if by_name.get(name) == emoji}
    offered = [Named(emoji, name) for name, emoji in by_name.items() if "_skin_tone" not in name]
    offered.sort(key=lambda named: (len(named.name), named.name))
    return _Names(by_name, by_emoji, offered)


def _plain(name: str) -> str:
    """A name of the package as people can type it: `:Antigua_&_Barbuda:` is `antigua_barbuda`."""
    letters = unicodedata.normalize("NFKD", name.strip(":")).casefold()
    return re.sub(r"__+", "_", re.sub(r"[^a-z0-9_+-]", "", letters)).strip("_")


def names_matching(prefix: str, limit: int = MAX_NAMES) -> list[Named]:
    """At most `limit` emoji whose name begins with `prefix`, then those that have a word that does; each once."""
    prefix = prefix.casefold()
    found: dict[str, Named] = {}
    for begins in (lambda name: name.startswith(prefix), lambda name: f"_{prefix}" in name):
        for named in _names().offered:
            if len(found) >= limit:
                break
            if begins(named.name):
                found.setdefault(named.emoji, named)
    return list(found.values())


def emoji_named(name: str) -> str | None:
    """The emoji of this name, without colons, if there is one."""
    return _names().by_name.get(name.casefold())


# Backticks as in Markdown: as many at the end as at the beginning; three that nobody closes go on to the end.
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:.*?(?<!`)\1(?!`))|```.*", re.DOTALL)
# One or several codes in a row that are words by themselves: not 12:30:45, a::b, host:8080:x, //x/:y:/z.
_SHORTCODES = re.compile(r"(?<![\w:/@.#=&?%+\\-])(?::[\w+-]+:)+(?![\w:/@])", re.ASCII)


def with_emoji(text: str) -> str:
    """`text` with each `:name:` of an emoji as that emoji, but not in code; what is no name stays as it is."""
    if ":" not in text or _SHORTCODES.search(text) is None:
        return text
    out, at = [], 0
    for code in _CODE.finditer(text):
        out += [_replaced(text, at, code.start()), code[0]]
        at = code.end()
    return "".join((*out, _replaced(text, at, len(text))))


def _replaced(text: str, start: int, end: int) -> str:
    """A part of a text with its shortcodes as emoji."""

    def replaced(match: re.Match[str]) -> str:
        emoji = [emoji_named(name) for name in match[0].strip(":").split("::")]
        return match[0] if None in emoji else "".join(one for one in emoji if one)

    out, at = [], start
    for match in _SHORTCODES.finditer(text, start, end):
        out += [text[at : match.start()], replaced(match)]
        at = match.end()
    return "".join((*out, text[at:end]))


# ---------------------------------------------------------------- drawing

_ZWJ, _ZWNJ = "\u200d", "\u200c"
_SQUARES = dict(zip(range(0x1F3FB, 0x1F400), "⬜🟨🟧🟫⬛", strict=True))  # a skin tone that colours nothing
_FLAGS = re.compile("[\U0001f1e6-\U0001f1ff]+")
_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_JAMO = re.compile("[\uac00-\ud7a3]?[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb]+")
_MOVED = re.compile("[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")


def shown(text: str, how: How = "safe") -> str:
    """`text`, which `clean_text` has seen, as the screen draws it.

    "safe": no character's width depends on its neighbours, because terminals do not agree about those that do: a family
    is its members, a flag its two letters, a skin tone is left out. Joiners go in all scripts (Textual counts a letter
    after one as nothing); non-joiners stay.
    """
    if text.isascii() or how == "joined":
        return text
    if how == "codes":
        text = _as_codes(text)
    if _MOVED.search(text):
        text = _FLAGS.sub(lambda run: _in_letters(run[0]), text)
        text = _TONES.sub(lambda tone: _tone(text, tone.start()), text)
        text = _JAMO.sub(lambda run: _in_syllables(run[0]), text)
    return text.translate(_SAFE)


def drawn(text: str) -> str:
    """`text` as safe as `shown` makes it, but character by character, for where a cursor counts characters."""
    return text if text.isascii() else text.translate(_DRAWN)


def _as_codes(text: str) -> str:
    from emoji import replace_emoji  # big

    def code(emoji: str, _: dict[str, str]) -> str:
        if len(emoji) == 1 and emoji < "\u2600":  # ©, ™, → and the like: every font has them
            return emoji
        named = _names().by_emoji
        name = named.get(emoji) or named.get(f"{emoji}\ufe0f") or named.get(emoji.replace("\ufe0f", ""))
        return f":{name}:" if name else "".join(f":{named[one]}:" if one in named else one for one in emoji)

    return replace_emoji(text, code)


def _in_letters(run: str) -> str:
    """Flags as the letters that they are made of: `DE FR`."""
    letters = "".join(chr(ord(char) - 0x1F1E6 + ord("A")) for char in run)
    return " ".join(letters[i : i + 2] for i in range(0, len(letters), 2))


def _tone(text: str, at: int) -> str:
    """A skin tone after something that it colours is left out; another one is a square of that colour."""
    before = text[max(0, at - 2) : at].rstrip("\ufe0e\ufe0f")
    return "" if before and unicodedata.category(before[-1]) in ("So", "Cn") else _SQUARES[ord(text[at])]


def _in_syllables(run: str) -> str:
    """Korean letters in whole syllables, as everybody writes them; those that make none as letters that do not join."""
    return "".join(map(_apart, unicodedata.normalize("NFC", run)))


@cache
def _apart(jamo: str) -> str:
    if not _JAMO.fullmatch(jamo):
        return jamo
    name = unicodedata.name(jamo, "")
    try:
        return unicodedata.lookup(re.sub("CHOSEONG|JUNGSEONG|JONGSEONG", "LETTER", name))
    except KeyError:
        return "\ufffd"


class _Table(dict[int, str]):
    """`str.translate` table that decides a character when it is first met. `gone` is what has no place of its own."""

    def __init__(self, known: dict[int, str], gone: str) -> None:
        super().__init__(known)
        self._gone = gone

    def __missing__(self, code: int) -> str:
        self[code] = new = self._safe(chr(code))
        return new

    def _safe(self, char: str) -> str:
        from rich.cells import get_character_cell_size
        from wcwidth import wcwidth

        code = ord(char)
        if char in "\n\t":
            return char
        if char in (_ZWJ, "\u20e3") or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE01EF:
            return self._gone
        # Characters younger than one of the two tables: nobody knows how wide a terminal makes them.
        return char if wcwidth(char) == get_character_cell_size(char) else "\ufffd"


_SAFE = _Table({}, "")
_DRAWN = _Table(
    {
        **{0x1F1E6 + i: chr(ord("A") + i) for i in range(26)},
        **dict.fromkeys(_SQUARES, _ZWNJ),  # Textual reserves no cell for it
    },
    _ZWNJ,
)
