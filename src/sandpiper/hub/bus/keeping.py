"""Keeps beside the logs what follows of them: what rooms are, and which lines are not what the log says."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.log import HOUSE, VERSION, BadLog, decode_change, encode, place_of, token
from sandpiper.hub.bus.rooms import AGAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.hub.bus.link import Link
    from sandpiper.hub.bus.log import RoomState
    from sandpiper.hub.bus.replicated import Replicated
    from sandpiper.hub.effects import Amend
    from sandpiper.hub.house import House

log = logging.getLogger(__name__)

DAY = 86_400
RULED_SECONDS = 365 * DAY  # that a room which somebody rules, or is kept out of, is remembered without being used
REFRESHES = 4  # in the time that what a room is would be kept: three may fail
LONGEST_SECONDS = 100 * 365 * DAY  # more is "for ever"
PURGE_AGAIN_SECONDS = 5.0  # before what was said in a closed room is removed again that could not be


class Keeping:
    """Of one hub. `order` has the rooms that it follows."""

    def __init__(self, link: Link, order: Replicated) -> None:
        self._link = link
        self._order = order
        self._kept: dict[str, float] = {}  # when it was kept what a room is, on the loop's clock

    # ------------------------------------------------------------ what rooms are

    async def save(self, house: House, name: str) -> bool:
        """Keep what a followed room is now; False: that cannot be, so it is kept later."""
        replica = self._order.replicas.get(name)
        if replica is None:
            return True
        if name == HOUSE:
            state = msgspec.structs.replace(replica.state(None), bans=house.bans.kept())
        else:
            state = replica.state(house.rooms.get(name))
        unsaved, replica.unsaved = replica.unsaved, 0
        try:
            await self._link.rooms.put(token(name), encode(state), seconds=self._seconds(state))
        except BusAway as exc:
            replica.unsaved += unsaved
            log.debug("bus: the state of a room was not kept: %s", exc)
            return False
        self._kept[name] = asyncio.get_running_loop().time()
        return True

    def _seconds(self, state: RoomState) -> float | None:
        """How long it is kept unless it is kept anew."""
        keep = self._link.settings.keep_seconds
        if state.lock or state.operators or state.bans or state.mutes:
            keep = max(keep, RULED_SECONDS)
        return None if state.name == HOUSE or keep > LONGEST_SECONDS else keep

    async def refresh(self, house: House, names: Iterable[str]) -> None:
        """Keep anew what these rooms are, where that has not been for long: else it would be forgotten."""
        every = min(DAY, self._link.settings.keep_seconds / REFRESHES)
        for name in [name for name in self._kept if name not in self._order.replicas]:
            del self._kept[name]
        for name in names:
            due = self._kept.get(name, float("-inf")) + every
            if asyncio.get_running_loop().time() < due or not (name == HOUSE or name in house.rooms):
                continue
            if not await self.save(house, name):
                return  # nor could the others be kept now

    async def save_all(self, house: House) -> None:
        """Keep what is not kept yet, of all rooms at once."""
        names = [name for name, replica in self._order.replicas.items() if replica.open and replica.unsaved]
        await asyncio.gather(*(self.save(house, name) for name in names))

    # ------------------------------------------------------------ what the log does not say

    async def purge(self, house: House, name: str, seq: int) -> None:
        """Remove what was said in a room before it was closed by line `seq`, as soon as the bus lets us."""
        changes = None
        while not self._link.closing:
            await self._link.there.wait()
            try:
                if changes is None:  # what comes later is about the next room of this name
                    changes = await self._link.changes_end()
                    await self.save(house, name)
                await self._link.purge(name, place_of(seq), changes)
            except BusAway as exc:
                log.warning("what was said in a closed room is in the log still; it will be tried again: %s", exc)
                await asyncio.sleep(PURGE_AGAIN_SECONDS)
            else:
                return

    async def amend(self, what: Amend) -> None:
        """Store that a line is not what the log says, unless something later is stored: every hub does it that comes by
        there, also one that reads an old log.
        """
        kind = "v" if what.text is None else "e" if what.text else "r"
        subject = self._link.names.changed(what.room, what.id, kind)
        raw = msgspec.msgpack.encode((VERSION, what.id, what.seq, kind, what.text or ""))
        while not self._link.closing:
            await self._link.there.wait()
            try:
                before = await self._link.change(subject)
                if before is not None and decode_change(before.raw).as_of >= what.seq:
                    return
                if await self._link.amend(subject, raw, before.place if before is not None else 0):
                    return
            except BusAway:
                await asyncio.sleep(AGAIN_SECONDS)
            except BadLog as exc:
                log.error("a change of a line is left out: %s", exc)
                return
