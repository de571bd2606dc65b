"""What an operator's command changes, as a value that every hub of a cluster carries out alike. Pure.

`operators` checks who may give it and makes it; the house's order decides when it is carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from sandpiper.wire.hub.answers import Notice
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room


class Ruling(Struct, frozen=True, tag=True, array_like=True):
    """One command. `number` is the guest that it is about (0: nobody who is there), `nick` what it is called."""


class Appointed(Ruling, frozen=True):
    """Somebody is an operator, or (not `on`) no longer one: by key if there is one, else while it is there."""

    number: int
    key: bytes
    nick: str
    on: bool


class PutOut(Ruling, frozen=True):
    """Somebody has to leave: `text` is for them, `said` for the others. From the hub without a room."""

    number: int
    nick: str
    code: str
    text: str
    said: str


class Banned(Ruling, frozen=True):
    """Somebody must not come in (or with `mute` not talk) until `until` (seconds since 1970; 0: for ever), whoever has
    one of `tokens`. `folded` is what they are called then. `out` puts them out at once.
    """

    folded: str
    nick: str
    tokens: tuple[str, ...]
    until: int
    why: str = ""
    mute: bool = False
    out: PutOut | None = None


class Pardoned(Ruling, frozen=True):
    """They may come in, or talk, again."""

    folded: str
    nick: str
    mute: bool = False


class Slowed(Ruling, frozen=True):
    """So many seconds between two messages of one guest."""

    seconds: int


class Closed(Ruling, frozen=True):
    """The room is no more. `text` is for whoever is in it."""

    text: str


AnyRuling = Appointed | PutOut | Banned | Pardoned | Slowed | Closed


def carry_out(house: House, by: Guest | None, room: Room | None, what: AnyRuling, now: Now) -> None:
    """Do what was commanded, in the room or (None) in the whole hub. `by` gave the command, if it is here."""
    match what:
        case PutOut():
            _put_out(house, by, room, what, now)
        case Banned():
            _ban(house, by, room, what, now)
        case Pardoned():
            _pardon(house, by, room, what, now)
        case Appointed() | Slowed() | Closed() if room is None:
            return  # these are about rooms; another hub may be mad
        case Appointed(number, key, nick, on):
            _appoint(house, room, number, PeerKey(key) if key else None, on=on)
            say(house, room, f"{nick} is {'now' if on else 'no longer'} an operator", "op", now)
        case Slowed(seconds):
            room.slowmode = seconds
            house.remember(room)
            text = f"one message in {seconds} s from each of you" if seconds else "the room is no longer slow"
            say(house, room, text, "slowmode", now)
        case Closed(text):
            for member in room.everybody():
                house.put_out(member, room, "closed", text, now)
            house.forget(room)
        case _:
            assert_never(what)


def say(house: House, room: Room, text: str, code: str, now: Now) -> None:
    """Tell the room what was commanded."""
    house.tell_room(room, Notice(text, now.wall_ms // 1000, room.shown, code=code), now)


def _appoint(house: House, room: Room, number: int, key: PeerKey | None, *, on: bool) -> None:
    if key is None:
        (room.makers.add if on else room.makers.discard)(number)
        return
    (room.operators.add if on else room.operators.discard)(key)
    room.makers.discard(number)
    house.remember(room)


def _put_out(house: House, by: Guest | None, room: Room | None, what: PutOut, now: Now) -> None:
    if room is None:
        target = house.guests.find(what.nick)
        if target is not None:
            house.cut(target, what.code, what.text, now, why=what.said)
        elif by is not None and house.order.alone:  # else another hub may have put them out
            house.refuse(by, "nobody", f"Nobody is called {what.nick} here.")
        return
    target = next((one for one in room.members if one.number == what.number), None)
    if target is not None:
        house.put_out(target, room, what.code, what.text, now)
    if target is not None or what.number in room.far:
        say(house, room, what.said, what.code, now)
    if target is not None:
        house.tidy(room)


def _ban(house: House, by: Guest | None, room: Room | None, what: Banned, now: Now) -> None:
    listed = house.bans if room is None else room.mutes if what.mute else room.bans
    seconds = max(1, what.until - now.wall_ms // 1000) if what.until else 0
    if not listed.put(what.folded, what.tokens, seconds, now):
        if by is not None:
            name = "mutes" if what.mute else "bans"
            house.refuse(by, "full", f"The list of {name} is full.", room=room.shown if room is not None else "")
        return
    _keep(house, room)
    if what.mute and room is not None:
        say(house, room, f"{what.nick} may only listen now", "mute", now)
        return
    target = house.guests.find(what.nick)
    if target is not None and (room is None or target in room.members):
        # A guest's address is known to its own hub only.
        tokens = tuple(dict.fromkeys((*what.tokens, *target.tokens())))
        if len(tokens) > len(what.tokens):
            more = Banned(what.folded, what.nick, tokens, what.until)
            house.order.rule(house, None, room, more, now)
    if what.out is not None and (room is not None or target is not None):
        _put_out(house, by, room, what.out, now)
    elif by is not None:
        shown = room.shown if room is not None else ""
        house.tell(by, Notice(f"{what.nick} may not come in{what.why}", now.wall_ms // 1000, shown, code="ban"))


def _pardon(house: House, by: Guest | None, room: Room | None, what: Pardoned, now: Now) -> None:
    listed = house.bans if room is None else room.mutes if what.mute else room.bans
    found = listed.take_off(what.folded)
    if found:
        _keep(house, room)
    if what.mute:
        if found and room is not None:
            say(house, room, f"{what.nick} may talk again", "mute", now)
    elif by is not None:
        text = f"{what.nick} may come in again." if found else f"{what.nick} is not banned."
        house.tell(by, Notice(text, now.wall_ms // 1000, room.shown if room is not None else "", code="ban"))


def _keep(house: House, room: Room | None) -> None:
    """The history keeps who is banned or muted."""
    if room is None:
        house.remember_bans()
    else:
        house.remember(room)
