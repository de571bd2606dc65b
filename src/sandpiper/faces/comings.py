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
CHANGE_SECONDS = 5.0  # between two lines of one peer: it could change its nick, or its link break, thousands of times


class Comings:
    """The comings and goings of linked peers. `tell` is called with the parts of a line."""

    def __init__(self, people: People, showing: Showing, tell: Callable[..., None]) -> None:
        self._people = people
        self._showing = showing
        self._tell = tell
        self._linked: dict[PeerKey, tuple[str, str]] = {}  # name and away message as they are
        self._told: dict[PeerKey, tuple[str, str]] = {}  # and as told
        self._resting: set[PeerKey] = set()  # of whom a line was told a moment ago
        self._arrived: dict[PeerKey, str] = {}  # came and not told yet: the path
        self._back: dict[PeerKey, str] = {}  # came back so soon after it was gone that nothing is told yet: the path

    def changed(self, notice: PeerChanged) -> None:
        """A peer came, went, or changed."""
        key, name, status = notice.peer, self._people.name(notice.peer), notice.status
        before = self._linked.get(key)
        if notice.state == "linked":
            self._linked[key] = (name, status)
        else:
            self._linked.pop(key, None)
            self._told.pop(key, None)
            if self._back.pop(key, None) is not None:
                return  # nobody knew that it was back
        if self._people.hidden(key):
            if notice.state == "linked":
                self._told[key] = (name, status)
        elif notice.state == "lost":
            if self._arrived.pop(key, None) is None:  # else nobody knew that it was here
                self._tell(self._name(key), " is gone")
                self._rest(key)
        elif before is not None:
            self._tell_change(key)
        elif key in self._resting:
            self._back[key] = notice.path
        else:
            self._arrive(key, notice.path)

    def _arrive(self, key: PeerKey, path: str) -> None:
        self._told[key] = self._linked[key]
        if not self._arrived:
            asyncio.get_running_loop().call_later(ARRIVAL_SECONDS, self.flush)
        self._arrived[key] = path

    def _rest(self, key: PeerKey) -> None:
        if key not in self._resting:
            self._resting.add(key)
            asyncio.get_running_loop().call_later(CHANGE_SECONDS, self._rested, key)

    def _tell_change(self, key: PeerKey) -> None:
        """What a peer is called and whether it is away, if that is not what was told last and some time ago."""
        now, told = self._linked.get(key), self._told.get(key)
        if key in self._resting or now is None or told is None or now == told or self._people.hidden(key):
            return
        self._told[key] = now
        self._rest(key)
        (old_name, old_status), (name, status) = told, now
        span, away = self._name(key), f" is away: {status}" if status else " is back"
        if old_name == name:
            self._tell(span, away)
        elif old_status == status:
            self._tell(f"{old_name} is called ", span, " now")
        else:
            self._tell(f"{old_name} is called ", span, f" now and{away}")

    def _rested(self, key: PeerKey) -> None:
        self._resting.discard(key)
        path = self._back.pop(key, None)
        if path is not None and key in self._linked and not self._people.hidden(key):
            self._arrive(key, path)
        else:
            self._tell_change(key)

    def flush(self, speaker: PeerKey | None = None) -> None:
        """Tell who came; before any other line, so that nobody speaks before they are there: not `speaker` either, who
        may have come back a moment ago.
        """
        if speaker is not None and (path := self._back.pop(speaker, None)) is not None:
            self._told[speaker] = self._linked[speaker]
            self._arrived[speaker] = path
        arrived, self._arrived = self._arrived, {}
        if not arrived:
            return
        parts: list[str | Span] = []
        for key in arrived:
            status = self._people.status.get(key)
            parts += [
                ", " if parts else "",
                self._name(key),
                f" (away: {status})" if status else "",
            ]
        paths = ", ".join(sorted(set(arrived.values())))
        self._tell(*parts, f" {'is' if len(arrived) == 1 else 'are'} here ({paths})")

    def _name(self, key: PeerKey) -> Span:
        return self._showing.name(key, self._showing.room).span
