"""A colour for each key: stable, from its fingerprint, and never the same for two in one room while colours last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey, RoomId

# Colours of the 256-colour palette with a contrast of at least 3.2 on black and on white, far apart in hue; plain red
# is kept for errors.
PALETTE = (33, 166, 28, 164, 136, 30, 99, 162, 64, 31, 134, 94, 69, 131, 100, 97)
HUES = (208, 26, 120, 300, 46, 180, 255, 322, 78, 194, 280, 42, 225, 0, 60, 270)
"""The hues of `PALETTE`, in degrees."""
APART = 25  # degrees of hue below which two colours are hard to tell apart beside each other


def _apart(index: int, used: set[int]) -> int:
    """How far a colour's hue is from the nearest of those in use, in degrees."""
    return min((min(d := abs(HUES[index] - HUES[one]), 360 - d) for one in used), default=360)


class Colours:
    """Colours by room and key; who comes to a room first keeps the colour of the own fingerprint, and others do unless
    somebody there has one too much like it.
    """

    def __init__(self) -> None:
        self._taken: dict[RoomId, dict[PeerKey, int]] = {}

    def of(self, key: PeerKey, room: RoomId | None = None) -> int:
        """The palette colour of `key`, in a room or anywhere: a number of the 256-colour palette."""
        return PALETTE[self.index(key, room)]

    def index(self, key: PeerKey, room: RoomId | None = None) -> int:
        """The same as an index into `PALETTE`, for faces with colours of their own in step with it."""
        first = int.from_bytes(key[:4], "big") % len(PALETTE)
        if room is None:
            return first
        taken = self._taken.setdefault(room, {})
        if key not in taken:
            if len(taken) >= len(PALETTE):  # no colour is left: two are alike now
                return first
            used = set(taken.values())
            index = first
            if index in used or _apart(index, used) < APART:
                free = (one for one in range(len(PALETTE)) if one not in used)
                index = max(free, key=lambda one: (_apart(one, used), -((one - first) % len(PALETTE))))
            taken[key] = index
        return taken[key]
