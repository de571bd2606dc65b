"""Private rooms: making and joining them by code, new codes, and who is in them as what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandpiper.core.names import NICK_MARK
from sandpiper.crypto.codes import BadCode, Code, like_code, parse_code, suggest
from sandpiper.errors import UsageError
from sandpiper.faces import onhubs
from sandpiper.faces.people import OPEN, ambiguous
from sandpiper.faces.settings import START_ROOM
from sandpiper.faces.spans import Line, dim, line
from sandpiper.node.notices import CodePassword
from sandpiper.wire.admission import NotAdmitted
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.text import check_room_name, clean_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandpiper.faces.context import Arguments, Context
    from sandpiper.faces.people import People
    from sandpiper.faces.settings import Entering
    from sandpiper.node import Node
    from sandpiper.wire.ids import RoomId

DEFAULT_NAME = "private"  # of a room that was made without one
ROLES = ("admin", "member")
_KEY = re.compile(r"[0-9A-Fa-f]{64}")


async def enter(node: Node, entering: Entering, ask: Callable[[CodePassword], Awaitable[str]] | None = None) -> RoomId:
    """Make, or come into, the private room to begin in. `ask` is asked for the room's password where one is needed
    and none is given; an empty answer gives up.

    Raises:
        SandpiperError: it could not be made, or did not let us in.
    """
    if entering.code.text:
        code, password = parse_code(entering.code.text), entering.password.text
        try:
            return await node.codes.join(code, password)
        except NotAdmitted as exc:
            if exc.code != "password_needed" or ask is None or not (password := await ask(CodePassword(code))):
                raise
        return await node.codes.join(code, password)
    name = check_room_name(entering.create or DEFAULT_NAME)
    return await node.codes.create(name, entering.password.text, entering.history)


def check_start(text: str) -> None:
    """See that this can be the name of a room to begin in.

    Raises:
        UsageError: it cannot, or it was meant as a code.
    """
    check_room_name(text.partition(NICK_MARK)[0])
    if text[:1] != "#" and like_code(text):
        raise BadCode(
            "The room to begin in looks like a code, which must not become the name of an open room.",
            hint="To come in with a code: sandpiper join. For an open room of such a name, write # in front of it.",
        )


def start_in(node: Node, people: People, text: str) -> RoomId:
    """The room to begin in; raises as `go_to`. Who has let us into a private room has not moved where we start."""
    if text.removeprefix("#").casefold() == START_ROOM:
        return node.join(START_ROOM)
    return go_to(node, people, text)


def go_to(node: Node, people: People, text: str) -> RoomId:
    """The room that somebody means by `#name`: a private one that we are in, or else the open one, which is joined;
    `#name~1a2b` one of several of that name, `#name~open` the open one.

    Raises:
        UsageError: it cannot be a name, several are meant, or a private room of that name was left: what is meant for
            its members must not go to everybody.
    """
    name, mark, which = text.partition(NICK_MARK)
    name = check_room_name(name)
    if which == OPEN:
        return node.join(name)
    found = people.rooms_named(f"#{name}{mark}{which}")
    if len(found) > 1:
        raise ambiguous(text, map(people.full_label, found))
    if found:
        return found[0].id
    if mark:
        raise UsageError(
            f"You are in no room {clean_line(text, 60)}.", hint="See where you are: /rooms", code="no_room"
        )
    if node.left_private(name):
        raise UsageError(
            f"You have left the private room #{name}.",
            hint=f"To come in again, ask a member for a code. The open room: /join #{name}{NICK_MARK}{OPEN}",
            code="left",
        )
    return node.join(name)


def as_code(text: str) -> Code | None:
    """The code that somebody typed where a room is named; None: it is the name of a room. What has the shape of a code
    is never the name of an open one: a slip would tell its words to everybody on this network.

    Raises:
        BadCode: it was meant as a code and is none.
    """
    if text[:1] in ("#", "@") or not like_code(text):
        return None
    try:
        return parse_code(text)
    except BadCode as exc:
        raise BadCode(str(exc), hint=f"{exc.hint} For an open room of that name, write # in front of it.") from None


def _private(context: Context) -> bool:
    room = context.node.room(context.room)
    return room is not None and room.kind == "private"


def _member(context: Context, arguments: Arguments) -> PeerKey:
    """The member, or banned one, who is meant: whoever else has that nick anywhere is not."""
    room, named = context.room, arguments["nick"]
    keys = dict.fromkeys((*context.node.roles(room), *context.node.banned(room)))
    found = context.people.find_among(named, keys, room)
    if found is None:
        raise UsageError(
            f"No member here is called {clean_line(named.removeprefix('@'), 40)}.",
            hint="See who is here: /who",
            code="no_member",
        )
    return found


def _key(typed: str) -> PeerKey | None:
    """A whole key in hex, as /whois shows it; None: it is something else."""
    return PeerKey(bytes.fromhex(typed)) if _KEY.fullmatch(typed) else None


# ---------------------------------------------------------------- commands


async def create(context: Context, arguments: Arguments) -> None:
    """/create: make a private room, and a code for it."""
    name = check_room_name(arguments.get("name") or DEFAULT_NAME)
    context.face.switch(await context.node.codes.create(name))


def typed_code(context: Context, text: str) -> Code | None:
    """The same as `as_code`; a slip is answered with what may have been meant, for the eyes of whoever typed it."""
    try:
        return as_code(text)
    except BadCode:
        if meant := suggest(text):
            context.say("join", meant)
        raise


async def join(context: Context, code: Code, password: str = "") -> None:
    """Come into a private room with a code, and go there. Where a password is needed, and none is given, it is asked
    for.
    """
    try:
        room = await context.node.codes.join(code, password)
    except NotAdmitted as exc:
        if exc.code != "password_needed":
            raise
        context.face.ask_password(CodePassword(code))
        return
    context.face.switch(room)


async def invite(context: Context, arguments: Arguments) -> None:
    """/invite: another code for the private room."""
    await context.node.codes.invite(context.room)


async def kick(context: Context, arguments: Arguments) -> None:
    """/kick: end somebody's membership, or on a hub put them out."""
    if _private(context):
        context.node.kick(context.room, _member(context, arguments))
    else:
        await onhubs.kick(context, arguments)


