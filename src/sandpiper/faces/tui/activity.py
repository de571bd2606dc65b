"""The line above the composer: who is typing, and which messages are still on their way to us."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.spans import Line, Span
from sandpiper.faces.tui.row import Drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Missing, RoomView, Typing
    from sandpiper.wire.ids import RoomId

TYPING_SECONDS = 6.0
"""Who is typing is told again every few seconds; after this long without that they have stopped."""

_LATER = 0.05  # seconds after somebody's time is up that we look, so that it surely is


def typing_line(typers: Sequence[tuple[str, int]]) -> Line:
    """Who is typing, by name and colour: up to two by name, more by number."""
    names = [Span(name, f"nick {colour}") for name, colour in typers]
    match names:
        case []:
            return ()
        case [one]:
            return (one, Span(" is typing…", "dim"))
        case [one, two]:
            return (one, Span(" and ", "dim"), two, Span(" are typing…", "dim"))
        case _:
            return (Span(f"{len(names)} people are typing…", "dim"),)


def missing_line(missing: Sequence[Missing]) -> Line:
    """Which messages are known to exist and not here yet."""
    count = sum(one.count for one in missing)
    if not count:
        return ()
    whom = missing[0].name if len(missing) == 1 else f"{len(missing)} people"
    return (Span(f"{count:,} {_messages(count)} from {whom} missing, fetching", "dim"),)


def fetching_line(count: int) -> Line:
    """How many messages from before we came are on their way."""
    return (Span(f"fetching {count:,} older {_messages(count)}", "dim"),) if count else ()


def _messages(count: int) -> str:
    return "message" if count == 1 else "messages"


class Activity(Drawn):
    """One row above the composer, empty most of the time."""

    DEFAULT_CSS = """
    Activity { height: 1; padding: 0 1; background: $background; }
    """

    def __init__(self, looks: Looks, *, clock: Callable[[], float] = time.monotonic, id: str | None = None) -> None:
        """`clock` gives seconds and does not go back."""
        super().__init__(looks, id=id)
        self._clock = clock
        self._room: RoomView | None = None
        self._typers: dict[tuple[RoomId, str], tuple[int, float]] = {}  # their colour, and until when

    def show(self, room: RoomView | None) -> None:
        """Show what goes on in this room, the one on the screen."""
        if room != self._room:
            self._room = room
            self.redraw()

    def typing(self, typing: Typing) -> None:
        """Somebody is typing, in whichever room."""
        self._typers[typing.room, typing.name] = (typing.colour, self._clock() + TYPING_SECONDS)
        self.set_timer(TYPING_SECONDS + _LATER, self.tick)
        self.redraw()

    def stopped(self, name: str, room: RoomId | None = None) -> None:
        """A message of theirs has come, or they went; None: in the room on the screen."""
        room = room if room is not None or self._room is None else self._room.id
        if room is not None and self._typers.pop((room, name), None) is not None:
            self.redraw()

    def tick(self) -> None:
        """Forget those who have stopped."""
        now = self._clock()
        self._typers = {who: typer for who, typer in self._typers.items() if typer[1] > now}
        self.redraw()

    @override
    def rows(self, width: int, height: int) -> Sequence[Line]:
        room, now = self._room, self._clock()
        if room is None:
            return []
        typers = [
            (name, colour)
            for (where, name), (colour, until) in self._typers.items()
            if where == room.id and until > now
        ]
        spans: list[Span] = []
        for part in (typing_line(typers), missing_line(room.missing), fetching_line(room.fetching)):
            if part:
                spans += (Span(" · ", "faint"), *part) if spans else part
        return [tuple(spans)]
