"""Who is where, as hubs of a cluster tell each other: what changes, and now and then all of it. Not kept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from sandpiper.hub import far
from sandpiper.hub.bus.log import VERSION, BadLog
from sandpiper.hub.far import Far
from sandpiper.hub.limits import CROWD
from sandpiper.wire.hub.answers import RoomLine, TypingSeen
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room

GONE = "its hub is gone"
MAX_EVENTS = 500  # in one message: some 30 KiB
MAX_BEAT_ROOMS = 1000  # rooms that a hub tells of in one beat: as many as it has unless told otherwise
MAX_BEAT_CHARS = 128 * 1024  # of their names and topics: half a MiB, where a NATS server takes one


class Inside(Struct, frozen=True, tag="+", array_like=True, gc=False):
    """A guest is in the room, and this is what it is now. `maker`: operator as long as it is there."""

    number: int
    nick: str
    key: bytes
    named: bool
    maker: bool


class Outside(Struct, frozen=True, tag="-", array_like=True, gc=False):
    """A guest is not there any more (`why` as in `Presence.went`; None: everybody was told)."""

    number: int
    why: str | None


class Types(Struct, frozen=True, tag="t", array_like=True, gc=False):
    """A guest is typing."""

    nick: str


Event = Inside | Outside | Types


class Here(Struct, frozen=True, array_like=True):
    """What has changed in one room at one hub. `turn` counts such messages; with `whole` everything known before of
    that hub's guests there is void.
    """

    version: int
    hub: str
    room: str
    turn: int
    whole: bool
    events: list[Event]


class Place(Struct, frozen=True, array_like=True, gc=False):
    """A room that a hub has guests in, how many, and the `turn` of its last `Here`."""

    name: str
    members: int
    turn: int
    topic: str
    locked: bool


class Beat(Struct, frozen=True, array_like=True):
    """A hub is there, with guests in these rooms; or (not `alive`) it ends."""

    version: int
    hub: str
    alive: bool
    rooms: list[Place]


class Tell(Struct, frozen=True, array_like=True):
    """Another hub (`hub`) wants to know who is in a room: answer with a `whole` message, also when nobody is."""

    version: int
    hub: str
    room: str


T = TypeVar("T", Here, Beat, Tell)

_encoder = msgspec.msgpack.Encoder()
_here = msgspec.msgpack.Decoder(Here)
_beat = msgspec.msgpack.Decoder(Beat)
_tell = msgspec.msgpack.Decoder(Tell)


def encode(what: Here | Beat | Tell) -> bytes:
    """As bytes."""
    return _encoder.encode(what)


def decode_here(raw: bytes) -> Here:
    """What `encode` made. Raises: BadLog: it did not."""
    return _checked(_here, raw)


def decode_beat(raw: bytes) -> Beat:
    """What `encode` made. Raises: BadLog: it did not."""
    return _checked(_beat, raw)


def decode_tell(raw: bytes) -> Tell:
    """What `encode` made. Raises: BadLog: it did not."""
    return _checked(_tell, raw)


def _checked(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T:
    try:
        found = decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadLog(f"Another hub's presence cannot be read ({exc}).") from exc
    if found.version != VERSION:
        raise BadLog("Another hub's presence is of another version of Sandpiper.")
    return found


def inside(guest: Guest, room: Room) -> Inside:
    """A guest of this hub, for the others."""
    return Inside(guest.number, guest.nick, guest.key or b"", guest.named, guest.number in room.makers)


class Elsewhere:
    """What is known of the other hubs. Bounded by what they may have: hubs, times rooms."""

    def __init__(self, hub: str) -> None:
        self.hub = hub
        self._heard: dict[str, float] = {}  # hubs by when they were heard of last
        self._rooms: dict[str, dict[str, Place]] = {}  # by hub and name
        self._turns: dict[tuple[str, str], int] = {}  # (hub, room): the last message that was taken

    @property
    def hubs(self) -> tuple[str, ...]:
        """The other hubs that are there."""
        return tuple(self._heard)

    def lines(self, house: House) -> list[RoomLine]:
        """Rooms that are not open here, and who else is in them."""
        found: dict[str, RoomLine] = {}
        for rooms in self._rooms.values():
            for one in rooms.values():
                if one.members and not (one.name in house.rooms and house.rooms[one.name].count):
                    count = one.members + (found[one.name].members if one.name in found else 0)
                    found[one.name] = RoomLine(one.name, count, one.topic, one.locked)
        return list(found.values())

    def take(self, house: House, here: Here, now: Now) -> bool:
        """Another hub tells of a room; False when something before it was missed."""
        room, place = house.rooms.get(here.room), (here.hub, here.room)
        if here.hub == self.hub or room is None:
            return True
        before = self._turns.get(place)
        if not here.whole and before is None:
            return False
        self._turns[place] = here.turn
        if here.whole:
            far.only(house, room, here.hub, (one.number for one in here.events if type(one) is Inside), "", now)
        for event in here.events:
            self._happens(house, room, here.hub, event, now)
        return here.whole or here.turn == (before or 0) + 1

    def _happens(self, house: House, room: Room, hub: str, event: Event, now: Now) -> None:
        match event:
            case Inside(number, nick, key, named, maker):
                far.is_inside(house, room, Far(hub, number, nick, PeerKey(key) if key else None, named=named), now)
                if maker:
                    room.makers.add(number)
            case Outside(number, why):
                far.is_gone(house, room, number, why, now)
            case Types(nick):
                if room.count <= CROWD:
                    house.tell_room(room, TypingSeen(nick, room.shown), now)

    def heard(self, house: House, beat: Beat, now: Now) -> list[str]:
        """Another hub is there; returns rooms that it is to be asked about, since something was missed."""
        if beat.hub == self.hub:
            return []
        if not beat.alive:
            self.lost(house, beat.hub, now)
            return []
        self._heard[beat.hub] = now.mono
        self._rooms[beat.hub] = {one.name: one for one in beat.rooms}
        behind = [one.name for one in beat.rooms if self._turns.get((beat.hub, one.name), one.turn) != one.turn]
        new = [
            one.name for one in beat.rooms if one.members and one.name in house.rooms
            and (beat.hub, one.name) not in self._turns
        ]  # fmt: skip
        return behind + new

    def back(self, now: Now) -> None:
        """The bus was away, and nobody could be heard: hubs have all the time again to say something."""
        self._heard = dict.fromkeys(self._heard, now.mono)

    def silent(self, house: House, now: Now, seconds: float) -> list[str]:
        """Forget hubs that were not heard of for so long; returns them."""
        gone = [hub for hub, heard in self._heard.items() if now.mono - heard > seconds]
        for hub in gone:
            self.lost(house, hub, now)
        return gone

    def lost(self, house: House, hub: str, now: Now) -> None:
        """A hub is no more, and with it its guests; they may come in again elsewhere."""
        self._heard.pop(hub, None)
        self._rooms.pop(hub, None)
        for place in [place for place in self._turns if place[0] == hub]:
            del self._turns[place]
        for room in tuple(house.rooms.values()):
            far.only(house, room, hub, (), GONE, now)

    def shut(self, name: str) -> None:
        """A room is not open here any more."""
        for place in [place for place in self._turns if place[1] == name]:
            del self._turns[place]
