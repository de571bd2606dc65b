"""Guests of other hubs of a cluster, as far as the rooms here know of them. Pure.

Without a cluster there are none, and every `Room.far` is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub.guests import fold
from sandpiper.hub.limits import CROWD
from sandpiper.wire.hub.answers import Notice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandpiper.core.events import Now
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.ids import PeerKey


class Far:
    """Somebody in a room who is connected to another hub. `number` is unique in the cluster."""

    __slots__ = ("folded", "hub", "key", "named", "nick", "number")

    def __init__(self, hub: str, number: int, nick: str, key: PeerKey | None, *, named: bool) -> None:
        self.hub = hub
        self.number = number
        self.nick = nick
        self.folded = fold(nick)
        self.key = key
        self.named = named

    def tokens(self) -> Iterator[str]:
        """By what it is known to bans and mutes; its address only the hub knows that has it."""
        if self.key is not None:
            yield f"key:{self.key.hex()}"
        yield f"nick:{self.folded}"


def is_inside(house: House, room: Room, far: Far, now: Now) -> None:
    """Another hub says that somebody is in the room: new there, or called otherwise now."""
    before = room.far.get(far.number)
    if before is None:
        room.far[far.number] = far
        if far.named:
            _came(house, room, far, now)
        return
    old, was_named = before.nick, before.named
    before.nick, before.folded, before.key, before.named = far.nick, far.folded, far.key, far.named
    if far.named and not was_named:
        _came(house, room, before, now)
    elif far.named and old != far.nick and not room.presence.renamed(before) and room.count <= CROWD:
        text = f"{old} is now called {far.nick}"
        house.tell_room(room, Notice(text, now.wall_ms // 1000, room.shown, old=old, new=far.nick), now)


def is_gone(house: House, room: Room, number: int, why: str | None, now: Now) -> None:
    """Another hub says that somebody is no longer in the room (`why` as in `Presence.went`; None: it was told)."""
    far = room.far.pop(number, None)
    if far is None:
        return
    room.makers.discard(number)
    if far.named and why is not None:
        room.presence.went(far, why, room.count, now.mono)
        house.due(room)


def only(house: House, room: Room, hub: str, numbers: Iterable[int], why: str, now: Now) -> None:
    """Of the guests of `hub` no others than these are in the room."""
    known = set(numbers)
    for number in [one.number for one in room.far.values() if one.hub == hub and one.number not in known]:
        is_gone(house, room, number, why, now)


def _came(house: House, room: Room, far: Far, now: Now) -> None:
    if room.members:  # else nobody is told, and whoever comes finds them here
        room.presence.came(far, room.count, now.mono)
        house.due(room)
