"""What people are called on our screen: two keys never look alike, and no nick is inherited. Pure."""

from __future__ import annotations

import unicodedata
from itertools import takewhile

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
        self.learn(me, nick)

    def learn(self, key: PeerKey, nick: str) -> None:
        """`key` is called `nick` now (already safe to show)."""
        if self._nicks.get(key) == nick:
            return
        old, new = self._alikes.get(key), _alike(nick)
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

    def _digits(self, key: PeerKey) -> str:
        older = takewhile(lambda one: one != key, self._nicks)
        twins = [one.hex() for one in older if self._alikes[one] == self._alikes[key]]
        whole, count = key.hex(), _DIGITS
        while any(twin.startswith(whole[:count]) for twin in twins):
            count += _DIGITS
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
