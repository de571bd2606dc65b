"""What the house wants done: frozen values, carried out in order by whoever runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import Batch, KeptRoom
    from sandpiper.wire.hub.asks import Join
    from sandpiper.wire.ids import PeerKey


class Deliver(NamedTuple):
    """Write the same bytes to each of these guests."""

    raw: bytes
    to: Iterable[Guest]


class Cut(NamedTuple):
    """Close this guest's connection, once what was written to it is taken. `why` is for the log."""

    guest: Guest
    code: str
    why: str


class Keep(NamedTuple):
    """Give a batch of lines to the history."""

    batch: Batch


class Remember(NamedTuple):
    """A room is not what it was: the history keeps what it is now."""

    room: KeptRoom


class Own(NamedTuple):
    """A nick belongs to a key from now on."""

    nick: str
    key: PeerKey


class Recall(NamedTuple):
    """Read a page of history, and say `recalled` with it."""

    guest: Guest
    room: str
    epoch: str
    before: int
    limit: int


class Lock(NamedTuple):
    """Hash the password of `ask`, compare it with `lock` (empty: a new room is to be locked), and say `unlocked`."""

    guest: Guest
    ask: Join
    lock: bytes


Effect = Deliver | Cut | Keep | Remember | Own | Recall | Lock
