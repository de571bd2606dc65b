"""What a profile keeps of hubs: whose key and certificate each had, and how far their rooms were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager


class KnownHub(NamedTuple):
    """What was found at an address: the hub's key (empty: none), and how its certificate is trusted."""

    id: bytes = b""
    trust: str = ""


class HubPlace(NamedTuple):
    """How far a room was read: the room's life, the last number in it, and the order clock that it got here."""

    life: str = ""
    last: int = 0
    clock: int = 0


class HubMessage(Struct, frozen=True):
    """A message of a hub's room, as `History.append_hub` keeps it; times in ms since 1970."""

    id: RecordId
    author: PeerKey
    nick: str
    clock: int
    time: int
    text: str
    action: bool = False
    reply_to: bytes = b""
    mine: bool = False


class HubPlaces:
    """The part of a `History` that keeps them."""

    _db: sqlite3.Connection
    _rooms: dict[bytes, int]
    _new_messages: list[tuple[int, int, bytes, int, int, int, str, bool, bytes]]

    def _writing(self, doing: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _reading(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError

    def _author(self, key: PeerKey, *, plain: bool = False) -> int:
        raise NotImplementedError

    def hub(self, address: str) -> KnownHub:
        """What is known of the hub at this address."""
        with self._reading():
            row = self._db.execute("SELECT id, trust FROM hubs WHERE address = ?", (address,)).fetchone()
        return KnownHub(*row) if row is not None else KnownHub()

    def save_hub(self, address: str, known: KnownHub) -> None:
        """Remember what was found there."""
        with self._writing("keeping a hub's key"):
            self._begin()
            self._db.execute("INSERT OR REPLACE INTO hubs VALUES (?, ?, ?)", (address, *known))

    def hub_place(self, room: RoomId) -> HubPlace | None:
        """How far a hub's room was read; None: never."""
        query = "SELECT life, last, clock FROM hub_rooms WHERE room = (SELECT n FROM rooms WHERE id = ?)"
        with self._reading():
            row = self._db.execute(query, (room,)).fetchone()
        return HubPlace(*row) if row is not None else None

    def append_hub(self, room: RoomId, message: HubMessage) -> None:
        """Keep a message of a hub's room: nobody signed it, and it is never synced."""
        with self._writing("keeping a message"):
            self._begin()
            n, who = self._rooms[room], self._author(message.author, plain=not message.mine)
            self._db.execute("INSERT OR REPLACE INTO nicks VALUES (?, ?, ?)", (n, who, message.nick))
            said = (message.time, message.text, message.action, message.reply_to)
            self._new_messages.append((n, message.clock, message.id, who, 0, *said))

    def save_hub_place(self, room: RoomId, place: HubPlace) -> None:
        """Remember how far a room was read; kept together with what was appended before."""
        with self._writing("keeping how far a room was read"):
            self._begin()
            self._db.execute("INSERT OR REPLACE INTO hub_rooms VALUES (?, ?, ?, ?)", (self._rooms[room], *place))
