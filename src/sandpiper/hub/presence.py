"""Who comes and goes in one room, told together: a crowd at the door is one line, not one for each pair. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub.effects import Deliver
from sandpiper.hub.far import Far
from sandpiper.hub.limits import CROWD, CROWD_DELAY, PRESENCE_DELAY, PRESENCE_LINES
from sandpiper.wire.hub.answers import Notice
from sandpiper.wire.hub.lines import encode_answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sandpiper.hub.guests import Guest

_NAMES = 3  # names spelled out in a line about more than `PRESENCE_LINES`


class Presence:
    """Collects comings and goings until they are told, at the latest `PRESENCE_DELAY` after the first, in a crowd
    `CROWD_DELAY`. `count` is how many members the room has.

    Bounded by the guests of the hub and by the pace of each: whoever leaves before its coming was told is not told.
    """

    __slots__ = ("_came", "_room", "_went", "crowd", "due")

    def __init__(self, room: str) -> None:
        """`room` as lines name it: empty for the lobby."""
        self.due: float | None = None
        """When it must be told, in seconds."""
        self.crowd = False
        """What waits now waits as in a crowd."""
        self._room = room
        self._came: dict[Guest | Far, tuple[str, int]] = {}  # nick, and how many had gone before it came
        self._went: list[tuple[str, str]] = []

    def came(self, guest: Guest | Far, count: int, now: float) -> None:
        """`guest` is here."""
        self._came[guest] = guest.nick, len(self._went)
        self._start(count, now)

    def went(self, guest: Guest | Far, why: str, count: int, now: float) -> None:
        """`guest` is gone; `why` is part of the sentence, if any."""
        if self._came.pop(guest, None) is None:
            self._went.append((guest.nick, why))
            self._start(count, now)

    def renamed(self, guest: Guest | Far) -> bool:
        """`guest` has another nick. True: its coming was not told yet, and now will be with the new one."""
        if guest in self._came:
            self._came[guest] = guest.nick, self._came[guest][1]
            return True
        return False

    def _start(self, count: int, now: float) -> None:
        if self.due is None:
            self.crowd = count > CROWD
            self.due = now + (CROWD_DELAY if self.crowd else PRESENCE_DELAY)

    def tell(self, members: Collection[Guest], count: int, ts: int) -> Iterator[Deliver]:
        """What is to be told to whom, at the time `ts` (seconds since 1970); then it is forgotten. Members are `count`
        with those of other hubs.
        """
        came, went = self._came, self._went
        self.due, self._came, self._went = None, {}, []
        if not members or not (came or went):
            return
        if len(came) + len(went) > PRESENCE_LINES or count > CROWD:
            yield Deliver(
                encode_answers([self._summary([nick for nick, _ in came.values()], went, count, ts)]), members
            )
            return
        gone = [self._left(nick, why, ts) for nick, why in went]
        here = {guest: self._joined(nick, ts) for guest, (nick, _) in came.items()}
        # Whoever came is told of the others only, and not of those gone by then: maybe itself, on another connection.
        others = [guest for guest in members if guest not in here]
        if others:
            yield Deliver(encode_answers([*gone, *here.values()]), others)
        for guest in here:
            if isinstance(guest, Far):
                continue
            lines = [*gone[came[guest][1] :], *(line for other, line in here.items() if other is not guest)]
            if lines:
                yield Deliver(encode_answers(lines), (guest,))

    def _joined(self, nick: str, ts: int) -> Notice:
        return Notice(f"{nick} joined", ts, self._room, joined=(nick,))

    def _left(self, nick: str, why: str, ts: int) -> Notice:
        return Notice(f"{nick} left{f' ({why})' if why else ''}", ts, self._room, left=(nick,))

    def _summary(self, came: list[str], went: list[tuple[str, str]], members: int, ts: int) -> Notice:
        gone = [nick for nick, _ in went]
        crowd = members > CROWD
        parts = [_sentence(nicks, verb, crowd) for nicks, verb in ((came, "joined"), (gone, "left")) if nicks]
        if crowd:  # every name to everybody would be members times names
            return Notice(", ".join(parts), ts, self._room, members=members)
        return Notice(", ".join(parts), ts, self._room, joined=tuple(came), left=tuple(gone), members=members)


def _sentence(nicks: list[str], verb: str, crowd: bool) -> str:
    if crowd:
        return f"{nicks[0] if len(nicks) == 1 else len(nicks)} {verb}"
    if len(nicks) <= _NAMES:
        return f"{' and '.join(nicks)} {verb}"
    return f"{', '.join(nicks[:_NAMES])} and {len(nicks) - _NAMES} more {verb}"
