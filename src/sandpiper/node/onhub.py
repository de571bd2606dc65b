"""One hub that a node is a guest of, and what stands for rooms, people and messages there. Nothing of it is signed."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec import Struct

from sandpiper.core.hubevents import Phase
from sandpiper.errors import UsageError
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    from sandpiper.core.hubevents import HubFound, HubRooms
    from sandpiper.core.hubguest import HubGuest
    from sandpiper.core.room import Room
    from sandpiper.net.hub import HubAddress, HubLink
    from sandpiper.store.hubs import HubPlace
    from sandpiper.wire.hub.answers import RoomLine, Said

_T = TypeVar("_T")

ANSWER_SECONDS = 30.0  # for a list or a search to come: a page that is fetched first may take twenty


def hub_room(address: HubAddress, name: str) -> RoomId:
    """What stands for a room's identity where one of a hub is meant."""
    return RoomId(sha256(b"sandpiper hub room 1\x00" + f"{address.host}:{address.port} {name}".encode()).digest())


def hub_author(address: HubAddress, nick: str) -> PeerKey:
    """What stands for a key where somebody on a hub is meant. No key pair has it, and nothing proves it."""
    return PeerKey(sha256(b"sandpiper hub author 1\x00" + f"{address.host}:{address.port} {nick}".encode()).digest())


def hub_message(room: RoomId, life: str, seq: int | str) -> RecordId:
    """What stands for a record's id where a message of a hub's room is meant."""
    return RecordId(sha256(b"sandpiper hub message 1\x00" + room + f"{life} {seq}".encode()).digest())


class HubView(Struct, frozen=True):
    """How things are with one hub. `trust` is how its certificate is trusted: `system`, its SHA-256 in hex, or empty
    without TLS or connection; `round_trip` is in seconds.
    """

    address: str
    place: str
    phase: Phase
    name: str
    nick: str
    tls: bool
    trust: str
    founding: bool
    proved: bool
    round_trip: float | None
    unsaid: int
    rooms: tuple[RoomId, ...]


class HubHit(NamedTuple):
    """A message that a search on a hub has found."""

    id: RecordId
    author: PeerKey
    said: Said
    seq: int
    mine: bool


class HubHits(NamedTuple):
    """What a search on a hub has found, the newest first. `before`: where to go on (0: that was all); not `whole`:
    what was said last could not all be searched.
    """

    hits: tuple[HubHit, ...]
    before: int
    whole: bool


class OnHub:
    """One of them."""

    def __init__(self, address: HubAddress, guest: HubGuest) -> None:
        self.address = address
        self.guest = guest
        self.link: HubLink
        self.task: asyncio.Task[None] | None = None
        self.rooms: dict[str, Room] = {}
        self.clocks: dict[str, int] = {}
        self.places: dict[RoomId, HubPlace] = {}
        """How far rooms were read, as far as that is not kept yet."""
        self.kept: dict[RoomId, HubPlace] = {}
        """How far they were read, as the history has it."""
        self.said: list[str] = []
        """Client ids of ours that came since the last time that all was kept."""
        self.unkept_said: set[str] = set()
        """Those that will come again, since they could not be kept."""
        self.unkept: set[RoomId] | None = None
        """Rooms of which something could not be kept since the last time; None: nothing has failed."""
        self.listed: tuple[RoomLine, ...] = ()
        """The hub's rooms when they were last listed."""
        self.down_told = False
        self.locked = False
        """It wants a password of its own."""
        self.count = 0
        """Messages without numbers."""
        self._lists: list[asyncio.Future[HubRooms]] = []
        self._finds: list[asyncio.Future[HubFound]] = []

    def view(self) -> HubView:
        """How things are."""
        guest, link = self.guest, self.link
        return HubView(
            address=str(self.address),
            place=str(link.place),
            phase=guest.phase,
            name=guest.hub,
            nick=guest.nick,
            tls=link.place.tls,
            trust=link.trust,
            founding=guest.founding,
            proved=guest.proved,
            round_trip=guest.round_trip,
            unsaid=guest.unsaid.count(),
            rooms=tuple(room.id for room in self.rooms.values()),
        )

    def label(self, name: str) -> str:
        """What a room of it is called, as `dev@hub.example`."""
        return f"{name}@{self.address.label}"

    def shown(self, name: str) -> str:
        """A room as lines name it."""
        return "" if name == LOBBY else name

    # ------------------------------------------------------------ what is waited for

    async def list_rooms(self) -> HubRooms:
        """The hub's answer to the question for its rooms, which was asked.

        Raises:
            UsageError: it does not come.
        """
        waits: asyncio.Future[HubRooms] = asyncio.get_running_loop().create_future()
        self._lists.append(waits)
        try:
            return await _in_time(waits)
        finally:
            if waits in self._lists:
                self._lists.remove(waits)

    async def found(self) -> HubFound:
        """What the search that was asked for has found.

        Raises:
            UsageError: it could not be done.
        """
        waits: asyncio.Future[HubFound] = asyncio.get_running_loop().create_future()
        self._finds.append(waits)
        try:
            return await _in_time(waits)
        finally:
            if waits in self._finds:
                self._finds.remove(waits)

    def rooms_came(self, rooms: HubRooms) -> None:
        """The list is here."""
        self.listed = rooms.rooms
        for waits in self._lists:
            if not waits.done():
                waits.set_result(rooms)
        self._lists.clear()

    def find_came(self, outcome: HubFound | UsageError) -> None:
        """The search is done."""
        for waits in self._finds:
            if waits.done():
                continue
            if isinstance(outcome, UsageError):
                waits.set_exception(outcome)
            else:
                waits.set_result(outcome)
        self._finds.clear()

    def gone(self) -> None:
        """The connection has ended: no answer will come."""
        error = UsageError("The hub cannot be reached now.", hint="Try again in a moment.", code="not_connected")
        for waits in self._lists:
            if not waits.done():
                waits.set_exception(error)
        self._lists.clear()
        self.find_came(error)


async def _in_time(waits: asyncio.Future[_T]) -> _T:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await waits
    except TimeoutError:
        raise UsageError("The hub does not answer.", hint="Try again in a moment.", code="no_answer") from None
