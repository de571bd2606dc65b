"""The line above the transcript: which room this is, what it is about, and who can read it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.spans import Line, Span
from sandpiper.faces.tui.row import Edge, both_ends, cells, cut, extent, fitted
from sandpiper.faces.tui.wording import (
    MARKS,
    ago,
    bare_name,
    counted,
    find_room,
    key_hint,
    path_style,
    peer_of,
    plain_in,
    round_trip,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.events import Click

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Around, PeerView, RoomView
    from sandpiper.faces.tui.wording import Keys

_LEAST_TOPIC = 12  # cells: of a topic with less room than that nothing is shown


def presence(peer: PeerView, now: int) -> Line:
    """How somebody is here: `● here`, `◐ away: lunch`, `○ seen 2h ago`; `now` in ms since 1970."""
    text: str = peer.presence
    if peer.presence == "away" and peer.status:
        text = f"away: {peer.status}"
    elif peer.presence == "gone":
        text = f"seen {ago(now - peer.seen)} ago" if peer.seen else "not here"
    mark = MARKS[peer.presence]
    spans = [Span(f"{mark.text} ", mark.style), Span(text, "dim")]
    if peer.presence != "gone" and peer.path:
        spans.append(Span(f"  {peer.path}", path_style(peer.path)))
        if peer.rtt is not None:
            spans.append(Span(f" {round_trip(peer.rtt)}", "dim"))
    return tuple(spans)


def readers(around: Around, room: RoomView) -> tuple[Line, Line]:
    """Who can read what is said in a room: in a word, and in words."""
    peer = peer_of(around, room)
    if room.held_back:
        sign, words = Span("HELD BACK", "bold error"), f" another key: {room.held_back[0]}"
    elif room.kind == "open":
        sign, words = Span("OPEN", "bold accent"), " anyone on this network can read"
    elif room.kind == "hub":
        sign, words = Span("HUB", "bold warn"), " whoever runs it can read"
    elif room.kind == "private":
        sign, words = Span("E2E", "bold good"), " its members alone can read"
    elif plain_in(around, room):
        sign, words = Span("PLAIN", "bold warn"), " not encrypted"
    elif peer is not None and peer.verified:
        sign, words = Span("E2E ✓", "bold good"), " verified"
    else:
        sign, words = Span("E2E", "bold good"), " not verified yet"
    return (sign,), (sign, Span(words, "dim"))


def wide(around: Around, room: RoomView, now: int, width: int) -> Line:
    """The header beside a sidebar, `width` cells wide."""
    sign, long_sign = readers(around, room)
    peer = peer_of(around, room)
    about: Line = presence(peer, now) if peer is not None else (Span(room.topic, "dim"),) if room.topic else ()
    mark, name = _named(room, peer)
    left = (mark, name, *((Span("   "), *about) if about else ()))
    # Where not all has space, the explanation yields, then the end of the topic.
    right = long_sign if extent(left) + 2 + extent(long_sign) <= width else sign
    if extent((mark, name)) + 3 + _LEAST_TOPIC + 2 + extent(right) > width and extent(left) + 2 + extent(right) > width:
        left = (mark, name)
    return both_ends(left, right, width, gap=2)


def narrow(around: Around, room: RoomView | None, now: int, width: int, jump: str) -> tuple[Line, Line]:
    """The header in place of a sidebar, left and right: the room, and what is unread elsewhere and the key to it."""
    others = [other for other in around.rooms if room is None or other.id != room.id]
    waiting = _other_pills(others)
    hint: Line = (Span("  " if waiting else ""), Span(f"{jump} jump", "dim")) if jump else ()
    if room is None:
        return (Span("no room", "dim"),), (*waiting, *hint)
    peer = peer_of(around, room)
    mark, name = _named(room, peer)
    about = presence(peer, now) if peer is not None else (Span(f"{room.others + 1} here", "dim"),)
    left = (mark, name, Span("  "), *about)
    for right in ((*waiting, *hint), waiting):  # the hint yields first, then who is here, then the name
        if extent(left) + 1 + extent(right) <= width:
            return left, right
    return (mark, Span(cut(name.text, width - cells(mark.text) - 1 - extent(waiting)), name.style)), waiting


def _other_pills(rooms: Sequence[RoomView]) -> Line:
    """What is unread in these rooms together: messages, and mentions when there are any."""
    unread, mentions = sum(room.unread for room in rooms), sum(room.mentions for room in rooms)
    spans = []
    if unread:
        spans.append(Span(f" {counted(unread)} ", "chip"))
    if mentions:
        spans.append(Span(f" {counted(mentions)}@ ", "pill"))
    return tuple(spans)


def _named(room: RoomView, peer: PeerView | None) -> tuple[Span, Span]:
    if room.kind != "direct":
        return Span("# ", "accent"), Span(room.label.removeprefix("#"), "bold")
    if peer is None:
        return Span("@ ", "accent"), Span(room.label.removeprefix("@"), "bold")
    return Span("@ ", "accent"), Span(bare_name(peer), f"bold nick {peer.colour}")


class Header(Edge):
    """Two rows beside the sidebar (the second is a rule), one row where there is none: set `narrow`."""

    DEFAULT_CSS = """
    Header { height: 3; padding: 1 0 0 0; background: $background; }
    Header.-narrow { height: 1; padding: 0; background: $panel; }
    """

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
        self._right = 0  # where the pills of the narrow header begin

    @property
    @override
    def ground(self) -> str:
        return "panel" if self.narrow else "background"

    def on_mount(self) -> None:
        """Times that somebody was seen before go on."""
        self.set_interval(60.0, self.redraw, name="ages")

    @override
    def rows(self, width: int, height: int) -> Sequence[Line]:
        around, room = self._around, find_room(self._around, self._current)
        now = int(self._clock() * 1000)
        if around is None:
            return []
        if self.narrow:
            left, right = narrow(around, room, now, width - 2, self._jump)
            self._right = width - 1 - extent(right)
            return [(Span(" "), *both_ends(left, right, width - 2))]
        if room is None:
            first = fitted((Span("no room", "dim"), Span("   join one: /join #general", "faint")), width - 2)
        else:
            first = wide(around, room, now, width - 2)
        return [(Span(" "), *first), (Span("─" * width, "rule"),)]

    def on_click(self, event: Click) -> None:
        """The narrow header's pills and hint lead to the list of rooms."""
        offset = event.get_content_offset(self)
        if self.narrow and offset is not None and offset.x >= self._right:
            self.post_message(self.Asked("jump"))
