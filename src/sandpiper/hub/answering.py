"""What the hub answers to everything but messages and operators' commands: one function a kind of line. Pure."""

from __future__ import annotations

from itertools import accumulate, islice
from typing import TYPE_CHECKING

from sandpiper.crypto.identity import verify
from sandpiper.errors import TrustError, UsageError
from sandpiper.hub.effects import Lock, Recall, Recollect, Search
from sandpiper.hub.guests import fold
from sandpiper.hub.limits import CROWD, MAX_PAGE_BYTES, MAX_ROOM_LIST, MAX_ROOMS_A_GUEST, MAX_WHO, TYPING_SECONDS, Full
from sandpiper.wire.hub import AUTH_DOMAIN, FEATURES, HUB_VERSION, LOBBY
from sandpiper.wire.hub.answers import (
    Authed,
    Challenge,
    Edited,
    FoundLines,
    HelloBack,
    Joined,
    Left,
    Member,
    NickSet,
    Notice,
    Page,
    Ponged,
    Reacted,
    Retracted,
    RoomLine,
    RoomList,
    TopicSet,
    TypingSeen,
    WhoList,
)
from sandpiper.wire.hub.lines import page_of
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES
from sandpiper.wire.text import check_room_name, clean_emoji, clean_nick, clean_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.far import Far
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import Found, LinesBefore, SentId
    from sandpiper.hub.house import House
    from sandpiper.hub.rooms import Room
    from sandpiper.wire.hub import asks

_NO_ID = bytes(KEY_BYTES)


def inside(house: House, guest: Guest, name: str) -> Room | None:
    """The room of this name if the guest is in it; else it is told that it is not."""
    room = house.find_room(name)
    if room is None or guest not in room.members:
        house.refuse(guest, "not_in_room", "You are not in that room.", room=name)
        return None
    return room


# ---------------------------------------------------------------- who one is


def hello(house: House, guest: Guest, ask: asks.Hello, now: Now) -> None:
    """The guest knows more than the founding protocol: it is where it joins, and nowhere else."""
    if not guest.modern:
        guest.modern = True
        for room in guest.rooms:
            house.went(guest, room, now)
            house.tidy(room)
    features = tuple(one for one in FEATURES if house.order.alone or one != "find")  # a cluster's log has no index
    house.tell(guest, HelloBack(HUB_VERSION, house.settings.name, features, guest.nick, house.settings.id))


def nick(house: House, guest: Guest, ask: asks.Nick, now: Now) -> None:
    """Another nick, if nobody else has it or owns it."""
    wanted = clean_nick(ask.nick)
    if wanted == "nameless" and fold(ask.nick) != "nameless":
        house.refuse(guest, "bad_nick", "A nick needs a character that can be seen.")
        return
    muted = next((room for room in guest.rooms if room.mutes.holds(f"nick:{guest.folded}", now.mono)), None)
    if muted is not None and fold(wanted) != guest.folded:  # else that would be the way around it
        text = f"You may not talk in {muted.name} now; as long as that lasts, you are {guest.nick} there."
        house.refuse(guest, "bad_nick", text)
        return
    ghost = house.guests.find(wanted)
    if ghost is not None and ghost is not guest and guest.key is not None and ghost.key == guest.key:
        house.cut(ghost, "replaced", "You have come in anew elsewhere.", now)
    if not house.guests.free(wanted, guest):
        nick_taken(house, guest, wanted)
    elif house.order.claim(house, guest, wanted, now):
        named(house, guest, wanted, now)


def nick_taken(house: House, guest: Guest, wanted: str) -> None:
    """Somebody else has the nick or owns it."""
    other = house.guests.suggest(wanted, guest)
    house.refuse(guest, "nick_taken", f"The nick {wanted} is taken; {other} is free.", suggestion=other)


