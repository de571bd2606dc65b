"""Where a member's part of a room's history begins. Pure. Page: docs/protocol/roster.md.

The order of a room is that of its records' clocks, and a record's clock is larger than those of its parents. So all
records from one clock on are an end of the room: the last part of each log. Their clocks follow from them alone: a
parent that lies before adds nothing that matters. Whoever lets somebody in signs the clock; others give the newcomer
nothing from before it, but say which records those are that it will not get, so that it does not wait for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandpiper.core.limits import MAX_AUTHORS, MAX_CLAIMS
from sandpiper.errors import UsageError
from sandpiper.wire.ids import PeerKey, RecordId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandpiper.wire.records import Head

ALL, NONE = "all", "none"
_DAY_MS = 24 * 3600 * 1000
_POLICY = re.compile(r"([1-9][0-9]{0,4})(d?)")


def check_policy(text: str) -> str:
    """What newcomers are given of what was said before: `all`, `none`, `100` (the newest so many), `7d` (days).

    Raises:
        UsageError: it is none of these.
    """
    policy = text.strip().casefold()
    if policy in (ALL, NONE) or _POLICY.fullmatch(policy):
        return policy
    raise UsageError(
        "What newcomers get of the history is all, none, a number of messages (100) or of days (7d).",
        hint="For example: --history 7d",
        code="usage",
    )


def known_policy(text: str) -> str:
    """The policy that a room's genesis names; what is none, or of a later version, is `none`."""
    return text if text == ALL or _POLICY.fullmatch(text) else NONE


def begins(policy: str, clock: int, of_newest: Callable[[int], int]) -> int:
    """The clock from which on somebody gets the history who is let in by a record of this `clock`. `of_newest(n)` is
    the clock of the oldest of the newest n records, 0 when there are not so many.
    """
    if policy == ALL:
        return 0
    found = _POLICY.fullmatch(policy)
    if found is None:
        return clock
    number = int(found[1])
    if found[2]:
        return max(0, clock - number * _DAY_MS)
    return of_newest(number)


class Floor:
    """Where our own part begins, and what members have said of the records before it."""

    __slots__ = ("_first", "_ids", "_last", "since", "told")

    def __init__(self, since: int = 0) -> None:
        self.since = since
        """The clock of the first record that is for us; 0: all are."""
        self.told = False
        """Some member has said which records are not."""
        self._first: dict[PeerKey, Head] = {}  # of what members say is the last one of an author, the lowest
        self._last: dict[PeerKey, Head] = {}  # and the highest
        self._ids: dict[RecordId, None] = {}

    def learn(self, ends: Iterable[Head], *, single: bool) -> None:
        """A member says that these records lie before our part: with all before them in their logs, or `single`."""
        self.told = self.told or not single
        for end in ends:
            author = PeerKey(end.author)
            self._ids[RecordId(end.id)] = None
            if author not in self._last and len(self._last) >= MAX_AUTHORS:
                continue
            self._last[author] = max(self._last.get(author, end), end, key=_seq)
            if not single:  # of two members that differ, the one that hides less
                self._first[author] = min(self._first.get(author, end), end, key=_seq)
        while len(self._ids) > MAX_AUTHORS + MAX_CLAIMS:
            del self._ids[next(iter(self._ids))]

    def hides(self, place: Head) -> bool:
        """True when this record is not for us: nobody will send it, and nothing waits for it."""
        if not self.since:
            return False
        end = self._first.get(PeerKey(place.author))
        return (end is not None and place.seq <= end.seq) or RecordId(place.id) in self._ids

    def last(self, author: PeerKey) -> Head | None:
        """The last record of an author that lies before our part, as far as it was told."""
        return self._last.get(author)

    def ends(self) -> tuple[Head, ...]:
        """The last ones of all authors."""
        return tuple(self._last.values())


def _seq(place: Head) -> int:
    return place.seq
