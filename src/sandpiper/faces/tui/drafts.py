"""What is being written, as what, and what was sent before: the values behind the composer. Pure."""

from __future__ import annotations

from msgspec import Struct

MAX_PAST = 100  # lines to go back through: more is what /search is for

Cursor = tuple[int, int]
"""Line and character, both from 0."""


class Plain(Struct, frozen=True):
    """A message, or a command."""


class Reply(Struct, frozen=True):
    """An answer to the message with this id (in hex), which somebody of this name said."""

    id: str
    name: str = ""
    excerpt: str = ""


class Change(Struct, frozen=True):
    """A new text for our message with this id (in hex), which was `text`."""

    id: str
    text: str = ""


Mode = Plain | Reply | Change


class Draft(Struct, frozen=True):
    """All that stands in a composer. `under` was begun before an answer or a change, and comes back after it."""

    text: str = ""
    cursor: Cursor = (0, 0)
    mode: Mode = Plain()
    under: Draft | None = None


class Past:
    """The lines sent in this run, and where a person is who goes through them. Nothing that was typed gets lost."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._back = 0  # how many lines back we are; 0: at what is being written
        self._unsent = ""  # what was being written when we went back

    def sent(self, text: str) -> str:
        """A line was sent; returns what was being written before the person went back for it."""
        unsent = self._unsent if self._back and self._unsent != text else ""
        self._back, self._unsent = 0, ""
        self._add(text)
        return unsent

    def keep(self, text: str) -> None:
        """A text that was not sent, and that is the first to come when the person goes back."""
        if self._add(text) and self._back:
            self._back = min(self._back + 1, len(self._lines))

    def rest(self) -> None:
        """Go back no further: something else is being written now."""
        if self._back and self._unsent.strip():
            self._add(self._unsent)
        self._back, self._unsent = 0, ""

    def older(self, now: str) -> str | None:
        """The line before the one that is shown, which is `now`; None: there is none."""
        self._settle(now)
        if self._back == len(self._lines):
            return None
        if not self._back:
            self._unsent = now
        self._back += 1
        return self._lines[-self._back]

    def newer(self, now: str) -> str | None:
        """The line after the one that is shown, at last what was being written; None: there is none."""
        self._settle(now)
        if not self._back:
            return None
        self._back -= 1
        return self._lines[-self._back] if self._back else self._unsent

    def _settle(self, now: str) -> None:
        """A line that was changed is what is being written now."""
        if self._back and now != self._lines[-self._back]:
            self.rest()

    def _add(self, text: str) -> bool:
        if not text.strip() or (self._lines and self._lines[-1] == text):
            return False
        self._lines.append(text)
        del self._lines[:-MAX_PAST]
        return True
