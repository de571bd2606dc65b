"""What has happened and is not told yet: gathered while the screen is busy, so that a burst is a few batches. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.tui.views import Delivery, Update
from sandpiper.store.reader import Message
from sandpiper.wire.ids import RecordId, RoomId

if TYPE_CHECKING:
    from sandpiper.wire.records import Record, Text

MAX_CHANGED = 5_000  # messages of a room told at once: as many as the screen keeps; it reads older ones itself


class Changed(Struct, frozen=True):
    """Stands where messages of a room are to be told."""

    room: RoomId


class Changes(Struct):
    """Messages of one room that are new or not what they were, by id and in the order in which that happened.

    `fresh` are those that somebody else has just said; `previews` are not on the disk yet.
    """

    ids: dict[RecordId, None]
    fresh: set[RecordId]
    previews: dict[RecordId, Message]


class Batch(Struct, frozen=True):
    """What is told together, in its order; deliveries come after it."""

    items: tuple[Update | Changed, ...]
    changes: dict[RoomId, Changes]
    deliveries: tuple[Delivery, ...]


class Pending:
    """The batch that comes next."""

    def __init__(self) -> None:
        self._items: list[Update | Changed] = []
        self._changes: dict[RoomId, Changes] = {}
        self._deliveries: dict[tuple[RoomId, RecordId], Delivery] = {}
        self._held: dict[RoomId, dict[RecordId, None]] = {}

    def add(self, update: Update) -> None:
        """Something to tell as it is."""
        self._items.append(update)

    def delivery(self, delivery: Delivery) -> None:
        """How far a message has come: only the last word counts."""
        self._deliveries[delivery.room, delivery.id] = delivery

    def changed(self, room: RoomId, record: RecordId, *, fresh: bool = False, history: bool = False) -> None:
        """A message is new, or was changed. `history`: it is caught up with, and waits while its room is held."""
        if history and room in self._held:
            _put(self._held[room], record)
            return
        changes = self._of(room)
        _put(changes.ids, record, changes.fresh)
        if fresh:
            changes.fresh.add(record)

    def preview(self, message: Message) -> None:
        """A message that is not on the disk yet."""
        self._of(message.room).previews[message.id] = message

    def hold(self, room: RoomId) -> None:
        """A long catch-up of a room begins: keep the newest of it for its end."""
        self._held.setdefault(room, {})

    def release(self, room: RoomId) -> None:
        """The catch-up is over."""
        for record in self._held.pop(room, {}):
            self.changed(room, record)

    def take(self) -> Batch:
        """All that there is."""
        batch = Batch(tuple(self._items), self._changes, tuple(self._deliveries.values()))
        self._items, self._changes, self._deliveries = [], {}, {}
        return batch

    def _of(self, room: RoomId) -> Changes:
        if room not in self._changes:
            self._changes[room] = Changes({}, set(), {})
            self._items.append(Changed(room))
        return self._changes[room]


def _put(ids: dict[RecordId, None], record: RecordId, fresh: set[RecordId] | None = None) -> None:
    """The newest comes last, and the oldest goes when there are too many."""
    ids.pop(record, None)
    ids[record] = None
    if len(ids) > MAX_CHANGED:
        oldest = next(iter(ids))
        del ids[oldest]
        if fresh is not None:
            fresh.discard(oldest)


def provisional(record: Record, text: Text, nick: str) -> Message:
    """A message that is not on the disk yet; its place is a guess until it is."""
    return Message(
        room=record.room,
        place=(record.time, record.id),
        id=record.id,
        author=record.author,
        nick=nick,
        seq=record.seq,
        time=record.time,
        text=text.text,
        action=text.action,
        reply_to=text.reply_to,
        edited=False,
        retracted=False,
        plain=False,
    )
