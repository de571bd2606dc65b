"""What operators may do to rooms and to others, and the table of everything that a guest may ask. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub import answering
from sandpiper.hub.guests import fold
from sandpiper.hub.limits import COSTLY, MAX_OPERATORS
from sandpiper.hub.rooms import FOREVER
from sandpiper.wire.hub import LOBBY, asks
from sandpiper.wire.hub.answers import Notice
from sandpiper.wire.hub.asks import MAX_REASON_CHARS
from sandpiper.wire.text import clean_line, clean_nick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandpiper.core.events import Now
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import Answerer, House
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.hub.asks import Ask


def _ruled(house: House, guest: Guest, name: str) -> Room | None:
    """The room, if the guest is an operator of it or of the hub; else it is told that it is not."""
    room = house.find_room(name)
    if room is not None and (house.is_operator(guest) or (guest in room.members and room.is_operator(guest))):
        return room
    house.refuse(guest, "not_operator", "Only an operator of the room may do that.", room=name)
    return None


def _rules_hub(house: House, guest: Guest) -> bool:
    if house.is_operator(guest):
        return True
    house.refuse(guest, "not_operator", "Only an operator of the hub may do that.")
    return False


def _target(house: House, guest: Guest, room: Room, nick: str) -> Guest | None:
    """Who is called so in the room, unless it is an operator of the hub; else the guest is told."""
    target = house.guests.find(nick)
    if target is None or target not in room.members:
        house.refuse(guest, "nobody", f"Nobody is called {clean_nick(nick)} there.", room=room.shown)
        return None
    if house.is_operator(target) and not house.is_operator(guest):
        house.refuse(guest, "not_operator", f"{target.nick} is an operator of the hub.", room=room.shown)
        return None
    return target


def _say(house: House, room: Room, text: str, code: str, now: Now) -> None:
    house.tell_room(room, Notice(text, now.wall_ms // 1000, room.shown, code=code), now)


def _because(reason: str) -> str:
    reason = clean_line(reason, MAX_REASON_CHARS)
    return f": {reason}" if reason else ""


def _tokens(house: House, nick: str, target: Guest | None) -> Iterator[str]:
    """Everything that somebody is known by."""
    if target is not None:
        yield from target.tokens()
    yield f"nick:{fold(nick)}"
    owner = house.guests.owner(nick)
    if owner is not None:
        yield f"key:{owner.hex()}"


def op(house: House, guest: Guest, ask: asks.Operator, now: Now) -> None:
    """Make somebody an operator, or no longer one."""
    room = _ruled(house, guest, ask.room)
    target = _target(house, guest, room, ask.nick) if room is not None else None
    if room is None or target is None:
        return
    if ask.on and len(room.operators) + len(room.makers) >= MAX_OPERATORS:
        house.refuse(guest, "full", f"A room has at most {MAX_OPERATORS} operators.", room=room.shown)
        return
    if target.key is None:
        (room.makers.add if ask.on else room.makers.discard)(target)
    else:
        (room.operators.add if ask.on else room.operators.discard)(target.key)
        room.makers.discard(target)
        house.remember(room)
    _say(house, room, f"{target.nick} is {'now' if ask.on else 'no longer'} an operator", "op", now)


def kick(house: House, guest: Guest, ask: asks.Kick, now: Now) -> None:
    """Put somebody out of a room or of the hub."""
    why = _because(ask.reason)
    if ask.hub:
        target = house.guests.find(ask.nick) if _rules_hub(house, guest) else None
        if target is not None:
            text = f"{guest.nick} has put you out of the hub{why}"
            house.cut(target, "kicked", text, now, why=f"put out by {guest.nick}{why}")
        return
    room = _ruled(house, guest, ask.room)
    target = _target(house, guest, room, ask.nick) if room is not None else None
    if room is not None and target is not None:
        _put_out(house, guest, target, room, "kicked", why, now)


def _put_out(house: House, guest: Guest, target: Guest, room: Room, code: str, why: str, now: Now) -> None:
    house.put_out(target, room, code, f"{guest.nick} has put you out of {room.name}{why}", now)
    _say(house, room, f"{target.nick} was put out by {guest.nick}{why}", code, now)


def ban(house: House, guest: Guest, ask: asks.Ban, now: Now) -> None:
    """Put somebody out and keep them out, or let them in again."""
    room = None
    if ask.hub:
        if not _rules_hub(house, guest):
            return
    else:
        room = _ruled(house, guest, ask.room)
        if room is None:
            return
    listed = room.bans if room is not None else house.bans
    shown = room.shown if room is not None else ""
    nick, why = clean_nick(ask.nick), _because(ask.reason)
    if not ask.on:
        found = listed.take_off(fold(nick))
        text = f"{nick} may come in again." if found else f"{nick} is not banned."
        house.tell(guest, Notice(text, now.wall_ms // 1000, shown, code="ban"))
        return
    target = house.guests.find(nick)
    if target is not None and house.is_operator(target) and not house.is_operator(guest):
        house.refuse(guest, "not_operator", f"{target.nick} is an operator of the hub.", room=shown)
        return
    end = now.mono + ask.seconds if ask.seconds else FOREVER
    if not listed.put(fold(nick), _tokens(house, nick, target), end):
        house.refuse(guest, "full", "The list of bans is full.", room=shown)
        return
    if target is None or (room is not None and target not in room.members):
        house.tell(guest, Notice(f"{nick} may not come in{why}", now.wall_ms // 1000, shown, code="ban"))
    elif room is not None:
        _put_out(house, guest, target, room, "banned", why, now)
    else:
        house.cut(target, "banned", f"{guest.nick} has put you out of the hub{why}", now, why="banned")


def mute(house: House, guest: Guest, ask: asks.Mute, now: Now) -> None:
    """Let somebody listen only, or talk again."""
    room = _ruled(house, guest, ask.room)
    if room is None:
        return
    nick = clean_nick(ask.nick)
    if not ask.on:
        if room.mutes.take_off(fold(nick)):
            _say(house, room, f"{nick} may talk again", "mute", now)
        return
    target = _target(house, guest, room, nick)
    if target is None:
        return
    end = now.mono + ask.seconds if ask.seconds else FOREVER
    if room.mutes.put(target.folded, _tokens(house, nick, target), end):
        _say(house, room, f"{target.nick} may only listen now", "mute", now)
    else:
        house.refuse(guest, "full", "The list of mutes is full.", room=room.shown)


def slowmode(house: House, guest: Guest, ask: asks.Slowmode, now: Now) -> None:
    """So many seconds between two messages of one guest."""
    room = _ruled(house, guest, ask.room)
    if room is not None:
        room.slowmode = ask.seconds
        house.remember(room)
        text = f"one message in {ask.seconds} s from each of you" if ask.seconds else "the room is no longer slow"
        _say(house, room, text, "slowmode", now)


def close(house: House, guest: Guest, ask: asks.Close, now: Now) -> None:
    """Put everybody out of a room and forget it."""
    room = _ruled(house, guest, ask.room)
    if room is None:
        return
    if room.name == LOBBY:
        house.refuse(guest, "usage", "The lobby cannot be closed.", room=LOBBY)
        return
    text = f"{guest.nick} has closed {room.name}{_because(ask.reason)}"
    for member in room.everybody():
        house.put_out(member, room, "closed", text, now)
    house.forget(room)


ANSWERERS: Mapping[type[Ask], tuple[Answerer, int]] = {
    asks.Hello: (answering.hello, 1),
    asks.Nick: (answering.nick, COSTLY),
    asks.Auth: (answering.auth, COSTLY),
    asks.Join: (answering.join, COSTLY),
    asks.Leave: (answering.leave, 1),
    asks.Rooms: (answering.rooms, COSTLY),
    asks.Who: (answering.who, COSTLY),
    asks.Topic: (answering.topic, 1),
    asks.History: (answering.history, COSTLY),
    asks.Edit: (answering.edit, 1),
    asks.Retract: (answering.retract, 1),
    asks.React: (answering.react, 1),
    asks.Typing: (answering.typing, 1),
    asks.Ping: (answering.ping, 1),
    asks.Pong: (answering.pong, 1),
    asks.Operator: (op, 1),
    asks.Kick: (kick, 1),
    asks.Ban: (ban, 1),
    asks.Mute: (mute, 1),
    asks.Slowmode: (slowmode, 1),
    asks.Close: (close, 1),
}
"""Who answers which line, and what it costs of the guest's allowance, in messages."""
