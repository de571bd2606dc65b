"""What a node is told at its start, and what it tells beside the engine's own notices."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from sandpiper.core.events import Notice, Now
from sandpiper.crypto.codes import Code
from sandpiper.net.hub import HubAddress
from sandpiper.net.relays import RelayAddress
from sandpiper.wire.beacon import DEFAULT_GROUP, DEFAULT_PORT
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Edit, React, Retract

DEFAULT_PORTS = range(8080, 9000)  # as the founding project


class NodeSettings(Struct, frozen=True):
    """Where a node listens and whom it looks for.

    It listens on the first free one of `ports`, on all addresses or on `hosts`. `interfaces` are names, empty means
    all; `peers` are addresses to dial always; `plain` switches the old p2pchat dialect on; `relays` are where members
    of private rooms meet who do not reach each other on a LAN; with `port_mapping` the router is asked for a port then.
    """

    ports: range = DEFAULT_PORTS
    hosts: tuple[str, ...] = ()
    group: str = DEFAULT_GROUP
    group_port: int = DEFAULT_PORT
    multicast: bool = True
    interfaces: tuple[str, ...] = ()
    peers: tuple[tuple[str, int], ...] = ()
    plain: bool = False
    relays: tuple[RelayAddress, ...] = ()
    port_mapping: bool = False


class Problem(Struct, frozen=True):
    """Something a person must know: what happened, and what to do next."""

    code: str
    text: str
    hint: str = ""


class PlainMessage(Struct, frozen=True):
    """Something that nobody signed was said: by a peer of the old dialect in the open room, or on a hub. `time` is in
    ms since 1970. `history`: it was said before we came in, or while we were away.
    """

    room: RoomId
    id: RecordId
    author: PeerKey
    nick: str
    time: int
    text: str
    action: bool = False
    reply_to: bytes = b""
    mine: bool = False
    history: bool = False
    hub: bool = False
    clock: int = 0
    """With `id` its place in the room; 0: `time` is."""


class PlainPeer(Struct, frozen=True):
    """A peer of the old dialect came or went."""

    author: PeerKey
    nick: str
    linked: bool


class HubNews(Struct, frozen=True):
    """Something happened on a hub, in one of its rooms or (None) in all. `coming`: somebody came, went or changed."""

    room: RoomId | None
    code: str
    text: str
    hint: str = ""
    coming: bool = False


class HubChange(Struct, frozen=True):
    """Somebody changed a message of a hub's room, took it back, or put an emoji on it. `time` is in ms since 1970;
    `history` as in `PlainMessage`.
    """

    room: RoomId
    author: PeerKey
    nick: str
    time: int
    body: Edit | Retract | React
    mine: bool = False
    history: bool = False


class PasswordWanted(Struct, frozen=True):
    """A hub's room, or (empty `room`) the hub itself, is locked. Give the password to `Node.connect_hub`; `label` is
    what the locked thing is called.
    """

    hub: HubAddress
    room: str
    label: str
    text: str
    wrong: bool = False


class CodePassword(Struct, frozen=True):
    """The room of a code has a password besides, which the person is to be asked for; it is given to `Codes.join`."""

    code: Code
    wrong: bool = False

    @property
    def label(self) -> str:
        """What the password is of: the number alone, which everybody may see."""
        return f"the room of code {self.code.nameplate}"

    @property
    def text(self) -> str:
        """What the person is told."""
        return "This room has a password besides the code."


class CodeMade(Struct, frozen=True):
    """There is a code with which others may join a private room: for the eyes of the person. `relay` is where it can
    be used besides this network, as the other side names it; empty: nowhere.
    """

    room: RoomId
    code: Code
    relay: str = ""


class KeyChanged(Struct, frozen=True):
    """`peer` comes with the name of `holder`, a verified key, and is not it: nothing is sent to it until the person has
    decided (`Node.trust`). `room` is the private room of which it is a member, if one is concerned.
    """

    peer: PeerKey
    holder: PeerKey
    room: RoomId | None = None


class MeetingNews(Struct, frozen=True):
    """Something happened at a rendezvous, or on the way into a private room."""

    code: str
    text: str
    hint: str = ""


_OfHubs = HubNews | HubChange | PasswordWanted
NodeNotice = Notice | Problem | PlainMessage | PlainPeer | _OfHubs | CodeMade | KeyChanged | MeetingNews
Subscriber = Callable[[NodeNotice], None]


def moment() -> Now:
    """Now, on both clocks."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)
