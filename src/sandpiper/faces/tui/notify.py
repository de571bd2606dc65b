"""Calling the person through the terminal: which messages deserve it, and the bytes that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sandpiper.faces.spans import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.faces.tui.views import RoomView

How = Literal["off", "bell", "osc9", "osc777"]
"""The values of the setting `notify`."""

PAUSE = 2.0
"""Seconds between two notifications: a burst of messages is one reason to look, not many."""

MOST_CELLS = 120  # of a title and of a text: what desktops show of them


class Notifier:
    """Writes a notification to the terminal, at most one every `PAUSE` seconds; `write` gets text for the terminal."""

    def __init__(self, how: How, write: Callable[[str], object]) -> None:
        self.how: How = how
        """In which way; may be changed."""
        self._write = write
        self._last: float | None = None

    def notify(self, title: str, body: str, now: float) -> bool:
        """Call the person; `now` in seconds of any clock that does not go back. False: it was too soon, or is off.

        OSC 9 has one text only, so the title goes in front of the body there.
        """
        if self.how == "off" or (self._last is not None and now - self._last < PAUSE):
            return False
        self._last = now
        self._write(_sequence(self.how, title, body))
        return True


def deserves(room: RoomView, *, mentioned: bool, focused: bool, on_screen: bool) -> bool:
    """True when a new message in `room` should call the person: it is for them, and they do not see it come.

    `focused`: the terminal has the keyboard; `on_screen`: the room is the one that is shown.
    """
    return (mentioned or room.kind == "direct") and not (focused and on_screen)


def _sequence(how: Literal["bell", "osc9", "osc777"], title: str, body: str) -> str:
    match how:
        case "bell":
            return "\a"
        case "osc9":
            return f"\x1b]9;{_harmless(f'{title}: {body}' if title and body else title or body)}\x1b\\"
        case "osc777":
            return f"\x1b]777;notify;{_harmless(title)};{_harmless(body)}\x1b\\"


def _harmless(text: str) -> str:
    """Text that can neither end the sequence nor start another field of it."""
    spaced = " ".join(text[: MOST_CELLS * 8].split())
    return excerpt("".join(char for char in spaced if char.isprintable() and char != ";"), MOST_CELLS)
