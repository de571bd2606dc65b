"""Rooms that a hub knows and does not hold in memory: what they are, so that they come back as they were. Pure.

A room that nobody is in is put here when others need its place, or after a while. Who joins it brings it back: with its
number, lock, operators and bans, and with what was said in it, which the history has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub.effects import Remember
from sandpiper.hub.history import KeptRoom
from sandpiper.hub.limits import ROOM_RESTS, Full
from sandpiper.hub.pace import Allowance
from sandpiper.hub.rooms import Room
from sandpiper.wire.hub import LOBBY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.core.events import Now
    from sandpiper.hub.house import House


class Shelf:
    """What is kept of each room that the house does not hold, the one that was put here first foremost."""

    def __init__(self, rooms: Iterable[KeptRoom]) -> None:
        """`rooms` are those of the history, the longest unused first."""
        self._kept = {room.name: room for room in rooms}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._kept)

    def bring(self, house: House, name: str, now: Now) -> Room | None:
        """The room of this name comes back to the house; None when it is not here.

        Raises:
            Full: there are too many rooms that somebody is in.
        """
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._make_place(house, now)
        del self._kept[name]
        return _hold(house, kept, now)

    def make(self, house: House, name: str, now: Now, lock: bytes = b"") -> Room:
        """A new room, of a name that is neither here nor in the house.

        Raises:
            Full: there are too many.
        """
        assert name not in self._kept, "it would end the life of another room"
        self._make_place(house, now)
        if len(house.rooms) + len(self._kept) >= house.settings.kept_rooms:
            self._give_up_one(house, now)
        kept = KeptRoom(name, f"{house.rng.getrandbits(40):010x}", lock=lock)
        house.do(Remember(kept))
        return _hold(house, kept, now)

    def rest(self, house: House, now: Now) -> None:
        """Put away rooms that nobody has been in for a while: their newest lines and ids take memory."""
        for room in tuple(house.rooms.values()):
            if not room.members and room.name != LOBBY and now.mono - room.left >= ROOM_RESTS:
                self._put(house, room, now)

    def _put(self, house: House, room: Room, now: Now) -> None:
        house.seal(room, now)
        self._kept[room.name] = room.kept()
        house.drop(room)

    def _make_place(self, house: House, now: Now) -> None:
        """For one more room in the house: the one that has been empty for longest makes way."""
        if len(house.rooms) >= house.settings.rooms:
            empty = [room for room in house.rooms.values() if not room.members and room.name != LOBBY]
            if not empty:
                raise Full(f"There are {len(house.rooms)} rooms, and no more are made.", code="too_many_rooms")
            self._put(house, min(empty, key=lambda room: room.left), now)

    def _give_up_one(self, house: House, now: Now) -> None:
        """No more are kept: one goes for good, with what was said in it, but none that is anybody's."""
        one = next((kept for kept in self._kept.values() if not _guarded(kept, now)), None)
        if one is None:
            text = f"There are {len(self._kept)} rooms that are somebody's, and no more are made."
            raise Full(text, code="too_many_rooms")
        del self._kept[one.name]
        house.do(Remember(one._replace(closed=True)))


def _hold(house: House, kept: KeptRoom, now: Now) -> Room:
    room = house.rooms[kept.name] = Room(kept, Allowance(house.settings.room_pace, now.mono), now)
    return room


def _guarded(kept: KeptRoom, now: Now) -> bool:
    """Whether somebody has a say in the room: whoever found its name free would take that from them."""
    barred = any(not one.until or one.until * 1000 > now.wall_ms for one in (*kept.bans, *kept.mutes))
    return bool(kept.lock or kept.operators) or barred
