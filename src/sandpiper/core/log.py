"""One author's records in a room: a hash chain, and what stands beside it when the author forked it. It may begin later
than with the author's first record (`sandpiper.core.floor`).

Memory: 40 bytes a record (id and clock), so that parents can be checked without reading the disk.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.limits import MAX_BRANCHES
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

    __slots__ = ("_clocks", "_ends", "_ids", "_last", "_seq", "author", "before", "forks", "head_id")

    def __init__(
        self, author: PeerKey, ids: bytes = b"", clocks: Iterable[int] = (), before: Head | None = None
    ) -> None:
        """`before` is the record after which it begins, which is not here; None: it begins with the first."""
        self.author = author
        self.before = before if before is not None else Head(author, 0, NO_RECORD)
        self._ids = bytearray(ids)
        self._clocks = array("q", clocks)
        self._seq = self.before.seq + len(self._clocks)
        self.head_id = self.id_at(self._seq) if self._clocks else RecordId(self.before.id)
        """Id of the main chain's last record; while there is none, of the one before it (empty: none either)."""
        self.forks: dict[RecordId, Fork] = {}
        self._ends: dict[RecordId, int] = {}  # forks that no other fork follows
        self._last = 0  # the highest seq beside the main chain

    def __len__(self) -> int:
        """The main chain's last seq; 0 when there is none."""
        return self._seq

    @property
    def first(self) -> int:
        """The seq with which the main chain begins."""
        return self.before.seq + 1

    @property
    def held(self) -> int:
        """How many records are here."""
        return len(self._clocks) + len(self.forks)

    def from_clock(self, clock: int) -> int:
        """The seq of the main chain's first record of this clock or a later one; one past its last: there is none."""
        return self.first + bisect_left(self._clocks, clock)

    @property
    def last(self) -> int:
        """The highest seq held, on whichever branch."""
        return max(self._seq, self._last)

    def id_at(self, seq: int) -> RecordId:
        """The main chain's id at `seq`, from `first` on."""
        at = (seq - self.first) * KEY_BYTES
        return RecordId(bytes(self._ids[at : at + KEY_BYTES])) if at >= 0 else NO_RECORD

    def find(self, record: RecordId) -> int | None:
        """The seq at which the main chain holds this id."""
        at = self._ids.find(record)
        while at >= 0 and at % KEY_BYTES:
            at = self._ids.find(record, at + 1)
        return at // KEY_BYTES + self.first if at >= 0 else None

    def clock_at(self, seq: int) -> int:
        """The main chain's clock at `seq`, from `first` on."""
        return self._clocks[seq - self.first]

    def clock_of(self, seq: int, record: RecordId) -> int | None:
        """The clock of a held record, on either branch; None when it is not held."""
        if seq == self._seq and record == self.head_id:  # most parents are heads
            return self._clocks[-1] if self._clocks else None
        if self.first <= seq <= self._seq and self.id_at(seq) == record:
            return self.clock_at(seq)
        fork = self.forks.get(record)
        return fork.clock if fork is not None and fork.seq == seq else None

    def append(self, record: RecordId, clock: int) -> None:
        """Lengthen the main chain."""
        self._ids += record
        self._clocks.append(clock)
        self._seq += 1
        self.head_id = record

    def add_fork(self, record: RecordId, fork: Fork) -> None:
        """Keep a record beside the main chain, after the one that it follows."""
        self.forks[record] = fork
        self._ends.pop(fork.prev, None)
        self._ends[record] = fork.seq
        self._last = max(self._last, fork.seq)

    def branch(self, record: RecordId, limit: int) -> list[RecordId]:
        """A record beside the main chain after at most `limit` - 1 that come before it there."""
        out: list[RecordId] = []
        fork = self.forks.get(record)
        while fork is not None and len(out) < limit:
            out.append(record)
            record = fork.prev
            fork = self.forks.get(record)
        return out[::-1]

    def branches(self) -> list[Head]:
        """The ends beside the main chain, the newest `MAX_BRANCHES` of them."""
        return [Head(self.author, seq, i) for i, seq in islice(reversed(self._ends.items()), MAX_BRANCHES)]
