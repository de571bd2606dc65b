"""Who is here and what everything is called on the screen: names, room labels, colours, away messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sandpiper.core.events import PeerChanged
from sandpiper.core.names import LEAST_DIGITS, NICK_MARK, alike
from sandpiper.crypto.rooms import open_room
from sandpiper.errors import UsageError
from sandpiper.faces.colours import Colours
from sandpiper.net.hub import parse_hub
from sandpiper.node import PlainPeer
from sandpiper.node.onhub import hub_author
from sandpiper.wire.ids import short
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.core.room import Room
    from sandpiper.node import Node, NodeNotice
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId

PLAIN_MARK = " [plain]"
OPEN = "open"  # behind the name of a room and `~`: the open one, whatever private rooms have that name
OTHER_KEY_MARK = " [other key]"
"""Stands behind the name of whoever comes with a verified name under another key, until the person has decided."""
PLAIN_ROOM_NAME = "general"  # the one room of the old dialect
PLAIN_ROOM = open_room(PLAIN_ROOM_NAME)


def round_trip(seconds: float) -> str:
    """A round trip in words, as `1ms`."""
    return f"{max(1, round(seconds * 1000))}ms"


def path_label(path: str, rtt: float | None, why: str = "") -> str:
    """A path in words, as `lan 1ms` or, when there is more to say, `relay 81ms (a direct way is being tried)`."""
    label = path if rtt is None else f"{path} {round_trip(rtt)}"
    return f"{label} ({why})" if why and path != "lan" else label


def room_label(name: str, peer: str | None) -> str:
    """`#name` of an open room, `@peer` of a direct one."""
    return f"#{name}" if peer is None else f"@{peer}"


def told_apart(room: RoomId, kind: str, others: Iterable[RoomId]) -> str:
    """What stands behind the name of a room while `others` have the same: of an open room nothing, since everybody
    means the same one by its name; of a private one digits of its id. Anybody can give theirs any name.
    """
    if kind != "private" or not (ids := [other.hex() for other in others]):
        return ""
    length = next(n for n in range(LEAST_DIGITS, 65) if all(not one.startswith(room.hex()[:n]) for one in ids))
    return f"{NICK_MARK}{room.hex()[:length]}"


def ambiguous(text: str, names: Iterable[str]) -> UsageError:
    """A name that several rooms have, and what tells them apart."""
    return UsageError(
        f"Several rooms are called {clean_line(text, 60)}.", hint=f"Say which: {' '.join(names)}", code="ambiguous"
    )


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

    @property
    def me(self) -> PeerKey:
        """Our own key."""
        return self._node.key

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

    def pinned(self, key: PeerKey) -> str:
        """The nick under which the person has verified a key; empty: under none."""
        return self._node.names.pinned(key)

    def marked(self, key: PeerKey, room: RoomId | None = None) -> str:
        """The same, and whether it is another key than the one verified under that name."""
        return self.name(key, room) + (OTHER_KEY_MARK if self.rival(key, room) is not None else "")

    def rival(self, key: PeerKey, room: RoomId | None = None) -> PeerKey | None:
        """The verified key whose name somebody comes with under another one; see `Trust.rival`."""
        return None if key in self.plain else self._node.trust.rival(key, room)

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
        label = room_label(room.name, self.name(room.peer) if room.peer is not None else None)
        if room.kind != "private":
            return label
        return label + told_apart(room.id, room.kind, [one.id for one in self.namesakes(room.name) if one is not room])

    def namesakes(self, name: str) -> list[Room]:
        """The open and private rooms of this name that we are in."""
        return [room for room in self._node.rooms() if room.name == name and room.kind in ("open", "private")]

    def rooms_named(self, text: str) -> list[Room]:
        """The rooms that we are in and that may be meant: by their label, or by a name that others have, too."""
        wanted = text.casefold()
        label = wanted if wanted[:1] in ("#", "@") else f"#{wanted}"
        name, _, which = label.removeprefix("#").partition(NICK_MARK)
        if which == OPEN:
            return [room for room in self.namesakes(name) if room.kind == "open"]
        if len(which) >= LEAST_DIGITS:
            return [room for room in self.namesakes(name) if room.id.hex().startswith(which)]
        found = [room for room in self._node.rooms() if self.label(room).casefold() == label]
        return list({room.id: room for room in (*found, *self.namesakes(label.removeprefix("#")))}.values())

    def full_label(self, room: Room) -> str:
        """A label that means this room whatever others are called."""
        return self.label(room) + (f"{NICK_MARK}{OPEN}" if room.kind == "open" else "")

    def colour(self, key: PeerKey, room: RoomId | None = None) -> int:
        """The colour of a peer's name."""
        return self._colours.of(key, room)

    # ------------------------------------------------------------ who is where

    def here(self, room: RoomId) -> tuple[PeerKey, ...]:
        """The others that are in a room now, plain ones last."""
        plain = tuple(self.plain) if room == PLAIN_ROOM else ()
        return (*self._node.members(room), *plain)

    def of_hub(self, key: PeerKey) -> bool:
        """True for what stands for the key of somebody of a hub, known as `bob@hub.example`."""
        nick, mark, place = self._node.names.nick(key).rpartition("@")
        try:
            return bool(mark) and hub_author(parse_hub(place), nick) == key
        except UsageError:
            return False

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
            if (theirs := self._node.hubs.author(known_here.id, wanted)) in self._node.ignored:
                known_here.nicks[theirs] = wanted  # since an earlier run, and not heard of in this one
                return theirs
        key = self._node.names.find(wanted)
        if key is not None and room is None and self.of_hub(key):
            raise UsageError(
                f"{self.name(key)} is somebody of a hub.",
                hint="A hub has no direct messages and proves no keys; what you write in its room reaches them.",
                code="hub_peer",
            )
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

    def find_among(self, text: str, keys: Iterable[PeerKey], room: RoomId) -> PeerKey | None:
        """Who of `keys` is meant, where a mistake would hit somebody else: by a nick that only one of them has, by the
        nick and the first digits of the key (`bob~1a2b`), or by these digits alone. None: nobody of them.

        Raises:
            UsageError: more than one; the hint has the names that tell them apart.
        """
        wanted, mark, digits = text.removeprefix("@").rpartition(NICK_MARK)
        if not mark:
            wanted, digits = digits, ""
        known = self._node.room(room)
        nicks = known.nicks if known is not None else {}

        def called(key: PeerKey, nick: str) -> bool:
            return any(alike(nick, one) for one in (self._node.names.nick(key), nicks.get(key, "")) if one)

        found = [key for key in keys if called(key, wanted) and key.hex().startswith(digits.casefold())]
        if not found and not mark and len(wanted) >= LEAST_DIGITS:
            found = [key for key in keys if key.hex().startswith(wanted.casefold())]
        if len(found) > 1:
            length = next(n for n in range(LEAST_DIGITS, 65) if len({key.hex()[:n] for key in found}) == len(found))
            names = " ".join(f"{nicks.get(key) or wanted}{NICK_MARK}{key.hex()[:length]}" for key in found)
            raise UsageError(
                f"Several people here are called {clean_line(wanted, 40)}.",
                hint=f"Say which: {names}",
                code="ambiguous",
            )
        return found[0] if found else None

    def _plain_named(self, nick: str) -> list[PeerKey]:
        return [key for key, theirs in self.plain.items() if theirs.casefold() == nick.casefold()]
