"""Commands about rooms, history and the program: /join /leave /rooms /search /history /status /connect /clear /quit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandpiper.config import parse_address
from sandpiper.errors import UsageError
from sandpiper.faces import incode, onhubs
from sandpiper.faces.company import room_named
from sandpiper.faces.people import path_label
from sandpiper.faces.spans import Line, Span, dim, line
from sandpiper.faces.targets import find_message
from sandpiper.faces.verifying import mark
from sandpiper.net.hub import is_hub, parse_hub
from sandpiper.store.reader import Message

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.wire.ids import PeerKey

HISTORY_COUNT = 20  # messages that /history and /search show when no number is given: most of a screen
MAX_HISTORY_COUNT = 1000
HUB_LOOKS = 4  # pages of a hub's search looked through for messages that are not here already
CONNECT_SECONDS = 6.0  # a dial takes at most five (net/tcp.py); then it is said that nobody answers yet


async def join(context: Context, arguments: Arguments) -> None:
    """/join: enter an open room (`#room@host`: one of a hub), or go to one that we are in."""
    text = arguments["room"]
    if (code := incode.typed_code(context, text)) is not None:
        await incode.join(context, code)
        return
    if text.startswith("@"):
        peer = context.people.find(text)
        context.face.switch(context.node.open_direct(peer))
        return
    name, at, hub = text.removeprefix("#").partition("@")
    password = arguments.get("password")
    if at:
        onhubs.join(context, name, hub, password)
        return
    if password:
        raise UsageError(
            "Open rooms have no passwords: anyone on this network can join them.",
            hint=f"To lock a room of a hub: /join #{name}@HUB {onhubs.PASSWORD}",
            code="usage",
        )
    context.face.switch(incode.go_to(context.node, context.people, text))


async def leave(context: Context, arguments: Arguments) -> None:
    """/leave: leave a room, and go to the first of the others."""
    room = room_named(context, arguments.get("room"))
    context.node.leave(room)
    if context.face.room == room:
        rooms = context.node.rooms()
        context.face.switch(rooms[0].id if rooms else None)


async def rooms(context: Context, arguments: Arguments) -> None:
    """/rooms: list the rooms that we are in; in one of a hub, the hub's others, too."""
    people, lines = context.people, list[Line]()
    for room in context.node.rooms():
        here = len(people.here(room.id))
        current = room.id == context.face.room
        kind = {"open": "OPEN", "direct": "direct", "private": "private", "hub": "HUB can read"}[room.kind]
        spans = ["> " if current else "  ", Span(people.label(room), "bold" if current else ""), dim(f"  {kind}")]
        if room.kind == "hub" and context.node.hubs.shut(room.id):
            spans.append(dim(f"  locked: /join {people.label(room)} {onhubs.PASSWORD}"))
        else:
            spans.append(dim(f"  {here} {'other' if here == 1 else 'others'} here"))
        lines.append(line(*spans, f"  {room.topic}" if room.topic else ""))
    if not lines:
        lines.append(line("You are in no room. Join one: /join #general"))
    lines += await onhubs.room_lines(context)
    context.face.reply("rooms", lines)


async def history(context: Context, arguments: Arguments) -> None:
    """/history: the last messages, or those before one of them."""
    room, limit = context.room, _count(arguments.get("count"))
    before = await find_message(context, arguments["before"]) if arguments.get("before") else None

    def read() -> list[Message]:
        with context.node.reader() as reader:
            return reader.page(room, before=before.place if before is not None else None, limit=limit)

    found = await asyncio.to_thread(read)
    if not found:
        context.say("history", "There are no older messages." if before else "There are no messages here yet.")
        return
    context.face.listing(found)
    if len(found) == limit:
        context.say("history", dim(f"Older ones: /history {limit} {found[0].id.hex()[:8]}"))


async def search(context: Context, arguments: Arguments) -> None:
    """/search: the newest messages with all these words, in all rooms."""
    words = arguments["words"]

    def read() -> list[Message]:
        with context.node.reader() as reader:
            return reader.search(words, limit=HISTORY_COUNT)

    found = await asyncio.to_thread(read)
    older, more = await _on_the_hub(context, words, found)
    found = [*older, *found]
    if not found:
        context.say("search", f"No message here has: {words}")
        return
    context.face.listing(found, words)
    if more:
        context.say("search", dim(more))
    if len(found) == HISTORY_COUNT:
        context.say("search", dim(f"The newest {HISTORY_COUNT}. All of them: sandpiper history --search '{words}'"))


