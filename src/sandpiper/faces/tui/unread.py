"""How much of each room is unread: counted in memory from what comes past the place that was seen. Pure."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from sandpiper.store.marks import UNREAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandpiper.faces.tui.views import Place
    from sandpiper.wire.ids import RoomId

MAX_UNREAD = 1000  # of a room; nobody counts further, and a room with this many unread messages stays small in memory


class Unread:
    """Places of unread messages by room. The room that a person sees has none, whatever was read of it."""

    def __init__(self, read: Mapping[RoomId, Place]) -> None:
        """`read`: how far each room was read before."""
        self._read = dict(read)
        self._unread: dict[RoomId, list[Place]] = {}
        self._mentions: dict[RoomId, list[Place]] = {}
        self._unsaved: set[RoomId] = set()
        self.seen: RoomId | None = None
        """The room that a person sees now."""

    def came(self, room: RoomId, place: Place, *, mention: bool) -> None:
        """Somebody else's message is here, for us or for all. The same message twice counts once."""
        if place <= self.read_up_to(room):
            return
        for places in (self._unread, self._mentions) if mention else (self._unread,):
            kept = places.setdefault(room, [])
            at = bisect_right(kept, place)
            if at and kept[at - 1] == place:
                continue
            insort(kept, place)
            if len(kept) > MAX_UNREAD:
                kept.pop(0)

    def read(self, room: RoomId, place: Place) -> None:
        """Everything up to `place` was seen."""
        if place <= self.read_up_to(room):
            return
        self._read[room] = place
        self._unsaved.add(room)
        for places in (self._unread, self._mentions):
            if kept := places.get(room):
                del kept[: bisect_right(kept, place)]

    def read_up_to(self, room: RoomId) -> Place:
        """The place of the newest message ever seen in a room."""
        return self._read.get(room, UNREAD)

    def counts(self, room: RoomId) -> tuple[int, int]:
        """Unread messages of a room and those of them that are for us; at most `MAX_UNREAD` each."""
        if room == self.seen:
            return 0, 0
        return len(self._unread.get(room, ())), len(self._mentions.get(room, ()))

    def forget(self, room: RoomId) -> None:
        """Count a room anew: it is told again what came past the place that was read."""
        self._unread.pop(room, None)
        self._mentions.pop(room, None)

    def not_saved(self, rooms: Iterable[RoomId]) -> None:
        """These could not be remembered: `unsaved` has them again."""
        self._unsaved.update(rooms)

    def unsaved(self) -> list[tuple[RoomId, Place]]:
        """How far was read since this was last asked: what is to be remembered."""
        rooms, self._unsaved = self._unsaved, set()
        return [(room, self._read[room]) for room in rooms]
