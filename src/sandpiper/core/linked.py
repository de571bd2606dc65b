"""A linked peer as the engine sees it: what it said of itself, and how much it may still send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.limits import FRAME_BURST, FRAME_RATE, HEADS_A_FRAME, PUSH_BURST, PUSH_RATE
from sandpiper.core.rate import Bucket
from sandpiper.wire.admission import Vouch
from sandpiper.wire.frames import Fetch, Heads, Want

if TYPE_CHECKING:
    from sandpiper.core.events import Now, PathKind
    from sandpiper.wire.admission import LinkFrame
    from sandpiper.wire.ids import RoomId, RoomTag


class Linked:
    """A linked peer, from its link's first moment."""

    __slots__ = ("budget", "greeted", "nick", "path", "pushes", "skew_ms", "status", "tags", "told", "vouched")

    def __init__(self, path: PathKind, now: Now, before: Linked | None = None) -> None:
        """`before`: over the link whose place this one takes."""
        self.path = path
        self.greeted = False
        self.told: bool = before is not None and (before.greeted or before.told)  # as linked: its end is told, too
        self.nick: str = before.nick if before is not None else "nameless"
        self.status = ""
        self.skew_ms = 0
        self.tags: frozenset[RoomTag] = frozenset()
        self.vouched: set[RoomId] = set()  # rooms of which we have shown it that we are in them
        self.pushes = Bucket(PUSH_RATE, PUSH_BURST, now.mono)
        self.budget = Bucket(FRAME_RATE, FRAME_BURST, now.mono)


def weight(frame: LinkFrame) -> float:
    """For how many frames this one counts."""
    match frame:
        case Heads(heads=heads) | Want(heads=heads):
            return 1 + len(heads) / HEADS_A_FRAME
        case Fetch(ids=ids):
            return 1.0 + len(ids)
        case Vouch(records=records):
            return 1.0 + len(records)
        case _:
            return 1.0
