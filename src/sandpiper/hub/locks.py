"""Passwords that wait to be hashed: each address has its turn, however many of its guests wait. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sandpiper.hub.limits import MAX_LOCKS

if TYPE_CHECKING:
    from sandpiper.hub.effects import Lock


class Locks:
    """One queue an address, served in turn. A guest has one password in it at most: it waits for the answer."""

    __slots__ = ("_count", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str | int, deque[Lock]] = {}  # by address, the next one first
        self._count = 0

    def put(self, lock: Lock) -> bool:
        """This one has to be hashed, too; False when too many wait."""
        if self._count >= MAX_LOCKS:
            return False
        self._count += 1
        # Guests without an address that says anything (behind a tunnel) are each by themselves.
        self._waiting.setdefault(lock.guest.address or lock.guest.number, deque()).append(lock)
        return True

    def take(self) -> Lock | None:
        """The next one; None: there is none. Those of guests that have gone are passed over."""
        while self._waiting:
            place = next(iter(self._waiting))
            queue = self._waiting.pop(place)
            lock = queue.popleft()
            if queue:
                self._waiting[place] = queue  # after all others
            self._count -= 1
            if lock.guest.open:
                return lock
        return None

    def __len__(self) -> int:
        """How many wait."""
        return self._count
