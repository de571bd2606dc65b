"""Authors who sign real records, for tests of what keeps them."""

from sandpiper.core.events import Append, SaveRoom
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import seal_record
from sandpiper.store.history import History
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.records import AnyBody, Head, Record, Text

EPOCH = 1_700_000_000_000
GENERAL, DEV = open_room("general"), open_room("dev")
JOIN_GENERAL = SaveRoom(GENERAL, "general", "open", None, joined=True)
JOIN_DEV = SaveRoom(DEV, "dev", "open", None, joined=True)


class Author:
    """One key with a chain of its own in each room. Every record is a second later than the one before it."""

    now = EPOCH

    def __init__(self, seed: int) -> None:
        self.identity = Identity(bytes([seed]) * 32)
        self.key: PeerKey = self.identity.key
        self.last: dict[RoomId, Record] = {}

    def write(
        self, body: AnyBody | str, *, room: RoomId = GENERAL, time: int | None = None, deps: tuple[Head, ...] = ()
    ) -> Append:
        """The next record of the author's log in a room, with its clock."""
        if time is None:
            Author.now += 1000
            time = Author.now
        body = Text(body) if isinstance(body, str) else body
        last = self.last.get(room)
        seq, prev = (last.seq + 1, last.id) if last is not None else (1, NO_RECORD)
        record = seal_record(self.identity, room, seq, RecordId(prev), deps, time, body)
        self.last[room] = record
        return Append(record, time)

    def fork(self, body: AnyBody | str, of: Record) -> Append:
        """A second record for the place of `of`, beside the chain."""
        body = Text(body) if isinstance(body, str) else body
        record = seal_record(self.identity, of.room, of.seq, of.prev, (), of.time, body)
        return Append(record, of.time, main=False)


def head(record: Record) -> Head:
    return Head(record.author, record.seq, record.id)


def keep(history: History, *appends: Append) -> list[Record]:
    """Append and commit."""
    for append in appends:
        history.append(append)
    history.commit()
    return [append.record for append in appends]
