"""What the house wants done: frozen values, carried out in order by whoever runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from sandpiper.hub.bus.here import Event
    from sandpiper.hub.bus.log import Entry
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import Barred, Batch, KeptRoom
    from sandpiper.wire.hub.asks import Join
    from sandpiper.wire.ids import PeerKey


class Deliver(NamedTuple):
    """Write the same bytes to each of these guests. `lines`: how many messages that is, or 1 for anything else; counted
    here because counting them in the bytes takes a twentieth of what sending them does.

    `early`: they name nothing that was said, so they need not wait for what was said before while that cannot be told.
    """

    raw: bytes
    to: Collection[Guest]
    early: bool = False
    lines: int = 1


class Cut(NamedTuple):
    """Close this guest's connection, once what was written to it is taken. Only the code is logged: the guest's words
    and an operator's are for nobody but guests.
    """

    guest: Guest
    code: str


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


class Bar(NamedTuple):
    """These are banned from the whole hub from now on, and nobody else."""

    bans: tuple[Barred, ...]


class Recollect(NamedTuple):
    """Read which of the newest messages of a room have an id of their sender, and say `recollected`."""

    room: str
    epoch: str


class Recall(NamedTuple):
    """Read a page of history, and say `recalled` with it."""

    guest: Guest
    room: str
    epoch: str
    before: int
    limit: int


class Search(NamedTuple):
    """Search a room's history, and say `searched` with what was found."""

    guest: Guest
    room: str
    epoch: str
    words: str
    before: int
    limit: int


class Lock(NamedTuple):
    """Hash the password of `ask`, compare it with `lock` (empty: a new room is to be locked), and say `unlocked`."""

    guest: Guest
    ask: Join
    lock: bytes


# ---------------------------------------------------------------- for the cluster, if the hub is in one


class Propose(NamedTuple):
    """Put this into the log of a room; it is done when it comes back."""

    room: str
    entry: Entry


class Open(NamedTuple):
    """Learn all that the cluster knows of the room of `ask`, and say `go_on`."""

    guest: Guest
    ask: Join


class Shut(NamedTuple):
    """Nobody of this hub is in the room: do not follow it. `closed`: what was said in it before this number is void."""

    room: str
    closed: int = 0


class Save(NamedTuple):
    """Keep what a room is now."""

    room: str


class Amend(NamedTuple):
    """Line `id` of a room is not what the log says, as of line `seq`: it has another text (empty: none), or (None) was
    said before and does not count.
    """

    room: str
    id: int
    seq: int
    text: str | None


class Claim(NamedTuple):
    """Have a nick in the whole cluster, and say `claimed`."""

    guest: Guest
    nick: str


class Release(NamedTuple):
    """A nick (folded) of the guest with this number is free again."""

    folded: str
    number: int


class Share(NamedTuple):
    """Tell the other hubs what has happened in a room."""

    room: str
    event: Event


ForCluster = Propose | Open | Shut | Save | Amend | Claim | Release | Share
Effect = Deliver | Cut | Keep | Remember | Own | Bar | Recollect | Recall | Search | Lock | ForCluster
