"""What people are called on our screen: two keys never look alike, and no nick is inherited. Pure."""

from __future__ import annotations

from sandpiper.wire.ids import PeerKey, short


def _alike(nick: str) -> str:
    """What two nicks that a person could mix up have in common."""
    return nick.casefold()


class Names:
    """Nicks by key. Whoever was first seen with a nick has it bare; others get four digits of their key behind it."""

    def __init__(self, me: PeerKey, nick: str) -> None:
        self._nicks: dict[PeerKey, str] = {}
        self._owner: dict[str, PeerKey] = {}
        self.learn(me, nick)

    def learn(self, key: PeerKey, nick: str) -> None:
        """`key` is called `nick` now (already safe to show)."""
        old = self._nicks.get(key)
        if old == nick:
            return
        if old is not None and self._owner.get(_alike(old)) == key:
            del self._owner[_alike(old)]
            for other, theirs in self._nicks.items():
                if other != key and _alike(theirs) == _alike(old):
                    self._owner[_alike(old)] = other
                    break
        self._nicks[key] = nick
        self._owner.setdefault(_alike(nick), key)

    def nick(self, key: PeerKey) -> str:
        """The nick as its owner wrote it."""
        return self._nicks.get(key) or short(key)

    def show(self, key: PeerKey) -> str:
        """The nick as we show it: with a suffix when an older acquaintance has the same."""
        nick = self._nicks.get(key)
        if nick is None:
            return short(key)
        return nick if self._owner.get(_alike(nick)) == key else f"{nick}~{key[:2].hex()}"

    def find(self, shown: str) -> PeerKey | None:
        """Whose name this is: as shown, in any case, or the beginning of a key (at least 4 digits)."""
        wanted = _alike(shown.removeprefix("@"))
        owner = self._owner.get(wanted)
        if owner is not None:
            return owner
        for key in self._nicks:
            if _alike(self.show(key)) == wanted:
                return key
        matches = [key for key in self._nicks if len(wanted) >= 4 and key.hex().startswith(wanted)]
        return matches[0] if len(matches) == 1 else None

    def all(self) -> tuple[str, ...]:
        """All names as shown."""
        return tuple(self.show(key) for key in self._nicks)
