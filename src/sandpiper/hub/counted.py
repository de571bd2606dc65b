"""A history that counts what is kept in it, a batch at a time, off the way of each delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.hub.history import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.errors import StoreError
    from sandpiper.hub.counts import Counts
    from sandpiper.hub.history import Barred, Batch, Found, KeptRoom, LinesBefore, SentId, Stored
    from sandpiper.wire.ids import PeerKey


class CountedHistory(History):
    """Passes everything on to `inner`."""

    def __init__(self, inner: History, counts: Counts) -> None:
        self.inner = inner
        self._counts = counts

    @property
    @override
    def durable(self) -> bool:
        return self.inner.durable

    @property
    @override
    def appended(self) -> int:
        return self.inner.appended

    @property
    @override
    def written(self) -> int:
        return self.inner.written

    @property
    @override
    def problem(self) -> StoreError | None:
        return self.inner.problem

    @override
    def watch(self, on_written: Callable[[], None]) -> None:
        self.inner.watch(on_written)

    @property
    @override
    def behind(self) -> bool:
        return self.inner.behind

    @override
    def load(self) -> Stored:
        return self.inner.load()

    @override
    def append(self, batch: Batch) -> None:
        counts = self._counts
        counts.batches += 1
        counts.messages += batch.count
        counts.message_bytes += len(batch.raw)
        self.inner.append(batch)

    @override
    def remember(self, room: KeptRoom) -> None:
        self.inner.remember(room)

    @override
    def own(self, nick: str, key: PeerKey) -> None:
        self.inner.own(nick, key)

    @override
    def bar(self, bans: tuple[Barred, ...]) -> None:
        self.inner.bar(bans)

    @override
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        return await self.inner.read(room, epoch, before, limit)

    @override
    async def sent_ids(self, room: str, epoch: str, limit: int) -> list[SentId]:
        return await self.inner.sent_ids(room, epoch, limit)

    @override
    async def search(self, room: str, epoch: str, words: str, before: int = 0, limit: int = 50) -> Found:
        return await self.inner.search(room, epoch, words, before, limit)

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()
