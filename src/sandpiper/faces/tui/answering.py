"""What commands say and do on the whole screen: the `Face` that they answer to, in the thread with the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.tui.views import Clear, Found, Show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.faces.settings import Secret
    from sandpiper.faces.spans import Line
    from sandpiper.faces.tui.telling import Telling
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import CodePassword, Node, PasswordWanted
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId


class CommandFace:
    """The `Face` of commands: what they say goes to the screen. `room` was there when the last one was typed."""

    def __init__(self, telling: Telling, stop: Callable[[], None]) -> None:
        self.room: RoomId | None = None
        self._left: RoomId | None = None  # the room that a command has led away from, until the screen shows that
        self._telling = telling
        self._stop = stop

    def switch(self, room: RoomId | None) -> None:
        """See `Face`."""
        self._left, self.room = self.room, room
        self._telling.tell(Show(room))

    def typed_in(self, room: RoomId | None) -> None:
        """A line was typed in this room. One that was typed behind a command that leads to another room, before the
        screen has shown that, is meant for there.
        """
        if self._left is None or room != self._left:
            self.room = room

    def shown(self, room: RoomId | None) -> None:
        """The screen shows this room now."""
        if room == self.room:
            self._left = None

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """See `Face`."""
        self._telling.reply(self.room, lines)

    def listing(self, messages: Sequence[Message], words: str = "") -> None:
        """See `Face`."""
        self._telling.tell(Found(words, tuple(messages)))

    def compare(self, comparison: Comparison) -> None:
        """See `Face`."""
        self._telling.tell(comparison)

    def ask_password(self, wanted: PasswordWanted | CodePassword) -> None:
        """See `Face`."""
        self._telling.tell(wanted)

    def unlock(self, node: Node, wanted: PasswordWanted, password: Secret | None) -> None:
        """A password was typed, or (None) rather not.

        Raises:
            SandpiperError: it cannot be one, or there are too many hubs or rooms.
        """
        from sandpiper.faces.onhubs import PASSWORD, unlock

        if password is None:
            again = f"/join {wanted.label} {PASSWORD}" if wanted.room else f"/connect hub://{wanted.label}"
            self._telling.trouble(None, f"{wanted.label} stays closed.", f"To open it: {again}")
        elif (room := unlock(node, wanted, password.text)) is not None:
            self.switch(room)

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """See `Face`."""
        self._telling.trouble(self.room, text, hint)

    def clear(self) -> None:
        """See `Face`."""
        self._telling.tell(Clear())

    def quit(self) -> None:
        """See `Face`."""
        self._stop()
