"""What operators may do to rooms and to others, and the table of everything that a guest may ask. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.errors import UsageError
from sandpiper.hub import answering
from sandpiper.hub.guests import fold
from sandpiper.hub.limits import COSTLY, MAX_OPERATORS, Full
from sandpiper.hub.ruling import Appointed, Banned, Closed, Pardoned, PutOut, Slowed
from sandpiper.wire.hub import LOBBY, asks
from sandpiper.wire.hub.asks import MAX_REASON_CHARS
from sandpiper.wire.text import check_room_name, clean_line, clean_nick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandpiper.core.events import Now
    from sandpiper.hub.far import Far
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.house import Answerer, House
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.hub.asks import Ask


def _ruled(house: House, guest: Guest, name: str, now: Now) -> Room | None:
    """The room, if the guest is an operator of it or of the hub; else it is told that it is not."""
    room = house.find_room(name)
    if room is None and house.is_operator(guest):
        try:
            room = house.known_room(check_room_name(name), now)
        except (UsageError, Full) as exc:
            house.refuse(guest, exc.code, str(exc), room=name)
            return None
        if room is None:
            house.refuse(guest, "usage", "There is no room of this name here.", room=name)
            return None
    if room is not None and (house.is_operator(guest) or (guest in room.members and room.is_operator(guest))):
        return room
    house.refuse(guest, "not_operator", "Only an operator of the room may do that.", room=name)
    return None


def _rules_hub(house: House, guest: Guest) -> bool:
    if house.is_operator(guest):
        return True
    house.refuse(guest, "not_operator", "Only an operator of the hub may do that.")
    return False


def _target(house: House, guest: Guest, room: Room, nick: str) -> Guest | Far | None:
    """Who is called so in the room, unless it is an operator of the hub; else the guest is told."""
    target = room.find(nick)
    if target is None:
        house.refuse(guest, "nobody", f"Nobody is called {clean_nick(nick)} there.", room=room.shown)
        return None
    if house.is_operator(target) and not house.is_operator(guest):
        house.refuse(guest, "not_operator", f"{target.nick} is an operator of the hub.", room=room.shown)
        return None
    return target


def _because(reason: str) -> str:
    reason = clean_line(reason, MAX_REASON_CHARS)
    return f": {reason}" if reason else ""


def _tokens(house: House, nick: str, target: Guest | Far | None) -> tuple[str, ...]:
    """Everything that somebody is known by."""
    owner = house.guests.owner(nick)
    known = [*(target.tokens() if target is not None else ()), f"nick:{fold(nick)}"]
    if owner is not None:
        known.append(f"key:{owner.hex()}")
    return tuple(dict.fromkeys(known))


def op(house: House, guest: Guest, ask: asks.Operator, now: Now) -> None:
    """Make somebody an operator, or no longer one; the latter also while they are away, by a nick that they own."""
    room = _ruled(house, guest, ask.room, now)
    if room is not None and not ask.on and room.find(ask.nick) is None:
        owner = house.guests.owner(ask.nick)
        if owner in room.operators:
            house.order.rule(house, guest, room, Appointed(0, owner, clean_nick(ask.nick), on=False), now)
            return
    target = _target(house, guest, room, ask.nick) if room is not None else None
    if room is None or target is None:
        return
    if ask.on and len(room.operators) + len(room.makers) >= MAX_OPERATORS:
        house.refuse(guest, "full", f"A room has at most {MAX_OPERATORS} operators.", room=room.shown)
        return
    house.order.rule(house, guest, room, Appointed(target.number, target.key or b"", target.nick, ask.on), now)


def kick(house: House, guest: Guest, ask: asks.Kick, now: Now) -> None:
    """Put somebody out of a room or of the hub."""
    why = _because(ask.reason)
    if ask.hub:
        if _rules_hub(house, guest):
            text = f"{guest.nick} has put you out of the hub{why}"
            out = PutOut(0, clean_nick(ask.nick), "kicked", text, f"put out by {guest.nick}{why}")
            house.order.rule(house, guest, None, out, now)
        return
    room = _ruled(house, guest, ask.room, now)
    target = _target(house, guest, room, ask.nick) if room is not None else None
    if room is not None and target is not None:
        house.order.rule(house, guest, room, _out(guest, target, room, "kicked", why), now)


def _out(guest: Guest, target: Guest | Far, room: Room, code: str, why: str) -> PutOut:
    text = f"{guest.nick} has put you out of {room.name}{why}"
    return PutOut(target.number, target.nick, code, text, f"{target.nick} was put out by {guest.nick}{why}")


def ban(house: House, guest: Guest, ask: asks.Ban, now: Now) -> None:
    """Put somebody out and keep them out, or let them in again."""
    room = None
    if ask.hub:
        if not _rules_hub(house, guest):
            return
    else:
        room = _ruled(house, guest, ask.room, now)
        if room is None:
            return
    nick, why = clean_nick(ask.nick), _because(ask.reason)
    if not ask.on:
        house.order.rule(house, guest, room, Pardoned(fold(nick), nick), now)
        return
    inside = room.find(nick) if room is not None else None
    target = inside or house.guests.find(nick)
    if target is not None and house.is_operator(target) and not house.is_operator(guest):
        shown = room.shown if room is not None else ""
        house.refuse(guest, "not_operator", f"{target.nick} is an operator of the hub.", room=shown)
        return
    if room is None:
        out: PutOut | None = PutOut(0, nick, "banned", f"{guest.nick} has put you out of the hub{why}", "banned")
    else:
        out = _out(guest, inside, room, "banned", why) if inside is not None else None
    banned = Banned(fold(nick), nick, _tokens(house, nick, target), _until(ask.seconds, now), why, out=out)
    house.order.rule(house, guest, room, banned, now)


def _until(seconds: int, now: Now) -> int:
    return now.wall_ms // 1000 + seconds if seconds else 0


def mute(house: House, guest: Guest, ask: asks.Mute, now: Now) -> None:
    """Let somebody listen only, or talk again."""
    room = _ruled(house, guest, ask.room, now)
    if room is None:
        return
    nick = clean_nick(ask.nick)
    if not ask.on:
        house.order.rule(house, guest, room, Pardoned(fold(nick), nick, mute=True), now)
        return
    target = _target(house, guest, room, nick)
    if target is not None:
        tokens = _tokens(house, nick, target)
        muted = Banned(target.folded, target.nick, tokens, _until(ask.seconds, now), mute=True)
        house.order.rule(house, guest, room, muted, now)


def slowmode(house: House, guest: Guest, ask: asks.Slowmode, now: Now) -> None:
    """So many seconds between two messages of one guest."""
    room = _ruled(house, guest, ask.room, now)
    if room is not None:
        house.order.rule(house, guest, room, Slowed(ask.seconds), now)


def close(house: House, guest: Guest, ask: asks.Close, now: Now) -> None:
    """Put everybody out of a room and forget it."""
    room = _ruled(house, guest, ask.room, now)
    if room is None:
        return
    if room.name == LOBBY:
        house.refuse(guest, "usage", "The lobby cannot be closed.", room=LOBBY)
        return
    house.order.rule(house, guest, room, Closed(f"{guest.nick} has closed {room.name}{_because(ask.reason)}"), now)


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
    asks.Find: (answering.find, COSTLY),
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
