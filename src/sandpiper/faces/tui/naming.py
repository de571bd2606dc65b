"""What everybody is called in each room, and which of that the screen has been told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.colours import PALETTE
from sandpiper.faces.people import PLAIN_MARK
from sandpiper.faces.tui.views import Named, Who

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandpiper.faces.people import People
    from sandpiper.node import Node
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId


class Naming:
    """Keeps the screen's idea of names. Every call tells only what it does not know yet."""

    def __init__(self, node: Node, people: People) -> None:
        self._node = node
        self._people = people
        self._told: dict[RoomId, dict[PeerKey, Who]] = {}
        self._plain: dict[PeerKey, str] = {}  # nicks of authors of the old dialect, here or long gone
        self._verified: frozenset[PeerKey] = node.verified

    def speaking(self, room: RoomId, messages: Iterable[Message], others: Iterable[PeerKey] = ()) -> Iterator[Named]:
        """These and everybody in the messages: they are on the screen, so each has a colour of their own while colours
        last. Who comes first is surer of one.
        """
        keys: dict[PeerKey, None] = dict.fromkeys(others)
        for message in messages:
            if message.hub:
                found = self._node.room(room)
                if found is not None:  # whoever has left is not among those whom the hub names
                    found.nicks.setdefault(message.author, message.nick)
            elif message.plain:
                self._plain[message.author] = message.nick
            else:
                self._people.author(message)  # learns a nick that only the history knows
            keys[message.author] = None
            keys.update(dict.fromkeys(reaction.author for reaction in message.reactions))
        return self._tell(room, {key: self._who(key, room, own_colour=True) for key in keys})

    def present(self, room: RoomId) -> Iterator[Named]:
        """We, and who is in a room now."""
        return self.speaking(room, (), (self._node.key, *self._people.here(room)))

    def known(self, room: RoomId) -> Iterator[Named]:
        """All whose records a room holds: they may come by when somebody scrolls back. Their colours are those of
        their keys, so that they take none away from who is there.
        """
        found = self._node.room(room)
        told = self._told.get(room, {})
        keys = [key for key in found.logs if key not in told] if found is not None else []
        return self._tell(room, {key: self._who(key, room, own_colour=False) for key in keys})

    def changed(self) -> Iterator[Named]:
        """Those who are called something else since they were told, or are verified now."""
        self._verified = self._node.verified
        for room, told in self._told.items():
            again = {key: self._again(key, room, who) for key, who in told.items()}
            yield from self._tell(room, {key: who for key, who in again.items() if who is not told[key]})

    def plain(self, key: PeerKey) -> bool:
        """True for an author of the old dialect, here or long gone."""
        return key in self._plain

    def who(self, key: PeerKey, room: RoomId) -> Who:
        """What somebody in a room is called, whether they have spoken or not."""
        return self._who(key, room, own_colour=True)

    def forget(self, room: RoomId) -> None:
        """The room was left."""
        self._told.pop(room, None)

    def colour(self, key: PeerKey, room: RoomId | None) -> int:
        """The colour of somebody in a room (None: anywhere), as an index into the palette."""
        return PALETTE.index(self._people.colour(key, room))

    # ------------------------------------------------------------ inside

    def _name(self, key: PeerKey, room: RoomId) -> str:
        if key in self._plain and key not in self._people.plain:
            return self._plain[key] + PLAIN_MARK
        return self._people.marked(key, room)

    def _who(self, key: PeerKey, room: RoomId, *, own_colour: bool) -> Who:
        plain = key in self._plain or key in self._people.plain
        colour = self.colour(key, room if own_colour else None)
        return Who(self._name(key, room), colour, key in self._verified, plain)

    def _again(self, key: PeerKey, room: RoomId, who: Who) -> Who:
        """The very same when nothing has changed: there may be thousands, and this is asked all the time."""
        name, verified, plain = self._name(key, room), key in self._verified, who.plain or key in self._people.plain
        if (name, verified, plain) == (who.name, who.verified, who.plain):
            return who
        return Who(name, who.colour, verified, plain)

    def _tell(self, room: RoomId, who: dict[PeerKey, Who]) -> Iterator[Named]:
        told = self._told.setdefault(room, {})
        news = {key: one for key, one in who.items() if told.get(key) != one}
        told.update(news)
        if news:
            yield Named(room, news)
