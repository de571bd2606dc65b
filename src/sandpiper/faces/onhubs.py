"""What only rooms of hubs have: passwords, operators' commands, other rooms, search on the hub, and how the hub is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.errors import UsageError
from sandpiper.faces.people import round_trip
from sandpiper.faces.spans import Line, Span, colour, dim, line
from sandpiper.net.hub import SYSTEM, parse_hub
from sandpiper.node.notices import PasswordWanted
from sandpiper.store.reader import Message
from sandpiper.wire.hub import asks
from sandpiper.wire.ids import PeerKey, short
from sandpiper.wire.text import check_room_name, clean_line, clean_nick

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.faces.settings import Secret
    from sandpiper.node import Node
    from sandpiper.node.onhub import HubHits, HubView
    from sandpiper.wire.ids import RoomId

PASSWORD = "password"
"""What is typed behind a room's name to be asked for one."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_STATES = {
    "down": "no connection; it is tried again and again",
    "dialling": "connecting",
    "greeting": "connecting",
    "over": "given up; /connect tries again",
}


def is_hub_room(node: Node, room: RoomId | None) -> bool:
    """Whether this is a room of a hub."""
    found = node.room(room) if room is not None else None
    return found is not None and found.kind == "hub"


def _hub_room(context: Context) -> RoomId:
    room = context.room
    if not is_hub_room(context.node, room):
        raise UsageError(
            "That is for rooms of a hub: others have no operators.",
            hint="To hear no more of somebody: /ignore",
            code="no_hub",
        )
    return room


# ---------------------------------------------------------------- rooms and passwords


def join(context: Context, name: str, hub: str, password: str) -> None:
    """Enter a room of a hub; `password` is the word that asks for one."""
    if password not in ("", PASSWORD):
        raise UsageError(
            "A password is not typed here, where it can be read.",
            hint=f"To be asked for it: /join #{name}@{hub} {PASSWORD}",
            code="usage",
        )
    address, name = parse_hub(hub), check_room_name(name)
    if password:
        label = f"#{name}@{address.label}"
        text = f"The password of {label}; a room that is not there yet is made, and locked with it."
        context.face.ask_password(PasswordWanted(address, name, label, text))
    else:
        context.face.switch(context.node.connect_hub(address, name))


class Given:
    """A password from a file or the environment: it is tried once wherever the hub that was named at the start, or a
    room of it, wants one, before a person is asked. No other hub ever gets it.
    """

    def __init__(self, secret: Secret, hub: str) -> None:
        """`hub` is the address that was named; empty: none.

        Raises:
            UsageError: it is no address.
        """
        self._secret = secret
        self._hub = parse_hub(hub) if hub else None
        self._tried: set[str] = set()

    def used(self, node: Node, wanted: PasswordWanted) -> bool:
        """Use it; False: there is none for that hub, or it was tried there."""
        if self._hub is None or (self._hub.host, self._hub.port) != (wanted.hub.host, wanted.hub.port):
            return False
        if not 0 < len(self._secret.text) <= asks.MAX_PASSWORD_CHARS or wanted.wrong or wanted.label in self._tried:
            return False
        self._tried.add(wanted.label)
        unlock(node, wanted, self._secret.text)
        return True


def unlock(node: Node, wanted: PasswordWanted, password: str) -> RoomId | None:
    """Use a password that was asked for; the room to go to, if it is for one.

    Raises:
        UsageError: it cannot be one, or there are too many hubs or rooms.
    """
    if not 0 < len(password) <= asks.MAX_PASSWORD_CHARS:
        raise UsageError(
            f"A password has at most {asks.MAX_PASSWORD_CHARS} characters." if password else "There is no password.",
            code="usage",
        )
    if wanted.room:
        return node.connect_hub(wanted.hub, wanted.room, password)
    node.hubs.unlock(wanted.hub, password)
    return None


