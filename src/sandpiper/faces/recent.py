"""The newest messages that went over the screen: what a reply, an edit or a reaction is about."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.errors import StoreError
from sandpiper.wire.ids import PeerKey, RecordId

if TYPE_CHECKING:
    from sandpiper.node import Node
    from sandpiper.store.reader import Reader
    from sandpiper.wire.ids import RoomId

MAX_RECENT = 1000  # messages kept at hand, ten screenfuls; older ones are read from the history


class Known(Struct, frozen=True):
    """What is known of an earlier message. `time` is in ms since 1970."""

    author: PeerKey
    time: int
    text: str


class Recent:
    """Messages by id, of all rooms."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept: OrderedDict[RecordId, Known] = OrderedDict()
        self._reader: Reader | None = None

    def add(self, record: RecordId, author: PeerKey, time: int, text: str) -> None:
        """A message was shown."""
        self._kept[record] = Known(author, time, text)
        if len(self._kept) > MAX_RECENT:
            self._kept.popitem(last=False)

    def changed(self, target: bytes, text: str) -> None:
        """A message has another text now (empty: it was taken back)."""
        record = RecordId(target)
        known = self._kept.get(record)
        if known is not None:
            self._kept[record] = Known(known.author, known.time, text)

    def close(self) -> None:
        """Let go of the history file."""
        if self._reader is not None:
            self._reader.close()

    def find(self, room: RoomId, record: bytes) -> Known | None:
        """An earlier message, from the history if need be; None when it is not here."""
        if (known := self._kept.get(RecordId(record))) is not None:
            return known
        try:
            if self._reader is None:
                self._reader = self._node.reader()
            found = self._reader.find(room, record.hex())
        except StoreError:  # told already by whoever needed the disk more
            return None
        if not found:
            return None
        return Known(found[0].author, found[0].time, found[0].text)
