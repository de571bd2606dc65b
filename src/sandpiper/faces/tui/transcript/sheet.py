"""The entries of one room that are at hand, and on which line each of them stands. Pure.

A sheet is a run of the room without holes: `at_start` and `at_end` say whether it reaches the first and the last
message of the history. Until it is `filled` with a first page it reaches neither, and nothing is put before that.

Lines are made when entries come, so heights are exact; what a line number means is found by prefix sums. The lines of
an entry depend on the entry before it (a time that has not changed is not said again).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct

from sandpiper.faces.spans import Line
from sandpiper.faces.tui.transcript.entries import Entry, of_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.faces.tui.views import Place
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RecordId

MAX_ENTRIES = 5_000  # at hand for one room: some 10 MB; older ones are read from the history again
SLACK = 500  # entries above that before they are let go of, all at once: counting lines anew takes a while
MAX_MARKS = 500  # of our messages, how far they have come; the newest ones
MAX_NOTES = 300  # of them notes, which are nowhere else and are few


class Block(Struct, frozen=True):
    """The lines of one entry: `lead` of them are rules before it. `marked`: it mentions us."""

    lines: tuple[Line, ...]
    lead: int = 0
    marked: bool = False


class Spot(NamedTuple):
    """A line of an entry: where a view is anchored, so that it stays when things above it change."""

    id: RecordId
    row: int


class Sheet:
    """See above. `compose(entry, before)` makes the lines of an entry that follows `before`."""

    def __init__(self, compose: Callable[[Entry, Entry | None], Block]) -> None:
        self._compose = compose
        self.entries: list[Entry] = []
        self.at_start = False
        self.at_end = False
        self.filled = False
        self.answered: set[bytes] = set()
        """Ids of messages that entries answer; some of those entries may be gone."""
        self.ahead: set[RecordId] = set()  # messages that are not in their place yet: they count as not seen
        self._newest: Place | None = None  # of all messages that were told, at hand or not
        self._floor: Place | None = None  # below it the sheet was cleared, and has not been read again
        self._marks: OrderedDict[RecordId, tuple[int, int]] = OrderedDict()  # how far messages of ours have come
        self._places: dict[RecordId, Place] = {}
        self._blocks: list[Block] = []
        self._ends: list[int] = []  # line past the end of each block; valid below `_sound`
        self._sound = 0
        self._notes = 0

    # ------------------------------------------------------------ where things are

    @property
    def height(self) -> int:
        """How many lines there are."""
        self._count()
        return self._ends[-1] if self._ends else 0

    def top(self, index: int) -> int:
        """The first line of an entry."""
        self._count()
        return self._ends[index - 1] if index else 0

    def index(self, id: RecordId) -> int | None:
        """Where an entry is among the entries."""
        place = self._places.get(id)
        return None if place is None else bisect_left(self.entries, place, key=_place)

    def entry_at(self, y: int) -> int | None:
        """The entry that line `y` belongs to."""
        self._count()
        index = bisect_right(self._ends, y)
        return index if index < len(self.entries) and y >= 0 else None

    def block(self, index: int) -> Block:
        """The lines of an entry."""
        return self._blocks[index]

    def line(self, y: int) -> tuple[Line, Block, int] | None:
        """Line `y`, the block it belongs to, and which of its lines it is; None past the end."""
        index = self.entry_at(y)
        if index is None:
            return None
        block, row = self._blocks[index], y - self.top(index)
        return block.lines[row], block, row

    def spot(self, y: int) -> Spot | None:
        """What line `y` is of, as a thing that stays the same when lines move."""
        index = self.entry_at(y)
        return None if index is None else Spot(self.entries[index].id, y - self.top(index))

    def find(self, spot: Spot) -> int | None:
        """On which line a spot is now; None when its entry is gone."""
        index = self.index(spot.id)
        return None if index is None else self.top(index) + min(spot.row, len(self._blocks[index].lines) - 1)

    def message(self, id: RecordId) -> Message | None:
        """A message that is at hand."""
        index = self.index(id)
        return None if index is None else self.entries[index].message

    def first_place(self) -> Place | None:
        """The place of the oldest message at hand."""
        return next((entry.place for entry in self.entries if entry.message is not None), None)

    def last_place(self) -> Place | None:
        """The place of the newest message at hand."""
        return next((entry.place for entry in reversed(self.entries) if entry.message is not None), None)

    def settled_place(self) -> Place | None:
        """The place of the newest message at hand that is in its place: so far one can have read."""
        for entry in reversed(self.entries):
            if entry.message is not None and entry.id not in self.ahead:
                return entry.place
        return None

    def _count(self) -> None:
        start = self._sound
        if start == len(self._blocks) == len(self._ends):
            return
        del self._ends[start:]
        base = self._ends[-1] if start else 0
        ends = accumulate((len(block.lines) for block in self._blocks[start:]), initial=base)
        next(ends)
        self._ends.extend(ends)
        self._sound = len(self._blocks)

    # ------------------------------------------------------------ changes

    def take(self, messages: Iterable[Message]) -> None:
        """Messages that were said or have changed. Those outside this run of the room are left out: they are read
        from the history when the view comes there.
        """
        for message in messages:
            self._heard_of(message)
            old_index = self.index(message.id)
            if old_index is not None:
                old = self.entries[old_index]
                if old.message == message:
                    continue
                entry = of_message(message, old.delivered, old.members)
                if old.place != message.place:
                    self._remove(old_index)
                    self._insert(entry)
                else:
                    self.entries[old_index] = entry
                    self._recompose(old_index, old_index + 2)
            elif self._reaches(message.place):
                self._insert(self._entry(message))
        self._trim_notes()

    def _reaches(self, place: Place) -> bool:
        first, last = self.first_place(), self.last_place()
        if self._floor is not None:  # all that came after clearing is here
            first = self._floor
        elif first is None:
            return self.at_end
        if last is None:
            return self.at_end and place > first
        return (self.at_start or place > first) and (self.at_end or place < last)

    def _heard_of(self, message: Message) -> None:
        if message.id not in self.ahead and (self._newest is None or message.place > self._newest):
            self._newest = message.place

    def add(self, entry: Entry, *, last: bool = False) -> None:
        """A note; `last`: below all messages at hand, though the clock of their room is ahead of ours."""
        newest = self.last_place() if last else None
        if newest is not None and newest > entry.place:
            entry = msgspec.structs.replace(entry, place=(newest[0], entry.id))
        self._insert(entry)
        self._notes += 1
        self._trim_notes()

    def delivered(self, id: RecordId, delivered: int, members: int) -> bool:
        """A message of ours has come so far; true when that is to be seen."""
        self._marks[id] = (delivered, members)
        if len(self._marks) > MAX_MARKS:
            self._marks.popitem(last=False)
        index = self.index(id)
        if index is None:
            return False
        old = self.entries[index]
        if (old.delivered, old.members) == (delivered, members):
            return False
        self.entries[index] = msgspec.structs.replace(old, delivered=delivered, members=members)
        self._recompose(index, index + 1)
        return True

    def older(self, page: Sequence[Message], *, at_start: bool) -> None:
        """A page that ends where this sheet begins."""
        fresh = [self._entry(one) for one in page if one.id not in self._places]
        before = bisect_left(fresh, self.entries[0].place, key=_place) if self.entries else len(fresh)
        self._splice(0, fresh[:before])
        for entry in fresh[before:]:  # notes can stand between
            self._insert(entry)
        self.at_start, self._floor = at_start, None
        self.trim(keep_end=False)

    def newer(self, page: Sequence[Message], *, at_end: bool) -> None:
        """A page that begins where this sheet ends."""
        for message in page:
            self._heard_of(message)
            if message.id not in self._places:
                self._insert(self._entry(message))
        self.at_end = at_end
        self.trim()

    def start_again(self, page: Sequence[Message], *, at_start: bool, at_end: bool) -> None:
        """Another part of the room: notes go with what they stood between."""
        self._drop(0, len(self.entries))
        self._notes = 0
        self._splice(0, [self._entry(one) for one in page])
        self.at_start, self.at_end, self.filled, self._floor = at_start, at_end, True, None
        for message in page:
            self._heard_of(message)

    def clear(self) -> None:
        """Nothing is at hand, and only what comes after all that was told is put here, until older pages are read."""
        self.start_again((), at_start=False, at_end=True)
        self._floor = self._newest

    def trim(self, *, keep_end: bool = True) -> None:
        """Let go of the oldest entries above `MAX_ENTRIES`, or of the newest, once there are `SLACK` more."""
        excess = len(self.entries) - MAX_ENTRIES
        if excess <= SLACK:
            return
        if keep_end:
            self._drop(0, excess)
            self.at_start, self._floor = False, None
            self._recompose(0, 1)
        else:
            self._drop(MAX_ENTRIES, len(self.entries))
            self.at_end = False

    def compose_again(self) -> None:
        """All lines anew: the width, a name or the theme has changed."""
        self._recompose(0, len(self.entries))

    def compose_one(self, id: RecordId) -> None:
        """The lines of one entry anew."""
        index = self.index(id)
        if index is not None:
            self._recompose(index, index + 1)

    def _entry(self, message: Message) -> Entry:
        return of_message(message, *self._marks.get(message.id, (0, 0)))

    def _insert(self, entry: Entry) -> None:
        index = len(self.entries)
        if self.entries and entry.place <= self.entries[-1].place:
            index = bisect_left(self.entries, entry.place, key=_place)
        self.entries.insert(index, entry)
        self._places[entry.id] = entry.place
        self._note_answers((entry,))
        self._blocks.insert(index, _NOTHING)
        self._recompose(index, index + 2)

    def _splice(self, index: int, entries: list[Entry]) -> None:
        self.entries[index:index] = entries
        self._places.update((entry.id, entry.place) for entry in entries)
        self._note_answers(entries)
        self._blocks[index:index] = [_NOTHING] * len(entries)
        self._recompose(index, index + len(entries) + 1)

    def _note_answers(self, entries: Iterable[Entry]) -> None:
        self.answered.update(
            one.message.reply_to for one in entries if one.message is not None and one.message.reply_to
        )
        if len(self.answered) > 2 * (MAX_ENTRIES + SLACK):  # of entries that were let go of, too
            self.answered.clear()
            self._note_answers(self.entries)

    def _remove(self, index: int) -> None:
        self._drop(index, index + 1)
        self._recompose(index, index + 1)

    def _drop(self, start: int, end: int) -> None:
        for entry in self.entries[start:end]:
            del self._places[entry.id]
            self._notes -= entry.note is not None
        del self.entries[start:end], self._blocks[start:end]
        self._sound = min(self._sound, start)

    def _recompose(self, start: int, end: int) -> None:
        entries = self.entries
        for index in range(start, min(end, len(entries))):
            self._blocks[index] = self._compose(entries[index], entries[index - 1] if index else None)
        self._sound = min(self._sound, start)

    def _trim_notes(self) -> None:
        if self._notes > MAX_NOTES:
            oldest = next(index for index, entry in enumerate(self.entries) if entry.note is not None)
            self._remove(oldest)


_NOTHING = Block(())


def _place(entry: Entry) -> Place:
    return entry.place
