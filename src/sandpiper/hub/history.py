"""What a hub wants of a history, and one that keeps the newest lines in memory (tests, `--no-history`)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import Struct
from typing_extensions import override

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey

MEMORY_BATCHES = 1000  # newest batches of a room that `MemoryHistory` keeps
MEMORY_BYTES = 1024 * 1024  # and their bytes: with the most rooms a hub has, a gigabyte at worst


class Batch(Struct, frozen=True, gc=False):
    """Lines of one room as they were sent: `count` of them, numbered from `first`, ended by newlines, in `raw`.

    `ts` is in seconds since 1970. `epoch` names the life of the room: a room that was forgotten and made anew counts
    from 1 again, under another epoch.
    """

    room: str
    epoch: str
    first: int
    count: int
    ts: int
    raw: bytes


class KeptRoom(NamedTuple):
    """A room as it is brought back after a restart. `lock` is its hashed password (empty: open to all)."""

    name: str
    epoch: str
    seq: int = 0
    topic: str = ""
    lock: bytes = b""
    operators: tuple[PeerKey, ...] = ()
    slowmode: int = 0
    closed: bool = False
    """Forget the room and its lines."""


class Stored(NamedTuple):
    """What a history brings back: rooms (with the last `seq` that it keeps of each), and who owns which nick."""

    rooms: tuple[KeptRoom, ...] = ()
    nicks: tuple[tuple[str, PeerKey], ...] = ()


class LinesBefore(NamedTuple):
    """Lines, oldest first, without newlines. `more`: there are older ones."""

    lines: tuple[bytes, ...]
    more: bool


class History(Protocol):
    """Keeps what was said. All but `read` and `aclose` return at once: whatever takes time is for a thread.

    The hub calls from one thread, the event loop's.
    """

    @property
    def behind(self) -> bool:
        """True while so much waits to be written that the hub should read no more messages for a moment."""
        ...

    def load(self) -> Stored:
        """What was kept, before anything else is called."""
        ...

    def append(self, batch: Batch) -> None:
        """Keep these lines; batches of a room come in order and without holes. Never blocks, never raises: what
        cannot be kept is counted and logged by the history.
        """
        ...

    def remember(self, room: KeptRoom) -> None:
        """Keep what a room is (its `seq` is kept by `append`), or forget it."""
        ...

    def own(self, nick: str, key: PeerKey) -> None:
        """Keep that a nick belongs to a key."""
        ...

    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        """The newest `limit` lines before number `before` (0: the newest of all).

        Raises:
            StoreError: they cannot be read.
        """
        ...

    async def aclose(self) -> None:
        """Write what waits, and end."""
        ...


class MemoryHistory(History):
    """Keeps the newest lines of each room, and nothing after the program ends."""

    def __init__(self, batches: int = MEMORY_BATCHES, most_bytes: int = MEMORY_BYTES) -> None:
        self._batches = batches
        self._bytes = most_bytes
        self._kept: OrderedDict[tuple[str, str], deque[Batch]] = OrderedDict()
        self._sizes: dict[tuple[str, str], int] = {}
        self._rooms: dict[str, KeptRoom] = {}
        self._nicks: dict[str, PeerKey] = {}

    @property
    @override
    def behind(self) -> bool:
        return False

    @override
    def load(self) -> Stored:
        rooms = []
        for name, room in self._rooms.items():
            kept = self._kept.get((name, room.epoch))
            rooms.append(room._replace(seq=kept[-1].first + kept[-1].count - 1) if kept else room)
        return Stored(tuple(rooms), tuple(self._nicks.items()))

    @override
    def append(self, batch: Batch) -> None:
        place = (batch.room, batch.epoch)
        kept = self._kept.setdefault(place, deque())
        kept.append(batch)
        size = self._sizes.get(place, 0) + len(batch.raw)
        while len(kept) > self._batches or (size > self._bytes and len(kept) > 1):
            size -= len(kept.popleft().raw)
        self._sizes[place] = size

    @override
    def remember(self, room: KeptRoom) -> None:
        old = self._rooms.pop(room.name, None)
        if old is not None and (room.closed or old.epoch != room.epoch):
            self._kept.pop((room.name, old.epoch), None)
            self._sizes.pop((room.name, old.epoch), None)
        if not room.closed:
            self._rooms[room.name] = room

    @override
    def own(self, nick: str, key: PeerKey) -> None:
        self._nicks[nick] = key

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        found: list[bytes] = []
        for batch in reversed(self._kept.get((room, epoch), ())):
            if before and batch.first >= before:
                continue
            lines = batch.raw.splitlines()
            if before:
                lines = lines[: before - batch.first]
            found[:0] = lines
            if len(found) > limit:
                break
        return LinesBefore(tuple(found[-limit:]), len(found) > limit)

    @override
    async def aclose(self) -> None:
        self._kept.clear()
        self._sizes.clear()