async def room_lines(context: Context) -> list[Line]:
    """The other rooms of the hub that the current room is on."""
    room = context.face.room
    if room is None or not is_hub_room(context.node, room):
        return []
    try:
        listed = await context.node.hubs.list_rooms(room)
    except UsageError as exc:
        return [line(dim(f"  {exc.sentence()}"))]
    hub = _place(context, room)
    inside = {one.name for one in context.node.rooms()}
    lines = [line(dim(f"Others on {hub}:"))]
    for one in listed.rooms:
        if f"{one.room}@{hub}" not in inside:
            lock, topic = dim("  locked") if one.locked else "", f"  {one.topic}" if one.topic else ""
            count = dim(f"  {one.members} {'person' if one.members == 1 else 'people'}")
            lines.append(line("  ", Span(f"#{one.room}@{hub}", ""), count, lock, topic))
    if len(lines) == 1:
        return [line(dim(f"There is nobody in any other room of {hub}."))]
    if listed.more:
        lines.append(line(dim(f"  and {listed.more} more")))
    return lines


# ---------------------------------------------------------------- people


def room_with(context: Context, key: PeerKey) -> RoomId | None:
    """A room of a hub that we have heard somebody in, the current one first; None: that is nobody of a hub."""
    node, room = context.node, context.face.room
    found = [one.id for one in node.rooms() if one.kind == "hub" and key in one.nicks and key != node.key]
    return room if room in found else found[0] if found else None


def learn_name(context: Context, key: PeerKey) -> bool:
    """Have somebody of a hub called `bob@hub.example` wherever no room says more; False: that is nobody of a hub."""
    room = room_with(context, key)
    if room is None:
        return False
    context.node.names.learn(key, f"{context.people.name(key, room)}@{_place(context, room)}")
    return True


def _place(context: Context, room: RoomId) -> str:
    found = context.node.room(room)
    return found.name.partition("@")[2] if found is not None else ""


def whois_lines(context: Context, room: RoomId, key: PeerKey) -> list[Line]:
    """What is known of somebody on a hub, all of it from the hub."""
    node, people = context.node, context.people
    name, place = people.name(key, room), _place(context, room)
    member = node.hubs.member(room, name)
    lines = [
        line(colour(name, people.colour(key, room))),
        line(dim("  on        "), f"{place}; it is the hub that says all of this"),
    ]
    if member is not None and member.key:
        proved = PeerKey(member.key)
        hexed = proved.hex()
        lines.append(line(dim("  key       "), " ".join(hexed[at : at + 8] for at in range(0, len(hexed), 8))))
        known = node.names.nick(proved)
        if known != short(proved):
            lines.append(line(dim("            "), f"as that of {people.name(proved)}, whom you have met"))
    else:
        lines.append(line(dim("  key       "), "none that the hub has told of"))
    rooms = [people.label(one) for one in node.rooms() if one.kind == "hub" and key in node.members(one.id)]
    lines.append(line(dim("  rooms     "), " ".join(rooms) if rooms else "none that you are in"))
    if member is not None and member.operator:
        lines.append(line(dim("            "), f"an operator of {people.room(room)}"))
    if people.hidden(key):
        lines.append(line(f"  You ignore {name}; to hear them again: /unignore {name}"))
    return lines


# ---------------------------------------------------------------- operators


def _nick(arguments: Arguments) -> str:
    return clean_nick(arguments["nick"].removeprefix("@"))


def _seconds(text: str) -> int:
    """`90`, `90s`, `10m`, `2h`, `3d`, `1w`; empty: 0.

    Raises:
        UsageError: it is no time.
    """
    if not text:
        return 0
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "s")
    if not (number.isascii() and number.isdigit()) or unit not in _UNITS:
        raise UsageError(f"{clean_line(text, 20)!r} is no time.", hint="For example: 30s, 10m, 2h, 3d", code="usage")
    return int(number) * _UNITS[unit]


def _reason(arguments: Arguments) -> str:
    return clean_line(arguments.get("reason"), asks.MAX_REASON_CHARS)


async def op(context: Context, arguments: Arguments) -> None:
    """/op: make somebody an operator."""
    context.node.hubs.rule(_hub_room(context), asks.Operator(_nick(arguments)))


async def deop(context: Context, arguments: Arguments) -> None:
    """/deop: no longer one."""
    context.node.hubs.rule(_hub_room(context), asks.Operator(_nick(arguments), on=False))


