"""What we said on a hub and it has not confirmed: in order, a bounded window of it on its way. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sandpiper.errors import UsageError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from sandpiper.wire.hub.asks import Msg

MAX_UNSAID = 1000  # messages that wait for the hub: more is a program, and it should hear of it
WINDOW = 100  # messages on their way at once: half of what a hub takes at once from one guest
CLIENT_ID_BITS = 96


class _Entry:
    __slots__ = ("msg", "room", "sent")

    def __init__(self, room: str, msg: Msg) -> None:
        self.room = room
        self.msg = msg
        self.sent = False


class Unsaid:
    """Messages of ours by their client ids, the oldest first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[str, _Entry] = {}
        self._in_flight = 0

    def __contains__(self, client_id: str) -> bool:
        """Whether this is one of them."""
        return client_id in self._entries

    def count(self, room: str = "") -> int:
        """How many there are, of a room or in all."""
        return sum(not room or one.room == room for one in self._entries.values())

    def add(self, room: str, msg: Msg) -> str:
        """One more; returns the id that it gets.

        Raises:
            UsageError: too much waits already.
        """
        if len(self._entries) >= MAX_UNSAID:
            raise UsageError(
                f"{MAX_UNSAID} messages wait for the hub already; this one was not sent.",
                hint="Try again when it is there.",
                code="too_many",
            )
        client_id = f"{self._rng.getrandbits(CLIENT_ID_BITS):0{CLIENT_ID_BITS // 4}x}"
        self._entries[client_id] = _Entry(room, replace(msg, client_id=client_id))
        return client_id

    def due(self, ready: Callable[[str], bool]) -> Iterator[Msg]:
        """What is to be said now, in rooms that are `ready`, as far as the window goes."""
        if self._in_flight >= min(WINDOW, len(self._entries)):
            return
        for entry in self._entries.values():
            if not entry.sent and ready(entry.room):
                entry.sent = True
                self._in_flight += 1
                yield entry.msg
                if self._in_flight >= WINDOW:
                    return

    def take(self, client_id: str) -> tuple[str, str]:
        """It is settled; returns its room and text."""
        entry = self._entries.pop(client_id)
        self._in_flight -= entry.sent
        return entry.room, entry.msg.text

    def again(self, client_id: str) -> None:
        """The hub did not take it now: it waits as if it had not been sent."""
        entry = self._entries[client_id]
        self._in_flight -= entry.sent
        entry.sent = False

    def ids(self, room: str = "", *, sent: bool = False) -> list[str]:
        """Of a room or all; `sent`: only those that are on their way."""
        return [one for one, e in self._entries.items() if (not room or e.room == room) and (e.sent or not sent)]

    def find(self, text: str) -> str:
        """The oldest on its way that says this; empty: none."""
        return next((one for one, entry in self._entries.items() if entry.sent and entry.msg.text == text), "")

    def lost(self) -> None:
        """None of them is on its way any more."""
        self._in_flight = 0
        for entry in self._entries.values():
            entry.sent = False
