"""Safety words: two keys as eight words and forty digits, the same on both sides. docs/protocol/safety-words.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Struct

from sandpiper.crypto.words import WORD_BITS, words

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey

WORDS = 8
GROUPS = 8
GROUP_BYTES = 5  # of the hash, for five digits: 2^40 is so much more than 100,000 that no digit is likelier
# 8 MiB and some 20 ms: nothing for one comparison, a high price for whoever tries keys until the words are the same.
COST = 1 << 13
BLOCKS = 8
_SALT = b"sandpiper safety words 1\x00"


class Safety(Struct, frozen=True):
    """Eight words, and eight groups of five digits for more certainty or another language."""

    words: tuple[str, ...]
    digits: tuple[str, ...]


def safety(one: PeerKey, other: PeerKey) -> Safety:
    """What the owners of two keys compare, in either order. Takes some 20 ms.

    The digits are made as those of Signal's safety numbers are: five bytes modulo 100,000.
    """
    count = WORDS * WORD_BITS // 8
    derived = Scrypt(salt=_SALT, length=count + GROUPS * GROUP_BYTES, n=COST, r=BLOCKS, p=1).derive(
        b"".join(sorted((one, other)))
    )
    number, rest = int.from_bytes(derived[:count], "big"), derived[count:]
    said = words()
    return Safety(
        words=tuple(said[number >> (WORD_BITS * i) & (len(said) - 1)] for i in reversed(range(WORDS))),
        digits=tuple(
            f"{int.from_bytes(rest[at : at + GROUP_BYTES], 'big') % 100_000:05}"
            for at in range(0, len(rest), GROUP_BYTES)
        ),
    )
