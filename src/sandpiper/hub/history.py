"""What a hub wants of a history, and one that keeps the newest lines in memory (tests, `--no-history`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from msgspec import Struct
from typing_extensions import override

from sandpiper.hub.limits import MAX_OWNED_NICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sandpiper.errors import StoreError
    from sandpiper.wire.ids import PeerKey

MEMORY_BATCHES = 1000  # newest batches of a room that `MemoryHistory` keeps
MEMORY_BYTES = 1024 * 1024  # and their bytes
MEMORY_ALL_BYTES = 256 * 1024 * 1024  # of all rooms together; those that were silent for longest lose their lines
BATCH_BYTES = 256  # what a batch costs beside its lines: rooms of many short ones count as well


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
    seqs: tuple[int, ...] = ()
    """Their numbers, where these do not simply follow each other (in a cluster)."""


class Barred(NamedTuple):
    """Somebody who is banned or muted: what they were called then (folded), until when (seconds since 1970; 0: for
    ever), and all that they are known by (see `Guest.tokens`).
    """

    name: str
    until: int
    tokens: tuple[str, ...]


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
    bans: tuple[Barred, ...] = ()
    mutes: tuple[Barred, ...] = ()


class Stored(NamedTuple):
    """What a history brings back: rooms (with the last `seq` that it keeps of each) and who owns which nick, of both
    the longest unused first, and who is banned from the whole hub.
    """

    rooms: tuple[KeptRoom, ...] = ()
    nicks: tuple[tuple[str, PeerKey], ...] = ()
    bans: tuple[Barred, ...] = ()


class SentId(NamedTuple):
    """A message by its sender's own id of it: who said it, the id, and the number that it got."""

    nick: str
    client_id: str
    seq: int


class LinesBefore(NamedTuple):
    """Lines, oldest first, without newlines. `more`: there are older ones."""

    lines: tuple[bytes, ...]
    more: bool


class Found(Struct, frozen=True):
    """Messages that a search found, the newest first, as their lines are now (without newlines).

    `more`: there may be older ones; ask again with this `before`. `whole` is false when so much was said of late that
    some of it could not be searched yet.
    """

    lines: tuple[bytes, ...]
    more: bool
    before: int
    whole: bool


class _Sent(Struct, frozen=True, gc=False):
    type: str
    nick: str = ""
    client_id: str = ""
    seq: int = 0


_sent = msgspec.json.Decoder(_Sent)
_HAS_ID = b',"client_id":"'  # as the hub writes it; no text can hold it: its quotes are escaped


def newest_ids(raws: Iterable[bytes], limit: int) -> list[SentId]:
    """The last `limit` ids of senders in lines (whole ones, the newest first); the oldest first.

    Raises:
        msgspec.MsgspecError: these are no lines of a hub.
    """
    found: list[SentId] = []  # the newest first
    for raw in raws:
        if _HAS_ID in raw:
            lines = [line for line in _sent.decode_lines(raw) if line.client_id and line.type == "msg"]
            found += [SentId(line.nick, line.client_id, line.seq) for line in reversed(lines)]
            if len(found) >= limit:
                break
    return found[:limit][::-1]


class History(Protocol):
    """Keeps what was said. Whatever is not `async` returns at once: what takes time is for a thread.

    The hub calls from one thread, the event loop's. When `durable`, whoever hands something over notes `appended`
    afterwards, and tells nobody of it before `written` has come that far.
    """

    @property
    def durable(self) -> bool:
        """Whether nothing may be told before `written` says that it is on disk; the same for ever."""
        ...

    @property
    def appended(self) -> int:
        """How much was handed over. Once something that had to be durable was lost: more than will ever be written."""
        ...

    @property
    def written(self) -> int:
        """How much of it, from the first on, is kept for good."""
        ...

    @property
    def problem(self) -> StoreError | None:
        """Why nothing can be kept now, in a sentence for an operator; None: all is well."""
        ...

    def watch(self, on_written: Callable[[], None]) -> None:
        """Have `on_written` called on this event loop whenever `written` or `problem` has changed."""
        ...

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
        """Keep that a nick belongs to a key, and that it is in use: those used last are kept."""
        ...

    def bar(self, bans: tuple[Barred, ...]) -> None:
        """Keep who is banned from the whole hub: these, and nobody else any more."""
        ...

    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        """The newest `limit` lines before number `before` (0: the newest of all).

        Raises:
            StoreError: they cannot be read.
        """
        ...

    async def sent_ids(self, room: str, epoch: str, limit: int) -> list[SentId]:
        """The newest `limit` messages that have an id of their sender, as far back as is looked; the oldest first.

        Raises:
            StoreError: they cannot be read; `busy`: not just now.
        """
        ...

    async def search(self, room: str, epoch: str, words: str, before: int = 0, limit: int = 50) -> Found:
        """The newest `limit` messages that have all `words` (the last may be a beginning), told in lines before number
        `before` (0: all). Edited messages are found by what they say now, retracted ones not at all.

        Raises:
            UsageError: there is nothing to search for, or this history cannot be searched.
            StoreError: it cannot be searched now.
        """
        ...

    async def aclose(self) -> None:
        """Write what waits, and end."""
        ...


