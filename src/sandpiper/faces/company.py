"""Commands about people: /nick /who /whois /away /ignore /unignore."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sandpiper.errors import UsageError
from sandpiper.faces import onhubs
from sandpiper.faces.people import ambiguous, path_label
from sandpiper.faces.spans import Line, Span, colour, dim, line
from sandpiper.faces.verifying import VERIFIED_MARK, mark
from sandpiper.wire.limits import MAX_STATUS_CHARS
from sandpiper.wire.text import check_nick, clean_status

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.store.reader import PeerRow
    from sandpiper.wire.ids import PeerKey, RoomId


MAX_ABSENT = 50  # members of a private room who are not here, as /who lists them: a screenful


async def nick(context: Context, arguments: Arguments) -> None:
    """/nick: be called something else from now on, and at the next start."""
    wanted = check_nick(arguments["nick"])
    old, taken = context.node.nick, context.node.names.find(wanted)
    await asyncio.to_thread(context.profile.rename, wanted)
    context.node.set_presence(wanted, context.node.status)
    context.say("nick", f"You were {old} and are {wanted} now.")
    if taken is not None and taken != context.node.key and wanted.casefold() != old.casefold():
        text = "Somebody else here is called that too, so others see some digits of your key behind it."
        context.say("nick", text)


async def who(context: Context, arguments: Arguments) -> None:
    """/who: list the others in a room, their paths and away messages."""
    room = room_named(context, arguments.get("room"))
    node, people = context.node, context.people
    here = people.here(room)
    count = (
        "nobody else is here" if not here else "1 other is here" if len(here) == 1 else f"{len(here)} others are here"
    )
    lines = [line(Span(people.room(room), "bold"), f": {count}.")]
    ours = f"  {role}" if (role := node.roles(room).get(node.key)) else ""
    me = [colour(people.name(node.key), people.colour(node.key, room)), dim(f" (you){ours}")]
    lines.append(line("  ", *me, dim(f"  away: {node.status}" if node.status else "")))
    lines += [_person(context, key, room) for key in here]
    absent = [key for key in node.roles(room) if key not in (node.key, *here)]
    lines += [_person(context, key, room) for key in absent[:MAX_ABSENT]]
    if len(absent) > MAX_ABSENT:
        lines.append(line(dim(f"  and {len(absent) - MAX_ABSENT} more members who are not here")))
    elsewhere = [key for key in node.linked() if key not in here]
    if elsewhere:
        names = ", ".join(people.name(key) + mark(context, key) for key in elsewhere)
        lines.append(line(dim(f"  linked, but not in this room: {names}")))
    context.face.reply("who", lines)


def _person(context: Context, key: PeerKey, room: RoomId) -> Line:
    people, link = context.people, context.node.link(key)
    parts: list[str | Span] = ["  ", colour(people.name(key, room), people.colour(key, room)), mark(context, key)]
    role = context.node.roles(room).get(key)
    if role is not None:
        parts.append(dim(f"  {role}"))
    if link is not None:
        parts.append(dim(f"  {path_label(link.path, context.node.rtt(key), context.node.why(key))}"))
    elif role is not None:
        parts.append(dim("  not here"))
    if status := people.status.get(key):
        parts.append(dim(f"  away: {status}"))
    if people.hidden(key):
        parts.append(dim("  ignored"))
    return line(*parts)


async def whois(context: Context, arguments: Arguments) -> None:
    """/whois: show what is known of somebody."""
    node, people = context.node, context.people
    key = people.find(arguments["nick"], context.face.room)
    room = onhubs.room_with(context, key)
    if room is not None:
        context.face.reply("whois", onhubs.whois_lines(context, room, key))
        return
    name = people.name(key)
    if people.of_hub(key):
        raise UsageError(f"{name} is on no hub that you are on now.", hint="Go there first: /connect", code="no_peer")
    hexed = key.hex()
    lines = [line(colour(name, people.colour(key)), " is you" if key == node.key else "")]
    if key in people.plain:
        lines.append(line("  speaks the old p2pchat dialect: unencrypted, and anyone can take this name"))
        context.face.reply("whois", lines)
        return
    lines.append(line(dim("  key       "), " ".join(hexed[i : i + 8] for i in range(0, len(hexed), 8))))
    if people.rival(key) is not None:
        what = "no, and another key than the one that you have verified under this name: nothing is sent to it"
        lines.append(line(dim("  verified  "), Span(what, "warn")))
        lines.append(line("            ", dim(f"to decide: /verify {name}, or /verify {name} accept")))
    elif key in node.verified:
        lines.append(line(dim("  verified  "), f"yes {VERIFIED_MARK}: you have compared your safety words"))
    elif key != node.key:
        lines.append(line(dim("  verified  "), f"no: compare your safety words with /verify {name}"))
    if (link := node.link(key)) is not None:
        lines.append(line(dim("  link      "), f"{path_label(link.path, node.rtt(key))}, {link.address}"))
        if why := node.why(key):
            lines.append(line(dim("  path      "), f"{link.path}: {why}"))
    elif key != node.key:
        lines.append(line(dim("  link      "), "none now"))
    status = node.status if key == node.key else people.status.get(key)
    if status:
        lines.append(line(dim("  away      "), status))
    rooms = [people.label(room) for room in node.rooms() if key in node.members(room.id)]
    if rooms:
        lines.append(line(dim("  rooms     "), " ".join(rooms)))
    known = await asyncio.to_thread(_known, context, key)
    if known is not None and known.first_seen:
        lines.append(
            line(dim("  since     "), f"first met {_day(known.first_seen)}, last linked {_day(known.last_seen)}")
        )
    if people.hidden(key):
        lines.append(line(f"  You ignore {name}; to hear them again: /unignore {name}"))
    context.face.reply("whois", lines)


def _known(context: Context, key: PeerKey) -> PeerRow | None:
    with context.node.reader() as reader:
        return next((row for row in reader.peers() if row.key == key), None)


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone():%d %b %Y %H:%M}"


async def away(context: Context, arguments: Arguments) -> None:
    """/away: with a message, be away; without one, be back."""
    text = clean_status(arguments.get("message"))
    if len(arguments.get("message")) > MAX_STATUS_CHARS:
        raise UsageError(f"An away message has at most {MAX_STATUS_CHARS} characters.", code="too_long")
    if not text and not context.node.status:
        raise UsageError("You are not away.", hint="To be away: /away back at two", code="not_away")
    context.node.set_presence(context.node.nick, text)
    context.say("away", f"You are away: {text}" if text else "You are back.")


async def ignore(context: Context, arguments: Arguments) -> None:
    """/ignore: hide what somebody says; without a name, list who is hidden."""
    people = context.people
    if not arguments.get("nick"):
        names = ", ".join(sorted(people.name(key) for key in context.node.ignored))
        context.say("ignore", f"You ignore: {names}" if names else "You ignore nobody.")
        return
    key = people.find(arguments["nick"], context.face.room)
    if key == context.node.key:
        raise UsageError("That is you.", hint="To say nothing, say nothing.", code="self")
    on_hub = onhubs.learn_name(context, key)
    context.node.ignore(key, ignored=True)
    name = people.name(key)
    context.say("ignore", f"You no longer see what {name} says. To undo it: /unignore {name}")
    if on_hub:
        context.say("ignore", dim("On a hub that is about the name, whoever has it: the hub says who is who."))


async def unignore(context: Context, arguments: Arguments) -> None:
    """/unignore: hear somebody again."""
    key = context.people.find(arguments["nick"], context.face.room)
    name = context.people.name(key)
    if key not in context.node.ignored:
        raise UsageError(f"You do not ignore {name}.", hint="Who is ignored: /ignore", code="not_ignored")
    context.node.ignore(key, ignored=False)
    context.say("unignore", f"You see what {name} says again.")


def room_named(context: Context, text: str) -> RoomId:
    """The room that we are in and that is meant by `#name` or `@nick`; empty: the current one.

    Raises:
        UsageError: we are in no such room.
    """
    if not text:
        return context.room
    found = context.people.rooms_named(text)
    if len(found) > 1:
        raise ambiguous(text, map(context.people.full_label, found))
    if found:
        return found[0].id
    labels = " ".join(context.people.label(room) for room in context.node.rooms())
    raise UsageError(f"You are not in {text}.", hint=f"You are in: {labels}" if labels else "Join it: /join #name")
