"""One room's log as far as this hub has read it: where it is, what was said twice, where pages begin. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from sandpiper.hub.bus.log import MAX_LINES, VERSION, RoomState, place_of
from sandpiper.hub.limits import MAX_CLIENT_IDS

if TYPE_CHECKING:
    from sandpiper.hub.bus.log import Posted
    from sandpiper.hub.rooms import Room

MARK_LINES = 256  # from one mark to the next at least: one page of history takes one or two steps
MAX_MARKS = MAX_CLIENT_IDS // MARK_LINES + 2  # back to where sender's ids may still matter
MAX_TURNS = 256  # hubs remembered that have said something in the room, the latest
SAVE_EVERY = 512  # messages of the log after which the room's state is kept anew: so many are read to load it


class Replica:
    """Follows one log. `place` is the last of its messages that was taken."""

    __slots__ = (
        "_again", "_ids", "_lines", "_marks", "_ordinal", "_turns", "asked", "base", "hub", "name", "open", "place",
        "turn", "unsaved",
    )  # fmt: skip

    def __init__(self, hub: str, name: str, state: RoomState | None = None) -> None:
        self.hub = hub
        self.name = name
        self.open = False
        """All that was in the log was taken; from here on what comes is new."""
        self.base = state.place if state is not None else 0
        """Up to here the room's state has it all; only what was said last is still to be learned."""
        self.place = max(0, state.since - 1) if state is not None else 0
        self.turn = 0
        """Of this hub's messages, the last one."""
        self.unsaved = 0
        self.asked = float("-inf")
        """When a guest wanted to come in last, in seconds."""
        self._ids: dict[str, tuple[int, int]] = {}  # (how many lines there were up to its message, number)
        self._ordinal = 0  # of lines, with an id or without: as marks count them, by which hubs load a room
        self._again: dict[str, int] = {}  # as `_turns`, of what is read again though the state has it
        self._turns: dict[str, int] = dict(state.turns) if state is not None else {}
        self._marks: deque[int] = deque(maxlen=MAX_MARKS)
        self._lines = MARK_LINES  # since the last mark

    def take(self, place: int, posted: Posted, lines: int) -> bool:
        """The next message of the log; False when it was there before (sent again, though it had arrived)."""
        self.place = place
        if place > self.base:
            self.unsaved += 1
        if self._lines >= MARK_LINES:
            self._marks.append(place)
            self._lines = 0
        self._lines += lines
        self._ordinal += lines
        turns = self._turns if place > self.base else self._again
        before = turns.pop(posted.hub, 0)
        turns[posted.hub] = max(before, posted.turn)
        if len(turns) > MAX_TURNS:
            del turns[next(iter(turns))]
        return posted.turn > before

    def said(self, nick: str, client_id: str) -> int:
        """The number under which `nick` has said this; 0: it has not, of late."""
        found = self._ids.get(f"{nick} {client_id}")
        # By count, not by what happens to be remembered: every hub must find the same.
        return found[1] if found is not None and self._ordinal - found[0] <= MAX_CLIENT_IDS else 0

    def says(self, nick: str, client_id: str, seq: int) -> None:
        """It is said now."""
        self._ids.pop(f"{nick} {client_id}", None)
        self._ids[f"{nick} {client_id}"] = (self._ordinal, seq)
        if len(self._ids) > 2 * MAX_CLIENT_IDS:  # seldom: it takes a while
            self._ids = dict(islice(self._ids.items(), len(self._ids) - MAX_CLIENT_IDS - MAX_LINES, None))

    def begin(self) -> None:
        """All that was in the log was taken."""
        self.open = True
        self._again.clear()
        self.turn = self._turns.get(self.hub, 0)

    def forget(self) -> None:
        """The room was closed: what is said from now on is another room's."""
        self._ids.clear()
        self._marks.clear()
        self._lines = MARK_LINES

    @property
    def back(self) -> int:
        """What the next message of this hub says as its `back`."""
        return self._marks[-2] if len(self._marks) > 1 else self._marks[0] if self._marks else 0

    def mark_before(self, place: int, steps: int) -> int:
        """The place of a mark so many marks before `place`; 0 when that is not known here."""
        before = [mark for mark in self._marks if mark <= place]
        return before[-1 - steps] if len(before) > steps else 0

    def state(self, room: Room | None) -> RoomState:
        """What is to be kept of the room now."""
        since = self._marks[0] if self._marks else self.place + 1
        if room is None:
            return RoomState(VERSION, self.name, self.place, self.place + 1, "", turns=self._turns)
        return RoomState(
            VERSION, self.name, self.place, min(since, place_of(room.seq) or since), room.epoch, room.seq, room.topic,
            room.lock, tuple(sorted(room.operators)), room.slowmode, room.bans.kept(), room.mutes.kept(), self._turns,
        )  # fmt: skip
