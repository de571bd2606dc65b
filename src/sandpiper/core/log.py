"""One author's records in a room: a hash chain, and what stands beside it when the author forked it.

Memory: 40 bytes a record (id and clock), so that parents can be checked without reading the disk.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.limits import MAX_FORKS
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.limits import KEY_BYTES
from sandpiper.wire.records import Head

if TYPE_CHECKING:
    from collections.abc import Iterable


class Fork(Struct, frozen=True):
    """A record beside the main chain."""

    seq: int
    clock: int
    prev: RecordId


class Log:
    """Which records of `author` are held, and the clock of each."""

    __slots__ = ("_clocks", "_ids", "author", "forks")

    def __init__(self, author: PeerKey, ids: bytes = b"", clocks: Iterable[int] = ()) -> None:
        self.author = author
        self._ids = bytearray(ids)
        self._clocks = array("q", clocks)
        self.forks: dict[RecordId, Fork] = {}

    def __len__(self) -> int:
        """The main chain's last seq; 0 when there is none."""
        return len(self._clocks)

    def id_at(self, seq: int) -> RecordId:
        """The main chain's id at `seq` (1-based)."""
        return RecordId(bytes(self._ids[(seq - 1) * KEY_BYTES : seq * KEY_BYTES]))

    def find(self, record: RecordId) -> int | None:
        """The seq at which the main chain holds this id."""
        at = self._ids.find(record)
        while at >= 0 and at % KEY_BYTES:
            at = self._ids.find(record, at + 1)
        return at // KEY_BYTES + 1 if at >= 0 else None

    @property
    def head_id(self) -> RecordId:
        """Id of the main chain's last record, empty when there is none."""
        return self.id_at(len(self)) if len(self) else NO_RECORD

    def clock_at(self, seq: int) -> int:
        """The main chain's clock at `seq`."""
        return self._clocks[seq - 1]

    def clock_of(self, seq: int, record: RecordId) -> int | None:
        """The clock of a held record, on either branch; None when it is not held."""
        if seq <= len(self) and self.id_at(seq) == record:
            return self._clocks[seq - 1]
        fork = self.forks.get(record)
        return fork.clock if fork is not None and fork.seq == seq else None

    def append(self, record: RecordId, clock: int) -> None:
        """Lengthen the main chain."""
        self._ids += record
        self._clocks.append(clock)

    def add_fork(self, record: RecordId, fork: Fork) -> bool:
        """Keep a record beside the main chain; False when there are too many already."""
        if len(self.forks) >= MAX_FORKS:
            return False
        self.forks[record] = fork
        return True

    def heads(self) -> list[Head]:
        """The ends of all branches, the main chain's first."""
        out = [Head(self.author, len(self), self.head_id)] if len(self) else []
        if self.forks:
            inner = {fork.prev for fork in self.forks.values()}
            out += [Head(self.author, f.seq, i) for i, f in sorted(self.forks.items()) if i not in inner]
        return out
