"""Comparing keys with somebody by safety words: /verify."""

from __future__ import annotations

from msgspec import Struct

from sandpiper.wire.ids import PeerKey


class Comparison(Struct, frozen=True):
    """Safety words to compare with somebody. `first_seen` in ms since 1970, 0: never linked; `path` is empty when they
    are not linked now.
    """

    key: PeerKey
    name: str
    words: tuple[str, ...]
    digits: tuple[str, ...]
    verified: bool
    first_seen: int
    path: str
