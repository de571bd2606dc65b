"""Codes such as `pine-ocean-42`: made, read as people type them, completed. Page: docs/protocol/admission.md.

The digits are the nameplate, which everybody may see; the two words are the secret. Nothing here puts the words into
an error or a `repr`: what helps a person with a slip (`suggest`, `complete`) is a value of its own, for the eyes of
whoever typed it.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from functools import cache

from msgspec import Struct
from typing_extensions import override

from sandpiper.crypto.words import WORD_BITS, words
from sandpiper.errors import UsageError
from sandpiper.wire.admission import MAX_NAMEPLATE_DIGITS, is_nameplate

WORDS = 2
POSSIBLE_CODES = 1 << WORDS * WORD_BITS
"""As many pairs of words there are for one nameplate: 2^22."""
ENTROPY_BYTES = 3  # 24 random bits, of which 22 are used
MAX_TYPED = 200  # characters looked at: a code has some 20, and a sentence pasted by mistake is none
MAX_SUGGESTIONS = 6  # more are no help
_ENOUGH = 4  # letters that tell a word (see words.py)
_LONGEST = 7  # letters of a word
_LONG = 5  # from here on a word with two slips is still told from others

_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_LAST_LETTERS = re.compile(r"[^\W\d_]*\Z")


class BadCode(UsageError):
    """What was typed is no code. Its text names none of the words that were typed."""

    code = "bad_code"


class Code(Struct, frozen=True):
    """A nameplate and its two secret words. Its `repr` shows the nameplate only."""

    nameplate: str
    words: tuple[str, str]

    @override
    def __repr__(self) -> str:
        return f"<Code of nameplate {self.nameplate}>"

    @override
    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("nameplate", self.nameplate)]

    @property
    def spoken(self) -> str:
        """The whole code as people write it: shown to the person who shares it, and put nowhere else."""
        return "-".join((*self.words, self.nameplate))


def make_code(nameplate: str, entropy: bytes) -> Code:
    """A new code for `nameplate`; all pairs of words are equally likely when `entropy` is three random bytes.

    Raises:
        ValueError: not three bytes, or no nameplate.
    """
    if len(entropy) != ENTROPY_BYTES or not is_nameplate(nameplate):
        raise ValueError("a code is made of a nameplate and three random bytes")
    number, known = int.from_bytes(entropy, "big"), words()
    low = len(known) - 1
    return Code(nameplate, (known[number >> WORD_BITS & low], known[number & low]))


def parse_code(typed: str) -> Code:
    """The code that somebody typed or pasted: in any case, with hyphens, spaces or other signs between its parts,
    with the digits wherever they stand, and with the first four letters of a word for the word.

    Raises:
        BadCode: it is none; the sentence says which part, and never what the words were.
    """
    letters, digits = _parts(typed)
    if len(letters) != WORDS or len(digits) != 1:
        raise BadCode(
            f"A code has two words and one number; this has {_count(len(letters), 'word')} and "
            f"{_count(len(digits), 'number')}.",
            hint="It looks like pine-ocean-42.",
        )
    nameplate = str(int(digits[0]))
    if not is_nameplate(nameplate):
        raise BadCode(
            f"The number of a code has 1 to {MAX_NAMEPLATE_DIGITS} digits and is not 0.", hint="Check the number."
        )
    found = [_word(part) for part in letters]
    for place, word in zip(("first", "second"), found, strict=True):
        if word is None:
            raise BadCode(
                f"The {place} word of this code is none that codes are made of.",
                hint="Check its spelling; the Tab key completes words.",
            )
    one, other = found
    assert one is not None
    assert other is not None
    return Code(nameplate, (one, other))


def like_code(typed: str) -> bool:
    """Whether this was meant as a code, whatever its slips: two words and a number, or words of codes without one; also
    with the keyboard set to another script. What
    is true for must never become the name of something that others can see.
    """
    letters, digits = _parts(typed)
    if len(letters) == WORDS and len(digits) == 1 and all(1 < len(part) <= _LONGEST + 1 for part in letters):
        return True
    if sum(map(_whole, letters)) >= WORDS:
        return True
    return any(_whole(part[:at]) and _whole(part[at:]) for part in letters for at in range(1, len(part)) if digits)


def suggest(typed: str) -> str:
    """What somebody may have meant whose code has a slip in its words, as a question to show to that person and
    nobody else; empty when nothing is near. One letter missing, added or wrong, or two exchanged, count as near, and
    two such slips in a longer word that is near no other.
    """
    letters, digits = _parts(typed)
    if len(letters) != WORDS or len(digits) != 1 or not is_nameplate(str(int(digits[0]))):
        return ""
    near = [_near(part) for part in letters]
    meant = ["-".join((*pair, str(int(digits[0])))) for pair in itertools.product(*near)]
    return f"Did you mean {' or '.join(meant)}?" if 0 < len(meant) <= MAX_SUGGESTIONS else ""


def complete(typed: str) -> tuple[str, ...]:
    """For the Tab key: `typed` with its unfinished last word finished, in all ways that there are."""
    if len(typed) > MAX_TYPED:
        return ()
    match = _LAST_LETTERS.search(typed)
    at = match.start() if match is not None else len(typed)
    before, begun = typed[:at], _normal(typed[at:])
    earlier, digits = _parts(before)
    if not begun or len(earlier) >= WORDS or any(_word(part) is None for part in earlier):
        return ()
    after = "-" if len(earlier) + 1 < WORDS or not digits else ""
    return tuple(f"{before}{word}{after}" for word in words() if word.startswith(begun))


def _normal(typed: str) -> str:
    return unicodedata.normalize("NFKC", typed).casefold()


def _parts(typed: str) -> tuple[list[str], list[str]]:
    """Its runs of letters, and its runs of digits."""
    found = _TOKEN.findall(_normal(typed)) if len(typed) <= MAX_TYPED else []
    return [part for part in found if not part.isdecimal()], [part for part in found if part.isdecimal()]


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


@cache
def _by_beginning() -> dict[str, str]:
    return {word[:_ENOUGH]: word for word in words()}


def _word(typed: str) -> str | None:
    """The word that somebody wrote in full, or at least four letters of."""
    word = _by_beginning().get(typed[:_ENOUGH])
    if word is None or not word.startswith(typed):
        return None
    return word


def _whole(typed: str) -> bool:
    return _word(typed) == typed


def _near(typed: str) -> list[str]:
    """The word that was typed; or else those that it is one slip away from, in full or as far as it goes."""
    word = _word(typed)
    if word is not None:
        return [word]
    near = [one for one in words() if _one_slip(typed, one) or _one_slip(typed, one[: max(len(typed), _ENOUGH)])]
    if near or len(typed) < _LONG or len(typed) > _LONGEST + 2:
        return near
    return [one for one in words() if len(one) >= _LONG and _slips(typed, one) == 2]


def _slips(typed: str, word: str) -> int:
    """How many slips it takes: letters wrong, missing or added, and neighbours exchanged (the Damerau distance, with
    no letter touched twice).
    """
    before: list[int] = []
    row = list(range(len(word) + 1))
    for at, letter in enumerate(typed, 1):
        earlier, before, row = before, row, [at]
        for place, other in enumerate(word, 1):
            fewest = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != other))
            if at > 1 < place and letter == word[place - 2] and typed[at - 2] == other:
                fewest = min(fewest, earlier[place - 2] + 1)
            row.append(fewest)
    return row[-1]


def _one_slip(typed: str, word: str) -> bool:
    """One letter wrong, missing or added, or two neighbours exchanged."""
    if abs(len(typed) - len(word)) > 1:
        return False
    if len(typed) != len(word):
        short, long = sorted((typed, word), key=len)
        return any(long[:at] + long[at + 1 :] == short for at in range(len(long)))
    wrong = [at for at, (a, b) in enumerate(zip(typed, word, strict=True)) if a != b]
    if len(wrong) == 2:
        one, other = wrong
        return other == one + 1 and typed[one] == word[other] and typed[other] == word[one]
    return len(wrong) == 1
