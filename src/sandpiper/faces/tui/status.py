"""The last row of the screen: how we are linked, who can read the room, and the keys to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from sandpiper.faces.spans import Line, Span
from sandpiper.faces.tui.keys import KEYS
from sandpiper.faces.tui.row import Edge, extent, fitted
from sandpiper.faces.tui.wording import (
    NARROW,
    find_room,
    key_hint,
    mode,
    online,
    path_counts,
    peer_of,
    plain_in,
    round_trip,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.events import Click

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Around, RoomView
    from sandpiper.faces.tui.wording import Keys

_APART = (Span("  │  ", "faint"),)
_GAP = (Span("  "),)


class Hint(NamedTuple):
    """A key and what it does."""

    action: str
    line: Line


class Laid(NamedTuple):
    """A status line, and which cells of it are hints: from, up to, action."""

    line: Line
    hits: tuple[tuple[int, int, str], ...]


def hints(keys: Keys) -> tuple[Hint, ...]:
    """The hints of actions that have one and a key, in the order of the table of keys."""
    return tuple(
        Hint(row.action, (Span(key, "accent"), Span(f" {row.label}", "dim")))
        for row in KEYS
        if row.label and (key := key_hint(keys, row.action))
    )


def links(around: Around, room: RoomView | None, *, counts: bool) -> Line:
    """How we are linked: `● lan  3 lan  1 relay`, or that nobody is; in a hub's room, whether the hub is there."""
    if room is not None and room.hub is not None:
        if not room.hub.up:
            return (Span("○ ", "warn"), Span("no connection", "warn"))
        way = (Span(f" {round_trip(room.hub.rtt)}", "dim"),) if counts and room.hub.rtt is not None else ()
        tls = (Span(" TLS" if room.hub.tls else " no TLS", "dim"),) if counts else ()
        return (Span("● ", "good"), Span("hub"), *way, *tls)
    if not online(around):
        return (Span("○ ", "faint"), Span("nobody linked", "dim"))
    return (Span("● ", "good"), Span(mode(around)), *(path_counts(around) if counts else ()))


def security(around: Around, room: RoomView, *, words: int) -> list[Line]:
    """Who can read the room; `words`: 2 in words, 1 in short, 0 the sign alone."""
    if room.held_back:
        said = [_sign("HELD BACK", "bold error", ("", "nothing sent", f"nothing is sent: {room.held_back[0]}")[words])]
    elif room.kind == "open":
        said = [_sign("OPEN", "bold accent", "anyone on this network can read along" if words == 2 else "")]
    elif room.kind == "hub":
        said = [_sign("HUB", "bold warn", ("", "can read", "whoever runs it can read along")[words])]
    elif room.kind == "private":
        others = [member for member in room.members if not member.us]
        sure = sum(member.who.verified for member in others)
        verified = ("", f"{sure}/{len(others)} verified", f"{sure} of {len(others)} verified")
        alone = ("", "members", "its members alone can read along")
        said = [_sign("E2E", "bold good", (verified if others else alone)[words])]
    else:
        peer = peer_of(around, room)
        of = int(peer is not None and peer.verified)
        said = [_sign("E2E", "bold good", ("", f"{of}/1 verified", f"{of} of 1 verified")[words])]
    if plain := len(plain_in(around, room)):
        said.append(_sign("PLAIN", "bold warn", f"{plain} here without encryption" if words == 2 else ""))
    return said


def _sign(word: str, style: str, text: str) -> Line:
    return (Span(word, style), Span(f" {text}", "dim")) if text else (Span(word, style),)


def laid_out(around: Around, room: RoomView | None, keys: Sequence[Hint], width: int, *, narrow: bool) -> Laid:
    """The status line in `width` cells: hints yield from the left but the last, then details, then the last hint."""
    choices = [keys[-1:]] if narrow else [keys[first:] for first in range(max(1, len(keys)))]
    apart = _GAP if narrow else _APART
    for details in _details(around, room, narrow=narrow):
        line = _joined(details, apart)
        for shown in choices:
            taken = extent(_joined([hint.line for hint in shown], _GAP))
            free = width - extent(line) - taken
            if free >= 2 or not shown:
                gap = 2 if narrow else free
                return _with_hints((*line, Span(" " * gap)) if shown else line, shown, extent(line) + gap)
    return Laid(fitted(links(around, room, counts=False), width), ())


def _details(around: Around, room: RoomView | None, *, narrow: bool) -> Iterator[list[Line]]:
    """What stands left of the hints, from the longest to the shortest."""
    for counts, words in ((False, 1), (False, 0)) if narrow else ((True, 2), (True, 1), (False, 1), (False, 0)):
        yield [links(around, room, counts=counts), *(security(around, room, words=words) if room is not None else ())]
    if room is not None:
        yield security(around, room, words=0)  # who can read along is said as long as anything is
    yield [links(around, room, counts=False)]


def _joined(parts: Sequence[Line], between: Line) -> Line:
    spans: list[Span] = []
    for part in parts:
        spans += (*between, *part) if spans else part
    return tuple(spans)


def _with_hints(line: Line, shown: Sequence[Hint], start: int) -> Laid:
    hits = []
    for hint in shown:
        hits.append((start, start + extent(hint.line), hint.action))
        start = hits[-1][1] + extent(_GAP)
    return Laid((*line, *_joined([hint.line for hint in shown], _GAP)), tuple(hits))


class StatusLine(Edge):
    """One row at the bottom of the screen."""

    DEFAULT_CSS = """
    StatusLine { height: 1; }
    """

    def __init__(self, looks: Looks, keys: Keys, *, id: str | None = None) -> None:
        """`keys`: the key of each action, as Textual spells it; actions without one are not hinted."""
        super().__init__(looks, id=id)
        self._hints = hints(keys)
        self._hits: tuple[tuple[int, int, str], ...] = ()

    @property
    @override
    def ground(self) -> str:
        return "bar"

    @override
    def rows(self, width: int, height: int) -> Sequence[Line]:
        if self._around is None:
            return []
        room = find_room(self._around, self._current)
        laid = laid_out(self._around, room, self._hints, width - 2, narrow=width < NARROW)
        self._hits = laid.hits
        return [(Span(" "), *laid.line)]

    def on_click(self, event: Click) -> None:
        """Do what the hint under the pointer says."""
        offset = event.get_content_offset(self)
        for start, end, action in self._hits if offset is not None else ():
            if offset is not None and start <= offset.x - 1 < end:
                self.post_message(self.Asked(action))
