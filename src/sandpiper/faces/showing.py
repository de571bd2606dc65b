"""Records and stored messages, with the names, colours and quotes that a screen needs (`sandpiper.faces.render`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sandpiper.faces import render
from sandpiper.faces.people import OTHER_KEY_MARK, PLAIN_MARK
from sandpiper.faces.render import ID_DIGITS, Name, Quote, Shown

if TYPE_CHECKING:
    from sandpiper.faces.people import People
    from sandpiper.faces.recent import Recent
    from sandpiper.faces.spans import Span
    from sandpiper.node import Node, PlainMessage
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId
    from sandpiper.wire.records import Record, Text


class Showing:
    """Makes `Shown` messages, as seen from the current `room`."""

    def __init__(self, node: Node, people: People, recent: Recent) -> None:
        self.room: RoomId | None = None
        self._node = node
        self._people = people
        self._recent = recent

    def name(self, key: PeerKey, room: RoomId | None = None) -> Name:
        """Somebody's name in their colour."""
        return Name(self._people.marked(key, room), self._people.colour(key, room))

    def label(self, room: RoomId) -> str:
        """A room's label; empty for the current one, which need not be named."""
        return "" if room == self.room else self._people.room(room)

    def other(self, room: RoomId) -> Name | None:
        """The other side of a direct room."""
        found = self._node.room(room)
        return self.name(found.peer, room) if found is not None and found.peer is not None else None

    def quote(self, room: RoomId, target: bytes) -> Quote:
        """An earlier message; without a nick when it is not here, or hidden."""
        known = self._recent.find(room, target)
        if known is None or self._people.hidden(known.author):
            return Quote("", "")
        return Quote(self._people.marked(known.author, room), known.text)

    def said(self, room: RoomId, target: bytes) -> Span:
        """An earlier message, quoted shortly."""
        return render.quoted(self.quote(room, target))

    def record(self, record: Record, text: Text, *, late: bool) -> Shown:
        """A record that is a message."""
        room = record.room
        return Shown(
            author=self.name(record.author, room),
            time=record.time,
            text=text.text,
            action=text.action,
            room=self.label(room),
            to=self.other(room),
            quote=self.quote(room, text.reply_to) if text.reply_to else None,
            late=late,
            mine=record.author == self._node.key,
            me=self._node.nick,
        )

    def plain(self, notice: PlainMessage) -> Shown:
        """A message of the old dialect, or of a hub."""
        room = notice.room
        return Shown(
            author=Name(notice.nick + ("" if notice.hub else PLAIN_MARK), self._people.colour(notice.author, room)),
            time=notice.time,
            text=notice.text,
            action=notice.action,
            room=self.label(room),
            quote=self.quote(room, notice.reply_to) if notice.reply_to else None,
            mine=notice.mine,
            me=self._node.nick,
        )

    def stored(self, message: Message, *, listed: bool) -> Shown:
        """A message of the history; `listed` with its id, so that it can be answered."""
        room, name = message.room, self._people.author(message)
        if not (message.plain or message.hub) and self._people.rival(message.author, room) is not None:
            name += OTHER_KEY_MARK
        return Shown(
            author=Name(name, self._people.colour(message.author, room)),
            time=message.time,
            text=message.text,
            action=message.action,
            room=self.label(room),
            to=self.other(room),
            quote=self.quote(room, message.reply_to) if message.reply_to else None,
            mine=message.author == self._node.key,
            edited=message.edited,
            retracted=message.retracted,
            reactions=render.grouped(Counter(reaction.emoji for reaction in message.reactions)),
            id=message.id.hex()[:ID_DIGITS] if listed else "",
            me=self._node.nick,
        )
