"""A colour for each key: stable, from its fingerprint, and never the same for two in one room while colours last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey, RoomId

# Colours of the 256-colour palette with a contrast of at least 3.2 on black and on white, far apart in hue; plain red
# is kept for errors.
PALETTE = (33, 166, 28, 164, 136, 30, 99, 162, 64, 31, 134, 94, 69, 131, 100, 97)


class Colours:
    """Colours by room and key; who comes to a room first keeps the colour of the own fingerprint."""

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
            step = 1 + 2 * (key[4] % (len(PALETTE) // 2))  # odd, so it comes by every colour
            index = first
            while index in used:
                index = (index + step) % len(PALETTE)
            taken[key] = index
        return taken[key]
