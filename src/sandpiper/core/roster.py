"""Who may write to a room and who may read it: the one place that admission asks.

Open rooms take anyone; a direct room takes its two members. Private rooms bring a roster of control records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey


class Roster(Protocol):
    """A room's membership."""

    def admits(self, peer: PeerKey) -> bool:
        """True when `peer` may write here and be sent what others wrote."""
        ...


class Everyone:
    """An open room: anyone who asks."""

    def admits(self, peer: PeerKey) -> bool:
        """True for every peer."""
        return True


class Pair:
    """A direct room: the two, forever."""

    def __init__(self, one: PeerKey, other: PeerKey) -> None:
        self._members = frozenset((one, other))

    def admits(self, peer: PeerKey) -> bool:
        """True for the two."""
        return peer in self._members
