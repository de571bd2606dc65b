"""Ctrl+F: find messages by their words, while they are typed."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from typing_extensions import override

from sandpiper.errors import SandpiperError, StoreError, UsageError
from sandpiper.faces.render import Look, clock
from sandpiper.faces.spans import Line, Span, columns, dim, excerpt, line
from sandpiper.faces.tui.dialogs.dialog import Entry, Paragraph
from sandpiper.faces.tui.dialogs.matching import around_spots
from sandpiper.faces.tui.dialogs.picks import Pick, PickDialog, Picks
from sandpiper.faces.tui.transcript.prose import plain
from sandpiper.wire.ids import RecordId, RoomId
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual import events
    from textual.app import ComposeResult
    from textual.timer import Timer

    from sandpiper.store.reader import Message, Reader

LIMIT = 100  # messages shown: more are not read, other words are tried
DEBOUNCE = 0.08  # seconds without a key after which a search begins: shorter than a pause, longer than a key
LEAD = 12  # cells of a message shown before the first word found
EXCERPT = 200  # characters of a message shown at most: wider than the box
MAX_ROOM = 14  # cells of a room's label
MAX_NAME = 12  # cells of an author's name
NARROW = 60  # columns of a screen: a narrower one has no room for day and time
MAX_WORDS = 40  # characters of the words in a sentence about them


class Hit(Struct, frozen=True):
    """The message to show, and where it stands in its room."""

    room: RoomId
    id: RecordId
    place: tuple[int, bytes]


class _Query(NamedTuple):
    words: str
    room: RoomId | None


class _Answer(NamedTuple):
    """What was found, newest first; or why not."""

    messages: tuple[Message, ...] = ()
    trouble: str = ""


class SearchDialog(PickDialog[Hit]):
    """Messages by their words, newest first, from all rooms or (Ctrl+R) from the room on the screen.

    `reader` opens the history and is called off the event loop, as are searches: one at a time, and of those that
    wait only the newest. `messages` (oldest first) have been found for `words` already, or are a list to choose from
    as long as there are no words. Such a dialog comes by itself, some time after a command, so that what is typed until
    the first pause is not for it. `today` is for tests.
    """

    WIDTH = 80
    GUARDED = "pause a moment to search"
    CHROME = 5

    def __init__(
        self,
        reader: Callable[[], Reader],
        names: Callable[[Message], str],
        labels: Callable[[RoomId], str],
        *,
        words: str = "",
        current: RoomId | None = None,
        messages: tuple[Message, ...] | None = None,
        today: date | None = None,
    ) -> None:
        super().__init__("Search", _hints(here=False, current=current))
        if messages is not None:
            self.guard = "opening"
        self._reader = reader
        self._names = names
        self._labels = labels
        self._current = current
        self._today = today or datetime.now(UTC).astimezone().date()
        self._wanted = _Query(_normal(words), None)
        self._shown: _Query | None = None
        self._found = _Answer(messages[::-1]) if messages is not None else None
        self._listed = self._found if self._found is not None and not self._wanted.words else _Answer()
        self._busy = False
        self._entered: _Query | None = None  # Enter was pressed before this was found
        self._timer: Timer | None = None

    @override
    def contents(self) -> ComposeResult:
        yield Entry(self._wanted.words, placeholder="words of a message")
        yield Picks(share=0.55)
        yield Paragraph(id="count")

    @override
    def opened(self) -> None:
        self.query_one(Entry).cursor_position = len(self._wanted.words)
        if self._found is not None:
            self._show(self._wanted, self._found)
        else:
            self._begin()

    @override
    def offer(self, typed: str) -> None:
        self._want(typed, self._wanted.room)

    @override
    def entered(self, text: str) -> None:
        self._want(text, self._wanted.room)
        if self._wanted == self._shown:
            self.picks.pick()
        else:
            self._entered = self._wanted if self._wanted.words else None  # never open what was found for other words
            self._begin()

    @override
    def taken(self, event: events.Key, entry: Entry) -> bool:
        return self._toggled(event) or super().taken(event, entry)

    @override
    def pressed(self, event: events.Key) -> bool:
        return self._toggled(event)

    @override
    def picked(self, value: object) -> None:
        if isinstance(value, Hit):
            self.done(value)

    # ------------------------------------------------------------ searching

    def _toggled(self, event: events.Key) -> bool:
        """Ctrl+R or Alt+R: this room, or all."""
        if event.key not in ("ctrl+r", "alt+r") or self._current is None:
            return False
        here = self._wanted.room is None
        self.hint(*_hints(here=here, current=self._current))
        self._want(self._wanted.words, self._current if here else None)
        self._begin()
        return True

    def _want(self, words: str, room: RoomId | None) -> None:
        wanted = _Query(_normal(words), room)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE, self._begin)

    def _begin(self) -> None:
        if not self._wanted.words:
            self._show(self._wanted, self._listed)
        elif not self._busy and self._wanted != self._shown:
            self._busy = True
            self.run_worker(self._search(), name="search")

    async def _search(self) -> None:
        """Search until what was found is what is wanted."""
        try:
            while self._wanted.words and self._wanted != self._shown:
                query = self._wanted
                answer = await asyncio.to_thread(self._look_up, query)
                if query == self._wanted:
                    self._show(query, answer)
        finally:
            self._busy = False

    def _look_up(self, query: _Query) -> _Answer:
        """Read the history; in a thread."""
        try:
            with self._reader() as reader:
                return _Answer(tuple(reversed(reader.search(query.words, room=query.room, limit=LIMIT))))
        except (StoreError, UsageError) as error:
            return _Answer(trouble=SandpiperError.sentence(error))

    # ------------------------------------------------------------ showing

    def _show(self, query: _Query, answer: _Answer) -> None:
        if self._done:
            return
        self._shown = query
        words = query.words.split()
        rows = [self._row(message, words, parts) for message, parts in self._columns(query, answer.messages)]
        where = "this room" if query.room is not None else "all rooms"
        wanted = clean_line(query.words, MAX_WORDS)
        nothing: Line = ()
        if answer.trouble:
            nothing = line(Span(f"! {answer.trouble}", "warn"))
        elif not query.words:
            nothing = line(dim(f"Type words to find messages in {where} that have all of them."))
        elif not rows:
            none = "No message here has: " if query.room is not None else "No message has: "
            nothing = line(dim(none), Span(wanted, "mention"))
        self.picks.show(rows, nothing)
        count = f"the newest {LIMIT}" if len(rows) >= LIMIT else f"{len(rows)} message{'' if len(rows) == 1 else 's'}"
        count += f" in {where}" if query.words else ""
        self.query_one("#count", Paragraph).show(line(dim(count if rows else "")))
        if self._entered == query and rows:
            self.picks.pick()

    def _columns(self, query: _Query, messages: Iterable[Message]) -> list[tuple[Message, tuple[str, str, str]]]:
        """Time, room (when there can be several) and name of each message, each as wide as in the others."""
        rows = [
            (
                message,
                (
                    self._when(message.time),
                    excerpt(self._labels(message.room), MAX_ROOM) if query.room is None else "",
                    excerpt(self._names(message), MAX_NAME),
                ),
            )
            for message in messages
        ]
        widths = [max((columns(parts[n]) for _, parts in rows), default=0) for n in range(3)]
        return [
            (message, (_right(a, widths[0]), _left(b, widths[1]), _left(c, widths[2]))) for message, (a, b, c) in rows
        ]

    def _when(self, time: int) -> str:
        when = clock(time, Look(None, self._today))
        # Where there is no room for both, the day of an older message says more.
        return when.rpartition(" ")[0] if " " in when and self.app.size.width < NARROW else when

    def _row(self, message: Message, words: list[str], parts: tuple[str, str, str]) -> Pick:
        time, room, name = parts
        title = line(dim(f"{time} "), Span(f"{room} " if room else "", "teal"), Span(name, "bold"))
        said = around_spots(plain(message.text), words, LEAD, EXCERPT)
        return Pick(Hit(message.room, message.id, message.place), title, note=said)


def _normal(words: str) -> str:
    return " ".join(words.split())


def _left(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _right(text: str, width: int) -> str:
    return " " * (width - columns(text)) + text


def _hints(*, here: bool, current: RoomId | None) -> tuple[str, ...]:
    toggle = () if current is None else ("ctrl+r all rooms",) if here else ("ctrl+r this room only",)
    return (*toggle, "↑↓ pick", "enter go there", "esc close")
