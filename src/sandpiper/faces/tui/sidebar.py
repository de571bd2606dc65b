"""The sidebar: our rooms and what is unread in them, everybody we know and how they are reached, and ourselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from textual.message import Message
from typing_extensions import override

from sandpiper.faces.people import OTHER_KEY_MARK
from sandpiper.faces.spans import Line, Span
from sandpiper.faces.tui.row import Edge, both_ends, cells, cut, extent
from sandpiper.faces.tui.views import Around, PeerView, RoomView
from sandpiper.faces.tui.wording import MARKS, bare_name, counted, key_hint, mode, online, pills, way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.events import Click, MouseScrollDown, MouseScrollUp

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.wording import Keys
    from sandpiper.wire.ids import PeerKey, RoomId

WIDTH = 31
_MARGIN = 2  # cells on both sides; the bar of the current room stands in the left one
_HEAD = 2  # rows above the list: our name, and an empty one
_LIST = 4  # rows that the list gets at least before we ourselves are shown below it
_WHEEL = 3  # rows a notch
_SHORTEST = 6  # cells of a name that are kept before the path beside it yields


# ---------------------------------------------------------------- in which order


def peers_in_order(around: Around) -> list[PeerView]:
    """Everybody in the order of the sidebar: as told, those who are gone last.

    Somebody whose direct room we are in without knowing them is one of those who are gone.
    """
    known = {peer.key for peer in around.peers}
    unknown = [
        PeerView(room.peer, room.label.removeprefix("@"), 0, False, "gone", "", "", None, 0, room.id, room.unread)
        for room in around.rooms
        if room.peer is not None and room.peer not in known
    ]
    return sorted((*around.peers, *unknown), key=lambda peer: peer.presence == "gone")


def rooms_in_order(around: Around) -> list[RoomId]:
    """The rooms that we are in, in the order of the sidebar: open ones, then direct ones. Alt+1 is the first."""
    direct = {room.peer: room.id for room in around.rooms if room.peer is not None}
    return [
        *(room.id for room in around.rooms if room.peer is None),
        *(direct[peer.key] for peer in peers_in_order(around) if peer.key in direct),
    ]


def next_unread(around: Around, current: RoomId | None) -> RoomId | None:
    """The next room below `current`, and around from the top, that has something unread; None: there is none.

    Rooms where somebody calls us come first: those with mentions and direct ones.
    """
    rooms = {room.id: room for room in around.rooms}
    order = rooms_in_order(around)
    start = order.index(current) + 1 if current in order else 0
    unread = [room for room in order[start:] + order[:start] if room != current and rooms[room].unread]
    calling = [room for room in unread if rooms[room].mentions or rooms[room].peer is not None]
    return next(iter(calling or unread), None)


# ---------------------------------------------------------------- rows


class Row(NamedTuple):
    """One row of the list; `target` is where a click leads."""

    line: Line
    target: RoomView | PeerView | None = None
    current: bool = False
    unread: int = 0
    mentions: int = 0


def list_rows(around: Around, current: RoomId | None, now: int, width: int, jump: str = "") -> list[Row]:
    """All rows of the list, `width` cells wide; `now` in ms since 1970, `jump` is the key that jumps."""
    inner = width - 2 * _MARGIN
    rooms = [room for room in around.rooms if room.peer is None]
    peers = peers_in_order(around)
    unread = {room.peer: room.unread for room in around.rooms if room.peer is not None}
    rows = [Row(both_ends((Span("ROOMS", "bold dim"),), (Span(jump, "faint"),), inner))]
    rows += [_room_row(room, room.id == current, inner) for room in rooms]
    if not rooms:
        rows.append(Row((Span("none: /join #general", "faint"),)))
    rows.append(Row(()))
    shown = next((room for room in rooms if room.id == current and room.hub is not None), None)
    if shown is not None and shown.hub is not None:
        count = f"{shown.others + 1}" if shown.hub.up else "no connection"
        rows.append(Row(both_ends((Span("HERE", "bold dim"),), (Span(count, "faint"),), inner)))
        mark = MARKS["here" if shown.hub.up else "gone"]
        people = shown.hub.people
        rows += [
            Row((Span(f"{mark.text} ", mark.style), Span(cut(who.name, inner - 2), f"nick {who.colour}")))
            for who in people
        ]
        if shown.others > len(people):
            rows.append(Row((Span(f"  and {shown.others - len(people)} more", "faint"),)))
        rows.append(Row(()))
    if private := next((room for room in rooms if room.id == current and room.members), None):
        rows += [*_member_rows(private, inner), Row(())]
    rows.append(Row(both_ends((Span("PEERS", "bold dim"),), (Span(f"{len(online(around))} online", "faint"),), inner)))
    rows += [_peer_row(peer, unread.get(peer.key, peer.unread), peer.room == current, now, inner) for peer in peers]
    return [row._replace(line=(_edge(row.current), *row.line)) for row in rows]


def _edge(current: bool) -> Span:
    return Span("▌ ", "accent") if current else Span("  ")


def _room_row(room: RoomView, current: bool, width: int) -> Row:
    mark, name = (
        ("accent", "bold accent") if current else ("dim", "bold") if room.unread or room.mentions else ("faint", "dim")
    )
    left = (Span("# ", mark), Span(room.label.removeprefix("#"), name))
    right = pills(room.unread, room.mentions)
    return Row(both_ends(left, right, width), room, current, room.unread, room.mentions)


def _member_rows(room: RoomView, width: int) -> list[Row]:
    """Who is a member of a private room, and as what if as more than that."""
    count = f"{sum(one.here for one in room.members)} of {len(room.members)}"
    rows = [Row(both_ends((Span("MEMBERS", "bold dim"),), (Span(count, "faint"),), width))]
    for one in room.members:
        mark = MARKS["here" if one.here else "gone"]
        role = Span(one.role if one.role != "member" else "", "dim")
        verified = Span(" ✓" if one.who.verified else "", "good" if one.here else "faint")
        free = width - 2 - extent((verified,)) - (extent((role,)) + 1 if role.text else 0)
        name = Span(cut(one.who.name, free), f"nick {one.who.colour}" if one.here else "dim")
        rows.append(Row(both_ends((Span(f"{mark.text} ", mark.style), name, verified), (role,), width)))
    return rows


def _peer_row(peer: PeerView, unread: int, current: bool, now: int, width: int) -> Row:
    gone = peer.presence == "gone"
    if peer.plain:
        suffix = Span(" [plain]", "warn")
    elif peer.other_key:
        suffix = Span(OTHER_KEY_MARK, "error")
    elif peer.verified:
        suffix = Span(" ✓", "faint" if gone else "good")
    else:
        suffix = Span("" if gone else " ?", "dim")
    count = Span(f"  {counted(unread)}" if unread else "", "alert")
    word, amount = way(peer, now)
    full = (word, Span(f" {amount:>4}", "faint" if gone else "dim")) if word.text else ()
    name, taken = bare_name(peer), 2 + extent((suffix, count))
    # The time a path takes yields to the name, then the path does, and only then a part of the name.
    wanted = taken + min(cells(name), _SHORTEST)
    right: Line = next(
        (
            way
            for way, needed in ((full, taken + cells(name)), ((word,), taken + cells(name)), ((word,), wanted))
            if needed + 1 + extent(way) <= width
        ),
        (),
    )
    room_for_name = width - taken - (extent(right) + 1 if right else 0)
    style = "dim" if gone else f"nick {peer.colour}"
    if current or unread:
        style = f"bold {style}"
    mark = MARKS[peer.presence]
    left = (Span(f"{mark.text} ", mark.style), Span(cut(name, room_for_name), style), suffix, count)
    return Row(both_ends(left, right, width), peer, current, unread, unread)


def foot_lines(around: Around, width: int) -> list[Line]:
    """Who we are: nick and address, what we have said when we went away, whether anything of us is kept."""
    us, edge = around.us, _edge(False)
    mark = MARKS["away" if us.status else "here"]
    nick, address = Span(us.nick, "bold"), Span(us.address, "dim")
    inner = width - 2 * _MARGIN
    ours = (edge, Span(f"{mark.text} ", mark.style), Span(cut(us.nick, inner - 2), "bold"))
    beside = 4 + extent((nick, address)) <= inner
    lines: list[Line] = [(*ours, Span("  "), address) if beside and address.text else ours]
    for text, style in ((address.text if not beside else "", "dim"), (us.status, "warn")):
        if text:
            lines.append((Span("    "), Span(cut(text, inner - 2), style)))
    if us.temporary:
        lines.append((Span("    "), Span(cut("temporary identity", inner - 2), "dim")))
    return lines


# ---------------------------------------------------------------- the widget


class Sidebar(Edge):
    """Rooms and peers. It scrolls by wheel, and by itself so that the current room is in view."""

    DEFAULT_CSS = """
    Sidebar { width: 31; height: 1fr; padding: 1 0; background: $panel; }
    """

    class RoomChosen(Message):
        """A room was clicked."""

        def __init__(self, room: RoomId) -> None:
            super().__init__()
            self.room = room

    class PeerChosen(Message):
        """Somebody was clicked: `room` is our direct room with them, open or not."""

        def __init__(self, key: PeerKey, name: str, room: RoomId) -> None:
            super().__init__()
            self.key = key
            self.name = name
            self.room = room

    def __init__(
        self,
        looks: Looks,
        keys: Keys,
        *,
        clock: Callable[[], float] = time.time,
        id: str | None = None,
    ) -> None:
        """`keys`: the key of each action, as Textual spells it; `clock` gives seconds since 1970."""
        super().__init__(looks, id=id)
        self._jump = key_hint(keys, "jump")
        self._clock = clock
        self._top = 0  # the first row of the list that is in view
        self._kept: tuple[RoomId | None, int] = (None, 0)  # what was scrolled to: the current room at a height
        self._targets: list[RoomView | PeerView | None] = []  # by row of the list as it is on the screen

    def on_mount(self) -> None:
        """What has been seen `5m` ago is seen `6m` ago in a minute."""
        self.set_interval(60.0, self.redraw, name="ages")

    @property
    @override
    def ground(self) -> str:
        return "panel"

    @override
    def rows(self, width: int, height: int) -> Sequence[Line]:
        around = self._around
        self._targets = []
        if around is None:
            return []
        title = (_edge(False), Span("≈ ", "teal"), Span("sandpiper", "bold accent"), Span(f"    {mode(around)}", "dim"))
        foot = foot_lines(around, width)
        foot = foot[: max(0, height - _HEAD - _LIST)]
        space = max(0, height - _HEAD - len(foot))
        rows = list_rows(around, self._current, int(self._clock() * 1000), width, self._jump)
        if len(rows) >= space and foot:  # an empty row keeps the two apart
            space -= 1
            foot = [(), *foot]
        shown = self._in_view(rows, space, width)
        self._targets = [row.target for row in shown]
        return [title, (), *(row.line for row in shown), *[()] * (space - len(shown)), *foot]

    def _in_view(self, rows: list[Row], space: int, width: int) -> list[Row]:
        """The rows that `space` holds; where others are hidden above or below, a row says how many."""
        last = max(0, len(rows) - space)
        here = next((at for at, row in enumerate(rows) if row.current), None)
        if here is not None and self._kept != (self._current, space):
            self._top = min(self._top, here - 1)
            self._top = max(self._top, here - space + 2)
        self._kept = (self._current, space)
        self._top = top = min(max(self._top, 0), last)
        shown = rows[top : top + space]
        if top and shown:
            shown[0] = _more("↑", rows[: top + 1], width)
        if top < last and shown:
            shown[-1] = _more("↓", rows[top + space - 1 :], width)
        return shown

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Show what is below."""
        event.stop()
        self._top += _WHEEL
        self.redraw()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Show what is above."""
        event.stop()
        self._top = max(0, self._top - _WHEEL)
        self.redraw()

    def on_click(self, event: Click) -> None:
        """Tell which room or person was clicked."""
        offset = event.get_content_offset(self)
        row = offset.y - _HEAD if offset is not None else -1
        if not 0 <= row < len(self._targets):
            return
        match self._targets[row]:
            case RoomView(id=room):
                self.post_message(self.RoomChosen(room))
            case PeerView() as peer:
                self.post_message(self.PeerChosen(peer.key, peer.name, peer.room))
            case None if row == 0 and self._top == 0 and self._jump:
                self.post_message(self.Asked("jump"))
            case None:
                pass


def _more(arrow: str, hidden: list[Row], width: int) -> Row:
    """The row in place of hidden ones: how many rooms and people they are, and what is unread there."""
    count = sum(row.target is not None for row in hidden)
    unread, mentions = sum(row.unread for row in hidden), sum(row.mentions for row in hidden)
    line = both_ends((Span(f"{arrow} {count} more", "dim"),), pills(unread, mentions), width - 2 * _MARGIN)
    return Row((_edge(any(row.current for row in hidden)), *line))
