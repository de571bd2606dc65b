"""The guests of a hub and what they are called: no nick twice, and what a key owns is nobody else's. Pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Protocol

from sandpiper.hub.limits import ANON_TRIES, MAX_NICK_TRIES, MAX_NICKS_A_KEY, MAX_OWNED_NICKS
from sandpiper.wire.limits import MAX_NICK_CHARS
from sandpiper.wire.text import visible

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sandpiper.core.events import Now
    from sandpiper.hub.pace import Address, Allowance
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.ids import PeerKey

_DAY_MS = 24 * 3600 * 1000  # how exactly the history knows when a nick was used: one line written a day


class Outlet(Protocol):
    """Where a guest's bytes go. The core never calls it; it only carries it along."""

    def write(self, raw: bytes) -> None:
        """Write now, or as soon as the other side takes it; never waits."""
        ...


class Guest:
    """One connection and the person behind it. Idle ones are many, so it is small."""

    __slots__ = (
        "address", "allowance", "folded", "key", "modern", "named", "nick", "nonce", "number", "open", "outlet",
        "place", "recalling", "rooms", "strikes", "typed", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, address: str, nick: str, outlet: Outlet) -> None:
        self.number = number
        self.address = address
        """Empty where it says nothing about who it is (see `ChatSettings.loopback_counts`)."""
        self.place: Address | None = None
        """What it shares with others of its address."""
        self.nick = nick
        self.folded = fold(nick)
        self.outlet = outlet
        self.key: PeerKey | None = None
        """The key that it has proved to own."""
        self.nonce = b""
        self.modern = False
        """It has said hello: it knows more than the founding protocol."""
        self.named = False
        """Others were told of it."""
        self.open = True
        self.rooms: tuple[Room, ...] = ()
        self.strikes = 0
        self.allowance: Allowance | None = None
        self.typed = float("-inf")
        self.recalling = False
        self.waiting = False
        """Something that it asked for is being decided; its next lines are taken after that."""

    @property
    def owner(self) -> PeerKey | int:
        """Who its messages belong to: its key, or else this connection."""
        return self.key or self.number

    def tokens(self) -> Iterable[str]:
        """By what it is known to bans and mutes."""
        if self.key is not None:
            yield f"key:{self.key.hex()}"
        yield f"nick:{self.folded}"
        if self.address:
            yield f"address:{self.address}"


def fold(nick: str) -> str:
    """What two nicks have in common that differ in case, width and form of their letters only. Letters of different
    scripts that look alike, and those that fonts draw alike (l and I), stay different.
    """
    if nick.isascii():
        return nick.lower()
    return unicodedata.normalize("NFKC", visible(unicodedata.normalize("NFKC", nick).casefold()))


class Guests:
    """Everybody who is connected, by nick, and the nicks that keys own."""

    def __init__(self, rng: random.Random, owned: Iterable[tuple[str, PeerKey]] = ()) -> None:
        self._rng = rng
        self._named: dict[str, Guest] = {}
        self._count = 0
        self.base = 0
        """Guests are numbered from here on."""
        self.anonymous = (0, 1)
        """(remainder, divisor) of the numbers in anon-1234: hubs of a cluster use different ones."""
        self._owners: dict[str, PeerKey] = {}  # the one that was not used for longest first
        self._used: dict[str, int] = {}  # the day on which its owner last had it, as far as the history knows
        self._nicks: dict[PeerKey, tuple[str, ...]] = {}
        for nick, key in owned:
            self._own(nick, key)

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._named)

    def add(self, address: str, outlet: Outlet) -> Guest:
        """Somebody new, called anon-1234."""
        self._count += 1
        guest = Guest(self.base + self._count, address, self._anonymous(), outlet)
        self._named[guest.folded] = guest
        return guest

    def remove(self, guest: Guest) -> None:
        """It is gone; its nick is free."""
        if self._named.get(guest.folded) is guest:
            del self._named[guest.folded]

    def find(self, nick: str) -> Guest | None:
        """Who is called so, in any case, width and form of the letters."""
        return self._named.get(fold(nick))

    def all(self) -> tuple[Guest, ...]:
        """Everybody."""
        return tuple(self._named.values())

    def _anonymous(self) -> str:
        rest, step = self.anonymous
        for _ in range(ANON_TRIES):
            nick = f"anon-{self._rng.randrange(-(-1000 // step) * step + rest, 10_000, step)}"
            if nick not in self._named and nick not in self._owners:
                return nick
        number = 10_000 - 10_000 % step + rest + self._count * step
        while f"anon-{number}" in self._named or f"anon-{number}" in self._owners:
            number += step
        return f"anon-{number}"

    def free(self, nick: str, guest: Guest) -> bool:
        """Whether `guest` may be called so: nobody else is, and no other key owns it."""
        folded = fold(nick)
        owner = self._owners.get(folded)
        return self._named.get(folded, guest) is guest and (owner is None or owner == guest.key)

    def owner(self, nick: str) -> PeerKey | None:
        """Whose nick this is."""
        return self._owners.get(fold(nick))

    def suggest(self, nick: str, guest: Guest) -> str:
        """A free nick that is much like `nick`."""
        for number in range(2, MAX_NICK_TRIES + 1):
            other = f"{nick[: MAX_NICK_CHARS - 2]}{number}"
            if self.free(other, guest):
                return other
        return self._anonymous()

    def rename(self, guest: Guest, nick: str) -> None:
        """`guest` is called `nick` (which is free) from now on."""
        self.remove(guest)
        guest.nick, guest.folded = nick, fold(nick)
        self._named[guest.folded] = guest

    def own(self, guest: Guest, now: Now) -> str:
        """Let the guest's key own its nick, or note that it is in use. Returns the nick as it is owned when the history
        has to know that (it is new, or the first time on this day); empty also when the key or the address has enough.
        """
        if guest.key is None:
            return ""
        day, owner = now.wall_ms // _DAY_MS, self._owners.get(guest.folded)
        if owner is None:
            if len(self._nicks.get(guest.key, ())) >= MAX_NICKS_A_KEY:
                return ""
            if guest.place is not None and not guest.place.owns_nick(now.mono):
                return ""
            self._own(guest.nick, guest.key)
        elif owner != guest.key:
            return ""
        else:
            self._owners[guest.folded] = self._owners.pop(guest.folded)
            if self._used.get(guest.folded) == day:
                return ""
        self._used[guest.folded] = day
        return next((nick for nick in self._nicks[guest.key] if fold(nick) == guest.folded), guest.nick)

    def _own(self, nick: str, key: PeerKey) -> None:
        self._owners.pop(fold(nick), None)
        self._owners[fold(nick)] = key
        self._nicks[key] = (*self._nicks.get(key, ()), nick)
        if len(self._owners) > MAX_OWNED_NICKS:  # the one that was not used for longest is free again
            folded, first = next(iter(self._owners.items()))
            del self._owners[folded]
            self._used.pop(folded, None)
            left = tuple(one for one in self._nicks[first] if fold(one) != folded)
            if left:
                self._nicks[first] = left
            else:
                del self._nicks[first]

    def owned(self, key: PeerKey) -> tuple[str, ...]:
        """The nicks of a key."""
        return self._nicks.get(key, ())
