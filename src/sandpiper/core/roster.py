"""Who may write to a room and who may read it: the one place that admission asks.

Open rooms take anyone; a direct room takes its two members; a private room takes those whom its control records name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sandpiper.core.control import Acts, Cut, Judge, MemberRole, Ruling, Span
from sandpiper.wire.ids import NO_RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.wire.ids import PeerKey, RecordId, RoomId
    from sandpiper.wire.records import Record


class Roster(Protocol):
    """A room's membership."""

    def admits(self, peer: PeerKey) -> bool:
        """True when `peer` may write here and be sent what others wrote."""
        ...

    def takes(self, author: PeerKey) -> bool:
        """True when there may be records of `author` that count, from now or earlier."""
        ...


class Everyone:
    """An open room: anyone who asks."""

    def admits(self, peer: PeerKey) -> bool:
        """True for every peer."""
        return True

    takes = admits


class Pair:
    """A direct room: the two, forever."""

    def __init__(self, one: PeerKey, other: PeerKey) -> None:
        self._members = frozenset((one, other))

    def admits(self, peer: PeerKey) -> bool:
        """True for the two."""
        return peer in self._members

    takes = admits


class Members:
    """A private room: those whom its control records let in. Without the first of them: nobody."""

    def __init__(self, room: RoomId, within: Callable[[PeerKey, int, RecordId, Cut], bool]) -> None:
        self.acts = Acts(room)
        self._within = within
        self._ruling: Ruling | None = None

    @property
    def ruling(self) -> Ruling:
        """What the control records come to."""
        if self._ruling is None:
            self._ruling = Judge(self.acts, self._within).ruling()
        return self._ruling

    def add(self, record: Record) -> list[Record]:
        """Take a control record in: see `Acts.add`."""
        entered = self.acts.add(record)
        if entered:
            self._ruling = None
        return entered

    def look_again(self) -> None:
        """A log has forked: it may matter which branch a cut is on."""
        self._ruling = None

    def _is_owner(self, author: PeerKey) -> bool:
        # Most control records are the owner's, and these need no ruling: a long roster is read in one go.
        return bool(self.acts.all) and self.acts.all[0].record.author == author

    def admits(self, peer: PeerKey) -> bool:
        """True for members."""
        return self._is_owner(peer) or peer in self.ruling.roles

    def takes(self, author: PeerKey) -> bool:
        """True for whoever is or was a member."""
        return self._is_owner(author) or author in self.ruling.spans

    def role(self, peer: PeerKey) -> MemberRole | None:
        """A member's role; None: not a member."""
        return self.ruling.roles.get(peer)

    def counts(self, author: PeerKey, seq: int, record: RecordId) -> bool:
        """True when the author was in good standing when it wrote this."""
        return self._is_owner(author) or all(self._within(author, seq, record, cut) for cut in self._cuts(author, seq))

    def reach(self, author: PeerKey, seq: int) -> int:
        """The last seq of the author that can count, of those up to `seq`; 0: none."""
        if self._is_owner(author):
            return seq
        return min((seq, *(cut.seq for cut in self._cuts(author, seq))))

    def unlimited(self, author: PeerKey) -> bool:
        """True when everything of the author counts."""
        return self._is_owner(author) or not any(span.cuts for span in self.ruling.spans.get(author, (_NOTHING,)))

    def cuts(self, author: PeerKey) -> tuple[Cut, ...]:
        """Everywhere that the author's log was ever cut."""
        return tuple(cut for span in self.ruling.spans.get(author, ()) for cut in span.cuts)

    def _cuts(self, author: PeerKey, seq: int) -> tuple[Cut, ...]:
        spans = self.ruling.spans.get(author)
        if spans is None:
            return _NOTHING.cuts
        return next(span.cuts for span in reversed(spans) if span.first <= max(seq, 1))


_NOTHING = Span(1, (Cut(0, NO_RECORD),))