class MemoryHistory(History):
    """Keeps the newest lines of each room, and nothing after the program ends."""

    def __init__(
        self, batches: int = MEMORY_BATCHES, most_bytes: int = MEMORY_BYTES, all_bytes: int = MEMORY_ALL_BYTES
    ) -> None:
        self._batches = batches
        self._bytes = most_bytes
        self._all_bytes = all_bytes
        self._size = 0
        self._kept: OrderedDict[tuple[str, str], deque[Batch]] = OrderedDict()  # the longest silent first
        self._sizes: dict[tuple[str, str], int] = {}
        self._rooms: dict[str, KeptRoom] = {}
        self._nicks: dict[str, PeerKey] = {}
        self._bans: tuple[Barred, ...] = ()
        # One at a time, beside the event loop: whoever searches again and again must not keep the others from talking.
        self._searching = ThreadPoolExecutor(1, "search")

    @property
    @override
    def durable(self) -> bool:
        return False

    @property
    @override
    def appended(self) -> int:
        return 0

    @property
    @override
    def written(self) -> int:
        return 0

    @property
    @override
    def problem(self) -> StoreError | None:
        return None

    @override
    def watch(self, on_written: Callable[[], None]) -> None:
        pass

    @property
    @override
    def behind(self) -> bool:
        return False

    @override
    def load(self) -> Stored:
        rooms = []
        for name, room in self._rooms.items():
            kept = self._kept.get((name, room.epoch))
            rooms.append(room._replace(seq=_last(kept[-1])) if kept else room)
        return Stored(tuple(rooms), tuple(self._nicks.items()), self._bans)

    @override
    def append(self, batch: Batch) -> None:
        place = (batch.room, batch.epoch)
        kept = self._kept.setdefault(place, deque())
        self._kept.move_to_end(place)
        kept.append(batch)
        before = self._sizes.get(place, 0)
        size = before + len(batch.raw) + BATCH_BYTES
        while len(kept) > self._batches or (size > self._bytes and len(kept) > 1):
            size -= len(kept.popleft().raw) + BATCH_BYTES
        self._sizes[place] = size
        self._size += size - before
        while self._size > self._all_bytes and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))

    def _forget(self, place: tuple[str, str]) -> None:
        """The lines of a room; its numbers go on after them."""
        kept = self._kept.pop(place, None)
        self._size -= self._sizes.pop(place, 0)
        room = self._rooms.get(place[0])
        if kept and room is not None and room.epoch == place[1]:
            self._rooms[room.name] = room._replace(seq=_last(kept[-1]))

    @override
    def remember(self, room: KeptRoom) -> None:
        old = self._rooms.pop(room.name, None)
        if old is not None and (room.closed or old.epoch != room.epoch):
            self._forget((room.name, old.epoch))
        if not room.closed:
            self._rooms[room.name] = room

    @override
    def own(self, nick: str, key: PeerKey) -> None:
        self._nicks.pop(nick, None)
        self._nicks[nick] = key
        if len(self._nicks) > MAX_OWNED_NICKS:
            del self._nicks[next(iter(self._nicks))]

    @override
    def bar(self, bans: tuple[Barred, ...]) -> None:
        self._bans = bans

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        found: list[tuple[int, bytes]] = []
        for batch in reversed(self._kept.get((room, epoch), ())):
            if before and batch.first >= before:
                continue
            lines = batch.raw.splitlines()
            if before:
                lines = lines[: before - batch.first]
            found[:0] = enumerate(lines, batch.first)
            if len(found) > limit:
                break
        return LinesBefore(tuple(self._as_now(room, epoch, found[-limit:])), len(found) > limit)

    def _as_now(self, room: str, epoch: str, lines: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
        """Numbered lines with the texts that later edits gave them; those of retracted messages have none."""
        from sandpiper.hub.sqlite_lines import WITH_TEXT, changes, with_text  # it needs what is above

        first = lines[0][0] if lines else 0
        later = [batch.raw for batch in self._kept.get((room, epoch), ()) if _last(batch) >= first]
        changed = [change for raw in later for change in changes(raw)]
        retracted = {change.id for change in changed if change.type == "retract"}
        texts = {change.id: change.text for change in changed if change.type == "edit"}
        texts |= dict.fromkeys(retracted, "")
        texts |= {change.seq: "" for change in changed if change.type == "edit" and change.id in retracted}
        for seq, line in lines:
            text = texts.get(seq)
            yield line if text is None or not line.startswith(WITH_TEXT) else with_text(line, text)

    @override
    async def sent_ids(self, room: str, epoch: str, limit: int) -> list[SentId]:
        return newest_ids((batch.raw for batch in reversed(self._kept.get((room, epoch), ()))), limit)

    @override
    async def search(self, room: str, epoch: str, words: str, before: int = 0, limit: int = 50) -> Found:
        from sandpiper.hub.searching import look_through  # seldom needed, and it needs what is above

        raws = [batch.raw for batch in self._kept.get((room, epoch), ())]
        ask = partial(look_through, raws, words, before, limit)
        return await asyncio.get_running_loop().run_in_executor(self._searching, ask)

    @override
    async def aclose(self) -> None:
        self._searching.shutdown(wait=False, cancel_futures=True)
        self._kept.clear()
        self._sizes.clear()
        self._size = 0


def _last(batch: Batch) -> int:
    """The number of its last line."""
    return batch.seqs[-1] if batch.seqs else batch.first + batch.count - 1
