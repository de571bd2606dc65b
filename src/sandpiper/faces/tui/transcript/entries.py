"""What stands in a transcript: messages and notes, each at its place. Pure values."""

from __future__ import annotations

from msgspec import Struct

from sandpiper.faces.tui.views import Note, Place
from sandpiper.store.reader import Message
from sandpiper.wire.ids import RecordId


class Entry(Struct, frozen=True):
    """One entry: a message with how far it has come (`delivered` of `members`; no members: not known), or a note."""

    place: Place
    id: RecordId
    message: Message | None = None
    note: Note | None = None
    delivered: int = 0
    members: int = 0

    @property
    def time(self) -> int:
        """When it was said or happened, ms since 1970."""
        if self.message is not None:
            return self.message.time
        return self.note.time if self.note is not None else 0


def of_message(message: Message, delivered: int = 0, members: int = 0) -> Entry:
    """The entry of a message."""
    return Entry(message.place, message.id, message, None, delivered, members)


def of_note(note: Note, number: int) -> Entry:
    """The entry of a note, behind all messages of its moment; notes are numbered as they come."""
    mark = RecordId(b"\xff" * 32 + number.to_bytes(8, "big"))
    return Entry((note.time, mark), mark, note=note)