def named(house: House, guest: Guest, wanted: str, now: Now) -> None:
    """The guest is called so from now on."""
    if guest.folded != fold(wanted):
        house.order.release(house, guest)
    old, first = guest.nick, not guest.named
    house.guests.rename(guest, wanted)
    house.tell(guest, NickSet(f"nick set to {wanted}", now.wall_ms // 1000, wanted))
    house.announce(guest, now)
    house.own(guest, now)
    if first or old == wanted:
        return
    for room in guest.rooms:
        house.order.inside(house, guest, room)
        if not room.presence.renamed(guest) and room.count <= CROWD:
            text = f"{old} is now called {wanted}"
            notice = Notice(text, now.wall_ms // 1000, room.shown, old=old, new=wanted)
            house.tell_room(room, notice, now, without=guest)


def auth(house: House, guest: Guest, ask: asks.Auth, now: Now) -> None:
    """A challenge, or the answer to it: afterwards the guest's nicks are its own."""
    if ask.signature is None:
        guest.nonce = house.rng.randbytes(KEY_BYTES)
        house.tell(guest, Challenge(guest.nonce))
        return
    nonce, guest.nonce = guest.nonce, b""
    key = PeerKey(ask.key)
    try:
        if not nonce:
            raise TrustError("There was no challenge.")
        verify(key, ask.signature, AUTH_DOMAIN + (house.settings.id or _NO_ID) + nonce)
    except TrustError:
        house.strike(guest, "bad_signature", "The signature does not answer the hub's challenge.", now)
        return
    guest.key = key
    house.own(guest, now)
    if house.bans.names(guest, now.mono):
        house.cut(guest, "banned", "You may not come in here.", now)
        return
    for room in guest.rooms:
        if room.bans.names(guest, now.mono):
            house.put_out(guest, room, "banned", "You may not be in this room.", now)
            house.tidy(room)
        else:
            house.order.inside(house, guest, room)
    operator = house.is_operator(guest)
    house.tell(guest, Authed("Your key is proved.", house.guests.owned(key), operator))


# ---------------------------------------------------------------- rooms


def join(house: House, guest: Guest, ask: asks.Join, now: Now) -> None:
    """Enter or make a room; passwords are hashed elsewhere first."""
    try:
        name = check_room_name(ask.room or LOBBY)
    except UsageError as exc:
        house.refuse(guest, "bad_room_name", exc.sentence(), room=ask.room)
        return
    try:
        if not house.order.has(house, guest, name, ask, now):
            return
        room = house.known_room(name, now)
    except Full as exc:
        house.refuse(guest, exc.code, str(exc), room=name)
        return
    if room is not None and guest in room.members:
        _welcome(house, guest, room, ask, now)
    elif room is not None and room.lock and not house.is_operator(guest):
        if ask.password:
            guest.waiting = True
            house.do(Lock(guest, ask, room.lock))
        else:
            house.refuse(guest, "locked", f"The room {name} needs a password.", room=name)
    elif room is None and ask.password:
        guest.waiting = True
        house.do(Lock(guest, ask, b""))
    else:
        _enter(house, guest, room, name, ask, now)


def unlocked(house: House, guest: Guest, ask: asks.Join, lock: bytes, fits: bool, now: Now) -> None:
    """A `Lock` is done: `lock` is the hash that the password was compared with, or that was made of it."""
    guest.waiting = False
    if not guest.open:
        return
    name = check_room_name(ask.room)
    try:
        room = house.known_room(name, now)
    except Full as exc:
        house.refuse(guest, exc.code, str(exc), room=name)
        return
    if not fits:
        house.refuse(guest, "wrong_password", f"That is not the password of {name}.", room=name)
    elif room is not None and guest not in room.members and room.lock and room.lock != lock:
        house.refuse(guest, "wrong_password", f"The room {name} was made by somebody else meanwhile.", room=name)
    elif room is not None and guest in room.members:
        _welcome(house, guest, room, ask, now)
    else:
        _enter(house, guest, room, name, ask, now, lock)


def not_unlocked(house: House, guest: Guest, ask: asks.Join) -> None:
    """A `Lock` cannot be done now."""
    guest.waiting = False
    if guest.open:
        text = "Too many passwords wait to be checked; try again."
        house.refuse(guest, "busy", text, room=check_room_name(ask.room))


def _enter(
    house: House, guest: Guest, room: Room | None, name: str, ask: asks.Join, now: Now, lock: bytes = b""
) -> None:
    if len(guest.rooms) >= MAX_ROOMS_A_GUEST:
        text = f"You are in {MAX_ROOMS_A_GUEST} rooms; leave one first."
        house.refuse(guest, "too_many_rooms", text, room=name)
        return
    if room is not None and room.bans.names(guest, now.mono) and not house.is_operator(guest):
        house.refuse(guest, "banned", f"You may not enter {name}.", room=name)
        return
    if room is not None and room.count >= house.settings.guests_a_room:
        house.refuse(guest, "room_full", f"The room {name} is full.", room=name)
        return
    if room is None or (name != LOBBY and not (room.count or room.operators or guest.number in room.makers)):
        # Who makes a room, or finds one that nobody is left in charge of.
        if room is None and guest.place is not None and not guest.place.makes_room(now.mono):
            text = "Many new rooms were made from your address; try again in a minute, or join one that is there."
            house.refuse(guest, "too_many_rooms", text, room=name)
            return
        try:
            if not house.order.begin(house, guest, name, ask, lock, now):
                return
        except Full as exc:
            house.refuse(guest, exc.code, str(exc), room=name)
            return
        room = house.rooms[name]
    house.announce(guest, now)
    house.seal(room, now)
    room.add(guest)
    room.presence.came(guest, room.count, now.mono)
    house.due(room)
    house.order.inside(house, guest, room)
    _welcome(house, guest, room, ask, now)


def _welcome(house: House, guest: Guest, room: Room, ask: asks.Join, now: Now) -> None:
    """What a guest that has joined is told first; then what it has missed."""
    house.seal(room, now)
    first, missed = 0, b""
    resumed = ask.since is not None and ask.epoch == room.epoch and ask.since <= room.seq
    if resumed:
        assert ask.since is not None
        first, missed = room.since(ask.since)
    operator = room.is_operator(guest) or house.is_operator(guest)
    answer = Joined(room.name, room.epoch, room.seq, room.count, room.topic, operator, room.slowmode, resumed, first)
    house.tell(guest, answer)
    if missed:
        house.send(guest, missed)


def leave(house: House, guest: Guest, ask: asks.Leave, now: Now) -> None:
    """Leave a room."""
    room = inside(house, guest, ask.room)
    if room is not None:
        house.went(guest, room, now)
        house.tell(guest, Left(room.name))
        house.tidy(room)


def rooms(house: House, guest: Guest, ask: asks.Rooms, now: Now) -> None:
    """The rooms that somebody is in, the fullest first."""
    lines = [RoomLine(one.name, one.count, one.topic, bool(one.lock)) for one in house.rooms.values() if one.count]
    lines += house.order.elsewhere(house)
    lines.sort(key=lambda one: -one.members)
    house.tell(guest, RoomList(tuple(lines[:MAX_ROOM_LIST]), max(0, len(lines) - MAX_ROOM_LIST)))


def who(house: House, guest: Guest, ask: asks.Who, now: Now) -> None:
    """The members of a room."""
    room = inside(house, guest, ask.room)
    if room is not None:
        first: list[Guest | Far] = [*islice(room.members, MAX_WHO)]
        first += islice(room.far.values(), MAX_WHO - len(first))
        members = tuple(Member(one.nick, room.is_operator(one), one.key or b"") for one in first)
        house.tell(guest, WhoList(room.name, room.count, members))


def topic(house: House, guest: Guest, ask: asks.Topic, now: Now) -> None:
    """Tell the topic, or set it."""
    room = inside(house, guest, ask.room)
    if room is None:
        return
    if ask.text is None:
        house.tell(guest, TopicSet(room.topic, room=room.shown))
    elif not (room.is_operator(guest) or house.is_operator(guest)):
        house.refuse(guest, "not_operator", "Only an operator of the room may do that.", room=room.shown)
    else:
        text, by, shown, ts = clean_topic(ask.text), guest.nick, room.shown, now.wall_ms // 1000
        house.put(guest, room, lambda seq: TopicSet(text, by, ts, shown, seq))


def history(house: House, guest: Guest, ask: asks.History, now: Now) -> None:
    """A page of what was said; it comes when it has been read."""
    room = inside(house, guest, ask.room)
    if room is None:
        return
    if guest.recalling:
        house.refuse(guest, "busy", "A page of history is on its way; ask for the next one after it.", room=room.shown)
        return
    guest.recalling = True
    house.seal(room, now)
    house.do(Recall(guest, room.name, room.epoch, ask.before, ask.limit))


def recalled(house: House, ask: Recall, page: LinesBefore | None) -> None:
    """A `Recall` is done; None: it has failed."""
    guest = ask.guest
    guest.recalling = False
    if not guest.open:
        return
    if page is None:
        house.refuse(guest, "busy", "The history cannot be read now; try again later.", room=ask.room)
    else:
        lines = _newest(page.lines, MAX_PAGE_BYTES)
        house.tell(guest, Page(ask.room, ask.epoch, page_of(lines), page.more or len(lines) < len(page.lines)))


def _newest(lines: Sequence[bytes], most: int) -> Sequence[bytes]:
    """As many of the last lines as these bytes hold, and at least one."""
    for at, size in enumerate(accumulate(map(len, reversed(lines)))):
        if at and size > most:
            return lines[-at:]
    return lines


def recollected(house: House, ask: Recollect, ids: Sequence[SentId] | None) -> None:
    """A `Recollect` is done; None: not just now, so it is asked for again."""
    room = house.rooms.get(ask.room)
    if room is not None and room.epoch == ask.epoch:
        if ids is None:
            room.reading = False
        else:
            room.recollect(ids)


def find(house: House, guest: Guest, ask: asks.Find, now: Now) -> None:
    """Messages by their words; they come when they have been found."""
    room = inside(house, guest, ask.room)
    if room is None:
        return
    if guest.recalling:
        house.refuse(guest, "busy", "A page of history is on its way; search after it.", room=room.shown)
        return
    guest.recalling = True
    house.seal(room, now)
    house.do(Search(guest, room.name, room.epoch, ask.text, ask.before, ask.limit))


def searched(house: House, ask: Search, found: Found | None, why: str = "") -> None:
    """A `Search` is done; None: there is nothing to search for (`why`), or it cannot be done now."""
    guest = ask.guest
    guest.recalling = False
    if not guest.open:
        return
    if found is not None:
        lines = page_of(found.lines)
        house.tell(guest, FoundLines(ask.room, ask.epoch, lines, found.more, found.before, found.whole))
    elif why:
        house.refuse(guest, "usage", why, room=ask.room)
    else:
        house.refuse(guest, "busy", "The history cannot be searched now; try again later.", room=ask.room)


# ---------------------------------------------------------------- messages, afterwards


def _mine(house: House, guest: Guest, room: Room, seq: int) -> bool:
    author = room.author(seq)
    if author == guest.owner:
        return True
    text = "That message is not yours." if author is not None else "That message cannot be changed any more."
    house.refuse(guest, "not_yours", text, room=room.shown)
    return False


def _may_talk(house: House, guest: Guest, name: str, now: Now) -> Room | None:
    room = inside(house, guest, name)
    if room is not None and room.mutes.names(guest, now.mono):
        house.refuse(guest, "muted", "You may not talk here now.", room=room.shown)
        return None
    return room


def edit(house: House, guest: Guest, ask: asks.Edit, now: Now) -> None:
    """Another text for a message of one's own."""
    room = _may_talk(house, guest, ask.room, now)
    if room is not None and _mine(house, guest, room, ask.id):
        by, ts, shown = guest.nick, now.wall_ms // 1000, room.shown
        house.put(guest, room, lambda seq: Edited(by, ask.text, ts, ask.id, shown, seq))


def retract(house: House, guest: Guest, ask: asks.Retract, now: Now) -> None:
    """Take back a message: one's own, or as an operator anybody's."""
    room = inside(house, guest, ask.room)
    if room is None:
        return
    operator = (room.is_operator(guest) or house.is_operator(guest)) and 0 < ask.id <= room.seq
    if operator or _mine(house, guest, room, ask.id):
        by, ts, shown = guest.nick, now.wall_ms // 1000, room.shown
        house.put(guest, room, lambda seq: Retracted(by, ts, ask.id, shown, seq))


def react(house: House, guest: Guest, ask: asks.React, now: Now) -> None:
    """An emoji to a message."""
    room = _may_talk(house, guest, ask.room, now)
    if room is None:
        return
    if not 0 < ask.id <= room.seq:
        house.refuse(guest, "no_message", "There is no such message.", room=room.shown)
        return
    by, emoji, ts, shown = guest.nick, clean_emoji(ask.emoji), now.wall_ms // 1000, room.shown
    house.put(guest, room, lambda seq: Reacted(by, emoji, ts, ask.id, shown, seq, ask.on))


def typing(house: House, guest: Guest, ask: asks.Typing, now: Now) -> None:
    """Tell the others, if they are not too many and it was not told just now."""
    room = house.find_room(ask.room)
    if room is None or guest not in room.members or room.count > CROWD or room.mutes.names(guest, now.mono):
        return
    if now.mono - guest.typed >= TYPING_SECONDS:
        guest.typed = now.mono
        house.order.typing(house, guest, room)
        house.tell_room(room, TypingSeen(guest.nick, room.shown), now, without=guest)


def ping(house: House, guest: Guest, ask: asks.Ping, now: Now) -> None:
    """The same number back."""
    house.tell(guest, Ponged(ask.n))


def pong(house: House, guest: Guest, ask: asks.Pong, now: Now) -> None:
    """That the guest is there was noticed when the line came."""