def _whom(context: Context, arguments: Arguments) -> tuple[str, bool]:
    """(nick, whether all of the hub is meant: the nick has the hub's name behind it)."""
    word, of_hub = arguments["nick"].removeprefix("@"), f"@{_place(context, _hub_room(context))}"
    return clean_nick(word.removesuffix(of_hub)), word.endswith(of_hub)


async def kick(context: Context, arguments: Arguments) -> None:
    """/kick: put somebody out of the room, or (`bob@hub.example`) of the hub."""
    nick, hub = _whom(context, arguments)
    context.node.hubs.rule(_hub_room(context), asks.Kick(nick, reason=_reason(arguments), hub=hub))


async def ban(context: Context, arguments: Arguments) -> None:
    """/ban: and keep them out, for ever or for a time."""
    nick, hub = _whom(context, arguments)
    seconds = min(_seconds(arguments.get("time")), asks.MAX_BAN_SECONDS)
    rule = asks.Ban(nick, reason=_reason(arguments), seconds=seconds, hub=hub)
    context.node.hubs.rule(_hub_room(context), rule)


async def unban(context: Context, arguments: Arguments) -> None:
    """/unban: let them in again."""
    nick, hub = _whom(context, arguments)
    context.node.hubs.rule(_hub_room(context), asks.Ban(nick, on=False, hub=hub))


async def mute(context: Context, arguments: Arguments) -> None:
    """/mute: let somebody listen only."""
    seconds = min(_seconds(arguments.get("time")), asks.MAX_BAN_SECONDS)
    context.node.hubs.rule(_hub_room(context), asks.Mute(_nick(arguments), seconds=seconds))


async def unmute(context: Context, arguments: Arguments) -> None:
    """/unmute: let them talk again."""
    context.node.hubs.rule(_hub_room(context), asks.Mute(_nick(arguments), on=False))


async def slowmode(context: Context, arguments: Arguments) -> None:
    """/slowmode: one message of each in so much time; 0 ends it."""
    seconds = min(_seconds(arguments["time"]), asks.MAX_SLOW_SECONDS)
    context.node.hubs.rule(_hub_room(context), asks.Slowmode(seconds))


async def close(context: Context, arguments: Arguments) -> None:
    """/close: put everybody out of the room and forget what was said in it."""
    room = _hub_room(context)
    context.node.hubs.rule(room, asks.Close("", _reason(arguments)))


# ---------------------------------------------------------------- search


def stored_hits(context: Context, room: RoomId, found: HubHits) -> list[Message]:
    """What a hub has found as messages, the oldest first."""
    return [
        Message(
            room=room,
            place=(hit.said.ts * 1000, hit.id),
            id=hit.id,
            author=hit.author,
            nick=hit.said.nick,
            seq=hit.seq,
            time=hit.said.ts * 1000,
            text=hit.said.text,
            action=hit.said.action,
            reply_to=b"",
            edited=False,
            retracted=False,
            plain=False,
            hub=True,
        )
        for hit in reversed(found.hits)
    ]


# ---------------------------------------------------------------- how things are


def status_lines(context: Context) -> list[Line]:
    """One line or two for each hub: where it is, how it is reached, who can read, and what waits for it."""
    lines = list[Line]()
    for view in context.node.hubs.views():
        lines.append(line(dim("  hub       "), Span(view.place, "bold"), f": {_state(view)}"))
        rooms = " ".join(context.people.room(room) for room in view.rooms)
        lines.append(line(dim("            "), f"{_secrecy(view)}; it can read all that is said in {rooms}"))
    return lines


def _state(view: HubView) -> str:
    if view.phase != "up":
        waits = f"; {view.unsaid} of your messages wait for it" if view.unsaid else ""
        return _STATES[view.phase] + waits
    distance = f", {round_trip(view.round_trip)}" if view.round_trip is not None else ""
    proved = ", your key is proved" if view.proved else ""
    kind = ", a server of the founding project" if view.founding else f", {view.name}" if view.name else ""
    return f"connected as {view.nick}{distance}{proved}{kind}"


def _secrecy(view: HubView) -> str:
    if not view.tls:
        return "not encrypted on the way"
    if not view.trust:
        return "TLS"
    if view.trust == SYSTEM:
        return "TLS, certificate vouched for by an authority"
    return f"TLS, certificate sha256:{view.trust}"
