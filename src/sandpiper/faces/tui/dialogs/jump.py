"""Ctrl+K: go to a room, a person, a command or a message by typing a few of its letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from typing_extensions import override

from sandpiper.faces.commands import COMMANDS
from sandpiper.faces.spans import Line, Span, dim, line
from sandpiper.faces.tui.dialogs.dialog import Entry
from sandpiper.faces.tui.dialogs.matching import highlighted, match
from sandpiper.faces.tui.dialogs.picks import Pick, PickDialog, Picks
from sandpiper.faces.tui.sidebar import rooms_in_order
from sandpiper.faces.tui.wording import MARKS, ago, key_name
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.app import ComposeResult

    from sandpiper.faces.tui.views import Around, PeerView, RoomView

NUMBERED = 9  # rooms that Alt and a digit reach
MAX_FITTING = 8  # of what fits some letters, so that the search below stays in sight
MAX_WORDS = 40  # characters of what is searched for, in its row


class ToRoom(Struct, frozen=True):
    """Show a room."""

    room: RoomId


class ToPeer(Struct, frozen=True):
    """Show the direct room with somebody, opening it if need be."""

    key: PeerKey
    name: str


class ToCommand(Struct, frozen=True):
    """Put this beginning of a command into the composer."""

    text: str


class ToAction(Struct, frozen=True):
    """Do an action of the screen, by its name."""

    name: str


class ToSearch(Struct, frozen=True):
    """Search the history for these words; empty: ask for them."""

    words: str


Target = ToRoom | ToPeer | ToCommand | ToAction | ToSearch


class Action(Struct, frozen=True):
    """Something that the screen can do; `hint` is the key that does the same."""

    name: str
    title: str
    hint: str = ""


class _Way(NamedTuple):
    """One thing that can be gone to. It is found by `names`; the first of them begins what is shown."""

    kind: str
    shown: str
    names: tuple[str, ...]
    target: Target
    mark: Span
    note: str
    hint: str = ""
    unread: bool = False
    here: bool = False


class JumpDialog(PickDialog[Target]):
    """Rooms, people, commands and actions by a few letters; at the end always a search for what was typed.

    A first `#`, `@` or `/` leaves only rooms, people or commands. `current` is the room on the screen; `now` in ms
    since 1970, for tests.
    """

    WIDTH = 66

    def __init__(
        self,
        around: Around,
        actions: Sequence[Action] = (),
        *,
        current: RoomId | None = None,
        search_hint: str = "^F",
        now: int | None = None,
    ) -> None:
        super().__init__("Jump to", ("↑↓ pick", "enter open", "esc close"))
        self._ways = tuple(_ways(around, actions, current, now if now is not None else _now()))
        self._search_hint = search_hint

    @override
    def contents(self) -> ComposeResult:
        yield Entry(placeholder="room, person or command")
        yield Picks()

    @override
    def picked(self, value: object) -> None:
        if isinstance(value, Target):
            self.done(value)

    @override
    def offer(self, typed: str) -> None:
        self.picks.show([*_fitting(self._ways, typed), self._search(typed.strip())])

    def _search(self, words: str) -> Pick:
        shown = clean_line(words, MAX_WORDS)
        title = line("Search history for “", Span(shown, "mention"), "”") if shown else line("Search history")
        return Pick(ToSearch(words), title, Span("⌕", "dim"), (), self._search_hint)


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _ways(around: Around, actions: Sequence[Action], current: RoomId | None, now: int) -> Iterator[_Way]:
    numbers = {room: key_name(f"alt+{n}") for n, room in enumerate(rooms_in_order(around)[:NUMBERED], 1)}
    people = {peer.room for peer in around.peers if not peer.plain}
    for room in around.rooms:
        if room.id not in people:
            yield _room(room, numbers.get(room.id, ""), current)
    for peer in around.peers:
        if not peer.plain:
            yield _person(peer, numbers.get(peer.room, ""), current, now)
    for action in actions:
        mark = Span("/", "teal")
        yield _Way("action", action.title, (action.title,), ToAction(action.name), mark, "", action.hint)
    for command in COMMANDS:
        text = f"/{command.name} " if command.parameters else f"/{command.name}"
        names = (command.name, *command.aliases)
        yield _Way("command", command.usage[1:], names, ToCommand(text), Span("/", "teal"), command.help)


def _unread(what: str, unread: int, mentions: int = 0) -> str:
    told = [what]
    if unread:
        told.append(f"{unread} unread")
    if mentions:
        told.append(f"{mentions} for you")
    return " · ".join(told)


_KINDS = {"open": "open room", "direct": "direct message", "private": "private room", "hub": "room of a hub"}


def _room(room: RoomView, hint: str, current: RoomId | None) -> _Way:
    mark = Span("@" if room.kind == "direct" else "#", "accent" if room.unread else "dim")
    if room.id == current:
        note = "on the screen now"
    elif room.unread:
        note = _unread("room" if room.kind != "direct" else "direct message", room.unread, room.mentions)
    else:
        note = _KINDS[room.kind]
    name = room.label.lstrip("#@") or room.label
    return _Way("room", name, (name,), ToRoom(room.id), mark, note, hint, bool(room.unread), room.id == current)


def _person(peer: PeerView, hint: str, current: RoomId | None, now: int) -> _Way:
    if peer.room == current:
        note = "on the screen now"
    elif peer.unread:
        note = _unread("direct message", peer.unread)
    elif peer.presence == "gone":
        note = f"seen {ago(now - peer.seen)} ago" if peer.seen else "not here"
    else:
        note = "direct message · away" if peer.presence == "away" else "direct message"
    target, mark = ToPeer(peer.key, peer.name), MARKS[peer.presence]
    return _Way("person", peer.name, (peer.name,), target, mark, note, hint, bool(peer.unread), peer.room == current)


_SIGNS = {"#": ("room",), "@": ("person",), "/": ("command", "action")}


def _fitting(ways: Sequence[_Way], typed: str) -> list[Pick]:
    """What fits, the best first; of those that fit alike, rooms before people before commands."""
    query = typed.strip()
    kinds = _SIGNS.get(query[:1])
    if kinds is not None:
        query = query[1:]
    elif not query:
        kinds = ("room", "person")
    offered = [way for way in ways if kinds is None or way.kind in kinds]
    if not query:  # where something waits comes first, where one is already comes last
        return [_pick(way, ()) for way in sorted(offered, key=lambda way: (not way.unread, way.here))]
    found: list[tuple[int, _Way, tuple[int, ...]]] = []
    for way in offered:
        best = max(
            ((fit.score, -number, fit) for number, name in enumerate(way.names) if (fit := match(query, name))),
            default=None,
        )
        if best is not None:
            found.append((best[0], way, best[2].places if best[1] == 0 else ()))
    found.sort(key=lambda each: -each[0])
    return [_pick(way, places) for _, way, places in found[:MAX_FITTING]]


def _pick(way: _Way, places: tuple[int, ...]) -> Pick:
    title: Line = highlighted(way.shown, places)
    return Pick(way.target, title, way.mark, line(dim(way.note)), way.hint)
