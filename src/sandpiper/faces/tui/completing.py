"""What was gathered becomes updates for the screen, with what the history knows of it: names, messages, marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sandpiper.faces.tui.views import Delivery, Found, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandpiper.faces.people import People
    from sandpiper.faces.tui.around import Surroundings
    from sandpiper.faces.tui.lookup import Lookup
    from sandpiper.faces.tui.naming import Naming
    from sandpiper.faces.tui.pending import Changes
    from sandpiper.faces.tui.views import Place, Update
    from sandpiper.node import Node
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId

MARKED = 50  # of our own messages


class Completing:
    """Makes updates. `came` is called with each message of somebody else that is to be counted."""

    def __init__(
        self,
        node: Node,
        people: People,
        naming: Naming,
        around: Surroundings,
        came: Callable[[RoomId, Place, str], None],
    ) -> None:
        self._node = node
        self._people = people
        self._naming = naming
        self._around = around
        self._came = came

    def names(self, found: Lookup, entered: set[RoomId]) -> list[Update]:
        """Who is in rooms that were entered or shown, and who is quoted; and all that goes with a room's entry."""
        out: list[Update] = []
        self._around.knows(found.peers)
        for room, page in found.newest.items():
            out += self._naming.present(room)
            out += self._naming.speaking(room, reversed(page))
        for message in found.quoted:
            out += self._naming.speaking(message.room, [message])
        for room in entered:
            out += self._naming.known(room)
        for message in found.unread:
            if message.author != self._node.key and not message.retracted and not self._people.hidden(message.author):
                self._came(message.room, message.place, message.text)
        return out

    def said(self, room: RoomId, changes: Changes, found: Lookup) -> list[Update]:
        """Messages that were said or have changed, below the names of who said them."""
        stored = [found.messages[record] for record in changes.ids if record in found.messages]
        ahead = [message for record, message in changes.previews.items() if record not in found.messages]
        messages = self._heard((*stored, *ahead))
        for message in messages:
            if message.plain and message.id in changes.fresh:  # its place was not known before
                self._came(room, message.place, message.text)
        if not messages:
            return []
        messages.sort(key=lambda message: message.place)
        told = {message.id for message in messages}
        said = Said(
            room,
            tuple(messages),
            fresh=frozenset(changes.fresh & told),
            ahead=frozenset(told & {message.id for message in ahead}),
        )
        return [*self._naming.speaking(room, messages), said]

    def listed(self, words: str, messages: Sequence[Message]) -> list[Update]:
        """What was searched for, below the names of who said it."""
        heard = self._heard(messages)
        out: list[Update] = []
        for room in dict.fromkeys(message.room for message in heard):
            out += self._naming.speaking(room, [message for message in heard if message.room == room])
        return [*out, Found(words, tuple(heard))]

    def _heard(self, messages: Iterable[Message]) -> list[Message]:
        """Without what people say, or put on messages, whom the person ignores."""
        hidden = self._node.ignored
        return [
            replace(message, reactions=tuple(one for one in message.reactions if one.author not in hidden))
            if message.reactions and hidden
            else message
            for message in messages
            if message.author not in hidden
        ]

    def marks(self, found: Lookup, opened: set[RoomId]) -> list[Delivery]:
        """How far our newest messages in rooms that were shown have come: they may be of an earlier run."""
        mine = [
            message
            for room in opened
            for message in [one for one in found.newest.get(room, ()) if one.author == self._node.key][-MARKED:]
        ]
        known = ((message, self._node.delivery(message.room, message.id)) for message in mine)
        return [Delivery(message.room, message.id, *marks) for message, marks in known if marks is not None]
