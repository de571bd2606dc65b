"""What the history has for a batch of updates, read in one go. For a thread: a slow disk keeps no link waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.tui.unread import MAX_UNREAD
from sandpiper.faces.tui.views import Found
from sandpiper.store.reader import Message, PeerRow
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandpiper.faces.tui.pending import Batch
    from sandpiper.faces.tui.views import Place
    from sandpiper.store.reader import Reader

MAX_PAGES = 20  # looked through for what is unread: whoever is ignored may have written very much
NEWEST = 200  # messages of a room that was entered or shown: three screenfuls and more


class Lookup(Struct, frozen=True):
    """The messages of a batch by id, those that they quote, the `NEWEST` of some rooms, what is unread in some, and
    everybody ever met when that was asked.
    """

    messages: dict[RecordId, Message] = {}
    quoted: tuple[Message, ...] = ()
    newest: dict[RoomId, list[Message]] = {}
    unread: tuple[Message, ...] = ()
    peers: tuple[PeerRow, ...] = ()


def look_up(
    reader: Reader,
    batch: Batch,
    shown: set[RoomId],
    uncounted: Mapping[RoomId, Place],
    *,
    peers: bool,
    hidden: frozenset[PeerKey] = frozenset(),
) -> Lookup:
    """Read all that. `shown` are rooms that came on the screen or that we came into; `uncounted` ones of which nobody
    knows what is unread, and how far each was read. What `hidden` peers said is not counted.

    Raises:
        StoreError: the history cannot be read.
    """
    messages = reader.messages([record for changes in batch.changes.values() for record in changes.ids])
    here = {message.id: message for message in messages}
    newest = {room: reader.page(room, limit=NEWEST) for room in shown}
    told = [*messages]
    for changes in batch.changes.values():
        told += changes.previews.values()
    for item in batch.items:
        told += item.messages if isinstance(item, Found) else ()
    for page in newest.values():
        told += page
    answered = {RecordId(message.reply_to) for message in told if message.reply_to}
    return Lookup(
        messages=here,
        quoted=tuple(reader.messages([*(answered - here.keys())])),
        newest=newest,
        unread=tuple(message for room, place in uncounted.items() for message in _unread(reader, room, place, hidden)),
        peers=tuple(reader.peers()) if peers else (),
    )


def _unread(reader: Reader, room: RoomId, place: Place, hidden: frozenset[PeerKey]) -> list[Message]:
    """The first `MAX_UNREAD` past a place, if so many are found among those of people who are hidden."""
    out: list[Message] = []
    for _ in range(MAX_PAGES):
        page = reader.page_after(room, place, MAX_UNREAD)
        out += [message for message in page if message.author not in hidden]
        if len(page) < MAX_UNREAD or len(out) >= MAX_UNREAD:
            break
        place = page[-1].place
    return out[:MAX_UNREAD]
