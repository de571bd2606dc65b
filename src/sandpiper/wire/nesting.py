"""How deep MessagePack nests, without recursion: what one stack can decode, another must be able to decode, too."""

from __future__ import annotations

MAX_NESTING = 16  # ours nests four deep; leaves room for later kinds
HARMLESS_BYTES = 256  # so few bytes cannot nest deep enough to trouble any stack

_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin and str: bytes of length in front
_EXT = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_MANY = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # array and map: bytes of count, items an entry


def nests_too_deep(raw: bytes | memoryview) -> bool:
    """True when a container in `raw` stands more than `MAX_NESTING` deep. Cut or wrong bytes are the decoder's
    business: False.
    """
    if len(raw) <= HARMLESS_BYTES:
        return False
    at, left = 0, [1]  # items still to come on each level
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        if at >= len(raw):
            return False
        first = raw[at]
        at += 1
        items = 0
        if 0x80 <= first <= 0x8F:
            items = 2 * (first & 0x0F)
        elif 0x90 <= first <= 0x9F:
            items = first & 0x0F
        elif 0xA0 <= first <= 0xBF:
            at += first & 0x1F
        elif first in _FIXED:
            at += _FIXED[first]
        elif first in _SIZED or first in _EXT:
            width = _SIZED.get(first) or _EXT[first]
            at += width + int.from_bytes(raw[at : at + width], "big") + (first in _EXT)
        elif first in _MANY:
            width, each = _MANY[first]
            items = each * int.from_bytes(raw[at : at + width], "big")
            at += width
        if items:
            left.append(items)
            if len(left) - 1 > MAX_NESTING:
                return True
    return False
