"""What passes between the screen and the backstage: frozen values in both directions, and nothing else.

The screen asks by calling `Backstage`, which never waits; the backstage tells with tuples of `Update`s. Every text in
them is safe to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from sandpiper.core.control import MemberRole
from sandpiper.core.events import RoomKind
from sandpiper.crypto.codes import Code
from sandpiper.faces.spans import Line
from sandpiper.faces.verifying import Comparison
from sandpiper.node.notices import CodePassword, PasswordWanted
from sandpiper.store.reader import Message
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

if TYPE_CHECKING:
    from sandpiper.store.reader import Reader

Place = tuple[int, bytes]
"""Where an entry stands in its room: order clock and record id (`Message.place`)."""

Presence = Literal["here", "away", "gone"]


# ---------------------------------------------------------------- how things are


class Us(Struct, frozen=True):
    """Who we are in this run. `address` is where others on this network reach us."""

    key: PeerKey
    nick: str
    status: str
    temporary: bool
    address: str
    port: int
    multicast: bool


class Who(Struct, frozen=True):
    """What somebody is called; `colour` is an index into the palette of a theme, as `faces.colours` gives it."""

    name: str
    colour: int
    verified: bool = False
    plain: bool = False


class Missing(Struct, frozen=True):
    """`count` messages of somebody are known to exist and not here yet."""

    name: str
    count: int


class HubSide(Struct, frozen=True):
    """How a hub's room is reached: `up` when the hub answers, over `tls`; `rtt` in seconds. `people` are in the room
    beside us, of those that the hub names; only for the room on the screen.
    """

    up: bool
    tls: bool
    rtt: float | None = None
    people: tuple[Who, ...] = ()


class Membering(Struct, frozen=True):
    """A member of a private room; `here`: linked now, `us`: it is we."""

    who: Who
    role: MemberRole
    here: bool
    us: bool = False


class RoomView(Struct, frozen=True):
    """A room that we are in. `others` are linked members; `read` is the place of the newest message ever seen in it;
    `fetching` older messages are on their way; `hub` is there when it is a hub's. Nothing is sent as long as somebody
    is `held_back` from. `members` of a private room, the highest first; only for the room on the screen.
    """

    id: RoomId
    label: str
    kind: RoomKind
    peer: PeerKey | None
    topic: str
    others: int
    unread: int
    mentions: int
    read: Place
    fetching: int = 0
    missing: tuple[Missing, ...] = ()
    hub: HubSide | None = None
    held_back: tuple[str, ...] = ()
    members: tuple[Membering, ...] = ()


class PeerView(Struct, frozen=True):
    """Somebody, linked now or known from before. `room` is our direct room with them, open or not; `seen` is when they
    were last linked, ms since 1970 (0: now, or unknown); `rtt` in seconds; `other_key`: it has a verified name and is
    not the key that was verified.
    """

    key: PeerKey
    name: str
    colour: int
    verified: bool
    presence: Presence
    status: str
    path: str
    rtt: float | None
    seen: int
    room: RoomId
    unread: int
    plain: bool = False
    other_key: bool = False


# ---------------------------------------------------------------- what the backstage tells


class Around(Struct, frozen=True):
    """Everything around the transcript as it is now; sent anew when something of it has changed. What `ignored` peers
    say is not told, and `Backstage.reader` leaves it out.
    """

    us: Us
    rooms: tuple[RoomView, ...]
    peers: tuple[PeerView, ...]
    ignored: frozenset[PeerKey] = frozenset()
    elsewhere: tuple[str, ...] = ()
    """Rooms of our hubs in which we are not, as `dev@hub.example`."""


class Named(Struct, frozen=True):
    """What authors are called in a room from now on, in addition to those named before (colours are by room)."""

    room: RoomId
    who: dict[PeerKey, Who]


class Said(Struct, frozen=True):
    """Messages of one room, new ones and those that have changed, in the order of the room.

    `fresh` are those of them that somebody else has just said (not caught up with); `ahead` are not in their place yet.
    """

    room: RoomId
    messages: tuple[Message, ...]
    fresh: frozenset[RecordId] = frozenset()
    ahead: frozenset[RecordId] = frozenset()


class Delivery(Struct, frozen=True):
    """How far our message has come: `delivered` of `members` linked others hold it."""

    room: RoomId
    id: RecordId
    delivered: int
    members: int


class Note(Struct, frozen=True):
    """Lines that are no message: somebody came, the answer of a command. `room` None: for whatever is on the screen.

    `kind`: something happened, an answer, something is wrong. `time` in ms since 1970.
    """

    room: RoomId | None
    kind: Literal["event", "reply", "trouble"]
    lines: tuple[Line, ...]
    time: int


class OtherKey(Struct, frozen=True):
    """Somebody comes with a verified name under another key: `lines` say what that means. It opens a dialog."""

    key: PeerKey
    name: str
    lines: tuple[Line, ...]


class Invited(Struct, frozen=True):
    """A code was made for a room of this `label`; `relay` as in `CodeMade`. It opens a dialog."""

    label: str
    code: Code
    relay: str


class Joining(Struct, frozen=True):
    """How far the way into a private room has come, for a dialog that shows it; empty: it is over."""

    step: str


class NotDone(Struct, frozen=True):
    """What was typed could not be done; `typed` belongs back into the composer. A `Note` has said why."""

    room: RoomId | None
    typed: str


class Found(Struct, frozen=True):
    """The answer of /search (with its words) or /history (without): messages, oldest first."""

    words: str
    messages: tuple[Message, ...]


class Typing(Struct, frozen=True):
    """Somebody is typing."""

    room: RoomId
    name: str
    colour: int


class Show(Struct, frozen=True):
    """Make a room the current one; None: there is none left."""

    room: RoomId | None


class Clear(Struct, frozen=True):
    """Empty the screen of the current room; the history stays."""


class Ended(Struct, frozen=True):
    """The node has ended; `sentence` says why, when that was no ordinary end (`code` is the exit code then)."""

    sentence: str = ""
    code: int = 0


# A `Comparison` opens the dialog that compares safety words.
# A `PasswordWanted` or `CodePassword` opens the one that asks for a password.
Update = (
    Around | Named | Said | Delivery | Note | OtherKey | Invited | Joining | NotDone | Found | Typing | Comparison
    | PasswordWanted | CodePassword | Show | Clear | Ended
)  # fmt: skip


# ---------------------------------------------------------------- what the screen asks


class Backstage(Protocol):
    """The node as the screen sees it. Calls are done in their order, later; none of them waits or raises."""

    def obey(self, room: RoomId | None, text: str) -> None:
        """Do what was typed while `room` was on the screen: a slash command or a message."""
        ...

    def look(self, room: RoomId | None, *, focused: bool) -> None:
        """This room is on the screen now; `focused`: a person sees it."""
        ...

    def read(self, room: RoomId, place: Place) -> None:
        """Everything up to `place` has been seen."""
        ...

    def typing(self, room: RoomId) -> None:
        """The person is typing a message (call it at every key; the engine tells others at most every few seconds)."""
        ...

    def verify(self, key: PeerKey, *, verified: bool) -> None:
        """The safety words were the same, or were not."""
        ...

    def unlock(self, wanted: PasswordWanted | CodePassword, password: str | None) -> None:
        """Use a password that was asked for; None: the person would rather not."""
        ...

    def open_direct(self, key: PeerKey) -> None:
        """Open the direct room with this key and show it; a `Note` says why when there can be none."""
        ...

    def stop(self) -> None:
        """Say goodbye, put everything on the disk and end; `Ended` comes when that is done."""
        ...

    def reader(self) -> Reader:
        """A connection for reading the history without those who are ignored, for use off the event loop. Only after
        the first `Around`.

        Raises:
            StoreError: the history cannot be read.
        """
        ...


class Ask(Protocol):
    """How the backstage asks the person before a profile is open. These wait for the answer; not on the event loop."""

    def nick(self, suggested: str) -> str:
        """The nick of a new profile, checked; raises `UsageError` when the person would rather leave."""
        ...

    def passphrase(self, prompt: str) -> str:
        """The passphrase of a sealed identity."""
        ...

    def password(self, wanted: CodePassword) -> str:
        """The password of the room to begin in; empty when the person would rather not."""
        ...
