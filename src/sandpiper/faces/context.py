"""What a command works with: the node, the current room, and the face that it answers to. Face-neutral."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from sandpiper.errors import UsageError
from sandpiper.faces.spans import Line, Span, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.faces.people import People
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import CodePassword, Node, PasswordWanted
    from sandpiper.store.profile import Profile
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId


class Face(Protocol):
    """What a command may do to the face that it was typed into."""

    @property
    def room(self) -> RoomId | None:
        """The current room; None when the last one was left."""
        ...

    def switch(self, room: RoomId | None) -> None:
        """Make a room the current one."""
        ...

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """Show an answer; `code` is the command's name."""
        ...

    def listing(self, messages: Sequence[Message], words: str = "") -> None:
        """Show messages of the history, with their ids; `words`: what was searched for, if anything."""
        ...

    def compare(self, comparison: Comparison) -> None:
        """Show safety words, so that they can be compared."""
        ...

    def ask_password(self, wanted: PasswordWanted | CodePassword) -> None:
        """Ask the person for a password, unseen; `onhubs.unlock` or `incode.join` uses it, or nothing happens."""
        ...

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """Show that something failed, also later than the command."""
        ...

    def clear(self) -> None:
        """Empty the screen."""
        ...

    def quit(self) -> None:
        """End this face once the command is done."""
        ...


class Context:
    """One face with its node and profile."""

    def __init__(self, node: Node, profile: Profile, people: People, face: Face) -> None:
        self.node = node
        self.profile = profile
        self.people = people
        self.face = face
        self.compared: set[PeerKey] = set()
        """Keys whose safety words were shown in this run: only these can be said to be the same."""

    @property
    def room(self) -> RoomId:
        """The current room.

        Raises:
            UsageError: there is none.
        """
        room = self.face.room
        if room is None:
            raise UsageError("You are in no room.", hint="Join one: /join #general", code="no_room")
        return room

    def say(self, code: str, *parts: str | Span) -> None:
        """Answer with one line."""
        self.face.reply(code, [line(*parts)])


class Arguments:
    """A command's arguments by the names of its parameters."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def get(self, name: str) -> str:
        """An optional argument; empty when it was not given."""
        return self._values.get(name, "")

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arguments) and other._values == self._values

    @override
    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    @override
    def __repr__(self) -> str:
        return f"Arguments({self._values})"
