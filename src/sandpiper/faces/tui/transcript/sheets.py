"""The sheets of the rooms that were on the screen lately, each laid out for its room. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from sandpiper.faces.people import PLAIN_MARK
from sandpiper.faces.spans import columns
from sandpiper.faces.tui.transcript.entries import of_note
from sandpiper.faces.tui.transcript.layout import NAME_CELLS, Layout, Setting
from sandpiper.faces.tui.transcript.sheet import Sheet
from sandpiper.wire.ids import RecordId

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sandpiper.faces.tui.views import Note, Place, Who
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId

MAX_SHEETS = 8  # rooms at hand, so that going back to one takes no time
MAX_KEPT = 50  # notes of a room that is not at hand, and rooms with such notes
MAX_FAR = 1_000  # answered messages that are far above what is at hand


class RoomSheet(NamedTuple):
    """One room's entries and how they are laid out."""

    sheet: Sheet
    layout: Layout


class Sheets:
    """Sheets by room; the one that was not needed for longest goes first."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._sheets: OrderedDict[RoomId, RoomSheet] = OrderedDict()
        self._names: dict[RoomId, dict[PeerKey, Who]] = {}
        self._reads: dict[RoomId, Place | None] = {}
        self._cells: dict[RoomId, int] = {}  # the width of the column of names; it only grows
        self._far: OrderedDict[RecordId, Message] = OrderedDict()
        self._kept: OrderedDict[RoomId, deque[Note]] = OrderedDict()  # notes for rooms that are not at hand
        self._notes = 0

    @property
    def setting(self) -> Setting:
        """What all rooms are laid out for."""
        return self._setting

    def get(self, room: RoomId | None) -> Sheet | None:
        """The sheet of a room, if it is at hand."""
        found = self._sheets.get(room) if room is not None else None
        return found.sheet if found is not None else None

    def open(self, room: RoomId) -> Sheet:
        """The sheet of a room, laid out for now."""
        found = self._sheets.get(room)
        if found is not None:
            self._sheets.move_to_end(room)
            self._fit(room)
            return found.sheet
        layout = Layout(self._for(room), lambda key: self._names.get(room, {}).get(key), self.message)
        found = self._sheets[room] = RoomSheet(Sheet(layout.block), layout)
        if len(self._sheets) > MAX_SHEETS:
            self._sheets.popitem(last=False)
        for note in self._kept.pop(room, ()):
            self.note(room, note)
        return found.sheet

    def empty(self) -> None:
        """Let go of all sheets; names stay."""
        self._sheets.clear()
        self._far.clear()

    def forget(self, room: RoomId) -> None:
        """A room was left."""
        self._sheets.pop(room, None)
        self._kept.pop(room, None)
        self._names.pop(room, None)
        self._cells.pop(room, None)
        self._reads.pop(room, None)

    # ------------------------------------------------------------ what rooms are laid out for

    def set(self, setting: Setting, room: RoomId | None) -> None:
        """Lay out for this from now on; `room` is on the screen, others follow when they are opened."""
        self._setting = setting
        if room is not None and room in self._sheets:
            self._fit(room)

    def set_read(self, room: RoomId, read: Place | None) -> None:
        """Messages of a room behind `read` are new."""
        self._reads[room] = read
        if room in self._sheets:
            self._fit(room)

    def read(self, room: RoomId | None) -> Place | None:
        """Behind which place messages of a room are new."""
        return self._reads.get(room) if room is not None else None

    def _for(self, room: RoomId) -> Setting:
        return replace(self._setting, read=self._reads.get(room), name_cells=self._cells.get(room, NAME_CELLS[0]))

    def _fit(self, room: RoomId) -> bool:
        """Lay a room out anew, as far as what it is laid out for has changed; true when all of it was."""
        sheet, layout = self._sheets[room]
        old, new = layout.setting, self._for(room)
        if old == new:
            return False
        layout.setting = new
        if replace(old, chosen=new.chosen) == new:  # only another message is selected
            for id in (old.chosen, new.chosen):
                if id is not None:
                    sheet.compose_one(id)
            return False
        sheet.compose_again()
        return True

    # ------------------------------------------------------------ what comes

    def take(self, room: RoomId, messages: Sequence[Message], ahead: frozenset[RecordId] = frozenset()) -> None:
        """Messages that were said or have changed; `ahead` are those of them that are not in their place yet.

        What was deleted or changed is so where it is quoted, too.
        """
        for message in messages:
            if message.id in self._far or message.retracted or message.edited:  # a fetch may bring how it was
                self._far[message.id] = message
        self._trim_far()
        sheet, ids = self.get(room), {message.id for message in messages}
        if sheet is None:
            return
        sheet.ahead -= ids
        sheet.ahead |= ahead & ids
        if len(sheet.ahead) > MAX_FAR:
            sheet.ahead = {id for id in sheet.ahead if sheet.index(id) is not None}
        sheet.take(messages)
        self._quote_again(sheet, ids)

    def note(self, room: RoomId, note: Note) -> None:
        """Lines that are no message."""
        sheet = self.get(room)
        if sheet is None:  # it comes on the screen in a moment, or the person looks there later
            kept = self._kept.setdefault(room, deque(maxlen=MAX_KEPT))
            kept.append(note)
            self._kept.move_to_end(room)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return
        self._notes += 1
        sheet.add(of_note(note, self._notes), last=True)

    def named(self, room: RoomId, who: dict[PeerKey, Who]) -> None:
        """What authors of a room are called."""
        names = self._names.setdefault(room, {})
        changed = any(names.get(key, one) != one for key, one in who.items())
        names.update(who)
        least, most = NAME_CELLS
        widest = max((columns(one.name.removesuffix(PLAIN_MARK)) for one in who.values()), default=0)
        self._cells[room] = max(least, self._cells.get(room, 0), min(most, widest))
        sheet = self.get(room)
        if sheet is not None and not self._fit(room) and changed:
            sheet.compose_again()

    def name(self, message: Message) -> str:
        """What a message's author is called."""
        who = self._names.get(message.room, {}).get(message.author)
        return who.name if who is not None else message.nick

    # ------------------------------------------------------------ what is answered

    def message(self, room: RoomId, id: RecordId) -> Message | None:
        """A message at hand, or one far above that was fetched because it is answered."""
        sheet = self.get(room)
        found = sheet.message(id) if sheet is not None else None
        if found is None:
            found = self._far.get(id)
        return found if found is not None and found.room == room else None  # nothing is quoted into another room

    def unknown(self, room: RoomId, messages: Iterable[Message]) -> list[RecordId]:
        """Messages that are answered by these and have to be fetched."""
        answered = (RecordId(one.reply_to) for one in messages if one.reply_to)
        return list({id for id in answered if self.message(room, id) is None})

    def fetched(self, room: RoomId, messages: Sequence[Message]) -> None:
        """What was answered is here: show it where it is quoted."""
        ids, sheet = {message.id for message in messages if message.room == room}, self.get(room)
        for message in messages:
            if message.id in ids:
                self._far.setdefault(message.id, message)  # what was told meanwhile is newer
        self._trim_far()
        if sheet is not None:
            self._quote_again(sheet, ids)

    def _trim_far(self) -> None:
        while len(self._far) > MAX_FAR:
            self._far.popitem(last=False)

    def _quote_again(self, sheet: Sheet, ids: Collection[RecordId]) -> None:
        if sheet.answered.isdisjoint(ids):
            return
        for entry in sheet.entries:
            if entry.message is not None and entry.message.reply_to in ids:
                sheet.compose_one(entry.id)
