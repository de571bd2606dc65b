"""The history of a hub in a cluster: pages are read from the rooms' logs, with what was edited and taken back since."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace
from typing_extensions import override

from sandpiper.errors import StoreError, UsageError
from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.log import BadLog, Begun, Change, Ruled, Talk, decode_change, decode_posted, number, place_of
from sandpiper.hub.bus.replica import MARK_LINES
from sandpiper.hub.history import Found, History, LinesBefore, Stored
from sandpiper.hub.ruling import Closed
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Edited, Said
from sandpiper.wire.hub.lines import encode_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.hub.bus import link
    from sandpiper.hub.bus.cluster import Cluster
    from sandpiper.hub.history import Barred, Batch, KeptRoom, SentId
    from sandpiper.wire.hub.answers import Kept
    from sandpiper.wire.ids import PeerKey

MAX_STEPS = 64  # back through the log for one page: more means a log that is not as we write it
MAX_PAGES = 4  # that are being read at once, the others wait for them: each has some ten MiB in hand meanwhile
MAX_HELD_BYTES = 4 * 1024 * 1024  # of the log in hand for one page: four pages' worth, or eight messages of the log
_AWAY = "The cluster's bus is away: what is said waits."


class _Changes(NamedTuple):
    texts: dict[int, str]
    retracted: set[int]
    void: set[int]


class BusHistory(History):
    """Reads the log; writing it is the order's business, so whatever a hub hands over here is kept already."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns = asyncio.Semaphore(MAX_PAGES)

    @property
    @override
    def durable(self) -> bool:
        return False  # what comes back from the log is as durable as the log; nothing here has to wait for it

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
        return StoreError(_AWAY) if self._cluster.away else None

    @override
    def watch(self, on_written: Callable[[], None]) -> None:
        return

    @property
    @override
    def behind(self) -> bool:
        return self._cluster.behind

    @override
    def load(self) -> Stored:
        return Stored()

    @override
    def append(self, batch: Batch) -> None:
        return

    @override
    def remember(self, room: KeptRoom) -> None:
        return

    @override
    def own(self, nick: str, key: PeerKey) -> None:
        self._cluster.own(nick, key)

    @override
    def bar(self, bans: tuple[Barred, ...]) -> None:
        return

    @override
    async def sent_ids(self, room: str, epoch: str, limit: int) -> list[SentId]:
        return []  # the log has told

    @override
    async def search(self, room: str, epoch: str, words: str, before: int = 0, limit: int = 50) -> Found:
        raise UsageError("This hub is one of a cluster, which cannot search what was said.", code="no_search")

    @override
    async def aclose(self) -> None:
        await self._cluster.aclose()

    # ------------------------------------------------------------ pages

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        try:
            async with self._turns:
                return await self._read(room, before, limit)
        except (BusAway, BadLog) as exc:
            raise StoreError(f"The cluster's log cannot be read: {exc}") from exc

    async def _read(self, room: str, before: int, limit: int) -> LinesBefore:
        replica = self._cluster.order.replicas.get(room)
        if replica is None:
            raise BusAway("The room is not followed here.")
        upto = min(place_of(before) if before else replica.place, replica.place)
        start = replica.mark_before(upto, limit // MARK_LINES + 1)
        if not start:
            last = await self._cluster.link.last(room, upto)
            if last is None:
                return LinesBefore((), False)
            start = decode_posted(last.raw).back or 1
        found: list[Kept] = []
        more, held = True, 0
        for _ in range(MAX_STEPS):
            messages, whole = await self._messages(room, start, upto)
            lines, back, begins = _lines_of(messages, room)
            found[:0] = [one for one in lines if not before or one.seq < before]
            more = not begins and (not whole or (start > 1 and back != start))
            held += sum(len(one.raw) for one in messages) if lines else 0
            if len(found) > limit or held > MAX_HELD_BYTES or not more:
                break
            if whole:
                upto, start = start - 1, back or 1
            else:
                upto = messages[0].place - 1
        changes = await self._changes(room, found)
        left = [_as_now(one, changes) for one in found if one.seq not in changes.void]
        raw = encode_answers(left[-limit:]).splitlines() if left else []
        return LinesBefore(tuple(raw), len(left) > limit or more)

    async def _messages(self, room: str, start: int, upto: int) -> tuple[Sequence[link.Stored], bool]:
        """(the messages from `start` to `upto`, whether these are all): the last ones if there are too many bytes."""
        found: deque[link.Stored] = deque()
        held, whole = 0, True
        while start <= upto:
            part = await self._cluster.link.read(room, start)
            for one in part:
                if one.place <= upto:
                    found.append(one)
                    held += len(one.raw)
            while held > MAX_HELD_BYTES and len(found) > 1:
                held -= len(found.popleft().raw)
                whole = False
            if not part or part[-1].place > upto:
                break
            start = part[-1].place + 1
        return found, whole

    async def _changes(self, room: str, lines: Iterable[Kept]) -> _Changes:
        lines = tuple(lines)
        wanted = {one.seq for one in lines} | {one.id for one in lines if isinstance(one, Edited)}
        changes = _Changes({}, set(), set())
        for stored in await self._cluster.link.changes(room, sorted(wanted)):
            _, seq, _, kind, text = decode_change(stored.raw)
            if kind == "e":
                changes.texts[seq] = text
            else:
                (changes.retracted if kind == "r" else changes.void).add(seq)
        return changes


def _lines_of(messages: Iterable[link.Stored], room: str) -> tuple[list[Kept], int, bool]:
    """(lines, where to read on before them, whether the room's life begins here)."""
    shown = "" if room == LOBBY else room
    found: list[Kept] = []
    back, begins = 0, True  # when there is nothing any more
    for at, stored in enumerate(messages):
        posted = decode_posted(stored.raw)
        if at == 0:
            back, begins = posted.back, False
        index = 0
        for entry in posted.entries:
            seq = number(stored.place, index)
            index += len(entry.lines) if type(entry) is Talk else 1
            match entry:
                case Talk(_, _, nick, ts, lines):
                    found += [
                        Said(nick, text, ts, shown, each, client_id, reply_to, action)
                        for each, (text, client_id, reply_to, action) in enumerate(lines, seq)
                    ]
                case Change(_, _, kept):
                    found.append(replace(kept, seq=seq))
                case Ruled(_, Closed()):
                    found.clear()
                    begins = True
                case Begun() | Ruled():
                    pass
    return found, back, begins


def _as_now(line: Kept, changes: _Changes) -> Kept:
    """The line with the text that it has now."""
    if isinstance(line, Said):
        if line.seq in changes.retracted:
            return replace(line, text="")
        return replace(line, text=changes.texts[line.seq]) if line.seq in changes.texts else line
    if isinstance(line, Edited) and line.id in changes.retracted:
        return replace(line, text="")
    return line
