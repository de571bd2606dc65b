"""A history that counts what is kept in it, a batch at a time, off the way of each delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.hub.history import History

if TYPE_CHECKING:
    from sandpiper.hub.counts import Counts
    from sandpiper.hub.history import Batch, KeptRoom, LinesBefore, Stored
    from sandpiper.wire.ids import PeerKey


class CountedHistory(History):
    """Passes everything on to `inner`."""

    def __init__(self, inner: History, counts: Counts) -> None:
        self.inner = inner
        self._counts = counts

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
    async def read(self, room: str, epoch: str, before: int, limit: int) -> LinesBefore:
        return await self.inner.read(room, epoch, before, limit)

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()
