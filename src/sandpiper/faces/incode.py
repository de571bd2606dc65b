"""Private rooms: making and joining them by code, new codes, and who is in them as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.crypto.codes import BadCode, Code, parse_code
from sandpiper.errors import UsageError
from sandpiper.faces import onhubs
from sandpiper.faces.spans import Line, dim, line
from sandpiper.wire.text import check_room_name

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.faces.settings import Entering
    from sandpiper.node import Node
    from sandpiper.wire.ids import PeerKey, RoomId

DEFAULT_NAME = "private"  # of a room that was made without one
ROLES = ("admin", "member")


async def enter(node: Node, entering: Entering) -> RoomId:
    """Make, or come into, the private room to begin in.

    Raises:
        SandpiperError: it could not be made, or did not let us in.
    """
    if entering.code.text:
        return await node.codes.join(parse_code(entering.code.text), entering.password.text)
    return await node.codes.create(check_room_name(entering.create or DEFAULT_NAME), entering.password.text)


def go_to(node: Node, name: str) -> RoomId:
    """The room of this name (normalised): a private one that we are in, or else the open one, which is joined."""
    for room in node.rooms():
        if room.kind == "private" and room.name == name:
            return room.id
    return node.join(name)


def as_code(text: str) -> Code | None:
    """The code that somebody typed where a room is named; None: it is the name of a room."""
    try:
        return parse_code(text) if text[:1] not in ("#", "@") else None
    except BadCode:
        return None


def _private(context: Context) -> bool:
    room = context.node.room(context.room)
    return room is not None and room.kind == "private"


def _member(context: Context, arguments: Arguments) -> PeerKey:
    return context.people.find(arguments["nick"], context.room)


# ---------------------------------------------------------------- commands


async def create(context: Context, arguments: Arguments) -> None:
    """/create: make a private room, and a code for it."""
    name = check_room_name(arguments.get("name") or DEFAULT_NAME)
    context.face.switch(await context.node.codes.create(name))


async def join(context: Context, code: Code) -> None:
    """Come into a private room with a code, and go there."""
    context.face.switch(await context.node.codes.join(code))


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
    context.node.ban(context.room, _member(context, arguments))


async def unban(context: Context, arguments: Arguments) -> None:
    """/unban: let somebody come in again."""
    if _private(context):
        context.node.kick(context.room, _member(context, arguments))
    else:
        await onhubs.unban(context, arguments)


async def role(context: Context, arguments: Arguments) -> None:
    """/role: make somebody an admin, or a member like others; without a role, say which it is."""
    room = context.room
    if not _private(context):
        raise UsageError("Roles are for private rooms.", hint="On a hub: /op NICK", code="no_private")
    key, wanted = _member(context, arguments), arguments.get("role").casefold()
    if wanted and wanted not in ROLES:
        raise UsageError(f"A role is {' or '.join(ROLES)}.", hint="Usage: /role NICK admin", code="usage")
    if wanted:
        context.node.set_admin(room, key, admin=wanted == "admin")
    held = context.node.roles(room).get(key)
    context.say("role", f"{context.people.name(key, room)}: {held or 'no member'}")


# ---------------------------------------------------------------- how things are


def status_lines(context: Context) -> list[Line]:
    """A line for each relay in use."""
    return [
        line(dim("  relay     "), f"{name}: {'connected' if up else 'no connection; it is tried again and again'}")
        for name, up in context.node.codes.reached()
    ]
