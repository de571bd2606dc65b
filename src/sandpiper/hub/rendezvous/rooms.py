"""Who is registered where, by nameplate or by tag. Pure: it knows no connection and says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

if TYPE_CHECKING:
    from sandpiper.wire.rendezvous import LeaveRoom, LookupRoom, RegisterPeer

Key = str | bytes
"""A nameplate's digits, or a tag's bytes."""


class Registration(Struct, eq=False):
    """One guest in one room, under a name that is drawn for it and means nothing elsewhere."""

    peer: str
    guest: int
    address: str
    room: Room


class Room(Struct, eq=False):
    """One room. Times in seconds of our clock."""

    key: Key
    peers: dict[str, Registration] = {}
    end_at: float = 0.0
    """A nameplate's end; that of a tag is with its last peer."""
    end_unix: int = 0
    empty_since: float = 0.0
    owner: str = ""
    """The address that has asked for the nameplate."""

    @property
    def code(self) -> str | UnsetType:
        """As lines have it."""
        return self.key if isinstance(self.key, str) else UNSET

    @property
    def tag(self) -> bytes | UnsetType:
        """As lines have it."""
        return self.key if isinstance(self.key, bytes) else UNSET


def key_of(line: RegisterPeer | LeaveRoom | LookupRoom) -> Key:
    """The room that a line names; the decoder has seen to it that it is one."""
    if line.code is not UNSET:
        return line.code
    assert line.tag is not UNSET
    return line.tag
