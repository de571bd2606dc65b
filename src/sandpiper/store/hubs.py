"""What a profile keeps of hubs: whose key and certificate each had, and how far their rooms were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Edit, React, Retract

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
    seq: int = 0
    """Its number on the hub; 0: it has none."""


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

    def _flush(self) -> None:
        raise NotImplementedError

    def _index(self) -> None:
        raise NotImplementedError

    def _react(self, room: int, author: int, react: React) -> None:
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
            self._new_messages.append((n, message.clock, message.id, who, message.seq, *said))

    def change_hub(self, room: RoomId, author: PeerKey, nick: str, body: Edit | Retract | React, *, mine: bool) -> None:
        """Keep what somebody did to a message of a hub's room; the hub answers for who may."""
        with self._writing("keeping a message"):
            self._begin()
            self._flush()  # it may be about a message just gathered
            n = self._rooms[room]
            match body:
                case Edit(target=target, text=text):
                    self._index()  # the index can only forget a text that it holds
                    query = "UPDATE messages SET text = ?, edited = 1 WHERE id = ? AND room = ? AND NOT retracted"
                    self._db.execute(query, (text, target, n))
                case Retract(target=target):
                    self._index()
                    query = "UPDATE messages SET text = '', retracted = 1 WHERE id = ? AND room = ?"
                    self._db.execute(query, (target, n))
                case React():
                    who = self._author(author, plain=not mine)
                    self._db.execute("INSERT OR REPLACE INTO nicks VALUES (?, ?, ?)", (n, who, nick))
                    self._react(n, who, body)

    def hub_number(self, message: RecordId) -> int:
        """The number that a message has on its hub; 0: it is not here, or has none."""
        with self._reading():
            row = self._db.execute("SELECT seq FROM messages WHERE id = ?", (message,)).fetchone()
        return int(row[0]) if row is not None else 0

    def save_hub_place(self, room: RoomId, place: HubPlace) -> None:
        """Remember how far a room was read; kept together with what was appended before."""
        with self._writing("keeping how far a room was read"):
            self._begin()
            self._db.execute("INSERT OR REPLACE INTO hub_rooms VALUES (?, ?, ?, ?)", (self._rooms[room], *place))
