"""Where the machine is: notices that its addresses are others, and that it has slept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.paths import Own, path_to
from sandpiper.net.interfaces import own_addresses

if TYPE_CHECKING:
    from sandpiper.core.events import Now, PathKind

log = logging.getLogger(__name__)

SLEEP_JUMP_MS = 10_000  # the clocks part by this much between two looks: the machine slept
LOOK_SECONDS = 2.0  # between two looks at the addresses


class Moved(Struct, frozen=True):
    """The machine has slept, or its addresses are `own` by now; `gone`: one that it had is not among them."""

    own: frozenset[Own]
    gone: bool


class Whereabouts:
    """Of one machine, or of the interfaces named."""

    def __init__(self, interfaces: tuple[str, ...], now: Now) -> None:
        self._interfaces = interfaces
        self._own = own_addresses(interfaces) or frozenset()
        self._everywhere = own_addresses() or frozenset()  # links do not ask for whose interfaces they take
        self._drift = _drift(now)
        self._look_at = now.mono + LOOK_SECONDS

    def path_to(self, host: str) -> PathKind:
        """What a link to `host` is: on a network that this machine is on, or farther away."""
        return path_to(host, self._everywhere)

    def deadline(self) -> float:
        """When `look` has something to look at."""
        return self._look_at

    def look(self, now: Now) -> Moved | None:
        """What has changed since the last look."""
        drift = _drift(now)
        jump, self._drift = drift - self._drift, drift
        slept = jump > SLEEP_JUMP_MS
        if not slept and now.mono < self._look_at:
            return None
        self._look_at = now.mono + LOOK_SECONDS
        own, everywhere = own_addresses(self._interfaces), own_addresses()
        before = self._own
        if everywhere is not None:
            self._everywhere = everywhere
        if own is not None:
            self._own = own
        if slept:
            log.info("the clock jumped by %.0f s: relinking", jump / 1000)
        elif self._own == before:
            return None
        else:
            log.info("this machine's addresses have changed: %d now, %d before", len(self._own), len(before))
        return Moved(self._own, gone=bool(before - self._own))


def _drift(now: Now) -> float:
    """Milliseconds between the clocks, of which only one runs while the machine sleeps."""
    return now.wall_ms - now.mono * 1000
