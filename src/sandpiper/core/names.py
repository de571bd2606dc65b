"""What people are called on our screen: two keys never look alike, and no nick is inherited. Pure.

A *pin* is the nick under which a person has said who a key is: by comparing safety words (`verified`), or by going on
without that. The nick of a verified key is nobody else's; another key that comes with it, or with one that looks like
it, is its *rival* until the person has said that it may.
"""

from __future__ import annotations

import unicodedata

from sandpiper.core.likeness import likeness
from sandpiper.wire.ids import PeerKey, short
from sandpiper.wire.text import visible

NICK_MARK = "~"  # between a nick and digits of its key
LEAST_DIGITS = 4  # more, when an older acquaintance has the same nick and the same digits


def _alike(nick: str) -> str:
    """What two nicks that a person could mix up have in common: letters in any case, width and form."""
    return unicodedata.normalize("NFKC", visible(unicodedata.normalize("NFKC", nick).casefold()))


def alike(one: str, other: str) -> bool:
    """True for nicks that a person could mix up."""
    return _alike(one) == _alike(other)


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
        self._looks: dict[PeerKey, str] = {}  # likeness of their nicks
        self._pins: dict[PeerKey, str] = {}  # the nicks under which they are pinned
        self._holders: dict[str, list[PeerKey]] = {}  # verified keys by the likeness of their pins; the first has it
        self._me = me
        self.learn(me, nick)

    def learn(self, key: PeerKey, nick: str) -> None:
        """`key` is called `nick` now (already safe to show)."""
        if self._nicks.get(key) == nick:
            return
        old, new = self._alikes.get(key), _alike(nick)
        if old != new:
            self._regroup(key, old, new)
        self._nicks[key], self._alikes[key], self._looks[key] = nick, new, likeness(nick)
        if old is not None and old != new and self._owner.get(old) == key:
            del self._owner[old]
            next_one = next((other for other, theirs in self._alikes.items() if theirs == old), None)
            if next_one is not None:
                self._owner[old] = next_one
        self._owner.setdefault(new, key)

    def knows(self, key: PeerKey) -> bool:
        """True when a nick of this key was ever learned."""
        return key in self._nicks

    def nick(self, key: PeerKey) -> str:
        """The nick as its owner wrote it."""
        return self._nicks.get(key) or short(key)

    def show(self, key: PeerKey) -> str:
        """The nick as we show it: with a suffix when an older acquaintance has the same."""
        nick = self._nicks.get(key)
        if nick is None:
            return short(key)
        if NICK_MARK not in nick:
            owner, holder = self._owner.get(self._alikes[key]), self._holder(self._looks[key])
            if owner != self._me and key != self._me and holder is not None:
                owner = holder
            if owner == key:
                return nick
        return f"{nick}{NICK_MARK}{self._digits(key)}"

    # ------------------------------------------------------------ pins

    def pin(self, key: PeerKey, nick: str, *, verified: bool) -> None:
        """The person has said that `key` is `nick` to them; an earlier pin of the key is forgotten."""
        self.unpin(key)
        self._pins[key] = nick
        if verified:
            self._holders.setdefault(likeness(nick), []).append(key)

    def unpin(self, key: PeerKey) -> None:
        """The person has taken back what was said of `key`."""
        looks = likeness(self._pins.pop(key, ""))
        if key in (holders := self._holders.get(looks, [])):
            holders.remove(key)
            if not holders:
                del self._holders[looks]

    def pinned(self, key: PeerKey) -> str:
        """The nick under which a key is pinned; empty: it is not."""
        return self._pins.get(key, "")

    def rival(self, key: PeerKey, nick: str = "") -> PeerKey | None:
        """The verified key whose nick `key` has or looks as if it had, unless it is pinned with that nick itself.
        `nick`: what somebody is called of whom nothing was learned.
        """
        looks = self._looks.get(key) or (likeness(nick) if nick else "")
        if key == self._me or not looks or likeness(self._pins.get(key, "")) == looks:
            return None
        return self._holder(looks)

    def _holder(self, looks: str) -> PeerKey | None:
        holders = self._holders.get(looks)
        return holders[0] if holders else None

    def _regroup(self, key: PeerKey, old: str | None, new: str) -> None:
        digits, order = key.hex()[:LEAST_DIGITS], self._order.setdefault(key, len(self._order))
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
        whole, count = key.hex(), LEAST_DIGITS
        group = self._twins[self._alikes[key], whole[:LEAST_DIGITS]]
        twins = [one.hex() for one in group if self._order[one] < self._order[key]]
        while any(twin.startswith(whole[:count]) for twin in twins):
            count += LEAST_DIGITS
        self._suffixes[key] = whole[:count]
        return whole[:count]

    def find(self, shown: str) -> PeerKey | None:
        """Whose name this is: as shown, in any case, or the beginning of a key (at least 4 digits)."""
        wanted = _alike(shown.removeprefix("@"))
        owner = self._owner.get(wanted)
        if owner is not None and NICK_MARK not in wanted and _alike(self.show(owner)) == wanted:
            return owner
        for key in self._nicks:
            if _alike(self.show(key)) == wanted:
                return key
        matches = [key for key in self._nicks if len(wanted) >= 4 and key.hex().startswith(wanted)]
        return matches[0] if len(matches) == 1 else None

    def all(self) -> tuple[str, ...]:
        """All names as shown."""
        return tuple(self.show(key) for key in self._nicks)
