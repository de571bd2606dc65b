"""Messages in rooms where not everybody may say everything at once: mutes and slow mode. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub.limits import MAX_SPOKE
from sandpiper.wire.hub.answers import Ack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.hub.asks import Msg


class Spoke:
    """When whom said something in a slow room, by what they are known by: coming in anew is no way around it."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: dict[str, float] = {}  # seconds, the longest ago first

    def left(self, guest: Guest, seconds: float, now: float) -> float:
        """Seconds until `guest` may say something again, at one message in `seconds`."""
        return max(self._at.get(token, float("-inf")) for token in _tokens(guest)) + seconds - now

    def note(self, guest: Guest, seconds: float, now: float) -> None:
        """`guest` says something at `now`."""
        for token in _tokens(guest):
            self._at.pop(token, None)
            self._at[token] = now
        while len(self._at) > MAX_SPOKE or now - next(iter(self._at.values())) >= seconds > 0:
            del self._at[next(iter(self._at))]


def _tokens(guest: Guest) -> list[str]:
    """The address only of those who prove no key: two of one household are two. And the connection: behind a tunnel
    there is no address, and a nick is changed in a moment.
    """
    known = [token for token in guest.tokens() if guest.key is None or not token.startswith("address:")]
    return [*known, f"guest:{guest.number}"]


def say(house: House, guest: Guest, room: Room, run: Sequence[Msg], now: Now) -> None:
    """What a guest says in a room that has mutes or is slow. What it has said before was accepted: that is said again
    to it, whatever it may do now.
    """
    run = _new(house, guest, room, run)
    if not run:
        return
    if room.mutes and room.mutes.names(guest, now.mono):
        house.refuse(guest, "muted", "You may not talk here now.", room=room.shown, run=run)
    elif not room.slowmode or room.is_operator(guest) or house.is_operator(guest):
        house.order.say(house, guest, room, run, now)
    else:
        _say_slowly(house, guest, room, run, now)


def _new(house: House, guest: Guest, room: Room, run: Sequence[Msg]) -> Sequence[Msg]:
    """Those that the guest has not said before; it is told of the others."""
    fresh: list[Msg] = []
    for msg in run:
        seq = house.order.said(guest, room, msg.client_id) if msg.client_id else 0
        if seq:
            house.tell(guest, Ack(msg.client_id, seq, room.shown))
        else:
            fresh.append(msg)
    return fresh


def _say_slowly(house: House, guest: Guest, room: Room, run: Sequence[Msg], now: Now) -> None:
    left = room.spoke.left(guest, room.slowmode, now.mono)
    if left <= 0:
        room.spoke.note(guest, room.slowmode, now.mono)
        house.order.say(house, guest, room, run[:1], now)
        run, left = _new(house, guest, room, run[1:]), room.slowmode
    if run:
        text = f"This room is slow: one message in {room.slowmode} s. Try again in {left:.0f} s."
        house.refuse(guest, "slowmode", text, room=room.shown, run=run)
