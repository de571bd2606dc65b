"""What line mode tells, in whichever form: `transcript` for people, `stream` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.faces.spans import Line
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import NodeNotice
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId


class Start(Struct, frozen=True):
    """Who we are in this run. `notes` are sentences that the profile has for its owner."""

    key: PeerKey
    nick: str
    profile: str
    port: int
    temporary: bool
    notes: tuple[str, ...]
    compat: bool


class Report(Protocol):
    """Tells one reader what happens. All calls on the event loop; none of them waits."""

    room: RoomId | None
    """The current room, which need not be named in every line."""

    def started(self, start: Start, earlier: Sequence[Message]) -> None:
        """The node runs. `earlier`: the last messages of the room that it starts in."""
        ...

    def notice(self, notice: NodeNotice) -> None:
        """Something happened."""
        ...

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """The answer of a command; `code` is the command's name."""
        ...

    def listing(self, messages: Sequence[Message]) -> None:
        """Messages that were asked for, with their ids."""
        ...

    def compare(self, comparison: Comparison) -> None:
        """Safety words that were asked for."""
        ...

    def narrate(self, code: str, text: str, hint: str = "") -> None:
        """Something worth knowing that a quiet face leaves out."""
        ...

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """Something failed: what, why, what next."""
        ...
