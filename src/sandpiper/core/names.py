"""What people are called on our screen: two keys never look alike, and no nick is inherited. Pure."""

from __future__ import annotations

import unicodedata

from sandpiper.wire.ids import PeerKey, short
from sandpiper.wire.text import visible

_MARK = "~"  # between a nick and digits of its key
_DIGITS = 4  # more, when an older acquaintance has the same nick and the same digits


def _alike(nick: str) -> str:
    """What two nicks that a person could mix up have in common: letters in any case, width and form."""
    return unicodedata.normalize("NFKC", visible(unicodedata.normalize("NFKC", nick).casefold()))


class Names:
    """Nicks by key. Whoever was first seen with a nick has it bare; others get digits of their key behind it, and so
    does a nick that looks as if it had some already.
    """

    def __init__(self, me: PeerKey, nick: str) -> None:
        self._nicks: dict[PeerKey, str] = {}
        self._alikes: dict[PeerKey, str] = {}  # the same as `_alike` has it, which takes a while to find out
        self._owner: dict[str, PeerKey] = {}
        # Somebody may come with thousands of keys of one nick, and all names are asked for again and again: so only
        # those are compared that begin alike, too, and each is compared once.
        self._order: dict[PeerKey, int] = {}  # who was seen first
        self._twins: dict[tuple[str, str], list[PeerKey]] = {}  # by nick and first digits of the key
        self._suffixes: dict[PeerKey, str] = {}
        self.learn(me, nick)

    def learn(self, key: PeerKey, nick: str) -> None:
        """`key` is called `nick` now (already safe to show)."""
        if self._nicks.get(key) == nick:
            return
        old, new = self._alikes.get(key), _alike(nick)
        if old != new:
            self._regroup(key, old, new)
        self._nicks[key], self._alikes[key] = nick, new
        if old is not None and old != new and self._owner.get(old) == key:
            del self._owner[old]
            next_one = next((other for other, theirs in self._alikes.items() if theirs == old), None)
            if next_one is not None:
                self._owner[old] = next_one
        self._owner.setdefault(new, key)

    def nick(self, key: PeerKey) -> str:
        """The nick as its owner wrote it."""
        return self._nicks.get(key) or short(key)

    def show(self, key: PeerKey) -> str:
        """The nick as we show it: with a suffix when an older acquaintance has the same."""
        nick = self._nicks.get(key)
        if nick is None:
            return short(key)
        if _MARK not in nick and self._owner.get(self._alikes[key]) == key:
            return nick
        return f"{nick}{_MARK}{self._digits(key)}"

    def _regroup(self, key: PeerKey, old: str | None, new: str) -> None:
        digits, order = key.hex()[:_DIGITS], self._order.setdefault(key, len(self._order))
        for alike in (old, new):
            for twin in self._twins.get((alike, digits), ()) if alike is not None else ():
                if self._order[twin] >= order:  # the older do not mind
                    self._suffixes.pop(twin, None)
        if old is not None:
            left = self._twins[old, digits]
            left.remove(key)
            if not left:
                del self._twins[old, digits]
        self._twins.setdefault((new, digits), []).append(key)

    def _digits(self, key: PeerKey) -> str:
        known = self._suffixes.get(key)
        if known is not None:
            return known
        whole, count = key.hex(), _DIGITS
        group = self._twins[self._alikes[key], whole[:_DIGITS]]
        twins = [one.hex() for one in group if self._order[one] < self._order[key]]
        while any(twin.startswith(whole[:count]) for twin in twins):
            count += _DIGITS
        self._suffixes[key] = whole[:count]
        return whole[:count]

    def find(self, shown: str) -> PeerKey | None:
        """Whose name this is: as shown, in any case, or the beginning of a key (at least 4 digits)."""
        wanted = _alike(shown.removeprefix("@"))
        owner = self._owner.get(wanted)
        if owner is not None and _MARK not in wanted:
            return owner
        for key in self._nicks:
            if _alike(self.show(key)) == wanted:
                return key
        matches = [key for key in self._nicks if len(wanted) >= 4 and key.hex().startswith(wanted)]
        return matches[0] if len(matches) == 1 else None

    def all(self) -> tuple[str, ...]:
        """All names as shown."""
        return tuple(self.show(key) for key in self._nicks)
