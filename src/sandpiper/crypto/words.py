"""The 2,048 words that safety words are said in: 11 bits a word.

How `words.txt` was chosen: nouns, adjectives and verbs of 3 to 7 letters that most speakers of English know (picked by
hand, with the frequencies of the `wordfreq` package as a guide), without those that are sad, offensive, political or
religious. The first four letters tell a word, so that four are enough to type; a word of three letters begins no other.
Of words that sound alike only one stayed (`quay` but not `key`), and of words that differ in one letter as few as
possible. The list never changes: the words of two keys, and codes on paper, must stay what they are.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

WORD_BITS = 11
"""Bits that one word stands for."""


@cache
def words() -> tuple[str, ...]:
    """All of them in alphabetical order; the index of a word is what it stands for."""
    return tuple(files(__package__).joinpath("words.txt").read_text(encoding="ascii").split())
