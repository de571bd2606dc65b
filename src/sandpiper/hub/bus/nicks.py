"""Nicks that are unique in the whole cluster: who has one, whose it is, and which hubs are still there to have any.

A nick is a key of one bucket, taken by compare-and-set. Its holder is a guest of a hub, and counts as long as that
hub's lease, in another bucket whose keys the server forgets after `LEASE_SECONDS`, is renewed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.link import LEASE_SECONDS
from sandpiper.hub.bus.log import nick_token
from sandpiper.hub.guests import fold
from sandpiper.hub.limits import MAX_NICKS_A_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.hub.bus.link import Link
    from sandpiper.hub.guests import Guest
    from sandpiper.wire.ids import PeerKey

log = logging.getLogger(__name__)

RENEW_SECONDS = LEASE_SECONDS / 4  # three renewals may fail before the lease is lost
TRIES = 5  # at a key that others change at the same moment
MAX_HUBS = 64  # of one cluster: so many kinds of anon-1234 there are
RELEASE_AGAIN_SECONDS = 1.0  # before a nick that could not be released is released again
ENDED_SECONDS = 60.0  # that a value which says nothing any more is still there
MAX_RELEASES = 100_000  # nicks that wait to be released: five times what a hub has; none is taken while the bus is away


class Holding(Struct, frozen=True):
    """Who has a nick (an empty `hub`: nobody now) and whose it is (an empty `owner`: whoever has it)."""

    hub: str
    guest: int
    key: bytes
    owner: bytes
    nick: str


class Owned(Struct, frozen=True):
    """The nicks of a key."""

    nicks: tuple[str, ...] = ()


class Ousted(Struct, frozen=True):
    """To another hub: the holder of a key has come in anew, and the guest with this number is to go."""

    guest: int
    nick: str


T = TypeVar("T", Holding, Owned, Ousted)
_encode = msgspec.json.Encoder().encode


def decode(raw: bytes, kind: type[T]) -> T | None:
    """What another hub has written; None: nothing that we know."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Nicks:
    """What this hub has of them. `is_here` says whether a guest of ours (by number) still has a nick."""

    def __init__(self, hub: str, link: Link, is_here: Callable[[int], bool]) -> None:
        self.hub = hub
        self.slot = 0
        """Which of the hubs this is, below `MAX_HUBS`."""
        self._link = link
        self._is_here = is_here
        self._releases: dict[tuple[str, int], object] = {}  # each with a mark of its own, as it may be asked for anew
        self._released = asyncio.Event()

    # ------------------------------------------------------------ the lease

    async def begin(self) -> None:
        """Have a lease, and a slot that no other hub has.

        Raises:
            BusAway: the bus does not answer.
        """
        await self._link.hubs.put(f"hub.{self.hub}", b"1")
        for slot in sorted(range(MAX_HUBS), key=lambda slot: slot != self.slot):  # that which it had, if it is free
            found = await self._link.hubs.get(f"slot.{slot}") if slot == self.slot else None
            ours = found is not None and found.raw == self.hub.encode()
            before = found.revision if found is not None and ours else 0
            if await self._link.hubs.put(f"slot.{slot}", self.hub.encode(), before):
                self.slot = slot
                return
        raise BusAway(f"There are {MAX_HUBS} hubs in this cluster already.", hint="End one of them.")

    async def renew(self) -> bool:
        """Go on having it; False: it was lost meanwhile, and so may be nicks.

        Raises:
            BusAway: the bus does not answer.
        """
        there = await self._link.hubs.get(f"hub.{self.hub}")
        slot = await self._link.hubs.get(f"slot.{self.slot}")
        if there is None or not there.raw or slot is None or slot.raw != self.hub.encode():
            return False
        await self._link.hubs.put(f"hub.{self.hub}", b"1")
        return await self._link.hubs.put(f"slot.{self.slot}", self.hub.encode(), slot.revision)

    async def end(self) -> None:
        """Give the lease back: all nicks of this hub are free."""
        try:
            await self._link.hubs.put(f"hub.{self.hub}", b"", seconds=ENDED_SECONDS)
            await self._link.hubs.put(f"slot.{self.slot}", b"", seconds=ENDED_SECONDS)
        except BusAway:
            log.debug("bus: the lease ends by itself")

    # ------------------------------------------------------------ taking and giving

    async def take(self, guest: Guest, nick: str) -> bool:
        """Have the nick for a guest; False: somebody else has it or owns it. If it was the same key elsewhere, that hub
        is told.

        Raises:
            BusAway: the bus does not answer.
        """
        number, key = guest.number, bytes(guest.key or b"")
        self._releases.pop((fold(nick), number), None)  # it wants again what it had given back
        place = f"nick.{nick_token(fold(nick))}"
        for _ in range(TRIES):
            found = await self._link.nicks.get(place)
            before = decode(found.raw, Holding) if found is not None else None
            owner = before.owner if before is not None else b""
            if owner and owner != key:
                return False
            if before is not None and before.hub and not await self._may_replace(before, number, key):
                return False
            if not owner and key and await self._own(key, nick):
                owner = key
            wanted = _encode(Holding(self.hub, number, key, owner, nick))
            if await self._link.nicks.put(place, wanted, found.revision if found is not None else 0):
                if before is not None and before.hub not in ("", self.hub):
                    await self._link.say(self._link.names.to(before.hub), _encode(Ousted(before.guest, before.nick)))
                return True
        return False

    async def _may_replace(self, before: Holding, number: int, key: bytes) -> bool:
        """Whether the holder has to give way, or is no more."""
        if before.hub == self.hub:
            return before.guest == number or not self._is_here(before.guest)
        if key and before.key == key:
            return True
        lease = await self._link.hubs.get(f"hub.{before.hub}")
        return lease is None or not lease.raw

    async def _own(self, key: bytes, nick: str) -> bool:
        """Whether the nick may belong to the key: then it does."""
        place = f"key.{key.hex()}"
        for _ in range(TRIES):
            found = await self._link.nicks.get(place)
            owned = (decode(found.raw, Owned) if found is not None else None) or Owned()
            if any(fold(one) == fold(nick) for one in owned.nicks):
                return True
            if len(owned.nicks) >= MAX_NICKS_A_KEY:
                return False
            more = _encode(Owned((*owned.nicks, nick)))
            if await self._link.nicks.put(place, more, found.revision if found is not None else 0):
                return True
        return False

    async def own(self, nick: str, key: PeerKey) -> None:
        """A nick that a guest of ours has belongs to its key from now on, if it is nobody's yet.

        Raises:
            BusAway: the bus does not answer.
        """
        place = f"nick.{nick_token(fold(nick))}"
        found = await self._link.nicks.get(place)
        before = decode(found.raw, Holding) if found is not None else None
        if found is None or before is None or before.owner or before.hub != self.hub:
            return
        if await self._own(key, nick):
            owned = msgspec.structs.replace(before, key=key, owner=key)
            await self._link.nicks.put(place, _encode(owned), found.revision)

    def release(self, folded: str, number: int) -> None:
        """The guest of ours with this number does not need this nick any more."""
        if len(self._releases) < MAX_RELEASES:
            self._releases[folded, number] = object()
            self._released.set()

    async def keep_releasing(self) -> None:
        """Release what is to be released, until cancelled."""
        while True:
            await self._released.wait()
            self._released.clear()
            for place, mark in list(self._releases.items()):
                try:
                    await self._release(place, mark)
                except BusAway:
                    self._released.set()
                    await asyncio.sleep(RELEASE_AGAIN_SECONDS)
                    break
                if self._releases.get(place) is mark:
                    del self._releases[place]

    async def _release(self, what: tuple[str, int], mark: object) -> None:
        folded, number = what
        place = f"nick.{nick_token(folded)}"
        found = await self._link.nicks.get(place)
        before = decode(found.raw, Holding) if found is not None else None
        if found is None or before is None or (before.hub, before.guest) != (self.hub, number):
            return
        if self._releases.get(what) is not mark:
            return  # it was taken again meanwhile
        # It is there for a moment yet when it is nobody's, so that who changes it sees that it was changed.
        free = _encode(Holding("", 0, b"", before.owner, before.nick))
        await self._link.nicks.put(place, free, found.revision, None if before.owner else ENDED_SECONDS)
