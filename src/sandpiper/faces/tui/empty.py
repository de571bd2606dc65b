"""What stands in a room without messages: that nobody is here yet, and how others come here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.config import Address
from sandpiper.faces.people import PLAIN_ROOM_NAME
from sandpiper.faces.spans import Line, Span, fold, line
from sandpiper.faces.tui.row import Drawn, extent
from sandpiper.faces.tui.wording import bare_name, find_room, peer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.geometry import Size

    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Around, PeerView, RoomView, Us
    from sandpiper.wire.ids import RoomId

_INDENT = 2  # cells in front of what is to be typed
_LEAST = 8  # columns: in fewer the lines are cut, not broken
_MARGIN = Span(" " * _INDENT)
_NO_ROOM: list[Line] = [
    line(Span("You are in no room.", "bold")),
    line(Span("Join one:", "dim")),
    (_MARGIN, Span("/join #general", "accent")),
]


def empty_lines(us: Us, room: RoomView, peer: PeerView | None) -> list[Line]:
    """What to say in a room without messages; `peer` is the other one of a direct room."""
    if room.kind == "direct":
        return _direct(room, peer)
    if room.kind == "hub":
        return [line(Span("No messages yet.", "bold")), line(Span("Whoever runs the hub can read all of them.", "dim"))]
    if room.others:
        return [line(Span("No messages yet.", "bold")), line(Span("Say hello; Enter sends.", "dim"))]
    return _waiting() if room.kind == "private" else _alone(us, room)


def _direct(room: RoomView, peer: PeerView | None) -> list[Line]:
    name = bare_name(peer) if peer is not None else room.label.removeprefix("@")
    if peer is not None and peer.plain:
        return [line(Span(f"What is said here is not encrypted: {name} speaks an old dialect.", "warn"))]
    if peer is not None and peer.other_key:
        return [
            line(Span(f"{name} has not the key that you have verified under this name.", "bold error")),
            line(Span("Nothing is sent until you have decided. Compare safety words:", "dim")),
            _typed(f"/verify {name}"),
            line(Span("Write to them all the same:", "dim")),
            _typed(f"/verify {name} accept"),
        ]
    lines = [line("Only you and ", Span(name, "bold"), " can read what is said here.")]
    if peer is None or peer.presence == "gone":
        lines.append(line(Span("What you write is kept, and delivered when you meet.", "dim")))
    if peer is None or not peer.verified:
        lines += [(), line(Span("Make sure that it is really them:", "dim")), _typed(f"/verify {name}")]
    return lines


def _alone(us: Us, room: RoomView) -> list[Line]:
    name = room.label.removeprefix("#")
    where = "" if name == PLAIN_ROOM_NAME else f" --room {name}"
    lines = [line(Span("Nobody here yet.", "bold")), ()]
    if us.multicast:
        lines += [line(Span("Others on this network join you with:", "dim")), _typed(f"sandpiper{where}")]
    if us.address:
        say = "Where beacons do not reach:" if us.multicast else "Beacons are off; others join you with:"
        lines += [line(Span(say, "dim")), _typed(f"sandpiper --peer {_dialled(us)}{where}")]
    return [*lines, line(Span("What may be in the way:", "dim")), _typed("sandpiper doctor")]


def _waiting() -> list[Line]:
    """In a private room of which no other member is here."""
    return [
        line(Span("Nobody else is here.", "bold")),
        line(Span("What you write is kept, and delivered when you meet.", "dim")),
        (),
        line(Span("To let somebody in, give them a code:", "dim")),
        _typed("/invite"),
    ]


def _typed(command: str) -> Line:
    return (_MARGIN, Span(command, "accent"))


def _dialled(us: Us) -> str:
    """Our address as others give it to `--peer`."""
    return us.address if us.address.endswith(f":{us.port}") else str(Address(us.address, us.port))


class EmptyState(Drawn):
    """These lines in the middle of the space that there is; with the style `height: auto`, as high as they are."""

    DEFAULT_CSS = """
    EmptyState { height: 1fr; background: $background; }
    """

    def __init__(self, looks: Looks, *, id: str | None = None) -> None:
        super().__init__(looks, id=id)
        self._lines: list[Line] = []

    def show(self, around: Around, current: RoomId | None) -> None:
        """Show what there is to say in the room on the screen."""
        room = find_room(around, current)
        lines = empty_lines(around.us, room, peer_of(around, room)) if room is not None else _NO_ROOM
        if lines != self._lines:
            taller = len(lines) != len(self._lines)
            self._lines = lines
            if taller and self.styles.is_auto_height:
                self.refresh(layout=True)
            self.redraw()

    def _folded(self, width: int) -> list[Line]:
        """The lines broken to `width` cells; what is to be typed stays indented."""
        return [
            part
            for each in self._lines
            for part in fold(each, width, _INDENT if each[:1] == (_MARGIN,) else 0, least=_LEAST)
        ]

    @override
    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._folded(width - 2 * _INDENT)) + 2  # an empty row above and below

    @override
    def rows(self, width: int, height: int) -> Sequence[Line]:
        lines = self._folded(width - 2 * _INDENT)
        margin = Span(" " * max(0, (width - max(map(extent, lines), default=0)) // 2))
        return [()] * max(0, (height - len(lines)) // 2) + [(margin, *each) for each in lines]
