"""Who is here and what everything is called on the screen: names, room labels, colours, away messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sandpiper.core.events import PeerChanged
from sandpiper.crypto.rooms import open_room
from sandpiper.errors import UsageError
from sandpiper.faces.colours import Colours
from sandpiper.node import PlainPeer
from sandpiper.wire.ids import short
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from sandpiper.core.room import Room
    from sandpiper.node import Node, NodeNotice
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId

PLAIN_MARK = " [plain]"
PLAIN_ROOM_NAME = "general"  # the one room of the old dialect
PLAIN_ROOM = open_room(PLAIN_ROOM_NAME)


def round_trip(seconds: float) -> str:
    """A round trip in words, as `1ms`."""
    return f"{max(1, round(seconds * 1000))}ms"


def path_label(path: str, rtt: float | None) -> str:
    """A path in words, as `lan 1ms`."""
    return path if rtt is None else f"{path} {round_trip(rtt)}"


def room_label(name: str, peer: str | None) -> str:
    """`#name` of an open room, `@peer` of a direct one."""
    return f"#{name}" if peer is None else f"@{peer}"


class People:
    """The peers of one node as its face knows them. Feed it every notice before showing that notice."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._colours = Colours()
        self.status: dict[PeerKey, str] = {}
        """Away messages of linked peers; empty: present. Its keys are the linked peers."""
        self.plain: dict[PeerKey, str] = {}
        """Linked peers of the old dialect and their nicks."""

    def learn(self, notice: NodeNotice) -> None:
        """Take in who came, went or is away."""
        match notice:
            case PeerChanged(peer=peer, state="linked", status=status):
                self.status[peer] = status
            case PeerChanged(peer=peer):
                self.status.pop(peer, None)
            case PlainPeer(author=author, nick=nick, linked=True):
                self.plain[author] = nick
            case PlainPeer(author=author):
                self.plain.pop(author, None)
            case _:
                pass

    # ------------------------------------------------------------ what things are called

    def name(self, key: PeerKey, room: RoomId | None = None) -> str:
        """What a peer is called, with a suffix where two could be mixed up, and `[plain]` for the old dialect."""
        if key in self.plain:
            return self.plain[key] + PLAIN_MARK
        names = self._node.names
        known = self._node.room(room) if room is not None else None
        if known is not None and known.kind == "hub" and key != self._node.key:
            return known.nicks.get(key) or short(key)  # the hub answers for its names; they are none of ours
        if known is not None and names.nick(key) == short(key) and (nick := known.nicks.get(key)):
            names.learn(key, nick)  # somebody never met, whose records name them
        return names.show(key)

    def author(self, message: Message) -> str:
        """What the author of a stored message is called."""
        if message.hub:
            return message.nick
        if message.plain:
            return message.nick + PLAIN_MARK
        names = self._node.names
        if names.nick(message.author) == short(message.author) and message.nick:
            names.learn(message.author, message.nick)
        return names.show(message.author)

    def room(self, room: RoomId) -> str:
        """`#general`, or `@bob` for the direct room with bob. Rooms that we are not in go by their id."""
        found = self._node.room(room)
        return self.label(found) if found is not None else f"#{short(room)}"

    def label(self, room: Room) -> str:
        """`room` for a room at hand."""
        return room_label(room.name, self.name(room.peer) if room.peer is not None else None)

    def colour(self, key: PeerKey, room: RoomId | None = None) -> int:
        """The colour of a peer's name."""
        return self._colours.of(key, room)

    # ------------------------------------------------------------ who is where

    def here(self, room: RoomId) -> tuple[PeerKey, ...]:
        """The others that are in a room now, plain ones last."""
        plain = tuple(self.plain) if room == PLAIN_ROOM else ()
        return (*self._node.members(room), *plain)

    def hidden(self, key: PeerKey) -> bool:
        """True for a peer that the person ignores."""
        return key in self._node.ignored

    def find(self, text: str, room: RoomId | None = None) -> PeerKey:
        """Whose name this is, with or without `@`; in a `room` of a hub, its people are meant first.

        Raises:
            UsageError: nobody's; the hint names the nearest.
        """
        wanted = text.removeprefix("@")
        known_here = self._node.room(room) if room is not None else None
        if known_here is not None and known_here.kind == "hub":
            for theirs, nick in known_here.nicks.items():
                if nick.casefold() == wanted.casefold():
                    return theirs
        key = self._node.names.find(wanted)
        if key is not None and (key == self._node.key or key in self.status or not self._plain_named(wanted)):
            return key
        if plain := self._plain_named(wanted):
            return plain[0]
        if known_here is not None and known_here.kind == "private":  # members never met, by what admitted them
            for theirs, nick in known_here.nicks.items():
                if nick.casefold() == wanted.casefold():
                    return theirs
        known = (*self._node.names.all(), *self.plain.values())
        near = difflib.get_close_matches(wanted.casefold(), [name.casefold() for name in known], 1)
        raise UsageError(
            f"Nobody is called {clean_line(wanted, 40)} here.",
            hint=f"Did you mean {near[0]}?" if near else "See who is here: /who",
            code="no_peer",
        )

    def _plain_named(self, nick: str) -> list[PeerKey]:
        return [key for key, theirs in self.plain.items() if theirs.casefold() == nick.casefold()]