async def _on_the_hub(context: Context, words: str, found: list[Message]) -> tuple[list[Message], str]:
    """In a hub's room: what only the hub has of it, older than what is here; and a sentence when there may be more."""
    room = context.face.room
    if room is None or not onhubs.is_hub_room(context.node, room):
        return [], ""
    here = {message.id for message in found}
    older = list[Message]()
    before, looks = 0, HUB_LOOKS
    try:
        while looks and len(older) < HISTORY_COUNT:
            hits = await context.node.hubs.find(room, words, before)
            new = [one for one in onhubs.stored_hits(context, room, hits) if one.id not in here]
            older = [*await asyncio.to_thread(_not_kept, context, new), *older]
            before, looks = hits.before, looks - 1
            if not before:
                return older, "" if hits.whole else "The hub could not search all of what was said last."
    except UsageError as exc:
        return older, f"Messages that only the hub has could not be searched: {exc.sentence()}"
    return older, "The hub has older ones with these words; more words find fewer."


def _not_kept(context: Context, messages: list[Message]) -> list[Message]:
    """Those that are not in the history here: what is there and was not found has another text by now."""
    with context.node.reader() as reader:
        kept = {message.id for message in reader.messages([one.id for one in messages])}
    return [message for message in messages if message.id not in kept]


async def status(context: Context, arguments: Arguments) -> None:
    """/status: who we are, what is linked, what is not delivered."""
    node, people = context.node, context.people
    key = node.key.hex()
    profile = "a temporary identity" if context.profile.temporary else f"profile {context.profile.name}"
    linked = node.linked()
    links = ", ".join(
        f"{people.name(peer)}{mark(context, peer)} {path_label(link.path, node.rtt(peer))}"
        for peer in linked
        if (link := node.link(peer)) is not None
    )
    reasons = [
        line(dim("  path      "), f"{people.name(peer)} {link.path}: {why}")
        for peer in linked
        if (link := node.link(peer)) is not None and link.path != "lan" and (why := node.why(peer))
    ]
    undelivered = node.undelivered()
    if not linked:
        delivery = "nobody is linked; what you write is kept, and delivered when you meet"
    elif undelivered:
        delivery = f"{undelivered} of your messages are still on their way to somebody linked"
    else:
        delivery = "all linked members have all your messages"
    lines = [
        line(dim("  you       "), f"{node.nick}, {profile}" + (f", away: {node.status}" if node.status else "")),
        line(dim("  key       "), " ".join(key[i : i + 8] for i in range(0, len(key), 8))),
        line(dim("  port      "), str(node.port)),
        line(dim("  links     "), f"{len(linked)}: {links}" if links else "none"),
        *reasons,
        line(dim("  delivery  "), delivery),
        line(dim("  security  "), "links are encrypted; open rooms (#) admit anyone on this network"),
    ]
    if people.plain:
        names = ", ".join(people.plain.values())
        lines.append(line(dim("  plain     "), f"{names}: old dialect, not encrypted, not proven"))
    lines += [line(dim("  beacons   "), f"none on {address}: {why}") for address, why in node.lan_problems.items()]
    lines += incode.status_lines(context)
    lines += onhubs.status_lines(context)
    context.face.reply("status", lines)


async def connect(context: Context, arguments: Arguments) -> None:
    """/connect: dial an address where no beacon reaches, or a hub (`hub://HOST`), now and whenever it is lost."""
    if is_hub(arguments["address"]):
        context.face.switch(context.node.connect_hub(parse_hub(arguments["address"])))
        return
    address = parse_address(arguments["address"])
    before = set(context.node.linked())
    context.node.connect(address.host, address.port)
    context.say("connect", f"Dialling {address}, now and whenever that link is lost.")
    asyncio.get_running_loop().call_later(CONNECT_SECONDS, _no_answer, context, str(address), before)


def _no_answer(context: Context, address: str, before: set[PeerKey]) -> None:
    linked = context.node.linked()
    addresses = {link.address for peer in linked if (link := context.node.link(peer)) is not None}
    if address not in addresses and not set(linked) - before:
        context.face.trouble(
            "no_answer",
            f"Nobody has answered at {address} yet; it is tried again and again.",
            "Is sandpiper running there, and is that its port? What may block it: sandpiper doctor",
        )


async def clear(context: Context, arguments: Arguments) -> None:
    """/clear: empty the screen."""
    context.face.clear()


async def quit_(context: Context, arguments: Arguments) -> None:
    """/quit: end this face."""
    context.face.quit()


def _count(text: str) -> int:
    if not text:
        return HISTORY_COUNT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_HISTORY_COUNT:
        raise UsageError(
            f"{text!r} is not a number from 1 to {MAX_HISTORY_COUNT}.", hint="For example: /history 50", code="usage"
        )
    return int(text)
