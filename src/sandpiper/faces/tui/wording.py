"""What the widgets around the transcript call things, in few cells: presence, paths, ages, counts, keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sandpiper.faces.people import PLAIN_MARK, PLAIN_ROOM
from sandpiper.faces.spans import Line, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.faces.tui.views import Around, HubSide, PeerView, RoomView
    from sandpiper.wire.ids import RoomId

MOST = 99  # the highest number that a pill shows
NARROW = 84
"""A screen with fewer columns has no sidebar: header and status line are in their short form."""

MARKS = {"here": Span("●", "good"), "away": Span("◐", "warn"), "gone": Span("○", "faint")}
"""What stands in front of somebody, by their presence."""

Keys = Mapping[str, str | tuple[str, ...]]
"""The key or keys of each action, as Textual spells them."""

_KEY_NAMES = {
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "Esc",
    "delete": "Del",
    "question_mark": "?",
    "slash": "/",
    "underscore": "_",
}
_PATHS = ("lan", "direct", "relay")  # those that have a colour, best first


def drawn_around(around: Around, drawn: Callable[[str], str]) -> Around:
    """The same with all that people have named themselves as it is to be drawn."""
    rooms = (
        replace(
            room,
            label=drawn(room.label),
            topic=drawn(room.topic),
            hub=_drawn_hub(room.hub, drawn),
            held_back=tuple(map(drawn, room.held_back)),
            members=tuple(replace(one, who=replace(one.who, name=drawn(one.who.name))) for one in room.members),
        )
        for room in around.rooms
    )
    peers = (replace(peer, name=drawn(peer.name), status=drawn(peer.status)) for peer in around.peers)
    us = replace(around.us, nick=drawn(around.us.nick), status=drawn(around.us.status))
    return replace(around, us=us, rooms=tuple(rooms), peers=tuple(peers))


def _drawn_hub(hub: HubSide | None, drawn: Callable[[str], str]) -> HubSide | None:
    if hub is None or not hub.people:
        return hub
    return replace(hub, people=tuple(replace(who, name=drawn(who.name)) for who in hub.people))


# ---------------------------------------------------------------- who and where


def find_room(around: Around | None, room: RoomId | None) -> RoomView | None:
    """The room with this id, when we are in it."""
    return next((view for view in around.rooms if view.id == room), None) if around is not None else None


def peer_of(around: Around | None, room: RoomView) -> PeerView | None:
    """The other one of a direct room, when they are known."""
    return next((peer for peer in around.peers if peer.key == room.peer), None) if around is not None else None


def online(around: Around) -> list[PeerView]:
    """Those that are linked now."""
    return [peer for peer in around.peers if peer.presence != "gone"]


def plain_in(around: Around, room: RoomView) -> list[PeerView]:
    """Linked peers in this room that speak the old dialect, which is not encrypted."""
    return [peer for peer in online(around) if peer.plain and (room.id == PLAIN_ROOM or room.peer == peer.key)]


def mode(around: Around) -> str:
    """How we reach others, in a word."""
    paths = {peer.path for peer in online(around)}
    if around.us.multicast:
        return "lan"
    if best := next((path for path in _PATHS if path in paths), ""):
        return best
    return "hub" if any(room.hub is not None and room.hub.up for room in around.rooms) else "offline"


def bare_name(peer: PeerView) -> str:
    """A peer's name without the mark of the old dialect, which is shown in its own style."""
    return peer.name.removesuffix(PLAIN_MARK)


# ---------------------------------------------------------------- numbers


def counted(number: int) -> str:
    """A number that fits a pill."""
    return f"{MOST}+" if number > MOST else str(number)


def pills(unread: int, mentions: int) -> Line:
    """What has not been read as one pill: mentions when there are any, else messages; nothing for none."""
    if mentions:
        return (Span(f" {counted(mentions)}@ ", "pill"),)
    return (Span(f" {counted(unread)} ", "chip"),) if unread else ()


def round_trip(seconds: float) -> str:
    """A round trip: `1ms`, `81ms`, `1.2s`."""
    ms = max(1, round(seconds * 1000))
    return f"{ms}ms" if ms < 1000 else f"{seconds:.1f}s"


def ago(ms: int) -> str:
    """A time that has passed, in milliseconds, by its largest unit: `5m`, `2h`, `3d`, `7w`, `2y`."""
    minutes = max(1, ms // 60_000)
    hours, days = minutes // 60, minutes // 60 // 24
    if days >= 365:
        return f"{days // 365}y"
    if days >= 14:
        return f"{days // 7}w"
    return f"{days}d" if days else f"{hours}h" if hours else f"{minutes}m"


# ---------------------------------------------------------------- how somebody is reached


def path_style(path: str) -> str:
    """The style of a path's word."""
    return path if path in _PATHS else "dim"


def way(peer: PeerView, now: int) -> tuple[Span, str]:
    """How a peer is reached and how fast, or for how long they have not been seen; `now` in ms since 1970."""
    if peer.presence != "gone":
        return Span(peer.path, path_style(peer.path)), round_trip(peer.rtt) if peer.rtt is not None else ""
    return (Span("seen", "faint"), ago(now - peer.seen)) if peer.seen else (Span(""), "")


def path_counts(around: Around) -> Line:
    """How many are linked by which path: `3 lan  1 direct  1 relay`."""
    paths = [peer.path for peer in online(around)]
    spans = [Span(f"  {paths.count(path)} {path}", path) for path in _PATHS if path in paths]
    if other := sum(path not in _PATHS for path in paths if path):
        spans.append(Span(f"  {other} other", "dim"))
    return tuple(spans)


# ---------------------------------------------------------------- keys


def key_name(key: str) -> str:
    """A key as hints write it: `ctrl+k` is `^K`, `f1` is `F1`, `alt+a` is `Alt+A`."""
    *holds, last = key.split("+")
    last = _KEY_NAMES.get(last, last.upper() if len(last) == 1 or last[1:].isdigit() else last.capitalize())
    return "".join("^" if hold == "ctrl" else f"{hold.capitalize()}+" for hold in holds) + last


def key_hint(keys: Keys, action: str) -> str:
    """The key that does an action, as hints write it; empty where there is none."""
    chosen = keys.get(action, "")
    first = chosen if isinstance(chosen, str) else next(iter(chosen), "")
    return key_name(first) if first else ""