async def ban(context: Context, arguments: Arguments) -> None:
    """/ban: and refuse the key from now on; on a hub, for ever or for a time."""
    if not _private(context):
        await onhubs.ban(context, arguments)
        return
    if arguments.get("time"):
        raise UsageError(
            "A ban from a private room holds until it is lifted.", hint="To lift it: /unban NICK", code="usage"
        )
    # Somebody who is no member is named by the key: by a nick it would be whoever else has it.
    context.node.ban(context.room, _key(arguments["nick"]) or _member(context, arguments))


async def unban(context: Context, arguments: Arguments) -> None:
    """/unban: let somebody come in again."""
    if _private(context):
        context.node.unban(context.room, _member(context, arguments))
    else:
        await onhubs.unban(context, arguments)


async def role(context: Context, arguments: Arguments) -> None:
    """/role: make somebody an admin, or a member like others; without a role, say which it is."""
    room = context.room
    if not _private(context):
        raise UsageError("Roles are for private rooms.", hint="On a hub: /op NICK", code="no_private")
    wanted = arguments.get("role").casefold()
    if wanted and wanted not in ROLES:
        raise UsageError(f"A role is {' or '.join(ROLES)}.", hint="Usage: /role NICK admin", code="usage")
    key = _member(context, arguments) if wanted else context.people.find(arguments["nick"], room)
    if wanted:
        context.node.set_admin(room, key, admin=wanted == "admin")
    held = context.node.roles(room).get(key)
    context.say("role", f"{context.people.name(key, room)}: {held or 'no member'}")


# ---------------------------------------------------------------- how things are


def status_lines(context: Context) -> list[Line]:
    """A line for each relay in use, and one on our port on the router."""
    codes = context.node.codes
    lines = [
        line(dim("  relay     "), f"{name}: {'connected' if up else 'no connection; it is tried again and again'}")
        for name, up in codes.reached()
    ]
    return lines + ([line(dim("  router    "), codes.mapping)] if lines and codes.mapping else [])
