"""The transcript: the rooms that one looks at, paged from the history, and what is done with their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from textual.binding import Binding
from textual.message import Message as Event
from typing_extensions import override

from sandpiper.faces.tui.transcript.paging import PAGE, Paging, Wish
from sandpiper.faces.tui.transcript.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ClassVar

    from textual import events
    from textual.binding import BindingType

    from sandpiper.errors import SandpiperError
    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.transcript.layout import Setting
    from sandpiper.faces.tui.transcript.sheet import Spot
    from sandpiper.faces.tui.views import Delivery, Note, Place, Who
    from sandpiper.store.reader import Message, Reader
    from sandpiper.wire.ids import PeerKey, RecordId, RoomId

BEGINNING: Place = (-1, b"")  # a place before all messages
RETRY_S = 0.5  # after a message came for a room whose first page could not be read, until it is read again


class Transcript(View, can_focus=True):
    """See the module. `reader` opens the history; it is called off the event loop.

    While it has the focus a message is selected, and keys do something with it.
    """

    FOCUS_ON_CLICK: ClassVar[bool] = False  # writing goes on; a double click selects
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", show=False),
        Binding("down,j", "choose(1)", show=False),
        Binding("r,enter", "act('reply')", show=False),
        Binding("e", "act('edit')", show=False),
        Binding("plus", "act('react')", show=False),
        Binding("y,c", "act('copy')", show=False),
        Binding("d,delete", "act('delete')", show=False),
        Binding("escape", "leave", show=False),
        Binding("home", "oldest", show=False),
        Binding("end", "newest", show=False),
    ]

    class Wanted(Event):
        """The person wants something done with a message: reply, edit, react, copy or delete."""

        def __init__(self, action: str, message: Message) -> None:
            super().__init__()
            self.action = action
            self.message = message

    class Left(Event):
        """The person is done with selecting messages."""

    class Failed(Event):
        """The history could not be read."""

        def __init__(self, error: SandpiperError) -> None:
            super().__init__()
            self.error = error

    def __init__(self, reader: Callable[[], Reader], setting: Setting, looks: Looks, *, id: str | None = None) -> None:
        super().__init__(setting, looks, id=id)
        self._paging = Paging(reader, self.sheets, lambda error: self.post_message(self.Failed(error)))
        self._retrying = False
        self._spots: dict[RoomId, Spot] = {}  # where one was in rooms that were left above their end

    # ------------------------------------------------------------ which room

    def show(self, room: RoomId | None, read: Place | None) -> None:
        """Put a room on the screen; messages behind `read` are new."""
        if room == self.room:
            return
        if self.room is not None:
            spot = None if self.following else self._spot()
            self._spots.pop(self.room, None)
            if spot is not None:
                self._spots[self.room] = spot
        self._choose(None)
        self.room = room
        if room is None:
            self._settle(None)
            return
        sheet = self.sheets.open(room)
        self.sheets.set_read(room, read)
        self._settle(self._spots.pop(room, None))
        if not sheet.filled:
            self._read_last()

    def read_again(self) -> None:
        """What is to be seen of the history is not what it was: read it anew."""
        room, read = self.room, self.sheets.read(self.room)
        self.show(None, None)
        self.sheets.empty()
        self._spots.clear()
        self.show(room, read)

    def mark_read(self, read: Place | None) -> None:
        """Messages behind `read` are new; None: there are none."""
        if self.room is not None:
            room = self.room
            self._change(lambda: self.sheets.set_read(room, read))

    def forget(self, room: RoomId) -> None:
        """A room was left."""
        self.sheets.forget(room)
        self._spots.pop(room, None)

    # ------------------------------------------------------------ what comes

    def take(
        self,
        room: RoomId,
        messages: Sequence[Message],
        ahead: frozenset[RecordId] = frozenset(),
        *,
        unfinished: bool = False,
    ) -> None:
        """Messages that were said or have changed; `ahead` are those of them that are not in their place yet;
        `unfinished`: more of them follow soon.
        """
        sheet = self.sheets.get(room)
        self._paging.heard(room, messages)
        if sheet is not None and room == self.room:
            self._change(lambda: self.sheets.take(room, messages, ahead), unfinished=unfinished)
            self._fetch_answered(room, messages)
            if not sheet.filled and not self._paging.reads(room) and not self._retrying:
                self._retrying = True  # the first page could not be read; not at once again for every message
                self.set_timer(RETRY_S, self._retry)
            return
        self.sheets.take(room, messages, ahead)
        if sheet is not None:
            sheet.trim()

    def _retry(self) -> None:
        self._retrying = False
        room, sheet = self.room, self.sheet
        if room is not None and sheet is not None and not sheet.filled and not self._paging.reads(room):
            self._read_last()

    def note(self, note: Note) -> None:
        """Lines that are no message, for their room or the one on the screen."""
        room = note.room or self.room
        if note.kind == "trouble" and self.sheets.get(room) is None:
            room = self.room  # what is wrong is said where the person looks
        if room is not None and room == self.room:
            self._change(lambda: self.sheets.note(room, note))
        elif room is not None:
            self.sheets.note(room, note)

    def delivered(self, delivery: Delivery) -> None:
        """A message of ours has come so far."""
        sheet = self.sheets.get(delivery.room)
        if sheet is not None and delivery.room == self.room:
            self._change(lambda: sheet.delivered(delivery.id, delivery.delivered, delivery.members))
        elif sheet is not None:
            sheet.delivered(delivery.id, delivery.delivered, delivery.members)

    def named(self, room: RoomId, who: dict[PeerKey, Who]) -> None:
        """What authors are called."""
        if room == self.room:
            self._change(lambda: self.sheets.named(room, who))
        else:
            self.sheets.named(room, who)

    def empty(self) -> None:
        """Take everything off the screen; the history stays, and comes back by scrolling."""
        sheet = self.sheet
        if sheet is not None:
            self._choose(None)
            self._change(sheet.clear)

    # ------------------------------------------------------------ reading the history

    @override
    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Near an end of what is at hand, more is read."""
        super().watch_scroll_y(old_value, new_value)
        self._followed = self.following
        sheet, page = self.sheet, self.size.height
        if sheet is not None and sheet.entries:
            if new_value < old_value and new_value < page:
                self._read_older()
            elif new_value > old_value and new_value > self._lowest - page:
                self._read_newer()
        self._tell_seen()

    def _read_last(self) -> None:
        room, sheet = self.room, self.sheet
        if room is None or sheet is None:
            return

        def use(page: list[Message], heard: list[Message]) -> None:
            first = not sheet.filled
            notes = [entry for entry in sheet.entries if entry.note is not None]
            sheet.start_again(page, at_start=len(page) < PAGE, at_end=True)
            sheet.take(heard)
            for entry in notes:
                # What came before there were messages to stand below: answers and errors are about now.
                sheet.add(entry, last=first and entry.note is not None and entry.note.kind != "event")
            if room == self.room:
                self._settle(None)

        self._wish(Wish(room, lambda reader: reader.page(room, limit=PAGE), use))

    def _read_older(self) -> None:
        room, sheet = self.room, self.sheet
        if room is None or sheet is None or sheet.at_start or self._paging.reads(room):
            return
        first = sheet.first_place()
        if first is None:  # it was cleared
            self._read_last()
            return

        def use(page: list[Message], heard: list[Message]) -> None:
            def change() -> None:
                sheet.older(page, at_start=len(page) < PAGE)
                sheet.take(heard)  # what was deleted meanwhile is on the page as it was

            self._change(change, room)

        self._wish(Wish(room, lambda reader: reader.page(room, before=first, limit=PAGE), use))

    def _read_newer(self) -> None:
        room, sheet = self.room, self.sheet
        last = sheet.last_place() if sheet is not None else None
        if room is None or sheet is None or sheet.at_end or last is None or self._paging.reads(room):
            return

        def use(page: list[Message], heard: list[Message]) -> None:
            def change() -> None:
                sheet.newer(page, at_end=len(page) < PAGE)
                sheet.take(heard)

            self._change(change, room)

        self._wish(Wish(room, lambda reader: reader.page_after(room, last, PAGE), use))

    def _wish(self, wish: Wish) -> None:
        if self._paging.wish(wish):
            self.run_worker(self._paging.run(), group="pages")

    def _fetch_answered(self, room: RoomId, messages: Iterable[Message]) -> None:
        wanted = self.sheets.unknown(room, messages)
        if wanted:
            self.run_worker(self._fetch(room, wanted), group="answered")

    async def _fetch(self, room: RoomId, wanted: list[RecordId]) -> None:
        found = await self._paging.fetch(wanted)
        self._change(lambda: self.sheets.fetched(room, found), room)

    # ------------------------------------------------------------ going elsewhere in the room

    def action_oldest(self) -> None:
        """Go to the first message of the room."""
        room, sheet = self.room, self.sheet
        if room is None or sheet is None:
            return
        if sheet.at_start:
            self.scroll_to(y=0, animate=False, force=True)
            return

        def use(page: list[Message], heard: list[Message]) -> None:
            sheet.start_again(page, at_start=True, at_end=len(page) < PAGE)
            sheet.take(heard)
            if room == self.room:
                self._settle(sheet.spot(0))

        self._wish(Wish(room, lambda reader: reader.page_after(room, BEGINNING, PAGE), use))

    def action_newest(self) -> None:
        """Go to the last message of the room."""
        room, sheet = self.room, self.sheet
        if room is None or sheet is None:
            return
        if sheet.at_end:
            self._settle(None)
        else:
            self._read_last()

    def go_to(self, id: RecordId, place: Place) -> None:
        """Go to a message of the room on the screen, and select it."""
        room, sheet = self.room, self.sheet
        if room is None or sheet is None:
            return
        if sheet.index(id) is not None:
            self._choose(id)
            self.focus()
            return

        def around(reader: Reader) -> list[Message]:
            before = reader.page(room, before=place, limit=PAGE // 2)
            return [*before, *reader.messages([id]), *reader.page_after(room, place, PAGE // 2)]

        def use(page: list[Message], heard: list[Message]) -> None:
            sheet.start_again(page, at_start=False, at_end=False)
            sheet.take(heard)
            if room == self.room:
                self._settle(sheet.spot(0))
                self._choose(id)
                self.focus()

        self._wish(Wish(room, around, use))

    def scroll_page(self, direction: int) -> None:
        """A page up (-1) or down (1), with a line of what was there before."""
        step = max(1, self.size.height - 1) * direction
        self.scroll_to(y=max(0, self.scroll_offset.y + step), animate=False, force=True)
        if direction < 0 and self.scroll_offset.y == 0:
            self._read_older()

    # ------------------------------------------------------------ selecting a message

    @property
    def chosen(self) -> Message | None:
        """The selected message."""
        sheet, id = self.sheet, self.sheets.setting.chosen
        return sheet.message(id) if sheet is not None and id is not None else None

    def choose_last(self) -> bool:
        """Select the last message on the screen; false when there is none."""
        self._choose(None)
        self.action_choose(-1)
        if self.chosen is None:
            return False
        self.focus()
        return True

    def action_choose(self, step: int) -> None:
        """Select the message above or below; below the last one, leave."""
        sheet, chosen = self.sheet, self.sheets.setting.chosen
        if sheet is None:
            return
        index = sheet.index(chosen) if chosen is not None else None
        if index is None:
            bottom = sheet.entry_at(min(self._line_at(self.size.height - 1), sheet.height - 1))
            index = len(sheet.entries) if bottom is None else bottom + 1
        index += step
        while 0 <= index < len(sheet.entries) and sheet.entries[index].message is None:
            index += step
        if 0 <= index < len(sheet.entries):
            self._choose(sheet.entries[index].id)
        elif step > 0:
            self.action_leave()
        else:
            self._read_older()

    def _choose(self, id: RecordId | None) -> None:
        if id == self.sheets.setting.chosen:
            return
        self._change(lambda: self.sheets.set(replace(self.sheets.setting, chosen=id), self.room))
        sheet = self.sheet
        index = sheet.index(id) if sheet is not None and id is not None else None
        if sheet is None or index is None:
            return
        top, height = sheet.top(index), len(sheet.block(index).lines)
        first, view = self.scroll_offset.y, self.size.height
        if top < first or height >= view:
            self.scroll_to(y=top, animate=False, immediate=True, force=True)
        elif top + height > first + view:
            self.scroll_to(y=top + height - view, animate=False, immediate=True, force=True)

    def action_act(self, action: str) -> None:
        """Do something with the selected message."""
        message = self.chosen
        if message is not None:
            self.post_message(self.Wanted(action, message))

    async def strike(self, key: str) -> Wanted | Left | None:
        """Do what a key does here. What it would post is returned, so that keys behind it find it done."""
        for binding in self._bindings.key_to_bindings.get(key, ()):
            action, _, argument = binding.action.removesuffix("')").partition("('")
            if action == "leave":
                self._choose(None)
                return self.Left()
            if action == "act":
                return self.Wanted(argument, self.chosen) if self.chosen is not None else None
            await self.run_action(binding.action)
        return None

    def action_leave(self) -> None:
        """No message is selected any more."""
        self._choose(None)
        self.post_message(self.Left())

    def on_click(self, event: events.Click) -> None:
        """A double click selects a message."""
        sheet = self.sheet
        if sheet is None or event.chain != 2:
            return
        index = sheet.entry_at(self._line_at(event.y))
        if index is not None and sheet.entries[index].message is not None:
            self.clear_selection_of_text()
            self._choose(sheet.entries[index].id)
            self.focus()

    def clear_selection_of_text(self) -> None:
        """What the mouse has selected is let go."""
        self.screen.clear_selection()
