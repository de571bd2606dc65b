"""Nameplates: digits that are given out, short ones first, and come back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.wire.rendezvous import MAX_CODE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIES = 32  # draws among numbers of which at least a third is free: all miss once in a million times


class Nameplates:
    """Those in use. Numbers of one length are drawn, not counted up: two rendezvous, or one before and after a restart,
    should not give the same one to different people at the same time.
    """

    def __init__(self, draw: Callable[[int], int]) -> None:
        """`draw(n)` is a random number below n."""
        self._draw = draw
        self._taken: dict[int, set[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._taken.values()))

    def give(self) -> str:
        """One that nobody has, of the fewest digits of which enough are left to draw from."""
        for digits in range(1, MAX_CODE_DIGITS + 1):
            first = 10 ** (digits - 1)
            there = 9 * first
            taken = self._taken.setdefault(digits, set())
            if there <= 90:  # few: draw among those that are free
                free = [code for code in map(str, range(first, first + there)) if code not in taken]
                if free:
                    return self._take(free[self._draw(len(free))])
                continue
            if len(taken) > there * 2 // 3:
                continue
            for _ in range(_TRIES):
                code = str(first + self._draw(there))
                if code not in taken:
                    return self._take(code)
        raise AssertionError("more nameplates than a process can hold")

    def ask(self, code: str) -> bool:
        """This very one, if nobody has it."""
        if code in self._taken.setdefault(len(code), set()):
            return False
        self._take(code)
        return True

    def give_back(self, code: str) -> None:
        """Nobody has it any more."""
        self._taken[len(code)].discard(code)

    def _take(self, code: str) -> str:
        self._taken.setdefault(len(code), set()).add(code)
        return code
