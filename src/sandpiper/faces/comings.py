"""Who came, went, was renamed or is away, told in as few lines as do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import PeerChanged
    from sandpiper.faces.people import People
    from sandpiper.faces.showing import Showing
    from sandpiper.faces.spans import Span
    from sandpiper.wire.ids import PeerKey

ARRIVAL_SECONDS = 0.25  # who comes within this time comes in one line: at the start that is everybody


class Comings:
    """The comings and goings of linked peers. `tell` is called with the parts of a line."""

    def __init__(self, people: People, showing: Showing, tell: Callable[..., None]) -> None:
        self._people = people
        self._showing = showing
        self._tell = tell
        self._linked: dict[PeerKey, tuple[str, str]] = {}  # name and away message as told
        self._arrived: dict[PeerKey, str] = {}  # came and not told yet: the path

    def changed(self, notice: PeerChanged) -> None:
        """A peer came, went, or changed."""
        key, name, status = notice.peer, self._people.name(notice.peer), notice.status
        before = self._linked.get(key)
        if notice.state == "linked":
            self._linked[key] = (name, status)
        else:
            self._linked.pop(key, None)
        if self._people.hidden(key):
            return
        span = self._showing.name(key).span
        if notice.state == "lost":
            if self._arrived.pop(key, None) is None:  # else nobody knew that it was here
                self._tell(span, " is gone")
        elif before is None:
            if not self._arrived:
                asyncio.get_running_loop().call_later(ARRIVAL_SECONDS, self.flush)
            self._arrived[key] = notice.path
        else:
            if before[0] != name:
                self._tell(f"{before[0]} is called ", span, " now")
            if before[1] != status:
                self._tell(span, f" is away: {status}" if status else " is back")

    def flush(self) -> None:
        """Tell who came; before any other line, so that nobody speaks before they are there."""
        arrived, self._arrived = self._arrived, {}
        if not arrived:
            return
        parts: list[str | Span] = []
        for key in arrived:
            status = self._people.status.get(key)
            parts += [", " if parts else "", self._showing.name(key).span, f" (away: {status})" if status else ""]
        paths = ", ".join(sorted(set(arrived.values())))
        self._tell(*parts, f" {'is' if len(arrived) == 1 else 'are'} here ({paths})")
