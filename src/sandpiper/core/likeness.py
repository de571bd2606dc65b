"""What two nicks have in common that a person could take for each other. Pure.

Coarser than `names`: letters of other scripts count as the Latin ones that they look like, and signs do not count. A
nick that is only *somewhat* like a verified one costs its owner a question; one that is overlooked costs a friend.
"""

# ruff: noqa: RUF001  (letters that look alike are what this is about)

from __future__ import annotations

import unicodedata
from functools import lru_cache

from sandpiper.wire.text import visible

# By hand, after the table of confusable characters of Unicode (UTS 39): letters of the scripts that most keyboards
# have. Case is folded before, so a letter stands for the looks of both its forms.
_LOOKS_LIKE = {
    "a": "аαạ",
    "b": "вβьƅ",
    "c": "сϲ",
    "d": "ԁɗ",
    "e": "еєεҽ℮",
    "f": "ƒ",
    "g": "ɡց",
    "h": "һнη",
    "j": "јϳ",
    "k": "кκ",
    "l": "i1|іıιӏⅼ!",
    "m": "мµμ",
    "n": "пո",
    "o": "0оοσօ",
    "p": "рρ",
    "q": "ԛգ",
    "r": "гɾ",
    "s": "5ѕ$",
    "t": "тτ",
    "u": "υսц",
    "v": "νѵ",
    "w": "ԝшω",
    "x": "хχ",
    "y": "уүγ",
    "z": "ᴢζ",
}
_TABLE = str.maketrans({other: letter for letter, others in _LOOKS_LIKE.items() for other in others})
_PAIRS = (("rn", "m"), ("vv", "w"))  # side by side they look like one


@lru_cache(4096)  # names are compared again and again
def likeness(nick: str) -> str:
    """The same for nicks that look alike; for a nick of signs alone, the nick."""
    plain = unicodedata.normalize("NFKD", visible(unicodedata.normalize("NFKC", nick).casefold())).translate(_TABLE)
    looks = "".join(char for char in plain if unicodedata.category(char)[0] in "LN")
    for pair, one in _PAIRS:
        looks = looks.replace(pair, one)
    return looks or nick
